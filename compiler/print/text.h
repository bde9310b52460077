// Inside of this folder. module.c calls parts.c and loader.c; all three call text.c, lines of a Python program.
#ifndef CATENA_TORCH_TEXT_H
#define CATENA_TORCH_TEXT_H

#include <stdio.h>

#include "compiler/description/model.h"

typedef struct Torch {
    FILE *stream;
    const ModelLayer *entry;
    const Layer *layer;
} Torch;

// --- text.c ---
// One line, indented by four columns a level.
void torch_line(const Torch *torch, int level, const char *format, ...) __attribute__((format(printf, 3, 4)));

// Text from outside as it may stand between quotes of Python (single, double or triple ones), which undo the escapes.
void torch_escaped(const Torch *torch, const char *text);

// The shortest text that reads back as the same float.
const char *torch_number(char text[32], float value);
#define TORCH_NUMBER(value) torch_number((char[32]){0}, value)

// --- parts.c ---
// def route(self, x, t, k=None): experts, weights and scores of one iteration.
void torch_print_route(const Torch *torch);
// def expert(self, e, x), def shared(self, x).
void torch_print_experts(const Torch *torch);
// --- loader.c ---
// The table of the checkpoint's tensors and def load(self, path, index=0), then what it calls outside of the class.
void torch_print_loader(const Torch *torch);
void torch_print_opener(const Torch *torch);

#endif
