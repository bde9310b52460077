// Spaces: which knobs a layer has, how points become plans, and decisions. What knobs there are: knob_list.h.
#include "space.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "knobs.h"
#include "planner.h"

// Paths of a fixed shape have no knobs that shape tiles.
static bool has_knob(const Space *space, KnobKind kind, int role) {
    bool fixed = role < ROLE_COUNT && path_facts[space->standard.roles[role].path].fixed_shape;
    return !(fixed && knobs[kind].shape);
}

// "gate_up.tile", "few_tokens"
static void name_knob(KnobKind kind, int role, char name[SPACE_NAME_BYTES]) {
    snprintf(name, SPACE_NAME_BYTES, "%s%s%s", role < ROLE_COUNT ? role_names[role] : "", role < ROLE_COUNT ? "." : "",
             knobs[kind].name);
}

// Where there is one value only there is no knob.
static void add_knob(Space *space, KnobKind kind, int role) {
    assert(space->knob_count < POINT_MAX_KNOBS);
    SpaceKnob *knob = &space->knobs[space->knob_count];
    const Knob *row = &knobs[kind];
    *knob = (SpaceKnob){.kind = kind,
                        .role = role,
                        .reach = row->reach,
                        .given = row->given,
                        .tiles = row->tiles,
                        .is_tile = row->columns.bytes > 0,
                        .words = row->words};
    name_knob(kind, role, knob->name);
    knob_fill(space, knob);
    space->knob_count += knob->count > 1;
}

// Last-level caches that the allowed cores have.
static int64_t last_level_caches(const Machine *machine) {
    int64_t level = machine->cache_count - 1, most = 0;
    for (int64_t i = 0; level >= 0 && i < machine->unit_count; i++) {
        most = machine->units[i].caches[level] > most ? machine->units[i].caches[level] : most;
    }
    return most + 1;
}

void space_make(const Plan *standard, const Target *target, const Machine *machine, Space *space) {
    *space = (Space){.standard = *standard,
                     .target = target,
                     .l2_bytes = planner_l2_bytes(machine),
                     .threads = machine->threads,
                     .caches = last_level_caches(machine)};
    for (int i = 0; i < SPACE_ROLES; i++) {
        for (KnobKind kind = 0; kind < KNOB_COUNT; kind++) {
            if (knobs[kind].field.of_role && has_knob(space, kind, space_roles[i])) {
                add_knob(space, kind, space_roles[i]);
            }
        }
    }
    for (KnobKind kind = 0; kind < KNOB_COUNT; kind++) {
        if (!knobs[kind].field.of_role) {
            add_knob(space, kind, ROLE_COUNT);
        }
    }
}

double space_size(const Space *space) {
    double size = 1;
    for (int k = 0; k < space->knob_count; k++) {
        size *= space->knobs[k].count;
    }
    return size;
}

// --- points ------------------------------------------------------------------------------------------------------------------

void space_plan(const Space *space, const Point *point, Plan *plan) {
    *plan = space->standard;
    const Point standard = space_standard(space);
    if (!memcmp(point, &standard, sizeof standard)) {
        return;
    }
    for (int k = 0; k < space->knob_count; k++) {
        const SpaceKnob *knob = &space->knobs[k];
        knob_set(space, plan, knob->kind, knob->role, knob->values[point->value[k]]);
    }
}

void space_clear(Plan *plan) {
    for (KnobKind kind = 0; kind < KNOB_COUNT; kind++) {
        const KnobField fields[] = {knobs[kind].field, knobs[kind].columns};
        for (int f = 0; f < 2; f++) {
            for (int r = ROLE_ROUTER + 1; r < ROLE_COUNT; r++) {
                char *base = fields[f].of_role ? (char *)&plan->roles[r] : (char *)plan;
                memset(base + fields[f].offset, 0, fields[f].bytes);
            }
        }
    }
}

// Two knobs of a plan that do not go together.
typedef struct Misfit {
    KnobKind knob;
    int role;  // of both; ROLE_COUNT: of the whole plan
    const char *rule;  // NULL: all go together
} Misfit;

// The first, knobs of roles before others; of each the last rows first, as the knobs that theirs depend on stand above them.
static Misfit find_misfit(const Space *space, const Plan *plan) {
    for (int i = 0; i <= SPACE_ROLES; i++) {
        const int r = i < SPACE_ROLES ? space_roles[i] : ROLE_COUNT;
        const Role *role = r < ROLE_COUNT ? &plan->roles[r] : NULL, *standard = role ? &space->standard.roles[r] : NULL;
        for (int kind = KNOB_COUNT - 1; kind >= 0; kind--) {
            bool here = knobs[kind].misfit && knobs[kind].field.of_role == (role != NULL);
            const char *rule = here ? knobs[kind].misfit(space, plan, role, standard) : NULL;
            if (rule) {
                return (Misfit){(KnobKind)kind, r, rule};
            }
        }
    }
    return (Misfit){.rule = NULL};
}

