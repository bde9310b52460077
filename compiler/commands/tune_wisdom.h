// What `catena tune` reads from wisdom before a search and keeps there after it. option: what --wisdom was given; NULL: the user's.
#ifndef CATENA_COMMAND_TUNE_WISDOM_H
#define CATENA_COMMAND_TUNE_WISDOM_H

#include "compiler/tune/tune.h"

// Where wisdom is kept. Returns 0, or -1 if nothing is to be kept or there is no home.
int tune_wisdom_path(const char *option, char path[WISDOM_PATH_BYTES]);

// Before anything is measured: whether what is found can be kept. Without a home it cannot, which is said on stderr and is no
// error. Returns 0, or -1 with diagnostics.
int tune_wisdom_check(const char *option, Diagnostics *diagnostics);

// Sets the search's start from an earlier one: this very layer's decisions and measurements, or the decisions of the nearest layer.
// Returns the gain of this layer's earlier entry, which stays unless a better plan is found; 1: there is no such entry.
double tune_wisdom_start(TuneOptions *tune, const Wisdom *wisdom, const RecallKey *key, const char *layer);

// Keeps what a search found, if there is a place. Returns 0, or -1 with diagnostics.
int tune_wisdom_keep(const char *option, const TuneOptions *options, const RecallKey *key, const TuneResult *result,
                     Diagnostics *diagnostics);

#endif
