// Which machine, and which target for it.
#include "site.h"

#include <string.h>

#include "targets/target.h"

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
        return compile_target(name, &site->host, diagnostics);
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
