// Memory of the straightforward implementation: row-major weights out of a packed instance, and its workspace.
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "opponent.h"
#include "runtime/packed.h"

enum { LINE = 64, HUGE_PAGE = 2 << 20 };

// Large arrays ask for huge pages, as the compiled library's memory does: pages alone are worth tens of percent. A process that
// that must not have them sets PR_SET_THP_DISABLE (catena bench --huge-pages no).
static void *allocate(size_t bytes) {
    size_t unit = bytes < HUGE_PAGE ? LINE : HUGE_PAGE, size = (bytes + unit - 1) / unit * unit;
    void *memory = aligned_alloc(unit, size ? size : unit);
    if (memory && unit == HUGE_PAGE) {
        madvise(memory, size, MADV_HUGEPAGE);
    }
    return memory;
}

// Where each tensor's array is kept.
static void **array_of(OpponentWeights *weights, Tensor tensor) {
    switch (tensor) {
    case TENSOR_NORM: return (void **)&weights->norm;
    case TENSOR_NORM_BIAS: return (void **)&weights->norm_bias;
    case TENSOR_COE_WEIGHT: return (void **)&weights->coe_weight;
    case TENSOR_ROUTER: return &weights->router;
    case TENSOR_ROUTER_BIAS: return (void **)&weights->router_bias;
    case TENSOR_CORRECTION: return (void **)&weights->correction;
    case TENSOR_SHARED_EXPERT_GATE: return &weights->shared_expert_gate;
    case TENSOR_GATE: return &weights->routed.gate;
    case TENSOR_UP: return &weights->routed.up;
    case TENSOR_DOWN: return &weights->routed.down;
    case TENSOR_GATE_BIAS: return (void **)&weights->routed.gate_bias;
    case TENSOR_UP_BIAS: return (void **)&weights->routed.up_bias;
    case TENSOR_DOWN_BIAS: return (void **)&weights->routed.down_bias;
    case TENSOR_SHARED_GATE: return &weights->shared.gate;
    case TENSOR_SHARED_UP: return &weights->shared.up;
    case TENSOR_SHARED_DOWN: return &weights->shared.down;
    case TENSOR_SHARED_GATE_BIAS: return (void **)&weights->shared.gate_bias;
    case TENSOR_SHARED_UP_BIAS: return (void **)&weights->shared.up_bias;
    case TENSOR_SHARED_DOWN_BIAS: return (void **)&weights->shared.down_bias;
    case TENSOR_POST_NORM: return (void **)&weights->post_norm;
    case TENSOR_EXPERT_SCALE: return (void **)&weights->expert_scale;
    case TENSOR_OUTPUT_BIAS: return (void **)&weights->output_bias;
    case TENSOR_OUTPUT_SCALE: return (void **)&weights->output_scale;
    case TENSOR_RESIDUAL_BIAS: return (void **)&weights->residual_bias;
    case TENSOR_RESIDUAL_SCALE: return (void **)&weights->residual_scale;
    case TENSOR_LATENT_IN: return &weights->latent_in;
    case TENSOR_LATENT_NORM: return (void **)&weights->latent_norm;
    case TENSOR_LATENT_OUT: return &weights->latent_out;
    case TENSOR_COUNT: break;
    }
    return NULL;
}

static void copy_tensor(const Plan *plan, const uint8_t *instance, Tensor tensor, const PackedShape *shape, void *array) {
    Number number = opponent_number(shape->format);
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < shape->matrices * shape->rows; row++) {
        for (int64_t k = 0; k < shape->columns; k++) {
            float value = packed_get(plan, instance, tensor, row / shape->rows, row % shape->rows, k);
            if (number == NUMBER_BF16) {
                ((uint16_t *)array)[row * shape->columns + k] = packed_bf16_from_float(value);
            } else {
                ((float *)array)[row * shape->columns + k] = value;
            }
        }
    }
}

