// Mapping files and writing them atomically: temporary name, fsync, rename, fsync of the directory.
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "unfinished.h"

Status file_map(const char *path, Mapping *out, const Failure *failure) {
    *out = (Mapping){NULL, 0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // NONBLOCK: a FIFO must not hang us
    if (fd < 0) {
        return failure_system(failure, LIBRARY_IO_ERROR, "cannot open '%s'", path);
    }
    Status status = LIBRARY_OK;
    struct stat facts;
    if (fstat(fd, &facts)) {
        status = failure_system(failure, LIBRARY_IO_ERROR, "cannot examine '%s'", path);
    } else if (!S_ISREG(facts.st_mode)) {
        status = failure_set(failure, LIBRARY_IO_ERROR, "'%s' is not a regular file", path);
    } else if (facts.st_size > 0) {
        void *data = mmap(NULL, (size_t)facts.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED) {
            status = failure_system(failure, LIBRARY_IO_ERROR, "cannot map '%s'", path);
        } else {
            *out = (Mapping){data, (size_t)facts.st_size};
        }
    }
    close(fd);
    return status;
}

Status memory_map(size_t size, int huge, Mapping *out, const Failure *failure) {
    *out = (Mapping){NULL, 0};
    void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) {
        return failure_set(failure, LIBRARY_OUT_OF_MEMORY, "cannot get %zu bytes of memory", size);
    }
    madvise(data, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);  // a wish; a kernel without them goes on with small pages
    *out = (Mapping){data, size};
    return LIBRARY_OK;
}

void mapping_free(Mapping *mapping) {
    if (mapping->data) {
        munmap(mapping->data, mapping->size);
    }
    *mapping = (Mapping){NULL, 0};
}

static void output_release(Output *output) {
    if (output->fd >= 0) {
        close(output->fd);
    }
    if (output->temporary) {
        temporary_end(output->temporary);
    }
    free(output->path);
    free(output->temporary);
    *output = (Output){-1, NULL, NULL};
}

// By which a file without a name gets one.
static void descriptor_path(int fd, char path[32]) {
    snprintf(path, 32, "/proc/self/fd/%d", fd);
}

int file_name(const char *path, int unnamed) {
    char source[32];
    if (unnamed < 0) {
        return open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    }
    descriptor_path(unnamed, source);
    return linkat(AT_FDCWD, source, AT_FDCWD, path, AT_SYMLINK_FOLLOW) ? -1 : unnamed;
}

// What a program replaces that takes its temporary files away when a signal ends it.
__attribute__((weak)) int temporary_create(const char *path, int unnamed) {
    return file_name(path, unnamed);
}

__attribute__((weak)) void temporary_end(const char *path) {
    (void)path;
}

// A file without a name goes when its process ends, whatever ends it. False where the file system has none, or where /proc is not
// mounted.
static bool create_unnamed(Output *output) {
    char *folder = file_folder(output->path), path[32];
    output->fd = folder ? open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0666) : -1;
    free(folder);
    descriptor_path(output->fd, path);
    if (output->fd >= 0 && access(path, F_OK)) {
        close(output->fd);
        output->fd = -1;
    }
    return output->fd >= 0;
}

// A fresh name beside the target, for a new file or for the one that has none. Not mkstemp: that would make a private file instead
// of following the umask.
static Status create_temporary(Output *output, const Failure *failure) {
    int unnamed = output->fd;
    for (unsigned attempt = 0; attempt < 100; attempt++) {
        output->temporary = unfinished_name(output->path, attempt);
        if (!output->temporary) {
            return failure_set(failure, LIBRARY_OUT_OF_MEMORY, "out of memory");
        }
        int fd = temporary_create(output->temporary, unnamed), reason = errno;
        if (fd >= 0 && unfinished_lock(fd, output->temporary)) {
            output->fd = fd;
            return LIBRARY_OK;
        }
        if (fd >= 0) {
            temporary_end(output->temporary);
        }
        if (fd >= 0 && fd != unnamed) {
            close(fd);
        }
        free(output->temporary);
        output->temporary = NULL;
        errno = reason;
        if (fd < 0 && reason != EEXIST) {
            break;
        }
    }
    return failure_system(failure, LIBRARY_IO_ERROR, "cannot create '%s'", output->path);
}

// Where a path leads: a link stays a link, and what it names is replaced. NULL with errno.
static char *follow(const char *path) {
    struct stat facts;
    return !lstat(path, &facts) && S_ISLNK(facts.st_mode) ? realpath(path, NULL) : strdup(path);
}

