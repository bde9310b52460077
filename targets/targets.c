// The lists of targets and paths, and which path is legal where.
#include <string.h>

#include "target.h"

#define TARGET_ROW(name) &target_##name,
const Target *const targets[] = {TARGET_LIST(TARGET_ROW) NULL};

const Target *target_find(const char *name) {
    for (int i = 0; targets[i]; i++) {
        if (!strcmp(targets[i]->name, name)) {
            return targets[i];
        }
    }
    return NULL;
}

const PathEmitter *path_emitter(Path path) {
    static const PathEmitter *const emitters[PATH_COUNT] = {
        [PATH_FP32_FMA] = &path_fp32_fma,
        [PATH_BF16_WIDENED] = &path_bf16_widened,
        [PATH_BF16_DOT] = &path_bf16_dot,
    };
    return emitters[path];
}

const char *path_rejection(const Target *target, Path path, Format weights, Compute compute) {
    const PathEmitter *emitter = path_emitter(path);
    if (emitter->weights != weights) {
        return "reads another weight format";
    }
    if (path == PATH_BF16_DOT && !target->dot_intrinsic) {
        return "the target has no bf16 dot product";
    }
    if (!emitter->compute[compute]) {
        return "rounds activations to bf16, which compute class fp32 forbids";
    }
    return NULL;
}
