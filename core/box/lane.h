/*
 * lane.h - a client of a log in memory that is not coherent: its lanes, one in each broker.
 *
 * owns:      session.request, slots and payload of the client's lanes
 * threads:   one at a time per client, and one client of that number on all hosts
 * invariant: released <= slot < released + slots for what is not free; a slot's publish word is
 *            written after its payload is there; what was committed is visible after the group
 *            is full, or tide_lane_flush
 * uses:      lanes, crc
 * used by:   logapi
 * not here:  places (laneseq), waiting (logapi)
 * test:      tests/test_lane.c
 *
 * The session is asked for and answered by the sequencer: with an epoch, and where in each
 * lane the client goes on. What was visible when it was asked for has its places by then, unless
 * the client was fenced; afterwards no slot of an epoch before gets one, so a client that died is
 * followed by another one without repair. That one's host must be sure that the host of the one
 * before has stopped writing, or has lost its caches: what these wrote late would damage batches,
 * which only check sums notice.
 */
#ifndef TIDE_BOX_LANE_H
#define TIDE_BOX_LANE_H

#include "box/lanes.h"

struct tide_lane_claim {
    unsigned char *payload; /* first byte, 64-byte aligned */
    uint64_t granule;       /* absolute */
    uint32_t broker, room;  /* bytes */
    uint32_t past;          /* bytes at the front that were written past the caches: 0, or set
                               by whoever writes before it commits */
};

struct tide_lane {
    const struct tide_lanes *map;
    uint64_t request;          /* what was asked for; answered if `epoch` is not 0 */
    uint64_t next;             /* number of the next batch */
    uint64_t sent;             /* number behind the highest one that was sent */
    uint32_t client, epoch;    /* 0: not granted yet */
    uint32_t group;            /* batches that are made visible together, at most */
    uint32_t held, held_bytes; /* of these: not visible yet */
    uint32_t brokers;          /* that have such, one bit each */
    bool claimed;
    struct tide_lane_claim claim; /* the one that is out, if `claimed` */
    struct tide_lane_at {
        uint64_t visible;            /* slots from here on are not published */
        uint64_t slot, granule;      /* the next ones */
        uint64_t free, free_granule; /* what was known to be released */
        uint64_t above;              /* number behind the highest one sent there in this epoch */
    } at[TIDE_LAYOUT_BROKERS];
};

/* What became of a batch. */
struct tide_lane_result {
    uint64_t number; /* the client's */
    uint64_t slot;   /* in its lane */
};

/* Asks for the session of a client: until it is granted nothing else may be called. */
void tide_lane_ask(struct tide_lane *self, const struct tide_lanes *map, uint32_t client);

/* 0: the session is granted; -EAGAIN: the sequencer has not answered. */
int tide_lane_granted(struct tide_lane *self);

/* One try: claims room for a batch of `bytes` (1 .. tide_lanes_most). False: full. */
bool tide_lane_claim(struct tide_lane *self, uint32_t broker, uint32_t bytes);

/* Makes the first `size` bytes of the claim a batch of `count` messages. */
void tide_lane_commit(struct tide_lane *self, uint32_t count, uint32_t size,
                      struct tide_lane_result *result);
void tide_lane_abort(struct tide_lane *self);

/* Makes all that was committed visible. */
void tide_lane_flush(struct tide_lane *self);

/* May the batch `next` go by this broker? 0; -ESTALE: the session was fenced, or opened anew;
 * level 4: -EALREADY: its number has its place; -EINVAL: one with a higher number waits there,
 * behind which it would never be found. Looks at the sequencer's line. */
int tide_lane_check(const struct tide_lane *self, uint32_t broker);

/* Level 4: all batches of the client with numbers below have their places. */
uint64_t tide_lane_expected(const struct tide_lane *self);

/* Slots of this broker's lane below are committed, or never will be. */
uint64_t tide_lane_done(const struct tide_lane *self, uint32_t broker);

#endif
