/* magazine.c - see magazine.h */
#include "box/magazine.h"

#include "box/page_budget.h"

/* What happened last to a magazine, and how often in a row it was spilled. */
enum { LAST_NOTHING, LAST_FILL, LAST_SPILL, LAST_SPILLS_MOST = LAST_SPILL + 3 };

enum {
    MAGAZINE_TINY_BYTES = 128 << 10, /* the most bytes one magazine grows to, */
    MAGAZINE_MID_BYTES = 2048 << 10, /* and of Large */
    MAGAZINE_SLOTS_MIN = 16,         /* between these many blocks */
    MAGAZINE_SLOTS_MAX = 256,
    MAGAZINE_FIRST = 8,               /* what it begins with, */
    MAGAZINE_FIRST_BYTES = 16 << 10,  /* or as many blocks as these are, but two */
    MAGAZINE_WARM = 3,                /* turns until a magazine counts as idle */
    MAGAZINE_SWEPT = 4,               /* that are emptied at a time, */
    MAGAZINE_SWEPT_BYTES = 256 << 10, /* with so many bytes in all */
    MAGAZINE_FULL_SHARES = 4          /* threads that have a whole budget each */
};

/* Nothing to take, no room, and no address is in its arena. */
#define CONSTANT_CACHE                                                                             \
    {                                                                                              \
        .owner = UINT32_MAX                                                                        \
    }

const struct tide_cache tide_cache_empty = CONSTANT_CACHE;
const struct tide_cache tide_cache_busy = CONSTANT_CACHE;
const struct tide_cache tide_cache_slow = CONSTANT_CACHE;
const struct tide_cache tide_cache_dead = CONSTANT_CACHE;

__thread struct tide_cache *tide_self __attribute__((tls_model("initial-exec"))) =
    (struct tide_cache *)&tide_cache_empty;

static _Atomic size_t magazine_budget TIDE_START_DATA = 32 << 20;
static _Atomic int magazine_users;

void tide_magazine_users(int change)
{
    atomic_fetch_add_explicit(&magazine_users, change, memory_order_relaxed);
}

/* The budget of one thread. More than four share four times the budget. */
static size_t magazine_share(void)
{
    size_t budget = atomic_load_explicit(&magazine_budget, memory_order_relaxed);
    int users = atomic_load_explicit(&magazine_users, memory_order_relaxed);
    return users > MAGAZINE_FULL_SHARES ? budget / (unsigned)users * MAGAZINE_FULL_SHARES : budget;
}

void tide_magazine_set_budget(size_t bytes)
{
    atomic_store_explicit(&magazine_budget, bytes, memory_order_relaxed);
}

/* Slots of one class: so many blocks as fit a share of bytes. */
static size_t magazine_stride(unsigned slot)
{
    return tide_sizeclass_stride(tide_slot_kind(slot), tide_slot_class(slot));
}

static size_t magazine_most(unsigned slot)
{
    size_t bytes = slot < TIDE_TINY_ALIGNED ? MAGAZINE_TINY_BYTES : MAGAZINE_MID_BYTES;
    size_t most = bytes / magazine_stride(slot);
    return tide_min(tide_max(most, MAGAZINE_SLOTS_MIN), MAGAZINE_SLOTS_MAX);
}

size_t tide_magazine_places(void)
{
    size_t places = 0;
    for (unsigned slot = 0; slot < TIDE_SLOTS; slot++)
        places += magazine_most(slot);
    return places;
}

/* What the magazines begin with. The same for all threads: the first one that is born tells. */
static uint8_t magazine_firsts[TIDE_SLOTS];

static size_t magazine_first(unsigned slot)
{
    return magazine_firsts[slot];
}

static void magazine_see_firsts(void)
{
    for (unsigned slot = 0; slot < TIDE_SLOTS && magazine_firsts[slot] == 0; slot++) {
        size_t fit = MAGAZINE_FIRST_BYTES / magazine_stride(slot);
        magazine_firsts[slot] = (uint8_t)tide_min(tide_max(fit, 2), MAGAZINE_FIRST);
    }
}

