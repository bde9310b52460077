// catena import: a model's config.json, or a checkpoint of Megatron-LM, to the description of its sparse layers.
#include <argp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "command.h"
#include "compiler/base/temporary.h"
#include "compiler/base/writable.h"
#include "compiler/description/model.h"
#include "compiler/import/import.h"
#include "runtime/file.h"

typedef struct ImportArguments {
    const char *path, *output;
    int dry_run;
    ImportOptions options;
} ImportArguments;

enum { OPTION_DRY_RUN = 256, OPTION_AS, PATH_BYTES = 4096 };

static const struct argp_option argp_options[] = {
    {"output", 'o', "OUT.json", 0, "Write the description here (default: standard output)", 0},
    {"dry-run", OPTION_DRY_RUN, NULL, 0, "Say in words what was understood and write nothing", 0},
    {"as", OPTION_AS, "MODEL_TYPE", 0,
     "Read the model as one of this model_type, which computes the same, and say what that assumes", 0},
    {"name", 'n', "NAME", 0, "Name of the model in the description (default: the folder's)", 0},
    {"weights", 'w', "FORMAT", 0, "Format of the packed weights, as in descriptions (default: what the checkpoint has)", 0},
    {"compute", 'c', "CLASS", 0, "Compute class, fp32 (default) or bf16", 0},
    {0},
};

// The description is JSON; the tensors of a checkpoint that needs it go to OUT.safetensors.
static bool is_other_kind(const char *output) {
    static const char *const endings[] = {".safetensors", ".so"};
    const char *ending = strrchr(output, '.');
    for (size_t i = 0; ending && i < sizeof endings / sizeof *endings; i++) {
        if (!strcmp(ending, endings[i])) {
            return true;
        }
    }
    return false;
}

static int parse_format(const char *value, const struct argp_state *state) {
    int format = format_find(value);
    char names[256] = "";
    for (size_t i = 0, used = 0; format < 0 && format_names[i] && used < sizeof names; i++) {
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", format_names[i]);
    }
    if (format < 0) {
        argp_error(state, "--weights takes one of %s, not '%s'", names, value);
    }
    return format;
}

