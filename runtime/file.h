// Files as the runtime needs them: mapped to read, or written completely or not at all.
#ifndef CATENA_FILE_H
#define CATENA_FILE_H

#include <stdbool.h>

#include "failure.h"

// A read-only mapping, or anonymous memory. Zero-initialised: nothing mapped.
typedef struct Mapping {
    void *data;
    size_t size;
} Mapping;

// Maps a regular file. An empty file gives data NULL and size 0. Another process must not truncate it while it is mapped.
Status file_map(const char *path, Mapping *out, const Failure *failure);
// Zeroed anonymous memory, page-aligned; huge: ask for huge pages, otherwise for none, whatever the system's habit is.
Status memory_map(size_t size, int huge, Mapping *out, const Failure *failure);
void mapping_free(Mapping *mapping);

// The folder that a path names something in; owned. NULL when out of memory.
char *file_folder(const char *path);

// The length of a folder's name without the slashes at its end: "%.*s/%s" joins it and a name by one slash.
int file_folder_length(const char *folder);

// Whether two paths mean one regular file, which need not be there yet. (Devices may be written to any number of times.)
bool file_same(const char *a, const char *b);

// Whether writing `output` would replace `source` itself, or one of the files of a checkpoint in the directory `source`.
bool file_replaces(const char *output, const char *source);

// Gives the file of the descriptor `unnamed` its first name, or, if that is -1, creates a file of mode 0666. The name must not be
// there yet. Returns the file's descriptor, or -1 with errno.
int file_name(const char *path, int unnamed);

// The same for a temporary name. temporary_end: it is renamed or removed.
// Here they do nothing else; catena itself has its own (compiler/base/temporary.c), which know the files when a signal comes.
int temporary_create(const char *path, int unnamed);
void temporary_end(const char *path);

// A file that is being written in the target's directory.
typedef struct Output {
    int fd;
    char *path;
    char *temporary;  // its name (unfinished.h); NULL: it has none until it is complete
} Output;

// An existing target must be a regular file, or a link to one (the link stays); it is untouched until output_commit. bytes: what
// will be written (reserved on the disk where the file system can, so that a full disk is noticed at once).
Status output_open(const char *path, int64_t bytes, Output *out, const Failure *failure);
Status output_write(Output *output, const void *data, int64_t bytes, int64_t offset, const Failure *failure);
// Flushes to the disk and renames. Whatever it returns, the output is closed; on failure the temporary file is gone.
Status output_commit(Output *output, const Failure *failure);
// Gives up: removes the temporary file.
void output_discard(Output *output);
// All of it at once.
Status file_write(const char *path, const void *data, int64_t bytes, const Failure *failure);

#endif
