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
    FILE *summary;            // NULL: not written
    char path[PATH_BYTES];    // of config.json, or of a checkpoint of Megatron-LM
    char folder[PATH_BYTES];  // that the model is named after
    char label[PATH_BYTES + 32];  // of the description in messages: their lines are not the configuration's
    ImportConfig config;
    ImportCheckpoint checkpoint;
    const ImportFamily *family;
    char recognised[IMPORT_WORDS_BYTES];  // by what
    const char *dtype_key, *dtype;  // where the configuration names the checkpoint's dtype, and as safetensors does; NULL: nowhere
    const json_t *dtype_place;
    char dtype_found[SPEC_TEXT_BYTES];  // what it says there
    ImportStored stored;
    json_t *json;
    char *text;
    Model *model;  // what readers make of the text
    ImportResult result;
};

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

// What the configuration says of the checkpoint's numbers: the first of the keys that says something. Any word may stand there, as
// tensors that are at hand count more (check_dtype).
static void read_dtype(Import *import) {
    static const char *const keys[] = {"dtype", "torch_dtype", "params_dtype"}, prefix[] = "torch.";
    static const char *const names[][2] = {{"bfloat16", "BF16"}, {"float16", "F16"}, {"float32", "F32"}};
    const json_t *places[] = {import->config.object, import->config.root};
    import->dtype_key = import->dtype = NULL;
    for (size_t i = 0; !import->dtype_key && i < 2 * sizeof keys / sizeof *keys; i++) {
        const char *key = keys[i % (sizeof keys / sizeof *keys)];
        const json_t *value = json_object_get(places[i / (sizeof keys / sizeof *keys)], key);
        const char *word = json_is_string(value) ? json_string_value(value) : "";
        if (!value || json_is_null(value) || !strcmp(word, "auto")) {
            continue;
        }
        import->dtype_key = key;
        import->dtype_place = places[i / (sizeof keys / sizeof *keys)];
        spec_describe(value, import->dtype_found);
        word += strncmp(word, prefix, strlen(prefix)) ? 0 : strlen(prefix);
        for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
            import->dtype = strcmp(word, names[n][0]) ? import->dtype : names[n][1];
        }
    }
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
    json_t *entry = json_pack("{s:s}", "name", name), *body = import_values_layer(values, run->first);
    if (run->count > 1) {
        json_object_set_new(entry, "count", json_integer((json_int_t)run->count));
    }
    json_object_update(entry, body);
    json_decref(body);
    json_object_set_new(entry, "weights", json_string(format_names[import_format(import->options->weights, import->dtype)]));
    if (import->options->compute >= 0) {
        json_object_set_new(entry, "compute", json_string(compute_name((Compute)import->options->compute)));
    }
    Model *model = read_entry(import, entry);
    json_t *checkpoint =
        model ? import_tensors_describe(&import->config, family, &model->layers[0].layer, run, &import->checkpoint) : NULL;
    if (checkpoint) {
        ImportFormats formats = {import->options->weights, import->dtype, checkpoint, run, &import->checkpoint};
        import_formats_set(&formats, &model->layers[0].layer, entry, &import->stored);
        json_object_set_new(entry, "checkpoint", checkpoint);
        json_array_append(layers, entry);
    }
    json_decref(entry);
    model_free(model);
    return checkpoint;
}

// Tensors count, whatever the configuration calls them. Without tensors, a word that names no dtype says nothing. False with
// diagnostics.
static bool check_dtype(const Import *import) {
    const char *stored = import->stored.fp8 ? NULL : import->stored.experts;  // of fp8, dtype is that of everything else
    if (stored && import->dtype_key && (!import->dtype || strcmp(stored, import->dtype))) {
        import_remark(&import->config, "%s is %s, but the experts' tensors are %s, which counts", import->dtype_key,
                      import->dtype_found, stored);
    } else if (!import->stored.experts && import->dtype_key && !import->dtype && import->options->weights < 0) {
        ImportConfig place = import->config;
        place.section = import->dtype_place == place.root ? NULL : place.section;
        import_error(&place, import->dtype_key,
                     "%s must be \"bfloat16\", \"float16\" or \"float32\", found %s; correct it, or say the format with --weights",
                     import->dtype_key, import->dtype_found);
        return false;
    }
    return true;
}

// One stack of layers.
static bool add_stack(Import *import, const ImportFamily *family, json_t *layers) {
    ImportValue values[SETTING_COUNT];
    ImportRun runs[MODEL_MAX_LAYERS];
    import->config.aliases = family->aliases;
    if (!import_values_read(&import->config, family, values, import->summary)) {
        return false;
    }
    int64_t count = import_layers_find(&import->config, family, values, runs);
    import->result.dense += (int64_t)values[SETTING_LAYERS].number;
    for (int64_t i = 0; i < count; i++) {
        import->result.sparse += runs[i].count;
        import->result.dense -= runs[i].count;
        if (json_array_size(layers) == MODEL_MAX_LAYERS || !add_entry(import, family, values, &runs[i], layers, i)) {
            return false;
        }
    }
    if (family->remark) {
        import_remark(&import->config, "%s", family->remark);
    }
    return count >= 0 && (!family->also || add_stack(import, family->also, layers));
}

