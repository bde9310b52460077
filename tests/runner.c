// Runs one layer of a library outside the compiler: also built for aarch64 and run under qemu, so it uses nothing but libc.
//
//     runner LIB NAME WEIGHTS THREADS TOKENS HIDDEN ELEMENT_BYTES X Y [LAYER]
//
// X and Y are raw files of [tokens][hidden] elements; LAYER is an index over all instances (0 unless given). Prints the library's
// error and exits with 1 if a call fails. With RUNNER_FORK in the environment it calls, forks, and the child does all of it again.
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct RunnerOptions {  // as in the generated header
    size_t size;
    int32_t threads, check;
    int64_t max_tokens;
    const char *cache;
    int32_t bind, huge_pages;
} RunnerOptions;

typedef int Open(const char *weights, const RunnerOptions *options, void **out, char *error, size_t error_size);
typedef int Forward(void *library, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y, int64_t y_stride);
typedef const char *Error(const void *library);
typedef void Close(void *library);

static void *symbol(void *handle, const char *prefix, const char *name) {
    char full[256];
    snprintf(full, sizeof full, "%s_%s", prefix, name);
    return dlsym(handle, full);
}

static int fail(const char *text) {
    fprintf(stderr, "runner: %s\n", text);
    return 1;
}

// The child's exit status, or 1 if it did not end by itself; in the child: -1.
static int leave_it_to_a_child(void) {
    int status = 1;
    pid_t child = fork();
    if (!child) {
        alarm(60);
        return -1;
    }
    return child < 0 || waitpid(child, &status, 0) < 0 || !WIFEXITED(status) ? fail("the child did not end") : WEXITSTATUS(status);
}

int main(int argc, char **argv) {
    char error[512] = "";
    void *library = NULL, *handle = argc == 10 || argc == 11 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!handle) {
        return fail(argc == 10 || argc == 11 ? dlerror() : "nine or ten arguments are needed");
    }
    Open *open_library = (Open *)symbol(handle, argv[2], "open");
    Forward *forward = (Forward *)symbol(handle, argv[2], "forward");
    RunnerOptions options = {.size = sizeof options, .threads = atoi(argv[4])};
    if (open_library(argv[3], &options, &library, error, sizeof error)) {
        return fail(error);
    }
    int64_t tokens = atoll(argv[5]), hidden = atoll(argv[6]);
    size_t bytes = (size_t)(tokens * hidden * atoll(argv[7]));
    void *x = malloc(bytes + 1), *y = malloc(bytes + 1);
    FILE *in = fopen(argv[8], "rb"), *out = fopen(argv[9], "wb");
    if (!x || !y || !in || !out || fread(x, 1, bytes, in) != bytes) {
        return fail("cannot read X or create Y");
    }
    int layer = argc == 11 ? atoi(argv[10]) : 0;
    if (getenv("RUNNER_FORK")) {
        forward(library, layer, tokens, x, hidden, y, hidden);
        int status = leave_it_to_a_child();
        if (status >= 0) {
            return status;
        }
        if (open_library(argv[3], &options, &library, error, sizeof error)) {
            return fail(error);
        }
    }
    if (forward(library, layer, tokens, x, hidden, y, hidden) < 0) {
        return fail(((Error *)symbol(handle, argv[2], "error"))(library));
    }
    if (fwrite(y, 1, bytes, out) != bytes || fclose(out)) {
        return fail("cannot write Y");
    }
    fclose(in);
    ((Close *)symbol(handle, argv[2], "close"))(library);
    free(x);
    free(y);
    return 0;
}
