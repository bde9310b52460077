// Files and directories that exist only while something is being written. A signal that ends catena removes them first.
//
// runtime/file.c reports its temporary files here (file.h: temporary_create, temporary_end). In users' processes those functions do
// nothing else, because a library does not handle signals.
#ifndef CATENA_TEMPORARY_H
#define CATENA_TEMPORARY_H

#include <signal.h>
#include <sys/types.h>

// From now on SIGINT, SIGTERM and SIGHUP remove what is there before they end the process as they would have; those that are
// ignored (nohup) stay ignored.
void temporary_handle_signals(void);

// Makes a directory as mkdtemp does. Returns `template`, or NULL with errno.
char *temporary_directory(char *template);

// Adds a finished file to those that a signal removes, because another file that belongs to it is not written yet. temporary_end
// (runtime/file.h) takes it out again.
void temporary_enter(const char *path);

// Removes a file, or a directory with all that is in it. Async-signal-safe.
void temporary_remove(const char *path);

// Signals wait between these two, for what must happen as a whole. before: what was held until now.
void temporary_hold_signals(sigset_t *before);
void temporary_release_signals(const sigset_t *before);

// Names the child process that writes into a temporary directory: it is ended before the directory is removed. 0: there is none.
void temporary_writer(pid_t child);

#endif
