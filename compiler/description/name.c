// See name.h. A header is tried with every name that C's and POSIX's headers have: tests/test_name.c.
#define _GNU_SOURCE 1
#include "name.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "model.h"

// Words of C and C++.
static const char *const keywords[] = {"alignas",      "alignof",       "and",         "and_eq",    "asm",       "auto",
                                       "bitand",       "bitor",         "bool",        "break",     "case",      "catch",
                                       "char",         "class",         "co_await",    "co_return", "co_yield",  "compl",
                                       "concept",      "const",         "const_cast",  "consteval", "constexpr", "constinit",
                                       "continue",     "decltype",      "default",     "delete",    "do",        "double",
                                       "dynamic_cast", "else",          "enum",        "explicit",  "export",    "extern",
                                       "false",        "float",         "for",         "friend",    "goto",      "if",
                                       "inline",       "int",           "long",        "mutable",   "namespace", "new",
                                       "noexcept",     "not",           "not_eq",      "nullptr",   "operator",  "or",
                                       "or_eq",        "private",       "protected",   "public",    "register",  "reinterpret_cast",
                                       "requires",     "restrict",      "return",      "short",     "signed",    "sizeof",
                                       "static",       "static_assert", "static_cast", "struct",    "switch",    "template",
                                       "this",         "thread_local",  "throw",       "true",      "try",       "typedef",
                                       "typeid",       "typename",      "typeof",      "union",     "unsigned",  "using",
                                       "virtual",      "void",          "volatile",    "while",     "xor",       "xor_eq"};

// Macros and types that headers of C, POSIX and GNU define, beside those that begin or end as below.
static const char *const macros[] = {"alloca",
                                     "assert",
                                     "assert_perror",
                                     "at_quick_exit",
                                     "atexit",
                                     "atomic_flag",
                                     "be16toh",
                                     "be32toh",
                                     "be64toh",
                                     "bindresvport6",
                                     "builtin_va_arg_pack",
                                     "carg",
                                     "cimag",
                                     "complex",
                                     "conj",
                                     "cproj",
                                     "creal",
                                     "d_fileno",
                                     "defined",
                                     "endorder",
                                     "errno",
                                     "fd_mask",
                                     "fd_set",
                                     "fpclassify",
                                     "getumask",
                                     "h_addr",
                                     "h_errno",
                                     "htobe16",
                                     "htobe32",
                                     "htobe64",
                                     "htole16",
                                     "htole32",
                                     "htole64",
                                     "i386",
                                     "ifa_broadaddr",
                                     "ifa_dstaddr",
                                     "imaginary",
                                     "iscanonical",
                                     "iseqsig",
                                     "isfinite",
                                     "isgreater",
                                     "isgreaterequal",
                                     "isinf",
                                     "isless",
                                     "islessequal",
                                     "islessgreater",
                                     "isnan",
                                     "isnormal",
                                     "issignaling",
                                     "issubnormal",
                                     "isunordered",
                                     "iszero",
                                     "jmp_buf",
                                     "kill_dependency",
                                     "le16toh",
                                     "le32toh",
                                     "le64toh",
                                     "leaf",
                                     "linux",
                                     "main",
                                     "math_errhandling",
                                     "msg_cbytes",
                                     "nl_catd",
                                     "nl_item",
                                     "noreturn",
                                     "offsetof",
                                     "once_flag",
                                     "postorder",
                                     "preorder",
                                     "s6_addr",
                                     "s6_addr16",
                                     "s6_addr32",
                                     "sa_handler",
                                     "sa_sigaction",
                                     "sched_priority",
                                     "setjmp",
                                     "sigev_notify_attributes",
                                     "sigev_notify_function",
                                     "sigjmp_buf",
                                     "sigmask",
                                     "signbit",
                                     "sigsetjmp",
                                     "sigval",
                                     "st_atime",
                                     "st_ctime",
                                     "st_mtime",
                                     "std",
                                     "strdupa",
                                     "strndupa",
                                     "timeradd",
                                     "timerclear",
                                     "timercmp",
                                     "timerisset",
                                     "timersub",
                                     "u_char",
                                     "u_int",
                                     "u_long",
                                     "u_short",
                                     "uint",
                                     "ulong",
                                     "unix",
                                     "ushort",
                                     "va_arg",
                                     "va_copy",
                                     "va_end",
                                     "va_list",
                                     "va_start"};

// So begin names of <inttypes.h>, <math.h>, <stdatomic.h>, <threads.h>, <netinet/tcp.h>, <dlfcn.h> and others.
static const char *const beginnings[] = {"PRI",     "SCN",          "M_",   "L_",   "P_",   "AF_",      "PF_",
                                         "atomic_", "memory_order", "ifr_", "ifc_", "si_",  "pthread_", "inet_",
                                         "thrd_",   "mtx_",         "cnd_", "tss_", "tcp_", "TCP_",     "Dl_"};

