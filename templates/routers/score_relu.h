// relu: max(z, 0) (ReMoE, Wang et al., 2024). Sections: list.h.

#ifdef SCORE_ROW
SCORE_ROW(SCORE_RELU, relu, .torch = "torch.relu(z)")
#endif

#ifdef SCORE_SKELETON
INLINE Vector score_relu(Vector z, ScoreWhole whole) {
    (void)whole;
    return vector_select(z > 0.0f, z, vector_set(0));
}
#endif

#ifdef SCORE_ORACLE
// Exact but for z's own error; a logit that is negative without doubt scores exactly 0.
static Bounded oracle_score_relu(Bounded z, const Whole *whole) {
    (void)whole;
    return isfinite(z.error) ? bounded_image(fmax(z.value, 0), fmax(z.value - z.error, 0), fmax(z.value + z.error, 0)) : z;
}
#endif

#ifdef SCORE_OPPONENT
static void opponent_score_relu(int64_t count, const float *z, float *scores) {
    for (int64_t e = 0; e < count; e++) {
        scores[e] = z[e] > 0 ? z[e] : 0;
    }
}
#endif
