// Activations of experts: of each file of activations/list.h the function activation_SYMBOL. activation_apply chooses (a constant
// in a compiled library).
#ifndef CATENA_ACTIVATION_H
#define CATENA_ACTIVATION_H

#include "layer.h"
#include "math.h"

#define ACTIVATION_SKELETON
#include "templates/activations/list.h"

INLINE Vector activation_apply(int32_t activation, float slope, Vector x) {
    switch ((Activation)activation) {
#define ACTIVATION_ROW(enumerator, symbol, ...) \
    case enumerator: return activation_##symbol(x, slope);
#include "templates/activations/list.h"
    case ACTIVATION_COUNT: break;
    }
    return x;
}

#endif
