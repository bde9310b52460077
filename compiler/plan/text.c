// The canonical text of a plan: one "key value" line per field, in one fixed order; parse(print(p)) == p.
// The table below is the only list of fields.
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

typedef enum FieldType { FIELD_INT64, FIELD_INT32, FIELD_FLOAT, FIELD_NAME } FieldType;

typedef struct Field {
    const char *name;
    size_t offset;
    FieldType type;
    const char *const *names;  // FIELD_NAME: zero-terminated, by enumerator
    bool optional;             // a line is there only where the value is not the one below
    double absent;
    size_t like;  // not 0: the value below is that of a field that ends at this offset
} Field;

#define NAME(enumerator, symbol, ...) #symbol,
static const char *const paths[] = {PATH_LIST(NAME) NULL};
static const char *const booleans[] = {"no", "yes", NULL};

#define WIDE(owner, field) {#field, offsetof(owner, field), FIELD_INT64, NULL, false, 0, 0},
// A field whose text keeps an older name, so that texts of plans stay as they are.
#define WIDE_AS(owner, field, name) {name, offsetof(owner, field), FIELD_INT64, NULL, false, 0, 0},
#define NARROW(owner, field) {#field, offsetof(owner, field), FIELD_INT32, NULL, false, 0, 0},
#define REAL(owner, field) {#field, offsetof(owner, field), FIELD_FLOAT, NULL, false, 0, 0},
#define CHOICE(owner, field, names) {#field, offsetof(owner, field), FIELD_NAME, names, false, 0, 0},
// Fields that texts of plans leave out at their usual value, so that texts from before them stay as they are.
#define OPTION(owner, field, names) {#field, offsetof(owner, field), FIELD_NAME, names, true, 0, 0},
#define WIDE_UNLESS(owner, field, usual) {#field, offsetof(owner, field), FIELD_INT64, NULL, true, usual, 0},
#define REAL_UNLESS(owner, field, usual) {#field, offsetof(owner, field), FIELD_FLOAT, NULL, true, usual, 0},
#define REAL_UNLESS_AS(owner, field, other) \
    {#field, offsetof(owner, field), FIELD_FLOAT, NULL, true, 0, offsetof(owner, other) + sizeof(float)},

// Of a role's layout.
#define LAID(field) {#field, offsetof(Role, layout.field), FIELD_INT64, NULL, false, 0, 0},
#define LAID_CHOICE(field, names) {#field, offsetof(Role, layout.field), FIELD_NAME, names, false, 0, 0},

// clang-format off
static const Field layer_fields[] = {
    WIDE(Layer, hidden) WIDE(Layer, iterations)
    WIDE(Layer, experts) WIDE(Layer, identity_experts) WIDE(Layer, null_experts) WIDE(Layer, intermediate)
    WIDE(Layer, top_k) WIDE_AS(Layer, k_min, "least_k") WIDE(Layer, expected_k)
    WIDE(Layer, shared_experts) WIDE(Layer, shared_intermediate)
    CHOICE(Layer, norm, norm_names) REAL(Layer, norm_eps) CHOICE(Layer, norm_bias, booleans)
    CHOICE(Layer, inner_residual, booleans) REAL(Layer, inner_alpha)
    CHOICE(Layer, outer_residual, booleans) REAL(Layer, alpha) REAL(Layer, multiplier) CHOICE(Layer, coe_weight, booleans)
    CHOICE(Layer, score, score_names) REAL(Layer, logit_scale) REAL(Layer, softcap)
    CHOICE(Layer, selection, selection_names) CHOICE(Layer, rank, rank_names) CHOICE(Layer, correction, booleans)
    REAL(Layer, threshold) REAL(Layer, top_p) REAL(Layer, jitter)
    WIDE(Layer, groups) WIDE(Layer, top_groups) CHOICE(Layer, group_score, group_score_names) CHOICE(Layer, group_mask, group_mask_names)
    CHOICE(Layer, k_per_token, booleans)
    CHOICE(Layer, normalize, booleans) REAL(Layer, normalize_p) REAL(Layer, normalize_eps)
    CHOICE(Layer, normalize_clamp, booleans)
    REAL(Layer, scale) CHOICE(Layer, weight_on, weight_on_names)
    CHOICE(Layer, router_bias, booleans) CHOICE(Layer, gate_per_iteration, booleans)
    CHOICE(Layer, gated, booleans) CHOICE(Layer, activation, activation_names)
    REAL(Layer, slope) REAL(Layer, limit) REAL(Layer, up_offset)
    CHOICE(Layer, expert_bias, booleans) CHOICE(Layer, shared_bias, booleans)
    CHOICE(Layer, shared_gated, booleans) REAL(Layer, shared_scale)
    CHOICE(Layer, weights, format_names) CHOICE(Layer, router_weights, router_format_names)
    CHOICE(Layer, compute, compute_names) CHOICE(Layer, activations, interface_names)
    OPTION(Layer, down_weights, own_format_names) OPTION(Layer, shared_weights, own_format_names)
    OPTION(Layer, shared_down_weights, own_format_names)
    OPTION(Layer, post_norm, norm_names) REAL_UNLESS(Layer, post_norm_eps, 1e-6)
    REAL_UNLESS_AS(Layer, shared_limit, limit) OPTION(Layer, limit_place, limit_place_names)
    WIDE_UNLESS(Layer, latent, 0) OPTION(Layer, latent_norm, norm_names) REAL_UNLESS(Layer, latent_norm_eps, 1e-6)
    OPTION(Layer, latent_weights, own_format_names)
    REAL_UNLESS(Layer, gate_softcap, 0) REAL_UNLESS(Layer, up_softcap, 0)
    OPTION(Layer, expert_scale, booleans) OPTION(Layer, output_bias, booleans) OPTION(Layer, output_scale, booleans)
    OPTION(Layer, residual_bias, booleans) OPTION(Layer, residual_scale, booleans) OPTION(Layer, shared_joint, booleans)};
static const Field layout_fields[] = {
    WIDE(Layout, instance_bytes)
    WIDE(Layout, norm_offset) WIDE(Layout, norm_bias_offset) WIDE(Layout, coe_weight_offset) WIDE(Layout, correction_offset)
    WIDE_UNLESS(Layout, post_norm_offset, -1) WIDE_UNLESS(Layout, expert_scale_offset, -1)
    WIDE_UNLESS(Layout, output_bias_offset, -1) WIDE_UNLESS(Layout, output_scale_offset, -1)
    WIDE_UNLESS(Layout, residual_bias_offset, -1) WIDE_UNLESS(Layout, residual_scale_offset, -1)
    WIDE_UNLESS(Layout, latent_norm_offset, -1)};
static const Field schedule_fields[] = {
    WIDE(Schedule, wave_rows) WIDE(Schedule, chunk_tokens) WIDE(Schedule, block_rows) WIDE(Schedule, few_tokens)
    WIDE(Schedule, up_tasks) WIDE(Schedule, down_tasks) WIDE(Schedule, few_up_tasks) WIDE(Schedule, few_down_tasks) WIDE(Schedule, floor_rows)
    CHOICE(Schedule, up_order, order_names) NARROW(Schedule, threads) CHOICE(Schedule, bind, bind_names) CHOICE(Schedule, huge_pages, booleans)};
static const Field role_fields[] = {
    CHOICE(Role, path, paths) NARROW(Role, max_rows) NARROW(Role, wide_rows) NARROW(Role, tile_columns) NARROW(Role, unroll)
    NARROW(Role, prefetch) NARROW(Role, prefetch_far) NARROW(Role, prefetch_hint) NARROW(Role, ahead_hint) NARROW(Role, k_blocks) NARROW(Role, widen_tiles) LAID_CHOICE(weights, format_names) CHOICE(Role, input, form_names)
    CHOICE(Role, round_input, booleans) LAID(matrices) LAID(depth) LAID(depth_padded) LAID(columns)
    LAID(panels) LAID(panel_bytes) LAID(matrix_bytes) WIDE(Role, ahead_bytes) LAID(offset)
    LAID(bias_offset) WIDE(Role, input_stride)
    OPTION(Role, whole_rows, booleans)};
// clang-format on

// A group of fields under one prefix, and where its values are in a plan. Roles that came later are left out where the layer lacks
// them, so that texts from before them stay as they are.
typedef struct Group {
    const char *prefix;
    const Field *fields;
    size_t count;
    size_t base;
} Group;

#define COUNT(array) (sizeof(array) / sizeof *(array))
enum { GROUPS = 3 + ROLE_COUNT };

static Group group_at(int index, const Layer *layer) {
    if (index == 0) {
        return (Group){"layer", layer_fields, COUNT(layer_fields), offsetof(Plan, layer)};
    }
    if (index == 1) {
        return (Group){"plan", layout_fields, COUNT(layout_fields), offsetof(Plan, layout)};
    }
    if (index == 2) {
        return (Group){"plan", schedule_fields, COUNT(schedule_fields), offsetof(Plan, schedule)};
    }
    size_t role = (size_t)index - 3;
    bool left_out = role >= ROLE_LATENT_IN && !plan_has_role(layer, (RoleName)role);
    return (Group){role_names[role], role_fields, left_out ? 0 : COUNT(role_fields), offsetof(Plan, roles) + role * sizeof(Role)};
}

static void print_value(FILE *stream, const Field *field, const char *value) {
    int64_t wide;
    int32_t narrow;
    float real;
    switch (field->type) {
    case FIELD_INT64:
        memcpy(&wide, value, sizeof wide);
        fprintf(stream, "%" PRId64 "\n", wide);
        break;
    case FIELD_INT32:
        memcpy(&narrow, value, sizeof narrow);
        fprintf(stream, "%" PRId32 "\n", narrow);
        break;
    case FIELD_FLOAT:
        memcpy(&real, value, sizeof real);
        fprintf(stream, "%.9g\n", (double)real);
        break;
    case FIELD_NAME:
        memcpy(&narrow, value, sizeof narrow);
        fprintf(stream, "%s\n", field->names[narrow]);
        break;
    }
}

static size_t value_bytes(const Field *field) {
    return field->type == FIELD_INT64 ? sizeof(int64_t) : sizeof(int32_t);
}

// The bytes of the usual value of an optional field of the structure at `owner`.
static void usual_value(const Field *field, const char *owner, char *bytes) {
    int64_t wide = (int64_t)field->absent;
    int32_t narrow = (int32_t)field->absent;
    float real = (float)field->absent;
    if (field->like) {
        memcpy(bytes, owner + field->like - value_bytes(field), value_bytes(field));
        return;
    }
    const void *from = field->type == FIELD_INT64 ? (void *)&wide : field->type == FIELD_FLOAT ? (void *)&real : (void *)&narrow;
    memcpy(bytes, from, value_bytes(field));
}

static bool is_left_out(const Field *field, const char *owner) {
    char usual[sizeof(int64_t)];
    usual_value(field, owner, usual);
    return field->optional && !memcmp(usual, owner + field->offset, value_bytes(field));
}

char *plan_print(const Plan *plan) {
    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    if (!stream) {
        return NULL;
    }
    for (int g = 0; g < GROUPS; g++) {
        Group group = group_at(g, &plan->layer);
        for (size_t f = 0; f < group.count; f++) {
            const char *owner = (const char *)plan + group.base;
            if (!is_left_out(&group.fields[f], owner)) {
                fprintf(stream, "%s.%s ", group.prefix, group.fields[f].name);
                print_value(stream, &group.fields[f], owner + group.fields[f].offset);
            }
        }
    }
    if (fclose(stream)) {
        free(text);
        return NULL;
    }
    return text;
}

static int parse_value(const char *text, const Field *field, char *value) {
    char *end;
    if (field->type == FIELD_NAME) {
        for (int32_t i = 0; field->names[i]; i++) {
            if (!strcmp(field->names[i], text)) {
                memcpy(value, &i, sizeof i);
                return 0;
            }
        }
        return -1;
    }
    if (field->type == FIELD_FLOAT) {
        float real = strtof(text, &end);
        memcpy(value, &real, sizeof real);
        return *end || end == text ? -1 : 0;
    }
    int64_t wide = strtoll(text, &end, 10);
    int32_t narrow = (int32_t)wide;
    if (field->type == FIELD_INT64) {
        memcpy(value, &wide, sizeof wide);
    } else {
        memcpy(value, &narrow, sizeof narrow);
    }
    return *end || end == text || (field->type == FIELD_INT32 && narrow != wide) ? -1 : 0;
}

int plan_parse(const char *text, const char *name, Plan *plan, Diagnostics *diagnostics) {
    memset(plan, 0, sizeof *plan);
    int line = 0;
    for (int g = 0; g < GROUPS; g++) {
        Group group = group_at(g, &plan->layer);
        for (size_t f = 0; f < group.count; f++) {
            const Field *field = &group.fields[f];
            char key[96], found[192];
            size_t length = strcspn(text, "\n"), prefix;
            prefix = (size_t)snprintf(key, sizeof key, "%s.%s ", group.prefix, field->name);
            if (field->optional && strncmp(text, key, prefix)) {
                usual_value(field, (char *)plan + group.base, (char *)plan + group.base + field->offset);
                continue;
            }
            line++;
            snprintf(found, sizeof found, "%.*s", (int)(length < sizeof found ? length : sizeof found - 1), text);
            if (strncmp(found, key, prefix) || parse_value(found + prefix, field, (char *)plan + group.base + field->offset)) {
                diagnostics_add(diagnostics, name, line, 0, "expected '%s<value>', found '%s'", key, found);
                return -1;
            }
            text += length + (text[length] == '\n');
        }
    }
    if (*text) {
        diagnostics_add(diagnostics, name, line + 1, 0, "text after the last field: '%.60s'", text);
        return -1;
    }
    return 0;
}
