// The wisdom store: keys, nearest shapes, merging, damaged files, writers that are killed. The command is in test_wisdom_command.c.
// Over 500 lines, because all of it starts from the same few entries.
#define _GNU_SOURCE
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "compiler/wisdom/parts.h"
#include "fixture.h"
#include "shell.h"
#include "suites.h"

enum { PATH_BYTES = SHELL_PATH_BYTES + 32 };

static const Machine machine = {
    .cpu = "Test CPU\n", .architecture = "x86_64", .cores_allowed = 4, .units_allowed = 8, .numa_nodes = 1};
static Layer layer;
static char path[PATH_BYTES], note[WISDOM_NOTE_BYTES];

static void begin(void) {
    shell_begin();
    snprintf(path, sizeof path, "%s/w.json", shell_folder());
    layer = fixture_neutral((Layer){.hidden = 2048,
                                    .iterations = 1,
                                    .experts = 64,
                                    .intermediate = 1024,
                                    .top_k = 8,
                                    .norm = NORM_RMS,
                                    .norm_eps = 1e-5f,
                                    .gated = 1,
                                    .weights = FORMAT_BF16,
                                    .router_weights = FORMAT_BF16,
                                    .compute = COMPUTE_FP32});
}

static WisdomKey make_key(int threads) {
    return (WisdomKey){&layer, "avx512", "x86_64-0123", "4 cores", threads, "1 16 uniform", wisdom_generator(), wisdom_llvm()};
}

// A measurement has the number that is given; the lower bound of the gain is two hundredths below it.
static json_t *make_entry(const WisdomKey *key, int rows, double gain, int number) {
    json_t *decisions = json_pack("{s:i}", "gate_up.max_rows", rows), *measurements = json_pack("[{s:f}]", "seconds", number / 3.0);
    json_t *entry = wisdom_entry(key, &machine, decisions, gain, gain - 0.02, gain + 0.02, measurements);
    ck_assert_ptr_nonnull(entry);
    json_decref(decisions);
    json_decref(measurements);
    return entry;
}

static void put(const WisdomKey *key, int rows, double gain, int number) {
    Diagnostics diagnostics = {0};
    json_t *entry = make_entry(key, rows, gain, number);
    int failed = wisdom_update(path, key, entry, note, &diagnostics);
    ck_assert_msg(!failed && !*note, "%s%s", note, diagnostics.text ? diagnostics.text : "");
    json_decref(entry);
}

static Wisdom *get(void) {
    Diagnostics diagnostics = {0};
    Wisdom *wisdom = wisdom_read(path, WISDOM_SET_ASIDE, note, &diagnostics);
    ck_assert_msg(wisdom && !*note, "%s%s", note, diagnostics.text ? diagnostics.text : "");
    return wisdom;
}

static int rows_of(const json_t *entry) {
    return (int)json_integer_value(json_object_get(json_object_get(entry, "decisions"), "gate_up.max_rows"));
}

static size_t measurements_of(const json_t *entry) {
    return json_array_size(json_object_get(entry, "measurements"));
}

// --- keys --------------------------------------------------------------------------------------------------------------------

START_TEST(ids_name_what_decides) {
    char first[WISDOM_ID_BYTES], id[WISDOM_ID_BYTES];
    WisdomKey key = make_key(4), other[7];
    wisdom_id(&key, first);
    ck_assert_uint_eq(strlen(first), 16);
    for (int i = 0; i < 7; i++) {
        other[i] = key;
    }
    Layer gelu = layer, deep = layer;
    gelu.activation = ACTIVATION_GELU;
    deep.norm_eps = nextafterf(layer.norm_eps, 1);
    other[0].layer = &gelu, other[1].layer = &deep, other[2].target = "avx2", other[3].cpu = "x86_64-0124";
    other[4].topology = "8 cores", other[5].threads = 5, other[6].workload = "1 16 zipf";
    for (int i = 0; i < 7; i++) {
        wisdom_id(&other[i], id);
        ck_assert_msg(strcmp(id, first), "part %d of the key says nothing", i);
    }
    key.generator = "0.0.1", key.llvm = "18.1";
    wisdom_id(&key, id);
    ck_assert_str_eq(id, first);
}
END_TEST

START_TEST(entries_are_found) {
    WisdomKey key = make_key(4), other = make_key(5), old = make_key(6), foreign = make_key(4);
    old.generator = "0.0.1";
    foreign.workload = "\x1b[31m \xff";  // reaches no terminal, and JSON has no such text
    put(&key, 14, 1.08, 1);
    put(&other, 12, 1.5, 1);
    put(&old, 10, 2, 1);
    put(&foreign, 8, 1.2, 1);
    Wisdom *wisdom = get();
    ck_assert_int_eq(rows_of(wisdom_find(wisdom, &key)), 14);
    ck_assert_int_eq(rows_of(wisdom_find(wisdom, &other)), 12);
    ck_assert_int_eq(rows_of(wisdom_find(wisdom, &foreign)), 8);
    ck_assert_double_eq(json_number_value(json_object_get(wisdom_find(wisdom, &key), "gain")), 1.08);
    ck_assert_ptr_null(wisdom_find_outdated(wisdom, &key));
    WisdomKey current = make_key(6), unknown = make_key(7);
    ck_assert_ptr_null(wisdom_find(wisdom, &current));
    ck_assert_int_eq(rows_of(wisdom_find_outdated(wisdom, &current)), 10);
    ck_assert_ptr_null(wisdom_find(wisdom, &unknown));
    ck_assert_ptr_null(wisdom_find_outdated(wisdom, &unknown));
    wisdom_free(wisdom);
}
END_TEST

