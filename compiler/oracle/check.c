// The check of a library's own choices against the oracle's ranking, whose errors leave some outcomes open: what no order
// within the bounds explains is a violation, what several explain is a near tie.
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "steps.h"

void oracle_violation(OracleChecks *checks, const char *format, ...) {
    if (!checks->violations++) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(checks->first, sizeof checks->first, format, arguments);
        va_end(arguments);
    }
}

// One token's choices in one iteration.
typedef struct Choice {
    const Layer *layer;
    const OracleWeights *weights;
    int64_t token, iteration;
    const int32_t *chosen;
    int64_t count;  // slots in use
    Ranking *r;
} Choice;

static int equal_at(const float *values, int64_t a, int64_t b) {
    return !values || values[a] == values[b];
}

// Two choices whose ranking values must have the same bits in any implementation with one fixed order of operations: exact
// results (bounds of zero), or equal rows of the router (and biases, and corrections). Then the lower index must win.
static int tied(const Choice *c, int32_t a, int32_t b) {
    const Bounded *order = c->r->order;
    int64_t hidden = c->layer->hidden, gate = (c->layer->gate_per_iteration ? c->iteration : 0) * layer_choices(c->layer);
    if (order[a].value != order[b].value || !isfinite(order[a].error) || !isfinite(order[b].error)) {
        return 0;
    }
    if (order[a].error == 0 && order[b].error == 0) {
        return 1;
    }
    if (c->r->kept[a] != SURELY || c->r->kept[b] != SURELY) {
        return 0;  // one may be masked, the other not
    }
    const float *row_a = oracle_router_row(c->layer, c->weights, c->iteration, a);
    const float *row_b = oracle_router_row(c->layer, c->weights, c->iteration, b);
    return order[a].error == order[b].error && equal_at(c->weights->router_bias, gate + a, gate + b) &&
           equal_at(c->weights->correction, gate + a, gate + b) && !memcmp(row_a, row_b, (size_t)hidden * sizeof *row_a);
}

// Whether `first` may stand before `second` in the ranking.
static int may_precede(const Choice *c, int32_t first, int32_t second) {
    Bounded a = c->r->order[first], b = c->r->order[second];
    return tied(c, first, second) ? first < second : !(a.value + a.error < b.value - b.error);
}

static int64_t slots_in_use(const Layer *layer, const int32_t *chosen) {
    int64_t count = 0;
    while (count < layer->top_k && chosen[count] != -1) {
        count++;
    }
    return count;
}

static int slots_are_valid(const Choice *c, const float *given) {
    for (int64_t s = 0; s < c->layer->top_k; s++) {
        int32_t e = c->chosen[s];
        if (s >= c->count ? e != -1 || given[s] != 0 : e < 0 || e >= layer_choices(c->layer)) {
            return 0;
        }
        for (int64_t r = 0; r < s && s < c->count; r++) {
            if (c->chosen[r] == e) {
                return 0;
            }
        }
    }
    return 1;
}

// Slots follow the ranking, or the index where a rule says so.
static void check_slots(const Choice *c, OracleChecks *checks) {
    for (int64_t s = 0; s + 1 < c->count; s++) {
        int32_t first = c->chosen[s], second = c->chosen[s + 1];
        if (oracle_slots_ascend(c->layer) ? first > second : !may_precede(c, first, second)) {
            oracle_violation(checks, "token %lld, iteration %lld: expert %d is listed before %d, whose score is higher",
                             (long long)c->token, (long long)c->iteration, first, second);
        }
    }
}

// Takes the choices one after the other: the rule must not forbid any. Returns whether it may do without one of them.
static int check_taken(const Choice *c, OracleChecks *checks) {
    int near = 0;
    for (int64_t s = 0; s < c->count; s++) {
        Certainty takes = oracle_takes(c->layer, c->r, c->chosen[s]);
        near |= takes == UNCERTAIN;
        if (takes == SURELY_NOT) {
            oracle_violation(checks, "token %lld, iteration %lld: choice %lld, expert %d, is one that the rule cannot make",
                             (long long)c->token, (long long)c->iteration, (long long)s, c->chosen[s]);
        }
        oracle_take(c->r, c->chosen[s]);
    }
    return near;
}

