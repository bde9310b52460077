// Inside of import: shared by the files of this folder.
//
// Data flows one way: config.json (python_json.c, config.c) and a row of the table (families/) -> values, one per setting
// (values.c) -> runs of sparse layers (layers.c) -> JSON with the names of tensors (tensors.c) -> text (text.c).
#ifndef CATENA_IMPORT_READ_H
#define CATENA_IMPORT_READ_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "compiler/description/model.h"
#include "compiler/description/read.h"
#include "compiler/pytorch/checkpoint.h"
#include "import.h"
#include "runtime/safetensors.h"
#include "templates/layer.h"

enum { IMPORT_MAX_LAYERS = 1 << 12 };

// --- config.json ---

typedef struct ImportConfig {
    const char *path;  // of the file, for messages
    char *text;
    size_t bytes;
    json_t *root;
    const char *section;  // where the language model's keys are in a multimodal model ("text_config", or further in, with dots);
                          // NULL: the root
    const json_t *object;
    Diagnostics *diagnostics;
    FILE *remarks;        // NULL: not written
    json_t *said;         // remarks that were written: each is written once
    const char *aliases;  // names that count where the configuration has another name of the same setting too (ImportFamily)
    json_t *disputes;     // pairs of names with different values, "counts other", in the order in which they were met
    json_t *asked;        // keys that import_config_get has found
    unsigned turned;      // bit i: of dispute i, the other one counts
} ImportConfig;

// As many disputes can be turned round.
enum { IMPORT_DISPUTES = 4 };

// Reads and parses; false with diagnostics. import_config_free in any case.
bool import_config_read(ImportConfig *config, const char *path, Diagnostics *diagnostics);
void import_config_free(ImportConfig *config);
// The same for an object that is not from a JSON text: problems have no position.
bool import_config_take(ImportConfig *config, const char *path, const json_t *object, Diagnostics *diagnostics);
// The value of one of some keys ("num_local_experts num_experts"; a dot goes into an object), or NULL: of those that are there an
// alias counts, or else the first. Where they disagree, there is a remark. `found`, if not NULL, receives the key that counts.
enum { IMPORT_KEY_BYTES = 96 };
const json_t *import_config_get(const ImportConfig *config, const char *keys, char found[IMPORT_KEY_BYTES]);
// Notes that two values of one setting, "counts other", disagree; whether the other one counts, as the tensors do not fit the
// first.
bool import_config_turned(const ImportConfig *config, const char *pair);
// Reports a problem at a key (NULL: at the object that holds the keys).
void import_error(const ImportConfig *config, const char *key, const char *format, ...) __attribute__((format(printf, 3, 4)));

// Writes a line to config->remarks, once.
void import_remark(const ImportConfig *config, const char *format, ...) __attribute__((format(printf, 2, 3)));
// A remark on the keys that speak of experts or routers by their names, and that nobody has asked for.
void import_remark_unread(const ImportConfig *config);
// Whether a list of words, separated by blanks, has this word. NULL has none.
bool import_has_word(const char *words, const char *word);
// Parses a text of JSON as Python's json module reads it (python_json.c). NULL with `error`. Owned by the caller.
json_t *import_python_json(const char *text, size_t bytes, json_error_t *error);

// --- settings: what a family's row says of each, and what a config makes of it ---

