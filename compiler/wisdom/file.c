// The file of wisdom: read by anyone at any time, since writers rename complete files into place (runtime/file.c); changed and set
// aside under the lock.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compiler/base/writable.h"
#include "parts.h"
#include "runtime/file.h"

int wisdom_user_path(char path[WISDOM_PATH_BYTES]) {
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    int length;
    if (data && *data == '/') {
        length = snprintf(path, WISDOM_PATH_BYTES, "%.*s/catena/wisdom.json", file_folder_length(data), data);
    } else if (home && *home == '/') {
        length = snprintf(path, WISDOM_PATH_BYTES, "%.*s/.local/share/catena/wisdom.json", file_folder_length(home), home);
    } else {
        return -1;
    }
    return length < WISDOM_PATH_BYTES ? 0 : -1;
}

// --- reading -----------------------------------------------------------------------------------------------------------------

static WisdomState report(const char *path, const char *text, WisdomState state, Diagnostics *diagnostics) {
    diagnostics_add(diagnostics, path, 0, 0, "%s", text);
    return state;
}

static WisdomState read_nothing(const char *path, Wisdom *wisdom, Diagnostics *diagnostics) {
    *wisdom = (Wisdom){json_object(), json_object()};
    if (wisdom->entries && wisdom->refused) {
        return WISDOM_FINE;
    }
    wisdom_clear(wisdom);
    return report(path, "out of memory", WISDOM_UNUSABLE, diagnostics);
}

// Reads all of a stream; more than the limit shows as one byte more.
static WisdomState read_stream(FILE *stream, const char *path, Wisdom *wisdom, Diagnostics *diagnostics) {
    char *text = malloc((size_t)WISDOM_MAX_BYTES + 1);
    WisdomState state;
    if (!text) {
        return report(path, "out of memory", WISDOM_UNUSABLE, diagnostics);
    }
    size_t bytes = fread(text, 1, (size_t)WISDOM_MAX_BYTES + 1, stream);
    if (ferror(stream)) {
        state = report(path, strerror(errno), WISDOM_UNUSABLE, diagnostics);
    } else if (!bytes) {
        state = read_nothing(path, wisdom, diagnostics);
    } else {
        state = wisdom_text_read(text, bytes, path, wisdom, diagnostics);
    }
    free(text);
    return state;
}

// A name that is not there has no entries.
static WisdomState read_absent(const char *path, Wisdom *wisdom, Diagnostics *diagnostics) {
    struct stat facts;
    if (!lstat(path, &facts) && S_ISLNK(facts.st_mode)) {
        return report(path, "found a symbolic link to nothing, expected a file", WISDOM_DAMAGED, diagnostics);
    }
    return read_nothing(path, wisdom, diagnostics);
}

static WisdomState read_path(const char *path, Wisdom *wisdom, Diagnostics *diagnostics) {
    *wisdom = (Wisdom){NULL, NULL};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // NONBLOCK: a FIFO must not hang us
    if (fd < 0) {
        return errno == ENOENT ? read_absent(path, wisdom, diagnostics)
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
        state = read_stream(stream, path, wisdom, diagnostics);
    }
    if (stream) {
        fclose(stream);
    } else {
        close(fd);
    }
    return state;
}

// On the heap; NULL where there is none.
static Wisdom *make_wisdom(Wisdom *read) {
    Wisdom *wisdom = read->entries ? malloc(sizeof *wisdom) : NULL;
    if (wisdom) {
        *wisdom = *read;
    } else {
        wisdom_clear(read);
    }
    return wisdom;
}

void wisdom_free(Wisdom *wisdom) {
    if (wisdom) {
        wisdom_clear(wisdom);
        free(wisdom);
    }
}

Wisdom *wisdom_read_foreign(const char *path, Diagnostics *diagnostics) {
    const size_t before = diagnostics->count;
    Wisdom read = {NULL, NULL};
    if (!strcmp(path, "-")) {
        read_stream(stdin, "standard input", &read, diagnostics);
    } else if (access(path, F_OK)) {
        report(path, strerror(errno), WISDOM_UNUSABLE, diagnostics);
    } else {
        read_path(path, &read, diagnostics);
    }
    if (diagnostics->count > before) {
        wisdom_clear(&read);
    }
    return make_wisdom(&read);
}

// --- damage ------------------------------------------------------------------------------------------------------------------

enum { NOTE_ENTRIES = 8 };

