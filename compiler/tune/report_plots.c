// The plots of a search.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/base/table.h"
#include "compiler/bench/bench.h"
#include "report.h"

const char *const tune_report_plot_names[TUNE_REPORT_PLOTS] = {"roofline", "race", "knobs", "model"};

enum { COLOUR_CROWD = 0, COLOUR_WINNER = 1, COLOUR_DEFAULT = 2, COLOUR_OTHER = 3, COLOUR_LIMIT = 5, MOST_PAIRS = 2000 };
static const double told_apart = 0.001;  // of logarithms: what the model charges for distance from the default is less
static const double slowest_shown = -30;  // percent; slower plans are drawn at the edge

static bool same(const Point *a, const Point *b) {
    return !memcmp(a, b, sizeof *a);
}

// Whether a trial was timed against another in this search.
static bool is_timed(const SearchTrial *trial) {
    for (int p = 0; p < POINT_MAX_PARTS && !trial->unusable; p++) {
        if (trial->part_samples[p]) {
            return true;
        }
    }
    return false;
}

static bool is_raced(const SearchTrial *trial) {
    return is_timed(trial) && trial->rounds > 0;
}

// How many percent faster than the default a trial was.
static double percent_of(const SearchTrial *trial) {
    return tune_report_percent(trial->difference);
}

static char *decisions_text(const TuneView *view, const Point *point) {
    json_t *decisions = space_decisions(&view->result->space, point);
    char *text = json_dumps(decisions, JSON_SORT_KEYS);
    json_decref(decisions);
    return text;
}

// --- roofline ----------------------------------------------------------------------------------------------------------------

static Work work_of(const TuneView *view, int part) {
    const Plan *plan = &view->result->space.standard;
    int64_t tokens = view->options->workload.tokens[part];
    Visits visits = work_expected_visits(&plan->layer, tokens);
    return work_count(plan, tokens, &visits, true);
}

static void add_times(const TuneView *view, Plot *plot, int series, const SearchTrial *trial) {
    for (int p = 0; trial && p < view->options->workload.parts; p++) {
        Work work = work_of(view, p);
        if (trial->part_samples[p]) {
            plot_point(plot, series, work.flops / work.bytes, work.flops * 1e-9 / trial->part_seconds[p], "%lld tokens: %.3f ms",
                       (long long)view->options->workload.tokens[p], trial->part_seconds[p] * 1e3);
        }
    }
}

// The rate of the best tile's stream; of a plan that read faster, its own, as in bench.
static double find_bandwidth(const TuneView *view) {
    const SearchResult *search = &view->result->search;
    double bandwidth = view->bandwidth;
    for (size_t i = 0; i < search->trial_count; i++) {
        for (int p = 0; p < view->options->workload.parts; p++) {
            Work work = work_of(view, p);
            if (search->trials[i].part_samples[p]) {
                bandwidth = fmax(bandwidth, work_reached(&work, search->trials[i].part_seconds[p]));
            }
        }
    }
    return bandwidth;
}

static void add_roof(const TuneView *view, Plot *plot) {
    char peak_text[32], bandwidth_text[32];
    double bandwidth = find_bandwidth(view);
    double peak = view->best_path < 0 ? NAN : view->peaks.gflops[view->best_path], low = INFINITY, high = 0;
    for (int p = 0; p < view->options->workload.parts; p++) {
        Work work = work_of(view, p);
        low = fmin(low, work.flops / work.bytes);
        high = fmax(high, work.flops / work.bytes);
    }
    if (!(peak > 0) || !(bandwidth > 0)) {
        return;
    }
    double ridge = peak / bandwidth, ends[] = {fmin(low, ridge) / 1.5, ridge, fmax(high, ridge) * 1.5};
    int roof = plot_series(plot, PLOT_LINE, COLOUR_LIMIT, "limits: %s GFLOP/s (%s), %s GB/s", table_number(peak_text, peak),
                           path_name((Path)view->best_path), table_number(bandwidth_text, bandwidth));
    for (int i = 0; i < 3; i++) {
        plot_point(plot, roof, ends[i], fmin(peak, ends[i] * bandwidth), "%s", "");
    }
}

static void make_roofline(const TuneView *view, Plot *plot) {
    const SearchResult *search = &view->result->search;
    add_roof(view, plot);
    int crowd = plot_series(plot, PLOT_CROWD, COLOUR_CROWD, "plans that were timed");
    for (size_t i = 0; i < search->trial_count; i++) {
        add_times(view, plot, crowd, &search->trials[i]);
    }
    bool stays = same(&search->best, &view->standard);
    add_times(view, plot, plot_series(plot, PLOT_POINTS, COLOUR_DEFAULT, stays ? "default, chosen" : "default"),
              tune_report_find(view, &view->standard));
    if (view->other) {
        add_times(view, plot, plot_series(plot, PLOT_POINTS, COLOUR_WINNER, "%s", view->other_name),
                  tune_report_find(view, &search->candidate));
    }
}

