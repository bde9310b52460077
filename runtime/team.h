// The threads of a forward: an OpenMP team, with the floating-point environment that results are promised for.
#ifndef CATENA_TEAM_H
#define CATENA_TEAM_H

#include "instance.h"

// Runs the forward of a kind of layers on the instance's team, or on as many of its threads as that kind's plan says, and returns
// when every thread is done. One thread: a plain call, no OpenMP.
void team_run(Library *library, int64_t kind, Call *call);

// Gives the calling thread the floating-point environment that results are defined in (rounding to nearest, denormals kept,
// exceptions masked) and returns what it had, which is to be given back.
uint64_t team_float_begin(void);
void team_float_end(uint64_t state);

#endif
