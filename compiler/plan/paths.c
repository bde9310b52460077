// What of this machine the targets and paths use.
#include <stdlib.h>
#include <string.h>

#include "paths.h"

// Whether some path of some target of this architecture asks for a capability.
static bool capability_used(const Machine *machine, const char *name) {
    char padded[600], word[64];
    snprintf(word, sizeof word, " %s ", name);
    for (int t = 0; targets[t]; t++) {
        if (strcmp(targets[t]->architecture, machine->architecture)) {
            continue;
        }
        for (int p = 0; p < PATH_COUNT; p++) {
            snprintf(padded, sizeof padded, " %s %s ", targets[t]->requires, path_requires(targets[t], (Path)p));
            if (strstr(padded, word)) {
                return true;
            }
        }
    }
    return false;
}

// Capabilities that are used (or not) by any path, as one text.
void paths_capabilities(const Machine *machine, bool used, char out[MACHINE_CAPABILITIES_BYTES]) {
    char names[MACHINE_CAPABILITIES_BYTES], *rest = NULL;
    memcpy(names, machine->capabilities, sizeof names);
    out[0] = 0;
    for (char *name = strtok_r(names, " ", &rest); name; name = strtok_r(NULL, " ", &rest)) {
        if (capability_used(machine, name) == used) {
            size_t length = strlen(out);
            snprintf(out + length, MACHINE_CAPABILITIES_BYTES - length, "%s%s", length ? " " : "", name);
        }
    }
}

bool paths_legal(const Machine *machine, const Target *target, Path path, Format format, Compute compute) {
    char missing[256];
    if (path_rejection(target, path, format, compute)) {
        return false;
    }
    return machine_has_all(machine, path_requires(target, path), missing, sizeof missing);
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
