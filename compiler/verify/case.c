// One case of verification: the team's forward with its routing against the oracle; then, bit for bit against that result:
// one thread with small chunks, strided rows with guards, in place, the routing given back, single tokens, all scores asked for.
#include "case.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/measure/synthetic.h"
#include "runtime/packed.h"

enum { ALONE_TOKENS = 3 };
static const uint8_t guard_byte = 0xa5;

static void fail(VerifyCase *test, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void fail(VerifyCase *test, const char *format, ...) {
    if (test->passed) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(test->reason, sizeof test->reason, format, arguments);
        va_end(arguments);
    }
    test->passed = 0;
}

// --- interface rows ----------------------------------------------------------------------------------------------------------

// x as the interface's elements, rows `stride` elements apart.
static void encode(const VerifyRun *run, int64_t tokens, int64_t stride, uint8_t *rows) {
    int64_t hidden = run->plan->layer.hidden;
    for (int64_t token = 0; token < tokens; token++) {
        uint8_t *row = rows + (size_t)(token * stride) * run->size;
        if (run->size == 2) {
            synthetic_to_bf16(run->x + token * hidden, hidden, (uint16_t *)row);
        } else {
            memcpy(row, run->x + token * hidden, (size_t)hidden * sizeof(float));
        }
    }
}

static float element(const VerifyRun *run, const uint8_t *rows, int64_t index) {
    return packed_number_get(rows, index, run->size == 2 ? NUMBER_BF16 : NUMBER_FP32);
}

// Equal bits, or both NaN, whose payload is not promised.
static int same(const VerifyRun *run, const uint8_t *a, int64_t a_index, const uint8_t *b, int64_t b_index) {
    return !memcmp(a + (size_t)a_index * run->size, b + (size_t)b_index * run->size, run->size) ||
           (isnan(element(run, a, a_index)) && isnan(element(run, b, b_index)));
}

// Compares a row of `other`, that begins with element `start`, with a token's row of the first result.
static void compare_row(const VerifyRun *run, VerifyCase *test, const char *what, int64_t token, int64_t start) {
    int64_t hidden = run->plan->layer.hidden;
    for (int64_t i = 0; i < hidden && test->passed; i++) {
        if (!same(run, run->out, token * hidden + i, run->other, start + i)) {
            fail(test, "%s: other bits in token %lld, column %lld: %.9g, not %.9g", what, (long long)token, (long long)i,
                 (double)element(run, run->other, start + i), (double)element(run, run->out, token * hidden + i));
        }
    }
}

// Compares rows of `other` (stride apart) with rows of the first result, from token `first` on. skip: per token, 1: not this row;
// NULL: all.
static void compare_rows(const VerifyRun *run, VerifyCase *test, const char *what, int64_t first, int64_t tokens, int64_t stride,
                         const uint8_t *skip) {
    for (int64_t token = 0; token < tokens; token++) {
        if (!skip || !skip[first + token]) {
            compare_row(run, test, what, first + token, token * stride);
        }
    }
}

static int accept(const VerifyRun *run, VerifyCase *test, const Library *instance, const char *what, Status status) {
    if (status < 0) {
        const char *error = run->library->error(instance);
        fail(test, "%s: error %d: %s", what, (int)status, error ? error : "");
    }
    return status >= 0;
}

// A forward of `tokens` tokens from token `first` of the case on, with their k if the layer takes one.
static Status forward(const VerifyRun *run, Library *instance, int64_t first, int64_t tokens, const void *x, int64_t x_stride,
                      void *y, int64_t y_stride) {
    if (run->k) {
        Extra extra = {.size = sizeof extra, .k = run->k + first};
        return run->library->forward_with(instance, run->number, tokens, x, x_stride, y, y_stride, &extra);
    }
    return run->library->forward(instance, run->number, tokens, x, x_stride, y, y_stride);
}

static Status forward_first(const VerifyRun *run, int64_t tokens) {
    int64_t hidden = run->plan->layer.hidden;
    if (run->k) {
        Extra extra = {.size = sizeof extra, .experts = run->experts, .weights = run->weights_out, .k = run->k};
        return run->library->forward_with(run->team, run->number, tokens, run->in, hidden, run->out, hidden, &extra);
    }
    return run->library->forward_routing(run->team, run->number, tokens, run->in, hidden, run->out, hidden, run->experts,
                                         run->weights_out);
}

