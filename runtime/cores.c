// Affinity by sched_getaffinity; cores from /sys/devices/system/cpu/cpuN/topology; quota from the cgroup file system, walking from
// this process's group up to the root.
#define _GNU_SOURCE 1
#include "cores.h"

#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MASK_MAX_CPUS = 1 << 16, PATH_BYTES = 4096 };

int cores_allowed(int *cpus, int capacity) {
    int count = 0;
    // the kernel refuses masks smaller than its own: double until it fits
    for (int size = 1024; size <= MASK_MAX_CPUS && !count; size *= 2) {
        cpu_set_t *mask = CPU_ALLOC((size_t)size);
        if (!mask) {
            break;
        }
        size_t bytes = CPU_ALLOC_SIZE((size_t)size);
        if (!sched_getaffinity(0, bytes, mask)) {
            for (int cpu = 0; cpu < size; cpu++) {
                if (CPU_ISSET_S((size_t)cpu, bytes, mask)) {
                    if (cpus && count < capacity) {
                        cpus[count] = cpu;
                    }
                    count++;
                }
            }
        }
        CPU_FREE(mask);
    }
    return count ? count : 1;
}

// First line of a small file; returns whether there is one.
static int read_line(const char *path, char *line, size_t size) {
    FILE *file = fopen(path, "re");
    if (!file) {
        return 0;
    }
    int found = fgets(line, (int)size, file) != NULL;
    fclose(file);
    return found;
}

// The number that *text starts with, after blanks; *text moves behind it. -1: there is none (or "max", or it is negative).
// Not sscanf or strtoll: under _GNU_SOURCE a newer glibc would make them symbols that older systems lack.
static long long read_number(const char **text) {
    const char *next = *text + strspn(*text, " \t");
    long long number = *next >= '0' && *next <= '9' ? 0 : -1;
    for (; *next >= '0' && *next <= '9'; next++) {
        number = number < INT64_MAX / 10 - 1 ? number * 10 + (*next - '0') : number;
    }
    *text = next;
    return number;
}

// Lowest CPU of such a list of a CPU ("0,64", "0-1"), which are ascending; -1: there is none.
static int lowest_of(const char *root, int cpu, const char *list) {
    char path[PATH_BYTES + 64], line[256];
    const char *next = line;
    snprintf(path, sizeof path, "%.*s/cpu%d/%s", PATH_BYTES, root, cpu, list);
    long long first = read_line(path, line, sizeof line) ? read_number(&next) : -1;
    return first >= 0 && first < MASK_MAX_CPUS ? (int)first : -1;
}

// Of those that share its last-level cache: the highest that it has of cache/index0, index1, ... (Linux numbers them by level).
static int last_cache_of(const char *root, int cpu) {
    enum { MOST_CACHES = 10 };
    int first = -1;
    for (int index = MOST_CACHES - 1; index >= 0 && first < 0; index--) {
        char list[64];
        snprintf(list, sizeof list, "cache/index%d/shared_cpu_list", index);
        first = lowest_of(root, cpu, list);
    }
    return first;
}

static int core_of(const char *root, int cpu) {
    int first = lowest_of(root, cpu, "topology/thread_siblings_list");
    return first >= 0 ? first : cpu;
}

int cores_sort(const char *root, int *cpus, int count) {
    uint8_t seen[MASK_MAX_CPUS / 8] = {0};  // cores by their lowest CPU
    int cores = 0;
    for (int i = 0; i < count; i++) {
        int cpu = cpus[i], core = core_of(root, cpu);
        if (core < MASK_MAX_CPUS && !(seen[core / 8] >> core % 8 & 1)) {
            seen[core / 8] |= (uint8_t)(1 << core % 8);
            memmove(cpus + cores + 1, cpus + cores, (size_t)(i - cores) * sizeof *cpus);
            cpus[cores++] = cpu;
        }
    }
    return cores ? cores : count;
}

// A CPU, and where it comes.
typedef struct Place {
    int cpu, cache, turn, index;
} Place;

static int by_cache(const void *a, const void *b) {
    const Place *p = a, *q = b;
    return p->cache != q->cache ? (p->cache > q->cache) - (p->cache < q->cache) : p->index - q->index;
}

static int by_turn(const void *a, const void *b) {
    const Place *p = a, *q = b;
    return p->turn != q->turn ? p->turn - q->turn : by_cache(a, b);
}

