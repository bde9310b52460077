// The generated header: a text with the library's name put in ($n as it is, $N in capitals, $i what names the interface), and
// constants for each layer. It is the users' only view of runtime/library.h and must agree with it in every type;
// tests/test_runtime.c and tests/test_importance.c compare them.
#define _GNU_SOURCE 1
#define XXH_INLINE_ALL
#include "header.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

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
    "// instances may be used side by side, from any threads. Work is done by an OpenMP team that is shared with every part of\n"
    "// the process that uses the same file libgomp.so.1; a libgomp of another name (Python wheels) has a team of its own. Called "
    "inside an OpenMP parallel region, a forward usually runs on the calling thread alone; the bits are the "
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
    "// The functions that open have symbols that name the layers which this header describes. A program that was compiled\n"
    "// with the header of other layers is not linked (\"undefined reference to $n_open_...\"), and does not start.\n"
    "#ifdef __GNUC__\n"
    "#define $N_SYMBOL(function) __asm__(function \"_$i\")\n"
    "#else\n"
    "#define $N_SYMBOL(function)\n"
    "#endif\n"
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
    "// What a router did in one iteration of a forward. In the formulas\n"
    "// T    tokens of the call, without those whose logits were not finite in any iteration,\n"
    "// E    a token's choices: CHOICES above, which are experts, identity experts and null experts,\n"
    "// s    the scores,\n"
    "// p    the scores of a token divided by their sum; 0 if the sum is 0; of softmax the scores as they are,\n"
    "// n_e  the number of tokens that chose e,\n"
    "// k    EXPECTED_K above.\n"
    "// Sums are computed in double, one token after the other, so the bits depend on the scores alone, not on threads or\n"
    "// chunks. If T is 0, all figures are 0.\n"
    "typedef struct $n_figures {\n"
    "    double sparsity;          // 1 - routed / (T E), as in ReMoE (Wang et al., 2024)\n"
    "    double l1;                // E / (k T^2) sum_e (sum_t s_te) n_e: ReMoE's load-balanced L1 term before lambda\n"
    "    double balance_switch;    // E sum_e (n_e / T) (mean_t p_te): Switch Transformers (Fedus et al., 2021), equation 4, "
    "without its\n"
    "                              // factor; several choices per token count as in transformers' load_balancing_loss_func\n"
    "    double balance_sequence;  // mean over sequences of sum_e (E n_e / (k T)) (mean_t p_te), n, T and mean within the "
    "sequence:\n"
    "                              // DeepSeek-V3 (2024), equations 17 to 20, without its factor alpha\n"
    "    double entropy;           // mean_t of - sum_e p_te ln p_te, in nats: ln E where all scores of every token are equal,\n"
    "                              // 0 where every token has one choice with a score above 0\n"
    "    int64_t routed;           // sum of n_e: (token, choice) pairs\n"
    "} $n_figures;\n"
    "\n"
    "// What $n_forward_with is given and returns beyond x and y. Start from $N_EXTRA_INIT, which asks for nothing. Each\n"
    "// pointer may be NULL. All memory is the caller's, is used during the call only, and is aligned to its elements. k is\n"
    "// TOP_K of the layer. An output must not overlap another output, an input, x or y. The gaps between the rows of x and\n"
    "// y belong to these.\n"
    "// Where the logits of a token are not finite in some iteration, its experts are -1 from that iteration on, and its\n"
    "// scores are NaN in all iterations, also in earlier ones. load and figures do not count this token in any iteration.\n"
    "typedef struct $n_extra {\n"
    "    size_t size;                   // sizeof($n_extra)\n"
    "    int32_t *experts;              // out, [iterations][tokens][k]: as from $n_forward_routing\n"
    "    float *weights;                // out, [iterations][tokens][k]: as from $n_forward_routing\n"
    "    const int32_t *given_experts;  // in, [iterations][tokens][k]: routing that replaces the router's, as for\n"
    "                                   // $n_forward_routed. Set both pointers or neither\n"
    "    const float *given_weights;    // in, the same shape. No router runs: only load may be asked for, and k and\n"
    "                                   // importance must be NULL\n"
    "    const int32_t *k;              // in, [tokens], K_MIN..TOP_K: how many choices each token makes in every iteration. Only\n"
    "                                   // for layers whose description has \"k_per_token\": true. NULL: every token makes TOP_K\n"
    "    const float *importance;       // in, [tokens], each within 0..1. It takes the place of k: a token makes\n"
    "                                   // clamp(ceil(importance * EXPERTS), K_MIN, TOP_K) choices (DA-MoE's rule). The product\n"
    "                                   // is rounded to float before ceil\n"
    "    int64_t *load;                 // out, [iterations][CHOICES]: how many tokens chose each, without those whose logits were "
    "not\n"
    "                                   // finite in any iteration\n"
    "    float *scores;                 // out, [iterations][tokens][CHOICES]: scores of all choices, before selection, "
    "normalisation\n"
    "                                   // and scale\n"
    "    $n_figures *figures;      // out, [iterations]\n"
    "    size_t figures_size;           // sizeof($n_figures), which $N_EXTRA_INIT sets: a later library may have "
    "more figures\n"
    "    int64_t sequence_tokens;       // for balance_sequence of figures; must be 0 without figures. This number of\n"
    "                                   // consecutive tokens is one sequence; the last may be shorter. 0: all tokens are one\n"
    "} $n_extra;\n"
    "#define $N_EXTRA_INIT {sizeof($n_extra), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \\\n"
    "                       sizeof($n_figures), 0}\n"
    "\n"
    "// How $n_importance makes importances; A is the mean of the attention over its heads.\n"
    "enum $n_importance_rule {\n"
    "    $N_RECEIVE_MAX = 0,  // of each key: the largest A over queries\n"
    "    $N_RECEIVE_SUM = 1,  // of each key: the sum of A over queries, but at most 1\n"
    "    $N_GIVE_MAX = 2      // of each query: the largest A over keys\n"
    "};\n"
    "\n";

