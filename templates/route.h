// Routing of one iteration: logits z = softcap(scale W_t x_t + b), scores, selection, weights; and the shared experts' gates.
// See docs/description.md, "What is computed".
#ifndef CATENA_ROUTE_H
#define CATENA_ROUTE_H

#include "context.h"
#include "weigh.h"

// Logits that selection looks at: all choices, in whole vectors.
INLINE int64_t route_width(void) {
    return plan_round_up(layer_choices(&layer_plan.layer), LANES);
}

INLINE int64_t route_gate(int64_t iteration) {
    return layer_plan.layer.gate_per_iteration ? iteration : 0;
}

// W_t x_t of `rows` consecutive tokens for panels [first, last).
INLINE void route_product(const Context *c, int64_t iteration, int64_t token, int64_t rows, int64_t first, int64_t last,
                          float *logits) {
    const Role *role = &layer_plan.roles[ROLE_ROUTER];
    const uint8_t *matrix = c->call->weights + role->layout.offset + route_gate(iteration) * role->layout.matrix_bytes;
    float out[TILE_MAX_ROWS * TILE_STRIDE] __attribute__((aligned(64)));
    int64_t width = rows <= role->wide_rows ? TILE_MAX_PANELS : 1;
    for (int64_t panel = first; panel < last;) {
        int64_t panels = minimum(width, last - panel);
        const uint8_t *weights = matrix + panel * role->layout.panel_bytes;
        tile_router(rows, panels, context_state(c, iteration, token), weights, out, weights + panels * role->layout.panel_bytes,
                    role->ahead_bytes / plan_steps(role), 0);
        for (int64_t r = 0; r < rows; r++) {
            for (int64_t j = 0; j < panels * PANEL_COLUMNS; j += LANES) {
                vector_store(logits + (r * role->layout.panels + panel) * PANEL_COLUMNS + j,
                             vector_load(out + r * TILE_STRIDE + j));
            }
        }
        panel += panels;
    }
}

// Products become logits in place; minus infinity behind the last choice. Returns whether all are finite (z - z is NaN otherwise),
// before the cap, which would hide an overflow. A bias of minus infinity excludes a choice: its logit is that, its product counts.
INLINE int route_logits(const Context *c, int64_t iteration, float *logits) {
    const Layer *layer = &layer_plan.layer;
    const Role *role = &layer_plan.roles[ROLE_ROUTER];
    const float *bias =
        (const float *)(c->call->weights + role->layout.bias_offset) + route_gate(iteration) * role->layout.panels * PANEL_COLUMNS;
    int64_t choices = layer_choices(layer);
    Integers bad = integers_set(0);
    for (int64_t e = 0; e < route_width(); e += LANES) {
        Vector z = vector_load(logits + e), scale = vector_set(layer->logit_scale);
        Integers real = integers_from(e) < (int32_t)choices, open = real;
        if (role->layout.bias_offset >= 0) {
            open &= vector_load(bias + e) >= -__FLT_MAX__;
            z = vector_select(real & ~open, z * scale, vector_fma(scale, z, vector_load(bias + e)));
        } else {
            z = z * scale;
        }
        bad |= real & (z - z != 0.0f);
        if (layer->softcap != 0.0f) {
            z = vector_tanh(z / layer->softcap) * layer->softcap;
        }
        vector_store(logits + e, vector_select(open, z, vector_set(-__builtin_inff())));
    }
    return !integers_bits(bad);
}

// Weights of the shared experts: sigmoids of the columns behind the choices, times the scale, which joint ones get with their norm.
// Returns whether all are finite.
INLINE int route_shared_gates(const float *products, float *gates) {
    const Layer *layer = &layer_plan.layer;
    int finite = 1;
    for (int64_t j = 0; j < layer->shared_experts; j++) {
        float z = products[layer_choices(layer) + j];
        finite &= z - z == 0.0f;
        gates[j] = vector_sigmoid(vector_set(z))[0] * (layer->shared_joint ? 1 : layer->shared_scale);
    }
    return finite;
}

// Rows of a thread's room for ranking one token.
typedef enum RanksRow { RANKS_ORDER, RANKS_SCORES, RANKS_GROUPS } RanksRow;

INLINE float *route_ranks(const Context *c, RanksRow row) {
    return (float *)context_private(c, c->space.ranks) + row * layer_plan.roles[ROLE_ROUTER].layout.panels * PANEL_COLUMNS;
}

