// Every suite of the tests: one row here and one file tests/test_NAME.c that defines `Suite *suite_NAME(void)`.
// X(name, where it runs): NATIVE, or NATIVE_AND_SANITIZED if it is worth running under AddressSanitizer and UBSan too (the
// compiler that a suite runs as a program, $CATENA, is then built with them as well). Suites run side by side and are started in
// this order: first those that take long.
#ifndef CATENA_SUITES_H
#define CATENA_SUITES_H

#include <check.h>

enum { NATIVE = 1, SANITIZED = 2, NATIVE_AND_SANITIZED = NATIVE | SANITIZED };

#define SUITE_LIST(X) \
    X(cli, NATIVE_AND_SANITIZED) \
    X(compile, NATIVE) \
    X(import, NATIVE_AND_SANITIZED) \
    X(import_evidence, NATIVE_AND_SANITIZED) \
    X(import_quantised, NATIVE_AND_SANITIZED) \
    X(recall, NATIVE) \
    X(tune, NATIVE) \
    X(golden, NATIVE_AND_SANITIZED) \
    X(emit, NATIVE) \
    X(imported, NATIVE) \
    X(verify, NATIVE_AND_SANITIZED) \
    X(accusations, NATIVE_AND_SANITIZED) \
    X(faults, NATIVE) \
    X(artifact, NATIVE_AND_SANITIZED) \
    X(property, NATIVE_AND_SANITIZED) \
    X(placement, NATIVE_AND_SANITIZED) \
    X(docs, NATIVE_AND_SANITIZED) \
    X(docs_lists, NATIVE_AND_SANITIZED) \
    X(torch_module, NATIVE) \
    X(machine, NATIVE) \
    X(oracle, NATIVE_AND_SANITIZED) \
    X(audit, NATIVE) \
    X(spec, NATIVE_AND_SANITIZED) \
    X(search, NATIVE_AND_SANITIZED) \
    X(space, NATIVE_AND_SANITIZED) \
    X(predict, NATIVE_AND_SANITIZED) \
    X(tune_tokens, NATIVE_AND_SANITIZED) \
    X(plot, NATIVE_AND_SANITIZED) \
    X(schema, NATIVE_AND_SANITIZED) \
    X(npy, NATIVE_AND_SANITIZED) \
    X(oracle_select, NATIVE_AND_SANITIZED) \
    X(boundaries, NATIVE) \
    X(plan, NATIVE_AND_SANITIZED) \
    X(layer, NATIVE_AND_SANITIZED) \
    X(dealing, NATIVE_AND_SANITIZED) \
    X(routing, NATIVE_AND_SANITIZED) \
    X(families, NATIVE_AND_SANITIZED) \
    X(packed, NATIVE_AND_SANITIZED) \
    X(safetensors, NATIVE_AND_SANITIZED) \
    X(checkpoints, NATIVE_AND_SANITIZED) \
    X(weights, NATIVE_AND_SANITIZED) \
    X(weights_source, NATIVE_AND_SANITIZED) \
    X(formats, NATIVE_AND_SANITIZED) \
    X(formats_values, NATIVE_AND_SANITIZED) \
    X(pickle, NATIVE_AND_SANITIZED) \
    X(torch_checkpoint, NATIVE_AND_SANITIZED) \
    X(torch_damage, NATIVE_AND_SANITIZED) \
    X(runtime, NATIVE_AND_SANITIZED) \
    X(arguments, NATIVE_AND_SANITIZED) \
    X(unfinished, NATIVE_AND_SANITIZED) \
    X(name, NATIVE) \
    X(cores, NATIVE_AND_SANITIZED) \
    X(figures, NATIVE_AND_SANITIZED) \
    X(importance, NATIVE_AND_SANITIZED) \
    X(wisdom, NATIVE_AND_SANITIZED) \
    X(wisdom_command, NATIVE_AND_SANITIZED) \
    X(bench, NATIVE)

#define SUITE_DECLARE(name, where) Suite *suite_##name(void);
SUITE_LIST(SUITE_DECLARE)

// Sanitizers see one in this many of the cases that are drawn at random: with them a case takes three to five times as long.
#ifdef __SANITIZE_ADDRESS__
enum { ONE_CASE_IN = 3 };
#else
enum { ONE_CASE_IN = 1 };
#endif

// Seconds that a test case may take; sanitizers and a shared machine are slow.
enum { TEST_TIMEOUT = 300 };

#endif
