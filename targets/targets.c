// The lists of targets and paths, and which path is legal where.
#include <string.h>

#include "emission.h"

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

const TileShape *target_tile(const Target *target, Path path) {
    const TileShape *own = &target->tiles[path];
    return own->max_rows || !path_facts[path].everywhere ? own : &target->usual;
}

void target_shape_role(const Target *target, Path path, Role *role) {
    const TileShape *shape = target_tile(target, path);
    role->path = path;
    role->max_rows = shape->max_rows;
    role->wide_rows = shape->wide_rows;
    role->tile_columns = shape->tile_columns;
    role->unroll = shape->unroll;
    role->prefetch = shape->prefetch;
    role->prefetch_far = shape->prefetch_far;
    role->prefetch_hint = shape->prefetch_hint;
    role->ahead_hint = 2;
    role->k_blocks = 1;
}

const PathEmitter *path_emitter(Path path) {
#define PATH_ROW(enumerator, symbol, ...) &path_##symbol,
    static const PathEmitter *const emitters[] = {PATH_LIST(PATH_ROW)};
    return emitters[path];
}

const char *path_name(Path path) {
    return path_facts[path].name;
}

Path path_find(const char *name) {
    int path = 0;
    while (path < PATH_COUNT && strcmp(path_name((Path)path), name)) {
        path++;
    }
    return (Path)path;
}

Path path_peak(Path path) {
    const PathEmitter *emitter = path_emitter(path);
    return emitter->operation || emitter->peak ? path : PATH_FP32_FMA;
}

const char *path_features(const Target *target, Path path) {
    return target->needs[path].features ? target->needs[path].features : "";
}

const char *path_requires(const Target *target, Path path) {
    return target->needs[path].requires ? target->needs[path].requires : "";
}

const char *path_rejection(const Target *target, Path path, Format weights, Compute compute) {
    const PathFacts *facts = &path_facts[path];
    if (facts->weights != weights) {
        return "reads another weight format";
    }
    if (!target_tile(target, path)->max_rows) {
        return "the target has no such instruction";
    }
    if (!(facts->classes >> compute & 1)) {
        return "rounds activations to bf16, which compute class fp32 forbids";
    }
    return NULL;
}
