// The commands as users meet them: exit codes, messages, files that survive a failure, documents that parse. No timings.
// Over 500 lines: most of it are tables of commands and what they say.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compiler/base/npy.h"
#include "compiler/base/temporary.h"
#include "compiler/bench/bench.h"
#include "compiler/commands/command.h"
#include "compiler/machine/peaks.h"
#include "compiler/plan/text.h"
#include "fixture.h"
#include "runtime/file.h"
#include "runtime/packed.h"
#include "runtime/unfinished.h"
#include "shell.h"
#include "suites.h"

static const char spec[] = "tests/data/mixtral_small.json", data[] = "tests/data/mixtral_small";
static const char library[] = "$D/libmixtral_small.so";

static void compile_small(void) {
    shell_expect(EXIT_OK, "libmixtral_small.so", "$CATENA compile %s -o $D", spec);
}

// --- usage -------------------------------------------------------------------------------------------------------------------

#define COMMAND_NAME(name, summary) #name,
static const char *const commands[] = {COMMAND_LIST(COMMAND_NAME)};
enum { COMMANDS = sizeof commands / sizeof *commands };

START_TEST(every_command_explains_itself) {
    const char *name = commands[_i];
    char usage[64];
    snprintf(usage, sizeof usage, "Usage: catena %s", name);
    shell_expect(EXIT_OK, usage, "$CATENA %s --help", name);
    shell_expect(EXIT_OK, "catena " CATENA_VERSION, "$CATENA %s --version", name);
    shell_expect(EXIT_USAGE, "--no-such-option", "$CATENA %s --no-such-option", name);
    shell_expect(EXIT_OK, name, "$CATENA --help");
    if (strcmp(name, "info") && strcmp(name, "schema")) {  // these two need nothing
        shell_expect(EXIT_USAGE, "--help", "$CATENA %s", name);
    }
}
END_TEST

