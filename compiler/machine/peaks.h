// Rates of a machine's instruction paths, and the file that remembers them.
#ifndef CATENA_PEAKS_H
#define CATENA_PEAKS_H

#include "compiler/base/diagnostic.h"
#include "compiler/machine/machine.h"
#include "templates/plan.h"

enum { PEAKS_PATH_BYTES = 512, PEAKS_NOTE_BYTES = 256 };

typedef struct Peaks {
    double gflops[PATH_COUNT];       // operands in registers, `threads` threads; 0: impossible here
    double tile_gflops[PATH_COUNT];  // a tile with its operands in cache, one thread: what paths are chosen by; 0: impossible
    char note[PEAKS_NOTE_BYTES];     // a message for the user (cache damaged or not writable, machine disturbed); "": none
} Peaks;

// False if some path of several threads has a peak below 0.9 of ONE thread's tile, which no sharing of caches, clocks or units
// explains; then `reason` names it. (A share of threads x tile would condemn machines whose threads share cores or clocks, and
// more threads than cores.)
bool peaks_plausible(const Peaks *peaks, int threads, char reason[PEAKS_NOTE_BYTES]);

// Raises every rate of `peaks` that is higher in `other`.
void peaks_raise(Peaks *peaks, const Peaks *other);

// Remembers what was measured, if it is plausible; of a plausible entry already there each path's higher rate stays. A failure is
// a note.
void peaks_keep(const Machine *machine, const char *target, int threads, Peaks *peaks);

// Where the peaks of a machine are kept: XDG_CACHE_HOME or ~/.cache, then catena/peaks-FINGERPRINT.json. Returns 0, or -1 if
// there is no home or the name is too long.
int peaks_path(const Machine *machine, char path[PEAKS_PATH_BYTES]);

// Reads an entry of the cache. Returns 0; 1: the file has no such entry, or there is no file; -1 with a note: the file is damaged.
int peaks_load(const char *path, const char *target, int threads, Peaks *peaks);
// Writes an entry into the cache. Returns 0, or -1 with a note.
int peaks_save(const char *path, const char *target, int threads, Peaks *peaks);

#endif
