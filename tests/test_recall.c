// Wisdom and plans together: what is remembered of a layer is what compile and explain make of it; what does not fit is said and
// left out.
#include <stdlib.h>
#include <string.h>

#include "compiler/base/npy.h"
#include "compiler/library/compile.h"
#include "compiler/machine/site.h"
#include "compiler/plan/paths.h"
#include "compiler/wisdom/recall.h"
#include "shell.h"
#include "suites.h"

#define DESCRIBED(workload) \
    "{\"name\": \"remembered\", \"workload\": " workload \
    ", \"layers\": [{\"name\": \"sparse\", \"hidden\": 64, " \
    "\"router\": {\"k\": 2}, \"experts\": {\"count\": 4, \"intermediate\": 32}, \"weights\": \"fp32\"}]}"
static const char description[] = DESCRIBED("{\"tokens\": [1, 32]}");

// A description's layer on this machine.
typedef struct Described {
    Machine machine;
    const Target *target;
    Plan plan;  // the default
    RecallWorkload workload;
} Described;

// Leaves the description in $D/spec.json.
static void describe(const char *text, Described *out) {
    Diagnostics diagnostics = {0};
    shell_write_file("$D/spec.json", text, strlen(text));
    Model *model = model_read_text(text, strlen(text), "spec", &diagnostics);
    ck_assert_msg(model != NULL, "%s", diagnostics.text);
    ck_assert_int_eq(machine_detect(&out->machine), 0);
    out->target = site_target_find(NULL, &out->machine, &diagnostics);
    ck_assert_int_eq(compile_plans(model, out->target, &out->machine, -1, &out->plan, &diagnostics), 0);
    recall_workload(&model->workload, &out->workload);
    ck_assert_msg(!recall_trace(&out->workload, &out->plan.layer, &diagnostics), "%s", diagnostics.text);
    model_free(model);
}

// Leaves wisdom of that layer in $D/wisdom.json.
static void remember_layer(const Described *described, double gain, const char *decisions_text, int threads_more) {
    Diagnostics diagnostics = {0};
    RecallKey key;
    char path[WISDOM_PATH_BYTES], note[WISDOM_NOTE_BYTES];
    recall_key(&described->plan.layer, described->target, &described->machine, (int)described->machine.threads + threads_more,
               &described->workload, &key);
    json_t *decisions = json_loads(decisions_text, 0, NULL);
    json_t *knobs = json_copy(decisions);
    json_object_del(knobs, "path");
    json_t *measurements =
        json_pack("[{s:{}, s:f}, {s:O, s:f}]", "decisions", "predicted", 0.5, "decisions", knobs, "predicted", -0.05);
    json_t *entry =
        wisdom_entry(&key.key, &described->machine, decisions, gain, gain > 1 ? 1.05 : 1, gain > 1 ? 1.2 : 1, measurements);
    json_decref(measurements);
    json_decref(knobs);
    snprintf(path, sizeof path, "%s/wisdom.json", shell_folder());
    ck_assert_msg(!wisdom_update(path, &key.key, entry, note, &diagnostics), "%s", diagnostics.text);
    json_decref(entry);
    json_decref(decisions);
}

static void remember_described(const char *text, const char *decisions_text, int threads_more) {
    Described described;
    describe(text, &described);
    remember_layer(&described, 1.1, decisions_text, threads_more);
}

static void remember(const char *decisions_text, int threads_more) {
    remember_described(description, decisions_text, threads_more);
}

#define COMPILE "$CATENA compile $D/spec.json -o $D/out --wisdom "
#define EXPLAIN "$CATENA explain $D/out/libremembered.so"
#define TEXT "$CATENA explain --text $D/out/libremembered.so"

