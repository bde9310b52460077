// See outputs.h.
#include "outputs.h"

#include "runtime/file.h"

// The report comes first: a table cannot have the name of the directory that it makes.
static int open_all(TuneOutputs *outputs, const char *const *layers, size_t count, const char *wisdom, Diagnostics *diagnostics) {
    int status = outputs->directory ? tune_report_open(&outputs->report, outputs->directory, outputs->table_path, diagnostics) : 0;
    for (size_t i = 0; i < count && outputs->directory && !status; i++) {
        status = tune_report_expect(&outputs->report, layers[i], diagnostics);
    }
    if (status || !outputs->table_path) {
        return status;
    }
    if (wisdom && file_same(outputs->table_path, wisdom)) {
        diagnostics_add(diagnostics, outputs->table_path, 0, 0, "a table cannot be the file that wisdom is kept in, '%s'", wisdom);
        return -1;
    }
    return tune_table_open(&outputs->table, outputs->table_path, diagnostics);
}

int tune_outputs_open(TuneOutputs *outputs, const char *const *layers, size_t count, const char *wisdom, Diagnostics *diagnostics) {
    int status = open_all(outputs, layers, count, wisdom, diagnostics);
    if (status) {
        tune_report_discard(&outputs->report);
        tune_table_discard(&outputs->table);
    }
    return status;
}

int tune_outputs_layer(TuneOutputs *outputs, const char *layer, const TuneOptions *options, const TuneResult *result,
                       Diagnostics *diagnostics) {
    if (outputs->table_path) {
        tune_table_layer(&outputs->table, layer, options, result);
    }
    return outputs->directory ? tune_report_layer(&outputs->report, layer, options, result, diagnostics) : 0;
}

int tune_outputs_close(TuneOutputs *outputs, const char *model, const TuneOptions *options, Diagnostics *diagnostics) {
    int failed = outputs->directory && tune_report_close(&outputs->report, model, options, diagnostics);
    failed |= outputs->table_path && tune_table_close(&outputs->table, diagnostics);
    return failed ? -1 : 0;
}
