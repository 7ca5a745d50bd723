/*
 * lanemend.h - what is left of a log in lanes whose memory was damaged.
 *
 * owns:      all of the log, for the time of the call; scratch memory
 * threads:   one, of a log that nobody has open on any host; it may end in the middle and be done
 *            again
 * invariant: a batch that is whole and whose place is known keeps its place, its number and its
 *            bytes, unless one before it is lost that is not the first; nothing outside of the log
 *            is read or written, whatever stands in it
 * uses:      audit, lanecrew, lanes, crc, frame, vmem
 * used by:   the command
 * not here:  who may do it (the command); the geometry (tide_lanes_open: where it is damaged
 *            nothing is known); places for what has none (laneseq)
 * test:      tests/test_lanemend.c, tests/test_lanemend_hostile.c
 *
 * A batch stands in three places: its entry and its slot say the same, and its payload has that
 * sum and so many frames. Where entry and slot differ, the one that the payload is of is right.
 * An entry that tells too little gets the only slot that can be meant: in each lane that is the
 * next one that no entry is of. What cannot be found is given up: at the beginning it is trimmed,
 * elsewhere the batches behind it get lower places, in the same order. At level 4 a client's
 * batches behind one that is lost are given up, too, and its session expects that one again.
 *
 * Head, lanes, sessions, readers and nodes are then bounded by the batches that are kept. What
 * waits for a place stays, unless its payload is damaged: then its slot becomes a pad. Not noticed
 * is what no batch contradicts, such as a waiting slot whose publish word is gone: what is behind
 * it in its lane waits until its client is opened anew, which drops it.
 */
#ifndef TIDE_BOX_LANEMEND_H
#define TIDE_BOX_LANEMEND_H

#include "box/audit.h"
#include "box/lanecrew.h"

enum tide_lanemend_kind {
    TIDE_LANEMEND_RESTORED, /* an entry is written anew: was: its slot, now: its first message */
    TIDE_LANEMEND_MOVED,    /* a batch: was, now: its place */
    TIDE_LANEMEND_HEAD,     /* a word of the head */
    TIDE_LANEMEND_LINE,     /* a word of a lane, session, reader or node */
    TIDE_LANEMEND_SLOT,     /* a slot is written anew, or its publish word is */
    TIDE_LANEMEND_WIPED,    /* an entry of no place */
    TIDE_LANEMEND_FENCED,   /* level 4: a batch behind one that is lost */
    TIDE_LANEMEND_CUT,      /* a batch that is given up */
    TIDE_LANEMEND_KINDS
};

struct tide_lanemend_change {
    enum tide_lanemend_kind kind;
    enum tide_audit_where where;
    const char *what; /* the word that changes; NULL: the kind says it all */
    uint32_t table;
    uint64_t position;
    uint64_t was, now;
};

struct tide_lanemend {
    const struct tide_lanes *map;
    void (*tell)(void *who, const struct tide_lanemend_change *change);
    void *who;
    bool alone; /* whoever has a node, or leads, is known to be gone */
    /* What came of it. */
    uint64_t kept; /* batches that keep their places */
    uint64_t count[TIDE_LANEMEND_KINDS];

    /* While it runs. */
    struct tide_lanemend_lane *lane;
    struct tide_lanemend_client *client;
    struct tide_lanemend_batch *batch; /* of each place from `first` on */
    uint64_t *taken;                   /* a bit per slot: it is a batch's that has a place */
    uint64_t words;                    /* of it, for each lane */
    uint64_t first, end, base;         /* places that are looked at; message of the first */
};

/* Somebody of other hosts may have the log, and nobody here can tell: a node, *leads: as the
 * sequencer. UINT32_MAX: nobody. */
uint32_t tide_lanemend_held(const struct tide_lanes *map, bool *leads);

/* Puts the log in order, and tells each change. What has no place yet gets it from whoever opens
 * the log. 0, or -ENOMEM: nothing was changed. */
int tide_lanemend_run(struct tide_lanemend *self);

/* ---- between its files ---------------------------------------------------------------- */

struct tide_lanemend_lane {
    uint64_t slot, granule; /* behind the batches that were decided on */
    uint64_t next;          /* the first slot from there on that is taken, or `to` */
    uint64_t spare;         /* the first slot that may be a batch's whose entry is damaged */
    uint64_t proven;        /* the payload of this one is whole */
    uint64_t from, to;      /* slots that may be there */
    uint64_t low, low_granule, top, top_granule; /* of the batches that are kept */
    bool any;                                    /* there are such */
};

struct tide_lanemend_client {
    uint64_t next;  /* number of its next batch, if known */
    uint64_t hint;  /* of the first one that is sound */
    uint64_t epoch; /* the highest one of its batches */
    bool known, hinted;
};

