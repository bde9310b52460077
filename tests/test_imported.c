// From a checkpoint to its outputs by the commands that users type: `catena import`, `compile`, `run` on every folder of
// tests/golden. This is the whole road: it ends with the bits that the natively compiled skeleton computes from the same checkpoint
// (class fp32, fused multiply-add: there is one order). Suite families compares the skeleton with what was recorded.
#include <glob.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "available.h"
#include "compiler/base/npy.h"
#include "compiler/commands/command.h"
#include "compiler/description/model.h"
#include "fixture.h"
#include "runtime/safetensors.h"
#include "shell.h"
#include "suites.h"

enum { PATH_BYTES = 512 };

static glob_t folders;

// Writes a recorded array as $D/NAME.npy; false if there is no such record.
static bool write_record(const Safetensors *tensors, const char *prefix, const char *name) {
    char full[128], path[SHELL_PATH_BYTES + 64];
    Diagnostics diagnostics = {0};
    snprintf(full, sizeof full, "%s.%s", prefix, name);
    const SafetensorsEntry *entry = safetensors_find(tensors, full);
    if (!entry) {
        return false;
    }
    Npy array = {.type = NPY_FLOAT32, .dimensions = entry->rank, .data = malloc((size_t)entry->bytes)};
    memcpy(array.shape, entry->shape, (size_t)entry->rank * sizeof *entry->shape);
    memcpy(array.data, entry->data, (size_t)entry->bytes);
    snprintf(path, sizeof path, "%s/%s.npy", shell_folder(), name);
    ck_assert_msg(!npy_write(path, &array, &diagnostics), "%s", diagnostics.text);
    npy_free(&array);
    return true;
}

// A recorded array, aligned, with its rows; owned. NULL if there is no such record.
static float *copy_record(const Safetensors *tensors, const char *prefix, const char *name, int64_t *rows) {
    char full[128];
    snprintf(full, sizeof full, "%s.%s", prefix, name);
    const SafetensorsEntry *entry = safetensors_find(tensors, full);
    float *copy = entry ? malloc((size_t)entry->bytes + 1) : NULL;
    if (copy) {
        memcpy(copy, entry->data, (size_t)entry->bytes);
        *rows = entry->shape[0];
    }
    return copy;
}

// A target of this machine whose bits are the skeleton's; NULL: it has none.
static const Target *fused_target(void) {
    for (int t = 0; targets[t]; t++) {
        if (targets[t]->fused && available_target(targets[t])) {
            return targets[t];
        }
    }
    return NULL;
}

// Compares $D/y.npy with the skeleton's rows.
static void expect_bits(const FixtureCheckpoint *native, int64_t instance, int64_t tokens, const float *x, const float *importance,
                        const char *what) {
    char path[SHELL_PATH_BYTES + 64];
    Diagnostics diagnostics = {0};
    Npy found;
    int64_t hidden = native->kind.plan.layer.hidden;
    size_t bytes = (size_t)(tokens * hidden) * sizeof(float);
    float *y = malloc(bytes + 1);
    const Forward call = {.layer = (int)instance, .tokens = tokens, .x = x, .x_stride = hidden, .y = y, .y_stride = hidden};
    const Extra extra = {.size = sizeof extra, .importance = importance};
    ck_assert_int_eq(instance_forward_with(native->library, &call, &extra), LIBRARY_OK);
    snprintf(path, sizeof path, "%s/y.npy", shell_folder());
    ck_assert_msg(!npy_read(path, &found, &diagnostics), "%s", diagnostics.text);
    ck_assert_msg((size_t)npy_elements(&found) * sizeof(float) == bytes, "%s: %lld elements", what,
                  (long long)npy_elements(&found));
    ck_assert_msg(!memcmp(found.data, y, bytes), "%s: other bits than the skeleton", what);
    npy_free(&found);
    free(y);
}

// Both in fp32 and in the formats that the checkpoint has.
START_TEST(import_compile_run) {
    char copy[PATH_BYTES], description[SHELL_PATH_BYTES + 32];
    snprintf(copy, sizeof copy, "%s", folders.gl_pathv[_i / 2]);
    const char *folder = dirname(copy);
    const Target *target = fused_target();
    if (!target) {
        return;
    }
    Diagnostics diagnostics = {0};
    shell_expect(EXIT_OK, "", "$CATENA import %s --name golden %s -o $D/golden.json", folder, _i % 2 ? "" : "--weights fp32");
    snprintf(description, sizeof description, "%s/golden.json", shell_folder());
    Model *model = model_read_file(description, &diagnostics);
    ck_assert_msg(model, "%s", diagnostics.text);
    if (_i % 2 && model->layers[0].layer.weights == FORMAT_FP32) {  // that was the other
        model_free(model);
        return;
    }
    shell_expect(EXIT_OK, "", "$CATENA compile $D/golden.json -o $D --target %s", target->name);
    Safetensors *tensors = NULL;
    ck_assert_int_eq(safetensors_open(folders.gl_pathv[_i / 2], &tensors, NULL), LIBRARY_OK);
    for (int64_t l = 0; l < model->layer_count; l++) {
        const ModelLayer *entry = &model->layers[l];
        FixtureCheckpoint *native = fixture_checkpoint_open(entry, folder);
        const char *pattern = entry->checkpoint.tensors[TENSOR_DOWN].pattern;
        const char *stack = strstr(pattern, "encoder.") ? "encoder." : strstr(pattern, "decoder.") ? "decoder." : "";
        for (int64_t i = 0; i < entry->count; i++) {
            char prefix[64];
            snprintf(prefix, sizeof prefix, "%slayers.%lld", stack,
                     (long long)(entry->checkpoint.first_layer + i * entry->checkpoint.layer_step));
            ck_assert_msg(write_record(tensors, prefix, "layer_in"), "%s: %s is not recorded", folder, prefix);
            bool important = write_record(tensors, prefix, "importance");
            shell_expect(EXIT_OK, "",
                         "$CATENA run $D/libgolden.so --weights %s --layer %s.%lld --input $D/layer_in.npy --output $D/y.npy %s",
                         folder, entry->name, (long long)i, important ? "--importance $D/importance.npy" : "");
            int64_t tokens = 0;
            float *importance = copy_record(tensors, prefix, "importance", &tokens);
            float *x = copy_record(tensors, prefix, "layer_in", &tokens);
            expect_bits(native, i, tokens, x, importance, folder);
            free(importance);
            free(x);
        }
        fixture_checkpoint_close(native);
    }
    safetensors_close(tensors);
    model_free(model);
}
END_TEST

