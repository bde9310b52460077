// An entry of wisdom: made, checked, and united with another of the same key.
//
//     "key"           {"layer": {field: value, ...}, "target": ..., ...}: WisdomKey
//     "machine"       {"cpu": "AMD EPYC ...", "cores": 16, ...}: for people
//     "time"          when it was last measured, in seconds since 1970
//     "decisions"     {"gate_up.max_rows": 14, ...}: integers, but "path" a path's name; the search knows what they mean and checks
//                     them when it applies them
//     "gain"          of the decisions over the default plan: 1.08 is 8 % faster; "low" and "high" are its confidence interval
//     "measurements"  [{...}, ...]: of the candidates, as the search wrote them
//
// Other fields are kept and not looked at.
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "spec_position.h"
#include "wisdom_origin.h"
#include "wisdom_parts.h"

json_t *wisdom_entry(const WisdomKey *key, const Machine *machine, const json_t *decisions, double gain, double low, double high,
                     const json_t *measurements) {
    json_t *about =
        json_pack("{s:o, s:o, s:I, s:I, s:I}", "cpu", wisdom_key_text(machine->cpu), "architecture",
                  wisdom_key_text(machine->architecture), "cores", (json_int_t)machine->cores_allowed, "hardware_threads",
                  (json_int_t)machine->units_allowed, "numa_nodes", (json_int_t)machine->numa_nodes);
    // JSON has no NaN and no infinity: jansson makes no such numbers, and so no entry.
    json_t *copies = measurements ? json_deep_copy(measurements) : json_array();
    return json_pack("{s:o, s:o, s:I, s:o, s:f, s:f, s:f, s:o}", "key", wisdom_key_make(key), "machine", about, "time",
                     (json_int_t)time(NULL), "decisions", json_deep_copy(decisions), "gain", gain, "low", low, "high", high,
                     "measurements", copies);
}

// --- checking --------------------------------------------------------------------------------------------------------------------

typedef enum FieldType { FIELD_TEXT, FIELD_COUNT, FIELD_NUMBER, FIELD_SCALARS, FIELD_DECISIONS, FIELD_OBJECTS } FieldType;

static const char *const expectations[] = {
    [FIELD_TEXT] = "a text without control characters",
    [FIELD_COUNT] = "an integer from 0 up",
    [FIELD_NUMBER] = "a number",
    [FIELD_SCALARS] = "an object of numbers and texts",
    [FIELD_DECISIONS] = "an object of integers (and \"path\", a path's name)",
    [FIELD_OBJECTS] = "a list of objects",
};

typedef struct Field {
    const char *section;  // NULL: of the entry itself
    const char *name;
    FieldType type;
} Field;

static const Field fields[] = {
    {"key", "layer", FIELD_SCALARS},  {"key", "target", FIELD_TEXT},        {"key", "cpu", FIELD_TEXT},
    {"key", "topology", FIELD_TEXT},  {"key", "threads", FIELD_COUNT},      {"key", "workload", FIELD_TEXT},
    {"key", "generator", FIELD_TEXT}, {"key", "llvm", FIELD_TEXT},          {NULL, "machine", FIELD_SCALARS},
    {NULL, "time", FIELD_COUNT},      {NULL, "decisions", FIELD_DECISIONS}, {NULL, "gain", FIELD_NUMBER},
    {NULL, "low", FIELD_NUMBER},      {NULL, "high", FIELD_NUMBER},         {NULL, "measurements", FIELD_OBJECTS},
};

// Reports what is wrong with a field (section, name: NULL where it is the entry, or its section).
static void report(const WisdomSource *source, const char *id, const char *section, const char *name, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

static void report(const WisdomSource *source, const char *id, const char *section, const char *name, const char *format, ...) {
    const Place root = {NULL, NULL, 0}, entries = {&root, "entries", 0}, entry = {&entries, id, 0};
    const Place part = {&entry, section, 0}, field = {section ? &part : &entry, name, 0};
    const Place *place = name ? &field : section ? &part : &entry;
    Position position = {0, 0};
    if (source->text && source->diagnostics->count < DIAGNOSTICS_KEPT) {  // looking a place up reads the whole text
        position = spec_position_find(source->text, source->bytes, place, PLACE_VALUE);
    }
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    diagnostics_add(source->diagnostics, source->name, position.line, position.column, "entry %.40s: %s", id, text);
}

// What a value is, in the words of a message.
static const char *describe(const json_t *value, char text[80]) {
    char *dumped = value && !json_is_object(value) && !json_is_array(value)
                       ? json_dumps(value, JSON_ENCODE_ANY | JSON_ENSURE_ASCII | WISDOM_NUMBERS)
                       : NULL;
    snprintf(text, 80, "%.60s", dumped ? dumped : json_is_object(value) ? "an object" : value ? "a list" : "nothing");
    free(dumped);
    return text;
}

// Texts are printed: no control characters, whatever a file says.
static bool printable(const char *text) {
    for (; *text; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f) {
            return false;
        }
    }
    return true;
}

static bool scalar(const json_t *value) {
    return json_is_number(value) || (json_is_string(value) && printable(json_string_value(value)));
}

static bool all_of(const json_t *object, bool decisions) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)object, name, value) {
        if (!printable(name) || !(decisions ? wisdom_decision_check(name, value) : scalar(value))) {
            return false;
        }
    }
    return json_is_object(object);
}

