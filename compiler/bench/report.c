// The rows of a benchmark as JSON and as a table for 120 columns.
#include <math.h>
#include <string.h>

#include "bench.h"
#include "compiler/base/table.h"
#include "compiler/machine/report.h"
#include "compiler/measure/measure.h"
#include "compiler/plan/paths.h"

static json_t *number_or_null(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *bench_row_json(const BenchRow *row) {
    json_t *json =
        json_pack("{s:s, s:I, s:s, s:f, s:f, s:i, s:b, s:f, s:f, s:f, s:I}", "layer", row->layer, "tokens", (json_int_t)row->tokens,
                  "routing", row->routing, "distinct_experts", row->visits.distinct, "largest_share", row->visits.largest_share,
                  "threads", row->threads, "cold", row->cold, "median_s", row->time.median, "spread", row->time.spread, "min_s",
                  row->time.min, "calls", (json_int_t)row->time.count);
    json_t *limits =
        json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:o, s:f, s:o, s:o, s:o, s:o, s:o}", "flops", row->work.flops, "bytes",
                  row->work.bytes, "union_bytes", row->work.union_bytes, "gflops", row->gflops, "gbytes_s", row->gbytes_s,
                  "best_peak_gflops", row->best_peak, "bandwidth_gbytes_s", number_or_null(row->bandwidth), "fraction_of_peak",
                  row->fraction_of_peak, "fraction_of_bandwidth", number_or_null(row->fraction_of_bandwidth), "roofline_s",
                  number_or_null(row->roofline_s), "roofline_fraction", number_or_null(row->roofline_fraction), "union_roofline_s",
                  number_or_null(row->union_roofline_s), "union_roofline_fraction", number_or_null(row->union_roofline_fraction));
    json_object_update(json, limits);
    json_decref(limits);
    json_object_set_new(json, "routed_flops", json_real(row->work.routed_flops));
    json_object_set_new(json, "shared_flops", json_real(row->work.shared_flops));
    json_object_set_new(json, "router_flops", json_real(row->work.router_flops));
    bool compared = row->opponent_time.count > 0;
    json_object_set_new(json, "path", json_string(row->path));
    json_object_set_new(json, "against", compared ? json_string(row->opponent) : json_null());
    json_object_set_new(json, "opponent_s", compared ? json_real(row->opponent_time.median) : json_null());
    json_object_set_new(json, "opponent_spread", compared ? json_real(row->opponent_time.spread) : json_null());
    json_object_set_new(json, "speedup", compared ? json_real(row->speedup) : json_null());
    json_object_set_new(json, "max_error", number_or_null(row->max_error));
    json_object_set_new(json, "ratio_to_one_iteration", row->tax > 0 ? json_real(row->tax) : json_null());
    json_object_set_new(json, "flops_to_one_iteration", row->tax > 0 ? json_real(row->sibling_flops) : json_null());
    json_object_set_new(json, "router_included", json_boolean(row->routed));
    json_object_set_new(json, "huge_pages", json_boolean(row->huge_pages));
    json_object_set_new(json, "evicted", json_boolean(row->evicted));
    json_object_set_new(json, "bank_bytes", json_integer((json_int_t)row->bank_bytes));
    json_object_set_new(json, "note", json_string(row->note));
    json_object_set_new(json, "disturbed", *row->disturbed ? json_string(row->disturbed) : json_null());
    return json;
}

// What the columns of a table depend on.
typedef struct Shown {
    bool warm, compared, chain;
    bool sibling;  // rows of the one-iteration layer that a chain is compared with
} Shown;

static Shown shown_of(const BenchRow *rows, int64_t count) {
    Shown shown = {0};
    for (int64_t i = 0; i < count; i++) {
        shown.warm = shown.warm || !rows[i].cold;
        shown.compared = shown.compared || rows[i].opponent_time.count;
        shown.chain = shown.chain || rows[i].tax > 0;
        shown.sibling = shown.sibling || strstr(rows[i].layer, "_as_moe");
    }
    return shown;
}

static void add_columns(Table *table, Shown shown) {
    static const char *const names[] = {"tok", "exp", "ms", "+-", "GF/s", "peak", "GB/s", "bw", "roof"};
    table_column(table, "layer", true);
    if (shown.warm) {
        table_column(table, "", true);
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        table_column(table, names[i], false);
    }
    if (shown.compared) {
        table_column(table, "ref ms", false);
        table_column(table, "gain", false);
        table_column(table, "error", false);
    }
    if (shown.chain) {
        table_column(table, "/MoE", false);
    }
}

static void percent_cell(Table *table, double fraction) {
    table_cell(table, isfinite(fraction) ? "%.0f%%" : "-", fraction * 100);
}

static void number_cell(Table *table, double value) {
    char text[32];
    table_cell(table, "%s", table_number(text, value));
}

