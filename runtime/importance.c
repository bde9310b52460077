// See importance.h. The functions of <math.h> are not used: a library needs no libm.
#include "importance.h"

#include "areas.h"

enum { BLOCK = 64 };  // keys at a time, so that rows are read along and sums need no memory

// Mean over heads of one query's probabilities for `count` keys.
static void average_heads(const float *attention, int64_t heads, int64_t head_stride, int64_t count, double average[BLOCK]) {
    for (int64_t j = 0; j < count; j++) {
        average[j] = 0;
    }
    for (int64_t h = 0; h < heads; h++) {
        for (int64_t j = 0; j < count; j++) {
            average[j] += (double)attention[h * head_stride + j];
        }
    }
    for (int64_t j = 0; j < count; j++) {
        average[j] /= (double)heads;
    }
}

static double larger(double a, double b) {
    return a > b ? a : b;
}

static int valid(const float *attention, int64_t heads, int64_t queries, int64_t keys, int rule, const float *importance) {
    enum { FLOAT = sizeof(float) };
    int64_t rows;
    if (!attention || !importance || heads < 1 || queries < 1 || keys < 1 || rule < 0 || rule >= IMPORTANCE_RULE_COUNT ||
        __builtin_mul_overflow(heads, queries, &rows)) {
        return 0;
    }
    int64_t results = rule == IMPORTANCE_GIVE_MAX ? queries : keys;
    const Area areas[] = {{"attention", attention, area_bytes(rows, keys, keys, FLOAT), FLOAT, false},
                          {"importance", importance, area_bytes(results, 1, 1, FLOAT), FLOAT, true}};
    if (areas_check(areas, 2, 1, NULL) != LIBRARY_OK) {
        return 0;
    }
    for (int64_t i = 0; i < rows * keys; i++) {
        if (!(attention[i] >= 0 && attention[i] <= 1)) {
            return 0;
        }
    }
    return 1;
}

Status importance_from_attention(const float *attention, int64_t heads, int64_t queries, int64_t keys, int rule,
                                 float *importance) {
    if (!valid(attention, heads, queries, keys, rule, importance)) {
        return LIBRARY_INVALID_ARGUMENT;
    }
    for (int64_t i = 0; rule == IMPORTANCE_GIVE_MAX && i < queries; i++) {
        importance[i] = 0;
    }
    for (int64_t first = 0; first < keys; first += BLOCK) {
        int64_t count = keys - first < BLOCK ? keys - first : BLOCK;
        double average[BLOCK], received[BLOCK] = {0};
        for (int64_t i = 0; i < queries; i++) {
            average_heads(attention + i * keys + first, heads, queries * keys, count, average);
            for (int64_t j = 0; j < count; j++) {
                received[j] = rule == IMPORTANCE_RECEIVE_SUM ? received[j] + average[j] : larger(received[j], average[j]);
                if (rule == IMPORTANCE_GIVE_MAX) {
                    importance[i] = (float)larger((double)importance[i], average[j]);
                }
            }
        }
        for (int64_t j = 0; rule != IMPORTANCE_GIVE_MAX && j < count; j++) {
            importance[first + j] = (float)(received[j] < 1 ? received[j] : 1);
        }
    }
    return LIBRARY_OK;
}

int32_t importance_to_k(const Layer *layer, float importance) {
    float product = importance * (float)layer->experts;
    int64_t k = (int64_t)product;
    k += (float)k < product;
    k = k > layer->k_min ? k : layer->k_min;
    return (int32_t)(k < layer->top_k ? k : layer->top_k);
}
