// The space that the search looks through: the knobs of a layer's plan on a target and a machine, with the values that make sense
// there. A point of the space is a plan. No knob changes bits or the packed layout.
//
// Knobs are named as users see them: "gate_up.tile", "few_tokens", ... The one place that declares them is knob_list.h.
#ifndef CATENA_SPACE_H
#define CATENA_SPACE_H

#include <jansson.h>

#include "compiler/machine/machine.h"
#include "point.h"
#include "targets/target.h"

enum { SPACE_NAME_BYTES = 32, SPACE_MAX_VALUES = 64, SPACE_TILE_SCALE = 100, SPACE_REASON_BYTES = 1024 };

// The roles that have knobs of their own; those of the shared experts follow them.
enum { SPACE_ROLES = 2 };
static const int space_roles[SPACE_ROLES] = {ROLE_GATE_UP, ROLE_DOWN};

typedef enum KnobKind {
#define KNOB(enumerator, ...) enumerator,
#include "knob_list.h"
    KNOB_COUNT
} KnobKind;

// What a knob can matter for.
typedef enum SpaceReach {
    SPACE_LOW,   // experts with few rows
    SPACE_TALL,  // experts with many rows
    SPACE_FEW,   // few tokens
    SPACE_ALL,
} SpaceReach;

// Why a search may have to leave a knob alone: the caller gave the number of threads, or the machine gives only one kind of pages.
typedef enum SpaceGiven { SPACE_FREE, SPACE_GIVEN_THREADS, SPACE_GIVEN_PAGES } SpaceGiven;

// Kinds of tiles, as bits: the tallest, low ones on one panel, low ones on two panels at once.
typedef enum SpaceTiles {
    SPACE_TALL_TILE = 1,
    SPACE_LOW_TILES = 2,
    SPACE_WIDE_TILES = 4,
    SPACE_EVERY_TILE = SPACE_TALL_TILE | SPACE_LOW_TILES | SPACE_WIDE_TILES,
} SpaceTiles;

typedef struct SpaceKnob {
    char name[SPACE_NAME_BYTES];
    KnobKind kind;
    int role;  // ROLE_COUNT: of the whole plan
    SpaceReach reach;
    SpaceGiven given;
    unsigned tiles;  // SpaceTiles: those whose code it decides
    bool is_tile;    // values are rows * SPACE_TILE_SCALE + columns
    const char *words;  // what it is
    int count;
    int64_t values[SPACE_MAX_VALUES];  // ascending; the default's among them
} SpaceKnob;

typedef struct Space {
    Plan standard;  // the default plan
    const Target *target;
    int64_t l2_bytes, threads;
    int64_t caches;  // of the last level
    int knob_count;
    SpaceKnob knobs[POINT_MAX_KNOBS];
} Space;

// `standard`: the planner's plan of the layer.
void space_make(const Plan *standard, const Target *target, const Machine *machine, Space *space);

// Where a role's knob of that kind is among the knobs; -1 if the role has none.
int space_role_knob(const Space *space, int role, KnobKind kind);

// Points, valid or not.
double space_size(const Space *space);

// Whether a point is a plan of its own. It is not where its tile needs more registers than there are, or where another point stands
// for the same plan (hints without a prefetch, the binding of one thread).
bool space_valid(const Space *space, const Point *point);
void space_plan(const Space *space, const Point *point, Plan *plan);
Point space_standard(const Space *space);
// Sets every field to 0 that any knob may change: what is left is the same for all plans of a space.
void space_clear(Plan *plan);

// A point as {"gate_up.tile": 1432, ...}: the knobs that differ from the default's. New reference; NULL when out of memory.
json_t *space_decisions(const Space *space, const Point *point);
// Reads the point of such an object. Returns 0, or -1 with a reason (SPACE_REASON_BYTES hold all of it): a name or value that the
// space does not have, with those that it has, or two knobs that do not go together.
int space_read(const Space *space, const json_t *decisions, Point *point, char *reason, size_t reason_bytes);

#endif
