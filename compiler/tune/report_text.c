// The words of a report: the machine, the verdict, the reasons, the space.
#include <math.h>
#include <string.h>

#include "compiler/machine/report.h"
#include "compiler/plan/paths.h"
#include "report.h"

// --- the machine -------------------------------------------------------------------------------------------------------------

static void write_row(FILE *out, const char *name, const char *text) {
    fprintf(out, "<dt>%s</dt><dd>", name);
    plot_escape(out, text);
    fputs("</dd>\n", out);
}

void tune_report_machine(const TuneOptions *options, FILE *out) {
    const Machine *machine = options->machine;
    char text[512] = "", bytes[32];
    size_t used = 0;
    for (int64_t i = 0; i < machine->cache_count && used < sizeof text; i++) {
        const MachineCache *cache = &machine->caches[i];
        used += (size_t)snprintf(text + used, sizeof text - used, "%sL%lld %s", i ? ", " : "", (long long)cache->level,
                                 report_bytes(bytes, cache->bytes));
        if (cache->shared_by > 1 && used < sizeof text) {
            used += (size_t)snprintf(text + used, sizeof text - used, " shared by %lld threads", (long long)cache->shared_by);
        }
    }
    fputs("<dl>\n", out);
    write_row(out, "CPU", machine->cpu);
    write_row(out, "Target", options->target->name);
    write_row(out, "Caches", *text ? text : "unknown");
    snprintf(text, sizeof text, "%d; this process may use %lld of %lld hardware threads on %lld cores, NUMA nodes: %lld",
             options->threads, (long long)machine->units_allowed, (long long)machine->units_online,
             (long long)machine->cores_allowed, (long long)machine->numa_nodes);
    write_row(out, "Threads", text);
    snprintf(text, sizeof text, "%s available; transparent huge pages: %s", report_bytes(bytes, machine->memory_available),
             *machine->huge_pages ? machine->huge_pages : "unknown");
    write_row(out, "Memory", text);
    fputs("</dl>\n", out);
}

// --- the verdict -------------------------------------------------------------------------------------------------------------

static void write_outcome(const SearchResult *search, FILE *out) {
    if (search->gain > 1) {
        fprintf(out,
                "The chosen plan is %.3f times as fast as the default: 95 %% interval %.3f to %.3f, %d rounds of both in turn.",
                search->gain, search->low, search->high, search->confirm_rounds);
    } else if (search->confirm_rounds && !isfinite(search->candidate_high)) {
        fprintf(out, "The default stays: time was up after one round with the last challenger, which was %.3f times as fast.",
                search->candidate_gain);
    } else if (search->confirm_rounds) {
        fprintf(
            out,
            "The default stays: the last challenger was %.3f times as fast in %d rounds of both in turn, and the 95 %% interval, "
            "%.3f to %.3f, %s.",
            search->candidate_gain, search->confirm_rounds, search->candidate_low, search->candidate_high,
            search->candidate_low > 1    ? "comes from too few rounds to be believed"
            : search->candidate_high < 1 ? "says that it is slower"
                                         : "reaches down to 1: a tie within the noise");
    } else if (search->stopped) {
        fputs("The default stays: the search was stopped before a faster plan was confirmed.", out);
    } else {
        fputs("The default stays: no plan beat it in a race.", out);
    }
}

static void write_workload(const TuneView *view, FILE *out) {
    const RecallWorkload *workload = &view->options->workload;
    const Layer *layer = &view->result->space.standard.layer;
    fprintf(out, "<p>Hidden %lld, %lld experts of %lld, %lld chosen, iterations: %lld; compute class %s. Tuned for tokens ",
            (long long)layer->hidden, (long long)layer->experts, (long long)layer->intermediate, (long long)layer->top_k,
            (long long)layer->iterations, compute_name((Compute)layer->compute));
    for (int p = 0; p < workload->parts; p++) {
        fprintf(out, "%s%lld", p ? ", " : "", (long long)workload->tokens[p]);
        if (workload->weight[p] < 1 || workload->weight[p] > 1) {
            fprintf(out, " (weight %g)", workload->weight[p]);
        }
    }
    fputs("; routing ", out);
    plot_escape(out, workload->routing);
    fputs(".</p>\n", out);
}

void tune_report_verdict(const TuneView *view, FILE *out) {
    const TuneResult *result = view->result;
    const SearchResult *search = &result->search;
    fputs("<p class=\"verdict\">", out);
    write_outcome(search, out);
    fputs("</p>\n", out);
    write_workload(view, out);
    fprintf(out,
            "<p>Of %.3g plans %zu were tried, after %d tiles were measured alone in %.1f s; %d could not be used; %s after %.0f "
            "s.</p>\n",
            space_size(&result->space), search->trial_count, result->rates[0].tiles_measured + result->rates[1].tiles_measured,
            result->rate_seconds, result->unusable,
            search->stopped     ? "stopped"
            : search->converged ? "nothing was left to try"
                                : "time was up",
            result->total_seconds);
}

