// An open instance of a library: weights, workspace, threads. The functions of library.h with the library's contents as
// arguments, so that the catena binary and the tests can run natively compiled layers through the same code.
#ifndef CATENA_INSTANCE_H
#define CATENA_INSTANCE_H

#include <pthread.h>
#include <stdbool.h>

#include "file.h"
#include "packed.h"

enum { INSTANCE_ERROR_BYTES = 512, INSTANCE_MAX_THREADS = 1024 };

struct Library {
    const Contents *contents;
    const Kind *kinds;
    LayerForward *const *forwards;
    int64_t layers;         // instances of all kinds
    const uint8_t *image;   // packed weights: in `weights`, or the caller's memory
    const uint8_t **first;  // per kind: its first instance. Computed when the image was validated, not read again from it
    Mapping weights;
    Mapping workspace;
    int64_t extra_offset;   // within the workspace: what extra.h keeps there
    int64_t max_tokens;     // 0: each plan's chunk
    int threads;            // of the team: the most that any kind wants
    bool threads_given;     // by the opener, so that all kinds use them
    int bind;               // Bind
    bool huge_pages;
    int *cpus;              // that this process was allowed when it opened the instance, one of each core first; only when bind
    int cpu_count;
    pthread_t *bound;       // worker that was last bound for a place in the team; only when bind
    int32_t bound_pauses;   // how often workers had been ended then (team.c)
    char busy;              // atomic: inside a call
    int64_t nonfinite;      // of the last forward
    int64_t first_nonfinite;
    char error[INSTANCE_ERROR_BYTES];  // of the last call that failed
};

// What every forward is given; see library.h.
typedef struct Forward {
    int layer;
    int64_t tokens;
    const void *x;
    int64_t x_stride;
    void *y;
    int64_t y_stride;
} Forward;

Status instance_open(const Contents *contents, const Kind *kinds, LayerForward *const *forwards, const char *weights,
                     const Options *options, Library **out, char *error, size_t error_size);
Status instance_open_memory(const Contents *contents, const Kind *kinds, LayerForward *const *forwards, const void *packed,
                            size_t bytes, const Options *options, Library **out, char *error, size_t error_size);
Status instance_pack(const Contents *contents, const Kind *kinds, const char *weights, const char *path, char *error,
                     size_t error_size);
// Opens a packed file of these kinds just to check header and checksums.
Status instance_check_packed(const Contents *contents, const Kind *kinds, const char *path, char *error, size_t error_size);
int instance_find(const Library *library, const char *name, int64_t index);
Status instance_forward(Library *library, const Forward *forward);
Status instance_forward_routing(Library *library, const Forward *forward, int32_t *experts, float *weights);
Status instance_forward_routed(Library *library, const Forward *forward, const int32_t *experts, const float *weights);
// extra may be NULL: nothing is wanted.
Status instance_forward_with(Library *library, const Forward *forward, const Extra *extra);
int64_t instance_nonfinite(const Library *library, int64_t *first);
const char *instance_error(const Library *library);
void instance_close(Library *library);

// Most tokens that go through a layer of this plan together.
int64_t instance_chunk(const Library *library, const Plan *plan);

// Finds the kind, and the index within it, of a layer's number. Returns false if no layer has that number.
bool instance_layer(const Library *library, int64_t layer, int64_t *kind, int64_t *index);

#endif
