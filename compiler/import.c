// The driver of import: recognise the family, read its settings, find the sparse layers, name the tensors, write; then read what
// was written as everybody will, and compare it with the checkpoint.
#define _GNU_SOURCE
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "import_read.h"

enum { PATH_BYTES = 4096, REASON_BYTES = 256 };

static const char config_name[] = "config.json";

#define FORMAT_NAME(enumerator, name, bytes) name,
static const char *const format_names[] = {FORMAT_LIST(FORMAT_NAME)};
#define COMPUTE_NAME(enumerator, name) name,
static const char *const compute_names[] = {COMPUTE_LIST(COMPUTE_NAME)};

// One import: everything that has to be released is here.
typedef struct Import {
    const ImportOptions *options;
    Diagnostics *diagnostics;
    char path[PATH_BYTES];    // of config.json, or of a checkpoint of Megatron-LM
    char folder[PATH_BYTES];  // that the model is named after
    char label[PATH_BYTES + 32];  // of the description in messages: their lines are not the configuration's
    ImportConfig config;
    ImportCheckpoint checkpoint;
    const ImportFamily *family;
    char recognised[128];  // by what
    json_t *description;
} Import;

// --- recognising ---

static bool has_word(const char *words, const char *word) {
    size_t length = strlen(word);
    for (const char *next = words; next && *next && length; next += strspn(next, " ")) {
        size_t here = strcspn(next, " ");
        if (here == length && !strncmp(next, word, length)) {
            return true;
        }
        next += here;
    }
    return false;
}

static const ImportFamily *find_by_type(const json_t *object) {
    const char *type = json_string_value(json_object_get(object, "model_type"));
    for (size_t i = 0; type && import_families[i]; i++) {
        if (has_word(import_families[i]->model_types, type)) {
            return import_families[i];
        }
    }
    return NULL;
}

static const ImportFamily *find_by_architecture(const json_t *root, const char **architecture) {
    const json_t *list = json_object_get(root, "architectures");
    for (size_t n = 0; n < json_array_size(list); n++) {
        *architecture = json_string_value(json_array_get(list, n));
        for (size_t i = 0; *architecture && import_families[i]; i++) {
            if (has_word(import_families[i]->architectures, *architecture)) {
                return import_families[i];
            }
        }
    }
    return NULL;
}

static void list_families(char *text, size_t size) {
    for (size_t i = 0, used = 0; import_families[i] && used < size; i++) {
        const char *types = import_families[i]->model_types;
        used += (size_t)snprintf(text + used, size - used, "%s%.*s", i ? ", " : "", (int)strcspn(types, " "), types);
    }
}

static void report_unknown(const ImportConfig *config) {
    const char *type = json_string_value(json_object_get(config->root, "model_type")), *where = type ? "model_type" : NULL;
    const json_t *first = json_array_get(json_object_get(config->root, "architectures"), 0);
    const char *architecture = json_string_value(first);
    char known[1024] = "", found[256] = "neither model_type nor architectures";
    if (type || architecture) {
        snprintf(found, sizeof found, "model_type \"%.80s\", architecture \"%.80s\"", type ? type : "",
                 architecture ? architecture : "");
    }
    list_families(known, sizeof known);
    ImportConfig root = *config;
    root.section = NULL;
    import_error(&root,
                 where          ? where
                 : architecture ? "architectures"
                                : NULL,
                 "unknown model: found %s; known are %s. For others, write the description by hand (README, \"The description\")",
                 found, known);
}

static bool recognise(Import *import) {
    const ImportConfig *config = &import->config;
    const char *architecture = NULL;
    const ImportFamily *family = find_by_type(config->object);
    family = family ? family : find_by_type(config->root);
    if (family) {
        snprintf(import->recognised, sizeof import->recognised, "model_type");
    } else {
        family = find_by_architecture(config->root, &architecture);
        snprintf(import->recognised, sizeof import->recognised, "architecture %.80s", architecture ? architecture : "");
    }
    if (!family) {
        report_unknown(config);
    }
    import->family = family;
    return family;
}

// --- the description ---

