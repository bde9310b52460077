// Targets (instruction sets) and instruction paths: everything the code generator knows of a CPU.
//
// A target is one file and one row of TARGET_LIST; a path is one file and one row of PATH_LIST (templates/plan.h).
// Capabilities are asked by name; there is no ordered level and no CPU name outside this folder.
#ifndef CATENA_TARGET_H
#define CATENA_TARGET_H

#include <llvm-c/Core.h>
#include <stdbool.h>

#include "../templates/plan.h"

// X(name): defined as target_NAME in targets/NAME.c
#define TARGET_LIST(X) X(avx512) X(avx2) X(neon) X(generic)

// The default tile of a path on a target; see Role in templates/plan.h.
typedef struct TileShape {
    int32_t max_rows;
    int32_t wide_rows;
    int32_t tile_columns;
    int32_t unroll;
    int32_t prefetch;
} TileShape;

typedef struct Target {
    const char *name;
    const char *architecture;   // x86_64 or aarch64: which runtime object, which machines
    const char *triple;
    const char *features;       // LLVM's feature string
    const char *vector_width;   // "prefer-vector-width" of skeletons; NULL: LLVM's choice
    const char *
        requires;       // features the CPU must have, in runtime/cpu.c's names, space-separated
    int lanes;                  // fp32 lanes of a vector register
    bool fused;                 // has fused multiply-add; otherwise it is multiplied, rounded and added
    const char *dot_intrinsic;  // bf16 pair dot product on a whole register; NULL: none
    const char *dot_features;   // LLVM features that it needs beside `features`
    const char *dot_requires;   // the same in runtime/cpu.c's names
    TileShape tiles[PATH_COUNT];
} Target;

#define TARGET_DECLARE(name) extern const Target target_##name;
TARGET_LIST(TARGET_DECLARE)

// Zero-terminated list of all targets, the first that a machine supports is its best.
extern const Target *const targets[];

// By name; NULL if there is no such target.
const Target *target_find(const char *name);

// Emission -----------------------------------------------------------------------------------------------------------------

// What a path sees while one tile is built. Values are LLVM's.
typedef struct Emission {
    LLVMContextRef context;
    LLVMModuleRef module;
    LLVMBuilderRef builder;
    const Target *target;
    LLVMTypeRef f32, i32, i64, pointer;
    LLVMTypeRef vector;    // <lanes x float>
    LLVMTypeRef integers;  // <lanes x i32>
} Emission;

enum { EMISSION_MAX_ACCUMULATORS = 64 };

// One multiply-accumulate step for a register block: accumulators[r * vectors + v] += a[r][k..] * w[k..][v], k ascending.
typedef struct Step {
    int rows, vectors;
    LLVMValueRef *accumulators;            // updated in place
    LLVMValueRef a;                        // address of row 0's elements of this step
    int64_t input_stride;                  // bytes between rows
    LLVMValueRef w;                        // address of this step's weights in panel 0
    int64_t weight_offsets[EMISSION_MAX_ACCUMULATORS];  // byte offset of each vector's weights from w
    LLVMValueRef widened;  // where the step leaves its weights as fp32, [k][32]; NULL: nowhere (only bf16_widened knows it)
    int64_t widened_offset; // of vector 0 within a row of that
} Step;

typedef struct PathEmitter {
    Path path;
    Format weights;        // packed format that it reads
    Format input;          // form of the prepared activations
    int depth;             // k per step: 1 or 2
    bool compute[COMPUTE_COUNT];  // compute classes in which it is legal
    void (*step)(Emission *emission, Step *step);
    // One register-only multiply-accumulate, acc + a * w of the path's operand type, for measuring its peak.
    LLVMValueRef (*operation)(Emission *emission, LLVMValueRef accumulator, LLVMValueRef a, LLVMValueRef w);
    LLVMTypeRef (*operand)(Emission *emission);  // type of a and w in operation
} PathEmitter;

extern const PathEmitter path_fp32_fma, path_bf16_widened, path_bf16_dot;
const PathEmitter *path_emitter(Path path);

// Why a path cannot be used for weights of a format in a compute class on a target; NULL if it can.
const char *path_rejection(const Target *target, Path path, Format weights, Compute compute);

// Pieces shared by paths (targets/emission.c).
LLVMValueRef emission_address(Emission *emission, LLVMValueRef base, int64_t offset);
LLVMValueRef emission_load(Emission *emission, LLVMTypeRef type, LLVMValueRef base, int64_t offset, unsigned alignment);
LLVMValueRef emission_splat(Emission *emission, LLVMValueRef scalar, int lanes);
LLVMValueRef emission_constant(Emission *emission, LLVMTypeRef vector, uint64_t value);  // splat of an integer constant
LLVMValueRef emission_multiply_add(Emission *emission, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c);
// Calls an intrinsic by name, overloaded on `type` if that is not NULL.
LLVMValueRef emission_intrinsic(Emission *emission, const char *name, LLVMTypeRef type, LLVMValueRef *arguments, unsigned count);

#endif
