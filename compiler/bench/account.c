// The arithmetic of a benchmark: FLOPs, bytes, rooflines, errors, and the chain's sibling. Nothing is measured here.
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

// --- a row -------------------------------------------------------------------------------------------------------------------

static double ratio(double a, double b) {
    return b > 0 ? a / b : 0;
}

static double larger(double a, double b) {
    return a > b ? a : b;
}

void bench_note(char note[BENCH_NOTE_BYTES], const char *format, ...) {
    size_t used = strlen(note);
    va_list arguments;
    va_start(arguments, format);
    if (used && used + 2 < BENCH_NOTE_BYTES) {
        memcpy(note + used, "; ", 3);
        used += 2;
    }
    vsnprintf(note + used, BENCH_NOTE_BYTES - used, format, arguments);
    va_end(arguments);
}

void bench_note_work(char note[BENCH_NOTE_BYTES], const Work *ours, const Work *theirs) {
    char text[BENCH_NOTE_BYTES];
    if (work_difference(ours, theirs, text, sizeof text)) {
        bench_note(note, "%s", text);
    }
}

void bench_row_judge(BenchRow *row, const Bandwidth *bandwidth) {
    double reached = work_reached(&row->work, row->time.median);
    row->disturbed[0] = 0;
    if (bandwidth && bandwidth->spread > BANDWIDTH_SPREAD) {
        bench_note(row->disturbed, "the rate of the read loops varies by %.0f%%", bandwidth->spread * 100);
    }
    if (bandwidth && 2 * bandwidth->gbytes_s < reached) {
        bench_note(row->disturbed, "the read loops reach %.1f GB/s, the calls %.1f", bandwidth->gbytes_s, reached);
    }
    if (row->time.spread > BENCH_CALL_SPREAD) {
        bench_note(row->disturbed, "the time of a call varies by %.0f%%", row->time.spread * 100);
    }
}

// What is relative to the bandwidth of memory.
static void finish_cold(BenchRow *row, double seconds) {
    double reached = work_reached(&row->work, seconds);
    if (reached > row->bandwidth) {
        bench_note(row->note, "faster than every read loop (%.1f GB/s): its own rate is the bandwidth", row->bandwidth);
        row->bandwidth = reached;
    }
    row->fraction_of_bandwidth = ratio(row->gbytes_s, row->bandwidth);
    double compute = ratio(row->work.flops * 1e-9, row->best_peak);
    row->roofline_s = larger(compute, ratio(row->work.bytes * 1e-9, row->bandwidth));
    row->union_roofline_s = larger(compute, ratio(row->work.union_bytes * 1e-9, row->bandwidth));
    row->roofline_fraction = ratio(row->roofline_s, seconds);
    row->union_roofline_fraction = ratio(row->union_roofline_s, seconds);
}

void bench_row_finish(BenchRow *row) {
    double seconds = row->time.median;
    row->gflops = ratio(row->work.flops, seconds) * 1e-9;
    row->gbytes_s = ratio(row->work.bytes, seconds) * 1e-9;
    row->fraction_of_peak = ratio(row->gflops, row->best_peak);
    row->speedup = ratio(row->opponent_time.median, seconds);
    row->bandwidth = row->cold ? row->bandwidth : NAN;
    row->fraction_of_bandwidth = row->roofline_s = row->roofline_fraction = NAN;
    row->union_roofline_s = row->union_roofline_fraction = NAN;
    if (row->cold) {
        finish_cold(row, seconds);
    }
}

void bench_row_explain(BenchRow *row) {
    if (row->cold && row->fraction_of_bandwidth > 1) {  // the union's fraction never is: see finish_cold
        bench_note(row->note, "bw above 1: the chain's later iterations found experts in cache");
    }
}

void bench_row_tax(BenchRow *row, double flops, const Layer *layer, const BenchRow *sibling, double sibling_flops) {
    static const double equal = 1e-3;
    bool capped = layer->top_k * layer->iterations > layer->experts;
    row->sibling_flops = ratio(flops, sibling_flops);
    row->tax = row->sibling_flops * ratio(sibling->time.median, row->time.median);
    if (fabs(row->sibling_flops - 1) > equal) {
        bench_note(row->note, "/MoE compares FLOP/s: the chain has %.3g times the FLOPs of its sibling%s%s", row->sibling_flops,
                   capped ? ", whose k ends at the pool" : "", layer->shared_experts ? ", which runs shared experts once" : "");
    }
}

