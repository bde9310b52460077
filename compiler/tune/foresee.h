// Tuning for a machine that is not there: the cost model alone decides (predict.h), from assumed rates. Nothing is measured,
// compiled or remembered.
#ifndef CATENA_FORESEE_H
#define CATENA_FORESEE_H

#include <stdio.h>

#include "compiler/plan/placement.h"
#include "compiler/plan/predict.h"
#include "compiler/wisdom/recall.h"

typedef struct Foresight {
    Space space;
    Point best;  // by coordinate descent from the default; the default where little is gained
    Plan plan;         // the best's
    double gain;       // predicted over the default plan: geometric mean over the workload
} Foresight;

// standard: the planner's plan of the layer for that machine.
void foresee_layer(const Plan *standard, const Target *target, const Machine *machine, int threads, const RecallWorkload *workload,
                   Foresight *foresight);

// Assumed rates of a space's tiles: all instructions at the nominal rate, less what low or narrow tiles lose.
void foresee_rates(const Space *space, int role, const Machine *machine, Rates *rates);

// For people: the decisions, and the placement of the plan's threads and weights.
void foresee_print(const Foresight *foresight, const ModelLayer *layer, const Machine *machine, int threads,
                   const RecallWorkload *workload, FILE *stream);

#endif
