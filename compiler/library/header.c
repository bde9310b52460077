// The generated header: a text with the library's name put in ($n as it is, $N in capitals), and constants for each layer.
// It is the users' only view of runtime/library.h and must agree with it in every type; tests/test_runtime.c and
// tests/test_importance.c compare them.
#include "header.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#ifndef CATENA_VERSION
#define CATENA_VERSION "0"
#endif

static const char header_begin[] =
    "// $n: sparse-expert layers compiled by catena. Generated; do not edit.\n"
    "//\n"
    "// An instance holds packed weights, a workspace and a number of threads. Open one, call forward as often as needed, close "
    "it:\n"
    "//\n"
    "//     $n *model = NULL;\n"
    "//     char error[256];\n"
    "//     if ($n_open(\"model.safetensors\", NULL, &model, error, sizeof error) != $N_OK) { ... }\n"
    "//     int layer = $n_layer(model, \"NAME\", 0);\n"
    "//     if ($n_forward(model, layer, tokens, x, hidden, y, hidden) < 0) { puts($n_error(model)); }\n"
    "//     $n_close(model);\n"
    "//\n"
    "// Threads: an instance is used by one caller at a time (a second one gets $N_BUSY and nothing happens); any number of\n"
    "// instances may be used side by side, from any threads. Work is done by an OpenMP team that is shared with the rest of the\n"
    "// process. Called inside an OpenMP parallel region, a forward usually runs on the calling thread alone; the bits are the "
    "same.\n"
    "// After fork(), parent and child may both use instances, with all their threads; one that was in use during the fork stays\n"
    "// $N_BUSY in the child. A fork within an OpenMP parallel region is not supported.\n"
    "// Results do not depend on the number of threads, on the batch, or on how tokens are split into calls: bit for bit.\n"
    "// Nothing here prints, exits or keeps global state. forward allocates nothing. Text is UTF-8.\n"
    "#ifndef $N_H\n"
    "#define $N_H\n"
    "\n"
    "#include <stddef.h>\n"
    "#include <stdint.h>\n"
    "\n"
    "#ifdef __cplusplus\n"
    "extern \"C\" {\n"
    "#endif\n"
    "\n"
    "// An open instance. Only handled by pointer.\n"
    "typedef struct $n $n;\n"
    "\n"
    "// What the functions return (as int, so that a later version can add values). Below 0: an error, nothing was computed.\n"
    "enum $n_status {\n"
    "    $N_OK = 0,\n"
    "    $N_NONFINITE = 1,          // done; but some tokens had router logits that are NaN or infinite: their rows of y are NaN,\n"
    "                               // their experts -1, all other rows are right. $n_nonfinite says how many and which first\n"
    "    $N_INVALID_ARGUMENT = -1,  // an argument is out of its range, see each function\n"
    "    $N_UNSUPPORTED_CPU = -2,   // the library was compiled for instructions that this CPU (or its system) lacks\n"
    "    $N_BAD_WEIGHTS = -3,       // the file is damaged, of another layout or library, lacks a tensor, or holds a NaN\n"
    "    $N_IO_ERROR = -4,          // the operating system could not read or write a file\n"
    "    $N_OUT_OF_MEMORY = -5,\n"
    "    $N_BUSY = -6               // another thread is inside a call with this instance\n"
    "};\n"
    "\n"
    "// How to open. Start from $N_OPTIONS_INIT, which sets every default.\n"
    "typedef struct $n_options {\n"
    "    size_t size;         // sizeof($n_options)\n"
    "    int32_t threads;     // threads of a forward and of packing, the caller's included; 0: all physical cores that this\n"
    "                         // process may use (its affinity mask and its cgroup's CPU quota), or as many as tuning found best\n"
    "    int32_t check;       // 1: compare packed weights with their checksums while opening (reads all of them)\n"
    "    int64_t max_tokens;  // tokens that go through a layer together, which sets the size of the workspace; more are "
    "processed\n"
    "                         // in chunks with the same bits. 0: the compiler's choice, which can be lowered, not raised\n"
    "    const char *cache;   // when a checkpoint is opened: a packed file that is made the first time and mapped from then on.\n"
    "                         // It is made anew when it was packed from other files than the checkpoint's (names, sizes, times\n"
    "                         // of change and headers are compared). NULL: the weights are packed into memory\n"
    "    int32_t bind;        // bind the worker threads to cores, never the caller's thread. 1: to cores that share caches, 2: "
    "to\n"
    "                         // the last-level caches in turn; -1: no binding; 0: none unless tuning found that it helps\n"
    "    int32_t huge_pages;  // huge pages for the workspace and for weights packed into memory: 1 yes, -1 no, 0 yes unless\n"
    "                         // tuning found that they do not help\n"
    "    int32_t interleave;  // 1: spread weights packed into memory over the machine's memory nodes, page by page\n"
    "} $n_options;\n"
    "#define $N_OPTIONS_INIT {sizeof($n_options), 0, 0, 0, NULL, 0, 0, 0}\n"
    "\n";

