// What a search measured, as CSV: one row for each tile, each plan and token count, and each incumbent.
//
//     kind              tile, plan, incumbent, or verdict: the plan that the search ended with
//     decisions         {"gate_up.tile": 1432, ...}: what differs from the default, which is {}
//     tile              tallest (operands in cache, one thread), low or wide (one or two panels from memory, all threads)
//     tokens            of a plan: the token count, or "all": the weighted mean of logarithms
//     rounds            samples, or rounds of the last race
//     seconds           when a plan's last round ended, when it became the incumbent: after the bank was filled and the default ran
//     predicted         seconds of a call
//     measured, unit    the same, geometric mean of all samples; of a tile the rate, a median
//     difference        of a plan: logarithm of its time over the default's
//     error             half of the 95 % interval; of a tile, interquartile range over median
//
// Plans that an earlier search timed and this one did not have neither seconds nor an error.
// Differences of single token counts are given where the plan was raced against the default itself in full (SEARCH_TABLE).
#ifndef CATENA_TUNE_TABLE_H
#define CATENA_TUNE_TABLE_H

#include <stdio.h>

#include "tune.h"

typedef struct TuneTable {
    const char *path;
    FILE *stream;
    char *text;
    size_t bytes;
    int layers;
} TuneTable;

// Checks that nothing but such a table is in the way. Returns 0, or -1 with diagnostics.
int tune_table_open(TuneTable *table, const char *path, Diagnostics *diagnostics);
void tune_table_layer(TuneTable *table, const char *layer, const TuneOptions *options, const TuneResult *result);
// Writes the file under a temporary name and renames it, unless there is no layer to tell of; frees the table. Returns 0, or -1
// with diagnostics.
int tune_table_close(TuneTable *table, Diagnostics *diagnostics);
// Frees a table, open or not, that is not to be written.
void tune_table_discard(TuneTable *table);

#endif
