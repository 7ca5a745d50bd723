/*
 * crew.h - the processes that have one log open, and how one of them stops all others.
 *
 * owns:      the table of processes and the generation in the region's area; head.member
 * threads:   any
 * invariant: while the generation is odd and tide_crew_stop was true, no living process is
 *            inside a call of the log, and none gets into one
 * uses:      order, logroom, park, clock
 * used by:   durable, rescue, logapi
 * not here:  what is repaired meanwhile (mend), who decides that (rescue)
 * test:      tests/test_crew.c, tests/test_logattach.c
 *
 * A call that changes or judges the log is between tide_crew_enter and tide_crew_leave of its
 * handle's `busy`, or between tide_crew_begin and tide_crew_end where it has no handle. Such a
 * stretch is short, calls no code of the program and waits for nobody: whoever stops all others
 * waits for its end only. So a process that dies, or is expelled, outside of these stretches
 * holds no lock; one that dies inside is found out by its owner's words, never by time.
 *
 * `busy` is a plain store, and then the generation is read: the barrier between the two is made
 * by whoever stops the others, in all processes at once (membarrier). A process whose kernel
 * does not offer that says so in its member's line, and makes its own.
 */
#ifndef TIDE_BOX_CREW_H
#define TIDE_BOX_CREW_H

#include "box/logroom.h"
#include "box/order.h"

struct tide_crew {
    struct tide_logroom *room;
    struct tide_layout_head *head;
    const struct tide_logmap *map;
    struct tide_region *region;
    struct tide_owner_self self;
    uint32_t number;                        /* place in the table */
    bool shared;                            /* others may have the log, too */
    bool fences;                            /* see above */
    _Atomic uint32_t generation;            /* that this process goes by */
    _Atomic uint64_t looked;                /* clock: when it last looked who died */
    _Atomic uint32_t tries;                 /* to stop the others, in vain, one after the other */
    void (*repair)(struct tide_crew *self); /* when whoever repaired is gone; may fail */
};

/* Takes a place in the table, as the room's owner. 0, or -ENFILE. */
int tide_crew_join(struct tide_crew *self, struct tide_region *region,
                   const struct tide_logmap *map);

/* Gives it up, as the room's owner. Nobody of this process is in a call. */
void tide_crew_quit(struct tide_crew *self);

/* Has this process been expelled, or is the log damaged? -ESTALE, -EUCLEAN, or 0. */
int tide_crew_error(const struct tide_crew *self);

/* Time to look who died, if nobody did for a while? True: somebody has to repair the log. */
bool tide_crew_glance(struct tide_crew *self);

/* As the room's owner: stops those processes (bits of the table), and waits until none of them
 * is inside a call. False: one is, for too long, or nobody can tell; try again later. */
bool tide_crew_stop(struct tide_crew *self, uint32_t members);

/* They go on; unless a repair began, be it by another one, and is not `done`. */
void tide_crew_go_on(struct tide_crew *self, bool done);

/* Forgets those that are gone: their sleepers, and their places in the table. */
void tide_crew_forget(struct tide_crew *self, uint32_t members);

/* As tide_order_frontier, as a call; also of a log that is in no region. While others repair:
 * what is known so far. */
uint64_t tide_crew_frontier(struct tide_crew *self, const struct tide_logmap *map);

/* Blocks go in and out: those of one process at a time. 0; -EPERM: of another one; -EAGAIN: not
 * while others repair, or take blocks home. */
int tide_crew_lend(struct tide_crew *self);

/* Blocks come home, inside a call: *mine, for the lender; or it is nobody, who ends it with
 * tide_crew_went_home. False: another process has to. */
bool tide_crew_go_home(struct tide_crew *self, bool *mine);
TIDE_INLINE void tide_crew_went_home(const struct tide_crew *self)
{
    tide_coh_set(TIDE_COH_COHERENT, &self->head->lender, 0);
}

/* Others are repairing the log, or about to. */
TIDE_INLINE bool tide_crew_is_stopped(const struct tide_crew *self)
{
    return self->shared &&
           (atomic_load_explicit(&self->room->generation, memory_order_acquire) & 1) != 0;
}

/* A call begins, on a handle that is one thread's at a time: in a shared log. `waits`: until
 * others have repaired it, for as long as a repair takes by whoever does not stand still. */
bool tide_crew_enter_shared(struct tide_crew *self, _Atomic uint64_t *busy, bool waits);
bool tide_crew_begin_shared(struct tide_crew *self, bool waits);

#ifdef TIDE_DEBUG
extern uint64_t tide_crew_patience; /* nanoseconds: 10 s, but for tests */
#endif

/* The same in any log. False: see tide_crew_error; or, where that is 0, whoever repairs the log
 * stands still. */
TIDE_INLINE bool tide_crew_enter(struct tide_crew *self, _Atomic uint64_t *busy)
{
    return TIDE_LIKELY(!self->shared) || tide_crew_enter_shared(self, busy, true);
}

/* The same now or not at all. False and no error: others repair, try again later. */
TIDE_INLINE bool tide_crew_try(struct tide_crew *self, _Atomic uint64_t *busy)
{
    return TIDE_LIKELY(!self->shared) || tide_crew_enter_shared(self, busy, false);
}

TIDE_INLINE void tide_crew_leave(const struct tide_crew *self, _Atomic uint64_t *busy)
{
    if (TIDE_UNLIKELY(self->shared))
        atomic_store_explicit(busy, 0, memory_order_release);
}

/* Without a handle. */
TIDE_INLINE bool tide_crew_begin(struct tide_crew *self)
{
    return TIDE_LIKELY(!self->shared) || tide_crew_begin_shared(self, true);
}

TIDE_INLINE bool tide_crew_try_begin(struct tide_crew *self)
{
    return TIDE_LIKELY(!self->shared) || tide_crew_begin_shared(self, false);
}

TIDE_INLINE void tide_crew_end(const struct tide_crew *self)
{
    if (TIDE_UNLIKELY(self->shared))
        atomic_fetch_sub_explicit(&self->head->member[self->number].busy, 1, memory_order_release);
}

#endif
