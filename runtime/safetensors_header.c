// The header of one file of safetensors, parsed with jansson. See safetensors_parts.h.
#define _GNU_SOURCE 1
#include <string.h>

#include "foreign.h"
#include "safetensors_parts.h"

#if RUNTIME_SAFETENSORS

enum { HEADER_MAX_BYTES = 100 * 1000 * 1000 };  // the limit of the format's own reader

// X(dtype, bits per element): those that can be read. Others are known by their name alone.
#define DTYPE_LIST(X) \
    X(F64, 64) \
    X(F32, 32) \
    X(F16, 16) \
    X(BF16, 16) \
    X(I64, 64) \
    X(U64, 64) \
    X(I32, 32) \
    X(U32, 32) \
    X(I16, 16) \
    X(U16, 16) \
    X(I8, 8) \
    X(U8, 8) \
    X(BOOL, 8) \
    X(F8_E4M3, 8) \
    X(F8_E5M2, 8) \
    X(F8_E8M0, 8) \
    X(C64, 64)

static int dtype_bytes(const char *dtype) {
#define DTYPE_COMPARE(name, bits) \
    if (!strcmp(dtype, #name)) { \
        return (bits) / 8; \
    }
    DTYPE_LIST(DTYPE_COMPARE)
    return 0;
}

static Status bad(const Failure *failure, const SafetensorsEntry *entry, const char *problem) {
    return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: tensor '%s': %s", entry->file, entry->name, problem);
}

const char *safetensors_kind_of(const json_t *value) {
    static const char *const kinds[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list", [JSON_STRING] = "a text", [JSON_INTEGER] = "a number",
        [JSON_REAL] = "a number",    [JSON_TRUE] = "true",    [JSON_FALSE] = "false",   [JSON_NULL] = "null"};
    return value ? kinds[json_typeof(value)] : "nothing";
}

// --- one tensor --------------------------------------------------------------------------------------------------------------

// A dtype that is not known may be named, and is compared with lists of words: letters, digits and underscores.
static Status read_dtype(const json_t *value, SafetensorsEntry *entry, const Failure *failure) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";
    const char *dtype = json_string_value(value);
    if (!dtype) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: tensor '%s': \"dtype\" must be a text such as \"F32\", found %s",
                           entry->file, entry->name, safetensors_kind_of(value));
    }
    size_t length = strlen(dtype);
    if (!length || length >= sizeof entry->dtype || strspn(dtype, letters) != length) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: tensor '%s': unknown dtype '%.32s'", entry->file, entry->name, dtype);
    }
    memcpy(entry->dtype, dtype, length + 1);
    return LIBRARY_OK;
}

static Status read_shape(const json_t *value, SafetensorsEntry *entry, const Failure *failure) {
    if (!json_is_array(value)) {
        return bad(failure, entry, "no list \"shape\"");
    }
    if (json_array_size(value) > SAFETENSORS_MAX_RANK) {
        return bad(failure, entry, "too many dimensions");
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *length = json_array_get(value, i);
        if (!json_is_integer(length) || json_integer_value(length) < 0) {
            return bad(failure, entry, "a length in \"shape\" is not a natural number");
        }
        entry->shape[i] = json_integer_value(length);
    }
    entry->rank = (int)json_array_size(value);
    return LIBRARY_OK;
}

// Two natural numbers in order.
static bool read_pair(const json_t *value, int64_t *begin, int64_t *end) {
    const json_t *first = json_array_get(value, 0), *last = json_array_get(value, 1);
    bool pair = json_array_size(value) == 2 && json_is_integer(first) && json_is_integer(last);
    *begin = pair ? json_integer_value(first) : -1;
    *end = pair ? json_integer_value(last) : -1;
    return pair;
}

// The bytes that a file has if all data that its header describes is there.
static int64_t described_bytes(const Shard *shard) {
    int64_t most = 0, begin, end;
    const char *name;
    json_t *value;
    json_object_foreach(shard->header, name, value) {
        if (read_pair(json_object_get(value, "data_offsets"), &begin, &end) && end > most) {
            most = end;
        }
    }
    return __builtin_add_overflow(most, shard->data_begin, &most) ? INT64_MAX : most;
}