// --- race --------------------------------------------------------------------------------------------------------------------

static void add_race(const TuneView *view, Plot *plot, int series, const SearchTrial *trial) {
    double percent = percent_of(trial);
    char *decisions = decisions_text(view, &trial->point);
    plot_point(plot, series, trial->seconds, fmax(percent, slowest_shown), "%+.1f %% in %d rounds: %s", percent, trial->rounds,
               decisions ? decisions : "");
    free(decisions);
}

// Whether a trial became the best when it raced. Those that were raced again later have lost their place.
static bool led(const TuneView *view, const SearchTrial *trial) {
    const SearchResult *search = &view->result->search;
    for (size_t i = 0; i < search->trial_count; i++) {
        const SearchTrial *other = &search->trials[i];
        if (other->won && is_raced(other) && other->seconds < trial->seconds && other->difference <= trial->difference) {
            return false;
        }
    }
    return trial->won && is_raced(trial);
}

static void make_race(const TuneView *view, Plot *plot) {
    const SearchResult *search = &view->result->search;
    const SearchTrial *candidate = tune_report_find(view, &search->candidate);
    double last = 0;
    int crowd = plot_series(plot, PLOT_CROWD, COLOUR_CROWD, "plans");
    for (size_t i = 0; i < search->trial_count; i++) {
        if (is_raced(&search->trials[i])) {
            add_race(view, plot, crowd, &search->trials[i]);
            last = fmax(last, search->trials[i].seconds);
        }
    }
    int steps = plot_series(plot, PLOT_STEPS, COLOUR_WINNER, "best so far"), count = 0;
    for (size_t i = 0; i < search->trial_count; i++) {
        if (led(view, &search->trials[i])) {
            plot_point(plot, steps, search->trials[i].seconds, fmax(percent_of(&search->trials[i]), slowest_shown), "%s", "");
            count++;
        }
    }
    if (count && candidate) {
        plot_point(plot, steps, last, fmax(percent_of(candidate), slowest_shown), "%s", "");
    }
    if (view->other && search->confirm_rounds) {
        int confirmed = plot_series(plot, PLOT_POINTS, COLOUR_OTHER, "the last race: %s", view->other_name);
        plot_point(plot, confirmed, last, fmax((search->candidate_gain - 1) * 100, slowest_shown),
                   "%+.1f %%, interval %+.1f to %+.1f %%", (search->candidate_gain - 1) * 100, (search->candidate_low - 1) * 100,
                   (search->candidate_high - 1) * 100);
    }
    int standard = plot_series(plot, PLOT_DASHED, COLOUR_DEFAULT, "default");
    plot_point(plot, standard, 0, last > 0 ? 0 : NAN, "%s", "");
    plot_point(plot, standard, last, last > 0 ? 0 : NAN, "%s", "");
}

// --- knobs -------------------------------------------------------------------------------------------------------------------

static void add_worths(const TuneView *view, Plot *plot, int series, const Point *base, const char *base_name) {
    const Space *space = &view->result->space;
    char value[TUNE_REPORT_TEXT];
    for (int k = 0; k < space->knob_count; k++) {
        TuneWorth worth = tune_report_worth(view, base, k);
        if (worth.trial) {
            const SpaceKnob *knob = &space->knobs[k];
            plot_point(plot, series, fmax(worth.percent, slowest_shown), space->knob_count - 1 - k,
                       "%s %s: %+.1f %% to the %s, %d rounds", knob->name,
                       tune_report_value(knob, worth.trial->point.value[k], value), worth.percent, base_name, worth.trial->rounds);
        }
    }
}

static void make_knobs(const TuneView *view, Plot *plot, const char *names[POINT_MAX_KNOBS]) {
    const Space *space = &view->result->space;
    for (int k = 0; k < space->knob_count; k++) {
        names[space->knob_count - 1 - k] = space->knobs[k].name;  // from the top
    }
    plot->y.names = names;
    plot->y.name_count = space->knob_count;
    int zero = plot_series(plot, PLOT_LINE, COLOUR_LIMIT, "no difference");
    int standard = plot_series(plot, PLOT_POINTS, COLOUR_DEFAULT, "best other value, the rest as the default");
    add_worths(view, plot, standard, &view->standard, "default");
    if (view->other) {
        int other = plot_series(plot, PLOT_POINTS, COLOUR_WINNER, "the rest as the %s", view->other_name);
        add_worths(view, plot, other, &view->result->search.candidate, view->other_name);
    }
    if (plot->series[plot->series_count - 1].count || plot->series[standard].count) {
        plot_point(plot, zero, 0, -0.5, "%s", "");
        plot_point(plot, zero, 0, space->knob_count - 0.5, "%s", "");
    }
}

