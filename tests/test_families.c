// Every family of tests/golden from its checkpoint's config.json on: imported, its own tensors read where they are, run by the
// natively compiled skeleton, and compared with what transformers (or the papers' formulas in PyTorch) computed.
//
// Both sides are fp32 implementations of the same layer, so each must be within the oracle's bound for random data: ours with our
// own routing replayed and checked, the recorded one where the oracle routes by itself. Choices must be equal wherever the
// oracle's bounds leave only one.
#include <glob.h>
#include <libgen.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/description/model.h"
#include "compiler/import/import.h"
#include "compiler/oracle/oracle.h"
#include "fixture.h"
#include "runtime/safetensors.h"
#include "suites.h"

enum { FEWEST_FAMILIES = 88, PATH_BYTES = 512 };

static glob_t folders;

// One recorded layer.
typedef struct Record {
    const Safetensors *tensors;
    char prefix[64];  // "layers.3"
    const Kind *kind;
    int64_t instance, tokens;
    const OracleWeights *weights;
    Library *library;
} Record;

static const SafetensorsEntry *find(const Record *record, const char *name) {
    char full[128];
    snprintf(full, sizeof full, "%s.%s", record->prefix, name);
    return safetensors_find(record->tensors, full);
}

// An array of the record, aligned; owned. NULL if it has none.
static void *copy(const Record *record, const char *name) {
    const SafetensorsEntry *entry = find(record, name);
    void *out = entry ? malloc((size_t)entry->bytes + 1) : NULL;
    if (out) {
        memcpy(out, entry->data, (size_t)entry->bytes);
    }
    return out;
}

static int32_t *copy_numbers(const Record *record, const char *name, int64_t count) {
    int64_t *wide = copy(record, name);
    int32_t *out = wide ? calloc((size_t)count, sizeof *out) : NULL;
    for (int64_t i = 0; out && i < count; i++) {
        out[i] = (int32_t)wide[i];
    }
    free(wide);
    return out;
}

// Whether both chose the same experts for a token in every iteration; slots beyond `recorded_k` must be unused.
static int same_choices(const Layer *layer, int64_t tokens, int64_t token, const int32_t *ours, const int64_t *recorded,
                        int64_t recorded_k) {
    for (int64_t t = 0; t < layer->iterations; t++) {
        const int32_t *a = ours + (t * tokens + token) * layer->top_k;
        const int64_t *b = recorded + (t * tokens + token) * recorded_k;
        for (int64_t e = 0; e < layer_choices(layer); e++) {
            int in_a = 0, in_b = 0;
            for (int64_t s = 0; s < layer->top_k; s++) {
                in_a |= a[s] == e;
            }
            for (int64_t s = 0; s < recorded_k; s++) {
                in_b |= b[s] == e;
            }
            if (in_a != in_b) {
                return 0;
            }
        }
    }
    return 1;
}

// Whether the oracle's bounds leave this token more than one choice somewhere on its way.
static int near_tie(const Record *record, const float *x, const int32_t *experts, const float *weights, int64_t token,
                    const int32_t *k) {
    const Layer *layer = &record->kind->plan.layer;
    double *y = calloc((size_t)layer->hidden, sizeof *y), *bound = calloc((size_t)layer->hidden, sizeof *bound);
    int64_t slots = layer->iterations * layer->top_k;
    int32_t *own = calloc((size_t)slots, sizeof *own);
    float *own_weights = calloc((size_t)slots, sizeof *own_weights);
    for (int64_t t = 0; t < layer->iterations; t++) {
        int64_t from = (t * record->tokens + token) * layer->top_k;
        memcpy(own + t * layer->top_k, experts + from, (size_t)layer->top_k * sizeof *own);
        memcpy(own_weights + t * layer->top_k, weights + from, (size_t)layer->top_k * sizeof *own_weights);
    }
    OracleGiven given = {own, own_weights, 1, k ? k + token : NULL};
    OracleOutput out = {.y = y, .bound = bound};
    ck_assert_int_eq(oracle_forward(layer, record->weights, 1, x + token * layer->hidden, &given, ERROR_WORST, &out), 0);
    free(y);
    free(bound);
    free(own);
    free(own_weights);
    return out.checks.near_ties > 0;
}

static OracleOutput run_oracle(const Record *record, const float *x, const OracleGiven *given) {
    const Layer *layer = &record->kind->plan.layer;
    size_t elements = (size_t)(record->tokens * layer->hidden);
    OracleOutput out = {.y = calloc(elements, sizeof(double)), .bound = calloc(elements, sizeof(double))};
    ck_assert_int_eq(oracle_forward(layer, record->weights, record->tokens, x, given, ERROR_LIKELY, &out), 0);
    return out;
}

static void free_oracle(OracleOutput *out) {
    free(out->y);
    free(out->bound);
}

// Largest distance from the oracle in units of its bound.
static double distance(const float *y, const double *oracle, const double *bound, int64_t hidden) {
    double worst = 0;
    for (int64_t i = 0; i < hidden; i++) {
        worst = fmax(worst, fabs(y[i] - oracle[i]) / (bound[i] > 0 ? bound[i] : 0x1p-149));
    }
    return worst;
}

