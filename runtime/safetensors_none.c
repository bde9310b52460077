// safetensors.h where there is no JSON parser: opening a checkpoint is an error that says what to do.
#include "safetensors.h"

#if !RUNTIME_SAFETENSORS
static Status refuse(const char *name, Safetensors **out, const Failure *failure) {
    *out = NULL;
    return failure_set(failure, LIBRARY_BAD_WEIGHTS,
                       "%s: this library reads packed weights only; pack the checkpoint with 'catena pack' on an x86-64 machine",
                       name);
}

Status safetensors_open(const char *path, Safetensors **out, const Failure *failure) {
    return refuse(path, out, failure);
}

Status safetensors_open_memory(const void *data, size_t size, const char *name, Safetensors **out, const Failure *failure) {
    (void)data;
    (void)size;
    return refuse(name, out, failure);
}

void safetensors_close(Safetensors *tensors) {
    (void)tensors;
}

Status safetensors_need(const Safetensors *tensors, const char *name, const char *use, const char *note,
                        const SafetensorsEntry **entry, const Failure *failure) {
    (void)use;
    (void)note;
    (void)failure;
    *entry = safetensors_find(tensors, name);
    return LIBRARY_BAD_WEIGHTS;
}

const SafetensorsEntry *safetensors_find(const Safetensors *tensors, const char *name) {
    (void)tensors;
    (void)name;
    return NULL;
}

uint64_t safetensors_fingerprint(const Safetensors *tensors) {
    (void)tensors;
    return 0;
}

int64_t safetensors_count(const Safetensors *tensors) {
    (void)tensors;
    return 0;
}

const SafetensorsEntry *safetensors_entry(const Safetensors *tensors, int64_t index) {
    (void)tensors;
    (void)index;
    return NULL;
}
#endif
