/*
 * record.h - what the messages of the log say. Pure.
 *
 * A message tells its stream's name, so it needs no other one to be understood; and what a
 * stream has does not depend on the order in which messages are read, but for RECORD_DROP:
 * so an entry can be written again, and the old one given up. What was
 * appended stands there as clients get it: bulk strings of the protocol. An entry's id is the
 * message's tag (milliseconds) and its number in the log's order; only an entry whose id was
 * chosen otherwise carries the second half.
 *
 *   8 bytes  kind, 0, size of the name (16 bits), count of strings (32 bits)
 *   8 bytes  RECORD_NAMED, RECORD_TRIM: the id's second half
 *   16 bytes with RECORD_FLOOR: entries of the stream with lower ids are gone
 *   then the name, then the strings
 */
#ifndef BROKER_RECORD_H
#define BROKER_RECORD_H

#include "sid.h"

enum record_kind {
    RECORD_ENTRY = 1,
    RECORD_NAMED = 2, /* an entry with an id of its own */
    RECORD_TRIM = 3,  /* no entry; the id is the stream's last one */
    RECORD_DROP = 4,  /* the stream is gone */
    RECORD_FLOOR = 16
};

enum { RECORD_KEY_MAX = 65535 };

struct record {
    unsigned kind; /* enum record_kind, with or without RECORD_FLOOR */
    struct sid id, floor;
    const char *key, *text;
    uint32_t key_size, text_size, strings;
};

/* Bytes of the message. */
size_t record_size(const struct record *record);

/* Writes the message without the strings; returns where they go. */
char *record_write(void *to, const struct record *record);

/* Reads it; tag and number are the message's. False: it is none of ours. */
bool record_read(struct record *record, const void *data, size_t size, uint64_t tag,
                 uint64_t number);

#endif
