// Banks of synthetic weights: as many instances of a layer as a cold call must rotate over.
#ifndef CATENA_BANK_H
#define CATENA_BANK_H

#include <stdbool.h>

#include "compiler/base/diagnostic.h"
#include "runtime/library.h"
#include "synthetic.h"

// One packed image with `slots` instances of one kind. Which plan made it does not matter: the layout is the layer's.
typedef struct Bank {
    Kind kind;  // of `slots` instances
    int64_t slots;
    uint8_t *memory, *image;
    int64_t memory_bytes, image_bytes;
    bool huge_pages;
} Bank;

// Fills the bank: the first instance with random weights, the others with copies. The bank has at least cold_bytes bytes.
// Returns 0, or -1 with diagnostics.
int bank_open(Bank *bank, const Plan *plan, const RoutingSkew *routing, int64_t cold_bytes, bool huge_pages,
              Diagnostics *diagnostics);
// The same weights in other pages. Returns 0, or -1 with diagnostics.
int bank_copy(const Bank *from, bool huge_pages, Bank *copy, Diagnostics *diagnostics);
void bank_close(Bank *bank);

#endif
