// Predictions; see predict.h.
#include "predict.h"

#include <math.h>

static const double barrier_seconds = 5e-6;
static const double tie = 1e-4;  // between equals the default's neighbour in log2 of a value is preferred

double predict_rows(const Layer *layer, int64_t tokens) {
    return (double)tokens * (double)layer->expected_k / (double)layer_choices(layer);
}

static int value_at(const Point *point, int knob) {
    return knob < 0 ? 0 : point->value[knob];
}

// How much of the tallest tile's rate a tile of `rows` rows keeps: weights are loaded (and decoded) for fewer multiply-adds, and
// few accumulators wait for each other.
static double low_tile_share(const Role *role, double rows, int lanes) {
    double loads = path_facts[role->path].load_cost, tallest = role->max_rows;
    double chains = rows * (role->tile_columns < PANEL_COLUMNS ? role->tile_columns : PANEL_COLUMNS) / lanes;
    double latency = chains < 8 ? chains / 8 : 1;
    return rows / (rows + loads) / (tallest / (tallest + loads)) * latency;
}

// A role of a plan with its tiles' rates; all threads.
typedef struct RatedRole {
    const Role *role;
    double gflops, gbytes_s;
    int threads, lanes;
} RatedRole;

static double expert_seconds(const RatedRole *rated, double rows) {
    const Role *role = rated->role;
    double tiles = ceil(rows / role->max_rows);
    double flops = 2 * rows * (double)role->layout.panels * PANEL_COLUMNS * (double)role->layout.depth_padded;
    double arithmetic = flops * 1e-9 / (rated->gflops * low_tile_share(role, rows / tiles, rated->lanes) * rated->threads);
    double bytes = (double)role->layout.matrix_bytes * 1e-9 / rated->gbytes_s;
    return fmax(arithmetic, bytes) + 0.1 * fmin(arithmetic, bytes);
}

// Mean over the pool's experts, rows after Poisson.
static double mean_seconds(const RatedRole *rated, double mean) {
    double sum = 0, probability = exp(-mean), last = mean + 6 * sqrt(mean) + 8;
    if (mean > 200) {
        return expert_seconds(rated, mean);
    }
    for (int n = 1; n < last; n++) {
        probability *= mean / n;
        sum += probability * expert_seconds(rated, n);
    }
    return sum;
}

// A tiny charge for being far from the default. No value is below -1.
static double distance(const Space *space, const Point *point) {
    const Point standard = space_standard(space);
    double sum = 0;
    for (int k = 0; k < space->knob_count; k++) {
        const SpaceKnob *knob = &space->knobs[k];
        sum += fabs(log2((double)(knob->values[point->value[k]] + 2) / (double)(knob->values[standard.value[k]] + 2)));
    }
    return sum;
}

double predict_seconds(const Space *space, const Rates rates[2], int threads, const Point *point, int64_t tokens) {
    static const int shared[SPACE_ROLES] = {ROLE_SHARED_GATE_UP, ROLE_SHARED_DOWN};
    const Layer *layer = &space->standard.layer;
    double mean = predict_rows(layer, tokens), seconds = 3 * barrier_seconds;
    Plan plan;
    space_plan(space, point, &plan);
    double share = plan.schedule.threads && plan.schedule.threads < threads ? (double)plan.schedule.threads / threads
                                                                            : 1;  // of the bandwidth too: a guess
    for (int i = 0; i < 2; i++) {
        int unroll = value_at(point, space_role_knob(space, space_roles[i], KNOB_UNROLL));
        RatedRole rated = {
            .role = &plan.roles[space_roles[i]],
            .gflops = rates[i].tall[value_at(point, space_role_knob(space, space_roles[i], KNOB_TILE))][unroll],
            .gbytes_s = rates[i].stream[unroll][value_at(point, space_role_knob(space, space_roles[i], KNOB_PREFETCH))] * share,
            .threads = share < 1 ? plan.schedule.threads : threads,
            .lanes = space->target->lanes};
        seconds += (double)layer->experts * mean_seconds(&rated, mean);
        if (layer->shared_experts) {  // their tiles are the routed experts'
            rated.role = &plan.roles[shared[i]];
            seconds += (double)layer->shared_experts * expert_seconds(&rated, (double)tokens);
        }
    }
    return (double)layer->iterations * seconds * (1 + tie * distance(space, point));
}
