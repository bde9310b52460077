// An audit of `catena bench`: a second opinion on the same library, from a program that shares no code with it. Of catena it uses
// the generated header and nothing else: clock, random weights and tokens, read loops, multiply-add loops and every figure are its
// own. `make audit` builds and runs it for two examples; by hand:
//
//     catena compile examples/moe_8of64.json -o build/audit
//     cc -O3 -march=native -fopenmp -DLIBRARY=moe_8of64 -DCONSTANTS=MOE_8OF64_SPARSE -DLAYER='"sparse"' examples/audit.c
//         -o build/audit/audit_moe_8of64 $(PKG_CONFIG_PATH=build/audit pkg-config --cflags --libs moe_8of64) -lm
//     build/audit/audit_moe_8of64 [-r ROUNDS] [-s SECONDS] [-t THREADS] [-m MIB] [-n TOKENS,...] CATENA LIBRARY.so DIRECTORY
//
// CATENA is the program whose `bench` is audited, LIBRARY.so the library that this program was linked with; a checkpoint of random
// weights is written to DIRECTORY and removed. For each token count the two measure in turn (SECONDS of cold calls here, then as
// many in `catena bench`), ROUNDS times; medians over the rounds are compared. Nothing is asserted about times: it reports.
//
// The layer: one instance, gated experts without biases, none shared, top-k, a router per iteration, an rms norm, float
// activations, compute class fp32; tensors named as in examples/moe_8of64.json and coe_2x4of64.json. Any other is refused, with the
// reason, before anything is measured: what is counted here would not be its work.
//
// What the figures mean. FLOPs: two for each weight of an expert, for each token that visits it, and the router's. Bytes: what a
// naive execution reads, in each iteration every expert that any token chose, and the router (fp32). Peak: fp32 multiply-adds, all
// operands in registers. Bandwidth: the best read loop over as much memory as the weights rotate over, or the layer itself where
// it is faster. Roofline: the larger of FLOPs / peak and bytes / bandwidth. Cold: weights rotate over at least 1 GiB and four
// times the last-level cache, calls take their tokens one after the other from a pool of 8192 and then from its start again, and
// where a few tokens touch too little of the weights for that, other memory is read through the cache before every call, and
// another instance is called, as a model's layer before this one would be. -m makes that less where memory is short; such calls
// are not cold.
//
// Over 500 lines: it is one program that shares nothing, to be built by one command and read from end to end.
#define _GNU_SOURCE
#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PASTE_TOKENS(a, b) a##b
#define PASTE(a, b) PASTE_TOKENS(a, b)
#define TEXT_OF(a) #a
#define TEXT(a) TEXT_OF(a)
#include TEXT(LIBRARY.h)

#define FUNCTION(name) PASTE(LIBRARY, name)
typedef LIBRARY Model;

enum {
    HIDDEN = PASTE(CONSTANTS, _HIDDEN),
    EXPERTS = PASTE(CONSTANTS, _EXPERTS),
    ITERATIONS = PASTE(CONSTANTS, _ITERATIONS),
    TOP_K = PASTE(CONSTANTS, _TOP_K),
    MOST_MODELS = 64,
    MOST_ROWS = 32,
    MOST_ROUNDS = 99,
    MOST_TOKENS = 8192,  // of the pool, and of a call
    MOST_CALLS = 4096,
    FEWEST_CALLS = 5,
    LOOKED_AT = 16,  // calls whose routing is counted
    HUGE_PAGE = 2 << 20
};
static const double near_enough = 0.03;

// One token count: every round's medians, ours and theirs, and the work of a call.
typedef struct Row {
    int64_t tokens;
    double ours[MOST_ROUNDS], spread[MOST_ROUNDS], theirs[MOST_ROUNDS];
    double distinct, flops, bytes, union_bytes, their_distinct;
} Row;

typedef struct Audit {
    const char *catena, *library, *directory;
    int threads, rounds, row_count;
    double seconds;
    int64_t intermediate, weight_bytes, cache_bytes, cold_bytes, memory_words, call;
    uint64_t *memory;  // for read loops and between calls
    Model *models[MOST_MODELS];
    int model_count, layer;
    float *x, *y, *weights;
    int32_t *experts;
    Row rows[MOST_ROWS];
    double peak, bandwidth, their_peak, their_bandwidth;
} Audit;

