// Inside of the description's parser, and used by compiler/import, which reads other JSON by the same keys. Calls go one way:
// spec.c calls value.c, which calls check.c and idle.c; all of them call message.c, which calls position.c.
#ifndef CATENA_SPEC_READ_H
#define CATENA_SPEC_READ_H

#include <jansson.h>

#include "keys.h"
#include "position.h"

// What is being read and where its problems go.
typedef struct Spec {
    const char *name;  // of the file, for messages
    const char *text;
    size_t bytes;
    Diagnostics *diagnostics;
} Spec;

enum { SPEC_TEXT_BYTES = 256 };

// Bytes of the byte order mark that a text begins with, which some editors write and no parser wants: 0 or 3.
size_t spec_mark_bytes(const char *text, size_t bytes);
// Reports a problem at a place of the text.
void spec_error(Spec *spec, const Place *place, PlacePart part, const char *format, ...) __attribute__((format(printf, 4, 5)));
// Writes a place as a person would: "layers[0].router.k".
void spec_place_print(const Place *place, char text[SPEC_TEXT_BYTES]);

// Reads an object into `base`. object NULL: the section is absent and its fields take their defaults.
void spec_read_section(Spec *spec, const Section *section, const json_t *object, const Place *place, void *base);
// Reads one value (not NULL) into its field; a field whose value is wrong keeps its default.
void spec_read_value(Spec *spec, const Key *key, const json_t *value, const Place *place, void *base);
// Gives a field its default.
void spec_default_value(const Key *key, void *base);
// What a key wants: "an integer from 1 to 16".
void spec_expected(const Key *key, char text[SPEC_TEXT_BYTES]);
// A value as it stands in the text, shortened; containers by their kind alone.
void spec_describe(const json_t *value, char text[SPEC_TEXT_BYTES]);
// NULL if the section has no such key.
const Key *spec_find_key(const Section *section, const char *name);
// The known name that is most like an unknown one, or NULL if none is like it.
const char *spec_nearest_key(const Section *section, const char *name);

// Why a key means nothing in this layer, by the names of its section and its own; NULL where it means something.
const char *spec_idle_reason(const Layer *layer, const char *section, const char *key);
// Reports each key of a layer's (or its inner section's) JSON object that means nothing in it.
void spec_check_idle(Spec *spec, const Layer *layer, const Section *section, const json_t *object, const Place *place);

// Combinations of fields. `clean`: the layer's own values were all right, so that it makes sense to ask what they mean together.
void spec_check_layer(Spec *spec, const ModelLayer *layer, size_t index, bool clean, bool has_checkpoint);
void spec_check_model(Spec *spec, const Model *model);

#endif
