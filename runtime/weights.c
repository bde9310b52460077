// Checkpoint tensors checked against the layer's shapes (weights_source.c), packed in parallel over matrices.
#define XXH_INLINE_ALL
#include "weights.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "file.h"

// The tensors that were found, for a look at where they lie.
typedef struct Found {
    const SafetensorsEntry **entries;
    size_t count, room;
} Found;

static bool found_add(Found *found, const SafetensorsEntry *entry) {
    if (found->count == found->room) {
        size_t room = found->room ? 2 * found->room : 256;
        const SafetensorsEntry **entries = realloc(found->entries, room * sizeof *entries);
        if (!entries) {
            return false;
        }
        found->entries = entries;
        found->room = room;
    }
    found->entries[found->count++] = entry;
    return true;
}

static Status check_instance(const Kind *kind, int64_t instance, const Safetensors *tensors, Found *found, const Failure *failure) {
    for (Tensor tensor = 0; tensor < TENSOR_COUNT; tensor++) {
        PackedShape shape;
        if (!packed_shape(&kind->plan, tensor, &shape)) {
            continue;
        }
        for (int64_t m = 0; m < weights_stored_tensors(kind, tensor, &shape); m++) {
            PackedSource source;
            const SafetensorsEntry *pieces[PIECE_COUNT] = {NULL};
            Status status = weights_source(kind, tensor, instance, m, tensors, &source, pieces, failure);
            for (int p = 0; p < PIECE_COUNT && status == LIBRARY_OK; p++) {
                if (pieces[p] && !found_add(found, pieces[p])) {
                    status = failure_set(failure, LIBRARY_OUT_OF_MEMORY, "out of memory");
                }
            }
            if (status != LIBRARY_OK) {
                return status;
            }
        }
    }
    return LIBRARY_OK;
}

static int compare_places(const void *a, const void *b) {
    const SafetensorsEntry *x = *(const SafetensorsEntry *const *)a, *y = *(const SafetensorsEntry *const *)b;
    if (x->data != y->data) {
        return x->data < y->data ? -1 : 1;
    }
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);  // empty tensors first
}

// A tensor may be found twice, for its two halves; two tensors must not share a byte.
static Status check_places(Found *found, const Failure *failure) {
    const SafetensorsEntry *last = NULL;
    if (found->count) {
        qsort(found->entries, found->count, sizeof *found->entries, compare_places);
    }
    for (size_t i = 0; i < found->count; i++) {
        const SafetensorsEntry *entry = found->entries[i];
        if (last && entry != last && strcmp(entry->name, last->name) && entry->bytes && entry->data < last->data + last->bytes) {
            return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: the data of tensor '%s' overlaps that of tensor '%s'",
                               entry->file, entry->name, last->name);
        }
        last = entry->bytes ? entry : last;
    }
    return LIBRARY_OK;
}

Status weights_check(const Kind *kinds, int64_t count, const Safetensors *tensors, const Failure *failure) {
    Found found = {0};
    Status status = LIBRARY_OK;
    for (int64_t k = 0; k < count; k++) {
        for (int64_t i = 0; i < kinds[k].count && status == LIBRARY_OK; i++) {
            status = check_instance(&kinds[k], i, tensors, &found, failure);
        }
    }
    if (status == LIBRARY_OK) {
        status = check_places(&found, failure);
    }
    free(found.entries);
    return status;
}

// Packs one matrix, whose tensor was checked before; returns the position of an element that cannot be packed, or -1.
static int64_t pack_matrix(const Kind *kind, Tensor tensor, int64_t instance, int64_t matrix, const Safetensors *tensors,
                           uint8_t *out) {
    PackedSource source;
    if (weights_source(kind, tensor, instance, matrix, tensors, &source, NULL, NULL) != LIBRARY_OK) {
        return 0;
    }
    return packed_matrix(&kind->plan, out, tensor, matrix, &source);
}

