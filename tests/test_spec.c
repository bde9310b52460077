// The description's parser: what is accepted, with which defaults; what is refused, with which message at which place.
// Over 500 lines: most of it are tables of descriptions and what is said of them.
#include <stdlib.h>
#include <string.h>

#include "compiler/description/model.h"
#include "compiler/description/print.h"
#include "suites.h"

// One layer with everything that is required; other texts are made from it by putting keys in front.
#define LAYER(more) \
    "{" more "\"name\": \"a\", \"hidden\": 8, \"router\": {\"k\": 2}, \"experts\": {\"count\": 4, \"intermediate\": 6}}"
#define MODEL(more) "{\"name\": \"q\", \"layers\": [" LAYER(more) "]}"
#define ROUTED(router) \
    "{\"name\": \"q\", \"layers\": [{\"name\": \"a\", \"hidden\": 8, \"router\": " router \
    ", \"experts\": {\"count\": 4, \"intermediate\": 6}}]}"
#define JOINT(shared, score, normalize) \
    "{\"name\": \"q\", \"layers\": [{\"name\": \"a\", \"hidden\": 8, \"router\": {\"k\": 2, \"score\": " score normalize \
    "}, \"experts\": {\"count\": 4, \"intermediate\": 6}, \"shared_experts\": {\"count\": 1, " shared "}}]}"
#define WORKLOAD(text) "{\"name\": \"q\", \"layers\": [" LAYER("") "], \"workload\": " text "}"

#define EXPERTS(more) \
    "{\"name\": \"q\", \"layers\": [{\"name\": \"a\", \"hidden\": 8, \"router\": {\"k\": 2}, \"experts\": {\"count\": 4, " \
    "\"intermediate\": 6, " more "}}]}"

// More choices than any k.
#define POOL(select) \
    "{\"name\": \"q\", \"layers\": [{\"name\": \"a\", \"hidden\": 8, \"router\": {\"select\": " select \
    "}, \"experts\": {\"count\": 1000, \"identity\": 20, \"null\": 5, \"intermediate\": 6}}]}"
#define SHARED(more) MODEL("\"shared_experts\": {\"count\": 0, " more "}, ")

static Model *read_text(const char *text, Diagnostics *diagnostics) {
    return model_read_text(text, strlen(text), "spec.json", diagnostics);
}

static Model *accepted(const char *text) {
    Diagnostics diagnostics = {0};
    Model *model = read_text(text, &diagnostics);
    ck_assert_msg(model, "refused: %s", diagnostics.text);
    ck_assert_uint_eq(diagnostics.count, 0);
    return model;
}

typedef struct Refused {
    const char *text;
    size_t count;         // of problems
    const char *message;  // a part of the diagnostics
} Refused;

