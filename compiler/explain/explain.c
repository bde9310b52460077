// What a plan means: paths with the reasons, tiles, loop nest, work per phase, memory, predicted times.
#include "explain.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "compiler/base/table.h"
#include "compiler/machine/report.h"
#include "compiler/measure/measure.h"
#include "compiler/plan/work.h"
#include "compiler/wisdom/origin.h"

static Compute role_class(const Layer *layer, int role) {
    return role == ROLE_ROUTER ? COMPUTE_FP32 : (Compute)layer->compute;
}

// One role's paths: the chosen one first, then why not the others.
static void explain_paths(const Explanation *e, int r, FILE *stream) {
    const Role *role = &e->plan->roles[r];
    fprintf(stream, "%s: %s", role_names[r], path_name((Path)role->path));
    if (e->peaks && e->peaks->tile_gflops[role->path] > 0) {
        fprintf(stream, " (measured: %.0f GFLOP/s a core in a tile)", e->peaks->tile_gflops[role->path]);
    }
    for (int p = 0; p < PATH_COUNT; p++) {
        if (p == role->path) {
            continue;
        }
        const char *reason = path_rejection(e->target, (Path)p, (Format)role->layout.weights, role_class(&e->plan->layer, r));
        if (reason) {
            fprintf(stream, "; %s: %s", path_name((Path)p), reason);
        } else if (e->peaks) {
            fprintf(stream, "; %s: measured slower, %.0f GFLOP/s", path_name((Path)p), e->peaks->tile_gflops[p]);
        } else {
            fprintf(stream, "; %s: not measured, the target is not this machine", path_name((Path)p));
        }
    }
    fprintf(stream, "\n");
}

static void explain_tiles(const Explanation *e, FILE *stream) {
    Table table = {0};
    static const char *const columns[] = {"role",   "weights", "matrices",         "k",      "columns",
                                          "panels", "tile",    "two panels up to", "unroll", "prefetch"};
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        table_column(&table, columns[i], i < 2);
    }
    for (int r = 0; r < ROLE_COUNT; r++) {
        const Role *role = &e->plan->roles[r];
        if (!role->layout.matrices) {
            continue;
        }
        table_cell(&table, "%s", role_names[r]);
        table_cell(&table, "%s", format_name((Format)role->layout.weights));
        table_cell(&table, "%lld", (long long)role->layout.matrices);
        table_cell(&table, "%lld", (long long)role->layout.depth);
        table_cell(&table, "%lld", (long long)role->layout.columns);
        table_cell(&table, "%lld", (long long)role->layout.panels);
        table_cell(&table, "%dx%d", role->max_rows, role->tile_columns);
        table_cell(&table, "%d rows", role->wide_rows);
        table_cell(&table, "%d", role->unroll);
        char far[32] = "";
        if (plan_prefetches_far(role)) {
            snprintf(far, sizeof far, ", %d", role->prefetch_far);
        }
        table_cell(&table, "%d%s B", role->prefetch, far);
    }
    table_print(&table, stream);
    table_free(&table);
}

// One line of the loop nest: what is done, and how the threads share it. Indented by two columns a level.
static void loop_line(FILE *stream, int level, const char *step, const char *format, ...) __attribute__((format(printf, 4, 5)));
static void loop_line(FILE *stream, int level, const char *step, const char *format, ...) {
    enum { SHARED_COLUMN = 52 };
    char shared[128];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(shared, sizeof shared, format, arguments);
    va_end(arguments);
    fprintf(stream, "%*s%-*s%s\n", 2 * level, "", *shared ? SHARED_COLUMN - 2 * level : 0, step, shared);
}

static void explain_loops(const Plan *plan, FILE *stream) {
    const Layer *layer = &plan->layer;
    int one_pass = layer->iterations == 1, level = one_pass ? 1 : 2;
    long long few = (long long)plan->schedule.few_tokens;
    char step[96], tasks[2][32];
    for (int i = 0; i < 2; i++) {
        long long count = (long long)(i ? plan->schedule.down_tasks : plan->schedule.up_tasks);
        snprintf(tasks[i], sizeof tasks[i], "%lld task%s a thread", count, count == 1 ? "" : "s");
    }
    snprintf(step, sizeof step, "for each chunk of up to %lld tokens", (long long)plan->schedule.chunk_tokens);
    loop_line(stream, 0, step, "%s", "");
    loop_line(stream, 1, "x = norm(h)", "rows shared out");
    if (!one_pass) {
        snprintf(step, sizeof step, "for each of %lld iterations", (long long)layer->iterations);
        loop_line(stream, 1, step, "%s", "");
    }
    if (layer->latent) {
        loop_line(stream, level, layer->latent_norm == NORM_NONE ? "z = W_in x" : "z = W_in x; barrier; norm of z",
                  "%s, which owns columns and walks all tokens%s", tasks[0],
                  layer->latent_norm == NORM_NONE ? "" : "; norm: rows shared out");
    }
    snprintf(step, sizeof step, "route: logits, %s %lld of %lld", selection_names[layer->selection], (long long)layer->top_k,
             (long long)layer_choices(layer));
    loop_line(stream, level, step, "rows shared out (up to %lld tokens: columns, and a barrier)", few);
    loop_line(stream, level, "barrier", "%s", "");
    loop_line(stream, level, "sort tokens by expert", "every thread for itself");
    snprintf(step, sizeof step, "gate/up: expert, %lld-row block, panel, tile", (long long)plan->schedule.block_rows);
    loop_line(stream, level, step, "%s", tasks[0]);
    loop_line(stream, level, "barrier", "%s", "");
    loop_line(stream, level, "down: expert, block, panel, tile, combine", "%s, which owns columns and walks all experts in order",
              tasks[1]);
    loop_line(stream, level, "barrier", "%s", "");
    if (layer->latent) {
        loop_line(stream, level, "W_out of the experts' sum, shared experts", "%s, which owns columns", tasks[1]);
        loop_line(stream, level, "barrier", "%s", "");
    }
}

