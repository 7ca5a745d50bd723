/*
 * sub.h - the reading side: batches in order, in place.
 *
 * owns:      its entry of the reader table; for readers that may be overtaken, a copy
 * threads:   one at a time per reader
 * invariant: cursor <= next; what was delivered since cursor stays as it is while the reader
 *            gates, and is a copy when it may be skipped
 * uses:      order, ring, trim, vmem, crc
 * used by:   logapi
 * not here:  waiting (logapi), messages in a batch (frame)
 * test:      tests/test_sub.c
 */
#ifndef TIDE_BOX_SUB_H
#define TIDE_BOX_SUB_H

#include "box/trim.h"

struct tide_sub {
    const struct tide_logmap *map;
    struct tide_layout_reader *entry;
    uint64_t next, cursor;             /* not delivered yet; what the entry says */
    uint64_t bytes;                    /* delivered since cursor */
    uint64_t lazy_batches, lazy_bytes; /* so far `next` may be ahead of the cursor */
    uint64_t gap_from, gap_to;
    unsigned char *copy;
    size_t copy_size;
    uint32_t broker; /* level 0 */
    enum tide_layout_policy policy;
};

struct tide_sub_batch {
    uint64_t position, base, number;
    const unsigned char *data;
    uint32_t size, count, client, broker;
};

/* Where a new reader begins. */
enum tide_sub_start { TIDE_SUB_EARLIEST, TIDE_SUB_LATEST, TIDE_SUB_POSITION };

/* Takes an entry of the reader table. 0, or -EAGAIN (somebody trims: try again), -ENFILE (no
 * entry is free), -ERANGE (position trimmed), -ENXIO (position in the future). */
int tide_sub_open(struct tide_sub *self, const struct tide_logmap *map, uint32_t broker,
                  enum tide_layout_policy policy, enum tide_sub_start start, uint64_t position,
                  uint64_t process);
void tide_sub_close(struct tide_sub *self);

/* The same of an entry that is not its own any more. */
void tide_sub_leave(struct tide_sub *self);

/* Up to `most` (>= 1) batches. What the last call delivered is done with. Returns how many,
 * 0 when there is none yet, or -EOVERFLOW (gap_from .. gap_to were overwritten; goes on at
 * gap_to), -EPIPE (detached), -EBADMSG (check sum; stands still), -ENOMEM (no copy). */
int tide_sub_poll(struct tide_sub *self, struct tide_sub_batch *out, int most);

/* What was delivered is done with. True when the cursor moved. */
bool tide_sub_done(struct tide_sub *self);

/* A poll would not return 0. */
bool tide_sub_ready(const struct tide_sub *self);

#endif
