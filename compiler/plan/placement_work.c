// The work of a placement: what each thread and each node does and reads in a forward, and how long that should take.
#include <math.h>
#include <string.h>

#include "compiler/plan/work.h"
#include "placement.h"

// One phase of an iteration: its whole work, and each thread's share of it. Arithmetic and bytes are shared alike.
typedef struct Phase {
    double flops, bytes;
    double remote;  // of the bytes, read from other nodes
    double share[MACHINE_MAX_UNITS];
} Phase;

typedef struct Dealing {
    const Plan *plan;
    const Machine *machine;
    const Placement *placement;
    const PlacementRates *rates;
    PlacementWeights weights;
    int64_t tokens;
    double speed[MACHINE_MAX_UNITS];  // each thread's arithmetic; 1: a core of the fastest kind that it has alone
    double reach[MACHINE_MAX_UNITS];  // its share of what its core can read
    Phase router, up, down;
    double remote_activations;  // a forward
} Dealing;

// --- dealing -----------------------------------------------------------------------------------------------------------------

// A contiguous share of `total` items for one of `parts`, as templates/context.h has it.
static int64_t share_start(int64_t total, int64_t part, int64_t parts) {
    return total / parts * part + (part < total % parts ? part : total % parts);
}

static int64_t share_size(int64_t total, int64_t part, int64_t parts) {
    return share_start(total, part + 1, parts) - share_start(total, part, parts);
}

// Threads in the order in which they will be free: a heap of (time, thread).
typedef struct Free {
    double time;
    int thread;
} Free;

static bool sooner(Free a, Free b) {
    return a.time < b.time || (a.time <= b.time && a.thread < b.thread);
}

static void sift_down(Free *heap, int count, int at) {
    for (int child; (child = 2 * at + 1) < count; at = child) {
        child += child + 1 < count && sooner(heap[child + 1], heap[child]);
        if (!sooner(heap[child], heap[at])) {
            return;
        }
        Free other = heap[at];
        heap[at] = heap[child];
        heap[child] = other;
    }
}

// Deals `units` of a phase to threads [first, first + count), `part` of the phase in all. One task a thread: everybody takes their
// own. More: whoever is free takes the next.
static void deal(const Dealing *work, Phase *phase, int first, int count, int64_t units, int64_t tasks_per_thread, double part) {
    Free heap[MACHINE_MAX_UNITS];
    int64_t tasks = tasks_per_thread * count;
    double unit = part / (double)units;
    for (int t = 0; t < count; t++) {
        heap[t] = (Free){0, first + t};
        phase->share[first + t] = tasks_per_thread == 1 ? unit * (double)share_size(units, t, count) : 0;
    }
    for (int64_t task = 0; tasks_per_thread > 1 && task < tasks; task++) {
        double size = unit * (double)share_size(units, task, tasks);
        phase->share[heap[0].thread] += size;
        heap[0].time += size / work->speed[heap[0].thread];
        sift_down(heap, count, 0);
    }
}

// --- phases ------------------------------------------------------------------------------------------------------------------

// Each thread's share of its core, times the kind's speed.
static void find_speeds(Dealing *work) {
    const Placement *placement = work->placement;
    int users[MACHINE_MAX_UNITS] = {0};
    for (int t = 0; t < placement->threads; t++) {
        users[work->machine->units[placement->units[t]].core]++;
    }
    for (int t = 0; t < placement->threads; t++) {
        const MachineUnit *unit = &work->machine->units[placement->units[t]];
        int64_t slower = work->machine->kinds - 1 - unit->kind;
        work->speed[t] = pow(work->rates->slow_share, slower > 0 ? (double)slower : 0) / users[unit->core];
        work->reach[t] = 1.0 / users[unit->core];
    }
}

static int64_t pairs(const Role *role) {
    return (role->layout.panels + 1) / 2;
}

static double role_bytes(const Role *role) {
    return (double)(role->layout.matrices ? role->layout.matrix_bytes : 0);
}

// The expected excess of a node's chosen experts over the share of the choice that its threads can do in time: these are read by
// other nodes' threads. Experts are chosen independently with probability p (a normal approximation of the binomials).
static double expected_excess(double experts, double p, double home, double able) {
    double mean = experts * p * (home * (1 - able) - (1 - home) * able);
    double variance = experts * p * (1 - p) * (home * (1 - able) * (1 - able) + (1 - home) * able * able);
    double deviation = sqrt(variance);
    if (deviation < 1e-9) {
        return fmax(mean, 0);
    }
    double z = mean / deviation;
    return mean * 0.5 * erfc(-z / sqrt(2)) + deviation * exp(-z * z / 2) / sqrt(2 * acos(-1));
}

