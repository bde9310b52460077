// Which layers of a model are sparse, and how few entries of a description can say so.
//
// The rules of all families are one: layers FIRST to LAST whose number is PHASE modulo STEP, less those that a list excludes; or
// exactly those of a list, or those that a list of words or a text of letters calls sparse; or those from FIRST on that a list of 0
// and 1 marks.
#include <stdlib.h>
#include <string.h>

#include "read.h"

// For each layer: 0 if it is left out, else a mark that it has in common with the layers that one entry describes.
typedef struct LayerMap {
    int64_t count;
    int32_t mark[IMPORT_MAX_LAYERS];
    bool by_table[IMPORT_MAX_LAYERS];  // left out because a table of token numbers chooses its experts
} LayerMap;

// What configurations call a layer.
static const struct {
    const char *word;
    bool sparse, by_table;
} layer_words[] = {{"dense", false, false}, {"sparse", true, false}, {"moe", true, false}, {"hash_moe", false, true}};
enum { LAYER_WORDS = sizeof layer_words / sizeof *layer_words };

static int64_t number_of(const ImportValue *value, int64_t fallback) {
    return value->source == SOURCE_NONE ? fallback : (int64_t)value->number;
}

// `multiples`: layers whose number is a multiple of it; 0: as the values say.
static void mark_progression(const ImportValue *values, int64_t multiples, LayerMap *map) {
    int64_t step = multiples ? multiples : number_of(&values[SETTING_STEP], 1);
    int64_t phase = multiples ? 0 : number_of(&values[SETTING_PHASE], step - 1) % step;
    int64_t last = number_of(&values[SETTING_LAST], map->count - 1);
    for (int64_t i = number_of(&values[SETTING_FIRST], 0); i < map->count && i <= last; i++) {
        map->by_table[i] = i < number_of(&values[SETTING_BY_TABLE], 0);
        map->mark[i] = i % step == phase && !map->by_table[i];
    }
}

// Marks the layers that a list of numbers names.
static bool mark_listed(const ImportConfig *config, const char *key, const json_t *list, int32_t mark, LayerMap *map) {
    size_t index;
    json_t *entry;
    json_array_foreach(list, index, entry) {
        if (!json_is_integer(entry) || json_integer_value(entry) < 0 || json_integer_value(entry) >= IMPORT_MAX_LAYERS) {
            char found[SPEC_TEXT_BYTES];
            spec_describe(entry, found);
            import_error(config, key, "%s[%zu] must be the number of a layer, found %s", key, index, found);
            return false;
        }
        if (json_integer_value(entry) < map->count) {  // others are never asked for: so in transformers
            map->mark[json_integer_value(entry)] = mark;
        }
    }
    return true;
}

// Marks the layers of a text: numbers between commas.
static bool mark_written(const ImportConfig *config, const char *key, const char *text, LayerMap *map) {
    json_t *list = json_array();
    bool good = list != NULL;
    for (const char *next = text + strspn(text, ", "); good && *next; next += strspn(next, ", ")) {
        char *end;
        long long number = strtoll(next, &end, 10);
        good = end > next && (!*end || strchr(", ", *end)) && !json_array_append_new(list, json_integer(number));
        next = end;
    }
    if (!good) {
        import_error(config, key, "%s must be numbers of layers with commas between them, found \"%.80s\"", key, text);
    }
    good = good && mark_listed(config, key, list, 1, map);
    json_decref(list);
    return good;
}

static bool is_number(const json_t *entry, json_int_t number) {
    return json_is_integer(entry) && json_integer_value(entry) == number;
}

