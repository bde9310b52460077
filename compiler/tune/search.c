// The stages of a search. What two points' race is: race.c.
#include "search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "race.h"

enum { FINALISTS = 6, QUICK_FINALISTS = 3, TABLE_POINTS = 20, RESTARTS = 12 };
static const double indistinct = 0.003;   // two predictions that differ by less say the same
static const double nearly = 0.01;         // a neighbour that lost by less gets a second race in the last sweep
static const double far_behind = 0.10;     // a neighbour that lost by more is not tried again where the incumbent has changed

// A prediction that may become a finalist.
typedef struct Predicted {
    Point point;
    double value;
} Predicted;

static double random_unit(Search *s) {  // xorshift64*
    s->random ^= s->random >> 12, s->random ^= s->random << 25, s->random ^= s->random >> 27;
    return (double)((s->random * 0x2545F4914F6CDD1Dull) >> 11) * 0x1p-53;
}

static int random_below(Search *s, int count) {
    return (int)(random_unit(s) * count);
}

static bool same(const Point *a, const Point *b) {
    return !memcmp(a, b, sizeof *a);
}

// A valid point; the default where chance finds none.
static Point random_point(Search *s) {
    enum { ATTEMPTS = 1000 };
    for (int i = 0; i < ATTEMPTS; i++) {
        Point point = s->problem->standard;
        for (int k = 0; k < s->problem->knobs; k++) {
            point.value[k] = s->problem->parts_of[k] ? (uint8_t)random_below(s, s->problem->values[k]) : point.value[k];
        }
        if (s->problem->valid(s->problem->context, &point)) {
            return point;
        }
    }
    return s->problem->standard;
}

// --- predict -----------------------------------------------------------------------------------------------------------------

// Whether the model cannot tell two points apart: it says nearly the same of both, and they are neighbours or nearly so. Races
// between such points are what the improving stage is for.
static bool are_alike(const SearchProblem *problem, const Predicted *a, const Point *point, double value) {
    int different = 0;
    for (int k = 0; k < problem->knobs; k++) {
        different += a->point.value[k] != point->value[k];
    }
    return different == 0 || (different <= 3 && fabs(a->value - value) < indistinct);
}

// The best predictions so far, ascending, none like another.
typedef struct Ranking {
    int most, count;
    Predicted best[TABLE_POINTS];
} Ranking;

// Takes the at-th place, or an earlier one that it deserves: those behind move on.
static void place_prediction(Predicted *best, int at, const Point *point, double value) {
    for (; at > 0 && best[at - 1].value > value; at--) {
        best[at] = best[at - 1];
    }
    best[at] = (Predicted){*point, value};
}

static void keep_prediction(const SearchProblem *problem, Ranking *ranking, const Point *point, double value) {
    Predicted *best = ranking->best;
    for (int i = 0; i < ranking->count; i++) {
        if (are_alike(problem, &best[i], point, value)) {
            if (value < best[i].value) {
                place_prediction(best, i, point, value);
            }
            return;
        }
    }
    int at = ranking->count < ranking->most ? ranking->count++ : ranking->most;
    if (at < ranking->most || value < best[--at].value) {
        place_prediction(best, at, point, value);
    }
}

// Goes to the best neighbour as long as there is a better one.
static void descend(Search *s, Point point, Ranking *ranking) {
    double value = search_predict(s, &point);
    keep_prediction(s->problem, ranking, &point, value);
    for (bool moved = true; moved;) {
        Point from = point;
        moved = false;
        for (int k = 0; k < s->problem->knobs; k++) {
            for (int v = 0; s->problem->parts_of[k] && v < s->problem->values[k]; v++) {
                Point next = from;
                next.value[k] = (uint8_t)v;
                if (v == from.value[k] || !s->problem->valid(s->problem->context, &next)) {
                    continue;
                }
                double predicted = search_predict(s, &next);
                keep_prediction(s->problem, ranking, &next, predicted);
                if (predicted < value) {
                    value = predicted, point = next, moved = true;
                }
            }
        }
    }
}

// The `most` best predictions that were met.
static void predict_best(Search *s, int most, Ranking *ranking) {
    *ranking = (Ranking){.most = most};
    s->stage = SEARCH_PREDICT;
    descend(s, s->incumbent, ranking);
    for (int i = 0; i < RESTARTS && !s->stopped; i++) {
        descend(s, random_point(s), ranking);
    }
}

// --- tabulate ----------------------------------------------------------------------------------------------------------------

// A candidate of a table.
typedef struct Entry {
    Point point;
    SearchRecord record;
    SearchRace race;
    bool done;
} Entry;