static bool describe(Import *import) {
    char name[MODEL_NAME_BYTES] = "";
    json_t *layers = json_array();
    read_dtype(import);
    bool made = add_stack(import, import->family, layers) &&
                import_quantisation_check(&import->config, import->family, &import->checkpoint, &import->stored,
                                          !import->options->unreadable) &&
                check_dtype(import);
    if (made && !json_array_size(layers)) {
        import_error(&import->config, NULL, IMPORT_DENSE);
        made = false;
    }
    made = made && make_name(import, layers, name);
    import->json = json_pack("{s:s, s:o}", "name", name, "layers", layers);
    import->text = made ? import_text(import->json) : NULL;
    return import->text;
}

// Reads the finished text as every other command will: the table must not be able to write what they refuse.
static bool check(Import *import) {
    Model *model = import->model = model_read_text(import->text, strlen(import->text), import->label, import->diagnostics);
    bool fits = model && (!import->checkpoint.tensors || import_tensors_check(model, &import->checkpoint, import->diagnostics));
    FILE *summary = import->summary;
    for (int64_t i = 0; fits && summary && i < model->layer_count; i++) {
        import_summary_layer(&model->layers[i], summary);
    }
    bool unchecked = !import->checkpoint.tensors && !import->checkpoint.torch;
    if (import->checkpoint.disputed) {
        import_remark(&import->config,
                      "there are model.safetensors and model.safetensors.index.json: model.safetensors counts, as in "
                      "transformers");
    }
    if (fits && unchecked) {
        const char *absence = import->checkpoint.absence;
        import_remark(&import->config, "no checkpoint beside the configuration: tensors were not checked%s%s%s",
                      absence ? " (" : "", absence ? absence : "", absence ? ")" : "");
    } else if (fits && summary) {
        fprintf(summary, import->checkpoint.tensors ? "every tensor is there, in the right shape\n"
                                                    : "the tensors of these layers will be written as safetensors\n");
    }
    if (import->options->as) {
        import_remark_unread(&import->config);
        import_remark(&import->config, "read as %s: compare with the model's own code what is said above", import->family->name);
    }
    return fits;
}

// --- attempts ---

// What one reading of the configuration wrote: it is kept back, as the next one may fit better.
typedef struct Attempt {
    bool made;
    Diagnostics problems;
    char *remarks, *summary;
    size_t remarks_size, summary_size;
} Attempt;

static void attempt_free(Attempt *attempt) {
    diagnostics_free(&attempt->problems);
    free(attempt->remarks);
    free(attempt->summary);
}

static void forget_description(Import *import) {
    model_free(import->model);
    free(import->text);
    json_decref(import->json);
    import->model = NULL;
    import->text = NULL;
    import->json = NULL;
    import->stored = (ImportStored){0};
    import->result = (ImportResult){0};
}

// Reads the configuration with some of its disputes turned round.
static Attempt attempt(Import *import, unsigned turned) {
    Attempt result = {0};
    FILE *remarks = open_memstream(&result.remarks, &result.remarks_size);
    FILE *summary = open_memstream(&result.summary, &result.summary_size);
    Diagnostics *const diagnostics = import->diagnostics;
    forget_description(import);
    json_object_clear(import->config.said);
    import->config.turned = turned;
    import->config.remarks = remarks;
    // What is assumed of a model that nobody knows is always told.
    import->summary = import->options->summary ? summary : import->options->as ? remarks : NULL;
    import->diagnostics = import->config.diagnostics = &result.problems;
    result.made = describe(import) && check(import);
    import->diagnostics = import->config.diagnostics = diagnostics;
    import->config.remarks = import->summary = NULL;
    for (int i = 0; i < 2; i++) {
        FILE *stream = i ? summary : remarks;
        if (stream) {
            fclose(stream);
        }
    }
    return result;
}

// Reads the configuration as transformers does. Where two of its names disagree and the checkpoint does not fit the one that
// counts, the other one may: tensors decide if they can. Where nothing fits, the first reading's problems are told.
static bool read_configuration(Import *import) {
    Attempt best = attempt(import, 0);
    size_t disputes = json_array_size(import->config.disputes);
    unsigned choices = import->checkpoint.tensors ? 1u << (disputes < IMPORT_DISPUTES ? disputes : IMPORT_DISPUTES) : 1;
    for (unsigned turned = 1; !best.made && turned < choices; turned++) {
        Attempt other = attempt(import, turned), *worse = other.made ? &best : &other;
        attempt_free(worse);
        best = other.made ? other : best;
    }
    const struct {
        FILE *stream;
        const char *text;
    } outputs[] = {{import->options->remarks, best.remarks}, {import->options->summary, best.summary}};
    for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++) {
        if (outputs[i].stream && outputs[i].text) {
            fputs(outputs[i].text, outputs[i].stream);
        }
    }
    diagnostics_take(import->diagnostics, &best.problems);
    attempt_free(&best);
    return best.made;
}

// Configuration and checkpoint of Hugging Face's layout.
static bool open_folder(Import *import) {
    if (!import_config_read(&import->config, import->path, import->diagnostics)) {
        return false;
    }
    import->family = import_recognise(&import->config, import->options->as, import->recognised);
    return import->family && import_checkpoint_open(&import->checkpoint, import->path, import->diagnostics) &&
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
    snprintf(import->recognised, sizeof import->recognised, "its arguments");
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
    if (!configured && !import->options->as && import_megatron_find(path, file, sizeof file, import->diagnostics)) {
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
        fprintf(import->options->summary, "%s: %s, by %s\n", import->path, import->family->name, import->recognised);
    }
    bool made = read_configuration(import);
    import->result.path = import->path;
    import->result.folder = import->folder;
    import->result.family = import->family->name;
    import->result.description = import->text;
    import->result.has_tensors = import->checkpoint.torch;
    return made;
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
    forget_description(import);
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
