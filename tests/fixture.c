// See fixture.h.
#include "fixture.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compiler/description/print.h"
#include "compiler/library/artifact.h"
#include "compiler/measure/synthetic.h"
#include "compiler/oracle/steps.h"
#include "shell.h"

extern Plan layer_plan;
LayerForward layer_forward;

// Random choices ----------------------------------------------------------------------------------------------------------------

static int64_t below(uint64_t *state, int64_t count) {
    return (int64_t)(synthetic_next(state) >> 16) % count;
}

static int flip(uint64_t *state) {
    return (int)below(state, 2);
}

static int rarely(uint64_t *state) {
    return !below(state, 4);
}

#define PICK(state, ...) pick(state, (const int64_t[]){__VA_ARGS__}, sizeof(int64_t[]){__VA_ARGS__} / sizeof(int64_t))
static int64_t pick(uint64_t *state, const int64_t *values, size_t count) {
    return values[below(state, (int64_t)count)];
}

#define PICK_REAL(state, ...) pick_real(state, (const float[]){__VA_ARGS__}, sizeof(float[]){__VA_ARGS__} / sizeof(float))
static float pick_real(uint64_t *state, const float *values, size_t count) {
    return values[below(state, (int64_t)count)];
}

static int64_t width(uint64_t *state) {
    return PICK(state, 1, 3, 7, 8, 15, 16, 17, 31, 32, 33, 41, 64, 72, 96, 130, 256);
}

// Layers ------------------------------------------------------------------------------------------------------------------------

static void draw_shape(uint64_t *state, Layer *layer) {
    layer->hidden = width(state);
    layer->intermediate = width(state);
    layer->iterations = 1 + below(state, 3);
    layer->experts = below(state, 16) ? PICK(state, 1, 2, 5, 8, 15, 16, 17, 24, 31, 32, 33, 40, 64) : 256;
    layer->identity_experts = rarely(state) ? PICK(state, 1, 2, 7) : 0;
    layer->null_experts = rarely(state) ? PICK(state, 1, 3, 8) : 0;
    layer->shared_experts = below(state, 3);
    layer->shared_intermediate = layer->shared_experts ? width(state) : 0;
    layer->shared_gated = layer->shared_experts && rarely(state);
    layer->shared_scale = layer->shared_experts ? PICK_REAL(state, 1, 1, 0.5f, -2.25f) : 1;
}

static void draw_residual(uint64_t *state, Layer *layer) {
    layer->norm = (int32_t)below(state, NORM_COUNT);
    layer->norm_eps = layer->norm == NORM_NONE ? 1e-6f : 1e-5f;
    layer->norm_bias = layer->norm == NORM_LAYER && flip(state);
    layer->inner_residual = flip(state);
    layer->inner_alpha = layer->inner_residual ? PICK_REAL(state, 1, 1, 1, 0.7f, -1.5f) : 1;
    layer->outer_residual = flip(state);
    layer->alpha = layer->outer_residual ? PICK_REAL(state, 1, 1, 1, 3.5f, -0.3f) : 1;
    layer->multiplier = PICK_REAL(state, 1, 1, 1, 0.22f, -1.75f);
    layer->coe_weight = layer->iterations > 1 && layer->inner_residual && flip(state);
}

// Formats that a compute class reads, one for all expert matrices or, rarely, others for some of them. 0: as the others.
static int32_t draw_format(uint64_t *state, Compute compute) {
    Format format;
    do {
        format = (Format)below(state, FORMAT_COUNT);
    } while (!path_serves(format, compute));
    return (int32_t)format;
}

static int32_t draw_own_format(uint64_t *state, Compute compute) {
    return rarely(state) ? 1 + draw_format(state, compute) : 0;
}

static void draw_formats(uint64_t *state, Layer *layer) {
    Compute compute = rarely(state) ? COMPUTE_BF16 : COMPUTE_FP32;
    layer->compute = compute;
    layer->weights = draw_format(state, compute);
    layer->down_weights = draw_own_format(state, compute);
    if (layer->shared_experts) {
        layer->shared_weights = draw_own_format(state, compute);
        layer->shared_down_weights = draw_own_format(state, compute);
    }
    layer->router_weights = (int32_t)below(state, ROUTER_FORMAT_COUNT);
}

