// From a layer to its entry of wisdom, and from the entry to a plan.
#include "recall.h"

#define XXH_INLINE_ALL
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "compiler/plan/paths.h"
#include "compiler/plan/planner.h"
#include "compiler/plan/routing.h"
#include "origin.h"

static const char trace_prefix[] = "trace:";

void recall_workload(const Workload *described, RecallWorkload *workload) {
    memset(workload, 0, sizeof *workload);
    workload->parts = (int)(described->token_counts < POINT_MAX_PARTS ? described->token_counts : POINT_MAX_PARTS);
    for (int p = 0; p < workload->parts; p++) {
        workload->tokens[p] = described->tokens[p];
        workload->weight[p] = (double)described->weights[p];
    }
    snprintf(workload->routing, sizeof workload->routing, "%s", described->routing);
}

static bool is_trace(const RecallWorkload *workload) {
    return !strncmp(workload->routing, trace_prefix, strlen(trace_prefix));
}

int recall_trace(RecallWorkload *workload, const Layer *layer, Diagnostics *diagnostics) {
    RoutingTrace trace;
    if (!is_trace(workload)) {
        return 0;
    }
    if (routing_trace_read(workload->routing + strlen(trace_prefix), layer, &trace, diagnostics)) {
        return -1;
    }
    size_t slots = (size_t)(layer->iterations * trace.tokens * layer->top_k);
    workload->trace = XXH64(trace.weights, slots * sizeof *trace.weights, XXH64(trace.experts, slots * sizeof *trace.experts, 0));
    routing_trace_free(&trace);
    return 0;
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
    if (used < sizeof key->workload && is_trace(workload)) {
        snprintf(key->workload + used, sizeof key->workload - used, "%s%016llx", trace_prefix, (unsigned long long)workload->trace);
    } else if (used < sizeof key->workload) {
        snprintf(key->workload + used, sizeof key->workload - used, "%s", workload->routing);
    }
    if (workload->bits_free) {
        used = strlen(key->workload);
        snprintf(key->workload + used, sizeof key->workload - used, " bits free");
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

Wisdom *recall_open(const char *option, WisdomDamage damage, Diagnostics *diagnostics) {
    char path[WISDOM_PATH_BYTES], note[WISDOM_NOTE_BYTES] = "";
    if (option && !strcmp(option, "none")) {
        return NULL;
    }
    if (!option && wisdom_user_path(path)) {
        return NULL;
    }
    Wisdom *wisdom = option ? wisdom_read(option, damage, note, diagnostics)
                            : wisdom_read_all(path, WISDOM_SET_ASIDE, WISDOM_SYSTEM_PATH, note, diagnostics);
    if (*note) {
        fprintf(stderr, "catena: %s\n", note);
    }
    return wisdom;
}

// Writes why a path cannot be used, and the paths that can.
static void explain_path(const json_t *path, const Target *target, const Machine *machine, const Layer *layer, char *reason,
                         size_t reason_bytes) {
    snprintf(reason, reason_bytes,
             "the path '%.40s' cannot be used here; expected one of:", json_is_string(path) ? json_string_value(path) : "");
    for (int p = 0, count = 0; p < PATH_COUNT; p++) {
        size_t used = strlen(reason);
        if (paths_legal(machine, target, (Path)p, (Format)layer->weights, (Compute)layer->compute)) {
            snprintf(reason + used, reason_bytes - used, "%s %s", count++ ? "," : "", path_name((Path)p));
        }
    }
}

// Applies decisions to a default plan: first the path, if there is one (tune_decisions), then the knobs of its space. Returns 0, or
// -1 with a reason.
static int recall_decide(const json_t *decisions, const Target *target, const Machine *machine, Plan *plan, char *reason,
                         size_t reason_bytes) {
    Space space;
    Point point;
    Plan standard = *plan;  // `plan` stays as it is where something does not fit
    const json_t *path = json_object_get(decisions, "path");
    json_t *knobs = json_copy((json_t *)decisions);
    const Layer *layer = &plan->layer;
    if (path) {
        Path found = json_is_string(path) ? path_find(json_string_value(path)) : PATH_COUNT;
        if (found == PATH_COUNT || !paths_legal(machine, target, found, (Format)layer->weights, (Compute)layer->compute)) {
            explain_path(path, target, machine, layer, reason, reason_bytes);
            json_decref(knobs);
            return -1;
        }
        standard = plan_with_path(plan, found, target, machine);
        json_object_del(knobs, "path");
    }
    space_make(&standard, target, machine, &space);
    int status = space_read(&space, knobs, &point, reason, reason_bytes);
    if (!status) {
        space_plan(&space, &point, plan);
    }
    json_decref(knobs);
    return status;
}

// Why a key's entry is not used, if it was measured with another generator or LLVM; null if there is no such entry. New reference.
static json_t *describe_untrusted(const Wisdom *wisdom, const RecallKey *key, const char *id) {
    const json_t *entry = wisdom_find_outdated(wisdom, &key->key), *found = json_object_get(entry, "key");
    return entry ? json_sprintf(
                       "wisdom %s is not trusted: measured with catena %.60s, LLVM %.60s, this is catena %s, LLVM %s; "
                       "catena tune measures again",
                       id, json_string_value(json_object_get(found, "generator")),
                       json_string_value(json_object_get(found, "llvm")), wisdom_generator(), wisdom_llvm())
                 : json_null();
}

// Replaces a plan by that of the key's entry. Returns where the plan comes from (null: there is no entry), a new reference; NULL
// with a reason where the entry does not fit.
static json_t *recall_plan(const Wisdom *wisdom, const RecallKey *key, const char *id, const Target *target, const Machine *machine,
                           Plan *plan, char *reason, size_t reason_bytes) {
    const json_t *entry = wisdom_find(wisdom, &key->key);
    if (!entry) {
        return json_null();
    }
    if (recall_decide(json_object_get(entry, "decisions"), target, machine, plan, reason, reason_bytes)) {
        return NULL;
    }
    snprintf(reason, reason_bytes, "out of memory");
    return wisdom_origin(id, entry);
}

// The same for a layer of a model, and what is to be said of an entry that is not trusted. What is wrong is said on stderr, and the
// default stays.
static json_t *recall_layer(const Wisdom *wisdom, const char *name, const Target *target, const Machine *machine,
                            RecallWorkload *workload, Plan *plan, json_t **untrusted) {
    RecallKey key;
    char reason[SPACE_REASON_BYTES], id[WISDOM_ID_BYTES];
    Diagnostics unread = {0};
    if (recall_trace(workload, &plan->layer, &unread)) {  // a library can be made without the trace
        fprintf(stderr, "catena: layer '%s': no wisdom is looked for: %s", name, unread.text);
        diagnostics_free(&unread);
        return json_null();
    }
    recall_key(&plan->layer, target, machine, (int)machine->threads, workload, &key);
    wisdom_id(&key.key, id);
    *untrusted = describe_untrusted(wisdom, &key, id);
    json_t *origin = recall_plan(wisdom, &key, id, target, machine, plan, reason, sizeof reason);
    if (!origin) {
        fprintf(stderr, "catena: layer '%s': wisdom %s does not fit, the default plan is taken: %s\n", name, id, reason);
        return json_null();
    }
    return origin;
}

json_t *recall_plans(const char *option, bool bits_free, const Model *model, const Target *target, const Machine *machine,
                     Plan *plans, json_t *untrusted, Diagnostics *diagnostics) {
    size_t before = diagnostics->count;
    Wisdom *wisdom = recall_open(option, WISDOM_LEAVE, diagnostics);
    RecallWorkload workload;
    json_t *origins = json_array();
    recall_workload(&model->workload, &workload);
    workload.bits_free = bits_free;
    for (int64_t i = 0; i < model->layer_count; i++) {
        json_t *origin = json_null(), *words = json_null();
        if (wisdom) {
            origin = recall_layer(wisdom, model->layers[i].name, target, machine, &workload, &plans[i], &words);
        }
        json_array_append_new(origins, origin);
        json_array_append_new(untrusted, words ? words : json_null());
    }
    wisdom_free(wisdom);
    if (diagnostics->count == before && json_array_size(origins) == (size_t)model->layer_count) {
        return origins;
    }
    if (diagnostics->count == before) {
        diagnostics_add(diagnostics, NULL, 0, 0, "out of memory");
    }
    json_decref(origins);
    return NULL;
}