static bool list_of_objects(const json_t *list) {
    size_t index;
    json_t *value;
    json_array_foreach(list, index, value) {
        if (!json_is_object(value)) {
            return false;
        }
    }
    return json_is_array(list);
}

static bool has_type(const json_t *value, FieldType type) {
    switch (type) {
    case FIELD_TEXT: return json_is_string(value) && printable(json_string_value(value));
    case FIELD_COUNT: return json_is_integer(value) && json_integer_value(value) >= 0;
    case FIELD_NUMBER: return json_is_number(value);
    case FIELD_SCALARS: return all_of(value, false);
    case FIELD_DECISIONS: return all_of(value, true);
    case FIELD_OBJECTS: return list_of_objects(value);
    }
    return false;
}

bool wisdom_entry_check(const WisdomSource *source, const char *id, const json_t *entry) {
    const json_t *key = json_object_get(entry, "key");
    char found[80], right[WISDOM_ID_BYTES];
    if (!json_is_object(entry) || !json_is_object(key)) {
        report(source, id, NULL, NULL, "expected an object with the object \"key\", found %s",
               json_is_object(entry) ? describe(key, found) : describe(entry, found));
        return false;
    }
    bool good = true;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const Field *field = &fields[i];
        const json_t *value = json_object_get(field->section ? key : entry, field->name);
        if (!has_type(value, field->type)) {
            report(source, id, field->section, value ? field->name : NULL, "\"%s\" must be %s, found %s", field->name,
                   expectations[field->type], describe(value, found));
            good = false;
        }
    }
    wisdom_key_id(key, right);
    if (good && strcmp(id, right)) {
        report(source, id, "key", NULL, "its key was changed: the id of this key is %s", right);
        good = false;
    }
    return good;
}

// --- uniting ---------------------------------------------------------------------------------------------------------------------

static int compare_versions(const json_t *one, const json_t *other) {
    static const char *const names[] = {"generator", "llvm"};
    const json_t *one_key = json_object_get(one, "key"), *other_key = json_object_get(other, "key");
    int order = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names && !order; i++) {
        order = strverscmp(json_string_value(json_object_get(one_key, names[i])),
                           json_string_value(json_object_get(other_key, names[i])));
    }
    return order;
}

// Negative: `other` has the better decisions. 0 only where both have the same: the order of uniting must not decide.
static int compare_decisions(const json_t *one, const json_t *other) {
    static const char *const names[] = {"low", "gain", "time"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        double a = json_number_value(json_object_get(one, names[i])), b = json_number_value(json_object_get(other, names[i]));
        if (a != b) {
            return a < b ? -1 : 1;
        }
    }
    char *a = json_dumps(json_object_get(one, "decisions"), JSON_SORT_KEYS | JSON_COMPACT);
    char *b = json_dumps(json_object_get(other, "decisions"), JSON_SORT_KEYS | JSON_COMPACT);
    int order = a && b ? strcmp(a, b) : 0;
    free(a);
    free(b);
    return order;
}

// Appends those measurements of `from` that are not known yet: `known` has their texts as keys.
static int add_measurements(json_t *into, json_t *known, const json_t *from) {
    size_t index;
    json_t *value;
    json_array_foreach(from, index, value) {
        char *text = json_dumps(value, JSON_SORT_KEYS | JSON_COMPACT | WISDOM_NUMBERS);
        bool failed = !text;
        if (text && !json_object_get(known, text)) {
            failed = json_object_set_new(known, text, json_true()) || json_array_append(into, value);
        }
        free(text);
        if (failed) {
            return -1;
        }
    }
    return 0;
}

static json_t *unite_measurements(const json_t *one, const json_t *other) {
    json_t *all = json_array(), *known = json_object();
    bool failed = !all || !known || add_measurements(all, known, json_object_get(one, "measurements")) ||
                  add_measurements(all, known, json_object_get(other, "measurements"));
    json_decref(known);
    if (failed) {
        json_decref(all);
        return NULL;
    }
    return all;
}

json_t *wisdom_entry_unite(const json_t *one, const json_t *other) {
    int order = compare_versions(one, other);
    if (order) {  // what another generator's code took says nothing of this one's
        return json_copy((json_t *)(order > 0 ? one : other));
    }
    json_t *united = json_copy((json_t *)(compare_decisions(one, other) < 0 ? other : one));
    json_int_t time_one = json_integer_value(json_object_get(one, "time"));
    json_int_t time_other = json_integer_value(json_object_get(other, "time"));
    if (!united || json_object_set_new(united, "measurements", unite_measurements(one, other)) ||
        json_object_set_new(united, "time", json_integer(time_one > time_other ? time_one : time_other))) {
        json_decref(united);
        return NULL;
    }
    return united;
}

int wisdom_entries_unite(json_t *into, const json_t *from) {
    const char *id;
    json_t *entry;
    json_object_foreach((json_t *)from, id, entry) {
        const json_t *known = json_object_get(into, id);
        json_t *united = known ? wisdom_entry_unite(known, entry) : json_incref(entry);
        if (!united || json_object_set_new(into, id, united)) {
            return -1;
        }
    }
    return 0;
}
