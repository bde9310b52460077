// What the parts of a report look up in a search: trials, what a knob was worth, values as texts.
#include <math.h>
#include <string.h>

#include "report.h"

double tune_report_percent(double difference) {
    return (exp(-difference) - 1) * 100;
}

const SearchTrial *tune_report_find(const TuneView *view, const Point *point) {
    const SearchResult *search = &view->result->search;
    for (size_t i = 0; i < search->trial_count; i++) {
        if (!memcmp(&search->trials[i].point, point, sizeof *point)) {
            return &search->trials[i];
        }
    }
    return NULL;
}

static bool differs_in(const Point *a, const Point *b, int knob) {
    Point like = *a;
    like.value[knob] = b->value[knob];
    return a->value[knob] != b->value[knob] && !memcmp(&like, b, sizeof like);
}

TuneWorth tune_report_worth(const TuneView *view, const Point *base, int knob) {
    const SearchResult *search = &view->result->search;
    const SearchTrial *own = tune_report_find(view, base), *best = NULL;
    bool standard = !memcmp(base, &view->standard, sizeof *base);
    double difference = standard || !own ? 0 : own->difference;
    for (size_t i = 0; i < search->trial_count; i++) {
        const SearchTrial *trial = &search->trials[i];
        if (trial->rounds && !trial->unusable && differs_in(&trial->point, base, knob) &&
            (!best || trial->difference < best->difference)) {
            best = trial;
        }
    }
    return (TuneWorth){best, best ? tune_report_percent(best->difference - difference) : 0};
}

const char *tune_report_value(const SpaceKnob *knob, int index, char out[TUNE_REPORT_TEXT]) {
    long long value = knob->values[index];
    if (knob->is_tile) {
        snprintf(out, TUNE_REPORT_TEXT, "%lld x %lld", value / SPACE_TILE_SCALE, value % SPACE_TILE_SCALE);
    } else {
        snprintf(out, TUNE_REPORT_TEXT, "%lld", value);
    }
    return out;
}