// --- checks of one case ------------------------------------------------------------------------------------------------------

static int is_nan_row(const VerifyRun *run, int64_t token) {
    int64_t hidden = run->plan->layer.hidden;
    for (int64_t i = 0; i < hidden; i++) {
        if (!isnan(element(run, run->out, token * hidden + i))) {
            return 0;
        }
    }
    return 1;
}

// The tokens that the oracle rejects are counted, and the first is named. Those of which it cannot tell may be among them, if their
// rows are NaN.
static void check_status(const VerifyRun *run, VerifyCase *test, Status status) {
    int64_t first = -1, due = 0, either = 0, due_first = -1, count = run->library->nonfinite(run->team, &first);
    for (int64_t token = 0; token < test->tokens; token++) {
        either += run->rejected[token] == ORACLE_EITHER && is_nan_row(run, token);
        if (run->rejected[token] == ORACLE_REJECTED) {
            due_first = due++ ? due_first : token;
        }
    }
    int counted = count >= due && count <= due + either && status == (count ? LIBRARY_NONFINITE : LIBRARY_OK);
    int named = either ? !count || (first >= 0 && first < test->tokens && run->rejected[first]) : !due || first == due_first;
    if (!counted || !named) {
        fail(test, "status %d with %lld non-finite tokens from %lld on; %lld from %lld on were routed nowhere", (int)status,
             (long long)count, (long long)first, (long long)due, (long long)due_first);
    }
}

static int check_oracle(const VerifyRun *run, VerifyCase *test) {
    const Layer *layer = &run->plan->layer;
    OracleGiven given = {run->experts, run->weights_out, 1, run->k};
    OracleOutput oracle = {.y = run->oracle,
                           .bound = run->bound,
                           .scores = run->oracle_scores,
                           .score_bounds = run->score_bounds,
                           .rejected = run->rejected};
    if (oracle_forward(layer, &run->weights, test->tokens, run->x, &given, test->model, &oracle)) {
        return -1;
    }
    for (int64_t i = 0; i < test->tokens * layer->hidden; i++) {
        run->y[i] = element(run, run->out, i);
    }
    test->checks = oracle.checks;
    test->comparison = oracle_compare(&oracle, test->tokens, layer->hidden, run->y, layer->hidden);
    const OracleComparison *found = &test->comparison;
    if (oracle.checks.violations) {
        fail(test, "%lld wrong choices or weights: %s", (long long)oracle.checks.violations, oracle.checks.first);
    }
    if (!(found->worst <= 1)) {
        int64_t at = found->token * layer->hidden + found->column;
        fail(test, "token %lld, column %lld is %.9g, not %.9g +- %.3g: %.3g bounds", (long long)found->token,
             (long long)found->column, (double)run->y[at], run->oracle[at], run->bound[at], found->worst);
    }
    return 0;
}

// All scores of the routers, on request: within their bounds, and the result stays the same.
static void check_scores(const VerifyRun *run, VerifyCase *test) {
    const Layer *layer = &run->plan->layer;
    int64_t hidden = layer->hidden, tokens = test->tokens, choices = layer_choices(layer);
    Extra extra = {.size = sizeof extra, .k = run->k, .scores = run->scores};
    Status status = run->library->forward_with(run->team, run->number, tokens, run->in, hidden, run->other, hidden, &extra);
    if (!accept(run, test, run->team, "scores", status)) {
        return;
    }
    compare_rows(run, test, "scores", 0, tokens, hidden, NULL);
    for (int64_t i = 0; i < layer->iterations * tokens * choices && test->passed; i++) {
        double due = run->oracle_scores[i], error = fabs(run->scores[i] - due);
        int64_t token = i / choices % tokens;
        if (!isnan(due) && !run->rejected[token] && isfinite(run->score_bounds[i]) && !(error <= run->score_bounds[i])) {
            fail(test, "token %lld, iteration %lld: score of choice %lld is %.9g, not %.9g +- %.2g", (long long)token,
                 (long long)(i / choices / tokens), (long long)(i % choices), (double)run->scores[i], due, run->score_bounds[i]);
        }
    }
}

