// The driver of a compile: target, plans, objects, link, header. Everything is written to temporary names first.
#include "compile.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compiler/base/temporary.h"
#include "compiler/base/writable.h"
#include "compiler/emit/emit.h"
#include "compiler/machine/site.h"
#include "compiler/measure/measure.h"
#include "compiler/plan/planner.h"
#include "compiler/plan/text.h"
#include "compiler/wisdom/recall.h"
#include "header.h"
#include "link.h"
#include "runtime/file.h"

enum { PATH_BYTES = 4096 };

int compile_plans(const Model *model, const Target *target, const Machine *machine, int compute, Plan *plans,
                  Diagnostics *diagnostics) {
    Peaks peaks, *measured = NULL;
    bool host = site_supports(machine, target, NULL);
    for (int64_t i = 0; i < model->layer_count; i++) {
        Layer layer = model->layers[i].layer;
        layer.compute = compute < 0 ? layer.compute : compute;
        RoleName unserved = plan_unserved_role(&layer, (Compute)layer.compute);
        if (unserved < ROLE_COUNT) {
            diagnostics_add(diagnostics, NULL, 0, 0,
                            "layer '%s': its %s weights are %s, which no instruction path of compute class %s reads without "
                            "rounding them",
                            model->layers[i].name, role_names[unserved], format_names[plan_format(&layer, unserved)],
                            compute_names[layer.compute]);
            return -1;
        }
        if (host && !measured && plan_needs_peaks(&layer, target)) {
            if (measure_peaks_kept(machine, target->name, (int)machine->threads, &peaks, diagnostics)) {
                return -1;
            }
            measured = &peaks;
        }
        plans[i] = plan_default(&layer, target, machine, measured);
    }
    return 0;
}

Features compile_features(const Target *target, const Plan *plans, int64_t count) {
    Features features = {""};
    features_add(&features, target->requires);
    for (int64_t i = 0; i < count; i++) {
        for (int r = 0; r < ROLE_COUNT; r++) {
            if (plans[i].roles[r].layout.matrices) {
                features_add(&features, path_requires(target, (Path)plans[i].roles[r].path));
            }
        }
    }
    return features;
}

static Contents make_contents(const Model *model, const Target *target, const Plan *plans) {
    Contents contents;
    const Features features = compile_features(target, plans, model->layer_count);
    memset(&contents, 0, sizeof contents);
    snprintf(contents.name, sizeof contents.name, "%s", model->name);
    snprintf(contents.target, sizeof contents.target, "%s", target->name);
    contents.kinds = model->layer_count;
    assert(strlen(features.names) < sizeof contents.features);  // a library that lost a name would run where it cannot
    memcpy(contents.features, features.names, sizeof contents.features);
    return contents;
}

static Kind *make_kinds(const Model *model, const Plan *plans) {
    Kind *kinds = calloc(MODEL_MAX_LAYERS, sizeof *kinds);
    for (int64_t i = 0; kinds && i < model->layer_count; i++) {
        memcpy(kinds[i].name, model->layers[i].name, sizeof kinds[i].name);
        kinds[i].count = model->layers[i].count;
        kinds[i].plan = plans[i];
        kinds[i].checkpoint = model->layers[i].checkpoint;
    }
    return kinds;
}

// The JSON text of a library's description; see artifact.h.
static char *make_description(const Model *model, const Target *target, const Plan *plans, json_t *origins) {
    unsigned major, minor, patch;
    char llvm[32];
    LLVMGetVersion(&major, &minor, &patch);
    snprintf(llvm, sizeof llvm, "%u.%u.%u", major, minor, patch);
    json_t *classes = json_array(), *texts = json_array();
    for (int64_t i = 0; i < model->layer_count; i++) {
        char *text = plan_print(&plans[i]);
        json_array_append_new(texts, json_string(text ? text : ""));
        json_array_append_new(classes, json_string(compute_name((Compute)plans[i].layer.compute)));
        free(text);
    }
    json_t *root = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:O}", "catena", CATENA_VERSION, "llvm", llvm, "name",
                             model->name, "target", target->name, "arch", target->architecture, "spec", model->source, "compute",
                             classes, "plans", texts, "wisdom", origins);
    char *text = root ? json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(root);
    return text;
}

_Static_assert((int)EMIT_MAX_KINDS >= (int)MODEL_MAX_LAYERS, "each layer of a description is a kind of its library");

