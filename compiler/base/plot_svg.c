// Plots drawn as SVG 1.1. Sizes are in units of the view box, which a page scales: 480 of them are about the width of a phone.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plot.h"

enum { X_TICKS = 6, Y_TICKS = 6 };
static const double sheet_width = 480, right_margin = 14, title_height = 30, usual_height = 236, name_row = 22, legend_row = 20;
static const double letter = 7.1;  // width of a letter at 13 units, on the wide side
static const double padding = 0.05;  // of an axis at both ends

// One plot's place: its area within the drawing, and the ranges in units of the axes (logarithms on logarithmic ones).
typedef struct Frame {
    const Plot *plot;
    double left, top, width, height;
    double low[2], high[2];
} Frame;

// Colours that are told apart by all (Okabe and Ito, 2008), darker on light paper and lighter on dark.
static const char *const colours[2][PLOT_COLOURS] = {{"#0072b2", "#c94f00", "#00805f", "#a8448a", "#6b5b00", "#666666"},
                                                     {"#56b4e9", "#ff9d4d", "#2fcf9f", "#e39ac6", "#e0cf45", "#aaaaaa"}};

static void write_colours(FILE *out, int dark) {
    static const char *const paper[] = {"#ffffff", "#16181c"}, *const ink[] = {"#1d1f24", "#e4e6ea"},
                             *const grid[] = {"#dfe2e6", "#34383f"};
    fprintf(out, ".plot .paper{fill:%s}.plot text{fill:%s}.plot .grid{stroke:%s}.plot .frame{stroke:%s}", paper[dark], ink[dark],
            grid[dark], ink[dark]);
    for (int c = 0; c < PLOT_COLOURS; c++) {
        fprintf(out, ".plot .f%d{fill:%s}.plot .s%d{stroke:%s}", c, colours[dark][c], c, colours[dark][c]);
    }
}

void plot_style(FILE *out) {
    fputs(
        ".plot{display:block;width:100%;height:auto;font:13px system-ui,sans-serif}.plot .title{font-weight:600;font-size:15px}"
        ".plot .line{fill:none;stroke-width:2;stroke-linejoin:round}.plot .dashed{stroke-dasharray:6 4}"
        ".plot .crowd{fill-opacity:.55}.plot .end{text-anchor:end}.plot .middle{text-anchor:middle}",
        out);
    write_colours(out, 0);
    fputs("@media (prefers-color-scheme:dark){", out);
    write_colours(out, 1);
    fputs("}", out);
}

// --- axes --------------------------------------------------------------------------------------------------------------------

static const PlotAxis *axis_of(const Plot *plot, int axis) {
    return axis ? &plot->y : &plot->x;
}

static double on_axis(const PlotAxis *axis, double value) {
    return axis->logarithmic ? log10(value) : value;
}

static void find_range(Frame *frame, int which) {
    const PlotAxis *axis = axis_of(frame->plot, which);
    double low = INFINITY, high = -INFINITY;
    for (int i = 0; i < frame->plot->series_count; i++) {
        for (size_t p = 0; p < frame->plot->series[i].count; p++) {
            const PlotPoint *point = &frame->plot->series[i].points[p];
            double value = on_axis(axis, which ? point->y : point->x);
            low = isfinite(point->y) && value < low ? value : low;
            high = isfinite(point->y) && value > high ? value : high;
        }
    }
    if (axis->name_count) {
        low = -0.5, high = axis->name_count - 0.5;
    } else if (!(low <= high)) {
        low = 0, high = 1;
    } else {
        bool zero = axis->from_zero && !axis->logarithmic;
        low = zero && low > 0 ? 0 : low;
        high = zero && high < 0 ? 0 : high;
        double around = high > low ? padding * (high - low) : axis->logarithmic ? 0.3 : fabs(high) > 0 ? fabs(high) * 0.1 : 1;
        low -= zero && low == 0 ? 0 : around;
        high += zero && high == 0 && low < 0 ? 0 : around;
    }
    frame->low[which] = low;
    frame->high[which] = high;
}

static double place(const Frame *frame, int which, double value) {
    double share = (on_axis(axis_of(frame->plot, which), value) - frame->low[which]) / (frame->high[which] - frame->low[which]);
    return which ? frame->top + frame->height * (1 - share) : frame->left + frame->width * share;
}

static void tick_text(char out[32], double value) {
    if (fabs(value) >= 1e6) {
        snprintf(out, 32, "%gM", value / 1e6);
    } else if (fabs(value) >= 1e4) {
        snprintf(out, 32, "%gk", value / 1e3);
    } else {
        snprintf(out, 32, "%g", value);
    }
}

