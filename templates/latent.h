// The projections of a latent layer: z = W_in x_t, which the routed experts read, and W_out of their sum, which is added to
// x_{t+1}.
//
// Both are products over all tokens, with the tiles, blocks of rows and tasks that experts have.
#ifndef CATENA_LATENT_H
#define CATENA_LATENT_H

#include "down.h"
#include "up.h"

// Panels [.., last) of a projection.
INLINE Matrix latent_matrix(const Context *c, RoleName name, int64_t last) {
    const Role *role = &layer_plan.roles[name];
    const uint8_t *weights = c->call->weights + role->layout.offset;
    Matrix m = {.role = role, .weights = weights, .last = last, .after = weights};
    if (name == ROLE_LATENT_IN) {
        m.tile = tile_latent_in, m.widening = tile_latent_in_widening, m.widened = tile_latent_in_widened,
        m.blocked = tile_latent_in_blocked;
    } else {
        m.tile = tile_latent_out, m.widening = tile_latent_out_widening, m.widened = tile_latent_out_widened,
        m.blocked = tile_latent_out_blocked;
    }
    return m;
}

// One row of a projection, from column panel * 32 on: `to` where it goes.
INLINE void latent_store(const Context *c, RoleName name, int64_t iteration, int64_t token, int64_t panel, int64_t panels,
                         const float *out) {
    if (name == ROLE_LATENT_OUT) {
        float *to = context_state(c, iteration + 1, token) + panel * PANEL_COLUMNS;
        down_combine(out, 0, down_weight(c, iteration, 1.0f), panels * PANEL_COLUMNS, to);
        return;
    }
    float *to = context_latent(c, LATENT_INPUT, token) + panel * PANEL_COLUMNS;
    for (int64_t j = 0; j < panels * PANEL_COLUMNS; j += LANES) {
        vector_store(to + j, vector_load(out + j));
    }
}

// Rows of A for `count` tokens.
INLINE void latent_prepare(const Context *c, RoleName name, int64_t iteration, int64_t token, int64_t count, uint8_t *prepared) {
    const Role *role = &layer_plan.roles[name];
    for (int64_t r = 0; r < count; r++) {
        const float *from =
            name == ROLE_LATENT_IN ? context_state(c, iteration, token + r) : context_latent(c, LATENT_SUM, token + r);
        up_prepare(role, from, 1.0f, prepared + r * role->input_stride);
    }
}

// Panels [first, m->last) of a projection for all tokens.
INLINE void latent_panels(const Context *c, RoleName name, int64_t iteration, const Matrix *m, int64_t first) {
    const Role *role = m->role;
    uint8_t *prepared = context_private(c, c->space.prepared);
    int64_t rows = c->call->tokens, blocks = (rows + layer_tuned.schedule.block_rows - 1) / layer_tuned.schedule.block_rows;
    float out[TILE_MAX_ROWS * TILE_STRIDE] __attribute__((aligned(64)));
    for (int64_t block = 0; block < blocks; block++) {
        int64_t begin = share_start(rows, block, blocks), count = share_start(rows, block + 1, blocks) - begin;
        int64_t width = count <= tuned(role)->wide_rows ? TILE_MAX_PANELS : 1, group = panels_group(role, count);
        latent_prepare(c, name, iteration, begin, count, prepared);
        for (int64_t panel = first, taken; group && panel < m->last; panel += taken) {
            float *sums = (float *)context_private(c, c->space.sums);
            taken = minimum(group, m->last - panel);
            panels_blocks(m, count, prepared, panel, taken, sums);
            for (int64_t i = 0; i < taken * count; i++) {
                int64_t p = i / count, r = i % count;
                latent_store(c, name, iteration, begin + r, panel + p, 1, panels_sums(sums, count, p, r));
            }
        }
        for (int64_t panel = first; !group && panel < m->last; panel += width) {
            Walk walk = panels_walk(c, m, count, panel, minimum(width, m->last - panel));
            for (int64_t t = 0; t < walk.tiles; t++) {
                int64_t row = share_start(count, t, walk.tiles), height = share_start(count, t + 1, walk.tiles) - row;
                panels_tile(&walk, t, height, prepared + row * role->input_stride, out);
                for (int64_t r = 0; r < height; r++) {
                    latent_store(c, name, iteration, begin + row + r, panel, walk.panels, out + r * TILE_STRIDE);
                }
            }
        }
    }
}

// The columns of a task; first == last: there are none for it. As in down's phase they are pairs of panels or single ones.
typedef struct LatentStretch {
    int64_t first, last;
} LatentStretch;

INLINE LatentStretch latent_stretch(const Context *c, RoleName name, int64_t task, int64_t tasks) {
    const Role *role = &layer_plan.roles[name];
    int64_t unit = panels_pairs(role) < 4 * c->threads ? 1 : 2, units = (role->layout.panels + unit - 1) / unit;
    return (LatentStretch){unit * share_start(units, task, tasks),
                           minimum(unit * share_start(units, task + 1, tasks), role->layout.panels)};
}

// A projection of all tokens; the one out also makes what else there is of x_{t+1}.
INLINE void latent_phase(Context *c, RoleName name, int64_t iteration, int64_t per_thread) {
    int64_t *counter = context_begin_phase(c), previous = -1, task;
    while ((task = context_next_task(c, counter, per_thread, &previous)) >= 0) {
        LatentStretch s = latent_stretch(c, name, task, per_thread * c->threads);
        if (s.first >= s.last) {
            continue;
        }
        Matrix m = latent_matrix(c, name, s.last);
        if (name == ROLE_LATENT_OUT) {
            down_start(c, iteration, s.first * PANEL_COLUMNS, s.last * PANEL_COLUMNS);
        }
        latent_panels(c, name, iteration, &m, s.first);
        if (name == ROLE_LATENT_OUT) {
            down_shared(c, iteration, s.first, s.last);
        }
    }
}

// z of all tokens. Complete after the next barrier.
INLINE void latent_enter(Context *c, int64_t iteration) {
    latent_phase(c, ROLE_LATENT_IN, iteration, c->few ? layer_tuned.schedule.few_up_tasks : layer_tuned.schedule.up_tasks);
}

// x_{t+1} from the routed experts' sum, and the shared experts. Complete after the next barrier.
INLINE void latent_leave(Context *c, int64_t iteration) {
    latent_phase(c, ROLE_LATENT_OUT, iteration, c->few ? layer_tuned.schedule.few_down_tasks : layer_tuned.schedule.down_tasks);
}

#endif