static int emit_objects(const Target *target, const Contents *contents, const Kind *kinds, const char *description,
                        const char *interface, const EmitTexts *texts, Object *objects, int *count, Diagnostics *diagnostics) {
    for (int64_t i = 0; i < contents->kinds; i++) {
        objects[*count] = emit_tiles(target, &kinds[i].plan, i, EMIT_ALL, texts, diagnostics);
        *count += objects[*count] != NULL;
        objects[*count] = emit_layer(target, &kinds[i].plan, i, texts, diagnostics);
        *count += objects[*count] != NULL;
    }
    objects[*count] = emit_entry(target, contents, kinds, description, interface, texts, diagnostics);
    *count += objects[*count] != NULL;
    return *count == contents->kinds * 2 + 1 ? 0 : -1;
}

// Writes STAGE/NAME<suffix> by one of the writers below. directory: where it will end up.
typedef int Writer(const Model *model, const Plan *plans, const char *directory, FILE *stream);

static int write_header(const Model *model, const Plan *plans, const char *directory, FILE *stream) {
    (void)plans, (void)directory;
    return header_write(model, stream);
}

static int write_pkgconfig(const Model *model, const Plan *plans, const char *directory, FILE *stream) {
    (void)plans;
    return header_write_pkgconfig(model, directory, stream);
}

static int write_plans(const Model *model, const Plan *plans, const char *directory, FILE *stream) {
    (void)directory;
    for (int64_t i = 0; i < model->layer_count; i++) {
        char *text = plan_print(&plans[i]);
        if (!text || fprintf(stream, "# layer %s\n%s", model->layers[i].name, text) < 0) {
            free(text);
            return -1;
        }
        free(text);
    }
    return 0;
}

// Everything that a compile makes, and where: a temporary directory beside the results, so that a failure changes none of them.
typedef struct Compilation {
    const Model *model;
    const Target *target;
    const Plan *plans;
    json_t *origins;
    const char *directory;
    char *stage;  // owned
    Diagnostics *diagnostics;
} Compilation;

static int write_text(const Compilation *c, const char *suffix, Writer *writer) {
    char path[PATH_BYTES + MODEL_NAME_BYTES + 16];
    snprintf(path, sizeof path, "%s/%s%s", c->stage, c->model->name, suffix);
    FILE *stream = fopen(path, "w");
    int status = stream ? writer(c->model, c->plans, c->directory, stream) : -1;
    if (stream && fclose(stream)) {
        status = -1;
    }
    if (status) {
        diagnostics_add(c->diagnostics, path, 0, 0, "cannot write: %s", strerror(errno));
    }
    return status;
}

// Creates the directory with its parents. made: as writable_folder has it.
static int make_directory(const char *directory, size_t *made, Diagnostics *diagnostics) {
    char error[PATH_BYTES + 256] = "";
    if (strlen(directory) >= PATH_BYTES - MODEL_NAME_BYTES - 32) {
        diagnostics_add(diagnostics, NULL, 0, 0, "the name of the directory is too long: '%.60s...'", directory);
        return -1;
    }
    if (writable_folder(directory, 0777, made, &(Failure){error, sizeof error}) != LIBRARY_OK) {
        diagnostics_add(diagnostics, NULL, 0, 0, "%s", error);
        return -1;
    }
    return 0;
}

// Calls one of the steps below for every file of the stage but the library, then for the library: what is renamed last is what
// users load. Stops at the first failure.
static int for_each_staged(const Compilation *c, int (*step)(const char *from, const char *to)) {
    char from[PATH_BYTES + 300], to[PATH_BYTES + 300], library[MODEL_NAME_BYTES + 16];
    int status = 0;
    snprintf(library, sizeof library, "lib%s.so", c->model->name);
    DIR *stage = opendir(c->stage);
    for (struct dirent *entry; stage && !status && (entry = readdir(stage));) {
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, library)) {
            snprintf(from, sizeof from, "%s/%s", c->stage, entry->d_name);
            snprintf(to, sizeof to, "%.*s/%s", file_folder_length(c->directory), c->directory, entry->d_name);
            status = step(from, to);
        }
    }
    if (stage) {
        closedir(stage);
    }
    if (!status) {
        snprintf(from, sizeof from, "%s/%s", c->stage, library);
        snprintf(to, sizeof to, "%.*s/%s", file_folder_length(c->directory), c->directory, library);
        status = step(from, to);
    }
    if (status > 0) {
        diagnostics_add(c->diagnostics, to, 0, 0, "cannot write: %s", strerror(status));
    }
    return status;
}

// Whether a rename could work: nothing but a file may be in its place.
static int check_place(const char *from, const char *to) {
    struct stat found;
    (void)from;
    return !stat(to, &found) && S_ISDIR(found.st_mode) ? EISDIR : 0;
}

static int move(const char *from, const char *to) {
    return rename(from, to) ? errno : 0;
}

// All of them or, where a signal comes before, none.
static int move_staged(const Compilation *c) {
    sigset_t before;
    temporary_hold_signals(&before);
    int status = for_each_staged(c, move);
    temporary_release_signals(&before);
    return status;
}

