// Reading and loading libraries: what a good one says, and files that are damaged in every way that we could think of. Nothing
// damaged is loaded: what counts is that artifact_read refuses it, or returns sizes that fit its layers.
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "compiler/commands/command.h"
#include "compiler/library/artifact.h"
#include "compiler/measure/synthetic.h"
#include "compiler/plan/text.h"
#include "shell.h"
#include "suites.h"

static const char good[] = "$D/libmixtral_small.so", changed[] = "$D/changed.so";

static void begin(void) {
    shell_begin();
    shell_expect(EXIT_OK, "", "$CATENA compile tests/data/mixtral_small.json -o $D");
}

// A header and a library of other layers: neither does the linker join them, nor does a program start. A library that was compiled
// anew for the same layers takes the place of the first.
START_TEST(header_and_library_belong_together) {
    static const char program[] =
        "#include \"mixtral_small.h\"\n"
        "int main(void) {\n"
        "    mixtral_small *model;\n"
        "    return mixtral_small_open(\"/nowhere\", 0, &model, 0, 0) != MIXTRAL_SMALL_IO_ERROR;\n"
        "}\n";
    shell_write_file("$D/program.c", program, strlen(program));
    shell_expect(EXIT_OK, "", "sed 's/\"intermediate\": 64/\"intermediate\": 32/' tests/data/mixtral_small.json >$D/same.json");
    shell_expect(EXIT_OK, "", "sed 's/\"hidden\": 72/\"hidden\": 80/' tests/data/mixtral_small.json >$D/other.json");
    shell_expect(EXIT_OK, "", "$CATENA compile $D/same.json -o $D/same && $CATENA compile $D/other.json -o $D/-other");
    shell_expect(0, "", "cc -I$D $D/program.c $D/libmixtral_small.so -Wl,-rpath,'$ORIGIN/used' -o $D/program");
    shell_expect(0, "", "mkdir $D/used && cp $D/libmixtral_small.so $D/used && $D/program");
    shell_expect(0, "", "cp $D/same/libmixtral_small.so $D/used && $D/program");
    shell_expect(127, "undefined symbol: mixtral_small_open_", "cp $D/-other/libmixtral_small.so $D/used && $D/program");
    shell_expect(1, "undefined reference to `mixtral_small_open_",
                 "cc -I$D $D/program.c $D/-other/libmixtral_small.so -o $D/program");
}
END_TEST

// A folder's name that begins with a dash is not an option to the linker.
START_TEST(folders_may_begin_with_a_dash) {
    shell_expect(EXIT_OK, "",
                 "catena=$(realpath $CATENA) spec=$(realpath tests/data/mixtral_small.json); cd $D && "
                 "$catena compile $spec -o -dash && test -s ./-dash/libmixtral_small.so");
}
END_TEST

static const char *path_of(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s%s", shell_folder(), name + strlen("$D"));
    return path;
}

// Reads a file that may be damaged: what cannot be read says why, what can has plans that follow from its layers.
static bool readable(const char *name) {
    Diagnostics diagnostics = {0};
    Artifact *artifact = artifact_read(path_of(name), &diagnostics);
    bool found = artifact != NULL;
    if (artifact) {
        for (int64_t i = 0; i < artifact->model->layer_count; i++) {
            Plan plan = artifact->plans[i];
            plan_layout(&plan);
            ck_assert_mem_eq(&plan, &artifact->plans[i], sizeof plan);
        }
        ck_assert_uint_eq(diagnostics.count, 0);
    } else {
        ck_assert_uint_gt(diagnostics.count, 0);
        ck_assert_msg(strstr(diagnostics.text, path_of(name)) != NULL, "%s", diagnostics.text);
    }
    artifact_free(artifact);
    diagnostics_free(&diagnostics);
    return found;
}

static void expect_refused(const char *name, const char *words) {
    Diagnostics diagnostics = {0};
    ck_assert_ptr_null(artifact_read(path_of(name), &diagnostics));
    ck_assert_msg(strstr(diagnostics.text, words) != NULL, "\"%s\" is not in: %s", words, diagnostics.text);
    diagnostics_free(&diagnostics);
    ck_assert_ptr_null(loaded_open(path_of(name), &diagnostics));
    ck_assert_msg(strstr(diagnostics.text, words) != NULL, "\"%s\" is not in: %s", words, diagnostics.text);
    diagnostics_free(&diagnostics);
}

