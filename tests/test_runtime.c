// The runtime around a layer: opening (CPU, options, weights, cache), arguments, chunks, teams, floating-point state, busy
// instances, generated headers. The layer is a stand-in whose results show what it was called with.
// Over 500 lines: one suite for everything that an open instance does, on one set of fixtures.
#include <fcntl.h>
#include <math.h>
#include <omp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "compiler/library/header.h"
#include "compiler/plan/text.h"
#include "runtime/cores.h"
#include "runtime/cpu.h"
#include "runtime/instance.h"
#include "runtime/nodes.h"
#include "shell.h"
#include "suites.h"

enum { HIDDEN = 5, ITERATIONS = 2, TOP_K = 2, EXPERTS = 4, CHUNK = 3 };

// --- the stand-in: y = 2 x + (tokens of the chunk) + weight, in two phases with a barrier between them -----------------------

static Kind kinds[2];
static Contents contents;
static int calls, most_threads, wrong_state;
static void (*inside)(void);  // something to do in the middle of a forward

static void check_state(void) {
#if defined(__x86_64__)
    if (_mm_getcsr() != 0x1f80) {
        wrong_state = 1;
    }
#endif
}

static void route_token(const Call *call, int64_t token) {
    for (int64_t slot = 0; slot < ITERATIONS * TOP_K; slot++) {
        int64_t at = (slot / TOP_K * call->routing_tokens + token) * TOP_K + slot % TOP_K;
        if (call->experts_out) {
            call->experts_out[at] = (int32_t)slot;
            call->weights_out[at] = (float)slot;
        }
    }
}

static void stand_in(Call *call, Team *team, int64_t thread, int64_t threads) {
    Workspace space = plan_workspace(&kinds[0].plan, call->tokens, threads);
    float *state = (float *)(call->workspace + space.state[0]);
    int64_t stride = kinds[0].plan.roles[ROLE_ROUTER].input_stride / 4;
    for (int64_t token = thread; token < call->tokens; token += threads) {
        memcpy(state + token * stride, (const float *)call->x + token * call->x_stride, HIDDEN * sizeof(float));
    }
    memset(call->workspace + space.thread + thread * space.thread_bytes, 0xab, (size_t)space.thread_bytes);
    team_barrier(team);
    for (int64_t token = threads - 1 - thread; token < call->tokens; token += threads) {  // rows that another thread has copied
        const float *row = state + token * stride;
        for (int i = 0; i < HIDDEN; i++) {
            float weight = call->weights_in ? call->weights_in[(call->routing_tokens + token) * TOP_K] : 0;  // iteration 1, slot 0
            ((float *)call->y)[token * call->y_stride + i] = 2 * row[i] + (float)call->tokens + weight + (float)call->weights[0];
        }
        call->workspace[space.rejected + token] = (uint8_t)(isnan(row[0]) != 0);
        route_token(call, token);
    }
    check_state();
    if (!thread) {
        calls++;
        most_threads = (int)threads > most_threads ? (int)threads : most_threads;
        if (inside) {
            inside();
        }
    }
}

static LayerForward *const forwards[] = {stand_in, stand_in};
static uint8_t *image;
static size_t image_size;
static char error[512];

static void setup(void) {
    memset(kinds, 0, sizeof kinds);
    for (int k = 0; k < 2; k++) {
        strcpy(kinds[k].name, k ? "second" : "first");
        kinds[k].count = 2;
        kinds[k].plan.layer =
            (Layer){.hidden = HIDDEN, .iterations = ITERATIONS, .experts = EXPERTS, .intermediate = 6, .top_k = TOP_K};
        kinds[k].plan.layer.norm = NORM_RMS;
        kinds[k].plan.schedule.chunk_tokens = CHUNK;
        kinds[k].plan.schedule.block_rows = 2;
        plan_layout(&kinds[k].plan);
    }
    memset(&contents, 0, sizeof contents);
    contents.kinds = 2;
    image_size = (size_t)packed_image_bytes(kinds, 2);
    image = aligned_alloc(4096, image_size);
    ck_assert_ptr_nonnull(image);
    memset(image, 0, image_size);
    packed_image_begin(kinds, 2, image);
    for (int i = 0; i < 4; i++) {
        packed_image_instance(image, i / 2, i % 2)[0] = (uint8_t)(100 * i);
    }
    packed_image_finish(image);
    calls = most_threads = wrong_state = 0;
    inside = NULL;
}

static void teardown(void) {
    free(image);
}

static Library *open_instance(int threads) {
    Options options = {.size = sizeof options, .threads = threads, .check = 1};
    Library *library = NULL;
    Status status = instance_open_memory(&contents, kinds, forwards, image, image_size, &options, &library, error, sizeof error);
    ck_assert_msg(status == LIBRARY_OK, "%s", error);
    return library;
}

static Forward plain(int layer, int64_t tokens, const float *x, int64_t x_stride, float *y, int64_t y_stride) {
    return (Forward){layer, tokens, x, x_stride, y, y_stride};
}

