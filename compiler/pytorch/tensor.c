// How torch writes tensors: torch/_utils.py (_rebuild_*), torch/_tensor.py (_rebuild_from_type_v2) and torch/serialization.py
// (persistent_id). The arguments, as far as they are of use here:
//
//   _rebuild_tensor_v2(storage, offset, size, stride, ...)              the storage's class says which dtype
//   _rebuild_tensor_v3(storage, offset, size, stride, _, _, dtype, ...) newer dtypes, in an UntypedStorage
//   _rebuild_parameter(tensor, ...), _rebuild_parameter_with_state(tensor, ...), _rebuild_from_type_v2(function, type, arguments,
//   ...) storage: the persistent reference ('storage', class, key, location, number of elements, or bytes of an UntypedStorage)
#include "tensor.h"

#include <stdio.h>
#include <string.h>

typedef struct Dtype {
    const char *storage;  // class in module torch; NULL: there is none, tensors name their dtype
    const char *dtype;    // in module torch
    const char *name;     // in safetensors
    int bytes;
} Dtype;

static const Dtype dtypes[] = {
    {"DoubleStorage", "float64", "F64", 8},
    {"FloatStorage", "float32", "F32", 4},
    {"HalfStorage", "float16", "F16", 2},
    {"BFloat16Storage", "bfloat16", "BF16", 2},
    {"LongStorage", "int64", "I64", 8},
    {"IntStorage", "int32", "I32", 4},
    {"ShortStorage", "int16", "I16", 2},
    {"CharStorage", "int8", "I8", 1},
    {"ByteStorage", "uint8", "U8", 1},
    {"BoolStorage", "bool", "BOOL", 1},
    {"ComplexFloatStorage", "complex64", "C64", 8},
    {NULL, "uint64", "U64", 8},
    {NULL, "uint32", "U32", 4},
    {NULL, "uint16", "U16", 2},
    {NULL, "float8_e4m3fn", "F8_E4M3", 1},
    {NULL, "float8_e5m2", "F8_E5M2", 1},
    {NULL, "float8_e8m0fnu", "F8_E8M0", 1},
};
enum { DTYPES = sizeof dtypes / sizeof *dtypes };

// A call of a rebuilding function, taken out of the wrappers around it.
typedef struct Rebuild {
    const PickleValue *arguments;
    const PickleValue *storage;  // the tuple
    const Dtype *dtype;
    bool untyped;
} Rebuild;

enum { STORAGE_ARGUMENT, OFFSET_ARGUMENT, SIZE_ARGUMENT, STRIDE_ARGUMENT, DTYPE_ARGUMENT = 6 };
enum { STORAGE_KIND, STORAGE_CLASS, STORAGE_KEY, STORAGE_LOCATION, STORAGE_COUNT };

static const Dtype *find_dtype(const PickleValue *value, bool storage) {
    for (int d = 0; d < DTYPES; d++) {
        const char *name = storage ? dtypes[d].storage : dtypes[d].dtype;
        if (name && pickle_is_global(value, "torch", name)) {
            return &dtypes[d];
        }
    }
    return NULL;
}

static bool is_function(const PickleValue *callable, const char *name) {
    return pickle_is_global(callable, "torch._utils", name);
}

// No program writes parameters of parameters: wrappers beyond this many are not looked into, so that a cycle ends.
enum { MAX_WRAPPERS = 4 };

// Takes Parameter and subclasses away; false if no plain tensor is within.
static bool unwrap(const PickleValue *value, const PickleValue **callable, const PickleValue **arguments) {
    for (int i = 0; i < MAX_WRAPPERS && value && value->kind == PICKLE_OBJECT; i++) {
        *callable = value->object.callable;
        *arguments = value->object.arguments;
        if (pickle_is_global(*callable, "torch._tensor", "_rebuild_from_type_v2")) {
            *callable = pickle_item(*arguments, 0);
            *arguments = pickle_item(*arguments, 2);
        }
        if (!is_function(*callable, "_rebuild_parameter") && !is_function(*callable, "_rebuild_parameter_with_state")) {
            return *arguments && (is_function(*callable, "_rebuild_tensor_v2") || is_function(*callable, "_rebuild_tensor_v3"));
        }
        value = pickle_item(*arguments, 0);
    }
    return false;
}

static bool open_rebuild(const PickleValue *value, Rebuild *rebuild) {
    const PickleValue *callable, *storage;
    if (!unwrap(value, &callable, &rebuild->arguments)) {
        return false;
    }
    storage = pickle_item(rebuild->arguments, STORAGE_ARGUMENT);
    rebuild->storage = storage && storage->kind == PICKLE_PERSISTENT ? storage->persistent : NULL;
    const PickleValue *kind = pickle_item(rebuild->storage, STORAGE_CLASS);
    rebuild->untyped = pickle_is_global(kind, "torch.storage", "UntypedStorage");
    rebuild->dtype = is_function(callable, "_rebuild_tensor_v3")
                         ? find_dtype(pickle_item(rebuild->arguments, DTYPE_ARGUMENT), false)
                         : find_dtype(kind, true);
    return rebuild->dtype != NULL;
}

