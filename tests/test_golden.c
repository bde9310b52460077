// Real layers end to end: compile, run on recorded inputs, compare with recorded outputs (tests/extract_data.py says whose).
// Everything goes through the command line; $CATENA is the program.
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "available.h"
#include "compiler/base/npy.h"
#include "compiler/commands/command.h"
#include "shell.h"
#include "suites.h"

// Relative L2 error per row. Outputs were computed in fp32 by another order of sums: about 1e-6 is to be expected.
static const double tolerance = 1e-5;

typedef struct Golden {
    const char *spec;       // tests/data/SPEC.json
    const char *data;       // tests/data/DATA
    const char *in, *out;   // kinds of recorded states
    int instances;
} Golden;

static const Golden goldens[] = {
    {"coe_small_layer", "coe_small", "hidden_in", "hidden_out", 1},
    {"mixtral_small", "mixtral_small", "layer_in", "layer_out", 2},
    {"olmoe_small", "olmoe_small", "layer_in", "layer_out", 2},
    {"qwen3_moe_small", "qwen3_moe_small", "layer_in", "layer_out", 2},
};
enum { GOLDENS = sizeof goldens / sizeof *goldens };

static Npy read_array(const char *format, ...) __attribute__((format(printf, 1, 2)));

static Npy read_array(const char *format, ...) {
    char path[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(path, sizeof path, format, arguments);
    va_end(arguments);
    Diagnostics diagnostics = {0};
    Npy array;
    ck_assert_msg(!npy_read(path, &array, &diagnostics), "%s", diagnostics.text);
    return array;
}

static double row_error(const float *found, const float *expected, int64_t count) {
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        difference += pow((double)found[i] - (double)expected[i], 2);
        norm += pow((double)expected[i], 2);
    }
    return sqrt(difference / norm);
}

// `found` has as many values as what was recorded.
static void expect_rows(const Golden *golden, int instance, const char *target, const float *found) {
    Npy expected = read_array("tests/data/%s/%d.%s.npy", golden->data, instance, golden->out);
    int64_t width = expected.shape[1];
    for (int64_t row = 0; row < expected.shape[0]; row++) {
        double error = row_error(found + row * width, (float *)expected.data + row * width, width);
        ck_assert_msg(error < tolerance, "%s, target %s, instance %d, row %lld: relative error %g", golden->data, target, instance,
                      (long long)row, error);
    }
    npy_free(&expected);
}

// By `catena run`, as users do: also the routing.
static void run_here(const Golden *golden, int instance, const char *target) {
    ck_assert_int_eq(shell_run("$CATENA run $D/lib%s.so --weights tests/data/%s/model.safetensors --layer sparse.%d "
                               "--input tests/data/%s/%d.%s.npy --output $D/y.npy --routing $D/r",
                               golden->spec, golden->data, instance, golden->data, instance, golden->in),
                     EXIT_OK);
    Npy input = read_array("tests/data/%s/%d.%s.npy", golden->data, instance, golden->in);
    Npy found = read_array("%s/y.npy", shell_folder());
    ck_assert_int_eq(found.dimensions, 2);
    ck_assert_mem_eq(found.shape, input.shape, sizeof found.shape);
    expect_rows(golden, instance, target, found.data);
    Npy experts = read_array("%s/r.experts.npy", shell_folder()), weights = read_array("%s/r.weights.npy", shell_folder());
    ck_assert_int_eq(experts.type, NPY_INT32);
    ck_assert_int_eq(weights.type, NPY_FLOAT32);
    ck_assert_int_eq(experts.dimensions, 3);
    ck_assert_mem_eq(experts.shape, weights.shape, sizeof experts.shape);
    npy_free(&input);
    npy_free(&found);
    npy_free(&experts);
    npy_free(&weights);
}

