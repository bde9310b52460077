// `catena reference --torch`: what it prints is a Python program, and computes what the compiled layer computes. The second needs
// PyTorch: without it (CATENA_PYTHON names the interpreter, python3 unless set) only the first is tested.
#define _GNU_SOURCE
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "available.h"
#include "compiler/base/npy.h"
#include "compiler/commands/command.h"
#include "compiler/description/print.h"
#include "fixture.h"
#include "shell.h"
#include "suites.h"

enum { RANDOM_LAYERS = 24 };

// Relative L2 error of a row where both chose the same experts: fp32 sums in another order, chains of them.
static const double tolerance = 1e-4;

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
            snprintf(entry->checkpoint.tensors[t].pattern, TENSOR_PATTERN_BYTES, "%s%s", layer_tensor_key((Tensor)t), suffix);
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
                 !layer.k_per_token ? ""
                 : _i % 2           ? "--k $D/k.npy"
                                    : "--importance $D/importance.npy");
    compare(&layer, _i);
    free(text);
}
END_TEST

// Checkpoints of golden folders, in the formats that they have: the program reads them as the library does. The layers' inputs are
// random; its outputs are relative to what the layer adds to them.
static const char *const checkpoints[] = {"deepseek_v3_fp8", "deepseek_v3_fp8_shared_bf16",
                                          "qwen3_moe_fp8",   "qwen3_moe_fp8_e8m0",
                                          "minimax_m2_fp8",  "gpt_oss_mxfp4",
                                          "olmoe",           "mixtral"};
enum { CHECKPOINTS = sizeof checkpoints / sizeof *checkpoints };

START_TEST(reads_checkpoints) {
    if (!available_torch()) {
        return;
    }
    shell_expect(EXIT_OK, "",
                 "cd $D && " AVAILABLE_PYTHON
                 " -c 'import numpy, json, sys\n"
                 "hidden = json.load(open(sys.argv[1]))[\"hidden_size\"]\n"
                 "x = numpy.random.default_rng(1).standard_normal((19, hidden), numpy.float32)\n"
                 "numpy.save(\"x.npy\", x)' $OLDPWD/tests/golden/%s/config.json",
                 checkpoints[_i]);
    shell_expect(EXIT_OK, "",
                 "$CATENA import tests/golden/%s --name golden -o $D/golden.json && $CATENA compile $D/golden.json -o $D && "
                 "$CATENA run $D/libgolden.so --weights tests/golden/%s --layer moe --input $D/x.npy --output $D/ours.npy && "
                 "$CATENA reference --torch $D/golden.json >$D/module.py && " AVAILABLE_PYTHON
                 " $D/module.py --weights tests/golden/%s --input $D/x.npy --output $D/y.npy",
                 checkpoints[_i], checkpoints[_i], checkpoints[_i]);
    Npy x = read_array("x.npy"), ours = read_array("ours.npy"), theirs = read_array("y.npy");
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < npy_elements(&x); i++) {
        double a = ((const float *)ours.data)[i], b = ((const float *)theirs.data)[i];
        difference += pow(a - b, 2);
        norm += pow(b - (double)((const float *)x.data)[i], 2);
    }
    ck_assert_int_eq(npy_elements(&ours), npy_elements(&theirs));
    ck_assert_msg(norm > 0 && sqrt(difference) <= tolerance * sqrt(norm), "%s: relative error %g", checkpoints[_i],
                  sqrt(difference / norm));
    npy_free(&x);
    npy_free(&ours);
    npy_free(&theirs);
}
END_TEST

