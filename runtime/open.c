// Opening and closing instances: CPU check, weights (mapped packed file, caller's memory, or packed from a checkpoint), workspace.
#define _GNU_SOURCE 1
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "cores.h"
#include "cpu.h"
#include "extra.h"
#include "instance.h"
#include "nodes.h"
#include "options.h"
#include "weights.h"

static Status check_cpu(const Contents *contents, const Failure *failure) {
    char missing[LIBRARY_FEATURES_BYTES + 64];
    if (cpu_missing(contents->features, missing, sizeof missing)) {
        return failure_set(failure, LIBRARY_UNSUPPORTED_CPU, "this library needs %s, which this CPU lacks", missing);
    }
    return LIBRARY_OK;
}

static Status validate(Library *library, const void *data, size_t size, const Options *options, const Failure *failure) {
    Status status = packed_image_validate(data, size, library->kinds, library->contents->kinds, failure);
    if (status == LIBRARY_OK && options->check) {
        status = packed_image_verify(data, library->kinds, library->contents->kinds, failure);
    }
    if (status == LIBRARY_OK) {
        library->image = data;
    }
    return status;
}

// "PATH: " before a text that does not name the file.
static void prefix_path(const char *path, const Failure *failure) {
    if (failure->text && failure->size) {
        char reason[INSTANCE_ERROR_BYTES];
        strncpy(reason, failure->text, sizeof reason - 1);
        reason[sizeof reason - 1] = 0;
        failure_set(failure, LIBRARY_OK, "%s: %s", path, reason);
    }
}

static Status map_packed(Library *library, const char *path, const Options *options, const Failure *failure) {
    Status status = file_map(path, &library->weights, failure);
    if (status != LIBRARY_OK) {
        return status;
    }
    status = validate(library, library->weights.data ? library->weights.data : (const void *)(uintptr_t)PACKED_PAGE,
                      library->weights.size, options, failure);
    if (status != LIBRARY_OK) {
        prefix_path(path, failure);
        return status;
    }
    madvise(library->weights.data, library->weights.size, MADV_WILLNEED);  // starts reading the file; a wish
    return status;
}

static Status pack_in_memory(Library *library, const char *checkpoint, const Options *options, const Failure *failure) {
    int64_t bytes = packed_image_bytes(library->kinds, library->contents->kinds);
    if (bytes < 0) {
        return failure_set(failure, LIBRARY_OUT_OF_MEMORY, "the packed weights are too large");
    }
    Status status = memory_map((size_t)bytes, library->huge_pages, &library->weights, failure);
    if (status == LIBRARY_OK && options->interleave) {
        nodes_interleave(library->weights.data, library->weights.size);
    }
    if (status == LIBRARY_OK) {
        status = weights_pack_memory(library->kinds, library->contents->kinds, checkpoint, library->threads, library->weights.data,
                                     failure);
    }
    if (status == LIBRARY_OK) {
        mprotect(library->weights.data, library->weights.size, PROT_READ);  // a stray write should be noticed; not needed
        library->image = library->weights.data;
    }
    return status;
}

static uint64_t image_source(const Library *library) {
    PackedHeader header;
    memcpy(&header, library->image, sizeof header);
    return header.source;
}

// A cache that was packed from another checkpoint (or from this one before it changed) is packed anew. A cache of another library,
// or something else altogether, is an error and never overwritten.
static Status open_cached(Library *library, const char *checkpoint, const Options *options, const Failure *failure) {
    if (!*options->cache) {
        return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "options.cache is an empty name");
    }
    if (file_replaces(options->cache, checkpoint)) {
        return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "options.cache '%s' is the checkpoint itself", options->cache);
    }
    const Kind *kinds = library->kinds;
    Safetensors *tensors = NULL;
    struct stat facts;
    Status status = safetensors_open(checkpoint, &tensors, failure);
    if (status != LIBRARY_OK) {
        return status;
    }
    uint64_t source = weights_fingerprint(kinds, library->contents->kinds, tensors);
    safetensors_close(tensors);
    if (!stat(options->cache, &facts) && facts.st_size > 0) {
        status = map_packed(library, options->cache, options, failure);
        if (status != LIBRARY_OK || image_source(library) == source) {
            return status;
        }
        mapping_free(&library->weights);
        library->image = NULL;
    }
    status = weights_pack_file(kinds, library->contents->kinds, checkpoint, library->threads, options->cache, failure);
    if (status == LIBRARY_OK) {
        status = map_packed(library, options->cache, options, failure);
    }
    if (status == LIBRARY_OK && image_source(library) != source) {
        status = failure_set(failure, LIBRARY_IO_ERROR, "'%s' or '%s' was replaced by another process meanwhile", checkpoint,
                             options->cache);
    }
    return status;
}

