// Packing: from tensors in any orientation to panels of 32 output columns (templates/plan.h), and single elements.
#include <assert.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "packed.h"
#include "templates/formats.h"

_Static_assert(FORMAT_BLOCK % PACKED_MXFP4_BLOCK == 0, "blocks are read whole");
_Static_assert(FORMAT_FP8_GROUP == PACKED_FP8_BLOCK, "a group that takes codes over has one scale in the checkpoint");

// What part of a role's columns a tensor fills: consecutive ones, or every other group of 8 (gate the even groups, up the odd
// ones).
typedef enum Part { PART_ALL, PART_GATE, PART_UP } Part;

// Where a tensor's rows lie. A vector is fp32: one row of whole panels per matrix of its role, or outside the roles just its rows.
typedef struct Place {
    const Role *role;  // NULL: a vector outside the roles
    Part part;
    bool vector;
    int64_t rows;
    int64_t first;   // column of row 0
    int64_t end;     // the columns up to here are this tensor's to write: behind its rows zeros
    int64_t offset;  // of a vector
} Place;

static Place place_role(const Role *role, int64_t rows) {
    return (Place){role, PART_ALL, false, rows, 0, role->layout.panels * PANEL_COLUMNS, -1};
}

// An expert's matrix, or its bias.
static Place place_expert(const Role *role, bool bias, int64_t rows) {
    Place place = place_role(role, rows);
    place.vector = bias;
    place.offset = role->layout.bias_offset;
    return place;
}

static Place place_gate_up(const Plan *plan, RoleName name, bool up, bool bias, int64_t rows) {
    Place place = place_expert(&plan->roles[name], bias, rows);
    place.part = !plan->layer.gated ? PART_ALL : up ? PART_UP : PART_GATE;
    return place;
}

// The shared experts' gates share the router's product, not its bias: theirs is zero.
static Place place_router(const Plan *plan, Tensor tensor) {
    int64_t choices = layer_choices(&plan->layer), columns = layer_router_columns(&plan->layer);
    Place place = place_role(&plan->roles[ROLE_ROUTER], choices);
    if (tensor == TENSOR_ROUTER) {
        place.end = columns > choices ? choices : place.end;
    } else if (tensor == TENSOR_SHARED_EXPERT_GATE) {
        place.first = choices;
        place.rows = columns - choices;
    } else {
        place.vector = true;
        place.offset = tensor == TENSOR_CORRECTION ? plan->layout.correction_offset : place.role->layout.bias_offset;
    }
    return place;
}

static Place place_vector(int64_t offset, int64_t rows) {
    return (Place){NULL, PART_ALL, true, rows, 0, rows, offset};
}

