// Packed weights: the layout against a formula written from templates/plan.h, conversions, and the image's checks.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/plan/text.h"
#include "runtime/packed.h"
#include "suites.h"

static Kind make_kind(const char *name, int64_t hidden, int64_t intermediate, int gated, Format format) {
    Kind kind;
    memset(&kind, 0, sizeof kind);
    strcpy(kind.name, name);
    kind.count = 2;
    kind.plan.layer = (Layer){.hidden = hidden,
                              .iterations = 2,
                              .experts = 3,
                              .intermediate = intermediate,
                              .latent = hidden + 3,
                              .latent_norm = NORM_RMS,
                              .top_k = 2,
                              .shared_experts = 1,
                              .shared_intermediate = intermediate + 1,
                              .norm = NORM_LAYER,
                              .norm_bias = 1,
                              .post_norm = NORM_RMS,
                              .expert_scale = 1,
                              .output_bias = 1,
                              .output_scale = 1,
                              .residual_bias = 1,
                              .residual_scale = 1,
                              .coe_weight = 1,
                              .correction = 1,
                              .null_experts = 1,
                              .shared_gated = 1,
                              .router_bias = 1,
                              .gate_per_iteration = 1,
                              .gated = gated,
                              .expert_bias = 1,
                              .shared_bias = 1,
                              .weights = (int32_t)format,
                              .router_weights = FORMAT_FP32};
    kind.plan.roles[ROLE_ROUTER].path = PATH_FP32_FMA;
    plan_layout(&kind.plan);
    return kind;
}

static uint8_t *instance_memory(const Plan *plan, int fill) {
    uint8_t *memory = aligned_alloc(4096, (size_t)plan->layout.instance_bytes);
    ck_assert_ptr_nonnull(memory);
    memset(memory, fill, (size_t)plan->layout.instance_bytes);
    return memory;
}

// A value of its own for every element, exact in bf16.
static float value_of(int64_t tensor, int64_t matrix, int64_t row, int64_t column) {
    return (float)((tensor * 7 + matrix * 31 + row * 5 + column * 3) % 251 - 125);
}

static float *source_of(const PackedShape *shape, int tensor, int64_t matrix) {
    float *source = calloc((size_t)(shape->rows * shape->columns), sizeof *source);
    ck_assert_ptr_nonnull(source);
    for (int64_t i = 0; i < shape->rows * shape->columns; i++) {
        source[i] = value_of(tensor, matrix, i / shape->columns, i % shape->columns);
    }
    return source;
}

static int64_t pack_plain(const Plan *plan, uint8_t *instance, Tensor tensor, int64_t matrix, const float *data) {
    PackedShape shape;
    ck_assert(packed_shape(plan, tensor, &shape));
    PackedSource source = {.data = data, .number = NUMBER_FP32, .row_step = shape.columns, .column_step = 1};
    return packed_matrix(plan, instance, tensor, matrix, &source);
}

static const int64_t widths[] = {1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65, 129};
enum { WIDTHS = sizeof widths / sizeof *widths };

// Whole matrices and single elements agree for every tensor, and what no element covers is zero, whichever tensor comes first.
static void check_matrices(const Plan *plan, bool backwards) {
    uint8_t *fast = instance_memory(plan, 0), *slow = instance_memory(plan, 0);
    // padding must be written, not assumed: only the alignment gaps between sections may keep what was there
    for (int r = 0; r < ROLE_COUNT; r++) {
        const Role *role = &plan->roles[r];
        memset(fast + role->layout.offset, 0xff, (size_t)(role->layout.matrices * role->layout.matrix_bytes));
        if (role->layout.bias_offset >= 0) {
            memset(fast + role->layout.bias_offset, 0xff,
                   (size_t)(role->layout.matrices * role->layout.panels * PANEL_COLUMNS * 4));
        }
    }
    memset(fast + plan->layout.output_bias_offset, 0xff, (size_t)(plan->roles[ROLE_SHARED_DOWN].layout.panels * PANEL_COLUMNS * 4));
    memset(fast + plan->layout.correction_offset, 0xff,
           (size_t)(plan->roles[ROLE_ROUTER].layout.panels * plan->roles[ROLE_ROUTER].layout.matrices * 4 * 32));
    for (int i = 0; i < TENSOR_COUNT; i++) {
        int t = backwards ? TENSOR_COUNT - 1 - i : i;
        PackedShape shape;
        if (!packed_shape(plan, (Tensor)t, &shape)) {
            continue;
        }
        for (int64_t m = 0; m < shape.matrices; m++) {
            float *source = source_of(&shape, t, m);
            ck_assert_int_eq(pack_plain(plan, fast, (Tensor)t, m, source), -1);
            free(source);
            for (int64_t e = 0; e < shape.rows * shape.columns; e++) {
                int64_t row = e / shape.columns, column = e % shape.columns;
                packed_set(plan, slow, (Tensor)t, m, row, column, value_of(t, m, row, column));
                if (packed_get(plan, fast, (Tensor)t, m, row, column) != value_of(t, m, row, column)) {
                    ck_abort_msg("tensor %d, matrix %lld, row %lld, column %lld", t, (long long)m, (long long)row,
                                 (long long)column);
                }
            }
        }
    }
    ck_assert_int_eq(memcmp(fast, slow, (size_t)plan->layout.instance_bytes), 0);
    free(fast);
    free(slow);
}

