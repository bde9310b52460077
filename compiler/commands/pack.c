// catena pack: a checkpoint's weights into a packed file. The library is read, not run: it may be of another architecture.
#include <argp.h>
#include <stdlib.h>

#include "command.h"
#include "compiler/library/artifact.h"
#include "runtime/instance.h"

typedef struct PackArguments {
    const char *library;
    const char *weights;
    const char *output;
    int check;
} PackArguments;

static const struct argp_option options[] = {
    {"weights", 'w', "FILE", 0, "checkpoint: .safetensors, or a directory with model.safetensors, an index or shards", 0},
    {"output", 'o', "PACKED", 0, "packed file to write (replaced when complete)", 0},
    {"check", 'c', NULL, 0, "read the file back and compare its checksums; without --weights, check an existing PACKED", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state) {
    PackArguments *arguments = state->input;
    switch (key) {
    case 'w': arguments->weights = value; return 0;
    case 'o': arguments->output = value; return 0;
    case 'c': arguments->check = 1; return 0;
    case ARGP_KEY_ARG:
        if (arguments->library) {
            argp_error(state, "one library at a time: '%s' is too much", value);
        }
        arguments->library = value;
        return 0;
    case ARGP_KEY_END:
        if (!arguments->library || !arguments->output || !(arguments->weights || arguments->check)) {
            argp_error(state, "LIB, --weights and -o are needed");
        }
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

// Nothing, an empty file, a packed file: a user who mistypes a name must not lose what it names.
static bool may_be_replaced(const char *path) {
    char head[sizeof PACKED_MAGIC] = "";
    FILE *file = fopen(path, "rb");
    size_t size = file ? fread(head, 1, sizeof head, file) : 0;
    if (file) {
        fclose(file);
    }
    return !size || packed_image_recognise(head, size);
}

static Status pack(const PackArguments *arguments, const Artifact *artifact, const Kind *kinds, char *error, size_t error_size) {
    Contents contents = {.kinds = artifact->model->layer_count};
    Status status = LIBRARY_OK;
    if (file_same(arguments->library, arguments->output)) {
        const Failure failure = {error, error_size};
        return failure_set(&failure, LIBRARY_INVALID_ARGUMENT, "'%s' is the library itself", arguments->output);
    }
    if (arguments->weights && !file_replaces(arguments->output, arguments->weights) && !may_be_replaced(arguments->output)) {
        const Failure failure = {error, error_size};
        return failure_set(&failure, LIBRARY_INVALID_ARGUMENT, "'%s' exists and is no packed file: it is not replaced",
                           arguments->output);
    }
    if (arguments->weights) {
        status = instance_pack(&contents, kinds, arguments->weights, arguments->output, error, error_size);
    }
    if (status == LIBRARY_OK && arguments->check) {
        status = instance_check_packed(&contents, kinds, arguments->output, error, error_size);
    }
    return status;
}

int command_pack(int argc, char **argv) {
    static const struct argp parser = {options, parse, "LIB", "Packs a checkpoint's weights for a compiled library.",
                                       NULL,    NULL,  NULL};
    PackArguments arguments = {NULL, NULL, NULL, 0};
    if (argp_parse(&parser, argc, argv, 0, NULL, &arguments)) {
        return EXIT_USAGE;
    }
    Diagnostics diagnostics = {0};
    Artifact *artifact = artifact_read(arguments.library, &diagnostics);
    Kind *kinds = artifact ? artifact_kinds(artifact) : NULL;
    char error[INSTANCE_ERROR_BYTES] = "out of memory";
    int code = EXIT_FAILED;
    if (!artifact) {
        diagnostics_print(&diagnostics, stderr);
    } else if (!kinds || pack(&arguments, artifact, kinds, error, sizeof error) != LIBRARY_OK) {
        fprintf(stderr, "catena pack: %s\n", error);
    } else {
        printf(arguments.weights ? "%s\n" : "%s: undamaged\n", arguments.output);
        code = EXIT_OK;
    }
    free(kinds);
    artifact_free(artifact);
    diagnostics_free(&diagnostics);
    return code;
}
