// What a knob is, and the table of all (its rows: knob_list.h). Inside of knobs.c and space.c.
#ifndef CATENA_KNOBS_H
#define CATENA_KNOBS_H

#include <stddef.h>

#include "space.h"

// A field of Role, or of a plan's schedule (templates/plan.h), 4 or 8 bytes wide.
typedef struct KnobField {
    size_t offset, bytes;  // bytes 0: none
    bool of_role;
} KnobField;
#define ROLE_FIELD(name) {offsetof(Role, name), sizeof(((const Role *)0)->name), true}
#define PLAN_FIELD(name) {offsetof(Plan, schedule.name), sizeof(((const Plan *)0)->schedule.name), false}

enum { KNOB_MAX_LISTED = 8 };
#define VALUES(...) .listed = {__VA_ARGS__}, .listed_count = sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)

// `role` in these functions: the plan's role that the knob belongs to; NULL where the knob is of the whole plan.
typedef struct Knob {
    const char *name;  // as users see it; the role's name comes before that of a role's knob: "gate_up.unroll"
    KnobField field;
    KnobField columns;  // not none: a second field; the knob's value is field * SPACE_TILE_SCALE + columns
    const char *words;  // what it is, for users
    SpaceReach reach;
    SpaceGiven given;
    unsigned tiles;  // SpaceTiles: those whose code it decides; 0: none's
    bool shape;      // it shapes tiles: roles whose path has a fixed shape (PathFacts) have no such knob
    // values, besides the default's
    int64_t listed[KNOB_MAX_LISTED];
    int listed_count;
    void (*add)(const Space *space, const Role *role, SpaceKnob *knob);  // those that depend on the space; `role` of the default
    // NULL: the value is the field's
    int64_t (*get)(const Space *space, const Plan *plan);
    void (*set)(const Space *space, Plan *plan, int64_t value);
    // What a value becomes for the shared experts' role, which has another depth; NULL: it stays.
    int64_t (*shared_value)(const Role *shared, int64_t value);
    // Returns why the plan's values of this knob and of `other` do not go together, or NULL if they do. NULL instead of a function:
    // they always do.
    const char *(*misfit)(const Space *space, const Plan *plan, const Role *role, const Role *standard);
    KnobKind other;
} Knob;

extern const Knob knobs[KNOB_COUNT];

// Reads or changes a knob's value in a plan. Knobs of the whole plan ignore `role`. Where the shared experts' role follows a routed
// one, it is changed too.
int64_t knob_get(const Space *space, const Plan *plan, KnobKind kind, int role);
void knob_set(const Space *space, Plan *plan, KnobKind kind, int role, int64_t value);

// Fills in the values that a knob has in a space, ascending, the default's among them.
void knob_fill(const Space *space, SpaceKnob *knob);

#endif