// --- clock, medians, random numbers --------------------------------------------------------------------------------

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// The p-th part of sorted samples, 0.5 being the median.
static double quantile(const double *sorted, int count, double p) {
    double place = p * (count - 1);
    int below = (int)place;
    return below + 1 < count ? sorted[below] + (place - below) * (sorted[below + 1] - sorted[below]) : sorted[count - 1];
}

static double median(const double *samples, int count) {
    double sorted[MOST_CALLS];
    memcpy(sorted, samples, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, ascending);
    return quantile(sorted, count, 0.5);
}

// How far rounds lie apart, relative to their median.
static double range(const double *samples, int count) {
    double low = samples[0], high = samples[0];
    for (int i = 1; i < count; i++) {
        low = fmin(low, samples[i]);
        high = fmax(high, samples[i]);
    }
    return (high - low) / median(samples, count);
}

// Uniform within -1 and 1; splitmix64.
static float random_float(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (float)((double)((z ^ z >> 31) >> 11) * 0x1p-52 - 1);
}

// --- the machine's limits ------------------------------------------------------------------------------------------

#if defined(__AVX512F__)
enum { VECTOR_BYTES = 64 };
#elif defined(__AVX__)
enum { VECTOR_BYTES = 32 };
#else
enum { VECTOR_BYTES = 16 };
#endif
typedef float Floats __attribute__((vector_size(VECTOR_BYTES)));
typedef uint64_t Words __attribute__((vector_size(VECTOR_BYTES)));
#if defined(__aarch64__)
#define IN_REGISTERS(a, b, c, d) __asm__("" : "+w"(a), "+w"(b), "+w"(c), "+w"(d))
#else
#define IN_REGISTERS(a, b, c, d) __asm__("" : "+x"(a), "+x"(b), "+x"(c), "+x"(d))
#endif
static volatile float float_result;
static volatile uint64_t word_result;  // so that no loop is optimised away

// Twelve independent chains: more than latency times ports of any core.
static Floats multiply_add(int64_t steps, Floats factor, Floats addend) {
    Floats a = addend, b = a, c = a, d = a, e = a, f = a, g = a, h = a, i = a, j = a, k = a, l = a;
    for (int64_t s = 0; s < steps; s++) {
        a = a * factor + addend, b = b * factor + addend, c = c * factor + addend, d = d * factor + addend;
        e = e * factor + addend, f = f * factor + addend, g = g * factor + addend, h = h * factor + addend;
        i = i * factor + addend, j = j * factor + addend, k = k * factor + addend, l = l * factor + addend;
        IN_REGISTERS(a, b, c, d);  // equal chains must not become one
        IN_REGISTERS(e, f, g, h);
        IN_REGISTERS(i, j, k, l);
    }
    return a + b + c + d + e + f + g + h + i + j + k + l;
}

static double measure_peak(int threads) {
    enum { REPETITIONS = 9 };
    const int64_t steps = 2000000;
    double samples[REPETITIONS];
    for (int r = 0; r < REPETITIONS; r++) {
        double start = now();
#pragma omp parallel num_threads(threads)
        {
            Floats factor = {0}, addend = {0};
            float_result = multiply_add(steps, factor + 0.5f, addend + 0.5f)[0];
        }
        samples[r] = 2.0 * 12 * (double)(VECTOR_BYTES / 4) * (double)steps * threads / (now() - start) * 1e-9;
    }
    return median(samples, REPETITIONS);
}

// Reads words, a number of them that is a multiple of 256, in `streams` places at once, with a prefetch so many words ahead.
static inline __attribute__((always_inline)) uint64_t read_words(const uint64_t *words, int64_t count, int streams, int ahead) {
    enum { LINE = 8, LANES = VECTOR_BYTES / 8 };
    Words sum[4] = {0};
    for (int64_t i = 0; i < count / streams; i += LINE) {
        for (int s = 0; s < streams; s++) {
            const uint64_t *line = words + s * (count / streams) + i;
            if (ahead) {
                __builtin_prefetch(line + ahead);
            }
            for (int v = 0; v < LINE; v += LANES) {
                sum[s] ^= *(const Words *)(line + v);
            }
        }
    }
    Words all = sum[0] ^ sum[1] ^ sum[2] ^ sum[3];
    return all[0] ^ all[LANES - 1];
}