// The points of a table. The default is not one of them: they are compared with it.
static int list_entries(const Search *s, const SearchOptions *options, const Ranking *ranking, Entry *entries) {
    const Point *standard = &s->problem->standard;
    int count = 0;
    bool listed = !options->start || same(options->start, standard);
    for (size_t i = 0; i < options->candidate_count && i < SEARCH_MAX_TABLE; i++) {
        entries[count].point = options->candidates[i];
        count += !same(&options->candidates[i], standard);
    }
    for (int i = 0; i < ranking->count && !options->candidates; i++) {
        entries[count].point = ranking->best[i].point;
        listed |= options->start && same(options->start, &ranking->best[i].point);
        count += !same(&ranking->best[i].point, standard);
    }
    if (!listed && !options->candidates) {
        entries[count++].point = *options->start;
    }
    return count;
}

static void keep_entry(Search *s, const Entry *entry) {
    SearchTrial *trial = search_find(s, &entry->point);
    search_keep(s, trial, &entry->race);
    for (int p = 0; p < s->problem->parts; p++) {
        search_judge_part(&entry->record, p, &trial->part_difference[p], &trial->part_error[p]);
    }
}

// One more round for each entry that is not done. Returns how many were measured.
static int tabulate_round(Search *s, Entry *entries, int count) {
    double begin = s->problem->clock(s->problem->context);
    int running = 0;
    for (int i = 0; i < count && !search_over(s); i++) {
        Entry *entry = &entries[i];
        if (entry->done || search_round(s, &entry->point, search_all_parts(s->problem), &entry->record)) {
            continue;
        }
        entry->race = search_judge(s->problem, &entry->record);
        entry->done = search_is_narrow(&entry->race) || entry->race.rounds == SEARCH_MAX_ROUNDS;
        keep_entry(s, entry);
        running++;
    }
    int rounds = count ? entries[0].record.rounds : 0;
    for (int i = 0; i < count; i++) {
        rounds = entries[i].record.rounds > rounds ? entries[i].record.rounds : rounds;
    }
    s->left = (SEARCH_MAX_ROUNDS - rounds) * (s->problem->clock(s->problem->context) - begin);
    return running;
}

// All points in full; the best of them, be it by chance, is what the default must be confirmed against.
static void tabulate(Search *s, const SearchOptions *options, const Ranking *ranking) {
    Entry *entries = calloc(SEARCH_MAX_TABLE, sizeof *entries);
    int count = entries ? list_entries(s, options, ranking, entries) : 0, best = -1;
    s->out_of_memory |= !entries;
    s->stage = SEARCH_TABULATE;
    for (int i = 0; i < count && !search_over(s); i++) {
        entries[i].done = search_prepare(s, &entries[i].point) != 0;
    }
    while (!search_over(s) && tabulate_round(s, entries, count)) {
    }
    for (int i = 0; i < count; i++) {
        const SearchRace *race = &entries[i].race;
        best = race->rounds >= SEARCH_SURE_ROUNDS && race->median < (best < 0 ? 0 : entries[best].race.median) ? i : best;
    }
    if (best >= 0) {
        s->incumbent = entries[best].point;
        s->incumbent_difference = entries[best].race.high;
        search_find(s, &s->incumbent)->won = true;
        search_step(s);
    }
    s->converged = !search_over(s);
    free(entries);
}

// --- halve -------------------------------------------------------------------------------------------------------------------

typedef struct Runner {
    Point point;
    SearchRecord record;
    double median;
} Runner;

static int by_median(const void *a, const void *b) {
    double left = ((const Runner *)a)->median, right = ((const Runner *)b)->median;
    return (left > right) - (left < right);
}

// One more round for each runner against the incumbent; those that cannot run leave. Returns how many are left.
static int halve_round(Search *s, Runner *runners, int count) {
    int left = 0;
    for (int i = 0; i < count && !search_over(s); i++) {
        if (search_prepare(s, &runners[i].point) ||
            search_round(s, &runners[i].point, search_all_parts(s->problem), &runners[i].record)) {
            continue;
        }
        runners[i].median = search_judge(s->problem, &runners[i].record).median;
        runners[left++] = runners[i];
    }
    return left;
}

static void halve(Search *s, const Ranking *ranking) {
    Runner runners[FINALISTS] = {0};
    int running = 0;
    s->stage = SEARCH_HALVE;
    for (int i = 1; i < ranking->count; i++) {
        if (!same(&ranking->best[i].point, &s->incumbent)) {
            runners[running++].point = ranking->best[i].point;
        }
    }
    while (running > 1 && !search_over(s)) {
        running = halve_round(s, runners, running);
        qsort(runners, (size_t)running, sizeof *runners, by_median);
        running = (running + 1) / 2;
    }
    if (running && !search_over(s)) {
        search_challenge(s, &runners[0].point, search_all_parts(s->problem));
    }
}

