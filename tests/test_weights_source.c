// Which tensors a layer accepts for its matrices, by shape, dtype and layout; and which layouts a description may give them.
#include <string.h>

#include "compiler/description/model.h"
#include "store.h"
#include "suites.h"

// --- shapes and dtypes -------------------------------------------------------------------------------------------------------

// One tensor 'x' (or 'x_blocks') of a layer of 3 experts of 5 x 32, 4 choices, 2 shared experts, 3 iterations.
typedef struct Shaped {
    Tensor tensor;
    TensorSource layout;
    const char *name, *dtype;
    int rank;
    int64_t shape[4];
    const char *refusal;  // NULL: accepted
} Shaped;

#define PLAIN {.rows = ROWS_ALL}
#define EVEN {.rows = ROWS_EVEN}
#define CHOICES {.rows = ROWS_CHOICES}
#define SHARED_ROWS {.rows = ROWS_SHARED}
#define ONE {.rows = ROWS_ONE}
#define SECOND {.rows = ROWS_SECOND_HALF}
#define IN_OUT {.order = ORDER_IN_OUT}
#define ODD_IN_OUT {.rows = ROWS_ODD, .order = ORDER_IN_OUT}
#define MXFP4 {.encoding = ENCODING_MXFP4}
#define FP8 {.encoding = ENCODING_FP8_E4M3}
#define EVEN_FP8 {.rows = ROWS_EVEN, .encoding = ENCODING_FP8_E4M3}
#define IN_OUT_FP8 {.order = ORDER_IN_OUT, .encoding = ENCODING_FP8_E4M3}
static const Shaped shapes[] = {
    {TENSOR_GATE, PLAIN, "x", "F32", 3, {3, 5, 32}, NULL},
    {TENSOR_GATE, PLAIN, "x", "F16", 2, {15, 32}, NULL},
    {TENSOR_GATE, PLAIN, "x", "F32", 4, {3, 5, 1, 32}, NULL},
    {TENSOR_GATE, PLAIN, "x", "F32", 2, {3, 160}, "has shape [3, 160], layer 'moe' needs [3, 5, 32] for its gate"},
    {TENSOR_GATE, PLAIN, "x", "F32", 3, {3, 32, 5}, "needs [3, 5, 32] for its gate"},
    {TENSOR_GATE, PLAIN, "x", "F32", 3, {2, 5, 32}, "needs [3, 5, 32]"},
    {TENSOR_GATE, PLAIN, "x", "F32", 1, {480}, "needs [3, 5, 32]"},
    {TENSOR_GATE, PLAIN, "x", "F32", 3, {3, 0, 32}, "needs [3, 5, 32]"},
    {TENSOR_GATE, PLAIN, "x", "F32", 4, {3, 5, 32, 2}, "needs [3, 5, 32]"},
    {TENSOR_GATE, PLAIN, "x", "F64", 3, {3, 5, 32}, "w.safetensors: tensor 'x' has dtype F64; F32, F16 and BF16"},
    {TENSOR_GATE, PLAIN, "x", "U8", 3, {3, 5, 32}, "has dtype U8; F32, F16 and BF16 can be used"},
    {TENSOR_GATE, PLAIN, "y", "F32", 3, {3, 5, 32}, "w.safetensors: tensor 'x' (gate of layer 'moe.0') is not in the checkpoint"},
    {TENSOR_GATE, EVEN, "x", "F32", 3, {3, 10, 32}, NULL},
    {TENSOR_GATE, EVEN, "x", "F32", 2, {30, 32}, NULL},
    {TENSOR_GATE,
     EVEN,
     "x",
     "F32",
     3,
     {3, 5, 32},
     "tensor 'x' has shape [3, 5, 32], layer 'moe' needs [3, 10, 32] for its gate (rows even)"},
    {TENSOR_GATE, IN_OUT, "x", "F32", 3, {3, 32, 5}, NULL},
    {TENSOR_GATE, IN_OUT, "x", "F32", 2, {96, 5}, NULL},
    {TENSOR_GATE, IN_OUT, "x", "F32", 3, {3, 5, 32}, "needs [3, 32, 5] for its gate (in_out)"},
    {TENSOR_GATE, ODD_IN_OUT, "x", "F32", 3, {3, 32, 5}, "needs [3, 32, 10] for its gate (rows odd, in_out)"},
    {TENSOR_GATE_BIAS, IN_OUT, "x", "F32", 2, {3, 5}, NULL},
    {TENSOR_GATE_BIAS, EVEN, "x", "F32", 1, {30}, NULL},
    {TENSOR_GATE_BIAS, EVEN, "x", "F32", 2, {3, 5}, "needs [3, 10] for its gate_bias (rows even)"},
    {TENSOR_GATE, MXFP4, "x_blocks", "U8", 4, {3, 5, 1, 16}, "tensor 'x_scales' (gate of layer 'moe.0') is not in the checkpoint"},
    {TENSOR_GATE, MXFP4, "x_blocks", "U8", 3, {3, 5, 32}, "needs [3, 5, 1, 16] for its gate (mxfp4)"},
    {TENSOR_GATE, MXFP4, "x_blocks", "F32", 4, {3, 5, 1, 16}, "has dtype F32; blocks and scales of mxfp4 are U8"},
    {TENSOR_GATE, MXFP4, "x", "U8", 4, {3, 5, 1, 16}, "tensor 'x_blocks' (gate of layer 'moe.0') is not in the checkpoint"},
    {TENSOR_DOWN, MXFP4, "x_blocks", "U8", 4, {3, 32, 1, 16}, "its down cannot be mxfp4, whose blocks are 32 inputs"},
    {TENSOR_GATE_BIAS, MXFP4, "x_blocks", "U8", 2, {3, 5}, "its gate_bias cannot be mxfp4"},
    {TENSOR_GATE,
     PLAIN,
     "x",
     "F8_E4M3",
     3,
     {3, 5, 32},
     "has dtype F8_E4M3; F32, F16 and BF16 can be used, F8_E4M3 by \"encoding\": \"fp8_e4m3\""},
    {TENSOR_GATE,
     FP8,
     "x",
     "F8_E4M3",
     3,
     {3, 5, 32},
     "w.safetensors: tensor 'x_scale_inv' (gate of layer 'moe.0') is not in the checkpoint; encoding fp8_e4m3 keeps"},
    {TENSOR_GATE,
     FP8,
     "x",
     "F8_E4M3",
     3,
     {3, 5, 31},
     "w.safetensors: tensor 'x' has shape [3, 5, 31], layer 'moe' needs [3, 5, 32] for its gate (fp8_e4m3)"},
    {TENSOR_GATE,
     FP8,
     "x",
     "F8_E5M2",
     3,
     {3, 5, 32},
     "w.safetensors: tensor 'x' has dtype F8_E5M2; of encoding fp8_e4m3 it must be F8_E4M3"},
    {TENSOR_GATE, FP8, "x", "BF16", 3, {3, 5, 32}, "has dtype BF16; of encoding fp8_e4m3 it must be F8_E4M3"},
    {TENSOR_GATE_BIAS, FP8, "x", "F8_E4M3", 2, {3, 5}, "layer 'moe': its gate_bias ('x') is a vector and cannot be fp8_e4m3"},
    {TENSOR_NORM, PLAIN, "x", "F32", 2, {1, 32}, NULL},
    {TENSOR_COE_WEIGHT, PLAIN, "x", "F32", 1, {2}, NULL},
    {TENSOR_COE_WEIGHT, PLAIN, "x", "F32", 0, {0}, "has shape [], layer 'moe' needs [2] for its coe_weight"},
    {TENSOR_CORRECTION, PLAIN, "x", "F32", 1, {4}, NULL},
    {TENSOR_CORRECTION, PLAIN, "x", "F32", 2, {1, 4}, NULL},
    {TENSOR_CORRECTION, PLAIN, "x", "F32", 1, {3}, "needs [4] for its correction"},
    {TENSOR_CORRECTION, SECOND, "x", "F32", 1, {8}, NULL},
    {TENSOR_CORRECTION, SECOND, "x", "F32", 2, {2, 4}, NULL},
    {TENSOR_CORRECTION,
     SECOND,
     "x",
     "F32",
     2,
     {4, 2},
     "has shape [4, 2], layer 'moe' needs [8] for its correction (rows second_half)"},
    {TENSOR_CORRECTION, EVEN, "x", "F32", 2, {2, 4}, "needs [8] for its correction (rows even)"},
    {TENSOR_OUTPUT_SCALE, ONE, "x", "F32", 1, {1}, NULL},
    {TENSOR_OUTPUT_SCALE, ONE, "x", "F32", 0, {0}, NULL},
    {TENSOR_OUTPUT_SCALE, ONE, "x", "F32", 1, {32}, "needs [1] for its output_scale (rows one)"},
    {TENSOR_ROUTER, CHOICES, "x", "F32", 2, {6, 32}, NULL},
    {TENSOR_ROUTER, CHOICES, "x", "F32", 2, {4, 32}, "needs [6, 32] for its router (rows choices)"},
    {TENSOR_SHARED_EXPERT_GATE, SHARED_ROWS, "x", "F32", 2, {6, 32}, NULL},
    {TENSOR_SHARED_EXPERT_GATE, SHARED_ROWS, "x", "F32", 2, {2, 32}, "needs [6, 32]"},
    {TENSOR_ROUTER, PLAIN, "x", "F32", 2, {4, 32}, NULL},
    {TENSOR_ROUTER, PLAIN, "x", "F32", 2, {6, 32}, "needs [4, 32] for its router"},
    {TENSOR_SHARED_EXPERT_GATE, PLAIN, "x", "F32", 2, {2, 32}, NULL},
    {TENSOR_SHARED_EXPERT_GATE, PLAIN, "x", "F32", 2, {1, 32}, "needs [2, 32] for its shared_expert_gate"},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void store_zeros(Store *store, const char *name, const char *dtype, const int64_t *shape, int rank) {
    int64_t bytes = store_bytes_of(dtype);
    store_tensor(store, name, dtype, shape, rank);
    for (int i = 0; i < rank; i++) {
        bytes *= shape[i];
    }
    for (int64_t i = 0; i < bytes; i++) {
        fputc(0, store->data);
    }
}

// codes: NULL, or the shape of 'x', of which the row's tensor is the scales.
static Status find_shaped(Kind *kind, const Shaped *row, const int64_t *codes, char *error, size_t error_size) {
    Store store;
    store_begin(&store);
    store_zeros(&store, row->name, row->dtype, row->shape, row->rank);
    if (codes) {
        store_zeros(&store, "x", "F8_E4M3", codes, 3);
    }
    kind->checkpoint.tensors[row->tensor] = row->layout;
    strcpy(kind->checkpoint.tensors[row->tensor].pattern, "x");
    Failure failure = {error, error_size};
    PackedSource source;
    Status status = weights_source(kind, row->tensor, 0, 0, store_open(&store), &source, NULL, &failure);
    store_free(&store);
    return status;
}

static void expect(const Shaped *row, Status status, const char *error) {
    ck_assert_msg(status == (row->refusal ? LIBRARY_BAD_WEIGHTS : LIBRARY_OK), "%s", error);
    ck_assert_msg(!row->refusal || strstr(error, row->refusal), "'%s' has no '%s'", error, row->refusal);
}

// The scales 'x_scale_inv' of a layer with experts of 130 x 300: two rows of three blocks each.
static const Shaped scales[] = {
    {TENSOR_GATE, FP8, "x_scale_inv", "F32", 3, {3, 2, 3}, NULL},
    {TENSOR_GATE, FP8, "x_scale_inv", "BF16", 2, {6, 3}, NULL},
    {TENSOR_GATE, FP8, "x_scale_inv", "F8_E8M0", 3, {3, 2, 3}, NULL},
    {TENSOR_GATE, EVEN_FP8, "x_scale_inv", "F32", 3, {3, 3, 3}, NULL},
    {TENSOR_GATE, IN_OUT_FP8, "x_scale_inv", "F32", 3, {3, 3, 2}, NULL},
    {TENSOR_GATE,
     FP8,
     "x_scale_inv",
     "F16",
     3,
     {3, 2, 3},
     "tensor 'x_scale_inv' has dtype F16; scales of fp8_e4m3 are F32, BF16 or F8_E8M0"},
    {TENSOR_GATE, FP8, "x_scale_inv", "U8", 3, {3, 2, 3}, "has dtype U8; scales of fp8_e4m3 are"},
    {TENSOR_GATE,
     FP8,
     "x_scale_inv",
     "F32",
     3,
     {3, 3, 2},
     "w.safetensors: tensor 'x_scale_inv' has shape [3, 3, 2], layer 'moe' needs [3, 2, 3] for the scales of its gate (fp8_e4m3)"},
    {TENSOR_GATE, FP8, "x_scale_inv", "F32", 3, {3, 1, 3}, "needs [3, 2, 3] for the scales of its gate"},
    {TENSOR_GATE, FP8, "x_scale_inv", "F32", 1, {3}, "needs [3, 2, 3] for the scales of its gate"},
    {TENSOR_GATE,
     FP8,
     "x_scales",
     "F32",
     3,
     {3, 2, 3},
     "tensor 'x_scale_inv' (gate of layer 'moe.0') is not in the checkpoint; encoding fp8_e4m3 keeps its scales there, and without "
     "them its codes are no numbers: take a checkpoint with one scale for each block of 128 x 128 elements, or one in BF16"},
    {TENSOR_GATE,
     FP8,
     "x_scale",
     "F32",
     3,
     {3, 2, 3},
     "its codes are no numbers; 'x_scale' is there, but scales other than those of blocks are not read: take a checkpoint"},
};
enum { SCALES = sizeof scales / sizeof *scales };

START_TEST(checks_shapes) {
    char error[512] = "";
    Kind kind = store_kind(32, 5, FORMAT_FP32);
    expect(&shapes[_i], find_shaped(&kind, &shapes[_i], NULL, error, sizeof error), error);
}
END_TEST

START_TEST(checks_scales) {
    const TensorSource *layout = &scales[_i].layout;
    char error[512] = "";
    Kind kind = store_kind(300, 130, FORMAT_FP8_E4M3);
    int64_t rows = layout->rows == ROWS_ALL ? 130 : 260;
    const int64_t out_in[] = {3, rows, 300}, in_out[] = {3, 300, rows};
    const int64_t *codes = layout->order == ORDER_IN_OUT ? in_out : out_in;
    expect(&scales[_i], find_shaped(&kind, &scales[_i], codes, error, sizeof error), error);
}
END_TEST

// --- descriptions ------------------------------------------------------------------------------------------------------------

#define DESCRIBED(hidden, norm, correction, up, down) \
    "{\"name\": \"q\", \"layers\": [{\"name\": \"a\", \"hidden\": " #hidden \
    ", \"iterations\": 2, \"norm\": {\"kind\": \"rms\"}, " \
    "\"router\": {\"k\": 1, \"correction\": true, \"per_iteration\": true}, " \
    "\"experts\": {\"count\": 4, \"intermediate\": 64}, \"checkpoint\": {\"tensors\": {\"router\": \"r{iteration}\", " \
    "\"norm\": " norm ", \"correction\": " correction ", \"gate\": \"g\", \"up\": " up ", \"down\": " down "}}}]}"
#define NORM_GOOD "\"n\""
#define CORRECTION_GOOD "\"c{iteration}\""
#define GOOD "\"m{expert}\""
#define LONG(fields) "{\"name\": \"m\",\n" fields "}"
static const struct {
    const char *text, *refusal;
} descriptions[] = {
    {DESCRIBED(64, NORM_GOOD, CORRECTION_GOOD, GOOD, GOOD), NULL},
    {DESCRIBED(64, LONG("\"add\": 1, \"rows\": \"odd\""), CORRECTION_GOOD,
               LONG("\"rows\": \"even\", \"order\": \"in_out\", \"add\": 2"), GOOD),
     NULL},
    {DESCRIBED(64, NORM_GOOD, CORRECTION_GOOD, LONG("\"encoding\": \"mxfp4\", \"rows\": \"odd\""), GOOD), NULL},
    {DESCRIBED(40, NORM_GOOD, CORRECTION_GOOD, GOOD, LONG("\"encoding\": \"mxfp4\"")), NULL},
    {DESCRIBED(40, NORM_GOOD, CORRECTION_GOOD, LONG("\"encoding\": \"mxfp4\""), GOOD),
     "spec:2:13: error: \"up\" has 40 inputs: \"mxfp4\" has blocks of 32"},
    {DESCRIBED(64, LONG("\"order\": \"in_out\""), CORRECTION_GOOD, GOOD, GOOD),
     "spec:2:10: error: \"norm\" is a vector: \"in_out\""},
    {DESCRIBED(64, LONG("\"rows\": \"one\""), CORRECTION_GOOD, GOOD, GOOD), NULL},
    {DESCRIBED(64, NORM_GOOD, CORRECTION_GOOD, LONG("\"rows\": \"one\""), GOOD),
     "spec:2:9: error: \"up\" cannot have these rows: \"one\" is of a vector"},
    {DESCRIBED(64, LONG("\"rows\": \"choices\""), CORRECTION_GOOD, GOOD, GOOD), "\"choices\" are of a router"},
    {DESCRIBED(64, LONG("\"rows\": \"shared_experts\""), CORRECTION_GOOD, GOOD, GOOD), "are of \"shared_expert_gate\""},
    {DESCRIBED(64, NORM_GOOD, LONG("\"encoding\": \"mxfp4\""), GOOD, GOOD), "\"m\" must hold {iteration}"},
    {DESCRIBED(64, LONG("\"encoding\": \"mxfp4\""), CORRECTION_GOOD, GOOD, GOOD), "\"norm\" is a vector: \"mxfp4\""},
    {DESCRIBED(64, LONG("\"encoding\": \"fp8_e4m3\""), CORRECTION_GOOD, GOOD, GOOD), "\"norm\" is a vector: \"fp8_e4m3\""},
    {DESCRIBED(40, NORM_GOOD, CORRECTION_GOOD, LONG("\"encoding\": \"fp8_e4m3\", \"order\": \"in_out\", \"add\": 1"), GOOD), NULL},
    {DESCRIBED(64, NORM_GOOD, CORRECTION_GOOD, LONG("\"order\": \"in_out\", \"encoding\": \"mxfp4\""), GOOD),
     "spec:2:10: error: \"up\" cannot be \"in_out\""},
    {DESCRIBED(64, NORM_GOOD, CORRECTION_GOOD, LONG("\"add\": 1, \"encoding\": \"mxfp4\""), GOOD),
     "spec:2:8: error: \"up\" is \"mxfp4\", which has nothing added to it"},
    {DESCRIBED(64, NORM_GOOD, "\"c{iteration}{expert}\"", GOOD, GOOD), "this tensor has no {expert} in this layer"},
    {DESCRIBED(64, "\"n{iteration}\"", CORRECTION_GOOD, GOOD, GOOD), "this tensor has no {iteration} in this layer"},
};
enum { DESCRIPTIONS = sizeof descriptions / sizeof *descriptions };

START_TEST(checks_descriptions) {
    Diagnostics diagnostics = {0};
    const char *text = descriptions[_i].text, *refusal = descriptions[_i].refusal;
    Model *model = model_read_text(text, strlen(text), "spec", &diagnostics);
    ck_assert_msg(!model == (refusal != NULL), "%s: %s", text, diagnostics.length ? diagnostics.text : "accepted");
    ck_assert_msg(!refusal || strstr(diagnostics.text, refusal), "'%s' has no '%s'", diagnostics.text, refusal);
    model_free(model);
    diagnostics_free(&diagnostics);
}
END_TEST

Suite *suite_weights_source(void) {
    Suite *suite = suite_create("weights_source");
    TCase *cases = tcase_create("weights_source");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_loop_test(cases, checks_shapes, 0, SHAPES);
    tcase_add_loop_test(cases, checks_scales, 0, SCALES);
    tcase_add_loop_test(cases, checks_descriptions, 0, DESCRIPTIONS);
    suite_add_tcase(suite, cases);
    return suite;
}