// After the constants of the layers, which it refers to.
static const char header_extra[] =
    "// What a router did in one iteration of a forward. T: tokens of the call, without those whose logits were not finite in any\n"
    "// iteration; E: a token's choices (CHOICES above: experts, identity experts, null experts); s: the scores; p: the scores of "
    "a token\n"
    "// divided by their sum (0 if that is 0; softmax as it is); n_e: tokens that chose e; k: EXPECTED_K above. Computed in "
    "double, one\n"
    "// token after the other: the bits depend on the scores alone, not on threads or chunks. All zero if T is 0.\n"
    "typedef struct $n_figures {\n"
    "    double sparsity;          // 1 - routed / (T E), as in ReMoE (Wang et al., 2024)\n"
    "    double l1;                // E / (k T^2) sum_e (sum_t s_te) n_e: ReMoE's load-balanced L1 term before lambda\n"
    "    double balance_switch;    // E sum_e (n_e / T) (mean_t p_te): Switch Transformers (Fedus et al., 2021), equation 4, "
    "without its\n"
    "                              // factor; several choices per token count as in transformers' load_balancing_loss_func\n"
    "    double balance_sequence;  // mean over sequences of sum_e (E n_e / (k T)) (mean_t p_te), n, T and mean within the "
    "sequence:\n"
    "                              // DeepSeek-V3 (2024), equations 17 to 20, without its factor alpha\n"
    "    double entropy;           // mean_t of - sum_e p_te ln p_te, in nats: ln E if all choices are alike, 0 if one has "
    "everything\n"
    "    int64_t routed;           // sum of n_e: (token, choice) pairs\n"
    "} $n_figures;\n"
    "\n"
    "// What $n_forward_with is given and returns beyond x and y. Start from $N_EXTRA_INIT, which asks for nothing. Each "
    "pointer\n"
    "// may be NULL. All memory is the caller's, used only during the call, and aligned to its elements. k is TOP_K of the layer. "
    "An\n"
    "// output must not overlap another output, an input, x or y (of which the gaps between rows are part). A token whose logits "
    "were\n"
    "// not finite in any iteration: its experts are -1 from that iteration on, its scores are NaN in all iterations, earlier ones "
    "too,\n"
    "// and load and figures leave it out of all iterations.\n"
    "typedef struct $n_extra {\n"
    "    size_t size;                   // sizeof($n_extra)\n"
    "    int32_t *experts;              // out, [iterations][tokens][k]: as from $n_forward_routing\n"
    "    float *weights;                // out, [iterations][tokens][k]: as from $n_forward_routing\n"
    "    const int32_t *given_experts;  // in, [iterations][tokens][k], both or neither: routing that replaces the router's, as "
    "for\n"
    "    const float *given_weights;    // $n_forward_routed. No router runs: load is the only other output that may be asked\n"
    "                                   // for, and k and importance must be NULL\n"
    "    const int32_t *k;              // in, [tokens], K_MIN..TOP_K: how many choices each token makes in every iteration. Only "
    "for\n"
    "                                   // layers whose description says \"k_per_token\": true; without it every token makes "
    "TOP_K\n"
    "    const float *importance;       // in, [tokens], each within 0..1, instead of k, which becomes\n"
    "                                   // clamp(ceil(importance * EXPERTS), K_MIN, TOP_K), the product rounded to float: DA-MoE's "
    "rule\n"
    "    int64_t *load;                 // out, [iterations][CHOICES]: how many tokens chose each, without those whose logits were "
    "not\n"
    "                                   // finite in any iteration\n"
    "    float *scores;                 // out, [iterations][tokens][CHOICES]: scores of all choices, before selection, "
    "normalisation\n"
    "                                   // and scale\n"
    "    $n_figures *figures;      // out, [iterations]\n"
    "    size_t figures_size;           // sizeof($n_figures), which $N_EXTRA_INIT sets: a later library may have "
    "more figures\n"
    "    int64_t sequence_tokens;       // for figures' balance_sequence, not without figures: consecutive tokens that are one "
    "sequence\n"
    "                                   // (the last may be shorter); 0: all tokens are one\n"
    "} $n_extra;\n"
    "#define $N_EXTRA_INIT {sizeof($n_extra), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \\\n"
    "                       sizeof($n_figures), 0}\n"
    "\n"
    "// How $n_importance makes importances; A is the mean of the attention over its heads.\n"
    "enum $n_importance_rule {\n"
    "    $N_RECEIVE_MAX = 0,  // of each key: the largest A over queries, what some query pays to that token\n"
    "    $N_RECEIVE_SUM = 1,  // of each key: the sum of A over queries, but at most 1\n"
    "    $N_GIVE_MAX = 2      // of each query: the largest A over keys\n"
    "};\n"
    "\n";

