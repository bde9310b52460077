// Random descriptions: whatever compiler/description/check.c accepts, the skeleton and compiled libraries compute what the oracle
// does. A seed is a test of its own, so that a crash is a seed's too.
//
//     CATENA_SEED=n                runs one seed, natively and compiled
//     CATENA_PROPERTY_SECONDS=s    runs for s seconds instead of some
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "compiler/description/print.h"
#include "compiler/library/artifact.h"
#include "compiler/library/compile.h"
#include "compiler/measure/synthetic.h"
#include "compiler/oracle/oracle.h"
#include "fixture.h"
#include "native.h"
#include "shell.h"
#include "suites.h"

// Seeds that a second is enough for on any machine that runs them one after the other, and the time they are given by default.
enum { NATIVE_PER_SECOND = 60, COMPILED_PER_SECOND = 4, NATIVE_SECONDS = 12, COMPILED_SECONDS = 8, SANITIZED_SECONDS = 6 };
// So many run in any case: fewer are no test, however slow the machine.
enum { NATIVE_LEAST = 20, COMPILED_LEAST = 3 };

static int native_seconds, compiled_seconds;
static double native_deadline, compiled_deadline;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

// Seeds that were checked to the end, and those that must be; in memory that the processes of all tests share.
typedef struct Count {
    const char *way;
    int ran, least;
} Count;
static Count *seeds;  // native, compiled

// The time begins when the first seed does: these run before the case's tests, in the process that all of them come from.
static void begin_native(void) {
    native_deadline = native_seconds ? now() + native_seconds : INFINITY;
}

static void begin_compiled(void) {
    compiled_deadline = compiled_seconds ? now() + compiled_seconds : INFINITY;
}

// --- one seed ----------------------------------------------------------------------------------------------------------------

// A layer, its weights and tokens, and what an instance made of them.
typedef struct Seed {
    uint64_t number;
    Layer layer;
    const Plan *plan;
    int64_t tokens;
    void *x;
    char *y, *other;  // interface rows
    int32_t *k, *experts;
    float *weights, *scores;
    OracleWeights plain;
    const char *text;  // the description
} Seed;

// The command that runs a seed again, with what this one was given.
static const char *reproduction(const Seed *seed) {
    static const char *const names[] = {"CATENA", "BUILD"};
    static char command[2 * SHELL_PATH_BYTES];
    size_t used = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);
        used +=
            value && used < sizeof command ? (size_t)snprintf(command + used, sizeof command - used, "%s=%s ", names[i], value) : 0;
    }
    if (used < sizeof command) {
        snprintf(command + used, sizeof command - used, "CATENA_SEED=%llu %s property", (unsigned long long)seed->number,
                 program_invocation_name);
    }
    return command;
}

// Fails with all that it takes to see it again.
#define seed_fail(seed, format, ...) \
    ck_abort_msg("seed %llu: " format "\nto reproduce: %s\n%s", (unsigned long long)(seed)->number, __VA_ARGS__, \
                 reproduction(seed), (seed)->text)
#define seed_assert(seed, condition, format, ...) \
    do { \
        if (!(condition)) { \
            seed_fail(seed, format, __VA_ARGS__); \
        } \
    } while (0)

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count + 1, size);
    ck_assert_ptr_nonnull(memory);
    return memory;
}

static void seed_begin(Seed *seed, const Kind *kind, void *image) {
    static const int64_t counts[] = {1, 2, 15, 16, 17, 33};  // around few_tokens and tiles
    const Layer *layer = &seed->layer;
    seed->plan = &kind->plan;
    seed->tokens = counts[seed->number % (sizeof counts / sizeof *counts)];
    size_t tokens = (size_t)seed->tokens, rows = tokens * (size_t)layer->iterations;
    seed->x = fixture_tokens(seed->plan, seed->tokens, seed->number);
    seed->k = fixture_k(layer, seed->tokens, seed->number);
    seed->y = allocate(tokens * (size_t)layer->hidden, sizeof(float));
    seed->other = allocate(tokens * (size_t)layer->hidden, sizeof(float));
    seed->experts = allocate(rows * (size_t)layer->top_k, sizeof(int32_t));
    seed->weights = allocate(rows * (size_t)layer->top_k, sizeof(float));
    seed->scores = allocate(rows * (size_t)layer_choices(layer), sizeof(float));
    ck_assert_int_eq(oracle_weights_allocate(layer, &seed->plain), 0);
    oracle_weights_unpack(seed->plan, packed_image_instance(image, 0, 0), &seed->plain);
}

