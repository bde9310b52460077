// Memory of the caller's that a call reads or writes: how many bytes, in arithmetic that does not wrap, and whether they may be.
#ifndef CATENA_AREAS_H
#define CATENA_AREAS_H

#include <stdbool.h>
#include <stdint.h>

#include "failure.h"

// start NULL, or no bytes: none.
typedef struct Area {
    const char *name;
    const void *start;
    int64_t bytes;      // area_bytes(): AREA_TOO_LARGE is an error of areas_check
    int64_t alignment;  // of an element, in bytes
    bool written;
} Area;

enum { AREA_TOO_LARGE = -1 };

// The structs that a caller gives say their own size; no header's is beyond this.
enum { AREA_MOST_STRUCT_BYTES = 4096 };

// Bytes from the first element to past the last one of `rows` rows of `width` elements; `stride` elements lie from one row to the
// next, and `element` bytes are one. 0 without rows. AREA_TOO_LARGE if no memory can hold them.
int64_t area_bytes(int64_t rows, int64_t stride, int64_t width, int64_t element);

// Checks that each area can be there, is aligned and mapped, and that nothing is written over another area. The first `compared`
// areas are not compared with each other. Returns LIBRARY_OK, or LIBRARY_INVALID_ARGUMENT with a text.
Status areas_check(const Area *areas, int count, int compared, const Failure *failure);

#endif
