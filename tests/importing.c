#define _GNU_SOURCE
#include "importing.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/import/import.h"
#include "shell.h"

Imported importing_path(const char *path) {
    Imported result = {0};
    size_t sizes[2];
    FILE *remarks = open_memstream(&result.remarks, &sizes[0]), *summary = open_memstream(&result.summary, &sizes[1]);
    ImportOptions options = IMPORT_DEFAULTS;
    options.remarks = remarks;
    options.summary = summary;
    Import *import = import_open(path, &options, &result.diagnostics);
    result.text = import ? strdup(import_result(import)->description) : NULL;
    import_close(import);
    fclose(remarks);
    fclose(summary);
    result.description = result.text ? json_loads(result.text, 0, NULL) : NULL;
    ck_assert_msg(!result.text == (result.diagnostics.count > 0), "a result or a reason, not both or neither");
    return result;
}

void importing_free(Imported *result) {
    json_decref(result->description);
    free(result->text);
    free(result->remarks);
    free(result->summary);
    diagnostics_free(&result->diagnostics);
}

Imported importing_config(const char *config) {
    char path[SHELL_PATH_BYTES + 16];
    shell_write_file("$D/config.json", config, strlen(config));
    snprintf(path, sizeof path, "%s/config.json", shell_folder());
    return importing_path(path);
}

const json_t *importing_find(const json_t *value, const char *path) {
    char copy[256], *rest = copy, *step;
    snprintf(copy, sizeof copy, "%s", path);
    while (value && (step = strsep(&rest, "."))) {
        value = json_is_array(value) ? json_array_get(value, (size_t)atoi(step)) : json_object_get(value, step);
    }
    return value;
}

void importing_value(const Imported *result, const char *path, const char *wanted) {
    ck_assert_msg(result->description, "%s: %s", path, result->diagnostics.text);
    json_t *value = json_loads(wanted, JSON_DECODE_ANY, NULL);
    const json_t *found = importing_find(result->description, path);
    bool same = json_is_number(value) ? found && json_number_value(found) == json_number_value(value)
                : json_is_null(value) ? !found
                                      : json_equal(found, value);
    ck_assert_msg(same, "%s is not %s in\n%s", path, wanted, result->text);
    json_decref(value);
}

void importing_words(const char *text, const char *words) {
    ck_assert_msg(text && strstr(text, words), "'%s' has no '%s'", text ? text : "", words);
}