START_TEST(usage_errors) {
    static const struct {
        const char *arguments, *words;
    } rows[] = {
        {"", "Usage: catena COMMAND"},
        {"frobnicate", "unknown command 'frobnicate'"},
        {"bench", "which description or library?"},
        {"bench a.json b.json", "'b.json'"},
        {"bench --tokens 1,x a.json", "token counts from 1 to 1048576, not 'x'"},
        {"bench --tokens 0 a.json", "'0'"},
        {"bench --tokens 16:2 a.json", "not '16:2'"},
        {"bench --routing zipf a.json", "trace:PREFIX, not 'zipf'"},
        {"bench --format xml a.json", "md or json, not 'xml'"},
        {"compile a.json", "-o DIR"},
        {"compile a.json -o D --emit llvm", "not 'llvm'"},
        {"compile a.json -o D --compute fp16", "not 'fp16'"},
        {"explain --threads 0 a.json", "not '0'"},
        {"info extra", "unexpected argument 'extra'"},
        {"info --threads 2x", "not '2x'"},
        {"verify --cases -1 a.so", "not '-1'"},
        {"verify a.so b.so", "'b.so'"},
        {"run a.so", "--weights, --layer, --input and --output are needed"},
        {"run a.so -w w -l l -i i -o o --format json", "--format goes with --figures"},
        {"run a.so -w w -l l -i i -o o --figures --sequence 0", "run: --sequence takes"},
        {"pack a.so -o x", "--weights"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        shell_expect(EXIT_USAGE, rows[i].words, "$CATENA %s", rows[i].arguments);
    }
    shell_expect(EXIT_OK, "Usage: catena COMMAND", "$CATENA help");
    shell_expect(EXIT_OK, "catena " CATENA_VERSION, "$CATENA --version");
}
END_TEST

// --- descriptions --------------------------------------------------------------------------------------------------------------

START_TEST(wrong_descriptions) {
    static const struct {
        const char *edit, *words;  // a sed script over the small description
    } rows[] = {
        {"8s/1e-5/1e-5,}/", "spec.json:8:"},
        {"s/\"residual\"/\"residul\"/", "spec.json:9:5: error: unknown key \"residul\" in layer: did you mean \"residual\"?"},
        {"s/\"k\": 2/\"top_k\": 2/", "unknown key \"top_k\" in router: did you mean \"k\"?"},
        {"s/\"count\": 8/\"num_experts\": 8/", "unknown key \"num_experts\" in experts: did you mean \"count\"?"},
        {"s/\"count\": 8/\"count\": 0/",
         "spec.json:11:26: error: layers[0].experts.count must be an integer from 1 to 65536, found 0"},
        {"s/\"count\": 8/\"count\": 1000000000/", "found 1000000000"},
        {"s/\"count\": 8/\"count\": 1e9/", "spec.json:11:"},
        {"s/\"count\": 8/\"count\": 99999999999999999999/", "spec.json:11:"},
        {"s/\"count\": 8/\"count\": 65536/; s/: 64,/: 1048576,/; s/\"hidden\": 72/\"hidden\": 1048576/", "more than 64 TiB"},
        {"s/\"k\": 2/\"k\": 9/", "the pool has only 8 experts"},
        {"s/\"compute\": \"fp32\"/\"compute\": \"bf16\"/", "no instruction path of this class reads without rounding"},
        {"$d", "spec.json:2"},
        {"2,$d", "spec.json:"},
        {"d", "spec.json:1:1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ck_assert_int_eq(shell_run("sed '%s' %s >$D/spec.json", rows[i].edit, spec), 0);
        shell_expect(EXIT_FAILED, rows[i].words, "$CATENA compile $D/spec.json -o $D/out");
    }
    shell_expect(EXIT_FAILED,
                 "config.json:1:1: error: a model's configuration, not a description: 'catena import tests/golden/mixtral/",
                 "$CATENA compile tests/golden/mixtral/config.json -o $D/out");
    shell_expect(EXIT_FAILED, "missing.json: error: No such file", "$CATENA compile $D/missing.json -o $D/out");
    shell_expect(EXIT_FAILED, "Is a directory", "$CATENA compile $D -o $D/out");
    shell_expect(EXIT_FAILED, "missing.json", "$CATENA explain $D/missing.json");
    shell_expect(EXIT_FAILED, "missing.json", "$CATENA bench $D/missing.json");
    ck_assert_int_ne(shell_run("test -e $D/out"), 0);
    // All errors of a file in one go.
    ck_assert_int_eq(shell_run("sed 's/\"count\": 8/\"count\": 0/; s/\"residual\"/\"residul\"/' %s >$D/spec.json", spec), 0);
    shell_expect(EXIT_FAILED, "residul", "$CATENA compile $D/spec.json -o $D/out");
    shell_expect(EXIT_FAILED, "found 0", "$CATENA compile $D/spec.json -o $D/out");
}
END_TEST

// --- writing -------------------------------------------------------------------------------------------------------------------

START_TEST(unwritable_places) {
    ck_assert_int_eq(shell_run("echo >$D/file"), 0);
    shell_expect(EXIT_FAILED, "file' is a file where a folder is needed", "$CATENA compile %s -o $D/file", spec);
    shell_expect(EXIT_FAILED, "file' is a file where a folder is needed", "$CATENA compile %s -o $D/file/below", spec);
    shell_expect(EXIT_FAILED, "'/dev/full' is a file where", "$CATENA compile %s -o /dev/full", spec);
    shell_expect(EXIT_FAILED, "cannot create the folder '/proc/new': No such", "$CATENA compile %s -o /proc/new/newer/", spec);
    shell_expect(EXIT_FAILED, "unknown target 'z80'", "$CATENA compile %s -o $D/out --target z80", spec);
    shell_expect(EXIT_FAILED, "no-such-linker", "CATENA_LLD=$D/no-such-linker $CATENA compile %s -o $D/out", spec);
    shell_expect(EXIT_FAILED, "no place for a library: pkg-config", "$CATENA compile %s -o \"$D/a\\$b/c\"", spec);
    shell_expect(EXIT_FAILED, "no place for a library: pkg-config", "$CATENA compile %s -o $D/a%%b", spec);
    shell_expect(0, "absent\n", "test -e \"$D/a\\$b\" || test -e $D/a%%b || echo absent");
    shell_expect(EXIT_FAILED, "no place for a library: pkg-config",
                 "mkdir \"$D/c\\$d\" && ln -s 'c$d' $D/link && $CATENA compile %s -o $D/link/new/newer", spec);
    shell_expect(0, "0\n", "ls $D/link | wc -l; rm -r $D/link $D/c*");
    // folders that were made go with a compile that fails, those that were there stay
    shell_expect(EXIT_FAILED, "no-such-linker", "mkdir $D/old; CATENA_LLD=no-such-linker $CATENA compile %s -o $D/old/new//er/",
                 spec);
    shell_expect(0, "0\n", "ls $D/old | wc -l");
    shell_expect(EXIT_OK, "old/new/er/libmixtral_small.so\n", "$CATENA compile %s -o $D/old/new/er//", spec);
    compile_small();
    shell_expect(EXIT_FAILED, "'new/' is not the name of a file", "$CATENA pack %s -w %s -o new/", library, data);
    shell_expect(EXIT_FAILED, "cannot create 'no/such/packed': No such", "$CATENA pack %s -w %s -o no/such/packed", library, data);
}
END_TEST

// What a command writes, and what it reads last, is tried before the work: here, before a linker that is not there is missed.
START_TEST(preconditions_come_first) {
    static const struct {
        const char *arguments, *words;
    } rows[] = {
        {"bench tests/data/mixtral_small.json --layer other", "mixtral_small.json: error: there is no layer 'other'"},
        {"bench tests/data/mixtral_small.json --against $D/none.so", "none.so: error: cannot open: No such file"},
        {"bench tests/data/mixtral_small.json --routing trace:$D/none", "none.experts.npy: error: "},
        {"bench tests/data/mixtral_small.json --plot $D/no/such.svg", "such.svg': No such file or directory"},
        {"import $D/none -o $D/no/such.json", "cannot create '"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        shell_expect(EXIT_FAILED, rows[i].words, "CATENA_LLD=no-such-linker $CATENA %s", rows[i].arguments);
    }
    shell_expect(EXIT_FAILED, "cannot create a folder for what is compiled in '/proc/': No such file or directory; the environment",
                 "TMPDIR=/proc/ $CATENA bench %s", spec);
    // weights that are not there would be missed once they are read
    static const char *const outputs[] = {"-o $D/no/y.npy", "-o $D/y.npy --scores $D/no/s.npy", "-o $D/y.npy --routing $D/no/r"};
    compile_small();
    shell_expect(0, "", "cp %s/0.layer_in.npy $D/x.npy", data);
    for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++) {
        shell_expect(EXIT_FAILED, "npy': No such file or directory", "$CATENA run %s -w $D/none -l sparse -i $D/x.npy %s", library,
                     outputs[i]);
    }
    shell_expect(EXIT_FAILED, "none'", "$CATENA run %s -w $D/none -l sparse -i $D/x.npy -o /dev/null", library);
}
END_TEST

// A path with blanks and quotes gets through pkg-config as it is.
START_TEST(pkgconfig_quotes_paths) {
    shell_expect(EXIT_OK, "", "$CATENA compile %s -o \"$D/a 'b\"", spec);
    shell_expect(0, "",
                 "eval \"set -- $(PKG_CONFIG_PATH=\"$D/a 'b\" pkg-config --cflags mixtral_small)\"; test \"$1\" = \"-I$D/a 'b\"");
}
END_TEST

// Output that does not arrive is a failure of every command that has one.
START_TEST(unwritable_output) {
    static const char *const uses[] = {"--help",
                                       "--version",
                                       "compile --help",
                                       "info",
                                       "explain --text tests/data/mixtral_small.json",
                                       "compile tests/data/mixtral_small.json -o $D",
                                       "verify --cases 1 $D/libmixtral_small.so",
                                       "bench --tokens 1 --seconds 0 --against none $D/libmixtral_small.so"};
    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++) {
        shell_expect(EXIT_FAILED, "standard output: ", "$CATENA %s >/dev/full", uses[i]);
    }
}
END_TEST

// More threads than cores are no error, but are said; not of a machine that is not there.
START_TEST(threads_that_share_cores) {
    static const char *const uses[] = {
        "explain tests/data/mixtral_small.json", "bench --tokens 1 --seconds 0 --against none $D/libmixtral_small.so",
        "run $D/libmixtral_small.so -w none -l none -i none -o none", "tune --wisdom $D/no/such tests/data/mixtral_small.json",
        "verify --cases 1 $D/libmixtral_small.so"};
    const char *words = "2 threads on 1 core that this process may use: they will share cores";
    const char *start = "taskset -c $(taskset -cp $$ | sed 's/.*: //; s/[^0-9].*//') $CATENA";
    compile_small();
    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++) {
        shell_expect(0, "1\n", "%s %s --threads 2 2>&1 | grep -c '%s'", start, uses[i], words);
    }
    shell_expect(0, "0\n", "%s %s --threads 1 2>&1 | grep -c 'share cores' || true", start, uses[0]);
    shell_expect(0, "0\n",
                 "for use in explain tune; do %s $use --threads 2 --topology 'pack:1 l3:1 core:2 pu:1' %s 2>&1; done "
                 "| grep -c 'share cores' || true",
                 start, spec);
}
END_TEST

