// Plots as files, which replace no file of anybody else.
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "plot.h"
#include "runtime/file.h"
#include "writable.h"

static bool is_ours(const char *path) {
    char head[128] = "";
    FILE *file = fopen(path, "r");
    if (file) {
        size_t length = fread(head, 1, sizeof head - 1, file);
        head[length] = 0;
        fclose(file);
    }
    return strstr(head, PLOT_MARK) != NULL;
}

enum { FILE_ROOM = 1 << 16 };  // bytes, more than a drawing takes: a disk that is full is known before anything is measured

int plot_check_path(const char *path, Diagnostics *diagnostics) {
    char error[512] = "";
    struct stat facts;
    if (writable_file(path, FILE_ROOM, &(Failure){error, sizeof error}) != LIBRARY_OK) {  // first: it refuses pipes, which block
        diagnostics_add(diagnostics, NULL, 0, 0, "%s", error);
        return -1;
    }
    if (!stat(path, &facts) && !is_ours(path)) {
        diagnostics_add(diagnostics, path, 0, 0, "exists and was not written by catena: remove it or choose another name");
        return -1;
    }
    return 0;
}

int plot_write_file(const char *path, const char *text, size_t bytes, Diagnostics *diagnostics) {
    char error[512] = "";
    if (plot_check_path(path, diagnostics)) {
        return -1;
    }
    Status status = file_write(path, text, (int64_t)bytes, &(Failure){error, sizeof error});
    if (status != LIBRARY_OK) {
        diagnostics_add(diagnostics, NULL, 0, 0, "%s", error);
    }
    return status == LIBRARY_OK ? 0 : -1;
}

int plot_save(const Plot *const *plots, int count, const char *path, Diagnostics *diagnostics) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *stream = open_memstream(&text, &bytes);
    bool failed = !stream;
    for (int i = 0; i < count; i++) {
        failed |= plots[i]->failed;
    }
    if (stream) {
        plot_write(plots, count, true, stream);
        failed |= ferror(stream) != 0;
        failed |= fclose(stream) != 0;
    }
    if (failed) {
        diagnostics_add(diagnostics, path, 0, 0, "out of memory, or more than %d series in a plot", PLOT_MAX_SERIES);
    }
    int status = failed ? -1 : plot_write_file(path, text, bytes, diagnostics);
    free(text);
    return status;
}