static const Refused refusals[] = {
    // syntax
    {"", 1, "spec.json:1:1: error: "},
    {"{\"name\": \"q\",\n \"layers\": [1,]}", 1, "spec.json:2:15: error: unexpected token"},
    {"{\"name\": \"q\", \"name\": \"q\"}", 1, "duplicate object key"},
    {"[1]", 1, "spec.json:1:1: error: a description is an object"},
    {"{\"name\": 1e999}", 1, "real number overflow"},
    {"{\"name\": 99999999999999999999}", 1, "too big integer"},
    // keys
    {"{}", 2, "spec.json:1:1: error: the description lacks \"name\""},
    {"{}", 2, "lacks \"layers\": a list of 1 to 64 layers"},
    {MODEL("\"hiden\": 8, "), 1, "spec.json:1:27: error: unknown key \"hiden\" in layer: did you mean \"hidden\"?"},
    {MODEL("\n  \"colour\": 8, "), 1, "spec.json:2:3: error: unknown key \"colour\" in layer: it has name, count, hidden"},
    {MODEL("\"\\u0068iden\": 8, "), 1, "spec.json:1:27: error: unknown key \"hiden\""},
    {MODEL("\"\\u001b[2Jx\": 8, "), 1, "unknown key \"?[2Jx\""},
    {ROUTED("{\"k\": 1, \"scale\": 2, \"per_iterations\": true}"), 1, "in router: did you mean \"per_iteration\"?"},
    {ROUTED("{}"), 1, "layers[0].router.k is missing: this rule of selection"},
    // types and ranges
    {"{\"name\": \"q\", \"layers\": {}}", 1, "layers must be a list of 1 to 64 layers, found an object"},
    {"{\"name\": \"q\", \"layers\": []}", 1, "layers must be a list of 1 to 64 layers, found a list of 0"},
    {"{\"name\": \"q\", \"layers\": [3]}", 1, "spec.json:1:26: error: layers[0] must be an object"},
    {ROUTED("7"), 1, "layers[0].router must be an object, found 7"},
    {ROUTED("{\"k\": \"2\"}"), 1, "spec.json:1:69: error: layers[0].router.k must be an integer from 1 to 1024, found \"2\""},
    {ROUTED("{\"k\": 2.0}"), 1, "layers[0].router.k must be an integer from 1 to 1024, found 2.0"},
    {ROUTED("{\"k\": 0}"), 1, "found 0"},
    {ROUTED("{\"k\": 2, \"normalize\": 1}"), 1, "layers[0].router.normalize must be true or false, found 1"},
    {ROUTED("{\"k\": 2, \"score\": \"sigmoyd\"}"), 1, "layers[0].router.score must be one of \"softmax\", \"sigmoid\""},
    {ROUTED("{\"k\": 2, \"scale\": -1}"), 1, "layers[0].router.scale must be a number from 0 to 1000000, not 0, found -1"},
    {MODEL("\"norm\": {\"kind\": \"rms\", \"eps\": -1e-6}, "), 1, "layers[0].norm.eps must be a number from 0 to 1"},
    {ROUTED("{\"k\": 2, \"softcap\": 1e-50}"), 1, "layers[0].router.softcap must be 0 or a number that fp32 can hold, found 1e-50"},
    {MODEL("\"weights\": \"fp8\", "), 1,
     "layers[0].weights must be one of "
#define FORMAT_ROW(enumerator, symbol, ...) "\"" #symbol "\", "
#include "templates/formats/list.h"
     "found \"fp8\""},
    {MODEL("\"iterations\": 17, "), 1, "layers[0].iterations must be an integer from 1 to 16, found 17"},
    {MODEL("\"iterations\": 0, "), 1, "found 0"},
    {MODEL("\"count\": 1099511627776, "), 1, "layers[0].count must be an integer from 1 to 4096, found 1099511627776"},
    {"{\"name\": \"q\", \"layers\": [" LAYER("") "], \"workload\": {\"tokens\": [1, 0]}}", 1,
     "workload.tokens[1] must be an integer"},
    {"{\"name\": \"q\", \"layers\": [" LAYER("") "], \"workload\": {\"tokens\": []}}", 1,
     "workload.tokens must be a list of 1 to 32"},
    {WORKLOAD("{\"tokens\": [1, \"2\", 1048577]}"), 2, "workload.tokens[2] must be an integer from 1 to 1048576, found 1048577"},
    {WORKLOAD("{\"tokens\": [4, {\"weight\": 2}]}"), 1,
     "spec.json:1:146: error: workload.tokens[1] lacks \"count\": an integer from 1 to 1048576"},
    {WORKLOAD("{\"tokens\": [{\"count\": 0, \"weight\": 2}]}"), 1, "workload.tokens[0].count must be an integer"},
    {WORKLOAD("{\"tokens\": [{\"count\": 4, \"weight\": 0}]}"), 1,
     "spec.json:1:166: error: workload.tokens[0].weight must be a number from 0 to 1000000, not 0, found 0"},
    {WORKLOAD("{\"tokens\": [{\"count\": 4, \"weight\": 1e-50}]}"), 1, "a number that fp32 can hold, found 1e-50"},
    {WORKLOAD("{\"tokens\": [{\"count\": 4, \"wieght\": 2}]}"), 1,
     "unknown key \"wieght\" in token count: did you mean \"weight\"?"},
    {"{\"name\": \"q\", \"layers\": [" LAYER("") "], \"workload\": {\"routing\": \"zipf:x\"}}", 1,
     "workload.routing must be \"uniform\""},
    {"{\"name\": \"q\", \"layers\": [" LAYER("") "], \"workload\": {\"routing\": \"trace:a\\nb\"}}", 1,
     "workload.routing must be \"uniform\""},
    // names
    {"{\"name\": \"1m\", \"layers\": [" LAYER("") "]}", 1, "name must be a name of letters"},
    {"{\"name\": \"m-x\", \"layers\": [" LAYER("") "]}", 1, "name must be a name of letters"},
    {"{\"name\": \"switch\", \"layers\": [" LAYER("") "]}", 1, "name \"switch\" is a keyword of C or C++"},
    {"{\"name\": \"main\", \"layers\": [" LAYER("") "]}", 1, "name \"main\" is used by headers of C"},
    {"{\"name\": \"malloc\", \"layers\": [" LAYER("") "]}", 1,
     "name \"malloc\" is that of a function or a variable of the C library: choose another, such as my_malloc_layer"},
    {"{\"name\": \"ctype\", \"layers\": [" LAYER("") "]}", 1, "would make files that stand in the way of the system's"},
    {"{\"name\": \"sem\", \"layers\": [" LAYER("") "]}", 1, "would make functions that exist already"},
    {"{\"name\": \"q\", \"layers\": [" LAYER("") ",\n" LAYER("") "]}", 1,
     "spec.json:2:10: error: layers[0] and layers[1] are both named \"a\""},
    // combinations
    {ROUTED("{\"k\": 5}"), 1, "spec.json:1:69: error: layers[0].router.k is 5, but the pool has only 4 experts"},
    {MODEL("\"weights\": \"fp32\", \"compute\": \"bf16\", "), 1,
     "layers[0].compute is \"bf16\", but its gate_up weights are fp32, which no instruction path of this class reads"},
    {MODEL("\"norm\": {\"kind\": \"rms\", \"bias\": true}, "), 1, "layers[0].norm.bias only a layer norm has a bias"},
    {ROUTED("{\"k\": 2, \"expected_k\": 3}"), 1, "layers[0].router.expected_k is more than k"},
    {ROUTED("{\"k\": 2, \"expected_k\": 1}"), 1, "layers[0].router.expected_k is less than k"},
    {ROUTED("{\"select\": \"sparsemixer\", \"k\": 2, \"expected_k\": 1}"), 1, "router.expected_k is less than k"},
    {ROUTED("{\"k\": 2, \"k_per_token\": true, \"k_min\": 3}"), 1, "layers[0].router.k_min is more than k"},
    {ROUTED("{\"select\": \"threshold\", \"score\": \"relu\", \"k_per_token\": true}"), 1,
     "router.k_per_token goes with \"top_k\" only\n"},
    {ROUTED("{\"select\": \"sparsemixer\", \"k\": 2, \"k_per_token\": true}"), 1, "k_per_token goes with \"top_k\" only\n"},
    {ROUTED("{\"select\": \"top_p\", \"top_p\": 0}"), 1, "router.top_p must be a number from 0 to 1, not 0, found 0"},
    {ROUTED("{\"select\": \"top_p\", \"score\": \"relu\"}"), 1, "router.score must be \"softmax\": top_p adds up"},
    {ROUTED("{\"select\": \"sparsemixer\"}"), 1, "router.k is missing"},
    {ROUTED("{\"select\": \"sparsemixer\", \"k\": 2, \"score\": \"relu\"}"), 1, "that is what sparsemixer computes"},
    {ROUTED("{\"select\": \"sparsemixer\", \"k\": 2, \"correction\": true}"), 1, "correction does not go with this rule"},
    {ROUTED("{\"select\": \"sparsemixer\", \"k\": 2, \"groups\": {\"count\": 2, \"k\": 1}}"), 1, "groups do not go with this rule"},
    {ROUTED("{\"k\": 2, \"groups\": {\"count\": 3, \"k\": 2}}"), 1, "router.groups must divide the choices evenly"},
    {ROUTED("{\"k\": 2, \"groups\": {\"count\": 2, \"k\": 3}}"), 1, "router.groups keep more groups than there are"},
    {ROUTED("{\"k\": 2, \"groups\": {\"count\": 4, \"k\": 2, \"score\": \"top2_sum\"}}"), 1, "have no two best to add"},
    {ROUTED("{\"k\": 3, \"groups\": {\"count\": 2, \"k\": 1}}"), 1, "router.groups that remain have fewer than k experts"},
    {ROUTED("{\"k\": 3, \"groups\": {\"count\": 2, \"k\": 1, \"mask\": \"zero\"}}"), 1, "that remain have fewer than k experts"},
    {ROUTED("{\"k\": 2, \"groups\": {\"count\": 2}}"), 1, "layers[0].router.groups lacks \"k\""},
    {ROUTED("{\"k\": 2, \"scale\": 0}"), 1, "router.scale must be a number from 0 to 1000000, not 0, found 0"},
    {ROUTED("{\"k\": 2, \"logit_scale\": -0.0}"), 1,
     "router.logit_scale must be a number from -1000000 to 1000000, not 0, found -0.0"},
    {ROUTED("{\"k\": 2, \"scale\": 1e-50}"), 1, "router.scale must be a number that fp32 can hold, found 1e-50"},
    {ROUTED("{\"select\": \"threshold\", \"score\": \"relu\", \"threshold\": -0.5}"), 1, "threshold is below every score"},
    {ROUTED("{\"select\": \"threshold\", \"score\": \"relu\", \"threshold\": -0.5, \"groups\": {\"count\": 2, \"k\": 2}}"), 1,
     "threshold is below every score"},
    {ROUTED("{\"select\": \"threshold\", \"score\": \"relu\", \"threshold\": -0.5, "
            "\"groups\": {\"count\": 2, \"k\": 1, \"mask\": \"zero\"}}"),
     1, "threshold is below every score"},
    {ROUTED("{\"select\": \"threshold\", \"k\": 2}"), 1, "threshold is below every score: all choices are above it"},
    {ROUTED("{\"select\": \"threshold\", \"score\": \"sigmoid\", \"threshold\": 0}"), 1, "threshold is below every score"},
    {ROUTED("{\"select\": \"threshold\", \"score\": \"sqrtsoftplus\"}"), 1, "threshold is below every score"},
    {ROUTED("{\"select\": \"threshold\", \"score\": \"softmax\", \"threshold\": 1}"), 1, "threshold is above every score"},
    {ROUTED("{\"select\": \"threshold\", \"score\": \"sigmoid\", \"threshold\": 1.5}"), 1, "threshold is above every score"},
    {ROUTED("{\"k\": 2, \"normalize\": true, \"normalize_eps\": 0, \"normalize_clamp\": true}"), 1,
     "router.normalize_clamp needs a normalize_eps above 0"},
    {POOL("\"threshold\", \"score\": \"relu\""), 1, "router.k is missing: without it a token may choose the whole pool"},
    {POOL("\"top_p\""), 1, "router.k is missing: without it a token may choose the whole pool"},
    {MODEL("\"residual\": {\"inner\": true, \"coe_weight\": true}, "), 1, "residual.coe_weight weighs what one iteration"},
    {MODEL("\"residual\": {\"bias\": true}, "), 1, "residual.bias needs outer"},
    {MODEL("\"residual\": {\"outer\": false, \"scale\": true}, "), 1, "residual.scale needs outer"},
    {JOINT("\"joint\": true", "\"sigmoid\"", ", \"normalize\": true"), 1, "shared_experts.joint needs gated"},
    {JOINT("\"gated\": true, \"joint\": true", "\"softmax\"", ", \"normalize\": true"), 1, "joint needs router.score \"sigmoid\""},
    {JOINT("\"gated\": true, \"joint\": true", "\"sigmoid\"", ""), 1, "joint needs router.normalize"},
    {JOINT("\"gated\": true, \"joint\": true", "\"sigmoid\"", ", \"normalize\": true, \"normalize_p\": 2"), 1,
     "with a normalize_p of 1"},
    {MODEL("\"iterations\": 2, \"residual\": {\"coe_weight\": true}, "), 1, "residual.coe_weight needs inner"},
    // keys that mean nothing, each with its default
    {MODEL("\n\"norm\": {\"eps\": 1e-6}, "), 1, "spec.json:2:10: error: layers[0].norm.eps means nothing without a norm"},
    {MODEL("\"norm\": {\"kind\": \"none\", \"eps\": 1e-6}, "), 1, "layers[0].norm.eps means nothing without a norm"},
    {MODEL("\"latent\": {\"width\": 3, \"norm_eps\": 1e-6}, "), 1,
     "layers[0].latent.norm_eps means nothing without a norm of latent values"},
    {MODEL("\"latent\": {\"norm\": \"rms\"}, "), 1, "layers[0].latent lacks \"width\": "},
    {MODEL("\"post_norm\": {\"eps\": 1e-6}, "), 1, "layers[0].post_norm.eps means nothing without a norm after the chain"},
    {MODEL("\"post_norm\": {\"kind\": \"rms\", \"bias\": true}, "), 1, "unknown key \"bias\" in post_norm: it has kind, eps"},
    {MODEL("\"residual\": {\"inner_alpha\": 1}, "), 1, "residual.inner_alpha means nothing without inner"},
    {MODEL("\"residual\": {\"outer\": false, \"alpha\": 1}, "), 1, "residual.alpha means nothing without outer"},
    {ROUTED("{\"select\": \"sparsemixer\", \"k\": 2, \"rank\": \"logit\"}"), 1, "router.rank means nothing with this rule"},
    {ROUTED("{\"k\": 2, \"groups\": {\"count\": 2, \"k\": 2, \"score\": \"max\"}}"), 1,
     "router.groups.score means nothing where all groups remain"},
    {ROUTED("{\"k\": 2, \"groups\": {\"count\": 2, \"k\": 2, \"mask\": \"zero\"}}"), 1,
     "router.groups.mask means nothing where all groups remain"},
    {ROUTED("{\"k\": 2, \"k_min\": 1}"), 1, "router.k_min means nothing without k_per_token"},
    {ROUTED("{\"k\": 2, \"threshold\": 0}"), 1, "router.threshold is a parameter of \"threshold\""},
    {ROUTED("{\"k\": 2, \"top_p\": 1}"), 1, "router.top_p is a parameter of \"top_p\""},
    {ROUTED("{\"k\": 2, \"jitter\": 0.01}"), 1, "router.jitter is a parameter of \"sparsemixer\""},
    {ROUTED("{\"k\": 2, \"normalize_p\": 1}"), 1, "router.normalize_p means nothing without normalize"},
    {ROUTED("{\"k\": 2, \"normalize_eps\": 1e-20}"), 1, "router.normalize_eps means nothing without normalize"},
    {ROUTED("{\"k\": 2, \"normalize_clamp\": false}"), 1, "router.normalize_clamp means nothing without normalize"},
    {EXPERTS("\"activation\": \"gelu\", \"slope\": 1"), 1, "experts.slope means nothing with this activation"},
    {EXPERTS("\"gated\": false, \"limit\": 0"), 1, "experts.limit clamps gate and up"},
    {EXPERTS("\"limit_place\": \"before_activation\""), 1, "experts.limit_place means nothing without a limit"},
    {EXPERTS("\"gated\": false, \"gate_softcap\": 0"), 1, "experts.gate_softcap caps gate: the experts must be gated"},
    {EXPERTS("\"activation\": \"relu\", \"gate_softcap\": 2"), 1, "experts.gate_softcap means nothing with this activation"},
    {EXPERTS("\"gated\": false, \"up_softcap\": 0"), 1, "experts.up_softcap caps up beside a gate"},
    {SHARED("\"limit\": 1"), 1, "shared_experts.limit means nothing without shared experts"},
    {EXPERTS("\"gated\": false, \"up_offset\": 0"), 1, "experts.up_offset is added to up"},
    {SHARED("\"intermediate\": 6"), 1, "shared_experts.intermediate means nothing without shared experts"},
    {SHARED("\"bias\": false"), 1, "shared_experts.bias means nothing without shared experts"},
    {SHARED("\"gated\": false"), 1, "shared_experts.gated means nothing without shared experts"},
    {SHARED("\"scale\": 1"), 1, "shared_experts.scale means nothing without shared experts"},
    // several at once
    {MODEL("\"count\": 0, \"weights\": 1, \"xyzzy\": 1, "), 3, "layers[0].count must be"},
};

