// Threads and weights on a machine's cores and nodes: who sits where, what each way to place the weights costs, and how many
// threads are worth having.
#include <string.h>

#include "compiler/base/table.h"
#include "compiler/machine/report.h"
#include "explain.h"

#define NAME(enumerator, name) name,
static const char *const binding_names[] = {PLACEMENT_BINDING_LIST(NAME)};
static const char *const weights_names[] = {PLACEMENT_WEIGHTS_LIST(NAME)};
static const char *const bound_names[] = {PLACEMENT_BOUND_LIST(NAME)};

static const char *plural(int64_t count) {
    return count == 1 ? "" : "s";
}

// The operating system's numbers, as taskset has them: "0-11,48-59", "0-46:2" for every second. What does not fit ends in "...".
static void list_units(const Machine *machine, const Placement *placement, int first, int count, char *out, size_t bytes) {
    const int16_t *units = placement->units + first;
    size_t used = 0;
    *out = 0;
    for (int t = 0, last; t < count; t = last + 1) {
        int32_t low = machine->units[units[t]].number;
        int32_t step = t + 1 < count ? machine->units[units[t + 1]].number - low : 0;
        for (last = t; last + 1 < count && machine->units[units[last + 1]].number == low + (last + 1 - t) * step; last++) {
        }
        last = step < 1 || last < t + 2 ? t : last;  // two are no run
        if (used + 40 > bytes) {
            snprintf(out + used, bytes - used, "...");
            return;
        }
        used += (size_t)snprintf(out + used, bytes - used, "%s%d", t ? "," : "", low);
        used += (size_t)(last > t ? snprintf(out + used, bytes - used, "-%d", low + (last - t) * step) : 0);
        used += (size_t)(last > t && step > 1 ? snprintf(out + used, bytes - used, ":%d", step) : 0);
    }
}

static void explain_seats(const Machine *machine, const Placement *placement, FILE *stream) {
    Table table = {0};
    table_column(&table, "node", false);
    table_column(&table, "threads", false);
    table_column(&table, "hardware threads", true);
    for (int n = 0, first = 0; n < placement->nodes; first += placement->node_threads[n++]) {
        char units[160];
        list_units(machine, placement, first, placement->node_threads[n], units, sizeof units);
        table_cell(&table, "%d", placement->node[n]);
        table_cell(&table, "%d", placement->node_threads[n]);
        table_cell(&table, "%s", units);
    }
    table_print(&table, stream);
    table_free(&table);
}

static void explain_figures(const Explanation *e, const PlacementChoice *choice, FILE *stream) {
    static const char *const columns[] = {
        "weights",      "tokens",  "barriers", "MB read", "largest thread's bytes", "its MFLOP", "MB from other nodes",
        "predicted ms", "bound by"};
    enum { COLUMNS = sizeof columns / sizeof *columns };
    Table table = {0};
    int ways = choice->placement.nodes > 1 ? PLACEMENT_WEIGHTS : 1;
    for (int i = 0; i < COLUMNS; i++) {
        table_column(&table, columns[i], i == 0 || i == COLUMNS - 1);
    }
    for (int w = 0; w < ways; w++) {
        for (int64_t i = 0; i < e->workload->token_counts; i++) {
            char text[32];
            PlacementFigures f =
                placement_figures(e->plan, e->machine, &choice->placement, (PlacementWeights)w, e->rates, e->workload->tokens[i]);
            double threads = choice->placement.threads;
            table_cell(&table, "%s", ways > 1 ? weights_names[w] : "one node");
            table_cell(&table, "%lld", (long long)f.tokens);
            table_cell(&table, "%lld", (long long)f.barriers);
            table_cell(&table, "%s", table_number(text, f.bytes * 1e-6));
            table_cell(&table, "%.2f x mean", f.bytes > 0 ? f.largest_bytes * threads / f.bytes : 1);
            table_cell(&table, "%.2f x mean", f.flops > 0 ? f.largest_flops * threads / f.flops : 1);
            table_cell(&table, "%s", table_number(text, f.remote_bytes * 1e-6));
            table_cell(&table, "%s", table_number(text, f.seconds * 1e3));
            table_cell(&table, "%s", bound_names[f.bound]);
        }
    }
    table_print(&table, stream);
    table_free(&table);
}

