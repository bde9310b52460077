// Tokens sorted into buckets, one for each choice; and the waves in which experts are taken.
#ifndef CATENA_BUCKETS_H
#define CATENA_BUCKETS_H

#include "context.h"

// Counting sort of the (token, slot) pairs by choice; tokens ascend within a bucket.
INLINE void buckets_sort(const Context *c) {
    int64_t choices = layer_choices(&layer_plan.layer), k = layer_plan.layer.top_k;
    for (int64_t e = 0; e <= choices; e++) {
        c->starts[e] = 0;
    }
    for (int64_t i = 0; i < c->call->tokens * k; i++) {
        if (c->experts[i] >= 0) {
            c->starts[c->experts[i] + 1]++;
        }
    }
    for (int64_t e = 0; e < choices; e++) {
        c->starts[e + 1] += c->starts[e];
    }
    for (int64_t i = 0; i < c->call->tokens * k; i++) {
        if (c->experts[i] >= 0) {
            int64_t row = c->starts[c->experts[i]]++;
            c->rows[row] = (int32_t)(i / k);
            c->row_weights[row] = c->weights[i];
        }
    }
    for (int64_t e = choices; e > 0; e--) {
        c->starts[e] = c->starts[e - 1];
    }
    c->starts[0] = 0;
}

// Pool entries: routed experts, then shared experts, which hold every token.
INLINE int64_t buckets_entries(void) {
    return layer_plan.layer.experts + layer_plan.layer.shared_experts;
}

// Written so that the optimiser sees that a layer without shared experts never meets one.
INLINE int buckets_is_shared(int64_t e) {
    return layer_plan.layer.shared_experts > 0 && e >= layer_plan.layer.experts;
}

INLINE int64_t buckets_rows(const Context *c, int64_t e) {
    return buckets_is_shared(e) ? c->call->tokens : c->starts[e + 1] - c->starts[e];
}

INLINE int64_t buckets_token(const Context *c, int64_t e, int64_t row) {
    return buckets_is_shared(e) ? row : c->rows[c->starts[e] + row];
}

// --- waves -------------------------------------------------------------------------------------------------------------------
// The intermediate values of routed experts have room for wave_rows rows. Consecutive experts whose rows fit in together make a
// wave; every thread finds the same ones. Where the plan's chunks always fit there is one wave, and no code for more.

INLINE int buckets_need_waves(void) {
    return layer_plan.schedule.chunk_tokens * layer_plan.layer.top_k > layer_plan.schedule.wave_rows;
}

// Pool entries [first, c->last) are the wave that starts with expert `first`; shared experts belong to the last one. An expert
// always fits in alone: a wave has room for a row of every token.
INLINE void buckets_begin_wave(Context *c, int64_t first) {
    int64_t experts = layer_plan.layer.experts, last = experts;
    if (buckets_need_waves()) {
        last = first + 1;
        while (last < experts && c->starts[last + 1] - c->starts[first] <= layer_plan.schedule.wave_rows) {
            last++;
        }
    }
    c->first = first;
    c->last = last < experts ? last : buckets_entries();
}

INLINE int buckets_last_wave(const Context *c) {
    return c->last == buckets_entries();
}

// The wave's first row in the buckets: where its intermediate values start.
INLINE int64_t buckets_wave_start(const Context *c) {
    return buckets_need_waves() ? c->starts[c->first] : 0;
}

// The entry of this wave that has rows and follows e in steps of `step` (1 or -1); c->last if there is none.
INLINE int64_t buckets_next(const Context *c, int64_t e, int64_t step) {
    for (e += step; e >= c->first && e < c->last && buckets_rows(c, e) == 0;) {
        e += step;
    }
    return e < c->first ? c->last : e;
}

#endif
