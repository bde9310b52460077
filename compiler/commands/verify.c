// catena verify: every layer of a library against the double-precision oracle (verify.h).
#include <argp.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "compiler/base/table.h"
#include "compiler/machine/report.h"
#include "compiler/verify/verify.h"

typedef struct VerifyArguments {
    const char *library;
    const char *layer;
    OutputFormat format;
    VerifyOptions options;
} VerifyArguments;

static const struct argp_option option_table[] = {
    {"cases", 'c', "N", 0, "random cases, besides the adversarial ones (default 10)", 0},
    {"seed", 's', "S", 0, "seed of weights and tokens (default 1)", 0},
    {"threads", 't', "N", 0, "threads, compared with one (default: all cores that this process may use, at least two)", 0},
    {"layer", 'l', "NAME", 0, "only this layer", 0},
    {"seconds", 'b', "S", 0, "rough limit of the oracle's time per layer: fewer tokens per case for big layers (default 20)", 0},
    {"format", 'f', "md|json", 0, "Markdown tables (default) or one JSON document", 0},
    {0},
};

static error_t parse_option(int key, char *value, struct argp_state *state) {
    VerifyArguments *arguments = state->input;
    switch (key) {
    case 'c': arguments->options.cases = command_parse_number(value, 0, 100000, "cases", state); return 0;
    case 's': arguments->options.seed = (uint64_t)command_parse_number(value, 0, INT64_MAX, "seed", state); return 0;
    case 't': arguments->options.threads = command_parse_threads(value, state); return 0;
    case 'b': arguments->options.seconds = (double)command_parse_number(value, 1, 100000, "seconds", state); return 0;
    case 'l': arguments->layer = value; return 0;
    case 'f':
        if (!output_format_parse(value, &arguments->format)) {
            argp_error(state, "--format takes md or json, not '%s'", value);
        }
        return 0;
    case ARGP_KEY_ARG:
        if (arguments->library) {
            argp_error(state, "one library at a time: '%s' is too much", value);
        }
        arguments->library = value;
        return 0;
    case ARGP_KEY_END:
        if (!arguments->library) {
            argp_error(state, "a library is needed");
        }
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static void show_progress(const VerifyReport *report, const VerifyCase *done) {
    terminal_progress("verifying %s: %lld cases, last '%s' %s", report->layer, (long long)report->case_count, done->name,
                      done->passed ? "passed" : "FAILED");
}

static const char *model_name(const VerifyCase *test) {
    return test->model == ERROR_LIKELY ? "likely" : "worst case";
}

// --- markdown ----------------------------------------------------------------------------------------------------------------

static void add_row(Table *table, const VerifyCase *test) {
    table_cell(table, "%s", test->name);
    table_cell(table, "%lld", (long long)test->tokens);
    table_cell(table, "%s", model_name(test));
    table_cell(table, "%.2g", test->comparison.worst);
    table_cell(table, "%.1e", test->comparison.worst_l2);
    table_cell(table, "%lld", (long long)test->checks.choices);
    table_cell(table, "%lld", (long long)test->checks.near_ties);
    table_cell(table, "%lld", (long long)test->checks.rejected);
    table_cell(table, "%s", test->passed ? "pass" : "FAIL");
}

static void print_report(const VerifyReport *report) {
    Table table = {0};
    table_column(&table, "case", true);
    table_column(&table, "tokens", false);
    table_column(&table, "bounds", true);
    table_column(&table, "worst / bound", false);
    table_column(&table, "relative L2", false);
    table_column(&table, "choices", false);
    table_column(&table, "near ties", false);
    table_column(&table, "rejected", false);
    table_column(&table, "result", true);
    for (int64_t i = 0; i < report->case_count; i++) {
        add_row(&table, &report->cases[i]);
    }
    printf("\nlayer %s\n\n", report->layer);
    table_print(&table, stdout);
    table_free(&table);
    for (int64_t i = 0; i < report->case_count; i++) {
        if (!report->cases[i].passed) {
            printf("\n%s, %s: %s\n", report->layer, report->cases[i].name, report->cases[i].reason);
        }
    }
}

// --- json --------------------------------------------------------------------------------------------------------------------

static json_t *number_or_null(double value) {
    return value < 1e300 ? json_real(value) : json_null();  // JSON has no infinity
}

static json_t *report_document(const VerifyReport *report) {
    json_t *cases = json_array();
    for (int64_t i = 0; i < report->case_count; i++) {
        const VerifyCase *test = &report->cases[i];
        json_t *row = json_pack("{s:s, s:I, s:s, s:o, s:f, s:o, s:I, s:I, s:I, s:b, s:s}", "case", test->name, "tokens",
                                (json_int_t)test->tokens, "bounds", model_name(test), "worst_in_bounds",
                                number_or_null(test->comparison.worst), "relative_l2", test->comparison.worst_l2,
                                "worst_weight_in_bounds", number_or_null(test->checks.worst_weight), "choices",
                                (json_int_t)test->checks.choices, "near_ties", (json_int_t)test->checks.near_ties, "rejected",
                                (json_int_t)test->checks.rejected, "passed", test->passed, "reason", test->reason);
        json_array_append_new(cases, row);
    }
    return json_pack("{s:s, s:I, s:o}", "layer", report->layer, "failed", (json_int_t)report->failed, "cases", cases);
}

// --- the command -------------------------------------------------------------------------------------------------------------

typedef struct Totals {
    int64_t layers, cases, failed;
    json_t *documents;
} Totals;

static int verify_kinds(const VerifyArguments *arguments, const Loaded *loaded, const Kind *kinds, Totals *totals,
                        Diagnostics *diagnostics) {
    int64_t count = loaded->artifact->model->layer_count;
    for (int64_t kind = 0; kind < count; kind++) {
        VerifyReport report;
        if (arguments->layer && strcmp(arguments->layer, kinds[kind].name)) {
            continue;
        }
        int status = verify_layer(loaded, kinds, count, kind, &arguments->options, show_progress, &report, diagnostics);
        terminal_progress(NULL);
        if (!status && arguments->format == OUTPUT_JSON) {
            json_array_append_new(totals->documents, report_document(&report));
        } else if (!status) {
            print_report(&report);
        }
        totals->layers++;
        totals->cases += report.case_count;
        totals->failed += report.failed;
        verify_report_free(&report);
        if (status) {
            return -1;
        }
    }
    if (!totals->layers) {
        diagnostics_add(diagnostics, arguments->library, 0, 0, "has no layer '%s'", arguments->layer);
        return -1;
    }
    return 0;
}

static int print_totals(const VerifyArguments *arguments, Totals *totals) {
    if (arguments->format == OUTPUT_JSON) {
        json_t *document = json_pack("{s:s, s:b, s:I, s:I, s:O}", "library", arguments->library, "passed", !totals->failed, "cases",
                                     (json_int_t)totals->cases, "failed", (json_int_t)totals->failed, "layers", totals->documents);
        return report_print(document);
    }
    printf("\n%s: %lld layer%s, %lld case%s, %lld failed\n", totals->failed ? "FAIL" : "PASS", (long long)totals->layers,
           totals->layers == 1 ? "" : "s", (long long)totals->cases, totals->cases == 1 ? "" : "s", (long long)totals->failed);
    return fflush(stdout) ? -1 : 0;
}

int command_verify(int argc, char **argv) {
    static const struct argp parser = {option_table,
                                       parse_option,
                                       "LIB",
                                       "Checks a library against the double-precision oracle.\v"
                                       "'worst / bound' is the largest error in units of the derived bound; above 1 is wrong. "
                                       "'worst case' bounds hold always, 'likely' ones are the sharper test on random data.",
                                       NULL,
                                       NULL,
                                       NULL};
    VerifyArguments arguments = {.options = {.cases = 10, .seed = 1}};
    argp_parse(&parser, argc, argv, 0, NULL, &arguments);
    command_say_threads(arguments.options.threads);
    Diagnostics diagnostics = {0};
    Totals totals = {.documents = json_array()};
    Loaded *loaded = loaded_open(arguments.library, &diagnostics);
    Kind *kinds = loaded ? artifact_kinds(loaded->artifact) : NULL;
    int code = EXIT_FAILED;
    if (loaded && !kinds) {
        diagnostics_add(&diagnostics, arguments.library, 0, 0, "out of memory");
    } else if (loaded && !verify_kinds(&arguments, loaded, kinds, &totals, &diagnostics) && !print_totals(&arguments, &totals)) {
        code = totals.failed ? EXIT_FAILED : EXIT_OK;
    }
    diagnostics_print(&diagnostics, stderr);
    diagnostics_free(&diagnostics);
    json_decref(totals.documents);
    free(kinds);
    loaded_close(loaded);
    return code;
}