// On an emulated CPU: a library for it packs its weights here, then tests/runner.c runs it there.
static void run_emulated(const Golden *golden, int instance, const char *target) {
    Npy input = read_array("tests/data/%s/%d.%s.npy", golden->data, instance, golden->in);
    size_t bytes = (size_t)npy_elements(&input) * sizeof(float), size;
    shell_write_file("$D/x", input.data, bytes);
    shell_expect(0, "",
                 "test -e $D/packed || $CATENA pack $D/lib%s.so --weights tests/data/%s/model.safetensors -o $D/packed "
                 "&& " AVAILABLE_RUN_NEON " ${BUILD:-build}/runner-aarch64 $D/lib%s.so %s $D/packed 2 %lld %lld 4 $D/x $D/y %d",
                 golden->spec, golden->data, golden->spec, golden->spec, (long long)input.shape[0], (long long)input.shape[1],
                 instance);
    char *found = shell_read_file("$D/y", &size);
    ck_assert_uint_eq(size, bytes);
    expect_rows(golden, instance, target, (float *)(void *)found);
    npy_free(&input);
    free(found);
}

START_TEST(reproduces_recorded_outputs) {
    const Golden *golden = &goldens[_i % GOLDENS];
    const Target *target = targets[_i / GOLDENS];
    const bool here = available_target(target);
    if (!here && !(target == &target_neon && available_program(AVAILABLE_NEON))) {
        return;
    }
    ck_assert_int_eq(shell_run("$CATENA compile tests/data/%s.json -o $D --target %s >/dev/null", golden->spec, target->name),
                     EXIT_OK);
    for (int instance = 0; instance < golden->instances; instance++) {
        (here ? run_here : run_emulated)(golden, instance, target->name);
    }
}
END_TEST

// `catena run` with wrong arguments: usage errors exit with 2, wrong inputs with 1 and a text that names the culprit.
START_TEST(reports_wrong_inputs) {
    static const char data[] = "tests/data/mixtral_small";
    ck_assert_int_eq(shell_run("$CATENA compile tests/data/mixtral_small.json -o $D >/dev/null"), EXIT_OK);
    ck_assert_int_eq(shell_run("$CATENA run 2>/dev/null"), EXIT_USAGE);
    const struct {
        const char *weights, *layer, *input, *output, *message;
    } rows[] = {
        {"model.safetensors", "dense", "0.layer_in.npy", "y.npy", "no layer 'dense'; it has: sparse"},
        {"model.safetensors", "sparse.2", "0.layer_in.npy", "y.npy", "instances 0 to 1, not '2'"},
        {"model.safetensors", "sparse.x", "0.layer_in.npy", "y.npy", "instances 0 to 1, not 'x'"},
        {"model.safetensors", "sparse", "model.safetensors", "y.npy", "not a .npy file"},
        {"model.safetensors", "sparse", "../coe_small/0.hidden_in.npy", "y.npy", "takes float32 [tokens, 72]"},
        {"missing.safetensors", "sparse", "0.layer_in.npy", "y.npy", "No such file"},
        {"../olmoe_small/model.safetensors", "sparse", "0.layer_in.npy", "y.npy", "has shape [64], layer 'sparse' needs [72]"},
        {"model.safetensors", "sparse", "0.layer_in.npy", "missing/y.npy", "No such file"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        shell_expect(EXIT_FAILED, rows[i].message,
                     "$CATENA run $D/libmixtral_small.so --weights %s/%s --layer %s --input %s/%s --output $D/%s", data,
                     rows[i].weights, rows[i].layer, data, rows[i].input, rows[i].output);
    }
}
END_TEST

Suite *suite_golden(void) {
    Suite *suite = suite_create("golden");
    TCase *cases = tcase_create("golden");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_checked_fixture(cases, shell_begin, shell_end);
    int count = 0;
    while (targets[count]) {
        count++;
    }
    tcase_add_loop_test(cases, reproduces_recorded_outputs, 0, count * GOLDENS);
    tcase_add_test(cases, reports_wrong_inputs);
    suite_add_tcase(suite, cases);
    return suite;
}
