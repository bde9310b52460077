// See areas.h.
#define _GNU_SOURCE 1
#include "areas.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

int64_t area_bytes(int64_t rows, int64_t stride, int64_t width, int64_t element) {
    int64_t bytes = 0;
    if (rows > 0 && (__builtin_mul_overflow(rows - 1, stride, &bytes) || __builtin_add_overflow(bytes, width, &bytes) ||
                     __builtin_mul_overflow(bytes, element, &bytes) || bytes > PTRDIFF_MAX)) {
        return AREA_TOO_LARGE;
    }
    return bytes;
}

static bool is_there(const Area *area) {
    return area->start && area->bytes > 0;
}

// False if some page of an area is not mapped. Only large areas are looked up: there a wrong count is likelier than a wrong
// pointer, and the system call takes no time beside the work. MS_ASYNC starts nothing on Linux: it walks the mappings, and fails
// with ENOMEM at the first gap.
static bool is_mapped(const Area *area) {
    const int64_t large = (int64_t)1 << 28;
    if (!is_there(area) || area->bytes < large) {
        return true;
    }
    uintptr_t offset = (uintptr_t)area->start % (uintptr_t)sysconf(_SC_PAGESIZE);
    return !msync((uint8_t *)(uintptr_t)area->start - offset, (size_t)area->bytes + offset, MS_ASYNC) || errno != ENOMEM;
}

static bool overlap(const Area *a, const Area *b) {
    uintptr_t first = (uintptr_t)a->start, second = (uintptr_t)b->start;
    return second - first < (uintptr_t)a->bytes || first - second < (uintptr_t)b->bytes;  // modulo 2^64: neither end is computed
}

static Status check_one(const Area *area, const Failure *failure) {
    if (area->start && area->bytes < 0) {
        return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "%s: memory cannot hold as much as this number of tokens needs",
                           area->name);
    }
    if (is_there(area) && (uintptr_t)area->start % (uintptr_t)area->alignment) {
        return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "%s must be aligned to its elements (%lld bytes)", area->name,
                           (long long)area->alignment);
    }
    return LIBRARY_OK;
}

Status areas_check(const Area *areas, int count, int compared, const Failure *failure) {
    for (int a = 0; a < count; a++) {
        Status status = check_one(&areas[a], failure);
        if (status != LIBRARY_OK) {
            return status;
        }
    }
    for (int a = 0; a < count; a++) {
        if (!is_mapped(&areas[a])) {
            return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "%s would have %lld bytes: not all of them are mapped memory",
                               areas[a].name, (long long)areas[a].bytes);
        }
    }
    for (int a = compared; a < count; a++) {
        for (int b = 0; b < a; b++) {
            bool written = areas[a].written || areas[b].written;
            if (written && is_there(&areas[a]) && is_there(&areas[b]) && overlap(&areas[a], &areas[b])) {
                return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "%s and %s overlap", areas[b].name, areas[a].name);
            }
        }
    }
    return LIBRARY_OK;
}
