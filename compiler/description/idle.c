// Keys that mean nothing in a layer: who writes one expects it to do something, so a description that has one is refused, whatever
// its value. Only presence counts: an explicit default where the key has a meaning is fine.
#include <string.h>

#include "read.h"

// One key. key NULL: every key of the section but "count".
typedef struct IdleKey {
    const char *section, *key;
    bool idle;
    const char *why;
} IdleKey;

const char *spec_idle_reason(const Layer *layer, const char *section, const char *key) {
    const SelectionFacts *selection = &selection_facts[layer->selection];
    bool limited = layer->limit != 0 || (layer->shared_experts && layer->shared_limit != 0);
    bool nobody_loses = layer->top_groups == layer->groups;
    const IdleKey keys[] = {
        {"norm", "eps", layer->norm == NORM_NONE, "means nothing without a norm"},
        {"post_norm", "eps", layer->post_norm == NORM_NONE, "means nothing without a norm after the chain"},
        {"latent", "norm_eps", layer->latent_norm == NORM_NONE, "means nothing without a norm of latent values"},
        {"residual", "inner_alpha", !layer->inner_residual, "means nothing without inner"},
        {"residual", "alpha", !layer->outer_residual, "means nothing without outer"},
        {"router", "rank", selection->logits_alone, "means nothing with this rule of selection, which ranks by logits"},
        {"groups", "score", nobody_loses, "means nothing where all groups remain"},
        {"groups", "mask", nobody_loses, "means nothing where all groups remain"},
        {"router", "k_min", !layer->k_per_token, "means nothing without k_per_token"},
        {"router", "threshold", layer->selection != SELECTION_THRESHOLD, "is a parameter of \"threshold\""},
        {"router", "top_p", layer->selection != SELECTION_TOP_P, "is a parameter of \"top_p\""},
        {"router", "jitter", layer->selection != SELECTION_SPARSEMIXER, "is a parameter of \"sparsemixer\""},
        {"router", "normalize_p", !layer->normalize, "means nothing without normalize"},
        {"router", "normalize_eps", !layer->normalize, "means nothing without normalize"},
        {"router", "normalize_clamp", !layer->normalize, "means nothing without normalize"},
        {"experts", "slope", !activation_facts[layer->activation].takes_slope, "means nothing with this activation"},
        {"experts", "limit", !layer->gated, "clamps gate and up: the experts must be gated"},
        {"experts", "limit_place", !limited, "means nothing without a limit"},
        {"experts", "gate_softcap", !layer->gated, "caps gate: the experts must be gated"},
        {"experts", "gate_softcap", !activation_facts[layer->activation].sigmoid,
         "means nothing with this activation: it caps the gate of silu, but not within the sigmoid"},
        {"experts", "up_softcap", !layer->gated, "caps up beside a gate: the experts must be gated"},
        {"experts", "up_offset", !layer->gated, "is added to up: the experts must be gated"},
        {"shared_experts", "limit", !layer->gated, "clamps gate and up: the experts must be gated"},
        {"shared_experts", NULL, !layer->shared_experts, "means nothing without shared experts: their count is 0"},
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        bool named = keys[i].key ? !strcmp(keys[i].key, key) : strcmp("count", key) != 0;
        if (keys[i].idle && named && !strcmp(keys[i].section, section)) {
            return keys[i].why;
        }
    }
    return NULL;
}

void spec_check_idle(Spec *spec, const Layer *layer, const Section *section, const json_t *object, const Place *place) {
    for (size_t i = 0; i < section->count; i++) {
        const Key *key = &section->keys[i];
        const Place here = {place, key->name, 0};
        const json_t *value = json_object_get(object, key->name);
        if (value && key->type == KEY_SECTION) {
            spec_check_idle(spec, layer, key->section, value, &here);
            continue;
        }
        const char *why = value ? spec_idle_reason(layer, section->name, key->name) : NULL;
        if (why) {
            char where[SPEC_TEXT_BYTES];
            spec_place_print(&here, where);
            spec_error(spec, &here, PLACE_KEY, "%s %s", where, why);
        }
    }
}
