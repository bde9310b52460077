// What suites that import models have in common: one import with everything that it says.
#ifndef CATENA_TEST_IMPORTING_H
#define CATENA_TEST_IMPORTING_H

#include <jansson.h>

#include "compiler/base/diagnostic.h"

// What one import gave; freed by importing_free.
typedef struct Imported {
    char *text, *remarks, *summary;
    Diagnostics diagnostics;
    json_t *description;
} Imported;

Imported importing_path(const char *path);
// A configuration that has no checkpoint.
Imported importing_config(const char *config);
void importing_free(Imported *result);
// A value by its path: "layers.0.router.k". NULL: it is not there.
const json_t *importing_find(const json_t *value, const char *path);
// Fail unless the description has this value (JSON; null: it is not there), or the text these words.
void importing_value(const Imported *result, const char *path, const char *wanted);
void importing_words(const char *text, const char *words);

#endif
