// `catena info` in its two forms: Markdown tables and one JSON document.
#include <string.h>

#include "compiler/machine/site.h"
#include "compiler/measure/measure.h"
#include "compiler/plan/paths.h"
#include "info.h"

// --- names of the X-macro lists ----------------------------------------------------------------------------------------------

typedef struct NameList {
    const char *what;
    const char *const *names;
} NameList;

static const NameList name_lists[] = {{"norm", norm_names},
                                      {"score", score_names},
                                      {"selection", selection_names},
                                      {"rank", rank_names},
                                      {"group score", group_score_names},
                                      {"group mask", group_mask_names},
                                      {"weight on", weight_on_names},
                                      {"activation", activation_names},
                                      {"weight format", format_names},
                                      {"compute class", compute_names}};
enum { NAME_LISTS = sizeof name_lists / sizeof *name_lists };

// --- Markdown ----------------------------------------------------------------------------------------------------------------

static void print_machine(const Machine *machine) {
    Features used, unused;
    char a[32], b[32];
    Table table = {0};
    paths_capabilities(machine, &used, &unused);
    table_column(&table, "machine", true);
    table_column(&table, machine->cpu, true);
    table_cell(&table, "architecture"), table_cell(&table, "%s", machine->architecture);
    table_cell(&table, "usable here");
    table_cell(&table, "%lld threads (%lld of %lld hardware threads on %lld cores allowed), %lld NUMA node%s",
               (long long)machine->threads, (long long)machine->units_allowed, (long long)machine->units_online,
               (long long)machine->cores_allowed, (long long)machine->numa_nodes, machine->numa_nodes == 1 ? "" : "s");
    table_cell(&table, "memory");
    table_cell(&table, "%s available of %s; transparent huge pages: %s", report_bytes(a, machine->memory_available),
               report_bytes(b, machine->memory_total), machine->huge_pages);
    for (int64_t i = 0; i < machine->cache_count; i++) {
        const MachineCache *cache = &machine->caches[i];
        table_cell(&table, "L%lld cache", (long long)cache->level);
        table_cell(&table, "%s, lines of %lld B, shared by %lld allowed thread%s", report_bytes(a, cache->bytes),
                   (long long)cache->line_bytes, (long long)cache->shared_by, cache->shared_by == 1 ? "" : "s");
    }
    table_cell(&table, "capabilities used"), table_cell(&table, "%s", *used.names ? used.names : "none");
    table_cell(&table, "present, not used"), table_cell(&table, "%s", *unused.names ? unused.names : "none");
    table_print(&table, stdout);
    table_free(&table);
}

static void print_targets(const Machine *machine) {
    Table table = {0};
    Features missing;
    char paths[256];
    table_column(&table, "target", true);
    table_column(&table, "runs here", true);
    table_column(&table, "paths", true);
    for (int t = 0; targets[t]; t++) {
        bool supported = site_supports(machine, targets[t], &missing);
        paths[0] = 0;
        for (int p = 0; p < PATH_COUNT; p++) {
            size_t length = strlen(paths);
            if (supported ? paths_possible(machine, targets[t], (Path)p) : target_tile(targets[t], (Path)p)->max_rows > 0) {
                snprintf(paths + length, sizeof paths - length, "%s%s", length ? " " : "", path_name((Path)p));
            }
        }
        table_cell(&table, "%s", targets[t]->name);
        table_cell(&table, supported ? "yes" : "no: needs %s", missing.names);
        table_cell(&table, "%s", paths);
    }
    putchar('\n');
    table_print(&table, stdout);
    table_free(&table);
}

static void print_names(void) {
    Table table = {0};
    char text[256];
    table_column(&table, "a description may say", true);
    table_column(&table, "names", true);
    for (int i = 0; i < NAME_LISTS; i++) {
        text[0] = 0;
        for (int n = 0; name_lists[i].names[n]; n++) {
            size_t length = strlen(text);
            snprintf(text + length, sizeof text - length, "%s%s", n ? " " : "", name_lists[i].names[n]);
        }
        table_cell(&table, "%s", name_lists[i].what), table_cell(&table, "%s", text);
    }
    putchar('\n');
    table_print(&table, stdout);
    table_free(&table);
}

