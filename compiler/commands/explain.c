// catena explain SPEC|LIB: the plan in words and in its canonical text.
#include <argp.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "compiler/base/table.h"
#include "compiler/explain/explain.h"
#include "compiler/library/artifact.h"
#include "compiler/library/compile.h"
#include "compiler/machine/site.h"
#include "compiler/measure/measure.h"
#include "compiler/plan/text.h"
#include "compiler/wisdom/recall.h"
#include "input.h"

typedef struct Arguments {
    const char *input, *target, *against, *topology;
    int compute, text_only, threads;
} Arguments;

// What is explained, from a description or from a library.
typedef struct Subject {
    Artifact *artifact;
    Model *model;
    Plan *plans;
    json_t *origins;  // of the plans
    json_t *untrusted;  // of a description's layers: recall_plans
    const Target *target;
} Subject;

static const struct argp_option argp_options[] = {
    {"target", 't', "TARGET", 0, "Plan a description for this target", 0},
    {"compute", 'c', "CLASS", 0, "fp32 or bf16: replaces the compute class of every layer of a description", 0},
    {"threads", 'j', "N", 0, "Predict for N threads (default: all that this process may use)", 0},
    {"topology", 'm', "FILE.xml|TEXT", 0,
     "Plan for another machine: hwloc's XML, or its synthetic description such as \"pack:2 numa:1 core:24 pu:2\"", 0},
    {"against", 'a', "SPEC|LIB", 0, "Compare its first layer with another's: work, memory, possible choices; nothing is measured",
     0},
    {"text", 'x', NULL, 0, "Print the canonical text of the plans alone", 0},
    {0},
};

