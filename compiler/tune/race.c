// Rounds, races, and what is remembered of them.
#include "race.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/base/statistics.h"

static const double negligible = 0.003;  // a difference of no interest
static const double clear = 0.25;        // three rounds are enough to see one that is larger for certain
enum { RESERVED_ROUNDS = 12 };
static const double reserved_share = 0.25;  // of the budget at most is kept for the confirming race
static const double finest = 0.0005;   // no clock and no machine is steadier
static const double narrow = 0.01;     // a confirming race ends with an interval of this width

SearchTrial *search_find(const Search *s, const Point *point) {
    for (size_t i = 0; i < s->trial_count; i++) {
        if (!memcmp(&s->trials[i].point, point, sizeof *point)) {
            return &s->trials[i];
        }
    }
    return NULL;
}

// The point's trial, a new one if it has none. NULL when out of memory.
static SearchTrial *add_trial(Search *s, const Point *point) {
    SearchTrial *found = search_find(s, point);
    if (!found && s->trial_count == s->trial_room) {
        size_t room = s->trial_room ? 2 * s->trial_room : 64;
        SearchTrial *grown = realloc(s->trials, room * sizeof *grown);
        s->out_of_memory |= !grown;
        s->trials = grown ? grown : s->trials;
        s->trial_room = grown ? room : s->trial_room;
    }
    if (!found && s->trial_count < s->trial_room) {
        found = &s->trials[s->trial_count++];
        *found = (SearchTrial){.point = *point, .predicted = search_predict(s, point)};
    }
    return found;
}

void search_begin(Search *s, const SearchProblem *problem, const SearchOptions *options) {
    s->problem = problem;
    s->random = options->seed * 2 + 1;
    for (int i = 0; i < 8; i++) {  // seeds that differ in few bits
        s->random = s->random * 6364136223846793005ull + 1442695040888963407ull;
    }
    s->random |= 1;
    s->begin = problem->clock(problem->context);
    s->end = s->begin + options->budget;
    s->incumbent = options->start ? *options->start : problem->standard;
    s->changes = 1;
    for (size_t i = 0; i < options->known_count; i++) {
        SearchTrial *trial = add_trial(s, &options->known[i].point);
        if (trial) {
            *trial = options->known[i];
        }
    }
    const SearchTrial *start = search_find(s, &s->incumbent);
    s->incumbent_difference = start ? start->difference : 0;
}

bool search_over(const Search *s) {
    return s->stopped || s->out_of_memory || s->problem->clock(s->problem->context) >= s->end - s->reserve;
}

uint32_t search_all_parts(const SearchProblem *problem) {
    return (1u << problem->parts) - 1;
}

// The weighted mean over parts.
static double combine(const SearchProblem *problem, const double values[POINT_MAX_PARTS]) {
    double sum = 0, weights = 0;
    for (int p = 0; p < problem->parts; p++) {
        sum += problem->weight[p] * values[p];
        weights += problem->weight[p];
    }
    return sum / weights;
}

double search_predict(const Search *s, const Point *point) {
    double values[POINT_MAX_PARTS];
    for (int p = 0; p < s->problem->parts; p++) {
        values[p] = log(s->problem->predict(s->problem->context, point, p));
    }
    return combine(s->problem, values);
}

int search_prepare(Search *s, const Point *point) {
    SearchTrial *trial = add_trial(s, point);
    int status = trial ? s->problem->prepare(s->problem->context, point) : -1;
    s->stopped |= status < 0;
    if (trial) {
        trial->unusable = status > 0;
    }
    return status;
}

// --- rounds ------------------------------------------------------------------------------------------------------------------

// Keeps a sample for those who look at the search afterwards; decisions are made of differences only.
static void keep_sample(Search *s, const Point *point, int part, double seconds) {
    SearchTrial *trial = add_trial(s, point);
    if (trial) {
        double *mean = &trial->part_seconds[part];
        int count = ++trial->part_samples[part];
        *mean = count > 1 ? exp(log(*mean) + (log(seconds) - log(*mean)) / count) : seconds;
    }
}

// A sample of both on one part: the difference of their logarithms. Not finite if the search was stopped. round: of this race.
static double time_pair(Search *s, const Point *point, int part, int round) {
    const SearchProblem *problem = s->problem;
    const Point *pair[2] = {point, &s->incumbent};
    double seconds[2] = {0};
    for (int i = 0; i < 2 && !s->stopped; i++) {
        int side = (i + round) % 2;  // who goes first changes from round to round
        seconds[side] = problem->measure(problem->context, pair[side], part);
        s->stopped = !(seconds[side] > 0);
        if (!s->stopped) {
            keep_sample(s, pair[side], part, seconds[side]);
        }
    }
    return s->stopped ? INFINITY : log(seconds[0] / seconds[1]);
}

int search_round(Search *s, const Point *point, uint32_t parts, SearchRecord *record) {
    const SearchProblem *problem = s->problem;
    double begin = problem->clock(problem->context);
    for (int p = 0; p < problem->parts; p++) {
        record->difference[p][record->rounds] = parts & 1u << p ? time_pair(s, point, p, record->rounds) : 0;
        if (s->stopped) {
            return -1;
        }
    }
    record->parts = parts;
    record->rounds++;
    s->round_seconds = fmax(s->round_seconds, problem->clock(problem->context) - begin);
    double confirm = problem->confirm_seconds + (double)RESERVED_ROUNDS * s->round_seconds;
    s->reserve = s->stage == SEARCH_CONFIRM ? 0 : fmin(reserved_share * (s->end - s->begin), confirm);
    if (problem->progress) {
        problem->progress(problem->context, s);
    }
    return 0;
}

