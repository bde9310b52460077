// Importances from attention, and the whole way from there to an output: helpers against written-out and recorded values, figures
// against PyTorch's, the generated header, `catena run`, and the example program.
#include "runtime/importance.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/base/npy.h"
#include "compiler/commands/command.h"
#include "compiler/library/header.h"
#include "fixture.h"
#include "runtime/figures.h"
#include "runtime/safetensors.h"
#include "shell.h"
#include "suites.h"

// --- importances -------------------------------------------------------------------------------------------------------------

// How far an importance may be off: it is computed in double, exact to far less than 2^-44 here, and rounded to float once.
static double rounded_once(double exact) {
    return exact * 0x1.00001p-24 + 0x1p-126;  // Check asks for less than a tolerance, of 0 too
}

// "The movie was incredibly inspiring.": importances .3 .3 .3 .7 .7. The mean of these two heads gives each word just that as its
// largest column entry; the heads alone do not.
START_TEST(the_example_sentence) {
    enum { WORDS = 5 };
    static const float attention[2][WORDS][WORDS] = {{{0.40f, 0.25f, 0.25f, 0.05f, 0.05f},
                                                      {0.05f, 0.10f, 0.05f, 0.80f, 0.00f},
                                                      {0.10f, 0.20f, 0.10f, 0.00f, 0.60f},
                                                      {0.20f, 0.20f, 0.20f, 0.20f, 0.20f},
                                                      {0.30f, 0.00f, 0.00f, 0.70f, 0.00f}},
                                                     {{0.20f, 0.35f, 0.35f, 0.05f, 0.05f},
                                                      {0.15f, 0.10f, 0.15f, 0.60f, 0.00f},
                                                      {0.10f, 0.00f, 0.10f, 0.00f, 0.80f},
                                                      {0.20f, 0.20f, 0.20f, 0.20f, 0.20f},
                                                      {0.30f, 0.00f, 0.00f, 0.70f, 0.00f}}};
    static const double expected[WORDS] = {0.3, 0.3, 0.3, 0.7, 0.7};
    const double half_unit = 0x1p-25;  // an entry is off by at most this, and so is a mean of entries
    static const int k[WORDS] = {3, 3, 3, 6, 6}, capped[WORDS] = {3, 3, 3, 4, 4};
    Layer layer = {.experts = 8, .top_k = 8, .k_min = 1}, narrow = {.experts = 8, .top_k = 4, .k_min = 1};
    float found[WORDS];
    ck_assert_int_eq(importance_from_attention(**attention, 2, WORDS, WORDS, IMPORTANCE_RECEIVE_MAX, found), LIBRARY_OK);
    for (int t = 0; t < WORDS; t++) {
        ck_assert_double_eq_tol((double)found[t], expected[t], half_unit + rounded_once(expected[t]));
        ck_assert_int_eq(importance_to_k(&layer, found[t]), k[t]);
        ck_assert_int_eq(importance_to_k(&narrow, found[t]), capped[t]);
    }
    ck_assert_int_eq(importance_from_attention(**attention, 2, WORDS, WORDS, IMPORTANCE_RECEIVE_SUM, found), LIBRARY_OK);
    ck_assert_float_eq(found[0], 1);  // 1.0 + ..., clamped
    ck_assert_double_eq_tol((double)found[4], 0.95, WORDS * half_unit + rounded_once(0.95));
}
END_TEST

static const char *const rules[] = {"receive_max", "receive_sum", "give_max"};

static Npy read_array(const char *folder, const char *name) {
    char path[2 * SHELL_PATH_BYTES];
    Diagnostics diagnostics = {0};
    Npy array;
    snprintf(path, sizeof path, "%s/%s.npy", folder, name);
    ck_assert_msg(!npy_read(path, &array, &diagnostics), "%s", diagnostics.text);
    return array;
}

