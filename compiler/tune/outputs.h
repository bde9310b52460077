// What `catena tune` writes beside wisdom: a report, a table, or both.
#ifndef CATENA_TUNE_OUTPUTS_H
#define CATENA_TUNE_OUTPUTS_H

#include "report.h"
#include "table.h"

typedef struct TuneOutputs {
    const char *directory, *table_path;  // NULL: not asked for
    TuneReport report;
    TuneTable table;
} TuneOutputs;

// Says what stands in their way before the time of a search is spent. layers: that will be searched; wisdom: the file that is
// written, too, or NULL. Returns 0, or -1 with diagnostics and nothing left behind.
int tune_outputs_open(TuneOutputs *outputs, const char *const *layers, size_t count, const char *wisdom, Diagnostics *diagnostics);
int tune_outputs_layer(TuneOutputs *outputs, const char *layer, const TuneOptions *options, const TuneResult *result,
                       Diagnostics *diagnostics);
// Writes the page and the table. Returns 0, or -1 with diagnostics.
int tune_outputs_close(TuneOutputs *outputs, const char *model, const TuneOptions *options, Diagnostics *diagnostics);

#endif
