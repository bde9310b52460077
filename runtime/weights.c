// Checkpoint tensors by pattern, checked against the layer's shapes, packed in parallel over matrices.
//
// A pattern that names no {expert} for a layer with several stands for one stacked tensor [experts, out, in]; a router pattern
// without {iteration} serves the gates of all iterations.
#include "weights.h"

#include <stdio.h>
#include <string.h>

#include "file.h"

#define TENSOR_KEY(enumerator, key, meaning) key,
static const char *const tensor_keys[] = {TENSOR_LIST(TENSOR_KEY)};

static bool is_router(Tensor tensor) {
    return tensor == TENSOR_ROUTER || tensor == TENSOR_ROUTER_BIAS;
}

// Whether one tensor of the checkpoint holds the matrices of all experts.
static bool is_stacked(const Kind *kind, Tensor tensor, const PackedShape *shape) {
    return shape->matrices > 1 && !is_router(tensor) && !strstr(kind->checkpoint.tensors[tensor], "{expert}");
}

static bool append(char *name, size_t size, size_t *length, const char *text, size_t bytes) {
    if (bytes >= size - *length) {
        return false;
    }
    memcpy(name + *length, text, bytes);
    *length += bytes;
    name[*length] = 0;
    return true;
}

bool weights_tensor_name(const Kind *kind, Tensor tensor, int64_t instance, int64_t matrix, char *name, size_t size) {
    const Checkpoint *checkpoint = &kind->checkpoint;
    const struct {
        const char *key;
        int64_t value;
    } fields[] = {
        {"{layer}", checkpoint->first_layer + instance * checkpoint->layer_step}, {"{iteration}", matrix}, {"{expert}", matrix}};
    size_t length = 0;
    const char *next = checkpoint->tensors[tensor];
    name[0] = 0;
    while (*next) {
        char number[24];
        const char *text = next;
        size_t bytes = 1, taken = 1;
        for (size_t f = 0; f < sizeof fields / sizeof *fields; f++) {
            if (!strncmp(next, fields[f].key, strlen(fields[f].key))) {
                bytes = (size_t)snprintf(number, sizeof number, "%lld", (long long)fields[f].value);
                text = number;
                taken = strlen(fields[f].key);
            }
        }
        if (!append(name, size, &length, text, bytes)) {
            return false;
        }
        next += taken;
    }
    return true;
}

static bool number_of(const SafetensorsEntry *entry, Number *number) {
    if (!strcmp(entry->dtype, "F32")) {
        *number = NUMBER_FP32;
    } else if (!strcmp(entry->dtype, "BF16")) {
        *number = NUMBER_BF16;
    } else if (!strcmp(entry->dtype, "F16")) {
        *number = NUMBER_FP16;
    } else {
        return false;
    }
    return true;
}

static void shape_text(const int64_t *shape, int rank, char *text, size_t size) {
    size_t length = (size_t)snprintf(text, size, "[");
    for (int i = 0; i < rank; i++) {
        length += (size_t)snprintf(text + length, size - length, "%s%lld", i ? ", " : "", (long long)shape[i]);
    }
    snprintf(text + length, size - length, "]");
}

static Status check_shape(const Kind *kind, Tensor tensor, const SafetensorsEntry *entry, const PackedShape *shape, bool stacked,
                          const Failure *failure) {
    int64_t wanted[3];
    int rank = 0;
    if (stacked) {
        wanted[rank++] = shape->matrices;
    }
    wanted[rank++] = shape->rows;
    if (!shape->vector) {
        wanted[rank++] = shape->columns;
    }
    if (entry->rank == rank && !memcmp(entry->shape, wanted, (size_t)rank * sizeof *wanted)) {
        return LIBRARY_OK;
    }
    char found_text[SAFETENSORS_MAX_RANK * 24], wanted_text[3 * 24];
    shape_text(entry->shape, entry->rank, found_text, sizeof found_text);
    shape_text(wanted, rank, wanted_text, sizeof wanted_text);
    return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: tensor '%s' has shape %s, layer '%s' needs %s for its %s", entry->file,
                       entry->name, found_text, kind->name, wanted_text, tensor_keys[tensor]);
}

static Status check_matrix(const Kind *kind, Tensor tensor, int64_t instance, int64_t matrix, const PackedShape *shape,
                           const char *checkpoint, const Safetensors *tensors, const Failure *failure) {
    char name[TENSOR_PATTERN_BYTES + 64];
    if (!weights_tensor_name(kind, tensor, instance, matrix, name, sizeof name) || !*name) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "layer '%s': the description names no tensor for its %s", kind->name,
                           tensor_keys[tensor]);
    }
    const SafetensorsEntry *entry = safetensors_find(tensors, name);
    if (!entry) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: tensor '%s' (%s of layer '%s.%lld') is not in the checkpoint",
                           checkpoint, name, tensor_keys[tensor], kind->name, (long long)instance);
    }
    Number number;
    if (!number_of(entry, &number)) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: tensor '%s' has dtype %s; F32, F16 and BF16 can be used", entry->file,
                           name, entry->dtype);
    }
    return check_shape(kind, tensor, entry, shape, is_stacked(kind, tensor, shape), failure);
}

