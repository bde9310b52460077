// From a model's own configuration (Hugging Face's config.json) to the description of its sparse layers.
//
// families/ holds the table of the models that are known. Weights stay where they are: the description names the checkpoint's
// tensors.
#ifndef CATENA_IMPORT_H
#define CATENA_IMPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "compiler/base/diagnostic.h"

typedef struct ImportOptions {
    const char *as;  // a model_type whose family's meanings and names count, whatever the model says; NULL: what the model says
    const char *name;  // of the model in the description; NULL: made from the folder's name
    int weights;  // Format of the packed weights; -1: what the checkpoint's dtype asks for
    int compute;  // Compute; -1: the description's default
    FILE *remarks;  // what the user should know (layers that are skipped, ...); NULL: not written
    FILE *summary;  // in words, what was understood; NULL: not written
    bool unreadable;  // also describe quantised checkpoints that catena cannot read
} ImportOptions;

#define IMPORT_DEFAULTS {.weights = -1, .compute = -1}

// What was understood.
typedef struct ImportResult {
    const char *path;  // of the file that the configuration is in
    const char *folder;  // that it was looked for in
    const char *family;  // the model's, in words
    const char *description;  // a text that model_read_text accepts and that fits the checkpoint's tensors, if they are there
    int64_t sparse, dense;  // layers
    bool has_tensors;  // they are not in safetensors yet (ReMoE's checkpoints of Megatron-LM): import_write_tensors
} ImportResult;

typedef struct Import Import;

// path: a folder with config.json and perhaps the checkpoint, or a config.json; or a checkpoint of Megatron-LM. NULL with
// diagnostics. The options must outlive it.
Import *import_open(const char *path, const ImportOptions *options, Diagnostics *diagnostics);
void import_close(Import *import);
const ImportResult *import_result(const Import *import);
// Writes the tensors that the description names to a new file `output`, completely or not at all. Returns 0, or -1 with
// diagnostics.
int import_write_tensors(Import *import, const char *output, Diagnostics *diagnostics);

#endif
