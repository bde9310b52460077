// Options as a caller's version of the header knows them.
#ifndef CATENA_OPTIONS_H
#define CATENA_OPTIONS_H

#include "failure.h"

// Copies what the caller gave (NULL: nothing) over zeros and checks it. A caller with a newer, larger struct is served as long
// as the fields that we do not know are zero.
Status options_read(const Options *given, Options *out, const Failure *failure);

#endif
