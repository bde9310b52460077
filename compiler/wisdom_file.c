// The file of wisdom: read by anyone at any time, since writers rename complete files into place (runtime/file.c); changed and set
// aside under the lock.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../runtime/file.h"
#include "wisdom_parts.h"

int wisdom_user_path(char path[WISDOM_PATH_BYTES]) {
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    int length;
    if (data && *data == '/') {
        length = snprintf(path, WISDOM_PATH_BYTES, "%s/catena/wisdom.json", data);
    } else if (home && *home == '/') {
        length = snprintf(path, WISDOM_PATH_BYTES, "%s/.local/share/catena/wisdom.json", home);
    } else {
        return -1;
    }
    return length < WISDOM_PATH_BYTES ? 0 : -1;
}

// --- reading ---------------------------------------------------------------------------------------------------------------------

static WisdomState report(const char *path, const char *text, WisdomState state, Diagnostics *diagnostics) {
    diagnostics_add(diagnostics, path, 0, 0, "%s", text);
    return state;
}

static WisdomState read_nothing(const char *path, json_t **entries, Diagnostics *diagnostics) {
    *entries = json_object();
    return *entries ? WISDOM_FINE : report(path, "out of memory", WISDOM_UNUSABLE, diagnostics);
}

// Reads all of a stream; more than the limit shows as one byte more.
static WisdomState read_stream(FILE *stream, const char *path, json_t **entries, Diagnostics *diagnostics) {
    char *text = malloc((size_t)WISDOM_MAX_BYTES + 1);
    WisdomState state;
    if (!text) {
        return report(path, "out of memory", WISDOM_UNUSABLE, diagnostics);
    }
    size_t bytes = fread(text, 1, (size_t)WISDOM_MAX_BYTES + 1, stream);
    if (ferror(stream)) {
        state = report(path, strerror(errno), WISDOM_UNUSABLE, diagnostics);
    } else if (!bytes) {
        state = read_nothing(path, entries, diagnostics);
    } else {
        state = wisdom_text_read(text, bytes, path, entries, diagnostics);
    }
    free(text);
    return state;
}

// A name that is not there has no entries.
static WisdomState read_absent(const char *path, json_t **entries, Diagnostics *diagnostics) {
    struct stat facts;
    if (!lstat(path, &facts) && S_ISLNK(facts.st_mode)) {
        return report(path, "found a symbolic link to nothing, expected a file", WISDOM_DAMAGED, diagnostics);
    }
    return read_nothing(path, entries, diagnostics);
}

static WisdomState read_path(const char *path, json_t **entries, Diagnostics *diagnostics) {
    *entries = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // NONBLOCK: a FIFO must not hang us
    if (fd < 0) {
        return errno == ENOENT ? read_absent(path, entries, diagnostics)
                               : report(path, strerror(errno), WISDOM_UNUSABLE, diagnostics);
    }
    struct stat facts;
    FILE *stream = NULL;
    WisdomState state;
    if (fstat(fd, &facts)) {
        state = report(path, strerror(errno), WISDOM_UNUSABLE, diagnostics);
    } else if (!S_ISREG(facts.st_mode)) {
        state = report(path, S_ISDIR(facts.st_mode) ? "found a directory, expected a file" : "expected a regular file",
                       WISDOM_UNUSABLE, diagnostics);
    } else if (!(stream = fdopen(fd, "rb"))) {
        state = report(path, strerror(errno), WISDOM_UNUSABLE, diagnostics);
    } else {
        state = read_stream(stream, path, entries, diagnostics);
    }
    if (stream) {
        fclose(stream);
    } else {
        close(fd);
    }
    return state;
}

static Wisdom *make_wisdom(json_t *entries) {
    Wisdom *wisdom = entries ? malloc(sizeof *wisdom) : NULL;
    if (wisdom) {
        wisdom->entries = entries;
    } else {
        json_decref(entries);
    }
    return wisdom;
}

void wisdom_free(Wisdom *wisdom) {
    if (wisdom) {
        json_decref(wisdom->entries);
        free(wisdom);
    }
}

Wisdom *wisdom_read_foreign(const char *path, Diagnostics *diagnostics) {
    json_t *entries = NULL;
    if (!strcmp(path, "-")) {
        read_stream(stdin, "standard input", &entries, diagnostics);
    } else if (access(path, F_OK)) {
        report(path, strerror(errno), WISDOM_UNUSABLE, diagnostics);
    } else {
        read_path(path, &entries, diagnostics);
    }
    return make_wisdom(entries);
}

// --- damage ----------------------------------------------------------------------------------------------------------------------

// Adds a line to the note: the first problem reported since `before`, and what became of the file.
static void add_note(const Diagnostics *diagnostics, const Diagnostics *before, const char *outcome, const char *place,
                     char *note) {
    bool kept = diagnostics->text && diagnostics->length > before->length;
    const char *text = kept ? diagnostics->text + before->length : "error: a damaged file";
    size_t used = strlen(note);
    snprintf(note + used, WISDOM_NOTE_BYTES - used, "%s%.*s; %s%s", used ? "\n" : "", (int)strcspn(text, "\n"), text, outcome,
             place);
}

// Takes back what was reported since `before`.
static void take_back(Diagnostics *diagnostics, const Diagnostics *before) {
    if (!before->count) {
        diagnostics_free(diagnostics);
        return;
    }
    diagnostics->length = before->length;
    diagnostics->count = before->count;
    if (diagnostics->text) {
        diagnostics->text[diagnostics->length] = 0;
    }
}

