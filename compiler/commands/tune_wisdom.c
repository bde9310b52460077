// See tune_wisdom.h.
#include "tune_wisdom.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int tune_wisdom_path(const char *option, char path[WISDOM_PATH_BYTES]) {
    if (!option) {
        return wisdom_user_path(path);
    }
    return strcmp(option, "none") && snprintf(path, WISDOM_PATH_BYTES, "%s", option) < WISDOM_PATH_BYTES ? 0 : -1;
}

// Parents of a file that is named are not made: its name may be mistyped.
static int check_named(const char *option, Diagnostics *diagnostics) {
    char path[WISDOM_PATH_BYTES];
    struct stat status;
    if (strlen(option) >= sizeof path) {
        diagnostics_add(diagnostics, NULL, 0, 0, "--wisdom: the path is too long: '%.60s...'", option);
        return -1;
    }
    snprintf(path, sizeof path, "%s", option);
    char *slash = strrchr(path, '/');
    if (slash && slash > path) {
        *slash = 0;
        if (stat(path, &status) || !S_ISDIR(status.st_mode)) {
            diagnostics_add(diagnostics, option, 0, 0, "there is no directory '%s'", path);
            return -1;
        }
    }
    return 0;
}

int tune_wisdom_check(const char *option, Diagnostics *diagnostics) {
    char path[WISDOM_PATH_BYTES];
    if (option && check_named(option, diagnostics)) {
        return -1;
    }
    if (tune_wisdom_path(option, path)) {
        if (!option) {
            fprintf(
                stderr,
                "catena: there is no home to keep wisdom in, because neither XDG_DATA_HOME nor HOME is an absolute path: a plan "
                "that is found is printed, but not kept; --wisdom FILE keeps it\n");
        }
        return 0;
    }
    int failed = wisdom_try(path, diagnostics);
    if (failed) {
        diagnostics_explain(
            diagnostics,
            "  what the search finds could not be kept, so nothing was measured; --wisdom FILE keeps it in another\n"
            "  file, XDG_DATA_HOME names another folder for all wisdom, --wisdom none keeps nothing\n");
    }
    return failed;
}

double tune_wisdom_start(TuneOptions *tune, const Wisdom *wisdom, const RecallKey *key, const char *layer) {
    const json_t *entry = wisdom ? wisdom_find(wisdom, &key->key) : NULL;
    double gain = entry ? json_number_value(json_object_get(entry, "gain")) : 1;
    if (tune->workload.bits_free) {  // the path is raced anew, and all else depends on it
        return gain;
    }
    tune->known = tune->method == SEARCH_TABLE ? NULL : json_object_get(entry, "measurements");  // a table is of one run
    if (wisdom && !entry) {
        entry = wisdom_nearest(wisdom, &key->key);
        if (wisdom_find_outdated(wisdom, &key->key)) {
            printf("layer %s: what another version of catena or LLVM found is not trusted, the search begins anew\n", layer);
        }
    }
    tune->start = json_object_get(entry, "decisions");
    return gain;
}

int tune_wisdom_keep(const char *option, const TuneOptions *options, const RecallKey *key, const TuneResult *result,
                     Diagnostics *diagnostics) {
    const SearchResult *search = &result->search;
    char file[WISDOM_PATH_BYTES], note[WISDOM_NOTE_BYTES] = "";
    if (tune_wisdom_path(option, file)) {
        return 0;
    }
    json_t *decisions = tune_decisions(result), *measurements = tune_measurements(result);
    const PathVerdict *path = &result->path;
    json_t *entry = wisdom_entry(&key->key, options->machine, decisions, search->gain * path->gain, search->low * path->low,
                                 search->high * path->high, measurements);
    if (entry && search_tied(search) && path->gain == 1) {  // another path's gain is over another plan
        wisdom_entry_tie(entry, search->candidate_gain, search->candidate_low, search->candidate_high);
    }
    int status = entry ? wisdom_update(file, &key->key, entry, note, diagnostics) : -1;
    if (*note) {
        fprintf(stderr, "catena: %s\n", note);
    }
    if (status && search->gain > 1) {
        diagnostics_explain(diagnostics,
                            "  the plan was found but could not be kept: the list that was printed, put into a file, is what\n"
                            "  catena tune --candidates=FILE compares and keeps\n");
    }
    json_decref(decisions);
    json_decref(measurements);
    json_decref(entry);
    return status;
}
