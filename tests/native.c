// See native.h.
#include "native.h"

extern Plan layer_plan;
LayerForward layer_forward;
static const Kind *native_kind;

static Status open_memory(const void *packed, size_t bytes, const Options *options, Library **out, char *error, size_t error_size) {
    static const Contents contents = {.name = "native", .target = "plain", .kinds = 1};
    static LayerForward *const forwards[] = {layer_forward};
    layer_plan = native_kind->plan;
    return instance_open_memory(&contents, native_kind, forwards, packed, bytes, options, out, error, error_size);
}

static Status forward(Library *library, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y, int64_t y_stride) {
    Forward call = {layer, tokens, x, x_stride, y, y_stride};
    return instance_forward(library, &call);
}

static Status forward_routing(Library *library, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y,
                              int64_t y_stride, int32_t *experts, float *weights) {
    Forward call = {layer, tokens, x, x_stride, y, y_stride};
    return instance_forward_routing(library, &call, experts, weights);
}

static Status forward_routed(Library *library, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y,
                             int64_t y_stride, const int32_t *experts, const float *weights) {
    Forward call = {layer, tokens, x, x_stride, y, y_stride};
    return instance_forward_routed(library, &call, experts, weights);
}

static Status forward_with(Library *library, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y, int64_t y_stride,
                           const Extra *extra) {
    Forward call = {layer, tokens, x, x_stride, y, y_stride};
    return instance_forward_with(library, &call, extra);
}

const Loaded *native_library(const Kind *kind) {
    static const Loaded native = {.open_memory = open_memory,
                                  .find = instance_find,
                                  .forward = forward,
                                  .forward_routing = forward_routing,
                                  .forward_routed = forward_routed,
                                  .forward_with = forward_with,
                                  .nonfinite = instance_nonfinite,
                                  .error = instance_error,
                                  .close = instance_close};
    native_kind = kind;
    return &native;
}