START_TEST(a_library_describes_itself) {
    Diagnostics diagnostics = {0};
    Loaded *loaded = loaded_open(path_of(good), &diagnostics);
    ck_assert_msg(loaded != NULL, "%s", diagnostics.text);
    const Artifact *artifact = loaded->artifact;
    ck_assert_str_eq(artifact->name, "mixtral_small");
    ck_assert_int_eq(artifact->model->layer_count, 1);
    ck_assert_int_eq(artifact->plans[0].layer.hidden, 72);
    Kind *kinds = artifact_kinds(artifact);
    ck_assert_str_eq(kinds[0].name, "sparse");
    ck_assert_int_eq(kinds[0].count, 2);
    ck_assert_mem_eq(&kinds[0].plan, &artifact->plans[0], sizeof(Plan));
    ck_assert_str_eq(kinds[0].checkpoint.tensors[TENSOR_ROUTER].pattern, "model.layers.{layer}.block_sparse_moe.gate.weight");
    char error[256];
    Library *library = NULL;
    ck_assert_int_eq(loaded->open("/nowhere", NULL, &library, error, sizeof error), LIBRARY_IO_ERROR);
    ck_assert_ptr_null(library);
    ck_assert_msg(strstr(error, "/nowhere") != NULL, "%s", error);
    free(kinds);
    loaded_close(loaded);
}
END_TEST

// The compute class and the target of the command line are kept.
START_TEST(choices_of_the_command_line_are_kept) {
    shell_expect(EXIT_OK, "",
                 "sed 's/fp32/bf16/' tests/data/mixtral_small.json >$D/spec.json && "
                 "$CATENA compile $D/spec.json -o $D --compute bf16 --target generic");
    Diagnostics diagnostics = {0};
    Artifact *artifact = artifact_read(path_of(good), &diagnostics);
    ck_assert_msg(artifact != NULL, "%s", diagnostics.text);
    ck_assert_str_eq(artifact->target, "generic");
    ck_assert_int_eq(artifact->model->layers[0].layer.compute, COMPUTE_BF16);
    ck_assert_int_eq(artifact->plans[0].layer.compute, COMPUTE_BF16);
    artifact_free(artifact);
}
END_TEST

START_TEST(garbage) {
    static char bytes[4096];
    uint64_t state = 1;
    shell_write_file(changed, bytes, 0);
    expect_refused(changed, "not a shared library");
    shell_write_file(changed, "{}", 2);
    expect_refused(changed, "not a shared library");
    shell_write_file(changed, "\177ELF", 4);
    ck_assert(!readable(changed));
    for (int i = 0; i < 200; i++) {
        for (size_t b = 0; b < sizeof bytes; b++) {
            bytes[b] = (char)synthetic_next(&state);
        }
        memcpy(bytes, "\177ELF\2\1\1", 7);
        shell_write_file(changed, bytes, sizeof bytes);
        ck_assert(!readable(changed));
    }
    expect_refused("$D", "not a shared library");
    expect_refused("$D/missing.so", "No such file");
    ck_assert_int_eq(mkfifo(path_of("$D/pipe"), 0600), 0);
    expect_refused("$D/pipe", "not a shared library");
}
END_TEST

START_TEST(truncated) {
    enum { CUTS = 300 };
    size_t size;
    char *bytes = shell_read_file(good, &size);
    for (size_t i = 0; i < CUTS; i++) {
        shell_write_file(changed, bytes, i < CUTS / 2 ? size * i / (CUTS / 2) : size - 1 - (i - CUTS / 2));
        ck_assert(!readable(changed));
    }
    free(bytes);
}
END_TEST

// Random bytes in the file's header, in its section headers and in the description.
START_TEST(changed_bytes) {
    size_t size;
    char *bytes = shell_read_file(good, &size), *text = memmem(bytes, size, "{\n  \"catena\": ", 14);
    ck_assert_ptr_nonnull(text);
    uint64_t headers, state = (uint64_t)_i + 1;
    memcpy(&headers, bytes + 40, sizeof headers);  // e_shoff
    const struct {
        uint64_t start, length;
    } parts[] = {{0, 64}, {headers, size - headers}, {(uint64_t)(text - bytes), strlen(text)}};
    for (int i = 0; i < 150; i++) {
        char *place = bytes + parts[i % 3].start + synthetic_next(&state) % parts[i % 3].length, kept = *place;
        *place = (char)(synthetic_next(&state) >> 32);
        shell_write_file(changed, bytes, size);
        readable(changed);
        *place = kept;
    }
    free(bytes);
}
END_TEST

