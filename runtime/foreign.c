// Kinds of files by their first bytes. Texts come last, because several kinds begin with letters.
#include "foreign.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "packed.h"

#define CONVERT ", not safetensors: load it with torch.load and write it with save_file of the package safetensors"
#define DECOMPRESS ", not safetensors: decompress it"

static const struct {
    const char *begin;
    size_t length;
    const char *words;
} kinds[] = {
    {"version https://git-lfs.github.com/", 35, "a pointer of Git LFS, not weights: run 'git lfs pull'"},
    {"PK\3\4", 4, "a zip archive, as torch.save writes it" CONVERT},
    {"\x80\2", 2, "a pickle, as torch.save writes it" CONVERT},
    {"\x80\3", 2, "a pickle" CONVERT},
    {"\x80\4", 2, "a pickle" CONVERT},
    {"\x80\5", 2, "a pickle" CONVERT},
    {"GGUF", 4, "a file of llama.cpp (GGUF), not safetensors: take the checkpoint that it was made from"},
    {"\x1f\x8b", 2, "compressed by gzip" DECOMPRESS},
    {"\x28\xb5\x2f\xfd", 4, "compressed by zstd" DECOMPRESS},
    {"\xfd"
     "7zXZ",
     5, "compressed by xz" DECOMPRESS},
    {"BZh", 3, "compressed by bzip2" DECOMPRESS},
    {"\x89HDF", 4, "a file of HDF5, not safetensors"},
    {"\x93NUMPY", 6, "an array of NumPy, not safetensors"},
    {"\x7f"
     "ELF",
     4, "a program or a library, not weights"},
    {PACKED_MAGIC, sizeof PACKED_MAGIC - 1, "weights that catena has packed, not safetensors"},
    {"\0\0\0\0\0\0\0\0", 8, "zeros where safetensors begin: the download was not finished, so download it again"},
};

static const char page[] =
    "a page in HTML or XML, not weights: a download that was refused leaves one (is a login or an access token needed?)";

// In ASCII, whatever the locale of the process is.
static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_printed(char c) {
    return c >= ' ' && c <= '~';
}

static const char *text_kind(const char *text, size_t size) {
    enum { ENOUGH = 16 };
    size_t first = 0;
    while (first < size && is_space(text[first])) {
        first++;
    }
    if (size - first > 1 && text[first] == '<' && (is_letter(text[first + 1]) || strchr("!?", text[first + 1]))) {
        return page;
    }
    for (size_t i = 0; i < size && i < ENOUGH; i++) {
        if (!is_printed(text[i]) && !is_space(text[i])) {
            return NULL;
        }
    }
    return first < size && strchr("{[", text[first]) ? "a text in JSON, not weights"
                                                     : "a text, not weights: it may say why a download was refused";
}

const char *foreign_kind(const void *data, size_t size) {
    if (!size) {
        return "an empty file: download it again";
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (size >= kinds[i].length && !memcmp(data, kinds[i].begin, kinds[i].length)) {
            return kinds[i].words;
        }
    }
    return text_kind(data, size);
}
