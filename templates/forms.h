// Forms of prepared activations: how a row of A lies in memory for the tiles that read it. FORM_LIST (layer.h) names the forms.
//
// Gate/up's rows are made from x_t, a whole row at a time (up.h). Down's are written panel by panel, as gate/up makes them; a form
// that needs a whole row first (Role.whole_rows) is made from values that gate/up leaves in its place.
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

// The k-th value of a row of A, as plain C tiles read it.
INLINE float form_value(const Role *role, const uint8_t *row, int64_t k) {
    return role->input == FORM_BF16 ? bf16_to_float(((const uint16_t *)row)[k]) : ((const float *)row)[k];
}

// Stores lanes of a row of down's A, which gate/up writes panel by panel: in the input form, or as values where the row is made
// from its whole row later.
INLINE void form_leave(const Role *role, uint8_t *row, int64_t i, Vector v) {
    if (role->whole_rows) {
        vector_store((float *)row + i, v);
    } else {
        form_store(role, row, i, v);
    }
}

// Rows [first, last) of values become rows of A, each in its place: no form is wider than the values, and ascending lanes overwrite
// what was read.
INLINE void form_make_rows(const Role *role, uint8_t *rows, int64_t first, int64_t last) {
    int64_t width = plan_round_up(role->layout.depth_padded, LANES);
    for (int64_t r = first; r < last; r++) {
        uint8_t *row = rows + r * role->input_stride;
        for (int64_t i = 0; i < width; i += LANES) {
            form_store(role, row, i, vector_load((const float *)row + i));
        }
    }
}

#endif
