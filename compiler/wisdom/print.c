// Wisdom for people: one line per entry, all of an entry, what two entries decide differently.
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "compiler/base/table.h"
#include "parts.h"

enum { TEXT_BYTES = 256 };

static const json_t *key_of(const json_t *entry) {
    return json_object_get(entry, "key");
}

static const char *key_text(const json_t *entry, const char *name) {
    const char *text = json_string_value(json_object_get(key_of(entry), name));
    return text ? text : "";
}

static long long layer_size(const json_t *entry, const char *name) {
    return (long long)json_integer_value(json_object_get(json_object_get(key_of(entry), "layer"), name));
}

static const char *layer_text(const json_t *entry, const char *name) {
    const char *text = json_string_value(json_object_get(json_object_get(key_of(entry), "layer"), name));
    return text ? text : "?";
}

// "2048 x 1024, 64 experts, k 8, 2 iterations, bf16 weights, fp32 compute"
static const char *describe_layer(const json_t *entry, char text[TEXT_BYTES]) {
    long long iterations = layer_size(entry, "iterations"), shared = layer_size(entry, "shared_experts");
    int used = snprintf(text, TEXT_BYTES, "%lld x %lld, %lld experts", layer_size(entry, "hidden"),
                        layer_size(entry, "intermediate"), layer_size(entry, "experts"));
    if (shared) {
        used += snprintf(text + used, TEXT_BYTES - (size_t)used, " + %lld shared", shared);
    }
    snprintf(text + used, TEXT_BYTES - (size_t)used, ", k %lld, %lld iteration%s, %.20s weights, %.20s compute",
             layer_size(entry, "top_k"), iterations, iterations == 1 ? "" : "s", layer_text(entry, "weights"),
             layer_text(entry, "compute"));
    return text;
}

static long long age_of(const json_t *entry) {
    long long age = (long long)time(NULL) - (long long)json_integer_value(json_object_get(entry, "time"));
    return age > 0 ? age : 0;  // another machine's clock may be ahead
}

// "3 minutes", "1 day": in the largest unit that there is one of.
static const char *describe_age(const json_t *entry, char text[64]) {
    static const struct {
        long long seconds;
        const char *name;
    } units[] = {{86400, "day"}, {3600, "hour"}, {60, "minute"}, {1, "second"}};
    long long age = age_of(entry);
    size_t u = 0;
    while (units[u].seconds > 1 && age < units[u].seconds) {
        u++;
    }
    long long count = age / units[u].seconds;
    snprintf(text, 64, "%lld %s%s", count, units[u].name, count == 1 ? "" : "s");
    return text;
}

// Where the default stays its gain over itself was not measured: that of the candidate was.
static const char *describe_gain(const json_t *entry, char text[TEXT_BYTES]) {
    const json_t *tie = json_object_get(entry, "tie"), *of = entry;
    const char *words = "";
    if (wisdom_entry_default(entry)) {
        if (!tie) {
            return "default stays";
        }
        words = "tie, default stays: ";
        of = tie;
    }
    snprintf(text, TEXT_BYTES, "%s%.3f (%.3f..%.3f)", words, json_number_value(json_object_get(of, "gain")),
             json_number_value(json_object_get(of, "low")), json_number_value(json_object_get(of, "high")));
    return text;
}

static const char *describe_trust(const json_t *entry, char text[TEXT_BYTES]) {
    if (wisdom_entry_trusted(entry)) {
        return "yes";
    }
    snprintf(text, TEXT_BYTES, "no: measured with catena %.60s, LLVM %.60s", key_text(entry, "generator"), key_text(entry, "llvm"));
    return text;
}

static const char *describe_machine(const json_t *entry) {
    const char *cpu = json_string_value(json_object_get(json_object_get(entry, "machine"), "cpu"));
    return cpu ? cpu : key_text(entry, "cpu");
}

static long long threads_of(const json_t *entry) {
    return (long long)json_integer_value(json_object_get(key_of(entry), "threads"));
}

void wisdom_print_list(const json_t *entries, FILE *stream) {
    static const char *const names[] = {"id", "layer", "target", "threads", "age", "machine", "gain", "trusted", "workload"};
    Table table = {0};
    const char *id;
    json_t *entry;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        table_column(&table, names[i], strcmp(names[i], "threads") != 0);
    }
    json_object_foreach((json_t *)entries, id, entry) {
        char layer[TEXT_BYTES], age[64], gain[TEXT_BYTES], trust[TEXT_BYTES];
        table_cell(&table, "%s", id), table_cell(&table, "%s", describe_layer(entry, layer));
        table_cell(&table, "%s", key_text(entry, "target")), table_cell(&table, "%lld", threads_of(entry));
        table_cell(&table, "%s", describe_age(entry, age)), table_cell(&table, "%s", describe_machine(entry));
        table_cell(&table, "%s", describe_gain(entry, gain)), table_cell(&table, "%s", describe_trust(entry, trust));
        table_cell(&table, "%s", key_text(entry, "workload"));
    }
    table_print(&table, stream);
    table_free(&table);
}

void wisdom_print_line(const char *id, const json_t *entry, FILE *stream) {
    char layer[TEXT_BYTES], age[64];
    fprintf(stream, "%s  %s, %s, %lld threads, %s old, catena %s, LLVM %s\n", id, describe_layer(entry, layer),
            key_text(entry, "target"), threads_of(entry), describe_age(entry, age), key_text(entry, "generator"),
            key_text(entry, "llvm"));
}

