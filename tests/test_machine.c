// The machine as a value, machines read from descriptions, fingerprints, the cache of peaks, read loops and tables.
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compiler/base/table.h"
#include "compiler/machine/bandwidth.h"
#include "compiler/machine/machine.h"
#include "compiler/machine/peaks.h"
#include "compiler/machine/report.h"
#include "compiler/measure/measure.h"
#include "compiler/plan/paths.h"
#include "shell.h"
#include "suites.h"

static Machine imagined(void) {
    Machine machine = {.cpu = "Imagined 9000",
                       .architecture = "x86_64",
                       .capabilities = {"avx2 fma avx512f"},
                       .cache_count = 2,
                       .caches = {{1, 32768, 64, 1, 1}, {2, 1 << 20, 64, 2, 1}},
                       .threads = 4,
                       .memory_available = (int64_t)16 << 30};
    return machine;
}

// --- detection ---------------------------------------------------------------------------------------------------------------

START_TEST(detection_makes_sense_here) {
    Machine machine;
    ck_assert_int_eq(machine_detect(&machine), 0);
    ck_assert_int_ge(machine.threads, 1);
    ck_assert_int_le(machine.threads, machine.units_allowed);
    ck_assert_int_le(machine.units_allowed, machine.units_online);
    ck_assert_int_ge(machine.cores_allowed, 1);
    ck_assert_int_ge(machine.numa_nodes, 1);
    ck_assert_int_ge(machine.kinds, 1);
    ck_assert_int_eq(machine.unit_count, machine.units_allowed);
    for (int64_t i = 0; i < machine.unit_count; i++) {
        ck_assert_int_lt(machine.units[i].core, machine.cores_allowed);
        ck_assert_int_lt(machine.units[i].node, machine.numa_nodes);
    }
    ck_assert_int_gt(machine.memory_available, 0);
    ck_assert_int_le(machine.memory_available, machine.memory_total);
    for (int64_t i = 1; i < machine.cache_count; i++) {
        ck_assert_int_gt(machine.caches[i].level, machine.caches[i - 1].level);
        ck_assert_int_gt(machine.caches[i].bytes, 0);
    }
#ifdef __x86_64__
    ck_assert_str_eq(machine.architecture, "x86_64");
    ck_assert_int_eq(features_has(&machine.capabilities, "avx2"), __builtin_cpu_supports("avx2") != 0);
    ck_assert_int_eq(features_has(&machine.capabilities, "avx512f"), __builtin_cpu_supports("avx512f") != 0);
#endif
}
END_TEST

// Names that are parts of others are features of their own, in whichever order they come.
START_TEST(features_are_whole_names) {
    Features set = {""}, other = {""};
    ck_assert(features_add(&set, " avx512vbmi2  avx512f ") && features_add(&set, "avx512vbmi avx512f avx2"));
    ck_assert_str_eq(set.names, "avx512vbmi2 avx512f avx512vbmi avx2");
    ck_assert(features_has(&set, "avx512vbmi") && features_has(&set, "avx512f") && features_has(&set, "avx2"));
    ck_assert(!features_has(&set, "avx512") && !features_has(&set, "avx") && !features_has(&set, "vbmi"));
    ck_assert(!features_has(&set, "avx512f avx512vbmi") && !features_has(&set, "") && !features_has(&other, ""));
    ck_assert_str_eq(features_missing(&set, "avx2 neon  avx512vbmi fma neon").names, "neon fma");
    ck_assert_str_eq(features_missing(&set, "").names, "");
    ck_assert(features_add(&other, "avx512vbmi2"));
    ck_assert_str_eq(features_missing(&other, "avx512vbmi2 avx512vbmi").names, "avx512vbmi");
}
END_TEST

// What has no room is not added by halves, and said.
START_TEST(features_have_room) {
    Features set = {""};
    char name[16];
    int count = 0;
    do {
        snprintf(name, sizeof name, "name%03d", count++);
    } while (features_add(&set, name));
    ck_assert_int_eq(count - 1, FEATURES_BYTES / 8);  // of 7 characters, and a space or the end behind each
    ck_assert(!features_has(&set, name) && features_has(&set, "name000"));
    ck_assert(features_add(&set, "name000 name001"));
    ck_assert(!features_add(&set, "name000 more"));
}
END_TEST

