// Extreme numbers in every argument of every function of a library: each call returns a status, and none raises a signal. The
// skeleton is the natively compiled one, so that sanitizers see what the numbers lead to.
#define _GNU_SOURCE
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fixture.h"
#include "runtime/areas.h"
#include "runtime/figures.h"
#include "runtime/importance.h"
#include "suites.h"

enum { HIDDEN = 8, TOKENS = 2, MANY = 8, TOP_K = 2, EXPERTS = 4, ITERATIONS = 2, PAGE = 4096 };

static const int64_t extremes[] = {0,
                                   1,
                                   -1,
                                   TOKENS,
                                   -8,
                                   MANY,
                                   INT32_MAX,
                                   (int64_t)INT32_MAX + 1,
                                   INT32_MIN,
                                   (int64_t)1 << 32,
                                   ((int64_t)1 << 32) - 1,
                                   (int64_t)1 << 47,
                                   (int64_t)1 << 58,
                                   ((int64_t)1 << 61) - 1,
                                   (int64_t)1 << 61,
                                   (int64_t)1 << 62,
                                   INT64_MAX - 7,
                                   INT64_MAX,
                                   INT64_MIN,
                                   INT64_MIN + 1};
enum { EXTREMES = sizeof extremes / sizeof *extremes };

static Kind kind;
static void *image;
static size_t image_bytes;
static Library *library;
static Contents contents;
static LayerForward *const no_forwards[] = {NULL};

// A page of memory in front of a gap.
static void *page(void) {
    uint8_t *start = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(start, MAP_FAILED);
    ck_assert_int_eq(munmap(start + PAGE, PAGE), 0);
    return start;
}

static void setup(void) {
    Layer layer = fixture_neutral((Layer){.hidden = HIDDEN,
                                          .iterations = ITERATIONS,
                                          .experts = EXPERTS,
                                          .intermediate = HIDDEN,
                                          .top_k = TOP_K,
                                          .k_min = 1,
                                          .k_per_token = 1});
    kind = fixture_kind(&layer, "generic");
    image = fixture_image(&kind, 1, &image_bytes);
    library = fixture_native(&kind, image, image_bytes, 2, 0);
    contents = (Contents){.kinds = 1};
}

static void teardown(void) {
    instance_close(library);
    free(image);
}

// A call is done, or refused with a text.
static int done(Status status, const char *error) {
    ck_assert_msg(status == LIBRARY_OK || status == LIBRARY_INVALID_ARGUMENT || status == LIBRARY_BAD_WEIGHTS, "status %d", status);
    ck_assert_msg(status == LIBRARY_OK || *error, "status %d without a text", status);
    return status == LIBRARY_OK;
}

// Rows in place and apart, with every number of tokens and every stride. What fits a page is computed; nothing else is.
START_TEST(rows) {
    uint8_t *x = page(), *y = page();
    int computed = 0;
    for (int64_t i = 0; i < (int64_t)EXTREMES * EXTREMES * EXTREMES; i++) {
        int64_t tokens = extremes[i % EXTREMES], x_stride = extremes[i / EXTREMES % EXTREMES];
        int64_t y_stride = extremes[i / EXTREMES / EXTREMES];
        uint8_t *const outputs[] = {x, y, x + HIDDEN * sizeof(float)};
        for (int o = 0; o < 3; o++) {
            Forward forward = {0, tokens, x, x_stride, outputs[o], y_stride};
            bool fits =
                !tokens || (x_stride >= HIDDEN && y_stride >= HIDDEN &&
                            (tokens == 1 || (tokens > 1 && tokens <= MANY && x_stride == HIDDEN && y_stride == HIDDEN && o < 2)));
            int ok = done(instance_forward(library, &forward), instance_error(library));
            ck_assert_msg(ok == fits, "%lld tokens, strides %lld %lld, output %d: %s", (long long)tokens, (long long)x_stride,
                          (long long)y_stride, o, ok ? "done" : instance_error(library));
            computed += ok;
        }
    }
    ck_assert_int_gt(computed, 0);
}
END_TEST

