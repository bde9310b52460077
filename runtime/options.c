#include "options.h"

#include <string.h>

#include "areas.h"
#include "instance.h"

Status options_read(const Options *given, Options *out, const Failure *failure) {
    memset(out, 0, sizeof *out);
    if (given) {
        if (given->size < sizeof given->size + sizeof given->threads || given->size > AREA_MOST_STRUCT_BYTES) {
            return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "options.size is %zu: initialise options with ..._OPTIONS_INIT",
                               given->size);
        }
        memcpy(out, given, given->size < sizeof *out ? given->size : sizeof *out);
        for (size_t i = sizeof *out; i < given->size; i++) {
            if (((const uint8_t *)given)[i]) {
                return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "the options have a field that this library does not know");
            }
        }
    }
    out->size = sizeof *out;
    if (out->threads < 0 || out->threads > INSTANCE_MAX_THREADS) {
        return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "options.threads is %d, must be 0..%d", out->threads,
                           INSTANCE_MAX_THREADS);
    }
    if (out->max_tokens < 0) {
        return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "options.max_tokens is %lld, must not be negative",
                           (long long)out->max_tokens);
    }
    const struct {
        const char *name;
        int32_t value, low, high;
    } flags[] = {{"check", out->check, 0, 1},
                 {"bind", out->bind, -1, BIND_SPREAD},
                 {"huge_pages", out->huge_pages, -1, 1},
                 {"interleave", out->interleave, 0, 1}};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        if (flags[i].value < flags[i].low || flags[i].value > flags[i].high) {
            return failure_set(failure, LIBRARY_INVALID_ARGUMENT, "options.%s is %d, must be %d..%d", flags[i].name, flags[i].value,
                               flags[i].low, flags[i].high);
        }
    }
    return LIBRARY_OK;
}
