// Which instruction path a layer's experts take, decided by racing whole layers: a path changes bits, so it is asked for
// (`--bits free`), and it comes before the search, whose knobs are a path's own.
#ifndef CATENA_TUNE_PATHS_H
#define CATENA_TUNE_PATHS_H

#include "pool.h"

// Races the default plans of all paths that are legal for the layer and that this machine has. Returns the one to go on with: the
// pool's standard unless another is faster beyond the noise. `budget`: seconds at most.
PathVerdict tune_paths_race(TunePool *pool, double budget);

#endif