// --- improve -----------------------------------------------------------------------------------------------------------------

typedef struct Neighbour {
    Point point;
    int knob;
    double predicted, order;
} Neighbour;

static int by_prediction(const void *a, const void *b) {
    const Neighbour *left = a, *right = b;
    if (left->predicted != right->predicted) {
        return left->predicted < right->predicted ? -1 : 1;
    }
    return (left->order > right->order) - (left->order < right->order);
}

// Whether a neighbour needs no race: its value lost clearly, or against this very incumbent, or in an earlier search. In the last
// sweep values that lost against another incumbent, and those that nearly won, have another chance, once.
static bool is_settled(const Search *s, int knob, const Point *point) {
    int value = point->value[knob], lost_at = s->lost_at[knob][value];
    double margin = s->lost[knob][value];
    const SearchTrial *trial = search_find(s, point);
    if ((trial && trial->unusable) || margin > far_behind) {
        return true;
    }
    if (lost_at == s->changes) {
        return !s->patient || margin > nearly || s->retried[knob][value] == s->changes;
    }
    if (lost_at) {
        return !s->patient && margin > nearly;
    }
    return trial && trial->rounds >= SEARCH_SURE_ROUNDS && trial->difference - s->incumbent_difference > nearly;
}

// Neighbours of the incumbent that are worth a race, the most promising first.
static int list_neighbours(Search *s, Neighbour *out) {
    int count = 0;
    for (int k = 0; k < s->problem->knobs; k++) {
        for (int v = 0; s->problem->parts_of[k] && v < s->problem->values[k]; v++) {
            Neighbour n = {.point = s->incumbent, .knob = k};
            n.point.value[k] = (uint8_t)v;
            if (v == s->incumbent.value[k] || !s->problem->valid(s->problem->context, &n.point)) {
                continue;
            }
            if (is_settled(s, k, &n.point)) {
                continue;
            }
            n.predicted = search_predict(s, &n.point);
            n.order = random_unit(s);
            out[count++] = n;
        }
    }
    qsort(out, (size_t)count, sizeof *out, by_prediction);
    return count;
}

static void improve(Search *s, bool quick) {
    int room = 0;
    for (int k = 0; k < s->problem->knobs; k++) {
        room += s->problem->values[k];
    }
    Neighbour *neighbours = malloc((size_t)(room > 0 ? room : 1) * sizeof *neighbours);
    s->stage = SEARCH_IMPROVE;
    while (neighbours && !search_over(s)) {
        int count = list_neighbours(s, neighbours);
        if (!count && (s->patient || quick)) {
            s->converged = true;
            break;
        }
        s->patient |= !count;
        int changes = s->changes;
        for (int i = 0; i < count && changes == s->changes && !search_over(s); i++) {
            const Neighbour *n = &neighbours[i];
            int value = n->point.value[n->knob];
            double margin = search_challenge(s, &n->point, s->problem->parts_of[n->knob] & search_all_parts(s->problem));
            if (changes == s->changes) {
                s->lost[n->knob][value] = margin;
                s->lost_at[n->knob][value] = s->changes;
                s->retried[n->knob][value] = s->patient ? s->changes : 0;
            }
        }
        s->patient &= changes == s->changes;
    }
    free(neighbours);
}

static void improve_randomly(Search *s) {
    s->stage = SEARCH_IMPROVE;
    while (!search_over(s)) {
        Point point = random_point(s);
        search_challenge(s, &point, search_all_parts(s->problem));
    }
}

// --- confirm -----------------------------------------------------------------------------------------------------------------

// The incumbent against the default, on all parts.
static void confirm(Search *s, SearchResult *result) {
    Point candidate = s->incumbent;
    s->stage = SEARCH_CONFIRM;
    s->reserve = 0;
    result->best = s->problem->standard;
    result->candidate = candidate;
    result->gain = result->low = result->high = 1;
    result->candidate_gain = result->candidate_low = result->candidate_high = 1;
    if (same(&candidate, &s->problem->standard)) {
        return;
    }
    s->incumbent = s->problem->standard;
    if (s->problem->confirm) {
        s->problem->confirm(s->problem->context);
    }
    SearchRace race = search_race(s, &candidate, search_all_parts(s->problem), SEARCH_CONFIRM_ROUNDS, SEARCH_CONFIRMING);
    result->confirm_rounds = race.rounds;
    result->candidate_gain = exp(-race.median);
    result->candidate_low = exp(-race.high);
    result->candidate_high = exp(-race.low);
    if (race.rounds >= SEARCH_SURE_ROUNDS && race.high < 0) {
        result->best = candidate;
        result->gain = result->candidate_gain, result->low = result->candidate_low, result->high = result->candidate_high;
    }
}

