/* run.c - tidepool run: a program on the library, by preload */
#define _GNU_SOURCE
#include "program.h"
#include "setting.h"
#include "stats.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tidepool/options.h>

/* Every option of the library is a flag; these come on top. */
enum { RUN_HELP, RUN_STATS, RUN_OPTION, RUN_NO_FOLLOW, RUN_ONLY, RUN_OWN };

struct run {
    struct settings settings;
    bool stats;
    const char *stats_file;
    bool no_follow;
    const char *only; /* NULL: all */
    char **program;   /* and its arguments */
};

static int run_flags(struct flag table[SETTING_COUNT])
{
    struct tide_option_info info;
    int count = RUN_OWN;
    table[RUN_HELP] = (struct flag){"help", FLAG_PLAIN, false, 0};
    table[RUN_STATS] = (struct flag){"stats", FLAG_MAYBE, false, 0};
    table[RUN_OPTION] = (struct flag){"option", FLAG_VALUE, false, 0};
    table[RUN_NO_FOLLOW] = (struct flag){"no-follow", FLAG_PLAIN, false, 0};
    table[RUN_ONLY] = (struct flag){"only", FLAG_VALUE, false, 0};
    for (size_t i = 0; count < SETTING_COUNT && tide_option_info(i, &info) == 0; i++)
        table[count++] = (struct flag){
            info.key, strcmp(info.key, "counters") == 0 ? FLAG_MAYBE : FLAG_VALUE, false, 0};
    return count;
}

static void run_help(void)
{
    struct tide_option_info info;
    fputs(
        "tidepool run - runs a program on the library\n"
        "\n"
        "usage: tidepool run [FLAGS] [--] PROGRAM [ARGUMENTS]\n"
        "\n"
        "The program gets libtidepool.so by LD_PRELOAD (in front of what is there already)\n"
        "and the flags by TIDEPOOL_OPTIONS (over what is there already), and so do its\n"
        "children. All values are checked first. What clears the environment (env -i) or gains\n"
        "rights is not served, nor is what it starts.\n"
        "\n"
        "Flags:\n"
        "  --stats             when the program has ended, its blocks by tier, on stderr,\n"
        "                      summed up over all its processes\n"
        "  --stats=FILE        and the statistics themselves in FILE, a JSON line a process\n"
        "  --no-follow         the program alone: what it starts finds the environment as it was\n"
        "  --only=NAME         of the program and what it starts, those processes whose\n"
        "                      executable (or script) is called NAME; the others keep libc's\n"
        "                      malloc. Both flags: NAME, but not what it starts\n"
        "  --option KEY=VALUE  sets an option; so does, for each of them:\n",
        stdout);
    for (size_t i = 0; tide_option_info(i, &info) == 0; i++) {
        char flag[48];
        int at = 0;
        for (; info.key[at] != '\0' && at < 40; at++)
            flag[at] = info.key[at] == '_' ? '-' : info.key[at];
        snprintf(flag + at, sizeof flag - (size_t)at, "=");
        printf("  --%-17s %s\n", flag, info.values);
    }
    fputs("\n"
          "Examples:\n"
          "  tidepool run -- gcc -c file.c\n"
          "  tidepool run --mid=node:1 --stats -- redis-server\n"
          "  tidepool run --mid=near,delay=250 -- PROGRAM   as if Mid were 250 ns slower\n"
          "\n"
          "The summary shows what processes hold when they end by exit(); one that is killed\n"
          "leaves nothing. \"Blocks taken\" counts blocks that left their pages: those that a\n"
          "thread frees and takes again from its own cache count once, and a forked child\n"
          "starts with its parent's.\n"
          "\n"
          "The library is TIDEPOOL_LIBRARY, or libtidepool.so next to this command, in ../lib,\n"
          "or in the system's library directories. Set-uid and static programs cannot be\n"
          "preloaded: a warning says so.\n"
          "Exit code: the program's own; 126 when it cannot be executed, 127 when there is\n"
          "none; 1 no library (or, with strict=1, no such memory), 2 usage, 3 error.\n",
          stdout);
}

/* --- flags to settings --------------------------------------------------------------- */

static bool run_set(struct run *run, const char *key, size_t length, const char *value)
{
    if (settings_add(&run->settings, key, length, value, ""))
        return true;
    complain("run", "the options are longer than the library reads (%d characters)",
             SETTING_TEXT - 1);
    return false;
}

