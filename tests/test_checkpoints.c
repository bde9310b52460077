// Checkpoints as people have them: an index, shards with and without one, parts of them, and files of other kinds.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "available.h"
#include "compiler/commands/command.h"
#include "runtime/safetensors.h"
#include "shell.h"
#include "suites.h"

#define NAMED(number) "model-0000" #number "-of-00003.safetensors"

// A file of one tensor of two numbers.
static void write_shard(const char *name, const char *tensor) {
    char path[SHELL_PATH_BYTES], file[512], *header = file + 8;
    snprintf(path, sizeof path, "$D/%s", name);
    uint64_t length =
        (uint64_t)snprintf(header, sizeof file - 8, "{\"%s\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", tensor);
    memcpy(file, &length, 8);
    memset(header + length, 0, 8);
    shell_write_file(path, file, 8 + length + 8);
}

static void write_index(const char *text) {
    shell_write_file("$D/model.safetensors.index.json", text, strlen(text));
}

// Opens the test's folder, or a file of it, and asks for a tensor. "" if it is there, or else what is said.
static const char *ask(const char *name, const char *tensor) {
    static char error[1024];
    char path[SHELL_PATH_BYTES * 2];
    Safetensors *tensors = NULL;
    const SafetensorsEntry *entry;
    const Failure failure = {error, sizeof error};
    *error = 0;
    snprintf(path, sizeof path, "%s/%s", shell_folder(), name);
    if (safetensors_open(path, &tensors, &failure) == LIBRARY_OK) {
        if (safetensors_need(tensors, tensor, "down of layer 'moe.0'", "", &entry, &failure) == LIBRARY_OK) {
            ck_assert_str_eq(entry->name, tensor);
            ck_assert_int_eq(entry->bytes, 8);
        }
    }
    ck_assert_msg(!strstr(error, "//"), "%s", error);
    safetensors_close(tensors);
    return error;
}

static void expect(const char *found, const char *words) {
    ck_assert_msg(*words ? strstr(found, words) != NULL : !*found, "'%s' has no '%s'", found, words);
}

// --- an index ----------------------------------------------------------------------------------------------------------------

START_TEST(follows_an_index) {
    static const struct {
        const char *index, *tensor, *words;
    } rows[] = {
        {"{\"metadata\":{},\"weight_map\":{\"x\":\"1.safetensors\",\"y\":\"2.safetensors\"}}", "y", ""},
        // what nobody asks for does not matter
        {"{\"weight_map\":{\"x\":\"1.safetensors\",\"mtp\":\"1.safetensors\",\"w\":\"../w\",\"v\":1,\"u\":\"9.safetensors\"}}", "x",
         ""},
        {"{\"weight_map\":{\"x\":\"1.safetensors\",\"mtp\":\"1.safetensors\"}}", "mtp",
         "tensor 'mtp' (down of layer 'moe.0') is not in '1.safetensors', where the index places it"},
        {"{\"weight_map\":{\"x\":\"1.safetensors\",\"u\":\"9.safetensors\"}}", "u",
         "tensor 'u' (down of layer 'moe.0') is in '9.safetensors' by the index, but that file is not there: download it"},
        {"{\"weight_map\":{\"x\":\"1.safetensors\",\"u\":\"page.safetensors\"}}", "u",
         "is in 'page.safetensors' by the index, which cannot be read: "},
        {"{\"weight_map\":{\"x\":\"1.safetensors\",\"u\":\"page.safetensors\"}}", "u", "page.safetensors: a page in HTML or XML"},
        {"{\"weight_map\":{\"x\":\"1.safetensors\",\"u\":\"9.safetensors\"}}", "v",
         "tensor 'v' (down of layer 'moe.0') is not in the shards that are there; absent is '9.safetensors': download it"},
        {"{\"weight_map\":{\"x\":\"1.safetensors\"}}", "v", "tensor 'v' (down of layer 'moe.0') is not in the checkpoint"},
        // the index is wrong, but the tensor is there
        {"{\"weight_map\":{\"x\":\"2.safetensors\",\"y\":\"1.safetensors\"}}", "x", ""},
        {"{\"weight_map\":{\"x\":\"1.safetensors\",\"y\":\"../2.safetensors\",\"z\":\"2.safetensors\"}}", "y", ""},
        // nothing outside of the folder is read
        {"{\"weight_map\":{\"x\":\"../1.safetensors\"}}", "x",
         "'x' (the index's first): the index places it in '../1.safetensors', which"},
        {"{\"weight_map\":{\"y\":\"2.safetensors\",\"x\":\"/etc/passwd\"}}", "x",
         "'/etc/passwd', which is not a file name in the same"},
        {"{\"weight_map\":{\"y\":\"2.safetensors\",\"x\":\"..\"}}", "x", "'..', which is not a file name in the same directory"},
        {"{\"weight_map\":{\"y\":\"2.safetensors\",\"x\":\"\"}}", "x", "'', which is not a file name in the same directory"},
        {"{\"weight_map\":{\"y\":\"2.safetensors\",\"x\":1}}", "x",
         "\"weight_map\" must hold the name of a file in the same directory, found a number"},
        // nothing at all
        {"{\"weight_map\":{\"x\":\"3.safetensors\"}}", "x", "index.json: none of its files can be read: cannot open '"},
        {"{\"weight_map\":{}}", "x", "index.json: none of its files can be read: it names none"},
        {"{}", "x", "no object \"weight_map\"; without the index the shards are found by their headers, so remove it"},
        {"{", "x", "index.json:1:"},
    };
    write_shard("1.safetensors", "x");
    write_shard("2.safetensors", "y");
    shell_write_file("$D/page.safetensors", "<!DOCTYPE html><html>", 21);
    write_index(rows[_i].index);
    expect(ask("", rows[_i].tensor), rows[_i].words);
    expect(ask("model.safetensors.index.json", rows[_i].tensor), rows[_i].words);
}
END_TEST
enum { INDEX_ROWS = 19 };

