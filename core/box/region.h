/*
 * region.h - one mapping of a source as a region: opening and closing it, and the window
 * through which its heaps' blocks are known.
 *
 * owns:      the handles; descriptors and shadow words of the regions' windows
 * threads:   any; the list of handles under its lock, each region's segments under the lock
 *            of its table
 * invariant: of memory that other hosts may have (a device, or where a log of several hosts is)
 *            head and table are only read until a segment is taken or given here;
 *            a handle that is open has a window with a span; a closed one's memory, tables
 *            and address range are gone, and its pointers are foreign
 * uses:      plot, source, store, coh, pagemap, meta, vmem, lock, diag
 * used by:   segment, page, heap, heaps, regions, logroom
 * not here:  what stands in the memory (plot), blocks (page), the functions of
 *            tidepool/region.h (regions)
 * test:      tests/test_region.c, tests/test_region_heap.c
 */
#ifndef TIDE_BOX_REGION_H
#define TIDE_BOX_REGION_H

#include "box/pagemap.h"
#include "box/source.h"
#include "box/plot.h"

enum { TIDE_REGION_HANDLES = 32 }; /* open at a time; a process's heap needs windows, too */

enum tide_region_phase { TIDE_REGION_SPARE, TIDE_REGION_MAKING, TIDE_REGION_READY };

/* A handle. Its memory is used again for other handles, never returned. */
struct tide_region {
    struct tide_plot table;
    struct tide_extent extent;
    _Atomic bool stale; /* a child's handle of shared memory, after fork */
    _Atomic int phase;  /* enum tide_region_phase; leaves SPARE under the list's lock */
    _Atomic bool moved; /* see tide_region_moved */
    _Atomic bool apart; /* other hosts may have it, and no segment was taken or given here */
    bool fresh, strict;
    uint8_t window;           /* index into tide_windows */
    _Atomic uint64_t heaps;   /* on it now */
    _Atomic uint64_t logs;    /* that this process has open on it: 0 or 1 */
    _Atomic uint64_t numbers; /* heaps that were ever made on it */
    size_t size;              /* of the region; the extent may be larger */
    size_t tables;            /* bytes of descriptors and shadow words */
    struct tide_source source;
    struct tide_region *next; /* all handles; pushed once, never removed */
};

/* See the functions of tidepool/region.h: create, open, close, where. */
int tide_region_make(struct tide_region **out, const char *text, size_t size, unsigned flags,
                     struct tide_region_error *error);
int tide_region_attach(struct tide_region **out, const char *text, size_t size,
                       struct tide_region_error *error);
int tide_region_detach(struct tide_region *region);
int tide_region_find(const volatile void *address, struct tide_text *out);

/* Sets the bit of each segment of other handles' heaps that is to stay. 0, or -errno. */
typedef int tide_region_keeper(const struct tide_region *region, uint64_t *keep);

/* See tide_region_reclaim. */
long tide_region_sweep(struct tide_region *region, tide_region_keeper *keeper);

/* Is this the only handle, of all processes, that has the memory open? 0, -EBUSY, -ESTALE. */
int tide_region_alone(struct tide_region *region);

/* Contiguous segments for a heap's page or run: the first one's descriptor, blank as that of
 * tide_segment_take. NULL: there are none, or the handle is stale. tag: the heap's number. */
struct tide_page *tide_region_page_take(struct tide_region *region,
                                        const struct tide_plot_wish *wish);

/* Takes a page or a run back. */
void tide_region_page_give(struct tide_page *page);

/* Blocks that are runs, of all handles, and their bytes. */
void tide_region_count(uint64_t *blocks, uint64_t *bytes);

/* A segment is about to be taken or given where other hosts may have the memory: none of them does
 * so now. What calls that never ended left behind is swept first, as else when it is opened. */
void tide_region_engage(struct tide_region *region);

/* All locks; in a child afterwards the handles of shared regions are stale. */
void tide_region_fork(enum tide_fork phase);
void tide_region_fork_child(void);

TIDE_INLINE bool tide_region_is_stale(const struct tide_region *region)
{
    return atomic_load_explicit(&region->stale, memory_order_relaxed);
}

TIDE_INLINE void tide_region_ready(struct tide_region *region)
{
    if (TIDE_UNLIKELY(atomic_load_explicit(&region->apart, memory_order_acquire)))
        tide_region_engage(region);
}

/* Runs of segments for others than heaps: 0 and the offset from the base, or -errno. */
TIDE_INLINE int tide_region_lend(struct tide_region *region, size_t segments, uint64_t tag,
                                 uint64_t *offset)
{
    const struct tide_plot_wish wish = {
        .state = TIDE_REGION_LENT, .tag = tag, .segments = segments};
    if (tide_region_is_stale(region))
        return -ESTALE;
    tide_region_ready(region);
    int64_t index = segments != 0 ? tide_plot_take(&region->table, &wish) : -EINVAL;
    if (index >= 0)
        *offset = (uint64_t)index * TIDE_REGION_SEGMENT;
    return index >= 0 ? 0 : (int)index;
}

TIDE_INLINE int tide_region_return(struct tide_region *region, uint64_t offset)
{
    if (tide_region_is_stale(region))
        return -ESTALE;
    if (offset % TIDE_REGION_SEGMENT != 0)
        return -EINVAL;
    tide_region_ready(region);
    int64_t ret = tide_plot_give(&region->table, offset / TIDE_REGION_SEGMENT, TIDE_REGION_LENT);
    return ret > 0 ? 0 : (int)ret;
}

#endif
