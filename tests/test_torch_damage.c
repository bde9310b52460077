// PyTorch checkpoints that are damaged or meant to do harm are refused with a message: in the archive, the pickle, or its tensors.
#define _GNU_SOURCE 1
#include <stdlib.h>
#include <string.h>

#include "archive.h"
#include "compiler/pytorch/checkpoint.h"
#include "shell.h"
#include "suites.h"

#define DATA "tests/data/torch/"

// All that a reader sees of a checkpoint, as one number; 0: it was refused, then or when a tensor was read.
static uint64_t contents(const void *data, size_t size) {
    Diagnostics diagnostics = {0};
    uint64_t hash = 14695981039346656037u;
    TorchCheckpoint *checkpoint = torch_checkpoint_open_memory(data, size, "damaged", &diagnostics);
    ck_assert(checkpoint || diagnostics.count);
    for (int64_t i = 0; checkpoint && i < torch_checkpoint_count(checkpoint); i++) {
        const TorchTensor *tensor = torch_checkpoint_tensor(checkpoint, i);
        uint8_t *bytes = calloc(1, (size_t)(tensor->bytes <= tensor->entry_bytes ? tensor->bytes : 0) + 1);
        if (strcmp(tensor->name, "expanded")) {
            torch_checkpoint_read(checkpoint, tensor, bytes, &diagnostics);
        }
        for (const char *c = tensor->name; *c; c++) {
            hash = (hash ^ (uint8_t)*c) * 1099511628211u;
        }
        for (int64_t b = 0; b < tensor->bytes && tensor->bytes <= tensor->entry_bytes; b++) {
            hash = (hash ^ bytes[b]) * 1099511628211u;
        }
        free(bytes);
    }
    if (checkpoint) {
        torch_checkpoint_close(checkpoint);
    }
    hash = diagnostics.count ? 0 : hash;
    diagnostics_free(&diagnostics);
    return hash;
}

// Natively every place of a file is damaged. Under sanitizers a case takes so much longer that only every STRIDEth is, another
// residue per test; the fuzzer (fuzz_torch.c) damages them at random.
#ifdef __SANITIZE_ADDRESS__
enum { STRIDE = 13 };
#else
enum { STRIDE = 1 };
#endif

START_TEST(truncated_archives_are_refused) {
    size_t size;
    char *data = shell_read_file(DATA "plain.pt", &size);
    ck_assert(contents(data, size));
    for (size_t length = 0; length < size; length += STRIDE) {
        ck_assert_msg(!contents(data, length), "accepted with %zu of %zu bytes", length, size);
    }
    free(data);
}
END_TEST

// A bit of an archive that is not as it was is noticed, unless it is of no consequence (a date).
START_TEST(damaged_archives_are_refused) {
    size_t size;
    char *data = shell_read_file(DATA "plain.pt", &size);
    uint64_t whole = contents(data, size);
    size_t refused = 0;
    size_t tried = 0;
    for (size_t i = 1 % STRIDE; i < size; i += STRIDE) {
        char bit = (char)(1 << (i % 8));
        data[i] ^= bit;
        uint64_t found = contents(data, size);
        ck_assert_msg(!found || found == whole, "other contents without an error, byte %zu", i);
        refused += !found;
        tried++;
        data[i] ^= bit;
    }
    ck_assert_uint_gt(refused, tried / 4);  // much of this one is padding
    free(data);
}
END_TEST

// The pickle of tiny.pkl and the storages that it refers to, or another pickle with these.
static uint8_t *with_pickle(const void *pickle, size_t size, size_t *archive_size) {
    static const char storage[48];
    const ArchiveEntry entries[] = {{"x/data.pkl", pickle, size, false},
                                    {"x/byteorder", "little", 6, false},
                                    {"x/data/0", storage, sizeof storage, false},
                                    {"x/data/1", storage, sizeof storage, false}};
    return archive_make(entries, sizeof entries / sizeof *entries, archive_size);
}

static uint64_t pickle_contents(const void *pickle, size_t size) {
    size_t archive_size;
    uint8_t *archive = with_pickle(pickle, size, &archive_size);
    uint64_t found = contents(archive, archive_size);
    free(archive);
    return found;
}