// A file of the first version stays readable, and its entries keep their ids.
START_TEST(recorded_file_is_read) {
    Diagnostics diagnostics = {0};
    Wisdom *wisdom = wisdom_read_foreign("tests/data/wisdom/entry.json", &diagnostics);
    ck_assert_msg(wisdom, "%s", diagnostics.text);
    ck_assert_uint_eq(json_object_size(wisdom->entries), 1);
    wisdom_free(wisdom);
}
END_TEST

static int nearest_rows(const WisdomKey *key) {
    Wisdom *wisdom = get();
    int rows = rows_of(wisdom_nearest(wisdom, key));
    wisdom_free(wisdom);
    return rows;
}

START_TEST(nearest_shape_is_found) {
    WisdomKey key = make_key(4), wanted = make_key(4);
    Layer near = layer, far = layer, shared = layer;
    ck_assert_int_eq(nearest_rows(&wanted), 0);
    far.hidden = 8192, key.layer = &far;
    put(&key, 1, 1.1, 1);
    ck_assert_int_eq(nearest_rows(&wanted), 1);
    near.experts = 128, key.layer = &near;
    put(&key, 2, 1.01, 1);
    ck_assert_int_eq(nearest_rows(&wanted), 2);
    shared.shared_experts = 2, shared.shared_intermediate = 1024, key.layer = &shared;
    put(&key, 3, 1.1, 1);
    ck_assert_int_eq(nearest_rows(&wanted), 2);  // log (129/65) < log 3
    static const char *const workloads[] = {"2 uniform", "3 uniform", "4 uniform", "5 uniform", "6 uniform", "7 uniform"};
    near.experts = 65, near.activation = ACTIVATION_RELU, key.layer = &near;
    for (size_t i = 0; i < sizeof workloads / sizeof *workloads; i++) {
        key.workload = workloads[i];
        put(&key, 4, 1.1, 1);
        ck_assert_int_eq(nearest_rows(&wanted), 4);  // semantics and workload may differ
    }
    key.workload = wanted.workload;
    put(&key, 5, 1.01, 1);
    ck_assert_int_eq(nearest_rows(&wanted), 5);
}
END_TEST

// Two shapes that are equally far: the lower id is taken, whichever entry was written first.
START_TEST(equally_near_shapes_are_told_apart) {
    WisdomKey wanted = make_key(4), keys[2] = {make_key(4), make_key(4)};
    char ids[2][WISDOM_ID_BYTES];
    Layer wide = layer, narrow = layer;
    wide.hidden *= 2, narrow.hidden /= 2;
    keys[0].layer = &wide, keys[1].layer = &narrow;
    for (int i = 0; i < 2; i++) {
        wisdom_id(&keys[i], ids[i]);
    }
    int lower = strcmp(ids[0], ids[1]) < 0 ? 0 : 1, first = _i ? lower : !lower;
    put(&keys[first], first + 1, 1.1, 1);
    put(&keys[!first], !first + 1, 1.1, 1);
    ck_assert_int_eq(nearest_rows(&wanted), lower + 1);
}
END_TEST

START_TEST(nearest_shape_is_of_the_same_kind) {
    WisdomKey wanted = make_key(4), keys[8];
    Layer fp32 = layer, dot = layer, plain = layer;
    fp32.weights = FORMAT_FP32, dot.compute = COMPUTE_BF16, plain.gated = 0;
    for (int i = 0; i < 8; i++) {
        keys[i] = wanted;
    }
    keys[0].layer = &fp32, keys[1].layer = &dot, keys[2].layer = &plain, keys[3].target = "avx2", keys[4].cpu = "x86_64-9";
    keys[5].topology = "2 cores", keys[6].threads = 8, keys[7].generator = "0.0.1";
    for (int i = 0; i < 8; i++) {
        put(&keys[i], i + 1, 1.5, 1);
        ck_assert_int_eq(nearest_rows(&wanted), 0);
    }
}
END_TEST

// --- merging -----------------------------------------------------------------------------------------------------------------

// Unites in both orders: the decisions must be the same.
static json_t *unite(const json_t *one, const json_t *other) {
    json_t *united = wisdom_entry_unite(one, other), *again = wisdom_entry_unite(other, one);
    ck_assert(json_equal(json_object_get(united, "decisions"), json_object_get(again, "decisions")));
    ck_assert_uint_eq(measurements_of(united), measurements_of(again));
    json_decref(again);
    return united;
}

