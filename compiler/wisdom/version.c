// Whose measurements are trusted: those of the code generator and the LLVM that this program has.
#include <llvm/Config/llvm-config.h>

#include <string.h>

#include "parts.h"

#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)

const char *wisdom_generator(void) {
    return CATENA_VERSION;
}

// libLLVM's name on the disk has both numbers, so what was compiled against is what runs.
const char *wisdom_llvm(void) {
    return TEXT(LLVM_VERSION_MAJOR) "." TEXT(LLVM_VERSION_MINOR);
}

bool wisdom_entry_trusted(const json_t *entry) {
    const json_t *key = json_object_get(entry, "key");
    return !strcmp(json_string_value(json_object_get(key, "generator")), wisdom_generator()) &&
           !strcmp(json_string_value(json_object_get(key, "llvm")), wisdom_llvm());
}
