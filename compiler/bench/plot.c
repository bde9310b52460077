// A benchmark's rows as a drawing: arithmetic rate and memory rate over token counts, with what the machine allows.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "compiler/base/plot.h"
#include "targets/target.h"

// A layer's rows are a curve of their own, cold and warm ones apart.
enum { MOST_GROUPS = PLOT_MAX_SERIES / 3, COLOUR_OPPONENT = 1, COLOUR_LIMIT = 5 };

static bool same_group(const BenchRow *a, const BenchRow *b) {
    return !strcmp(a->layer, b->layer) && a->cold == b->cold;
}

// The first row of each group. Returns how many groups there are.
static int find_groups(const BenchRun *run, const BenchRow *groups[MOST_GROUPS]) {
    int count = 0;
    for (int64_t i = 0; i < run->row_count; i++) {
        bool known = false;
        for (int g = 0; g < count; g++) {
            known |= same_group(groups[g], &run->rows[i]);
        }
        if (!known && count < MOST_GROUPS) {
            groups[count++] = &run->rows[i];
        }
    }
    return count;
}

static const char *opponent_name(const BenchRow *row) {
    const char *slash = strrchr(row->opponent, '/');
    return slash ? slash + 1 : row->opponent;
}

// One group's curves in both plots. work: FLOPs for the first, bytes for the second; the rate is work / time.
static void add_group(const BenchRun *run, const BenchRow *group, int colour, bool only, bool bytes, Plot *plot) {
    char name[64], opponent[64] = "";
    const char *unit = bytes ? "GB/s" : "GFLOP/s";
    snprintf(name, sizeof name, "%.40s%s", group->layer, group->cold ? "" : ", warm");
    int limit = plot_series(plot, PLOT_DASHED, only ? COLOUR_LIMIT : colour, "%s: roofline", name);
    for (int64_t i = 0; i < run->row_count; i++) {
        if (same_group(group, &run->rows[i]) && run->rows[i].opponent_time.count) {
            snprintf(opponent, sizeof opponent, "%.40s", opponent_name(&run->rows[i]));
        }
    }
    int other = *opponent
                    ? plot_series(plot, only ? PLOT_MARKED : PLOT_POINTS, only ? COLOUR_OPPONENT : colour, "%s: %s", name, opponent)
                    : limit;
    int own = plot_series(plot, PLOT_MARKED, colour, "%s", name);
    for (int64_t i = 0; i < run->row_count; i++) {
        const BenchRow *row = &run->rows[i];
        double work = (bytes ? row->work.bytes : row->work.flops) * 1e-9, tokens = (double)row->tokens;
        if (!same_group(group, row)) {
            continue;
        }
        plot_point(plot, limit, tokens, work / row->roofline_s, "%s", "");
        plot_point(plot, own, tokens, work / row->time.median, "%lld tokens: %.3g %s, %.3g ms%s%s", (long long)row->tokens,
                   work / row->time.median, unit, row->time.median * 1e3, *row->disturbed ? "; disturbed: " : "", row->disturbed);
        if (row->opponent_time.count) {
            plot_point(plot, other, tokens, work / row->opponent_time.median, "%lld tokens: %.3g %s, %.3g ms",
                       (long long)row->tokens, work / row->opponent_time.median, unit, row->opponent_time.median * 1e3);
        }
    }
}

int bench_plot_save(const BenchRun *run, const char *path, Diagnostics *diagnostics) {
    const BenchRow *groups[MOST_GROUPS];
    char description[512];
    Plot plots[2] = {{.id = "bench",
                      .title = "Arithmetic rate",
                      .description = description,
                      .x = {.label = "tokens", .logarithmic = true},
                      .y = {.label = "GFLOP/s", .logarithmic = true}},
                     {.id = "bandwidth",
                      .title = "Memory rate",
                      .description = "Below it the memory rate: bytes that naive streaming reads, the distinct experts of each "
                                     "iteration, over the same times.",
                      .x = {.label = "tokens", .logarithmic = true},
                      .y = {.label = "GB/s", .from_zero = true}}};
    const Plot *both[] = {&plots[0], &plots[1]};
    int count = find_groups(run, groups);
    snprintf(
        description, sizeof description,
        "Rates over token counts on %.100s, %d threads, best peak %.4g GFLOP/s (%s), read bandwidth %.4g GB/s; the roofline is "
        "what these allow.",
        run->machine->cpu, run->options->threads, run->peaks[run->best_path], path_name(run->best_path), run->bandwidth.gbytes_s);
    for (int p = 0; p < 2; p++) {
        for (int g = 0; g < count; g++) {
            add_group(run, groups[g], count == 1 ? 0 : g % PLOT_COLOURS, count == 1, p == 1, &plots[p]);
        }
    }
    int status = plot_save(both, 2, path, diagnostics);
    plot_free(&plots[0]);
    plot_free(&plots[1]);
    return status;
}
