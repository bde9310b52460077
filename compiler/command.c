// What several commands' option parsers need.
#include "command.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "../runtime/instance.h"
#include "model.h"

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

bool command_parse_bits(const char *text, const struct argp_state *state) {
    if (strcmp(text, "same") && strcmp(text, "free")) {
        argp_error(state, "--bits takes same or free, not '%s'", text);
    }
    return !strcmp(text, "free");
}

int command_parse_compute(const char *text, const struct argp_state *state) {
    int compute = compute_find(text);
    if (compute < 0) {
        argp_error(state, "--compute takes fp32 or bf16, not '%s'", text);
    }
    return compute;
}

int command_parse_tokens(const char *text, int most, int64_t *tokens, double *weights) {
    enum { LARGEST = 1 << 20 };
    char *end;
    int count = 0;
    do {
        long long value = strtoll(text, &end, 10);
        if (end == text || value < 1 || value > LARGEST || count == most) {
            return -1;
        }
        tokens[count] = value;
        if (weights) {
            weights[count] = 1;
        }
        if (weights && *end == ':') {
            text = end + 1;
            weights[count] = strtod(text, &end);
            if (end == text || !(weights[count] > 0) || isinf(weights[count])) {
                return -1;
            }
        }
        count++;
        text = end + 1;
    } while (*end == ',');
    return *end ? -1 : count;
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
