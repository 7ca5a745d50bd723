/*
 * tidepool/heap.h - first-class heaps: allocate from one, destroy all at once.
 *
 * A heap is a set of blocks of its own. It belongs to no thread: any thread may
 * allocate from it (calls on one heap are serialised by a lock of the heap;
 * for speed give each thread its own heap) and any thread may free its blocks,
 * by tide_free. tide_heap_destroy gives back every block that is still live in
 * one go, whoever allocated it.
 */
#ifndef TIDEPOOL_HEAP_H
#define TIDEPOOL_HEAP_H

#include <stddef.h>

#include <tidepool/malloc.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tide_heap tide_heap_t;

/* A new, empty heap, or NULL with errno ENOMEM. */
tide_heap_t *tide_heap_create(void) TIDE_ATTR_UNUSED_RESULT;

/* As tide_malloc, tide_calloc, tide_realloc and tide_aligned_alloc, with the
 * new block in `heap`. tide_heap_realloc moves a block of another heap. (Plain
 * tide_realloc takes a block out of its heap when it has to copy it, and leaves it there
 * when it need not, as with mappings above 256 KiB.) */
void *tide_heap_malloc(tide_heap_t *heap, size_t size) TIDE_ATTR_MALLOC TIDE_ATTR_SIZE(2)
    TIDE_ATTR_UNUSED_RESULT;
void *tide_heap_calloc(tide_heap_t *heap, size_t count, size_t size)
    TIDE_ATTR_MALLOC TIDE_ATTR_SIZE(2, 3) TIDE_ATTR_UNUSED_RESULT;
void *tide_heap_realloc(tide_heap_t *heap, void *ptr, size_t size) TIDE_ATTR_SIZE(3)
    TIDE_ATTR_UNUSED_RESULT;
void *tide_heap_aligned_alloc(tide_heap_t *heap, size_t alignment, size_t size)
    TIDE_ATTR_MALLOC TIDE_ATTR_SIZE(3) TIDE_ATTR_UNUSED_RESULT;

/* Frees every live block of the heap and the heap itself. No other thread may
 * be inside a call on this heap or on one of its blocks. NULL is ignored. */
void tide_heap_destroy(tide_heap_t *heap);

#ifdef __cplusplus
}
#endif

#endif