START_TEST(better_lower_bound_wins) {
    WisdomKey key = make_key(4);
    json_t *safe = make_entry(&key, 14, 1.08, 1), *lucky = make_entry(&key, 12, 1.2, 2), *equal = make_entry(&key, 10, 1.08, 3);
    json_object_set_new(lucky, "low", json_real(1.01));
    json_object_set_new(lucky, "time", json_integer(4e9));
    json_t *united = unite(safe, lucky), *tie = unite(safe, equal);
    ck_assert_int_eq(rows_of(united), 14);
    ck_assert_uint_eq(measurements_of(united), 2);
    ck_assert(json_integer_value(json_object_get(united, "time")) == 4000000000);
    ck_assert_uint_eq(measurements_of(tie), 2);
    json_decref(united), json_decref(tie), json_decref(safe), json_decref(lucky), json_decref(equal);
}
END_TEST

// What a search says of its candidate stays with its own verdict.
START_TEST(ties_are_kept) {
    WisdomKey key = make_key(4);
    json_t *found = make_entry(&key, 14, 1.08, 1), *none = json_object();
    json_t *stays = wisdom_entry(&key, &machine, none, 1, 1, 1, NULL);
    ck_assert(wisdom_entry_default(stays) && !wisdom_entry_default(found));
    ck_assert_int_eq(wisdom_entry_tie(stays, NAN, 1, 1), -1);
    ck_assert_int_eq(wisdom_entry_tie(stays, 1.002, 0.99, 1.01), 0);
    json_t *united = unite(stays, found);
    ck_assert_ptr_null(json_object_get(united, "tie"));
    json_decref(united);
    Diagnostics diagnostics = {0};
    ck_assert_int_eq(wisdom_update(path, &key, stays, note, &diagnostics), 0);
    Wisdom *wisdom = get();
    const json_t *tie = json_object_get(wisdom_find(wisdom, &key), "tie");
    ck_assert_double_eq(json_number_value(json_object_get(tie, "gain")), 1.002);
    wisdom_free(wisdom);
    json_decref(found), json_decref(stays), json_decref(none);
}
END_TEST

START_TEST(newer_generator_wins) {
    WisdomKey old = make_key(4), new = make_key(4), newest = make_key(4);
    old.generator = "0.9.0", new.generator = newest.generator = "0.10.0", newest.llvm = "100.1";
    json_t *entries[] = {make_entry(&old, 1, 3, 1), make_entry(&new, 2, 2, 2), make_entry(&newest, 3, 1, 3)};
    for (int i = 0; i < 2; i++) {
        json_t *united = unite(entries[i], entries[i + 1]);
        ck_assert_int_eq(rows_of(united), i + 2);
        ck_assert_uint_eq(measurements_of(united), 1);  // the older code's say nothing of the newer
        json_decref(united);
    }
    json_decref(entries[0]), json_decref(entries[1]), json_decref(entries[2]);
}
END_TEST

START_TEST(measurements_are_united_once) {
    WisdomKey key = make_key(4);
    for (int number = 3; number >= 1; number--) {
        put(&key, 14, 1.08, number);
        put(&key, 14, 1.08, number);  // the last one, a third, has more digits than the file
    }
    Wisdom *wisdom = get();
    ck_assert_uint_eq(measurements_of(wisdom_find(wisdom, &key)), 3);
    wisdom_free(wisdom);
}
END_TEST

START_TEST(nonsense_does_not_get_in) {
    WisdomKey key = make_key(4);
    Diagnostics diagnostics = {0};
    static const double bad[] = {NAN, INFINITY, -INFINITY};
    json_t *decisions = json_pack("{s:s}", "gate_up.max_rows", "many");
    for (int i = 0; i < 9; i++) {
        double value = bad[i % 3];
        ck_assert_ptr_null(
            wisdom_entry(&key, &machine, decisions, i / 3 == 0 ? value : 1, i / 3 == 1 ? value : 1, i / 3 == 2 ? value : 1, NULL));
    }
    json_t *entry = wisdom_entry(&key, &machine, decisions, 1, 1, 1, NULL);
    ck_assert_int_eq(wisdom_update(path, &key, entry, note, &diagnostics), -1);
    ck_assert_ptr_nonnull(strstr(diagnostics.text, "\"gate_up.max_rows\" of \"decisions\" must be an integer, found \"many\""));
    ck_assert_int_ne(access(path, F_OK), 0);
    diagnostics_free(&diagnostics);
    json_decref(entry);
    json_decref(decisions);
}
END_TEST

// --- damaged files -----------------------------------------------------------------------------------------------------------

