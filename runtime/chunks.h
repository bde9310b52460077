// Tokens of a forward, cut into chunks that the workspace holds; what the chunks say of their routing, put together.
#ifndef CATENA_CHUNKS_H
#define CATENA_CHUNKS_H

#include "instance.h"

// Runs all tokens (at least one) of a checked call through one instance of a kind, whose packed weights these are. Counts the
// tokens with non-finite logits in the library.
void chunks_run(Library *library, const Forward *f, const Extra *extra, int64_t kind, const uint8_t *weights);

#endif
