// bf16 weights and activations on Intel's matrix unit (AMX): C[16][16] += A[16][32] * B[32][16] by one tdpbf16ps.
//
// The packed layout is B as the instruction wants it: 16 pair rows of 64 bytes (16 columns x 2 k), 128 bytes apart. Four C tiles
// stay in registers while k runs: 16 rows x 64 columns (two panels) or 32 rows x 32 columns (one panel, less traffic from L2).
// What remains of a depth that is no multiple of 32 is a second segment with narrower A and lower B tiles; the sums go through
// `out`, which changes no bit. Shapes are exact, so that nothing beyond the operands is read.
//
// Order (Intel SDM vol. 2, TDPBF16PS): within 32 k the even and the odd products are summed ascending from zero, then added to each
// other, then to C, all rounded to nearest with subnormal numbers as zero whatever MXCSR says. It depends on nothing but k.
//
// ldtilecfg takes 64 ns, a tenth of a tile, sttilecfg 6 (Emerald Rapids): a thread keeps its shapes from tile to tile and loads
// others when the stored ones differ.
#include <stdio.h>
#include <string.h>

#include "emission.h"

enum {
    BLOCK_ROWS = 16,  // of A and C
    BLOCK_COLUMNS = 16,  // of B and C
    BLOCK_PAIRS = 16,  // pairs of k
    PAIR_ROW_BYTES = 4 * PANEL_COLUMNS,
    BLOCK_BYTES = 64,  // of a full tile's row; of A's row per block of k
    ACCUMULATORS = 4,  // tiles 0..3; the others are A, then B in turn
    TILES = 8,
};

// The memory operand of ldtilecfg.
typedef struct Shapes {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} Shapes;
_Static_assert(sizeof(Shapes) == 64, "ldtilecfg reads 64 bytes");

// A tile while it is built: blocks of rows x columns, accumulator r * column_blocks + c.
typedef struct Block {
    const Role *role;
    LLVMValueRef function;
    int rows, row_blocks, column_blocks;
    bool ahead, own;  // prefetches where it is told, or its own weights
} Block;

static int block_rows(const Block *b, int block) {
    return b->rows / b->row_blocks + (block < b->rows % b->row_blocks);
}

static int block_start(const Block *b, int block) {
    return block ? block_rows(b, 0) : 0;
}

static LLVMValueRef tile_number(Emission *e, int tile) {
    return LLVMConstInt(LLVMInt8TypeInContext(e->context), (unsigned long long)tile, false);
}

static LLVMValueRef integer(Emission *e, int64_t value) {
    return LLVMConstInt(e->i64, (unsigned long long)value, true);
}

static void tile_move(Emission *e, const char *intrinsic, int tile, LLVMValueRef address, int64_t stride) {
    emission_intrinsic(e, intrinsic, NULL, (LLVMValueRef[]){tile_number(e, tile), address, integer(e, stride)}, 3);
}

static void tile_multiply(Emission *e, int c, int a, int b) {
    LLVMValueRef tiles[] = {tile_number(e, c), tile_number(e, a), tile_number(e, b)};
    emission_intrinsic(e, "llvm.x86.tdpbf16ps", NULL, tiles, 3);
}

// --- shapes ------------------------------------------------------------------------------------------------------------------

static Shapes shapes_of(const Block *b, int pairs) {
    Shapes shapes;
    memset(&shapes, 0, sizeof shapes);
    shapes.palette = 1;
    for (int t = 0; t < TILES; t++) {
        int a = t - ACCUMULATORS;  // row block of an A tile
        bool c_used = t < b->row_blocks * b->column_blocks;
        if (t < ACCUMULATORS) {
            shapes.rows[t] = (uint8_t)(c_used ? block_rows(b, t / b->column_blocks) : 0);
            shapes.row_bytes[t] = c_used ? BLOCK_COLUMNS * 4 : 0;
        } else {
            shapes.rows[t] = (uint8_t)(a < b->row_blocks ? block_rows(b, a) : pairs);
            shapes.row_bytes[t] = (uint16_t)(a < b->row_blocks ? pairs * 4 : BLOCK_BYTES);
        }
    }
    return shapes;
}

