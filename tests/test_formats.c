// Formats of weights against tests/golden/formats.safetensors, which another decoder made (tests/golden/formats.py): single
// numbers, checkpoints with codes and scales in every layout, and what of them is refused.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/plan/text.h"
#include "panel.h"
#include "store.h"
#include "suites.h"

// The golden tensors' sizes.
enum { MATRICES = 2, ROWS = 300, COLUMNS = 200, BLOCK = 128, BLOCK_ROWS = 3, BLOCK_COLUMNS = 2, EXPERTS = 2 };

static const void *golden(const char *name, int64_t *count) {
    static Safetensors *tensors;
    char error[512] = "";
    Failure failure = {error, sizeof error};
    ck_assert_msg(tensors || !safetensors_open("tests/golden/formats.safetensors", &tensors, &failure), "%s", error);
    const SafetensorsEntry *entry = safetensors_find(tensors, name);
    ck_assert_msg(entry != NULL, "no golden tensor '%s'", name);
    *count = entry->bytes / store_bytes_of(entry->dtype);
    return entry->data;
}

static void expect_bits(float got, float due, const char *what, int64_t i) {
    if (memcmp(&got, &due, sizeof got)) {  // an assertion for each element would take minutes
        ck_abort_msg("%s, element %lld: %a instead of %a", what, (long long)i, (double)got, (double)due);
    }
}

// --- single numbers --------------------------------------------------------------------------------------------------------------

static const struct {
    const char *dtype;
    Format format;
    Number number;
} plain[] = {{"F32", FORMAT_FP32, NUMBER_FP32}, {"BF16", FORMAT_BF16, NUMBER_BF16}, {"F16", FORMAT_FP16, NUMBER_FP16}};
enum { PLAIN = sizeof plain / sizeof *plain };

static const void *golden_of(const char *before, const char *dtype, const char *after, int64_t *count) {
    char name[64];
    snprintf(name, sizeof name, "%s.%s%s", before, dtype, after);
    return golden(name, count);
}

// Numbers of a dtype as one matrix of `inputs` columns, in both orders: they are packed as they are.
START_TEST(numbers_stay) {
    static const int64_t widths[] = {1, 2, 3, 64, 65, 131};
    int64_t count, rows, number = _i % PLAIN, inputs = widths[_i / PLAIN];
    const void *data = golden_of("numbers", plain[number].dtype, "", &count);
    const float *values = golden_of("numbers", plain[number].dtype, ".values", &count);
    rows = count / inputs;
    Kind kind = store_kind(inputs, rows, plain[number].format);
    uint8_t *memory = calloc(1, (size_t)kind.plan.layout.instance_bytes);
    ck_assert_ptr_nonnull(memory);
    for (int in_out = 0; in_out < 2; in_out++) {
        PackedSource source = {.data = data, .number = plain[number].number};
        source.row_step = in_out ? 1 : inputs;
        source.column_step = in_out ? rows : 1;
        ck_assert_int_eq(packed_matrix(&kind.plan, memory, TENSOR_UP, 1, &source), -1);
        for (int64_t i = 0; i < rows * inputs; i++) {
            float got = packed_get(&kind.plan, memory, TENSOR_UP, 1, i / inputs, i % inputs);
            expect_bits(got, values[i / inputs * source.row_step + i % inputs * source.column_step], plain[number].dtype, i);
        }
    }
    free(memory);
}
END_TEST

// What values are packed as: golden codes. Beside the largest code of fp8_e4m3 its scale is 1.
START_TEST(values_are_rounded) {
    static const struct {
        const char *dtype;
        Format format;
        float largest;  // that has a code
    } rows[] = {{"BF16", FORMAT_BF16, 0x1.fep127f}, {"F16", FORMAT_FP16, 65504}, {"U8", FORMAT_FP8_E4M3, 448}};
    static const int column = 9;
    int64_t count, checked = 0, size = store_bytes_of(rows[_i].dtype);
    const float *values = golden("round", &count);
    const uint8_t *codes = golden_of("round", rows[_i].dtype, "", &count);
    uint8_t panel[256] = {0};
    for (int64_t i = 0; i < count; i++) {
        if (fabsf(values[i]) <= rows[_i].largest) {
            const float pair[] = {values[i], format_facts[rows[_i].format].group ? rows[_i].largest : 0};
            FormatRun run = {.depth = 2, .count = 1, .columns = &column, .values = pair, .stride = 2};
            format_pack(rows[_i].format, panel, &run);
            const uint8_t *code = panel + (size == 1 ? 128 + 4 * column : _i == 0 ? 4 * column : 2 * column);
            ck_assert_msg(!memcmp(code, codes + i * size, (size_t)size), "%s: %a", rows[_i].dtype, (double)values[i]);
            checked++;
        }
    }
    ck_assert_int_gt(checked, 1000);
}
END_TEST

