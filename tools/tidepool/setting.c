/* setting.c - see setting.h */
#include "setting.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "box/option.h"
#include "box/source.h"

/* The library is part of this command, and its constructor would act on
 * TIDEPOOL_OPTIONS as in any program: warn, end the process (strict=1), write
 * statistics about the command itself (stats_at_exit). So the variable is hidden
 * before that constructor runs, and comes back for whoever is executed. */
static char setting_hidden[4 * SETTING_TEXT];
static bool setting_was_set;

__attribute__((constructor(101))) static void setting_hide(void)
{
    const char *text = getenv("TIDEPOOL_OPTIONS");
    if (text == NULL)
        return;
    setting_was_set = true;
    /* cut off at four times of what the library reads: too long all the same */
    strncpy(setting_hidden, text, sizeof setting_hidden - 1);
    unsetenv("TIDEPOOL_OPTIONS");
}

const char *settings_environment(void)
{
    return setting_was_set ? setting_hidden : NULL;
}

static const char *setting_keep(struct settings *list, const char *text, size_t length)
{
    char *at = list->store + list->used;
    if (list->used + length + 1 > sizeof list->store)
        return NULL;
    memcpy(at, text, length);
    at[length] = '\0';
    list->used += length + 1;
    return at;
}

bool settings_add(struct settings *list, const char *key, size_t key_length, const char *value,
                  const char *origin)
{
    struct setting new = {.origin = origin};
    new.key = setting_keep(list, key, key_length);
    if (value != NULL)
        new.value = setting_keep(list, value, strlen(value));
    if (new.key == NULL || (new.value == NULL) != (value == NULL))
        return false;
    for (int i = 0; i < list->count; i++) {
        if (strcmp(list->entry[i].key, new.key) == 0) {
            list->entry[i] = new;
            return true;
        }
    }
    if (list->count == SETTING_COUNT)
        return false;
    list->entry[list->count++] = new;
    return true;
}

static bool setting_is_key(const char *text)
{
    struct tide_option_info info;
    size_t length = strcspn(text, "=,");
    for (size_t i = 0; tide_option_info(i, &info) == 0; i++)
        if (strlen(info.key) == length && memcmp(info.key, text, length) == 0)
            return true;
    return false;
}

/* The length of the entry at `at`: up to the next comma, and for mid=, whose values
 * have commas, up to one that a known key follows. */
static size_t setting_span(const char *at)
{
    bool mid = strncmp(at, "mid=", 4) == 0;
    size_t length = strcspn(at, ",");
    while (mid && at[length] == ',' && !setting_is_key(at + length + 1))
        length += 1 + strcspn(at + length + 1, ",");
    return length;
}

bool settings_read(struct settings *list, const char *text, const char *origin)
{
    if (strlen(text) >= SETTING_TEXT)
        return false;
    while (*text != '\0') {
        char value[SETTING_TEXT];
        size_t length = setting_span(text);
        size_t key = strcspn(text, "=");
        bool has_value = key < length;
        if (has_value)
            snprintf(value, sizeof value, "%.*s", (int)(length - key - 1), text + key + 1);
        if (length > 0 &&
            !settings_add(list, text, has_value ? key : length, has_value ? value : NULL, origin))
            return false;
        text += length + (text[length] == ',');
    }
    return true;
}

static void setting_unknown(struct setting *entry)
{
    const char *names[SETTING_COUNT];
    struct tide_option_info info;
    int count = 0;
    for (size_t i = 0; count < SETTING_COUNT && tide_option_info(i, &info) == 0; i++)
        names[count++] = info.key;
    const char *hint = nearest_name(entry->key, names, count);
    entry->error = -ENOENT;
    if (hint != NULL)
        snprintf(entry->why, sizeof entry->why, "unknown option '%s'; did you mean '%s'?",
                 entry->key, hint);
    else
        snprintf(entry->why, sizeof entry->why, "unknown option '%s' (see: tidepool options)",
                 entry->key);
}

static void setting_reject(struct setting *entry, const struct tide_option_info *info)
{
    entry->error = -EINVAL;
    if (entry->value == NULL)
        snprintf(entry->why, sizeof entry->why, "option %s has no value; allowed: %s", entry->key,
                 info->values);
    else if (strlen(entry->value) >= TIDE_OPTION_TEXT)
        snprintf(entry->why, sizeof entry->why,
                 "option %s: '%.20s...' is longer than %d characters", entry->key, entry->value,
                 TIDE_OPTION_TEXT - 1);
    else
        snprintf(entry->why, sizeof entry->why, "option %s: '%.200s' is not allowed; allowed: %s",
                 entry->key, entry->value, info->values);
}

/* mid= is any text for the table: whether it names a source, the source box says. */
static void setting_check_mid(struct setting *entry, const struct tide_option_info *info)
{
    struct tide_source source;
    int ret = tide_source_open(&source, entry->value);
    if (ret == 0 && !tide_option_values.shared_mid)
        ret = tide_source_keep_private(&source);
    if (ret == 0)
        return;
    if (ret == -EINVAL) {
        setting_reject(entry, info);
        tide_option_assign("mid", info->initial, false);
        return;
    }
    entry->error = ret;
    snprintf(entry->why, sizeof entry->why, "mid=%.200s: %s", entry->value, source.why);
}

static void setting_check(struct setting *entry)
{
    struct tide_option_info info;
    size_t row = 0;
    while (tide_option_info(row, &info) == 0 && strcmp(info.key, entry->key) != 0)
        row++;
    if (tide_option_info(row, &info) != 0) {
        setting_unknown(entry);
        return;
    }
    bool mid = strcmp(entry->key, "mid") == 0;
    if (entry->value != NULL && !mid && strchr(entry->value, ',') != NULL) {
        entry->error = -EINVAL;
        snprintf(entry->why, sizeof entry->why,
                 "option %s: '%.200s' is not allowed; no value but mid's may hold a comma",
                 entry->key, entry->value);
    } else if (entry->value == NULL || tide_option_assign(entry->key, entry->value, false) != 0) {
        setting_reject(entry, &info);
    } else if (mid) {
        setting_check_mid(entry, &info);
    }
}

int settings_check(struct settings *list)
{
    int bad = 0;
    for (int i = 0; i < list->count; i++)
        if (strcmp(list->entry[i].key, "mid") != 0)
            setting_check(&list->entry[i]);
    for (int i = 0; i < list->count; i++) { /* mid last: what it may be depends on others */
        if (strcmp(list->entry[i].key, "mid") == 0)
            setting_check(&list->entry[i]);
        bad += list->entry[i].error == -EINVAL || list->entry[i].error == -ENOENT;
    }
    tide_option_assign("stats_at_exit", "", false);
    return bad;
}

bool settings_write(const struct settings *list, char buf[SETTING_TEXT])
{
    size_t used = 0;
    buf[0] = '\0';
    for (int i = 0; i < list->count; i++) {
        const struct setting *entry = &list->entry[i];
        int n = snprintf(buf + used, SETTING_TEXT - used, "%s%s=%s", i == 0 ? "" : ",", entry->key,
                         entry->value != NULL ? entry->value : "");
        used += (size_t)n;
        if (used >= SETTING_TEXT)
            return false;
    }
    return true;
}

const struct setting *settings_find(const struct settings *list, const char *key)
{
    for (int i = 0; i < list->count; i++)
        if (strcmp(list->entry[i].key, key) == 0)
            return &list->entry[i];
    return NULL;
}
