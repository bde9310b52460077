// The C header of a compiled library, and its pkg-config file.
#ifndef CATENA_HEADER_H
#define CATENA_HEADER_H

#include <stdio.h>

#include "compiler/description/model.h"

// Writes NAME.h (C and C++): the interface of runtime/library.h under the library's own names. Returns 0, or -1 if writing failed.
int header_write(const Model *model, FILE *stream);

// A name for what the header's constants say of the layers: libraries with the same name take the same rows. 16 hexadecimal digits.
// Returns 0, or -1 when out of memory.
enum { HEADER_INTERFACE_BYTES = 17 };
int header_interface(const Model *model, char name[HEADER_INTERFACE_BYTES]);

// Writes NAME.pc for a library and header in `directory`, which must exist. Returns 0, or -1 if that failed.
int header_write_pkgconfig(const Model *model, const char *directory, FILE *stream);

#endif