// A benchmark that is ended takes away what it compiled, also where nobody reads it any more.
START_TEST(ended_benchmarks_leave_nothing) {
    enum { ENDED = 124 };  // by timeout; other signals may be ignored where the tests run
    shell_expect(ENDED, "catena bench: stopped", "TMPDIR=$D timeout -s TERM 1 $CATENA bench --seconds 60 %s", spec);
    shell_expect(0, "0\n", "ls $D | wc -l");
    shell_expect(0, "0\n", "TMPDIR=$D $CATENA bench --seconds 0 --tokens 1 --against none %s | true; ls $D | wc -l", spec);
}
END_TEST

// The linker is where a compile can be met half-way: this one writes, and sends a signal to the compiler.
static const char rude_linker[] =
    "#!/bin/sh\nfor a; do test \"$before\" = -o && echo half >\"$a\"; before=$a; done\nkill -s $SENT $PPID\n"
    "test \"$NAP\" && exec sleep $NAP\nsleep 0.1\nexit 1\n";

START_TEST(signals_leave_nothing) {
    static const struct {
        const char *name;
        int number;
    } sent[] = {{"INT", SIGINT}, {"TERM", SIGTERM}, {"HUP", SIGHUP}};
    shell_write_file("$D/linker", rude_linker, sizeof rude_linker - 1);
    shell_expect(0, "", "chmod +x $D/linker");
    for (size_t i = 0; i < sizeof sent / sizeof *sent; i++) {
        shell_expect(128 + sent[i].number, "", "SENT=%s CATENA_LLD=$D/linker env --default-signal=%s $CATENA compile %s -o $D/out",
                     sent[i].name, sent[i].name, spec);
        shell_expect(0, "0\n", "ls -A $D/out | wc -l");
    }
    shell_expect(EXIT_FAILED, "linking failed", "trap '' TERM; SENT=TERM CATENA_LLD=$D/linker $CATENA compile %s -o $D/out", spec);
    shell_expect(0, "0\n", "ls -A $D/out | wc -l");
    // a linker that does not end by itself, and a child that this process had before it became the compiler
    shell_expect(128 + SIGTERM, "", "NAP=100 SENT=TERM CATENA_LLD=$D/linker timeout -s KILL 60 $CATENA compile %s -o $D/out", spec);
    shell_expect(
        128 + SIGTERM, "",
        "sh -c 'sleep 100 >$D/null 2>&1 & echo $! >$D/child; SENT=TERM CATENA_LLD=$D/linker exec $CATENA compile %s -o $D/out'",
        spec);
    shell_expect(0, "", "kill $(cat $D/child)");
    shell_expect(0, "0\n", "ls -A $D/out | wc -l");
}
END_TEST

// Takes the place of libc's rename: SIGTERM arrives right after that of a file whose name ends as $LAST.
static const char rude_rename[] =
    "#define _GNU_SOURCE\n#include <fcntl.h>\n#include <signal.h>\n#include <stdio.h>\n#include <stdlib.h>\n"
    "#include <string.h>\n#include <unistd.h>\n"
    "int rename(const char *from, const char *to) {\n"
    "    const char *last = getenv(\"LAST\"), *end = to + strlen(to) - strlen(last);\n"
    "    int status = renameat(AT_FDCWD, from, AT_FDCWD, to);\n"
    "    if (end > to && !strcmp(end, last)) {\n        kill(getpid(), SIGTERM);\n    }\n"
    "    return status;\n}\n";

// Files that belong together: all or none.
START_TEST(signals_leave_whole_sets) {
    static const struct {
        const char *last, *arguments, *left;
    } rows[] = {
        {".h", "compile tests/data/mixtral_small.json -o $D/out", "libmixtral_small.so mixtral_small.h mixtral_small.pc "},
        {".pc", "compile tests/data/mixtral_small.json -o $D/out", "libmixtral_small.so mixtral_small.h mixtral_small.pc "},
        {".safetensors", "import tests/data/torch/remoe_sequential -o $D/out/r.json", ""},
        {".json", "import tests/data/torch/remoe_sequential -o $D/out/r.json", "r.json r.safetensors "},
    };
    shell_write_file("$D/rename.c", rude_rename, sizeof rude_rename - 1);
    shell_expect(0, "", "cc -shared -fPIC -o $D/rename.so $D/rename.c");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        shell_expect(0, "", "rm -rf $D/out; mkdir $D/out");
        shell_expect(128 + SIGTERM, "",
                     "LAST=%s ASAN_OPTIONS=verify_asan_link_order=0 LD_PRELOAD=$D/rename.so env --default-signal=TERM $CATENA %s",
                     rows[i].last, rows[i].arguments);
        shell_expect(0, rows[i].left, "ls -A $D/out | tr '\\n' ' '");
        shell_expect(0, *rows[i].left ? "" : "0\n", "ls -A $D/out | wc -l");
    }
}
END_TEST

// The same for files that have names while they are written, because their file system has no others.
START_TEST(signals_leave_no_file) {
    char path[SHELL_PATH_BYTES + 16];
    snprintf(path, sizeof path, "%s/packed", shell_folder());
    for (int handled = 0; handled < 2; handled++) {
        pid_t child = fork();
        if (!child) {
            char *first = unfinished_name(path, 0), *second = unfinished_name(path, 1);
            Output kept;
            signal(SIGTERM, SIG_DFL);
            if (handled) {
                temporary_handle_signals();
            }
            if (first && second && output_open(path, 10, &kept, NULL) == LIBRARY_OK && temporary_create(first, -1) >= 0 &&
                temporary_create(second, -1) >= 0 && output_commit(&kept, NULL) == LIBRARY_OK) {
                raise(SIGTERM);
            }
            _exit(1);
        }
        int status;
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
        shell_expect(0, handled ? "1\n" : "3\n", "ls $D | wc -l; rm $D/packed*");
    }
}
END_TEST