START_TEST(damaged_tensors_do_no_harm) {
    size_t size;
    char *pickle = shell_read_file(DATA "tiny.pkl", &size);
    ck_assert(pickle_contents(pickle, size));
    for (size_t length = 3 % STRIDE; length < size; length += STRIDE) {
        ck_assert_msg(!pickle_contents(pickle, length), "accepted with %zu of %zu bytes", length, size);
    }
    for (size_t i = 2 % STRIDE; i < size * 8; i += STRIDE) {
        pickle[i / 8] ^= (char)(1 << (i % 8));
        pickle_contents(pickle, size);
        pickle[i / 8] ^= (char)(1 << (i % 8));
    }
    free(pickle);
}
END_TEST

static void expect_refusal(const void *data, size_t size, const char *message) {
    Diagnostics diagnostics = {0};
    ck_assert_ptr_null(torch_checkpoint_open_memory(data, size, "x.pt", &diagnostics));
    ck_assert_msg(strstr(diagnostics.text, message) != NULL, "wanted: %s\nin: %s", message, diagnostics.text);
    diagnostics_free(&diagnostics);
}

typedef struct Changed {
    const char *old, *new;
    size_t old_size, new_size;
    const char *message;
} Changed;

// What tiny.pkl has, and what a wrong one has instead.
#define CHANGED(old, new, message) {old, new, sizeof old - 1, sizeof new - 1, message}
static const Changed changes[] = {
    CHANGED("K\3K\4\x86", "K\3K\5\x86", "tensor 'a': it reaches beyond its storage"),
    CHANGED("QK\0", "QK\1", "tensor 'a': it reaches beyond its storage"),
    CHANGED("K\4K\1\x86", "K\4\x8a\x8\xff\xff\xff\xff\xff\xff\xff\x7f\x86", "tensor 'a': its size or stride is too large"),
    CHANGED("K\3K\4\x86", "\x8a\x8\xff\xff\xff\xff\xff\xff\xff\x7fK\4\x86", "tensor 'a': its size or stride is too large"),
    CHANGED("K\3K\4\x86", "K\4\x85", "its size and stride are not tuples of the same length"),
    CHANGED("K\3K\4\x86", "K\3J\xff\xff\xff\xff\x86", "a number in its size or stride is not a natural one"),
    CHANGED("QK\0", "QJ\xff\xff\xff\xff", "its offset is not a natural number"),
    CHANGED("K\x0ct", "J\xff\xff\xff\xfft", "the size of its storage is not a natural number"),
    CHANGED("K\x0ct", "K\x0dt", "its storage 'data/0' has 48 bytes, expected 52"),
    CHANGED("X\1\0\0\0"
            "0",
            "K\0", "the key of its storage is not a short text"),
    CHANGED("storage", "storagf", "a tensor without a storage"),
    CHANGED("X\1\0\0\0b", "X\1\0\0\0a", "two tensors are named 'a'"),
};

START_TEST(refuses_tensors) {
    const Changed *row = &changes[_i];
    size_t size;
    char *pickle = shell_read_file(DATA "tiny.pkl", &size), *found = memmem(pickle, size, row->old, row->old_size);
    ck_assert_ptr_nonnull(found);
    char *changed = malloc(size + row->new_size);
    size_t before = (size_t)(found - pickle), after = size - before - row->old_size;
    memcpy(changed, pickle, before);
    memcpy(changed + before, row->new, row->new_size);
    memcpy(changed + before + row->new_size, found + row->old_size, after);
    size_t archive_size;
    uint8_t *archive = with_pickle(changed, before + row->new_size + after, &archive_size);
    expect_refusal(archive, archive_size, row->message);
    free(archive);
    free(changed);
    free(pickle);
}
END_TEST

typedef struct Text {
    char bytes[1024];
    size_t size;
} Text;

static void add(Text *text, const void *bytes, size_t size) {
    memcpy(text->bytes + text->size, bytes, size);
    text->size += size;
}

