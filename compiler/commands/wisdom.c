// catena wisdom ACTION: what searches found out, to be seen, passed on and thrown away.
#include <argp.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "command.h"
#include "compiler/machine/report.h"
#include "compiler/wisdom/parts.h"

enum { OPTION_SYSTEM = 256, OPTION_FORMAT, OPTION_DAYS, OPTION_ALL, DAY_SECONDS = 86400 };

typedef struct Arguments {
    const char **words;  // what the action is given; room for argc
    int count;
    const char *action, *wisdom, *system;
    OutputFormat format;
    int64_t days;  // -1: not given
    bool all;
} Arguments;

// What an action works with.
typedef struct Job {
    const Arguments *arguments;
    const char *path;
    char note[WISDOM_NOTE_BYTES];
    Diagnostics diagnostics;
} Job;

typedef int Run(Job *job);
static Run run_list, run_show, run_diff, run_merge, run_export, run_prune, run_forget;

// X(name, arguments in the usage, fewest, most, function, what it does)
#define ACTION_LIST(X) \
    X("list", "", 0, 0, run_list, "One line per entry: layer, age, machine, gain, trusted or not") \
    X("show", "ID", 1, 1, run_show, "All of an entry") \
    X("diff", "FILE | ID ID", 1, 2, run_diff, "Decisions that differ from those of FILE, or of two entries") \
    X("merge", "FILE...", 1, INT_MAX, run_merge, "Unite files with the user's wisdom") \
    X("export", "[FILE [ID...]]", 0, INT_MAX, run_export, "Write entries (default: all) to a new FILE (default: -)") \
    X("import", "[FILE]", 0, 1, run_merge, "Unite an exported FILE (default: -) with the user's wisdom") \
    X("prune", "[--days N]", 0, 0, run_prune, "Drop what is not trusted any more, and what is older") \
    X("forget", "ID... | --all", 0, INT_MAX, run_forget, "Drop entries")

typedef struct Action {
    const char *name, *usage;
    int fewest, most;
    Run *run;
} Action;

#define ACTION_ROW(name, usage, fewest, most, run, purpose) {name, usage, fewest, most, run},
static const Action actions[] = {ACTION_LIST(ACTION_ROW)};
enum { ACTIONS = sizeof actions / sizeof *actions };

static const struct argp_option options[] = {
    {"wisdom", 'w', "FILE", 0, "Work on this file alone (default: the user's)", 0},
    {"system", OPTION_SYSTEM, "FILE", 0, "The system's wisdom, only read (default: " WISDOM_SYSTEM_PATH ", without --wisdom)", 0},
    {"format", OPTION_FORMAT, "md|json", 0, "Of list and show: Markdown tables (default) or one JSON document", 0},
    {"days", OPTION_DAYS, "N", 0, "Of prune: also drop entries that were last measured more than N days ago", 0},
    {"all", OPTION_ALL, NULL, 0, "Of forget: drop every entry", 0},
    {0},
};

static const Action *find_action(const char *name) {
    for (int i = 0; name && i < ACTIONS; i++) {
        if (!strcmp(actions[i].name, name)) {
            return &actions[i];
        }
    }
    return NULL;
}

static void check_usage(const Arguments *arguments, const struct argp_state *state) {
    const Action *action = find_action(arguments->action);
    if (!arguments->action) {
        argp_error(state, "what is to be done? list, show, diff, merge, export, import, prune or forget");
    } else if (!action) {
        argp_error(state, "unknown action '%s'", arguments->action);
    } else if (arguments->count < action->fewest || arguments->count > action->most) {
        argp_error(state, "%s takes %s, not %d arguments", action->name, *action->usage ? action->usage : "none", arguments->count);
    } else if (arguments->days >= 0 && action->run != run_prune) {
        argp_error(state, "--days goes with prune only");
    } else if (arguments->all && action->run != run_forget) {
        argp_error(state, "--all goes with forget only");
    } else if (action->run == run_forget && arguments->all == (arguments->count > 0)) {
        argp_error(state, "forget takes either entries' ids or --all");
    }
}

