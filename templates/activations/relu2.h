// relu2: max(x, 0)^2 (So et al., Primer, 2021). Sections: list.h.

#ifdef ACTIVATION_ROW
ACTIVATION_ROW(ACTIVATION_RELU2, relu2, .rises = 1, .units = 2, .torch = "F.relu({x}).square()", .configs = {"relu2"})
#endif

#ifdef ACTIVATION_SKELETON
INLINE Vector activation_relu2(Vector x, float slope) {
    (void)slope;
    Vector positive = vector_select(x > 0.0f, x, vector_set(0.0f));
    return positive * positive;
}
#endif

#ifdef ACTIVATION_ORACLE
static double oracle_activation_relu2(double x, double slope) {
    (void)slope;
    return x > 0 ? x * x : 0;
}
#endif

#ifdef ACTIVATION_OPPONENT
static float opponent_activation_relu2(float x, float slope) {
    (void)slope;
    return x > 0 ? x * x : 0;
}
#endif