// Writes a file with one entry, where `from` (which it has) is replaced; returns the line of the replacement.
static int write_edited(const char *from, const char *to, char **text) {
    WisdomKey key = make_key(4);
    size_t size;
    put(&key, 14, 1.08, 1);
    char *good = shell_read_file("$D/w.json", &size), *place = strstr(good, from);
    ck_assert_msg(place, "%s: %s", from, good);
    int line = 1;
    for (char *c = good; c < place; c++) {
        line += *c == '\n';
    }
    ck_assert_int_ge(asprintf(text, "%.*s%s%s", (int)(place - good), good, to, place + strlen(from)), 0);
    shell_write_file("$D/w.json", *text, strlen(*text));
    free(good);
    return line;
}

typedef struct Damage {
    const char *from, *to, *words;
} Damage;

// Of a text that is none, or no wisdom as a whole.
static const Damage damages[] = {
    {"\"gain\": 1.08", "\"gain\": NaN", "invalid token near 'NaN'"},
    {"\"gain\": 1.08", "\"gain\": 1e999", "real number overflow"},
    {"\"gain\": 1.08", "\"low\": 1.08,\n\"low\": 1.08", "duplicate object key"},
    {"\"catena wisdom\": 1", "\"catena wisdom\": 0", "expected the version, an integer from 1 up"},
    {"\"entries\"", "\"entrees\"", "expected an object \"entries\""},
};

// The problem is reported with its place, the file keeps every byte under another name, and a new one takes its place.
START_TEST(damage_is_set_aside) {
    char *text, aside[32], words[PATH_BYTES + 16];
    size_t size;
    WisdomKey key = make_key(5);
    for (int n = 1; n <= 2; n++) {
        Diagnostics diagnostics = {0};
        int line = write_edited(damages[_i].from, damages[_i].to, &text);
        Wisdom *wisdom = wisdom_read(path, WISDOM_SET_ASIDE, note, &diagnostics);
        ck_assert_msg(wisdom && !diagnostics.count, "%s", diagnostics.text);
        ck_assert_ptr_null(wisdom_nearest(wisdom, &key));
        ck_assert_msg(strstr(note, damages[_i].words), "wanted: %s\nin: %s", damages[_i].words, note);
        snprintf(words, sizeof words, "%s:%d:", path, line);
        bool placed = !strncmp(note, words, strlen(words)) || strstr(damages[_i].words, "an object");
        ck_assert_msg(placed || strstr(damages[_i].words, "duplicate"), "wanted: %s\nin: %s", words, note);
        snprintf(aside, sizeof aside, "$D/w.json.damaged-%d", n);
        ck_assert_ptr_nonnull(strstr(note, aside + 2));
        char *kept = shell_read_file(aside, &size);
        ck_assert_str_eq(kept, text);
        ck_assert_int_ne(access(path, F_OK), 0);
        wisdom_free(wisdom);
        free(kept);
        free(text);
    }
}
END_TEST

// A file that was named to be read stays, and is an error.
START_TEST(damage_may_be_left) {
    char *text;
    size_t size;
    Diagnostics diagnostics = {0};
    write_edited(damages[_i].from, damages[_i].to, &text);
    ck_assert_ptr_null(wisdom_read(path, WISDOM_LEAVE, note, &diagnostics));
    ck_assert_msg(diagnostics.count && strstr(diagnostics.text, damages[_i].words), "%s", diagnostics.text);
    ck_assert_str_eq(note, "");
    char *kept = shell_read_file("$D/w.json", &size);
    ck_assert_str_eq(kept, text);
    free(kept);
    free(text);
    diagnostics_free(&diagnostics);
}
END_TEST