// Part of gate/up's bytes that is read from other nodes where whole experts have homes. Never more than interleaving reads.
static double experts_remote_part(const Dealing *work, double distinct) {
    const Placement *placement = work->placement;
    double experts = (double)work->plan->layer.experts, p = distinct / experts, excess = 0;
    double interleaved = 1 - 1.0 / placement->nodes;
    for (int n = 0; n < placement->nodes; n++) {
        double share = (double)placement->node_threads[n] / placement->threads;
        excess += expected_excess(experts, p, share, share);
    }
    return fmin(excess / distinct, interleaved);
}

static bool is_few(const Dealing *work) {
    return work->tokens <= work->plan->schedule.few_tokens;
}

static void deal_up(Dealing *work, double distinct) {
    const Plan *plan = work->plan;
    const Role *role = &plan->roles[ROLE_GATE_UP], *shared = &plan->roles[ROLE_SHARED_GATE_UP];
    const Placement *placement = work->placement;
    double entries = fmax(distinct, 1), interleaved = 1 - 1.0 / placement->nodes;
    int64_t shared_pairs = plan->layer.shared_experts * pairs(shared);
    int64_t tasks = is_few(work) ? plan->schedule.few_up_tasks : plan->schedule.up_tasks;
    if (work->weights != PLACEMENT_ROWS) {
        deal(work, &work->up, 0, placement->threads, llround(entries * (double)pairs(role)) + shared_pairs, tasks, 1);
        work->up.remote = work->up.bytes * (work->weights == PLACEMENT_EXPERTS ? experts_remote_part(work, distinct) : interleaved);
        return;
    }
    for (int n = 0, first = 0; n < placement->nodes; first += placement->node_threads[n++]) {
        int64_t begin = pairs(role) * first / placement->threads;
        int64_t own = pairs(role) * (first + placement->node_threads[n]) / placement->threads - begin;
        if (own > 0) {
            int64_t units = llround(entries * (double)own) + shared_pairs * own / pairs(role);
            deal(work, &work->up, first, placement->node_threads[n], units > 0 ? units : 1, tasks,
                 (double)own / (double)pairs(role));
        }
    }
}

// Whole columns, pairs of panels or single ones as templates/down.h has it. Each thread's panels lie on its own node unless pages
// are interleaved.
static void deal_down(Dealing *work) {
    const Role *role = &work->plan->roles[ROLE_DOWN];
    int threads = work->placement->threads;
    int64_t unit = pairs(role) < 4 * threads ? 1 : 2;
    int64_t tasks = is_few(work) ? work->plan->schedule.few_down_tasks : work->plan->schedule.down_tasks;
    deal(work, &work->down, 0, threads, (role->layout.panels + unit - 1) / unit, tasks, 1);
    work->down.remote = work->weights == PLACEMENT_INTERLEAVED ? work->down.bytes * (1 - 1.0 / work->placement->nodes) : 0;
}

static void make_phases(Dealing *work) {
    const Plan *plan = work->plan;
    const Layer *layer = &plan->layer;
    const Role *roles = plan->roles;
    Visits visits = work_expected_visits(layer, work->tokens);
    Work all = work_count(plan, work->tokens, &visits, true);
    double iterations = (double)layer->iterations, shared = (double)layer->shared_experts, nodes = work->placement->nodes;
    double up = role_bytes(&roles[ROLE_GATE_UP]), down = role_bytes(&roles[ROLE_DOWN]);
    double matrices = layer->gated ? 3 : 2, experts = (all.routed_flops + all.shared_flops) / iterations;
    bool few = is_few(work);
    work->router.flops = all.router_flops / iterations;
    work->router.bytes = role_bytes(&roles[ROLE_ROUTER]);
    work->router.remote = work->router.bytes * (1 - 1 / nodes);
    double projection =
        all.latent_flops / iterations / 2;  // W_in counts with gate/up, whose tasks are shared out alike, W_out with down
    work->up.flops = experts * (matrices - 1) / matrices + projection;
    work->down.flops = experts / matrices + projection;
    work->up.bytes = visits.distinct * up + shared * role_bytes(&roles[ROLE_SHARED_GATE_UP]) + role_bytes(&roles[ROLE_LATENT_IN]);
    work->down.bytes = visits.distinct * down + shared * role_bytes(&roles[ROLE_SHARED_DOWN]) + role_bytes(&roles[ROLE_LATENT_OUT]);
    // each node reads every row's intermediate values and every token's state; the others' made (n - 1) / n of them
    double values = visits.visits / iterations * (double)roles[ROLE_DOWN].input_stride +
                    (double)work->tokens * (shared * (double)roles[ROLE_SHARED_DOWN].input_stride + (double)layer->hidden * 4);
    work->remote_activations = iterations * values * (nodes - 1);
    deal(work, &work->router, 0, work->placement->threads, few ? roles[ROLE_ROUTER].layout.panels : work->tokens, 1, 1);
    deal_up(work, visits.distinct);
    deal_down(work);
}

