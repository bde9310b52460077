// Places that will be written to, tried before the work whose result they are for. The code that will write is what tries them.
#ifndef CATENA_WRITABLE_H
#define CATENA_WRITABLE_H

#include <sys/types.h>

#include "runtime/failure.h"

// Whether a file of so many bytes can be written at `path`: makes its temporary file (runtime/file.h) and removes it.
Status writable_file(const char *path, int64_t bytes, const Failure *failure);

// Makes a folder, and its parents, where they are missing. The failure names the folder that cannot be made, and why. made: the
// length of the part of `path` that names the first new folder, 0 where none is new; for writable_forget. May be NULL.
Status writable_folder(const char *path, mode_t mode, size_t *made, const Failure *failure);
// The same for the folder of a file.
Status writable_folder_of(const char *file, mode_t mode, const Failure *failure);
// Removes the folders that writable_folder has made and that are empty.
void writable_forget(const char *path, size_t made);

#endif