// Of one entry.
static const Damage refusals[] = {
    {"\"threads\": 4", "\"threads\": -4", "\"threads\" must be an integer from 0 to 2147483647, found -4"},
    {"\"threads\": 4", "\"threads\": \"4\"", "\"threads\" must be an integer from 0 to 2147483647, found \"4\""},
    {"\"target\": \"avx512\"", "\"target\": 512", "\"target\" must be a text without control characters, found 512"},
    {"\"gain\": 1.08", "\"gain\": null", "\"gain\" must be a number from 0.001 to 1000, found null"},
    {"\"gain\": 1.08", "\"gain\": -1.08", "\"gain\" must be a number from 0.001 to 1000, found -1.08"},
    {"\"gain\": 1.08", "\"gain\": 1e300", "\"gain\" must be a number from 0.001 to 1000, found 1e300"},
    {"\"gain\": 1.08", "\"gain\": \"NaN\"", "\"gain\" must be a number from 0.001 to 1000, found \"NaN\""},
    {"\"low\": 1.06", "\"low\": 0", "\"low\" must be a number from 1e-06 to 1000000, found 0"},
    {"\"high\": 1.1", "\"high\": 2e61", "\"high\" must be a number from 1e-06 to 1000000, found 2e61"},
    {"\"gain\": 1.08", "\"tie\": {\"gain\": 1, \"low\": 0.9, \"high\": \"x\"}, \"gain\": 1.08", "\"high\" must be a number from"},
    {"\"gain\": 1.08", "\"gain\": 3", "\"low\" must not be above \"gain\", nor that above \"high\", found "},
    {"\"gain\": 1.08", "\"tie\": {\"gain\": 1, \"low\": 1.1, \"high\": 1.2}, \"gain\": 1.08",
     "nor that above \"high\", found 1.1, 1, 1.2"},
    {"\"time\": ", "\"time\": 9", "\"time\" must be an integer from 0 to 4102444799, found 9"},
    {"\"time\": ", "\"time\": -", "\"time\" must be an integer from 0 to 4102444799, found -"},
    {"\"gate_up.max_rows\": 14", "\"gate_up.max_rows\": 14.5",
     "\"gate_up.max_rows\" of \"decisions\" must be an integer, found 14.5"},
    {"\"gate_up.max_rows\": 14", "\"path\": 14", "\"path\" of \"decisions\" must be a path's name, found 14"},
    {"\"gate_up.max_rows\": 14", "\"path\": \"a path\"", "\"path\" of \"decisions\" must be a path's name, found \"a path\""},
    {"\"gate_up.max_rows\"", "\"\\u001b[31m\"", "\"decisions\" has \"?[31m\", a name with control characters"},
    {"Test CPU?", "\\u001b[31mTest CPU", "\"cpu\" of \"machine\" must be a number, or a text without control characters"},
    {"\"measurements\": [", "\"measurements\": [1,", "\"measurements\" must be a list of objects, found 1"},
    {"\"seconds\": ", "\"rounds\": -3, \"seconds\": ",
     "\"rounds\" of measurement 1 must be an integer from 0 to 2147483647, found -3"},
    {"\"seconds\": ", "\"seconds\": -", "\"seconds\" of measurement 1 must be a number from 0 to 1000000000, found -0.33"},
    {"\"seconds\": ", "\"difference\": -1e300, \"seconds\": ",
     "\"difference\" of measurement 1 must be a number from -14 to 14, found -1e300"},
    {"\"hidden\": 2048", "\"hidden\": 4096", "its key was changed: the id of this key is "},
    {"\"key\"", "\"kee\"", "expected an object with the object \"key\", found nothing"},
};

// The problem is reported with its place, other entries are used, and writers keep what they do not understand.
START_TEST(bad_entries_harm_no_others) {
    char *text, words[PATH_BYTES + 16], id[WISDOM_ID_BYTES];
    WisdomKey key = make_key(4), other = make_key(5);
    Diagnostics diagnostics = {0};
    wisdom_id(&key, id);
    int line = write_edited(refusals[_i].from, refusals[_i].to, &text);
    for (int n = 1; n <= 2; n++) {
        Wisdom *wisdom = wisdom_read(path, n == 1 ? WISDOM_LEAVE : WISDOM_SET_ASIDE, note, &diagnostics);
        ck_assert_msg(wisdom && !diagnostics.count, "%s", diagnostics.text);
        ck_assert_msg(strstr(note, refusals[_i].words) && strstr(note, id), "wanted: %s\nin: %s", refusals[_i].words, note);
        snprintf(words, sizeof words, "%s:%d:", path, line);
        bool elsewhere = strstr(refusals[_i].words, "key") || n == 2;  // a writer put the other entry before it
        ck_assert_msg(elsewhere || !strncmp(note, words, strlen(words)), "wanted: %s\nin: %s", words, note);
        ck_assert_ptr_nonnull(strstr(note, "; this entry is not used"));
        ck_assert_ptr_null(wisdom_find(wisdom, &key));
        ck_assert_int_eq(rows_of(wisdom_find(wisdom, &other)), n == 1 ? 0 : 12);
        ck_assert_uint_eq(json_object_size(wisdom->refused), 1);
        wisdom_free(wisdom);
        json_t *entry = make_entry(&other, 12, 1.1, 2);
        ck_assert_int_eq(wisdom_update(path, &other, entry, note, &diagnostics), 0);
        json_decref(entry);
    }
    ck_assert_int_eq(shell_run("! ls $D | grep damaged"), 0);
    free(text);
}
END_TEST

// An entry is measured anew: what was refused under its id keeps its content under another.
START_TEST(bad_entries_make_room) {
    char *text;
    WisdomKey key = make_key(4);
    Diagnostics diagnostics = {0};
    write_edited("\"gain\": 1.08", "\"gain\": -7", &text);
    free(text);
    for (int n = 1; n <= 2; n++) {
        json_t *entry = make_entry(&key, 12, 1.1 + n, n);
        ck_assert_int_eq(wisdom_update(path, &key, entry, note, &diagnostics), 0);
        ck_assert_ptr_nonnull(strstr(note, "found -7; this entry is not used"));
        json_decref(entry);
    }
    Wisdom *wisdom = wisdom_read(path, WISDOM_LEAVE, note, &diagnostics);
    ck_assert_int_eq(rows_of(wisdom_find(wisdom, &key)), 12);
    ck_assert_uint_eq(json_object_size(wisdom->refused), 1);
    const char *name = json_object_iter_key(json_object_iter(wisdom->refused));
    ck_assert_msg(strstr(name, ".refused-1"), "%s", name);
    wisdom_free(wisdom);
}
END_TEST

