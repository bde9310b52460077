// The plans of `catena tune --candidates`: [{"gate_up.unroll": 4, ...}, ...].
#ifndef CATENA_TUNE_CANDIDATES_H
#define CATENA_TUNE_CANDIDATES_H

#include <jansson.h>

#include "compiler/base/diagnostic.h"
#include "compiler/plan/space.h"

typedef struct TuneCandidates {
    const char *path;
    char *text;  // of the file, so that messages can say where in it
    size_t bytes;
    json_t *list;
} TuneCandidates;

// Returns 0, or -1 with diagnostics; tune_candidates_free in either case.
int tune_candidates_read(TuneCandidates *candidates, const char *path, Diagnostics *diagnostics);
void tune_candidates_free(TuneCandidates *candidates);

// Whether each is a plan of the layer's space. Returns 0, or -1 with a diagnostic for each knob or value that is not there, by the
// candidate's number from 1 and its place in the file.
int tune_candidates_check(const TuneCandidates *candidates, const char *layer, const Space *space, Diagnostics *diagnostics);

#endif
