// What hwloc does not know of this machine: capabilities of the CPU, memory as the kernel and the cgroup let this process have it,
// huge pages, the quota. And the texts that stand for a machine.
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "machine.h"
#include "runtime/cores.h"
#include "runtime/cpu.h"

// --- capabilities ------------------------------------------------------------------------------------------------------------

static void detect_capabilities(Machine *machine) {
    const char *name;
    for (int i = 0; (name = cpu_feature_name(i)); i++) {
        if (cpu_has(name) == 1) {
            bool added = features_add(&machine->capabilities, name);
            assert(added);  // there is room for every name that is known
            (void)added;
        }
    }
}

// --- memory ------------------------------------------------------------------------------------------------------------------

static void detect_memory(Machine *machine) {
    FILE *file = fopen("/proc/meminfo", "r");
    char line[256];
    long long kibibytes;
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "MemTotal: %lld kB", &kibibytes) == 1) {
            machine->memory_total = kibibytes * 1024;
        } else if (sscanf(line, "MemAvailable: %lld kB", &kibibytes) == 1) {
            machine->memory_available = kibibytes * 1024;
        }
    }
    if (file) {
        fclose(file);
    }
}

// A number from a file of /sys; -1 if there is none ("max" included).
static int64_t read_number(const char *path) {
    FILE *file = fopen(path, "r");
    long long value = -1;
    if (file) {
        if (fscanf(file, "%lld", &value) != 1) {
            value = -1;
        }
        fclose(file);
    }
    return value;
}

// A container's memory limit, as cgroup v2 or v1 shows it inside the container.
static void apply_memory_limit(Machine *machine) {
    int64_t limit = read_number("/sys/fs/cgroup/memory.max");
    int64_t used = read_number("/sys/fs/cgroup/memory.current");
    if (limit < 0) {
        limit = read_number("/sys/fs/cgroup/memory/memory.limit_in_bytes");
        used = read_number("/sys/fs/cgroup/memory/memory.usage_in_bytes");
    }
    if (limit > 0 && used >= 0 && limit - used < machine->memory_available) {
        machine->memory_available = limit > used ? limit - used : 0;
    }
}

static void detect_huge_pages(Machine *machine) {
    FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
    char line[128] = "";
    snprintf(machine->huge_pages, sizeof machine->huge_pages, "never");
    if (file && fgets(line, sizeof line, file)) {
        const char *open = strchr(line, '[');
        const char *close = open ? strchr(open, ']') : NULL;
        if (close) {
            snprintf(machine->huge_pages, sizeof machine->huge_pages, "%.*s", (int)(close - open - 1), open + 1);
        }
    }
    if (file) {
        fclose(file);
    }
}

void machine_detect_system(Machine *machine) {
    struct utsname system;
    if (!uname(&system)) {
        snprintf(machine->architecture, sizeof machine->architecture, "%.15s", system.machine);
    }
    machine->units_online = sysconf(_SC_NPROCESSORS_ONLN);
    machine->page_bytes = sysconf(_SC_PAGESIZE);
    detect_capabilities(machine);
    detect_memory(machine);
    apply_memory_limit(machine);
    detect_huge_pages(machine);
    machine->threads = cores_usable();
}

int64_t machine_last_level_bytes(const Machine *machine) {
    return machine->cache_count ? machine->caches[machine->cache_count - 1].bytes : 0;
}

// --- fingerprint -------------------------------------------------------------------------------------------------------------

// FNV-1a, 64 bits: http://www.isthe.com/chongo/tech/comp/fnv/
static uint64_t hash_text(uint64_t hash, const char *text) {
    for (; *text; text++) {
        hash = (hash ^ (uint8_t)*text) * 0x100000001b3u;
    }
    return hash;
}

// The features' names, each behind a space, and one at the end, as fingerprints have always been made. f16c is left out: every CPU
// with avx2 has it, and fingerprints are older than its name, so that wisdom and peaks of older versions stay valid.
static uint64_t hash_features(uint64_t hash, const Features *features) {
    char names[FEATURES_BYTES], *rest = names, *name;
    snprintf(names, sizeof names, "%s", features->names);
    while (*features->names && (name = strsep(&rest, " "))) {
        if (strcmp(name, "f16c")) {
            hash = hash_text(hash_text(hash, " "), name);
        }
    }
    return *features->names ? hash_text(hash, " ") : hash;
}

void machine_fingerprint(const Machine *machine, char out[MACHINE_FINGERPRINT_BYTES]) {
    uint64_t hash = 0xcbf29ce484222325u;
    char text[96];
    hash = hash_text(hash, machine->cpu);
    hash = hash_features(hash, &machine->capabilities);
    for (int64_t i = 0; i < machine->cache_count; i++) {
        const MachineCache *cache = &machine->caches[i];
        snprintf(text, sizeof text, "|L%lld %lld", (long long)cache->level, (long long)cache->bytes);
        hash = hash_text(hash, text);
    }
    snprintf(out, MACHINE_FINGERPRINT_BYTES, "%s-%016llx", machine->architecture, (unsigned long long)hash);
}

void machine_topology_text(const Machine *machine, char out[MACHINE_TOPOLOGY_BYTES]) {
    uint64_t hash = 0xcbf29ce484222325u;
    char text[96];
    for (int64_t i = 0; i < machine->unit_count; i++) {
        const MachineUnit *unit = &machine->units[i];
        snprintf(text, sizeof text, "|%d %d %d", unit->core, unit->node, unit->kind);
        hash = hash_text(hash, text);
        for (int64_t level = 0; level < machine->cache_count; level++) {
            snprintf(text, sizeof text, " %d", unit->caches[level]);
            hash = hash_text(hash, text);
        }
    }
    snprintf(out, MACHINE_TOPOLOGY_BYTES, "%lld hardware threads of %lld cores, %lld nodes, shared as %08llx",
             (long long)machine->units_allowed, (long long)machine->cores_allowed, (long long)machine->numa_nodes,
             (unsigned long long)(hash ^ hash >> 32) & 0xffffffffu);
}
