// From attention to output: a layer that gives important tokens more experts (DA-MoE), used through its header and pkg-config
// alone.
//
//     catena compile examples/da_moe_8of64.json -o build/out
//     cc -O2 examples/da_moe.c -o da_moe $(PKG_CONFIG_PATH=build/out pkg-config --cflags --libs da_moe_8of64) -lm
//     ./da_moe WEIGHTS TOKENS [HEADS ATTENTION.bin X.bin]
//
// WEIGHTS is a checkpoint (.safetensors or a directory) or a packed file (catena pack). ATTENTION.bin holds HEADS x TOKENS x TOKENS
// probabilities (floats; rows are queries), X.bin TOKENS x hidden floats: what the attention of the same block put out. Without
// them the attention is causal and random, and so is x.
//
// A token's importance is the attention it receives: the largest, over queries, of the probability that heads give it on average.
// The layer turns it into K_t = clamp(ceil(importance * 64), 1, 8) experts.
#include <da_moe_8of64.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    HIDDEN = DA_MOE_8OF64_SPARSE_HIDDEN,
    EXPERTS = DA_MOE_8OF64_SPARSE_EXPERTS,
    TOP_K = DA_MOE_8OF64_SPARSE_TOP_K,
    ITERATIONS = DA_MOE_8OF64_SPARSE_ITERATIONS,
    RANDOM_HEADS = 4,
    MAX_TOKENS = 1 << 14,
    MAX_HEADS = 1 << 10,
};

// Everything that has to be released.
typedef struct Arrays {
    float *attention, *importance, *x, *y, *weights;
    int32_t *experts;
} Arrays;

static int allocate(Arrays *arrays, size_t heads, size_t tokens) {
    arrays->attention = calloc(heads * tokens * tokens, sizeof(float));
    arrays->importance = calloc(tokens, sizeof(float));
    arrays->x = calloc(tokens * HIDDEN, sizeof(float));
    arrays->y = calloc(tokens * HIDDEN, sizeof(float));
    arrays->experts = calloc(ITERATIONS * tokens * TOP_K, sizeof(int32_t));
    arrays->weights = calloc(ITERATIONS * tokens * TOP_K, sizeof(float));
    if (!arrays->attention || !arrays->importance || !arrays->x || !arrays->y || !arrays->experts || !arrays->weights) {
        fprintf(stderr, "not enough memory for %zu tokens\n", tokens);
        return -1;
    }
    return 0;
}

static void release(Arrays *arrays) {
    free(arrays->attention);
    free(arrays->importance);
    free(arrays->x);
    free(arrays->y);
    free(arrays->experts);
    free(arrays->weights);
}

static int read_floats(const char *path, float *values, size_t count) {
    FILE *file = fopen(path, "rb");
    size_t got = file ? fread(values, sizeof *values, count, file) : 0;
    if (file) {
        fclose(file);
    }
    if (got != count) {
        fprintf(stderr, "%s: %zu numbers wanted, %zu found\n", path, count, got);
    }
    return got == count ? 0 : -1;
}

// Softmax of random scores under a causal mask: query i sees keys 0..i.
static void make_attention(float *attention, size_t heads, size_t tokens) {
    for (size_t row = 0; row < heads * tokens; row++) {
        float *p = attention + row * tokens, sum = 0;
        for (size_t j = 0; j <= row % tokens; j++) {
            p[j] = expf((float)rand() / (float)RAND_MAX * 8);
            sum += p[j];
        }
        for (size_t j = 0; j <= row % tokens; j++) {
            p[j] /= sum;
        }
    }
}

static int make_inputs(Arrays *arrays, size_t heads, size_t tokens, char **files) {
    if (files) {
        return read_floats(files[0], arrays->attention, heads * tokens * tokens) ||
               read_floats(files[1], arrays->x, tokens * HIDDEN);
    }
    make_attention(arrays->attention, heads, tokens);
    for (size_t i = 0; i < tokens * HIDDEN; i++) {
        arrays->x[i] = (float)rand() / (float)RAND_MAX * 2 - 1;
    }
    return 0;
}

static void print_tokens(const Arrays *arrays, int64_t tokens) {
    for (int64_t t = 0; t < tokens && t < 16; t++) {
        const int32_t *experts = arrays->experts + t * TOP_K;
        int count = 0;
        while (count < TOP_K && experts[count] >= 0) {
            count++;
        }
        printf("token %3lld: importance %.3f, %d expert%s:", (long long)t, (double)arrays->importance[t], count,
               count == 1 ? "" : "s");
        for (int k = 0; k < count; k++) {
            printf(" %d", (int)experts[k]);
        }
        printf("\n");
    }
}

static int run(da_moe_8of64 *model, Arrays *arrays, int64_t heads, int64_t tokens) {
    if (da_moe_8of64_importance(arrays->attention, heads, tokens, tokens, DA_MOE_8OF64_RECEIVE_MAX, arrays->importance)) {
        fprintf(stderr, "attention must be probabilities: numbers from 0 to 1\n");
        return -1;
    }
    da_moe_8of64_figures figures[ITERATIONS];
    da_moe_8of64_extra extra = DA_MOE_8OF64_EXTRA_INIT;
    extra.importance = arrays->importance;  // or extra.k, to say how many experts each token gets
    extra.experts = arrays->experts;
    extra.weights = arrays->weights;
    extra.figures = figures;
    int layer = da_moe_8of64_layer(model, "sparse", 0);
    int status = da_moe_8of64_forward_with(model, layer, tokens, arrays->x, HIDDEN, arrays->y, HIDDEN, &extra);
    if (status != DA_MOE_8OF64_OK) {
        fprintf(stderr, "forward: %s\n", da_moe_8of64_error(model));
    }
    if (status < 0) {
        return -1;
    }
    print_tokens(arrays, tokens);
    printf("%lld tokens: %.2f of at most %d experts per token, sparsity %.3f, entropy %.3f of %.3f; y[0][0] = %g\n",
           (long long)tokens, (double)figures[0].routed / (double)tokens, TOP_K, figures[0].sparsity, figures[0].entropy,
           log((double)EXPERTS), (double)arrays->y[0]);
    return 0;
}

int main(int argc, char **argv) {
    long long tokens = argc > 2 ? atoll(argv[2]) : 0, heads = argc > 3 ? atoll(argv[3]) : RANDOM_HEADS;
    if ((argc != 3 && argc != 6) || tokens < 1 || tokens > MAX_TOKENS || heads < 1 || heads > MAX_HEADS) {
        fprintf(stderr, "usage: %s WEIGHTS TOKENS [HEADS ATTENTION.bin X.bin]\n", argv[0]);
        return 2;
    }
    char error[512];
    da_moe_8of64 *model = NULL;
    if (da_moe_8of64_open(argv[1], NULL, &model, error, sizeof error) != DA_MOE_8OF64_OK) {
        fprintf(stderr, "%s\n", error);
        return EXIT_FAILURE;
    }
    Arrays arrays = {0};
    int failed = allocate(&arrays, (size_t)heads, (size_t)tokens) ||
                 make_inputs(&arrays, (size_t)heads, (size_t)tokens, argc == 6 ? argv + 4 : NULL) ||
                 run(model, &arrays, heads, tokens);
    release(&arrays);
    da_moe_8of64_close(model);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
