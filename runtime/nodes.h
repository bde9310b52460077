// Memory pages over the NUMA nodes of the machine.
#ifndef CATENA_NODES_H
#define CATENA_NODES_H

#include <stddef.h>

// Asks that the pages of fresh memory come from all nodes that this process may use in turn. A wish: a kernel that forbids it (a
// container's filter) or knows no nodes goes on as before. Returns whether it agreed.
int nodes_interleave(void *data, size_t size);

#endif