static int make_library(const Compilation *c, const CompileOptions *options) {
    Object objects[LINK_MAX_OBJECTS];
    int count = 0, status = -1;
    char prefix[PATH_BYTES + MODEL_NAME_BYTES + 16], path[PATH_BYTES + MODEL_NAME_BYTES + 16];
    snprintf(prefix, sizeof prefix, "%s/%s", c->stage, c->model->name);
    snprintf(path, sizeof path, "%s/lib%s.so", c->stage, c->model->name);
    EmitTexts texts = {prefix, options->emit_ir != 0, options->emit_asm != 0};
    Contents contents = make_contents(c->model, c->target, c->plans);
    Kind *kinds = make_kinds(c->model, c->plans);
    char *description = make_description(c->model, c->target, c->plans, c->origins);
    char interface[HEADER_INTERFACE_BYTES];
    if (!kinds || !description || header_interface(c->model, interface)) {
        diagnostics_add(c->diagnostics, NULL, 0, 0, "out of memory");
    } else if (!emit_objects(c->target, &contents, kinds, description, interface, &texts, objects, &count, c->diagnostics)) {
        status = link_library(c->target, c->model->name, objects, count, path, c->diagnostics);
    }
    for (int i = 0; i < count; i++) {
        LLVMDisposeMemoryBuffer(objects[i]);
    }
    free(description);
    free(kinds);
    return status;
}

// Characters that no quoting brings through everywhere: pkg-config expands "$" (pkgconf even where it is doubled), its files have
// lines, and lld makes the "%" of an output's name random.
// Asked before the directory is made: of its name, and of where the part of it lies that is there.
static int check_place_name(const char *directory, Diagnostics *diagnostics) {
    static const char refused[] = "$%\n\r";
    const char *root = *directory == '/' ? "/" : ".";
    char there[PATH_BYTES], *absolute;
    snprintf(there, sizeof there, "%s", directory);
    while (!(absolute = realpath(*there ? there : root, NULL)) && *there) {
        char *slash = strrchr(there, '/');
        *(slash ? slash : there) = 0;
    }
    bool bad = strpbrk(directory, refused) || (absolute && strpbrk(absolute, refused));
    if (bad) {
        diagnostics_add(diagnostics, directory, 0, 0,
                        "no place for a library: pkg-config and the linker do not take every '$', '%%' or line break in a path");
    }
    free(absolute);
    return bad ? -1 : 0;
}

static int open_stage(Compilation *c) {
    char stem[PATH_BYTES];
    snprintf(stem, sizeof stem, "%.*s/.%s", file_folder_length(c->directory), c->directory, c->model->name);
    c->stage = temporary_directory(stem);
    if (!c->stage) {
        diagnostics_add(c->diagnostics, c->directory, 0, 0, "cannot write: %s", strerror(errno));
        return -1;
    }
    return 0;
}

static int compile_in_stage(Compilation *c, const CompileOptions *options, const Machine *machine, Plan *plans) {
    int failed = compile_plans(c->model, c->target, machine, options->compute, plans, c->diagnostics);
    if (!failed) {
        c->plans = plans;
        c->origins = recall_plans(options->wisdom, options->bits_free, c->model, c->target, machine, plans, NULL, c->diagnostics);
        failed = !c->origins || make_library(c, options) || write_text(c, ".h", write_header) ||
                 write_text(c, ".pc", write_pkgconfig) || (options->emit_plan && write_text(c, ".plan", write_plans)) ||
                 for_each_staged(c, check_place) || move_staged(c);
    }
    json_decref(c->origins);
    return failed ? -1 : 0;
}

// The directory comes first: paths may have to be measured for the plans. One that was made goes with a compile that fails.
int compile_library(const Model *model, const CompileOptions *options, const char *directory, Diagnostics *diagnostics) {
    Machine machine;
    size_t made = 0;
    if (machine_detect(&machine)) {
        diagnostics_add(diagnostics, NULL, 0, 0, "cannot read this machine's topology");
        return -1;
    }
    Compilation compilation = {.model = model,
                               .target = site_target_find(options->target, &machine, diagnostics),
                               .directory = directory,
                               .diagnostics = diagnostics};
    Plan *plans = calloc(MODEL_MAX_LAYERS, sizeof *plans);
    int status = -1;
    if (compilation.target && plans && !check_place_name(directory, diagnostics) &&
        !make_directory(directory, &made, diagnostics)) {
        if (!open_stage(&compilation)) {
            status = compile_in_stage(&compilation, options, &machine, plans);
            temporary_remove(compilation.stage);
            free(compilation.stage);
        }
        if (status) {
            writable_forget(directory, made);
        }
    }
    free(plans);
    return status;
}