// A writer meets the damage first.
START_TEST(writers_set_damage_aside) {
    WisdomKey key = make_key(4);
    Diagnostics diagnostics = {0};
    size_t size;
    put(&key, 14, 1.08, 1);
    char *text = shell_read_file("$D/w.json", &size);
    shell_write_file("$D/w.json", text, size / 2);
    json_t *entry = make_entry(&key, 12, 1.1, 2);
    ck_assert_int_eq(wisdom_update(path, &key, entry, note, &diagnostics), 0);
    ck_assert_ptr_nonnull(strstr(note, "w.json.damaged-1"));
    json_decref(entry);
    Wisdom *wisdom = get();
    ck_assert_int_eq(rows_of(wisdom_find(wisdom, &key)), 12);
    wisdom_free(wisdom);
    char *kept = shell_read_file("$D/w.json.damaged-1", &size);
    ck_assert_uint_eq(size, strlen(text) / 2);
    ck_assert_int_eq(strncmp(kept, text, size), 0);
    free(kept);
    free(text);
}
END_TEST

START_TEST(huge_files_are_set_aside) {
    Diagnostics diagnostics = {0};
    ck_assert_int_eq(shell_run("truncate -s 64M $D/w.json && printf x >>$D/w.json"), 0);
    Wisdom *wisdom = wisdom_read(path, WISDOM_SET_ASIDE, note, &diagnostics);
    ck_assert_ptr_nonnull(wisdom);
    ck_assert_msg(strstr(note, "w.json: error: found 67108865 bytes, expected at most 67108864; it was set aside"), "%s", note);
    wisdom_free(wisdom);
}
END_TEST

START_TEST(symbolic_links) {
    WisdomKey key = make_key(4);
    Diagnostics diagnostics = {0};
    ck_assert_int_eq(shell_run("ln -s nothing $D/w.json"), 0);
    Wisdom *wisdom = wisdom_read(path, WISDOM_SET_ASIDE, note, &diagnostics);
    ck_assert_ptr_nonnull(wisdom);
    ck_assert_msg(strstr(note, "found a symbolic link to nothing"), "%s", note);
    ck_assert_int_eq(shell_run("test -h $D/w.json.damaged-1 && ! test -h $D/w.json"), 0);
    wisdom_free(wisdom);
    ck_assert_int_eq(shell_run("mkdir $D/there && : >$D/there/real.json && ln -s there/real.json $D/w.json"), 0);
    put(&key, 14, 1.08, 1);
    ck_assert_int_eq(shell_run("test -h $D/w.json && test -s $D/there/real.json && test -e $D/there/real.json.lock"), 0);
    wisdom = get();
    ck_assert_int_eq(rows_of(wisdom_find(wisdom, &key)), 14);
    wisdom_free(wisdom);
}
END_TEST

typedef struct Foreign {
    const char *make, *words;  // a shell command that makes $D/w.json
} Foreign;

static const Foreign foreigners[] = {
    {"cp tests/data/mixtral_small.json $D/w.json", "w.json:1:1: error: this is something else"},
    {"echo '[1, 2]' >$D/w.json", "w.json:1:1: error: this is something else"},
    {"printf '{\\n \"catena wisdom\": 2, \"entries\": 5}' >$D/w.json",
     "w.json:2:19: error: written by a newer catena: found version 2, expected 1 or less"},
    {"mkdir $D/w.json", "w.json: error: found a directory, expected a file"},
    {"mkfifo $D/w.json", "w.json: error: expected a regular file"},
    {"ln -s w.json $D/w.json", "w.json: error: Too many levels of symbolic links"},
};

// What is not ours is neither moved nor written, by readers and writers alike.
START_TEST(foreign_files_are_left_alone) {
    WisdomKey key = make_key(4);
    json_t *entry = make_entry(&key, 14, 1.08, 1);
    ck_assert_int_eq(shell_run("%s", foreigners[_i].make), 0);
    ck_assert_int_eq(shell_run("ls -lid --time-style=full-iso $D/w.json >$D/before"), 0);
    for (int writing = 0; writing < 2; writing++) {
        Diagnostics diagnostics = {0};
        ck_assert(writing ? wisdom_update(path, &key, entry, note, &diagnostics) == -1
                          : wisdom_read(path, WISDOM_SET_ASIDE, note, &diagnostics) == NULL);
        ck_assert_msg(!*note && strstr(diagnostics.text, foreigners[_i].words), "wanted: %s\nin: %s", foreigners[_i].words,
                      diagnostics.text);
        ck_assert_int_eq(shell_run("ls -lid --time-style=full-iso $D/w.json | cmp - $D/before"), 0);
        diagnostics_free(&diagnostics);
    }
    json_decref(entry);
}
END_TEST

