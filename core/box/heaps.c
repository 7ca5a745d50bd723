/* heaps.c - see heaps.h */
#include "box/heaps.h"

#include "box/held.h"
#include "box/large.h"
#include "box/life.h"
#include "box/region.h"
#include "box/route.h"

/* Every function here runs on the slow path, which a signal handler may not
 * re-enter: the locks of a heap are taken. */
TIDE_EXPORT tide_heap_t *tide_heap_create(void)
{
    tide_life_start();
    const struct tide_cache *before = tide_life_enter();
    struct tide_heap *heap = tide_heap_found();
    tide_life_leave(before);
    if (heap == NULL)
        errno = ENOMEM;
    return heap;
}

TIDE_EXPORT tide_heap_t *tide_heap_create_on(tide_region_t *region)
{
    if (tide_region_is_stale(region)) {
        errno = ESTALE;
        return NULL;
    }
    struct tide_heap *heap = tide_heap_create();
    if (heap == NULL)
        return NULL;
    atomic_fetch_add_explicit(&region->heaps, 1, memory_order_acq_rel);
    heap->pages.number = atomic_fetch_add_explicit(&region->numbers, 1, memory_order_relaxed) + 1;
    TIDE_RELAXED_SET(&heap->pages.region, region);
    return heap;
}

/* --- blocks in regions --------------------------------------------------------------- */

/* What was freed and has not come home yet: in this thread's outbox, or in the inbox of a
 * heap on the region. */
static void heaps_drain(const struct tide_region *region)
{
    tide_route_flush_thread();
    const struct tide_cache *before = tide_life_enter();
    for (struct tide_heap *heap = tide_heap_first(); heap != NULL; heap = heap->next) {
        if (TIDE_RELAXED_GET(&heap->pages.region) != region)
            continue;
        tide_lock_take(&heap->pages.lock);
        tide_remote_drain(&heap->pages);
        tide_lock_drop(&heap->pages.lock);
    }
    tide_life_leave(before);
}

static void *heaps_take_run(struct tide_pages *pages, size_t size)
{
    const struct tide_cache *before = tide_life_enter();
    tide_lock_take(&pages->lock);
    void *block = tide_page_take_run(pages, size);
    tide_lock_drop(&pages->lock);
    tide_life_leave(before);
    if (block == NULL)
        errno = ENOMEM;
    return block;
}

static void *heaps_take_once(struct tide_pages *pages, size_t size, size_t align)
{
    int cls = -1;
    if (align <= TIDE_ALIGN_MIN && size <= TIDE_MID_TOP)
        return tide_route_take(pages, TIDE_KIND_MID, tide_sizeclass_mid(size), NULL);
    if (align <= TIDE_REGION_SEGMENT)
        cls = tide_sizeclass_aligned(TIDE_KIND_MIDAL, size, align);
    if (cls >= 0)
        return tide_route_take(pages, TIDE_KIND_MIDAL, (unsigned)cls, NULL);
    if (align <= TIDE_REGION_SEGMENT && size <= PTRDIFF_MAX)
        return heaps_take_run(pages, size);
    errno = ENOMEM;
    return NULL;
}

/* A block in the region, or NULL: never elsewhere. */
static void *heaps_take_in(struct tide_pages *pages, size_t size, size_t align)
{
    if (tide_region_is_stale(pages->region)) {
        errno = ESTALE;
        return NULL;
    }
    void *block = heaps_take_once(pages, size, align);
    if (TIDE_UNLIKELY(block == NULL)) {
        heaps_drain(pages->region);
        block = heaps_take_once(pages, size, align);
    }
    return block;
}

void *tide_heaps_take_beside(uint32_t owner, size_t size)
{
    struct tide_pages *pages = tide_page_find_owner(owner);
    if (pages == NULL || pages->region == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    return heaps_take_in(pages, size, 1);
}

/* --- blocks ------------------------------------------------------------------------------ */

static void *heaps_take(tide_heap_t *heap, size_t size, bool *zeroed)
{
    if (heap->pages.region != NULL)
        return heaps_take_in(&heap->pages, size, 1);
    if (size > TIDE_MID_TOP)
        return tide_route_take_large(&heap->pages, size, 1, zeroed);
    unsigned slot = tide_sizeclass_slot(size);
    return tide_route_take(&heap->pages, tide_slot_kind(slot), tide_slot_class(slot), zeroed);
}

TIDE_EXPORT void *tide_heap_malloc(tide_heap_t *heap, size_t size)
{
    return heaps_take(heap, size, NULL);
}

TIDE_EXPORT void *tide_heap_calloc(tide_heap_t *heap, size_t count, size_t size)
{
    size_t bytes;
    bool zeroed = false;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    void *block = heaps_take(heap, bytes, &zeroed);
    if (block != NULL && !zeroed)
        memset(block, 0, bytes);
    return block;
}

TIDE_EXPORT void *tide_heap_realloc(tide_heap_t *heap, void *ptr, size_t size)
{
    struct tide_block old;
    if (ptr == NULL)
        return tide_heap_malloc(heap, size);
    if (!tide_route_inspect(ptr, &old, "tide_heap_realloc")) {
        errno = EINVAL;
        return NULL;
    }
    if (size == 0) {
        tide_route_free(ptr);
        return NULL;
    }
    if (old.owner == heap->pages.owner && size <= old.usable && size >= old.usable / 2)
        return ptr;
    void *block = tide_heap_malloc(heap, size);
    if (block != NULL) {
        memcpy(block, ptr, tide_min(size, old.usable));
        tide_route_free(ptr);
    }
    return block;
}

TIDE_EXPORT void *tide_heap_aligned_alloc(tide_heap_t *heap, size_t alignment, size_t size)
{
    if (!tide_is_pow2(alignment)) {
        errno = EINVAL;
        return NULL;
    }
    if (alignment <= TIDE_ALIGN_MIN)
        return tide_heap_malloc(heap, size);
    if (heap->pages.region != NULL)
        return heaps_take_in(&heap->pages, size, alignment);
    return tide_route_take_aligned(&heap->pages, size, alignment);
}

static void heaps_leave(void *context, uint64_t segment)
{
    const struct tide_heap *heap = context;
    tide_plot_leave(&heap->pages.region->table, segment, heap->pages.number);
}

TIDE_EXPORT void tide_heap_destroy(tide_heap_t *heap)
{
    if (heap == NULL)
        return;
    const struct tide_cache *before = tide_life_enter();
    struct tide_region *region = heap->pages.region;
    /* Blocks that the log has are not the heap's any more. */
    if (region != NULL && !tide_region_is_stale(region))
        tide_held_each(region, heaps_leave, heap);
    tide_large_destroy(heap->pages.owner);
    tide_heap_raze(heap);
    if (region != NULL)
        atomic_fetch_sub_explicit(&region->heaps, 1, memory_order_acq_rel);
    tide_life_leave(before);
}
