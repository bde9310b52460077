// Reading torch's zip archives out of memory with libzip (https://libzip.org/documentation/). See archive.h.
#include "archive.h"

#include <stdlib.h>
#include <string.h>
#include <zip.h>

enum { NAME_BYTES = 512, BLOCK_BYTES = 1 << 18 };

// What files begin with that are taken for checkpoints: pickles since protocol 2, which is what torch.save wrote before 1.6.
enum { PICKLE_BEGIN = 0x80 };

struct TorchArchive {
    zip_t *zip;
    const char *file;
    char *name;      // of the archive: what all entries' names begin with
    bool *verified;  // by index
};

static int fail(const TorchArchive *archive, int64_t index, const char *problem, Diagnostics *diagnostics) {
    const char *name = zip_get_name(archive->zip, (zip_uint64_t)index, 0);
    diagnostics_add(diagnostics, archive->file, 0, 0, "entry '%.200s' of the archive: %s", name ? name : "", problem);
    return -1;
}

static zip_t *open_zip(const void *data, size_t size, const char *file, Diagnostics *diagnostics) {
    const uint8_t *bytes = data;
    if (size && bytes[0] == PICKLE_BEGIN) {
        diagnostics_add(
            diagnostics, file, 0, 0,
            "a pickle, as torch.save wrote before PyTorch 1.6, expected its zip archive: load and save it with a later one");
        return NULL;
    }
    if (size < 4 || memcmp(bytes, "PK", 2)) {
        diagnostics_add(diagnostics, file, 0, 0, "not a PyTorch checkpoint: it does not begin as a zip archive");
        return NULL;
    }
    zip_error_t error;
    zip_error_init(&error);
    zip_source_t *source = zip_source_buffer_create(data, size, 0, &error);
    zip_t *zip = source ? zip_open_from_source(source, ZIP_RDONLY | ZIP_CHECKCONS, &error) : NULL;
    if (!zip) {
        diagnostics_add(diagnostics, file, 0, 0, "not a PyTorch checkpoint, or damaged: %s", zip_error_strerror(&error));
        zip_source_free(source);
    }
    zip_error_fini(&error);
    return zip;
}

// The first entry's name up to its first '/', as torch has it.
static char *archive_name(zip_t *zip) {
    const char *first = zip_get_name(zip, 0, 0), *slash = first ? strchr(first, '/') : NULL;
    return slash && slash - first < NAME_BYTES / 2 ? strndup(first, (size_t)(slash - first)) : NULL;
}

// All entries must be stored as they are, and as large as the archive has room for: no archive can then make its reader unpack
// more.
static int check_entries(const TorchArchive *archive, size_t size, Diagnostics *diagnostics) {
    const zip_uint64_t needed =
        ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_CRC | ZIP_STAT_ENCRYPTION_METHOD;
    zip_int64_t entries = zip_get_num_entries(archive->zip, 0);
    for (zip_int64_t i = 0; i < entries; i++) {
        zip_stat_t facts;
        if (zip_stat_index(archive->zip, (zip_uint64_t)i, 0, &facts) || (facts.valid & needed) != needed) {
            return fail(archive, i, "nothing is known of it", diagnostics);
        }
        if (facts.comp_method != ZIP_CM_STORE || facts.encryption_method != ZIP_EM_NONE || facts.comp_size != facts.size) {
            return fail(archive, i, "compressed or encrypted, expected it to be stored, as torch.save does", diagnostics);
        }
        if (facts.size > size) {
            return fail(archive, i, "larger than the archive", diagnostics);
        }
    }
    return 0;
}

TorchArchive *torch_archive_open(const void *data, size_t size, const char *file, Diagnostics *diagnostics) {
    TorchArchive *archive = calloc(1, sizeof *archive);
    if (!archive) {
        diagnostics_add(diagnostics, file, 0, 0, "out of memory");
        return NULL;
    }
    archive->file = file;
    archive->zip = open_zip(data, size, file, diagnostics);
    if (!archive->zip || check_entries(archive, size, diagnostics)) {
        torch_archive_close(archive);
        return NULL;
    }
    zip_int64_t entries = zip_get_num_entries(archive->zip, 0);
    archive->verified = calloc(entries > 0 ? (size_t)entries : 1, sizeof *archive->verified);
    archive->name = archive_name(archive->zip);
    int64_t bytes;
    if (!archive->verified || !archive->name || torch_archive_find(archive, "data.pkl", &bytes) < 0) {
        diagnostics_add(diagnostics, file, 0, 0, "not a PyTorch checkpoint: a zip archive without NAME/data.pkl");
        torch_archive_close(archive);
        return NULL;
    }
    return archive;
}

void torch_archive_close(TorchArchive *archive) {
    if (archive) {
        if (archive->zip) {
            zip_discard(archive->zip);
        }
        free(archive->name);
        free(archive->verified);
        free(archive);
    }
}

int64_t torch_archive_find(const TorchArchive *archive, const char *name, int64_t *bytes) {
    char full[NAME_BYTES];
    zip_stat_t facts;
    int length = snprintf(full, sizeof full, "%s/%s", archive->name, name);
    if (length < 0 || length >= NAME_BYTES) {
        return -1;
    }
    zip_int64_t index = zip_name_locate(archive->zip, full, 0);
    if (index < 0 || zip_stat_index(archive->zip, (zip_uint64_t)index, 0, &facts) || !(facts.valid & ZIP_STAT_SIZE)) {
        return -1;
    }
    *bytes = (int64_t)facts.size;
    return index;
}

// Reads and drops an entry: libzip compares checksums when it has come to the end.
static int verify(TorchArchive *archive, int64_t index, Diagnostics *diagnostics) {
    zip_file_t *file = zip_fopen_index(archive->zip, (zip_uint64_t)index, 0);
    uint8_t *block = malloc(BLOCK_BYTES);
    zip_int64_t got = -1;
    if (file && block) {
        do {
            got = zip_fread(file, block, BLOCK_BYTES);
        } while (got > 0);
    }
    archive->verified[index] = got == 0;
    int result = !got ? 0 : fail(archive, index, file ? zip_file_strerror(file) : zip_strerror(archive->zip), diagnostics);
    if (file) {
        zip_fclose(file);
    }
    free(block);
    return result;
}

int torch_archive_read(TorchArchive *archive, int64_t index, int64_t offset, void *out, int64_t bytes, Diagnostics *diagnostics) {
    zip_stat_t facts;
    if (!bytes) {  // libzip 1.7 crashes when it seeks in an empty entry
        return 0;
    }
    if (zip_stat_index(archive->zip, (zip_uint64_t)index, 0, &facts)) {
        return fail(archive, index, zip_strerror(archive->zip), diagnostics);
    }
    if (!archive->verified[index] && facts.crc && verify(archive, index, diagnostics)) {
        return -1;
    }
    zip_file_t *file = zip_fopen_index(archive->zip, (zip_uint64_t)index, 0);
    if (!file) {
        return fail(archive, index, zip_strerror(archive->zip), diagnostics);
    }
    int result = zip_fseek(file, offset, SEEK_SET);
    for (int64_t done = 0; !result && done < bytes;) {
        zip_int64_t got = zip_fread(file, (uint8_t *)out + done, (zip_uint64_t)(bytes - done));
        result = got > 0 ? 0 : -1;
        done += got;
    }
    if (result) {
        fail(archive, index, "it cannot be read", diagnostics);
    }
    zip_fclose(file);
    return result;
}
