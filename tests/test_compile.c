// From description to library to bits: every target that this machine runs, neon under qemu, against the native skeleton. In
// the fp32 class all targets with fused multiply-add give the same bits. Also what a library imports and exports, and what
// happens on a CPU that lacks its instructions.
#include <fcntl.h>
#include <gelf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "available.h"
#include "compiler/library/compile.h"
#include "compiler/plan/planner.h"
#include "fixture.h"
#include "suites.h"

// The random layers with few tokens; behind them one whose experts get so many rows that every panel meets several tiles.
enum { LAYERS = 6, TALL = LAYERS, CASES, FEW_TOKENS = 21, TALL_TOKENS = 131 };
enum { PATH_BYTES = 256, COMMAND_BYTES = 2048 };

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

// bf16 panels are widened once for all tiles of an expert's rows: 87 rows on average, tiles have at most 14.
static Layer tall_layer(void) {
    return fixture_neutral((Layer){.hidden = 72,
                                   .iterations = 2,
                                   .experts = 3,
                                   .intermediate = 41,
                                   .top_k = 2,
                                   .shared_experts = 1,
                                   .shared_intermediate = 41,
                                   .norm = NORM_RMS,
                                   .norm_eps = 1e-5f,
                                   .inner_residual = 1,
                                   .outer_residual = 1,
                                   .normalize = 1,
                                   .normalize_eps = 1e-20f,
                                   .gate_per_iteration = 1,
                                   .gated = 1,
                                   .activation = ACTIVATION_SILU,
                                   .weights = FORMAT_BF16});
}

// Files of one case: weights, tokens and the native skeleton's result.
typedef struct Case {
    char directory[PATH_BYTES];
    Layer layer;
    Plan plan;
    void *image, *x;
    int tokens;
    size_t bytes;    // of x and y
    char *expected;  // by the native skeleton
} Case;

static Case case_begin(uint64_t seed) {
    const bool tall = seed == TALL;
    Case c = {.layer = tall ? tall_layer() : exact_layer(seed), .tokens = tall ? TALL_TOKENS : FEW_TOKENS};
    snprintf(c.directory, sizeof c.directory, "%s/compile-%d-%d", build(), (int)getpid(), (int)seed);
    ck_assert_int_eq(mkdir(c.directory, 0777), 0);
    Kind kind = fixture_kind(&c.layer, "avx512");
    ck_assert(!tall || (kind.plan.roles[ROLE_GATE_UP].widen_tiles && kind.plan.roles[ROLE_DOWN].widen_tiles));
    size_t image_bytes;
    char path[PATH_BYTES + 16];
    c.plan = kind.plan;
    c.image = fixture_image(&kind, seed, &image_bytes);
    c.x = fixture_tokens(&kind.plan, c.tokens, seed);
    c.bytes = (size_t)(c.tokens * c.layer.hidden) * fixture_element(&c.layer);
    c.expected = calloc(1, c.bytes);
    Library *native = fixture_native(&kind, c.image, image_bytes, 1, 0);
    Forward call = {.tokens = c.tokens, .x = c.x, .x_stride = c.layer.hidden, .y = c.expected, .y_stride = c.layer.hidden};
    ck_assert_int_eq(instance_forward(native, &call), LIBRARY_OK);
    instance_close(native);
    snprintf(path, sizeof path, "%s/weights", c.directory);
    write_file(path, c.image, image_bytes);
    snprintf(path, sizeof path, "%s/x", c.directory);
    write_file(path, c.x, c.bytes);
    return c;
}

// Runs the compiled library in a process of its own; `emulator` goes before the runner ("" for none). Returns its status.
static int run_library(const Case *c, const char *emulator, const char *runner, int threads, char *output, size_t output_size) {
    char command[COMMAND_BYTES];
    snprintf(command, sizeof command, "%s %s/%s %s/libtested.so tested %s/weights %d %d %lld %d %s/x %s/y 2>&1", emulator, build(),
             runner, c->directory, c->directory, threads, c->tokens, (long long)c->layer.hidden, (int)fixture_element(&c->layer),
             c->directory, c->directory);
    FILE *pipe = popen(command, "r");
    ck_assert_ptr_nonnull(pipe);
    output[fread(output, 1, output_size - 1, pipe)] = 0;
    return pclose(pipe);
}

