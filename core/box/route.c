/* route.c - see route.h: the slow halves */
#include "box/route.h"

#include "box/counters.h"
#include "box/deep.h"
#include "box/foreign.h"
#include "box/large.h"
#include "box/life.h"
#include "box/purge.h"
#include "box/stat.h"

/* A thread inside the slow path points at tide_cache_slow, so that a signal handler
 * that comes back here is seen. `before` is where the thread pointed. */
struct route_visit {
    const struct tide_cache *before;
    struct tide_cache *cache; /* the thread's own, or NULL: use the shared heap */
};

static struct route_visit route_enter(struct tide_cache *before)
{
    struct route_visit visit = {before, before};
    tide_self_set(before); /* the fast path may have left it busy */
    if (before == &tide_cache_empty) {
        visit.cache = tide_life_attach();
        if (visit.cache != NULL)
            visit.before = visit.cache;
    } else if (before == &tide_cache_busy || before == &tide_cache_dead) {
        visit.cache = NULL;
    }
    tide_life_enter();
    return visit;
}

static void route_leave(const struct route_visit *visit)
{
    tide_life_leave(visit->before);
    tide_counters_tick();
}

static struct tide_pages *route_pages(const struct route_visit *visit)
{
    if (visit->cache != NULL)
        return visit->cache->pages;
    struct tide_heap *shared = tide_heap_shared();
    return shared != NULL ? &shared->pages : NULL;
}

/* --- taking ------------------------------------------------------------------- */

/* One block straight from the pages, ready for its user. */
static void *route_take_one(struct tide_pages *pages, enum tide_kind kind, unsigned cls,
                            bool *zeroed)
{
    void *block = NULL;
    tide_lock_take(&pages->lock);
    if (pages->bin[kind][cls].head == NULL)
        tide_remote_drain(pages);
    unsigned got = tide_page_refill(pages, kind, cls, &block, 1, zeroed);
    tide_lock_drop(&pages->lock);
    if (got == 0)
        return NULL;
    if (tide_sizeclass_is_headed(kind, cls))
        tide_mid_set_live(tide_pagemap_find((uintptr_t)block), block, pages->owner, cls);
    else if (kind == TIDE_KIND_TINY)
        tide_tiny_clear_mark(block);
    return block;
}

/* A block from a magazine that does not look free. A user has it: said to be a double free.
 * Else its mark was overwritten (Tiny): nobody gets it again. */
TIDE_COLD static void route_set_aside(void *odd)
{
    struct tide_block block;
    tide_judge(odd, &block);
    if (block.kind == TIDE_KIND_TINY && !tide_page_headed(block.page) &&
        ((const uint64_t *)odd)[1] != (tide_key_mark(odd) ^ tide_key.freed)) {
        TIDE_STAT_ADD(lost, 1);
        return;
    }
    block.fault.what = "double free";
    block.fault.call = "malloc";
    block.fault.state = "live";
    tide_diag_misuse(&block.fault);
}

/* A block of a magazine: has a user it (Mid), or is its mark gone (Tiny)? */
static bool route_is_odd(const struct tide_magazine *magazine, const char *block)
{
    const void *at = magazine->headed ? tide_mid_word_at(tide_pagemap_find((uintptr_t)block), block)
                                      : block + magazine->at;
    uint64_t word = magazine->checked ^ (uintptr_t)block;
    return (tide_mid_load(at) == word) == magazine->headed;
}

/* A block for the thread's own use, through its magazine. */
static void *route_take_cached(struct tide_cache *cache, enum tide_kind kind, unsigned cls)
{
    unsigned slot = tide_slot_of(kind, cls);
    struct tide_magazine *magazine = tide_cache_magazine(cache, slot);
    for (;;) {
        if (magazine->top == magazine->base && !tide_magazine_fill(cache, slot))
            return NULL;
        void *block = magazine->top[-1];
        TIDE_RELAXED_SET(&magazine->top, magazine->top - 1);
        if (TIDE_UNLIKELY(route_is_odd(magazine, block))) {
            route_set_aside(block);
            continue;
        }
        if (magazine->headed)
            tide_mid_set_live(tide_pagemap_find((uintptr_t)block), block, cache->owner, cls);
        else
            tide_tiny_clear_mark(block);
        return block;
    }
}

/* A block off the thread's shelf. Of aligned Mid some come from the pages at once; of Large
 * only the pages know which are zero. */
