// Fuzzes what a library says of itself: a text that begins with "{" is the description in its section .catena, any other a plan's
// canonical text. The seeds are those of a compiled library.
#define _GNU_SOURCE
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "compiler/library/artifact.h"
#include "compiler/plan/text.h"
#include "compiler/wisdom/origin.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// What is parsed prints as a text that means the same.
static void read_plan(const char *text) {
    Diagnostics diagnostics = {0};
    Plan plan, again;
    if (plan_parse(text, "fuzz", &plan, &diagnostics)) {
        if (!diagnostics.count) {
            abort();
        }
    } else {
        char *printed = plan_print(&plan);
        if (!printed || plan_parse(printed, "fuzz", &again, &diagnostics)) {
            abort();
        }
        char *twice = plan_print(&again);
        if (!twice || strcmp(printed, twice)) {
            abort();
        }
        free(printed);
        free(twice);
    }
    diagnostics_free(&diagnostics);
}

// The smallest ELF file with a section .catena.
typedef struct File {
    Elf64_Ehdr header;
    Elf64_Shdr sections[3];
    char names[24];
} File;

static File make_file(size_t size) {
    static const char names[] = "\0.catena\0.shstrtab";
    File file = {
        .header = {.e_type = ET_DYN,
                   .e_machine = EM_X86_64,
                   .e_version = EV_CURRENT,
                   .e_shoff = offsetof(File, sections),
                   .e_ehsize = sizeof(Elf64_Ehdr),
                   .e_shentsize = sizeof(Elf64_Shdr),
                   .e_shnum = 3,
                   .e_shstrndx = 2},
        .sections = {
            {0},
            {.sh_name = 1, .sh_type = SHT_PROGBITS, .sh_offset = sizeof(File), .sh_size = size, .sh_addralign = 1},
            {.sh_name = 9, .sh_type = SHT_STRTAB, .sh_offset = offsetof(File, names), .sh_size = sizeof names, .sh_addralign = 1}}};
    memcpy(file.header.e_ident, ELFMAG "\2\1\1", SELFMAG + 3);
    memcpy(file.names, names, sizeof names);
    return file;
}

static void print_origins(const Artifact *artifact) {
    FILE *nowhere = fopen("/dev/null", "w");
    for (size_t i = 0; nowhere && i < json_array_size(artifact->origins); i++) {
        wisdom_origin_print(json_array_get(artifact->origins, i), nowhere);
    }
    if (nowhere) {
        fclose(nowhere);
    }
}

static void read_description(const uint8_t *data, size_t size) {
    char path[64];
    File start = make_file(size);
    int file = memfd_create("fuzz", MFD_CLOEXEC);
    if (file < 0 || write(file, &start, sizeof start) != sizeof start || write(file, data, size) != (ssize_t)size) {
        abort();
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    Diagnostics diagnostics = {0};
    Artifact *artifact = artifact_read(path, &diagnostics);
    if (!artifact == !diagnostics.count) {
        abort();
    }
    if (artifact) {
        free(artifact_kinds(artifact));
        print_origins(artifact);
    }
    artifact_free(artifact);
    diagnostics_free(&diagnostics);
    close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size && data[0] == '{') {
        read_description(data, size);
        return 0;
    }
    char *text = strndup((const char *)data, size);
    if (text) {
        read_plan(text);
    }
    free(text);
    return 0;
}
