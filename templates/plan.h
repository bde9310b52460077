// A plan: every choice that turns a Layer into code, as a flat, pointer-free value.
//
// The compiler's planner makes plans (pure function of layer, target and machine), the emitter copies one into a library as a
// constant that the optimiser folds into the skeleton, the runtime reads sizes and offsets from it. Nothing is decided later.
//
// Packed weights (independent of target and tuning): a matrix is a row of panels of 32 output columns, zero-padded. A panel's bytes
// are what its format says (formats/list.h). Gate and up alternate in groups of 8 columns (8 gate, 8 up, 8 gate, 8 up): a panel
// yields 16 intermediate values. depth_padded is depth rounded up to an even number, and to whole steps of the format.
#ifndef CATENA_PLAN_H
#define CATENA_PLAN_H

#include "layer.h"
#include "paths.h"

enum {
    PANEL_COLUMNS = 32,
    PANEL_GROUP = 8,  // gate and up alternate in groups of this many columns
    TILE_MAX_ROWS = 32,  // no plan asks for taller tiles
    TILE_MAX_PANELS = 2,
    BLOCK_SUMS = 16384,  // floats of sums that a thread keeps while it takes blocks of k: they stay in its caches
    TILE_STRIDE = 64,  // floats between rows of a tile's output
    WEIGHTS_ALIGNMENT = 64,  // bytes; every section of an instance's packed weights starts at a multiple
};

// Gate/up may walk the pool in any order (down may not: it adds up in ascending order). Backwards, down begins with the experts
// whose intermediate values were written last; in turns, an iteration begins with the experts that the one before ended with.
// X(enumerator, name)
#define ORDER_LIST(X) X(ORDER_FORWARDS, "forwards") X(ORDER_BACKWARDS, "backwards") X(ORDER_IN_TURNS, "in_turns")
typedef enum Order { ORDER_LIST(LAYER_ENUMERATOR) ORDER_COUNT } Order;
static const char *const order_names[] = {ORDER_LIST(LAYER_NAME) 0};

// Where the worker threads are bound: to cores that share caches as far as they reach, or to the caches in turn.
// X(enumerator, name)
#define BIND_LIST(X) X(BIND_NONE, "none") X(BIND_COMPACT, "compact") X(BIND_SPREAD, "spread")
typedef enum Bind { BIND_LIST(LAYER_ENUMERATOR) BIND_COUNT } Bind;
static const char *const bind_names[] = {BIND_LIST(LAYER_NAME) 0};

// Weight roles: the matrices of a layer, each with its own path and tiles.
#define ROLE_LIST(X) \
    X(ROLE_ROUTER, "router") \
    X(ROLE_GATE_UP, "gate_up") \
    X(ROLE_DOWN, "down") \
    X(ROLE_SHARED_GATE_UP, "shared_gate_up") \
    X(ROLE_SHARED_DOWN, "shared_down") X(ROLE_LATENT_IN, "latent_in") X(ROLE_LATENT_OUT, "latent_out")
typedef enum RoleName { ROLE_LIST(LAYER_ENUMERATOR) ROLE_COUNT } RoleName;
static const char *const role_names[] = {ROLE_LIST(LAYER_NAME) 0};

// How the matrices of one role lie in packed weights. It follows from the layer alone: no target and no search changes it.
typedef struct MatrixLayout {
    int64_t matrices;  // of this role in an instance (experts, routers); 0: the layer lacks this role
    int64_t depth;  // length of the sums
    int64_t depth_padded;
    int64_t columns;  // output columns (gate and up counted both)
    int64_t panels;  // ceil(columns / 32), after padding gate/up to groups of 8
    int64_t panel_bytes;
    int64_t matrix_bytes;  // panels * panel_bytes
    int64_t offset;  // of the first matrix within an instance's packed weights
    int64_t bias_offset;  // fp32 [matrices][panels * 32] in panel order; -1: no bias
    int32_t weights;  // Format
    int32_t padding;  // 0: layouts are compared as bytes
} MatrixLayout;

