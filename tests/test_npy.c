// .npy files: what NumPy writes is read, what is written NumPy reads, and hostile headers are errors.
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "compiler/base/npy.h"
#include "shell.h"
#include "suites.h"

static char folder[SHELL_PATH_BYTES];
static char path[sizeof folder + 16];

static void make_folder(void) {
    shell_template(folder);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/x.npy", folder);
}

static void remove_folder(void) {
    unlink(path);
    ck_assert_int_eq(rmdir(folder), 0);  // fails if a temporary file was left behind
}

static void write_bytes(const void *bytes, size_t count) {
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, count, file), count);
    ck_assert_int_eq(fclose(file), 0);
}

// A file of version 1 (or 2, 3) with a header as given and `data` zero bytes.
static void write_file(int version, const char *header, size_t data) {
    unsigned char bytes[1024] = "\x93NUMPY";
    size_t length = strlen(header), start = version == 1 ? 10 : 12;
    bytes[6] = (unsigned char)version;
    bytes[8] = (unsigned char)length;
    memcpy(bytes + start, header, length);
    write_bytes(bytes, start + length + data);
}

static void expect_refusal(const char *message) {
    Diagnostics diagnostics = {0};
    Npy array;
    ck_assert_int_eq(npy_read(path, &array, &diagnostics), -1);
    ck_assert_ptr_null(array.data);
    ck_assert_msg(strstr(diagnostics.text, message), "wanted: %s\nin: %s", message, diagnostics.text);
    diagnostics_free(&diagnostics);
}

START_TEST(round_trip) {
    int32_t values[24];
    for (int i = 0; i < 24; i++) {
        values[i] = i * 1000003 - 7;
    }
    static const Npy shapes[] = {
        {NPY_INT32, 1, {24}, NULL},     {NPY_INT32, 2, {4, 6}, NULL}, {NPY_INT32, 3, {2, 3, 4}, NULL},
        {NPY_FLOAT32, 2, {0, 5}, NULL}, {NPY_FLOAT32, 1, {1}, NULL},
    };
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        Diagnostics diagnostics = {0};
        Npy out = shapes[s], in;
        out.data = values;
        ck_assert_int_eq(npy_write(path, &out, &diagnostics), 0);
        ck_assert_int_eq(npy_read(path, &in, &diagnostics), 0);
        ck_assert_int_eq(in.type, out.type);
        ck_assert_int_eq(in.dimensions, out.dimensions);
        ck_assert_mem_eq(in.shape, out.shape, sizeof in.shape);
        ck_assert_mem_eq(in.data, values, (size_t)npy_elements(&in) * 4);
        npy_free(&in);
    }
}
END_TEST

// Byte for byte what NumPy 2 writes for numpy.array([[1, 2, 3]], 'f4').
START_TEST(writes_what_numpy_writes) {
    static const char header[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }";
    unsigned char expected[128 + 12] = "\x93NUMPY\x01\x00\x76";
    memset(expected + 10, ' ', 118);
    memcpy(expected + 10, header, sizeof header - 1);
    expected[127] = '\n';
    float values[] = {1, 2, 3};
    memcpy(expected + 128, values, sizeof values);
    Diagnostics diagnostics = {0};
    ck_assert_int_eq(npy_write(path, &(Npy){NPY_FLOAT32, 2, {1, 3}, values}, &diagnostics), 0);
    unsigned char found[256];
    FILE *file = fopen(path, "rb");
    size_t bytes = fread(found, 1, sizeof found, file);
    fclose(file);
    ck_assert_uint_eq(bytes, sizeof expected);
    ck_assert_mem_eq(found, expected, sizeof expected);
}
END_TEST

START_TEST(reads_versions) {
    for (int version = 1; version <= 3; version++) {
        Diagnostics diagnostics = {0};
        Npy array;
        write_file(version, "{'shape': (2,3), 'descr': '<i4', 'fortran_order': False}\n", 24);
        ck_assert_int_eq(npy_read(path, &array, &diagnostics), 0);
        ck_assert_int_eq(array.type, NPY_INT32);
        ck_assert_int_eq(array.shape[1], 3);
        npy_free(&array);
    }
}
END_TEST

#define HEADER(descr, fortran, shape) "{'descr': " descr ", 'fortran_order': " fortran ", 'shape': " shape ", }\n"

typedef struct Refused {
    const char *header;
    size_t data;
    const char *message;
} Refused;

