// Where a library's plan comes from, as it is embedded in the library: null for the default plan of a layer that wisdom knows
// nothing of, otherwise what an entry of wisdom says: {"id": ..., "time": ..., "decisions": {...}, "gain": ..., "low": ..., "high":
// ..., "predicted": what the cost model said of the gain, where that is known}. There are no decisions, or the default's own path
// alone, where a search confirmed the default. An age would make libraries differ: it is left to readers.
#ifndef CATENA_WISDOM_ORIGIN_H
#define CATENA_WISDOM_ORIGIN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

// Of an entry of that id. New reference; NULL when out of memory.
json_t *wisdom_origin(const char *id, const json_t *entry);

// Whether a decision's value can be one: of "path" it is a path's name, of anything else an integer.
bool wisdom_decision_check(const char *name, const json_t *value);

// Whether a value is one of the above.
bool wisdom_origin_check(const json_t *origin);

// One line: "plan: default", "plan: tuned (gain 1.050, 1.020 to 1.080; predicted 1.030; measured 2026-11-22, wisdom
// 0123456789abcdef): few_tokens 4".
void wisdom_origin_print(const json_t *origin, FILE *stream);

#endif
