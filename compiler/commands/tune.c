// `catena tune`: options, progress, what was found, wisdom.
#define _GNU_SOURCE
#include <argp.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "compiler/base/table.h"
#include "compiler/library/compile.h"
#include "compiler/machine/site.h"
#include "compiler/tune/candidates.h"
#include "compiler/tune/foresee.h"
#include "compiler/tune/outputs.h"
#include "compiler/tune/tune.h"
#include "tune_wisdom.h"

enum {
    OPTION_TOKENS = 256,
    OPTION_ROUTING,
    OPTION_THREADS,
    OPTION_COMPUTE,
    OPTION_LAYER,
    OPTION_BUDGET,
    OPTION_EFFORT,
    OPTION_TABLE,
    OPTION_CANDIDATES,
    OPTION_SEED,
    OPTION_START,
    OPTION_METHOD,
    OPTION_WISDOM,
    OPTION_REPORT,
    OPTION_TOPOLOGY,
    OPTION_BITS
};

typedef struct CommandOptions {
    TuneOptions tune;
    Workload given;  // on the command line; without token counts or routing: the description's
    const char *input, *layer, *wisdom, *topology, *candidates_path;
    TuneCandidates candidates;  // if there is a path for them
    int compute;
    int effort;  // of effort_rows
    TuneOutputs outputs;
} CommandOptions;

// The first one is the default.
static const struct {
    const char *name;
    double budget;  // default of --budget, in seconds
} effort_rows[] = {{"normal", 60}, {"quick", 15}, {"exhaustive", INFINITY}};
enum { EFFORT_NORMAL, EFFORT_QUICK, EFFORT_EXHAUSTIVE, EFFORTS };

static const struct argp_option option_table[] = {
    {"budget", OPTION_BUDGET, "SECONDS", 0, "Time for each layer (default 60, quick 15; exhaustive: until it is done)", 0},
    {"effort", OPTION_EFFORT, "quick|normal|exhaustive", 0,
     "exhaustive: measure every tile of the space alone, then race each of the 20 best predictions in full against the default", 0},
    {"table", OPTION_TABLE, "FILE.csv", 0, "Write every measurement as a table", 0},
    {"candidates", OPTION_CANDIDATES, "FILE.json", 0,
     "Instead of a search: compare these plans, [{\"gate_up.unroll\": 4, ...}, ...], each in full with the default", 0},
    {"tokens", OPTION_TOKENS, "N[:W],...", 0, "Token counts and their weights (default: the description's workload)", 0},
    {"routing", OPTION_ROUTING, "WHICH", 0, "uniform, zipf:S, one, or trace:PREFIX as written by catena run --routing PREFIX", 0},
    {"threads", OPTION_THREADS, "N", 0, "Threads (default: all cores that this process may use)", 0},
    {"bits", OPTION_BITS, "same|free", 0, "free: also race the instruction paths that give other bits (default same)", 0},
    {"compute", OPTION_COMPUTE, "fp32|bf16", 0, "Tune in this compute class (default: as described)", 0},
    {"layer", OPTION_LAYER, "NAME", 0, "Only this layer", 0},
    {"seed", OPTION_SEED, "N", 0, "Seed of random choices (default 1)", 0},
    {"start", OPTION_START, "default|worst", 0, "Where the search begins: worst shows whether it recovers", 0},
    {"method", OPTION_METHOD, "race|random|model", 0, "race (default); random and model are what race is compared with", 0},
    {"wisdom", OPTION_WISDOM, "FILE|none", 0,
     "File of wisdom that is read first and keeps the result (default: yours); none: nothing is read or kept", 0},
    {"topology", OPTION_TOPOLOGY, "FILE.xml|TEXT", 0,
     "Predict for another machine, without measuring: hwloc's XML or its synthetic description", 0},
    {"report", OPTION_REPORT, "DIR", 0, "Write a page that shows why the winner won (DIR/index.html) and its plots", 0},
    {0},
};

static double parse_seconds(const char *text) {
    char *end;
    double value = strtod(text, &end);
    if (end > text && *end == 's') {
        end++;
    }
    return end > text && !*end && value >= 1 && value <= 86400 ? value : -1;
}