static bool run_option(struct run *run, const char *text)
{
    const char *equals = strchr(text, '=');
    if (equals == NULL || equals == text) {
        complain("run", "--option %s: KEY=VALUE is needed (see: tidepool options)", text);
        return false;
    }
    return run_set(run, text, (size_t)(equals - text), equals + 1);
}

static bool run_only(struct run *run, const char *name)
{
    run->only = name;
    if (name[0] != '\0' && strchr(name, '/') == NULL && strlen(name) <= NAME_MAX)
        return true;
    complain("run", "--only=%.80s: the name of an executable is needed, without a directory", name);
    return false;
}

/* Reads the flags. EXIT_DONE with run->program set; with none, the help was given. */
static int run_read(struct run *run, char **argv)
{
    struct flag table[SETTING_COUNT];
    struct flags flags = {"run", table, run_flags(table), argv + 1, NULL};
    int flag;
    while ((flag = flags_next(&flags)) >= 0) {
        bool fine = true;
        if (flag == RUN_HELP) {
            run_help();
            return EXIT_DONE;
        }
        if (flag == RUN_STATS) {
            run->stats = true;
            run->stats_file = flags.value;
        } else if (flag == RUN_OPTION) {
            fine = run_option(run, flags.value);
        } else if (flag == RUN_NO_FOLLOW) {
            run->no_follow = true;
        } else if (flag == RUN_ONLY) {
            fine = run_only(run, flags.value);
        } else {
            fine = run_set(run, table[flag].name, strlen(table[flag].name),
                           flags.value != NULL ? flags.value : "1");
        }
        if (!fine)
            return EXIT_USAGE;
    }
    if (flag == FLAGS_BAD)
        return EXIT_USAGE;
    if (*flags.at == NULL) {
        complain("run", "no program (usage: tidepool run [FLAGS] [--] PROGRAM [ARGUMENTS])");
        return EXIT_USAGE;
    }
    run->program = flags.at;
    return EXIT_DONE;
}

/* --- checks -------------------------------------------------------------------------- */

/* A good mid= that this machine cannot serve: near memory, or with strict=1 nothing. */
static int run_absent(const struct run *run, const struct setting *mid)
{
    const struct setting *strict = settings_find(&run->settings, "strict");
    if (strict != NULL && strict->value != NULL && strcmp(strict->value, "1") == 0) {
        complain("run", "%s, but strict=1 forbids it", mid->why);
        return EXIT_ABSENT;
    }
    if (mid->origin[0] == '\0') {
        complain("run", "%s", mid->why);
        setenv("TIDEPOOL_WARNED", "1", 1); /* the library need not say it again */
    }
    return EXIT_DONE;
}

static int run_check(struct run *run)
{
    const struct setting *exit_file = settings_find(&run->settings, "stats_at_exit");
    if (run->stats && exit_file != NULL && exit_file->origin[0] == '\0') {
        complain("run", "--stats and the option stats_at_exit exclude each other; --stats=FILE "
                        "writes a file, too");
        return EXIT_USAGE;
    }
    if (settings_check(&run->settings) > 0) {
        for (int i = 0; i < run->settings.count; i++) {
            const struct setting *entry = &run->settings.entry[i];
            if (entry->error == -EINVAL || entry->error == -ENOENT)
                complain("run", "%s%s%s", entry->origin, entry->origin[0] != '\0' ? ": " : "",
                         entry->why);
        }
        return EXIT_USAGE;
    }
    const struct setting *mid = settings_find(&run->settings, "mid");
    return mid != NULL && mid->error != 0 ? run_absent(run, mid) : EXIT_DONE;
}

/* --- the environment of the program --------------------------------------------------- */

static bool run_options(struct run *run)
{
    char text[SETTING_TEXT];
    if (!settings_write(&run->settings, text)) {
        complain("run", "the options are longer than the library reads (%d characters)",
                 SETTING_TEXT - 1);
        return false;
    }
    return text[0] == '\0' || setenv("TIDEPOOL_OPTIONS", text, 1) == 0;
}

