// What a plot consists of, round ticks, escaping. How it is drawn: plot_svg.c; how it becomes a file: plot_file.c.
#define _GNU_SOURCE
#include "plot.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int plot_series(Plot *plot, PlotStyle style, int colour, const char *format, ...) {
    if (plot->series_count == PLOT_MAX_SERIES) {
        plot->failed = true;
        return PLOT_MAX_SERIES - 1;
    }
    PlotSeries *series = &plot->series[plot->series_count];
    va_list arguments;
    *series = (PlotSeries){.style = style, .colour = colour % PLOT_COLOURS};
    va_start(arguments, format);
    vsnprintf(series->name, sizeof series->name, format, arguments);
    va_end(arguments);
    return plot->series_count++;
}

static bool has_place(const PlotAxis *axis, double value) {
    return isfinite(value) && (!axis->logarithmic || value > 0);
}

void plot_point(Plot *plot, int series, double x, double y, const char *format, ...) {
    PlotSeries *s = &plot->series[series];
    PlotPoint point = {x, y, NULL};
    if (!has_place(&plot->x, x)) {
        return;
    }
    point.y = has_place(&plot->y, y) ? y : NAN;  // interrupts a line
    if (s->count == s->room) {
        size_t room = s->room ? 2 * s->room : 16;
        PlotPoint *grown = realloc(s->points, room * sizeof *grown);
        if (!grown) {
            plot->failed = true;
            return;
        }
        s->points = grown;
        s->room = room;
    }
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&point.label, format, arguments) < 0) {
        point.label = NULL;
        plot->failed = true;
    }
    va_end(arguments);
    s->points[s->count++] = point;
}

void plot_free(Plot *plot) {
    for (int i = 0; i < plot->series_count; i++) {
        for (size_t p = 0; p < plot->series[i].count; p++) {
            free(plot->series[i].points[p].label);
        }
        free(plot->series[i].points);
    }
    plot->series_count = 0;
}

// --- ticks -------------------------------------------------------------------------------------------------------------------

// Multiples of 1, 2 or 5 times a power of ten.
static int linear_ticks(double low, double high, int most, double *ticks) {
    static const double steps[] = {1, 2, 5, 10};
    double rough = (high - low) / most, power = pow(10, floor(log10(rough))), step = 10 * power;
    int count = 0;
    for (int i = 3; i >= 0; i--) {
        step = steps[i] * power >= rough * (1 - 1e-9) ? steps[i] * power : step;
    }
    for (double n = ceil(low / step - 1e-9); n * step <= high + 1e-9 * step && count < PLOT_MAX_TICKS; n++) {
        ticks[count++] = n == 0 ? 0 : n * step;  // no negative zero
    }
    return count;
}

// Powers of ten, some left out if there are many of them, with 2 and 5 between them if there are few.
static int logarithmic_ticks(double low, double high, int most, double *ticks) {
    static const double between[] = {1, 2, 5};
    double first = floor(log10(low)), last = ceil(log10(high)), decades = last - first;
    int count = 0, stride = decades > most ? (int)ceil(decades / most) : 1, parts = decades <= 2 ? 3 : 1;
    for (double decade = first; decade <= last; decade += stride) {
        for (int i = 0; i < parts && count < PLOT_MAX_TICKS; i++) {
            double value = between[i] * pow(10, decade);
            if (value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9)) {
                ticks[count++] = value;
            }
        }
    }
    return count;
}

int plot_ticks(double low, double high, bool logarithmic, int most, double ticks[PLOT_MAX_TICKS]) {
    most = most < 1 ? 1 : most > PLOT_MAX_TICKS - 2 ? PLOT_MAX_TICKS - 2 : most;
    if (!isfinite(low) || !isfinite(high) || !(low < high) || (logarithmic && low <= 0)) {
        return 0;
    }
    int count = logarithmic ? logarithmic_ticks(low, high, most, ticks) : 0;
    return count > 1 ? count : linear_ticks(low, high, most, ticks);  // a logarithmic axis may be too short for 1, 2 and 5
}

// --- text --------------------------------------------------------------------------------------------------------------------

// Bytes of the character that begins at `text` if it is UTF-8 that XML may hold; otherwise 0. Unicode 16, table 3-7; XML 1.0, [2].
static size_t character_bytes(const unsigned char *text) {
    size_t bytes = *text < 0x80 ? 1 : *text < 0xC2 ? 0 : *text < 0xE0 ? 2 : *text < 0xF0 ? 3 : *text < 0xF5 ? 4 : 0;
    uint32_t code = bytes == 1 ? *text : *text & (0xFFu >> (bytes + 1));
    for (size_t i = 1; i < bytes; i++) {
        if ((text[i] & 0xC0) != 0x80) {
            return 0;
        }
        code = code << 6 | (text[i] & 0x3F);
    }
    bool overlong = (bytes == 3 && code < 0x800) || (bytes == 4 && code < 0x10000);
    bool forbidden = code < 0x20 || code == 0x7F || (code >= 0xD800 && code < 0xE000) || code == 0xFFFE || code == 0xFFFF;
    return overlong || forbidden || code > 0x10FFFF ? 0 : bytes;
}

void plot_escape(FILE *out, const char *text) {
    for (const unsigned char *c = (const unsigned char *)text; *c;) {
        size_t bytes = character_bytes(c);
        switch (*c) {
        case '<': fputs("&lt;", out); break;
        case '>': fputs("&gt;", out); break;
        case '&': fputs("&amp;", out); break;
        case '"': fputs("&quot;", out); break;
        case '\'': fputs("&#39;", out); break;
        default:
            if (bytes) {
                fwrite(c, 1, bytes, out);
            } else {
                fputc(*c == '\n' || *c == '\t' ? ' ' : '?', out);
            }
        }
        c += bytes ? bytes : 1;
    }
}