// What effort means for the search.
static void choose_effort(CommandOptions *options, const struct argp_state *state) {
    TuneOptions *tune = &options->tune;
    bool table = options->effort == EFFORT_EXHAUSTIVE || options->candidates_path;
    if (table && (tune->method != SEARCH_RACE || tune->start_worst || (options->effort && options->candidates_path))) {
        argp_error(state, "--effort exhaustive and --candidates cannot be combined with each other, with --method or with --start");
    }
    tune->budget = tune->budget > 0 ? tune->budget : table ? INFINITY : effort_rows[options->effort].budget;
    tune->method = table ? SEARCH_TABLE : tune->method;
    tune->quick = options->effort == EFFORT_QUICK;
    tune->tiles = options->effort == EFFORT_EXHAUSTIVE;
}

static error_t parse_input(int key, char *argument, struct argp_state *state) {
    CommandOptions *options = state->input;
    switch (key) {
    case ARGP_KEY_ARG:
        if (options->input) {
            argp_error(state, "one description, not also '%s'", argument);
        }
        options->input = argument;
        return 0;
    case ARGP_KEY_NO_ARGS: argp_error(state, "which description?"); return 0;
    case ARGP_KEY_END:
        if (options->topology && (options->outputs.directory || options->outputs.table_path || options->candidates_path)) {
            argp_error(state, "--report, --table and --candidates are about measurements: there are none with --topology");
        }
        choose_effort(options, state);
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    static const char *const methods[] = {"race", "random", "model"};
    CommandOptions *options = state->input;
    switch (key) {
    case OPTION_BUDGET:
        options->tune.budget = parse_seconds(argument);
        if (options->tune.budget < 0) {
            argp_error(state, "--budget takes seconds from 1 to 86400, not '%s'", argument);
        }
        return 0;
    case OPTION_TOKENS:
        options->given.token_counts = command_parse_tokens(argument, options->given.tokens, options->given.weights, state);
        return 0;
    case OPTION_ROUTING:
        if (strlen(argument) >= sizeof options->given.routing || routing_parse(argument, &options->tune.routing)) {
            argp_error(state, "--routing takes uniform, zipf:S, one or trace:PREFIX, not '%s'", argument);
        }
        snprintf(options->given.routing, sizeof options->given.routing, "%s", argument);
        return 0;
    case OPTION_WISDOM: options->wisdom = argument; return 0;
    case OPTION_EFFORT:
        for (options->effort = 0; options->effort < EFFORTS; options->effort++) {
            if (!strcmp(argument, effort_rows[options->effort].name)) {
                return 0;
            }
        }
        argp_error(state, "--effort takes quick, normal or exhaustive, not '%s'", argument);
        return 0;
    case OPTION_TABLE: options->outputs.table_path = argument; return 0;
    case OPTION_CANDIDATES: options->candidates_path = argument; return 0;
    case OPTION_REPORT: options->outputs.directory = argument; return 0;
    case OPTION_TOPOLOGY: options->topology = argument; return 0;
    case OPTION_THREADS: options->tune.threads = command_parse_threads(argument, state); return 0;
    case OPTION_BITS: options->tune.workload.bits_free = command_parse_bits(argument, state); return 0;
    case OPTION_COMPUTE: options->compute = command_parse_compute(argument, state); return 0;
    case OPTION_LAYER: options->layer = argument; return 0;
    case OPTION_SEED: options->tune.seed = (uint64_t)command_parse_number(argument, 0, INT64_MAX, "seed", state); return 0;
    case OPTION_START:
        options->tune.start_worst = !strcmp(argument, "worst");
        if (!options->tune.start_worst && strcmp(argument, "default")) {
            argp_error(state, "--start takes default or worst, not '%s'", argument);
        }
        return 0;
    case OPTION_METHOD:
        for (int m = 0; m < 3; m++) {
            if (!strcmp(argument, methods[m])) {
                options->tune.method = (SearchMethod)m;
                return 0;
            }
        }
        argp_error(state, "--method takes race, random or model, not '%s'", argument);
        return 0;
    default: return parse_input(key, argument, state);
    }
}

static const struct argp argp_tune = {
    option_table,
    parse_option,
    "SPEC",
    "Searches for the plan that this machine runs fastest.\vA candidate is timed only if it gives the bits "
    "of the default plan. The default stays unless another plan beats it beyond the noise. Ctrl-C ends the search and keeps what "
    "was found.",
    NULL,
    NULL,
    NULL};

// --- progress ----------------------------------------------------------------------------------------------------------------

static void show_bar(const char *layer, double share, double left, const char *what) {
    enum { WIDTH = 24 };
    char bar[WIDTH + 1] = "........................";
    memset(bar, '#', (size_t)(fmax(fmin(share, 1), 0) * (double)WIDTH));
    terminal_progress("%s [%s] %3.0f s left, %s ", layer, bar, left, what);
}

static void show_progress(const Search *search, const char *layer) {
    static const char *const stages[] = {"predict", "table", "halve", "improve", "confirm", "done"};
    double seconds = search_seconds(search), left = search_left(search);
    char what[96];
    snprintf(what, sizeof what, "%s, %zu plans, best %.3fx", stages[search_stage(search)], search_trials(search),
             search_best_gain(search));
    show_bar(layer, seconds / (seconds + left), left, what);
}

static void show_tiles(const char *layer, size_t done, size_t total, double left) {
    char what[64];
    snprintf(what, sizeof what, "%zu of %zu tiles", done, total);
    show_bar(layer, (double)done / (double)total, left, what);
}

static void stop(int signal_number) {
    (void)signal_number;
    tune_stopped = 1;
}

// --- output ------------------------------------------------------------------------------------------------------------------

static void print_result(const char *layer, const TuneResult *result) {
    const SearchResult *search = &result->search;
    json_t *plans = json_pack("[o]", space_decisions(&result->space, &search->best));  // as --candidates reads them
    char *text = json_dumps(plans, JSON_SORT_KEYS);
    size_t tiles = result->tile_count + (size_t)(result->rates[0].tiles_measured + result->rates[1].tiles_measured);
    printf("layer %s: space of %.3g plans, %zu tiles measured alone in %.1f s, %zu plans tried, %d unusable, %s after %.0f s\n",
           layer, space_size(&result->space), tiles, result->rate_seconds, search->trial_count, result->unusable,
           search->stopped     ? "stopped"
           : search->converged ? "nothing left to try"
                               : "time up",
           result->total_seconds);
    if (result->repathed) {
        printf("  path %s instead of the default plan's: %.3fx (%.3f to %.3f); what follows is relative to its own default plan\n",
               path_name(result->path.path), result->path.gain, result->path.low, result->path.high);
    }
    if (result->path.refused) {
        printf("  paths whose output is too far from the default plan's: %d\n", result->path.refused);
    }
    if (search->gain > 1) {
        printf("  gain %.3fx (%.3f to %.3f) over the default plan: %s\n", search->gain, search->low, search->high, text);
    } else if (search->confirm_rounds && search->confirm_rounds < SEARCH_SURE_ROUNDS) {
        printf("  too little time for the last race, so the default plan stays: ask for a longer --budget\n");
    } else if (search->confirm_rounds) {
        static const char *const words[] = {"the default plan stays: what the search ended with is slower,",
                                            "a tie with the default plan, which stays:"};
        printf("  %s %.3fx (%.3f to %.3f)\n", words[search_tied(search)], search->candidate_gain, search->candidate_low,
               search->candidate_high);
    } else {
        printf("  %s\n", search_raced(search) ? "the default plan stays: nothing was faster"
                         : search->stopped    ? "stopped before anything was compared; nothing is remembered"
                         : search->converged
                             ? "nothing to compare: no candidate differs from the default plan"
                             : "nothing was compared: too little time, ask for a longer --budget; nothing is remembered");
    }
    fflush(stdout);  // what took minutes is out, whatever comes
    free(text);
    json_decref(plans);
}

static bool is_chosen(const CommandOptions *options, const char *layer) {
    return !options->layer || !strcmp(options->layer, layer);
}

// A layer that is not there, and a trace that a layer cannot have, are refused before any time is spent.
static int check_layers(CommandOptions *options, const Model *model, Diagnostics *diagnostics) {
    bool found = false;
    int status = 0;
    for (int64_t i = 0; i < model->layer_count && !status; i++) {
        const ModelLayer *layer = &model->layers[i];
        if (is_chosen(options, layer->name)) {
            found = true;
            status = recall_trace(&options->tune.workload, &layer->layer, diagnostics);
        }
    }
    if (!found) {
        diagnostics_add(diagnostics, options->input, 0, 0, "there is no layer '%s'", options->layer);
    }
    return found ? status : -1;
}

// What the command line left open: the description's workload.
static int fill_options(CommandOptions *options, const Model *model, const Machine *machine, Diagnostics *diagnostics) {
    TuneOptions *tune = &options->tune;
    Workload *given = &options->given;
    if (!given->token_counts) {
        memcpy(given->tokens, model->workload.tokens, sizeof given->tokens);
        memcpy(given->weights, model->workload.weights, sizeof given->weights);
        given->token_counts = model->workload.token_counts;
    }
    if (!*given->routing) {
        memcpy(given->routing, model->workload.routing, sizeof given->routing);
    }
    bool bits_free = tune->workload.bits_free;
    recall_workload(given, &tune->workload);
    tune->workload.bits_free = bits_free;
    if (tune->workload.parts < given->token_counts) {
        fprintf(stderr, "catena: only the first %d token counts are searched for\n", tune->workload.parts);
    }
    routing_parse(tune->workload.routing, &tune->routing);  // either was parsed before
    tune->threads_given = tune->threads > 0;
    tune->threads = tune->threads ? tune->threads : (int)machine->threads;
    tune->progress = show_progress;
    tune->progress_tiles = show_tiles;
    return check_layers(options, model, diagnostics);
}

// --- the layers --------------------------------------------------------------------------------------------------------------

static int tune_one(CommandOptions *options, const Wisdom *wisdom, const char *name, const Plan *plan, Diagnostics *diagnostics) {
    RecallKey key;
    TuneResult result;
    TuneOptions *tune = &options->tune;
    recall_key(&plan->layer, tune->target, tune->machine, tune->threads, &tune->workload, &key);
    double remembered = tune_wisdom_start(tune, wisdom, &key, name);
    int status = tune_layer(name, plan, tune, &result, diagnostics);
    terminal_progress(NULL);
    if (!status) {
        print_result(name, &result);
        if (remembered > 1 && result.search.gain <= 1 && !result.repathed) {
            printf("  compile goes on taking the plan that an earlier search found: gain %.3fx (catena wisdom forget drops it)\n",
                   remembered);
        }
        status = search_raced(&result.search) || result.repathed
                     ? tune_wisdom_keep(options->wisdom, tune, &key, &result, diagnostics)
                     : 0;
        if (tune_outputs_layer(&options->outputs, name, tune, &result, diagnostics)) {
            status = -1;
        }
    }
    tune_result_free(&result);
    return status;
}

static int open_outputs(CommandOptions *options, const Model *model, Diagnostics *diagnostics) {
    const char *layers[MODEL_MAX_LAYERS];
    char wisdom[WISDOM_PATH_BYTES];
    size_t count = 0;
    for (int64_t i = 0; i < model->layer_count; i++) {
        layers[count] = model->layers[i].name;
        count += is_chosen(options, layers[count]);
    }
    return tune_outputs_open(&options->outputs, layers, count, tune_wisdom_path(options->wisdom, wisdom) ? NULL : wisdom,
                             diagnostics);
}

// The spaces are those of the default plans' paths: where bits are free, each search looks for itself.
static int check_candidates(const CommandOptions *options, const Model *model, const Plan *plans, Diagnostics *diagnostics) {
    const TuneOptions *tune = &options->tune;
    int status = 0;
    for (int64_t i = 0; i < model->layer_count && options->candidates_path && !tune->workload.bits_free; i++) {
        if (is_chosen(options, model->layers[i].name)) {
            Space space;
            space_make(&plans[i], tune->target, tune->machine, &space);
            status |= tune_candidates_check(&options->candidates, model->layers[i].name, &space, diagnostics);
        }
    }
    return status;
}

static int tune_layers(CommandOptions *options, const Model *model, const Plan *plans, Diagnostics *diagnostics) {
    size_t before = diagnostics->count;
    Wisdom *wisdom = recall_open(options->wisdom, WISDOM_SET_ASIDE, diagnostics);
    int status = 0;
    for (int64_t i = 0; i < model->layer_count && !status && !tune_stopped && diagnostics->count == before; i++) {
        if (is_chosen(options, model->layers[i].name)) {
            status = tune_one(options, wisdom, model->layers[i].name, &plans[i], diagnostics);
        }
    }
    wisdom_free(wisdom);
    return status || diagnostics->count > before ? -1 : 0;
}

// By prediction alone, for a machine that is not there.
static void foresee_layers(const CommandOptions *options, const Model *model, const Plan *plans) {
    const TuneOptions *tune = &options->tune;
    for (int64_t i = 0; i < model->layer_count; i++) {
        Foresight foresight;
        if (is_chosen(options, model->layers[i].name)) {
            foresee_layer(&plans[i], tune->target, tune->machine, tune->threads, &tune->workload, &foresight);
            foresee_print(&foresight, &model->layers[i], tune->machine, tune->threads, &tune->workload, stdout);
        }
    }
}

// What will be written is tried first: even the default plans may need measurements.
static int tune_here(CommandOptions *options, const Model *model, const Machine *machine, Diagnostics *diagnostics) {
    Plan plans[MODEL_MAX_LAYERS];
    TuneOptions *tune = &options->tune;
    command_say_threads(tune->threads);
    if (tune_wisdom_check(options->wisdom, diagnostics) || open_outputs(options, model, diagnostics)) {
        return -1;
    }
    int failed = compile_plans(model, tune->target, machine, options->compute, plans, diagnostics) ||
                 check_candidates(options, model, plans, diagnostics) || tune_layers(options, model, plans, diagnostics);
    return tune_outputs_close(&options->outputs, model->name, tune, diagnostics) || failed ? -1 : 0;
}

static int tune_elsewhere(CommandOptions *options, const Model *model, const Machine *machine, Diagnostics *diagnostics) {
    Plan plans[MODEL_MAX_LAYERS];
    if (compile_plans(model, options->tune.target, machine, options->compute, plans, diagnostics)) {
        return -1;
    }
    foresee_layers(options, model, plans);
    return 0;
}

static int tune_model(CommandOptions *options, const Model *model, const Site *site, Diagnostics *diagnostics) {
    const Machine *machine = options->tune.machine = &site->machine;
    options->tune.target = site_target(site, NULL, diagnostics);
    if (!options->tune.target || fill_options(options, model, machine, diagnostics)) {
        return -1;
    }
    return (site->elsewhere ? tune_elsewhere : tune_here)(options, model, machine, diagnostics);
}

int command_tune(int argc, char **argv) {
    CommandOptions options = {.compute = -1, .tune = {.seed = 1}};
    Site site;
    Diagnostics diagnostics = {0};
    argp_parse(&argp_tune, argc, argv, 0, NULL, &options);
    command_handle_signals(stop);
    bool ready = !options.candidates_path || !tune_candidates_read(&options.candidates, options.candidates_path, &diagnostics);
    options.tune.candidates = options.candidates.list;
    options.tune.candidates_path = options.candidates_path;
    ready = ready && !site_open(&site, options.topology, &diagnostics);
    Model *model = ready ? model_read_file(options.input, &diagnostics) : NULL;
    int status = model ? tune_model(&options, model, &site, &diagnostics) : -1;
    if (model) {
        model_free(model);
    }
    tune_candidates_free(&options.candidates);
    diagnostics_print(&diagnostics, stderr);
    diagnostics_free(&diagnostics);
    return status ? EXIT_FAILED : EXIT_OK;
}