static void draw_experts(uint64_t *state, Layer *layer) {
    layer->gated = flip(state);
    layer->activation = (int32_t)below(state, ACTIVATION_COUNT);
    layer->slope = activation_facts[layer->activation].takes_slope ? PICK_REAL(state, 1, 1, 1.702f, -0.5f) : 1;
    layer->limit = layer->gated ? PICK_REAL(state, 0, 0, 7, 0.25f) : 0;
    layer->up_offset = layer->gated ? PICK_REAL(state, 0, 0, 1, -0.125f) : 0;
    layer->expert_bias = flip(state);
    layer->shared_bias = layer->shared_experts && flip(state);
    draw_formats(state, layer);
    layer->activations = rarely(state) ? INTERFACE_BF16 : INTERFACE_FP32;
}

// A number near which scores (or logits) of synthetic weights lie, so that a threshold there chooses some and leaves some.
static float usual_rank(const Layer *layer) {
    int64_t choices = layer_choices(layer);
    Bounded *logits = calloc(2 * (size_t)choices, sizeof *logits), *scores = logits + choices;
    ck_assert_ptr_nonnull(logits);
    oracle_scores(layer, logits, scores);  // of logits that are all 0
    float score = (float)scores[0].value;
    free(logits);
    return layer->rank == RANK_LOGIT ? 0 : choices == 1 ? score / 2 : score;  // alone it is 1, which nothing is above
}

static void draw_selection(uint64_t *state, Layer *layer) {
    int64_t choices = layer_choices(layer);
    layer->selection = flip(state) ? SELECTION_TOP_K : (int32_t)below(state, SELECTION_COUNT);
    const SelectionFacts *facts = &selection_facts[layer->selection];
    layer->score = facts->softmax || flip(state) ? SCORE_SOFTMAX : (int32_t)below(state, SCORE_COUNT);
    layer->rank = !facts->logits_alone && rarely(state) ? RANK_LOGIT : RANK_SCORE;
    layer->correction = !facts->logits_alone && rarely(state);
    layer->top_k = 1 + below(state, choices) % 9;
    if (!facts->takes_k && flip(state)) {
        layer->top_k = choices;
    }
    layer->threshold = layer->selection == SELECTION_THRESHOLD ? usual_rank(layer) : 0;
    layer->top_p = layer->selection == SELECTION_TOP_P ? PICK_REAL(state, 0.2f, 0.6f, 0.95f, 1) : 1;
    layer->jitter = layer->selection == SELECTION_SPARSEMIXER ? PICK_REAL(state, 0, 0.01f, 0.1f, 0.4f) : 0.01f;
    layer->k_per_token = layer->selection == SELECTION_TOP_K && rarely(state);
    layer->k_min = layer->k_per_token ? below(state, layer->top_k + 1) : 1;
    bool always_k = facts->takes_k && !layer->k_per_token;
    layer->expected_k = always_k || flip(state) ? layer->top_k : 1 + below(state, layer->top_k);
}

// Groups that divide the choices and leave enough of them. A mask of 0 tells only where other ranking values are below it.
static void draw_groups(uint64_t *state, Layer *layer) {
    int64_t choices = layer_choices(layer), divisors[8] = {1}, count = 1;
    if (selection_facts[layer->selection].logits_alone || rarely(state)) {
        return;
    }
    for (int64_t divisor = 2; divisor < 8; divisor++) {
        if (choices % divisor == 0) {
            divisors[count++] = divisor;
        }
    }
    layer->groups = pick(state, divisors, (size_t)count);
    int64_t size = choices / layer->groups, least = (layer->top_k + size - 1) / size;
    least = selection_facts[layer->selection].takes_k ? least : 1;
    layer->top_groups = least + below(state, layer->groups - least + 1);
    if (layer->top_groups == layer->groups) {
        return;  // nobody loses
    }
    layer->group_score = size > 1 && flip(state) ? GROUP_TOP2_SUM : GROUP_MAX;
    layer->group_mask = flip(state) ? MASK_ZERO : MASK_MINUS_INFINITY;
    layer->rank = layer->group_mask == MASK_ZERO && flip(state) ? RANK_LOGIT : layer->rank;
}