// --- forward
// -----------------------------------------------------------------------------------------------------------------------

START_TEST(cuts_into_chunks) {
    enum { TOKENS = 8, X_STRIDE = 6, Y_STRIDE = 9 };
    static const char shares[TOKENS + 1][TOKENS + 1] = {"",      "1",      "22",      "333",     "2222",
                                                        "33322", "333333", "3332222", "33333322"};  // each token's chunk
    Library *library = open_instance(_i + 1);
    float x[TOKENS * X_STRIDE], y[TOKENS * Y_STRIDE];
    for (int tokens = 0; tokens <= TOKENS; tokens++) {
        for (int i = 0; i < TOKENS * X_STRIDE; i++) {
            x[i] = (float)i;
        }
        memset(y, 0, sizeof y);
        calls = 0;
        Forward forward = plain(3, tokens, x, X_STRIDE, y, Y_STRIDE);
        ck_assert_int_eq(instance_forward(library, &forward), LIBRARY_OK);
        ck_assert_int_eq(calls, (tokens + CHUNK - 1) / CHUNK);
        for (int i = 0; i < TOKENS * Y_STRIDE; i++) {
            int token = i / Y_STRIDE, column = i % Y_STRIDE;
            int chunk = token < tokens ? shares[tokens][token] - '0' : 0;
            float wanted = token < tokens && column < HIDDEN ? (float)(2 * (token * X_STRIDE + column) + chunk + 300 % 256) : 0;
            ck_assert_float_eq(y[i], wanted);
        }
    }
    ck_assert_int_eq(wrong_state, 0);
    instance_close(library);
}
END_TEST

START_TEST(returns_and_takes_routing) {
    enum { TOKENS = 7, SLOTS = ITERATIONS * TOKENS * TOP_K };
    Library *library = open_instance(2);
    float x[TOKENS * HIDDEN] = {0}, y[TOKENS * HIDDEN], weights[SLOTS];
    int32_t experts[SLOTS];
    Forward forward = plain(0, TOKENS, x, HIDDEN, y, HIDDEN);
    ck_assert_int_eq(instance_forward_routing(library, &forward, experts, weights), LIBRARY_OK);
    for (int slot = 0; slot < SLOTS; slot++) {
        ck_assert_int_eq(experts[slot], slot / (TOKENS * TOP_K) * TOP_K + slot % TOP_K);
        ck_assert_float_eq(weights[slot], (float)experts[slot]);
        experts[slot] %= EXPERTS;
        weights[slot] = (float)slot;
    }
    ck_assert_int_eq(instance_forward_routed(library, &forward, experts, weights), LIBRARY_OK);
    for (int token = 0; token < TOKENS; token++) {
        ck_assert_float_eq(y[token * HIDDEN], (float)((token < 3 ? CHUNK : 2) + (TOKENS + token) * TOP_K));
    }
    static const int32_t bad[] = {-2, EXPERTS, EXPERTS + 100};
    for (int i = 0; i < 3; i++) {
        experts[SLOTS - 1] = bad[i];
        ck_assert_int_eq(instance_forward_routed(library, &forward, experts, weights), LIBRARY_INVALID_ARGUMENT);
        ck_assert_msg(strstr(instance_error(library), "iteration 1, token 6: expert"), "%s", instance_error(library));
    }
    experts[SLOTS - 1] = experts[SLOTS - 2];
    ck_assert_int_eq(instance_forward_routed(library, &forward, experts, weights), LIBRARY_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(instance_error(library), "given twice"));
    experts[SLOTS - 1] = experts[SLOTS - 2] = -1;
    ck_assert_int_eq(instance_forward_routed(library, &forward, experts, weights), LIBRARY_OK);
    weights[3] = INFINITY;
    ck_assert_int_eq(instance_forward_routed(library, &forward, experts, weights), LIBRARY_INVALID_ARGUMENT);
    for (int tokens = 0; tokens < 2; tokens++) {  // both arrays are needed, but for no token
        forward = plain(0, tokens, x, HIDDEN, y, HIDDEN);
        const Status status = tokens ? LIBRARY_INVALID_ARGUMENT : LIBRARY_OK;
        ck_assert_int_eq(instance_forward_routed(library, &forward, NULL, weights), status);
        ck_assert_int_eq(instance_forward_routed(library, &forward, NULL, NULL), status);
        ck_assert_int_eq(instance_forward_routing(library, &forward, experts, NULL), status);
        ck_assert_ptr_nonnull(strstr(instance_error(library), tokens ? "experts or weights is NULL" : ""));
    }
    instance_close(library);
}
END_TEST

static void refused(Library *library, Forward forward, const char *text) {
    calls = 0;
    ck_assert_int_eq(instance_forward(library, &forward), LIBRARY_INVALID_ARGUMENT);
    ck_assert_msg(strstr(instance_error(library), text), "'%s' has no '%s'", instance_error(library), text);
    ck_assert_int_eq(calls, 0);
}

