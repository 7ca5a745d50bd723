/*
 * deep.h - the straight ways of malloc and free where Mid is far and its words are in the shadow
 * table.
 *
 * owns:      nothing
 * threads:   the thread whose cache it is
 * invariant: as route's fast paths; no line of far memory is touched
 * uses:      magazine, mid
 * used by:   route
 * not here:  whatever is not that simple (route)
 * test:      tests/test_deep.c
 *
 * The fast paths (route.h) find empty magazines and an empty arena then, and come here: so they
 * need not ask which way it is, and each of their branches goes the same way every time. As there,
 * Tiny and Mid go one way: what differs is in the magazine.
 */
#ifndef TIDE_BOX_DEEP_H
#define TIDE_BOX_DEEP_H

#include "box/mid.h"

/* The deep magazine in place of the one at this offset in a cache. */
TIDE_INLINE struct tide_deep *deep_at(struct tide_cache *cache, size_t offset)
{
    return (struct tide_deep *)((char *)cache->deep +
                                offset * (sizeof(struct tide_deep) / sizeof(struct tide_magazine)));
}

/* Mid is far and its words are in the shadow table: malloc without a touch of the far line. The
 * thread is busy, since the fast path came here. False: not that simple. */
TIDE_INLINE bool tide_deep_take(struct tide_cache *cache, size_t offset, void **out)
{
    struct tide_deep *deep = deep_at(cache, offset);
    struct tide_magazine *magazine = &deep->magazine;
    void **top = TIDE_RELAXED_GET(&magazine->top);
    if (TIDE_UNLIKELY(top == magazine->base))
        return false;
    char *block = top[-1];
    if (TIDE_UNLIKELY((uintptr_t)block - cache->arena_base >= cache->arena_deep))
        return false;
    uint64_t word = deep->probe ^ (uintptr_t)block;
    void *at = tide_deep_word(deep, block);
    uint8_t found = tide_mid_load(at) == word;
    if (TIDE_UNLIKELY(found == deep->bad))
        return false;
    TIDE_RELAXED_SET(&magazine->top, top - 1);
    tide_mid_store(at, word ^ deep->turn);
    tide_self_set(cache);
    *out = block;
    return true;
}

/* The deep magazine of an own block that free may take, if one begins at p; else NULL. Of Mid the
 * word alone tells that, since p is in it. As tide_route_own. */
TIDE_INLINE struct tide_deep *deep_own(struct tide_cache *cache, const void *p)
{
    size_t in_arena = (uintptr_t)p - cache->arena_base;
    if (TIDE_UNLIKELY(in_arena >= cache->arena_deep))
        return NULL;
    struct tide_page *page = &cache->arena_pages[in_arena >> TIDE_SHIFT_SMALL];
    if (TIDE_UNLIKELY(TIDE_RACY_GET((uint32_t *)&page->owner) != cache->owner))
        return NULL;
    struct tide_deep *deep = deep_at(cache, page->magazine);
    uint32_t offset = (uint32_t)in_arena & (((uint32_t)1 << TIDE_SHIFT_SMALL) - 1);
    offset += (uint32_t)(ptrdiff_t)deep->magazine.at - 8; /* less page->lead */
    uint8_t between =
        (offset >= TIDE_RACY_GET(&page->limit)) | (offset * page->recip >= TIDE_AGAIN(page)->recip);
    return TIDE_LIKELY((between & deep->stepped) == 0) ? deep : NULL;
}

/* The same for free, as tide_route_free. False: not that simple. */
TIDE_INLINE bool tide_deep_give(struct tide_cache *cache, void *p)
{
    struct tide_deep *deep = deep_own(cache, p);
    if (TIDE_UNLIKELY(deep == NULL))
        return false;
    struct tide_magazine *magazine = &deep->magazine;
    void *at = tide_deep_word(deep, p);
    uint64_t word = magazine->checked ^ (uintptr_t)p;
    uint8_t found = tide_mid_load(at) == word;
    if (TIDE_UNLIKELY(found != magazine->headed))
        return false;
    tide_self_set(&tide_cache_busy);
    void **top = TIDE_RELAXED_GET(&magazine->top);
    bool room = top != magazine->lim;
    if (TIDE_LIKELY(room)) {
        tide_mid_store(at, word ^ magazine->free_turn);
        TIDE_RELAXED_SET(top, p);
        TIDE_RELAXED_SET(&magazine->top, top + 1);
    }
    tide_self_set(cache);
    return room;
}

#endif