static void draw_weights(uint64_t *state, Layer *layer) {
    layer->logit_scale = PICK_REAL(state, 1, 1, 1, 0.25f, 2.5f, -1);
    layer->softcap = PICK_REAL(state, 0, 0, 0, 2, 30);
    layer->router_bias = flip(state);
    layer->gate_per_iteration = flip(state);
    layer->normalize = flip(state);
    layer->normalize_p = layer->normalize ? PICK_REAL(state, 1, 1, 2, 1.5f, 64) : 1;
    layer->normalize_eps = layer->normalize ? PICK_REAL(state, 0, 1e-20f, 1e-12f, 0.125f) : 1e-20f;
    layer->normalize_clamp = layer->normalize && layer->normalize_eps > 0 && rarely(state);
    layer->scale = flip(state) ? 1.0f : 2.5f;
    layer->weight_on = rarely(state) ? WEIGHT_ON_INPUT : WEIGHT_ON_OUTPUT;
}

static void draw_post_norm(uint64_t *state, Layer *layer) {
    layer->post_norm = rarely(state) ? 1 + (int32_t)below(state, NORM_COUNT - 1) : NORM_NONE;
    layer->post_norm_eps = layer->post_norm == NORM_NONE ? 1e-6f : PICK_REAL(state, 1e-6f, 1e-5f, 0.125f);
}

static void draw_limits(uint64_t *state, Layer *layer) {
    layer->shared_limit = layer->limit;
    if (!layer->gated) {
        return;
    }
    layer->shared_limit = layer->shared_experts && rarely(state) ? PICK_REAL(state, 0, 0.5f, 3) : layer->limit;
    bool limited = layer->limit != 0 || layer->shared_limit != 0;
    layer->limit_place = limited && flip(state) ? LIMIT_AFTER_ACTIVATION : LIMIT_BEFORE_ACTIVATION;
    layer->gate_softcap = activation_facts[layer->activation].sigmoid && flip(state) ? PICK_REAL(state, 0.5f, 2, 30) : 0;
    layer->up_softcap = rarely(state) ? PICK_REAL(state, 0.25f, 2, 30) : 0;
}

static void draw_vectors(uint64_t *state, Layer *layer) {
    layer->expert_scale = rarely(state);
    layer->output_bias = rarely(state);
    layer->output_scale = rarely(state);
    layer->residual_bias = layer->outer_residual && rarely(state);
    layer->residual_scale = layer->outer_residual && rarely(state);
}

// Of the layers that could have joint gates some, whatever their scores were.
static void draw_joint(uint64_t *state, Layer *layer) {
    if (layer->shared_gated && !selection_facts[layer->selection].softmax && flip(state)) {
        layer->shared_joint = 1;
        layer->score = SCORE_SIGMOID;
        layer->normalize = 1;
        layer->normalize_p = 1;
        layer->threshold = layer->selection == SELECTION_THRESHOLD ? usual_rank(layer) : 0;
    }
}

static void draw_latent(uint64_t *state, Layer *layer) {
    layer->latent_norm_eps = 1e-6f;
    if (!rarely(state)) {
        return;
    }
    layer->latent = width(state);
    layer->latent_norm = flip(state) ? 1 + (int32_t)below(state, NORM_COUNT - 1) : NORM_NONE;
    layer->latent_norm_eps = layer->latent_norm == NORM_NONE ? 1e-6f : PICK_REAL(state, 1e-6f, 1e-5f, 0.125f);
    layer->latent_weights = draw_own_format(state, (Compute)layer->compute);
}

// What a later version draws comes last: the layers of a seed stay as they were otherwise.
Layer fixture_layer(uint64_t seed) {
    uint64_t state = seed * 2654435761u + 1;
    Layer layer;
    memset(&layer, 0, sizeof layer);  // padding too: plans are compared as bytes
    draw_shape(&state, &layer);
    draw_residual(&state, &layer);
    draw_experts(&state, &layer);
    draw_selection(&state, &layer);
    draw_groups(&state, &layer);
    draw_weights(&state, &layer);
    draw_post_norm(&state, &layer);
    draw_limits(&state, &layer);
    draw_vectors(&state, &layer);
    draw_joint(&state, &layer);
    draw_latent(&state, &layer);
    return layer;
}

Layer fixture_neutral(Layer layer) {
    float *factors[] = {&layer.inner_alpha, &layer.alpha,       &layer.multiplier, &layer.logit_scale, &layer.top_p,
                        &layer.scale,       &layer.normalize_p, &layer.slope,      &layer.shared_scale};
    for (size_t i = 0; i < sizeof factors / sizeof *factors; i++) {
        *factors[i] = *factors[i] == 0 ? 1 : *factors[i];
    }
    layer.expected_k = layer.expected_k ? layer.expected_k : layer.top_k;
    return layer;
}