struct tide_lanemend_batch {
    uint64_t slot;
    uint32_t lane;
    uint32_t state; /* enum in lanemend.c */
};

/* Counts a change, and tells it. */
void tide_lanemend_say(struct tide_lanemend *self, const struct tide_lanemend_change *change);

/* Sets a word, and tells it, unless it has that value: `at` says where it is. */
void tide_lanemend_set(struct tide_lanemend *self, struct tide_lanemend_change at,
                       _Atomic uint64_t *word, uint64_t value);

/* The entry of this place and its slot say the same: a copy of the slot, and its lane. */
bool tide_lanemend_see(const struct tide_lanes *map, uint64_t place, struct tide_lanes_slot *slot,
                       uint32_t *lane);

/* The payload of this batch is in a row, has its sum and so many frames. */
bool tide_lanemend_is_whole(const struct tide_lanes *map, uint32_t lane,
                            const struct tide_lanes_slot *slot);

TIDE_INLINE uint64_t tide_lanemend_get(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

/* A counter that is not before the first one. */
TIDE_INLINE bool tide_lanemend_is_sane(const struct tide_lanes *map, uint64_t counter)
{
    return counter - map->first < INT64_MAX;
}

/* What an entry says of its slot, and its lane, or `lanes`. */
TIDE_INLINE uint32_t tide_lanemend_read(const struct tide_lanes *map,
                                        const struct tide_lanes_entry *entry,
                                        struct tide_lanes_slot *slot)
{
    *slot = (struct tide_lanes_slot){.number = entry->number,
                                     .end = entry->end,
                                     .size = entry->size,
                                     .count = entry->count,
                                     .epoch = entry->epoch,
                                     .checksum = entry->checksum,
                                     .publish = entry->slot};
    if (entry->client >= map->clients || entry->broker >= map->brokers)
        return map->lanes;
    return tide_lanes_number(map, entry->client, entry->broker);
}

TIDE_INLINE uint64_t tide_lanemend_start(const struct tide_lanes_slot *slot)
{
    return slot->end - tide_lanes_granules(slot->size);
}

/* Slot and payload come behind what was decided on. */
TIDE_INLINE bool tide_lanemend_is_behind(const struct tide_lanemend *self, uint32_t lane,
                                         const struct tide_lanes_slot *slot)
{
    const struct tide_lanemend_lane *at = &self->lane[lane];
    uint64_t index = tide_lanemend_get(&slot->publish), start = tide_lanemend_start(slot);
    return tide_lanemend_is_sane(self->map, index) && tide_lanemend_is_sane(self->map, start) &&
           (int64_t)(index - at->slot) >= 0 && (int64_t)(start - at->granule) >= 0 &&
           (!at->any || (index - at->low < self->map->slots.size &&
                         slot->end - at->low_granule <= self->map->granules.size));
}

TIDE_INLINE uint64_t *tide_lanemend_word(const struct tide_lanemend *self, uint32_t lane,
                                         uint64_t slot)
{
    return &self->taken[lane * self->words + tide_logmap_at(&self->map->slots, slot) / 64];
}

TIDE_INLINE uint64_t tide_lanemend_bit(const struct tide_lanemend *self, uint64_t slot)
{
    return UINT64_C(1) << tide_logmap_at(&self->map->slots, slot) % 64;
}

TIDE_INLINE bool tide_lanemend_is_taken(const struct tide_lanemend *self, uint32_t lane,
                                        uint64_t slot)
{
    return (*tide_lanemend_word(self, lane, slot) & tide_lanemend_bit(self, slot)) != 0;
}

/* At level 4 a client's numbers have no gap. Before 0, behind 1, else 0. */
TIDE_INLINE int tide_lanemend_turn(const struct tide_lanemend *self, uint32_t lane, uint64_t number)
{
    const struct tide_lanemend_client *client = &self->client[lane / self->map->brokers];
    if (self->map->level != 4 || !client->known || number == client->next)
        return 0;
    return number < client->next ? -1 : 1;
}

/* The batch that has this place, whose entry and slot do not agree; if the entry is right its slot
 * is written anew. False: it is lost. */
bool tide_lanemend_find(struct tide_lanemend *self, uint64_t place, uint32_t *lane,
                        struct tide_lanes_slot *slot);

/* There is a batch that lost its place. */
bool tide_lanemend_has_spare(struct tide_lanemend *self);

/* Where the log begins and ends; before the places. */
void tide_lanemend_head(struct tide_lanemend *self);

/* Lanes, sessions, readers, nodes and slots: what the places leave of them. */
void tide_lanemend_lines(struct tide_lanemend *self);

#endif
