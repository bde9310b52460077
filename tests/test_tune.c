// Tuning on this machine: candidates give the default's bits, a search ends in time and can be stopped. What it finds is the
// business of suite search, which has machines whose best is known; no timing is asserted here.
// Over 500 lines: the searches of all tests begin with the same few layers and options.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "available.h"
#include "compiler/plan/paths.h"
#include "compiler/plan/planner.h"
#include "compiler/tune/paths.h"
#include "compiler/tune/table.h"
#include "fixture.h"
#include "runtime/cores.h"
#include "shell.h"
#include "suites.h"

static const Target *host(Machine *machine) {
    static const char *const names[] = {"avx512", "avx2", "neon", "generic"};
    ck_assert_int_eq(machine_detect(machine), 0);
    for (int i = 0; i < 4; i++) {
        if (available_target(target_find(names[i])) && !strcmp(target_find(names[i])->architecture, machine->architecture)) {
            return target_find(names[i]);
        }
    }
    return NULL;
}

static Layer layer_of(uint64_t seed) {
    Layer layer = fixture_layer(seed);
    layer.k_per_token = 0;
    layer.compute = COMPUTE_FP32;
    return layer;
}

// A random point that is a plan, and not the default's.
static Point valid_point(const Space *space, uint64_t *state) {
    Point standard = space_standard(space), point = standard;
    while (!space_valid(space, &point) || !memcmp(&point, &standard, sizeof point)) {
        for (int k = 0; k < space->knob_count; k++) {
            point.value[k] = (uint8_t)(synthetic_next(state) % (uint64_t)space->knobs[k].count);
        }
    }
    return point;
}

// Random plans of the space, compiled in memory, against the default's bits.
START_TEST(test_bits) {
    Machine machine;
    const Target *target = host(&machine);
    ck_assert_ptr_nonnull(target);
    enum { PLANS = 4, TOKENS = 70 };
    Layer layer = layer_of((uint64_t)_i);
    Plan standard = plan_default(&layer, target, &machine, NULL);
    Space space;
    space_make(&standard, target, &machine, &space);
    Bank bank;
    Diagnostics diagnostics = {0};
    ck_assert_int_eq(bank_open(&bank, &standard, NULL, 3 * standard.layout.instance_bytes, false, &diagnostics), 0);
    ck_assert_int_eq(bank.slots, 3);
    CandidateCache *cache = candidate_cache_create(target);
    void *x = fixture_tokens(&standard, TOKENS, 3);
    size_t bytes = (size_t)(TOKENS * layer.hidden) * fixture_element(&layer);
    uint8_t *first = malloc(bytes), *y = malloc(bytes);
    uint64_t state = (uint64_t)_i;
    for (int i = 0; i <= PLANS; i++) {
        Point point = i ? valid_point(&space, &state) : space_standard(&space);
        Plan plan;
        space_plan(&space, &point, &plan);
        Candidate *candidate = candidate_open(cache, &plan, i % 2, &bank, 1 + i % 3, TOKENS, &diagnostics);
        ck_assert_msg(candidate != NULL, "%s", diagnostics.text);
        const Forward call = {.layer = i % 3, .tokens = TOKENS, .x = x, .x_stride = layer.hidden, .y = y, .y_stride = layer.hidden};
        memset(y, 0xff, bytes);
        ck_assert_int_eq(instance_forward(candidate_library(candidate), &call), LIBRARY_OK);
        memcpy(first, i ? first : y, i ? 0 : bytes);
        ck_assert_mem_eq(y, first, bytes);
        candidate_close(candidate);
    }
    candidate_cache_free(cache);
    bank_close(&bank);
    free(first);
    free(y);
    free(x);
}
END_TEST

static TuneOptions options_of(const Target *target, const Machine *machine, double budget) {
    return (TuneOptions){.target = target,
                         .machine = machine,
                         .threads = 2,
                         .workload = {.tokens = {1, 40}, .weight = {1, 1}, .parts = 2},
                         .budget = budget,
                         .seed = 1};
}