void tide_magazine_birth(struct tide_cache *cache, void **places)
{
    cache->held = 0;
    magazine_see_firsts();
    for (unsigned slot = 0; slot < TIDE_SLOTS; slot++) {
        struct tide_magazine *magazine = tide_cache_magazine(cache, slot);
        TIDE_RELAXED_SET(&magazine->top, places);
        magazine->base = places;
        magazine->lim = places + magazine_first(slot);
        places += magazine_most(slot);
        cache->last[slot] = LAST_NOTHING;
    }
}

/* Gives the `count` lowest, that is oldest, blocks back. Lock held. */
static void magazine_give(struct tide_cache *cache, struct tide_magazine *magazine, size_t count)
{
    size_t have = (size_t)(magazine->top - magazine->base);
    tide_page_flush(cache->pages, magazine->base, (unsigned)count, "free");
    memmove(magazine->base, magazine->base + count, (have - count) * sizeof(void *));
    TIDE_RELAXED_SET(&magazine->top, magazine->base + (have - count));
}

/* Lowers the capacity to `cap`, with no more blocks than that in the magazine. */
static void magazine_lower(struct tide_cache *cache, unsigned slot, size_t cap)
{
    struct tide_magazine *magazine = tide_cache_magazine(cache, slot);
    cap = tide_max(cap, magazine_first(slot));
    size_t old = (size_t)(magazine->lim - magazine->base);
    if (cap < old) {
        magazine->lim = magazine->base + cap;
        cache->held -= (old - cap) * magazine_stride(slot);
    }
}

/* The next magazine with more than its first capacity, going round over the classes. */
static unsigned magazine_next_grown(struct tide_cache *cache)
{
    for (unsigned tries = 0; tries < TIDE_SLOTS; tries++) {
        unsigned slot = cache->next_shrink++ % TIDE_SLOTS;
        const struct tide_magazine *magazine = tide_cache_magazine(cache, slot);
        if ((size_t)(magazine->lim - magazine->base) > magazine_first(slot))
            return slot;
    }
    return TIDE_SLOTS;
}

/* Makes room in the budget: takes half the capacity of a magazine that was neither filled
 * nor spilled while the others had several turns here. Taken from each other, magazines
 * in use would all be too small all the time. Lock held. */
static void magazine_shrink_other(struct tide_cache *cache)
{
    unsigned slot = magazine_next_grown(cache);
    if (slot == TIDE_SLOTS)
        return;
    if (cache->warm[slot] > 0) {
        cache->warm[slot]--;
        return;
    }
    struct tide_magazine *magazine = tide_cache_magazine(cache, slot);
    size_t cap = (size_t)(magazine->lim - magazine->base);
    size_t have = (size_t)(magazine->top - magazine->base);
    size_t left = tide_max(cap - cap / 2, magazine_first(slot));
    if (have > left)
        magazine_give(cache, magazine, have - left);
    magazine_lower(cache, slot, left);
}

/* Doubles the capacity as far as class and budget allow. Lock held. */
static bool magazine_grow(struct tide_cache *cache, unsigned slot)
{
    struct tide_magazine *magazine = tide_cache_magazine(cache, slot);
    size_t stride = magazine_stride(slot);
    size_t cap = (size_t)(magazine->lim - magazine->base);
    size_t more = tide_min(cap, magazine_most(slot) - cap);
    size_t budget = magazine_share();
    if (more == 0)
        return false;
    if (cache->held + more * stride > budget)
        magazine_shrink_other(cache);
    while (more > 0 && cache->held + more * stride > budget)
        more /= 2;
    magazine->lim += more;
    cache->held += more * stride;
    return more > 0;
}

/* Refill delivers ascending addresses and the top is used first: turn them round. */
static void magazine_reverse(void **blocks, unsigned count)
{
    for (unsigned i = 0; i < count / 2; i++) {
        void *block = blocks[i];
        blocks[i] = blocks[count - 1 - i];
        blocks[count - 1 - i] = block;
    }
}

/* What is asked of a block that comes home is the same for all of a batch. */
struct magazine_home {
    uintptr_t base;
    size_t size;
    struct tide_page *pages;
    char *rows;            /* of magazines, Tiny's and Mid's unless that is far */
    unsigned scale;        /* they are 64 << scale bytes apart */
    uint64_t remote, turn; /* what a word of Tiny, of Mid is turned by on its way */
    uint32_t owner;
};

