// The oracle's forward over many tokens, its memory, and how a result compares with it.
//
// Every quantity carries its error bound (error.h), so the bounds follow errors through products, activations and
// from one iteration into the next: they are a running forward error analysis, first order plus the exact cross terms.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "steps.h"

// --- memory ------------------------------------------------------------------------------------------------------------------

static void *scratch_take(uint8_t **end, int64_t count, size_t size) {
    void *start = *end;
    *end += ((size_t)count * size + 15) / 16 * 16;
    return start;
}

static int64_t widest(const Layer *layer) {
    return layer->shared_intermediate > layer->intermediate ? layer->shared_intermediate : layer->intermediate;
}

// Divides memory that starts at base; with base NULL only the size counts.
static size_t scratch_divide(const Layer *layer, uint8_t *base, Scratch *scratch) {
    uint8_t *end = base;
    int64_t hidden = layer->hidden, width = widest(layer), k = layer->top_k, choices = layer_choices(layer);
    int64_t pool = layer_pool_width(layer), wider = pool > hidden ? pool : hidden;
    Operand *operands[] = {&scratch->operand, &scratch->own, &scratch->inner, &scratch->projected};
    const int64_t widths[] = {hidden, wider, width, layer->latent};
    scratch->state = scratch_take(&end, hidden, sizeof(Bounded));
    scratch->next = scratch_take(&end, hidden, sizeof(Bounded));
    scratch->output = scratch_take(&end, wider, sizeof(Bounded));
    scratch->latent = scratch_take(&end, layer->latent, sizeof(Bounded));
    scratch->sum = scratch_take(&end, layer->latent, sizeof(Bounded));
    scratch->weighted = scratch_take(&end, wider, sizeof(Bounded));
    scratch->hidden = scratch_take(&end, width, sizeof(Bounded));
    scratch->logits = scratch_take(&end, layer_router_columns(layer), sizeof(Bounded));
    scratch->scores = scratch_take(&end, choices, sizeof(Bounded));
    for (int i = 0; i < 4; i++) {
        operands[i]->value = scratch_take(&end, widths[i], sizeof(double));
        operands[i]->reach = scratch_take(&end, widths[i], sizeof(double));
        operands[i]->error = scratch_take(&end, widths[i], sizeof(double));
    }
    Ranking *ranking = &scratch->ranking;
    ranking->logits = scratch_take(&end, choices, sizeof(Bounded));
    ranking->scores = scratch_take(&end, choices, sizeof(Bounded));
    ranking->rank = scratch_take(&end, choices, sizeof(Bounded));
    ranking->kept = scratch_take(&end, choices, 1);
    ranking->taken = scratch_take(&end, choices, 1);
    ranking->group_scores = scratch_take(&end, layer->groups, sizeof(Bounded));
    ranking->group_kept = scratch_take(&end, layer->groups, 1);
    scratch->weights = scratch_take(&end, k + layer->shared_experts, sizeof(Bounded));
    scratch->due = scratch_take(&end, k + layer->shared_experts, sizeof(Bounded));
    scratch->slots = scratch_take(&end, k, sizeof(int32_t));
    return (size_t)(end - base);
}

// --- forward -----------------------------------------------------------------------------------------------------------------

// `first` is that of the lowest token with a violation, whatever the threads' order.
static void merge_checks(OracleChecks *all, const OracleChecks *one, int64_t token, int64_t *first) {
    all->choices += one->choices;
    all->near_ties += one->near_ties;
    all->rejected += one->rejected;
    all->violations += one->violations;
    all->worst_weight = fmax(all->worst_weight, one->worst_weight);
    if (one->violations && token < *first) {
        memcpy(all->first, one->first, sizeof all->first);
        *first = token;
    }
}

int oracle_forward(const Layer *layer, const OracleWeights *weights, int64_t tokens, const float *x, const OracleGiven *given,
                   ErrorModel model, OracleOutput *out) {
    int64_t first = INT64_MAX;
    int failed = 0;
    memset(&out->checks, 0, sizeof out->checks);
#pragma omp parallel
    {
        Scratch scratch;
        uint8_t probe[1];  // only differences of addresses count in the first division
        uint8_t *memory = malloc(scratch_divide(layer, probe, &scratch));
        if (!memory) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp barrier
#pragma omp for schedule(dynamic)
        for (int64_t token = 0; token < tokens; token++) {
            if (!failed) {
                OracleChecks checks = {0};
                TokenRun run = {.layer = layer,
                                .weights = weights,
                                .given = given,
                                .out = out,
                                .checks = &checks,
                                .scratch = &scratch,
                                .token = token,
                                .tokens = tokens};
                scratch_divide(layer, memory, &scratch);
                scratch.operand.model = scratch.own.model = scratch.inner.model = scratch.projected.model = model;
                oracle_token(&run, x + token * layer->hidden);
#pragma omp critical(oracle_checks)
                merge_checks(&out->checks, &checks, token, &first);
            }
        }
        free(memory);
    }
    return failed ? -1 : 0;
}

OracleComparison oracle_compare(const OracleOutput *oracle, int64_t tokens, int64_t hidden, const float *y, int64_t stride) {
    OracleComparison result = {0};
    for (int64_t token = 0; token < tokens; token++) {
        double error_squares = 0, squares = 0;
        for (int64_t i = 0; i < hidden; i++) {
            double value = y[token * stride + i], due = oracle->y[token * hidden + i], bound = oracle->bound[token * hidden + i];
            double error = fabs(value - due), ratio = error > 0 ? error / bound : 0;
            if (isnan(due) || isnan(value)) {
                ratio = isnan(due) && isnan(value) ? 0 : INFINITY;
            }
            if (bound == INFINITY) {  // may overflow
                error_squares = NAN;
                continue;
            }
            error_squares += error * error;
            squares += due * due;
            if (ratio > result.worst) {
                result.worst = ratio;
                result.token = token;
                result.column = i;
            }
        }
        if (squares > 0 && isfinite(error_squares)) {
            result.worst_l2 = fmax(result.worst_l2, sqrt(error_squares / squares));
        }
    }
    return result;
}
