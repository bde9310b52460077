// The functions behind a library's exported ones: the instance functions with this library's emitted contents.
#include <stdio.h>

#include "figures.h"
#include "importance.h"
#include "instance.h"

// Debian's static jansson refers to stdin (json_loadf, never called here) in a way that a shared object cannot resolve; the
// Makefile renames that reference to this variable.
FILE *library_stdin;

Status library_open(const char *weights, const Options *options, Library **out, char *error, size_t error_size) {
    return instance_open(&library_contents, library_kinds, library_forwards, weights, options, out, error, error_size);
}

Status library_open_memory(const void *packed, size_t bytes, const Options *options, Library **out, char *error,
                           size_t error_size) {
    return instance_open_memory(&library_contents, library_kinds, library_forwards, packed, bytes, options, out, error, error_size);
}

Status library_pack(const char *weights, const char *path, char *error, size_t error_size) {
    return instance_pack(&library_contents, library_kinds, weights, path, error, error_size);
}

int library_find(const Library *library, const char *name, int64_t index) {
    return instance_find(library, name, index);
}

Status library_forward(Library *library, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y, int64_t y_stride) {
    Forward forward = {layer, tokens, x, x_stride, y, y_stride};
    return instance_forward(library, &forward);
}

Status library_forward_routing(Library *library, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y,
                               int64_t y_stride, int32_t *experts, float *weights) {
    Forward forward = {layer, tokens, x, x_stride, y, y_stride};
    return instance_forward_routing(library, &forward, experts, weights);
}

Status library_forward_routed(Library *library, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y,
                              int64_t y_stride, const int32_t *experts, const float *weights) {
    Forward forward = {layer, tokens, x, x_stride, y, y_stride};
    return instance_forward_routed(library, &forward, experts, weights);
}

Status library_forward_with(Library *library, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y, int64_t y_stride,
                            const Extra *extra) {
    Forward forward = {layer, tokens, x, x_stride, y, y_stride};
    return instance_forward_with(library, &forward, extra);
}

Status library_importance(const float *attention, int64_t heads, int64_t queries, int64_t keys, int rule, float *importance) {
    return importance_from_attention(attention, heads, queries, keys, rule, importance);
}

double library_adapt_lambda(double lambda, double sparsity, double target) {
    return figures_adapt_lambda(lambda, sparsity, target);
}

int64_t library_nonfinite(const Library *library, int64_t *first) {
    return instance_nonfinite(library, first);
}

const char *library_error(const Library *library) {
    return instance_error(library);
}

const char *library_describe(void) {
    return library_description;
}

void library_close(Library *library) {
    instance_close(library);
}
