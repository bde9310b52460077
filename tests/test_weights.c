// Packing tensors of checkpoints in every layout that a description can name, against an element formula; and values that are
// refused.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/plan/text.h"
#include "store.h"
#include "suites.h"

typedef enum Stacking { SEPARATE, STACKED, MERGED, STACKING_COUNT } Stacking;

// Tensor t is named "t<t>", with the number of its matrix where it has a tensor for each.
static bool is_separate(Tensor tensor, Stacking stacking) {
    return layer_tensor_per_iteration(tensor) || stacking == SEPARATE;
}

static void name_tensors(Kind *kind, Stacking stacking, const TensorSource *layout) {
    for (Tensor tensor = 0; tensor < TENSOR_COUNT; tensor++) {
        PackedShape shape;
        ck_assert(packed_shape(&kind->plan, tensor, &shape));
        TensorSource *source = &kind->checkpoint.tensors[tensor];
        *source = *layout;
        const char *place = layer_tensor_per_iteration(tensor) ? ".{iteration}" : ".{expert}";
        snprintf(source->pattern, sizeof source->pattern, "t%d%s", tensor,
                 shape.matrices > 1 && is_separate(tensor, stacking) ? place : "");
        if (shape.vector) {
            source->order = ORDER_OUT_IN;
        }
    }
}

static void name_of(Tensor tensor, int64_t matrices, int64_t matrix, const char *suffix, char name[32]) {
    if (matrices > 1) {
        snprintf(name, 32, "t%d.%lld%s", tensor, (long long)matrix, suffix);
    } else {
        snprintf(name, 32, "t%d%s", tensor, suffix);
    }
}

static uint8_t *new_memory(const Plan *plan) {
    uint8_t *memory = aligned_alloc(4096, (size_t)plan->layout.instance_bytes);
    ck_assert_ptr_nonnull(memory);
    memset(memory, 0xff, (size_t)plan->layout.instance_bytes);
    return memory;
}

// --- layouts of plain tensors ------------------------------------------------------------------------------------------------

enum { FOREIGN = 640 };  // in rows that are another matrix's

// Exact in every format, with 0.5 added too.
static float value_of(int64_t tensor, int64_t matrix, int64_t row, int64_t column) {
    return (float)((tensor * 7 + matrix * 31 + row * 5 + column * 3) % 241 - 120);
}

// The matrix's row that a stored row is, or -1.
static int64_t row_of(int rows, int64_t stored, int64_t height) {
    switch (rows) {
    case ROWS_FIRST_HALF: return stored < height ? stored : -1;
    case ROWS_SECOND_HALF: return stored >= height ? stored - height : -1;
    case ROWS_EVEN: return stored % 2 ? -1 : stored / 2;
    case ROWS_ODD: return stored % 2 ? stored / 2 : -1;
    default: return stored;
    }
}

static void store_matrix(Store *store, Tensor tensor, int64_t matrix, const TensorSource *layout, const PackedShape *shape,
                         const char *dtype) {
    int64_t rows = layout->rows == ROWS_ALL ? shape->rows : 2 * shape->rows;
    bool in_out = layout->order == ORDER_IN_OUT;
    for (int64_t a = 0; a < (in_out ? shape->columns : rows); a++) {
        for (int64_t b = 0; b < (in_out ? rows : shape->columns); b++) {
            int64_t row = row_of(layout->rows, in_out ? b : a, shape->rows);
            store_number(store, dtype, row < 0 ? (float)FOREIGN : value_of(tensor, matrix, row, in_out ? a : b));
        }
    }
}