// --- all of an entry ---------------------------------------------------------------------------------------------------------

// A text as it is, anything else as JSON. ASCII only: it may come from a file of anyone's.
static void add_value(Table *table, const json_t *value) {
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_ENSURE_ASCII | WISDOM_NUMBERS);
    size_t length = text ? strlen(text) : 0;
    if (json_is_string(value) && length >= 2) {
        table_cell(table, "%.*s", (int)length - 2, text + 1);
    } else {
        table_cell(table, "%s", text ? text : "");
    }
    free(text);
}

static void print_object(const char *title, const json_t *object, FILE *stream) {
    Table table = {0};
    const char *name;
    json_t *value;
    table_column(&table, title, true);
    table_column(&table, "", true);
    json_object_foreach((json_t *)object, name, value) {
        table_cell(&table, "%s", name);
        add_value(&table, value);
    }
    fputc('\n', stream);
    table_print(&table, stream);
    table_free(&table);
}

static void print_measurements(const json_t *measurements, FILE *stream) {
    size_t index;
    json_t *value;
    fprintf(stream, "\n%zu measurements, one JSON object a line:\n\n", json_array_size(measurements));
    json_array_foreach(measurements, index, value) {
        char *text = json_dumps(value, JSON_COMPACT | JSON_ENSURE_ASCII | WISDOM_NUMBERS);
        fprintf(stream, "    %s\n", text ? text : "");
        free(text);
    }
}

void wisdom_print_entry(const char *id, const json_t *entry, FILE *stream) {
    static const char *const names[] = {"target", "threads", "workload", "cpu", "topology", "generator", "llvm"};
    char layer[TEXT_BYTES], age[64], gain[TEXT_BYTES], trust[TEXT_BYTES], date[64] = "?";
    time_t when = (time_t)json_integer_value(json_object_get(entry, "time"));
    struct tm parts;
    if (gmtime_r(&when, &parts)) {
        strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S UTC", &parts);
    }
    Table table = {0};
    table_column(&table, "entry", true);
    table_column(&table, id, true);
    table_cell(&table, "layer"), table_cell(&table, "%s", describe_layer(entry, layer));
    table_cell(&table, "gain over the default"), table_cell(&table, "%s", describe_gain(entry, gain));
    table_cell(&table, "trusted"), table_cell(&table, "%s", describe_trust(entry, trust));
    table_cell(&table, "measured"), table_cell(&table, "%s, %s ago", date, describe_age(entry, age));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        table_cell(&table, "%s", names[i]);
        add_value(&table, json_object_get(key_of(entry), names[i]));
    }
    table_print(&table, stream);
    table_free(&table);
    print_object("machine", json_object_get(entry, "machine"), stream);
    print_object("decision", json_object_get(entry, "decisions"), stream);
    print_object("layer", json_object_get(key_of(entry), "layer"), stream);
    print_measurements(json_object_get(entry, "measurements"), stream);
}

json_t *wisdom_print_document(const char *id, const json_t *entry, bool list) {
    json_t *document =
        json_pack("{s:s, s:b, s:I}", "id", id, "trusted", wisdom_entry_trusted(entry), "age_seconds", (json_int_t)age_of(entry));
    json_object_update(document, (json_t *)entry);
    if (list) {
        json_object_del(document, "measurements");
    }
    return document;
}

// --- differences -------------------------------------------------------------------------------------------------------------

// A row where the other's value is another one; missing on either side is "-".
static int add_difference(Table *table, const char *name, const json_t *one, const json_t *other) {
    if (one && other && json_equal(one, other)) {
        return 0;
    }
    char texts[2][32] = {"-", "-"};
    const json_t *values[] = {one, other};
    for (int i = 0; i < 2; i++) {
        if (json_is_string(values[i])) {
            snprintf(texts[i], sizeof texts[i], "%s", json_string_value(values[i]));
        } else if (values[i]) {
            snprintf(texts[i], sizeof texts[i], "%lld", (long long)json_integer_value(values[i]));
        }
    }
    table_cell(table, "%s", name), table_cell(table, "%s", texts[0]), table_cell(table, "%s", texts[1]);
    return 1;
}

int wisdom_print_difference(const char *one_name, const json_t *one, const char *other_name, const json_t *other, FILE *stream) {
    const json_t *mine = json_object_get(one, "decisions"), *theirs = json_object_get(other, "decisions");
    char gain[TEXT_BYTES];
    Table table = {0};
    const char *name;
    json_t *value;
    int differences = 0;
    table_column(&table, "decision", true);
    table_column(&table, one_name, false);
    table_column(&table, other_name, false);
    json_object_foreach((json_t *)mine, name, value) {
        differences += add_difference(&table, name, value, json_object_get(theirs, name));
    }
    json_object_foreach((json_t *)theirs, name, value) {
        if (!json_object_get(mine, name)) {
            differences += add_difference(&table, name, NULL, value);
        }
    }
    table_cell(&table, "gain over the default");
    table_cell(&table, "%s", describe_gain(one, gain));
    table_cell(&table, "%s", describe_gain(other, gain));
    if (differences) {
        table_print(&table, stream);
    } else {
        fprintf(stream, "no decision differs\n");
    }
    table_free(&table);
    return differences;
}
