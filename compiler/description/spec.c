// Reads a description: JSON text to a validated Model, or every problem of the text in one go.
//
// keys.c says which keys there are, value.c reads them, message.c reports problems, check.c checks what must hold between
// them, idle.c which keys mean nothing, position.c finds where in the text a problem is.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "read.h"

// A description is some kilobytes; nesting is limited by jansson itself (2048).
enum { SPEC_MAX_BYTES = 1 << 20 };

// Reports a syntax error where jansson met it. Its column is 0 at the start of a line.
static void report_syntax(Spec *spec, const json_error_t *error) {
    int line = error->line > 0 ? error->line : 1;
    diagnostics_add(spec->diagnostics, spec->name, line, error->column > 0 ? error->column : 1, "%s", error->text);
}

static void read_root(Spec *spec, const json_t *root, Model *model) {
    const Place place = {NULL, NULL, 0};
    if (!json_is_object(root)) {
        spec_error(spec, &place, PLACE_VALUE, "a description is an object");
        return;
    }
    // Hugging Face's files always say one of these. Hundreds of unknown keys would say less.
    if (!json_object_get(root, "layers") && (json_object_get(root, "model_type") || json_object_get(root, "architectures"))) {
        spec_error(spec, &place, PLACE_VALUE, "a model's configuration, not a description: 'catena import %s' makes one of it",
                   spec->name);
        return;
    }
    spec_read_section(spec, &spec_root, root, &place, model);
    spec_check_model(spec, model);
}

size_t spec_mark_bytes(const char *text, size_t bytes) {
    static const char mark[] = "\357\273\277";
    return bytes >= sizeof mark - 1 && !memcmp(text, mark, sizeof mark - 1) ? sizeof mark - 1 : 0;
}

Model *model_read_text(const char *text, size_t bytes, const char *name, Diagnostics *diagnostics) {
    size_t mark = spec_mark_bytes(text, bytes);
    text += mark;
    bytes -= mark;
    Spec spec = {name, text, bytes, diagnostics};
    size_t before = diagnostics->count;
    if (bytes > SPEC_MAX_BYTES) {
        diagnostics_add(diagnostics, name, 0, 0, "a description has at most %d bytes", SPEC_MAX_BYTES);
        return NULL;
    }
    json_error_t error;
    json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
    Model *model = calloc(1, sizeof *model);
    char *source = malloc(bytes + 1);
    if (!root) {
        report_syntax(&spec, &error);
    } else if (!model || !source) {
        diagnostics_add(diagnostics, name, 0, 0, "out of memory");
    } else {
        read_root(&spec, root, model);
    }
    json_decref(root);
    if (diagnostics->count > before) {
        free(source);
        free(model);
        return NULL;
    }
    memcpy(source, text, bytes);
    source[bytes] = 0;
    model->source = source;
    return model;
}

Model *model_read_file(const char *path, Diagnostics *diagnostics) {
    Model *model = NULL;
    FILE *file = fopen(path, "rb");
    char *text = malloc(SPEC_MAX_BYTES + 1);
    if (!file || !text) {
        diagnostics_add(diagnostics, path, 0, 0, "%s", strerror(errno));
        goto cleanup;
    }
    size_t bytes = fread(text, 1, SPEC_MAX_BYTES + 1, file);  // one more than allowed, so that a longer file shows
    if (ferror(file)) {
        diagnostics_add(diagnostics, path, 0, 0, "%s", strerror(errno));
        goto cleanup;
    }
    model = model_read_text(text, bytes, path, diagnostics);
cleanup:
    if (file) {
        fclose(file);
    }
    free(text);
    return model;
}

void model_free(Model *model) {
    if (model) {
        free(model->source);
        free(model);
    }
}
