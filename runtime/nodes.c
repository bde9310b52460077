// get_mempolicy(2) and mbind(2) by their numbers: glibc has no functions for them, and libnuma would be one more library.
#define _GNU_SOURCE 1
#include "nodes.h"

#include <sys/syscall.h>
#include <unistd.h>

enum { INTERLEAVE = 3, ALLOWED = 4, MASK_WORDS = 16, WORD_BITS = 8 * sizeof(unsigned long) };  // of <linux/mempolicy.h>

int nodes_interleave(void *data, size_t size) {
    unsigned long nodes[MASK_WORDS] = {0}, bits = (unsigned long)MASK_WORDS * WORD_BITS;
    return !syscall(SYS_get_mempolicy, NULL, nodes, bits, NULL, (unsigned long)ALLOWED) &&
           !syscall(SYS_mbind, data, size, INTERLEAVE, nodes, bits, 0UL);
}
