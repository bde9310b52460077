// The layers that catena benchmarks, in ggml: ggml_mul_mat_id for gate, up and down, SwiGLU between, as llama.cpp builds its
// mixture layers. Prints one JSON document {"peer", "rows"}; rows as in `catena bench --format json`. See README.md.
//
//   cc -O2 ggml.c -o peer_ggml -lggml -lggml-cpu -lggml-base -lm -pthread
#include <stdio.h>

#if !__has_include(<ggml-cpu.h>)
int main(void) {
    puts("{\"peer\": \"ggml\", \"status\": \"not installed\"}");
    return 0;
}
#else
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <ggml.h>
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_SAMPLES = 4096, MAX_ITERATIONS = 16, MAX_BANK = 1024, MIN_CALLS = 5, WARM_UP = 2 };

typedef struct Shape {
    char name[64];
    int64_t hidden, intermediate, experts, k, iterations;
} Shape;

typedef struct Settings {
    Shape shape;
    const char *tokens;
    int threads;
    double seconds;
} Settings;

// One instance of the experts' weights; a bank of them is what cold calls rotate over.
typedef struct Weights {
    struct ggml_tensor *gate, *up, *down;
} Weights;

typedef struct Bank {
    struct ggml_context *context;
    ggml_backend_buffer_t buffer;
    Weights weights[MAX_BANK];
    int count;
    double bytes;
} Bank;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static uint64_t random_state = 1;
static double random_uniform(void) {  // splitmix64
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

// --- the bank ------------------------------------------------------------------------------------------------------

static double last_level_cache_bytes(void) {
    double largest = 32 << 20;
    for (int index = 0; index < 8; index++) {
        char path[96], unit = 0;
        long size = 0;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", index);
        FILE *file = fopen(path, "r");
        if (file && fscanf(file, "%ld%c", &size, &unit) == 2) {
            double bytes = (double)size * (unit == 'M' ? 1 << 20 : 1 << 10);
            largest = bytes > largest ? bytes : largest;
        }
        if (file) {
            fclose(file);
        }
    }
    return largest;
}

static void fill(struct ggml_tensor *tensor) {
    // One row of random values, repeated: what a product costs does not depend on them.
    int64_t width = tensor->ne[0];
    float *row = malloc((size_t)width * sizeof *row);
    ggml_bf16_t *row16 = malloc((size_t)width * sizeof *row16);
    for (int64_t i = 0; i < width; i++) {
        row[i] = (float)((random_uniform() * 2 - 1) * sqrt(3.0 / (double)width));
    }
    ggml_fp32_to_bf16_row(row, row16, width);
    const void *source = tensor->type == GGML_TYPE_BF16 ? (const void *)row16 : (const void *)row;
    for (int64_t r = 0; r < ggml_nrows(tensor); r++) {
        memcpy((char *)tensor->data + (size_t)r * tensor->nb[1], source, tensor->nb[1]);
    }
    free(row);
    free(row16);
}

static int bank_open(const Shape *shape, enum ggml_type type, ggml_backend_t backend, Bank *bank) {
    double instance = 3.0 * (double)(shape->hidden * shape->intermediate * shape->experts) * (double)ggml_type_size(type);
    double wanted = 4 * last_level_cache_bytes();
    wanted = wanted > 1 << 30 ? wanted : 1 << 30;
    bank->count = (int)ceil(wanted / instance);
    bank->count = bank->count > MAX_BANK ? MAX_BANK : bank->count;
    bank->bytes = instance * bank->count;
    struct ggml_init_params parameters = {ggml_tensor_overhead() * (3 * (size_t)bank->count + 1), NULL, true};
    bank->context = ggml_init(parameters);
    for (int i = 0; i < bank->count; i++) {
        bank->weights[i].gate = ggml_new_tensor_3d(bank->context, type, shape->hidden, shape->intermediate, shape->experts);
        bank->weights[i].up = ggml_new_tensor_3d(bank->context, type, shape->hidden, shape->intermediate, shape->experts);
        bank->weights[i].down = ggml_new_tensor_3d(bank->context, type, shape->intermediate, shape->hidden, shape->experts);
    }
    bank->buffer = ggml_backend_alloc_ctx_tensors(bank->context, backend);
    for (int i = 0; bank->buffer && i < bank->count; i++) {
        fill(bank->weights[i].gate);
        fill(bank->weights[i].up);
        fill(bank->weights[i].down);
    }
    return bank->buffer ? 0 : -1;
}

static void bank_close(Bank *bank) {
    ggml_backend_buffer_free(bank->buffer);
    ggml_free(bank->context);
}

// --- emptying the cache --------------------------------------------------------------------------------------------

// Twice the last-level cache, read between calls where the rotation alone would leave experts in it: all slots together touch
// less than four such caches.
typedef struct Scratch {
    uint64_t *words;
    size_t count;
    int threads;
} Scratch;

typedef struct Share {
    const uint64_t *words;
    size_t count;
    uint64_t sum;
} Share;

static void *read_share(void *argument) {
    Share *share = argument;
    for (size_t i = 0; i < share->count; i += 8) {  // a word of every line
        share->sum ^= share->words[i];
    }
    return NULL;
}

static int scratch_open(const Shape *shape, const Bank *bank, int64_t tokens, int threads, Scratch *scratch) {
    double chosen = (double)(shape->k * shape->iterations * tokens), experts = (double)shape->experts;
    double touched = experts * (1 - pow(1 - (double)shape->k / experts, (double)(tokens * shape->iterations)));  // expected
    touched = touched < chosen ? touched : chosen;
    *scratch = (Scratch){.threads = threads};
    if (bank->bytes * touched / experts >= 4 * last_level_cache_bytes()) {
        return 0;
    }
    scratch->count = (size_t)(2 * last_level_cache_bytes()) / sizeof *scratch->words;
    scratch->words = malloc(scratch->count * sizeof *scratch->words);
    if (scratch->words) {
        memset(scratch->words, 1, scratch->count * sizeof *scratch->words);
    }
    return scratch->words ? 0 : -1;
}

static void scratch_read(const Scratch *scratch) {
    enum { MOST = 256 };
    static volatile uint64_t result;
    pthread_t threads[MOST];
    Share shares[MOST];
    int count = scratch->threads < MOST ? scratch->threads : MOST, started = 1;
    size_t part = scratch->count / (size_t)count;
    for (int i = 0; i < count; i++) {
        shares[i] = (Share){scratch->words + (size_t)i * part, part, 0};
    }
    while (started < count && !pthread_create(&threads[started], NULL, read_share, &shares[started])) {
        started++;
    }
    read_share(&shares[0]);
    for (int i = 1; i < count; i++) {
        if (i < started) {
            pthread_join(threads[i], NULL);
        } else {
            read_share(&shares[i]);
        }
        result ^= shares[i].sum;
    }
    result ^= shares[0].sum;
}

// --- the graph: one for each instance of the bank, sharing inputs --------------------------------------------------

typedef struct Inputs {
    struct ggml_tensor *x;                        // [tokens][hidden]
    struct ggml_tensor *chosen[MAX_ITERATIONS];   // [tokens][k] experts
    struct ggml_tensor *scores[MAX_ITERATIONS];   // [tokens][k][1]
} Inputs;

static struct ggml_tensor *iteration(struct ggml_context *context, const Shape *shape, const Weights *weights,
                                     struct ggml_tensor *x, struct ggml_tensor *chosen, struct ggml_tensor *scores) {
    int64_t tokens = x->ne[1];
    struct ggml_tensor *rows = ggml_reshape_3d(context, x, shape->hidden, 1, tokens);
    struct ggml_tensor *gate = ggml_mul_mat_id(context, weights->gate, rows, chosen);
    struct ggml_tensor *up = ggml_mul_mat_id(context, weights->up, rows, chosen);
    struct ggml_tensor *h = ggml_mul(context, ggml_silu(context, gate), up);
    struct ggml_tensor *out = ggml_mul(context, ggml_mul_mat_id(context, weights->down, h, chosen), scores);
    struct ggml_tensor *sum = x;  // the chain's inner residual; for one iteration the outer one
    for (int64_t s = 0; s < shape->k; s++) {
        sum = ggml_add(context, sum, ggml_view_2d(context, out, shape->hidden, tokens, out->nb[2], (size_t)s * out->nb[1]));
    }
    return sum;
}

static struct ggml_cgraph *build(struct ggml_context *context, const Shape *shape, const Weights *weights, const Inputs *inputs) {
    struct ggml_cgraph *graph = ggml_new_graph_custom(context, 4096, false);
    struct ggml_tensor *x = inputs->x;
    for (int64_t t = 0; t < shape->iterations; t++) {
        x = iteration(context, shape, weights, x, inputs->chosen[t], inputs->scores[t]);
    }
    ggml_set_output(x);
    ggml_build_forward_expand(graph, x);
    return graph;
}

static void make_inputs(struct ggml_context *context, const Shape *shape, int64_t tokens, Inputs *inputs) {
    inputs->x = ggml_new_tensor_2d(context, GGML_TYPE_F32, shape->hidden, tokens);
    for (int64_t t = 0; t < shape->iterations; t++) {
        inputs->chosen[t] = ggml_new_tensor_2d(context, GGML_TYPE_I32, shape->k, tokens);
        inputs->scores[t] = ggml_new_tensor_3d(context, GGML_TYPE_F32, 1, shape->k, tokens);
    }
}

// Fresh tokens and choices: k different experts for every token, uniformly. Returns distinct experts per iteration (mean) and
// the largest share.
static void fill_inputs(const Shape *shape, int64_t tokens, Inputs *inputs, double *distinct, double *share) {
    int64_t *counts = calloc((size_t)shape->experts, sizeof *counts);
    int32_t *pool = malloc((size_t)shape->experts * sizeof *pool);
    float *x = inputs->x->data;
    *distinct = *share = 0;
    for (int64_t i = 0; i < tokens * shape->hidden; i++) {
        x[i] = (float)(random_uniform() * 2 - 1);
    }
    for (int64_t t = 0; t < shape->iterations; t++) {
        memset(counts, 0, (size_t)shape->experts * sizeof *counts);
        for (int64_t e = 0; e < shape->experts; e++) {
            pool[e] = (int32_t)e;
        }
        for (int64_t i = 0; i < tokens * shape->k; i++) {
            int64_t slot = i % shape->k, other = slot + (int64_t)(random_uniform() * (double)(shape->experts - slot));
            int32_t expert = pool[other];
            pool[other] = pool[slot];
            pool[slot] = expert;
            ((int32_t *)inputs->chosen[t]->data)[i] = expert;
            ((float *)inputs->scores[t]->data)[i] = 1.0F / (float)shape->k;
            counts[expert]++;
        }
        for (int64_t e = 0; e < shape->experts; e++) {
            double part = (double)counts[e] / (double)(tokens * shape->k);
            *distinct += counts[e] > 0;
            *share = part > *share ? part : *share;
        }
    }
    *distinct /= (double)shape->iterations;
    free(counts);
    free(pool);
}

// --- measuring -----------------------------------------------------------------------------------------------------

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const double *sorted, int count, double fraction) {
    double position = fraction * (count - 1);
    int below = (int)position;
    return below + 1 >= count ? sorted[count - 1] : sorted[below] + (position - below) * (sorted[below + 1] - sorted[below]);
}

