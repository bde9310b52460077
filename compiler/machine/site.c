// Which machine, and which target for it.
#include "site.h"

#include <string.h>

int site_open(Site *site, const char *topology, Diagnostics *diagnostics) {
    site->elsewhere = topology != NULL;
    if (machine_detect(&site->host)) {
        diagnostics_add(diagnostics, NULL, 0, 0, "cannot read this machine's topology");
        return -1;
    }
    if (topology) {
        return machine_read(topology, &site->machine, diagnostics);
    }
    site->machine = site->host;
    return 0;
}

const Target *site_target(const Site *site, const char *name, Diagnostics *diagnostics) {
    const char *architecture = site->machine.architecture;
    const Target *simplest = NULL;
    if (name || !*architecture || !strcmp(architecture, site->host.architecture)) {
        return site_target_find(name, &site->host, diagnostics);
    }
    for (int i = 0; targets[i]; i++) {
        simplest = !strcmp(targets[i]->architecture, architecture) ? targets[i] : simplest;
    }
    if (!simplest) {
        diagnostics_add(diagnostics, NULL, 0, 0, "the topology is of the architecture '%s', for which there is no target",
                        architecture);
    }
    return simplest;
}

bool site_supports(const Machine *machine, const Target *target, Features *missing) {
    Features lacking = {""};
    if (strcmp(target->architecture, machine->architecture)) {
        features_add(&lacking, target->architecture);
    } else {
        lacking = features_missing(&machine->capabilities, target->requires);
    }
    if (missing) {
        *missing = lacking;
    }
    return !*lacking.names;
}

int site_best_target(const Machine *machine) {
    for (int t = 0; targets[t]; t++) {
        if (site_supports(machine, targets[t], NULL)) {
            return t;
        }
    }
    return -1;
}

const Target *site_target_find(const char *name, const Machine *machine, Diagnostics *diagnostics) {
    char known[256] = "host";
    if (name && strcmp(name, "host")) {
        const Target *target = target_find(name);
        for (int i = 0; targets[i]; i++) {
            strncat(known, ", ", sizeof known - strlen(known) - 1);
            strncat(known, targets[i]->name, sizeof known - strlen(known) - 1);
        }
        if (!target) {
            diagnostics_add(diagnostics, NULL, 0, 0, "unknown target '%s': expected one of %s", name, known);
        }
        return target;
    }
    int best = site_best_target(machine);
    if (best >= 0) {
        return targets[best];
    }
    diagnostics_add(diagnostics, NULL, 0, 0, "no target runs on this machine (%s)", machine->architecture);
    return NULL;
}
