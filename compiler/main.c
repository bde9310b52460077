// catena's entry: finds the subcommand and hands over.
#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compiler/base/temporary.h"
#include "compiler/commands/command.h"

typedef struct Command {
    const char *name;
    const char *summary;
    int (*run)(int argc, char **argv);
} Command;

#define COMMAND_ROW(name, summary) {#name, summary, command_##name},
static const Command commands[] = {COMMAND_LIST(COMMAND_ROW)};
enum { COMMANDS = sizeof commands / sizeof *commands };

const char *argp_program_version = "catena " CATENA_VERSION;

static void print_usage(FILE *stream) {
    fprintf(stream,
            "Usage: catena COMMAND [OPTION...]\nCompiles sparse-expert layers (MoE, Chain-of-Experts) for this machine.\n\n");
    for (int i = 0; i < COMMANDS; i++) {
        fprintf(stream, "  %-10s %s\n", commands[i].name, commands[i].summary);
    }
    fprintf(stream, "\n'catena COMMAND --help' explains a command; 'catena --version' prints the version.\n");
}

// Registered with atexit: output that did not arrive is a failure, whichever way the program ends (--help ends within argp).
static void close_output(void) {
    int failed_before = ferror(stdout);
    errno = 0;
    if (fflush(stdout) || failed_before) {
        fprintf(stderr, "catena: standard output: %s\n", errno ? strerror(errno) : "write error");
        _exit(EXIT_FAILED);
    }
}

int main(int argc, char **argv) {
    argp_err_exit_status = EXIT_USAGE;
    signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes is an error of the write, which cleans up
    atexit(close_output);
    temporary_handle_signals();
    if (argc < 2) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
        puts(argp_program_version);
        return EXIT_OK;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-?") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        print_usage(stdout);
        return EXIT_OK;
    }
    for (int i = 0; i < COMMANDS; i++) {
        if (!strcmp(argv[1], commands[i].name)) {
            char name[32];
            snprintf(name, sizeof name, "catena %s", commands[i].name);
            argv[1] = name;
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    fprintf(stderr, "catena: unknown command '%s'\n", argv[1]);
    print_usage(stderr);
    return EXIT_USAGE;
}
