// The boundary between a skeleton (templates/), the tiles (emitted, or templates/tiles_plain.c) and the runtime.
#ifndef CATENA_SKELETON_H
#define CATENA_SKELETON_H

#include "plan.h"

// A team of threads inside one forward. Owned by the runtime.
typedef struct Team Team;

// Waits until every thread of the team has come here. Memory written before is seen after. No-op for a team of one.
void team_barrier(Team *team);

enum { TASK_COUNTERS = 3 };

// One forward of one layer instance: the same value is seen by all threads of the team.
// Strides are in elements of the interface's format. tokens <= the workspace's chunk.
typedef struct Call {
    const uint8_t *weights;     // packed instance, aligned to WEIGHTS_ALIGNMENT
    const void *x;              // [tokens][hidden], Interface layer.activations
    int64_t x_stride;
    void *y;                    // [tokens][hidden]; may be x itself (same stride), must not overlap it otherwise
    int64_t y_stride;
    int64_t tokens;
    // Routing, [iterations][routing_tokens][top_k]; slots that are not used come last and hold expert -1 and weight 0.
    int64_t routing_tokens;     // tokens of the whole forward (a chunk is a part of it)
    int32_t *experts_out;       // NULL: not wanted. In order of ranking (layer.h: Selection), or ascending: select_threshold.h
    float *weights_out;         // as applied, to inputs or outputs
    const int32_t *experts_in;  // NULL: the layer's router chooses; otherwise no router runs
    const float *weights_in;
    const int32_t *k_in;        // [tokens]: each token's k, k_min..top_k; NULL: top_k (layer.k_per_token only)
    float *scores_out;          // [iterations][routing_tokens][choices], the scores of all choices; NULL: not wanted, or given
    uint8_t *workspace;         // plan_workspace(...).bytes, aligned to 4096
    int64_t next_task[TASK_COUNTERS]; // zero at the start, used atomically: phases take turns, each clears the one after it
} Call;

// Offsets within a workspace for `tokens` tokens and `threads` threads, in bytes.
typedef struct Workspace {
    int64_t state[2];      // x_t and x_{t+1}: fp32 rows of roles[ROLE_ROUTER].input_stride bytes
    int64_t latent[2];     // of a latent layer, by LatentRow: fp32 rows of plan_latent_stride bytes
    int64_t intermediate;  // h of the routed experts of one wave: rows of roles[ROLE_DOWN].input_stride in expert order
    int64_t shared;        // h of shared experts: [shared_experts][tokens] rows of roles[ROLE_SHARED_DOWN].input_stride
    int64_t experts;       // int32 [tokens][top_k] of the current iteration
    int64_t weights;       // float [tokens][top_k]
    int64_t shared_gates;  // float [tokens][shared_experts]: weights of shared experts in the current iteration, if gated
    int64_t rejected;      // uint8 [tokens]: the token's logits were not finite in this or an earlier iteration
    int64_t logits;        // float [few_tokens][router panels * 32]: the router's product when its columns are shared out
    int64_t thread;        // first thread's private part
    int64_t thread_bytes;  // size of a private part
    // within a private part
    int64_t starts;        // int64 [choices + 1]: first row of each choice's bucket
    int64_t rows;          // int32 [tokens * top_k]: token of each row, in expert order, tokens ascending
    int64_t row_weights;   // float [tokens * top_k]
    int64_t prepared;      // block_rows prepared rows of A
    int64_t row_logits;    // float [TILE_MAX_ROWS][router panels * 32]
    int64_t widened;       // one panel decoded to fp32
    int64_t sums;          // float [BLOCK_SUMS]: sums of several panels while blocks of k are taken
    int64_t few_experts;   // int32 [few_tokens][top_k], float, uint8: a thread's own copy when every thread selects for all
    int64_t few_weights;
    int64_t few_rejected;
    int64_t few_shared_gates;
    int64_t ranks;  // float [3][router panels * 32]: ranking values, scores, groups' scores while a token's choices are made
    int64_t bytes;  // of the whole workspace
} Workspace;

static inline int64_t workspace_take(int64_t *end, int64_t bytes) {
    int64_t start = *end;
    *end = plan_round_up(start + bytes, 64);
    return start;
}

