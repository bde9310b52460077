// See origin.h.
#include "origin.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include "wisdom.h"

static const char *const fields[] = {"time", "decisions", "gain", "low", "high"};
enum { FIELDS = sizeof fields / sizeof *fields };

// What the cost model predicted of the decisions, as a gain: beside the measurement of the same decisions, which do not say the
// path. 0: they are not among the measurements, or were measured before that was kept.
static double predicted_gain(const json_t *entry) {
    json_t *knobs = json_copy(json_object_get(entry, "decisions"));
    const json_t *row, *predicted = NULL;
    size_t i;
    json_object_del(knobs, "path");
    json_array_foreach(json_object_get(entry, "measurements"), i, row) {
        predicted = json_equal(json_object_get(row, "decisions"), knobs) ? json_object_get(row, "predicted") : predicted;
    }
    json_decref(knobs);
    return json_is_number(predicted) ? exp(-json_number_value(predicted)) : 0;
}

json_t *wisdom_origin(const char *id, const json_t *entry) {
    json_t *origin = json_pack("{s:s}", "id", id);
    double predicted = predicted_gain(entry);
    bool failed =
        !origin || (predicted > 0 && isfinite(predicted) && json_object_set_new(origin, "predicted", json_real(predicted)));
    for (int i = 0; i < FIELDS && !failed; i++) {
        failed = json_object_set(origin, fields[i], json_object_get(entry, fields[i])) != 0;
    }
    if (failed) {
        json_decref(origin);
        return NULL;
    }
    return origin;
}

// Texts are printed: of ids and names of knobs only what those consist of.
static bool consists_of(const char *text, const char *characters) {
    return *text && !text[strspn(text, characters)];
}

bool wisdom_decision_check(const char *name, const json_t *value) {
    if (strcmp(name, "path")) {
        return json_is_integer(value);
    }
    return json_is_string(value) && consists_of(json_string_value(value), "abcdefghijklmnopqrstuvwxyz0123456789_");
}

static bool decisions_good(const json_t *decisions) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)decisions, name, value) {
        if (!wisdom_decision_check(name, value) || !consists_of(name, "abcdefghijklmnopqrstuvwxyz0123456789_.")) {
            return false;
        }
    }
    return json_is_object(decisions);
}

bool wisdom_origin_check(const json_t *origin) {
    const char *id = json_string_value(json_object_get(origin, "id"));
    const json_t *time = json_object_get(origin, "time"), *predicted = json_object_get(origin, "predicted");
    if (json_is_null(origin)) {
        return true;
    }
    return id && strlen(id) == WISDOM_ID_BYTES - 1 && consists_of(id, "0123456789abcdef") && json_is_integer(time) &&
           json_integer_value(time) >= 0 && decisions_good(json_object_get(origin, "decisions")) &&
           json_is_number(json_object_get(origin, "gain")) && json_is_number(json_object_get(origin, "low")) &&
           json_is_number(json_object_get(origin, "high")) && (!predicted || json_is_number(predicted)) &&
           json_object_size(origin) == FIELDS + 1 + (predicted != NULL);
}

void wisdom_origin_print(const json_t *origin, FILE *stream) {
    json_t *decisions = json_object_get(origin, "decisions"), *value;
    time_t when = (time_t)json_integer_value(json_object_get(origin, "time"));
    char date[32] = "at a time unknown";
    const char *name, *separator = ":";
    struct tm parts;
    if (!json_is_object(origin)) {
        fprintf(stream, "plan: default\n");
        return;
    }
    if (gmtime_r(&when, &parts)) {
        strftime(date, sizeof date, "%Y-%m-%d", &parts);
    }
    double gain = json_number_value(json_object_get(origin, "gain"));
    bool same_path = json_object_get(decisions, "path") && gain <= 1;  // the default's own, which was found where bits are free
    if (json_object_size(decisions) > same_path) {
        fprintf(stream, "plan: tuned (gain %.3f, %.3f to %.3f", gain, json_number_value(json_object_get(origin, "low")),
                json_number_value(json_object_get(origin, "high")));
        if (json_object_get(origin, "predicted")) {
            fprintf(stream, "; predicted %.3f", json_number_value(json_object_get(origin, "predicted")));
        }
    } else {
        fprintf(stream, "plan: default (no search found anything surely faster");
    }
    fprintf(stream, "; measured %s, wisdom %s)", date, json_string_value(json_object_get(origin, "id")));
    json_object_foreach(decisions, name, value) {
        fprintf(stream, "%s %s ", separator, name);
        if (json_is_string(value)) {
            fputs(json_string_value(value), stream);
        } else {
            fprintf(stream, "%lld", (long long)json_integer_value(value));
        }
        separator = ",";
    }
    fputc('\n', stream);
}
