// Placements on machines that do not exist: who sits where, how even the work is, what nodes read from each other.
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compiler/bench/bench.h"
#include "compiler/commands/command.h"
#include "compiler/plan/placement.h"
#include "compiler/plan/planner.h"
#include "compiler/tune/foresee.h"
#include "runtime/cores.h"
#include "shell.h"
#include "suites.h"

typedef struct Topology {
    const char *source;
    int units, cores, nodes;
    bool even;  // all cores are equal, nodes have as many
    bool restricted;
} Topology;

static const Topology topologies[] = {
    {"core:1 pu:1", 1, 1, 1, true, false},
    {"pack:1 l3:1 core:8 pu:1", 8, 8, 1, true, false},
    {"pack:1 l3:1 core:16 pu:2", 32, 16, 1, true, false},
    {"pack:2 numa:1 l3:1 core:24 pu:2", 96, 48, 2, true, false},   // dual socket
    {"pack:2 numa:2 l3:1 core:12 pu:2", 96, 48, 4, true, false},   // SNC-2
    {"pack:2 numa:4 l3:1 core:14 pu:2", 224, 112, 8, true, false}, // SNC-4
    {"pack:2 numa:1 core:12 pu:4", 96, 24, 2, true, false},
    {"pack:1 numa:2 core:12 pu:8", 192, 24, 2, true, false},
    {"pack:1 numa:4 l3:3 core:8 pu:2", 192, 96, 4, true, false},   // chiplets with an L3 each
    {"tests/data/topology/hybrid.xml", 22, 16, 1, false, false},   // six cores with two threads, ten slow ones with one
    {"pack:2 numa:1 l3:1 core:24 pu:2", 38, 26, 2, false, true},   // what a cpuset left of it
};
enum { TOPOLOGIES = sizeof topologies / sizeof *topologies, MOST_THREADS = 192 };

// Leaves 38 of 96 hardware threads: whole cores, single siblings, and fewer of the second node.
static void restrict_units(Machine *machine) {
    int16_t core = -1, old = -1, siblings = 0;
    int64_t kept = 0;
    for (int64_t i = 0; i < machine->unit_count; i++) {
        MachineUnit unit = machine->units[i];
        if (i % 5 == 3 || i % 7 == 1 || i >= 58 || i % 19 == 4) {
            continue;
        }
        siblings = unit.core == old ? (int16_t)(siblings + 1) : 0;
        core = (int16_t)(core + (unit.core != old));
        old = unit.core;
        unit.core = core;
        unit.sibling = siblings;
        machine->units[kept++] = unit;
    }
    machine->unit_count = machine->units_allowed = kept;
    machine->cores_allowed = machine->threads = core + 1;
}

static Machine read_machine(const Topology *topology) {
    static Machine machine;
    Diagnostics diagnostics = {0};
    ck_assert_msg(!machine_read(topology->source, &machine, &diagnostics), "%s", diagnostics.text);
    if (topology->restricted) {
        restrict_units(&machine);
    }
    return machine;
}

static Plan plan_of(const char *path, const Machine *machine, Workload *workload) {
    Diagnostics diagnostics = {0};
    Model *model = model_read_file(path, &diagnostics);
    ck_assert_msg(model != NULL, "%s", diagnostics.text);
    Plan plan = plan_default(&model->layers[0].layer, target_find("avx512"), machine, NULL);
    *workload = model->workload;
    model_free(model);
    return plan;
}

// --- seats -------------------------------------------------------------------------------------------------------------------

