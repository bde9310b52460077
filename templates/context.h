// What one thread of a forward works with: the plan, the call and its own view of the workspace.
#ifndef CATENA_CONTEXT_H
#define CATENA_CONTEXT_H

#include "math.h"
#include "skeleton.h"

// In a library the plan is a constant that the emitter supplies and the optimiser folds away; natively (under sanitizers) it is
// a variable that the tests set.
//
// layer_tuned is the same plan. What the search varies is read from it alone: while it tries plans it keeps one skeleton, for which
// layer_plan is a constant and layer_tuned is not (compiler/measure/candidate.c).
#ifdef CATENA_NATIVE
extern Plan layer_plan;
#define layer_tuned layer_plan
#else
extern const Plan layer_plan, layer_tuned;
#endif

// A role of layer_plan, as tuned.
INLINE const Role *tuned(const Role *role) {
    return &layer_tuned.roles[role - layer_plan.roles];
}

typedef struct Context {
    Call *call;
    Team *team;
    int64_t thread, threads;
    Workspace space;
    int64_t phase;  // phases with tasks that this thread has begun
    int32_t few;  // every thread selects for all tokens, into its own arrays
    int32_t publishes;  // this thread hands out what the caller asked for: routing, scores
    int32_t *experts;  // [tokens][top_k] of this iteration; -1: no expert
    float *weights;
    float *shared_gates;  // [tokens][shared_experts]: weights of the shared experts in this iteration, if gated
    uint8_t *rejected;  // [tokens]
    int64_t *starts;  // buckets of this iteration (thread's own)
    int32_t *rows;
    float *row_weights;
    int64_t first, last;  // pool entries of this wave (buckets.h)
} Context;

// A contiguous share of `total` items for one of `parts`: sizes differ by at most one.
INLINE int64_t share_start(int64_t total, int64_t part, int64_t parts) {
    return total / parts * part + (part < total % parts ? part : total % parts);
}

INLINE uint8_t *context_private(const Context *c, int64_t offset) {
    return c->call->workspace + c->space.thread + c->thread * c->space.thread_bytes + offset;
}

INLINE float *context_state(const Context *c, int64_t iteration, int64_t token) {
    return (float *)(c->call->workspace + c->space.state[iteration & 1] + token * layer_plan.roles[ROLE_ROUTER].input_stride);
}

// Rows of a latent layer: what routed experts read, and the sum of what they return.
typedef enum LatentRow { LATENT_INPUT, LATENT_SUM } LatentRow;

INLINE float *context_latent(const Context *c, LatentRow row, int64_t token) {
    return (float *)(c->call->workspace + c->space.latent[row] + token * plan_latent_stride(&layer_plan.layer));
}

// What routed experts read of a token.
INLINE float *context_pool_input(const Context *c, int64_t iteration, int64_t token) {
    return layer_plan.layer.latent ? context_latent(c, LATENT_INPUT, token) : context_state(c, iteration, token);
}

// Where a token's routed experts add up.
INLINE float *context_pool_sum(const Context *c, int64_t iteration, int64_t token) {
    return layer_plan.layer.latent ? context_latent(c, LATENT_SUM, token) : context_state(c, iteration + 1, token);
}

// Begins a phase whose tasks are handed out, and returns its counter. Phase p uses counter p % 3; during it one thread clears
// counter (p + 1) % 3. Nobody uses that one then: its last user was phase p - 2, its next is phase p + 1, and a barrier lies
// between any two phases. Whoever is in phase p has passed the barrier before it, to which every thread came after its last
// task of phase p - 1 (and so of p - 2); no thread is in phase p + 1 before the clearing thread comes to the barrier after p.
INLINE int64_t *context_begin_phase(Context *c) {
    int64_t *counters = c->call->next_task, phase = c->phase++;
    if (c->thread == 0) {
        __atomic_store_n(&counters[(phase + 1) % TASK_COUNTERS], 0, __ATOMIC_RELAXED);
    }
    return &counters[phase % TASK_COUNTERS];
}

// The next task of a phase, or -1. With one task a thread each thread takes its own: neighbours keep their part of the weights.
INLINE int64_t context_next_task(const Context *c, int64_t *counter, int64_t tasks_per_thread, int64_t *previous) {
    if (tasks_per_thread == 1) {
        *previous = *previous < 0 ? c->thread : c->threads;
        return *previous < c->threads ? *previous : -1;
    }
    *previous = __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
    return *previous < tasks_per_thread * c->threads ? *previous : -1;
}

INLINE int64_t minimum(int64_t a, int64_t b) {
    return a < b ? a : b;
}

#endif
