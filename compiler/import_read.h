// Inside of import: shared by import*.c only.
//
// Data flows one way: config.json (import_config.c) and a row of the table (import_families.c) -> values, one per setting
// (import_values.c) -> runs of sparse layers (import_layers.c) -> JSON with the names of tensors (import_tensors.c) -> text
// (import_text.c).
#ifndef CATENA_IMPORT_READ_H
#define CATENA_IMPORT_READ_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "../runtime/safetensors.h"
#include "../templates/layer.h"
#include "import.h"
#include "model.h"
#include "spec_position.h"
#include "torch_checkpoint.h"

enum { IMPORT_MAX_WIDTH = 1 << 20, IMPORT_MAX_EXPERTS = 1 << 16, IMPORT_MAX_LAYERS = 1 << 12, IMPORT_MAX_FACTOR = 1000000 };

// --- config.json ---

typedef struct ImportConfig {
    const char *path;  // of the file, for messages
    char *text;
    size_t bytes;
    json_t *root;
    const char *section;  // where the language model's keys are in a multimodal model ("text_config"); NULL: the root
    const json_t *object;
    Diagnostics *diagnostics;
} ImportConfig;

// Reads and parses; false with diagnostics. import_config_free in any case.
bool import_config_read(ImportConfig *config, const char *path, Diagnostics *diagnostics);
void import_config_free(ImportConfig *config);
// The same for an object that is not from a JSON text: problems have no position.
bool import_config_take(ImportConfig *config, const char *path, const json_t *object, Diagnostics *diagnostics);
// The value of the first of some keys that is there ("num_local_experts num_experts"; a dot goes into an object), or NULL.
// `found`, if not NULL, receives that key.
enum { IMPORT_KEY_BYTES = 96 };
const json_t *import_config_get(const ImportConfig *config, const char *keys, char found[IMPORT_KEY_BYTES]);
// Reports a problem at a key (NULL: at the object that holds the keys).
void import_error(const ImportConfig *config, const char *key, const char *format, ...) __attribute__((format(printf, 3, 4)));
// A value as it stands in the file, shortened.
enum { IMPORT_VALUE_BYTES = 96 };
void import_describe(const json_t *value, char text[IMPORT_VALUE_BYTES]);

// --- settings: what a family's row says of each, and what a config makes of it ---

typedef enum ImportType { IMPORT_INTEGER, IMPORT_REAL, IMPORT_FLAG, IMPORT_WORD } ImportType;

