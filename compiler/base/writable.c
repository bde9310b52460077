// See writable.h.
#define _GNU_SOURCE 1
#include "writable.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/file.h"

Status writable_file(const char *path, int64_t bytes, const Failure *failure) {
    Output output;
    Status status = output_open(path, bytes, &output, failure);
    if (status == LIBRARY_OK) {
        output_discard(&output);
    }
    return status;
}

// A name that is there may be a folder even where mkdir was refused: the parent of a home need not be writable.
static Status make_one(const char *path, mode_t mode, bool *made, const Failure *failure) {
    struct stat facts;
    *made = !mkdir(path, mode);
    int reason = errno;
    bool there = *made || !stat(path, &facts);
    if (*made || (there && S_ISDIR(facts.st_mode))) {
        return LIBRARY_OK;
    }
    if (there) {
        return failure_set(failure, LIBRARY_IO_ERROR, "'%s' is a file where a folder is needed", path);
    }
    errno = reason;
    return failure_system(failure, LIBRARY_IO_ERROR, "cannot create the folder '%s'", path);
}

// Whether a part of a path ends here: before a slash, or at the end.
static bool ends_part(const char *path, size_t length) {
    return length && path[length - 1] != '/' && (!path[length] || path[length] == '/');
}

Status writable_folder(const char *path, mode_t mode, size_t *made, const Failure *failure) {
    char *part = strdup(path);
    size_t first = 0;
    Status status = part ? LIBRARY_OK : failure_set(failure, LIBRARY_OUT_OF_MEMORY, "out of memory");
    for (size_t length = 1; status == LIBRARY_OK && *path && length <= strlen(path); length++) {
        if (ends_part(path, length)) {
            bool new = false;
            part[length] = 0;
            status = make_one(part, mode, &new, failure);
            part[length] = path[length];
            first = new && !first ? length : first;
        }
    }
    free(part);
    if (status != LIBRARY_OK) {
        writable_forget(path, first);
    }
    if (made) {
        *made = status == LIBRARY_OK ? first : 0;
    }
    return status;
}

Status writable_folder_of(const char *file, mode_t mode, const Failure *failure) {
    const char *slash = strrchr(file, '/');
    char *folder = strndup(file, slash ? (size_t)(slash - file) : 0);
    Status status =
        folder ? writable_folder(folder, mode, NULL, failure) : failure_set(failure, LIBRARY_OUT_OF_MEMORY, "out of memory");
    free(folder);
    return status;
}

void writable_forget(const char *path, size_t made) {
    char *part = made ? strdup(path) : NULL;
    for (size_t length = part ? strlen(path) : 0; length && length >= made; length--) {
        if (ends_part(path, length)) {
            part[length] = 0;
            rmdir(part);
        }
    }
    free(part);
}
