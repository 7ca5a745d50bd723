/* heap.c - see heap.h */
#include "box/heap.h"

#include "box/meta.h"
#include "box/mid.h"
#include "box/segment.h"
#include "box/tiny.h"

static struct tide_lock_apart heap_lock;
static _Atomic(struct tide_heap *) heap_all;
static struct tide_heap *heap_parked, *heap_spare; /* under heap_lock */
static _Atomic(struct tide_heap *) heap_shared;
static uint32_t heap_ids; /* under heap_lock */

struct tide_heap *tide_heap_first(void)
{
    return atomic_load_explicit(&heap_all, memory_order_acquire);
}

static void heap_set_state(struct tide_heap *heap, enum tide_heap_state state)
{
    atomic_store_explicit(&heap->state, (int)state, memory_order_relaxed);
    atomic_store_explicit(&heap->pages.parked, state == TIDE_HEAP_PARKED, memory_order_seq_cst);
}

static bool heap_magazine_holds(const struct tide_magazine *magazine, const void *block)
{
    void **top = TIDE_RELAXED_GET(&magazine->top);
    for (void **at = magazine->base; at != NULL && at < top; at++)
        if (TIDE_RELAXED_GET(at) == block)
            return true;
    return false;
}

static bool heap_caches(const struct tide_pages *pages, const struct tide_page *page,
                        const void *block)
{
    struct tide_heap *heap =
        (struct tide_heap *)((char *)pages - offsetof(struct tide_heap, pages));
    unsigned slot = tide_slot_of(page->kind, page->cls);
    return heap_magazine_holds(tide_cache_magazine(&heap->cache, slot), block);
}

/* A heap with an id of its own, with or without magazines. heap_lock held. */
static struct tide_heap *heap_make(enum tide_heap_state state)
{
    /* The last id is for the shared heap, on which threads without one depend. */
    if (heap_ids + (state == TIDE_HEAP_SHARED ? 1 : 2) >= TIDE_OWNER_IDS)
        return NULL;
    bool thread = state == TIDE_HEAP_LIVE, far = thread && tide_segment_mid_mode() != 0;
    size_t deep = far ? TIDE_SLOTS * sizeof(struct tide_deep) : 0;
    size_t places = thread ? tide_magazine_places() * sizeof(void *) : 0;
    size_t shelf = thread ? sizeof(struct tide_shelf) : 0;
    struct tide_heap *heap = tide_meta_take(sizeof *heap + deep + shelf + places);
    if (heap == NULL)
        return NULL;
    uint32_t id = ++heap_ids;
    heap->pages.owner = id | (uint32_t)1 << TIDE_OWNER_BITS;
    heap->cache.owner = heap->pages.owner;
    heap->cache.pages = &heap->pages;
    heap->cache.outbox = &heap->outbox;
    if (far) {
        heap->cache.deep = (struct tide_deep *)(heap + 1);
        heap->cache.all_deep = (tide_segment_mid_mode() & TIDE_MODE_SHADOW) != 0;
    }
    if (thread) {
        heap->pages.caches = heap_caches;
        heap->cache.shelf = (struct tide_shelf *)((char *)(heap + 1) + deep);
        tide_shelf_birth(heap->cache.shelf);
        tide_magazine_birth(&heap->cache, (void **)((char *)(heap + 1) + deep + shelf));
        tide_tiny_birth(&heap->cache);
        tide_mid_birth(&heap->cache);
    }
    heap_set_state(heap, state);
    heap->next = tide_heap_first();
    atomic_store_explicit(&tide_page_owner[id], &heap->pages, memory_order_release);
    atomic_store_explicit(&heap_all, heap, memory_order_release);
    return heap;
}

struct tide_heap *tide_heap_birth(void)
{
    tide_lock_take(&heap_lock.lock);
    struct tide_heap *heap = heap_parked;
    if (heap != NULL) {
        heap_parked = heap->spare;
        heap->rounds = 0;
        heap_set_state(heap, TIDE_HEAP_LIVE);
    } else {
        heap = heap_make(TIDE_HEAP_LIVE);
    }
    tide_lock_drop(&heap_lock.lock);
    if (heap != NULL) {
        tide_magazine_users(1);
        tide_shelf_users(1);
    }
    return heap;
}