START_TEST(checks_arguments) {
    Library *library = open_instance(1);
    float memory[64] = {0}, y[64];
    refused(library, plain(-1, 1, memory, HIDDEN, y, HIDDEN), "no layer -1");
    refused(library, plain(4, 1, memory, HIDDEN, y, HIDDEN), "no layer 4");
    refused(library, plain(0, -1, memory, HIDDEN, y, HIDDEN), "tokens is -1");
    refused(library, plain(0, 1, NULL, HIDDEN, y, HIDDEN), "x is NULL");
    refused(library, plain(0, 1, memory, HIDDEN, NULL, HIDDEN), "y is NULL");
    refused(library, plain(0, 1, memory, HIDDEN - 1, y, HIDDEN), "x_stride is 4");
    refused(library, plain(0, 1, memory, HIDDEN, y, -7), "y_stride is -7");
    refused(library, plain(0, 1, (float *)(void *)((char *)memory + 2), HIDDEN, y, HIDDEN), "aligned");
    refused(library, plain(0, INT64_MAX, memory, HIDDEN, y, HIDDEN), "more than memory can hold");
    refused(library, plain(0, 2, memory, HIDDEN, memory + 1, HIDDEN), "overlap");
    refused(library, plain(0, 2, memory, HIDDEN, memory + HIDDEN, HIDDEN), "overlap");
    refused(library, plain(0, 2, memory, HIDDEN, memory, HIDDEN + 1), "overlap");
    refused(library, plain(0, 1, memory, 10, memory + 1, 11), "overlap");
    refused(library, plain(0, 3, memory + 8, 12, memory, 12), "overlap");  // one element of each next row
    instance_close(library);
}
END_TEST

static float four_x[4 * HIDDEN], four_y[4 * HIDDEN];

static void extra_refused(Library *library, Extra extra, const char *text) {
    Forward forward = plain(0, 4, four_x, HIDDEN, four_y, HIDDEN);
    extra.size = sizeof extra;
    calls = 0;
    ck_assert_int_eq(instance_forward_with(library, &forward, &extra), LIBRARY_INVALID_ARGUMENT);
    ck_assert_msg(strstr(instance_error(library), text), "'%s' has no '%s'", instance_error(library), text);
    ck_assert_int_eq(calls, 0);
}

// What the header says of memory: no output lies over anything else, all is aligned. Inputs may share memory.
START_TEST(checks_extra_memory) {
    Library *library = open_instance(1);
    _Alignas(8) int32_t memory[128] = {0};
    void *half = (char *)memory + 2, *unit = memory + 1;
    const int slots = ITERATIONS * 4 * TOP_K;
    Figures *figures = (Figures *)(void *)memory;
    extra_refused(library, (Extra){.experts = half}, "experts must be aligned to its elements (4 bytes)");
    extra_refused(library, (Extra){.scores = half}, "scores must be aligned");
    extra_refused(library, (Extra){.load = unit}, "load must be aligned to its elements (8 bytes)");
    extra_refused(library, (Extra){.figures = unit, .figures_size = sizeof *figures}, "figures must be aligned");
    extra_refused(library, (Extra){.weights = four_y + 1}, "y and weights overlap");
    extra_refused(library, (Extra){.experts = (void *)four_x}, "x and experts overlap");
    extra_refused(library, (Extra){.experts = memory, .weights = (float *)memory + slots - 1}, "experts and weights overlap");
    extra_refused(library, (Extra){.weights = (float *)memory, .experts = memory + slots - 1}, "experts and weights overlap");
    extra_refused(library, (Extra){.scores = (float *)memory, .load = (void *)memory}, "load and scores overlap");
    extra_refused(library, (Extra){.scores = (float *)memory, .figures = figures, .figures_size = sizeof *figures},
                  "scores and figures overlap");
    // rows of five floats that fit the address space, with eight scores each that do not
    Forward many = plain(0, (int64_t)1 << 58, four_x, HIDDEN, four_x, HIDDEN);
    Extra scores = {.size = sizeof scores, .scores = (float *)memory};
    ck_assert_int_eq(instance_forward_with(library, &many, &scores), LIBRARY_INVALID_ARGUMENT);
    ck_assert_str_eq(instance_error(library), "scores: memory cannot hold as much as this number of tokens needs");
    kinds[0].plan.layer.k_per_token = 1;
    extra_refused(library, (Extra){.k = memory, .scores = (float *)memory}, "k and scores overlap");
    extra_refused(library, (Extra){.importance = four_y + 2}, "y and importance overlap");
    Forward forward = plain(0, 4, four_x, HIDDEN, four_y, HIDDEN);
    Extra extra = {
        .size = sizeof extra, .experts = memory, .weights = (float *)memory + slots, .load = (void *)(memory + 2 * slots)};
    ck_assert_msg(instance_forward_with(library, &forward, &extra) == LIBRARY_OK, "%s", instance_error(library));
    extra = (Extra){.size = sizeof extra, .importance = four_x};  // inputs share memory
    ck_assert_msg(instance_forward_with(library, &forward, &extra) == LIBRARY_OK, "%s", instance_error(library));
    instance_close(library);
}
END_TEST