/* A block that came home goes where the next malloc takes it from, if there is room and if it says
 * that it is on its way: in its checked word (Mid), in its first word (Tiny). Then it says that it
 * is free, and a second arrival does not come this way. */
TIDE_INLINE bool magazine_accept_one(const struct magazine_home *home, char *block)
{
    size_t in_arena = (uintptr_t)block - home->base;
    if (TIDE_UNLIKELY(in_arena >= home->size))
        return false;
    struct tide_page *page = &home->pages[in_arena >> TIDE_SHIFT_SMALL];
    if (TIDE_UNLIKELY(TIDE_RACY_GET((uint32_t *)&page->owner) != home->owner || page->limit == 0))
        return false;
    struct tide_magazine *magazine = (void *)(home->rows + ((size_t)page->magazine << home->scale));
    uint64_t offset = (in_arena & (((size_t)1 << TIDE_SHIFT_SMALL) - 1)) - page->lead, word;
    uint64_t freed = magazine->freed ^ (uintptr_t)block;
    uint64_t index = tide_cpu_mulhi(offset, page->recip);
    char *at = block + (magazine->at - 8) / 2; /* -8, or 0 */
    memcpy(&word, at, sizeof word);
    word ^= freed;
    if (TIDE_UNLIKELY((word != home->remote) & (word != home->turn)) ||
        magazine->top == magazine->lim || index >= page->blocks || index * page->stride != offset ||
        !tide_page_is_out(page, (unsigned)index))
        return false;
    memcpy(at, &freed, sizeof freed);
    TIDE_RELAXED_SET(magazine->top, block);
    TIDE_RELAXED_SET(&magazine->top, magazine->top + 1);
    return true;
}

static unsigned magazine_accept(void *context, void **blocks, unsigned n)
{
    struct tide_cache *cache = context;
    const struct magazine_home home = {.base = cache->arena_base,
                                       .size = cache->arena_size + cache->arena_deep,
                                       .pages = cache->arena_pages,
                                       .rows = (char *)tide_cache_magazine(cache, 0),
                                       .scale = cache->all_deep,
                                       .remote = tide_key.remote,
                                       .turn = tide_key.remote ^ tide_key.freed,
                                       .owner = cache->owner};
    unsigned left = 0;
    for (unsigned i = 0; i < n; i++) {
        void *block = blocks[i];
        if (!magazine_accept_one(&home, block))
            TIDE_RELAXED_SET(&blocks[left++], block); /* statistics may be looking */
    }
    return left;
}

/* Tiny's words, and those of Large beside it, are where they always are. A block of Tiny must
 * look free when it is taken, one of Mid must not be live: its place in the table says nothing of
 * a block that nobody had yet. */
static void magazine_see_words(struct tide_cache *cache, const struct tide_window *mid)
{
    for (unsigned slot = 0; slot < TIDE_SLOTS; slot++) {
        struct tide_deep *deep = &cache->deep[slot];
        bool apart = slot >= TIDE_TINY_ALL;
        deep->words = (uintptr_t)(ptrdiff_t)deep->magazine.at;
        deep->probe = apart ? deep->magazine.checked : deep->magazine.freed;
        deep->turn = apart ? 0 : deep->magazine.take_turn;
        deep->shift = apart ? TIDE_SHADOW_SHIFT - 3 : 0;
        deep->bad = apart;
        deep->stepped = !apart;
        if (apart)
            deep->words = (uintptr_t)mid->shadow - (mid->base >> deep->shift);
    }
}

/* The arena is there as soon as a block is. */
static void magazine_see_arena(struct tide_cache *cache)
{
    size_t size = atomic_load_explicit(&tide_arena.size, memory_order_acquire);
    cache->arena_base = TIDE_RELAXED_GET(&tide_arena.base);
    cache->arena_pages = TIDE_RELAXED_GET(&tide_arena.pages);
    if (cache->all_deep)
        magazine_see_words(cache, &tide_windows[TIDE_KIND_MID]);
    *(cache->all_deep ? &cache->arena_deep : &cache->arena_size) = size;
}