// Which figures are computed and which are measured.
static void explain_rates(const Explanation *e, FILE *stream) {
    Path path = (Path)e->plan->roles[ROLE_GATE_UP].path;
    char reason[PEAKS_NOTE_BYTES];
    bool plausible = !e->peaks || peaks_plausible(e->peaks, e->threads, reason);
    fprintf(stream, "Work is computed from the plan. ");
    if (e->peaks && e->bandwidth) {
        fprintf(stream,
                "Time is the larger of arithmetic at the peak of %s (%.0f GFLOP/s, measured on this machine%s) and bytes "
                "at the memory's bandwidth (%.1f GB/s, measured just now), %d thread%s.\n\n",
                path_name(path), e->peaks->gflops[path], plausible ? " and kept" : ", not kept", e->bandwidth->gbytes_s, e->threads,
                e->threads == 1 ? "" : "s");
    } else {
        fprintf(stream, "Nothing is measured: %s.\n\n",
                e->peaks ? "there is too little memory to measure its bandwidth" : "the target is not this machine");
    }
    if (e->peaks && *e->peaks->note) {
        fprintf(stream, "%s\n\n", e->peaks->note);
    }
    if (e->bandwidth && !bandwidth_plausible(e->bandwidth, 0)) {
        fprintf(stream, "machine disturbed: the memory's bandwidth varies by %.0f%%\n\n", e->bandwidth->spread * 100);
    }
}

static void explain_prediction(const Explanation *e, FILE *stream) {
    Table table = {0};
    explain_rates(e, stream);
    static const char *const columns[] = {"tokens",  "routed MFLOP",   "shared MFLOP", "router MFLOP",
                                          "MB read", "rows an expert", "predicted ms", "bound by"};
    enum { COLUMNS = sizeof columns / sizeof *columns, ROUTER = 3 };
    bool latent = e->plan->layer.latent > 0;
    for (size_t i = 0; i < COLUMNS; i++) {
        table_column(&table, columns[i], i == COLUMNS - 1);
        if (latent && i == ROUTER) {
            table_column(&table, "latent MFLOP", false);
        }
    }
    for (int64_t i = 0; i < e->workload->token_counts; i++) {
        int64_t tokens = e->workload->tokens[i];
        Visits visits = work_expected_visits(&e->plan->layer, tokens);
        Work work = work_count(e->plan, tokens, &visits, true);
        char text[32];
        table_cell(&table, "%lld", (long long)tokens);
        table_cell(&table, "%s", table_number(text, work.routed_flops * 1e-6));
        table_cell(&table, "%s", table_number(text, work.shared_flops * 1e-6));
        table_cell(&table, "%s", table_number(text, work.router_flops * 1e-6));
        if (latent) {
            table_cell(&table, "%s", table_number(text, work.latent_flops * 1e-6));
        }
        table_cell(&table, "%s", table_number(text, work.bytes * 1e-6));
        table_cell(&table, "%s", table_number(text, visits.visits / visits.distinct_sum));
        double arithmetic = 0, memory = 0;
        if (e->peaks && e->bandwidth) {
            arithmetic = work.flops * 1e-9 / e->peaks->gflops[e->plan->roles[ROLE_GATE_UP].path];
            memory = work.bytes * 1e-9 / e->bandwidth->gbytes_s;
        }
        table_cell(&table, "%s", arithmetic > 0 ? table_number(text, 1e3 * fmax(arithmetic, memory)) : "-");
        table_cell(&table, "%s", arithmetic <= 0 ? "not this machine" : arithmetic > memory ? "arithmetic" : "memory");
    }
    table_print(&table, stream);
    table_free(&table);
}

void explain_layer(const Explanation *e, FILE *stream) {
    const Plan *plan = e->plan;
    char one[32], two[32];
    fprintf(stream, "## layer %s (%lld of them), target %s, compute class %s\n\n", e->layer->name, (long long)e->layer->count,
            e->target->name, compute_name((Compute)plan->layer.compute));
    wisdom_origin_print(e->origin, stream);
    if (e->untrusted) {
        fprintf(stream, "\n%s\n", e->untrusted);
    }
    fprintf(stream, "\n### Paths\n\n");
    for (int r = 0; r < ROLE_COUNT; r++) {
        if (plan->roles[r].layout.matrices) {
            explain_paths(e, r, stream);
        }
    }
    fprintf(stream, "\n### Tiles\n\n");
    explain_tiles(e, stream);
    fprintf(stream, "\n### Loop nest, %d thread%s\n\n", e->threads, e->threads == 1 ? "" : "s");
    explain_loops(plan, stream);
    fprintf(stream, "\n### Memory\n\nweights %s an instance, workspace %s for %lld tokens\n",
            report_bytes(one, plan->layout.instance_bytes),
            report_bytes(two, plan_workspace(plan, plan->schedule.chunk_tokens, e->threads).bytes),
            (long long)plan->schedule.chunk_tokens);
    fprintf(stream, "\n### Work and predicted time, uniform routing, cold weights\n\n");
    explain_prediction(e, stream);
    explain_placement(e, stream);
}
