// The packed image: its header is written from the kinds and checked against them field by field, so that no number of a
// foreign file is ever used for an address: every size and offset is computed from the library's own kinds.
#define XXH_INLINE_ALL
#include <string.h>
#include <xxhash.h>

#include "packed.h"

_Static_assert(sizeof(PackedHeader) == 56, "part of the file format");
_Static_assert(sizeof(PackedRecord) == 64 + 21 * 8, "part of the file format");

static PackedRecord record_of(const Kind *kind, int64_t offset) {
    PackedRecord record;
    memset(&record, 0, sizeof record);
    memcpy(record.name, kind->name, strnlen(kind->name, sizeof record.name - 1));
#define RECORD_FILL(field, name, expression) record.field = (expression);
    PACKED_FACT_LIST(RECORD_FILL)
    record.offset = offset;
    return record;
}

// Instances of all kinds; -1 if they overflow.
static int64_t instance_total(const Kind *kinds, int64_t count) {
    int64_t total = 0;
    for (int64_t i = 0; i < count; i++) {
        if (__builtin_add_overflow(total, kinds[i].count, &total)) {
            return -1;
        }
    }
    return total;
}

// Bytes of header, records and checksums; -1 if they overflow.
static int64_t header_bytes(const Kind *kinds, int64_t count) {
    int64_t total = instance_total(kinds, count), records, bytes;
    if (total < 0 || __builtin_mul_overflow(count, (int64_t)sizeof(PackedRecord), &records) ||
        __builtin_mul_overflow(total, (int64_t)sizeof(uint64_t), &bytes) || __builtin_add_overflow(records, bytes, &bytes) ||
        __builtin_add_overflow(bytes, (int64_t)sizeof(PackedHeader) + PACKED_PAGE, &records)) {
        return -1;
    }
    return records - PACKED_PAGE;
}

int64_t packed_image_header_bytes(const Kind *kinds, int64_t count) {
    int64_t bytes = header_bytes(kinds, count);
    return bytes < 0 ? -1 : plan_round_up(bytes, PACKED_PAGE);
}

int64_t packed_image_bytes(const Kind *kinds, int64_t count) {
    int64_t end = packed_image_header_bytes(kinds, count);
    for (int64_t i = 0; end >= 0 && i < count; i++) {
        int64_t bytes;
        if (__builtin_mul_overflow(kinds[i].count, kinds[i].plan.layout.instance_bytes, &bytes) ||
            __builtin_add_overflow(end, bytes, &end)) {
            return -1;
        }
    }
    return end;
}

static PackedRecord *image_records(void *image) {
    return (PackedRecord *)((uint8_t *)image + sizeof(PackedHeader));
}

static uint64_t *image_checksums(void *image) {
    PackedHeader *header = image;
    return (uint64_t *)(image_records(image) + header->kinds);
}

void packed_image_begin(const Kind *kinds, int64_t count, void *memory) {
    memset(memory, 0, (size_t)packed_image_header_bytes(kinds, count));
    PackedHeader *header = memory;
    memcpy(header->magic, PACKED_MAGIC, sizeof header->magic);
    header->byte_order = PACKED_BYTE_ORDER;
    header->version = PACKED_VERSION;
    header->layout = PACKED_LAYOUT;
    header->kinds = (uint32_t)count;
    header->header_bytes = (uint64_t)header_bytes(kinds, count);
    header->file_bytes = (uint64_t)packed_image_bytes(kinds, count);
    int64_t offset = packed_image_header_bytes(kinds, count);
    for (int64_t i = 0; i < count; i++) {
        image_records(memory)[i] = record_of(&kinds[i], offset);
        offset += kinds[i].count * kinds[i].plan.layout.instance_bytes;
    }
}

int64_t packed_image_offset(const Kind *kinds, int64_t count, int64_t kind) {
    int64_t offset = packed_image_header_bytes(kinds, count);
    for (int64_t i = 0; i < kind; i++) {
        offset += kinds[i].count * kinds[i].plan.layout.instance_bytes;
    }
    return offset;
}

uint8_t *packed_image_instance(void *image, int64_t kind, int64_t index) {
    const PackedRecord *record = &image_records(image)[kind];
    return (uint8_t *)image + record->offset + index * record->instance_bytes;
}

void packed_image_checksum(void *image, int64_t instance, const void *bytes, int64_t size) {
    image_checksums(image)[instance] = XXH64(bytes, (size_t)size, 0);
}

// XXH64 of the header as if header_checksum were zero; the image itself may be read-only.
static uint64_t header_checksum(const void *image) {
    PackedHeader header;
    memcpy(&header, image, sizeof header);
    header.header_checksum = 0;
    uint64_t first = XXH64(&header, sizeof header, 0);
    return XXH64((const uint8_t *)image + sizeof header, (size_t)header.header_bytes - sizeof header, first);
}

void packed_image_seal(void *image) {
    PackedHeader *header = image;
    header->header_checksum = header_checksum(image);
}

