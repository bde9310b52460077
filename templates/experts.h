// The experts of one iteration: tokens sorted into buckets (buckets.h), gate/up with activation (up.h), down with combination
// (down.h), in one wave or several.
//
// Work is cut without touching the result: an output element is always one chain over k, and a token's outputs are combined in
// ascending order of experts, because a down task owns whole columns and walks its experts in order.
#ifndef CATENA_EXPERTS_H
#define CATENA_EXPERTS_H

#include "down.h"
#include "up.h"

// x_{t+1} from x_t and its routing. Complete after the next barrier.
INLINE void experts_iteration(Context *c, int64_t iteration) {
    buckets_sort(c);
    for (int64_t first = 0; first < layer_plan.layer.experts; first = c->last) {
        if (first > 0) {
            team_barrier(c->team);  // the wave before has read its intermediate values
        }
        buckets_begin_wave(c, first);
        up_phase(c, iteration);
        team_barrier(c->team);
        down_phase(c, iteration);
    }
}

#endif
