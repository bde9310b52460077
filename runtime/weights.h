// From a checkpoint to packed weights: finds, checks and packs the tensors of a library's layers.
#ifndef CATENA_WEIGHTS_H
#define CATENA_WEIGHTS_H

#include "weights_source.h"

// Checks presence, dtype, shape and place of every tensor of every instance; the data is not read.
Status weights_check(const Kind *kinds, int64_t count, const Safetensors *tensors, const Failure *failure);

// A number that identifies the packed weights of this checkpoint for these kinds, without reading its data: XXH64 over the
// checkpoint's fingerprint and where each kind's description says that its tensors are; never 0.
uint64_t weights_fingerprint(const Kind *kinds, int64_t count, const Safetensors *tensors);

// Packs one checked instance. An element that is NaN or infinite, or that rounds to infinity, is an error that names tensor and
// position. threads = 1: no other thread is asked for.
Status weights_pack_instance(const Kind *kind, int64_t instance, const Safetensors *tensors, int threads, uint8_t *out,
                             const Failure *failure);

// Packs a checkpoint into an image in memory, or into a file (one instance in memory at a time; atomic, see file.h).
// `image` holds packed_image_bytes(kinds, count) zeroed bytes.
Status weights_pack_memory(const Kind *kinds, int64_t count, const char *checkpoint, int threads, void *image,
                           const Failure *failure);
Status weights_pack_file(const Kind *kinds, int64_t count, const char *checkpoint, int threads, const char *path,
                         const Failure *failure);

#endif
