/*
 * held.h - the blocks that the log in a region has: by reference, and not trimmed.
 *
 * owns:      nothing
 * threads:   any; others may use the log, and the region, meanwhile
 * invariant: only reads
 * uses:      logroom, logmap, trim, region
 * used by:   regions, heaps
 * not here:  what becomes of their segments (plot)
 * test:      tests/test_held.c
 */
#ifndef TIDE_BOX_HELD_H
#define TIDE_BOX_HELD_H

#include "box/logroom.h"
#include "box/trim.h"

/* Calls visit for each of them, be the log open, closed or left behind, with the number of the
 * segment that it begins in. 0, also when there is no log; -EPROTO: one that cannot be read. */
typedef void tide_held_visit(void *context, uint64_t segment);
int tide_held_each(const struct tide_region *region, tide_held_visit *visit, void *context);

#endif
