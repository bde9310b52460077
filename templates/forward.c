// The skeleton of a layer: one thread's way through all iterations.
//
//     x_0 = norm(h);  for t: route(x_t); x_{t+1} = (inner ? inner_alpha x_t : 0) + sum of w_e E_e(x_t);
//     (of a latent layer + W_out of the sum of w_e E_e(z), z = norm(W_in x_t))
//     out = (outer ? alpha h : 0) + multiplier post_norm(x_T)
//
// Compiled to bitcode and specialised by a constant plan in libraries; compiled natively, with the plan as a variable and plain C
// tiles, for the sanitizers.
#include "experts.h"
#include "norm.h"
#include "route.h"

void layer_forward(Call *call, Team *team, int64_t thread, int64_t threads);

void layer_forward(Call *call, Team *team, int64_t thread, int64_t threads) {
    Context c = {.call = call, .team = team, .thread = thread, .threads = threads};
    int64_t tokens = call->tokens;
    int64_t first = share_start(tokens, thread, threads), last = share_start(tokens, thread + 1, threads);
    uint8_t *shared_rejected;
    c.space = plan_workspace(&layer_tuned, tokens, threads);
    c.few = tokens <= layer_tuned.schedule.few_tokens;
    c.publishes = !c.few || thread == 0;
    c.experts = (int32_t *)(c.few ? context_private(&c, c.space.few_experts) : call->workspace + c.space.experts);
    c.weights = (float *)(c.few ? context_private(&c, c.space.few_weights) : call->workspace + c.space.weights);
    c.shared_gates = (float *)(c.few ? context_private(&c, c.space.few_shared_gates) : call->workspace + c.space.shared_gates);
    c.rejected = shared_rejected = call->workspace + c.space.rejected;
    c.starts = (int64_t *)context_private(&c, c.space.starts);
    c.rows = (int32_t *)context_private(&c, c.space.rows);
    c.row_weights = (float *)context_private(&c, c.space.row_weights);

    norm_prepare_rows(&c, first, last);
    if (c.few) {  // from here on every thread keeps its own flags, the first one's are published at the end
        c.rejected = context_private(&c, c.space.few_rejected);
        for (int64_t token = 0; token < tokens; token++) {
            c.rejected[token] = 0;
        }
        team_barrier(team);
    } else if (layer_plan.layer.latent) {
        team_barrier(team);  // the projection reads the rows of all threads
    }
    for (int64_t t = 0; t < layer_plan.layer.iterations; t++) {
        if (layer_plan.layer.latent) {
            latent_enter(&c, t);
        }
        if (layer_plan.layer.latent && layer_plan.layer.latent_norm != NORM_NONE) {
            team_barrier(team);  // a norm needs whole rows
            norm_latent_rows(&c, first, last);
        }
        int met = route_iteration(&c, t, first, last);
        if (!c.few || (layer_plan.layer.latent && !met)) {
            team_barrier(team);
        }
        experts_iteration(&c, t);
        if (t + 1 < layer_plan.layer.iterations) {
            team_barrier(team);
        }
    }
    tile_leave();
    if (layer_plan.layer.post_norm != NORM_NONE) {
        team_barrier(team);  // a norm needs whole rows
        norm_finish_rows(&c, first, last);
    }
    if (c.few && thread == 0) {
        for (int64_t token = 0; token < tokens; token++) {
            shared_rejected[token] = c.rejected[token];
        }
    }
}