// --- codes with scales -----------------------------------------------------------------------------------------------------------

static const struct {
    const char *dtype;
    int64_t bytes;
} scale_types[] = {{"F32", 4}, {"BF16", 2}, {"F8_E8M0", 1}};
enum { SCALE_TYPES = sizeof scale_types / sizeof *scale_types };
typedef enum Stacking { SEPARATE, STACKED, MERGED, STACKING_COUNT } Stacking;

// A checkpoint of golden codes: an expert's tensor is a corner of one of the golden matrices, as it is stored.
typedef struct Case {
    Kind kind;
    const char *dtype;  // of the scales
    Stacking stacking;
    const uint8_t *codes, *scales;
    const float *values;
    int64_t scale_bytes;
    Store store;
} Case;

// Stored rows and columns of a tensor's matrices.
typedef struct Extent {
    int64_t rows, columns;
    bool in_out;
    int which;  // golden matrix of expert 0
} Extent;

static Extent extent_of(const Case *c, Tensor tensor) {
    const TensorSource *layout = &c->kind.checkpoint.tensors[tensor];
    PackedShape shape;
    ck_assert(packed_shape(&c->kind.plan, tensor, &shape));
    int64_t rows = layout->rows == ROWS_ALL ? shape.rows : 2 * shape.rows;
    bool in_out = layout->order == ORDER_IN_OUT;
    Extent extent = {in_out ? shape.columns : rows, in_out ? rows : shape.columns, in_out,
                     tensor == TENSOR_UP && layout->rows == ROWS_ALL};
    ck_assert(extent.rows <= ROWS && extent.columns <= COLUMNS);
    return extent;
}

static int64_t blocks_of(int64_t length) {
    return (length + BLOCK - 1) / BLOCK;
}

// Announces a tensor: one expert's, or all experts'.
static void announce(Case *c, const char *pattern, const char *suffix, int64_t expert, const char *dtype, int64_t rows,
                     int64_t columns) {
    char name[64];
    const char *place = strchr(pattern, '{');
    if (place) {
        snprintf(name, sizeof name, "%.*s%lld%s%s", (int)(place - pattern), pattern, (long long)expert, strchr(place, '}') + 1,
                 suffix);
    } else {
        snprintf(name, sizeof name, "%s%s", pattern, suffix);
    }
    const int64_t shape[] = {EXPERTS, rows, columns}, merged[] = {EXPERTS * rows, columns};
    if (c->stacking == MERGED) {
        store_tensor(&c->store, name, dtype, merged, 2);
    } else {
        store_tensor(&c->store, name, dtype, shape + (c->stacking == SEPARATE), 3 - (c->stacking == SEPARATE));
    }
}

static void store_codes(Case *c, Tensor tensor) {
    const char *pattern = c->kind.checkpoint.tensors[tensor].pattern;
    Extent extent = extent_of(c, tensor);
    for (int expert = 0; expert < EXPERTS; expert++) {
        if (c->stacking == SEPARATE || !expert) {
            announce(c, pattern, "", expert, "F8_E4M3", extent.rows, extent.columns);
        }
        const uint8_t *matrix = c->codes + (extent.which + expert) % MATRICES * ROWS * COLUMNS;
        for (int64_t r = 0; r < extent.rows; r++) {
            fwrite(matrix + r * COLUMNS, 1, (size_t)extent.columns, c->store.data);
        }
    }
    for (int expert = 0; expert < EXPERTS; expert++) {
        if (c->stacking == SEPARATE || !expert) {
            announce(c, pattern, "_scale_inv", expert, c->dtype, blocks_of(extent.rows), blocks_of(extent.columns));
        }
        const uint8_t *scales = c->scales + (extent.which + expert) % MATRICES * BLOCK_ROWS * BLOCK_COLUMNS * c->scale_bytes;
        for (int64_t r = 0; r < blocks_of(extent.rows); r++) {
            fwrite(scales + r * BLOCK_COLUMNS * c->scale_bytes, (size_t)c->scale_bytes, (size_t)blocks_of(extent.columns),
                   c->store.data);
        }
    }
}

static int other_rows(int rows) {
    static const int other[] = {ROWS_ALL, ROWS_SECOND_HALF, ROWS_FIRST_HALF, ROWS_ODD, ROWS_EVEN};
    return other[rows];
}

