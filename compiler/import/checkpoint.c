// The checkpoint beside a configuration.
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "read.h"

bool import_checkpoint_open(ImportCheckpoint *checkpoint, const char *config_path, Diagnostics *diagnostics) {
    const char *slash = strrchr(config_path, '/');
    char error[1024] = "";
    *checkpoint = (ImportCheckpoint){NULL};
    char *folder = slash ? strndup(config_path, slash == config_path ? 1 : (size_t)(slash - config_path)) : strdup(".");
    if (!folder) {
        diagnostics_add(diagnostics, NULL, 0, 0, "out of memory");
        return false;
    }
    bool there = safetensors_recognise(folder);
    checkpoint->disputed = safetensors_disputed(folder);
    bool opened = safetensors_open(folder, &checkpoint->tensors, &(Failure){error, sizeof error}) == LIBRARY_OK;
    free(folder);
    if (!opened && there) {
        diagnostics_add(diagnostics, NULL, 0, 0, "%s", error);
        return false;
    }
    checkpoint->absence = opened ? NULL : strdup(error);
    return true;
}

void import_checkpoint_close(ImportCheckpoint *checkpoint) {
    safetensors_close(checkpoint->tensors);
    free(checkpoint->absence);
    torch_checkpoint_close(checkpoint->torch);
    *checkpoint = (ImportCheckpoint){NULL};
}