// --- time --------------------------------------------------------------------------------------------------------------------

// The longest of what bounds a phase; adds to the time of each bound.
static double phase_seconds(const Dealing *work, const Phase *phase, double bounds[PLACEMENT_BOUNDS]) {
    const PlacementRates *rates = work->rates;
    double seconds[PLACEMENT_BOUNDS] = {0}, nodes = work->placement->nodes;
    PlacementBound bound = PLACEMENT_BY_ARITHMETIC;
    for (int t = 0; t < work->placement->threads; t++) {
        double arithmetic = phase->share[t] * phase->flops * 1e-9 / (rates->core_gflops * work->speed[t]);
        double bytes = phase->share[t] * phase->bytes * 1e-9 / (rates->core_gbytes_s * work->reach[t]);
        seconds[PLACEMENT_BY_ARITHMETIC] = fmax(seconds[PLACEMENT_BY_ARITHMETIC], arithmetic);
        seconds[PLACEMENT_BY_CORES] = fmax(seconds[PLACEMENT_BY_CORES], bytes);
    }
    seconds[PLACEMENT_BY_MEMORY] = phase->bytes * 1e-9 / (nodes * rates->node_gbytes_s);
    seconds[PLACEMENT_BY_LINKS] = phase->remote * 1e-9 / (nodes * rates->link_gbytes_s);
    for (int b = 1; b < PLACEMENT_BOUNDS; b++) {
        bound = seconds[b] > seconds[bound] ? (PlacementBound)b : bound;
    }
    bounds[bound] += seconds[bound];
    return seconds[bound];
}

// Barriers of a forward (templates/forward.c, route.h, experts.h) and the end of the team's work, for each chunk of tokens. Waves
// that unlike routings need are not counted.
static int64_t count_barriers(const Plan *plan, int64_t tokens) {
    int64_t chunks = (tokens + plan->schedule.chunk_tokens - 1) / plan->schedule.chunk_tokens,
            before = tokens <= plan->schedule.few_tokens || plan->layer.latent;
    int64_t latent = plan->layer.latent ? 1 + (plan->layer.latent_norm != NORM_NONE) : 0;
    return chunks * ((3 + latent) * plan->layer.iterations + before);
}

PlacementFigures placement_figures(const Plan *plan, const Machine *machine, const Placement *placement, PlacementWeights weights,
                                   const PlacementRates *rates, int64_t tokens) {
    Dealing work = {.plan = plan, .machine = machine, .placement = placement, .rates = rates, .weights = weights, .tokens = tokens};
    PlacementFigures figures = {.tokens = tokens};
    double iterations = (double)plan->layer.iterations, bounds[PLACEMENT_BOUNDS] = {0};
    if (placement->threads < 1) {
        return figures;
    }
    find_speeds(&work);
    make_phases(&work);
    const Phase *phases[] = {&work.router, &work.up, &work.down};
    for (int t = 0; t < placement->threads; t++) {
        double bytes = 0, flops = 0;
        for (int p = 0; p < 3; p++) {
            bytes += iterations * phases[p]->share[t] * phases[p]->bytes;
            flops += iterations * phases[p]->share[t] * phases[p]->flops;
        }
        figures.bytes += bytes;
        figures.flops += flops;
        figures.largest_bytes = fmax(figures.largest_bytes, bytes);
        figures.largest_flops = fmax(figures.largest_flops, flops);
    }
    for (int p = 0; p < 3; p++) {
        figures.seconds += iterations * phase_seconds(&work, phases[p], bounds);
        figures.remote_weights += iterations * phases[p]->remote;
    }
    figures.remote_bytes = figures.remote_weights + work.remote_activations;
    figures.barriers = placement->threads > 1 ? count_barriers(plan, tokens) : 0;
    bounds[PLACEMENT_BY_BARRIERS] =
        (double)figures.barriers * (rates->barrier_seconds + rates->barrier_thread_seconds * placement->threads);
    figures.seconds += bounds[PLACEMENT_BY_BARRIERS];
    bounds[PLACEMENT_BY_BARRIERS] /= iterations;  // the others' are of one iteration
    for (int b = 1; b < PLACEMENT_BOUNDS; b++) {
        figures.bound = bounds[b] > bounds[figures.bound] ? (PlacementBound)b : figures.bound;
    }
    return figures;
}
