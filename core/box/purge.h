/*
 * purge.h - what goes back to the system on request.
 *
 * owns:      nothing
 * threads:   any; takes each heap's lock for a moment
 * invariant: live blocks keep their contents
 * uses:      heap, page, remote, segment, large
 * used by:   api, route (when memory is out)
 * not here:  what goes back by itself when memory is freed (page, segment)
 * test:      tests/test_purge.c
 */
#ifndef TIDE_BOX_PURGE_H
#define TIDE_BOX_PURGE_H

#include "box/def.h"

/* Empties all inboxes, gives the free blocks of all pages and all retained memory
 * back, but for `keep` bytes of the latter. Returns the bytes given back. */
size_t tide_purge_all(size_t keep);

#endif
