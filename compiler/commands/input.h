// What a command that takes "SPEC|LIB" was given.
#ifndef CATENA_INPUT_H
#define CATENA_INPUT_H

#include "compiler/base/diagnostic.h"

typedef enum InputKind { INPUT_DESCRIPTION, INPUT_LIBRARY, INPUT_NEITHER } InputKind;

// Tells by a file's first bytes; INPUT_NEITHER with a diagnostic. What cannot be read or is empty counts as a description, whose
// reader says what is wrong with it.
InputKind input_kind(const char *path, Diagnostics *diagnostics);

#endif
