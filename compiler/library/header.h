// The C header of a compiled library, and its pkg-config file.
#ifndef CATENA_HEADER_H
#define CATENA_HEADER_H

#include <stdio.h>

#include "compiler/description/model.h"

// Writes NAME.h (C and C++): the interface of runtime/library.h under the library's own names. Returns 0, or -1 if writing failed.
int header_write(const Model *model, FILE *stream);

// Writes NAME.pc for a library and header in `directory`, which must exist. Returns 0, or -1 if that failed.
int header_write_pkgconfig(const Model *model, const char *directory, FILE *stream);

#endif