// The index decides between two tensors of one name; one that names a part of the shards hides none of them.
START_TEST(an_index_chooses) {
    write_shard(NAMED(1), "x");
    write_shard(NAMED(2), "x");
    write_shard(NAMED(3), "y");
    expect(ask("", "x"), NAMED(1) ": tensor 'x' (down of layer 'moe.0') is also in '" NAMED(2) "', and no index says which counts");
    expect(ask("", "y"), "");
    write_index("{\"weight_map\":{\"x\":\"" NAMED(2) "\"}}");
    Safetensors *tensors = NULL;
    ck_assert_int_eq(safetensors_open(shell_folder(), &tensors, NULL), LIBRARY_OK);
    ck_assert_int_eq(safetensors_count(tensors), 2);
    ck_assert_ptr_nonnull(strstr(safetensors_find(tensors, "x")->file, NAMED(2)));
    safetensors_close(tensors);
    expect(ask("", "x"), "");
    expect(ask("", "y"), "");  // of the same set
}
END_TEST

// An index that was left when its shards were united, and one whose shards are there: the one file counts.
START_TEST(one_file_beside_an_old_index) {
    write_index("{\"weight_map\":{\"x\":\"" NAMED(1) "\"}}");
    write_shard("model.safetensors", "x");
    expect(ask("", "x"), "");
    write_shard(NAMED(1), "y");
    write_index("{\"weight_map\":{\"y\":\"" NAMED(1) "\"}}");
    expect(ask("", "x"), "");
    expect(ask("", "y"), "is not in the checkpoint");
}
END_TEST

// --- no index ----------------------------------------------------------------------------------------------------------------

