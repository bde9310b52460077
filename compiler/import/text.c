// A description as text, and what it says in words.
#include <stdlib.h>
#include <string.h>

#include "compiler/description/keys.h"
#include "read.h"
#include "templates/plan.h"

enum { LINE_WIDTH = 120, INDENT = 2 };

// Text that grows; NULL when out of memory.
typedef struct Text {
    char *bytes;
    size_t length;
} Text;

static void add(Text *text, const char *part, size_t length) {
    char *bytes = text->bytes ? realloc(text->bytes, text->length + length + 1) : NULL;
    if (!bytes) {
        free(text->bytes);
        text->bytes = NULL;
        return;
    }
    memcpy(bytes + text->length, part, length);
    bytes[text->length + length] = 0;
    text->bytes = bytes;
    text->length += length;
}

static void add_words(Text *text, const char *part) {
    add(text, part, strlen(part));
}

// Reals get as many digits as it takes to read them back.
static char *dump(const json_t *value) {
    for (size_t digits = 1; json_is_real(value) && digits < 17; digits++) {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));
        if (!text || strtod(text, NULL) == json_real_value(value)) {
            return text;
        }
        free(text);
    }
    return json_dumps(value, JSON_ENCODE_ANY);
}

static void add_scalar(Text *text, const json_t *value) {
    char *dumped = dump(value);
    add_words(text, dumped ? dumped : "null");
    free(dumped);
}

static void add_value(Text *text, const json_t *value, size_t indent, bool broken);

static void add_members(Text *text, const json_t *value, size_t indent, bool broken) {
    char line[64] = "";
    if (broken) {
        snprintf(line, sizeof line, "\n%*s", (int)indent, "");
    }
    size_t index = 0;
    const char *key;
    json_t *member;
    if (json_is_array(value)) {
        json_array_foreach(value, index, member) {
            add_words(text, index == 0 ? "" : broken ? "," : ", ");
            add_words(text, line);
            add_value(text, member, indent, broken);
        }
        return;
    }
    json_object_foreach((json_t *)value, key, member) {
        add_words(text, index++ == 0 ? "" : broken ? "," : ", ");
        add_words(text, line);
        json_t *name = json_string(key);
        add_scalar(text, name);
        json_decref(name);
        add_words(text, ": ");
        add_value(text, member, indent, broken);
    }
}

static size_t last_line(const Text *text) {
    const char *newline = text->bytes ? strrchr(text->bytes, '\n') : NULL;
    return newline ? strlen(newline + 1) : text->length;
}

// broken: lines may be broken here; what fits on this one is not.
static void add_value(Text *text, const json_t *value, size_t indent, bool broken) {
    bool list = json_is_array(value);
    if (!list && !json_is_object(value)) {
        add_scalar(text, value);
        return;
    }
    size_t start = text->length;
    add_words(text, list ? "[" : "{");
    add_members(text, value, indent, false);
    add_words(text, list ? "]" : "}");
    if (!broken || !text->bytes || last_line(text) < LINE_WIDTH) {
        return;
    }
    text->length = start;
    text->bytes[start] = 0;
    add_words(text, list ? "[" : "{");
    add_members(text, value, indent + INDENT, true);
    char line[64];
    snprintf(line, sizeof line, "\n%*s%c", (int)indent, "", list ? ']' : '}');
    add_words(text, line);
}

char *import_text(const json_t *value) {
    Text text = {calloc(1, 1), 0};
    add_value(&text, value, 0, true);
    add_words(&text, "\n");
    return text.bytes;
}

// --- in words ---

static const char *const norm_words[] = {[NORM_NONE] = "none", [NORM_RMS] = "RMS", [NORM_LAYER] = "layer norm"};

static void summarise_norm(const Layer *layer, FILE *stream) {
    fprintf(stream, "  norm        %s", norm_words[layer->norm]);
    if (layer->norm != NORM_NONE) {
        fprintf(stream, ", eps %g%s", (double)layer->norm_eps, layer->norm_bias ? ", with a bias" : "");
    }
    if (layer->post_norm != NORM_NONE) {
        fprintf(stream, "; of the result: %s, eps %g", norm_words[layer->post_norm], (double)layer->post_norm_eps);
    }
    fputc('\n', stream);
}