START_TEST(packs_matrices) {
    int64_t width = widths[_i % WIDTHS];
    Format format = _i / WIDTHS % 2 ? FORMAT_BF16 : FORMAT_FP32;
    for (int64_t other = 0; other < WIDTHS; other += 3) {
        Kind kind = make_kind("sparse", width, widths[other], _i / WIDTHS / 2, format);
        kind.plan.layer.null_experts = width > 3 ? width - 3 : 0;  // so many choices; the shared expert's gate is the next column
        kind.plan.layer.router_weights = (int32_t)format;
        for (int variant = 0; variant < 4; variant++) {
            kind.plan.layer.shared_gated = variant % 2;
            plan_layout(&kind.plan);
            check_matrices(&kind.plan, variant / 2);
        }
    }
}
END_TEST

// The documented layout, spelled out once more: element addresses in a gated bf16 layer.
START_TEST(places_elements) {
    Kind kind = make_kind("sparse", 40, 24, 1, FORMAT_BF16);
    const Plan *plan = &kind.plan;
    const Role *role = &plan->roles[ROLE_GATE_UP];
    uint8_t *memory = instance_memory(plan, 0);
    packed_set(plan, memory, TENSOR_UP, 2, 19, 5, 1.5f);  // up row 19: group 2, so columns 40..47 hold it: panel 1, lane 11
    const uint16_t *panel =
        (const uint16_t *)(memory + role->layout.offset + 2 * role->layout.matrix_bytes + role->layout.panel_bytes);
    ck_assert_uint_eq(panel[(5 / 2) * 64 + 11 * 2 + 1], 0x3fc0);
    packed_set(plan, memory, TENSOR_GATE_BIAS, 1, 9, 0, 2.5f);  // gate row 9: group 1: column 17
    ck_assert_float_eq(((float *)(memory + role->layout.bias_offset))[1 * role->layout.panels * 32 + 17], 2.5f);
    packed_set(plan, memory, TENSOR_ROUTER, 1, 2, 39, 3.5f);  // fp32: [k][32]
    ck_assert_float_eq(
        ((float *)(memory + plan->roles[ROLE_ROUTER].layout.offset + plan->roles[ROLE_ROUTER].layout.matrix_bytes))[39 * 32 + 2],
        3.5f);
    const Role *router = &plan->roles[ROLE_ROUTER];
    for (int iteration = 0; iteration < 2; iteration++) {  // the shared expert's gate: the column after those of 4 choices, in both
        packed_set(plan, memory, TENSOR_SHARED_EXPERT_GATE, 0, 0, 7, 5.5f);
        const float *panels = (float *)(memory + router->layout.offset + iteration * router->layout.matrix_bytes);
        ck_assert_float_eq(panels[7 * 32 + 4], 5.5f);
    }
    packed_set(plan, memory, TENSOR_CORRECTION, 1, 3, 0, 6.5f);
    ck_assert_float_eq(((float *)(memory + plan->layout.correction_offset))[32 + 3], 6.5f);
    packed_set(plan, memory, TENSOR_COE_WEIGHT, 0, 0, 0, 7.5f);
    ck_assert_float_eq(((float *)(memory + plan->layout.coe_weight_offset))[0], 7.5f);
    packed_set(plan, memory, TENSOR_NORM_BIAS, 0, 3, 0, 4.5f);
    ck_assert_float_eq(((float *)(memory + plan->layout.norm_bias_offset))[3], 4.5f);
    packed_set(plan, memory, TENSOR_POST_NORM, 0, 39, 0, 8.5f);
    ck_assert_float_eq(((float *)(memory + plan->layout.post_norm_offset))[39], 8.5f);
    free(memory);
}
END_TEST

