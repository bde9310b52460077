// The planner: from (layer, target, machine, rates of the paths) to a plan. A pure function: nothing is measured here.
#ifndef CATENA_PLANNER_H
#define CATENA_PLANNER_H

#include "compiler/machine/machine.h"
#include "compiler/machine/peaks.h"
#include "targets/target.h"

// The default plan. `peaks` may be NULL (the target is not this machine): then the path that every CPU of the target has is
// taken. `machine` gives cache sizes; unknown ones (0) are assumed to be small.
Plan plan_default(const Layer *layer, const Target *target, const Machine *machine, const Peaks *peaks);

// The default plan of the same layer with its experts on another path, which gives other bits.
Plan plan_with_path(const Plan *plan, Path path, const Target *target, const Machine *machine);

// Whether choosing paths for a layer needs measured peaks at all (more than one path is legal).
bool plan_needs_peaks(const Layer *layer, const Target *target);

// Bytes of the second-level cache that a core has to itself; a small one where that is unknown.
int64_t planner_l2_bytes(const Machine *machine);

#endif
