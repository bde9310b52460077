// Where the tokens of a benchmark go: by a router with synthetic weights, or as recorded in a trace.
#include "routing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/base/npy.h"

int routing_skew_parse(const char *text, RoutingSkew *routing) {
    memset(routing, 0, sizeof *routing);
    if (!strcmp(text, "uniform")) {
        return 0;
    }
    if (!strcmp(text, "one")) {
        routing->kind = ROUTING_ONE;
        return 0;
    }
    if (strncmp(text, "zipf:", 5)) {
        return -1;
    }
    char *end;
    routing->kind = ROUTING_ZIPF;
    routing->exponent = strtod(text + 5, &end);
    return end == text + 5 || *end || !isfinite(routing->exponent) || routing->exponent < 0 ? -1 : 0;
}

int routing_parse(const char *text, Routing *routing) {
    size_t length = strlen(text);
    *routing = (Routing){0};
    if (length >= sizeof routing->text) {
        return -1;
    }
    memcpy(routing->text, text, length + 1);
    if (!strncmp(text, "trace:", 6)) {
        routing->is_trace = true;
        return text[6] ? 0 : -1;
    }
    return routing_skew_parse(text, &routing->synthetic);
}

// --- traces ------------------------------------------------------------------------------------------------------------------

static int trace_check(const char *path, const Npy *array, NpyType type, const Layer *layer, Diagnostics *diagnostics) {
    if (array->type != type || array->dimensions != 3 || array->shape[0] != layer->iterations || array->shape[2] != layer->top_k ||
        array->shape[1] < 1) {
        diagnostics_add(diagnostics, path, 0, 0, "a trace of this layer is %s [%lld, tokens, %lld]",
                        type == NPY_INT32 ? "int32" : "float32", (long long)layer->iterations, (long long)layer->top_k);
        return -1;
    }
    return 0;
}

static int trace_check_experts(const char *path, const Npy *array, const Layer *layer, Diagnostics *diagnostics) {
    const int32_t *experts = array->data;
    for (int64_t i = 0; i < npy_elements(array); i++) {
        if (experts[i] < -1 || experts[i] >= layer_choices(layer)) {
            diagnostics_add(diagnostics, path, 0, 0, "expert %d at element %lld: the layer has experts 0 to %lld (-1: unused slot)",
                            experts[i], (long long)i, (long long)layer_choices(layer) - 1);
            return -1;
        }
    }
    return 0;
}

int routing_trace_read(const char *prefix, const Layer *layer, RoutingTrace *trace, Diagnostics *diagnostics) {
    static const char suffix[] = ".experts.npy";
    char path[ROUTING_TEXT_BYTES + 32];
    Npy experts = {0}, weights = {0};
    size_t length = strlen(prefix), end = sizeof suffix - 1;
    if (length > end && !strcmp(prefix + length - end, suffix)) {
        length -= end;  // the file itself was named
    }
    *trace = (RoutingTrace){0};
    snprintf(path, sizeof path, "%.*s%s", (int)length, prefix, suffix);
    int status = npy_read(path, &experts, diagnostics);
    status = status ? status : trace_check(path, &experts, NPY_INT32, layer, diagnostics);
    status = status ? status : trace_check_experts(path, &experts, layer, diagnostics);
    snprintf(path, sizeof path, "%.*s.weights.npy", (int)length, prefix);
    status = status ? status : npy_read(path, &weights, diagnostics);
    status = status ? status : trace_check(path, &weights, NPY_FLOAT32, layer, diagnostics);
    if (!status && weights.shape[1] != experts.shape[1]) {
        diagnostics_add(diagnostics, path, 0, 0, "%lld tokens here, but %lld in its .experts.npy", (long long)weights.shape[1],
                        (long long)experts.shape[1]);
        status = -1;
    }
    if (status) {
        npy_free(&experts);
        npy_free(&weights);
        return -1;
    }
    *trace = (RoutingTrace){experts.shape[1], experts.data, weights.data};
    return 0;
}

void routing_trace_free(RoutingTrace *trace) {
    free(trace->experts);
    free(trace->weights);
    *trace = (RoutingTrace){0};
}

void routing_trace_window(const RoutingTrace *trace, const Layer *layer, int64_t first, int64_t count, int32_t *experts,
                          float *weights) {
    int64_t k = layer->top_k;
    for (int64_t t = 0; t < layer->iterations; t++) {
        for (int64_t i = 0; i < count; i++) {
            int64_t from = (t * trace->tokens + (first + i) % trace->tokens) * k, to = (t * count + i) * k;
            memcpy(experts + to, trace->experts + from, (size_t)k * sizeof *experts);
            memcpy(weights + to, trace->weights + from, (size_t)k * sizeof *weights);
        }
    }
}

// --- choices -----------------------------------------------------------------------------------------------------------------

static bool holds(const int32_t *list, int64_t count, int32_t expert) {
    for (int64_t i = 0; i < count; i++) {
        if (list[i] == expert) {
            return true;
        }
    }
    return false;
}

bool routing_same_choices(const Layer *layer, int64_t tokens, int64_t token, const int32_t *a, const int32_t *b) {
    for (int64_t t = 0; t < layer->iterations; t++) {
        int64_t first = (t * tokens + token) * layer->top_k;
        for (int64_t i = 0; i < layer->top_k; i++) {
            if (!holds(b + first, layer->top_k, a[first + i])) {
                return false;
            }
        }
    }
    return true;
}
