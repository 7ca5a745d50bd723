/*
 * durable.h - how much of a log is on its region's medium.
 *
 * owns:      the marks in the region's area
 * threads:   any; one at a time syncs, for all that wait
 * invariant: batches at places below `durable` are on the medium, with their slots, their
 *            entries and that word. It only grows. After an error it stays as it is: which
 *            pages the kernel has given up is not known
 * uses:      medium, logroom, order, retire, trim, vmem
 * used by:   logapi
 * not here:  waiting (logapi), repair (mend)
 * test:      tests/test_durable.c
 *
 * The order of writing: payload, be it in the ring or in blocks of the region, and slots; for
 * blocks also what the region's table says of their segments. Then the order index and the
 * tables; then the word that says so. Only then anybody is told.
 */
#ifndef TIDE_BOX_DURABLE_H
#define TIDE_BOX_DURABLE_H

#include "box/logroom.h"
#include "box/medium.h"
#include "box/order.h"

struct tide_durable {
    const struct tide_logmap *map;
    const struct tide_region *region;
    struct tide_logroom *room;
    struct tide_medium medium;
    _Atomic uint64_t places; /* below: durable */
    _Atomic uint64_t syncs;  /* times that the medium was written */
    _Atomic uint32_t busy;   /* somebody syncs */
    _Atomic int error;       /* 0, or the first one */
};

/* For a log that its owner has just made or opened. */
void tide_durable_start(struct tide_durable *self, const struct tide_logmap *map,
                        const struct tide_region *region);

/* Writes what is committed by now. 0; -EBUSY: somebody is at it; or -errno of the medium. */
int tide_durable_step(struct tide_durable *self);

/* Writes all there is: the log and the region's area. */
int tide_durable_all(struct tide_durable *self);

/* Writes the region's head and table, and the area. What fails is told by later steps. */
void tide_durable_begin(struct tide_durable *self, const struct tide_region *region);

/* Writes the region's area. */
int tide_durable_note(struct tide_durable *self);

TIDE_INLINE uint64_t tide_durable_places(const struct tide_durable *self)
{
    return atomic_load_explicit(&self->places, memory_order_acquire);
}

#endif
