// Formats of packed weights as codes of values: what packing promises, for whatever format the list has; and the nearest code,
// found by a search among all codes.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/measure/synthetic.h"
#include "panel.h"
#include "suites.h"

enum { GUARD = 64, LONGEST = 2 * FORMAT_MAX_GROUP + 300 };

// Depths, in whole steps, around steps, groups and blocks.
static int depths_of(Format format, int64_t depths[12]) {
    const FormatFacts *facts = &format_facts[format];
    int64_t group = facts->group ? facts->group : FORMAT_BLOCK;
    const int64_t all[] = {1, 2, facts->step - 1, facts->step + 1, group - 1, group, group + 1, 2 * group, 2 * group + 1, 300};
    int count = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i] > 0) {
            depths[count++] = all[i];
        }
    }
    return count;
}

// A panel between guards, full of `fill`.
typedef struct Guarded {
    uint8_t *memory, *panel;
    int64_t bytes;
} Guarded;

static Guarded guarded(Format format, int64_t depth, int fill) {
    Guarded g = {.bytes = format_bytes(format, depth)};
    g.memory = aligned_alloc(64, (size_t)plan_round_up(g.bytes + 2 * GUARD, 64));
    ck_assert_ptr_nonnull(g.memory);
    g.panel = g.memory + GUARD;
    memset(g.memory, 0x5a, (size_t)(g.bytes + 2 * GUARD));
    memset(g.panel, fill, (size_t)g.bytes);
    return g;
}

static void check_guards(const Guarded *g) {
    for (int i = 0; i < GUARD; i++) {
        if (g->memory[i] != 0x5a || g->panel[g->bytes + i] != 0x5a) {
            ck_abort_msg("written %d bytes before the panel, or %d behind it", GUARD - i, i + 1);
        }
    }
}

// --- the error of packing ------------------------------------------------------------------------------------------------------

// How large values are. All lie within the format's range.
typedef enum Size { NORMAL, TINY, SUBNORMAL, LEAST, SMALL, HUGE_ONES, MIXED, OUTLIERS, ZEROS, SIZES } Size;
static const char *const size_names[] = {"normal", "tiny", "subnormal", "least", "small", "huge", "mixed", "outliers", "zeros"};

static float draw(Size size, float largest, uint64_t *state) {
    float uniform = synthetic_uniform(state);
    int exponent = (int)(synthetic_next(state) >> 40) % 60;
    switch (size) {
    case NORMAL: return synthetic_normal(state);
    case TINY: return uniform * 0x1p-122f;
    case SUBNORMAL: return (float)((int)(synthetic_next(state) >> 40) % 700 - 350) * 0x1p-149f;
    case LEAST: return (float)(exponent % 13 - 6) * 0x1p-149f;
    case SMALL: return uniform * 0x1p-14f;
    case HUGE_ONES: return uniform * largest;
    case MIXED: return ldexpf(uniform, -exponent);
    case OUTLIERS: return exponent ? uniform * 0x1p-10f : uniform * largest;
    case ZEROS:
    case SIZES: break;
    }
    return exponent % 2 ? -0.0f : 0.0f;
}

// The values of a panel, [32][depth]; zeros from `real` on, as packing pads them.
static void draw_values(Format format, Size size, int64_t real, int64_t depth, float *values) {
    uint64_t state = (uint64_t)(size * 1000 + real);
    memset(values, 0, (size_t)(PANEL_COLUMNS * depth) * sizeof *values);
    for (int64_t i = 0; i < PANEL_COLUMNS * real; i++) {
        values[i / real * depth + i % real] = draw(size, format_facts[format].largest, &state);
    }
}

static double largest_of_group(const FormatFacts *facts, const float *column, int64_t k, int64_t depth) {
    double largest = 0;
    if (facts->group) {
        int64_t begin = k / facts->group * facts->group;
        for (int64_t i = begin; i < begin + facts->group && i < depth; i++) {
            largest = fmax(largest, fabs((double)column[i]));
        }
    }
    return largest;
}

static void check_errors(Format format, Size size, const float *values, int64_t depth, const uint8_t *panel) {
    const FormatFacts *facts = &format_facts[format];
    for (int64_t i = 0; i < PANEL_COLUMNS * depth; i++) {
        int64_t c = i / depth, k = i % depth;
        double due = values[i], got = format_value(format, panel, k, (int)c);
        double of_group = facts->absolute_error_of_group * largest_of_group(facts, values + c * depth, k, depth);
        double bound = fmax(facts->relative_error * fabs(due), of_group) + facts->absolute_error;
        if (!(fabs(got - due) <= bound)) {
            ck_abort_msg("%s, %s values, depth %lld, k %lld, column %lld: %a is packed as %a, more than %.3g away",
                         format_names[format], size_names[size], (long long)depth, (long long)k, (long long)c, due, got, bound);
        }
    }
}

