// The cost model's own choice; see foresee.h.
#include "foresee.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/explain/explain.h"

// Loads that a step of a tile adds to one row's multiply-adds (predict.c has the same), and accumulators that hide their latency:
// four cycles, two units.
static double tile_share(Path path, double rows, double vectors) {
    double loads = path_facts[path].load_cost, hidden = 8;
    return rows / (rows + loads) * fmin(rows * vectors / hidden, 1);
}

void foresee_rates(const Space *space, int role, const Machine *machine, Rates *rates) {
    PlacementRates nominal = placement_nominal(machine);
    const Role *standard = &space->standard.roles[role];
    int tile = space_role_knob(space, role, KNOB_TILE);
    double lanes = space->target->lanes;
    memset(rates, 0, sizeof *rates);
    for (int v = 0; v < SPACE_MAX_VALUES; v++) {
        int64_t shape = tile >= 0 && v < space->knobs[tile].count ? space->knobs[tile].values[v]
                                                                  : standard->max_rows * SPACE_TILE_SCALE + standard->tile_columns;
        double rows = (double)(shape / SPACE_TILE_SCALE), columns = (double)(shape % SPACE_TILE_SCALE);
        for (int u = 0; u < SPACE_MAX_VALUES; u++) {
            rates->tall[v][u] = nominal.core_gflops * tile_share((Path)standard->path, rows, columns / lanes);
            rates->stream[v][u] = nominal.node_gbytes_s * (double)machine->numa_nodes;  // here v is the unrolling, u the prefetch
        }
    }
}

// Mean logarithm of the seconds of a forward.
static double predict_cost(const Space *space, const Rates rates[2], int threads, const Point *point,
                           const RecallWorkload *workload) {
    double sum = 0, weights = 0;
    for (int p = 0; p < workload->parts; p++) {
        sum += workload->weight[p] * log(predict_seconds(space, rates, threads, point, workload->tokens[p]));
        weights += workload->weight[p];
    }
    return weights > 0 ? sum / weights : 0;
}

// What the model says of a smaller gain is noise: it knows nothing of registers and ports.
static const double believed = 1.02;

void foresee_layer(const Plan *standard, const Target *target, const Machine *machine, int threads, const RecallWorkload *workload,
                   Foresight *foresight) {
    Rates rates[2];
    const Space *space = &foresight->space;
    memset(foresight, 0, sizeof *foresight);
    space_make(standard, target, machine, &foresight->space);
    foresee_rates(space, ROLE_GATE_UP, machine, &rates[0]);
    foresee_rates(space, ROLE_DOWN, machine, &rates[1]);
    foresight->best = space_standard(space);
    double first = predict_cost(space, rates, threads, &foresight->best, workload), best = first;
    for (bool better = true; better;) {
        better = false;
        for (int k = 0; k < space->knob_count; k++) {
            for (int v = 0; v < space->knobs[k].count; v++) {
                Point point = foresight->best;
                point.value[k] = (uint8_t)v;
                double cost = space_valid(space, &point) ? predict_cost(space, rates, threads, &point, workload) : INFINITY;
                if (cost < best - 1e-9) {
                    foresight->best = point;
                    best = cost;
                    better = true;
                }
            }
        }
    }
    foresight->gain = exp(first - best);
    if (foresight->gain < believed) {
        foresight->best = space_standard(space);
        foresight->gain = 1;
    }
    space_plan(space, &foresight->best, &foresight->plan);
}

void foresee_print(const Foresight *foresight, const ModelLayer *layer, const Machine *machine, int threads,
                   const RecallWorkload *workload, FILE *stream) {
    json_t *decisions = space_decisions(&foresight->space, &foresight->best);
    char *text = json_dumps(decisions, JSON_SORT_KEYS);
    Workload tokens = {.token_counts = workload->parts};
    PlacementRates rates = placement_nominal(machine);
    memcpy(tokens.tokens, workload->tokens, (size_t)workload->parts * sizeof *tokens.tokens);
    const Explanation explanation = {.target = foresight->space.target,
                                     .plan = &foresight->plan,
                                     .layer = layer,
                                     .workload = &tokens,
                                     .threads = threads,
                                     .machine = machine,
                                     .rates = &rates};
    fprintf(stream,
            "layer %s: space of %.3g plans for %s. This machine is not there: nothing is measured or remembered, the cost model "
            "alone decides, from assumed rates.\n",
            layer->name, space_size(&foresight->space), machine->cpu);
    if (json_object_size(decisions)) {
        fprintf(stream, "  predicted gain %.3fx over the default plan: %s\n", foresight->gain, text ? text : "");
    } else {
        fprintf(stream, "  the default plan stays: nothing is predicted to be %.0f%% faster\n", (believed - 1) * 100);
    }
    free(text);
    json_decref(decisions);
    explain_placement(&explanation, stream);
}
