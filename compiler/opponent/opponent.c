// Straightforward optimised C for sparse-expert layers: see opponent.h. Built with -O3 and reassociation allowed (Makefile),
// so that the dot products vectorise; x86-64 takes the best of three compiled versions at run time.
#include "opponent.h"

#include <math.h>
#include <omp.h>
#include <string.h>

// The hot functions are compiled for several levels of x86-64, but not under sanitizers, which do not support ifuncs.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif

enum { TASK_OUTPUTS = 32, ROW_BLOCK = 64 };

// --- kernels -----------------------------------------------------------------------------------------------------------------

static inline float widen(uint16_t bits) {
    uint32_t word = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

CLONES static void widen_row(int64_t count, const uint16_t *from, float *to) {
#pragma omp simd
    for (int64_t k = 0; k < count; k++) {
        to[k] = widen(from[k]);
    }
}

// out[r * stride + o] = sum over k of x[r][k] w[o * depth + k]: blocks of 4 rows x 2 outputs, then single rows x 4 outputs.
CLONES static void dots(int64_t rows, int64_t outputs, int64_t depth, const float *const *x, const float *w, float *out,
                        int64_t stride) {
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4) {
        const float *x0 = x[r], *x1 = x[r + 1], *x2 = x[r + 2], *x3 = x[r + 3];
        for (int64_t o = 0; o < outputs; o += 2) {
            int64_t second = o + 1 < outputs ? o + 1 : o;
            const float *w0 = w + o * depth, *w1 = w + second * depth;
            float a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;
#pragma omp simd reduction(+ : a0, a1, a2, a3, b0, b1, b2, b3)
            for (int64_t k = 0; k < depth; k++) {
                a0 += x0[k] * w0[k], a1 += x1[k] * w0[k], a2 += x2[k] * w0[k], a3 += x3[k] * w0[k];
                b0 += x0[k] * w1[k], b1 += x1[k] * w1[k], b2 += x2[k] * w1[k], b3 += x3[k] * w1[k];
            }
            float *first = out + r * stride + o, *next = out + r * stride + second;
            next[0] = b0, next[stride] = b1, next[2 * stride] = b2, next[3 * stride] = b3;
            first[0] = a0, first[stride] = a1, first[2 * stride] = a2, first[3 * stride] = a3;
        }
    }
    for (; r < rows; r++) {
        const float *x0 = x[r];
        for (int64_t o = 0; o < outputs; o += 4) {
            int64_t last = outputs - 1, o1 = o + 1 < last ? o + 1 : last, o2 = o + 2 < last ? o + 2 : last,
                    o3 = o + 3 < last ? o + 3 : last;
            const float *w0 = w + o * depth, *w1 = w + o1 * depth, *w2 = w + o2 * depth, *w3 = w + o3 * depth;
            float a0 = 0, a1 = 0, a2 = 0, a3 = 0;
#pragma omp simd reduction(+ : a0, a1, a2, a3)
            for (int64_t k = 0; k < depth; k++) {
                a0 += x0[k] * w0[k], a1 += x0[k] * w1[k], a2 += x0[k] * w2[k], a3 += x0[k] * w3[k];
            }
            float *to = out + r * stride;
            to[o3] = a3, to[o2] = a2, to[o1] = a1, to[o] = a0;
        }
    }
}

// A product with `outputs` rows of a matrix from row `first` on; bf16 rows are widened a few at a time into `wide`.
static void product(int64_t rows, int64_t first, int64_t outputs, int64_t depth, const float *const *x, const void *matrix,
                    Number number, const float *bias, float *wide, float *out, int64_t stride) {
    for (int64_t o = 0; o < outputs; o += OPPONENT_OUTPUT_BLOCK) {
        int64_t block = outputs - o < OPPONENT_OUTPUT_BLOCK ? outputs - o : OPPONENT_OUTPUT_BLOCK;
        const float *w = (const float *)matrix + (first + o) * depth;
        if (number == NUMBER_BF16) {
            widen_row(block * depth, (const uint16_t *)matrix + (first + o) * depth, wide);
            w = wide;
        }
        dots(rows, block, depth, x, w, out + o, stride);
    }
    for (int64_t r = 0; r < rows && bias; r++) {
        for (int64_t o = 0; o < outputs; o++) {
            out[r * stride + o] += bias[first + o];
        }
    }
}

