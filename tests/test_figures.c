// What a forward can be given and asked for beyond x and y: outputs in any combination, k and importance per token, given routing,
// and the figures, against the formulas written out plainly. The layer is a stand-in that routes as tables say.
// Over 500 lines: one suite for everything that a call can ask for, on one set of tables.
#include "runtime/figures.h"

#include <malloc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "compiler/plan/text.h"
#include "runtime/extra.h"
#include "runtime/instance.h"
#include "suites.h"

enum { HIDDEN = 3, ITERATIONS = 2, K = 3, EXPERTS = 5, CHOICES = 7, CHUNK = 4, TOKENS = 11 };
enum { SLOTS = ITERATIONS * TOKENS * K, SCORES = ITERATIONS * TOKENS * CHOICES };

// --- the stand-in ------------------------------------------------------------------------------------------------------------

static Kind kind;
static const Contents contents = {.kinds = 1};
static int32_t routed[ITERATIONS][TOKENS][K];
static float weighed[ITERATIONS][TOKENS][K], scored[ITERATIONS][TOKENS][CHOICES];
static bool rejected[TOKENS];
static int calls;

// x[token][0] is the token's number. y: k_in, and what is given for the first slot.
static void stand_in(Call *call, Team *team, int64_t thread, int64_t threads) {
    (void)team;
    Workspace space = plan_workspace(&kind.plan, call->tokens, threads);
    memset(call->workspace + space.thread + thread * space.thread_bytes, 0xab, (size_t)space.thread_bytes);
    for (int64_t token = thread; token < call->tokens; token += threads) {
        int64_t number = (int64_t)((const float *)call->x)[token * call->x_stride];
        float *y = (float *)call->y + token * call->y_stride;
        y[0] = call->k_in ? (float)call->k_in[token] : -1;
        y[1] = call->experts_in ? (float)call->experts_in[(call->routing_tokens + token) * K] : -1;
        y[2] = call->weights_in ? call->weights_in[(call->routing_tokens + token) * K] : -1;
        for (int64_t i = 0; i < ITERATIONS; i++) {
            int64_t row = i * call->routing_tokens + token;
            if (call->experts_out) {
                memcpy(call->experts_out + row * K, routed[i][number], sizeof routed[i][number]);
                memcpy(call->weights_out + row * K, weighed[i][number], sizeof weighed[i][number]);
            }
            if (call->scores_out) {
                memcpy(call->scores_out + row * CHOICES, scored[i][number], sizeof scored[i][number]);
            }
        }
        call->workspace[space.rejected + token] = rejected[number];
    }
    calls += !thread;
}

static LayerForward *const forwards[] = {stand_in};
static uint8_t *image;
static size_t image_size;
static float x[TOKENS * HIDDEN], y[TOKENS * HIDDEN];

// Routing that differs from token to token: 0 to K choices, one score that is zero, one token without any.
static void fill_tables(void) {
    uint32_t state = 1;
    for (int i = 0; i < ITERATIONS; i++) {
        for (int t = 0; t < TOKENS; t++) {
            int count = (t + i) % (K + 1);
            for (int s = 0; s < K; s++) {
                routed[i][t][s] = s < count ? (t * 3 + s * 2 + i) % CHOICES : -1;
                weighed[i][t][s] = s < count ? (float)(1 + t + s) / 16 : 0;
            }
            for (int e = 0; e < CHOICES; e++) {
                state = state * 1664525 + 1013904223;
                scored[i][t][e] = t == 5 || (t + e) % 6 == 0 ? 0 : (float)(state >> 8) * 0x1p-24f;
            }
        }
    }
}

