// Rates of this machine's instruction paths, measured once per machine and remembered.
#ifndef CATENA_PEAKS_H
#define CATENA_PEAKS_H

#include "../templates/plan.h"
#include "diagnostic.h"
#include "machine.h"

enum { PEAKS_PATH_BYTES = 512, PEAKS_NOTE_BYTES = 256 };

typedef struct Peaks {
    double gflops[PATH_COUNT];       // operands in registers, `threads` threads; 0: impossible here
    double tile_gflops[PATH_COUNT];  // a tile with its operands in cache, one thread: what paths are chosen by; 0: impossible
    char note[PEAKS_NOTE_BYTES];     // a word to the user about the cache (damaged, cannot be written); "": none
} Peaks;

// Looks the peaks up in the cache of this machine, or measures them (a few hundred milliseconds) and remembers them.
// A cache file that is damaged or cannot be written is a note, not an error. Returns 0, or -1 with diagnostics.
int peaks_get(const Machine *machine, const char *target, int threads, Peaks *peaks, Diagnostics *diagnostics);

// Measures all, cache or no cache.
int peaks_measure(const char *target, int threads, Peaks *peaks, Diagnostics *diagnostics);

// Where the peaks of a machine are kept: XDG_CACHE_HOME or ~/.cache, then catena/peaks-FINGERPRINT.json. Returns 0, or -1 if
// there is no home or the name is too long.
int peaks_path(const Machine *machine, char path[PEAKS_PATH_BYTES]);

// The cache alone. peaks_load: 1 if the file has no such entry (or there is no file), -1 with a note if the file is damaged.
int peaks_load(const char *path, const char *target, int threads, Peaks *peaks);
int peaks_save(const char *path, const char *target, int threads, Peaks *peaks);

#endif