START_TEST(errors_are_within_their_bounds) {
    Format format = (Format)_i;
    static float values[PANEL_COLUMNS * LONGEST];
    int64_t depths[12];
    for (int d = 0, count = depths_of(format, depths); d < count; d++) {
        int64_t depth = plan_round_up(depths[d], format_facts[format].step);
        for (Size size = 0; size < SIZES; size++) {
            Guarded g = guarded(format, depth, 0xff);
            draw_values(format, size, depths[d], depth, values);
            panel_pack(format, values, depth, g.panel);
            check_errors(format, size, values, depth, g.panel);
            check_guards(&g);
            free(g.memory);
        }
    }
}
END_TEST

// --- bytes -------------------------------------------------------------------------------------------------------------------

// Every byte of a panel is written, whatever it was, and every element belongs to its column alone.
START_TEST(columns_are_independent) {
    Format format = (Format)_i;
    static float first[PANEL_COLUMNS * LONGEST], second[PANEL_COLUMNS * LONGEST];
    static const uint32_t masks[] = {1, 0x80000000u, 0x00ff00ff, 0xff00ff00u, 0x7fffffff, 0x12345678};
    int64_t depths[12];
    for (int d = 0, count = depths_of(format, depths); d < count; d++) {
        int64_t depth = plan_round_up(depths[d], format_facts[format].step);
        draw_values(format, NORMAL, depths[d], depth, first);
        draw_values(format, MIXED, depths[d], depth, second);
        for (size_t m = 0; m < sizeof masks / sizeof *masks; m++) {
            Guarded once = guarded(format, depth, 0), again = guarded(format, depth, 0xff);
            panel_pack_columns(format, first, depth, masks[m], once.panel);
            panel_pack_columns(format, second, depth, ~masks[m], once.panel);
            panel_pack(format, second, depth, again.panel);
            panel_pack_columns(format, first, depth, masks[m], again.panel);
            ck_assert_mem_eq(once.panel, again.panel, (size_t)once.bytes);
            for (int64_t i = 0; i < PANEL_COLUMNS * depth; i++) {
                const float *own = masks[m] >> i / depth & 1 ? first : second;
                double got = format_value(format, again.panel, i % depth, (int)(i / depth));
                if (own[i] == 0 && got != 0) {
                    ck_abort_msg("element %lld is %a, not zero", (long long)i, got);
                }
            }
            free(once.memory);
            free(again.memory);
        }
    }
}
END_TEST

// What a format without groups can say it says exactly: packing its values again gives the same bytes.
START_TEST(its_own_values_are_exact) {
    Format format = (Format)_i;
    static float values[PANEL_COLUMNS * LONGEST];
    int64_t depth = plan_round_up(300, format_facts[format].step);
    for (Size size = 0; size < SIZES && !format_facts[format].group; size++) {
        Guarded once = guarded(format, depth, 0), again = guarded(format, depth, 0xff);
        draw_values(format, size, depth, depth, values);
        panel_pack(format, values, depth, once.panel);
        for (int64_t i = 0; i < PANEL_COLUMNS * depth; i++) {
            values[i] = (float)format_value(format, once.panel, i % depth, (int)(i / depth));
        }
        panel_pack(format, values, depth, again.panel);
        ck_assert_mem_eq(once.panel, again.panel, (size_t)once.bytes);
        free(once.memory);
        free(again.memory);
    }
}
END_TEST

// --- random data -------------------------------------------------------------------------------------------------------------

// A panel of random steps. What `lines` are does not matter here; `mask` is of the columns, the last k of an odd depth is padding.
static void fill_randomly(Format format, int64_t real, int64_t depth, uint32_t mask, float scale, uint8_t *panel) {
    int16_t lines[FORMAT_MAX_STEP][PANEL_COLUMNS];
    uint64_t state = 3;
    FormatRandom random = {.lines = (const int16_t(*)[PANEL_COLUMNS])lines, .scale = scale};
    for (; random.k < depth; random.k += format_facts[format].step) {
        for (int i = 0; i < format_facts[format].step; i++) {
            random.mask[i] = random.k + i < real ? mask : 0;
            for (int c = 0; c < PANEL_COLUMNS; c++) {
                lines[i][c] = (int16_t)(synthetic_next(&state) >> 48);
            }
        }
        format_random(format, panel, &random);
    }
}

