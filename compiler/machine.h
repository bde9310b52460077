// This machine as a plain value: what this process may use, not what the box once had. Nothing is measured here.
//
// A Machine is flat and pointer-free so that the planner stays a pure function and tests can hand in machines that do not exist.
// Only machine.c includes hwloc.
#ifndef CATENA_MACHINE_H
#define CATENA_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MACHINE_NAME_BYTES = 128,
    MACHINE_CAPABILITIES_BYTES = 512,
    MACHINE_MAX_CACHES = 6,
    MACHINE_FINGERPRINT_BYTES = 64,
};

// A data (or unified) cache.
typedef struct MachineCache {
    int64_t level;
    int64_t bytes;
    int64_t line_bytes;
    int64_t shared_by;  // allowed hardware threads that share one such cache
} MachineCache;

typedef struct Machine {
    char cpu[MACHINE_NAME_BYTES];
    char architecture[16];                          // x86_64, aarch64
    char capabilities[MACHINE_CAPABILITIES_BYTES];  // space-separated names that start and end with a space: " avx2 fma "
    int64_t cache_count;
    MachineCache caches[MACHINE_MAX_CACHES];        // ascending level; those of the first allowed core
    int64_t units_online;   // hardware threads of the machine
    int64_t units_allowed;  // of these, in this process's affinity mask
    int64_t cores_allowed;  // physical cores among them
    int64_t threads;        // what to run with: units_allowed, or fewer under a cgroup's quota
    int64_t numa_nodes;
    int64_t memory_total;
    int64_t memory_available;  // as far as the kernel and the cgroup let this process go
    int64_t page_bytes;
    char huge_pages[16];  // transparent huge pages: always, madvise, never
} Machine;

// Fills in what can be found out; what cannot is 0 or empty. Returns 0, or -1 if the topology cannot be read at all.
int machine_detect(Machine *machine);

// Whether the machine has a capability of that name.
bool machine_has(const Machine *machine, const char *capability);

// Whether it has all of a space-separated list; `missing` receives those that it lacks.
bool machine_has_all(const Machine *machine, const char *capabilities, char *missing, size_t missing_bytes);

// Bytes of the last-level cache (0: unknown).
int64_t machine_last_level_bytes(const Machine *machine);

// A stable text for what decides speed: CPU, architecture, capabilities, cache sizes. Independent of load, affinity and memory.
void machine_fingerprint(const Machine *machine, char out[MACHINE_FINGERPRINT_BYTES]);

#endif