// X(enumerator, type, where it goes in a layer's description or NULL, least and largest value, the description's own default).
// In the order in which descriptions are written.
#define IMPORT_SETTING_LIST(X) \
    X(SETTING_HIDDEN, INTEGER, "hidden", 1, IMPORT_MAX_WIDTH, 0) \
    X(SETTING_ITERATIONS, INTEGER, "iterations", 1, LAYER_MAX_ITERATIONS, 1) \
    X(SETTING_NORM, WORD, "norm.kind", 0, 0, 0) \
    X(SETTING_NORM_EPS, REAL, "norm.eps", 0, 1, -1) \
    X(SETTING_NORM_BIAS, FLAG, "norm.bias", 0, 1, 0) \
    X(SETTING_INNER, FLAG, "residual.inner", 0, 1, 0) \
    X(SETTING_INNER_ALPHA, REAL, "residual.inner_alpha", -IMPORT_MAX_FACTOR, IMPORT_MAX_FACTOR, 1) \
    X(SETTING_OUTER, FLAG, "residual.outer", 0, 1, 0) \
    X(SETTING_MULTIPLIER, REAL, "residual.multiplier", -IMPORT_MAX_FACTOR, IMPORT_MAX_FACTOR, 1) \
    X(SETTING_COE_WEIGHT, FLAG, "residual.coe_weight", 0, 1, 0) \
    X(SETTING_SCORE, WORD, "router.score", 0, 0, 0) \
    X(SETTING_SELECT, WORD, "router.select", 0, 0, 0) \
    X(SETTING_RANK, WORD, "router.rank", 0, 0, 0) \
    X(SETTING_CORRECTION, FLAG, "router.correction", 0, 1, 0) \
    X(SETTING_GROUPS, INTEGER, "router.groups.count", 1, IMPORT_MAX_EXPERTS, 0) \
    X(SETTING_TOP_GROUPS, INTEGER, "router.groups.k", 1, IMPORT_MAX_EXPERTS, 0) \
    X(SETTING_GROUP_SCORE, WORD, "router.groups.score", 0, 0, 0) \
    X(SETTING_GROUP_MASK, WORD, "router.groups.mask", 0, 0, 0) \
    X(SETTING_K, INTEGER, "router.k", 1, IMPORT_MAX_EXPERTS, 0) \
    X(SETTING_K_PER_TOKEN, FLAG, "router.k_per_token", 0, 1, 0) \
    X(SETTING_K_MIN, INTEGER, "router.k_min", 0, IMPORT_MAX_EXPERTS, 1) \
    X(SETTING_EXPECTED_K, INTEGER, "router.expected_k", 1, IMPORT_MAX_EXPERTS, 0) \
    X(SETTING_THRESHOLD, REAL, "router.threshold", -IMPORT_MAX_FACTOR, IMPORT_MAX_FACTOR, -1) \
    X(SETTING_JITTER, REAL, "router.jitter", 0, 1, -1) \
    X(SETTING_NORMALIZE, FLAG, "router.normalize", 0, 1, 0) \
    X(SETTING_NORMALIZE_P, REAL, "router.normalize_p", 1, 64, 1) \
    X(SETTING_NORMALIZE_EPS, REAL, "router.normalize_eps", 0, 1, 1e-20) \
    X(SETTING_NORMALIZE_CLAMP, FLAG, "router.normalize_clamp", 0, 1, 0) \
    X(SETTING_SCALE, REAL, "router.scale", 0, IMPORT_MAX_FACTOR, 1) \
    X(SETTING_WEIGHT_ON, WORD, "router.weight_on", 0, 0, 0) \
    X(SETTING_ROUTER_BIAS, FLAG, "router.bias", 0, 1, 0) \
    X(SETTING_PER_ITERATION, FLAG, "router.per_iteration", 0, 1, 0) \
    X(SETTING_EXPERTS, INTEGER, "experts.count", 1, IMPORT_MAX_EXPERTS, 0) \
    X(SETTING_INTERMEDIATE, INTEGER, "experts.intermediate", 1, IMPORT_MAX_WIDTH, 0) \
    X(SETTING_GATED, FLAG, "experts.gated", 0, 1, 1) \
    X(SETTING_ACTIVATION, WORD, "experts.activation", 0, 0, 0) \
    X(SETTING_SLOPE, REAL, "experts.slope", -IMPORT_MAX_FACTOR, IMPORT_MAX_FACTOR, 1) \
    X(SETTING_LIMIT, REAL, "experts.limit", 0, IMPORT_MAX_FACTOR, 0) \
    X(SETTING_UP_OFFSET, REAL, "experts.up_offset", -IMPORT_MAX_FACTOR, IMPORT_MAX_FACTOR, 0) \
    X(SETTING_EXPERT_BIAS, FLAG, "experts.bias", 0, 1, 0) \
    X(SETTING_IDENTITY, INTEGER, "experts.identity", 0, IMPORT_MAX_EXPERTS, 0) \
    X(SETTING_SHARED, INTEGER, "shared_experts.count", 0, 1024, 0) \
    X(SETTING_SHARED_WIDTH, INTEGER, "shared_experts.intermediate", 0, IMPORT_MAX_WIDTH, 0) \
    X(SETTING_SHARED_BIAS, FLAG, "shared_experts.bias", 0, 1, 0) \
    X(SETTING_SHARED_GATED, FLAG, "shared_experts.gated", 0, 1, 0) \
    X(SETTING_SHARED_SCALE, REAL, "shared_experts.scale", -IMPORT_MAX_FACTOR, IMPORT_MAX_FACTOR, 1) \
    /* which layers are sparse: from FIRST to LAST, those whose number is PHASE modulo STEP (import_layers.c) */ \
    X(SETTING_LAYERS, INTEGER, NULL, 1, IMPORT_MAX_LAYERS, 0) \
    X(SETTING_SPARSE, INTEGER, NULL, 0, IMPORT_MAX_LAYERS, 0) \
    X(SETTING_FIRST, INTEGER, NULL, 0, IMPORT_MAX_LAYERS, 0) \
    X(SETTING_LAST, INTEGER, NULL, -1, IMPORT_MAX_LAYERS, 0) \
    X(SETTING_STEP, INTEGER, NULL, 1, IMPORT_MAX_LAYERS, 0) \
    X(SETTING_PHASE, INTEGER, NULL, 0, IMPORT_MAX_LAYERS, 0) \
    /* what a family's own function turns into the above */ \
    X(SETTING_METHOD, WORD, NULL, 0, 0, 0) \
    X(SETTING_STRATEGY, WORD, NULL, 0, 0, 0) \
    X(SETTING_ALPHA, REAL, NULL, -IMPORT_MAX_FACTOR, IMPORT_MAX_FACTOR, 0) \
    X(SETTING_BETA, REAL, NULL, -IMPORT_MAX_FACTOR, IMPORT_MAX_FACTOR, 0)

