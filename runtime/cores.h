// How many threads this process can run at once: its affinity mask and its cgroup's CPU quota (v2 and v1).
#ifndef CATENA_CORES_H
#define CATENA_CORES_H

#include <stdbool.h>

// CPUs in the affinity mask, at least 1. Up to `capacity` of their numbers, ascending, go to `cpus` (may be NULL).
int cores_allowed(int *cpus, int capacity);

// Sorts ascending CPU numbers so that one of each core comes first, ascending, then the others; returns how many cores there are.
// `root` is /sys/devices/system/cpu; a CPU that it says nothing about is a core of its own.
int cores_sort(const char *root, int *cpus, int count);

// Sorts CPUs so that those that share a last-level cache stand together, or (spread) so that the caches take turns; among those of
// one cache their order stays. A CPU whose cache is unknown shares one with all such.
void cores_arrange(const char *root, int *cpus, int count, bool spread);

// The allowed CPUs, one of each core first, these arranged; for the caller to free. NULL: out of memory.
int *cores_ordered(bool spread, int *count);

// CPUs' worth of time that the cgroup and its parents may use: the smallest of their quotas; 0: no limit.
double cores_quota(void);
// The same of a process whose cgroups are listed in the file `groups` (/proc/self/cgroup), where `root` is /sys/fs/cgroup.
double cores_quota_of(const char *groups, const char *root);

// Threads to use: the cores of the allowed CPUs (two threads of a core share its arithmetic units), lowered to the quota.
int cores_usable(void);
// `cores`, or the quota if that is less: rounded down, since a thread that waits for a throttled one waits long; at least 1.
int cores_lowered(int cores, double quota);

#endif
