// The JSON schema of descriptions, for editors: made from the same tables that read them (keys.c).
#ifndef CATENA_SPEC_SCHEMA_H
#define CATENA_SPEC_SCHEMA_H

#include <jansson.h>

// NULL when out of memory.
json_t *spec_schema(void);

#endif
