// examples/audit.c, built and run on a tiny layer: what it says of a call's work, which it derives by itself, must be what
// `catena bench` says. No time is looked at.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "shell.h"
#include "suites.h"

// Both weight formats, a chain and one iteration. With so many tokens every expert is chosen, whatever the weights.
static const struct {
    const char *weights;
    int iterations;
} layers[] = {{"bf16", 2}, {"fp32", 1}};
static const char tokens[] = "1,700";

// In little memory: nothing here has to be cold.
#define AUDIT "$D/audit -r 1 -s 0 -t 2 -m 4 "
// Takes the place of catena.
static const char said[] = "#!/bin/sh\ncat $D/bench.json\n";

static const char description[] =
    "{\"name\": \"audited\", \"layers\": [{\"name\": \"tiny\", \"hidden\": 64, \"iterations\": %d, \"norm\": {\"kind\": \"rms\"},\n"
    " \"router\": {\"k\": 4, \"per_iteration\": true}, \"experts\": {\"count\": 32, \"intermediate\": 96}, \"weights\": \"%s\",\n"
    " \"checkpoint\": {\"tensors\": {\"norm\": \"model.layers.{layer}.post_attention_layernorm.weight\",\n"
    "  \"router\": \"model.layers.{layer}.mlp.gate%s.weight\",\n"
    "  \"gate\": \"model.layers.{layer}.mlp.experts.{expert}.gate_proj.weight\",\n"
    "  \"up\": \"model.layers.{layer}.mlp.experts.{expert}.up_proj.weight\",\n"
    "  \"down\": \"model.layers.{layer}.mlp.experts.{expert}.down_proj.weight\"}}}]}\n";

static void build_text(const char *text) {
    shell_write_file("$D/audited.json", text, strlen(text));
    shell_expect(0, "libaudited.so", "$CATENA compile --wisdom none $D/audited.json -o $D");
    shell_expect(0, "",
                 "cc -O1 -march=native -fopenmp -Wall -Wextra -Wshadow -Werror -DLIBRARY=audited -DCONSTANTS=AUDITED_TINY "
                 "-DLAYER='\"tiny\"' examples/audit.c -o $D/audit $(PKG_CONFIG_PATH=$D pkg-config --cflags --libs audited) -lm");
}

static void build(int layer) {
    char text[sizeof description + 64];
    int iterations = layers[layer].iterations;
    snprintf(text, sizeof text, description, iterations, layers[layer].weights, iterations > 1 ? ".{iteration}" : "");
    build_text(text);
}

// The row of a token count in the audit's table: its figures, without the bars.
static const char *row_of(const char *text, long count) {
    char start[32];
    snprintf(start, sizeof start, "\n| %6ld | ", count);
    const char *row = strstr(text, start);
    ck_assert_msg(row != NULL, "no row of %ld tokens in\n%s", count, text);
    return row + strlen(start);
}

static void compare(const char *text, const json_t *row) {
    double flops, bytes, distinct;
    const char *found = row_of(text, (long)json_integer_value(json_object_get(row, "tokens")));
    ck_assert_int_eq(sscanf(found, "%lf | %lf | %lf |", &flops, &bytes, &distinct), 3);
    ck_assert_double_eq(flops, json_real_value(json_object_get(row, "flops")));
    ck_assert_double_eq(bytes, json_real_value(json_object_get(row, "bytes")));
    ck_assert_double_eq(distinct, json_real_value(json_object_get(row, "distinct_experts")));
}

// Of the rows of a benchmark: how many are the layer's, and agree with the audit's.
static int compare_rows(const char *text) {
    char path[SHELL_PATH_BYTES + 16];
    int compared = 0;
    size_t i;
    snprintf(path, sizeof path, "%s/bench.json", shell_folder());
    json_t *row, *document = json_load_file(path, 0, NULL);
    json_array_foreach(json_object_get(document, "rows"), i, row) {
        if (!strcmp(json_string_value(json_object_get(row, "layer")), "audited")) {  // not its one-iteration sibling
            compare(text, row);
            compared++;
        }
    }
    json_decref(document);
    return compared;
}

