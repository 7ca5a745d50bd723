/*
 * fuzz_calls.h - the calls of fuzz_api.c, one function per way to get, resize or free a
 *   block, each checked against the model; and the faults that FUZZ_PLANT plants in them.
 *
 * Owns: struct wish, what the option tiny_max was at start.
 * Threads: one at a time.
 * Invariant: a call that returns leaves model and library in agreement.
 * Uses: fuzz_model.h, the API under test.
 * Used by: fuzz_api.c.
 * Not here: the order of calls, threads, options, misuse.
 *
 * Faults: twice (a block handed out again), short (usable size too large), byte (a
 * neighbour overwritten), lose (realloc loses a byte), zero (calloc leaves one), align,
 * tier, keep (free forgets), errno (free sets it), null (no memory).
 */
#ifndef TIDE_FUZZ_CALLS_H
#define TIDE_FUZZ_CALLS_H

#include <errno.h>

#include "fuzz_model.h"

enum how {
    BY_MALLOC,
    BY_CALLOC,
    BY_REALLOC,
    BY_ARRAY,
    BY_TIER,
    BY_ALIGNED,
    BY_POSIX,
    BY_MEMALIGN,
    BY_VALLOC,
    BY_PVALLOC,
    BY_HEAP,
    BY_HEAP_CALLOC,
    BY_HEAP_REALLOC,
    BY_HEAP_ALIGNED,
};

struct wish {
    enum how how;
    size_t size, align;  /* align: of those that take one */
    enum tide_tier tier; /* BY_TIER */
    tide_heap_t *heap;
};

static size_t tiny_max; /* largest size of Tiny */
static size_t page_size;
static unsigned plays; /* calls that a planted fault may hit */

/* Hides from the compiler where a pointer comes from. */
static inline void *launder(void *ptr)
{
    __asm__ volatile("" : "+r"(ptr));
    return ptr;
}

/* One call in so many. */
static bool play(const char *name, unsigned each)
{
    return fuzz_plays(name) && ++plays % each == 0;
}

/* ---- what must come ---- */

static size_t wish_align(const struct wish *wish)
{
    size_t align = 16;
    bool asked =
        (wish->how >= BY_ALIGNED && wish->how <= BY_MEMALIGN) || wish->how == BY_HEAP_ALIGNED;
    if (wish->how == BY_VALLOC || wish->how == BY_PVALLOC)
        return page_size;
    while (asked && align < wish->align)
        align *= 2;
    return align;
}

static enum tide_tier tier_of_size(size_t size)
{
    return size <= tiny_max ? TIDE_TIER_TINY : size <= 32768 ? TIDE_TIER_MID : TIDE_TIER_LARGE;
}

static enum tide_tier wish_tier(const struct wish *wish)
{
    size_t align = wish_align(wish), size = wish->size;
    if (wish->how == BY_TIER)
        return wish->tier;
    if (wish->how == BY_PVALLOC)
        size = ((size ? size : 1) + page_size - 1) / page_size * page_size;
    enum tide_tier tier = tier_of_size(size);
    if (align > (tier == TIDE_TIER_TINY ? 65536 : 262144))
        return TIDE_TIER_LARGE;
    return tier;
}

/* What every block that was just handed out must fulfil. */
static void block_inspect(struct block *block)
{
    uintptr_t ptr = (uintptr_t)block->ptr;
    if (block->ptr == NULL)
        fuzz_fail("NULL for %zu bytes, alignment %zu, errno %d", block->size, block->align, errno);
    if (ptr % block->align != 0)
        fuzz_fail("%p for %zu bytes is not aligned to %zu", (void *)ptr, block->size, block->align);
    block->usable = tide_malloc_usable_size(block->ptr) + (play("short", 40) ? 16 : 0);
    if (block->usable < block->size)
        fuzz_fail("%p: usable size %zu for %zu bytes", (void *)ptr, block->usable, block->size);
    if (tide_tier_of(block->ptr) != block->tier)
        fuzz_fail("%p of %zu bytes is on tier %d, not %d", (void *)ptr, block->size,
                  (int)tide_tier_of(block->ptr), (int)block->tier);
}