static Place place_of(const Plan *plan, Tensor tensor) {
    const Layer *layer = &plan->layer;
    switch (tensor) {
    case TENSOR_NORM: return place_vector(plan->layout.norm_offset, layer->hidden);
    case TENSOR_NORM_BIAS: return place_vector(plan->layout.norm_bias_offset, layer->hidden);
    case TENSOR_COE_WEIGHT: return place_vector(plan->layout.coe_weight_offset, layer->iterations - 1);
    case TENSOR_ROUTER:
    case TENSOR_ROUTER_BIAS:
    case TENSOR_CORRECTION:
    case TENSOR_SHARED_EXPERT_GATE: return place_router(plan, tensor);
    case TENSOR_GATE: return place_gate_up(plan, ROLE_GATE_UP, false, false, layer->intermediate);
    case TENSOR_UP: return place_gate_up(plan, ROLE_GATE_UP, true, false, layer->intermediate);
    case TENSOR_GATE_BIAS: return place_gate_up(plan, ROLE_GATE_UP, false, true, layer->intermediate);
    case TENSOR_UP_BIAS: return place_gate_up(plan, ROLE_GATE_UP, true, true, layer->intermediate);
    case TENSOR_DOWN:
    case TENSOR_DOWN_BIAS: return place_expert(&plan->roles[ROLE_DOWN], tensor == TENSOR_DOWN_BIAS, layer_pool_width(layer));
    case TENSOR_SHARED_GATE: return place_gate_up(plan, ROLE_SHARED_GATE_UP, false, false, layer->shared_intermediate);
    case TENSOR_SHARED_UP: return place_gate_up(plan, ROLE_SHARED_GATE_UP, true, false, layer->shared_intermediate);
    case TENSOR_SHARED_GATE_BIAS: return place_gate_up(plan, ROLE_SHARED_GATE_UP, false, true, layer->shared_intermediate);
    case TENSOR_SHARED_UP_BIAS: return place_gate_up(plan, ROLE_SHARED_GATE_UP, true, true, layer->shared_intermediate);
    case TENSOR_SHARED_DOWN:
    case TENSOR_SHARED_DOWN_BIAS:
        return place_expert(&plan->roles[ROLE_SHARED_DOWN], tensor == TENSOR_SHARED_DOWN_BIAS, layer->hidden);
    case TENSOR_POST_NORM: return place_vector(plan->layout.post_norm_offset, layer->hidden);
    case TENSOR_EXPERT_SCALE: return place_vector(plan->layout.expert_scale_offset, layer->experts);
    case TENSOR_OUTPUT_BIAS: {  // added to whole panels
        Place place = place_vector(plan->layout.output_bias_offset, layer->hidden);
        place.end = plan_round_up(layer->hidden, PANEL_COLUMNS);
        return place;
    }
    case TENSOR_OUTPUT_SCALE: return place_vector(plan->layout.output_scale_offset, layer->hidden);
    case TENSOR_RESIDUAL_BIAS: return place_vector(plan->layout.residual_bias_offset, layer->hidden);
    case TENSOR_RESIDUAL_SCALE: return place_vector(plan->layout.residual_scale_offset, layer->hidden);
    case TENSOR_LATENT_IN: return place_role(&plan->roles[ROLE_LATENT_IN], layer->latent);
    case TENSOR_LATENT_NORM: return place_vector(plan->layout.latent_norm_offset, layer->latent);
    case TENSOR_LATENT_OUT: return place_role(&plan->roles[ROLE_LATENT_OUT], layer->hidden);
    case TENSOR_COUNT: break;
    }
    return place_vector(-1, 0);
}

// Copies of a tensor's matrix within an instance: every router matrix has the shared experts' gates beside it.
static int64_t copies_of(const Plan *plan, Tensor tensor) {
    return tensor == TENSOR_SHARED_EXPERT_GATE ? plan->roles[ROLE_ROUTER].layout.matrices : 1;
}

bool packed_shape(const Plan *plan, Tensor tensor, PackedShape *shape) {
    if (!layer_has_tensor(&plan->layer, tensor)) {
        return false;
    }
    Place place = place_of(plan, tensor);
    shape->matrices = !place.role || tensor == TENSOR_SHARED_EXPERT_GATE ? 1 : place.role->layout.matrices;
    shape->rows = place.rows;
    shape->columns = place.vector ? 1 : place.role->layout.depth;
    shape->vector = place.vector;
    shape->format = place.vector ? FORMAT_FP32 : (Format)place.role->layout.weights;
    return true;
}

// Output column of a role that holds a tensor's row.
static int64_t column_of(const Place *place, int64_t row) {
    return place->part == PART_ALL
               ? place->first + row
               : row / PANEL_GROUP * 2 * PANEL_GROUP + (place->part == PART_UP ? PANEL_GROUP : 0) + row % PANEL_GROUP;
}

// Where an element is: of a matrix its panel, k and column; of a vector, which is fp32, its bytes.
typedef struct Element {
    uint8_t *bytes;
    Format format;
    int64_t k;
    int column;
} Element;

static Element element_of(const Place *place, uint8_t *instance, int64_t matrix, int64_t row, int64_t k) {
    const Role *role = place->role;
    int64_t column = column_of(place, row);
    if (place->vector) {
        int64_t offset = place->offset + ((role ? matrix * role->layout.panels * PANEL_COLUMNS : 0) + column) * 4;
        return (Element){.bytes = instance + offset, .format = FORMAT_FP32};
    }
    int64_t panel = role->layout.offset + matrix * role->layout.matrix_bytes + column / PANEL_COLUMNS * role->layout.panel_bytes;
    return (Element){instance + panel, (Format)role->layout.weights, k, (int)(column % PANEL_COLUMNS)};
}

