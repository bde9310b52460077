// `catena reference --torch`: what it prints is a Python program, and computes what the compiled layer computes. The second needs
// PyTorch: without it (CATENA_PYTHON names the interpreter, python3 unless set) only the first is tested.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../compiler/command.h"
#include "../compiler/npy.h"
#include "../compiler/spec_print.h"
#include "available.h"
#include "fixture.h"
#include "shell.h"
#include "suites.h"

enum { RANDOM_LAYERS = 24 };

// Relative L2 error of a row where both chose the same experts: fp32 sums in another order, chains of them.
static const double tolerance = 1e-4;

#define TENSOR_KEY(tensor, key, shape) key,
static const char *const tensor_keys[] = {TENSOR_LIST(TENSOR_KEY)};

// A description of the layer whose checkpoint has a tensor for each of the module's parameters, under its name.
static char *describe(const Layer *layer) {
    Model *model = calloc(1, sizeof *model);
    ModelLayer *entry = &model->layers[0];
    strcpy(model->name, "random_layer");
    strcpy(entry->name, "sparse");
    model->layer_count = entry->count = entry->checkpoint.layer_step = 1;
    entry->layer = *layer;
    for (int t = 0; t < TENSOR_COUNT; t++) {
        if (layer_has_tensor(layer, (Tensor)t)) {
            const char *suffix = layer_tensor_per_iteration((Tensor)t) && layer->gate_per_iteration ? ".{iteration}" : "";
            snprintf(entry->checkpoint.tensors[t].pattern, TENSOR_PATTERN_BYTES, "%s%s", tensor_keys[t], suffix);
        }
    }
    char *text = model_print(model);
    free(model);
    return text;
}

static Npy read_array(const char *name) {
    char path[SHELL_PATH_BYTES + 32];
    Diagnostics diagnostics = {0};
    Npy array;
    snprintf(path, sizeof path, "%s/%s", shell_folder(), name);
    ck_assert_msg(!npy_read(path, &array, &diagnostics), "%s", diagnostics.text);
    return array;
}

// Whether both lists of slots hold the same experts, in any order.
static int same_experts(const int32_t *a, const int32_t *b, int64_t k) {
    for (int64_t i = 0; i < k; i++) {
        int found[2] = {0, 0};
        for (int64_t j = 0; j < k; j++) {
            found[0] |= a[j] == b[i];
            found[1] |= b[j] == a[i];
        }
        if (!found[0] || !found[1]) {
            return 0;
        }
    }
    return 1;
}

static void compare(const Layer *layer, int seed) {
    Npy ours = read_array("ours.npy"), theirs = read_array("y.npy");
    Npy experts = read_array("r.experts.npy"), their_experts = read_array("experts.npy");
    int64_t tokens = ours.shape[0], hidden = ours.shape[1], k = layer->top_k, others = 0;
    ck_assert_int_eq(npy_elements(&ours), npy_elements(&theirs));
    ck_assert_int_eq(npy_elements(&experts), npy_elements(&their_experts));
    for (int64_t token = 0; token < tokens; token++) {
        const float *a = (const float *)ours.data + token * hidden, *b = (const float *)theirs.data + token * hidden;
        double difference = 0, norm = 0;
        int same = 1;
        for (int64_t t = 0; t < layer->iterations; t++) {
            int64_t slot = (t * tokens + token) * k;
            same &= same_experts((const int32_t *)experts.data + slot, (const int32_t *)their_experts.data + slot, k);
        }
        for (int64_t i = 0; i < hidden; i++) {
            difference += pow((double)a[i] - (double)b[i], 2);
            norm += pow((double)b[i], 2);
        }
        others += !same;
        ck_assert_msg(!same || sqrt(difference) <= tolerance * sqrt(norm), "seed %d, token %lld: relative error %g", seed,
                      (long long)token, sqrt(difference / norm));
    }
    ck_assert_msg(others * 5 <= tokens, "seed %d: other experts for %lld of %lld tokens", seed, (long long)others,
                  (long long)tokens);
    npy_free(&ours);
    npy_free(&theirs);
    npy_free(&experts);
    npy_free(&their_experts);
}

START_TEST(equals_compiled_layer) {
    if (!available_torch()) {
        return;
    }
    Layer layer = fixture_layer((uint64_t)_i + 500);
    layer.compute = COMPUTE_FP32;
    layer.activations = FORMAT_FP32;
    char *text = describe(&layer);
    shell_write_file("$D/spec.json", text, strlen(text));
    shell_expect(EXIT_OK, "",
                 "$CATENA reference --torch $D/spec.json >$D/module.py && " AVAILABLE_PYTHON
                 " tests/torch_compare.py $D/module.py $D %d && $CATENA compile $D/spec.json -o $D >/dev/null",
                 _i);
    shell_expect(EXIT_OK, "",
                 "$CATENA run $D/librandom_layer.so --weights $D --layer sparse --input $D/x.npy --output $D/ours.npy "
                 "--routing $D/r %s",
                 layer.k_per_token ? "--k $D/k.npy" : "");
    compare(&layer, _i);
    free(text);
}
END_TEST

START_TEST(prints_a_program) {
    if (!available_program("python3")) {
        return;
    }
    shell_expect(EXIT_OK, "",
                 "for spec in examples/*.json tests/data/*.json; do case $spec in *schema.json) continue;; esac; "
                 "$CATENA reference --torch $spec >$D/module.py && "
                 "python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read())' $D/module.py || { echo $spec; exit 1; }; done");
    shell_expect(EXIT_FAILED, "no layer is named 'x'; the first of 1 is 'sparse'",
                 "$CATENA reference --torch examples/moe_8of64.json --layer x");
    shell_expect(EXIT_USAGE, "--torch and a description are needed", "$CATENA reference examples/moe_8of64.json");
}
END_TEST

Suite *suite_torch_module(void) {
    Suite *suite = suite_create("torch_module");
    TCase *cases = tcase_create("torch_module");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_checked_fixture(cases, shell_begin, shell_end);
    tcase_add_test(cases, prints_a_program);
    tcase_add_loop_test(cases, equals_compiled_layer, 0, RANDOM_LAYERS);
    suite_add_tcase(suite, cases);
    return suite;
}
