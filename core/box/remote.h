/*
 * remote.h - blocks freed by a thread that does not own them.
 *
 * owns:      batches: arrays of pointers in near memory, never links in blocks
 * threads:   an outbox belongs to one thread; an inbox takes pushes from all and
 *            is emptied under its owner's lock
 * invariant: a block waits in at most one batch; an outbox slot holds blocks of
 *            one owner, at most TIDE_BATCH_BLOCKS, or TIDE_BATCH_BYTES, or a quarter
 *            of these where other slots are in use
 * uses:      page, segment, meta, stat
 * used by:   magazine, heap, purge, route
 * not here:  what makes a block remote (route), header words (mid)
 * test:      tests/test_remote.c
 *
 * One atomic push hands over a whole batch. Batches that outlive their owner (a
 * destroyed heap) are dropped: the blocks went with it.
 */
#ifndef TIDE_BOX_REMOTE_H
#define TIDE_BOX_REMOTE_H

#include "box/page.h"

enum {
    TIDE_BATCH_BLOCKS = 59,
    TIDE_BATCH_BYTES = 512 << 10,
    TIDE_INBOX_BYTES = 1 << 20, /* above it, and when as much is free as may stay, the pusher
                                 * empties the inbox if the lock is free; */
    TIDE_INBOX_MOST = 8 << 20,  /* above this much in any case; above four times the bound
                                 * that it went over it waits for the lock */
    TIDE_OUTBOX_SLOTS = 8
};

struct tide_batch {
    struct tide_batch *next;        /* in an inbox, or in the pool of empty ones */
    const struct tide_pages *pages; /* of that id, whoever is the owner by now */
    uint64_t births;                /* of the owner when the batch was begun */
    uint32_t owner;
    uint32_t count;
    uint32_t bytes;
    uint32_t most; /* bytes with which the batch is full */
    void *block[TIDE_BATCH_BLOCKS];
};

struct tide_outbox {
    struct tide_batch *slot[TIDE_OUTBOX_SLOTS]; /* written by its thread, read by statistics */
};

/* Puts a block of `page` into the outbox; hands its batch over when it is full.
 * Without memory for a batch the block is given to its owner directly. */
void tide_remote_put(struct tide_outbox *outbox, const struct tide_page *page, void *block);

/* The begun batch for that owner when it has room for one more block, else NULL. */
TIDE_INLINE struct tide_batch *tide_remote_room(const struct tide_outbox *outbox, uint32_t owner,
                                                uint32_t stride)
{
    struct tide_batch *batch = outbox->slot[owner % TIDE_OUTBOX_SLOTS];
    if (batch == NULL || batch->owner != owner ||
        batch->births != TIDE_RELAXED_GET(&batch->pages->births) ||
        batch->count + 1 >= TIDE_BATCH_BLOCKS || batch->bytes + stride >= batch->most)
        return NULL;
    return batch;
}

/* Puts a block, whose word says already that it is free, where tide_remote_room found room.
 * A fork may come between any two writes: the word must not come second. */
TIDE_INLINE void tide_remote_append(struct tide_batch *batch, uint32_t stride, void *block)
{
    uint32_t count = batch->count;
    batch->bytes += stride;
    TIDE_RELAXED_SET(&batch->block[count], block);
    __atomic_store_n(&batch->count, count + 1, __ATOMIC_RELEASE);
}

/* Hands over everything that waits in the outbox. */
void tide_remote_flush(struct tide_outbox *outbox);

/* Gives one block to its owner's page, under the owner's lock. */
void tide_remote_give(uint32_t owner, void *block);

/* Empties the inbox into the pages. Lock held. Returns whether there was anything. */
bool tide_remote_drain(struct tide_pages *pages);

/* The same by the owner's thread: what `accept` takes does not go to the pages. It leaves the
 * others at the front of the array, in any order, and returns how many these are. */
typedef unsigned tide_remote_accept(void *context, void **blocks, unsigned n);
bool tide_remote_drain_to(struct tide_pages *pages, tide_remote_accept *accept, void *context);

/* Calls visit for each block that waits in the outbox, or in the inbox (lock held). */
typedef void tide_remote_visit(void *context, const void *block);
void tide_remote_each_out(const struct tide_outbox *outbox, tide_remote_visit *visit,
                          void *context);
void tide_remote_each_in(const struct tide_pages *pages, tide_remote_visit *visit, void *context);

void tide_remote_fork(enum tide_fork phase);

#endif