#define ACTIVATION_OPPONENT
#include "templates/activations/list.h"

static float activate(const Layer *layer, float x) {
    switch ((Activation)layer->activation) {
#define ACTIVATION_ROW(enumerator, symbol, ...) \
    case enumerator: return opponent_activation_##symbol(x, layer->slope);
#include "templates/activations/list.h"
    case ACTIVATION_COUNT: break;
    }
    return x;
}

static float round_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u;
    memcpy(&value, &bits, sizeof value);
    return value;
}

// --- routing -----------------------------------------------------------------------------------------------------------------

// x = norm(h) of one row, which may be h itself. weight and bias: [hidden], NULL where there is none.
static void norm_row(int64_t hidden, Norm norm, float eps, const float *weight, const float *bias, const float *h, float *x) {
    float mean = 0, squares = 0, n = (float)hidden;
    for (int64_t i = 0; i < hidden && norm == NORM_LAYER; i++) {
        mean += h[i];
    }
    mean /= n;
    for (int64_t i = 0; i < hidden; i++) {
        squares += (h[i] - mean) * (h[i] - mean);
    }
    float scale = 1 / sqrtf(squares / n + eps);
    for (int64_t i = 0; i < hidden; i++) {
        x[i] = norm == NORM_NONE ? h[i] : (h[i] - mean) * scale * weight[i] + (bias ? bias[i] : 0);
    }
}

// z = softcap(logit_scale z + bias), minus infinity where the bias is. A row of which any other logit is not finite is rejected.
static void finish_logits(const Layer *layer, const float *bias, float *logits, uint8_t *rejected) {
    for (int64_t e = 0; e < layer_choices(layer); e++) {
        int excluded = bias && bias[e] == -INFINITY;
        float z = layer->logit_scale * logits[e] + (bias && !excluded ? bias[e] : 0);
        *rejected = *rejected || !isfinite(z);
        logits[e] = excluded ? -INFINITY : layer->softcap != 0 ? layer->softcap * tanhf(z / layer->softcap) : z;
    }
}

static void route_row(const Layer *layer, const OpponentWeights *weights, OpponentWorkspace *w, int64_t gate, int64_t token) {
    int64_t choices = layer_choices(layer), k = layer->top_k;
    float *logits = w->logits + token * layer_router_columns(layer);
    int32_t *experts = w->experts + token * k;
    finish_logits(layer, weights->router_bias ? weights->router_bias + gate * choices : NULL, logits, &w->rejected[token]);
    if (w->rejected[token]) {
        for (int64_t s = 0; s < k; s++) {
            experts[s] = -1;
            w->weights[token * k + s] = 0;
        }
        return;
    }
    opponent_choose_row(layer, logits, weights->correction ? weights->correction + gate * choices : NULL, w->k ? w->k[token] : k,
                        w->ranks + omp_get_thread_num() * 3 * choices, experts, w->weights + token * k);
    for (int64_t s = 0; weights->expert_scale && s < k; s++) {
        w->weights[token * k + s] *= experts[s] >= 0 && experts[s] < layer->experts ? weights->expert_scale[experts[s]] : 1;
    }
}

static void route(const Layer *layer, const OpponentWeights *weights, OpponentWorkspace *w, int64_t tokens, int64_t iteration) {
    int64_t hidden = layer->hidden, gate = layer->gate_per_iteration ? iteration : 0, choices = layer_choices(layer),
            columns = layer_router_columns(layer);
    Number number = weights->router_number;
    const uint8_t *matrix = (const uint8_t *)weights->router + gate * choices * hidden * number_bytes(number);
#pragma omp parallel for num_threads(w->threads) schedule(static)
    for (int64_t first = 0; first < tokens; first += 4) {
        int64_t rows = tokens - first < 4 ? tokens - first : 4;
        const float *x[4];
        float *wide = w->wide + omp_get_thread_num() * w->wide_floats, *logits = w->logits + first * columns;
        for (int64_t r = 0; r < rows; r++) {
            x[r] = w->memory[0] + (first + r) * hidden;
        }
        product(rows, 0, choices, hidden, x, matrix, number, NULL, wide, logits, columns);
        if (layer->shared_gated) {
            product(rows, 0, layer->shared_experts, hidden, x, weights->shared_expert_gate, number, NULL, wide, logits + choices,
                    columns);
        }
        for (int64_t token = first; token < first + rows; token++) {
            route_row(layer, weights, w, gate, token);
        }
    }
}

