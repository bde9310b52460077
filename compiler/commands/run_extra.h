// What `catena run` gives to a layer and takes from it beyond x and y: files that become arrays, arrays that become files and
// tables.
#ifndef CATENA_RUN_EXTRA_H
#define CATENA_RUN_EXTRA_H

#include "compiler/base/npy.h"
#include "compiler/base/table.h"
#include "compiler/description/model.h"
#include "runtime/library.h"

// From the command line; NULL, false and 0: not wanted.
typedef struct RunExtraPaths {
    const char *routing;     // PREFIX of PREFIX.experts.npy and PREFIX.weights.npy
    const char *scores;      // written
    const char *k;           // read
    const char *importance;  // read
    bool figures;
    OutputFormat format;     // of the figures
    int64_t sequence_tokens;
} RunExtraPaths;

// The arrays, owned, and the Extra that points to them. Zero-initialise; free with run_extra_free.
typedef struct RunExtra {
    Npy experts, weights, scores, k, importance;
    int64_t *load;
    Figures *figures;
    Extra extra;
} RunExtra;

enum { RUN_EXTRA_OUTPUTS = 3 };
// The files that will be written, owned by the caller; NULL for those that are not wanted. Returns 0, or -1 when out of memory.
int run_extra_outputs(const RunExtraPaths *paths, char *outputs[RUN_EXTRA_OUTPUTS]);

// Reads the inputs and makes room for the outputs of a forward of `tokens` tokens. Returns 0, or -1 with diagnostics.
int run_extra_prepare(const RunExtraPaths *paths, const ModelLayer *layer, int64_t tokens, RunExtra *out, Diagnostics *diagnostics);
// Before the forward: whether those files can be written. Returns 0, or -1 with diagnostics.
int run_extra_try(char *const outputs[RUN_EXTRA_OUTPUTS], const RunExtra *arrays, Diagnostics *diagnostics);
// After the forward: writes the files of run_extra_outputs. Returns 0, or -1 with diagnostics.
int run_extra_write(char *const outputs[RUN_EXTRA_OUTPUTS], const RunExtra *arrays, Diagnostics *diagnostics);
// Prints the figures, if wanted, to standard output.
void run_extra_print(const RunExtraPaths *paths, const RunExtra *arrays, const ModelLayer *layer, int64_t tokens);
void run_extra_free(RunExtra *arrays);

#endif
