// What a forward is given and what it returns beyond x and y (library.h: Extra): read, checked, and the memory that it needs.
#ifndef CATENA_EXTRA_H
#define CATENA_EXTRA_H

#include "areas.h"

// Offsets of what a chunk of tokens needs, behind the layer's own workspace. Pages that no call asks for are never touched.
typedef struct ExtraSpace {
    int64_t k;        // int32 [tokens], from importances
    int64_t experts;  // int32 [iterations][tokens][top_k]: for figures, where the caller does not take them all itself
    int64_t weights;  // float, the same shape
    int64_t scores;   // float [iterations][tokens][choices]
    int64_t sums;     // figures_bytes()
    int64_t bytes;
} ExtraSpace;

ExtraSpace extra_space(const Layer *layer, int64_t tokens);

// Reads as much of *given as its size says; NULL: nothing is wanted. What this library does not know must be zero. Sizes that no
// header can have are an error.
Status extra_read(const Extra *given, Extra *out, const Failure *failure);

enum { AREA_X, AREA_Y, AREA_ROWS };

// Checks a call: the layer has what is wanted, memory is aligned, nothing is written over anything else, and all values that are
// given for the tokens are right. rows: x and y, which the caller has compared with each other. `seen`: room for a bit per choice.
// Returns LIBRARY_OK, or LIBRARY_INVALID_ARGUMENT with a text.
Status extra_check(const Layer *layer, int64_t tokens, const Area rows[AREA_ROWS], const Extra *extra, uint8_t *seen,
                   const Failure *failure);

#endif
