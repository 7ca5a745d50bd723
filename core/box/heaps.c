/* heaps.c - see heaps.h */
#include "box/heaps.h"

#include "box/large.h"
#include "box/life.h"
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

static void *heaps_take(tide_heap_t *heap, size_t size, bool *zeroed)
{
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
    return tide_route_take_aligned(&heap->pages, size, alignment);
}

TIDE_EXPORT void tide_heap_destroy(tide_heap_t *heap)
{
    if (heap == NULL)
        return;
    const struct tide_cache *before = tide_life_enter();
    tide_large_destroy(heap->pages.owner);
    tide_heap_raze(heap);
    tide_life_leave(before);
}