static void check_seats(const Machine *machine, const Topology *topology, const Placement *p, int asked) {
    bool taken[MACHINE_MAX_UNITS] = {0}, core_taken[MACHINE_MAX_UNITS] = {0};
    int cores = 0, fast_cores = 0, slow_cores = 0, sum = 0, most = 0, least = MACHINE_MAX_UNITS, fast_in_all = 0;
    ck_assert_int_eq(p->threads, asked < machine->unit_count ? asked : machine->unit_count);
    for (int t = 0; t < p->threads; t++) {
        const MachineUnit *unit = &machine->units[p->units[t]];
        ck_assert_msg(!taken[p->units[t]], "%s, %d threads: unit %d twice", topology->source, asked, p->units[t]);
        taken[p->units[t]] = true;
        if (!core_taken[unit->core]) {
            *(unit->kind == machine->kinds - 1 ? &fast_cores : &slow_cores) += 1;
            cores++;
        }
        core_taken[unit->core] = true;
    }
    for (int64_t i = 0; i < machine->unit_count; i++) {
        fast_in_all += machine->units[i].sibling == 0 && machine->units[i].kind == machine->kinds - 1;
    }
    int expected = p->threads < topology->cores ? p->threads : topology->cores;
    ck_assert_msg(cores == expected, "%s, %d threads on %d cores", topology->source, asked, cores);
    ck_assert_int_eq(fast_cores, expected < fast_in_all ? expected : fast_in_all);
    ck_assert_int_eq(slow_cores, expected - fast_cores);
    ck_assert_int_eq(p->own + p->slow, cores);
    ck_assert_int_eq(p->siblings, p->threads - cores);
    for (int n = 0; n < p->nodes; n++) {
        for (int t = 0; t < p->node_threads[n]; t++) {  // a node's threads follow each other
            ck_assert_int_eq(machine->units[p->units[sum + t]].node, p->node[n]);
        }
        sum += p->node_threads[n];
        most = p->node_threads[n] > most ? p->node_threads[n] : most;
        least = p->node_threads[n] < least ? p->node_threads[n] : least;
    }
    ck_assert_int_eq(sum, p->threads);
    if (topology->even && p->binding == PLACEMENT_SPREAD) {
        ck_assert_int_eq(p->nodes, p->threads < topology->nodes ? p->threads : topology->nodes);
        ck_assert_int_le(most - least, 1);
    }
    if (topology->even && p->binding == PLACEMENT_COMPACT && p->threads <= topology->cores) {
        int per_node = topology->cores / topology->nodes;
        ck_assert_int_eq(p->nodes, (p->threads + per_node - 1) / per_node);
    }
}

START_TEST(cores_come_first_and_nobody_twice) {
    const Topology *topology = &topologies[_i];
    Machine machine = read_machine(topology);
    ck_assert_int_eq(machine.unit_count, topology->units);
    ck_assert_int_eq(machine.cores_allowed, topology->cores);
    ck_assert_int_eq(machine.numa_nodes, topology->nodes);
    for (int threads = 1; threads <= MOST_THREADS; threads++) {
        for (int b = 0; b < PLACEMENT_BINDINGS; b++) {
            Placement placement = placement_make(&machine, threads, (PlacementBinding)b);
            check_seats(&machine, topology, &placement, threads);
        }
    }
}
END_TEST

// Spread threads take caches in turns: with four nodes of three L3 caches, twelve threads have one each.
START_TEST(spread_threads_share_caches_last) {
    Machine machine = read_machine(&topologies[8]);
    for (int threads = 12; threads <= 96; threads += 12) {
        Placement p = placement_make(&machine, threads, PLACEMENT_SPREAD);
        int users[12] = {0};
        for (int t = 0; t < threads; t++) {
            users[machine.units[p.units[t]].caches[machine.cache_count - 1]]++;
        }
        for (int cache = 0; cache < 12; cache++) {
            ck_assert_int_eq(users[cache], threads / 12);
        }
    }
}
END_TEST

// options.bind of libraries: the runtime's order of this machine's CPUs starts with the same cores.
START_TEST(the_runtime_takes_the_same_cores) {
    const Topology *topology = &topologies[_i];
    Machine machine = read_machine(topology);
    char root[SHELL_PATH_BYTES], path[SHELL_PATH_BYTES + 96];
    int cpus[MACHINE_MAX_UNITS], count = 0;
    shell_template(root);
    ck_assert_ptr_nonnull(mkdtemp(root));
    for (int64_t i = 0; i < machine.unit_count; i++) {
        const MachineUnit *unit = &machine.units[i];
        snprintf(path, sizeof path, "%s/cpu%d", root, unit->number);
        mkdir(path, 0700);
        strcat(path, "/topology");
        mkdir(path, 0700);
        strcat(path, "/thread_siblings_list");
        FILE *file = fopen(path, "w");
        ck_assert_ptr_nonnull(file);
        fprintf(file, "%d\n", machine.units[i - unit->sibling].number);
        fclose(file);
        cpus[count++] = unit->number;
    }
    ck_assert_int_eq(cores_sort(root, cpus, count), topology->cores);
    Placement p = placement_make(&machine, topology->cores, PLACEMENT_COMPACT);
    for (int t = 0; t < p.threads; t++) {
        ck_assert_int_eq(machine.units[p.units[t]].number, cpus[t]);
    }
    ck_assert_int_eq(shell_run("rm -r %s", root), 0);
}
END_TEST

