// Reads what a compiled library says of itself from its ELF section ".catena", whatever its architecture, without loading it.
// Any file may be given: everything found is checked before it is used.
#include "artifact.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compiler/plan/text.h"
#include "compiler/wisdom/origin.h"

// The section's bytes as a text; NULL if there is none. `elf` stays open.
static char *copy_section(Elf *elf, const char *path, Diagnostics *diagnostics) {
    size_t names;
    if (elf_kind(elf) != ELF_K_ELF || elf_getshdrstrndx(elf, &names)) {
        diagnostics_add(diagnostics, path, 0, 0, "not a shared library");
        return NULL;
    }
    for (Elf_Scn *section = NULL; (section = elf_nextscn(elf, section));) {
        GElf_Shdr header;
        if (!gelf_getshdr(section, &header)) {
            break;
        }
        const char *name = elf_strptr(elf, names, header.sh_name);
        if (!name || strcmp(name, ".catena")) {
            continue;
        }
        const Elf_Data *data = elf_rawdata(section, NULL);
        if (data && data->d_buf && data->d_size) {
            return strndup(data->d_buf, data->d_size);
        }
    }
    diagnostics_add(diagnostics, path, 0, 0, "not a library made by catena (no section .catena)");
    return NULL;
}

static char *read_description(const char *path, Diagnostics *diagnostics) {
    if (elf_version(EV_CURRENT) == EV_NONE) {
        diagnostics_add(diagnostics, path, 0, 0, "libelf: %s", elf_errmsg(-1));
        return NULL;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        diagnostics_add(diagnostics, path, 0, 0, "cannot open: %s", strerror(errno));
        return NULL;
    }
    char *text = NULL;
    Elf *elf = elf_begin(fd, ELF_C_READ, NULL);
    if (elf) {
        text = copy_section(elf, path, diagnostics);
        elf_end(elf);
    } else {
        diagnostics_add(diagnostics, path, 0, 0, "not a shared library");
    }
    close(fd);
    return text;
}

// A string of the description that fits `size` bytes.
static int copy_text(const json_t *root, const char *key, char *out, size_t size, const char *path, Diagnostics *diagnostics) {
    const char *text = json_string_value(json_object_get(root, key));
    if (!text || strlen(text) >= size) {
        diagnostics_add(diagnostics, path, 0, 0, "damaged description: \"%s\"", key);
        return -1;
    }
    memcpy(out, text, strlen(text) + 1);
    return 0;
}

// The compute class may have been chosen when compiling.
static int read_compute(Artifact *artifact, const json_t *list, Diagnostics *diagnostics) {
    for (int64_t i = 0; i < artifact->model->layer_count; i++) {
        const char *name = json_string_value(json_array_get(list, (size_t)i));
        int found = name ? compute_find(name) : -1;
        if (found < 0) {
            diagnostics_add(diagnostics, artifact->path, 0, 0, "damaged description: \"compute\"");
            return -1;
        }
        artifact->model->layers[i].layer.compute = found;
    }
    return 0;
}

// Whether a plan is one of this layer: what follows from the layer must be what the planner would say. Sizes and offsets of
// packed weights are used to write memory, so a damaged library must not choose them.
static int plan_belongs(const Plan *plan, const Layer *layer) {
    Plan again = *plan;
    again.layer = *layer;
    plan_layout(&again);
    return !memcmp(&again, plan, sizeof again);
}

static int read_plans(Artifact *artifact, const json_t *list, Diagnostics *diagnostics) {
    int64_t count = artifact->model->layer_count;
    artifact->plans = calloc((size_t)count, sizeof *artifact->plans);
    if (!artifact->plans || json_array_size(list) != (size_t)count) {
        diagnostics_add(diagnostics, artifact->path, 0, 0, "damaged description: \"plans\"");
        return -1;
    }
    for (int64_t i = 0; i < count; i++) {
        const char *text = json_string_value(json_array_get(list, (size_t)i));
        if (!text || plan_parse(text, artifact->path, &artifact->plans[i], diagnostics) ||
            !plan_belongs(&artifact->plans[i], &artifact->model->layers[i].layer)) {
            diagnostics_add(diagnostics, artifact->path, 0, 0, "damaged description: plan of layer '%s'",
                            artifact->model->layers[i].name);
            return -1;
        }
    }
    return 0;
}

static int read_origins(Artifact *artifact, json_t *list, Diagnostics *diagnostics) {
    bool good = json_array_size(list) == (size_t)artifact->model->layer_count;
    for (size_t i = 0; i < json_array_size(list) && good; i++) {
        good = wisdom_origin_check(json_array_get(list, i));
    }
    if (!good) {
        diagnostics_add(diagnostics, artifact->path, 0, 0, "damaged description: \"wisdom\"");
        return -1;
    }
    artifact->origins = json_incref(list);
    return 0;
}

static int read_parts(Artifact *artifact, const json_t *root, Diagnostics *diagnostics) {
    if (copy_text(root, "name", artifact->name, sizeof artifact->name, artifact->path, diagnostics) ||
        copy_text(root, "target", artifact->target, sizeof artifact->target, artifact->path, diagnostics)) {
        return -1;
    }
    const char *spec = json_string_value(json_object_get(root, "spec"));
    if (!spec) {
        diagnostics_add(diagnostics, artifact->path, 0, 0, "damaged description: \"spec\"");
        return -1;
    }
    artifact->model = model_read_text(spec, strlen(spec), artifact->path, diagnostics);
    if (!artifact->model || read_compute(artifact, json_object_get(root, "compute"), diagnostics)) {
        return -1;
    }
    return read_plans(artifact, json_object_get(root, "plans"), diagnostics) ||
                   read_origins(artifact, json_object_get(root, "wisdom"), diagnostics)
               ? -1
               : 0;
}

Artifact *artifact_read(const char *path, Diagnostics *diagnostics) {
    char *description = read_description(path, diagnostics);
    if (!description) {
        return NULL;
    }
    Artifact *artifact = calloc(1, sizeof *artifact);
    json_t *root = NULL;
    if (!artifact || !(artifact->path = strdup(path))) {
        free(description);
        diagnostics_add(diagnostics, path, 0, 0, "out of memory");
        goto failed;
    }
    artifact->description = description;
    json_error_t error;
    root = json_loads(description, JSON_REJECT_DUPLICATES, &error);
    if (!root) {
        diagnostics_add(diagnostics, path, 0, 0, "damaged description: %s", error.text);
        goto failed;
    }
    if (read_parts(artifact, root, diagnostics)) {
        goto failed;
    }
    json_decref(root);
    return artifact;
failed:
    json_decref(root);
    artifact_free(artifact);
    return NULL;
}

void artifact_free(Artifact *artifact) {
    if (artifact) {
        model_free(artifact->model);
        free(artifact->plans);
        json_decref(artifact->origins);
        free(artifact->description);
        free(artifact->path);
        free(artifact);
    }
}

Kind *artifact_kinds(const Artifact *artifact) {
    int64_t count = artifact->model->layer_count;
    Kind *kinds = calloc((size_t)count, sizeof *kinds);
    for (int64_t i = 0; kinds && i < count; i++) {
        const ModelLayer *row = &artifact->model->layers[i];
        memcpy(kinds[i].name, row->name, sizeof kinds[i].name);
        kinds[i].count = row->count;
        kinds[i].plan = artifact->plans[i];
        kinds[i].checkpoint = row->checkpoint;
    }
    return kinds;
}
