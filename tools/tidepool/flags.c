/* flags.c - see command.h: the flags of a subcommand */
#include "command.h"

#include <string.h>

enum { FLAGS_MAX = 64 };

static char as_dash(char c)
{
    return c == '_' ? '-' : c;
}

static bool same_name(const char *name, const char *word, size_t length)
{
    if (strlen(name) != length)
        return false;
    for (size_t i = 0; i < length; i++)
        if (as_dash(name[i]) != as_dash(word[i]))
            return false;
    return true;
}

/* The name in the way that flags are written. */
static const char *with_dashes(const char *name, char *buf, size_t size)
{
    size_t i = 0;
    for (; name[i] != '\0' && i + 1 < size; i++)
        buf[i] = as_dash(name[i]);
    buf[i] = '\0';
    return buf;
}

static int unknown_flag(const struct flags *flags, const char *word)
{
    const char *names[FLAGS_MAX];
    char name[64];
    int count = 0;
    size_t length = strcspn(word, "=");
    for (int i = 0; i < flags->count && count < FLAGS_MAX; i++)
        if (!flags->table[i].hidden)
            names[count++] = flags->table[i].name;
    snprintf(name, sizeof name, "%.*s", (int)length, word);
    const char *hint = nearest_name(name[0] == '-' ? name + strspn(name, "-") : name, names, count);
    if (hint != NULL)
        complain(flags->command, "unknown flag '%.*s'; did you mean '--%s'?", (int)length, word,
                 with_dashes(hint, name, sizeof name));
    else
        complain(flags->command, "unknown flag '%.*s' (see: tidepool %s --help)", (int)length, word,
                 flags->command);
    return FLAGS_BAD;
}

/* -w, -w VALUE, -wVALUE */
static int take_letter(struct flags *flags, const char *word)
{
    for (int i = 0; i < flags->count; i++) {
        const struct flag *flag = &flags->table[i];
        if (flag->letter == '\0' || flag->letter != word[1])
            continue;
        flags->value = word[2] != '\0' ? word + 2 : NULL;
        if (flag->kind == FLAG_PLAIN && flags->value != NULL)
            break;
        if (flag->kind == FLAG_VALUE && flags->value == NULL) {
            flags->value = *flags->at;
            if (flags->value == NULL || strcmp(flags->value, "--") == 0) {
                complain(flags->command, "%s needs a value (see: tidepool %s --help)", word,
                         flags->command);
                return FLAGS_BAD;
            }
            flags->at++;
        }
        return i;
    }
    return unknown_flag(flags, word);
}

/* Finds the value of flag `index`; `equals` is what stands behind its name. */
static int take_value(struct flags *flags, int index, const char *equals)
{
    const struct flag *flag = &flags->table[index];
    char name[64];
    flags->value = *equals == '=' ? equals + 1 : NULL;
    if (flag->kind == FLAG_PLAIN && flags->value != NULL) {
        complain(flags->command, "--%s takes no value, but got '%s'", flag->name, flags->value);
        return FLAGS_BAD;
    }
    if (flag->kind == FLAG_VALUE && flags->value == NULL) {
        flags->value = *flags->at;
        if (flags->value == NULL || strcmp(flags->value, "--") == 0) {
            complain(flags->command, "--%s needs a value (see: tidepool %s --help)",
                     with_dashes(flag->name, name, sizeof name), flags->command);
            return FLAGS_BAD;
        }
        flags->at++;
    }
    return index;
}

int flags_next(struct flags *flags)
{
    const char *word = *flags->at;
    if (word == NULL || word[0] != '-' || word[1] == '\0')
        return FLAGS_END;
    flags->at++;
    if (strcmp(word, "--") == 0)
        return FLAGS_END;
    if (strcmp(word, "-h") == 0)
        word = "--help";
    if (word[1] != '-')
        return take_letter(flags, word);
    size_t length = strcspn(word + 2, "=");
    for (int i = 0; i < flags->count; i++)
        if (same_name(flags->table[i].name, word + 2, length))
            return take_value(flags, i, word + 2 + length);
    return unknown_flag(flags, word);
}
