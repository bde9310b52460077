// Sets of CPU features, by their names (cpu.h). Names are compared as a whole: "avx512vbmi" is not in {avx512vbmi2}.
#ifndef CATENA_FEATURES_H
#define CATENA_FEATURES_H

#include <stdbool.h>
#include <stddef.h>

enum { FEATURES_BYTES = 512 };

// Each name once, in the order in which they were added, one space between two: as users see a set. All zero: the empty set.
typedef struct Features {
    char names[FEATURES_BYTES];
} Features;

// The next name of a space-separated list, and its length; moves *list behind it. NULL: there is none.
const char *features_next(const char **list, size_t *length);

bool features_has(const Features *set, const char *name);

// Adds the names of a space-separated list. Returns whether all of them had room.
bool features_add(Features *set, const char *list);

// Those names of a space-separated list that a set lacks.
Features features_missing(const Features *set, const char *list);

#endif
