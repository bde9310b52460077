// Knobs: what they are called, which values they take, and how a plan is made of them.
#include "space.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "planner.h"

// X(enumerator, name, of a role, reach, in words)
//
// tile: rows * 100 + columns of the tallest tile. block: percent of a core's L2 that a block of activations may take. Others are
// fields of Role or Plan (templates/plan.h).
#define KNOB_LIST(X) \
    X(KNOB_TILE, "tile", true, SPACE_ALL, "rows x columns of the tallest tile") \
    X(KNOB_UNROLL, "unroll", true, SPACE_ALL, "multiply-add steps per round of a tile's loop") \
    X(KNOB_PREFETCH, "prefetch", true, SPACE_LOW, "bytes ahead that low tiles fetch weights; 0: not at all") \
    X(KNOB_FAR, "prefetch_far", true, SPACE_LOW, "and into the second-level cache; 0: only once") \
    X(KNOB_HINT, "prefetch_hint", true, SPACE_LOW, "how near: 3 first-level cache, 2 second, 0 as data read once") \
    X(KNOB_AHEAD, "ahead_hint", true, SPACE_ALL, "the same of the next panel, which tall tiles fetch; -1: they do not") \
    X(KNOB_K_BLOCKS, "k_blocks", true, SPACE_ALL, "of k, which tall tiles take one after the other") \
    X(KNOB_WIDE, "wide_rows", true, SPACE_LOW, "tiles of up to so many rows take two panels at once") \
    X(KNOB_WIDEN, "widen_tiles", true, SPACE_TALL, "from so many tiles on a panel is widened once for all; 0: never") \
    X(KNOB_BLOCK, "block", false, SPACE_TALL, "percent of a core's L2 that a block of rows may take") \
    X(KNOB_FEW, "few_tokens", false, SPACE_FEW, "up to so many tokens every thread selects for all") \
    X(KNOB_UP_TASKS, "up_tasks", false, SPACE_ALL, "gate/up tasks per thread") \
    X(KNOB_DOWN_TASKS, "down_tasks", false, SPACE_ALL, "down tasks per thread") \
    X(KNOB_FEW_UP, "few_up_tasks", false, SPACE_FEW, "gate/up tasks per thread of calls with few_tokens or less") \
    X(KNOB_FEW_DOWN, "few_down_tasks", false, SPACE_FEW, "down tasks per thread of calls with few_tokens or less") \
    X(KNOB_FLOOR, "floor_rows", false, SPACE_LOW, "rows that an expert's time is counted as at least") \
    X(KNOB_ORDER, "up_order", false, SPACE_ALL, "gate/up walks the pool 0 forwards, 1 backwards, 2 by turns") \
    X(KNOB_THREADS, "threads", false, SPACE_ALL, "0: all that may be used") \
    X(KNOB_BIND, "bind", false, SPACE_ALL, "threads to cores: 0 no, 1 sharing caches, 2 caches in turn") \
    X(KNOB_PAGES, "huge_pages", false, SPACE_ALL, "1: of weights and workspace")

#define KNOB_ENUMERATOR(enumerator, ...) enumerator,
typedef enum KnobKind { KNOB_LIST(KNOB_ENUMERATOR) KNOB_COUNT } KnobKind;

#define KNOB_ROW(enumerator, name, of_role, reach, words) {name, of_role, reach, words},
static const struct {
    const char *name;
    bool of_role;
    SpaceReach reach;
    const char *words;
} knob_rows[] = {KNOB_LIST(KNOB_ROW)};

static int shared_role(int role) {
    return role == ROLE_GATE_UP ? ROLE_SHARED_GATE_UP : ROLE_SHARED_DOWN;
}

static int64_t percent_of_l2(const Space *space, const Plan *plan) {
    return plan->block_rows * plan->roles[ROLE_GATE_UP].input_stride * 100 / space->l2_bytes;
}

// --- values ------------------------------------------------------------------------------------------------------------------

static int64_t value_of(const Space *space, const Plan *plan, const SpaceKnob *knob) {
    const Role *role = &plan->roles[knob->role < ROLE_COUNT ? knob->role : 0];
    switch ((KnobKind)knob->kind) {
    case KNOB_TILE: return role->max_rows * SPACE_TILE_SCALE + role->tile_columns;
    case KNOB_UNROLL: return role->unroll;
    case KNOB_PREFETCH: return role->prefetch;
    case KNOB_FAR: return role->prefetch_far;
    case KNOB_HINT: return role->prefetch_hint;
    case KNOB_AHEAD: return role->ahead_hint;
    case KNOB_K_BLOCKS: return role->k_blocks;
    case KNOB_WIDE: return role->wide_rows;
    case KNOB_WIDEN: return role->widen_tiles;
    case KNOB_BLOCK: return percent_of_l2(space, plan);
    case KNOB_FEW: return plan->few_tokens;
    case KNOB_UP_TASKS: return plan->up_tasks;
    case KNOB_DOWN_TASKS: return plan->down_tasks;
    case KNOB_FEW_UP: return plan->few_up_tasks;
    case KNOB_FEW_DOWN: return plan->few_down_tasks;
    case KNOB_FLOOR: return plan->floor_rows;
    case KNOB_ORDER: return plan->up_order;
    case KNOB_THREADS: return plan->threads;
    case KNOB_BIND: return plan->bind;
    case KNOB_PAGES: return plan->huge_pages;
    case KNOB_COUNT: break;
    }
    return 0;
}