// Pointers to addresses at the ends of memory.
START_TEST(addresses) {
    uint8_t *x = page();
    const uintptr_t bad[] = {0, 4, PAGE, (uintptr_t)1 << 47, (uintptr_t)1 << 63, UINTPTR_MAX - 3, UINTPTR_MAX - 7};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        for (int large = 0; large < 2; large++) {
            Forward forward = {0, (int64_t)1 << 32, x, large ? (int64_t)1 << 28 : HIDDEN, (void *)bad[i], HIDDEN};
            ck_assert(!done(instance_forward(library, &forward), instance_error(library)));
            forward = (Forward){0, (int64_t)1 << 32, (void *)bad[i], HIDDEN, x, large ? (int64_t)1 << 28 : HIDDEN};
            ck_assert(!done(instance_forward(library, &forward), instance_error(library)));
        }
    }
}
END_TEST

START_TEST(numbers_of_layers) {
    float x[HIDDEN] = {0};
    for (int i = 0; i < EXTREMES; i++) {
        Forward forward = {(int)extremes[i], 1, x, HIDDEN, x, HIDDEN};
        ck_assert_int_eq(done(instance_forward(library, &forward), instance_error(library)), (int)extremes[i] == 0);
        ck_assert_int_eq(instance_find(library, kind.name, extremes[i]), extremes[i] ? -1 : 0);
    }
}
END_TEST

// Every array of `extra` alone, with every number of tokens; sizes of the structs and of sequences with every number.
START_TEST(extra_arrays) {
    enum { ARRAYS = 9 };
    uint8_t *x = page(), *array = page();
    for (int i = 0; i < EXTREMES * ARRAYS; i++) {
        Extra extra = {.size = sizeof extra, .figures_size = sizeof(Figures)};
        void **const places[ARRAYS] = {(void **)&extra.experts, (void **)&extra.weights, (void **)&extra.given_experts,
                                       (void **)&extra.k,       (void **)&extra.load,    (void **)&extra.importance,
                                       (void **)&extra.scores,  (void **)&extra.figures, (void **)&extra.given_weights};
        *places[i % ARRAYS] = array;
        int64_t tokens = extremes[i / ARRAYS];
        Forward forward = {0, tokens, x, HIDDEN, x, HIDDEN};
        memset(array, 0, PAGE);
        int ok = done(instance_forward_with(library, &forward, &extra), instance_error(library));
        ck_assert_msg(!ok || (tokens >= 0 && tokens <= MANY), "%lld tokens, array %d", (long long)tokens, i % ARRAYS);
        done(instance_forward_routing(library, &forward, (int32_t *)array, (float *)array + PAGE / 8), instance_error(library));
        done(instance_forward_routed(library, &forward, (int32_t *)array, (float *)array + PAGE / 8), instance_error(library));
    }
}
END_TEST

START_TEST(extra_sizes) {
    uint8_t *x = page();
    Figures *figures = page();
    for (int i = 0; i < EXTREMES * 3; i++) {
        Extra *extra = page();
        *extra = (Extra){.size = sizeof *extra, .figures_size = sizeof *figures, .figures = figures};
        uint64_t number = (uint64_t)extremes[i / 3];
        *(i % 3 == 0 ? &extra->size : i % 3 == 1 ? &extra->figures_size : (size_t *)&extra->sequence_tokens) = number;
        Forward forward = {0, TOKENS, x, HIDDEN, x, HIDDEN};
        int ok = done(instance_forward_with(library, &forward, extra), instance_error(library));
        ck_assert_msg(ok == (i % 3 == 2 && extremes[i / 3] >= 0), "field %d: %llu", i % 3, (unsigned long long)number);
        ck_assert_int_eq(munmap(extra, PAGE), 0);
    }
}
END_TEST