// Identity and null experts need no rows.
static void sort_tokens(const Layer *layer, OpponentWorkspace *w, int64_t tokens) {
    int64_t slots = tokens * layer->top_k, row = 0;
    memset(w->starts, 0, (size_t)(layer->experts + 1) * sizeof *w->starts);
    for (int64_t i = 0; i < slots; i++) {
        if (w->experts[i] >= 0 && w->experts[i] < layer->experts) {
            w->starts[w->experts[i] + 1]++;
        }
    }
    for (int64_t e = 0; e < layer->experts; e++) {
        int64_t count = w->starts[e + 1];
        w->starts[e] = row;
        row += count;
    }
    w->starts[layer->experts] = row;
    for (int64_t i = 0; i < slots; i++) {
        if (w->experts[i] >= 0 && w->experts[i] < layer->experts) {
            w->slots[i] = (int32_t)w->starts[w->experts[i]]++;
            w->rows[w->slots[i]] = (int32_t)(i / layer->top_k);
        }
    }
    memmove(w->starts + 1, w->starts, (size_t)layer->experts * sizeof *w->starts);
    w->starts[0] = 0;
}

// --- experts -----------------------------------------------------------------------------------------------------------------

// act(g) * u, g or act(g) at most limit, u within +-limit, both softly capped where the layer says so; a plain expert's act(u).
static float hidden_value(const Layer *layer, float limit, float g, float u) {
    int after = layer->limit_place == LIMIT_AFTER_ACTIVATION;
    float gate_cap = layer->gate_softcap, up_cap = layer->up_softcap;
    if (!layer->gated) {
        return activate(layer, u);
    }
    if (limit != 0) {
        g = after || g < limit ? g : limit;
        u = u < limit ? u : limit;
        u = u > -limit ? u : -limit;
    }
    float activated = gate_cap != 0 ? gate_cap * tanhf(g / gate_cap) / (1 + expf(-layer->slope * g)) : activate(layer, g);
    activated = limit != 0 && after && activated > limit ? limit : activated;
    return activated * ((up_cap != 0 ? up_cap * tanhf(u / up_cap) : u) + layer->up_offset);
}

// One task: a block of outputs of expert e for its rows [first, last). down: values, otherwise hidden.
static void expert_task(const Layer *layer, const OpponentPool *pool, OpponentWorkspace *w, int64_t e, int64_t first, int64_t last,
                        int64_t output, int down) {
    Number number = down ? pool->down_number : pool->gate_up_number;
    int64_t size = number_bytes(number), depth = down ? pool->intermediate : pool->width;
    int64_t outputs = down ? pool->width : pool->intermediate, matrix = e * pool->width * pool->intermediate * size;
    int64_t count = outputs - output < TASK_OUTPUTS ? outputs - output : TASK_OUTPUTS;
    float *wide = w->wide + omp_get_thread_num() * w->wide_floats;
    float gates[ROW_BLOCK * TASK_OUTPUTS];
    for (int64_t row = first; row < last; row += ROW_BLOCK) {
        int64_t rows = last - row < ROW_BLOCK ? last - row : ROW_BLOCK;
        const float *const *x = w->pointers + row;
        float *out = down ? w->values + row * outputs + output : w->hidden + row * outputs + output;
        const float *bias = down ? pool->down_bias : pool->up_bias;
        product(rows, output, count, depth, x, (const uint8_t *)(down ? pool->down : pool->up) + matrix, number,
                bias ? bias + e * outputs : NULL, wide, out, outputs);
        if (!down && layer->gated) {
            product(rows, output, count, depth, x, (const uint8_t *)pool->gate + matrix, number,
                    pool->gate_bias ? pool->gate_bias + e * outputs : NULL, wide, gates, TASK_OUTPUTS);
        }
        for (int64_t r = 0; r < rows && !down; r++) {
            for (int64_t o = 0; o < count; o++) {
                float *h = out + r * outputs + o;
                float value = hidden_value(layer, pool->limit, layer->gated ? gates[r * TASK_OUTPUTS + o] : 0, *h);
                *h = layer->compute == COMPUTE_BF16 ? round_bf16(value) : value;
            }
        }
    }
}