char *fixture_spec(const char *name, const Layer *layer) {
    Model *model = calloc(1, sizeof *model);
    ck_assert_ptr_nonnull(model);
    snprintf(model->name, sizeof model->name, "%s", name);
    model->layer_count = 1;
    strcpy(model->layers[0].name, "sparse");
    model->layers[0].count = 1;
    model->layers[0].layer = *layer;
    model->layers[0].checkpoint.layer_step = 1;
    char *text = model_print(model);
    ck_assert_ptr_nonnull(text);
    free(model);
    return text;
}

Kind fixture_kind(const Layer *layer, const char *target) {
    Machine machine;
    Kind kind;
    memset(&machine, 0, sizeof machine);
    memset(&kind, 0, sizeof kind);
    strcpy(kind.name, "sparse");
    kind.count = 1;
    kind.plan = plan_default(layer, target_find(target), &machine, NULL);
    return kind;
}

void *fixture_image(const Kind *kind, uint64_t seed, size_t *bytes) {
    *bytes = (size_t)packed_image_bytes(kind, 1);
    void *image = aligned_alloc(4096, (*bytes + 4095) / 4096 * 4096);
    ck_assert_ptr_nonnull(image);
    packed_image_begin(kind, 1, image);
    synthetic_fill_image(kind, 1, image, seed, NULL);
    packed_image_finish(image);
    return image;
}

void *fixture_tokens(const Plan *plan, int64_t tokens, uint64_t seed) {
    size_t count = (size_t)(tokens * plan->layer.hidden);
    float *x = calloc(count + 1, sizeof *x);
    ck_assert_ptr_nonnull(x);
    synthetic_tokens(plan, tokens, seed, NULL, x);
    if (plan->layer.activations == INTERFACE_BF16) {
        synthetic_to_bf16(x, (int64_t)count, (uint16_t *)(void *)x);  // in place: elements shrink
    }
    return x;
}

int32_t *fixture_k(const Layer *layer, int64_t tokens, uint64_t seed) {
    uint64_t state = seed;
    if (!layer->k_per_token) {
        return NULL;
    }
    int32_t *k = calloc((size_t)tokens + 1, sizeof *k);
    ck_assert_ptr_nonnull(k);
    for (int64_t token = 0; token < tokens; token++) {
        int64_t range = layer->top_k - layer->k_min;
        k[token] = (int32_t)(layer->k_min + (token % 3 == 0 ? 0 : token % 3 == 1 ? range : below(&state, range + 1)));
    }
    return k;
}

size_t fixture_element(const Layer *layer) {
    return (size_t)interface_bytes[layer->activations];
}

Library *fixture_native(const Kind *kind, const void *image, size_t bytes, int threads, int64_t max_tokens) {
    static Contents contents = {.name = "native", .target = "plain", .kinds = 1};
    static LayerForward *const forwards[] = {layer_forward};
    Options options = {.size = sizeof options, .threads = threads, .max_tokens = max_tokens};
    char error[512] = "";
    Library *library = NULL;
    layer_plan = kind->plan;
    Status status = instance_open_memory(&contents, kind, forwards, image, bytes, &options, &library, error, sizeof error);
    ck_assert_msg(status == LIBRARY_OK, "%s", error);
    return library;
}

FixtureCheckpoint *fixture_checkpoint_open(const ModelLayer *entry, const char *weights) {
    static LayerForward *const forwards[] = {layer_forward};
    static const Contents contents = {.name = "checkpoint", .target = "plain", .kinds = 1};
    FixtureCheckpoint *checkpoint = calloc(1, sizeof *checkpoint);
    ck_assert_ptr_nonnull(checkpoint);
    checkpoint->kind = fixture_kind(&entry->layer, "avx512");
    checkpoint->kind.count = entry->count;
    checkpoint->kind.checkpoint = entry->checkpoint;
    layer_plan = checkpoint->kind.plan;
    char error[INSTANCE_ERROR_BYTES] = "";
    Options options = {.size = sizeof options, .threads = 2};
    Status status =
        instance_open(&contents, &checkpoint->kind, forwards, weights, &options, &checkpoint->library, error, sizeof error);
    ck_assert_msg(status == LIBRARY_OK, "%s: %s", weights, error);
    return checkpoint;
}