// Adds a value at its place, once.
static void add_value(SpaceKnob *knob, int64_t value) {
    int at = knob->count;
    for (int i = 0; i < knob->count; i++) {
        if (knob->values[i] == value) {
            return;
        }
    }
    assert(knob->count < SPACE_MAX_VALUES);
    for (; at > 0 && knob->values[at - 1] > value; at--) {
        knob->values[at] = knob->values[at - 1];
    }
    knob->values[at] = value;
    knob->count++;
}

static void add_values(SpaceKnob *knob, const int64_t *values, int count) {
    for (int i = 0; i < count; i++) {
        add_value(knob, values[i]);
    }
}
#define ADD_VALUES(knob, ...) \
    add_values(knob, (const int64_t[]){__VA_ARGS__}, (int)(sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)))

// Tiles of 16 and 32 columns whose accumulators take from half of the registers that the default's take to two more: fewer leave
// multiply-adds waiting for each other, more are spilled.
static void add_tiles(const Space *space, SpaceKnob *knob) {
    const Role *role = &space->standard.roles[knob->role];
    int lanes = space->target->lanes, most = role->max_rows * role->tile_columns / lanes + 2;
    for (int columns = lanes > 16 ? lanes : 16; columns <= PANEL_COLUMNS; columns *= 2) {
        int step = columns < PANEL_COLUMNS ? 2 : 1;
        for (int rows = step; rows <= TILE_MAX_ROWS; rows += step) {
            int used = rows * columns / lanes;
            if (used <= most && used >= most / 2) {
                add_value(knob, rows * SPACE_TILE_SCALE + columns);
            }
        }
    }
}

static void fill_knob(const Space *space, SpaceKnob *knob) {
    const Role *role = &space->standard.roles[knob->role < ROLE_COUNT ? knob->role : 0];
    add_value(knob, value_of(space, &space->standard, knob));
    switch ((KnobKind)knob->kind) {
    case KNOB_TILE: add_tiles(space, knob); break;
    case KNOB_UNROLL: ADD_VALUES(knob, 1, 2, 4, 8); break;
    case KNOB_PREFETCH: ADD_VALUES(knob, 0, 512, 1024, 2048, 3072, 4096, 8192); break;
    case KNOB_FAR: ADD_VALUES(knob, 0, 4096, 8192, 16384); break;
    case KNOB_HINT: ADD_VALUES(knob, 0, 2, 3); break;
    case KNOB_AHEAD: ADD_VALUES(knob, -1, 0, 2, 3); break;
    case KNOB_K_BLOCKS:
        for (int64_t blocks = 1, whole = plan_whole_k(role); blocks <= 8; blocks *= 2) {
            if (role->depth_padded % (whole * blocks) == 0) {
                add_value(knob, blocks);
            }
        }
        break;
    case KNOB_WIDE:
        for (int64_t rows = 1; rows <= role->max_rows / 2; rows += rows < 4 ? rows : 2) {
            add_value(knob, rows);
        }
        break;
    case KNOB_WIDEN:
        if (role->widen_tiles) {  // elsewhere a widened panel has no place in the cache
            ADD_VALUES(knob, 0, 2, 3, 4, 6);
        }
        break;
    case KNOB_BLOCK: ADD_VALUES(knob, 12, 25, 50, 75, 100); break;
    case KNOB_FEW: ADD_VALUES(knob, 1, 4, 8, 16, 32, 64, 128); break;
    case KNOB_UP_TASKS: ADD_VALUES(knob, 1, 2, 4, 8, 16, 32); break;
    case KNOB_DOWN_TASKS: ADD_VALUES(knob, 1, 2, 4, 8); break;
    case KNOB_FEW_UP: ADD_VALUES(knob, 1, 2, 4, 8, 16); break;
    case KNOB_FEW_DOWN: ADD_VALUES(knob, 1, 2, 4, 8); break;
    case KNOB_FLOOR: ADD_VALUES(knob, 1, 2, 4, 8); break;
    case KNOB_ORDER:
        for (int64_t order = 0; order < (space->standard.layer.iterations > 1 ? ORDER_COUNT : ORDER_IN_TURNS); order++) {
            add_value(knob, order);
        }
        break;
    case KNOB_THREADS:
        for (int64_t threads = space->threads / 2; threads > 0; threads /= 2) {
            add_value(knob, threads);
        }
        break;
    case KNOB_BIND:
        for (int64_t bind = 0; space->threads > 1 && bind < (space->caches > 1 ? BIND_COUNT : BIND_SPREAD); bind++) {
            add_value(knob, bind);
        }
        break;
    case KNOB_PAGES: ADD_VALUES(knob, 0, 1); break;
    case KNOB_COUNT: break;
    }
}