static const char header_functions[] =
    "// --- opening and closing ---\n"
    "// `error` (may be NULL) receives a text of at most error_size bytes, its zero included: what was found, where, what was\n"
    "// expected; it is empty on success. `options` may be NULL.\n"
    "\n"
    "// Opens with weights from a file: packed ones ($n_pack or `catena pack`), which are mapped and need no memory of their own; "
    "or a\n"
    "// checkpoint (.safetensors, a directory with model.safetensors or model.safetensors.index.json), which is packed first.\n"
    "// The file must not be changed in place while the instance is open; replacing it by another is fine.\n"
    "// *out is NULL on failure. Fails with any error but BUSY.\n"
    "int $n_open(const char *weights, const $n_options *options, $n **out, char *error, size_t error_size);\n"
    "\n"
    "// The same with a packed file's bytes in memory, aligned to 64 bytes. They stay the caller's, are not copied, and must "
    "remain\n"
    "// unchanged until the instance is closed. Instances may share them.\n"
    "int $n_open_memory(const void *packed, size_t bytes, const $n_options *options, $n **out, char *error, size_t error_size);\n"
    "\n"
    "// Packs a checkpoint into a file: written under a temporary name, renamed when complete; a file at `path` is replaced, or "
    "left\n"
    "// as it was on failure. INVALID_ARGUMENT, BAD_WEIGHTS, IO_ERROR, OUT_OF_MEMORY.\n"
    "int $n_pack(const char *weights, const char *path, char *error, size_t error_size);\n"
    "\n"
    "// Frees an instance; NULL is allowed. No call with it may be running, and texts from $n_error end with it.\n"
    "void $n_close($n *instance);\n"
    "\n"
    "// --- running ---\n"
    "\n"
    "// Number of a layer: the index-th (from 0) of those named `name`. -1: there is none.\n"
    "int $n_layer(const $n *instance, const char *name, int64_t index);\n"
    "\n"
    "// y = layer(x). x and y are [tokens][hidden] with x_stride and y_stride elements (>= hidden) between rows, of the layer's\n"
    "// activation type (see the constants above), aligned to their elements. They may be the same matrix with the same stride\n"
    "// (in place; for one token the strides do not matter); rows that overlap in any other way are an error. tokens = 0 does\n"
    "// nothing and succeeds.\n"
    "// OK, NONFINITE, INVALID_ARGUMENT (no such layer, tokens < 0, NULL, stride, alignment, overlap), BUSY.\n"
    "int $n_forward($n *instance, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y, int64_t y_stride);\n"
    "\n"
    "// The same, and says how tokens were routed: experts and weights are [iterations][tokens][top_k], the weights as applied. "
    "The\n"
    "// experts of a token stand in the order in which they were chosen: the best ranked first (by the score or logit, plus the\n"
    "// correction if there is one, which need not be the order of weights), the lower index first of equal ones; but in "
    "ascending\n"
    "// order of index where a threshold chooses from all (TOP_K is CHOICES). Slots that were not used come last and hold -1 and "
    "0.\n"
    "// The rules of $n_extra for memory hold for them, too.\n"
    "int $n_forward_routing($n *instance, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y, int64_t y_stride,\n"
    "                       int32_t *experts, float *weights);\n"
    "\n"
    "// The same with the routing given instead of computed: no router runs. Experts are -1 (slot not used, anywhere) or\n"
    "// 0..CHOICES-1 and differ within a token; weights are finite. Otherwise INVALID_ARGUMENT, before anything is computed.\n"
    "// The order within a token does not matter: experts are combined in ascending order.\n"
    "int $n_forward_routed($n *instance, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y, int64_t y_stride,\n"
    "                      const int32_t *experts, const float *weights);\n"
    "\n"
    "// $n_forward, with everything in `extra` (NULL: nothing): see $n_extra. What is asked for costs time alone:\n"
    "// no memory is allocated, and y has the same bits.\n"
    "// Returns what $n_forward returns; INVALID_ARGUMENT also for inputs that exclude each other or that this layer does not "
    "take, for memory that\n"
    "// overlaps or is not aligned, for k, importances and routing out of their ranges (the text names the token and the value).\n"
    "// Nothing is computed then, and nothing written.\n"
    "int $n_forward_with($n *instance, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y, int64_t y_stride,\n"
    "                    const $n_extra *extra);\n"
    "\n"
    "// Tokens of the last forward whose router logits were not finite; *first (may be NULL) receives the first one's number, or "
    "-1.\n"
    "int64_t $n_nonfinite(const $n *instance, int64_t *first);\n"
    "\n"
    "// Text of the last call with this instance that returned neither OK nor BUSY. It belongs to the instance and changes with "
    "the\n"
    "// next such call.\n"
    "const char *$n_error(const $n *instance);\n"
    "\n"
    "// What was compiled, as JSON: versions, target, description and plans. Needs no instance and runs on any CPU.\n"
    "const char *$n_describe(void);\n"
    "\n"
    "// --- helpers for research layers: they need no instance, keep no state and may be called from any thread ---\n"
    "\n"
    "// Importances of tokens from attention probabilities [heads][queries][keys] of float, each within 0..1, by one of the rules "
    "of\n"
    "// enum $n_importance_rule. `importance` receives one float within 0..1 per key (RECEIVE) or per query (GIVE). In a layer "
    "with\n"
    "// self-attention over one whole text queries, keys and tokens are the same; with a cache of earlier keys the call's tokens "
    "are the\n"
    "// last ones. That DA-MoE's importance is made from attention in these ways is our reading: its paper gives an example, not "
    "code.\n"
    "// Takes heads * queries * keys steps on the calling thread.\n"
    "// OK, or INVALID_ARGUMENT with nothing written: NULL, a size below 1, no such rule, a probability that is NaN or outside "
    "0..1.\n"
    "int $n_importance(const float *attention, int64_t heads, int64_t queries, int64_t keys, int rule, float *importance);\n"
    "\n"
    "// ReMoE's control of lambda, once per training step and layer: 1.2 * lambda if sparsity < target, else lambda / 1.2 (Wang et "
    "al.,\n"
    "// 2024). sparsity: figures.sparsity; target: 1 - k / E for k experts per token wanted, e.g. EXPECTED_K; lambda "
    "starts\n"
    "// at 1e-8. The loss that lambda multiplies is figures.l1.\n"
    "double $n_adapt_lambda(double lambda, double sparsity, double target);\n"
    "\n"
    "#ifdef __cplusplus\n"
    "}\n"
    "#endif\n"
    "\n"
    "#endif\n";

