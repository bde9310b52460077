// Files and directories that exist only while something is being written. A signal that ends catena removes them first.
//
// runtime/file.c reports its temporary files here (file.h: temporary_create, temporary_end). In users' processes those functions do
// nothing else, because a library does not handle signals.
#ifndef CATENA_TEMPORARY_H
#define CATENA_TEMPORARY_H

#include <signal.h>
#include <sys/types.h>

// From now on the signals that end a process, but for those of crashes, remove what is there first; those that are ignored (nohup)
// stay ignored. What SIGKILL and crashes leave, a later run removes.
void temporary_handle_signals(void);

// Makes a folder of mode 0700 under a name that begins with `stem` (runtime/unfinished.h), and removes what ended processes left
// under such names. Returns its path, owned, or NULL with errno. To end with temporary_remove.
char *temporary_directory(const char *stem);

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