// --- reasons -----------------------------------------------------------------------------------------------------------------

static void write_paths(const TuneView *view, int r, const char *name, FILE *out) {
    const Role *role = &view->result->plan.roles[r];
    char number[32];
    int legal = 0;
    fprintf(out, "<li><code>%s</code>, instruction path, one thread with operands in cache: ", name);
    for (int p = 0; p < PATH_COUNT; p++) {
        if (view->peaks.tile_gflops[p] > 0 &&
            paths_legal(view->options->machine, view->options->target, (Path)p, (Format)role->layout.weights,
                        (Compute)view->result->plan.layer.compute)) {
            fprintf(out, "%s%s %s GFLOP/s", legal++ ? ", " : "", path_name((Path)p),
                    table_number(number, view->peaks.tile_gflops[p]));
        }
    }
    fprintf(out, "%s%s %s.</li>\n", legal ? "; " : "", path_name((Path)role->path),
            legal > 1 ? "chosen" : "is the only one that the compute class allows here");
}

// What a point's tile is, and its rates.
typedef struct TileFacts {
    int tile, unroll, prefetch;  // indices, -1: fixed
    char text[128];
    double tall, stream;
} TileFacts;

static TileFacts tile_facts(const TuneView *view, int index, int r, int tile_value, int unroll_value, const Point *point) {
    const Space *space = &view->result->space;
    const Rates *rates = &view->result->rates[index];
    int tile = space_role_knob(space, r, KNOB_TILE), unroll = space_role_knob(space, r, KNOB_UNROLL),
        prefetch = space_role_knob(space, r, KNOB_PREFETCH);
    char shape[TUNE_REPORT_TEXT] = "fixed", steps[TUNE_REPORT_TEXT] = "";
    TileFacts facts = {.tile = tile < 0 ? 0 : tile_value, .unroll = unroll < 0 ? 0 : unroll_value};
    facts.prefetch = prefetch < 0 ? 0 : point->value[prefetch];
    if (tile >= 0) {
        tune_report_value(&space->knobs[tile], facts.tile, shape);
    }
    if (unroll >= 0) {
        tune_report_value(&space->knobs[unroll], facts.unroll, steps);
    }
    snprintf(facts.text, sizeof facts.text, "%s%s%s", shape, unroll < 0 ? "" : ", unrolled ", steps);
    facts.tall = rates->tall[facts.tile][facts.unroll];
    int far = space_role_knob(space, r, KNOB_FAR);
    if (far < 0 || point->value[far] == view->standard.value[far]) {  // other values were not measured alone
        facts.stream = rates->stream[facts.unroll][facts.prefetch];
    }
    return facts;
}

static TileFacts facts_of(const TuneView *view, int index, int r, const Point *point) {
    int tile = space_role_knob(&view->result->space, r, KNOB_TILE), unroll = space_role_knob(&view->result->space, r, KNOB_UNROLL);
    return tile_facts(view, index, r, tile < 0 ? 0 : point->value[tile], unroll < 0 ? 0 : point->value[unroll], point);
}

static TileFacts fastest_tile(const TuneView *view, int index, int r) {
    const Space *space = &view->result->space;
    int tile = space_role_knob(space, r, KNOB_TILE), unroll = space_role_knob(space, r, KNOB_UNROLL);
    TileFacts best = facts_of(view, index, r, &view->standard);
    for (int t = 0; tile >= 0 && t < space->knobs[tile].count; t++) {
        for (int u = 0; u < (unroll < 0 ? 1 : space->knobs[unroll].count); u++) {
            TileFacts facts = tile_facts(view, index, r, t, u, &view->standard);
            best = facts.tall > best.tall ? facts : best;
        }
    }
    return best;
}

static void write_tile(const TuneView *view, int index, int r, const char *name, FILE *out) {
    TileFacts chosen = facts_of(view, index, r, &view->result->search.best), standard = facts_of(view, index, r, &view->standard),
              best = fastest_tile(view, index, r);
    bool same = chosen.tile == standard.tile && chosen.unroll == standard.unroll;
    char number[32];
    if (!(chosen.tall > 0)) {
        return;  // stopped before it was measured
    }
    fprintf(out, "<li><code>%s</code>: tile %s%s: %s GFLOP/s in cache", name, chosen.text, same ? ", as the default" : "",
            table_number(number, chosen.tall));
    if (!same) {
        fprintf(out, " against %s of the default's %s", table_number(number, standard.tall), standard.text);
    }
    if (best.tile != chosen.tile || best.unroll != chosen.unroll) {
        fprintf(out, "; the fastest tile when measured alone is %s with %s", best.text, table_number(number, best.tall));
    }
    if (chosen.stream > 0) {
        fprintf(out, ". Weights for one row stream at %s GB/s", table_number(number, chosen.stream));
        if (chosen.prefetch != standard.prefetch || chosen.unroll != standard.unroll) {
            fprintf(out, " against %s of the default's", table_number(number, standard.stream));
        }
    }
    fputs(".</li>\n", out);
}

