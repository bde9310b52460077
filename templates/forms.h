// Forms of prepared activations: how a row of A lies in memory for the tiles that read it. FORM_LIST (layer.h) names the forms.
#ifndef CATENA_FORMS_H
#define CATENA_FORMS_H

#include "context.h"

// Stores lanes [i, i + LANES) of a row of A in a role's input form. Class bf16 rounds what stays fp32.
INLINE void form_store(const Role *role, uint8_t *row, int64_t i, Vector v) {
    if (role->input == FORM_BF16) {
        vector_store_bf16((uint16_t *)row + i, v);
    } else {
        vector_store((float *)row + i, role->round_input ? vector_round_bf16(v) : v);
    }
}

#endif