// All capabilities of a machine, sorted by whether a path of its architecture asks for them.
START_TEST(capabilities_are_used_or_not) {
    Machine machine = imagined();
    Features used, unused;
    machine.capabilities = (Features){"avx512vbmi bf16 avx2 avx512bf16 avx512"};
    paths_capabilities(&machine, &used, &unused);
    ck_assert_str_eq(used.names, "avx2 avx512bf16");
    ck_assert_str_eq(unused.names, "avx512vbmi bf16 avx512");
    ck_assert(paths_able(&machine, &target_avx512, PATH_BF16_DOT));
    ck_assert(!paths_able(&machine, &target_avx512, PATH_BF16_AMX));
    ck_assert(paths_able(&machine, &target_avx512, PATH_FP32_FMA));
}
END_TEST

START_TEST(fingerprint_is_of_what_decides_speed) {
    Machine a = imagined(), b = imagined();
    char x[MACHINE_FINGERPRINT_BYTES], y[MACHINE_FINGERPRINT_BYTES];
    b.memory_available = 1;
    b.threads = 1;
    b.caches[1].shared_by = 1;
    machine_fingerprint(&a, x);
    machine_fingerprint(&b, y);
    ck_assert_str_eq(x, y);
    b.caches[1].bytes *= 2;
    machine_fingerprint(&b, y);
    ck_assert_str_ne(x, y);
    b = a;
    b.capabilities = (Features){"avx2 fma"};
    machine_fingerprint(&b, y);
    ck_assert_str_ne(x, y);
    ck_assert_str_eq(x, "x86_64-e3cc47cdee1c3b52");  // what is kept of a machine is found by it
}
END_TEST

// --- machines that are not there ---------------------------------------------------------------------------------------------

static void expect_unread(const char *source, const char *words) {
    Machine machine;
    Diagnostics diagnostics = {0};
    ck_assert_msg(machine_read(source, &machine, &diagnostics) == -1, "read: %.60s", source);
    ck_assert_int_eq((int)diagnostics.count, 1);
    ck_assert_msg(strstr(diagnostics.text, words) != NULL, "%s", diagnostics.text);
    diagnostics_free(&diagnostics);
}

START_TEST(synthetic_machines_are_read) {
    Machine machine;
    Diagnostics diagnostics = {0};
    ck_assert_int_eq(machine_read("pack:2 numa:2 l3:1(size=33554432) core:3 pu:2", &machine, &diagnostics), 0);
    ck_assert_int_eq(machine.units_allowed, 24);
    ck_assert_int_eq(machine.unit_count, 24);
    ck_assert_int_eq(machine.cores_allowed, 12);
    ck_assert_int_eq(machine.threads, 12);
    ck_assert_int_eq(machine.numa_nodes, 4);
    ck_assert_int_eq(machine.kinds, 1);
    ck_assert_int_eq(machine.cache_count, 1);
    ck_assert(machine.caches[0].level == 3 && machine.caches[0].bytes == 32 << 20 && machine.caches[0].shared_by == 6);
    ck_assert_int_eq(machine.caches[0].cores, 3);
    ck_assert_str_eq(machine.capabilities.names, "");
    for (int i = 0; i < 24; i++) {
        const MachineUnit *unit = &machine.units[i];
        ck_assert(unit->number == i && unit->core == i / 2 && unit->sibling == i % 2 && unit->node == i / 6);
        ck_assert(unit->caches[0] == i / 6 && unit->kind == 0);
    }
    ck_assert_int_eq(machine_read("pack:2 core:512 pu:1", &machine, &diagnostics), 0);
    ck_assert_int_eq(machine.unit_count, MACHINE_MAX_UNITS);
}
END_TEST

START_TEST(exported_machines_are_read) {
    Machine machine;
    Diagnostics diagnostics = {0};
    ck_assert_int_eq(machine_read("tests/data/topology/hybrid.xml", &machine, &diagnostics), 0);
    ck_assert_str_eq(machine.cpu, "Hybrid of six fast and ten slow cores");
    ck_assert_str_eq(machine.architecture, "x86_64");
    ck_assert(machine.unit_count == 22 && machine.cores_allowed == 16 && machine.kinds == 2);
    for (int i = 0; i < 22; i++) {
        ck_assert_int_eq(machine.units[i].kind, i < 12);
    }
    ck_assert_int_eq(machine_read("tests/data/topology/distances.xml", &machine, &diagnostics), 0);
    ck_assert(machine.numa_nodes == 2 && machine.near_distance == 10 && machine.far_distance == 21);
}
END_TEST

