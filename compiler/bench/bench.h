// `catena bench`: generated kernels against another implementation and against the machine's limits.
//
// Terms, the same in all output:
//   peak(path)   multiply-add rate of an instruction path, operands in registers, same threads, measured in the same run;
//   best peak    the highest among the paths that are legal for the layer's compute class;
//   bytes        what naive streaming reads: per iteration the packed bytes of the distinct experts chosen, router, shared experts;
//   union bytes  each expert once for the whole call;
//   bandwidth    the best read rate reached in the run with the same threads, pages, working set and rotation;
//   roofline     max(bytes / bandwidth, flops / best peak); its fraction is roofline / measured time;
//   cold         weights rotate over at least 1 GiB and four times the last-level cache, tokens are fresh; warm: the same again.
// The arithmetic is in account.c, free of measuring, and tested on known layers.
#ifndef CATENA_BENCH_H
#define CATENA_BENCH_H

#include <jansson.h>
#include <signal.h>
#include <stdbool.h>

#include "compiler/base/diagnostic.h"
#include "compiler/base/statistics.h"
#include "compiler/library/artifact.h"
#include "compiler/machine/bandwidth.h"
#include "compiler/machine/machine.h"
#include "compiler/measure/synthetic.h"
#include "compiler/plan/routing.h"
#include "compiler/plan/work.h"
#include "templates/plan.h"

// --- accounting (account.c) --------------------------------------------------------------------------------------------------

enum { BENCH_TEXT_BYTES = 96, BENCH_NOTE_BYTES = 256 };

// One line of the result.
typedef struct BenchRow {
    char layer[BENCH_TEXT_BYTES];
    char routing[ROUTING_TEXT_BYTES];
    char path[BENCH_TEXT_BYTES];
    char opponent[BENCH_TEXT_BYTES];  // plain, a library's name, or "": alone
    char note[BENCH_NOTE_BYTES];
    char disturbed[BENCH_NOTE_BYTES];  // why the row's figures are not to be relied on; "": they are
    int64_t tokens;
    int threads;
    bool cold, routed, huge_pages;
    bool evicted;  // before every call the last-level cache was filled with something else
    int64_t bank_bytes;  // what cold calls rotate over
    Visits visits;
    Work work;
    Statistics time;
    double best_peak;  // GFLOP/s
    double bandwidth;  // GB/s of memory; as all that follows from it NaN in warm rows: caches have no one bandwidth
    double gflops, gbytes_s, fraction_of_peak, fraction_of_bandwidth;
    double roofline_s, roofline_fraction, union_roofline_s, union_roofline_fraction;
    Statistics opponent_time;
    double speedup;  // 0: no opponent
    double max_error;  // NaN: not compared
    double tax;  // FLOP/s of the experts relative to the one-iteration layer (bench_sibling_text); 0: not a chain
    double sibling_flops;  // the experts' FLOPs relative to that layer's: 1 unless it has fewer; 0: not a chain
} BenchRow;

// Adds a part to a row's note or warning, after "; ".
void bench_note(char note[BENCH_NOTE_BYTES], const char *format, ...) __attribute__((format(printf, 2, 3)));

// Adds the text of work_difference to a note, unless the FLOPs are equal.
void bench_note_work(char note[BENCH_NOTE_BYTES], const Work *ours, const Work *theirs);

// Fills in what follows from work, times, best_peak and bandwidth. A call that read faster than every read loop raises the
// bandwidth to its own rate and says so in `note`.
void bench_row_finish(BenchRow *row);

// Adds to `note` what the final figures need explained: a chain that found experts in a cache. Once, after the last
// bench_row_finish.
void bench_row_explain(BenchRow *row);
// Fills in tax and sibling_flops from the two rows' times and the experts' FLOPs (no router's), and says where those differ why.
void bench_row_tax(BenchRow *row, double flops, const Layer *layer, const BenchRow *sibling, double sibling_flops);

// Whether a cold call may find experts in the last-level cache that an earlier call on the same slot left there: a call touches
// only `touched` bytes of its slot, and all slots together may be less than four such caches.
bool bench_needs_eviction(int64_t slots, double touched, int64_t last_level_bytes);

// A row whose calls' spread is wider is disturbed.
#define BENCH_CALL_SPREAD 0.25
// Writes row->disturbed: the read loops (NULL: none were run), the calls.
void bench_row_judge(BenchRow *row, const Bandwidth *bandwidth);

