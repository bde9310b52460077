// catena reference: a layer as a program in another language, to read, to train, to compare with.
#include <argp.h>
#include <string.h>

#include "command.h"
#include "compiler/print/module.h"

typedef struct Arguments {
    const char *input, *layer;
    int torch;
} Arguments;

static const struct argp_option argp_options[] = {
    {"torch", 't', NULL, 0, "A differentiable PyTorch module (the only language so far)", 0},
    {"layer", 'l', "NAME", 0, "Which layer of the description (default: the first)", 0},
    {0},
};

static error_t parse(int key, char *argument, struct argp_state *state) {
    Arguments *arguments = state->input;
    switch (key) {
    case 't': arguments->torch = 1; return 0;
    case 'l': arguments->layer = argument; return 0;
    case ARGP_KEY_ARG:
        if (arguments->input) {
            argp_error(state, "one description at a time");
        }
        arguments->input = argument;
        return 0;
    case ARGP_KEY_END:
        if (!arguments->input || !arguments->torch) {
            argp_error(state, "--torch and a description are needed");
        }
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const ModelLayer *find_layer(const Model *model, const Arguments *arguments, Diagnostics *diagnostics) {
    for (int64_t i = 0; i < model->layer_count; i++) {
        if (!arguments->layer || !strcmp(arguments->layer, model->layers[i].name)) {
            return &model->layers[i];
        }
    }
    diagnostics_add(diagnostics, arguments->input, 0, 0, "no layer is named '%s'; the first of %lld is '%s'", arguments->layer,
                    (long long)model->layer_count, model->layers[0].name);
    return NULL;
}

int command_reference(int argc, char **argv) {
    static const struct argp argp = {argp_options, parse, "SPEC", "Prints a layer as a readable, differentiable PyTorch module.",
                                     NULL,         NULL,  NULL};
    Arguments arguments = {NULL, NULL, 0};
    Diagnostics diagnostics = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    Model *model = model_read_file(arguments.input, &diagnostics);
    const ModelLayer *layer = model ? find_layer(model, &arguments, &diagnostics) : NULL;
    if (layer) {
        torch_module_print(model, layer, arguments.input, stdout);
        if (fflush(stdout) || ferror(stdout)) {
            diagnostics_add(&diagnostics, NULL, 0, 0, "standard output cannot be written");
            layer = NULL;
        }
    }
    diagnostics_print(&diagnostics, stderr);
    diagnostics_free(&diagnostics);
    model_free(model);
    return layer ? EXIT_OK : EXIT_FAILED;
}
