// Running emitted objects in this process: the very object that would be linked into a library.
#ifndef CATENA_JIT_H
#define CATENA_JIT_H

#include "emit.h"

typedef struct Jit Jit;

// Loads an object (takes ownership of it). NULL with diagnostics on failure.
Jit *jit_load(Object object, Diagnostics *diagnostics);
// Another object beside it (takes ownership): each finds the other's functions, and those of the C library. Returns 0 or -1.
int jit_add(Jit *jit, Object object, Diagnostics *diagnostics);
// Gives objects something of this program, a function or data, under a name.
int jit_define(Jit *jit, const char *name, const void *address, Diagnostics *diagnostics);
// The address of a function in it; NULL if it has none of that name.
void *jit_function(Jit *jit, const char *name);
void jit_free(Jit *jit);

#endif