// Whether a row cannot come out of its own routing again: what the router made of its logits is a verdict that routing does not
// carry, and a weight that overflowed is none that forward_routed takes.
static int is_not_replayable(const VerifyRun *run, int64_t tokens, int64_t token) {
    const Layer *layer = &run->plan->layer;
    int replayable = run->rejected[token] != ORACLE_REJECTED;
    if (run->rejected[token] == ORACLE_EITHER) {
        replayable = !isnan(element(run, run->out, token * layer->hidden));
    }
    for (int64_t i = 0; i < layer->iterations * layer->top_k; i++) {
        int64_t slot = (i / layer->top_k * tokens + token) * layer->top_k + i % layer->top_k;
        replayable &= isfinite(run->weights_out[slot]) != 0;
    }
    return !replayable;
}

// The routing given back makes the same rows. Uses it up: rows that cannot be replayed get no experts.
static void check_routed(const VerifyRun *run, VerifyCase *test) {
    const Layer *layer = &run->plan->layer;
    int64_t hidden = layer->hidden, tokens = test->tokens, row = layer->top_k;
    for (int64_t token = 0; token < tokens; token++) {
        run->skip[token] = (uint8_t)is_not_replayable(run, tokens, token);
        for (int64_t t = 0; t < layer->iterations && run->skip[token]; t++) {
            memset(run->experts + (t * tokens + token) * row, 0xff, (size_t)row * sizeof *run->experts);
            memset(run->weights_out + (t * tokens + token) * row, 0, (size_t)row * sizeof *run->weights_out);
        }
    }
    Status status = run->library->forward_routed(run->team, run->number, tokens, run->in, hidden, run->other, hidden, run->experts,
                                                 run->weights_out);
    if (accept(run, test, run->team, "routing given back", status)) {
        compare_rows(run, test, "routing given back", 0, tokens, hidden, run->skip);
    }
}

// The same tokens by other ways: every result has the bits of the first.
static void check_bits(const VerifyRun *run, VerifyCase *test) {
    int64_t hidden = run->plan->layer.hidden, tokens = test->tokens;
    Status status = forward(run, run->single, 0, tokens, run->in, hidden, run->other, hidden);
    if (accept(run, test, run->single, "one thread", status)) {
        compare_rows(run, test, "one thread, chunks of tokens", 0, tokens, hidden, NULL);
    }
    check_routed(run, test);
    for (int64_t i = 0; i < ALONE_TOKENS && i < tokens; i++) {
        int64_t token = i ? (tokens - 1) * i / (ALONE_TOKENS - 1) : 0;
        const uint8_t *row = run->in + (size_t)(token * hidden) * run->size;
        status = forward(run, run->team, token, 1, row, hidden, run->other, hidden);
        if (accept(run, test, run->team, "a token alone", status)) {
            compare_rows(run, test, "a token alone", token, 1, hidden, NULL);
        }
    }
}

// Strided rows with guards between them, then in place. Uses up run->in.
static void check_strides(const VerifyRun *run, VerifyCase *test) {
    int64_t hidden = run->plan->layer.hidden, tokens = test->tokens, x_stride = hidden + VERIFY_X_PADDING,
            y_stride = hidden + VERIFY_Y_PADDING;
    size_t bytes = (size_t)(tokens * y_stride) * run->size;
    memset(run->in, 0xff, (size_t)(tokens * x_stride) * run->size);  // NaN between the rows of x
    memset(run->other, guard_byte, bytes);
    encode(run, tokens, x_stride, run->in);
    Status status = forward(run, run->team, 0, tokens, run->in, x_stride, run->other, y_stride);
    if (accept(run, test, run->team, "strides", status)) {
        compare_rows(run, test, "strides", 0, tokens, y_stride, NULL);
    }
    for (size_t i = 0; i < bytes && test->passed; i++) {
        if ((int64_t)(i / run->size) % y_stride >= hidden && run->other[i] != guard_byte) {
            fail(test, "strides: written beyond the end of row %lld", (long long)((int64_t)(i / run->size) / y_stride));
        }
    }
    encode(run, tokens, y_stride, run->other);
    status = forward(run, run->team, 0, tokens, run->other, y_stride, run->other, y_stride);
    if (accept(run, test, run->team, "in place", status)) {
        compare_rows(run, test, "in place", 0, tokens, y_stride, NULL);
    }
}