START_TEST(what_is_no_machine) {
    char text[6000];
    expect_unread("", "topology ''");
    expect_unread("nonsense", "topology 'nonsense': no such file, and no synthetic description");
    expect_unread("core:4", "no synthetic description");
    expect_unread("pack:2 core:0 pu:1", "no synthetic description");
    expect_unread("pack:2 core:3000 pu:1", "it has 6000 hardware threads, expected at most 1024");
    expect_unread("pack:99999999999999999999999 pu:2", "expected at most 1024");
    expect_unread("numa:128 core:2 pu:1", "it has 128 NUMA nodes, expected at most 64");
    memset(text, '1', sizeof text - 1);
    text[sizeof text - 1] = 0;
    expect_unread(text, "expected at most 1024");
    memset(text, ' ', sizeof text - 1);
    expect_unread(text, "");
    expect_unread("missing.xml", "missing.xml: error: cannot read: No such file");
    expect_unread("tests/data", "tests/data: error: cannot read: it is no file");
    expect_unread("/dev/null", "/dev/null: error: cannot read: it is no file");
    expect_unread("LICENSE", "LICENSE: error: ");
    expect_unread("examples/olmoe_1b_7b.json", "it begins with '{.");
}
END_TEST

// Whatever becomes of a file, it is read or refused: hwloc itself asserts, recurses and allocates as the file tells it to.
START_TEST(damaged_machines_do_no_harm) {
    char path[SHELL_PATH_BYTES];
    size_t size;
    char *good = shell_read_file("tests/data/topology/hybrid.xml", &size), *bad = malloc(size + 1);
    uint32_t random = 1;
    int refused = 0;
    enum { ROUNDS = 300 };
    shell_template(path);
    close(mkstemp(path));
    for (int round = 0; round < ROUNDS; round++) {
        Machine machine;
        Diagnostics diagnostics = {0};
        size_t bytes = size;
        memcpy(bad, good, size + 1);
        for (int i = 0; i < 1 + round % 8; i++) {
            random = random * 1664525 + 1013904223;
            size_t at = (random >> 8) % size;
            if (round % 5 == 4) {
                bytes = at + 1;  // cut off
            } else {
                bad[at] = "0123456789<>\"/x \xff"[random >> 3 & 15];
            }
        }
        shell_write_file(path, bad, bytes);
        int status = machine_read(path, &machine, &diagnostics);
        ck_assert_int_eq(status == 0, diagnostics.count == 0);
        if (!status) {
            ck_assert(machine.unit_count >= 1 && machine.unit_count <= MACHINE_MAX_UNITS && machine.cores_allowed >= 1);
        }
        for (int64_t i = 0; !status && i < machine.unit_count; i++) {
            const MachineUnit *unit = &machine.units[i];
            ck_assert(unit->core >= 0 && unit->core < machine.cores_allowed && unit->node >= 0 && unit->node < machine.numa_nodes);
            ck_assert(unit->kind >= 0 && unit->kind < machine.kinds);
        }
        refused += status != 0;
        diagnostics_free(&diagnostics);
    }
    ck_assert_int_gt(refused, ROUNDS / 10);
    unlink(path);
    free(good);
    free(bad);
}
END_TEST

START_TEST(topology_texts_say_what_may_be_used) {
    Machine a, b;
    Diagnostics diagnostics = {0};
    char x[MACHINE_TOPOLOGY_BYTES], y[MACHINE_TOPOLOGY_BYTES];
    ck_assert_int_eq(machine_read("pack:2 numa:1 l3:1 core:4 pu:2", &a, &diagnostics), 0);
    machine_topology_text(&a, x);
    ck_assert_msg(strstr(x, "16 hardware threads of 8 cores, 2 nodes") == x, "%s", x);
    b = a;
    for (int i = 0; i < 16; i++) {
        b.units[i].number += 64;  // the same elsewhere
    }
    b.memory_available = b.threads = 1;
    machine_topology_text(&b, y);
    ck_assert_str_eq(x, y);
    b.units[15].caches[0] = 2;  // a slice of its own
    machine_topology_text(&b, y);
    ck_assert_str_ne(x, y);
    b = a;
    b.units[3].core = b.units[4].core, b.units[4].core = 1;
    machine_topology_text(&b, y);
    ck_assert_str_ne(x, y);
}
END_TEST

// --- read loops --------------------------------------------------------------------------------------------------------------

START_TEST(cold_is_large) {
    Machine machine = imagined();
    bool is_short;
    ck_assert_int_eq(bandwidth_cold_bytes(&machine, &is_short), 1 << 30);
    ck_assert(!is_short);
    machine.caches[1].bytes = (int64_t)400 << 20;
    ck_assert_int_eq(bandwidth_cold_bytes(&machine, &is_short), (int64_t)1600 << 20);
    machine.memory_available = (int64_t)1 << 30;
    ck_assert_int_eq(bandwidth_cold_bytes(&machine, &is_short), (int64_t)512 << 20);
    ck_assert(is_short);
}
END_TEST

