// See extra.h.
#include "extra.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "figures.h"

// What callers know at least: the structs as they were first published. Later fields are added behind these, in units of 8 bytes.
enum {
    FIRST_EXTRA_BYTES = offsetof(Extra, sequence_tokens) + sizeof(int64_t),
    FIRST_FIGURES_BYTES = offsetof(Figures, routed) + sizeof(int64_t),
    UNIT_BYTES = 8
};

ExtraSpace extra_space(const Layer *layer, int64_t tokens) {
    int64_t end = 0, slots = layer->iterations * tokens * layer->top_k;
    int64_t scores = layer->iterations * tokens * layer_choices(layer);
    ExtraSpace space;
    space.k = workspace_take(&end, tokens * (int64_t)sizeof(int32_t));
    space.experts = workspace_take(&end, slots * (int64_t)sizeof(int32_t));
    space.weights = workspace_take(&end, slots * (int64_t)sizeof(float));
    space.sums = workspace_take(&end, figures_bytes(layer));
    space.scores = workspace_take(&end, scores * (int64_t)sizeof(float));
    space.bytes = end;
    return space;
}

// A size that cuts a field would make half of a pointer count.
static Status check_bytes(const char *name, size_t bytes, size_t least, const Failure *failure) {
    if (bytes < least || bytes > AREA_MOST_STRUCT_BYTES || bytes % UNIT_BYTES) {
        return failure_set(failure, LIBRARY_INVALID_ARGUMENT,
                           "extra.%s is %zu, must be a multiple of %d within %zu..%d: initialise extra with ..._EXTRA_INIT", name,
                           bytes, UNIT_BYTES, least, AREA_MOST_STRUCT_BYTES);
    }
    return LIBRARY_OK;
}

Status extra_read(const Extra *given, Extra *out, const Failure *failure) {
    memset(out, 0, sizeof *out);
    if (!given) {
        return LIBRARY_OK;
    }
    Status status = check_bytes("size", given->size, FIRST_EXTRA_BYTES, failure);
    if (status != LIBRARY_OK) {
        return status;
    }
    memcpy(out, given, given->size < sizeof *out ? given->size : sizeof *out);
    for (size_t i = sizeof *out; i < given->size; i++) {
        if (((const uint8_t *)given)[i]) {
            return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "extra has a field that this library does not know");
        }
    }
    return out->figures ? check_bytes("figures_size", out->figures_size, FIRST_FIGURES_BYTES, failure) : LIBRARY_OK;
}

// Combinations that mean nothing.
static Status check_fields(const Layer *layer, const Extra *e, const Failure *failure) {
    bool given = e->given_experts || e->given_weights, counted = e->k || e->importance;
    const struct {
        bool wrong;
        const char *why;
    } rules[] = {
        {!e->given_experts != !e->given_weights, "given_experts or given_weights is NULL: both are needed"},
        {given && (e->experts || e->weights), "routing is given, so experts and weights cannot be asked for"},
        {given && (e->scores || e->figures), "routing is given, so no router runs: there are no scores, nor figures made of them"},
        {given && counted, "routing is given, so k and importance have nothing to decide"},
        {e->k && e->importance, "k and importance are both given: either decides how many experts a token gets"},
        {counted && !layer->k_per_token,
         "k or importance is given, but this layer's k is fixed: its description needs \"k_per_token\": true in \"router\""},
        {e->sequence_tokens < 0, "sequence_tokens is negative"},
        {e->sequence_tokens && !e->figures, "sequence_tokens is given without figures, which alone depend on it"},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (rules[i].wrong) {
            return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "%s", rules[i].why);
        }
    }
    return LIBRARY_OK;
}