static void name_tensor(Case *c, Tensor tensor, const char *name, int rows, int order) {
    TensorSource *source = &c->kind.checkpoint.tensors[tensor];
    *source = (TensorSource){.rows = rows, .order = order, .encoding = ENCODING_FP8_E4M3};
    snprintf(source->pattern, sizeof source->pattern, "%s%s", name, c->stacking == SEPARATE ? ".{expert}.w" : "");
}

// Gate and up share a tensor unless they have all of its rows. The router is fp32, zeros.
static void case_begin(Case *c, Format format, int64_t hidden, int64_t intermediate, int rows, int order, int scale_type) {
    int64_t count;
    Kind all = store_kind(hidden, intermediate, format);
    c->kind = all;
    c->kind.plan.layer = (Layer){.hidden = hidden,
                                 .iterations = 1,
                                 .experts = EXPERTS,
                                 .intermediate = intermediate,
                                 .top_k = 1,
                                 .gated = 1,
                                 .weights = (int32_t)format};
    plan_layout(&c->kind.plan);
    c->dtype = scale_types[scale_type].dtype;
    c->scale_bytes = scale_types[scale_type].bytes;
    c->codes = golden("codes", &count);
    c->scales = golden_of("scales", c->dtype, "", &count);
    c->values = golden_of("values", c->dtype, "", &count);
    bool tall = hidden <= ROWS && intermediate <= COLUMNS;
    name_tensor(c, TENSOR_GATE, "gate", rows, order);
    name_tensor(c, TENSOR_UP, rows == ROWS_ALL ? "up" : "gate", other_rows(rows), order);
    name_tensor(c, TENSOR_DOWN, "down", ROWS_ALL, order == ORDER_OUT_IN && tall ? ORDER_OUT_IN : ORDER_IN_OUT);
    strcpy(c->kind.checkpoint.tensors[TENSOR_ROUTER].pattern, "router");
    store_begin(&c->store);
    store_tensor(&c->store, "router", "F32", (int64_t[]){EXPERTS, hidden}, 2);
    for (int64_t i = 0; i < EXPERTS * hidden; i++) {
        store_number(&c->store, "F32", 0);
    }
    store_codes(c, TENSOR_GATE);
    if (rows == ROWS_ALL) {
        store_codes(c, TENSOR_UP);
    }
    store_codes(c, TENSOR_DOWN);
    store_open(&c->store);
}

// Where an element of a matrix is stored: its golden matrix, row and column.
typedef struct Spot {
    int64_t matrix, row, column;
} Spot;

static Spot spot_of(Extent extent, int rows, int64_t expert, int64_t row, int64_t column) {
    int64_t height = extent.in_out ? extent.columns : extent.rows, stored = row;
    switch (rows) {
    case ROWS_SECOND_HALF: stored = height / 2 + row; break;
    case ROWS_EVEN: stored = 2 * row; break;
    case ROWS_ODD: stored = 2 * row + 1; break;
    default: break;
    }
    int64_t matrix = (extent.which + expert) % MATRICES;
    return extent.in_out ? (Spot){matrix, column, stored} : (Spot){matrix, stored, column};
}

static int64_t block_of(Spot s) {
    return (s.matrix * BLOCK_ROWS + s.row / BLOCK) * BLOCK_COLUMNS + s.column / BLOCK;
}

// The layout that templates/formats/fp8_e4m3.h documents, spelled out once more: the code's byte is the checkpoint's, and 2^-120 of
// what stands in front of the group is the checkpoint's scale.
static bool is_kept(const Case *c, Tensor tensor, int64_t expert, int64_t row, int64_t k, Spot s, const uint8_t *memory) {
    const Role *role = &c->kind.plan.roles[tensor == TENSOR_DOWN ? ROLE_DOWN : ROLE_GATE_UP];
    int64_t column = tensor == TENSOR_DOWN ? row : row / 8 * 16 + (tensor == TENSOR_UP ? 8 : 0) + row % 8;
    const uint8_t *panel =
        memory + role->layout.offset + expert * role->layout.matrix_bytes + column / 32 * role->layout.panel_bytes;
    const uint8_t *group = panel + k / 128 * (32 * 4 + 32 * 128);
    uint8_t code = group[32 * 4 + k % 128 / 4 * 128 + column % 32 * 4 + k % 4];
    const uint8_t *stored = c->scales + block_of(s) * c->scale_bytes;
    uint16_t half;
    double due = ldexp(1, *stored - 127);
    if (c->scale_bytes > 1) {
        memcpy(&half, stored + c->scale_bytes - 2, sizeof half);
        uint32_t bits = (uint32_t)half << 16;
        float number;
        memcpy(&bits, stored, c->scale_bytes == 4 ? 4 : 0);
        memcpy(&number, &bits, sizeof number);
        due = (double)number;
    }
    float scale = ((const float *)(const void *)group)[column % 32];
    return code == c->codes[(s.matrix * ROWS + s.row) * COLUMNS + s.column] && (double)scale * 0x1p-120 == due;
}