START_TEST(test_taken_up) {
    remember("{\"few_tokens\": 4, \"gate_up.unroll\": 8, \"down.prefetch\": 0}", 0);
    shell_expect(0, "libremembered.so", COMPILE "$D/wisdom.json");
    shell_expect(0, "plan.few_tokens 4\n", TEXT);
    shell_expect(0, "gate_up.unroll 8\n", TEXT);
    shell_expect(0, "\ndown.prefetch 0\n", TEXT);
    shell_expect(0, "0 failed", "$CATENA verify --cases 2 $D/out/libremembered.so");
    shell_expect(0, "libremembered.so", COMPILE "none");
    shell_expect(0, "plan.few_tokens 16\n", TEXT);
}
END_TEST

// explain takes up the user's.
START_TEST(test_of_the_user) {
    remember("{\"few_tokens\": 8}", 0);
    shell_expect(0, "plan.few_tokens 8\n",
                 "mkdir $D/catena && mv $D/wisdom.json $D/catena && XDG_DATA_HOME=$D $CATENA explain --text $D/spec.json");
    shell_expect(0, "plan.few_tokens 16\n", "XDG_DATA_HOME=$D/elsewhere $CATENA explain --text $D/spec.json");
}
END_TEST

START_TEST(test_of_another_key) {
    remember("{\"few_tokens\": 4}", 1);
    shell_expect(0, "libremembered.so", COMPILE "$D/wisdom.json");
    shell_expect(0, "plan.few_tokens 16\n", TEXT);
}
END_TEST

START_TEST(test_misfit) {
    remember("{\"few_tokens\": 5}", 0);
    shell_expect(
        0, " does not fit, the default plan is taken: few_tokens cannot be 5 here; expected one of: 1, 4, 8, 16, 32, 64, 128\n",
        COMPILE "$D/wisdom.json");
    shell_expect(0, "layer 'sparse': wisdom ", COMPILE "$D/wisdom.json 2>&1");
    shell_expect(0, "plan.few_tokens 16\n", TEXT);
    shell_expect(1, "directory", COMPILE "$D");
}
END_TEST

// A file that is named to be read is neither ignored nor moved where it is damaged; one of its entries may be.
START_TEST(test_damaged) {
    remember("{\"few_tokens\": 4}", 0);
    shell_expect(0, "\"few_tokens\" of \"decisions\" must be an integer, found \"four\"; this entry is not used",
                 "sed -i 's/\"few_tokens\": 4/\"few_tokens\": \"four\"/' $D/wisdom.json; " COMPILE "$D/wisdom.json");
    shell_expect(0, "plan.few_tokens 16\n", TEXT);
    shell_expect(1, "wisdom.json:2:1: error: ", "echo '{' >$D/wisdom.json; " COMPILE "$D/wisdom.json");
    shell_expect(0, "{\n", "! ls $D | grep damaged && cat $D/wisdom.json");
}
END_TEST

// What another version measured is not taken up, and explain says that it is there.
START_TEST(test_untrusted) {
    remember("{\"few_tokens\": 4}", 0);
    shell_expect(0, "", "mkdir $D/catena && mv $D/wisdom.json $D/catena");
    shell_expect(1, "", "XDG_DATA_HOME=$D $CATENA explain $D/spec.json | grep 'not trusted'");
    shell_expect(0, "\nplan: default\n\nwisdom ",
                 "sed -i 's/\"generator\": \".*\"/\"generator\": \"0.0.1\"/' $D/catena/wisdom.json; "
                 "XDG_DATA_HOME=$D $CATENA explain $D/spec.json");
    shell_expect(0, " is not trusted: measured with catena 0.0.1, LLVM ",
                 "XDG_DATA_HOME=$D $CATENA explain $D/spec.json | grep '; catena tune measures again$'");
}
END_TEST

#define BF16 \
    "{\"name\": \"remembered\", \"layers\": [{\"name\": \"sparse\", \"hidden\": 64, \"router\": {\"k\": 2}, " \
    "\"experts\": {\"count\": 4, \"intermediate\": 32}, \"weights\": \"bf16\", \"compute\": \"bf16\"}]}"

