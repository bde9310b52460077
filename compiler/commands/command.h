// The subcommands: one file each (NAME.c of this folder) and one row in this list.
#ifndef CATENA_COMMAND_H
#define CATENA_COMMAND_H

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>

// X(name, what it does)
#define COMMAND_LIST(X) \
    X(compile, "compile a layer description into a shared library") \
    X(explain, "show the plan of a description or library and why it was chosen") \
    X(tune, "search for the fastest plan on this machine") \
    X(info, "show this machine: topology, capabilities, measured peaks") \
    X(bench, "measure a library against plain C and OpenMP, and the machine's limits") \
    X(verify, "check a library against the double-precision oracle") \
    X(run, "run one layer on real weights and activations") \
    X(pack, "pack a checkpoint's weights for a library") \
    X(import, "write the description of a model from its config.json") \
    X(reference, "print a layer as a PyTorch module") \
    X(wisdom, "show and change what searches found out") \
    X(schema, "print the JSON schema of descriptions")

// Exit codes of every command.
enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

// argv[0] is "catena NAME". Each command parses its options with argp (whose usage errors exit with EXIT_USAGE).
#define COMMAND_DECLARE(name, summary) int command_##name(int argc, char **argv);
COMMAND_LIST(COMMAND_DECLARE)

// The whole number that an option was given; anything else is a usage error, which ends the program.
int64_t command_parse_number(const char *text, int64_t low, int64_t high, const char *option, const struct argp_state *state);
// The same for --threads: from 1 to what a library can be opened with.
int command_parse_threads(const char *text, const struct argp_state *state);
// Writes a warning to stderr if `threads` (0: the default) are more than the cores that this process may use. For commands that
// then run that many threads here, not for plans of another machine.
void command_say_threads(int threads);
// Whether --bits was given "free", not "same"; anything else is a usage error.
bool command_parse_bits(const char *text, const struct argp_state *state);
// The compute class that --compute was given, as a Compute; anything else is a usage error.
int command_parse_compute(const char *text, const struct argp_state *state);
// The token counts that --tokens was given, "N,N,..." or, where weights is not NULL, "N[:W],..." with weights (1 where there is
// none), as a description's workload may have them (model.h); anything else is a usage error. Returns their number; the arrays have
// room for WORKLOAD_MAX_TOKENS.
int command_parse_tokens(const char *text, int64_t *tokens, float *weights, const struct argp_state *state);

// For commands that end after the current step when they are told to: `stop` is called at every signal that asks for it. Those that
// are ignored (nohup) stay ignored.
void command_handle_signals(void (*stop)(int));

#endif
