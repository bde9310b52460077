// From description to library to bits: every target that this machine runs, neon under qemu, against the native skeleton. In
// the fp32 class all targets with fused multiply-add give the same bits. Also what a library imports and exports, and what
// happens on a CPU that lacks its instructions.
#include <fcntl.h>
#include <gelf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../compiler/compile.h"
#include "fixture.h"
#include "suites.h"

enum { TOKENS = 21, LAYERS = 6, PATH_BYTES = 256, COMMAND_BYTES = 2048 };

static const char *build(void) {
    const char *folder = getenv("BUILD");
    return folder ? folder : "build";
}

static void write_file(const char *path, const void *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, size, file), size);
    ck_assert_int_eq(fclose(file), 0);
}

static void read_file(const char *path, void *bytes, size_t size) {
    FILE *file = fopen(path, "rb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fread(bytes, 1, size, file), size);
    fclose(file);
}

// A layer whose bits are promised: compute class fp32.
static Layer exact_layer(uint64_t seed) {
    Layer layer = fixture_layer(seed);
    layer.compute = COMPUTE_FP32;
    return layer;
}

static void compile(const Layer *layer, const char *target, const char *directory) {
    Diagnostics diagnostics = {0};
    char *text = fixture_spec("tested", layer);
    Model *model = model_read_text(text, strlen(text), "fixture", &diagnostics);
    ck_assert_msg(model != NULL, "%s\n%s", diagnostics.text, text);
    CompileOptions options = {.target = target, .compute = -1};
    ck_assert_msg(compile_library(model, &options, directory, &diagnostics) == 0, "%s", diagnostics.text);
    model_free(model);
    free(text);
}

// Files of one case: weights, tokens and the native skeleton's result.
typedef struct Case {
    char directory[PATH_BYTES];
    Layer layer;
    size_t bytes;    // of x and y
    char *expected;  // by the native skeleton
} Case;

static Case case_begin(uint64_t seed) {
    Case c = {.layer = exact_layer(seed)};
    snprintf(c.directory, sizeof c.directory, "%s/compile-%d-%d", build(), (int)getpid(), (int)seed);
    ck_assert_int_eq(mkdir(c.directory, 0777), 0);
    Kind kind = fixture_kind(&c.layer, "avx512");
    size_t image_bytes;
    char path[PATH_BYTES + 16];
    void *image = fixture_image(&kind, seed, &image_bytes), *x = fixture_tokens(&kind.plan, TOKENS, seed);
    c.bytes = (size_t)(TOKENS * c.layer.hidden) * fixture_element(&c.layer);
    c.expected = calloc(1, c.bytes);
    Library *native = fixture_native(&kind, image, image_bytes, 1, 0);
    Forward call = {.tokens = TOKENS, .x = x, .x_stride = c.layer.hidden, .y = c.expected, .y_stride = c.layer.hidden};
    ck_assert_int_eq(instance_forward(native, &call), LIBRARY_OK);
    instance_close(native);
    snprintf(path, sizeof path, "%s/weights", c.directory);
    write_file(path, image, image_bytes);
    snprintf(path, sizeof path, "%s/x", c.directory);
    write_file(path, x, c.bytes);
    free(image);
    free(x);
    return c;
}

// Runs the compiled library in a process of its own; `emulator` goes before the runner ("" for none). Returns its status.
static int run_library(const Case *c, const char *emulator, const char *runner, int threads, char *output, size_t output_size) {
    char command[COMMAND_BYTES];
    snprintf(command, sizeof command, "%s %s/%s %s/libtested.so tested %s/weights %d %d %lld %d %s/x %s/y 2>&1", emulator, build(),
             runner, c->directory, c->directory, threads, TOKENS, (long long)c->layer.hidden, (int)fixture_element(&c->layer),
             c->directory, c->directory);
    FILE *pipe = popen(command, "r");
    ck_assert_ptr_nonnull(pipe);
    output[fread(output, 1, output_size - 1, pipe)] = 0;
    return pclose(pipe);
}

static void expect_bits(const Case *c, const char *emulator, const char *runner, int threads) {
    char output[1024], path[PATH_BYTES + 16], *y = calloc(1, c->bytes);
    ck_assert_msg(run_library(c, emulator, runner, threads, output, sizeof output) == 0, "%s", output);
    snprintf(path, sizeof path, "%s/y", c->directory);
    read_file(path, y, c->bytes);
    ck_assert_mem_eq(y, c->expected, c->bytes);
    free(y);
}

static void case_end(Case *c) {
    char command[COMMAND_BYTES];
    snprintf(command, sizeof command, "rm -rf %s", c->directory);
    ck_assert_int_eq(system(command), 0);
    free(c->expected);
}

static bool runs_here(const Target *target) {
    Machine machine;
    char missing[256];
    return !machine_detect(&machine) && compile_target_is_host(target, &machine, missing, sizeof missing);
}

static bool have(const char *program) {
    char command[COMMAND_BYTES];
    snprintf(command, sizeof command, "command -v %s >/dev/null 2>&1", program);
    return system(command) == 0;
}

START_TEST(test_same_bits_on_fused_targets) {
    Case c = case_begin((uint64_t)_i);
    for (int t = 0; targets[t]; t++) {
        if (targets[t]->fused && runs_here(targets[t])) {
            compile(&c.layer, targets[t]->name, c.directory);
            expect_bits(&c, "", "runner", 1);
            expect_bits(&c, "", "runner", 2);
        }
    }
    case_end(&c);
}
END_TEST

START_TEST(test_same_bits_on_neon) {
    if (!have("qemu-aarch64")) {
        return;
    }
    Case c = case_begin((uint64_t)_i);
    compile(&c.layer, "neon", c.directory);
    expect_bits(&c, "qemu-aarch64 -cpu cortex-a72 -L /usr/aarch64-linux-gnu", "runner-aarch64", 1);
    expect_bits(&c, "qemu-aarch64 -cpu cortex-a72 -L /usr/aarch64-linux-gnu", "runner-aarch64", 2);
    case_end(&c);
}
END_TEST

// Without fused multiply-add the bits differ; the values do not.
START_TEST(test_generic_is_close) {
    Case c = case_begin((uint64_t)_i);
    if (runs_here(&target_generic) && c.layer.activations == FORMAT_FP32) {
        char output[1024], path[PATH_BYTES + 16];
        float *y = calloc(1, c.bytes), *expected = (float *)(void *)c.expected;
        double error = 0, norm = 1e-30;
        compile(&c.layer, "generic", c.directory);
        ck_assert_msg(run_library(&c, "", "runner", 2, output, sizeof output) == 0, "%s", output);
        snprintf(path, sizeof path, "%s/y", c.directory);
        read_file(path, y, c.bytes);
        for (size_t i = 0; i < c.bytes / sizeof *y; i++) {
            error += ((double)y[i] - (double)expected[i]) * ((double)y[i] - (double)expected[i]);
            norm += (double)expected[i] * (double)expected[i];
        }
        ck_assert_msg(error <= 1e-10 * norm, "relative error %g", error / norm);
        free(y);
    }
    case_end(&c);
}
END_TEST

// A CPU without AVX-512 (qemu's emulates AVX2 at most): a clear error instead of an illegal instruction.
START_TEST(test_wrong_cpu) {
    if (!have("qemu-x86_64") || strcmp(target_generic.architecture, "x86_64")) {
        return;
    }
    Case c = case_begin(1);
    char output[1024];
    compile(&c.layer, "avx512", c.directory);
    ck_assert_int_ne(run_library(&c, "qemu-x86_64 -cpu max", "runner", 1, output, sizeof output), 0);
    ck_assert_msg(strstr(output, "avx512f") != NULL && strstr(output, "lacks") != NULL, "%s", output);
    compile(&c.layer, "avx2", c.directory);
    expect_bits(&c, "qemu-x86_64 -cpu max", "runner", 1);
    case_end(&c);
}
END_TEST

// What a library may ask of the system that loads it.
static const char *const allowed_imports[] = {
    "GOMP_",
    "omp_get_",
    "__cxa_finalize",
    "__gmon_start__",
    "_ITM_",
    "mem",
    "str",
    "__str",
    "__mem",
    "mmap",
    "munmap",
    "madvise",
    "open",
    "close",
    "read",
    "pwrite",
    "write",
    "fstat",
    "stat",
    "fsync",
    "rename",
    "unlink",
    "fallocate",
    "posix_fallocate",
    "mprotect",
    "syscall",  // permission for tile registers
    "malloc",
    "calloc",
    "realloc",
    "free",
    "aligned_alloc",
    "posix_memalign",
    "asprintf",
    "snprintf",
    "vsnprintf",
    "__snprintf_chk",
    "__vsnprintf_chk",
    "__asprintf_chk",
    "sscanf",
    "__isoc99_sscanf",
    "fopen",
    "fclose",
    "fget",
    "fread",
    "qsort",
    "bsearch",
    "sched_getaffinity",
    "sched_setaffinity",
    "__sched_cpu",
    "sched_yield",
    "pthread_self",
    "pthread_",
    "sysconf",
    "getauxval",
    "get_nprocs",
    "__errno_location",
    "__stack_chk_fail",
    "__assert_fail",
    "localeconv",
    "gettimeofday",
    "clock_gettime",
    "getpid",
    "time",
    "opendir",
    "readdir",
    "closedir",
    "localeconv",
    "__ctype",
    "fwrite",
    "fputs",
    "ferror",
    "abort",
    "mkstemp",
    "ftruncate",
    "access",
    "lseek",
    "isnan",
    "dirname",
    "basename",
    "setlocale",
    "__fdelt",
    "__open",
    "__fread_chk",
    "__fgets_chk",
    "stdin",
};

static bool allowed(const char *name) {
    for (size_t i = 0; i < sizeof allowed_imports / sizeof *allowed_imports; i++) {
        if (!strncmp(name, allowed_imports[i], strlen(allowed_imports[i]))) {
            return true;
        }
    }
    return false;
}

static void check_symbols(Elf *elf) {
    Elf_Scn *section = NULL;
    GElf_Shdr header;
    int exports = 0;
    while ((section = elf_nextscn(elf, section))) {
        ck_assert_ptr_nonnull(gelf_getshdr(section, &header));
        if (header.sh_type != SHT_DYNSYM) {
            continue;
        }
        Elf_Data *data = elf_getdata(section, NULL);
        for (int i = 1; i < (int)(header.sh_size / header.sh_entsize); i++) {
            GElf_Sym symbol;
            ck_assert_ptr_nonnull(gelf_getsym(data, i, &symbol));
            const char *name = elf_strptr(elf, header.sh_link, symbol.st_name);
            if (symbol.st_shndx == SHN_UNDEF) {
                ck_assert_msg(allowed(name), "the library imports %s", name);
            } else {
                ck_assert_msg(!strncmp(name, "tested_", 7), "the library exports %s", name);
                exports++;
            }
        }
    }
    ck_assert_int_ge(exports, 11);
}

START_TEST(test_symbols) {
    static const char *const names[] = {"avx512", "neon"};
    Case c = case_begin(2);
    char path[PATH_BYTES + 32];
    compile(&c.layer, names[_i], c.directory);
    snprintf(path, sizeof path, "%s/libtested.so", c.directory);
    int descriptor = open(path, O_RDONLY);
    ck_assert_int_ge(descriptor, 0);
    elf_version(EV_CURRENT);
    Elf *elf = elf_begin(descriptor, ELF_C_READ, NULL);
    ck_assert_ptr_nonnull(elf);
    check_symbols(elf);
    elf_end(elf);
    close(descriptor);
    case_end(&c);
}
END_TEST

START_TEST(test_cannot_write) {
    Layer layer = exact_layer(1);
    Diagnostics diagnostics = {0};
    char *text = fixture_spec("tested", &layer);
    Model *model = model_read_text(text, strlen(text), "fixture", &diagnostics);
    CompileOptions options = {.compute = -1};
    ck_assert_int_ne(compile_library(model, &options, "/proc/nowhere", &diagnostics), 0);
    ck_assert_msg(strstr(diagnostics.text, "/proc/nowhere") != NULL, "%s", diagnostics.text);
    options.target = "z80";
    ck_assert_int_ne(compile_library(model, &options, build(), &diagnostics), 0);
    ck_assert_msg(strstr(diagnostics.text, "z80") != NULL && strstr(diagnostics.text, "avx512") != NULL, "%s", diagnostics.text);
    diagnostics_free(&diagnostics);
    model_free(model);
    free(text);
}
END_TEST

Suite *suite_compile(void) {
    Suite *suite = suite_create("compile");
    TCase *cases = tcase_create("libraries");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_loop_test(cases, test_same_bits_on_fused_targets, 0, LAYERS);
    tcase_add_loop_test(cases, test_same_bits_on_neon, 0, LAYERS);
    tcase_add_loop_test(cases, test_generic_is_close, 0, LAYERS);
    tcase_add_test(cases, test_wrong_cpu);
    tcase_add_loop_test(cases, test_symbols, 0, 2);
    tcase_add_test(cases, test_cannot_write);
    suite_add_tcase(suite, cases);
    return suite;
}
