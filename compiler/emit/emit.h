// From plans to object files: tiles built instruction by instruction, skeletons specialised by a constant plan.
// Only this folder and targets/ call LLVM; who includes this header sees objects as handles.
#ifndef CATENA_EMIT_H
#define CATENA_EMIT_H

#include "compiler/base/diagnostic.h"
#include "runtime/library.h"
#include "targets/emission.h"

// An object file in memory; NULL, with diagnostics, on failure. Owned by the caller: LLVMDisposeMemoryBuffer.
typedef LLVMMemoryBufferRef Object;

// What a tile does beside its product: see templates/skeleton.h.
typedef enum TileKind { TILE_PACKED, TILE_WIDENING, TILE_WIDENED, TILE_BLOCKED, TILE_KINDS } TileKind;

// Where the intermediate texts of a compile go: "PREFIX.PART.ll" / "PREFIX.PART.s". All zero: nowhere.
typedef struct EmitTexts {
    const char *prefix;
    bool ir;
    bool assembly;
} EmitTexts;

// The tiles of a plan's roles (bit r: role r, if the layer has it) and the dispatchers tile_ROLE_<kind>; with bit EMIT_LEAVE also
// tile_leave_<kind>.
enum { EMIT_LEAVE = ROLE_COUNT, EMIT_ALL = (1 << (ROLE_COUNT + 1)) - 1 };
Object emit_tiles(const Target *target, const Plan *plan, int64_t kind, unsigned parts, const EmitTexts *texts,
                  Diagnostics *diagnostics);
// The skeleton, specialised: layer_forward_<kind>.
Object emit_layer(const Target *target, const Plan *plan, int64_t kind, const EmitTexts *texts, Diagnostics *diagnostics);
// The same with what the search varies left open: read from the plan layer_tuned, which whoever loads the object defines. Refers to
// the special tiles of all roles. layer_forward_0.
Object emit_tunable_layer(const Target *target, const Plan *plan, Diagnostics *diagnostics);
// Tiles that only some plans' roles have: the name of the index-th (without "_<kind>"), and whether this plan has it.
enum { EMIT_NAME_BYTES = 96, EMIT_SPECIAL_TILES = 3 * ROLE_COUNT };
bool emit_special_tile(const Plan *plan, int index, char name[EMIT_NAME_BYTES]);
// The exported functions NAME_... and the constants of a library of EMIT_MAX_KINDS kinds at most. Those that open have a second
// symbol, NAME_open..._INTERFACE.
enum { EMIT_MAX_KINDS = 64 };
Object emit_entry(const Target *target, const Contents *contents, const Kind *kinds, const char *description, const char *interface,
                  const EmitTexts *texts, Diagnostics *diagnostics);
// An object without contents: what stands for libraries that are not here when linking for another architecture.
Object emit_nothing(const Target *target, Diagnostics *diagnostics);

// Functions for measuring, each in an object of its own. "peak" (int64 rounds, float *sink): a register-only loop of `*operations`
// multiply-adds per round. "tile_0", a TileFunction: one tile of `role`.
typedef void TileFunction(const void *a, const void *w, float *out, const void *ahead, int64_t advance, float *widened);
Object emit_peak(const Target *target, Path path, int64_t *operations, Diagnostics *diagnostics);
Object emit_single_tile(const Target *target, const Role *role, TileKind kind, int rows, int panels, Diagnostics *diagnostics);
// The same with steps of another emitter than that of the role's path.
Object emit_single_tile_with(const Target *target, const PathEmitter *emitter, const Role *role, TileKind kind, int rows,
                             int panels, Diagnostics *diagnostics);

// A tile's function in the emission's module (built once per descriptor); tile.c.
LLVMValueRef emit_tile(Emission *emission, const Role *role, TileKind kind, int rows, int panels);
LLVMValueRef emit_tile_with(Emission *emission, const PathEmitter *emitter, const Role *role, TileKind kind, int rows, int panels);

// codegen.c: one emission with a module for a target, and its end as an object.
Emission emission_begin(const Target *target, const char *module_name);
// The module of embedded bitcode instead of an empty one. module is NULL on failure.
Emission emission_begin_bitcode(const Target *target, const char *begin, const char *end, Diagnostics *diagnostics);
// Optimises if asked (the whole pipeline), verifies, writes texts, generates the object, frees the emission.
// extra_features: LLVM features beside the target's, or "".
Object emission_finish(Emission *emission, const char *extra_features, bool optimize, const char *part, const EmitTexts *texts,
                       Diagnostics *diagnostics);

#endif