START_TEST(changed_descriptions) {
    static const struct {
        const char *from, *to, *words;
    } rows[] = {
        {"{\n  \"catena\"", "[\n  \"catena\"", "damaged description"},
        {"\"name\": ", "\"nama\": ", "damaged description: \"name\""},
        {"\"target\": ", "\"targex\": ", "damaged description: \"target\""},
        {"\"spec\": \"", "\"spex\": \"", "damaged description: \"spec\""},
        {"\"spec\": \"{", "\"spec\": \"[", "error"},
        {"\\\"hidden\\\": 72", "\\\"hidden\\\": -2", "layers[0].hidden must be an integer"},
        {"\"compute\": [", "\"computx\": [", "damaged description: \"compute\""},
        {"\"plans\": [", "\"planx\": [", "damaged description: \"plans\""},
        {"\"wisdom\": [", "\"wisdox\": [", "damaged description: \"wisdom\""},
        {"\"wisdom\": [\n    null", "\"wisdom\": [\n    true", "damaged description: \"wisdom\""},
        {"\\\"count\\\": 8", "\\\"count\\\": 9", "damaged description: plan of layer 'sparse'"},
        {"gate_up.panels ", "gate_up.panelx ", "damaged description: plan of layer 'sparse'"},
        {"down.matrices 8", "down.matrices 7", "damaged description: plan of layer 'sparse'"},
        {"down.path fp32_fma", "down.path fp32_fmx", "damaged description: plan of layer 'sparse'"},
        {"plan.instance_bytes ", "plan.instance_bytes 9", "damaged description: plan of layer 'sparse'"},
    };
    size_t size;
    char *bytes = shell_read_file(good, &size), *text = memmem(bytes, size, "{\n  \"catena\": ", 14);
    ck_assert_ptr_nonnull(text);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char kept[64], *place = strstr(text, rows[i].from);
        ck_assert_msg(place != NULL, "%s", rows[i].from);
        memcpy(kept, place, sizeof kept);
        memcpy(place, rows[i].to, strlen(rows[i].to));
        shell_write_file(changed, bytes, size);
        expect_refused(changed, rows[i].words);
        memcpy(place, kept, sizeof kept);
    }
    shell_write_file(changed, bytes, size);
    ck_assert(readable(changed));
    free(bytes);
}
END_TEST

// A library for another architecture cannot be loaded, and says so; what needs no loading works.
START_TEST(another_architecture) {
    struct utsname here;
    ck_assert_int_eq(uname(&here), 0);
    const bool arm = !strcmp(here.machine, "aarch64");
    const char *other = arm ? "x86_64 (target avx2)" : "aarch64 (target neon)";
    shell_expect(EXIT_OK, "", "$CATENA compile tests/data/mixtral_small.json -o $D --target %s", arm ? "avx2" : "neon");
    Diagnostics diagnostics = {0};
    ck_assert_ptr_null(loaded_open(path_of(good), &diagnostics));
    ck_assert_msg(strstr(diagnostics.text, other) != NULL && strstr(diagnostics.text, here.machine) != NULL, "%s",
                  diagnostics.text);
    diagnostics_free(&diagnostics);
    ck_assert(readable(good));
    shell_expect(EXIT_FAILED, other, "$CATENA verify %s", good);
    shell_expect(EXIT_OK, arm ? "target avx2" : "target neon", "$CATENA explain %s", good);
    shell_expect(EXIT_OK, "", "$CATENA pack %s --weights tests/data/mixtral_small/model.safetensors -o $D/packed", good);
}
END_TEST

Suite *suite_artifact(void) {
    Suite *suite = suite_create("artifact");
    TCase *cases = tcase_create("libraries");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_checked_fixture(cases, begin, shell_end);
    tcase_add_test(cases, a_library_describes_itself);
    tcase_add_test(cases, header_and_library_belong_together);
    tcase_add_test(cases, folders_may_begin_with_a_dash);
    tcase_add_test(cases, choices_of_the_command_line_are_kept);
    tcase_add_test(cases, garbage);
    tcase_add_test(cases, truncated);
    tcase_add_loop_test(cases, changed_bytes, 0, 4);
    tcase_add_test(cases, changed_descriptions);
    tcase_add_test(cases, another_architecture);
    suite_add_tcase(suite, cases);
    return suite;
}