// What packed weights of one instance hold beside the matrices; like these it follows from the layer alone.
typedef struct Layout {
    int64_t instance_bytes;
    int64_t norm_offset;  // fp32 [hidden]; -1: none
    int64_t norm_bias_offset;  // fp32 [hidden]; -1: none
    int64_t coe_weight_offset;  // fp32 [iterations - 1]; -1: none
    int64_t correction_offset;  // fp32 [routers][router panels * 32]; -1: none
    int64_t post_norm_offset;  // fp32 [hidden]; -1: none
    int64_t expert_scale_offset;  // fp32 [experts]; -1: none
    int64_t output_bias_offset;  // fp32 [hidden], in whole panels; -1: none
    int64_t output_scale_offset;  // fp32 [hidden]; -1: none, like the two that follow
    int64_t residual_bias_offset;
    int64_t residual_scale_offset;
    int64_t latent_norm_offset;  // fp32 [latent]; -1: none
} Layout;

// One matrix role: C[rows][columns] = A[rows][depth] * W[depth][columns], one chain of multiply-adds over ascending k per output.
// Beside the layout it is the role's schedule, which target and search choose.
typedef struct Role {
    MatrixLayout layout;
    int64_t input_stride;  // bytes between the prepared rows of A (an odd multiple of 64: no two rows share an L1 set)
    int64_t ahead_bytes;  // half a panel: distance of the two streams that tall tiles prefetch the next panel in
    int32_t path;  // Path
    int32_t input;  // Form of the prepared rows of A
    int32_t whole_rows;  // of down: gate/up leaves rows of fp32 values, from which rows of A are made before down begins
    int32_t round_input;  // activations are rounded to bf16 while they are prepared (compute class bf16)
    int32_t max_rows;  // tallest tile, 1..TILE_MAX_ROWS
    int32_t wide_rows;  // most rows of a tile that takes two panels at a time
    int32_t tile_columns;  // columns that are accumulated at once (a panel may take several passes): 16, 32 or 64
    int32_t unroll;  // multiply-accumulate steps per round of the tile's loop
    int32_t prefetch;  // bytes ahead at which tiles of up to wide_rows rows prefetch their weights; 0: they do not
    int32_t prefetch_far;  // bytes ahead at which they prefetch again, into the second-level cache; up to `prefetch`: they do not
    int32_t prefetch_hint;  // cache that `prefetch` fills: 3 first level, 2 second, 1 third, 0 as data that is read once
    int32_t ahead_hint;  // cache that taller tiles prefetch the next panel into, as prefetch_hint; -1: they do not prefetch it
    int32_t k_blocks;  // equal blocks of k that tiles of more than wide_rows rows take one after the other; 1: all of k at once
    int32_t widen_tiles;  // fewest tiles on a panel for which it is decoded to fp32 once for all of them; 0: it never is
} Role;

// What target and search choose for the layer as a whole.
typedef struct Schedule {
    int64_t wave_rows;  // rows of intermediate values: experts that need more together run in waves of consecutive ones
    int64_t chunk_tokens;  // tokens that go through the layer together; more are processed in chunks
    int64_t block_rows;  // rows of one expert that stay in cache while its panels pass by
    int64_t few_tokens;  // most tokens of a call whose threads share the router's columns and each select experts for all tokens
    int64_t up_tasks;  // gate/up tasks per thread, in calls with more than few_tokens tokens
    int64_t down_tasks;  // down tasks per thread, in the same calls
    int64_t few_up_tasks;  // gate/up tasks per thread, in calls with up to few_tokens tokens
    int64_t few_down_tasks;  // down tasks per thread, in the same calls
    int64_t floor_rows;  // an expert with fewer rows counts as having this many when work is cut: memory bounds its time
    int32_t up_order;  // Order in which gate/up tasks walk the pool
    // What an instance uses where its opener says nothing.
    int32_t bind;  // Bind
    int32_t threads;  // 0: one for each physical core that the process may use
    int32_t huge_pages;  // for the workspace and for weights packed into memory
} Schedule;

// Packed files depend on the layer, its layout and the roles' layouts; the rest is the schedule. Plans of one layer for other
// targets, or with other choices of the search, have equal layouts (plan_same_layout): they run on the same packed weights.
typedef struct Plan {
    Layer layer;
    Layout layout;
    Role roles[ROLE_COUNT];
    Schedule schedule;
} Plan;

// Whether tiles of up to wide_rows rows prefetch a second time, into the second-level cache.
static inline int plan_prefetches_far(const Role *role) {
    return role->prefetch && role->prefetch_far > role->prefetch;
}

