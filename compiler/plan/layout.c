// The part of a plan that follows from the layer alone: shapes of the matrix roles and where each lies in packed weights.
// Layout: norm, norm bias, coe weights, router matrices, router biases, corrections, gate/up of every expert, its biases, down, its
// biases, then the same for the shared experts. Every section and every panel starts at a multiple of
// WEIGHTS_ALIGNMENT.
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

// An odd multiple of 64 bytes that holds `columns` elements of a form: consecutive rows never meet in one set of a cache.
static int64_t row_stride(int64_t columns, Form form) {
    int64_t lines = plan_round_up(columns * form_bytes[form], 64) / 64;
    return (lines | 1) * 64;
}

static void role_place(Role *role, int64_t matrices, int64_t depth, int64_t columns, Format weights, int biased, int64_t *end) {
    role->matrices = matrices;
    role->depth = depth;
    role->depth_padded = plan_round_up(depth, format_facts[weights].step > 2 ? format_facts[weights].step : 2);
    role->columns = columns;
    role->panels = plan_round_up(columns, PANEL_COLUMNS) / PANEL_COLUMNS;
    role->weights = weights;
    role->panel_bytes = plan_round_up(format_bytes(weights, role->depth_padded), 64);
    role->ahead_bytes = role->panel_bytes / 2 / 64 * 64;
    role->matrix_bytes = role->panels * role->panel_bytes;
    role->offset = take(end, matrices * role->matrix_bytes);
    role->bias_offset = biased ? take(end, matrices * role->panels * PANEL_COLUMNS * 4) : -1;
}

void plan_layout(Plan *plan) {
    const Layer *layer = &plan->layer;
    Role *roles = plan->roles;
    int64_t end = 0, hidden = layer->hidden, shared = layer->shared_experts;
    plan->norm_offset = layer->norm == NORM_NONE ? -1 : take(&end, hidden * 4);
    plan->norm_bias_offset = layer_has_tensor(layer, TENSOR_NORM_BIAS) ? take(&end, hidden * 4) : -1;
    plan->coe_weight_offset = layer->coe_weight ? take(&end, (layer->iterations - 1) * 4) : -1;
    role_place(&roles[ROLE_ROUTER], layer_routers(layer), hidden, layer_router_columns(layer), plan_format(layer, ROLE_ROUTER),
               layer->router_bias, &end);
    plan->correction_offset =
        layer->correction ? take(&end, layer_routers(layer) * roles[ROLE_ROUTER].panels * PANEL_COLUMNS * 4) : -1;
    role_place(&roles[ROLE_GATE_UP], layer->experts, hidden, gate_up_columns(layer->intermediate, layer->gated),
               plan_format(layer, ROLE_GATE_UP), layer->expert_bias, &end);
    role_place(&roles[ROLE_DOWN], layer->experts, layer->intermediate, hidden, plan_format(layer, ROLE_DOWN), layer->expert_bias,
               &end);
    if (shared) {
        role_place(&roles[ROLE_SHARED_GATE_UP], shared, hidden, gate_up_columns(layer->shared_intermediate, layer->gated),
                   plan_format(layer, ROLE_SHARED_GATE_UP), layer->shared_bias, &end);
        role_place(&roles[ROLE_SHARED_DOWN], shared, layer->shared_intermediate, hidden, plan_format(layer, ROLE_SHARED_DOWN),
                   layer->shared_bias, &end);
    } else {
        memset(&roles[ROLE_SHARED_GATE_UP], 0, 2 * sizeof(Role));
        roles[ROLE_SHARED_GATE_UP].bias_offset = roles[ROLE_SHARED_DOWN].bias_offset = -1;
    }
    plan->instance_bytes = plan_round_up(end, 4096);
    for (int r = 0; r < ROLE_COUNT; r++) {
        Role *role = &roles[r];
        if (!role->matrices) {
            role->input_stride = 0;
            continue;
        }
        role->round_input = layer->compute == COMPUTE_BF16 && r != ROLE_ROUTER;  // the router decides in fp32 always
        role->input = path_facts[role->path].input;
        int64_t width = plan_round_up(role->depth_padded, PANEL_COLUMNS);  // down reads what whole gate/up panels wrote
        role->input_stride = row_stride(width, (Form)role->input);
    }
}
