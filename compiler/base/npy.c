// NumPy's file format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
//
//   "\x93NUMPY" major minor | header length (2 bytes in version 1, 4 in version 2) | header | data
//
// The header is a literal of Python: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }. Files are not trusted.
#include "npy.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/file.h"
#include "writable.h"

static const char magic[] = "\x93NUMPY";
enum { MAGIC_BYTES = 6, MAX_HEADER_BYTES = 1 << 16, ELEMENT_BYTES = 4, DATA_ALIGNMENT = 64, START_BYTES = 512 };
static const char *const type_names[] = {[NPY_FLOAT32] = "<f4", [NPY_INT32] = "<i4"};
enum { TYPES = sizeof type_names / sizeof *type_names };

int64_t npy_elements(const Npy *array) {
    int64_t elements = 1;
    for (int i = 0; i < array->dimensions; i++) {
        elements *= array->shape[i];
    }
    return elements;
}

void npy_free(Npy *array) {
    free(array->data);
    *array = (Npy){0};
}

static int fail(Diagnostics *diagnostics, const char *path, const char *reason) {
    diagnostics_add(diagnostics, path, 0, 0, "%s", reason);
    return -1;
}

// The text after 'key': in a header, or NULL. Keys are quoted and no value of a header that is accepted holds a quoted key.
static const char *header_value(const char *header, const char *key) {
    char quoted[32];
    snprintf(quoted, sizeof quoted, "'%s':", key);
    const char *found = strstr(header, quoted);
    if (!found) {
        return NULL;
    }
    found += strlen(quoted);
    return found + strspn(found, " ");
}

static bool parse_type(const char *text, NpyType *type) {
    for (int t = 0; text && t < TYPES; t++) {
        size_t length = strlen(type_names[t]);
        if (*text == '\'' && !strncmp(text + 1, type_names[t], length) && text[length + 1] == '\'') {
            *type = (NpyType)t;
            return true;
        }
    }
    return false;
}

// "(3, 4)" or "(3,)". The array's bytes must fit into an int64_t.
static bool parse_shape(const char *text, Npy *array) {
    int64_t bytes = ELEMENT_BYTES;
    if (!text || *text++ != '(') {
        return false;
    }
    while (*text != ')') {
        if (!isdigit((unsigned char)*text) || array->dimensions == NPY_MAX_DIMENSIONS) {
            return false;
        }
        char *end;
        errno = 0;
        int64_t size = strtoll(text, &end, 10);
        if (errno || __builtin_mul_overflow(bytes, size ? size : 1, &bytes)) {
            return false;
        }
        array->shape[array->dimensions++] = size;
        text = end + strspn(end, " ");
        if (*text == ',') {
            text += 1 + strspn(text + 1, " ");
        } else if (*text != ')') {
            return false;
        }
    }
    return array->dimensions > 0;
}

static int parse_header(const char *path, const char *header, Npy *array, Diagnostics *diagnostics) {
    const char *order = header_value(header, "fortran_order");
    if (!parse_type(header_value(header, "descr"), &array->type)) {
        return fail(diagnostics, path, "an array must be of little-endian float32 ('<f4') or int32 ('<i4')");
    }
    if (!order || strncmp(order, "False", 5)) {
        return fail(diagnostics, path, "an array must be in C order");
    }
    if (!parse_shape(header_value(header, "shape"), array)) {
        return fail(diagnostics, path, "an array must have 1 to 3 dimensions of a size that fits into memory");
    }
    return 0;
}

// Reads up to the first byte of data.
static int read_header(FILE *file, const char *path, Npy *array, Diagnostics *diagnostics) {
    unsigned char start[MAGIC_BYTES + 2], length[4] = {0};
    if (fread(start, 1, sizeof start, file) != sizeof start || memcmp(start, magic, MAGIC_BYTES)) {
        return fail(diagnostics, path, ferror(file) ? strerror(errno) : "not a .npy file");
    }
    size_t length_bytes = start[MAGIC_BYTES] == 1 ? 2 : 4;
    if (start[MAGIC_BYTES] < 1 || start[MAGIC_BYTES] > 3) {
        return fail(diagnostics, path, "unknown version of the .npy format");
    }
    if (fread(length, 1, length_bytes, file) != length_bytes) {
        return fail(diagnostics, path, "truncated within its header");
    }
    size_t bytes = length[0] | (size_t)length[1] << 8 | (size_t)length[2] << 16 | (size_t)length[3] << 24;
    if (bytes > MAX_HEADER_BYTES) {
        return fail(diagnostics, path, "its header claims to be larger than any real one");
    }
    char *header = calloc(1, bytes + 1);
    int result;
    if (!header) {
        result = fail(diagnostics, path, "out of memory");
    } else if (fread(header, 1, bytes, file) != bytes) {
        result = fail(diagnostics, path, "truncated within its header");
    } else {
        result = parse_header(path, header, array, diagnostics);
    }
    free(header);
    return result;
}

