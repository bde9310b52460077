// See temporary.h.
#define _GNU_SOURCE 1
#include "temporary.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../runtime/file.h"

// A signal handler is given no argument of ours, so this is the one table of the process. `used` is written last and read first.
enum { PLACES = 8, PATH_BYTES = 4096 };
static struct {
    char path[PATH_BYTES];
    volatile sig_atomic_t used;
} places[PLACES];

static const int handled[] = {SIGINT, SIGTERM, SIGHUP};
enum { HANDLED = sizeof handled / sizeof *handled };

static sigset_t handled_set(void) {
    sigset_t set;
    sigemptyset(&set);
    for (int i = 0; i < HANDLED; i++) {
        sigaddset(&set, handled[i]);
    }
    return set;
}

// --- removing ------------------------------------------------------------------------------------------------------

// getdents64, because opendir allocates memory, which a signal handler must not.
static void remove_within(int folder, const char *name) {
    _Alignas(struct dirent64) char entries[2048];
    if (!unlinkat(folder, name, 0) || errno == ENOENT) {
        return;
    }
    int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    for (ssize_t got; fd >= 0 && (got = getdents64(fd, entries, sizeof entries)) > 0;) {
        for (ssize_t at = 0; at < got;) {
            const struct dirent64 *entry = (const void *)(entries + at);
            if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) {
                remove_within(fd, entry->d_name);
            }
            at += entry->d_reclen;
        }
    }
    if (fd >= 0) {
        close(fd);
        unlinkat(folder, name, AT_REMOVEDIR);
    }
}

void temporary_end(const char *path) {
    for (int i = 0; i < PLACES; i++) {
        if (places[i].used && !strcmp(places[i].path, path)) {
            places[i].used = 0;
        }
    }
}

void temporary_remove(const char *path) {
    remove_within(AT_FDCWD, path);
    temporary_end(path);
}

// --- signals -------------------------------------------------------------------------------------------------------

// The linker may be writing still; it takes some hundredths of a second.
static void remove_all(int number) {
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) {
    }
    for (int i = 0; i < PLACES; i++) {
        if (places[i].used) {
            remove_within(AT_FDCWD, places[i].path);
        }
    }
    raise(number);  // SA_RESETHAND: its usual effect, once this handler returns
}

void temporary_handle_signals(void) {
    const struct sigaction action = {.sa_handler = remove_all, .sa_mask = handled_set(), .sa_flags = (int)SA_RESETHAND};
    for (int i = 0; i < HANDLED; i++) {
        struct sigaction before;
        if (!sigaction(handled[i], NULL, &before) && before.sa_handler != SIG_IGN) {
            sigaction(handled[i], &action, NULL);
        }
    }
}

// --- creating: with signals held back, so that none comes between a file and its entry -------------------------------

static void enter(const char *path) {
    size_t bytes = strlen(path) + 1;
    for (int i = 0; i < PLACES && bytes <= PATH_BYTES; i++) {
        if (!places[i].used) {
            memcpy(places[i].path, path, bytes);
            places[i].used = 1;
            return;
        }
    }
}

int temporary_create(const char *path) {
    sigset_t held = handled_set(), before;
    sigprocmask(SIG_BLOCK, &held, &before);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0) {
        enter(path);
    }
    int reason = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    errno = reason;
    return fd;
}

char *temporary_directory(char *template) {
    sigset_t held = handled_set(), before;
    sigprocmask(SIG_BLOCK, &held, &before);
    char *made = mkdtemp(template);
    if (made) {
        enter(made);
    }
    int reason = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    errno = reason;
    return made;
}
