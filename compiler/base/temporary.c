// See temporary.h.
#define _GNU_SOURCE 1
#include "temporary.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/file.h"
#include "runtime/unfinished.h"

// A signal handler is given no argument of ours, so this is the one table of the process. `used` is written last and read first.
enum { PLACES = 8, PATH_BYTES = 4096 };
static struct {
    char path[PATH_BYTES];
    int lock;  // a folder's descriptor; -1: the file's own one has the lock
    volatile sig_atomic_t used;
} places[PLACES];

static volatile sig_atomic_t writer;  // process id, or 0

static const int handled[] = {SIGINT,    SIGTERM, SIGHUP,  SIGQUIT, SIGPIPE, SIGALRM,
                              SIGVTALRM, SIGPROF, SIGXCPU, SIGXFSZ, SIGUSR1, SIGUSR2};
enum { HANDLED = sizeof handled / sizeof *handled };

static sigset_t handled_set(void) {
    sigset_t set;
    sigemptyset(&set);
    for (int i = 0; i < HANDLED; i++) {
        sigaddset(&set, handled[i]);
    }
    return set;
}

// --- removing ----------------------------------------------------------------------------------------------------------------

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
            if (places[i].lock >= 0) {
                close(places[i].lock);
            }
        }
    }
}

void temporary_remove(const char *path) {
    remove_within(AT_FDCWD, path);
    temporary_end(path);
}

// --- signals -----------------------------------------------------------------------------------------------------------------

// Signals may come to any thread, and OpenMP's workers hold none back: only the main thread, which creates the files, does not do
// so while this runs.
static void remove_all(int number) {
    int reason = errno;
    if (gettid() != getpid()) {
        tgkill(getpid(), getpid(), number);
        errno = reason;
        return;
    }
    if (writer && !kill(writer, SIGKILL)) {
        while (waitpid(writer, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    for (int i = 0; i < PLACES; i++) {
        if (places[i].used) {
            remove_within(AT_FDCWD, places[i].path);
        }
    }
    signal(number, SIG_DFL);
    raise(number);  // its usual effect, once this handler returns
}

void temporary_handle_signals(void) {
    const struct sigaction action = {.sa_handler = remove_all, .sa_mask = handled_set()};
    for (int i = 0; i < HANDLED; i++) {
        struct sigaction before;
        if (!sigaction(handled[i], NULL, &before) && before.sa_handler != SIG_IGN) {
            sigaction(handled[i], &action, NULL);
        }
    }
}

void temporary_hold_signals(sigset_t *before) {
    const sigset_t held = handled_set();
    pthread_sigmask(SIG_BLOCK, &held, before);
}

void temporary_release_signals(const sigset_t *before) {
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

void temporary_writer(pid_t child) {
    writer = child;
}

// --- creating: with signals held back, so that none comes between a file and its entry ---------------------------------------

static void enter(const char *path, int lock) {
    size_t bytes = strlen(path) + 1;
    for (int i = 0; i < PLACES && bytes <= PATH_BYTES; i++) {
        if (!places[i].used) {
            memcpy(places[i].path, path, bytes);
            places[i].lock = lock;
            places[i].used = 1;
            return;
        }
    }
}

void temporary_enter(const char *path) {
    enter(path, -1);
}

int temporary_create(const char *path, int unnamed) {
    sigset_t before;
    temporary_hold_signals(&before);
    int fd = file_name(path, unnamed);
    if (fd >= 0) {
        temporary_enter(path);
    }
    int reason = errno;
    temporary_release_signals(&before);
    errno = reason;
    return fd;
}

// Makes a folder and takes its lock, which lasts as long as the descriptor. Returns that, or -1 with errno.
static int make_locked(const char *path) {
    if (mkdir(path, 0700)) {
        return -1;
    }
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && unfinished_lock(fd, path)) {
        return fd;
    }
    int reason = fd < 0 ? errno : EEXIST;  // another process took it for one that was left
    if (fd >= 0) {
        close(fd);
    }
    rmdir(path);
    errno = reason;
    return -1;
}

char *temporary_directory(const char *stem) {
    enum { ATTEMPTS = 100 };
    sigset_t before;
    char *path = NULL;
    int fd = -1;
    unfinished_sweep(stem, temporary_remove);
    temporary_hold_signals(&before);
    for (unsigned attempt = 0; fd < 0 && attempt < ATTEMPTS; attempt++) {
        free(path);
        path = unfinished_name(stem, attempt);
        fd = path ? make_locked(path) : -1;
        if (fd < 0 && (!path || errno != EEXIST)) {
            break;
        }
    }
    int reason = errno;
    if (fd < 0) {
        free(path);
        path = NULL;
    } else {
        enter(path, fd);
    }
    temporary_release_signals(&before);
    errno = reason;
    return path;
}