START_TEST(read_loops_read) {
    uint8_t *memory = bandwidth_allocate(1 << 20, false);
    ck_assert_ptr_nonnull(memory);
    ck_assert_uint_eq((uintptr_t)memory % (2 << 20), 0);
    const uint8_t *parts[] = {memory, memory + (1 << 19)};
    ReadSet set = {parts, 2, 1 << 19, 1 << 17};
    Bandwidth bandwidth = {0};
    ck_assert_int_eq(bandwidth_read(&set, 2, 0, &bandwidth), 0);
    ck_assert(bandwidth.gbytes_s > 0 && isfinite(bandwidth.gbytes_s));
    ck_assert_int_eq(bandwidth.bytes, 1 << 20);
    set.window = 1024;  // less than a thread's share
    ck_assert_int_eq(bandwidth_read(&set, 2, 0, &bandwidth), -1);
    free(memory);
}
END_TEST

// --- the cache of peaks ------------------------------------------------------------------------------------------------------

static void write_text(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

START_TEST(peaks_are_remembered_per_target_and_threads) {
    char directory[SHELL_PATH_BYTES], path[PEAKS_PATH_BYTES];
    Machine machine = imagined();
    Peaks one = {.gflops = {100.5, 50}, .tile_gflops = {90, 45}}, two = {.gflops = {200}, .tile_gflops = {90}}, read;
    shell_template(directory);
    ck_assert_ptr_nonnull(mkdtemp(directory));
    setenv("XDG_CACHE_HOME", directory, 1);
    ck_assert_int_eq(peaks_path(&machine, path), 0);
    ck_assert_ptr_nonnull(strstr(path, "/catena/peaks-x86_64-"));
    ck_assert_int_eq(peaks_load(path, "avx512", 1, &read), 1);
    ck_assert_int_eq(peaks_save(path, "avx512", 1, &one), 0);
    ck_assert_int_eq(peaks_save(path, "avx512", 2, &two), 0);
    ck_assert_int_eq(peaks_load(path, "avx512", 1, &read), 0);
    ck_assert(read.gflops[0] == 100.5 && read.gflops[1] == 50 && read.gflops[2] == 0 && read.tile_gflops[1] == 45);
    ck_assert_int_eq(peaks_load(path, "avx512", 2, &read), 0);
    ck_assert(read.gflops[0] == 200);
    ck_assert_int_eq(peaks_load(path, "avx2", 1, &read), 1);
    ck_assert_str_eq(read.note, "");
    setenv("XDG_CACHE_HOME", "/proc//", 1);
    ck_assert_int_eq(peaks_path(&machine, path), 0);
    ck_assert_int_eq(peaks_save(path, "avx512", 1, &one), -1);
    ck_assert_msg(strstr(one.note, "be remembered: cannot create the folder '/proc/catena': No such"), "%s", one.note);
    ck_assert_int_eq(shell_run("rm -r %s", directory), 0);
}
END_TEST

START_TEST(damaged_cache_is_ignored_with_a_word) {
    static const char *const damaged[] = {
        "",
        "{",
        "[]",
        "{\"version\": 99}",
        "{\"version\": 2, \"entries\": {\"avx512 1 threads\": {\"fp32_fma\": {\"peak\": \"x\"}}}}",
        "{\"version\": 2, \"entries\": {\"avx512 1 threads\": {\"fp32_fma\": {\"peak\": -1, \"tile\": 1}, "
        "\"bf16_widened\": {\"peak\": 1, \"tile\": 1}, \"bf16_dot\": {\"peak\": 1, \"tile\": 1}, "
        "\"bf16_amx\": {\"peak\": 1, \"tile\": 1}}}}"};
    char path[SHELL_PATH_BYTES];
    Peaks one = {.gflops = {1}}, read;
    shell_template(path);
    close(mkstemp(path));
    for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
        write_text(path, damaged[i]);
        ck_assert_msg(peaks_load(path, "avx512", 1, &read) == -1, "accepted: %s", damaged[i]);
        ck_assert_msg(*read.note, "no word about: %s", damaged[i]);
        ck_assert_int_eq(peaks_save(path, "avx512", 1, &one), 0);
        ck_assert_int_eq(peaks_load(path, "avx512", 1, &read), 0);
    }
    unlink(path);
}
END_TEST

