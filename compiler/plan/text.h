// Plans as text, and what of a plan follows from the rest of it (layout.c).
#ifndef CATENA_PLAN_TEXT_H
#define CATENA_PLAN_TEXT_H

#include <stdbool.h>

#include "compiler/base/diagnostic.h"
#include "templates/plan.h"

// Canonical text of a plan, "key value\n" per field; parse(print(p)) == p. Owned by the caller. NULL when out of memory.
char *plan_print(const Plan *plan);
// Parses canonical text. Returns 0, or -1 with diagnostics that name line and field.
int plan_parse(const char *text, const char *name, Plan *plan, Diagnostics *diagnostics);

// Fills what follows from others: the layout of packed weights from the layer alone, then each role's form of activations, stride
// and prefetched half from its path and layout.
void plan_layout(Plan *plan);

// Whether packed weights of one plan are packed weights of the other.
bool plan_same_layout(const Plan *one, const Plan *other);

#endif
