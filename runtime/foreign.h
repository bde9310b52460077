// What a file is that was given in place of weights.
#ifndef CATENA_FOREIGN_H
#define CATENA_FOREIGN_H

#include <stddef.h>

// What a file is by its first bytes, and what to do, in words that follow "FILE: "; NULL: it is none of the kinds that people
// mistake for safetensors.
const char *foreign_kind(const void *data, size_t size);

#endif