START_TEST(reads_shards_by_their_headers) {
    write_shard(NAMED(1), "x");
    write_shard(NAMED(3), "z");
    expect(ask("", "x"), "");
    expect(ask("///", "z"), "");
    expect(ask("", "y"), "is not in the shards that are there; absent is '" NAMED(2) "': download it");
    write_shard(NAMED(2), "y");
    expect(ask("", "y"), "");
    expect(ask("", "w"), "tensor 'w' (down of layer 'moe.0') is not in the checkpoint");
    shell_write_file("$D/" NAMED(2), "version https://git-lfs.github.com/spec/v1\n", 43);
    expect(ask("", "z"), "");
    expect(ask("", "y"), "is not in the shards that can be read, and one cannot: ");
    expect(ask("", "y"), NAMED(2) ": a pointer of Git LFS, not weights: run 'git lfs pull'");
    write_shard(NAMED(2), "y");
    shell_expect(0, "", "rm $D/" NAMED(1));
    expect(ask("", "x"), "absent is '" NAMED(1) "'");
    expect(ask(NAMED(3), "y"), "is not in the checkpoint, of which this file is one shard: name the folder instead");
    // counted from 0
    shell_expect(0, "", "rm $D/*");
    write_shard("part-0-of-2.safetensors", "x");
    expect(ask("", "y"), "absent is 'part-1-of-2.safetensors'");
    write_shard("part-1-of-2.safetensors", "y");
    expect(ask("", "z"), "is not in the checkpoint");
}
END_TEST

START_TEST(takes_no_set_in_silence) {
    write_shard("a-1-of-1.safetensors", "x");
    write_shard("b-1-of-1.safetensors", "x");
    expect(ask("", "x"), "several sets of shards, such as those of 'a-1-of-1.safetensors' and 'b-1-of-1.safetensors'");
    write_shard("model-1-of-1.safetensors", "x");  // the usual name
    expect(ask("", "x"), "");
    write_shard("model-1-of-2.safetensors", "x");
    expect(ask("", "x"), "holds several sets of shards");
    write_shard("model.safetensors", "x");
    expect(ask("", "x"), "");
}
END_TEST

START_TEST(names_what_a_folder_has) {
    expect(ask("", "x"), "' holds neither model.safetensors nor model.safetensors.index.json nor shards of one");
    shell_write_file("$D/pytorch_model.bin", "PK\3\4", 4);
    expect(ask("", "x"), "; it has 'pytorch_model.bin', which is not safetensors: save the model as safetensors first");
    write_shard("adapter.safetensors", "x");
    expect(ask("", "x"), "; it has 'adapter.safetensors': to use it, name the file itself");
}
END_TEST

// --- other kinds of files ----------------------------------------------------------------------------------------------------

#define FILE_ROW(text, words) {text, sizeof text - 1, words}
static const struct {
    const char *bytes;
    size_t size;
    const char *words;
} kinds[] = {
    FILE_ROW("", "an empty file: download it again"),
    FILE_ROW("x", "a text, not weights"),
    FILE_ROW("\1\2", "not a safetensors file (2 bytes)"),
    FILE_ROW("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 4976698672\n",
             "a pointer of Git LFS, not weights: run 'git lfs pull'"),
    FILE_ROW("<!DOCTYPE html>\n<html>", "a page in HTML or XML, not weights"),
    FILE_ROW("\n <html class=\"\">", "a page in HTML or XML, not weights"),
    FILE_ROW("{\"error\":\"Repository not found\"}", "a text in JSON, not weights"),
    FILE_ROW("Entry not found", "a text, not weights: it may say why"),
    FILE_ROW("PK\3\4\0\0\10\10\0\0\0\0\0\0", "a zip archive, as torch.save writes it, not safetensors"),
    FILE_ROW("\x80\2\x8a\nl\xfc\x9c\x46\xf9", "a pickle, as torch.save writes it, not safetensors"),
    FILE_ROW("\x80\4\x95\0\0\0\0\0\0\0", "a pickle, not safetensors"),
    FILE_ROW("GGUF\3\0\0\0\1\0\0\0", "a file of llama.cpp (GGUF), not safetensors"),
    FILE_ROW("\x1f\x8b\10\0\0\0\0\0\0\3xxx", "compressed by gzip, not safetensors: decompress it"),
    FILE_ROW("\x28\xb5\x2f\xfdxxxxxxxx", "compressed by zstd"),
    FILE_ROW("\0\0\0\0\0\0\0\0\0\0\0", "zeros where safetensors begin: the download was not finished"),
    FILE_ROW("\2\0\0\0\0\0\0\0[]", "the header is not a JSON object"),
    FILE_ROW("\x40\0\0\0\0\0\0\0{\"x\":", "truncated: the header alone has 64 bytes, but the file has only 13: download it again"),
    FILE_ROW("\x40\0\0\0\0\0\0\0", "not a safetensors file, or truncated (header of 64 bytes, the file has 8)"),
};
enum { KINDS = sizeof kinds / sizeof *kinds };

