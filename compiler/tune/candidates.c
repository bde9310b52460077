// See candidates.h. Everything is said before a search begins: filling memory with weights takes a while.
#define _GNU_SOURCE
#include "candidates.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/description/read.h"
#include "search.h"

enum { MOST_BYTES = 1 << 20 };

// --- the file ----------------------------------------------------------------------------------------------------------------

// Reads streams, too: what `<(command)` of a shell names has no size.
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

// --- its plans ---------------------------------------------------------------------------------------------------------------

typedef struct Check {
    const TuneCandidates *candidates;
    const char *layer;
    const Space *space;
    Diagnostics *diagnostics;
} Check;

// At a candidate, or at a knob of it.
static void refuse(const Check *check, size_t index, const char *knob, const char *reason) {
    const Place root = {0}, candidate = {&root, NULL, index}, key = {&candidate, knob, 0};
    const Position at =
        spec_position_find(check->candidates->text, check->candidates->bytes, knob ? &key : &candidate, PLACE_VALUE);
    diagnostics_add(check->diagnostics, check->candidates->path, at.line, at.column, "candidate %zu is no plan of layer '%s': %s",
                    index + 1, check->layer, reason);
}

// Each knob alone first, so that every wrong one is reported with its place; then the combination of knobs.
static void check_candidate(const Check *check, size_t index, const json_t *candidate) {
    size_t before = check->diagnostics->count;
    char reason[SPACE_REASON_BYTES] = "";
    Point point;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)candidate, name, value) {
        json_t *alone = json_pack("{s:O}", name, value);
        if (alone && space_read(check->space, alone, &point, reason, sizeof reason)) {
            refuse(check, index, name, reason);
        }
        json_decref(alone);
    }
    if (check->diagnostics->count == before && space_read(check->space, candidate, &point, reason, sizeof reason)) {
        refuse(check, index, NULL, reason);
    }
}

int tune_candidates_check(const TuneCandidates *candidates, const char *layer, const Space *space, Diagnostics *diagnostics) {
    const Check check = {candidates, layer, space, diagnostics};
    size_t i, before = diagnostics->count;
    json_t *candidate;
    json_array_foreach(candidates->list, i, candidate) {
        check_candidate(&check, i, candidate);
    }
    return diagnostics->count > before ? -1 : 0;
}