// What the compiled library leaves in y; owned.
static char *run_for_output(const Case *c, const char *emulator, const char *runner, int threads) {
    char output[1024], path[PATH_BYTES + 16], *y = calloc(1, c->bytes);
    ck_assert_msg(run_library(c, emulator, runner, threads, output, sizeof output) == 0, "%s", output);
    snprintf(path, sizeof path, "%s/y", c->directory);
    read_file(path, y, c->bytes);
    return y;
}

static void expect_bits(const Case *c, const char *emulator, const char *runner, int threads) {
    char *y = run_for_output(c, emulator, runner, threads);
    ck_assert_mem_eq(y, c->expected, c->bytes);
    free(y);
}

static void case_end(Case *c) {
    char command[COMMAND_BYTES];
    snprintf(command, sizeof command, "rm -rf %s", c->directory);
    ck_assert_int_eq(system(command), 0);
    free(c->expected);
    free(c->image);
    free(c->x);
}

START_TEST(test_same_bits_on_fused_targets) {
    Case c = case_begin((uint64_t)_i);
    for (int t = 0; targets[t]; t++) {
        if (targets[t]->fused && available_target(targets[t])) {
            compile(&c.layer, targets[t]->name, c.directory);
            expect_bits(&c, "", "runner", 1);
            expect_bits(&c, "", "runner", 2);
        }
    }
    case_end(&c);
}
END_TEST

// libgomp's workers do not survive a fork: a child that waits for them hangs.
START_TEST(test_a_child_runs_with_all_threads) {
    Case c = case_begin(0);
    ck_assert_int_eq(setenv("RUNNER_FORK", "1", 1), 0);
    compile(&c.layer, "host", c.directory);
    expect_bits(&c, "", "runner", 2);
    if (available_program(AVAILABLE_NEON)) {
        compile(&c.layer, "neon", c.directory);
        expect_bits(&c, AVAILABLE_RUN_NEON, "runner-aarch64", 2);
    }
    case_end(&c);
}
END_TEST

START_TEST(test_same_bits_on_neon) {
    if (!available_program(AVAILABLE_NEON)) {
        return;
    }
    Case c = case_begin((uint64_t)_i);
    compile(&c.layer, "neon", c.directory);
    expect_bits(&c, AVAILABLE_RUN_NEON, "runner-aarch64", 1);
    expect_bits(&c, AVAILABLE_RUN_NEON, "runner-aarch64", 2);
    case_end(&c);
}
END_TEST

// Without fused multiply-add the bits differ. The oracle's bounds hold for products that are rounded, too; the choices are its own,
// and no seed here has a near tie.
START_TEST(test_generic_is_close) {
    Case c = case_begin((uint64_t)_i);
    if (available_target(&target_generic)) {
        compile(&c.layer, "generic", c.directory);
        char *y = run_for_output(&c, "", "runner", 2);
        const FixtureForward left = {.tokens = c.tokens, .x = c.x, .y = y};
        OracleWeights weights;
        ck_assert_int_eq(oracle_weights_allocate(&c.layer, &weights), 0);
        oracle_weights_unpack(&c.plan, packed_image_instance(c.image, 0, 0), &weights);
        fixture_expect_oracle(&c.layer, &weights, &left, ERROR_LIKELY, "generic");
        oracle_weights_free(&weights);
        free(y);
    }
    case_end(&c);
}
END_TEST