static Status read_offsets(const Shard *shard, const json_t *value, SafetensorsEntry *entry, const Failure *failure) {
    int64_t begin, end;
    if (!read_pair(value, &begin, &end)) {
        return bad(failure, entry, "\"data_offsets\" is not a pair of numbers");
    }
    if (begin < 0 || end < begin) {
        return bad(failure, entry, "negative \"data_offsets\"");
    }
    if (end > shard->size - shard->data_begin) {
        return failure_set(
            failure, LIBRARY_BAD_WEIGHTS,
            "%s: tensor '%s': its data is not all there: the file has %lld bytes, by its header it should have %lld; it "
            "is truncated, so download it again",
            entry->file, entry->name, (long long)shard->size,
            (long long)(failure && failure->text ? described_bytes(shard) : 0));  // only for a text: a walk
    }
    entry->data = shard->bytes + shard->data_begin + begin;
    entry->bytes = end - begin;
    return LIBRARY_OK;
}

// Bytes that a shape takes; -1 if they overflow.
static int64_t shape_bytes(const SafetensorsEntry *entry, int element) {
    int64_t bytes = element;
    for (int i = 0; i < entry->rank; i++) {
        if (__builtin_mul_overflow(bytes, entry->shape[i], &bytes)) {
            return -1;
        }
    }
    return bytes;
}

Status safetensors_header_entry(const Shard *shard, const char *name, const json_t *value, SafetensorsEntry *entry,
                                const Failure *failure) {
    *entry = (SafetensorsEntry){.name = name, .file = shard->name};
    Status status = read_dtype(json_object_get(value, "dtype"), entry, failure);
    if (status == LIBRARY_OK) {
        status = read_shape(json_object_get(value, "shape"), entry, failure);
    }
    if (status == LIBRARY_OK) {
        status = read_offsets(shard, json_object_get(value, "data_offsets"), entry, failure);
    }
    int element = dtype_bytes(entry->dtype);
    if (status == LIBRARY_OK && element && shape_bytes(entry, element) != entry->bytes) {
        status = bad(failure, entry, "\"shape\" and \"data_offsets\" disagree");
    }
    if (status != LIBRARY_OK) {
        entry->damaged = true;
        entry->data = NULL;
        entry->bytes = 0;
    }
    return status;
}

// --- the file ----------------------------------------------------------------------------------------------------------------

// What is no safetensors file, by what it is if that can be told.
static Status refuse(const Shard *shard, const Failure *failure, const char *otherwise) {
    const char *kind = foreign_kind(shard->bytes, (size_t)shard->size);
    return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: %s", shard->name, kind ? kind : otherwise);
}

Status safetensors_header_parse(Shard *shard, const Failure *failure) {
    uint64_t length = 0, size = (uint64_t)shard->size;
    char text[160];
    if (size < sizeof length) {
        snprintf(text, sizeof text, "not a safetensors file (%llu bytes)", (unsigned long long)size);
        return refuse(shard, failure, text);
    }
    memcpy(&length, shard->bytes, sizeof length);
    bool begins = size > sizeof length && shard->bytes[sizeof length] == '{';  // as a header does
    if (length > HEADER_MAX_BYTES || (length > size - sizeof length && !begins)) {
        snprintf(text, sizeof text, "not a safetensors file, or truncated (header of %llu bytes, the file has %llu)",
                 (unsigned long long)length, (unsigned long long)size);
        return refuse(shard, failure, text);
    }
    if (length > size - sizeof length) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS,
                           "%s: truncated: the header alone has %llu bytes, but the file has only %llu: download it again",
                           shard->name, (unsigned long long)length, (unsigned long long)size);
    }
    json_error_t error;
    shard->header = json_loadb((const char *)shard->bytes + sizeof length, (size_t)length, JSON_REJECT_DUPLICATES, &error);
    if (!shard->header) {
        snprintf(text, sizeof text, "header: byte %d: %.100s", error.position, error.text);
        return begins ? failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: %s", shard->name, text) : refuse(shard, failure, text);
    }
    if (!json_is_object(shard->header)) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: the header is not a JSON object", shard->name);
    }
    shard->data_begin = (int64_t)(sizeof length + length);
    return LIBRARY_OK;
}

#endif
