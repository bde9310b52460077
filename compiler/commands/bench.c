// `catena bench`: options, compiling a description first, Ctrl-C, output.
#define _GNU_SOURCE
#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "command.h"
#include "compiler/base/plot.h"
#include "compiler/base/temporary.h"
#include "compiler/bench/bench.h"
#include "compiler/library/compile.h"
#include "compiler/machine/report.h"
#include "input.h"
#include "runtime/file.h"

enum {
    OPTION_TOKENS = 256,
    OPTION_ROUTING,
    OPTION_THREADS,
    OPTION_COMPUTE,
    OPTION_WARM,
    OPTION_AGAINST,
    OPTION_LAYER,
    OPTION_FORMAT,
    OPTION_SECONDS,
    OPTION_HUGE_PAGES,
    OPTION_PLOT
};

typedef struct CommandOptions {
    BenchOptions bench;
    const char *input;
    const char *routing;  // NULL: as the description's workload says
    int compute;          // -1: as described
    OutputFormat format;
    const char *plot;     // NULL: no drawing
} CommandOptions;

static const struct argp_option option_table[] = {
    {"tokens", OPTION_TOKENS, "N,N,...", 0, "Token counts, a row each (default: the description's workload)", 0},
    {"routing", OPTION_ROUTING, "WHICH", 0, "uniform, zipf:S, one, or trace:PREFIX as written by catena run --routing PREFIX", 0},
    {"threads", OPTION_THREADS, "N", 0, "Threads (default: all cores that this process may use)", 0},
    {"compute", OPTION_COMPUTE, "fp32|bf16", 0, "Compile a description in this compute class", 0},
    {"warm", OPTION_WARM, NULL, 0, "Also measure with the same weights and tokens again and again", 0},
    {"against", OPTION_AGAINST, "WHAT", 0, "plain (default: plain C and OpenMP), none, or a second library", 0},
    {"layer", OPTION_LAYER, "NAME", 0, "Only this layer", 0},
    {"format", OPTION_FORMAT, "md|json", 0, "A Markdown table (default) or one JSON document", 0},
    {"seconds", OPTION_SECONDS, "S", 0, "Time for each row (default 3)", 0},
    {"huge-pages", OPTION_HUGE_PAGES, "yes|no", 0, "Ask for huge pages, for every side (default yes)", 0},
    {"plot", OPTION_PLOT, "FILE.svg", 0, "Also draw GFLOP/s and GB/s over token counts, with the roofline and the opponent", 0},
    {0},
};

// --- options -----------------------------------------------------------------------------------------------------------------

