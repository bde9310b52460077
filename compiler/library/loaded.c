// Loads a compiled library into this process and finds its functions by name.
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "artifact.h"
#include "targets/target.h"

// X(field of Loaded, name after the library's prefix)
#define FUNCTION_LIST(X) \
    X(open, "open") \
    X(open_memory, "open_memory") \
    X(pack, "pack") \
    X(find, "layer") \
    X(forward, "forward") \
    X(forward_routing, "forward_routing") \
    X(forward_routed, "forward_routed") \
    X(forward_with, "forward_with") \
    X(importance, "importance") X(adapt_lambda, "adapt_lambda") X(nonfinite, "nonfinite") X(error, "error") X(close, "close")

// Stores the address of NAME_suffix; POSIX lets a function's address pass through a void pointer.
static int find_function(const Loaded *loaded, const char *suffix, void *field, Diagnostics *diagnostics) {
    char name[MODEL_NAME_BYTES + 32];
    snprintf(name, sizeof name, "%s_%s", loaded->artifact->name, suffix);
    void *address = dlsym(loaded->handle, name);
    if (!address) {
        diagnostics_add(diagnostics, loaded->artifact->path, 0, 0, "damaged library: no function '%s'", name);
        return -1;
    }
    memcpy(field, &address, sizeof address);
    return 0;
}

// dlopen says "No such file" of a library for another architecture.
static int check_architecture(const Artifact *artifact, Diagnostics *diagnostics) {
    const Target *target = target_find(artifact->target);
    struct utsname here;
    if (!target) {
        diagnostics_add(diagnostics, artifact->path, 0, 0, "damaged library: unknown target '%s'", artifact->target);
        return -1;
    }
    if (!uname(&here) && strcmp(here.machine, target->architecture)) {
        diagnostics_add(diagnostics, artifact->path, 0, 0, "cannot be loaded: compiled for %s (target %s), this machine is %s",
                        target->architecture, target->name, here.machine);
        return -1;
    }
    return 0;
}

Loaded *loaded_open(const char *path, Diagnostics *diagnostics) {
    Artifact *artifact = artifact_read(path, diagnostics);
    if (!artifact) {
        return NULL;
    }
    if (check_architecture(artifact, diagnostics)) {
        artifact_free(artifact);
        return NULL;
    }
    Loaded *loaded = calloc(1, sizeof *loaded);
    char *absolute = realpath(path, NULL);  // dlopen looks a name without a slash up elsewhere
    if (!loaded || !absolute) {
        diagnostics_add(diagnostics, path, 0, 0, "cannot be loaded: out of memory, or no such file");
        artifact_free(artifact);
        free(loaded);
        free(absolute);
        return NULL;
    }
    loaded->artifact = artifact;
    loaded->handle = dlopen(absolute, RTLD_NOW | RTLD_LOCAL);
    free(absolute);
    int status = 0;
    if (!loaded->handle) {
        diagnostics_add(diagnostics, path, 0, 0, "cannot be loaded: %s", dlerror());
        status = -1;
    }
#define FUNCTION_FIND(field, suffix) \
    if (!status) { \
        status = find_function(loaded, suffix, &loaded->field, diagnostics); \
    }
    FUNCTION_LIST(FUNCTION_FIND)
    if (status) {
        loaded_close(loaded);
        return NULL;
    }
    return loaded;
}

void loaded_close(Loaded *loaded) {
    if (loaded) {
        if (loaded->handle) {
            dlclose(loaded->handle);
        }
        artifact_free(loaded->artifact);
        free(loaded);
    }
}
