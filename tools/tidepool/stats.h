/*
 * stats.h - running a program and telling afterwards where its blocks went.
 *
 * Every process that ends by exit() leaves its statistics in a private directory
 * (option stats_at_exit); they are summed up and the directory is removed.
 */
#ifndef TIDEPOOL_STATS_COMMAND_H
#define TIDEPOOL_STATS_COMMAND_H

#include "command.h"

enum { STATS_PATH = 256 }; /* of the option's value, with the NUL */

struct stats_run {
    char directory[STATS_PATH];
    FILE *copy;       /* the statistics themselves go here, too; NULL: nowhere */
    const char *name; /* of the copy */
};

/* Makes the directory and opens the copy (name NULL: none); fills `pattern` with the
 * value for stats_at_exit. False after a complaint. */
bool stats_begin(struct stats_run *run, const char *name, char pattern[STATS_PATH]);

/* Runs argv to its end, signals passed on; then prints the summary on stderr. Returns
 * the program's exit code; when a signal ended it, ends this process by the same. */
int stats_run(struct stats_run *run, char **argv);

/* As stats_run without a summary: becomes the program. Returns only when that fails,
 * after a complaint, with the exit code. */
int run_program(char **argv);

/* The complaint and the exit code for execvp's error. */
int exec_failed(const char *name, int error);

/* --- the sum ---------------------------------------------------------------------- */

struct tier_sum {
    uint64_t taken, live_blocks, live_bytes, mapped;
};

struct stats_sum {
    uint64_t processes, broken; /* broken: files that hold no statistics */
    struct tier_sum tier[3];    /* Tiny, Mid, Large */
    uint64_t spills, misuses, leaks;
    char source[128], header[16]; /* of the first process */
    bool mixed;                   /* another process had another source or header */
};

/* Adds one line of statistics. */
void sum_add(struct stats_sum *sum, const char *line);

/* Prints the summary on stderr. */
void sum_print(const struct stats_sum *sum);

#endif
