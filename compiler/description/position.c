// Walks a JSON text along a path. The text is known to be valid, so the scanner only has to know where values end; it still
// never reads beyond the text.
#include "position.h"

#include <jansson.h>
#include <string.h>

typedef struct Scanner {
    const char *text;
    size_t bytes;
    size_t at;
} Scanner;

static int peek(const Scanner *scanner) {
    return scanner->at < scanner->bytes ? (unsigned char)scanner->text[scanner->at] : -1;
}

static void skip_space(Scanner *scanner) {
    while (peek(scanner) > 0 && strchr(" \t\r\n", peek(scanner))) {
        scanner->at++;
    }
}

static void skip_string(Scanner *scanner) {
    for (scanner->at++; peek(scanner) >= 0 && peek(scanner) != '"'; scanner->at++) {
        if (peek(scanner) == '\\') {
            scanner->at++;
        }
    }
    scanner->at++;
}

// Brackets are counted rather than recursed into: nesting costs no stack.
static void skip_value(Scanner *scanner) {
    size_t depth = 0;
    do {
        int c = peek(scanner);
        if (c == '"') {
            skip_string(scanner);
        } else if (c == '{' || c == '[') {
            depth++;
            scanner->at++;
        } else if (c == '}' || c == ']') {
            depth--;
            scanner->at++;
        } else if (depth) {
            scanner->at++;
        } else {  // number or word
            while (peek(scanner) > 0 && !strchr(" \t\r\n,:]}", peek(scanner))) {
                scanner->at++;
            }
        }
    } while (depth && peek(scanner) >= 0);
}

// Compares the key at the scanner with a name. Escapes (rare) are decoded by jansson itself.
static int key_equals(const Scanner *scanner, const char *name) {
    Scanner end = *scanner;
    skip_string(&end);
    const char *start = scanner->text + scanner->at;
    size_t length = end.at - scanner->at;
    if (!memchr(start, '\\', length)) {
        return length == strlen(name) + 2 && !memcmp(start + 1, name, length - 2);
    }
    json_t *decoded = json_loadb(start, length, JSON_DECODE_ANY, NULL);
    int equal = json_is_string(decoded) && !strcmp(json_string_value(decoded), name);
    json_decref(decoded);
    return equal;
}

typedef struct Found {
    size_t key, value;
    int times;  // members of this name; 0: the path ends before the place
} Found;

// Looks for a member of the container at the scanner. Of several members of one name jansson keeps the last.
static Found enter(Scanner *scanner, const Place *step) {
    Found found = {scanner->at, scanner->at, 0};
    if (peek(scanner) != (step->key ? '{' : '[')) {
        return found;
    }
    scanner->at++;
    for (size_t index = 0;; index++) {
        skip_space(scanner);
        if (peek(scanner) < 0 || peek(scanner) == '}' || peek(scanner) == ']') {
            return found;
        }
        int same = step->key ? key_equals(scanner, step->key) : index == step->index;
        size_t key = scanner->at;
        if (step->key) {
            skip_string(scanner);
            skip_space(scanner);
            scanner->at++;  // the colon
            skip_space(scanner);
        }
        if (same) {
            found = (Found){key, scanner->at, found.times + 1};
        }
        skip_value(scanner);
        skip_space(scanner);
        if (peek(scanner) != ',') {
            return found;  // that was the last member
        }
        scanner->at++;
    }
}

// Recursion goes from the place to the root and is as deep as the table of keys, not as the text.
static Found locate(Scanner *scanner, const Place *place) {
    if (!place->parent) {
        skip_space(scanner);
        return (Found){scanner->at, scanner->at, 1};
    }
    Found found = locate(scanner, place->parent);
    if (found.times) {
        scanner->at = found.value;
        Found inner = enter(scanner, place);
        found.times = inner.times;
        if (inner.times) {
            found = inner;
        }
    }
    return found;
}

Position spec_position_find(const char *text, size_t bytes, const Place *place, PlacePart part) {
    Scanner scanner = {text, bytes, 0};
    Found found = locate(&scanner, place);
    size_t target = part == PLACE_KEY ? found.key : found.value;
    Position position = {1, 1, found.times};
    for (size_t i = 0; i < target && i < bytes; i++) {
        if (text[i] == '\n') {
            position.line++;
            position.column = 1;
        } else if ((text[i] & 0xc0) != 0x80) {  // a character's first byte in UTF-8
            position.column++;
        }
    }
    return position;
}