static void compare(const Record *record, const char *folder, const float *x, const float *y, const int32_t *experts,
                    const float *weights, const int32_t *k) {
    const Layer *layer = &record->kind->plan.layer;
    int64_t ties = 0;
    float *recorded = copy(record, "layer_out");
    int64_t *recorded_experts = copy(record, "experts");
    const SafetensorsEntry *entry = find(record, "experts");
    ck_assert_msg(recorded && recorded_experts, "%s: %s lacks layer_out or experts", folder, record->prefix);
    int64_t recorded_k = entry->shape[entry->rank - 1];
    const OracleGiven replayed = {experts, weights, 1, k}, free_choice = {NULL, NULL, 0, k};
    OracleOutput replay = run_oracle(record, x, &replayed), own = run_oracle(record, x, &free_choice);
    ck_assert_msg(!replay.checks.violations, "%s, %s: %s", folder, record->prefix, replay.checks.first);
    for (int64_t token = 0; token < record->tokens; token++) {
        int64_t row = token * layer->hidden;
        double ours = distance(y + row, replay.y + row, replay.bound + row, layer->hidden);
        ck_assert_msg(ours <= 1, "%s, %s, token %lld: %g times the bound", folder, record->prefix, (long long)token, ours);
        if (!same_choices(layer, record->tokens, token, experts, recorded_experts, recorded_k)) {
            ck_assert_msg(near_tie(record, x, experts, weights, token, k), "%s, %s, token %lld: other experts than recorded",
                          folder, record->prefix, (long long)token);
            ties++;
            continue;
        }
        double theirs = distance(recorded + row, own.y + row, own.bound + row, layer->hidden);
        ck_assert_msg(theirs <= 1, "%s, %s, token %lld: recorded output at %g times the bound", folder, record->prefix,
                      (long long)token, theirs);
    }
    ck_assert_msg(ties * 10 <= record->tokens, "%s, %s: %lld near ties", folder, record->prefix, (long long)ties);
    free(recorded);
    free(recorded_experts);
    free_oracle(&replay);
    free_oracle(&own);
}

static void run_record(Record *record, const char *folder) {
    const Layer *layer = &record->kind->plan.layer;
    const SafetensorsEntry *in = find(record, "layer_in");
    ck_assert_msg(in, "%s: nothing is recorded of %s", folder, record->prefix);
    ck_assert_int_eq(in->shape[1], layer->hidden);
    record->tokens = in->shape[0];
    int64_t slots = layer->iterations * record->tokens * layer->top_k;
    float *x = copy(record, "layer_in"), *y = calloc((size_t)(record->tokens * layer->hidden), sizeof *y);
    int32_t *experts = calloc((size_t)slots, sizeof *experts), *k = copy_numbers(record, "k", record->tokens);
    float *weights = calloc((size_t)slots, sizeof *weights), *importance = copy(record, "importance");
    Forward forward = {.layer = (int)record->instance,
                       .tokens = record->tokens,
                       .x = x,
                       .x_stride = layer->hidden,
                       .y = y,
                       .y_stride = layer->hidden};
    Extra extra = {.size = sizeof extra, .experts = experts, .weights = weights, .importance = importance};
    ck_assert_msg(instance_forward_with(record->library, &forward, &extra) == LIBRARY_OK, "%s: %s", folder,
                  instance_error(record->library));
    compare(record, folder, x, y, experts, weights, k);
    free(x);
    free(y);
    free(experts);
    free(k);
    free(weights);
    free(importance);
}

// All instances of one entry of the description.
static void run_entry(const ModelLayer *entry, const char *folder, const Safetensors *tensors) {
    FixtureCheckpoint *checkpoint = fixture_checkpoint_open(entry, folder);
    const char *pattern = entry->checkpoint.tensors[TENSOR_DOWN].pattern;
    const char *stack = strstr(pattern, "encoder.") ? "encoder." : strstr(pattern, "decoder.") ? "decoder." : "";
    for (int64_t i = 0; i < entry->count; i++) {
        OracleWeights weights;
        fixture_checkpoint_weights(checkpoint, i, &weights);
        Record record = {
            .tensors = tensors, .kind = &checkpoint->kind, .instance = i, .weights = &weights, .library = checkpoint->library};
        snprintf(record.prefix, sizeof record.prefix, "%slayers.%lld", stack,
                 (long long)(entry->checkpoint.first_layer + i * entry->checkpoint.layer_step));
        run_record(&record, folder);
        oracle_weights_free(&weights);
    }
    fixture_checkpoint_close(checkpoint);
}

START_TEST(reproduces_recorded_layers) {
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s", folders.gl_pathv[_i]);
    const char *folder = dirname(path);
    Diagnostics diagnostics = {0};
    ImportOptions options = IMPORT_DEFAULTS;
    options.name = "golden";
    Import *import = import_open(folder, &options, &diagnostics);
    ck_assert_msg(import, "%s", diagnostics.text);
    const char *text = import_result(import)->description;
    Model *model = model_read_text(text, strlen(text), "imported", &diagnostics);
    ck_assert_msg(model, "%s", diagnostics.text);
    Safetensors *tensors = NULL;
    char error[256] = "";
    ck_assert_msg(safetensors_open(folders.gl_pathv[_i], &tensors, &(Failure){error, sizeof error}) == LIBRARY_OK, "%s", error);
    for (int64_t i = 0; i < model->layer_count; i++) {
        run_entry(&model->layers[i], folder, tensors);
    }
    safetensors_close(tensors);
    model_free(model);
    import_close(import);
    diagnostics_free(&diagnostics);
}
END_TEST

START_TEST(no_family_is_missing) {
    ck_assert_uint_ge(folders.gl_pathc, FEWEST_FAMILIES);
}
END_TEST

Suite *suite_families(void) {
    Suite *suite = suite_create("families");
    TCase *cases = tcase_create("families");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_test(cases, no_family_is_missing);
    if (!glob("tests/golden/*/io.safetensors", 0, NULL, &folders)) {
        tcase_add_loop_test(cases, reproduces_recorded_layers, 0, (int)folders.gl_pathc);
    }
    suite_add_tcase(suite, cases);
    return suite;
}
