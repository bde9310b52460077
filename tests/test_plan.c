// Plans: the canonical text, the layout, the default planner on machines that do not exist.
#include <stdlib.h>
#include <string.h>

#include "compiler/plan/text.h"
#include "fixture.h"
#include "suites.h"

START_TEST(test_text_is_the_identity) {
    Layer layer = fixture_layer((uint64_t)_i);
    Kind kind = fixture_kind(&layer, "avx2");
    Diagnostics diagnostics = {0};
    Plan parsed;
    char *text = plan_print(&kind.plan);
    ck_assert_int_eq(plan_parse(text, "plan", &parsed, &diagnostics), 0);
    char *again = plan_print(&parsed);
    ck_assert_str_eq(text, again);
    ck_assert_mem_eq(&parsed, &kind.plan, sizeof parsed);
    free(text);
    free(again);
}
END_TEST

static void expect_parse_error(const char *from, const char *to, const char *words) {
    Layer layer = fixture_layer(1);
    Kind kind = fixture_kind(&layer, "avx2");
    Diagnostics diagnostics = {0};
    Plan parsed;
    char *text = plan_print(&kind.plan), *place = strstr(text, from), changed[16384];
    ck_assert_ptr_nonnull(place);
    snprintf(changed, sizeof changed, "%.*s%s%s", (int)(place - text), text, to, place + strlen(from));
    ck_assert_int_ne(plan_parse(changed, "plan", &parsed, &diagnostics), 0);
    ck_assert_msg(strstr(diagnostics.text, words) != NULL, "%s", diagnostics.text);
    diagnostics_free(&diagnostics);
    free(text);
}

START_TEST(test_text_errors) {
    expect_parse_error("layer.hidden ", "layer.hiden ", "plan:1");
    expect_parse_error("router.path ", "router.path fast", "router.path");
    expect_parse_error("plan.block_rows ", "plan.block_rows x", "plan.block_rows");
    expect_parse_error("gate_up.max_rows ", "gate_up.max_rows 99999999999", "gate_up.max_rows");
    expect_parse_error("shared_down.input_stride ", "", "shared_down.input_stride");
}
END_TEST

START_TEST(test_layout) {
    Layer layer = fixture_layer((uint64_t)_i);
    Kind kind = fixture_kind(&layer, "neon");
    int64_t end = 0;
    for (int r = 0; r < ROLE_COUNT; r++) {
        const Role *role = &kind.plan.roles[r];
        if (!role->layout.matrices) {
            continue;
        }
        ck_assert_int_eq(role->layout.offset % WEIGHTS_ALIGNMENT, 0);
        ck_assert_int_eq(role->input_stride / 64 % 2, 1);
        ck_assert_int_ge(role->layout.offset, end);
        end = role->layout.offset + role->layout.matrices * role->layout.matrix_bytes;
        if (role->layout.bias_offset >= 0) {
            ck_assert_int_ge(role->layout.bias_offset, end);
            end = role->layout.bias_offset + role->layout.matrices * role->layout.panels * PANEL_COLUMNS * 4;
        }
        ck_assert_int_ge(role->layout.panels * PANEL_COLUMNS, role->layout.columns);
    }
    ck_assert_int_ge(kind.plan.layout.instance_bytes, end);
}
END_TEST

// The packed layout must not depend on target, machine or tuning: packed files outlive them.
START_TEST(test_layout_is_the_same_for_all_targets) {
    Layer layer = fixture_layer((uint64_t)_i);
    Kind one = fixture_kind(&layer, "avx512");
    for (int t = 0; targets[t]; t++) {
        Kind other = fixture_kind(&layer, targets[t]->name);
        ck_assert(plan_same_layout(&one.plan, &other.plan));
    }
}
END_TEST

START_TEST(test_measured_path_wins) {
    Layer layer = fixture_layer(1);
    Machine machine = {0};
    Peaks peaks = {0};
    layer.weights = FORMAT_BF16;
    layer.compute = COMPUTE_BF16;
    peaks.tile_gflops[PATH_BF16_WIDENED] = 160;
    peaks.tile_gflops[PATH_BF16_DOT] = 80;
    ck_assert_int_eq(plan_default(&layer, &target_avx512, &machine, &peaks).roles[ROLE_DOWN].path, PATH_BF16_WIDENED);
    peaks.tile_gflops[PATH_BF16_DOT] = 230;
    Plan plan = plan_default(&layer, &target_avx512, &machine, &peaks);
    ck_assert_int_eq(plan.roles[ROLE_DOWN].path, PATH_BF16_DOT);
    ck_assert_int_ne(plan.roles[ROLE_ROUTER].path, PATH_BF16_DOT);  // a choice of experts must not depend on the compute class
    peaks.tile_gflops[PATH_BF16_AMX] = 1900;
    plan = plan_default(&layer, &target_avx512, &machine, &peaks);
    ck_assert_int_eq(plan.roles[ROLE_GATE_UP].path, PATH_BF16_AMX);
    ck_assert_int_eq(plan.roles[ROLE_DOWN].input, FORMAT_BF16);
    ck_assert_int_ne(plan.roles[ROLE_ROUTER].path, PATH_BF16_AMX);
    layer.compute = COMPUTE_FP32;
    ck_assert_int_eq(plan_default(&layer, &target_avx512, &machine, &peaks).roles[ROLE_DOWN].path, PATH_BF16_WIDENED);
}
END_TEST

START_TEST(test_blocking_follows_the_cache) {
    Layer layer = fixture_layer(1);
    layer.hidden = 4096;
    Machine machine = {.cache_count = 1, .caches = {{.level = 2, .bytes = 2 << 20, .shared_by = 1}}};
    int64_t large = plan_default(&layer, &target_avx512, &machine, NULL).schedule.block_rows;
    machine.caches[0].bytes = 512 << 10;
    int64_t small = plan_default(&layer, &target_avx512, &machine, NULL).schedule.block_rows;
    ck_assert_int_lt(small, large);
    ck_assert_int_ge(small, target_tile(&target_avx512, PATH_FP32_FMA)->max_rows);
    ck_assert_int_le(large * 4096 * 4, 1 << 20);
}
END_TEST

Suite *suite_plan(void) {
    Suite *suite = suite_create("plan");
    TCase *cases = tcase_create("plan");
    tcase_add_loop_test(cases, test_text_is_the_identity, 0, 20);
    tcase_add_test(cases, test_text_errors);
    tcase_add_loop_test(cases, test_layout, 0, 40);
    tcase_add_loop_test(cases, test_layout_is_the_same_for_all_targets, 0, 20);
    tcase_add_test(cases, test_measured_path_wins);
    tcase_add_test(cases, test_blocking_follows_the_cache);
    suite_add_tcase(suite, cases);
    return suite;
}
