// Read bandwidth by plain read loops: one, two and four streams a thread, with and without software prefetch, on small and
// huge pages. The best median counts: one loop alone is 77 to 90 % of what a core can do.
#define _GNU_SOURCE
#include "bandwidth.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "compiler/base/statistics.h"

// The loops are plain C that gcc vectorises, once per x86-64 level; the loader picks.
#if defined(__x86_64__)
#define READ_LOOP __attribute__((noinline, optimize("O3"), target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define READ_LOOP __attribute__((noinline, optimize("O3")))
#endif

enum {
    READ_BLOCK = 64,           // words that one block of a prefetching loop reads: eight cache lines
    PREFETCH_WORDS = 16 * 8,   // 16 lines ahead: enough for two streams a core to reach full bandwidth
    READ_UNIT = 512 * 4,       // bytes that a thread's share is a multiple of: four streams of whole blocks
    MAX_SAMPLES = 512,
    HUGE_PAGE = 2 << 20,
};

typedef uint64_t ReadLoop(const uint64_t *words, int64_t count);

READ_LOOP static uint64_t read_one_stream(const uint64_t *words, int64_t count) {
    uint64_t sum = 0;
    for (int64_t i = 0; i < count; i++) {
        sum ^= words[i];
    }
    return sum;
}

READ_LOOP static uint64_t read_two_streams(const uint64_t *words, int64_t count) {
    const uint64_t *second = words + count / 2;
    uint64_t a = 0, b = 0;
    for (int64_t i = 0; i < count / 2; i++) {
        a ^= words[i];
        b ^= second[i];
    }
    return a ^ b;
}

READ_LOOP static uint64_t read_four_streams(const uint64_t *words, int64_t count) {
    int64_t quarter = count / 4;
    const uint64_t *second = words + quarter, *third = second + quarter, *fourth = third + quarter;
    uint64_t a = 0, b = 0, c = 0, d = 0;
    for (int64_t i = 0; i < quarter; i++) {
        a ^= words[i];
        b ^= second[i];
        c ^= third[i];
        d ^= fourth[i];
    }
    return a ^ b ^ c ^ d;
}

READ_LOOP static uint64_t read_prefetching(const uint64_t *words, int64_t count) {
    uint64_t sum = 0;
    for (int64_t block = 0; block < count; block += READ_BLOCK) {
        for (int64_t line = 0; line < READ_BLOCK; line += 8) {
            __builtin_prefetch(words + block + PREFETCH_WORDS + line);
        }
        for (int64_t i = 0; i < READ_BLOCK; i++) {
            sum ^= words[block + i];
        }
    }
    return sum;
}

// Both streams are fetched into the nearest cache, and before that into the second-level one unless far is 0.
static inline __attribute__((always_inline)) uint64_t read_two(const uint64_t *words, int64_t count, int64_t near, int64_t far) {
    const uint64_t *second = words + count / 2;
    uint64_t a = 0, b = 0;
    for (int64_t block = 0; block < count / 2; block += READ_BLOCK) {
        for (int64_t line = 0; line < READ_BLOCK; line += 8) {
            __builtin_prefetch(words + block + near + line);
            __builtin_prefetch(second + block + near + line);
            if (far) {
                __builtin_prefetch(words + block + far + line, 0, 2);
                __builtin_prefetch(second + block + far + line, 0, 2);
            }
        }
        for (int64_t i = 0; i < READ_BLOCK; i++) {
            a ^= words[block + i];
            b ^= second[block + i];
        }
    }
    return a ^ b;
}

READ_LOOP static uint64_t read_two_prefetching(const uint64_t *words, int64_t count) {
    return read_two(words, count, PREFETCH_WORDS, 0);
}

READ_LOOP static uint64_t read_two_prefetching_twice(const uint64_t *words, int64_t count) {
    return read_two(words, count, 2 * PREFETCH_WORDS, 4 * PREFETCH_WORDS);
}

typedef struct Variant {
    const char *name;
    ReadLoop *read;
} Variant;

static const Variant variants[] = {
    {"1 stream", read_one_stream},
    {"2 streams", read_two_streams},
    {"4 streams", read_four_streams},
    {"1 stream, prefetch", read_prefetching},
    {"2 streams, prefetch", read_two_prefetching},
    {"2 streams, two prefetches", read_two_prefetching_twice},
};
enum { VARIANTS = sizeof variants / sizeof *variants };

static volatile uint64_t read_result;  // keeps the loops from being optimised away

// Reads `windows` windows from window number `first` on; returns seconds.
static double time_windows(const ReadSet *set, const Variant *variant, int threads, int64_t first, int64_t windows) {
    int64_t windows_per_part = set->part_bytes / set->window;
    double start = statistics_clock();
#pragma omp parallel num_threads(threads)
    {
        // The team may be smaller than asked for: shares go by the size it has.
        int64_t share = set->window / omp_get_num_threads() / READ_UNIT * READ_UNIT;
        uint64_t sum = 0;
        for (int64_t w = first; w < first + windows; w++) {
            const uint8_t *window = set->parts[w % set->part_count] + w / set->part_count % windows_per_part * set->window;
            sum ^= variant->read((const uint64_t *)(window + omp_get_thread_num() * share), share / 8);
        }
        read_result = sum;
    }
    return statistics_clock() - start;
}

