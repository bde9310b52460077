// See prefetch_trace.h. With the trap flag set the processor raises SIGTRAP after every instruction (Intel SDM vol. 3, 18.3.1.4).
#define _GNU_SOURCE
#include "prefetch_trace.h"

#include <signal.h>
#include <stdlib.h>
#include <ucontext.h>

int prefetch_compare(const void *a, const void *b) {
    const Prefetch *left = a, *right = b;
    if (left->level != right->level) {
        return left->level < right->level ? -1 : 1;
    }
    return (left->address > right->address) - (left->address < right->address);
}

#if defined(__x86_64__)

static Prefetch *kept;
static size_t kept_room, kept_count;

// The number of a register in an instruction is its place here.
static const int registers[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                  REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

// [REX] 0f 18 ModRM [SIB] [displacement]: Intel SDM vol. 2, 2.1.5 and PREFETCHh.
static void look_at(const uint8_t *code, const greg_t *values) {
    unsigned rex = (*code & 0xf0) == 0x40 ? *code++ : 0;
    if (code[0] != 0x0f || code[1] != 0x18 || code[2] >= 0xc0) {
        return;
    }
    unsigned mode = code[2] >> 6, level = code[2] >> 3 & 7, base = code[2] & 7;
    const uint8_t *rest = code + 3;
    uintptr_t address = 0;
    if (base == 4) {
        unsigned sib = *rest++, index = (sib >> 3 & 7) | (rex & 2) << 2;
        base = sib & 7;
        address = index == 4 ? 0 : (uintptr_t)values[registers[index]] << (sib >> 6);
    } else if (mode == 0 && base == 5) {
        return;  // relative to the instruction pointer: no tile's
    }
    address += mode == 0 && base == 5 ? 0 : (uintptr_t)values[registers[base | (rex & 1) << 3]];
    if (mode == 1) {
        address += (uintptr_t)(intptr_t)(int8_t)*rest;
    } else if (mode == 2 || base == 5) {  // 32 bits, in mode 0 in the place of the base
        int32_t displacement;
        __builtin_memcpy(&displacement, rest, sizeof displacement);
        address += (uintptr_t)(intptr_t)displacement;
    }
    if (kept_count < kept_room) {
        kept[kept_count] = (Prefetch){(int)level, address};
    }
    kept_count++;
}

static void on_trap(int signal, siginfo_t *information, void *context) {
    (void)signal, (void)information;
    const ucontext_t *state = context;
    look_at((const uint8_t *)state->uc_mcontext.gregs[REG_RIP], state->uc_mcontext.gregs);
}

long prefetch_trace(void (*run)(void *context), void *context, Prefetch *out, size_t room) {
    struct sigaction trap = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO}, before;
    kept = out, kept_room = room, kept_count = 0;
    sigaction(SIGTRAP, &trap, &before);
    // Below the red zone; lea leaves the flags alone.
    __asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; orq $0x100, (%%rsp); popfq; lea 128(%%rsp), %%rsp" : : : "cc", "memory");
    run(context);
    __asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; andq $-257, (%%rsp); popfq; lea 128(%%rsp), %%rsp" : : : "cc", "memory");
    sigaction(SIGTRAP, &before, NULL);
    qsort(out, kept_count < room ? kept_count : room, sizeof *out, prefetch_compare);
    return (long)kept_count;
}

#else

long prefetch_trace(void (*run)(void *context), void *context, Prefetch *out, size_t room) {
    (void)run, (void)context, (void)out, (void)room;
    return -1;
}

#endif