// A worker of OpenMP's holds no signal back: one that comes to it must not end the process while the main thread holds them.
START_TEST(signals_wait_for_the_main_thread) {
    char held[SHELL_PATH_BYTES + 16], late[SHELL_PATH_BYTES + 16], reached[SHELL_PATH_BYTES + 16];
    snprintf(held, sizeof held, "%s/held", shell_folder());
    snprintf(late, sizeof late, "%s/late", shell_folder());
    snprintf(reached, sizeof reached, "%s/reached", shell_folder());
    pid_t child = fork();
    if (!child) {
        int threads = 0;
        sigset_t before;
        signal(SIGTERM, SIG_DFL);
        temporary_handle_signals();
#pragma omp parallel num_threads(3) reduction(+ : threads)
        threads++;
        temporary_hold_signals(&before);
        if (threads == 3 && temporary_create(held, -1) >= 0 && !kill(getpid(), SIGTERM) && !usleep(100000) &&
            temporary_create(late, -1) >= 0 && creat(reached, 0666) >= 0) {
            temporary_release_signals(&before);
        }
        _exit(1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    shell_expect(0, "reached\n1\n", "ls $D; ls $D | wc -l");
}
END_TEST

static volatile sig_atomic_t stops;

static void count_stop(int number) {
    (void)number;
    stops++;
}

START_TEST(ignored_signals_stay_ignored) {
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_DFL);
    command_handle_signals(count_stop);
    raise(SIGINT);
    ck_assert_int_eq(stops, 0);
    raise(SIGTERM);
    raise(SIGTERM);
    ck_assert_int_eq(stops, 2);
}
END_TEST

// A full disk, as far as one process can have it: files may not grow beyond some blocks of 512 bytes. What was there survives,
// and nothing else is left behind.
START_TEST(failed_writes_leave_what_was_there) {
    static const int blocks[] = {0, 1, 8, 64, 200, 300};
    compile_small();
    shell_expect(EXIT_OK, "", "$CATENA pack %s --weights %s/model.safetensors -o $D/packed", library, data);
    ck_assert_int_eq(shell_run("mkdir $D/before && cp $D/*.so $D/*.h $D/*.pc $D/packed $D/before"), 0);
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        int status;
        free(shell_read(&status, "trap '' XFSZ; ulimit -f %d; $CATENA compile %s -o $D 2>&1", blocks[i], spec));
        ck_assert_int_eq(status, EXIT_FAILED);
        shell_expect(EXIT_FAILED,
                     "catena pack: ", "trap '' XFSZ; ulimit -f %d; $CATENA pack %s --weights %s/model.safetensors -o $D/packed",
                     blocks[i], library, data);
        shell_expect(0, "", "for f in $D/before/*; do cmp $f $D/${f##*/} || exit 1; done");
        shell_expect(0, "5\n", "ls $D | wc -l");
    }
    shell_expect(
        EXIT_FAILED, "y.npy': File too large",
        "trap '' XFSZ; ulimit -f 1; $CATENA run %s --weights $D/packed --layer sparse --input %s/0.layer_in.npy --output $D/y.npy",
        library, data);
    shell_expect(EXIT_FAILED, "No space left on device",
                 "$CATENA run %s --weights $D/packed --layer sparse --input %s/0.layer_in.npy --output /dev/full", library, data);
}
END_TEST

// --- explain -------------------------------------------------------------------------------------------------------------------

// The canonical text of each layer follows a line "# layer NAME": parsing and printing it gives it back.
static void expect_canonical(const char *text) {
    Diagnostics diagnostics = {0};
    Plan plan;
    const char *line = strstr(text, "# layer sparse\n");
    ck_assert_msg(line == text, "%s", text);
    const char *body = strchr(line, '\n') + 1;
    ck_assert_msg(plan_parse(body, "plan", &plan, &diagnostics) == 0, "%s", diagnostics.text);
    char *again = plan_print(&plan);
    ck_assert_str_eq(again, body);
    free(again);
}

START_TEST(explain_gives_the_same_text_of_both) {
    int status, roles = 0;
    compile_small();
    char *of_spec = shell_read(&status, "$CATENA explain --text %s", spec);
    ck_assert_int_eq(status, EXIT_OK);
    char *of_library = shell_read(&status, "$CATENA explain --text %s", library);
    ck_assert_int_eq(status, EXIT_OK);
    ck_assert_str_eq(of_spec, of_library);
    expect_canonical(of_spec);
    char *whole = shell_read(&status, "$CATENA explain %s", library), *end = strstr(whole, "### Canonical text\n\n");
    ck_assert_int_eq(status, EXIT_OK);
    ck_assert_ptr_nonnull(end);
    ck_assert_str_eq(strstr(end, "# layer"), of_spec);
    ck_assert_ptr_nonnull(strstr(whole, "reads another weight format"));  // rejected paths, and why
    for (int r = 0; r < ROLE_COUNT; r++) {  // none of which is the chosen one
        char chosen[64], start[32], again[96];
        snprintf(start, sizeof start, "\n%s: ", role_names[r]);
        const char *line = strstr(whole, start);
        if (line && sscanf(line + strlen(start), "%63[a-z0-9_]", chosen) == 1) {
            snprintf(again, sizeof again, "; %s: ", chosen);
            const char *found = strstr(line + 1, again), *next = strchr(line + 1, '\n');
            ck_assert_msg(!found || found > next, "%s", line);
            roles++;
        }
    }
    ck_assert_int_ge(roles, 3);
    shell_expect(EXIT_OK, "",
                 "$CATENA compile %s -o $D --emit plan,asm,ir && $CATENA explain --text %s | cmp - $D/mixtral_small.plan", spec,
                 library);
    free(of_spec);
    free(of_library);
    free(whole);
}
END_TEST

