// The space of the search: points are plans, decisions are points, and nothing in it touches bits or the packed layout.
#include <stdlib.h>
#include <string.h>

#include "compiler/emit/emit.h"
#include "compiler/measure/synthetic.h"
#include "compiler/plan/space.h"
#include "compiler/plan/text.h"
#include "fixture.h"
#include "suites.h"

enum { LAYERS = 24, POINTS = 200 };
static const char *const target_names[] = {"avx512", "avx2", "neon", "generic"};

static Space space_of(uint64_t seed) {
    const Machine machine = {
        .threads = 4, .cache_count = 1, .caches = {{.level = 2, .bytes = 1 << 20, .line_bytes = 64, .shared_by = 1}}};
    const Target *target = target_find(target_names[seed % 4]);
    Layer layer = fixture_layer(seed);
    Plan plan = plan_default(&layer, target, &machine, NULL);
    Space space;
    space_make(&plan, target, &machine, &space);
    return space;
}

static Point random_point(const Space *space, uint64_t *state) {
    Point point = {{0}};
    for (int k = 0; k < space->knob_count; k++) {
        point.value[k] = (uint8_t)(synthetic_next(state) % (uint64_t)space->knobs[k].count);
    }
    return point;
}

START_TEST(test_standard) {
    Space space = space_of((uint64_t)_i);
    Point point = space_standard(&space);
    Plan plan;
    ck_assert(space_valid(&space, &point));
    space_plan(&space, &point, &plan);
    ck_assert_mem_eq(&plan, &space.standard, sizeof plan);
    json_t *decisions = space_decisions(&space, &point);
    ck_assert_uint_eq(json_object_size(decisions), 0);
    json_decref(decisions);
    ck_assert(space_size(&space) > 1000);
}
END_TEST

// Tiles fit their registers and tables, blocks are whole tiles, and what the packed layout follows from is the default's.
static void check_plan(const Space *space, const Plan *plan) {
    const Plan *standard = &space->standard;
    Plan again = *plan;
    plan_layout(&again);
    ck_assert_mem_eq(&again, plan, sizeof again);
    ck_assert_int_eq(plan->layout.instance_bytes, standard->layout.instance_bytes);
    ck_assert_int_eq(plan->schedule.chunk_tokens, standard->schedule.chunk_tokens);
    for (int r = 0; r < ROLE_COUNT; r++) {
        const Role *role = &plan->roles[r];
        if (!role->layout.matrices) {
            continue;
        }
        ck_assert_int_eq(role->path, standard->roles[r].path);
        ck_assert_int_eq(role->layout.offset, standard->roles[r].layout.offset);
        ck_assert_msg(role->max_rows >= 1 && role->max_rows <= TILE_MAX_ROWS && role->wide_rows <= role->max_rows,
                      "role %d: %d rows, two panels up to %d", r, role->max_rows, role->wide_rows);
        ck_assert_int_le(role->max_rows * role->tile_columns / space->target->lanes,
                         standard->roles[r].max_rows * standard->roles[r].tile_columns / space->target->lanes + 2);
        ck_assert(role->unroll >= 1 && role->prefetch >= 0 && role->widen_tiles >= 0);
    }
    ck_assert_int_eq(plan->schedule.block_rows % plan->roles[ROLE_GATE_UP].max_rows, 0);
    ck_assert(plan->schedule.block_rows > 0 && plan->schedule.few_tokens >= 1 && plan->schedule.up_tasks >= 1 &&
              plan->schedule.down_tasks >= 1);
}

