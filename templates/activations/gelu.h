// gelu: x times the normal distribution function of x, by erf (Hendrycks and Gimpel, 2016). Sections: list.h.

#ifdef ACTIVATION_ROW
// max |gelu'| = 1.1290. Units: those of silu, and the fit of erf adds 1.2e-7 = 2u. Beyond -8 the tail is below 8e-15.
ACTIVATION_ROW(ACTIVATION_GELU, gelu, .steepest = 1.13, .units = 24, .tail = 8, .torch = "F.gelu({x})",
               .configs = {"gelu", "gelu_python"})
#endif

#ifdef ACTIVATION_SKELETON
INLINE Vector activation_gelu(Vector x, float slope) {
    (void)slope;
    return x * vector_normal_cdf(x);
}
#endif

#ifdef ACTIVATION_ORACLE
static double oracle_activation_gelu(double x, double slope) {
    (void)slope;
    return x * 0.5 * erfc(-x * M_SQRT1_2);
}
#endif

#ifdef ACTIVATION_OPPONENT
static float opponent_activation_gelu(float x, float slope) {
    (void)slope;
    return 0.5f * x * (1 + erff(x * (float)M_SQRT1_2));
}
#endif
