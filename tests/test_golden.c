// Real layers end to end: compile, run on recorded inputs, compare with recorded outputs (tests/extract_data.py says whose).
// Everything goes through the command line; $CATENA is the program.
//
// No tolerance is chosen here. The layers are of class fp32: with fused multiply-add every target has the bits of the natively
// compiled skeleton. The skeleton's outputs, the recorded ones (fp32 too, another order of sums), and those of a target without
// fused multiply-add are each within the oracle's bounds.
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "available.h"
#include "compiler/base/npy.h"
#include "compiler/commands/command.h"
#include "fixture.h"
#include "shell.h"
#include "suites.h"

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

// One instance, by the native skeleton, and what was recorded of it.
typedef struct Expected {
    const Layer *layer;
    OracleWeights weights;
    Npy input, recorded;
    float *y;
} Expected;

static const char *what_of(const Golden *golden, const char *who, int instance) {
    static char what[128];
    snprintf(what, sizeof what, "%s, %s, instance %d", golden->data, who, instance);
    return what;
}

static void expect_oracle(const Golden *golden, int instance, const Expected *e, const char *who, const float *y) {
    const FixtureForward left = {.tokens = e->input.shape[0], .x = e->input.data, .y = y};
    fixture_expect_oracle(e->layer, &e->weights, &left, ERROR_LIKELY, what_of(golden, who, instance));
}

static Expected expected_begin(const Golden *golden, int instance, const FixtureCheckpoint *native) {
    Expected e = {.layer = &native->kind.plan.layer,
                  .input = read_array("tests/data/%s/%d.%s.npy", golden->data, instance, golden->in),
                  .recorded = read_array("tests/data/%s/%d.%s.npy", golden->data, instance, golden->out)};
    int64_t hidden = e.layer->hidden, tokens = e.input.shape[0];
    e.y = calloc((size_t)(tokens * hidden), sizeof *e.y);
    const Forward call = {.layer = instance, .tokens = tokens, .x = e.input.data, .x_stride = hidden, .y = e.y, .y_stride = hidden};
    ck_assert_int_eq(instance_forward(native->library, &call), LIBRARY_OK);
    ck_assert_mem_eq(e.input.shape, e.recorded.shape, sizeof e.input.shape);
    fixture_checkpoint_weights(native, instance, &e.weights);
    expect_oracle(golden, instance, &e, "the skeleton", e.y);
    expect_oracle(golden, instance, &e, "the record", e.recorded.data);
    return e;
}

static void expected_end(Expected *e) {
    oracle_weights_free(&e->weights);
    npy_free(&e->input);
    npy_free(&e->recorded);
    free(e->y);
}

static void expect_rows(const Golden *golden, int instance, const Target *target, const Expected *e, const float *found) {
    if (target->fused) {
        ck_assert_msg(!memcmp(found, e->y, (size_t)npy_elements(&e->input) * sizeof *found), "%s: other bits than the skeleton",
                      what_of(golden, target->name, instance));
    } else {
        expect_oracle(golden, instance, e, target->name, found);
    }
}

// By `catena run`, as users do: also the routing.
static void run_here(const Golden *golden, int instance, const Target *target, const Expected *expected) {
    ck_assert_int_eq(shell_run("$CATENA run $D/lib%s.so --weights tests/data/%s/model.safetensors --layer sparse.%d "
                               "--input tests/data/%s/%d.%s.npy --output $D/y.npy --routing $D/r",
                               golden->spec, golden->data, instance, golden->data, instance, golden->in),
                     EXIT_OK);
    Npy found = read_array("%s/y.npy", shell_folder());
    ck_assert_int_eq(found.dimensions, 2);
    ck_assert_mem_eq(found.shape, expected->input.shape, sizeof found.shape);
    expect_rows(golden, instance, target, expected, found.data);
    Npy experts = read_array("%s/r.experts.npy", shell_folder()), weights = read_array("%s/r.weights.npy", shell_folder());
    ck_assert_int_eq(experts.type, NPY_INT32);
    ck_assert_int_eq(weights.type, NPY_FLOAT32);
    ck_assert_int_eq(experts.dimensions, 3);
    ck_assert_mem_eq(experts.shape, weights.shape, sizeof experts.shape);
    npy_free(&found);
    npy_free(&experts);
    npy_free(&weights);
}

// On an emulated CPU: a library for it packs its weights here, then tests/runner.c runs it there.
static void run_emulated(const Golden *golden, int instance, const Target *target, const Expected *expected) {
    const Npy *input = &expected->input;
    size_t bytes = (size_t)npy_elements(input) * sizeof(float), size;
    shell_write_file("$D/x", input->data, bytes);
    shell_expect(0, "",
                 "test -e $D/packed || $CATENA pack $D/lib%s.so --weights tests/data/%s/model.safetensors -o $D/packed "
                 "&& " AVAILABLE_RUN_NEON " ${BUILD:-build}/runner-aarch64 $D/lib%s.so %s $D/packed 2 %lld %lld 4 $D/x $D/y %d",
                 golden->spec, golden->data, golden->spec, golden->spec, (long long)input->shape[0], (long long)input->shape[1],
                 instance);
    char *found = shell_read_file("$D/y", &size);
    ck_assert_uint_eq(size, bytes);
    expect_rows(golden, instance, target, expected, (float *)(void *)found);
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
    char path[128];
    Diagnostics diagnostics = {0};
    snprintf(path, sizeof path, "tests/data/%s.json", golden->spec);
    Model *model = model_read_file(path, &diagnostics);
    ck_assert_msg(model != NULL, "%s", diagnostics.text);
    snprintf(path, sizeof path, "tests/data/%s/model.safetensors", golden->data);
    FixtureCheckpoint *native = fixture_checkpoint_open(&model->layers[0], path);
    ck_assert_int_eq(model->layers[0].count, golden->instances);
    for (int instance = 0; instance < golden->instances; instance++) {
        Expected expected = expected_begin(golden, instance, native);
        (here ? run_here : run_emulated)(golden, instance, target, &expected);
        expected_end(&expected);
    }
    fixture_checkpoint_close(native);
    model_free(model);
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
