// Names of what is not finished, STEM.<process>-<time>-<number>.unfinished, and what processes that ended left under such names.
// The maker of a file or folder holds a lock on it (flock) until it has another name or is gone. The system gives the lock back
// when the process ends, whatever ends it. So neither age nor a process's number is guessed from.
#ifndef CATENA_UNFINISHED_H
#define CATENA_UNFINISHED_H

#include <stdbool.h>

// A name for the attempt-th try; owned. NULL when out of memory.
char *unfinished_name(const char *stem, unsigned attempt);

// Takes the lock on what was just made under a name. False: another process held it and has removed it, make another. Where the
// file system has no locks, nothing is locked, and nobody can remove it.
bool unfinished_lock(int fd, const char *name);

// Removes what ended processes left under names of this stem: files, and what `remove_folder` (NULL: nothing) makes of a folder.
// Another user's, and what cannot be locked, stays.
void unfinished_sweep(const char *stem, void (*remove_folder)(const char *path));

#endif
