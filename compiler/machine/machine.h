// A machine as a plain value: this one, as far as this process may use it, or one that is not there, read from a description.
// Nothing is measured here.
//
// A Machine is flat and pointer-free so that the planner stays a pure function and tests can hand in machines that do not exist.
// Only machine.c includes hwloc; what it does not know is in facts.c.
#ifndef CATENA_MACHINE_H
#define CATENA_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compiler/base/diagnostic.h"
#include "runtime/features.h"

enum {
    MACHINE_NAME_BYTES = 128,
    MACHINE_MAX_CACHES = 4,
    MACHINE_MAX_UNITS = 1024,
    MACHINE_MAX_NODES = 64,
    MACHINE_FINGERPRINT_BYTES = 64,
    MACHINE_TOPOLOGY_BYTES = 96,
};

// A data (or unified) cache.
typedef struct MachineCache {
    int64_t level;
    int64_t bytes;
    int64_t line_bytes;
    int64_t shared_by;  // allowed hardware threads that share one such cache
    int64_t cores;      // allowed cores that do; 0: unknown
} MachineCache;

// A hardware thread that may be used. Cores, nodes, kinds and caches are numbered from 0 without gaps.
typedef struct MachineUnit {
    int32_t number;                      // the operating system's
    int16_t core;
    int16_t sibling;                     // 0: the first hardware thread of its core
    int16_t node;                        // whose memory is near
    int16_t kind;                        // of cores: 0 the slowest, machine->kinds - 1 the fastest
    int16_t caches[MACHINE_MAX_CACHES];  // which of those that machine->caches[i] stands for; -1: none
} MachineUnit;

typedef struct Machine {
    char cpu[MACHINE_NAME_BYTES];
    char architecture[16];                          // x86_64, aarch64
    Features capabilities;
    int64_t cache_count;
    MachineCache caches[MACHINE_MAX_CACHES];        // ascending level; those of the first core of the fastest kind
    int64_t units_online;   // hardware threads of the machine
    int64_t units_allowed;  // of these, in this process's affinity mask
    int64_t cores_allowed;  // physical cores among them
    int64_t threads;        // what to run with: units_allowed, or fewer under a cgroup's quota
    int64_t numa_nodes;     // that have allowed hardware threads
    int64_t kinds;          // of cores that differ in speed
    int64_t unit_count;     // units_allowed, as far as `units` has room
    MachineUnit units[MACHINE_MAX_UNITS];  // neighbours in the machine are neighbours here
    int64_t near_distance, far_distance;   // of a node's memory to itself and, on average, to the others; 0: unknown
    int64_t memory_total;
    int64_t memory_available;  // as far as the kernel and the cgroup let this process go
    int64_t page_bytes;
    char huge_pages[16];  // transparent huge pages: always, madvise, never
} Machine;

// Fills in what can be found out; what cannot is 0 or empty. Returns 0, or -1 if the topology cannot be read at all.
int machine_detect(Machine *machine);

// Reads a machine that is not there: `source` is a file that hwloc exported as XML, or else hwloc's synthetic description, "pack:2
// numa:1 l3:1 core:24 pu:2". All its hardware threads may be used. It has no capabilities (a description does not say them) and so
// runs no target: nothing is measured for it. Returns 0, or -1 with diagnostics.
int machine_read(const char *source, Machine *machine, Diagnostics *diagnostics);

// Bytes of the last-level cache (0: unknown).
int64_t machine_last_level_bytes(const Machine *machine);

// A stable text for what decides speed: CPU, architecture, capabilities, cache sizes. Independent of load, affinity and memory.
void machine_fingerprint(const Machine *machine, char out[MACHINE_FINGERPRINT_BYTES]);

// A stable text for what this process may use of a machine: hardware threads, cores and nodes in words, then a hash of who shares
// which core, node and caches. The same for the same cores elsewhere on the machine: their numbers do not matter.
void machine_topology_text(const Machine *machine, char out[MACHINE_TOPOLOGY_BYTES]);

// machine_detect's part that hwloc knows nothing of: system, capabilities, memory, quota.
void machine_detect_system(Machine *machine);

#endif