bool bench_needs_eviction(int64_t slots, double touched, int64_t last_level_bytes) {
    return (double)slots * touched < 4 * (double)last_level_bytes;
}

double bench_max_error(const float *a, const float *b, int64_t rows, int64_t columns) {
    double worst = 0;
    for (int64_t r = 0; r < rows; r++, a += columns, b += columns) {
        double difference = 0, norm = 0;
        for (int64_t c = 0; c < columns; c++) {
            if (!isfinite(a[c]) || !isfinite(b[c])) {
                difference = isfinite(a[c]) == isfinite(b[c]) ? difference : INFINITY;
                continue;
            }
            difference = larger(difference, fabs((double)a[c] - (double)b[c]));
            norm = larger(norm, fabs((double)b[c]));
        }
        worst = larger(worst, norm > 0 ? difference / norm : difference);
    }
    return worst;
}

// --- the chain's sibling -----------------------------------------------------------------------------------------------------

static json_int_t integer_of(const json_t *object, const char *key, json_int_t fallback) {
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? json_integer_value(value) : fallback;
}

// As many groups remain as k choices need; of groups that do not divide the pool the description is refused anyway.
static void widen_groups(json_t *router, json_int_t k, json_int_t pool) {
    json_t *groups = json_object_get(router, "groups");
    json_int_t count = integer_of(groups, "count", 0), size = count > 0 ? pool / count : 0;
    json_int_t needed = size > 0 ? (k + size - 1) / size : 0;
    if (integer_of(groups, "k", 0) < needed) {
        json_object_set_new(groups, "k", json_integer(needed < count ? needed : count));
    }
}

char *bench_sibling_text(const char *source, int64_t layer, Diagnostics *diagnostics) {
    json_error_t error;
    json_t *document = json_loads(source, 0, &error);
    json_t *layers = json_object_get(document, "layers"), *chain = json_array_get(layers, (size_t)layer);
    json_t *router = json_object_get(chain, "router");
    char name[MODEL_NAME_BYTES], *text = NULL;
    const char *library_name = json_string_value(json_object_get(document, "name"));
    if (!router || !library_name) {
        diagnostics_add(diagnostics, NULL, 0, 0, "the description has no layer %lld to take a sibling of", (long long)layer);
        json_decref(document);
        return NULL;
    }
    json_int_t iterations = integer_of(chain, "iterations", 1), k = integer_of(router, "k", 0) * iterations;
    json_int_t expected = integer_of(router, "expected_k", 0) * iterations;
    const json_t *experts = json_object_get(chain, "experts");
    json_int_t pool = integer_of(experts, "count", k) + integer_of(experts, "identity", 0) + integer_of(experts, "null", 0);
    snprintf(name, sizeof name, "%.50s_as_moe", library_name);
    json_incref(chain);
    json_object_set_new(chain, "iterations", json_integer(1));
    json_object_set_new(chain, "count", json_integer(1));
    json_object_set_new(chain, "residual", json_pack("{s:b, s:b}", "inner", 0, "outer", 1));
    if (k) {  // without it the rule of selection limits the choices
        k = k < pool ? k : pool;
        json_object_set_new(router, "k", json_integer(k));
        widen_groups(router, k, pool);
    }
    if (expected) {
        json_object_set_new(router, "expected_k", json_integer(expected < pool ? expected : pool));
    }
    json_object_del(router, "per_iteration");
    json_object_del(chain, "checkpoint");  // weights are synthetic, and names with {iteration} would be wrong
    json_object_del(document, "workload");
    json_object_set_new(document, "name", json_string(name));
    json_object_set_new(document, "layers", json_pack("[o]", chain));
    text = json_dumps(document, JSON_INDENT(2));
    json_decref(document);
    return text;
}