int bandwidth_read(const ReadSet *set, int threads, double seconds, Bandwidth *out) {
    static const double repetition = 0.002;  // long against the microseconds that starting a team takes
    int64_t share = set->window / threads / READ_UNIT * READ_UNIT, cursor = 0, windows = 1;
    size_t count = 0;
    double samples[VARIANTS][MAX_SAMPLES], best = 0;
    if (share <= 0 || set->part_bytes < set->window) {
        return -1;
    }
    while (time_windows(set, &variants[1], threads, cursor, windows) < repetition && windows < 1 << 24) {
        cursor += windows;
        windows *= 2;
    }
    double start = statistics_clock();
    do {
        for (int v = 0; v < VARIANTS; v++, cursor += windows) {
            double elapsed = time_windows(set, &variants[v], threads, cursor, windows);
            samples[v][count] = (double)(share * threads * windows) / elapsed * 1e-9;
        }
        count++;
    } while (count < MAX_SAMPLES && (count < 5 || statistics_clock() - start < seconds));
    for (int v = 0; v < VARIANTS; v++) {
        Statistics statistics = statistics_of(samples[v], count);
        if (statistics.median > best) {
            best = out->gbytes_s = statistics.median;
            out->spread = statistics.spread;
            snprintf(out->variant, sizeof out->variant, "%s", variants[v].name);
        }
    }
    out->bytes = set->part_bytes * set->part_count;
    return 0;
}

int bandwidth_sweep(const uint8_t *memory, int64_t bytes, int threads, double seconds) {
    enum { CHUNK = 64 << 20 };  // few of them: threads meet after each
    double start = statistics_clock();
    int64_t window = CHUNK / threads / READ_UNIT * READ_UNIT * threads;
    ReadSet set = {.parts = (const uint8_t *const[]){memory}, .part_count = 1, .part_bytes = bytes, .window = window};
    for (int64_t done = 0; window > 0 && done + window <= bytes; done += window) {
        time_windows(&set, &variants[1], threads, done / window, 1);
        if (statistics_clock() - start > seconds) {
            return -1;
        }
    }
    return window > 0 ? 0 : -1;
}

// --- working sets ------------------------------------------------------------------------------------------------------------

uint8_t *bandwidth_allocate(int64_t bytes, bool huge_pages) {
    size_t size = ((size_t)bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    uint8_t *memory = aligned_alloc(HUGE_PAGE, size);
    if (memory) {
        madvise(memory, size, huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
        // A page that was never written is the kernel's one page of zeros. By all threads: clearing pages takes the time.
#pragma omp parallel for schedule(static)
        for (size_t i = 0; i < size; i += 4096) {
            memory[i] = (uint8_t)(i >> 12);
        }
    }
    return memory;
}

int64_t bandwidth_cold_bytes(const Machine *machine, bool *short_of) {
    int64_t wanted = 4 * machine_last_level_bytes(machine), possible = machine->memory_available / 2;
    wanted = wanted > (int64_t)1 << 30 ? wanted : (int64_t)1 << 30;
    *short_of = possible > 0 && possible < wanted;
    return *short_of ? possible : wanted;
}

static int64_t round_down(int64_t value, int64_t multiple) {
    return value / multiple * multiple;
}

int bandwidth_cache(const Machine *machine, int64_t index, int threads, double seconds, Bandwidth *out) {
    const MachineCache *cache = &machine->caches[index];
    int64_t sharing = cache->shared_by < threads ? cache->shared_by : threads;
    int64_t share = cache->bytes / (sharing > 0 ? sharing : 1) / 2;
    // A huge last level may belong to strangers too (virtual machines): eight times the level below is enough to be in it.
    if (index > 0 && share > 8 * machine->caches[index - 1].bytes) {
        share = 8 * machine->caches[index - 1].bytes;
    }
    ReadSet set = {.part_count = 1, .window = round_down(share, READ_UNIT) * threads};
    set.part_bytes = set.window;
    uint8_t *memory = set.window > 0 ? bandwidth_allocate(set.window, true) : NULL;
    set.parts = (const uint8_t *const[]){memory};
    int status = memory ? bandwidth_read(&set, threads, seconds, out) : -1;
    out->huge_pages = true;
    free(memory);
    return status;
}

int bandwidth_memory(const Machine *machine, int threads, double seconds, Bandwidth *out) {
    enum { WINDOW = 32 << 20 };
    bool short_of;
    int status = -1;
    memset(out, 0, sizeof *out);
    for (int huge = 0; huge < 2; huge++) {
        Bandwidth one = {0};
        ReadSet set = {.part_count = 1, .window = round_down(WINDOW, (int64_t)READ_UNIT * threads)};
        set.part_bytes = round_down(bandwidth_cold_bytes(machine, &short_of), set.window);
        uint8_t *memory = bandwidth_allocate(set.part_bytes, huge);
        set.parts = (const uint8_t *const[]){memory};
        if (memory && !bandwidth_read(&set, threads, seconds / 2, &one)) {
            status = 0;
            if (one.gbytes_s > out->gbytes_s) {
                *out = one;
                out->huge_pages = huge;
            }
        }
        free(memory);
    }
    return status;
}

bool bandwidth_plausible(const Bandwidth *bandwidth, double reached_gbytes_s) {
    return bandwidth->spread <= BANDWIDTH_SPREAD && 2 * bandwidth->gbytes_s >= reached_gbytes_s;
}
