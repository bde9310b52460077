// See weights_source.h. Every layout that a description can name comes down to one formula over the stored elements (PackedSource):
//
//     [expert][stored row][input]    out_in        matrices of all experts in one tensor ("stacked"), or one tensor for each
//     [expert][input][stored row]    in_out
//
// where the stored rows are the matrix's own, or twice as many of which it has one half, or every other one; or those of a router
// and of shared experts' gates; or one that stands for all of a vector's. Halves of a vector may be rows of their own. Dimensions
// of 1 say nothing about where an element lies, so they may be present or absent; and a stacked tensor may have its first two
// dimensions merged, [experts * rows, inputs].
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
    Encoding encoding;
} Stored;

// An encoding's tensors: what they are called behind the pattern's name, and their dtypes.
typedef struct PieceFacts {
    const char *suffix;
    const char *dtypes;  // between spaces
    const char *words;  // the dtypes, to a user
} PieceFacts;

static const PieceFacts piece_facts[ENCODING_COUNT][PIECE_COUNT] = {
    [ENCODING_PLAIN] = {{"", " F32 F16 BF16 ", "F32, F16 and BF16 can be used"}},
    [ENCODING_MXFP4] = {{"_blocks", " U8 ", "blocks and scales of mxfp4 are U8"},
                        {"_scales", " U8 ", "blocks and scales of mxfp4 are U8"}},
    [ENCODING_FP8_E4M3] = {{"", " F8_E4M3 ", "of encoding fp8_e4m3 it must be F8_E4M3"},
                           {"_scale_inv", " F32 BF16 F8_E8M0 ", "scales of fp8_e4m3 are F32, BF16 or F8_E8M0"}},
};

int64_t weights_stored_tensors(const Kind *kind, Tensor tensor, const PackedShape *shape) {
    bool stacked = !layer_tensor_per_iteration(tensor) && !strstr(kind->checkpoint.tensors[tensor].pattern, "{expert}");
    return stacked ? 1 : shape->matrices;
}

static int64_t stored_rows(const Layer *layer, TensorRows rows, int64_t own) {
    switch (rows) {
    case ROWS_ALL: return own;
    case ROWS_FIRST_HALF:
    case ROWS_SECOND_HALF:
    case ROWS_EVEN:
    case ROWS_ODD: return 2 * own;
    case ROWS_CHOICES:
    case ROWS_SHARED: return layer_choices(layer) + layer->shared_experts;
    case ROWS_ONE: return 1;
    case TENSOR_ROWS_COUNT: break;
    }
    return own;
}

static Stored stored_of(const Kind *kind, Tensor tensor, const PackedShape *shape) {
    const TensorSource *source = &kind->checkpoint.tensors[tensor];
    return (Stored){.matrices = shape->matrices / weights_stored_tensors(kind, tensor, shape),
                    .rows = stored_rows(&kind->plan.layer, (TensorRows)source->rows, shape->rows),
                    .inputs = shape->columns,
                    .in_out = source->order == ORDER_IN_OUT && source->encoding != ENCODING_MXFP4 && !shape->vector,
                    .vector = shape->vector,
                    .encoding = (Encoding)source->encoding};
}

typedef struct Shape {
    int64_t lengths[5];
    int rank;
} Shape;

static void shape_push(Shape *shape, int64_t length) {
    shape->lengths[shape->rank++] = length;
}

static int64_t fp8_blocks(int64_t length) {
    return (length + PACKED_FP8_BLOCK - 1) / PACKED_FP8_BLOCK;
}