static void seed_end(Seed *seed) {
    oracle_weights_free(&seed->plain);
    free(seed->x);
    free(seed->k);
    free(seed->y);
    free(seed->other);
    free(seed->experts);
    free(seed->weights);
    free(seed->scores);
}

static float element(const Seed *seed, const void *rows, int64_t i) {
    return packed_number_get(rows, i, seed->layer.activations == INTERFACE_BF16 ? NUMBER_BF16 : NUMBER_FP32);
}

static float *to_floats(const Seed *seed, const void *rows) {
    int64_t count = seed->tokens * seed->layer.hidden;
    float *values = allocate((size_t)count, sizeof *values);
    for (int64_t i = 0; i < count; i++) {
        values[i] = element(seed, rows, i);
    }
    return values;
}

// --- against the oracle ------------------------------------------------------------------------------------------------------

static void check_scores(const Seed *seed, const OracleOutput *oracle) {
    int64_t choices = layer_choices(&seed->layer);
    for (int64_t i = 0; i < seed->layer.iterations * seed->tokens * choices; i++) {
        double error = fabs(seed->scores[i] - oracle->scores[i]);
        seed_assert(seed, error <= oracle->score_bounds[i], "row %lld, choice %lld: score %.9g, not %.9g +- %.2g",
                    (long long)(i / choices), (long long)(i % choices), (double)seed->scores[i], oracle->scores[i],
                    oracle->score_bounds[i]);
    }
}

// The oracle replays the choices, checks each, and bounds the result: in the worst case, and sharply for random data.
static void check_oracle(const Seed *seed, ErrorModel model) {
    const Layer *layer = &seed->layer;
    size_t elements = (size_t)(seed->tokens * layer->hidden);
    size_t scores = (size_t)(layer->iterations * seed->tokens * layer_choices(layer));
    float *x = to_floats(seed, seed->x), *y = to_floats(seed, seed->y);
    OracleGiven given = {seed->experts, seed->weights, 1, seed->k};
    OracleOutput oracle = {.y = allocate(elements, sizeof(double)),
                           .bound = allocate(elements, sizeof(double)),
                           .scores = allocate(scores, sizeof(double)),
                           .score_bounds = allocate(scores, sizeof(double))};
    ck_assert_int_eq(oracle_forward(layer, &seed->plain, seed->tokens, x, &given, model, &oracle), 0);
    seed_assert(seed, !oracle.checks.violations, "%s", oracle.checks.first);
    OracleComparison found = oracle_compare(&oracle, seed->tokens, layer->hidden, y, layer->hidden);
    int64_t at = found.token * layer->hidden + found.column;
    seed_assert(seed, found.worst <= 1, "token %lld, column %lld is %.9g, not %.9g +- %.2g (bounds of kind %d)",
                (long long)found.token, (long long)found.column, (double)y[at], oracle.y[at], oracle.bound[at], (int)model);
    check_scores(seed, &oracle);
    free(x);
    free(y);
    free(oracle.y);
    free(oracle.bound);
    free(oracle.scores);
    free(oracle.score_bounds);
}

// The same bits by another way.
static void check_same(const Seed *seed, const char *way) {
    for (int64_t i = 0; i < seed->tokens * seed->layer.hidden; i++) {
        float a = element(seed, seed->y, i), b = element(seed, seed->other, i);
        seed_assert(seed, !memcmp(&a, &b, sizeof a), "%s: element %lld is %.9g, not %.9g", way, (long long)i, (double)b, (double)a);
    }
}

static void forward(const Seed *seed, const Loaded *library, Library *instance, void *y, const Extra *extra) {
    int64_t hidden = seed->layer.hidden;
    Status status = library->forward_with(instance, 0, seed->tokens, seed->x, hidden, y, hidden, extra);
    seed_assert(seed, status == LIBRARY_OK, "forward: status %d: %s", (int)status, library->error(instance));
}