// Largest |a - b| of a row relative to the row's largest |b|, over rows; infinity where only one of them is finite.
double bench_max_error(const float *a, const float *b, int64_t rows, int64_t columns);

// The one-iteration description of a chain's routed FLOPs: top_k * iterations of the same pool, a plain outer residual. It has
// fewer FLOPs where the pool is smaller than that, or where shared experts then run once instead of in every iteration. Text owned
// by the caller; NULL with diagnostics.
char *bench_sibling_text(const char *source, int64_t layer, Diagnostics *diagnostics);

// --- measuring (measure.c) ---------------------------------------------------------------------------------------------------

enum { BENCH_MAX_SIDES = 4, BENCH_MAX_SAMPLES = 4096, BENCH_MIN_CALLS = 5, BENCH_MIN_SLOW_CALLS = 3 };

// Memory that is read between cold calls to fill the last-level cache with something else.
typedef struct BenchScratch {
    uint8_t *memory;
    int64_t bytes;
    int threads;
    bool incomplete;  // some reading was cut short, or there is no memory for it
} BenchScratch;

// Twice the last-level cache. Returns 0, or -1 where memory is too short.
int bench_scratch_open(BenchScratch *scratch, const Machine *machine, int threads, bool huge_pages);
void bench_scratch_close(BenchScratch *scratch);

// One of the things that are compared. A call's preparation (fresh tokens, the next weights, the cache's content) is not timed.
typedef struct BenchSide {
    void *context;
    void (*prepare)(void *context);
    int (*call)(void *context);  // returns 0: done; anything else: the comparison ends and returns it
    BenchScratch *evict;  // read before every timed call; NULL: nothing
    int (*lead)(void *context);  // then, untimed, a call on other weights than the timed one's (bench_library_lead); NULL: none
    int64_t warmups;  // untimed calls first: one for each workspace, whose pages the first call of a size makes the kernel find
    double samples[BENCH_MAX_SAMPLES];
    size_t count;
    double total;  // seconds
} BenchSide;

// Set by Ctrl-C and other signals: preparing or measuring ends after the current step.
extern volatile sig_atomic_t bench_stopped;

// A B A B ... for about `seconds`, one untimed call each first. Sides that are slow get fewer calls: none takes more than its
// share of the time, but each is called BENCH_MIN_SLOW_CALLS times (the first BENCH_MIN_CALLS times). Returns 0 or a call's
// status; -1 if stopped.
int bench_interleave(BenchSide *sides, int count, double seconds);

// The best peak of the paths that are legal for a compute class, all measured now; *best is the path that has it. A peak that paths
// share (path_peak) is measured once, as that of the path that they share it with. Returns 0 or -1.
int bench_best_peak(const Machine *machine, const char *target, Compute compute, int threads, double gflops[PATH_COUNT], Path *best,
                    Diagnostics *diagnostics);

// --- what is called (library.c, opponent.c) ----------------------------------------------------------------------------------

// Tokens that all sides are given: `windows` lots of `tokens` rows, a call takes the next lot.
typedef struct BenchTokens {
    int64_t tokens, windows;
    float *x;  // [windows][tokens][hidden]
    uint16_t *x16;  // the same as bf16 where the interface wants that; otherwise NULL
} BenchTokens;

int bench_tokens_create(const Plan *plan, int64_t tokens, const RoutingSkew *routing, BenchTokens *out);
void bench_tokens_free(BenchTokens *tokens);

// The most instances of a bank. Each is opened and has a workspace: thousands of tiny ones would take gigabytes, and more time than
// the measurement. Where such a bank is too small to be cold, the cache is emptied before every call, and the bandwidth is measured
// on other memory.
enum { BENCH_MAX_SLOTS = 1024 };

// A library opened on a bank of packed instances of one of its layers. A slot is one instance.
typedef struct BenchLibrary {
    Loaded *loaded;
    Kind *kinds;
    int64_t kind_count, kind;
    const Plan *plan;  // of the chosen kind
    uint8_t *memory;  // `images` packed images, `image_stride` bytes apart
    int64_t memory_bytes, image_stride, images, slots;
    Library **libraries;  // one per image
    const uint8_t **instances;  // [slots] packed weights, for read loops
    int *layers;  // [slots] number of the layer within its library
    bool huge_pages, is_short;  // is_short: memory is too short for what cold asks for
    bool is_capped;  // cold asks for more than BENCH_MAX_SLOTS
    // one comparison
    const BenchTokens *tokens;
    const RoutingTrace *trace;  // NULL: the library routes
    int32_t *experts;  // [iterations][tokens][top_k], of the trace's window
    float *weights;
    void *y;
    bool warm;
    int64_t cursor;
} BenchLibrary;

