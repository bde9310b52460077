// See plant.h. Of the fields of a description every one is a fault that the skeleton can have by reading it wrongly; of the tensors
// every one can be read in a wrong place; of the tiles every height of every role is code of its own in a library.
#include "plant.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/packed.h"
#include "templates/formats.h"
#include "templates/forms.h"

extern Plan layer_plan;
extern void (*tile_spoil)(RoleName name, const Role *role, int64_t rows, int64_t panels, const void *a, const void *w, float *out);

enum { MOST_PLANTS = 1024 };

// --- fields ------------------------------------------------------------------------------------------------------------------

// Fields that decide how weights lie, what callers give, or nothing that can be computed wrongly.
static int is_no_arithmetic(const char *name) {
    static const char *const names[] = {"weights",     "down_weights", "compute",    "activations", "gated",
                                        "k_per_token", "k_min",        "expected_k", "hidden",      "count",
                                        "k",           "intermediate", "identity",   "null"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!strcmp(names[i], name)) {
            return 1;
        }
    }
    return 0;
}

static void change(const Key *key, ModelLayer *entry) {
    void *field = (char *)entry + key->offset;
    float value;
    switch (key->type) {
    case KEY_FLAG: *(int32_t *)field = !*(int32_t *)field; break;
    case KEY_INTEGER: *(int64_t *)field -= 1; break;
    case KEY_CHOICE:
        *(int32_t *)field = *(int32_t *)field && !key->choices[*(int32_t *)field + 1] ? 0 : *(int32_t *)field + 1;
        break;
    case KEY_REAL:
        value = *(float *)field;
        value += value == 0 ? 0.02f : 0.02f * value;
        *(float *)field = (double)value > key->maximum ? *(float *)field * 0.98f : value;
        break;
    default: break;
    }
}

// Whether a field that is read wrongly computes the same: ranking by logits or by scores, one router for the one iteration, the k
// best of those above a threshold that nearly all are above.
static int changes_nothing(const Key *key, const Layer *layer, const Layer *other) {
    return (!strcmp(key->name, "rank") && !layer->correction) || (!strcmp(key->name, "per_iteration") && layer->iterations == 1) ||
           (!strcmp(key->name, "select") && other->selection == SELECTION_THRESHOLD);
}

static int lacks_tensor(const Layer *layer, const Layer *other) {
    for (Tensor tensor = 0; tensor < TENSOR_COUNT; tensor++) {
        if (layer_has_tensor(other, tensor) && !layer_has_tensor(layer, tensor)) {
            return 1;
        }
    }
    return 0;
}

static void list_fields(const Kind *kind, Plant *list, int *count) {
    const Key *keys[DRAW_MAX_KEYS];
    int fields = draw_keys(keys);
    for (int i = 0; i < fields; i++) {
        ModelLayer *entry = calloc(1, sizeof *entry);
        ck_assert_ptr_nonnull(entry);
        entry->layer = kind->plan.layer;
        change(keys[i], entry);
        int meant = !is_no_arithmetic(keys[i]->name) && !draw_accept(&entry->layer);
        meant = meant && !changes_nothing(keys[i], &kind->plan.layer, &entry->layer);
        if (meant && memcmp(&entry->layer, &kind->plan.layer, sizeof entry->layer) &&
            !lacks_tensor(&kind->plan.layer, &entry->layer)) {
            Plant *plant = &list[(*count)++];
            *plant = (Plant){.kind = PLANT_FIELD, .other = entry->layer};
            snprintf(plant->words, sizeof plant->words, "another %s at %zu", keys[i]->name, keys[i]->offset);
        }
        free(entry);
    }
}

// --- weights -----------------------------------------------------------------------------------------------------------------

static void list_weights(const Kind *kind, Plant *list, int *count) {
    static const char *const words[] = {
#define PLANT_WORDS(enumerator, words) words,
        DAMAGE_LIST(PLANT_WORDS)};
    for (Tensor tensor = 0; tensor < TENSOR_COUNT; tensor++) {
        PackedShape shape;
        RoleName role = plan_tensor_role(tensor);
        int there = packed_shape(&kind->plan, tensor, &shape);
        there = there && (role == ROLE_COUNT || !format_facts[kind->plan.roles[role].layout.weights].group);  // packed_set
        for (Damage damage = 0; there && damage < DAMAGE_COUNT; damage++) {
            int matrices = damage == DAMAGE_MATRICES, small = damage < DAMAGE_ROWS && tensor == TENSOR_CORRECTION;
            if ((matrices ? shape.matrices : shape.rows) < 2 - (damage < DAMAGE_ROWS) || small) {
                continue;  // a small change of a correction changes choices of no token, as a rule
            }
            Plant *plant = &list[(*count)++];
            *plant = (Plant){.kind = PLANT_WEIGHT, .tensor = tensor, .damage = damage};
            snprintf(plant->words, sizeof plant->words, "%s: %s", layer_tensor_key(tensor), words[damage]);
        }
    }
}

