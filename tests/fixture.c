// See fixture.h.
#include "fixture.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../compiler/synthetic.h"

extern Plan layer_plan;
LayerForward layer_forward;

#define NAME(enumerator, name, ...) name,
static const char *const norm_names[] = {NORM_LIST(NAME)}, *const activation_names[] = {ACTIVATION_LIST(NAME)};
static const char *const format_names[] = {FORMAT_LIST(NAME)}, *const compute_names[] = {COMPUTE_LIST(NAME)};

static int64_t pick(uint64_t *state, const int64_t *values, int64_t count) {
    return values[synthetic_next(state) % (uint64_t)count];
}

static int flip(uint64_t *state) {
    return (int)(synthetic_next(state) >> 40 & 1);
}

Layer fixture_layer(uint64_t seed) {
    static const int64_t widths[] = {1, 3, 7, 8, 15, 16, 17, 31, 32, 33, 41, 64, 72, 96};
    static const int64_t pools[] = {1, 2, 5, 8, 16, 31, 33, 40};
    enum { WIDTHS = sizeof widths / sizeof *widths, POOLS = sizeof pools / sizeof *pools };
    uint64_t state = seed * 2654435761u + 1;
    Layer layer;
    memset(&layer, 0, sizeof layer);
    layer.hidden = pick(&state, widths, WIDTHS);
    layer.intermediate = pick(&state, widths, WIDTHS);
    layer.experts = pick(&state, pools, POOLS);
    layer.top_k = 1 + (int64_t)(synthetic_next(&state) % (uint64_t)layer.experts) % 9;
    layer.iterations = 1 + (int64_t)(synthetic_next(&state) % 3);
    layer.shared_experts = (int64_t)(synthetic_next(&state) % 3);
    layer.shared_intermediate = layer.shared_experts ? pick(&state, widths, WIDTHS) : 0;
    layer.norm = (int32_t)(synthetic_next(&state) % NORM_COUNT);
    layer.norm_eps = layer.norm == NORM_NONE ? 0 : 1e-5f;
    layer.inner_residual = flip(&state);
    layer.outer_residual = flip(&state);
    layer.normalize = flip(&state);
    layer.normalize_eps = layer.normalize ? 1e-20f : 0;
    layer.scale = flip(&state) ? 1.0f : 2.5f;
    layer.router_bias = flip(&state);
    layer.gate_per_iteration = flip(&state);
    layer.gated = flip(&state);
    layer.activation = (int32_t)(synthetic_next(&state) % ACTIVATION_COUNT);
    layer.expert_bias = flip(&state);
    layer.shared_bias = layer.shared_experts ? flip(&state) : 0;
    layer.weights = flip(&state) ? FORMAT_BF16 : FORMAT_FP32;
    layer.router_weights = flip(&state) ? FORMAT_BF16 : FORMAT_FP32;
    layer.compute = layer.weights == FORMAT_BF16 && synthetic_next(&state) % 4 == 0 ? COMPUTE_BF16 : COMPUTE_FP32;
    layer.activations = synthetic_next(&state) % 4 == 0 ? FORMAT_BF16 : FORMAT_FP32;
    return layer;
}

static const char *boolean(int32_t value) {
    return value ? "true" : "false";
}

char *fixture_spec(const char *name, const Layer *l) {
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    ck_assert_ptr_nonnull(stream);
    fprintf(stream, "{\"name\": \"%s\", \"layers\": [{\"name\": \"sparse\", \"hidden\": %lld, \"iterations\": %lld,\n", name,
            (long long)l->hidden, (long long)l->iterations);
    if (l->norm != NORM_NONE) {
        fprintf(stream, "\"norm\": {\"kind\": \"%s\", \"eps\": %.9g},\n", norm_names[l->norm], (double)l->norm_eps);
    }
    fprintf(stream, "\"residual\": {\"inner\": %s, \"outer\": %s},\n", boolean(l->inner_residual), boolean(l->outer_residual));
    fprintf(
        stream,
        "\"router\": {\"k\": %lld, \"normalize\": %s, \"scale\": %.9g, \"bias\": %s, \"per_iteration\": %s, \"weights\": \"%s\"",
        (long long)l->top_k, boolean(l->normalize), (double)l->scale, boolean(l->router_bias), boolean(l->gate_per_iteration),
        format_names[l->router_weights]);
    if (l->normalize) {
        fprintf(stream, ", \"normalize_eps\": %.9g", (double)l->normalize_eps);
    }
    fprintf(stream,
            "},\n\"experts\": {\"count\": %lld, \"intermediate\": %lld, \"gated\": %s, \"activation\": \"%s\", \"bias\": %s},\n",
            (long long)l->experts, (long long)l->intermediate, boolean(l->gated), activation_names[l->activation],
            boolean(l->expert_bias));
    if (l->shared_experts) {
        fprintf(stream, "\"shared_experts\": {\"count\": %lld, \"intermediate\": %lld, \"bias\": %s},\n",
                (long long)l->shared_experts, (long long)l->shared_intermediate, boolean(l->shared_bias));
    }
    fprintf(stream, "\"weights\": \"%s\", \"compute\": \"%s\", \"activations\": \"%s\"}]}\n", format_names[l->weights],
            compute_names[l->compute], format_names[l->activations]);
    ck_assert_int_eq(fclose(stream), 0);
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
    if (plan->layer.activations == FORMAT_BF16) {
        synthetic_to_bf16(x, (int64_t)count, (uint16_t *)(void *)x);  // in place: elements shrink
    }
    return x;
}

size_t fixture_element(const Layer *layer) {
    return format_bytes((Format)layer->activations);
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
