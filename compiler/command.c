// What several commands' option parsers need.
#include "command.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "../runtime/instance.h"

int64_t command_parse_number(const char *text, int64_t low, int64_t high, const char *option, const struct argp_state *state) {
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || end == text || *end || value < low || value > high) {
        argp_error(state, "--%s takes a number from %lld to %lld, not '%s'", option, (long long)low, (long long)high, text);
    }
    return value;
}

int command_parse_threads(const char *text, const struct argp_state *state) {
    return (int)command_parse_number(text, 1, INSTANCE_MAX_THREADS, "threads", state);
}

// They stay handled: timeout sends its signal twice, and SIGPIPE comes with every write once the reader has gone. Ctrl-\ ends at
// once.
void command_handle_signals(void (*stop)(int)) {
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    const struct sigaction action = {.sa_handler = stop};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction before;
        if (!sigaction(signals[i], NULL, &before) && before.sa_handler != SIG_IGN) {
            sigaction(signals[i], &action, NULL);
        }
    }
}