void packed_image_finish(void *image) {
    const PackedHeader *header = image;
    int64_t instance = 0;
    for (uint32_t k = 0; k < header->kinds; k++) {
        const PackedRecord *record = &image_records(image)[k];
        for (int64_t i = 0; i < record->count; i++) {
            packed_image_checksum(image, instance++, packed_image_instance(image, k, i), record->instance_bytes);
        }
    }
    packed_image_seal(image);
}

bool packed_image_recognise(const void *data, size_t size) {
    return size >= sizeof PACKED_MAGIC - 1 && !memcmp(data, PACKED_MAGIC, sizeof PACKED_MAGIC - 1);
}

static Status validate_record(const PackedRecord *found, const PackedRecord *wanted, const Failure *failure) {
    if (memcmp(found->name, wanted->name, sizeof wanted->name)) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "packed weights: layer '%.*s' found where the library has '%s'",
                           (int)sizeof found->name - 1, found->name, wanted->name);
    }
#define RECORD_COMPARE(field, text, expression) \
    if (found->field != wanted->field) { \
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "layer '%s': packed for %s %lld, the library has %lld", wanted->name, \
                           text, (long long)found->field, (long long)wanted->field); \
    }
    PACKED_FACT_LIST(RECORD_COMPARE)
    if (found->offset != wanted->offset) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "layer '%s': packed weights start at byte %lld instead of %lld",
                           wanted->name, (long long)found->offset, (long long)wanted->offset);
    }
    return LIBRARY_OK;
}

// What can be said of a header without the library's kinds: is it ours, whole, and unharmed?
static Status validate_header(const PackedHeader *header, const void *data, size_t size, const Failure *failure) {
    if (memcmp(header->magic, PACKED_MAGIC, sizeof header->magic)) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "not a file of packed weights");
    }
    if (header->byte_order == __builtin_bswap32(PACKED_BYTE_ORDER)) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "packed weights: written on a machine of the other byte order");
    }
    if (header->byte_order != PACKED_BYTE_ORDER) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "packed weights: the header is damaged (byte order)");
    }
    if (header->version != PACKED_VERSION || header->layout != PACKED_LAYOUT) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS,
                           "packed weights: version %u, layout %u; this library reads version %d, layout %d", header->version,
                           header->layout, PACKED_VERSION, PACKED_LAYOUT);
    }
    if (header->file_bytes != size) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "packed weights: %s, %llu bytes instead of %llu",
                           size < header->file_bytes ? "truncated" : "trailing bytes", (unsigned long long)size,
                           (unsigned long long)header->file_bytes);
    }
    if (header->header_bytes < sizeof *header || header->header_bytes > size || header_checksum(data) != header->header_checksum) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "packed weights: the header is damaged (checksum)");
    }
    return LIBRARY_OK;
}

Status packed_image_validate(const void *data, size_t size, const Kind *kinds, int64_t count, const Failure *failure) {
    PackedHeader header;
    if (size < sizeof header) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "packed weights: truncated, %zu bytes", size);
    }
    if ((uintptr_t)data % WEIGHTS_ALIGNMENT) {
        return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "packed weights in memory must be aligned to %d bytes",
                           WEIGHTS_ALIGNMENT);
    }
    memcpy(&header, data, sizeof header);
    Status status = validate_header(&header, data, size, failure);
    if (status != LIBRARY_OK) {
        return status;
    }
    if (header.kinds != (uint64_t)count) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "packed weights: %u named layers, the library has %lld", header.kinds,
                           (long long)count);
    }
    if (header.header_bytes < sizeof header + (uint64_t)count * sizeof(PackedRecord)) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "packed weights: the header is damaged (records)");
    }
    const PackedRecord *records = (const PackedRecord *)((const uint8_t *)data + sizeof header);
    int64_t offset = packed_image_header_bytes(kinds, count);
    for (int64_t i = 0; i < count; i++) {
        PackedRecord wanted = record_of(&kinds[i], offset);
        status = validate_record(&records[i], &wanted, failure);
        if (status != LIBRARY_OK) {
            return status;
        }
        offset += kinds[i].count * kinds[i].plan.layout.instance_bytes;
    }
    if (header.header_bytes != (uint64_t)header_bytes(kinds, count) ||
        header.file_bytes != (uint64_t)packed_image_bytes(kinds, count)) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "packed weights: the header is damaged (sizes)");
    }
    return LIBRARY_OK;
}

Status packed_image_verify(const void *image, const Kind *kinds, int64_t count, const Failure *failure) {
    const PackedRecord *records = (const PackedRecord *)((const PackedHeader *)image + 1);
    const uint64_t *checksums = (const uint64_t *)(records + count);
    const uint8_t *bytes = (const uint8_t *)image + packed_image_header_bytes(kinds, count);
    for (int64_t k = 0; k < count; k++) {
        for (int64_t i = 0; i < kinds[k].count; i++, bytes += kinds[k].plan.layout.instance_bytes) {
            if (XXH64(bytes, (size_t)kinds[k].plan.layout.instance_bytes, 0) != *checksums++) {
                return failure_set(failure, LIBRARY_BAD_WEIGHTS, "packed weights: layer '%s.%lld' is damaged (checksum)",
                                   kinds[k].name, (long long)i);
            }
        }
    }
    return LIBRARY_OK;
}