// Recorded attention, against NumPy (tests/extract_attention.py).
START_TEST(recorded_attention) {
    char name[64];
    snprintf(name, sizeof name, "importance.%s", rules[_i]);
    Npy attention = read_array("tests/data/attention", "attention"), expected = read_array("tests/data/attention", name);
    int64_t heads = attention.shape[0], tokens = attention.shape[1];
    float *found = calloc((size_t)tokens, sizeof *found), *wanted = expected.data;
    ck_assert_int_eq(importance_from_attention(attention.data, heads, tokens, tokens, _i, found), LIBRARY_OK);
    for (int64_t t = 0; t < tokens; t++) {
        ck_assert_double_eq_tol((double)found[t], (double)wanted[t],
                                2 * rounded_once((double)wanted[t]));  // NumPy rounds to float, too
    }
    free(found);
    npy_free(&attention);
    npy_free(&expected);
}
END_TEST

// More keys than are summed up at a time, and not as many queries as keys.
START_TEST(attention_of_any_shape) {
    static const int64_t sizes[][3] = {{1, 1, 1}, {3, 2, 63}, {2, 3, 64}, {2, 5, 65}, {1, 70, 130}, {4, 1, 200}};
    const int64_t heads = sizes[_i][0], queries = sizes[_i][1], keys = sizes[_i][2];
    float *attention = calloc((size_t)(heads * queries * keys), sizeof *attention), found[256];
    for (int64_t i = 0; i < heads * queries * keys; i++) {
        attention[i] = (float)(i * 7919 % 1000) / 1000;
    }
    for (int rule = 0; rule < IMPORTANCE_RULE_COUNT; rule++) {
        const bool give = rule == IMPORTANCE_GIVE_MAX;
        found[give ? queries : keys] = -7;
        ck_assert_int_eq(importance_from_attention(attention, heads, queries, keys, rule, found), LIBRARY_OK);
        ck_assert_float_eq(found[give ? queries : keys], -7);
        for (int64_t a = 0; a < (give ? queries : keys); a++) {
            double most = 0, sum = 0;
            for (int64_t b = 0; b < (give ? keys : queries); b++) {
                double mean = 0;
                for (int64_t h = 0; h < heads; h++) {
                    mean += (double)attention[(h * queries + (give ? a : b)) * keys + (give ? b : a)] / (double)heads;
                }
                most = mean > most ? mean : most;
                sum += mean;
            }
            double expected = rule != IMPORTANCE_RECEIVE_SUM ? most : sum < 1 ? sum : 1;
            ck_assert_double_eq_tol((double)found[a], expected, rounded_once(expected));
        }
    }
    free(attention);
}
END_TEST

START_TEST(attention_is_probabilities) {
    float attention[4] = {0, 1, 0.5f, 0.5f}, found[2] = {-1, -1};
    const int rule = IMPORTANCE_RECEIVE_MAX, bad = LIBRARY_INVALID_ARGUMENT;
    ck_assert_int_eq(importance_from_attention(NULL, 1, 2, 2, rule, found), bad);
    ck_assert_int_eq(importance_from_attention(attention, 1, 2, 2, rule, NULL), bad);
    ck_assert_int_eq(importance_from_attention(attention, 0, 2, 2, rule, found), bad);
    ck_assert_int_eq(importance_from_attention(attention, 1, -2, -2, rule, found), bad);
    ck_assert_int_eq(importance_from_attention(attention, 1, 2, 0, rule, found), bad);
    ck_assert_int_eq(importance_from_attention(attention, INT64_MAX / 2, 2, 2, rule, found), bad);
    ck_assert_int_eq(importance_from_attention(attention, 1, 2, 2, -1, found), bad);
    ck_assert_int_eq(importance_from_attention(attention, 1, 2, 2, IMPORTANCE_RULE_COUNT, found), bad);
    static const float wrong[] = {-0.01f, 1.01f, 1.00000012f, NAN, INFINITY};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        attention[3] = wrong[i];
        ck_assert_int_eq(importance_from_attention(attention, 1, 2, 2, rule, found), bad);
    }
    ck_assert_float_eq(found[0], -1);
    attention[3] = 0.5f;
    ck_assert_int_eq(importance_from_attention(attention, 1, 2, 2, rule, found), LIBRARY_OK);
}
END_TEST

