// See weights_source.h. Every layout that a description can name comes down to one formula over the stored elements (PackedSource):
//
//     [expert][stored row][input]    out_in        matrices of all experts in one tensor ("stacked"), or one tensor for each
//     [expert][input][stored row]    in_out
//
// where the stored rows are the matrix's own, or twice as many of which it has one half, or every other one. Dimensions of 1 say
// nothing about where an element lies, so they may be present or absent; and a stacked tensor may have its first two dimensions
// merged, [experts * rows, inputs].
#include "weights_source.h"

#include <stdio.h>
#include <string.h>

// --- names -------------------------------------------------------------------------------------------------------------------

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
    const char *next = checkpoint->tensors[tensor].pattern;
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

// --- shapes ------------------------------------------------------------------------------------------------------------------

// As stored. A vector has one input.
typedef struct Stored {
    int64_t matrices;  // in one tensor
    int64_t rows;
    int64_t inputs;
    bool in_out;
    bool vector;
    bool mxfp4;
} Stored;

int64_t weights_stored_tensors(const Kind *kind, Tensor tensor, const PackedShape *shape) {
    bool stacked = !layer_tensor_per_iteration(tensor) && !strstr(kind->checkpoint.tensors[tensor].pattern, "{expert}");
    return stacked ? 1 : shape->matrices;
}

static Stored stored_of(const Kind *kind, Tensor tensor, const PackedShape *shape) {
    const TensorSource *source = &kind->checkpoint.tensors[tensor];
    return (Stored){.matrices = shape->matrices / weights_stored_tensors(kind, tensor, shape),
                    .rows = source->rows == ROWS_ALL ? shape->rows : 2 * shape->rows,
                    .inputs = shape->columns,
                    .in_out = source->order == ORDER_IN_OUT && source->encoding == ENCODING_PLAIN && !shape->vector,
                    .vector = shape->vector,
                    .mxfp4 = source->encoding == ENCODING_MXFP4};
}

typedef struct Shape {
    int64_t lengths[5];
    int rank;
} Shape;

static void shape_push(Shape *shape, int64_t length) {
    shape->lengths[shape->rank++] = length;
}

// The shape that a tensor should have; `blocks`: of mxfp4 the blocks, else the scales.
static Shape shape_wanted(const Stored *stored, bool merged, bool blocks) {
    Shape shape = {.rank = 0};
    int64_t first = stored->in_out ? stored->inputs : stored->rows, second = stored->in_out ? stored->rows : stored->inputs;
    if (merged) {
        first *= stored->matrices;
    } else if (stored->matrices > 1) {
        shape_push(&shape, stored->matrices);
    }
    shape_push(&shape, first);
    if (stored->mxfp4) {
        shape_push(&shape, second / PACKED_MXFP4_BLOCK);
        if (blocks) {
            shape_push(&shape, PACKED_MXFP4_BLOCK / 2);
        }
    } else if (!stored->vector) {
        shape_push(&shape, second);
    }
    return shape;
}

// Whether two shapes are the same but for dimensions of 1.
static bool shape_equals(const Shape *wanted, const SafetensorsEntry *entry) {
    int w = 0, e = 0;
    for (;;) {
        while (w < wanted->rank && wanted->lengths[w] == 1) {
            w++;
        }
        while (e < entry->rank && entry->shape[e] == 1) {
            e++;
        }
        if (w == wanted->rank || e == entry->rank) {
            return w == wanted->rank && e == entry->rank;
        }
        if (wanted->lengths[w++] != entry->shape[e++]) {
            return false;
        }
    }
}

enum { SHAPE_TEXT_BYTES = SAFETENSORS_MAX_RANK * 24 };

static void shape_text(const int64_t *lengths, int rank, char text[SHAPE_TEXT_BYTES]) {
    size_t length = (size_t)snprintf(text, SHAPE_TEXT_BYTES, "[");
    for (int i = 0; i < rank; i++) {
        length += (size_t)snprintf(text + length, SHAPE_TEXT_BYTES - length, "%s%lld", i ? ", " : "", (long long)lengths[i]);
    }
    snprintf(text + length, SHAPE_TEXT_BYTES - length, "]");
}

// How a layout other than the plain one is told in a message: " (rows even, in_out)".
static void layout_text(const TensorSource *source, const Stored *stored, char *text, size_t size) {
    const char *rows = source->rows == ROWS_ALL ? "" : tensor_rows_names[source->rows];
    const char *kind = stored->mxfp4 ? "mxfp4" : stored->in_out ? "in_out" : "";
    if (*rows || *kind) {
        snprintf(text, size, " (%s%s%s%s)", *rows ? "rows " : "", rows, *rows && *kind ? ", " : "", kind);
    } else {
        *text = 0;
    }
}

