/*
 * pagemap.h - is this address ours, and what is it.
 *
 * owns:      the table of windows, and which places of it are in use
 * threads:   windows are published by segment and region (each its own) and read by all;
 *            `span` only grows, until the window of a region ends with span 0
 * invariant: the `span` bytes from `first` are readable and writable, and so is
 *            the lead of 16 bytes before them in a window of Mid;
 *            descriptor i describes bytes [i << shift, (i + 1) << shift)
 * uses:      lock
 * used by:   region, segment, page, tiny, mid, large, route
 * not here:  reserving and committing (segment), block states (page, mid)
 * test:      tests/test_pagemap.c
 */
#ifndef TIDE_BOX_PAGEMAP_H
#define TIDE_BOX_PAGEMAP_H

#include "box/def.h"
#include "box/lock.h"

/*
 * One segment of a window, used as one page: a run of equal blocks with one
 * owner. A free segment has owner 0.
 *   used  = set bits of the allocation bitmap <= bump <= blocks
 *   limit = bump * stride while free() may take blocks of the page on its fast
 *           path; 0 when it may not: freed blocks of Tiny were purged and the marks in
 *           them are gone, the kind has no magazines, or the words of Mid are not in
 *           front of the blocks or in modelled far memory
 * owner is read by every thread that frees; limit, recip, magazine and lead by the
 * owner's thread; all else is written and read under the lock of the owner's
 * struct tide_pages. The first line is what free() reads.
 */
struct tide_page {
    _Atomic uint32_t owner;
    uint32_t limit;
    uint64_t recip;    /* ceil(2^64 / stride): index = mulhi(offset, recip) */
    uint16_t magazine; /* where a thread keeps free blocks of the class, see sizeclass */
    uint8_t lead;      /* bytes in front of the first block's payload */
    uint8_t window;    /* index into tide_windows */
    uint32_t stride;   /* bytes from block to block */
    uint16_t blocks;   /* that fit */
    uint16_t bump;     /* blocks below this index were handed out at least once */
    uint16_t used;
    uint16_t hint;     /* no free block in bitmap words below this one */
    uint16_t purge_at; /* purge when used falls to this */
    uint8_t kind, cls;
    uint8_t zeroed; /* 1: blocks above bump read as zero */
    uint8_t purged; /* 1: some free blocks were given back to the system */
    uint8_t part;   /* 1: a further segment of a region's run, whose first one is `next` */
    uint32_t slack; /* of a lent one: bytes of blocks free, below bump and resident */
    uint32_t dirty; /* bytes that were resident when it was taken, or since it is free */
    struct tide_page *next, *prev;
    _Atomic uint64_t bits[8]; /* the allocation bitmap, when it fits; for Large the second
                               * half tells which blocks may be resident */
};

enum { TIDE_PAGE_BITS = 512, TIDE_PAGE_BYTES = 2 * TIDE_LINE };

_Static_assert(sizeof(struct tide_page) == TIDE_PAGE_BYTES, "a descriptor is two lines");
_Static_assert(offsetof(struct tide_page, bits) == TIDE_LINE, "the bitmap is the second one");

enum {
    TIDE_WINDOWS = 64, /* the first TIDE_KINDS are the primary ones, one per kind */
    TIDE_MODE_SHADOW = 1,
    TIDE_MODE_MODEL = 2,
    TIDE_SHADOW_SHIFT = 10 /* one shadow word per KiB: Mid strides are larger */
};

struct tide_window {
    uintptr_t first;     /* lowest address that a block can have: base + lead */
    _Atomic size_t span; /* committed bytes from there */
    struct tide_page *pages;
    _Atomic uint64_t *bits; /* bitmaps of pages with more than TIDE_PAGE_BITS blocks; of aligned
                             * Mid and Large: which blocks are on a shelf */
    uint64_t *shadow;       /* checked words, when mode has TIDE_MODE_SHADOW */
    uint32_t words;         /* bitmap words per segment behind bits; 0: never needed */
    uint32_t delay;         /* ns, when mode has TIDE_MODE_MODEL */
    uint8_t mode, shift, kind;
    bool fail; /* pages must lie where the source wants them, or not be handed out */
    uintptr_t base;
    size_t far;      /* bytes from base that the source has placed; written under the segment
                      * lock, once it is cut short by cap= */
    size_t shared;   /* bytes from base that are a file's, a memfd's or a device's */
    size_t reserved; /* bytes from base */
    size_t segments; /* committed ones; under the segment lock of the kind */
    size_t next;     /* first one never taken; same lock */
    struct tide_region *region; /* whose memory this is, or NULL */
} __attribute__((aligned(TIDE_LINE)));

