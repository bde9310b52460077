// catena wisdom, run as users run it, on files that the store wrote.
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "compiler/commands/command.h"
#include "compiler/wisdom/parts.h"
#include "fixture.h"
#include "shell.h"
#include "suites.h"

static const Machine machine = {
    .cpu = "Test CPU", .architecture = "x86_64", .cores_allowed = 4, .units_allowed = 8, .numa_nodes = 1};
static char ids[4][WISDOM_ID_BYTES];

// Puts an entry into $D/NAME and returns its id through `id`.
static void put(const char *name, char id[WISDOM_ID_BYTES], int threads, const char *generator, int rows, double gain, int days) {
    char path[SHELL_PATH_BYTES + 32], note[WISDOM_NOTE_BYTES];
    Layer layer = fixture_neutral((Layer){.hidden = 2048, .iterations = 2, .experts = 64, .intermediate = 1024, .top_k = 8});
    WisdomKey key = {&layer, "avx512", "x86_64-0123", "4 cores", threads, "1 16 uniform", generator, wisdom_llvm()};
    json_t *decisions = json_pack("{s:i, s:i}", "gate_up.max_rows", rows, "few_tokens", 4);
    json_object_set_new(decisions, "path", json_string(rows < 16 ? "bf16_dot" : "bf16_widened"));
    json_t *measurements = json_pack("[{s:i}]", "number", rows);
    json_t *entry = wisdom_entry(&key, &machine, decisions, gain, gain - 0.02, gain + 0.02, measurements);
    Diagnostics diagnostics = {0};
    json_object_set_new(entry, "time", json_integer((json_int_t)time(NULL) - days * 86400 - 5));
    snprintf(path, sizeof path, "%s/%s", shell_folder(), name);
    ck_assert_int_eq(wisdom_update(path, &key, entry, note, &diagnostics), 0);
    wisdom_id(&key, id);
    json_decref(entry);
    json_decref(decisions);
    json_decref(measurements);
}

// $D/w.json: one entry of today, one that is 40 days old, one of another generator. $D/other.json: the first, decided differently,
// and one more.
static void begin(void) {
    shell_begin();
    put("w.json", ids[0], 2, wisdom_generator(), 14, 1.08, 0);
    put("w.json", ids[1], 4, wisdom_generator(), 12, 1.25, 40);
    put("w.json", ids[2], 8, "0.0.1", 10, 1.5, 1);
    put("other.json", ids[0], 2, wisdom_generator(), 16, 1.12, 2);
    put("other.json", ids[3], 16, wisdom_generator(), 6, 1.01, 3);
}

#define RUN "$CATENA wisdom -w $D/w.json "