// The file must hold exactly the data that its header promises; asked before memory is taken for it.
static int read_data(FILE *file, const char *path, Npy *array, Diagnostics *diagnostics) {
    int64_t bytes = npy_elements(array) * ELEMENT_BYTES;
    struct stat status;
    long start = ftell(file);
    if (start < 0 || fstat(fileno(file), &status)) {
        return fail(diagnostics, path, strerror(errno));
    }
    if (!S_ISREG(status.st_mode)) {
        return fail(diagnostics, path, "not a regular file");
    }
    if (status.st_size - start != bytes) {
        diagnostics_add(diagnostics, path, 0, 0, "%s: the header promises %lld bytes of data, the file has %lld",
                        status.st_size - start < bytes ? "truncated" : "too long", (long long)bytes,
                        (long long)(status.st_size - start));
        return -1;
    }
    array->data = malloc(bytes ? (size_t)bytes : 1);
    if (!array->data) {
        return fail(diagnostics, path, "out of memory");
    }
    if (fread(array->data, 1, (size_t)bytes, file) != (size_t)bytes) {
        return fail(diagnostics, path, ferror(file) ? strerror(errno) : "truncated");
    }
    return 0;
}

int npy_read(const char *path, Npy *array, Diagnostics *diagnostics) {
    *array = (Npy){0};
    FILE *file = fopen(path, "rb");
    if (!file) {
        return fail(diagnostics, path, strerror(errno));
    }
    int result = read_header(file, path, array, diagnostics);
    if (!result) {
        result = read_data(file, path, array, diagnostics);
    }
    fclose(file);
    if (result) {
        npy_free(array);
    }
    return result;
}

// Magic, version 1.0, and the header padded with spaces so that data start at a multiple of 64 bytes. Returns its length.
static size_t make_header(const Npy *array, char out[START_BYTES]) {
    char shape[80] = "", header[256];
    size_t used = 0;
    for (int i = 0; i < array->dimensions; i++) {
        used += (size_t)snprintf(shape + used, sizeof shape - used, "%lld%s", (long long)array->shape[i],
                                 i + 1 < array->dimensions ? ", "
                                 : array->dimensions == 1  ? ","
                                                           : "");
    }
    int length =
        snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", type_names[array->type], shape);
    const int before = MAGIC_BYTES + 4;
    int padded = (before + length + DATA_ALIGNMENT) / DATA_ALIGNMENT * DATA_ALIGNMENT - before;
    const unsigned char version[] = {1, 0, (unsigned char)(padded & 0xff), (unsigned char)(padded >> 8)};
    memcpy(out, magic, MAGIC_BYTES);
    memcpy(out + MAGIC_BYTES, version, sizeof version);
    snprintf(out + before, START_BYTES - (size_t)before, "%-*s\n", padded - 1, header);
    return (size_t)(before + padded);
}

// A device or pipe is written directly: renaming over it would replace it by a file. So is a descriptor that has a name: its file
// is what somebody else holds open.
static bool must_be_written_directly(const char *path) {
    static const char *const descriptors[] = {"/dev/std", "/dev/fd/", "/proc/"};
    struct stat facts;
    if (stat(path, &facts) || S_ISDIR(facts.st_mode)) {
        return false;
    }
    bool directly = !S_ISREG(facts.st_mode);
    for (size_t i = 0; i < sizeof descriptors / sizeof *descriptors; i++) {
        directly |= !strncmp(path, descriptors[i], strlen(descriptors[i]));
    }
    return directly;
}

static int write_directly(const char *path, const char *header, size_t header_bytes, const Npy *array, Diagnostics *diagnostics) {
    size_t elements = (size_t)npy_elements(array);
    FILE *file = fopen(path, "wb");
    bool complete = file && fwrite(header, 1, header_bytes, file) == header_bytes &&
                    (!elements || fwrite(array->data, ELEMENT_BYTES, elements, file) == elements) && !fflush(file);
    int reason = errno;
    if (file && fclose(file) && complete) {
        reason = errno;
        complete = false;
    }
    return complete ? 0 : fail(diagnostics, path, strerror(reason));
}

// A device is opened, but no pipe: its reader would see the end.
static int try_directly(const char *path, Diagnostics *diagnostics) {
    return access(path, W_OK) ? fail(diagnostics, path, strerror(errno)) : 0;
}

int npy_try(const char *path, const Npy *array, Diagnostics *diagnostics) {
    char header[START_BYTES], error[512] = "";
    int64_t bytes = (int64_t)make_header(array, header) + npy_elements(array) * ELEMENT_BYTES;
    if (must_be_written_directly(path)) {
        return try_directly(path, diagnostics);
    }
    Status status = writable_file(path, bytes, &(Failure){error, sizeof error});
    return status == LIBRARY_OK ? 0 : fail(diagnostics, NULL, error);
}

int npy_write(const char *path, const Npy *array, Diagnostics *diagnostics) {
    char header[START_BYTES], error[512] = "";
    const Failure failure = {error, sizeof error};
    int64_t header_bytes = (int64_t)make_header(array, header), bytes = npy_elements(array) * ELEMENT_BYTES;
    if (must_be_written_directly(path)) {
        return write_directly(path, header, (size_t)header_bytes, array, diagnostics);
    }
    Output output;
    Status status = output_open(path, header_bytes + bytes, &output, &failure);
    if (status == LIBRARY_OK) {
        status = output_write(&output, header, header_bytes, 0, &failure);
        status = status == LIBRARY_OK ? output_write(&output, array->data, bytes, header_bytes, &failure) : status;
        if (status == LIBRARY_OK) {
            status = output_commit(&output, &failure);
        } else {
            output_discard(&output);
        }
    }
    return status == LIBRARY_OK ? 0 : fail(diagnostics, NULL, error);
}
