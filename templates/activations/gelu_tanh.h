// gelu_tanh: x/2 (1 + tanh u) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3) (Hendrycks and Gimpel, 2016). Sections: list.h.

#ifdef ACTIVATION_ROW
// max |gelu_tanh'| = 1.1298; the rest as for gelu.
ACTIVATION_ROW(ACTIVATION_GELU_TANH, gelu_tanh, .steepest = 1.14, .units = 24, .tail = 8,
               .torch = "F.gelu({x}, approximate=\"tanh\")",
               .configs = {"gelu_new", "gelu_fast", "gelu_accurate", "gelu_pytorch_tanh", "gelu_python_tanh"})
#endif

#ifdef ACTIVATION_SKELETON
INLINE Vector activation_gelu_tanh(Vector x, float slope) {
    (void)slope;
    Vector inner = vector_fma(x * x * x, vector_set(0.044715f), x);
    return x * vector_sigmoid(inner * 1.5957691216057308f);
}
#endif

#ifdef ACTIVATION_ORACLE
static double oracle_activation_gelu_tanh(double x, double slope) {
    (void)slope;
    return x / (1 + exp(-2 * sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}
#endif

#ifdef ACTIVATION_OPPONENT
static float opponent_activation_gelu_tanh(float x, float slope) {
    (void)slope;
    return 0.5f * x * (1 + tanhf(0.7978845608f * (x + 0.044715f * x * x * x)));
}
#endif
