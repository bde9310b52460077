// catena compile SPEC -o DIR: a description to a shared library and its header.
#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "compiler/library/compile.h"
#include "runtime/file.h"

typedef struct Arguments {
    const char *spec, *directory;
    CompileOptions options;
} Arguments;

static const struct argp_option argp_options[] = {
    {"output", 'o', "DIR", 0, "Write libNAME.so, NAME.h and NAME.pc into DIR (made if missing)", 0},
    {"target", 't', "TARGET", 0, "host (default), avx512, avx2, neon or generic", 0},
    {"compute", 'c', "CLASS", 0, "fp32 or bf16: replaces the compute class of every layer", 0},
    {"emit", 'e', "LIST", 0, "Also write intermediate texts: a list of ir, asm, plan", 0},
    {"bits", 'b', "same|free", 0, "free: use plans that catena tune --bits free found, which may give other bits (default same)",
     0},
    {"wisdom", 'w', "FILE|none", 0,
     "File of wisdom, what searches found out (default: yours, see catena tune); none: default plans", 0},
    {0},
};

static void parse_emit(char *list, CompileOptions *options, struct argp_state *state) {
    for (char *word; (word = strsep(&list, ","));) {
        if (!strcmp(word, "ir")) {
            options->emit_ir = 1;
        } else if (!strcmp(word, "asm")) {
            options->emit_asm = 1;
        } else if (!strcmp(word, "plan")) {
            options->emit_plan = 1;
        } else {
            argp_error(state, "--emit takes ir, asm and plan, not '%s'", word);
        }
    }
}

static error_t parse(int key, char *argument, struct argp_state *state) {
    Arguments *arguments = state->input;
    switch (key) {
    case 'o': arguments->directory = argument; return 0;
    case 't': arguments->options.target = argument; return 0;
    case 'c': arguments->options.compute = command_parse_compute(argument, state); return 0;
    case 'b': arguments->options.bits_free = command_parse_bits(argument, state); return 0;
    case 'w': arguments->options.wisdom = argument; return 0;
    case 'e': parse_emit(argument, &arguments->options, state); return 0;
    case ARGP_KEY_ARG:
        if (arguments->spec) {
            argp_error(state, "one description at a time");
        }
        arguments->spec = argument;
        return 0;
    case ARGP_KEY_END:
        if (!arguments->spec || !arguments->directory) {
            argp_error(state, "a description and -o DIR are needed");
        }
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

int command_compile(int argc, char **argv) {
    static const struct argp argp = {argp_options, parse, "SPEC -o DIR", "Compiles a layer description into a shared library.",
                                     NULL,         NULL,  NULL};
    Arguments arguments = {.options.compute = -1};
    Diagnostics diagnostics = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    const char *wisdom = arguments.options.wisdom;
    if (wisdom && strcmp(wisdom, "none") && access(wisdom, F_OK)) {
        diagnostics_add(&diagnostics, wisdom, 0, 0, "cannot read: %s", strerror(errno));
    }
    Model *model = diagnostics.count ? NULL : model_read_file(arguments.spec, &diagnostics);
    int failed = !model || compile_library(model, &arguments.options, arguments.directory, &diagnostics);
    diagnostics_print(&diagnostics, stderr);
    if (!failed) {
        printf("%.*s/lib%s.so\n", file_folder_length(arguments.directory), arguments.directory, model->name);
    }
    diagnostics_free(&diagnostics);
    model_free(model);
    return failed ? EXIT_FAILED : EXIT_OK;
}