static void swap(const Plan *plan, uint8_t *instance, Tensor tensor, const int64_t a[2], const int64_t b[2], int64_t columns) {
    for (int64_t k = 0; k < columns; k++) {
        float value = packed_get(plan, instance, tensor, a[0], a[1], k);
        packed_set(plan, instance, tensor, a[0], a[1], k, packed_get(plan, instance, tensor, b[0], b[1], k));
        packed_set(plan, instance, tensor, b[0], b[1], k, value);
    }
}

// The first and last rows take turns, and so do the first matrices.
static void damage_weights(const Plant *plant, const Plan *plan, uint8_t *instance) {
    PackedShape shape;
    Tensor tensor = plant->tensor;
    packed_shape(plan, tensor, &shape);
    int64_t matrix = plant->damage % shape.matrices, row = (shape.rows - 1) * (plant->damage % 2), last = shape.rows - 1;
    // Where activations are rounded to bf16, one such step of one weight is no more than that.
    float step = plan->layer.compute == COMPUTE_BF16 ? 1.0625f : 1.0078125f;
    int64_t column = 0;
    for (int64_t i = 0; i < (shape.vector ? shape.rows : shape.columns); i++) {  // the greatest: not one that rounding hides
        int64_t r = shape.vector ? i : row, k = shape.vector ? 0 : i;
        if (fabsf(packed_get(plan, instance, tensor, matrix, r, k)) >
            fabsf(packed_get(plan, instance, tensor, matrix, row, column))) {
            row = r;
            column = k;
        }
    }
    float value = packed_get(plan, instance, tensor, matrix, row, column);
    switch (plant->damage) {
    case DAMAGE_STEP: packed_set(plan, instance, tensor, matrix, row, column, value * step); break;
    case DAMAGE_SIGN: packed_set(plan, instance, tensor, matrix, row, column, -value); break;
    case DAMAGE_ZERO: packed_set(plan, instance, tensor, matrix, row, column, 0); break;
    case DAMAGE_ROWS:
        swap(plan, instance, tensor, (int64_t[]){matrix, 0}, (int64_t[]){matrix, last > 1 ? 1 : last}, shape.columns);
        break;
    case DAMAGE_MATRICES:
        for (int64_t r = 0; r < shape.rows; r++) {
            swap(plan, instance, tensor, (int64_t[]){0, r}, (int64_t[]){1, r}, shape.columns);
        }
        break;
    case DAMAGE_COUNT: break;
    }
}

// --- tiles -------------------------------------------------------------------------------------------------------------------

// Each height of each role once; what goes wrong there takes turns.
static void list_tiles(const Kind *kind, Plant *list, int *count) {
    static const char *const words[] = {SPOIL_LIST(PLANT_WORDS)};
    for (RoleName role = 0; role < ROLE_COUNT; role++) {
        int64_t highest = kind->plan.roles[role].layout.matrices ? kind->plan.roles[role].max_rows : 0;
        for (int64_t rows = 1; rows <= highest; rows++) {
            Spoil spoil = (Spoil)((rows + 3 * role) % SPOIL_COUNT);
            int alone = rows == 1 && spoil == SPOIL_NEIGHBOUR, narrow = kind->plan.roles[role].layout.panels < 2;
            spoil = alone || (spoil == SPOIL_PANEL && (narrow || rows > kind->plan.roles[role].wide_rows)) ? SPOIL_LANE : spoil;
            Plant *plant = &list[(*count)++];
            *plant = (Plant){.kind = PLANT_TILE, .role = role, .rows = rows, .spoil = spoil};
            snprintf(plant->words, sizeof plant->words, "%s, tiles of %lld rows: %s", role_names[role], (long long)rows,
                     words[spoil]);
        }
    }
}

static const Plant *planted;
static float left_over;  // of the tile before

