// Descriptions far from usual ones: any value of any field that a description may have.
#ifndef CATENA_DRAW_H
#define CATENA_DRAW_H

#include "compiler/description/keys.h"

// The fields of a layer's description: every number, flag and choice of the tables in keys.c, sections within sections. Fields of
// checkpoints are not among them. Returns how many there are; keys (may be NULL) has room for DRAW_MAX_KEYS.
enum { DRAW_MAX_KEYS = 256, DRAW_MAX_SIZE = 300 };
int draw_keys(const Key **keys);

// The layer as a description that says the same, or the same layer with that description's defaults in fields that mean nothing.
// Returns 0, or -1 where no description may say it.
int draw_accept(Layer *layer);

// fixture_layer(seed), or a layer with little in it, with some fields replaced, each by any value that its key allows, sizes up to
// DRAW_MAX_SIZE. The layer is one that a description may have, and small enough for many of them to be verified in a minute.
Layer draw_layer(uint64_t seed);

#endif
