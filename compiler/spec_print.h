// Writes a description: the inverse of reading one. What has its default is left out.
#ifndef CATENA_SPEC_PRINT_H
#define CATENA_SPEC_PRINT_H

#include "model.h"

// The description's JSON text, such that model_read_text gives the same model again; a workload without tokens and routing is left
// out too. Owned by the caller; NULL when out of memory.
char *model_print(const Model *model);

#endif