// What the rules make may be given to a forward: no rounding of a mean of ones exceeds 1.
START_TEST(importances_never_exceed_one) {
    enum { HEADS = 49, TOKENS = 3 };
    float attention[HEADS * TOKENS * TOKENS], found[TOKENS];
    for (size_t i = 0; i < sizeof attention / sizeof *attention; i++) {
        attention[i] = i % 5 ? 1 : 0.99999994f;
    }
    for (int rule = 0; rule < IMPORTANCE_RULE_COUNT; rule++) {
        ck_assert_int_eq(importance_from_attention(attention, HEADS, TOKENS, TOKENS, rule, found), LIBRARY_OK);
        for (int t = 0; t < TOKENS; t++) {
            ck_assert_msg(found[t] <= 1, "rule %d: %.9g", rule, (double)found[t]);
        }
    }
}
END_TEST

// --- against PyTorch (tests/golden)
// ------------------------------------------------------------------------------------------------

static Safetensors *open_golden(const char *path) {
    char error[512] = "";
    const Failure failure = {error, sizeof error};
    Safetensors *tensors = NULL;
    ck_assert_msg(safetensors_open(path, &tensors, &failure) == LIBRARY_OK, "%s", error);
    return tensors;
}

// A tensor's elements as double; its shape in `shape`.
static double *golden_values(const Safetensors *tensors, const char *name, int64_t shape[SAFETENSORS_MAX_RANK]) {
    const SafetensorsEntry *entry = safetensors_find(tensors, name);
    ck_assert_msg(entry != NULL, "%s", name);
    const bool real = !strcmp(entry->dtype, "F32");
    ck_assert_msg(real || !strcmp(entry->dtype, "I64"), "%s is %s", name, entry->dtype);
    int64_t count = entry->bytes / (real ? 4 : 8);
    double *values = calloc((size_t)count, sizeof *values);
    for (int64_t i = 0; i < count; i++) {
        float f;
        int64_t n;
        memcpy(&f, entry->data + i * 4, sizeof f);
        memcpy(&n, entry->data + i * (real ? 4 : 8), real ? sizeof f : sizeof n);
        values[i] = real ? (double)f : (double)n;
    }
    memcpy(shape, entry->shape, sizeof entry->shape);
    return values;
}

static float *floats_of(const double *values, int64_t count) {
    float *result = calloc((size_t)count, sizeof *result);
    for (int64_t i = 0; i < count; i++) {
        result[i] = (float)values[i];
    }
    return result;
}

static void expect_value(const Safetensors *tensors, const char *name, double found) {
    int64_t shape[SAFETENSORS_MAX_RANK];
    double *expected = golden_values(tensors, name, shape);
    ck_assert_msg(fabs(found - *expected) <= 1e-6 * fabs(*expected), "%s: %.9g, PyTorch has %.9g", name, found, *expected);
    free(expected);
}

// Figures of one iteration from scores and choices [tokens][k].
static Figures figures_from(const Layer *layer, int64_t tokens, int64_t sequence, const double *choices, const double *scores,
                            int64_t *load) {
    int32_t *experts = calloc((size_t)(tokens * layer->top_k), sizeof *experts);
    float *values = floats_of(scores, tokens * layer->experts);
    uint8_t *rejected = calloc((size_t)tokens, 1);
    void *memory = malloc((size_t)figures_bytes(layer));
    Gathering gathering;
    Figures figures;
    for (int64_t i = 0; i < tokens * layer->top_k; i++) {
        experts[i] = (int32_t)choices[i];
    }
    figures_begin(layer, sequence, memory, &gathering);
    figures_add(&gathering, &(FigureRows){0, tokens, tokens, experts, values, rejected});
    figures_end(&gathering, load, &figures, sizeof figures);
    free(experts);
    free(values);
    free(rejected);
    free(memory);
    return figures;
}

