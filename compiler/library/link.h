// The last step: objects to a shared library, by lld as a process.
#ifndef CATENA_LINK_H
#define CATENA_LINK_H

#include "compiler/description/model.h"
#include "compiler/emit/emit.h"

enum { LINK_MAX_OBJECTS = 2 * MODEL_MAX_LAYERS + 2 };  // tiles and skeleton of each layer; the entry; one to spare

// Links `count` objects and the embedded runtime of the target's architecture to `path` (temporary name, then renamed). Exports
// only NAME_... symbols. Returns 0, or -1 with diagnostics (lld's own words included).
int link_library(const Target *target, const char *name, const Object *objects, int count, const char *path,
                 Diagnostics *diagnostics);

#endif
