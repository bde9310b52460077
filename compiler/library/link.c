// Linking with lld. Everything goes through a temporary directory beside the result, so that a failed link leaves nothing behind.
//
// A library for this architecture is linked against the very libc and libgomp that this process uses (their files always exist
// where a program runs; the -dev packages may not). For another architecture stubs with the right sonames stand for them.
#define _GNU_SOURCE 1
#include "link.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <omp.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compiler/base/temporary.h"

extern const char embedded_runtime_x86_64_begin[], embedded_runtime_x86_64_end[];
extern const char embedded_runtime_aarch64_begin[], embedded_runtime_aarch64_end[];
extern char **environ;

enum { MAX_ARGUMENTS = LINK_MAX_OBJECTS + 32 };

typedef struct Link {
    char *directory;  // temporary
    char *files[LINK_MAX_OBJECTS + 16];
    int file_count;
    const char *arguments[MAX_ARGUMENTS];
    int argument_count;
    Diagnostics *diagnostics;
} Link;

static void add(Link *link, const char *argument) {
    link->arguments[link->argument_count++] = argument;
}

// The path of a file in the temporary directory, which goes with it; NULL when out of memory.
static char *add_path(Link *link, const char *name) {
    char *path = NULL;
    if (asprintf(&path, "%s/%s", link->directory, name) < 0) {
        return NULL;
    }
    return link->files[link->file_count++] = path;
}

// Writes a file into the temporary directory and returns its path, or NULL with a diagnostic.
static const char *write_file(Link *link, const char *name, const void *bytes, size_t size) {
    char *path = add_path(link, name);
    FILE *file = path ? fopen(path, "wb") : NULL;
    bool good = file && fwrite(bytes, 1, size, file) == size;
    if (file && fclose(file)) {
        good = false;
    }
    if (!good) {
        diagnostics_add(link->diagnostics, path ? path : name, 0, 0, "cannot write: %s", strerror(errno));
        return NULL;
    }
    return path;
}

static const char *linker_path(void) {
    const char *chosen = getenv("CATENA_LLD");
    return chosen ? chosen : access(CATENA_LLD, X_OK) == 0 ? CATENA_LLD : "ld.lld";
}

// Spawns a program that writes into the temporary directory. A signal finds it known, or not there yet; it holds none back itself.
static int spawn_writer(const char *const *arguments, const posix_spawn_file_actions_t *actions, pid_t *child) {
    sigset_t before;
    posix_spawnattr_t attributes;
    temporary_hold_signals(&before);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &before);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    int error = posix_spawnp(child, arguments[0], actions, &attributes, (char *const *)arguments, environ);
    if (!error) {
        temporary_writer(*child);
    }
    posix_spawnattr_destroy(&attributes);
    temporary_release_signals(&before);
    return error;
}

// Runs lld with its messages in a file; they become the diagnostic when it fails.
static int run_linker(Link *link, const char *const *arguments) {
    char text[2048] = "";
    const char *log = write_file(link, "log", "", 0);
    if (!log) {
        return -1;
    }
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 2, log, O_WRONLY | O_TRUNC, 0);
    posix_spawn_file_actions_adddup2(&actions, 2, 1);
    pid_t child;
    int status = -1, error = spawn_writer(arguments, &actions, &child);
    posix_spawn_file_actions_destroy(&actions);
    if (error) {
        diagnostics_add(link->diagnostics, NULL, 0, 0, "cannot run the linker '%s': %s (CATENA_LLD names another)", arguments[0],
                        strerror(error));
        return -1;
    }
    siginfo_t ended;  // its id remains its own until waitpid: a signal must not find that of another process
    while (waitid(P_PID, (id_t)child, &ended, WEXITED | WNOWAIT) < 0 && errno == EINTR) {
    }
    temporary_writer(0);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        return 0;
    }
    FILE *file = fopen(log, "r");
    if (file) {
        text[fread(text, 1, sizeof text - 1, file)] = 0;
        fclose(file);
    }
    diagnostics_add(link->diagnostics, NULL, 0, 0, "linking failed: %s", text);
    return -1;
}

// The file of the library in which this process found a function.
static const char *file_of(const void *function) {
    Dl_info info;
    return dladdr(function, &info) ? info.dli_fname : NULL;
}

