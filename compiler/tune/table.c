// A search as CSV; see table.h.
#define _GNU_SOURCE
#include "table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "compiler/base/writable.h"
#include "compiler/measure/rates.h"
#include "runtime/file.h"

// The header is also what a file of ours is known by.
#define TABLE_HEADER \
    "layer,kind,decisions,role,tile,rows,panels,tokens,rounds,seconds,predicted,measured,unit,difference,error,unusable\n"

// One row: what does not apply is left empty. Numbers that are NaN are empty, too.
typedef struct TableRow {
    const char *layer, *kind;
    const Point *point;
    const char *role, *tile, *unit;
    int rows, panels, rounds;  // 0: empty
    const char *tokens;
    double seconds, predicted, measured, difference, error;
    bool unusable;
} TableRow;

static const TableRow empty_row = {.role = "",
                                   .tile = "",
                                   .unit = "",
                                   .tokens = "",
                                   .seconds = NAN,
                                   .predicted = NAN,
                                   .measured = NAN,
                                   .difference = NAN,
                                   .error = NAN};

static void write_number(FILE *out, double value) {
    fputc(',', out);
    if (isfinite(value)) {
        fprintf(out, "%.6g", value);
    }
}

static void write_count(FILE *out, int value) {
    fputc(',', out);
    if (value) {
        fprintf(out, "%d", value);
    }
}

static void write_row(FILE *out, const Space *space, const TableRow *row) {
    json_t *decisions = space_decisions(space, row->point);
    char *text = json_dumps(decisions, JSON_SORT_KEYS);
    fprintf(out, "%s,%s,\"", row->layer, row->kind);
    for (const char *c = text ? text : ""; *c; c++) {
        fputs(*c == '"' ? "\"\"" : (char[]){*c, 0}, out);
    }
    fprintf(out, "\",%s,%s", row->role, row->tile);
    write_count(out, row->rows);
    write_count(out, row->panels);
    fprintf(out, ",%s", row->tokens);
    write_count(out, row->rounds);
    write_number(out, row->seconds);
    write_number(out, row->predicted);
    write_number(out, row->measured);
    fprintf(out, ",%s", row->unit);
    write_number(out, row->difference);
    write_number(out, row->error);
    fprintf(out, ",%s\n", row->unusable ? "1" : "");
    free(text);
    json_decref(decisions);
}

static void write_tiles(FILE *out, const char *layer, const TuneResult *result) {
    static const char *const kinds[] = {[RATES_TALL] = "tallest", [RATES_LOW] = "low", [RATES_WIDE] = "wide"};
    for (size_t i = 0; i < result->tile_count; i++) {
        const RatesTile *tile = &result->tiles[i];
        TableRow row = empty_row;
        row.layer = layer, row.kind = "tile";
        row.point = &tile->point;
        row.role = role_names[tile->role], row.tile = kinds[tile->kind];
        row.rows = tile->rows, row.panels = tile->panels, row.rounds = tile->samples;
        row.measured = tile->rate, row.unit = tile->kind == RATES_TALL ? "GFLOP/s" : "GB/s";
        row.error = tile->spread;
        write_row(out, &result->space, &row);
    }
}

// A row over all token counts, then one for each.
static void write_plan(FILE *out, const char *layer, const TuneOptions *options, const TuneResult *result,
                       const SearchTrial *trial) {
    TableRow row = empty_row;
    row.layer = layer, row.kind = "plan";
    row.point = &trial->point;
    row.unusable = trial->unusable;
    row.tokens = "all", row.rounds = trial->rounds;
    bool raced = trial->error > 0;  // in this search; what an earlier one knew has no error
    row.seconds = raced ? result->search_begin + trial->seconds : NAN;
    row.difference = trial->rounds ? trial->difference : NAN;
    row.error = raced ? trial->error : NAN;
    write_row(out, &result->space, &row);
    bool rated = result->rates[0].tiles_measured > 0;  // of what is only compared nothing was predicted
    for (int p = 0; p < options->workload.parts; p++) {
        char tokens[24];
        snprintf(tokens, sizeof tokens, "%lld", (long long)options->workload.tokens[p]);
        row.tokens = tokens, row.unit = "s", row.seconds = NAN;
        row.predicted =
            rated ? predict_seconds(&result->space, result->rates, options->threads, &trial->point, options->workload.tokens[p])
                  : NAN;
        row.measured = trial->part_samples[p] ? trial->part_seconds[p] : NAN;
        row.rounds = trial->part_samples[p];
        row.difference = trial->part_error[p] > 0 ? trial->part_difference[p] : NAN;
        row.error = trial->part_error[p] > 0 ? trial->part_error[p] : NAN;
        write_row(out, &result->space, &row);
    }
}

