// Read bandwidth: how fast plain read loops go over a working set, the best of several loops.
#ifndef CATENA_MEASURE_BANDWIDTH_H
#define CATENA_MEASURE_BANDWIDTH_H

#include <stdbool.h>
#include <stdint.h>

#include "machine.h"

// Memory that is read window by window, as a benchmark's calls rotate: the first window of every part, then the second of
// every part, and from the start again at the end. Each of the threads reads its contiguous share of every window.
typedef struct ReadSet {
    const uint8_t *const *parts;  // aligned to 64
    int64_t part_count;
    int64_t part_bytes;
    int64_t window;               // at most part_bytes; a thread's share is rounded down to 2 KiB
} ReadSet;

typedef struct Bandwidth {
    double gbytes_s;    // of the best loop: its median
    double spread;      // of that loop: interquartile range / median
    int64_t bytes;      // working set
    bool huge_pages;    // the memory asked for huge pages
    char variant[32];   // the loop: "2 streams, prefetch"
} Bandwidth;

// Measures for about `seconds`, all loops in turn. Returns 0, or -1 if the set is too small for `threads` threads.
int bandwidth_read(const ReadSet *set, int threads, double seconds, Bandwidth *out);

// Bandwidth of one cache level (index into machine->caches): every thread reads a set of its own that fits this level and not
// the one before. Returns 0 or -1.
int bandwidth_cache(const Machine *machine, int64_t index, int threads, double seconds, Bandwidth *out);

// Bandwidth of memory, cold: a set of bandwidth_cold_bytes(machine), with 4 KiB and with huge pages; the better of the two.
int bandwidth_memory(const Machine *machine, int threads, double seconds, Bandwidth *out);

// What "cold" rotates over: at least 1 GiB and four times the last-level cache; less where memory is short (`short_of` says so).
int64_t bandwidth_cold_bytes(const Machine *machine, bool *short_of);

// Reads all of `memory` once with all threads, to leave it in the caches instead of what was there. Gives up after `seconds`.
// Returns 0, or -1 if it gave up.
int bandwidth_sweep(const uint8_t *memory, int64_t bytes, int threads, double seconds);

// A read loop is to be believed if its samples agree (spread up to BANDWIDTH_SPREAD) and it is not far (half) below the rate of
// a call that read the same memory.
#define BANDWIDTH_SPREAD 0.30
bool bandwidth_plausible(const Bandwidth *bandwidth, double reached_gbytes_s);

// Memory for working sets and weight banks, aligned to 2 MiB, every page touched. NULL if there is none.
// Owned by the caller: free().
uint8_t *bandwidth_allocate(int64_t bytes, bool huge_pages);

#endif
