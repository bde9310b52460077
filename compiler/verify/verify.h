// Verification of a layer against the oracle: random and adversarial inputs, every token checked with the library's own choices
// replayed, every choice checked against the oracle's scores, and the promises that need no oracle: same bits for any number of
// threads, chunk of tokens, neighbours and strides; nothing written outside the rows; non-finite tokens reported.
#ifndef CATENA_VERIFY_H
#define CATENA_VERIFY_H

#include "compiler/library/artifact.h"
#include "compiler/oracle/oracle.h"

// Whether a case also goes through tiles of every height, and with which rows.
typedef enum VerifyHeights { VERIFY_HEIGHTS_NONE, VERIFY_HEIGHTS_OF_EQUAL, VERIFY_HEIGHTS_OF_DIFFERENT } VerifyHeights;

enum { VERIFY_NAME_BYTES = 40, VERIFY_REASON_BYTES = 240 };

typedef struct VerifyOptions {
    int64_t cases;  // random cases, besides the adversarial ones
    uint64_t seed;
    int threads;     // 0: all cores, at least two threads
    double seconds;  // rough limit of the oracle's time per layer: tokens per case shrink for big layers. 0: 20
} VerifyOptions;

typedef struct VerifyCase {
    char name[VERIFY_NAME_BYTES];
    int64_t tokens;
    ErrorModel model;               // which bounds applied
    VerifyHeights heights;
    OracleComparison comparison; // worst is in units of the bound
    OracleChecks checks;
    int passed;
    char reason[VERIFY_REASON_BYTES];  // why not; the first reason
} VerifyCase;

typedef struct VerifyReport {
    char layer[LAYER_NAME_BYTES];
    int64_t case_count, failed;
    VerifyCase *cases;  // owned; free with verify_report_free
} VerifyReport;

// Verifies kind `kind` of a library (of which only the function pointers are used, so a natively compiled layer will do) with
// synthetic weights in memory. Returns 0 when the cases ran, whatever came out (report->failed), or -1 with diagnostics.
// progress (may be NULL) is told each finished case.
int verify_layer(const Loaded *library, const Kind *kinds, int64_t kind_count, int64_t kind, const VerifyOptions *options,
                 void (*progress)(const VerifyReport *report, const VerifyCase *done), VerifyReport *report,
                 Diagnostics *diagnostics);
void verify_report_free(VerifyReport *report);

#endif