static void setup(void) {
    memset(&kind, 0, sizeof kind);
    strcpy(kind.name, "sparse");
    kind.count = 1;
    kind.plan.layer = (Layer){.hidden = HIDDEN,
                              .iterations = ITERATIONS,
                              .experts = EXPERTS,
                              .identity_experts = 1,
                              .null_experts = 1,
                              .intermediate = 6,
                              .top_k = K,
                              .k_min = 1,
                              .expected_k = 2,
                              .k_per_token = 1,
                              .score = SCORE_SIGMOID};
    kind.plan.schedule.chunk_tokens = CHUNK;
    kind.plan.schedule.block_rows = 2;
    plan_layout(&kind.plan);
    image_size = (size_t)packed_image_bytes(&kind, 1);
    image = aligned_alloc(4096, image_size);
    ck_assert_ptr_nonnull(image);
    memset(image, 0, image_size);
    packed_image_begin(&kind, 1, image);
    packed_image_finish(image);
    for (int t = 0; t < TOKENS; t++) {
        x[t * HIDDEN] = (float)t;
    }
    fill_tables();
    memset(rejected, 0, sizeof rejected);
    calls = 0;
}

static void teardown(void) {
    free(image);
}

static Library *open_instance(int threads, int64_t max_tokens) {
    Options options = {.size = sizeof options, .threads = threads, .max_tokens = max_tokens};
    Library *library = NULL;
    char error[512];
    Status status = instance_open_memory(&contents, &kind, forwards, image, image_size, &options, &library, error, sizeof error);
    ck_assert_msg(status == LIBRARY_OK, "%s", error);
    return library;
}

static Status run(Library *library, int64_t tokens, const Extra *extra) {
    Forward forward = {.tokens = tokens, .x = x, .x_stride = HIDDEN, .y = y, .y_stride = HIDDEN};
    return instance_forward_with(library, &forward, extra);
}

// --- figures -----------------------------------------------------------------------------------------------------------------

// Share of choice e among a token's scores.
static double share(int i, int t, int e) {
    double sum = 0;
    for (int other = 0; other < CHOICES; other++) {
        sum += (double)scored[i][t][other];
    }
    return kind.plan.layer.score == SCORE_SOFTMAX ? (double)scored[i][t][e] : sum > 0 ? (double)scored[i][t][e] / sum : 0;
}

static int chosen(int i, int t, int e) {
    for (int s = 0; s < K; s++) {
        if (routed[i][t][s] == e) {
            return 1;
        }
    }
    return 0;
}

// sum over e of n_e * sum_t p_te (or s_te) over tokens [first, last); their number in *count.
static double products(int i, int first, int last, bool shares, int *count) {
    double result = 0;
    for (int e = 0; e < CHOICES; e++) {
        double n = 0, sum = 0;
        *count = 0;
        for (int t = first; t < last && t < TOKENS; t++) {
            if (!rejected[t]) {
                n += chosen(i, t, e);
                sum += shares ? share(i, t, e) : (double)scored[i][t][e];
                ++*count;
            }
        }
        result += n * sum;
    }
    return result;
}

static Figures expected_figures(int i, int sequence) {
    const double k = (double)kind.plan.layer.expected_k, pool = CHOICES;
    Figures f = {0};
    int count, part, sequences = 0;
    f.l1 = products(i, 0, TOKENS, false, &count) * pool / (k * count * count);
    f.balance_switch = products(i, 0, TOKENS, true, &count) * pool / ((double)count * count);
    for (int first = 0; first < TOKENS; first += sequence) {
        double sum = products(i, first, first + sequence, true, &part);
        if (part) {
            f.balance_sequence += sum * pool / (k * part * part);
            sequences++;
        }
    }
    f.balance_sequence /= sequences;
    for (int t = 0; t < TOKENS; t++) {
        for (int e = 0; e < CHOICES && !rejected[t]; e++) {
            double p = share(i, t, e);
            f.entropy -= p > 0 ? p * log(p) / count : 0;
            f.routed += chosen(i, t, e);
        }
    }
    f.sparsity = 1 - (double)f.routed / (count * CHOICES);
    return f;
}