enum { READ_LOOPS = 4 };
static uint64_t read_by(int loop, const uint64_t *words, int64_t count) {
    switch (loop) {
    case 0: return read_words(words, count, 1, 0);
    case 1: return read_words(words, count, 2, 0);
    case 2: return read_words(words, count, 2, 128);
    default: return read_words(words, count, 4, 128);
    }
}

// Seconds that all threads take for the first `words` words of the memory.
static double read_memory(const Audit *audit, int loop, int64_t words) {
    int64_t share = words / audit->threads / 256 * 256;
    double start = now();
#pragma omp parallel for schedule(static, 1) num_threads(audit->threads)
    for (int t = 0; t < audit->threads; t++) {
        word_result = read_by(loop, audit->memory + t * share, share);
    }
    return now() - start;
}

static double measure_bandwidth(const Audit *audit) {
    double best = 0;
    for (int loop = 0; loop < READ_LOOPS; loop++) {
        double samples[3];
        for (int r = 0; r < 3; r++) {
            samples[r] = (double)audit->memory_words * 8e-9 / read_memory(audit, loop, audit->memory_words);
        }
        best = fmax(best, median(samples, 3));
    }
    return best;
}

static void measure_limits(Audit *audit) {
    audit->peak = fmax(audit->peak, measure_peak(audit->threads));
    audit->bandwidth = fmax(audit->bandwidth, measure_bandwidth(audit));
}

// --- weights -------------------------------------------------------------------------------------------------------

static int64_t layer_weights(const Audit *audit) {
    return 3 * INT64_C(1) * EXPERTS * HIDDEN * audit->intermediate;
}

// Names a bf16 tensor in a safetensors header.
static void name_tensor(FILE *header, const char *name, int number, const char *rest, int64_t rows, int64_t columns,
                        int64_t *offset) {
    fprintf(header, "%s\"model.layers.0.", *offset ? ", " : "{");
    fprintf(header, name, number);
    fprintf(header, "%s.weight\": {\"dtype\": \"BF16\", \"shape\": [", rest);
    if (rows) {
        fprintf(header, "%" PRId64 ", ", rows);
    }
    fprintf(header, "%" PRId64 "], \"data_offsets\": [%" PRId64 ", ", columns, *offset);
    *offset += (rows ? rows : 1) * columns * 2;
    fprintf(header, "%" PRId64 "]}", *offset);
}

static char *make_header(const Audit *audit, size_t *size, int64_t *bytes) {
    char *text = NULL;
    FILE *header = open_memstream(&text, size);
    *bytes = 0;
    name_tensor(header, "post_attention_layernorm", 0, "", 0, HIDDEN, bytes);
    for (int t = 0; t < ITERATIONS; t++) {
        name_tensor(header, ITERATIONS > 1 ? "mlp.gate.%d" : "mlp.gate", t, "", EXPERTS, HIDDEN, bytes);
    }
    for (int e = 0; e < EXPERTS; e++) {
        name_tensor(header, "mlp.experts.%d", e, ".gate_proj", audit->intermediate, HIDDEN, bytes);
        name_tensor(header, "mlp.experts.%d", e, ".up_proj", audit->intermediate, HIDDEN, bytes);
        name_tensor(header, "mlp.experts.%d", e, ".down_proj", HIDDEN, audit->intermediate, bytes);
    }
    fputc('}', header);
    fclose(header);
    return text;
}

// A checkpoint of random weights. Their size keeps activations near 1; the norm's are no different.
static int write_checkpoint(const Audit *audit, const char *path) {
    size_t header_bytes;
    int64_t bytes;
    char *header = make_header(audit, &header_bytes, &bytes);
    FILE *file = fopen(path, "wb");
    uint64_t size = header_bytes, state = 1;
    if (!file) {
        free(header);
        return -1;
    }
    fwrite(&size, sizeof size, 1, file);
    fwrite(header, 1, header_bytes, file);
    const float scale = sqrtf(3.0f / (float)HIDDEN);
    for (int64_t i = 0; i < bytes / 2; i++) {
        float value = i < HIDDEN ? 1 : random_float(&state) * scale;
        uint16_t upper;
        memcpy(&upper, (const char *)&value + 2, sizeof upper);  // bf16 is the upper half of a float
        fwrite(&upper, sizeof upper, 1, file);
    }
    free(header);
    bool failed = ferror(file) != 0;
    return fclose(file) || failed ? -1 : 0;
}