// X(enumerator, where it goes in a layer's description). Type, bounds and default are that key's (compiler/description/keys.c). In
// the order in which descriptions are written.
#define IMPORT_DESCRIBED_LIST(X) \
    X(SETTING_HIDDEN, "hidden") \
    X(SETTING_ITERATIONS, "iterations") \
    X(SETTING_NORM, "norm.kind") \
    X(SETTING_NORM_EPS, "norm.eps") \
    X(SETTING_NORM_BIAS, "norm.bias") \
    X(SETTING_POST_NORM, "post_norm.kind") \
    X(SETTING_POST_NORM_EPS, "post_norm.eps") \
    X(SETTING_INNER, "residual.inner") \
    X(SETTING_INNER_ALPHA, "residual.inner_alpha") \
    X(SETTING_OUTER, "residual.outer") \
    X(SETTING_OUTER_ALPHA, "residual.alpha") \
    X(SETTING_MULTIPLIER, "residual.multiplier") \
    X(SETTING_OUTPUT_SCALE, "residual.output_scale") \
    X(SETTING_COE_WEIGHT, "residual.coe_weight") \
    X(SETTING_SCORE, "router.score") \
    X(SETTING_SOFTCAP, "router.softcap") \
    X(SETTING_SELECT, "router.select") \
    X(SETTING_RANK, "router.rank") \
    X(SETTING_CORRECTION, "router.correction") \
    X(SETTING_GROUPS, "router.groups.count") \
    X(SETTING_TOP_GROUPS, "router.groups.k") \
    X(SETTING_GROUP_SCORE, "router.groups.score") \
    X(SETTING_GROUP_MASK, "router.groups.mask") \
    X(SETTING_K, "router.k") \
    X(SETTING_K_PER_TOKEN, "router.k_per_token") \
    X(SETTING_K_MIN, "router.k_min") \
    X(SETTING_EXPECTED_K, "router.expected_k") \
    X(SETTING_THRESHOLD, "router.threshold") \
    X(SETTING_JITTER, "router.jitter") \
    X(SETTING_NORMALIZE, "router.normalize") \
    X(SETTING_NORMALIZE_P, "router.normalize_p") \
    X(SETTING_NORMALIZE_EPS, "router.normalize_eps") \
    X(SETTING_NORMALIZE_CLAMP, "router.normalize_clamp") \
    X(SETTING_SCALE, "router.scale") \
    X(SETTING_WEIGHT_ON, "router.weight_on") \
    X(SETTING_ROUTER_BIAS, "router.bias") \
    X(SETTING_PER_ITERATION, "router.per_iteration") \
    X(SETTING_EXPERTS, "experts.count") \
    X(SETTING_INTERMEDIATE, "experts.intermediate") \
    X(SETTING_GATED, "experts.gated") \
    X(SETTING_ACTIVATION, "experts.activation") \
    X(SETTING_SLOPE, "experts.slope") \
    X(SETTING_LIMIT, "experts.limit") \
    X(SETTING_LIMIT_PLACE, "experts.limit_place") \
    X(SETTING_GATE_SOFTCAP, "experts.gate_softcap") \
    X(SETTING_UP_SOFTCAP, "experts.up_softcap") \
    X(SETTING_UP_OFFSET, "experts.up_offset") \
    X(SETTING_EXPERT_BIAS, "experts.bias") \
    X(SETTING_OUTPUT_BIAS, "experts.output_bias") \
    X(SETTING_IDENTITY, "experts.identity") \
    X(SETTING_LATENT, "latent.width") \
    X(SETTING_LATENT_NORM, "latent.norm") \
    X(SETTING_LATENT_NORM_EPS, "latent.norm_eps") \
    X(SETTING_SHARED, "shared_experts.count") \
    X(SETTING_SHARED_WIDTH, "shared_experts.intermediate") \
    X(SETTING_SHARED_BIAS, "shared_experts.bias") \
    X(SETTING_SHARED_LIMIT, "shared_experts.limit") \
    X(SETTING_SHARED_GATED, "shared_experts.gated") \
    X(SETTING_SHARED_JOINT, "shared_experts.joint") \
    X(SETTING_SHARED_SCALE, "shared_experts.scale")

// X(enumerator, type of key, least and largest value): what goes into no description as it is.
#define IMPORT_OWN_LIST(X) \
    /* which layers are sparse: from FIRST to LAST, those whose number is PHASE modulo STEP (layers.c) */ \
    X(SETTING_LAYERS, INTEGER, 1, IMPORT_MAX_LAYERS) \
    X(SETTING_SPARSE, INTEGER, 0, IMPORT_MAX_LAYERS) \
    X(SETTING_BY_TABLE, INTEGER, 0, IMPORT_MAX_LAYERS) /* so many choose by a table of token numbers, and come first */ \
    X(SETTING_FIRST, INTEGER, 0, IMPORT_MAX_LAYERS) \
    X(SETTING_LAST, INTEGER, -1, IMPORT_MAX_LAYERS) \
    X(SETTING_STEP, INTEGER, 1, IMPORT_MAX_LAYERS) \
    X(SETTING_PHASE, INTEGER, 0, IMPORT_MAX_LAYERS) \
    /* what a family's own function turns into the above */ \
    X(SETTING_METHOD, CHOICE, 0, 0) \
    X(SETTING_STRATEGY, CHOICE, 0, 0) \
    X(SETTING_ALPHA, REAL, -SPEC_MAX_FACTOR, SPEC_MAX_FACTOR) \
    X(SETTING_BETA, REAL, -SPEC_MAX_FACTOR, SPEC_MAX_FACTOR)

#define IMPORT_SETTING_ENUMERATOR(enumerator, ...) enumerator,
typedef enum Setting {
    IMPORT_DESCRIBED_LIST(IMPORT_SETTING_ENUMERATOR) IMPORT_OWN_LIST(IMPORT_SETTING_ENUMERATOR) SETTING_COUNT
} Setting;

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
    const char *keys;  // names in the config; import_config_get says which one counts
    double number;     // value or default
    const char *word;
    bool listed;       // the config may have a list with a number for each layer
    bool first;        // ... or a list of which the first counts: others are of other modalities
} ImportRule;