// --- work --------------------------------------------------------------------------------------------------------------------

// Shares of a phase exceed the mean by less than one of its smallest parts, if all threads are as fast.
static void check_work(const Plan *plan, const Topology *topology, const Placement *p, const PlacementFigures *f,
                       PlacementWeights weights) {
    Visits visits = work_expected_visits(&plan->layer, f->tokens);
    double iterations = (double)plan->layer.iterations, threads = p->threads;
    const Role *up = &plan->roles[ROLE_GATE_UP], *down = &plan->roles[ROLE_DOWN], *router = &plan->roles[ROLE_ROUTER];
    double up_bytes = visits.distinct * (double)up->layout.matrix_bytes,
           down_bytes = visits.distinct * (double)down->layout.matrix_bytes;
    double bytes = iterations * (up_bytes + down_bytes + (double)router->layout.matrix_bytes);
    ck_assert_double_eq_tol(f->bytes, bytes, 1e-6 * bytes);
    ck_assert_double_ge(f->largest_bytes, 0.999999 * f->bytes / threads);
    ck_assert_double_ge(f->largest_flops, 0.999999 * f->flops / threads);
    if (!topology->even || p->threads > topology->cores) {
        return;
    }
    double line = visits.distinct * (double)((up->layout.panels + 1) / 2), pair = up_bytes / line;
    double task =
        line > threads * (double)plan->schedule.up_tasks ? up_bytes / (threads * (double)plan->schedule.up_tasks) + pair : pair;
    // a node's share of an expert's panels is a whole number, and so are the threads that it is shared by
    double nodes = weights == PLACEMENT_ROWS ? up_bytes / (double)((up->layout.panels + 1) / 2) * p->nodes / threads + task : 0;
    double column = 2 * down_bytes / (double)down->layout.panels;
    double part = f->tokens <= plan->schedule.few_tokens ? 1.0 / (double)router->layout.panels : 1.0 / (double)f->tokens;
    double most = bytes / threads + iterations * (task + nodes + column + part * (double)router->layout.matrix_bytes);
    ck_assert_msg(f->largest_bytes <= 1.001 * most, "%s, %d threads, %lld tokens, weights %d: %g > %g (mean %g)", topology->source,
                  p->threads, (long long)f->tokens, (int)weights, f->largest_bytes, most, bytes / threads);
}

static void check_remote(const Plan *plan, const Placement *p, const PlacementFigures f[PLACEMENT_WEIGHTS]) {
    double away = 1 - 1.0 / p->nodes;
    const PlacementFigures *interleaved = &f[PLACEMENT_INTERLEAVED];
    ck_assert_double_eq_tol(interleaved->remote_weights, away * interleaved->bytes, 1e-6 * interleaved->bytes);
    ck_assert_double_le(f[PLACEMENT_EXPERTS].remote_weights, interleaved->remote_weights * 1.000001);
    ck_assert_double_le(f[PLACEMENT_ROWS].remote_weights, f[PLACEMENT_EXPERTS].remote_weights * 1.000001);
    // with rows of their own nodes share the router alone
    double router = away * (double)(plan->layer.iterations * plan->roles[ROLE_ROUTER].layout.matrix_bytes);
    ck_assert_double_eq_tol(f[PLACEMENT_ROWS].remote_weights, router, 1e-6 * router + 1e-6);
    for (int w = 0; w < PLACEMENT_WEIGHTS; w++) {
        ck_assert_double_ge(f[w].remote_bytes, f[w].remote_weights);
        ck_assert(p->nodes > 1 || f[w].remote_bytes <= 0);
        ck_assert(isfinite(f[w].seconds) && f[w].seconds > 0);
    }
}

