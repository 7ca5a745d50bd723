/*
 * streams_inner.h - what streams.c shares with gather.c, load.c and clean.c.
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
    uint64_t streams, entries, runs, added, trimmed, reclaims, moved, bytes;
    uint64_t cleaned; /* nothing that is needed is at a position below */
    uint64_t dropped; /* entries since the last reclaim */
    uint64_t ms;      /* the highest time that an id has */
    uint64_t number;  /* the next entry's, in the one order */
    uint64_t newest;  /* position of the newest message, which stays: it tells the number */
    uint64_t seed;
    struct stream *news;
};
extern struct streams all;

/* A run of the stream, as the log has it. */
void streams_run(const struct stream *stream, const struct index_at *at, struct record *record);

/* The same of a run that is shown and not yet in the log, by its cell. False: the log has it. */
bool gather_shows(int32_t cell, struct record *record);

/* Drops what the trim is about; how many entries went. */
uint64_t streams_cut(struct stream *stream, const struct trim *trim);

/* The oldest run goes. */
void streams_drop_run(struct stream *stream);

/* It has news for who waits. */
void streams_tell(struct stream *stream);

/* A message without entries, about this stream. False: the log is full. */
bool streams_note(const struct stream *stream, unsigned kind, uint64_t *place);

/* The log and what is said about it differ: going on would make it worse. */
void streams_broken(const char *what, int result);

#endif