// A word, or a flag in numbers, for each layer.
static bool mark_each(const ImportConfig *config, const ImportFamily *family, const char *key, const json_t *list, int64_t first,
                      LayerMap *map) {
    if ((int64_t)json_array_size(list) > map->count) {  // they may be of layers that predict further tokens
        import_remark(config, "%s has %zu entries, and the model %lld layers: the first entries count, as in transformers", key,
                      json_array_size(list), (long long)map->count);
    } else if ((int64_t)json_array_size(list) < map->count) {
        import_error(config, key, "%s must say something of each of %lld layers, it has %zu entries", key, (long long)map->count,
                     json_array_size(list));
        return false;
    }
    for (int64_t i = 0; i < map->count; i++) {
        const json_t *entry = json_array_get(list, (size_t)i);
        int known = 0;
        while (known < LAYER_WORDS && !(json_is_string(entry) && !strcmp(json_string_value(entry), layer_words[known].word))) {
            known++;
        }
        if (known < LAYER_WORDS) {
            map->mark[i] = layer_words[known].sparse;
            map->by_table[i] = layer_words[known].by_table;
        } else if (is_number(entry, 0) || is_number(entry, 1)) {
            map->mark[i] = is_number(entry, 1) && i >= first;
        } else if (json_is_string(entry) && import_has_word(family->idle, json_string_value(entry))) {
            map->mark[i] = 0;
        } else {
            char found[SPEC_TEXT_BYTES];
            spec_describe(entry, found);
            import_error(config, key, "%s[%lld] must be \"sparse\" or \"dense\" (or 1 or 0)%s%s, found %s", key, (long long)i,
                         family->idle ? ", or one of the words moe " : "", family->idle ? family->idle : "", found);
            return false;
        }
    }
    return true;
}

// A letter for each layer.
static bool mark_letters(const ImportConfig *config, const ImportFamily *family, const char *key, const char *text, LayerMap *map) {
    for (int64_t i = 0; i < map->count; i++) {
        if (!text[i] || !strchr(family->letters, text[i])) {
            import_error(config, key, "%s must have a letter for each of %lld layers, of \"%s\", found \"%.80s\"", key,
                         (long long)map->count, family->letters, text);
            return false;
        }
        map->mark[i] = text[i] == *family->letters;
    }
    return true;
}

// What stands at the first of some keys, separated by blanks, whose value is not null: `found` is that key.
static const json_t *find_value(const ImportConfig *config, const char *keys, char found[IMPORT_KEY_BYTES]) {
    for (const char *next = keys; next && *next; next += strcspn(next, " "), next += strspn(next, " ")) {
        snprintf(found, IMPORT_KEY_BYTES, "%.*s", (int)strcspn(next, " "), next);
        const json_t *value = import_config_get(config, found, NULL);
        if (value && !json_is_null(value)) {
            return value;
        }
    }
    return NULL;
}

static bool is_list(const ImportConfig *config, const char *key, const json_t *value) {
    if (!value || json_is_array(value)) {
        return true;
    }
    char found[SPEC_TEXT_BYTES];
    spec_describe(value, found);
    import_error(config, key, "%s must be a list, found %s", key, found);
    return false;
}

// In place of words or flags a number may stand: every layer whose number is a multiple of it is sparse.
static bool is_step(const json_t *value) {
    return json_is_integer(value) && json_integer_value(value) >= 1 && json_integer_value(value) <= IMPORT_MAX_LAYERS;
}

static bool mark_sparse(const ImportConfig *config, const ImportFamily *family, const ImportValue *values, LayerMap *map) {
    char include_key[IMPORT_KEY_BYTES], exclude_key[IMPORT_KEY_BYTES], types_key[IMPORT_KEY_BYTES];
    const json_t *include = find_value(config, family->include, include_key);
    const json_t *exclude = find_value(config, family->exclude, exclude_key);
    const json_t *types = find_value(config, family->types, types_key);
    if (!(json_is_string(include) || is_list(config, include_key, include)) || !is_list(config, exclude_key, exclude) ||
        !(is_step(types) || (family->letters && json_is_string(types)) || is_list(config, types_key, types))) {
        return false;
    }
    if (json_is_string(types)) {
        return mark_letters(config, family, types_key, json_string_value(types), map);
    }
    if (json_is_array(types)) {
        return mark_each(config, family, types_key, types, number_of(&values[SETTING_FIRST], 0), map);
    }
    if (json_is_string(include)) {
        return mark_written(config, include_key, json_string_value(include), map);
    }
    if (include) {
        return mark_listed(config, include_key, include, 1, map);
    }
    mark_progression(values, json_integer_value(types), map);
    return !exclude || mark_listed(config, exclude_key, exclude, 0, map);
}

// Whether all settings that may differ from layer to layer have the same numbers for two layers.
static bool same_numbers(const ImportValue *values, int64_t a, int64_t b) {
    bool same = true;
    for (Setting s = 0; s < SETTING_COUNT; s++) {
        same &= !import_value_varies(&values[s]) || import_value_at(&values[s], a) == import_value_at(&values[s], b);
    }
    return same;
}

