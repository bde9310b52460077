// A search under way, and the race of two points: between search.c and race.c only.
#ifndef CATENA_SEARCH_RACE_H
#define CATENA_SEARCH_RACE_H

#include "search.h"

enum { SEARCH_MAX_VALUES = 64, SEARCH_CHALLENGE_ROUNDS = 16, SEARCH_CONFIRM_ROUNDS = 24, SEARCH_MAX_ROUNDS = 48 };

// When a race may end before its last round.
typedef enum SearchPatience {
    SEARCH_CHALLENGING,  // as soon as it is clear who wins, or that it does not matter
    SEARCH_CONFIRMING,   // when the interval is narrow
} SearchPatience;

// Differences, challenger minus incumbent, of each part in the rounds so far.
typedef struct SearchRecord {
    int rounds;
    uint32_t parts;
    double difference[POINT_MAX_PARTS][SEARCH_MAX_ROUNDS];
} SearchRecord;

// What a race found: the differences' medians, weighted over the parts; and the 95 % interval.
typedef struct SearchRace {
    int rounds;
    double median, low, high;
} SearchRace;

struct Search {
    const SearchProblem *problem;
    SearchStage stage;
    uint64_t random;
    double begin, end;            // of the problem's clock
    double reserve;               // seconds kept for the confirming race
    double round_seconds;         // of the longest round
    Point incumbent;
    double incumbent_difference;  // to the default at least, summed over the races that were won
    double left;                  // seconds that a table without a budget will still take
    bool patient;                 // a last sweep: challengers that are slower at first get all rounds
    int changes;                  // of the incumbent; starts at 1
    double lost[POINT_MAX_KNOBS][SEARCH_MAX_VALUES];  // by how much a knob's value last lost
    int lost_at[POINT_MAX_KNOBS][SEARCH_MAX_VALUES];  // `changes` at that time
    int retried[POINT_MAX_KNOBS][SEARCH_MAX_VALUES];  // `changes` when it lost its second race
    SearchTrial *trials;
    size_t trial_count, trial_room;
    SearchStep *steps;
    size_t step_count, step_room;
    bool stopped, converged, out_of_memory;
};

void search_begin(Search *s, const SearchProblem *problem, const SearchOptions *options);
// Whether time is up or the problem has stopped.
bool search_over(const Search *s);
uint32_t search_all_parts(const SearchProblem *problem);
// Logarithm of the predicted objective.
double search_predict(const Search *s, const Point *point);
// Returns 0 if the point can be timed.
int search_prepare(Search *s, const Point *point);
// One more round against the incumbent. Returns 0, or -1 if the round was not finished; the record is then unchanged.
int search_round(Search *s, const Point *point, uint32_t parts, SearchRecord *record);
SearchRace search_judge(const SearchProblem *problem, const SearchRecord *record);
// Median of a part's differences and half of its 95 % interval; 0 without any.
void search_judge_part(const SearchRecord *record, int part, double *median, double *half);
// Whether more rounds of the last kind of race would not change what is said.
bool search_is_narrow(const SearchRace *race);
// At most `most` rounds against the incumbent.
SearchRace search_race(Search *s, const Point *point, uint32_t parts, int most, SearchPatience patience);
// What a race against the default says of a trial.
void search_keep(const Search *s, SearchTrial *trial, const SearchRace *race);
// Notes that there is another incumbent.
void search_step(Search *s);
// Races a point; if it wins it is the incumbent. Returns by how much it was slower (negative: faster).
double search_challenge(Search *s, const Point *point, uint32_t parts);
// NULL if the point was never tried.
SearchTrial *search_find(const Search *s, const Point *point);

#endif