START_TEST(usage) {
    static const struct {
        const char *arguments, *words;
    } rows[] = {
        {"", "what is to be done? list, show"},
        {"frobnicate", "unknown action 'frobnicate'"},
        {"list x", "list takes none, not 1 arguments"},
        {"show", "show takes ID, not 0"},
        {"forget", "forget takes either entries' ids or --all"},
        {"forget 12 --all", "forget takes either entries' ids or --all"},
        {"list --all", "--all goes with forget only"},
        {"list --days 3", "--days goes with prune only"},
        {"prune --days -1", "'-1'"},
        {"list --format xml", "md or json, not 'xml'"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        shell_expect(EXIT_USAGE, rows[i].words, RUN "%s", rows[i].arguments);
    }
    shell_expect(EXIT_FAILED, "name a file with --wisdom", "env -u HOME -u XDG_DATA_HOME $CATENA wisdom list");
}
END_TEST

START_TEST(list_and_show) {
    int status;
    char short_id[8];
    shell_expect(EXIT_OK, "2048 x 1024, 64 experts, k 8, 2 iterations, fp32 weights, fp32 compute | avx512 |       8 | 1 day ",
                 RUN "list");
    shell_expect(EXIT_OK, "| Test CPU | 1.250 (1.230..1.270) | yes", RUN "list");
    shell_expect(EXIT_OK, "| 1 16 uniform |", RUN "list");
    shell_expect(EXIT_OK, "no: measured with catena 0.0.1, LLVM ", RUN "list");
    shell_expect(EXIT_OK, "no entries in ", "$CATENA wisdom -w $D/none.json list");
    snprintf(short_id, sizeof short_id, "%.7s", ids[1]);
    shell_expect(EXIT_OK, "| gate_up.max_rows | 12       |", RUN "show %s", short_id);
    shell_expect(EXIT_OK, "{\"number\":12}", RUN "show %s", short_id);
    shell_expect(EXIT_FAILED, "w.json: error: no entry 'zz'", RUN "show zz");
    char *text = shell_read(&status, RUN "list --format json");
    json_t *document = json_loads(text, 0, NULL), *entries = json_object_get(document, "entries");
    ck_assert_msg(json_array_size(entries) == 3, "%s", text);
    ck_assert_str_eq(json_string_value(json_object_get(json_array_get(entries, 1), "id")), ids[1]);
    ck_assert(json_is_false(json_object_get(json_array_get(entries, 2), "trusted")));
    ck_assert_ptr_null(json_object_get(json_array_get(entries, 0), "measurements"));
    json_decref(document);
    free(text);
    text = shell_read(&status, RUN "show --format json %s", ids[0]);
    document = json_loads(text, 0, NULL);
    ck_assert_msg(json_array_size(json_object_get(document, "measurements")) == 1, "%s", text);
    json_decref(document);
    free(text);
}
END_TEST

// Of two entries of one shape the list says what is not the same.
START_TEST(compute_classes) {
    shell_expect(EXIT_OK, "fp32 weights, bf16 compute | avx512",
                 "sed -i 's/\"compute\": \"fp32\"/\"compute\": \"bf16\"/' $D/other.json; "
                 "id=$($CATENA wisdom -w $D/other.json list 2>&1 | grep -o 'of this key is [0-9a-f]*' | head -1 | tail -c 17); "
                 "sed -i \"s/%s/$id/\" $D/other.json; $CATENA wisdom -w $D/other.json list 2>/dev/null",
                 ids[0]);
}
END_TEST

// A default that stays was not measured against itself.
START_TEST(ties) {
    char id[WISDOM_ID_BYTES];
    put("tie.json", id, 2, wisdom_generator(), 14, 1, 0);
    shell_expect(EXIT_OK, "| 1.000 (0.980..1.020) |", "$CATENA wisdom -w $D/tie.json list");
    shell_expect(EXIT_OK, "| default stays | yes",
                 "sed -i -E 's/\"(gain|low|high)\": [0-9.]+/\"\\1\": 1.0/' $D/tie.json; "
                 "$CATENA wisdom -w $D/tie.json list");
    shell_expect(EXIT_OK, "| tie, default stays: 1.002 (0.990..1.010) | yes",
                 "sed -i 's/\"gain\": 1.0/\"tie\": {\"gain\": 1.002, \"low\": 0.99, \"high\": 1.01}, &/' $D/tie.json; "
                 "$CATENA wisdom -w $D/tie.json list");
    shell_expect(EXIT_OK, "| tie, default stays: 1.002 (0.990..1.010)", "$CATENA wisdom -w $D/tie.json show %s", id);
}
END_TEST

// An entry of another id begins with the same characters: 17 ids share one of 16 first digits.
START_TEST(short_ids_must_be_unique) {
    char id[WISDOM_ID_BYTES];
    int seen[256] = {0};
    for (int threads = 100; threads < 117; threads++) {
        put("many.json", id, threads, wisdom_generator(), 14, 1.08, 0);
        if (seen[(unsigned char)*id]++) {
            shell_expect(EXIT_FAILED, "more than one id begins with '", "$CATENA wisdom -w $D/many.json show %.1s", id);
            return;
        }
    }
    ck_abort_msg("17 ids with 17 first digits");
}
END_TEST

START_TEST(differences) {
    shell_expect(EXIT_OK, "| gate_up.max_rows      |                   14 |                   16 |", RUN "diff $D/other.json");
    shell_expect(1, "", RUN "diff $D/other.json | grep few_tokens");
    shell_expect(EXIT_OK, "| path                  |             bf16_dot |         bf16_widened |", RUN "diff $D/other.json");
    shell_expect(EXIT_OK, "", RUN "diff $D/other.json | grep -q 'only in .*/w.json: %s'", ids[1]);
    shell_expect(EXIT_OK, "", RUN "diff $D/other.json | grep -q 'only in .*/other.json: %s'", ids[3]);
    shell_expect(EXIT_OK, "no decision differs", RUN "diff $D/w.json");
    shell_expect(EXIT_OK, "| gate_up.max_rows      |                   14 |                   12 |", RUN "diff %s %s", ids[0],
                 ids[1]);
    shell_expect(EXIT_FAILED, "none.json: error: No such file", RUN "diff $D/none.json");
}
END_TEST

START_TEST(merging_files) {
    shell_expect(EXIT_OK, "1 new, 1 changed, 4 in all", RUN "merge $D/other.json");
    shell_expect(EXIT_OK, "0 new, 0 changed, 4 in all", RUN "merge $D/other.json $D/w.json");
    shell_expect(EXIT_OK, "| gate_up.max_rows | 16           |", RUN "show %s", ids[0]);
    shell_expect(EXIT_OK, "2 measurements", RUN "show %s", ids[0]);
    shell_expect(EXIT_OK, "", "cp $D/w.json $D/before && head -c 900 $D/other.json >$D/cut.json");
    // One bad file of several: nothing is merged, and what is not the user's stays where it is.
    shell_expect(EXIT_FAILED, "cut.json:", "rm $D/w.json; " RUN "merge $D/other.json $D/cut.json");
    shell_expect(EXIT_OK, "", "test -e $D/cut.json && ! test -e $D/w.json && ! ls $D | grep damaged");
    shell_expect(EXIT_FAILED, "cli.c:1:1: error: ", RUN "import tests/test_cli.c");
}
END_TEST

START_TEST(exporting_and_importing) {
    shell_expect(EXIT_OK, "", RUN "export $D/all.json && $CATENA wisdom -w $D/copy.json import $D/all.json");
    shell_expect(EXIT_OK, "", "cmp $D/copy.json $D/w.json");
    shell_expect(EXIT_OK, "3 new, 0 changed, 3 in all", RUN "export | $CATENA wisdom -w $D/piped.json import");
    shell_expect(EXIT_OK, "", "cmp $D/piped.json $D/w.json");
    shell_expect(EXIT_OK, "1 new, 0 changed, 1 in all", RUN "export - %s | $CATENA wisdom -w $D/one.json import -", ids[1]);
    shell_expect(EXIT_FAILED, "all.json: error: exists", RUN "export $D/all.json");
    shell_expect(EXIT_FAILED, "no entry 'zz'", RUN "export $D/some.json %s zz", ids[0]);
    shell_expect(EXIT_FAILED, "standard output: ", RUN "export >/dev/full");
    shell_expect(EXIT_OK, "", "test -s $D/all.json && ! test -e $D/some.json");
}
END_TEST

START_TEST(pruning) {
    shell_expect(EXIT_OK, ids[2], RUN "prune");
    shell_expect(EXIT_OK, "nothing to drop", RUN "prune");
    shell_expect(EXIT_OK, "nothing to drop", RUN "prune --days 41");
    shell_expect(EXIT_OK, ids[1], RUN "prune --days 40");
    shell_expect(EXIT_OK, "1\n", RUN "list | grep -c Test");
    shell_expect(EXIT_OK, ids[0], RUN "list");
}
END_TEST

START_TEST(forgetting) {
    shell_expect(EXIT_FAILED, "no entry 'zz'", RUN "forget %s zz", ids[0]);
    shell_expect(EXIT_OK, "3\n", RUN "list | grep -c Test");
    shell_expect(EXIT_OK, "dropped ", RUN "forget %.8s %s", ids[0], ids[2]);
    shell_expect(EXIT_OK, "1\n", RUN "list | grep -c Test");
    shell_expect(EXIT_OK, ids[1], RUN "forget --all");
    shell_expect(EXIT_OK, "no entries", RUN "list");
}
END_TEST

// What the system knows is seen and never changed.
START_TEST(files_of_others) {
    shell_expect(EXIT_OK, "", "cp $D/other.json $D/before");
    shell_expect(EXIT_OK, "4\n", RUN "--system $D/other.json list | grep -c Test");
    shell_expect(EXIT_FAILED, "no entry", RUN "--system $D/other.json forget %s", ids[3]);
    shell_expect(EXIT_OK, "", RUN "--system $D/other.json forget --all && cmp $D/other.json $D/before");
    shell_expect(EXIT_FAILED, "error: cannot create the folder '/proc/catena': No such file",
                 "XDG_DATA_HOME=/proc// $CATENA wisdom merge $D/other.json");
    shell_expect(EXIT_OK, "2 new", "XDG_DATA_HOME=$D/home $CATENA wisdom merge $D/other.json");
    shell_expect(EXIT_OK, "", "test -s $D/home/catena/wisdom.json");
}
END_TEST

// A file that is named is left alone by what only reads, and set aside by what writes; the user's is set aside by both.
START_TEST(damaged_files) {
    static const char *const readers[] = {"list", "show 1", "diff $D/other.json", "diff 1 2", "export"};
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++) {
        shell_expect(EXIT_FAILED, "w.json:2:1: error: ", "echo '{' >$D/w.json; " RUN "%s", readers[i]);
    }
    shell_expect(EXIT_OK, "{\n", "! ls $D | grep damaged && cat $D/w.json");
    shell_expect(EXIT_OK, "it was set aside as ", RUN "import $D/other.json");
    shell_expect(EXIT_OK, "{\n", "cat $D/w.json.damaged-1");
    shell_expect(EXIT_OK, "it was set aside as ",
                 "mkdir $D/catena && echo '{' >$D/catena/wisdom.json && "
                 "XDG_DATA_HOME=$D $CATENA wisdom list");
}
END_TEST