int opponent_weights_unpack(const Plan *plan, const uint8_t *instance, OpponentWeights *weights) {
    memset(weights, 0, sizeof *weights);
    weights->routed.count = plan->layer.experts;
    weights->routed.width = layer_pool_width(&plan->layer);
    weights->routed.intermediate = plan->layer.intermediate;
    weights->routed.limit = plan->layer.limit;
    weights->shared.limit = plan->layer.shared_limit;
    weights->shared.count = plan->layer.shared_experts;
    weights->shared.width = plan->layer.hidden;
    weights->shared.intermediate = plan->layer.shared_intermediate;
    weights->router_number = opponent_number(plan_format(&plan->layer, ROLE_ROUTER));
    weights->routed.gate_up_number = opponent_number(plan_format(&plan->layer, ROLE_GATE_UP));
    weights->routed.down_number = opponent_number(plan_format(&plan->layer, ROLE_DOWN));
    weights->shared.gate_up_number = opponent_number(plan_format(&plan->layer, ROLE_SHARED_GATE_UP));
    weights->shared.down_number = opponent_number(plan_format(&plan->layer, ROLE_SHARED_DOWN));
    weights->latent_number = opponent_number(plan_format(&plan->layer, ROLE_LATENT_IN));
    for (Tensor tensor = 0; tensor < TENSOR_COUNT; tensor++) {
        PackedShape shape;
        if (!packed_shape(plan, tensor, &shape)) {
            continue;
        }
        size_t size = (size_t)number_bytes(opponent_number(shape.format));
        size_t bytes = (size_t)(shape.matrices * shape.rows * shape.columns) * size;
        void *array = allocate(bytes);
        if (!array) {
            opponent_weights_free(weights);
            return -1;
        }
        *array_of(weights, tensor) = array;
        copy_tensor(plan, instance, tensor, &shape, array);
    }
    return 0;
}

void opponent_weights_free(OpponentWeights *weights) {
    for (Tensor tensor = 0; tensor < TENSOR_COUNT; tensor++) {
        free(*array_of(weights, tensor));
        *array_of(weights, tensor) = NULL;
    }
}

// Every array of a workspace and its bytes.
enum { WORKSPACE_ARRAYS = 16 };
typedef struct Room {
    void **array;
    size_t bytes;
} Room;

static void list_rooms(const Layer *layer, OpponentWorkspace *w, int64_t tokens, Room *rooms) {
    size_t count = (size_t)tokens, hidden = (size_t)layer->hidden, width = (size_t)layer->intermediate, size = sizeof(float);
    size_t slots = count * (size_t)layer->top_k, experts = (size_t)layer->experts;
    size_t latent = (size_t)layer->latent, wider = latent > hidden ? latent : hidden;
    width = (size_t)layer->shared_intermediate > width ? (size_t)layer->shared_intermediate : width;
    const Room all[WORKSPACE_ARRAYS] = {
        {(void **)&w->memory[0], count * hidden * size},
        {(void **)&w->memory[1], count * hidden * size},
        {(void **)&w->latent, count * latent * size},
        {(void **)&w->sum, count * latent * size},
        {(void **)&w->rounded, count * wider * size},
        {(void **)&w->hidden, slots * width * size},
        {(void **)&w->values, slots * wider * size},
        {(void **)&w->logits, count * (size_t)layer_router_columns(layer) * size},
        {(void **)&w->ranks, (size_t)w->threads * 3 * (size_t)layer_choices(layer) * size},
        {(void **)&w->weights, slots * size},
        {(void **)&w->wide, (size_t)(w->wide_floats * w->threads) * size},
        {(void **)&w->experts, slots * size},
        {(void **)&w->slots, slots * size},
        {(void **)&w->rows, slots * size},
        {(void **)&w->starts, (experts + 1) * sizeof(int64_t)},
        {(void **)&w->pointers, slots * sizeof(float *)},
    };
    memcpy(rooms, all, sizeof all);
}

OpponentWorkspace *opponent_workspace_create(const Layer *layer, int64_t max_tokens, int threads) {
    OpponentWorkspace *w = calloc(1, sizeof *w);
    Room rooms[WORKSPACE_ARRAYS];
    int64_t depth = layer->hidden > layer->intermediate ? layer->hidden : layer->intermediate;
    if (!w) {
        return NULL;
    }
    depth = layer->shared_intermediate > depth ? layer->shared_intermediate : depth;
    depth = layer->latent > depth ? layer->latent : depth;
    w->threads = threads;
    w->wide_floats = OPPONENT_OUTPUT_BLOCK * depth + 64;  // a line between threads
    list_rooms(layer, w, max_tokens, rooms);
    w->rejected = malloc((size_t)max_tokens + 1);
    int complete = w->rejected != NULL;
    for (int i = 0; i < WORKSPACE_ARRAYS; i++) {
        *rooms[i].array = allocate(rooms[i].bytes + LINE);
        complete &= *rooms[i].array != NULL;
    }
    if (!complete) {
        opponent_workspace_free(w);
        return NULL;
    }
    return w;
}

void opponent_workspace_free(OpponentWorkspace *w) {
    Room rooms[WORKSPACE_ARRAYS];
    Layer none = {0};
    if (w) {
        list_rooms(&none, w, 0, rooms);
        for (int i = 0; i < WORKSPACE_ARRAYS; i++) {
            free(*rooms[i].array);
        }
        free(w->rejected);
        free(w);
    }
}
