// The down phase: x_{t+1} = (inner residual) + sum of w_e E_e(x_t) + identity experts + shared experts, and the layer's result.
#ifndef CATENA_DOWN_H
#define CATENA_DOWN_H

#include "panels.h"

// A tile's output of one row, times the routing weight, added to x_{t+1}: acc = fma(weight, value, acc).
INLINE void down_combine(const float *out, const float *bias, float weight, int64_t columns, float *to) {
    for (int64_t j = 0; j < columns; j += LANES) {
        Vector value = vector_load(out + j);
        if (bias) {
            value += vector_load(bias + j);
        }
        vector_store(to + j, vector_fma(vector_set(weight), value, vector_load(to + j)));
    }
}

// A learnt vector.
INLINE const float *down_vector(const Context *c, int64_t offset) {
    return (const float *)(c->call->weights + offset);
}

// A weight in the sum y; in a converted MoE y counts coe_weight_t times before the last iteration.
INLINE float down_weight(const Context *c, int64_t iteration, float weight) {
    const float *coe_weight = down_vector(c, layer_plan.layout.coe_weight_offset);
    return layer_plan.layer.coe_weight && iteration < layer_plan.layer.iterations - 1 ? weight * coe_weight[iteration] : weight;
}

// A weight in the sum of routed experts: of a latent layer the projection of that sum is weighed in y, not its terms.
INLINE float down_pool_weight(const Context *c, int64_t iteration, float weight) {
    return layer_plan.layer.latent ? weight : down_weight(c, iteration, weight);
}

// The weight of a row of pool entry e in the sum.
INLINE float down_row_weight(const Context *c, int64_t iteration, int64_t e, int64_t row) {
    const Layer *layer = &layer_plan.layer;
    if (buckets_is_shared(e)) {
        float gate = layer->shared_gated ? c->shared_gates[row * layer->shared_experts + e - layer->experts] : layer->shared_scale;
        return down_weight(c, iteration, gate);
    }
    return down_pool_weight(c, iteration, layer->weight_on == WEIGHT_ON_INPUT ? 1.0f : c->row_weights[c->starts[e] + row]);
}

// Where row `row` of pool entry e is added: x_{t+1}, or of a latent layer's routed experts their sum.
INLINE float *down_target(const Context *c, int64_t iteration, int64_t e, int64_t row) {
    int64_t token = buckets_token(c, e, row);
    return buckets_is_shared(e) ? context_state(c, iteration + 1, token) : context_pool_sum(c, iteration, token);
}

// Panels [first, m->last) of down for all rows of pool entry e.
INLINE void down_panels(const Context *c, int64_t iteration, int64_t e, const Matrix *m, int64_t first) {
    const Role *role = m->role;
    int64_t rows = buckets_rows(c, e), blocks = (rows + layer_tuned.schedule.block_rows - 1) / layer_tuned.schedule.block_rows;
    float out[TILE_MAX_ROWS * TILE_STRIDE] __attribute__((aligned(64)));
    for (int64_t block = 0; block < blocks; block++) {
        int64_t begin = share_start(rows, block, blocks), count = share_start(rows, block + 1, blocks) - begin;
        int64_t width = count <= tuned(role)->wide_rows ? TILE_MAX_PANELS : 1, group = panels_group(role, count);
        for (int64_t panel = first, taken; group && panel < m->last; panel += taken) {
            float *sums = (float *)context_private(c, c->space.sums);
            taken = minimum(group, m->last - panel);
            panels_blocks(m, count, panels_intermediate(c, e, begin), panel, taken, sums);
            for (int64_t i = 0; i < taken * count; i++) {
                int64_t p = i / count, r = i % count;
                float *to = down_target(c, iteration, e, begin + r) + (panel + p) * PANEL_COLUMNS;
                down_combine(panels_sums(sums, count, p, r), m->bias ? m->bias + (panel + p) * PANEL_COLUMNS : 0,
                             down_row_weight(c, iteration, e, begin + r), PANEL_COLUMNS, to);
            }
        }
        for (int64_t panel = first; !group && panel < m->last; panel += width) {
            Walk walk = panels_walk(c, m, count, panel, minimum(width, m->last - panel));
            for (int64_t t = 0; t < walk.tiles; t++) {
                int64_t row = begin + share_start(count, t, walk.tiles),
                        height = begin + share_start(count, t + 1, walk.tiles) - row;
                panels_tile(&walk, t, height, panels_intermediate(c, e, row), out);
                for (int64_t r = 0; r < height; r++) {
                    float weight = down_row_weight(c, iteration, e, row + r);
                    float *to = down_target(c, iteration, e, row + r) + panel * PANEL_COLUMNS;
                    down_combine(out + r * TILE_STRIDE, m->bias ? m->bias + panel * PANEL_COLUMNS : 0, weight,
                                 walk.panels * PANEL_COLUMNS, to);
                }
            }
        }
    }
}

