// See figures.h. The functions of <math.h> are not used: a library needs no libm.
#include "figures.h"

#include <string.h>

enum { ARRAYS = 5 };  // of FigureSums

int64_t figures_bytes(const Layer *layer) {
    return layer->iterations * layer_choices(layer) * ARRAYS * (int64_t)sizeof(double);
}

void figures_begin(const Layer *layer, int64_t sequence_tokens, void *memory, Gathering *out) {
    int64_t choices = layer_choices(layer);
    memset(memory, 0, (size_t)figures_bytes(layer));
    memset(out, 0, sizeof *out);
    out->layer = layer;
    out->sequence_tokens = sequence_tokens;
    uint8_t *next = memory;
    for (int64_t i = 0; i < layer->iterations; i++) {
        FigureSums *sums = &out->sums[i];
        void *arrays[ARRAYS];
        for (int a = 0; a < ARRAYS; a++, next += choices * (int64_t)sizeof(double)) {
            arrays[a] = next;
        }
        sums->chosen = arrays[0];
        sums->scores = arrays[1];
        sums->shares = arrays[2];
        sums->sequence_chosen = arrays[3];
        sums->sequence_shares = arrays[4];
    }
}

// ln(x) for finite x > 0, within 2 ulp: x = 2^e m with sqrt(1/2) <= m < sqrt(2), ln(m) = 2 atanh(s) with s = (m - 1) / (m + 1),
// |s| < 0.172, by its Taylor series: the first term left out is less than 1e-18 of the sum.
static double natural_logarithm(double x) {
    enum { TERMS = 11, MANTISSA = 52, BIAS = 1023 };
    const double ln2_high = 0x1.62e42feep-1, ln2_low = 0x1.a39ef35793c76p-33;  // e ln2_high is exact
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int64_t exponent = (int64_t)(bits >> MANTISSA) - BIAS;
    bits = (bits & (((uint64_t)1 << MANTISSA) - 1)) | (uint64_t)BIAS << MANTISSA;
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m >= 0x1.6a09e667f3bcdp+0) {
        m /= 2;
        exponent++;
    }
    double s = (m - 1) / (m + 1), square = s * s, sum = 0;
    for (int term = TERMS - 1; term >= 0; term--) {
        sum = sum * square + 1.0 / (2 * term + 1);
    }
    return (double)exponent * ln2_high + (2 * s * sum + (double)exponent * ln2_low);
}

static void close_sequence(const Layer *layer, FigureSums *sums) {
    int64_t choices = layer_choices(layer);
    if (!sums->sequence_length) {
        return;
    }
    double length = (double)sums->sequence_length, balance = 0;
    for (int64_t e = 0; e < choices; e++) {
        balance += (double)sums->sequence_chosen[e] * sums->sequence_shares[e];
    }
    sums->balance += balance * (double)choices / ((double)layer->expected_k * length * length);
    sums->sequences++;
    sums->sequence_length = 0;
    memset(sums->sequence_chosen, 0, (size_t)choices * sizeof *sums->sequence_chosen);
    memset(sums->sequence_shares, 0, (size_t)choices * sizeof *sums->sequence_shares);
}

static void add_scores(const Layer *layer, FigureSums *sums, const float *scores) {
    int64_t choices = layer_choices(layer);
    double total = 0;
    for (int64_t e = 0; e < choices; e++) {
        sums->scores[e] += (double)scores[e];
        total += (double)scores[e];
    }
    if (score_facts[layer->score].sums_to_1) {
        total = 1;  // but for rounding, which transformers leaves as it is
    }
    for (int64_t e = 0; e < choices; e++) {
        if (scores[e] > 0) {
            double share = (double)scores[e] / total;
            sums->shares[e] += share;
            sums->sequence_shares[e] += share;
            sums->entropy -= share * natural_logarithm(share);
        }
    }
}

static void add_token(const Layer *layer, FigureSums *sums, const int32_t *experts, const float *scores) {
    for (int64_t slot = 0; slot < layer->top_k; slot++) {
        if (experts[slot] >= 0) {
            sums->chosen[experts[slot]]++;
            sums->sequence_chosen[experts[slot]]++;
        }
    }
    if (scores) {
        add_scores(layer, sums, scores);
    }
    sums->tokens++;
    sums->sequence_length++;
}

void figures_add(Gathering *gathering, const FigureRows *rows) {
    const Layer *layer = gathering->layer;
    int64_t choices = layer_choices(layer);
    for (int64_t i = 0; i < layer->iterations; i++) {
        FigureSums *sums = &gathering->sums[i];
        for (int64_t token = 0; token < rows->tokens; token++) {
            int64_t row = i * rows->stride + token;
            int64_t sequence = gathering->sequence_tokens ? (rows->first + token) / gathering->sequence_tokens : 0;
            if (sequence != sums->sequence) {
                close_sequence(layer, sums);
                sums->sequence = sequence;
            }
            if (!rows->rejected[token]) {
                add_token(layer, sums, rows->experts + row * layer->top_k, rows->scores ? rows->scores + row * choices : NULL);
            }
        }
    }
}

static Figures figures_of(const Layer *layer, FigureSums *sums) {
    int64_t choices = layer_choices(layer);
    Figures figures = {0};
    if (!sums->tokens) {
        return figures;
    }
    close_sequence(layer, sums);
    double tokens = (double)sums->tokens, pool = (double)choices;
    for (int64_t e = 0; e < choices; e++) {
        figures.routed += sums->chosen[e];
        figures.l1 += sums->scores[e] * (double)sums->chosen[e];
        figures.balance_switch += (double)sums->chosen[e] * sums->shares[e];
    }
    figures.sparsity = 1 - (double)figures.routed / (tokens * pool);
    figures.l1 *= pool / ((double)layer->expected_k * tokens * tokens);
    figures.balance_switch *= pool / (tokens * tokens);
    figures.balance_sequence = sums->balance / (double)sums->sequences;
    figures.entropy = sums->entropy / tokens;
    return figures;
}

static void write_figures(const Figures *from, uint8_t *to, size_t size) {
    size_t known = size < sizeof *from ? size : sizeof *from;
    memcpy(to, from, known);
    memset(to + known, 0, size - known);
}

void figures_end(Gathering *gathering, int64_t *load, Figures *figures, size_t figures_size) {
    const Layer *layer = gathering->layer;
    int64_t choices = layer_choices(layer);
    for (int64_t i = 0; i < layer->iterations; i++) {
        if (load) {
            memcpy(load + i * choices, gathering->sums[i].chosen, (size_t)choices * sizeof *load);
        }
        if (figures) {
            const Figures own = figures_of(layer, &gathering->sums[i]);
            write_figures(&own, (uint8_t *)figures + (size_t)i * figures_size, figures_size);
        }
    }
}

double figures_adapt_lambda(double lambda, double sparsity, double target) {
    return sparsity < target ? lambda * 1.2 : lambda / 1.2;
}