START_TEST(figures_agree_with_pytorch) {
    enum { SEQUENCES = 3 };
    Safetensors *golden = open_golden("tests/golden/figures.safetensors");
    int64_t shape[SAFETENSORS_MAX_RANK], pool[SAFETENSORS_MAX_RANK], length[SAFETENSORS_MAX_RANK], load[64];
    double *experts = golden_values(golden, "experts", shape), *scores = golden_values(golden, "scores", pool);
    double *counts = golden_values(golden, "load", length);
    Layer layer = {.iterations = 1, .experts = pool[1], .top_k = shape[1], .expected_k = shape[1], .score = SCORE_SOFTMAX};
    Figures figures = figures_from(&layer, shape[0], shape[0] / SEQUENCES, experts, scores, load);
    expect_value(golden, "switch_loss", figures.balance_switch);
    expect_value(golden, "sequence_loss", figures.balance_sequence);
    expect_value(golden, "mean_entropy", figures.entropy);
    ck_assert_int_eq(figures.routed, shape[0] * shape[1]);
    for (int64_t e = 0; e < layer.experts; e++) {
        ck_assert_int_eq(load[e], (int64_t)counts[e]);
    }
    free(experts);
    free(scores);
    free(counts);
    safetensors_close(golden);
}
END_TEST

START_TEST(importances_agree_with_pytorch) {
    Safetensors *golden = open_golden("tests/golden/figures.safetensors");
    int64_t shape[SAFETENSORS_MAX_RANK], length[SAFETENSORS_MAX_RANK];
    double *values = golden_values(golden, "attention", shape), *expected = golden_values(golden, rules[_i], length);
    float *attention = floats_of(values, shape[0] * shape[1] * shape[2]), found[64];
    ck_assert_int_eq(importance_from_attention(attention, shape[0], shape[1], shape[2], _i, found), LIBRARY_OK);
    for (int64_t i = 0; i < length[0]; i++) {
        // PyTorch adds up floats: over heads, then over queries or keys
        double roundings = (double)(shape[0] + (shape[1] > shape[2] ? shape[1] : shape[2])),
               due = expected[i] < 1 ? expected[i] : 1;
        ck_assert_double_eq_tol((double)found[i], due, roundings * 0x1.00001p-24 * due);
    }
    free(values);
    free(expected);
    free(attention);
    safetensors_close(golden);
}
END_TEST

// ReMoE's sparsity and L1 term: p = relu(W x) is computed here.
START_TEST(remoe_figures_agree_with_pytorch) {
    Safetensors *io = open_golden("tests/golden/remoe/io.safetensors");
    Safetensors *model = open_golden("tests/golden/remoe/model.safetensors");
    int64_t shape[SAFETENSORS_MAX_RANK], pool[SAFETENSORS_MAX_RANK], slots[SAFETENSORS_MAX_RANK];
    double *x = golden_values(io, "layers.1.block_in", shape), *experts = golden_values(io, "layers.1.experts", slots);
    double *w = golden_values(model, "model.layers.1.mlp.gate.weight", pool);
    double *p = calloc((size_t)(shape[0] * pool[0]), sizeof *p);
    for (int64_t i = 0; i < shape[0] * pool[0]; i++) {
        for (int64_t h = 0; h < pool[1]; h++) {
            p[i] += x[i / pool[0] * shape[1] + h] * w[i % pool[0] * pool[1] + h];
        }
        p[i] = p[i] > 0 ? p[i] : 0;
    }
    Layer layer = {.iterations = 1, .experts = pool[0], .top_k = slots[1], .expected_k = 3, .score = SCORE_RELU};
    Figures figures = figures_from(&layer, shape[0], 0, experts, p, NULL);
    expect_value(io, "layers.1.sparsity", figures.sparsity);
    expect_value(io, "layers.1.l1", figures.l1);
    free(x);
    free(experts);
    free(w);
    free(p);
    safetensors_close(io);
    safetensors_close(model);
}
END_TEST

// --- the generated header ----------------------------------------------------------------------------------------------------

