/*
 * regions.h - the functions of tidepool/region.h, but for heaps on regions (heaps).
 *
 * owns:      nothing
 * threads:   any
 * invariant: the thread counts as inside a slow path while it is in one of them: a signal
 *            handler that comes back is seen
 * uses:      region, plot, life, held
 * used by:   programs
 * not here:  what they do (region, plot)
 * test:      tests/test_regions.c
 */
#ifndef TIDE_BOX_REGIONS_H
#define TIDE_BOX_REGIONS_H

#include <tidepool/region.h>

#endif
