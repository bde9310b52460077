// An entry of wisdom: made, checked, and united with another of the same key.
//
//     "key"           {"layer": {field: value, ...}, "target": ..., ...}: WisdomKey
//     "machine"       {"cpu": "AMD EPYC ...", "cores": 16, ...}: for people
//     "time"          when it was last measured, in seconds since 1970
//     "decisions"     {"gate_up.max_rows": 14, ...}: integers, but "path" a path's name; the search knows what they mean and checks
//                     them when it applies them
//     "gain"          of the decisions over the default plan: 1.08 is 8 % faster; "low" and "high" are its confidence interval. All
//                     three are 1 where the default stays
//     "tie"           {"gain": ..., "low": ..., "high": ...}, only where the default stays because of it: of the best candidate
//     "measurements"  [{...}, ...]: of the candidates, as the search wrote them
//
// Other fields are kept and not looked at.
#define _GNU_SOURCE
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "compiler/description/position.h"
#include "origin.h"
#include "parts.h"

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

int wisdom_entry_tie(json_t *entry, double gain, double low, double high) {
    return json_object_set_new(entry, "tie", json_pack("{s:f, s:f, s:f}", "gain", gain, "low", low, "high", high));
}

bool wisdom_entry_default(const json_t *entry) {
    return json_number_value(json_object_get(entry, "gain")) == 1 && json_number_value(json_object_get(entry, "low")) == 1 &&
           json_number_value(json_object_get(entry, "high")) == 1;
}

// --- checking ----------------------------------------------------------------------------------------------------------------

typedef enum FieldType { FIELD_TEXT, FIELD_COUNT, FIELD_NUMBER, FIELD_SCALARS, FIELD_DECISIONS, FIELD_ROWS } FieldType;

typedef struct Field {
    const char *section;  // NULL: of the entry itself
    const char *name;
    FieldType type;
    double least, most;  // of counts and numbers: far beyond what a search can find, so what is outside was not measured
} Field;

#define GAIN_RANGE 0.001, 1000
#define BOUND_RANGE 1e-6, 1e6  // few rounds leave a wide interval
#define TIME_RANGE 0, 4102444799.  // the end of 2099: clocks of other machines may be ahead, and this one's behind

static const Field fields[] = {
    {"key", "layer", FIELD_SCALARS, 0, 0},
    {"key", "target", FIELD_TEXT, 0, 0},
    {"key", "cpu", FIELD_TEXT, 0, 0},
    {"key", "topology", FIELD_TEXT, 0, 0},
    {"key", "threads", FIELD_COUNT, 0, INT_MAX},
    {"key", "workload", FIELD_TEXT, 0, 0},
    {"key", "generator", FIELD_TEXT, 0, 0},
    {"key", "llvm", FIELD_TEXT, 0, 0},
    {NULL, "machine", FIELD_SCALARS, 0, 0},
    {NULL, "time", FIELD_COUNT, TIME_RANGE},
    {NULL, "decisions", FIELD_DECISIONS, 0, 0},
    {NULL, "gain", FIELD_NUMBER, GAIN_RANGE},
    {NULL, "low", FIELD_NUMBER, BOUND_RANGE},
    {NULL, "high", FIELD_NUMBER, BOUND_RANGE},
    {"tie", "gain", FIELD_NUMBER, GAIN_RANGE},
    {"tie", "low", FIELD_NUMBER, BOUND_RANGE},
    {"tie", "high", FIELD_NUMBER, BOUND_RANGE},
    {NULL, "measurements", FIELD_ROWS, 0, 0},
};

// Of a measurement, which may lack them.
static const Field row_fields[] = {
    {NULL, "rounds", FIELD_COUNT, 0, INT_MAX},
    {NULL, "difference", FIELD_NUMBER, -14, 14},  // logarithm: a million times
    {NULL, "seconds", FIELD_NUMBER, 0, 1e9},
};

