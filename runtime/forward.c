// A forward: one caller at a time, layers by number, arguments checked. Nothing is allocated.
#include <string.h>

#include "chunks.h"
#include "extra.h"

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

// --- checks ------------------------------------------------------------------------------------------------------------------

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

// rows: what they take, from the first to the last element.
static Status check_tensors(const Layer *layer, const Forward *f, Area rows[AREA_ROWS], const Failure *failure) {
    int64_t hidden = layer->hidden, element = interface_bytes[layer->activations];
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
    int64_t x_bytes = area_bytes(f->tokens, f->x_stride, hidden, element);
    int64_t y_bytes = area_bytes(f->tokens, f->y_stride, hidden, element);
    if (x_bytes < 0 || y_bytes < 0) {
        return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "%s: %lld tokens with %s_stride %lld are more than memory can hold",
                           x_bytes < 0 ? "x" : "y", (long long)f->tokens, x_bytes < 0 ? "x" : "y",
                           (long long)(x_bytes < 0 ? f->x_stride : f->y_stride));
    }
    bool in_place = f->x == f->y && f->x_stride == f->y_stride;
    if (!in_place && rows_overlap(f, x_bytes, y_bytes, hidden, element)) {
        return failure_set(failure, LIBRARY_INVALID_ARGUMENT,
                           "x and y overlap (they may be the same matrix, with the same stride)");
    }
    rows[AREA_X] = (Area){"x", f->x, x_bytes, element, false};
    rows[AREA_Y] = (Area){"y", f->y, y_bytes, element, true};
    return LIBRARY_OK;
}

// --- the call ----------------------------------------------------------------------------------------------------------------

// No token, no sum: what does not depend on their number is zero.
static void clear_figures(const Layer *layer, const Extra *extra) {
    if (extra->load) {
        memset(extra->load, 0, (size_t)(layer->iterations * layer_choices(layer)) * sizeof *extra->load);
    }
    if (extra->figures) {
        memset(extra->figures, 0, (size_t)layer->iterations * extra->figures_size);
    }
}

static Status forward_locked(Library *library, const Forward *given, const Extra *extra, const Failure *failure) {
    int64_t kind = 0, index = 0;
    if (!instance_layer(library, given->layer, &kind, &index)) {
        return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "no layer %d: this library has 0..%lld", given->layer,
                           (long long)library->layers - 1);
    }
    if (given->tokens < 0) {
        return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "tokens is %lld, must not be negative", (long long)given->tokens);
    }
    const Layer *layer = &library->kinds[kind].plan.layer;
    Forward f = *given;
    if (f.tokens == 1) {  // there is no next row: how far away it would be does not matter
        f.x_stride = f.x_stride < layer->hidden ? f.x_stride : layer->hidden;
        f.y_stride = f.y_stride < layer->hidden ? f.y_stride : layer->hidden;
    }
    Area rows[AREA_ROWS] = {0};
    Status status = f.tokens ? check_tensors(layer, &f, rows, failure) : LIBRARY_OK;
    if (status == LIBRARY_OK) {
        status = extra_check(layer, f.tokens, rows, extra, library->workspace.data, failure);
    }
    if (status != LIBRARY_OK) {
        return status;
    }
    if (!f.tokens) {
        clear_figures(layer, extra);
        return LIBRARY_OK;
    }
    chunks_run(library, &f, extra, kind, library->first[kind] + index * library->kinds[kind].plan.layout.instance_bytes);
    if (library->nonfinite) {
        return failure_set(failure, LIBRARY_NONFINITE,
                           "%lld of %lld tokens have router logits that are not finite, the first is %lld",
                           (long long)library->nonfinite, (long long)f.tokens, (long long)library->first_nonfinite);
    }
    return LIBRARY_OK;
}

// `wrong`: why the call is refused whatever `given` says; NULL: it is not.
static Status forward_alone(Library *library, const Forward *forward, const Extra *given, const char *wrong) {
    if (!library) {
        return LIBRARY_INVALID_ARGUMENT;
    }
    if (__atomic_test_and_set(&library->busy, __ATOMIC_ACQUIRE)) {
        return LIBRARY_BUSY;  // the text belongs to the call that is running
    }
    const Failure failure = {library->error, sizeof library->error};
    library->nonfinite = 0;
    library->first_nonfinite = -1;
    Extra extra;
    Status status = wrong ? failure_set(&failure, LIBRARY_INVALID_ARGUMENT, "%s", wrong) : extra_read(given, &extra, &failure);
    if (status == LIBRARY_OK) {
        status = forward_locked(library, forward, &extra, &failure);
    }
    __atomic_clear(&library->busy, __ATOMIC_RELEASE);
    return status;
}

// Both arrays are needed, but for no token, for which nothing is.
static Status forward_both(Library *library, const Forward *forward, bool both, const Extra *extra) {
    return forward_alone(library, forward, both ? extra : NULL, both || !forward->tokens ? NULL : "experts or weights is NULL");
}

Status instance_forward(Library *library, const Forward *forward) {
    return forward_alone(library, forward, NULL, NULL);
}

Status instance_forward_routing(Library *library, const Forward *forward, int32_t *experts, float *weights) {
    const Extra extra = {.size = sizeof extra, .experts = experts, .weights = weights};
    return forward_both(library, forward, experts && weights, &extra);
}

Status instance_forward_routed(Library *library, const Forward *forward, const int32_t *experts, const float *weights) {
    const Extra extra = {.size = sizeof extra, .given_experts = experts, .given_weights = weights};
    return forward_both(library, forward, experts && weights, &extra);
}

Status instance_forward_with(Library *library, const Forward *forward, const Extra *extra) {
    return forward_alone(library, forward, extra, NULL);
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
