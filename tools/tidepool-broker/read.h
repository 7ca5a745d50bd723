/*
 * read.h - commands that read: XRANGE, XREVRANGE, XREAD, XLEN.
 */
#ifndef BROKER_READ_H
#define BROKER_READ_H

#include "command.h"
#include "streams.h"

/* The stream has an entry above this id. */
bool read_has(const struct stream *stream, struct sid after);

/* A stream of XREAD's reply: its name and up to `count` (0: all) entries above the id. */
bool read_stream(const struct stream *stream, struct sid after, uint64_t count);

void read_range(struct conn *conn, const struct request *request);
void read_reverse(struct conn *conn, const struct request *request);
void read_read(struct conn *conn, const struct request *request);
void read_length(struct conn *conn, const struct request *request);

#endif
