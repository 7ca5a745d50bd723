/* log.c - tidepool log: its subcommands, and the words of their command lines */
#include "log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct log_command {
    const char *name, *summary;
    int (*run)(char **argv);
    void (*help)(void);
} log_commands[] = {
    {"create", "makes a region with a log in it", log_create, log_create_help},
    {"stat", "sizes, positions, and who holds whom back", log_stat, log_stat_help},
    {"dump", "the batches and messages, in order", log_dump, log_dump_help},
    {"tail", "the last batches, and (-f) what comes", log_tail, log_tail_help},
    {"check", "verifies all that is in its memory", log_check, log_check_help},
    {"repair", "puts a damaged or abandoned log in order", log_repair, log_repair_help},
    {"recover", "opens a log as its process would, and closes it", log_recover, log_recover_help},
    {"trim", "gives up the oldest batches", log_trim, log_trim_help},
    {"expel", "who has it open; a process loses it", log_expel, log_expel_help},
};

enum { LOG_COMMANDS = sizeof log_commands / sizeof log_commands[0] };

static void log_help(void)
{
    fputs(
        "tidepool log - the shared log in a region: made, looked at, checked, trimmed\n"
        "\n"
        "usage: tidepool log SUBCOMMAND [FLAGS] REGION\n"
        "\n"
        "A log keeps batches of messages in one order, in memory that outlives its process:\n"
        "\n"
        "   clients --append--> rings of brokers --places--> order index --read--> readers\n"
        "\n"
        "Begin with:\n"
        "  tidepool log create --payload=64M /dev/shm/log   a log of level 5, 64 MiB per broker\n"
        "  tidepool log stat -w 1 /dev/shm/log              what goes on in it, every second\n"
        "  tidepool log tail -f /dev/shm/log                what is appended, as it comes\n"
        "  tidepool log dump --from=100 --count=5 --format=hex /dev/shm/log\n"
        "  tidepool log check /dev/shm/log                  is it as it must be?\n"
        "  tidepool log repair /dev/shm/log                 what could be done about it\n"
        "  tidepool log recover /dev/shm/log                after a crash: in order, and durable\n"
        "  tidepool log trim --keep=16M /dev/shm/log        gives up all but the last 16 MiB\n"
        "  tidepool log expel /dev/shm/log                  the processes that have it open\n"
        "\n"
        "Subcommands:\n",
        stdout);
    for (int i = 0; i < LOG_COMMANDS; i++)
        printf("  %-10s%s\n", log_commands[i].name, log_commands[i].summary);
    fputs(
        "Each of them tells more with --help.\n"
        "\n"
        "REGION is where the log is:\n"
        "  PATH, file:PATH    a file: on a disk, tmpfs (/dev/shm), hugetlbfs or fsdax\n"
        "  dax:/dev/daxX.Y    a devdax device\n"
        "  file:/proc/PID/fd/N  a memfd of a running process\n"
        "\n"
        "stat, dump, tail and check only read, and work on a log that a process has open: they\n"
        "map it for reading, take no lock and no entry of a table, and nobody waits for them.\n"
        "repair without --yes only reads as well, and so does expel without a process. create,\n"
        "recover and repair --yes want it for themselves.\n"
        "\n"
        "Exit codes: 0 done; 1 there is no such file, or no log in it; 2 usage; 3 error. `check`:\n"
        "1 means that something is wrong with the log, 3 that it could not be looked at; "
        "`repair`:\n"
        "1 also that there is something to do, or that cannot be mended.\n",
        stdout);
}

static const struct log_command *log_find(const char *word)
{
    const char *names[LOG_COMMANDS];
    for (int i = 0; i < LOG_COMMANDS; i++) {
        if (strcmp(log_commands[i].name, word) == 0)
            return &log_commands[i];
        names[i] = log_commands[i].name;
    }
    const char *hint = nearest_name(word, names, LOG_COMMANDS);
    if (hint != NULL)
        complain("log", "unknown subcommand '%s'; did you mean '%s'?", word, hint);
    else
        complain("log", "unknown subcommand '%s' (see: tidepool log --help)", word);
    return NULL;
}

static int log_run(int argc, char **argv)
{
    if (argc < 2) {
        complain("log", "no subcommand; there are create, stat, dump, tail, check, repair, "
                        "recover, trim and expel (see: tidepool log --help)");
        return EXIT_USAGE;
    }
    bool help = strcmp(argv[1], "help") == 0;
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || (help && argc == 2)) {
        log_help();
        return EXIT_DONE;
    }
    if (argv[1][0] == '-') {
        complain("log",
                 "unknown flag '%s': flags stand behind the subcommand (see: tidepool log "
                 "--help)",
                 argv[1]);
        return EXIT_USAGE;
    }
    const struct log_command *command = log_find(argv[help ? 2 : 1]);
    if (command == NULL)
        return EXIT_USAGE;
    if (!help)
        return command->run(argv + 2);
    command->help();
    return EXIT_DONE;
}