// Opens the layer as often as cold calls want, each time with weights in memory of their own.
static int open_models(Audit *audit) {
    int64_t bytes = layer_weights(audit) * audit->weight_bytes, wanted = (audit->cold_bytes + bytes - 1) / bytes;
    int64_t possible = (int64_t)sysconf(_SC_AVPHYS_PAGES) * sysconf(_SC_PAGESIZE) / 2 / bytes;
    int64_t count = wanted < MOST_MODELS ? wanted : MOST_MODELS;
    possible = audit->memory_words * 8 < audit->cold_bytes ? audit->memory_words * 8 / bytes : possible;
    count = count <= possible ? count : possible > 1 ? possible : 1;
    PASTE(LIBRARY, _options) options = {.size = sizeof options, .threads = audit->threads, .huge_pages = 1};
    char path[4096], error[512];
    snprintf(path, sizeof path, "%s/%s.safetensors", audit->directory, TEXT(LIBRARY));
    int status = write_checkpoint(audit, path);
    if (status) {
        perror(path);
    }
    for (; !status && audit->model_count < count; audit->model_count += !status) {
        status = FUNCTION(_open)(path, &options, &audit->models[audit->model_count], error, sizeof error);
        if (status) {
            fprintf(stderr, "%s\n", error);
        }
    }
    unlink(path);
    audit->layer = status ? -1 : FUNCTION(_layer)(audit->models[0], LAYER, 0);
    printf("%s: %" PRId64 " instances of %.1f MB%s, %d threads\n", TEXT(LIBRARY), count, (double)bytes * 1e-6,
           count < wanted ? ", fewer than cold calls want" : "", audit->threads);
    return status;
}

// --- calls ---------------------------------------------------------------------------------------------------------

// A call with the pool's next tokens, from its start again at the end.
static int forward(Audit *audit, int64_t tokens, int model, int32_t *experts) {
    const float *x = audit->x + audit->call++ % (MOST_TOKENS / tokens) * tokens * HIDDEN;
    Model *opened = audit->models[model];
    int status =
        experts ? FUNCTION(_forward_routing)(opened, audit->layer, tokens, x, HIDDEN, audit->y, HIDDEN, experts, audit->weights)
                : FUNCTION(_forward)(opened, audit->layer, tokens, x, HIDDEN, audit->y, HIDDEN);
    if (status) {
        fprintf(stderr, "forward: %s\n", FUNCTION(_error)(opened));
    }
    return status;
}

// What calls of a row have to do, from the experts that tokens chose: the mean of some calls.
static int count_work(Audit *audit, Row *row) {
    const double matrices = 3 * (double)HIDDEN * (double)audit->intermediate, router = (double)EXPERTS * (double)HIDDEN;
    const double calls = LOOKED_AT, iterations = ITERATIONS, expert_bytes = matrices * (double)audit->weight_bytes;
    double distinct = 0, all = 0;
    for (int call = 0; call < LOOKED_AT; call++) {
        if (forward(audit, row->tokens, 0, audit->experts)) {
            return -1;
        }
        char ever[EXPERTS] = {0};
        for (int t = 0; t < ITERATIONS; t++) {
            char chosen[EXPERTS] = {0};
            for (int64_t i = 0; i < row->tokens * TOP_K; i++) {
                int32_t expert = audit->experts[t * row->tokens * TOP_K + i];
                distinct += !chosen[expert];
                all += !ever[expert];
                chosen[expert] = ever[expert] = 1;
            }
        }
    }
    row->distinct = distinct / calls / iterations;
    row->flops = (double)row->tokens * iterations * 2 * ((double)TOP_K * matrices + router);
    row->bytes = distinct / calls * expert_bytes + iterations * router * 4;
    row->union_bytes = all / calls * expert_bytes + iterations * router * 4;
    return 0;
}