static double parse_number(const char *text, double minimum, double maximum) {
    char *end;
    double value = strtod(text, &end);
    return end > text && !*end && value >= minimum && value <= maximum ? value : -1;
}

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    CommandOptions *options = state->input;
    switch (key) {
    case OPTION_TOKENS: options->bench.token_counts = command_parse_tokens(argument, options->bench.tokens, NULL, state); return 0;
    case OPTION_ROUTING:
        options->routing = argument;
        if (routing_parse(argument, &options->bench.routing)) {
            argp_error(state, "--routing takes uniform, zipf:S, one or trace:PREFIX, not '%s'", argument);
        }
        return 0;
    case OPTION_THREADS: options->bench.threads = command_parse_threads(argument, state); return 0;
    case OPTION_COMPUTE: options->compute = command_parse_compute(argument, state); return 0;
    case OPTION_WARM: options->bench.warm = true; return 0;
    case OPTION_AGAINST: options->bench.against = argument; return 0;
    case OPTION_LAYER: options->bench.layer = argument; return 0;
    case OPTION_FORMAT:
        if (!output_format_parse(argument, &options->format)) {
            argp_error(state, "--format takes md or json, not '%s'", argument);
        }
        return 0;
    case OPTION_SECONDS:
        options->bench.seconds = parse_number(argument, 0, 3600);
        if (options->bench.seconds < 0) {
            argp_error(state, "--seconds takes a number from 0 to 3600, not '%s'", argument);
        }
        return 0;
    case OPTION_HUGE_PAGES:
        options->bench.huge_pages = !strcmp(argument, "yes");
        if (!options->bench.huge_pages && strcmp(argument, "no")) {
            argp_error(state, "--huge-pages takes yes or no, not '%s'", argument);
        }
        return 0;
    case OPTION_PLOT: options->plot = argument; return 0;
    case ARGP_KEY_ARG:
        if (options->input) {
            argp_error(state, "one description or library, not also '%s'", argument);
        }
        options->input = argument;
        return 0;
    case ARGP_KEY_NO_ARGS: argp_error(state, "which description or library?"); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp_bench = {
    option_table,
    parse_option,
    "SPEC|LIB",
    "Measures a library against plain C and OpenMP (or another library) and the machine's limits.\vColumns: tok, tokens; exp, "
    "distinct "
    "experts an iteration; ms, the median, and +- its interquartile range; peak, bw, roof: fractions of the best multiply-add "
    "rate, "
    "of the read bandwidth and of the roofline, all measured in the same run; ref ms, the opponent's median; gain, how many times "
    "faster than it; error, the largest difference from it relative to the row; /MoE: FLOP/s of the experts relative to the "
    "one-iteration "
    "layer of equal routed FLOPs (a note says where the pool or shared experts make them differ). --format json has more.",
    NULL,
    NULL,
    NULL};

// --- files -------------------------------------------------------------------------------------------------------------------

static int make_directory(char directory[ROUTING_TEXT_BYTES], Diagnostics *diagnostics) {
    const char *asked = getenv("TMPDIR"), *parent = asked && *asked ? asked : "/tmp";
    char stem[ROUTING_TEXT_BYTES];
    int length = snprintf(stem, sizeof stem, "%.*s/catena-bench", file_folder_length(parent), parent);
    char *made = length < ROUTING_TEXT_BYTES ? temporary_directory(stem) : NULL;
    int reason = length < ROUTING_TEXT_BYTES ? errno : ENAMETOOLONG;
    if (made && strlen(made) >= ROUTING_TEXT_BYTES) {
        temporary_remove(made);
        free(made);
        made = NULL;
        reason = ENAMETOOLONG;
    }
    if (!made) {
        diagnostics_add(
            diagnostics, NULL, 0, 0,
            "cannot create a folder for what is compiled in '%s': %s; the environment variable TMPDIR names another place", parent,
            strerror(reason));
        return -1;
    }
    strcpy(directory, made);
    free(made);
    return 0;
}

// A trace that is read again for its layer: whether it can be.
static int check_trace(const BenchOptions *bench, const Layer *layer, Diagnostics *diagnostics) {
    RoutingTrace trace = {0};
    int status =
        bench->routing.is_trace ? routing_trace_read(bench->routing.text + strlen("trace:"), layer, &trace, diagnostics) : 0;
    routing_trace_free(&trace);
    return status;
}

// What else the command line names, before a description is compiled.
static int check_inputs(const CommandOptions *options, const Model *model, Diagnostics *diagnostics) {
    const BenchOptions *bench = &options->bench;
    bool found = false, second = strcmp(bench->against, "plain") && strcmp(bench->against, "none");
    Artifact *against = second ? artifact_read(bench->against, diagnostics) : NULL;
    int status = second && !against ? -1 : 0;
    for (int64_t i = 0; i < model->layer_count && !status; i++) {
        if (!bench->layer || !strcmp(bench->layer, model->layers[i].name)) {
            found = true;
            status = check_trace(bench, &model->layers[i].layer, diagnostics);
        }
    }
    if (!status && !found) {
        diagnostics_add(diagnostics, options->input, 0, 0, "there is no layer '%s'", bench->layer);
        status = -1;
    }
    artifact_free(against);
    return status;
}

// The library to measure: the input itself, or what it compiles to. Returns 0 or -1 with diagnostics.
static int find_library(const CommandOptions *options, const char *directory, char path[ROUTING_TEXT_BYTES + 128],
                        Diagnostics *diagnostics) {
    CompileOptions compile = {.compute = options->compute};
    InputKind kind = input_kind(options->input, diagnostics);
    if (kind == INPUT_NEITHER) {
        return -1;
    }
    if (kind == INPUT_LIBRARY) {
        if (options->compute >= 0) {
            diagnostics_add(diagnostics, options->input, 0, 0, "--compute needs a description: a library is compiled already");
        }
        return snprintf(path, ROUTING_TEXT_BYTES, "%s", options->input) >= ROUTING_TEXT_BYTES || options->compute >= 0 ? -1 : 0;
    }
    Model *model = model_read_file(options->input, diagnostics);
    int status = model ? check_inputs(options, model, diagnostics) : -1;
    status = status ? status : compile_library(model, &compile, directory, diagnostics);
    if (!status) {
        snprintf(path, ROUTING_TEXT_BYTES + 128, "%s/lib%s.so", directory, model->name);
    }
    if (model) {
        model_free(model);
    }
    return status;
}

// --- running -----------------------------------------------------------------------------------------------------------------

static void stop(int signal_number) {
    (void)signal_number;
    bench_stopped = 1;
}

// What the command line left open: the description's workload.
static void fill_options(CommandOptions *options, const Artifact *artifact, const Machine *machine) {
    const Workload *workload = &artifact->model->workload;
    BenchOptions *bench = &options->bench;
    if (!bench->token_counts) {
        bench->token_counts = workload->token_counts;
        memcpy(bench->tokens, workload->tokens, (size_t)bench->token_counts * sizeof *bench->tokens);
    }
    if (!options->routing && routing_parse(workload->routing, &bench->routing)) {
        routing_parse("uniform", &bench->routing);
    }
    bench->library_threads = bench->threads;
    bench->threads = bench->threads ? bench->threads : (int)machine->threads;
}

static int run_layers(BenchRun *run, CommandOptions *options, const char *path, Diagnostics *diagnostics) {
    Artifact *artifact = artifact_read(path, diagnostics);
    if (!artifact) {
        return -1;
    }
    fill_options(options, artifact, run->machine);
    int status = 0;
    if (options->bench.layer) {
        status = bench_run_layer(run, path, options->bench.layer, diagnostics);
    }
    for (int64_t i = 0; !status && !options->bench.layer && i < artifact->model->layer_count; i++) {
        status = bench_run_layer(run, path, artifact->model->layers[i].name, diagnostics);
    }
    artifact_free(artifact);
    return status;
}

int command_bench(int argc, char **argv) {
    CommandOptions options = {.bench = {.against = "plain", .seconds = 3, .huge_pages = true}, .compute = -1};
    Machine machine;
    Diagnostics diagnostics = {0};
    char directory[ROUTING_TEXT_BYTES], path[ROUTING_TEXT_BYTES + 128];
    argp_parse(&argp_bench, argc, argv, 0, NULL, &options);
    command_say_threads(options.bench.threads);
    command_handle_signals(stop);  // so that what was compiled is removed
    // For the whole process, so that no side, workspace or malloc has what another has not.
    if (!options.bench.huge_pages && prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)) {
        perror("catena bench: --huge-pages no");
        return EXIT_FAILED;
    }
    if (machine_detect(&machine)) {
        perror("catena bench");
        return EXIT_FAILED;
    }
    BenchRun run = {.machine = &machine, .options = &options.bench, .directory = directory};
    int status = make_directory(directory, &diagnostics);
    bool made = !status;
    status = status || !options.plot ? status : plot_check_path(options.plot, &diagnostics);
    status = status ? status : find_library(&options, directory, path, &diagnostics);
    status = status ? status : run_layers(&run, &options, path, &diagnostics);
    if (run.row_count && options.format == OUTPUT_JSON) {
        status = report_print(bench_document(&run)) ? -1 : status;
    } else if (run.row_count) {
        bench_print(&run);
    }
    if (run.row_count && options.plot && bench_plot_save(&run, options.plot, &diagnostics)) {
        status = -1;
    }
    if (bench_stopped) {
        fprintf(stderr, "catena bench: stopped\n");
    }
    diagnostics_print(&diagnostics, stderr);
    diagnostics_free(&diagnostics);
    if (made) {
        temporary_remove(directory);
    }
    free(run.rows);
    return status || bench_stopped ? EXIT_FAILED : EXIT_OK;
}