// Memory enough for a bank of some megabytes only: tests need no cold weights.
static Machine small_memory(const Machine *machine) {
    Machine small = *machine;
    small.memory_available = 16 << 20;
    return small;
}

// A layer to tune on this machine; it points into itself.
typedef struct Setup {
    Machine machine;
    Plan standard;
    TuneOptions options;
} Setup;

static void set_up(double budget, Setup *setup) {
    Machine machine;
    const Target *target = host(&machine);
    Layer layer = layer_of(3);
    setup->machine = small_memory(&machine);
    setup->standard = plan_default(&layer, target, &setup->machine, NULL);
    setup->options = options_of(target, &setup->machine, budget);
}

START_TEST(test_search_ends) {
    Setup setup;
    set_up(2, &setup);
    json_t *known = json_pack("{s:i}", _i ? "few_tokens" : "no such knob", 4);
    setup.options.start = known;
    setup.options.start_worst = _i == 2;
    TuneResult result;
    Diagnostics diagnostics = {0};
    ck_assert_msg(!tune_layer("layer", &setup.standard, &setup.options, &result, &diagnostics), "%s", diagnostics.text);
    ck_assert(result.search.gain >= 1 && !result.search.stopped && !result.unusable);
    ck_assert(result.rates[0].stream[0][0] > 0 && result.rates[1].tall[0][0] > 0);
    Plan best;
    space_plan(&result.space, &result.search.best, &best);
    ck_assert_mem_eq(&best, &result.plan, sizeof best);
    json_decref(known);
    tune_result_free(&result);
}
END_TEST

static int calls_until_stop;

static void stop_soon(const Search *search, const char *layer) {
    (void)search, (void)layer;
    tune_stopped = ++calls_until_stop >= 3;
}

START_TEST(test_stopped) {
    Setup setup;
    set_up(600, &setup);
    setup.options.progress = stop_soon;
    TuneResult result;
    Diagnostics diagnostics = {0};
    ck_assert_int_eq(tune_layer("layer", &setup.standard, &setup.options, &result, &diagnostics), 0);
    ck_assert(result.search.stopped);
    ck_assert_int_ge((int)result.search.trial_count, 1);
    ck_assert_mem_eq(&result.plan, &setup.standard, sizeof setup.standard);
    tune_result_free(&result);
    tune_stopped = 0;
}
END_TEST

static int count_rows(const char *text, const char *begin) {
    int count = 0;
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        count += !strncmp(line, begin, strlen(begin));
    }
    return count;
}

// The whole of a comparison as a table, which may be written again; a file of others may not.
START_TEST(test_table) {
    Setup setup;
    set_up(INFINITY, &setup);
    json_t *candidates = json_pack("[{}, {s:i}, {s:i}]", "gate_up.unroll", 1, "few_tokens", 4);
    setup.options.method = SEARCH_TABLE;
    setup.options.candidates = candidates;
    TuneResult result;
    Diagnostics diagnostics = {0};
    ck_assert_msg(!tune_layer("layer", &setup.standard, &setup.options, &result, &diagnostics), "%s", diagnostics.text);
    ck_assert(result.search.converged && !result.search.stopped && !result.unusable);
    char path[SHELL_PATH_BYTES + 16];
    snprintf(path, sizeof path, "%s/table.csv", shell_folder());
    for (int i = 0; i < 2; i++) {
        TuneTable table;
        ck_assert_int_eq(tune_table_open(&table, path, &diagnostics), 0);
        tune_table_layer(&table, "layer", &setup.options, &result);
        ck_assert_int_eq(tune_table_close(&table, &diagnostics), 0);
    }
    size_t size;
    char *text = shell_read_file("$D/table.csv", &size);
    ck_assert_int_eq(count_rows(text, "layer,kind,decisions,"), 1);
    // all and two token counts, of two candidates and the default
    ck_assert_int_eq(count_rows(text, "layer,plan,"), 9);
    ck_assert_int_eq(count_rows(text, "layer,plan,\"{\"\"gate_up.unroll\"\": 1}\",,,,,40,"), 1);
    ck_assert_int_ge(count_rows(text, "layer,incumbent,"), 1);
    ck_assert_int_eq(count_rows(text, "layer,verdict,"), 1);
    free(text);
    shell_write_file("$D/table.csv", "mine\n", 5);
    TuneTable table;
    ck_assert_int_eq(tune_table_open(&table, path, &diagnostics), -1);
    ck_assert_ptr_nonnull(strstr(diagnostics.text, "table.csv"));
    shell_expect(0, "", "rm $D/table.csv");
    ck_assert_int_eq(tune_table_open(&table, path, &diagnostics), 0);
    tune_table_layer(&table, "layer", &setup.options, &result);
    shell_write_file("$D/table.csv", "mine\n", 5);  // somebody else's, during the search
    ck_assert_int_eq(tune_table_close(&table, &diagnostics), -1);
    text = shell_read_file("$D/table.csv", &size);
    ck_assert_str_eq(text, "mine\n");
    free(text);
    diagnostics_free(&diagnostics);
    json_decref(candidates);
    tune_result_free(&result);
}
END_TEST

