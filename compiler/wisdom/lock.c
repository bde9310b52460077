// What writers of a wisdom file do to its folder: the lock, names, what is in the way.
//
// The lock is an advisory one (flock) on FILE.lock, which stays: removing it would let two writers lock two files. A writer that is
// killed leaves the old file or the new one, and the lock is released with the process.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "parts.h"

// A writer holds the lock for milliseconds; one that was stopped must not stop all others for ever.
enum { LOCK_SECONDS = 30, LOCK_PAUSE_MILLISECONDS = 5, SET_ASIDE_MOST = 1000 };

const char *wisdom_resolve(const char *path, char real[WISDOM_PATH_BYTES]) {
    _Static_assert((int)WISDOM_PATH_BYTES >= PATH_MAX, "realpath writes up to PATH_MAX bytes");
    return realpath(path, real) ? real : path;
}

int wisdom_lock(const char *path, Diagnostics *diagnostics) {
    char name[WISDOM_PATH_BYTES + 8];
    snprintf(name, sizeof name, "%s.lock", path);
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) {
        diagnostics_add(diagnostics, name, 0, 0, "cannot be created: %s", strerror(errno));
        return -1;
    }
    int left = LOCK_SECONDS * 1000 / LOCK_PAUSE_MILLISECONDS;
    while (flock(fd, LOCK_EX | LOCK_NB)) {
        bool busy = errno == EWOULDBLOCK || errno == EINTR;
        if (!busy || !left--) {
            diagnostics_add(diagnostics, name, 0, 0, "cannot be locked: %s", busy ? "another process holds it" : strerror(errno));
            close(fd);
            return -1;
        }
        nanosleep(&(struct timespec){0, LOCK_PAUSE_MILLISECONDS * 1000000L}, NULL);
    }
    return fd;
}

int wisdom_set_aside(const char *path, char aside[WISDOM_ASIDE_BYTES]) {
    for (int n = 1; n < SET_ASIDE_MOST; n++) {
        snprintf(aside, WISDOM_ASIDE_BYTES, "%s.damaged-%d", path, n);
        if (!renameat2(AT_FDCWD, path, AT_FDCWD, aside, RENAME_NOREPLACE)) {
            return 0;
        }
        if (errno != EEXIST) {
            return -1;
        }
    }
    return -1;
}
