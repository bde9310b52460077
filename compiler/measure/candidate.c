// Candidates: emitted, loaded by the JIT, opened.
#define _GNU_SOURCE
#include "candidate.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/emit/jit.h"
#include "compiler/plan/space.h"

struct Candidate {
    Jit *jit;
    Contents contents;
    Kind kind;
    Plan tuned;  // what a shared skeleton reads
    LayerForward *forwards[1];
    Library *library;
};

// One compiled part: the tiles of a role, tile_leave, or a skeleton. `plan` is all that it was made from, the rest of it zero.
typedef struct CachedObject {
    unsigned part;  // a role, EMIT_LEAVE, or one of the following
    Plan plan;
    Object object;
    uint64_t used;
} CachedObject;

enum { PART_SHIPPED = EMIT_LEAVE + 1, PART_SHARED, CACHE_ENTRIES = 128 };

struct CandidateCache {
    const Target *target;
    CachedObject entries[CACHE_ENTRIES];
    uint64_t clock;
};

CandidateCache *candidate_cache_create(const Target *target) {
    CandidateCache *cache = calloc(1, sizeof *cache);
    if (cache) {
        cache->target = target;
    }
    return cache;
}

void candidate_cache_free(CandidateCache *cache) {
    for (int i = 0; cache && i < CACHE_ENTRIES; i++) {
        if (cache->entries[i].object) {
            LLVMDisposeMemoryBuffer(cache->entries[i].object);
        }
    }
    free(cache);
}

// What a part is made from. What the search varies a shared skeleton reads from layer_tuned alone.
static void strip(const Plan *plan, unsigned part, Plan *out) {
    memset(out, 0, sizeof *out);
    if (part == PART_SHIPPED || part == PART_SHARED) {
        *out = *plan;
    }
    if (part == PART_SHARED) {
        space_clear(out);
    }
    for (unsigned r = 0; r < ROLE_COUNT; r++) {
        Role *role = &out->roles[r];
        if (part == EMIT_LEAVE) {
            role->path = plan->roles[r].path;
            role->layout.matrices = plan->roles[r].layout.matrices;
        } else if (part == r) {
            *role = plan->roles[r];
        }
    }
}

// A copy of a part's object, which the JIT takes over; the one that was not asked for longest makes room.
static Object cached_part(CandidateCache *cache, const Plan *plan, unsigned part, Diagnostics *diagnostics) {
    CachedObject *place = &cache->entries[0];
    Plan from;
    strip(plan, part, &from);
    for (int i = 0; i < CACHE_ENTRIES; i++) {
        CachedObject *entry = &cache->entries[i];
        if (entry->object && entry->part == part && !memcmp(&entry->plan, &from, sizeof from)) {
            place = entry;
            break;
        }
        place = entry->used < place->used ? entry : place;
    }
    if (!place->object || place->part != part || memcmp(&place->plan, &from, sizeof from)) {
        Object made = part == PART_SHIPPED  ? emit_layer(cache->target, &from, 0, NULL, diagnostics)
                      : part == PART_SHARED ? emit_tunable_layer(cache->target, &from, diagnostics)
                                            : emit_tiles(cache->target, &from, 0, 1u << part, NULL, diagnostics);
        if (!made) {
            return NULL;
        }
        if (place->object) {
            LLVMDisposeMemoryBuffer(place->object);
        }
        *place = (CachedObject){.part = part, .plan = from, .object = made};
    }
    place->used = ++cache->clock;
    return LLVMCreateMemoryBufferWithMemoryRangeCopy(LLVMGetBufferStart(place->object), LLVMGetBufferSize(place->object), "part");
}

// Stands for tiles that the shared skeleton names and this plan never calls.
static void never_called(void) {
    abort();
}

