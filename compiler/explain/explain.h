// `catena explain`: a plan for people. Printing only; nothing is measured here.
#ifndef CATENA_EXPLAIN_H
#define CATENA_EXPLAIN_H

#include <jansson.h>
#include <stdio.h>

#include "compiler/description/model.h"
#include "compiler/machine/bandwidth.h"
#include "compiler/machine/peaks.h"
#include "compiler/plan/placement.h"
#include "targets/target.h"
#include "templates/skeleton.h"

typedef struct Explanation {
    const Target *target;
    const Plan *plan;
    const ModelLayer *layer;
    const json_t *origin;  // of the plan: see compiler/wisdom/origin.h
    const char *untrusted;  // what is to be said of wisdom that was not taken up; NULL: nothing
    const Workload *workload;
    int threads;
    const Machine *machine;
    const PlacementRates *rates;
    const Peaks *peaks;          // NULL: the target is not this machine
    const Bandwidth *bandwidth;  // NULL likewise
} Explanation;

void explain_layer(const Explanation *explanation, FILE *stream);

// Its part about threads, nodes and weights, and the number of threads that is recommended.
void explain_placement(const Explanation *explanation, FILE *stream);

// What two layers cost a token and may choose from, side by side: routed, shared and router work apart.
void explain_comparison(const char *name, const Plan *plan, const char *other_name, const Plan *other, FILE *stream);

#endif
