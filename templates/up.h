// The gate/up phase: h = act(gate x) * (up x) for every row of a wave's buckets.
#ifndef CATENA_UP_H
#define CATENA_UP_H

#include "activation.h"
#include "forms.h"
#include "panels.h"

// Copies one row of A in the form that a role's tiles read: x, or weight x where the weight goes with the input.
INLINE void up_prepare(const Role *role, const float *from, float weight, uint8_t *to) {
    int64_t width = plan_round_up(role->layout.depth_padded, LANES);
    for (int64_t i = 0; i < width; i += LANES) {
        Vector v = vector_load(from + i);
        if (layer_plan.layer.weight_on == WEIGHT_ON_INPUT) {
            v *= weight;
        }
        form_store(role, to, i, v);
    }
}

// min(v, limit); NaN stays.
INLINE Vector up_limit(Vector v, float limit) {
    return vector_select(v > limit, vector_set(limit), v);
}

// cap tanh(v / cap). A NaN does not come out of vector_tanh as one.
INLINE Vector up_softcap(Vector v, float cap) {
    return vector_select(v == v, vector_tanh(v / cap) * cap, v);
}

// act(gate), or with a soft cap: cap tanh(gate / cap) sigmoid(slope gate).
INLINE Vector up_activated(Vector gate) {
    const Layer *layer = &layer_plan.layer;
    if (layer->gate_softcap != 0.0f) {
        return up_softcap(gate, layer->gate_softcap) * vector_sigmoid(gate * layer->slope);
    }
    return activation_apply(layer->activation, layer->slope, gate);
}

// act(gate) * up with both limited or capped, and up shifted, where the layer asks for it; NaN stays.
INLINE Vector up_gate(Vector gate, Vector up, float limit) {
    const Layer *layer = &layer_plan.layer;
    int after = layer->limit_place == LIMIT_AFTER_ACTIVATION;
    if (limit != 0.0f) {
        gate = after ? gate : up_limit(gate, limit);
        up = vector_select(up > limit, vector_set(limit), vector_select(up < -limit, vector_set(-limit), up));
    }
    if (layer->up_softcap != 0.0f) {
        up = up_softcap(up, layer->up_softcap);
    }
    if (layer->up_offset != 0.0f) {
        up += layer->up_offset;
    }
    Vector activated = up_activated(gate);
    return (limit != 0.0f && after ? up_limit(activated, limit) : activated) * up;
}

// h = act(gate) * up (or act(up)) of one row and one panel, from a tile's output; written as down's input.
INLINE void up_activate(const float *out, const float *bias, const Role *down, float limit, uint8_t *row, int64_t panel) {
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
        h[0] = up_gate(gate, up, limit);
    } else {
        h[0] = activation_apply(layer_plan.layer.activation, layer_plan.layer.slope, low);
        h[1] = activation_apply(layer_plan.layer.activation, layer_plan.layer.slope, high);
    }
    for (int64_t i = 0; i < values; i += LANES) {
        form_leave(down, row, panel * values + i, h[i / LANES]);
    }
}

// Panels [first, m->last) of gate/up for all rows of pool entry e, whose gate and up have this limit.
INLINE void up_panels(const Context *c, int64_t iteration, int64_t e, const Matrix *m, const Role *down, float limit,
                      int64_t first) {
    const Role *role = m->role;
    uint8_t *prepared = context_private(c, c->space.prepared);
    int64_t rows = buckets_rows(c, e), blocks = (rows + layer_tuned.schedule.block_rows - 1) / layer_tuned.schedule.block_rows;
    float out[TILE_MAX_ROWS * TILE_STRIDE] __attribute__((aligned(64)));
    for (int64_t block = 0; block < blocks; block++) {
        int64_t begin = share_start(rows, block, blocks), count = share_start(rows, block + 1, blocks) - begin;
        for (int64_t r = 0; r < count; r++) {
            int64_t token = buckets_token(c, e, begin + r);
            const float *x = buckets_is_shared(e) ? context_state(c, iteration, token) : context_pool_input(c, iteration, token);
            float weight = buckets_is_shared(e) ? 1.0f : c->row_weights[c->starts[e] + begin + r];
            up_prepare(role, x, weight, prepared + r * role->input_stride);
        }
        int64_t width = count <= tuned(role)->wide_rows ? TILE_MAX_PANELS : 1, group = panels_group(role, count);
        for (int64_t panel = first, taken; group && panel < m->last; panel += taken) {
            float *sums = (float *)context_private(c, c->space.sums);
            taken = minimum(group, m->last - panel);
            panels_blocks(m, count, prepared, panel, taken, sums);
            for (int64_t i = 0; i < taken * count; i++) {
                int64_t p = i / count, r = i % count;
                up_activate(panels_sums(sums, count, p, r), m->bias ? m->bias + (panel + p) * PANEL_COLUMNS : 0, down, limit,
                            panels_intermediate(c, e, begin + r), panel + p);
            }
        }
        for (int64_t panel = first; !group && panel < m->last; panel += width) {
            Walk walk = panels_walk(c, m, count, panel, minimum(width, m->last - panel));
            for (int64_t t = 0; t < walk.tiles; t++) {
                int64_t row = share_start(count, t, walk.tiles), height = share_start(count, t + 1, walk.tiles) - row;
                panels_tile(&walk, t, height, prepared + row * role->input_stride, out);
                for (int64_t r = 0; r < height; r++) {
                    uint8_t *h = panels_intermediate(c, e, begin + row + r);
                    for (int64_t p = 0; p < walk.panels; p++) {
                        up_activate(out + r * TILE_STRIDE + p * PANEL_COLUMNS, m->bias ? m->bias + (panel + p) * PANEL_COLUMNS : 0,
                                    down, limit, h, panel + p);
                    }
                }
            }
        }
    }
}