START_TEST(options) {
    char error[64];
    for (int i = 0; i < EXTREMES * 7; i++) {
        Options *given = page();
        *given = (Options){.size = sizeof *given};
        int32_t *const words[] = {&given->threads, &given->check, &given->bind, &given->huge_pages, &given->interleave};
        int64_t number = extremes[i / 7];
        if (i % 7 < 5) {
            *words[i % 7] = (int32_t)number;
        } else if (i % 7 == 5) {
            given->max_tokens = number;
        } else {
            given->size = (size_t)number;
        }
        Library *opened = NULL;
        Status status =
            instance_open_memory(&contents, &kind, no_forwards, image, image_bytes, given, &opened, error, sizeof error);
        ck_assert_int_eq(done(status, error), opened != NULL);
        instance_close(opened);
        ck_assert_int_eq(munmap(given, PAGE), 0);
    }
}
END_TEST

// Sizes of packed weights in memory, and of the room for a text.
START_TEST(sizes_of_memory) {
    char error[512];
    uint8_t *copy = page();
    ck_assert_uint_gt(image_bytes, PAGE);
    memcpy(copy, image, PAGE);
    for (int i = 0; i < EXTREMES; i++) {
        Library *opened = NULL;
        Status status =
            instance_open_memory(&contents, &kind, no_forwards, copy, (size_t)extremes[i], NULL, &opened, error, sizeof error);
        ck_assert(!done(status, error));
        ck_assert_ptr_null(opened);
        memset(error, 'x', sizeof error);
        status = instance_open_memory(&contents, &kind, no_forwards, copy, 8, NULL, &opened, error, (size_t)extremes[i]);
        ck_assert_int_ne(status, LIBRARY_OK);
        ck_assert(extremes[i] ? memchr(error, 0, sizeof error) != NULL : error[0] == 'x');
    }
}
END_TEST

START_TEST(attention) {
    float *probabilities = page(), *importance = page();
    int computed = 0;
    for (int64_t i = 0; i < (int64_t)EXTREMES * EXTREMES * EXTREMES; i++) {
        int64_t heads = extremes[i % EXTREMES], queries = extremes[i / EXTREMES % EXTREMES];
        int64_t keys = extremes[i / EXTREMES / EXTREMES];
        Status status = importance_from_attention(probabilities, heads, queries, keys, (int)(i % 3), importance);
        bool small = heads > 0 && queries > 0 && keys > 0 && heads <= HIDDEN && queries <= HIDDEN && keys <= HIDDEN;
        ck_assert_int_eq(status, small ? LIBRARY_OK : LIBRARY_INVALID_ARGUMENT);
        computed += small;
    }
    ck_assert_int_gt(computed, 0);
    for (int i = 0; i < EXTREMES; i++) {
        bool rule = (int)extremes[i] >= 0 && (int)extremes[i] < IMPORTANCE_RULE_COUNT;
        ck_assert_int_eq(importance_from_attention(probabilities, 1, 1, 1, (int)extremes[i], importance),
                         rule ? LIBRARY_OK : LIBRARY_INVALID_ARGUMENT);
    }
}
END_TEST

START_TEST(bytes_of_areas) {
    ck_assert_int_eq(area_bytes(3, 10, 8, 4), (2 * 10 + 8) * 4);
    ck_assert_int_eq(area_bytes(0, INT64_MAX, INT64_MAX, 4), 0);
    ck_assert_int_eq(area_bytes(1, INT64_MAX, 8, 4), 32);
    ck_assert_int_eq(area_bytes(2, INT64_MAX / 4, 8, 4), AREA_TOO_LARGE);
    ck_assert_int_eq(area_bytes(2, INT64_MAX, 8, 1), AREA_TOO_LARGE);
    ck_assert_int_eq(area_bytes(INT64_MAX, 2, 8, 1), AREA_TOO_LARGE);
}
END_TEST

Suite *suite_arguments(void) {
    Suite *suite = suite_create("arguments");
    TCase *cases = tcase_create("extremes");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_set_timeout(cases, 300);
    tcase_add_test(cases, rows);
    tcase_add_test(cases, addresses);
    tcase_add_test(cases, numbers_of_layers);
    tcase_add_test(cases, extra_arrays);
    tcase_add_test(cases, extra_sizes);
    tcase_add_test(cases, options);
    tcase_add_test(cases, sizes_of_memory);
    tcase_add_test(cases, attention);
    tcase_add_test(cases, bytes_of_areas);
    suite_add_tcase(suite, cases);
    return suite;
}
