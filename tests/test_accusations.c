// Verification accuses no right library: descriptions of all fields and all extremes (draw.h), each compiled, then verified with
// the cases of `catena verify`: natively (fast, with plain tiles) and compiled. A seed is a test of its own; what it prints when it
// fails is the description and why.
//
//     CATENA_ACCUSATIONS=first:count CATENA_ACCUSATIONS_COMPILED=first:count build/tests accusations
//
// runs those seeds instead of a few.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/library/compile.h"
#include "compiler/verify/verify.h"
#include "draw.h"
#include "fixture.h"
#include "native.h"
#include "shell.h"
#include "suites.h"

enum { NATIVE_SEEDS = 12 / ONE_CASE_IN, COMPILED_SEEDS = ONE_CASE_IN > 1 ? 0 : 2 };  // LLVM is not instrumented

// The first reason of every case that failed, one line each; to free().
static char *reasons_of(const VerifyReport *report) {
    size_t bytes = (size_t)(report->case_count + 1) * (VERIFY_NAME_BYTES + VERIFY_REASON_BYTES + 4), used = 0;
    char *text = calloc(1, bytes);
    ck_assert_ptr_nonnull(text);
    for (int64_t i = 0; i < report->case_count; i++) {
        if (!report->cases[i].passed) {
            used += (size_t)snprintf(text + used, bytes - used, "%s: %s\n", report->cases[i].name, report->cases[i].reason);
        }
    }
    return text;
}

// A seed's layer and its description.
typedef struct Drawn {
    unsigned long long seed;
    Layer layer;
    char *text;
} Drawn;

static Drawn draw(int seed) {
    Drawn drawn = {.seed = (unsigned long long)seed, .layer = draw_layer((uint64_t)seed)};
    drawn.text = fixture_spec("drawn", &drawn.layer);
    return drawn;
}

static void expect_no_accusation(const Drawn *drawn, const Loaded *library, const Kind *kind) {
    VerifyOptions options = {.cases = 10, .seed = drawn->seed + 1};
    Diagnostics diagnostics = {0};
    VerifyReport report;
    int status = verify_layer(library, kind, 1, 0, &options, NULL, &report, &diagnostics);
    ck_assert_msg(!status, "seed %llu: %s\n%s", drawn->seed, diagnostics.text, drawn->text);
    char *reasons = reasons_of(&report);
    ck_assert_msg(!report.failed, "seed %llu (verify --seed %llu):\n%s%s", drawn->seed, drawn->seed + 1, reasons, drawn->text);
    free(reasons);
    verify_report_free(&report);
    diagnostics_free(&diagnostics);
}

START_TEST(test_native) {
    static const char *const names[] = {"avx512", "avx2", "generic"};  // whose plans differ in the heights of tiles
    Drawn drawn = draw(_i);
    Kind kind = fixture_kind(&drawn.layer, names[_i % 3]);
    expect_no_accusation(&drawn, native_library(&kind), &kind);
    free(drawn.text);
}
END_TEST

START_TEST(test_compiled) {
    CompileOptions options = {.compute = -1, .wisdom = "none"};
    Diagnostics diagnostics = {0};
    char path[SHELL_PATH_BYTES + 32];
    Drawn drawn = draw(_i);
    shell_begin();
    Model *model = model_read_text(drawn.text, strlen(drawn.text), "drawn", &diagnostics);
    ck_assert_msg(model && !compile_library(model, &options, shell_folder(), &diagnostics), "seed %llu: %s\n%s", drawn.seed,
                  diagnostics.text, drawn.text);
    snprintf(path, sizeof path, "%s/libdrawn.so", shell_folder());
    Loaded *loaded = loaded_open(path, &diagnostics);
    ck_assert_msg(loaded, "seed %llu: %s\n%s", drawn.seed, diagnostics.text, drawn.text);
    Kind *kinds = artifact_kinds(loaded->artifact);
    ck_assert_ptr_nonnull(kinds);
    expect_no_accusation(&drawn, loaded, kinds);
    free(kinds);
    loaded_close(loaded);
    model_free(model);
    free(drawn.text);
    shell_end();
}
END_TEST

// The seeds FIRST:COUNT that an environment variable names, or `count` from 0 on.
static void add_seeds(TCase *cases, const TTest *test, const char *variable, int count) {
    const char *range = getenv(variable);
    int first = 0;
    if (range && (sscanf(range, "%d:%d", &first, &count) != 2 || first < 0 || count < 0)) {
        fprintf(stderr, "accusations: %s is '%s', must be FIRST:COUNT\n", variable, range);
        exit(EXIT_FAILURE);
    }
    if (count) {
        tcase_add_loop_test(cases, test, first, first + count);
    }
}

Suite *suite_accusations(void) {
    Suite *suite = suite_create("accusations");
    TCase *cases = tcase_create("accusations");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    add_seeds(cases, test_native, "CATENA_ACCUSATIONS", NATIVE_SEEDS);
    add_seeds(cases, test_compiled, "CATENA_ACCUSATIONS_COMPILED", COMPILED_SEEDS);
    suite_add_tcase(suite, cases);
    return suite;
}
