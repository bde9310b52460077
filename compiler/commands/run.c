// catena run: one layer of a library on real weights and activations, from .npy to .npy.
#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "compiler/base/npy.h"
#include "compiler/library/artifact.h"
#include "run_extra.h"
#include "runtime/instance.h"
#include "runtime/packed.h"

typedef struct RunArguments {
    const char *library, *weights, *layer, *input, *output;
    int32_t threads;
    bool formatted;  // --format was given
    RunExtraPaths extra;
} RunArguments;

enum { OPTION_SCORES = 256, OPTION_K, OPTION_IMPORTANCE, OPTION_FIGURES, OPTION_SEQUENCE, OPTION_FORMAT };

static const struct argp_option options[] = {
    {"weights", 'w', "FILE", 0, "packed file, .safetensors, or a directory with model.safetensors, an index or shards", 0},
    {"layer", 'l', "NAME[.INDEX]", 0, "a layer of the description and which of its instances (0 when left out)", 0},
    {"input", 'i', "X.npy", 0, "activations, float32 [tokens, hidden]", 0},
    {"output", 'o', "Y.npy", 0, "the layer's output, float32 [tokens, hidden]", 0},
    {"routing", 'r', "PREFIX", 0, "also write PREFIX.experts.npy and PREFIX.weights.npy, [iterations, tokens, k] each", 0},
    {"scores", OPTION_SCORES, "S.npy", 0, "also write the scores of all choices, float32 [iterations, tokens, choices]", 0},
    {"k", OPTION_K, "K.npy", 0, "how many experts each token gets, int32 [tokens] (layers with k_per_token)", 0},
    {"importance", OPTION_IMPORTANCE, "I.npy", 0, "each token's importance, from which its k follows: float32 [tokens] within 0..1",
     0},
    {"figures", OPTION_FIGURES, NULL, 0, "print sparsity, balance losses and entropy of the routing, for each iteration", 0},
    {"sequence", OPTION_SEQUENCE, "N", 0, "tokens of a sequence, for the sequence-wise balance loss (default: all are one)", 0},
    {"format", OPTION_FORMAT, "md|json", 0, "format of the figures; json also has each choice's load (default: md)", 0},
    {"threads", 't', "N", 0, "threads (default: all cores that this process may use)", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state) {
    RunArguments *arguments = state->input;
    switch (key) {
    case 'w': arguments->weights = value; return 0;
    case 'l': arguments->layer = value; return 0;
    case 'i': arguments->input = value; return 0;
    case 'o': arguments->output = value; return 0;
    case 'r': arguments->extra.routing = value; return 0;
    case OPTION_SCORES: arguments->extra.scores = value; return 0;
    case OPTION_K: arguments->extra.k = value; return 0;
    case OPTION_IMPORTANCE: arguments->extra.importance = value; return 0;
    case OPTION_FIGURES: arguments->extra.figures = true; return 0;
    case OPTION_SEQUENCE: arguments->extra.sequence_tokens = command_parse_number(value, 1, INT64_MAX, "sequence", state); return 0;
    case OPTION_FORMAT:
        if (!output_format_parse(value, &arguments->extra.format)) {
            argp_error(state, "--format takes md or json, not '%s'", value);
        }
        arguments->formatted = true;
        return 0;
    case 't': arguments->threads = command_parse_threads(value, state); return 0;
    case ARGP_KEY_ARG:
        if (arguments->library) {
            argp_error(state, "one library at a time: '%s' is too much", value);
        }
        arguments->library = value;
        return 0;
    case ARGP_KEY_END:
        if (!arguments->library || !arguments->weights || !arguments->layer || !arguments->input || !arguments->output) {
            argp_error(state, "LIB, --weights, --layer, --input and --output are needed");
        }
        if (arguments->extra.sequence_tokens && !arguments->extra.figures) {
            argp_error(state, "--sequence goes with --figures");
        }
        if (arguments->formatted && !arguments->extra.figures) {
            argp_error(state, "--format goes with --figures: nothing else is printed");
        }
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

// One run: everything that has to be released is here.
typedef struct Run {
    const RunArguments *arguments;
    Diagnostics diagnostics;
    Loaded *loaded;
    Library *library;
    const ModelLayer *layer;
    int64_t index;
    Npy input, output;
    RunExtra extra;
    char *outputs[RUN_EXTRA_OUTPUTS];
    void *interface;  // the rows in bf16, where the layer's interface is; forward works on them in place
} Run;

static int fail(Run *run, const char *file, const char *reason) {
    diagnostics_add(&run->diagnostics, file, 0, 0, "%s", reason);
    return -1;
}

static int find_layer(Run *run) {
    const Model *model = run->loaded->artifact->model;
    const char *name = run->arguments->layer, *dot = strchr(name, '.');
    size_t length = dot ? (size_t)(dot - name) : strlen(name);
    char known[512] = "";
    for (int64_t i = 0, used = 0; i < model->layer_count; i++) {
        const ModelLayer *layer = &model->layers[i];
        if (!strncmp(layer->name, name, length) && !layer->name[length]) {
            run->layer = layer;
        }
        used += used < (int64_t)sizeof known ? snprintf(known + used, sizeof known - (size_t)used, " %s", layer->name) : 0;
    }
    if (!run->layer) {
        diagnostics_add(&run->diagnostics, run->arguments->library, 0, 0, "no layer '%.*s'; it has:%s", (int)length, name, known);
        return -1;
    }
    char *end = NULL;
    errno = 0;
    run->index = dot ? strtoll(dot + 1, &end, 10) : 0;
    if (dot && (errno || end == dot + 1 || *end || run->index < 0 || run->index >= run->layer->count)) {
        diagnostics_add(&run->diagnostics, run->arguments->library, 0, 0, "layer '%s' has instances 0 to %lld, not '%.40s'",
                        run->layer->name, (long long)run->layer->count - 1, dot + 1);
        return -1;
    }
    return 0;
}

static int read_input(Run *run) {
    Npy *input = &run->input;
    if (npy_read(run->arguments->input, input, &run->diagnostics)) {
        return -1;
    }
    if (input->type != NPY_FLOAT32 || input->dimensions != 2 || input->shape[1] != run->layer->layer.hidden) {
        diagnostics_add(&run->diagnostics, run->arguments->input, 0, 0, "layer '%s' takes float32 [tokens, %lld]", run->layer->name,
                        (long long)run->layer->layer.hidden);
        return -1;
    }
    return 0;
}

static void *allocate(int64_t count, int64_t element) {
    int64_t bytes;
    return __builtin_mul_overflow(count, element, &bytes) ? NULL : calloc(1, bytes ? (size_t)bytes : 1);
}

static int allocate_outputs(Run *run) {
    const Layer *layer = &run->layer->layer;
    int64_t tokens = run->input.shape[0];
    run->output = (Npy){NPY_FLOAT32, 2, {tokens, layer->hidden}, allocate(tokens, layer->hidden * (int64_t)sizeof(float))};
    bool complete = run->output.data;
    if (layer->activations == INTERFACE_BF16) {
        run->interface = allocate(tokens, layer->hidden * (int64_t)sizeof(uint16_t));
        complete = complete && run->interface;
    }
    if (!complete) {
        return fail(run, run->arguments->input, "not enough memory for the result");
    }
    return run_extra_prepare(&run->arguments->extra, run->layer, tokens, &run->extra, &run->diagnostics);
}

static int open_library(Run *run) {
    char error[1024] = "";
    const Options settings = {.size = sizeof settings, .threads = run->arguments->threads};
    if (run->loaded->open(run->arguments->weights, &settings, &run->library, error, sizeof error) < 0) {
        return fail(run, NULL, error);
    }
    return 0;
}

static Status forward(Run *run, int layer, const void *x, void *y) {
    int64_t tokens = run->input.shape[0], stride = run->layer->layer.hidden;
    return run->loaded->forward_with(run->library, layer, tokens, x, stride, y, stride, &run->extra.extra);
}

static int compute(Run *run) {
    int layer = run->loaded->find(run->library, run->layer->name, run->index);
    if (layer < 0) {
        return fail(run, run->arguments->library, "the library does not find its own layer");
    }
    int64_t elements = npy_elements(&run->input);
    const float *x = run->input.data;
    float *y = run->output.data;
    uint16_t *rows = run->interface;
    for (int64_t i = 0; rows && i < elements; i++) {
        rows[i] = packed_bf16_from_float(x[i]);
    }
    Status status = rows ? forward(run, layer, rows, rows) : forward(run, layer, x, y);
    if (status < 0) {
        return fail(run, NULL, run->loaded->error(run->library));
    }
    for (int64_t i = 0; rows && i < elements; i++) {
        y[i] = packed_float_from_bf16(rows[i]);
    }
    if (status == LIBRARY_NONFINITE) {
        int64_t first = 0, count = run->loaded->nonfinite(run->library, &first);
        fprintf(stderr,
                "catena run: warning: %lld of %lld rows were not finite, the first is row %lld; they are NaN in the output\n",
                (long long)count, (long long)run->input.shape[0], (long long)first);
    }
    return 0;
}

// Before weights are read: whether all results can be written.
static int try_outputs(Run *run) {
    return run_extra_try(run->outputs, &run->extra, &run->diagnostics) ||
           npy_try(run->arguments->output, &run->output, &run->diagnostics);
}

// The result comes last: where it is new, all is.
static int write_outputs(Run *run) {
    if (run_extra_write(run->outputs, &run->extra, &run->diagnostics) ||
        npy_write(run->arguments->output, &run->output, &run->diagnostics)) {
        return -1;
    }
    run_extra_print(&run->arguments->extra, &run->extra, run->layer, run->input.shape[0]);
    return 0;
}

// Nothing that is read may be written over, and nothing written twice.
static int check_output(Run *run, const char *output, const char *const *others, size_t count) {
    const RunArguments *arguments = run->arguments;
    const char *const sources[] = {arguments->weights, arguments->input, arguments->library, arguments->extra.k,
                                   arguments->extra.importance};
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        if (sources[i] && file_replaces(output, sources[i])) {
            diagnostics_add(&run->diagnostics, output, 0, 0, "writing the output here would replace '%s'", sources[i]);
            return -1;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (others[i] && file_same(output, others[i])) {
            diagnostics_add(&run->diagnostics, output, 0, 0, "two outputs cannot be one file: '%s' is the same", others[i]);
            return -1;
        }
    }
    return 0;
}

static int check_outputs(Run *run) {
    const char *outputs[RUN_EXTRA_OUTPUTS + 1] = {run->arguments->output};
    if (run_extra_outputs(&run->arguments->extra, run->outputs)) {
        return fail(run, NULL, "out of memory");
    }
    for (size_t i = 0; i < RUN_EXTRA_OUTPUTS; i++) {
        outputs[i + 1] = run->outputs[i];
    }
    for (size_t i = 0; i <= RUN_EXTRA_OUTPUTS; i++) {
        if (outputs[i] && check_output(run, outputs[i], outputs, i)) {
            return -1;
        }
    }
    return 0;
}

static int run_all(Run *run) {
    run->loaded = loaded_open(run->arguments->library, &run->diagnostics);
    // Small inputs are checked before the weights, which may take a while to read.
    return check_outputs(run) || !run->loaded || find_layer(run) || read_input(run) || allocate_outputs(run) || try_outputs(run) ||
           open_library(run) || compute(run) || write_outputs(run);
}

int command_run(int argc, char **argv) {
    static const struct argp parser = {options, parse, "LIB", "Runs one layer of a library on real weights and activations.",
                                       NULL,    NULL,  NULL};
    RunArguments arguments = {0};
    if (argp_parse(&parser, argc, argv, 0, NULL, &arguments)) {
        return EXIT_USAGE;
    }
    command_say_threads(arguments.threads);
    Run run = {.arguments = &arguments};
    int code = run_all(&run) ? EXIT_FAILED : EXIT_OK;
    diagnostics_print(&run.diagnostics, stderr);
    if (run.library) {
        run.loaded->close(run.library);
    }
    if (run.loaded) {
        loaded_close(run.loaded);
    }
    npy_free(&run.input);
    npy_free(&run.output);
    run_extra_free(&run.extra);
    for (int i = 0; i < RUN_EXTRA_OUTPUTS; i++) {
        free(run.outputs[i]);
    }
    free(run.interface);
    diagnostics_free(&run.diagnostics);
    return code;
}
