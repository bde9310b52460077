// See unfinished.h.
#define _GNU_SOURCE 1
#include "unfinished.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "file.h"

static const char ending[] = ".unfinished";

char *unfinished_name(const char *stem, unsigned attempt) {
    struct timespec now;
    char *name = NULL;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int length = asprintf(&name, "%s.%ld-%lx%lx-%u%s", stem, (long)getpid(), (unsigned long)now.tv_sec, (unsigned long)now.tv_nsec,
                          attempt, ending);
    return length < 0 ? NULL : name;
}

static bool still_named(int fd, const char *name) {
    struct stat open_one, named;
    return !fstat(fd, &open_one) && !lstat(name, &named) && open_one.st_dev == named.st_dev && open_one.st_ino == named.st_ino;
}

bool unfinished_lock(int fd, const char *name) {
    while (flock(fd, LOCK_EX) && errno == EINTR) {
    }
    return still_named(fd, name);
}

// Whether a name is `base`, a dot, one word without dots, and the ending.
static bool is_unfinished(const char *name, const char *base) {
    size_t length = strlen(base), whole = strlen(name), last = sizeof ending - 1;
    return whole > length + 1 + last && !strncmp(name, base, length) && name[length] == '.' &&
           !strcmp(name + whole - last, ending) && strspn(name + length + 1, "0123456789abcdef-") == whole - length - 1 - last;
}

// Removes one, if nobody holds it.
static void sweep_one(const char *path, void (*remove_folder)(const char *path)) {
    struct stat facts;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0 && !fstat(fd, &facts) && facts.st_uid == geteuid() && !flock(fd, LOCK_EX | LOCK_NB) && still_named(fd, path)) {
        if (S_ISREG(facts.st_mode)) {
            unlink(path);
        } else if (S_ISDIR(facts.st_mode) && remove_folder) {
            remove_folder(path);
        }
    }
    if (fd >= 0) {
        close(fd);
    }
}

void unfinished_sweep(const char *stem, void (*remove_folder)(const char *path)) {
    const char *slash = strrchr(stem, '/'), *base = slash ? slash + 1 : stem;
    char *folder = file_folder(stem);
    DIR *directory = folder ? opendir(folder) : NULL;
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        char *path = NULL;
        if (is_unfinished(entry->d_name, base) && asprintf(&path, "%s/%s", folder, entry->d_name) >= 0) {
            sweep_one(path, remove_folder);
            free(path);
        }
    }
    if (directory) {
        closedir(directory);
    }
    free(folder);
}
