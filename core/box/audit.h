/*
 * audit.h - is what stands in a log's memory what it must be? Looks at all of it, once.
 *
 * owns:      nothing but scratch memory while it runs
 * threads:   one per audit; the log may be in use, then it judges what is stable only
 * invariant: time and scratch memory grow with the log's size; the log is never written to
 * uses:      door, peek, frame, vmem
 * used by:   laneaudit, the command
 * not here:  mending; whether the owners of entries still run (the command)
 * test:      tests/test_audit.c
 *
 * A finding is an error, which no order of events explains, or a note: something that a
 * process which ended in the middle leaves behind (an error, too, when it closed the log).
 * Its word:
 *
 *   head-order      first <= trimmed <= committed <= taken, the ring holds what is between
 *   head-epoch      the epoch of the control is at least 1
 *   head-lock       (also as a note) the words of locks are 0 or 1
 *   entry-seq       every place that is committed has an entry
 *   entry-stray     no entry says that it is one of another position, or in the future
 *   entry-broker, entry-flags, entry-epoch, entry-count, entry-size
 *   entry-base      message numbers go on without a gap, and end at the counter
 *   entry-slot      its slot is claimed, not released, and no other entry's
 *   entry-number    level 4: a client's batches are numbered without a gap (a note: a repair
 *                   gave up as many); level 5: a note when they go back at one broker (clients
 *                   of one id do that)
 *   entry-hole      (note) a place that was taken and has no entry
 *   slot-publish, slot-index, slot-flags, slot-count
 *   slot-entry      slot and entry say the same
 *   slot-retired    what is kept is not marked as done with, and what is free is not marked
 *   slot-open       (note) a claim that was neither committed nor aborted
 *   slot-unplaced   (note) a batch without a place that nobody will give it
 *   granules        payload is claimed in the order of the slots, inside the ring, not twice
 *   broker-order    released <= scanned <= claimed, the ring holds what is between
 *   payload-place, payload-sum, payload-frame
 *   retire-order    reclaimed <= retired, the ring of blocks holds what is between
 *   retire-use      a batch by reference is announced in the head
 *   session-state, session-epoch, session-held, session-slot
 *   session-number  as entry-number
 *   reader-cursor, reader-policy, reader-broker
 *   producer-claim, producer-client, producer-epoch
 */
#ifndef TIDE_BOX_AUDIT_H
#define TIDE_BOX_AUDIT_H

#include "box/peek.h"

enum tide_audit_where {
    TIDE_AUDIT_HEAD,
    TIDE_AUDIT_BROKER,  /* table: which */
    TIDE_AUDIT_PLACE,   /* position */
    TIDE_AUDIT_SLOT,    /* position, of broker `table` */
    TIDE_AUDIT_SESSION, /* table: the client */
    TIDE_AUDIT_READER,
    TIDE_AUDIT_PRODUCER,
    /* Of a log in lanes (laneaudit). */
    TIDE_AUDIT_LANE,      /* table: which */
    TIDE_AUDIT_LANE_SLOT, /* position, of lane `table` */
    TIDE_AUDIT_NODE
};

struct tide_audit_finding {
    const char *word; /* see above */
    const char *what; /* the value, in words */
    bool note;
    enum tide_audit_where where;
    uint32_t table;
    uint64_t position;
    uint64_t found, low, high; /* what it is, what it may be; low > high: `what` says it */
};

/* What it knows of a client: at level 5 of a client at one broker. */
struct tide_audit_client {
    uint64_t who;  /* plus 1; 0: nobody yet */
    uint64_t next; /* number of its next batch */
    uint32_t epoch;
    uint32_t told;
};

struct tide_audit {
    const struct tide_peek *peek;
    bool live;    /* others may be at work on the log */
    bool closed;  /* its last user left it in order: what others leave behind is an error */
    bool mending; /* a repair began and did not end: what it writes one after the other is noted */
    void (*tell)(void *who, const struct tide_audit_finding *finding);
    void *who;
    /* What came of it. */
    uint64_t errors, notes;
    uint64_t batches, messages, bytes; /* kept, and looked at */

    /* While it runs. */
    struct tide_audit_client *client; /* levels 4 and 5 */
    uint64_t *place;                  /* of each slot: the place of its entry, plus 1 */
    unsigned char *copy;
    size_t clients, copy_size;
    uint64_t missing; /* level 4: of the batches that were given up, those not met yet */
    struct tide_audit_finding at; /* where it looks */
};

/* Goes over the whole log and tells each finding; then the sums are filled in. False: no
 * memory for it. */
bool tide_audit_run(struct tide_audit *self);

/* ---- between its files ---------------------------------------------------------------- */

/* The finding: at self->at, whose found, low and high are these. */
void tide_audit_say(struct tide_audit *self, const char *word, const char *what, bool note);

/* An error unless low <= found <= high, taken as distances from `low`; high may be just below
 * low: then nothing is right. */
bool tide_audit_within(struct tide_audit *self, const char *word, const char *what, uint64_t found,
                       uint64_t low, uint64_t high);

/* Level 4: the number that must be next, or is later by batches that a repair gave up, a note. */
void tide_audit_number(struct tide_audit *self, const char *word, const char *what, uint64_t found,
                       uint64_t next);

/* The payload of a batch: where it is, its sum, its frames. False: it was given up. */
bool tide_audit_payload(struct tide_audit *self, uint64_t position,
                        const struct tide_layout_entry *entry);

void tide_audit_order(struct tide_audit *self); /* levels 4 and 5 */
void tide_audit_slots(struct tide_audit *self);
void tide_audit_tables(struct tide_audit *self);

#endif
