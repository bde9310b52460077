// See chunks.h. Nothing is allocated.
#include "chunks.h"

#include <math.h>
#include <string.h>

#include "extra.h"
#include "figures.h"
#include "importance.h"
#include "team.h"

// One forward under way.
typedef struct Run {
    Library *library;
    const Forward *f;
    const Extra *extra;
    int64_t kind;
    const uint8_t *weights;
    ExtraSpace space;      // of a chunk
    uint8_t *memory;       // where that space is
    bool indirect;         // what the skeleton says of its routing goes to that space first, and from there to the caller
    bool routing, scores;  // what it is asked to say
} Run;

// The skeleton writes experts and weights both, and all arrays of a call have the same stride: where the caller takes only some of
// what is needed, a chunk's own arrays receive all of it.
static Run run_begin(Library *library, const Forward *f, const Extra *extra, int64_t kind, const uint8_t *weights, int64_t chunk) {
    bool figures = extra->load || extra->figures;
    Run run = {.library = library, .f = f, .extra = extra, .kind = kind, .weights = weights};
    run.space = extra_space(&library->kinds[kind].plan.layer, chunk);
    run.memory = (uint8_t *)library->workspace.data + library->extra_offset;
    run.routing = !extra->given_experts && (extra->experts || extra->weights || figures);
    run.scores = extra->scores || extra->figures;
    run.indirect = (run.routing && (!extra->experts || !extra->weights)) || (run.scores && !extra->scores);
    return run;
}

static const int32_t *chunk_counts(const Run *run, const Layer *layer, int64_t first, int64_t tokens) {
    if (!run->extra->importance) {
        return run->extra->k ? run->extra->k + first : NULL;
    }
    int32_t *k = (int32_t *)(run->memory + run->space.k);
    for (int64_t token = 0; token < tokens; token++) {
        k[token] = importance_to_k(layer, run->extra->importance[first + token]);
    }
    return k;
}

static Call call_of_chunk(const Run *run, int64_t first, int64_t tokens) {
    const Layer *layer = &run->library->kinds[run->kind].plan.layer;
    const Forward *f = run->f;
    const Extra *extra = run->extra;
    int64_t element = interface_bytes[layer->activations], slot = first * layer->top_k;
    Call call = {
        .weights = run->weights,
        .x = (const uint8_t *)f->x + first * f->x_stride * element,
        .x_stride = f->x_stride,
        .y = (uint8_t *)f->y + first * f->y_stride * element,
        .y_stride = f->y_stride,
        .tokens = tokens,
        .routing_tokens = run->indirect ? tokens : f->tokens,
        .experts_in = extra->given_experts ? extra->given_experts + slot : NULL,
        .weights_in = extra->given_experts ? extra->given_weights + slot : NULL,
        .k_in = chunk_counts(run, layer, first, tokens),
        .workspace = run->library->workspace.data,
    };
    if (run->routing) {
        call.experts_out = run->indirect ? (int32_t *)(run->memory + run->space.experts) : extra->experts + slot;
        call.weights_out = run->indirect ? (float *)(run->memory + run->space.weights) : extra->weights + slot;
    }
    if (run->scores) {
        call.scores_out = run->indirect ? (float *)(run->memory + run->space.scores) : extra->scores + first * layer_choices(layer);
    }
    return call;
}

// A chunk's rows of `width` elements of 4 bytes, [iterations][tokens], to their places in the caller's array (NULL: not wanted).
static void copy_out(const Run *run, const Call *call, int64_t first, int64_t width, const void *from, void *to) {
    int64_t iterations = run->library->kinds[run->kind].plan.layer.iterations, bytes = width * (int64_t)sizeof(float);
    for (int64_t i = 0; to && i < iterations; i++) {
        memcpy((uint8_t *)to + (i * run->f->tokens + first) * bytes, (const uint8_t *)from + i * call->tokens * bytes,
               (size_t)(call->tokens * bytes));
    }
}

static void finish_chunk(const Run *run, const Call *call, int64_t first, const uint8_t *rejected, Gathering *gathering) {
    const Layer *layer = &run->library->kinds[run->kind].plan.layer;
    int64_t choices = layer_choices(layer);
    for (int64_t token = 0; call->scores_out && token < call->tokens; token++) {  // scores of such tokens mean nothing
        for (int64_t i = 0; rejected[token] && i < layer->iterations * choices; i++) {
            call->scores_out[(i / choices * call->routing_tokens + token) * choices + i % choices] = NAN;
        }
    }
    if (run->indirect) {
        copy_out(run, call, first, layer->top_k, call->experts_out, run->extra->experts);
        copy_out(run, call, first, layer->top_k, call->weights_out, run->extra->weights);
        copy_out(run, call, first, choices, call->scores_out, run->extra->scores);
    }
    if (gathering) {
        const int32_t *experts = call->experts_in ? call->experts_in : call->experts_out;
        FigureRows rows = {first, call->tokens, call->routing_tokens, experts, call->scores_out, rejected};
        figures_add(gathering, &rows);
    }
}

static void count_rejected(Library *library, const uint8_t *rejected, int64_t first, int64_t tokens) {
    for (int64_t i = 0; i < tokens; i++) {
        if (rejected[i]) {
            if (!library->nonfinite) {
                library->first_nonfinite = first + i;
            }
            library->nonfinite++;
        }
    }
}

// As few chunks as the workspace allows, of equal sizes but for one token: a short last one would run at a short one's speed.
void chunks_run(Library *library, const Forward *f, const Extra *extra, int64_t kind, const uint8_t *weights) {
    const Plan *plan = &library->kinds[kind].plan;
    int64_t chunk = instance_chunk(library, plan);
    int64_t chunks = f->tokens / chunk + (f->tokens % chunk != 0), share = f->tokens / chunks, larger = f->tokens % chunks;
    Run run = run_begin(library, f, extra, kind, weights, chunk);
    uint64_t environment = team_float_begin();  // importances and figures are computed on this thread
    Gathering sums, *gathering = extra->load || extra->figures ? &sums : NULL;
    if (gathering) {
        figures_begin(&plan->layer, extra->sequence_tokens, run.memory + run.space.sums, gathering);
    }
    for (int64_t c = 0, first = 0, tokens; c < chunks; c++, first += tokens) {
        tokens = share + (c < larger);
        Call call = call_of_chunk(&run, first, tokens);
        uint8_t *rejected = call.workspace + plan_workspace(plan, tokens, library->threads).rejected;
        memset(rejected, 0, (size_t)tokens);
        team_run(library, kind, &call);
        count_rejected(library, rejected, first, tokens);
        finish_chunk(&run, &call, first, rejected, gathering);
    }
    if (gathering) {
        figures_end(gathering, extra->load, extra->figures, extra->figures_size);
    }
    team_float_end(environment);
}
