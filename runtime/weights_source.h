// One matrix of a layer as it lies in a checkpoint: which tensor, of what shape, and where in it the matrix's elements are.
#ifndef CATENA_WEIGHTS_SOURCE_H
#define CATENA_WEIGHTS_SOURCE_H

#include "packed.h"
#include "safetensors.h"

enum { WEIGHTS_NAME_BYTES = TENSOR_PATTERN_BYTES + 64 };  // a pattern with numbers for its placeholders, "_blocks" and a zero

// Writes the name of a matrix's tensor: {layer}, {iteration} and {expert} of its pattern are replaced by numbers. `matrix` is the
// expert or the iteration. Returns false if the name does not fit.
bool weights_tensor_name(const Kind *kind, Tensor tensor, int64_t instance, int64_t matrix, char *name, size_t size);

// Number of tensors of the checkpoint that hold the matrices: one for each matrix, or 1 where one tensor holds all.
int64_t weights_stored_tensors(const Kind *kind, Tensor tensor, const PackedShape *shape);

// The tensors of an encoding: elements, codes or blocks; and scales, which not every encoding has.
typedef enum Piece { PIECE_DATA, PIECE_SCALES, PIECE_COUNT } Piece;

// Finds a matrix and checks its tensors' dtypes and shapes; the data is not read. pieces: NULL, or room for PIECE_COUNT tensors;
// scales are NULL where the encoding has none.
Status weights_source(const Kind *kind, Tensor tensor, int64_t instance, int64_t matrix, const Safetensors *tensors,
                      PackedSource *source, const SafetensorsEntry **pieces, const Failure *failure);

#endif
