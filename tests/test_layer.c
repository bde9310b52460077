// The skeleton compiled natively with plain tiles, over random layers: against the oracle, and its promise of equal bits for every
// number of threads, batch and chunk. The sanitizers see all of templates/ here.
#include <stdlib.h>
#include <string.h>

#include "../compiler/reference.h"
#include "../compiler/synthetic.h"
#include "fixture.h"
#include "suites.h"

enum { RANDOM_LAYERS = 60, TOKENS = 37 };

static Status forward(Library *library, int64_t tokens, const void *x, void *y, int64_t hidden, int32_t *experts, float *weights) {
    Forward call = {.mode = experts ? FORWARD_ROUTING_OUT : FORWARD_PLAIN,
                    .tokens = tokens,
                    .x = x,
                    .x_stride = hidden,
                    .y = y,
                    .y_stride = hidden,
                    .experts_out = experts,
                    .weights_out = weights};
    return instance_forward(library, &call);
}

static float *to_floats(const Layer *layer, const void *from, int64_t count) {
    float *to = calloc((size_t)count + 1, sizeof *to);
    for (int64_t i = 0; i < count; i++) {
        to[i] = layer->activations == FORMAT_BF16 ? packed_float_from_bf16(((const uint16_t *)from)[i]) : ((const float *)from)[i];
    }
    return to;
}

// The oracle replays the library's routing; an interface in bf16 adds its own rounding of the result.
static void compare_with_oracle(const Kind *kind, const void *image, const void *x, const void *y, const int32_t *experts,
                                const float *weights) {
    const Layer *layer = &kind->plan.layer;
    int64_t elements = TOKENS * layer->hidden;
    float *xf = to_floats(layer, x, elements), *yf = to_floats(layer, y, elements);
    ReferenceWeights plain;
    ck_assert_int_eq(reference_weights_allocate(layer, &plain), 0);
    reference_weights_unpack(&kind->plan, packed_image_instance((void *)(uintptr_t)image, 0, 0), &plain);
    ReferenceOutput oracle = {.y = calloc((size_t)elements, sizeof(double)), .bound = calloc((size_t)elements, sizeof(double))};
    ReferenceGiven given = {experts, weights, 1};
    ck_assert_int_eq(reference_forward(layer, &plain, TOKENS, xf, &given, ERROR_WORST, &oracle), 0);
    ck_assert_msg(oracle.checks.violations == 0, "%s", oracle.checks.first);
    for (int64_t i = 0; i < elements; i++) {
        double rounding =
            layer->activations == FORMAT_BF16 ? 0x1p-8 * (oracle.y[i] < 0 ? -oracle.y[i] : oracle.y[i]) + 0x1p-133 : 0;
        double error = yf[i] - oracle.y[i];
        ck_assert_msg((error < 0 ? -error : error) <= oracle.bound[i] + rounding, "element %lld: %.9g, the oracle has %.9g +- %.3g",
                      (long long)i, (double)yf[i], oracle.y[i], oracle.bound[i] + rounding);
    }
    reference_weights_free(&plain);
    free(oracle.y);
    free(oracle.bound);
    free(xf);
    free(yf);
}

START_TEST(test_random_layer) {
    Layer layer = fixture_layer((uint64_t)_i);
    Kind kind = fixture_kind(&layer, "avx512");
    size_t bytes, row = (size_t)layer.hidden * fixture_element(&layer);
    void *image = fixture_image(&kind, (uint64_t)_i + 100, &bytes);
    char *x = fixture_tokens(&kind.plan, TOKENS, (uint64_t)_i), *y = calloc(TOKENS, row), *other = calloc(TOKENS, row);
    int64_t slots = layer.iterations * TOKENS * layer.top_k;
    int32_t *experts = calloc((size_t)slots, sizeof *experts);
    float *weights = calloc((size_t)slots, sizeof *weights);
    Library *one = fixture_native(&kind, image, bytes, 1, 0), *three = fixture_native(&kind, image, bytes, 3, 5);
    ck_assert_int_eq(forward(one, TOKENS, x, y, layer.hidden, experts, weights), LIBRARY_OK);
    compare_with_oracle(&kind, image, x, y, experts, weights);
    ck_assert_int_eq(forward(three, TOKENS, x, other, layer.hidden, NULL, NULL), LIBRARY_OK);  // three threads, chunks of five
    ck_assert_mem_eq(y, other, TOKENS * row);
    for (int64_t token = 0; token < TOKENS; token += 9) {  // alone
        ck_assert_int_eq(forward(one, 1, x + (size_t)token * row, other, layer.hidden, NULL, NULL), LIBRARY_OK);
        ck_assert_mem_eq(y + (size_t)token * row, other, row);
    }
    instance_close(one);
    instance_close(three);
    free(experts);
    free(weights);
    free(image);
    free(x);
    free(y);
    free(other);
}
END_TEST

START_TEST(test_nonfinite_token) {
    Layer layer = fixture_layer(3);
    layer.activations = FORMAT_FP32;
    Kind kind = fixture_kind(&layer, "avx512");
    size_t bytes, row = (size_t)layer.hidden * sizeof(float);
    void *image = fixture_image(&kind, 1, &bytes);
    float *x = fixture_tokens(&kind.plan, TOKENS, 5), *good = calloc(TOKENS, row), *bad = calloc(TOKENS, row);
    Library *library = fixture_native(&kind, image, bytes, 2, 0);
    ck_assert_int_eq(forward(library, TOKENS, x, good, layer.hidden, NULL, NULL), LIBRARY_OK);
    x[11 * layer.hidden] = __builtin_nanf("");
    x[30 * layer.hidden + layer.hidden - 1] = -__builtin_inff();
    ck_assert_int_eq(forward(library, TOKENS, x, bad, layer.hidden, NULL, NULL), LIBRARY_NONFINITE);
    int64_t first = -1;
    ck_assert_int_eq(instance_nonfinite(library, &first), 2);
    ck_assert_int_eq(first, 11);
    for (int64_t token = 0; token < TOKENS; token++) {
        for (int64_t i = 0; i < layer.hidden; i++) {
            float value = bad[token * layer.hidden + i];
            if (token == 11 || token == 30) {
                ck_assert(value != value);
            } else {
                ck_assert_mem_eq(&value, &good[token * layer.hidden + i], sizeof value);
            }
        }
    }
    instance_close(library);
    free(image);
    free(x);
    free(good);
    free(bad);
}
END_TEST

Suite *suite_layer(void) {
    Suite *suite = suite_create("layer");
    TCase *cases = tcase_create("native");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_loop_test(cases, test_random_layer, 0, RANDOM_LAYERS);
    tcase_add_test(cases, test_nonfinite_token);
    suite_add_tcase(suite, cases);
    return suite;
}
