// See draw.h. A new field of descriptions is a new row of keys.c, and is drawn from then on.
#include "draw.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/measure/synthetic.h"
#include "fixture.h"

enum { MOST_CHANGES = 24 };
static const double usual_work = 8e3, most_work = 2e5;  // multiply-adds of a token
static const double most_weights = 3e6;

static int64_t below(uint64_t *state, int64_t count) {
    return (int64_t)(synthetic_next(state) >> 16) % count;
}

// --- keys --------------------------------------------------------------------------------------------------------------------

static void collect(const Section *section, const Key **keys, int *count) {
    for (size_t i = 0; i < section->count; i++) {
        const Key *key = &section->keys[i];
        if (key->type == KEY_SECTION && strcmp(key->name, "checkpoint") != 0) {
            collect(key->section, keys, count);
        } else if ((key->type == KEY_INTEGER && key->offset >= offsetof(ModelLayer, layer)) || key->type == KEY_REAL ||
                   key->type == KEY_FLAG || key->type == KEY_CHOICE) {
            ck_assert_int_lt(*count, DRAW_MAX_KEYS);
            keys[(*count)++] = key;
        }
    }
}

int draw_keys(const Key **keys) {
    const Key *own[DRAW_MAX_KEYS];
    int count = 0;
    for (size_t i = 0; i < spec_root.count; i++) {
        if (spec_root.keys[i].type == KEY_LAYERS) {
            collect(spec_root.keys[i].section, keys ? keys : own, &count);
        }
    }
    ck_assert_int_gt(count, 0);
    return count;
}

int draw_accept(Layer *layer) {
    Diagnostics diagnostics = {0};
    char *text = fixture_spec("drawn", layer);
    Model *model = model_read_text(text, strlen(text), "drawn", &diagnostics);
    if (model) {
        *layer = model->layers[0].layer;
    }
    int status = model ? 0 : -1;
    model_free(model);
    diagnostics_free(&diagnostics);
    free(text);
    return status;
}

// --- values ------------------------------------------------------------------------------------------------------------------

static int64_t draw_integer(uint64_t *state, const Key *key) {
    static const int64_t sizes[] = {1,  2,  3,  4,  7,   8,   9,   15,  16,  17,  31,  32,
                                    33, 63, 64, 65, 100, 127, 128, 129, 255, 256, 257, 300};
    double most = fmin(key->maximum, DRAW_MAX_SIZE);
    int64_t value = 0;
    switch (below(state, 4)) {
    case 0: value = (int64_t)key->minimum + below(state, 3); break;
    case 1: value = 1 + below(state, DRAW_MAX_SIZE); break;
    case 2: value = 1 + below(state, 16); break;
    default: value = sizes[below(state, sizeof sizes / sizeof *sizes)]; break;
    }
    return (int64_t)fmin(fmax((double)value, key->minimum), most);
}

// Numbers that stand out, and any magnitude from the smallest fp32 number to the largest that is allowed.
static float draw_real(uint64_t *state, const Key *key) {
    static const float values[] = {0,     1,     -1,     0.5f,   -0.5f,  1.5f,   2,      3,         0.1f, 1e-3f, 1e3f,
                                   1e-6f, 1e-7f, 1e-12f, 1e-20f, 1e-30f, 1e-38f, 1e-45f, 0.999999f, 1e5f, -1e5f};
    double value = 0;
    switch (below(state, 4)) {
    case 0: value = below(state, 2) ? key->minimum : key->maximum; break;
    case 1: value = ldexp(1 + (double)below(state, 1 << 20) * 0x1p-20, (int)below(state, 170) - 149); break;
    case 2: value = key->minimum + (key->maximum - key->minimum) * (double)below(state, 1 << 20) * 0x1p-20; break;
    default: value = (double)values[below(state, sizeof values / sizeof *values)]; break;
    }
    return (float)fmin(fmax(below(state, 2) ? value : -value, key->minimum), key->maximum);
}

