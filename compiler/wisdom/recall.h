// Wisdom and plans: the key that a layer's search is remembered under, and plans made of what is remembered.
#ifndef CATENA_RECALL_H
#define CATENA_RECALL_H

#include "compiler/description/model.h"
#include "compiler/plan/space.h"
#include "wisdom.h"

// Token counts with their weights, and where tokens go.
typedef struct RecallWorkload {
    int64_t tokens[POINT_MAX_PARTS];
    double weight[POINT_MAX_PARTS];
    int parts;
    char routing[WORKLOAD_ROUTING_BYTES];
    bool bits_free;  // on whichever instruction path is fastest
    uint64_t trace;  // of routing trace:PREFIX: what is in it (recall_trace); otherwise 0
} RecallWorkload;

// What a description is optimised for: the first POINT_MAX_PARTS of its token counts.
void recall_workload(const Workload *described, RecallWorkload *workload);

// A trace is remembered by its content, not by its name: reads the workload's, if it is one, checks that it is of this layer, and
// fills in workload->trace. Returns 0, or -1 with diagnostics.
int recall_trace(RecallWorkload *workload, const Layer *layer, Diagnostics *diagnostics);

// A key with the texts that it points to.
typedef struct RecallKey {
    WisdomKey key;
    char cpu[MACHINE_FINGERPRINT_BYTES];
    char topology[MACHINE_TOPOLOGY_BYTES];
    char workload[1024];
} RecallKey;

// Fills `key` in place (it points into itself). layer: as the plan has it, and borrowed.
void recall_key(const Layer *layer, const Target *target, const Machine *machine, int threads, const RecallWorkload *workload,
                RecallKey *key);

// Reads the wisdom that `option` names. NULL: the user's and the system's; "none": nothing; otherwise the file of that name, and
// `damage` says what becomes of it if it is damaged. Notes go to stderr. Returns NULL with diagnostics if it cannot be read, and
// NULL without if there is nothing to read.
Wisdom *recall_open(const char *option, WisdomDamage damage, Diagnostics *diagnostics);

// Turns the default plans of a model on this machine into those that wisdom (recall_open's option) holds for them, if any: those
// that keep the bits, or (bits_free) those that may change them. What does not fit is said on stderr and left out. Returns a list
// of where each layer's plan comes from (origin.h), a new reference; NULL with diagnostics. untrusted (NULL: not wanted) is
// a list that gets a text for each layer whose wisdom is not trusted, and null for others.
json_t *recall_plans(const char *option, bool bits_free, const Model *model, const Target *target, const Machine *machine,
                     Plan *plans, json_t *untrusted, Diagnostics *diagnostics);

#endif
