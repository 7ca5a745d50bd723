/*
 * remote.h - blocks freed by a thread that does not own them.
 *
 * owns:      batches: arrays of pointers in near memory, never links in blocks
 * threads:   an outbox belongs to one thread; an inbox takes pushes from all and
 *            is emptied under its owner's lock
 * invariant: a block waits in at most one batch; an outbox slot holds blocks of
 *            one owner, at most TIDE_BATCH_BLOCKS or TIDE_BATCH_BYTES
 * uses:      page, meta, stat
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
    TIDE_BATCH_BLOCKS = 60,
    TIDE_BATCH_BYTES = 128 << 10,
    TIDE_INBOX_BYTES = 1 << 20, /* above it the pusher empties the inbox if the lock is
                                 * free; above four times that it waits for the lock */
    TIDE_OUTBOX_SLOTS = 8
};

struct tide_batch {
    struct tide_batch *next; /* in an inbox, or in the pool of empty ones */
    uint32_t owner;
    uint32_t count;
    uint64_t bytes;
    uint64_t births; /* of the owner when the batch was begun */
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
    const struct tide_pages *pages = tide_page_find_owner(owner);
    if (batch == NULL || pages == NULL || batch->owner != owner ||
        batch->births != TIDE_RELAXED_GET(&pages->births) ||
        batch->count + 1 >= TIDE_BATCH_BLOCKS || batch->bytes + stride >= TIDE_BATCH_BYTES)
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

/* The same by the owner's thread: what `accept` takes does not go to the pages. */
typedef bool tide_remote_accept(void *context, void *block);
bool tide_remote_drain_to(struct tide_pages *pages, tide_remote_accept *accept, void *context);

/* Calls visit for each block that waits in the outbox, or in the inbox (lock held). */
typedef void tide_remote_visit(void *context, const void *block);
void tide_remote_each_out(const struct tide_outbox *outbox, tide_remote_visit *visit,
                          void *context);
void tide_remote_each_in(const struct tide_pages *pages, tide_remote_visit *visit, void *context);

void tide_remote_fork(enum tide_fork phase);

#endif