static void draw_value(uint64_t *state, const Key *key, ModelLayer *entry) {
    char *field = (char *)entry + key->offset;
    int32_t choices = 0;
    while (key->type == KEY_CHOICE && key->choices[choices]) {
        choices++;
    }
    switch (key->type) {
    case KEY_INTEGER: *(int64_t *)(void *)field = draw_integer(state, key); break;
    case KEY_REAL: *(float *)(void *)field = draw_real(state, key); break;
    case KEY_FLAG: *(int32_t *)(void *)field = (int32_t)below(state, 2); break;
    case KEY_CHOICE: *(int32_t *)(void *)field = (int32_t)below(state, choices); break;
    default: break;
    }
}

// --- layers ------------------------------------------------------------------------------------------------------------------

// Whether an oracle gets done with many such layers.
static int affordable(const Layer *layer, double work) {
    double matrices = layer->gated ? 3 : 2, hidden = (double)layer->hidden;
    double routed = (double)layer->intermediate, shared = (double)(layer->shared_experts * layer->shared_intermediate);
    double router = (double)(layer->iterations * layer_router_columns(layer));
    double token = matrices * (routed * (double)layer->top_k + shared) * (double)layer->iterations + router;
    double weights = matrices * (routed * (double)layer->experts + shared) + router;
    return hidden * token <= work && hidden * weights <= most_weights;
}

// A layer with little in it: without a norm, or with one whose eps is 0, values grow from iteration to iteration until they
// overflow; with few experts and many identities most rows are a rounding away from their input.
static Layer bare_layer(uint64_t *state) {
    Layer layer = fixture_neutral((Layer){.hidden = 16 << below(state, 4),
                                          .iterations = 1 + below(state, 6),
                                          .experts = 4,
                                          .identity_experts = below(state, 2) * 60,
                                          .intermediate = 16,
                                          .top_k = 1 + below(state, 4),
                                          .norm = (int32_t)below(state, NORM_COUNT),
                                          .outer_residual = (int32_t)below(state, 2),
                                          .inner_residual = (int32_t)below(state, 2),
                                          .score = (int32_t)below(state, SCORE_COUNT),
                                          .selection = (int32_t)below(state, SELECTION_COUNT),
                                          .scale = below(state, 3) ? 1 : 1e6f,
                                          .router_bias = (int32_t)below(state, 2),
                                          .gated = (int32_t)below(state, 2),
                                          .activation = (int32_t)below(state, ACTIVATION_COUNT)});
    layer.threshold = layer.selection == SELECTION_THRESHOLD ? 1.0f / (float)(8 + 64 * (layer.identity_experts > 0)) : 0;
    layer.groups = layer.top_groups = below(state, 2) ? 2 : 0;
    layer.top_groups -= layer.groups > 0 && layer.top_k <= layer_choices(&layer) / 2;
    return layer;
}

Layer draw_layer(uint64_t seed) {
    uint64_t state = seed * 2654435761u + 77;
    const Key *keys[DRAW_MAX_KEYS];
    int count = draw_keys(keys);
    Layer layer = fixture_layer(seed), bare = bare_layer(&state);
    int is_bare = seed % 2 && !draw_accept(&bare);
    layer = is_bare ? bare : layer;
    double work = below(&state, 16) ? usual_work : most_work;
    int64_t changes = below(&state, is_bare ? MOST_CHANGES / 4 : MOST_CHANGES);
    for (int64_t i = 0; i < changes || !affordable(&layer, work); i++) {
        ModelLayer *entry = calloc(1, sizeof *entry);
        ck_assert_ptr_nonnull(entry);
        entry->layer = layer;
        draw_value(&state, keys[below(&state, count)], entry);
        // What costs too much only ever becomes cheaper.
        int cheap = affordable(&entry->layer, work) || entry->layer.hidden < layer.hidden ||
                    entry->layer.intermediate < layer.intermediate || entry->layer.top_k < layer.top_k ||
                    entry->layer.experts < layer.experts;
        if (cheap && !draw_accept(&entry->layer)) {
            layer = entry->layer;
        }
        free(entry);
    }
    return layer;
}
