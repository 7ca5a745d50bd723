/*
 * index.h - of one stream: the first ids of its runs, in order, and where in the log each is.
 * Pure: it knows nothing of the log, and calls what it has entries.
 *
 * An entry takes 16 bytes, in chunks of up to 256 entries. Ids only grow, entries go only from
 * the old end. The index is bounded by the log, for it names nothing that is not there.
 */
#ifndef BROKER_INDEX_H
#define BROKER_INDEX_H

#include "sid.h"

enum { INDEX_CHUNK = 256, INDEX_SMALL = 8 };

/* An entry. Position and address are the caller's short forms. */
struct index_entry {
    struct sid id;
    uint32_t place;
    int32_t data;
};

struct index_chunk;

/* All zero: an empty one. */
struct index {
    struct index_chunk **chunk;
    uint32_t head, tail, room; /* chunks head..tail of the array are there */
    uint64_t count;            /* entries */
};

/* One entry of an index, while nothing is added or trimmed. */
struct index_at {
    uint32_t chunk, cell;
};

/* Adds behind all others; the id is higher than theirs. False: no memory. */
bool index_add(struct index *index, const struct index_entry *entry);

/* Drops all, and the memory. */
void index_clear(struct index *index);

/* The first entry from this id on; the last one up to it. False: there is none. */
bool index_from(const struct index *index, struct sid id, struct index_at *at);
bool index_upto(const struct index *index, struct sid id, struct index_at *at);

/* To the entry behind or in front of this one. False: there is none. */
bool index_forward(const struct index *index, struct index_at *at);
bool index_back(const struct index *index, struct index_at *at);

struct index_entry index_get(const struct index *index, const struct index_at *at);

/* The entry was put elsewhere in the log. */
void index_move(struct index *index, const struct index_at *at, uint32_t place, int32_t data);

/* Drops the oldest entry. */
void index_drop(struct index *index);

/* Bytes that all indexes hold. */
uint64_t index_bytes(void);

#endif