#define IMPORT_SETTING_ENUMERATOR(enumerator, ...) enumerator,
typedef enum Setting { IMPORT_SETTING_LIST(IMPORT_SETTING_ENUMERATOR) SETTING_COUNT } Setting;

typedef enum ImportPresence {
    PRESENCE_UNUSED,
    PRESENCE_FIXED,     // the family has this value, whatever the config says
    PRESENCE_KEY,       // the config's, or transformers' default
    PRESENCE_NULLABLE,  // the same, but null means that there is no such thing
    PRESENCE_OPTIONAL,  // no default: absent and null mean that there is no such thing
    PRESENCE_REQUIRED,
} ImportPresence;

typedef struct ImportRule {
    ImportPresence presence;
    const char *keys;  // names in the config, the first that is there counts
    double number;     // value or default
    const char *word;
} ImportRule;

typedef enum ImportSource { SOURCE_NONE, SOURCE_FAMILY, SOURCE_CONFIG, SOURCE_DEFAULT } ImportSource;

typedef struct ImportValue {
    ImportSource source;          // SOURCE_NONE: there is no such thing in this model
    char key[IMPORT_KEY_BYTES];   // where it comes from
    double number;                // integers and flags too
    const char *word;
    const json_t *list;           // of one integer per layer, instead of a number
} ImportValue;

// --- families ---

typedef struct ImportFamily ImportFamily;

// One tensor: `name` is below the layer's name, with @ for the name of the sparse block.
typedef struct ImportTensor {
    Tensor tensor;
    const char *name;
    TensorRows rows;
    TensorOrder order;
    Encoding encoding;
    float add;
} ImportTensor;

// A value that a config has if it has the key at all: any other is a model that we do not know.
typedef struct ImportExpectation {
    const char *key;
    const char *value;  // JSON
} ImportExpectation;

enum { IMPORT_LAYOUTS = 4, IMPORT_LAYOUT_TENSORS = 7, IMPORT_OTHER_TENSORS = 16, IMPORT_EXPECTATIONS = 8 };

// One way in which the matrices of the experts lie in checkpoints.
typedef struct ImportLayout {
    const char *quantisation;                     // quantization_config.quant_method of such checkpoints; NULL: not quantised
    ImportTensor tensors[IMPORT_LAYOUT_TENSORS];  // up to the first without a name
} ImportLayout;