// Cost of one pair of panels of a pool entry, in rows: below floor_rows an expert is bound by memory, not by arithmetic.
INLINE int64_t up_cost(const Context *c, int64_t e) {
    int64_t rows = buckets_rows(c, e);
    return rows == 0 ? 0 : rows < layer_tuned.schedule.floor_rows ? layer_tuned.schedule.floor_rows : rows;
}

// The gate/up phase of a wave: (expert, pair of panels) in one line, each pair weighted by its expert's cost; a task is a stretch
// of it.
INLINE void up_phase(Context *c, int64_t iteration) {
    const Role *roles = layer_plan.roles;
    int64_t total = 0;
    for (int64_t e = c->first; e < c->last; e++) {
        total += up_cost(c, e) * panels_pairs(&roles[buckets_is_shared(e) ? ROLE_SHARED_GATE_UP : ROLE_GATE_UP]);
    }
    int64_t per_thread = c->few ? layer_tuned.schedule.few_up_tasks : layer_tuned.schedule.up_tasks,
            tasks = per_thread * c->threads;
    int64_t *counter = context_begin_phase(c), previous = -1, task;
    int64_t order = layer_tuned.schedule.up_order,
            step = order == ORDER_BACKWARDS || (order == ORDER_IN_TURNS && iteration % 2) ? -1 : 1;
    while ((task = context_next_task(c, counter, per_thread, &previous)) >= 0) {
        int64_t low = share_start(total, task, tasks), high = share_start(total, task + 1, tasks), base = 0;
        for (int64_t e = step > 0 ? c->first : c->last - 1; e >= c->first && e < c->last && base < high; e += step) {
            int shared = buckets_is_shared(e);
            const Role *role = &roles[shared ? ROLE_SHARED_GATE_UP : ROLE_GATE_UP];
            int64_t pairs = panels_pairs(role), cost = up_cost(c, e), begin = base;
            base += cost * pairs;
            if (cost == 0 || base <= low) {
                continue;
            }
            int64_t first = low <= begin ? 0 : (low - begin + cost - 1) / cost;
            int64_t last = high >= base ? pairs : (high - begin + cost - 1) / cost;
            if (first >= last) {
                continue;
            }
            Matrix m = panels_matrix(c, e, buckets_next(c, e, step), ROLE_GATE_UP, ROLE_SHARED_GATE_UP,
                                     minimum(last * 2, role->layout.panels), 0);
            if (shared) {
                m.tile = tile_shared_gate_up, m.widening = tile_shared_gate_up_widening, m.widened = tile_shared_gate_up_widened,
                m.blocked = tile_shared_gate_up_blocked;
                up_panels(c, iteration, e, &m, &roles[ROLE_SHARED_DOWN], layer_plan.layer.shared_limit, first * 2);
            } else {
                m.tile = tile_gate_up, m.widening = tile_gate_up_widening, m.widened = tile_gate_up_widened,
                m.blocked = tile_gate_up_blocked;
                up_panels(c, iteration, e, &m, &roles[ROLE_DOWN], layer_plan.layer.limit, first * 2);
            }
        }
    }
}

#endif