static void summarise_experts(const Layer *layer, FILE *stream) {
    fprintf(stream, "  experts     %lld of width %lld, %s %s", (long long)layer->experts, (long long)layer->intermediate,
            layer->gated ? "gated" : "plain", activation_names[layer->activation]);
    if (layer->slope != 1) {
        fprintf(stream, " with slope %g", (double)layer->slope);
    }
    if (layer->limit != 0) {
        fprintf(stream, ", %s and up clamped at %g", layer->limit_place == LIMIT_AFTER_ACTIVATION ? "act(gate)" : "gate",
                (double)layer->limit);
    }
    if (layer->gate_softcap != 0) {
        fprintf(stream, ", gate capped softly at %g", (double)layer->gate_softcap);
    }
    if (layer->up_softcap != 0) {
        fprintf(stream, ", up capped softly at %g", (double)layer->up_softcap);
    }
    if (layer->up_offset != 0) {
        fprintf(stream, ", up + %g", (double)layer->up_offset);
    }
    fputs(layer->expert_bias ? ", with biases" : "", stream);
    fputs(layer->output_bias ? ", a learnt vector added to their sum" : "", stream);
    if (layer->identity_experts) {
        fprintf(stream, "; %lld more choices hand their input on", (long long)layer->identity_experts);
    }
    fprintf(stream, "\n  shared      ");
    if (!layer->shared_experts) {
        fputs("none\n", stream);
        return;
    }
    fprintf(stream, "%lld of width %lld%s%s", (long long)layer->shared_experts, (long long)layer->shared_intermediate,
            layer->shared_bias ? ", with biases" : "",
            layer->shared_joint   ? ", weighted by sigmoids that are divided by the chosen scores' norm with them"
            : layer->shared_gated ? ", weighted by a sigmoid of its own"
                                  : "");
    if (layer->shared_limit != layer->limit && layer->shared_limit == 0) {
        fputs(", not clamped", stream);
    } else if (layer->shared_limit != layer->limit) {
        fprintf(stream, ", clamped at %g", (double)layer->shared_limit);
    }
    if (layer->shared_scale != 1) {
        fprintf(stream, ", times %g", (double)layer->shared_scale);
    }
    fputc('\n', stream);
}

// The value of a number of the router.
static void print_router_number(const ModelLayer *entry, const char *name, size_t length, FILE *stream) {
    for (size_t i = 0; i < spec_router.count; i++) {
        const Key *key = &spec_router.keys[i];
        const char *field = (const char *)entry + key->offset;
        bool named = strlen(key->name) == length && !memcmp(key->name, name, length);
        if (named && key->type == KEY_INTEGER) {
            fprintf(stream, "%lld", (long long)*(const int64_t *)field);
        } else if (named && key->type == KEY_REAL) {
            fprintf(stream, "%g", (double)*(const float *)field);
        }
    }
}

static void summarise_choice(const ModelLayer *entry, FILE *stream) {
    const Layer *layer = &entry->layer;
    for (const char *c = selection_facts[layer->selection].words; *c; c++) {
        const char *end = *c == '{' ? strchr(c, '}') : NULL;
        if (end) {
            print_router_number(entry, c + 1, (size_t)(end - c - 1), stream);
            c = end;
        } else {
            fputc(*c, stream);
        }
    }
    if (layer->k_per_token) {
        fprintf(stream, ", or as few as %lld where the caller says so", (long long)layer->k_min);
    }
    if (!selection_facts[layer->selection].takes_k && layer->top_k < layer_choices(layer)) {
        fprintf(stream, ", at most %lld", (long long)layer->top_k);
    }
    fputs(layer->rank == RANK_LOGIT ? " by logit" : "", stream);
    fputs(layer->correction ? " after a correction that is added for choosing only" : "", stream);
    if (layer->groups > 1) {
        fprintf(stream, ", from the best %lld of %lld groups (by %s; others count as %s)", (long long)layer->top_groups,
                (long long)layer->groups, layer->group_score == GROUP_MAX ? "their best" : "the sum of their two best",
                layer->group_mask == MASK_ZERO ? "0" : "minus infinity");
    }
}

static void summarise_router(const ModelLayer *entry, FILE *stream) {
    const Layer *layer = &entry->layer;
    const char *weighs = selection_facts[layer->selection].weighs;
    fprintf(stream, "  router      %s%s%s\n  chooses     ", score_names[layer->score],
            layer->router_bias ? " of logits with a bias" : "", layer->gate_per_iteration ? ", a router for each iteration" : "");
    summarise_choice(entry, stream);
    fprintf(stream, "\n  weights     %s", weighs ? weighs : "the scores");
    if (layer->normalize) {
        fprintf(stream, ", divided by their %s (%s %g)", layer->normalize_p == 1 ? "sum" : "norm",
                layer->normalize_clamp ? "at least" : "plus", (double)layer->normalize_eps);
    }
    if (layer->scale != 1) {
        fprintf(stream, ", times %g", (double)layer->scale);
    }
    fprintf(stream, ", on the expert's %s\n", layer->weight_on == WEIGHT_ON_INPUT ? "input" : "output");
}

