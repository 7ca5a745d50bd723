/*
 * lanesub.h - a reader of a log in memory that is not coherent: batches in order, in place.
 *
 * owns:      reader.request and cursor
 * threads:   one at a time per reader, and one reader of that number on all hosts
 * invariant: cursor <= next; what was delivered since cursor stays as it is
 * uses:      lanes, crc
 * used by:   logapi
 * not here:  waiting (logapi), messages in a batch (frame)
 * test:      tests/test_lanesub.c
 *
 * Readers gate: what they have not passed is not overwritten. One that died without
 * tide_lanesub_close gates until another one of its number is opened, or the sequencer is told
 * to forget it.
 */
#ifndef TIDE_BOX_LANESUB_H
#define TIDE_BOX_LANESUB_H

#include "box/lanes.h"

struct tide_lanesub {
    const struct tide_lanes *map;
    uint64_t request;
    uint64_t next, cursor; /* not delivered yet; what the reader's line says */
    uint64_t bytes;        /* delivered since cursor */
    uint64_t seen;         /* entries below were fetched */
    uint32_t reader;
};

struct tide_lanesub_batch {
    uint64_t position, base, number;
    const unsigned char *data;
    uint32_t size, count, client, broker;
};

/* Asks to be a reader; nothing else may be called before it is granted. */
void tide_lanesub_ask(struct tide_lanesub *self, const struct tide_lanes *map, uint32_t reader,
                      enum tide_lanes_start start, uint64_t position);

/* 0; -EAGAIN: the sequencer has not answered; -ERANGE (the position is trimmed), -ENXIO (it is
 * in the future), -ESTALE (the reader was forgotten); -EUCLEAN: an answer that there is not. */
int tide_lanesub_granted(struct tide_lanesub *self);

void tide_lanesub_close(struct tide_lanesub *self);

/* Up to `most` (>= 1) batches. What the last call delivered is done with. Returns how many,
 * 0 when there is none yet, or -EBADMSG (damaged; stands still). */
int tide_lanesub_poll(struct tide_lanesub *self, struct tide_lanesub_batch *out, int most);

/* What was delivered is done with. */
void tide_lanesub_done(struct tide_lanesub *self);

#endif