// What is wrong is said before anything is measured.
START_TEST(test_command) {
    shell_write_file("$D/mine.csv", "mine\n", 5);
    shell_write_file("$D/empty.json", "[]", 2);
    shell_write_file("$D/broken.json", "[{]", 3);
    shell_expect(2, "quick, normal or exhaustive", "$CATENA tune examples/moe_8of64.json --effort much 2>&1");
    shell_expect(2, "--effort exhaustive", "$CATENA tune examples/moe_8of64.json --effort exhaustive --method random 2>&1");
    shell_expect(2, "--table", "$CATENA tune examples/moe_8of64.json --topology 'pack:1 core:2 pu:1' --table $D/t.csv 2>&1");
    shell_expect(1, "mine.csv", "$CATENA tune examples/moe_8of64.json --wisdom none --table $D/mine.csv 2>&1");
    shell_expect(1, "missing.json", "$CATENA tune examples/moe_8of64.json --wisdom none --candidates $D/missing.json 2>&1");
    shell_expect(1, "broken.json", "$CATENA tune examples/moe_8of64.json --wisdom none --candidates $D/broken.json 2>&1");
    shell_expect(1, "expected a list", "$CATENA tune examples/moe_8of64.json --wisdom none --candidates $D/empty.json 2>&1");
    shell_expect(1, "there is no directory", "$CATENA tune examples/moe_8of64.json --wisdom $D/no/such/wisdom.json 2>&1");
    shell_expect(2, "--seed takes", "$CATENA tune examples/moe_8of64.json --seed -1 2>&1 | sed 's/----/twice/'; exit 2");
}
END_TEST

// The programs that measure for hours end with one line where a name is wrong, not in the middle of Python.
START_TEST(test_programs_refuse) {
    static const struct {
        const char *command, *words;
    } rows[] = {
        {"tuning/gains.py none --out $D/o", "gains.py: error: there is no shape 'none' in "},
        {"tuning/gains.py --out $D/o --formats int8", "takes bf16 and fp32, not 'int8'"},
        {"tuning/gains.py --out $D/o --catena $D/catena", "there is no program "},
        {"tuning/gains.py --out $D/file --catena $CATENA", "--out takes a directory, "},
        {"tuning/regret.py $D/none.json --layer sparse --out $D/o", "none.json: No such file or directory, expected a description"},
        {"tuning/regret.py examples/schema.json --layer sparse --out $D/o", "no description, expected JSON with \"layers\""},
        {"tuning/regret.py examples/moe_8of64.json --layer dense --out $D/o", "there is no layer 'dense'; there are sparse\n"},
        {"tuning/regret.py examples/moe_8of64.json --layer sparse --out $D/o --seeds a",
         "whole numbers with commas between, not 'a'"},
        {"tuning/regret.py examples/moe_8of64.json --layer sparse --out $D/o --times 0,1", "found 0 to 1"},
        {"tuning/regret.py examples/moe_8of64.json --layer sparse --out $D/o --also $D/none", "--also: there is no file "},
        {"tuning/regret.py examples/moe_8of64.json --layer sparse --out $D/o --catena $D/catena", "there is no program "},
        {"peers/pytorch.py --layer dense", "It is one of coe_2x4of64, moe_8of64, or such"},
        {"peers/pytorch.py --tokens 1,x", "--tokens: takes a number from 1 up, not 'x'"},
        {"peers/pytorch.py --k 65", "--k is at most --experts, 64, not 65"},
    };
    if (!available_program("python3")) {
        return;
    }
    shell_write_file("$D/file", "", 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        shell_expect(2, rows[i].words, "python3 -B examples/%s", rows[i].command);
        shell_expect(0, "1\n", "python3 -B examples/%s 2>&1 >$D/out | wc -l", rows[i].command);
    }
    shell_expect(0, "file\nout\n2\n", "ls $D; ls $D | wc -l");
}
END_TEST