static Status check_shape(const Kind *kind, Tensor tensor, const Stored *stored, bool blocks, const SafetensorsEntry *entry,
                          const Failure *failure) {
    Shape wanted = shape_wanted(stored, false, blocks), merged = shape_wanted(stored, true, blocks);
    if (shape_equals(&wanted, entry) || shape_equals(&merged, entry)) {
        return LIBRARY_OK;
    }
    char found_text[SHAPE_TEXT_BYTES], wanted_text[SHAPE_TEXT_BYTES], layout[64];
    shape_text(entry->shape, entry->rank, found_text);
    shape_text(wanted.lengths, wanted.rank, wanted_text);
    layout_text(&kind->checkpoint.tensors[tensor], stored, layout, sizeof layout);
    return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: tensor '%s' has shape %s, layer '%s' needs %s for its %s%s", entry->file,
                       entry->name, found_text, kind->name, wanted_text, layer_tensor_key(tensor), layout);
}

// --- tensors -----------------------------------------------------------------------------------------------------------------

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

// A tensor of the matrix: NAME, or NAME with one of mxfp4's suffixes.
typedef struct Part {
    const char *suffix;
    bool blocks;
} Part;

static Status find_part(const Kind *kind, Tensor tensor, int64_t instance, int64_t matrix, const Stored *stored, const Part *part,
                        const char *checkpoint, const Safetensors *tensors, const SafetensorsEntry **entry,
                        const Failure *failure) {
    char name[WEIGHTS_NAME_BYTES];
    size_t length;
    if (!weights_tensor_name(kind, tensor, instance, matrix, name, sizeof name) || !(length = strlen(name)) ||
        !append(name, sizeof name, &length, part->suffix, strlen(part->suffix))) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "layer '%s': the description names no tensor for its %s", kind->name,
                           layer_tensor_key(tensor));
    }
    *entry = safetensors_find(tensors, name);
    if (!*entry) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: tensor '%s' (%s of layer '%s.%lld') is not in the checkpoint",
                           checkpoint, name, layer_tensor_key(tensor), kind->name, (long long)instance);
    }
    Number number;
    if (stored->mxfp4 ? strcmp((*entry)->dtype, "U8") != 0 : !number_of(*entry, &number)) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: tensor '%s' has dtype %s; %s", (*entry)->file, name, (*entry)->dtype,
                           stored->mxfp4 ? "blocks and scales of mxfp4 are U8" : "F32, F16 and BF16 can be used");
    }
    return check_shape(kind, tensor, stored, part->blocks, *entry, failure);
}

static void set_steps(const TensorSource *layout, const Stored *stored, const PackedShape *shape, int64_t matrix,
                      PackedSource *source) {
    int64_t every = layout->rows == ROWS_EVEN || layout->rows == ROWS_ODD ? 2 : 1;
    int64_t row = layout->rows == ROWS_ODD ? 1 : layout->rows == ROWS_SECOND_HALF ? shape->rows : 0;
    int64_t step = stored->in_out ? 1 : stored->inputs;
    int64_t before = stored->matrices > 1 ? matrix * stored->rows * stored->inputs : 0;
    source->first = before + row * step;
    source->row_step = every * step;
    source->column_step = stored->in_out ? stored->rows : 1;
}

Status weights_source(const Kind *kind, Tensor tensor, int64_t instance, int64_t matrix, const char *checkpoint,
                      const Safetensors *tensors, PackedSource *source, const SafetensorsEntry **entry, const Failure *failure) {
    static const Part plain = {"", false}, blocks = {"_blocks", true}, scales = {"_scales", false};
    const TensorSource *layout = &kind->checkpoint.tensors[tensor];
    const SafetensorsEntry *data = NULL, *exponents = NULL;
    PackedShape shape;
    memset(source, 0, sizeof *source);
    if (!packed_shape(&kind->plan, tensor, &shape)) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "layer '%s' has no %s", kind->name, layer_tensor_key(tensor));
    }
    Stored stored = stored_of(kind, tensor, &shape);
    if (stored.mxfp4 && (shape.vector || shape.columns % PACKED_MXFP4_BLOCK)) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "layer '%s': its %s cannot be mxfp4, whose blocks are %d inputs",
                           kind->name, layer_tensor_key(tensor), PACKED_MXFP4_BLOCK);
    }
    Status status =
        find_part(kind, tensor, instance, matrix, &stored, stored.mxfp4 ? &blocks : &plain, checkpoint, tensors, &data, failure);
    if (status == LIBRARY_OK && stored.mxfp4) {
        status = find_part(kind, tensor, instance, matrix, &stored, &scales, checkpoint, tensors, &exponents, failure);
    }
    if (status != LIBRARY_OK) {
        return status;
    }
    source->data = data->data;
    source->scales = exponents ? exponents->data : NULL;
    source->add = layout->add;
    number_of(data, &source->number);
    set_steps(layout, &stored, &shape, matrix, source);
    if (entry) {
        *entry = data;
    }
    return LIBRARY_OK;
}
