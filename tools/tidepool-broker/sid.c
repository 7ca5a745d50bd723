/* sid.c - see sid.h */
#include "sid.h"

#include <string.h>

bool sid_up(struct sid *id)
{
    if (++id->seq != 0)
        return true;
    if (++id->ms != 0)
        return true;
    *id = SID_MAX;
    return false;
}

bool sid_down(struct sid *id)
{
    if (id->seq-- != 0)
        return true;
    if (id->ms-- != 0)
        return true;
    *id = (struct sid){0, 0};
    return false;
}

static bool sid_number(const char *text, size_t len, uint64_t *number)
{
    uint64_t value = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned digit = (unsigned)(unsigned char)text[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, digit, &value))
            return false;
    }
    *number = value;
    return len > 0;
}

bool sid_parse(const char *text, size_t len, uint64_t missing, struct sid *id, bool *any)
{
    const char *dash = len > 0 ? memchr(text, '-', len) : NULL;
    size_t head = dash != NULL ? (size_t)(dash - text) : len;
    id->seq = missing;
    if (any != NULL)
        *any = false;
    if (!sid_number(text, head, &id->ms))
        return false;
    if (dash == NULL)
        return true;
    if (any != NULL && len - head == 2 && dash[1] == '*') {
        *any = true;
        id->seq = 0;
        return true;
    }
    return sid_number(dash + 1, len - head - 1, &id->seq);
}

size_t sid_digits(char *text, uint64_t number)
{
    char reversed[20];
    size_t len = 0;
    do
        reversed[len++] = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    for (size_t i = 0; i < len; i++)
        text[i] = reversed[len - 1 - i];
    return len;
}

size_t sid_write(char text[SID_TEXT], struct sid id)
{
    size_t len = sid_digits(text, id.ms);
    text[len++] = '-';
    return len + sid_digits(text + len, id.seq);
}
