// The key of an entry: what it is valid for, its id, and how near two shapes are.
#define XXH_INLINE_ALL
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "compiler/plan/text.h"
#include "parts.h"

// Numbers as numbers, everything else (names; infinities, which JSON lacks) as text.
static json_t *make_value(const char *text) {
    char *end;
    long long whole = strtoll(text, &end, 10);
    if (end != text && !*end) {
        return json_integer(whole);
    }
    double real = strtod(text, &end);
    return end != text && !*end && isfinite(real) ? json_real(real) : json_string(text);
}

// The lines "layer.FIELD VALUE" of the plan's canonical text as {FIELD: VALUE, ...}: there is no second list of a layer's fields.
static json_t *make_layer(const Layer *layer) {
    static const char prefix[] = "layer.";
    Plan *plan = calloc(1, sizeof *plan);
    char *text = NULL, *rest;
    json_t *object = json_object();
    if (plan) {
        plan->layer = *layer;
        text = rest = plan_print(plan);
    }
    bool failed = !text || !object;
    for (char *line; !failed && (line = strsep(&rest, "\n")) && !strncmp(line, prefix, sizeof prefix - 1);) {
        char *value = line;
        const char *field = strsep(&value, " ") + sizeof prefix - 1;
        failed = !value || json_object_set_new(object, field, make_value(value));
    }
    free(text);
    free(plan);
    if (failed) {
        json_decref(object);
        return NULL;
    }
    return object;
}

json_t *wisdom_key_text(const char *text) {
    char *copy = strdup(text ? text : "");
    for (char *c = copy; c && *c; c++) {
        *c = *c < ' ' || *c > '~' ? '?' : *c;
    }
    json_t *string = copy ? json_string(copy) : NULL;
    free(copy);
    return string;
}

json_t *wisdom_key_make(const WisdomKey *key) {
    return json_pack("{s:o, s:o, s:o, s:o, s:i, s:o, s:o, s:o}", "layer", make_layer(key->layer), "target",
                     wisdom_key_text(key->target), "cpu", wisdom_key_text(key->cpu), "topology", wisdom_key_text(key->topology),
                     "threads", key->threads, "workload", wisdom_key_text(key->workload), "generator",
                     wisdom_key_text(key->generator), "llvm", wisdom_key_text(key->llvm));
}

void wisdom_key_id(const json_t *key, char id[WISDOM_ID_BYTES]) {
    json_t *named = json_copy((json_t *)key);
    json_object_del(named, "generator");
    json_object_del(named, "llvm");
    char *text = json_dumps(named, JSON_SORT_KEYS | JSON_COMPACT | WISDOM_NUMBERS);
    *id = 0;
    if (text) {
        snprintf(id, WISDOM_ID_BYTES, "%016llx", (unsigned long long)XXH64(text, strlen(text), 0));
    }
    free(text);
    json_decref(named);
}

void wisdom_id(const WisdomKey *key, char id[WISDOM_ID_BYTES]) {
    json_t *stored = wisdom_key_make(key);
    *id = 0;
    if (stored) {
        wisdom_key_id(stored, id);
    }
    json_decref(stored);
}

static bool same(const json_t *one, const json_t *other, const char *const *fields) {
    for (; *fields; fields++) {
        if (!json_equal(json_object_get(one, *fields), json_object_get(other, *fields))) {
            return false;
        }
    }
    return true;
}

static const char *const versions[] = {"generator", "llvm", NULL};

static const json_t *find(const Wisdom *wisdom, const WisdomKey *key, bool trusted) {
    json_t *wanted = wisdom_key_make(key);
    const json_t *entry = NULL;
    char id[WISDOM_ID_BYTES];
    if (wanted) {
        wisdom_key_id(wanted, id);
        entry = json_object_get(wisdom->entries, id);
        if (same(wanted, json_object_get(entry, "key"), versions) != trusted) {
            entry = NULL;
        }
    }
    json_decref(wanted);
    return entry;
}

const json_t *wisdom_find(const Wisdom *wisdom, const WisdomKey *key) {
    return find(wisdom, key, true);
}

const json_t *wisdom_find_outdated(const Wisdom *wisdom, const WisdomKey *key) {
    return find(wisdom, key, false);
}

// Whether decisions of one key mean anything for the other: the same machine, and code of the same kind.
static bool comparable(const json_t *one, const json_t *other) {
    static const char *const fields[] = {"target", "cpu", "topology", "threads", "generator", "llvm", NULL};
    static const char *const layer_fields[] = {"weights", "router_weights", "compute", "activations", "gated", NULL};
    return same(one, other, fields) && same(json_object_get(one, "layer"), json_object_get(other, "layer"), layer_fields);
}

// How far apart two shapes are: what is twice as large counts the same in every dimension.
static double distance(const json_t *one, const json_t *other) {
    static const char *const sizes[] = {"hidden", "intermediate", "experts", "top_k", "iterations", "shared_experts"};
    double sum = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        // Plus 1: shared experts may be none.
        double a = 1 + json_number_value(json_object_get(one, sizes[i]));
        double b = 1 + json_number_value(json_object_get(other, sizes[i]));
        sum += fabs(log(a / b));
    }
    return sum;
}

const json_t *wisdom_nearest(const Wisdom *wisdom, const WisdomKey *key) {
    json_t *wanted = wisdom_key_make(key), *value;
    const json_t *nearest = NULL;
    const char *id, *nearest_id = "";
    double least = INFINITY;
    json_object_foreach(wisdom->entries, id, value) {
        static const char *const workload[] = {"workload", NULL};
        const json_t *found = json_object_get(value, "key");
        if (!wanted || !comparable(wanted, found)) {
            continue;
        }
        double far = distance(json_object_get(wanted, "layer"), json_object_get(found, "layer"));
        far += same(wanted, found, workload) ? 0 : 1e-6;  // less than any two sizes differ by
        // The order of a file's entries says nothing, so it must not decide.
        if (far < least || (far == least && strcmp(id, nearest_id) < 0)) {
            nearest = value;
            nearest_id = id;
            least = far;
        }
    }
    json_decref(wanted);
    return nearest;
}
