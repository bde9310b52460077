// From a checkpoint to packed weights: finds, checks and packs the tensors of a library's layers.
#ifndef CATENA_WEIGHTS_H
#define CATENA_WEIGHTS_H

#include "packed.h"
#include "safetensors.h"

// Where the tensor's matrix lies in a checkpoint: a pattern's {layer}, {iteration}, {expert} are replaced by numbers. `matrix` is
// the expert or the iteration. false if the name does not fit.
bool weights_tensor_name(const Kind *kind, Tensor tensor, int64_t instance, int64_t matrix, char *name, size_t size);

// Checks presence, dtype and shape of every tensor of every instance; the data is not read. `checkpoint`
// names the file or directory in messages.
Status weights_check(const Kind *kinds, int64_t count, const char *checkpoint, const Safetensors *tensors, const Failure *failure);

// Packs one checked instance. A NaN is an error that names tensor and position. threads = 1: no other thread is asked for.
Status weights_pack_instance(const Kind *kind, int64_t instance, const Safetensors *tensors, int threads, uint8_t *out,
                             const Failure *failure);

// Packs a checkpoint into an image in memory, or into a file (one instance in memory at a time; atomic, see file.h).
// `image` holds packed_image_bytes(kinds, count) zeroed bytes.
Status weights_pack_memory(const Kind *kinds, int64_t count, const char *checkpoint, int threads, void *image,
                           const Failure *failure);
Status weights_pack_file(const Kind *kinds, int64_t count, const char *checkpoint, int threads, const char *path,
                         const Failure *failure);

#endif
