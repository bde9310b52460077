// The layout of packed weights, which follows from the layer alone, and the forms of activations, which follow from the paths.
// Layout: norm, norm bias, coe weights, router matrices, router biases, corrections, gate/up of every expert, its biases, down, its
// biases, then the same for the shared experts, then the norm of x_T and the other learnt vectors, then the projections of a latent
// layer and their norm. Every section and every panel starts at a multiple of WEIGHTS_ALIGNMENT.
#include <string.h>

#include "targets/target.h"
#include "text.h"

static int64_t gate_up_columns(int64_t intermediate, int gated) {
    return gated ? plan_round_up(intermediate, PANEL_GROUP) * 2 : intermediate;
}

static int64_t take(int64_t *end, int64_t bytes) {
    int64_t offset = *end;
    *end = plan_round_up(offset + bytes, WEIGHTS_ALIGNMENT);
    return offset;
}

static void lay_out(MatrixLayout *layout, int64_t matrices, int64_t depth, int64_t columns, Format weights, int biased,
                    int64_t *end) {
    int64_t step = format_facts[weights].step;
    layout->matrices = matrices;
    layout->depth = depth;
    layout->depth_padded = plan_round_up(depth, step > 2 ? step : 2);
    layout->columns = columns;
    layout->panels = plan_round_up(columns, PANEL_COLUMNS) / PANEL_COLUMNS;
    layout->weights = weights;
    layout->panel_bytes = plan_round_up(format_bytes(weights, layout->depth_padded), WEIGHTS_ALIGNMENT);
    layout->matrix_bytes = layout->panels * layout->panel_bytes;
    layout->offset = take(end, matrices * layout->matrix_bytes);
    layout->bias_offset = biased ? take(end, matrices * layout->panels * PANEL_COLUMNS * 4) : -1;
}

// Gate and up of one pool, and down, in this order.
static void lay_out_experts(Plan *plan, RoleName gate_up, RoleName down, int64_t count, int64_t width, int64_t intermediate,
                            int biased, int64_t *end) {
    const Layer *layer = &plan->layer;
    lay_out(&plan->roles[gate_up].layout, count, width, gate_up_columns(intermediate, layer->gated), plan_format(layer, gate_up),
            biased, end);
    lay_out(&plan->roles[down].layout, count, intermediate, width, plan_format(layer, down), biased, end);
}

// The projections before and after the routed experts, and the norm of what these read.
static void lay_out_latent(Plan *plan, int64_t *end) {
    const Layer *layer = &plan->layer;
    Role *in = &plan->roles[ROLE_LATENT_IN], *out = &plan->roles[ROLE_LATENT_OUT];
    plan->layout.latent_norm_offset = -1;
    if (!layer->latent) {
        memset(in, 0, sizeof *in);
        memset(out, 0, sizeof *out);
        return;
    }
    lay_out(&in->layout, 1, layer->hidden, layer->latent, plan_format(layer, ROLE_LATENT_IN), 0, end);
    lay_out(&out->layout, 1, layer->latent, layer->hidden, plan_format(layer, ROLE_LATENT_OUT), 0, end);
    if (layer->latent_norm != NORM_NONE) {
        plan->layout.latent_norm_offset = take(end, layer->latent * 4);
    }
}

// Everything that follows from the layer alone.
static void lay_out_weights(Plan *plan) {
    const Layer *layer = &plan->layer;
    Layout *layout = &plan->layout;
    int64_t end = 0, hidden = layer->hidden, routers = layer_routers(layer);
    layout->norm_offset = layer->norm == NORM_NONE ? -1 : take(&end, hidden * 4);
    layout->norm_bias_offset = layer_has_tensor(layer, TENSOR_NORM_BIAS) ? take(&end, hidden * 4) : -1;
    layout->coe_weight_offset = layer->coe_weight ? take(&end, (layer->iterations - 1) * 4) : -1;
    MatrixLayout *router = &plan->roles[ROLE_ROUTER].layout;
    lay_out(router, routers, hidden, layer_router_columns(layer), plan_format(layer, ROLE_ROUTER), layer->router_bias, &end);
    layout->correction_offset = layer->correction ? take(&end, routers * router->panels * PANEL_COLUMNS * 4) : -1;
    lay_out_experts(plan, ROLE_GATE_UP, ROLE_DOWN, layer->experts, layer_pool_width(layer), layer->intermediate, layer->expert_bias,
                    &end);
    if (layer->shared_experts) {
        lay_out_experts(plan, ROLE_SHARED_GATE_UP, ROLE_SHARED_DOWN, layer->shared_experts, hidden, layer->shared_intermediate,
                        layer->shared_bias, &end);
    } else {
        memset(&plan->roles[ROLE_SHARED_GATE_UP], 0, 2 * sizeof(Role));
        plan->roles[ROLE_SHARED_GATE_UP].layout.bias_offset = plan->roles[ROLE_SHARED_DOWN].layout.bias_offset = -1;
    }
    layout->post_norm_offset = layer->post_norm == NORM_NONE ? -1 : take(&end, hidden * 4);
    layout->expert_scale_offset = layer->expert_scale ? take(&end, layer->experts * 4) : -1;
    layout->output_bias_offset = layer->output_bias ? take(&end, plan_round_up(hidden, PANEL_COLUMNS) * 4) : -1;
    layout->output_scale_offset = layer->output_scale ? take(&end, hidden * 4) : -1;
    layout->residual_bias_offset = layer->residual_bias ? take(&end, hidden * 4) : -1;
    layout->residual_scale_offset = layer->residual_scale ? take(&end, hidden * 4) : -1;
    lay_out_latent(plan, &end);
    layout->instance_bytes = plan_round_up(end, 4096);
}

void plan_layout(Plan *plan) {
    lay_out_weights(plan);
    for (int r = 0; r < ROLE_COUNT; r++) {
        Role *role = &plan->roles[r];
        if (!role->layout.matrices) {
            role->input_stride = 0;
            continue;
        }
        role->ahead_bytes = role->layout.panel_bytes / 2 / 64 * 64;
        role->round_input = plan->layer.compute == COMPUTE_BF16 && r != ROLE_ROUTER;  // the router decides in fp32 always
        role->input = path_facts[role->path].input;
        role->whole_rows = (r == ROLE_DOWN || r == ROLE_SHARED_DOWN) && form_needs_rows[role->input];
        int64_t width = plan_round_up(role->layout.depth_padded, PANEL_COLUMNS);  // down reads what whole gate/up panels wrote
        role->input_stride = plan_row_stride(width, role->whole_rows ? FORM_FP32 : (Form)role->input);
    }
}

bool plan_same_layout(const Plan *one, const Plan *other) {
    bool same = !memcmp(&one->layout, &other->layout, sizeof one->layout);
    for (int r = 0; r < ROLE_COUNT; r++) {
        same = same && !memcmp(&one->roles[r].layout, &other->roles[r].layout, sizeof one->roles[r].layout);
    }
    return same;
}
