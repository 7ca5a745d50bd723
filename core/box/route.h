/*
 * route.h - size -> pool, pointer -> pool: malloc and free, whole.
 *
 * owns:      nothing
 * threads:   any
 * invariant: first match wins: size <= tiny_max Tiny, <= 32 KiB Mid, else Large, up to 64 KiB
 *            from magazines as well;
 *            alignment above 16 goes to pages without headers in the same tier
 * uses:      tiny, mid, life, judge
 * used by:   heaps, api, override
 * not here:  C semantics of zero sizes, overflow and errno beyond malloc (api)
 * test:      tests/test_route.c
 */
#ifndef TIDE_BOX_ROUTE_H
#define TIDE_BOX_ROUTE_H

#include "box/judge.h"
#include "box/mid.h"
#include "box/tiny.h"

/* The rest of malloc of up to 64 KiB; `cache` is what tide_self was, `magazine` the one for the
 * size in its `slot`, from which `odd` was taken, a block that does not look free, or NULL. Sets
 * errno when it returns NULL. */
void *tide_route_malloc_slow(size_t size, struct tide_cache *cache, void *odd,
                             const struct tide_magazine *magazine);

/* The rest of malloc for sizes above TIDE_MID_TOP. */
void *tide_route_malloc_large(size_t size, struct tide_cache *cache);

/* The rest of free: whatever is not an own, live block of Tiny or Mid. `call` names
 * the function in messages. */
void tide_route_free_slow(void *p, struct tide_cache *cache, const char *call);

/* Free of what is not in the arena: aligned Mid and Large, or not ours. */
void tide_route_free_outside(void *p, struct tide_cache *cache);

/* Free of an own block, already turned into a free one, whose magazine is full. */
void tide_route_free_full(void *p, struct tide_cache *cache);

/* A block in an explicit place: kind and class, of the thread's heap, or of `pages`
 * if not NULL. *zeroed (if not NULL): it reads as zero. */
void *tide_route_take(struct tide_pages *pages, enum tide_kind kind, unsigned cls, bool *zeroed);

/* A block of Large of at least size bytes; the same pages and zeroed. */
void *tide_route_take_large(struct tide_pages *pages, size_t size, size_t align, bool *zeroed);

/* For a block of Large that grows: one that has room to go on where it is, if there is one. */
void *tide_route_take_growing(size_t size);

/* A block whose address is a multiple of align, a power of two above 16. */
void *tide_route_take_aligned(struct tide_pages *pages, size_t size, size_t align);

/* Judges p on the slow path and reports a fault as one of `call`. */
bool tide_route_inspect(const void *p, struct tide_block *out, const char *call);

/* Gives what the calling thread holds to the pages: magazines and outbox. */
void tide_route_flush_thread(void);

/* A block of the magazine at this offset in the thread's cache. */
TIDE_INLINE void *tide_route_pop(size_t size, struct tide_cache *cache, size_t offset)
{
    struct tide_magazine *magazine = (struct tide_magazine *)((char *)cache->slot + offset);
    __asm__("" : "+r"(magazine)); /* one address, computed once */
    tide_self_set(&tide_cache_busy);
    void **top = TIDE_RELAXED_GET(&magazine->top);
    if (TIDE_UNLIKELY(top == magazine->base))
        return tide_route_malloc_slow(size, cache, NULL, magazine);
    char *block = top[-1];
    TIDE_RELAXED_SET(&magazine->top, top - 1);
    tide_self_set(cache);
    /* Not free, as it should be: it was handed out already, since an old header was written
     * back and freed; or written to after it was freed, and may be there twice (Tiny). */
    uint64_t word = magazine->freed ^ (uintptr_t)block;
    ptrdiff_t at = magazine->at;
    if (TIDE_UNLIKELY(tide_mid_load(block + at) != word))
        return tide_route_malloc_slow(size, cache, block, magazine);
    tide_mid_store(block + TIDE_AGAIN(at), word ^ magazine->take_turn);
    return block;
}

TIDE_INLINE void *tide_route_malloc(size_t size)
{
    struct tide_cache *cache = tide_self;
    if (TIDE_UNLIKELY(size > TIDE_MID_TOP))
        return tide_route_malloc_large(size, cache);
    return tide_route_pop(size, cache, tide_sizeclass_offset(size));
}

/* The magazine for a place in the arena, when a block of an own page that free() may take starts
 * there; else NULL. That the offset is a multiple of the stride takes one multiplication: Lemire,
 * Kaser, Kurz, "Faster remainder by direct computation" (2019). */
TIDE_INLINE struct tide_magazine *tide_route_own(struct tide_cache *cache, size_t in_arena)
{
    struct tide_page *page = &cache->arena_pages[in_arena >> TIDE_SHIFT_SMALL];
    if (TIDE_UNLIKELY(TIDE_RACY_GET((uint32_t *)&page->owner) != cache->owner))
        return NULL;
    struct tide_magazine *magazine = (struct tide_magazine *)((char *)cache + page->magazine);
    uint32_t offset = (uint32_t)in_arena & (((uint32_t)1 << TIDE_SHIFT_SMALL) - 1);
    offset += (uint32_t)TIDE_AGAIN((ptrdiff_t)magazine->at) - 8; /* less page->lead */
    if (TIDE_UNLIKELY(offset >= TIDE_RACY_GET(&page->limit) ||
                      offset * page->recip >= TIDE_AGAIN(page)->recip))
        return NULL;
    return magazine;
}

/* Tiny and Mid go the same way, so that no branch depends on which it is: the page says
 * whose the block is and that one starts here, the checked word that it is live. Whatever
 * does not fit goes to the judge. */
TIDE_INLINE void tide_route_free(void *p)
{
    struct tide_cache *cache = tide_self;
    size_t in_arena = (uintptr_t)p - cache->arena_base;
    if (TIDE_UNLIKELY(in_arena >= cache->arena_size))
        return tide_route_free_outside(p, cache);
    struct tide_magazine *magazine = tide_route_own(cache, in_arena);
    if (TIDE_UNLIKELY(magazine == NULL))
        return tide_route_free_slow(p, cache, "free");
    ptrdiff_t at = magazine->at;
    uint64_t word = magazine->checked ^ (uintptr_t)p;
    uint8_t found = tide_mid_load((char *)p + at) == word;
    if (TIDE_UNLIKELY(found != magazine->headed))
        return tide_route_free_slow(p, cache, "free");
    tide_mid_store((char *)p + TIDE_AGAIN(at), word ^ magazine->free_turn);
    tide_self_set(&tide_cache_busy);
    void **top = TIDE_RELAXED_GET(&magazine->top);
    if (TIDE_UNLIKELY(top == magazine->lim))
        return tide_route_free_full(p, cache);
    TIDE_RELAXED_SET(top, p);
    TIDE_RELAXED_SET(&magazine->top, top + 1);
    tide_self_set(cache);
}

#endif