static int add_host_libraries(Link *link) {
    const char *libc = file_of(dlsym(RTLD_DEFAULT, "gnu_get_libc_version")),
               *libgomp = file_of(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
    if (!libc || !libgomp) {
        diagnostics_add(link->diagnostics, NULL, 0, 0, "cannot find the files of libc and libgomp that this process uses");
        return -1;
    }
    add(link, libgomp);
    add(link, libc);
    add(link, "-z");
    add(link, "defs");
    return 0;
}

// An empty library of that soname: the result will ask for it by name, and its symbols are bound where the result runs.
static int add_stub(Link *link, const char *object, const char *soname) {
    char *path = add_path(link, soname);
    if (!path) {
        return -1;
    }
    add(link, path);
    return run_linker(link, (const char *[]){linker_path(), "-shared", "-soname", soname, "-o", path, object, NULL});
}

static int add_stubs(Link *link, const Target *target) {
    Object nothing = emit_nothing(target, link->diagnostics);
    if (!nothing) {
        return -1;
    }
    const char *object = write_file(link, "nothing.o", LLVMGetBufferStart(nothing), LLVMGetBufferSize(nothing));
    LLVMDisposeMemoryBuffer(nothing);
    add(link, "--no-as-needed");
    return !object || add_stub(link, object, "libgomp.so.1") || add_stub(link, object, "libc.so.6") ? -1 : 0;
}

static int add_libraries(Link *link, const Target *target) {
    struct utsname here;
    uname(&here);
    if (!strcmp(here.machine, target->architecture)) {
        return add_host_libraries(link);
    }
    return add_stubs(link, target);
}

static int add_objects(Link *link, const Target *target, const Object *objects, int count) {
    for (int i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof name, "%d.o", i);
        const char *path = write_file(link, name, LLVMGetBufferStart(objects[i]), LLVMGetBufferSize(objects[i]));
        if (!path) {
            return -1;
        }
        add(link, path);
    }
    bool arm = !strcmp(target->architecture, "aarch64");
    const char *begin = arm ? embedded_runtime_aarch64_begin : embedded_runtime_x86_64_begin;
    const char *end = arm ? embedded_runtime_aarch64_end : embedded_runtime_x86_64_end;
    const char *path = write_file(link, "runtime.o", begin, (size_t)(end - begin));
    add(link, path);
    return path ? 0 : -1;
}

static void remove_temporaries(Link *link) {
    temporary_remove(link->directory);
    for (int i = 0; i < link->file_count; i++) {
        free(link->files[i]);
    }
}

static int link_in_directory(Link *link, const Target *target, const char *name, const Object *objects, int count,
                             const char *path) {
    char soname[128], script[256];
    snprintf(soname, sizeof soname, "lib%s.so", name);
    int length = snprintf(script, sizeof script, "{ global: %s_*; local: *; };\n", name);
    const char *version_script = write_file(link, "exports", script, (size_t)length), *result = add_path(link, soname);
    if (!version_script || !result) {
        return -1;
    }
    const char *fixed[] = {
        linker_path(),      "-shared", "-soname",      soname, "-o",  result, "--version-script", version_script,  "-z",
        "nodelete",         "-z",      "relro",        "-z",   "now", "-z",   "noexecstack",      "--gc-sections", "--build-id",
        "--hash-style=gnu", "-O1",     "--strip-debug"};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        add(link, fixed[i]);
    }
    int failed = add_objects(link, target, objects, count) || add_libraries(link, target);
    add(link, NULL);
    if (failed || run_linker(link, link->arguments)) {
        return -1;
    }
    if (rename(result, path)) {
        diagnostics_add(link->diagnostics, path, 0, 0, "cannot write: %s", strerror(errno));
        return -1;
    }
    return 0;
}

int link_library(const Target *target, const char *name, const Object *objects, int count, const char *path,
                 Diagnostics *diagnostics) {
    Link link = {.diagnostics = diagnostics};
    int status = -1;
    char *stem = NULL;
    // the linker would read a path that begins with a dash as an option
    if (asprintf(&stem, "%s%s", *path == '-' ? "./" : "", path) < 0) {
        diagnostics_add(diagnostics, NULL, 0, 0, "out of memory");
        return -1;
    }
    link.directory = temporary_directory(stem);
    free(stem);
    if (link.directory) {
        status = link_in_directory(&link, target, name, objects, count, path);
        remove_temporaries(&link);
    } else {
        diagnostics_add(diagnostics, path, 0, 0, "cannot write beside it: %s", strerror(errno));
    }
    free(link.directory);
    return status;
}
