// A search under way, and the race of two points: between search.c and search_race.c only.
#ifndef CATENA_SEARCH_RACE_H
#define CATENA_SEARCH_RACE_H

#include "search.h"

enum { SEARCH_MAX_VALUES = 64, SEARCH_CHALLENGE_ROUNDS = 16, SEARCH_MAX_ROUNDS = 24 };

// When a race may end before its last round.
typedef enum SearchPatience {
    SEARCH_CHALLENGING,  // as soon as it is clear who wins, or that it does not matter
    SEARCH_CONFIRMING,   // when the interval is narrow
} SearchPatience;

// What a race found: the differences' medians, challenger minus incumbent, over the parts; and the 95 % interval.
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
    SearchPoint incumbent;
    double incumbent_difference;  // to the default at least, summed over the races that were won
    int rounds;                   // so far
    bool patient;                 // a last sweep: challengers that are slower at first get all rounds
    int changes;                  // of the incumbent; starts at 1
    double lost[SEARCH_MAX_KNOBS][SEARCH_MAX_VALUES];  // by how much a knob's value last lost
    int lost_at[SEARCH_MAX_KNOBS][SEARCH_MAX_VALUES];  // `changes` at that time
    int retried[SEARCH_MAX_KNOBS][SEARCH_MAX_VALUES];  // `changes` when it lost its second race
    SearchPoint direct_point;     // that last won against the default itself, and that race
    SearchRace direct;
    SearchTrial *trials;
    size_t trial_count, trial_room;
    bool stopped, converged, out_of_memory;
};

void search_begin(Search *s, const SearchProblem *problem, const SearchOptions *options);
// Whether time is up or the problem has stopped.
bool search_over(const Search *s);
uint32_t search_all_parts(const SearchProblem *problem);
// Logarithm of the predicted objective.
double search_predict(const Search *s, const SearchPoint *point);
// 0 if the point can be timed.
int search_prepare(Search *s, const SearchPoint *point);
// One round against the incumbent: each part's difference, 0 for parts that are left out. Returns 0, or -1 if it was not finished.
int search_round(Search *s, const SearchPoint *point, uint32_t parts, double differences[SEARCH_MAX_PARTS]);
// The weighted mean over parts.
double search_combine(const SearchProblem *problem, const double values[SEARCH_MAX_PARTS]);
// At most `most` rounds against the incumbent.
SearchRace search_race(Search *s, const SearchPoint *point, uint32_t parts, int most, SearchPatience patience);
// Races a point; if it wins it is the incumbent. Returns by how much it was slower (negative: faster).
double search_challenge(Search *s, const SearchPoint *point, uint32_t parts);
// NULL if the point was never tried.
SearchTrial *search_find(const Search *s, const SearchPoint *point);

#endif