static void write_upper(const char *text, FILE *stream) {
    for (; *text; text++) {
        fputc(isalnum((unsigned char)*text) ? toupper((unsigned char)*text) : '_', stream);
    }
}

static void write_text(const char *text, const char *name, FILE *stream) {
    for (; *text; text++) {
        if (text[0] == '$' && text[1] == 'n') {
            fputs(name, stream);
            text++;
        } else if (text[0] == '$' && text[1] == 'N') {
            write_upper(name, stream);
            text++;
        } else {
            fputc(*text, stream);
        }
    }
}

static void write_constant(const Model *model, const ModelLayer *layer, const char *key, int64_t value, FILE *stream) {
    fputs("#define ", stream);
    write_upper(model->name, stream);
    fputc('_', stream);
    write_upper(layer->name, stream);
    fprintf(stream, "_%s INT64_C(%lld)\n", key, (long long)value);
}

static void write_layer(const Model *model, const ModelLayer *row, FILE *stream) {
    const Layer *layer = &row->layer;
    const char *type = layer->activations == INTERFACE_BF16 ? "bf16 (uint16_t, the upper half of a float)" : "float";
    fprintf(stream, "// Layer \"%s\" (%lld of them): x and y are %s [tokens][%lld]", row->name, (long long)row->count, type,
            (long long)layer->hidden);
    bool fixed = !layer->k_per_token && selection_facts[layer->selection].takes_k;
    fprintf(stream, "; %s%lld of %lld %s per token in each of %lld iteration%s", fixed ? "" : "up to ", (long long)layer->top_k,
            (long long)layer_choices(layer), layer_choices(layer) > layer->experts ? "choices" : "experts",
            (long long)layer->iterations, layer->iterations == 1 ? "" : "s");
    if (layer->shared_experts) {
        fprintf(stream, ", and %lld shared", (long long)layer->shared_experts);
    }
    fputs(".\n", stream);
    write_constant(model, row, "COUNT", row->count, stream);
    write_constant(model, row, "HIDDEN", layer->hidden, stream);
    write_constant(model, row, "ITERATIONS", layer->iterations, stream);
    write_constant(model, row, "EXPERTS", layer->experts, stream);
    write_constant(model, row, "CHOICES", layer_choices(layer), stream);
    write_constant(model, row, "TOP_K", layer->top_k, stream);
    if (layer->k_per_token) {
        write_constant(model, row, "K_MIN", layer->k_min, stream);
    }
    write_constant(model, row, "EXPECTED_K", layer->expected_k, stream);
    write_constant(model, row, "ELEMENT_BYTES", interface_bytes[layer->activations], stream);
    fputc('\n', stream);
}