// Seconds of silence would look like a program that hangs. Rates of a machine that was disturbed are not kept.
START_TEST(measuring_is_said) {
    static const char said[] = "catena: measuring this machine's instruction paths (";
    shell_expect(EXIT_OK, said, "XDG_CACHE_HOME=$D/cache $CATENA explain %s", spec);
    shell_expect(EXIT_OK, "",
                 "! grep -q entries $D/cache/catena/*.json || XDG_CACHE_HOME=$D/cache $CATENA explain %s 2>&1 >$D/out | "
                 "(! grep measuring)",
                 spec);
}
END_TEST

START_TEST(what_cannot_be_explained) {
    shell_expect(EXIT_FAILED, "README.md: error: neither a description (JSON) nor a library", "$CATENA explain README.md");
    shell_expect(EXIT_FAILED, "neither a description (JSON) nor a library", "$CATENA bench %s/model.safetensors", data);
    shell_expect(EXIT_FAILED, "empty:1:1: error", ": >$D/empty; $CATENA explain $D/empty");
    compile_small();
    shell_expect(EXIT_FAILED, "--target needs a description: a library is compiled already and has its own",
                 "$CATENA explain %s --target generic", library);
    shell_expect(EXIT_FAILED, "--compute needs a description", "$CATENA explain %s --compute bf16", library);
    shell_expect(EXIT_FAILED, "made for the target '",
                 "LC_ALL=C sed -E 's/(\"target\": ?\"[a-z0-9]*)[a-z0-9]\"/\\1_\"/' %s >$D/other.so; $CATENA explain $D/other.so",
                 library);
}
END_TEST

// --- verify --------------------------------------------------------------------------------------------------------------------

// Replaces every occurrence of a constant in the library; returns how many there were.
static int replace_constant(float from, float to) {
    size_t size;
    int count = 0;
    char *bytes = shell_read_file("$D/libmixtral_small.so", &size);
    for (size_t i = 0; i + sizeof from <= size; i += 4) {
        if (!memcmp(bytes + i, &from, sizeof from)) {
            memcpy(bytes + i, &to, sizeof to);
            count++;
        }
    }
    shell_write_file("$D/libmixtral_small.so", bytes, size);
    free(bytes);
    return count;
}

// The damage is in the constants of e^x (templates/math.h), which softmax and silu use.
START_TEST(verify_passes_and_fails) {
    compile_small();
    shell_expect(EXIT_OK, "PASS: 1 layer, ", "$CATENA verify --cases 2 %s", library);
    int status;
    char *text = shell_read(&status, "$CATENA verify --cases 2 --format json %s", library);
    json_t *document = json_loads(text, 0, NULL);
    ck_assert_msg(json_is_true(json_object_get(document, "passed")), "%s", text);
    json_decref(document);
    free(text);
    ck_assert_int_gt(replace_constant(-0.693359375f, -0.69f), 0);
    shell_expect(EXIT_FAILED, "FAIL", "$CATENA verify --cases 2 %s", library);
    shell_expect(EXIT_FAILED, "no layer 'dense'", "$CATENA verify --cases 2 --layer dense %s", library);
}
END_TEST

START_TEST(not_a_library) {
    Dl_info libc;
    ck_assert_int_ne(dladdr(dlsym(RTLD_DEFAULT, "printf"), &libc), 0);
    setenv("LIBC", libc.dli_fname, 1);
    static const char *const uses[] = {"verify", "explain", "pack --weights x -o $D/y",
                                       "run --weights x --layer y --input z --output $D/y", "bench"};
    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++) {
        shell_expect(EXIT_FAILED, "not a library made by catena", "$CATENA %s $LIBC", uses[i]);
    }
    shell_expect(EXIT_FAILED, "not a shared library", "$CATENA verify %s", spec);
    shell_expect(EXIT_FAILED, "No such file", "$CATENA verify $D/missing.so");
}
END_TEST

// --- weights -------------------------------------------------------------------------------------------------------------------

START_TEST(packed_weights_give_the_same_rows) {
    compile_small();
    shell_expect(EXIT_OK, "/packed\n", "$CATENA pack %s --weights %s/model.safetensors --check -o $D/packed", library, data);
    shell_expect(EXIT_OK, "/packed: undamaged\n", "$CATENA pack %s --check -o $D/packed", library);
    for (int instance = 0; instance < 2; instance++) {
        shell_expect(EXIT_OK, "",
                     "for w in $D/packed %s/model.safetensors %s; do $CATENA run %s --weights $w --layer sparse.%d "
                     "--input %s/%d.layer_in.npy --output $D/$(basename $w).npy || exit 1; done",
                     data, data, library, instance, data, instance);
        shell_expect(0, "", "cmp $D/packed.npy $D/model.safetensors.npy && cmp $D/packed.npy $D/mixtral_small.npy");
    }
    shell_expect(EXIT_FAILED, "is packed already", "$CATENA pack %s --weights $D/packed -o $D/again", library);
    shell_expect(EXIT_OK, "libolmoe_small.so", "$CATENA compile tests/data/olmoe_small.json -o $D");
    shell_expect(
        EXIT_FAILED, "packed: layer 'sparse': packed for hidden 72, the library has 64",
        "$CATENA run $D/libolmoe_small.so --weights $D/packed --layer sparse --input tests/data/olmoe_small/0.layer_in.npy "
        "--output $D/y.npy");
    shell_expect(EXIT_FAILED, "hidden 72", "$CATENA pack --check $D/libolmoe_small.so -o $D/packed");
}
END_TEST

// Rows that are not finite are no failure, but are said: how many, and the first.
START_TEST(nonfinite_rows_are_said) {
    float x[5 * 72] = {0};
    Npy input = {.type = NPY_FLOAT32, .dimensions = 2, .shape = {5, 72}, .data = x};
    char path[SHELL_PATH_BYTES + 16];
    Diagnostics diagnostics = {0};
    static const char run[] = "$CATENA run $D/libmixtral_small.so -w %s -l sparse -i $D/x.npy -o $D/y.npy";
    snprintf(path, sizeof path, "%s/x.npy", shell_folder());
    compile_small();
    ck_assert_int_eq(npy_write(path, &input, &diagnostics), 0);
    shell_expect(EXIT_OK, "", run, data);
    char command[256];
    snprintf(command, sizeof command, run, data);
    shell_expect(0, "0\n", "%s 2>&1 | wc -l", command);
    x[2 * 72 + 7] = NAN, x[4 * 72] = INFINITY;
    ck_assert_int_eq(npy_write(path, &input, &diagnostics), 0);
    shell_expect(EXIT_OK, "catena run: warning: 2 of 5 rows were not finite, the first is row 2; they are NaN in the output", run,
                 data);
    Npy found;
    snprintf(path, sizeof path, "%s/y.npy", shell_folder());
    ck_assert_int_eq(npy_read(path, &found, &diagnostics), 0);
    for (int i = 0; i < 5 * 72; i++) {
        int row = i / 72;
        ck_assert_int_eq(!isfinite(((float *)found.data)[i]), row == 2 || row == 4);
    }
    npy_free(&found);
}
END_TEST