static void write_kind(Store *store, const Kind *kind, Stacking stacking, const char *dtype) {
    for (Tensor tensor = 0; tensor < TENSOR_COUNT; tensor++) {
        PackedShape shape;
        ck_assert(packed_shape(&kind->plan, tensor, &shape));
        const TensorSource *layout = &kind->checkpoint.tensors[tensor];
        int64_t files = is_separate(tensor, stacking) ? shape.matrices : 1, together = shape.matrices / files;
        int64_t rows = layout->rows == ROWS_ALL ? shape.rows : 2 * shape.rows, lengths[3];
        bool in_out = layout->order == ORDER_IN_OUT;
        int rank = 0;
        if (together > 1 && stacking == STACKED) {
            lengths[rank++] = together;
        }
        lengths[rank++] = (in_out ? shape.columns : rows) * (stacking == MERGED ? together : 1);
        if (!shape.vector) {
            lengths[rank++] = in_out ? rows : shape.columns;
        }
        for (int64_t f = 0; f < files; f++) {
            char name[32];
            name_of(tensor, files, f, "", name);
            store_tensor(store, name, dtype, lengths, rank);
            for (int64_t m = 0; m < together; m++) {
                store_matrix(store, tensor, f + m, layout, &shape, dtype);
            }
        }
    }
}

static uint8_t *pack(const Kind *kind, const Safetensors *tensors) {
    char error[512] = "";
    Failure failure = {error, sizeof error};
    uint8_t *memory = new_memory(&kind->plan);
    ck_assert_msg(weights_check(kind, 1, tensors, &failure) == LIBRARY_OK, "%s", error);
    ck_assert_msg(weights_pack_instance(kind, 0, tensors, 1, memory, &failure) == LIBRARY_OK, "%s", error);
    return memory;
}

static void check_packed(const Kind *kind, const uint8_t *memory, float add) {
    for (Tensor tensor = 0; tensor < TENSOR_COUNT; tensor++) {
        PackedShape shape;
        ck_assert(packed_shape(&kind->plan, tensor, &shape));
        for (int64_t i = 0; i < shape.matrices * shape.rows * shape.columns; i++) {
            int64_t matrix = i / shape.columns / shape.rows, row = i / shape.columns % shape.rows, column = i % shape.columns;
            float wanted = value_of(tensor, matrix, row, column) + add;
            float found = packed_get(&kind->plan, memory, tensor, matrix, row, column);
            if (wanted != found) {  // an assertion for each element would take minutes
                ck_abort_msg("tensor %d, matrix %lld, row %lld, column %lld: %g instead of %g", tensor, (long long)matrix,
                             (long long)row, (long long)column, (double)found, (double)wanted);
            }
        }
    }
}

static const char *const dtypes[] = {"F32", "F16", "BF16"};
enum { DTYPES = sizeof dtypes / sizeof *dtypes, LAYOUTS = STORE_ROWS * (int)TENSOR_ORDER_COUNT * DTYPES * (int)STACKING_COUNT };

START_TEST(packs_every_layout) {
    static const int64_t sizes[][2] = {{70, 17}, {9, 65}};
    TensorSource layout = {.rows = _i % STORE_ROWS, .order = _i / STORE_ROWS % TENSOR_ORDER_COUNT};
    int rest = _i / STORE_ROWS / TENSOR_ORDER_COUNT;
    const char *dtype = dtypes[rest % DTYPES];
    Stacking stacking = (Stacking)(rest / DTYPES);
    static const Format formats[] = {FORMAT_FP32, FORMAT_BF16, FORMAT_FP16};
    for (int variant = 0; variant < 6; variant++) {
        Kind kind = store_kind(sizes[variant / 3][0], sizes[variant / 3][1], formats[variant % 3]);
        layout.add = variant % 2 ? 0.5f : 0;
        name_tensors(&kind, stacking, &layout);
        Store store;
        store_begin(&store);
        write_kind(&store, &kind, stacking, dtype);
        uint8_t *memory = pack(&kind, store_open(&store));
        check_packed(&kind, memory, layout.add);
        free(memory);
        store_free(&store);
    }
}
END_TEST

// --- mxfp4 -------------------------------------------------------------------------------------------------------------------

enum { BLOCK = 32, MXFP4_LAYOUTS = STORE_ROWS * (int)STACKING_COUNT };

static const int exponents[] = {0, 1, 100, 127, 128, 200, 254};

static int exponent_of(int64_t tensor, int64_t matrix, int64_t row, int64_t column) {
    return exponents[(tensor + matrix + row + column / BLOCK) % (int64_t)(sizeof exponents / sizeof *exponents)];
}

// All 16 codes, but 2 and more do not go with the largest scale.
static int code_of(int64_t tensor, int64_t matrix, int64_t row, int64_t column) {
    int code = (int)((tensor + 3 * matrix + 5 * row + 7 * column) % 16);
    return exponent_of(tensor, matrix, row, column) == 254 ? code & 11 : code;
}