INLINE float *route_scores_out(const Context *c, int64_t iteration, int64_t token) {
    return c->call->scores_out + (iteration * c->call->routing_tokens + token) * layer_choices(&layer_plan.layer);
}

// Scores of all choices for the caller who asked for them. Not inlined: they rarely are.
__attribute__((noinline)) static void route_report(float *to, const float *logits, float largest, float sum) {
    const Layer *layer = &layer_plan.layer;
    int64_t choices = layer_choices(layer);
    for (int64_t e = 0; e < choices; e += LANES) {
        Vector s = score_apply((Score)layer->score, vector_load(logits + e), (ScoreWhole){largest, sum});
        for (int64_t j = 0; j < minimum(LANES, choices - e); j++) {
            to[e + j] = s[j];
        }
    }
}

// Scores and ranks of all choices, as far as the rule of selection needs them.
INLINE Ranking route_ranking(const Context *c, int64_t iteration, int64_t token, const float *logits, ScoreWhole whole) {
    const Layer *layer = &layer_plan.layer;
    float *ranks = route_ranks(c, RANKS_ORDER), *scores = route_ranks(c, RANKS_SCORES);
    const float *correction = (const float *)(c->call->weights + layer_plan.layout.correction_offset) +
                              route_gate(iteration) * layer_plan.roles[ROLE_ROUTER].layout.panels * PANEL_COLUMNS;
    for (int64_t e = 0; e < route_width(); e += LANES) {
        Vector z = vector_load(logits + e), rank = z;
        if (select_wants_scores(layer)) {
            Vector s = score_apply((Score)layer->score, z, whole);
            vector_store(scores + e, s);
            rank = select_ranks_scores(layer) ? s : z;
        }
        if (layer->correction) {
            rank += vector_load(correction + e);
        }
        Integers real = integers_from(e) < (int32_t)layer_choices(layer);
        if (layer->router_bias) {  // it may exclude choices
            real &= z >= -__FLT_MAX__;
        }
        vector_store(ranks + e, vector_select(real, rank, vector_set(-__builtin_inff())));
    }
    return (Ranking){
        .logits = logits,
        .scores = scores,
        .ranks = ranks,
        .width = route_width(),
        .most = layer->k_per_token && c->call->k_in ? c->call->k_in[token] : layer->top_k,
        .experts = c->experts + token * layer->top_k,
        .weights = c->weights + token * layer->top_k,
        .expert_scale = layer->expert_scale ? (const float *)(c->call->weights + layer_plan.layout.expert_scale_offset) : 0,
        .gates = layer->shared_joint ? c->shared_gates + token * layer->shared_experts : 0};
}

// One token's choices and weights from its logits.
INLINE void route_select(const Context *c, int64_t iteration, int64_t token, const float *logits) {
    const Layer *layer = &layer_plan.layer;
    ScoreWhole whole = score_whole((Score)layer->score, logits, route_width());
    if (c->call->scores_out && c->publishes) {
        route_report(route_scores_out(c, iteration, token), logits, whole.largest, whole.sum);
    }
    Ranking ranking = route_ranking(c, iteration, token, logits, whole);
    if (layer->groups > 1) {
        ranking_limit_groups(&ranking, layer, route_ranks(c, RANKS_GROUPS));
    }
    int64_t chosen = select_apply(&ranking, layer);
    weigh_chosen(&ranking, layer, whole, select_fills_slots(layer) ? layer->top_k : chosen);
}

// A token that is routed nowhere: now, and in the iterations that follow.
INLINE void route_reject(const Context *c, int64_t iteration, int64_t token) {
    const Layer *layer = &layer_plan.layer;
    c->rejected[token] = 1;
    for (int64_t s = 0; s < layer->top_k; s++) {
        c->experts[token * layer->top_k + s] = -1;
        c->weights[token * layer->top_k + s] = 0;
    }
    for (int64_t j = 0; layer->shared_gated && j < layer->shared_experts; j++) {
        c->shared_gates[token * layer->shared_experts + j] = 0;
    }
    if (c->call->scores_out && c->publishes) {
        __builtin_memset(route_scores_out(c, iteration, token), 0, (uint64_t)layer_choices(layer) * sizeof(float));
    }
}