static const char header_functions[] =
    "// --- opening and closing ---\n"
    "// `error` receives a text of at most error_size bytes, its final zero included. The text says what was found, where,\n"
    "// and what was expected. It is empty on success. `error` and `options` may be NULL.\n"
    "\n"
    "// Opens with weights from a file. Packed files ($n_pack or `catena pack` makes them) are mapped and need no memory of\n"
    "// their own. A checkpoint is packed first: a .safetensors file, or a directory with\n"
    "// model.safetensors, model.safetensors.index.json or shards (model-00001-of-00002.safetensors). The file must not be\n"
    "// changed in place while the instance is open. It may be replaced by another file.\n"
    "// Returns OK or any error but BUSY. On an error *out is NULL.\n"
    "int $n_open(const char *weights, const $n_options *options, struct $n **out, char *error, size_t error_size)\n"
    "    $N_SYMBOL(\"$n_open\");\n"
    "\n"
    "// The same with a packed file's bytes in memory, aligned to 64 bytes. They stay the caller's, are not copied, and must "
    "remain\n"
    "// unchanged until the instance is closed. Instances may share them.\n"
    "int $n_open_memory(const void *packed, size_t bytes, const $n_options *options, struct $n **out, char *error, size_t "
    "error_size)\n"
    "    $N_SYMBOL(\"$n_open_memory\");\n"
    "\n"
    "// Packs a checkpoint into a file. The file is written under a temporary name and renamed when it is complete. A file\n"
    "// that was at `path` is then replaced; on failure it stays as it was.\n"
    "// Returns OK, INVALID_ARGUMENT, BAD_WEIGHTS, IO_ERROR or OUT_OF_MEMORY.\n"
    "int $n_pack(const char *weights, const char *path, char *error, size_t error_size);\n"
    "\n"
    "// Frees an instance; NULL is allowed. No call with the instance may be running. Texts from $n_error become invalid.\n"
    "void $n_close($n *instance);\n"
    "\n"
    "// --- running ---\n"
    "\n"
    "// Returns the number of a layer: the index-th (from 0) of the layers named `name`; -1 if there is none.\n"
    "int $n_layer(const $n *instance, const char *name, int64_t index);\n"
    "\n"
    "// y = layer(x). x and y are [tokens][hidden], of the layer's activation type (see the constants above), and aligned\n"
    "// to their elements. The strides are the elements from one row to the next, at least hidden. x and y may be the same\n"
    "// matrix with the same stride; for one token the strides do not matter. Rows that overlap in any other way are an\n"
    "// error. With 0 tokens nothing happens, and the call succeeds.\n"
    "// Returns OK, NONFINITE, BUSY, or INVALID_ARGUMENT: no such layer, tokens below 0, a NULL, a wrong stride or\n"
    "// alignment, an overlap, rows that no memory can hold, or (looked up from 256 MiB on) that are not mapped.\n"
    "int $n_forward($n *instance, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y, int64_t y_stride);\n"
    "\n"
    "// The same, and says how tokens were routed. experts and weights are [iterations][tokens][top_k]; weights are those\n"
    "// that were applied. A token's experts stand in the order of their ranks, the best first. The rank is the score or\n"
    "// logit, plus the correction if the layer has one, so it need not be the order of weights. Of equal ranks the lower\n"
    "// index comes first. Where a threshold chooses from all (TOP_K is CHOICES), experts stand in ascending order of\n"
    "// index. Slots that were not used come last and hold -1 and 0. What $n_extra says about memory holds for experts and\n"
    "// weights, too.\n"
    "int $n_forward_routing($n *instance, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y, int64_t y_stride,\n"
    "                       int32_t *experts, float *weights);\n"
    "\n"
    "// The same with the routing given instead of computed: no router runs. An expert is -1 (a slot that is not used, in\n"
    "// any place) or within 0..CHOICES-1. The experts of a token differ, and weights are finite. Anything else is\n"
    "// INVALID_ARGUMENT before anything is computed. The order within a token does not matter: experts are combined in\n"
    "// ascending order.\n"
    "int $n_forward_routed($n *instance, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y, int64_t y_stride,\n"
    "                      const int32_t *experts, const float *weights);\n"
    "\n"
    "// $n_forward with the inputs and outputs of `extra`; NULL: none. No memory is allocated, and y has the same bits.\n"
    "// Returns what $n_forward returns. It is INVALID_ARGUMENT also for\n"
    "// - inputs that exclude each other, or that this layer does not take,\n"
    "// - memory that overlaps, is not aligned, or cannot be there,\n"
    "// - k, importances and routing that are out of range; the text names the token and the value.\n"
    "// Then nothing is computed or written.\n"
    "int $n_forward_with($n *instance, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y, int64_t y_stride,\n"
    "                    const $n_extra *extra);\n"
    "\n"
    "// Returns the number of tokens of the last forward whose router logits were not finite. *first receives the index of\n"
    "// the first one, or -1; `first` may be NULL.\n"
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
    "// Makes importances of tokens from attention probabilities, float [heads][queries][keys], each within 0..1, by a rule\n"
    "// of enum $n_importance_rule. `importance` receives one float within 0..1 for each key (RECEIVE) or each query (GIVE).\n"
    "// In a layer with self-attention over one whole text, queries, keys and tokens are the same. With a cache of earlier\n"
    "// keys the call's tokens are the last keys. DA-MoE's paper gives an example of importances, no code: these rules are\n"
    "// our reading. The call takes heads * queries * keys steps on the calling thread.\n"
    "// Returns OK, or INVALID_ARGUMENT with nothing written: a NULL, a size below 1, no such rule, `importance`\n"
    "// overlaps attention, a probability that is NaN or outside 0..1.\n"
    "int $n_importance(const float *attention, int64_t heads, int64_t queries, int64_t keys, int rule, float *importance);\n"
    "\n"
    "// ReMoE's control of lambda (Wang et al., 2024), once per training step and layer. Returns 1.2 * lambda if sparsity\n"
    "// is below target, else lambda / 1.2. sparsity is figures.sparsity. target is 1 - k / E, where k experts per token\n"
    "// are wanted, for example EXPECTED_K. lambda starts at 1e-8. The loss that lambda multiplies is figures.l1.\n"
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

