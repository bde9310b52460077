// Single panels of packed weights that tests make from values.
#ifndef CATENA_TEST_PANEL_H
#define CATENA_TEST_PANEL_H

#include "templates/formats.h"

// Packs all 32 columns of a panel, run by run as the runtime does: element (k, c) is values[c * depth + k], depth whole steps.
void panel_pack(Format format, const float *values, int64_t depth, uint8_t *panel);

// The same for those columns whose bit is set; the others' bytes are left alone.
void panel_pack_columns(Format format, const float *values, int64_t depth, uint32_t columns, uint8_t *panel);

#endif
