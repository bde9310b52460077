#define _GNU_SOURCE
// The walls between the parts, read off the sources: which folder may include which (docs/architecture.md shows the same arrows),
// and which files may know a library. A new arrow here is a change of the design.
#include <dirent.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "document.h"
#include "shell.h"
#include "suites.h"

// A folder and those that it may include from, separated by spaces. Folders come before the folders that include them: a row may
// name earlier rows only, so that there is no circle.
typedef struct Arrows {
    const char *folder, *includes;
} Arrows;

static const Arrows arrows[] = {
    {"templates/routers", ""},
    {"templates/formats", ""},
    {"templates/activations", ""},
    {"templates", "templates/routers templates/formats templates/activations"},
    {"runtime", "templates"},
    {"targets", "templates"},
    {"compiler/base", "runtime"},
    {"compiler/oracle", "templates templates/routers templates/activations runtime"},
    {"compiler/opponent", "templates templates/routers templates/activations runtime"},
    {"compiler/description", "templates compiler/base"},
    {"compiler/machine", "templates runtime targets compiler/base"},
    {"compiler/plan", "templates targets compiler/base compiler/description compiler/machine"},
    {"compiler/emit", "templates runtime targets compiler/base"},
    {"compiler/measure", "templates runtime targets compiler/base compiler/oracle compiler/machine compiler/plan compiler/emit"},
    {"compiler/wisdom", "templates runtime compiler/base compiler/description compiler/machine compiler/plan"},
    {"compiler/library",
     "templates runtime targets compiler/base compiler/description compiler/machine compiler/plan compiler/emit compiler/measure "
     "compiler/wisdom"},
    {"compiler/pytorch", "runtime compiler/base"},
    {"compiler/import", "templates runtime compiler/base compiler/description compiler/plan compiler/pytorch"},
    {"compiler/import/families", "compiler/import"},
    {"compiler/print", "templates templates/routers compiler/description"},
    {"compiler/explain",
     "templates targets compiler/base compiler/description compiler/machine compiler/plan compiler/measure compiler/wisdom"},
    {"compiler/verify", "runtime compiler/oracle compiler/measure compiler/library"},
    {"compiler/bench",
     "templates runtime targets compiler/base compiler/opponent compiler/machine compiler/plan compiler/measure compiler/library"},
    {"compiler/tune",
     "runtime compiler/base compiler/description compiler/machine compiler/plan compiler/measure compiler/wisdom compiler/explain "
     "compiler/bench"},
    {"compiler/commands",
     "runtime targets compiler/base compiler/description compiler/machine compiler/plan compiler/measure compiler/wisdom "
     "compiler/library compiler/import compiler/print compiler/explain compiler/verify compiler/bench compiler/tune"},
    {"compiler", "compiler/base compiler/commands"},
};
enum { FOLDERS = sizeof arrows / sizeof *arrows, PATH_BYTES = 512 };

// What only some files may include.
typedef struct Wall {
    const char *header;      // the beginning of what is included
    const char *allowed[8];  // files that may include it; an entry that ends in '/' is a folder
} Wall;

static const Wall walls[] = {
    {"<hwloc", {"compiler/machine/machine.c"}},
    {"<llvm-c/", {"targets/emission.h", "compiler/emit/"}},
    {"\"targets/emission.h\"", {"compiler/emit/emit.h"}},
    {"\"compiler/emit/",
     {"compiler/library/link.h", "compiler/library/compile.c", "compiler/measure/measure.c", "compiler/measure/rates.c",
      "compiler/measure/candidate.c"}},
    {"<zip.h", {"compiler/pytorch/archive.c"}},
    {"<jansson.h", {"compiler/", "runtime/safetensors_parts.h"}},
};
enum { WALLS = sizeof walls / sizeof *walls };

// Folders that print nothing.
static const char *const silent[] = {"templates/", "targets/"};

static bool starts(const char *text, const char *beginning) {
    return !strncmp(text, beginning, strlen(beginning));
}

// The row of the folder that a path's file lies in; -1: none.
static int folder_of(const char *path) {
    const char *slash = strrchr(path, '/');
    for (int f = 0; f < FOLDERS; f++) {
        if (slash && (size_t)(slash - path) == strlen(arrows[f].folder) && starts(path, arrows[f].folder)) {
            return f;
        }
    }
    return -1;
}

static bool arrow_allowed(const Arrows *from, const char *to) {
    char padded[1024], word[PATH_BYTES];
    snprintf(padded, sizeof padded, " %s ", from->includes);
    snprintf(word, sizeof word, " %s ", to);
    return !strcmp(from->folder, to) || strstr(padded, word);
}

static bool wall_allows(const Wall *wall, const char *path) {
    for (int i = 0; wall->allowed[i]; i++) {
        const char *allowed = wall->allowed[i];
        if (allowed[strlen(allowed) - 1] == '/' ? starts(path, allowed) : !strcmp(path, allowed)) {
            return true;
        }
    }
    return false;
}