START_TEST(allows_in_place_and_interleaved) {
    Library *library = open_instance(1);
    float memory[64];
    for (int i = 0; i < 64; i++) {
        memory[i] = (float)i;
    }
    Forward forward = plain(0, 2, memory, 10, memory + HIDDEN, 10);  // two halves of rows of 10
    ck_assert_msg(instance_forward(library, &forward) == LIBRARY_OK, "%s", instance_error(library));
    ck_assert_float_eq(memory[16], 2 * 11 + 2);
    forward = plain(0, 5, memory, 10, memory, 10);
    ck_assert_int_eq(instance_forward(library, &forward), LIBRARY_OK);
    ck_assert_float_eq(memory[10], 2 * 10 + 3);
    forward = plain(0, 1, memory, 10, memory, 11);  // no second row: strides mean nothing
    ck_assert_msg(instance_forward(library, &forward) == LIBRARY_OK, "%s", instance_error(library));
    forward = plain(0, 0, NULL, 0, NULL, 0);
    ck_assert_int_eq(instance_forward(library, &forward), LIBRARY_OK);
    instance_close(library);
    ck_assert_int_eq(instance_forward(NULL, &forward), LIBRARY_INVALID_ARGUMENT);
}
END_TEST

START_TEST(counts_nonfinite) {
    Library *library = open_instance(2);
    float x[7 * HIDDEN] = {0}, y[7 * HIDDEN];
    int64_t first = 0;
    x[4 * HIDDEN] = x[6 * HIDDEN] = NAN;
    Forward forward = plain(0, 7, x, HIDDEN, y, HIDDEN);
    ck_assert_int_eq(instance_forward(library, &forward), LIBRARY_NONFINITE);
    ck_assert_int_eq(instance_nonfinite(library, &first), 2);
    ck_assert_int_eq(first, 4);
    ck_assert_ptr_nonnull(strstr(instance_error(library), "2 of 7 tokens"));
    x[4 * HIDDEN] = x[6 * HIDDEN] = 0;
    ck_assert_int_eq(instance_forward(library, &forward), LIBRARY_OK);
    ck_assert_int_eq(instance_nonfinite(library, &first), 0);
    ck_assert_int_eq(first, -1);
    instance_close(library);
}
END_TEST

// --- threads -----------------------------------------------------------------------------------------------------------------

#if defined(__x86_64__)
START_TEST(keeps_float_state) {
    Library *library = open_instance(_i + 1);
    float x[3 * HIDDEN] = {0}, y[3 * HIDDEN];
    Forward forward = plain(0, 3, x, HIDDEN, y, HIDDEN);
    unsigned caller = 0x1f80 | 0x8040 | 0x2000;  // flush to zero, denormals are zero, round down
    _mm_setcsr(caller);
    Status status = instance_forward(library, &forward);
    unsigned after = _mm_getcsr();
    _mm_setcsr(0x1f80);
    ck_assert_int_eq(status, LIBRARY_OK);
    ck_assert_uint_eq(after, caller);
    ck_assert_int_eq(wrong_state, 0);
    instance_close(library);
}
END_TEST
#endif

// Inside a caller's parallel region the team is smaller than asked for; the result is the same.
START_TEST(runs_inside_parallel_regions) {
    int good = 0;
    omp_set_max_active_levels(1);
#pragma omp parallel num_threads(2) reduction(+ : good)
    {
        Options options = {.size = sizeof options, .threads = 4, .max_tokens = 2};
        Library *library = NULL;
        float x[5 * HIDDEN] = {0}, y[5 * HIDDEN] = {0};
        Forward forward = plain(1, 5, x, HIDDEN, y, HIDDEN);
        Status status = instance_open_memory(&contents, kinds, forwards, image, image_size, &options, &library, NULL, 0);
        if (status == LIBRARY_OK && instance_forward(library, &forward) == LIBRARY_OK && y[0] == 102 && y[4 * HIDDEN] == 101) {
            good++;
        }
        instance_close(library);
    }
    ck_assert_int_eq(good, 2);
    ck_assert_int_eq(most_threads, 1);
}
END_TEST

static Library *shared;
static Status second_status;

static void *second_caller(void *argument) {
    (void)argument;
    float x[HIDDEN] = {0}, y[HIDDEN];
    Forward forward = plain(0, 1, x, HIDDEN, y, HIDDEN);
    second_status = instance_forward(shared, &forward);
    return NULL;
}

static void call_again(void) {
    pthread_t thread;
    inside = NULL;
    if (!pthread_create(&thread, NULL, second_caller, NULL)) {
        pthread_join(thread, NULL);
    }
}

