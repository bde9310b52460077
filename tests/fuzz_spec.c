// Fuzzes the description's parser: any bytes are either a model or diagnostics, never both and never neither.
#include <stdint.h>
#include <stdlib.h>

#include "compiler/description/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Diagnostics diagnostics = {0};
    Model *model = model_read_text((const char *)data, size, "fuzz", &diagnostics);
    if (!model == !diagnostics.count) {
        abort();
    }
    model_free(model);
    diagnostics_free(&diagnostics);
    return 0;
}
