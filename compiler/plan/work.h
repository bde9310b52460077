// The model of work: what a routing makes a layer visit, and the FLOPs and bytes that this costs. Arithmetic alone, tested on known
// layers.
//
//   bytes        what naive streaming reads: per iteration the packed bytes of the distinct experts chosen, router, shared experts,
//                projections;
//   union bytes  each expert once for the whole call.
#ifndef CATENA_WORK_H
#define CATENA_WORK_H

#include <stdbool.h>
#include <stddef.h>

#include "templates/plan.h"

// What a routing makes a layer visit. Means over the calls that were looked at.
typedef struct Visits {
    double visits;  // routed expert evaluations, all iterations
    double distinct;  // distinct experts chosen in an iteration, mean over iterations
    double distinct_sum;  // the same, summed over iterations: experts that naive streaming reads
    double union_experts;  // distinct experts of the whole call
    double largest_share;  // of one expert in an iteration's visits, the largest over iterations
} Visits;

typedef struct Work {
    double routed_flops, shared_flops, router_flops;  // 2 per multiply-add; the router's include the shared experts' gates
    double latent_flops;  // of a latent layer's projections
    double flops;  // all four
    double bytes;  // packed bytes of each iteration's distinct experts, router, shared experts, projections
    double union_bytes;  // every matrix once for the whole call
} Work;

// experts: [iterations][tokens][top_k], -1 for an unused slot. Returns 0, or -1 when out of memory.
int work_visits(const Layer *layer, int64_t tokens, const int32_t *experts, Visits *visits);
// Adds `other` to a mean over `count` earlier ones.
void work_visits_mean(Visits *mean, int64_t count, const Visits *other);
// Expected visits of `tokens` tokens under uniform routing.
Visits work_expected_visits(const Layer *layer, int64_t tokens);
// routed: whether the library's router runs; if it does not, no router is counted.
Work work_count(const Plan *plan, int64_t tokens, const Visits *visits, bool routed);

// GB/s that a call reached at least: each byte of the union must have come from where the working set lies.
double work_reached(const Work *work, double seconds);

// Compares the FLOPs of two layers kind by kind: "equal FLOPs" must not be said of layers that differ in shared work or routers.
// Returns true where some kind differs by more than 0.1 %; `text` then says by which factors.
bool work_difference(const Work *ours, const Work *theirs, char *text, size_t bytes);

#endif