bool space_valid(const Space *space, const Point *point) {
    Plan plan;
    space_plan(space, point, &plan);
    return !find_misfit(space, &plan).rule;
}

static int index_of(const SpaceKnob *knob, int64_t value) {
    for (int i = 0; i < knob->count; i++) {
        if (knob->values[i] == value) {
            return i;
        }
    }
    return -1;
}

Point space_standard(const Space *space) {
    Point point = {{0}};
    for (int k = 0; k < space->knob_count; k++) {
        const SpaceKnob *knob = &space->knobs[k];
        point.value[k] = (uint8_t)index_of(knob, knob_get(space, &space->standard, knob->kind, knob->role));
    }
    return point;
}

// --- decisions ---------------------------------------------------------------------------------------------------------------

json_t *space_decisions(const Space *space, const Point *point) {
    json_t *decisions = json_object();
    const Point standard = space_standard(space);
    for (int k = 0; k < space->knob_count; k++) {
        const SpaceKnob *knob = &space->knobs[k];
        if (point->value[k] != standard.value[k] &&
            json_object_set_new(decisions, knob->name, json_integer(knob->values[point->value[k]]))) {
            json_decref(decisions);
            return NULL;
        }
    }
    return decisions;
}

int space_role_knob(const Space *space, int role, KnobKind kind) {
    for (int k = 0; k < space->knob_count; k++) {
        if (space->knobs[k].role == role && space->knobs[k].kind == kind) {
            return k;
        }
    }
    return -1;
}

static int find_knob(const Space *space, const char *name) {
    for (int k = 0; k < space->knob_count; k++) {
        if (!strcmp(space->knobs[k].name, name)) {
            return k;
        }
    }
    return -1;
}

// Adds a text to a reason. What has no room is cut off.
static void append(char *reason, size_t reason_bytes, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void append(char *reason, size_t reason_bytes, const char *format, ...) {
    size_t used = strlen(reason);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason + used, reason_bytes - used, format, arguments);
    va_end(arguments);
}

// Writes why a decision cannot be applied: what was found, and which names or values exist. k: index of the knob; -1: no knob has
// that name.
static void explain_decision(const Space *space, int k, const char *name, const json_t *value, char *reason, size_t reason_bytes) {
    char *text = json_dumps(value, JSON_ENCODE_ANY);
    snprintf(reason, reason_bytes,
             k < 0 ? "there is no knob '%.60s' here; expected one of:" : "%.60s cannot be %.40s here; expected one of:", name,
             text ? text : "that");
    free(text);
    for (int i = 0; k < 0 && i < space->knob_count; i++) {
        append(reason, reason_bytes, "%s %s", i ? "," : "", space->knobs[i].name);
    }
    for (int i = 0; k >= 0 && i < space->knobs[k].count; i++) {
        append(reason, reason_bytes, "%s %lld", i ? "," : "", (long long)space->knobs[k].values[i]);
    }
}

static void explain_misfit(const Space *space, const Plan *plan, const Misfit *misfit, char *reason, size_t reason_bytes) {
    KnobKind other = knobs[misfit->knob].other;
    char name[SPACE_NAME_BYTES], other_name[SPACE_NAME_BYTES];
    name_knob(misfit->knob, misfit->role, name);
    name_knob(other, misfit->role, other_name);
    snprintf(reason, reason_bytes, "%s %lld does not go together with %s %lld: %s", name,
             (long long)knob_get(space, plan, misfit->knob, misfit->role), other_name,
             (long long)knob_get(space, plan, other, misfit->role), misfit->rule);
}

int space_read(const Space *space, const json_t *decisions, Point *point, char *reason, size_t reason_bytes) {
    const char *name;
    json_t *value;
    Plan plan;
    *point = space_standard(space);
    if (!json_is_object(decisions)) {
        snprintf(reason, reason_bytes, "found decisions that are not a JSON object");
        return -1;
    }
    json_object_foreach((json_t *)decisions, name, value) {
        int k = find_knob(space, name),
            at = k < 0 || !json_is_integer(value) ? -1 : index_of(&space->knobs[k], json_integer_value(value));
        if (at < 0) {
            explain_decision(space, k, name, value, reason, reason_bytes);
            return -1;
        }
        point->value[k] = (uint8_t)at;
    }
    space_plan(space, point, &plan);
    const Misfit misfit = find_misfit(space, &plan);
    if (misfit.rule) {
        explain_misfit(space, &plan, &misfit, reason, reason_bytes);
        return -1;
    }
    return 0;
}
