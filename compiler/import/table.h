// How rows of the table of models are written (families/, megatron.c).
#ifndef CATENA_IMPORT_TABLE_H
#define CATENA_IMPORT_TABLE_H

#include "read.h"

// Rules of settings: `names` are keys of the configuration, separated by blanks.
#define FIXED(value) {.presence = PRESENCE_FIXED, .number = (value)}
#define WORD(text) {.presence = PRESENCE_FIXED, .word = (text)}
#define KEY(names, value) {.presence = PRESENCE_KEY, .keys = (names), .number = (value)}
#define KEY_LISTED(names, value) {.presence = PRESENCE_KEY, .keys = (names), .number = (value), .listed = true}
#define KEY_FIRST(names, value) {.presence = PRESENCE_KEY, .keys = (names), .number = (value), .first = true}
#define KEY_WORD(names, text) {.presence = PRESENCE_KEY, .keys = (names), .word = (text)}
#define NULLABLE(names, value) {.presence = PRESENCE_NULLABLE, .keys = (names), .number = (value)}
#define OPTIONAL(names) {.presence = PRESENCE_OPTIONAL, .keys = (names)}
#define OPTIONAL_LISTED(names) {.presence = PRESENCE_OPTIONAL, .keys = (names), .listed = true}
#define REQUIRED(names) {.presence = PRESENCE_REQUIRED, .keys = (names)}

// Tensors.
#define PLAIN(tensor_, name_) {.tensor = tensor_, .name = name_}
#define PART(tensor_, name_, rows_, order_) {.tensor = tensor_, .name = name_, .rows = rows_, .order = order_}

#endif
