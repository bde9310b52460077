// Threads onto hardware threads, and the choice among placements; the work that follows from one is in placement_work.c.
#include "placement.h"

#include <math.h>
#include <stdlib.h>

// --- rates -------------------------------------------------------------------------------------------------------------------

// A machine of about 2023: 2 FMA units of 512 bits at 3 GHz; one core reads 12 GB/s, memory gives 5 GB/s for each core of a server
// and not less than 30 GB/s; a slower core (Intel's E, Arm's LITTLE) has half the arithmetic; other nodes' memory is as much slower
// as the kernel's table of distances says, or half as fast. They order placements and are no promise.
PlacementRates placement_nominal(const Machine *machine) {
    double cores = (double)machine->cores_allowed / (double)(machine->numa_nodes > 0 ? machine->numa_nodes : 1);
    double node = fmax(30, 5 * cores);
    double share = machine->far_distance > 0 ? (double)machine->near_distance / (double)machine->far_distance : 0.5;
    return (PlacementRates){.core_gflops = 100,
                            .slow_share = 0.5,
                            .core_gbytes_s = 12,
                            .node_gbytes_s = node,
                            .link_gbytes_s = share * node,
                            .barrier_seconds = 2e-6,
                            .barrier_thread_seconds = 5e-8,
                            .nominal = true};
}

PlacementRates placement_measured(const Machine *machine, const Plan *plan, const Peaks *peaks, const Bandwidth *bandwidth,
                                  int threads) {
    PlacementRates rates = placement_nominal(machine);
    double gflops = peaks->gflops[plan->roles[ROLE_GATE_UP].path] / threads;
    double nodes = (double)(machine->numa_nodes > 0 ? machine->numa_nodes : 1);
    double share = rates.link_gbytes_s / rates.node_gbytes_s;
    if (gflops > 0 && bandwidth->gbytes_s > 0) {
        rates.core_gflops = gflops;
        rates.node_gbytes_s = bandwidth->gbytes_s / nodes;
        rates.core_gbytes_s = fmax(rates.core_gbytes_s, bandwidth->gbytes_s / threads);
        rates.link_gbytes_s = share * rates.node_gbytes_s;
        rates.nominal = false;
    }
    return rates;
}

// --- threads -----------------------------------------------------------------------------------------------------------------

// A hardware thread with what it is chosen by.
typedef struct Seat {
    int16_t unit;
    int16_t sibling, slowness, turn, node;
} Seat;

// Siblings last, slow cores after fast ones; then by turns (spread) or by nodes (compact: all turns are 0); then as they lie.
static int compare_seats(const void *a, const void *b) {
    const Seat *x = a, *y = b;
    const int keys[][2] = {
        {x->sibling, y->sibling}, {x->slowness, y->slowness}, {x->turn, y->turn}, {x->node, y->node}, {x->unit, y->unit}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (keys[i][0] != keys[i][1]) {
            return keys[i][0] < keys[i][1] ? -1 : 1;
        }
    }
    return 0;
}

static int compare_units(const void *a, const void *b) {
    const Seat *x = a, *y = b;
    return x->node != y->node ? x->node - y->node : x->unit - y->unit;
}

// Hardware threads of one sibling rank, kind and node.
static bool same_class(const MachineUnit *a, const MachineUnit *b) {
    return a->sibling == b->sibling && a->kind == b->kind && a->node == b->node;
}

static int last_cache(const Machine *machine, int unit) {
    return machine->cache_count > 0 ? machine->units[unit].caches[machine->cache_count - 1] : 0;
}

// Turns that deal a class's hardware threads out over its last-level caches, one to each cache in a round. Every node has a turn 0,
// a turn 1 and so on, so that nodes get as many threads as each other.
static void spread_turns(const Machine *machine, int16_t *turns) {
    int16_t rounds[MACHINE_MAX_UNITS];
    int count = (int)machine->unit_count;
    for (int i = 0; i < count; i++) {
        rounds[i] = 0;
        for (int j = 0; j < i; j++) {
            rounds[i] = (int16_t)(rounds[i] + (same_class(&machine->units[i], &machine->units[j]) &&
                                               last_cache(machine, i) == last_cache(machine, j)));
        }
    }
    for (int i = 0; i < count; i++) {
        turns[i] = 0;
        for (int j = 0; j < count; j++) {
            bool before = rounds[j] < rounds[i] || (rounds[j] == rounds[i] && last_cache(machine, j) < last_cache(machine, i));
            turns[i] = (int16_t)(turns[i] + (same_class(&machine->units[i], &machine->units[j]) && before));
        }
    }
}