// Ticks with their texts; returns how many.
static int find_ticks(const Frame *frame, int which, double ticks[PLOT_MAX_NAMES], char texts[PLOT_MAX_NAMES][PLOT_NAME_BYTES]) {
    const PlotAxis *axis = axis_of(frame->plot, which);
    double low = frame->low[which], high = frame->high[which];
    if (axis->name_count) {
        int count = axis->name_count < PLOT_MAX_NAMES ? axis->name_count : PLOT_MAX_NAMES;
        for (int i = 0; i < count; i++) {
            ticks[i] = i;
            snprintf(texts[i], PLOT_NAME_BYTES, "%s", axis->names[i]);
        }
        return count;
    }
    int count = plot_ticks(axis->logarithmic ? pow(10, low) : low, axis->logarithmic ? pow(10, high) : high, axis->logarithmic,
                           which ? Y_TICKS : X_TICKS, ticks);
    for (int i = 0; i < count; i++) {
        tick_text(texts[i], ticks[i]);
    }
    return count;
}

static void write_text(FILE *out, double x, double y, const char *kind, const char *text) {
    fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">", x, y, kind);
    plot_escape(out, text);
    fputs("</text>", out);
}

// The left margin leaves room for the longest text of the axis.
static void write_axes(Frame *frame, FILE *out) {
    double ticks[PLOT_MAX_NAMES], longest = 0;
    char texts[PLOT_MAX_NAMES][PLOT_NAME_BYTES];
    int count = find_ticks(frame, 1, ticks, texts);
    for (int i = 0; i < count; i++) {
        longest = fmax(longest, (double)strlen(texts[i]));
    }
    frame->left = 34 + letter * longest;
    frame->width = sheet_width - right_margin - frame->left;
    for (int i = 0; i < count; i++) {
        double y = place(frame, 1, ticks[i]);
        fprintf(out, "<path class=\"grid\" d=\"M%.1f %.1fh%.1f\"/>", frame->left, y, frame->width);
        write_text(out, frame->left - 6, y + 4.5, "end", texts[i]);
    }
    count = find_ticks(frame, 0, ticks, texts);
    for (int i = 0; i < count; i++) {
        double x = place(frame, 0, ticks[i]);
        fprintf(out, "<path class=\"grid\" d=\"M%.1f %.1fv%.1f\"/>", x, frame->top, frame->height);
        write_text(out, x, frame->top + frame->height + 17, "middle", texts[i]);
    }
    fprintf(out, "<path class=\"frame\" fill=\"none\" d=\"M%.1f %.1fv%.1fh%.1f\"/>\n", frame->left, frame->top, frame->height,
            frame->width);
    write_text(out, frame->left + frame->width / 2, frame->top + frame->height + 36, "middle", frame->plot->x.label);
    double middle = frame->top + frame->height / 2;
    fprintf(out, "<g transform=\"rotate(-90 16 %.1f)\">", middle);
    write_text(out, 16, middle, "middle", frame->plot->y.label);
    fputs("</g>\n", out);
}

// --- series ------------------------------------------------------------------------------------------------------------------

static void write_mark(FILE *out, PlotStyle style, int colour, double x, double y, const char *label) {
    static const char *const shapes[PLOT_COLOURS] = {"m-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z",
                                                     "m-4.5 -4.5h9v9h-9z",
                                                     "m0 -6l6 6l-6 6l-6 -6z",
                                                     "m0 -6l5.5 10h-11z",
                                                     "m0 6l5.5 -10h-11z",
                                                     "m-6 -2h4v-4h4v4h4v4h-4v4h-4v-4h-4z"};
    bool titled = label && *label;
    if (style == PLOT_CROWD) {
        fprintf(out, "<circle class=\"crowd f%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"2.8\"", colour, x, y);
    } else {
        fprintf(out, "<path class=\"f%d\" d=\"M%.1f %.1f%s\"", colour, x, y, shapes[colour]);
    }
    if (titled) {
        fputs("><title>", out);
        plot_escape(out, label);
        fprintf(out, "</title></%s>\n", style == PLOT_CROWD ? "circle" : "path");
    } else {
        fputs("/>\n", out);
    }
}

static int by_x(const void *a, const void *b) {
    const PlotPoint *const *left = a, *const *right = b;
    return ((*left)->x > (*right)->x) - ((*left)->x < (*right)->x);
}

static void write_line(const Frame *frame, const PlotSeries *series, const PlotPoint *const *points, FILE *out) {
    bool drawing = false;
    double last = 0;
    fprintf(out, "<path class=\"line s%d%s\" d=\"", series->colour, series->style == PLOT_DASHED ? " dashed" : "");
    for (size_t p = 0; p < series->count; p++) {
        if (!isfinite(points[p]->y)) {
            drawing = false;
            continue;
        }
        double x = place(frame, 0, points[p]->x), y = place(frame, 1, points[p]->y);
        if (drawing && series->style == PLOT_STEPS) {
            fprintf(out, "L%.1f %.1f", x, last);
        }
        fprintf(out, "%c%.1f %.1f", drawing ? 'L' : 'M', x, y);
        drawing = true;
        last = y;
    }
    fputs("\"/>\n", out);
}