/* ---- getting a block ---- */

static void *call_posix(const struct wish *wish)
{
    void *out = &out;
    errno = E2BIG;
    int error = tide_posix_memalign(&out, wish->align, wish->size);
    if (errno != E2BIG)
        fuzz_fail("posix_memalign set errno to %d", errno);
    if (error != 0 && (error != ENOMEM || out != &out))
        fuzz_fail("posix_memalign(%zu, %zu) gave %d, or changed its result", wish->align,
                  wish->size, error);
    errno = ENOMEM;
    return error == 0 ? out : NULL;
}

static void *call_heap(const struct wish *wish)
{
    size_t unit = wish->size % 3 == 0 ? 3 : 1;
    switch (wish->how) {
    case BY_HEAP:
        return tide_heap_malloc(wish->heap, wish->size);
    case BY_HEAP_CALLOC:
        return tide_heap_calloc(wish->heap, wish->size / unit, unit);
    case BY_HEAP_REALLOC:
        return tide_heap_realloc(wish->heap, NULL, wish->size);
    default:
        return tide_heap_aligned_alloc(wish->heap, wish->align, wish->size);
    }
}

static void *call_plain(const struct wish *wish)
{
    size_t unit = wish->size % 3 == 0 ? 3 : 1;
    switch (wish->how) {
    case BY_MALLOC:
        return tide_malloc(wish->size);
    case BY_CALLOC:
        return tide_calloc(unit, wish->size / unit);
    case BY_REALLOC:
        return tide_realloc(NULL, wish->size);
    case BY_ARRAY:
        return tide_reallocarray(NULL, wish->size / unit, unit);
    case BY_TIER:
        return tide_malloc_on(play("tier", 5) ? TIDE_TIER_LARGE : wish->tier, wish->size);
    case BY_ALIGNED:
        return tide_aligned_alloc(play("align", 3) ? 16 : wish->align, wish->size);
    case BY_POSIX:
        return call_posix(wish);
    case BY_MEMALIGN:
        return tide_memalign(wish->align, wish->size);
    case BY_VALLOC:
        return tide_valloc(wish->size);
    case BY_PVALLOC:
        return tide_pvalloc(wish->size);
    default:
        return call_heap(wish);
    }
}

static void block_must_be_zero(const struct block *block)
{
    if (block->size > 0 && play("zero", 4))
        block->ptr[block->size - 1] = 1;
    size_t at = zero_check(block->ptr, block->size);
    if (at != block->size)
        fuzz_fail("calloc: %p of %zu bytes is not zero at %zu", (void *)block->ptr, block->size,
                  at);
}

/* Of Large, those are headed that lie beside Tiny, not those in runs and mappings of their own. */
static bool block_is_headed(const struct block *block)
{
    if (block->tier == TIDE_TIER_LARGE)
        return (uintptr_t)block->ptr % page_size != 0;
    return block->tier == TIDE_TIER_MID && block->align <= 16;
}

/* `may_fail`: NULL with ENOMEM is an answer too. */
static void block_make(struct block *block, const struct wish *wish, bool may_fail)
{
    static void *again;
    *block = (struct block){
        .size = wish->size, .align = wish_align(wish), .heap = wish->heap, .tier = wish_tier(wish)};
    errno = 0;
    block->ptr = launder(call_plain(wish));
    FUZZ_TELL("slot %td: by %d, size %zu, align %zu, tier %d: %p", block - model.slot,
              (int)wish->how, wish->size, block->align, (int)block->tier, (void *)block->ptr);
    if (block->ptr == NULL && may_fail && errno == ENOMEM)
        return;
    if (again != NULL && play("twice", 50))
        block->ptr = again;
    if (play("null", 50))
        block->ptr = NULL;
    block_inspect(block);
    block->headed = block_is_headed(block);
    if (wish->how == BY_CALLOC || wish->how == BY_HEAP_CALLOC)
        block_must_be_zero(block);
    model_enter(block);
    if (block->tier != TIDE_TIER_LARGE && play("byte", 50))
        block->ptr[block->usable] ^= 1;
    again = block->ptr;
}