// Where all scores are 0 and nothing is added to their norm, weights are 0, and so are gradients.
START_TEST(zero_norms_give_zero_weights) {
    if (!available_torch()) {
        return;
    }
    shell_expect(
        EXIT_OK, "",
        "sed 's/\"normalize\": false/\"normalize\": true, \"normalize_eps\": 0, \"normalize_p\": %d/; "
        "s/: 1024/: 16/; s/: 704/: 8/' "
        "examples/remoe_64.json >$D/spec.json && $CATENA reference --torch $D/spec.json >$D/module.py && cd $D && " AVAILABLE_PYTHON
        " -c 'import module, torch\n"
        "layer = next(c for c in vars(module).values() if isinstance(c, type))()\n"
        "layer.router.data.zero_()\n"
        "x = torch.randn(3, layer.hidden, requires_grad=True)\n"
        "y, [(experts, weights, scores)] = layer(x)\n"
        "y.sum().backward()\n"
        "assert (experts == -1).all() and (weights == 0).all() and x.grad.isfinite().all()'",
        _i + 1);
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

// Every activation, gated or not, with and without a slope: a program in which nothing is left to fill in.
START_TEST(prints_activations) {
    if (!available_program("python3")) {
        return;
    }
    static const char old[] = "\"gated\": true, \"activation\": \"silu\"";
    for (int slope = 0; slope <= activation_facts[_i].takes_slope; slope++) {
        for (int gated = 0; gated < 2; gated++) {
            shell_expect(
                EXIT_OK, "",
                "sed 's/%s/\"gated\": %s, \"activation\": \"%s\"%s/; /%s/d' examples/moe_8of64.json >$D/spec.json && "
                "$CATENA reference --torch $D/spec.json >$D/module.py && grep '^        hidden = ' $D/module.py >$D/line && "
                "grep -qw %s $D/line && ! grep '[{}]' $D/line && "
                "python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read())' $D/module.py",
                old, gated ? "true" : "false", activation_names[_i], slope ? ", \"slope\": 1.25" : "",
                gated ? "^$" : "\"gate\":", gated ? "g" : "u");
            shell_expect(slope ? EXIT_OK : EXIT_FAILED, "", "grep -w 1.25 $D/line");
        }
    }
}
END_TEST

// A token's experts are said in one way, as a library's caller has to.
START_TEST(refuses_k_and_importance) {
    if (!available_torch()) {
        return;
    }
    shell_expect(EXIT_OK, "",
                 "$CATENA reference --torch examples/da_moe_8of64.json >$D/module.py && cd $D && " AVAILABLE_PYTHON
                 " -c 'import torch; from module import *\n"
                 "layer = next(c for n, c in globals().copy().items() if n.endswith(\"Layer\"))()\n"
                 "try: layer(torch.zeros(1, layer.hidden), torch.ones(1), torch.ones(1))\n"
                 "except ValueError as error: assert \"both given\" in str(error)\n"
                 "else: raise SystemExit(1)'");
    shell_expect(2, "not allowed with argument", AVAILABLE_PYTHON " $D/module.py --input x --output y --k a --importance b");
}
END_TEST

// A path that would end the docstring and run what follows, and bytes that are no UTF-8.
START_TEST(paths_stay_text) {
    if (!available_program("python3")) {
        return;
    }
    static const char *const names[] = {"a\"\"\"; print(1)\nimport os; \"\"\".json", "a\\\".json", "\\N{x}'\x7f\xc3\xa9.json",
                                        "\xff.json"};
    char path[SHELL_PATH_BYTES + 64];
    size_t size;
    char *text = shell_read_file("examples/moe_8of64.json", &size);
    snprintf(path, sizeof path, "$D/%s", names[_i]);
    shell_write_file(path, text, size);
    free(text);
    setenv("CATENA_TEST_NAME", names[_i], 1);
    shell_expect(EXIT_OK, "",
                 "$CATENA reference --torch \"$D/$CATENA_TEST_NAME\" >$D/module.py && python3 -c 'import ast, os, sys\n"
                 "module = ast.parse(open(sys.argv[1], \"rb\").read())\n"
                 "name = os.fsencode(sys.argv[2])\n"
                 "texts = [name.decode(code) for code in (\"utf-8\", \"latin-1\") if code == \"latin-1\" or name[0] != 255]\n"
                 "assert texts[0] in ast.get_docstring(module, clean=False), ast.get_docstring(module)\n"
                 "assert not any(isinstance(part, ast.Expr) for part in module.body[1:])' $D/module.py \"$CATENA_TEST_NAME\"");
    unsetenv("CATENA_TEST_NAME");
}
END_TEST

// Names that would be Python's own words or the program's.
START_TEST(classes_have_names_of_their_own) {
    if (!available_program("python3")) {
        return;
    }
    static const char *const names[][2] = {{"none", "NoneLayer"}, {"true", "TrueLayer"}, {"f", "FLayer"}, {"moe_2", "Moe2Layer"}};
    shell_expect(EXIT_OK, "",
                 "sed 's/\"name\": \"sparse\"/\"name\": \"%s\"/' examples/moe_8of64.json >$D/spec.json && "
                 "$CATENA reference --torch $D/spec.json >$D/module.py && grep -q '^class %s(nn.Module):$' $D/module.py && "
                 "grep -q 'layer = %s()$' $D/module.py && python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read())' "
                 "$D/module.py",
                 names[_i][0], names[_i][1], names[_i][1]);
}
END_TEST

// Ways to choose: of layers that always choose k, binomials; of others the sum over what a token may choose.
static const struct {
    const char *router, *ways, *words;
} choices[] = {
    {"\"k\": 8", "10^9.65 against", "routed expert evaluations |"},
    {"\"k\": 8, \"k_min\": 0, \"k_per_token\": true", "10^9.71 against", "expected"},
    {"\"k\": 8, \"k_min\": 8, \"k_per_token\": true", "10^9.65 against", "routed expert evaluations |"},
    {"\"select\": \"threshold\", \"threshold\": 0.1, \"expected_k\": 8", "10^19.27 against", "expected"},  // 2^64
    {"\"select\": \"top_p\", \"top_p\": 0.5, \"expected_k\": 8", "10^19.27 against", "expected"},
};
enum { CHOICES = sizeof choices / sizeof *choices };

START_TEST(counts_ways_to_choose) {
    char path[] = "examples/moe_8of64.json";
    size_t size;
    char *text = shell_read_file(path, &size);
    json_t *root = json_loads(text, 0, NULL);
    char *router = NULL;
    ck_assert_int_gt(asprintf(&router, "{\"score\": \"softmax\", %s}", choices[_i].router), 0);
    json_object_set_new(json_array_get(json_object_get(root, "layers"), 0), "router", json_loads(router, 0, NULL));
    char *changed = json_dumps(root, 0);
    shell_write_file("$D/spec.json", changed, strlen(changed));
    shell_expect(EXIT_OK, choices[_i].ways, "$CATENA explain $D/spec.json --against %s", path);
    shell_expect(EXIT_OK, choices[_i].words, "$CATENA explain $D/spec.json --against %s", path);
    free(changed);
    free(router);
    free(text);
    json_decref(root);
}
END_TEST

Suite *suite_torch_module(void) {
    Suite *suite = suite_create("torch_module");
    TCase *cases = tcase_create("torch_module");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_checked_fixture(cases, shell_begin, shell_end);
    tcase_add_test(cases, prints_a_program);
    tcase_add_loop_test(cases, prints_activations, 0, ACTIVATION_COUNT);
    tcase_add_test(cases, refuses_k_and_importance);
    tcase_add_loop_test(cases, zero_norms_give_zero_weights, 0, 2);
    tcase_add_loop_test(cases, paths_stay_text, 0, 4);
    tcase_add_loop_test(cases, classes_have_names_of_their_own, 0, 4);
    tcase_add_loop_test(cases, counts_ways_to_choose, 0, CHOICES);
    tcase_add_loop_test(cases, reads_checkpoints, 0, CHECKPOINTS);
    tcase_add_loop_test(cases, equals_compiled_layer, 0, RANDOM_LAYERS);
    suite_add_tcase(suite, cases);
    return suite;
}