// Nothing of the user's is lost: what is read is never written over.
START_TEST(outputs_spare_inputs) {
    compile_small();
    shell_expect(0, "", "mkdir $D/own && cp %s/model.safetensors $D/own/", data);
    shell_expect(EXIT_FAILED, "would replace", "$CATENA pack %s -w $D/own/model.safetensors -o $D/own/model.safetensors", library);
    shell_expect(EXIT_FAILED, "would replace", "$CATENA pack %s -w $D/own -o $D/own/model.safetensors", library);
    shell_expect(EXIT_FAILED, "would replace",
                 "$CATENA run %s -w $D/own/model.safetensors -l sparse -i %s/0.layer_in.npy -o $D/own/model.safetensors", library,
                 data);
    shell_expect(0, "", "cmp $D/own/model.safetensors %s/model.safetensors", data);
    shell_expect(EXIT_FAILED, "exists and is no packed file", "echo precious >$D/x && $CATENA pack %s -w %s -o $D/x", library,
                 data);
    shell_expect(EXIT_FAILED, "exists and is no description", "$CATENA import tests/golden/mixtral -o $D/x");
    shell_expect(EXIT_OK, "precious", "cat $D/x");
    shell_expect(EXIT_FAILED, "nothing.json: error: cannot read", "$CATENA compile %s -o $D --wisdom $D/nothing.json", spec);
    shell_expect(EXIT_FAILED, "is the library itself", "$CATENA pack %s -w %s -o $D/../$(basename $D)/libmixtral_small.so", library,
                 data);
}
END_TEST

// A link to a file stays one, also where it leads to a descriptor; one that leads nowhere is not written over.
START_TEST(outputs_follow_links) {
    static const char run[] = "$CATENA run $D/libmixtral_small.so -w $DATA -l sparse -i $DATA/0.layer_in.npy -o";
    char path[SHELL_PATH_BYTES + 16];
    Peaks peaks = {.gflops = {1}, .tile_gflops = {1}};
    compile_small();
    setenv("DATA", data, 1);
    shell_expect(0, "", "mkdir $D/far && echo old >$D/far/y.npy && ln -s far/y.npy $D/link && %s $D/y.npy && %s $D/link", run, run);
    shell_expect(0, "", "test -L $D/link && cmp $D/far/y.npy $D/y.npy");
    shell_expect(0, "", "ln -s /proc/self/fd/1 $D/standard; %s $D/standard >$D/z.npy", run);
    shell_expect(0, "", "test -L $D/standard && cmp $D/z.npy $D/y.npy");
    shell_expect(0, "", "exec 3<>$D/open; rm $D/open; %s /dev/fd/3 && cmp - $D/y.npy <&3", run);
    shell_expect(EXIT_FAILED, "cannot create '", "ln -s gone $D/nowhere; %s $D/nowhere", run);
    shell_expect(0, "", "test -L $D/nowhere");
    // what is behind a link may be what is read
    shell_expect(0, "", "mkdir $D/own && cp %s/model.safetensors $D/own/ && ln -s own/model.safetensors $D/w", data);
    shell_expect(EXIT_FAILED, "would replace", "$CATENA pack %s -w $D/own -o $D/w", library);
    shell_expect(0, "", "echo >$D/far/peaks && ln -s far/peaks $D/peaks");
    snprintf(path, sizeof path, "%s/peaks", shell_folder());
    ck_assert_int_eq(peaks_save(path, "avx2", 1, &peaks), 0);
    shell_expect(0, "", "test -L $D/peaks && grep -q avx2 $D/far/peaks");
}
END_TEST

// Two outputs in one file would leave one of them. Noticed before anything is read.
START_TEST(outputs_are_different_files) {
    static const char *const pairs[] = {"-o $D/y.npy --scores $D/y.npy", "-o $D/y.npy --scores $D/./y.npy",
                                        "-o $D/old.npy --scores $D/link.npy", "-o $D/r.experts.npy --routing $D/r",
                                        "--scores $D/r.weights.npy --routing $D/r -o $D/y.npy"};
    compile_small();
    shell_expect(0, "", "echo >$D/old.npy; ln $D/old.npy $D/link.npy");
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        shell_expect(EXIT_FAILED, "two outputs cannot be one file", "$CATENA run %s -w $D/none -l sparse -i $D/none %s", library,
                     pairs[i]);
    }
    shell_expect(0, "", "cp %s/0.layer_in.npy $D/r.weights.npy", data);
    shell_expect(EXIT_FAILED, "would replace", "$CATENA run %s -w %s -l sparse -i $D/r.weights.npy -o $D/y.npy -r $D/r", library,
                 data);
    shell_expect(EXIT_OK, "", "$CATENA run %s -w %s -l sparse -i $D/r.weights.npy -o /dev/null --scores /dev/null", library, data);
}
END_TEST

START_TEST(damaged_packed_weights) {
    size_t size;
    compile_small();
    shell_expect(EXIT_OK, "", "$CATENA pack %s --weights %s/model.safetensors -o $D/packed", library, data);
    char *bytes = shell_read_file("$D/packed", &size);
    bytes[size / 2] ^= 1;
    shell_write_file("$D/packed", bytes, size);
    shell_expect(EXIT_FAILED, "is damaged (checksum)", "$CATENA pack --check %s -o $D/packed", library);
    bytes[sizeof(PackedHeader) + 3] ^= 1;
    shell_write_file("$D/packed", bytes, size);
    shell_expect(EXIT_FAILED, "the header is damaged", "$CATENA pack --check %s -o $D/packed", library);
    shell_write_file("$D/packed", bytes, size / 3);
    shell_expect(EXIT_FAILED, "truncated", "$CATENA pack --check %s -o $D/packed", library);
    free(bytes);
}
END_TEST

