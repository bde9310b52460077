// The threads of a forward: an OpenMP team, with the floating-point environment that results are promised for.
#ifndef CATENA_TEAM_H
#define CATENA_TEAM_H

#include "instance.h"

// Runs the layer's forward on the instance's team and returns when every thread is done. One thread: a plain call, no OpenMP.
void team_run(Library *library, LayerForward *forward, Call *call);

// Gives the calling thread the floating-point environment that results are defined in (rounding to nearest, denormals kept,
// exceptions masked) and returns what it had, which is to be given back.
uint64_t team_float_begin(void);
void team_float_end(uint64_t state);

#endif