START_TEST(test_points_are_plans) {
    Space space = space_of((uint64_t)_i);
    uint64_t state = (uint64_t)_i;
    int valid = 0;
    for (int i = 0; i < POINTS; i++) {
        Point point = random_point(&space, &state);
        Plan plan, parsed;
        Diagnostics diagnostics = {0};
        if (!space_valid(&space, &point)) {
            continue;
        }
        valid++;
        space_plan(&space, &point, &plan);
        check_plan(&space, &plan);
        char *text = plan_print(&plan);
        ck_assert_int_eq(plan_parse(text, "plan", &parsed, &diagnostics), 0);
        ck_assert_mem_eq(&parsed, &plan, sizeof plan);
        free(text);
    }
    ck_assert_int_gt(valid, POINTS / 20);
}
END_TEST

// Each value of each knob makes another plan, but for blocks: two shares of a cache may hold the same whole tiles.
START_TEST(test_knobs_matter) {
    Space space = space_of((uint64_t)_i);
    Plan plan;
    for (int k = 0; k < space.knob_count; k++) {
        for (int v = 0; v < space.knobs[k].count; v++) {
            Point point = space_standard(&space);
            bool same = v == point.value[k] || !strcmp(space.knobs[k].name, "block");
            point.value[k] = (uint8_t)v;
            space_plan(&space, &point, &plan);
            ck_assert_msg(same || memcmp(&plan, &space.standard, sizeof plan), "%s = %lld changes nothing", space.knobs[k].name,
                          (long long)space.knobs[k].values[v]);
            ck_assert(!v || space.knobs[k].values[v] > space.knobs[k].values[v - 1]);
        }
    }
}
END_TEST

// Once cleared, all plans of a space are the same, and a plan of no space is changed in nothing else.
START_TEST(test_clear) {
    Space space = space_of((uint64_t)_i);
    uint64_t state = (uint64_t)_i + 7;
    Plan first = space.standard, plan;
    space_clear(&first);
    for (int i = 0; i < POINTS; i++) {
        Point point = random_point(&space, &state);
        space_plan(&space, &point, &plan);
        space_clear(&plan);
        ck_assert_mem_eq(&plan, &first, sizeof plan);
    }
    ck_assert_int_eq(first.schedule.chunk_tokens, space.standard.schedule.chunk_tokens);
    ck_assert_int_eq(first.roles[ROLE_DOWN].layout.panels, space.standard.roles[ROLE_DOWN].layout.panels);
    ck_assert_mem_eq(&first.roles[ROLE_ROUTER], &space.standard.roles[ROLE_ROUTER], sizeof(Role));
}
END_TEST

static Object tile_of(const Space *space, const Point *point, int rows, int panels) {
    Diagnostics diagnostics = {0};
    Plan plan;
    space_plan(space, point, &plan);
    Role *role = &plan.roles[ROLE_GATE_UP];
    role->wide_rows = panels == 2 ? rows : 0;
    Object object = emit_single_tile(space->target, role, TILE_PACKED, rows ? rows : role->max_rows, panels, &diagnostics);
    ck_assert_msg(object != NULL, "%s", diagnostics.text);
    return object;
}

// Whether some value of a knob makes another code of a tile. rows 0: the tallest.
static bool decides_code(const Space *space, int k, int rows, int panels) {
    Point point = space_standard(space);
    Object standard = tile_of(space, &point, rows, panels);
    bool differs = false;
    for (int i = 0; i < 3 && !differs; i++) {  // the first value, one from the middle, the last
        point.value[k] = (uint8_t)(i * (space->knobs[k].count - 1) / 2);
        Object other = tile_of(space, &point, rows, panels);
        differs = LLVMGetBufferSize(other) != LLVMGetBufferSize(standard) ||
                  memcmp(LLVMGetBufferStart(other), LLVMGetBufferStart(standard), LLVMGetBufferSize(standard)) != 0;
        LLVMDisposeMemoryBuffer(other);
    }
    LLVMDisposeMemoryBuffer(standard);
    return differs;
}

