// The reader of pickles by itself: values of its operations, and bytes that are no pickle.
#include <stdlib.h>
#include <string.h>

#include "compiler/pytorch/pickle.h"
#include "shell.h"
#include "suites.h"

typedef struct Number {
    const char *pickle;
    size_t size;
    PickleKind kind;
    double value;
} Number;

#define NUMBER(text, kind, value) {text, sizeof text - 1, kind, value}
static const Number numbers[] = {
    NUMBER("\x80\x02J\xfb\xff\xff\xff.", PICKLE_INTEGER, -5),
    NUMBER("\x80\x02K\xff.", PICKLE_INTEGER, 255),
    NUMBER("\x80\x02M\x00\xff.", PICKLE_INTEGER, 65280),
    NUMBER("\x80\x02\x8a\x00.", PICKLE_INTEGER, 0),
    NUMBER("\x80\x02\x8a\x02\xff\x00.", PICKLE_INTEGER, 255),
    NUMBER("\x80\x02\x8a\x01\xff.", PICKLE_INTEGER, -1),
    NUMBER("\x80\x02\x8b\x01\0\0\0\x80.", PICKLE_INTEGER, -128),
    NUMBER("\x80\x02\x8a\x08\0\0\0\0\0\0\0\x80.", PICKLE_INTEGER, -0x1p63),
    NUMBER("\x80\x02G\xc0\x04\0\0\0\0\0\0.", PICKLE_FLOAT, -2.5),
    NUMBER("\x80\x02\x88.", PICKLE_BOOL, 1),
    NUMBER("\x80\x02\x89.", PICKLE_BOOL, 0),
    NUMBER("\x80\x02K\x07(KK1.", PICKLE_INTEGER, 7),  // values up to a mark are dropped
    NUMBER("\x80\x02K\x07N0.", PICKLE_INTEGER, 7),  // one is
    NUMBER("\x80\x02K\x07q\x00N0h\x00.", PICKLE_INTEGER, 7),
    NUMBER("\x80\x04K\x07\x94K\x08\x94"
           "0h\x01.",
           PICKLE_INTEGER, 8),
};

START_TEST(reads_numbers) {
    const Number *row = &numbers[_i];
    Diagnostics diagnostics = {0};
    Pickle *pickle = pickle_read(row->pickle, row->size, "number", &diagnostics);
    ck_assert_msg(pickle != NULL, "%s", diagnostics.text ? diagnostics.text : "");
    const PickleValue *root = pickle_root(pickle);
    ck_assert_int_eq(root->kind, row->kind);
    double found = root->kind == PICKLE_FLOAT ? root->number : root->kind == PICKLE_BOOL ? root->boolean : (double)root->integer;
    ck_assert_double_eq(found, row->value);
    pickle_free(pickle);
}
END_TEST

// Of protocol 2 and 4.
static const char *const recorded[] = {"tests/data/torch/remoe_sequential.pkl", "tests/data/torch/remoe_grouped.pkl"};

START_TEST(damaged_pickles_do_no_harm) {
    size_t size;
    char *pickle = shell_read_file(recorded[_i], &size);
    for (size_t i = 0; i < size; i++) {
        Diagnostics diagnostics = {0};
        ck_assert_ptr_null(pickle_read(pickle, i, "truncated", &diagnostics));
        ck_assert_uint_gt(diagnostics.count, 0);
        diagnostics_free(&diagnostics);
        pickle[i] ^= (char)(1 << (i % 8));
        Pickle *read = pickle_read(pickle, size, "damaged", &diagnostics);
        ck_assert(read || diagnostics.count);
        pickle_free(read);
        diagnostics_free(&diagnostics);
        pickle[i] ^= (char)(1 << (i % 8));
    }
    free(pickle);
}
END_TEST

typedef struct Refused {
    const char *pickle;
    size_t size;
    const char *message;
} Refused;

