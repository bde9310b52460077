// Parts of JSON documents that several commands print.
#ifndef CATENA_REPORT_H
#define CATENA_REPORT_H

#include <jansson.h>

#include "bandwidth.h"
#include "compiler/base/table.h"
#include "machine.h"
#include "peaks.h"

json_t *report_machine(const Machine *machine);
json_t *report_bandwidth(const Bandwidth *bandwidth);
json_t *report_peaks(const Peaks *peaks, int threads);
// Prints and releases a document. Returns 0, or -1 if it cannot be written.
int report_print(json_t *document);

// "48 KiB", "2 MiB", "1.0 GiB".
const char *report_bytes(char out[32], int64_t bytes);

#endif
