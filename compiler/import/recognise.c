// Which family of models a configuration is of.
#include <stdlib.h>
#include <string.h>

#include "read.h"

static const ImportFamily *find_type(const char *type) {
    for (size_t i = 0; type && import_families[i]; i++) {
        if (import_has_word(import_families[i]->model_types, type)) {
            return import_families[i];
        }
    }
    return NULL;
}

static const ImportFamily *find_by_type(const json_t *object) {
    return find_type(json_string_value(json_object_get(object, "model_type")));
}

static const ImportFamily *find_by_architecture(const json_t *root, const char **architecture) {
    const json_t *list = json_object_get(root, "architectures");
    for (size_t n = 0; n < json_array_size(list); n++) {
        *architecture = json_string_value(json_array_get(list, n));
        for (size_t i = 0; *architecture && import_families[i]; i++) {
            if (import_has_word(import_families[i]->architectures, *architecture)) {
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
    enum { BYTES = 8192, WORDS = 256, WIDTH = 100, INDENT = 4 };
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

// Models that are known, and whose layers no description says.
static const struct {
    const char *model_types, *architectures;
    const char *flag;    // only true makes such a model sparse; NULL: it always is
    const char *reason;  // why, and what to do
} refused[] = {
    {"doge", "DogeForCausalLM", "is_moe",
     "Doge's router mixes tokens (it views its product keys across them), so that a row's experts depend on the other rows of a "
     "call; a layer here computes each row by itself; run these layers with the model's own code"},
    {"zaya", "ZayaForCausalLM", NULL,
     "ZAYA's router is recurrent: it reads a state that the router of the sparse layer before has left; a layer here chooses by "
     "its "
     "own input; route with the model's own code, describe the experts by hand (docs/description.md), and call "
     "NAME_forward_routed"},
    {"gemma4 gemma4_text gemma4_unified gemma4_unified_text diffusion_gemma diffusion_gemma_text",
     "Gemma4ForConditionalGeneration Gemma4ForCausalLM", "enable_moe_block",
     "Gemma 4's router and experts read different tensors, two norms of the residual with weights of their own; in a layer here "
     "both "
     "read one; route with the model's own code, describe the experts by hand (docs/description.md), and call NAME_forward_routed"},
};

// Reports a model that is known not to be read.
static bool report_refused(const ImportConfig *config) {
    const char *type = json_string_value(json_object_get(config->root, "model_type"));
    const char *inner = json_string_value(json_object_get(config->object, "model_type"));
    const char *class = json_string_value(json_array_get(json_object_get(config->root, "architectures"), 0));
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if ((type && import_has_word(refused[i].model_types, type)) || (inner && import_has_word(refused[i].model_types, inner)) ||
            (class && import_has_word(refused[i].architectures, class))) {
            bool dense = refused[i].flag && !json_is_true(import_config_get(config, refused[i].flag, NULL));
            import_error(config, type || inner ? "model_type" : NULL, "%s%s%s", dense ? refused[i].flag : refused[i].reason,
                         dense ? " is not true: " : "", dense ? IMPORT_DENSE : "");
            return true;
        }
    }
    return false;
}

static void report_unknown(const ImportConfig *config) {
    const char *type = json_string_value(json_object_get(config->root, "model_type")), *where = type ? "model_type" : NULL;
    const json_t *first = json_array_get(json_object_get(config->root, "architectures"), 0);
    const char *architecture = json_string_value(first);
    char known[4096] = "", lines[4352], found[256] = "neither model_type nor architectures";
    if (type || architecture) {
        snprintf(found, sizeof found, "model_type \"%.80s\", architecture \"%.80s\"", type ? type : "",
                 architecture ? architecture : "");
    }
    ImportConfig root = *config;
    root.section = NULL;
    import_error(&root, where ? where : architecture ? "architectures" : NULL, "unknown model: found %s", found);
    list_types(known, sizeof known);
    snprintf(lines, sizeof lines,
             "  known are%s\n  for others, say --as MODEL_TYPE if one of these computes the same, or write the "
             "description by hand (docs/description.md)\n",
             known);
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

// The family that a user says to be meant, whatever the configuration calls itself.
static const ImportFamily *find_meant(const ImportConfig *config, const char *meant) {
    const ImportFamily *family = find_type(meant);
    if (!family) {
        char known[4096] = "", lines[4352];
        diagnostics_add(config->diagnostics, NULL, 0, 0, "--as %.80s: found no such family; expected a model_type", meant);
        list_types(known, sizeof known);
        snprintf(lines, sizeof lines, "  known are%s\n", known);
        diagnostics_explain(config->diagnostics, lines);
    }
    return family;
}

const ImportFamily *import_recognise(const ImportConfig *config, const char *meant, char by[IMPORT_WORDS_BYTES]) {
    const char *architecture = NULL;
    if (meant) {
        snprintf(by, IMPORT_WORDS_BYTES, "--as %.80s", meant);
        return find_meant(config, meant);
    }
    if (!check_type(config)) {
        return NULL;
    }
    const ImportFamily *type = find_by_type(config->object), *class = find_by_architecture(config->root, &architecture);
    type = type ? type : find_by_type(config->root);
    if (type) {
        snprintf(by, IMPORT_WORDS_BYTES, "its model_type");
    } else {
        snprintf(by, IMPORT_WORDS_BYTES, "its architecture %.80s", architecture ? architecture : "");
    }
    if (type && class && type != class && !import_has_word(type->architectures, architecture)) {  // one of them would be ignored
        ImportConfig root = *config;
        root.section = NULL;
        import_error(&root, "architectures", "the architecture %.80s is of %s, but the model_type is of %s: remove one of them",
                     architecture, class->name, type->name);
        return NULL;
    }
    if (!type && !class && !report_refused(config)) {
        report_unknown(config);
    }
    return type ? type : class;
}