// A CPU without AVX-512 (qemu's emulates AVX2 at most): a clear error instead of an illegal instruction.
START_TEST(test_wrong_cpu) {
    if (!available_program("qemu-x86_64") || strcmp(target_generic.architecture, "x86_64")) {
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

// What a library may ask of the system that loads it: files and memory, no exit, no output, no environment. These are the names
// that `nm -D --undefined-only` shows of libraries for x86-64 (with the checkpoint reader) and aarch64 (without).
static const char *const allowed_imports[] = {
    "__assert_fail",
    "__errno_location",
    "__register_atfork",
    "__sched_cpualloc",
    "__sched_cpufree",
    "__stack_chk_fail",
    "__stack_chk_guard",
    "access",
    "asprintf",
    "calloc",
    "clock_gettime",
    "close",
    "closedir",
    "fallocate",
    "fclose",
    "fgetc",
    "fgets",
    "flock",
    "fopen",
    "free",
    "fstat",
    "fsync",
    "getauxval",
    "geteuid",
    "getpid",
    "gettimeofday",
    "linkat",
    "localeconv",
    "lstat",
    "madvise",
    "malloc",
    "memchr",
    "memcmp",
    "memcpy",
    "memmove",
    "memset",
    "mmap",
    "mprotect",
    "msync",
    "munmap",
    "open",
    "opendir",
    "pthread_self",
    "pwrite",
    "qsort",
    "read",
    "readdir",
    "realloc",
    "realpath",
    "rename",
    "sched_getaffinity",
    "sched_setaffinity",
    "sched_yield",
    "snprintf",
    "sscanf",
    "stat",
    "strchr",
    "strcmp",
    "strcspn",
    "strdup",
    "strerror",
    "strerror_r",
    "strlen",
    "strncmp",
    "strncpy",
    "strndup",
    "strnlen",
    "strrchr",
    "strspn",
    "strstr",
    "strtod",
    "strtoll",
    "syscall",
    "sysconf",
    "unlink",
    "vsnprintf",
};
static const char *const allowed_prefixes[] = {"GOMP_", "omp_get_",
                                               "omp_pause_resource_all"};  // compilers call libgomp in their own ways

// A function's other names: __NAME_chk (_FORTIFY_SOURCE), __NAME_2 (open in the same), __isoc99_NAME and __isoc23_NAME (newer C).
static const struct {
    const char *before, *after;
} spellings[] = {{"", ""}, {"__", "_chk"}, {"__", "_2"}, {"__isoc99_", ""}, {"__isoc23_", ""}};

static bool allowed(const char *name) {
    char spelled[64];
    for (size_t p = 0; p < sizeof allowed_prefixes / sizeof *allowed_prefixes; p++) {
        if (!strncmp(name, allowed_prefixes[p], strlen(allowed_prefixes[p]))) {
            return true;
        }
    }
    for (size_t i = 0; i < sizeof allowed_imports / sizeof *allowed_imports; i++) {
        for (size_t s = 0; s < sizeof spellings / sizeof *spellings; s++) {
            snprintf(spelled, sizeof spelled, "%s%s%s", spellings[s].before, allowed_imports[i], spellings[s].after);
            if (!strcmp(name, spelled)) {
                return true;
            }
        }
    }
    return false;
}

START_TEST(test_allowed_names) {
    static const char *const no[] = {"exit",   "abort",  "_exit", "printf",  "fwrite",    "stdin",
                                     "getenv", "memory", "fork",  "strtol_", "__isoc23_", "system"};
    static const char *const yes[] = {"GOMP_parallel", "read",         "__isoc23_strtoll", "__isoc23_sscanf",
                                      "__open_2",      "__memcpy_chk", "__stack_chk_guard"};
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
        ck_assert_msg(!allowed(no[i]), "%s", no[i]);
    }
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        ck_assert_msg(allowed(yes[i]), "%s", yes[i]);
    }
}
END_TEST

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

// A library asks for everything that its target and its paths need, also for a name that is a part of another.
START_TEST(test_features) {
    const Machine machine = {.threads = 1};
    Layer layer = exact_layer(1);
    layer.weights = FORMAT_BF16;
    Target target = target_avx512;
    target.requires = "avx512vbmi2 avx512f";
    target.needs[PATH_BF16_WIDENED].requires = "avx512vbmi avx512f";
    Plan plans[2] = {plan_default(&layer, &target, &machine, NULL), plan_default(&layer, &target, &machine, NULL)};
    ck_assert_int_eq(plans[0].roles[ROLE_GATE_UP].path, PATH_BF16_WIDENED);
    ck_assert_str_eq(compile_features(&target, plans, 2).names, "avx512vbmi2 avx512f avx512vbmi");
    plans[1] = plan_with_path(&plans[1], PATH_BF16_AMX, &target, &machine);
    ck_assert_str_eq(compile_features(&target, plans, 1).names, "avx512vbmi2 avx512f avx512vbmi");
    ck_assert_str_eq(compile_features(&target, plans, 2).names, "avx512vbmi2 avx512f avx512vbmi amx_tile amx_bf16");
}
END_TEST

Suite *suite_compile(void) {
    Suite *suite = suite_create("compile");
    TCase *cases = tcase_create("libraries");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_loop_test(cases, test_same_bits_on_fused_targets, 0, CASES);
    tcase_add_loop_test(cases, test_same_bits_on_neon, 0, CASES);
    tcase_add_test(cases, test_a_child_runs_with_all_threads);
    tcase_add_loop_test(cases, test_generic_is_close, 0, CASES);
    tcase_add_test(cases, test_wrong_cpu);
    tcase_add_test(cases, test_features);
    tcase_add_test(cases, test_allowed_names);
    tcase_add_loop_test(cases, test_symbols, 0, 2);
    tcase_add_test(cases, test_cannot_write);
    suite_add_tcase(suite, cases);
    return suite;
}
