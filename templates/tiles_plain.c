// Tiles in plain C, for the native build that sanitizers see: the same contract, layouts and order of accumulation as the emitted
// ones, with the plan as a variable. Separate from the oracle (compiler/oracle/oracle.c), which knows no packed layout.
#include "formats.h"
#include "forms.h"

Plan layer_plan;

// Sees every tile that reads a whole packed panel (or two), on the thread that computes it; 0: no function is called. Tests
// count the work of threads with it.
void (*tile_watch)(RoleName name, int64_t rows, int64_t panels, const void *w);

// Gets every tile's result, and may spoil it; 0: no function is called. Tests plant faults with it.
void (*tile_spoil)(RoleName name, const Role *role, int64_t rows, int64_t panels, const void *a, const void *w, float *out);

static float weight_at(const Role *role, const uint8_t *panel, int64_t k, int64_t column) {
    return (float)format_value((Format)role->layout.weights, panel, k, (int)column);
}

static void watched(RoleName name, int64_t rows, int64_t panels, const void *w) {
    if (tile_watch) {
        tile_watch(name, rows, panels, w);
    }
}

// adds: to what is in out.
static void tile_plain(RoleName name, const Role *role, int64_t rows, int64_t panels, const void *a, const void *w, float *out,
                       int adds) {
    for (int64_t r = 0; r < rows; r++) {
        const uint8_t *row = (const uint8_t *)a + r * role->input_stride;
        for (int64_t column = 0; column < panels * PANEL_COLUMNS; column++) {
            const uint8_t *panel = (const uint8_t *)w + column / PANEL_COLUMNS * role->layout.panel_bytes;
            float sum = adds ? out[r * TILE_STRIDE + column] : 0;
            for (int64_t k = 0; k < role->layout.depth_padded; k++) {
                sum = __builtin_fmaf(form_value(role, row, k), weight_at(role, panel, k, column % PANEL_COLUMNS), sum);
            }
            out[r * TILE_STRIDE + column] = sum;
        }
    }
    if (tile_spoil) {
        tile_spoil(name, role, rows, panels, a, w, out);
    }
}

// Leaves the panel decoded to fp32.
static void widen_plain(const Role *role, const void *w, float *widened) {
    for (int64_t i = 0; i < role->layout.depth_padded * PANEL_COLUMNS; i++) {
        widened[i] = weight_at(role, w, i / PANEL_COLUMNS, i % PANEL_COLUMNS);
    }
}

#define TILE(name) \
    void tile_##name(int64_t rows, int64_t panels, const void *a, const void *w, float *out, const void *ahead, int64_t advance, \
                     float *widened)
#define TILES(enumerator, name) \
    TILE(name) { \
        (void)ahead, (void)advance, (void)widened; \
        watched(enumerator, rows, panels, w); \
        tile_plain(enumerator, &layer_plan.roles[enumerator], rows, panels, a, w, out, 0); \
    }
#define EXPERT_TILES(enumerator, name) \
    TILES(enumerator, name) \
    TILE(name##_widening) { \
        widen_plain(&layer_plan.roles[enumerator], w, widened); \
        tile_##name(rows, panels, a, w, out, ahead, advance, widened); \
    } \
    TILE(name##_widened) { \
        (void)ahead, (void)advance, (void)widened; \
        Role role = plan_decoded_role(&layer_plan.roles[enumerator]); \
        tile_plain(enumerator, &role, rows, panels, a, w, out, 0); \
    } \
    TILE(name##_blocked) { \
        (void)ahead, (void)advance, (void)widened; \
        Role role = plan_blocked_role(&layer_plan.roles[enumerator]); \
        tile_plain(enumerator, &role, rows, panels, a, w, out, 1); \
    }
TILES(ROLE_ROUTER, router)
EXPERT_TILES(ROLE_GATE_UP, gate_up)
EXPERT_TILES(ROLE_DOWN, down)
EXPERT_TILES(ROLE_SHARED_GATE_UP, shared_gate_up)
EXPERT_TILES(ROLE_SHARED_DOWN, shared_down)
EXPERT_TILES(ROLE_LATENT_IN, latent_in)
EXPERT_TILES(ROLE_LATENT_OUT, latent_out)

void tile_leave(void) {
}
