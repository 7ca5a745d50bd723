/*
 * logroom.h - where in a region the log is, and who has it open: the region's area for that.
 *
 * owns:      area 0 of a region (at byte 4096), struct tide_logroom; the run of segments that
 *            the log is in
 * threads:   any; whoever holds the owner's word makes, opens, closes, repairs or removes the
 *            log, one at a time; those in the table of processes use it
 * invariant: magic is written last and cleared first: with it, the run that `at` names is lent
 *            with the log's tag. Who is not in the table does not touch the log
 * uses:      region, layout, owner, crc, file
 * used by:   crew, durable, logapi, the command (which only looks)
 * not here:  what is in the log (logmap), repair (mend)
 * test:      tests/test_logroom.c
 */
#ifndef TIDE_BOX_LOGROOM_H
#define TIDE_BOX_LOGROOM_H

#include "box/layout.h"
#include "box/owner.h"
#include "box/region.h"

#define TIDE_LOGROOM_MAGIC UINT64_C(0x316d6f6f52676f4c) /* "LogRoom1" */
#define TIDE_LOGROOM_TAG TIDE_LAYOUT_MAGIC              /* of the run of segments */

enum { TIDE_LOGROOM_VERSION = 2 };

enum tide_logroom_state {
    TIDE_LOGROOM_CLOSED = 0, /* everything is in its place */
    TIDE_LOGROOM_OPEN = 1,   /* in use, or its user ended without closing it */
    TIDE_LOGROOM_LOOSE = 2   /* closed, but perhaps not on the medium */
};

/* What is on the medium: batches at places below `places`; message `base` comes next; those
 * below `kept` were trimmed by then; the control epoch in which that was said. */
struct tide_logroom_said {
    uint64_t places, base, kept, epoch;
};

/* The same where the medium keeps it: in force if the check is right and `turn` is more than
 * in the other one. A line that is written half, or not at all, leaves the other one. */
struct tide_logroom_mark {
    _Atomic uint64_t places, base, kept, epoch;
    _Atomic uint64_t turn;  /* from 1 */
    _Atomic uint64_t check; /* 2^32 + CRC32C of the words before it */
    uint64_t spare[2];
};
_Static_assert(offsetof(struct tide_logroom_mark, turn) == 32, "turn");
_Static_assert(offsetof(struct tide_logroom_mark, check) == 40, "check");
_Static_assert(sizeof(struct tide_logroom_mark) == TIDE_LINE, "a mark is one line");

/* Offsets count from the region's first byte. */
struct tide_logroom {
    /* line 0 and 1: written once, by whoever makes the log */
    _Atomic uint64_t magic;
    uint32_t version;
    uint32_t bytes;    /* of this struct */
    uint64_t features; /* a bit that is not known here: not to be opened */
    uint64_t at;       /* offset of the log, a multiple of segments */
    uint64_t size;     /* bytes of the log */
    uint64_t length;   /* bytes of the run that it is in */
    uint8_t id[16];    /* of the log, the same as in its head */
    uint64_t check;    /* CRC32C of the fields above but the magic */
    uint64_t pad0[7];
    /* Who makes, opens, closes or repairs the log just now. */
    struct tide_owner owner;
    uint64_t pad1[8];
    /* Written by the owner. */
    _Atomic uint64_t state;   /* enum tide_logroom_state */
    _Atomic uint64_t opens;   /* times that it was opened */
    _Atomic uint64_t repairs; /* of these: after an owner that did not close it */
    _Atomic uint64_t boot[2]; /* of the machine, when the log was last found, or put, in order */
    uint64_t pad2[11];
    /* Written by whoever syncs, in turns: the one that is not in force. */
    struct tide_logroom_mark mark[2];
    /* Written by the owner. */
    _Atomic uint32_t generation; /* odd: under repair; one more when that is over */
    _Atomic uint32_t damaged;    /* 1: it cannot be repaired while it is open */
    _Atomic uint64_t again;      /* clock: no repair is tried before */
    _Atomic uint64_t mending;    /* 1: all stand still, and the repair began */
    uint64_t pad3[13];
    _Atomic uint64_t syncer;  /* 0, or who writes the medium: its place in `crew` plus 1 */
    _Atomic uint64_t durable; /* places below are on the medium for sure */
    uint64_t pad4[46];
    /* Written by the owner: the processes that have the log open. */
    struct tide_owner crew[TIDE_LAYOUT_MEMBERS];
    uint8_t rest[TIDE_REGION_AREA - 3072];
};
_Static_assert(offsetof(struct tide_logroom, magic) == 0, "magic");
_Static_assert(offsetof(struct tide_logroom, version) == 8, "version");
_Static_assert(offsetof(struct tide_logroom, bytes) == 12, "bytes");
_Static_assert(offsetof(struct tide_logroom, features) == 16, "features");
_Static_assert(offsetof(struct tide_logroom, at) == 24, "at");
_Static_assert(offsetof(struct tide_logroom, size) == 32, "size");
_Static_assert(offsetof(struct tide_logroom, length) == 40, "length");
_Static_assert(offsetof(struct tide_logroom, id) == 48, "id");
_Static_assert(offsetof(struct tide_logroom, check) == 64, "check");
_Static_assert(offsetof(struct tide_logroom, owner) == 128, "owner");
_Static_assert(offsetof(struct tide_logroom, state) == 256, "state");
_Static_assert(offsetof(struct tide_logroom, opens) == 264, "opens");
_Static_assert(offsetof(struct tide_logroom, repairs) == 272, "repairs");
_Static_assert(offsetof(struct tide_logroom, boot) == 280, "boot");
_Static_assert(offsetof(struct tide_logroom, mark) == 384, "mark");
_Static_assert(offsetof(struct tide_logroom, generation) == 512, "generation");
_Static_assert(offsetof(struct tide_logroom, mending) == 528, "mending");
_Static_assert(offsetof(struct tide_logroom, syncer) == 640, "syncer");
_Static_assert(offsetof(struct tide_logroom, durable) == 648, "durable");
_Static_assert(offsetof(struct tide_logroom, crew) == 1024, "crew");
_Static_assert(offsetof(struct tide_logroom, rest) == 3072, "rest");
_Static_assert(sizeof(struct tide_logroom) == TIDE_REGION_AREA, "it is the area");

