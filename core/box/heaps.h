/*
 * heaps.h - first-class heaps: the functions of tidepool/heap.h, and heaps on regions.
 *
 * owns:      nothing; a first-class heap is a struct tide_heap without magazines
 * threads:   any; one heap's calls are serialised by its page lock
 * invariant: every block of a heap carries the heap's owner id and generation; those of a
 *            heap on a region are in that region
 * uses:      route, heap, large, region, held
 * used by:   api, programs
 * not here:  the heaps of threads (heap)
 * test:      tests/test_heaps.c, tests/test_region_heap.c
 */
#ifndef TIDE_BOX_HEAPS_H
#define TIDE_BOX_HEAPS_H

#include <tidepool/region.h>

#include "box/def.h"

/* A block in the region of that owner's heap, or NULL. */
void *tide_heaps_take_beside(uint32_t owner, size_t size);

#endif