void packed_set(const Plan *plan, uint8_t *instance, Tensor tensor, int64_t matrix, int64_t row, int64_t column, float value) {
    Place place = place_of(plan, tensor);
    for (int64_t copy = 0; copy < copies_of(plan, tensor); copy++) {
        Element element = element_of(&place, instance, matrix + copy, row, column);
        FormatRun run = {.k = element.k, .depth = 1, .count = 1, .columns = &element.column, .values = &value, .stride = 1};
        assert(!format_facts[element.format].group);
        format_pack(element.format, element.bytes, &run);
    }
}

float packed_get(const Plan *plan, const uint8_t *instance, Tensor tensor, int64_t matrix, int64_t row, int64_t column) {
    Place place = place_of(plan, tensor);
    Element element = element_of(&place, (uint8_t *)instance, matrix, row, column);
    return (float)format_value(element.format, element.bytes, element.k, element.column);
}

// The lanes of one panel that a tensor writes: consecutive rows from `row` on, then zeros.
typedef struct Slice {
    int lanes[PANEL_COLUMNS];
    int count;
    int filled;  // lanes with a row of the tensor
    int64_t row;
} Slice;

static Slice slice_of(const Place *place, int64_t panel) {
    Slice slice = {.count = PANEL_COLUMNS / 2, .row = panel * (PANEL_COLUMNS / 2)};
    if (place->part == PART_ALL) {
        int64_t begin = panel * PANEL_COLUMNS, end = begin + PANEL_COLUMNS;
        begin = begin < place->first ? place->first : begin;
        end = end < place->end ? end : place->end;
        slice.row = begin - place->first;
        slice.count = begin < end ? (int)(end - begin) : 0;
    }
    for (int c = 0; c < slice.count; c++) {
        slice.lanes[c] = (int)(column_of(place, slice.row + c) % PANEL_COLUMNS);
    }
    int64_t left = place->rows - slice.row;
    slice.filled = left < 0 ? 0 : left < slice.count ? (int)left : slice.count;
    return slice;
}

// Notes the first position (row * columns + column) of a part of the matrix that the format cannot hold. Minus infinity is no such
// number where `excludes`.
static void note_beyond(const PackedSource *source, int64_t row, int64_t rows, int64_t k, int64_t depth, int64_t columns,
                        float limit, bool excludes, int64_t *found) {
    for (int64_t i = 0; i < rows * depth && *found < 0; i++) {
        float value = packed_source_get(source, row + i / depth, k + i % depth);
        if (!(fabsf(value) <= limit) && !(excludes && value == -INFINITY)) {
            *found = (row + i / depth) * columns + k + i % depth;
        }
    }
}

// Converts `rows` rows and `depth` columns from (row, k) on, into rows of `stride`. What lies side by side is read side by side.
static bool read_block(const PackedSource *source, int64_t row, int64_t rows, int64_t k, int64_t depth, float limit, float *block,
                       int64_t stride) {
    bool beyond = false;
    if (source->column_step == 1) {
        for (int64_t c = 0; c < rows; c++) {
            beyond |= packed_source_read(source, row + c, k, false, depth, limit, block + c * stride);
        }
        return beyond;
    }
    for (int64_t i = 0; i < depth; i++) {
        float side[PANEL_COLUMNS];
        beyond |= packed_source_read(source, row, k + i, true, rows, limit, side);
        for (int64_t c = 0; c < rows; c++) {
            block[c * stride + i] = side[c];
        }
    }
    return beyond;
}

// Codes that the format takes over as they are: those of the encoding that it is made for, as long as nothing is added to them.
static bool takes_codes(Format format, const PackedSource *source) {
    return source->encoding != ENCODING_PLAIN && format_facts[format].takes == (int32_t)source->encoding && source->add == 0;
}

