/*
 * setting.h - a list of option settings: read from TIDEPOOL_OPTIONS, added to by
 * flags, checked against the library's own table, written back as one text.
 *
 * The text is cut into entries exactly as the library cuts it. A key stands in the
 * list once: what is added later replaces what was there.
 */
#ifndef TIDEPOOL_SETTING_H
#define TIDEPOOL_SETTING_H

#include "command.h"

enum {
    SETTING_COUNT = 64,
    SETTING_TEXT = 2048, /* what the library reads of TIDEPOOL_OPTIONS, with the NUL */
    SETTING_WHY = 512
};

struct setting {
    const char *key;
    const char *value;  /* NULL: no '=' behind the key */
    const char *origin; /* for complaints: "TIDEPOOL_OPTIONS" or the flag */
    int error;          /* of setting_check */
    char why[SETTING_WHY];
};

struct settings {
    struct setting entry[SETTING_COUNT];
    int count;
    char store[2 * SETTING_TEXT]; /* keys and values */
    size_t used;
};

/* Adds key=value (key_length bytes of key). False when the list is full. */
bool settings_add(struct settings *list, const char *key, size_t key_length, const char *value,
                  const char *origin);

/* Adds the entries of a TIDEPOOL_OPTIONS text. False when it is longer than the
 * library reads. */
bool settings_read(struct settings *list, const char *text, const char *origin);

/* Checks every entry: error is 0, -ENOENT (no such option), -EINVAL (value not
 * allowed) or -ENODEV (a good value that this machine cannot serve), why says it in
 * words. The good values become the ones that the library's boxes in this process
 * have, except stats_at_exit: the command writes no statistics about itself.
 * Returns how many entries are bad (-ENODEV is not). */
int settings_check(struct settings *list);

/* Writes "key=value,..." into buf; false when it is longer than the library reads. */
bool settings_write(const struct settings *list, char buf[SETTING_TEXT]);

const struct setting *settings_find(const struct settings *list, const char *key);

/* TIDEPOOL_OPTIONS as it was when the command started, or NULL. */
const char *settings_environment(void);

#endif
