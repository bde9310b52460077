// The experts of one iteration: tokens sorted into buckets, gate/up with activation, down with combination.
//
// Work is cut without touching the result: an output element is always one chain over k, and a token's outputs are combined in
// ascending order of experts, because a down task owns whole columns and walks its experts in order.
#ifndef CATENA_EXPERTS_H
#define CATENA_EXPERTS_H

#include "activation.h"
#include "context.h"

// The matrices of one role of one pool entry, and the tiles that multiply by them.
typedef struct Matrix {
    const Role *role;
    const uint8_t *weights;
    const float *bias;  // in panel order; 0: none
    int64_t last;  // panels of it that the task takes end here
    const uint8_t *after;  // and it goes on with this panel of another matrix
    Tile *tile, *widening, *widened;
} Matrix;

// The tiles of one panel (or two) over `count` rows of A, one after the other.
typedef struct Walk {
    const Matrix *matrix;
    const uint8_t *panel;
    const uint8_t *next;  // the panel that the task reads after it
    int64_t panels, tiles;
    float *widened;       // where the panel is kept as fp32; 0: it is not worth while
} Walk;

INLINE Walk experts_walk(const Context *c, const Matrix *m, int64_t count, int64_t panel, int64_t panels) {
    const Role *role = m->role;
    Walk w = {.matrix = m, .panel = m->weights + panel * role->panel_bytes, .panels = panels};
    w.tiles = (count + role->max_rows - 1) / role->max_rows;
    w.next = panel + panels < m->last ? w.panel + panels * role->panel_bytes : m->after;
    if (role->widen_tiles && w.tiles >= role->widen_tiles) {
        w.widened = (float *)context_private(c, c->space.widened);
    }
    return w;
}

// Every tile prefetches its share of the next panel: ahead_bytes in each of two streams, over all steps of all tiles.
INLINE void experts_tile(const Walk *w, int64_t tile, int64_t height, const void *a, float *out) {
    const Role *role = w->matrix->role;
    const uint8_t *ahead = w->next + tile * (role->ahead_bytes / w->tiles);
    int64_t share = role->ahead_bytes / w->tiles,
            steps = role->weights == FORMAT_BF16 ? role->depth_padded / 2 : role->depth_padded;
    if (w->widened && tile) {
        w->matrix->widened(height, 1, a, w->widened, out, ahead, share / role->depth_padded, 0);
    } else if (w->widened) {
        w->matrix->widening(height, 1, a, w->panel, out, ahead, share / steps, w->widened);
    } else {
        w->matrix->tile(height, w->panels, a, w->panel, out, ahead, share / steps, 0);
    }
}

// Counting sort of the (token, slot) pairs by expert; tokens ascend within a bucket.
INLINE void experts_sort(const Context *c) {
    int64_t experts = layer_plan.layer.experts, slots = c->call->tokens * layer_plan.layer.top_k;
    for (int64_t e = 0; e <= experts; e++) {
        c->starts[e] = 0;
    }
    for (int64_t i = 0; i < slots; i++) {
        if (c->experts[i] >= 0) {
            c->starts[c->experts[i] + 1]++;
        }
    }
    for (int64_t e = 0; e < experts; e++) {
        c->starts[e + 1] += c->starts[e];
    }
    for (int64_t i = 0; i < slots; i++) {
        if (c->experts[i] >= 0) {
            int64_t row = c->starts[c->experts[i]]++;
            c->rows[row] = (int32_t)(i / layer_plan.layer.top_k);
            c->row_weights[row] = c->weights[i];
        }
    }
    for (int64_t e = experts; e > 0; e--) {
        c->starts[e] = c->starts[e - 1];
    }
    c->starts[0] = 0;
}

// Rows of pool entry e: routed experts first, then shared experts, which hold every token.
INLINE int64_t experts_rows(const Context *c, int64_t e) {
    return e < layer_plan.layer.experts ? c->starts[e + 1] - c->starts[e] : c->call->tokens;
}

INLINE int64_t experts_token(const Context *c, int64_t e, int64_t row) {
    return e < layer_plan.layer.experts ? c->rows[c->starts[e] + row] : row;
}

// Where a pool entry's matrix of a phase is: in the routed or the shared experts' role.
INLINE const uint8_t *experts_weights(const Context *c, int64_t e, RoleName routed, RoleName shared) {
    int64_t count = layer_plan.layer.experts;
    const Role *role = &layer_plan.roles[e < count ? routed : shared];
    return c->call->weights + role->offset + (e < count ? e : e - count) * role->matrix_bytes;
}

