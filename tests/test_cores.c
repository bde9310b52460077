// Which cores there are and how many threads they may run, from files written as the kernel writes them.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cores.h"
#include "shell.h"
#include "suites.h"

// $D/NAME, with the folders that lead to it.
static void write_text(const char *name, const char *text) {
    char path[256];
    ck_assert_int_eq(shell_run("mkdir -p $(dirname $D/%s)", name), 0);
    snprintf(path, sizeof path, "$D/%s", name);
    shell_write_file(path, text, strlen(text));
}

// $D/FOLDER PLACE/NAME; nothing where text is NULL.
static void write_text_at(const char *folder, const char *place, const char *name, const char *text) {
    char path[128];
    snprintf(path, sizeof path, "%s%s/%s", folder, place, name);
    if (text) {
        write_text(path, text);
    }
}

// The smallest quota of a group and all groups above it counts, wherever it stands; of two hierarchies the smaller one's.
START_TEST(the_smallest_quota_counts) {
    static const struct {
        const char *groups;                     // what /proc/self/cgroup says
        const char *v2[3];                      // cpu.max of the root, /a and /a/b; NULL: there is no such file
        const char *quota_v1[3], *period_v1[3]; // of version 1 in the same places
        double quota;
    } rows[] = {
        {"0::/a/b\n", {NULL, "400000 100000\n", "150000 100000\n"}, .quota = 1.5},
        {"0::/a/b\n", {NULL, "150000 100000\n", "400000 100000\n"}, .quota = 1.5},
        {"0::/a/b\n", {"250000 100000\n", "400000 100000\n", "900000 100000\n"}, .quota = 2.5},
        {"0::/a/b\n", {"250000 100000\n", "max 100000\n", "max 100000\n"}, .quota = 2.5},
        {"0::/a/b\n", {NULL, "max 100000\n", "30000 20000\n"}, .quota = 1.5},
        {"0::/a/b\n", {NULL, "max 100000\n", "max 100000\n"}, .quota = 0},
        {"0::/a/b\n", {NULL, "0 100000\n", "100000 0\n"}, .quota = 0},
        {"0::/a\n", {NULL, "400000 100000\n", "150000 100000\n"}, .quota = 4},           // what is below is others'
        {"0::/gone/b\n", {"300000 100000\n", "100000 100000\n", NULL}, .quota = 3},      // as in a container
        {"0::/\n", {"300000 100000\n", "100000 100000\n", NULL}, .quota = 3},
        {"3:memory:/a/b\n2:cpu,cpuacct:/a/b\n", {0}, {"-1", "400000", "150000"}, {"1", "100000", "100000"}, 1.5},
        {"2:cpuacct,cpu:/a/b\n", {0}, {"-1", "150000", "400000"}, {"100000", "100000", "100000"}, 1.5},
        {"2:cpuset:/a/b\n1:cpuacct:/a/b\n", {0}, {"100000", "100000", "100000"}, {"100000", "100000", "100000"}, 0},
        {"1:cpu:/a/b\n0::/a/b\n", {NULL, NULL, "300000 100000"}, {NULL, NULL, "200000"}, {NULL, NULL, "100000"}, 2},
        {"1:cpu:/a/b\n0::/a/b\n", {NULL, NULL, "200000 100000"}, {NULL, NULL, "300000"}, {NULL, NULL, "100000"}, 2},
    };
    static const char *const places[] = {"", "/a", "/a/b"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char groups[SHELL_PATH_BYTES + 16], root[SHELL_PATH_BYTES + 16];
        write_text("groups", rows[i].groups);
        for (int place = 0; place < 3; place++) {
            write_text_at("root", places[place], "cpu.max", rows[i].v2[place]);
            write_text_at("root/cpu", places[place], "cpu.cfs_quota_us", rows[i].quota_v1[place]);
            write_text_at("root/cpu", places[place], "cpu.cfs_period_us", rows[i].period_v1[place]);
        }
        snprintf(groups, sizeof groups, "%s/groups", shell_folder());
        snprintf(root, sizeof root, "%s/root", shell_folder());
        double quota = cores_quota_of(groups, root);
        ck_assert_msg(quota == rows[i].quota, "row %zu: %g, not %g", i, quota, rows[i].quota);
        ck_assert_double_eq(cores_quota_of("/no/such/file", root), 0);
        shell_run("rm -r $D/root");
    }
}
END_TEST

