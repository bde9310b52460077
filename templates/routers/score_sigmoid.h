// sigmoid: 1 / (1 + exp(-z)). Sections: list.h.

#ifdef SCORE_ROW
SCORE_ROW(SCORE_SIGMOID, sigmoid, .strict = 1, .at_most_1 = 1, .torch = "torch.sigmoid(z)")
#endif

#ifdef SCORE_SKELETON
INLINE Vector score_sigmoid(Vector z, ScoreWhole whole) {
    (void)whole;
    return vector_sigmoid(z);
}
#endif

#ifdef SCORE_ORACLE
static Bounded oracle_score_sigmoid(Bounded z, const Whole *whole) {
    (void)whole;
    return oracle_sigmoid(z);
}
#endif

#ifdef SCORE_OPPONENT
static void opponent_score_sigmoid(int64_t count, const float *z, float *scores) {
    for (int64_t e = 0; e < count; e++) {
        scores[e] = 1 / (1 + expf(-z[e]));
    }
}
#endif
