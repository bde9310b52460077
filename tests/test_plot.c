// Plots, and the pictures of tune and bench: round ticks, texts that XML can hold, values that have no place on an axis, files
// that are not ours. That drawings are well-formed is xmllint's word, where it is there.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "available.h"
#include "compiler/base/plot.h"
#include "compiler/bench/bench.h"
#include "compiler/commands/command.h"
#include "shell.h"
#include "suites.h"

// --- ticks -------------------------------------------------------------------------------------------------------------------

START_TEST(ticks) {
    static const struct {
        double low, high;
        bool logarithmic;
        int most, count;
        double first, last;
    } rows[] = {
        {0, 10, false, 5, 6, 0, 10},     {0.13, 0.87, false, 6, 4, 0.2, 0.8},
        {-3.2, 4.1, false, 6, 4, -2, 4}, {1e6, 1.0001e6, false, 5, 6, 1e6, 1.0001e6},
        {1, 2048, true, 6, 4, 1, 1000},  {1e-9, 1e9, true, 6, 7, 1e-9, 1e9},
        {3, 70, true, 6, 4, 5, 50},      {41, 44, true, 6, 7, 41, 44},  // too short for 1, 2, 5: as on a linear axis
        {0, 10, true, 6, 0, 0, 0},     // the logarithm of 0
        {5, 5, false, 6, 0, 0, 0},       {NAN, 1, false, 6, 0, 0, 0},
        {1, INFINITY, true, 6, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double found[PLOT_MAX_TICKS];
        int count = plot_ticks(rows[i].low, rows[i].high, rows[i].logarithmic, rows[i].most, found);
        ck_assert_msg(count == rows[i].count, "row %zu: %d ticks", i, count);
        for (int t = 1; t < count; t++) {
            ck_assert(found[t - 1] < found[t]);
        }
        if (count) {
            ck_assert_double_eq_tol(found[0], rows[i].first, 1e-12 + 1e-9 * fabs(rows[i].first));
            ck_assert_double_eq_tol(found[count - 1], rows[i].last, 1e-12 + 1e-9 * fabs(rows[i].last));
        }
    }
}
END_TEST

// Any range has a few ticks, all within it: at least two of six that are asked for.
START_TEST(ticks_of_any_range) {
    uint64_t state = 7;
    for (int i = 0; i < 20000; i++) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        double low = pow(10, (double)(state >> 40) / 4e6 - 2), high = low * (1.0001 + (double)(state >> 20 & 0xFFFFF) / 100),
               found[PLOT_MAX_TICKS];
        int count = plot_ticks(low, high, i & 1, 1 + i % 9, found);
        ck_assert(count >= (i % 9 > 4 ? 2 : 0) && count <= PLOT_MAX_TICKS);
        for (int t = 0; t < count; t++) {
            ck_assert(found[t] >= low * (1 - 1e-6) && found[t] <= high * (1 + 1e-6));
        }
    }
}
END_TEST

// --- texts -------------------------------------------------------------------------------------------------------------------

static char *escaped(const char *text) {
    char *out = NULL;
    size_t length;
    FILE *stream = open_memstream(&out, &length);
    plot_escape(stream, text);
    fclose(stream);
    return out;
}