// 31 collections, each of which holds the one before twice: 2^30 paths in 300 bytes. Dicts under "model", lists among the
// arguments.
START_TEST(refuses_what_multiplies) {
    enum { COLLECTIONS = 31 };
    static const char model[] = "\x80\x02}X\5\0\0\0model(", args[] = "\x80\x02}X\4\0\0\0args}X\1\0\0\0a(";
    bool lists = _i == 1;
    Text text = {.size = 0};
    add(&text, lists ? args : model, lists ? sizeof args - 1 : sizeof model - 1);
    for (char i = 0; i < COLLECTIONS; i++) {
        const char before = i ? (char)(i - 1) : 0;
        const char list[] = {']', 'q', i, '(', 'h', before, 'h', before, 'e'};
        const char dict[] = {'}', 'q', i, '(', 'K', 1, 'h', before, 'K', 2, 'h', before, 'u'};
        add(&text, lists ? list : dict, i ? (lists ? sizeof list : sizeof dict) : 3);
    }
    const char end[] = {'1', 'h', COLLECTIONS - 1, 's', lists ? 's' : '.', '.'};  // all but the last are left to the memo
    add(&text, end, lists ? sizeof end : sizeof end - 1);
    size_t size;
    uint8_t *archive = with_pickle(text.bytes, text.size, &size);
    expect_refusal(archive, size, "contain each other more often");
    free(archive);
}
END_TEST

static void expect_archive_refused(const ArchiveEntry *entries, int count, const char *message) {
    size_t size;
    uint8_t *archive = archive_make(entries, count, &size);
    expect_refusal(archive, size, message);
    free(archive);
}

START_TEST(refuses_files) {
    static const char dict[] = "\x80\x02}.", zeros[4096];
    size_t size;
    char *tiny = shell_read_file(DATA "tiny.pkl", &size);
    Diagnostics diagnostics = {0};
    ck_assert_ptr_null(torch_checkpoint_open("tests/data/none.pt", &diagnostics));
    ck_assert_ptr_nonnull(strstr(diagnostics.text, "No such file"));
    diagnostics_free(&diagnostics);
    expect_archive_refused((ArchiveEntry[]){{"x/data.pkl", "\x80\x02N.", 4, false}}, 1, "what was saved is not a dict");
    static const char circle[] = "\x80\x02}q\0X\5\0\0\0modelh\0s.";
    expect_archive_refused((ArchiveEntry[]){{"x/data.pkl", circle, sizeof circle - 1, false}}, 1, "dicts in dicts deeper than 32");
    expect_refusal("", 0, "not a PyTorch checkpoint");
    expect_refusal("\x80\x02\x8a\nl\xfc\x9c", 7, "as torch.save wrote before PyTorch 1.6");
    expect_refusal("PK\5\6 not an archive", 20, "or damaged");
    expect_archive_refused((ArchiveEntry[]){{"x/model.json", "{}", 2, false}}, 1, "a zip archive without NAME/data.pkl");
    expect_archive_refused((ArchiveEntry[]){{"data.pkl", dict, 4, false}}, 1, "a zip archive without NAME/data.pkl");
    expect_archive_refused((ArchiveEntry[]){{"x/data.pkl", dict, 4, false}, {"x/byteorder", "big", 3, false}}, 2,
                           "its byte order is 'big', expected 'little'");
    expect_archive_refused((ArchiveEntry[]){{"x/data.pkl", dict, 4, false}, {"x/data/0", zeros, sizeof zeros, true}}, 2,
                           "entry 'x/data/0' of the archive: compressed or encrypted");
    expect_archive_refused((ArchiveEntry[]){{"x/data.pkl", tiny, size, false}, {"x/data/1", zeros, 48, false}}, 2,
                           "tensor 'a': the archive has no entry 'data/0'");
    expect_archive_refused(
        (ArchiveEntry[]){{"x/data.pkl", tiny, size, false}, {"x/data/0", zeros, 48, false}, {"x/data/1", zeros, 47, false}}, 3,
        "tensor 'b': its storage 'data/1' has 47 bytes, expected 48");
    free(tiny);
}
END_TEST

Suite *suite_torch_damage(void) {
    Suite *suite = suite_create("torch_damage");
    TCase *cases = tcase_create("torch_damage");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_test(cases, truncated_archives_are_refused);
    tcase_add_test(cases, damaged_archives_are_refused);
    tcase_add_test(cases, damaged_tensors_do_no_harm);
    tcase_add_loop_test(cases, refuses_tensors, 0, sizeof changes / sizeof *changes);
    tcase_add_loop_test(cases, refuses_what_multiplies, 0, 2);
    tcase_add_test(cases, refuses_files);
    suite_add_tcase(suite, cases);
    return suite;
}
