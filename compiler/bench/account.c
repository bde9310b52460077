// The arithmetic of a benchmark: FLOPs, bytes, rooflines, errors, and the chain's sibling. Nothing is measured here.
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

// --- visits and work ---------------------------------------------------------------------------------------------------------

static void count_iteration(const Layer *layer, int64_t slots, const int32_t *experts, int64_t *counts, BenchVisits *visits) {
    int64_t visited = 0, distinct = 0, largest = 0;
    memset(counts, 0, (size_t)layer->experts * sizeof *counts);
    for (int64_t i = 0; i < slots; i++) {
        if (experts[i] >= 0 && experts[i] < layer->experts) {
            counts[experts[i]]++;
            visited++;
        }
    }
    for (int64_t e = 0; e < layer->experts; e++) {
        distinct += counts[e] > 0;
        largest = counts[e] > largest ? counts[e] : largest;
    }
    double share = visited ? (double)largest / (double)visited : 0;
    visits->visits += (double)visited;
    visits->distinct_sum += (double)distinct;
    visits->largest_share = share > visits->largest_share ? share : visits->largest_share;
}

int bench_visits(const Layer *layer, int64_t tokens, const int32_t *experts, BenchVisits *visits) {
    int64_t slots = tokens * layer->top_k;
    int64_t *counts = calloc((size_t)layer->experts, sizeof *counts);
    int64_t *ever = calloc((size_t)layer->experts, sizeof *ever);
    int status = counts && ever ? 0 : -1;
    *visits = (BenchVisits){0};
    for (int64_t t = 0; !status && t < layer->iterations; t++) {
        count_iteration(layer, slots, experts + t * slots, counts, visits);
        for (int64_t e = 0; e < layer->experts; e++) {
            ever[e] += counts[e];
        }
    }
    for (int64_t e = 0; !status && e < layer->experts; e++) {
        visits->union_experts += ever[e] > 0;
    }
    visits->distinct = visits->distinct_sum / (double)layer->iterations;
    free(counts);
    free(ever);
    return status;
}

static void mean_add(double *mean, int64_t count, double value) {
    *mean += (value - *mean) / (double)(count + 1);
}

void bench_visits_mean(BenchVisits *mean, int64_t count, const BenchVisits *other) {
    mean_add(&mean->visits, count, other->visits);
    mean_add(&mean->distinct, count, other->distinct);
    mean_add(&mean->distinct_sum, count, other->distinct_sum);
    mean_add(&mean->union_experts, count, other->union_experts);
    mean_add(&mean->largest_share, count, other->largest_share);
}

BenchVisits bench_expected_visits(const Layer *layer, int64_t tokens) {
    double pool = (double)layer->experts, iterations = (double)layer->iterations;
    double chance = (double)layer->expected_k / (double)layer_choices(layer);  // those that compute nothing have their share
    BenchVisits v = {0};
    v.visits = (double)tokens * chance * pool * iterations;
    v.distinct = pool * (1 - pow(1 - chance, (double)tokens));
    v.distinct_sum = v.distinct * iterations;
    v.union_experts = pool * (1 - pow(1 - chance, (double)tokens * iterations));
    v.largest_share = 1 / pool;
    return v;
}

// Packed bytes of one matrix of a role with its bias.
static double role_bytes(const Role *role) {
    double bias = role->bias_offset >= 0 ? (double)(role->panels * PANEL_COLUMNS * 4) : 0;
    return role->matrices ? (double)role->matrix_bytes + bias : 0;
}

BenchWork bench_work(const Plan *plan, int64_t tokens, const BenchVisits *visits, bool routed) {
    const Layer *layer = &plan->layer;
    const Role *roles = plan->roles;
    double matrices = layer->gated ? 3 : 2, iterations = (double)layer->iterations, hidden = (double)layer->hidden;
    double evaluations = (double)tokens * iterations, shared = (double)layer->shared_experts;
    double expert_bytes = role_bytes(&roles[ROLE_GATE_UP]) + role_bytes(&roles[ROLE_DOWN]);
    double shared_bytes = shared * (role_bytes(&roles[ROLE_SHARED_GATE_UP]) + role_bytes(&roles[ROLE_SHARED_DOWN]));
    double router_bytes = routed ? role_bytes(&roles[ROLE_ROUTER]) : 0;
    BenchWork work;
    work.routed_flops = visits->visits * 2 * matrices * hidden * (double)layer->intermediate;
    work.shared_flops = evaluations * shared * 2 * matrices * hidden * (double)layer->shared_intermediate;
    work.router_flops = routed ? evaluations * 2 * hidden * (double)layer_router_columns(layer) : 0;
    work.flops = work.routed_flops + work.shared_flops + work.router_flops;
    work.bytes = visits->distinct_sum * expert_bytes + iterations * (router_bytes + shared_bytes);
    work.union_bytes = visits->union_experts * expert_bytes + (double)layer_gates(layer) * router_bytes + shared_bytes;
    return work;
}

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

void bench_note_work(char note[BENCH_NOTE_BYTES], const BenchWork *ours, const BenchWork *theirs) {
    const struct {
        const char *name;
        double ours, theirs;
    } kinds[] = {{"routed", ours->routed_flops, theirs->routed_flops},
                 {"shared", ours->shared_flops, theirs->shared_flops},
                 {"router", ours->router_flops, theirs->router_flops}};
    static const double equal = 1e-3;
    char text[BENCH_NOTE_BYTES] = "";
    for (size_t i = 0, used = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (fabs(kinds[i].ours - kinds[i].theirs) > equal * kinds[i].theirs) {
            const char *format = kinds[i].theirs > 0 ? "%s%s %.3g times" : "%s%s FLOPs where it has none";
            used += (size_t)snprintf(text + used, sizeof text - used, format, used ? ", " : "", kinds[i].name,
                                     ratio(kinds[i].ours, kinds[i].theirs));
        }
    }
    if (*text) {
        bench_note(note, "FLOPs are not the opponent's: %s, %.4g times in all", text, ratio(ours->flops, theirs->flops));
    }
}

double bench_reached(const BenchWork *work, double seconds) {
    return ratio(work->union_bytes, seconds) * 1e-9;
}

bool bench_bandwidth_plausible(const Bandwidth *bandwidth, double reached_gbytes_s) {
    return bandwidth->spread <= BENCH_READ_SPREAD && 2 * bandwidth->gbytes_s >= reached_gbytes_s;
}

void bench_row_judge(BenchRow *row, const Bandwidth *bandwidth) {
    double reached = bench_reached(&row->work, row->time.median);
    row->disturbed[0] = 0;
    if (bandwidth && bandwidth->spread > BENCH_READ_SPREAD) {
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
    double reached = bench_reached(&row->work, seconds);
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
    row->speedup = ratio(row->reference_time.median, seconds);
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
