// Packed weights: where every element of a layer's tensors lies, how whole tensors are packed, and the packed image
// (file or memory) that holds all instances of a library.
//
// The layout is that of templates/plan.h and compiler/plan/layout.c. A matrix is [rows = out][columns = in]; a vector (norm, bias)
// has its elements as rows and column 0. `matrix` is the expert (routed or shared), the router's iteration (router, router bias,
// correction), or 0 (norms and other vectors, coe weight, and the shared experts' gates, which stand beside the router of every
// iteration).
//
// Image: PackedHeader, one PackedRecord per kind, one XXH64 per instance, zeros up to a page; then the instances, kind by kind,
// each `instance_bytes` long (a multiple of 4096). All numbers are little-endian.
#ifndef CATENA_PACKED_H
#define CATENA_PACKED_H

#include <stdbool.h>

#include "failure.h"

// Number formats of the elements of a source tensor.
typedef enum Number { NUMBER_FP32, NUMBER_BF16, NUMBER_FP16, NUMBER_E4M3, NUMBER_E8M0 } Number;

static inline int64_t number_bytes(Number number) {
    static const int8_t bytes[] = {4, 2, 2, 1, 1};
    return bytes[number];
}

// --- conversions (bf16: round to nearest even, NaN stays NaN) ---
uint16_t packed_bf16_from_float(float value);
float packed_float_from_bf16(uint16_t bits);
float packed_float_from_e8m0(uint8_t bits);  // 2^(bits - 127); 255 is NaN
float packed_number_get(const void *source, int64_t index, Number number);

// A matrix as it lies in a checkpoint: element (row, column) is element first + row * row_step + column * column_step of data,
// times its scale where the encoding has scales, plus `add`.
typedef struct PackedSource {
    const void *data;
    Encoding encoding;
    Number number;          // of data; not used by mxfp4, which has two elements in a byte
    int64_t first;          // mxfp4: first and row_step are multiples of PACKED_MXFP4_BLOCK, column_step is 1
    int64_t row_step;
    int64_t column_step;
    float add;
    const uint8_t *scales;  // mxfp4: scales[i / PACKED_MXFP4_BLOCK], E8M0, is that of element i
    // fp8_e4m3: element scale_first + stored row / 128 * scale_row_step + column / 128 * scale_column_step, where the stored row of
    // `row` is scale_row + row * scale_every
    Number scale_number;
    int64_t scale_first, scale_row, scale_every, scale_row_step, scale_column_step;
} PackedSource;

enum {
    PACKED_MXFP4_BLOCK = 32,  // elements with one scale
    PACKED_FP8_BLOCK = 128,  // rows and columns with one scale
};

float packed_source_get(const PackedSource *source, int64_t row, int64_t column);

// The scale of an element of fp8_e4m3; 1 of every other encoding, mxfp4 included.
float packed_source_scale(const PackedSource *source, int64_t row, int64_t column);

// Converts `count` elements from (row, column) on: consecutive rows of one column, or consecutive columns of one row (mxfp4:
// columns, in whole blocks). Returns whether one of them is NaN or greater in magnitude than `limit`.
bool packed_source_read(const PackedSource *source, int64_t row, int64_t column, bool rows, int64_t count, float limit, float *out);

// --- tensors within an instance ---

// Shape of a tensor of the plan's layer: `matrices` times [rows][columns]; false if the layer has no such tensor.
typedef struct PackedShape {
    int64_t matrices;
    int64_t rows;
    int64_t columns;
    bool vector;  // columns is 1
    Format format;  // of the packed elements
} PackedShape;
bool packed_shape(const Plan *plan, Tensor tensor, PackedShape *shape);

// Single elements. set rounds to the tensor's packed format, which must have no groups; get returns what is stored, exactly.
void packed_set(const Plan *plan, uint8_t *instance, Tensor tensor, int64_t matrix, int64_t row, int64_t column, float value);
float packed_get(const Plan *plan, const uint8_t *instance, Tensor tensor, int64_t matrix, int64_t row, int64_t column);

// Packs one whole matrix (or vector), its padding with zeros: after every tensor of a layer has been packed, in whatever order,
// every byte that a tile reads is defined. Returns -1, or the position (row * columns + column) of an element that is NaN, infinite
// or rounds to infinity in the packed format, or whose scale the format cannot keep (packing goes on). Minus infinity is a
// correction or a router's bias like any other.
int64_t packed_matrix(const Plan *plan, uint8_t *instance, Tensor tensor, int64_t matrix, const PackedSource *source);

// --- the image ---
#define PACKED_MAGIC "CATENAPK"
enum { PACKED_VERSION = 3, PACKED_LAYOUT = 1, PACKED_PAGE = 4096, PACKED_BYTE_ORDER = 0x01020304 };

typedef struct PackedHeader {
    char magic[8];
    uint32_t byte_order;  // PACKED_BYTE_ORDER as the writer stores it
    uint32_t version;  // of this header
    uint32_t layout;  // of the weights: sections, panels, groups; formats have revisions of their own
    uint32_t kinds;
    uint64_t header_bytes;  // header, records and checksums; the first instance follows at the next page
    uint64_t file_bytes;
    uint64_t source;  // weights_fingerprint of checkpoint and description; 0: packed from something else
    uint64_t header_checksum;  // XXH64 of the first header_bytes bytes with this field zero
} PackedHeader;