static error_t parse(int key, char *value, struct argp_state *state) {
    ImportArguments *arguments = state->input;
    switch (key) {
    case 'o':
        arguments->output = value;
        if (is_other_kind(value)) {
            argp_error(state, "-o takes the name of a description, OUT.json, not '%s'", value);
        }
        return 0;
    case 'n': arguments->options.name = value; return 0;
    case OPTION_AS: arguments->options.as = value; return 0;
    case OPTION_DRY_RUN: arguments->dry_run = 1; return 0;
    case 'w': arguments->options.weights = parse_format(value, state); return 0;
    case 'c': arguments->options.compute = command_parse_compute(value, state); return 0;
    case ARGP_KEY_ARG:
        if (arguments->path) {
            argp_error(state, "one model at a time: '%s' is too much", value);
        }
        arguments->path = value;
        return 0;
    case ARGP_KEY_END:
        if (!arguments->path) {
            argp_error(state, "which model? A folder with config.json, or that file, or a checkpoint of Megatron-LM");
        }
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

// Nothing that is read may be written over. Other files of the folder may: the description may lie beside the model.
static bool replaces_source(const char *output, const ImportResult *result) {
    static const char *const names[] = {"model.safetensors.index.json", "latest_checkpointed_iteration.txt"};
    char source[PATH_BYTES];
    bool replaces = file_replaces(output, result->path);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(source, sizeof source, "%.*s/%s", file_folder_length(result->folder), result->folder, names[i]);
        replaces |= file_replaces(output, source);
    }
    return replaces;
}

// Whether a file of that name holds something else than JSON: a user who mistypes a name must not lose what it names.
static bool holds_something_else(const char *path) {
    struct stat facts;
    FILE *file = !stat(path, &facts) && S_ISREG(facts.st_mode) ? fopen(path, "r") : NULL;
    char first = '{';
    int count = file ? fscanf(file, " %c", &first) : 0;
    if (file) {
        fclose(file);
    }
    return count == 1 && first != '{';
}

// Before the model is read. What can only be known of the model is checked later.
static int check_output(const char *output, Diagnostics *diagnostics) {
    char error[512] = "";
    if (writable_file(output, 0, &(Failure){error, sizeof error}) != LIBRARY_OK) {
        diagnostics_add(diagnostics, NULL, 0, 0, "%s", error);
        return -1;
    }
    return 0;
}

// Where tensors go: those of OUT.json to OUT.safetensors.
static int find_tensors_path(const ImportArguments *arguments, char path[PATH_BYTES], Diagnostics *diagnostics) {
    struct stat facts;
    if (!arguments->output) {
        diagnostics_add(diagnostics, arguments->path, 0, 0,
                        "-o OUT.json is needed: the tensors of this checkpoint are written beside it, as OUT.safetensors");
        return -1;
    }
    const char *name = strrchr(arguments->output, '/'), *ending = strrchr(name ? name : arguments->output, '.');
    size_t stem = ending && !strcmp(ending, ".json") ? (size_t)(ending - arguments->output) : strlen(arguments->output);
    if ((size_t)snprintf(path, PATH_BYTES, "%.*s.safetensors", (int)stem, arguments->output) >= PATH_BYTES) {
        diagnostics_add(diagnostics, NULL, 0, 0, "the path is too long: '%.60s...'", arguments->output);
        return -1;
    }
    if (!lstat(path, &facts)) {
        diagnostics_add(diagnostics, path, 0, 0,
                        "the tensors of this checkpoint are written here, but it exists: remove it or choose another name with -o");
        return -1;
    }
    return 0;
}

// Commits the description. Tensors that were written for it stay if it does, and otherwise go, also where a signal comes.
static Status commit(Output *output, const char *tensors, const Failure *failure) {
    sigset_t before;
    temporary_hold_signals(&before);
    Status status = output_commit(output, failure);
    if (status == LIBRARY_OK) {
        temporary_end(tensors);
    }
    temporary_release_signals(&before);
    return status;
}

// The description and, where `tensors` is a path, the checkpoint's tensors: both or neither. The description is opened first, so
// that a name that cannot be written is noticed before anything is.
static int write_files(const char *path, Import *import, const char *tensors, Diagnostics *diagnostics) {
    char error[512] = "";
    const Failure failure = {error, sizeof error};
    const char *text = import_result(import)->description;
    Output output;
    int64_t bytes = (int64_t)strlen(text);
    Status status = output_open(path, bytes, &output, &failure);
    if (status == LIBRARY_OK && *tensors) {
        temporary_enter(tensors);
        if (import_write_tensors(import, tensors, diagnostics)) {
            temporary_end(tensors);
            output_discard(&output);
            return -1;
        }
    }
    if (status == LIBRARY_OK) {
        status = output_write(&output, text, bytes, 0, &failure);
        if (status == LIBRARY_OK) {
            status = commit(&output, tensors, &failure);
        } else {
            output_discard(&output);
        }
        if (status != LIBRARY_OK && *tensors) {
            temporary_remove(tensors);
        }
    }
    if (status != LIBRARY_OK) {
        diagnostics_add(diagnostics, NULL, 0, 0, "%s", error);
    }
    return status == LIBRARY_OK ? 0 : -1;
}

static int write_outputs(const ImportArguments *arguments, Import *import, Diagnostics *diagnostics) {
    const ImportResult *result = import_result(import);
    char tensors[PATH_BYTES] = "";
    if (result->has_tensors && find_tensors_path(arguments, tensors, diagnostics)) {
        return -1;
    }
    if (!arguments->output) {
        fputs(result->description, stdout);
    } else if (replaces_source(arguments->output, result)) {
        diagnostics_add(diagnostics, arguments->output, 0, 0, "writing the output here would replace what is read from '%s'",
                        arguments->path);
        return -1;
    } else if (holds_something_else(arguments->output)) {
        diagnostics_add(diagnostics, arguments->output, 0, 0, "exists and is no description: it is not replaced");
        return -1;
    } else if (write_files(arguments->output, import, tensors, diagnostics)) {
        return -1;
    } else {
        printf("%s\n", arguments->output);
        if (*tensors) {
            printf("%s\n", tensors);
        }
    }
    fprintf(stderr, "%s: %lld sparse layer%s described, %lld other layer%s skipped\n", result->family, (long long)result->sparse,
            result->sparse == 1 ? "" : "s", (long long)result->dense, result->dense == 1 ? "" : "s");
    return 0;
}

int command_import(int argc, char **argv) {
    static const char purpose[] =
        "Writes the description of a model's sparse layers from its config.json, or from ReMoE's checkpoint of "
        "Megatron-LM (a folder or a .pt file).\vThe tensors of such a checkpoint are written beside the description, as "
        "OUT.safetensors.";
    static const struct argp parser = {argp_options, parse, "DIR [-o OUT.json]", purpose, NULL, NULL, NULL};
    ImportArguments arguments = {.options = IMPORT_DEFAULTS};
    Diagnostics diagnostics = {0};
    argp_parse(&parser, argc, argv, 0, NULL, &arguments);
    arguments.options.remarks = stderr;
    arguments.options.summary = arguments.dry_run ? stdout : NULL;
    arguments.options.unreadable = arguments.dry_run;
    bool ready = arguments.dry_run || !arguments.output || !check_output(arguments.output, &diagnostics);
    Import *import = ready ? import_open(arguments.path, &arguments.options, &diagnostics) : NULL;
    int failed = !import || (!arguments.dry_run && write_outputs(&arguments, import, &diagnostics));
    diagnostics_print(&diagnostics, stderr);
    import_close(import);
    diagnostics_free(&diagnostics);
    return failed ? EXIT_FAILED : EXIT_OK;
}