// Adds lines to the note: the first problems reported since `before`, and what became of what has them.
static void add_note(const Diagnostics *diagnostics, const Diagnostics *before, int lines, const char *outcome, const char *place,
                     char *note) {
    const char *text = diagnostics->text && diagnostics->length > before->length ? diagnostics->text + before->length : NULL;
    for (int i = 0; i < lines; i++) {
        const char *line = text && *text ? text : i ? NULL : "error: a damaged file";
        size_t used = strlen(note), length = line ? strcspn(line, "\n") : 0;
        if (!line) {
            break;
        }
        snprintf(note + used, WISDOM_NOTE_BYTES - used, "%s%.*s; %s%s", used ? "\n" : "", (int)length, line, outcome, place);
        text = text && text[length] ? text + length + 1 : NULL;
    }
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

// What was reported of a file that is fine is about entries: they are noted.
static void note_refused(const Wisdom *wisdom, Diagnostics *diagnostics, const Diagnostics *before, char *note) {
    size_t refused = json_object_size(wisdom->refused), reported = diagnostics->count - before->count;
    if (!refused) {
        return;
    }
    add_note(diagnostics, before, NOTE_ENTRIES, "this entry is not used", "", note);
    size_t used = strlen(note);
    if (reported > NOTE_ENTRIES) {
        snprintf(note + used, WISDOM_NOTE_BYTES - used, "\n%zu more problems; %zu entries are not used", reported - NOTE_ENTRIES,
                 refused);
    }
    take_back(diagnostics, before);
}

// Reads a file of which the lock is held; a damaged one is set aside. -1 with diagnostics: it must not be written.
static int read_locked(const char *path, Wisdom *wisdom, char *note, Diagnostics *diagnostics) {
    const Diagnostics before = *diagnostics;
    char aside[WISDOM_ASIDE_BYTES];
    WisdomState state = read_path(path, wisdom, diagnostics);
    if (state == WISDOM_FINE) {
        note_refused(wisdom, diagnostics, &before, note);
        return 0;
    }
    if (state == WISDOM_UNUSABLE) {
        return -1;
    }
    if (wisdom_set_aside(path, aside)) {
        diagnostics_add(diagnostics, path, 0, 0, "is damaged and cannot be set aside: %s", strerror(errno));
        return -1;
    }
    add_note(diagnostics, &before, 1, "it was set aside as ", aside, note);
    take_back(diagnostics, &before);
    return read_nothing(path, wisdom, diagnostics) == WISDOM_FINE ? 0 : -1;
}

// A file that was found damaged. Somebody else may have set it aside by now, and the file of this name be a new one.
static int read_again(const char *path, Wisdom *wisdom, char *note) {
    char real[WISDOM_PATH_BYTES];
    const char *target = wisdom_resolve(path, real);
    Diagnostics ignored = {0};
    int lock = wisdom_lock(target, &ignored);
    int failed = lock < 0 || read_locked(target, wisdom, note, &ignored);
    if (lock >= 0) {
        close(lock);
    }
    diagnostics_free(&ignored);
    return failed ? -1 : 0;
}

// Notes that a file is as if it were empty, and stays.
static void ignore_file(const char *path, Wisdom *wisdom, Diagnostics *diagnostics, const Diagnostics *before, char *note) {
    add_note(diagnostics, before, 1, "it is left where it is", "", note);
    take_back(diagnostics, before);
    read_nothing(path, wisdom, diagnostics);
}

Wisdom *wisdom_read(const char *path, WisdomDamage damage, char note[WISDOM_NOTE_BYTES], Diagnostics *diagnostics) {
    const Diagnostics before = *diagnostics;
    Wisdom read;
    *note = 0;
    WisdomState state = read_path(path, &read, diagnostics);
    if (state == WISDOM_FINE) {
        note_refused(&read, diagnostics, &before, note);
    } else if (state == WISDOM_DAMAGED && damage == WISDOM_SET_ASIDE) {
        if (read_again(path, &read, note)) {
            ignore_file(path, &read, diagnostics, &before, note);
        } else {
            take_back(diagnostics, &before);
        }
    }
    return make_wisdom(&read);
}

// The system's file: whatever is wrong with it is noted.
static void read_system(const char *path, Wisdom *wisdom, char *note, Diagnostics *diagnostics) {
    const Diagnostics before = *diagnostics;
    if (read_path(path, wisdom, diagnostics) == WISDOM_FINE) {
        note_refused(wisdom, diagnostics, &before, note);
    } else {
        ignore_file(path, wisdom, diagnostics, &before, note);
    }
}

Wisdom *wisdom_read_all(const char *path, WisdomDamage damage, const char *system, char note[WISDOM_NOTE_BYTES],
                        Diagnostics *diagnostics) {
    Wisdom *wisdom = wisdom_read(path, damage, note, diagnostics), more;
    if (wisdom && system) {
        read_system(system, &more, note, diagnostics);
        if (!more.entries || wisdom_entries_unite(wisdom->entries, more.entries)) {
            diagnostics_add(diagnostics, system, 0, 0, "out of memory");
            wisdom_free(wisdom);
            wisdom = NULL;
        }
        wisdom_clear(&more);
    }
    return wisdom;
}

// --- changing ----------------------------------------------------------------------------------------------------------------

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

// Everything that belongs into the file. What is refused keeps its id, or takes a new one where an entry has it by now.
static int write_all(const char *path, const Wisdom *wisdom, Diagnostics *diagnostics) {
    json_t *all = json_copy(wisdom->entries), *entry;
    const char *id;
    bool failed = !all;
    json_object_foreach(wisdom->refused, id, entry) {
        char other[WISDOM_ID_BYTES + 32];
        const char *name = id;
        for (int n = 1; json_object_get(all, name) || (n > 1 && json_object_get(wisdom->refused, name)); n++) {
            snprintf(other, sizeof other, "%.16s" WISDOM_REFUSED "%d", id, n);
            name = other;
        }
        failed = failed || json_object_set(all, name, entry);
    }
    if (failed) {
        diagnostics_add(diagnostics, path, 0, 0, "out of memory");
    }
    int status = failed ? -1 : wisdom_write(path, all, diagnostics);
    json_decref(all);
    return status;
}

// What comes before every change: the folder, for the user alone, as XDG asks, and the lock. target: the file that is changed.
// Returns the lock, or -1 with diagnostics.
static int begin_change(const char *path, char real[WISDOM_PATH_BYTES], const char **target, Diagnostics *diagnostics) {
    char error[WISDOM_PATH_BYTES + 256] = "";
    if (writable_folder_of(path, 0700, &(Failure){error, sizeof error}) != LIBRARY_OK) {
        diagnostics_add(diagnostics, NULL, 0, 0, "%s", error);
        return -1;
    }
    *target = wisdom_resolve(path, real);
    return wisdom_lock(*target, diagnostics);
}

int wisdom_change(const char *path, WisdomChange *change, void *context, char note[WISDOM_NOTE_BYTES], Diagnostics *diagnostics) {
    char real[WISDOM_PATH_BYTES];
    const char *target;
    Wisdom wisdom;
    *note = 0;
    int lock = begin_change(path, real, &target, diagnostics);
    if (lock < 0) {
        return -1;
    }
    int result = read_locked(target, &wisdom, note, diagnostics) ? -1 : change(&wisdom, context, diagnostics);
    if (result > 0) {
        result = write_all(target, &wisdom, diagnostics);
    }
    wisdom_clear(&wisdom);
    close(lock);
    return result;
}

static int unite(Wisdom *wisdom, void *context, Diagnostics *diagnostics) {
    if (wisdom_entries_unite(wisdom->entries, context)) {
        diagnostics_add(diagnostics, NULL, 0, 0, "out of memory");
        return -1;
    }
    return 1;
}

int wisdom_merge(const char *path, const json_t *entries, char note[WISDOM_NOTE_BYTES], Diagnostics *diagnostics) {
    return wisdom_change(path, unite, (void *)entries, note, diagnostics);
}

int wisdom_try(const char *path, Diagnostics *diagnostics) {
    enum { ROOM = 1 << 18 };  // bytes, more than the entry of a search takes: a disk that is full is known before
    char real[WISDOM_PATH_BYTES], error[WISDOM_PATH_BYTES + 256] = "";
    const char *target;
    struct stat facts;
    int lock = begin_change(path, real, &target, diagnostics);
    if (lock < 0) {
        return -1;
    }
    int64_t bytes = ROOM + (stat(target, &facts) ? 0 : (int64_t)facts.st_size);
    Status status = writable_file(target, bytes, &(Failure){error, sizeof error});
    if (status != LIBRARY_OK) {
        diagnostics_add(diagnostics, NULL, 0, 0, "%s", error);
    }
    close(lock);
    return status == LIBRARY_OK ? 0 : -1;
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