static const char agreement[] =
    "#include \"HEADER\"\n"
    "#include \"runtime/library.h\"\n"
    "#define SAME(ours, theirs, field) _Static_assert(offsetof(ours, field) == offsetof(theirs, field) && "
    "sizeof(((ours *)0)->field) == sizeof(((theirs *)0)->field), #field)\n"
    "#define E(field) SAME(Extra, demo_extra, field)\n"
    "#define F(field) SAME(Figures, demo_figures, field)\n"
    "E(size); E(experts); E(weights); E(given_experts); E(given_weights); E(k); E(importance); E(load); E(scores); E(figures);\n"
    "E(figures_size);\n"
    "E(sequence_tokens); F(sparsity); F(l1); F(balance_switch); F(balance_sequence); F(entropy); F(routed);\n"
    "_Static_assert(sizeof(Extra) == sizeof(demo_extra) && sizeof(Figures) == sizeof(demo_figures), \"sizes\");\n"
    "_Static_assert((int)IMPORTANCE_RECEIVE_MAX == DEMO_RECEIVE_MAX && (int)IMPORTANCE_RECEIVE_SUM == DEMO_RECEIVE_SUM && "
    "(int)IMPORTANCE_GIVE_MAX == DEMO_GIVE_MAX && IMPORTANCE_RULE_COUNT == 3, \"rules\");\n"
    "_Static_assert(DEMO_SPARSE_CHOICES == 7 && DEMO_SPARSE_EXPERTS == 5 && DEMO_SPARSE_K_MIN == 1 && DEMO_SPARSE_EXPECTED_K == 2, "
    "\"constants\");\n"
    "demo_extra extra = DEMO_EXTRA_INIT;\n"
    "int main(void) { return extra.size != sizeof(Extra) || extra.figures_size != sizeof(Figures) || extra.sequence_tokens; }\n";

START_TEST(header_agrees_with_library) {
    Model *model = calloc(1, sizeof *model);
    ck_assert_ptr_nonnull(model);
    strcpy(model->name, "demo");
    model->layer_count = 1;
    strcpy(model->layers[0].name, "sparse");
    model->layers[0].count = 3;
    model->layers[0].layer = (Layer){.hidden = 3,
                                     .iterations = 2,
                                     .experts = 5,
                                     .identity_experts = 1,
                                     .null_experts = 1,
                                     .top_k = 3,
                                     .k_min = 1,
                                     .expected_k = 2,
                                     .k_per_token = 1};
    char *text = NULL, program[sizeof agreement + SHELL_PATH_BYTES];
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    ck_assert_int_eq(header_write(model, stream), 0);
    fclose(stream);
    shell_write_file("$D/demo.h", text, size);
    const char *rest = strstr(agreement, "HEADER");
    int length = snprintf(program, sizeof program, "%.*s%s/demo.h%s", (int)(rest - agreement), agreement, shell_folder(),
                          rest + strlen("HEADER"));
    shell_write_file("$D/agree.c", program, (size_t)length);
    static const char plus[] = "#include \"demo.h\"\nint main() { demo_extra e = DEMO_EXTRA_INIT; return e.k != NULL; }\n";
    shell_write_file("$D/plus.cc", plus, sizeof plus - 1);
    shell_expect(0, "", "gcc -std=c11 -Wall -Wextra -Wpedantic -Werror -I. $D/agree.c -o $D/agree && $D/agree");
    shell_expect(0, "", "! command -v g++ || g++ -Wall -Wextra -Wpedantic -Werror -fsyntax-only $D/plus.cc");
    free(text);
    free(model);
}
END_TEST

// --- programs
// ----------------------------------------------------------------------------------------------------------------------

static void write_array(const char *name, NpyType type, int dimensions, int64_t rows, int64_t columns, const void *data) {
    char path[2 * SHELL_PATH_BYTES];
    Diagnostics diagnostics = {0};
    Npy array = {type, dimensions, {rows, columns}, (void *)(uintptr_t)data};
    snprintf(path, sizeof path, "%s/%s.npy", shell_folder(), name);
    ck_assert_msg(!npy_write(path, &array, &diagnostics), "%s", diagnostics.text);
}

static void expect_rows(const char *name, const double *expected, int64_t tokens, int64_t width) {
    Npy found = read_array(shell_folder(), name);
    ck_assert_int_eq(npy_elements(&found), tokens * width);
    for (int64_t t = 0; t < tokens; t++) {
        double error = 0, norm = 0;
        for (int64_t i = t * width; i < (t + 1) * width; i++) {
            error += pow((double)((float *)found.data)[i] - expected[i], 2);
            norm += pow(expected[i], 2);
        }
        ck_assert_msg(sqrt(error) <= 1e-5 * sqrt(norm), "%s, token %lld: relative error %g", name, (long long)t,
                      sqrt(error / norm));
    }
    npy_free(&found);
}

