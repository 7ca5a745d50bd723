/*
 * heaps.h - first-class heaps: the functions of tidepool/heap.h.
 *
 * owns:      nothing; a first-class heap is a struct tide_heap without magazines
 * threads:   any; one heap's calls are serialised by its page lock
 * invariant: every block of a heap carries the heap's owner id and generation
 * uses:      route, heap, large
 * used by:   programs
 * not here:  the heaps of threads (heap)
 * test:      tests/test_heaps.c
 */
#ifndef TIDE_BOX_HEAPS_H
#define TIDE_BOX_HEAPS_H

#include <tidepool/heap.h>

#endif