// Sparse layers with different numbers get different marks.
static bool mark_differences(const ImportConfig *config, const ImportValue *values, LayerMap *map) {
    bool vary = false;
    for (Setting s = 0; s < SETTING_COUNT; s++) {
        const json_t *list = values[s].list;
        vary |= import_value_varies(&values[s]);
        if (list && (int64_t)json_array_size(list) < map->count) {
            import_error(config, values[s].key, "%s must have a number for each of %lld layers, it has %zu", values[s].key,
                         (long long)map->count, json_array_size(list));
            return false;
        }
    }
    for (int64_t i = 0; vary && i < map->count; i++) {
        int64_t first = 0;
        while (first < i && !(map->mark[first] && same_numbers(values, first, i))) {
            first++;
        }
        map->mark[i] = map->mark[i] ? (int32_t)first + 1 : 0;
    }
    return true;
}

static bool is_left_out(const LayerMap *map, int64_t layer, bool by_table) {
    return !map->mark[layer] && map->by_table[layer] == by_table;
}

// Says of the layers that are left out which they are: those that a table chooses for, or the dense ones.
static void remark_left_out(const ImportConfig *config, const ImportFamily *family, const LayerMap *map, bool by_table) {
    const char *stack = family->entry;
    int64_t count = 0;
    char ranges[512] = "";
    size_t length = 0;
    for (int64_t i = 0, end; i < map->count; i = end) {
        bool out = is_left_out(map, i, by_table);
        for (end = i + 1; end < map->count && is_left_out(map, end, by_table) == out; end++) {
        }
        if (!out || length >= sizeof ranges) {
            continue;
        }
        length += (size_t)snprintf(ranges + length, sizeof ranges - length, "%s%lld", count ? ", " : "", (long long)i);
        if (end - i > 1 && length < sizeof ranges) {
            length += (size_t)snprintf(ranges + length, sizeof ranges - length, "..%lld", (long long)end - 1);
        }
        count += end - i;
    }
    if (count) {
        import_remark(config, "layer%s %s%s%s %s %s: skipped%s", count == 1 ? "" : "s", ranges, stack ? " of the " : "",
                      stack ? stack : "", count == 1 ? "is" : "are",
                      by_table       ? "given experts by a table of token numbers, which no description has"
                      : family->idle ? "without experts"
                                     : "dense",
                      by_table ? "; to run them, route with the model's own code, describe their experts by hand, and call "
                                 "NAME_forward_routed"
                               : "");
    }
}

// The longest progression that begins at `from` and has no layer of the same mark between its members.
static ImportRun run_at(const LayerMap *map, int64_t from) {
    ImportRun run = {from, 1, 1};
    int64_t last = from;
    for (int64_t i = from + 1; i < map->count; i++) {
        if (map->mark[i] != map->mark[from]) {
            continue;
        }
        if (run.count > 1 && i - last != run.step) {
            break;
        }
        run.step = i - last;
        run.count++;
        last = i;
    }
    return run;
}

// Progressions taken greedily, the longest first part of what is left each time: as every part of a progression is one, no other
// cut into consecutive parts has fewer.
static int64_t cut_into_runs(LayerMap *map, ImportRun runs[MODEL_MAX_LAYERS]) {
    int64_t count = 0;
    for (int64_t i = 0; i < map->count; i++) {
        if (!map->mark[i]) {
            continue;
        }
        if (count == MODEL_MAX_LAYERS) {
            return -1;
        }
        ImportRun run = run_at(map, i);
        runs[count++] = run;
        for (int64_t m = 0; m < run.count; m++) {
            map->mark[run.first + m * run.step] = 0;
        }
    }
    return count;
}

int64_t import_layers_find(const ImportConfig *config, const ImportFamily *family, const ImportValue values[SETTING_COUNT],
                           ImportRun runs[MODEL_MAX_LAYERS]) {
    LayerMap *map = calloc(1, sizeof *map);
    int64_t count = -1;
    if (!map) {
        diagnostics_add(config->diagnostics, config->path, 0, 0, "out of memory");
        return -1;
    }
    map->count = (int64_t)values[SETTING_LAYERS].number;
    if (mark_sparse(config, family, values, map) && mark_differences(config, values, map)) {
        remark_left_out(config, family, map, false);
        remark_left_out(config, family, map, true);
        count = cut_into_runs(map, runs);
        if (count < 0) {
            import_error(config, NULL,
                         "more than %d entries of \"layers\" would be needed: too many sparse layers differ, or too few are evenly "
                         "spaced",
                         MODEL_MAX_LAYERS);
        }
    }
    free(map);
    return count;
}