// What a row says of the tiles whose code a knob decides is so.
START_TEST(test_tiles) {
    static const struct {
        unsigned tiles;
        int rows, panels;
    } kinds[] = {{SPACE_TALL_TILE, 0, 1}, {SPACE_LOW_TILES, 2, 1}, {SPACE_WIDE_TILES, 2, 2}};
    const Machine machine = {.threads = 4};
    const Target *target = target_find("avx2");
    Layer layer = fixture_neutral((Layer){.hidden = 256,
                                          .iterations = 1,
                                          .experts = 8,
                                          .intermediate = 128,
                                          .top_k = 2,
                                          .gated = 1,
                                          .scale = 1,
                                          .weights = _i ? FORMAT_BF16 : FORMAT_FP32});
    Plan plan = plan_default(&layer, target, &machine, NULL);
    Space space;
    int knobs = 0;
    space_make(&plan, target, &machine, &space);
    for (int k = 0; k < space.knob_count; k++) {
        for (int kind = 0; kind < 3 && space.knobs[k].role == ROLE_GATE_UP; kind++, knobs++) {
            bool said = space.knobs[k].tiles & kinds[kind].tiles;
            ck_assert_msg(said == decides_code(&space, k, kinds[kind].rows, kinds[kind].panels),
                          "%s, tile %d x %d: the row says %d", space.knobs[k].name, kinds[kind].rows, kinds[kind].panels, said);
        }
    }
    ck_assert_int_gt(knobs, 3 * 6);
}
END_TEST

START_TEST(test_decisions) {
    Space space = space_of((uint64_t)_i);
    uint64_t state = (uint64_t)_i + 99;
    for (int i = 0; i < POINTS; i++) {
        Point point = random_point(&space, &state), back;
        char reason[SPACE_REASON_BYTES];
        if (!space_valid(&space, &point)) {
            continue;
        }
        json_t *decisions = space_decisions(&space, &point);
        ck_assert_int_eq(space_read(&space, decisions, &back, reason, sizeof reason), 0);
        ck_assert_mem_eq(&back, &point, sizeof back);
        json_decref(decisions);
    }
}
END_TEST

static void expect_reason(const char *text, const char *words) {
    Space space = space_of(4);
    Point point;
    char reason[SPACE_REASON_BYTES] = "";
    json_t *decisions = json_loads(text, JSON_DECODE_ANY, NULL);
    ck_assert_ptr_nonnull(decisions);
    ck_assert_int_ne(space_read(&space, decisions, &point, reason, sizeof reason), 0);
    ck_assert_msg(strstr(reason, words) != NULL, "%s", reason);
    json_decref(decisions);
}

START_TEST(test_decision_errors) {
    expect_reason("[]", "found decisions that are not a JSON object");
    expect_reason("{\"gate_up.colour\": 3}", "no knob 'gate_up.colour' here; expected one of: gate_up.tile, gate_up.unroll, ");
    expect_reason("{\"gate_up.colour\": 3}", ", huge_pages");
    expect_reason("{\"gate_up.unroll\": 3}", "gate_up.unroll cannot be 3 here; expected one of: 1, 2, 4, 8");
    expect_reason("{\"few_tokens\": \"all\"}", "few_tokens cannot be \"all\"");
    expect_reason("{\"few_tokens\": 4.5}", "few_tokens cannot be 4.5");
    expect_reason("{\"gate_up.tile\": 99999999999}", "gate_up.tile cannot be 99999999999");
}
END_TEST

