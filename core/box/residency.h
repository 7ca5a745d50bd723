/*
 * residency.h - where the pages of a tier are in fact.
 *
 * owns:      nothing
 * threads:   any; takes no lock
 * invariant: only memory in use by pages is asked about; nothing is touched
 * uses:      sizeclass, pagemap, numa, vmem, clock
 * used by:   report, api
 * not here:  where they ought to be (source, segment)
 * test:      tests/test_residency.c
 */
#ifndef TIDE_BOX_RESIDENCY_H
#define TIDE_BOX_RESIDENCY_H

#include <tidepool/stats.h>

#include "box/def.h"

/* See tide_residency(). */
int tide_residency_read(enum tide_tier tier, uint64_t most, struct tide_residency *out);

#endif
