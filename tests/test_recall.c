// Wisdom and plans together: what is remembered of a layer is what compile and explain make of it; what does not fit is said and
// left out.
#include <stdlib.h>
#include <string.h>

#include "../compiler/compile.h"
#include "../compiler/recall.h"
#include "shell.h"
#include "suites.h"

static const char description[] =
    "{\"name\": \"remembered\", \"workload\": {\"tokens\": [1, 32]}, \"layers\": [{\"name\": \"sparse\", \"hidden\": 64, "
    "\"router\": {\"k\": 2}, \"experts\": {\"count\": 4, \"intermediate\": 32}, \"weights\": \"fp32\"}]}";

// Leaves wisdom of that layer on this machine in $D/wisdom.json, and the description in $D/spec.json.
static void remember(const char *decisions_text, int threads_more) {
    Diagnostics diagnostics = {0};
    Machine machine;
    RecallWorkload workload;
    RecallKey key;
    Plan plan;
    char path[WISDOM_PATH_BYTES], note[WISDOM_NOTE_BYTES];
    shell_write_file("$D/spec.json", description, strlen(description));
    Model *model = model_read_text(description, strlen(description), "spec", &diagnostics);
    ck_assert_msg(model != NULL, "%s", diagnostics.text);
    ck_assert_int_eq(machine_detect(&machine), 0);
    const Target *target = compile_target(NULL, &machine, &diagnostics);
    ck_assert_int_eq(compile_plans(model, target, &machine, -1, &plan, &diagnostics), 0);
    recall_workload(&model->workload, &workload);
    recall_key(&plan.layer, target, &machine, (int)machine.threads + threads_more, &workload, &key);
    json_t *decisions = json_loads(decisions_text, 0, NULL);
    json_t *entry = wisdom_entry(&key.key, &machine, decisions, 1.1, 1.05, 1.2, NULL);
    snprintf(path, sizeof path, "%s/wisdom.json", shell_folder());
    ck_assert_msg(!wisdom_update(path, &key.key, entry, note, &diagnostics), "%s", diagnostics.text);
    json_decref(entry);
    json_decref(decisions);
    model_free(model);
}

#define COMPILE "$CATENA compile $D/spec.json -o $D/out --wisdom "
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
    shell_expect(0, "layer 'sparse': wisdom does not fit, the default plan is taken: few_tokens cannot be 5 here",
                 COMPILE "$D/wisdom.json");
    shell_expect(0, "plan.few_tokens 16\n", TEXT);
    shell_expect(1, "directory", COMPILE "$D");
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
    tcase_add_test(cases, test_tune);
    tcase_add_test(cases, test_interrupted);
    suite_add_tcase(suite, cases);
    return suite;
}
