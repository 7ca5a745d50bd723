/*
 * tidepool/options.h - what can be set, and how.
 *
 * Three places, the later one wins:
 *   1. a definition in the program: const char *tide_options = "key=value,...";
 *   2. the environment: TIDEPOOL_OPTIONS="key=value,..." (ignored in set-uid
 *      programs);
 *   3. tide_option_set() at run time, for the keys that are still open.
 * Keys and values are case-sensitive. Byte values take the suffixes K, M, G and T
 * (powers of 1024). The option mid= may hold commas of its own: what follows
 * a comma and is no known key (as "delay=250") belongs to mid.
 * A bad key or value warns once per process tree and leaves the default,
 * unless strict=1 is given, which ends the process at start-up.
 */
#ifndef TIDEPOOL_OPTIONS_H
#define TIDEPOOL_OPTIONS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Defined by a program that wants options of its own. Weak in the library. */
extern const char *tide_options;

/* One row of the option table; all strings have static storage. */
struct tide_option_info {
    const char *key;
    const char *values;  /* what is allowed, for people: "abort|warn|ignore" */
    const char *initial; /* the default */
    const char *help;    /* one line */
    int live;            /* 1: may be changed at run time */
};

/* Sets `key` to `value`. 0, or
 *   -ENOENT  no such key
 *   -EINVAL  value not allowed
 *   -EBUSY   too late: the key is fixed at start-up and the library has started
 * Nothing is changed on error. Safe from any thread. */
int tide_option_set(const char *key, const char *value);

/* Writes the current value of `key` and a NUL into buf (at most len bytes).
 * Returns its length without the NUL, -ENOENT, or -ERANGE if buf is too small. */
int tide_option_get(const char *key, char *buf, size_t len);

/* Row number `index` of the table: 0, or -ENOENT behind the last one. */
int tide_option_info(size_t index, struct tide_option_info *out);

#ifdef __cplusplus
}
#endif

#endif
