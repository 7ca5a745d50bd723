/*
 * segment.h - aligned chunks of the windows, lent to whoever needs one.
 *
 * owns:      the windows' address space, their frontiers, the free segments
 * threads:   any, under one lock per kind
 * invariant: a segment is lent (owner != 0), free and dirty, free and clean, or
 *            behind the frontier; dirty ones count in stat.retained
 * uses:      pagemap, source, share, vmem, numa, stat
 * used by:   page, purge, large (for the budget)
 * not here:  blocks (page)
 * test:      tests/test_segment.c
 */
#ifndef TIDE_BOX_SEGMENT_H
#define TIDE_BOX_SEGMENT_H

#include "box/def.h"
#include "box/lock.h"
#include "box/pagemap.h"
#include "box/source.h"

/* Sets the source of both Mid kinds and whether Mid words go to the shadow;
 * before the first segment of Mid is taken. */
void tide_segment_start(const struct tide_source *mid, bool shadow);

/* At most `cap` bytes of Mid's windows are placed by the source; what comes after is near
 * memory, or with `fail` refused. With `fail` every page of a segment is on the source's
 * nodes when the segment is taken. Also before the first one. */
void tide_segment_bound(size_t cap, bool fail);

/* When the source is shared memory: gets as much of it as the cap allows and maps it at the
 * front of Mid's windows, now. 0, or -errno and the source's `said`; if not even the windows
 * are there, another source may still be set. */
int tide_segment_share(void);

const struct tide_source *tide_segment_source(void);

/* TIDE_MODE_* of the windows of Mid. */
uint8_t tide_segment_mid_mode(void);

TIDE_INLINE bool tide_segment_shadow(void)
{
    return (tide_segment_mid_mode() & TIDE_MODE_SHADOW) != 0;
}

/* Bytes that may stay resident while free: max(retain, 5 % of the peak); up to twice `retain`
 * where memory that went back is needed again, three times in a small process; and beside that
 * what large puts aside, of mappings that come and go. */
extern _Atomic size_t tide_segment_aside;
void tide_segment_set_retain(size_t bytes);
size_t tide_segment_retain_limit(void);

/* A segment, its descriptor blank but for kind, window, zeroed and what it was before; NULL when
 * there is no memory. The taker sets owner. Rather one that had blocks of this stride. */
struct tide_page *tide_segment_take(enum tide_kind kind, uint32_t stride);

/* Takes it back; page->dirty bytes of it count as resident. Above the budget the
 * segments that were free for the longest time are decommitted. */
void tide_segment_give(struct tide_page *page);

/* Decommits free segments until at most `keep` bytes of them are resident.
 * Returns the bytes given back. */
size_t tide_segment_release(size_t keep);

/* Decommits a range inside a lent segment and counts it. 0 or -errno. */
int tide_segment_decommit(uintptr_t base, size_t size);

void tide_segment_fork(enum tide_fork phase);

#endif