START_TEST(converts_numbers) {
    ck_assert_uint_eq(packed_bf16_from_float(1.0f), 0x3f80);
    ck_assert_uint_eq(packed_bf16_from_float(1.00390625f), 0x3f80);  // halfway, to even: down
    ck_assert_uint_eq(packed_bf16_from_float(1.01171875f), 0x3f82);  // halfway, to even: up
    ck_assert_uint_eq(packed_bf16_from_float(nextafterf(1.00390625f, 2)), 0x3f81);
    ck_assert_uint_eq(packed_bf16_from_float(-0.0f), 0x8000);
    ck_assert_uint_eq(packed_bf16_from_float(INFINITY), 0x7f80);
    ck_assert(isnan(packed_float_from_bf16(packed_bf16_from_float(NAN))));
    ck_assert_uint_eq(packed_bf16_from_float(0x1p-133f), 0x0001);  // a denormal stays
    for (int bits = 0; bits < 255; bits++) {
        ck_assert_float_eq(packed_float_from_e8m0((uint8_t)bits), ldexpf(1, bits - 127));
    }
    ck_assert(isnan(packed_float_from_e8m0(255)));
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        _Float16 half;
        uint16_t narrow = (uint16_t)bits;
        memcpy(&half, &narrow, sizeof half);
        float wanted = (float)half, got = packed_number_get(&narrow, 0, NUMBER_FP16);
        ck_assert(isnan(wanted) ? isnan(got) : !memcmp(&wanted, &got, sizeof got));
        float wide = packed_float_from_bf16(narrow);
        ck_assert(isnan(wide) || packed_bf16_from_float(wide) == narrow);
    }
}
END_TEST

// A vector of the router's reaches the columns of the shared experts' gates too: they have neither bias nor correction.
START_TEST(gates_of_shared_experts_have_no_bias) {
    Kind kind = make_kind("sparse", 8, 8, 1, FORMAT_FP32);
    const Plan *plan = &kind.plan;
    uint8_t *memory = instance_memory(plan, 0xff);
    float source[4] = {1, 2, 3, 4};
    for (int64_t gate = 0; gate < 2; gate++) {
        pack_plain(plan, memory, TENSOR_ROUTER_BIAS, gate, source);
        pack_plain(plan, memory, TENSOR_CORRECTION, gate, source);
        for (int column = 0; column < PANEL_COLUMNS; column++) {
            float wanted = column < 4 ? source[column] : 0;
            int64_t at = gate * PANEL_COLUMNS + column;
            ck_assert_float_eq(((float *)(memory + plan->roles[ROLE_ROUTER].layout.bias_offset))[at], wanted);
            ck_assert_float_eq(((float *)(memory + plan->layout.correction_offset))[at], wanted);
        }
    }
    free(memory);
}
END_TEST

START_TEST(finds_what_is_not_finite) {
    Kind kind = make_kind("sparse", 33, 9, 1, _i ? FORMAT_BF16 : FORMAT_FP32);
    uint8_t *memory = instance_memory(&kind.plan, 0);
    for (int t = 0; t < TENSOR_COUNT; t++) {
        PackedShape shape;
        ck_assert(packed_shape(&kind.plan, (Tensor)t, &shape));
        float *source = source_of(&shape, t, 0);
        for (int value = 0; value < 3; value++) {
            source[shape.rows * shape.columns - 1] = value ? value == 1 ? INFINITY : -INFINITY : NAN;
            bool excludes =
                (t == TENSOR_CORRECTION || t == TENSOR_ROUTER_BIAS) && value == 2;  // minus infinity: the choice is never made
            ck_assert_int_eq(pack_plain(&kind.plan, memory, (Tensor)t, 0, source), excludes ? -1 : shape.rows * shape.columns - 1);
        }
        free(source);
    }
    free(memory);
}
END_TEST