// What cannot be written is said before anything is measured, and nothing is left behind.
START_TEST(test_outputs_refused) {
    static const struct {
        const char *options, *words;
    } rows[] = {
        {"--table $D", "exists and is not a regular file"},
        {"--table $D/pipe", "exists and is not a regular file"},
        {"--table $D/no/such.csv", "No such file or directory"},
        {"--report $D/pipe", "no directory for a report: Not a directory"},
        {"--report $D/r.csv --table $D/r.csv", "exists and is not a regular file"},
        {"--report $D/r --table $D/r/index.html", "a table cannot be a file of the report"},
        {"--report $D/r --table $D/r/sparse-race.svg", "a table cannot be a file of the report"},
        {"--report $D/r --table $D/no/such.csv", "No such file or directory"},
        {"--wisdom $D/w --table $D/w", "a table cannot be the file that wisdom is kept in"},
    };
    static const char command[] = "timeout 60 $CATENA tune examples/moe_8of64.json --wisdom none";
    shell_expect(0, "", "mkfifo $D/pipe");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        shell_expect(1, rows[i].words, "%s %s", command, rows[i].options);
    }
    // a disk that is full
    shell_expect(1, "cannot reserve", "ulimit -f 8; trap '' XFSZ; %s --table $D/t.csv", command);
    shell_expect(1, "cannot reserve", "ulimit -f 8; trap '' XFSZ; %s --report $D/r", command);
    shell_expect(0, "pipe\n1\n", "rm $D/w.lock; ls $D; ls $D | wc -l");  // the lock of wisdom stays as wisdom does
}
END_TEST

// Where wisdom is kept is tried before anything is measured; the folder that cannot be made, and what to do, are named.
START_TEST(test_wisdom_refused) {
    static const struct {
        const char *variables, *options, *words;
    } rows[] = {
        {"unset XDG_DATA_HOME; HOME=/proc/", "", "error: cannot create the folder '/proc/.local': No such file or directory\n"},
        {"unset XDG_DATA_HOME; HOME=/proc", "", "--wisdom FILE keeps it in another\n"},
        {"XDG_DATA_HOME=$D/file", "", "/file' is a file where a folder is needed\n"},
        {"XDG_DATA_HOME=$D", "--wisdom $D/folder", "/folder' exists and is not a regular file\n"},
        {"XDG_DATA_HOME=$D", "--wisdom /proc/w.json", "/proc/w.json.lock: error: cannot be created: "},
        {"XDG_DATA_HOME=$D", "--wisdom $D/file/w.json", "there is no directory '"},
        {"XDG_DATA_HOME=$D", "--wisdom $(printf %05000d 0)", "--wisdom: the path is too long"},
        {"ulimit -f 8; trap '' XFSZ; XDG_DATA_HOME=$D", "", "cannot reserve "},
        // no home: it is said, and is no error in itself
        {"unset HOME XDG_DATA_HOME;", "--table $D/folder",
         "catena: there is no home to keep wisdom in, because neither XDG_DATA_HOME"},
    };
    shell_expect(0, "", "mkdir $D/folder && echo >$D/file");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        shell_expect(1, rows[i].words, "%s timeout 60 $CATENA tune examples/moe_8of64.json %s", rows[i].variables, rows[i].options);
        shell_expect(0, "0\n", "(%s timeout 60 $CATENA tune examples/moe_8of64.json %s) 2>&1 | grep -c '^layer' || true",
                     rows[i].variables, rows[i].options);
    }
    shell_expect(0, "wisdom.json.lock\n1\n", "ls $D/catena; ls $D/catena | wc -l");
}
END_TEST