// A role's format and the revision of its layout as one number below 256.
_Static_assert(FORMAT_COUNT <= 1 << 5, "the revision has the bits from 5 on");
static inline int64_t packed_format(const Layer *layer, RoleName role) {
    Format format = plan_format(layer, role);
    return format | format_facts[format].revision << 5;
}

// Those of the experts' and the latent matrices as one number: gate and up's, and in its upper bytes how the others differ from it.
static inline int64_t packed_formats(const Layer *layer) {
    int64_t first = packed_format(layer, ROLE_GATE_UP);
    return first | (packed_format(layer, ROLE_DOWN) ^ first) << 8 | (packed_format(layer, ROLE_SHARED_GATE_UP) ^ first) << 16 |
           (packed_format(layer, ROLE_SHARED_DOWN) ^ first) << 24 | (packed_format(layer, ROLE_LATENT_IN) ^ first) << 32;
}

// The norms as one number: that before the chain, and in the next byte that after it; then a bit for each further vector, two for
// the norm of latent values, and from bit 32 on the width of these.
static inline int64_t packed_vectors(const Layer *layer) {
    return layer->norm | layer->post_norm << 8 | layer->expert_scale << 16 | layer->output_bias << 17 | layer->output_scale << 18 |
           layer->residual_bias << 19 | layer->residual_scale << 20 | layer->latent_norm << 21 | layer->latent << 32;
}

// Facts of a kind that fix its layout. What came later shares a field, in which 0 stands for a layer that has none of it.
// X(field, name in messages, expression over `const Kind *kind`)
#define PACKED_FACT_LIST(X) \
    X(count, "count", kind->count) \
    X(hidden, "hidden", kind->plan.layer.hidden) \
    X(experts, "experts", kind->plan.layer.experts) \
    X(intermediate, "intermediate", kind->plan.layer.intermediate) \
    X(shared_experts, "shared experts", kind->plan.layer.shared_experts) \
    X(shared_intermediate, "shared intermediate", kind->plan.layer.shared_intermediate) \
    X(router_columns, "router columns", layer_router_columns(&kind->plan.layer)) \
    X(choices, "choices", layer_choices(&kind->plan.layer)) \
    X(gates, "router matrices", layer_routers(&kind->plan.layer)) \
    X(weights, "weight format", packed_formats(&kind->plan.layer)) \
    X(router_weights, "router weight format", packed_format(&kind->plan.layer, ROLE_ROUTER)) \
    X(norm, "norms, other vectors and latent width", packed_vectors(&kind->plan.layer)) \
    X(norm_bias, "norm bias", kind->plan.layer.norm_bias) \
    X(coe_weights, "coe weights", kind->plan.layer.coe_weight ? kind->plan.layer.iterations - 1 : 0) \
    X(correction, "correction", kind->plan.layer.correction) \
    X(gated, "gated", kind->plan.layer.gated) \
    X(router_bias, "router bias", kind->plan.layer.router_bias) \
    X(expert_bias, "expert bias", kind->plan.layer.expert_bias) \
    X(shared_bias, "shared bias", kind->plan.layer.shared_bias) \
    X(instance_bytes, "instance bytes", kind->plan.layout.instance_bytes)

#define PACKED_FACT_FIELD(field, name, expression) int64_t field;
typedef struct PackedRecord {
    char name[LAYER_NAME_BYTES];
    PACKED_FACT_LIST(PACKED_FACT_FIELD)
    int64_t offset;  // of the first instance, a multiple of PACKED_PAGE
} PackedRecord;

// Bytes of an image with all instances of the kinds; -1 if that overflows.
int64_t packed_image_bytes(const Kind *kinds, int64_t count);
// Bytes before the first instance (a multiple of PACKED_PAGE); -1 if that overflows.
int64_t packed_image_header_bytes(const Kind *kinds, int64_t count);
// Writes header and records (checksums are still zero); memory holds at least packed_image_header_bytes bytes.
void packed_image_begin(const Kind *kinds, int64_t count, void *memory);
// Offset of a kind's first instance, computed from the kinds alone (a mapped file may change after it was validated).
int64_t packed_image_offset(const Kind *kinds, int64_t count, int64_t kind);
// Start of one instance of a kind, as the records say: for images that this process writes, or has just validated.
uint8_t *packed_image_instance(void *image, int64_t kind, int64_t index);
// Notes the checksum of one instance (index over all kinds), whose bytes need not be in the image.
void packed_image_checksum(void *image, int64_t instance, const void *bytes, int64_t size);
// Signs the header after all checksums have been noted.
void packed_image_seal(void *image);
// Both of the above for an image whose instances are all in memory.
void packed_image_finish(void *image);

// Whether `size` bytes at `data` are an image of exactly these kinds: header only, the weights are not read.
Status packed_image_validate(const void *data, size_t size, const Kind *kinds, int64_t count, const Failure *failure);
// Compares the weights of an image, validated for these kinds, with their checksums.
Status packed_image_verify(const void *image, const Kind *kinds, int64_t count, const Failure *failure);
// Whether the bytes start like a packed image.
bool packed_image_recognise(const void *data, size_t size);

#endif