static inline Workspace plan_workspace(const Plan *plan, int64_t tokens, int64_t threads) {
    const Layer *layer = &plan->layer;
    const Role *roles = plan->roles;
    Workspace w;
    int64_t end = 0, slots = tokens * layer->top_k;
    int64_t prepared = roles[ROLE_GATE_UP].input_stride;
    for (int r = ROLE_SHARED_GATE_UP; r < ROLE_COUNT; r++) {  // down's rows are not made there but by gate/up
        prepared = r != ROLE_SHARED_DOWN && roles[r].input_stride > prepared ? roles[r].input_stride : prepared;
    }
    int64_t logits = roles[ROLE_ROUTER].layout.panels * PANEL_COLUMNS * (int64_t)sizeof(float);
    w.state[0] = workspace_take(&end, tokens * roles[ROLE_ROUTER].input_stride);
    w.state[1] = workspace_take(&end, tokens * roles[ROLE_ROUTER].input_stride);
    w.latent[0] = workspace_take(&end, tokens * plan_latent_stride(layer));
    w.latent[1] = workspace_take(&end, tokens * plan_latent_stride(layer));
    w.intermediate =
        workspace_take(&end, (slots < plan->schedule.wave_rows ? slots : plan->schedule.wave_rows) * roles[ROLE_DOWN].input_stride);
    w.shared = workspace_take(&end, tokens * layer->shared_experts * roles[ROLE_SHARED_DOWN].input_stride);
    w.experts = workspace_take(&end, slots * (int64_t)sizeof(int32_t));
    w.weights = workspace_take(&end, slots * (int64_t)sizeof(float));
    w.shared_gates = workspace_take(&end, layer->shared_gated * tokens * layer->shared_experts * (int64_t)sizeof(float));
    w.rejected = workspace_take(&end, tokens);
    w.logits = workspace_take(&end, plan->schedule.few_tokens * logits);
    w.thread = end = plan_round_up(end, 4096);
    w.starts = workspace_take(&end, (layer_choices(layer) + 1) * (int64_t)sizeof(int64_t)) - w.thread;
    w.rows = workspace_take(&end, slots * (int64_t)sizeof(int32_t)) - w.thread;
    w.row_weights = workspace_take(&end, slots * (int64_t)sizeof(float)) - w.thread;
    w.prepared = workspace_take(&end, plan->schedule.block_rows * prepared) - w.thread;
    w.row_logits = workspace_take(&end, TILE_MAX_ROWS * logits) - w.thread;
    int64_t depth = 0;
    for (int r = 0; r < ROLE_COUNT; r++) {
        depth = roles[r].widen_tiles && roles[r].layout.depth_padded > depth ? roles[r].layout.depth_padded : depth;
    }
    w.widened = workspace_take(&end, depth * PANEL_COLUMNS * (int64_t)sizeof(float)) - w.thread;
    w.sums = workspace_take(&end, BLOCK_SUMS * (int64_t)sizeof(float)) - w.thread;
    w.few_experts = workspace_take(&end, plan->schedule.few_tokens * layer->top_k * (int64_t)sizeof(int32_t)) - w.thread;
    w.few_weights = workspace_take(&end, plan->schedule.few_tokens * layer->top_k * (int64_t)sizeof(float)) - w.thread;
    w.few_rejected = workspace_take(&end, plan->schedule.few_tokens) - w.thread;
    w.few_shared_gates =
        workspace_take(&end, layer->shared_gated * plan->schedule.few_tokens * layer->shared_experts * (int64_t)sizeof(float)) -
        w.thread;
    w.ranks = workspace_take(&end, 3 * logits) - w.thread;
    w.thread_bytes = plan_round_up(end - w.thread, 4096);
    w.bytes = w.thread + w.thread_bytes * threads;
    return w;
}

// The skeleton's one entry: run by every thread of the team. Returns on each thread when y is complete as far as that thread's
// part goes (the caller joins the team). Rows of tokens whose logits were not finite hold NaN; their flags are in
// workspace.rejected.
typedef void LayerForward(Call *call, Team *team, int64_t thread, int64_t threads);

// A tile of one role: out[r][c] = sum over ascending k of a[r][k] * w[k][c] for r < rows, c < panels * 32.
// a: rows of the role's input_stride bytes in its input format; w: `panels` consecutive packed panels, 64-byte aligned;
// out: fp32 rows of TILE_STRIDE floats, 64-byte aligned. rows <= max_rows; panels is 1, or 2 if rows <= wide_rows.
// Reads exactly rows x depth_padded elements of a and panels * panel_bytes bytes of w.
// Prefetches may touch any address. A tile of up to wide_rows rows prefetches w itself, `prefetch` and `prefetch_far` bytes ahead;
// behind the end of w it goes on with `ahead`, which is read next. A taller tile is told where to prefetch: step i touches
// ahead + i * advance and, in a second stream, ahead + i * advance + role.ahead_bytes.
typedef void Tile(int64_t rows, int64_t panels, const void *a, const void *w, float *out, const void *ahead, int64_t advance,
                  float *widened);
Tile tile_router, tile_gate_up, tile_down, tile_shared_gate_up, tile_shared_down, tile_latent_in, tile_latent_out;
// A thread calls this after its last tile of a forward: paths whose registers outlive a tile give them back.
void tile_leave(void);

// Where role.widen_tiles is not 0, the first of several tiles on a panel leaves it decoded in `widened` as [depth_padded][32]
// floats (the others ignore that argument), and the rest read it from there as w. Always one panel, always told where to prefetch.
Tile tile_gate_up_widening, tile_down_widening, tile_shared_gate_up_widening, tile_shared_down_widening;
Tile tile_gate_up_widened, tile_down_widened, tile_shared_gate_up_widened, tile_shared_down_widened;
Tile tile_latent_in_widening, tile_latent_out_widening, tile_latent_in_widened, tile_latent_out_widened;

// Where role.k_blocks is more than 1: the sum over one of role.k_blocks equal blocks of k (plan_blocked_role) is added to what is
// in `out`. Always one panel, always told where to prefetch.
Tile tile_gate_up_blocked, tile_down_blocked, tile_shared_gate_up_blocked, tile_shared_down_blocked;
Tile tile_latent_in_blocked, tile_latent_out_blocked;

#endif