enum { FIELDS = sizeof fields / sizeof *fields, ROW_FIELDS = sizeof row_fields / sizeof *row_fields, WORDS_BYTES = 80 };

static const char *describe_expected(const Field *field, char text[WORDS_BYTES]) {
    switch (field->type) {
    case FIELD_TEXT: return "a text without control characters";
    case FIELD_COUNT: snprintf(text, WORDS_BYTES, "an integer from %.10g to %.10g", field->least, field->most); return text;
    case FIELD_NUMBER: snprintf(text, WORDS_BYTES, "a number from %.10g to %.10g", field->least, field->most); return text;
    case FIELD_SCALARS: return "an object of numbers and texts";
    case FIELD_DECISIONS: return "an object of integers (and \"path\", a path's name)";
    case FIELD_ROWS: return "a list of objects";
    }
    return "";
}

// An entry that is checked.
typedef struct Check {
    const WisdomSource *source;
    const char *id;
    Place root, entries, entry;
    bool good;
} Check;

// Reports what is wrong at a place of the entry.
static void report(Check *check, const Place *place, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void report(Check *check, const Place *place, const char *format, ...) {
    const WisdomSource *source = check->source;
    Position position = {0};
    if (source->text && source->diagnostics->count < DIAGNOSTICS_KEPT) {  // looking a place up reads the whole text
        position = spec_position_find(source->text, source->bytes, place, PLACE_VALUE);
    }
    char text[384];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    diagnostics_add(source->diagnostics, source->name, position.line, position.column, "entry %.40s: %s", check->id, text);
    check->good = false;
}

// What a value is, in the words of a message.
static const char *describe(const json_t *value, char text[WORDS_BYTES]) {
    char *dumped = value && !json_is_object(value) && !json_is_array(value)
                       ? json_dumps(value, JSON_ENCODE_ANY | JSON_ENSURE_ASCII | WISDOM_NUMBERS)
                       : NULL;
    snprintf(text, WORDS_BYTES, "%.60s", dumped ? dumped : json_is_object(value) ? "an object" : value ? "a list" : "nothing");
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

static bool in_range(const json_t *value, const Field *field) {
    double number = json_number_value(value);
    return number >= field->least && number <= field->most;
}

// A value that consists of no others.
static bool fits(const json_t *value, const Field *field) {
    switch (field->type) {
    case FIELD_TEXT: return json_is_string(value) && printable(json_string_value(value));
    case FIELD_COUNT: return json_is_integer(value) && in_range(value, field);
    case FIELD_NUMBER: return json_is_number(value) && in_range(value, field);
    case FIELD_SCALARS:
    case FIELD_DECISIONS: return json_is_object(value);
    case FIELD_ROWS: return json_is_array(value);
    }
    return false;
}

static void check_members(Check *check, const Place *parent, const Field *field, const json_t *object) {
    char found[WORDS_BYTES];
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)object, name, value) {
        const Place place = {parent, name, 0};
        bool decision = field->type == FIELD_DECISIONS;
        if (!printable(name)) {
            report(check, &place, "\"%s\" has \"%.60s\", a name with control characters", field->name, name);
        } else if (!(decision ? wisdom_decision_check(name, value) : scalar(value))) {
            report(check, &place, "\"%.60s\" of \"%s\" must be %s, found %s", name, field->name,
                   !decision              ? "a number, or a text without control characters"
                   : strcmp(name, "path") ? "an integer"
                                          : "a path's name",
                   describe(value, found));
        }
    }
}

// Rows are the search's: what it will count with must be numbers that it can have written.
static void check_rows(Check *check, const Place *parent, const json_t *rows) {
    char expected[WORDS_BYTES], found[WORDS_BYTES];
    size_t index;
    json_t *row;
    json_array_foreach((json_t *)rows, index, row) {
        const Place place = {parent, NULL, index};
        if (!json_is_object(row)) {
            report(check, &place, "\"measurements\" must be a list of objects, found %s", describe(row, found));
            continue;
        }
        for (size_t i = 0; i < ROW_FIELDS; i++) {
            const Field *field = &row_fields[i];
            const Place part = {&place, field->name, 0};
            const json_t *value = json_object_get(row, field->name);
            if (value && !fits(value, field)) {
                report(check, &part, "\"%s\" of measurement %zu must be %s, found %s", field->name, index + 1,
                       describe_expected(field, expected), describe(value, found));
            }
        }
    }
}

