// The default plan of a layer. The search varies what this file decides; the packed layout (layout.c) it cannot touch.
#include "planner.h"

#include <assert.h>
#include <string.h>

#include "text.h"

static const int64_t assumed_l2_bytes = 512 << 10;  // of a machine that we know nothing about

static int64_t clamp(int64_t value, int64_t low, int64_t high) {
    return value < low ? low : value > high ? high : value;
}

// The router is always computed in fp32: a choice must not depend on the compute class of the experts.
static Compute role_compute(const Layer *layer, int role) {
    return role == ROLE_ROUTER ? COMPUTE_FP32 : (Compute)layer->compute;
}

static Path choose_path(const Layer *layer, const Target *target, int role, const Peaks *peaks) {
    Path best = PATH_COUNT;
    for (int p = 0; p < PATH_COUNT; p++) {
        if (path_rejection(target, (Path)p, plan_format(layer, (RoleName)role), role_compute(layer, role))) {
            continue;
        }
        if (best == PATH_COUNT || (peaks && peaks->tile_gflops[p] > peaks->tile_gflops[best])) {
            best = (Path)p;
        }
    }
    assert(best != PATH_COUNT);  // every target multiplies every format that a description can name
    return best;
}

bool plan_needs_peaks(const Layer *layer, const Target *target) {
    for (int r = 0; r < ROLE_COUNT; r++) {
        int legal = 0;
        for (int p = 0; p < PATH_COUNT; p++) {
            legal += !path_rejection(target, (Path)p, plan_format(layer, (RoleName)r), role_compute(layer, r));
        }
        if (legal > 1) {
            return true;
        }
    }
    return false;
}

int64_t planner_l2_bytes(const Machine *machine) {
    for (int64_t i = 0; i < machine->cache_count; i++) {
        const MachineCache *cache = &machine->caches[i];
        if (cache->level == 2) {  // threads are one a core
            return cache->bytes / clamp(cache->cores > 0 ? cache->cores : cache->shared_by, 1, 64);
        }
    }
    return assumed_l2_bytes;
}

// From how many tiles on decoding a panel once pays: its stores cost about a tile's tenth. Where a load costs as much as a row's
// multiply-adds, each further tile saves a fourteenth, so that it is three; where it costs more, two. The fp32 panel must stay in a
// quarter of L2.
static int32_t widen_tiles(const Role *role, int r, const Machine *machine) {
    const PathFacts *path = &path_facts[role->path];
    bool fits = format_bytes(FORMAT_FP32, role->layout.depth_padded) <= planner_l2_bytes(machine) / 4;
    return role->layout.matrices && r != ROLE_ROUTER && path->decodes && fits ? path->load_cost > 1 ? 2 : 3 : 0;
}

// Rows whose activations take half of a core's L2; the other half is for the panels that pass by.
static int64_t block_rows(const Plan *plan, const Machine *machine) {
    const Role *up = &plan->roles[ROLE_GATE_UP];
    int64_t projected = plan->roles[ROLE_LATENT_IN].input_stride;  // of a latent layer the wider rows
    int64_t rows = planner_l2_bytes(machine) / 2 / (projected > up->input_stride ? projected : up->input_stride);
    return clamp(rows, up->max_rows, 256) / up->max_rows * up->max_rows;
}

// As many tokens together as keep the intermediate values at about 64 MiB: enough rows for every expert, no waste of memory. What
// callers may ask to see of the routing (a slot's expert and weight, a score of each choice) has as much again, which only pools
// of thousands of choices fill: those may have fewer tokens.
static int64_t chunk_tokens(const Plan *plan) {
    enum { BUDGET = 64 << 20, SLOT_BYTES = sizeof(int32_t) + sizeof(float), SCORE_BYTES = sizeof(float) };
    const Layer *layer = &plan->layer;
    int64_t values = layer->expected_k * plan->roles[ROLE_DOWN].input_stride +
                     layer->shared_experts * plan->roles[ROLE_SHARED_DOWN].input_stride;
    int64_t routing = layer->iterations * (layer->top_k * SLOT_BYTES + layer_choices(layer) * SCORE_BYTES);
    int64_t tokens = clamp(BUDGET / values, 256, 4096), routed = clamp(BUDGET / routing, 64, 4096);
    return (tokens < routed ? tokens : routed) / 64 * 64;
}

// Rows per token that the intermediate values of routed experts have room for: all slots, or where tokens use fewer slots as
// a rule, half as many again as they are expected to.
static int64_t wave_share(const Layer *layer) {
    int64_t share = layer->expected_k + (layer->expected_k + 1) / 2;
    return share < layer->top_k ? share : layer->top_k;
}

// The default of everything for these paths.
static Plan plan_on_paths(const Layer *layer, const Path paths[ROLE_COUNT], const Target *target, const Machine *machine) {
    Plan plan;
    memset(&plan, 0, sizeof plan);  // padding too: plans are compared and copied as bytes
    plan.layer = *layer;
    for (int r = 0; r < ROLE_COUNT; r++) {
        target_shape_role(target, paths[r], &plan.roles[r]);
    }
    plan_layout(&plan);
    for (int r = 0; r < ROLE_COUNT; r++) {
        plan.roles[r].widen_tiles = widen_tiles(&plan.roles[r], r, machine);
    }
    plan.schedule.block_rows = block_rows(&plan, machine);
    plan.schedule.chunk_tokens = chunk_tokens(&plan);
    plan.schedule.wave_rows = plan.schedule.chunk_tokens * wave_share(layer);
    assert(plan.schedule.wave_rows >= plan.schedule.chunk_tokens);  // one expert may get a row of every token (templates/buckets.h)
    plan.schedule.few_tokens = 16;  // selecting for one more token costs less than a thread that waits
    plan.schedule.up_tasks = 8;  // a disturbed core costs at most an eighth of its share
    plan.schedule.down_tasks = 1;  // every further task reads all intermediate values once more
    plan.schedule.few_up_tasks = plan.schedule.up_tasks;
    plan.schedule.few_down_tasks = plan.schedule.down_tasks;
    plan.schedule.huge_pages = 1;
    plan.schedule.floor_rows = 4;  // below four rows an expert costs its bytes, not its arithmetic
    return plan;
}

Plan plan_default(const Layer *layer, const Target *target, const Machine *machine, const Peaks *peaks) {
    Path paths[ROLE_COUNT];
    for (int r = 0; r < ROLE_COUNT; r++) {
        paths[r] = choose_path(layer, target, r, peaks);
    }
    return plan_on_paths(layer, paths, target, machine);
}

Plan plan_with_path(const Plan *plan, Path path, const Target *target, const Machine *machine) {
    Path paths[ROLE_COUNT];
    for (int r = 0; r < ROLE_COUNT; r++) {
        bool reads = path_facts[path].weights == plan_format(&plan->layer, (RoleName)r);
        paths[r] = r == ROLE_ROUTER || !reads ? (Path)plan->roles[r].path : path;
    }
    return plan_on_paths(&plan->layer, paths, target, machine);
}
