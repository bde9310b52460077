// A family's rules and a config make values; the values make a layer of a description.
#define _GNU_SOURCE
#include <math.h>
#include <string.h>

#include "read.h"

#define DESCRIBED_PATH(enumerator, path) [enumerator] = path,
static const char *const paths[SETTING_COUNT] = {IMPORT_DESCRIBED_LIST(DESCRIBED_PATH)};
#define OWN_KEY(enumerator, type_, low, high) [enumerator] = {.type = KEY_##type_, .minimum = low, .maximum = high},
static const Key own_keys[SETTING_COUNT] = {IMPORT_OWN_LIST(OWN_KEY)};

// Type, bounds and default: those of the key of descriptions that the setting goes into.
static Key key_of(Setting setting) {
    if (!paths[setting]) {
        return own_keys[setting];
    }
    const Key *key = spec_find_key(&spec_root, "layers");
    char copy[64], *rest = copy, *step;
    snprintf(copy, sizeof copy, "%s", paths[setting]);
    while ((step = strsep(&rest, "."))) {
        key = spec_find_key(key->section, step);
    }
    Key result = *key;
    if (setting == SETTING_SHARED_WIDTH) {
        result.minimum = 0;  // configurations without shared experts
    }
    return result;
}

void import_value_set(ImportValue *value, double number) {
    value->source = SOURCE_FAMILY;
    value->number = number;
    value->word = NULL;
}

void import_value_follow(ImportValue *value, double (*of_layer)(int64_t layer)) {
    import_value_set(value, 0);
    value->of_layer = of_layer;
}

void import_value_word(ImportValue *value, const char *word) {
    value->source = SOURCE_FAMILY;
    value->word = word;
}

static bool number_within(const Key *key, const json_t *json) {
    double number = json_number_value(json);
    return number >= key->minimum && number <= key->maximum && !(key->not_zero && number == 0);
}

// Takes a value that is there, if it has the right type and size. Words of configurations are not those of descriptions.
static bool take(const Key *key, const json_t *json, ImportValue *value) {
    value->source = SOURCE_CONFIG;
    value->number = json_is_boolean(json) ? json_is_true(json) : json_number_value(json);
    value->word = json_string_value(json);
    switch (key->type) {
    case KEY_INTEGER: return json_is_integer(json) && number_within(key, json);
    case KEY_REAL: return json_is_number(json) && number_within(key, json);
    case KEY_FLAG: return json_is_boolean(json);
    default: return json_is_string(json);
    }
}

// A number for every layer, where a number for all is usual. Of some settings null is one, too. Returns the first entry that is
// none, or else the number of entries.
static size_t take_list(const Key *key, const json_t *json, bool nullable, ImportValue *value) {
    size_t index;
    json_t *entry;
    value->list = json;
    json_array_foreach(json, index, entry) {
        if (!take(key, entry, value) && !(nullable && json_is_null(entry))) {
            break;
        }
    }
    return index;
}

// Takes what the configuration has, or reports it.
static void take_setting(const ImportConfig *config, const ImportRule *rule, const Key *key, const char *wanted, const json_t *json,
                         ImportValue *value) {
    char found[SPEC_TEXT_BYTES], at[32] = "";
    size_t count = rule->listed ? json_array_size(json) : 0;
    size_t wrong = count ? take_list(key, json, rule->presence == PRESENCE_OPTIONAL, value) : 0;
    if (count ? wrong == count : take(key, json, value)) {
        return;
    }
    if (count) {
        snprintf(at, sizeof at, "[%zu]", wrong);
    }
    spec_describe(count ? json_array_get(json, wrong) : json, found);
    import_error(config, value->key, "%s%s must be %s, found %s", value->key, at, wanted, found);
}

