// catena run: one layer of a library on real weights and activations, from .npy to .npy.
#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../runtime/instance.h"
#include "../runtime/packed.h"
#include "artifact.h"
#include "command.h"
#include "npy.h"

typedef struct RunArguments {
    const char *library, *weights, *layer, *input, *output, *routing;
    int32_t threads;
} RunArguments;

static const struct argp_option options[] = {
    {"weights", 'w', "FILE", 0, "packed file, .safetensors, or a directory with model.safetensors or an index", 0},
    {"layer", 'l', "NAME[.INDEX]", 0, "a layer of the description and which of its instances (0 when left out)", 0},
    {"input", 'i', "X.npy", 0, "activations, float32 [tokens, hidden]", 0},
    {"output", 'o', "Y.npy", 0, "what the layer makes of them, float32 [tokens, hidden]", 0},
    {"routing", 'r', "PREFIX", 0, "also write PREFIX.experts.npy and PREFIX.weights.npy, [iterations, tokens, k] each", 0},
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
    case 'r': arguments->routing = value; return 0;
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
    Npy input, output, experts, weights;
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
    int64_t tokens = run->input.shape[0], choices;
    run->output = (Npy){NPY_FLOAT32, 2, {tokens, layer->hidden}, allocate(tokens, layer->hidden * (int64_t)sizeof(float))};
    bool complete = run->output.data;
    if (layer->activations == FORMAT_BF16) {
        run->interface = allocate(tokens, layer->hidden * (int64_t)sizeof(uint16_t));
        complete = complete && run->interface;
    }
    if (run->arguments->routing && !__builtin_mul_overflow(tokens, layer->iterations * layer->top_k, &choices)) {
        const Npy shape = {NPY_INT32, 3, {layer->iterations, tokens, layer->top_k}, NULL};
        run->experts = run->weights = shape;
        run->weights.type = NPY_FLOAT32;
        run->experts.data = allocate(choices, sizeof(int32_t));
        run->weights.data = allocate(choices, sizeof(float));
        complete = complete && run->experts.data && run->weights.data;
    }
    return complete ? 0 : fail(run, run->arguments->input, "not enough memory for the result");
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
    if (run->arguments->routing) {
        return run->loaded->forward_routing(run->library, layer, tokens, x, stride, y, stride, run->experts.data,
                                            run->weights.data);
    }
    return run->loaded->forward(run->library, layer, tokens, x, stride, y, stride);
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

static int write_routing(Run *run, const char *suffix, const Npy *array) {
    size_t bytes = strlen(run->arguments->routing) + strlen(suffix) + 1;
    char *path = malloc(bytes);
    if (!path) {
        return fail(run, NULL, "out of memory");
    }
    snprintf(path, bytes, "%s%s", run->arguments->routing, suffix);
    int result = npy_write(path, array, &run->diagnostics);
    free(path);
    return result;
}

// The result comes last: where it is new, all is.
static int write_outputs(Run *run) {
    if (run->arguments->routing &&
        (write_routing(run, ".experts.npy", &run->experts) || write_routing(run, ".weights.npy", &run->weights))) {
        return -1;
    }
    return npy_write(run->arguments->output, &run->output, &run->diagnostics);
}

// Nothing that is read may be written over.
static int check_output(Run *run) {
    const RunArguments *arguments = run->arguments;
    const char *const sources[] = {arguments->weights, arguments->input, arguments->library};
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        if (file_replaces(arguments->output, sources[i])) {
            diagnostics_add(&run->diagnostics, arguments->output, 0, 0, "writing the output here would replace '%s'", sources[i]);
            return -1;
        }
    }
    return 0;
}

static int run_all(Run *run) {
    run->loaded = loaded_open(run->arguments->library, &run->diagnostics);
    // Small inputs are checked before the weights, which may take a while to read.
    return check_output(run) || !run->loaded || find_layer(run) || read_input(run) || allocate_outputs(run) || open_library(run) ||
           compute(run) || write_outputs(run);
}

int command_run(int argc, char **argv) {
    static const struct argp parser = {options, parse, "LIB", "Runs one layer of a library on real weights and activations.",
                                       NULL,    NULL,  NULL};
    RunArguments arguments = {0};
    if (argp_parse(&parser, argc, argv, 0, NULL, &arguments)) {
        return EXIT_USAGE;
    }
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
    npy_free(&run.experts);
    npy_free(&run.weights);
    free(run.interface);
    diagnostics_free(&run.diagnostics);
    return code;
}