// The trial of a point that is `base` but for one knob's value.
static const SearchTrial *find_changed(const TuneView *view, const Point *base, int knob, uint8_t value) {
    Point point = *base;
    point.value[knob] = value;
    const SearchTrial *trial = tune_report_find(view, &point);
    return trial && trial->rounds && !trial->unusable ? trial : NULL;
}

// Why a knob of what the search ended with has another value than the default's.
static void write_change(const TuneView *view, int k, FILE *out) {
    const SpaceKnob *knob = &view->result->space.knobs[k];
    const Point *best = &view->result->search.candidate;
    char chosen[TUNE_REPORT_TEXT], standard[TUNE_REPORT_TEXT];
    const SearchTrial *alone = find_changed(view, &view->standard, k, best->value[k]),
                      *back = find_changed(view, best, k, view->standard.value[k]), *winner = tune_report_find(view, best);
    fprintf(out, "<li><code>%s</code> %s instead of the default's %s: ", knob->name,
            tune_report_value(knob, best->value[k], chosen), tune_report_value(knob, view->standard.value[k], standard));
    if (alone) {
        fprintf(out, "%+.1f %% alone (%d rounds)", tune_report_percent(alone->difference), alone->rounds);
    }
    if (back && winner && back != alone) {
        fprintf(out, "%s%+.1f %% to go back from the %s (%d rounds)", alone ? ", " : "",
                tune_report_percent(back->difference - winner->difference), view->other_name, back->rounds);
    }
    fputs(alone || (back && winner) ? ".</li>\n" : "it came with other changes and was not raced alone.</li>\n", out);
}

void tune_report_reasons(const TuneView *view, FILE *out) {
    static const char *const names[] = {"gate_up", "down"};
    const Point *other = &view->result->search.candidate;
    fputs("<ul>\n", out);
    for (int i = 0; i < 2; i++) {
        write_paths(view, space_roles[i], names[i], out);
        write_tile(view, i, space_roles[i], names[i], out);
    }
    if (view->other && view->result->search.gain <= 1) {
        fputs("<li>All knobs are as in the default plan. The last challenger, which did not beat it, had:</li>\n", out);
    } else if (!view->other) {
        fputs("<li>All knobs are as in the default plan.</li>\n", out);
    }
    for (int k = 0; k < view->result->space.knob_count; k++) {
        if (other->value[k] != view->standard.value[k]) {
            write_change(view, k, out);
        }
    }
    fputs("</ul>\n", out);
}

// --- the space ---------------------------------------------------------------------------------------------------------------

static void write_worth(const TuneView *view, const Point *base, int k, FILE *out) {
    const TuneWorth worth = tune_report_worth(view, base, k);
    char value[TUNE_REPORT_TEXT];
    if (worth.trial) {
        fprintf(out, "<td>%s: %+.1f %% (%d rounds)</td>",
                tune_report_value(&view->result->space.knobs[k], worth.trial->point.value[k], value), worth.percent,
                worth.trial->rounds);
    } else {
        fputs("<td>not tried</td>", out);
    }
}

void tune_report_space(const TuneView *view, FILE *out) {
    const Space *space = &view->result->space;
    const Point *best = &view->result->search.best;
    char value[TUNE_REPORT_TEXT];
    fprintf(out,
            "<p>%d knobs, %.3g plans. None changes bits or the packed weights.</p>\n<div class=\"wide\"><table>\n"
            "<tr><th>Knob</th><th>Values</th><th>Default</th><th>Chosen</th><th>Best alone on the default</th>",
            space->knob_count, space_size(space));
    if (view->other) {
        fprintf(out, "<th>Best alone on the %s</th>", view->other_name);
    }
    fputs("</tr>\n", out);
    for (int k = 0; k < space->knob_count; k++) {
        const SpaceKnob *knob = &space->knobs[k];
        fprintf(out, "<tr><td><code>%s</code><br/>%s</td><td>", knob->name, knob->words);
        for (int i = 0; i < knob->count; i++) {
            fprintf(out, "%s%s", i ? ", " : "", tune_report_value(knob, i, value));
        }
        fprintf(out, "</td><td>%s</td>", tune_report_value(knob, view->standard.value[k], value));
        fprintf(out, "<td>%s</td>", tune_report_value(knob, best->value[k], value));
        write_worth(view, &view->standard, k, out);
        if (view->other) {
            write_worth(view, &view->result->search.candidate, k, out);
        }
        fputs("</tr>\n", out);
    }
    fputs("</table></div>\n", out);
}