void cores_arrange(const char *root, int *cpus, int count, bool spread) {
    Place *places = calloc((size_t)(count > 0 ? count : 1), sizeof *places);
    if (!places) {
        return;  // as good an order as any
    }
    for (int i = 0; i < count; i++) {
        places[i] = (Place){.cpu = cpus[i], .cache = last_cache_of(root, cpus[i]), .index = i};
    }
    qsort(places, (size_t)count, sizeof *places, by_cache);
    for (int i = 1; i < count; i++) {
        places[i].turn = places[i].cache == places[i - 1].cache ? places[i - 1].turn + 1 : 0;
    }
    if (spread) {
        qsort(places, (size_t)count, sizeof *places, by_turn);
    }
    for (int i = 0; i < count; i++) {
        cpus[i] = places[i].cpu;
    }
    free(places);
}

static int *allowed_sorted(int *count, int *cores) {
    *count = cores_allowed(NULL, 0);
    int *cpus = calloc((size_t)*count, sizeof *cpus);
    if (cpus) {
        cores_allowed(cpus, *count);
        *cores = cores_sort("/sys/devices/system/cpu", cpus, *count);
    }
    return cpus;
}

int *cores_ordered(bool spread, int *count) {
    int cores, *cpus = allowed_sorted(count, &cores);
    if (cpus) {
        cores_arrange("/sys/devices/system/cpu", cpus, cores, spread);
    }
    return cpus;
}

// quota / period as CPUs; 0 when unlimited or not readable.
static double limit_v2(const char *directory) {
    char path[PATH_BYTES + 32], line[128];
    const char *next = line;
    snprintf(path, sizeof path, "%s/cpu.max", directory);
    if (!read_line(path, line, sizeof line)) {
        return 0;
    }
    long long quota = read_number(&next), period = read_number(&next);  // "max 100000": no limit
    return quota > 0 && period > 0 ? (double)quota / (double)period : 0;
}

static long long read_value(const char *directory, const char *name) {
    char path[PATH_BYTES + 32], line[128];
    const char *next = line;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return read_line(path, line, sizeof line) ? read_number(&next) : -1;
}

static double limit_v1(const char *directory) {
    long long quota = read_value(directory, "cpu.cfs_quota_us"), period = read_value(directory, "cpu.cfs_period_us");
    return quota > 0 && period > 0 ? (double)quota / (double)period : 0;
}

// Smallest limit of a group and its parents. `group` is below `root`; in a container it may not exist there, then the root counts.
static double limit_of(const char *root, const char *group, double (*limit)(const char *directory)) {
    char directory[PATH_BYTES];
    double smallest = 0;
    if (snprintf(directory, sizeof directory, "%s%s", root, group) >= (int)sizeof directory) {
        return 0;
    }
    for (;;) {
        double found = limit(directory);
        if (found > 0 && (smallest <= 0 || found < smallest)) {
            smallest = found;
        }
        char *slash = strrchr(directory, '/');
        if (!slash || strlen(directory) <= strlen(root)) {
            return smallest;
        }
        *slash = 0;
    }
}

// Whether a v1 controller list "cpu,cpuacct" names cpu.
static int names_cpu(const char *controllers) {
    for (const char *next = controllers; next; next = strchr(next, ',') ? strchr(next, ',') + 1 : NULL) {
        if (!strncmp(next, "cpu", 3) && (next[3] == ',' || !next[3])) {
            return 1;
        }
    }
    return 0;
}

double cores_quota_of(const char *groups, const char *root) {
    FILE *file = fopen(groups, "re");
    char line[PATH_BYTES], root_v1[PATH_BYTES];
    double quota = 0;
    snprintf(root_v1, sizeof root_v1, "%s/cpu", root);
    while (file && fgets(line, sizeof line, file)) {  // "0::/path" (v2) or "4:cpu,cpuacct:/path" (v1)
        char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) {
            continue;
        }
        *group++ = 0;
        controllers++;
        group[strcspn(group, "\n")] = 0;
        double found = 0;
        if (!*controllers) {
            found = limit_of(root, group, limit_v2);
        } else if (names_cpu(controllers)) {
            found = limit_of(root_v1, group, limit_v1);
        }
        if (found > 0 && (quota <= 0 || found < quota)) {
            quota = found;
        }
    }
    if (file) {
        fclose(file);
    }
    return quota;
}

double cores_quota(void) {
    return cores_quota_of("/proc/self/cgroup", "/sys/fs/cgroup");
}

int cores_lowered(int cores, double quota) {
    if (quota > 0 && quota < cores) {
        return quota < 1 ? 1 : (int)quota;
    }
    return cores;
}

int cores_usable(void) {
    int count, cores = 1;
    free(allowed_sorted(&count, &cores));
    return cores_lowered(cores, cores_quota());
}
