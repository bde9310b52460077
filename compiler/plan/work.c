// FLOPs, bytes and visits of a forward. Nothing is measured here.
#include "work.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double ratio(double a, double b) {
    return b > 0 ? a / b : 0;
}

static void count_iteration(const Layer *layer, int64_t slots, const int32_t *experts, int64_t *counts, Visits *visits) {
    int64_t visited = 0, distinct = 0, largest = 0;
    memset(counts, 0, (size_t)layer->experts * sizeof *counts);
    for (int64_t i = 0; i < slots; i++) {
        if (experts[i] >= 0 && experts[i] < layer->experts) {
            counts[experts[i]]++;
            visited++;
        }
    }
    for (int64_t e = 0; e < layer->experts; e++) {
        distinct += counts[e] > 0;
        largest = counts[e] > largest ? counts[e] : largest;
    }
    double share = visited ? (double)largest / (double)visited : 0;
    visits->visits += (double)visited;
    visits->distinct_sum += (double)distinct;
    visits->largest_share = share > visits->largest_share ? share : visits->largest_share;
}

int work_visits(const Layer *layer, int64_t tokens, const int32_t *experts, Visits *visits) {
    int64_t slots = tokens * layer->top_k;
    int64_t *counts = calloc((size_t)layer->experts, sizeof *counts);
    int64_t *ever = calloc((size_t)layer->experts, sizeof *ever);
    int status = counts && ever ? 0 : -1;
    *visits = (Visits){0};
    for (int64_t t = 0; !status && t < layer->iterations; t++) {
        count_iteration(layer, slots, experts + t * slots, counts, visits);
        for (int64_t e = 0; e < layer->experts; e++) {
            ever[e] += counts[e];
        }
    }
    for (int64_t e = 0; !status && e < layer->experts; e++) {
        visits->union_experts += ever[e] > 0;
    }
    visits->distinct = visits->distinct_sum / (double)layer->iterations;
    free(counts);
    free(ever);
    return status;
}

static void mean_add(double *mean, int64_t count, double value) {
    *mean += (value - *mean) / (double)(count + 1);
}

void work_visits_mean(Visits *mean, int64_t count, const Visits *other) {
    mean_add(&mean->visits, count, other->visits);
    mean_add(&mean->distinct, count, other->distinct);
    mean_add(&mean->distinct_sum, count, other->distinct_sum);
    mean_add(&mean->union_experts, count, other->union_experts);
    mean_add(&mean->largest_share, count, other->largest_share);
}

Visits work_expected_visits(const Layer *layer, int64_t tokens) {
    double pool = (double)layer->experts, iterations = (double)layer->iterations;
    double chance = (double)layer->expected_k / (double)layer_choices(layer);  // those that compute nothing have their share
    Visits v = {0};
    v.visits = (double)tokens * chance * pool * iterations;
    v.distinct = pool * (1 - pow(1 - chance, (double)tokens));
    v.distinct_sum = v.distinct * iterations;
    v.union_experts = pool * (1 - pow(1 - chance, (double)tokens * iterations));
    v.largest_share = 1 / pool;
    return v;
}

// Packed bytes of one matrix of a role with its bias.
static double role_bytes(const Role *role) {
    double bias = role->layout.bias_offset >= 0 ? (double)(role->layout.panels * PANEL_COLUMNS * 4) : 0;
    return role->layout.matrices ? (double)role->layout.matrix_bytes + bias : 0;
}

Work work_count(const Plan *plan, int64_t tokens, const Visits *visits, bool routed) {
    const Layer *layer = &plan->layer;
    const Role *roles = plan->roles;
    double matrices = layer->gated ? 3 : 2, iterations = (double)layer->iterations, hidden = (double)layer->hidden;
    double evaluations = (double)tokens * iterations, shared = (double)layer->shared_experts;
    double expert_bytes = role_bytes(&roles[ROLE_GATE_UP]) + role_bytes(&roles[ROLE_DOWN]);
    double shared_bytes = shared * (role_bytes(&roles[ROLE_SHARED_GATE_UP]) + role_bytes(&roles[ROLE_SHARED_DOWN]));
    double router_bytes = routed ? role_bytes(&roles[ROLE_ROUTER]) : 0;
    double latent_bytes = role_bytes(&roles[ROLE_LATENT_IN]) + role_bytes(&roles[ROLE_LATENT_OUT]);
    Work work;
    work.routed_flops = visits->visits * 2 * matrices * (double)layer_pool_width(layer) * (double)layer->intermediate;
    work.shared_flops = evaluations * shared * 2 * matrices * hidden * (double)layer->shared_intermediate;
    work.router_flops = routed ? evaluations * 2 * hidden * (double)layer_router_columns(layer) : 0;
    work.latent_flops = evaluations * 2 * 2 * hidden * (double)layer->latent;
    work.flops = work.routed_flops + work.shared_flops + work.router_flops + work.latent_flops;
    work.bytes = visits->distinct_sum * expert_bytes + iterations * (router_bytes + shared_bytes + latent_bytes);
    work.union_bytes =
        visits->union_experts * expert_bytes + (double)layer_routers(layer) * router_bytes + shared_bytes + latent_bytes;
    return work;
}

double work_reached(const Work *work, double seconds) {
    return ratio(work->union_bytes, seconds) * 1e-9;
}

bool work_difference(const Work *ours, const Work *theirs, char *text, size_t bytes) {
    const struct {
        const char *name;
        double ours, theirs;
    } kinds[] = {{"routed", ours->routed_flops, theirs->routed_flops},
                 {"shared", ours->shared_flops, theirs->shared_flops},
                 {"router", ours->router_flops, theirs->router_flops},
                 {"latent", ours->latent_flops, theirs->latent_flops}};
    static const double equal = 1e-3;
    char parts[192] = "";
    for (size_t i = 0, used = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (fabs(kinds[i].ours - kinds[i].theirs) > equal * kinds[i].theirs) {
            const char *format = kinds[i].theirs > 0 ? "%s%s %.3g times" : "%s%s FLOPs where it has none";
            used += (size_t)snprintf(parts + used, sizeof parts - used, format, used ? ", " : "", kinds[i].name,
                                     ratio(kinds[i].ours, kinds[i].theirs));
        }
    }
    snprintf(text, bytes, "FLOPs are not the opponent's: %s, %.4g times in all", parts, ratio(ours->flops, theirs->flops));
    return *parts != 0;
}
