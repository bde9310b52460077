// A forward: arguments checked, tokens cut into chunks that the workspace holds, non-finite rows counted. Nothing is allocated.
#include <math.h>
#include <string.h>

#include "instance.h"
#include "team.h"

bool instance_layer(const Library *library, int64_t layer, int64_t *kind, int64_t *index) {
    for (int64_t k = 0; layer >= 0 && k < library->contents->kinds; k++) {
        if (layer < library->kinds[k].count) {
            *kind = k;
            *index = layer;
            return true;
        }
        layer -= library->kinds[k].count;
    }
    return false;
}

int instance_find(const Library *library, const char *name, int64_t index) {
    int64_t first = 0;
    for (int64_t k = 0; library && name && k < library->contents->kinds; k++) {
        if (!strcmp(library->kinds[k].name, name)) {
            return index >= 0 && index < library->kinds[k].count ? (int)(first + index) : -1;
        }
        first += library->kinds[k].count;
    }
    return -1;
}

// --- checks --------------------------------------------------------------------------------------------------------------------

// Bytes from the first to past the last element of a strided matrix; -1 if that overflows.
static int64_t extent(int64_t tokens, int64_t stride, int64_t hidden, int64_t element) {
    int64_t bytes;
    if (__builtin_mul_overflow(tokens - 1, stride, &bytes) || __builtin_add_overflow(bytes, hidden, &bytes) ||
        __builtin_mul_overflow(bytes, element, &bytes)) {
        return -1;
    }
    return bytes;
}

// Whether rows of x and y share bytes. Rows that interleave without meeting (two halves of wider rows) do not.
static bool rows_overlap(const Forward *f, int64_t x_bytes, int64_t y_bytes, int64_t hidden, int64_t element) {
    uintptr_t x = (uintptr_t)f->x, y = (uintptr_t)f->y;
    if (x + (uintptr_t)x_bytes <= y || y + (uintptr_t)y_bytes <= x) {
        return false;
    }
    if (f->x_stride != f->y_stride) {
        return true;
    }
    uintptr_t stride = (uintptr_t)(f->x_stride * element), row = (uintptr_t)(hidden * element);
    uintptr_t distance = (y > x ? y - x : x - y) % stride;
    return distance < row || distance > stride - row;
}

static Status check_tensors(const Layer *layer, const Forward *f, const Failure *failure) {
    int64_t hidden = layer->hidden, element = format_bytes((Format)layer->activations);
    if (!f->x || !f->y) {
        return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "%s is NULL", f->x ? "y" : "x");
    }
    if ((uintptr_t)f->x % (uintptr_t)element || (uintptr_t)f->y % (uintptr_t)element) {
        return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "x and y must be aligned to their elements (%lld bytes)",
                           (long long)element);
    }
    if (f->x_stride < hidden || f->y_stride < hidden) {
        return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "%s_stride is %lld, less than hidden (%lld)",
                           f->x_stride < hidden ? "x" : "y", (long long)(f->x_stride < hidden ? f->x_stride : f->y_stride),
                           (long long)hidden);
    }
    int64_t x_bytes = extent(f->tokens, f->x_stride, hidden, element), y_bytes = extent(f->tokens, f->y_stride, hidden, element);
    if (x_bytes < 0 || y_bytes < 0) {
        return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "%lld tokens are more than memory can hold", (long long)f->tokens);
    }
    bool in_place = f->x == f->y && (f->x_stride == f->y_stride || f->tokens == 1);  // strides mean nothing for one token
    if (!in_place && rows_overlap(f, x_bytes, y_bytes, hidden, element)) {
        return failure_set(failure, LIBRARY_INVALID_ARGUMENT,
                           "x and y overlap (they may be the same matrix, with the same stride)");
    }
    return LIBRARY_OK;
}

// One token in one iteration. `seen`: a bit per expert, zero before and after.
static Status check_slots(const Layer *layer, const Forward *f, int64_t slot, uint8_t *seen, const Failure *failure) {
    const int32_t *experts = f->experts_in + slot;
    int64_t iteration = slot / layer->top_k / f->tokens, token = slot / layer->top_k % f->tokens;
    for (int64_t k = 0; k < layer->top_k; k++) {
        if (experts[k] < -1 || experts[k] >= layer->experts) {
            return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "iteration %lld, token %lld: expert %d, must be -1..%lld",
                               (long long)iteration, (long long)token, experts[k], (long long)layer->experts - 1);
        }
        if (!isfinite(f->weights_in[slot + k])) {
            return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "iteration %lld, token %lld: a weight is not finite",
                               (long long)iteration, (long long)token);
        }
        if (experts[k] >= 0) {
            uint8_t bit = (uint8_t)(1 << experts[k] % 8);
            if (seen[experts[k] / 8] & bit) {
                return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "iteration %lld, token %lld: expert %d is given twice",
                                   (long long)iteration, (long long)token, experts[k]);
            }
            seen[experts[k] / 8] |= bit;
        }
    }
    for (int64_t k = 0; k < layer->top_k; k++) {
        if (experts[k] >= 0) {
            seen[experts[k] / 8] = 0;
        }
    }
    return LIBRARY_OK;
}

