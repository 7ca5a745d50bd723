/*
 * entries.h - the entries of one stream, one after the other, in both directions.
 *
 * Good while nothing is added or trimmed.
 */
#ifndef BROKER_ENTRIES_H
#define BROKER_ENTRIES_H

#include "streams.h"

/* One entry. Its strings are those that the log has. */
struct entries_at {
    struct record_entry entry;
    /* where it is */
    const struct stream *stream;
    struct index_at run;
    struct record record;
    struct record_at next;                /* behind it, in its run */
    uint32_t first;                       /* entries of the run in front of this one are gone */
    struct record_at all[RECORD_RUN_MAX]; /* going back: where those up to this one begin */
    uint32_t back;                        /* how many there are, with this one */
};

/* The first entry from this id on; the last one up to it. False: there is none. */
bool entries_from(struct entries_at *at, const struct stream *stream, struct sid id);
bool entries_upto(struct entries_at *at, const struct stream *stream, struct sid id);

/* To the next one: of those that entries_from began, the one behind it; of those that
 * entries_upto began, the one in front of it. */
bool entries_forward(struct entries_at *at);
bool entries_back(struct entries_at *at);

#endif