static bool is_packed_file(const char *path) {
    Mapping mapping = {NULL, 0};
    bool packed =
        file_map(path, &mapping, NULL) == LIBRARY_OK && mapping.data && packed_image_recognise(mapping.data, mapping.size);
    mapping_free(&mapping);
    return packed;
}

static Status open_weights(Library *library, const char *weights, const Options *options, const Failure *failure) {
    if (is_packed_file(weights)) {
        return map_packed(library, weights, options, failure);
    }
    return options->cache ? open_cached(library, weights, options, failure) : pack_in_memory(library, weights, options, failure);
}

// Where the instances of a valid image lie.
static Status prepare_addresses(Library *library, const Failure *failure) {
    int64_t kinds = library->contents->kinds;
    library->first = calloc((size_t)kinds + 1, sizeof *library->first);  // never NULL for nothing
    if (!library->first) {
        return failure_set(failure, LIBRARY_OUT_OF_MEMORY, "out of memory");
    }
    for (int64_t k = 0; k < kinds; k++) {
        library->first[k] = library->image + packed_image_offset(library->kinds, kinds, k);
    }
    return LIBRARY_OK;
}

int64_t instance_chunk(const Library *library, const Plan *plan) {
    return library->max_tokens && library->max_tokens < plan->schedule.chunk_tokens ? library->max_tokens
                                                                                    : plan->schedule.chunk_tokens;
}

// The layers' own part comes first, so that it is the same memory whatever calls ask for. What forward_with may ask for lies behind
// it: reserved now, because a forward allocates nothing, but address space alone until a call writes there.
static Status prepare_workspace(Library *library, const Failure *failure) {
    int64_t own = 1, extra = 0;
    for (int64_t k = 0; k < library->contents->kinds; k++) {
        const Plan *plan = &library->kinds[k].plan;
        int64_t tokens = instance_chunk(library, plan), needed = plan_workspace(plan, tokens, library->threads).bytes;
        own = needed > own ? needed : own;
        needed = extra_space(&plan->layer, tokens).bytes;
        extra = needed > extra ? needed : extra;
    }
    library->extra_offset = plan_round_up(own, 4096);
    return memory_map((size_t)(library->extra_offset + extra), library->huge_pages, &library->workspace, failure);
}

// What the opener leaves open is as the plans say, but never more threads than can run at once.
static void prepare_choices(Library *library, const Options *options) {
    int usable = cores_usable(), threads = 0;
    library->bind = options->bind;
    library->huge_pages = options->huge_pages > 0;
    for (int64_t k = 0; k < library->contents->kinds; k++) {
        const Plan *plan = &library->kinds[k].plan;
        int wanted = plan->schedule.threads && plan->schedule.threads < usable ? plan->schedule.threads : usable;
        threads = wanted > threads ? wanted : threads;
        library->bind = library->bind ? library->bind : plan->schedule.bind;
        library->huge_pages = library->huge_pages || (!options->huge_pages && plan->schedule.huge_pages);
    }
    library->threads_given = options->threads > 0;
    library->threads = library->threads_given ? options->threads : threads;
    if (library->threads > INSTANCE_MAX_THREADS) {
        library->threads = INSTANCE_MAX_THREADS;
    }
    if (library->bind < 0 || library->threads == 1) {
        library->bind = BIND_NONE;
    }
}

static Status prepare_threads(Library *library, const Options *options, const Failure *failure) {
    prepare_choices(library, options);
    if (!library->bind) {
        return LIBRARY_OK;
    }
    library->cpus = cores_ordered(library->bind == BIND_SPREAD, &library->cpu_count);
    library->bound = calloc((size_t)library->threads, sizeof *library->bound);
    if (!library->cpus || !library->bound) {
        return failure_set(failure, LIBRARY_OUT_OF_MEMORY, "out of memory");
    }
    return LIBRARY_OK;
}