// Rows that are all one token, or that token with other small changes in every row.
static void fill_rows(const VerifyRun *run, int64_t token, int64_t rows, int varied) {
    int64_t hidden = run->plan->layer.hidden;
    memmove(run->x, run->x + token * hidden, (size_t)hidden * sizeof *run->x);
    for (int64_t row = rows - 1; row >= 0; row--) {
        for (int64_t i = 0; i < hidden; i++) {
            run->x[row * hidden + i] = run->x[i] * (varied ? 1 + (float)((row * 7 + i * 13) % 8) / 64 : 1);
        }
        if (run->k) {
            run->k[row] = run->k[token];
        }
    }
    encode(run, rows, hidden, run->in);
}

// `rows` rows from `first` on, in one thread, with their scores.
static int forward_alone(const VerifyRun *run, VerifyCase *test, int64_t first, int64_t rows, uint8_t *y, float *scores) {
    int64_t hidden = run->plan->layer.hidden;
    const uint8_t *x = run->in + (size_t)(first * hidden) * run->size;
    Extra extra = {.size = sizeof extra, .k = run->k, .scores = scores};
    Status status = run->library->forward_with(run->alone, run->number, rows, x, hidden, y, hidden, &extra);
    return accept(run, test, run->alone, "tiles of every height", status);
}

// Row `row` of `rows`, against what came out of it alone.
static void compare_scores(const VerifyRun *run, VerifyCase *test, int64_t row, int64_t rows) {
    int64_t choices = layer_choices(&run->plan->layer), iterations = run->plan->layer.iterations;
    size_t bytes = (size_t)choices * sizeof *run->scores;
    for (int64_t t = 0; t < iterations; t++) {
        if (memcmp(run->scores + (t * rows + row) * choices, run->alone_scores + (row * iterations + t) * choices, bytes) != 0) {
            fail(test, "tiles of every height: other scores in iteration %lld of token %lld of %lld", (long long)t, (long long)row,
                 (long long)rows);
        }
    }
}

static int64_t highest_tile(const Plan *plan) {
    int64_t highest = 0;
    for (int r = 0; r < ROLE_COUNT; r++) {
        highest = plan->roles[r].max_rows > highest ? plan->roles[r].max_rows : highest;
    }
    return highest;
}

// One row, two, ... as many as the tallest tile has, in one thread: the router, and experts that all of them choose, then compute
// tiles of every height. Each row has the bits that it has alone. Where all rows are the same token, its experts get as many rows
// as there are; where they differ, a row in another's place is found. Uses up x, k, in and out.
static void check_heights(const VerifyRun *run, VerifyCase *test) {
    const Layer *layer = &run->plan->layer;
    int64_t highest = highest_tile(run->plan), token = run->k && test->tokens > 2 ? 2 : 0;  // fill_k gave this one the most
    fill_rows(run, token, highest, test->heights == VERIFY_HEIGHTS_OF_DIFFERENT);
    if (test->heights == VERIFY_HEIGHTS_OF_EQUAL && forward_alone(run, test, 0, 1, run->other, run->scores)) {
        compare_row(run, test, "tiles of every height", token, 0);
    }
    for (int64_t row = 0; row < highest && test->passed; row++) {
        forward_alone(run, test, row, 1, run->out + (size_t)(row * layer->hidden) * run->size,
                      run->alone_scores + row * layer->iterations * layer_choices(layer));
    }
    for (int64_t rows = 2; rows <= highest && test->passed; rows++) {
        forward_alone(run, test, 0, rows, run->other, run->scores);
        compare_rows(run, test, "tiles of every height", 0, rows, layer->hidden, NULL);
        for (int64_t row = 0; row < rows && test->passed; row++) {
            compare_scores(run, test, row, rows);
        }
    }
}

int verify_run_case(const VerifyRun *run, VerifyCase *test) {
    int64_t hidden = run->plan->layer.hidden, elements = test->tokens * hidden;
    for (int64_t i = 0; i < elements && run->size == 2; i++) {  // what the interface can say
        run->x[i] = packed_float_from_bf16(packed_bf16_from_float(run->x[i]));
    }
    test->passed = 1;
    encode(run, test->tokens, hidden, run->in);
    memset(run->out, guard_byte, (size_t)elements * run->size);
    Status status = forward_first(run, test->tokens);
    if (!accept(run, test, run->team, "forward", status)) {
        return 0;
    }
    if (check_oracle(run, test)) {
        return -1;
    }
    check_status(run, test, status);
    check_scores(run, test);
    check_bits(run, test);
    check_strides(run, test);
    if (test->heights && test->tokens && test->passed) {
        check_heights(run, test);
    }
    return 0;
}
