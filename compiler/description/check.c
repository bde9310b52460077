// What must hold between the fields of a description.
#include <string.h>
#include <strings.h>

#include "name.h"
#include "read.h"
#include "templates/plan.h"

// Packed weights of a layer stay below this many bytes: no machine holds more, and sums of such sizes never overflow.
static const int64_t max_layer_bytes = (int64_t)1 << 46;

// The place of layers[index].section.key; section and key may be NULL. Filled by steps, as each points to the one before.
typedef struct LayerPlace {
    Place steps[5];
} LayerPlace;

static const Place *layer_place(LayerPlace *place, size_t index, const char *section, const char *key) {
    Place *steps = place->steps;
    steps[0] = (Place){NULL, NULL, 0};
    steps[1] = (Place){&steps[0], "layers", 0};
    steps[2] = (Place){&steps[1], NULL, index};
    steps[3] = (Place){&steps[2], section, 0};
    steps[4] = (Place){&steps[3], key, 0};
    return &steps[key ? 4 : section ? 3 : 2];
}

static int64_t multiply(int64_t a, int64_t b) {
    int64_t product;
    return __builtin_mul_overflow(a, b, &product) ? INT64_MAX : product;
}

static int64_t add(int64_t a, int64_t b) {
    int64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

// Bytes of all instances' matrices with every width padded to a packed panel: an upper bound that saturates.
static int64_t layer_bytes(const ModelLayer *entry) {
    const Layer *layer = &entry->layer;
    int64_t hidden = layer->hidden + 32, matrices = layer->gated ? 3 : 2, element = sizeof(float);
    int64_t routed = multiply(layer->experts, multiply(layer->intermediate + 32, layer_pool_width(layer) + 32));
    int64_t shared = multiply(layer->shared_experts, multiply(layer->shared_intermediate + 32, hidden));
    int64_t router = multiply(layer->iterations, multiply(layer_router_columns(layer) + 32, hidden));
    int64_t latent = layer->latent ? multiply(2 * (layer->latent + 32), hidden) : 0;
    return multiply(entry->count, multiply(element, add(add(router, latent), multiply(matrices, add(routed, shared)))));
}

static void check_sizes(Spec *spec, const ModelLayer *entry, size_t index) {
    const Layer *layer = &entry->layer;
    LayerPlace place;
    if (layer->experts && layer->top_k > layer_choices(layer)) {
        spec_error(spec, layer_place(&place, index, "router", "k"), PLACE_VALUE,
                   "layers[%zu].router.k is %lld, but the pool has only %lld experts", index, (long long)layer->top_k,
                   (long long)layer_choices(layer));
    }
    if (layer_bytes(entry) > max_layer_bytes) {
        spec_error(spec, layer_place(&place, index, NULL, NULL), PLACE_VALUE,
                   "layers[%zu] needs more than 64 TiB of weights: %lld x %lld experts of %lld x %lld", index,
                   (long long)entry->count, (long long)layer->experts, (long long)layer->intermediate, (long long)layer->hidden);
    }
    RoleName unserved = plan_unserved_role(layer, (Compute)layer->compute);
    if (unserved < ROLE_COUNT) {
        spec_error(spec, layer_place(&place, index, "compute", NULL), PLACE_VALUE,
                   "layers[%zu].compute is \"%s\", but its %s weights are %s, which no instruction path of this class reads "
                   "without rounding them",
                   index, compute_names[layer->compute], role_names[unserved], format_names[plan_format(layer, unserved)]);
    }
}

// A combination that makes no sense: where, whether the layer has it, and why it makes none.
typedef struct Rule {
    const char *section, *key;
    bool broken;
    const char *why;
} Rule;

static void check_rules(Spec *spec, const Layer *layer, size_t index) {
    int64_t choices = layer_choices(layer), group = layer->groups ? choices / layer->groups : choices;
    const SelectionFacts *selection = &selection_facts[layer->selection];
    bool grouped = layer->groups > 1, always_k = selection->takes_k && !layer->k_per_token;
    const ScoreFacts *score = &score_facts[layer->score];
    bool loses = layer->top_groups < layer->groups;  // a choice may be in a group that does
    bool all_above =
        layer->threshold < 0 ? !loses || layer->group_mask == MASK_ZERO : layer->threshold == 0 && score->strict && !loses;
    bool by_score = layer->selection == SELECTION_THRESHOLD && layer->rank == RANK_SCORE && !layer->correction;
    const Rule rules[] = {
        {"norm", "bias", layer->norm_bias && layer->norm != NORM_LAYER, "only a layer norm has a bias"},
        {"router", "k", !layer->top_k, "is missing: this rule of selection chooses exactly k"},
        {"router", "k", layer->top_k > SPEC_MAX_TOP_K,
         "is missing: without it a token may choose the whole pool, more than the " SPEC_DIGITS(SPEC_MAX_TOP_K) " that it may"},
        {"router", "expected_k", layer->expected_k > layer->top_k, "is more than k, the most that a token may choose"},
        {"router", "expected_k", layer->expected_k < layer->top_k && always_k, "is less than k, which every token chooses"},
        {"router", "k_min", layer->k_per_token && layer->k_min > layer->top_k, "is more than k"},
        {"router", "k_per_token", layer->k_per_token && layer->selection != SELECTION_TOP_K, "goes with \"top_k\" only"},
        {"router", "score", selection->softmax && layer->score != SCORE_SOFTMAX, selection->softmax},
        {"router", "correction", selection->logits_alone && layer->correction,
         "does not go with this rule of selection, which ranks by logits"},
        {"router", "groups", selection->logits_alone && grouped,
         "do not go with this rule of selection, which ranks the whole pool"},
        {"router", "groups", grouped && choices % layer->groups, "must divide the choices evenly"},
        {"router", "groups", layer->top_groups > layer->groups, "keep more groups than there are"},
        {"router", "groups", grouped && layer->group_score == GROUP_TOP2_SUM && group < 2,
         "of one expert have no two best to add: score them by \"max\""},
        {"router", "groups", grouped && selection->takes_k && layer->top_k > layer->top_groups * group,
         "that remain have fewer than k experts"},
        {"router", "threshold", by_score && all_above,
         "is below every score: all choices are above it, and only k would limit them"},
        {"router", "threshold", by_score && score->at_most_1 && layer->threshold >= 1,
         "is above every score, which is at most 1: no expert would ever be chosen"},
        {"router", "normalize_clamp", layer->normalize_clamp && layer->normalize_eps == 0,
         "needs a normalize_eps above 0: no norm is below 0"},
        {"shared_experts", "joint", layer->shared_joint && !layer->shared_gated, "needs gated: it divides the gates by a norm"},
        {"shared_experts", "joint", layer->shared_joint && layer->score != SCORE_SIGMOID,
         "needs router.score \"sigmoid\": gates and scores are added up"},
        {"shared_experts", "joint", layer->shared_joint && (!layer->normalize || layer->normalize_p != 1),
         "needs router.normalize with a normalize_p of 1: it adds the gates to that norm"},
        {"residual", "bias", layer->residual_bias && !layer->outer_residual, "needs outer: it is added to the layer's input there"},
        {"residual", "scale", layer->residual_scale && !layer->outer_residual, "needs outer: it scales the layer's input there"},
        {"residual", "coe_weight", layer->coe_weight && layer->iterations < 2, "weighs what one iteration hands to the next"},
        {"residual", "coe_weight", layer->coe_weight && !layer->inner_residual,
         "needs inner: a converted MoE hands x + coe_weight y to the next iteration"},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        LayerPlace place;
        if (rules[i].broken) {
            spec_error(spec, layer_place(&place, index, rules[i].section, rules[i].key), PLACE_VALUE, "layers[%zu].%s.%s %s", index,
                       rules[i].section, rules[i].key, rules[i].why);
        }
    }
}

// Placeholders that stand for a number of this tensor in this layer.
typedef struct Placeholder {
    const char *name;
    bool allowed;
    bool needed;  // without it several tensors would have one name
} Placeholder;

enum { PLACEHOLDERS = 3 };

static void placeholders_of(const ModelLayer *entry, Tensor tensor, Placeholder list[PLACEHOLDERS]) {
    const Layer *layer = &entry->layer;
    bool single = layer_tensor_single(tensor), router = layer_tensor_per_iteration(tensor);
    list[0] = (Placeholder){"{layer}", true, entry->count > 1};
    list[1] = (Placeholder){"{iteration}", router && layer->gate_per_iteration, router && layer_routers(layer) > 1};
    list[2] = (Placeholder){"{expert}", !single && !router, false};  // without it: one tensor for all, see runtime/weights_source.c
}

static void check_braces(Spec *spec, const Place *place, const char *pattern, const Placeholder list[PLACEHOLDERS]) {
    for (const char *c = strpbrk(pattern, "{}"); c; c = strpbrk(c + 1, "{}")) {
        const Placeholder *found = NULL;
        for (int i = 0; i < PLACEHOLDERS; i++) {
            found = !strncmp(c, list[i].name, strlen(list[i].name)) ? &list[i] : found;
        }
        if (!found) {
            spec_error(spec, place, PLACE_VALUE,
                       "\"%.80s\": a tensor's name may hold {layer}, {iteration} and {expert}, no other braces", pattern);
            return;
        }
        if (!found->allowed) {
            spec_error(spec, place, PLACE_VALUE, "\"%.80s\": this tensor has no %s in this layer", pattern, found->name);
        }
        c += strlen(found->name) - 1;
    }
}

// A layout that the tensor cannot have.
static void check_source(Spec *spec, const Layer *layer, Tensor tensor, const char *key, const TensorSource *source,
                         const Place *place) {
    enum { MXFP4_INPUTS = 32 };  // of a block
    int64_t inputs = layer_tensor_inputs(layer, tensor);
    bool in_out = source->order == ORDER_IN_OUT, mxfp4 = source->encoding == ENCODING_MXFP4;
    const struct {
        TensorRows rows;
        bool possible;
        const char *why;
    } rows[] = {
        {ROWS_CHOICES, tensor == TENSOR_ROUTER && layer->shared_experts, "are of a router, in a layer with shared experts"},
        {ROWS_SHARED, tensor == TENSOR_SHARED_EXPERT_GATE, "are of \"shared_expert_gate\""},
        {ROWS_ONE, !inputs, "is of a vector"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (source->rows == (int32_t)rows[i].rows && !rows[i].possible) {
            spec_error(spec, &(Place){place, "rows", 0}, PLACE_VALUE, "\"%s\" cannot have these rows: \"%s\" %s", key,
                       tensor_rows_names[rows[i].rows], rows[i].why);
        }
    }
    if (in_out && !inputs) {
        spec_error(spec, &(Place){place, "order", 0}, PLACE_VALUE, "\"%s\" is a vector: \"in_out\" is an order of matrices", key);
    }
    if (source->encoding != ENCODING_PLAIN && !inputs) {
        spec_error(spec, &(Place){place, "encoding", 0}, PLACE_VALUE, "\"%s\" is a vector: \"%s\" is an encoding of matrices", key,
                   encoding_names[source->encoding]);
    }
    if (mxfp4 && inputs % MXFP4_INPUTS) {
        spec_error(spec, &(Place){place, "encoding", 0}, PLACE_VALUE,
                   "\"%s\" has %lld inputs: \"mxfp4\" has blocks of %d, so that they must be a multiple of it", key,
                   (long long)inputs, MXFP4_INPUTS);
    }
    if (mxfp4 && in_out) {
        spec_error(spec, &(Place){place, "order", 0}, PLACE_VALUE,
                   "\"%s\" cannot be \"in_out\": blocks of \"mxfp4\" run along the inputs", key);
    }
    if (mxfp4 && source->add != 0) {
        spec_error(spec, &(Place){place, "add", 0}, PLACE_VALUE, "\"%s\" is \"mxfp4\", which has nothing added to it", key);
    }
}

static void check_pattern(Spec *spec, const ModelLayer *entry, Tensor tensor, const char *key, const Place *place) {
    const TensorSource *source = &entry->checkpoint.tensors[tensor];
    const char *pattern = source->pattern;
    Placeholder list[PLACEHOLDERS];
    if (!layer_has_tensor(&entry->layer, tensor)) {
        if (*pattern) {
            spec_error(spec, place, PLACE_VALUE, "tensor \"%s\" is named, but the layer as described does not have it", key);
        }
        return;
    }
    if (!*pattern) {
        spec_error(spec, place, PLACE_VALUE, "the checkpoint's tensors lack \"%s\", which the layer needs", key);
        return;
    }
    placeholders_of(entry, tensor, list);
    check_braces(spec, place, pattern, list);
    for (int i = 0; i < PLACEHOLDERS; i++) {
        if (list[i].needed && !strstr(pattern, list[i].name)) {
            spec_error(spec, place, PLACE_VALUE, "\"%.80s\" must hold %s: the layer has several such tensors", pattern,
                       list[i].name);
        }
    }
    check_source(spec, &entry->layer, tensor, key, source, place);
}

static void check_checkpoint(Spec *spec, const ModelLayer *entry, size_t index) {
    LayerPlace steps;
    layer_place(&steps, index, "checkpoint", "tensors");
    for (int tensor = 0; tensor < TENSOR_COUNT; tensor++) {
        check_pattern(spec, entry, (Tensor)tensor, layer_tensor_key((Tensor)tensor),
                      &(Place){&steps.steps[4], layer_tensor_key((Tensor)tensor), 0});
    }
}

void spec_check_layer(Spec *spec, const ModelLayer *layer, size_t index, bool clean, bool has_checkpoint) {
    check_sizes(spec, layer, index);
    if (clean) {
        check_rules(spec, &layer->layer, index);
    }
    if (clean && has_checkpoint) {
        check_checkpoint(spec, layer, index);
    }
}

static void check_name(Spec *spec, const Model *model) {
    const Place root = {NULL, NULL, 0}, place = {&root, "name", 0};
    const char *problem = *model->name ? name_problem(model->name) : NULL;
    if (problem) {
        spec_error(spec, &place, PLACE_VALUE, "name \"%s\" %s: choose another, such as my_%.40s_layer", model->name, problem,
                   model->name);
    }
}

void spec_check_model(Spec *spec, const Model *model) {
    check_name(spec, model);
    for (int64_t i = 0; i < model->layer_count; i++) {
        for (int64_t j = 0; j < i && *model->layers[i].name; j++) {
            if (!strcasecmp(model->layers[i].name, model->layers[j].name)) {  // the header's constants are in capitals
                LayerPlace place;
                spec_error(spec, layer_place(&place, (size_t)i, "name", NULL), PLACE_VALUE,
                           "layers[%lld] and layers[%lld] are both named \"%s\" (capitals do not count)", (long long)j,
                           (long long)i, model->layers[i].name);
                break;
            }
        }
    }
}