static const char da_moe_spec[] =
    "{\"name\": \"da\", \"layers\": [{\"name\": \"sparse\", \"hidden\": 40, \"norm\": {\"kind\": \"rms\"},\n"
    "\"residual\": {\"outer\": true}, \"router\": {\"k\": 6, \"k_per_token\": true}, \"weights\": \"fp32\",\n"
    "\"experts\": {\"count\": 10, \"intermediate\": 20}, \"checkpoint\": {\"tensors\": {\n"
    "\"norm\": \"model.layers.{layer}.post_attention_layernorm.weight\", \"router\": \"model.layers.{layer}.mlp.gate.weight\",\n"
    "\"gate\": \"model.layers.{layer}.mlp.experts.{expert}.gate_proj.weight\",\n"
    "\"up\": \"model.layers.{layer}.mlp.experts.{expert}.up_proj.weight\",\n"
    "\"down\": \"model.layers.{layer}.mlp.experts.{expert}.down_proj.weight\"}}}]}\n";
static const char da_moe_run[] = "$CATENA run $D/libda.so -w tests/golden/da_moe/model.safetensors -l sparse -i $D/x.npy";

// DA-MoE as PyTorch computes it, by importance and by k, and what `catena run` says of it.
START_TEST(runs_by_importance) {
    int64_t shape[SAFETENSORS_MAX_RANK], slots[SAFETENSORS_MAX_RANK], rows[SAFETENSORS_MAX_RANK];
    Safetensors *io = open_golden("tests/golden/da_moe/io.safetensors");
    double *in = golden_values(io, "layers.0.layer_in", shape), *out = golden_values(io, "layers.0.layer_out", shape);
    double *importance = golden_values(io, "layers.0.importance", rows), *k = golden_values(io, "layers.0.k", rows);
    double *experts = golden_values(io, "layers.0.experts", slots);
    float *x = floats_of(in, shape[0] * shape[1]), *shares = floats_of(importance, shape[0]);
    int32_t counts[64], total = 0;
    for (int64_t t = 0; t < shape[0]; t++) {
        counts[t] = (int32_t)k[t];
        total += counts[t];
    }
    char routed[64];
    snprintf(routed, sizeof routed, "\"routed\": %d", total);
    shell_write_file("$D/da.json", da_moe_spec, sizeof da_moe_spec - 1);
    write_array("x", NPY_FLOAT32, 2, shape[0], shape[1], x);
    write_array("importance", NPY_FLOAT32, 1, shape[0], 0, shares);
    write_array("k", NPY_INT32, 1, shape[0], 0, counts);
    shell_expect(EXIT_OK, "", "$CATENA compile $D/da.json -o $D");
    shell_expect(EXIT_OK, routed, "%s --importance $D/importance.npy -o $D/a.npy -r $D/r --scores $D/s.npy --figures --format json",
                 da_moe_run);
    expect_rows("a", out, shape[0], shape[1]);
    shell_expect(EXIT_OK, "sequence-wise", "%s --k $D/k.npy -o $D/b.npy --figures --sequence 5", da_moe_run);
    shell_expect(EXIT_OK, "", "cmp $D/a.npy $D/b.npy");
    Npy found = read_array(shell_folder(), "r.experts"), scores = read_array(shell_folder(), "s");
    for (int64_t s = 0; s < shape[0] * slots[1]; s++) {
        ck_assert_int_eq(((int32_t *)found.data)[s], (int32_t)experts[s]);
    }
    ck_assert(scores.dimensions == 3 && scores.shape[0] == 1 && scores.shape[1] == shape[0] && scores.shape[2] == 10);
    npy_free(&found);
    npy_free(&scores);
    shell_expect(EXIT_FAILED, "both given", "%s --k $D/k.npy --importance $D/importance.npy -o $D/c.npy", da_moe_run);
    shell_expect(EXIT_USAGE, "goes with --figures", "%s --sequence 5 -o $D/c.npy", da_moe_run);
    shell_expect(EXIT_FAILED, "takes int32 [24] here", "%s --k $D/importance.npy -o $D/c.npy", da_moe_run);
    shell_expect(EXIT_FAILED, "would replace", "%s --k $D/k.npy -o $D/c.npy --scores $D/k.npy", da_moe_run);
    shares[2] = 1.00000012f;
    write_array("importance", NPY_FLOAT32, 1, shape[0], 0, shares);
    shell_expect(EXIT_FAILED, "token 2: importance is 1.00000012, must", "%s --importance $D/importance.npy -o $D/c.npy",
                 da_moe_run);
    counts[3] = 7;
    write_array("k", NPY_INT32, 1, shape[0], 0, counts);
    shell_expect(EXIT_FAILED, "token 3: k is 7, must be 1..6", "%s --k $D/k.npy -o $D/c.npy", da_moe_run);
    ck_assert_int_ne(shell_run("test -e $D/c.npy"), 0);
    free(in);
    free(out);
    free(importance);
    free(k);
    free(experts);
    free(x);
    free(shares);
    safetensors_close(io);
}
END_TEST

