// Which instruction paths a machine may run for a format and a compute class.
#ifndef CATENA_PATHS_H
#define CATENA_PATHS_H

#include "compiler/machine/machine.h"
#include "compiler/machine/peaks.h"
#include "targets/target.h"

// Whether a path may run on this machine for weights of a format in a compute class.
bool paths_legal(const Machine *machine, const Target *target, Path path, Format format, Compute compute);
// The same for some format in a compute class.
bool paths_in_class(const Machine *machine, const Target *target, Path path, Compute compute);
// The same for some format in some compute class.
bool paths_possible(const Machine *machine, const Target *target, Path path);
// Whether the machine has what a path needs beside the target's features.
bool paths_able(const Machine *machine, const Target *target, Path path);
// The machine's capabilities: those that some path of its architecture uses, and the others.
void paths_capabilities(const Machine *machine, Features *used, Features *unused);
// The legal path with the fastest tile; -1: none.
int paths_winner(const Machine *machine, const Target *target, const Peaks *peaks, Format format, Compute compute);

#endif