static void print_peaks(const Machine *machine, const InfoMeasured *measured) {
    Table table = {0};
    char threads[32], a[32];
    snprintf(threads, sizeof threads, "%d threads", measured->threads[1]);
    table_column(&table, "GFLOP/s in registers", true);
    table_column(&table, "path", true);
    table_column(&table, "1 thread", false);
    table_column(&table, threads, false);
    table_column(&table, "tile in cache, 1 thread", false);
    for (int t = 0; targets[t] && t < INFO_MAX_TARGETS; t++) {
        bool supported = site_supports(machine, targets[t], NULL);
        for (int p = 0; supported && p < PATH_COUNT; p++) {
            if (measured->peaks[t][0].gflops[p] > 0) {
                table_cell(&table, "%s", targets[t]->name), table_cell(&table, "%s", path_name((Path)p));
                table_cell(&table, "%s", table_number(a, measured->peaks[t][0].gflops[p]));
                table_cell(&table, "%s", table_number(a, measured->peaks[t][1].gflops[p]));
                table_cell(&table, "%s", table_number(a, measured->peaks[t][0].tile_gflops[p]));
            }
        }
    }
    putchar('\n');
    table_print(&table, stdout);
    table_free(&table);
}

static void print_bandwidth(const Machine *machine, const InfoMeasured *measured) {
    Table table = {0};
    char threads[32], a[32];
    bool short_of;
    snprintf(threads, sizeof threads, "%d threads", measured->threads[1]);
    table_column(&table, "read GB/s", true);
    table_column(&table, "1 thread", false);
    table_column(&table, threads, false);
    table_column(&table, "working set", false);
    table_column(&table, "spread", false);
    table_column(&table, "best loop", true);
    for (int64_t c = 0; c <= machine->cache_count; c++) {
        const Bandwidth *one = &measured->bandwidth[c][0], *all = &measured->bandwidth[c][1];
        if (c < machine->cache_count) {
            table_cell(&table, "L%lld", (long long)machine->caches[c].level);
        } else {
            table_cell(&table, "memory, cold%s", (bandwidth_cold_bytes(machine, &short_of), short_of) ? " (memory is short)" : "");
        }
        table_cell(&table, "%s", table_number(a, one->gbytes_s)), table_cell(&table, "%s", table_number(a, all->gbytes_s));
        table_cell(&table, "%s", report_bytes(a, all->bytes)), table_cell(&table, "%.1f %%", all->spread * 100);
        table_cell(&table, "%s, %s pages", all->variant, all->huge_pages ? "huge" : "4 KiB");
    }
    putchar('\n');
    table_print(&table, stdout);
    table_free(&table);
}

static void print_winners(const Machine *machine, const InfoMeasured *measured) {
    Table table = {0};
    int best = site_best_target(machine);
    table_column(&table, "weights", true);
    table_column(&table, "compute class", true);
    table_column(&table, "path that wins", true);
    table_column(&table, "target", true);
    for (int f = 0; best >= 0 && f < FORMAT_COUNT; f++) {
        for (int c = 0; c < COMPUTE_COUNT; c++) {
            int path = paths_winner(machine, targets[best], &measured->peaks[best][0], (Format)f, (Compute)c);
            table_cell(&table, "%s", format_names[f]), table_cell(&table, "%s", compute_names[c]);
            table_cell(&table, "%s", path < 0 ? "none" : path_name(path)), table_cell(&table, "%s", targets[best]->name);
        }
    }
    putchar('\n');
    table_print(&table, stdout);
    table_free(&table);
}

// What of the measurements is not to be relied on, and why.
static void print_disturbed(const Machine *machine, const InfoMeasured *measured) {
    for (int n = 0; n < 2; n++) {
        for (int t = 0; targets[t] && t < INFO_MAX_TARGETS; t++) {
            if (site_supports(machine, targets[t], NULL) && *measured->peaks[t][n].note) {
                printf("\n%s: %s\n", targets[t]->name, measured->peaks[t][n].note);
            }
        }
        for (int64_t c = 0; c <= machine->cache_count; c++) {
            if (!bandwidth_plausible(&measured->bandwidth[c][n], 0)) {
                char level[16] = "memory";
                if (c < machine->cache_count) {
                    snprintf(level, sizeof level, "L%d", (int)machine->caches[c].level);
                }
                printf("\nmachine disturbed: the read bandwidth of %s, %d thread%s, varies by %.0f%%\n", level,
                       measured->threads[n], measured->threads[n] == 1 ? "" : "s", measured->bandwidth[c][n].spread * 100);
            }
        }
    }
}

