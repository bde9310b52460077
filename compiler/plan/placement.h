// Placement: which hardware thread each thread of a forward takes and on which node's memory the experts lie, with what follows
// from it. Pure functions of machine, plan and rates: nothing is measured or bound here.
//
// Work is dealt as the skeleton deals it (templates/up.h, down.h, route.h), under uniform routing. Gate/up is a line of (chosen
// expert, pair of panels) that is cut into tasks; down gives each thread whole columns of all experts, so that its panels can
// always lie where the thread is. Weights can lie
//   interleaved  page by page over the nodes that have threads: each reads (n - 1) / n of its bytes from other nodes;
//   experts      each node has whole experts of gate/up, works on its own first and then helps: what is chosen beyond a node's
//                share is read by others;
//   rows         each node has a share of the panels of every expert and works on these alone: nothing is read from elsewhere, but
//                nodes wait for each other where panels are few.
#ifndef CATENA_PLACEMENT_H
#define CATENA_PLACEMENT_H

#include "compiler/description/model.h"
#include "compiler/machine/bandwidth.h"
#include "compiler/machine/machine.h"
#include "compiler/machine/peaks.h"

// X(enumerator, name)
#define PLACEMENT_BINDING_LIST(X) X(PLACEMENT_COMPACT, "compact") X(PLACEMENT_SPREAD, "spread")
#define PLACEMENT_WEIGHTS_LIST(X) X(PLACEMENT_INTERLEAVED, "interleaved") X(PLACEMENT_EXPERTS, "experts") X(PLACEMENT_ROWS, "rows")
#define PLACEMENT_BOUND_LIST(X) \
    X(PLACEMENT_BY_ARITHMETIC, "arithmetic") \
    X(PLACEMENT_BY_CORES, "bytes a core can read") \
    X(PLACEMENT_BY_MEMORY, "memory") X(PLACEMENT_BY_LINKS, "links between nodes") X(PLACEMENT_BY_BARRIERS, "barriers")
#define PLACEMENT_ENUMERATOR(enumerator, name) enumerator,
typedef enum PlacementBinding { PLACEMENT_BINDING_LIST(PLACEMENT_ENUMERATOR) PLACEMENT_BINDINGS } PlacementBinding;
typedef enum PlacementWeights { PLACEMENT_WEIGHTS_LIST(PLACEMENT_ENUMERATOR) PLACEMENT_WEIGHTS } PlacementWeights;
typedef enum PlacementBound { PLACEMENT_BOUND_LIST(PLACEMENT_ENUMERATOR) PLACEMENT_BOUNDS } PlacementBound;

// What predictions rest on.
typedef struct PlacementRates {
    double core_gflops;    // of a core of the fastest kind
    double slow_share;     // of that, for a core of the next slower kind
    double core_gbytes_s;  // that one core reads at most
    double node_gbytes_s;  // of one node's memory
    double link_gbytes_s;  // into a node from the others
    double barrier_seconds, barrier_thread_seconds;  // of one barrier, and more for each thread
    bool nominal;          // assumed, not measured
} PlacementRates;

typedef struct Placement {
    int threads;  // at most machine->unit_count
    PlacementBinding binding;
    int16_t units[MACHINE_MAX_UNITS];  // of each thread, index in machine->units; threads of a node follow each other
    int own, siblings, slow;  // threads on a core of the fastest kind alone or first, as a further one of any, on a slower kind
    int nodes;  // that have threads
    int16_t node[MACHINE_MAX_NODES];  // their numbers on the machine
    int node_threads[MACHINE_MAX_NODES];
} Placement;

// One forward of `tokens` tokens.
typedef struct PlacementFigures {
    int64_t tokens, barriers;  // barriers: the end of the team's work among them
    double bytes, flops;  // weights read and arithmetic done by all threads
    double largest_bytes, largest_flops;  // by the thread with most of them
    double remote_bytes;  // read from another node's memory: weights, and activations that others made
    double remote_weights;  // of these, weights
    double seconds;  // predicted
    PlacementBound bound;
} PlacementFigures;

// Assumed rates of a machine that nothing is known of but its topology.
PlacementRates placement_nominal(const Machine *machine);
// The same with what was measured on this machine with `threads` threads put in.
PlacementRates placement_measured(const Machine *machine, const Plan *plan, const Peaks *peaks, const Bandwidth *bandwidth,
                                  int threads);

// Cores before their further hardware threads, fast cores before slow ones; compact: node by node; spread: over nodes and their
// last-level caches evenly. threads: 1 or more; more than there are hardware threads are cut.
Placement placement_make(const Machine *machine, int threads, PlacementBinding binding);

PlacementFigures placement_figures(const Plan *plan, const Machine *machine, const Placement *placement, PlacementWeights weights,
                                   const PlacementRates *rates, int64_t tokens);

// Geometric mean of the seconds over a workload's token counts.
double placement_seconds(const Plan *plan, const Machine *machine, const Placement *placement, PlacementWeights weights,
                         const PlacementRates *rates, const Workload *workload);

// The binding and weights that are predicted to be fastest with `threads` threads; of equally fast ones, those that read less from
// other nodes.
typedef struct PlacementChoice {
    Placement placement;
    PlacementWeights weights;
    double seconds;
} PlacementChoice;
PlacementChoice placement_choose(const Plan *plan, const Machine *machine, const PlacementRates *rates, const Workload *workload,
                                 int threads);

// The fewest threads that are predicted to be within 2 % of the fastest. Numbers of threads that are tried: powers of two, and
// those that fill nodes, kinds of cores, cores and hardware threads.
int placement_recommend(const Plan *plan, const Machine *machine, const PlacementRates *rates, const Workload *workload);

#endif