// A legal path that is not the default's, where this machine has one: the first, since the list begins with slow ones, which no
// noise makes the default's.
static const char *other_path(const Described *described) {
    Path own = (Path)described->plan.roles[ROLE_GATE_UP].path, other = own;
    for (int p = PATH_COUNT - 1; p >= 0; p--) {
        bool legal = paths_legal(&described->machine, described->target, (Path)p, FORMAT_BF16, COMPUTE_BF16);
        other = legal && p != (int)own ? (Path)p : other;
    }
    return path_name(other);
}

// A path that gives other bits is taken up where bits are free, and nowhere else.
START_TEST(test_of_another_path) {
    char decisions[128];
    Described described;
    describe(BF16, &described);
    described.workload.bits_free = true;
    const char *other = other_path(&described);
    snprintf(decisions, sizeof decisions, "{\"path\": \"%s\", \"down.prefetch\": 0}", other);
    remember_layer(&described, 1.1, decisions, 0);
    shell_expect(0, "libremembered.so", COMPILE "$D/wisdom.json --bits free");
    shell_expect(0, "", TEXT " >$D/text && grep '^gate_up.path %s' $D/text && grep '^down.path %s' $D/text", other, other);
    shell_expect(0, "", "grep '^down.prefetch 0' $D/text");
    shell_expect(0, "", EXPLAIN " | grep 'plan: tuned .*): path %s, down.prefetch 0$'", other);
    shell_expect(0, "",
                 "$CATENA wisdom --wisdom $D/wisdom.json show $($CATENA wisdom --wisdom $D/wisdom.json list | grep -oE "
                 "'[0-9a-f]{16}') | grep -E '\\| path +\\| %s '",
                 other);
    shell_expect(0, "0 failed", "$CATENA verify --cases 2 $D/out/libremembered.so");
    shell_expect(0, "libremembered.so", COMPILE "$D/wisdom.json");
    shell_expect(0, "\nplan: default\n", EXPLAIN);
    shell_expect(1, "", TEXT " >$D/text; grep '^down.prefetch 0' $D/text");
    if (strcmp(other, path_name((Path)described.plan.roles[ROLE_GATE_UP].path))) {
        shell_expect(1, "", "grep '^gate_up.path %s' $D/text", other);
    }
    const char *own = path_name((Path)described.plan.roles[ROLE_GATE_UP].path);
    shell_expect(0, "", "rm $D/wisdom.json");
    snprintf(decisions, sizeof decisions, "{\"path\": \"%s\"}", own);
    remember_layer(&described, 1, decisions, 0);
    shell_expect(0, "libremembered.so", COMPILE "$D/wisdom.json --bits free");
    shell_expect(0, "", EXPLAIN " | grep 'plan: default (no search found anything surely faster; .*): path %s$'", own);
}
END_TEST

// What does not fit leaves the default's path, too.
START_TEST(test_misfit_of_another_path) {
    char decisions[128];
    Described described;
    describe(BF16, &described);
    described.workload.bits_free = true;
    const char *other = other_path(&described);
    snprintf(decisions, sizeof decisions, "{\"path\": \"%s\", \"few_tokens\": 5}", other);
    remember_layer(&described, 1.1, decisions, 0);
    shell_expect(0, " does not fit, the default plan is taken: few_tokens cannot be 5 here", COMPILE "$D/wisdom.json --bits free");
    shell_expect(0, "\nplan: default\n", EXPLAIN);
    if (strcmp(other, path_name((Path)described.plan.roles[ROLE_GATE_UP].path))) {
        shell_expect(1, "", TEXT " >$D/text; grep '^gate_up.path %s' $D/text", other);
    }
    shell_expect(0, "", "rm $D/wisdom.json");
    remember_layer(&described, 1.1, "{\"path\": \"fp32_fma\"}", 0);  // of no bf16 weights
    shell_expect(0, "the default plan is taken: the path 'fp32_fma' cannot be used here; expected one of: bf16_",
                 COMPILE "$D/wisdom.json --bits free");
}
END_TEST