// `what`: as it stands after #include.
static void check_include(const char *path, const char *what) {
    char included[PATH_BYTES];
    for (int w = 0; w < WALLS; w++) {
        ck_assert_msg(!starts(what, walls[w].header) || wall_allows(&walls[w], path), "%s includes %s", path, what);
    }
    for (size_t s = 0; s < sizeof silent / sizeof *silent; s++) {
        ck_assert_msg(!starts(path, silent[s]) || !starts(what, "<stdio.h>") || starts(path, "targets/path_bf16_amx.c"),
                      "%s includes %s", path, what);
    }
    if (sscanf(what, "\"%500[^\"]\"", included) == 1 && strchr(included, '/')) {
        int from = folder_of(path), to = folder_of(included);
        ck_assert_msg(from >= 0, "%s lies in a folder that no row names", path);
        ck_assert_msg(to >= 0, "%s includes %s, whose folder no row names: paths begin at the root", path, included);
        ck_assert_msg(arrow_allowed(&arrows[from], arrows[to].folder), "%s includes %s: no arrow goes from %s to %s", path,
                      included, arrows[from].folder, arrows[to].folder);
    }
}

static int files_checked, includes_checked;

static int check_file(const char *path, const struct stat *status, int kind, struct FTW *place) {
    const char *dot = strrchr(path, '.');
    char line[PATH_BYTES];
    (void)status, (void)place;
    if (kind != FTW_F || !dot || (strcmp(dot, ".c") && strcmp(dot, ".h"))) {
        return 0;
    }
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    while (fgets(line, sizeof line, file)) {
        if (starts(line, "#include ")) {
            check_include(path, line + strlen("#include "));
            includes_checked++;
        }
    }
    fclose(file);
    files_checked++;
    return 0;
}

START_TEST(test_includes) {
    static const char *const roots[] = {"templates", "runtime", "targets", "compiler"};
    files_checked = includes_checked = 0;
    for (size_t r = 0; r < sizeof roots / sizeof *roots; r++) {
        ck_assert_int_eq(nftw(roots[r], check_file, 16, 0), 0);
    }
    ck_assert_int_gt(files_checked, 200);
    ck_assert_int_gt(includes_checked, 1000);
}
END_TEST

// Rows name earlier rows, and every one of them is a folder.
START_TEST(test_rows) {
    for (int f = 0; f < FOLDERS; f++) {
        char names[1024], *rest = names, *name;
        DIR *folder = opendir(arrows[f].folder);
        ck_assert_msg(folder != NULL, "there is no folder %s", arrows[f].folder);
        closedir(folder);
        snprintf(names, sizeof names, "%s", arrows[f].includes);
        while ((name = strsep(&rest, " "))) {
            char file[PATH_BYTES];
            snprintf(file, sizeof file, "%s/", name);
            ck_assert_msg(!*name || (folder_of(file) >= 0 && folder_of(file) < f), "%s may include %s, which is no earlier row",
                          arrows[f].folder, name);
        }
    }
}
END_TEST

// The table of folders in docs/architecture.md has these rows and arrows, in any order.
START_TEST(test_document) {
    static const char path[] = "docs/architecture.md", header[] = "| folder |";
    size_t size;
    char *text = shell_read_file(path, &size), *rest = text, *line, *span, arrow[2 * PATH_BYTES];
    json_t *shown = json_object(), *allowed = json_object();
    bool inside = false;
    while ((line = document_line(&rest))) {
        inside = *line == '|' && (inside || !strncmp(line, header, strlen(header)));
        char *last = inside ? strrchr(line, '|') : NULL, *folder;
        if (!last || line[2] != '`') {
            continue;
        }
        *last = 0;
        last = strrchr(line, '|') + 1;
        folder = document_span(&line);
        names_add(shown, folder, "");
        while ((span = document_span(&last))) {
            snprintf(arrow, sizeof arrow, "%s -> %s", folder, span);
            names_add(shown, arrow, "");
        }
    }
    for (int f = 0; f < FOLDERS; f++) {
        names_add(allowed, arrows[f].folder, "");
        for (int to = 0; to < f; to++) {
            if (arrow_allowed(&arrows[f], arrows[to].folder)) {
                snprintf(arrow, sizeof arrow, "%s -> %s", arrows[f].folder, arrows[to].folder);
                names_add(allowed, arrow, "");
            }
        }
    }
    names_compare(shown, path, allowed, "folder or arrow");
    free(text);
}
END_TEST

// The oracle shares no code with the skeleton: of the templates it may know what a layer is, how its weights lie and its own
// sections of routers/ and activations/, no more.
START_TEST(test_oracle) {
    static const char *const known[] = {"\"templates/layer.h\"", "\"templates/plan.h\"", "\"templates/routers/list.h\"",
                                        "\"templates/activations/list.h\""};
    DIR *folder = opendir("compiler/oracle");
    int files = 0;
    ck_assert_ptr_nonnull(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        char path[PATH_BYTES], line[PATH_BYTES];
        snprintf(path, sizeof path, "compiler/oracle/%s", entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "r");
        while (file && fgets(line, sizeof line, file)) {
            bool shared = false;
            for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
                shared = shared || strstr(line, known[k]);
            }
            ck_assert_msg(shared || !starts(line, "#include \"templates/"), "%s has %s", path, line);
        }
        if (file) {
            fclose(file);
            files++;
        }
    }
    closedir(folder);
    ck_assert_int_gt(files, 8);
}
END_TEST

Suite *suite_boundaries(void) {
    Suite *suite = suite_create("boundaries");
    TCase *cases = tcase_create("includes");
    tcase_add_test(cases, test_rows);
    tcase_add_test(cases, test_includes);
    tcase_add_test(cases, test_oracle);
    tcase_add_test(cases, test_document);
    suite_add_tcase(suite, cases);
    return suite;
}
