// PyTorch checkpoints: what torch.save writes is read (tests/data/torch, made by make.py there). Over 500
// lines because half of them are tables of files that are refused.
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/base/npy.h"
#include "compiler/pytorch/checkpoint.h"
#include "runtime/safetensors.h"
#include "shell.h"
#include "suites.h"

#define DATA "tests/data/torch/"
#define CHECKPOINT "/iter_0000100/mp_rank_00/model_optim_rng.pt"
static const char *const layouts[] = {"sequential", "grouped", "te_grouped"};
enum { LAYOUTS = sizeof layouts / sizeof *layouts, LAYERS = 2, HIDDEN = 24, EXPERTS = 5, WIDTH = 20 };

static TorchCheckpoint *open_file(const char *path) {
    Diagnostics diagnostics = {0};
    TorchCheckpoint *checkpoint = torch_checkpoint_open(path, &diagnostics);
    ck_assert_msg(checkpoint != NULL, "%s", diagnostics.text ? diagnostics.text : "");
    ck_assert_uint_eq(diagnostics.count, 0);
    return checkpoint;
}

static TorchCheckpoint *open_layout(const char *layout) {
    char path[256];
    snprintf(path, sizeof path, DATA "remoe_%s" CHECKPOINT, layout);
    return open_file(path);
}

static void *read_bytes(TorchCheckpoint *checkpoint, const TorchTensor *tensor) {
    Diagnostics diagnostics = {0};
    void *bytes = malloc((size_t)tensor->bytes + 1);
    ck_assert_msg(!torch_checkpoint_read(checkpoint, tensor, bytes, &diagnostics), "%s", diagnostics.text ? diagnostics.text : "");
    return bytes;
}

static double half(uint16_t bits) {
    int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    double value = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
    return bits >> 15 ? -value : value;
}