START_TEST(disturbed_peaks_are_not_believed) {
    Peaks fine = {.gflops = {400, 191}, .tile_gflops = {190, 212}}, seen = {.gflops = {400, 114}, .tile_gflops = {190, 212}}, read;
    char reason[PEAKS_NOTE_BYTES], directory[SHELL_PATH_BYTES], path[PEAKS_PATH_BYTES];
    Machine machine = imagined();
    ck_assert(peaks_plausible(&fine, 2, reason));
    ck_assert_str_eq(reason, "");
    ck_assert(!peaks_plausible(&seen, 2, reason));
    ck_assert_msg(strstr(reason, "reaches 114 GFLOP/s with 2 threads, but 212"), "%s", reason);
    ck_assert(peaks_plausible(&seen, 1, reason));  // one thread has nothing to be compared with
    shell_template(directory);
    ck_assert_ptr_nonnull(mkdtemp(directory));
    setenv("XDG_CACHE_HOME", directory, 1);
    ck_assert_int_eq(peaks_path(&machine, path), 0);
    peaks_keep(&machine, "avx512", 2, &seen);
    ck_assert_int_eq(peaks_load(path, "avx512", 2, &read), 1);  // not kept
    ck_assert_int_eq(peaks_save(path, "avx512", 2, &seen), 0);
    peaks_keep(&machine, "avx512", 2, &fine);
    ck_assert_int_eq(peaks_load(path, "avx512", 2, &read), 0);
    ck_assert(read.gflops[0] == 400 && read.gflops[1] == 191);  // an implausible entry is replaced
    fine.gflops[0] = 380, fine.gflops[1] = 410;
    peaks_keep(&machine, "avx512", 2, &fine);
    ck_assert_int_eq(peaks_load(path, "avx512", 2, &read), 0);
    ck_assert(read.gflops[0] == 400 && read.gflops[1] == 410);  // of a plausible one the higher rates stay
    peaks_raise(&seen, &fine);
    ck_assert(peaks_plausible(&seen, 2, reason) && seen.gflops[1] == 410);
    ck_assert_int_eq(shell_run("rm -r %s", directory), 0);
}
END_TEST

// --- text --------------------------------------------------------------------------------------------------------------------

START_TEST(tables_are_aligned_markdown) {
    Table table = {0};
    char text[512] = "";
    FILE *stream = fmemopen(text, sizeof text, "w");
    table_column(&table, "name", true);
    table_column(&table, "value", false);
    table_cell(&table, "a \xc3\xbc");
    table_cell(&table, "%d", 12);
    table_cell(&table, "longer");
    table_print(&table, stream);
    fclose(stream);
    ck_assert_str_eq(text, "| name   | value |\n| ------ | ----: |\n| a \xc3\xbc    |    12 |\n| longer |       |\n");
    table_free(&table);
}
END_TEST

START_TEST(numbers_have_three_digits) {
    char text[32];
    ck_assert_str_eq(table_number(text, 1234.4), "1234");
    ck_assert_str_eq(table_number(text, 34.56), "34.6");
    ck_assert_str_eq(table_number(text, 9.999), "10.0");
    ck_assert_str_eq(table_number(text, 1.005), "1.00");
    ck_assert_str_eq(table_number(text, 0.0313), "0.031");
    ck_assert_str_eq(table_number(text, NAN), "-");
    ck_assert_str_eq(report_bytes(text, 48 << 10), "48 KiB");
    ck_assert_str_eq(report_bytes(text, (int64_t)3 << 29), "1.5 GiB");
}
END_TEST

Suite *suite_machine(void) {
    Suite *suite = suite_create("machine");
    TCase *cases = tcase_create("machine");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_test(cases, detection_makes_sense_here);
    tcase_add_test(cases, features_are_whole_names);
    tcase_add_test(cases, features_have_room);
    tcase_add_test(cases, capabilities_are_used_or_not);
    tcase_add_test(cases, fingerprint_is_of_what_decides_speed);
    tcase_add_test(cases, synthetic_machines_are_read);
    tcase_add_test(cases, exported_machines_are_read);
    tcase_add_test(cases, what_is_no_machine);
    tcase_add_test(cases, damaged_machines_do_no_harm);
    tcase_add_test(cases, topology_texts_say_what_may_be_used);
    tcase_add_test(cases, cold_is_large);
    tcase_add_test(cases, read_loops_read);
    tcase_add_test(cases, peaks_are_remembered_per_target_and_threads);
    tcase_add_test(cases, damaged_cache_is_ignored_with_a_word);
    tcase_add_test(cases, disturbed_peaks_are_not_believed);
    tcase_add_test(cases, tables_are_aligned_markdown);
    tcase_add_test(cases, numbers_have_three_digits);
    suite_add_tcase(suite, cases);
    return suite;
}