// What is wrong with an element that cannot be packed, and with which of the tensors that it is made of.
static Piece tell_fault(const PackedSource *source, Format format, int64_t row, int64_t column, char *what, size_t size) {
    float value = packed_source_get(source, row, column), scale = packed_source_scale(source, row, column);
    const char *name = format_names[format];
    if (!isfinite(scale)) {
        snprintf(what, size, "%s, where a finite number is expected, as the scale of", isnan(scale) ? "a NaN" : "an infinity");
        return PIECE_SCALES;
    }
    if (source->encoding == ENCODING_FP8_E4M3 && fabsf(value) > format_facts[format].largest) {
        snprintf(what, size, "a code whose product with its scale, %g, is beyond %s's range, at", (double)scale, name);
    } else if (!(fabsf(value) <= format_facts[format].largest)) {
        snprintf(what, size, isnan(value) ? "a NaN at" : isinf(value) ? "an infinity at" : "a value beyond %s's range at", name);
    } else {
        snprintf(what, size, "%g, which is beyond %s's range, as the scale of", (double)scale, name);
        return PIECE_SCALES;
    }
    return PIECE_DATA;
}

// Says what is wrong with an element, by its row (output) and column (input) in the matrix.
static Status refuse_element(const Kind *kind, Tensor tensor, int64_t instance, int64_t matrix, int64_t position,
                             const Safetensors *tensors, const Failure *failure) {
    PackedSource source;
    PackedShape shape;
    const SafetensorsEntry *pieces[PIECE_COUNT];
    Status status = weights_source(kind, tensor, instance, matrix, tensors, &source, pieces, failure);
    if (status != LIBRARY_OK || !packed_shape(&kind->plan, tensor, &shape)) {
        return status;
    }
    int64_t row = position / shape.columns, column = position % shape.columns;
    char what[128];
    const SafetensorsEntry *entry = pieces[tell_fault(&source, shape.format, row, column, what, sizeof what)];
    const char *way_out = isfinite(packed_source_get(&source, row, column)) ? "; weights of format fp32 hold it" : "";
    return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: tensor '%s' (%s %lld of layer '%s.%lld') has %s row %lld, column %lld%s",
                       entry->file, entry->name, layer_tensor_key(tensor), (long long)matrix, kind->name, (long long)instance, what,
                       (long long)row, (long long)column, way_out);
}

// Packs all matrices of a tensor; returns the first that cannot be packed, or INT64_MAX.
static int64_t pack_tensor(const Kind *kind, Tensor tensor, int64_t instance, int64_t matrices, const Safetensors *tensors,
                           int threads, uint8_t *out) {
    int64_t bad_matrix = INT64_MAX;  // the first one, whatever the threads' order
#pragma omp parallel for num_threads(threads) schedule(dynamic) reduction(min : bad_matrix) if (threads > 1 && matrices > 1)
    for (int64_t m = 0; m < matrices; m++) {
        if (pack_matrix(kind, tensor, instance, m, tensors, out) >= 0 && m < bad_matrix) {
            bad_matrix = m;
        }
    }
    return bad_matrix;
}

Status weights_pack_instance(const Kind *kind, int64_t instance, const Safetensors *tensors, int threads, uint8_t *out,
                             const Failure *failure) {
    for (Tensor tensor = 0; tensor < TENSOR_COUNT; tensor++) {
        PackedShape shape;
        if (!packed_shape(&kind->plan, tensor, &shape)) {
            continue;
        }
        int64_t bad_matrix = pack_tensor(kind, tensor, instance, shape.matrices, tensors, threads, out);
        if (bad_matrix != INT64_MAX) {
            int64_t position = pack_matrix(kind, tensor, instance, bad_matrix, tensors, out);
            return refuse_element(kind, tensor, instance, bad_matrix, position, tensors, failure);
        }
    }
    return LIBRARY_OK;
}

uint64_t weights_fingerprint(const Kind *kinds, int64_t count, const Safetensors *tensors) {
    uint64_t hash = safetensors_fingerprint(tensors);
    // A Checkpoint has no padding, and its texts are zero to the end. Tensors that were not there in the first version count only
    // where they are named: files that were packed before still belong to their checkpoints.
    for (int64_t k = 0; k < count; k++) {
        const Checkpoint *checkpoint = &kinds[k].checkpoint;
        hash = XXH64(checkpoint, offsetof(Checkpoint, tensors[TENSOR_SHARED_DOWN_BIAS + 1]), hash);
        for (Tensor tensor = TENSOR_SHARED_DOWN_BIAS + 1; tensor < TENSOR_COUNT; tensor++) {
            const TensorSource *source = &checkpoint->tensors[tensor];
            hash = *source->pattern ? XXH64(source, sizeof *source, hash + tensor) : hash;
        }
    }
    return hash ? hash : 1;
}