// The projections around routed experts.
static void summarise_latent(const Layer *layer, FILE *stream) {
    if (!layer->latent) {
        return;
    }
    fprintf(stream, "  latent      routed experts read and return rows of width %lld", (long long)layer->latent);
    if (layer->latent_norm != NORM_NONE) {
        fprintf(stream, "; norm of what they read: %s, eps %g", norm_words[layer->latent_norm], (double)layer->latent_norm_eps);
    }
    fputc('\n', stream);
}

static void summarise_residual(const Layer *layer, FILE *stream) {
    fprintf(stream, "  iterations  %lld\n  residual    ", (long long)layer->iterations);
    if (layer->inner_residual) {
        fputs("inner", stream);
        if (layer->inner_alpha != 1) {
            fprintf(stream, " times %g", (double)layer->inner_alpha);
        }
        fputs(layer->coe_weight ? ", each result but the last times a learnt weight" : "", stream);
    }
    fputs(layer->inner_residual && layer->outer_residual ? ", " : "", stream);
    fputs(layer->outer_residual ? "outer" : layer->inner_residual ? "" : "none", stream);
    if (layer->outer_residual && layer->alpha != 1) {
        fprintf(stream, " times %g", (double)layer->alpha);
    }
    fputs(layer->residual_bias ? ", the input plus a learnt vector" : "", stream);
    fputs(layer->residual_scale ? ", the input times a learnt vector" : "", stream);
    fputs(layer->output_scale ? ", the result times a learnt vector" : "", stream);
    if (layer->multiplier != 1) {
        fprintf(stream, ", the result times %g", (double)layer->multiplier);
    }
    fputc('\n', stream);
}

static void summarise_tensors(const ModelLayer *entry, FILE *stream) {
    for (int t = 0; t < TENSOR_COUNT; t++) {
        const TensorSource *source = &entry->checkpoint.tensors[t];
        if (!*source->pattern) {
            continue;
        }
        fprintf(stream, "  %-18s  %s", layer_tensor_key((Tensor)t), source->pattern);
        fputs(source->encoding == ENCODING_MXFP4 ? " (MXFP4)" : source->encoding == ENCODING_FP8_E4M3 ? " (F8_E4M3)" : "", stream);
        if (source->rows != ROWS_ALL) {
            fprintf(stream, ", rows: %s", tensor_rows_names[source->rows]);
        }
        fputs(source->order == ORDER_IN_OUT ? ", [in, out]" : "", stream);
        if (source->add != 0) {
            fprintf(stream, ", plus %g", (double)source->add);
        }
        fputc('\n', stream);
    }
}

void import_summary_layer(const ModelLayer *entry, FILE *stream) {
    const Layer *layer = &entry->layer;
    long long first = entry->checkpoint.first_layer, step = entry->checkpoint.layer_step;
    fprintf(stream, "%s: %lld sparse layer%s, %lld", entry->name, (long long)entry->count, entry->count == 1 ? "" : "s", first);
    if (entry->count > 1 && step > 1) {
        fprintf(stream, ", %lld", first + step);
    }
    if (entry->count > 2 || (entry->count > 1 && step == 1)) {
        fprintf(stream, "..%lld", first + (entry->count - 1) * step);
    }
    fprintf(stream, "\n  hidden      %lld\n", (long long)layer->hidden);
    summarise_norm(layer, stream);
    summarise_router(entry, stream);
    summarise_experts(layer, stream);
    summarise_latent(layer, stream);
    summarise_residual(layer, stream);
    fprintf(stream, "  packed as   %s", format_names[layer->weights]);
    for (RoleName role = ROLE_DOWN; role < ROLE_COUNT; role++) {
        if (plan_has_role(layer, role) && plan_format(layer, role) != (Format)layer->weights) {
            fprintf(stream, ", %s %s", role_names[role], format_names[plan_format(layer, role)]);
        }
    }
    fprintf(stream, ", compute class %s\n", compute_names[layer->compute]);
    summarise_tensors(entry, stream);
}
