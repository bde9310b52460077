// See store.h.
#include "store.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/plan/text.h"

void store_begin(Store *store) {
    memset(store, 0, sizeof *store);
    store->header = open_memstream(&store->header_text, &store->header_size);
    store->data = open_memstream(&store->data_bytes, &store->data_size);
    ck_assert(store->header && store->data);
    fputc('{', store->header);
}

int64_t store_bytes_of(const char *dtype) {
    bool single = !strcmp(dtype, "U8") || !strncmp(dtype, "F8", 2);
    return !strcmp(dtype, "F64") ? 8 : !strcmp(dtype, "F32") ? 4 : single ? 1 : 2;
}

void store_tensor(Store *store, const char *name, const char *dtype, const int64_t *shape, int rank) {
    long begin = ftell(store->data), count = 1;
    fprintf(store->header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", ftell(store->header) > 1 ? "," : "", name, dtype);
    for (int i = 0; i < rank; i++) {
        fprintf(store->header, "%s%lld", i ? "," : "", (long long)shape[i]);
        count *= shape[i];
    }
    fprintf(store->header, "],\"data_offsets\":[%ld,%ld]}", begin, begin + count * store_bytes_of(dtype));
}

void store_number(Store *store, const char *dtype, float value) {
    if (!strcmp(dtype, "F32")) {
        fwrite(&value, sizeof value, 1, store->data);
    } else if (!strcmp(dtype, "U8")) {
        fputc((int)value, store->data);
    } else {
        _Float16 half = (_Float16)value;
        uint16_t brain = packed_bf16_from_float(value);
        fwrite(!strcmp(dtype, "F16") ? (void *)&half : (void *)&brain, 2, 1, store->data);
    }
}

const Safetensors *store_open(Store *store) {
    fputc('}', store->header);
    ck_assert(!fclose(store->header) && !fclose(store->data));
    uint64_t length = store->header_size;
    size_t size = sizeof length + store->header_size + store->data_size;
    store->file = malloc(size);
    ck_assert_ptr_nonnull(store->file);
    memcpy(store->file, &length, sizeof length);
    memcpy(store->file + sizeof length, store->header_text, store->header_size);
    memcpy(store->file + sizeof length + store->header_size, store->data_bytes, store->data_size);
    char error[512] = "";
    Failure failure = {error, sizeof error};
    ck_assert_msg(!safetensors_open_memory(store->file, size, "w.safetensors", &store->tensors, &failure), "%s", error);
    return store->tensors;
}

void store_free(Store *store) {
    safetensors_close(store->tensors);
    free(store->file);
    free(store->header_text);
    free(store->data_bytes);
}

Kind store_kind(int64_t hidden, int64_t intermediate, Format format) {
    Kind kind;
    memset(&kind, 0, sizeof kind);
    strcpy(kind.name, "moe");
    kind.count = 1;
    kind.plan.layer = (Layer){.hidden = hidden,
                              .iterations = 3,
                              .experts = 3,
                              .null_experts = 1,
                              .intermediate = intermediate,
                              .latent = hidden,
                              .latent_norm = NORM_RMS,
                              .top_k = 2,
                              .shared_experts = 2,
                              .shared_intermediate = intermediate,
                              .norm = NORM_LAYER,
                              .norm_bias = 1,
                              .post_norm = NORM_RMS,
                              .expert_scale = 1,
                              .output_bias = 1,
                              .output_scale = 1,
                              .residual_bias = 1,
                              .residual_scale = 1,
                              .coe_weight = 1,
                              .correction = 1,
                              .router_bias = 1,
                              .gate_per_iteration = 1,
                              .gated = 1,
                              .expert_bias = 1,
                              .shared_bias = 1,
                              .shared_gated = 1,
                              .weights = (int32_t)format,
                              .router_weights = format == FORMAT_BF16 ? ROUTER_BF16 : ROUTER_FP32};
    kind.plan.roles[ROLE_ROUTER].path = PATH_FP32_FMA;
    plan_layout(&kind.plan);
    return kind;
}