// Edits the checkpoint's header, keeping its length, and expects a message.
static void expect_lie(const char *from, const char *to, const char *words) {
    size_t size;
    char *bytes = shell_read_file("tests/data/mixtral_small/model.safetensors", &size), *place = strstr(bytes + 8, from);
    ck_assert_ptr_nonnull(place);
    ck_assert_uint_eq(strlen(from), strlen(to));
    memcpy(place, to, strlen(to));
    shell_write_file("$D/lying.safetensors", bytes, size);
    free(bytes);
    shell_expect(EXIT_FAILED, words, "$CATENA pack %s --weights $D/lying.safetensors -o $D/packed", library);
    ck_assert_int_ne(shell_run("test -e $D/packed"), 0);
}

START_TEST(damaged_checkpoints) {
    static const int lengths[] = {0, 7, 8, 100, 9000, 600000};
    compile_small();
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        ck_assert_int_eq(shell_run("head -c %d %s/model.safetensors >$D/cut.safetensors", lengths[i], data), 0);
        shell_expect(EXIT_FAILED, "cut.safetensors", "$CATENA pack %s --weights $D/cut.safetensors -o $D/packed", library);
        ck_assert_int_ne(shell_run("test -e $D/packed"), 0);
    }
    shell_expect(EXIT_FAILED, "has 600000 bytes, by its header it should have 895968; it is truncated",
                 "$CATENA pack %s --weights $D/cut.safetensors -o $D/packed", library);
#define FIRST "model.layers.0.block_sparse_moe.experts.0.w1.weight"
    expect_lie("\"shape\":[64,72]", "\"shape\":[64,73]", "lying.safetensors: tensor '" FIRST "'");
    expect_lie("\"shape\":[64,72]", "\"shape\":[72,64]", "lying.safetensors: tensor '" FIRST "' has shape [72, 64]");
    expect_lie("\"dtype\":\"F32\"", "\"dtype\":\"F64\"", "lying.safetensors: tensor '" FIRST "'");
    expect_lie("\"dtype\":\"F32\"", "\"dtype\":\"I32\"", "lying.safetensors: tensor '" FIRST "' has dtype I32");
    expect_lie("[0,18432]", "[9,18432]", "lying.safetensors: tensor '" FIRST "'");
    expect_lie("[18432,36864]", "[18428,36860]", "overlaps");
    expect_lie("experts.0.w1.weight", "experts.0.w1.weighs",
               "lying.safetensors: tensor '" FIRST "' (gate of layer 'sparse.0') is not in the checkpoint");
    shell_expect(EXIT_FAILED, "No such file", "$CATENA pack %s --weights $D/missing.safetensors -o $D/packed", library);
    shell_expect(EXIT_FAILED, "neither model.safetensors", "$CATENA pack %s --weights tests -o $D/packed", library);
}
END_TEST

// --- documents -----------------------------------------------------------------------------------------------------------------

static json_t *read_document(const char *arguments) {
    int status;
    json_error_t error;
    char *text = shell_read(&status, "$CATENA %s", arguments);
    ck_assert_int_eq(status, EXIT_OK);
    json_t *document = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    ck_assert_msg(document != NULL, "%s\n%s", error.text, text);
    free(text);
    return document;
}

// The bank that a benchmark makes of a library.
static BenchLibrary *open_bank(const char *name, int64_t bytes, Routing *routing) {
    char path[SHELL_PATH_BYTES + 32];
    Diagnostics diagnostics = {0};
    snprintf(path, sizeof path, "%s/lib%s.so", shell_folder(), name);
    ck_assert_int_eq(routing_parse("uniform", routing), 0);
    Loaded *loaded = loaded_open(path, &diagnostics);
    ck_assert_ptr_nonnull(loaded);
    BenchLibrary *bank = bench_library_open(loaded, NULL, routing, bytes, 1, true, &diagnostics);
    ck_assert_msg(bank != NULL, "%s", diagnostics.text);
    return bank;
}

// The "max_error" of a benchmark of `tokens` tokens, made again: the library's rows and the opponent's, each within the oracle's
// bounds, on the weights and tokens that every benchmark makes. Neither depends on the number of threads.
static double expected_error(BenchLibrary *bank, const Routing *routing, int64_t tokens) {
    const Layer *layer = &bank->plan->layer;
    BenchTokens x;
    OracleWeights weights;
    size_t elements = (size_t)(tokens * layer->hidden);
    float *y[2] = {calloc(elements, sizeof **y), calloc(elements, sizeof **y)};
    int32_t *experts = calloc((size_t)(layer->iterations * tokens * layer->top_k), sizeof *experts);
    BenchOpponent *reference = bench_opponent_open(bank, tokens, 1);
    ck_assert_ptr_nonnull(reference);
    ck_assert_int_eq(bench_tokens_create(bank->plan, tokens, &routing->synthetic, &x), 0);
    ck_assert_int_eq(bench_library_begin(bank, &x, NULL, false), 0);
    ck_assert_int_eq(bench_opponent_begin(reference, &x, false), 0);
    ck_assert_int_eq(bench_library_once(bank, 0, y[0], experts), 0);
    ck_assert_int_eq(bench_opponent_once(reference, 0, y[1], experts), 0);
    ck_assert_int_eq(oracle_weights_allocate(layer, &weights), 0);
    oracle_weights_unpack(bank->plan, bank->instances[0], &weights);
    for (int i = 0; i < 2; i++) {
        const FixtureForward left = {.tokens = tokens, .x = x.x, .y = y[i]};
        fixture_expect_oracle(layer, &weights, &left, ERROR_LIKELY, i ? "the opponent" : "the library");
    }
    double error = bench_max_error(y[0], y[1], tokens, layer->hidden);
    oracle_weights_free(&weights);
    bench_opponent_close(reference);
    bench_tokens_free(&x);
    free(experts);
    free(y[0]);
    free(y[1]);
    return error;
}