// Columns [first, last) of x_{t+1} before any expert: inner_alpha x_t where there is an inner residual, else 0, and the bias of y.
// A converted MoE's last iteration stands alone.
INLINE void down_start(const Context *c, int64_t iteration, int64_t first, int64_t last) {
    const Layer *layer = &layer_plan.layer;
    int inner = layer->inner_residual && !(layer->coe_weight && iteration == layer->iterations - 1);
    const float *bias = down_vector(c, layer_plan.layout.output_bias_offset);
    float factor = down_weight(c, iteration, 1.0f);
    for (int64_t token = 0; token < c->call->tokens; token++) {
        const float *from = context_state(c, iteration, token);
        float *to = context_state(c, iteration + 1, token);
        for (int64_t i = first; i < last; i += LANES) {
            Vector start = inner ? vector_load(from + i) * layer->inner_alpha : vector_set(0);
            vector_store(to + i, layer->output_bias ? vector_fma(vector_set(factor), vector_load(bias + i), start) : start);
        }
    }
}

// Columns [first, last) of the sum of a latent layer's routed experts before any expert.
INLINE void down_start_latent(const Context *c, int64_t first, int64_t last) {
    for (int64_t token = 0; token < c->call->tokens; token++) {
        float *to = context_latent(c, LATENT_SUM, token);
        for (int64_t i = first; i < last; i += LANES) {
            vector_store(to + i, vector_set(0));
        }
    }
}

// Columns [first, last) of identity experts, E(x) = x: sum = fma(w, x, sum).
INLINE void down_identity(const Context *c, int64_t iteration, int64_t first, int64_t last) {
    const Layer *layer = &layer_plan.layer;
    int64_t begin = c->starts[layer->experts], end = c->starts[layer->experts + layer->identity_experts];
    for (int64_t row = begin; row < end; row++) {
        float weight = down_pool_weight(c, iteration, c->row_weights[row]);
        const float *from = context_pool_input(c, iteration, c->rows[row]) + first;
        down_combine(from, 0, weight, last - first, context_pool_sum(c, iteration, c->rows[row]) + first);
    }
}

// out = alpha h + multiplier x in column i, without h where there is no outer residual; x is x_T, or its norm. Before that both
// have what is learnt for the column: (h + bias) scale, and x scale.
INLINE float down_result(const Context *c, int64_t i, float h, float x) {
    const Layer *layer = &layer_plan.layer;
    const Layout *layout = &layer_plan.layout;
    if (layer->residual_bias) {
        h += down_vector(c, layout->residual_bias_offset)[i];
    }
    if (layer->residual_scale) {
        h *= down_vector(c, layout->residual_scale_offset)[i];
    }
    if (layer->output_scale) {
        x *= down_vector(c, layout->output_scale_offset)[i];
    }
    return layer->outer_residual ? __builtin_fmaf(layer->alpha, h, x * layer->multiplier) : x * layer->multiplier;
}