/* Appends what is preloaded already, without libraries of ours: `run` may be nested. */
static void run_inherited(char *list, size_t size, const char *library, const char *follow)
{
    const char *at = getenv("LD_PRELOAD");
    for (size_t span; at != NULL && *at != '\0'; at += span + (at[span] != '\0')) {
        span = strcspn(at, " :");
        bool ours = (strlen(library) == span && memcmp(library, at, span) == 0) ||
                    (strlen(follow) == span && memcmp(follow, at, span) == 0);
        size_t used = strlen(list);
        if (span > 0 && !ours)
            snprintf(list + used, size - used, "%s%.*s", used > 0 ? ":" : "", (int)span, at);
    }
}

/* libtidepool_follow.so is where the library is. */
static bool run_follow_library(const char *library, char follow[PROGRAM_PATH])
{
    const char *slash = strrchr(library, '/');
    int length = snprintf(follow, PROGRAM_PATH, "%.*s/libtidepool_follow.so",
                          (int)(slash - library), library);
    return length < PROGRAM_PATH && access(follow, R_OK) == 0;
}

/* Tells libtidepool_follow.so what is wanted; see tools/follow/follow.c. */
static bool run_wish(const struct run *run, const char *library)
{
    const char *before = settings_environment();
    char *wish;
    if (asprintf(&wish, "%s%s:%s:%s", run->no_follow ? "n" : "", run->only != NULL ? "o" : "",
                 library, run->only != NULL ? run->only : "") < 0)
        return false;
    bool done = setenv("TIDEPOOL_FOLLOW", wish, 1) == 0;
    if (run->no_follow && before != NULL)
        done = done && setenv("TIDEPOOL_OPTIONS_BEFORE", before, 1) == 0;
    free(wish);
    return done;
}

static int run_preload(const struct run *run, const char *library)
{
    char follow[PROGRAM_PATH], *list;
    const char *inherited = getenv("LD_PRELOAD");
    bool chosen = run->no_follow || run->only != NULL;
    bool there = run_follow_library(library, follow);
    size_t size = 2 * PROGRAM_PATH + (inherited != NULL ? strlen(inherited) : 0);
    if (chosen && !there) {
        complain("run", "%s is missing: --no-follow and --only need it", follow);
        return EXIT_ABSENT;
    }
    unsetenv("TIDEPOOL_FOLLOW");
    unsetenv("TIDEPOOL_OPTIONS_BEFORE");
    list = calloc(1, size);
    bool done = list != NULL && (!chosen || run_wish(run, library));
    if (done) {
        snprintf(list, size, "%s%s%s", run->only == NULL ? library : "",
                 chosen && run->only == NULL ? ":" : "", chosen ? follow : "");
        run_inherited(list, size, library, follow);
        done = setenv("LD_PRELOAD", list, 1) == 0;
    }
    free(list);
    if (!done)
        complain("run", "cannot set LD_PRELOAD: %s", strerror(errno));
    return done ? EXIT_DONE : EXIT_ERROR;
}

static int run_start(struct run *run)
{
    struct stats_run stats;
    char library[PROGRAM_PATH], path[PROGRAM_PATH], pattern[STATS_PATH];
    if (!library_find(library))
        return EXIT_ABSENT;
    if (program_find(run->program[0], path))
        program_warn(path);
    if (run->stats) {
        if (!stats_begin(&stats, run->stats_file, pattern))
            return EXIT_ERROR;
        if (settings_find(&run->settings, "stats_at_exit") != NULL)
            complain("run", "warning: --stats replaces stats_at_exit of TIDEPOOL_OPTIONS");
        if (!run_set(run, "stats_at_exit", strlen("stats_at_exit"), pattern))
            return EXIT_USAGE;
    }
    if (!run_options(run))
        return EXIT_USAGE;
    int code = run_preload(run, library);
    if (code != EXIT_DONE)
        return code;
    return run->stats ? stats_run(&stats, run->program) : run_program(run->program);
}

static int run_run(int argc, char **argv)
{
    static struct run run;
    const char *inherited = settings_environment();
    (void)argc;
    if (inherited != NULL && !settings_read(&run.settings, inherited, "TIDEPOOL_OPTIONS")) {
        complain("run", "TIDEPOOL_OPTIONS is longer than the library reads (%d characters)",
                 SETTING_TEXT - 1);
        return EXIT_USAGE;
    }
    int code = run_read(&run, argv);
    if (code != EXIT_DONE || run.program == NULL)
        return code;
    code = run_check(&run);
    return code != EXIT_DONE ? code : run_start(&run);
}

const struct command command_run = {"run", "runs a program on the library", run_run, run_help};
