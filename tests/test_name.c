// Names of libraries, decided by compiling: with every word of the headers of C, C++, POSIX and GNU that is accepted as a name, the
// generated header compiles beside all those headers.
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "compiler/description/name.h"
#include "compiler/library/header.h"
#include "shell.h"
#include "suites.h"

static const char headers[] =
    "aio arpa/inet assert complex cpio ctype dirent dlfcn errno fcntl fenv float fmtmsg fnmatch ftw glob grp iconv inttypes iso646 "
    "langinfo libgen limits locale math monetary mqueue net/if netdb netinet/in netinet/tcp nl_types poll pthread pwd regex sched "
    "search semaphore setjmp signal spawn stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string strings "
    "sys/ipc sys/mman sys/msg sys/resource sys/select sys/sem sys/shm sys/socket sys/stat sys/statvfs sys/time sys/times sys/types "
    "sys/uio sys/un sys/utsname sys/wait syslog tar termios tgmath threads time uchar ulimit unistd utime utmpx wchar wctype "
    "wordexp";

static const char *const modes[] = {"gcc -x c -std=c17 -D_XOPEN_SOURCE=700", "gcc -x c -std=gnu17 -D_GNU_SOURCE",
                                    "g++ -x c++ -std=c++20", "g++ -x c++ -std=gnu++20 -D_GNU_SOURCE"};
enum { MODES = sizeof modes / sizeof *modes, C_MODES = 2 };

// $D/all.h includes those headers that are there; $D/words has every identifier and macro that they have in C, and those of a
// generated header.
static void collect_words(void) {
    shell_expect(
        0, "",
        "for h in %s; do echo \"#include <$h.h>\" >$D/one.h; gcc -x c -fsyntax-only $D/one.h 2>$D/log && cat $D/one.h; done "
        ">$D/all.h; test -s $D/all.h",
        headers);
    for (int m = 0; m < C_MODES; m++) {
        shell_expect(0, "", "%s -E -dD -P $D/all.h | grep -oE '[A-Za-z][A-Za-z0-9_]*' | sort -u >>$D/words", modes[m]);
    }
    shell_expect(0, "", "%s",
                 "$CATENA compile examples/moe_8of64.json -o $D && grep -ohE '[A-Za-z][A-Za-z0-9_]*' $D/moe_8of64.h >>$D/words && "
                 "grep -viE 'moe_8of64|._open$' $D/words | sort -u -o $D/words");  // stay_open is a function of a library stay
}

// Writes the headers of all accepted words into one file. Returns how many there are.
static int write_headers(char *words) {
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    Model *model = calloc(1, sizeof *model);
    int accepted = 0;
    model->layer_count = 1;
    strcpy(model->layers[0].name, "sparse");
    for (char *word = strtok(words, "\n"); word; word = strtok(NULL, "\n")) {
        if (strlen(word) < MODEL_NAME_BYTES && !name_problem(word)) {
            strcpy(model->name, word);
            ck_assert_int_eq(header_write(model, stream), 0);
            accepted++;
        }
    }
    ck_assert_int_eq(fclose(stream), 0);
    shell_write_file("$D/headers.h", text, size);
    free(model);
    free(text);
    return accepted;
}

START_TEST(accepted_names_compile) {
    size_t size;
    collect_words();
    char *words = shell_read_file("$D/words", &size);
    words = realloc(words, size + 1);
    words[size] = 0;
    ck_assert_int_gt(write_headers(words), 1000);  // structs' fields, parameters and the like
    free(words);
    for (int m = 0; m < MODES; m++) {
        shell_expect(0, "",
                     "cd $D && cat all.h headers.h >both.h && %s -fsyntax-only both.h 2>log || { grep error: log | cut -c 1-150 | "
                     "head -40; false; }",
                     modes[m]);
    }
}
END_TEST

static const struct {
    const char *name, *why;  // NULL: accepted
} rows[] = {{"linux", "header"},
            {"unix", "header"},
            {"NULL", "small letter"},
            {"EOF", "small letter"},
            {"stdin", "C library"},
            {"fdopen", "C library"},
            {"div", "C library"},
            {"index", "C library"},
            {"y0", "C library"},
            {"j1", "C library"},
            {"environ", "C library"},
            {"fts", "exist already"},
            {"sem", "exist already"},
            {"library", "exist already"},
            {"time_t", "types"},
            {"PRId64", "header"},
            {"f32xadd", "header"},
            {"poll", "C library"},
            {"spawn", "files"},
            {"gomp", "files"},
            {"int", "keyword"},
            {"std", "header"},
            {"moe", NULL},
            {"qwen3_30b_a3b", NULL},
            {"t", NULL},
            {"router_table", NULL},
            {"fadder", NULL}};

START_TEST(tells_why) {
    const char *found = name_problem(rows[_i].name);
    if (rows[_i].why) {
        ck_assert_msg(found && strstr(found, rows[_i].why), "%s: %s", rows[_i].name, found ? found : "accepted");
    } else {
        ck_assert_msg(!found, "%s: %s", rows[_i].name, found);
    }
}
END_TEST

Suite *suite_name(void) {
    Suite *suite = suite_create("name");
    TCase *cases = tcase_create("names");
    tcase_add_unchecked_fixture(cases, shell_begin, shell_end);
    tcase_set_timeout(cases, 600);
    tcase_add_test(cases, accepted_names_compile);
    tcase_add_loop_test(cases, tells_why, 0, sizeof rows / sizeof *rows);
    suite_add_tcase(suite, cases);
    return suite;
}
