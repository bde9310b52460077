// Candidates: emitted, loaded by the JIT, opened.
#include "candidate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jit.h"

struct Candidate {
    Jit *jit;
    Contents contents;
    Kind kind;
    LayerForward *forwards[1];
    Library *library;
};

// The tiles of one set of roles. The schedule is not part of them.
typedef struct CachedTiles {
    Role roles[ROLE_COUNT];
    Object object;
    uint64_t used;
} CachedTiles;

enum { CACHE_ENTRIES = 64 };

struct CandidateCache {
    const Target *target;
    CachedTiles entries[CACHE_ENTRIES];
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

static Object copy_object(Object object) {
    return LLVMCreateMemoryBufferWithMemoryRangeCopy(LLVMGetBufferStart(object), LLVMGetBufferSize(object), "tiles");
}

// A copy of the roles' tiles, which the JIT takes over; the one that was not asked for longest makes room.
static Object cached_tiles(CandidateCache *cache, const Plan *plan, Diagnostics *diagnostics) {
    CachedTiles *oldest = &cache->entries[0];
    for (int i = 0; i < CACHE_ENTRIES; i++) {
        CachedTiles *entry = &cache->entries[i];
        if (entry->object && !memcmp(entry->roles, plan->roles, sizeof entry->roles)) {
            entry->used = ++cache->clock;
            return copy_object(entry->object);
        }
        oldest = entry->used < oldest->used ? entry : oldest;
    }
    Object made = emit_tiles(cache->target, plan, 0, NULL, diagnostics);
    if (!made) {
        return NULL;
    }
    if (oldest->object) {
        LLVMDisposeMemoryBuffer(oldest->object);
    }
    memcpy(oldest->roles, plan->roles, sizeof oldest->roles);
    oldest->object = made;
    oldest->used = ++cache->clock;
    return copy_object(made);
}

static int load(Candidate *candidate, CandidateCache *cache, const Plan *plan, Diagnostics *diagnostics) {
    Object tiles = cached_tiles(cache, plan, diagnostics);
    Object layer = tiles ? emit_layer(cache->target, plan, 0, NULL, diagnostics) : NULL;
    candidate->jit = layer ? jit_load(tiles, diagnostics) : NULL;
    if (!candidate->jit || jit_define(candidate->jit, "team_barrier", (void (*)(void))team_barrier, diagnostics) ||
        jit_add(candidate->jit, layer, diagnostics)) {
        return -1;
    }
    candidate->forwards[0] = (LayerForward *)jit_function(candidate->jit, "layer_forward_0");
    if (!candidate->forwards[0]) {
        diagnostics_add(diagnostics, NULL, 0, 0, "the emitted layer cannot be loaded");
    }
    return candidate->forwards[0] ? 0 : -1;
}

Candidate *candidate_open(CandidateCache *cache, const Plan *plan, const Bank *bank, int threads, int64_t max_tokens,
                          Diagnostics *diagnostics) {
    char error[256] = "";
    Candidate *candidate = calloc(1, sizeof *candidate);
    if (!candidate || load(candidate, cache, plan, diagnostics)) {
        candidate_close(candidate);
        return NULL;
    }
    candidate->contents = (Contents){.name = "candidate", .kinds = 1};
    snprintf(candidate->contents.target, sizeof candidate->contents.target, "%s", cache->target->name);
    candidate->kind = bank->kind;
    candidate->kind.plan = *plan;
    Options options = {.size = sizeof options, .threads = threads, .max_tokens = max_tokens, .huge_pages = bank->huge_pages};
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

Library *candidate_library(const Candidate *candidate) {
    return candidate->library;
}
