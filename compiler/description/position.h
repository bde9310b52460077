// Where a value of a JSON text is: jansson keeps no positions, so they are looked up in the text when a message needs one.
#ifndef CATENA_SPEC_POSITION_H
#define CATENA_SPEC_POSITION_H

#include <stddef.h>

// A path from the root: a chain of steps, the last one first. A step without a parent is the root itself.
typedef struct Place {
    const struct Place *parent;
    const char *key;  // step into an object; NULL: into an array, or the root
    size_t index;
} Place;

typedef enum PlacePart { PLACE_KEY, PLACE_VALUE } PlacePart;

typedef struct Position {
    int line, column;  // from 1; columns count characters, not bytes
    int times;         // how many members of this name the object has; 0: the text does not have the path
} Position;

// Finds a value (or its key) in a text that jansson has accepted. A path that the text does not have gives its last ancestor
// that it has. Costs one pass over the text.
Position spec_position_find(const char *text, size_t bytes, const Place *place, PlacePart part);

#endif
