// Packing: from tensors in checkpoint orientation to panels of 32 output columns (templates/plan.h), and single elements.
#include <math.h>
#include <string.h>

#include "packed.h"

enum { BLOCK_DEPTH = 64 };  // k values that are converted together; a block of 32 columns fits L1

uint16_t packed_bf16_from_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return (uint16_t)(bits >> 16 | 0x40);  // quiet, and never rounded to infinity
    }
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

float packed_float_from_bf16(uint16_t bits) {
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

float packed_float_from_fp16(uint16_t bits) {
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = bits >> 10 & 31, fraction = bits & 0x3ff, wide;
    if (exponent == 31) {
        wide = sign | 0x7f800000u | fraction << 13;
    } else if (exponent) {
        wide = sign | (exponent + 112) << 23 | fraction << 13;
    } else {
        float magnitude = (float)fraction * 0x1p-24f;  // subnormal (or zero): exact in fp32
        memcpy(&wide, &magnitude, sizeof wide);
        wide |= sign;
    }
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

float packed_number_get(const void *source, int64_t index, Number number) {
    const uint8_t *bytes = (const uint8_t *)source + index * number_bytes(number);
    if (number == NUMBER_FP32) {
        float value;
        memcpy(&value, bytes, sizeof value);
        return value;
    }
    uint16_t bits;
    memcpy(&bits, bytes, sizeof bits);
    return number == NUMBER_BF16 ? packed_float_from_bf16(bits) : packed_float_from_fp16(bits);
}

// What part of a role's columns a tensor fills: all of them, or every other group of 8 (gate the even groups, up the odd ones).
typedef enum Part { PART_ALL, PART_GATE, PART_UP } Part;

typedef struct Place {
    const Role *role;  // NULL: a norm vector
    Part part;
    bool bias;
    int64_t rows;
} Place;

static Place place_gate_up(const Plan *plan, RoleName role, bool up, bool bias, int64_t rows) {
    Part part = !plan->layer.gated ? PART_ALL : up ? PART_UP : PART_GATE;
    return (Place){&plan->roles[role], part, bias, rows};
}

static Place place_of(const Plan *plan, Tensor tensor) {
    const Layer *layer = &plan->layer;
    switch (tensor) {
    case TENSOR_ROUTER:
    case TENSOR_ROUTER_BIAS: return (Place){&plan->roles[ROLE_ROUTER], PART_ALL, tensor == TENSOR_ROUTER_BIAS, layer->experts};
    case TENSOR_GATE: return place_gate_up(plan, ROLE_GATE_UP, false, false, layer->intermediate);
    case TENSOR_UP: return place_gate_up(plan, ROLE_GATE_UP, true, false, layer->intermediate);
    case TENSOR_GATE_BIAS: return place_gate_up(plan, ROLE_GATE_UP, false, true, layer->intermediate);
    case TENSOR_UP_BIAS: return place_gate_up(plan, ROLE_GATE_UP, true, true, layer->intermediate);
    case TENSOR_DOWN:
    case TENSOR_DOWN_BIAS: return (Place){&plan->roles[ROLE_DOWN], PART_ALL, tensor == TENSOR_DOWN_BIAS, layer->hidden};
    case TENSOR_SHARED_GATE: return place_gate_up(plan, ROLE_SHARED_GATE_UP, false, false, layer->shared_intermediate);
    case TENSOR_SHARED_UP: return place_gate_up(plan, ROLE_SHARED_GATE_UP, true, false, layer->shared_intermediate);
    case TENSOR_SHARED_GATE_BIAS: return place_gate_up(plan, ROLE_SHARED_GATE_UP, false, true, layer->shared_intermediate);
    case TENSOR_SHARED_UP_BIAS: return place_gate_up(plan, ROLE_SHARED_GATE_UP, true, true, layer->shared_intermediate);
    case TENSOR_SHARED_DOWN:
    case TENSOR_SHARED_DOWN_BIAS:
        return (Place){&plan->roles[ROLE_SHARED_DOWN], PART_ALL, tensor == TENSOR_SHARED_DOWN_BIAS, layer->hidden};
    case TENSOR_NORM:
    case TENSOR_NORM_BIAS:
    case TENSOR_COUNT: break;
    }
    return (Place){NULL, PART_ALL, true, layer->hidden};
}

bool packed_shape(const Plan *plan, Tensor tensor, PackedShape *shape) {
    if (!layer_has_tensor(&plan->layer, tensor)) {
        return false;
    }
    Place place = place_of(plan, tensor);
    shape->matrices = place.role ? place.role->matrices : 1;
    shape->rows = place.rows;
    shape->columns = place.bias ? 1 : place.role->depth;
    shape->vector = place.bias;
    return true;
}

// Output column of a role that holds a tensor's row.
static int64_t column_of(Part part, int64_t row) {
    return part == PART_ALL ? row : row / PANEL_GROUP * 2 * PANEL_GROUP + (part == PART_UP ? PANEL_GROUP : 0) + row % PANEL_GROUP;
}

// Byte offset of an element within an instance; *format says how it is stored.
static int64_t element_offset(const Plan *plan, Tensor tensor, int64_t matrix, int64_t row, int64_t k, Format *format) {
    Place place = place_of(plan, tensor);
    const Role *role = place.role;
    *format = FORMAT_FP32;
    if (!role) {
        return (tensor == TENSOR_NORM ? plan->norm_offset : plan->norm_bias_offset) + row * 4;
    }
    int64_t column = column_of(place.part, row);
    if (place.bias) {
        return role->bias_offset + (matrix * role->panels * PANEL_COLUMNS + column) * 4;
    }
    *format = (Format)role->weights;
    int64_t panel = role->offset + matrix * role->matrix_bytes + column / PANEL_COLUMNS * role->panel_bytes;
    int64_t lane = column % PANEL_COLUMNS;
    if (*format == FORMAT_BF16) {
        return panel + (k / 2 * PANEL_COLUMNS * 2 + lane * 2 + k % 2) * 2;
    }
    return panel + (k * PANEL_COLUMNS + lane) * 4;
}

void packed_set(const Plan *plan, uint8_t *instance, Tensor tensor, int64_t matrix, int64_t row, int64_t column, float value) {
    Format format;
    uint8_t *element = instance + element_offset(plan, tensor, matrix, row, column, &format);
    if (format == FORMAT_BF16) {
        uint16_t bits = packed_bf16_from_float(value);
        memcpy(element, &bits, sizeof bits);
    } else {
        memcpy(element, &value, sizeof value);
    }
}

float packed_get(const Plan *plan, const uint8_t *instance, Tensor tensor, int64_t matrix, int64_t row, int64_t column) {
    Format format;
    const uint8_t *element = instance + element_offset(plan, tensor, matrix, row, column, &format);
    return packed_number_get(element, 0, format == FORMAT_BF16 ? NUMBER_BF16 : NUMBER_FP32);
}

// Converts `count` numbers from `source[first]` on; returns whether one of them is NaN.
static bool convert(const void *source, int64_t first, int64_t count, Number number, float *out) {
    if (number == NUMBER_FP32) {
        memcpy(out, (const uint8_t *)source + first * 4, (size_t)count * 4);
    } else {
        for (int64_t i = 0; i < count; i++) {
            out[i] = packed_number_get(source, first + i, number);
        }
    }
    int unordered = 0;
    for (int64_t i = 0; i < count; i++) {
        unordered |= out[i] != out[i];
    }
    return unordered != 0;
}

static void note_nan(const void *source, int64_t first, int64_t count, Number number, int64_t *found) {
    for (int64_t i = first; i < first + count && *found < 0; i++) {
        if (isnan(packed_number_get(source, i, number))) {
            *found = i;
        }
    }
}

// Writes the lanes that a tensor owns of `depth` k values of a panel: block is [lane][BLOCK_DEPTH].
static void write_lanes(uint8_t *panel, Format format, int64_t k, int64_t depth, const int *lanes, int count,
                        const float block[][BLOCK_DEPTH]) {
    for (int64_t i = 0; i < depth; i++) {
        if (format == FORMAT_BF16) {
            uint16_t *out = (uint16_t *)panel + (k + i) / 2 * PANEL_COLUMNS * 2 + (k + i) % 2;
            for (int c = 0; c < count; c++) {
                out[lanes[c] * 2] = packed_bf16_from_float(block[c][i]);
            }
        } else {
            float *out = (float *)panel + (k + i) * PANEL_COLUMNS;
            for (int c = 0; c < count; c++) {
                out[lanes[c]] = block[c][i];
            }
        }
    }
}

// One panel: row_of[c] is the source's row for the tensor's c-th lane, or -1 for padding.
static void pack_panel(const Role *role, uint8_t *panel, const int *lanes, const int64_t *row_of, int count, const void *source,
                       Number number, int64_t *found) {
    float block[PANEL_COLUMNS][BLOCK_DEPTH];
    for (int64_t k = 0; k < role->depth_padded; k += BLOCK_DEPTH) {
        int64_t padded = role->depth_padded - k < BLOCK_DEPTH ? role->depth_padded - k : BLOCK_DEPTH;
        int64_t depth = role->depth - k < padded ? role->depth - k : padded;
        for (int c = 0; c < count; c++) {
            memset(block[c], 0, sizeof block[c]);
            int64_t first = row_of[c] * role->depth + k;
            if (row_of[c] >= 0 && convert(source, first, depth, number, block[c])) {
                note_nan(source, first, depth, number, found);
            }
        }
        write_lanes(panel, (Format)role->weights, k, padded, lanes, count, (const float(*)[BLOCK_DEPTH])block);
    }
}

static int64_t pack_norm(const Plan *plan, uint8_t *instance, Tensor tensor, const void *source, Number number) {
    int64_t found = -1, hidden = plan->layer.hidden;
    float *out = (float *)(instance + (tensor == TENSOR_NORM ? plan->norm_offset : plan->norm_bias_offset));
    if (convert(source, 0, hidden, number, out)) {
        note_nan(source, 0, hidden, number, &found);
    }
    return found;
}

int64_t packed_matrix(const Plan *plan, uint8_t *instance, Tensor tensor, int64_t matrix, const void *source, Number number) {
    Place place = place_of(plan, tensor);
    const Role *role = place.role;
    if (!role) {
        return pack_norm(plan, instance, tensor, source, number);
    }
    int64_t found = -1;
    int count = place.part == PART_ALL ? PANEL_COLUMNS : PANEL_COLUMNS / 2;
    for (int64_t p = 0; p < role->panels; p++) {
        int lanes[PANEL_COLUMNS];
        int64_t row_of[PANEL_COLUMNS];
        for (int c = 0; c < count; c++) {
            int64_t row = p * count + c;
            lanes[c] = (int)(column_of(place.part, row) % PANEL_COLUMNS);
            row_of[c] = row < place.rows ? row : -1;
        }
        if (!place.bias) {
            uint8_t *panel = instance + role->offset + matrix * role->matrix_bytes + p * role->panel_bytes;
            pack_panel(role, panel, lanes, row_of, count, source, number, &found);
            continue;
        }
        float *biases = (float *)(instance + role->bias_offset) + (matrix * role->panels + p) * PANEL_COLUMNS;
        for (int c = 0; c < count; c++) {
            biases[lanes[c]] = row_of[c] < 0 ? 0 : packed_number_get(source, row_of[c], number);
            if (isnan(biases[lanes[c]]) && found < 0) {
                found = row_of[c];
            }
        }
    }
    return found;
}