static void point_at_codes(const PackedSource *source, const Slice *slice, FormatRun *run) {
    run->coded = 1;
    run->code_step = source->column_step;
    for (int c = 0; c < slice->filled; c++) {
        int64_t row = slice->row + c;
        run->codes[c] = (const uint8_t *)source->data + source->first + row * source->row_step + run->k * source->column_step;
        run->scales[c] = packed_source_scale(source, row, run->k);
    }
}

// Notes codes that were taken over and have become no numbers: their scale is too large for what the format makes of it.
static void note_scales(Format format, const uint8_t *panel, int64_t k, const Slice *slice, int64_t columns, int64_t *found) {
    for (int c = 0; c < slice->filled && *found < 0; c++) {
        if (!isfinite(format_value(format, panel, k, slice->lanes[c]))) {
            *found = (slice->row + c) * columns + k;
        }
    }
}

static void pack_panel(const Role *role, uint8_t *panel, const Slice *slice, const PackedSource *source, int64_t *found) {
    Format format = (Format)role->layout.weights;
    const FormatFacts *facts = &format_facts[format];
    int64_t stride = facts->group > FORMAT_BLOCK ? facts->group : FORMAT_BLOCK;
    float block[PANEL_COLUMNS * FORMAT_MAX_GROUP];
    memset(block, 0, (size_t)(PANEL_COLUMNS * stride) * sizeof *block);
    for (int64_t k = 0; k < role->layout.depth_padded; k += stride) {
        int64_t padded = role->layout.depth_padded - k < stride ? role->layout.depth_padded - k : stride;
        int64_t depth = role->layout.depth - k < padded ? role->layout.depth - k : padded;
        if (read_block(source, slice->row, slice->filled, k, depth, facts->largest, block, stride)) {
            note_beyond(source, slice->row, slice->filled, k, depth, role->layout.depth, facts->largest, false, found);
        }
        for (int c = 0; c < slice->filled && depth < padded; c++) {
            memset(block + c * stride + depth, 0, (size_t)(padded - depth) * sizeof *block);
        }
        FormatRun run = {
            .k = k, .depth = padded, .count = slice->count, .columns = slice->lanes, .values = block, .stride = stride};
        if (takes_codes(format, source)) {
            point_at_codes(source, slice, &run);
            run.filled = depth;
        }
        format_pack(format, panel, &run);
        if (run.coded) {
            note_scales(format, panel, k, slice, role->layout.depth, found);
        }
    }
}

// A panel's part of a vector; outside the roles the vector goes in parts of a panel too. A correction or a router's bias of minus
// infinity excludes a choice.
static void pack_elements(float *out, const Slice *slice, const PackedSource *source, Tensor tensor, int64_t *found) {
    float values[PANEL_COLUMNS] = {0};
    bool excludes = tensor == TENSOR_CORRECTION || tensor == TENSOR_ROUTER_BIAS;
    if (packed_source_read(source, slice->row, 0, true, slice->filled, FLT_MAX, values)) {
        note_beyond(source, slice->row, slice->filled, 0, 1, 1, FLT_MAX, excludes, found);
    }
    for (int c = 0; c < slice->count; c++) {
        out[slice->lanes[c]] = values[c];
    }
}

int64_t packed_matrix(const Plan *plan, uint8_t *instance, Tensor tensor, int64_t matrix, const PackedSource *source) {
    Place place = place_of(plan, tensor);
    const Role *role = place.role;
    int64_t found = -1, panels = role ? role->layout.panels : plan_round_up(place.rows, PANEL_COLUMNS) / PANEL_COLUMNS;
    for (int64_t copy = 0; copy < copies_of(plan, tensor); copy++) {
        for (int64_t p = 0; p < panels; p++) {
            Slice slice = slice_of(&place, p);
            if (place.vector) {
                float *vector = (float *)(instance + place.offset);
                pack_elements(vector + (matrix * panels + p) * PANEL_COLUMNS, &slice, source, tensor, &found);
            } else if (slice.count) {
                uint8_t *panel =
                    instance + role->layout.offset + (matrix + copy) * role->layout.matrix_bytes + p * role->layout.panel_bytes;
                pack_panel(role, panel, &slice, source, &found);
            }
        }
    }
    return found;
}