// values = E_e(x) for experts [0, pool->count) with rows starts[e] .. starts[e + 1]; inputs through w->pointers.
static void run_pool(const Layer *layer, const OpponentPool *pool, OpponentWorkspace *w, const int64_t *starts) {
    for (int down = 0; down < 2; down++) {
        int64_t outputs = down ? pool->width : pool->intermediate, blocks = (outputs + TASK_OUTPUTS - 1) / TASK_OUTPUTS;
#pragma omp parallel for num_threads(w->threads) schedule(dynamic)
        for (int64_t task = 0; task < pool->count * blocks; task++) {
            int64_t e = task / blocks;
            if (starts[e + 1] > starts[e]) {
                expert_task(layer, pool, w, e, starts[e], starts[e + 1], task % blocks * TASK_OUTPUTS, down);
            }
        }
        for (int64_t row = 0; row < starts[pool->count] && !down; row++) {
            w->pointers[row] = w->hidden + row * pool->intermediate;
        }
    }
}

// Rows of x [tokens][width], which the pool reads; token_of NULL: each token is a row.
static void prepare_pointers(const Layer *layer, OpponentWorkspace *w, const float *x, int64_t width, int64_t tokens, int64_t rows,
                             const int32_t *token_of) {
    const float *from = x;
    if (layer->compute == COMPUTE_BF16) {
#pragma omp parallel for num_threads(w->threads) schedule(static)
        for (int64_t i = 0; i < tokens * width; i++) {
            w->rounded[i] = round_bf16(x[i]);
        }
        from = w->rounded;
    }
    for (int64_t row = 0; row < rows; row++) {
        w->pointers[row] = from + (token_of ? token_of[row] : row) * width;
    }
}

// What routed experts read.
static const float *pool_input(const Layer *layer, const OpponentWorkspace *w) {
    return layer->latent ? w->latent : w->memory[0];
}

// Rows of w x for experts that are weighted at their input. They lie where the outputs will: up is done before down begins.
static void weigh_inputs(const Layer *layer, OpponentWorkspace *w, int64_t tokens) {
    int64_t width = layer_pool_width(layer), k = layer->top_k;
#pragma omp parallel for num_threads(w->threads) schedule(static)
    for (int64_t i = 0; i < tokens * k; i++) {
        if (w->experts[i] < 0 || w->experts[i] >= layer->experts) {
            continue;
        }
        const float *x = pool_input(layer, w) + i / k * width;
        float *row = w->values + w->slots[i] * width;
        for (int64_t j = 0; j < width; j++) {
            float value = w->weights[i] * x[j];
            row[j] = layer->compute == COMPUTE_BF16 ? round_bf16(value) : value;
        }
        w->pointers[w->slots[i]] = row;
    }
}

// The slot of the lowest choice above `done`, or -1.
static int64_t next_slot(const int32_t *experts, int64_t k, int32_t done) {
    int64_t slot = -1;
    for (int64_t s = 0; s < k; s++) {
        slot = experts[s] > done && (slot < 0 || experts[s] < experts[slot]) ? s : slot;
    }
    return slot;
}

// sum += factor w_e E_e(x) in ascending order of choices.
static void combine(const Layer *layer, OpponentWorkspace *w, int64_t tokens, float factor, float *sum) {
    int64_t width = layer_pool_width(layer), k = layer->top_k;
#pragma omp parallel for num_threads(w->threads) schedule(static)
    for (int64_t token = 0; token < tokens; token++) {
        const int32_t *experts = w->experts + token * k;
        int64_t slot = w->rejected[token] ? -1 : next_slot(experts, k, -1);
        for (; slot >= 0 && experts[slot] < layer->experts + layer->identity_experts; slot = next_slot(experts, k, experts[slot])) {
            int identity = experts[slot] >= layer->experts, weighted = layer->weight_on == WEIGHT_ON_INPUT && !identity;
            const float *value = identity ? pool_input(layer, w) + token * width : w->values + w->slots[token * k + slot] * width;
            float weight = (weighted ? 1 : w->weights[token * k + slot]) * factor, *to = sum + token * width;
            for (int64_t i = 0; i < width; i++) {
                to[i] += weight * value[i];
            }
        }
    }
}