void tune_table_layer(TuneTable *table, const char *layer, const TuneOptions *options, const TuneResult *result) {
    table->layers++;
    const SearchResult *search = &result->search;
    write_tiles(table->stream, layer, result);
    for (size_t i = 0; i < search->trial_count; i++) {
        write_plan(table->stream, layer, options, result, &search->trials[i]);
    }
    for (size_t i = 0; i < search->step_count; i++) {
        TableRow row = empty_row;
        row.layer = layer, row.kind = "incumbent";
        row.point = &search->steps[i].point;
        row.seconds = result->search_begin + search->steps[i].seconds;
        row.difference = search->steps[i].difference;
        write_row(table->stream, &result->space, &row);
    }
    TableRow row = empty_row;
    row.layer = layer, row.kind = "verdict";
    row.point = &search->best;
    row.tokens = "all", row.rounds = search->confirm_rounds;
    row.difference = search->gain > 1 ? -log(search->gain) : 0;
    row.error = log(search->high / search->low) / 2;
    write_row(table->stream, &result->space, &row);
}

// --- the file ----------------------------------------------------------------------------------------------------------------

static bool is_table(const char *path) {
    char head[sizeof TABLE_HEADER] = "";
    FILE *file = fopen(path, "r");
    bool ours = file && fgets(head, sizeof head, file) && !strcmp(head, TABLE_HEADER);
    if (file) {
        fclose(file);
    }
    return ours;
}

// Whether a table can be written there; room: bytes that must be free.
static int check_path(const char *path, int64_t room, Diagnostics *diagnostics) {
    char error[512] = "";
    struct stat facts;
    if (writable_file(path, room, &(Failure){error, sizeof error}) != LIBRARY_OK) {  // first: it refuses pipes
        diagnostics_add(diagnostics, NULL, 0, 0, "%s", error);
        return -1;
    }
    if (!stat(path, &facts) && !is_table(path)) {
        diagnostics_add(diagnostics, path, 0, 0, "exists and is no table of catena tune: remove it or choose another name");
        return -1;
    }
    return 0;
}

int tune_table_open(TuneTable *table, const char *path, Diagnostics *diagnostics) {
    enum { ROOM = 1 << 18 };  // what most tables have room in
    *table = (TuneTable){.path = path};
    if (check_path(path, ROOM, diagnostics)) {
        return -1;
    }
    table->stream = open_memstream(&table->text, &table->bytes);
    if (!table->stream) {
        diagnostics_add(diagnostics, path, 0, 0, "out of memory");
        return -1;
    }
    fputs(TABLE_HEADER, table->stream);
    return 0;
}

void tune_table_discard(TuneTable *table) {
    if (table->stream) {
        fclose(table->stream);
    }
    free(table->text);
    *table = (TuneTable){0};
}

// Looks again: meanwhile there may be another file.
int tune_table_close(TuneTable *table, Diagnostics *diagnostics) {
    char error[512] = "";
    bool failed = fflush(table->stream) != 0;
    if (failed) {
        diagnostics_add(diagnostics, table->path, 0, 0, "out of memory");
    } else if (table->layers && check_path(table->path, 0, diagnostics)) {
        failed = true;
    } else if (table->layers &&
               file_write(table->path, table->text, (int64_t)table->bytes, &(Failure){error, sizeof error}) != LIBRARY_OK) {
        diagnostics_add(diagnostics, NULL, 0, 0, "%s", error);
        failed = true;
    }
    tune_table_discard(table);
    return failed ? -1 : 0;
}
