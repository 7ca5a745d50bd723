/*
 * laneseq.h - the sequencer of a log in memory that is not coherent.
 *
 * owns:      head.epoch, committed and trimmed; sessions' and readers' answers; lanes; the index
 * threads:   one at a time, of one sequencer on all hosts
 * invariant: a place is given once, without a gap, to a published slot of its session's epoch;
 *            base(p + 1) = base(p) + count(p); trimmed <= cursor of each reader, <= committed;
 *            what is told of a place (committed, done, expected) is told after the place is there;
 *            an epoch is granted when the lanes of the one before were looked at to their ends
 * uses:      lanes, vmem
 * used by:   lanecrew, logapi
 * not here:  threads (logapi), who may be the sequencer (lanecrew)
 * test:      tests/test_laneseq.c
 *
 * What it knows it keeps for itself, and writes to the shared lines for others. A successor on
 * any host finds it all there: the index as far as it has no gap, and the lines of sessions,
 * readers and lanes. Before it begins, the host of the one before must have stopped writing, or
 * lost its caches. So one that others may follow has a clock, and looks at it before each entry
 * and each answer: after a stop in the middle of a step it writes that one line at most.
 */
#ifndef TIDE_BOX_LANESEQ_H
#define TIDE_BOX_LANESEQ_H

#include "box/lanes.h"

struct tide_laneseq_lane {
    uint64_t slot, granule;              /* looked at: all below */
    uint64_t placed;                     /* behind the last slot that was given a place */
    uint64_t done;                       /* what the lane's line says */
    uint64_t released, released_granule; /* the same */
};

struct tide_laneseq_session {
    uint64_t request, epoch, expected, late;
    uint64_t told; /* expected + late, as its line says */
    enum tide_layout_state state;
};

struct tide_laneseq_reader {
    uint64_t request, from; /* from: it gates at least from here on */
    bool open;
};

struct tide_laneseq {
    const struct tide_lanes *map;
    struct tide_laneseq_lane *lane;
    struct tide_laneseq_session *session;
    struct tide_laneseq_reader *reader;
    size_t bytes; /* of the three */
    uint64_t epoch;
    uint64_t place, base; /* the next ones */
    uint64_t committed;   /* what the head says */
    uint64_t trimmed_place, trimmed_base;
    uint64_t asked;              /* to be trimmed: places below (TIDE_LAYOUT_ASKED, or anyway) */
    uint32_t turn, request_turn; /* the lane, and the client or reader, that is looked at next */
    uint64_t (*clock)(void);     /* NULL: nobody else can be the sequencer */
    uint64_t until;              /* by that clock: then somebody else may be */
    bool untold;                 /* it was too late to tell of what has a place */
};

/* May it write yet? */
TIDE_INLINE bool tide_laneseq_may(const struct tide_laneseq *self)
{
    return self->clock == NULL || self->clock() < self->until;
}

/* Begins where the one before stopped. 0 or -ENOMEM. */
int tide_laneseq_open(struct tide_laneseq *self, const struct tide_lanes *map);
void tide_laneseq_close(struct tide_laneseq *self);

/* One step: answers requests, gives places to up to `most` slots of each lane, trims. Returns how
 * many slots and requests it dealt with; what it placed is committed. Who asks for a client's next
 * epoch gets it when all that its lanes held has been dealt with. When its time is up it stops
 * where it is, and a step of a later time goes on there. */
uint64_t tide_laneseq_step(struct tide_laneseq *self, uint64_t most);

/* Ends a client's epoch: nothing of it that has no place gets one. */
void tide_laneseq_fence(struct tide_laneseq *self, uint32_t client);

/* Forgets a reader that died: it holds nobody back. */
void tide_laneseq_forget(struct tide_laneseq *self, uint32_t reader);

/* Gives up places below; what readers still need, and what is not committed, stays for now. */
void tide_laneseq_trim(struct tide_laneseq *self, uint64_t place);

#endif
