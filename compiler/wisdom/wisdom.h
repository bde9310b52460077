// Wisdom: what searches found out, remembered. Decisions and their measurements, never code.
//
// One JSON text file per user (XDG_DATA_HOME or ~/.local/share, then catena/wisdom.json), beside it one for the whole system
// (WISDOM_SYSTEM_PATH, only read); `--wisdom FILE` names another. An entry belongs to a WisdomKey; entry.c says what is in
// it. Writers merge: under a lock the file is read again, entries are united, the whole is written to a temporary name and renamed.
// A damaged file is reported and set aside under a new name, never written over; a damaged entry of a good file is reported, not
// used, and kept in the file.
#ifndef CATENA_WISDOM_H
#define CATENA_WISDOM_H

#include <jansson.h>
#include <stdbool.h>

#include "compiler/base/diagnostic.h"
#include "compiler/machine/machine.h"
#include "templates/plan.h"

#define WISDOM_SYSTEM_PATH "/etc/catena/wisdom.json"
enum { WISDOM_PATH_BYTES = 4096, WISDOM_ID_BYTES = 17, WISDOM_NOTE_BYTES = 2 * 4096 + 1024 };

// What an entry is valid for. All texts are the caller's and copied.
typedef struct WisdomKey {
    const Layer *layer;  // shape and semantics, weight formats and compute class included; names are not part of it
    const char *target;  // avx512, ...
    const char *cpu;  // the machine's fingerprint (machine_fingerprint): CPU, features, caches; no microcode
    const char *topology;  // what this process may use: cores, siblings, nodes
    int threads;
    const char *workload;  // token counts with weights and routing, canonical
    const char *generator;  // wisdom_generator() when it was measured, and
    const char *llvm;  // wisdom_llvm(): not part of the id; an entry of others is listed, but not trusted
} WisdomKey;

typedef struct Wisdom Wisdom;  // a file's entries in memory

// The versions of this program's code generator ("0.1.0") and of its LLVM ("19.1"), as strverscmp orders them.
const char *wisdom_generator(void);
const char *wisdom_llvm(void);

// What becomes of a damaged file.
typedef enum WisdomDamage {
    WISDOM_SET_ASIDE,  // the user's, or one that is about to be written: it is renamed, and has no entries
    WISDOM_LEAVE,  // one that the user named to be read: it stays, and that is an error
} WisdomDamage;

// Reads a file; one that does not exist, or is empty, has no entries. What was set aside and which entries are not used is in
// `note` ("" otherwise). NULL with diagnostics where the file cannot be read, is no wisdom, a newer program's, or damaged and left.
Wisdom *wisdom_read(const char *path, WisdomDamage damage, char note[WISDOM_NOTE_BYTES], Diagnostics *diagnostics);
// The same, united with the system's file, whose problems are only noted; nothing happens to it. system may be NULL.
Wisdom *wisdom_read_all(const char *path, WisdomDamage damage, const char *system, char note[WISDOM_NOTE_BYTES],
                        Diagnostics *diagnostics);
void wisdom_free(Wisdom *wisdom);

// Sixteen hexadecimal digits that name a key; "" when out of memory.
void wisdom_id(const WisdomKey *key, char id[WISDOM_ID_BYTES]);

// The trusted entry of exactly this key, borrowed; NULL if there is none.
const json_t *wisdom_find(const Wisdom *wisdom, const WisdomKey *key);
// The entry of this key that another generator or LLVM measured, and which is not trusted therefore; NULL if there is none.
const json_t *wisdom_find_outdated(const Wisdom *wisdom, const WisdomKey *key);
// The trusted entry of the nearest shape on the same machine with the same threads, target, formats and compute class, borrowed;
// NULL if there is none. Of entries equally near one of the same workload is taken first.
const json_t *wisdom_nearest(const Wisdom *wisdom, const WisdomKey *key);

// An entry: decisions {"gate_up.max_rows": 14, ...}, gain over the default plan (1.08: 8 % faster) with its confidence interval,
// and the measurements of all candidates, an array of objects (NULL: none). New reference; decisions and measurements are borrowed.
// NULL when out of memory or where a number is not finite.
json_t *wisdom_entry(const WisdomKey *key, const Machine *machine, const json_t *decisions, double gain, double low, double high,
                     const json_t *measurements);

// Adds to an entry of gain 1 that its default stays because the best candidate, of this gain, was neither faster nor slower beyond
// the noise. Returns 0, or -1 when out of memory or where a number is not finite: the entry is as it was.
int wisdom_entry_tie(json_t *entry, double gain, double low, double high);

// Whether the file can be written to, before anything is measured for it: makes its folder, takes the lock and tries a temporary
// file, as an update does. Returns 0 or -1 with diagnostics.
int wisdom_try(const char *path, Diagnostics *diagnostics);
// Puts an entry (borrowed) into the file: lock, read, merge, temporary file, rename. Returns 0 or -1 with diagnostics.
int wisdom_update(const char *path, const WisdomKey *key, json_t *entry, char note[WISDOM_NOTE_BYTES], Diagnostics *diagnostics);

// Where the user's wisdom lies. Returns 0, or -1 if there is no home.
int wisdom_user_path(char path[WISDOM_PATH_BYTES]);

#endif