// One round of a row: cold calls for some seconds.
static int measure_calls(Audit *audit, Row *row, int round) {
    double samples[MOST_CALLS], start = now();
    int count = 0;
    bool few = row->union_bytes * audit->model_count < 4 * (double)audit->cache_bytes;
    for (int m = 0; m < audit->model_count; m++) {
        if (forward(audit, row->tokens, m, NULL)) {
            return -1;
        }
    }
    while (count < FEWEST_CALLS || (now() - start < audit->seconds && count < MOST_CALLS)) {
        if (few) {
            int64_t words = audit->cache_bytes / 4;  // twice the cache
            read_memory(audit, 1, words < audit->memory_words ? words : audit->memory_words);
            const int64_t call = audit->call;
            if (audit->model_count > 1 && forward(audit, row->tokens, (count + 1) % audit->model_count, NULL)) {
                return -1;
            }
            audit->call = call;  // the timed calls take all tokens in turn
        }
        double begun = now();
        if (forward(audit, row->tokens, count % audit->model_count, NULL)) {
            return -1;
        }
        samples[count++] = now() - begun;
    }
    row->ours[round] = median(samples, count);
    qsort(samples, (size_t)count, sizeof *samples, ascending);
    row->spread[round] = (quantile(samples, count, 0.75) - quantile(samples, count, 0.25)) / row->ours[round];
    audit->bandwidth = fmax(audit->bandwidth, row->union_bytes / row->ours[round] * 1e-9);
    return 0;
}

// --- catena bench --------------------------------------------------------------------------------------------------

// The number after a key that follows `place` in a text of JSON; NaN: there is none.
static double number_after(const char *place, const char *key) {
    const char *found = place ? strstr(place, key) : NULL;
    return found ? strtod(found + strlen(key), NULL) : NAN;
}

static int measure_bench(Audit *audit, Row *row, int round) {
    enum { TEXT_BYTES = 1 << 16 };
    char command[8192], *text = calloc(1, TEXT_BYTES);
    snprintf(command, sizeof command, "'%s' bench --format json --against none --threads %d --seconds %g --tokens %" PRId64 " '%s'",
             audit->catena, audit->threads, audit->seconds, row->tokens, audit->library);
    FILE *bench = popen(command, "r");
    size_t size = bench && text ? fread(text, 1, TEXT_BYTES - 1, bench) : 0;
    const char *found = size ? strstr(text, "\"layer\": \"" TEXT(LIBRARY) "\"") : NULL;
    int failed = (bench && pclose(bench)) || !found;
    if (failed) {
        fprintf(stderr, "%s\nfailed\n", command);
    } else {
        row->theirs[round] = number_after(found, "\"median_s\":");
        row->their_distinct = number_after(found, "\"distinct_experts\":");
        audit->their_peak = fmax(audit->their_peak, number_after(text, "\"best_gflops\":"));
        audit->their_bandwidth = fmax(audit->their_bandwidth, number_after(found, "\"bandwidth_gbytes_s\":"));
    }
    free(text);
    return failed ? -1 : 0;
}

// --- the report ----------------------------------------------------------------------------------------------------

// Returns whether it shows more than the machine can do.
static bool print_row(const Audit *audit, const Row *row) {
    double ours = median(row->ours, audit->rounds), theirs = median(row->theirs, audit->rounds), ratio = ours / theirs;
    double varies = fmax(range(row->ours, audit->rounds), range(row->theirs, audit->rounds));
    double roofline = fmax(row->flops / audit->peak, row->bytes / audit->bandwidth) * 1e-9;
    bool within = fabs(ratio - 1) <= near_enough;
    printf("| %6" PRId64
           " | %11.0f | %11.0f | %4.1f | %6.3g | %3.0f%% | %4.3g | %3.0f%% | %4.3g | %3.0f%% | %3.0f%% | %9.1f | %8.3g "
           "| %5.3f | %s",
           row->tokens, row->flops, row->bytes, row->distinct, ours * 1e3, median(row->spread, audit->rounds) * 100,
           row->flops / ours * 1e-9, row->flops / ours * 1e-7 / audit->peak, row->bytes / ours * 1e-9,
           row->bytes / ours * 1e-7 / audit->bandwidth, roofline / ours * 100, row->their_distinct, theirs * 1e3, ratio,
           within ? "yes" : "no");
    if (varies > near_enough) {
        printf(", but rounds differ by %.0f%%%s", varies * 100, within || fabs(ratio - 1) > varies ? "" : ": more than the two do");
    }
    printf(" |\n");
    return row->flops / ours * 1e-9 > audit->peak;
}