static error_t parse(int key, char *argument, struct argp_state *state) {
    Arguments *arguments = state->input;
    switch (key) {
    case 't': arguments->target = argument; return 0;
    case 'c': arguments->compute = command_parse_compute(argument, state); return 0;
    case 'j': arguments->threads = command_parse_threads(argument, state); return 0;
    case 'm': arguments->topology = argument; return 0;
    case 'a': arguments->against = argument; return 0;
    case 'x': arguments->text_only = 1; return 0;
    case ARGP_KEY_ARG:
        if (arguments->input) {
            argp_error(state, "one description or library at a time");
        }
        arguments->input = argument;
        return 0;
    case ARGP_KEY_NO_ARGS: argp_error(state, "a description or a library is needed"); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static int subject_read_library(Subject *subject, const char *input, const Arguments *arguments, Diagnostics *diagnostics) {
    if (arguments->target || arguments->compute >= 0) {
        diagnostics_add(diagnostics, input, 0, 0, "%s needs a description: a library is compiled already and has its own",
                        arguments->target ? "--target" : "--compute");
        return -1;
    }
    subject->artifact = artifact_read(input, diagnostics);
    if (!subject->artifact) {
        return -1;
    }
    subject->model = subject->artifact->model;
    subject->plans = subject->artifact->plans;
    subject->origins = subject->artifact->origins;
    subject->target = target_find(subject->artifact->target);
    if (!subject->target) {
        diagnostics_add(diagnostics, input, 0, 0, "made for the target '%s', which this catena does not know",
                        subject->artifact->target);
    }
    return subject->target ? 0 : -1;
}

static int subject_read(Subject *subject, const char *input, const Arguments *arguments, const Site *site,
                        Diagnostics *diagnostics) {
    const Machine *machine = &site->machine;
    switch (input_kind(input, diagnostics)) {
    case INPUT_LIBRARY: return subject_read_library(subject, input, arguments, diagnostics);
    case INPUT_NEITHER: return -1;
    case INPUT_DESCRIPTION: break;
    }
    subject->model = model_read_file(input, diagnostics);
    subject->target = subject->model ? site_target(site, arguments->target, diagnostics) : NULL;
    if (!subject->target) {
        return -1;
    }
    subject->plans = calloc((size_t)subject->model->layer_count, sizeof *subject->plans);
    if (!subject->plans ||
        compile_plans(subject->model, subject->target, machine, arguments->compute, subject->plans, diagnostics)) {
        return -1;
    }
    subject->untrusted = json_array();
    subject->origins =
        recall_plans(NULL, false, subject->model, subject->target, machine, subject->plans, subject->untrusted, diagnostics);
    return subject->origins ? 0 : -1;
}

static void subject_free(Subject *subject) {
    if (subject->artifact) {
        artifact_free(subject->artifact);
    } else {
        model_free(subject->model);
        free(subject->plans);
        json_decref(subject->origins);
        json_decref(subject->untrusted);
    }
}

static int print_texts(const Subject *subject) {
    for (int64_t i = 0; i < subject->model->layer_count; i++) {
        char *text = plan_print(&subject->plans[i]);
        printf("# layer %s\n%s", subject->model->layers[i].name, text ? text : "");
        free(text);
    }
    return 0;
}

static int print_explanations(const Subject *subject, const Arguments *arguments, const Machine *machine,
                              Diagnostics *diagnostics) {
    Peaks peaks;
    Bandwidth bandwidth;
    int threads = arguments->threads ? arguments->threads : (int)machine->threads;
    bool host = site_supports(machine, subject->target, NULL), timed = false;
    if (host) {
        command_say_threads(arguments->threads);
        int failed = measure_peaks_kept(machine, subject->target->name, threads, &peaks, diagnostics);
        terminal_progress("measuring the memory's bandwidth");
        timed = !failed && !measure_bandwidth(machine, machine->cache_count, threads, 0.5, &bandwidth);
        terminal_progress(NULL);
        if (failed) {
            return -1;
        }
    }
    for (int64_t i = 0; i < subject->model->layer_count; i++) {
        PlacementRates rates = host && timed ? placement_measured(machine, &subject->plans[i], &peaks, &bandwidth, threads)
                                             : placement_nominal(machine);
        Explanation explanation = {.target = subject->target,
                                   .plan = &subject->plans[i],
                                   .layer = &subject->model->layers[i],
                                   .origin = json_array_get(subject->origins, (size_t)i),
                                   .untrusted = json_string_value(json_array_get(subject->untrusted, (size_t)i)),
                                   .workload = &subject->model->workload,
                                   .threads = threads,
                                   .machine = machine,
                                   .rates = &rates,
                                   .peaks = host ? &peaks : NULL,
                                   .bandwidth = timed ? &bandwidth : NULL};
        explain_layer(&explanation, stdout);
    }
    printf("\n### Canonical text\n\n");
    return print_texts(subject);
}

static int compare(const Subject *subject, const Arguments *arguments, const Site *site, Diagnostics *diagnostics) {
    Subject other = {0};
    int failed = subject_read(&other, arguments->against, arguments, site, diagnostics);
    if (!failed) {
        explain_comparison(subject->model->name, &subject->plans[0], other.model->name, &other.plans[0], stdout);
    }
    subject_free(&other);
    return failed;
}

int command_explain(int argc, char **argv) {
    static const struct argp argp = {
        argp_options, parse, "SPEC|LIB", "Shows the plan of a description or library and why it was chosen.", NULL, NULL, NULL};
    Arguments arguments = {.compute = -1};
    Diagnostics diagnostics = {0};
    Subject subject = {0};
    Site site;
    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    int failed = site_open(&site, arguments.topology, &diagnostics) ||
                 subject_read(&subject, arguments.input, &arguments, &site, &diagnostics);
    if (!failed && arguments.against) {
        failed = compare(&subject, &arguments, &site, &diagnostics);
    } else if (!failed) {
        failed =
            arguments.text_only ? print_texts(&subject) : print_explanations(&subject, &arguments, &site.machine, &diagnostics);
    }
    diagnostics_print(&diagnostics, stderr);
    diagnostics_free(&diagnostics);
    subject_free(&subject);
    return failed ? EXIT_FAILED : EXIT_OK;
}