START_TEST(work_is_even_and_near) {
    const Topology *topology = &topologies[_i];
    static const int64_t tokens[] = {1, 512};
    static const char *const examples[] = {"examples/qwen3_30b_a3b.json", "examples/coe_2x4of64.json"};
    Machine machine = read_machine(topology);
    PlacementRates rates = placement_nominal(&machine);
    Workload workload;
    for (int e = 0; e < 2; e++) {
        Plan plan = plan_of(examples[e], &machine, &workload);
        for (int threads = 2; threads <= MOST_THREADS && threads <= topology->units; threads++) {
            Placement p = placement_make(&machine, threads, (PlacementBinding)(threads % PLACEMENT_BINDINGS));
            for (int i = 0; i < 2; i++) {
                PlacementFigures f[PLACEMENT_WEIGHTS];
                for (int w = 0; w < PLACEMENT_WEIGHTS; w++) {
                    f[w] = placement_figures(&plan, &machine, &p, (PlacementWeights)w, &rates, tokens[i]);
                    ck_assert_int_eq(f[w].barriers, 3 * plan.layer.iterations + (i == 0));
                    check_work(&plan, topology, &p, &f[w], (PlacementWeights)w);
                }
                check_remote(&plan, &p, f);
            }
        }
    }
}
END_TEST

// By hand: 64 panels of down for 48 threads are one or two, of 48 chosen pairs one each, and one router panel for four of them.
START_TEST(known_work) {
    Machine machine = read_machine(&topologies[3]);
    Workload workload;
    Plan plan = plan_of("examples/qwen3_30b_a3b.json", &machine, &workload);
    PlacementRates rates = placement_nominal(&machine);
    Placement p = placement_make(&machine, 48, PLACEMENT_COMPACT);
    PlacementFigures f = placement_figures(&plan, &machine, &p, PLACEMENT_INTERLEAVED, &rates, 1);
    const double expert = 2048 * 768 * 2;  // one matrix in bf16
    double router = (double)plan.roles[ROLE_ROUTER].layout.matrix_bytes;
    ck_assert_int_eq(plan.roles[ROLE_DOWN].layout.panels, 64);
    ck_assert_int_eq(plan.roles[ROLE_GATE_UP].layout.panels, 48);
    ck_assert_double_eq_tol(f.bytes, 8 * 3 * expert + router, 1);
    // 8 experts of 24 pairs are 192 pairs: four a thread; 8 experts of two panels of down; a fourth of the router
    ck_assert_double_eq_tol(f.largest_bytes, 4 * 2 * expert / 24 + 8 * 2 * expert / 64 + router / 4, 1);
    ck_assert_double_eq_tol(f.remote_weights, f.bytes / 2, 1);
    // the other node made half of 8 rows of intermediate values and of the token, and each of the two reads all of it
    double activations = 8 * (double)plan.roles[ROLE_DOWN].input_stride + 2048 * 4;
    ck_assert_double_eq_tol(f.remote_bytes - f.remote_weights, activations, 1);
    ck_assert_int_eq(placement_figures(&plan, &machine, &p, PLACEMENT_ROWS, &rates, plan.schedule.chunk_tokens + 1).barriers, 6);
    p = placement_make(&machine, 1, PLACEMENT_COMPACT);
    ck_assert_int_eq(placement_figures(&plan, &machine, &p, PLACEMENT_ROWS, &rates, 1).barriers, 0);
}
END_TEST