// Whether descriptions of this name and these layers are accepted; if not, `reason` says why.
static bool is_accepted(const Import *import, const char *name, json_t *layers, char reason[REASON_BYTES]) {
    static const char marker[] = "error: ";
    Diagnostics problems = {0};
    json_t *root = json_pack("{s:s, s:O}", "name", name, "layers", layers);  // NULL if the name is no UTF-8
    char *text = root ? import_text(root) : NULL;
    Model *model = text ? model_read_text(text, strlen(text), import->label, &problems) : NULL;
    const char *found = problems.text ? strstr(problems.text, marker) : NULL;
    found = found ? found + strlen(marker) : "the name is no UTF-8\n";
    snprintf(reason, REASON_BYTES, "%.*s", (int)strcspn(found, "\n"), found);
    bool accepted = model;
    model_free(model);
    diagnostics_free(&problems);
    free(text);
    json_decref(root);
    return accepted;
}

// A C identifier from the name of the folder: "Mixtral-8x7B-v0.1" becomes mixtral_8x7b_v0_1.
static void make_identifier(const Import *import, char name[MODEL_NAME_BYTES]) {
    char *absolute = realpath(import->folder, NULL);
    size_t length = 0;
    const char *folder = absolute && strrchr(absolute, '/') ? strrchr(absolute, '/') + 1 : "";
    if (!isalpha((unsigned char)*folder) || (unsigned char)*folder > 127) {
        length = (size_t)snprintf(name, MODEL_NAME_BYTES, "%.*s_", (int)strcspn(import->family->model_types, " "),
                                  import->family->model_types);
    }
    for (; *folder && length < MODEL_NAME_BYTES - 1; folder++) {
        unsigned char c = (unsigned char)*folder;
        name[length++] = c < 128 && isalnum(c) ? (char)tolower(c) : '_';
    }
    name[length] = 0;
    free(absolute);
}

// The name that was asked for, or else the folder's; where that is a word that libraries cannot be named, with something before it.
static bool make_name(const Import *import, json_t *layers, char name[MODEL_NAME_BYTES]) {
    static const char prefix[] = "model_";
    const char *asked = import->options->name;
    char reason[REASON_BYTES];
    if (asked) {
        bool accepted =
            is_accepted(import, asked, layers, reason) || !is_accepted(import, "model", layers, (char[REASON_BYTES]){0});
        snprintf(name, MODEL_NAME_BYTES, "%s", accepted ? asked : "");
        if (!accepted) {
            diagnostics_add(import->diagnostics, NULL, 0, 0, "--name %.80s: %s", asked, reason);
        }
        return accepted;
    }
    make_identifier(import, name);
    if (!is_accepted(import, name, layers, reason)) {
        memmove(name + strlen(prefix), name, MODEL_NAME_BYTES - strlen(prefix));
        memcpy(name, prefix, strlen(prefix));
        name[MODEL_NAME_BYTES - 1] = 0;
    }
    return true;
}

// What the configuration says of the checkpoint's numbers; NULL: nothing.
static const char *find_dtype(const Import *import) {
    const json_t *objects[] = {import->config.object, import->config.root};
    for (size_t i = 0; i < sizeof objects / sizeof *objects; i++) {
        const char *dtype = json_string_value(json_object_get(objects[i], "dtype"));
        dtype = dtype ? dtype : json_string_value(json_object_get(objects[i], "torch_dtype"));
        dtype = dtype ? dtype : json_string_value(json_object_get(objects[i], "params_dtype"));
        if (dtype && strcmp(dtype, "auto")) {
            return dtype;
        }
    }
    return NULL;
}

// bf16 stays what it is; half precision has more digits than bf16 keeps, so it becomes fp32. stored: dtype of the experts' tensors,
// which counts where the configuration says nothing; NULL: unknown.
static const char *weights_name(const Import *import, const char *stored) {
    const char *said = find_dtype(import), *dtype = said ? said : stored;
    bool narrow = !dtype || strstr(dtype, "bfloat16") || !strcmp(dtype, "BF16");
    return format_names[import->options->weights >= 0 ? import->options->weights : narrow ? FORMAT_BF16 : FORMAT_FP32];
}