TIDE_INLINE struct tide_logroom *tide_logroom_of(const struct tide_region *region)
{
    return (struct tide_logroom *)(region->extent.base + TIDE_PLOT_AREA_AT +
                                   TIDE_REGION_AREA_LOG * TIDE_REGION_AREA);
}

/* Where the log is, as it was found: the area may say something else by now. */
struct tide_logroom_place {
    uint64_t at, size;
    uint8_t id[16];
};

/* Is there a log? 0; -ENOENT: none; -EPROTO and *fault: something else, or of another layout,
 * or damaged. Changes nothing; anybody may call it. */
int tide_logroom_find(const struct tide_region *region, struct tide_logroom_place *out,
                      struct tide_layout_fault *fault);
TIDE_INLINE int tide_logroom_check(const struct tide_region *region,
                                   struct tide_layout_fault *fault)
{
    struct tide_logroom_place place;
    return tide_logroom_find(region, &place, fault);
}

/* Who has the log open: bits of the table's places. Whoever cannot be judged counts as alive. */
struct tide_logroom_crew {
    uint32_t alive, dead;
    uint32_t mine;            /* of these: the calling process's */
    uint32_t pid;             /* of one that is alive, or else dead; 0: the table is empty */
    enum tide_owner_is other; /* BEFORE, FOREIGN: one of those alive, who cannot be joined */
};
struct tide_logroom_crew tide_logroom_crew(struct tide_region *region,
                                           const struct tide_owner_self *self);

/* Becomes the owner, others may have the log open: 0, or -EBUSY and *pid, who it is; -EREMOTE: a
 * process of another machine. */
int tide_logroom_hold(struct tide_region *region, uint32_t *pid);

/* The owner finds that nobody has the log open: 0; else the same errors, and it gives up. */
int tide_logroom_unused(struct tide_region *region, uint32_t *pid);

/* Both of it. */
TIDE_INLINE int tide_logroom_take(struct tide_region *region, uint32_t *pid)
{
    int error = tide_logroom_hold(region, pid);
    return error == 0 ? tide_logroom_unused(region, pid) : error;
}

TIDE_INLINE void tide_logroom_leave(struct tide_region *region)
{
    tide_owner_drop(&tide_logroom_of(region)->owner);
    TIDE_CRASH_POINT(room_left);
}

/* One of the owner's counts. */
TIDE_INLINE void tide_logroom_raise(_Atomic uint64_t *count, uint64_t by)
{
    uint64_t now = atomic_load_explicit(count, memory_order_relaxed) + by;
    atomic_store_explicit(count, now, memory_order_release);
}

/* How the log was left behind. */
enum tide_logroom_need {
    TIDE_LOGROOM_READY,  /* as it should be */
    TIDE_LOGROOM_KILLED, /* its process ended; all that it stored is there */
    TIDE_LOGROOM_OUTAGE  /* the machine stopped: only what is durable is there for sure */
};
enum tide_logroom_need tide_logroom_need(const struct tide_region *region);

/* The owner found the log in order, or put it so; it is used from now on, by nobody yet. */
void tide_logroom_begin(struct tide_region *region, bool repaired);

/* The owner leaves it in order; `loose`: nobody knows whether it is on the medium. */
void tide_logroom_end(struct tide_region *region, bool loose);

/* The mark that is in force; all zeroes when neither is right. */
struct tide_logroom_said tide_logroom_said(const struct tide_logroom *room);
void tide_logroom_say(struct tide_logroom *room, struct tide_logroom_said what);

/* The owner takes a run of segments for a log of this size: 0 and its offset, or -ENOSPC and
 * *most, the bytes of the longest run there is. */
int tide_logroom_lend(struct tide_region *region, uint64_t size, uint64_t *at, uint64_t *most);

/* The owner says that there is a log at this offset now, the head of which this is. */
void tide_logroom_seal(struct tide_region *region, uint64_t at,
                       const struct tide_layout_head *head);

/* The owner gives back what the log, and makers of logs that never ended, have taken. How many
 * runs that was. */
uint64_t tide_logroom_clear(struct tide_region *region);

#endif