// Student's t for 95 % of both sides, to 1 % from three degrees of freedom on.
static double student(int freedom) {
    return 1.96 + 2.37 / freedom + 2.8 / freedom / freedom + 2.56 / freedom / freedom / freedom;
}

// The error is that of the median, from the median absolute deviation: both withstand outliers. 1.4826 makes the deviation that of
// a normal distribution, and n / (n - 0.8) that of few samples (Croux and Rousseeuw, 1992); 1.2533 is how much a median varies more
// than a mean.
void search_judge_part(const SearchRecord *record, int part, double *median, double *half) {
    double values[SEARCH_MAX_ROUNDS];
    int count = record->parts & 1u << part ? record->rounds : 0;
    *median = *half = 0;
    if (!count) {
        return;
    }
    memcpy(values, record->difference[part], (size_t)count * sizeof *values);
    *median = statistics_of(values, (size_t)count).median;
    for (int i = 0; i < count; i++) {
        values[i] = fabs(record->difference[part][i] - *median);
    }
    double deviation = 1.4826 * count / (count - 0.8) * fmax(statistics_of(values, (size_t)count).median, finest);
    *half = count > 1 ? student(count - 1) * 1.2533 * deviation / sqrt(count) : INFINITY;
}

SearchRace search_judge(const SearchProblem *problem, const SearchRecord *record) {
    double medians[POINT_MAX_PARTS] = {0}, squares = 0, weights = 0;
    for (int p = 0; p < problem->parts; p++) {
        double half;
        search_judge_part(record, p, &medians[p], &half);
        squares += problem->weight[p] * problem->weight[p] * half * half;
        weights += problem->weight[p];
    }
    double median = combine(problem, medians), half = sqrt(squares) / weights;
    return (SearchRace){record->rounds, median, median - half, median + half};
}

bool search_is_narrow(const SearchRace *race) {
    return race->rounds >= SEARCH_SURE_ROUNDS && race->high - race->low < narrow;
}

// Whether a challenger has won.
static bool has_won(const SearchRace *race) {
    return (race->rounds >= SEARCH_SURE_ROUNDS && race->high < 0) || (race->rounds >= 3 && race->high < -clear);
}

// Whether more rounds would not change what is done.
static bool decided(const Search *s, const SearchRace *race, SearchPatience patience) {
    if (patience == SEARCH_CONFIRMING) {
        return search_is_narrow(race);
    }
    if (has_won(race) || (race->rounds >= SEARCH_SURE_ROUNDS && race->low > -negligible)) {
        return true;
    }
    return (race->rounds >= 3 && race->low > 0) || (race->rounds >= 4 && race->median > 0 && !s->patient);
}

SearchRace search_race(Search *s, const Point *point, uint32_t parts, int most, SearchPatience patience) {
    SearchRecord record = {0};
    SearchRace race = {0};
    while (race.rounds < most && !search_over(s) && !(race.rounds && decided(s, &race, patience))) {
        if (search_round(s, point, parts, &record)) {
            break;
        }
        race = search_judge(s->problem, &record);
    }
    return race;
}

void search_step(Search *s) {
    if (s->step_count == s->step_room) {
        size_t room = s->step_room ? 2 * s->step_room : 16;
        SearchStep *grown = realloc(s->steps, room * sizeof *grown);
        if (!grown) {
            s->out_of_memory = true;
            return;
        }
        s->steps = grown;
        s->step_room = room;
    }
    s->steps[s->step_count++] =
        (SearchStep){s->incumbent, s->problem->clock(s->problem->context) - s->begin, s->incumbent_difference};
}

void search_keep(const Search *s, SearchTrial *trial, const SearchRace *race) {
    trial->rounds = race->rounds;
    trial->difference = race->median;
    trial->error = race->rounds ? (race->high - race->low) / 2 : 0;
    trial->seconds = s->problem->clock(s->problem->context) - s->begin;
}

double search_challenge(Search *s, const Point *point, uint32_t parts) {
    if (search_prepare(s, point)) {
        return INFINITY;
    }
    SearchRace race = search_race(s, point, parts, SEARCH_CHALLENGE_ROUNDS, SEARCH_CHALLENGING);
    SearchTrial *trial = search_find(s, point);
    if (!race.rounds || !trial) {
        return 0;
    }
    search_keep(s, trial, &race);
    trial->difference += s->incumbent_difference;
    if (has_won(&race)) {
        trial->won = true;
        s->incumbent = *point;
        // The cautious end: of many challengers those win that were lucky too, and their luck would add up.
        s->incumbent_difference += race.high;
        trial->difference = s->incumbent_difference;
        s->changes++;
        search_step(s);
    }
    return race.median;
}

// --- what a result says ------------------------------------------------------------------------------------------------------

bool search_raced(const SearchResult *result) {
    for (size_t i = 0; i < result->trial_count; i++) {
        if (result->trials[i].rounds || result->trials[i].unusable) {
            return true;
        }
    }
    return false;
}

bool search_tied(const SearchResult *result) {
    return result->gain <= 1 && result->confirm_rounds >= SEARCH_SURE_ROUNDS && result->candidate_high >= 1;
}

// --- what progress may look at -----------------------------------------------------------------------------------------------

SearchStage search_stage(const Search *search) {
    return search->stage;
}

double search_seconds(const Search *search) {
    return search->problem->clock(search->problem->context) - search->begin;
}

double search_left(const Search *search) {
    return isfinite(search->end) ? fmax(search->end - search->problem->clock(search->problem->context), 0) : search->left;
}

size_t search_trials(const Search *search) {
    return search->trial_count;
}

const Point *search_incumbent(const Search *search) {
    return &search->incumbent;
}

double search_best_gain(const Search *search) {
    return exp(-search->incumbent_difference);
}
