/*
 * command.h - what every subcommand of `tidepool` shares: exit codes, the table of
 * subcommands, flags, complaints, and output whose failure is noticed.
 *
 * The command links the library's archive without libc's names: its own malloc is
 * the system's. What the library decides it asks the library's own boxes.
 */
#ifndef TIDEPOOL_COMMAND_H
#define TIDEPOOL_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Exit codes; the last two are those of env(1). */
enum {
    EXIT_DONE = 0,
    EXIT_ABSENT = 1, /* what was asked for is not available here */
    EXIT_USAGE = 2,
    EXIT_ERROR = 3,
    EXIT_CANNOT_EXEC = 126,
    EXIT_NOT_FOUND = 127
};

struct command {
    const char *name;
    const char *summary;
    int (*run)(int argc, char **argv); /* argv[0] is the name; returns an exit code */
    void (*help)(void);                /* on stdout */
};

extern const struct command command_info, command_run, command_stat, command_doctor,
    command_options, command_log;

/* --- words ---------------------------------------------------------------------- */

/* One line on stderr: "tidepool COMMAND: ..."; command NULL: "tidepool: ...". */
void complain(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The one of the names that `word` is probably a slip of, or NULL. */
const char *nearest_name(const char *word, const char *const *names, int count);

/* "2047 B", "32 KiB", "7.8 GiB"; buf holds at least 32 bytes and is returned. */
char *bytes_text(char *buf, uint64_t bytes);

/* "1,234,567"; buf holds at least 32 bytes and is returned. */
char *count_text(char *buf, uint64_t count);

/* Flushes stdout; EXIT_DONE, or a complaint and EXIT_ERROR when a write failed. */
int finish_output(void);

/* --- flags ---------------------------------------------------------------------- */

enum flag_kind {
    FLAG_PLAIN, /* --name */
    FLAG_VALUE, /* --name=VALUE or --name VALUE */
    FLAG_MAYBE  /* --name or --name=VALUE */
};

struct flag {
    const char *name; /* without the dashes; '-' and '_' are the same */
    enum flag_kind kind;
    bool hidden; /* never proposed */
    char letter; /* 'w': -w, -w VALUE, -wVALUE; 0: has none */
};

struct flags {
    const char *command;
    const struct flag *table;
    int count;
    char **at;         /* the next argument; after the end the first that is no flag */
    const char *value; /* of the flag just returned, or NULL */
};

enum { FLAGS_END = -1, FLAGS_BAD = -2 };

/* The index of the next flag in the table; FLAGS_END before the first argument that
 * is no flag and behind "--"; FLAGS_BAD after a complaint. */
int flags_next(struct flags *flags);

#endif
