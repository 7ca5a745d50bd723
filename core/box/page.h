/*
 * page.h - a run of equal blocks and who owns it: the accounting of blocks.
 *
 * owns:      the allocation bitmaps, and each owner's lists of pages
 * threads:   everything of one struct tide_pages under its lock, by whatever
 *            thread; a page's owner never changes while it has blocks
 * invariant: used = set bits <= bump <= blocks; a bit is set from refill to flush,
 *            so a block that waits in a magazine counts as used here;
 *            pages->slack = sum of its pages' slack
 * uses:      sizeclass, segment, region, pagemap, key, diag
 * used by:   remote, magazine, tiny, mid, large, heap, purge
 * not here:  header words (mid), marks (tiny), who waits in which magazine
 * test:      tests/test_page.c
 *
 * The allocation bit is the last word on every block: a free of a block whose bit
 * is clear is a double free, whatever its header or mark says.
 */
#ifndef TIDE_BOX_PAGE_H
#define TIDE_BOX_PAGE_H

#include "box/cpu.h"
#include "box/def.h"
#include "box/key.h"
#include "box/lock.h"
#include "box/pagemap.h"
#include "box/sizeclass.h"

/* The pages of one class of one owner. */
struct tide_bin {
    struct tide_page *head, *tail; /* pages with free blocks; refill takes from the head */
    struct tide_page *full;
    uint64_t used;  /* blocks out of the pages: live or in a magazine */
    uint64_t taken; /* blocks ever taken */
    uint64_t pages;
};

struct tide_batch;
struct tide_pages;
struct tide_region;

/* Is the block in the owner's magazine? Without a lock against its thread. */
typedef bool tide_page_caches(const struct tide_pages *pages, const struct tide_page *page,
                              const void *block);

/* What an owner (a thread's heap, a first-class heap) has, under its lock but for
 * the inbox: pushed to by everybody, emptied under the lock. */
struct tide_pages {
    uint32_t owner;  /* id | generation << 16; written under the lock, read by all */
    uint64_t births; /* how many owners this was: never repeats, as generations do */
    struct tide_lock lock __attribute__((aligned(2 * TIDE_LINE)));
    uint64_t slack;             /* bytes of its pages that are free and may be resident */
    uint64_t live;              /* bytes of the blocks that are out */
    uint64_t high;              /* live's highest value, less what was purged since */
    uint64_t crest;             /* the same, but lowered little by little */
    uint32_t next_purge;        /* where tide_page_purge_next looks next */
    uint64_t told, told_live;   /* slack and live as the statistics of all owners have them */
    struct tide_region *region; /* all memory comes from there; NULL: from segment */
    uint64_t number;            /* of the heap in its region */
    tide_page_caches *caches;   /* NULL: it has no magazines */
    struct tide_bin bin[TIDE_KINDS][TIDE_CLASSES_MAX];
    _Atomic(struct tide_batch *) inbox __attribute__((aligned(2 * TIDE_LINE)));
    _Atomic int64_t inbox_bytes;
    _Atomic bool parked; /* nobody allocates from it: the freeing thread drains it */
};

enum { TIDE_OWNER_IDS = 65536, TIDE_OWNER_BITS = 16, TIDE_OWNER_MASK = 0xffffff };

/* Every owner that ever was, by id; entries are published once and stay. */
extern _Atomic(struct tide_pages *) tide_page_owner[TIDE_OWNER_IDS];

/* The owner's pages, or NULL when that generation is gone. */
struct tide_pages *tide_page_find_owner(uint32_t owner);

/* Takes up to `want` blocks of a class, at least one unless memory is out.
 * *zeroed (if not NULL): the last block taken reads as zero. Lock held. */
unsigned tide_page_refill(struct tide_pages *pages, enum tide_kind kind, unsigned cls, void **out,
                          unsigned want, bool *zeroed);

/* Gives blocks back to their pages, all of this owner. A block that is not out is
 * reported as misuse of `call` and left alone. Lock held. */
void tide_page_flush(struct tide_pages *pages, void *const *blocks, unsigned n, const char *call);

/* Blocks come home that other threads freed: their words become those of free ones. What is at
 * home already, or a user has, is reported as misuse and taken out of the array. Returns how many
 * are left. Lock held. */
unsigned tide_page_arrive(const struct tide_pages *pages, void **blocks, unsigned n);

/* Writes what has to stand in or before a block that waits in a magazine: the mark of a free Tiny
 * block, the word of a free Mid block, or its canary if the word is in the shadow. Frees wrote
 * the first two for all but blocks[bare] to blocks[n - 1], which are fresh or were purged. */
void tide_page_dress(const struct tide_page *page, void *const *blocks, unsigned n, unsigned bare);

/* May the free block go back to its page? False: a user has it, or what tide_page_dress wrote was
 * overwritten; reported as misuse of `call`, but for a mark. */
bool tide_page_sound(const struct tide_page *page, void *block, const char *call);

/* A block of its own segments, for an owner on a region; NULL when there is no such run.
 * Lock held. */
void *tide_page_take_run(struct tide_pages *pages, size_t size);

/* Gives the memory of the page's free blocks back. Bytes. Lock held. */
size_t tide_page_purge(struct tide_pages *pages, struct tide_page *page);

/* Gives every page back, live blocks or not. Lock held. */
void tide_page_destroy(struct tide_pages *pages);

/* Reports misuse of a block or of a place in this page; page may be NULL. */
void tide_page_report(const struct tide_page *page, const void *p, const char *what,
                      const char *call, const char *state);

/* Word of the free blocks at address 0 of the class that was looked at last; see mid.h. */
struct tide_page_look {
    uint32_t owner, cls;
    uint64_t freed;
};

TIDE_INLINE uint64_t tide_page_freed(struct tide_page_look *look, const struct tide_page *page)
{
    if (look->cls != page->cls) {
        look->cls = page->cls;
        look->freed = tide_key_word(look->owner, look->cls) ^ tide_key.freed;
    }
    return look->freed;
}

/* Has a block of Tiny or Mid what a free one has? False: tide_page_sound tells. */
TIDE_INLINE bool tide_page_is_plain(struct tide_page_look *look, const struct tide_page *page,
                                    const void *p)
{
    if (!tide_page_headed(page))
        return page->kind == TIDE_KIND_TINY && ((const uint64_t *)p)[1] == tide_key_mark(p);
    return page->limit != 0 &&
           ((const uint64_t *)p)[-1] == (tide_page_freed(look, page) ^ (uintptr_t)p);
}

TIDE_INLINE size_t tide_page_usable(const struct tide_page *page)
{
    return page->stride - page->lead;
}

/* Index of the block that starts at p; -1 when none can start there. */
TIDE_INLINE int tide_page_index(const struct tide_page *page, uintptr_t p)
{
    uint64_t offset = p - page->lead - tide_page_base(page);
    uint64_t index = tide_cpu_mulhi(offset, page->recip);
    return index < page->blocks && index * page->stride == offset ? (int)index : -1;
}

/* True when block `index` is out of the page. */
TIDE_INLINE bool tide_page_is_out(struct tide_page *page, unsigned index)
{
    uint64_t word = atomic_load_explicit(&tide_page_bits(page)[index / 64], memory_order_relaxed);
    return (word >> index % 64 & 1) != 0;
}

#endif
