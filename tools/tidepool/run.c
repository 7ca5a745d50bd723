/* run.c - tidepool run: a program on the library, by preload */
#define _GNU_SOURCE
#include "program.h"
#include "setting.h"
#include "stats.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <tidepool/options.h>

/* Every option of the library is a flag; these come on top. */
enum { RUN_HELP, RUN_STATS, RUN_OPTION, RUN_OWN };

struct run {
    struct settings settings;
    bool stats;
    const char *stats_file;
    char **program; /* and its arguments */
};

static int run_flags(struct flag table[SETTING_COUNT])
{
    struct tide_option_info info;
    int count = RUN_OWN;
    table[RUN_HELP] = (struct flag){"help", FLAG_PLAIN, false};
    table[RUN_STATS] = (struct flag){"stats", FLAG_MAYBE, false};
    table[RUN_OPTION] = (struct flag){"option", FLAG_VALUE, false};
    for (size_t i = 0; count < SETTING_COUNT && tide_option_info(i, &info) == 0; i++)
        table[count++] = (struct flag){info.key, FLAG_VALUE, false};
    return count;
}

static void run_help(void)
{
    struct tide_option_info info;
    fputs("tidepool run - runs a program on the library\n"
          "\n"
          "usage: tidepool run [FLAGS] [--] PROGRAM [ARGUMENTS]\n"
          "\n"
          "The program gets libtidepool.so by LD_PRELOAD (in front of what is there already)\n"
          "and the flags by TIDEPOOL_OPTIONS (over what is there already), and so do its\n"
          "children. All values are checked first.\n"
          "\n"
          "Flags:\n"
          "  --stats             when the program has ended, its blocks by tier, on stderr,\n"
          "                      summed up over all its processes\n"
          "  --stats=FILE        and the statistics themselves in FILE, a JSON line a process\n"
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
        } else {
            fine = run_set(run, table[flag].name, strlen(table[flag].name), flags.value);
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

/* In front of what is preloaded already, and there only once. */
static bool run_preload(const char *library)
{
    const char *before = getenv("LD_PRELOAD");
    char *joined;
    size_t length = before != NULL ? strcspn(before, " :") : 0;
    if (before == NULL || before[0] == '\0')
        return setenv("LD_PRELOAD", library, 1) == 0;
    if (strlen(library) == length && memcmp(library, before, length) == 0)
        return true;
    if (asprintf(&joined, "%s:%s", library, before) < 0)
        return false;
    bool done = setenv("LD_PRELOAD", joined, 1) == 0;
    free(joined);
    return done;
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
    if (!run_preload(library)) {
        complain("run", "cannot set LD_PRELOAD: %s", strerror(errno));
        return EXIT_ERROR;
    }
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