static void add_row(Table *table, const BenchRow *row, Shown shown) {
    char text[32];
    table_cell(table, "%.24s", row->layer);
    if (shown.warm) {
        table_cell(table, row->cold ? "cold" : "warm");
    }
    table_cell(table, "%lld", (long long)row->tokens);
    number_cell(table, row->visits.distinct);
    number_cell(table, row->time.median * 1e3);
    table_cell(table, row->time.spread > BENCH_CALL_SPREAD ? "%.0f%%!" : "%.0f%%", row->time.spread * 100);
    number_cell(table, row->gflops);
    percent_cell(table, row->fraction_of_peak);
    number_cell(table, row->gbytes_s);
    percent_cell(table, row->fraction_of_bandwidth);
    percent_cell(table, row->roofline_fraction);
    bool compared = row->opponent_time.count > 0;
    if (shown.compared) {
        table_cell(table, "%s", table_number(text, compared ? row->opponent_time.median * 1e3 : -1));
        table_cell(table, compared ? "%sx" : "%s", table_number(text, compared ? row->speedup : -1));
        table_cell(table, isfinite(row->max_error) ? "%.0e" : "-", row->max_error);
    }
    if (shown.chain) {
        table_cell(table, row->tax > 0 ? "%.2f" : "", row->tax);
    }
}

// A line below the table, if there is anything to say.
static void print_remark(const char *kind, const BenchRow *row, const char *text) {
    if (*text) {
        printf("%s%s, %lld token%s%s: %s\n", kind, row->layer, (long long)row->tokens, row->tokens == 1 ? "" : "s",
               row->cold ? "" : ", warm", text);
    }
}

// What the columns that are shown mean; the blank lines keep Markdown from taking it, or the remarks, for rows.
static void print_legend(Shown shown) {
    printf(
        "\ntok: tokens; exp: distinct experts an iteration; ms +-: median and interquartile range of a call; GF/s, GB/s: its\n"
        "rates; peak: GF/s as a fraction of the best path's peak measured around that very row; bw: GB/s of the read loops';\n"
        "roof: the roofline's time / ms");
    if (shown.compared) {
        printf(
            "; ref ms, gain: the opponent's median and how many times faster than it;\n"
            "error: largest difference from it, relative to the row");
    }
    if (shown.chain) {
        printf("; /MoE: experts' FLOP/s relative to the one-iteration layer");
    }
    printf("\n");
    if (shown.sibling) {
        printf("_as_moe: the one-iteration layer of equal routed FLOPs\n");
    }
    printf("\n");
}

void bench_print_rows(const BenchRow *rows, int64_t count) {
    Table table = {0};
    Shown shown = shown_of(rows, count);
    add_columns(&table, shown);
    for (int64_t i = 0; i < count; i++) {
        add_row(&table, &rows[i], shown);
    }
    table_print(&table, stdout);
    table_free(&table);
    print_legend(shown);
    for (int64_t i = 0; i < count; i++) {
        print_remark("", &rows[i], rows[i].note);
        print_remark("machine disturbed: ", &rows[i], rows[i].disturbed);
    }
}

static json_t *peaks_json(const BenchRun *run) {
    Peaks peaks = {0};
    memcpy(peaks.gflops, run->peaks, sizeof peaks.gflops);
    json_t *json = report_peaks(&peaks, run->options->threads);
    json_object_set_new(json, "best", json_string(path_name(run->best_path)));
    json_object_set_new(json, "best_gflops", json_real(run->peaks[run->best_path]));
    return json;
}

json_t *bench_document(const BenchRun *run) {
    Features used, unused;
    json_t *rows = json_array(), *machine = report_machine(run->machine);
    for (int64_t i = 0; i < run->row_count; i++) {
        json_array_append_new(rows, bench_row_json(&run->rows[i]));
    }
    paths_capabilities(run->machine, &used, &unused);
    json_object_set_new(machine, "capabilities_unused", json_string(unused.names));
    return json_pack("{s:o, s:o, s:o, s:o}", "machine", machine, "peaks", peaks_json(run), "bandwidth",
                     report_bandwidth(&run->bandwidth), "rows", rows);
}

void bench_print(const BenchRun *run) {
    Features used, unused;
    char bank[32], text[32];
    const BenchRow *row = run->row_count ? &run->rows[0] : NULL;
    if (!row) {
        return;
    }
    paths_capabilities(run->machine, &used, &unused);
    printf("%s, %d thread%s; routing %s%s; paths %s\n", run->machine->cpu, row->threads, row->threads == 1 ? "" : "s", row->routing,
           row->routed ? "" : " (given: no router runs)", row->path);
    printf("best peak %s GFLOP/s (%s)", table_number(text, run->peaks[run->best_path]), path_name(run->best_path));
    printf("; bandwidth %s GB/s (%s); bank %s on %s pages\n", table_number(text, run->bandwidth.gbytes_s), run->bandwidth.variant,
           report_bytes(bank, row->bank_bytes), row->huge_pages ? "huge" : "small");
    if (*unused.names) {
        printf("present, but used by no path: %s\n", unused.names);
    }
    putchar('\n');
    bench_print_rows(run->rows, run->row_count);
}
