// The exported functions of a library. The emitter renames entry_X to NAME_X; the generated NAME.h declares them. Everything
// else in a library is hidden: these call the runtime's functions of the same signature.
#include "library.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT Status entry_open(const char *weights, const Options *options, Library **out, char *error, size_t error_size);
EXPORT Status entry_open_memory(const void *packed, size_t bytes, const Options *options, Library **out, char *error,
                                size_t error_size);
EXPORT Status entry_pack(const char *weights, const char *path, char *error, size_t error_size);
EXPORT int entry_layer(const Library *library, const char *name, int64_t index);
EXPORT Status entry_forward(Library *library, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y,
                            int64_t y_stride);
EXPORT Status entry_forward_routing(Library *library, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y,
                                    int64_t y_stride, int32_t *experts, float *weights);
EXPORT Status entry_forward_routed(Library *library, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y,
                                   int64_t y_stride, const int32_t *experts, const float *weights);
EXPORT Status entry_forward_with(Library *library, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y,
                                 int64_t y_stride, const Extra *extra);
EXPORT Status entry_importance(const float *attention, int64_t heads, int64_t queries, int64_t keys, int rule, float *importance);
EXPORT double entry_adapt_lambda(double lambda, double sparsity, double target);
EXPORT int64_t entry_nonfinite(const Library *library, int64_t *first);
EXPORT const char *entry_error(const Library *library);
EXPORT const char *entry_describe(void);
EXPORT void entry_close(Library *library);

Status entry_open(const char *weights, const Options *options, Library **out, char *error, size_t error_size) {
    return library_open(weights, options, out, error, error_size);
}

Status entry_open_memory(const void *packed, size_t bytes, const Options *options, Library **out, char *error, size_t error_size) {
    return library_open_memory(packed, bytes, options, out, error, error_size);
}

Status entry_pack(const char *weights, const char *path, char *error, size_t error_size) {
    return library_pack(weights, path, error, error_size);
}

int entry_layer(const Library *library, const char *name, int64_t index) {
    return library_find(library, name, index);
}

Status entry_forward(Library *library, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y, int64_t y_stride) {
    return library_forward(library, layer, tokens, x, x_stride, y, y_stride);
}

Status entry_forward_routing(Library *library, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y,
                             int64_t y_stride, int32_t *experts, float *weights) {
    return library_forward_routing(library, layer, tokens, x, x_stride, y, y_stride, experts, weights);
}

Status entry_forward_routed(Library *library, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y, int64_t y_stride,
                            const int32_t *experts, const float *weights) {
    return library_forward_routed(library, layer, tokens, x, x_stride, y, y_stride, experts, weights);
}

Status entry_forward_with(Library *library, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y, int64_t y_stride,
                          const Extra *extra) {
    return library_forward_with(library, layer, tokens, x, x_stride, y, y_stride, extra);
}

Status entry_importance(const float *attention, int64_t heads, int64_t queries, int64_t keys, int rule, float *importance) {
    return library_importance(attention, heads, queries, keys, rule, importance);
}

double entry_adapt_lambda(double lambda, double sparsity, double target) {
    return library_adapt_lambda(lambda, sparsity, target);
}

int64_t entry_nonfinite(const Library *library, int64_t *first) {
    return library_nonfinite(library, first);
}

const char *entry_error(const Library *library) {
    return library_error(library);
}

const char *entry_describe(void) {
    return library_describe();
}

void entry_close(Library *library) {
    library_close(library);
}