static void expect_close(double found, double expected, const char *name) {
    ck_assert_msg(fabs(found - expected) <= 1e-13 * fabs(expected), "%s is %.17g, expected %.17g", name, found, expected);
}

static void expect_figures(const Figures *found, int sequence) {
    for (int i = 0; i < ITERATIONS; i++) {
        Figures expected = expected_figures(i, sequence);
        expect_close(found[i].sparsity, expected.sparsity, "sparsity");
        expect_close(found[i].l1, expected.l1, "l1");
        expect_close(found[i].balance_switch, expected.balance_switch, "balance_switch");
        expect_close(found[i].balance_sequence, expected.balance_sequence, "balance_sequence");
        expect_close(found[i].entropy, expected.entropy, "entropy");
        ck_assert_int_eq(found[i].routed, expected.routed);
    }
}

// Whatever the threads, the chunks and the lengths of sequences, with and without rejected tokens: the formulas, and the same bits.
START_TEST(figures_are_the_formulas) {
    static const int sequences[] = {0, 1, 3, 4, TOKENS, 100};
    kind.plan.layer.score = _i & 1 ? SCORE_SOFTMAX : SCORE_SIGMOID;
    rejected[0] = rejected[3] = rejected[4] = rejected[7] = _i & 2;
    for (size_t s = 0; s < sizeof sequences / sizeof *sequences; s++) {
        Figures first[ITERATIONS];
        for (int variant = 0; variant < 12; variant++) {
            Figures figures[ITERATIONS];
            int64_t load[ITERATIONS][CHOICES];
            float scores[SCORES];
            Extra extra = {.size = sizeof extra,
                           .figures = figures,
                           .figures_size = sizeof *figures,
                           .load = *load,
                           .sequence_tokens = sequences[s]};
            extra.scores = variant & 1 ? scores : NULL;
            Library *library = open_instance(1 + variant / 2 % 2, variant / 4);
            ck_assert_int_eq(run(library, TOKENS, &extra), _i & 2 ? LIBRARY_NONFINITE : LIBRARY_OK);
            expect_figures(figures, sequences[s] ? sequences[s] : TOKENS);
            memcpy(first, variant ? first : figures, sizeof first);
            ck_assert_mem_eq(figures, first, sizeof first);
            for (int e = 0; e < ITERATIONS * CHOICES; e++) {
                int64_t count = 0;
                for (int t = 0; t < TOKENS; t++) {
                    count += !rejected[t] && chosen(e / CHOICES, t, e % CHOICES);
                }
                ck_assert_int_eq(load[e / CHOICES][e % CHOICES], count);
            }
            instance_close(library);
        }
    }
}
END_TEST

START_TEST(nothing_counted_is_zero) {
    Figures figures[ITERATIONS], zero[ITERATIONS] = {0};
    int64_t load[ITERATIONS * CHOICES], none[ITERATIONS * CHOICES] = {0};
    Extra extra = {.size = sizeof extra, .figures = figures, .figures_size = sizeof *figures, .load = load};
    Library *library = open_instance(1, 0);
    for (int tokens = 0; tokens < 2; tokens++) {
        rejected[0] = true;
        memset(figures, 0xff, sizeof figures);
        memset(load, 0xff, sizeof load);
        ck_assert_int_eq(run(library, tokens, &extra), tokens ? LIBRARY_NONFINITE : LIBRARY_OK);
        ck_assert_mem_eq(figures, zero, sizeof zero);
        ck_assert_mem_eq(load, none, sizeof none);
    }
    instance_close(library);
}
END_TEST

