// The skeleton compiled natively, with plain tiles (templates/tiles_plain.c), as if it were a library that was loaded.
#ifndef CATENA_NATIVE_H
#define CATENA_NATIVE_H

#include "compiler/library/artifact.h"
#include "runtime/instance.h"

// One kind at a time, which must outlive the library's instances: the plan is a global variable. Functions that only open files or
// do without a layer are missing.
const Loaded *native_library(const Kind *kind);

#endif