// Panels [.., last) of pool entry e; behind them comes panel `next_first` of the next entry that has rows.
INLINE Matrix experts_matrix(const Context *c, int64_t e, RoleName routed, RoleName shared, int64_t last, int64_t next_first) {
    int64_t count = layer_plan.layer.experts, entries = count + layer_plan.layer.shared_experts, next = e + 1;
    const Role *role = &layer_plan.roles[e < count ? routed : shared];
    Matrix m = {.role = role, .weights = experts_weights(c, e, routed, shared), .last = last};
    int64_t index = e < count ? e : e - count;
    m.bias =
        role->bias_offset < 0 ? 0 : (const float *)(c->call->weights + role->bias_offset) + index * role->panels * PANEL_COLUMNS;
    while (next < entries && experts_rows(c, next) == 0) {
        next++;
    }
    const Role *next_role = &layer_plan.roles[next < count ? routed : shared];
    m.after = next < entries ? experts_weights(c, next, routed, shared) + next_first * next_role->panel_bytes : m.weights;
    return m;
}

INLINE uint8_t *experts_intermediate(const Context *c, int64_t e, int64_t row) {
    int64_t routed = layer_plan.layer.experts;
    return e < routed ? c->call->workspace + c->space.intermediate + (c->starts[e] + row) * layer_plan.roles[ROLE_DOWN].input_stride
                      : c->call->workspace + c->space.shared +
                            ((e - routed) * c->call->tokens + row) * layer_plan.roles[ROLE_SHARED_DOWN].input_stride;
}

// Copies one row of A in the form that a role's tiles read.
INLINE void experts_prepare(const Role *role, const float *from, uint8_t *to) {
    int64_t width = plan_round_up(role->depth_padded, LANES);
    for (int64_t i = 0; i < width; i += LANES) {
        Vector v = vector_load(from + i);
        if (role->input == FORMAT_BF16) {
            vector_store_bf16((uint16_t *)to + i, v);
        } else {
            vector_store((float *)to + i, role->round_input ? vector_round_bf16(v) : v);
        }
    }
}

