// relu: max(x, 0). Sections: list.h.

#ifdef ACTIVATION_ROW
ACTIVATION_ROW(ACTIVATION_RELU, relu, .rises = 1, .torch = "F.relu({x})", .configs = {"relu"})
#endif

#ifdef ACTIVATION_SKELETON
INLINE Vector activation_relu(Vector x, float slope) {
    (void)slope;
    return vector_select(x > 0.0f, x, vector_set(0.0f));
}
#endif

#ifdef ACTIVATION_ORACLE
static double oracle_activation_relu(double x, double slope) {
    (void)slope;
    return x > 0 ? x : 0;
}
#endif

#ifdef ACTIVATION_OPPONENT
static float opponent_activation_relu(float x, float slope) {
    (void)slope;
    return x > 0 ? x : 0;
}
#endif
