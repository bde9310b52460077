// The planner's results as text, and the planner itself.
#ifndef CATENA_COMPILER_PLAN_H
#define CATENA_COMPILER_PLAN_H

#include "compiler/base/diagnostic.h"
#include "templates/plan.h"

// Canonical text of a plan, "key value\n" per field; parse(print(p)) == p. Owned by the caller. NULL when out of memory.
char *plan_print(const Plan *plan);
// Parses canonical text. Returns 0, or -1 with diagnostics that name line and field.
int plan_parse(const char *text, const char *name, Plan *plan, Diagnostics *diagnostics);

// Fills the derived part of a plan (roles' shapes and offsets, packed layout) from plan->layer and the roles' formats.
void plan_layout(Plan *plan);

#endif