struct ImportFamily {
    const char *name;
    const char *model_types, *architectures;  // separated by blanks
    ImportRule rules[SETTING_COUNT];
    const char *include, *exclude, *types;    // keys that list the sparse layers, dense ones, or a word for each layer
    ImportExpectation expectations[IMPORT_EXPECTATIONS];
    const char *prefix, *nested_prefix;       // of tensors: usually; in a multimodal model
    const char *stem;                         // of a layer's tensors, below the prefix
    const char *block;                        // of the sparse block's tensors, below the stem
    const ImportLayout *layouts[IMPORT_LAYOUTS];      // the first is the usual one
    ImportTensor tensors[IMPORT_OTHER_TENSORS];       // all others, up to the first without a name
    bool (*adjust)(const ImportConfig *config, ImportValue *values);  // what no rule can say; false with diagnostics
    const char *entry;          // name of its layers in the description; NULL: "moe"
    const char *remark;         // what the description does not say of this model
    const ImportFamily *also;   // a second stack of layers in the same model
};

// NULL-terminated.
extern const ImportFamily *const import_families[];

// --- steps ---

const char *import_setting_path(Setting setting);

// All settings of a family from a config, checked and adjusted. False with diagnostics.
bool import_values_read(const ImportConfig *config, const ImportFamily *family, ImportValue values[SETTING_COUNT]);
// Replaces a value by one that follows from others.
void import_value_set(ImportValue *value, double number);
void import_value_word(ImportValue *value, const char *word);
// A layer's description without name, count and checkpoint.
json_t *import_values_layer(const ImportValue values[SETTING_COUNT]);

// Sparse layers first, first + step, ...
typedef struct ImportRun {
    int64_t first, step, count;
    int64_t top_k;  // where it differs from layer to layer; 0: as the values say
} ImportRun;
// Finds them; returns how many runs there are (none: an error), or -1 with diagnostics. Dense layers get a remark.
int64_t import_layers_find(const ImportConfig *config, const ImportFamily *family, const ImportValue values[SETTING_COUNT],
                           ImportRun runs[MODEL_MAX_LAYERS], FILE *remarks);

// A checkpoint, if there is one: one of safetensors beside the config, or a file of torch.save that holds the config too.
typedef struct ImportCheckpoint {
    char *path;
    Safetensors *tensors;
    TorchCheckpoint *torch;
} ImportCheckpoint;
bool import_checkpoint_open(ImportCheckpoint *checkpoint, const char *config_path, Diagnostics *diagnostics);
void import_checkpoint_close(ImportCheckpoint *checkpoint);
// How the checkpoint is quantised: quantization_config.quant_method ("unknown" if it says none), or NULL.
const char *import_quantisation(const ImportConfig *config);
// Refuses checkpoints that are quantised in a way that the family has no layout for; with `remarks` it only says so there.
bool import_quantisation_check(const ImportConfig *config, const ImportFamily *family, bool refuse, FILE *remarks);
// "checkpoint" of a layer's description: the names that the checkpoint has, or else the family's usual ones.
json_t *import_tensors_describe(const ImportConfig *config, const ImportFamily *family, const Layer *layer, const ImportRun *run,
                                const ImportCheckpoint *checkpoint);
// dtype of the experts' matrices in the layer run->first, by `checkpoint` as just described; NULL where it is not at hand, or where
// they are quantised.
const char *import_tensors_dtype(const json_t *described, const ImportRun *run, const ImportCheckpoint *checkpoint);
// Presence, dtype and shape of every tensor that the description names.
bool import_tensors_check(const Model *model, const ImportCheckpoint *checkpoint, Diagnostics *diagnostics);

// The file of a Megatron checkpoint: `path` itself, or the one in the folder `path`; false if it is none. Diagnostics: it is one,
// but not readable.
bool import_megatron_find(const char *path, char *file, size_t size, Diagnostics *diagnostics);
extern const ImportFamily import_megatron;
// Whether a description can name its tensors.
bool import_megatron_readable(const TorchCheckpoint *torch, const char *path, Diagnostics *diagnostics);

// JSON as a person would write it: what fits on a line is on one. Owned by the caller.
char *import_text(const json_t *value);
// What a layer of a description says, in words.
void import_summary_layer(const ModelLayer *layer, FILE *stream);

#endif
