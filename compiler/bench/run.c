// One layer's rows: the library, its opponent and, for a chain, its one-iteration sibling, interleaved.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "compiler/base/table.h"
#include "compiler/library/compile.h"
#include "compiler/measure/measure.h"
#include "targets/target.h"

enum { READ_WINDOW = 32 << 20, MORE_ATTEMPTS = 3 };
static const double bandwidth_seconds = 0.4;

// --- opening -----------------------------------------------------------------------------------------------------------------

// Bytes of each bank: what "cold" asks for, unless all banks together would take more than half of what is available.
static int64_t bank_bytes(const Machine *machine, int banks, bool *is_short) {
    int64_t bytes = bandwidth_cold_bytes(machine, is_short), possible = machine->memory_available / 2 / banks;
    *is_short = *is_short || bytes > possible;
    return bytes > possible && possible > 0 ? possible : bytes;
}

static Loaded *compile_sibling(const BenchRun *run, Diagnostics *diagnostics) {
    const BenchLibrary *library = run->library;
    const Artifact *artifact = library->loaded->artifact;
    CompileOptions options = {.target = artifact->target, .compute = library->plan->layer.compute};
    char path[ROUTING_TEXT_BYTES + MODEL_NAME_BYTES + 16];
    Loaded *loaded = NULL;
    char *text = bench_sibling_text(artifact->model->source, library->kind, diagnostics);
    Model *model = text ? model_read_text(text, strlen(text), "the chain's one-iteration sibling", diagnostics) : NULL;
    if (model && !compile_library(model, &options, run->directory, diagnostics)) {
        snprintf(path, sizeof path, "%s/lib%s.so", run->directory, model->name);
        loaded = loaded_open(path, diagnostics);
    }
    if (model) {
        model_free(model);
    }
    free(text);
    return loaded;
}

static int open_second(BenchRun *run, int64_t bytes, Diagnostics *diagnostics) {
    const BenchOptions *options = run->options;
    const Layer *layer = &run->library->plan->layer;
    const char *name = run->library->kinds[run->library->kind].name;
    Loaded *loaded = loaded_open(options->against, diagnostics);
    if (!loaded) {
        return -1;
    }
    bool named = false;
    for (int64_t i = 0; i < loaded->artifact->model->layer_count; i++) {
        named = named || !strcmp(loaded->artifact->model->layers[i].name, name);
    }
    run->second = bench_library_open(loaded, named ? name : NULL, &options->routing, bytes, options->library_threads,
                                     run->library->huge_pages, diagnostics);
    if (!run->second) {
        return -1;
    }
    if (run->second->plan->layer.hidden != layer->hidden || run->second->plan->layer.activations != layer->activations) {
        diagnostics_add(diagnostics, options->against, 0, 0, "its layer '%s' takes other tokens than '%s'",
                        run->second->kinds[run->second->kind].name, name);
        return -1;
    }
    return 0;
}

static int open_sides(BenchRun *run, const char *path, const char *name, Diagnostics *diagnostics) {
    const BenchOptions *options = run->options;
    bool huge_pages = options->huge_pages && strcmp(run->machine->huge_pages, "never"), is_short;
    bool plain = !strcmp(options->against, "plain");
    Loaded *loaded = loaded_open(path, diagnostics);
    if (!loaded) {
        return -1;
    }
    int64_t bytes = bank_bytes(run->machine, 3, &is_short);
    run->library = bench_library_open(loaded, name, &options->routing, bytes, options->library_threads, huge_pages, diagnostics);
    if (!run->library) {
        return -1;
    }
    run->library->is_short = is_short;
    const Layer *layer = &run->library->plan->layer;
    if (options->routing.is_trace) {  // given routing: the plain implementation takes none, and a sibling has other choices
        return routing_trace_read(options->routing.text + strlen("trace:"), layer, &run->trace, diagnostics);
    }
    if (layer->iterations > 1) {
        loaded = compile_sibling(run, diagnostics);
        run->sibling =
            loaded ? bench_library_open(loaded, NULL, &options->routing, bytes, options->library_threads, huge_pages, diagnostics)
                   : NULL;
        if (!run->sibling) {
            return -1;
        }
    }
    if (plain) {
        int64_t most = 1;
        for (int64_t i = 0; i < options->token_counts; i++) {
            most = options->tokens[i] > most ? options->tokens[i] : most;
        }
        run->plain = bench_opponent_open(run->library, most, options->threads);
        if (!run->plain && !bench_stopped) {
            diagnostics_add(diagnostics, NULL, 0, 0,
                            "out of memory for the plain implementation's weights (--against none does without)");
        }
        return run->plain ? 0 : -1;
    }
    return strcmp(options->against, "none") ? open_second(run, bytes, diagnostics) : 0;
}