static LLVMValueRef shapes_constant(Emission *e, const Shapes *shapes) {
    LLVMValueRef value = LLVMConstStringInContext2(e->context, (const char *)shapes, sizeof *shapes, true);
    LLVMValueRef global = LLVMAddGlobal(e->module, LLVMTypeOf(value), "shapes");
    LLVMSetInitializer(global, value);
    LLVMSetGlobalConstant(global, true);
    LLVMSetLinkage(global, LLVMPrivateLinkage);
    LLVMSetUnnamedAddress(global, LLVMGlobalUnnamedAddr);
    LLVMSetAlignment(global, 64);
    return global;
}

// Makes the thread's shapes the given ones, if they are not. Leaves the builder where the tile goes on.
static void emit_shapes(Emission *e, LLVMValueRef function, LLVMValueRef memory, const Shapes *shapes) {
    LLVMTypeRef words = LLVMVectorType(e->i64, sizeof *shapes / 8);
    LLVMValueRef wanted = shapes_constant(e, shapes);
    emission_intrinsic(e, "llvm.x86.sttilecfg", NULL, &memory, 1);
    LLVMValueRef differs =
        LLVMBuildICmp(e->builder, LLVMIntNE, emission_load(e, words, memory, 0, 8), emission_load(e, words, wanted, 0, 64), "");
    LLVMTypeRef byte = LLVMInt8TypeInContext(e->context);
    LLVMValueRef any =
        LLVMBuildICmp(e->builder, LLVMIntNE, LLVMBuildBitCast(e->builder, differs, byte, ""), LLVMConstNull(byte), "");
    LLVMBasicBlockRef load = LLVMAppendBasicBlockInContext(e->context, function, "shapes");
    LLVMBasicBlockRef go = LLVMAppendBasicBlockInContext(e->context, function, "");
    LLVMBuildCondBr(e->builder, any, load, go);
    LLVMPositionBuilderAtEnd(e->builder, load);
    emission_intrinsic(e, "llvm.x86.ldtilecfg", NULL, &wanted, 1);
    LLVMBuildBr(e->builder, go);
    LLVMPositionBuilderAtEnd(e->builder, go);
}

// --- loops -------------------------------------------------------------------------------------------------------------------

typedef struct Loop {
    LLVMBasicBlockRef before, body;
    LLVMValueRef index;
} Loop;

static Loop loop_begin(Emission *e, LLVMValueRef function) {
    Loop loop = {.before = LLVMGetInsertBlock(e->builder), .body = LLVMAppendBasicBlockInContext(e->context, function, "k")};
    LLVMBuildBr(e->builder, loop.body);
    LLVMPositionBuilderAtEnd(e->builder, loop.body);
    loop.index = LLVMBuildPhi(e->builder, e->i64, "");
    return loop;
}

// Goes on while index + step is below the limit.
static void loop_end(Emission *e, LLVMValueRef function, const Loop *loop, int64_t step, LLVMValueRef limit) {
    LLVMBasicBlockRef latch = LLVMGetInsertBlock(e->builder);
    LLVMBasicBlockRef after = LLVMAppendBasicBlockInContext(e->context, function, "k.end");
    LLVMValueRef zero = integer(e, 0), next = LLVMBuildAdd(e->builder, loop->index, integer(e, step), "");
    LLVMAddIncoming(loop->index, (LLVMValueRef[]){zero, next}, (LLVMBasicBlockRef[]){loop->before, latch}, 2);
    LLVMBuildCondBr(e->builder, LLVMBuildICmp(e->builder, LLVMIntULT, next, limit, ""), loop->body, after);
    LLVMPositionBuilderAtEnd(e->builder, after);
}

// --- tiles -------------------------------------------------------------------------------------------------------------------

// The whole of the block `distance` bytes behind w, which is w_offset bytes into its panel; behind the panel's end that of what is
// read next. Low tiles are bound by memory.
static void prefetch_own(Emission *e, const Block *b, LLVMValueRef w, LLVMValueRef w_offset, int64_t distance, int hint) {
    LLVMValueRef inside = LLVMBuildICmp(e->builder, LLVMIntSLT, w_offset, integer(e, b->role->layout.panel_bytes - distance), "");
    LLVMTypeRef byte = LLVMInt8TypeInContext(e->context);
    LLVMValueRef next = LLVMBuildGEP2(e->builder, byte, LLVMGetParam(b->function, 3), &w_offset, 1, "");
    next = emission_address(e, next, -b->role->layout.panel_bytes);
    LLVMValueRef from = LLVMBuildSelect(e->builder, inside, w, next, "");
    for (int panel = 0; panel * PANEL_COLUMNS < b->column_blocks * BLOCK_COLUMNS; panel++) {
        for (int line = 0; line < BLOCK_PAIRS * PAIR_ROW_BYTES / 64; line++) {
            emission_prefetch(e, from, panel * b->role->layout.panel_bytes + line * 64 + distance, hint);
        }
    }
}

