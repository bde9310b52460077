// A program that uses a compiled layer through its header and pkg-config alone.
//
//     catena compile examples/coe_2x4of64.json -o build/out
//     cc -O2 examples/use_library.c -o use_library $(PKG_CONFIG_PATH=build/out pkg-config --cflags --libs coe_2x4of64)
//     ./use_library WEIGHTS TOKENS [X.bin]
//
// WEIGHTS is a checkpoint (.safetensors or a directory) or a packed file (catena pack). X.bin holds TOKENS x hidden floats;
// without it the activations are random.
#include <coe_2x4of64.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { HIDDEN = COE_2X4OF64_SPARSE_HIDDEN, CALLS = 10 };

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int read_activations(const char *path, float *x, size_t count) {
    FILE *file = fopen(path, "rb");
    size_t got = file ? fread(x, sizeof *x, count, file) : 0;
    if (file) {
        fclose(file);
    }
    if (got != count) {
        fprintf(stderr, "%s: %zu numbers wanted, %zu found\n", path, count, got);
    }
    return got == count ? 0 : -1;
}

static int run(coe_2x4of64 *model, int64_t tokens, const float *x, float *y) {
    int layer = coe_2x4of64_layer(model, "sparse", 0);
    double best = 1e30;
    for (int i = 0; i < CALLS; i++) {
        double start = seconds();
        int status = coe_2x4of64_forward(model, layer, tokens, x, HIDDEN, y, HIDDEN);
        double elapsed = seconds() - start;
        if (status != COE_2X4OF64_OK) {
            fprintf(stderr, "forward: %s\n", coe_2x4of64_error(model));
        }
        if (status < 0) {
            return -1;
        }
        best = elapsed < best ? elapsed : best;
    }
    printf("%lld tokens: best of %d calls %.3f ms, %.0f tokens/s; y[0][0] = %g\n", (long long)tokens, CALLS, best * 1e3,
           (double)tokens / best, (double)y[0]);
    return 0;
}

int main(int argc, char **argv) {
    long long tokens = argc > 2 ? atoll(argv[2]) : 0;
    if (argc > 4 || tokens < 1 || tokens > 1 << 20) {
        fprintf(stderr, "usage: %s WEIGHTS TOKENS [X.bin]\n", argv[0]);
        return 2;
    }
    char error[512];
    coe_2x4of64_options options = COE_2X4OF64_OPTIONS_INIT;  // the defaults: all cores; NULL would say the same
    coe_2x4of64 *model = NULL;
    double start = seconds();
    if (coe_2x4of64_open(argv[1], &options, &model, error, sizeof error) != COE_2X4OF64_OK) {
        fprintf(stderr, "%s\n", error);
        return EXIT_FAILURE;
    }
    printf("opened %s in %.1f ms\n", argv[1], (seconds() - start) * 1e3);
    size_t count = (size_t)tokens * HIDDEN;
    float *x = malloc(count * sizeof *x), *y = malloc(count * sizeof *y);
    int failed = !x || !y;
    for (size_t i = 0; !failed && i < count; i++) {
        x[i] = (float)rand() / (float)RAND_MAX * 2 - 1;
    }
    failed = failed || (argc > 3 && read_activations(argv[3], x, count)) || run(model, tokens, x, y);
    free(x);
    free(y);
    coe_2x4of64_close(model);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