static double bfloat(uint16_t bits) {
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

static double float8(uint8_t bits) {  // e4m3fn
    int exponent = bits >> 3 & 15, mantissa = bits & 7;
    double value = exponent ? ldexp(8 + mantissa, exponent - 10) : ldexp(mantissa, -9);
    return bits >> 7 ? -value : value;
}

// Element i of row-major bytes of a dtype.
static double element(const char *dtype, const void *bytes, int64_t i) {
#define ELEMENT(name, type, value) \
    if (!strcmp(dtype, name)) { \
        type x; \
        memcpy(&x, (const char *)bytes + i * (int64_t)sizeof x, sizeof x); \
        return value; \
    }
    ELEMENT("F64", double, x)
    ELEMENT("F32", float, x)
    ELEMENT("F16", uint16_t, half(x))
    ELEMENT("BF16", uint16_t, bfloat(x))
    ELEMENT("I64", int64_t, (double)x)
    ELEMENT("I32", int32_t, x)
    ELEMENT("I16", int16_t, x)
    ELEMENT("I8", int8_t, x)
    ELEMENT("U8", uint8_t, x)
    ELEMENT("U16", uint16_t, x)
    ELEMENT("BOOL", uint8_t, x)
    ELEMENT("F8_E4M3", uint8_t, float8(x))
    ck_abort_msg("dtype %s", dtype);
    return 0;
}

static double *read_doubles(TorchCheckpoint *checkpoint, const char *name, int64_t elements) {
    const TorchTensor *tensor = torch_checkpoint_find(checkpoint, name);
    ck_assert_msg(tensor != NULL, "no tensor '%s'", name);
    ck_assert_int_eq(tensor->bytes, elements * tensor->element_bytes);
    void *bytes = read_bytes(checkpoint, tensor);
    double *values = malloc((size_t)elements * sizeof *values);
    for (int64_t i = 0; i < elements; i++) {
        values[i] = element(tensor->dtype, bytes, i);
    }
    free(bytes);
    return values;
}

// --- plain.pt: row r, column c of each [3, 4] tensor is 4 r + c --------------------------------------------------------------
typedef struct Expected {
    const char *name, *dtype;
    bool contiguous;
    double start;
} Expected;

static const Expected expected[] = {
    {"float64", "F64", true, 0},
    {"float32", "F32", true, 0},
    {"float16", "F16", true, 0},
    {"bfloat16", "BF16", true, 0},
    {"int64", "I64", true, 0},
    {"int32", "I32", true, 0},
    {"int16", "I16", true, 0},
    {"int8", "I8", true, 0},
    {"uint8", "U8", true, 0},
    {"uint16", "U16", true, 0},
    {"float8_e4m3fn", "F8_E4M3", true, 0},
    {"transposed", "F32", false, 0},
    {"shared_a", "F32", true, 0},
    {"shared_b", "F32", true, 88},
    {"strided", "F32", false, 0},
    {"parameter", "F32", true, 0},
    {"attributed", "F32", true, 0},
    {"nested.inner.weight", "F32", true, 0},
    {"nested.inner.7", "F32", true, 0},
};
enum { EXPECTED = sizeof expected / sizeof *expected };

START_TEST(reads_values) {
    TorchCheckpoint *checkpoint = open_file(DATA "plain.pt");
    const Expected *row = &expected[_i];
    const TorchTensor *tensor = torch_checkpoint_find(checkpoint, row->name);
    ck_assert_ptr_nonnull(tensor);
    ck_assert_str_eq(tensor->dtype, row->dtype);
    ck_assert_int_eq(tensor->contiguous, row->contiguous);
    ck_assert_int_eq(tensor->rank, 2);
    ck_assert_int_eq(tensor->shape[0], 3);
    ck_assert_int_eq(tensor->shape[1], 4);
    double *values = read_doubles(checkpoint, row->name, 12);
    for (int i = 0; i < 12; i++) {
        ck_assert_double_eq(values[i], row->start + i);
    }
    free(values);
    torch_checkpoint_close(checkpoint);
}
END_TEST

START_TEST(reads_the_rest) {
    TorchCheckpoint *checkpoint = open_file(DATA "plain.pt");
    ck_assert_int_eq(torch_checkpoint_count(checkpoint), EXPECTED + 4);
    double *bools = read_doubles(checkpoint, "bool", 12), *scalar = read_doubles(checkpoint, "scalar", 1);
    for (int i = 0; i < 12; i++) {
        ck_assert_double_eq(bools[i], i % 2);
    }
    ck_assert_double_eq(*scalar, 2.5);
    ck_assert_int_eq(torch_checkpoint_find(checkpoint, "scalar")->rank, 0);
    free(read_doubles(checkpoint, "empty", 0));
    ck_assert_int_eq(torch_checkpoint_find(checkpoint, "empty")->shape[1], 4);
    Diagnostics diagnostics = {0};
    char none;
    ck_assert_int_eq(torch_checkpoint_read(checkpoint, torch_checkpoint_find(checkpoint, "expanded"), &none, &diagnostics), -1);
    ck_assert_ptr_nonnull(strstr(diagnostics.text, "tensor 'expanded': larger than its storage"));
    diagnostics_free(&diagnostics);
    ck_assert_ptr_null(torch_checkpoint_find(checkpoint, "nested.none"));
    ck_assert_ptr_null(torch_checkpoint_arguments(checkpoint));
    free(bools);
    free(scalar);
    torch_checkpoint_close(checkpoint);
}
END_TEST

// --- Megatron's checkpoints --------------------------------------------------------------------------------------------------
START_TEST(reads_arguments) {
    TorchCheckpoint *checkpoint = open_layout(layouts[_i]);
    json_t *arguments = (json_t *)torch_checkpoint_arguments(checkpoint);
    static const char *const dtypes[] = {"torch.float32", "torch.bfloat16", "torch.float16"};
    ck_assert_int_eq(json_integer_value(json_object_get(arguments, "hidden_size")), HIDDEN);
    ck_assert_int_eq(json_integer_value(json_object_get(arguments, "negative")), -(1ll << 40));
    ck_assert(json_is_true(json_object_get(arguments, "moe_relu_routing")));
    ck_assert(json_is_false(json_object_get(arguments, "apply_layernorm_1p")));
    ck_assert(json_is_null(json_object_get(arguments, "moe_shared_expert_intermediate_size")));
    ck_assert_double_eq(json_real_value(json_object_get(arguments, "norm_epsilon")), 1e-5);
    ck_assert_str_eq(json_string_value(json_object_get(arguments, "normalization")), "RMSNorm");
    ck_assert_str_eq(json_string_value(json_object_get(arguments, "params_dtype")), dtypes[_i]);
    ck_assert_uint_eq(json_array_size(json_object_get(arguments, "data_path")), 2);
    ck_assert_ptr_null(json_object_get(arguments, "attention_backend"));  // an enum
    ck_assert_ptr_null(json_object_get(arguments, "big"));  // 2^100
    json_t *frequency = json_object_get(arguments, "moe_layer_freq");
    ck_assert(_i == 2 ? json_array_size(frequency) == LAYERS : json_integer_value(frequency) == 1);
    torch_checkpoint_close(checkpoint);
}
END_TEST

START_TEST(reads_the_whole_tree) {
    TorchCheckpoint *checkpoint = open_layout(layouts[_i]);
    const PickleValue *root = torch_checkpoint_root(checkpoint), *args = pickle_find(root, "args");
    ck_assert_int_eq(pickle_find(root, "iteration")->integer, 100);
    ck_assert_double_eq(pickle_find(root, "checkpoint_version")->number, 3.0);
    const PickleValue *big = pickle_find(args->object.state, "big");
    ck_assert_int_eq(big->kind, PICKLE_LONG);
    ck_assert_uint_eq(big->text.length, 13);
    ck_assert_int_eq(big->text.data[12], 16);
    const PickleValue *enumeration = pickle_find(args->object.state, "attention_backend");
    ck_assert(pickle_is_call(enumeration, "megatron.core.enums", "Backend"));
    ck_assert_int_eq(pickle_item(enumeration->object.arguments, 0)->integer, 5);
    const PickleValue *state = pickle_find(root, "rerun_state_machine");
    ck_assert(pickle_is_call(state, "megatron.core.rerun", "State"));
    ck_assert_ptr_eq(pickle_find(state->object.state, "itself"), state);  // a cycle
    const PickleValue *random = pickle_find(pickle_item(pickle_find(root, "rng_state"), 0), "random_rng_state");
    ck_assert_uint_eq(pickle_item(random, 1)->sequence.count, 625);
    const PickleValue *optimizer = pickle_find(pickle_find(root, "optimizer"), "state");
    ck_assert_uint_eq(optimizer->dict.count, 3);
    ck_assert_int_eq(optimizer->dict.entries[1].key->kind, PICKLE_TUPLE);
    if (_i == 1) {  // protocol 4 has bytes and sets of its own
        const PickleValue *content = pickle_find(root, "content");
        ck_assert_int_eq(content->kind, PICKLE_BYTES);
        ck_assert_uint_eq(content->text.length, 256);
        ck_assert_int_eq(optimizer->dict.entries[1].value->kind, PICKLE_SET);
        ck_assert_uint_eq(optimizer->dict.entries[2].value->sequence.count, 2);
    }
    torch_checkpoint_close(checkpoint);
}
END_TEST

// An expert's matrix as [out, in], whatever the layout has.
static double *read_matrix(TorchCheckpoint *checkpoint, int layout, int layer, int expert, int matrix) {
    char name[128];
    const int rows = matrix == 1 ? 2 * WIDTH : HIDDEN, columns = matrix == 1 ? HIDDEN : WIDTH, each = rows * columns;
    if (layout == 0) {
        snprintf(name, sizeof name, "decoder.layers.%d.mlp.experts.local_experts.%d.linear_fc%d.weight", layer, expert, matrix);
        return read_doubles(checkpoint, name, each);
    }
    if (layout == 2) {
        snprintf(name, sizeof name, "decoder.layers.%d.mlp.experts.linear_fc%d.weight%d", layer, matrix, expert);
        return read_doubles(checkpoint, name, each);
    }
    snprintf(name, sizeof name, "decoder.layers.%d.mlp.experts.weight%d", layer, matrix);
    double *all = read_doubles(checkpoint, name, EXPERTS * each), *out = malloc((size_t)each * sizeof *out);
    for (int i = 0; i < each; i++) {
        out[i] = all[expert * each + i % columns * rows + i / columns];
    }
    free(all);
    return out;
}

// All three hold the same experts, each in its own order.
START_TEST(layouts_agree) {
    TorchCheckpoint *checkpoints[LAYOUTS];
    for (int l = 0; l < LAYOUTS; l++) {
        checkpoints[l] = open_layout(layouts[l]);
    }
    for (int i = 0; i < LAYERS * EXPERTS * 2; i++) {
        int layer = i / (EXPERTS * 2), expert = i / 2 % EXPERTS, matrix = 1 + i % 2;
        double *first = read_matrix(checkpoints[0], 0, layer, expert, matrix);
        for (int l = 1; l < LAYOUTS; l++) {
            double *other = read_matrix(checkpoints[l], l, layer, expert, matrix);
            ck_assert_mem_eq(first, other, (matrix == 1 ? 2 : 1) * HIDDEN * WIDTH * sizeof *first);
            free(other);
        }
        free(first);
    }
    for (int l = 0; l < LAYOUTS; l++) {
        torch_checkpoint_close(checkpoints[l]);
    }
}
END_TEST

static void multiply(const double *matrix, const double *x, int rows, int columns, double *y) {
    for (int r = 0; r < rows; r++) {
        y[r] = 0;
        for (int c = 0; c < columns; c++) {
            y[r] += matrix[r * columns + c] * x[c];
        }
    }
}

static double *read_layer(TorchCheckpoint *checkpoint, int layer, const char *part, int64_t elements) {
    char name[128];
    snprintf(name, sizeof name, "decoder.layers.%d.%s.weight", layer, part);
    return read_doubles(checkpoint, name, elements);
}

static void add_expert(TorchCheckpoint *checkpoint, int layer, int expert, double weight, const double *x, double *out) {
    double *up = read_matrix(checkpoint, 0, layer, expert, 1), *down = read_matrix(checkpoint, 0, layer, expert, 2);
    double both[2 * WIDTH], y[HIDDEN];
    multiply(up, x, 2 * WIDTH, HIDDEN, both);
    for (int i = 0; i < WIDTH; i++) {
        both[i] = both[i] / (1 + exp(-both[i])) * both[WIDTH + i];
    }
    multiply(down, both, HIDDEN, WIDTH, y);
    for (int c = 0; c < HIDDEN; c++) {
        out[c] += weight * y[c];
    }
    free(up);
    free(down);
}

// The recorded rows are what ReMoE's formula makes of these weights: names and shapes mean what we think.
START_TEST(layer_computes_what_was_recorded) {
    TorchCheckpoint *checkpoint = open_layout("sequential");
    double *norm = read_layer(checkpoint, _i, "pre_mlp_layernorm", HIDDEN);
    double *router = read_layer(checkpoint, _i, "mlp.router", EXPERTS * HIDDEN);
    Diagnostics diagnostics = {0};
    Npy in, out;
    char path[64];
    snprintf(path, sizeof path, DATA "%d.layer_in.npy", _i);
    ck_assert_int_eq(npy_read(path, &in, &diagnostics), 0);
    snprintf(path, sizeof path, DATA "%d.layer_out.npy", _i);
    ck_assert_int_eq(npy_read(path, &out, &diagnostics), 0);
    for (int64_t t = 0; t < in.shape[0]; t++) {
        const float *h = (const float *)in.data + t * HIDDEN, *recorded = (const float *)out.data + t * HIDDEN;
        double x[HIDDEN], z[EXPERTS], y[HIDDEN], square = 0;
        for (int c = 0; c < HIDDEN; c++) {
            square += (double)h[c] * h[c];
            y[c] = h[c];
        }
        for (int c = 0; c < HIDDEN; c++) {
            x[c] = h[c] / sqrt(square / (double)in.shape[1] + 1e-5) * norm[c];
        }
        multiply(router, x, EXPERTS, HIDDEN, z);
        for (int e = 0; e < EXPERTS; e++) {
            if (z[e] > 0) {
                add_expert(checkpoint, _i, e, z[e], x, y);
            }
        }
        for (int c = 0; c < HIDDEN; c++) {
            ck_assert_double_eq_tol(y[c], recorded[c], 1e-6 * (1 + fabs(y[c])));  // the record is rounded to fp32
        }
    }
    npy_free(&in);
    npy_free(&out);
    free(norm);
    free(router);
    torch_checkpoint_close(checkpoint);
}
END_TEST

// --- safetensors -------------------------------------------------------------------------------------------------------------
static bool not_expanded(const char *name, void *context) {
    (void)context;
    return strcmp(name, "expanded") != 0;
}

START_TEST(writes_safetensors) {
    TorchCheckpoint *checkpoint = open_file(DATA "plain.pt");
    Diagnostics diagnostics = {0};
    char path[512], error[256];
    const Failure failure = {error, sizeof error};
    Safetensors *tensors;
    snprintf(path, sizeof path, "%s/out.safetensors", shell_folder());
    ck_assert_int_eq(torch_checkpoint_write_safetensors(checkpoint, not_expanded, NULL, path, &diagnostics), 0);
    ck_assert_msg(safetensors_open(path, &tensors, &failure) == LIBRARY_OK, "%s", error);
    ck_assert_int_eq(safetensors_count(tensors), torch_checkpoint_count(checkpoint) - 1);
    for (int64_t i = 0; i < safetensors_count(tensors); i++) {
        const SafetensorsEntry *entry = safetensors_entry(tensors, i);
        const TorchTensor *tensor = torch_checkpoint_find(checkpoint, entry->name);
        ck_assert_str_eq(entry->dtype, tensor->dtype);
        ck_assert_int_eq(entry->rank, tensor->rank);
        ck_assert_mem_eq(entry->shape, tensor->shape, sizeof *entry->shape * (size_t)entry->rank);
        ck_assert_int_eq(entry->bytes, tensor->bytes);
        void *bytes = read_bytes(checkpoint, tensor);
        ck_assert_mem_eq(entry->data, bytes, (size_t)entry->bytes);
        free(bytes);
    }
    safetensors_close(tensors);
    torch_checkpoint_close(checkpoint);
}
END_TEST

// Nothing is left behind and nothing is overwritten.
START_TEST(reports_failed_writes) {
    char path[512];
    shell_expect(0, "", "cp " DATA "plain.pt $D/in.pt");
    snprintf(path, sizeof path, "%s/in.pt", shell_folder());
    TorchCheckpoint *checkpoint = open_file(path);
    Diagnostics diagnostics = {0};
    ck_assert_int_eq(torch_checkpoint_write_safetensors(checkpoint, not_expanded, NULL, path, &diagnostics), -1);
    snprintf(path, sizeof path, "%s/out.safetensors", shell_folder());
    ck_assert_int_eq(torch_checkpoint_write_safetensors(checkpoint, NULL, NULL, path, &diagnostics), -1);
    snprintf(path, sizeof path, "%s/none/out.safetensors", shell_folder());
    ck_assert_int_eq(torch_checkpoint_write_safetensors(checkpoint, not_expanded, NULL, path, &diagnostics), -1);
    ck_assert_ptr_nonnull(strstr(diagnostics.text, "in.pt: error: it is the checkpoint that is read"));
    ck_assert_ptr_nonnull(strstr(diagnostics.text, "tensor 'expanded': larger than its storage"));
    ck_assert_ptr_nonnull(strstr(diagnostics.text, "No such file"));
    shell_expect(0, "", "cmp " DATA "plain.pt $D/in.pt && test \"$(ls $D)\" = in.pt");
    diagnostics_free(&diagnostics);
    torch_checkpoint_close(checkpoint);
}
END_TEST

Suite *suite_torch_checkpoint(void) {
    Suite *suite = suite_create("torch_checkpoint");
    TCase *cases = tcase_create("torch_checkpoint");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_checked_fixture(cases, shell_begin, shell_end);
    tcase_add_loop_test(cases, reads_values, 0, EXPECTED);
    tcase_add_test(cases, reads_the_rest);
    tcase_add_loop_test(cases, reads_arguments, 0, LAYOUTS);
    tcase_add_loop_test(cases, reads_the_whole_tree, 0, LAYOUTS);
    tcase_add_test(cases, layouts_agree);
    tcase_add_loop_test(cases, layer_computes_what_was_recorded, 0, LAYERS);
    tcase_add_test(cases, writes_safetensors);
    tcase_add_test(cases, reports_failed_writes);
    suite_add_tcase(suite, cases);
    return suite;
}