static Status check_instance(const Kind *kind, int64_t instance, const char *checkpoint, const Safetensors *tensors,
                             const Failure *failure) {
    for (int t = 0; t < TENSOR_COUNT; t++) {
        PackedShape shape;
        if (!packed_shape(&kind->plan, (Tensor)t, &shape)) {
            continue;
        }
        int64_t matrices = is_stacked(kind, (Tensor)t, &shape) ? 1 : shape.matrices;
        for (int64_t m = 0; m < matrices; m++) {
            Status status = check_matrix(kind, (Tensor)t, instance, m, &shape, checkpoint, tensors, failure);
            if (status != LIBRARY_OK) {
                return status;
            }
        }
    }
    return LIBRARY_OK;
}

Status weights_check(const Kind *kinds, int64_t count, const char *checkpoint, const Safetensors *tensors, const Failure *failure) {
    for (int64_t k = 0; k < count; k++) {
        for (int64_t i = 0; i < kinds[k].count; i++) {
            Status status = check_instance(&kinds[k], i, checkpoint, tensors, failure);
            if (status != LIBRARY_OK) {
                return status;
            }
        }
    }
    return LIBRARY_OK;
}

// Packs one matrix; returns the position of a NaN within it, or -1. The tensor was checked before.
static int64_t pack_matrix(const Kind *kind, Tensor tensor, int64_t instance, int64_t matrix, const PackedShape *shape,
                           const Safetensors *tensors, uint8_t *out) {
    char name[TENSOR_PATTERN_BYTES + 64];
    bool stacked = is_stacked(kind, tensor, shape);
    Number number = NUMBER_FP32;
    weights_tensor_name(kind, tensor, instance, matrix, name, sizeof name);
    const SafetensorsEntry *entry = safetensors_find(tensors, name);
    number_of(entry, &number);
    int64_t first = stacked ? matrix * shape->rows * shape->columns * number_bytes(number) : 0;
    return packed_matrix(&kind->plan, out, tensor, matrix, entry->data + first, number);
}

static Status nan_failure(const Kind *kind, Tensor tensor, int64_t instance, int64_t matrix, int64_t position,
                          const PackedShape *shape, const Safetensors *tensors, const Failure *failure) {
    char name[TENSOR_PATTERN_BYTES + 64];
    weights_tensor_name(kind, tensor, instance, matrix, name, sizeof name);
    return failure_set(failure, LIBRARY_BAD_WEIGHTS,
                       "%s: tensor '%s' (%s %lld of layer '%s.%lld') has a NaN at row %lld, column %lld",
                       safetensors_find(tensors, name)->file, name, tensor_keys[tensor], (long long)matrix, kind->name,
                       (long long)instance, (long long)(position / shape->columns), (long long)(position % shape->columns));
}

// Packs all matrices of a tensor; returns the first with a NaN, or INT64_MAX.
static int64_t pack_tensor(const Kind *kind, Tensor tensor, int64_t instance, const PackedShape *shape, const Safetensors *tensors,
                           int threads, uint8_t *out) {
    int64_t bad_matrix = INT64_MAX;  // the first one, whatever the threads' order
#pragma omp parallel for num_threads(threads) schedule(dynamic) reduction(min : bad_matrix) if (threads > 1 && shape->matrices > 1)
    for (int64_t m = 0; m < shape->matrices; m++) {
        if (pack_matrix(kind, tensor, instance, m, shape, tensors, out) >= 0 && m < bad_matrix) {
            bad_matrix = m;
        }
    }
    return bad_matrix;
}

Status weights_pack_instance(const Kind *kind, int64_t instance, const Safetensors *tensors, int threads, uint8_t *out,
                             const Failure *failure) {
    for (int t = 0; t < TENSOR_COUNT; t++) {
        PackedShape shape;
        if (!packed_shape(&kind->plan, (Tensor)t, &shape)) {
            continue;
        }
        int64_t bad_matrix = pack_tensor(kind, (Tensor)t, instance, &shape, tensors, threads, out);
        if (bad_matrix != INT64_MAX) {
            int64_t position = pack_matrix(kind, (Tensor)t, instance, bad_matrix, &shape, tensors, out);
            return nan_failure(kind, (Tensor)t, instance, bad_matrix, position, &shape, tensors, failure);
        }
    }
    return LIBRARY_OK;
}

static Status open_checked(const Kind *kinds, int64_t count, const char *checkpoint, Safetensors **tensors,
                           const Failure *failure) {
    Status status = safetensors_open(checkpoint, tensors, failure);
    if (status == LIBRARY_OK) {
        status = weights_check(kinds, count, checkpoint, *tensors, failure);
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
        int64_t bytes = kinds[k].plan.instance_bytes;
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
        largest = kinds[k].plan.instance_bytes > largest ? kinds[k].plan.instance_bytes : largest;
    }
    status = bytes < 0 ? failure_set(failure, LIBRARY_OUT_OF_MEMORY, "the packed weights are too large")
                       : memory_map((size_t)(header + largest), 0, &memory, failure);
    if (status == LIBRARY_OK) {
        status = output_open(path, bytes, &output, failure);
    }
    if (status != LIBRARY_OK) {
        goto cleanup;
    }
    packed_image_begin(kinds, count, memory.data);
    ((PackedHeader *)memory.data)->source = safetensors_fingerprint(tensors);
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