// One token with one score: entropy is -s ln s, for s from the least float to 1.
START_TEST(logarithms_are_exact) {
    Layer layer = {.iterations = 1, .experts = 1, .top_k = 1, .expected_k = 1, .score = SCORE_SOFTMAX};
    const int32_t expert = 0;
    const uint8_t kept = 0;
    uint64_t memory[8];
    ck_assert_int_le(figures_bytes(&layer), sizeof memory);
    for (double exact = 0x1p-149; exact <= 1; exact *= 1.001) {
        float s = (float)exact;
        Gathering gathering;
        Figures figures;
        figures_begin(&layer, 0, memory, &gathering);
        figures_add(&gathering, &(FigureRows){0, 1, 1, &expert, &s, &kept});
        figures_end(&gathering, NULL, &figures, sizeof figures);
        double expected = -(double)s * log((double)s);
        ck_assert_msg(fabs(figures.entropy - expected) <= 0x1p-51 * expected, "%g: %.17g, expected %.17g", exact, figures.entropy,
                      expected);
    }
}
END_TEST

#if defined(__x86_64__)
// A caller that flushes denormals and rounds upwards: the same bits, and the same k.
START_TEST(the_callers_rounding_does_not_matter) {
    enum { UPWARDS_AND_FLUSHING = 0x1f80 | 0x8040 | 0x4000 };
    Figures figures[2][ITERATIONS];
    float importance[TOKENS];
    for (int t = 0; t < TOKENS; t++) {
        importance[t] = 0.2f + (float)t * 0.02f;  // of 5 experts: 1 for token 0
        scored[0][t][0] = 0x1p-140f;
    }
    importance[0] = 0.2f;
    Library *library = open_instance(1, 0);
    for (int upwards = 0; upwards < 2; upwards++) {
        Extra extra = {
            .size = sizeof extra, .figures = figures[upwards], .figures_size = sizeof **figures, .importance = importance};
        _mm_setcsr(upwards ? UPWARDS_AND_FLUSHING : 0x1f80);
        Status status = run(library, TOKENS, &extra);
        unsigned after = _mm_getcsr();
        _mm_setcsr(0x1f80);
        ck_assert_int_eq(status, LIBRARY_OK);
        ck_assert_int_eq((after & UPWARDS_AND_FLUSHING) == UPWARDS_AND_FLUSHING, upwards);
        ck_assert_float_eq(y[0], 1);
    }
    ck_assert_mem_eq(figures[0], figures[1], sizeof figures[0]);
    instance_close(library);
}
END_TEST
#endif

START_TEST(lambda_follows_the_target) {
    ck_assert_double_eq(figures_adapt_lambda(1e-8, 0.5, 0.875), 1e-8 * 1.2);
    ck_assert_double_eq(figures_adapt_lambda(1e-8, 0.875, 0.875), 1e-8 / 1.2);
    ck_assert_double_eq(figures_adapt_lambda(1e-8, 0.9, 0.875), 1e-8 / 1.2);
}
END_TEST

// --- outputs and inputs ------------------------------------------------------------------------------------------------------