static void run_shared(const Layer *layer, const OpponentWeights *weights, OpponentWorkspace *w, int64_t tokens, int64_t e,
                       float factor, float *next) {
    OpponentPool one = weights->shared;
    int64_t elements = layer->hidden * one.intermediate, start[2] = {0, tokens};
    int64_t up_bytes = e * elements * number_bytes(one.gate_up_number);
    one.count = 1;
    one.gate = layer->gated ? (uint8_t *)one.gate + up_bytes : NULL;
    one.up = (uint8_t *)one.up + up_bytes;
    one.down = (uint8_t *)one.down + e * elements * number_bytes(one.down_number);
    one.gate_bias = one.gate_bias ? one.gate_bias + e * one.intermediate : NULL;
    one.up_bias = one.up_bias ? one.up_bias + e * one.intermediate : NULL;
    one.down_bias = one.down_bias ? one.down_bias + e * layer->hidden : NULL;
    prepare_pointers(layer, w, w->memory[0], layer->hidden, tokens, tokens, NULL);
    run_pool(layer, &one, w, start);
#pragma omp parallel for num_threads(w->threads) schedule(static)
    for (int64_t token = 0; token < tokens; token++) {
        const float *logits = w->logits + token * layer_router_columns(layer);
        float weight = opponent_shared_weight(layer, logits, w->experts + token * layer->top_k, e) * factor;
        for (int64_t i = token * layer->hidden; i < (token + 1) * layer->hidden; i++) {
            next[i] += weight * w->values[i];
        }
    }
}

// out [tokens][outputs] = x [tokens][depth] times a projection.
static void project(const Layer *layer, OpponentWorkspace *w, const float *x, int64_t tokens, int64_t depth, int64_t outputs,
                    const void *matrix, Number number, float *out) {
    int64_t blocks = (outputs + TASK_OUTPUTS - 1) / TASK_OUTPUTS;
    prepare_pointers(layer, w, x, depth, tokens, tokens, NULL);
#pragma omp parallel for num_threads(w->threads) schedule(dynamic)
    for (int64_t block = 0; block < blocks; block++) {
        int64_t first = block * TASK_OUTPUTS, count = outputs - first < TASK_OUTPUTS ? outputs - first : TASK_OUTPUTS;
        product(tokens, first, count, depth, w->pointers, matrix, number, NULL, w->wide + omp_get_thread_num() * w->wide_floats,
                out + first, outputs);
    }
}

// What the routed experts of a latent layer read: norm(W_in x_t).
static void enter_latent(const Layer *layer, const OpponentWeights *weights, OpponentWorkspace *w, int64_t tokens) {
    int64_t latent = layer->latent;
    project(layer, w, w->memory[0], tokens, layer->hidden, latent, weights->latent_in, weights->latent_number, w->latent);
#pragma omp parallel for num_threads(w->threads) schedule(static)
    for (int64_t token = 0; token < tokens; token++) {
        float *row = w->latent + token * latent;
        norm_row(latent, (Norm)layer->latent_norm, layer->latent_norm_eps, weights->latent_norm, NULL, row, row);
    }
}

// x_{t+1} += factor W_out of the routed experts' sum.
static void leave_latent(const Layer *layer, const OpponentWeights *weights, OpponentWorkspace *w, int64_t tokens, float factor,
                         float *next) {
    memset(w->sum, 0, (size_t)(tokens * layer->latent) * sizeof *w->sum);
    combine(layer, w, tokens, 1, w->sum);
    project(layer, w, w->sum, tokens, layer->latent, layer->hidden, weights->latent_out, weights->latent_number, w->values);
#pragma omp parallel for num_threads(w->threads) schedule(static)
    for (int64_t i = 0; i < tokens * layer->hidden; i++) {
        next[i] += factor * w->values[i];
    }
}