static void write_text(const char *text, const char *name, const char *interface, FILE *stream) {
    for (; *text; text++) {
        if (text[0] == '$' && text[1] == 'n') {
            fputs(name, stream);
            text++;
        } else if (text[0] == '$' && text[1] == 'N') {
            write_upper(name, stream);
            text++;
        } else if (text[0] == '$' && text[1] == 'i') {
            fputs(interface, stream);
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

static void write_layers(const Model *model, FILE *stream) {
    for (int64_t i = 0; i < model->layer_count; i++) {
        write_layer(model, &model->layers[i], stream);
    }
}

int header_interface(const Model *model, char name[HEADER_INTERFACE_BYTES]) {
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    if (stream) {
        write_layers(model, stream);
    }
    int failed = !stream || ferror(stream) | fclose(stream);
    if (!failed) {
        snprintf(name, HEADER_INTERFACE_BYTES, "%016llx", (unsigned long long)XXH64(text, size, 0));
    }
    free(text);
    return failed ? -1 : 0;
}

int header_write(const Model *model, FILE *stream) {
    char interface[HEADER_INTERFACE_BYTES];
    if (header_interface(model, interface)) {
        return -1;
    }
    write_text(header_begin, model->name, interface, stream);
    write_layers(model, stream);
    write_text(header_extra, model->name, interface, stream);
    write_text(header_functions, model->name, interface, stream);
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
