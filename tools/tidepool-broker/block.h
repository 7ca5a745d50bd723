/*
 * block.h - clients that wait for entries (XREAD BLOCK).
 *
 * A wait hangs on each of its streams, in the order in which the waits began. Who gets entries
 * is served when the turn that brought them has ended.
 */
#ifndef BROKER_BLOCK_H
#define BROKER_BLOCK_H

#include "conn.h"
#include "streams.h"

struct block_key {
    struct stream *stream;
    struct sid after;
};

/* Blocks the connection until one of the streams has an entry above its id; milliseconds, 0:
 * for ever. False: no memory. */
bool block_start(struct conn *conn, uint64_t timeout, uint64_t count, const struct block_key *key,
                 uint32_t keys);

/* It waits no more. */
void block_cancel(struct conn *conn);

/* Serves who has something to get. */
void block_serve(void);

#endif
