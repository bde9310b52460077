// Tensors of a checkpoint as row-major bytes, and as a safetensors file (https://huggingface.co/docs/safetensors).
#include <stdlib.h>
#include <string.h>

#include "open.h"

static int fail(const TorchCheckpoint *checkpoint, const char *name, const char *problem, Diagnostics *diagnostics) {
    diagnostics_add(diagnostics, checkpoint->path, 0, 0, "tensor '%s': %s", name, problem);
    return -1;
}

// Copies a strided tensor element by element; `from` is the first one's place.
static void gather(const TorchTensor *tensor, int axis, const uint8_t *from, uint8_t **out) {
    size_t element = (size_t)tensor->element_bytes;
    if (axis == tensor->rank) {
        memcpy(*out, from, element);
        *out += element;
        return;
    }
    for (int64_t i = 0; i < tensor->shape[axis]; i++) {
        gather(tensor, axis + 1, from + (size_t)(i * tensor->strides[axis]) * element, out);
    }
}

// What is read is never more than the file has.
static int check_size(const TorchCheckpoint *checkpoint, const TorchTensor *tensor, Diagnostics *diagnostics) {
    return tensor->bytes <= tensor->entry_bytes
               ? 0
               : fail(checkpoint, tensor->name, "larger than its storage: an expanded tensor, save its clone", diagnostics);
}

int torch_checkpoint_read(TorchCheckpoint *checkpoint, const TorchTensor *tensor, void *out, Diagnostics *diagnostics) {
    if (check_size(checkpoint, tensor, diagnostics)) {
        return -1;
    }
    if (!tensor->bytes) {
        return 0;
    }
    int64_t begin = tensor->offset * tensor->element_bytes;
    if (tensor->contiguous) {
        return torch_archive_read(checkpoint->archive, tensor->entry, begin, out, tensor->bytes, diagnostics);
    }
    uint8_t *span = malloc((size_t)(tensor->span * tensor->element_bytes));
    if (!span) {
        return fail(checkpoint, tensor->name, "out of memory", diagnostics);
    }
    int result =
        torch_archive_read(checkpoint->archive, tensor->entry, begin, span, tensor->span * tensor->element_bytes, diagnostics);
    if (!result) {
        uint8_t *next = out;
        gather(tensor, 0, span, &next);
    }
    free(span);
    return result;
}

// --- safetensors -------------------------------------------------------------------------------------------------------------
// Tensors may share storages, but not so much that a small file fills a disk.
enum { MAX_GROWTH = 16, HEADER_ALIGNMENT = 8 };

// The header's entry of a tensor whose data begin at `offset`.
static json_t *describe(const TorchTensor *tensor, int64_t offset) {
    json_t *shape = json_array();
    for (int i = 0; i < tensor->rank; i++) {
        json_array_append_new(shape, json_integer(tensor->shape[i]));
    }
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", tensor->dtype, "shape", shape, "data_offsets", (json_int_t)offset,
                     (json_int_t)(offset + tensor->bytes));
}

// A chosen tensor is marked in `chosen`. NULL with a diagnostic; *bytes is the length of all data.
static json_t *make_header(const TorchCheckpoint *checkpoint, TorchSelector *wanted, void *context, bool *chosen, int64_t *bytes,
                           Diagnostics *diagnostics) {
    json_t *header = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    *bytes = 0;
    for (int64_t i = 0; header && i < checkpoint->count; i++) {
        const TorchTensor *tensor = &checkpoint->tensors[i];
        chosen[i] = !wanted || wanted(tensor->name, context);
        if (!chosen[i]) {
            continue;
        }
        if (!strcmp(tensor->name, "__metadata__") || json_object_set_new(header, tensor->name, describe(tensor, *bytes))) {
            fail(checkpoint, tensor->name, "safetensors cannot have this name", diagnostics);
            json_decref(header);
            return NULL;
        }
        if (__builtin_add_overflow(*bytes, tensor->bytes, bytes) || *bytes / MAX_GROWTH > (int64_t)checkpoint->mapping.size) {
            fail(checkpoint, tensor->name, "tensors that share storages take more than 16 times the file", diagnostics);
            json_decref(header);
            return NULL;
        }
    }
    return header;
}

