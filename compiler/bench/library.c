// A compiled library on a bank of synthetic weights: what a cold call rotates over.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"
#include "compiler/base/table.h"
#include "runtime/packed.h"

enum {
    HUGE_PAGE = 2 << 20,
    SEED = 20250101,
    FEWEST_WINDOWS = 5,
    MOST_WINDOWS = 61,
    POOL_TOKENS = 8192,
    LOOKED_AT = 16,
    PROGRESS_SLOTS = 64
};

// --- tokens ------------------------------------------------------------------------------------------------------------------

// Odd numbers of windows, so that windows and instances (usually even in number) meet in new pairs.
int bench_tokens_create(const Plan *plan, int64_t tokens, const RoutingSkew *routing, BenchTokens *out) {
    const Layer *layer = &plan->layer;
    int64_t windows = POOL_TOKENS / tokens | 1;
    windows = windows > MOST_WINDOWS ? MOST_WINDOWS : windows < FEWEST_WINDOWS ? FEWEST_WINDOWS : windows;
    int64_t elements = windows * tokens * layer->hidden;
    *out = (BenchTokens){.tokens = tokens, .windows = windows, .x = malloc((size_t)elements * sizeof(float))};
    if (out->x) {
        synthetic_tokens(plan, windows * tokens, SEED + 1, routing, out->x);
    }
    if (out->x && layer->activations == INTERFACE_BF16) {
        out->x16 = malloc((size_t)elements * sizeof(uint16_t));
        if (out->x16) {
            synthetic_to_bf16(out->x, elements, out->x16);
        }
    }
    return out->x && (out->x16 || layer->activations != INTERFACE_BF16) ? 0 : -1;
}

void bench_tokens_free(BenchTokens *tokens) {
    free(tokens->x);
    free(tokens->x16);
    *tokens = (BenchTokens){0};
}

// --- the bank ----------------------------------------------------------------------------------------------------------------

static int choose_kind(BenchLibrary *library, const char *layer, Diagnostics *diagnostics) {
    const Artifact *artifact = library->loaded->artifact;
    int64_t count = artifact->model->layer_count;
    library->kinds = calloc((size_t)count, sizeof *library->kinds);
    library->kind_count = count;
    library->kind = -1;
    for (int64_t i = 0; library->kinds && i < count; i++) {
        const ModelLayer *from = &artifact->model->layers[i];
        Kind *kind = &library->kinds[i];
        *kind = (Kind){.count = from->count, .plan = artifact->plans[i], .checkpoint = from->checkpoint};
        snprintf(kind->name, sizeof kind->name, "%s", from->name);
        if (library->kind < 0 && (!layer || !strcmp(layer, kind->name))) {
            library->kind = i;
        }
    }
    if (library->kind < 0) {
        diagnostics_add(diagnostics, artifact->path, 0, 0, "the library has no layer '%s'", layer ? layer : "");
        return -1;
    }
    library->plan = &library->kinds[library->kind].plan;
    return 0;
}