START_TEST(refuses_a_second_caller) {
    float x[HIDDEN] = {0}, y[HIDDEN];
    shared = open_instance(1);
    inside = call_again;
    second_status = LIBRARY_OK;
    Forward forward = plain(0, 1, x, HIDDEN, y, HIDDEN);
    ck_assert_int_eq(instance_forward(shared, &forward), LIBRARY_OK);
    ck_assert_int_eq(second_status, LIBRARY_BUSY);
    second_caller(NULL);
    ck_assert_int_eq(second_status, LIBRARY_OK);
    instance_close(shared);
}
END_TEST

START_TEST(binds_workers_only) {
    int before = cores_allowed(NULL, 0);
    Options options = {.size = sizeof options, .threads = 2, .bind = 1, .huge_pages = 1};
    Library *library = NULL;
    ck_assert_int_eq(instance_open_memory(&contents, kinds, forwards, image, image_size, &options, &library, error, sizeof error),
                     0);
    float x[HIDDEN] = {0}, y[HIDDEN];
    Forward forward = plain(0, 1, x, HIDDEN, y, HIDDEN);
    ck_assert_int_eq(instance_forward(library, &forward), LIBRARY_OK);
    ck_assert_int_eq(cores_allowed(NULL, 0), before);
    instance_close(library);
}
END_TEST

// Where the kernel lets us ask, it says that pages are interleaved; where not, the memory is as good.
START_TEST(interleaves_if_it_can) {
    enum { BYTES = 1 << 20, OF_ADDRESS = 2, INTERLEAVE = 3 };
    int policy = -1;
    uint8_t *memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(memory, MAP_FAILED);
    if (nodes_interleave(memory, BYTES)) {
        ck_assert_int_eq((int)syscall(SYS_get_mempolicy, &policy, NULL, 0UL, memory, (unsigned long)OF_ADDRESS), 0);
        ck_assert_int_eq(policy, INTERLEAVE);
    }
    memset(memory, 1, BYTES);
    ck_assert_int_eq(memory[BYTES - 1], 1);
    ck_assert_int_eq(nodes_interleave(memory + 1, BYTES), 0);  // no page begins there
    munmap(memory, BYTES);
}
END_TEST

// --- opening
// -----------------------------------------------------------------------------------------------------------------------

static Status open_with(const Options *options) {
    Library *library = NULL;
    Status status = instance_open_memory(&contents, kinds, forwards, image, image_size, options, &library, error, sizeof error);
    ck_assert((status == LIBRARY_OK) == (library != NULL));
    instance_close(library);
    return status;
}

START_TEST(reads_options) {
    struct {
        Options options;
        char more[8];
    } larger = {.options = {.size = sizeof larger}};
    ck_assert_int_eq(open_with(NULL), LIBRARY_OK);
    ck_assert_int_eq(open_with(&larger.options), LIBRARY_OK);
    larger.more[3] = 1;
    ck_assert_int_eq(open_with(&larger.options), LIBRARY_INVALID_ARGUMENT);
    Options older = {.size = offsetof(Options, check), .threads = 1, .check = 77};  // fields beyond its size do not count
    ck_assert_int_eq(open_with(&older), LIBRARY_OK);
    const Options bad[] = {{.size = 0},
                           {.size = sizeof *bad, .threads = -1},
                           {.size = sizeof *bad, .threads = 100000},
                           {.size = sizeof *bad, .max_tokens = -1},
                           {.size = sizeof *bad, .check = 2},
                           {.size = sizeof *bad, .bind = -2},
                           {.size = sizeof *bad, .interleave = 2}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert_int_eq(open_with(&bad[i]), LIBRARY_INVALID_ARGUMENT);
        ck_assert_ptr_nonnull(strstr(error, "options."));
    }
}
END_TEST

#if defined(__x86_64__)
static bool tiles_are_permitted(void) {
    enum { ARCH_GET_XCOMP_PERM = 0x1022 };
    uint64_t permitted = 0;
    return !syscall(SYS_arch_prctl, ARCH_GET_XCOMP_PERM, &permitted) && (permitted >> 18 & 1);
}

// Tile registers are present when the system lets this process use them: never beside a signal stack too small for their state.
START_TEST(tiles_need_permission) {
    static char stack[8192];
    stack_t small = {.ss_sp = stack, .ss_size = sizeof stack}, none = {.ss_flags = SS_DISABLE};
    if (!tiles_are_permitted() && !sigaltstack(&small, NULL)) {
        ck_assert_int_eq(cpu_has("amx_tile"), 0);
        ck_assert_int_eq(cpu_has("amx_bf16"), 0);
        ck_assert_int_eq(sigaltstack(&none, NULL), 0);
    }
    ck_assert(cpu_has("amx_tile") == 0 || tiles_are_permitted());
}
END_TEST
#endif

