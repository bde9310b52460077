// Faults, planted in the natively compiled skeleton: in what its plan says, in its weights, or in its tiles. Everything around the
// fault is the program's own.
#ifndef CATENA_PLANT_H
#define CATENA_PLANT_H

#include "draw.h"
#include "native.h"

// What one fault of a tile does. X(enumerator, words)
#define SPOIL_LIST(X) \
    X(SPOIL_LANE, "one lane of the last row is off by a hundredth") \
    X(SPOIL_BF16, "the first row is rounded to bf16") \
    X(SPOIL_DROPPED, "the last row is dropped") \
    X(SPOIL_STALE, "an accumulator begins with what the tile before left in it") \
    X(SPOIL_SHORT, "the first row's sums end one k too early") \
    X(SPOIL_SWAPPED, "two columns are swapped") \
    X(SPOIL_NEIGHBOUR, "the last row is the first one") \
    X(SPOIL_PANEL, "the second panel is the first one")
// What one fault of the weights does to a tensor.
#define DAMAGE_LIST(X) \
    X(DAMAGE_STEP, "one element is a step of bf16 off, in class bf16 eight steps") \
    X(DAMAGE_SIGN, "one element has the wrong sign") \
    X(DAMAGE_ZERO, "one element is missing") \
    X(DAMAGE_ROWS, "two rows are swapped") \
    X(DAMAGE_MATRICES, "two matrices are swapped")
#define PLANT_ENUMERATOR(enumerator, words) enumerator,
typedef enum Spoil { SPOIL_LIST(PLANT_ENUMERATOR) SPOIL_COUNT } Spoil;
typedef enum Damage { DAMAGE_LIST(PLANT_ENUMERATOR) DAMAGE_COUNT } Damage;

typedef enum PlantKind { PLANT_FIELD, PLANT_WEIGHT, PLANT_TILE } PlantKind;

// One fault.
typedef struct Plant {
    PlantKind kind;
    Layer other;  // PLANT_FIELD: what the skeleton computes in place of the layer
    Tensor tensor;  // PLANT_WEIGHT
    Damage damage;
    RoleName role;  // PLANT_TILE: only tiles of this role and height
    int64_t rows;
    Spoil spoil;
    char words[128];
} Plant;

// All faults of a kind of library, `count` of them; to free().
Plant *plant_list(const Kind *kind, int *count);

// A library of that kind with the fault; NULL: without one. Before the next is asked for, instances are closed. The kind outlives
// them. plant_remove takes the fault out again.
Loaded plant_library(const Kind *kind, const Plant *plant);
void plant_remove(void);

#endif
