// `catena info`: what this machine is, what this process may use of it, and what of it the instruction paths use.
#include <argp.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "compiler/machine/site.h"
#include "compiler/measure/measure.h"
#include "info.h"

enum { OPTION_PEAKS = 256, OPTION_THREADS, OPTION_FORMAT };

typedef struct InfoOptions {
    bool peaks;
    int threads;
    OutputFormat format;
} InfoOptions;

static const struct argp_option option_table[] = {
    {"peaks", OPTION_PEAKS, NULL, 0,
     "Measure the peak of every instruction path (and remember it) and the read bandwidth of every level", 0},
    {"threads", OPTION_THREADS, "N", 0, "Measure with one thread and with N threads (default: all cores that this process may use)",
     0},
    {"format", OPTION_FORMAT, "md|json", 0, "Markdown tables (default) or one JSON document", 0},
    {0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    InfoOptions *options = state->input;
    switch (key) {
    case OPTION_PEAKS: options->peaks = true; return 0;
    case OPTION_THREADS: options->threads = command_parse_threads(argument, state); return 0;
    case OPTION_FORMAT:
        if (!output_format_parse(argument, &options->format)) {
            argp_error(state, "--format takes md or json, not '%s'", argument);
        }
        return 0;
    case ARGP_KEY_ARG: argp_error(state, "unexpected argument '%s'", argument); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp_info = {
    option_table, parse_option, NULL, "Shows this machine: topology, capabilities, measured peaks.", NULL, NULL, NULL};

static int measure_all(const Machine *machine, InfoMeasured *measured) {
    static const double seconds = 0.3;
    Diagnostics diagnostics = {0};
    for (int n = 0; n < 2; n++) {
        for (int t = 0; targets[t] && t < INFO_MAX_TARGETS; t++) {
            terminal_progress("measuring the paths of %s, %d threads", targets[t]->name, measured->threads[n]);
            if (site_supports(machine, targets[t], NULL) &&
                measure_peaks(targets[t]->name, measured->threads[n], &measured->peaks[t][n], &diagnostics)) {
                terminal_progress(NULL);
                diagnostics_print(&diagnostics, stderr);
                diagnostics_free(&diagnostics);
                return -1;
            }
            if (site_supports(machine, targets[t], NULL)) {
                peaks_keep(machine, targets[t]->name, measured->threads[n], &measured->peaks[t][n]);
            }
        }
        for (int64_t c = 0; c < machine->cache_count; c++) {
            terminal_progress("measuring read bandwidth, cache level %d, %d threads", (int)c + 1, measured->threads[n]);
            measure_bandwidth(machine, c, measured->threads[n], seconds, &measured->bandwidth[c][n]);
        }
        terminal_progress("measuring read bandwidth of memory, %d threads", measured->threads[n]);
        measure_bandwidth(machine, machine->cache_count, measured->threads[n], 4 * seconds,
                          &measured->bandwidth[machine->cache_count][n]);
    }
    terminal_progress(NULL);
    return 0;
}

int command_info(int argc, char **argv) {
    InfoOptions options = {0};
    static InfoMeasured measured;  // some kilobytes
    Machine machine;
    argp_parse(&argp_info, argc, argv, 0, NULL, &options);
    if (machine_detect(&machine)) {
        fprintf(stderr, "catena info: the topology of this machine cannot be read\n");
        return EXIT_FAILED;
    }
    measured.threads[0] = 1;
    measured.threads[1] = options.threads ? options.threads : (int)machine.threads;
    command_say_threads(options.peaks ? options.threads : 0);
    if (options.peaks && measure_all(&machine, &measured)) {
        return EXIT_FAILED;
    }
    const InfoMeasured *shown = options.peaks ? &measured : NULL;
    if (options.format == OUTPUT_JSON) {
        return report_print(info_document(&machine, shown)) ? EXIT_FAILED : EXIT_OK;
    }
    info_print_tables(&machine, shown);
    return fflush(stdout) ? EXIT_FAILED : EXIT_OK;
}
