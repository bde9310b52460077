// Two layers side by side. "Equal FLOPs" is said of routed work only where shared experts and routers differ.
#include <math.h>

#include "compiler/base/table.h"
#include "compiler/machine/report.h"
#include "compiler/plan/work.h"
#include "explain.h"

// log10 of the number of ways to choose k of n.
static double log_combinations(int64_t n, int64_t k) {
    return (lgamma((double)n + 1) - lgamma((double)k + 1) - lgamma((double)(n - k) + 1)) / M_LN10;
}

// Fewest choices of a token in an iteration.
static int64_t least_choices(const Layer *layer) {
    if (!selection_facts[layer->selection].takes_k) {
        return selection_facts[layer->selection].least;
    }
    return layer->k_per_token ? layer->k_min : layer->top_k;
}

// log10 of the number of sets that one iteration may choose: of every size that the rule allows.
static double log_sets(const Layer *layer) {
    double sum = -INFINITY;
    for (int64_t k = least_choices(layer); k <= layer->top_k; k++) {
        double ways = log_combinations(layer_choices(layer), k), larger = fmax(sum, ways);
        sum = larger + log10(pow(10, sum - larger) + pow(10, ways - larger));
    }
    return sum;
}

// Ways in which a token can pass through the layer: of all iterations together (Chain-of-Experts, Wang et al., 2025, section 4).
static double log_choices(const Layer *layer) {
    return (double)layer->iterations * log_sets(layer);
}

static void add_row(Table *table, const char *what, double one, double other) {
    char text[32];
    table_cell(table, "%s", what);
    table_cell(table, "%s", table_number(text, one));
    table_cell(table, "%s", table_number(text, other));
    table_cell(table, "%s", other > 0 ? table_number(text, one / other) : one > 0 ? "none there" : "-");
}

static double role_megabytes(const Plan *plan, RoleName up, RoleName down) {
    double bytes = 0;
    for (int r = 0; r < ROLE_COUNT; r++) {
        const Role *role = &plan->roles[r];
        bytes += r == (int)up || r == (int)down ? (double)(role->layout.matrices * role->layout.matrix_bytes) : 0;
    }
    return bytes * 1e-6;
}

static Work token_work(const Plan *plan) {
    Visits visits = work_expected_visits(&plan->layer, 1);
    return work_count(plan, 1, &visits, true);
}

void explain_comparison(const char *name, const Plan *a, const char *other_name, const Plan *b, FILE *stream) {
    const Layer *x = &a->layer, *y = &b->layer;
    Work ours = token_work(a), theirs = token_work(b);
    bool varies = least_choices(x) < x->top_k || least_choices(y) < y->top_k;
    Table table = {0};
    table_column(&table, "per token", true);
    table_column(&table, name, false);
    table_column(&table, other_name, false);
    table_column(&table, "ratio", false);
    add_row(&table, varies ? "routed expert evaluations, expected" : "routed expert evaluations",
            (double)(x->iterations * x->expected_k), (double)(y->iterations * y->expected_k));
    add_row(&table, "shared expert evaluations", (double)(x->iterations * x->shared_experts),
            (double)(y->iterations * y->shared_experts));
    add_row(&table, "routed MFLOP", ours.routed_flops * 1e-6, theirs.routed_flops * 1e-6);
    add_row(&table, "shared MFLOP", ours.shared_flops * 1e-6, theirs.shared_flops * 1e-6);
    add_row(&table, "router MFLOP", ours.router_flops * 1e-6, theirs.router_flops * 1e-6);
    if (x->latent || y->latent) {
        add_row(&table, "latent MFLOP", ours.latent_flops * 1e-6, theirs.latent_flops * 1e-6);
    }
    add_row(&table, "all MFLOP", ours.flops * 1e-6, theirs.flops * 1e-6);
    add_row(&table, "MB of routed experts", role_megabytes(a, ROLE_GATE_UP, ROLE_DOWN), role_megabytes(b, ROLE_GATE_UP, ROLE_DOWN));
    add_row(&table, "MB of shared experts", role_megabytes(a, ROLE_SHARED_GATE_UP, ROLE_SHARED_DOWN),
            role_megabytes(b, ROLE_SHARED_GATE_UP, ROLE_SHARED_DOWN));
    add_row(&table, "MB of routers", role_megabytes(a, ROLE_ROUTER, ROLE_ROUTER), role_megabytes(b, ROLE_ROUTER, ROLE_ROUTER));
    if (x->latent || y->latent) {
        add_row(&table, "MB of latent projections", role_megabytes(a, ROLE_LATENT_IN, ROLE_LATENT_OUT),
                role_megabytes(b, ROLE_LATENT_IN, ROLE_LATENT_OUT));
    }
    table_print(&table, stream);
    table_free(&table);
    fprintf(stream, "\nways to choose experts: 10^%.2f against 10^%.2f", log_choices(x), log_choices(y));
    char difference[256], text[32];
    double more = pow(10, log_choices(x) - log_choices(y));
    fprintf(stream, isfinite(more) && more > 0 ? ", %s times as many\n" : "\n", table_number(text, more));
    bool differ = work_difference(&ours, &theirs, difference, sizeof difference);
    fprintf(stream, "%s\n", differ ? difference : "equal FLOPs: routed, shared and router alike");
    if (varies) {
        fprintf(stream,
                "where the number of experts varies from token to token, work is the expected work (expected_k of the pool)\n");
    }
}