static error_t parse(int key, char *value, struct argp_state *state) {
    Arguments *arguments = state->input;
    switch (key) {
    case 'w': arguments->wisdom = value; return 0;
    case OPTION_SYSTEM: arguments->system = value; return 0;
    case OPTION_FORMAT:
        if (!output_format_parse(value, &arguments->format)) {
            argp_error(state, "--format takes md or json, not '%s'", value);
        }
        return 0;
    case OPTION_DAYS: arguments->days = command_parse_number(value, 0, 36500, "days", state); return 0;
    case OPTION_ALL: arguments->all = true; return 0;
    case ARGP_KEY_ARG:
        if (arguments->action) {
            arguments->words[arguments->count++] = value;
        } else {
            arguments->action = value;
        }
        return 0;
    case ARGP_KEY_END: check_usage(arguments, state); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

// --- entries -----------------------------------------------------------------------------------------------------------------

// What the user sees: his file, and the system's.
static Wisdom *read_all(Job *job) {
    WisdomDamage damage = job->arguments->wisdom ? WISDOM_LEAVE : WISDOM_SET_ASIDE;
    return wisdom_read_all(job->path, damage, job->arguments->system, job->note, &job->diagnostics);
}

// The entry of this id, or the one whose id begins with these characters; NULL with a diagnostic unless there is exactly one.
static json_t *find(const json_t *entries, const char *start, const char **found, Job *job) {
    const char *id;
    json_t *entry, *match = json_object_get(entries, start);
    if (match) {
        *found = start;
        return match;
    }
    json_object_foreach((json_t *)entries, id, entry) {
        if (*start && !strncmp(id, start, strlen(start))) {
            if (match) {
                diagnostics_add(&job->diagnostics, job->path, 0, 0, "more than one id begins with '%s'", start);
                return NULL;
            }
            match = entry;
            *found = id;
        }
    }
    if (!match) {
        diagnostics_add(&job->diagnostics, job->path, 0, 0, "no entry '%s'", start);
    }
    return match;
}

static int run_list(Job *job) {
    Wisdom *wisdom = read_all(job);
    const char *id;
    json_t *entry;
    int failed = !wisdom;
    if (wisdom && job->arguments->format == OUTPUT_JSON) {
        json_t *list = json_array();
        json_object_foreach(wisdom->entries, id, entry) {
            json_array_append_new(list, wisdom_print_document(id, entry, true));
        }
        failed = report_print(json_pack("{s:o}", "entries", list));
    } else if (wisdom && json_object_size(wisdom->entries)) {
        wisdom_print_list(wisdom->entries, stdout);
    } else if (wisdom) {
        printf("no entries in %s\n", job->path);
    }
    wisdom_free(wisdom);
    return failed;
}

static int run_show(Job *job) {
    Wisdom *wisdom = read_all(job);
    const char *id = NULL;
    const json_t *entry = wisdom ? find(wisdom->entries, job->arguments->words[0], &id, job) : NULL;
    int failed = !entry;
    if (entry && job->arguments->format == OUTPUT_JSON) {
        failed = report_print(wisdom_print_document(id, entry, false));
    } else if (entry) {
        wisdom_print_entry(id, entry, stdout);
    }
    wisdom_free(wisdom);
    return failed;
}

// --- differences -------------------------------------------------------------------------------------------------------------

// Every entry of `here` that `there` lacks.
static void print_missing(const json_t *here, const json_t *there, const char *name) {
    const char *id;
    json_t *entry;
    json_object_foreach((json_t *)here, id, entry) {
        if (!json_object_get(there, id)) {
            printf("only in %s: ", name);
            wisdom_print_line(id, entry, stdout);
        }
    }
}

static int diff_file(Job *job, const json_t *entries) {
    const char *name = job->arguments->words[0], *id;
    Wisdom *other = wisdom_read_foreign(name, &job->diagnostics);
    json_t *entry;
    if (!other) {
        return -1;
    }
    json_object_foreach((json_t *)entries, id, entry) {
        const json_t *theirs = json_object_get(other->entries, id);
        if (theirs) {
            wisdom_print_line(id, entry, stdout);
            wisdom_print_difference("here", entry, "there", theirs, stdout);
            putchar('\n');
        }
    }
    print_missing(entries, other->entries, job->path);
    print_missing(other->entries, entries, name);
    wisdom_free(other);
    return 0;
}

static int diff_entries(Job *job, const json_t *entries) {
    const char *ids[2];
    const json_t *one = find(entries, job->arguments->words[0], &ids[0], job);
    const json_t *other = one ? find(entries, job->arguments->words[1], &ids[1], job) : NULL;
    if (!other) {
        return -1;
    }
    wisdom_print_line(ids[0], one, stdout);
    wisdom_print_line(ids[1], other, stdout);
    wisdom_print_difference(ids[0], one, ids[1], other, stdout);
    return 0;
}

static int run_diff(Job *job) {
    Wisdom *wisdom = read_all(job);
    int failed = !wisdom || (job->arguments->count == 2 ? diff_entries : diff_file)(job, wisdom->entries);
    wisdom_free(wisdom);
    return failed;
}

// --- passing on --------------------------------------------------------------------------------------------------------------

static int unite_counting(Wisdom *wisdom, void *context, Diagnostics *diagnostics) {
    json_t *entries = wisdom->entries;
    json_t *before = json_copy(entries), *entry;
    const char *id;
    int changed = 0, added = (int)json_object_size(entries);
    if (!before || wisdom_entries_unite(entries, context)) {
        json_decref(before);
        diagnostics_add(diagnostics, NULL, 0, 0, "out of memory");
        return -1;
    }
    json_object_foreach(before, id, entry) {
        changed += !json_equal(entry, json_object_get(entries, id));
    }
    json_decref(before);
    added = (int)json_object_size(entries) - added;
    printf("%d new, %d changed, %zu in all\n", added, changed, json_object_size(entries));
    return added + changed > 0;
}

// All files are read before anything is written.
static int run_merge(Job *job) {
    static const char *const standard_input[] = {"-"};
    const Arguments *arguments = job->arguments;
    const char *const *paths = arguments->count ? arguments->words : standard_input;
    json_t *all = json_object();
    int failed = !all;
    for (int i = 0; i < (arguments->count ? arguments->count : 1); i++) {
        Wisdom *wisdom = wisdom_read_foreign(paths[i], &job->diagnostics);
        failed |= !wisdom || wisdom_entries_unite(all, wisdom->entries);
        wisdom_free(wisdom);
    }
    failed = failed || wisdom_change(job->path, unite_counting, all, job->note, &job->diagnostics) < 0;
    json_decref(all);
    return failed;
}

// The entries that are named, or all. New reference; NULL with diagnostics.
static json_t *select_entries(Job *job, json_t *entries) {
    if (job->arguments->count < 2) {
        return json_incref(entries);
    }
    json_t *selected = json_object();
    for (int i = 1; i < job->arguments->count; i++) {
        const char *id;
        json_t *entry = find(entries, job->arguments->words[i], &id, job);
        if (!entry || json_object_set(selected, id, entry)) {
            json_decref(selected);
            return NULL;
        }
    }
    return selected;
}

static int export_entries(Job *job, const json_t *entries) {
    const char *path = job->arguments->count ? job->arguments->words[0] : "-";
    struct stat facts;
    if (strcmp(path, "-")) {
        if (!lstat(path, &facts)) {
            diagnostics_add(&job->diagnostics, path, 0, 0, "exists: remove it or choose another name");
            return -1;
        }
        return wisdom_write(path, entries, &job->diagnostics);
    }
    char *text = wisdom_text_write(entries);
    int failed = !text || fputs(text, stdout) == EOF;
    free(text);
    return failed;
}

static int run_export(Job *job) {
    Wisdom *wisdom = read_all(job);
    json_t *entries = wisdom ? select_entries(job, wisdom->entries) : NULL;
    int failed = !entries || export_entries(job, entries);
    json_decref(entries);
    wisdom_free(wisdom);
    return failed;
}

// --- throwing away -----------------------------------------------------------------------------------------------------------

static void drop(json_t *entries, const char *id, const json_t *entry) {
    printf("dropped ");
    wisdom_print_line(id, entry, stdout);
    json_object_del(entries, id);
}

static int prune(Wisdom *wisdom, void *context, Diagnostics *diagnostics) {
    json_t *entries = wisdom->entries;
    const int64_t days = *(const int64_t *)context;
    int dropped = 0;
    const char *id;
    json_t *entry;
    void *next;
    (void)diagnostics;
    json_object_foreach_safe(entries, next, id, entry) {
        int64_t age = (int64_t)time(NULL) - json_integer_value(json_object_get(entry, "time"));
        if (!wisdom_entry_trusted(entry) || (days >= 0 && age > days * DAY_SECONDS)) {
            drop(entries, id, entry);
            dropped++;
        }
    }
    if (!dropped) {
        printf("nothing to drop\n");
    }
    return dropped > 0;
}

static int run_prune(Job *job) {
    int64_t days = job->arguments->days;
    return wisdom_change(job->path, prune, &days, job->note, &job->diagnostics) < 0;
}

// All ids are looked up before anything is dropped, among what is refused, too: a user may not want to mend it.
static int forget(Wisdom *wisdom, void *context, Diagnostics *diagnostics) {
    Job *job = context;
    json_t *known = json_copy(wisdom->entries), *entry;
    bool failed = !known || json_object_update_missing(known, wisdom->refused);
    json_t *doomed = job->arguments->all ? json_incref(known) : json_object();
    const char *id;
    void *next;
    for (int i = 0; !failed && i < job->arguments->count; i++) {
        entry = find(known, job->arguments->words[i], &id, job);
        failed = !entry || json_object_set(doomed, id, entry);
    }
    json_object_foreach_safe(failed ? NULL : doomed, next, id, entry) {
        if (json_object_get(wisdom->entries, id)) {
            drop(wisdom->entries, id, entry);
        } else {
            printf("dropped an entry that was not used\n");  // its id and fields may be anything
            json_object_del(wisdom->refused, id);
        }
    }
    (void)diagnostics;  // the job's
    json_decref(doomed);
    json_decref(known);
    return failed ? -1 : 1;
}

static int run_forget(Job *job) {
    return wisdom_change(job->path, forget, job, job->note, &job->diagnostics) < 0;
}

// --- the command -------------------------------------------------------------------------------------------------------------

#define ACTION_HELP(name, usage, fewest, most, run, purpose) "\n  " name " " usage "\n        " purpose
static const char purpose_text[] =
    "Shows and changes what searches found out, which every later compile uses.\v"
    "Actions:\n" ACTION_LIST(ACTION_HELP) "\n\nAn ID may be shortened to its first characters; - is standard input or output.";

int command_wisdom(int argc, char **argv) {
    static const struct argp parser = {options, parse, "ACTION [ARGUMENT...]", purpose_text, NULL, NULL, NULL};
    Arguments arguments = {.words = calloc((size_t)argc, sizeof *arguments.words), .days = -1};
    char path[WISDOM_PATH_BYTES];
    static Job job;
    if (!arguments.words) {
        return EXIT_FAILED;
    }
    argp_parse(&parser, argc, argv, 0, NULL, &arguments);
    if (!arguments.wisdom && !arguments.system) {
        arguments.system = WISDOM_SYSTEM_PATH;
    }
    job = (Job){.arguments = &arguments, .path = arguments.wisdom ? arguments.wisdom : path};
    int failed = 1;
    if (!arguments.wisdom && wisdom_user_path(path)) {
        diagnostics_add(&job.diagnostics, NULL, 0, 0, "there is no home to keep wisdom in: name a file with --wisdom");
    } else {
        failed = find_action(arguments.action)->run(&job);
    }
    if (*job.note) {
        fprintf(stderr, "%s\n", job.note);
    }
    diagnostics_print(&job.diagnostics, stderr);
    diagnostics_free(&job.diagnostics);
    free(arguments.words);
    return failed ? EXIT_FAILED : EXIT_OK;
}
