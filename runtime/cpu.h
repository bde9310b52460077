// Which CPU features are there, as far as the operating system lets us use them. Works on any CPU of the architecture: nothing
// here is compiled for more than the baseline, and cpuid is asked directly (libgcc's table would be one more thing to link).
#ifndef CATENA_CPU_H
#define CATENA_CPU_H

#include <stdbool.h>
#include <stddef.h>

// The features that are known on this architecture, from index 0 on; NULL behind the last.
const char *cpu_feature_name(int index);

// For features of tile registers (amx_...) this asks the system for the process's permission to use them; without it they are
// absent. 1: present, 0: absent, -1: no feature of that name is known on this architecture.
int cpu_has(const char *feature);

// Collects those of the space-separated features that this CPU lacks (or that are unknown) as "avx512f, avx512bw".
// Returns whether there are any.
bool cpu_missing(const char *features, char *missing, size_t size);

#endif