// A layer as the description's own reader understands it: which tensors it has follows from that.
static Model *read_entry(Import *import, json_t *entry) {
    json_t *alone = json_pack("{s:s, s:[O]}", "name", "model", "layers", entry);
    char *text = alone ? import_text(alone) : NULL;
    Model *model = text ? model_read_text(text, strlen(text), import->label, import->diagnostics) : NULL;
    free(text);
    json_decref(alone);
    return model;
}

static bool add_entry(Import *import, const ImportFamily *family, const ImportValue *values, const ImportRun *run, json_t *layers,
                      int64_t number) {
    char name[LAYER_NAME_BYTES];
    const char *stem = family->entry ? family->entry : "moe";
    snprintf(name, sizeof name, number ? "%s_%lld" : "%s", stem, (long long)number + 1);
    json_t *entry = json_pack("{s:s}", "name", name), *body = import_values_layer(values);
    if (run->count > 1) {
        json_object_set_new(entry, "count", json_integer((json_int_t)run->count));
    }
    json_object_update(entry, body);
    json_decref(body);
    if (run->top_k) {
        json_object_set_new(json_object_get(entry, "router"), "k", json_integer((json_int_t)run->top_k));
    }
    json_object_set_new(entry, "weights", json_string(weights_name(import, NULL)));
    if (import->options->compute >= 0) {
        json_object_set_new(entry, "compute", json_string(compute_names[import->options->compute]));
    }
    Model *model = read_entry(import, entry);
    if (model) {
        json_t *checkpoint = import_tensors_describe(&import->config, family, &model->layers[0].layer, run, &import->checkpoint);
        const char *stored = import_tensors_dtype(checkpoint, run, &import->checkpoint);
        json_object_set_new(entry, "weights", json_string(weights_name(import, stored)));  // keeps its place
        json_object_set_new(entry, "checkpoint", checkpoint);
        json_array_append(layers, entry);
    }
    json_decref(entry);
    bool made = model;
    model_free(model);
    return made;
}

static void remark(const Import *import, const char *text) {
    if (text && import->options->remarks) {
        fprintf(import->options->remarks, "%s\n", text);
    }
}

// What the configuration does not say.
static void summarise_defaults(const ImportValue *values, FILE *stream) {
    const char *separator = "not in the configuration, so by default: ";
    for (Setting s = 0; s < SETTING_COUNT; s++) {
        if (values[s].source == SOURCE_DEFAULT) {
            fprintf(stream, "%s%s = ", separator, values[s].key);
            if (values[s].word) {
                fprintf(stream, "%s", values[s].word);
            } else {
                fprintf(stream, "%g", values[s].number);
            }
            separator = ", ";
        }
    }
    fputs(*separator == ',' ? "\n" : "", stream);
}

// One stack of layers.
static bool add_stack(Import *import, const ImportFamily *family, json_t *layers) {
    ImportValue values[SETTING_COUNT];
    ImportRun runs[MODEL_MAX_LAYERS];
    if (!import_values_read(&import->config, family, values)) {
        return false;
    }
    int64_t count = import_layers_find(&import->config, family, values, runs, import->options->remarks);
    for (int64_t i = 0; i < count; i++) {
        if (json_array_size(layers) == MODEL_MAX_LAYERS || !add_entry(import, family, values, &runs[i], layers, i)) {
            return false;
        }
    }
    remark(import, family->remark);
    if (import->options->summary) {
        summarise_defaults(values, import->options->summary);
    }
    return count >= 0 && (!family->also || add_stack(import, family->also, layers));
}

static bool describe(Import *import) {
    char name[MODEL_NAME_BYTES] = "";
    json_t *layers = json_array();
    bool made =
        import_quantisation_check(&import->config, import->family, !import->options->unreadable, import->options->remarks) &&
        add_stack(import, import->family, layers);
    if (made && !json_array_size(layers)) {
        import_error(&import->config, NULL, "all layers of this model are dense");
        made = false;
    }
    made = made && make_name(import, layers, name);
    import->description = json_pack("{s:s, s:o}", "name", name, "layers", layers);
    return made;
}