// The benchmark runs once, and the audit is given what it said: filling a bank takes seconds.
START_TEST(says_what_bench_says) {
    int status;
    build(_i);
    shell_write_file("$D/said", said, sizeof said - 1);
    shell_expect(0, "", "chmod +x $D/said");
    shell_expect(0, "",
                 "$CATENA bench --format json --against none --seconds 0 --threads 2 --tokens %s $D/libaudited.so >$D/bench.json",
                 tokens);
    char *text = shell_read(&status, AUDIT "-n %s $D/said $D/libaudited.so $D", tokens);
    ck_assert_msg(!status, "%s", text);
    ck_assert_msg(!strstr(text, "nan") && !strstr(text, "inf"), "%s", text);
    ck_assert_int_eq(compare_rows(text), 2);
    shell_expect(0, "0\n", "ls $D | grep -c safetensors || true");
    free(text);
}
END_TEST

START_TEST(runs_bench) {
    build(1);
    shell_expect(0, "| within 3% |\n", AUDIT "-n 1 $CATENA $D/libaudited.so $D");
    shell_expect(2, "usage:", "$D/audit");
    shell_expect(2, "usage:", "$D/audit -n 1,x $CATENA $D/libaudited.so $D");
    shell_expect(2, "usage:", "$D/audit -r 0 $CATENA $D/libaudited.so $D");
    shell_expect(1, "no/such", AUDIT "-n 1 $CATENA $D/libaudited.so $D/no/such");
    shell_expect(1, "failed", AUDIT "-n 1 false $D/libaudited.so $D");
}
END_TEST

// Layers whose work the audit cannot count are refused by name, with the reason, before anything is measured or written.
static const struct {
    const char *router, *experts, *more, *words;
} refused[] = {
    {"\"score\": \"relu\", \"select\": \"threshold\"", "", "",
     "selection is threshold, known: top_k: tokens need not visit k experts each"},
    {"\"select\": \"top_p\", \"top_p\": 0.5", "", "", "selection is top_p, known: top_k: tokens need not"},
    {"\"k\": 2, \"select\": \"sparsemixer\"", "", "", "selection is sparsemixer"},
    {"\"k\": 4, \"k_per_token\": true", "", "", "k_per_token is yes, known: no: callers may give each token a k"},
    {"\"k\": 4, \"score\": \"relu\"", "", "", "score is relu, known: softmax sigmoid sqrtsoftplus: experts whose score is 0"},
    {"\"k\": 4", ", \"identity\": 2", "", "identity_experts is 2, known: 0: choices that compute nothing"},
    {"\"k\": 4", ", \"null\": 3", "", "null_experts is 3, known: 0: choices that compute nothing"},
    {"\"k\": 4", "", ", \"shared_experts\": {\"count\": 1}", "shared_experts is 1, known: 0: the work of shared"},
    {"\"k\": 4", "", ", \"activations\": \"bf16\"", "activations is bf16, known: fp32"},
    {"\"k\": 4", "", ", \"count\": 2", "a library with one layer and one instance of it is needed"},
};

START_TEST(refuses_what_it_does_not_know) {
    char text[1024];
    snprintf(text, sizeof text,
             "{\"name\": \"audited\", \"layers\": [{\"name\": \"tiny\", \"hidden\": 64, \"norm\": {\"kind\": \"rms\"},"
             " \"router\": {%s}, \"experts\": {\"count\": 32, \"intermediate\": 96%s}%s}]}\n",
             refused[_i].router, refused[_i].experts, refused[_i].more);
    build_text(text);
    shell_expect(1, "layer 'tiny' of audited is not audited: ", AUDIT "-n 1 false $D/libaudited.so $D/no/such");
    shell_expect(1, refused[_i].words, AUDIT "-n 1 false $D/libaudited.so $D/no/such");
    shell_expect(0, "0\n", AUDIT "-n 1 false $D/libaudited.so $D 2>/dev/null | wc -l");
}
END_TEST

Suite *suite_audit(void) {
    Suite *suite = suite_create("audit");
    TCase *cases = tcase_create("audit");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_checked_fixture(cases, shell_begin, shell_end);
    tcase_add_loop_test(cases, says_what_bench_says, 0, sizeof layers / sizeof *layers);
    tcase_add_test(cases, runs_bench);
    tcase_add_loop_test(cases, refuses_what_it_does_not_know, 0, sizeof refused / sizeof *refused);
    suite_add_tcase(suite, cases);
    return suite;
}