// How the incumbent compares with the default, which all differences are relative to.
static SearchRace race_default(Search *s) {
    Point incumbent = s->incumbent;
    SearchTrial *trial = search_find(s, &incumbent);
    SearchRace race = {0};
    s->incumbent = s->problem->standard;
    if (!same(&incumbent, &s->incumbent)) {
        race = search_race(s, &incumbent, search_all_parts(s->problem), SEARCH_SURE_ROUNDS, SEARCH_CONFIRMING);
    }
    if (trial && race.rounds) {
        search_keep(s, trial, &race);
    } else if (trial) {
        trial->difference = 0;  // until now it was to the start
    }
    s->incumbent = incumbent;
    return race;
}

// What is known of a start that was not raced against the default itself, from how it lost or won against the prediction.
static void relate_start(Search *s, const Point *start, const Point *predicted, double margin) {
    const SearchTrial *challenge = predicted ? search_find(s, predicted) : NULL;
    const SearchTrial raced = challenge ? *challenge : (SearchTrial){0};  // against the start
    SearchRace race = race_default(s);
    bool changed = !same(&s->incumbent, start);
    SearchTrial *lost = predicted && raced.rounds ? search_find(s, changed ? start : predicted) : NULL;
    if (lost && !same(&lost->point, &s->problem->standard)) {
        lost->rounds = raced.rounds, lost->error = raced.error, lost->seconds = raced.seconds;
        lost->difference = race.median + (changed ? -margin : margin);
    }
    s->incumbent_difference = changed && isfinite(race.high) ? race.high : race.median;  // of what won, the cautious end
    s->steps[s->step_count - 1].difference = s->incumbent_difference;
    s->steps[0].difference = race.median - (changed ? margin : 0);
}

// The start, be it slower than the default, against the best prediction: if time is short this is the whole search. Only then the
// default, so that no time goes into a start that is slow by far. predicted: NULL if there is none.
static void race_start(Search *s, const Point *predicted) {
    Point start = s->incumbent;
    const SearchTrial *known = search_find(s, &start);
    bool related = same(&start, &s->problem->standard) || (known && known->rounds);
    double margin = 0;
    if (!related && search_prepare(s, &start)) {
        start = s->incumbent = s->problem->standard;
        related = true;
    }
    predicted = predicted && !same(predicted, &start) ? predicted : NULL;
    search_step(s);
    if (predicted) {
        s->stage = SEARCH_HALVE;
        margin = search_challenge(s, predicted, search_all_parts(s->problem));
    }
    if (!related && !s->out_of_memory) {
        relate_start(s, &start, predicted, margin);
    }
}

static void look(Search *s, const SearchOptions *options) {
    Ranking ranking = {0};
    if (options->method == SEARCH_TABLE) {
        if (!options->candidates) {
            predict_best(s, TABLE_POINTS, &ranking);
        }
        s->incumbent = s->problem->standard;
        s->incumbent_difference = 0;
        search_step(s);
        tabulate(s, options, &ranking);
        return;
    }
    if (options->method == SEARCH_RANDOM) {
        race_start(s, NULL);
        improve_randomly(s);
        return;
    }
    predict_best(s, options->quick ? QUICK_FINALISTS : FINALISTS, &ranking);
    race_start(s, options->method == SEARCH_RACE ? &ranking.best[0].point : NULL);
    if (options->method == SEARCH_RACE) {
        halve(s, &ranking);
        improve(s, options->quick);
    } else if (!search_prepare(s, &ranking.best[0].point)) {
        s->incumbent = ranking.best[0].point;
        search_step(s);
    }
}

int search_run(const SearchProblem *problem, const SearchOptions *options, SearchResult *result) {
    Search *s = calloc(1, sizeof *s);
    if (!s) {
        return -1;
    }
    memset(result, 0, sizeof *result);
    search_begin(s, problem, options);
    look(s, options);
    result->converged = s->converged;
    confirm(s, result);
    result->stopped = s->stopped;
    s->stage = SEARCH_DONE;
    result->trials = s->trials;
    result->trial_count = s->trial_count;
    result->steps = s->steps;
    result->step_count = s->step_count;
    int status = s->out_of_memory ? -1 : 0;
    free(s);
    return status;
}