// Every subset of the outputs: what is asked for is right, what is not is left alone.
START_TEST(any_outputs_together) {
    Library *library = open_instance(2, _i);
    rejected[6] = true;
    for (unsigned subset = 0; subset < 32; subset++) {
        static int32_t experts[SLOTS + 1];
        static float weights[SLOTS + 1], scores[SCORES + 1];
        int64_t load[ITERATIONS * CHOICES + 1];
        Figures figures[ITERATIONS + 1];
        memset(experts, 0x11, sizeof experts);
        memset(weights, 0x11, sizeof weights);
        memset(scores, 0x11, sizeof scores);
        memset(load, 0x11, sizeof load);
        memset(figures, 0x11, sizeof figures);
        Extra extra = {.size = sizeof extra,
                       .experts = subset & 1 ? experts : NULL,
                       .weights = subset & 2 ? weights : NULL,
                       .scores = subset & 4 ? scores : NULL,
                       .load = subset & 8 ? load : NULL,
                       .figures = subset & 16 ? figures : NULL,
                       .figures_size = sizeof *figures};
        ck_assert_int_eq(run(library, TOKENS, &extra), LIBRARY_NONFINITE);
        int32_t untouched = 0x11111111;
        ck_assert_int_eq(memcmp(experts, routed, sizeof routed) == 0, subset & 1);
        ck_assert_int_eq(memcmp(weights, weighed, sizeof weighed) == 0, subset >> 1 & 1);
        for (int s = 0; s < SCORES && subset & 4; s++) {
            ck_assert(s / CHOICES % TOKENS == 6 ? isnan(scores[s])
                                                : scores[s] == scored[s / CHOICES / TOKENS][s / CHOICES % TOKENS][s % CHOICES]);
        }
        ck_assert_int_eq(load[0] != 0x1111111111111111, subset >> 3 & 1);
        ck_assert_int_eq(figures[0].routed != 0x1111111111111111, subset >> 4);
        ck_assert_int_eq(load[ITERATIONS * CHOICES], 0x1111111111111111);
        ck_assert_int_eq(figures[ITERATIONS].routed, 0x1111111111111111);
        const void *const ends[] = {subset & 1 ? &experts[SLOTS] : &experts[0], subset & 2 ? &weights[SLOTS] : &weights[0],
                                    subset & 4 ? &scores[SCORES] : &scores[0]};
        for (int a = 0; a < 3; a++) {
            ck_assert_mem_eq(ends[a], &untouched, sizeof untouched);
        }
    }
    instance_close(library);
}
END_TEST

START_TEST(k_follows_from_importance) {
    static const struct {
        float importance;
        int64_t experts;
        int k;
    } rows[] = {{0, 10, 1},   {1, 10, 10},     {0.3f, 10, 3},   {0.7f, 10, 7}, {0.1f, 10, 1},   {0.10001f, 10, 2},
                {0.5f, 5, 3}, {1e-30f, 64, 1}, {0.125f, 64, 8}, {0.6f, 5, 3},  {0.9999f, 8, 8}, {-0.0f, 8, 1}};
    enum { ROWS = sizeof rows / sizeof *rows };
    kind.plan.layer.experts = rows[_i].experts;
    kind.plan.layer.top_k = 10;
    kind.plan.layer.identity_experts = 5;  // these do not count
    float importance[TOKENS];
    int32_t k[TOKENS];
    for (int t = 0; t < TOKENS; t++) {
        importance[t] = t % 3 ? rows[_i].importance : 1;
        k[t] = 1 + t % 10;
    }
    teardown();
    plan_layout(&kind.plan);
    image_size = (size_t)packed_image_bytes(&kind, 1);
    image = aligned_alloc(4096, image_size);
    ck_assert_ptr_nonnull(image);
    memset(image, 0, image_size);
    packed_image_begin(&kind, 1, image);
    packed_image_finish(image);
    Library *library = open_instance(1, 0);
    Extra extra = {.size = sizeof extra, .importance = importance};
    ck_assert_msg(run(library, TOKENS, &extra) == LIBRARY_OK, "%s", instance_error(library));
    for (int t = 0; t < TOKENS; t++) {
        int64_t most = rows[_i].experts < 10 ? rows[_i].experts : 10;
        ck_assert_float_eq(y[t * HIDDEN], t % 3 ? (float)rows[_i].k : (float)most);
    }
    extra = (Extra){.size = sizeof extra, .k = k};
    ck_assert_int_eq(run(library, TOKENS, &extra), LIBRARY_OK);
    for (int t = 0; t < TOKENS; t++) {
        ck_assert_float_eq(y[t * HIDDEN], (float)k[t]);
    }
    ck_assert_int_eq(run(library, TOKENS, NULL), LIBRARY_OK);
    ck_assert_float_eq(y[0], -1);
    instance_close(library);
}
END_TEST