static void heap_park(struct tide_heap *heap)
{
    tide_remote_flush(&heap->outbox);
    tide_magazine_empty(&heap->cache);
    tide_magazine_users(-1);
    tide_shelf_users(-1);
    tide_lock_take(&heap_lock.lock);
    heap_set_state(heap, TIDE_HEAP_PARKED);
    heap->spare = heap_parked;
    heap_parked = heap;
    tide_lock_drop(&heap_lock.lock);
}

void tide_heap_death(struct tide_heap *heap)
{
    heap_park(heap);
    /* What was pushed before everybody could see that the heap is parked. */
    tide_lock_take(&heap->pages.lock);
    tide_remote_drain(&heap->pages);
    tide_lock_drop(&heap->pages.lock);
}

struct tide_heap *tide_heap_shared(void)
{
    struct tide_heap *heap = atomic_load_explicit(&heap_shared, memory_order_acquire);
    if (heap != NULL)
        return heap;
    tide_lock_take(&heap_lock.lock);
    heap = atomic_load_explicit(&heap_shared, memory_order_relaxed);
    if (heap == NULL) {
        heap = heap_make(TIDE_HEAP_SHARED);
        atomic_store_explicit(&heap_shared, heap, memory_order_release);
    }
    tide_lock_drop(&heap_lock.lock);
    return heap;
}

struct tide_heap *tide_heap_found(void)
{
    tide_lock_take(&heap_lock.lock);
    struct tide_heap *heap = heap_spare;
    if (heap != NULL) {
        heap_spare = heap->spare;
        heap_set_state(heap, TIDE_HEAP_FIRST);
    } else {
        heap = heap_make(TIDE_HEAP_FIRST);
    }
    tide_lock_drop(&heap_lock.lock);
    return heap;
}

void tide_heap_raze(struct tide_heap *heap)
{
    struct tide_pages *pages = &heap->pages;
    tide_lock_take(&pages->lock);
    tide_remote_drain(pages);
    tide_page_destroy(pages);
    TIDE_RELAXED_SET(&pages->region, NULL);
    uint32_t generation = (pages->owner >> TIDE_OWNER_BITS) % 255 + 1;
    uint32_t owner = (pages->owner & (TIDE_OWNER_IDS - 1)) | generation << TIDE_OWNER_BITS;
    TIDE_RELAXED_SET(&pages->owner, owner);
    TIDE_RELAXED_SET(&pages->births, pages->births + 1);
    heap->cache.owner = owner;
    tide_lock_drop(&pages->lock);
    tide_lock_take(&heap_lock.lock);
    heap_set_state(heap, TIDE_HEAP_SPARE);
    heap->spare = heap_spare;
    heap_spare = heap;
    tide_lock_drop(&heap_lock.lock);
}

struct heap_search {
    const void *block;
    bool found;
};

static void heap_search_visit(void *context, const void *block)
{
    struct heap_search *search = context;
    search->found = search->found || search->block == block;
}

bool tide_heap_holds(const struct tide_page *page, const void *block)
{
    struct heap_search search = {block, false};
    uint32_t owner = atomic_load_explicit(&page->owner, memory_order_relaxed);
    bool cached = page->kind == TIDE_KIND_TINY || page->kind == TIDE_KIND_MID;
    for (struct tide_heap *heap = tide_heap_first(); heap != NULL; heap = heap->next) {
        tide_remote_each_out(&heap->outbox, heap_search_visit, &search);
        if (TIDE_RELAXED_GET(&heap->pages.owner) != owner)
            continue;
        if (cached && heap_caches(&heap->pages, page, block))
            return true;
        tide_lock_take(&heap->pages.lock);
        tide_remote_each_in(&heap->pages, heap_search_visit, &search);
        tide_lock_drop(&heap->pages.lock);
    }
    return search.found;
}

void tide_heap_fork(enum tide_fork phase)
{
    if (phase == TIDE_FORK_PREPARE)
        tide_lock_take(&heap_lock.lock);
    for (struct tide_heap *heap = tide_heap_first(); heap != NULL; heap = heap->next)
        tide_lock_fork(&heap->pages.lock, phase);
    if (phase == TIDE_FORK_RELEASE) /* last: a heap that is new by now was not locked */
        tide_lock_drop(&heap_lock.lock);
}

void tide_heap_fork_child(const struct tide_cache *self)
{
    for (struct tide_heap *heap = tide_heap_first(); heap != NULL; heap = heap->next) {
        if (&heap->cache == self)
            continue;
        if (atomic_load_explicit(&heap->state, memory_order_relaxed) == TIDE_HEAP_LIVE)
            tide_heap_death(heap);
    }
}