static void *route_take_shelved(struct tide_cache *cache, enum tide_kind kind, unsigned cls)
{
    struct tide_pages *pages = cache->pages;
    size_t row = tide_sizeclass_kept(kind, cls);
    void *block = tide_shelf_take(cache->shelf, row);
    cache->shelf->missed = cache->shelf->missed || block == NULL;
    if (block != NULL || kind == TIDE_KIND_LARGE)
        return block;
    tide_lock_take(&pages->lock);
    if (pages->bin[kind][cls].head == NULL)
        tide_remote_drain(pages);
    tide_shelf_fill(cache->shelf, pages, kind, cls);
    tide_lock_drop(&pages->lock);
    return tide_shelf_take(cache->shelf, row);
}

static void *route_take_visit(const struct route_visit *visit, struct tide_pages *pages,
                              enum tide_kind kind, unsigned cls, bool *zeroed)
{
    bool unknown;
    if (zeroed == NULL)
        zeroed = &unknown;
    *zeroed = false;
    if (pages == NULL && visit->cache != NULL) {
        if (kind <= TIDE_KIND_MID)
            return route_take_cached(visit->cache, kind, cls);
        void *block = route_take_shelved(visit->cache, kind, cls);
        if (block != NULL)
            return block;
    }
    if (pages == NULL)
        pages = route_pages(visit);
    return pages != NULL ? route_take_one(pages, kind, cls, zeroed) : NULL;
}

void *tide_route_take(struct tide_pages *pages, enum tide_kind kind, unsigned cls, bool *zeroed)
{
    struct route_visit visit = route_enter(tide_self);
    void *block = route_take_visit(&visit, pages, kind, cls, zeroed);
    bool region = pages != NULL && pages->region != NULL; /* purging others does not help it */
    if (block == NULL && !region && tide_purge_all(0) > 0)
        block = route_take_visit(&visit, pages, kind, cls, zeroed);
    route_leave(&visit);
    if (TIDE_UNLIKELY(block == NULL))
        errno = ENOMEM;
    return block;
}

static void *route_take_mapping(struct tide_pages *pages, size_t size, size_t align, bool *zeroed)
{
    struct route_visit visit = route_enter(tide_self);
    if (pages == NULL)
        pages = route_pages(&visit);
    void *block = NULL;
    if (pages != NULL)
        block = tide_large_map(size, align, pages->owner, zeroed);
    route_leave(&visit);
    if (block == NULL)
        errno = ENOMEM;
    return block;
}

/* What is at hand in a row of the thread's shelf, without a visit of the slow path. The thread is
 * busy meanwhile, as on the fast path. NULL: not that simple. */
TIDE_INLINE void *route_take_fast(struct tide_cache *cache, size_t row)
{
    struct tide_shelf *shelf = cache->shelf;
    if (TIDE_UNLIKELY(shelf == NULL))
        return NULL;
    tide_self_set(&tide_cache_busy);
    void *block = tide_shelf_take(shelf, row);
    tide_self_set(cache);
    return block;
}

void *tide_route_take_large(struct tide_pages *pages, size_t size, size_t align, bool *zeroed)
{
    bool unknown;
    if (zeroed == NULL)
        zeroed = &unknown;
    if (size > PTRDIFF_MAX) {
        errno = ENOMEM;
        return NULL;
    }
    bool run = tide_large_is_run(size);
    int cls = run ? tide_sizeclass_aligned(TIDE_KIND_LARGE, size, align) : -1;
    void *block = NULL;
    *zeroed = false;
    if (cls >= 0 && pages == NULL) /* malloc has looked; others come here first */
        block = route_take_fast(tide_self, tide_sizeclass_kept(TIDE_KIND_LARGE, (unsigned)cls));
    if (block == NULL && cls >= 0)
        block = tide_route_take(pages, TIDE_KIND_LARGE, (unsigned)cls, zeroed);
    /* Near the end of the address space a mapping may fit where a segment does not. */
    return block != NULL ? block : route_take_mapping(pages, size, align, zeroed);
}

void *tide_route_take_growing(size_t size)
{
    enum { LITTLE = 64 << 10 };
    void *block = NULL;
    if (size > LITTLE && size <= PTRDIFF_MAX) {
        struct route_visit visit = route_enter(tide_self);
        if (visit.cache != NULL)
            block = tide_large_map_roomy(size, visit.cache->owner);
        route_leave(&visit);
    }
    return block != NULL ? block : tide_route_malloc(size);
}

TIDE_NOINLINE static void *route_take_aligned_rest(struct tide_pages *pages, size_t size,
                                                   size_t align)
{
    if (TIDE_UNLIKELY(tide_self->shelf == NULL))
        tide_life_start(); /* for tiny_max */
    enum tide_kind kind = size <= tide_sizeclass.tiny_max ? TIDE_KIND_TINY : TIDE_KIND_MIDAL;
    int cls = size <= TIDE_MID_TOP ? tide_sizeclass_aligned(kind, size, align) : -1;
    if (cls < 0)
        return tide_route_take_large(pages, size, align, NULL);
    return tide_route_take(pages, kind, (unsigned)cls, NULL);
}

