// One layer through all cases: synthetic weights, instances, buffers, and the list of inputs. See verify.h.
#include "verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "case.h"
#include "compiler/measure/synthetic.h"
#include "input.h"
#include "runtime/cores.h"
#include "runtime/packed.h"

enum { SMALL_CHUNK = 5, MAX_TOKENS = 200 };
static const double oracle_macs_per_second = 5e8;  // per layer of two cores, likely bounds; measured on Emerald Rapids

// Multiply-adds of the oracle per token.
static double macs_per_token(const Layer *layer) {
    double matrices = layer->gated ? 3 : 2, routed = (double)(layer->expected_k * layer->intermediate);
    double shared = (double)(layer->shared_experts * layer->shared_intermediate);
    return (double)layer->iterations * (double)layer->hidden * ((double)layer_choices(layer) + matrices * (routed + shared));
}

static int open_instances(VerifyRun *run, const VerifyOptions *options, const char *name, Diagnostics *diagnostics) {
    char error[256] = "";
    int all = cores_usable();
    // On a single core two threads still take turns: a comparison of one with one could not fail.
    Options team = {.size = sizeof team,
                    .threads = options->threads ? options->threads
                               : all > 2        ? all
                                                : 2},
            single = {.size = sizeof single, .threads = 1, .max_tokens = SMALL_CHUNK},
            alone = {.size = sizeof alone, .threads = 1, .max_tokens = TILE_MAX_ROWS};
    if (run->library->open_memory(run->image, run->image_bytes, &team, &run->team, error, sizeof error) < 0 ||
        run->library->open_memory(run->image, run->image_bytes, &single, &run->single, error, sizeof error) < 0 ||
        run->library->open_memory(run->image, run->image_bytes, &alone, &run->alone, error, sizeof error) < 0) {
        diagnostics_add(diagnostics, NULL, 0, 0, "layer %s: cannot be opened: %s", name, error);
        return -1;
    }
    run->number = run->library->find(run->team, name, 0);
    if (run->number < 0) {
        diagnostics_add(diagnostics, NULL, 0, 0, "layer %s: the library does not know it", name);
        return -1;
    }
    return 0;
}

// Synthetic weights: the image is as long as the library wants it, but only the one instance is ever touched.
static int make_weights(VerifyRun *run, const Kind *kinds, int64_t kind_count, int64_t kind, uint64_t seed) {
    int64_t bytes = packed_image_bytes(kinds, kind_count);
    void *image = bytes < 0 ? MAP_FAILED
                            : mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (image == MAP_FAILED) {
        return -1;
    }
    run->image = image;
    run->image_bytes = (size_t)bytes;
    packed_image_begin(kinds, kind_count, image);
    uint8_t *instance = packed_image_instance(image, kind, 0);
    synthetic_fill(run->plan, instance, seed, NULL);
    verify_tie_experts(run->plan, instance);
    packed_image_seal(image);  // without checksums of the weights: they are not asked for
    if (oracle_weights_allocate(&run->plan->layer, &run->weights)) {
        return -1;
    }
    oracle_weights_unpack(run->plan, instance, &run->weights);
    return 0;
}

// Every array of a run and its bytes.
enum { VERIFY_ARRAYS = 16 };
typedef struct Room {
    void **array;
    size_t bytes;
} Room;

static void list_rooms(const Layer *layer, VerifyRun *run, Room *rooms) {
    size_t tokens = (size_t)run->room, elements = tokens * (size_t)layer->hidden, iterations = (size_t)layer->iterations;
    size_t slots = tokens * (size_t)layer->top_k * iterations, scores = tokens * (size_t)layer_choices(layer) * iterations;
    size_t rows = tokens * (size_t)(layer->hidden + VERIFY_Y_PADDING) * sizeof(float) + 64;
    const Room all[VERIFY_ARRAYS] = {
        {(void **)&run->x, elements * sizeof(float)},
        {(void **)&run->y, elements * sizeof(float)},
        {(void **)&run->oracle, elements * sizeof(double)},
        {(void **)&run->bound, elements * sizeof(double)},
        {(void **)&run->in, rows},
        {(void **)&run->out, rows},
        {(void **)&run->other, rows},
        {(void **)&run->experts, slots * sizeof(int32_t)},
        {(void **)&run->weights_out, slots * sizeof(float)},
        {(void **)&run->scores, scores * sizeof(float)},
        {(void **)&run->alone_scores, scores * sizeof(float)},
        {(void **)&run->oracle_scores, scores * sizeof(double)},
        {(void **)&run->score_bounds, scores * sizeof(double)},
        {(void **)&run->rejected, tokens},
        {(void **)&run->skip, tokens},
        {(void **)&run->k, tokens * sizeof(int32_t)},  // the last: not every layer has it
    };
    memcpy(rooms, all, sizeof all);
}

