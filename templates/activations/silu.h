// silu: x sigmoid(slope x). Sections: list.h.

#ifdef ACTIVATION_ROW
// max |silu'| = 1.0998, whatever the slope a: the derivative of x sigmoid(a x) is silu'(a x). Units: exp within 2 ulp = 4u, 1 +
// exp, division, product: 8; doubled for safety. Of configurations' names, quick_gelu is silu with a slope.
ACTIVATION_ROW(ACTIVATION_SILU, silu, .takes_slope = 1, .sigmoid = 1, .steepest = 1.1, .units = 16, .exponent = 1,
               .torch = "F.silu({x})", .torch_slope = "{x} * torch.sigmoid({slope} * {x})", .configs = {"silu", "swish"},
               .sloped_configs = {{"quick_gelu", 1.702}})
#endif

#ifdef ACTIVATION_SKELETON
INLINE Vector activation_silu(Vector x, float slope) {
    return x / (vector_set(1.0f) + vector_exp(-(x * slope)));
}
#endif

#ifdef ACTIVATION_ORACLE
static double oracle_activation_silu(double x, double slope) {
    return x / (1 + exp(-slope * x));
}
#endif

#ifdef ACTIVATION_OPPONENT
static float opponent_activation_silu(float x, float slope) {
    return x / (1 + expf(-slope * x));
}
#endif