/* A multiple of an alignment has a class of Tiny, or of aligned Mid, that is one as well. */
void *tide_route_take_aligned(struct tide_pages *pages, size_t size, size_t align)
{
    struct tide_cache *cache = tide_self;
    size_t least = tide_align_up(size, align), top = tide_sizeclass.tiny_max;
    void *block = NULL;
    if (TIDE_LIKELY(pages == NULL && cache->shelf != NULL)) { /* started: tiny_max will stay */
        if (least - 1 < top)
            return tide_route_malloc(least); /* aligned to what divides its class */
        if (TIDE_LIKELY(size > top && size <= TIDE_MID_TOP && least <= TIDE_MID_TOP))
            block = route_take_fast(cache, tide_shelf_row_of_midal[(least - 1) >> 7]);
    }
    return block != NULL ? block : route_take_aligned_rest(pages, size, align);
}

/* --- malloc ----------------------------------------------------------------------- */

/* Whatever no shelf has. */
TIDE_NOINLINE static void *route_malloc_rest(size_t size, struct tide_cache *cache, void *odd)
{
    if (cache == &tide_cache_empty) {
        struct route_visit visit = route_enter(cache); /* the class tables are there after it */
        route_leave(&visit);
    }
    if (size > TIDE_LARGE_BESIDE)
        return tide_route_take_large(NULL, size, 1, NULL);
    bool large = size > TIDE_MID_TOP;
    unsigned slot = large ? tide_sizeclass_slot_large(size) : tide_sizeclass_slot(size);
    if (odd != NULL) {
        struct tide_magazine *magazine = tide_cache_magazine(cache, slot);
        if (TIDE_LIKELY(!route_is_odd(magazine, odd))) { /* overwritten, but in no hands */
            tide_mid_store((char *)odd - 8, magazine->checked ^ (uintptr_t)odd);
            return odd;
        }
        route_set_aside(odd);
    }
    void *block = tide_route_take(NULL, tide_slot_kind(slot), tide_slot_class(slot), NULL);
    /* A mapping may fit where a segment does not. */
    return block != NULL || !large ? block : tide_route_take_large(NULL, size, 1, NULL);
}

TIDE_NOINLINE void *tide_route_malloc_slow(size_t size, struct tide_cache *cache, void *odd,
                                           const struct tide_magazine *magazine)
{
    size_t offset = (size_t)((const char *)magazine - (const char *)cache);
    void *block = NULL;
    if (cache->arena_deep != 0 && TIDE_LIKELY(tide_deep_take(cache, offset, &block)))
        return block;
    tide_self_set(cache); /* the fast path may have left it busy */
    return route_malloc_rest(size, cache, odd);
}

TIDE_NOINLINE void *tide_route_malloc_large(size_t size, struct tide_cache *cache)
{
    size_t step = (size - 1) >> 12;
    if (step < TIDE_LARGE_BESIDE >> 12) /* classes are 4 KiB apart */
        return tide_route_pop(size, cache, TIDE_LINE * (TIDE_TINY_ALIGNED - 8 + step));
    void *block = NULL;
    if (TIDE_LIKELY(step < TIDE_SHELF_LARGEST >> 12))
        block = route_take_fast(cache, tide_shelf_row_of[step]);
    return TIDE_LIKELY(block != NULL) ? block : route_malloc_rest(size, cache, NULL);
}

/* What one look at page and word tells of a block. */
struct route_glance {
    struct tide_page *page;
    uint32_t owner;
    bool mid;
    char *at; /* where the word is */
    uint64_t word;
};

/* What the fast path of free asks of page and word, for whatever owner: true when p is a
 * live block of Tiny or Mid. False: not that simple. */
TIDE_INLINE bool route_glance(const void *p, struct route_glance *seen)
{
    size_t offset;
    struct tide_page *page = tide_arena_page((uintptr_t)p, &offset);
    if (page == NULL)
        return false;
    uint32_t owner = atomic_load_explicit(&page->owner, memory_order_acquire);
    offset -= page->lead;
    if (owner == 0 || offset >= TIDE_RELAXED_GET(&page->limit) ||
        offset * page->recip >= page->recip)
        return false;
    bool mid = tide_page_headed(page);
    uint64_t pick = -(uint64_t)mid; /* no branch: the tiers come in any order */
    uint64_t word = (tide_key_word(owner, page->cls) & pick) | (tide_key.mark & ~pick);
    *seen = (struct route_glance){
        .page = page,
        .owner = owner,
        .mid = mid,
        .at = (char *)p + 8 - 16 * mid,
        .word = word ^ (uintptr_t)p,
    };
    return (tide_mid_load(seen->at) == seen->word) == mid;
}