// Identity and null experts may be given; slots that are not used may be anywhere; the load is counted.
START_TEST(takes_given_routing) {
    int32_t given[SLOTS];
    float weights[SLOTS];
    int64_t load[ITERATIONS * CHOICES], expected[ITERATIONS * CHOICES] = {0};
    for (int s = 0; s < SLOTS; s++) {
        given[s] = s % K ? (s / K + s % K * 2) % CHOICES : -1;
        weights[s] = (float)s;
        if (given[s] >= 0) {
            expected[s / (TOKENS * K) * CHOICES + given[s]]++;
        }
    }
    Library *library = open_instance(2, 3);
    Extra extra = {.size = sizeof extra, .given_experts = given, .given_weights = weights, .load = load};
    ck_assert_msg(run(library, TOKENS, &extra) == LIBRARY_OK, "%s", instance_error(library));
    ck_assert_mem_eq(load, expected, sizeof expected);
    for (int t = 0; t < TOKENS; t++) {
        ck_assert_float_eq(y[t * HIDDEN + 1], (float)given[(TOKENS + t) * K]);
        ck_assert_float_eq(y[t * HIDDEN + 2], weights[(TOKENS + t) * K]);
    }
    given[SLOTS - 1] = CHOICES;
    ck_assert_int_eq(run(library, TOKENS, &extra), LIBRARY_INVALID_ARGUMENT);
    ck_assert_msg(strstr(instance_error(library), "iteration 1, token 10: expert 7, must be -1..6"), "%s", instance_error(library));
    instance_close(library);
}
END_TEST

// Every array of a chunk has the room that it needs, in any order.
START_TEST(arrays_of_a_chunk_do_not_overlap) {
    const Layer *layer = &kind.plan.layer;
    for (int64_t tokens = 1; tokens < 40; tokens++) {
        const ExtraSpace space = extra_space(layer, tokens);
        const int64_t slots = ITERATIONS * tokens * K * 4, scores = ITERATIONS * tokens * CHOICES * 4;
        const int64_t starts[] = {space.k, space.experts, space.weights, space.scores, space.sums};
        const int64_t sizes[] = {tokens * 4, slots, slots, scores, figures_bytes(layer)};
        for (int a = 0; a < 5; a++) {
            ck_assert_int_le(starts[a] + sizes[a], space.bytes);
            ck_assert_int_eq(starts[a] % 64, 0);
            for (int b = 0; b < 5; b++) {
                ck_assert(a == b || starts[a] + sizes[a] <= starts[b] || starts[b] + sizes[b] <= starts[a]);
            }
        }
    }
}
END_TEST

// Nothing is computed or written. `values_matter`: with values of tokens; otherwise a call for no token is refused as well.
static void refused_of(Library *library, const Extra *extra, bool values_matter, const char *text) {
    int64_t load[ITERATIONS * CHOICES];
    Extra with = *extra;
    with.load = with.size == sizeof with ? load : NULL;
    memset(load, 0x11, sizeof load);
    calls = 0;
    for (int64_t tokens = values_matter ? TOKENS : 0; tokens <= TOKENS; tokens += TOKENS) {
        ck_assert_int_eq(run(library, tokens, &with), LIBRARY_INVALID_ARGUMENT);
        ck_assert_msg(strstr(instance_error(library), text), "'%s' has no '%s'", instance_error(library), text);
        ck_assert_int_eq(calls, 0);
        ck_assert_int_eq(load[0], 0x1111111111111111);
    }
}

static void refused(Library *library, const Extra *extra, const char *text) {
    refused_of(library, extra, false, text);
}