static const Refused refusals[] = {
    {"", 0, "must be of little-endian float32"},
    {HEADER("'<f8'", "False", "(2,)"), 16, "must be of little-endian float32"},
    {HEADER("'>f4'", "False", "(2,)"), 8, "must be of little-endian float32"},
    {HEADER("'<f4", "False", "(2,)"), 8, "must be of little-endian float32"},
    {HEADER("[('a', '<f4')]", "False", "(2,)"), 8, "must be of little-endian float32"},
    {HEADER("'<f4'", "True", "(2, 2)"), 16, "C order"},
    {HEADER("'<f4'", "False", "()"), 4, "1 to 3 dimensions"},
    {HEADER("'<f4'", "False", "(1, 1, 1, 1)"), 4, "1 to 3 dimensions"},
    {HEADER("'<f4'", "False", "(-1,)"), 4, "1 to 3 dimensions"},
    {HEADER("'<f4'", "False", "(2"), 8, "1 to 3 dimensions"},
    {HEADER("'<f4'", "False", "(2 2)"), 16, "1 to 3 dimensions"},
    {HEADER("'<f4'", "False", "2"), 8, "1 to 3 dimensions"},
    {HEADER("'<f4'", "False", "(99999999999999999999,)"), 8, "1 to 3 dimensions"},
    {HEADER("'<f4'", "False", "(4294967296, 4294967296)"), 8, "1 to 3 dimensions"},
    {HEADER("'<f4'", "False", "(1099511627776,)"), 8, "truncated: the header promises 4398046511104 bytes of data, the file has 8"},
    {HEADER("'<f4'", "False", "(3,)"), 11, "truncated"},
    {HEADER("'<f4'", "False", "(3,)"), 13, "too long"},
};

START_TEST(refuses_headers) {
    write_file(1, refusals[_i].header, refusals[_i].data);
    expect_refusal(refusals[_i].message);
}
END_TEST

START_TEST(refuses_files) {
    expect_refusal("No such file");
    write_bytes("", 0);
    expect_refusal("not a .npy file");
    write_bytes("\x93NUMPX\x01\x00\x00\x00", 10);
    expect_refusal("not a .npy file");
    write_bytes("\x93NUMPY\x07\x00\x00\x00", 10);
    expect_refusal("unknown version");
    write_bytes("\x93NUMPY\x01\x00\x76", 9);
    expect_refusal("truncated within its header");
    write_bytes("\x93NUMPY\x01\x00\x76\x00{", 11);
    expect_refusal("truncated within its header");
    write_bytes("\x93NUMPY\x02\x00\xff\xff\xff\xff", 12);
    expect_refusal("claims to be larger");
    unlink(path);
}
END_TEST

// A full disk and a folder that does not exist are reported; a device is written to, not replaced.
START_TEST(reports_failed_writes) {
    float values[4096] = {0};
    const Npy array = {NPY_FLOAT32, 1, {4096}, values};
    Diagnostics diagnostics = {0};
    ck_assert_int_eq(npy_write("/dev/full", &array, &diagnostics), -1);
    ck_assert_str_eq(diagnostics.text, "/dev/full: error: No space left on device\n");
    diagnostics_free(&diagnostics);
    ck_assert_int_eq(access("/dev/full", F_OK), 0);
    ck_assert_int_eq(npy_write("/nonexistent/x.npy", &array, &diagnostics), -1);
    ck_assert_str_eq(diagnostics.text, "error: cannot create '/nonexistent/x.npy': No such file or directory\n");
    diagnostics_free(&diagnostics);
}
END_TEST

// A write that fails half-way leaves the old file as it was and no temporary one (remove_folder would not be able to).
START_TEST(keeps_old_file) {
    float values[4096] = {1};
    Diagnostics diagnostics = {0};
    ck_assert_int_eq(npy_write(path, &(Npy){NPY_FLOAT32, 1, {2}, values}, &diagnostics), 0);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit, small;
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = (struct rlimit){1000, limit.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    int result = npy_write(path, &(Npy){NPY_FLOAT32, 1, {4096}, values}, &diagnostics);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert_int_eq(result, -1);
    ck_assert_ptr_nonnull(strstr(diagnostics.text, "File too large"));
    diagnostics_free(&diagnostics);
    Npy array;
    ck_assert_int_eq(npy_read(path, &array, &diagnostics), 0);
    ck_assert_int_eq(array.shape[0], 2);
    npy_free(&array);
}
END_TEST

Suite *suite_npy(void) {
    Suite *suite = suite_create("npy");
    TCase *cases = tcase_create("npy");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_checked_fixture(cases, make_folder, remove_folder);
    tcase_add_test(cases, round_trip);
    tcase_add_test(cases, writes_what_numpy_writes);
    tcase_add_test(cases, reads_versions);
    tcase_add_loop_test(cases, refuses_headers, 0, sizeof refusals / sizeof *refusals);
    tcase_add_test(cases, refuses_files);
    tcase_add_test(cases, reports_failed_writes);
    tcase_add_test(cases, keeps_old_file);
    suite_add_tcase(suite, cases);
    return suite;
}