static bool has_points(const PlotSeries *series) {
    for (size_t p = 0; p < series->count; p++) {
        if (isfinite(series->points[p].y)) {
            return true;
        }
    }
    return false;
}

static void write_series(const Frame *frame, const PlotSeries *series, FILE *out) {
    const PlotPoint **points = calloc(series->count + 1, sizeof *points);
    bool line = series->style != PLOT_CROWD && series->style != PLOT_POINTS;
    for (size_t p = 0; points && p < series->count; p++) {
        points[p] = &series->points[p];
    }
    if (points && line && has_points(series)) {
        qsort(points, series->count, sizeof *points, by_x);
        write_line(frame, series, points, out);
    }
    for (size_t p = 0; points && p < series->count && (!line || series->style == PLOT_MARKED); p++) {
        if (isfinite(points[p]->y)) {
            write_mark(out, series->style, series->colour, place(frame, 0, points[p]->x), place(frame, 1, points[p]->y),
                       points[p]->label);
        }
    }
    free(points);
}

// --- legend ------------------------------------------------------------------------------------------------------------------

// Rows of names below a plot, as many in each as have room; of what was drawn only. Returns the rows; out may be NULL.
static int write_legend(const Plot *plot, double top, FILE *out) {
    double x = 12;
    int row = 0, names = 0;
    for (int i = 0; i < plot->series_count; i++) {
        const PlotSeries *series = &plot->series[i];
        if (!has_points(series)) {
            continue;
        }
        double width = 34 + letter * (double)strlen(series->name);
        if (x > 12 && x + width > sheet_width) {
            x = 12;
            row++;
        }
        double y = top + row * legend_row;
        if (out && (series->style == PLOT_CROWD || series->style == PLOT_POINTS || series->style == PLOT_MARKED)) {
            write_mark(out, series->style, series->colour, x + 9, y - 4.5, NULL);
        }
        if (out && series->style != PLOT_CROWD && series->style != PLOT_POINTS) {
            fprintf(out, "<path class=\"line s%d%s\" d=\"M%.1f %.1fh18\"/>", series->colour,
                    series->style == PLOT_DASHED ? " dashed" : "", x, y - 4.5);
        }
        if (out) {
            write_text(out, x + 23, y, "start", series->name);
        }
        x += width;
        names++;
    }
    return names ? row + 1 : 0;
}

// --- whole drawings ----------------------------------------------------------------------------------------------------------

static double area_height(const Plot *plot) {
    return plot->y.name_count ? name_row * fmin(plot->y.name_count, PLOT_MAX_NAMES) : usual_height;
}

static double plot_height(const Plot *plot) {
    return title_height + area_height(plot) + 48 + legend_row * write_legend(plot, 0, NULL) + 8;
}

static void write_plot(const Plot *plot, double top, FILE *out) {
    Frame frame = {.plot = plot, .top = top + title_height, .height = area_height(plot)};
    write_text(out, 12, top + 19, "title", plot->title);
    find_range(&frame, 0);
    find_range(&frame, 1);
    write_axes(&frame, out);
    bool empty = true;
    for (int i = 0; i < plot->series_count; i++) {
        write_series(&frame, &plot->series[i], out);
        empty = empty && !has_points(&plot->series[i]);
    }
    if (empty) {
        write_text(out, frame.left + frame.width / 2, frame.top + frame.height / 2, "middle", "nothing was measured");
    }
    write_legend(plot, frame.top + frame.height + 62, out);
}

void plot_write(const Plot *const *plots, int count, bool standalone, FILE *out) {
    double height = 0, top = 0;
    for (int i = 0; i < count; i++) {
        height += plot_height(plots[i]);
    }
    const char *id = count ? plots[0]->id : "plot";
    if (standalone) {
        fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" PLOT_MARK "\n", out);
    }
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" viewBox=\"0 0 %.0f %.0f\" role=\"img\" "
            "aria-labelledby=\"%s-title %s-text\">\n<title id=\"%s-title\">",
            sheet_width, height, id, id, id);
    plot_escape(out, count ? plots[0]->title : "");
    fprintf(out, "</title><desc id=\"%s-text\">", id);
    for (int i = 0; i < count; i++) {
        fputs(i ? " " : "", out);
        plot_escape(out, plots[i]->description);
    }
    fputs("</desc>\n", out);
    if (standalone) {
        fputs("<style>", out);
        plot_style(out);
        fputs("</style>\n", out);
    }
    fprintf(out, "<rect class=\"paper\" width=\"%.0f\" height=\"%.0f\"/>\n", sheet_width, height);
    for (int i = 0; i < count; i++) {
        write_plot(plots[i], top, out);
        top += plot_height(plots[i]);
    }
    fputs("</svg>\n", out);
}
