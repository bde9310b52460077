// The driver of import: recognise the family, read its settings, find the sparse layers, name the tensors, write; then read what
// was written as everybody will, and compare it with the checkpoint.
#define _GNU_SOURCE
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "read.h"

enum { PATH_BYTES = 4096, REASON_BYTES = 256 };

static const char config_name[] = "config.json";

// One import: everything that has to be released is here.
struct Import {
    const ImportOptions *options;
    Diagnostics *diagnostics;
    char path[PATH_BYTES];    // of config.json, or of a checkpoint of Megatron-LM
    char folder[PATH_BYTES];  // that the model is named after
    char label[PATH_BYTES + 32];  // of the description in messages: their lines are not the configuration's
    ImportConfig config;
    ImportCheckpoint checkpoint;
    const ImportFamily *family;
    char recognised[128];  // by what
    const char *dtype_key, *dtype;  // where the configuration names the checkpoint's dtype, and as safetensors does; NULL: nowhere
    ImportStored stored;
    json_t *json;
    char *text;
    Model *model;  // what readers make of the text
    ImportResult result;
};

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

static int compare_words(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// Every model_type that is known, sorted, in lines.
static void list_types(char *text, size_t size) {
    enum { BYTES = 4096, WORDS = 128, WIDTH = 100, INDENT = 4 };
    char copies[BYTES];
    const char *words[WORDS];
    size_t count = 0, used = 0, column = WIDTH;
    for (size_t i = 0; import_families[i]; i++) {
        size_t room = sizeof copies - used, length = (size_t)snprintf(copies + used, room, "%s", import_families[i]->model_types);
        char *rest = length < room ? copies + used : NULL, *word;
        while ((word = strsep(&rest, " ")) && count < WORDS) {
            words[count++] = word;
        }
        used += length < room ? length + 1 : 0;
    }
    qsort(words, count, sizeof *words, compare_words);
    used = 0;
    for (size_t i = 0; i < count && used < size; i++) {
        bool wrap = column + strlen(words[i]) + 2 > WIDTH;
        used += (size_t)snprintf(text + used, size - used, wrap ? "%s\n%*s%s" : "%s%*s%s", i ? "," : "", wrap ? INDENT : 1, "",
                                 words[i]);
        column = (wrap ? INDENT : column + 2) + strlen(words[i]);
    }
}

static void report_unknown(const ImportConfig *config) {
    const char *type = json_string_value(json_object_get(config->root, "model_type")), *where = type ? "model_type" : NULL;
    const json_t *first = json_array_get(json_object_get(config->root, "architectures"), 0);
    const char *architecture = json_string_value(first);
    char known[2048] = "", lines[2304], found[256] = "neither model_type nor architectures";
    if (type || architecture) {
        snprintf(found, sizeof found, "model_type \"%.80s\", architecture \"%.80s\"", type ? type : "",
                 architecture ? architecture : "");
    }
    ImportConfig root = *config;
    root.section = NULL;
    import_error(&root, where ? where : architecture ? "architectures" : NULL, "unknown model: found %s", found);
    list_types(known, sizeof known);
    snprintf(lines, sizeof lines, "  known are%s\n  for others, write the description by hand (docs/description.md)\n", known);
    diagnostics_explain(config->diagnostics, lines);
}

// A model_type that is no text would be passed over.
static bool check_type(const ImportConfig *config) {
    ImportConfig root = *config;
    root.section = NULL;
    root.object = root.root;
    const ImportConfig *places[] = {config, &root};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const json_t *type = json_object_get(places[i]->object, "model_type");
        if (type && !json_is_string(type) && !json_is_null(type)) {
            char found[SPEC_TEXT_BYTES];
            spec_describe(type, found);
            import_error(places[i], "model_type", "model_type must be a text, found %s", found);
            return false;
        }
    }
    return true;
}

