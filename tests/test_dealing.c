// How the natively compiled skeleton deals its work to threads: every tile is seen, so that the work of each thread is counted and
// compared with the share that it should have. Everything is done, nothing twice. No time is measured.
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "suites.h"

enum { THREADS = 3, MOST_ENTRIES = 10, MOST_PANELS = 64, FLOOR = 4 };

extern void (*tile_watch)(RoleName name, int64_t rows, int64_t panels, const void *w);

// What was multiplied: rows of each panel, and who did it.
typedef struct Work {
    int64_t rows[MOST_ENTRIES][MOST_PANELS];
    int thread[MOST_ENTRIES][MOST_PANELS];
    int shared_by_threads;     // panels whose rows several threads multiplied
    int64_t of_thread[THREADS];  // rows of panels
} Work;

static Work works[ROLE_COUNT];
static const uint8_t *weights;
static const Plan *plan;

static void count(RoleName name, int64_t rows, int64_t panels, const void *w) {
    const Role *role = &plan->roles[name];
    int64_t offset = (const uint8_t *)w - weights - role->layout.offset, entry = offset / role->layout.matrix_bytes;
    int64_t panel = offset % role->layout.matrix_bytes / role->layout.panel_bytes;
#pragma omp critical
    for (int64_t p = panel; p < panel + panels; p++) {
        Work *work = &works[name];
        int self = omp_get_thread_num();
        work->shared_by_threads += work->rows[entry][p] && work->thread[entry][p] != self;
        work->rows[entry][p] += rows;
        work->of_thread[self] += rows;
        work->thread[entry][p] = self;
    }
}

// Rows of the routed experts: uneven, one has more than half of all, one has none.
static const int64_t rows_of[] = {60, 1, 1, 0, 9, 30, 2, 1};
enum { EXPERTS = sizeof rows_of / sizeof *rows_of, TOKENS = 104 };

typedef struct Case {
    const char *name;
    int64_t hidden, shared_experts, identity_experts, few_tokens;
    Order order;
} Case;

static const Case cases[] = {
    {.name = "many tokens", .hidden = 128},
    {.name = "few tokens", .hidden = 128, .few_tokens = TOKENS},
    {.name = "backwards", .hidden = 128, .order = ORDER_BACKWARDS},
    {.name = "shared experts", .hidden = 128, .shared_experts = 2},
    {.name = "shared experts, backwards", .hidden = 128, .shared_experts = 2, .order = ORDER_BACKWARDS},
    {.name = "many columns", .hidden = 768},
};
enum { CASES = sizeof cases / sizeof *cases };

static Kind kind_of(const Case *c) {
    Layer layer = fixture_neutral((Layer){.hidden = c->hidden,
                                          .intermediate = 256,
                                          .experts = EXPERTS,
                                          .identity_experts = c->identity_experts,
                                          .top_k = 1,
                                          .iterations = 1,
                                          .shared_experts = c->shared_experts,
                                          .shared_intermediate = c->shared_experts ? 96 : 0,
                                          .gated = 1});
    Kind kind = fixture_kind(&layer, "avx512");
    Plan *p = &kind.plan;
    // one task for each thread, which is its own then; the other kind of call would be cut otherwise
    p->schedule.few_tokens = c->few_tokens;
    p->schedule.up_tasks = c->few_tokens ? 5 : 1;
    p->schedule.down_tasks = c->few_tokens ? 2 : 1;
    p->schedule.few_up_tasks = p->schedule.few_down_tasks = c->few_tokens ? 1 : 5;
    p->schedule.floor_rows = FLOOR;
    p->schedule.up_order = c->order;
    ck_assert_int_le(p->roles[ROLE_GATE_UP].layout.panels, MOST_PANELS);
    return kind;
}

// Routes the tokens as rows_of says (or lets the layer choose), with every tile counted.
static void run(const Kind *kind, bool routed) {
    size_t bytes;
    void *image = fixture_image(kind, 1, &bytes), *x = fixture_tokens(&kind->plan, TOKENS, 2);
    float *y = calloc((size_t)(TOKENS * kind->plan.layer.hidden), sizeof *y), given_weights[TOKENS];
    int32_t given_experts[TOKENS];
    for (int64_t e = 0, token = 0; e < EXPERTS; e++) {
        for (int64_t i = 0; i < rows_of[e]; i++, token++) {
            given_experts[token] = (int32_t)e;
            given_weights[token] = 1;
        }
    }
    Library *library = fixture_native(kind, image, bytes, THREADS, 0);
    const int64_t hidden = kind->plan.layer.hidden;
    const Forward call = {.tokens = TOKENS, .x = x, .x_stride = hidden, .y = y, .y_stride = hidden};
    const Extra extra = {
        .size = sizeof extra, .given_experts = routed ? given_experts : NULL, .given_weights = routed ? given_weights : NULL};
    plan = &kind->plan;
    weights = packed_image_instance(image, 0, 0);
    memset(works, 0, sizeof works);
    tile_watch = count;
    ck_assert_int_eq(instance_forward_with(library, &call, &extra), LIBRARY_OK);
    tile_watch = NULL;
    instance_close(library);
    free(image);
    free(x);
    free(y);
}