// Gate/up is handed out task by task: a fast core takes twice the tasks of a slow one. Down is not: everybody has four panels.
START_TEST(slow_cores_take_fewer_tasks) {
    Machine machine = read_machine(&topologies[9]);
    Workload workload;
    Plan plan = plan_of("examples/qwen3_30b_a3b.json", &machine, &workload);
    PlacementRates rates = placement_nominal(&machine);
    Placement p = placement_make(&machine, 16, PLACEMENT_COMPACT);
    PlacementFigures f = placement_figures(&plan, &machine, &p, PLACEMENT_INTERLEAVED, &rates, 2048);
    double fast = 1 / (6 + 10 * rates.slow_share), expected = fast * 2 / 3 + 1.0 / 16 / 3;
    ck_assert_double_eq_tol(f.largest_flops / f.flops, expected, 0.05 * expected);
    plan.schedule.up_tasks = 1;
    f = placement_figures(&plan, &machine, &p, PLACEMENT_INTERLEAVED, &rates, 2048);
    ck_assert_double_eq_tol(f.largest_flops / f.flops, 1.0 / 16, 1e-3);
}
END_TEST

// --- choices -----------------------------------------------------------------------------------------------------------------

START_TEST(choices_and_recommendations) {
    const Topology *topology = &topologies[_i];
    Machine machine = read_machine(topology);
    PlacementRates rates = placement_nominal(&machine);
    Workload workload;
    Plan plan = plan_of("examples/qwen3_30b_a3b.json", &machine, &workload);
    PlacementChoice choice = placement_choose(&plan, &machine, &rates, &workload, topology->cores);
    for (int b = 0; b < PLACEMENT_BINDINGS; b++) {
        Placement p = placement_make(&machine, topology->cores, (PlacementBinding)b);
        for (int w = 0; w < PLACEMENT_WEIGHTS; w++) {
            double seconds = placement_seconds(&plan, &machine, &p, (PlacementWeights)w, &rates, &workload);
            ck_assert_double_le(choice.seconds, seconds * 1.002);
        }
    }
    ck_assert_int_eq(choice.weights == PLACEMENT_INTERLEAVED, topology->nodes == 1);
    int recommended = placement_recommend(&plan, &machine, &rates, &workload);
    ck_assert_int_ge(recommended, 1);
    // siblings add nothing, unless two of a fast core make equal shares of what would wait for slow cores
    ck_assert_int_le(recommended, machine.kinds > 1 ? topology->units : topology->cores);
    double all = placement_choose(&plan, &machine, &rates, &workload, topology->units).seconds;
    ck_assert_double_le(placement_choose(&plan, &machine, &rates, &workload, recommended).seconds, 1.021 * all);
}
END_TEST

// Where memory gives no more than two cores can read, two are enough for decoding; slow cores are not waited for.
START_TEST(recommendations_have_reasons) {
    Machine machine = read_machine(&topologies[1]), hybrid = read_machine(&topologies[9]);
    Workload workload;
    Plan plan = plan_of("examples/qwen3_30b_a3b.json", &machine, &workload);
    PlacementRates rates = placement_nominal(&machine);
    workload.token_counts = 1;
    workload.tokens[0] = 1;
    rates.node_gbytes_s = 2 * rates.core_gbytes_s;
    ck_assert_int_eq(placement_recommend(&plan, &machine, &rates, &workload), 2);
    workload.tokens[0] = 2048;
    ck_assert_int_eq(placement_recommend(&plan, &machine, &rates, &workload), 8);
    rates = placement_nominal(&hybrid);
    rates.slow_share = 0.1;
    ck_assert_int_eq(placement_recommend(&plan, &hybrid, &rates, &workload), 6);
    machine.threads = 3;  // a quota
    ck_assert_int_le(placement_recommend(&plan, &machine, &rates, &workload), 3);
}
END_TEST

// --- foresight ---------------------------------------------------------------------------------------------------------------

// From a bad plan the model finds a better one; from the default nothing that it could be sure of.
START_TEST(the_model_chooses_alone) {
    static Foresight foresight;
    Machine machine = read_machine(&topologies[3]);
    Workload described;
    RecallWorkload workload;
    Plan plan = plan_of("examples/qwen3_30b_a3b.json", &machine, &described), bad = plan;
    recall_workload(&described, &workload);
    foresee_layer(&plan, target_find("avx512"), &machine, 48, &workload, &foresight);
    ck_assert_double_eq(foresight.gain, 1);
    ck_assert_int_eq(memcmp(&foresight.plan, &plan, sizeof plan), 0);
    bad.roles[ROLE_GATE_UP].max_rows = bad.roles[ROLE_DOWN].max_rows = 4;
    bad.roles[ROLE_GATE_UP].wide_rows = bad.roles[ROLE_DOWN].wide_rows = 1;
    foresee_layer(&bad, target_find("avx512"), &machine, 48, &workload, &foresight);
    ck_assert_double_gt(foresight.gain, 1.02);
    ck_assert_int_gt(foresight.plan.roles[ROLE_GATE_UP].max_rows, 4);
}
END_TEST