// One iteration: memory[1] = x_{t+1} from memory[0] = x_t, then they change places. A converted MoE weighs what it adds before
// the last iteration, whose experts stand alone.
static void iterate(const Layer *layer, const OpponentWeights *weights, OpponentWorkspace *w, int64_t tokens, int64_t t) {
    float *state = w->memory[0], *next = w->memory[1];
    int last = t == layer->iterations - 1;
    float factor = layer->coe_weight && !last ? weights->coe_weight[t] : 1;
    float residual = layer->inner_residual && !(layer->coe_weight && last) ? layer->inner_alpha : 0;
    route(layer, weights, w, tokens, t);
    sort_tokens(layer, w, tokens);
    if (layer->latent) {
        enter_latent(layer, weights, w, tokens);
    }
    if (layer->weight_on == WEIGHT_ON_INPUT) {
        weigh_inputs(layer, w, tokens);
    } else {
        prepare_pointers(layer, w, pool_input(layer, w), layer_pool_width(layer), tokens, w->starts[layer->experts], w->rows);
    }
    run_pool(layer, &weights->routed, w, w->starts);
#pragma omp parallel for num_threads(w->threads) schedule(static)
    for (int64_t i = 0; i < tokens * layer->hidden; i++) {
        next[i] = residual != 0 ? residual * state[i] : 0;
        next[i] += weights->output_bias ? factor * weights->output_bias[i % layer->hidden] : 0;
    }
    if (layer->latent) {
        leave_latent(layer, weights, w, tokens, factor, next);
    } else {
        combine(layer, w, tokens, factor, next);
    }
    for (int64_t e = 0; e < layer->shared_experts; e++) {  // every token visits it
        run_shared(layer, weights, w, tokens, e, factor, next);
    }
    w->memory[0] = next;
    w->memory[1] = state;
}

// y = alpha (h + bias) scale + multiplier x scale, without h where there is no outer residual.
static void result_row(const Layer *layer, const OpponentWeights *weights, const float *h, const float *x, float *y) {
    for (int64_t i = 0; i < layer->hidden; i++) {
        float residual = 0, value = layer->multiplier * x[i] * (weights->output_scale ? weights->output_scale[i] : 1);
        if (layer->outer_residual) {
            float biased = h[i] + (weights->residual_bias ? weights->residual_bias[i] : 0);
            residual = layer->alpha * biased * (weights->residual_scale ? weights->residual_scale[i] : 1);
        }
        y[i] = residual + value;
    }
}

void opponent_forward(const Layer *layer, const OpponentWeights *weights, OpponentWorkspace *w, int64_t tokens, const float *x,
                      float *y, int32_t *experts_out, float *weights_out) {
    int64_t hidden = layer->hidden, slots = tokens * layer->top_k;
    memset(w->rejected, 0, (size_t)tokens);
#pragma omp parallel for num_threads(w->threads) schedule(static)
    for (int64_t token = 0; token < tokens; token++) {
        norm_row(hidden, (Norm)layer->norm, layer->norm_eps, weights->norm, weights->norm_bias, x + token * hidden,
                 w->memory[0] + token * hidden);
    }
    for (int64_t t = 0; t < layer->iterations; t++) {
        iterate(layer, weights, w, tokens, t);
        if (experts_out) {
            memcpy(experts_out + t * slots, w->experts, (size_t)slots * sizeof *experts_out);
        }
        if (weights_out) {
            memcpy(weights_out + t * slots, w->weights, (size_t)slots * sizeof *weights_out);
        }
    }
#pragma omp parallel for num_threads(w->threads) schedule(static)
    for (int64_t token = 0; token < tokens; token++) {
        float *last = w->memory[0] + token * hidden;
        if (layer->post_norm != NORM_NONE) {
            norm_row(hidden, (Norm)layer->post_norm, layer->post_norm_eps, weights->post_norm, NULL, last, last);
        }
        result_row(layer, weights, x + token * hidden, last, y + token * hidden);
        for (int64_t i = token * hidden; i < (token + 1) * hidden && w->rejected[token]; i++) {
            y[i] = NAN;
        }
    }
}