// The shape that a tensor should have.
static Shape shape_wanted(const Stored *stored, bool merged, Piece piece) {
    Shape shape = {.rank = 0};
    int64_t first = stored->in_out ? stored->inputs : stored->rows, second = stored->in_out ? stored->rows : stored->inputs;
    if (stored->encoding == ENCODING_FP8_E4M3 && piece == PIECE_SCALES) {  // no block holds rows of two experts
        first = fp8_blocks(first);
        second = fp8_blocks(second);
    }
    if (merged) {
        first *= stored->matrices;
    } else if (stored->matrices > 1) {
        shape_push(&shape, stored->matrices);
    }
    shape_push(&shape, first);
    if (stored->encoding == ENCODING_MXFP4) {
        shape_push(&shape, second / PACKED_MXFP4_BLOCK);
        if (piece == PIECE_DATA) {
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
    const char *kind = stored->encoding != ENCODING_PLAIN ? encoding_names[stored->encoding] : stored->in_out ? "in_out" : "";
    if (*rows || *kind) {
        snprintf(text, size, " (%s%s%s%s)", *rows ? "rows " : "", rows, *rows && *kind ? ", " : "", kind);
    } else {
        *text = 0;
    }
}

static Status check_shape(const Kind *kind, Tensor tensor, const Stored *stored, Piece piece, const SafetensorsEntry *entry,
                          const Failure *failure) {
    Shape wanted = shape_wanted(stored, false, piece), merged = shape_wanted(stored, true, piece);
    int32_t rows = kind->checkpoint.tensors[tensor].rows;
    bool halves = stored->vector && stored->matrices == 1 && (rows == ROWS_FIRST_HALF || rows == ROWS_SECOND_HALF);
    Shape apart = {{2, stored->rows / 2}, 2};
    if (shape_equals(&wanted, entry) || shape_equals(&merged, entry) || (halves && shape_equals(&apart, entry))) {
        return LIBRARY_OK;
    }
    char found_text[SHAPE_TEXT_BYTES], wanted_text[SHAPE_TEXT_BYTES], layout[64];
    shape_text(entry->shape, entry->rank, found_text);
    shape_text(wanted.lengths, wanted.rank, wanted_text);
    layout_text(&kind->checkpoint.tensors[tensor], stored, layout, sizeof layout);
    return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: tensor '%s' has shape %s, layer '%s' needs %s for %s%s%s", entry->file,
                       entry->name, found_text, kind->name, wanted_text, piece == PIECE_SCALES ? "the scales of its " : "its ",
                       layer_tensor_key(tensor), layout);
}

// --- tensors -----------------------------------------------------------------------------------------------------------------

// The number format of a dtype that has passed find_piece.
static Number number_of(const SafetensorsEntry *entry) {
    static const struct {
        const char *dtype;
        Number number;
    } known[] = {
        {"F32", NUMBER_FP32}, {"BF16", NUMBER_BF16}, {"F16", NUMBER_FP16}, {"F8_E4M3", NUMBER_E4M3}, {"F8_E8M0", NUMBER_E8M0}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!strcmp(entry->dtype, known[i].dtype)) {
            return known[i].number;
        }
    }
    return NUMBER_FP32;
}

// What is said of scales that are absent: of the encoding, and of what may be there instead.
static void note_scales(Encoding encoding, const char *name, const Safetensors *tensors, char *note, size_t size) {
    static const char inverse[] = "_inv";
    char other[WEIGHTS_NAME_BYTES];
    size_t length = strlen(name), tail = sizeof inverse - 1;
    snprintf(other, sizeof other, "%.*s", (int)(length > tail ? length - tail : 0), name);
    bool fp8 = encoding == ENCODING_FP8_E4M3, replaced = fp8 && safetensors_find(tensors, other);
    snprintf(note, size, "; encoding %s keeps its scales there, and without them its codes are no numbers%s%s%s%s",
             encoding_names[encoding], replaced ? "; '" : "", replaced ? other : "",
             replaced ? "' is there, but scales other than those of blocks are not read" : "",
             fp8 ? ": take a checkpoint with one scale for each block of 128 x 128 elements, or one in BF16" : "");
}

static Status find_piece(const Kind *kind, Tensor tensor, int64_t instance, int64_t matrix, const Stored *stored, Piece piece,
                         const Safetensors *tensors, const SafetensorsEntry **entry, const Failure *failure) {
    const PieceFacts *facts = &piece_facts[stored->encoding][piece];
    char name[WEIGHTS_NAME_BYTES], dtype[SAFETENSORS_DTYPE_BYTES + 2], use[LAYER_NAME_BYTES + 64];
    char note[WEIGHTS_NAME_BYTES + 256] = "";
    size_t length;
    if (!weights_tensor_name(kind, tensor, instance, matrix, name, sizeof name) || !(length = strlen(name)) ||
        !append(name, sizeof name, &length, facts->suffix, strlen(facts->suffix))) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "layer '%s': the description names no tensor for its %s", kind->name,
                           layer_tensor_key(tensor));
    }
    snprintf(use, sizeof use, "%s of layer '%s.%lld'", layer_tensor_key(tensor), kind->name, (long long)instance);
    if (piece == PIECE_SCALES) {
        note_scales(stored->encoding, name, tensors, note, sizeof note);
    }
    Status status = safetensors_need(tensors, name, use, note, entry, failure);
    if (status != LIBRARY_OK) {
        return status;
    }
    snprintf(dtype, sizeof dtype, " %s ", (*entry)->dtype);
    if (!strstr(facts->dtypes, dtype)) {
        bool bare = stored->encoding == ENCODING_PLAIN && !strcmp((*entry)->dtype, "F8_E4M3");
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: tensor '%s' has dtype %s; %s%s", (*entry)->file, name,
                           (*entry)->dtype, facts->words, bare ? ", F8_E4M3 by \"encoding\": \"fp8_e4m3\" in the description" : "");
    }
    return check_shape(kind, tensor, stored, piece, *entry, failure);
}

