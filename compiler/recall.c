// From a layer to its entry of wisdom, and from the entry to a plan.
#include "recall.h"

#include <stdio.h>
#include <string.h>

void recall_workload(const Workload *described, RecallWorkload *workload) {
    memset(workload, 0, sizeof *workload);
    workload->parts = (int)(described->token_counts < SEARCH_MAX_PARTS ? described->token_counts : SEARCH_MAX_PARTS);
    for (int p = 0; p < workload->parts; p++) {
        workload->tokens[p] = described->tokens[p];
        workload->weight[p] = 1;
    }
    snprintf(workload->routing, sizeof workload->routing, "%s", described->routing);
}

void recall_key(const Layer *layer, const Target *target, const Machine *machine, int threads, const RecallWorkload *workload,
                RecallKey *key) {
    size_t used = 0;
    memset(key, 0, sizeof *key);
    machine_fingerprint(machine, key->cpu);
    machine_topology_text(machine, key->topology);
    for (int p = 0; p < workload->parts && used < sizeof key->workload; p++) {
        used += (size_t)snprintf(key->workload + used, sizeof key->workload - used, "%lld:%g ", (long long)workload->tokens[p],
                                 workload->weight[p]);
    }
    if (used < sizeof key->workload) {
        snprintf(key->workload + used, sizeof key->workload - used, "%s", workload->routing);
    }
    key->key = (WisdomKey){.layer = layer,
                           .target = target->name,
                           .cpu = key->cpu,
                           .topology = key->topology,
                           .threads = threads,
                           .workload = key->workload,
                           .generator = wisdom_generator(),
                           .llvm = wisdom_llvm()};
}

Wisdom *recall_open(const char *option, Diagnostics *diagnostics) {
    char path[WISDOM_PATH_BYTES], note[WISDOM_NOTE_BYTES] = "";
    if (option && !strcmp(option, "none")) {
        return NULL;
    }
    if (!option && wisdom_user_path(path)) {
        return NULL;
    }
    Wisdom *wisdom = option ? wisdom_read(option, note, diagnostics) : wisdom_read_all(path, WISDOM_SYSTEM_PATH, note, diagnostics);
    if (*note) {
        fprintf(stderr, "catena: %s\n", note);
    }
    return wisdom;
}

// 1: the plan is now that of the entry; 0: there is none; -1: it does not fit.
static int recall_plan(const Wisdom *wisdom, const Target *target, const Machine *machine, const RecallWorkload *workload,
                       Plan *plan, char *reason, size_t reason_bytes) {
    RecallKey key;
    Space space;
    SearchPoint point;
    recall_key(&plan->layer, target, machine, (int)machine->threads, workload, &key);
    const json_t *entry = wisdom_find(wisdom, &key.key);
    if (!entry || !json_object_size(json_object_get(entry, "decisions"))) {
        return 0;
    }
    space_make(plan, target, machine, &space);
    if (space_read(&space, json_object_get(entry, "decisions"), &point, reason, reason_bytes)) {
        return -1;
    }
    space_plan(&space, &point, plan);
    return 1;
}

int recall_plans(const char *option, const Model *model, const Target *target, const Machine *machine, Plan *plans,
                 Diagnostics *diagnostics) {
    char reason[160];
    size_t before = diagnostics->count;
    Wisdom *wisdom = recall_open(option, diagnostics);
    RecallWorkload workload;
    recall_workload(&model->workload, &workload);
    for (int64_t i = 0; wisdom && i < model->layer_count; i++) {
        int status = recall_plan(wisdom, target, machine, &workload, &plans[i], reason, sizeof reason);
        if (status < 0) {
            fprintf(stderr, "catena: layer '%s': wisdom does not fit, the default plan is taken: %s\n", model->layers[i].name,
                    reason);
        }
    }
    wisdom_free(wisdom);
    return diagnostics->count > before ? -1 : 0;
}