static Status check_areas(const Layer *layer, int64_t tokens, const Area rows[AREA_ROWS], const Extra *e, const Failure *failure) {
    enum { INT = sizeof(int32_t), FLOAT = sizeof(float), LONG = sizeof(int64_t) };
    const int64_t k = layer->iterations * layer->top_k, choices = layer->iterations * layer_choices(layer);
    const int64_t slots = area_bytes(tokens, k, k, FLOAT), scores = area_bytes(tokens, choices, choices, FLOAT);
    const int64_t each = area_bytes(tokens, 1, 1, FLOAT);
    const int64_t figures = layer->iterations * (int64_t)e->figures_size;
    const Area areas[] = {
        rows[AREA_X],
        rows[AREA_Y],
        {"experts", e->experts, slots, INT, true},
        {"weights", e->weights, slots, FLOAT, true},
        {"given_experts", e->given_experts, slots, INT, false},
        {"given_weights", e->given_weights, slots, FLOAT, false},
        {"k", e->k, each, INT, false},
        {"importance", e->importance, each, FLOAT, false},
        {"load", e->load, choices * LONG, LONG, true},
        {"scores", e->scores, scores, FLOAT, true},
        {"figures", e->figures, figures, LONG, true},
    };
    return areas_check(areas, sizeof areas / sizeof *areas, AREA_ROWS, failure);
}

// One token in one iteration. `seen` is zero before and after.
static Status check_slots(const Layer *layer, int64_t tokens, const Extra *extra, int64_t slot, uint8_t *seen,
                          const Failure *failure) {
    const int32_t *experts = extra->given_experts + slot;
    int64_t iteration = slot / layer->top_k / tokens, token = slot / layer->top_k % tokens, choices = layer_choices(layer);
    for (int64_t k = 0; k < layer->top_k; k++) {
        if (experts[k] < -1 || experts[k] >= choices) {
            return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "iteration %lld, token %lld: expert %d, must be -1..%lld",
                               (long long)iteration, (long long)token, experts[k], (long long)choices - 1);
        }
        if (!isfinite(extra->given_weights[slot + k])) {
            return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "iteration %lld, token %lld: a weight is not finite",
                               (long long)iteration, (long long)token);
        }
        if (experts[k] >= 0) {
            uint8_t bit = (uint8_t)(1 << experts[k] % 8);
            if (seen[experts[k] / 8] & bit) {
                return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "iteration %lld, token %lld: expert %d is given twice",
                                   (long long)iteration, (long long)token, experts[k]);
            }
            seen[experts[k] / 8] |= bit;
        }
    }
    for (int64_t k = 0; k < layer->top_k; k++) {
        if (experts[k] >= 0) {
            seen[experts[k] / 8] = 0;
        }
    }
    return LIBRARY_OK;
}

static Status check_routing(const Layer *layer, int64_t tokens, const Extra *extra, uint8_t *seen, const Failure *failure) {
    int64_t slots = layer->iterations * tokens * layer->top_k;
    memset(seen, 0, (size_t)(layer_choices(layer) + 7) / 8);
    for (int64_t slot = 0; slot < slots; slot += layer->top_k) {
        Status status = check_slots(layer, tokens, extra, slot, seen, failure);
        if (status != LIBRARY_OK) {
            return status;
        }
    }
    return LIBRARY_OK;
}

static Status check_counts(const Layer *layer, int64_t tokens, const Extra *extra, const Failure *failure) {
    for (int64_t token = 0; extra->k && token < tokens; token++) {
        if (extra->k[token] < layer->k_min || extra->k[token] > layer->top_k) {
            return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "token %lld: k is %d, must be %lld..%lld", (long long)token,
                               extra->k[token], (long long)layer->k_min, (long long)layer->top_k);
        }
    }
    for (int64_t token = 0; extra->importance && token < tokens; token++) {
        float importance = extra->importance[token];
        if (!(importance >= 0 && importance <= 1)) {
            return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "token %lld: importance is %.9g, must be within 0..1",
                               (long long)token, (double)importance);
        }
    }
    return LIBRARY_OK;
}

Status extra_check(const Layer *layer, int64_t tokens, const Area rows[AREA_ROWS], const Extra *extra, uint8_t *seen,
                   const Failure *failure) {
    Status status = check_fields(layer, extra, failure);
    if (status == LIBRARY_OK) {
        status = check_areas(layer, tokens, rows, extra, failure);
    }
    if (status == LIBRARY_OK && extra->given_experts) {
        status = check_routing(layer, tokens, extra, seen, failure);
    }
    return status == LIBRARY_OK ? check_counts(layer, tokens, extra, failure) : status;
}