// h = act(gate) * up (or act(up)) of one row and one panel, from a tile's output; written as down's input.
INLINE void experts_activate(const float *out, const float *bias, const Role *down, uint8_t *row, int64_t panel) {
    int64_t values = layer_plan.layer.gated ? PANEL_COLUMNS / 2 : PANEL_COLUMNS;
    Vector low = vector_load(out), high = vector_load(out + LANES);
    if (bias) {
        low += vector_load(bias);
        high += vector_load(bias + LANES);
    }
    Vector h[2];
    if (layer_plan.layer.gated) {  // groups of 8: gate, up, gate, up
        Vector gate = __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
        Vector up = __builtin_shufflevector(low, high, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
        h[0] = activation_apply(layer_plan.layer.activation, gate) * up;
    } else {
        h[0] = activation_apply(layer_plan.layer.activation, low);
        h[1] = activation_apply(layer_plan.layer.activation, high);
    }
    for (int64_t i = 0; i < values; i += LANES) {
        Vector v = h[i / LANES];
        if (down->input == FORMAT_BF16) {
            vector_store_bf16((uint16_t *)row + panel * values + i, v);
        } else {
            vector_store((float *)row + panel * values + i, down->round_input ? vector_round_bf16(v) : v);
        }
    }
}

// Panels [first, m->last) of gate/up for all rows of pool entry e.
INLINE void experts_up(const Context *c, int64_t iteration, int64_t e, const Matrix *m, const Role *down, int64_t first) {
    const Role *role = m->role;
    uint8_t *prepared = context_private(c, c->space.prepared);
    int64_t rows = experts_rows(c, e), blocks = (rows + layer_plan.block_rows - 1) / layer_plan.block_rows;
    float out[TILE_MAX_ROWS * TILE_STRIDE] __attribute__((aligned(64)));
    for (int64_t block = 0; block < blocks; block++) {
        int64_t begin = share_start(rows, block, blocks), count = share_start(rows, block + 1, blocks) - begin;
        for (int64_t r = 0; r < count; r++) {
            experts_prepare(role, context_state(c, iteration, experts_token(c, e, begin + r)), prepared + r * role->input_stride);
        }
        int64_t width = count <= role->wide_rows ? TILE_MAX_PANELS : 1;
        for (int64_t panel = first; panel < m->last; panel += width) {
            Walk walk = experts_walk(c, m, count, panel, minimum(width, m->last - panel));
            for (int64_t t = 0; t < walk.tiles; t++) {
                int64_t row = share_start(count, t, walk.tiles), height = share_start(count, t + 1, walk.tiles) - row;
                experts_tile(&walk, t, height, prepared + row * role->input_stride, out);
                for (int64_t r = 0; r < height; r++) {
                    uint8_t *h = experts_intermediate(c, e, begin + row + r);
                    for (int64_t p = 0; p < walk.panels; p++) {
                        experts_activate(out + r * TILE_STRIDE + p * PANEL_COLUMNS,
                                         m->bias ? m->bias + (panel + p) * PANEL_COLUMNS : 0, down, h, panel + p);
                    }
                }
            }
        }
    }
}

// Cost of one pair of panels of a pool entry, in rows: below floor_rows an expert is bound by memory, not by arithmetic.
INLINE int64_t experts_cost(const Context *c, int64_t e) {
    int64_t rows = experts_rows(c, e);
    return rows == 0 ? 0 : rows < layer_plan.floor_rows ? layer_plan.floor_rows : rows;
}

INLINE int64_t panel_pairs(const Role *role) {
    return (role->panels + 1) / 2;
}

// The gate/up phase: (expert, pair of panels) in one line, each pair weighted by its expert's cost; a task is a stretch of it.
INLINE void experts_up_phase(Context *c, int64_t iteration) {
    const Layer *layer = &layer_plan.layer;
    const Role *roles = layer_plan.roles;
    int64_t entries = layer->experts + layer->shared_experts, total = 0;
    for (int64_t e = 0; e < entries; e++) {
        total += experts_cost(c, e) * panel_pairs(&roles[e < layer->experts ? ROLE_GATE_UP : ROLE_SHARED_GATE_UP]);
    }
    int64_t tasks = layer_plan.up_tasks * c->threads, previous = -1, task;
    while ((task = context_next_task(c, iteration * 2, layer_plan.up_tasks, &previous)) >= 0) {
        int64_t low = share_start(total, task, tasks), high = share_start(total, task + 1, tasks), base = 0;
        for (int64_t e = 0; e < entries && base < high; e++) {
            int shared = e >= layer->experts;
            const Role *role = &roles[shared ? ROLE_SHARED_GATE_UP : ROLE_GATE_UP];
            int64_t pairs = panel_pairs(role), cost = experts_cost(c, e), begin = base;
            base += cost * pairs;
            if (cost == 0 || base <= low) {
                continue;
            }
            int64_t first = low <= begin ? 0 : (low - begin + cost - 1) / cost;
            int64_t last = high >= base ? pairs : (high - begin + cost - 1) / cost;
            if (first >= last) {
                continue;
            }
            Matrix m = experts_matrix(c, e, ROLE_GATE_UP, ROLE_SHARED_GATE_UP, minimum(last * 2, role->panels), 0);
            if (shared) {
                m.tile = tile_shared_gate_up, m.widening = tile_shared_gate_up_widening, m.widened = tile_shared_gate_up_widened;
                experts_up(c, iteration, e, &m, &roles[ROLE_SHARED_DOWN], first * 2);
            } else {
                m.tile = tile_gate_up, m.widening = tile_gate_up_widening, m.widened = tile_gate_up_widened;
                experts_up(c, iteration, e, &m, &roles[ROLE_DOWN], first * 2);
            }
        }
    }
}

// A tile's output of one row, times the routing weight, added to x_{t+1}: acc = fma(weight, value, acc).
INLINE void experts_combine(const float *out, const float *bias, float weight, int64_t columns, float *to) {
    for (int64_t j = 0; j < columns; j += LANES) {
        Vector value = vector_load(out + j);
        if (bias) {
            value += vector_load(bias + j);
        }
        vector_store(to + j, vector_fma(vector_set(weight), value, vector_load(to + j)));
    }
}

// Panels [first, m->last) of down for all rows of pool entry e.
INLINE void experts_down(const Context *c, int64_t iteration, int64_t e, const Matrix *m, int64_t first) {
    const Role *role = m->role;
    int64_t rows = experts_rows(c, e), blocks = (rows + layer_plan.block_rows - 1) / layer_plan.block_rows;
    float out[TILE_MAX_ROWS * TILE_STRIDE] __attribute__((aligned(64)));
    for (int64_t block = 0; block < blocks; block++) {
        int64_t begin = share_start(rows, block, blocks), count = share_start(rows, block + 1, blocks) - begin;
        int64_t width = count <= role->wide_rows ? TILE_MAX_PANELS : 1;
        for (int64_t panel = first; panel < m->last; panel += width) {
            Walk walk = experts_walk(c, m, count, panel, minimum(width, m->last - panel));
            for (int64_t t = 0; t < walk.tiles; t++) {
                int64_t row = begin + share_start(count, t, walk.tiles),
                        height = begin + share_start(count, t + 1, walk.tiles) - row;
                experts_tile(&walk, t, height, experts_intermediate(c, e, row), out);
                for (int64_t r = 0; r < height; r++) {
                    float weight = e < layer_plan.layer.experts ? c->row_weights[c->starts[e] + row + r] : 1.0f;
                    float *to = context_state(c, iteration + 1, experts_token(c, e, row + r)) + panel * PANEL_COLUMNS;
                    experts_combine(out + r * TILE_STRIDE, m->bias ? m->bias + panel * PANEL_COLUMNS : 0, weight,
                                    walk.panels * PANEL_COLUMNS, to);
                }
            }
        }
    }
}

// Columns [first, last) of x_{t+1} before any expert: x_t where the inner residual asks for it, else 0.
INLINE void experts_start(const Context *c, int64_t iteration, int64_t first, int64_t last) {
    for (int64_t token = 0; token < c->call->tokens; token++) {
        const float *from = context_state(c, iteration, token);
        float *to = context_state(c, iteration + 1, token);
        for (int64_t i = first; i < last; i += LANES) {
            vector_store(to + i, layer_plan.layer.inner_residual ? vector_load(from + i) : vector_set(0));
        }
    }
}

// Columns [first, last) of the result: out = (outer residual ? h : 0) + x_T; NaN for tokens that were routed nowhere.
INLINE void experts_finish(const Context *c, int64_t first, int64_t last) {
    const Layer *layer = &layer_plan.layer;
    const Call *call = c->call;
    for (int64_t token = 0; token < call->tokens; token++) {
        const float *from = context_state(c, layer->iterations, token);
        for (int64_t i = first; i < minimum(last, layer->hidden); i++) {
            float value = c->rejected[token] ? __builtin_nanf("") : from[i];
            if (layer->activations == FORMAT_BF16) {
                const uint16_t *x = (const uint16_t *)call->x + token * call->x_stride;
                value = layer->outer_residual ? bf16_to_float(x[i]) + value : value;
                ((uint16_t *)call->y + token * call->y_stride)[i] = bf16_from_float(value);
            } else {
                const float *x = (const float *)call->x + token * call->x_stride;
                ((float *)call->y + token * call->y_stride)[i] = layer->outer_residual ? x[i] + value : value;
            }
        }
    }
}

// The down phase: a task owns a stretch of columns and walks the pool in ascending order, then the shared experts. Stretches are
// pairs of panels, which low tiles take at once, or single panels where there are few pairs for each thread.
INLINE void experts_down_phase(Context *c, int64_t iteration) {
    const Layer *layer = &layer_plan.layer;
    const Role *role = &layer_plan.roles[ROLE_DOWN];
    int64_t unit = panel_pairs(role) < 4 * c->threads ? 1 : 2, units = (role->panels + unit - 1) / unit;
    int64_t tasks = layer_plan.down_tasks * c->threads, previous = -1, task;
    while ((task = context_next_task(c, iteration * 2 + 1, layer_plan.down_tasks, &previous)) >= 0) {
        int64_t first = unit * share_start(units, task, tasks);
        int64_t last = minimum(unit * share_start(units, task + 1, tasks), role->panels);
        if (first >= last) {
            continue;
        }
        experts_start(c, iteration, first * PANEL_COLUMNS, last * PANEL_COLUMNS);
        for (int64_t e = 0; e < layer->experts; e++) {
            Matrix m = experts_matrix(c, e, ROLE_DOWN, ROLE_SHARED_DOWN, last, first);
            m.tile = tile_down, m.widening = tile_down_widening, m.widened = tile_down_widened;
            experts_down(c, iteration, e, &m, first);
        }
        for (int64_t e = layer->experts; e < layer->experts + layer->shared_experts; e++) {
            Matrix m = experts_matrix(c, e, ROLE_DOWN, ROLE_SHARED_DOWN, last, first);
            m.tile = tile_shared_down, m.widening = tile_shared_down_widening, m.widened = tile_shared_down_widened;
            experts_down(c, iteration, e, &m, first);
        }
        if (iteration == layer->iterations - 1) {
            experts_finish(c, first * PANEL_COLUMNS, last * PANEL_COLUMNS);
        }
    }
}

#endif