// Weights of packed files take the bytes that the checkpoint's formats do: of fp16 half those of fp32, of fp8 33 bytes for 32
// values.
START_TEST(packs_as_the_checkpoint_has_it) {
    static const struct {
        const char *folder, *other;
        double least, most;  // of the other's bytes
    } rows[] = {{"olmoe", "fp32", 0.5, 0.56}, {"olmoe", "bf16", 1, 1}, {"qwen3_moe_fp8", "bf16", 0.5, 0.58}};
    off_t bytes[2];
    for (int i = 0; i < 2; i++) {
        char path[SHELL_PATH_BYTES + 32], weights[32] = "";
        struct stat facts;
        snprintf(weights, sizeof weights, i ? "--weights %s" : "", rows[_i].other);
        shell_expect(EXIT_OK, "",
                     "$CATENA import tests/golden/%s --name golden %s -o $D/golden.json && $CATENA compile $D/golden.json -o $D "
                     "--target generic && $CATENA pack $D/libgolden.so --weights tests/golden/%s -o $D/packed --check",
                     rows[_i].folder, weights, rows[_i].folder);
        snprintf(path, sizeof path, "%s/packed", shell_folder());
        ck_assert_int_eq(stat(path, &facts), 0);
        bytes[i] = facts.st_size;
    }
    double part = (double)bytes[0] / (double)bytes[1];
    ck_assert_msg(part >= rows[_i].least && part <= rows[_i].most, "%s: %g of the bytes in %s", rows[_i].folder, part,
                  rows[_i].other);
}
END_TEST

// ReMoE's checkpoints of Megatron-LM, in every layout of experts.
static const char *const megatron[] = {"remoe_sequential", "remoe_grouped", "remoe_te_grouped"};

static Npy read_array(int layer, const char *kind) {
    char path[PATH_BYTES];
    Diagnostics diagnostics = {0};
    Npy array;
    snprintf(path, sizeof path, "tests/data/torch/%d.%s.npy", layer, kind);
    ck_assert_msg(!npy_read(path, &array, &diagnostics), "%s", diagnostics.text);
    return array;
}

// The library has the skeleton's bits, and the record is within the oracle's bounds.
START_TEST(import_compile_run_megatron) {
    const Target *target = fused_target();
    if (!target) {
        return;
    }
    shell_expect(EXIT_OK, "",
                 "$CATENA import tests/data/torch/%s --name golden --weights fp32 -o $D/golden.json && "
                 "$CATENA compile $D/golden.json -o $D --target %s",
                 megatron[_i], target->name);
    char path[SHELL_PATH_BYTES + 32];
    Diagnostics diagnostics = {0};
    snprintf(path, sizeof path, "%s/golden.json", shell_folder());
    Model *model = model_read_file(path, &diagnostics);
    ck_assert_msg(model, "%s", diagnostics.text);
    snprintf(path, sizeof path, "%s/golden.safetensors", shell_folder());
    FixtureCheckpoint *native = fixture_checkpoint_open(&model->layers[0], path);
    for (int layer = 0; layer < 2; layer++) {
        Npy x = read_array(layer, "layer_in"), recorded = read_array(layer, "layer_out");
        shell_expect(EXIT_OK, "",
                     "$CATENA run $D/libgolden.so --weights $D/golden.safetensors --layer moe.%d "
                     "--input tests/data/torch/%d.layer_in.npy --output $D/y.npy",
                     layer, layer);
        expect_bits(native, layer, x.shape[0], x.data, NULL, megatron[_i]);
        const FixtureForward record = {.tokens = x.shape[0], .x = x.data, .y = recorded.data};
        OracleWeights weights;
        fixture_checkpoint_weights(native, layer, &weights);
        fixture_expect_oracle(&model->layers[0].layer, &weights, &record, ERROR_LIKELY, megatron[_i]);
        oracle_weights_free(&weights);
        npy_free(&x);
        npy_free(&recorded);
    }
    fixture_checkpoint_close(native);
    model_free(model);
}
END_TEST

Suite *suite_imported(void) {
    Suite *suite = suite_create("imported");
    TCase *cases = tcase_create("imported");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_checked_fixture(cases, shell_begin, shell_end);
    if (!glob("tests/golden/*/io.safetensors", 0, NULL, &folders)) {
        tcase_add_loop_test(cases, import_compile_run, 0, 2 * (int)folders.gl_pathc);
    }
    tcase_add_loop_test(cases, packs_as_the_checkpoint_has_it, 0, 3);
    tcase_add_loop_test(cases, import_compile_run_megatron, 0, sizeof megatron / sizeof *megatron);
    suite_add_tcase(suite, cases);
    return suite;
}