START_TEST(checks_the_cpu) {
    strcpy(contents.features, "sse2  teleportation antigravity ");
    ck_assert_int_eq(open_with(NULL), LIBRARY_UNSUPPORTED_CPU);
#if defined(__x86_64__)
    ck_assert_str_eq(error, "this library needs teleportation, antigravity, which this CPU lacks");
    ck_assert_int_eq(cpu_has("sse2"), 1);
    __builtin_cpu_init();
    ck_assert_int_eq(cpu_has("avx2"), __builtin_cpu_supports("avx2") ? 1 : 0);
    ck_assert_int_eq(cpu_has("fma"), __builtin_cpu_supports("fma") ? 1 : 0);
    ck_assert_int_eq(cpu_has("avx512f"), __builtin_cpu_supports("avx512f") ? 1 : 0);
    ck_assert_int_eq(cpu_has("avx512bf16"), __builtin_cpu_supports("avx512bf16") ? 1 : 0);
    strcpy(contents.features, "sse2");
#else
    strcpy(contents.features, "neon");
#endif
    ck_assert_int_eq(cpu_has("av"), -1);
    ck_assert_int_eq(open_with(NULL), LIBRARY_OK);
    ck_assert_int_ge(cores_usable(), 1);
    ck_assert_int_le(cores_usable(), cores_allowed(NULL, 0));
}
END_TEST

// Libraries run on older glibc than the one that they were built with: these become __isoc23_... symbols from 2.38 on.
START_TEST(parses_numbers_itself) {
    ck_assert_int_eq(system("! grep -nE '\\b(v?f?scanf|v?sscanf|ato(i|l|ll)|strto[a-z]+)\\(' runtime/*.c templates/*.[ch]"), 0);
}
END_TEST

// What the kernel was asked for of the mapping that an address lies in: 1 huge pages, 0 none, 2 neither; -1: it does not tell.
static int huge_pages_asked(const void *address) {
    FILE *file = fopen("/proc/self/smaps", "r");
    char line[512];
    int asked = -1;
    bool inside_it = false;
    while (file && fgets(line, sizeof line, file)) {
        unsigned long begin, end;
        if (sscanf(line, "%lx-%lx ", &begin, &end) == 2) {
            inside_it = (unsigned long)(uintptr_t)address >= begin && (unsigned long)(uintptr_t)address < end;
        } else if (inside_it && !strncmp(line, "VmFlags:", 8)) {
            asked = strstr(line, " hg") ? 1 : strstr(line, " nh") ? 0 : 2;
        }
    }
    if (file) {
        fclose(file);
    }
    return access("/sys/kernel/mm/transparent_hugepage/enabled", F_OK) ? -1 : asked;
}

static Library *open_tuned(const Kind *tuned, Options options) {
    Library *library = NULL;
    options.size = sizeof options;
    ck_assert_int_eq(instance_open_memory(&contents, tuned, forwards, image, image_size, &options, &library, error, sizeof error),
                     0);
    return library;
}

// Threads, binding and pages that plans ask for are those of a library whose opener leaves them open, and of no other.
START_TEST(plans_choose_what_is_left_open) {
    enum { ALL = 1 << 20 };
    const struct {
        Options options;
        int32_t plan_threads[2], plan_bind, plan_pages[2];
        int threads, bind;
        bool huge_pages;
    } rows[] = {{{.threads = 0}, {1, 1}, BIND_SPREAD, {0, 0}, 1, BIND_NONE, false},  // one thread has nothing to bind
                {{.threads = 3}, {1, 1}, BIND_SPREAD, {1, 1}, 3, BIND_SPREAD, true},
                {{.threads = 3, .bind = -1}, {1, 1}, BIND_SPREAD, {0, 1}, 3, BIND_NONE, true},
                {{.threads = 3, .bind = 1}, {1, 1}, BIND_SPREAD, {1, 0}, 3, BIND_COMPACT, true},
                {{.threads = 3, .huge_pages = 1}, {1, 1}, BIND_NONE, {0, 0}, 3, BIND_NONE, true},
                {{.threads = 3, .huge_pages = -1}, {1, 1}, BIND_NONE, {1, 1}, 3, BIND_NONE, false},
                {{.threads = 0}, {1, 2}, BIND_NONE, {0, 0}, 2, BIND_NONE, false},  // the larger
                {{.threads = 0}, {2, 1}, BIND_NONE, {0, 0}, 2, BIND_NONE, false},
                {{.threads = 0}, {ALL, 1}, BIND_NONE, {0, 0}, ALL, BIND_NONE, false},
                {{.threads = 0}, {0, 1}, BIND_NONE, {0, 0}, ALL, BIND_NONE, false}};
    Kind tuned[2] = {kinds[0], kinds[1]};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (int k = 0; k < 2; k++) {
            tuned[k].plan.schedule.threads = rows[i].plan_threads[k];
            tuned[k].plan.schedule.bind = rows[i].plan_bind;
            tuned[k].plan.schedule.huge_pages = rows[i].plan_pages[k];
        }
        Library *library = open_tuned(tuned, rows[i].options);
        bool given = rows[i].options.threads > 0;
        ck_assert_int_eq(library->threads, given || rows[i].threads < cores_usable() ? rows[i].threads : cores_usable());
        ck_assert_int_eq(library->bind, rows[i].bind);
        ck_assert_int_eq(library->huge_pages, rows[i].huge_pages);
        int asked = huge_pages_asked(library->workspace.data);
        ck_assert_msg(asked < 0 || asked == rows[i].huge_pages, "row %zu: the kernel was asked for %d", i, asked);
        instance_close(library);
    }
}
END_TEST

