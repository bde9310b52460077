// Predictions; see predict.h.
#include "predict.h"

#include <math.h>

static const double barrier_seconds = 5e-6;
static const double tie = 1e-4;  // between equals the default's neighbour in log2 of a value is preferred

double predict_rows(const Layer *layer, int64_t tokens) {
    return (double)tokens * (double)layer->expected_k / (double)layer_choices(layer);
}

static int value_at(const SearchPoint *point, int knob) {
    return knob < 0 ? 0 : point->value[knob];
}

// How much of the tallest tile's rate a tile of `rows` rows keeps: weights are loaded (and widened) for fewer multiply-adds, and
// few accumulators wait for each other.
static double low_tile_share(const Role *role, double rows, int lanes) {
    double loads = role->path == PATH_BF16_WIDENED ? 1 : 0.3, tallest = role->max_rows;
    double chains = rows * (role->tile_columns < PANEL_COLUMNS ? role->tile_columns : PANEL_COLUMNS) / lanes;
    double latency = chains < 8 ? chains / 8 : 1;
    return rows / (rows + loads) / (tallest / (tallest + loads)) * latency;
}

static double expert_seconds(const Role *role, double gflops, double gbytes_s, double rows, int threads, int lanes) {
    double tiles = ceil(rows / role->max_rows);
    double flops = 2 * rows * (double)role->panels * PANEL_COLUMNS * (double)role->depth_padded;
    double arithmetic = flops * 1e-9 / (gflops * low_tile_share(role, rows / tiles, lanes) * threads);
    double bytes = (double)role->matrix_bytes * 1e-9 / gbytes_s;
    return fmax(arithmetic, bytes) + 0.1 * fmin(arithmetic, bytes);
}

// Sum over experts of one role, rows after Poisson.
static double role_seconds(const Space *space, const Plan *plan, int r, const Rates *rates, int threads, const SearchPoint *point,
                           double mean, double experts) {
    const Role *role = &plan->roles[r];
    int unroll = value_at(point, rates_knob(space, r, "unroll"));
    double gflops = rates->tall[value_at(point, rates_knob(space, r, "tile"))][unroll];
    double gbytes_s = rates->stream[unroll][value_at(point, rates_knob(space, r, "prefetch"))];
    double sum = 0, probability = exp(-mean), last = mean + 6 * sqrt(mean) + 8;
    if (mean > 200) {
        return experts * expert_seconds(role, gflops, gbytes_s, mean, threads, space->target->lanes);
    }
    for (int n = 1; n < last; n++) {
        probability *= mean / n;
        sum += probability * expert_seconds(role, gflops, gbytes_s, n, threads, space->target->lanes);
    }
    return experts * sum;
}

// A tiny charge for being far from the default.
static double distance(const Space *space, const SearchPoint *point) {
    const SearchPoint standard = space_standard(space);
    double sum = 0;
    for (int k = 0; k < space->knob_count; k++) {
        const SpaceKnob *knob = &space->knobs[k];
        sum += fabs(log2((double)(knob->values[point->value[k]] + 1) / (double)(knob->values[standard.value[k]] + 1)));
    }
    return sum;
}

double predict_seconds(const Space *space, const Rates rates[2], int threads, const SearchPoint *point, int64_t tokens) {
    static const int roles[] = {ROLE_GATE_UP, ROLE_DOWN}, shared[] = {ROLE_SHARED_GATE_UP, ROLE_SHARED_DOWN};
    const Layer *layer = &space->standard.layer;
    double mean = predict_rows(layer, tokens), seconds = 3 * barrier_seconds;
    Plan plan;
    space_plan(space, point, &plan);
    for (int i = 0; i < 2; i++) {
        seconds += role_seconds(space, &plan, roles[i], &rates[i], threads, point, mean, (double)layer->experts);
        if (layer->shared_experts) {
            Role role = plan.roles[shared[i]];
            int unroll = value_at(point, rates_knob(space, roles[i], "unroll"));
            seconds += (double)layer->shared_experts *
                       expert_seconds(&role, rates[i].tall[value_at(point, rates_knob(space, roles[i], "tile"))][unroll],
                                      rates[i].stream[unroll][value_at(point, rates_knob(space, roles[i], "prefetch"))],
                                      (double)tokens, threads, space->target->lanes);
        }
    }
    return (double)layer->iterations * seconds * (1 + tie * distance(space, point));
}
