// Sets of names; see features.h.
#include "features.h"

#include <string.h>

const char *features_next(const char **list, size_t *length) {
    const char *name = *list + strspn(*list, " ");
    *length = strcspn(name, " ");
    *list = name + *length;
    return *length ? name : NULL;
}

static bool has(const Features *set, const char *name, size_t length) {
    const char *list = set->names, *other;
    size_t other_length;
    while ((other = features_next(&list, &other_length))) {
        if (other_length == length && !memcmp(other, name, length)) {
            return true;
        }
    }
    return false;
}

bool features_has(const Features *set, const char *name) {
    return has(set, name, strlen(name));
}

static bool add(Features *set, const char *name, size_t length) {
    size_t used = strlen(set->names), gap = used > 0;
    if (has(set, name, length)) {
        return true;
    }
    if (used + gap + length >= sizeof set->names) {
        return false;
    }
    memcpy(set->names + used, " ", gap);
    memcpy(set->names + used + gap, name, length);
    set->names[used + gap + length] = 0;
    return true;
}

bool features_add(Features *set, const char *list) {
    const char *name;
    size_t length;
    bool all = true;
    while ((name = features_next(&list, &length))) {
        all = add(set, name, length) && all;
    }
    return all;
}

Features features_missing(const Features *set, const char *list) {
    Features missing = {""};
    const char *name;
    size_t length;
    while ((name = features_next(&list, &length))) {
        if (!has(set, name, length)) {
            add(&missing, name, length);
        }
    }
    return missing;
}