typedef struct Source {
    const char *path;  // NULL: memory
    const void *packed;
    size_t bytes;
} Source;

static Status open_source(const Contents *contents, const Kind *kinds, LayerForward *const *forwards, const Source *source,
                          const Options *given, Library **out, const Failure *failure) {
    Options options;
    if (!out) {
        return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "out is NULL");
    }
    *out = NULL;
    if (!source->path && !source->packed) {
        return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "no weights are given (NULL)");
    }
    Status status = options_read(given, &options, failure);
    if (status == LIBRARY_OK) {
        status = check_cpu(contents, failure);
    }
    if (status != LIBRARY_OK) {
        return status;
    }
    Library *library = calloc(1, sizeof *library);
    if (!library) {
        return failure_set(failure, LIBRARY_OUT_OF_MEMORY, "out of memory");
    }
    library->contents = contents;
    library->kinds = kinds;
    library->forwards = forwards;
    library->max_tokens = options.max_tokens;
    for (int64_t k = 0; k < contents->kinds; k++) {
        library->layers += kinds[k].count;
    }
    status = prepare_threads(library, &options, failure);  // first: packing uses them
    if (status == LIBRARY_OK) {
        status = source->path ? open_weights(library, source->path, &options, failure)
                              : validate(library, source->packed, source->bytes, &options, failure);
    }
    if (status == LIBRARY_OK) {
        status = prepare_addresses(library, failure);
    }
    if (status == LIBRARY_OK) {
        status = prepare_workspace(library, failure);
    }
    if (status != LIBRARY_OK) {
        instance_close(library);
        return status;
    }
    *out = library;
    return LIBRARY_OK;
}

// Starts a call's text empty: a caller may look at it without looking at the status.
static Failure failure_begin(char *error, size_t error_size) {
    if (error && error_size) {
        error[0] = 0;
    }
    return (Failure){error, error_size < INT_MAX ? error_size : INT_MAX};  // vsnprintf need not take more
}

Status instance_open(const Contents *contents, const Kind *kinds, LayerForward *const *forwards, const char *weights,
                     const Options *options, Library **out, char *error, size_t error_size) {
    Failure failure = failure_begin(error, error_size);
    Source source = {weights, NULL, 0};
    return open_source(contents, kinds, forwards, &source, options, out, &failure);
}

Status instance_open_memory(const Contents *contents, const Kind *kinds, LayerForward *const *forwards, const void *packed,
                            size_t bytes, const Options *options, Library **out, char *error, size_t error_size) {
    Failure failure = failure_begin(error, error_size);
    Source source = {NULL, packed, bytes};
    return open_source(contents, kinds, forwards, &source, options, out, &failure);
}

Status instance_pack(const Contents *contents, const Kind *kinds, const char *weights, const char *path, char *error,
                     size_t error_size) {
    Failure failure = failure_begin(error, error_size);
    if (!weights || !path) {
        return failure_set(&failure, LIBRARY_INVALID_ARGUMENT, "weights or path is NULL");
    }
    if (is_packed_file(weights)) {
        return failure_set(&failure, LIBRARY_INVALID_ARGUMENT, "'%s' is packed already", weights);
    }
    if (file_replaces(path, weights)) {
        return failure_set(&failure, LIBRARY_INVALID_ARGUMENT, "writing '%s' would replace the checkpoint '%s' itself", path,
                           weights);
    }
    return weights_pack_file(kinds, contents->kinds, weights, cores_usable(), path, &failure);
}

Status instance_check_packed(const Contents *contents, const Kind *kinds, const char *path, char *error, size_t error_size) {
    Failure failure = failure_begin(error, error_size);
    Library library = {.contents = contents, .kinds = kinds};
    Options options = {.size = sizeof options, .check = 1};
    Status status = map_packed(&library, path, &options, &failure);
    mapping_free(&library.weights);
    return status;
}

void instance_close(Library *library) {
    if (library) {
        mapping_free(&library->weights);
        mapping_free(&library->workspace);
        free(library->first);
        free(library->cpus);
        free(library->bound);
        free(library);
    }
}