/* ---- resizing one ---- */

/* Where a resized block is, and whose. */
static void block_moved(struct block *block, const struct block *was, tide_heap_t *heap,
                        bool may_stay_in_heap)
{
    bool stays = block->ptr == was->ptr;
    block->tier = stays ? was->tier : tier_of_size(block->size);
    block->headed = stays ? was->headed : block_is_headed(block);
    block->heap = heap;
    block->unsure = false;
    if (heap == NULL && was->heap != NULL && (stays || may_stay_in_heap)) {
        block->heap = was->heap;
        block->unsure = !stays || was->unsure;
    }
    if (heap != NULL && was->heap != heap && block->ptr == was->ptr)
        fuzz_fail("heap_realloc left %p where it was", (void *)block->ptr);
}

/* heap NULL: by realloc or reallocarray. A mapping stays in its heap when it is moved
 * by the kernel; a block that is copied leaves it. */
static void block_resize(struct block *block, size_t size, tide_heap_t *heap, bool array)
{
    struct block was = *block;
    size_t unit = size % 3 == 0 ? 3 : 1, keep = size < was.usable ? size : was.usable;
    model_verify(block);
    model_leave(block);
    errno = 0;
    void *ptr = heap != NULL ? tide_heap_realloc(heap, block->ptr, size)
                : array      ? tide_reallocarray(block->ptr, size / unit, unit)
                             : tide_realloc(block->ptr, size);
    FUZZ_TELL("slot %td: resize %zu (usable %zu) to %zu: %p, was %p", block - model.slot, was.size,
              was.usable, size, ptr, (void *)was.ptr);
    *block = (struct block){.ptr = launder(ptr), .size = size, .align = 16};
    if (size == 0) {
        if (ptr != NULL)
            fuzz_fail("realloc(%p, 0) gave %p", (void *)was.ptr, ptr);
        return;
    }
    if (ptr != NULL)
        block_moved(block, &was, heap, was.tier == TIDE_TIER_LARGE && size > 1 << 20);
    block_inspect(block);
    if (keep != 0 && play("lose", 10))
        block->ptr[keep - 1] ^= 1;
    size_t at = pattern_check(&was, block->ptr, keep);
    if (at != keep)
        fuzz_fail("realloc of %p to %zu bytes gave %p; of %zu kept bytes the one at %zu is wrong",
                  (void *)was.ptr, size, (void *)block->ptr, keep, at);
    model_enter(block);
}

/* ---- freeing one ---- */

static void call_free(struct block *block, unsigned entry)
{
    if (play("keep", 60))
        return;
    switch (entry % 8) {
    case 0:
        tide_free_sized(block->ptr, block->size);
        break;
    case 1:
        tide_free_aligned_sized(block->ptr, block->align, block->size);
        break;
    default:
        tide_free(block->ptr);
    }
    if (play("errno", 20))
        errno = EINVAL;
}

/* `entry` chooses the function. */
static void block_free(struct block *block, unsigned entry)
{
    FUZZ_TELL("slot %td: free %p of %zu bytes, tier %d", block - model.slot, (void *)block->ptr,
              block->size, (int)block->tier);
    model_verify(block);
    if (entry % 8 == 2) {
        block_resize(block, 0, block->heap, entry & 8);
        return;
    }
    model_leave(block);
    errno = E2BIG;
    call_free(block, entry);
    if (errno != E2BIG)
        fuzz_fail("free(%p) set errno to %d", (void *)block->ptr, errno);
    block->ptr = NULL;
}

#endif
