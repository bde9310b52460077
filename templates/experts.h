// The experts of one iteration: tokens sorted into buckets (buckets.h), gate/up with activation (up.h), down with combination
// (down.h), in one wave or several; and the projections around the routed ones (latent.h).
//
// Work is cut without touching the result: an output element is always one chain over k, and a token's outputs are combined in
// ascending order of experts, because a down task owns whole columns and walks its experts in order.
#ifndef CATENA_EXPERTS_H
#define CATENA_EXPERTS_H

#include "down.h"
#include "latent.h"
#include "up.h"

// This thread's share of the wave's intermediate rows becomes rows of A, where down needs whole rows for that. Behind a barrier.
INLINE void experts_make_rows(const Context *c) {
    const Role *down = &layer_plan.roles[ROLE_DOWN], *shared = &layer_plan.roles[ROLE_SHARED_DOWN];
    int64_t rows = c->starts[minimum(c->last, layer_plan.layer.experts)] - buckets_wave_start(c);
    int64_t shared_rows = buckets_last_wave(c) ? layer_plan.layer.shared_experts * c->call->tokens : 0;
    if (down->whole_rows) {
        form_make_rows(down, c->call->workspace + c->space.intermediate, share_start(rows, c->thread, c->threads),
                       share_start(rows, c->thread + 1, c->threads));
    }
    if (shared->whole_rows) {
        form_make_rows(shared, c->call->workspace + c->space.shared, share_start(shared_rows, c->thread, c->threads),
                       share_start(shared_rows, c->thread + 1, c->threads));
    }
}

// x_{t+1} from x_t and its routing. Complete after the next barrier.
INLINE void experts_iteration(Context *c, int64_t iteration) {
    buckets_sort(c);
    for (int64_t first = 0; first < layer_plan.layer.experts; first = c->last) {
        if (first > 0) {
            team_barrier(c->team);  // the wave before has read its intermediate values
        }
        buckets_begin_wave(c, first);
        up_phase(c, iteration);
        if (layer_plan.roles[ROLE_DOWN].whole_rows || layer_plan.roles[ROLE_SHARED_DOWN].whole_rows) {
            team_barrier(c->team);
            experts_make_rows(c);
        }
        team_barrier(c->team);
        down_phase(c, iteration);
    }
    if (layer_plan.layer.latent) {
        team_barrier(c->team);
        latent_leave(c, iteration);
    }
}

#endif