static void spoil_tile(RoleName name, const Role *role, int64_t rows, int64_t panels, const void *a, const void *w, float *out) {
    const Plant *plant = planted;
    int64_t columns = role->layout.columns < PANEL_COLUMNS ? role->layout.columns : PANEL_COLUMNS;
    int64_t lane = (rows * 5 + name) % columns, other = name == ROLE_ROUTER ? 2 : PANEL_GROUP, k = role->layout.depth - 1;
    float *last = out + (rows - 1) * TILE_STRIDE, first = out[0];
    if (name != plant->role || rows != plant->rows) {
        left_over = first;
        return;
    }
    switch (plant->spoil) {
    case SPOIL_LANE: last[lane] *= 1.01f; break;
    case SPOIL_BF16:
        for (int64_t c = 0; c < panels * PANEL_COLUMNS; c++) {
            out[c] = packed_float_from_bf16(packed_bf16_from_float(out[c]));
        }
        break;
    case SPOIL_DROPPED: memset(last, 0, (size_t)(panels * PANEL_COLUMNS) * sizeof *last); break;
    case SPOIL_STALE: out[0] += left_over; break;
    case SPOIL_SHORT:
        for (int64_t c = 0; c < PANEL_COLUMNS; c++) {
            out[c] -= form_value(role, a, k) * (float)format_value((Format)role->layout.weights, w, k, (int)c);
        }
        break;
    case SPOIL_SWAPPED:
        out[0] = out[other];
        out[other] = first;
        break;
    case SPOIL_NEIGHBOUR: memcpy(last, out, (size_t)(panels * PANEL_COLUMNS) * sizeof *last); break;
    case SPOIL_PANEL:
        for (int64_t r = 0; r < rows && panels > 1; r++) {
            memcpy(out + r * TILE_STRIDE + PANEL_COLUMNS, out + r * TILE_STRIDE, PANEL_COLUMNS * sizeof *out);
        }
        break;
    case SPOIL_COUNT: break;
    }
    left_over = first;
}

// --- libraries ---------------------------------------------------------------------------------------------------------------

static const Kind *planted_kind;
static void *damaged;

// The skeleton asks the layout, not the layer, whether there are biases.
static void plan_other(const Plant *plant) {
    Role *roles = layer_plan.roles;
    const struct {
        int64_t *offset;
        int there;
    } biases[] = {{&roles[ROLE_ROUTER].layout.bias_offset, plant->other.router_bias},
                  {&roles[ROLE_GATE_UP].layout.bias_offset, plant->other.expert_bias},
                  {&roles[ROLE_DOWN].layout.bias_offset, plant->other.expert_bias},
                  {&roles[ROLE_SHARED_GATE_UP].layout.bias_offset, plant->other.shared_bias},
                  {&roles[ROLE_SHARED_DOWN].layout.bias_offset, plant->other.shared_bias},
                  {&layer_plan.layout.norm_bias_offset, plant->other.norm_bias}};
    for (size_t i = 0; i < sizeof biases / sizeof *biases; i++) {
        *biases[i].offset = biases[i].there ? *biases[i].offset : -1;
    }
    layer_plan.layer = plant->other;
}

static Status open_planted(const void *packed, size_t bytes, const Options *options, Library **out, char *error,
                           size_t error_size) {
    const Plan *plan = &planted_kind->plan;
    if (planted && planted->kind == PLANT_WEIGHT && !damaged) {
        ck_assert_int_eq(posix_memalign(&damaged, 4096, bytes), 0);
        memcpy(damaged, packed, bytes);
        damage_weights(planted, plan, packed_image_instance(damaged, 0, 0));
    }
    Status status = native_library(planted_kind)->open_memory(damaged ? damaged : packed, bytes, options, out, error, error_size);
    if (planted && planted->kind == PLANT_FIELD) {
        plan_other(planted);
    }
    tile_spoil = planted && planted->kind == PLANT_TILE ? spoil_tile : NULL;
    return status;
}

Loaded plant_library(const Kind *kind, const Plant *plant) {
    Loaded library = *native_library(kind);
    plant_remove();
    planted_kind = kind;
    planted = plant;
    library.open_memory = open_planted;
    return library;
}

void plant_remove(void) {
    free(damaged);
    damaged = NULL;
    planted = NULL;
    tile_spoil = NULL;
    left_over = 0;
}

Plant *plant_list(const Kind *kind, int *count) {
    Plant *list = calloc(MOST_PLANTS, sizeof *list);
    ck_assert_ptr_nonnull(list);
    *count = 0;
    list_fields(kind, list, count);
    list_weights(kind, list, count);
    list_tiles(kind, list, count);
    ck_assert_int_lt(*count, MOST_PLANTS);
    return list;
}