void fixture_checkpoint_close(FixtureCheckpoint *checkpoint) {
    instance_close(checkpoint->library);
    free(checkpoint);
}

void fixture_checkpoint_weights(const FixtureCheckpoint *checkpoint, int64_t instance, OracleWeights *weights) {
    const Plan *plan = &checkpoint->kind.plan;
    ck_assert_int_eq(oracle_weights_allocate(&plan->layer, weights), 0);
    oracle_weights_unpack(plan, checkpoint->library->first[0] + instance * plan->layout.instance_bytes, weights);
}

// The oracle ------------------------------------------------------------------------------------------------------------------

static float *to_floats(const Layer *layer, const void *from, int64_t count) {
    float *to = calloc((size_t)count + 1, sizeof *to);
    ck_assert_ptr_nonnull(to);
    for (int64_t i = 0; i < count; i++) {
        to[i] = packed_number_get(from, i, layer->activations == INTERFACE_BF16 ? NUMBER_BF16 : NUMBER_FP32);
    }
    return to;
}

static void expect_scores(const Layer *layer, const FixtureForward *found, const OracleOutput *oracle, const char *what) {
    for (int64_t i = 0; found->scores && i < layer->iterations * found->tokens * layer_choices(layer); i++) {
        ck_assert_msg(fabs(found->scores[i] - oracle->scores[i]) <= oracle->score_bounds[i],
                      "%s, score %lld: %.9g, the oracle has %.9g +- %.3g", what, (long long)i, (double)found->scores[i],
                      oracle->scores[i], oracle->score_bounds[i]);
    }
}

void fixture_expect_oracle(const Layer *layer, const OracleWeights *weights, const FixtureForward *found, ErrorModel model,
                           const char *what) {
    int64_t elements = found->tokens * layer->hidden;
    size_t scores = (size_t)(layer->iterations * found->tokens * layer_choices(layer));
    float *x = to_floats(layer, found->x, elements), *y = to_floats(layer, found->y, elements);
    OracleOutput oracle = {.y = calloc((size_t)elements + 1, sizeof(double)),
                           .bound = calloc((size_t)elements + 1, sizeof(double)),
                           .scores = calloc(scores, sizeof(double)),
                           .score_bounds = calloc(scores, sizeof(double))};
    const OracleGiven given = {found->experts, found->weights, found->experts != NULL, found->k};
    ck_assert_int_eq(oracle_forward(layer, weights, found->tokens, x, &given, model, &oracle), 0);
    ck_assert_msg(oracle.checks.violations == 0, "%s: %s", what, oracle.checks.first);
    OracleComparison result = oracle_compare(&oracle, found->tokens, layer->hidden, y, layer->hidden);
    int64_t at = result.token * layer->hidden + result.column;
    ck_assert_msg(result.worst <= 1, "%s, token %lld, column %lld: %.9g, the oracle has %.9g +- %.3g", what,
                  (long long)result.token, (long long)result.column, (double)y[at], oracle.y[at], oracle.bound[at]);
    expect_scores(layer, found, &oracle, what);
    free(oracle.y);
    free(oracle.bound);
    free(oracle.scores);
    free(oracle.score_bounds);
    free(x);
    free(y);
}

void fixture_zero_weights(const char *name, const char *library_path) {
    char path[512];
    Diagnostics diagnostics = {0};
    snprintf(path, sizeof path, "%s/%s", shell_folder(), library_path);
    Artifact *artifact = artifact_read(path, &diagnostics);
    ck_assert_msg(artifact != NULL, "%s", diagnostics.text);
    Kind *kinds = artifact_kinds(artifact);
    int64_t count = artifact->model->layer_count, bytes = packed_image_header_bytes(kinds, count);
    void *header = calloc(1, (size_t)bytes);
    packed_image_begin(kinds, count, header);
    packed_image_seal(header);
    shell_write_file(name, header, (size_t)bytes);
    snprintf(path, sizeof path, "%s/%s", shell_folder(), name + strlen("$D/"));
    ck_assert_int_eq(truncate(path, packed_image_bytes(kinds, count)), 0);
    free(header);
    free(kinds);
    artifact_free(artifact);
}