// --- the cost model ----------------------------------------------------------------------------------------------------------

static double predicted(const TuneView *view, const Point *point) {
    const RecallWorkload *workload = &view->options->workload;
    double sum = 0, weights = 0;
    for (int p = 0; p < workload->parts; p++) {
        sum += workload->weight[p] *
               log(predict_seconds(&view->result->space, view->result->rates, view->options->threads, point, workload->tokens[p]));
        weights += workload->weight[p];
    }
    return sum / weights;
}

static void make_model(const TuneView *view, Plot *plot) {
    const SearchResult *search = &view->result->search;
    double standard = predicted(view, &view->standard), low = 0, high = 0;
    int line = plot_series(plot, PLOT_DASHED, COLOUR_LIMIT, "as predicted");
    int crowd = plot_series(plot, PLOT_CROWD, COLOUR_CROWD, "plans");
    int best = plot_series(plot, PLOT_POINTS, COLOUR_WINNER, "%s", view->other_name), count = 0;
    for (size_t i = 0; i < search->trial_count; i++) {
        const SearchTrial *trial = &search->trials[i];
        if (is_raced(trial)) {
            double x = tune_report_percent(predicted(view, &trial->point) - standard), y = percent_of(trial);
            bool winner = view->other && same(&trial->point, &search->candidate);
            plot_point(plot, winner ? best : crowd, fmax(x, slowest_shown), fmax(y, slowest_shown),
                       "predicted %+.1f %%, measured %+.1f %%", x, y);
            low = fmin(low, fmin(x, y));
            high = fmax(high, fmax(x, y));
            count++;
        }
    }
    low = fmax(low, slowest_shown);
    plot_point(plot, line, low, count ? low : NAN, "%s", "");
    plot_point(plot, line, high, count ? high : NAN, "%s", "");
}

double tune_report_concordance(const TuneView *view) {
    const SearchResult *search = &view->result->search;
    double values[MOST_PAIRS][2], right = 0, pairs = 0;
    size_t count = 0;
    for (size_t i = 0; i < search->trial_count && count < MOST_PAIRS; i++) {
        if (is_raced(&search->trials[i])) {
            values[count][0] = predicted(view, &search->trials[i].point);
            values[count++][1] = search->trials[i].difference;
        }
    }
    for (size_t a = 0; a < count; a++) {
        for (size_t b = 0; b < a; b++) {
            double expected = values[a][0] - values[b][0];
            if (fabs(expected) >= told_apart) {
                right += (expected < 0) == (values[a][1] < values[b][1]);
                pairs++;
            }
        }
    }
    return pairs > 0 ? right / pairs : NAN;
}

// --- all ---------------------------------------------------------------------------------------------------------------------

void tune_report_plots(const TuneView *view, Plot plots[TUNE_REPORT_PLOTS], const char *names[POINT_MAX_KNOBS]) {
    plots[0] = (Plot){.title = "Roofline: all plans at all token counts",
                      .description =
                          "Arithmetic rate over arithmetic intensity. A column of points is one token count, from few "
                          "on the left to many on the right. The line is what the machine can do: the best path's peak, and the "
                          "bandwidth that streaming tiles or plans reached.",
                      .x = {.label = "FLOP per byte of weights", .logarithmic = true},
                      .y = {.label = "GFLOP/s", .logarithmic = true}};
    plots[1] = (Plot){.title = "The race over time",
                      .description =
                          "Each point is a plan that raced the best so far, where its last round ended; plans more "
                          "than 30 % slower than the default are drawn at the edge.",
                      .x = {.label = "seconds since the search began", .from_zero = true},
                      .y = {.label = "% faster than the default"}};
    plots[2] = (Plot){.title = "What each knob alone was worth",
                      .description =
                          "The best plan that differs in that knob only from the default, and from what the search ended with. A "
                          "knob without a point was not tried alone.",
                      .x = {.label = "% faster"},
                      .y = {.label = ""}};
    plots[3] = (Plot){.title = "Predictions against measurements",
                      .description = "What the cost model expected of each plan, relative to the default, and what was measured.",
                      .x = {.label = "predicted: % faster than the default"},
                      .y = {.label = "measured: % faster"}};
    make_roofline(view, &plots[0]);
    make_race(view, &plots[1]);
    make_knobs(view, &plots[2], names);
    make_model(view, &plots[3]);
}
