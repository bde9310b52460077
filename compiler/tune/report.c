// The page: its frame, a section for each layer, the files.
#define _GNU_SOURCE
#include "report.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "compiler/measure/measure.h"
#include "compiler/plan/paths.h"
#include "runtime/file.h"

static const char page_style[] =
    ":root{color-scheme:light dark}body{margin:0 auto;max-width:1120px;padding:0 16px 32px;font:16px/1.5 system-ui,sans-serif;"
    "color:#1d1f24;background:#fff}h1{font-size:1.5em}h2{font-size:1.25em;margin-top:2em;border-top:1px solid #aab;"
    "padding-top:1em}h3{font-size:1.05em}h1,h2,p,li,td,code{overflow-wrap:anywhere}figure{margin:0}"
    ".verdict{font-size:1.1em;font-weight:600}"
    ".plots{display:grid;gap:24px;grid-template-columns:repeat(auto-fit,minmax(min(100%,470px),1fr))}"
    "figcaption{font-size:.87em;padding:0 "
    "12px}.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9em;min-width:680px}td code{white-space:nowrap}"
    "th,td{text-align:left;vertical-align:top;padding:4px 14px 4px 0;border-bottom:1px solid #ccd}"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 16px}dd{margin:0}"
    "@media (prefers-color-scheme:dark){body{color:#e4e6ea;background:#16181c}a{color:#8ab4f8}th,td,h2{border-color:#444b55}}"
    "@media (max-width:600px){dl{display:block}dt{font-weight:600}}";

static int find_best_path(const TuneView *view) {
    const Plan *plan = &view->result->space.standard;
    int best = -1;
    for (int p = 0; p < PATH_COUNT; p++) {
        if (paths_legal(view->options->machine, view->options->target, (Path)p, (Format)plan->roles[ROLE_GATE_UP].layout.weights,
                        (Compute)plan->layer.compute) &&
            view->peaks.gflops[p] > 0 && (best < 0 || view->peaks.gflops[p] > view->peaks.gflops[best])) {
            best = p;
        }
    }
    return best;
}

static int make_view(TuneView *view, const char *layer, const TuneOptions *options, const TuneResult *result,
                     Diagnostics *diagnostics) {
    *view = (TuneView){.layer = layer, .options = options, .result = result, .standard = space_standard(&result->space)};
    if (measure_peaks_kept(options->machine, options->target->name, options->threads, &view->peaks, diagnostics)) {
        return -1;
    }
    view->best_path = find_best_path(view);
    view->other = memcmp(&result->search.candidate, &view->standard, sizeof view->standard) != 0;
    view->other_name = result->search.gain > 1 ? "chosen plan" : "last challenger";
    for (int r = 0; r < 2; r++) {
        for (int i = 0; i < SPACE_MAX_VALUES * SPACE_MAX_VALUES; i++) {
            view->bandwidth = fmax(view->bandwidth, result->rates[r].stream[i / SPACE_MAX_VALUES][i % SPACE_MAX_VALUES]);
        }
    }
    return 0;
}

// --- sections ----------------------------------------------------------------------------------------------------------------

static void write_section(const TuneView *view, const Plot plots[TUNE_REPORT_PLOTS], FILE *out) {
    fputs("<section>\n<h2>Layer <code>", out);
    plot_escape(out, view->layer);
    fputs("</code></h2>\n", out);
    tune_report_verdict(view, out);
    fputs("<h3>The plan and its reasons</h3>\n", out);
    tune_report_reasons(view, out);
    fputs("<div class=\"plots\">\n", out);
    for (int i = 0; i < TUNE_REPORT_PLOTS; i++) {
        const Plot *plot = &plots[i];
        fputs("<figure>\n", out);
        plot_write(&plot, 1, false, out);
        fputs("<figcaption>", out);
        plot_escape(out, plot->description);
        double right = i == 3 ? tune_report_concordance(view) : NAN;
        if (isfinite(right)) {
            fprintf(out, " Of the pairs of plans that it told apart, it put %.0f %% in the measured order.", right * 100);
        }
        fputs("</figcaption>\n</figure>\n", out);
    }
    fputs("</div>\n<h3>The space</h3>\n", out);
    tune_report_space(view, out);
    fputs("</section>\n", out);
}

// Whether a file of the report can be written, and is not the table.
static int check_path(const TuneReport *report, const char *path, Diagnostics *diagnostics) {
    if (report->table_path && file_same(report->table_path, path)) {
        diagnostics_add(diagnostics, report->table_path, 0, 0, "a table cannot be a file of the report, '%s'", path);
        return -1;
    }
    return plot_check_path(path, diagnostics);
}

// plots: NULL only looks whether they could be written.
static int save_plots(const TuneReport *report, const char *layer, const Plot *plots, Diagnostics *diagnostics) {
    int status = 0;
    for (int i = 0; i < TUNE_REPORT_PLOTS && !status; i++) {
        const Plot *plot = plots ? &plots[i] : NULL;
        char *path = NULL;
        if (asprintf(&path, "%.*s/%s-%s.svg", file_folder_length(report->directory), report->directory, layer,
                     tune_report_plot_names[i]) < 0) {
            diagnostics_add(diagnostics, report->directory, 0, 0, "out of memory");
            return -1;
        }
        status = plot ? plot_save(&plot, 1, path, diagnostics) : check_path(report, path, diagnostics);
        free(path);
    }
    return status;
}