static void close_sides(BenchRun *run) {
    bench_opponent_close(run->plain);
    bench_library_close(run->second);
    bench_library_close(run->sibling);
    bench_library_close(run->library);
    routing_trace_free(&run->trace);
    bench_scratch_close(&run->scratch);
    run->plain = NULL;
    run->library = run->second = run->sibling = NULL;
}

// --- the limits --------------------------------------------------------------------------------------------------------------

// Read loops over the very bank, all instances in turn; over other memory where a cache could hold the bank.
static Bandwidth measure_bank(const BenchRun *run) {
    const BenchLibrary *library = run->library;
    Bandwidth bandwidth = {0};
    if (library->is_capped) {
        bandwidth_memory(run->machine, run->options->threads, bandwidth_seconds, &bandwidth);
        return bandwidth;
    }
    int64_t bytes = library->plan->layout.instance_bytes;
    ReadSet set = {library->instances, library->slots, bytes, bytes < READ_WINDOW ? bytes : READ_WINDOW};
    bandwidth_read(&set, run->options->threads, bandwidth_seconds, &bandwidth);
    bandwidth.huge_pages = library->huge_pages;
    return bandwidth;
}

// Read loops that were disturbed run again: a bandwidth that is too low makes every fraction look too good.
static void measure_bank_again(const BenchRun *run, double reached, Bandwidth *bandwidth) {
    for (int i = 0; i < MORE_ATTEMPTS && !bench_stopped && !bandwidth_plausible(bandwidth, reached); i++) {
        Bandwidth again = measure_bank(run);
        if (again.gbytes_s > bandwidth->gbytes_s || bandwidth_plausible(&again, reached)) {
            *bandwidth = again;
        }
    }
}

// Peaks with the row's threads, before and again after its calls: clocks and neighbours change, and the higher rate is the limit.
static int refresh_peaks(BenchRun *run, bool again, Diagnostics *diagnostics) {
    double peaks[PATH_COUNT];
    Path best;
    if (bench_best_peak(run->machine, run->library->loaded->artifact->target, (Compute)run->library->plan->layer.compute,
                        run->options->threads, peaks, &best, diagnostics)) {
        return -1;
    }
    for (int p = 0; p < PATH_COUNT; p++) {
        run->peaks[p] = again && run->peaks[p] > peaks[p] ? run->peaks[p] : peaks[p];
        run->best_path = !p || run->peaks[p] > run->peaks[run->best_path] ? (Path)p : run->best_path;
    }
    return 0;
}

// Bandwidth is the best rate of the whole run: cold rows of one layer rotate over the same bank, so they share it.
static void settle_rows(BenchRun *run, int64_t first) {
    double best = 0;
    for (int64_t i = first; i < run->row_count; i++) {
        best = run->rows[i].cold && run->rows[i].bandwidth > best ? run->rows[i].bandwidth : best;
    }
    for (int64_t i = first; i < run->row_count; i++) {
        if (run->rows[i].cold) {
            run->rows[i].bandwidth = best;
            bench_row_finish(&run->rows[i]);
            bench_row_explain(&run->rows[i]);
        }
    }
}