START_TEST(bench_prints_a_document) {
    static const char *const keys[] = {"layer",
                                       "tokens",
                                       "routing",
                                       "distinct_experts",
                                       "largest_share",
                                       "threads",
                                       "cold",
                                       "median_s",
                                       "spread",
                                       "flops",
                                       "bytes",
                                       "union_bytes",
                                       "gflops",
                                       "gbytes_s",
                                       "fraction_of_peak",
                                       "path",
                                       "roofline_fraction",
                                       "opponent_s",
                                       "fraction_of_bandwidth",
                                       "speedup",
                                       "max_error"};
    json_t *document = read_document("bench tests/data/mixtral_small.json --tokens 1,3 --seconds 0.05 --format json");
    json_t *rows = json_object_get(document, "rows"), *row;
    ck_assert(json_is_object(json_object_get(document, "machine")) && json_is_object(json_object_get(document, "peaks")));
    ck_assert_uint_eq(json_array_size(rows), 2);
    Routing routing;
    compile_small();
    BenchLibrary *bank = open_bank("mixtral_small", 1, &routing);
    size_t i;
    json_array_foreach(rows, i, row) {
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
            ck_assert_msg(json_object_get(row, keys[k]) != NULL, "no key %s", keys[k]);
        }
        ck_assert_int_eq(json_integer_value(json_object_get(row, "tokens")), i ? 3 : 1);
        ck_assert_str_eq(json_string_value(json_object_get(row, "routing")), "uniform");
        ck_assert(json_is_true(json_object_get(row, "cold")));
        double error = expected_error(bank, &routing, i ? 3 : 1);  // documents have nine digits
        ck_assert_double_eq_tol(json_real_value(json_object_get(row, "max_error")), error, 5e-9 * error);
        ck_assert_double_gt(json_real_value(json_object_get(row, "median_s")), 0);
    }
    bench_library_close(bank);
    json_decref(document);
    shell_expect(EXIT_FAILED, "no layer", "$CATENA bench %s --tokens 1 --seconds 0.05 --layer dense", spec);
}
END_TEST

// Tiny layers would need a hundred thousand instances, each with a huge page of its own.
START_TEST(banks_of_tiny_layers_end) {
    static const char tiny[] =
        "{\"name\": \"tiny\", \"layers\": [{\"name\": \"sparse\", \"hidden\": 16, \"router\": {\"k\": 1},"
        "\"experts\": {\"count\": 4, \"intermediate\": 16}}]}";
    Routing routing;
    shell_write_file("$D/tiny.json", tiny, sizeof tiny - 1);
    shell_expect(EXIT_OK, "", "$CATENA compile $D/tiny.json -o $D");
    for (int64_t mib = 1; mib <= 64; mib *= 64) {
        BenchLibrary *bank = open_bank("tiny", mib << 20, &routing);
        ck_assert_int_eq(bank->is_capped, mib == 64);
        ck_assert(mib == 64 ? bank->slots == BENCH_MAX_SLOTS : bank->slots * bank->plan->layout.instance_bytes >= mib << 20);
        ck_assert_int_lt(bank->memory_bytes, 64 << 20);
        bench_library_close(bank);
    }
}
END_TEST

START_TEST(info_prints_a_document) {
    json_t *document = read_document("info --format json");
    ck_assert(json_is_object(document));
    json_decref(document);
    shell_expect(EXIT_OK, "capabilities used", "$CATENA info");
}
END_TEST

// --- a program that uses a library ---------------------------------------------------------------------------------------------

// As the comment of examples/use_library.c says, with no other flag, and from elsewhere.
START_TEST(program_uses_a_library_through_pkgconfig) {
    static const float x[1024] = {0.5f};
    shell_expect(EXIT_OK, "", "$CATENA compile examples/coe_2x4of64.json -o $D/elsewhere");
    shell_expect(0, "",
                 "cc -O2 -Wall -Wextra -Werror examples/use_library.c -o $D/use_library "
                 "$(PKG_CONFIG_PATH=$D/elsewhere pkg-config --cflags --libs coe_2x4of64)");
    fixture_zero_weights("$D/zeros", "elsewhere/libcoe_2x4of64.so");
    shell_expect(0, "3 tokens: best of", "cd / && $D/use_library $D/zeros 3");
    shell_write_file("$D/x", x, sizeof x);
    shell_expect(0, "y[0][0] = 0\n", "cd / && $D/use_library $D/zeros 1 $D/x");  // the norm's weights are zero too
    shell_expect(1, "numbers wanted", "cd / && $D/use_library $D/zeros 2 $D/x");
    shell_expect(1, "missing", "$D/use_library $D/missing 3");
    shell_expect(2, "usage", "$D/use_library $D/zeros");
}
END_TEST

Suite *suite_cli(void) {
    Suite *suite = suite_create("cli");
    TCase *cases = tcase_create("commands");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_checked_fixture(cases, shell_begin, shell_end);
    tcase_add_loop_test(cases, every_command_explains_itself, 0, COMMANDS);
    tcase_add_test(cases, usage_errors);
    tcase_add_test(cases, wrong_descriptions);
    tcase_add_test(cases, unwritable_places);
    tcase_add_test(cases, preconditions_come_first);
    tcase_add_test(cases, pkgconfig_quotes_paths);
    tcase_add_test(cases, unwritable_output);
    tcase_add_test(cases, threads_that_share_cores);
    tcase_add_test(cases, signals_leave_nothing);
    tcase_add_test(cases, signals_leave_whole_sets);
    tcase_add_test(cases, signals_leave_no_file);
    tcase_add_test(cases, signals_wait_for_the_main_thread);
    tcase_add_test(cases, ignored_signals_stay_ignored);
    tcase_add_test(cases, ended_benchmarks_leave_nothing);
    tcase_add_test(cases, failed_writes_leave_what_was_there);
    tcase_add_test(cases, explain_gives_the_same_text_of_both);
    tcase_add_test(cases, measuring_is_said);
    tcase_add_test(cases, what_cannot_be_explained);
    tcase_add_test(cases, verify_passes_and_fails);
    tcase_add_test(cases, not_a_library);
    tcase_add_test(cases, packed_weights_give_the_same_rows);
    tcase_add_test(cases, nonfinite_rows_are_said);
    tcase_add_test(cases, outputs_spare_inputs);
    tcase_add_test(cases, outputs_follow_links);
    tcase_add_test(cases, outputs_are_different_files);
    tcase_add_test(cases, damaged_packed_weights);
    tcase_add_test(cases, damaged_checkpoints);
    tcase_add_test(cases, bench_prints_a_document);
    tcase_add_test(cases, banks_of_tiny_layers_end);
    tcase_add_test(cases, info_prints_a_document);
    tcase_add_test(cases, program_uses_a_library_through_pkgconfig);
    suite_add_tcase(suite, cases);
    return suite;
}