// --- the image ---------------------------------------------------------------------------------------------------------------

typedef struct Image {
    Kind kinds[2];
    uint8_t *bytes;
    size_t size;
    char error[256];
} Image;

static Image make_image(void) {
    Image image = {.kinds = {make_kind("sparse", 33, 9, 1, FORMAT_BF16), make_kind("dense", 16, 8, 0, FORMAT_FP32)}};
    image.kinds[1].plan.layer.gate_per_iteration = 0;
    plan_layout(&image.kinds[1].plan);
    image.size = (size_t)packed_image_bytes(image.kinds, 2);
    image.bytes = aligned_alloc(4096, image.size);
    ck_assert_ptr_nonnull(image.bytes);
    memset(image.bytes, 0, image.size);
    packed_image_begin(image.kinds, 2, image.bytes);
    for (int kind = 0; kind < 2; kind++) {
        for (int64_t i = 0; i < 2; i++) {
            packed_set(&image.kinds[kind].plan, packed_image_instance(image.bytes, kind, i), TENSOR_ROUTER, 0, 1, 2, 1.0f);
        }
    }
    packed_image_finish(image.bytes);
    return image;
}

static Status validate(Image *image, size_t size) {
    Failure failure = {image->error, sizeof image->error};
    return packed_image_validate(image->bytes, size, image->kinds, 2, &failure);
}

static void refused(Image *image, size_t size, const char *text) {
    ck_assert_int_eq(validate(image, size), LIBRARY_BAD_WEIGHTS);
    ck_assert_msg(strstr(image->error, text), "'%s' has no '%s'", image->error, text);
}

START_TEST(accepts_its_own_image) {
    Image image = make_image();
    ck_assert_int_eq(validate(&image, image.size), LIBRARY_OK);
    ck_assert_int_eq(packed_image_verify(image.bytes, image.kinds, 2, NULL), LIBRARY_OK);
    ck_assert(packed_image_recognise(image.bytes, image.size));
    ck_assert_ptr_eq(packed_image_instance(image.bytes, 1, 1),
                     image.bytes + image.size - image.kinds[1].plan.layout.instance_bytes);
    free(image.bytes);
}
END_TEST

START_TEST(refuses_other_sizes) {
    Image image = make_image();
    refused(&image, image.size - 1, "truncated");
    refused(&image, 10, "truncated");
    refused(&image, 0, "truncated");
    ((PackedHeader *)(void *)image.bytes)->file_bytes -= 4096;
    refused(&image, image.size, "trailing");
    free(image.bytes);
}
END_TEST

// Every single byte of the header matters.
START_TEST(refuses_any_changed_byte) {
    Image image = make_image();
    size_t header = (size_t)((PackedHeader *)(void *)image.bytes)->header_bytes;
    for (size_t i = 0; i < header; i++) {
        image.bytes[i] ^= 0x10;
        ck_assert_msg(validate(&image, image.size) == LIBRARY_BAD_WEIGHTS, "byte %zu", i);
        image.bytes[i] ^= 0x10;
    }
    ck_assert_int_eq(validate(&image, image.size), LIBRARY_OK);
    Failure failure = {image.error, sizeof image.error};
    packed_image_instance(image.bytes, 1, 1)[77] ^= 1;
    ck_assert_int_eq(packed_image_verify(image.bytes, image.kinds, 2, &failure), LIBRARY_BAD_WEIGHTS);
    ck_assert_ptr_nonnull(strstr(image.error, "dense.1"));
    packed_image_instance(image.bytes, 1, 1)[77] ^= 1;
    free(image.bytes);
}
END_TEST

