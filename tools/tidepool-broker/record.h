/*
 * record.h - what the messages of the log say. Pure.
 *
 * A message is a run of entries of one stream that came one behind the other, or a note about
 * the stream. It tells the stream's name, so it needs no other one to be understood; and what a
 * stream has does not depend on the order in which messages are read, but for RECORD_DROP: so
 * a run can be written again, and the old one given up. What was appended stands there as
 * clients get it: bulk strings of the protocol. Entries whose names of fields are those of the
 * run's first one have their values only. An entry's id is the milliseconds of the one in front
 * of it (of the first one: the message's tag) and its number in the one order of all entries;
 * only where it is another one, it is told.
 *
 *   8 bytes   kind, size of the name (16 bits), count of entries (32 bits)
 *   8 bytes   number of the first entry; of a note: numbers below were given
 *   8 bytes   RECORD_TRIM: second half of the stream's last id, the tag is the first one
 *   16 bytes  with RECORD_FLOOR: entries of the stream with lower ids are gone
 *   then the name, then the entries. Each begins with a number: size of its strings * 4, with
 *   RECORD_ONLY_VALUES and RECORD_NAMED; then two numbers, if the id is told: by how much each
 *   half of it is another one, twice that, or -1 less twice that if it is lower; then, if the
 *   names are there, the count of strings; then the strings. These numbers have seven bits in a
 *   byte, the low ones first; the last byte is below 128.
 */
#ifndef BROKER_RECORD_H
#define BROKER_RECORD_H

#include "sid.h"

enum record_kind {
    RECORD_TRIM = 6, /* no entry; the id is the stream's last one */
    RECORD_DROP = 7, /* the stream is gone */
    RECORD_RUN = 8,
    RECORD_FLOOR = 16
};
enum { RECORD_ONLY_VALUES = 1, RECORD_NAMED = 2 };

/* RUN: entries of one, at most; EXTRA: bytes of one besides its strings, at most. */
enum { RECORD_KEY_MAX = 65535, RECORD_RUN_MAX = 128, RECORD_EXTRA = 32 };

struct record {
    unsigned kind; /* enum record_kind, with or without RECORD_FLOOR */
    uint32_t count, key_size, size;
    uint64_t ms, number;
    uint64_t seq; /* RECORD_TRIM */
    struct sid floor;
    const char *key, *text; /* the entries, of `size` bytes */
};

/* An entry of a run. `names` NULL: the strings are names and values in turn; else only values
 * are, and the names are those of the strings there. */
struct record_entry {
    struct sid id;
    const char *text, *names;
    uint32_t size, strings; /* strings: as clients get them, with names */
};

/* Which entry comes next; all zero: the first one. */
struct record_at {
    uint32_t from, number;
    uint64_t ms; /* of the one in front of it */
};

/* Bytes in front of the entries. */
size_t record_head(const struct record *record);

/* Writes what is in front of the entries; returns where they go. */
char *record_write(void *to, const struct record *record);

/* Reads what is in front of the entries; the tag is the message's. False: it is none of ours. */
bool record_read(struct record *record, const void *data, size_t size, uint64_t tag);

/* All entries are whole, and their ids grow; the first and the last one. */
bool record_check(const struct record *record, struct sid *first, struct sid *last);

/* The entry at *at, which moves on; false: there are no more. */
bool record_next(const struct record *record, struct record_at *at, struct record_entry *entry);

/* Writes an entry; returns where the next one goes. `usual`: the id that need not be told. If
 * names are given (of as many strings) and its own are the same, they are left out. */
char *record_put(char *to, const struct record_entry *entry, struct sid usual);

/* A bulk string: all its bytes. */
static inline uint32_t record_bulk(const char *text)
{
    uint32_t size = 0, digits = 1;
    for (; text[digits] != '\r'; digits++)
        size = size * 10 + (uint32_t)(text[digits] - '0');
    return digits + 2 + size + 2;
}

#endif