// Reads a file of which the lock is held; a damaged one is set aside. NULL with diagnostics: it must not be written.
static json_t *read_locked(const char *path, char *note, Diagnostics *diagnostics) {
    const Diagnostics before = *diagnostics;
    char aside[WISDOM_ASIDE_BYTES];
    json_t *entries;
    if (read_path(path, &entries, diagnostics) != WISDOM_DAMAGED) {
        return entries;
    }
    if (wisdom_set_aside(path, aside)) {
        diagnostics_add(diagnostics, path, 0, 0, "is damaged and cannot be set aside: %s", strerror(errno));
        return NULL;
    }
    add_note(diagnostics, &before, "it was set aside as ", aside, note);
    take_back(diagnostics, &before);
    return json_object();
}

// A file that was found damaged. Somebody else may have set it aside by now, and the file of this name be a new one.
static json_t *read_again(const char *path, char *note) {
    char real[WISDOM_PATH_BYTES];
    const char *target = wisdom_resolve(path, real);
    Diagnostics ignored = {0};
    int lock = wisdom_lock(target, &ignored);
    json_t *entries = lock < 0 ? NULL : read_locked(target, note, &ignored);
    if (lock >= 0) {
        close(lock);
    }
    diagnostics_free(&ignored);
    return entries;
}

// own: a damaged file may be set aside.
static json_t *read_noting(const char *path, bool own, char *note, Diagnostics *diagnostics) {
    const Diagnostics before = *diagnostics;
    json_t *entries;
    WisdomState state = read_path(path, &entries, diagnostics);
    if (state == WISDOM_DAMAGED || (state == WISDOM_UNUSABLE && !own)) {
        entries = own ? read_again(path, note) : NULL;
        if (!entries) {
            add_note(diagnostics, &before, "it is left where it is", "", note);
            entries = json_object();
        }
        take_back(diagnostics, &before);
    }
    return entries;
}

Wisdom *wisdom_read(const char *path, char note[WISDOM_NOTE_BYTES], Diagnostics *diagnostics) {
    *note = 0;
    return make_wisdom(read_noting(path, true, note, diagnostics));
}

Wisdom *wisdom_read_all(const char *path, const char *system, char note[WISDOM_NOTE_BYTES], Diagnostics *diagnostics) {
    Wisdom *wisdom = wisdom_read(path, note, diagnostics);
    if (wisdom && system) {
        json_t *more = read_noting(system, false, note, diagnostics);
        if (!more || wisdom_entries_unite(wisdom->entries, more)) {
            diagnostics_add(diagnostics, system, 0, 0, "out of memory");
            wisdom_free(wisdom);
            wisdom = NULL;
        }
        json_decref(more);
    }
    return wisdom;
}

// --- changing --------------------------------------------------------------------------------------------------------------------

int wisdom_write(const char *path, const json_t *entries, Diagnostics *diagnostics) {
    char error[WISDOM_PATH_BYTES + 256] = "out of memory";
    const Failure failure = {error, sizeof error};
    char *text = wisdom_text_write(entries);
    size_t bytes = text ? strlen(text) : 0;
    Status status = LIBRARY_OUT_OF_MEMORY;
    if (bytes > WISDOM_MAX_BYTES) {
        snprintf(error, sizeof error, "'%s' would have %zu bytes, but has at most %d: catena wisdom prune or forget makes room",
                 path, bytes, WISDOM_MAX_BYTES);
    } else if (text) {
        status = file_write(path, text, (int64_t)bytes, &failure);
    }
    if (status != LIBRARY_OK) {
        diagnostics_add(diagnostics, NULL, 0, 0, "%s", error);
    }
    free(text);
    return status == LIBRARY_OK ? 0 : -1;
}

int wisdom_change(const char *path, WisdomChange *change, void *context, char note[WISDOM_NOTE_BYTES], Diagnostics *diagnostics) {
    char real[WISDOM_PATH_BYTES];
    *note = 0;
    wisdom_make_directories(path);
    const char *target = wisdom_resolve(path, real);
    int lock = wisdom_lock(target, diagnostics);
    if (lock < 0) {
        return -1;
    }
    wisdom_remove_temporaries(target);
    json_t *entries = read_locked(target, note, diagnostics);
    int result = entries ? change(entries, context, diagnostics) : -1;
    if (result > 0) {
        result = wisdom_write(target, entries, diagnostics);
    }
    json_decref(entries);
    close(lock);
    return result;
}

static int unite(json_t *entries, void *context, Diagnostics *diagnostics) {
    if (wisdom_entries_unite(entries, context)) {
        diagnostics_add(diagnostics, NULL, 0, 0, "out of memory");
        return -1;
    }
    return 1;
}

int wisdom_merge(const char *path, const json_t *entries, char note[WISDOM_NOTE_BYTES], Diagnostics *diagnostics) {
    return wisdom_change(path, unite, (void *)entries, note, diagnostics);
}

int wisdom_try(const char *path, Diagnostics *diagnostics) {
    int lock = wisdom_lock(path, diagnostics);
    if (lock >= 0) {
        close(lock);
    }
    return lock >= 0 ? 0 : -1;
}

int wisdom_update(const char *path, const WisdomKey *key, json_t *entry, char note[WISDOM_NOTE_BYTES], Diagnostics *diagnostics) {
    const WisdomSource source = {path, NULL, 0, diagnostics};
    char id[WISDOM_ID_BYTES];
    int result = -1;
    *note = 0;
    wisdom_id(key, id);
    json_t *entries = json_pack("{s:O}", id, entry);
    if (!entries) {
        diagnostics_add(diagnostics, path, 0, 0, "out of memory");
    } else if (wisdom_entry_check(&source, id, entry)) {  // what a reader would call damaged must not get in
        result = wisdom_merge(path, entries, note, diagnostics);
    }
    json_decref(entries);
    return result;
}