// Reads the finished text as every other command will: the table must not be able to write what they refuse.
static bool check(Import *import, const char *text) {
    Model *model = model_read_text(text, strlen(text), import->label, import->diagnostics);
    bool fits = model && (!import->checkpoint.tensors || import_tensors_check(model, &import->checkpoint, import->diagnostics));
    FILE *summary = import->options->summary;
    for (int64_t i = 0; fits && summary && i < model->layer_count; i++) {
        import_summary_layer(&model->layers[i], summary);
    }
    if (fits && summary) {
        fprintf(summary, import->checkpoint.tensors ? "every tensor is there, in the right shape\n"
                         : import->checkpoint.torch ? "the tensors of these layers will be written as safetensors\n"
                                                    : "no checkpoint beside the configuration: tensors were not looked for\n");
    }
    model_free(model);
    return fits;
}

// Configuration and checkpoint of Hugging Face's layout.
static bool open_folder(Import *import) {
    return import_config_read(&import->config, import->path, import->diagnostics) && recognise(import) &&
           import_checkpoint_open(&import->checkpoint, import->path, import->diagnostics);
}

// A checkpoint of Megatron-LM is its own configuration.
static bool open_megatron(Import *import) {
    import->checkpoint.torch = torch_checkpoint_open(import->path, import->diagnostics);
    const json_t *arguments = import->checkpoint.torch ? torch_checkpoint_arguments(import->checkpoint.torch) : NULL;
    if (!arguments) {
        if (import->checkpoint.torch) {
            diagnostics_add(import->diagnostics, import->path, 0, 0, "no arguments (\"args\"): not a checkpoint of Megatron-LM");
        }
        return false;
    }
    import->family = &import_megatron;
    snprintf(import->recognised, sizeof import->recognised, "arguments");
    return import_megatron_readable(import->checkpoint.torch, import->path, import->diagnostics) &&
           import_config_take(&import->config, import->path, arguments, import->diagnostics);
}

// Finds out what `path` is: a folder with config.json, that file, or a checkpoint of Megatron-LM.
static bool open_path(Import *import, const char *path) {
    struct stat facts;
    bool folder = !stat(path, &facts) && S_ISDIR(facts.st_mode);
    snprintf(import->folder, PATH_BYTES, "%s", path);
    if (!folder) {
        char *slash = strrchr(import->folder, '/');
        snprintf(import->folder, PATH_BYTES, "%.*s", slash ? (int)(slash - import->folder) + 1 : 1, slash ? path : ".");
    }
    if ((size_t)snprintf(import->path, PATH_BYTES, folder ? "%s/%s" : "%s", path, config_name) >= PATH_BYTES) {
        diagnostics_add(import->diagnostics, NULL, 0, 0, "the path is too long: '%.60s...'", path);
        return false;
    }
    bool configured = folder && !stat(import->path, &facts);
    char file[PATH_BYTES];
    if (!configured && import_megatron_find(path, file, sizeof file, import->diagnostics)) {
        memcpy(import->path, file, sizeof file);
        return open_megatron(import);
    }
    return !import->diagnostics->count && open_folder(import);
}

static char *run(Import *import, const char *path) {
    if (!open_path(import, path)) {
        return NULL;
    }
    snprintf(import->label, sizeof import->label, "%s (the description made of it)", import->path);
    if (import->options->summary) {
        fprintf(import->options->summary, "%s: %s, by its %s\n", import->path, import->family->name, import->recognised);
    }
    char *text = describe(import) ? import_text(import->description) : NULL;
    if (text && !check(import, text)) {
        free(text);
        text = NULL;
    }
    return text;
}

char *import_description(const char *path, const ImportOptions *options, Diagnostics *diagnostics) {
    Import *import = calloc(1, sizeof *import);
    if (!import) {
        diagnostics_add(diagnostics, NULL, 0, 0, "out of memory");
        return NULL;
    }
    import->options = options;
    import->diagnostics = diagnostics;
    char *text = run(import, path);
    json_decref(import->description);
    import_checkpoint_close(&import->checkpoint);
    import_config_free(&import->config);
    free(import);
    return text;
}