// Every panel of every matrix meets all rows of its expert, on one thread.
static void check_all_done(const Kind *kind, RoleName name, int64_t entries, const int64_t *rows) {
    const Role *role = &kind->plan.roles[name];
    for (int64_t e = 0; e < entries; e++) {
        for (int64_t p = 0; p < role->layout.panels; p++) {
            ck_assert_msg(works[name].rows[e][p] == (rows ? rows[e] : TOKENS), "%s of entry %lld, panel %lld: %lld rows",
                          role_names[name], (long long)e, (long long)p, (long long)works[name].rows[e][p]);
        }
    }
    ck_assert_int_eq(works[name].shared_by_threads, 0);
}

static int64_t cost_of(int64_t rows) {
    return rows && rows < FLOOR ? FLOOR : rows;
}

// Adds the work of each thread on a role, panel by panel: a row costs 1, an expert with few rows as much as one with FLOOR.
static void add_costs(const Kind *kind, RoleName name, int64_t entries, double costs[THREADS]) {
    for (int64_t e = 0; e < entries; e++) {
        for (int64_t p = 0; p < kind->plan.roles[name].layout.panels; p++) {
            costs[works[name].thread[e][p]] += (double)cost_of(works[name].rows[e][p]);
        }
    }
}

// Gate/up is cut into stretches of equal cost. A stretch takes the pairs of panels that begin in it: at either end it may be off by
// less than the cost of one pair, the largest being that of the expert with the most rows (or a shared one's, every token's).
START_TEST(gate_up_is_dealt_by_cost) {
    const Case *c = &cases[_i];
    Kind kind = kind_of(c);
    run(&kind, true);
    check_all_done(&kind, ROLE_GATE_UP, EXPERTS, rows_of);
    check_all_done(&kind, ROLE_SHARED_GATE_UP, c->shared_experts, NULL);
    double costs[THREADS] = {0}, largest = 2 * (double)(c->shared_experts ? TOKENS : rows_of[0]), total = 0;
    add_costs(&kind, ROLE_GATE_UP, EXPERTS, costs);
    add_costs(&kind, ROLE_SHARED_GATE_UP, c->shared_experts, costs);
    for (int t = 0; t < THREADS; t++) {
        total += costs[t];
    }
    ck_assert_double_gt(total / THREADS, 4 * largest);  // or the bound below would say little
    for (int t = 0; t < THREADS; t++) {
        ck_assert_msg(costs[t] > total / THREADS - largest && costs[t] < total / THREADS + largest,
                      "%s: thread %d has %g of %g, not a third, give or take %g", c->name, t, costs[t], total, largest);
    }
}
END_TEST

// Down is cut into columns, the same ones for all experts: as many panels for each thread, give or take one, or one pair where
// each thread has four of them or more.
START_TEST(down_is_dealt_by_columns) {
    const Case *c = &cases[_i];
    Kind kind = kind_of(c);
    run(&kind, true);
    check_all_done(&kind, ROLE_DOWN, EXPERTS, rows_of);
    check_all_done(&kind, ROLE_SHARED_DOWN, c->shared_experts, NULL);
    int64_t panels = kind.plan.roles[ROLE_DOWN].layout.panels, unit = panels / 2 >= 4 * THREADS ? 2 : 1, taken[THREADS] = {0};
    for (int64_t p = 0; p < panels; p++) {
        int thread = works[ROLE_DOWN].thread[0][p];
        taken[thread]++;
        for (int64_t e = 0; e < EXPERTS + c->shared_experts; e++) {
            bool shared = e >= EXPERTS;
            if (shared || rows_of[e]) {
                ck_assert_int_eq(works[shared ? ROLE_SHARED_DOWN : ROLE_DOWN].thread[shared ? e - EXPERTS : e][p], thread);
            }
        }
    }
    for (int t = 0; t < THREADS; t++) {
        ck_assert_msg(labs(taken[t] * THREADS - panels) < unit * THREADS, "%s: thread %d has %lld of %lld panels", c->name, t,
                      (long long)taken[t], (long long)panels);
    }
}
END_TEST

// The router's rows are dealt evenly; of few tokens, its columns: here three panels.
START_TEST(the_router_is_dealt_evenly) {
    const Case c = {.hidden = 64, .identity_experts = 3 * PANEL_COLUMNS - EXPERTS, .few_tokens = _i ? TOKENS : 0};
    Kind kind = kind_of(&c);
    run(&kind, false);
    const Work *work = &works[ROLE_ROUTER];
    for (int t = 0; t < THREADS; t++) {
        int64_t least = _i ? TOKENS : TOKENS / THREADS * 3, most = _i ? TOKENS : (TOKENS / THREADS + 1) * 3;
        ck_assert_int_ge(work->of_thread[t], least);
        ck_assert_int_le(work->of_thread[t], most);
    }
    for (int p = 0; p < 3; p++) {
        ck_assert_int_eq(work->rows[0][p], TOKENS);
    }
}
END_TEST

Suite *suite_dealing(void) {
    Suite *suite = suite_create("dealing");
    TCase *tests = tcase_create("native");
    tcase_set_timeout(tests, TEST_TIMEOUT);
    tcase_add_loop_test(tests, gate_up_is_dealt_by_cost, 0, CASES);
    tcase_add_loop_test(tests, down_is_dealt_by_columns, 0, CASES);
    tcase_add_loop_test(tests, the_router_is_dealt_evenly, 0, 2);
    suite_add_tcase(suite, tests);
    return suite;
}