START_TEST(escape) {
    static const char *const rows[][2] = {
        {"<a href=\"x\">&'", "&lt;a href=&quot;x&quot;&gt;&amp;&#39;"},
        {"tab\tline\nbell\a", "tab line bell?"},
        {"\xC3\xA4 \xE2\x82\xAC \xF0\x9F\x98\x80", "\xC3\xA4 \xE2\x82\xAC \xF0\x9F\x98\x80"},
        {"\xC3", "?"},                   // cut
        {"\xC0\xAF\xE0\x80\xAF", "?????"},  // overlong
        {"\xED\xA0\x80", "???"},         // half a surrogate pair
        {"\xEF\xBF\xBF", "???"},         // U+FFFF
        {"\xF4\x90\x80\x80", "????"},    // beyond Unicode
        {"", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *out = escaped(rows[i][0]);
        ck_assert_str_eq(out, rows[i][1]);
        free(out);
    }
}
END_TEST

// --- drawings ----------------------------------------------------------------------------------------------------------------

static char *read_text(const char *name) {
    size_t size;
    return shell_read_file(name, &size);
}

// The drawing as a text, and as $D/plot.svg, which must be well-formed.
static char *draw(const Plot *plot) {
    char path[SHELL_PATH_BYTES + 16];
    Diagnostics diagnostics = {0};
    snprintf(path, sizeof path, "%s/plot.svg", shell_folder());
    ck_assert_msg(!plot_save(&plot, 1, path, &diagnostics), "%s", diagnostics.text);
    if (available_program("xmllint")) {
        ck_assert_int_eq(shell_run("xmllint --noout --nonet $D/plot.svg"), 0);
    }
    return read_text("$D/plot.svg");
}

static int count_of(const char *text, const char *part) {
    int count = 0;
    for (const char *c = strstr(text, part); c; c = strstr(c + 1, part)) {
        count++;
    }
    return count;
}

static Plot plot_of(bool logarithmic) {
    return (Plot){.id = "p",
                  .title = "A <title> & \"more\"",
                  .description = "What it is",
                  .x = {.label = "x <x>", .logarithmic = logarithmic},
                  .y = {.label = "y & y", .logarithmic = logarithmic}};
}

START_TEST(names_are_escaped) {
    Plot plot = plot_of(false);
    int series = plot_series(&plot, PLOT_POINTS, 1, "</svg>%s", "<b>&\"");
    plot_point(&plot, series, 1, 2, "%s", "</title><script>");
    char *text = draw(&plot);
    ck_assert_int_eq(count_of(text, "</svg>"), 1);
    ck_assert_int_eq(count_of(text, "<script"), 0);
    ck_assert_ptr_nonnull(strstr(text, "&lt;/svg&gt;&lt;b&gt;&amp;&quot;"));
    ck_assert_ptr_nonnull(strstr(text, "role=\"img\" aria-labelledby=\"p-title p-text\""));
    ck_assert_ptr_nonnull(strstr(text, "prefers-color-scheme:dark"));
    free(text);
    plot_free(&plot);
}
END_TEST

// Points that can be drawn are drawn, the others are not, and no coordinate is other than a number.
START_TEST(values_without_a_place) {
    static const double values[] = {1, NAN, INFINITY, -INFINITY, 0, -5, 100};
    enum { VALUES = sizeof values / sizeof *values };
    for (int logarithmic = 0; logarithmic < 2; logarithmic++) {
        Plot plot = plot_of(logarithmic);
        int crowd = plot_series(&plot, PLOT_CROWD, 0, "crowd"), line = plot_series(&plot, PLOT_STEPS, 2, "steps"), drawn = 0;
        for (int i = 0; i < VALUES * VALUES; i++) {
            double x = values[i / VALUES], y = values[i % VALUES];
            plot_point(&plot, crowd, x, y, "%s", "");
            plot_point(&plot, line, x, y, "%s", "");
            drawn += isfinite(x) && isfinite(y) && (!logarithmic || (x > 0 && y > 0));
        }
        char *text = draw(&plot);
        ck_assert_int_eq(count_of(text, "<circle"), drawn + 1);  // one in the legend
        ck_assert(!strstr(text, "nan") && !strstr(text, "inf"));
        free(text);
        plot_free(&plot);
    }
}
END_TEST

START_TEST(empty_and_single) {
    for (int logarithmic = 0; logarithmic < 2; logarithmic++) {
        Plot plot = plot_of(logarithmic);
        char *text = draw(&plot);
        ck_assert_ptr_nonnull(strstr(text, "nothing was measured"));
        ck_assert_int_gt(count_of(text, "class=\"grid\""), 2);  // there are ticks
        free(text);
        int series = plot_series(&plot, PLOT_LINE, 3, "nothing");
        plot_point(&plot, series, 3, NAN, "%s", "");
        text = draw(&plot);
        ck_assert_ptr_nonnull(strstr(text, "nothing was measured"));
        free(text);
        plot_point(&plot, series, 3, 7, "%s", "");
        text = draw(&plot);
        ck_assert(!strstr(text, "nothing was measured") && !strstr(text, "nan"));
        ck_assert_int_gt(count_of(text, "class=\"grid\""), 2);
        free(text);
        plot_free(&plot);
    }
}
END_TEST

// A line goes from left to right, steps first to the side.
START_TEST(lines_are_sorted) {
    Plot plot = plot_of(false);
    int line = plot_series(&plot, PLOT_LINE, 0, "line"), steps = plot_series(&plot, PLOT_STEPS, 1, "steps");
    for (int i = 0; i < 3; i++) {
        plot_point(&plot, line, (double[]){5, 1, 3}[i], i, "%s", "");
        plot_point(&plot, steps, (double[]){5, 1, 3}[i], i, "%s", "");
    }
    char *text = draw(&plot);
    const char *first = strstr(text, "<path class=\"line s0\" d=\""), *second = strstr(text, "<path class=\"line s1\" d=\"");
    ck_assert(first && second);
    double x[3], y[3], step[5][2];
    ck_assert_int_eq(sscanf(strchr(first, 'M'), "M%lf %lfL%lf %lfL%lf %lf", &x[0], &y[0], &x[1], &y[1], &x[2], &y[2]), 6);
    ck_assert(x[0] < x[1] && x[1] < x[2] && y[0] > y[1] && y[2] > y[0]);
    ck_assert_int_eq(sscanf(strchr(second, 'M'), "M%lf %lfL%lf %lfL%lf %lfL%lf %lfL%lf %lf", &step[0][0], &step[0][1], &step[1][0],
                            &step[1][1], &step[2][0], &step[2][1], &step[3][0], &step[3][1], &step[4][0], &step[4][1]),
                     10);
    ck_assert(step[1][0] == step[2][0] && step[1][1] == step[0][1] && step[3][1] == step[2][1] && step[3][0] == step[4][0]);
    free(text);
    plot_free(&plot);
}
END_TEST

START_TEST(too_many_series) {
    Plot plot = plot_of(false);
    const Plot *pointer = &plot;
    Diagnostics diagnostics = {0};
    for (int i = 0; i <= PLOT_MAX_SERIES; i++) {
        plot_point(&plot, plot_series(&plot, PLOT_LINE, i, "%d", i), i, i, "%s", "");
    }
    ck_assert_int_eq(plot_save(&pointer, 1, "no such folder/x.svg", &diagnostics), -1);
    ck_assert_ptr_nonnull(strstr(diagnostics.text, "more than"));
    diagnostics_free(&diagnostics);
    plot_free(&plot);
}
END_TEST

// --- files of others ---------------------------------------------------------------------------------------------------------

// What is not ours stays, and is said before anything is measured; what is ours is replaced.
START_TEST(files) {
    static const char *const commands[] = {"bench --plot", "tune --wisdom none --report"};
    shell_write_file("$D/mine", "important", 9);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        shell_expect(EXIT_FAILED, i ? "no directory for a report: Not a directory" : "exists and was not written by catena",
                     "timeout 60 $CATENA %s $D/mine tests/data/coe_small_layer.json", commands[i]);
        shell_expect(EXIT_FAILED, "No such file or directory", "timeout 60 $CATENA %s $D/no/such tests/data/coe_small_layer.json",
                     commands[i]);
    }
    shell_expect(EXIT_FAILED, "exists and is not a regular file",
                 "timeout 60 $CATENA bench --plot $D tests/data/coe_small_layer.json");
    shell_run("mkdir $D/report && echo mine >$D/report/index.html");
    shell_expect(EXIT_FAILED, "index.html: error: exists and was not written by catena",
                 "timeout 60 $CATENA tune --wisdom none --report $D/report tests/data/coe_small_layer.json");
    shell_expect(0, "important", "cat $D/mine");
    shell_expect(0, "mine", "cat $D/report/index.html");
    ck_assert_int_eq(shell_run("test \"$(ls $D $D/report | wc -l)\" = 6"), 0);  // nothing is left behind
}
END_TEST