// Uniform on [-1, 1) times 32768 scale: the mean of n squares is 1/3 with a standard deviation of sqrt(4 / 45 / n).
START_TEST(random_data_has_its_variance) {
    Format format = (Format)_i;
    static const uint32_t masks[] = {UINT32_MAX, 0x0000ffff, 0xf0f01234u, 1};
    const float size = 0.043f;
    int64_t depths[12];
    for (int d = 0, count = depths_of(format, depths); d < count; d++) {
        int64_t depth = plan_round_up(depths[d], format_facts[format].step);
        for (size_t m = 0; m < sizeof masks / sizeof *masks; m++) {
            Guarded g = guarded(format, depth, 0xff);
            fill_randomly(format, depths[d], depth, masks[m], size / 32768, g.panel);
            double squares = 0, n = 0, sum = 0;
            for (int64_t i = 0; i < PANEL_COLUMNS * depth; i++) {
                int64_t c = i / depth, k = i % depth;
                double got = format_value(format, g.panel, k, (int)c) / (double)size;
                bool real = masks[m] >> c & 1 && k < depths[d];
                if (!(fabs(got) <= (real ? 1 + 0x1p-10 : 0))) {
                    ck_abort_msg("k %lld, column %lld%s: %a", (long long)k, (long long)c, real ? "" : " is padding", got);
                }
                squares += got * got;
                sum += got;
                n += real;
            }
            double coarse = 2 * format_facts[format].relative_error / 3;  // what rounding may add to the mean of squares
            ck_assert_double_le(fabs(squares / n - 1.0 / 3), 5 * sqrt(4.0 / 45 / n) + coarse);
            ck_assert_double_le(fabs(sum / n), 5 * sqrt(1.0 / 3 / n));
            check_guards(&g);
            free(g.memory);
        }
    }
}
END_TEST

// --- the nearest code ----------------------------------------------------------------------------------------------------------

// Floating-point codes from their definition: sign, exponent, fraction; magnitudes from `end` on are no finite numbers.
typedef struct Codes {
    Format format;
    int fraction_bits, bias, end, samples;
} Codes;
static const Codes code_sets[] = {
    {FORMAT_BF16, 7, 127, 0x7f80, 200}, {FORMAT_FP16, 10, 15, 0x7c00, 200}, {FORMAT_FP8_E4M3, 3, 7, 0x7f, 0}};
enum { CODE_SETS = sizeof code_sets / sizeof *code_sets };

static double values_of[0x8000];  // of the set's codes, by code

static void decode(const Codes *set) {
    for (int code = 0; code < set->end; code++) {
        int exponent = code >> set->fraction_bits, fraction = code & ((1 << set->fraction_bits) - 1);
        int significand = fraction + (exponent ? 1 << set->fraction_bits : 0);
        values_of[code] = ldexp(significand, (exponent ? exponent : 1) - set->bias - set->fraction_bits);
    }
}

static double nearest_of(const Codes *set, double magnitude) {
    int best = 0;
    for (int code = 1; code < set->end; code++) {
        double distance = fabs(values_of[code] - magnitude), least = fabs(values_of[best] - magnitude);
        best = distance < least || (distance == least && code % 2 == 0) ? code : best;
    }
    return values_of[best];
}

// What a value is packed as. Beside the largest code of a format with scales the scale is 1.
static double packed_as(const Codes *set, float value) {
    static const int column = 5;
    float values[2] = {value, format_facts[set->format].group ? (float)values_of[set->end - 1] : 0};
    Guarded g = guarded(set->format, 2, 0);
    format_pack(set->format, g.panel, &(FormatRun){.depth = 2, .count = 1, .columns = &column, .values = values, .stride = 2});
    double got = format_value(set->format, g.panel, 0, column);
    free(g.memory);
    return got;
}

// On a code, half-way to the next one, and next to half-way.
static void check_nearest(const Codes *set, int code) {
    float on = (float)values_of[code], half = (float)((values_of[code] + values_of[code + 1]) / 2);
    const float values[] = {on, half, nextafterf(half, 0), nextafterf(half, INFINITY), nextafterf(on, INFINITY)};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        double due = nearest_of(set, values[i]), got = packed_as(set, values[i]), mirrored = packed_as(set, -values[i]);
        if (got != due || mirrored != -due || !signbit(mirrored)) {
            ck_abort_msg("%s: %a and its negative become %a and %a, nearest is %a", format_names[set->format], (double)values[i],
                         got, mirrored, due);
        }
    }
}

START_TEST(packs_the_nearest_code) {
    const Codes *set = &code_sets[_i];
    uint64_t state = 1;
    decode(set);
    for (int code = 0; code + 1 < set->end; code += set->samples && code >= 16 ? set->end / set->samples + 1 : 1) {
        check_nearest(set, code);
    }
    for (int i = 0; i < set->samples; i++) {
        check_nearest(set, (int)(synthetic_next(&state) % (uint64_t)(set->end - 1)));
    }
}
END_TEST

Suite *suite_formats_values(void) {
    Suite *suite = suite_create("formats_values");
    TCase *cases = tcase_create("formats_values");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_loop_test(cases, errors_are_within_their_bounds, 0, FORMAT_COUNT);
    tcase_add_loop_test(cases, columns_are_independent, 0, FORMAT_COUNT);
    tcase_add_loop_test(cases, its_own_values_are_exact, 0, FORMAT_COUNT);
    tcase_add_loop_test(cases, random_data_has_its_variance, 0, FORMAT_COUNT);
    tcase_add_loop_test(cases, packs_the_nearest_code, 0, CODE_SETS);
    suite_add_tcase(suite, cases);
    return suite;
}