// E2M1 from its definition: sign, two bits of exponent with bias 1, one bit of fraction.
static float mxfp4_value(int64_t tensor, int64_t matrix, int64_t row, int64_t column) {
    int code = code_of(tensor, matrix, row, column), exponent = code >> 1 & 3;
    double magnitude = exponent ? ldexp(1 + (code & 1) * 0.5, exponent - 1) : (code & 1) * 0.5;
    return (float)ldexp(code & 8 ? -magnitude : magnitude, exponent_of(tensor, matrix, row, column) - 127);
}

static void store_codes(Store *store, Tensor tensor, int64_t matrix, int rows, const PackedShape *shape) {
    for (int64_t s = 0; s < (rows == ROWS_ALL ? 1 : 2) * shape->rows; s++) {
        int64_t row = row_of(rows, s, shape->rows);
        for (int64_t c = 0; c < shape->columns; c += 2) {
            fputc(row < 0 ? 0x77 : code_of(tensor, matrix, row, c) | code_of(tensor, matrix, row, c + 1) << 4, store->data);
        }
    }
}

static void store_exponents(Store *store, Tensor tensor, int64_t matrix, int rows, const PackedShape *shape) {
    for (int64_t s = 0; s < (rows == ROWS_ALL ? 1 : 2) * shape->rows; s++) {
        int64_t row = row_of(rows, s, shape->rows);
        for (int64_t c = 0; c < shape->columns; c += BLOCK) {
            fputc(row < 0 ? 131 : exponent_of(tensor, matrix, row, c), store->data);
        }
    }
}

// The matrices of a kind in mxfp4, its vectors in fp32.
static void store_mxfp4(Store *store, const Kind *kind, Stacking stacking) {
    for (Tensor tensor = 0; tensor < TENSOR_COUNT; tensor++) {
        PackedShape shape;
        ck_assert(packed_shape(&kind->plan, tensor, &shape));
        int rows = kind->checkpoint.tensors[tensor].rows;
        int64_t height = (rows == ROWS_ALL ? 1 : 2) * shape.rows;
        int64_t files = is_separate(tensor, stacking) ? shape.matrices : 1, together = shape.matrices / files;
        for (int64_t f = 0; f < files; f++) {
            char name[32];
            int64_t merged[] = {together * height, shape.columns / BLOCK, BLOCK / 2};
            int64_t stacked[] = {together, height, shape.columns / BLOCK, BLOCK / 2};
            bool leading = stacking == STACKED;
            if (shape.vector) {
                name_of(tensor, files, f, "", name);
                store_tensor(store, name, "F32", leading ? stacked : merged, leading ? 2 : 1);
            } else {
                name_of(tensor, files, f, "_blocks", name);
                store_tensor(store, name, "U8", leading ? stacked : merged, leading ? 4 : 3);
            }
            for (int64_t m = f; m < f + together; m++) {
                if (shape.vector) {
                    store_matrix(store, tensor, m, &kind->checkpoint.tensors[tensor], &shape, "F32");
                } else {
                    store_codes(store, tensor, m, rows, &shape);
                }
            }
            if (!shape.vector) {
                name_of(tensor, files, f, "_scales", name);
                store_tensor(store, name, "U8", leading ? stacked : merged, leading ? 3 : 2);
            }
            for (int64_t m = f; m < f + together && !shape.vector; m++) {
                store_exponents(store, tensor, m, rows, &shape);
            }
        }
    }
}

static void name_mxfp4(Kind *kind, Stacking stacking, int rows) {
    TensorSource layout = {.rows = rows, .encoding = ENCODING_MXFP4};
    name_tensors(kind, stacking, &layout);
    for (Tensor tensor = 0; tensor < TENSOR_COUNT; tensor++) {
        PackedShape shape;
        if (packed_shape(&kind->plan, tensor, &shape) && shape.vector) {
            kind->checkpoint.tensors[tensor].encoding = ENCODING_PLAIN;
        }
    }
}