// The rest of a file with a bad entry works; the bad one goes where the user says so.
START_TEST(bad_entries) {
    shell_expect(EXIT_OK, "\"gain\" must be a number from 0.001 to 1000, found -4; this entry is not used",
                 "sed -i 's/\"gain\": 1.25/\"gain\": -4/' $D/w.json; " RUN "list");
    shell_expect(EXIT_OK, "2\n", RUN "list 2>$D/null | grep -c Test");
    shell_expect(EXIT_FAILED, "no entry", RUN "show %s", ids[1]);
    shell_expect(EXIT_FAILED, "found -4", "$CATENA wisdom -w $D/new.json merge $D/w.json");
    shell_expect(EXIT_OK, "", RUN "prune; grep -- '\"gain\": -4' $D/w.json");
    shell_expect(EXIT_OK, "dropped an entry that was not used", RUN "forget %s", ids[1]);
    shell_expect(EXIT_OK, "1\n", "! " RUN "list 2>&1 | grep error; " RUN "list | grep -c Test");
}
END_TEST

// One whose key was measured again makes room, can be told apart from the new one, and says what to do once it is mended.
START_TEST(bad_entries_with_successors) {
    shell_expect(EXIT_OK, "",
                 "cp $D/w.json $D/good.json; sed -i 's/\"gain\": 1.25/\"gain\": -4/' $D/w.json; " RUN
                 "import $D/good.json && grep -q '%s.refused-1' $D/w.json",
                 ids[1]);
    shell_expect(EXIT_OK, "is mended, but another of this key was measured since",
                 "sed 's/-4/1.25/' $D/w.json >$D/m.json; $CATENA wisdom -w $D/m.json list");
    shell_expect(EXIT_OK, "dropped ", RUN "forget %s", ids[1]);
    shell_expect(EXIT_OK, "1\n", "grep -c %s $D/w.json", ids[1]);
}
END_TEST

Suite *suite_wisdom_command(void) {
    Suite *suite = suite_create("wisdom_command");
    TCase *cases = tcase_create("wisdom_command");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_checked_fixture(cases, begin, shell_end);
    tcase_add_test(cases, usage);
    tcase_add_test(cases, list_and_show);
    tcase_add_test(cases, compute_classes);
    tcase_add_test(cases, ties);
    tcase_add_test(cases, short_ids_must_be_unique);
    tcase_add_test(cases, differences);
    tcase_add_test(cases, merging_files);
    tcase_add_test(cases, exporting_and_importing);
    tcase_add_test(cases, pruning);
    tcase_add_test(cases, forgetting);
    tcase_add_test(cases, files_of_others);
    tcase_add_test(cases, damaged_files);
    tcase_add_test(cases, bad_entries);
    tcase_add_test(cases, bad_entries_with_successors);
    suite_add_tcase(suite, cases);
    return suite;
}