static void print_row(const Settings *settings, const char *dtype, int64_t tokens, double *samples, int count, double distinct,
                      double share, const Bank *bank, int evicted, int first) {
    const Shape *shape = &settings->shape;
    double expert = 3.0 * (double)(shape->hidden * shape->intermediate), element = strcmp(dtype, "bf16") ? 4 : 2;
    double flops = 2 * expert * (double)(shape->k * shape->iterations * tokens);
    double bytes = distinct * (double)shape->iterations * expert * element;
    qsort(samples, (size_t)count, sizeof *samples, compare_doubles);
    double median = quantile(samples, count, 0.5);
    printf(
        "%s    {\"layer\": \"%s\", \"peer\": \"ggml %s\", \"dtype\": \"%s\", \"tokens\": %lld, \"routing\": \"uniform\", "
        "\"routed\": false, "
        "\"distinct_experts\": %.3f, \"largest_share\": %.5f, \"threads\": %d, \"cold\": true, \"median_s\": %.9f, \"spread\": "
        "%.4f, "
        "\"min_s\": %.9f, \"calls\": %d, \"flops\": %.0f, \"bytes\": %.0f, \"gflops\": %.3f, \"gbytes_s\": %.3f, \"bank_bytes\": "
        "%.0f, \"evicted\": %s}",
        first ? "" : ",\n", shape->name, dtype, dtype, (long long)tokens, distinct, share, settings->threads, median,
        (quantile(samples, count, 0.75) - quantile(samples, count, 0.25)) / median, samples[0], count, flops, bytes,
        flops / median * 1e-9, bytes / median * 1e-9, bank->bytes, evicted ? "true" : "false");
    fflush(stdout);
}