static void check_case(const Case *c, const uint8_t *memory) {
    static const Tensor tensors[] = {TENSOR_GATE, TENSOR_UP, TENSOR_DOWN};
    for (int64_t t = 0; t < 3 * EXPERTS; t++) {
        PackedShape shape;
        Tensor tensor = tensors[t / EXPERTS];
        ck_assert(packed_shape(&c->kind.plan, tensor, &shape));
        Extent extent = extent_of(c, tensor);
        for (int64_t i = 0; i < shape.rows * shape.columns; i++) {
            int64_t row = i / shape.columns, k = i % shape.columns;
            Spot s = spot_of(extent, c->kind.checkpoint.tensors[tensor].rows, t % EXPERTS, row, k);
            uint8_t code = c->codes[(s.matrix * ROWS + s.row) * COLUMNS + s.column];
            float got = packed_get(&c->kind.plan, memory, tensor, t % EXPERTS, row, k);
            expect_bits(got, c->values[block_of(s) * 256 + code], layer_tensor_key(tensor), i);
            if (shape.format == FORMAT_FP8_E4M3 && !is_kept(c, tensor, t % EXPERTS, row, k, s, memory)) {
                ck_abort_msg("%s, element %lld: code or scale is not the checkpoint's", layer_tensor_key(tensor), (long long)i);
            }
        }
    }
}

static Status pack_case(const Case *c, uint8_t *memory, char error[512]) {
    Failure failure = {error, 512};
    Status status = weights_check(&c->kind, 1, c->store.tensors, &failure);
    memset(memory, 0xff, (size_t)c->kind.plan.layout.instance_bytes);
    return status == LIBRARY_OK ? weights_pack_instance(&c->kind, 0, c->store.tensors, 1, memory, &failure) : status;
}

static uint8_t *new_memory(const Case *c) {
    uint8_t *memory = aligned_alloc(4096, (size_t)c->kind.plan.layout.instance_bytes);
    ck_assert_ptr_nonnull(memory);
    return memory;
}

// fp32 holds every product; fp8_e4m3 keeps codes and scales.
START_TEST(codes_and_scales_stay) {
    static const int64_t sizes[][2] = {{1, 1}, {2, 3}, {129, 64}, {200, 100}, {200, 150}, {128, 200}, {200, 300}};
    static const Format formats[] = {FORMAT_FP32, FORMAT_FP8_E4M3};
    int rows = _i % STORE_ROWS, order = _i / STORE_ROWS % TENSOR_ORDER_COUNT;
    int rest = _i / STORE_ROWS / TENSOR_ORDER_COUNT, cases = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int64_t hidden = sizes[i][0], height = (rows == ROWS_ALL ? 1 : 2) * sizes[i][1];
        bool fits = order == ORDER_OUT_IN ? height <= ROWS && hidden <= COLUMNS : height <= COLUMNS && hidden <= ROWS;
        for (int f = 0; f < 2 && fits; f++) {
            char error[512] = "";
            Case c = {.stacking = (Stacking)(rest / SCALE_TYPES)};
            case_begin(&c, formats[f], hidden, sizes[i][1], rows, order, rest % SCALE_TYPES);
            uint8_t *memory = new_memory(&c);
            ck_assert_msg(pack_case(&c, memory, error) == LIBRARY_OK, "%s", error);
            check_case(&c, memory);
            free(memory);
            store_free(&c.store);
            cases++;
        }
    }
    ck_assert_int_ge(cases, 8);
}
END_TEST

// --- what is refused
// ---------------------------------------------------------------------------------------------------------------