START_TEST(packs_mxfp4) {
    for (int format = FORMAT_FP32; format <= FORMAT_BF16; format++) {  // they hold every number of mxfp4 exactly
        Kind kind = store_kind(96, 64, (Format)format);
        Stacking stacking = (Stacking)(_i / STORE_ROWS);
        name_mxfp4(&kind, stacking, _i % STORE_ROWS);
        Store store;
        store_begin(&store);
        store_mxfp4(&store, &kind, stacking);
        uint8_t *memory = pack(&kind, store_open(&store));
        int64_t codes[16] = {0};
        for (Tensor tensor = 0; tensor < TENSOR_COUNT; tensor++) {
            PackedShape shape;
            ck_assert(packed_shape(&kind.plan, tensor, &shape));
            for (int64_t i = 0; i < shape.matrices * shape.rows * shape.columns && !shape.vector; i++) {
                int64_t matrix = i / shape.columns / shape.rows, row = i / shape.columns % shape.rows, column = i % shape.columns;
                float wanted = mxfp4_value(tensor, matrix, row, column);
                float found = packed_get(&kind.plan, memory, tensor, matrix, row, column);
                if (memcmp(&wanted, &found, sizeof found)) {
                    ck_abort_msg("tensor %d, %lld, %lld, %lld: %a instead of %a", tensor, (long long)matrix, (long long)row,
                                 (long long)column, (double)found, (double)wanted);
                }
                codes[code_of(tensor, matrix, row, column)]++;
            }
        }
        for (int code = 0; code < 16; code++) {
            ck_assert_int_gt(codes[code], 0);
        }
        free(memory);
        store_free(&store);
    }
}
END_TEST

// A single weight between two iterations may be a scalar.
START_TEST(reads_scalars) {
    Kind kind = store_kind(32, 5, FORMAT_FP32);
    kind.plan.layer.iterations = 2;
    plan_layout(&kind.plan);
    strcpy(kind.checkpoint.tensors[TENSOR_COE_WEIGHT].pattern, "x");
    for (int rank = 0; rank < 3; rank++) {
        char error[512] = "";
        Store store;
        store_begin(&store);
        store_tensor(&store, "x", "BF16", (int64_t[]){1, 1}, rank);
        store_number(&store, "BF16", 0.75f);
        Failure failure = {error, sizeof error};
        PackedSource source;
        ck_assert_msg(!weights_source(&kind, TENSOR_COE_WEIGHT, 0, 0, store_open(&store), &source, NULL, &failure), "%s", error);
        uint8_t *memory = new_memory(&kind.plan);
        ck_assert_int_eq(packed_matrix(&kind.plan, memory, TENSOR_COE_WEIGHT, 0, &source), -1);
        ck_assert_float_eq(((float *)(void *)(memory + kind.plan.layout.coe_weight_offset))[0], 0.75f);
        free(memory);
        store_free(&store);
    }
}
END_TEST

// --- values that are refused -------------------------------------------------------------------------------------------------

// Lays `bytes` over an element of a tensor and packs.
static Status pack_with(const Kind *kind, Store *store, const char *name, int64_t index, const void *bytes, size_t size,
                        char error[512]) {
    const SafetensorsEntry *entry = safetensors_find(store->tensors, name);
    ck_assert(entry && (index + 1) * (int64_t)size <= entry->bytes);
    uint8_t *element = store->file + (entry->data - store->file) + index * (int64_t)size, before[4];
    memcpy(before, element, size);
    memcpy(element, bytes, size);
    Failure failure = {error, 512};
    uint8_t *memory = new_memory(&kind->plan);
    Status status = weights_pack_instance(kind, 0, store->tensors, 1, memory, &failure);
    free(memory);
    memcpy(element, before, size);
    return status;
}

static void refused_with(const Kind *kind, Store *store, const char *name, int64_t index, const void *bytes, size_t size,
                         const char *message) {
    char error[512] = "";
    ck_assert_int_eq(pack_with(kind, store, name, index, bytes, size, error), LIBRARY_BAD_WEIGHTS);
    ck_assert_msg(strstr(error, message), "'%s' has no '%s'", error, message);
}

