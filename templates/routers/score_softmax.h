// softmax: exp(z - max) / the sum of all exp(z - max). Sections: list.h.

#ifdef SCORE_ROW
SCORE_ROW(SCORE_SOFTMAX, softmax, .strict = 1, .whole = 1, .at_most_1 = 1, .sums_to_1 = 1, .torch = "torch.softmax(z, -1)")
#endif

#ifdef SCORE_SKELETON
INLINE Vector score_softmax(Vector z, ScoreWhole whole) {
    return vector_exp(z - whole.largest) / whole.sum;
}
#endif

#ifdef SCORE_ORACLE
// p_e = exp(z_e - m) / sum_j exp(z_j - m). Errors of at most D in every logit move p_e by a factor within exp(+-2D).
// Evaluation: rounding of z - m gives relative u |z_e - m| (and u sum_j p_j |z_j - m| through the sum), exp 8u, the sum
// gamma_N, division u, together `own`. A probability errs by 1 at most, and is at most exp(2D - (m - z_e)), whatever the bounds
// of huge logits say.
static Bounded oracle_score_softmax(Bounded z, const Whole *whole) {
    double below = whole->maximum - z.value, p = exp(-below) / whole->sum, most = whole->most;
    double steps = (double)whole->count + 2 * function_units + fmin(below, 128) + whole->spread / whole->sum;
    double own = error_gamma(steps, ERROR_WORST);
    double error = 2 * most < 600 ? (expm1(2 * most) * (1 + own) + own) * p : exp(fmin(0, 2 * most - below));
    return bounded_make(p, fmin(error, 1) + exp_floor);
}
#endif

#ifdef SCORE_OPPONENT
static void opponent_score_softmax(int64_t count, const float *z, float *scores) {
    float most = z[0], sum = 0;
    for (int64_t e = 1; e < count; e++) {
        most = z[e] > most ? z[e] : most;
    }
    for (int64_t e = 0; e < count; e++) {
        scores[e] = expf(z[e] - most);
        sum += scores[e];
    }
    for (int64_t e = 0; e < count; e++) {
        scores[e] /= sum;
    }
}
#endif
