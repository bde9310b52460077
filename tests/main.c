// Runs every suite of suites.h, or those named as arguments, says what this machine could not run, and ends with Check's one
// summary line. Tests run from the repository's root: they read tests/data and examples/.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "available.h"
#include "suites.h"

typedef struct SuiteRow {
    const char *name;
    int where;
    Suite *(*create)(void);
} SuiteRow;

#define SUITE_ROW(name, where) {#name, where, suite_##name},
static const SuiteRow suites[] = {SUITE_LIST(SUITE_ROW)};
enum { SUITES = sizeof suites / sizeof *suites };

#ifdef __SANITIZE_ADDRESS__
enum { HERE = SANITIZED };
#else
enum { HERE = NATIVE };
#endif

static int wanted(const char *name, int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], name)) {
            return 1;
        }
    }
    return argc < 2;
}

static int known(const char *name) {
    for (int s = 0; s < SUITES; s++) {
        if (!strcmp(suites[s].name, name)) {
            return 1;
        }
    }
    return 0;
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (!known(argv[i])) {
            fprintf(stderr, "%s: no suite '%s'; suites are:", argv[0], argv[i]);
            for (int s = 0; s < SUITES; s++) {
                fprintf(stderr, " %s", suites[s].name);
            }
            fputc('\n', stderr);
            return 2;
        }
    }
    SRunner *runner = srunner_create(NULL);
    printf("suites:");
    for (int s = 0; s < SUITES; s++) {
        if ((suites[s].where & HERE) && wanted(suites[s].name, argc, argv)) {
            printf(" %s", suites[s].name);
            srunner_add_suite(runner, suites[s].create());
        }
    }
    printf("\n");
    fflush(stdout);
    srunner_run_all(runner, CK_SILENT);
    int unacceptable = available_report();
    srunner_print(runner, CK_ENV);  // after it: the summary is the last line if all is well
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed || unacceptable ? EXIT_FAILURE : EXIT_SUCCESS;
}
