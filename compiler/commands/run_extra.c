// See run_extra.h.
#include "run_extra.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static int reads(const char *path, const ModelLayer *layer, NpyType type, int64_t tokens, Npy *array, Diagnostics *diagnostics) {
    if (npy_read(path, array, diagnostics)) {
        return -1;
    }
    if (array->type != type || array->dimensions != 1 || array->shape[0] != tokens) {
        diagnostics_add(diagnostics, path, 0, 0, "layer '%s' takes %s [%lld] here, one for each token", layer->name,
                        type == NPY_INT32 ? "int32" : "float32", (long long)tokens);
        return -1;
    }
    return 0;
}

// Zeroed memory for [iterations][tokens][width]; NULL where that is too much.
static void *allocate(int64_t iterations, int64_t tokens, int64_t width, int64_t element) {
    int64_t bytes;
    if (__builtin_mul_overflow(tokens, iterations * width * element, &bytes)) {
        return NULL;
    }
    return calloc(1, bytes ? (size_t)bytes : 1);
}

static bool creates(const ModelLayer *layer, NpyType type, int64_t tokens, int64_t width, Npy *array) {
    int64_t iterations = layer->layer.iterations;
    *array = (Npy){type, 3, {iterations, tokens, width}, allocate(iterations, tokens, width, sizeof(float))};
    return array->data;
}

int run_extra_prepare(const RunExtraPaths *paths, const ModelLayer *layer, int64_t tokens, RunExtra *out,
                      Diagnostics *diagnostics) {
    const Layer *facts = &layer->layer;
    bool complete = true;
    if ((paths->k && reads(paths->k, layer, NPY_INT32, tokens, &out->k, diagnostics)) ||
        (paths->importance && reads(paths->importance, layer, NPY_FLOAT32, tokens, &out->importance, diagnostics))) {
        return -1;
    }
    if (paths->routing) {
        complete = creates(layer, NPY_INT32, tokens, facts->top_k, &out->experts) &&
                   creates(layer, NPY_FLOAT32, tokens, facts->top_k, &out->weights);
    }
    if (paths->scores) {
        complete = complete && creates(layer, NPY_FLOAT32, tokens, layer_choices(facts), &out->scores);
    }
    if (paths->figures) {
        out->load = allocate(facts->iterations, 1, layer_choices(facts), sizeof *out->load);
        out->figures = allocate(facts->iterations, 1, 1, sizeof *out->figures);
        complete = complete && out->load && out->figures;
    }
    if (!complete) {
        diagnostics_add(diagnostics, NULL, 0, 0, "not enough memory for the results of %lld tokens", (long long)tokens);
        return -1;
    }
    out->extra = (Extra){.size = sizeof out->extra,
                         .experts = out->experts.data,
                         .weights = out->weights.data,
                         .k = out->k.data,
                         .importance = out->importance.data,
                         .load = out->load,
                         .scores = out->scores.data,
                         .figures = out->figures,
                         .figures_size = sizeof *out->figures,
                         .sequence_tokens = paths->sequence_tokens};
    return 0;
}

int run_extra_outputs(const RunExtraPaths *paths, char *outputs[RUN_EXTRA_OUTPUTS]) {
    static const char *const suffixes[] = {".experts.npy", ".weights.npy", ""};
    for (int i = 0; i < RUN_EXTRA_OUTPUTS; i++) {
        const char *stem = *suffixes[i] ? paths->routing : paths->scores;
        size_t bytes = stem ? strlen(stem) + strlen(suffixes[i]) + 1 : 0;
        outputs[i] = stem ? malloc(bytes) : NULL;
        if (stem && !outputs[i]) {
            return -1;
        }
        if (stem) {
            snprintf(outputs[i], bytes, "%s%s", stem, suffixes[i]);
        }
    }
    return 0;
}

