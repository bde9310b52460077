// The matrices of pool entries, panel by panel: which tile multiplies, and what it prefetches meanwhile.
#ifndef CATENA_PANELS_H
#define CATENA_PANELS_H

#include "buckets.h"

// The matrices of one role of one pool entry, and the tiles that multiply by them.
typedef struct Matrix {
    const Role *role;
    const uint8_t *weights;
    const float *bias;  // in panel order; 0: none
    int64_t last;  // index behind the last panel that the task takes
    const uint8_t *after;  // panel of another entry that the task goes on with
    Tile *tile, *widening, *widened, *blocked;
} Matrix;

// The tiles of one panel (or two) over `count` rows of A, one after the other.
typedef struct Walk {
    const Matrix *matrix;
    const uint8_t *panel;
    const uint8_t *next;  // the panel that the task reads after it
    int64_t panels, tiles;
    float *widened;       // where the panel is kept as fp32; 0: it is not kept
} Walk;

INLINE Walk panels_walk(const Context *c, const Matrix *m, int64_t count, int64_t panel, int64_t panels) {
    const Role *role = m->role;
    Walk w = {.matrix = m, .panel = m->weights + panel * role->layout.panel_bytes, .panels = panels};
    w.tiles = (count + tuned(role)->max_rows - 1) / tuned(role)->max_rows;
    w.next = panel + panels < m->last ? w.panel + panels * role->layout.panel_bytes : m->after;
    if (tuned(role)->widen_tiles && w.tiles >= tuned(role)->widen_tiles) {
        w.widened = (float *)context_private(c, c->space.widened);
    }
    return w;
}

// Every tall tile prefetches its share of the next panel: ahead_bytes in each of two streams, over all steps of all tiles. A low
// one is told what is read after it.
INLINE void panels_tile(const Walk *w, int64_t tile, int64_t height, const void *a, float *out) {
    const Role *role = w->matrix->role;
    const uint8_t *ahead = w->next + tile * (role->ahead_bytes / w->tiles);
    if (!w->widened && height <= tuned(role)->wide_rows) {
        ahead = tile + 1 < w->tiles ? w->panel : w->next;
    }
    int64_t share = role->ahead_bytes / w->tiles, steps = plan_steps(role);
    if (w->widened && tile) {
        w->matrix->widened(height, 1, a, w->widened, out, ahead, share / role->layout.depth_padded, 0);
    } else if (w->widened) {
        w->matrix->widening(height, 1, a, w->panel, out, ahead, share / steps, w->widened);
    } else {
        w->matrix->tile(height, w->panels, a, w->panel, out, ahead, share / steps, 0);
    }
}

// --- blocks of k -------------------------------------------------------------------------------------------------------------
// Where more rows than fit the first-level cache meet each panel but once or twice, it is the rows that are read from further away,
// panel after panel. Then k is cut: the rows' part of one block stays near while the panels of a group pass by, and their sums are
// kept meanwhile. Each is still one chain over ascending k.

// Panels of a group; 0: k is not cut, because the rows are too few or the panels are decoded once.
INLINE int64_t panels_group(const Role *role, int64_t count) {
    const Role *r = tuned(role);
    int64_t tiles = (count + r->max_rows - 1) / r->max_rows;
    int64_t pays = r->k_blocks > 1 && count > r->wide_rows && !(r->widen_tiles && tiles >= r->widen_tiles);
    return pays ? BLOCK_SUMS / (count * TILE_STRIDE) * 2 : 0;
}

// Sums of panel p of a group for row r: pairs of panels share rows of TILE_STRIDE.
INLINE float *panels_sums(float *sums, int64_t count, int64_t p, int64_t r) {
    return sums + (p / 2 * count + r) * TILE_STRIDE + p % 2 * PANEL_COLUMNS;
}

// All of k for `count` rows of A (input_stride apart) and panels [panel, panel + group).
INLINE void panels_blocks(const Matrix *m, int64_t count, const uint8_t *a, int64_t panel, int64_t group, float *sums) {
    const Role *role = m->role;
    int64_t blocks = tuned(role)->k_blocks, weight_bytes = role->layout.panel_bytes / blocks;
    int64_t input_bytes = role->layout.depth_padded / blocks * form_bytes[role->input];
    int64_t tiles = (count + tuned(role)->max_rows - 1) / tuned(role)->max_rows, share = role->ahead_bytes / blocks / tiles;
    int64_t steps = plan_steps(role) / blocks;
    for (int64_t i = 0; i < (group + 1) / 2 * count * TILE_STRIDE; i += LANES) {
        vector_store(sums + i, vector_set(0));
    }
    for (int64_t i = 0; i < blocks * group; i++) {
        int64_t block = i / group, p = i % group, after = i + 1;
        const uint8_t *w = m->weights + (panel + p) * role->layout.panel_bytes + block * weight_bytes, *next = m->after;
        if (after < blocks * group) {
            next = m->weights + (panel + after % group) * role->layout.panel_bytes + after / group * weight_bytes;
        } else if (panel + group < m->last) {
            next = m->weights + (panel + group) * role->layout.panel_bytes;
        }
        for (int64_t t = 0; t < tiles; t++) {
            int64_t row = share_start(count, t, tiles), height = share_start(count, t + 1, tiles) - row;
            m->blocked(height, 1, a + row * role->input_stride + block * input_bytes, w, panels_sums(sums, count, p, row),
                       next + t * share, share / steps, 0);
        }
    }
}

// The place of a pool entry's matrix among those of its role.
INLINE int64_t panels_index(int64_t e) {
    return buckets_is_shared(e) ? e - layer_plan.layer.experts : e;
}

// Where a pool entry's matrix of a phase is: in the routed or the shared experts' role.
INLINE const uint8_t *panels_weights(const Context *c, int64_t e, RoleName routed, RoleName shared) {
    const Role *role = &layer_plan.roles[buckets_is_shared(e) ? shared : routed];
    return c->call->weights + role->layout.offset + panels_index(e) * role->layout.matrix_bytes;
}

// Panels [.., last) of pool entry e; behind them comes panel `next_first` of entry `next`, unless that is c->last.
INLINE Matrix panels_matrix(const Context *c, int64_t e, int64_t next, RoleName routed, RoleName shared, int64_t last,
                            int64_t next_first) {
    const Role *role = &layer_plan.roles[buckets_is_shared(e) ? shared : routed];
    Matrix m = {.role = role, .weights = panels_weights(c, e, routed, shared), .last = last};
    if (role->layout.bias_offset >= 0) {
        m.bias =
            (const float *)(c->call->weights + role->layout.bias_offset) + panels_index(e) * role->layout.panels * PANEL_COLUMNS;
    }
    const Role *next_role = &layer_plan.roles[buckets_is_shared(next) ? shared : routed];
    m.after = next < c->last ? panels_weights(c, next, routed, shared) + next_first * next_role->layout.panel_bytes : m.weights;
    return m;
}

// The intermediate values h of a row of pool entry e.
INLINE uint8_t *panels_intermediate(const Context *c, int64_t e, int64_t row) {
    if (buckets_is_shared(e)) {
        int64_t place = panels_index(e) * c->call->tokens + row;
        return c->call->workspace + c->space.shared + place * layer_plan.roles[ROLE_SHARED_DOWN].input_stride;
    }
    int64_t place = c->starts[e] - buckets_wave_start(c) + row;
    return c->call->workspace + c->space.intermediate + place * layer_plan.roles[ROLE_DOWN].input_stride;
}

INLINE int64_t panels_pairs(const Role *role) {
    return (role->layout.panels + 1) / 2;
}

#endif