static void check_field(Check *check, const json_t *entry, const Field *field) {
    const json_t *section = field->section ? json_object_get(entry, field->section) : entry;
    const json_t *value = json_object_get(section, field->name);
    const Place part = {&check->entry, field->section, 0}, *parent = field->section ? &part : &check->entry;
    const Place place = {parent, field->name, 0};
    char expected[WORDS_BYTES], found[WORDS_BYTES];
    if (!fits(value, field)) {
        report(check, value ? &place : parent, "\"%s\" must be %s, found %s", field->name, describe_expected(field, expected),
               describe(value, found));
    } else if (field->type == FIELD_ROWS) {
        check_rows(check, &place, value);
    } else if (json_is_object(value)) {
        check_members(check, &place, field, value);
    }
}

// Checks how the numbers of an entry, or of its tie, relate to each other. Each alone has passed its check.
static void check_interval(Check *check, const char *section, const json_t *numbers) {
    double low = json_number_value(json_object_get(numbers, "low")), gain = json_number_value(json_object_get(numbers, "gain")),
           high = json_number_value(json_object_get(numbers, "high"));
    const Place part = {&check->entry, section, 0}, place = {section ? &part : &check->entry, "gain", 0};
    if (low > gain || gain > high) {
        report(check, &place, "\"low\" must not be above \"gain\", nor that above \"high\", found %.6g, %.6g, %.6g", low, gain,
               high);
    }
}

bool wisdom_entry_check(const WisdomSource *source, const char *id, const json_t *entry) {
    const json_t *key = json_object_get(entry, "key");
    char found[WORDS_BYTES], right[WISDOM_ID_BYTES];
    Check check = {.source = source, .id = id, .good = true};
    check.entries = (Place){&check.root, "entries", 0};
    check.entry = (Place){&check.entries, id, 0};
    if (!json_is_object(entry) || !json_is_object(key)) {
        report(&check, &check.entry, "expected an object with the object \"key\", found %s",
               json_is_object(entry) ? describe(key, found) : describe(entry, found));
        return false;
    }
    for (size_t i = 0; i < FIELDS; i++) {
        if (!fields[i].section || strcmp(fields[i].section, "tie") || json_object_get(entry, "tie")) {
            check_field(&check, entry, &fields[i]);
        }
    }
    if (check.good) {
        check_interval(&check, NULL, entry);
        check_interval(&check, "tie", json_object_get(entry, "tie"));
    }
    wisdom_key_id(key, right);
    if (check.good && strcmp(id, right)) {
        const Place place = {&check.entry, "key", 0};
        const bool renamed = !strncmp(id, right, strlen(right)) && strstr(id, WISDOM_REFUSED);
        report(&check, &place,
               renamed
                   ? "the entry is mended, but another of this key was measured since: drop one, and name this one %s if it stays"
                   : "its key was changed: the id of this key is %s",
               right);
    }
    return check.good;
}

// --- uniting -----------------------------------------------------------------------------------------------------------------

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
    static const char *const objects[] = {"decisions", "tie"};
    int order = 0;
    for (size_t i = 0; i < sizeof objects / sizeof *objects && !order; i++) {
        char *a = json_dumps(json_object_get(one, objects[i]), JSON_SORT_KEYS | JSON_COMPACT);  // NULL: there is none
        char *b = json_dumps(json_object_get(other, objects[i]), JSON_SORT_KEYS | JSON_COMPACT);
        order = strcmp(a ? a : "", b ? b : "");
        free(a);
        free(b);
    }
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