// One choice that was not made: the rule must not ask for it when all have been taken, and where it competes with the last one
// taken, it must not rank before any. Returns whether it might have been made.
static int check_left(const Choice *c, int32_t e, Certainty competes, OracleChecks *checks) {
    const Bounded *order = c->r->order;
    Certainty takes = oracle_takes(c->layer, c->r, e);
    int near = takes == UNCERTAIN;
    if (takes == SURELY) {
        oracle_violation(checks, "token %lld, iteration %lld: expert %d is not chosen, though the rule takes more than %lld",
                         (long long)c->token, (long long)c->iteration, e, (long long)c->count);
    }
    for (int64_t s = 0; s < c->count && competes != SURELY_NOT; s++) {
        int32_t other = c->chosen[s];
        near |= order[other].value - order[e].value <= order[other].error + order[e].error;
        if (oracle_present(c->layer, c->r, e) == SURELY && !may_precede(c, other, e)) {
            oracle_violation(checks, "token %lld, iteration %lld: expert %d is chosen, %d is not (ranked by %.9g, %.9g)",
                             (long long)c->token, (long long)c->iteration, other, e, order[other].value, order[e].value);
        }
    }
    return near;
}

// No more groups than are kept.
static void check_groups(const Choice *c, OracleChecks *checks) {
    const Layer *layer = c->layer;
    int64_t size = layer_choices(layer) / (layer->groups > 0 ? layer->groups : 1), used = 0;
    for (int64_t g = 0; g < layer->groups && layer->group_mask == MASK_MINUS_INFINITY; g++) {
        int taken = 0;
        for (int64_t e = g * size; e < (g + 1) * size; e++) {
            taken |= c->r->taken[e];
        }
        used += taken;
    }
    if (layer->groups > 1 && used > layer->top_groups) {
        oracle_violation(checks, "token %lld, iteration %lld: experts of %lld groups are chosen", (long long)c->token,
                         (long long)c->iteration, (long long)used);
    }
}

// Whether the last choice made leaves room for e instead of it.
static Certainty competes_with_last(const Choice *c, int32_t e) {
    Ranking before = *c->r;
    if (c->count) {
        Bounded last = c->r->scores[c->chosen[c->count - 1]];
        before.count--;
        before.sum = bounded_make(fmax(c->r->sum.value - last.value, 0), c->r->sum.error);
    }
    return oracle_takes(c->layer, &before, e);
}

static void check_ranking(const Choice *c, int by_logits, OracleChecks *checks) {
    oracle_rank(c->layer, c->weights, c->iteration, by_logits, c->r);
    check_slots(c, checks);
    int near = check_taken(c, checks);
    for (int32_t e = 0; e < layer_choices(c->layer); e++) {
        if (!c->r->taken[e]) {
            near |= check_left(c, e, competes_with_last(c, e), checks);
        }
    }
    check_groups(c, checks);
    checks->near_ties += near;
}

static void check_weights(const Choice *c, const float *given, const Bounded *gates, Bounded *due, OracleChecks *checks) {
    oracle_weigh(c->layer, c->weights->expert_scale, c->r->logits, c->r->scores, gates, c->chosen, c->count, due);
    for (int64_t s = 0; s < c->count; s++) {
        double error = fabs(given[s] - due[s].value);
        if (!isfinite(due[s].error)) {
            continue;  // may overflow
        }
        checks->worst_weight = fmax(checks->worst_weight, error > 0 ? error / due[s].error : 0);
        if (!(error <= due[s].error)) {
            oracle_violation(checks, "token %lld, iteration %lld: weight of expert %d is %.9g, not %.9g +- %.2g",
                             (long long)c->token, (long long)c->iteration, c->chosen[s], (double)given[s], due[s].value,
                             due[s].error);
        }
    }
}

// An implementation may rank by scores or, where these have the same order, by logits: scores that rounding ties are then told
// apart. One of the two must explain all choices of a token.
void oracle_check_choice(const Layer *layer, const OracleWeights *weights, int64_t token, int64_t iteration, const int32_t *chosen,
                         const float *given, Scratch *scratch, OracleChecks *checks) {
    Choice choice = {layer, weights, token, iteration, chosen, slots_in_use(layer, chosen), &scratch->ranking};
    OracleChecks by_logits = {0}, by_scores = {0}, *best = &by_scores;
    checks->choices += choice.count;
    if (!slots_are_valid(&choice, given)) {
        oracle_violation(checks, "token %lld, iteration %lld: not different experts of the pool, then unused slots of weight 0",
                         (long long)token, (long long)iteration);
        return;
    }
    if (oracle_ranks_by_logits(layer)) {
        check_ranking(&choice, 1, &by_logits);
        best = &by_logits;
    }
    if (best == &by_scores || (by_logits.violations && layer->rank != RANK_LOGIT)) {
        check_ranking(&choice, 0, &by_scores);
        best = by_scores.violations ? best : &by_scores;
    }
    checks->near_ties += best->near_ties;
    if (best->violations) {
        oracle_violation(checks, "%s", best->first);
        checks->violations += best->violations - 1;
    }
    check_weights(&choice, given, scratch->logits + layer_choices(layer), scratch->due, checks);
}