// A quota is rounded down, but to no less than one thread; it adds none.
START_TEST(quotas_lower_the_threads) {
    static const struct {
        int cores;
        double quota;
        int threads;
    } rows[] = {{8, 0, 8}, {8, 3, 3}, {8, 2.99, 2}, {8, 1.5, 1}, {8, 0.5, 1}, {8, 7.5, 7}, {8, 8, 8}, {8, 64, 8}, {1, 0.1, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ck_assert_int_eq(cores_lowered(rows[i].cores, rows[i].quota), rows[i].threads);
    }
}
END_TEST

static void write_list(int cpu, const char *name, const char *text) {
    char path[128];
    snprintf(path, sizeof path, "cpu%d/%s", cpu, name);
    write_text(path, text);
}

// One CPU of each core comes first, on machines that number siblings far apart or side by side, or say nothing.
START_TEST(cores_come_before_siblings) {
    const char *root = shell_folder();
    static const char *const siblings[] = {"0,4\n", "1,5\n", "2,6\n", "3,7\n", "0,4\n", "1,5\n",    "2,6\n",
                                           "3,7\n", "8-9\n", "8-9\n", "10-11", "10-11", "nonsense", ""};
    for (int cpu = 0; cpu < 14; cpu++) {
        write_list(cpu, "topology/thread_siblings_list", siblings[cpu]);
    }
    int cpus[] = {0, 2,  4,  5,  6,  8,
                  9, 11, 12, 13, 14, 70000};  // 4 and 6 have their siblings here, 5 and 11 have not; no files: 14..
    static const int sorted[] = {0, 2, 5, 8, 11, 12, 13, 14, 4, 6, 9, 70000};
    ck_assert_int_eq(cores_sort(root, cpus, 12), 8);
    ck_assert_int_eq(memcmp(cpus, sorted, sizeof sorted), 0);
    int unknown[] = {3, 5};
    ck_assert_int_eq(cores_sort("/no/such/folder", unknown, 2), 2);
    ck_assert(unknown[0] == 3 && unknown[1] == 5);
    int count = 0, *ordered = cores_ordered(true, &count);
    ck_assert_ptr_nonnull(ordered);
    ck_assert_int_eq(count, cores_allowed(NULL, 0));
    free(ordered);
}
END_TEST

// Compact: neighbours share a cache. Spread: the caches take turns. The order within a cache is the given one. The last level is
// the highest that there is.
START_TEST(cores_are_arranged_by_caches) {
    static const int last_levels[] = {1, 2, 3, 9};
    const char *root = shell_folder();
    for (int cpu = 0; cpu < 7; cpu++) {  // numbered across two caches, the second with more cores
        char own[16], level[64];
        snprintf(own, sizeof own, "%d\n", cpu);
        write_list(cpu, "cache/index0/shared_cpu_list", own);
        write_list(cpu, "cache/index1/shared_cpu_list", own);
        snprintf(level, sizeof level, "cache/index%d/shared_cpu_list", last_levels[_i]);
        write_list(cpu, level, cpu % 2 || cpu == 6 ? "1,3,5-6\n" : "0,2,4\n");
    }
    int compact[] = {0, 1, 2, 3, 4, 6, 5}, spread[] = {0, 1, 2, 3, 4, 6, 5}, unknown[] = {8, 7};
    static const int together[] = {0, 2, 4, 1, 3, 6, 5}, in_turn[] = {0, 1, 2, 3, 4, 6, 5};
    cores_arrange(root, compact, 7, false);
    ck_assert_int_eq(memcmp(compact, together, sizeof together), 0);
    cores_arrange(root, spread, 7, true);
    ck_assert_int_eq(memcmp(spread, in_turn, sizeof in_turn), 0);
    cores_arrange(root, compact, 7, true);
    ck_assert_int_eq(memcmp(compact, in_turn, sizeof in_turn), 0);
    cores_arrange("/no/such/folder", unknown, 2, true);
    ck_assert(unknown[0] == 8 && unknown[1] == 7);
}
END_TEST

Suite *suite_cores(void) {
    Suite *suite = suite_create("cores");
    TCase *cases = tcase_create("cores");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_checked_fixture(cases, shell_begin, shell_end);
    tcase_add_test(cases, the_smallest_quota_counts);
    tcase_add_test(cases, quotas_lower_the_threads);
    tcase_add_test(cases, cores_come_before_siblings);
    tcase_add_loop_test(cases, cores_are_arranged_by_caches, 0, 4);
    suite_add_tcase(suite, cases);
    return suite;
}
