// The machine as a value, its fingerprint, the cache of peaks, read loops and tables.
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../compiler/machine.h"
#include "../compiler/measure.h"
#include "../compiler/measure_bandwidth.h"
#include "../compiler/peaks.h"
#include "../compiler/report.h"
#include "../compiler/table.h"
#include "shell.h"
#include "suites.h"

static Machine imagined(void) {
    Machine machine = {.cpu = "Imagined 9000",
                       .architecture = "x86_64",
                       .capabilities = " avx2 fma avx512f ",
                       .cache_count = 2,
                       .caches = {{1, 32768, 64, 1}, {2, 1 << 20, 64, 2}},
                       .threads = 4,
                       .memory_available = (int64_t)16 << 30};
    return machine;
}

// --- detection -----------------------------------------------------------------------------------------------------

START_TEST(detection_makes_sense_here) {
    Machine machine;
    ck_assert_int_eq(machine_detect(&machine), 0);
    ck_assert_int_ge(machine.threads, 1);
    ck_assert_int_le(machine.threads, machine.units_allowed);
    ck_assert_int_le(machine.units_allowed, machine.units_online);
    ck_assert_int_ge(machine.cores_allowed, 1);
    ck_assert_int_ge(machine.numa_nodes, 1);
    ck_assert_int_gt(machine.memory_available, 0);
    ck_assert_int_le(machine.memory_available, machine.memory_total);
    for (int64_t i = 1; i < machine.cache_count; i++) {
        ck_assert_int_gt(machine.caches[i].level, machine.caches[i - 1].level);
        ck_assert_int_gt(machine.caches[i].bytes, 0);
    }
#ifdef __x86_64__
    ck_assert_str_eq(machine.architecture, "x86_64");
    ck_assert_int_eq(machine_has(&machine, "avx2"), __builtin_cpu_supports("avx2") != 0);
    ck_assert_int_eq(machine_has(&machine, "avx512f"), __builtin_cpu_supports("avx512f") != 0);
#endif
}
END_TEST

START_TEST(capabilities_are_whole_names) {
    Machine machine = imagined();
    char missing[64];
    ck_assert(machine_has(&machine, "avx512f"));
    ck_assert(machine_has(&machine, "avx2"));
    ck_assert(!machine_has(&machine, "avx512"));
    ck_assert(!machine_has(&machine, "avx"));
    ck_assert(machine_has_all(&machine, "avx2 fma", missing, sizeof missing));
    ck_assert(machine_has_all(&machine, "", missing, sizeof missing));
    ck_assert(!machine_has_all(&machine, "avx2 neon fma sve", missing, sizeof missing));
    ck_assert_str_eq(missing, "neon sve");
    machine.capabilities[0] = 0;
    ck_assert(!machine_has(&machine, "avx2"));
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
    strcpy(b.capabilities, " avx2 fma ");
    machine_fingerprint(&b, y);
    ck_assert_str_ne(x, y);
}
END_TEST

// --- read loops ----------------------------------------------------------------------------------------------------

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

// --- the cache of peaks --------------------------------------------------------------------------------------------

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

// --- text ----------------------------------------------------------------------------------------------------------

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
    tcase_add_test(cases, capabilities_are_whole_names);
    tcase_add_test(cases, fingerprint_is_of_what_decides_speed);
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
