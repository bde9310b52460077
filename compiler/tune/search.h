// The search: which point of a grid of knobs is fastest, by racing points against each other. It knows neither plans nor machines:
// a problem predicts and measures points, so that tests can hand in a simulated machine whose best point is known.
//
// The objective is the weighted geometric mean of the parts' times (a part is a token count of the workload). Two points are
// compared in rounds: in each both are timed on the same parts, one right after the other, and the round's difference is that of
// the logarithms, part by part. Rounds go on until the confidence interval of their medians says which is faster, or that it does
// not matter. What disturbs the machine disturbs both, or a sample, which medians withstand.
//
//     1. predict: descend in the predicted time from the start and from random points; the best predictions are finalists
//     2. halve: the best of them races the incumbent at once, which a slow start does not survive; the others run a round against
//        it, the better half one more, ... the last one races the incumbent
//     3. improve: neighbours of the incumbent (one knob changed), the most promising first; one that wins becomes the incumbent
//     4. confirm: the incumbent against the default. Within the noise it is a tie, and the default stays.
//
// A table is what races are judged by: every candidate against the default, all of them in each round, each until its interval is
// narrow or SEARCH_MAX_ROUNDS are over.
#ifndef CATENA_SEARCH_H
#define CATENA_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compiler/plan/point.h"

enum { SEARCH_KNOWN_ROUNDS = 1000, SEARCH_MAX_TABLE = 48 };

// A race of fewer rounds decides nothing, unless one is faster by far.
enum { SEARCH_SURE_ROUNDS = 6 };

// What is known of a point that was timed.
typedef struct SearchTrial {
    Point point;
    int rounds;
    double difference;  // of the logarithm of the objective, relative to the default; negative: faster
    double error;       // half of the 95 % interval of its last race, which may have been against another incumbent
    double predicted;   // logarithm of the objective; comparable between points only
    double seconds;     // since the search began, when the last round ended
    bool unusable;      // the problem could not prepare it
    bool won;           // it became the incumbent
    double part_seconds[POINT_MAX_PARTS];  // geometric mean of the part's samples in this search; 0: there are none
    int part_samples[POINT_MAX_PARTS];
    double part_difference[POINT_MAX_PARTS], part_error[POINT_MAX_PARTS];  // of a table: the same of each part; else 0
} SearchTrial;

// From `seconds` (since the search began) on this was the incumbent.
typedef struct SearchStep {
    Point point;
    double seconds;
    double difference;  // to the default; the cautious end of what the races said
} SearchStep;

typedef enum SearchStage { SEARCH_PREDICT, SEARCH_TABULATE, SEARCH_HALVE, SEARCH_IMPROVE, SEARCH_CONFIRM, SEARCH_DONE } SearchStage;

typedef enum SearchMethod {
    SEARCH_RACE,    // all of the above
    SEARCH_RANDOM,  // random points race the incumbent: what the search is compared with
    SEARCH_MODEL,   // the best prediction, not measured but in the end
    SEARCH_TABLE,   // the candidates, or the best predictions, each in full; then the best of them is confirmed
} SearchMethod;

typedef struct Search Search;

// Everything that the search needs to be told; functions get `context`.
typedef struct SearchProblem {
    void *context;
    int knobs;
    int values[POINT_MAX_KNOBS];        // of each knob, at least 1
    uint32_t parts_of[POINT_MAX_KNOBS]; // bit p: the knob can matter in part p. A change is raced on the parts of its knob only
    int parts;
    double weight[POINT_MAX_PARTS];     // positive
    Point standard;                // the default
    bool (*valid)(void *context, const Point *point);
    double (*predict)(void *context, const Point *point, int part);  // seconds
    // Makes a point ready to be timed (code, verification). Returns 0: it is ready; 1: it is unusable; -1: the search ends.
    int (*prepare)(void *context, const Point *point);
    // Times one call, as one sample. Returns its seconds, or a negative number: the search ends.
    double (*measure)(void *context, const Point *point, int part);
    double (*clock)(void *context);  // seconds, ascending
    void (*confirm)(void *context);  // called before the last race, of the winner and the default; may be NULL
    double confirm_seconds;          // that it takes to make the two ready again
    void (*progress)(void *context, const Search *search);  // may be NULL; called after every round
} SearchProblem;

typedef struct SearchOptions {
    double budget;         // seconds; INFINITY: until it is done
    uint64_t seed;         // of random points and of the order among equals
    SearchMethod method;
    bool quick;            // fewer finalists, and no last sweep through what nearly won
    const Point *candidates;  // of a table, at most SEARCH_MAX_TABLE; NULL: the best predictions, and the start
    size_t candidate_count;
    const Point *start;  // NULL: the default
    const SearchTrial *known;  // trials of an earlier search, not timed again; may be NULL
    size_t known_count;
} SearchOptions;

typedef struct SearchResult {
    Point best;       // the default where nothing else won
    double gain, low, high;  // how many times faster than the default: estimate and 95 % interval. 1, 1, 1 where the default stays
    Point candidate;  // the last incumbent, winner or not
    double candidate_gain, candidate_low, candidate_high;  // its, in the confirming race
    int confirm_rounds;
    bool converged;  // no neighbour was left to try
    bool stopped;  // by the problem
    SearchTrial *trials;  // owned by the caller: free
    size_t trial_count;
    SearchStep *steps;  // the incumbents in their order, the start first; owned by the caller
    size_t step_count;
} SearchResult;

// Runs the search. Returns 0, or -1 when out of memory. Not thread-safe with the same context.
int search_run(const SearchProblem *problem, const SearchOptions *options, SearchResult *result);

// Whether any two points were compared.
bool search_raced(const SearchResult *result);
// Whether the default stays because the last race, though long enough, did not decide.
bool search_tied(const SearchResult *result);

// What progress may look at.
SearchStage search_stage(const Search *search);
double search_seconds(const Search *search);
double search_left(const Search *search);  // seconds at most, estimated where there is no budget
size_t search_trials(const Search *search);
const Point *search_incumbent(const Search *search);
double search_best_gain(const Search *search);  // over the default, at least

#endif