static void print_report(const Audit *audit) {
    printf("fp32 peak %.3g GFLOP/s (bench's best: %.3g), bandwidth %.3g GB/s (bench: %.3g); medians of %d rounds\n\n", audit->peak,
           audit->their_peak, audit->bandwidth, audit->their_bandwidth, audit->rounds);
    printf(
        "| tokens |       FLOPs |       bytes |  exp |     ms |   +- | GF/s | peak | GB/s |   bw | roof | bench exp | bench ms "
        "| ratio | within 3%% |\n");
    printf(
        "| -----: | ----------: | ----------: | ---: | -----: | ---: | ---: | ---: | ---: | ---: | ---: | --------: | -------: "
        "| ----: | --------- |\n");
    bool impossible = false;
    for (int i = 0; i < audit->row_count; i++) {
        impossible |= print_row(audit, &audit->rows[i]);
    }
    if (impossible) {
        printf(
            "\na fraction of the peak is above 1: something disturbed the multiply-add loops, these fractions are worth nothing\n");
    }
}

// --- the program ---------------------------------------------------------------------------------------------------

static int parse_tokens(Audit *audit, const char *text) {
    audit->row_count = 0;
    for (char *end; *text; text = *end ? end + 1 : end) {
        long tokens = strtol(text, &end, 10);
        if (tokens < 1 || tokens > MOST_TOKENS || (*end && *end != ',') || audit->row_count == MOST_ROWS) {
            return -1;
        }
        audit->rows[audit->row_count++].tokens = tokens;
    }
    return audit->row_count ? 0 : -1;
}

static int parse_arguments(Audit *audit, int argc, char **argv) {
    long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    audit->cache_bytes = cache > 0 ? cache : 32 << 20;
    audit->cold_bytes = audit->cache_bytes * 4 > 1 << 30 ? audit->cache_bytes * 4 : 1 << 30;
    audit->memory_words = (audit->cold_bytes + HUGE_PAGE - 1) / HUGE_PAGE * (HUGE_PAGE / 8);
    audit->threads = omp_get_num_procs();
    int failed = parse_tokens(audit, "1,4,16,64,512");
    for (int option; (option = getopt(argc, argv, "r:s:t:m:n:")) != -1;) {
        switch (option) {
        case 'r': audit->rounds = atoi(optarg); break;
        case 's': audit->seconds = atof(optarg); break;
        case 't': audit->threads = atoi(optarg); break;
        case 'm': audit->memory_words = (int64_t)atoi(optarg) << 17; break;
        case 'n': failed |= parse_tokens(audit, optarg); break;
        default: failed = -1;
        }
    }
    if (failed || argc - optind != 3 || audit->rounds < 1 || audit->rounds > MOST_ROUNDS || audit->threads < 1 ||
        audit->memory_words < 1 << 17 || !(audit->seconds >= 0 && audit->seconds <= 3600)) {
        fprintf(stderr, "usage: %s [-r ROUNDS] [-s SECONDS] [-t THREADS] [-m MIB] [-n TOKENS,...] CATENA LIBRARY.so DIRECTORY\n",
                argv[0]);
        return -1;
    }
    audit->catena = argv[optind], audit->library = argv[optind + 1], audit->directory = argv[optind + 2];
    return 0;
}

// --- the layers that are known ---------------------------------------------------------------------------------------------------

// What a plan must say (one of these words; none: anything), and why another layer cannot be audited.
static const struct {
    const char *key, *value, *reason;
} known_facts[] = {
    {"selection", "top_k", "tokens need not visit k experts each, so that neither FLOPs nor distinct experts can be counted"},
    {"k_per_token", "no", "callers may give each token a k of its own, so that FLOPs cannot be counted"},
    {"score", "softmax sigmoid sqrtsoftplus", "experts whose score is 0 may do no work"},
    {"identity_experts", "0", "choices that compute nothing would be counted as experts"},
    {"null_experts", "0", "choices that compute nothing would be counted as experts"},
    {"shared_experts", "0", "the work of shared experts is not counted"},
    {"coe_weight", "no", "the work of a learnt weight between iterations is not counted"},
    {"gated", "yes", "experts are counted as three matrices"},
    {"expert_bias", "no", "biases are not counted"},
    {"router_bias", "no", "biases are not counted"},
    {"correction", "no", "no tensor is written for it"},
    {"norm", "rms", "no other norm's tensors are written"},
    {"gate_per_iteration", ITERATIONS > 1 ? "yes" : "", "a router's tensor is written for each iteration"},
    {"router_weights", "fp32", "routers are counted as fp32"},
    {"compute", "fp32", "the peak is that of fp32"},
    {"activations", "fp32", "tokens are given as fp32"},
};

