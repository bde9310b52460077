// What is not finished goes with the process that makes it: by itself, or when the next process looks. What a living process makes
// stays.
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compiler/base/temporary.h"
#include "compiler/commands/command.h"
#include "runtime/file.h"
#include "runtime/unfinished.h"
#include "shell.h"
#include "suites.h"

static const char *path_of(const char *name) {
    static char path[SHELL_PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s/%s", shell_folder(), name);
    return path;
}

// Runs `make` in a child, which then waits. Returns its process.
static pid_t child_with(void (*make)(void)) {
    int ready[2];
    char byte;
    ck_assert_int_eq(pipe(ready), 0);
    pid_t child = fork();
    if (!child) {
        for (int number = 1; number < NSIG;
             number++) {  // Check and sanitizers have handlers; what starts the tests may ignore some
            signal(number, SIG_DFL);
        }
        make();
        byte = 1;
        if (write(ready[1], &byte, 1) == 1) {
            for (;;) {
                pause();
            }
        }
        _exit(1);
    }
    ck_assert_int_gt(child, 0);
    close(ready[1]);
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return child;
}

static void end(pid_t child, int number) {
    int status;
    ck_assert_int_eq(kill(child, number), 0);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
}

static void make_output(void) {
    Output output;
    char error[256] = "";
    Failure failure = {error, sizeof error};
    if (output_open(path_of("target"), 1 << 20, &output, &failure) != LIBRARY_OK ||
        output_write(&output, "part", 4, 0, &failure) != LIBRARY_OK) {
        _exit(1);
    }
}

// A file that is being written has no name, or its process's death lets the next writer remove it.
START_TEST(files_go_with_their_process) {
    static const int signals[] = {SIGKILL, SIGQUIT, SIGPIPE, SIGXCPU, SIGALRM, SIGUSR1, SIGSEGV, SIGTERM};
    shell_write_file("$D/target", "before", 6);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        end(child_with(make_output), signals[i]);
    }
    ck_assert_int_eq(file_write(path_of("target"), "after", 5, NULL), LIBRARY_OK);
    shell_expect(0, "target\n", "ls -A $D");
    shell_expect(0, "after", "cat $D/target");
}
END_TEST

static void make_named(void) {
    char *name = unfinished_name(path_of("target"), 0);
    int fd = name ? file_name(name, -1) : -1;
    if (fd < 0 || !unfinished_lock(fd, name)) {
        _exit(1);
    }
}

// Where the file system has no files without names.
START_TEST(names_of_ended_processes_are_swept) {
    pid_t living = child_with(make_named), dead = child_with(make_named);
    end(dead, SIGKILL);
    shell_write_file("$D/target.1-2-3.unfinished.txt", "", 0);
    shell_write_file("$D/target.mine.unfinished", "", 0);
    shell_write_file("$D/other.1-2-3.unfinished", "", 0);
    shell_expect(0, "5\n", "ls -A $D | wc -l");
    unfinished_sweep(path_of("target"), NULL);
    shell_expect(0, "4\n", "ls -A $D | wc -l");
    shell_expect(0, "", "ls $D/target.%d-*.unfinished", (int)living);
    end(living, SIGKILL);
    unfinished_sweep(path_of("target"), NULL);
    shell_expect(0, "other.1-2-3.unfinished\ntarget.1-2-3.unfinished.txt\ntarget.mine.unfinished\n", "ls -A $D");
}
END_TEST

static void make_folder(void) {
    char *folder = temporary_directory(path_of("stage")), name[SHELL_PATH_BYTES + 128];
    if (!folder) {
        _exit(1);
    }
    snprintf(name, sizeof name, "%s/file", folder);
    close(creat(name, 0666));
}

START_TEST(folders_of_ended_processes_are_swept) {
    pid_t living = child_with(make_folder), dead = child_with(make_folder);
    end(dead, SIGKILL);
    char *own = temporary_directory(path_of("stage"));
    ck_assert_ptr_nonnull(own);
    shell_expect(0, "2\n", "ls -A $D | wc -l");
    shell_expect(0, "", "ls $D/stage.%d-*.unfinished/file", (int)living);
    end(living, SIGKILL);
    temporary_remove(own);
    free(own);
    own = temporary_directory(path_of("stage"));
    shell_expect(0, "1\n", "ls -A $D | wc -l");
    temporary_remove(own);
    free(own);
    shell_expect(0, "0\n", "ls -A $D | wc -l");
}
END_TEST

// SIGKILL comes between two files of a compile: its folder stays, and the next compile removes it.
START_TEST(a_killed_compile_is_swept) {
    static const char deadly_rename[] =
        "#define _GNU_SOURCE\n#include <fcntl.h>\n#include <signal.h>\n#include <stdio.h>\n"
        "#include <string.h>\n#include <unistd.h>\n"
        "int rename(const char *from, const char *to) {\n"
        "    const char *end = strrchr(to, '.');\n"
        "    int status = renameat(AT_FDCWD, from, AT_FDCWD, to);\n"
        "    return end && !strcmp(end, \".h\") ? kill(getpid(), SIGKILL) : status;\n}\n";
    shell_write_file("$D/rename.c", deadly_rename, sizeof deadly_rename - 1);
    shell_expect(0, "", "mkdir $D/out && cc -shared -fPIC -o $D/rename.so $D/rename.c");
    shell_expect(128 + SIGKILL, "",
                 "ASAN_OPTIONS=verify_asan_link_order=0 LD_PRELOAD=$D/rename.so $CATENA compile tests/data/mixtral_small.json -o "
                 "$D/out");
    shell_expect(0, "", "ls $D/out/mixtral_small.h $D/out/.mixtral_small.*.unfinished");
    shell_expect(EXIT_OK, "", "$CATENA compile tests/data/mixtral_small.json -o $D/out");
    shell_expect(0, "libmixtral_small.so\nmixtral_small.h\nmixtral_small.pc\n", "ls -A $D/out");
}
END_TEST

Suite *suite_unfinished(void) {
    Suite *suite = suite_create("unfinished");
    TCase *cases = tcase_create("ends");
    tcase_add_checked_fixture(cases, shell_begin, shell_end);
    tcase_set_timeout(cases, 300);
    tcase_add_test(cases, files_go_with_their_process);
    tcase_add_test(cases, names_of_ended_processes_are_swept);
    tcase_add_test(cases, folders_of_ended_processes_are_swept);
    tcase_add_test(cases, a_killed_compile_is_swept);
    suite_add_tcase(suite, cases);
    return suite;
}
