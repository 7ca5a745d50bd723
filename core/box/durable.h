/*
 * durable.h - how much of a log is on its region's medium.
 *
 * owns:      the marks in the region's area; session.lasting
 * threads:   any; one at a time syncs, for all that wait
 * invariant: batches at places below `durable` are on the medium, with their slots, their
 *            entries and that word. It only grows. After an error it stays as it is: which
 *            pages the kernel has given up is not known
 * uses:      medium, logroom, crew, order, retire, trim, vmem
 * used by:   logapi
 * not here:  waiting (logapi), repair (mend)
 * test:      tests/test_durable.c
 *
 * The order of writing: payload, be it in the ring or in blocks of the region, and slots; for
 * blocks also what the region's table says of their segments. Then the order index and the
 * tables; then the word that says so. Only then anybody is told. At level 4 the tables have, for
 * each session, what its next batch is where exactly these places are durable: of what is trimmed
 * by then, whoever trims has noted it.
 */
#ifndef TIDE_BOX_DURABLE_H
#define TIDE_BOX_DURABLE_H

#include "box/crew.h"
#include "box/medium.h"
#include "box/order.h"

struct tide_durable {
    const struct tide_logmap *map;
    const struct tide_region *region;
    struct tide_logroom *room;
    struct tide_medium medium;
    struct tide_crew *crew;  /* NULL, or the processes that may do the same */
    _Atomic uint64_t places; /* below: durable */
    _Atomic uint64_t syncs;  /* times that the medium was written */
    _Atomic uint32_t busy;   /* somebody syncs */
    _Atomic int error;       /* 0, or the first one */
};

/* For a log that its owner has just made or opened. */
void tide_durable_start(struct tide_durable *self, const struct tide_logmap *map,
                        const struct tide_region *region);

/* Writes what is committed by now. 0; -EBUSY: somebody is at it, or others repair the log; or
 * -errno of the medium; -ESTALE, -EUCLEAN: see tide_crew_error. */
int tide_durable_step(struct tide_durable *self);

/* Writes all there is: the log and the region's area. */
int tide_durable_all(struct tide_durable *self);

/* Writes the log's head, its tables, and that there is no batch in it: before anything says that
 * there is a log. What fails is told by later steps. */
void tide_durable_made(struct tide_durable *self);

/* Writes the region's head and table, and the area. What fails is told by later steps. */
void tide_durable_begin(struct tide_durable *self, const struct tide_region *region);

/* There is no log in the region any more, and its medium says so: before anybody else gets its
 * memory. 0, or -errno of the medium. */
int tide_durable_gone(const struct tide_region *region);

/* Writes the region's area. */
int tide_durable_note(struct tide_durable *self);

/* Batches at places below are durable, whoever wrote them. */
TIDE_INLINE uint64_t tide_durable_places(const struct tide_durable *self)
{
    uint64_t own = atomic_load_explicit(&self->places, memory_order_acquire);
    return tide_max(own, atomic_load_explicit(&self->room->durable, memory_order_acquire));
}

/* Somebody syncs. */
TIDE_INLINE bool tide_durable_is_busy(const struct tide_durable *self)
{
    return atomic_load_explicit(&self->busy, memory_order_acquire) != 0 ||
           atomic_load_explicit(&self->room->syncer, memory_order_acquire) != 0;
}

#endif