// Calls npy_try or npy_write for every output.
static int for_each_output(char *const outputs[RUN_EXTRA_OUTPUTS], const RunExtra *arrays, Diagnostics *diagnostics,
                           int (*step)(const char *path, const Npy *array, Diagnostics *diagnostics)) {
    const Npy *const written[RUN_EXTRA_OUTPUTS] = {&arrays->experts, &arrays->weights, &arrays->scores};
    for (int i = 0; i < RUN_EXTRA_OUTPUTS; i++) {
        if (outputs[i] && step(outputs[i], written[i], diagnostics)) {
            return -1;
        }
    }
    return 0;
}

int run_extra_try(char *const outputs[RUN_EXTRA_OUTPUTS], const RunExtra *arrays, Diagnostics *diagnostics) {
    return for_each_output(outputs, arrays, diagnostics, npy_try);
}

int run_extra_write(char *const outputs[RUN_EXTRA_OUTPUTS], const RunExtra *arrays, Diagnostics *diagnostics) {
    return for_each_output(outputs, arrays, diagnostics, npy_write);
}

static int64_t largest(const int64_t *load, int64_t choices) {
    int64_t most = 0;
    for (int64_t e = 0; e < choices; e++) {
        most = load[e] > most ? load[e] : most;
    }
    return most;
}

static void print_table(const RunExtra *arrays, const Layer *layer) {
    static const char *const names[] = {"iteration", "routed",        "sparsity", "l1",
                                        "Switch",    "sequence-wise", "entropy",  "most tokens of a choice"};
    Table table = {0};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        table_column(&table, names[i], false);
    }
    for (int64_t i = 0; i < layer->iterations; i++) {
        const Figures *figures = &arrays->figures[i];
        const double values[] = {figures->sparsity, figures->l1, figures->balance_switch, figures->balance_sequence,
                                 figures->entropy};
        table_cell(&table, "%lld", (long long)i);
        table_cell(&table, "%lld", (long long)figures->routed);
        for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
            table_cell(&table, "%.6g", values[v]);
        }
        table_cell(&table, "%lld", (long long)largest(arrays->load + i * layer_choices(layer), layer_choices(layer)));
    }
    table_print(&table, stdout);
    table_free(&table);
}

static json_t *json_of_iteration(const Figures *figures, const int64_t *load, int64_t choices) {
    json_t *counts = json_array();
    for (int64_t e = 0; e < choices; e++) {
        json_array_append_new(counts, json_integer(load[e]));
    }
    return json_pack("{s:I, s:f, s:f, s:f, s:f, s:f, s:o}", "routed", (json_int_t)figures->routed, "sparsity", figures->sparsity,
                     "l1", figures->l1, "balance_switch", figures->balance_switch, "balance_sequence", figures->balance_sequence,
                     "entropy", figures->entropy, "load", counts);
}

static void print_json(const RunExtra *arrays, const ModelLayer *layer, int64_t tokens) {
    json_t *iterations = json_array();
    int64_t choices = layer_choices(&layer->layer);
    for (int64_t i = 0; i < layer->layer.iterations; i++) {
        json_array_append_new(iterations, json_of_iteration(&arrays->figures[i], arrays->load + i * choices, choices));
    }
    json_t *root = json_pack("{s:s, s:I, s:o}", "layer", layer->name, "tokens", (json_int_t)tokens, "iterations", iterations);
    json_dumpf(root, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(root);
}

void run_extra_print(const RunExtraPaths *paths, const RunExtra *arrays, const ModelLayer *layer, int64_t tokens) {
    if (paths->figures && paths->format == OUTPUT_JSON) {
        print_json(arrays, layer, tokens);
    } else if (paths->figures) {
        print_table(arrays, &layer->layer);
    }
}

void run_extra_free(RunExtra *arrays) {
    npy_free(&arrays->experts);
    npy_free(&arrays->weights);
    npy_free(&arrays->scores);
    npy_free(&arrays->k);
    npy_free(&arrays->importance);
    free(arrays->load);
    free(arrays->figures);
}
