// Building instructions: what the code generator and the instruction paths share. Values are LLVM's.
#ifndef CATENA_EMISSION_H
#define CATENA_EMISSION_H

#include <llvm-c/Core.h>

#include "target.h"

// What a path sees while one tile is built.
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
    LLVMValueRef *totals;  // [rows * vectors] fp32 sums beside accumulators of another type; NULL: there are none
    LLVMValueRef a;  // address of row 0's elements of this step
    int64_t input_stride;  // bytes between rows
    LLVMValueRef w;  // address of this step's weights in panel 0
    int64_t weight_offsets[EMISSION_MAX_ACCUMULATORS];  // byte offset of each vector's weights from w
    LLVMValueRef group;  // address of what the step's group carries in panel 0; NULL: the format has no groups
    int64_t panel_offsets[EMISSION_MAX_ACCUMULATORS];  // bytes from panel 0 to the panel of each vector,
    int columns[EMISSION_MAX_ACCUMULATORS];  // ... and its first column there
    LLVMValueRef decoded;  // where the step leaves its weights as fp32, [k][32]; NULL: nowhere (paths that decode know it)
    int64_t decoded_offset;  // of vector 0 within a row of that
} Step;

typedef struct PathEmitter {
    void (*step)(Emission *emission, Step *step);
    // Accumulators of a type of their own; NULL: fp32 vectors, which are the tile's sums. Where they have their own type, the sums
    // are step->totals, zero at first, into which group_end and tile_end put what the accumulators hold (and set these to zero).
    LLVMTypeRef (*accumulator)(Emission *emission);
    void (*group_end)(Emission *emission, Step *step);  // after the last step of a group (step->group); NULL: nothing
    void (*tile_end)(Emission *emission, Step *step);  // after the last step of a tile; NULL: nothing
    // One register-only multiply-accumulate, acc + a * w of the path's operand type, for measuring its peak. NULL: that of
    // fp32_fma.
    LLVMValueRef (*operation)(Emission *emission, LLVMValueRef accumulator, LLVMValueRef a, LLVMValueRef w);
    LLVMTypeRef (*operand)(Emission *emission);  // type of a and w in operation
    int operation_depth;  // multiply-adds per lane of one operation
    // Instead of the above, for instructions whose registers are no values of LLVM's (tiles): the whole body of a tile's function
    // but its return (told: the caller says where to prefetch, templates/skeleton.h); and the body of the peak's function (rounds,
    // sink), whose emitter returns the multiply-adds of a round.
    void (*tile)(Emission *emission, const Role *role, int rows, int panels, bool told, LLVMValueRef function);
    int64_t (*peak)(Emission *emission, LLVMValueRef function);
    // What a thread does after its last tile of a forward; NULL: nothing.
    void (*leave)(Emission *emission);
} PathEmitter;

// path_SYMBOL of every row of PATH_LIST is defined in targets/path_SYMBOL.c.
#define PATH_DECLARE(enumerator, symbol, ...) extern const PathEmitter path_##symbol;
PATH_LIST(PATH_DECLARE)
const PathEmitter *path_emitter(Path path);

// Pieces shared by paths (targets/emission.c).
// accumulators += a[r] * w[v] of `count` vectors from vector `first` on, for one k, whose activations are a_offset bytes behind
// step->a, as fp32.
void emission_accumulate(Emission *emission, Step *step, int first, int count, LLVMValueRef *w, int64_t a_offset);
// Stores the decoded weights of `count` vectors from vector `first` on, for the step's k-th k, where the step keeps them
// (step->decoded). Later tiles on the same panel read them.
void emission_keep(Emission *emission, Step *step, int first, int count, LLVMValueRef *w, int64_t k);
// Keeps multiply-adds in front of what is built after this: pieces of assembly without instructions read and write the sums of
// `count` vectors from vector `first` on. LLVM's scheduler otherwise moves multiply-adds behind the decoding of later weights,
// which then spills the sums.
void emission_settle(Emission *emission, Step *step, int first, int count);
// <n x half> as <n x i16> to <n x float>, exact; of infinities and NaN, which packing refuses, nothing is promised.
LLVMValueRef emission_half_to_float(Emission *emission, LLVMValueRef halves);
LLVMValueRef emission_address(Emission *emission, LLVMValueRef base, int64_t offset);
LLVMValueRef emission_load(Emission *emission, LLVMTypeRef type, LLVMValueRef base, int64_t offset, unsigned alignment);
enum { EMISSION_FAR = 2 };  // the locality of Role.prefetch_far
// Prefetches for reading; locality 3: into the nearest cache, 2: into the second-level cache.
void emission_prefetch(Emission *emission, LLVMValueRef base, int64_t offset, int locality);
LLVMValueRef emission_splat(Emission *emission, LLVMValueRef scalar, int lanes);
LLVMValueRef emission_constant(Emission *emission, LLVMTypeRef vector, uint64_t value);  // splat of an integer constant
LLVMValueRef emission_multiply_add(Emission *emission, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c);
// Calls an intrinsic by name, overloaded on `type` if that is not NULL.
LLVMValueRef emission_intrinsic(Emission *emission, const char *name, LLVMTypeRef type, LLVMValueRef *arguments, unsigned count);

#endif