static int write_tensor(TorchCheckpoint *checkpoint, const TorchTensor *tensor, Output *output, int64_t offset,
                        const Failure *failure, Diagnostics *diagnostics) {
    if (check_size(checkpoint, tensor, diagnostics)) {
        return -1;
    }
    void *data = malloc((size_t)tensor->bytes + 1);
    int result = data ? torch_checkpoint_read(checkpoint, tensor, data, diagnostics)
                      : fail(checkpoint, tensor->name, "out of memory", diagnostics);
    if (!result && output_write(output, data, tensor->bytes, offset, failure) != LIBRARY_OK) {
        diagnostics_add(diagnostics, NULL, 0, 0, "%s", failure->text);
        result = -1;
    }
    free(data);
    return result;
}

static int write_tensors(TorchCheckpoint *checkpoint, const bool *chosen, Output *output, int64_t offset, const Failure *failure,
                         Diagnostics *diagnostics) {
    for (int64_t i = 0; i < checkpoint->count; i++) {
        const TorchTensor *tensor = &checkpoint->tensors[i];
        if (chosen[i]) {
            if (write_tensor(checkpoint, tensor, output, offset, failure, diagnostics)) {
                return -1;
            }
            offset += tensor->bytes;
        }
    }
    return 0;
}

// Header, padded with spaces, and data.
static int write_file(TorchCheckpoint *checkpoint, const bool *chosen, const char *text, int64_t bytes, const char *path,
                      Diagnostics *diagnostics) {
    char error[512];
    const Failure failure = {error, sizeof error};
    int64_t length = (int64_t)strlen(text), padded = (length + HEADER_ALIGNMENT - 1) / HEADER_ALIGNMENT * HEADER_ALIGNMENT;
    uint64_t stored = (uint64_t)padded;
    int64_t start = (int64_t)sizeof stored;
    static const char spaces[] = "        ";
    Output output;
    Status status = output_open(path, start + padded + bytes, &output, &failure);
    if (status == LIBRARY_OK) {
        status = output_write(&output, &stored, start, 0, &failure);
        status = status == LIBRARY_OK ? output_write(&output, text, length, start, &failure) : status;
        status = status == LIBRARY_OK ? output_write(&output, spaces, padded - length, start + length, &failure) : status;
        if (status == LIBRARY_OK && write_tensors(checkpoint, chosen, &output, start + padded, &failure, diagnostics)) {
            output_discard(&output);
            return -1;
        }
        if (status == LIBRARY_OK) {
            status = output_commit(&output, &failure);
        } else {
            output_discard(&output);
        }
    }
    if (status != LIBRARY_OK) {
        diagnostics_add(diagnostics, NULL, 0, 0, "%s", error);
    }
    return status == LIBRARY_OK ? 0 : -1;
}

int torch_checkpoint_write_safetensors(TorchCheckpoint *checkpoint, TorchSelector *wanted, void *context, const char *path,
                                       Diagnostics *diagnostics) {
    if (file_replaces(path, checkpoint->path)) {
        diagnostics_add(diagnostics, path, 0, 0, "it is the checkpoint that is read");
        return -1;
    }
    int64_t bytes;
    bool *chosen = calloc((size_t)checkpoint->count + 1, sizeof *chosen);
    json_t *header = chosen ? make_header(checkpoint, wanted, context, chosen, &bytes, diagnostics) : NULL;
    char *text = header ? json_dumps(header, JSON_COMPACT) : NULL;
    int result = -1;
    if (text) {
        result = write_file(checkpoint, chosen, text, bytes, path, diagnostics);
    } else if (header || !chosen) {
        diagnostics_add(diagnostics, path, 0, 0, "out of memory");
    }
    free(text);
    json_decref(header);
    free(chosen);
    return result;
}
