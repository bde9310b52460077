// What of this machine the targets and paths use.
#include <stdlib.h>
#include <string.h>

#include "paths.h"

// What the targets of an architecture and their paths ask for.
static Features features_used(const char *architecture) {
    Features used = {""};
    for (int t = 0; targets[t]; t++) {
        for (int p = 0; p < PATH_COUNT && !strcmp(targets[t]->architecture, architecture); p++) {
            features_add(&used, targets[t]->requires);
            features_add(&used, path_requires(targets[t], (Path)p));
        }
    }
    return used;
}

void paths_capabilities(const Machine *machine, Features *used, Features *unused) {
    const Features asked = features_used(machine->architecture);
    *unused = features_missing(&asked, machine->capabilities.names);
    *used = features_missing(unused, machine->capabilities.names);
}

bool paths_able(const Machine *machine, const Target *target, Path path) {
    return !*features_missing(&machine->capabilities, path_requires(target, path)).names;
}

bool paths_legal(const Machine *machine, const Target *target, Path path, Format format, Compute compute) {
    return !path_rejection(target, path, format, compute) && paths_able(machine, target, path);
}

bool paths_in_class(const Machine *machine, const Target *target, Path path, Compute compute) {
    bool legal = false;
    for (int f = 0; f < FORMAT_COUNT; f++) {
        legal = legal || paths_legal(machine, target, path, (Format)f, compute);
    }
    return legal;
}

bool paths_possible(const Machine *machine, const Target *target, Path path) {
    bool possible = false;
    for (int c = 0; c < COMPUTE_COUNT; c++) {
        possible = possible || paths_in_class(machine, target, path, (Compute)c);
    }
    return possible;
}

// The fastest legal tile of a format and compute class, -1 if none.
int paths_winner(const Machine *machine, const Target *target, const Peaks *peaks, Format format, Compute compute) {
    int best = -1;
    for (int p = 0; p < PATH_COUNT; p++) {
        bool legal = paths_legal(machine, target, (Path)p, format, compute);
        if (legal && (best < 0 || peaks->tile_gflops[p] > peaks->tile_gflops[best])) {
            best = p;
        }
    }
    return best;
}
