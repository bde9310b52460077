// The safetensors reader against hostile files; and packing from checkpoints: names, shapes, dtypes, NaN.
// Over 500 lines: most of it is the table of hostile headers.
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compiler/plan/text.h"
#include "runtime/file.h"
#include "runtime/instance.h"
#include "runtime/weights.h"
#include "shell.h"
#include "suites.h"

enum { BUFFER_BYTES = 1 << 16 };

// Builds a file: length, header, `data` zero bytes. Returns its size.
static size_t make_file(uint8_t *out, const char *header, size_t data) {
    uint64_t length = strlen(header);
    memcpy(out, &length, sizeof length);
    memcpy(out + sizeof length, header, length);
    memset(out + sizeof length + length, 0, data);
    return sizeof length + length + data;
}

// Opens, and asks for every tensor of, a copy of exactly `size` bytes on the heap, so that the sanitizer sees a read beyond.
static Status open_bytes(const void *bytes, size_t size, char *error, size_t error_size) {
    uint8_t *copy = malloc(size ? size : 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, bytes, size);
    Safetensors *tensors = NULL;
    Failure failure = {error, error_size};
    Status status = safetensors_open_memory(copy, size, "test.safetensors", &tensors, &failure);
    ck_assert((status == LIBRARY_OK) == (tensors != NULL));
    for (int64_t i = 0; status == LIBRARY_OK && i < safetensors_count(tensors); i++) {
        const SafetensorsEntry *entry;
        status = safetensors_need(tensors, safetensors_entry(tensors, i)->name, "use", "", &entry, &failure);
        ck_assert(entry->damaged == (status != LIBRARY_OK) && (!entry->damaged || !entry->data));
    }
    safetensors_close(tensors);
    free(copy);
    return status;
}

START_TEST(reads_a_file) {
    uint8_t bytes[1024];
    size_t size =
        make_file(bytes,
                  "{\"__metadata__\":{\"format\":\"pt\"},\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[4,28]},"
                  "\"a\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]},"
                  "\"empty\":{\"dtype\":\"I64\",\"shape\":[0,5],\"data_offsets\":[4,4]}}   ",
                  28);
    Safetensors *tensors = NULL;
    ck_assert_int_eq(safetensors_open_memory(bytes, size, "t", &tensors, NULL), LIBRARY_OK);
    ck_assert_int_eq(safetensors_count(tensors), 3);
    ck_assert_str_eq(safetensors_entry(tensors, 0)->name, "a");
    const SafetensorsEntry *b = safetensors_find(tensors, "b");
    ck_assert_ptr_nonnull(b);
    ck_assert_str_eq(b->dtype, "F32");
    ck_assert_int_eq(b->rank, 2);
    ck_assert_int_eq(b->shape[1], 3);
    ck_assert_ptr_eq(b->data, bytes + size - 24);
    ck_assert_ptr_null(safetensors_find(tensors, "c"));
    safetensors_close(tensors);
}
END_TEST