START_TEST(refuses) {
    const Refused *row = &refusals[_i];
    Diagnostics diagnostics = {0};
    Model *model = read_text(row->text, &diagnostics);
    ck_assert_msg(!model, "accepted: %s", row->text);
    ck_assert_msg(strstr(diagnostics.text, row->message), "wanted: %s\nin: %s\nfor: %s", row->message, diagnostics.text, row->text);
    ck_assert_msg(diagnostics.count == row->count, "%zu problems: %s", diagnostics.count, diagnostics.text);
    diagnostics_free(&diagnostics);
}
END_TEST

// Defaults that are written where they mean something, values at the edge of a rule, and flags that are off anywhere.
START_TEST(accepts_edges) {
    static const char *const texts[] = {
        ROUTED("{\"select\": \"threshold\", \"score\": \"relu\", \"threshold\": 0, \"expected_k\": 1}"),
        ROUTED("{\"select\": \"threshold\", \"threshold\": -1, \"groups\": {\"count\": 2, \"k\": 1}}"),  // all of a group
        ROUTED("{\"select\": \"threshold\", \"groups\": {\"count\": 2, \"k\": 1}}"),
        ROUTED("{\"select\": \"threshold\", \"groups\": {\"count\": 2, \"k\": 1, \"mask\": \"zero\"}}"),
        ROUTED("{\"select\": \"threshold\", \"score\": \"sigmoid\", \"rank\": \"logit\"}"),
        ROUTED("{\"select\": \"threshold\", \"score\": \"sigmoid\", \"correction\": true}"),
        ROUTED("{\"select\": \"threshold\", \"score\": \"relu\", \"threshold\": -1, \"rank\": \"logit\"}"),
        ROUTED("{\"select\": \"threshold\", \"score\": \"relu\", \"threshold\": -1, \"correction\": true}"),
        ROUTED("{\"select\": \"threshold\", \"score\": \"sigmoid\", \"threshold\": 1, \"correction\": true}"),
        ROUTED("{\"select\": \"threshold\", \"score\": \"sigmoid\", \"threshold\": 1, \"rank\": \"logit\"}"),
        ROUTED("{\"select\": \"threshold\", \"score\": \"sqrtsoftplus\", \"threshold\": 1}"),
        ROUTED("{\"k\": 2, \"expected_k\": 2}"),
        ROUTED("{\"k\": 2, \"k_per_token\": true, \"expected_k\": 1}"),
        ROUTED("{\"select\": \"top_p\", \"k\": 2, \"expected_k\": 1}"),
        ROUTED("{\"k\": 2, \"groups\": {\"count\": 2, \"k\": 2}}"),
        ROUTED("{\"select\": \"top_p\", \"top_p\": 1}"),
        ROUTED("{\"select\": \"sparsemixer\", \"k\": 2, \"jitter\": 0}"),
        ROUTED("{\"k\": 2, \"k_per_token\": true, \"k_min\": 1}"),
        ROUTED("{\"k\": 2, \"normalize\": true, \"normalize_p\": 1, \"normalize_eps\": 0, \"normalize_clamp\": false}"),
        ROUTED("{\"k\": 2, \"normalize\": true, \"normalize_eps\": 1e-40, \"normalize_clamp\": true}"),
        ROUTED("{\"k\": 2, \"score\": \"softmax\", \"normalize\": false, \"bias\": false, \"k_per_token\": false}"),
        MODEL("\"norm\": {\"kind\": \"none\", \"bias\": false}, \"residual\": {\"inner\": false, \"outer\": false}, "),
        MODEL("\"residual\": {\"inner\": true, \"inner_alpha\": 1, \"outer\": true, \"alpha\": 1}, "),
        MODEL("\"shared_experts\": {\"count\": 0}, "),
        MODEL("\"residual\": {\"bias\": false, \"scale\": false, \"output_scale\": true}, "),
        EXPERTS("\"limit\": 7, \"limit_place\": \"after_activation\", \"gate_softcap\": 2, \"up_softcap\": 3"),
        MODEL("\"shared_experts\": {\"count\": 1, \"limit\": 0}, "),
        EXPERTS("\"gated\": true, \"limit\": 0, \"up_offset\": 0, \"slope\": 1"),
        POOL("\"top_p\", \"k\": 1024"),
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        model_free(accepted(texts[i]));
    }
}
END_TEST