// Of the three knobs of low tiles' prefetches no two plans say the same: nothing, one distance and hint, or two distances and a
// hint.
START_TEST(test_prefetches_differ) {
    Space space = space_of(4);
    int knobs[3] = {space_role_knob(&space, ROLE_DOWN, KNOB_PREFETCH), space_role_knob(&space, ROLE_DOWN, KNOB_FAR),
                    space_role_knob(&space, ROLE_DOWN, KNOB_HINT)};
    int64_t seen[256][3];
    int count = 0, all = 1;
    for (int k = 0; k < 3; k++) {
        all *= space.knobs[knobs[k]].count;
    }
    for (int i = 0; i < all; i++) {
        Point point = space_standard(&space);
        Plan plan;
        for (int k = 0, rest = i; k < 3; rest /= space.knobs[knobs[k++]].count) {
            point.value[knobs[k]] = (uint8_t)(rest % space.knobs[knobs[k]].count);
        }
        if (!space_valid(&space, &point)) {
            continue;
        }
        space_plan(&space, &point, &plan);
        const Role *down = &plan.roles[ROLE_DOWN];
        ck_assert_int_lt(count, 256);
        int64_t *said = seen[count++];
        said[0] = down->prefetch;
        said[1] = plan_prefetches_far(down) ? down->prefetch_far : 0;
        said[2] = down->prefetch ? down->prefetch_hint : 0;
        for (int j = 0; j < count - 1; j++) {
            ck_assert_mem_ne(seen[j], said, sizeof seen[j]);
        }
    }
    ck_assert_int_gt(count, 40);
}
END_TEST

// Every tile with every number of rows that take two panels: of some spaces not all go together.
START_TEST(test_wide_misfits) {
    char reason[SPACE_REASON_BYTES];
    int misfits = 0;
    for (uint64_t seed = 0; seed < LAYERS; seed++) {
        Space space = space_of(seed);
        int tile = space_role_knob(&space, ROLE_GATE_UP, KNOB_TILE), wide = space_role_knob(&space, ROLE_GATE_UP, KNOB_WIDE);
        for (int i = 0; tile >= 0 && wide >= 0 && i < space.knobs[tile].count * space.knobs[wide].count; i++) {
            Point point = space_standard(&space), back;
            point.value[tile] = (uint8_t)(i % space.knobs[tile].count);
            point.value[wide] = (uint8_t)(i / space.knobs[tile].count);
            json_t *decisions = space_decisions(&space, &point);
            bool read = !space_read(&space, decisions, &back, reason, sizeof reason);
            ck_assert(read == space_valid(&space, &point));
            ck_assert_msg(read || (strstr(reason, "gate_up.wide_rows ") && strstr(reason, "with gate_up.tile ")), "%s", reason);
            misfits += !read;
            json_decref(decisions);
        }
    }
    ck_assert_int_gt(misfits, 0);
}
END_TEST

// The rule is named, and the two knobs with the values that they would have, be it the default's.
START_TEST(test_misfits) {
    expect_reason("{\"down.prefetch\": 0, \"down.prefetch_hint\": 2, \"down.prefetch_far\": 0}",
                  "down.prefetch_hint 2 does not go together with down.prefetch 0: without a prefetch the hint must be");
    expect_reason("{\"gate_up.prefetch\": 8192, \"gate_up.prefetch_far\": 4096}",
                  "gate_up.prefetch_far 4096 does not go together with gate_up.prefetch 8192: where prefetch_far makes no "
                  "difference it must be");
    expect_reason("{\"bind\": 1, \"threads\": 1}",
                  "bind 1 does not go together with threads 1: with one thread the binding must be");
}
END_TEST

Suite *suite_space(void) {
    Suite *suite = suite_create("space");
    TCase *cases = tcase_create("points");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_loop_test(cases, test_standard, 0, LAYERS);
    tcase_add_loop_test(cases, test_points_are_plans, 0, LAYERS);
    tcase_add_loop_test(cases, test_knobs_matter, 0, LAYERS);
    tcase_add_loop_test(cases, test_clear, 0, LAYERS);
    tcase_add_loop_test(cases, test_tiles, 0, 2);
    tcase_add_loop_test(cases, test_decisions, 0, LAYERS);
    tcase_add_test(cases, test_decision_errors);
    tcase_add_test(cases, test_prefetches_differ);
    tcase_add_test(cases, test_misfits);
    tcase_add_test(cases, test_wide_misfits);
    suite_add_tcase(suite, cases);
    return suite;
}
