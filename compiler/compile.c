// The driver of a compile: target, plans, objects, link, header. Everything is written to temporary names first.
#include "compile.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "emit.h"
#include "header.h"
#include "link.h"
#include "plan.h"
#include "planner.h"

enum { PATH_BYTES = 4096 };

const Target *compile_target(const char *name, const Machine *machine, Diagnostics *diagnostics) {
    char missing[256], known[256] = "host";
    if (name && strcmp(name, "host")) {
        const Target *target = target_find(name);
        for (int i = 0; targets[i]; i++) {
            strncat(known, ", ", sizeof known - strlen(known) - 1);
            strncat(known, targets[i]->name, sizeof known - strlen(known) - 1);
        }
        if (!target) {
            diagnostics_add(diagnostics, NULL, 0, 0, "unknown target '%s': expected one of %s", name, known);
        }
        return target;
    }
    for (int i = 0; targets[i]; i++) {
        if (compile_target_is_host(targets[i], machine, missing, sizeof missing)) {
            return targets[i];
        }
    }
    diagnostics_add(diagnostics, NULL, 0, 0, "no target runs on this machine (%s)", machine->architecture);
    return NULL;
}

bool compile_target_is_host(const Target *target, const Machine *machine, char *missing, size_t missing_bytes) {
    return !strcmp(target->architecture, machine->architecture) &&
           machine_has_all(machine, target->requires, missing, missing_bytes);
}

int compile_plans(const Model *model, const Target *target, const Machine *machine, int compute, Plan *plans,
                  Diagnostics *diagnostics) {
    Peaks peaks, *measured = NULL;
    char missing[256];
    bool host = compile_target_is_host(target, machine, missing, sizeof missing);
    for (int64_t i = 0; i < model->layer_count; i++) {
        Layer layer = model->layers[i].layer;
        layer.compute = compute < 0 ? layer.compute : compute;
        if (layer.compute == COMPUTE_BF16 && layer.weights != FORMAT_BF16) {
            diagnostics_add(diagnostics, NULL, 0, 0, "layer '%s': compute class bf16 needs bf16 weights, it has fp32",
                            model->layers[i].name);
            return -1;
        }
        if (host && !measured && plan_needs_peaks(&layer, target)) {
            if (peaks_get(machine, target->name, (int)machine->threads, &peaks, diagnostics)) {
                return -1;
            }
            measured = &peaks;
        }
        plans[i] = plan_default(&layer, target, machine, measured);
    }
    return 0;
}

// Adds the names of `more` that `list` lacks.
static void add_features(char *list, const char *more) {
    char copy[LIBRARY_FEATURES_BYTES], *rest = copy, *word;
    snprintf(copy, sizeof copy, "%s", more);
    while ((word = strsep(&rest, " "))) {
        if (*word && !strstr(list, word)) {
            size_t length = strlen(list);
            snprintf(list + length, LIBRARY_FEATURES_BYTES - length, "%s%s", length ? " " : "", word);
        }
    }
}

static Contents make_contents(const Model *model, const Target *target, const Plan *plans) {
    Contents contents;
    memset(&contents, 0, sizeof contents);
    snprintf(contents.name, sizeof contents.name, "%s", model->name);
    snprintf(contents.target, sizeof contents.target, "%s", target->name);
    contents.kinds = model->layer_count;
    add_features(contents.features, target->requires);
    for (int64_t i = 0; i < model->layer_count; i++) {
        for (int r = 0; r < ROLE_COUNT; r++) {
            if (plans[i].roles[r].matrices) {
                add_features(contents.features, path_requires(target, (Path)plans[i].roles[r].path));
            }
        }
    }
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
static char *make_description(const Model *model, const Target *target, const Plan *plans) {
    static const char *const computes[] = {"fp32", "bf16"};
    unsigned major, minor, patch;
    char llvm[32];
    LLVMGetVersion(&major, &minor, &patch);
    snprintf(llvm, sizeof llvm, "%u.%u.%u", major, minor, patch);
    json_t *classes = json_array(), *texts = json_array();
    for (int64_t i = 0; i < model->layer_count; i++) {
        char *text = plan_print(&plans[i]);
        json_array_append_new(texts, json_string(text ? text : ""));
        json_array_append_new(classes, json_string(computes[plans[i].layer.compute]));
        free(text);
    }
    json_t *root =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o}", "catena", CATENA_VERSION, "llvm", llvm, "name", model->name, "target",
                  target->name, "arch", target->architecture, "spec", model->source, "compute", classes, "plans", texts);
    char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    json_decref(root);
    return text;
}

