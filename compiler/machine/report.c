// Parts of JSON documents that several commands print.
#include "report.h"
#include "targets/target.h"

#include <string.h>

json_t *report_machine(const Machine *machine) {
    char fingerprint[MACHINE_FINGERPRINT_BYTES];
    json_t *caches = json_array();
    machine_fingerprint(machine, fingerprint);
    for (int64_t i = 0; i < machine->cache_count; i++) {
        const MachineCache *cache = &machine->caches[i];
        json_array_append_new(
            caches, json_pack("{s:I, s:I, s:I, s:I}", "level", (json_int_t)cache->level, "bytes", (json_int_t)cache->bytes,
                              "line_bytes", (json_int_t)cache->line_bytes, "shared_by", (json_int_t)cache->shared_by));
    }
    json_t *capabilities = json_array();
    const char *list = machine->capabilities.names, *name;
    size_t length;
    while ((name = features_next(&list, &length))) {
        json_array_append_new(capabilities, json_stringn(name, length));
    }
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "cpu", machine->cpu, "architecture",
                     machine->architecture, "fingerprint", fingerprint, "capabilities", capabilities, "caches", caches,
                     "units_online", (json_int_t)machine->units_online, "units_allowed", (json_int_t)machine->units_allowed,
                     "cores_allowed", (json_int_t)machine->cores_allowed, "threads", (json_int_t)machine->threads, "numa_nodes",
                     (json_int_t)machine->numa_nodes, "memory_total", (json_int_t)machine->memory_total, "memory_available",
                     (json_int_t)machine->memory_available, "huge_pages", machine->huge_pages);
}

json_t *report_bandwidth(const Bandwidth *bandwidth) {
    return json_pack("{s:f, s:f, s:I, s:b, s:s}", "gbytes_s", bandwidth->gbytes_s, "spread", bandwidth->spread, "bytes",
                     (json_int_t)bandwidth->bytes, "huge_pages", bandwidth->huge_pages, "loop", bandwidth->variant);
}

json_t *report_peaks(const Peaks *peaks, int threads) {
    json_t *gflops = json_object();
    for (int p = 0; p < PATH_COUNT; p++) {
        if (peaks->gflops[p] > 0) {
            json_object_set_new(gflops, path_name((Path)p), json_real(peaks->gflops[p]));
        }
    }
    return json_pack("{s:i, s:o}", "threads", threads, "gflops", gflops);
}

int report_print(json_t *document) {
    int status = json_dumpf(document, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(document);
    return status || fflush(stdout) ? -1 : 0;
}

const char *report_bytes(char out[32], int64_t bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    int unit = 0;
    for (; value >= 1024 && unit < 4; unit++) {
        value /= 1024;
    }
    snprintf(out, 32, value < 10 && unit > 2 ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return out;
}
