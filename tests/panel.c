// See panel.h.
#include "panel.h"

#include <stdlib.h>

void panel_pack_columns(Format format, const float *values, int64_t depth, uint32_t columns, uint8_t *panel) {
    int64_t length = format_facts[format].group > FORMAT_BLOCK ? format_facts[format].group : FORMAT_BLOCK;
    float *chosen = malloc((size_t)(PANEL_COLUMNS * length) * sizeof *chosen);
    int numbers[PANEL_COLUMNS];
    for (int64_t k = 0; k < depth && chosen; k += length) {
        FormatRun run = {
            .k = k, .depth = depth - k < length ? depth - k : length, .columns = numbers, .values = chosen, .stride = length};
        for (int c = 0; c < PANEL_COLUMNS; c++) {
            if (columns >> c & 1) {
                __builtin_memcpy(chosen + run.count * length, values + c * depth + k, (size_t)run.depth * sizeof *chosen);
                numbers[run.count++] = c;
            }
        }
        format_pack(format, panel, &run);
    }
    free(chosen);
}

void panel_pack(Format format, const float *values, int64_t depth, uint8_t *panel) {
    panel_pack_columns(format, values, depth, UINT32_MAX, panel);
}
