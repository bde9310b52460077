// A family's rules and a config make values; the values make a layer of a description.
#include <math.h>
#include <string.h>

#include "import_read.h"

typedef struct SettingFacts {
    const char *path;
    ImportType type;
    double minimum, maximum;
    double fallback;  // what the description takes for granted
} SettingFacts;

#define SETTING_FACTS(enumerator, type, path, minimum, maximum, fallback) \
    [enumerator] = {path, IMPORT_##type, minimum, maximum, fallback},
static const SettingFacts facts[SETTING_COUNT] = {IMPORT_SETTING_LIST(SETTING_FACTS)};

// Names of activations in configs (transformers' ACT2FN). quick_gelu is silu with a slope.
static const struct {
    const char *config, *description;
    double slope;
} activations[] = {
    {"silu", "silu", 1},
    {"swish", "silu", 1},
    {"quick_gelu", "silu", 1.702},
    {"gelu", "gelu", 1},
    {"gelu_python", "gelu", 1},
    {"gelu_new", "gelu_tanh", 1},
    {"gelu_fast", "gelu_tanh", 1},
    {"gelu_accurate", "gelu_tanh", 1},
    {"gelu_pytorch_tanh", "gelu_tanh", 1},
    {"gelu_python_tanh", "gelu_tanh", 1},
    {"relu", "relu", 1},
    {"relu2", "relu2", 1},
};

const char *import_setting_path(Setting setting) {
    return facts[setting].path;
}

void import_value_set(ImportValue *value, double number) {
    value->source = SOURCE_FAMILY;
    value->number = number;
    value->word = NULL;
}

void import_value_word(ImportValue *value, const char *word) {
    value->source = SOURCE_FAMILY;
    value->word = word;
}

static void expected(const SettingFacts *fact, char *text, size_t size) {
    switch (fact->type) {
    case IMPORT_INTEGER: snprintf(text, size, "an integer from %.10g to %.10g", fact->minimum, fact->maximum); break;
    case IMPORT_REAL: snprintf(text, size, "a number from %.10g to %.10g", fact->minimum, fact->maximum); break;
    case IMPORT_FLAG: snprintf(text, size, "true or false"); break;
    case IMPORT_WORD: snprintf(text, size, "text"); break;
    }
}

static bool number_within(const SettingFacts *fact, const json_t *json) {
    return json_number_value(json) >= fact->minimum && json_number_value(json) <= fact->maximum;
}

// Takes a value that is there, if it has the right type and size.
static bool take(const SettingFacts *fact, const json_t *json, ImportValue *value) {
    value->source = SOURCE_CONFIG;
    switch (fact->type) {
    case IMPORT_INTEGER: value->number = json_number_value(json); return json_is_integer(json) && number_within(fact, json);
    case IMPORT_REAL: value->number = json_number_value(json); return json_is_number(json) && number_within(fact, json);
    case IMPORT_FLAG: value->number = json_is_true(json); return json_is_boolean(json);
    case IMPORT_WORD: value->word = json_string_value(json); return json_is_string(json);
    }
    return false;
}

// A number for every layer, where a number for all is usual.
static bool take_list(const SettingFacts *fact, const json_t *json, ImportValue *value) {
    size_t index;
    json_t *entry;
    json_array_foreach(json, index, entry) {
        if (!take(fact, entry, value)) {
            return false;
        }
    }
    value->list = json;
    return index > 0;
}

static void read_setting(const ImportConfig *config, const ImportFamily *family, Setting setting, ImportValue *value) {
    const ImportRule *rule = &family->rules[setting];
    const SettingFacts *fact = &facts[setting];
    char wanted[128], found[IMPORT_VALUE_BYTES];
    expected(fact, wanted, sizeof wanted);
    const json_t *json = rule->keys ? import_config_get(config, rule->keys, value->key) : NULL;
    if (json_is_array(json) && family->types && !strcmp(family->types, value->key)) {
        return;  // import_layers.c reads it
    }
    if (json_is_null(json) && (rule->presence == PRESENCE_NULLABLE || rule->presence == PRESENCE_OPTIONAL)) {
        return;
    }
    if (json) {
        bool taken = setting == SETTING_K && json_is_array(json) ? take_list(fact, json, value) : take(fact, json, value);
        if (!taken) {
            import_describe(json, found);
            import_error(config, value->key, "%s must be %s, found %s", value->key, wanted, found);
        }
    } else if (rule->presence == PRESENCE_REQUIRED) {
        import_error(config, NULL, "the configuration lacks \"%.*s\": %s", (int)strcspn(rule->keys, " "), rule->keys, wanted);
    } else if (rule->presence != PRESENCE_OPTIONAL) {
        value->source = rule->presence == PRESENCE_FIXED ? SOURCE_FAMILY : SOURCE_DEFAULT;
        snprintf(value->key, sizeof value->key, "%.*s", rule->keys ? (int)strcspn(rule->keys, " ") : 0,
                 rule->keys ? rule->keys : "");
        value->number = rule->number;
        value->word = rule->word;
    }
}

static void check_expectations(const ImportConfig *config, const ImportFamily *family) {
    for (int i = 0; i < IMPORT_EXPECTATIONS && family->expectations[i].key; i++) {
        const ImportExpectation *expectation = &family->expectations[i];
        const json_t *value = import_config_get(config, expectation->key, NULL);
        json_t *wanted = json_loads(expectation->value, JSON_DECODE_ANY, NULL);
        bool same = json_is_number(value) ? json_number_value(value) == json_number_value(wanted) : json_equal(value, wanted);
        if (value && !same) {
            char found[IMPORT_VALUE_BYTES];
            import_describe(value, found);
            import_error(config, expectation->key, "%s is %s, but catena knows %s with %s only", expectation->key, found,
                         family->name, expectation->value);
        }
        json_decref(wanted);
    }
}

static void read_activation(const ImportConfig *config, ImportValue *values) {
    ImportValue *value = &values[SETTING_ACTIVATION];
    char known[256] = "";
    for (size_t i = 0, used = 0; value->word && i < sizeof activations / sizeof *activations; i++) {
        if (!strcmp(activations[i].config, value->word)) {
            value->word = activations[i].description;
            if (activations[i].slope != 1) {
                import_value_set(&values[SETTING_SLOPE], activations[i].slope);
            }
            return;
        }
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", activations[i].config);
    }
    if (value->word) {
        import_error(config, value->key, "%s is \"%.40s\": catena has %s", value->key, value->word, known);
    }
}

// DeepSeek's names of selection rules say whether the groups of the config count.
static void read_groups(const ImportConfig *config, ImportValue *values) {
    ImportValue *groups = &values[SETTING_GROUPS], *top = &values[SETTING_TOP_GROUPS], *method = &values[SETTING_METHOD];
    bool limited = true;
    if (method->word) {
        limited = !strcmp(method->word, "group_limited_greedy");
        if (!limited && strcmp(method->word, "greedy") && strcmp(method->word, "gready")) {  // (sic) the default of CoE's code
            import_error(config, method->key, "%s is \"%.40s\": expected \"greedy\" or \"group_limited_greedy\"", method->key,
                         method->word);
        }
    }
    bool all = groups->number <= 1 || groups->number == top->number;  // nobody loses
    if (!limited || all || groups->source == SOURCE_NONE || top->source == SOURCE_NONE) {
        groups->source = top->source = values[SETTING_GROUP_SCORE].source = values[SETTING_GROUP_MASK].source = SOURCE_NONE;
    }
}

// Shared experts of a width of n are one expert that is n times as wide: the same sums.
static void read_shared(const ImportFamily *family, ImportValue *values) {
    ImportValue *count = &values[SETTING_SHARED], *width = &values[SETTING_SHARED_WIDTH];
    if (count->source != SOURCE_NONE && family->rules[SETTING_SHARED_WIDTH].presence == PRESENCE_UNUSED) {
        *width = *count;
        width->number = count->number * values[SETTING_INTERMEDIATE].number;
    }
    if (width->source == SOURCE_NONE || width->number == 0) {
        for (Setting s = SETTING_SHARED; s <= SETTING_SHARED_SCALE; s++) {
            values[s].source = SOURCE_NONE;
        }
        return;
    }
    import_value_set(count, 1);
}

// What is said of the norm of weights that nobody normalises.
static void drop_needless(ImportValue *values) {
    if (values[SETTING_NORMALIZE].source == SOURCE_NONE || values[SETTING_NORMALIZE].number == 0) {
        for (Setting s = SETTING_NORMALIZE; s <= SETTING_NORMALIZE_CLAMP; s++) {
            values[s].source = SOURCE_NONE;
        }
    }
}

bool import_values_read(const ImportConfig *config, const ImportFamily *family, ImportValue values[SETTING_COUNT]) {
    size_t before = config->diagnostics->count;
    memset(values, 0, SETTING_COUNT * sizeof *values);
    check_expectations(config, family);
    for (Setting s = 0; s < SETTING_COUNT; s++) {
        if (family->rules[s].presence != PRESENCE_UNUSED) {
            read_setting(config, family, s, &values[s]);
        }
    }
    if (config->diagnostics->count > before) {
        return false;
    }
    read_activation(config, values);
    read_groups(config, values);
    read_shared(family, values);
    if (config->diagnostics->count > before || (family->adjust && !family->adjust(config, values))) {
        return false;
    }
    drop_needless(values);
    return true;
}

static json_t *value_json(const SettingFacts *fact, const ImportValue *value) {
    switch (fact->type) {
    case IMPORT_FLAG: return json_boolean(value->number != 0);
    case IMPORT_WORD: return json_string(value->word);
    case IMPORT_INTEGER:
    case IMPORT_REAL: break;
    }
    bool whole = value->number == floor(value->number) && fabs(value->number) < 1e9;
    return whole ? json_integer((json_int_t)value->number) : json_real(value->number);
}

// Sets a member of a member of an object, whose sections are made where they are missing.
static void put(json_t *object, const char *path, json_t *value) {
    char step[64];
    for (const char *dot; (dot = strchr(path, '.')); path = dot + 1) {
        snprintf(step, sizeof step, "%.*s", (int)(dot - path), path);
        if (!json_object_get(object, step)) {
            json_object_set_new(object, step, json_object());
        }
        object = json_object_get(object, step);
    }
    json_object_set_new(object, path, value);
}

json_t *import_values_layer(const ImportValue values[SETTING_COUNT]) {
    json_t *layer = json_object();
    for (Setting s = 0; s < SETTING_COUNT; s++) {
        bool needless = facts[s].type != IMPORT_WORD && values[s].number == facts[s].fallback;
        if (facts[s].path && values[s].source != SOURCE_NONE && !needless) {
            put(layer, facts[s].path, value_json(&facts[s], &values[s]));
        }
    }
    return layer;
}
