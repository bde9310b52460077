// sqrtsoftplus: sqrt(log(1 + exp z)). Sections: list.h.

#ifdef SCORE_ROW
SCORE_ROW(SCORE_SQRTSOFTPLUS, sqrtsoftplus, .strict = 1, .torch = "torch.sqrt(F.softplus(z))")
#endif

#ifdef SCORE_SKELETON
// Below -17 e^(z/2) to within rounding.
INLINE Vector score_sqrtsoftplus(Vector z, ScoreWhole whole) {
    (void)whole;
    return vector_select(z < -17.0f, vector_exp(z * 0.5f), vector_sqrt(vector_softplus(z)));
}
#endif

#ifdef SCORE_ORACLE
static double softplus(double z) {
    return fmax(z, 0) + log1p(exp(-fabs(z)));
}

// Monotone; exp and log count half under the root, which rounds once. What exp may take as zero is zero under the root.
static Bounded oracle_score_sqrtsoftplus(Bounded z, const Whole *whole) {
    (void)whole;
    if (!isfinite(z.error)) {
        return (Bounded){0, INFINITY};
    }
    double value = sqrt(softplus(z.value));
    Bounded image = bounded_image(value, sqrt(softplus(z.value - z.error)), sqrt(softplus(z.value + z.error)));
    return bounded_rounded(value, image.error + sqrt(exp_floor), function_units + 2);
}
#endif

#ifdef SCORE_OPPONENT
static void opponent_score_sqrtsoftplus(int64_t count, const float *z, float *scores) {
    for (int64_t e = 0; e < count; e++) {
        scores[e] = sqrtf((z[e] > 0 ? z[e] : 0) + log1pf(expf(-fabsf(z[e]))));
    }
}
#endif