// Copies what a plan (lines "layer.KEY VALUE", in a JSON text) says of a key; empty: nothing.
static void copy_fact(const char *plan, const char *key, char value[64]) {
    char start[64];
    snprintf(start, sizeof start, "layer.%s ", key);
    const char *found = strstr(plan, start);
    snprintf(value, 64, "%.*s", found ? (int)strcspn(found + strlen(start), "\\\"") : 0, found ? found + strlen(start) : "");
}

static bool is_among(const char *value, const char *words) {
    size_t length = 0;
    for (const char *word = words; *word; word += length + (word[length] == ' ')) {
        length = strcspn(word, " ");
        if (length == strlen(value) && !memcmp(word, value, length)) {
            return true;
        }
    }
    return !*words;
}

// The library's only plan, if it is of a layer that is known; NULL where it is not, which is said.
static const char *find_plan(const char *description) {
    static const char begin[] = "\"plans\": [", first[] = "layer.hidden ";  // quotes within the description's texts are escaped
    const char *plans = strstr(description, begin), *plan = plans ? strstr(plans, first) : NULL;
    const char *refused = "layer '" LAYER "' of " TEXT(LIBRARY) " is not audited";
    if (!plan || strstr(plan + 1, first) || PASTE(CONSTANTS, _COUNT) != 1) {
        fprintf(stderr, "%s: a library with one layer and one instance of it is needed\n", refused);
        return NULL;
    }
    for (size_t i = 0; i < sizeof known_facts / sizeof *known_facts; i++) {
        char value[64];
        copy_fact(plan, known_facts[i].key, value);
        if (!is_among(value, known_facts[i].value)) {
            fprintf(stderr, "%s: %s is %s, known: %s: %s\n", refused, known_facts[i].key, *value ? value : "not told",
                    known_facts[i].value, known_facts[i].reason);
            return NULL;
        }
    }
    return plan;
}

// What the header does not say stands in the plan, which is part of the library's description.
static int prepare(Audit *audit) {
    const char *plan = find_plan(FUNCTION(_describe)());
    if (!plan) {
        return -1;
    }
    double intermediate = number_after(plan, "layer.intermediate ");
    audit->intermediate = intermediate > 0 ? (int64_t)intermediate : 0;
    audit->weight_bytes = strstr(plan, "layer.weights bf16") ? 2 : 4;
    int64_t bytes = audit->memory_words * 8;
    audit->memory = aligned_alloc(HUGE_PAGE, (size_t)(bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
    audit->x = malloc(sizeof *audit->x * MOST_TOKENS * HIDDEN);
    audit->y = malloc(sizeof *audit->y * MOST_TOKENS * HIDDEN);
    audit->experts = malloc(sizeof *audit->experts * ITERATIONS * MOST_TOKENS * TOP_K);
    audit->weights = malloc(sizeof *audit->weights * ITERATIONS * MOST_TOKENS * TOP_K);
    if (!audit->intermediate || !audit->memory || !audit->x || !audit->y || !audit->experts || !audit->weights) {
        fprintf(stderr, "out of memory, or a library whose description has no layer.intermediate\n");
        return -1;
    }
    madvise(audit->memory, (size_t)bytes, MADV_HUGEPAGE);
    memset(audit->memory, 1, (size_t)bytes);
    uint64_t state = 2;
    for (int64_t i = 0; i < INT64_C(1) * MOST_TOKENS * HIDDEN; i++) {
        audit->x[i] = random_float(&state);
    }
    return open_models(audit);
}

static int run(Audit *audit) {
    for (int i = 0; i < audit->row_count; i++) {
        if (count_work(audit, &audit->rows[i])) {
            return -1;
        }
    }
    for (int round = 0; round < audit->rounds; round++) {
        for (int i = 0; i < audit->row_count; i++) {
            measure_limits(audit);
            if (measure_calls(audit, &audit->rows[i], round) || measure_bench(audit, &audit->rows[i], round)) {
                return -1;
            }
        }
    }
    print_report(audit);
    return 0;
}

int main(int argc, char **argv) {
    static Audit audit = {.rounds = 5, .seconds = 1};
    if (parse_arguments(&audit, argc, argv)) {
        return 2;
    }
    int failed = prepare(&audit) || run(&audit);
    for (int m = 0; m < audit.model_count; m++) {
        FUNCTION(_close)(audit.models[m]);
    }
    free(audit.memory);
    free(audit.x);
    free(audit.y);
    free(audit.experts);
    free(audit.weights);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
