// Which addresses code prefetches: it is run step by step, and every prefetch instruction is decoded before it is executed.
#ifndef CATENA_PREFETCH_TRACE_H
#define CATENA_PREFETCH_TRACE_H

#include <stddef.h>
#include <stdint.h>

// level: 1 the nearest cache, 2 the second level, 3 the third, 0 data that is read once.
typedef struct Prefetch {
    int level;
    uintptr_t address;
} Prefetch;

// For qsort: by level and address.
int prefetch_compare(const void *a, const void *b);

// Calls run(context) and lists the prefetches that it executes, ascending by level and address. Returns their number, of which at
// most `room` were kept; -1 where instructions cannot be traced (another architecture than x86-64).
long prefetch_trace(void (*run)(void *context), void *context, Prefetch *out, size_t room);

#endif
