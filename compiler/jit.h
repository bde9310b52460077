// Running emitted objects in this process: the very object that would be linked into a library.
#ifndef CATENA_JIT_H
#define CATENA_JIT_H

#include "emit.h"

typedef struct Jit Jit;

// Loads an object (takes ownership of it). NULL with diagnostics on failure.
Jit *jit_load(Object object, Diagnostics *diagnostics);
// The address of a function in it; NULL if it has none of that name.
void *jit_function(Jit *jit, const char *name);
void jit_free(Jit *jit);

#endif
