/*
 * option.h - every option, declared once in a table; parsing and reading them.
 *
 * owns:      the current values and the first complaint about a bad one
 * threads:   loaded once at start; later changes under its lock. Values that
 *            the allocator needs are pushed down by life, not read from here
 * invariant: a value is always one that the table allows
 * uses:      file, lock, diag
 * used by:   life, report, api, the command
 * not here:  what an option does
 * test:      tests/test_option.c
 */
#ifndef TIDE_BOX_OPTION_H
#define TIDE_BOX_OPTION_H

#include <tidepool/options.h>

#include "box/def.h"
#include "box/lock.h"

enum tide_header { TIDE_HEADER_AUTO, TIDE_HEADER_INBAND, TIDE_HEADER_SHADOW };
enum tide_foreign { TIDE_FOREIGN_ABORT, TIDE_FOREIGN_LEAK };
enum tide_full { TIDE_FULL_SPILL, TIDE_FULL_FAIL };
enum tide_migrate { TIDE_MIGRATE_PIN, TIDE_MIGRATE_KERNEL };

enum { TIDE_OPTION_TEXT = 256 };

struct tide_option_values {
    uint64_t tiny_max, cache, retain;
    uint64_t header, misuse, foreign; /* enum tide_header, tide_misuse, tide_foreign */
    uint64_t cap;                     /* 0: none */
    uint64_t full, migrate, thp;      /* enum tide_full, tide_migrate, tide_thp */
    uint64_t verbose, strict, shared_mid;
    char mid[TIDE_OPTION_TEXT];
    char stats_at_exit[TIDE_OPTION_TEXT];
    char counters[TIDE_OPTION_TEXT]; /* "0", "1", or a directory's absolute path */
};

extern struct tide_option_values tide_option_values;

/* A copy of the values, safe while another thread sets one. */
void tide_option_copy(struct tide_option_values *out);

/* Reads the program's tide_options, then the environment, once. `secure` leaves
 * the environment out. */
void tide_option_load(bool secure);

/* Parses "key=value,..." over the current values. Returns 0, or the error of the
 * first bad entry; the good ones are taken all the same. */
int tide_option_parse(const char *text);

/* Sets one value; see tide_option_set() for the errors. `started`: only live keys. */
int tide_option_assign(const char *key, const char *value, bool started);

/* The current value as text; see tide_option_get(). */
int tide_option_show(const char *key, char *buf, size_t len);

/* Row of the table; see tide_option_info(). */
int tide_option_row(size_t index, struct tide_option_info *out);

/* The complaint about the first bad option at start, or NULL. */
const char *tide_option_complaint(void);

/* A variable of the process's environment, found without libc if it is too
 * early for it; copied into buf, of a longer one the first len - 1 characters. False
 * when it is not set. */
bool tide_option_environment(const char *name, char *buf, size_t len);

void tide_option_fork(enum tide_fork phase);

#endif
