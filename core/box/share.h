/*
 * share.h - shared memory for a process's own Mid: got at start, laid under two windows.
 *
 * owns:      the memory between getting it and having laid it
 * threads:   one, at start
 * invariant: no other process has the same memory at the same time
 * uses:      source, store, pagemap
 * used by:   segment
 * not here:  whether that is allowed (life), windows (segment)
 * test:      tests/test_share.c
 */
#ifndef TIDE_BOX_SHARE_H
#define TIDE_BOX_SHARE_H

#include "box/pagemap.h"
#include "box/source.h"

/* Gets as much of the source as there is, at most `cap` bytes (SIZE_MAX: no bound), locks it
 * against other processes, and sets *granule, of which windows have to start at multiples.
 * 0, or -errno and source->said. */
int tide_share_get(struct tide_source *source, size_t cap, size_t *granule);

/* Maps Mid's part (seven eighths), or that of Mid's aligned blocks, at the front of the
 * reserved range. Bytes, perhaps none. */
size_t tide_share_lay(const struct tide_source *source, enum tide_kind kind, uintptr_t base,
                      size_t reserved);

/* What has been laid needs nothing more. */
void tide_share_done(void);

#endif
