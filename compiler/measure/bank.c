// The bank's memory: address space for all instances, pages only where weights are written.
#define _GNU_SOURCE
#include "bank.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime/packed.h"

enum { HUGE_PAGE = 2 << 20, SEED = 20250101 };

static int reserve(Bank *bank, Diagnostics *diagnostics) {
    bank->image_bytes = packed_image_bytes(&bank->kind, 1);
    bank->memory_bytes = bank->image_bytes + HUGE_PAGE;
    bank->memory = bank->image_bytes < 0 ? MAP_FAILED
                                         : mmap(NULL, (size_t)bank->memory_bytes, PROT_READ | PROT_WRITE,
                                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (bank->memory == MAP_FAILED) {
        bank->memory = NULL;
        diagnostics_add(diagnostics, NULL, 0, 0, "out of memory for a bank of %lld instances of %lld bytes", (long long)bank->slots,
                        (long long)bank->kind.plan.layout.instance_bytes);
        return -1;
    }
    madvise(bank->memory, (size_t)bank->memory_bytes, bank->huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    bank->image = bank->memory + (HUGE_PAGE - (uintptr_t)bank->memory % HUGE_PAGE) % HUGE_PAGE;
    return 0;
}

int bank_open(Bank *bank, const Plan *plan, const RoutingSkew *routing, int64_t cold_bytes, bool huge_pages,
              Diagnostics *diagnostics) {
    int64_t wanted = (cold_bytes + plan->layout.instance_bytes - 1) / plan->layout.instance_bytes;
    memset(bank, 0, sizeof *bank);
    bank->slots = wanted > 1 ? wanted : 1;
    bank->huge_pages = huge_pages;
    bank->kind = (Kind){.name = "bank", .count = bank->slots, .plan = *plan};
    if (reserve(bank, diagnostics)) {
        return -1;
    }
    packed_image_begin(&bank->kind, 1, bank->image);
    const uint8_t *first = packed_image_instance(bank->image, 0, 0);
    synthetic_fill(plan, packed_image_instance(bank->image, 0, 0), SEED, routing);
    // Their values do not matter, their addresses do. By all threads: it is the kernel's zeroing of pages that takes time.
    const int64_t piece = HUGE_PAGE, pieces = (plan->layout.instance_bytes + piece - 1) / piece;
#pragma omp parallel for schedule(static)
    for (int64_t i = pieces; i < bank->slots * pieces; i++) {
        int64_t offset = i % pieces * piece, left = plan->layout.instance_bytes - offset;
        memcpy(packed_image_instance(bank->image, 0, i / pieces) + offset, first + offset, (size_t)(left < piece ? left : piece));
    }
    packed_image_seal(bank->image);  // without the weights' checksums, which are not compared
    return 0;
}

int bank_copy(const Bank *from, bool huge_pages, Bank *copy, Diagnostics *diagnostics) {
    *copy = *from;
    copy->huge_pages = huge_pages;
    if (reserve(copy, diagnostics)) {
        return -1;
    }
    const int64_t pieces = (from->image_bytes + HUGE_PAGE - 1) / HUGE_PAGE;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < pieces; i++) {
        int64_t left = from->image_bytes - i * HUGE_PAGE;
        memcpy(copy->image + i * HUGE_PAGE, from->image + i * HUGE_PAGE, (size_t)(left < HUGE_PAGE ? left : HUGE_PAGE));
    }
    return 0;
}

void bank_close(Bank *bank) {
    if (bank->memory) {
        munmap(bank->memory, (size_t)bank->memory_bytes);
    }
    memset(bank, 0, sizeof *bank);
}
