// Detection of CPU features: cpuid and xgetbv (Intel SDM vol. 1, 13.3 and vol. 2, CPUID), or the auxiliary vector on aarch64.
//
// Tile registers (AMX) need more: Linux lets a process use them only after it has asked (Documentation/arch/x86/xstate.rst), so
// looking for these features asks. Permission holds for all threads, those that exist included, and for children of fork. It is
// refused where a thread has an alternative signal stack too small for 8 KiB more of state. cpuid's leaf 0x1d, which describes
// the palettes, is not asked: hypervisors hide it on CPUs that have AMX (Firecracker does; oneDNN then loads palette 0, and dies of
// SIGILL at its first tilezero). That the tile data takes 8192 bytes (leaf 0xd) says the same as palette 1: 8 tiles of 1 KiB.
#include "cpu.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "features.h"

typedef struct Feature {
    const char *name;
    uint32_t leaf, subleaf;  // x86: cpuid; aarch64: leaf is the auxiliary vector's entry
    int reg;  // x86: 0..3 for eax, ebx, ecx, edx
    int bit;
    uint32_t state;  // x86: bits of XCR0 that the system must have set
} Feature;

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { STATE_NONE = 0, STATE_AVX = 0x6, STATE_AVX512 = 0xe6, STATE_AMX = 0x60000 };
enum { EAX, EBX, ECX, EDX };

static const Feature features_known[] = {
    {"sse2", 1, 0, EDX, 26, STATE_NONE},         {"fma", 1, 0, ECX, 12, STATE_AVX},
    {"avx2", 7, 0, EBX, 5, STATE_AVX},           {"bmi", 7, 0, EBX, 3, STATE_NONE},
    {"bmi2", 7, 0, EBX, 8, STATE_NONE},          {"avx512f", 7, 0, EBX, 16, STATE_AVX512},
    {"avx512dq", 7, 0, EBX, 17, STATE_AVX512},   {"avx512cd", 7, 0, EBX, 28, STATE_AVX512},
    {"avx512bw", 7, 0, EBX, 30, STATE_AVX512},   {"avx512vl", 7, 0, EBX, 31, STATE_AVX512},
    {"avx512vbmi", 7, 0, ECX, 1, STATE_AVX512},  {"avx512vbmi2", 7, 0, ECX, 6, STATE_AVX512},
    {"avx512vnni", 7, 0, ECX, 11, STATE_AVX512}, {"avx512fp16", 7, 0, EDX, 23, STATE_AVX512},
    {"avx512bf16", 7, 1, EAX, 5, STATE_AVX512},  {"avx_vnni", 7, 1, EAX, 4, STATE_AVX},
    {"amx_bf16", 7, 0, EDX, 22, STATE_AMX},      {"amx_tile", 7, 0, EDX, 24, STATE_AMX},
    {"amx_int8", 7, 0, EDX, 25, STATE_AMX},      {"f16c", 1, 0, ECX, 29, STATE_AVX},
};

// XCR0: the register state that the operating system saves; 0 if it offers no xgetbv.
static uint32_t enabled_state(void) {
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx >> 27 & 1)) {
        return 0;
    }
    __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
    return eax;
}

static bool tiles_permitted(void) {
    enum { ARCH_GET_XCOMP_PERM = 0x1022, ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18, PALETTE_1_BYTES = 8192 };
    unsigned bytes = 0, ebx, ecx, edx;
    uint64_t permitted = 0;
    if (!__get_cpuid_count(0xd, XFEATURE_XTILEDATA, &bytes, &ebx, &ecx, &edx) || bytes != PALETTE_1_BYTES) {
        return false;
    }
    syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA);
    return !syscall(SYS_arch_prctl, ARCH_GET_XCOMP_PERM, &permitted) && (permitted >> XFEATURE_XTILEDATA & 1);
}

static bool feature_present(const Feature *feature) {
    unsigned registers[4] = {0};
    if (!__get_cpuid_count(feature->leaf, feature->subleaf, &registers[0], &registers[1], &registers[2], &registers[3])) {
        return false;
    }
    return (registers[feature->reg] >> feature->bit & 1) && (enabled_state() & feature->state) == feature->state &&
           (feature->state != STATE_AMX || tiles_permitted());
}

#elif defined(__aarch64__)
#include <sys/auxv.h>

// Bits of arch/arm64/include/uapi/asm/hwcap.h
static const Feature features_known[] = {
    {"neon", AT_HWCAP, 0, 0, 1, 0},   {"fp16", AT_HWCAP, 0, 0, 10, 0}, {"dotprod", AT_HWCAP, 0, 0, 20, 0},
    {"sve", AT_HWCAP, 0, 0, 22, 0},   {"sve2", AT_HWCAP2, 0, 0, 1, 0}, {"i8mm", AT_HWCAP2, 0, 0, 13, 0},
    {"bf16", AT_HWCAP2, 0, 0, 14, 0}, {"sme", AT_HWCAP2, 0, 0, 23, 0},
};

static bool feature_present(const Feature *feature) {
    return getauxval(feature->leaf) >> feature->bit & 1;
}
#endif

static int has(const char *name, size_t length) {
    for (size_t i = 0; i < sizeof features_known / sizeof *features_known; i++) {
        if (strlen(features_known[i].name) == length && !memcmp(features_known[i].name, name, length)) {
            return feature_present(&features_known[i]);
        }
    }
    return -1;
}

const char *cpu_feature_name(int index) {
    return index < (int)(sizeof features_known / sizeof *features_known) ? features_known[index].name : NULL;
}

int cpu_has(const char *feature) {
    return has(feature, strlen(feature));
}

bool cpu_missing(const char *features, char *missing, size_t size) {
    bool any = false;
    size_t used = 0, length;
    const char *name;
    missing[0] = 0;
    while ((name = features_next(&features, &length))) {
        if (has(name, length) != 1) {
            if (used < size) {
                used += (size_t)snprintf(missing + used, size - used, "%s%.*s", any ? ", " : "", (int)length, name);
            }
            any = true;
        }
    }
    return any;
}