static int run_tokens(const Settings *settings, ggml_backend_t backend, const Bank *bank, const char *dtype, int64_t tokens,
                      int first) {
    static double samples[MAX_SAMPLES];
    const Shape *shape = &settings->shape;
    struct ggml_init_params input_parameters = {ggml_tensor_overhead() * 64, NULL, true};
    struct ggml_context *input_context = ggml_init(input_parameters);
    Inputs inputs;
    make_inputs(input_context, shape, tokens, &inputs);
    ggml_backend_buffer_t input_buffer = ggml_backend_alloc_ctx_tensors(input_context, backend);
    // A graph for every instance, so that building is not timed; results share one arena.
    struct ggml_cgraph *graphs[MAX_BANK];
    size_t graph_bytes =
        ggml_graph_overhead_custom(4096, false) + ggml_tensor_overhead() * (size_t)(64 + shape->iterations * (16 + 2 * shape->k));
    struct ggml_init_params graph_parameters = {graph_bytes * (size_t)bank->count, NULL, true};
    struct ggml_context *graph_context = ggml_init(graph_parameters);
    ggml_gallocr_t arena = ggml_gallocr_new(ggml_backend_get_default_buffer_type(backend));
    Scratch scratch;
    int status = input_buffer && graph_context && arena ? 0 : -1, count = 0, calls = 0;
    status = scratch_open(shape, bank, tokens, settings->threads, &scratch) ? -1 : status;
    double distinct = 0, share = 0, one_distinct, one_share, start = 0;
    for (int i = 0; !status && i < bank->count; i++) {
        graphs[i] = build(graph_context, shape, &bank->weights[i], &inputs);
        status = ggml_gallocr_alloc_graph(arena, graphs[i]) ? 0 : -1;
    }
    while (!status && count < MAX_SAMPLES && (calls < WARM_UP || count < MIN_CALLS || now() - start < settings->seconds)) {
        fill_inputs(shape, tokens, &inputs, &one_distinct, &one_share);
        if (scratch.words) {
            scratch_read(&scratch);
            if (bank->count > 1) {  // as a model's layer before this one: code and buffers are back
                ggml_backend_graph_compute(backend, graphs[(calls + 1) % bank->count]);
            }
        }
        double begin = now();
        status = ggml_backend_graph_compute(backend, graphs[calls % bank->count]) == GGML_STATUS_SUCCESS ? 0 : -1;
        double elapsed = now() - begin;
        if (++calls == WARM_UP) {
            start = now();
        } else if (calls > WARM_UP) {
            samples[count++] = elapsed;
            distinct += one_distinct;
            share += one_share;
        }
    }
    if (!status) {
        print_row(settings, dtype, tokens, samples, count, distinct / count, share / count, bank, scratch.words != NULL, first);
    }
    free(scratch.words);
    ggml_gallocr_free(arena);
    ggml_free(graph_context);
    ggml_backend_buffer_free(input_buffer);
    ggml_free(input_context);
    return status;
}