// As the comment of examples/da_moe.c says.
START_TEST(example_from_attention_to_output) {
    enum { TOKENS = 3 };
    static const float attention[2][TOKENS][TOKENS] = {{{1, 0, 0}, {0.98f, 0.02f, 0}, {0.9f, 0.02f, 0.08f}},
                                                       {{1, 0, 0}, {0.98f, 0.02f, 0}, {0.96f, 0, 0.04f}}};
    static const float x[TOKENS * 1024] = {0.5f};
    shell_expect(EXIT_OK, "", "$CATENA compile examples/da_moe_8of64.json -o $D/elsewhere");
    shell_expect(0, "",
                 "cc -O2 -Wall -Wextra -Werror examples/da_moe.c -o $D/da_moe "
                 "$(PKG_CONFIG_PATH=$D/elsewhere pkg-config --cflags --libs da_moe_8of64) -lm");
    fixture_zero_weights("$D/zeros", "elsewhere/libda_moe_8of64.so");
    shell_expect(0, "token   0: importance 1.000, 8 experts: 0 1 2 3 4 5 6 7\n", "cd / && $D/da_moe $D/zeros 3");
    shell_write_file("$D/attention", attention, sizeof attention);
    shell_write_file("$D/x", x, sizeof x);
    shell_expect(0, "token   1: importance 0.020, 2 experts: 0 1\ntoken   2: importance 0.060, 4 experts: 0 1 2 3\n",
                 "cd / && $D/da_moe $D/zeros 3 2 $D/attention $D/x");
    shell_expect(0, "3 tokens: 4.67 of at most 8 experts per token, sparsity 0.927, entropy 4.159 of 4.159; y[0][0] = 0.5\n",
                 "cd / && $D/da_moe $D/zeros 3 2 $D/attention $D/x");
    shell_expect(1, "numbers wanted", "$D/da_moe $D/zeros 3 2 $D/x $D/attention");
    shell_expect(1, "probabilities", "printf '\\000\\000\\000\\100' >$D/two; $D/da_moe $D/zeros 1 1 $D/two $D/x");
    shell_expect(1, "missing", "$D/da_moe $D/missing 3");
    shell_expect(2, "usage", "$D/da_moe $D/zeros");
}
END_TEST

Suite *suite_importance(void) {
    Suite *suite = suite_create("importance");
    TCase *cases = tcase_create("helpers");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_test(cases, the_example_sentence);
    tcase_add_loop_test(cases, recorded_attention, 0, IMPORTANCE_RULE_COUNT);
    tcase_add_loop_test(cases, attention_of_any_shape, 0, 6);
    tcase_add_test(cases, attention_is_probabilities);
    tcase_add_test(cases, importances_never_exceed_one);
    tcase_add_test(cases, figures_agree_with_pytorch);
    tcase_add_loop_test(cases, importances_agree_with_pytorch, 0, IMPORTANCE_RULE_COUNT);
    tcase_add_test(cases, remoe_figures_agree_with_pytorch);
    suite_add_tcase(suite, cases);
    TCase *programs = tcase_create("programs");
    tcase_set_timeout(programs, TEST_TIMEOUT);
    tcase_add_checked_fixture(programs, shell_begin, shell_end);
    tcase_add_test(programs, header_agrees_with_library);
    tcase_add_test(programs, runs_by_importance);
    tcase_add_test(programs, example_from_attention_to_output);
    suite_add_tcase(suite, programs);
    return suite;
}
