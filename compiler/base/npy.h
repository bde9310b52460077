// Arrays in NumPy's file format (.npy): little-endian float32 and int32, C order, 1 to 3 dimensions.
#ifndef CATENA_NPY_H
#define CATENA_NPY_H

#include <stdint.h>

#include "diagnostic.h"

enum { NPY_MAX_DIMENSIONS = 3 };

typedef enum NpyType { NPY_FLOAT32, NPY_INT32 } NpyType;

typedef struct Npy {
    NpyType type;
    int dimensions;
    int64_t shape[NPY_MAX_DIMENSIONS];  // products of shape and element size fit into int64_t
    void *data;                         // owned; 4 bytes per element
} Npy;

// Elements of an array: the product of its shape.
int64_t npy_elements(const Npy *array);

// Reads a file of one of the types above. Returns 0, or -1 with a reason in diagnostics; `array` is then empty.
int npy_read(const char *path, Npy *array, Diagnostics *diagnostics);
void npy_free(Npy *array);

// Whether an array of this shape could be written; its data is not looked at. Returns 0, or -1 with diagnostics.
int npy_try(const char *path, const Npy *array, Diagnostics *diagnostics);
// Writes through a temporary file in the same folder that is renamed when complete: a full disk leaves no half-written array.
int npy_write(const char *path, const Npy *array, Diagnostics *diagnostics);

#endif