START_TEST(refuses_what_makes_no_sense) {
    int32_t experts[SLOTS] = {0}, k[TOKENS];
    float weights[SLOTS] = {0}, importance[TOKENS] = {0}, scores[SCORES];
    Figures figures[ITERATIONS];
    const size_t size = sizeof(Extra);
    for (int t = 0; t < TOKENS; t++) {
        k[t] = 1 + t % K;
    }
    Library *library = open_instance(1, 0);
    static const size_t cut[] = {0, 12, offsetof(Extra, k), sizeof(Extra) - 8, sizeof(Extra) - 4, sizeof(Extra) + 4};
    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
        refused(library, &(Extra){.size = cut[i]}, "extra.size is ");
    }
    static const size_t cut_figures[] = {0, 8, sizeof(Figures) - 8, sizeof(Figures) + 1};
    for (size_t i = 0; i < sizeof cut_figures / sizeof *cut_figures; i++) {
        refused(library, &(Extra){.size = size, .figures = figures, .figures_size = cut_figures[i]}, "extra.figures_size is ");
    }
    refused(library, &(Extra){.size = size, .given_experts = experts}, "given_experts or given_weights is NULL");
    refused(library, &(Extra){.size = size, .given_weights = weights}, "given_experts or given_weights is NULL");
    Extra given = {.size = size, .given_experts = experts, .given_weights = weights};
    Extra extra = given;
    extra.experts = experts;
    refused(library, &extra, "cannot be asked for");
    extra = given;
    extra.scores = scores;
    refused(library, &extra, "no router runs");
    extra = given;
    extra.figures = figures;
    extra.figures_size = sizeof *figures;
    refused(library, &extra, "no router runs");
    extra = given;
    extra.k = k;
    refused(library, &extra, "nothing to decide");
    refused_of(library, &given, true, "expert 0 is given twice");
    refused(library, &(Extra){.size = size, .k = k, .importance = importance}, "both given");
    extra = (Extra){.size = size, .figures = figures, .figures_size = sizeof *figures, .sequence_tokens = -1};
    refused(library, &extra, "sequence_tokens is negative");
    refused(library, &(Extra){.size = size, .sequence_tokens = -1}, "sequence_tokens is negative");
    refused(library, &(Extra){.size = size, .sequence_tokens = 1}, "sequence_tokens is given without figures");
    k[9] = 0;
    refused_of(library, &(Extra){.size = size, .k = k}, true, "token 9: k is 0, must be 1..3");
    k[9] = K + 1;
    refused_of(library, &(Extra){.size = size, .k = k}, true, "token 9: k is 4, must be 1..3");
    static const float bad[] = {-0.1f, 1.0001f, NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        importance[10] = bad[i];
        refused_of(library, &(Extra){.size = size, .importance = importance}, true, "token 10: importance is ");
    }
    importance[10] = 0;
    kind.plan.layer.k_per_token = 0;
    refused(library, &(Extra){.size = size, .importance = importance}, "\"k_per_token\": true");
    refused(library, &(Extra){.size = size, .k = k}, "\"k_per_token\": true");
    instance_close(library);
}
END_TEST

// Callers with a newer header.
START_TEST(reads_extra_of_any_size) {
    int32_t k[TOKENS];
    struct {
        Extra extra;
        char more[8];
    } newer = {.extra = {.size = sizeof newer, .k = k}};
    for (int t = 0; t < TOKENS; t++) {
        k[t] = 2;
    }
    Library *library = open_instance(1, 0);
    ck_assert_int_eq(run(library, TOKENS, &newer.extra), LIBRARY_OK);
    ck_assert_float_eq(y[0], 2);
    newer.more[7] = 1;
    ck_assert_int_eq(run(library, TOKENS, &newer.extra), LIBRARY_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(instance_error(library), "does not know"));
    instance_close(library);
}
END_TEST

// A caller whose figures are longer than the library's gets its own stride, and zeros where nothing is known.
START_TEST(writes_figures_of_any_size) {
    struct {
        Figures known;
        double more[2];
    } longer[ITERATIONS + 1];
    Figures figures[ITERATIONS];
    Library *library = open_instance(1, 0);
    Extra extra = {.size = sizeof extra, .figures = figures, .figures_size = sizeof *figures};
    for (int tokens = 0; tokens <= TOKENS; tokens += TOKENS) {
        extra.figures = figures;
        extra.figures_size = sizeof *figures;
        ck_assert_int_eq(run(library, tokens, &extra), LIBRARY_OK);
        extra.figures = &longer[0].known;
        extra.figures_size = sizeof *longer;
        memset(longer, 0x11, sizeof longer);
        ck_assert_int_eq(run(library, tokens, &extra), LIBRARY_OK);
        for (int i = 0; i < ITERATIONS; i++) {
            ck_assert_mem_eq(&longer[i].known, &figures[i], sizeof figures[i]);
            ck_assert(longer[i].more[0] == 0 && longer[i].more[1] == 0);
        }
        ck_assert_int_eq(longer[ITERATIONS].known.routed, 0x1111111111111111);
    }
    instance_close(library);
}
END_TEST

