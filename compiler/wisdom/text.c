// The text of a wisdom file:
//
//     {"catena wisdom": 1, "entries": {"0123456789abcdef": {...}, ...}}
//
// "catena wisdom" is the version of this form and tells wisdom from any other JSON. An entry that cannot be used does not harm the
// others: a typing error must not cost the hours that they took to measure.
#include <stdlib.h>
#include <string.h>

#include "compiler/description/position.h"
#include "parts.h"

static const char marker[] = "catena wisdom";

static void report_root(const WisdomSource *source, const char *key, const char *text) {
    const Place root = {NULL, NULL, 0}, place = {&root, key, 0};
    Position position = spec_position_find(source->text, source->bytes, key ? &place : &root, PLACE_VALUE);
    diagnostics_add(source->diagnostics, source->name, position.line, position.column, "%s", text);
}

// Sorts the entries into those that can be used and those that cannot.
static WisdomState sort_entries(const WisdomSource *source, const json_t *root, Wisdom *wisdom) {
    json_t *entries = json_object_get(root, "entries"), *entry;
    const char *id;
    bool failed;
    if (!json_is_object(entries)) {
        report_root(source, entries ? "entries" : NULL, "expected an object \"entries\"");
        return WISDOM_DAMAGED;
    }
    *wisdom = (Wisdom){json_object(), json_object()};
    failed = !wisdom->entries || !wisdom->refused;
    json_object_foreach(entries, id, entry) {
        bool good = wisdom_entry_check(source, id, entry);
        failed = failed || json_object_set(good ? wisdom->entries : wisdom->refused, id, entry);
    }
    if (failed) {
        diagnostics_add(source->diagnostics, source->name, 0, 0, "out of memory");
        return WISDOM_UNUSABLE;
    }
    return WISDOM_FINE;
}

static WisdomState read_root(const WisdomSource *source, const json_t *root, Wisdom *wisdom) {
    const json_t *version = json_object_get(root, marker);
    char text[128];
    if (!version) {
        report_root(source, NULL, "this is something else: expected an object that begins with \"catena wisdom\"");
        return WISDOM_UNUSABLE;
    }
    if (json_is_integer(version) && json_integer_value(version) > WISDOM_VERSION) {
        snprintf(text, sizeof text, "written by a newer catena: found version %lld, expected %d or less",
                 (long long)json_integer_value(version), WISDOM_VERSION);
        report_root(source, marker, text);
        return WISDOM_UNUSABLE;
    }
    if (!json_is_integer(version) || json_integer_value(version) < 1) {
        report_root(source, marker, "expected the version, an integer from 1 up");
        return WISDOM_DAMAGED;
    }
    return sort_entries(source, root, wisdom);
}

WisdomState wisdom_text_read(const char *text, size_t bytes, const char *name, Wisdom *wisdom, Diagnostics *diagnostics) {
    const WisdomSource source = {name, text, bytes, diagnostics};
    json_error_t error;
    *wisdom = (Wisdom){NULL, NULL};
    if (bytes > WISDOM_MAX_BYTES) {
        diagnostics_add(diagnostics, name, 0, 0, "found %zu bytes, expected at most %d", bytes, WISDOM_MAX_BYTES);
        return WISDOM_DAMAGED;
    }
    json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
    if (!root) {
        diagnostics_add(diagnostics, name, error.line > 0 ? error.line : 1, error.column > 0 ? error.column : 1, "%s", error.text);
        return json_error_code(&error) == json_error_out_of_memory ? WISDOM_UNUSABLE : WISDOM_DAMAGED;
    }
    WisdomState state = read_root(&source, root, wisdom);
    if (state != WISDOM_FINE) {
        wisdom_clear(wisdom);
    }
    json_decref(root);
    return state;
}

void wisdom_clear(Wisdom *wisdom) {
    json_decref(wisdom->entries);
    json_decref(wisdom->refused);
    *wisdom = (Wisdom){NULL, NULL};
}

char *wisdom_text_write(const json_t *entries) {
    json_t *root = json_pack("{s:i, s:O}", marker, WISDOM_VERSION, "entries", entries);
    char *text = root ? json_dumps(root, JSON_INDENT(1) | WISDOM_NUMBERS) : NULL;
    json_decref(root);
    return text;
}