// A library says which wisdom its plan was made with; the same wisdom gives the same bytes.
START_TEST(test_origin_is_embedded) {
    remember("{\"few_tokens\": 4, \"down.prefetch\": 0}", 0);
    shell_expect(0, "libremembered.so", COMPILE "$D/wisdom.json");
    shell_expect(0, "plan: tuned (gain 1.100, 1.050 to 1.200; predicted 1.051; measured 20",
                 EXPLAIN " >$D/text; grep 'plan: ' $D/text");
    shell_expect(0, "): few_tokens 4, down.prefetch 0\n", "grep 'plan: ' $D/text");
    shell_expect(0, "",
                 "id=$($CATENA wisdom --wisdom $D/wisdom.json list | grep -oE '[0-9a-f]{16}') && grep \"wisdom $id)\" $D/text");
    shell_expect(0, "",
                 "cp -r $D/out $D/first && sleep 1.1 && " COMPILE
                 "$D/wisdom.json && cmp $D/out/libremembered.so $D/first/libremembered.so");
    shell_expect(0, "libremembered.so", COMPILE "none");
    shell_expect(0, "\nplan: default\n", EXPLAIN);
    shell_expect(0, "", "rm $D/wisdom.json");
    remember("{}", 0);
    shell_expect(0, "libremembered.so", COMPILE "$D/wisdom.json");
    shell_expect(0, "plan: default (no search found anything surely faster; measured 20", EXPLAIN);
}
END_TEST

START_TEST(test_origin_is_checked) {
    static const char *const changes[] = {"s/\"gain\": [0-9]/\"gaim\": 1/",
                                          "s/\"low\": [0-9.]*/\"low\": null/",
                                          "s/\"high\": /\"hugh\": /",
                                          "s/\"few_tokens\": 4/\"few\\x1btokens\": 4/",
                                          "s/\"few_tokens\": 4/\"few_token\": 4./",
                                          "s/\"few_tokens\": 4/\"few_token\":\"4\"/",
                                          "s/\"few_tokens\": 4/\"path\": \"A_pat\"/",
                                          "s/\"few_tokens\": 4/\"path\": 1234567/",
                                          "s/\"time\": [0-9]/\"time\": -/",
                                          "s/\"id\": \"./\"id\": \"g/",
                                          "s/\"decisions\": {/\"decisiont\": {/"};
    remember("{\"few_tokens\": 4}", 0);
    shell_expect(0, "libremembered.so", COMPILE "$D/wisdom.json");
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        shell_expect(0, "",
                     "LC_ALL=C sed '%s' $D/out/libremembered.so >$D/changed.so; ! cmp -s $D/out/libremembered.so $D/changed.so",
                     changes[i]);
        shell_expect(1, "damaged description: ", "$CATENA explain --text $D/changed.so");
    }
}
END_TEST

// Token counts that weigh otherwise are another workload; how a weight is written does not matter.
START_TEST(test_of_other_weights) {
    static const char *const same[] = {DESCRIBED("{\"tokens\": [1, {\"count\": 32, \"weight\": 2.5}]}"),
                                       DESCRIBED("{\"tokens\": [{\"count\": 1}, {\"weight\": 25e-1, \"count\": 32}]}")};
    remember_described(same[0], "{\"few_tokens\": 4}", 0);
    for (size_t i = 0; i < 2; i++) {
        shell_write_file("$D/spec.json", same[i], strlen(same[i]));
        shell_expect(0, "libremembered.so", COMPILE "$D/wisdom.json");
        shell_expect(0, "plan.few_tokens 4\n", TEXT);
    }
    shell_expect(0, "1:1 32:2.5 uniform", "$CATENA wisdom --wisdom $D/wisdom.json list");
    shell_write_file("$D/spec.json", description, strlen(description));
    shell_expect(0, "libremembered.so", COMPILE "$D/wisdom.json");
    shell_expect(0, "plan.few_tokens 16\n", TEXT);
}
END_TEST