bool tide_magazine_fill(struct tide_cache *cache, unsigned slot)
{
    struct tide_magazine *magazine = tide_cache_magazine(cache, slot);
    struct tide_pages *pages = cache->pages;
    tide_lock_take(&pages->lock);
    if (cache->last[slot] != LAST_NOTHING)
        magazine_grow(cache, slot);
    cache->last[slot] = LAST_FILL;
    cache->warm[slot] = MAGAZINE_WARM;
    tide_remote_drain_to(pages, magazine_accept, cache);
    if (magazine->top != magazine->base) {
        tide_lock_drop(&pages->lock);
        return true;
    }
    unsigned want = (unsigned)(magazine->lim - magazine->base + 1) / 2;
    unsigned got = tide_page_refill(pages, tide_slot_kind(slot), tide_slot_class(slot),
                                    magazine->base, want, NULL);
    if (got < want) /* fresh ones come a few at a time, whatever the capacity */
        cache->last[slot] = LAST_NOTHING;
    magazine_reverse(magazine->base, got);
    TIDE_RELAXED_SET(&magazine->top, magazine->base + got);
    if (cache->arena_pages == NULL)
        magazine_see_arena(cache);
    tide_lock_drop(&pages->lock); /* not before: a fork in between would lose the blocks */
    return got > 0;
}

/* Empties the next ones that have something, and on until enough went. Lock held. */
static void magazine_empty_some(struct tide_cache *cache)
{
    size_t bytes = 0;
    for (unsigned tries = 0, some = 0;
         tries < TIDE_SLOTS && (some < MAGAZINE_SWEPT || bytes < MAGAZINE_SWEPT_BYTES); tries++) {
        unsigned slot = cache->next_sweep++ % TIDE_SLOTS;
        struct tide_magazine *magazine = tide_cache_magazine(cache, slot);
        size_t have = (size_t)(magazine->top - magazine->base);
        if (have > 0) {
            magazine_give(cache, magazine, have);
            magazine_lower(cache, slot, 0);
            bytes += have * magazine_stride(slot);
            some++;
        }
    }
}

void tide_magazine_sweep(struct tide_cache *cache)
{
    tide_lock_take(&cache->pages->lock);
    if (tide_page_is_ebb(cache->pages, cache->held)) {
        tide_shelf_empty(cache->shelf, cache->pages);
        magazine_empty_some(cache);
    }
    tide_lock_drop(&cache->pages->lock);
}

static uint8_t magazine_last_spill(unsigned last)
{
    return (uint8_t)(last < LAST_SPILL ? LAST_SPILL : tide_min(last + 1, LAST_SPILLS_MOST));
}

void tide_magazine_spill(struct tide_cache *cache, unsigned slot)
{
    struct tide_magazine *magazine = tide_cache_magazine(cache, slot);
    size_t cap = (size_t)(magazine->lim - magazine->base);
    bool again = cache->last[slot] == LAST_SPILLS_MOST;
    tide_lock_take(&cache->pages->lock);
    cache->last[slot] = magazine_last_spill(cache->last[slot]);
    cache->warm[slot] = MAGAZINE_WARM;
    bool ebb = tide_page_is_ebb(cache->pages, cache->held);
    if (ebb)
        magazine_empty_some(cache);
    if (magazine->top < magazine->lim) {
        /* it was its own turn */
    } else if (again || ebb) {
        /* Blocks only come: keeping them would only keep them from their pages. */
        magazine_give(cache, magazine, cap - cap / 4);
        magazine_lower(cache, slot, cap / 2);
    } else if (!magazine_grow(cache, slot)) {
        /* They come and go: a larger magazine would have saved the next trip. */
        magazine_give(cache, magazine, (cap + 1) / 2);
    }
    tide_lock_drop(&cache->pages->lock);
}

void tide_magazine_empty(struct tide_cache *cache)
{
    tide_lock_take(&cache->pages->lock);
    for (unsigned slot = 0; slot < TIDE_SLOTS; slot++) {
        struct tide_magazine *magazine = tide_cache_magazine(cache, slot);
        if (magazine->top > magazine->base)
            magazine_give(cache, magazine, (size_t)(magazine->top - magazine->base));
        if ((size_t)(magazine->lim - magazine->base) > magazine_first(slot))
            magazine_lower(cache, slot, 0);
    }
    memset(cache->last, LAST_NOTHING, sizeof cache->last);
    tide_shelf_empty(cache->shelf, cache->pages);
    tide_lock_drop(&cache->pages->lock);
}