static int emit_objects(const Target *target, const Contents *contents, const Kind *kinds, const char *description,
                        const EmitTexts *texts, Object *objects, int *count, Diagnostics *diagnostics) {
    for (int64_t i = 0; i < contents->kinds; i++) {
        objects[*count] = emit_tiles(target, &kinds[i].plan, i, texts, diagnostics);
        *count += objects[*count] != NULL;
        objects[*count] = emit_layer(target, &kinds[i].plan, i, texts, diagnostics);
        *count += objects[*count] != NULL;
    }
    objects[*count] = emit_entry(target, contents, kinds, description, texts, diagnostics);
    *count += objects[*count] != NULL;
    return *count == contents->kinds * 2 + 1 ? 0 : -1;
}

// Writes DIRECTORY/NAME<suffix> through a temporary name by one of the writers below.
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

static int write_text(const Model *model, const Plan *plans, const char *directory, const char *suffix, Writer *writer,
                      Diagnostics *diagnostics) {
    char path[PATH_BYTES], temporary[PATH_BYTES + 16];
    snprintf(path, sizeof path, "%.3900s/%s%s", directory, model->name, suffix);
    snprintf(temporary, sizeof temporary, "%s.XXXXXX", path);
    int descriptor = mkstemp(temporary);
    FILE *stream = descriptor < 0 ? NULL : fdopen(descriptor, "w");
    int status = stream ? writer(model, plans, directory, stream) : -1;
    if (stream && (fchmod(descriptor, 0644) || fclose(stream))) {
        status = -1;
    }
    if (!status && rename(temporary, path)) {
        status = -1;
    }
    if (status) {
        diagnostics_add(diagnostics, path, 0, 0, "cannot write: %s", strerror(errno));
        if (descriptor >= 0) {
            unlink(temporary);
        }
    }
    return status;
}

static int make_directory(const char *directory, Diagnostics *diagnostics) {
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s", directory);
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(path, 0777);
        *slash = '/';
    }
    if (mkdir(path, 0777) && errno != EEXIST) {
        diagnostics_add(diagnostics, directory, 0, 0, "cannot create: %s", strerror(errno));
        return -1;
    }
    return 0;
}

static int compile_to(const Model *model, const Target *target, const Plan *plans, const CompileOptions *options,
                      const char *directory, Diagnostics *diagnostics) {
    Object objects[LINK_MAX_OBJECTS];
    int count = 0, status = -1;
    char prefix[PATH_BYTES], path[PATH_BYTES];
    snprintf(prefix, sizeof prefix, "%.3900s/%s", directory, model->name);
    snprintf(path, sizeof path, "%.3900s/lib%s.so", directory, model->name);
    EmitTexts texts = {prefix, options->emit_ir != 0, options->emit_asm != 0};
    Contents contents = make_contents(model, target, plans);
    Kind *kinds = make_kinds(model, plans);
    char *description = make_description(model, target, plans);
    if (!kinds || !description) {
        diagnostics_add(diagnostics, NULL, 0, 0, "out of memory");
    } else if (!emit_objects(target, &contents, kinds, description, &texts, objects, &count, diagnostics) &&
               !link_library(target, model->name, objects, count, path, diagnostics) &&
               !write_text(model, plans, directory, ".h", write_header, diagnostics) &&
               !write_text(model, plans, directory, ".pc", write_pkgconfig, diagnostics)) {
        status = options->emit_plan ? write_text(model, plans, directory, ".plan", write_plans, diagnostics) : 0;
    }
    for (int i = 0; i < count; i++) {
        LLVMDisposeMemoryBuffer(objects[i]);
    }
    free(description);
    free(kinds);
    return status;
}

int compile_library(const Model *model, const CompileOptions *options, const char *directory, Diagnostics *diagnostics) {
    Machine machine;
    if (machine_detect(&machine)) {
        diagnostics_add(diagnostics, NULL, 0, 0, "cannot read this machine's topology");
        return -1;
    }
    const Target *target = compile_target(options->target, &machine, diagnostics);
    Plan *plans = calloc((size_t)model->layer_count, sizeof *plans);
    int status = -1;
    if (target && plans && !compile_plans(model, target, &machine, options->compute, plans, diagnostics) &&
        !make_directory(directory, diagnostics)) {
        status = compile_to(model, target, plans, options, directory, diagnostics);
    }
    free(plans);
    return status;
}
