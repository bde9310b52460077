// Writes a description: the inverse of reading one. What has its default, or means nothing in its layer, is left out.
#ifndef CATENA_SPEC_PRINT_H
#define CATENA_SPEC_PRINT_H

#include "model.h"

// The description's JSON text, such that model_read_text gives the same model again (fields that mean nothing get their defaults);
// a workload without tokens and routing is left out too. Owned by the caller; NULL when out of memory.
char *model_print(const Model *model);

#endif