static int make_buffers(VerifyRun *run) {
    const Layer *layer = &run->plan->layer;
    Room rooms[VERIFY_ARRAYS];
    int complete = 1;
    run->size = (size_t)interface_bytes[layer->activations];
    list_rooms(layer, run, rooms);
    for (int i = 0; i < VERIFY_ARRAYS - !layer->k_per_token; i++) {
        *rooms[i].array = malloc(rooms[i].bytes + 1);
        complete &= *rooms[i].array != NULL;
    }
    return complete ? 0 : -1;
}

static void release(VerifyRun *run) {
    Room rooms[VERIFY_ARRAYS];
    if (run->team) {
        run->library->close(run->team);
    }
    if (run->single) {
        run->library->close(run->single);
    }
    if (run->alone) {
        run->library->close(run->alone);
    }
    if (run->image) {
        munmap(run->image, run->image_bytes);
    }
    oracle_weights_free(&run->weights);
    list_rooms(&run->plan->layer, run, rooms);
    for (int i = 0; i < VERIFY_ARRAYS; i++) {
        free(*rooms[i].array);
    }
}

// k of each token: the least, the most, and anything between them.
static void fill_k(const VerifyRun *run, int64_t tokens, uint64_t seed) {
    const Layer *layer = &run->plan->layer;
    int64_t range = layer->top_k - layer->k_min;
    for (int64_t token = 0; token < tokens && run->k; token++) {
        int64_t between = (int64_t)(synthetic_next(&seed) >> 16) % (range + 1);
        run->k[token] = (int32_t)(layer->k_min + (token % 3 == 0 ? between : token % 3 == 1 ? 0 : range));
    }
}

static int run_cases(VerifyRun *run, const VerifyOptions *options, void (*progress)(const VerifyReport *, const VerifyCase *),
                     VerifyReport *report) {
    int64_t adversarial;
    const VerifyInput *inputs = verify_inputs(&adversarial);
    report->cases = calloc((size_t)(adversarial + options->cases), sizeof *report->cases);
    for (int64_t i = 0; report->cases && i < adversarial + options->cases; i++) {
        VerifyCase *test = &report->cases[i];
        int64_t random = i - adversarial;
        uint64_t seed = options->seed * 1000003 + (uint64_t)i;
        if (random < 0) {
            snprintf(test->name, sizeof test->name, "%s", inputs[i].name);
            test->tokens = inputs[i].tokens < run->limit ? inputs[i].tokens : run->limit;
            test->model = inputs[i].model;
            test->heights = inputs[i].heights;
            inputs[i].fill(run->plan, &run->weights, test->tokens, seed, run->x);
        } else {
            snprintf(test->name, sizeof test->name, "random %lld", (long long)random + 1);
            test->tokens = verify_random_tokens(run->plan, random, seed, run->limit);
            test->model = ERROR_LIKELY;
            verify_fill_random(run->plan, &run->weights, test->tokens, seed, run->x);
        }
        fill_k(run, test->tokens, seed);
        if (verify_run_case(run, test)) {
            return -1;
        }
        report->case_count++;
        report->failed += !test->passed;
        if (progress) {
            progress(report, test);
        }
    }
    return report->cases ? 0 : -1;
}

int verify_layer(const Loaded *library, const Kind *kinds, int64_t kind_count, int64_t kind, const VerifyOptions *options,
                 void (*progress)(const VerifyReport *report, const VerifyCase *done), VerifyReport *report,
                 Diagnostics *diagnostics) {
    VerifyRun run = {.library = library, .plan = &kinds[kind].plan};
    int64_t adversarial;
    verify_inputs(&adversarial);
    double seconds = options->seconds > 0 ? options->seconds : 20, cases = (double)(options->cases + adversarial);
    double fits = seconds * oracle_macs_per_second / macs_per_token(&run.plan->layer) / cases * 2;  // half of the cases are small
    int status = -1;
    memset(report, 0, sizeof *report);
    snprintf(report->layer, sizeof report->layer, "%s", kinds[kind].name);
    run.limit = fits < 3 ? 3 : fits < (double)MAX_TOKENS ? (int64_t)fits : MAX_TOKENS;
    run.room = run.limit < TILE_MAX_ROWS ? TILE_MAX_ROWS : run.limit;
    if (make_weights(&run, kinds, kind_count, kind, options->seed) || make_buffers(&run)) {
        diagnostics_add(diagnostics, NULL, 0, 0, "layer %s: out of memory", kinds[kind].name);
    } else if (!open_instances(&run, options, kinds[kind].name, diagnostics)) {
        status = run_cases(&run, options, progress, report);
        if (status) {
            diagnostics_add(diagnostics, NULL, 0, 0, "layer %s: out of memory", kinds[kind].name);
        }
    }
    release(&run);
    return status;
}

void verify_report_free(VerifyReport *report) {
    free(report->cases);
    report->cases = NULL;
}
