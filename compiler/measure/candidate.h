// A plan made runnable in this process: the objects that would be linked into a library, loaded as they are, on a bank.
#ifndef CATENA_CANDIDATE_H
#define CATENA_CANDIDATE_H

#include "bank.h"
#include "runtime/instance.h"
#include "targets/target.h"

typedef struct Candidate Candidate;

// Compiled parts that candidates share: most of them differ from each other in one role, or in the schedule alone.
typedef struct CandidateCache CandidateCache;
CandidateCache *candidate_cache_create(const Target *target);
void candidate_cache_free(CandidateCache *cache);

// max_tokens: of any call; threads: unless the plan says how many. `shipped`: the very skeleton that a library would have,
// specialised for this plan; otherwise one that all plans of the layer share and that reads from the plan what the search varies.
// Nearly as fast, it is compiled once, not for every plan. NULL with diagnostics.
Candidate *candidate_open(CandidateCache *cache, const Plan *plan, bool shipped, const Bank *bank, int threads, int64_t max_tokens,
                          Diagnostics *diagnostics);
void candidate_close(Candidate *candidate);

// Gives the team to a candidate, untouched by the one that had it before: threads that were bound are free again, and there are as
// many as it uses.
void candidate_settle(const Candidate *candidate);

// The instance: layers 0..slots-1 of it are the bank's.
Library *candidate_library(const Candidate *candidate);

#endif
