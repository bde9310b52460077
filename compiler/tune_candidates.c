// See tune_candidates.h. Everything is said before a search begins: filling memory with weights takes a while.
#define _GNU_SOURCE
#include "tune_candidates.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "spec_read.h"

enum { MOST_BYTES = 1 << 20 };

// --- the file ------------------------------------------------------------------------------------------------------------------

// A stream, too: `<(command)` of a shell is none that has a size.
static int read_text(TuneCandidates *candidates, Diagnostics *diagnostics) {
    FILE *file = fopen(candidates->path, "rb");
    candidates->text = malloc(MOST_BYTES + 1);
    int failed = !file || !candidates->text;
    if (!failed) {
        candidates->bytes = fread(candidates->text, 1, MOST_BYTES + 1, file);
        failed = ferror(file);
    }
    if (failed) {
        diagnostics_add(diagnostics, candidates->path, 0, 0, "%s", strerror(errno));
    } else if (candidates->bytes > MOST_BYTES) {
        diagnostics_add(diagnostics, candidates->path, 0, 0, "more than %d bytes are no list of candidates", MOST_BYTES);
        failed = 1;
    }
    if (file) {
        fclose(file);
    }
    return failed ? -1 : 0;
}

int tune_candidates_read(TuneCandidates *candidates, const char *path, Diagnostics *diagnostics) {
    *candidates = (TuneCandidates){.path = path};
    if (read_text(candidates, diagnostics)) {
        return -1;
    }
    size_t mark = spec_mark_bytes(candidates->text, candidates->bytes);
    candidates->bytes -= mark;
    memmove(candidates->text, candidates->text + mark, candidates->bytes);
    json_error_t error;
    candidates->list = json_loadb(candidates->text, candidates->bytes, JSON_REJECT_DUPLICATES, &error);
    size_t count = json_array_size(candidates->list);  // 0 for what is no list
    if (!candidates->list) {
        diagnostics_add(diagnostics, path, error.line > 0 ? error.line : 0, error.column > 0 ? error.column : 0, "%s", error.text);
    } else if (!count) {
        diagnostics_add(diagnostics, path, 0, 0, "expected a list of plans, [{\"gate_up.unroll\": 4, ...}, ...]");
    } else if (count > SEARCH_MAX_TABLE) {
        diagnostics_add(diagnostics, path, 0, 0, "%zu candidates: at most %d are compared at once", count, SEARCH_MAX_TABLE);
    }
    return count && count <= SEARCH_MAX_TABLE ? 0 : -1;
}

void tune_candidates_free(TuneCandidates *candidates) {
    json_decref(candidates->list);
    free(candidates->text);
    *candidates = (TuneCandidates){0};
}

// --- its plans -----------------------------------------------------------------------------------------------------------------

typedef struct Check {
    const TuneCandidates *candidates;
    const char *layer;
    const Space *space;
    Diagnostics *diagnostics;
    Section knobs;  // by name, for the nearest one
} Check;

// At a candidate, or a key of it, or (PLACE_VALUE) that key's value.
static Position position_of(const Check *check, size_t index, const char *key, PlacePart part) {
    const Place root = {0}, candidate = {&root, NULL, index}, knob = {&candidate, key, 0};
    return spec_position_find(check->candidates->text, check->candidates->bytes, key ? &knob : &candidate, part);
}

static void refuse_name(const Check *check, size_t index, const char *name) {
    const Position at = position_of(check, index, name, PLACE_KEY);
    const char *nearest = spec_nearest_key(&check->knobs, name);
    char *known = NULL;
    size_t bytes;
    FILE *list = open_memstream(&known, &bytes);
    for (size_t k = 0; list && k < check->knobs.count; k++) {
        fprintf(list, "%s%s", k ? ", " : "", check->knobs.keys[k].name);
    }
    if (list) {
        fclose(list);
    }
    diagnostics_add(check->diagnostics, check->candidates->path, at.line, at.column,
                    "candidate %zu is no plan of layer '%s': there is no knob '%.60s'%s%s", index + 1, check->layer, name,
                    nearest ? ", did you mean " : "; there are ",
                    nearest ? nearest
                    : known ? known
                            : "others");
    free(known);
}

static void refuse_value(const Check *check, size_t index, const SpaceKnob *knob, const json_t *value) {
    const Position at = position_of(check, index, knob->name, PLACE_VALUE);
    char found[SPEC_TEXT_BYTES], allowed[SPACE_MAX_VALUES * 22] = "";
    size_t used = 0;
    for (int v = 0; v < knob->count && used < sizeof allowed; v++) {
        used += (size_t)snprintf(allowed + used, sizeof allowed - used, "%s%lld", v ? ", " : "", (long long)knob->values[v]);
    }
    spec_describe(value, found);
    diagnostics_add(check->diagnostics, check->candidates->path, at.line, at.column,
                    "candidate %zu is no plan of layer '%s': %s cannot be %s here; it can be %s", index + 1, check->layer,
                    knob->name, found, allowed);
}

static bool has_value(const SpaceKnob *knob, const json_t *value) {
    for (int v = 0; v < knob->count; v++) {
        if (json_is_integer(value) && json_integer_value(value) == knob->values[v]) {
            return true;
        }
    }
    return false;
}

static const SpaceKnob *find_knob(const Space *space, const char *name) {
    for (int k = 0; k < space->knob_count; k++) {
        if (!strcmp(space->knobs[k].name, name)) {
            return &space->knobs[k];
        }
    }
    return NULL;
}

// What space_read refuses, said in full.
static void explain_refusal(const Check *check, size_t index, const json_t *candidate, const char *reason) {
    size_t before = check->diagnostics->count;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)candidate, name, value) {
        const SpaceKnob *knob = find_knob(check->space, name);
        if (!knob) {
            refuse_name(check, index, name);
        } else if (!has_value(knob, value)) {
            refuse_value(check, index, knob, value);
        }
    }
    if (check->diagnostics->count == before) {
        const Position at = position_of(check, index, NULL, PLACE_VALUE);
        char *text = json_dumps(candidate, JSON_ENCODE_ANY);
        diagnostics_add(check->diagnostics, check->candidates->path, at.line, at.column,
                        "candidate %zu is no plan of layer '%s': %s: %.400s", index + 1, check->layer, reason, text ? text : "");
        free(text);
    }
}

int tune_candidates_check(const TuneCandidates *candidates, const char *layer, const Space *space, Diagnostics *diagnostics) {
    Key keys[SEARCH_MAX_KNOBS] = {0};
    for (int k = 0; k < space->knob_count; k++) {
        keys[k].name = space->knobs[k].name;
    }
    const Check check = {candidates, layer, space, diagnostics, {"candidates", keys, (size_t)space->knob_count}};
    size_t i, before = diagnostics->count;
    json_t *candidate;
    json_array_foreach(candidates->list, i, candidate) {
        SearchPoint point;
        char reason[160] = "";
        if (space_read(space, candidate, &point, reason, sizeof reason)) {
            explain_refusal(&check, i, candidate, reason);
        }
    }
    return diagnostics->count > before ? -1 : 0;
}