#define SIZED(hidden, experts, intermediate, count) \
    "{\"name\": \"q\", \"layers\": [{\"name\": \"a\", \"count\": " #count ", \"hidden\": " #hidden \
    ", \"router\": {\"k\": 1}, " \
    "\"experts\": {\"count\": " #experts ", \"intermediate\": " #intermediate "}}]}"

START_TEST(refuses_sizes) {
    static const char *const texts[] = {
        SIZED(1099511627776, 4, 6, 1),
        SIZED(8, 1000000000, 6, 1),
        SIZED(8, 0, 6, 1),
        SIZED(8, -1, 6, 1),
        SIZED(8, 4, 0, 1),
        SIZED(0, 4, 6, 1),
        SIZED(1048576, 65536, 1048576, 4096),
        SIZED(1048576, 4096, 1048576, 1),
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        Diagnostics diagnostics = {0};
        ck_assert_msg(!read_text(texts[i], &diagnostics), "accepted: %s", texts[i]);
        diagnostics_free(&diagnostics);
    }
    model_free(accepted(SIZED(16384, 1024, 4096, 64)));
}
END_TEST

// Patterns of one gated layer with 4 experts, 2 instances and 2 iterations with a gate each.
#define TENSORS(norm, router, up) \
    MODEL( \
        "\"count\": 2, \"iterations\": 2, \"norm\": {\"kind\": \"rms\"}, \"checkpoint\": {\"first_layer\": 3, \"tensors\": " \
        "{" norm router "\"gate\": \"{layer}.{expert}.g\", \"down\": \"{layer}.{expert}.d\"" up "}}, ")