#define REFUSED(text, message) {text, sizeof text - 1, message}
static const Refused refusals[] = {
    REFUSED("", "not a pickle of protocol 2 or later"),
    REFUSED("N.", "not a pickle of protocol 2 or later"),
    REFUSED("\x80\x01N.", "byte 0 of the pickle: protocol 1, expected 2 to 5"),
    REFUSED("\x80\x06N.", "byte 0 of the pickle: protocol 6, expected 2 to 5"),
    REFUSED("\x80\x02", "truncated: it ends without a stop"),
    REFUSED("\x80\x02N", "byte 3 of the pickle: truncated: it ends without a stop"),
    REFUSED("\x80\x02.", "takes a value from the stack"),
    REFUSED("\x80\x02(.", "takes a value from the stack"),
    REFUSED("\x80\x02(2.", "takes a value from the stack"),
    REFUSED("\x80\x02(q\x01.", "takes a value from the stack"),
    REFUSED("\x80\x02I1\n.", "unknown operation 0x49"),
    REFUSED("\x80\x02X\xff\xff\xff\xff.", "truncated: it ends within an operation"),
    REFUSED("\x80\x02\x8e\xff\xff\xff\xff\xff\xff\xff\xff.", "truncated: it ends within an operation"),
    REFUSED("\x80\x02X\xff\xff", "truncated: it ends within an operation"),
    REFUSED("\x80\x02"
            "cmodule\nname",
            "truncated: it ends within an operation"),
    REFUSED("\x80\x04\x95\x09\0\0\0\0\0\0\0N.", "a frame that is longer than the rest"),
    REFUSED("\x80\x02t.", "values up to a mark, and there is none"),
    REFUSED("\x80\x02(N\x86.", "takes a value from the stack"),
    REFUSED("\x80\x02Nr\xff\xff\xff\xff.", "place 4294967295 in the memo of a pickle of 9 bytes"),
    REFUSED("\x80\x02h\x05.", "nothing at place 5 of the memo"),
    REFUSED("\x80\x02NNa.", "adds items to a value that is not a list"),
    REFUSED("\x80\x02]NNs.", "stores under a key of a value that is not a dict"),
    REFUSED("\x80\x02}(Nu.", "a key without a value"),
    REFUSED("\x80\x02N}b.", "gives a state to a value that cannot have one"),
    REFUSED("\x80\x02N)R.", "calls a value that is neither a global nor an object"),
    REFUSED("\x80\x02"
            "ca\nb\nNR.",
            "a call's arguments are not a tuple"),
    REFUSED("\x80\x04NN\x93.", "the name of a global is not a text"),
};

START_TEST(refuses_pickles) {
    const Refused *row = &refusals[_i];
    Diagnostics diagnostics = {0};
    ck_assert_ptr_null(pickle_read(row->pickle, row->size, "x.pt", &diagnostics));
    ck_assert_msg(strstr(diagnostics.text, row->message) != NULL, "wanted: %s\nin: %s", row->message, diagnostics.text);
    ck_assert_ptr_eq(strstr(diagnostics.text, "x.pt: error: "), diagnostics.text);
    diagnostics_free(&diagnostics);
}
END_TEST

// Values, the stack and the memo count, and what is within the limit is read.
START_TEST(memory_is_limited) {
    enum { VALUES = 100000, LIMIT = 1 << 19 };
    static const char *const patterns[] = {"]", "K\x01", "2", "\x94"};
    const char *pattern = patterns[_i];
    size_t length = strlen(pattern), size = 3;
    char *pickle = malloc(size + VALUES * length + 1);
    memcpy(pickle, "\x80\x04N", size);
    for (int i = 0; i < VALUES; i++, size += length) {
        memcpy(pickle + size, pattern, length);
    }
    pickle[size++] = '.';
    Diagnostics diagnostics = {0};
    Pickle *read = pickle_read(pickle, size, "x.pt", &diagnostics);
    ck_assert_msg(read != NULL, "%s", diagnostics.text ? diagnostics.text : "");
    pickle_free(read);
    ck_assert_ptr_null(pickle_read_within(pickle, size, LIMIT, "x.pt", &diagnostics));
    ck_assert_ptr_nonnull(strstr(diagnostics.text, "need more than 524288 bytes of memory"));
    ck_assert_ptr_null(strstr(diagnostics.text, "out of memory"));
    diagnostics_free(&diagnostics);
    free(pickle);
}
END_TEST

Suite *suite_pickle(void) {
    Suite *suite = suite_create("pickle");
    TCase *cases = tcase_create("pickle");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_loop_test(cases, reads_numbers, 0, sizeof numbers / sizeof *numbers);
    tcase_add_loop_test(cases, damaged_pickles_do_no_harm, 0, sizeof recorded / sizeof *recorded);
    tcase_add_loop_test(cases, refuses_pickles, 0, sizeof refusals / sizeof *refusals);
    tcase_add_loop_test(cases, memory_is_limited, 0, 4);
    suite_add_tcase(suite, cases);
    return suite;
}