static Library *open_library(const Seed *seed, const Loaded *library, const void *image, size_t bytes, int threads,
                             int64_t max_tokens) {
    Options options = {.size = sizeof options, .threads = threads, .max_tokens = max_tokens};
    char error[256] = "";
    Library *instance = NULL;
    Status status = library->open_memory(image, bytes, &options, &instance, error, sizeof error);
    seed_assert(seed, status == LIBRARY_OK, "open: status %d: %s", (int)status, error);
    return instance;
}

// Two thirds of the choices of some layers have a correction or a router's bias of minus infinity, so that often fewer than k are
// left, and sometimes none.
static void exclude_choices(const Seed *seed, const Kind *kind, void *image) {
    bool corrected = seed->layer.correction && (seed->number % 4 == 0 || !seed->layer.router_bias);
    Tensor tensor = corrected ? TENSOR_CORRECTION : TENSOR_ROUTER_BIAS;
    if (!layer_has_tensor(&seed->layer, tensor) || seed->number % 2) {
        return;
    }
    for (int64_t gate = 0; gate < layer_routers(&seed->layer); gate++) {
        for (int64_t choice = 0; choice < layer_choices(&seed->layer); choice++) {
            if ((choice + gate) % 3) {
                packed_set(&kind->plan, packed_image_instance(image, 0, 0), tensor, gate, choice, 0, -INFINITY);
            }
        }
    }
    packed_image_finish(image);
}

// Everything that is asked of one library.
static void check_library(Seed *seed, const Loaded *library, const Kind *kind) {
    size_t bytes;
    void *image = fixture_image(kind, seed->number + 100, &bytes);
    exclude_choices(seed, kind, image);
    seed_begin(seed, kind, image);
    Library *one = open_library(seed, library, image, bytes, 1, 0), *three = open_library(seed, library, image, bytes, 3, 5);
    Extra all = {.size = sizeof all, .experts = seed->experts, .weights = seed->weights, .scores = seed->scores, .k = seed->k};
    forward(seed, library, one, seed->y, &all);
    check_oracle(seed, ERROR_WORST);
    check_oracle(seed, ERROR_LIKELY);
    forward(seed, library, three, seed->other, &(Extra){.size = sizeof(Extra), .k = seed->k});
    check_same(seed, "three threads, chunks of five");
    forward(seed, library, one, seed->other,
            &(Extra){.size = sizeof(Extra), .given_experts = seed->experts, .given_weights = seed->weights});
    check_same(seed, "routing given back");
    library->close(one);
    library->close(three);
    seed_end(seed);
    free(image);
}

// --- native and compiled -----------------------------------------------------------------------------------------------------

// The description of a seed's layer, read back: it is accepted, and says the same.
static Model *read_back(const Seed *seed) {
    Diagnostics diagnostics = {0};
    Model *model = model_read_text(seed->text, strlen(seed->text), "seed", &diagnostics);
    seed_assert(seed, model, "%s", diagnostics.text);
    seed_assert(seed, !memcmp(&model->layers[0].layer, &seed->layer, sizeof seed->layer), "read(print(layer)) is another %s",
                "layer");
    return model;
}

START_TEST(test_native) {
    static const char *const names[] = {"avx512", "avx2", "generic"};
    Seed seed = {.number = (uint64_t)_i, .layer = fixture_layer((uint64_t)_i)};
    if (_i >= NATIVE_LEAST && now() > native_deadline) {
        return;
    }
    char *text = fixture_spec("property", &seed.layer);
    seed.text = text;
    model_free(read_back(&seed));
    Kind kind = fixture_kind(&seed.layer, names[seed.number % 3]);
    check_library(&seed, native_library(&kind), &kind);
    seeds[0].ran++;
    free(text);
}
END_TEST

START_TEST(test_compiled) {
    Seed seed = {.number = (uint64_t)_i, .layer = fixture_layer((uint64_t)_i)};
    Diagnostics diagnostics = {0};
    CompileOptions options = {.compute = -1};
    char path[SHELL_PATH_BYTES + 32];
    if (_i >= COMPILED_LEAST && now() > compiled_deadline) {
        return;
    }
    shell_begin();
    char *text = fixture_spec("property", &seed.layer);
    seed.text = text;
    Model *model = read_back(&seed);
    seed_assert(&seed, !compile_library(model, &options, shell_folder(), &diagnostics), "%s", diagnostics.text);
    snprintf(path, sizeof path, "%s/libproperty.so", shell_folder());
    Loaded *loaded = loaded_open(path, &diagnostics);
    seed_assert(&seed, loaded, "%s", diagnostics.text);
    Kind *kinds = artifact_kinds(loaded->artifact);
    ck_assert_ptr_nonnull(kinds);
    check_library(&seed, loaded, &kinds[0]);
    seeds[1].ran++;
    free(kinds);
    loaded_close(loaded);
    model_free(model);
    free(text);
    shell_end();
}
END_TEST

