// Inside of the wisdom store: shared by the files of this folder and by `catena wisdom`.
#ifndef CATENA_WISDOM_PARTS_H
#define CATENA_WISDOM_PARTS_H

#include <stdio.h>

#include "wisdom.h"

// Numbers are written with 9 digits: floats survive, and a number that was read is written as the same text again.
enum { WISDOM_VERSION = 1, WISDOM_MAX_BYTES = 64 << 20, WISDOM_NUMBERS = JSON_REAL_PRECISION(9) };

struct Wisdom {
    json_t *entries;  // {id: entry, ...}
    json_t *refused;  // the same, of what the file has but is no entry (wisdom_entry_check): only kept, for the user to mend
};

// A text that is checked, for messages that say where in it something is. text NULL: it is in memory only.
typedef struct WisdomSource {
    const char *name;
    const char *text;
    size_t bytes;
    Diagnostics *diagnostics;
} WisdomSource;

// A refused entry whose id another entry has by now is kept under that id, this text and a number.
#define WISDOM_REFUSED ".refused-"

// --- key.c ---
// The key as it is stored. New reference; NULL when out of memory.
json_t *wisdom_key_make(const WisdomKey *key);
// A text as it is stored: it will reach terminals, so what is not printable ASCII becomes '?'. NULL counts as "".
json_t *wisdom_key_text(const char *text);
// The id of a stored key: the XXH64 of its text without generator and LLVM.
void wisdom_key_id(const json_t *key, char id[WISDOM_ID_BYTES]);

// --- entry.c ---
// Whether an entry is what wisdom_entry makes and its id its key's; otherwise every reason why not is reported.
bool wisdom_entry_check(const WisdomSource *source, const char *id, const json_t *entry);
// Whether an entry says that the default stays: gain, low and high are those of the default over itself.
bool wisdom_entry_default(const json_t *entry);
// Two entries of one key as one. New reference; NULL when out of memory.
json_t *wisdom_entry_unite(const json_t *one, const json_t *other);
// Unites every entry of `from` with those of `into`. Returns 0, or -1 when out of memory.
int wisdom_entries_unite(json_t *into, const json_t *from);

// --- version.c ---
// Whether generator and LLVM are this program's.
bool wisdom_entry_trusted(const json_t *entry);

// --- text.c ---
typedef enum WisdomState { WISDOM_FINE, WISDOM_DAMAGED, WISDOM_UNUSABLE } WisdomState;
// Reads a text into `wisdom`; `name` is used in messages. Returns
//     WISDOM_FINE      `wisdom` is the caller's (wisdom_clear); entries that are refused are reported
//     WISDOM_DAMAGED   `wisdom` is empty, with diagnostics; the file may be set aside
//     WISDOM_UNUSABLE  `wisdom` is empty, with diagnostics; the file is another program's or a newer version's and is left alone
WisdomState wisdom_text_read(const char *text, size_t bytes, const char *name, Wisdom *wisdom, Diagnostics *diagnostics);
void wisdom_clear(Wisdom *wisdom);
// The text of a file with these entries; owned by the caller. NULL when out of memory.
char *wisdom_text_write(const json_t *entries);

// --- file.c ---
// Reads a file that is not ours, or standard input ("-"): whatever is wrong with it or any entry is an error, and nothing happens
// to it.
Wisdom *wisdom_read_foreign(const char *path, Diagnostics *diagnostics);
// What is done to a file's entries under the lock. Returns 1: write them, and what is refused beside them; 0: nothing changed; -1
// with diagnostics.
typedef int WisdomChange(Wisdom *wisdom, void *context, Diagnostics *diagnostics);
int wisdom_change(const char *path, WisdomChange *change, void *context, char note[WISDOM_NOTE_BYTES], Diagnostics *diagnostics);
// Unites entries (checked ones) with the file's.
int wisdom_merge(const char *path, const json_t *entries, char note[WISDOM_NOTE_BYTES], Diagnostics *diagnostics);
// A whole file, through a temporary one; for the caller to make sure that nothing is lost.
int wisdom_write(const char *path, const json_t *entries, Diagnostics *diagnostics);

// --- lock.c ---
enum { WISDOM_ASIDE_BYTES = WISDOM_PATH_BYTES + 32 };
// What a symbolic link points to, or the path itself: the lock, the temporary file and what is set aside belong beside the file.
const char *wisdom_resolve(const char *path, char real[WISDOM_PATH_BYTES]);
// Waits for the lock. Returns a descriptor, whose closing gives the lock back, or -1 with diagnostics.
int wisdom_lock(const char *path, Diagnostics *diagnostics);
// Under the lock: renames a file to the first FILE.damaged-N that is free. Returns 0, or -1 with errno.
int wisdom_set_aside(const char *path, char aside[WISDOM_ASIDE_BYTES]);

// --- print.c ---
void wisdom_print_list(const json_t *entries, FILE *stream);
void wisdom_print_entry(const char *id, const json_t *entry, FILE *stream);
// One line: id, layer, target, threads, age.
void wisdom_print_line(const char *id, const json_t *entry, FILE *stream);
// The decisions that differ, or "no decision differs". Returns how many.
int wisdom_print_difference(const char *one_name, const json_t *one, const char *other_name, const json_t *other, FILE *stream);
// An entry for programs, with its id, age and trust; list: without measurements. New reference.
json_t *wisdom_print_document(const char *id, const json_t *entry, bool list);

#endif