/* Bytes of a segment of each kind, as a power of two; words of a segment in the bitmaps that tell
 * what is on a shelf. */
enum { TIDE_SHIFT_SMALL = 19, TIDE_SHIFT_LARGE = 22, TIDE_MIDAL_WORDS = 8, TIDE_LARGE_WORDS = 2 };

/*
 * The primary windows of Tiny and Mid lie side by side in one reservation, with one
 * table of descriptors, so that free() finds the descriptor of either with one
 * subtraction. The whole table can be read: what is not committed has owner 0.
 * Written once, before the first block of Tiny or Mid exists; size last.
 */
struct tide_arena {
    uintptr_t base;
    _Atomic size_t size;
    struct tide_page *pages;
} __attribute__((aligned(2 * TIDE_LINE))); /* read by every free: nobody else's line */

extern struct tide_arena tide_arena;

extern struct tide_window tide_windows[TIDE_WINDOWS];
extern _Atomic unsigned tide_window_count; /* slots in use, counting the primary ones */

/* A place of the table for a further window, whose span is 0 until it is described; -1 when
 * there is none. And back: the caller has set span to 0 before. */
int tide_pagemap_take(void);
void tide_pagemap_give(unsigned index);

void tide_pagemap_fork(enum tide_fork phase);

/* The window whose committed part holds p, or NULL. Any value may be asked. */
const struct tide_window *tide_pagemap_find(uintptr_t p);

/* True when p is a place where a block of the window can be, and the header
 * word in front of it may be read. NULL and every wild value are out. A window that
 * is not there yet has span 0; the rest of it is written before span is. */
TIDE_INLINE bool tide_window_holds(const struct tide_window *window, uintptr_t p)
{
    size_t span = atomic_load_explicit(&window->span, memory_order_acquire);
    return span != 0 && p - TIDE_RELAXED_GET(&window->first) < span;
}

/* The descriptor of an address in the arena, committed or not, and how far into its
 * segment it is; NULL outside of the arena. */
TIDE_INLINE struct tide_page *tide_arena_page(uintptr_t p, size_t *offset)
{
    size_t size = atomic_load_explicit(&tide_arena.size, memory_order_acquire);
    size_t at = p - TIDE_RELAXED_GET(&tide_arena.base);
    *offset = at & (((size_t)1 << TIDE_SHIFT_SMALL) - 1);
    return TIDE_LIKELY(at < size) ? &TIDE_RELAXED_GET(&tide_arena.pages)[at >> TIDE_SHIFT_SMALL]
                                  : NULL;
}

/* The descriptor of an address inside the committed part. */
TIDE_INLINE struct tide_page *tide_window_page(const struct tide_window *window, uintptr_t p)
{
    return &window->pages[(p - window->base) >> window->shift];
}

TIDE_INLINE const struct tide_window *tide_page_window(const struct tide_page *page)
{
    return &tide_windows[page->window];
}

/* Has each block of the page a header in front of it, or its word in a shadow table? */
TIDE_INLINE bool tide_page_headed(const struct tide_page *page)
{
    return page->lead != 0;
}

/* The first byte of the page's segment. */
TIDE_INLINE uintptr_t tide_page_base(const struct tide_page *page)
{
    const struct tide_window *window = tide_page_window(page);
    return window->base + ((uintptr_t)(page - window->pages) << window->shift);
}

TIDE_INLINE _Atomic uint64_t *tide_page_bits(struct tide_page *page)
{
    if (TIDE_LIKELY(page->blocks <= TIDE_PAGE_BITS))
        return page->bits;
    const struct tide_window *window = tide_page_window(page);
    return window->bits + (size_t)(page - window->pages) * window->words;
}

#endif