#define TENSOR_A(dtype, shape, offsets) "{\"a\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
static const struct {
    const char *header;
    size_t data;
    const char *text;
} hostile[] = {
    {TENSOR_A("F32", "[2]", "[0,8]"), 7,
     "'a': its data is not all there: the file has 69 bytes, by its header it should have 70; it"},
    {TENSOR_A("F32", "[2]", "[9223372036854775800,9223372036854775807]"), 7, "should have 9223372036854775807"},
    {TENSOR_A("F32", "[2]", "[0,4]"), 4, "disagree"},
    {TENSOR_A("F32", "[2]", "[8,0]"), 8, "negative"},
    {TENSOR_A("F32", "[2]", "[-8,0]"), 8, "negative"},
    {TENSOR_A("F32", "[2]", "[0]"), 8, "not a pair"},
    {TENSOR_A("F32", "[2]", "[0,8,9]"), 8, "not a pair"},
    {TENSOR_A("F32", "[2]", "\"x\""), 8, "not a pair"},
    {TENSOR_A("F32", "[2]", "[0.0,8.0]"), 8, "not a pair"},
    {TENSOR_A("F32", "[-2]", "[0,8]"), 8, "natural"},
    {TENSOR_A("F32", "[true]", "[0,8]"), 8, "natural"},
    {TENSOR_A("F32", "2", "[0,8]"), 8, "no list"},
    {TENSOR_A("F32", "[1,1,1,1,1,1,1,1,2]", "[0,8]"), 8, "too many dimensions"},
    {TENSOR_A("F32", "[4611686018427387904,4]", "[0,0]"), 0, "disagree"},
    {TENSOR_A("F32", "[9223372036854775807,9223372036854775807]", "[0,4]"), 4, "disagree"},
    {TENSOR_A("F32", "[99999999999999999999]", "[0,4]"), 4, "too big integer"},
    {TENSOR_A("", "[2]", "[0,8]"), 8, "unknown dtype ''"},
    {TENSOR_A("F32 F16", "[9]", "[0,8]"), 8, "unknown dtype 'F32 F16'"},  // no word of any list
    {TENSOR_A("A_DTYPE_OF_A_LONG_NAME_1", "[2]", "[0,8]"), 8, "unknown dtype 'A_DTYPE_OF_A_LONG_NAME_1'"},
    {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "\"dtype\" must be a text such as \"F32\", found nothing"},
    {"{\"a\":{\"dtype\":5,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "\"dtype\" must be a text such as \"F32\", found a number"},
    {"{\"a\":[1]}", 8, "\"dtype\" must be"},
    {"{\"a\\u001b[2J\\n\\u009b1m\\u007f\u00e9\":[1]}", 8, "tensor 'a?[2J???1m?\u00e9'"},  // nothing that a terminal obeys
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}"
     "}",
     4, "duplicate"},
    {"[]", 0, "not a JSON object"},
    {"{\"a\":", 0, "header"},
    {"", 0, "zeros where safetensors begin"},
};
enum { HOSTILE = sizeof hostile / sizeof *hostile };

START_TEST(refuses_hostile_headers) {
    uint8_t bytes[1024];
    char error[512] = "";
    size_t size = make_file(bytes, hostile[_i].header, hostile[_i].data);
    ck_assert_int_eq(open_bytes(bytes, size, error, sizeof error), LIBRARY_BAD_WEIGHTS);
    ck_assert_msg(strstr(error, hostile[_i].text), "'%s' has no '%s'", error, hostile[_i].text);
    ck_assert_ptr_nonnull(strstr(error, "test.safetensors"));
}
END_TEST

// Dtypes that nobody reads, bytes of no tensor, bytes of two: nothing that a reader of other tensors must refuse.
START_TEST(reads_beside_what_is_not_read) {
    uint8_t bytes[1024];
    const char *header =
        "{\"f4\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]},\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[3,"
        "7]},"
        "\"over\":{\"dtype\":\"F6_E2M3\",\"shape\":[4],\"data_offsets\":[5,8]},\"z\":{\"dtype\":\"U8\",\"shape\":[4],\"data_"
        "offsets\":[8,12]},"
        "\"far\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[90,94]},\"wrong\":{\"dtype\":5},\"list\":[]}";
    Safetensors *tensors = NULL;
    const SafetensorsEntry *entry;
    size_t size = make_file(bytes, header, 13);
    ck_assert_int_eq(safetensors_open_memory(bytes, size, "t", &tensors, NULL), LIBRARY_OK);
    ck_assert_int_eq(safetensors_count(tensors), 7);
    static const char *const sound[] = {"b", "f4", "over", "z"}, *const others[] = {"far", "list", "wrong"};
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(safetensors_need(tensors, sound[i], "use", "", &entry, NULL), LIBRARY_OK);
        ck_assert(entry->data >= bytes && entry->data + entry->bytes <= bytes + size);
    }
    ck_assert_int_eq(entry->bytes, 4);
    ck_assert_ptr_eq(entry->data, bytes + size - 5);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(safetensors_need(tensors, others[i], "use", "", &entry, NULL), LIBRARY_BAD_WEIGHTS);
    }
    ck_assert_str_eq(safetensors_find(tensors, "over")->dtype, "F6_E2M3");
    safetensors_close(tensors);
}
END_TEST