// Instructions whose registers are tiles themselves have one shape.
static bool has_knob(const Space *space, int kind, int role) {
    bool fixed = role < ROLE_COUNT && path_facts[space->standard.roles[role].path].fixed_shape;
    return !(fixed && (kind == KNOB_TILE || kind == KNOB_UNROLL || kind == KNOB_K_BLOCKS));
}

// "gate_up.tile", "few_tokens"
static void name_knob(int kind, int role, char name[SPACE_NAME_BYTES]) {
    snprintf(name, SPACE_NAME_BYTES, "%s%s%s", role < ROLE_COUNT ? role_names[role] : "", role < ROLE_COUNT ? "." : "",
             knob_rows[kind].name);
}

static void add_knob(Space *space, int kind, int role) {
    SpaceKnob *knob = &space->knobs[space->knob_count];
    *knob = (SpaceKnob){.kind = kind, .role = role, .reach = knob_rows[kind].reach, .words = knob_rows[kind].words};
    name_knob(kind, role, knob->name);
    fill_knob(space, knob);
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
        for (int kind = 0; kind < KNOB_COUNT; kind++) {
            if (knob_rows[kind].of_role && has_knob(space, kind, space_roles[i])) {
                add_knob(space, kind, space_roles[i]);
            }
        }
    }
    for (int kind = 0; kind < KNOB_COUNT; kind++) {
        if (!knob_rows[kind].of_role) {
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

static void set_role(Role *role, KnobKind kind, int64_t value) {
    switch (kind) {
    case KNOB_TILE:
        role->max_rows = (int32_t)(value / SPACE_TILE_SCALE);
        role->tile_columns = (int32_t)(value % SPACE_TILE_SCALE);
        break;
    case KNOB_UNROLL: role->unroll = (int32_t)value; break;
    case KNOB_PREFETCH: role->prefetch = (int32_t)value; break;
    case KNOB_FAR: role->prefetch_far = (int32_t)value; break;
    case KNOB_HINT: role->prefetch_hint = (int32_t)value; break;
    case KNOB_AHEAD: role->ahead_hint = (int32_t)value; break;
    case KNOB_K_BLOCKS: role->k_blocks = (int32_t)value; break;
    case KNOB_WIDE: role->wide_rows = (int32_t)value; break;
    case KNOB_WIDEN: role->widen_tiles = (int32_t)value; break;
    default: break;
    }
}

// What a value for a routed role becomes for the shared experts' role, which has another depth.
static int64_t shared_value(const Role *shared, KnobKind kind, int64_t value) {
    switch (kind) {
    case KNOB_WIDEN: return shared->widen_tiles ? value : 0;
    case KNOB_K_BLOCKS: return shared->depth_padded % (2 * value) ? 1 : value;
    default: return value;
    }
}

static void set_plan(Plan *plan, KnobKind kind, int64_t value) {
    switch (kind) {
    case KNOB_FEW: plan->few_tokens = value; break;
    case KNOB_UP_TASKS: plan->up_tasks = value; break;
    case KNOB_DOWN_TASKS: plan->down_tasks = value; break;
    case KNOB_FEW_UP: plan->few_up_tasks = value; break;
    case KNOB_FEW_DOWN: plan->few_down_tasks = value; break;
    case KNOB_FLOOR: plan->floor_rows = value; break;
    case KNOB_ORDER: plan->up_order = (int32_t)value; break;
    case KNOB_THREADS: plan->threads = (int32_t)value; break;
    case KNOB_BIND: plan->bind = (int32_t)value; break;
    case KNOB_PAGES: plan->huge_pages = (int32_t)value; break;
    default: break;
    }
}

// Whole tiles in a share of the second-level cache.
static void set_block(const Space *space, Plan *plan, int64_t percent) {
    const Role *up = &plan->roles[ROLE_GATE_UP];
    bool standard = percent == percent_of_l2(space, &space->standard);  // which was rounded down
    int64_t rows = standard ? space->standard.block_rows : space->l2_bytes * percent / 100 / up->input_stride;
    plan->block_rows = rows > up->max_rows ? rows / up->max_rows * up->max_rows : up->max_rows;
}

void space_plan(const Space *space, const Point *point, Plan *plan) {
    *plan = space->standard;
    const Point standard = space_standard(space);
    if (!memcmp(point, &standard, sizeof standard)) {
        return;
    }
    for (int k = 0; k < space->knob_count; k++) {
        const SpaceKnob *knob = &space->knobs[k];
        int64_t value = knob->values[point->value[k]];
        if (knob->role == ROLE_COUNT) {
            set_plan(plan, (KnobKind)knob->kind, value);
            continue;
        }
        set_role(&plan->roles[knob->role], (KnobKind)knob->kind, value);
        Role *shared = &plan->roles[shared_role(knob->role)];
        if (shared->matrices && shared->path == plan->roles[knob->role].path) {
            set_role(shared, (KnobKind)knob->kind, shared_value(shared, (KnobKind)knob->kind, value));
        }
    }
    for (int k = 0; k < space->knob_count; k++) {  // in rows of the tile that was just set
        if (space->knobs[k].kind == KNOB_BLOCK) {
            set_block(space, plan, space->knobs[k].values[point->value[k]]);
        }
    }
}

// Two knobs of a plan that do not go together.
typedef struct Misfit {
    KnobKind knob, other;
    int role;  // of both; ROLE_COUNT: of the whole plan
    const char *rule;  // NULL: all go together
} Misfit;

static Misfit find_misfit(const Space *space, const Plan *plan) {
    for (int i = 0; i < SPACE_ROLES; i++) {
        const int r = space_roles[i];
        const Role *role = &plan->roles[r], *standard = &space->standard.roles[r];
        if (role->wide_rows > role->max_rows || (role->wide_rows > role->max_rows / 2 && role->wide_rows > standard->wide_rows)) {
            return (Misfit){KNOB_WIDE, KNOB_TILE, r, "two panels at once are for low tiles, up to half of the tallest's rows"};
        }
        if (!role->prefetch && role->prefetch_hint != standard->prefetch_hint) {
            return (Misfit){KNOB_HINT, KNOB_PREFETCH, r, "where nothing is prefetched the hint stays the default's"};
        }
        Role same = *role;
        same.prefetch_far = standard->prefetch_far;
        if (role->prefetch_far != standard->prefetch_far &&
            (role->prefetch_far ? !plan_prefetches_far(role) : !plan_prefetches_far(&same))) {
            return (Misfit){KNOB_FAR, KNOB_PREFETCH, r, "where it makes no difference the far one stays the default's"};
        }
    }
    if (plan->threads == 1 && plan->bind != space->standard.bind) {
        return (Misfit){KNOB_BIND, KNOB_THREADS, ROLE_COUNT, "one thread keeps the default's binding"};
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
        point.value[k] = (uint8_t)index_of(&space->knobs[k], value_of(space, &space->standard, &space->knobs[k]));
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

int space_role_knob(const Space *space, int role, const char *name) {
    for (int k = 0; k < space->knob_count; k++) {
        if (space->knobs[k].role == role && !strcmp(knob_rows[space->knobs[k].kind].name, name)) {
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

// Adds to a reason what there is; what has no room is left out.
static void append(char *reason, size_t reason_bytes, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void append(char *reason, size_t reason_bytes, const char *format, ...) {
    size_t used = strlen(reason);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason + used, reason_bytes - used, format, arguments);
    va_end(arguments);
}

// Why a decision is none: what was found, and what there is. k: the knob; -1: there is none of that name.
static void explain_decision(const Space *space, int k, const char *name, const json_t *value, char *reason, size_t reason_bytes) {
    char *text = json_dumps(value, JSON_ENCODE_ANY);
    snprintf(reason, reason_bytes, k < 0 ? "there is no knob '%.60s' here, but" : "%.60s cannot be %.40s here, but", name,
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
    const SpaceKnob one = {.kind = misfit->knob, .role = misfit->role}, other = {.kind = misfit->other, .role = misfit->role};
    char one_name[SPACE_NAME_BYTES], other_name[SPACE_NAME_BYTES];
    name_knob(one.kind, one.role, one_name);
    name_knob(other.kind, other.role, other_name);
    snprintf(reason, reason_bytes, "%s %lld does not go together with %s %lld: %s", one_name,
             (long long)value_of(space, plan, &one), other_name, (long long)value_of(space, plan, &other), misfit->rule);
}

int space_read(const Space *space, const json_t *decisions, Point *point, char *reason, size_t reason_bytes) {
    const char *name;
    json_t *value;
    Plan plan;
    *point = space_standard(space);
    if (!json_is_object(decisions)) {
        snprintf(reason, reason_bytes, "decisions are no object");
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