START_TEST(replaced) {
    Plot plot = plot_of(false);
    char *first = draw(&plot), *second = draw(&plot);
    ck_assert_str_eq(first, second);
    free(first);
    free(second);
}
END_TEST

static void expect_well_formed(const char *name) {
    if (available_program("xmllint")) {
        ck_assert_int_eq(shell_run("xmllint --noout --nonet $D/%s", name), 0);
    }
}

// --- what commands draw ------------------------------------------------------------------------------------------------------

START_TEST(report) {
    int status;
    free(shell_read(&status,
                    "timeout 120 $CATENA tune --wisdom none --threads 2 --budget 2 --tokens 1,40 --report $D/r "
                    "tests/data/coe_small_layer.json"));
    ck_assert_int_eq(status, 0);
    char *page = read_text("$D/r/index.html");
    ck_assert_int_eq(count_of(page, "<svg "), 4 * count_of(page, "<section>"));
    ck_assert(strstr(page, "instruction path, one thread") && strstr(page, "<th>Chosen</th>") && strstr(page, "The machine"));
    ck_assert_ptr_nonnull(strstr(page, " Tuned for tokens 1, 40; routing uniform.</p>"));
    ck_assert(!strstr(page, "<script") && !strstr(page, "src=") && !strstr(page, "nan") && !strstr(page, "url("));
    expect_well_formed("r/index.html");
    ck_assert_int_eq(shell_run("ls $D/r | grep -qx '.*-roofline.svg' && ls $D/r | grep -qx '.*-race.svg'"), 0);
    ck_assert_int_eq(shell_run("test $(ls $D/r/*.svg | wc -l) = %d -a $(ls $D/r | wc -l) = %d", count_of(page, "<svg "),
                               count_of(page, "<svg ") + 1),
                     0);
    expect_well_formed("r/*.svg");
    free(page);
}
END_TEST