// The format of a role's packed weights.
static inline Format plan_format(const Layer *layer, RoleName role) {
    int32_t shared = layer->shared_weights ? layer->shared_weights - 1 : layer->weights;
    switch (role) {
    case ROLE_ROUTER: return router_formats[layer->router_weights];
    case ROLE_DOWN: return (Format)(layer->down_weights ? layer->down_weights - 1 : layer->weights);
    case ROLE_SHARED_GATE_UP: return (Format)shared;
    case ROLE_SHARED_DOWN: return (Format)(layer->shared_down_weights ? layer->shared_down_weights - 1 : shared);
    case ROLE_LATENT_IN:
    case ROLE_LATENT_OUT: return (Format)(layer->latent_weights ? layer->latent_weights - 1 : layer->weights);
    case ROLE_GATE_UP:
    case ROLE_COUNT: break;
    }
    return (Format)layer->weights;
}

// Whether the layer has matrices of a role.
static inline int plan_has_role(const Layer *layer, RoleName role) {
    switch (role) {
    case ROLE_SHARED_GATE_UP:
    case ROLE_SHARED_DOWN: return layer->shared_experts > 0;
    case ROLE_LATENT_IN:
    case ROLE_LATENT_OUT: return layer->latent > 0;
    case ROLE_ROUTER:
    case ROLE_GATE_UP:
    case ROLE_DOWN: return 1;
    case ROLE_COUNT: break;
    }
    return 0;
}

// The first role behind the router whose weights no instruction path of a class reads without rounding them; ROLE_COUNT: there is
// none.
static inline RoleName plan_unserved_role(const Layer *layer, Compute compute) {
    for (RoleName role = ROLE_GATE_UP; role < ROLE_COUNT; role++) {
        if (plan_has_role(layer, role) && !path_serves(plan_format(layer, role), compute)) {
            return role;
        }
    }
    return ROLE_COUNT;
}

// The role that a tensor's matrices belong to; ROLE_COUNT: the tensor is a vector.
static inline RoleName plan_tensor_role(Tensor tensor) {
    switch ((int)tensor) {
    case TENSOR_ROUTER:
    case TENSOR_SHARED_EXPERT_GATE: return ROLE_ROUTER;
    case TENSOR_GATE:
    case TENSOR_UP: return ROLE_GATE_UP;
    case TENSOR_DOWN: return ROLE_DOWN;
    case TENSOR_SHARED_GATE:
    case TENSOR_SHARED_UP: return ROLE_SHARED_GATE_UP;
    case TENSOR_SHARED_DOWN: return ROLE_SHARED_DOWN;
    case TENSOR_LATENT_IN: return ROLE_LATENT_IN;
    case TENSOR_LATENT_OUT: return ROLE_LATENT_OUT;
    default: return ROLE_COUNT;
    }
}

// The multiply-accumulate steps of a role's tiles.
static inline int64_t plan_steps(const Role *role) {
    return role->layout.depth_padded / format_facts[role->layout.weights].step;
}

// Blocks of k hold a whole number of these: pairs, steps and groups are not cut.
static inline int64_t plan_whole_k(const Role *role) {
    const FormatFacts *format = &format_facts[role->layout.weights];
    return format->group ? format->group : format->step > 2 ? format->step : 2;
}

// A role as its tiles see a panel that was decoded to fp32.
static inline Role plan_decoded_role(const Role *role) {
    Role decoded = *role;
    decoded.layout.weights = FORMAT_FP32;
    decoded.path = PATH_FP32_FMA;
    decoded.layout.panel_bytes = format_bytes(FORMAT_FP32, role->layout.depth_padded);
    return decoded;
}

// A role as the tiles of one block of k see it.
static inline Role plan_blocked_role(const Role *role) {
    Role blocked = *role;
    blocked.layout.depth_padded = role->layout.depth_padded / role->k_blocks;
    blocked.ahead_bytes = role->ahead_bytes / role->k_blocks;
    return blocked;
}

static inline int64_t plan_round_up(int64_t value, int64_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

// An odd multiple of 64 bytes that holds `columns` elements of a form: consecutive rows never meet in one set of a cache.
static inline int64_t plan_row_stride(int64_t columns, Form form) {
    int64_t lines = plan_round_up(columns * form_bytes[form], 64) / 64;
    return (lines | 1) * 64;
}

// Bytes between rows of latent values, which are fp32 and whole panels wide.
static inline int64_t plan_latent_stride(const Layer *layer) {
    return layer->latent ? plan_row_stride(plan_round_up(layer->latent, PANEL_COLUMNS), FORM_FP32) : 0;
}

#endif
