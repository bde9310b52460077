// The machine that is planned for: this one, or another one that is described (--topology).
#ifndef CATENA_SITE_H
#define CATENA_SITE_H

#include <stdbool.h>

#include "compiler/base/diagnostic.h"
#include "machine.h"
#include "targets/target.h"

typedef struct Site {
    Machine host, machine;
    bool elsewhere;  // machine is not this one: nothing can be measured for it
} Site;

// topology: as machine_read takes it; NULL: this machine. Returns 0, or -1 with diagnostics.
int site_open(Site *site, const char *topology, Diagnostics *diagnostics);

// The target of that name. NULL or "host": this machine's best; but where the topology names another architecture than this
// machine's, that architecture's simplest. Returns NULL with diagnostics if there is no such target.
const Target *site_target(const Site *site, const char *name, Diagnostics *diagnostics);

// The target of that name ("host" or NULL: the best that the machine runs). Returns NULL with diagnostics if there is none.
const Target *site_target_find(const char *name, const Machine *machine, Diagnostics *diagnostics);
// Whether a machine runs a target's code. missing (may be NULL) receives the features that the machine lacks; where the target is
// of another architecture, the name of that architecture.
bool site_supports(const Machine *machine, const Target *target, Features *missing);
// Index of the first target that a machine supports; -1: none.
int site_best_target(const Machine *machine);

#endif
