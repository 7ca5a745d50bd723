/* main.c - the `tidepool` command: which subcommand, and the general help */
#include "command.h"

#include <string.h>

#include <tidepool/version.h>

static const struct command *const commands[] = {&command_info,   &command_run,     &command_stat,
                                                 &command_doctor, &command_options, &command_log};

enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void general_help(FILE *to)
{
    fputs(
        "tidepool - a malloc that keeps a program's mid-size blocks in far memory\n"
        "\n"
        "It serves unmodified programs, put in front of libc's malloc by LD_PRELOAD. Blocks of\n"
        "2 to 32 KiB may live in slower, larger memory (a CXL expander, a NUMA node without\n"
        "processors), everything else stays near.\n"
        "\n"
        "   malloc(n)    up to 2047 B        2048 B .. 32 KiB       above 32 KiB\n"
        "                     |                     |                    |\n"
        "                     v                     v                    v\n"
        "              +-------------+       +-------------+      +-------------+\n"
        "              |    Tiny     |       |     Mid     |      |    Large    |\n"
        "              +-------------+       +-------------+      +-------------+\n"
        "                    near            far, if there is          near\n"
        "\n"
        "Begin with:\n"
        "  tidepool info                     what memory is here, and what would be used, and why\n"
        "  tidepool doctor                   what is wrong here, and what mends it\n"
        "  tidepool run --stats -- PROGRAM   runs a program on it; where its blocks went\n"
        "  tidepool run --counters -- PROGRAM & sleep 1; tidepool stat -w 1 $!   while it runs\n"
        "  tidepool options                  what can be set, and how\n"
        "  tidepool log --help               the shared log: made, looked at, checked\n"
        "\n"
        "Commands:\n",
        to);
    for (int i = 0; i < COMMANDS; i++)
        fprintf(to, "  %-10s%s\n", commands[i]->name, commands[i]->summary);
    fputs("  help      the help of a command: tidepool help run, or tidepool run --help\n"
          "\n"
          "Flags: --help, --version\n"
          "Exit codes: 0 done, 1 not available here, 2 usage, 3 error.\n"
          "  `run` ends as its program does; 126 if that cannot be executed, 127 if not found.\n",
          to);
}

static const struct command *find_command(const char *word)
{
    const char *names[COMMANDS + 1];
    for (int i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i]->name, word) == 0)
            return commands[i];
        names[i] = commands[i]->name;
    }
    names[COMMANDS] = "help";
    const char *hint = nearest_name(word, names, COMMANDS + 1);
    if (hint != NULL)
        complain(NULL, "unknown command '%s'; did you mean '%s'?", word, hint);
    else
        complain(NULL, "unknown command '%s' (see: tidepool --help)", word);
    return NULL;
}

static int help(char **argv)
{
    if (argv[0] == NULL || strcmp(argv[0], "help") == 0) {
        general_help(stdout);
        return EXIT_DONE;
    }
    const struct command *command = find_command(argv[0]);
    if (command == NULL)
        return EXIT_USAGE;
    if (argv[1] != NULL) {
        complain("help", "unexpected argument '%s'", argv[1]);
        return EXIT_USAGE;
    }
    command->help();
    return EXIT_DONE;
}

static int bad_flag(const char *word)
{
    static const char *const names[] = {"--help", "--version"};
    const char *hint = nearest_name(word, names, 2);
    if (hint != NULL)
        complain(NULL, "unknown flag '%s'; did you mean '%s'?", word, hint);
    else
        complain(NULL, "unknown flag '%s' (see: tidepool --help)", word);
    return EXIT_USAGE;
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2) {
        general_help(stderr);
        return EXIT_USAGE;
    }
    const char *word = argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0)
        return help(argv + 2);
    if (strcmp(word, "--version") == 0) {
        printf("tidepool %s\n", tide_version());
        return EXIT_DONE;
    }
    if (word[0] == '-')
        return bad_flag(word);
    const struct command *command = find_command(word);
    return command != NULL ? command->run(argc - 1, argv + 1) : EXIT_USAGE;
}

int main(int argc, char **argv)
{
    static char buffer[1 << 16]; /* one write at the end, so that its error is seen */
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    int code = dispatch(argc, argv);
    int output = finish_output();
    return code == EXIT_DONE ? output : code;
}