/* --- freeing ------------------------------------------------------------------- */

static void route_push(struct tide_cache *cache, const struct tide_page *page, void *p)
{
    unsigned slot = tide_slot_of(page->kind, page->cls);
    struct tide_magazine *magazine = tide_cache_magazine(cache, slot);
    if (magazine->top == magazine->lim)
        tide_magazine_spill(cache, slot);
    TIDE_RELAXED_SET(magazine->top, p);
    TIDE_RELAXED_SET(&magazine->top, magazine->top + 1);
}

/* To the thread's shelf, from which older blocks may have to go. False: this one has to. */
static bool route_shelve(struct tide_cache *cache, const struct tide_page *page, void *p)
{
    unsigned index = (unsigned)tide_page_index(page, (uintptr_t)p);
    if (page->stride > TIDE_SHELF_LARGEST || tide_shelf_bits(page) == NULL)
        return false;
    if (tide_shelf_put(cache->shelf, page, index, p))
        return true;
    tide_lock_take(&cache->pages->lock);
    tide_shelf_relieve(cache->shelf, cache->pages, page);
    tide_lock_drop(&cache->pages->lock);
    tide_magazine_sweep(cache);
    return tide_shelf_put(cache->shelf, page, index, p);
}

static void route_send(struct tide_cache *cache, const struct tide_block *block, void *p)
{
    if (!tide_page_headed(block->page))
        tide_tiny_set_coming(p);
    tide_remote_put(cache->outbox, block->page, p);
}

/* A live block: to the own magazine, to another heap, or to its page at once. */
static void route_free_live(const struct route_visit *visit, const struct tide_block *block,
                            void *p)
{
    bool cached = block->kind == TIDE_KIND_TINY || block->kind == TIDE_KIND_MID;
    bool own = visit->cache != NULL && block->owner == visit->cache->owner;
    if (!cached) {
        if (!own || !route_shelve(visit->cache, block->page, p))
            tide_remote_give(block->owner, p);
        if (own && block->page->stride > TIDE_SHELF_LARGEST)
            tide_magazine_sweep(visit->cache);
        return;
    }
    if (tide_page_headed(block->page))
        tide_mid_set_freed(block->window, p, own ? TIDE_MID_FREED : TIDE_MID_REMOTE);
    else
        tide_tiny_set_mark(p);
    if (own)
        route_push(visit->cache, block->page, p);
    else if (visit->cache != NULL)
        route_send(visit->cache, block, p);
    else
        tide_remote_give(block->owner, p);
}

/* Reports what is wrong, unless it is foreign memory with an excuse. */
TIDE_COLD static void route_report(struct tide_block *block, const void *p, const char *call)
{
    if (block->foreign && tide_foreign_excuse(p))
        return;
    block->fault.call = call;
    tide_diag_misuse(&block->fault);
}

/* A live block of another heap goes into the batch for its owner. False: not that simple.
 * The thread is busy while it writes to its outbox. The word of Mid says that the block is on
 * its way; of Tiny, the first word does, and the second one is the mark. */
TIDE_INLINE bool route_free_remote(struct tide_cache *cache, void *p)
{
    struct route_glance seen;
    if (cache->outbox == NULL || !route_glance(p, &seen) || seen.owner == cache->owner)
        return false;
    tide_self_set(&tide_cache_busy);
    struct tide_batch *batch = tide_remote_room(cache->outbox, seen.owner, seen.page->stride);
    if (TIDE_LIKELY(batch != NULL)) {
        tide_mid_store(seen.at, seen.word);
        tide_mid_store((char *)p - 8 * seen.mid, seen.word ^ tide_key.remote);
        tide_remote_append(batch, seen.page->stride, p);
    }
    tide_self_set(cache);
    return batch != NULL;
}

/* A live, own block of aligned Mid or of Large, in the primary window of its kind, goes on the
 * thread's shelf, if there is room. False: not that simple. */
