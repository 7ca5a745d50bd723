/*
 * broker.h - the producing side: claim, write, commit; in the inline form, order as well.
 *
 * owns:      its entry of the producer table
 * threads:   one at a time per producer
 * invariant: a claim is published, as a batch or as a pad, before the next one is made
 * uses:      ring, order, session, trim, retire, frame, crc
 * used by:   logapi
 * not here:  waiting (logapi)
 * test:      tests/test_broker.c
 */
#ifndef TIDE_BOX_BROKER_H
#define TIDE_BOX_BROKER_H

#include "box/frame.h"
#include "box/ring.h"
#include "box/session.h"

struct tide_broker {
    const struct tide_logmap *map;
    struct tide_layout_producer *entry;
    struct tide_ring_claim claim; /* the one that is out, if `claimed` */
    uint64_t next;                /* number of the next batch */
    uint64_t sent;                /* number behind the last one that it sent */
    uint64_t kept;                /* level 4: the session's door stays with it, see door; or 0 */
    uint32_t client, epoch;
    bool claimed;
};

/* What became of a batch. */
struct tide_broker_result {
    uint64_t number; /* the client's */
    uint64_t slot;   /* index in its broker's ring */
    struct tide_order_place at;
    enum tide_session_verdict verdict;
    bool ordered; /* `at` is set */
};

/* Takes an entry of the producer table. False: none is free. */
bool tide_broker_open(struct tide_broker *self, const struct tide_logmap *map, uint32_t client,
                      uint64_t process, uint64_t started);
void tide_broker_close(struct tide_broker *self);

/* Level 4, when its session is open: the door may stay with it. */
void tide_broker_keep(struct tide_broker *self);

/* How much of a ring its next batch may fill. */
enum tide_ring_share tide_broker_share(const struct tide_broker *self);

/* A batch that is in a block of the region. */
struct tide_broker_block {
    unsigned char *data;
    uint64_t keeper; /* see layout.h */
    uint32_t size;   /* bytes of frames */
    uint32_t count;  /* messages */
};

/* One step: claims room for a batch of `bytes`, freeing some if need be. 0: only a slot, for
 * a block. False: full. */
bool tide_broker_claim(struct tide_broker *self, uint32_t broker, uint32_t bytes);

/* The same for who publishes it before anything else: the claim is in *claim alone. `share`: what
 * tide_broker_share says. */
bool tide_broker_take(struct tide_broker *self, uint32_t broker, uint32_t bytes,
                      enum tide_ring_share share, struct tide_ring_claim *claim);
void tide_broker_put(struct tide_broker *self, const struct tide_ring_claim *claim, uint32_t count,
                     uint32_t size, struct tide_broker_result *result);

/* Publishes the claim as a batch of `count` messages in `size` bytes of frames. */
void tide_broker_commit(struct tide_broker *self, uint32_t count, uint32_t size,
                        struct tide_broker_result *result);

/* Publishes a claim of 0 bytes as the batch in that block, which is the log's then; but the
 * caller's as before if the verdict is late or refused. */
void tide_broker_commit_block(struct tide_broker *self, const struct tide_broker_block *block,
                              struct tide_broker_result *result);

/* Messages that one block may have at most, so that those that are not trimmed are fewer
 * than 2^32. */
uint32_t tide_broker_block_most(const struct tide_logmap *map);

/* Publishes it as a pad, which nobody reads. */
void tide_broker_abort(struct tide_broker *self);

#endif