// After validation the records are not read again: another process may be writing to a mapped file.
START_TEST(computes_addresses) {
    Image image = make_image();
    for (int k = 0; k < 2; k++) {
        ck_assert_ptr_eq(image.bytes + packed_image_offset(image.kinds, 2, k), packed_image_instance(image.bytes, k, 0));
    }
    PackedRecord *records = (PackedRecord *)(void *)(image.bytes + sizeof(PackedHeader));
    records[1].offset = records[1].instance_bytes = INT64_MAX / 2;
    records[0].count = 1 << 20;
    ((PackedHeader *)(void *)image.bytes)->kinds = 1 << 20;
    ck_assert_int_eq(packed_image_verify(image.bytes, image.kinds, 2, NULL), LIBRARY_OK);
    free(image.bytes);
}
END_TEST

START_TEST(says_which_field_differs) {
    Image image = make_image();
    image.kinds[1].plan.layer.hidden = 2048;
    refused(&image, image.size, "layer 'dense': packed for hidden 16, the library has 2048");
    image.kinds[1].plan.layer.hidden = 16;
    image.kinds[0].plan.layer.weights = FORMAT_FP32;
    refused(&image, image.size, "layer 'sparse': packed for weight format");
    image.kinds[0].plan.layer.weights = FORMAT_BF16;
    // facts that leave the sizes as they are: a longer vector in the same 64 bytes, a column that was padding
    image.kinds[1].plan.layer.iterations = 3;
    refused(&image, image.size, "layer 'dense': packed for coe weights 1, the library has 2");
    image.kinds[1].plan.layer.iterations = 2;
    image.kinds[0].plan.layer.shared_gated = 0;
    refused(&image, image.size, "layer 'sparse': packed for router columns 5, the library has 4");
    image.kinds[0].plan.layer.shared_gated = 1;
    image.kinds[0].plan.layer.null_experts = 2;
    refused(&image, image.size, "layer 'sparse': packed for router columns 5, the library has 6");
    image.kinds[0].plan.layer.null_experts = 1;
    image.kinds[0].plan.layer.correction = 0;
    refused(&image, image.size, "layer 'sparse': packed for correction 1, the library has 0");
    image.kinds[0].plan.layer.correction = 1;
    image.kinds[0].plan.layer.norm_bias = 0;
    refused(&image, image.size, "layer 'sparse': packed for norm bias 1, the library has 0");
    image.kinds[0].plan.layer.norm_bias = 1;
    image.kinds[0].name[0] = 'x';
    refused(&image, image.size, "layer 'sparse' found where the library has 'xparse'");
    PackedHeader *header = (PackedHeader *)(void *)image.bytes;
    header->byte_order = __builtin_bswap32(header->byte_order);
    refused(&image, image.size, "other byte order");
    free(image.bytes);
}
END_TEST

START_TEST(refuses_overflow) {
    Image image = make_image();
    image.kinds[0].count = INT64_MAX / 4096;
    ck_assert_int_eq(packed_image_bytes(image.kinds, 2), -1);
    image.kinds[0].count = INT64_MAX;
    ck_assert_int_eq(packed_image_bytes(image.kinds, 2), -1);
    refused(&image, image.size, "count");
    Failure failure = {image.error, sizeof image.error};
    ck_assert_int_eq(packed_image_validate(image.bytes + 8, image.size - 8, image.kinds, 2, &failure), LIBRARY_INVALID_ARGUMENT);
    free(image.bytes);
}
END_TEST

Suite *suite_packed(void) {
    Suite *suite = suite_create("packed");
    TCase *layout = tcase_create("layout");
    tcase_set_timeout(layout, TEST_TIMEOUT);
    tcase_add_loop_test(layout, packs_matrices, 0, WIDTHS * 4);
    tcase_add_test(layout, places_elements);
    tcase_add_test(layout, converts_numbers);
    tcase_add_test(layout, gates_of_shared_experts_have_no_bias);
    tcase_add_loop_test(layout, finds_what_is_not_finite, 0, 2);
    suite_add_tcase(suite, layout);
    TCase *image = tcase_create("image");
    tcase_set_timeout(image, TEST_TIMEOUT);
    tcase_add_test(image, accepts_its_own_image);
    tcase_add_test(image, refuses_other_sizes);
    tcase_add_test(image, refuses_any_changed_byte);
    tcase_add_test(image, computes_addresses);
    tcase_add_test(image, says_which_field_differs);
    tcase_add_test(image, refuses_overflow);
    suite_add_tcase(suite, image);
    return suite;
}