// Address space for all images; pages are only taken where weights are written.
static int reserve_bank(BenchLibrary *library, int64_t cold_bytes, bool huge_pages, Diagnostics *diagnostics) {
    const Kind *kind = &library->kinds[library->kind];
    int64_t image = packed_image_bytes(library->kinds, library->kind_count), instance = kind->plan.layout.instance_bytes;
    int64_t wanted = (cold_bytes + instance - 1) / instance;
    library->is_capped = wanted > BENCH_MAX_SLOTS;
    library->slots = library->is_capped ? BENCH_MAX_SLOTS : wanted > 1 ? wanted : 1;
    library->images = (library->slots + kind->count - 1) / kind->count;
    library->image_stride = plan_round_up(image, image < HUGE_PAGE ? PACKED_PAGE : HUGE_PAGE);
    library->memory_bytes = library->images * library->image_stride + HUGE_PAGE;
    library->memory =
        mmap(NULL, (size_t)library->memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    library->libraries = calloc((size_t)library->images, sizeof(Library *));
    library->instances = calloc((size_t)library->slots, sizeof *library->instances);
    library->layers = calloc((size_t)library->slots, sizeof(int));
    if (image < 0 || library->memory == MAP_FAILED || !library->libraries || !library->instances || !library->layers) {
        diagnostics_add(diagnostics, library->loaded->artifact->path, 0, 0, "out of memory for a bank of %lld instances",
                        (long long)library->slots);
        return -1;
    }
    madvise(library->memory, (size_t)library->memory_bytes, huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    library->huge_pages = huge_pages;
    return 0;
}

static uint8_t *image_address(const BenchLibrary *library, int64_t image) {
    uint8_t *aligned = library->memory + (HUGE_PAGE - (uintptr_t)library->memory % HUGE_PAGE) % HUGE_PAGE;
    return aligned + image * library->image_stride;
}

// Fills the slots: the first with random weights, the others with copies (their values do not matter, their addresses do).
static int fill_bank(BenchLibrary *library, const Routing *routing, int threads, Diagnostics *diagnostics) {
    const Kind *kind = &library->kinds[library->kind];
    char error[256] = "";
    Options options = {.size = sizeof options, .threads = threads, .huge_pages = library->huge_pages ? 1 : -1};
    for (int64_t s = 0; s < library->slots; s++) {
        if (bench_stopped) {
            return -1;
        }
        if (s % PROGRESS_SLOTS == 0) {
            terminal_progress("preparing the weights: instance %lld of %lld", (long long)s + 1, (long long)library->slots);
        }
        int64_t image = s / kind->count, index = s % kind->count;
        uint8_t *base = image_address(library, image);
        if (!index) {
            packed_image_begin(library->kinds, library->kind_count, base);
        }
        uint8_t *instance = packed_image_instance(base, library->kind, index);
        if (s) {
            memcpy(instance, library->instances[0], (size_t)kind->plan.layout.instance_bytes);
        } else {
            synthetic_fill(&kind->plan, instance, SEED, &routing->synthetic);
        }
        library->instances[s] = instance;
        if (!index) {
            packed_image_seal(base);  // without the weights' checksums, which are not compared
            int64_t bytes = packed_image_bytes(library->kinds, library->kind_count);
            if (library->loaded->open_memory(base, (size_t)bytes, &options, &library->libraries[image], error, sizeof error)) {
                diagnostics_add(diagnostics, library->loaded->artifact->path, 0, 0, "%s", error);
                return -1;
            }
        }
        library->layers[s] = library->loaded->find(library->libraries[image], kind->name, index);
    }
    return 0;
}

BenchLibrary *bench_library_open(Loaded *loaded, const char *layer, const Routing *routing, int64_t cold_bytes, int threads,
                                 bool huge_pages, Diagnostics *diagnostics) {
    BenchLibrary *library = calloc(1, sizeof *library);
    if (!library) {
        loaded_close(loaded);
        return NULL;
    }
    library->loaded = loaded;
    if (choose_kind(library, layer, diagnostics) || reserve_bank(library, cold_bytes, huge_pages, diagnostics) ||
        fill_bank(library, routing, threads, diagnostics)) {
        bench_library_close(library);
        return NULL;
    }
    return library;
}

static void end_comparison(BenchLibrary *library) {
    free(library->experts);
    free(library->weights);
    free(library->y);
    library->experts = NULL;
    library->weights = NULL;
    library->y = NULL;
}

void bench_library_close(BenchLibrary *library) {
    if (!library) {
        return;
    }
    end_comparison(library);
    for (int64_t i = 0; library->libraries && i < library->images; i++) {
        if (library->libraries[i]) {
            library->loaded->close(library->libraries[i]);
        }
    }
    if (library->memory && library->memory != MAP_FAILED) {
        munmap(library->memory, (size_t)library->memory_bytes);
    }
    free(library->libraries);
    free(library->instances);
    free(library->layers);
    free(library->kinds);
    loaded_close(library->loaded);
    free(library);
}

// --- calls -------------------------------------------------------------------------------------------------------------------

int bench_library_begin(BenchLibrary *library, const BenchTokens *tokens, const RoutingTrace *trace, bool warm) {
    const Layer *layer = &library->plan->layer;
    int64_t slots = layer->iterations * tokens->tokens * layer->top_k;
    end_comparison(library);
    library->tokens = tokens;
    library->trace = trace;
    library->warm = warm;
    library->cursor = 0;
    library->y = malloc((size_t)(tokens->tokens * layer->hidden) * sizeof(float));
    library->experts = malloc((size_t)slots * sizeof *library->experts);
    library->weights = malloc((size_t)slots * sizeof *library->weights);
    return library->y && library->experts && library->weights ? 0 : -1;
}

static const void *window_address(const BenchLibrary *library, int64_t window) {
    int64_t offset = window * library->tokens->tokens * library->plan->layer.hidden;
    return library->tokens->x16 ? (const void *)(library->tokens->x16 + offset) : (const void *)(library->tokens->x + offset);
}

static void take_trace(BenchLibrary *library, int64_t window) {
    int64_t tokens = library->tokens->tokens;
    routing_trace_window(library->trace, &library->plan->layer, window * tokens, tokens, library->experts, library->weights);
}

void bench_library_prepare(void *context) {
    BenchLibrary *library = context;
    if (!library->warm) {
        library->cursor++;
    }
    if (library->trace) {
        take_trace(library, library->cursor);
    }
}

int bench_library_lead(void *context) {
    BenchLibrary *library = context;
    int64_t cursor = library->cursor;
    if (library->slots == 1) {
        return 0;
    }
    library->cursor = cursor + 2;  // the next timed call's is cursor + 1
    if (library->trace) {
        take_trace(library, library->cursor);
    }
    int status = bench_library_call(library);
    library->cursor = cursor;
    return status;
}

int bench_library_call(void *context) {
    BenchLibrary *library = context;
    int64_t slot = library->cursor % library->slots, hidden = library->plan->layer.hidden, tokens = library->tokens->tokens;
    Library *opened = library->libraries[slot / library->kinds[library->kind].count];
    const void *x = window_address(library, library->cursor % library->tokens->windows);
    int layer = library->layers[slot];
    if (library->trace) {
        return library->loaded->forward_routed(opened, layer, tokens, x, hidden, library->y, hidden, library->experts,
                                               library->weights);
    }
    return library->loaded->forward(opened, layer, tokens, x, hidden, library->y, hidden);
}

int bench_library_once(BenchLibrary *library, int64_t window, float *y, int32_t *experts) {
    int64_t hidden = library->plan->layer.hidden, tokens = library->tokens->tokens, elements = tokens * hidden;
    int status =
        library->loaded->forward_routing(library->libraries[0], library->layers[0], tokens, window_address(library, window), hidden,
                                         library->y, hidden, experts, library->weights);
    for (int64_t i = 0; y && i < elements; i++) {
        y[i] = library->plan->layer.activations == INTERFACE_BF16 ? packed_float_from_bf16(((const uint16_t *)library->y)[i])
                                                                  : ((const float *)library->y)[i];
    }
    return status;
}

int bench_library_visits(BenchLibrary *library, Visits *visits) {
    int64_t windows = library->warm ? 1 : library->tokens->windows < LOOKED_AT ? library->tokens->windows : LOOKED_AT;
    *visits = (Visits){0};
    for (int64_t w = 0; w < windows && !bench_stopped; w++) {
        Visits one;
        int status = 0;
        if (library->trace) {
            take_trace(library, library->warm ? 0 : w);
        } else {
            status = bench_library_once(library, w, NULL, library->experts);
        }
        if (status || work_visits(&library->plan->layer, library->tokens->tokens, library->experts, &one)) {
            return -1;
        }
        work_visits_mean(visits, w, &one);
    }
    return 0;
}
