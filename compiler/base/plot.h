// Plots as SVG: axes with round ticks, points and lines, a legend, readable in light and in dark, narrow and wide, and without
// scripts: every point that has a text shows it when pointed at, and title and description are there for those who hear pages.
//
// By hand, because nothing in Debian fits: libplot (plotutils) and PLplot write SVG of fixed colours without titles, descriptions
// or texts of points; Cairo's draws every letter as a path; C has no SVG builder there, templates are C++ (ctemplate).
#ifndef CATENA_PLOT_H
#define CATENA_PLOT_H

#include <stdbool.h>
#include <stdio.h>

#include "diagnostic.h"

enum { PLOT_MAX_TICKS = 16, PLOT_MAX_SERIES = 96, PLOT_COLOURS = 6, PLOT_NAME_BYTES = 96, PLOT_MAX_NAMES = 64 };

typedef enum PlotStyle {
    PLOT_CROWD,   // many small points
    PLOT_POINTS,  // few large ones, each colour of a shape of its own
    PLOT_LINE,    // from left to right, whatever the order of the points; one that cannot be drawn interrupts it
    PLOT_MARKED,  // the same with its points
    PLOT_DASHED,
    PLOT_STEPS,   // a value holds until the next
} PlotStyle;

typedef struct PlotPoint {
    double x, y;
    char *label;  // may be NULL; owned
} PlotPoint;

typedef struct PlotSeries {
    char name[PLOT_NAME_BYTES];
    PlotStyle style;
    int colour;
    PlotPoint *points;
    size_t count, room;
} PlotSeries;

typedef struct PlotAxis {
    const char *label;
    bool logarithmic;
    bool from_zero;           // not logarithmic: 0 is on the axis
    const char *const *names; // instead of numbers: of 0, 1, 2, ...
    int name_count;
} PlotAxis;

// Zero-initialise and fill in the texts (borrowed); free with plot_free.
typedef struct Plot {
    const char *id;  // a word, unique on a page
    const char *title, *description;
    PlotAxis x, y;
    PlotSeries series[PLOT_MAX_SERIES];
    int series_count;
    bool failed;  // out of memory, or too many series: plot_save says so
} Plot;

// --- plot.c, which both others call; plot_file.c calls plot_svg.c ---
// A new series, drawn over those before it. Its number; the last one's where there is no room for more.
int plot_series(Plot *plot, PlotStyle style, int colour, const char *format, ...) __attribute__((format(printf, 4, 5)));
// Adds a point; "%s" of "" for no text. What has no place on the axes (not finite, not positive on a logarithmic axis) is left out.
void plot_point(Plot *plot, int series, double x, double y, const char *format, ...) __attribute__((format(printf, 5, 6)));
void plot_free(Plot *plot);

// Round numbers within low..high, ascending, about `most` of them and never more than PLOT_MAX_TICKS. Returns how many.
int plot_ticks(double low, double high, bool logarithmic, int most, double ticks[PLOT_MAX_TICKS]);

// Text between tags or in an attribute. What XML cannot hold (control characters, broken UTF-8) becomes '?'.
void plot_escape(FILE *out, const char *text);

// --- plot_svg.c ---
// The plots one below the other as one <svg>. standalone: a file of its own; otherwise the page has plot_style's rules.
void plot_write(const Plot *const *plots, int count, bool standalone, FILE *out);
// The style sheet that plots on a page need.
void plot_style(FILE *out);

// --- plot_file.c ---
// What begins every file of ours, within its first line or two: only such a file is replaced.
#define PLOT_MARK "<!-- written by catena -->"
// Whether a file can be written at `path`: nothing is there, or a file of ours. Finds out by making one under a temporary name.
// Returns 0, or -1 with diagnostics.
int plot_check_path(const char *path, Diagnostics *diagnostics);
// Writes a text under a temporary name and renames it. Returns 0, or -1 with diagnostics.
int plot_write_file(const char *path, const char *text, size_t bytes, Diagnostics *diagnostics);
// The plots as a file of their own, one below the other. Returns 0, or -1 with diagnostics.
int plot_save(const Plot *const *plots, int count, const char *path, Diagnostics *diagnostics);

#endif