// types: the key that lists which layers are sparse, or NULL.
static void read_setting(const ImportConfig *config, const ImportRule *rule, const char *types, Setting setting,
                         ImportValue *value) {
    const Key key = key_of(setting);
    char wanted[SPEC_TEXT_BYTES] = "text";
    if (key.type != KEY_CHOICE) {
        spec_expected(&key, wanted);
    }
    const json_t *json = rule->keys ? import_config_get(config, rule->keys, value->key) : NULL;
    if (json_is_array(json) && types && !strcmp(types, value->key)) {
        return;  // layers.c reads it
    }
    json = rule->first && json_array_size(json) ? json_array_get(json, 0) : json;
    if (json_is_null(json) && (rule->presence == PRESENCE_NULLABLE || rule->presence == PRESENCE_OPTIONAL)) {
        return;
    }
    if (json) {
        take_setting(config, rule, &key, wanted, json, value);
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

bool import_value_read(const ImportConfig *config, const ImportRule *rule, Setting setting, ImportValue *value) {
    size_t before = config->diagnostics->count;
    *value = (ImportValue){0};
    read_setting(config, rule, NULL, setting, value);
    return config->diagnostics->count == before;
}

static void check_expectations(const ImportConfig *config, const ImportFamily *family) {
    for (int i = 0; i < IMPORT_EXPECTATIONS && family->expectations[i].key; i++) {
        const ImportExpectation *expectation = &family->expectations[i];
        const json_t *value = import_config_get(config, expectation->key, NULL);
        json_t *wanted = json_loads(expectation->value, JSON_DECODE_ANY, NULL);
        bool same = json_is_number(value) ? json_number_value(value) == json_number_value(wanted) : json_equal(value, wanted);
        if (value && !same) {
            char found[SPEC_TEXT_BYTES];
            spec_describe(value, found);
            import_error(config, expectation->key, "%s is %s, but catena knows %s with %s only", expectation->key, found,
                         family->name, expectation->value);
        }
        json_decref(wanted);
    }
}

// The activation that a configuration's name stands for, and its slope where the name says one. ACTIVATION_COUNT: none has it.
static Activation find_activation(const char *name, double *slope) {
    for (int a = 0; a < ACTIVATION_COUNT; a++) {
        const ActivationFacts *facts = &activation_facts[a];
        for (int i = 0; i < ACTIVATION_CONFIGS; i++) {
            const char *plain = facts->configs[i], *sloped = facts->sloped_configs[i].name;
            bool named = plain && !strcmp(plain, name);
            if (named || (sloped && !strcmp(sloped, name))) {
                *slope = named ? 1 : facts->sloped_configs[i].slope;
                return (Activation)a;
            }
        }
    }
    return ACTIVATION_COUNT;
}

// All names that configurations may have, as many as there is room for.
static void list_activations(char *text, size_t size) {
    FILE *stream = fmemopen(text, size, "w");
    *text = 0;
    for (int a = 0; a < ACTIVATION_COUNT && stream; a++) {
        const ActivationFacts *facts = &activation_facts[a];
        for (int i = 0; i < 2 * ACTIVATION_CONFIGS; i++) {
            int at = i % ACTIVATION_CONFIGS;
            const char *name = i < ACTIVATION_CONFIGS ? facts->configs[at] : facts->sloped_configs[at].name;
            if (name) {
                fprintf(stream, "%s%s", ftell(stream) ? ", " : "", name);
            }
        }
    }
    if (stream) {
        fclose(stream);
    }
}

static void read_activation(const ImportConfig *config, ImportValue *values) {
    ImportValue *value = &values[SETTING_ACTIVATION];
    double slope = 1;
    Activation activation = value->word ? find_activation(value->word, &slope) : ACTIVATION_COUNT;
    if (activation != ACTIVATION_COUNT) {
        value->word = activation_names[activation];
    } else if (value->word) {
        char known[1024];
        list_activations(known, sizeof known);
        import_error(config, value->key, "%s is \"%.40s\": catena has %s", value->key, value->word, known);
    }
    if (slope != 1) {
        import_value_set(&values[SETTING_SLOPE], slope);
    }
}

// Whether the groups of the config count, by DeepSeek's names of selection rules; where there are none, they do.
static bool groups_count(const ImportConfig *config, const ImportValue *method) {
    bool limited = !method->word || !strcmp(method->word, "group_limited_greedy");
    if (!limited && strcmp(method->word, "greedy") && strcmp(method->word, "gready")) {  // (sic) the default of CoE's code
        import_error(config, method->key, "%s is \"%.40s\": expected \"greedy\" or \"group_limited_greedy\"", method->key,
                     method->word);
    }
    return limited;
}

static void read_groups(const ImportConfig *config, const ImportFamily *family, ImportValue *values) {
    ImportValue *groups = &values[SETTING_GROUPS], *top = &values[SETTING_TOP_GROUPS];
    const char *lacking =
        groups->source == SOURCE_NONE ? family->rules[SETTING_GROUPS].keys : family->rules[SETTING_TOP_GROUPS].keys;
    const ImportValue *experts = &values[SETTING_EXPERTS], *method = &values[SETTING_METHOD];
    bool limited = groups_count(config, method), several = groups->source != SOURCE_NONE && groups->number > 1;
    if (limited && (several || method->word) && (groups->source == SOURCE_NONE || top->source == SOURCE_NONE)) {
        import_error(config, NULL, "the configuration lacks \"%s\": experts are chosen from the best of their groups", lacking);
    } else if (limited && top->source != SOURCE_NONE && groups->source != SOURCE_NONE && top->number > groups->number) {
        import_error(config, top->key, "%s is %g, but %s is %g: more groups cannot remain than there are", top->key, top->number,
                     groups->key, groups->number);
    } else if (limited && several && (int64_t)experts->number % (int64_t)groups->number) {
        import_error(config, groups->key, "%s is %g: expected a number that divides the %g experts (%s) evenly", groups->key,
                     groups->number, experts->number, experts->key);
    }
    if (!limited || !several || groups->number == top->number) {  // every group remains
        groups->source = top->source = values[SETTING_GROUP_SCORE].source = values[SETTING_GROUP_MASK].source = SOURCE_NONE;
    }
}

// Shared experts of a width of n are one expert that is n times as wide: the same sums, unless each has a weight of its own.
static void read_shared(const ImportFamily *family, ImportValue *values) {
    ImportValue *count = &values[SETTING_SHARED], *width = &values[SETTING_SHARED_WIDTH];
    if (values[SETTING_SHARED_JOINT].number != 0 && count->number != 0) {
        return;
    }
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

// Drops settings that mean nothing: those of the norm where weights are not normalised, and a clamp at 0, as a norm is at least 0.
static void drop_needless(ImportValue *values) {
    if (values[SETTING_NORMALIZE].source == SOURCE_NONE || values[SETTING_NORMALIZE].number == 0) {
        for (Setting s = SETTING_NORMALIZE; s <= SETTING_NORMALIZE_CLAMP; s++) {
            values[s].source = SOURCE_NONE;
        }
    }
    if (values[SETTING_NORMALIZE_EPS].number == 0) {
        values[SETTING_NORMALIZE_CLAMP].source = SOURCE_NONE;
    }
}

// Reports a model whose configuration says that no layer has experts: bounds of its keys would be no help.
static bool has_experts(const ImportConfig *config, const ImportFamily *family) {
    char key[IMPORT_KEY_BYTES];
    const char *keys = family->rules[SETTING_EXPERTS].keys;
    const json_t *experts = keys ? import_config_get(config, keys, key) : NULL;
    const json_t *include = family->include ? import_config_get(config, family->include, NULL) : NULL;
    bool none = json_is_null(experts) || (json_is_integer(experts) && json_integer_value(experts) == 0);
    bool listed = json_is_array(include) && !json_array_size(include);
    if (none || listed) {
        import_error(config, none ? key : family->include, "%s is %s: " IMPORT_DENSE, none ? key : family->include,
                     listed                  ? "empty"
                     : json_is_null(experts) ? "null"
                                             : "0");
    }
    return !none && !listed;
}

// What the configuration does not say and the layers have: `given` are the values before anything followed from them.
static void summarise_defaults(const ImportValue *given, const ImportValue *values, FILE *summary) {
    const char *separator = "not in the configuration, so by default: ";
    for (Setting s = 0; s < SETTING_COUNT; s++) {
        bool told = false;  // norms of one layer have one key
        for (Setting before = 0; before < s; before++) {
            told |= given[before].source == SOURCE_DEFAULT && values[before].source != SOURCE_NONE &&
                    !strcmp(given[before].key, given[s].key);
        }
        if (told || given[s].source != SOURCE_DEFAULT || values[s].source == SOURCE_NONE) {
            continue;
        }
        fprintf(summary, "%s%s = ", separator, given[s].key);
        if (given[s].word) {
            fprintf(summary, "%s", given[s].word);
        } else if (key_of(s).type == KEY_FLAG) {
            fprintf(summary, "%s", given[s].number != 0 ? "true" : "false");
        } else {
            fprintf(summary, "%g", given[s].number);
        }
        separator = ", ";
    }
    fputs(*separator == ',' ? "\n" : "", summary);
}

bool import_values_read(const ImportConfig *config, const ImportFamily *family, ImportValue values[SETTING_COUNT], FILE *summary) {
    size_t before = config->diagnostics->count;
    ImportValue given[SETTING_COUNT];
    memset(values, 0, SETTING_COUNT * sizeof *values);
    if (!has_experts(config, family)) {
        return false;
    }
    check_expectations(config, family);
    for (Setting s = 0; s < SETTING_COUNT; s++) {
        if (family->rules[s].presence != PRESENCE_UNUSED) {
            read_setting(config, &family->rules[s], family->types, s, &values[s]);
        }
    }
    memcpy(given, values, sizeof given);
    if (config->diagnostics->count > before) {
        return false;
    }
    read_activation(config, values);
    read_groups(config, family, values);
    read_shared(family, values);
    if (config->diagnostics->count > before || (family->adjust && !family->adjust(config, values))) {
        return false;
    }
    drop_needless(values);
    if (summary) {
        summarise_defaults(given, values, summary);
    }
    return true;
}

static json_t *value_json(const Key *key, const ImportValue *value) {
    if (key->type == KEY_FLAG) {
        return json_boolean(value->number != 0);
    }
    if (key->type == KEY_CHOICE) {
        return json_string(value->word);
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

bool import_value_varies(const ImportValue *value) {
    return value->list || value->of_layer;
}

double import_value_at(const ImportValue *value, int64_t layer) {
    if (value->of_layer) {
        return value->of_layer(layer);
    }
    return value->list ? json_number_value(json_array_get(value->list, (size_t)layer)) : value->number;
}

// Limits differ from layer to layer. Drops those that say nothing.
static void drop_limits(ImportValue *values) {
    double limit = values[SETTING_LIMIT].source == SOURCE_NONE ? 0 : values[SETTING_LIMIT].number;
    double shared = values[SETTING_SHARED_LIMIT].source == SOURCE_NONE ? limit : values[SETTING_SHARED_LIMIT].number;
    if (shared == limit) {
        values[SETTING_SHARED_LIMIT].source = SOURCE_NONE;
    }
    if (limit == 0 && shared == 0) {
        values[SETTING_LIMIT_PLACE].source = SOURCE_NONE;
    }
}

json_t *import_values_layer(const ImportValue values[SETTING_COUNT], int64_t layer) {
    ImportValue own[SETTING_COUNT];
    for (Setting s = 0; s < SETTING_COUNT; s++) {
        own[s] = values[s];
        own[s].number = import_value_at(&values[s], layer);
    }
    drop_limits(own);
    json_t *object = json_object();
    for (Setting s = 0; s < SETTING_COUNT; s++) {
        const Key key = key_of(s);
        bool needless = key.type != KEY_CHOICE && own[s].number == key.fallback;
        if (paths[s] && own[s].source != SOURCE_NONE && !needless) {
            put(object, paths[s], value_json(&key, &own[s]));
        }
    }
    return object;
}
