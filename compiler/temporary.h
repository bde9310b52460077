// Files and directories that exist only while something is being written. A signal that ends catena removes them first.
//
// runtime/file.c reports its temporary files here (file.h: temporary_create, temporary_end). In users' processes nobody listens:
// signals are none of a library's business.
#ifndef CATENA_TEMPORARY_H
#define CATENA_TEMPORARY_H

// From now on SIGINT, SIGTERM and SIGHUP remove what is there before they end the process as they would have; those that are
// ignored (nohup) stay ignored.
void temporary_handle_signals(void);

// mkdtemp. NULL with errno on failure.
char *temporary_directory(char *template);

// Removes a file, or a directory with all that is in it. Async-signal-safe.
void temporary_remove(const char *path);

#endif