int header_write(const Model *model, FILE *stream) {
    write_text(header_begin, model->name, stream);
    for (int64_t i = 0; i < model->layer_count; i++) {
        write_layer(model, &model->layers[i], stream);
    }
    write_text(header_extra, model->name, stream);
    write_text(header_functions, model->name, stream);
    return ferror(stream) ? -1 : 0;
}

// A path as pkg-config reads it: blanks, quotes and the like need a backslash.
static void write_path(const char *path, FILE *stream) {
    for (; *path; path++) {
        if (strchr(" \t\"'\\()#&;|<>*?`", *path)) {
            fputc('\\', stream);
        }
        fputc(*path, stream);
    }
}

int header_write_pkgconfig(const Model *model, const char *directory, FILE *stream) {
    char *absolute = realpath(directory, NULL);  // programs are built elsewhere, and the run path must not depend on where
    if (!absolute) {
        return -1;
    }
    fputs("directory=", stream);
    write_path(absolute, stream);
    free(absolute);
    fprintf(stream, "\n\nName: %s\nDescription: sparse-expert layers compiled by catena\nVersion: %s\n", model->name,
            CATENA_VERSION);
    fprintf(stream, "Cflags: -I${directory}\nLibs: -L${directory} -Wl,-rpath,${directory} -l%s\n", model->name);
    return ferror(stream) ? -1 : 0;
}
