// catena schema: the JSON schema of descriptions, which examples/schema.json is a copy of (`make schema`).
#include <stdio.h>
#include <stdlib.h>

#include "command.h"
#include "compiler/description/schema.h"
#include "compiler/import/read.h"

int command_schema(int argc, char **argv) {
    static const struct argp argp = {NULL, NULL, NULL, "Prints the JSON schema of descriptions, for editors.", NULL, NULL, NULL};
    argp_parse(&argp, argc, argv, 0, NULL, NULL);
    json_t *schema = spec_schema();
    char *text = schema ? import_text(schema) : NULL;
    if (text) {
        fputs(text, stdout);
    } else {
        fprintf(stderr, "catena: out of memory\n");
    }
    free(text);
    json_decref(schema);
    return text ? EXIT_OK : EXIT_FAILED;
}