// Each kind runs with its own plan's threads, and they do not change bits.
START_TEST(kinds_have_threads_of_their_own) {
    enum { TOKENS = 7 };
    float x[TOKENS * HIDDEN], y[2][TOKENS * HIDDEN];
    Kind tuned[2] = {kinds[0], kinds[1]};
    tuned[0].plan.schedule.threads = 1;
    tuned[1].plan.schedule.threads = 2;
    for (int i = 0; i < TOKENS * HIDDEN; i++) {
        x[i] = (float)i / 3;
    }
    for (int k = 0; k < 2; k++) {
        for (int own = 0; own < 2; own++) {
            Library *library = open_tuned(own ? tuned : kinds, (Options){.threads = own ? 0 : 1});
            Forward forward = plain(2 * k, TOKENS, x, HIDDEN, y[own], HIDDEN);
            most_threads = 0;
            ck_assert_int_eq(instance_forward(library, &forward), LIBRARY_OK);
            ck_assert_int_eq(most_threads, own && k && cores_usable() > 1 ? 2 : 1);
            instance_close(library);
        }
        ck_assert_mem_eq(y[0], y[1], sizeof y[0]);
    }
}
END_TEST

static void write_image(const char *path, size_t size) {
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(image, 1, size, file), size);
    fclose(file);
}

START_TEST(opens_packed_files) {
    char path[SHELL_PATH_BYTES];
    shell_template(path);
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    Library *library = NULL;
    ck_assert_int_eq(instance_open(&contents, kinds, forwards, "/no/such/file", NULL, &library, error, sizeof error),
                     LIBRARY_IO_ERROR);
    ck_assert_int_lt(instance_open(&contents, kinds, forwards, path, NULL, &library, error, sizeof error), 0);  // empty
    write_image(path, image_size - 1);
    ck_assert_int_eq(instance_open(&contents, kinds, forwards, path, NULL, &library, error, sizeof error), LIBRARY_BAD_WEIGHTS);
    ck_assert_msg(strstr(error, path) && strstr(error, "truncated"), "%s", error);
    write_image(path, image_size);
    ck_assert_int_eq(instance_open(&contents, kinds, forwards, path, NULL, &library, error, sizeof error), LIBRARY_OK);
    ck_assert_int_eq(instance_find(library, "second", 1), 3);
    ck_assert_int_eq(instance_find(library, "second", 2), -1);
    ck_assert_int_eq(instance_find(library, "third", 0), -1);
    float x[HIDDEN] = {0}, y[HIDDEN];
    Forward forward = plain(2, 1, x, HIDDEN, y, HIDDEN);
    ck_assert_int_eq(instance_forward(library, &forward), LIBRARY_OK);
    ck_assert_float_eq(y[0], 201);
    // another process damages the header of the mapped file: no address comes from it
    PackedRecord *records = (PackedRecord *)(void *)(image + sizeof(PackedHeader));
    PackedRecord kept = records[1];
    records[1].offset = records[1].instance_bytes = INT64_MAX / 2;
    int mapped = open(path, O_WRONLY);
    ck_assert_int_eq(pwrite(mapped, image, 4096, 0), 4096);
    close(mapped);
    ck_assert_int_eq(instance_forward(library, &forward), LIBRARY_OK);
    ck_assert_float_eq(y[0], 201);
    records[1] = kept;
    write_image(path, image_size);
    instance_close(library);
    ck_assert_int_eq(instance_check_packed(&contents, kinds, path, error, sizeof error), LIBRARY_OK);
    image[image_size - 1] ^= 1;
    write_image(path, image_size);
    ck_assert_int_eq(instance_check_packed(&contents, kinds, path, error, sizeof error), LIBRARY_BAD_WEIGHTS);
    ck_assert_msg(strstr(error, "second.1"), "%s", error);
    unlink(path);
}
END_TEST

// --- the generated header: compiled as C and C++ against runtime/library.h
// ---------------------------------------------------------