void info_print_tables(const Machine *machine, const InfoMeasured *measured) {
    print_machine(machine);
    print_targets(machine);
    print_names();
    if (measured) {
        print_peaks(machine, measured);
        print_bandwidth(machine, measured);
        print_winners(machine, measured);
        print_disturbed(machine, measured);
    } else {
        puts("\n`catena info --peaks` measures the paths and the memory.");
    }
}

// --- JSON --------------------------------------------------------------------------------------------------------------------

static json_t *targets_json(const Machine *machine, const InfoMeasured *measured) {
    json_t *list = json_array();
    Features missing;
    for (int t = 0; targets[t] && t < INFO_MAX_TARGETS; t++) {
        bool supported = site_supports(machine, targets[t], &missing);
        json_t *target = json_pack("{s:s, s:b, s:s}", "name", targets[t]->name, "supported", supported, "missing", missing.names);
        json_t *paths = json_array(), *peaks = json_array();
        for (int p = 0; supported && p < PATH_COUNT; p++) {
            if (paths_possible(machine, targets[t], (Path)p)) {
                json_array_append_new(paths, json_string(path_name((Path)p)));
            }
        }
        for (int n = 0; supported && measured && n < 2; n++) {
            json_array_append_new(peaks, report_peaks(&measured->peaks[t][n], measured->threads[n]));
        }
        json_object_set_new(target, "paths", paths);
        json_object_set_new(target, "peaks", peaks);
        json_array_append_new(list, target);
    }
    return list;
}

static json_t *bandwidths_json(const Machine *machine, const InfoMeasured *measured) {
    json_t *list = json_array();
    for (int64_t c = 0; c <= machine->cache_count; c++) {
        for (int n = 0; n < 2; n++) {
            json_t *row = report_bandwidth(&measured->bandwidth[c][n]);
            json_object_set_new(
                row, "level",
                c < machine->cache_count ? json_sprintf("L%d", (int)machine->caches[c].level) : json_string("memory"));
            json_object_set_new(row, "threads", json_integer(measured->threads[n]));
            json_array_append_new(list, row);
        }
    }
    return list;
}

static json_t *winners_json(const Machine *machine, const InfoMeasured *measured) {
    json_t *list = json_array();
    int best = site_best_target(machine);
    for (int f = 0; best >= 0 && f < FORMAT_COUNT; f++) {
        for (int c = 0; c < COMPUTE_COUNT; c++) {
            int path = paths_winner(machine, targets[best], &measured->peaks[best][0], (Format)f, (Compute)c);
            json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s?}", "weights", format_names[f], "compute", compute_names[c],
                                                  "target", targets[best]->name, "path", path < 0 ? NULL : path_name(path)));
        }
    }
    return list;
}

json_t *info_document(const Machine *machine, const InfoMeasured *measured) {
    Features used, unused;
    paths_capabilities(machine, &used, &unused);
    json_t *document = json_pack("{s:o, s:s, s:o}", "machine", report_machine(machine), "capabilities_unused", unused.names,
                                 "targets", targets_json(machine, measured));
    json_t *names = json_object();
    for (int i = 0; i < NAME_LISTS; i++) {
        json_t *list = json_array();
        for (int n = 0; name_lists[i].names[n]; n++) {
            json_array_append_new(list, json_string(name_lists[i].names[n]));
        }
        json_object_set_new(names, name_lists[i].what, list);
    }
    json_object_set_new(document, "names", names);
    if (measured) {
        json_object_set_new(document, "bandwidth", bandwidths_json(machine, measured));
        json_object_set_new(document, "winners", winners_json(machine, measured));
    }
    return document;
}