START_TEST(refuses_what_is_not_finite) {
    static const struct {
        uint16_t infinity, nan;
        const char *dtype;
    } rows[] = {{0x7c00, 0xfe01, "F16"}, {0xff80, 0x7f81, "BF16"}};
    Kind kind = store_kind(16, 9, FORMAT_BF16);
    name_tensors(&kind, STACKED, &(TensorSource){.rows = ROWS_ODD, .order = ORDER_IN_OUT});
    char name[32], norm[32], error[512];
    name_of(TENSOR_UP, 1, 0, "", name);
    name_of(TENSOR_NORM, 1, 0, "", norm);
    int64_t index = (2 * 16 + 3) * 18 + 2 * 4 + 1;  // expert 2, input 3, row 4 among the odd ones of 18
    for (int i = 0; i < DTYPES; i++) {
        Store store;
        store_begin(&store);
        write_kind(&store, &kind, STACKED, i < 2 ? rows[i].dtype : "F32");
        store_open(&store);
        float numbers[] = {-INFINITY, NAN, 0x1.ffp127f, 0x1.fefffep127f};
        const void *infinity = i < 2 ? (const void *)&rows[i].infinity : &numbers[0];
        const void *nan = i < 2 ? (const void *)&rows[i].nan : &numbers[1];
        size_t size = i < 2 ? 2 : 4;
        refused_with(&kind, &store, name, index, infinity, size, "(up 2 of layer 'moe.0') has an infinity at row 4, column 3");
        refused_with(&kind, &store, name, index, nan, size, "(up 2 of layer 'moe.0') has a NaN at row 4, column 3");
        refused_with(&kind, &store, norm, 2 * 15 + 1, infinity, size,
                     "(norm 0 of layer 'moe.0') has an infinity at row 15, column 0");
        ck_assert_int_eq(pack_with(&kind, &store, name, index - 1, infinity, size, error), LIBRARY_OK);  // in a row of nobody's
        if (i == 2) {
            refused_with(&kind, &store, name, index, &numbers[2], 4,
                         "has a value beyond bf16's range at row 4, column 3; weights of format fp32 hold it");
            ck_assert_int_eq(pack_with(&kind, &store, name, index, &numbers[3], 4, error), LIBRARY_OK);
            Kind wide = kind;
            wide.plan.layer.weights = FORMAT_FP32;
            plan_layout(&wide.plan);
            ck_assert_int_eq(pack_with(&wide, &store, name, index, &numbers[2], 4, error), LIBRARY_OK);
        }
        store_free(&store);
    }
}
END_TEST

START_TEST(refuses_mxfp4_beyond_range) {
    Kind kind = store_kind(64, 32, FORMAT_BF16);
    name_mxfp4(&kind, STACKED, ROWS_EVEN);
    char scales[32];
    name_of(TENSOR_UP, 1, 0, "_scales", scales);
    Store store;
    store_begin(&store);
    store_mxfp4(&store, &kind, STACKED);
    store_open(&store);
    int64_t row = 4, index = ((64 + 2 * row) * 2 + 1);  // expert 1, stored row 8, second block
    uint8_t scale = 255;
    refused_with(&kind, &store, scales, index, &scale, 1, "_blocks' (up 1 of layer 'moe.0') has a NaN at row 4, column 32");
    scale = 254;
    int64_t column = 32;
    while ((code_of(TENSOR_UP, 1, row, column) & 7) < 4) {  // the first that becomes too large
        column++;
    }
    char message[64];
    snprintf(message, sizeof message, "has an infinity at row 4, column %lld", (long long)column);
    refused_with(&kind, &store, scales, index, &scale, 1, message);
    store_free(&store);
}
END_TEST

Suite *suite_weights(void) {
    Suite *suite = suite_create("weights");
    TCase *layouts = tcase_create("layouts");
    tcase_set_timeout(layouts, TEST_TIMEOUT);
    tcase_add_loop_test(layouts, packs_every_layout, 0, LAYOUTS);
    tcase_add_loop_test(layouts, packs_mxfp4, 0, MXFP4_LAYOUTS);
    tcase_add_test(layouts, reads_scalars);
    tcase_add_test(layouts, refuses_what_is_not_finite);
    tcase_add_test(layouts, refuses_mxfp4_beyond_range);
    suite_add_tcase(suite, layouts);
    return suite;
}
