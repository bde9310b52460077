// From a checkpoint to its outputs by the commands that users type: `catena import`, `compile`, `run` on every folder of
// tests/golden. What each step computes is checked more sharply elsewhere (families, property); this is the whole road.
#include <glob.h>
#include <libgen.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/base/npy.h"
#include "compiler/commands/command.h"
#include "compiler/description/model.h"
#include "runtime/safetensors.h"
#include "shell.h"
#include "suites.h"

enum { PATH_BYTES = 512 };

// Relative L2 error of a row. Choices are never near ties in these folders, outputs are sums of fp32 in another order.
static const double tolerance = 1e-5;

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

// Compares $D/y.npy with the rows that should be there.
static void compare(const uint8_t *expected, int64_t bytes, const char *what) {
    char path[SHELL_PATH_BYTES + 64];
    Diagnostics diagnostics = {0};
    Npy found;
    snprintf(path, sizeof path, "%s/y.npy", shell_folder());
    ck_assert_msg(!npy_read(path, &found, &diagnostics), "%s", diagnostics.text);
    ck_assert_msg(bytes == npy_elements(&found) * 4, "%s: %lld bytes", what, (long long)bytes);
    int64_t hidden = found.shape[1];
    for (int64_t row = 0; row < found.shape[0]; row++) {
        double difference = 0, norm = 0;
        for (int64_t i = 0; i < hidden; i++) {
            float wanted;
            memcpy(&wanted, expected + (row * hidden + i) * 4, sizeof wanted);
            difference += pow((double)((float *)found.data)[row * hidden + i] - (double)wanted, 2);
            norm += pow((double)wanted, 2);
        }
        ck_assert_msg(sqrt(difference) <= tolerance * sqrt(norm), "%s, row %lld: relative error %g", what, (long long)row,
                      sqrt(difference / norm));
    }
    npy_free(&found);
}

START_TEST(import_compile_run) {
    char copy[PATH_BYTES], description[SHELL_PATH_BYTES + 32];
    snprintf(copy, sizeof copy, "%s", folders.gl_pathv[_i]);
    const char *folder = dirname(copy);
    Diagnostics diagnostics = {0};
    shell_expect(EXIT_OK, "",
                 "$CATENA import %s --name golden --weights fp32 -o $D/golden.json && $CATENA compile $D/golden.json -o $D",
                 folder);
    snprintf(description, sizeof description, "%s/golden.json", shell_folder());
    Model *model = model_read_file(description, &diagnostics);
    ck_assert_msg(model, "%s", diagnostics.text);
    Safetensors *tensors = NULL;
    ck_assert_int_eq(safetensors_open(folders.gl_pathv[_i], &tensors, NULL), LIBRARY_OK);
    for (int64_t l = 0; l < model->layer_count; l++) {
        const ModelLayer *entry = &model->layers[l];
        const char *pattern = entry->checkpoint.tensors[TENSOR_DOWN].pattern;
        const char *stack = !strncmp(pattern, "encoder.", 8) ? "encoder." : !strncmp(pattern, "decoder.", 8) ? "decoder." : "";
        for (int64_t i = 0; i < entry->count; i++) {
            char prefix[64];
            snprintf(prefix, sizeof prefix, "%slayers.%lld", stack,
                     (long long)(entry->checkpoint.first_layer + i * entry->checkpoint.layer_step));
            ck_assert_msg(write_record(tensors, prefix, "layer_in"), "%s: %s is not recorded", folder, prefix);
            bool important = write_record(tensors, prefix, "importance");
            shell_expect(EXIT_OK, "",
                         "$CATENA run $D/libgolden.so --weights %s --layer %s.%lld --input $D/layer_in.npy --output $D/y.npy %s",
                         folder, entry->name, (long long)i, important ? "--importance $D/importance.npy" : "");
            char name[128];
            snprintf(name, sizeof name, "%s.layer_out", prefix);
            const SafetensorsEntry *expected = safetensors_find(tensors, name);
            ck_assert_msg(expected, "%s: %s", folder, name);
            compare(expected->data, expected->bytes, folder);
        }
    }
    safetensors_close(tensors);
    model_free(model);
}
END_TEST

// ReMoE's checkpoints of Megatron-LM, in every layout of experts.
static const char *const megatron[] = {"remoe_sequential", "remoe_grouped", "remoe_te_grouped"};

START_TEST(import_compile_run_megatron) {
    static const char data[] = "tests/data/torch";
    shell_expect(EXIT_OK, "",
                 "$CATENA import %s/%s --name golden --weights fp32 -o $D/golden.json && $CATENA compile $D/golden.json -o $D",
                 data, megatron[_i]);
    for (int layer = 0; layer < 2; layer++) {
        char path[PATH_BYTES];
        Diagnostics diagnostics = {0};
        Npy expected;
        snprintf(path, sizeof path, "%s/%d.layer_out.npy", data, layer);
        ck_assert_msg(!npy_read(path, &expected, &diagnostics), "%s", diagnostics.text);
        shell_expect(EXIT_OK, "",
                     "$CATENA run $D/libgolden.so --weights $D/golden.safetensors --layer moe.%d --input %s/%d.layer_in.npy "
                     "--output $D/y.npy",
                     layer, data, layer);
        compare(expected.data, npy_elements(&expected) * 4, megatron[_i]);
        npy_free(&expected);
    }
}
END_TEST

Suite *suite_imported(void) {
    Suite *suite = suite_create("imported");
    TCase *cases = tcase_create("imported");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_checked_fixture(cases, shell_begin, shell_end);
    if (!glob("tests/golden/*/io.safetensors", 0, NULL, &folders)) {
        tcase_add_loop_test(cases, import_compile_run, 0, (int)folders.gl_pathc);
    }
    tcase_add_loop_test(cases, import_compile_run_megatron, 0, sizeof megatron / sizeof *megatron);
    suite_add_tcase(suite, cases);
    return suite;
}