// Opens `layer` (NULL: the first) of a loaded library with synthetic weights on at least cold_bytes of memory. Takes `loaded`
// over, also on failure. NULL with diagnostics.
BenchLibrary *bench_library_open(Loaded *loaded, const char *layer, const Routing *routing, int64_t cold_bytes, int threads,
                                 bool huge_pages, Diagnostics *diagnostics);
void bench_library_close(BenchLibrary *library);
// Sets up a comparison. Returns 0, or -1 when out of memory.
int bench_library_begin(BenchLibrary *library, const BenchTokens *tokens, const RoutingTrace *trace, bool warm);
// The BenchSide functions; context is a BenchLibrary.
void bench_library_prepare(void *context);
int bench_library_call(void *context);
// An untimed call on other weights and tokens than the next call's: caches are then as the previous layer of a model leaves them,
// with code and workspace in them. Where there is one instance it does nothing. Returns 0 or the call's status.
int bench_library_lead(void *context);
// One untimed call on a window of tokens. Its output goes to y as fp32 (NULL: nowhere), its choices go to `experts`. Returns 0 or
// the call's status.
int bench_library_once(BenchLibrary *library, int64_t window, float *y, int32_t *experts);
// Mean visits over (some of) the windows that calls will take. Returns 0, or -1: a call failed, or memory ran out.
int bench_library_visits(BenchLibrary *library, Visits *visits);

// The plain implementation on a bank of its own, of as many instances as the library's.
typedef struct BenchOpponent BenchOpponent;
BenchOpponent *bench_opponent_open(const BenchLibrary *library, int64_t max_tokens, int threads);
void bench_opponent_close(BenchOpponent *opponent);
int bench_opponent_begin(BenchOpponent *opponent, const BenchTokens *tokens, bool warm);
void bench_opponent_prepare(void *context);
int bench_opponent_call(void *context);
int bench_opponent_lead(void *context);
int bench_opponent_once(BenchOpponent *opponent, int64_t window, float *y, int32_t *experts);

// --- one layer's rows (run.c) ------------------------------------------------------------------------------------------------

enum { BENCH_MAX_TOKEN_COUNTS = WORKLOAD_MAX_TOKENS };

typedef struct BenchOptions {
    int64_t tokens[BENCH_MAX_TOKEN_COUNTS];
    int64_t token_counts;
    Routing routing;
    int threads;
    int library_threads;  // 0: the library's own choice
    bool warm;  // warm rows beside the cold ones
    bool huge_pages;  // ask for them: weights and workspaces of every side
    double seconds;  // per row
    const char *layer;  // NULL: every layer
    const char *against;  // "plain", "none" or a library's path
} BenchOptions;

// Everything that is open while a layer is measured, and the rows so far.
typedef struct BenchRun {
    const Machine *machine;
    const BenchOptions *options;
    const char *directory;  // for the chain's sibling
    BenchLibrary *library, *second, *sibling;
    BenchOpponent *plain;
    BenchScratch scratch;  // opened when a row first needs it
    RoutingTrace trace;
    BenchRow *rows;
    int64_t row_count;
    double peaks[PATH_COUNT];  // as measured last, with the row's threads
    Path best_path;
    Bandwidth bandwidth;  // of the best read loop over the layer's cold bank
} BenchRun;

// Measures all rows of one layer of the library at `path`. Returns 0, or -1 with diagnostics (none: stopped by Ctrl-C).
int bench_run_layer(BenchRun *run, const char *path, const char *layer, Diagnostics *diagnostics);

// --- report (report.c) -------------------------------------------------------------------------------------------------------

json_t *bench_row_json(const BenchRow *row);
void bench_print_rows(const BenchRow *rows, int64_t count);
// The whole result in either form: {machine, peaks, bandwidth, rows}, or a paragraph and a table.
json_t *bench_document(const BenchRun *run);
void bench_print(const BenchRun *run);
// The rows as an SVG drawing (plot.c). Returns 0, or -1 with diagnostics.
int bench_plot_save(const BenchRun *run, const char *path, Diagnostics *diagnostics);

#endif
