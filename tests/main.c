// Runs every suite of suites.h, or those named as arguments, says what this machine could not run, and ends with Check's one
// summary line. Tests run from the repository's root: they read tests/data and examples/.
//
// Each suite is a process of its own with a runner of Check's, and as many run side by side as this process may use cores, in the
// order of suites.h: what two suites write must not be the same file. A process that dies, or ends with anything but success (a
// leak that a sanitizer finds at its end), counts as an error.
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

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

// A suite's process. Its report is a file without a name: a line of Totals, then what Check prints.
typedef struct Process {
    const SuiteRow *suite;
    pid_t id;
    FILE *report;
    time_t started;
} Process;

typedef struct Totals {
    int checks, failures, errors;
} Totals;

static bool wanted(const char *name, int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], name)) {
            return true;
        }
    }
    return argc < 2;
}

static bool known(const char *name) {
    for (int s = 0; s < SUITES; s++) {
        if (!strcmp(suites[s].name, name)) {
            return true;
        }
    }
    return false;
}

static Totals count_results(SRunner *runner) {
    Totals totals = {.checks = srunner_ntests_run(runner)};
    TestResult **failed = srunner_failures(runner);
    for (int i = 0; i < srunner_ntests_failed(runner); i++) {
        totals.errors += tr_rtype(failed[i]) == CK_ERROR;
        totals.failures += tr_rtype(failed[i]) == CK_FAILURE;
    }
    free(failed);
    return totals;
}

// The whole life of a suite's process.
static _Noreturn void run_suite(const SuiteRow *suite, FILE *report) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);  // which Check passes on to a running test
    SRunner *runner = srunner_create(suite->create());
    srunner_run_all(runner, CK_SILENT);
    Totals totals = count_results(runner);
    fprintf(report, "%d %d %d\n", totals.checks, totals.failures, totals.errors);
    fflush(report);
    fflush(stdout);
    dup2(fileno(report), STDOUT_FILENO);  // Check prints nowhere else
    srunner_print(runner, CK_ENV);
    srunner_free(runner);
    fclose(report);
    exit(EXIT_SUCCESS);
}

static void start(Process *process) {
    process->report = tmpfile();
    process->started = time(NULL);
    fflush(stdout);
    process->id = process->report ? fork() : -1;
    if (!process->id) {
        run_suite(process->suite, process->report);
    }
    if (process->id < 0) {
        perror("tests: a process for a suite");
        exit(EXIT_FAILURE);
    }
}

// Passes a report on, without Check's summary, and adds it up.
static void finish(Process *process, int status, Totals *all) {
    Totals totals = {0};
    char line[4096];
    rewind(process->report);
    bool whole = fgets(line, sizeof line, process->report) &&
                 sscanf(line, "%d %d %d", &totals.checks, &totals.failures, &totals.errors) == 3;
    printf("suite %s: %d checks, %ld s\n", process->suite->name, totals.checks, (long)(time(NULL) - process->started));
    while (fgets(line, sizeof line, process->report)) {
        if (!strstr(line, "%: Checks: ")) {
            fputs(line, stdout);
        }
    }
    if (!whole || status) {
        bool killed = WIFSIGNALED(status);
        printf("suite %s: its process %s %d%s\n", process->suite->name, killed ? "was ended by signal" : "ended with status",
               killed ? WTERMSIG(status) : WEXITSTATUS(status), whole ? "" : " before its result");
        totals.checks++;
        totals.errors++;
    }
    fclose(process->report);
    all->checks += totals.checks;
    all->failures += totals.failures;
    all->errors += totals.errors;
}

static Totals run_all(Process *processes, int count) {
    cpu_set_t cores;
    int most = sched_getaffinity(0, sizeof cores, &cores) ? 1 : CPU_COUNT(&cores), begun = 0, running = 0;
    Totals totals = {0};
    while (begun < count || running) {
        if (begun < count && running < most) {
            start(&processes[begun++]);
            running++;
            continue;
        }
        int status = 0;
        pid_t ended = wait(&status);
        for (int i = 0; i < begun; i++) {
            if (processes[i].id == ended) {
                finish(&processes[i], status, &totals);
            }
        }
        running--;
    }
    return totals;
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
    Process processes[SUITES];
    int count = 0;
    for (int s = 0; s < SUITES; s++) {
        if ((suites[s].where & HERE) && wanted(suites[s].name, argc, argv)) {
            processes[count++] = (Process){.suite = &suites[s]};
        }
    }
    Totals totals = run_all(processes, count);
    int failed = totals.failures + totals.errors, unacceptable = available_report();
    // after it: the summary, as Check writes it, is the last line
    printf("%d%%: Checks: %d, Failures: %d, Errors: %d\n", totals.checks ? 100 * (totals.checks - failed) / totals.checks : 100,
           totals.checks, totals.failures, totals.errors);
    return failed || unacceptable ? EXIT_FAILURE : EXIT_SUCCESS;
}