static const char agreement[] =
    "#include \"HEADER\"\n"
    "#include \"runtime/library.h\"\n"
    "#define SAME(field) _Static_assert(offsetof(Options, field) == offsetof(demo_options, field) && "
    "sizeof(((Options *)0)->field) == sizeof(((demo_options *)0)->field), #field)\n"
    "SAME(size); SAME(threads); SAME(check); SAME(max_tokens); SAME(cache); SAME(bind); SAME(huge_pages); SAME(interleave);\n"
    "_Static_assert(sizeof(Options) == sizeof(demo_options) && sizeof(Status) == sizeof(int), \"sizes\");\n"
    "_Static_assert((int)LIBRARY_OK == DEMO_OK && (int)LIBRARY_NONFINITE == DEMO_NONFINITE && (int)LIBRARY_BUSY == DEMO_BUSY && "
    "(int)LIBRARY_INVALID_ARGUMENT == DEMO_INVALID_ARGUMENT && (int)LIBRARY_UNSUPPORTED_CPU == DEMO_UNSUPPORTED_CPU && "
    "(int)LIBRARY_BAD_WEIGHTS == DEMO_BAD_WEIGHTS && (int)LIBRARY_IO_ERROR == DEMO_IO_ERROR && "
    "(int)LIBRARY_OUT_OF_MEMORY == DEMO_OUT_OF_MEMORY, \"status\");\n"
    "_Static_assert(DEMO_SPARSE_HIDDEN == 5 && DEMO_SPARSE_TOP_K == 2 && DEMO_SPARSE_ITERATIONS == 2 && DEMO_SPARSE_EXPERTS == 4 "
    "&& "
    "DEMO_SPARSE_COUNT == 3, \"constants\");\n"
    "demo_options options = DEMO_OPTIONS_INIT;\n";

static void run_command(const char *format, const char *directory) {
    char command[4 * SHELL_PATH_BYTES];
    snprintf(command, sizeof command, format, directory, directory);
    ck_assert_msg(system(command) == 0, "%s", command);
}

static FILE *create_file(const char *directory, const char *name) {
    char path[SHELL_PATH_BYTES + 32];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    return file;
}

START_TEST(header_agrees_with_library) {
    char directory[SHELL_PATH_BYTES];
    shell_template(directory);
    ck_assert_ptr_nonnull(mkdtemp(directory));
    Model *model = calloc(1, sizeof *model);
    ck_assert_ptr_nonnull(model);
    strcpy(model->name, "demo");
    model->layer_count = 1;
    strcpy(model->layers[0].name, "sparse");
    model->layers[0].count = 3;
    model->layers[0].layer = kinds[0].plan.layer;
    FILE *file = create_file(directory, "demo.h");
    ck_assert_int_eq(header_write(model, file), 0);
    fclose(file);
    file = create_file(directory, "agree.c");
    const char *rest = strstr(agreement, "HEADER");
    fprintf(file, "%.*s%s/demo.h%s", (int)(rest - agreement), agreement, directory, rest + strlen("HEADER"));
    fclose(file);
    file = create_file(directory, "plus.cc");
    fprintf(file, "#include \"demo.h\"\nint main() { demo_options o = DEMO_OPTIONS_INIT; return (int)o.threads; }\n");
    fclose(file);
    file = create_file(directory, "demo.pc");
    ck_assert_int_eq(header_write_pkgconfig(model, directory, file), 0);
    fclose(file);
    run_command("gcc -std=c11 -Wall -Wextra -Wpedantic -Wstrict-prototypes -Werror -I. -fsyntax-only %s/agree.c", directory);
    run_command("if command -v g++ >/dev/null; then g++ -Wall -Wextra -Wpedantic -Werror -fsyntax-only %s/plus.cc; fi", directory);
    run_command(
        "if command -v pkg-config >/dev/null; then PKG_CONFIG_PATH=%s pkg-config --cflags --libs demo | grep -q 'I%s.*-ldemo'; fi",
        directory);
    run_command("rm -r %s", directory);
    free(model);
}
END_TEST

Suite *suite_runtime(void) {
    Suite *suite = suite_create("runtime");
    TCase *forward = tcase_create("forward");
    tcase_set_timeout(forward, TEST_TIMEOUT);
    tcase_add_checked_fixture(forward, setup, teardown);
    tcase_add_loop_test(forward, cuts_into_chunks, 0, 5);
    tcase_add_test(forward, returns_and_takes_routing);
    tcase_add_test(forward, checks_arguments);
    tcase_add_test(forward, checks_extra_memory);
    tcase_add_test(forward, allows_in_place_and_interleaved);
    tcase_add_test(forward, counts_nonfinite);
#if defined(__x86_64__)
    tcase_add_loop_test(forward, keeps_float_state, 0, 2);
#endif
    tcase_add_test(forward, runs_inside_parallel_regions);
    tcase_add_test(forward, refuses_a_second_caller);
    tcase_add_test(forward, binds_workers_only);
    tcase_add_test(forward, interleaves_if_it_can);
    suite_add_tcase(suite, forward);
    TCase *opening = tcase_create("opening");
    tcase_set_timeout(opening, TEST_TIMEOUT);
    tcase_add_checked_fixture(opening, setup, teardown);
    tcase_add_test(opening, reads_options);
    tcase_add_test(opening, checks_the_cpu);
#if defined(__x86_64__)
    tcase_add_test(opening, tiles_need_permission);
#endif
    tcase_add_test(opening, parses_numbers_itself);
    tcase_add_test(opening, plans_choose_what_is_left_open);
    tcase_add_test(opening, kinds_have_threads_of_their_own);
    tcase_add_test(opening, opens_packed_files);
    tcase_add_test(opening, header_agrees_with_library);
    suite_add_tcase(suite, opening);
    return suite;
}
