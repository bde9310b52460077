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
#define IN_OUT {.order = ORDER_IN_OUT}
#define ODD_IN_OUT {.rows = ROWS_ODD, .order = ORDER_IN_OUT}
#define MXFP4 {.encoding = ENCODING_MXFP4}
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
    {TENSOR_GATE, PLAIN, "y", "F32", 3, {3, 5, 32}, "ckpt: tensor 'x' (gate of layer 'moe.0') is not in the checkpoint"},
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
    {TENSOR_NORM, PLAIN, "x", "F32", 2, {1, 32}, NULL},
    {TENSOR_COE_WEIGHT, PLAIN, "x", "F32", 1, {2}, NULL},
    {TENSOR_COE_WEIGHT, PLAIN, "x", "F32", 0, {0}, "has shape [], layer 'moe' needs [2] for its coe_weight"},
    {TENSOR_CORRECTION, PLAIN, "x", "F32", 1, {4}, NULL},
    {TENSOR_CORRECTION, PLAIN, "x", "F32", 2, {1, 4}, NULL},
    {TENSOR_CORRECTION, PLAIN, "x", "F32", 1, {3}, "needs [4] for its correction"},
    {TENSOR_ROUTER, PLAIN, "x", "F32", 2, {4, 32}, NULL},
    {TENSOR_ROUTER, PLAIN, "x", "F32", 2, {6, 32}, "needs [4, 32] for its router"},
    {TENSOR_SHARED_EXPERT_GATE, PLAIN, "x", "F32", 2, {2, 32}, NULL},
    {TENSOR_SHARED_EXPERT_GATE, PLAIN, "x", "F32", 2, {1, 32}, "needs [2, 32] for its shared_expert_gate"},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static Status find_shaped(const Kind *kind, const Shaped *row, char *error, size_t error_size) {
    Store store;
    store_begin(&store);
    store_tensor(&store, row->name, row->dtype, row->shape, row->rank);
    int64_t bytes = store_bytes_of(row->dtype);
    for (int i = 0; i < row->rank; i++) {
        bytes *= row->shape[i];
    }
    for (int64_t i = 0; i < bytes; i++) {
        fputc(0, store.data);
    }
    Failure failure = {error, error_size};
    PackedSource source;
    Status status = weights_source(kind, row->tensor, 0, 0, "ckpt", store_open(&store), &source, NULL, &failure);
    store_free(&store);
    return status;
}

START_TEST(checks_shapes) {
    const Shaped *row = &shapes[_i];
    char error[512] = "";
    Kind kind = store_kind(32, 5, FORMAT_FP32);
    kind.checkpoint.tensors[row->tensor] = row->layout;
    strcpy(kind.checkpoint.tensors[row->tensor].pattern, "x");
    ck_assert_msg(find_shaped(&kind, row, error, sizeof error) == (row->refusal ? LIBRARY_BAD_WEIGHTS : LIBRARY_OK), "%s", error);
    ck_assert_msg(!row->refusal || strstr(error, row->refusal), "'%s' has no '%s'", error, row->refusal);
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
    {DESCRIBED(64, NORM_GOOD, LONG("\"encoding\": \"mxfp4\""), GOOD, GOOD), "\"m\" must hold {iteration}"},
    {DESCRIBED(64, LONG("\"encoding\": \"mxfp4\""), CORRECTION_GOOD, GOOD, GOOD), "\"norm\" is a vector: \"mxfp4\""},
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
    tcase_add_loop_test(cases, checks_descriptions, 0, DESCRIPTIONS);
    suite_add_tcase(suite, cases);
    return suite;
}