// An older caller's figures end where it says. Nothing older is published, so the bound is tried without a library.
START_TEST(figures_end_where_the_caller_says) {
    enum { SHORT = sizeof(Figures) / sizeof(double) - 1 };
    Gathering gathering;
    double memory[256], found[ITERATIONS * SHORT + 1];
    Figures figures[ITERATIONS];
    FigureRows rows = {0, TOKENS, TOKENS, **routed, **scored, (const uint8_t[TOKENS]){0}};
    ck_assert_int_le(figures_bytes(&kind.plan.layer), sizeof memory);
    figures_begin(&kind.plan.layer, 0, memory, &gathering);
    figures_add(&gathering, &rows);
    figures_end(&gathering, NULL, figures, sizeof *figures);
    figures_begin(&kind.plan.layer, 0, memory, &gathering);
    figures_add(&gathering, &rows);
    memset(found, 0x11, sizeof found);
    figures_end(&gathering, NULL, (Figures *)(void *)found, SHORT * sizeof *found);
    for (int i = 0; i < ITERATIONS; i++) {
        ck_assert_mem_eq(found + i * SHORT, &figures[i], SHORT * sizeof *found);
    }
    int64_t after;
    memcpy(&after, found + ITERATIONS * SHORT, sizeof after);
    ck_assert_int_eq(after, 0x1111111111111111);
}
END_TEST

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
START_TEST(allocates_nothing) {
    Figures figures[ITERATIONS];
    int64_t load[ITERATIONS * CHOICES];
    float importance[TOKENS] = {0};
    Extra extra = {
        .size = sizeof extra, .figures = figures, .figures_size = sizeof *figures, .load = load, .importance = importance};
    Library *library = open_instance(1, 0);
    ck_assert_int_eq(run(library, TOKENS, &extra), LIBRARY_OK);
    struct mallinfo2 before = mallinfo2();
    ck_assert_int_eq(run(library, TOKENS, &extra), LIBRARY_OK);
    struct mallinfo2 after = mallinfo2();
    ck_assert_uint_eq(before.uordblks + before.hblkhd, after.uordblks + after.hblkhd);
    instance_close(library);
}
END_TEST
#endif

Suite *suite_figures(void) {
    Suite *suite = suite_create("figures");
    TCase *cases = tcase_create("forward");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_loop_test(cases, figures_are_the_formulas, 0, 4);
    tcase_add_test(cases, nothing_counted_is_zero);
    tcase_add_test(cases, logarithms_are_exact);
#if defined(__x86_64__)
    tcase_add_test(cases, the_callers_rounding_does_not_matter);
#endif
    tcase_add_test(cases, lambda_follows_the_target);
    tcase_add_loop_test(cases, any_outputs_together, 0, 3);
    tcase_add_loop_test(cases, k_follows_from_importance, 0, 12);
    tcase_add_test(cases, takes_given_routing);
    tcase_add_test(cases, arrays_of_a_chunk_do_not_overlap);
    tcase_add_test(cases, refuses_what_makes_no_sense);
    tcase_add_test(cases, reads_extra_of_any_size);
    tcase_add_test(cases, writes_figures_of_any_size);
    tcase_add_test(cases, figures_end_where_the_caller_says);
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
    tcase_add_test(cases, allocates_nothing);
#endif
    suite_add_tcase(suite, cases);
    return suite;
}
