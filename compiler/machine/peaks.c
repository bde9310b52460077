// The cache of measured peaks: one JSON file per machine,
// {"version": 2, "entries": {"avx512 2 threads": {"fp32_fma": {"peak": 300.1, "tile": 120.2}, ...}}}.
// Readers and writers never meet half a file.
#include "peaks.h"
#include "targets/target.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compiler/base/writable.h"
#include "runtime/file.h"

// Part of the file's version: bump it when what is measured changes.
enum { PEAKS_VERSION = 2 };

bool peaks_plausible(const Peaks *peaks, int threads, char reason[PEAKS_NOTE_BYTES]) {
    reason[0] = 0;
    for (int p = 0; threads > 1 && p < PATH_COUNT; p++) {
        if (peaks->gflops[p] < 0.9 * peaks->tile_gflops[p]) {
            snprintf(reason, PEAKS_NOTE_BYTES, "machine disturbed: %s reaches %.0f GFLOP/s with %d threads, but %.0f in one's tile",
                     path_name((Path)p), peaks->gflops[p], threads, peaks->tile_gflops[p]);
            return false;
        }
    }
    return true;
}

void peaks_raise(Peaks *peaks, const Peaks *other) {
    for (int p = 0; p < PATH_COUNT; p++) {
        peaks->gflops[p] = fmax(peaks->gflops[p], other->gflops[p]);
        peaks->tile_gflops[p] = fmax(peaks->tile_gflops[p], other->tile_gflops[p]);
    }
}

int peaks_path(const Machine *machine, char path[PEAKS_PATH_BYTES]) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char fingerprint[MACHINE_FINGERPRINT_BYTES];
    int length;
    machine_fingerprint(machine, fingerprint);
    if (cache && *cache == '/') {
        length = snprintf(path, PEAKS_PATH_BYTES, "%.*s/catena/peaks-%s.json", file_folder_length(cache), cache, fingerprint);
    } else if (home && *home == '/') {
        length = snprintf(path, PEAKS_PATH_BYTES, "%.*s/.cache/catena/peaks-%s.json", file_folder_length(home), home, fingerprint);
    } else {
        return -1;
    }
    return length < PEAKS_PATH_BYTES ? 0 : -1;
}

static void entry_name(const char *target, int threads, char name[64]) {
    snprintf(name, 64, "%s %d threads", target, threads);
}

// Reads the document. NULL if there is no file; a file that is not ours is a note.
static json_t *document_read(const char *path, char note[PEAKS_NOTE_BYTES]) {
    json_error_t error;
    json_t *document = NULL;
    if (access(path, F_OK)) {
        return NULL;
    }
    document = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (!document) {
        snprintf(note, PEAKS_NOTE_BYTES, "%.120s:%d: the cache of measured peaks is damaged (%.60s)", path, error.line, error.text);
    } else if (json_integer_value(json_object_get(document, "version")) != PEAKS_VERSION) {
        snprintf(note, PEAKS_NOTE_BYTES, "%.120s: the cache of measured peaks is of another version", path);
        json_decref(document);
        document = NULL;
    }
    return document;
}

static int entry_read(const json_t *entry, Peaks *peaks) {
    for (int p = 0; p < PATH_COUNT; p++) {
        const json_t *path = json_object_get(entry, path_name((Path)p));
        const json_t *peak = json_object_get(path, "peak"), *tile = json_object_get(path, "tile");
        if (!path) {
            return 1;  // a path that was not there yet when the entry was made
        }
        if (!json_is_number(peak) || !json_is_number(tile)) {
            return -1;
        }
        peaks->gflops[p] = json_number_value(peak);
        peaks->tile_gflops[p] = json_number_value(tile);
        if (!(peaks->gflops[p] >= 0) || !(peaks->tile_gflops[p] >= 0) || isinf(peaks->gflops[p] + peaks->tile_gflops[p])) {
            return -1;
        }
    }
    return 0;
}

int peaks_load(const char *path, const char *target, int threads, Peaks *peaks) {
    char name[64];
    peaks->note[0] = 0;
    json_t *document = document_read(path, peaks->note);
    entry_name(target, threads, name);
    const json_t *entry = json_object_get(json_object_get(document, "entries"), name);
    int status = peaks->note[0] ? -1 : 1;
    if (entry) {
        status = entry_read(entry, peaks);
        if (status < 0) {
            snprintf(peaks->note, sizeof peaks->note, "%.120s: the entry '%s' is damaged", path, name);
        }
    }
    json_decref(document);
    return status;
}

static json_t *entry_make(const Peaks *peaks) {
    json_t *entry = json_object();
    for (int p = 0; p < PATH_COUNT; p++) {
        json_object_set_new(entry, path_name((Path)p),
                            json_pack("{s:f, s:f}", "peak", peaks->gflops[p], "tile", peaks->tile_gflops[p]));
    }
    return entry;
}

int peaks_save(const char *path, const char *target, int threads, Peaks *peaks) {
    char name[64], error[PEAKS_NOTE_BYTES / 2] = "out of memory";
    char ignored[PEAKS_NOTE_BYTES] = "";  // a damaged file was mentioned when it was read
    if (writable_folder_of(path, 0777, &(Failure){error, sizeof error}) != LIBRARY_OK) {
        snprintf(peaks->note, sizeof peaks->note, "measured peaks cannot be remembered: %s", error);
        return -1;
    }
    json_t *document = document_read(path, ignored);
    if (!json_is_object(json_object_get(document, "entries"))) {
        json_decref(document);
        document = json_pack("{s:i, s:{}}", "version", PEAKS_VERSION, "entries");
    }
    entry_name(target, threads, name);
    json_object_set_new(json_object_get(document, "entries"), name, entry_make(peaks));
    char *text = json_dumps(document, JSON_INDENT(2) | JSON_SORT_KEYS);
    bool written = text && file_write(path, text, (int64_t)strlen(text), &(Failure){error, sizeof error}) == LIBRARY_OK;
    if (!written) {
        snprintf(peaks->note, sizeof peaks->note, "measured peaks cannot be remembered: %s", error);
    }
    free(text);
    json_decref(document);
    return written ? 0 : -1;
}

void peaks_keep(const Machine *machine, const char *target, int threads, Peaks *peaks) {
    char path[PEAKS_PATH_BYTES], reason[PEAKS_NOTE_BYTES];
    Peaks before, kept = *peaks;
    if (peaks_path(machine, path) || !peaks_plausible(peaks, threads, reason)) {
        return;
    }
    if (!peaks_load(path, target, threads, &before) && peaks_plausible(&before, threads, reason)) {
        peaks_raise(&kept, &before);
    }
    if (peaks_plausible(&kept, threads, reason) && peaks_save(path, target, threads, &kept)) {
        memcpy(peaks->note, kept.note, sizeof peaks->note);
    }
}
