// What a search found, for people: one HTML page that needs no network and no scripts, and its plots as SVG files of their own.
//
//     DIR/index.html            the machine, and for each layer the verdict, the reasons, the plots and the space
//     DIR/LAYER-roofline.svg    every plan that was timed under the machine's limits
//     DIR/LAYER-race.svg        the differences to the default over time
//     DIR/LAYER-knobs.svg       what a change of each knob alone brought
//     DIR/LAYER-model.svg       predictions against measurements
#ifndef CATENA_TUNE_REPORT_H
#define CATENA_TUNE_REPORT_H

#include "compiler/base/plot.h"
#include "compiler/machine/peaks.h"
#include "tune.h"

// A report that is being written.
typedef struct TuneReport {
    const char *directory, *table_path;
    bool created;  // the directory was not there before
    int layers;
    FILE *stream;  // of the sections
    char *sections;
    size_t bytes;
} TuneReport;

// Makes the directory if it is not there and checks that the page can be written. table_path: a file that is written, too, so that
// it can be none of the report's; or NULL. Returns 0, or -1 with diagnostics; then tune_report_discard.
int tune_report_open(TuneReport *report, const char *directory, const char *table_path, Diagnostics *diagnostics);
// The same for a layer's plots, before the time of a search is spent.
int tune_report_expect(const TuneReport *report, const char *layer, Diagnostics *diagnostics);
// Writes a layer's plots and keeps its section of the page. Returns 0, or -1 with diagnostics.
int tune_report_layer(TuneReport *report, const char *layer, const TuneOptions *options, const TuneResult *result,
                      Diagnostics *diagnostics);
// Writes the page if there is a section for it, and frees the report; without one, a directory that was made is removed. Returns 0,
// or -1 with diagnostics.
int tune_report_close(TuneReport *report, const char *model, const TuneOptions *options, Diagnostics *diagnostics);
// Frees a report, open or not, whose page is not to be written.
void tune_report_discard(TuneReport *report);

// --- inside of the report: report.c calls report_plots.c and report_text.c; all three call report_view.c -----------------------

// A layer's search as the parts of a report see it.
typedef struct TuneView {
    const char *layer;
    const TuneOptions *options;
    const TuneResult *result;
    Peaks peaks;
    int best_path;  // the legal one with the highest peak; -1: unknown
    double bandwidth;  // GB/s: the highest rate of one tile's stream, cold, all threads; 0: unknown
    Point standard;
    bool other;  // the search ended with a challenger that is not the default: chosen, or a tie
    const char *other_name;  // "chosen plan", "last challenger"
} TuneView;

enum { TUNE_REPORT_TEXT = 48 };

// The best trial that differs from a point in one knob only, and by how many percent it is faster than the point.
typedef struct TuneWorth {
    const SearchTrial *trial;  // NULL: there is none
    double percent;
} TuneWorth;

// How many percent faster a difference of logarithms is.
double tune_report_percent(double difference);
// The trial of a point; NULL: the point was not tried.
const SearchTrial *tune_report_find(const TuneView *view, const Point *point);
TuneWorth tune_report_worth(const TuneView *view, const Point *base, int knob);
// A knob's value as a text: "12 x 32", "1024". Returns `out`.
const char *tune_report_value(const SpaceKnob *knob, int index, char out[TUNE_REPORT_TEXT]);

enum { TUNE_REPORT_PLOTS = 4 };
extern const char *const tune_report_plot_names[TUNE_REPORT_PLOTS];
// Fills in the plots; `names` must live as long as they do.
void tune_report_plots(const TuneView *view, Plot plots[TUNE_REPORT_PLOTS], const char *names[POINT_MAX_KNOBS]);
// The share of pairs of measured plans, of those whose predictions differ, that are predicted in the measured order; NaN without
// pairs.
double tune_report_concordance(const TuneView *view);

void tune_report_machine(const TuneOptions *options, FILE *out);
void tune_report_verdict(const TuneView *view, FILE *out);
void tune_report_reasons(const TuneView *view, FILE *out);
void tune_report_space(const TuneView *view, FILE *out);

#endif