START_TEST(refuses_lying_lengths) {
    static const uint64_t lengths[] = {0, 1, 1000, 1ull << 31, 1ull << 32, 1ull << 63, UINT64_MAX, UINT64_MAX - 7};
    uint8_t bytes[1024];
    char error[512];
    size_t size = make_file(bytes, TENSOR_A("F32", "[2]", "[0,8]"), 8);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        memcpy(bytes, &lengths[i], sizeof lengths[i]);
        ck_assert_int_eq(open_bytes(bytes, size, error, sizeof error), LIBRARY_BAD_WEIGHTS);
    }
    for (size_t cut = 0; cut < size; cut++) {
        make_file(bytes, TENSOR_A("F32", "[2]", "[0,8]"), 8);
        ck_assert_int_eq(open_bytes(bytes, cut, error, sizeof error), LIBRARY_BAD_WEIGHTS);
    }
}
END_TEST

// --- files -------------------------------------------------------------------------------------------------------------------

static char directory[SHELL_PATH_BYTES];

static void make_directory(void) {
    shell_template(directory);
    ck_assert_ptr_nonnull(mkdtemp(directory));
}

static void remove_directory(void) {
    char command[SHELL_PATH_BYTES + 32];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    ck_assert_int_eq(system(command), 0);
}

static const char *path_of(const char *name) {
    static char path[SHELL_PATH_BYTES + 128];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static void write_file(const char *name, const void *bytes, size_t size) {
    FILE *file = fopen(path_of(name), "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, size, file), size);
    fclose(file);
}

// --- packing -----------------------------------------------------------------------------------------------------------------

static Kind make_kind(void) {
    Kind kind;
    memset(&kind, 0, sizeof kind);
    strcpy(kind.name, "sparse");
    kind.count = 2;
    kind.plan.layer =
        (Layer){.hidden = 6, .iterations = 2, .experts = 2, .intermediate = 5, .top_k = 1, .gated = 1, .gate_per_iteration = 1};
    kind.plan.layer.weights = FORMAT_BF16;
    plan_layout(&kind.plan);
    kind.checkpoint.first_layer = 3;
    kind.checkpoint.layer_step = 2;
    strcpy(kind.checkpoint.tensors[TENSOR_ROUTER].pattern, "l.{layer}.gate.{iteration}");
    strcpy(kind.checkpoint.tensors[TENSOR_GATE].pattern, "l.{layer}.e.{expert}.g");
    strcpy(kind.checkpoint.tensors[TENSOR_UP].pattern, "l.{layer}.up");  // stacked
    strcpy(kind.checkpoint.tensors[TENSOR_DOWN].pattern, "l.{layer}.e.{expert}.d");
    return kind;
}

typedef struct Writer {
    char header[8192];
    uint8_t data[BUFFER_BYTES];
    size_t used;
} Writer;

static void add_tensor(Writer *writer, const char *name, const char *dtype, const int64_t *shape, int rank) {
    char lengths[64] = "";
    int64_t count = 1;
    for (int i = 0; i < rank; i++) {
        snprintf(lengths + strlen(lengths), sizeof lengths - strlen(lengths), "%s%lld", i ? "," : "", (long long)shape[i]);
        count *= shape[i];
    }
    size_t begin = writer->used;
    int bytes = !strcmp(dtype, "F32") ? 4 : 2;
    for (int64_t i = 0; i < count; i++, writer->used += (size_t)bytes) {
        float value = (float)(i + (int64_t)strlen(name));
        uint16_t half = packed_bf16_from_float(value);
        memcpy(writer->data + writer->used, bytes == 4 ? (void *)&value : (void *)&half, (size_t)bytes);
    }
    size_t length = strlen(writer->header);
    snprintf(writer->header + length, sizeof writer->header - length,
             "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}", length > 1 ? "," : "", name, dtype, lengths,
             begin, writer->used);
}

// What a checkpoint of make_kind() holds, with one tensor changed: dtype, shape, absent.
typedef struct Change {
    const char *name, *dtype;
    int rank;  // -1: absent
    int64_t shape[3];
    const char *text;
} Change;

static void write_checkpoint(const char *file, const Change *change) {
    Writer *writer = calloc(1, sizeof *writer);
    ck_assert_ptr_nonnull(writer);
    strcpy(writer->header, "{");
    for (int layer = 3; layer <= 5; layer += 2) {
        const struct {
            const char *pattern, *dtype;
            int rank;
            int64_t shape[3];
        } rows[] = {{"l.%d.gate.0", "F32", 2, {2, 6}}, {"l.%d.gate.1", "F32", 2, {2, 6}}, {"l.%d.e.0.g", "BF16", 2, {5, 6}},
                    {"l.%d.e.1.g", "BF16", 2, {5, 6}}, {"l.%d.up", "F32", 3, {2, 5, 6}},  {"l.%d.e.0.d", "F32", 2, {6, 5}},
                    {"l.%d.e.1.d", "F32", 2, {6, 5}}};
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            char name[32];
            snprintf(name, sizeof name, rows[i].pattern, layer);
            if (!change || strcmp(name, change->name)) {
                add_tensor(writer, name, rows[i].dtype, rows[i].shape, rows[i].rank);
            } else if (change->rank >= 0) {
                add_tensor(writer, name, change->dtype, change->shape, change->rank);
            }
        }
    }
    strcat(writer->header, "}");
    uint8_t *bytes = malloc(sizeof *writer + 64);
    ck_assert_ptr_nonnull(bytes);
    size_t size = make_file(bytes, writer->header, writer->used);
    memcpy(bytes + size - writer->used, writer->data, writer->used);
    write_file(file, bytes, size);
    free(bytes);
    free(writer);
}

START_TEST(packs_a_checkpoint) {
    Kind kind = make_kind();
    char weights[SHELL_PATH_BYTES + 128], packed[SHELL_PATH_BYTES + 128], error[512] = "";
    strcpy(weights, path_of("w.safetensors"));
    strcpy(packed, path_of("w.packed"));
    write_checkpoint("w.safetensors", NULL);
    Failure failure = {error, sizeof error};
    ck_assert_msg(weights_pack_file(&kind, 1, weights, 2, packed, &failure) == LIBRARY_OK, "%s", error);
    Mapping mapping;
    ck_assert_int_eq(file_map(packed, &mapping, &failure), LIBRARY_OK);
    ck_assert_msg(packed_image_validate(mapping.data, mapping.size, &kind, 1, &failure) == LIBRARY_OK, "%s", error);
    ck_assert_int_eq(packed_image_verify(mapping.data, &kind, 1, &failure), LIBRARY_OK);
    const uint8_t *second = packed_image_instance(mapping.data, 0, 1);
    ck_assert_float_eq(packed_get(&kind.plan, second, TENSOR_GATE, 1, 4, 5),
                       29 + 9);  // see add_tensor: the index and the length of the name
    ck_assert_float_eq(packed_get(&kind.plan, second, TENSOR_UP, 1, 0, 2), 32 + 6);
    ck_assert_float_eq(packed_get(&kind.plan, second, TENSOR_ROUTER, 1, 1, 1), 7 + 10);
    mapping_free(&mapping);
}
END_TEST

static const Change changes[] = {
    {"l.5.e.1.d", "", -1, {0}, "/w.safetensors: tensor 'l.5.e.1.d' (down of layer 'sparse.1') is not in the checkpoint"},
    {"l.3.gate.1", "F32", 2, {2, 7}, "tensor 'l.3.gate.1' has shape [2, 7], layer 'sparse' needs [2, 6] for its router"},
    {"l.3.e.0.g", "BF16", 1, {30}, "has shape [30], layer 'sparse' needs [5, 6]"},
    {"l.5.up", "F32", 2, {12, 5}, "needs [2, 5, 6] for its up"},
    {"l.5.up", "I16", 3, {2, 5, 6}, "has dtype I16"},
    {"l.5.up", "F8_E4M3FNUZ", 3, {2, 5, 6}, "tensor 'l.5.up' has dtype F8_E4M3FNUZ; F32, F16 and BF16 can be used"},
};
enum { CHANGES = sizeof changes / sizeof *changes };

START_TEST(refuses_other_tensors) {
    Kind kind = make_kind();
    char weights[SHELL_PATH_BYTES + 128], error[2048] = "";
    strcpy(weights, path_of("w.safetensors"));
    write_checkpoint("w.safetensors", &changes[_i]);
    Failure failure = {error, sizeof error};
    ck_assert_int_eq(weights_pack_file(&kind, 1, weights, 2, path_of("w.packed"), &failure), LIBRARY_BAD_WEIGHTS);
    ck_assert_msg(strstr(error, changes[_i].text), "'%s' has no '%s'", error, changes[_i].text);
    ck_assert_int_ne(access(path_of("w.packed"), F_OK), 0);
}
END_TEST

// Two tensors that are read must not share a byte; one that nobody reads may lie anywhere.
START_TEST(refuses_shared_bytes) {
    static const struct {
        const char *from, *to, *text;  // in the header
    } rows[] = {
        {"\"l.5.e.1.d\":{\"dtype\":\"F32\",\"shape\":[6,5],\"data_offsets\":[1272,1392]",
         "\"l.5.e.1.d\":{\"dtype\":\"F32\",\"shape\":[6,5],\"data_offsets\":[1268,1388]",
         "/w.safetensors: the data of tensor 'l.5.e.1.d' overlaps that of tensor 'l.5.e.0.d'"},
        {"{\"l.3.gate.0\"", "{\"other\":{\"dtype\":\"F8_E4M3FNUZ\",\"shape\":[9],\"data_offsets\":[0,1392]},\"l.3.gate.0\"", NULL},
    };
    Kind kind = make_kind();
    char weights[SHELL_PATH_BYTES + 128], error[2048] = "";
    write_checkpoint("w.safetensors", NULL);
    strcpy(weights, path_of("w.safetensors"));
    Mapping file;
    ck_assert_int_eq(file_map(weights, &file, NULL), LIBRARY_OK);
    uint64_t length;
    memcpy(&length, file.data, sizeof length);
    char *header = strndup((const char *)file.data + sizeof length, length), *found = strstr(header, rows[_i].from);
    ck_assert_msg(found, "%s", header);
    size_t begin = (size_t)(found - header), cut = strlen(rows[_i].from), data = file.size - sizeof length - length;
    char *text = calloc(1, length + 1024);
    snprintf(text, length + 1024, "%.*s%s%s", (int)begin, header, rows[_i].to, found + cut);
    uint8_t *bytes = malloc(file.size + 1024);
    size_t size = make_file(bytes, text, data);
    memcpy(bytes + size - data, (const uint8_t *)file.data + file.size - data, data);
    mapping_free(&file);
    write_file("w.safetensors", bytes, size);
    Failure failure = {error, sizeof error};
    Status status = weights_pack_file(&kind, 1, weights, 1, path_of("w.packed"), &failure);
    ck_assert_msg(status == (rows[_i].text ? LIBRARY_BAD_WEIGHTS : LIBRARY_OK), "%s", error);
    ck_assert_msg(!rows[_i].text || strstr(error, rows[_i].text), "%s", error);
    free(bytes);
    free(text);
    free(header);
}
END_TEST

// A NaN in the last element of the last tensor: named; an existing file stays; no temporary stays.
START_TEST(refuses_nan) {
    Kind kind = make_kind();
    char weights[SHELL_PATH_BYTES + 128], error[2048] = "";
    write_checkpoint("w.safetensors", NULL);
    strcpy(weights, path_of("w.safetensors"));
    float nan = NAN;
    FILE *file = fopen(weights, "r+b");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fseek(file, -4, SEEK_END), 0);
    ck_assert_uint_eq(fwrite(&nan, 4, 1, file), 1);
    fclose(file);
    write_file("w.packed", "precious", 8);
    Failure failure = {error, sizeof error};
    ck_assert_int_eq(weights_pack_file(&kind, 1, weights, 2, path_of("w.packed"), &failure), LIBRARY_BAD_WEIGHTS);
    ck_assert_ptr_nonnull(
        strstr(error, "/w.safetensors: tensor 'l.5.e.1.d' (down 1 of layer 'sparse.1') has a NaN at row 5, column 4"));
    struct stat facts;
    ck_assert(!stat(path_of("w.packed"), &facts) && facts.st_size == 8);
    char command[SHELL_PATH_BYTES + 64];
    snprintf(command, sizeof command, "test $(ls %s | wc -l) = 2", directory);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

// A full disk, as a limit on file sizes (EFBIG instead of ENOSPC, the same way through the code).
START_TEST(survives_full_disk) {
    Kind kind = make_kind();
    char weights[SHELL_PATH_BYTES + 128], error[2048] = "", command[3 * SHELL_PATH_BYTES];
    strcpy(weights, path_of("w.safetensors"));
    write_checkpoint("w.safetensors", NULL);
    write_file("w.packed", "precious", 8);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit = {4096, 4096};
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    Failure failure = {error, sizeof error};
    ck_assert_int_eq(weights_pack_file(&kind, 1, weights, 2, path_of("w.packed"), &failure), LIBRARY_IO_ERROR);
    ck_assert_msg(strstr(error, "w.packed"), "%s", error);
    Output output;  // the same where the file system cannot reserve: the write itself fails
    uint8_t bytes[8192] = {0};
    ck_assert_int_eq(output_open(path_of("w.packed"), 0, &output, &failure), LIBRARY_OK);
    ck_assert_int_eq(output_write(&output, bytes, sizeof bytes, 0, &failure), LIBRARY_IO_ERROR);
    output_discard(&output);
    snprintf(command, sizeof command, "test $(ls %s | wc -l) = 2 && grep -q precious %s/w.packed", directory, directory);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

static Status open_cached(const Kind *kind, const char *weights, const char *cache, char *error) {
    Contents contents = {.kinds = 1};
    Options options = {.size = sizeof options, .threads = 1, .cache = cache, .check = cache != NULL, .interleave = cache == NULL};
    Library *library = NULL;
    Status status = instance_open(&contents, kind, NULL, weights, &options, &library, error, 512);
    if (status == LIBRARY_OK) {
        ck_assert_int_eq(packed_image_validate(library->image, library->weights.size, kind, 1, NULL),
                         cache ? LIBRARY_OK : LIBRARY_BAD_WEIGHTS);
        const uint8_t *second = packed_image_instance((void *)(uintptr_t)library->image, 0, 1);
        ck_assert_float_eq(packed_get(&kind->plan, second, TENSOR_ROUTER, 1, 1, 1), 7 + 10);
    }
    instance_close(library);
    return status;
}

// Opening a checkpoint: into memory (never sealed as a file), into a cache, from that cache; a foreign cache stays untouched.
START_TEST(opens_checkpoints) {
    Kind kind = make_kind();
    char weights[SHELL_PATH_BYTES + 128], cache[SHELL_PATH_BYTES + 128], error[2048] = "";
    strcpy(weights, path_of("w.safetensors"));
    strcpy(cache, path_of("w.cache"));
    write_checkpoint("w.safetensors", NULL);
    ck_assert_msg(open_cached(&kind, weights, NULL, error) == LIBRARY_OK, "%s", error);
    ck_assert_int_ne(access(cache, F_OK), 0);
    ck_assert_msg(open_cached(&kind, weights, cache, error) == LIBRARY_OK, "%s", error);
    struct stat first, second;
    ck_assert_int_eq(stat(cache, &first), 0);
    ck_assert_msg(open_cached(&kind, weights, cache, error) == LIBRARY_OK, "%s", error);
    ck_assert(!stat(cache, &second) && first.st_ino == second.st_ino);
    write_checkpoint("w.safetensors", NULL);  // newer than the cache now
    ck_assert_msg(open_cached(&kind, weights, cache, error) == LIBRARY_OK, "%s", error);
    ck_assert(!stat(cache, &second) && first.st_ino != second.st_ino);
    write_file("w.cache", "precious", 8);
    ck_assert_int_eq(open_cached(&kind, weights, cache, error), LIBRARY_BAD_WEIGHTS);
    ck_assert_ptr_nonnull(strstr(error, "w.cache"));
    ck_assert(!stat(cache, &second) && second.st_size == 8);
    ck_assert_int_eq(open_cached(&kind, directory, NULL, error), LIBRARY_IO_ERROR);
    ck_assert_int_eq(rename(weights, path_of("model.safetensors")), 0);
    ck_assert_msg(open_cached(&kind, directory, NULL, error) == LIBRARY_OK, "%s", error);
}
END_TEST

// Of a file of `size` bytes that was written at that time.
static uint64_t fingerprint_of(const char *name, const void *bytes, size_t size, time_t seconds, long nanoseconds) {
    const struct timespec times[2] = {{seconds, nanoseconds}, {seconds, nanoseconds}};
    Safetensors *tensors = NULL;
    write_file(name, bytes, size);
    ck_assert_int_eq(utimensat(AT_FDCWD, path_of(name), times, 0), 0);
    ck_assert_int_eq(safetensors_open(path_of(name), &tensors, NULL), LIBRARY_OK);
    uint64_t fingerprint = safetensors_fingerprint(tensors);
    safetensors_close(tensors);
    return fingerprint;
}

// A checkpoint is told by its files' names, sizes, times and headers, wherever it lies.
START_TEST(fingerprints_tell_checkpoints) {
#define PAIR(a, b) \
    "{\"" a \
    "\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}," \
    "\"" b "\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}     "
    uint8_t bytes[512], longer[512], other[512];
    size_t size = make_file(bytes, PAIR("a", "b"), 8), larger = make_file(longer, PAIR("a", "b") "        ", 8);
    ck_assert_uint_eq(make_file(other, PAIR("a", "c"), 8), size);
    uint64_t fingerprints[] = {fingerprint_of("a", bytes, size, 1000, 7),    fingerprint_of("b", bytes, size, 1000, 7),
                               fingerprint_of("a", longer, larger, 1000, 7), fingerprint_of("a", bytes, size, 1001, 7),
                               fingerprint_of("a", bytes, size, 1000, 8),    fingerprint_of("a", other, size, 1000, 7)};
    enum { COUNT = sizeof fingerprints / sizeof *fingerprints };
    for (int i = 0; i < COUNT; i++) {
        for (int j = 0; j < i; j++) {
            ck_assert_msg(fingerprints[i] != fingerprints[j], "%d is taken for %d", i, j);
        }
    }
    ck_assert(fingerprint_of("a", bytes, size, 1000, 7) == fingerprints[0]);
}
END_TEST

// A cache serves the checkpoint that it was packed from and no other, older ones included.
START_TEST(cache_is_of_its_source) {
    Kind kind = make_kind();
    char paths[2][SHELL_PATH_BYTES + 128], cache[SHELL_PATH_BYTES + 128], error[512] = "";
    strcpy(cache, path_of("w.cache"));
    for (int i = 0; i < 2; i++) {
        strcpy(paths[i], path_of(i ? "b.safetensors" : "a.safetensors"));
        write_checkpoint(i ? "b.safetensors" : "a.safetensors", NULL);
        struct timespec old[2] = {{1000000000 + i, 0}, {1000000000 + i, 0}};
        ck_assert_int_eq(utimensat(AT_FDCWD, paths[i], old, 0), 0);
    }
    float first = -1000;  // the only difference: first element of b's first tensor, l.3.gate.0
    FILE *file = fopen(paths[1], "r+b");
    ck_assert_ptr_nonnull(file);
    uint64_t length = 0;
    ck_assert_uint_eq(fread(&length, 1, sizeof length, file), sizeof length);
    ck_assert(!fseek(file, (long)(sizeof length + length), SEEK_SET) && fwrite(&first, sizeof first, 1, file) == 1);
    fclose(file);
    struct timespec old[2] = {{1000000001, 0}, {1000000001, 0}};
    ck_assert_int_eq(utimensat(AT_FDCWD, paths[1], old, 0), 0);
    Contents contents = {.kinds = 1};
    Options options = {.size = sizeof options, .threads = 1, .cache = cache};
    struct stat before = {0}, after;
    for (int i = 0; i < 6; i++) {  // a b b a a b
        int which = (i + 1) / 2 % 2;
        Library *library = NULL;
        ck_assert_msg(!instance_open(&contents, &kind, NULL, paths[which], &options, &library, error, sizeof error), "%s", error);
        float value = packed_get(&kind.plan, library->first[0], TENSOR_ROUTER, 0, 0, 0);
        ck_assert_float_eq(value, which ? first : 10);
        instance_close(library);
        ck_assert_int_eq(stat(cache, &after), 0);
        ck_assert(!i || (before.st_ino == after.st_ino) == (i % 2 == 0));
        before = after;
    }
    ck_assert_int_eq(unlink(paths[0]), 0);  // nothing to compare with
    Library *library = NULL;
    ck_assert_int_eq(instance_open(&contents, &kind, NULL, paths[0], &options, &library, error, sizeof error), LIBRARY_IO_ERROR);
}
END_TEST

static void do_nothing(Call *call, Team *team, int64_t thread, int64_t threads) {
    (void)call, (void)team, (void)thread, (void)threads;
}

// libgomp's threads do not survive a fork, and it does not notice by itself.
START_TEST(child_packs_and_runs) {
    static LayerForward *const forwards[] = {do_nothing};
    Kind kind = make_kind();
    kind.plan.schedule.chunk_tokens = kind.plan.schedule.block_rows = 1;
    char weights[SHELL_PATH_BYTES + 128], cache[SHELL_PATH_BYTES + 128], error[512] = "";
    strcpy(weights, path_of("w.safetensors"));
    strcpy(cache, path_of("w.cache"));
    write_checkpoint("w.safetensors", NULL);
    Contents contents = {.kinds = 1};
    Options options = {.size = sizeof options, .threads = 2};
    Library *library = NULL;
    ck_assert_msg(!instance_open(&contents, &kind, forwards, weights, &options, &library, error, sizeof error), "%s", error);
    float x[6] = {0}, y[6];
    Forward forward = {.tokens = 1, .x = x, .x_stride = 6, .y = y, .y_stride = 6};
    ck_assert_int_eq(instance_forward(library, &forward), LIBRARY_OK);
    pid_t child = fork();
    if (!child) {
        alarm(5);
        options.threads = _i;
        int failed = instance_open(&contents, &kind, forwards, weights, &options, &library, NULL, 0) != LIBRARY_OK;
        options.cache = cache;
        failed |= instance_open(&contents, &kind, forwards, weights, &options, &library, NULL, 0) != LIBRARY_OK;
        failed |= instance_forward(library, &forward) != LIBRARY_OK;
        _exit(failed);
    }
    int state = -1;
    ck_assert_int_eq(waitpid(child, &state, 0), child);
    ck_assert_int_eq(state, 0);
    instance_close(library);
}
END_TEST

START_TEST(writes_only_regular_files) {
    Output output;
    char error[256];
    Failure failure = {error, sizeof error};
    ck_assert_int_eq(output_open("/dev/null", 10, &output, &failure), LIBRARY_IO_ERROR);
    ck_assert_int_eq(output_open("/no/such/directory/x", 10, &output, &failure), LIBRARY_IO_ERROR);
    Mapping mapping;
    ck_assert_int_eq(file_map("/dev/zero", &mapping, &failure), LIBRARY_IO_ERROR);
    ck_assert_int_eq(file_map("/tmp", &mapping, &failure), LIBRARY_IO_ERROR);
}
END_TEST

Suite *suite_safetensors(void) {
    Suite *suite = suite_create("safetensors");
    TCase *memory = tcase_create("memory");
    tcase_set_timeout(memory, TEST_TIMEOUT);
    tcase_add_test(memory, reads_a_file);
    tcase_add_loop_test(memory, refuses_hostile_headers, 0, HOSTILE);
    tcase_add_test(memory, reads_beside_what_is_not_read);
    tcase_add_test(memory, refuses_lying_lengths);
    suite_add_tcase(suite, memory);
    TCase *files = tcase_create("files");
    tcase_set_timeout(files, TEST_TIMEOUT);
    tcase_add_checked_fixture(files, make_directory, remove_directory);
    tcase_add_test(files, packs_a_checkpoint);
    tcase_add_loop_test(files, refuses_other_tensors, 0, CHANGES);
    tcase_add_loop_test(files, refuses_shared_bytes, 0, 2);
    tcase_add_test(files, refuses_nan);
    tcase_add_test(files, survives_full_disk);
    tcase_add_test(files, opens_checkpoints);
    tcase_add_test(files, fingerprints_tell_checkpoints);
    tcase_add_test(files, cache_is_of_its_source);
    tcase_add_loop_test(files, child_packs_and_runs, 1, 3);
    tcase_add_test(files, writes_only_regular_files);
    suite_add_tcase(suite, files);
    return suite;
}