static void count_threads(const Machine *machine, Placement *placement) {
    for (int t = 0; t < placement->threads; t++) {
        const MachineUnit *unit = &machine->units[placement->units[t]];
        placement->siblings += unit->sibling > 0;
        placement->slow += unit->sibling == 0 && unit->kind < machine->kinds - 1;
        placement->own += unit->sibling == 0 && unit->kind >= machine->kinds - 1;
        if (!placement->nodes || placement->node[placement->nodes - 1] != unit->node) {
            placement->node[placement->nodes++] = unit->node;
        }
        placement->node_threads[placement->nodes - 1]++;
    }
}

Placement placement_make(const Machine *machine, int threads, PlacementBinding binding) {
    Seat seats[MACHINE_MAX_UNITS];
    int16_t turns[MACHINE_MAX_UNITS] = {0};
    int count = (int)machine->unit_count;
    Placement placement = {.threads = threads < count ? threads : count, .binding = binding};
    if (binding == PLACEMENT_SPREAD) {
        spread_turns(machine, turns);
    }
    for (int16_t i = 0; i < count; i++) {
        const MachineUnit *unit = &machine->units[i];
        seats[i] = (Seat){.unit = i,
                          .sibling = unit->sibling,
                          .slowness = (int16_t)(machine->kinds - 1 - unit->kind),
                          .turn = turns[i],
                          .node = unit->node};
    }
    qsort(seats, (size_t)count, sizeof *seats, compare_seats);
    qsort(seats, (size_t)placement.threads, sizeof *seats, compare_units);
    for (int t = 0; t < placement.threads; t++) {
        placement.units[t] = seats[t].unit;
    }
    count_threads(machine, &placement);
    return placement;
}

// --- choices -----------------------------------------------------------------------------------------------------------------

double placement_seconds(const Plan *plan, const Machine *machine, const Placement *placement, PlacementWeights weights,
                         const PlacementRates *rates, const Workload *workload) {
    double sum = 0;
    for (int64_t i = 0; i < workload->token_counts; i++) {
        sum += log(placement_figures(plan, machine, placement, weights, rates, workload->tokens[i]).seconds);
    }
    return workload->token_counts ? exp(sum / (double)workload->token_counts) : 0;
}

PlacementChoice placement_choose(const Plan *plan, const Machine *machine, const PlacementRates *rates, const Workload *workload,
                                 int threads) {
    static const double beyond = 1e-3;  // what a more elaborate choice must gain
    PlacementChoice best = {.seconds = INFINITY};
    for (int b = 0; b < PLACEMENT_BINDINGS; b++) {
        Placement placement = placement_make(machine, threads, (PlacementBinding)b);
        int ways = placement.nodes > 1 ? PLACEMENT_WEIGHTS : 1;  // on one node all are the same
        for (int w = ways - 1; w >= 0; w--) {  // least from other nodes first
            double seconds = placement_seconds(plan, machine, &placement, (PlacementWeights)w, rates, workload);
            if (seconds < best.seconds * (1 - beyond)) {
                best = (PlacementChoice){placement, (PlacementWeights)w, seconds};
            }
        }
    }
    return best;
}

// Numbers of threads that are worth a look, ascending.
// Fewer than there are cores where a quota allows no more.
static int candidate_counts(const Machine *machine, int *counts) {
    Placement all = placement_make(machine, (int)machine->unit_count, PLACEMENT_COMPACT);
    bool quota = machine->threads < machine->cores_allowed;
    int64_t most = quota ? machine->threads : machine->unit_count, cores = all.own + all.slow,
            nodes = all.nodes > 0 ? all.nodes : 1;
    int count = 0;
    for (int64_t t = 1; t <= most; t++) {
        bool power = (t & (t - 1)) == 0, node = cores % nodes == 0 && t <= cores && t % (cores / nodes ? cores / nodes : 1) == 0;
        if (power || node || t == all.own || t == cores || t == most) {
            counts[count++] = (int)t;
        }
    }
    return count;
}

int placement_recommend(const Plan *plan, const Machine *machine, const PlacementRates *rates, const Workload *workload) {
    static const double within = 1.02;
    int counts[MACHINE_MAX_UNITS];
    double seconds[MACHINE_MAX_UNITS], best = INFINITY;
    int count = candidate_counts(machine, counts);
    for (int i = 0; i < count; i++) {
        seconds[i] = placement_choose(plan, machine, rates, workload, counts[i]).seconds;
        best = fmin(best, seconds[i]);
    }
    for (int i = 0; i < count; i++) {
        if (seconds[i] <= within * best) {
            return counts[i];
        }
    }
    return 1;
}