static Status open_checked(const Kind *kinds, int64_t count, const char *checkpoint, Safetensors **tensors,
                           const Failure *failure) {
    Status status = safetensors_open(checkpoint, tensors, failure);
    if (status == LIBRARY_OK) {
        status = weights_check(kinds, count, *tensors, failure);
    }
    return status;
}

Status weights_pack_memory(const Kind *kinds, int64_t count, const char *checkpoint, int threads, void *image,
                           const Failure *failure) {
    Safetensors *tensors = NULL;
    Status status = open_checked(kinds, count, checkpoint, &tensors, failure);
    if (status == LIBRARY_OK) {
        packed_image_begin(kinds, count, image);
    }
    for (int64_t k = 0; k < count; k++) {
        for (int64_t i = 0; status == LIBRARY_OK && i < kinds[k].count; i++) {
            status = weights_pack_instance(&kinds[k], i, tensors, threads, packed_image_instance(image, k, i), failure);
        }
    }
    safetensors_close(tensors);  // no checksums: this image never leaves the process
    return status;
}

// Packs instance after instance into `buffer` and writes each, then the header.
static Status write_instances(const Kind *kinds, int64_t count, const Safetensors *tensors, int threads, uint8_t *header,
                              uint8_t *buffer, Output *output, const Failure *failure) {
    int64_t offset = packed_image_header_bytes(kinds, count), number = 0;
    int64_t header_bytes = offset;
    for (int64_t k = 0; k < count; k++) {
        int64_t bytes = kinds[k].plan.layout.instance_bytes;
        memset(buffer, 0, (size_t)bytes);
        for (int64_t i = 0; i < kinds[k].count; i++, offset += bytes) {
            Status status = weights_pack_instance(&kinds[k], i, tensors, threads, buffer, failure);
            if (status == LIBRARY_OK) {
                packed_image_checksum(header, number++, buffer, bytes);
                status = output_write(output, buffer, bytes, offset, failure);
            }
            if (status != LIBRARY_OK) {
                return status;
            }
        }
    }
    packed_image_seal(header);
    return output_write(output, header, header_bytes, 0, failure);
}

Status weights_pack_file(const Kind *kinds, int64_t count, const char *checkpoint, int threads, const char *path,
                         const Failure *failure) {
    Safetensors *tensors = NULL;
    Mapping memory = {NULL, 0};
    Output output = {-1, NULL, NULL};
    int64_t largest = 0, header = packed_image_header_bytes(kinds, count), bytes = packed_image_bytes(kinds, count);
    Status status = open_checked(kinds, count, checkpoint, &tensors, failure);
    if (status != LIBRARY_OK) {
        goto cleanup;
    }
    for (int64_t k = 0; k < count; k++) {
        largest = kinds[k].plan.layout.instance_bytes > largest ? kinds[k].plan.layout.instance_bytes : largest;
    }
    status = bytes < 0 ? failure_set(failure, LIBRARY_OUT_OF_MEMORY, "the packed weights are too large")
                       : memory_map((size_t)(header + largest), 1, &memory, failure);
    if (status == LIBRARY_OK) {
        status = output_open(path, bytes, &output, failure);
    }
    if (status != LIBRARY_OK) {
        goto cleanup;
    }
    packed_image_begin(kinds, count, memory.data);
    ((PackedHeader *)memory.data)->source = weights_fingerprint(kinds, count, tensors);
    status = write_instances(kinds, count, tensors, threads, memory.data, (uint8_t *)memory.data + header, &output, failure);
    if (status == LIBRARY_OK) {
        status = output_commit(&output, failure);
    } else {
        output_discard(&output);
    }
cleanup:
    mapping_free(&memory);
    safetensors_close(tensors);
    return status;
}