// Which of the stored rows row 0 of a matrix is, and how many rows further row 1 is.
static int64_t first_row(const TensorSource *layout, const Stored *stored, const PackedShape *shape, int64_t *every) {
    bool behind = layout->rows == ROWS_SECOND_HALF || layout->rows == ROWS_SHARED;
    *every = layout->rows == ROWS_ONE ? 0 : layout->rows == ROWS_EVEN || layout->rows == ROWS_ODD ? 2 : 1;
    return layout->rows == ROWS_ODD ? 1 : behind ? stored->rows - shape->rows : 0;
}

static void set_steps(const TensorSource *layout, const Stored *stored, const PackedShape *shape, int64_t matrix,
                      PackedSource *source) {
    int64_t every, row = first_row(layout, stored, shape, &every);
    int64_t step = stored->in_out ? 1 : stored->inputs;
    int64_t before = stored->matrices > 1 ? matrix * stored->rows * stored->inputs : 0;
    source->first = before + row * step;
    source->row_step = every * step;
    source->column_step = stored->in_out ? stored->rows : 1;
}

static void set_scales(const TensorSource *layout, const Stored *stored, const PackedShape *shape, int64_t matrix,
                       const SafetensorsEntry *scales, PackedSource *source) {
    int64_t rows = fp8_blocks(stored->rows), inputs = fp8_blocks(stored->inputs);
    source->scales = scales->data;
    source->scale_number = number_of(scales);
    source->scale_row = first_row(layout, stored, shape, &source->scale_every);
    source->scale_first = stored->matrices > 1 ? matrix * rows * inputs : 0;
    source->scale_row_step = stored->in_out ? 1 : inputs;
    source->scale_column_step = stored->in_out ? rows : 1;
}

Status weights_source(const Kind *kind, Tensor tensor, int64_t instance, int64_t matrix, const Safetensors *tensors,
                      PackedSource *source, const SafetensorsEntry **pieces, const Failure *failure) {
    const TensorSource *layout = &kind->checkpoint.tensors[tensor];
    const SafetensorsEntry *data = NULL, *scales = NULL;
    PackedShape shape;
    memset(source, 0, sizeof *source);
    if (!packed_shape(&kind->plan, tensor, &shape)) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "layer '%s' has no %s", kind->name, layer_tensor_key(tensor));
    }
    Stored stored = stored_of(kind, tensor, &shape);
    if (stored.encoding == ENCODING_MXFP4 && (shape.vector || shape.columns % PACKED_MXFP4_BLOCK)) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "layer '%s': its %s cannot be mxfp4, whose blocks are %d inputs",
                           kind->name, layer_tensor_key(tensor), PACKED_MXFP4_BLOCK);
    }
    if (stored.encoding == ENCODING_FP8_E4M3 && shape.vector) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS,
                           "layer '%s': its %s ('%s') is a vector and cannot be fp8_e4m3, whose scales are those of %d x %d "
                           "elements of a matrix; expected is encoding plain",
                           kind->name, layer_tensor_key(tensor), layout->pattern, PACKED_FP8_BLOCK, PACKED_FP8_BLOCK);
    }
    Status status = find_piece(kind, tensor, instance, matrix, &stored, PIECE_DATA, tensors, &data, failure);
    if (status == LIBRARY_OK && stored.encoding != ENCODING_PLAIN) {
        status = find_piece(kind, tensor, instance, matrix, &stored, PIECE_SCALES, tensors, &scales, failure);
    }
    if (status != LIBRARY_OK) {
        return status;
    }
    source->data = data->data;
    source->encoding = stored.encoding;
    source->add = layout->add;
    source->number = number_of(data);
    set_steps(layout, &stored, &shape, matrix, source);
    if (stored.encoding == ENCODING_FP8_E4M3) {
        set_scales(layout, &stored, &shape, matrix, scales, source);
    } else if (scales) {
        source->scales = scales->data;
    }
    if (pieces) {
        pieces[PIECE_DATA] = data;
        pieces[PIECE_SCALES] = scales;
    }
    return LIBRARY_OK;
}
