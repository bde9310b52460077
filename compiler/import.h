// From a model's own configuration (Hugging Face's config.json) to the description of its sparse layers.
//
// import_families.c is the table of the models that are known. Weights stay where they are: the description names the
// checkpoint's tensors.
#ifndef CATENA_IMPORT_H
#define CATENA_IMPORT_H

#include <stdbool.h>
#include <stdio.h>

#include "diagnostic.h"

typedef struct ImportOptions {
    const char *name;  // of the model in the description; NULL: made from the folder's name
    int weights;       // Format of the packed weights; -1: what the checkpoint's dtype asks for
    int compute;       // Compute; -1: the description's default
    FILE *remarks;     // what the user should know (layers that are skipped, ...); NULL: nobody wants it
    FILE *summary;     // in words, what was understood; NULL: nobody wants it
    bool unreadable;   // describe quantised checkpoints that nothing can read, too
} ImportOptions;

#define IMPORT_DEFAULTS {NULL, -1, -1, NULL, NULL, false}

// path: a folder with config.json and perhaps the checkpoint, or a config.json; or a checkpoint of Megatron-LM, see below. Returns
// the text of a description that model_read_text accepts and that fits the checkpoint's tensors, if they are there (owned by the
// caller). NULL with diagnostics.
char *import_description(const char *path, const ImportOptions *options, Diagnostics *diagnostics);

// Whether a description of this path is of tensors that are not in safetensors yet (ReMoE's checkpoints of Megatron-LM).
bool import_needs_tensors(const char *path);
// Writes them: the tensors of the sparse layers that such a description names, to a new file `output` (completely or not at all).
// Returns 0, or -1 with diagnostics.
int import_tensors(const char *path, const char *description, const char *output, Diagnostics *diagnostics);

#endif
