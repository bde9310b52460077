// How many threads this process can run at once: its affinity mask and its cgroup's CPU quota (v2 and v1).
#ifndef CATENA_CORES_H
#define CATENA_CORES_H

// CPUs in the affinity mask, at least 1. Up to `capacity` of their numbers, ascending, go to `cpus` (may be NULL).
int cores_allowed(int *cpus, int capacity);

// CPUs' worth of time that the cgroup (or a parent) may use; 0: no limit.
double cores_quota(void);

// Threads to use: cores_allowed, lowered to the quota (rounded down, since a thread that waits for a throttled one waits long),
// at least 1.
int cores_usable(void);

#endif