static Status check_routing(const Layer *layer, const Forward *f, uint8_t *workspace, const Failure *failure) {
    if (f->mode == FORWARD_ROUTING_OUT && (!f->experts_out || !f->weights_out)) {
        return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "experts or weights is NULL");
    }
    if (f->mode != FORWARD_ROUTING_IN) {
        return LIBRARY_OK;
    }
    if (!f->experts_in || !f->weights_in) {
        return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "experts or weights is NULL");
    }
    int64_t slots = layer->iterations * f->tokens * layer->top_k;
    memset(workspace, 0, (size_t)(layer->experts + 7) / 8);  // fits: Workspace.starts alone has 8 bytes per expert
    for (int64_t slot = 0; slot < slots; slot += layer->top_k) {
        Status status = check_slots(layer, f, slot, workspace, failure);
        if (status != LIBRARY_OK) {
            return status;
        }
    }
    return LIBRARY_OK;
}

// --- chunks --------------------------------------------------------------------------------------------------------------------

static Call call_of_chunk(const Library *library, const Plan *plan, const uint8_t *weights, const Forward *f, int64_t first,
                          int64_t tokens) {
    int64_t element = format_bytes((Format)plan->layer.activations), slot = first * plan->layer.top_k;
    return (Call){
        .weights = weights,
        .x = (const uint8_t *)f->x + first * f->x_stride * element,
        .x_stride = f->x_stride,
        .y = (uint8_t *)f->y + first * f->y_stride * element,
        .y_stride = f->y_stride,
        .tokens = tokens,
        .routing_tokens = f->tokens,
        .experts_out = f->mode == FORWARD_ROUTING_OUT ? f->experts_out + slot : NULL,
        .weights_out = f->mode == FORWARD_ROUTING_OUT ? f->weights_out + slot : NULL,
        .experts_in = f->mode == FORWARD_ROUTING_IN ? f->experts_in + slot : NULL,
        .weights_in = f->mode == FORWARD_ROUTING_IN ? f->weights_in + slot : NULL,
        .workspace = library->workspace.data,
    };
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
static void run_chunks(Library *library, const Forward *f, int64_t kind, const uint8_t *weights) {
    const Plan *plan = &library->kinds[kind].plan;
    int64_t chunk = plan->chunk_tokens;
    if (library->max_tokens && library->max_tokens < chunk) {
        chunk = library->max_tokens;
    }
    int64_t chunks = f->tokens / chunk + (f->tokens % chunk != 0), share = f->tokens / chunks, larger = f->tokens % chunks;
    for (int64_t c = 0, first = 0, tokens; c < chunks; c++, first += tokens) {
        tokens = share + (c < larger);
        Call call = call_of_chunk(library, plan, weights, f, first, tokens);
        uint8_t *rejected = call.workspace + plan_workspace(plan, tokens, library->threads).rejected;
        memset(rejected, 0, (size_t)tokens);
        team_run(library, library->forwards[kind], &call);
        count_rejected(library, rejected, first, tokens);
    }
}

static Status forward_locked(Library *library, const Forward *f) {
    Failure failure = {library->error, sizeof library->error};
    int64_t kind = 0, index = 0;
    library->nonfinite = 0;
    library->first_nonfinite = -1;
    if (!instance_layer(library, f->layer, &kind, &index)) {
        return failure_set(&failure, LIBRARY_INVALID_ARGUMENT, "no layer %d: this library has 0..%lld", f->layer,
                           (long long)library->layers - 1);
    }
    if (f->tokens < 0) {
        return failure_set(&failure, LIBRARY_INVALID_ARGUMENT, "tokens is %lld, must not be negative", (long long)f->tokens);
    }
    if (!f->tokens) {
        return LIBRARY_OK;
    }
    const Layer *layer = &library->kinds[kind].plan.layer;
    Status status = check_tensors(layer, f, &failure);
    if (status == LIBRARY_OK) {
        status = check_routing(layer, f, library->workspace.data, &failure);
    }
    if (status != LIBRARY_OK) {
        return status;
    }
    run_chunks(library, f, kind, library->first[kind] + index * library->kinds[kind].plan.instance_bytes);
    if (library->nonfinite) {
        return failure_set(&failure, LIBRARY_NONFINITE,
                           "%lld of %lld tokens have router logits that are not finite, the first is %lld",
                           (long long)library->nonfinite, (long long)f->tokens, (long long)library->first_nonfinite);
    }
    return LIBRARY_OK;
}

Status instance_forward(Library *library, const Forward *forward) {
    if (!library) {
        return LIBRARY_INVALID_ARGUMENT;
    }
    if (__atomic_test_and_set(&library->busy, __ATOMIC_ACQUIRE)) {
        return LIBRARY_BUSY;  // the text belongs to the call that is running
    }
    Status status = forward_locked(library, forward);
    __atomic_clear(&library->busy, __ATOMIC_RELEASE);
    return status;
}

int64_t instance_nonfinite(const Library *library, int64_t *first) {
    if (first) {
        *first = library && library->nonfinite ? library->first_nonfinite : -1;
    }
    return library ? library->nonfinite : 0;
}

const char *instance_error(const Library *library) {
    return library ? library->error : "no instance (NULL)";
}
