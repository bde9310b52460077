// The generated header: a text with the library's name put in ($n as it is, $N in capitals), and constants for each layer.
// It is the users' only view of runtime/library.h and must agree with it in every type; tests/test_header.c compares them.
#include "header.h"

#include <ctype.h>
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
    "// After fork(), a child may use an instance only if it was opened with one thread.\n"
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
    "// How to open. Start from $N_OPTIONS_INIT, which is the default of everything.\n"
    "typedef struct $n_options {\n"
    "    size_t size;         // sizeof($n_options)\n"
    "    int32_t threads;     // threads of a forward and of packing, the caller's included; 0: all physical cores that this\n"
    "                         // process may use (its affinity mask and its cgroup's CPU quota)\n"
    "    int32_t check;       // 1: compare packed weights with their checksums while opening (reads all of them)\n"
    "    int64_t max_tokens;  // tokens that go through a layer together, which sets the size of the workspace; more are "
    "processed\n"
    "                         // in chunks with the same bits. 0: the compiler's choice, which can be lowered, not raised\n"
    "    const char *cache;   // when a checkpoint is opened: a packed file that is made the first time and mapped from then on.\n"
    "                         // It is made anew when it was packed from other files than the checkpoint's (names, sizes, times\n"
    "                         // of change and headers are compared). NULL: the weights are packed into memory\n"
    "    int32_t bind;        // 1: bind the worker threads to cores, never the caller's thread\n"
    "    int32_t huge_pages;  // 1: ask for huge pages for the workspace and for weights packed into memory\n"
    "} $n_options;\n"
    "#define $N_OPTIONS_INIT {sizeof($n_options), 0, 0, 0, NULL, 0, 0}\n"
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
    "// as it was on failure. Not after fork() in a program that uses OpenMP. INVALID_ARGUMENT, BAD_WEIGHTS, IO_ERROR,\n"
    "// OUT_OF_MEMORY.\n"
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
    "// The same, and says how tokens were routed: experts and weights are [iterations][tokens][top_k], the experts of a token in\n"
    "// order of descending score, the weights as they multiplied the experts' outputs. A slot that was not used holds -1 and 0.\n"
    "int $n_forward_routing($n *instance, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y, int64_t y_stride,\n"
    "                       int32_t *experts, float *weights);\n"
    "\n"
    "// The same with the routing given instead of computed: no router runs. Experts are -1 (slot not used) or 0..EXPERTS-1 and\n"
    "// differ within a token; weights are finite. Otherwise INVALID_ARGUMENT, before anything is computed.\n"
    "// The order within a token does not matter: experts are combined in ascending order.\n"
    "int $n_forward_routed($n *instance, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y, int64_t y_stride,\n"
    "                      const int32_t *experts, const float *weights);\n"
    "\n"
    "// Tokens of the last forward whose router logits were not finite; *first (may be NULL) is the first of them, or -1.\n"
    "int64_t $n_nonfinite(const $n *instance, int64_t *first);\n"
    "\n"
    "// Text of the last call with this instance that did not return OK or BUSY. The instance's; changed by the next such call.\n"
    "const char *$n_error(const $n *instance);\n"
    "\n"
    "// What was compiled, as JSON: versions, target, description and plans. Needs no instance and runs on any CPU.\n"
    "const char *$n_describe(void);\n"
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
    const char *type = layer->activations == FORMAT_BF16 ? "bf16 (uint16_t, the upper half of a float)" : "float";
    fprintf(stream, "// Layer \"%s\" (%lld of them): x and y are %s [tokens][%lld]", row->name, (long long)row->count, type,
            (long long)layer->hidden);
    fprintf(stream, "; %lld of %lld experts per token in each of %lld iteration%s", (long long)layer->top_k,
            (long long)layer->experts, (long long)layer->iterations, layer->iterations == 1 ? "" : "s");
    if (layer->shared_experts) {
        fprintf(stream, ", and %lld shared", (long long)layer->shared_experts);
    }
    fputs(".\n", stream);
    write_constant(model, row, "COUNT", row->count, stream);
    write_constant(model, row, "HIDDEN", layer->hidden, stream);
    write_constant(model, row, "ITERATIONS", layer->iterations, stream);
    write_constant(model, row, "EXPERTS", layer->experts, stream);
    write_constant(model, row, "TOP_K", layer->top_k, stream);
    write_constant(model, row, "ELEMENT_BYTES", format_bytes((Format)layer->activations), stream);
    fputc('\n', stream);
}

int header_write(const Model *model, FILE *stream) {
    write_text(header_begin, model->name, stream);
    for (int64_t i = 0; i < model->layer_count; i++) {
        write_layer(model, &model->layers[i], stream);
    }
    write_text(header_functions, model->name, stream);
    return ferror(stream) ? -1 : 0;
}

// A path as pkg-config reads it: blanks, quotes and the like need a backslash, and "$" doubles.
static void write_path(const char *path, FILE *stream) {
    for (; *path; path++) {
        if (*path == '$') {
            fputc('$', stream);
        } else if (strchr(" \t\"'\\()#&;|<>*?`", *path)) {
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