static int define_all(Candidate *candidate, Diagnostics *diagnostics) {
    int status = jit_define(candidate->jit, "team_barrier", (const void *)team_barrier, diagnostics) ||
                 jit_define(candidate->jit, "layer_tuned", &candidate->tuned, diagnostics);
    for (int i = 0; i < EMIT_SPECIAL_TILES && !status; i++) {
        char name[EMIT_NAME_BYTES], defined[EMIT_NAME_BYTES + 2];
        if (!emit_special_tile(&candidate->tuned, i, name)) {
            snprintf(defined, sizeof defined, "%s_0", name);
            status = jit_define(candidate->jit, defined, (const void *)never_called, diagnostics);
        }
    }
    return status ? -1 : 0;
}

static int load_part(Candidate *candidate, CandidateCache *cache, const Plan *plan, unsigned part, Diagnostics *diagnostics) {
    Object object = cached_part(cache, plan, part, diagnostics);
    if (!object) {
        return -1;
    }
    if (candidate->jit) {
        return jit_add(candidate->jit, object, diagnostics);
    }
    candidate->jit = jit_load(object, diagnostics);
    return candidate->jit ? define_all(candidate, diagnostics) : -1;
}

static int load(Candidate *candidate, CandidateCache *cache, const Plan *plan, bool shipped, Diagnostics *diagnostics) {
    for (unsigned part = 0; part <= PART_SHARED; part++) {
        bool absent = part < ROLE_COUNT ? !plan->roles[part].layout.matrices : part == (shipped ? PART_SHARED : PART_SHIPPED);
        if (!absent && load_part(candidate, cache, plan, part, diagnostics)) {
            return -1;
        }
    }
    candidate->forwards[0] = (LayerForward *)jit_function(candidate->jit, "layer_forward_0");
    if (!candidate->forwards[0]) {
        diagnostics_add(diagnostics, NULL, 0, 0, "the emitted layer cannot be loaded");
    }
    return candidate->forwards[0] ? 0 : -1;
}

Candidate *candidate_open(CandidateCache *cache, const Plan *plan, bool shipped, const Bank *bank, int threads, int64_t max_tokens,
                          Diagnostics *diagnostics) {
    char error[256] = "";
    Candidate *candidate = calloc(1, sizeof *candidate);
    if (!candidate) {
        return NULL;
    }
    candidate->tuned = *plan;
    if (load(candidate, cache, plan, shipped, diagnostics)) {
        candidate_close(candidate);
        return NULL;
    }
    candidate->contents = (Contents){.name = "candidate", .kinds = 1};
    snprintf(candidate->contents.target, sizeof candidate->contents.target, "%s", cache->target->name);
    candidate->kind = bank->kind;
    candidate->kind.plan = *plan;
    Options options = {
        .size = sizeof options, .threads = plan->schedule.threads ? plan->schedule.threads : threads, .max_tokens = max_tokens};
    options.huge_pages = plan->schedule.huge_pages ? 1 : -1;
    options.bind = plan->schedule.bind ? plan->schedule.bind : -1;
    if (instance_open_memory(&candidate->contents, &candidate->kind, candidate->forwards, bank->image, (size_t)bank->image_bytes,
                             &options, &candidate->library, error, sizeof error)) {
        diagnostics_add(diagnostics, NULL, 0, 0, "%s", error);
        candidate_close(candidate);
        return NULL;
    }
    return candidate;
}

void candidate_close(Candidate *candidate) {
    if (candidate) {
        if (candidate->library) {
            instance_close(candidate->library);
        }
        jit_free(candidate->jit);
        free(candidate);
    }
}

// The thread that calls is never bound: its mask is what all started with.
void candidate_settle(const Candidate *candidate) {
    cpu_set_t mask[16];  // 16384 CPUs
    int known = sched_getaffinity(0, sizeof mask, mask);
#pragma omp parallel num_threads(candidate->library->threads)
    if (!known) {
        sched_setaffinity(0, sizeof mask, mask);
    }
    for (int i = 0; candidate->library->bind && i < candidate->library->threads; i++) {
        candidate->library->bound[i] = (pthread_t){0};
    }
}

Library *candidate_library(const Candidate *candidate) {
    return candidate->library;
}