// Root may read everything, so this says something only where tests are not root's.
START_TEST(unreadable_files_are_left_alone) {
    Diagnostics diagnostics = {0};
    WisdomKey key = make_key(4);
    put(&key, 14, 1.08, 1);
    ck_assert_int_eq(chmod(path, 0), 0);
    Wisdom *wisdom = wisdom_read(path, WISDOM_SET_ASIDE, note, &diagnostics);
    if (geteuid()) {
        ck_assert_ptr_null(wisdom);
        ck_assert_ptr_nonnull(strstr(diagnostics.text, "w.json: error: Permission denied"));
    }
    ck_assert_int_eq(access(path, F_OK), 0);
    diagnostics_free(&diagnostics);
    wisdom_free(wisdom);
}
END_TEST

START_TEST(system_file_is_only_read) {
    char system[PATH_BYTES];
    WisdomKey key = make_key(4), other = make_key(5);
    Diagnostics diagnostics = {0};
    put(&key, 14, 1.08, 1);
    put(&other, 12, 1.08, 1);
    snprintf(system, sizeof system, "%s/system.json", shell_folder());
    ck_assert_int_eq(rename(path, system), 0);
    put(&key, 10, 1.5, 2);
    Wisdom *wisdom = wisdom_read_all(path, WISDOM_SET_ASIDE, system, note, &diagnostics);
    ck_assert_int_eq(rows_of(wisdom_find(wisdom, &key)), 10);
    ck_assert_int_eq(rows_of(wisdom_find(wisdom, &other)), 12);
    wisdom_free(wisdom);
    static const char *const wrong[] = {"echo '{' >$D/system.json", "echo '{}' >$D/system.json"};
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(shell_run("%s", wrong[i]), 0);
        wisdom = wisdom_read_all(path, WISDOM_SET_ASIDE, system, note, &diagnostics);
        ck_assert_ptr_nonnull(wisdom);
        ck_assert_uint_eq(json_object_size(wisdom->entries), 1);
        ck_assert_msg(strstr(note, "system.json:") && strstr(note, "; it is left where it is"), "%s", note);
        ck_assert_int_eq(access(system, F_OK), 0);
        ck_assert_uint_eq(diagnostics.count, 0);
        wisdom_free(wisdom);
    }
    diagnostics_free(&diagnostics);
}
END_TEST

START_TEST(users_path) {
    char found[WISDOM_PATH_BYTES], expected[PATH_BYTES + 64];
    WisdomKey key = make_key(4);
    setenv("XDG_DATA_HOME", shell_folder(), 1);
    ck_assert_int_eq(wisdom_user_path(found), 0);
    snprintf(expected, sizeof expected, "%s/catena/wisdom.json", shell_folder());
    ck_assert_str_eq(found, expected);
    setenv("XDG_DATA_HOME", "relative", 1);
    setenv("HOME", "/home/nobody", 1);
    ck_assert_int_eq(wisdom_user_path(found), 0);
    ck_assert_str_eq(found, "/home/nobody/.local/share/catena/wisdom.json");
    setenv("HOME", "/", 1);  // as of users whom a container does not know
    ck_assert_int_eq(wisdom_user_path(found), 0);
    ck_assert_str_eq(found, "/.local/share/catena/wisdom.json");
    unsetenv("HOME");
    ck_assert_int_eq(wisdom_user_path(found), -1);
    snprintf(path, sizeof path, "%s/a/b/w.json", shell_folder());
    put(&key, 14, 1.08, 1);
    ck_assert_int_eq(access(path, F_OK), 0);
}
END_TEST

// --- writers -----------------------------------------------------------------------------------------------------------------

// A disk that is full leaves the old file and nothing else.
START_TEST(failed_writes_keep_the_file) {
    WisdomKey key = make_key(4), other = make_key(5);
    Diagnostics diagnostics = {0};
    struct rlimit limit, small;
    put(&key, 14, 1.08, 1);
    json_t *entry = make_entry(&other, 12, 1.1, 2);
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = (struct rlimit){1000, limit.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    int failed = wisdom_update(path, &other, entry, note, &diagnostics);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert_int_eq(failed, -1);
    ck_assert_msg(strstr(diagnostics.text, "File too large"), "%s", diagnostics.text);
    shell_expect(0, "w.json\nw.json.lock\n", "ls $D");
    Wisdom *wisdom = get();
    ck_assert_int_eq(rows_of(wisdom_find(wisdom, &key)), 14);
    wisdom_free(wisdom);
    diagnostics_free(&diagnostics);
    json_decref(entry);
}
END_TEST

enum { WRITERS = 8, COMMON = 1, STORM_SECONDS = 3 };

// What a writer has completed: the threads of the key, and the number of the measurement.
typedef struct Completed {
    int threads, number;
} Completed;

// Writes until it is killed, every other time to an entry that all writers share.
static void write_forever(int writer, int life, int pipe) {
    for (int n = 0;; n++) {
        int number = (writer * 1000 + life) * 1000 + n + COMMON + 1;
        Completed completed = {n % 2 ? COMMON : number, number};
        WisdomKey key = make_key(completed.threads);
        json_t *entry = make_entry(&key, 14, 1.08, number);
        Diagnostics diagnostics = {0};
        if (wisdom_update(path, &key, entry, note, &diagnostics) || *note) {
            fprintf(stderr, "%s%s\n", note, diagnostics.text ? diagnostics.text : "");
            _exit(EXIT_FAILURE);
        }
        json_decref(entry);
        if (write(pipe, &completed, sizeof completed) != sizeof completed) {
            _exit(EXIT_FAILURE);
        }
    }
}

static pid_t start_writer(int writer, int life, int pipe) {
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (!child) {
        write_forever(writer, life, pipe);
    }
    return child;
}

static void kill_writer(pid_t child) {
    int status;
    ck_assert_int_eq(kill(child, SIGKILL), 0);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFSIGNALED(status), "a writer failed by itself");
}