typedef enum ImportSource { SOURCE_NONE, SOURCE_FAMILY, SOURCE_CONFIG, SOURCE_DEFAULT } ImportSource;

typedef struct ImportValue {
    ImportSource source;          // SOURCE_NONE: there is no such thing in this model
    char key[IMPORT_KEY_BYTES];   // where it comes from
    double number;                // integers and flags too
    const char *word;
    const json_t *list;           // of one number per layer, instead of a number; null stands for 0
    double (*of_layer)(int64_t layer);  // the same as a function of the layer's number
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

enum { IMPORT_LAYOUTS = 6, IMPORT_LAYOUT_TENSORS = 7, IMPORT_OTHER_TENSORS = 16, IMPORT_EXPECTATIONS = 8 };

// One way in which the matrices of the experts lie in checkpoints.
typedef struct ImportLayout {
    const char *quantisation;                     // quantization_config.quant_method of such checkpoints; NULL: not quantised
    ImportTensor tensors[IMPORT_LAYOUT_TENSORS];  // up to the first without a name
} ImportLayout;

struct ImportFamily {
    const char *name;
    const char *model_types, *architectures;  // separated by blanks
    ImportRule rules[SETTING_COUNT];
    const char *aliases;                      // in transformers, names of attribute_map: they win over the class's own names
    const char *include, *exclude, *types;    // keys that list the sparse layers, dense ones, or a word for each layer
    const char *idle;                         // words of layers without experts, other than "dense"
    const char *letters;  // a key of `types` may have a text, a letter for each layer: of these; the first one
                          // is that of sparse layers
    ImportExpectation expectations[IMPORT_EXPECTATIONS];
    const char *prefix, *nested_prefix;  // of tensors: usually; in a multimodal model
    const char *stem;  // of a layer's tensors, below the prefix
    const char *block;  // of the sparse block's tensors, below the stem
    const ImportLayout *layouts[IMPORT_LAYOUTS];  // the first is the usual one
    ImportTensor tensors[IMPORT_OTHER_TENSORS];  // all others, up to the first without a name
    bool (*adjust)(const ImportConfig *config, ImportValue *values);  // what no rule can say; false with diagnostics
    const char *entry;  // name of its layers in the description; NULL: "moe"
    const char *remark;  // what the description does not say of this model
    const ImportFamily *also;  // a second stack of layers in the same model
};

// NULL-terminated.
extern const ImportFamily *const import_families[];

// --- steps ---

enum { IMPORT_WORDS_BYTES = 128 };
// The family that a configuration names, and `by` which of its words; or that of the model_type `meant`, unless NULL. NULL with
// diagnostics.
const ImportFamily *import_recognise(const ImportConfig *config, const char *meant, char by[IMPORT_WORDS_BYTES]);

#define IMPORT_DENSE "all layers of this model are dense: there is nothing to compile"
// All settings of a family from a config, checked and adjusted. What the configuration does not say goes to `summary` (NULL: it
// does not). False with diagnostics.
bool import_values_read(const ImportConfig *config, const ImportFamily *family, ImportValue values[SETTING_COUNT], FILE *summary);
// Reads a setting by a rule, where the family's own depends on the configuration. False with diagnostics.
bool import_value_read(const ImportConfig *config, const ImportRule *rule, Setting setting, ImportValue *value);
// Replaces a value by one that follows from others.
void import_value_set(ImportValue *value, double number);
void import_value_word(ImportValue *value, const char *word);
// Replaces a value by one that follows from the layer's number.
void import_value_follow(ImportValue *value, double (*of_layer)(int64_t layer));
// Whether a value may differ from layer to layer.
bool import_value_varies(const ImportValue *value);
// What a value is for one layer.
double import_value_at(const ImportValue *value, int64_t layer);
// A layer's description without name, count and checkpoint.
json_t *import_values_layer(const ImportValue values[SETTING_COUNT], int64_t layer);

// Sparse layers first, first + step, ...
typedef struct ImportRun {
    int64_t first, step, count;
} ImportRun;
// Finds them; returns how many runs there are (none: an error), or -1 with diagnostics. Dense layers get a remark.
int64_t import_layers_find(const ImportConfig *config, const ImportFamily *family, const ImportValue values[SETTING_COUNT],
                           ImportRun runs[MODEL_MAX_LAYERS]);

// A checkpoint, if there is one: one of safetensors beside the config, or a file of torch.save that holds the config too.
typedef struct ImportCheckpoint {
    Safetensors *tensors;
    char *absence;  // why there are no tensors, in words; NULL: there are some, or nobody has looked
    bool disputed;  // the folder has one file of all tensors, which counts, and an index of others
    TorchCheckpoint *torch;
} ImportCheckpoint;
bool import_checkpoint_open(ImportCheckpoint *checkpoint, const char *config_path, Diagnostics *diagnostics);
void import_checkpoint_close(ImportCheckpoint *checkpoint);
// Everything that a tensor's name is made of (naming.c).
typedef struct ImportNaming {
    const ImportFamily *family;
    const char *prefix;
    const ImportLayout *layout;
} ImportNaming;
enum { IMPORT_NAME_BYTES = TENSOR_PATTERN_BYTES + 64 };
// The naming that the checkpoint has for a layer's experts, or else the usual one. Of several readings of the same tensors the
// first counts that all of their shapes fit. False with diagnostics: the layer's experts are there under two names.
bool import_naming_choose(const ImportConfig *config, const ImportFamily *family, const Layer *layer, int64_t number,
                          const ImportCheckpoint *checkpoint, ImportNaming *naming);
// The pattern of a row's name of a tensor.
void import_naming_pattern(const ImportNaming *naming, const char *name, char pattern[IMPORT_NAME_BYTES]);
// Replaces {layer} by a number, and every other placeholder by 0.
void import_naming_fill(const char *pattern, int64_t layer, char name[IMPORT_NAME_BYTES]);
// The entry of a list for a tensor of this layer, or NULL.
const ImportTensor *import_naming_tensor(const ImportTensor *list, int count, Tensor tensor, const Layer *layer);
// Refuses a checkpoint with tensors that say that its layers compute what no description says.
bool import_tensors_known(const ImportCheckpoint *checkpoint, Diagnostics *diagnostics);
// How the checkpoint is quantised: quantization_config.quant_method ("unknown" if it says none), or NULL.
const char *import_quantisation(const ImportConfig *config);
// Whether the configuration says that a tensor is F8_E4M3 with block scales. Where tensors are at hand, they count.
bool import_quantisation_fp8(const ImportConfig *config, const char *tensor);
// dtypes of the layers that were described.
typedef struct ImportStored {
    const char *experts;  // NULL: unknown
    bool fp8;  // some matrices are F8_E4M3
} ImportStored;
// Refuses checkpoints that are quantised in a way that catena does not read: returns false with diagnostics. Without `refuse` it
// only writes a remark and returns true.
bool import_quantisation_check(const ImportConfig *config, const ImportFamily *family, const ImportCheckpoint *checkpoint,
                               const ImportStored *stored, bool refuse);
// "checkpoint" of a layer's description: the names that the checkpoint has, or else the family's usual ones. NULL with diagnostics.
json_t *import_tensors_describe(const ImportConfig *config, const ImportFamily *family, const Layer *layer, const ImportRun *run,
                                const ImportCheckpoint *checkpoint);
// dtype of a tensor of the layer run->first, by `checkpoint` as just described; NULL where it is not at hand, or in MXFP4.
const char *import_tensors_dtype(const json_t *described, Tensor tensor, const ImportRun *run, const ImportCheckpoint *checkpoint);
// The format that keeps a dtype's numbers (NULL: BF16's), unless another is asked for (a Format; -1: none is).
Format import_format(int asked, const char *dtype);
// What the formats of a layer's matrices follow from.
typedef struct ImportFormats {
    int asked;  // as import_format has it
    const char *dtype;  // of tensors that are not at hand, as the configuration says; NULL: it does not
    const json_t *described;  // by import_tensors_describe
    const ImportRun *run;
    const ImportCheckpoint *checkpoint;
} ImportFormats;
// Sets the keys of a layer's description that name formats, and notes the dtypes in `stored`.
void import_formats_set(const ImportFormats *formats, const Layer *layer, json_t *entry, ImportStored *stored);
// Presence, dtype and shape of every tensor that the description names.
bool import_tensors_check(const Model *model, const ImportCheckpoint *checkpoint, Diagnostics *diagnostics);

// Finds the file of a Megatron checkpoint: `path` itself, or the one in the folder `path`. Returns false if `path` is not such a
// checkpoint; with diagnostics if it is one that cannot be read.
bool import_megatron_find(const char *path, char *file, size_t size, Diagnostics *diagnostics);
extern const ImportFamily import_megatron;
// Gives the tensors that hold all experts side by side (GroupedMLP) the shape that their elements lie in. False with diagnostics.
bool import_megatron_stack(TorchCheckpoint *torch, const char *path, Diagnostics *diagnostics);
// Writes the tensors of sparse layers as safetensors and compares them with `model`. Returns 0, or -1 with diagnostics and no file.
int import_megatron_write(TorchCheckpoint *torch, const char *path, const Model *model, const char *output,
                          Diagnostics *diagnostics);

// JSON as a person would write it: what fits on a line is on one. Owned by the caller.
char *import_text(const json_t *value);
// What a layer of a description says, in words.
void import_summary_layer(const ModelLayer *layer, FILE *stream);

#endif