bool torch_tensor_is(const PickleValue *value) {
    Rebuild rebuild;
    return open_rebuild(value, &rebuild);
}

static bool natural(const PickleValue *value, int64_t *number) {
    if (!value || value->kind != PICKLE_INTEGER || value->integer < 0) {
        return false;
    }
    *number = value->integer;
    return true;
}

static const char *parse_storage(const Rebuild *rebuild, char key[TORCH_KEY_BYTES], int64_t *bytes) {
    const PickleValue *text = pickle_item(rebuild->storage, STORAGE_KEY), *kind = pickle_item(rebuild->storage, STORAGE_KIND);
    if (!kind || kind->kind != PICKLE_TEXT || strcmp(kind->text.data, "storage")) {
        return "a tensor without a storage";
    }
    if (!text || text->kind != PICKLE_TEXT || !text->text.length || text->text.length >= TORCH_KEY_BYTES ||
        strlen(text->text.data) != text->text.length) {
        return "the key of its storage is not a short text";
    }
    memcpy(key, text->text.data, text->text.length + 1);
    int64_t count;
    int element = rebuild->untyped ? 1 : rebuild->dtype->bytes;
    if (!natural(pickle_item(rebuild->storage, STORAGE_COUNT), &count) || __builtin_mul_overflow(count, element, bytes)) {
        return "the size of its storage is not a natural number";
    }
    return NULL;
}

static const char *parse_shape(const Rebuild *rebuild, TorchTensor *tensor) {
    const PickleValue *size = pickle_item(rebuild->arguments, SIZE_ARGUMENT);
    const PickleValue *stride = pickle_item(rebuild->arguments, STRIDE_ARGUMENT);
    if (!size || !stride || size->kind != PICKLE_TUPLE || stride->kind != PICKLE_TUPLE ||
        size->sequence.count != stride->sequence.count) {
        return "its size and stride are not tuples of the same length";
    }
    if (size->sequence.count > TORCH_MAX_RANK) {
        return "more than 8 dimensions";
    }
    tensor->rank = (int)size->sequence.count;
    for (int i = 0; i < tensor->rank; i++) {
        if (!natural(size->sequence.items[i], &tensor->shape[i]) || !natural(stride->sequence.items[i], &tensor->strides[i])) {
            return "a number in its size or stride is not a natural one";
        }
    }
    return natural(pickle_item(rebuild->arguments, OFFSET_ARGUMENT), &tensor->offset) ? NULL : "its offset is not a natural number";
}

// Bytes, span and contiguity, from shape and strides.
static const char *measure(TorchTensor *tensor) {
    static const char *const too_large = "its size or stride is too large";
    int64_t elements = 1, span = 1;
    bool empty = false, contiguous = true;
    for (int i = tensor->rank - 1; i >= 0; i--) {
        int64_t reach;
        empty |= !tensor->shape[i];
        contiguous &= tensor->shape[i] == 1 || tensor->strides[i] == elements;
        if (tensor->shape[i] && (__builtin_mul_overflow(tensor->shape[i] - 1, tensor->strides[i], &reach) ||
                                 __builtin_add_overflow(span, reach, &span))) {
            return too_large;
        }
        if (__builtin_mul_overflow(elements, tensor->shape[i] ? tensor->shape[i] : 1, &elements)) {
            return too_large;
        }
    }
    tensor->contiguous = empty || contiguous;
    tensor->span = empty ? 0 : span;
    return __builtin_mul_overflow(empty ? 0 : elements, tensor->element_bytes, &tensor->bytes) ? too_large : NULL;
}

const char *torch_tensor_parse(const PickleValue *value, TorchTensor *tensor, char key[TORCH_KEY_BYTES], int64_t *storage_bytes) {
    Rebuild rebuild;
    if (!open_rebuild(value, &rebuild)) {
        return "not a tensor of a known dtype";
    }
    snprintf(tensor->dtype, sizeof tensor->dtype, "%s", rebuild.dtype->name);
    tensor->element_bytes = rebuild.dtype->bytes;
    const char *problem = parse_storage(&rebuild, key, storage_bytes);
    problem = problem ? problem : parse_shape(&rebuild, tensor);
    problem = problem ? problem : measure(tensor);
    int64_t end, end_bytes;
    if (!problem && tensor->span &&
        (__builtin_add_overflow(tensor->offset, tensor->span, &end) ||
         __builtin_mul_overflow(end, tensor->element_bytes, &end_bytes) || end_bytes > *storage_bytes)) {
        problem = "it reaches beyond its storage";
    }
    return problem;
}
