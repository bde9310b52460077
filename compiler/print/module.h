// `catena reference --torch`: a layer as a readable, differentiable PyTorch module. It is written from the description's meaning
// (templates/layer.h), apart from oracle and skeleton, and holds only what this layer has.
#ifndef CATENA_TORCH_MODULE_H
#define CATENA_TORCH_MODULE_H

#include <stdio.h>

#include "compiler/description/model.h"

// Prints a Python program with one class for `layer`, a loader for its checkpoint if the description names tensors, and a main
// that runs it from .npy to .npy. `source` is the description's name, for the docstring.
void torch_module_print(const Model *model, const ModelLayer *layer, const char *source, FILE *stream);

#endif