// --- rows --------------------------------------------------------------------------------------------------------------------

static void describe_path(const Plan *plan, char out[BENCH_TEXT_BYTES]) {
    const char *up = path_name((Path)plan->roles[ROLE_GATE_UP].path), *down = path_name((Path)plan->roles[ROLE_DOWN].path);
    snprintf(out, BENCH_TEXT_BYTES, strcmp(up, down) ? "%s + %s" : "%s", up, down);
}

static BenchRow make_row(const BenchRun *run, const BenchLibrary *library, const Bandwidth *bandwidth, const Visits *visits,
                         bool evicted) {
    BenchRow row = {.tokens = library->tokens->tokens,
                    .threads = run->options->threads,
                    .cold = !library->warm,
                    .visits = *visits,
                    .routed = !library->trace,
                    .huge_pages = library->huge_pages,
                    .evicted = evicted,
                    .max_error = NAN,
                    .bandwidth = bandwidth->gbytes_s,
                    .best_peak = run->peaks[run->best_path],
                    .bank_bytes = library->slots * library->plan->layout.instance_bytes};
    const char *name = library->loaded->artifact->name, *kind = library->kinds[library->kind].name;
    snprintf(row.layer, sizeof row.layer, library->kind_count > 1 ? "%.31s.%.63s" : "%.63s", name, kind);
    snprintf(row.routing, sizeof row.routing, "%s", run->options->routing.text);
    describe_path(library->plan, row.path);
    row.work = work_count(library->plan, row.tokens, visits, row.routed);
    if (row.cold && run->library->is_short) {
        bench_note(row.note, "memory is short: the bank is smaller than cold asks for");
    }
    if (row.cold && library->is_capped) {
        bench_note(row.note, "the bank ends at %lld instances, less than cold asks for%s", (long long)library->slots,
                   evicted ? ": the cache is emptied before every call" : "");
    }
    if (row.cold && run->scratch.incomplete) {
        bench_note(row.note, "the cache could not be emptied before every call: too little time or memory");
    }
    return row;
}

// Largest error over the tokens for which both sides chose the same experts; how many did not goes into the note.
static void compare_outputs(BenchRun *run, BenchRow *row) {
    const Layer *layer = &run->library->plan->layer;
    const Layer *other = run->second ? &run->second->plan->layer : layer;
    int64_t tokens = row->tokens, hidden = layer->hidden, slots = layer->iterations * tokens * layer->top_k, differing = 0;
    float *y[2] = {malloc((size_t)(tokens * hidden) * sizeof(float)), malloc((size_t)(tokens * hidden) * sizeof(float))};
    int32_t *experts[2] = {malloc((size_t)slots * sizeof(int32_t)), malloc((size_t)slots * sizeof(int32_t))};
    bool comparable = (run->plain || run->second) && other->iterations == layer->iterations && other->top_k == layer->top_k &&
                      y[0] && y[1] && experts[0] && experts[1] && !run->library->trace;
    if (comparable && !bench_library_once(run->library, 0, y[0], experts[0]) &&
        !(run->plain ? bench_opponent_once(run->plain, 0, y[1], experts[1])
                     : bench_library_once(run->second, 0, y[1], experts[1]))) {
        row->max_error = 0;
        for (int64_t t = 0; t < tokens; t++) {
            bool same = routing_same_choices(layer, tokens, t, experts[0], experts[1]);
            row->max_error =
                same ? fmax(row->max_error, bench_max_error(y[0] + t * hidden, y[1] + t * hidden, 1, hidden)) : row->max_error;
            differing += !same;
        }
        if (differing) {
            bench_note(row->note, "%lld of %lld tokens have other experts than the opponent's (near ties) and are not compared",
                       (long long)differing, (long long)tokens);
        }
    }
    for (int i = 0; i < 2; i++) {
        free(y[i]);
        free(experts[i]);
    }
}