static bool recognise(Import *import) {
    const ImportConfig *config = &import->config;
    const char *architecture = NULL;
    if (!check_type(config)) {
        return false;
    }
    const ImportFamily *type = find_by_type(config->object), *class = find_by_architecture(config->root, &architecture);
    type = type ? type : find_by_type(config->root);
    if (type) {
        snprintf(import->recognised, sizeof import->recognised, "model_type");
    } else {
        snprintf(import->recognised, sizeof import->recognised, "architecture %.80s", architecture ? architecture : "");
    }
    import->family = type ? type : class;
    if (type && class && type != class) {  // one of them would be ignored
        ImportConfig root = *config;
        root.section = NULL;
        import_error(&root, "architectures", "the architecture %.80s is of %s, but the model_type is of %s: remove one of them",
                     architecture, class->name, type->name);
        return false;
    }
    if (!import->family) {
        report_unknown(config);
    }
    return import->family;
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

// What the configuration says of the checkpoint's numbers. False with diagnostics.
static bool read_dtype(Import *import) {
    static const char *const keys[] = {"dtype", "torch_dtype", "params_dtype"}, prefix[] = "torch.";
    static const char *const names[][2] = {{"bfloat16", "BF16"}, {"float16", "F16"}, {"float32", "F32"}};
    ImportConfig places[] = {import->config, import->config};
    places[1].section = NULL;
    places[1].object = places[1].root;
    for (size_t i = 0; i < 2 * sizeof keys / sizeof *keys; i++) {
        const ImportConfig *place = &places[i / (sizeof keys / sizeof *keys)];
        const char *key = keys[i % (sizeof keys / sizeof *keys)];
        const json_t *value = json_object_get(place->object, key);
        const char *word = json_is_string(value) ? json_string_value(value) : "";
        if (!value || json_is_null(value) || !strcmp(word, "auto")) {
            continue;
        }
        word += strncmp(word, prefix, strlen(prefix)) ? 0 : strlen(prefix);
        for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
            if (!strcmp(word, names[n][0])) {
                import->dtype_key = key;
                import->dtype = names[n][1];
                return true;
            }
        }
        char found[SPEC_TEXT_BYTES];
        spec_describe(value, found);
        import_error(place, key, "%s must be \"bfloat16\", \"float16\" or \"float32\", found %s", key, found);
        return false;
    }
    return true;
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
    json_object_set_new(entry, "weights", json_string(format_names[import_format(import->options->weights, import->dtype)]));
    if (import->options->compute >= 0) {
        json_object_set_new(entry, "compute", json_string(compute_name((Compute)import->options->compute)));
    }
    Model *model = read_entry(import, entry);
    if (model) {
        json_t *checkpoint = import_tensors_describe(&import->config, family, &model->layers[0].layer, run, &import->checkpoint);
        ImportFormats formats = {import->options->weights, import->dtype, checkpoint, run, &import->checkpoint};
        import_formats_set(&formats, &model->layers[0].layer, entry, &import->stored);
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

static void remark_dtype(const Import *import) {
    char text[128];
    const char *stored = import->stored.fp8 ? NULL : import->stored.experts;  // of fp8, dtype is that of everything else
    if (stored && import->dtype && strcmp(stored, import->dtype)) {
        snprintf(text, sizeof text, "%s says %s, but the experts' tensors are %s, which counts", import->dtype_key, import->dtype,
                 stored);
        remark(import, text);
    }
}

static void remark_absence(const Import *import) {
    char text[PATH_BYTES];
    const char *absence = import->checkpoint.absence;
    snprintf(text, sizeof text, "no checkpoint beside the configuration: tensors were not checked%s%s%s", absence ? " (" : "",
             absence ? absence : "", absence ? ")" : "");
    remark(import, text);
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
    import->result.dense += (int64_t)values[SETTING_LAYERS].number;
    for (int64_t i = 0; i < count; i++) {
        import->result.sparse += runs[i].count;
        import->result.dense -= runs[i].count;
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
    bool made = read_dtype(import) && add_stack(import, import->family, layers) &&
                import_quantisation_check(&import->config, import->family, &import->checkpoint, &import->stored,
                                          !import->options->unreadable, import->options->remarks);
    if (made && !json_array_size(layers)) {
        import_error(&import->config, NULL, "all layers of this model are dense");
        made = false;
    }
    made = made && make_name(import, layers, name);
    remark_dtype(import);
    import->json = json_pack("{s:s, s:o}", "name", name, "layers", layers);
    return made;
}

// Reads the finished text as every other command will: the table must not be able to write what they refuse.
static bool check(Import *import) {
    Model *model = import->model = model_read_text(import->text, strlen(import->text), import->label, import->diagnostics);
    bool fits = model && (!import->checkpoint.tensors || import_tensors_check(model, &import->checkpoint, import->diagnostics));
    FILE *summary = import->options->summary;
    for (int64_t i = 0; fits && summary && i < model->layer_count; i++) {
        import_summary_layer(&model->layers[i], summary);
    }
    bool unchecked = !import->checkpoint.tensors && !import->checkpoint.torch;
    if (fits && unchecked) {
        remark_absence(import);
    } else if (fits && summary) {
        fprintf(summary, import->checkpoint.tensors ? "every tensor is there, in the right shape\n"
                                                    : "the tensors of these layers will be written as safetensors\n");
    }
    return fits;
}

// Configuration and checkpoint of Hugging Face's layout.
static bool open_folder(Import *import) {
    return import_config_read(&import->config, import->path, import->diagnostics) && recognise(import) &&
           import_checkpoint_open(&import->checkpoint, import->path, import->diagnostics) &&
           import_tensors_known(&import->checkpoint, import->diagnostics);
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
    return import_megatron_stack(import->checkpoint.torch, import->path, import->diagnostics) &&
           import_config_take(&import->config, import->path, arguments, import->diagnostics);
}

// Finds out what `path` is: a folder with config.json, that file, or a checkpoint of Megatron-LM.
static bool open_path(Import *import, const char *path) {
    struct stat facts;
    bool folder = !stat(path, &facts) && S_ISDIR(facts.st_mode);
    snprintf(import->folder, PATH_BYTES, "%s", path);
    for (size_t end = strlen(import->folder); folder && end > 1 && import->folder[end - 1] == '/'; end--) {
        import->folder[end - 1] = 0;
    }
    if (!folder) {
        char *slash = strrchr(import->folder, '/');
        snprintf(import->folder, PATH_BYTES, "%.*s", slash ? (int)(slash - import->folder) + 1 : 1, slash ? path : ".");
    }
    if ((size_t)snprintf(import->path, PATH_BYTES, folder ? "%s/%s" : "%s", folder ? import->folder : path, config_name) >=
        PATH_BYTES) {
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

static bool run(Import *import, const char *path) {
    if (!open_path(import, path)) {
        return false;
    }
    snprintf(import->label, sizeof import->label, "%s (the description made of it)", import->path);
    if (import->options->summary) {
        fprintf(import->options->summary, "%s: %s, by its %s\n", import->path, import->family->name, import->recognised);
    }
    import->text = describe(import) ? import_text(import->json) : NULL;
    import->result.path = import->path;
    import->result.folder = import->folder;
    import->result.family = import->family->name;
    import->result.description = import->text;
    import->result.has_tensors = import->checkpoint.torch;
    return import->text && check(import);
}

Import *import_open(const char *path, const ImportOptions *options, Diagnostics *diagnostics) {
    Import *import = calloc(1, sizeof *import);
    if (!import) {
        diagnostics_add(diagnostics, NULL, 0, 0, "out of memory");
        return NULL;
    }
    import->options = options;
    import->diagnostics = diagnostics;
    if (!run(import, path)) {
        import_close(import);
        return NULL;
    }
    return import;
}

void import_close(Import *import) {
    if (!import) {
        return;
    }
    model_free(import->model);
    free(import->text);
    json_decref(import->json);
    import_checkpoint_close(&import->checkpoint);
    import_config_free(&import->config);
    free(import);
}

const ImportResult *import_result(const Import *import) {
    return &import->result;
}

int import_write_tensors(Import *import, const char *output, Diagnostics *diagnostics) {
    return import_megatron_write(import->checkpoint.torch, import->path, import->model, output, diagnostics);
}