// What the time was enough for; comes last.
START_TEST(test_enough_seeds) {
    const Count *count = &seeds[_i];
    printf("property: %d seeds ran %s\n", count->ran, count->way);
    ck_assert_msg(count->ran >= count->least, "only %d seeds ran %s", count->ran, count->way);
}
END_TEST

// --- printing ----------------------------------------------------------------------------------------------------------------

// A model printed and read again is the same model, text apart.
static void check_print(const char *path) {
    Diagnostics diagnostics = {0};
    Model *model = model_read_file(path, &diagnostics);
    ck_assert_msg(model != NULL, "%s", diagnostics.text);
    char *text = model_print(model);
    ck_assert_ptr_nonnull(text);
    Model *again = model_read_text(text, strlen(text), path, &diagnostics);
    ck_assert_msg(again != NULL, "%s\n%s", diagnostics.text, text);
    free(model->source);
    model->source = again->source;
    ck_assert_msg(!memcmp(model, again, sizeof *model), "%s: read(print(model)) is another model:\n%s", path, text);
    free(model);
    model_free(again);
    free(text);
}

START_TEST(test_print) {
    static const char *const paths[] = {"examples/coe_2x4of64.json",      "examples/awkward.json",
                                        "examples/deepseek_v2_lite.json", "examples/qwen3_30b_a3b.json",
                                        "examples/olmoe_1b_7b.json",      "tests/data/mixtral_small.json",
                                        "tests/data/qwen3_moe_small.json"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        check_print(paths[i]);
    }
}
END_TEST

// A number from the environment; `fallback` if there is none.
static int environment(const char *name, int fallback) {
    const char *text = getenv(name);
    return text && *text ? atoi(text) : fallback;
}

Suite *suite_property(void) {
    Suite *suite = suite_create("property");
    TCase *print = tcase_create("print"), *natively = tcase_create("native"), *compiled = tcase_create("compiled"),
          *enough = tcase_create("enough");
    int seed = environment("CATENA_SEED", -1), seconds = environment("CATENA_PROPERTY_SECONDS", 0);
    int natives = seconds > 1 ? seconds / 2 : NATIVE_SECONDS, compilations = seconds > 1 ? seconds / 2 : COMPILED_SECONDS;
#ifdef __SANITIZE_ADDRESS__
    natives = seconds > 0 ? seconds : SANITIZED_SECONDS;
    compilations = 0;  // LLVM is not instrumented
#endif
    seeds = mmap(NULL, 2 * sizeof *seeds, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (seeds == MAP_FAILED) {
        perror("property: mmap");
        exit(EXIT_FAILURE);
    }
    seeds[0] = (Count){"natively", 0, NATIVE_LEAST};
    seeds[1] = (Count){"compiled", 0, COMPILED_LEAST};
    tcase_add_test(print, test_print);
    tcase_add_unchecked_fixture(natively, begin_native, NULL);
    tcase_add_unchecked_fixture(compiled, begin_compiled, NULL);
    if (seed >= 0) {
        tcase_add_loop_test(natively, test_native, seed, seed + 1);
        tcase_add_loop_test(compiled, test_compiled, seed, compilations ? seed + 1 : seed);
    } else {
        native_seconds = natives;
        compiled_seconds = compilations;
        tcase_add_loop_test(natively, test_native, 0, natives * NATIVE_PER_SECOND);
        tcase_add_loop_test(compiled, test_compiled, 0, compilations * COMPILED_PER_SECOND);
        tcase_add_loop_test(enough, test_enough_seeds, 0, compilations ? 2 : 1);
    }
    TCase *all[] = {print, natively, compiled, enough};
    for (int i = 0; i < 4; i++) {
        tcase_set_timeout(all[i], TEST_TIMEOUT);
        suite_add_tcase(suite, all[i]);
    }
    return suite;
}