// Columns [first, last) of a token's result; NaN where it was routed nowhere.
INLINE void down_finish_row(const Context *c, int64_t token, int64_t first, int64_t last) {
    const Layer *layer = &layer_plan.layer;
    const Call *call = c->call;
    const float *from = context_state(c, layer->iterations, token);
    for (int64_t i = first; i < minimum(last, layer->hidden); i++) {
        float value = c->rejected[token] ? __builtin_nanf("") : from[i];
        if (layer->activations == INTERFACE_BF16) {
            const uint16_t *x = (const uint16_t *)call->x + token * call->x_stride;
            ((uint16_t *)call->y + token * call->y_stride)[i] = bf16_from_float(down_result(c, i, bf16_to_float(x[i]), value));
        } else {
            const float *x = (const float *)call->x + token * call->x_stride;
            ((float *)call->y + token * call->y_stride)[i] = down_result(c, i, x[i], value);
        }
    }
}

INLINE void down_finish(const Context *c, int64_t first, int64_t last) {
    for (int64_t token = 0; token < c->call->tokens; token++) {
        down_finish_row(c, token, first, last);
    }
}

// Panels [first, last) of the shared experts, and of the layer's result where nothing else is to come.
INLINE void down_shared(const Context *c, int64_t iteration, int64_t first, int64_t last) {
    const Layer *layer = &layer_plan.layer;
    for (int64_t e = layer->experts; e < buckets_entries(); e++) {
        Matrix m = panels_matrix(c, e, buckets_next(c, e, 1), ROLE_DOWN, ROLE_SHARED_DOWN, last, first);
        m.tile = tile_shared_down, m.widening = tile_shared_down_widening, m.widened = tile_shared_down_widened,
        m.blocked = tile_shared_down_blocked;
        down_panels(c, iteration, e, &m, first);
    }
    if (iteration == layer->iterations - 1 && layer->post_norm == NORM_NONE) {
        down_finish(c, first * PANEL_COLUMNS, last * PANEL_COLUMNS);
    }
}

// The down phase of a wave: a task owns a stretch of columns and walks the pool in ascending order, then the shared experts, unless
// the columns are a latent layer's. Stretches are pairs of panels, which low tiles take at once, or single panels where there are
// few pairs for each thread.
INLINE void down_phase(Context *c, int64_t iteration) {
    const Layer *layer = &layer_plan.layer;
    const Role *role = &layer_plan.roles[ROLE_DOWN];
    int64_t unit = panels_pairs(role) < 4 * c->threads ? 1 : 2, units = (role->layout.panels + unit - 1) / unit;
    int64_t per_thread = c->few ? layer_tuned.schedule.few_down_tasks : layer_tuned.schedule.down_tasks,
            tasks = per_thread * c->threads;
    int64_t *counter = context_begin_phase(c), previous = -1, task;
    while ((task = context_next_task(c, counter, per_thread, &previous)) >= 0) {
        int64_t first = unit * share_start(units, task, tasks);
        int64_t last = minimum(unit * share_start(units, task + 1, tasks), role->layout.panels);
        if (first >= last) {
            continue;
        }
        if (c->first == 0 && layer->latent) {
            down_start_latent(c, first * PANEL_COLUMNS, last * PANEL_COLUMNS);
        } else if (c->first == 0) {
            down_start(c, iteration, first * PANEL_COLUMNS, last * PANEL_COLUMNS);
        }
        for (int64_t e = buckets_next(c, c->first - 1, 1), next; e < minimum(c->last, layer->experts); e = next) {
            next = buckets_next(c, e, 1);
            Matrix m = panels_matrix(c, e, next, ROLE_DOWN, ROLE_SHARED_DOWN, last, first);
            m.tile = tile_down, m.widening = tile_down_widening, m.widened = tile_down_widened, m.blocked = tile_down_blocked;
            down_panels(c, iteration, e, &m, first);
        }
        if (!buckets_last_wave(c)) {
            continue;
        }
        down_identity(c, iteration, first * PANEL_COLUMNS, last * PANEL_COLUMNS);
        if (!layer->latent) {
            down_shared(c, iteration, first, last);
        }
    }
}

#endif