START_TEST(knows_other_files) {
    shell_write_file("$D/model.safetensors", kinds[_i].bytes, kinds[_i].size);
    const char *found = ask("", "x");
    expect(found, "/model.safetensors: ");
    expect(found, kinds[_i].words);
}
END_TEST

// --- as commands meet them ---------------------------------------------------------------------------------------------------

#define IMPORT "$CATENA import $D/m"

// The golden model's one file as two shards, by the reader's own format: the header's rows are dealt out, the data is in both.
START_TEST(imports_without_an_index) {
    if (!available_program("python3")) {
        return;
    }
    static const char script[] =
        "import json, os, struct, sys\n"
        "folder, names = sys.argv[1], sys.argv[2:]\n"
        "data = open(folder + '/model.safetensors', 'rb').read()\n"
        "length = struct.unpack('<Q', data[:8])[0]\n"
        "header = {k: v for k, v in json.loads(data[8:8 + length]).items() if k != '__metadata__'}\n"
        "for i, name in enumerate(names):\n"
        "    part = json.dumps(dict(list(header.items())[i::len(names)])).encode()\n"
        "    open(folder + '/' + name, 'wb').write(struct.pack('<Q', len(part)) + part + data[8 + length:])\n"
        "os.remove(folder + '/model.safetensors')\n";
    shell_write_file("$D/split.py", script, sizeof script - 1);
    shell_expect(0, "", "cp -r tests/golden/mixtral $D/m && python3 $D/split.py $D/m " NAMED(1) " " NAMED(2) " " NAMED(3));
    shell_expect(EXIT_OK, "every tensor is there, in the right shape", IMPORT " --dry-run");
    shell_expect(EXIT_FAILED, "is not in the shards that are there; absent is '" NAMED(2) "': download it",
                 "mv $D/m/" NAMED(2) " $D/kept; " IMPORT);
    shell_expect(EXIT_FAILED, "/m: tensor 'model.layers.", IMPORT "///");
    shell_expect(0, "0\n", IMPORT "// 2>&1 | grep -c // || true");
}
END_TEST

START_TEST(says_that_an_index_does_not_count) {
    shell_expect(0, "", "cp -r tests/golden/mixtral $D/m");
    shell_expect(0, "0\n", IMPORT " --dry-run 2>&1 | grep -c counts || true");
    shell_expect(EXIT_OK,
                 "there are model.safetensors and model.safetensors.index.json: model.safetensors counts, as in transformers",
                 "echo '{}' >$D/m/model.safetensors.index.json; " IMPORT " --dry-run");
}
END_TEST

START_TEST(imports_without_tensors) {
    shell_expect(0, "", "mkdir $D/m && cp tests/golden/mixtral/config.json $D/m && echo >$D/m/pytorch_model.bin");
    shell_expect(EXIT_OK, "it has 'pytorch_model.bin', which is not safetensors", IMPORT);
    shell_expect(EXIT_OK, "no checkpoint beside the configuration: tensors were not checked", IMPORT);
    shell_expect(EXIT_FAILED, "/m/model.safetensors: a text, not weights", "echo refused >$D/m/model.safetensors; " IMPORT "//");
}
END_TEST

Suite *suite_checkpoints(void) {
    Suite *suite = suite_create("checkpoints");
    TCase *cases = tcase_create("files");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_checked_fixture(cases, shell_begin, shell_end);
    tcase_add_loop_test(cases, follows_an_index, 0, INDEX_ROWS);
    tcase_add_test(cases, an_index_chooses);
    tcase_add_test(cases, one_file_beside_an_old_index);
    tcase_add_test(cases, reads_shards_by_their_headers);
    tcase_add_test(cases, takes_no_set_in_silence);
    tcase_add_test(cases, names_what_a_folder_has);
    tcase_add_loop_test(cases, knows_other_files, 0, KINDS);
    tcase_add_test(cases, imports_without_an_index);
    tcase_add_test(cases, says_that_an_index_does_not_count);
    tcase_add_test(cases, imports_without_tensors);
    suite_add_tcase(suite, cases);
    return suite;
}