Status output_open(const char *path, int64_t bytes, Output *out, const Failure *failure) {
    *out = (Output){-1, NULL, NULL};
    struct stat facts;
    size_t length = strlen(path);
    if (!length || path[length - 1] == '/') {
        return failure_set(failure, LIBRARY_IO_ERROR, "'%s' is not the name of a file", path);
    }
    if (!stat(path, &facts) && !S_ISREG(facts.st_mode)) {
        return failure_set(failure, LIBRARY_IO_ERROR, "'%s' exists and is not a regular file", path);
    }
    out->path = follow(path);
    if (!out->path) {
        return failure_system(failure, LIBRARY_IO_ERROR, "cannot create '%s'", path);
    }
    unfinished_sweep(out->path, NULL);
    Status status = create_unnamed(out) ? LIBRARY_OK : create_temporary(out, failure);
    if (status != LIBRARY_OK) {
        output_release(out);
        return status;
    }
    // fallocate, not posix_fallocate: that would write zeros where the file system cannot reserve
    if (bytes > 0 && fallocate(out->fd, 0, 0, bytes) && errno != EOPNOTSUPP && errno != ENOSYS && errno != EINTR) {
        status = failure_system(failure, LIBRARY_IO_ERROR, "cannot reserve %lld bytes for '%s'", (long long)bytes, path);
        output_discard(out);
    }
    return status;
}

Status output_write(Output *output, const void *data, int64_t bytes, int64_t offset, const Failure *failure) {
    const uint8_t *next = data;
    while (bytes > 0) {
        ssize_t written = pwrite(output->fd, next, (size_t)bytes, offset);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            errno = written ? errno : ENOSPC;
            return failure_system(failure, LIBRARY_IO_ERROR, "cannot write '%s'", output->path);
        }
        next += written;
        bytes -= written;
        offset += written;
    }
    return LIBRARY_OK;
}

// Makes the rename itself durable; failing to is no reason to report failure, the file is complete either way.
static void sync_directory(const char *path) {
    char *directory = file_folder(path);
    int fd = directory ? open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(directory);
}

// A file without a name gets a temporary one first: only a rename replaces what is there.
Status output_commit(Output *output, const Failure *failure) {
    Status status = LIBRARY_OK;
    if (fsync(output->fd)) {
        status = failure_system(failure, LIBRARY_IO_ERROR, "cannot write '%s'", output->path);
    } else if (!output->temporary) {
        status = create_temporary(output, failure);
    }
    if (status == LIBRARY_OK && rename(output->temporary, output->path)) {
        status = failure_system(failure, LIBRARY_IO_ERROR, "cannot create '%s'", output->path);
    }
    if (status != LIBRARY_OK) {
        output_discard(output);
        return status;
    }
    sync_directory(output->path);
    output_release(output);
    return LIBRARY_OK;
}

void output_discard(Output *output) {
    if (output->temporary) {
        unlink(output->temporary);
    }
    output_release(output);
}

Status file_write(const char *path, const void *data, int64_t bytes, const Failure *failure) {
    Output output;
    Status status = output_open(path, bytes, &output, failure);
    if (status != LIBRARY_OK) {
        return status;
    }
    status = output_write(&output, data, bytes, 0, failure);
    if (status != LIBRARY_OK) {
        output_discard(&output);
        return status;
    }
    return output_commit(&output, failure);
}

char *file_folder(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
}

int file_folder_length(const char *folder) {
    size_t length = strlen(folder);
    while (length && folder[length - 1] == '/') {
        length--;
    }
    return (int)length;
}

static bool folder_of(const char *path, struct stat *facts) {
    char *folder = file_folder(path);
    bool found = folder && !stat(folder, facts);
    free(folder);
    return found;
}

static bool same_inode(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

bool file_same(const char *a, const char *b) {
    struct stat of_a, of_b;
    if (!stat(a, &of_a) && !stat(b, &of_b)) {
        return same_inode(&of_a, &of_b) && S_ISREG(of_a.st_mode);
    }
    const char *name_a = strrchr(a, '/'), *name_b = strrchr(b, '/');
    return !strcmp(name_a ? name_a + 1 : a, name_b ? name_b + 1 : b) && folder_of(a, &of_a) && folder_of(b, &of_b) &&
           same_inode(&of_a, &of_b);
}

bool file_replaces(const char *output, const char *source) {
    struct stat to, from, parent;
    if (stat(output, &to) || stat(source, &from)) {
        return false;
    }
    char *followed = follow(output);
    const char *name = followed ? followed : output, *ending = strrchr(name, '.');
    bool of_checkpoint = ending && (!strcmp(ending, ".safetensors") || !strcmp(ending, ".json"));
    bool replaces = same_inode(&to, &from) ||
                    (S_ISDIR(from.st_mode) && of_checkpoint && folder_of(name, &parent) && same_inode(&parent, &from));
    free(followed);
    return replaces;
}