// The caller's share of the next panel: as many lines of each stream as `pairs` steps advance. touched: offset of the next line.
// Returns the offset after it.
static LLVMValueRef prefetch_told(Emission *e, const Block *b, LLVMValueRef touched, LLVMValueRef limit) {
    LLVMBasicBlockRef before = LLVMGetInsertBlock(e->builder);
    LLVMBasicBlockRef check = LLVMAppendBasicBlockInContext(e->context, b->function, "ahead");
    LLVMBasicBlockRef touch = LLVMAppendBasicBlockInContext(e->context, b->function, "");
    LLVMBasicBlockRef go = LLVMAppendBasicBlockInContext(e->context, b->function, "");
    LLVMBuildBr(e->builder, check);
    LLVMPositionBuilderAtEnd(e->builder, check);
    LLVMValueRef offset = LLVMBuildPhi(e->builder, e->i64, "");
    LLVMBuildCondBr(e->builder, LLVMBuildICmp(e->builder, LLVMIntULT, offset, limit, ""), touch, go);
    LLVMPositionBuilderAtEnd(e->builder, touch);
    LLVMTypeRef byte = LLVMInt8TypeInContext(e->context);
    LLVMValueRef line = LLVMBuildGEP2(e->builder, byte, LLVMGetParam(b->function, 3), &offset, 1, "");
    emission_prefetch(e, line, 0, b->role->ahead_hint);
    emission_prefetch(e, line, b->role->ahead_bytes, b->role->ahead_hint);
    LLVMValueRef next = LLVMBuildAdd(e->builder, offset, integer(e, 64), "");
    LLVMBuildBr(e->builder, check);
    LLVMAddIncoming(offset, (LLVMValueRef[]){touched, next}, (LLVMBasicBlockRef[]){before, touch}, 2);
    LLVMPositionBuilderAtEnd(e->builder, go);
    return offset;
}

// One block of k for all accumulators. Each B tile is loaded once and serves all row blocks.
static void emit_step(Emission *e, const Block *b, LLVMValueRef a, LLVMValueRef w) {
    int a_tile = ACCUMULATORS, b_tile = ACCUMULATORS + b->row_blocks, b_tiles = TILES - b_tile;
    for (int c = 0; c < b->column_blocks; c++) {
        int column = c * BLOCK_COLUMNS, tile = b_tile + c % b_tiles;
        int64_t offset = column / PANEL_COLUMNS * b->role->layout.panel_bytes + column % PANEL_COLUMNS * 4;
        for (int r = 0; r < b->row_blocks; r++) {
            if (c == 0) {
                LLVMValueRef rows = emission_address(e, a, block_start(b, r) * b->role->input_stride);
                tile_move(e, "llvm.x86.tileloadd64", a_tile + r, rows, b->role->input_stride);
            }
            if (r == 0) {
                tile_move(e, "llvm.x86.tileloadd64", tile, emission_address(e, w, offset), PAIR_ROW_BYTES);
            }
            tile_multiply(e, r * b->column_blocks + c, a_tile + r, tile);
        }
    }
}

// All accumulators to or from a tile's output.
static void move_accumulators(Emission *e, const Block *b, const char *intrinsic) {
    for (int i = 0; i < b->row_blocks * b->column_blocks; i++) {
        int64_t offset = (block_start(b, i / b->column_blocks) * TILE_STRIDE + i % b->column_blocks * BLOCK_COLUMNS) * 4;
        tile_move(e, intrinsic, i, emission_address(e, LLVMGetParam(b->function, 2), offset), TILE_STRIDE * 4);
    }
}