static int begin_sides(BenchRun *run, const BenchTokens *tokens, bool warm, BenchSide *sides, int *count) {
    const RoutingTrace *trace = run->trace.tokens ? &run->trace : NULL;
    BenchLibrary *libraries[] = {run->library, run->sibling, run->second};
    *count = 0;
    for (int i = 0; i < 3; i++) {
        if (libraries[i]) {
            if (bench_library_begin(libraries[i], tokens, trace, warm)) {
                return -1;
            }
            sides[(*count)++] = (BenchSide){.context = libraries[i],
                                            .prepare = bench_library_prepare,
                                            .call = bench_library_call,
                                            .lead = bench_library_lead,
                                            .warmups = warm ? 1 : libraries[i]->slots};
        }
    }
    if (run->plain) {
        sides[(*count)++] = (BenchSide){
            .context = run->plain, .prepare = bench_opponent_prepare, .call = bench_opponent_call, .lead = bench_opponent_lead};
        return bench_opponent_begin(run->plain, tokens, warm);
    }
    return 0;
}

// Makes all sides' timed calls start from a cache that holds none of their experts, where any side's rotation is too short for
// that: a call with few tokens touches a small part of its slot. The plain implementation's bank is rotated and routed as the
// library's. What a call shares with the one before it, which in a model is another layer's, stays as that leaves it.
static void evict_between(BenchRun *run, BenchSide *sides, int count, const Visits visits[BENCH_MAX_SIDES]) {
    const BenchLibrary *libraries[] = {run->library, run->sibling, run->second};
    int64_t last_level = machine_last_level_bytes(run->machine);
    bool needed = false;
    for (int i = 0; i < 3; i++) {
        if (libraries[i]) {
            Work work = work_count(libraries[i]->plan, libraries[i]->tokens->tokens, &visits[i], !libraries[i]->trace);
            needed = needed || bench_needs_eviction(libraries[i]->slots, work.union_bytes, last_level);
        }
    }
    needed = needed && !run->library->warm;
    if (needed && !run->scratch.memory) {
        bench_scratch_open(&run->scratch, run->machine, run->options->threads, run->library->huge_pages);
    }
    run->scratch.incomplete = needed && !run->scratch.memory;
    for (int s = 0; s < count; s++) {
        sides[s].evict = needed && run->scratch.memory ? &run->scratch : NULL;
    }
}

static int look_at_visits(BenchRun *run, Visits visits[BENCH_MAX_SIDES]) {
    BenchLibrary *libraries[] = {run->library, run->sibling, run->second};
    int status = 0;
    for (int i = 0; i < 3 && !status; i++) {
        status = libraries[i] ? bench_library_visits(libraries[i], &visits[i]) : 0;
    }
    return status;
}

// What one comparison found, as one row for the library and one for the sibling. Warm rows have no bandwidth.
static void add_rows(BenchRun *run, BenchSide *sides, int count, const Visits visits[BENCH_MAX_SIDES], const Bandwidth *bandwidth) {
    bool opponent = run->plain || run->second, warm = run->library->warm, evicted = sides[0].evict && !run->scratch.incomplete;
    Statistics times[BENCH_MAX_SIDES] = {0};
    for (int s = 0; s < count; s++) {
        times[s] = statistics_of(sides[s].samples, sides[s].count);
    }
    BenchRow row = make_row(run, run->library, bandwidth, &visits[0], evicted);
    row.time = times[0];
    if (opponent) {
        row.opponent_time = times[count - 1];
        snprintf(row.opponent, sizeof row.opponent, "%.90s", run->second ? run->options->against : "plain");
        compare_outputs(run, &row);
    }
    if (run->second) {
        Work theirs = work_count(run->second->plan, row.tokens, &visits[2], !run->second->trace);
        bench_note_work(row.note, &row.work, &theirs);
    }
    if (run->library->trace && strcmp(run->options->against, "none")) {
        bench_note(row.note, "nothing beside it (--against, /MoE): given routing is played back to this library only");
    }
    bench_row_finish(&row);
    bench_row_judge(&row, warm ? NULL : bandwidth);
    BenchRow other = {0};
    if (run->sibling) {
        other = make_row(run, run->sibling, bandwidth, &visits[1], evicted);
        other.time = times[1];
        bench_row_finish(&other);
        bench_row_judge(&other, warm ? NULL : bandwidth);
        double flops = work_count(run->library->plan, row.tokens, &visits[0], false).flops;
        bench_row_tax(&row, flops, &run->library->plan->layer, &other,
                      work_count(run->sibling->plan, row.tokens, &visits[1], false).flops);
    }
    run->rows[run->row_count++] = row;
    if (run->sibling) {
        run->rows[run->row_count++] = other;
    }
}

