// Fuzzes the import of configurations: any bytes in place of a config.json are either a description, which import itself has read
// back, or diagnostics, never both and never neither. No checkpoint lies beside it.
#define _GNU_SOURCE 1
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "compiler/import/import.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/tmp/catena-fuzz-XXXXXX", path[sizeof folder + 16];
static FILE *words;  // nobody reads them, but they are printed

static void end(void) {
    unlink(path);
    rmdir(folder);
}

static void begin(void) {
    words = fopen("/dev/null", "w");
    if (!words || !mkdtemp(folder)) {
        abort();
    }
    snprintf(path, sizeof path, "%s/config.json", folder);
    atexit(end);
}

static void write_config(const uint8_t *data, size_t size) {
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0 || write(file, data, size) != (ssize_t)size || close(file)) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!words) {
        begin();
    }
    write_config(data, size);
    ImportOptions options = IMPORT_DEFAULTS;
    options.remarks = options.summary = words;
    Diagnostics diagnostics = {0};
    Import *import = import_open(path, &options, &diagnostics);
    if (!import == !diagnostics.count || (import && !import_result(import)->description)) {
        abort();
    }
    import_close(import);
    diagnostics_free(&diagnostics);
    return 0;
}
