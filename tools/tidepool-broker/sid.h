/*
 * sid.h - ids of entries: milliseconds and a number, written 1526919030474-55.
 */
#ifndef BROKER_SID_H
#define BROKER_SID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sid {
    uint64_t ms, seq;
};

#define SID_MAX ((struct sid){UINT64_MAX, UINT64_MAX})
enum { SID_TEXT = 44 }; /* bytes of the longest one, with room */

static inline int sid_compare(struct sid a, struct sid b)
{
    if (a.ms != b.ms)
        return a.ms < b.ms ? -1 : 1;
    return a.seq == b.seq ? 0 : a.seq < b.seq ? -1 : 1;
}

/* The id next to this one; false: there is none. */
bool sid_up(struct sid *id);
bool sid_down(struct sid *id);

/* "ms-seq", or "ms" with `missing` as seq. *any, if not NULL: "ms-*" is an id too, and this
 * says that it was one. */
bool sid_parse(const char *text, size_t len, uint64_t missing, struct sid *id, bool *any);

/* Without a NUL; returns the length. */
size_t sid_write(char text[SID_TEXT], struct sid id);

/* Decimal digits of a number into `text`, without a NUL; returns how many, at most 20. */
size_t sid_digits(char *text, uint64_t number);

#endif
