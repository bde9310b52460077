// One layer under verification, shared between verify.c (which sets it up) and case.c (which runs one case).
#ifndef CATENA_VERIFY_CASE_H
#define CATENA_VERIFY_CASE_H

#include "verify.h"

enum { VERIFY_X_PADDING = 3, VERIFY_Y_PADDING = 7 };  // elements between strided rows

typedef struct VerifyRun {
    const Loaded *library;
    const Plan *plan;
    Library *team, *single, *alone;  // all threads; one thread and small chunks; one thread
    int number;              // of the layer
    void *image;
    size_t image_bytes;
    OracleWeights weights;
    size_t size;             // of an interface element
    int64_t limit;           // tokens per case
    int64_t room;            // rows of tokens: limit, and what the tallest tile takes
    float *x, *y;            // [room][hidden] as fp32
    uint8_t *in, *out, *other;  // interface rows, with room for strides and guards
    int32_t *experts;
    float *weights_out;         // [iterations][limit][top_k], beside experts
    int32_t *k;                 // [room] what each token is given; NULL: the layer takes none
    float *scores;              // [iterations][room][choices]
    float *alone_scores;        // [room][iterations][choices]
    double *oracle, *bound, *oracle_scores, *score_bounds;
    uint8_t *rejected;          // [limit] OracleVerdict
    uint8_t *skip;              // [limit] rows that their routing does not make again
} VerifyRun;

// Runs one case on run->x (test->tokens rows, filled by the caller); what is found goes to *test. -1 when out of memory.
int verify_run_case(const VerifyRun *run, VerifyCase *test);

#endif
