/*
 * lanecrew.h - the processes of a log in memory that is not coherent: who has which node, and
 * who the sequencer is.
 *
 * owns:      head.lead, all lines of struct tide_lanes_node
 * threads:   one at a time on each struct here
 * invariant: at most one process has a node, and at most one is the sequencer, as long as a
 *            process that runs looks at its clock (due, lead) before it writes. Between the end
 *            of one that was fenced and the grant to another one lies a lease
 * uses:      lanes, laneseq
 * used by:   logapi
 * not here:  clocks, waiting (logapi); places (laneseq)
 * test:      tests/test_lanecrew.c
 *
 * A process knocks at a node's door with a number of its own, and the sequencer grants it: of
 * several that knock, the one whose number it sees, and nobody while the node is held. From
 * then on the process raises its beat each eighth of a lease, and finds out on the way whether
 * it still has the node. The sequencer fences a node whose beat it did not see change for a
 * lease: the epochs of its clients are raised, its readers are forgotten. After one more lease
 * the node is free.
 *
 * The sequencer raises a beat as well. Whoever sees it stand still for a lease bids: writes its
 * own number over that of the one before, and is the sequencer if it still stands there half a
 * lease later; that one had time to see it by then. No step here is an exchange.
 *
 * Time is the caller's, in ns of any clock that runs alike everywhere. The sequencer looks at
 * its name before each step, and at its clock before each line that it writes there. What no
 * lease can rule out: a process that stops between such a look and the store behind it for longer
 * than a lease, and then goes on; or, in the middle of a step, a machine whose clock stops too.
 */
#ifndef TIDE_BOX_LANECREW_H
#define TIDE_BOX_LANECREW_H

#include "box/laneseq.h"

/* How a process became the sequencer. */
enum tide_lanecrew_way {
    TIDE_LANECREW_ROOM, /* as the region's only process of its host: another one of that host
                           can tell that it ended */
    TIDE_LANECREW_BID
};

/* A process that has a node, or wants it. */
struct tide_lanecrew_node {
    const struct tide_lanes *map;
    uint64_t self, turn, beat;
    _Atomic uint64_t seen; /* when it was last known to have it */
    uint32_t number;
};

/* One that wants to be the sequencer. */
struct tide_lanecrew_bid {
    const struct tide_lanes *map;
    uint64_t self, lead, beat, since;
    bool written;
};

/* The sequencer's. */
struct tide_lanecrew {
    struct tide_laneseq *seq;
    uint64_t self, beat, seen;
    struct tide_lanecrew_seat {
        uint64_t granted, turn, beat;
        uint64_t since; /* when the beat changed, or the node was fenced */
        enum tide_lanes_standing standing;
    } seat[TIDE_LANES_NODES];
};

/* A process that has the node must beat before it writes. */
TIDE_INLINE bool tide_lanecrew_is_due(const struct tide_lanecrew_node *self, uint64_t now)
{
    return now - atomic_load_explicit(&self->seen, memory_order_relaxed) >= self->map->lease / 8;
}

/* Asks for a node; `self` is a number that nobody else has, not 0. 0, or -EBUSY: it is held. */
int tide_lanecrew_knock(struct tide_lanecrew_node *self, const struct tide_lanes *map,
                        uint32_t number, uint64_t own);

/* 0: it is the caller's. -EAGAIN: nobody answered yet; -EBUSY: somebody else has it. */
int tide_lanecrew_granted(struct tide_lanecrew_node *self, uint64_t now);

/* Tells that it lives; -ESTALE: the node is not its own any more. */
int tide_lanecrew_beat(struct tide_lanecrew_node *self, uint64_t now);

/* Gives the node back. */
void tide_lanecrew_leave(struct tide_lanecrew_node *self);

/* Wants to be the sequencer; tide_lanecrew_won is called until it is not -EAGAIN, often: 0,
 * then tide_laneseq_open and tide_lanecrew_begin follow at once; -EBUSY: there is one. */
void tide_lanecrew_bid(struct tide_lanecrew_bid *self, const struct tide_lanes *map, uint64_t own,
                       uint64_t now);
int tide_lanecrew_won(struct tide_lanecrew_bid *self, uint64_t now);

/* Becomes the sequencer: by a bid that was won, or because it knows that there is none. */
void tide_lanecrew_begin(struct tide_lanecrew *self, struct tide_laneseq *seq, uint64_t own,
                         enum tide_lanecrew_way way, uint64_t now);

/* Before each step: 0, or -ESTALE: somebody else is the sequencer. */
int tide_lanecrew_lead(struct tide_lanecrew *self, uint64_t now);

/* Gives a node to the process `node->self`; whoever had it is known to be gone. */
void tide_lanecrew_seat(struct tide_lanecrew *self, struct tide_lanecrew_node *node, uint64_t now);

/* Looks at all nodes; how many it granted, freed or fenced. */
uint64_t tide_lanecrew_serve(struct tide_lanecrew *self, uint64_t now);

/* Fences a node: 0, or -ESRCH when nobody has it. */
int tide_lanecrew_expel(struct tide_lanecrew *self, uint32_t number, uint64_t now);

/* Is the sequencer no more. */
void tide_lanecrew_resign(struct tide_lanecrew *self);

#endif