// Of every candidate that is none: its number and place, what was found, and what there is.
START_TEST(test_candidates_refused) {
    static const struct {
        const char *text, *words;
    } rows[] = {
        {"[{\"few_tokens\": 4},\n {\"gate_up.unroll\": 3}]",
         "c.json:2:21: error: candidate 2 is no plan of layer 'sparse': gate_up.unroll cannot be 3 here; expected one of: 1, 2, 4"},
        {"[\n{\"gate_up.unrol\": 4}]",
         "c.json:2:19: error: candidate 1 is no plan of layer 'sparse': there is no knob 'gate_up.unrol' here; expected one of: "
         "gate_up.tile, "},
        {"[{}, {\"few_tokens\": \"4\"}]",
         "candidate 2 is no plan of layer 'sparse': few_tokens cannot be \"4\" here; expected one of: "},
        {"[{},\n{},\n17]",
         "c.json:3:1: error: candidate 3 is no plan of layer 'sparse': found decisions that are not a JSON object"},
        {"[{\"gate_up.prefetch\": 0, \"gate_up.prefetch_hint\": 0}]", "without a prefetch the hint must be the default's"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        shell_write_file("$D/c.json", rows[i].text, strlen(rows[i].text));
        shell_expect(1, rows[i].words, "$CATENA tune examples/moe_8of64.json --wisdom none --candidates $D/c.json");
    }
    shell_expect(1, "49 candidates: at most 48",
                 "(echo '[{}'; yes ', {}' | head -n 48; echo ']') >$D/c.json; "
                 "$CATENA tune examples/moe_8of64.json --wisdom none --candidates $D/c.json");
    shell_expect(1, "more than 1048576 bytes",
                 "yes | head -c 1048577 | $CATENA tune examples/moe_8of64.json --wisdom none --candidates /dev/stdin");
}
END_TEST

// A table of an earlier search outlives one that fails.
START_TEST(test_table_outlives) {
    const char *head =
        "layer,kind,decisions,role,tile,rows,panels,tokens,rounds,seconds,predicted,measured,unit,difference,error,unusable\n";
    shell_write_file("$D/t.csv", head, strlen(head));
    shell_expect(0, "", "echo 'sparse,verdict,{},,,,,all,6,,,,,0,0,' >>$D/t.csv; cp $D/t.csv $D/kept.csv");
    shell_expect(1, "no layer 'other'", "$CATENA tune examples/moe_8of64.json --wisdom none --layer other --table $D/t.csv 2>&1");
    shell_expect(0, "", "cmp $D/t.csv $D/kept.csv");
}
END_TEST

// Candidates that are none of the space's plans end it.
START_TEST(test_foreign_candidates) {
    Setup setup;
    set_up(INFINITY, &setup);
    json_t *candidates = json_pack("[{s:i}, {s:i}]", "gate_up.unroll", 1, "gate_up.unroll", 3);
    setup.options.method = SEARCH_TABLE;
    setup.options.candidates = candidates;
    setup.options.candidates_path = "some.json";
    TuneResult result;
    Diagnostics diagnostics = {0};
    ck_assert_int_eq(tune_layer("layer", &setup.standard, &setup.options, &result, &diagnostics), -1);
    ck_assert_ptr_nonnull(strstr(diagnostics.text, "some.json"));
    ck_assert_ptr_nonnull(strstr(diagnostics.text, "candidate 2"));
    ck_assert_ptr_nonnull(strstr(diagnostics.text, "gate_up.unroll"));
    diagnostics_free(&diagnostics);
    json_decref(candidates);
    tune_result_free(&result);
}
END_TEST

static size_t tiles_done, tiles_total, tiles_wanted = 40;

static void stop_after_tiles(const char *name, size_t done, size_t total, double left) {
    (void)name, (void)left;
    tiles_done = done;
    tiles_total = total;
    tune_stopped = done >= tiles_wanted;
}

// Tiles by themselves: no two are the same, all have a rate, and what was measured until a signal is kept.
START_TEST(test_tiles) {
    Setup setup;
    set_up(INFINITY, &setup);
    setup.options.method = SEARCH_TABLE;
    setup.options.tiles = true;
    setup.options.progress_tiles = stop_after_tiles;
    TuneResult result;
    Diagnostics diagnostics = {0};
    ck_assert_msg(!tune_layer("layer", &setup.standard, &setup.options, &result, &diagnostics), "%s", diagnostics.text);
    tune_stopped = 0;
    ck_assert_uint_eq(result.tile_count, 40);
    ck_assert_uint_eq(tiles_done, 40);
    ck_assert_uint_gt(tiles_total, 80);  // of two roles
    for (size_t i = 0; i < result.tile_count; i++) {
        const RatesTile *tile = &result.tiles[i];
        ck_assert(tile->rate > 0 && tile->samples > 0 && tile->rows > 0);
        for (size_t j = 0; j < i; j++) {
            const RatesTile *other = &result.tiles[j];
            ck_assert(tile->role != other->role || tile->kind != other->kind || tile->rows != other->rows ||
                      memcmp(&tile->point, &other->point, sizeof tile->point));
        }
    }
    tune_result_free(&result);
}
END_TEST

// The tiles of a layer whose down has one, two and three panels: of one panel none takes two at a time.
START_TEST(test_wide_tiles) {
    size_t totals[3];
    tiles_wanted = 1;
    for (int panels = 1; panels <= 3; panels++) {
        Setup setup;
        set_up(INFINITY, &setup);
        Layer layer = setup.standard.layer;
        layer.hidden = 32 * panels;
        setup.standard = plan_default(&layer, setup.options.target, &setup.machine, NULL);
        setup.options.method = SEARCH_TABLE;
        setup.options.tiles = true;
        setup.options.progress_tiles = stop_after_tiles;
        TuneResult result;
        Diagnostics diagnostics = {0};
        ck_assert_msg(!tune_layer("layer", &setup.standard, &setup.options, &result, &diagnostics), "%s", diagnostics.text);
        tune_stopped = 0;
        totals[panels - 1] = tiles_total;
        tune_result_free(&result);
    }
    ck_assert(totals[0] < totals[1] && totals[1] == totals[2]);
}
END_TEST

// Every legal path computes the layer, with bits of its own; which one a race ends with is the machine's affair.
START_TEST(test_paths) {
    Machine machine, small;
    const Target *target = host(&machine);
    small = small_memory(&machine);
    Layer layer = layer_of(3);
    layer.weights = FORMAT_BF16;
    layer.down_weights = layer.shared_weights = layer.shared_down_weights = 0;  // bf16, too: class bf16 has no path for fp32
    layer.compute = COMPUTE_BF16;
    layer.hidden = layer.intermediate = 448;  // sums too long to be exact
    Plan standard = plan_default(&layer, target, &small, NULL);
    TuneOptions options = options_of(target, &small, 2);
    TunePool pool;
    Diagnostics diagnostics = {0};
    ck_assert_msg(!tune_pool_open(&pool, "layer", &standard, &options, TUNE_POOL_ROOM, &diagnostics), "%s", diagnostics.text);
    int legal = 0, others = 0;
    for (int p = 0; p < PATH_COUNT; p++) {
        if (paths_legal(&small, target, (Path)p, FORMAT_BF16, COMPUTE_BF16)) {
            Plan plan = plan_with_path(&standard, (Path)p, target, &small);
            bool itself = p == standard.roles[ROLE_DOWN].path;
            ck_assert_int_eq(plan.roles[ROLE_DOWN].path, p);
            ck_assert_int_eq(plan.roles[ROLE_ROUTER].path, standard.roles[ROLE_ROUTER].path);
            ck_assert(itself == !memcmp(&plan, &standard, sizeof plan));
            others += tune_pool_prepare(&pool, &plan, 0) != 0;
            ck_assert_int_eq(tune_pool_prepare(&pool, &plan, 0x1p-8), 0);
            ck_assert_double_gt(tune_pool_measure(&pool, &plan, 40), 0);
            legal++;
        }
    }
    ck_assert_int_eq(others, legal - 1);  // each rounds in its own way
    PathVerdict verdict = tune_paths_race(&pool, 2);
    ck_assert(paths_legal(&small, target, verdict.path, FORMAT_BF16, COMPUTE_BF16));
    ck_assert(verdict.gain >= 1 && verdict.low >= 1 && verdict.high >= verdict.low && !verdict.refused);
    tune_pool_close(&pool);
    options.workload.bits_free = true;
    TuneResult result;
    ck_assert_msg(!tune_layer("layer", &standard, &options, &result, &diagnostics), "%s", diagnostics.text);
    ck_assert_int_eq(result.plan.roles[ROLE_DOWN].path, result.path.path);
    ck_assert(result.repathed == (result.path.path != (Path)standard.roles[ROLE_DOWN].path));
    json_t *decisions = tune_decisions(&result);
    ck_assert_str_eq(json_string_value(json_object_get(decisions, "path")), path_name(result.path.path));
    json_decref(decisions);
    tune_result_free(&result);
}
END_TEST

// A plan that binds its threads leaves no mark on the next.
START_TEST(test_teams) {
    Setup setup;
    set_up(2, &setup);
    TunePool pool;
    Diagnostics diagnostics = {0};
    ck_assert_msg(!tune_pool_open(&pool, "layer", &setup.standard, &setup.options, TUNE_POOL_ROOM, &diagnostics), "%s",
                  diagnostics.text);
    Plan bound = setup.standard;
    bound.schedule.bind = BIND_COMPACT;
    const Plan *turns[] = {&bound, &setup.standard, &bound, &setup.standard};
    ck_assert_int_eq(tune_pool_prepare(&pool, &bound, 0), 0);
    int allowed = cores_allowed(NULL, 0);
    for (int i = 0; i < 4; i++) {
        int narrowest = allowed;
        ck_assert_double_gt(tune_pool_measure(&pool, turns[i], 40), 0);
#pragma omp parallel num_threads(2) reduction(min : narrowest)
        narrowest = cores_allowed(NULL, 0);
        ck_assert_int_eq(narrowest, turns[i]->schedule.bind ? 1 : allowed);
    }
    tune_pool_close(&pool);
}
END_TEST

Suite *suite_tune(void) {
    Suite *suite = suite_create("tune");
    TCase *cases = tcase_create("candidates");
    tcase_set_timeout(cases, 120);
    tcase_add_loop_test(cases, test_bits, 0, 5);
    tcase_add_loop_test(cases, test_search_ends, 0, 3);
    tcase_add_test(cases, test_stopped);
    tcase_add_test(cases, test_foreign_candidates);
    tcase_add_test(cases, test_tiles);
    tcase_add_test(cases, test_wide_tiles);
    tcase_add_test(cases, test_paths);
    tcase_add_test(cases, test_teams);
    suite_add_tcase(suite, cases);
    TCase *files = tcase_create("files");
    tcase_set_timeout(files, 300);
    tcase_add_checked_fixture(files, shell_begin, shell_end);
    tcase_add_test(files, test_table);
    tcase_add_test(files, test_command);
    tcase_add_test(files, test_candidates_refused);
    tcase_add_test(files, test_outputs_refused);
    tcase_add_test(files, test_wisdom_refused);
    tcase_add_test(files, test_programs_refuse);
    tcase_add_test(files, test_table_outlives);
    suite_add_tcase(suite, files);
    return suite;
}