static int run_row(BenchRun *run, int64_t token_count, bool warm, BenchSide *sides, Diagnostics *diagnostics) {
    BenchTokens tokens;
    Visits visits[BENCH_MAX_SIDES] = {0};
    int count = 0, status = -1;
    terminal_progress("%s: %lld tokens, %s", run->library->kinds[run->library->kind].name, (long long)token_count,
                      warm ? "warm" : "cold");
    BenchRow *rows = realloc(run->rows, (size_t)(run->row_count + 2) * sizeof *rows);
    run->rows = rows ? rows : run->rows;
    if (!rows || bench_tokens_create(run->library->plan, token_count, &run->options->routing.synthetic, &tokens)) {
        diagnostics_add(diagnostics, NULL, 0, 0, "out of memory for %lld tokens", (long long)token_count);
        return -1;
    }
    const Artifact *artifact = run->library->loaded->artifact;
    if (!refresh_peaks(run, false, diagnostics) && !begin_sides(run, &tokens, warm, sides, &count) &&
        !look_at_visits(run, visits)) {
        evict_between(run, sides, count, visits);
        Bandwidth bandwidth = warm ? (Bandwidth){0} : measure_bank(run);
        status = bench_stopped ? -1 : bench_interleave(sides, count, run->options->seconds);
        if (!status && !warm) {
            Work work = work_count(run->library->plan, token_count, &visits[0], !run->library->trace);
            double median = statistics_of(sides[0].samples, sides[0].count).median;
            measure_bank_again(run, work_reached(&work, median), &bandwidth);
            run->bandwidth = bandwidth.gbytes_s > run->bandwidth.gbytes_s ? bandwidth : run->bandwidth;
        }
        if (!status && !refresh_peaks(run, true, diagnostics)) {
            add_rows(run, sides, count, visits, &bandwidth);
        }
    }
    if (status && !bench_stopped && !diagnostics->count) {
        const char *reason = run->library->loaded->error(run->library->libraries[0]);
        diagnostics_add(diagnostics, artifact->path, 0, 0, "forward failed: %s", reason ? reason : "unknown reason");
    }
    terminal_progress(NULL);
    bench_tokens_free(&tokens);
    return status ? -1 : 0;
}

int bench_run_layer(BenchRun *run, const char *path, const char *layer, Diagnostics *diagnostics) {
    BenchSide *sides = calloc(BENCH_MAX_SIDES, sizeof *sides);
    int64_t first = run->row_count;
    run->bandwidth = (Bandwidth){0};
    terminal_progress("preparing the weights");
    int status = sides ? open_sides(run, path, layer, diagnostics) : -1;
    for (int64_t i = 0; !status && i < run->options->token_counts; i++) {
        for (int warm = 0; !status && warm <= run->options->warm; warm++) {
            status = run_row(run, run->options->tokens[i], warm, sides, diagnostics);
        }
    }
    terminal_progress(NULL);
    settle_rows(run, first);
    close_sides(run);
    free(sides);
    return status;
}
