// Instruction paths: how one multiply-accumulate step is done. A path is one row here and one file, targets/path_SYMBOL.c, that
// emits its steps. What the rest of the program needs to know of a path are the facts of its row: nothing outside targets/ asks for
// a path by its name.
#ifndef CATENA_PATHS_LIST_H
#define CATENA_PATHS_LIST_H

#include "layer.h"

// X(enumerator, symbol, facts...): the symbol is also the path's name, the facts are initialisers of PathFacts.
#define PATH_LIST(X) \
    X(PATH_FP32_FMA, fp32_fma, .weights = FORMAT_FP32, .input = FORM_FP32, .classes = 1 << COMPUTE_FP32, .load_cost = 0.3) \
    X(PATH_BF16_WIDENED, bf16_widened, .weights = FORMAT_BF16, .input = FORM_FP32, \
      .classes = 1 << COMPUTE_FP32 | 1 << COMPUTE_BF16, .load_cost = 1, .decodes = 1) \
    X(PATH_BF16_DOT, bf16_dot, .weights = FORMAT_BF16, .input = FORM_BF16, .classes = 1 << COMPUTE_BF16, .load_cost = 0.3) \
    X(PATH_BF16_AMX, bf16_amx, .weights = FORMAT_BF16, .input = FORM_BF16, .classes = 1 << COMPUTE_BF16, .load_cost = 0.3, \
      .fixed_shape = 1) \
    X(PATH_FP16_WIDENED, fp16_widened, .weights = FORMAT_FP16, .input = FORM_FP32, \
      .classes = 1 << COMPUTE_FP32 | 1 << COMPUTE_BF16, .load_cost = 1, .decodes = 1, .everywhere = 1) \
    X(PATH_FP8_WIDENED, fp8_widened, .weights = FORMAT_FP8_E4M3, .input = FORM_FP32, \
      .classes = 1 << COMPUTE_FP32 | 1 << COMPUTE_BF16, .load_cost = 3, .decodes = 1, .everywhere = 1)

#define PATH_ENUMERATOR(enumerator, ...) enumerator,
typedef enum Path { PATH_LIST(PATH_ENUMERATOR) PATH_COUNT } Path;

// What the program must know of an instruction path before any code is made; what a row does not say is 0.
typedef struct PathFacts {
    const char *name;
    Format weights;  // packed format that it reads
    Form input;  // form of the prepared activations that it reads
    int classes;  // bit c: legal in Compute c. fp32 activations are rounded while they are prepared where the class asks for it
    double load_cost;  // time of a tile's loads and conversions of weights, in units of one row's multiply-adds
    int decodes;  // 1: its tiles can leave a panel as fp32, which tiles of PATH_FP32_FMA then read: the fastest of its classes
    int everywhere;  // 1: every target has it, with the target's usual tile (targets/target.h) unless the target says otherwise
    int fixed_shape;  // 1: its tiles have one shape, which no search varies
} PathFacts;

#define PATH_FACTS(enumerator, symbol, ...) {#symbol, __VA_ARGS__},
static const PathFacts path_facts[] = {PATH_LIST(PATH_FACTS)};

// Whether a class has a path for weights of a format, on any target.
static inline int path_serves(Format weights, Compute compute) {
    for (int p = 0; p < PATH_COUNT; p++) {
        if (path_facts[p].weights == weights && path_facts[p].classes >> compute & 1) {
            return 1;
        }
    }
    return 0;
}

#endif