// Why more threads than recommended do not help.
static void explain_reason(const Explanation *e, int recommended, FILE *stream) {
    Placement all = placement_make(e->machine, (int)e->machine->unit_count, PLACEMENT_COMPACT);
    PlacementChoice choice = placement_choose(e->plan, e->machine, e->rates, e->workload, recommended);
    if (recommended == all.threads) {
        fprintf(stream, " There are no more hardware threads.");
    }
    if (recommended < all.own) {
        fprintf(stream, " With these a forward is bound at");
        for (int64_t i = 0; i < e->workload->token_counts; i++) {
            PlacementFigures f =
                placement_figures(e->plan, e->machine, &choice.placement, choice.weights, e->rates, e->workload->tokens[i]);
            fprintf(stream, "%s %lld token%s by %s", i ? "," : "", (long long)f.tokens, plural(f.tokens), bound_names[f.bound]);
        }
        fprintf(stream, "; down has %lld panels to give to threads.", (long long)e->plan->roles[ROLE_DOWN].layout.panels);
    }
    if (all.slow && recommended <= all.own) {
        fprintf(stream,
                " The other cores would wait for the slower ones (%d), because down gives every thread the same number of columns.",
                all.slow);
    }
    if (all.slow && recommended > all.own + all.slow) {
        fprintf(stream,
                " A thread of a fast core that runs several is about as fast as a slower core, so that equal shares of the "
                "columns take equal time.");
    }
    if (all.siblings && recommended <= all.own + all.slow) {
        fprintf(stream, " Further hardware threads of a core (%d) share its arithmetic units and its way to memory.", all.siblings);
    }
    fprintf(stream, "\n");
}

static void explain_rates(const Explanation *e, FILE *stream) {
    const PlacementRates *r = e->rates;
    fprintf(stream, "%s: a core %.0f GFLOP/s and %.1f GB/s, ",
            r->nominal ? "Assumed, nothing is measured" : "From what was measured", r->core_gflops, r->core_gbytes_s);
    if (e->machine->kinds > 1) {
        fprintf(stream, "a slower one %.2f times the arithmetic, ", r->slow_share);
    }
    fprintf(stream, "a node's memory %.1f GB/s", r->node_gbytes_s);
    if (e->machine->numa_nodes > 1) {
        fprintf(stream, ", from other nodes %.1f GB/s (assumed%s)", r->link_gbytes_s,
                e->machine->far_distance ? ", after the table of distances" : "");
    }
    fprintf(stream, ".\n\n");
}

void explain_placement(const Explanation *e, FILE *stream) {
    PlacementChoice choice = placement_choose(e->plan, e->machine, e->rates, e->workload, e->threads);
    const Placement *p = &choice.placement;
    int recommended = placement_recommend(e->plan, e->machine, e->rates, e->workload);
    fprintf(stream, "\n### Placement\n\n%d thread%s", p->threads, plural(p->threads));
    if (e->threads > p->threads) {
        fprintf(stream, " (there are no more hardware threads; %d were asked for)", e->threads);
    }
    fprintf(stream, ": %d with a core of %s", p->own, e->machine->kinds > 1 ? "the fastest kind" : "their own");
    if (p->slow) {
        fprintf(stream, ", %d with a slower one", p->slow);
    }
    if (p->siblings) {
        fprintf(stream, ", %d beside another thread of their core", p->siblings);
    }
    if (e->machine->numa_nodes > 1) {
        fprintf(stream, ". Bound %s: %d of %lld nodes", binding_names[p->binding], p->nodes, (long long)e->machine->numa_nodes);
    }
    fprintf(stream, ".\n\n");
    explain_seats(e->machine, p, stream);
    fprintf(stream, "\n");
    explain_rates(e, stream);
    explain_figures(e, &choice, stream);
    if (p->nodes > 1) {
        fprintf(stream,
                "\nBest by prediction: %s. A library takes pages as the system places them; options.interleave interleaves the "
                "weights that it packs into memory, 'numactl --interleave=all' also mapped files.\n",
                choice.weights == PLACEMENT_ROWS      ? "rows, each node has a share of every expert and works on it alone"
                : choice.weights == PLACEMENT_EXPERTS ? "experts, each node has whole experts and works on its own first"
                                                      : "interleaved, page by page over the nodes");
    }
    fprintf(stream, "\nRecommended: %d thread%s.", recommended, plural(recommended));
    explain_reason(e, recommended, stream);
}