// Rows of a layer, cold and warm: the order of token counts is the user's, a warm row has no roofline, an opponent is a path.
START_TEST(bench_rows) {
    static const Machine machine = {.cpu = "A <fast> & \"new\" CPU"};
    const BenchOptions options = {.threads = 3};
    BenchRow rows[4] = {{.tokens = 64}, {.tokens = 1}, {.tokens = 64}, {.tokens = 8}};
    BenchRun run = {.machine = &machine, .options = &options, .rows = rows, .row_count = 4, .peaks = {100}, .best_path = 0};
    char path[SHELL_PATH_BYTES + 16];
    Diagnostics diagnostics = {0};
    for (int i = 0; i < 4; i++) {
        snprintf(rows[i].layer, sizeof rows[i].layer, "sparse<%d>", i == 3);
        snprintf(rows[i].opponent, sizeof rows[i].opponent, "/a/path/libother&.so");
        rows[i].cold = i < 2;
        rows[i].work = (Work){.flops = 4e9, .bytes = 1e9};
        rows[i].time = (Statistics){.count = 5, .median = 0.5};
        rows[i].opponent_time = (Statistics){.count = i < 3 ? 5 : 0, .median = 2};
        rows[i].roofline_s = i < 2 ? 0.25 : NAN;
    }
    snprintf(path, sizeof path, "%s/b.svg", shell_folder());
    ck_assert_msg(!bench_plot_save(&run, path, &diagnostics), "%s", diagnostics.text);
    char *text = read_text("$D/b.svg");
    expect_well_formed("b.svg");
    ck_assert_int_eq(count_of(text, "64 tokens: 8 GFLOP/s, 500 ms"), 2);
    ck_assert_int_eq(count_of(text, "tokens: 2 GB/s, 500 ms"), 4);
    ck_assert_int_eq(count_of(text, "tokens: 2 GFLOP/s, 2e+03 ms"), 3);
    ck_assert_int_eq(count_of(text, "sparse&lt;0&gt;: roofline"), 2);
    ck_assert_int_eq(count_of(text, "warm: roofline"), 0);
    ck_assert(strstr(text, "sparse&lt;1&gt;, warm<") && strstr(text, ": libother&amp;.so<") &&
              strstr(text, "A &lt;fast&gt; &amp;"));
    ck_assert(!strstr(text, "nan") && !strstr(text, "inf"));
    free(text);
}
END_TEST

Suite *suite_plot(void) {
    Suite *suite = suite_create("plot");
    TCase *cases = tcase_create("drawings"), *commands = tcase_create("commands");
    tcase_add_checked_fixture(cases, shell_begin, shell_end);
    tcase_add_test(cases, ticks);
    tcase_add_test(cases, ticks_of_any_range);
    tcase_add_test(cases, escape);
    tcase_add_test(cases, names_are_escaped);
    tcase_add_test(cases, values_without_a_place);
    tcase_add_test(cases, empty_and_single);
    tcase_add_test(cases, lines_are_sorted);
    tcase_add_test(cases, too_many_series);
    tcase_add_test(cases, replaced);
    tcase_add_test(cases, bench_rows);
    suite_add_tcase(suite, cases);
    tcase_add_checked_fixture(commands, shell_begin, shell_end);
    tcase_set_timeout(commands, TEST_TIMEOUT);
    tcase_add_test(commands, files);
    tcase_add_test(commands, report);
    suite_add_tcase(suite, commands);
    return suite;
}
