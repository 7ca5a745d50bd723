/*
 * streams_inner.h - what streams.c shares with load.c and clean.c.
 */
#ifndef BROKER_STREAMS_INNER_H
#define BROKER_STREAMS_INNER_H

#include "streams.h"

/* How full a ring may be, in parts of a thousand: from CLEAN on there is cleaning, from FULL on
 * no entries are taken. STEP: messages looked at for an append. */
enum { STREAMS_CLEAN = 800, STREAMS_FULL = 950, STREAMS_STEP = 32 };

struct streams {
    struct stream **bucket;
    uint64_t buckets, all; /* a power of two; streams, with those that are only waited for */
    uint64_t streams, entries, added, trimmed, reclaims, moved, bytes;
    uint64_t cleaned; /* nothing that is needed is at a position below */
    uint64_t dropped; /* entries since the last reclaim */
    uint64_t ms;      /* the highest time that an id has */
    uint64_t seed;
    struct stream *news;
};
extern struct streams all;

/* A message without strings, about this stream. False: the log is full. */
bool streams_note(const struct stream *stream, unsigned kind, uint64_t *place);

/* The log and what is said about it differ: going on would make it worse. */
void streams_broken(const char *what, int result);

#endif