START_TEST(commands_plan_for_other_machines) {
    static const char *const spec = "examples/qwen3_30b_a3b.json", *const dual = "pack:2 numa:1 l3:1 core:24 pu:2";
    int status;
    char *text = shell_read(&status, "$CATENA explain %s --topology '%s'", spec, dual);
    ck_assert_int_eq(status, EXIT_OK);
    ck_assert_msg(strstr(text, "48 threads: 48 with a core of their own. Bound compact: 2 of 2 nodes.") != NULL, "%s", text);
    ck_assert_ptr_nonnull(strstr(text, "| 48-94:2 "));
    ck_assert_ptr_nonnull(strstr(text, "Nothing is measured"));
    ck_assert_ptr_nonnull(strstr(text, "Recommended: 48 threads. Further hardware threads of a core (48) share"));
    free(text);
    shell_expect(EXIT_OK, "(there are no more hardware threads; 200 were asked for)", "$CATENA explain %s -j200 -m '%s'", spec,
                 dual);
    shell_expect(EXIT_OK, "6 with a core of the fastest kind, 10 with a slower one",
                 "$CATENA explain %s -m tests/data/topology/hybrid.xml", spec);
    shell_expect(EXIT_OK, "target neon",
                 "sed 's/x86_64/aarch64/' tests/data/topology/hybrid.xml >$D/arm.xml; $CATENA explain %s -m $D/arm.xml", spec);
    shell_expect(EXIT_FAILED, "architecture 'riscv64', for which there is no target",
                 "sed 's/x86_64/riscv64/' tests/data/topology/hybrid.xml >$D/other.xml; $CATENA explain %s -m $D/other.xml", spec);
    shell_expect(EXIT_FAILED, "no synthetic description", "$CATENA explain %s --topology nonsense", spec);
    shell_expect(EXIT_OK, "the cost model alone decides",
                 "XDG_DATA_HOME=$D/data $CATENA tune %s --topology '%s' && test ! -e $D/data", spec, dual);
    shell_expect(EXIT_FAILED, "there is no layer 'dense'", "$CATENA tune %s --layer dense --topology '%s'", spec, dual);
    shell_expect(EXIT_FAILED, "missing.xml: error: cannot read", "$CATENA tune %s --topology missing.xml", spec);
    shell_expect(EXIT_USAGE, "--report, --table and --candidates are about measurements",
                 "$CATENA tune %s --topology '%s' --report $D/page", spec, dual);
}
END_TEST

Suite *suite_placement(void) {
    Suite *suite = suite_create("placement");
    TCase *cases = tcase_create("placement");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_loop_test(cases, cores_come_first_and_nobody_twice, 0, TOPOLOGIES);
    tcase_add_test(cases, spread_threads_share_caches_last);
    tcase_add_loop_test(cases, the_runtime_takes_the_same_cores, 0, TOPOLOGIES);
    tcase_add_loop_test(cases, work_is_even_and_near, 0, TOPOLOGIES);
    tcase_add_test(cases, known_work);
    tcase_add_test(cases, slow_cores_take_fewer_tasks);
    tcase_add_loop_test(cases, choices_and_recommendations, 0, TOPOLOGIES);
    tcase_add_test(cases, recommendations_have_reasons);
    tcase_add_test(cases, the_model_chooses_alone);
    suite_add_tcase(suite, cases);
    TCase *commands = tcase_create("commands");
    tcase_set_timeout(commands, TEST_TIMEOUT);
    tcase_add_checked_fixture(commands, shell_begin, shell_end);
    tcase_add_test(commands, commands_plan_for_other_machines);
    suite_add_tcase(suite, commands);
    return suite;
}