// Writes the trace of TRACED tokens $D/NAME.
static void write_trace(const char *name, int first_expert) {
    enum { TRACED = 9, K = 2 };
    int32_t experts[TRACED * K];
    float weights[TRACED * K];
    char path[512];
    Diagnostics diagnostics = {0};
    for (int slot = 0; slot < TRACED * K; slot++) {
        experts[slot] = (first_expert + slot) % 4;
        weights[slot] = 0.5f;
    }
    Npy array = {NPY_INT32, 3, {1, TRACED, K}, experts};
    snprintf(path, sizeof path, "%s/%s.experts.npy", shell_folder(), name);
    ck_assert_int_eq(npy_write(path, &array, &diagnostics), 0);
    array = (Npy){NPY_FLOAT32, 3, {1, TRACED, K}, weights};
    snprintf(path, sizeof path, "%s/%s.weights.npy", shell_folder(), name);
    ck_assert_int_eq(npy_write(path, &array, &diagnostics), 0);
}

static void describe_trace(const char *name) {
    char text[2048];
    snprintf(text, sizeof text, DESCRIBED("{\"tokens\": [1, 32], \"routing\": \"trace:%s/%s\"}"), shell_folder(), name);
    shell_write_file("$D/spec.json", text, strlen(text));
}

// A trace is known by what is in it: under another name it is the same workload, with other content another. Without it a library
// has the default plan.
START_TEST(test_of_traces) {
    size_t bytes;
    write_trace("one", 0);
    describe_trace("one");
    char *described = shell_read_file("$D/spec.json", &bytes);
    remember_described(described, "{\"few_tokens\": 4}", 0);
    free(described);
    shell_expect(0, "libremembered.so", COMPILE "$D/wisdom.json");
    shell_expect(0, "plan.few_tokens 4\n", TEXT);
    write_trace("two", 0);
    describe_trace("two");
    shell_expect(0, "libremembered.so", COMPILE "$D/wisdom.json");
    shell_expect(0, "plan.few_tokens 4\n", TEXT);
    write_trace("two", 1);
    shell_expect(0, "libremembered.so", COMPILE "$D/wisdom.json");
    shell_expect(0, "plan.few_tokens 16\n", TEXT);
    describe_trace("three");
    shell_expect(0, "layer 'sparse': no wisdom is looked for: ", COMPILE "$D/wisdom.json");
    shell_expect(0, "plan.few_tokens 16\n", TEXT);
}
END_TEST

// Says that there is an entry of the layer.
#define LISTED "$CATENA wisdom --wisdom $D/w.json list | grep '64 x 32, 4 experts, k 2'"

// A search leaves an entry once it has compared anything (how long that takes is the machine's affair), and the next one goes on
// from it.
START_TEST(test_tune) {
    shell_write_file("$D/spec.json", description, strlen(description));
    shell_expect(0, "layer sparse: space of ",
                 "for budget in 3 12 48; do $CATENA tune $D/spec.json --budget $budget --wisdom $D/w.json; " LISTED
                 " && break; done");
    shell_expect(0, "64 x 32", LISTED);
    shell_expect(0, "layer sparse: ", "$CATENA tune $D/spec.json --budget 2 --wisdom $D/w.json --start worst --seed 7");
    shell_expect(1, "there is no layer 'dense'", "$CATENA tune $D/spec.json --layer dense --wisdom none");
    shell_expect(2, "--budget takes seconds", "$CATENA tune $D/spec.json --budget soon");
    shell_expect(2, "--tokens takes", "$CATENA tune $D/spec.json --tokens 4:0");
    shell_expect(2, "--routing takes", "$CATENA tune $D/spec.json --routing nowhere");
}
END_TEST

// A search has fewer token counts than a description may have, or --tokens, which takes the same.
START_TEST(test_many_token_counts) {
    static const char most[] = "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32";
    static const char many[] = DESCRIBED("{\"tokens\": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]}");
    const char *words = "only the first 16 token counts are searched for", *elsewhere = "--topology 'pack:1 l3:1 core:2 pu:1'";
    shell_write_file("$D/spec.json", many, strlen(many));
    shell_expect(0, words, "$CATENA tune $D/spec.json %s", elsewhere);
    shell_expect(1, "", "$CATENA tune $D/spec.json --tokens 1,2 %s 2>&1 | grep '%s'", elsewhere, words);
    shell_expect(0, words, "$CATENA tune $D/spec.json --tokens %s %s", most, elsewhere);
    shell_expect(2, "--tokens takes up to 32 token counts, not '1,2,", "$CATENA tune $D/spec.json --tokens %s,33", most);
    shell_expect(0, "", "$CATENA tune $D/spec.json --tokens 1048576:1e6,1:1e-6 %s", elsewhere);
}
END_TEST

