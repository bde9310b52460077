// The walls between the parts, read off the sources: which files may include what. A file that needs a new row here is a change of
// the design.
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "suites.h"

typedef struct Wall {
    const char *header;      // part of what is included
    const char *folders[5];  // in which folders this is looked for
    const char *allowed[16]; // files that may include it; an entry that ends in '/' is a folder
} Wall;

static const Wall walls[] = {
    {"<hwloc", {"compiler", "templates", "runtime", "targets"}, {"compiler/machine.c"}},
    {"<llvm-c/",
     {"compiler", "templates", "runtime", "targets"},
     {"targets/emission.h", "compiler/emit.h", "compiler/codegen.c", "compiler/jit.c"}},
    {"emission.h\"", {"compiler", "templates", "runtime", "targets"}, {"compiler/emit.h", "targets/"}},
    {"emit.h\"",
     {"compiler", "templates", "runtime", "targets"},
     {"compiler/emit_tile.c", "compiler/emit.c", "compiler/codegen.c", "compiler/jit.h", "compiler/jit.c", "compiler/link.h",
      "compiler/link.c", "compiler/compile.c"}},
    {"/compiler/", {"templates", "runtime", "targets"}, {NULL}},
    {"/targets/", {"templates", "runtime"}, {NULL}},
    {"<zip.h", {"compiler", "templates", "runtime", "targets"}, {"compiler/torch_archive.c"}},
    {"<stdio.h>", {"templates", "targets"}, {"targets/path_bf16_amx.c"}},
};
enum { WALLS = sizeof walls / sizeof *walls };

static bool allowed(const Wall *wall, const char *path) {
    for (int i = 0; wall->allowed[i]; i++) {
        size_t length = strlen(wall->allowed[i]);
        bool folder = wall->allowed[i][length - 1] == '/';
        if (folder ? !strncmp(path, wall->allowed[i], length) : !strcmp(path, wall->allowed[i])) {
            return true;
        }
    }
    return false;
}

static void check_file(const Wall *wall, const char *path) {
    char line[512];
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    while (fgets(line, sizeof line, file)) {
        const char *name = !strncmp(line, "#include ", 9) ? line + 9 : NULL;
        if (name && strstr(name, wall->header)) {
            ck_assert_msg(allowed(wall, path), "%s includes %s", path, name);
        }
    }
    fclose(file);
}

START_TEST(test_walls) {
    const Wall *wall = &walls[_i];
    int files = 0;
    for (int f = 0; wall->folders[f]; f++) {
        DIR *folder = opendir(wall->folders[f]);
        ck_assert_ptr_nonnull(folder);
        for (struct dirent *entry; (entry = readdir(folder));) {
            const char *dot = strrchr(entry->d_name, '.');
            if (dot && (!strcmp(dot, ".c") || !strcmp(dot, ".h"))) {
                char path[512];
                snprintf(path, sizeof path, "%s/%s", wall->folders[f], entry->d_name);
                check_file(wall, path);
                files++;
            }
        }
        closedir(folder);
    }
    ck_assert_int_gt(files, 3);
}
END_TEST

// The oracle shares no code with the skeleton: of the templates it may know what a layer is, how its weights lie and its own
// sections of routers/, no more.
static void check_oracle(const char *path) {
    char line[512];
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    while (fgets(line, sizeof line, file)) {
        bool shared = strstr(line, "/templates/layer.h\"") || strstr(line, "/templates/plan.h\"") ||
                      strstr(line, "/templates/routers/list.h\"");
        ck_assert_msg(shared || strncmp(line, "#include ", 9) || !strstr(line, "/templates/"), "%s has %s", path, line);
    }
    fclose(file);
}

START_TEST(test_oracle) {
    DIR *folder = opendir("compiler");
    int files = 0;
    ck_assert_ptr_nonnull(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (!strncmp(entry->d_name, "reference", 9)) {
            char path[512];
            snprintf(path, sizeof path, "compiler/%s", entry->d_name);
            check_oracle(path);
            files++;
        }
    }
    closedir(folder);
    ck_assert_int_gt(files, 10);
}
END_TEST

Suite *suite_boundaries(void) {
    Suite *suite = suite_create("boundaries");
    TCase *cases = tcase_create("includes");
    tcase_add_loop_test(cases, test_walls, 0, WALLS);
    tcase_add_test(cases, test_oracle);
    suite_add_tcase(suite, cases);
    return suite;
}