// A tensor's element replaced, and what is said of it. The matrices are 150 x 200 of fp8_e4m3, gate and up in one tensor by halves.
static const struct {
    const char *tensor;
    int64_t index;
    uint32_t bits;
    int scale_type;
    const char *message;
} refusals[] = {
    {"gate", 300 * 200 + 170 * 200 + 3, 0x7f, 0, "tensor 'gate' (up 1 of layer 'moe.0') has a NaN at row 20, column 3"},
    {"gate", 5, 0xff, 0, "tensor 'gate' (gate 0 of layer 'moe.0') has a NaN at row 0, column 5"},
    {"gate_scale_inv", 6 + 4, 0x7fc00000, 0,
     "w.safetensors: tensor 'gate_scale_inv' (up 1 of layer 'moe.0') has a NaN, where a finite number is expected, as the scale of "
     "row 106, column 0"},
    {"gate_scale_inv", 1, 0xff800000, 0, "has an infinity, where a finite number is expected, as the scale of row 0, column 128"},
    {"gate_scale_inv", 1, 0x7f80, 1, "has an infinity, where a finite number is expected, as the scale of row 0, column 128"},
    {"gate_scale_inv", 0, 0xff, 2, "tensor 'gate_scale_inv' (gate 0 of layer 'moe.0') has a NaN, where"},
    {"gate_scale_inv", 0, 0x7d000000, 0,
     "tensor 'gate' (gate 0 of layer 'moe.0') has a code whose product with its scale, 1.06338e+37"},
    {"gate_scale_inv", 0, 254, 2, "has a code whose product with its scale, 1.70141e+38, is beyond fp8_e4m3's range, at row"},
};
enum { REFUSALS = sizeof refusals / sizeof *refusals };

static void overwrite(const Case *c, const char *name, int64_t index, uint32_t bits) {
    const SafetensorsEntry *entry = safetensors_find(c->store.tensors, name);
    ck_assert_ptr_nonnull(entry);
    int64_t size = store_bytes_of(entry->dtype);
    memcpy(c->store.file + (entry->data - c->store.file) + index * size, &bits, (size_t)size);
}

static void expect_refusal(const Case *c, const char *message) {
    char error[512] = "";
    uint8_t *memory = new_memory(c);
    ck_assert_int_eq(pack_case(c, memory, error), LIBRARY_BAD_WEIGHTS);
    ck_assert_msg(strstr(error, message), "'%s' has no '%s'", error, message);
    free(memory);
}

START_TEST(refuses_codes_and_scales) {
    Case c = {.stacking = STACKED};
    case_begin(&c, FORMAT_FP8_E4M3, 200, 150, ROWS_FIRST_HALF, ORDER_OUT_IN, refusals[_i].scale_type);
    overwrite(&c, refusals[_i].tensor, refusals[_i].index, refusals[_i].bits);
    expect_refusal(&c, refusals[_i].message);
    store_free(&c.store);
}
END_TEST

// Codes that are all zero, with a scale that is a number, but too large for what the format keeps; fp32 takes them.
START_TEST(refuses_a_scale_that_it_cannot_keep) {
    for (int keeps = 0; keeps < 2; keeps++) {
        char error[512] = "";
        Case c = {.stacking = SEPARATE};
        case_begin(&c, keeps ? FORMAT_FP32 : FORMAT_FP8_E4M3, 20, 20, ROWS_ALL, ORDER_IN_OUT, 0);
        for (int64_t i = 0; i < 20 * 20; i++) {
            overwrite(&c, "up.1.w", i, i % 2 ? 0x80 : 0);
        }
        overwrite(&c, "up.1.w_scale_inv", 0, 0x43800000);  // 256
        uint8_t *memory = new_memory(&c);
        if (keeps) {
            ck_assert_msg(pack_case(&c, memory, error) == LIBRARY_OK, "%s", error);
        } else {
            expect_refusal(&c,
                           "w.safetensors: tensor 'up.1.w_scale_inv' (up 1 of layer 'moe.0') has 256, which is beyond "
                           "fp8_e4m3's range, as the scale of row 0, column 0; weights of format fp32 hold it");
            overwrite(&c, "up.1.w_scale_inv", 0, 0x437fffff);  // the number before
            ck_assert_msg(pack_case(&c, memory, error) == LIBRARY_OK, "%s", error);
        }
        free(memory);
        store_free(&c.store);
    }
}
END_TEST

Suite *suite_formats(void) {
    Suite *suite = suite_create("formats");
    TCase *cases = tcase_create("formats");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_loop_test(cases, numbers_stay, 0, 6 * PLAIN);
    tcase_add_loop_test(cases, values_are_rounded, 0, 3);
    tcase_add_loop_test(cases, codes_and_scales_stay, 0, STORE_ROWS * (int)TENSOR_ORDER_COUNT * SCALE_TYPES * (int)STACKING_COUNT);
    tcase_add_loop_test(cases, refuses_codes_and_scales, 0, REFUSALS);
    tcase_add_test(cases, refuses_a_scale_that_it_cannot_keep);
    suite_add_tcase(suite, cases);
    return suite;
}
