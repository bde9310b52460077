// What several commands' option parsers need.
#include "command.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/description/model.h"
#include "runtime/cores.h"
#include "runtime/instance.h"

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

// Of --tokens: the part `text` of `length` bytes as a count, or as a weight (of fp32, as in descriptions).
static int64_t parse_count(const char *text, size_t length, const struct argp_state *state) {
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || !length || end != text + length || value < 1 || value > WORKLOAD_MAX_COUNT) {
        argp_error(state, "--tokens takes token counts from 1 to %d, not '%.*s'", WORKLOAD_MAX_COUNT, (int)length, text);
    }
    return value;
}

static float parse_weight(const char *text, size_t length, const struct argp_state *state) {
    char *end;
    double value = strtod(text, &end);
    if (!length || end != text + length || !(value <= WORKLOAD_MAX_WEIGHT) || !((float)value > 0)) {
        argp_error(state, "--tokens takes weights above 0 and up to %g, not '%.*s'", WORKLOAD_MAX_WEIGHT, (int)length, text);
    }
    return (float)value;
}

int command_parse_tokens(const char *text, int64_t *tokens, float *weights, const struct argp_state *state) {
    int count = 0;
    for (const char *part = text;; part++) {
        size_t length = strcspn(part, ","), number = weights ? strcspn(part, ",:") : length;
        if (count == WORKLOAD_MAX_TOKENS) {
            argp_error(state, "--tokens takes up to %d token counts, not '%s'", WORKLOAD_MAX_TOKENS, text);
        }
        tokens[count] = parse_count(part, number, state);
        if (weights) {
            weights[count] = number < length ? parse_weight(part + number + 1, length - number - 1, state) : 1;
        }
        count++;
        part += length;
        if (!*part) {
            return count;
        }
    }
}

void command_say_threads(int threads) {
    int cores = cores_usable();
    if (threads > cores) {
        fprintf(stderr, "catena: %d threads on %d core%s that this process may use: they will share cores\n", threads, cores,
                cores == 1 ? "" : "s");
    }
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
