// Which layers of a model are sparse, and how few entries of a description can say so.
//
// The rules of all families are one: layers FIRST to LAST whose number is PHASE modulo STEP, less those that a list excludes; or
// exactly those of a list, or those that a list of words calls sparse.
#include <stdlib.h>
#include <string.h>

#include "read.h"

// For each layer: 0 if dense, else the experts that it chooses per token.
typedef struct LayerMap {
    int64_t count;
    int32_t top_k[IMPORT_MAX_LAYERS];
} LayerMap;

static int64_t number_of(const ImportValue *value, int64_t fallback) {
    return value->source == SOURCE_NONE ? fallback : (int64_t)value->number;
}

static void mark_progression(const ImportValue *values, LayerMap *map) {
    int64_t step = number_of(&values[SETTING_STEP], 1), phase = number_of(&values[SETTING_PHASE], step - 1) % step;
    int64_t last = number_of(&values[SETTING_LAST], map->count - 1);
    for (int64_t i = number_of(&values[SETTING_FIRST], 0); i < map->count && i <= last; i++) {
        map->top_k[i] = i % step == phase;
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
            map->top_k[json_integer_value(entry)] = mark;
        }
    }
    return true;
}

// A word or a flag for each layer.
static bool mark_each(const ImportConfig *config, const char *key, const json_t *list, LayerMap *map) {
    if ((int64_t)json_array_size(list) != map->count) {
        import_error(config, key, "%s must say something of each of %lld layers, it has %zu entries", key, (long long)map->count,
                     json_array_size(list));
        return false;
    }
    for (int64_t i = 0; i < map->count; i++) {
        const json_t *entry = json_array_get(list, (size_t)i);
        const char *word = json_is_string(entry) ? json_string_value(entry) : "";
        bool one = json_is_integer(entry) && json_integer_value(entry) == 1;
        bool none = json_is_integer(entry) && json_integer_value(entry) == 0;
        if (strcmp(word, "sparse") && strcmp(word, "dense") && !one && !none) {
            import_error(config, key, "%s[%lld] must be \"sparse\" or \"dense\" (or 1 or 0)", key, (long long)i);
            return false;
        }
        map->top_k[i] = one || !strcmp(word, "sparse");
    }
    return true;
}

// Finds the list at a key. Without the key, or with null, *list is NULL. Any other value that is not a list is an error, unless the
// key is also that of a setting.
static bool find_list(const ImportConfig *config, const char *key, bool is_setting, const json_t **list) {
    const json_t *value = key ? import_config_get(config, key, NULL) : NULL;
    *list = json_is_array(value) ? value : NULL;
    if (!value || json_is_null(value) || *list || is_setting) {
        return true;
    }
    char found[SPEC_TEXT_BYTES];
    spec_describe(value, found);
    import_error(config, key, "%s must be a list, found %s", key, found);
    return false;
}

static bool mark_sparse(const ImportConfig *config, const ImportFamily *family, const ImportValue *values, LayerMap *map) {
    const json_t *include, *exclude, *types;
    const char *step = family->rules[SETTING_STEP].keys;
    bool shared = family->types && step && !strcmp(family->types, step);
    if (!find_list(config, family->include, false, &include) || !find_list(config, family->exclude, false, &exclude) ||
        !find_list(config, family->types, shared, &types)) {
        return false;
    }
    if (types) {
        return mark_each(config, family->types, types, map);
    }
    if (include) {
        return mark_listed(config, family->include, include, 1, map);
    }
    mark_progression(values, map);
    return !exclude || mark_listed(config, family->exclude, exclude, 0, map);
}

// Where k is a list, one number per layer, sparse layers carry theirs.
static bool mark_top_k(const ImportConfig *config, const ImportValue *top_k, LayerMap *map) {
    if (!top_k->list) {
        return true;
    }
    if ((int64_t)json_array_size(top_k->list) < map->count) {
        import_error(config, top_k->key, "%s must have a number for each of %lld layers, it has %zu", top_k->key,
                     (long long)map->count, json_array_size(top_k->list));
        return false;
    }
    for (int64_t i = 0; i < map->count; i++) {
        map->top_k[i] *= (int32_t)json_integer_value(json_array_get(top_k->list, (size_t)i));
    }
    return true;
}

static void remark_dense(const ImportConfig *config, const LayerMap *map, const char *stack) {
    int64_t dense = 0;
    char ranges[512] = "";
    size_t length = 0;
    for (int64_t i = 0, end; i < map->count; i = end) {
        for (end = i + 1; end < map->count && !map->top_k[end] == !map->top_k[i]; end++) {
        }
        if (map->top_k[i] || length >= sizeof ranges) {
            continue;
        }
        length += (size_t)snprintf(ranges + length, sizeof ranges - length, "%s%lld", dense ? ", " : "", (long long)i);
        if (end - i > 1 && length < sizeof ranges) {
            length += (size_t)snprintf(ranges + length, sizeof ranges - length, "..%lld", (long long)end - 1);
        }
        dense += end - i;
    }
    if (dense) {
        import_remark(config, "layer%s %s%s%s %s dense: skipped", dense == 1 ? "" : "s", ranges, stack ? " of the " : "",
                      stack ? stack : "", dense == 1 ? "is" : "are");
    }
}

// The longest progression that begins at `from` and has no layer of the same k between its members.
static ImportRun run_at(const LayerMap *map, int64_t from) {
    ImportRun run = {from, 1, 1, map->top_k[from]};
    int64_t last = from;
    for (int64_t i = from + 1; i < map->count; i++) {
        if (map->top_k[i] != run.top_k) {
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
        if (!map->top_k[i]) {
            continue;
        }
        if (count == MODEL_MAX_LAYERS) {
            return -1;
        }
        ImportRun run = run_at(map, i);
        runs[count++] = run;
        for (int64_t m = 0; m < run.count; m++) {
            map->top_k[run.first + m * run.step] = 0;
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
    if (mark_sparse(config, family, values, map) && mark_top_k(config, &values[SETTING_K], map)) {
        remark_dense(config, map, family->entry);
        count = cut_into_runs(map, runs);
        if (count < 0) {
            import_error(config, NULL, "the sparse layers are so irregular that more than %d entries of \"layers\" would be needed",
                         MODEL_MAX_LAYERS);
        }
        for (int64_t i = 0; i < count; i++) {
            runs[i].top_k = values[SETTING_K].list ? runs[i].top_k : 0;
        }
    }
    free(map);
    return count;
}
