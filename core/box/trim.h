/*
 * trim.h - what becomes free, and who holds it back.
 *
 * owns:      head.trimmed and trimmer, broker.released, session.trimmed, the retired bits,
 *            reader.fate
 * threads:   any; one at a time trims, the others go on without it
 * invariant: trimmed <= cursor of each gating reader, <= committed; a slot is released when
 *            it and all slots before it in its ring are retired: trimmed or dropped. A slot
 *            whose payload is a block is not released before the block is in the retire
 *            ring; readers can tell that it is gone before the block can be taken out there
 * uses:      order, ring, retire
 * used by:   broker, session, seq, sub, logapi, regions
 * not here:  reader handles (sub)
 * test:      tests/test_trim.c
 */
#ifndef TIDE_BOX_TRIM_H
#define TIDE_BOX_TRIM_H

#include "box/order.h"
#include "box/ring.h"

/* The slot at this position of its ring will never get a place (aborted, late, fenced). */
void tide_trim_drop(const struct tide_logmap *map, uint32_t broker, uint64_t position);

/* Frees places below `limit`, of which gating readers, what is not committed, and a bound on
 * the work of one call, are subtracted. Level 0: slot indexes of that broker. `detach`:
 * readers of that policy that stand in the way are detached. Returns how many places, or
 * slots of whatever broker, became free; 0 as well when somebody else is at it. */
uint64_t tide_trim_below(const struct tide_logmap *map, uint32_t broker, uint64_t limit,
                         bool detach);

/* Somebody has a lock of the log: lets other threads run. False: *end, 0 at first, has come, which
 * is longer than anybody takes who is alive and means well. */
bool tide_trim_wait(uint64_t *end);

#ifdef TIDE_DEBUG
extern uint64_t tide_trim_patience; /* nanoseconds: 10 s, but for tests */
#endif

/* The same without detaching anybody; false: somebody else is at it. */
bool tide_trim_try(const struct tide_logmap *map, uint32_t broker, uint64_t limit, uint64_t *freed);

/* A producer of this broker needs space: frees some, as the log's retention says. */
uint64_t tide_trim_for(const struct tide_logmap *map, uint32_t broker);

/* The earliest place that is kept; level 0: slot index of that broker. */
uint64_t tide_trim_earliest(const struct tide_logmap *map, uint32_t broker);

typedef void tide_trim_visit(void *context, const unsigned char *block, size_t bytes);

/* Calls visit for each block that the log has, in slots that are not released. Others may go
 * on meanwhile: what they release or append may be among them, or not. */
void tide_trim_each_block(const struct tide_logmap *map, tide_trim_visit *visit, void *context);

/* Keeps others from trimming: for whoever becomes a reader. False: somebody is at it. */
bool tide_trim_stop(const struct tide_logmap *map);
void tide_trim_go_on(const struct tide_logmap *map);

#endif