static bool has_measurement(const json_t *entry, int number) {
    size_t index;
    json_t *measurement;
    json_array_foreach(json_object_get(entry, "measurements"), index, measurement) {
        double seconds = json_number_value(json_object_get(measurement, "seconds"));
        if (fabs(seconds - number / 3.0) < 0.1) {
            return true;
        }
    }
    return false;
}

// Kills writers at random moments and starts new ones; whatever a writer had completed must be there in the end, and the file
// must be whole at every moment.
START_TEST(killed_writers_lose_nothing) {
    int pipes[2], completed = 0, kills = 0;
    pid_t writers[WRITERS];
    ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
    fcntl(pipes[0], F_SETPIPE_SZ, 1 << 20);
    for (int w = 0; w < WRITERS; w++) {
        writers[w] = start_writer(w, 0, pipes[1]);
    }
    for (time_t end = time(NULL) + STORM_SECONDS; time(NULL) < end; kills++) {
        int w = (int)(random() % WRITERS);
        usleep((useconds_t)(random() % 20000));
        kill_writer(writers[w]);
        wisdom_free(get());
        writers[w] = start_writer(w, kills + 1, pipes[1]);
    }
    for (int w = 0; w < WRITERS; w++) {
        kill_writer(writers[w]);
    }
    close(pipes[1]);
    WisdomKey last = make_key(COMMON);
    put(&last, 14, 1.08, 0);
    Wisdom *wisdom = get();
    for (Completed one; read(pipes[0], &one, sizeof one) == sizeof one; completed++) {
        WisdomKey key = make_key(one.threads);
        ck_assert_msg(has_measurement(wisdom_find(wisdom, &key), one.number), "lost: threads %d, number %d", one.threads,
                      one.number);
    }
    wisdom_free(wisdom);
    ck_assert_int_gt(kills, 3);  // a slow disk has few
    ck_assert_int_gt(completed, 3);
    shell_expect(0, "w.json\nw.json.lock\n", "ls $D");  // temporary files of the killed are gone
    close(pipes[0]);
}
END_TEST

Suite *suite_wisdom(void) {
    Suite *suite = suite_create("wisdom");
    TCase *cases = tcase_create("wisdom");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_checked_fixture(cases, begin, shell_end);
    tcase_add_test(cases, ids_name_what_decides);
    tcase_add_test(cases, entries_are_found);
    tcase_add_test(cases, recorded_file_is_read);
    tcase_add_test(cases, nearest_shape_is_found);
    tcase_add_loop_test(cases, equally_near_shapes_are_told_apart, 0, 2);
    tcase_add_test(cases, nearest_shape_is_of_the_same_kind);
    tcase_add_test(cases, better_lower_bound_wins);
    tcase_add_test(cases, ties_are_kept);
    tcase_add_test(cases, newer_generator_wins);
    tcase_add_test(cases, measurements_are_united_once);
    tcase_add_test(cases, nonsense_does_not_get_in);
    tcase_add_loop_test(cases, damage_is_set_aside, 0, sizeof damages / sizeof *damages);
    tcase_add_loop_test(cases, damage_may_be_left, 0, sizeof damages / sizeof *damages);
    tcase_add_loop_test(cases, bad_entries_harm_no_others, 0, sizeof refusals / sizeof *refusals);
    tcase_add_test(cases, bad_entries_make_room);
    tcase_add_test(cases, writers_set_damage_aside);
    tcase_add_test(cases, huge_files_are_set_aside);
    tcase_add_test(cases, symbolic_links);
    tcase_add_loop_test(cases, foreign_files_are_left_alone, 0, sizeof foreigners / sizeof *foreigners);
    tcase_add_test(cases, unreadable_files_are_left_alone);
    tcase_add_test(cases, system_file_is_only_read);
    tcase_add_test(cases, users_path);
    tcase_add_test(cases, failed_writes_keep_the_file);
    tcase_add_test(cases, killed_writers_lose_nothing);
    suite_add_tcase(suite, cases);
    return suite;
}