// One token's routing from the router's products, which are used up.
INLINE void route_token(const Context *c, int64_t iteration, int64_t token, float *products) {
    const Layer *layer = &layer_plan.layer;
    int finite = !c->rejected[token];
    if (layer->shared_gated) {
        finite &= route_shared_gates(products, c->shared_gates + token * layer->shared_experts);
    }
    if (!c->call->experts_in || layer->shared_joint) {
        finite &= route_logits(c, iteration, products);
    }
    if (!finite) {
        route_reject(c, iteration, token);
    } else if (!c->call->experts_in) {
        route_select(c, iteration, token, products);
    } else if (layer->shared_joint) {
        weigh_gates_beside(products, c->experts + token * layer->top_k, c->shared_gates + token * layer->shared_experts, layer);
    }
}

// Many tokens: each thread routes its own rows. Panels before `panel` are not needed.
INLINE void route_own_rows(const Context *c, int64_t iteration, int64_t panel, int64_t first, int64_t last) {
    const Role *role = &layer_plan.roles[ROLE_ROUTER];
    float *products = (float *)context_private(c, c->space.row_logits);
    int64_t width = role->layout.panels * PANEL_COLUMNS;
    for (int64_t token = first; token < last;) {
        int64_t rows = minimum(role->max_rows, last - token);
        route_product(c, iteration, token, rows, panel, role->layout.panels, products);
        for (int64_t r = 0; r < rows; r++) {
            route_token(c, iteration, token + r, products + r * width);
        }
        token += rows;
    }
}

// Few tokens: the threads share out the router's columns, then every thread selects for all tokens.
INLINE void route_few_rows(const Context *c, int64_t iteration, int64_t panel) {
    const Role *role = &layer_plan.roles[ROLE_ROUTER];
    float *shared = (float *)(c->call->workspace + c->space.logits);
    float *own = (float *)context_private(c, c->space.row_logits);
    int64_t width = role->layout.panels * PANEL_COLUMNS, tokens = c->call->tokens, panels = role->layout.panels - panel;
    int64_t first = panel + share_start(panels, c->thread, c->threads);
    int64_t last = panel + share_start(panels, c->thread + 1, c->threads);
    for (int64_t token = 0; token < tokens; token += role->max_rows) {
        route_product(c, iteration, token, minimum(role->max_rows, tokens - token), first, last, shared + token * width);
    }
    team_barrier(c->team);
    for (int64_t token = 0; token < tokens; token++) {
        __builtin_memcpy(own, shared + token * width, (uint64_t)width * sizeof(float));
        route_token(c, iteration, token, own);
    }
}

// Copies given routing in, or routing that was asked for out.
INLINE void route_exchange(const Context *c, int64_t iteration, int64_t first, int64_t last, int out) {
    int64_t k = layer_plan.layer.top_k, offset = iteration * c->call->routing_tokens * k;
    for (int64_t i = first * k; i < last * k; i++) {
        if (out) {
            c->call->experts_out[offset + i] = c->experts[i];
            c->call->weights_out[offset + i] = c->weights[i];
        } else {
            c->experts[i] = c->call->experts_in[offset + i];
            c->weights[i] = c->call->weights_in[offset + i];
        }
    }
}

// Fills experts and weights of one iteration (and gates of shared experts). Many tokens: complete after the next barrier. Few:
// complete on return. Where routing is given the router's product is made for the shared experts' gates alone, unless they are
// joint. Returns whether the threads have met at a barrier.
INLINE int route_iteration(const Context *c, int64_t iteration, int64_t first, int64_t last) {
    const Layer *layer = &layer_plan.layer;
    int64_t tokens = c->call->tokens,
            panel = c->call->experts_in && !layer->shared_joint ? layer_choices(layer) / PANEL_COLUMNS : 0;
    if (c->call->experts_in) {
        route_exchange(c, iteration, c->few ? 0 : first, c->few ? tokens : last, 0);
    }
    int product = !c->call->experts_in || layer->shared_gated;
    if (product) {
        if (c->few) {
            route_few_rows(c, iteration, panel);
        } else {
            route_own_rows(c, iteration, panel, first, last);
        }
    }
    if (c->call->experts_out && c->publishes) {
        route_exchange(c, iteration, c->few ? 0 : first, c->few ? tokens : last, 1);
    }
    return product && c->few;
}

#endif