const struct command command_log = {
    "log", "the shared log: create, stat, dump, tail, check, repair, trim, expel", log_run,
    log_help};

/* --- flags and numbers ---------------------------------------------------------------- */

int log_read_words(struct flags *flags, int help, log_take_flag *take, void *wish,
                   const char **words, unsigned most)
{
    unsigned count = 0;
    int flag;
    memset(words, 0, most * sizeof *words);
    for (;;) {
        while ((flag = flags_next(flags)) >= 0) {
            if (flag == help) {
                words[0] = NULL;
                return EXIT_DONE;
            }
            if (!take(wish, flag, flags->value))
                return EXIT_USAGE;
        }
        if (flag == FLAGS_BAD)
            return EXIT_USAGE;
        if (*flags->at == NULL)
            break;
        if (count == most) {
            complain(flags->command, "unexpected argument '%s'", *flags->at);
            return EXIT_USAGE;
        }
        words[count++] = *flags->at++;
    }
    if (count > 0)
        return EXIT_DONE;
    complain(flags->command, "no region (usage: tidepool %s [FLAGS] REGION)", flags->command);
    return EXIT_USAGE;
}

int log_read_flags(struct flags *flags, int help, log_take_flag *take, void *wish,
                   const char **region)
{
    return log_read_words(flags, help, take, wish, region, 1);
}

/* The number and the power of 1024 behind it; false: none, or more than 64 bits. */
bool log_digits(const char *text, bool units, uint64_t *out)
{
    static const char letters[] = "KMGT";
    char *end;
    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    const char *unit = units && *end != '\0' ? strchr(letters, *end & ~0x20) : NULL;
    int shift = unit != NULL ? 10 * (int)(unit - letters + 1) : 0;
    if (errno != 0 || end[unit != NULL] != '\0' || number > UINT64_MAX >> shift)
        return false;
    *out = (uint64_t)number << shift;
    return true;
}

bool log_number(const char *command, const char *flag, const char *text, bool units, uint64_t least,
                uint64_t most, uint64_t *out)
{
    if (log_digits(text, units, out) && *out >= least && *out <= most)
        return true;
    complain(command, "%s%s: '%s' is not allowed; allowed: %llu to %llu%s",
             flag != NULL ? "--" : "PROCESS", flag != NULL ? flag : "", text,
             (unsigned long long)least, (unsigned long long)most,
             units ? " bytes, also with K, M, G or T behind the number" : "");
    return false;
}

bool log_word(const char *command, const char *flag, const char *text, const char *const *words,
              unsigned count, unsigned *out)
{
    char list[256] = "";
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(text, words[i]) == 0) {
            *out = i;
            return true;
        }
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i > 0 ? ", " : "", words[i]);
    }
    complain(command, "--%s: '%s' is not allowed; allowed: %s", flag, text, list);
    return false;
}

bool log_source(const char *command, const char *region, char source[LOG_TEXT])
{
    static const char *const private[] = {"anon", "near", "auto", "memfd"};
    bool plain = strncmp(region, "file:", 5) != 0 && strncmp(region, "dax:", 4) != 0;
    size_t word = strcspn(region, ",");
    bool gone = strncmp(region, "node:", 5) == 0;
    for (int i = 0; i < 4; i++)
        gone = gone || (strlen(private[i]) == word && strncmp(region, private[i], word) == 0);
    if (gone) {
        complain(command,
                 "'%s' is memory that ends with its process; allowed: PATH, file:PATH, "
                 "dax:/dev/daxX.Y (a file of this name: ./%s)",
                 region, region);
        return false;
    }
    int length = snprintf(source, LOG_TEXT, "%s%s", plain ? "file:" : "", region);
    if (length < LOG_TEXT && region[0] != '\0' && strlen(strchr(source, ':')) > 1)
        return true;
    complain(command, "'%.60s' names no file", region);
    return false;
}

/* --- bytes as text -------------------------------------------------------------------- */

void log_escape(char *out, const unsigned char *bytes, size_t size)
{
    static const char letters[] = "abtnvfr";
    for (size_t i = 0; i < size; i++) {
        unsigned char c = bytes[i];
        if (c == '\\' || c == '"')
            out += sprintf(out, "\\%c", c);
        else if (c >= 7 && c <= 13)
            out += sprintf(out, "\\%c", letters[c - 7]);
        else if (c < 0x20 || c >= 0x7f)
            out += sprintf(out, "\\x%02x", c);
        else
            *out++ = (char)c;
    }
    *out = '\0';
}

void log_hex(char *out, const unsigned char *bytes, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    *out = '\0';
}
