// The knobs' own rules, and the table that the rows of knob_list.h make.
#include "knobs.h"

#include <assert.h>
#include <string.h>

// --- values ------------------------------------------------------------------------------------------------------------------

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

// Tiles of 16 and 32 columns whose accumulators take from half of the registers that the default's take to two more: fewer leave
// multiply-adds waiting for each other, more are spilled.
static void add_tiles(const Space *space, const Role *role, SpaceKnob *knob) {
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

// Blocks hold whole steps and groups of the weights.
static void add_k_blocks(const Space *space, const Role *role, SpaceKnob *knob) {
    (void)space;
    for (int64_t blocks = 1; blocks <= 8; blocks *= 2) {
        if (role->layout.depth_padded % (plan_whole_k(role) * blocks) == 0) {
            add_value(knob, blocks);
        }
    }
}

static void add_wide_rows(const Space *space, const Role *role, SpaceKnob *knob) {
    (void)space;
    for (int64_t rows = 1; rows <= role->max_rows / 2; rows += rows < 4 ? rows : 2) {
        add_value(knob, rows);
    }
}

// Where the default never decodes a panel once for all tiles, the fp32 panel has no room in the cache.
static void add_widen_tiles(const Space *space, const Role *role, SpaceKnob *knob) {
    static const int64_t values[] = {0, 2, 3, 4, 6};
    (void)space;
    for (size_t i = 0; role->widen_tiles && i < sizeof values / sizeof *values; i++) {
        add_value(knob, values[i]);
    }
}

static void add_orders(const Space *space, const Role *role, SpaceKnob *knob) {
    (void)role;
    for (int64_t order = 0; order < (space->standard.layer.iterations > 1 ? ORDER_COUNT : ORDER_IN_TURNS); order++) {
        add_value(knob, order);
    }
}

static void add_threads(const Space *space, const Role *role, SpaceKnob *knob) {
    (void)role;
    for (int64_t threads = space->threads / 2; threads > 0; threads /= 2) {
        add_value(knob, threads);
    }
}

static void add_bindings(const Space *space, const Role *role, SpaceKnob *knob) {
    (void)role;
    for (int64_t bind = 0; space->threads > 1 && bind < (space->caches > 1 ? BIND_COUNT : BIND_SPREAD); bind++) {
        add_value(knob, bind);
    }
}

// --- what is no plain field --------------------------------------------------------------------------------------------------

static int64_t block_percent(const Space *space, const Plan *plan) {
    return plan->schedule.block_rows * plan->roles[ROLE_GATE_UP].input_stride * 100 / space->l2_bytes;
}

// Whole tiles in a share of the second-level cache. Rows are counted in tiles, so that the tile must be set before.
static void set_block(const Space *space, Plan *plan, int64_t percent) {
    const Role *up = &plan->roles[ROLE_GATE_UP];
    bool standard = percent == block_percent(space, &space->standard);  // which was rounded down
    int64_t rows = standard ? space->standard.schedule.block_rows : space->l2_bytes * percent / 100 / up->input_stride;
    plan->schedule.block_rows = rows > up->max_rows ? rows / up->max_rows * up->max_rows : up->max_rows;
}

static int64_t shared_widen_tiles(const Role *shared, int64_t value) {
    return shared->widen_tiles ? value : 0;
}

static int64_t shared_k_blocks(const Role *shared, int64_t value) {
    return shared->layout.depth_padded % (plan_whole_k(shared) * value) ? 1 : value;
}

// --- what does not go together -----------------------------------------------------------------------------------------------

static const char *wide_misfit(const Space *space, const Plan *plan, const Role *role, const Role *standard) {
    (void)space, (void)plan;
    bool tall = role->wide_rows > role->max_rows || (role->wide_rows > role->max_rows / 2 && role->wide_rows > standard->wide_rows);
    return tall ? "only low tiles take two panels at once: those of up to half of the tallest tile's rows" : NULL;
}

static const char *hint_misfit(const Space *space, const Plan *plan, const Role *role, const Role *standard) {
    (void)space, (void)plan;
    bool idle = !role->prefetch && role->prefetch_hint != standard->prefetch_hint;
    return idle ? "without a prefetch the hint must be the default's" : NULL;
}

static const char *far_misfit(const Space *space, const Plan *plan, const Role *role, const Role *standard) {
    (void)space, (void)plan;
    Role same = *role;
    same.prefetch_far = standard->prefetch_far;
    bool idle = role->prefetch_far ? !plan_prefetches_far(role) : !plan_prefetches_far(&same);
    return role->prefetch_far != standard->prefetch_far && idle ? "where prefetch_far makes no difference it must be the default's"
                                                                : NULL;
}

static const char *bind_misfit(const Space *space, const Plan *plan, const Role *role, const Role *standard) {
    (void)role, (void)standard;
    return plan->schedule.threads == 1 && plan->schedule.bind != space->standard.schedule.bind
               ? "with one thread the binding must be the default's"
               : NULL;
}

// --- the table ---------------------------------------------------------------------------------------------------------------

const Knob knobs[KNOB_COUNT] = {
#define KNOB(enumerator, ...) [enumerator] = {__VA_ARGS__},
#include "knob_list.h"
};

static int64_t field_get(const void *base, KnobField field) {
    int64_t wide = 0;
    int32_t narrow;
    const char *place = (const char *)base + field.offset;
    if (field.bytes == sizeof wide) {
        memcpy(&wide, place, sizeof wide);
        return wide;
    }
    assert(field.bytes == sizeof narrow);
    memcpy(&narrow, place, sizeof narrow);
    return narrow;
}

static void field_set(void *base, KnobField field, int64_t value) {
    int32_t narrow = (int32_t)value;
    char *place = (char *)base + field.offset;
    assert(field.bytes == sizeof value || narrow == value);
    memcpy(place, field.bytes == sizeof value ? (const void *)&value : (const void *)&narrow, field.bytes);
}

static void set_fields(const Knob *knob, void *base, int64_t value) {
    field_set(base, knob->field, knob->columns.bytes ? value / SPACE_TILE_SCALE : value);
    if (knob->columns.bytes) {
        field_set(base, knob->columns, value % SPACE_TILE_SCALE);
    }
}

int64_t knob_get(const Space *space, const Plan *plan, KnobKind kind, int role) {
    const Knob *knob = &knobs[kind];
    const void *base = knob->field.of_role ? (const void *)&plan->roles[role] : (const void *)plan;
    if (knob->get) {
        return knob->get(space, plan);
    }
    int64_t value = field_get(base, knob->field);
    return knob->columns.bytes ? value * SPACE_TILE_SCALE + field_get(base, knob->columns) : value;
}

void knob_set(const Space *space, Plan *plan, KnobKind kind, int role, int64_t value) {
    const Knob *knob = &knobs[kind];
    if (knob->set) {
        knob->set(space, plan, value);
        return;
    }
    if (!knob->field.of_role) {
        set_fields(knob, plan, value);
        return;
    }
    Role *own = &plan->roles[role], *shared = &plan->roles[role == ROLE_GATE_UP ? ROLE_SHARED_GATE_UP : ROLE_SHARED_DOWN];
    set_fields(knob, own, value);
    if (shared->layout.matrices && shared->path == own->path) {
        set_fields(knob, shared, knob->shared_value ? knob->shared_value(shared, value) : value);
    }
}

void knob_fill(const Space *space, SpaceKnob *knob) {
    const Knob *row = &knobs[knob->kind];
    add_value(knob, knob_get(space, &space->standard, knob->kind, knob->role));
    for (int i = 0; i < row->listed_count; i++) {
        add_value(knob, row->listed[i]);
    }
    if (row->add) {
        row->add(space, row->field.of_role ? &space->standard.roles[knob->role] : NULL, knob);
    }
}
