// A point of a grid of knobs, and how large grids and workloads may be.
#ifndef CATENA_POINT_H
#define CATENA_POINT_H

#include <stdint.h>

enum { POINT_MAX_KNOBS = 48, POINT_MAX_PARTS = 16 };  // a part is a token count of the workload

// A point: the index of each knob's value. Bytes behind the last knob are 0, so that points compare as bytes.
typedef struct Point {
    uint8_t value[POINT_MAX_KNOBS];
} Point;

#endif
