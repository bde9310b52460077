// Messages about a description: where a problem is, and which known key an unknown one is like.
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "read.h"

void spec_error(Spec *spec, const Place *place, PlacePart part, const char *format, ...) {
    Position position = {0};
    if (spec->diagnostics->count < DIAGNOSTICS_KEPT) {  // a search of the text per message: not for messages that are not kept
        position = spec_position_find(spec->text, spec->bytes, place, part);
    }
    char text[4 * SPEC_TEXT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    diagnostics_add(spec->diagnostics, spec->name, position.line, position.column, "%s", text);
}

static void print_step(const Place *place, char *text, size_t *used) {
    if (!place->parent) {
        return;
    }
    print_step(place->parent, text, used);
    char *end = text + *used;
    size_t room = SPEC_TEXT_BYTES - *used;
    int length =
        place->key ? snprintf(end, room, "%s%.60s", *used ? "." : "", place->key) : snprintf(end, room, "[%zu]", place->index);
    *used += (size_t)length < room ? (size_t)length : room - 1;
}

void spec_place_print(const Place *place, char text[SPEC_TEXT_BYTES]) {
    size_t used = 0;
    snprintf(text, SPEC_TEXT_BYTES, "the description");
    print_step(place, text, &used);
}

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

// Levenshtein's distance, one row at a time. Longer names are like none of ours.
static size_t edit_distance(const char *a, const char *b) {
    enum { LONGEST = 64 };
    size_t row[LONGEST + 1], length_a = strlen(a), length_b = strlen(b);
    if (length_a > LONGEST || length_b > LONGEST) {
        return SIZE_MAX;
    }
    for (size_t j = 0; j <= length_b; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= length_a; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= length_b; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = least(change, least(row[j], row[j - 1]) + 1);
        }
    }
    return row[length_b];
}

// What other programs call our keys: transformers' configurations, papers.
static const struct {
    const char *section, *theirs, *ours;
} synonyms[] = {
    {"router", "top_k", "k"},
    {"router", "num_experts_per_tok", "k"},
    {"router", "norm_topk_prob", "normalize"},
    {"router", "scoring_func", "score"},
    {"router", "routed_scaling_factor", "scale"},
    {"experts", "num_experts", "count"},
    {"experts", "n_routed_experts", "count"},
    {"experts", "num_local_experts", "count"},
    {"experts", "moe_intermediate_size", "intermediate"},
    {"experts", "hidden_act", "activation"},
    {"shared_experts", "n_shared_experts", "count"},
    {"layer", "d_model", "hidden"},
    {"layer", "num_experts", "experts"},
    {"layer", "dtype", "weights"},
};

const char *spec_nearest_key(const Section *section, const char *name) {
    const char *nearest = NULL;
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < sizeof synonyms / sizeof *synonyms; i++) {
        if (!strcmp(section->name, synonyms[i].section) && !strcmp(name, synonyms[i].theirs)) {
            return synonyms[i].ours;
        }
    }
    for (size_t i = 0; i < section->count; i++) {
        size_t distance = edit_distance(name, section->keys[i].name);
        if (distance < best) {
            best = distance;
            nearest = section->keys[i].name;
        }
    }
    // Half of the letters may differ: beyond that a suggestion would only distract.
    return nearest && best <= (strlen(name) + strlen(nearest) + 2) / 4 ? nearest : NULL;
}

const Key *spec_find_key(const Section *section, const char *name) {
    for (size_t i = 0; i < section->count; i++) {
        if (!strcmp(section->keys[i].name, name)) {
            return &section->keys[i];
        }
    }
    return NULL;
}