START_TEST(test_refused_token_counts) {
    static const struct {
        const char *tokens, *words;
    } rows[] = {
        {"1,1048577", "token counts from 1 to 1048576, not '1048577'"},
        {"16:2,x:1", "not 'x'"},
        {"16,,2", "not ''"},
        {"16:2x", "weights above 0 and up to 1e+06, not '2x'"},
        {"16:", "weights above 0 and up to 1e+06, not ''"},
        {"16:1000001", "not '1000001'"},
        {"16:1e-60", "not '1e-60'"},  // which a description refuses, too: it is 0 in fp32
        {"16:nan", "not 'nan'"},
        {"16:-1,2", "not '-1'"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        shell_expect(2, rows[i].words, "$CATENA tune no.json --tokens %s", rows[i].tokens);
    }
}
END_TEST

// A trace is tuned for as any other workload, and refused at once where it is none of the layer's.
START_TEST(test_tune_for_a_trace) {
    shell_write_file("$D/spec.json", description, strlen(description));
    write_trace("calls", 0);
    shell_expect(
        0, "layer sparse: space of ",
        "for budget in 3 12 48; do $CATENA tune $D/spec.json --routing trace:$D/calls --budget $budget --wisdom $D/w.json; " LISTED
        " && break; done");
    shell_expect(0, "1:1 32:1 trace:", LISTED);
    describe_trace("calls");
    shell_expect(0, "1:1 32:1 trace:", "$CATENA tune $D/spec.json --budget 2 --wisdom $D/w.json && " LISTED);
    shell_expect(1, "none.experts.npy", "$CATENA tune $D/spec.json --routing trace:$D/none --budget 86400 --wisdom none");
    shell_expect(
        1, "a trace of this layer is int32 [2, tokens, 2]",
        "sed -i 's/\"hidden\"/\"iterations\": 2, &/' $D/spec.json && $CATENA tune $D/spec.json --budget 86400 --wisdom none");
}
END_TEST

// Ctrl-C: what was measured until then is kept.
START_TEST(test_interrupted) {
    shell_write_file("$D/spec.json", description, strlen(description));
    shell_expect(0, "stopped after",
                 "for seconds in 5 15 45; do timeout --preserve-status -s INT $seconds $CATENA tune $D/spec.json --budget 600 "
                 "--wisdom $D/w.json; " LISTED " && break; done");
    shell_expect(0, "64 x 32", LISTED);
}
END_TEST

Suite *suite_recall(void) {
    Suite *suite = suite_create("recall");
    TCase *cases = tcase_create("plans");
    tcase_add_checked_fixture(cases, shell_begin, shell_end);
    tcase_set_timeout(cases, 300);
    tcase_add_test(cases, test_taken_up);
    tcase_add_test(cases, test_of_the_user);
    tcase_add_test(cases, test_of_another_key);
    tcase_add_test(cases, test_misfit);
    tcase_add_test(cases, test_damaged);
    tcase_add_test(cases, test_untrusted);
    tcase_add_test(cases, test_of_another_path);
    tcase_add_test(cases, test_misfit_of_another_path);
    tcase_add_test(cases, test_origin_is_embedded);
    tcase_add_test(cases, test_origin_is_checked);
    tcase_add_test(cases, test_of_other_weights);
    tcase_add_test(cases, test_of_traces);
    tcase_add_test(cases, test_tune);
    tcase_add_test(cases, test_many_token_counts);
    tcase_add_test(cases, test_refused_token_counts);
    tcase_add_test(cases, test_tune_for_a_trace);
    tcase_add_test(cases, test_interrupted);
    suite_add_tcase(suite, cases);
    return suite;
}