static int run_type(const Settings *settings, ggml_backend_t backend, enum ggml_type type, const char *dtype, int first) {
    static Bank bank;
    memset(&bank, 0, sizeof bank);
    if (bank_open(&settings->shape, type, backend, &bank)) {
        fprintf(stderr, "ggml: out of memory for the bank\n");
        return -1;
    }
    int status = 0;
    char *end;
    for (const char *text = settings->tokens; !status && *text; text = *end ? end + 1 : end) {
        long long tokens = strtoll(text, &end, 10);
        if (end == text || tokens < 1) {
            fprintf(stderr, "ggml: --tokens takes numbers, not '%s'\n", text);
            status = -1;
            break;
        }
        status = run_tokens(settings, backend, &bank, dtype, tokens, first);
        first = 0;
    }
    bank_close(&bank);
    return status;
}

// --- options -------------------------------------------------------------------------------------------------------

static int parse(int argc, char **argv, Settings *settings) {
    Shape *shape = &settings->shape;
    struct {
        const char *name;
        int64_t *value;
    } numbers[] = {{"--hidden", &shape->hidden},
                   {"--intermediate", &shape->intermediate},
                   {"--experts", &shape->experts},
                   {"--k", &shape->k},
                   {"--iterations", &shape->iterations}};
    *settings = (Settings){{"moe_8of64", 1024, 704, 64, 8, 1}, "1,8,64,512,2048", 2, 3};
    for (int i = 1; i + 1 < argc; i += 2) {
        int known = 0;
        for (size_t n = 0; n < sizeof numbers / sizeof *numbers; n++) {
            if (!strcmp(argv[i], numbers[n].name)) {
                *numbers[n].value = atoll(argv[i + 1]);
                snprintf(shape->name, sizeof shape->name, "%lldx%lldof%lld_%lld_%lld", (long long)shape->iterations,
                         (long long)shape->k, (long long)shape->experts, (long long)shape->hidden, (long long)shape->intermediate);
                known = 1;
            }
        }
        if (!strcmp(argv[i], "--layer") && !strcmp(argv[i + 1], "coe_2x4of64")) {
            *shape = (Shape){"coe_2x4of64", 1024, 704, 64, 4, 2};
        } else if (!strcmp(argv[i], "--tokens")) {
            settings->tokens = argv[i + 1];
        } else if (!strcmp(argv[i], "--threads")) {
            settings->threads = atoi(argv[i + 1]);
        } else if (!strcmp(argv[i], "--seconds")) {
            settings->seconds = atof(argv[i + 1]);
        } else if (!strcmp(argv[i], "--layer") && strcmp(argv[i + 1], "moe_8of64")) {
            fprintf(stderr,
                    "ggml: '%s' is not run here: softmax, top-k, gated silu and no shared experts are all there is. It is one of\n"
                    "      moe_8of64 and coe_2x4of64, or such a layer given by its sizes (--hidden, ...)\n",
                    argv[i + 1]);
            return -1;
        } else if (!known && strcmp(argv[i], "--layer")) {
            return -1;
        }
    }
    return argc % 2 && shape->hidden > 0 && shape->intermediate > 0 && shape->k > 0 && shape->k <= shape->experts &&
                   shape->iterations > 0 && shape->iterations <= MAX_ITERATIONS && settings->threads > 0
               ? 0
               : -1;
}

int main(int argc, char **argv) {
    Settings settings;
    if (parse(argc, argv, &settings)) {
        fprintf(stderr,
                "usage: %s [--layer moe_8of64|coe_2x4of64] [--hidden H] [--intermediate F] [--experts E] [--k K] [--iterations T]\n"
                "       [--tokens 1,8,...] [--threads N] [--seconds S]\n",
                argv[0]);
        return 2;
    }
    ggml_backend_t backend = ggml_backend_cpu_init();
    ggml_backend_cpu_set_n_threads(backend, settings.threads);
    printf("{\"peer\": \"ggml\", \"rows\": [\n");
    int status = run_type(&settings, backend, GGML_TYPE_F32, "fp32", 1);
    status = status ? status : run_type(&settings, backend, GGML_TYPE_BF16, "bf16", 0);
    printf("\n]}\n");
    ggml_backend_free(backend);
    return status ? 1 : 0;
}
#endif
