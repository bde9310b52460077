// Files and directories that exist only while something is being written. A signal that ends catena removes them first.
//
// runtime/file.c reports its temporary files here (file.h: temporary_create, temporary_end). In users' processes nobody listens:
// signals are none of a library's business.
#ifndef CATENA_TEMPORARY_H
#define CATENA_TEMPORARY_H

#include <signal.h>
#include <sys/types.h>

// From now on SIGINT, SIGTERM and SIGHUP remove what is there before they end the process as they would have; those that are
// ignored (nohup) stay ignored.
void temporary_handle_signals(void);

// mkdtemp. NULL with errno on failure.
char *temporary_directory(char *template);

// A file that belongs to another one, which is not there yet: it goes too, unless temporary_end (runtime/file.h) is told that it
// stays.
void temporary_enter(const char *path);

// Removes a file, or a directory with all that is in it. Async-signal-safe.
void temporary_remove(const char *path);

// Signals wait between these two, for what must happen as a whole. before: what was held until now.
void temporary_hold_signals(sigset_t *before);
void temporary_release_signals(const sigset_t *before);

// A child that writes into a temporary directory; it is ended before the directory is removed. 0: none any more.
void temporary_writer(pid_t child);

#endif