// `steps` steps of `pairs` pairs of k each, after `done` pairs.
static void emit_segment(Emission *e, const Block *b, LLVMValueRef memory, int64_t done, int64_t steps, int pairs) {
    Shapes shapes = shapes_of(b, pairs);
    emit_shapes(e, b->function, memory, &shapes);
    if (done) {
        move_accumulators(e, b, "llvm.x86.tileloadd64");
    }
    for (int i = 0; i < b->row_blocks * b->column_blocks && !done; i++) {
        LLVMValueRef tile = tile_number(e, i);
        emission_intrinsic(e, "llvm.x86.tilezero", NULL, &tile, 1);
    }
    LLVMValueRef start = LLVMBuildMul(e->builder, LLVMGetParam(b->function, 4), integer(e, done), "");
    Loop loop = loop_begin(e, b->function);
    LLVMValueRef touched = b->ahead ? LLVMBuildPhi(e->builder, e->i64, "") : NULL;
    LLVMValueRef a_offset = LLVMBuildAdd(e->builder, loop.index, integer(e, done * 4), "");
    LLVMValueRef w_offset = LLVMBuildMul(e->builder, a_offset, integer(e, PAIR_ROW_BYTES / 4), "");
    LLVMTypeRef byte = LLVMInt8TypeInContext(e->context);
    LLVMValueRef a = LLVMBuildGEP2(e->builder, byte, LLVMGetParam(b->function, 0), &a_offset, 1, "");
    LLVMValueRef w = LLVMBuildGEP2(e->builder, byte, LLVMGetParam(b->function, 1), &w_offset, 1, "");
    if (b->ahead) {
        LLVMValueRef reached =
            LLVMBuildUDiv(e->builder, LLVMBuildAdd(e->builder, a_offset, integer(e, pairs * 4), ""), integer(e, 4), "");
        LLVMValueRef limit = LLVMBuildMul(e->builder, reached, LLVMGetParam(b->function, 4), "");
        LLVMValueRef next = prefetch_told(e, b, touched, limit);
        LLVMAddIncoming(touched, (LLVMValueRef[]){start, next}, (LLVMBasicBlockRef[]){loop.before, LLVMGetInsertBlock(e->builder)},
                        2);
    } else if (b->own) {
        prefetch_own(e, b, w, w_offset, b->role->prefetch, b->role->prefetch_hint);
        if (plan_prefetches_far(b->role)) {
            prefetch_own(e, b, w, w_offset, b->role->prefetch_far, EMISSION_FAR);
        }
    }
    emit_step(e, b, a, w);
    loop_end(e, b->function, &loop, pairs * 4, integer(e, steps * pairs * 4));
    move_accumulators(e, b, "llvm.x86.tilestored64");
}

static void tile(Emission *e, const Role *role, int rows, int panels, bool told, LLVMValueRef function) {
    Block b = {.role = role, .function = function, .rows = rows, .column_blocks = panels * PANEL_COLUMNS / BLOCK_COLUMNS};
    b.ahead = told && role->ahead_hint >= 0;
    b.own = !told && role->prefetch;
    b.row_blocks = (rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
    LLVMValueRef memory = LLVMBuildAlloca(e->builder, LLVMArrayType2(LLVMInt8TypeInContext(e->context), sizeof(Shapes)), "");
    int64_t pairs = role->layout.depth_padded / 2, full = pairs / BLOCK_PAIRS, rest = pairs % BLOCK_PAIRS;
    if (full) {
        emit_segment(e, &b, memory, 0, full, BLOCK_PAIRS);
    }
    if (rest) {
        emit_segment(e, &b, memory, full * BLOCK_PAIRS, 1, (int)rest);
    }
}

// Back to the initial state: context switches need not save 8 KiB, the core may sleep deeper.
static void leave(Emission *e) {
    emission_intrinsic(e, "llvm.x86.tilerelease", NULL, NULL, 0);
}

// Multiplications only, four chains: what the unit does when nothing is loaded.
static int64_t peak(Emission *e, LLVMValueRef function) {
    enum { REPEAT = 4 };
    Block b = {.rows = BLOCK_ROWS, .row_blocks = 1, .column_blocks = ACCUMULATORS};
    Shapes shapes = shapes_of(&b, BLOCK_PAIRS);
    LLVMValueRef constant = shapes_constant(e, &shapes);
    emission_intrinsic(e, "llvm.x86.ldtilecfg", NULL, &constant, 1);  // sets all tiles to zero
    Loop loop = loop_begin(e, function);
    for (int i = 0; i < REPEAT * ACCUMULATORS; i++) {
        tile_multiply(e, i % ACCUMULATORS, ACCUMULATORS, ACCUMULATORS + 1 + i % 2);
    }
    loop_end(e, function, &loop, 1, LLVMGetParam(function, 0));
    leave(e);
    return (int64_t)REPEAT * ACCUMULATORS * BLOCK_ROWS * BLOCK_COLUMNS * BLOCK_PAIRS * 2;
}

const PathEmitter path_bf16_amx = {
    .tile = tile,
    .peak = peak,
    .leave = leave,
};
