// Targets (instruction sets) and instruction paths: everything the code generator knows of a CPU.
//
// A target is one file and one row of TARGET_LIST; a path is one file and one row of PATH_LIST (templates/paths.h).
// Capabilities are asked by name; there is no ordered level and no CPU name outside this folder.
#ifndef CATENA_TARGET_H
#define CATENA_TARGET_H

#include <stdbool.h>

#include "templates/plan.h"

// X(name): defined as target_NAME in targets/NAME.c
#define TARGET_LIST(X) X(avx512) X(avx2) X(neon) X(generic)

// The default tile of a path on a target; see Role in templates/plan.h.
typedef struct TileShape {
    int32_t max_rows;
    int32_t wide_rows;
    int32_t tile_columns;
    int32_t unroll;
    int32_t prefetch;
    int32_t prefetch_far;
    int32_t prefetch_hint;
} TileShape;

// What a path needs beside the features that every CPU of its target has.
typedef struct PathNeeds {
    const char *features;   // LLVM's
    const char *requires;   // the same in runtime/cpu.c's names, space-separated
    const char *intrinsic;  // the instruction, for paths that several targets spell differently
} PathNeeds;

typedef struct Target {
    const char *name;
    const char *architecture;   // x86_64 or aarch64: which runtime object, which machines
    const char *triple;
    const char *features;       // LLVM's feature string
    const char *vector_width;   // "prefer-vector-width" of skeletons; NULL: LLVM's choice
    const char *requires;       // features the CPU must have, in runtime/cpu.c's names, space-separated
    int lanes;                  // fp32 lanes of a vector register
    int registers;              // vector registers
    char register_class;        // of these, as LLVM's inline assembly calls it
    bool halves;                // converts vectors of fp16 to fp32
    bool fused;                 // has fused multiply-add; otherwise it is multiplied, rounded and added
    TileShape usual;              // of paths that every target has and that have none of their own below
    TileShape tiles[PATH_COUNT];  // max_rows 0: the usual one, or there is no such path on this target
    PathNeeds needs[PATH_COUNT];  // of paths that not every CPU of the target has; all NULL for the others
} Target;

#define TARGET_DECLARE(name) extern const Target target_##name;
TARGET_LIST(TARGET_DECLARE)

// Zero-terminated list of all targets, the first that a machine supports is its best.
extern const Target *const targets[];

// By name; NULL if there is no such target.
const Target *target_find(const char *name);

// The default tile of a path; max_rows 0: the target has no such path.
const TileShape *target_tile(const Target *target, Path path);

// Gives a role a path and the target's default tile of it.
void target_shape_role(const Target *target, Path path, Role *role);

const char *path_name(Path path);
// PATH_COUNT if there is no such path.
Path path_find(const char *name);

// The path whose rate of multiply-adds in registers is this path's: itself, or fp32_fma for paths that multiply as that does.
Path path_peak(Path path);

// What a path needs beside the target's features, as texts; "" for nothing.
const char *path_features(const Target *target, Path path);
const char *path_requires(const Target *target, Path path);

// Why a path cannot be used for weights of a format in a compute class on a target; NULL if it can.
const char *path_rejection(const Target *target, Path path, Format weights, Compute compute);

#endif