TIDE_INLINE bool route_free_shelf(struct tide_cache *cache, const struct tide_window *window,
                                  unsigned shift, unsigned words, void *p)
{
    size_t at = (uintptr_t)p - window->base, segment = at >> shift;
    struct tide_page *page = &window->pages[segment];
    if (TIDE_UNLIKELY(atomic_load_explicit(&page->owner, memory_order_relaxed) != cache->owner))
        return false;
    /* The high half of the product is the index; the low one is small at a block's start. Behind
     * the last block no bit is set. */
    unsigned __int128 product = (unsigned __int128)(at & (((size_t)1 << shift) - 1)) * page->recip;
    if (TIDE_UNLIKELY((uint64_t)product >= page->recip))
        return false;
    unsigned index = (unsigned)(product >> 64);
    /* Out of the page, and not on a shelf. Such pages have their bitmap in the descriptor. */
    _Atomic uint64_t *shelved = window->bits + segment * words + index / 64;
    uint64_t out = atomic_load_explicit(&page->bits[index / 64], memory_order_relaxed);
    uint64_t here = atomic_load_explicit(shelved, memory_order_relaxed);
    if (TIDE_UNLIKELY(((out & ~here) >> index % 64 & 1) == 0))
        return false;
    tide_self_set(&tide_cache_busy);
    bool done = tide_shelf_put_at(cache->shelf, page, shelved, index, p);
    tide_self_set(cache);
    return done;
}

TIDE_NOINLINE static void route_free_judged(void *p, struct tide_cache *cache, const char *call)
{
    struct tide_block block;
    if (p == NULL)
        return;
    struct route_visit visit = route_enter(cache);
    /* What is in no window can only be a mapping, and is known there by its address alone. */
    bool gone = tide_pagemap_find((uintptr_t)p) == NULL && tide_large_unmap(p) == 0;
    bool live = gone || tide_judge(p, &block);
    /* A mapping that came to be there since is not the one that was to be freed. */
    if (TIDE_LIKELY(live && !gone && block.page != NULL))
        route_free_live(&visit, &block, p);
    route_leave(&visit);
    if (TIDE_UNLIKELY(!live)) /* outside: a handler of SIGABRT may allocate */
        route_report(&block, p, call);
}

TIDE_NOINLINE void tide_route_free_slow(void *p, struct tide_cache *cache, const char *call)
{
    if (!route_free_remote(cache, p))
        route_free_judged(p, cache, call);
}

TIDE_NOINLINE static void route_free_midal(void *p, struct tide_cache *cache)
{
    const struct tide_window *window = &tide_windows[TIDE_KIND_MIDAL];
    if (TIDE_UNLIKELY(!tide_window_holds(window, (uintptr_t)p) ||
                      !route_free_shelf(cache, window, TIDE_SHIFT_SMALL, TIDE_MIDAL_WORDS, p)))
        tide_route_free_slow(p, cache, "free");
}

TIDE_NOINLINE static void route_free_shelved(void *p, struct tide_cache *cache)
{
    const struct tide_window *window = &tide_windows[TIDE_KIND_LARGE];
    if (!tide_window_holds(window, (uintptr_t)p))
        return route_free_midal(p, cache);
    if (TIDE_UNLIKELY(!route_free_shelf(cache, window, TIDE_SHIFT_LARGE, TIDE_LARGE_WORDS, p)))
        tide_route_free_slow(p, cache, "free");
}

TIDE_NOINLINE void tide_route_free_outside(void *p, struct tide_cache *cache)
{
    if (cache->arena_deep == 0 || !tide_deep_give(cache, p))
        route_free_shelved(p, cache);
}

TIDE_NOINLINE void tide_route_free_full(void *p, struct tide_cache *cache)
{
    struct route_visit visit = route_enter(cache);
    const struct tide_window *window = tide_pagemap_find((uintptr_t)p);
    TIDE_CHECK(visit.cache != NULL && window != NULL);
    route_push(visit.cache, tide_window_page(window, (uintptr_t)p), p);
    route_leave(&visit);
}

bool tide_route_inspect(const void *p, struct tide_block *out, const char *call)
{
    struct route_glance seen;
    if (TIDE_LIKELY(route_glance(p, &seen))) {
        out->page = seen.page;
        out->window = tide_page_window(seen.page);
        out->kind = (enum tide_kind)seen.page->kind;
        out->owner = seen.owner;
        out->usable = tide_page_usable(seen.page);
        return true;
    }
    struct route_visit visit = route_enter(tide_self);
    bool live = tide_judge(p, out);
    route_leave(&visit);
    if (!live && call != NULL) {
        out->foreign = false; /* no excuse: there is nothing to leak */
        route_report(out, p, call);
    }
    return live;
}

void tide_route_flush_thread(void)
{
    struct route_visit visit = route_enter(tide_self);
    if (visit.cache != NULL) {
        tide_magazine_empty(visit.cache);
        tide_remote_flush(visit.cache->outbox);
    }
    route_leave(&visit);
}