int tune_report_expect(const TuneReport *report, const char *layer, Diagnostics *diagnostics) {
    return save_plots(report, layer, NULL, diagnostics);
}

int tune_report_layer(TuneReport *report, const char *layer, const TuneOptions *options, const TuneResult *result,
                      Diagnostics *diagnostics) {
    TuneView *view = calloc(1, sizeof *view);
    Plot *plots = calloc(TUNE_REPORT_PLOTS, sizeof *plots);
    const char *names[POINT_MAX_KNOBS];
    char ids[TUNE_REPORT_PLOTS][32];
    int status = -1;
    if (!view || !plots) {
        diagnostics_add(diagnostics, report->directory, 0, 0, "out of memory");
    } else if (!make_view(view, layer, options, result, diagnostics)) {
        tune_report_plots(view, plots, names);
        for (int i = 0; i < TUNE_REPORT_PLOTS; i++) {
            snprintf(ids[i], sizeof ids[i], "%s%d", tune_report_plot_names[i], report->layers);
            plots[i].id = ids[i];
        }
        write_section(view, plots, report->stream);
        report->layers++;
        status = save_plots(report, layer, plots, diagnostics);
    }
    for (int i = 0; plots && i < TUNE_REPORT_PLOTS; i++) {
        plot_free(&plots[i]);
    }
    free(plots);
    free(view);
    return status;
}

// --- the page ----------------------------------------------------------------------------------------------------------------

// The page's path; owned by the caller. NULL with diagnostics.
static char *page_path(const char *directory, Diagnostics *diagnostics) {
    char *path = NULL;
    if (asprintf(&path, "%.*s/index.html", file_folder_length(directory), directory) < 0) {
        diagnostics_add(diagnostics, directory, 0, 0, "out of memory");
        return NULL;
    }
    return path;
}

int tune_report_open(TuneReport *report, const char *directory, const char *table_path, Diagnostics *diagnostics) {
    struct stat facts;
    *report = (TuneReport){.directory = directory, .table_path = table_path, .created = !mkdir(directory, 0777)};
    if (!report->created && (errno != EEXIST || stat(directory, &facts) || !S_ISDIR(facts.st_mode))) {
        diagnostics_add(diagnostics, directory, 0, 0, "no directory for a report: %s", strerror(errno == EEXIST ? ENOTDIR : errno));
        return -1;
    }
    char *path = page_path(directory, diagnostics);
    int status = path ? check_path(report, path, diagnostics) : -1;
    free(path);
    report->stream = status ? NULL : open_memstream(&report->sections, &report->bytes);
    if (!status && !report->stream) {
        diagnostics_add(diagnostics, directory, 0, 0, "out of memory");
    }
    return report->stream ? 0 : -1;
}

static void write_page(const TuneReport *report, const char *model, const TuneOptions *options, FILE *out) {
    char day[32] = "";
    time_t now = time(NULL);
    struct tm calendar;
    if (gmtime_r(&now, &calendar)) {
        strftime(day, sizeof day, "%Y-%m-%d %H:%M UTC", &calendar);
    }
    fputs("<!DOCTYPE html>\n" PLOT_MARK
          "\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n"
          "<meta charset=\"utf-8\"/>\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>catena "
          "tune: ",
          out);
    plot_escape(out, model);
    fprintf(out, "</title>\n<style>%s\n", page_style);
    plot_style(out);
    fputs("</style>\n</head>\n<body>\n<h1>Tuning of <code>", out);
    plot_escape(out, model);
    fprintf(out,
            "</code></h1>\n<p>catena " CATENA_VERSION
            ", %s. Differences are of times, weighted over token counts; points of "
            "the plots say more when pointed at.</p>\n<h3>The machine</h3>\n",
            day);
    tune_report_machine(options, out);
    fwrite(report->sections, 1, report->bytes, out);
    fputs("</body>\n</html>\n", out);
}

static int save_page(const TuneReport *report, const char *model, const TuneOptions *options, Diagnostics *diagnostics) {
    char *text = NULL, *path = page_path(report->directory, diagnostics);
    size_t bytes = 0;
    FILE *stream = open_memstream(&text, &bytes);
    if (stream) {
        write_page(report, model, options, stream);
    }
    int status = stream && path && !fclose(stream) ? plot_write_file(path, text, bytes, diagnostics) : -1;
    if (!stream) {
        diagnostics_add(diagnostics, report->directory, 0, 0, "out of memory");
    }
    free(text);
    free(path);
    return status;
}

void tune_report_discard(TuneReport *report) {
    if (report->stream) {
        fclose(report->stream);
    }
    if (report->created && !report->layers) {
        rmdir(report->directory);  // which keeps what others put there meanwhile
    }
    free(report->sections);
    *report = (TuneReport){0};
}

int tune_report_close(TuneReport *report, const char *model, const TuneOptions *options, Diagnostics *diagnostics) {
    int status = 0;
    if (report->stream && fclose(report->stream)) {
        diagnostics_add(diagnostics, report->directory, 0, 0, "out of memory");
        status = -1;
    }
    if (!status && report->layers) {
        status = save_page(report, model, options, diagnostics);
    }
    report->stream = NULL;
    tune_report_discard(report);
    return status;
}