#define GOOD_NORM "\"norm\": \"{layer}.n\", "
#define GOOD_ROUTER "\"router\": \"{layer}.r\", "
#define GOOD_UP ", \"up\": \"{layer}.{expert}.u\""

START_TEST(checks_tensors) {
    Model *model = accepted(TENSORS(GOOD_NORM, GOOD_ROUTER, GOOD_UP));
    ck_assert_int_eq(model->layers[0].checkpoint.first_layer, 3);
    ck_assert_int_eq(model->layers[0].checkpoint.layer_step, 1);
    ck_assert_str_eq(model->layers[0].checkpoint.tensors[TENSOR_UP].pattern, "{layer}.{expert}.u");
    model_free(model);
    model = accepted(TENSORS(GOOD_NORM, GOOD_ROUTER, ", \"up\": \"{layer}.u\""));  // stacked: [experts, out, in]
    model_free(model);
    static const Refused rows[] = {
        {TENSORS("", GOOD_ROUTER, GOOD_UP), 1, "the checkpoint's tensors lack \"norm\""},
        {TENSORS(GOOD_NORM, "", GOOD_UP), 1, "the checkpoint's tensors lack \"router\""},
        {TENSORS(GOOD_NORM, GOOD_ROUTER, ""), 1, "the checkpoint's tensors lack \"up\""},
        {TENSORS("\"norm\": \"n\", ", GOOD_ROUTER, GOOD_UP), 1, "\"n\" must hold {layer}"},
        {TENSORS("\"norm\": \"{layer}{expert}\", ", GOOD_ROUTER, GOOD_UP), 1, "this tensor has no {expert} in this layer"},
        {TENSORS(GOOD_NORM, "\"router\": \"{layer}{iteration}\", ", GOOD_UP), 1, "this tensor has no {iteration} in this layer"},
        {TENSORS(GOOD_NORM, GOOD_ROUTER, ", \"up\": \"{expert}.u\""), 1, "\"{expert}.u\" must hold {layer}"},
        {TENSORS(GOOD_NORM, GOOD_ROUTER, ", \"up\": \"{layer}{expert}{name}\""), 1, "no other braces"},
        {TENSORS(GOOD_NORM, GOOD_ROUTER, ", \"up\": \"{layer}{expert}}\""), 1, "no other braces"},
        {TENSORS(GOOD_NORM, GOOD_ROUTER, ", \"up\": \"\""), 1, "or an object with a \"name\", found \"\""},
        {TENSORS(GOOD_NORM, GOOD_ROUTER, GOOD_UP ", \"up_bias\": \"{layer}{expert}\""), 1, "tensor \"up_bias\" is named, but"},
        {TENSORS(GOOD_NORM, GOOD_ROUTER, GOOD_UP ", \"upp\": \"{layer}{expert}\""), 1, "in tensors: did you mean \"up\"?"},
        {MODEL("\"checkpoint\": {}, "), 1, "layers[0].checkpoint lacks \"tensors\""},
        {MODEL("\"checkpoint\": {\"tensors\": {}}, "), 4, "the checkpoint's tensors lack \"router\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Diagnostics diagnostics = {0};
        ck_assert_msg(!read_text(rows[i].text, &diagnostics), "accepted: %s", rows[i].text);
        ck_assert_msg(strstr(diagnostics.text, rows[i].message), "wanted: %s\nin: %s", rows[i].message, diagnostics.text);
        ck_assert_msg(diagnostics.count == rows[i].count, "%zu problems: %s", diagnostics.count, diagnostics.text);
        diagnostics_free(&diagnostics);
    }
}
END_TEST

// A gate per iteration: its name needs the iteration. Names fill their fields to the last byte and no further.
START_TEST(checks_names_of_gates_and_lengths) {
    static const char *const routers[] = {"r", "r{iteration}"};
    for (int good = 0; good < 2; good++) {
        for (int extra = 0; extra < 2; extra++) {
            char text[1024];
            snprintf(text, sizeof text,
                     "{\"name\": \"m%0*d\", \"layers\": [{\"name\": \"a\", \"hidden\": 8, \"iterations\": 2,"
                     "\"router\": {\"k\": 1, \"per_iteration\": true}, \"experts\": {\"count\": 1, \"intermediate\": 6, \"gated\": "
                     "false},"
                     "\"checkpoint\": {\"tensors\": {\"router\": \"%s\", \"up\": \"u\", \"down\": \"%0*d\"}}}]}",
                     MODEL_NAME_BYTES - 2, 0, routers[good], TENSOR_PATTERN_BYTES - 1 + extra, 0);
            Diagnostics diagnostics = {0};
            Model *model = read_text(text, &diagnostics);
            ck_assert_msg(!model == !(good && !extra), "%s: %s", text, diagnostics.text);
            ck_assert(good || extra || strstr(diagnostics.text, "\"r\" must hold {iteration}"));
            ck_assert(!extra || strstr(diagnostics.text, "a tensor's name of at most 159 bytes"));
            model_free(model);
            diagnostics_free(&diagnostics);
        }
    }
}
END_TEST

START_TEST(gives_defaults) {
    Model *model = accepted(MODEL(""));
    const Layer *layer = &model->layers[0].layer;
    ck_assert_str_eq(model->name, "q");
    ck_assert_str_eq(model->layers[0].name, "a");
    ck_assert_str_eq(model->source, MODEL(""));
    ck_assert_int_eq(model->layers[0].count, 1);
    ck_assert_int_eq(layer->iterations, 1);
    ck_assert_int_eq(layer->norm, NORM_NONE);
    ck_assert_int_eq(layer->inner_residual, 0);
    ck_assert_int_eq(layer->outer_residual, 0);
    ck_assert_int_eq(layer->normalize, 0);
    ck_assert_float_eq(layer->normalize_eps, 1e-20f);
    ck_assert_float_eq(layer->scale, 1.0f);
    ck_assert_int_eq(layer->gated, 1);
    ck_assert_int_eq(layer->activation, ACTIVATION_SILU);
    ck_assert_int_eq(layer->shared_experts, 0);
    ck_assert_int_eq(layer->shared_intermediate, 0);
    ck_assert_int_eq(layer->weights, FORMAT_BF16);
    ck_assert_int_eq(layer->router_weights, FORMAT_FP32);
    ck_assert_int_eq(layer->compute, COMPUTE_FP32);
    ck_assert_int_eq(layer->activations, FORMAT_FP32);
    ck_assert_int_eq(model->workload.token_counts, 5);
    ck_assert_int_eq(model->workload.tokens[4], 2048);
    ck_assert_float_eq(model->workload.weights[4], 1.0f);
    ck_assert_str_eq(model->workload.routing, "uniform");
    model_free(model);
}
END_TEST

START_TEST(reads_every_field) {
    Model *model = accepted(
        "{\"$schema\": \"x\", \"name\": \"m_2\", \"layers\": [{\"name\": \"a\", \"count\": 3, \"hidden\": 24, \"iterations\": 2,"
        "\"norm\": {\"kind\": \"layer\", \"eps\": 0.5}, \"residual\": {\"inner\": true, \"outer\": true},"
        "\"router\": {\"score\": \"softmax\", \"select\": \"top_k\", \"k\": 4, \"normalize\": true, \"normalize_eps\": 0.25, "
        "\"scale\": 2.5,"
        "\"bias\": true, \"per_iteration\": true, \"weights\": \"bf16\"},"
        "\"experts\": {\"count\": 4, \"intermediate\": 7, \"gated\": false, \"activation\": \"relu2\", \"bias\": true},"
        "\"shared_experts\": {\"count\": 2, \"bias\": true}, \"weights\": \"bf16\", \"compute\": \"bf16\", \"activations\": "
        "\"bf16\"}],"
        "\"workload\": {\"tokens\": [3, 5], \"routing\": \"zipf:1.2\"}}");
    const Layer *layer = &model->layers[0].layer;
    ck_assert_int_eq(model->layers[0].count, 3);
    ck_assert_int_eq(layer->hidden, 24);
    ck_assert_int_eq(layer->iterations, 2);
    ck_assert_int_eq(layer->experts, 4);
    ck_assert_int_eq(layer->intermediate, 7);
    ck_assert_int_eq(layer->top_k, 4);
    ck_assert_int_eq(layer->shared_experts, 2);
    ck_assert_int_eq(layer->shared_intermediate, 7);
    ck_assert_int_eq(layer->norm, NORM_LAYER);
    ck_assert_float_eq(layer->norm_eps, 0.5f);
    ck_assert_int_eq(layer->inner_residual, 1);
    ck_assert_int_eq(layer->outer_residual, 1);
    ck_assert_int_eq(layer->normalize, 1);
    ck_assert_float_eq(layer->normalize_eps, 0.25f);
    ck_assert_float_eq(layer->scale, 2.5f);
    ck_assert_int_eq(layer->router_bias, 1);
    ck_assert_int_eq(layer->gate_per_iteration, 1);
    ck_assert_int_eq(layer->router_weights, FORMAT_BF16);
    ck_assert_int_eq(layer->gated, 0);
    ck_assert_int_eq(layer->activation, ACTIVATION_RELU2);
    ck_assert_int_eq(layer->expert_bias, 1);
    ck_assert_int_eq(layer->shared_bias, 1);
    ck_assert_int_eq(layer->compute, COMPUTE_BF16);
    ck_assert_int_eq(layer->activations, FORMAT_BF16);
    ck_assert_int_eq(model->workload.token_counts, 2);
    ck_assert_str_eq(model->workload.routing, "zipf:1.2");
    model_free(model);
}
END_TEST

// What editors put before a text is none of it: positions count from behind it, and libraries do not embed it.
START_TEST(passes_over_a_byte_order_mark) {
    Model *model = accepted("\xef\xbb\xbf" MODEL(""));
    ck_assert_str_eq(model->source, MODEL(""));
    model_free(model);
    Diagnostics diagnostics = {0};
    ck_assert_ptr_null(read_text("\xef\xbb\xbf[]", &diagnostics));
    ck_assert_str_eq(diagnostics.text, "spec.json:1:1: error: a description is an object\n");
    diagnostics_free(&diagnostics);
    ck_assert_ptr_null(read_text("\xef\xbb\xbf\xef\xbb\xbf" MODEL(""), &diagnostics));  // a second one is a mistake
    diagnostics_free(&diagnostics);
    ck_assert_ptr_null(read_text("\xef\xbb", &diagnostics));
    diagnostics_free(&diagnostics);
}
END_TEST

// Read, printed in one form, and read again as the same.
START_TEST(weighs_token_counts) {
    static const char given[] = WORKLOAD(
        "{\"tokens\": [1, {\"count\": 16, \"weight\": 2.5}, {\"count\": 64}, "
        "{\"count\": 512, \"weight\": 1.0}]}");
    static const float weights[] = {1, 2.5f, 1, 1};
    static const int64_t tokens[] = {1, 16, 64, 512};
    Model *model = accepted(given);
    char *text = model_print(model);
    Model *again = accepted(text);
    for (const Model *m = model; m; m = m == model ? again : NULL) {
        ck_assert_int_eq(m->workload.token_counts, 4);
        for (int i = 0; i < 4; i++) {
            ck_assert_int_eq(m->workload.tokens[i], tokens[i]);
            ck_assert_float_eq(m->workload.weights[i], weights[i]);
        }
    }
    const char *first = strstr(text, "\"tokens\"");
    ck_assert_msg(first && strstr(text, "\"weight\": 2.5") > first && strstr(text, "64,") && !strstr(text, "\"weight\": 1"), "%s",
                  text);
    model_free(model);
    model_free(again);
    free(text);
    // The defaults' counts, but one of them weighs more: no default.
    model = accepted(WORKLOAD("{\"tokens\": [1, 8, 64, 512, {\"count\": 2048, \"weight\": 3}]}"));
    text = model_print(model);
    ck_assert_msg(strstr(text, "\"weight\": 3"), "%s", text);
    model_free(model);
    free(text);
    model = accepted(WORKLOAD("{\"tokens\": [1, 8, 64, 512, {\"count\": 2048}]}"));
    text = model_print(model);
    ck_assert_msg(!strstr(text, "tokens"), "%s", text);
    model_free(model);
    free(text);
}
END_TEST

// A text of nothing but problems is neither slow nor reported without end; a nest of brackets is refused, not followed.
START_TEST(survives_hostile_texts) {
    enum { BYTES = 1 << 20 };
    char *text = malloc(BYTES + 1);
    memset(text, '[', BYTES + 1);
    Diagnostics diagnostics = {0};
    ck_assert_ptr_null(model_read_text(text, BYTES, "deep", &diagnostics));
    ck_assert_ptr_nonnull(strstr(diagnostics.text, "maximum parsing depth"));
    ck_assert_ptr_null(model_read_text(text, BYTES + 1, "large", &diagnostics));
    ck_assert_ptr_nonnull(strstr(diagnostics.text, "large: error: a description has at most 1048576 bytes"));
    size_t used = (size_t)snprintf(text, BYTES, "{");
    for (int i = 0; used < BYTES - 16; i++) {
        used += (size_t)snprintf(text + used, BYTES - used, "%s\"%x\":0", i ? "," : "", i);
    }
    text[used++] = '}';
    ck_assert_ptr_null(model_read_text(text, used, "unknown", &diagnostics));
    ck_assert_uint_gt(diagnostics.count, 50000);
    ck_assert_uint_lt(diagnostics.length, 100000);
    diagnostics_free(&diagnostics);
    free(text);
}
END_TEST

START_TEST(reports_files) {
    Diagnostics diagnostics = {0};
    ck_assert_ptr_null(model_read_file("/nonexistent/spec.json", &diagnostics));
    ck_assert_str_eq(diagnostics.text, "/nonexistent/spec.json: error: No such file or directory\n");
    diagnostics_free(&diagnostics);
    ck_assert_ptr_null(diagnostics.text);
    ck_assert_uint_eq(diagnostics.count, 0);
    ck_assert_ptr_null(model_read_file("tests", &diagnostics));
    ck_assert_str_eq(diagnostics.text, "tests: error: Is a directory\n");
    diagnostics_free(&diagnostics);
}
END_TEST

START_TEST(keeps_a_hundred_diagnostics) {
    Diagnostics diagnostics = {0};
    for (int i = 0; i < DIAGNOSTICS_KEPT + 7; i++) {
        diagnostics_add(&diagnostics, i % 2 ? "f" : NULL, i, i == 3 ? 4 : 0, "problem\n%d", i);
    }
    ck_assert_uint_eq(diagnostics.count, DIAGNOSTICS_KEPT + 7);
    ck_assert_uint_eq(diagnostics.length, strlen(diagnostics.text));
    ck_assert_ptr_eq(
        strstr(diagnostics.text, "error: problem?0\nf:1: error: problem?1\nerror: problem?2\nf:3:4: error: problem?3\n"),
        diagnostics.text);
    char *printed = NULL;
    size_t bytes = 0;
    FILE *stream = open_memstream(&printed, &bytes);
    diagnostics_print(&diagnostics, stream);
    fclose(stream);
    ck_assert_ptr_nonnull(strstr(printed, "problem?99\nerror: 7 more\n"));
    free(printed);
    diagnostics_free(&diagnostics);
}
END_TEST

Suite *suite_spec(void) {
    Suite *suite = suite_create("spec");
    TCase *cases = tcase_create("spec");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_loop_test(cases, refuses, 0, sizeof refusals / sizeof *refusals);
    tcase_add_test(cases, accepts_edges);
    tcase_add_test(cases, refuses_sizes);
    tcase_add_test(cases, checks_tensors);
    tcase_add_test(cases, checks_names_of_gates_and_lengths);
    tcase_add_test(cases, gives_defaults);
    tcase_add_test(cases, reads_every_field);
    tcase_add_test(cases, passes_over_a_byte_order_mark);
    tcase_add_test(cases, weighs_token_counts);
    tcase_add_test(cases, survives_hostile_texts);
    tcase_add_test(cases, reports_files);
    tcase_add_test(cases, keeps_a_hundred_diagnostics);
    suite_add_tcase(suite, cases);
    return suite;
}