// NAME_OK would be a macro of <unistd.h>.
static const char *const with_ok[] = {"f", "r", "w", "x"};

// Generic macros of <math.h> that narrow their results, by the type of the result: f32add, dmul.
static const char *const narrowing[] = {"f", "d", "f32", "f32x", "f64", "f64x"}, *const operations[] = {"add", "sub",  "mul",
                                                                                                        "div", "sqrt", "fma"};

// libNAME.so or NAME.h would stand before the system's.
static const char *const system_names[] = {
    "aio",    "arpa",        "assert",   "atomic",   "c",         "complex", "cpio",     "crypt",    "ctype",     "dirent",
    "dl",     "dlfcn",       "errno",    "fcntl",    "fenv",      "float",   "fmtmsg",   "fnmatch",  "ftw",       "gcc_s",
    "glob",   "gomp",        "grp",      "iconv",    "inttypes",  "iso646",  "langinfo", "libgen",   "limits",    "locale",
    "m",      "malloc",      "math",     "monetary", "mqueue",    "ndbm",    "netdb",    "nl_types", "omp",       "poll",
    "printf", "pthread",     "pwd",      "regex",    "resolv",    "rt",      "sched",    "search",   "semaphore", "setjmp",
    "signal", "spawn",       "stdalign", "stdarg",   "stdatomic", "stdbool", "stdc",     "stddef",   "stdint",    "stdio",
    "stdlib", "stdnoreturn", "string",   "strings",  "stropts",   "syslog",  "tar",      "termios",  "tgmath",    "threads",
    "time",   "uchar",       "ulimit",   "unistd",   "util",      "utime",   "utmpx",    "wchar",    "wctype",    "wordexp"};

// NAME_open would replace a function of catena's own runtime.
static const char *const own[] = {"library", "layer", "team", "tile"};

static const char replaces[] = "would make functions that exist already, as iconv_open is one";

// What a library exports: NAME_open and so on.
static const char *const functions[] = {"open",       "open_memory", "pack",  "layer",    "forward",
                                        "importance", "nonfinite",   "error", "describe", "close"};

#define AMONG(name, list) is_among(name, list, sizeof list / sizeof *list)

static bool is_among(const char *name, const char *const *list, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (!strcmp(name, list[i])) {
            return true;
        }
    }
    return false;
}

static bool begins(const char *name) {
    for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++) {
        if (!strncmp(name, beginnings[i], strlen(beginnings[i]))) {
            return true;
        }
    }
    return false;
}

static bool narrows(const char *name) {
    for (size_t i = 0; i < sizeof narrowing / sizeof *narrowing; i++) {
        size_t length = strlen(narrowing[i]);
        if (!strncmp(name, narrowing[i], length) && AMONG(name + length, operations)) {
            return true;
        }
    }
    return false;
}

static bool has_small_letter(const char *name) {
    return strpbrk(name, "abcdefghijklmnopqrstuvwxyz") != NULL;
}

// Whether one of the library's functions has the name of another one.
static bool replaces_function(void *c_library, const char *name) {
    char symbol[MODEL_NAME_BYTES + 32];
    bool found = false;
    for (size_t i = 0; !found && i < sizeof functions / sizeof *functions; i++) {
        snprintf(symbol, sizeof symbol, "%s_%s", name, functions[i]);
        found = dlsym(c_library, symbol) != NULL;
    }
    return found;
}

// What the C library says to a name. The lookup goes on from libm through what that needs.
static const char *ask_c_library(const char *name) {
    void *library = dlopen("libm.so.6", RTLD_LAZY);
    const char *problem = NULL;
    if (library && dlsym(library, name)) {
        problem = "is that of a function or a variable of the C library";
    } else if (library && replaces_function(library, name)) {
        problem = replaces;
    }
    if (library) {
        dlclose(library);
    }
    return problem;
}

const char *name_problem(const char *name) {
    size_t length = strlen(name);
    if (AMONG(name, keywords)) {
        return "is a keyword of C or C++";
    }
    if (!has_small_letter(name)) {
        return "has no small letter: such names are those of macros in C";
    }
    if (length > 2 && !strcmp(name + length - 2, "_t")) {
        return "ends in _t: such names are those of types in C and POSIX";
    }
    if (begins(name) || narrows(name) || AMONG(name, macros) || AMONG(name, with_ok)) {
        return "is used by headers of C, C++, POSIX or GNU, or by macros of theirs";
    }
    const char *problem = AMONG(name, own) ? replaces : ask_c_library(name);
    if (problem) {
        return problem;
    }
    if (AMONG(name, system_names)) {
        return "would make files that stand in the way of the system's, as libm.so or math.h are some";
    }
    return NULL;
}
