/*
 * stress_block.h - one block of the stress program: its size, the entry point
 *   that makes, resizes or frees it, and what must be true of it.
 *
 * Owns: the names of the API under test, struct block.
 * Threads: a block belongs to one thread at a time, as does a struct maker.
 * Invariant: a live block is entered in the map of granules with its usable
 *   size and filled with its pattern over all of it.
 * Uses: stress_model.h, the API under test.
 * Used by: stress_shadow.c.
 * Not here: where blocks are kept, threads, forks, heaps' lifes.
 */
#ifndef TIDE_STRESS_BLOCK_H
#define TIDE_STRESS_BLOCK_H

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

#include <tidepool/tidepool.h>

#include "stress_model.h"

/* ---- the names of the API: the only difference between the two builds ---- */

#ifdef STRESS_PLAIN
/* The libc names. What a libc may lack, and all tide_* names, are weak. */
#define CALL(name) name
#define HAVE(name) (name != NULL)
#define LIVE_SLACK 200 /* blocks of libc's own: thread tables, stdio */
void free_sized(void *ptr, size_t size) __attribute__((weak));
void free_aligned_sized(void *ptr, size_t alignment, size_t size) __attribute__((weak));
#pragma weak tide_heap_create
#pragma weak tide_heap_destroy
#pragma weak tide_heap_malloc
#pragma weak tide_heap_calloc
#pragma weak tide_heap_realloc
#pragma weak tide_heap_aligned_alloc
#pragma weak tide_malloc_on
#pragma weak tide_tier_of
#pragma weak tide_option_get
#pragma weak tide_stats
#else
#define CALL(name) tide_##name
#define HAVE(name) true
#define LIVE_SLACK 0
#endif

/* How a block was made; it decides how it may be freed. */
enum kind {
    BY_MALLOC,
    BY_CALLOC,
    BY_REALLOC,
    BY_ARRAY,
    BY_ALIGNED,
    BY_POSIX,
    BY_MEMALIGN,
    BY_VALLOC,
    BY_PVALLOC,
    BY_TIER,
    BY_HEAP,
    BY_HEAP_CALLOC,
    BY_HEAP_ALIGNED,
    BY_HEAP_REALLOC,
};

struct block {
    void *ptr;
    size_t size;    /* as requested */
    size_t usable;  /* all of it is filled */
    size_t align;   /* as requested; 16 where nothing was asked for */
    uint64_t nonce; /* with the address: the pattern */
    enum kind kind;
    enum tide_tier tier;
    unsigned serial; /* the thread that made it */
    tide_heap_t *heap;
};

/* What a thread needs to make blocks. */
enum { SEEN = 64 };

struct maker {
    struct rng rng;
    unsigned serial;   /* of the thread, for the blocks that it makes */
    size_t seen[SEEN]; /* usable sizes met: borders of classes */
    uint64_t blocks, remote_frees, bytes;
};

static _Atomic size_t live_bytes;
static size_t live_limit = (size_t)384 << 20; /* above it only small ones are made */
static size_t tiny_max = 2047;                /* the option of that name */

/* Hides from the compiler where a pointer comes from. */
static inline void *launder(void *ptr)
{
    __asm__ volatile("" : "+r"(ptr));
    return ptr;
}

/* ---- sizes ---- */

/* base * 2^i + below that again: every octave is equally likely. */
static size_t size_octaves(struct maker *maker, size_t base, unsigned octaves)
{
    size_t low = base << rng_below(&maker->rng, octaves);
    return low + rng_below(&maker->rng, low);
}

/* One of the borders of routing, or of a class met before, and its neighbours. */
static size_t size_border(struct maker *maker)
{
    static const size_t known[] = {1,     16,     32,        1023,      1024,     2047,
                                   2048,  4096,   8192,      16384,     32768,    65536,
                                   98304, 131072, (1 << 20), (2 << 20), (4 << 20)};
    uint64_t pick = rng_below(&maker->rng, 16);
    size_t middle = pick < 6 ? known[rng_below(&maker->rng, sizeof known / sizeof *known)]
                             : maker->seen[rng_below(&maker->rng, SEEN)];
    if (middle > 65536 && pick % 8)
        middle >>= 7;
    return middle ? middle - 1 + rng_below(&maker->rng, 3) : 0;
}

static size_t size_pick(struct maker *maker)
{
    uint64_t pick = rng_below(&maker->rng, 1000);
    if (atomic_load_explicit(&live_bytes, memory_order_relaxed) > live_limit)
        return rng_below(&maker->rng, 2048);
    if (pick < 120)
        return size_border(maker);
    if (pick < 300)
        return rng_below(&maker->rng, 256);
    if (pick < 560)
        return rng_below(&maker->rng, 2048);
    if (pick < 975)
        return size_octaves(maker, 2048, 4);
    if (pick < 999)
        return size_octaves(maker, 32768, 5);
    return rng_one_in(&maker->rng, 40) ? ((size_t)33 << 20) + rng_below(&maker->rng, 40 << 20)
                                       : size_octaves(maker, 1 << 20, 3);
}

/* ---- one block ---- */

static enum tide_tier tier_expected(size_t size)
{
    if (size <= tiny_max)
        return TIDE_TIER_TINY;
    return size <= 32768 ? TIDE_TIER_MID : TIDE_TIER_LARGE;
}

static void *call_calloc(struct maker *maker, const struct block *block)
{
    size_t unit = rng_below(&maker->rng, 2) && block->size % 8 == 0 ? 8 : 1;
    size_t count = block->size / unit;
    if (block->kind == BY_HEAP_CALLOC)
        return tide_heap_calloc(block->heap, unit, count);
    return rng_below(&maker->rng, 2) ? CALL(calloc)(count, unit) : CALL(calloc)(unit, count);
}

static void *call_posix_memalign(const struct block *block)
{
    void *out = &out;
    int error = CALL(posix_memalign)(&out, block->align, block->size);
    if (error)
        fail("posix_memalign(%zu, %zu) gave %d", block->align, block->size, error);
    return out;
}

static void *call_in_heap(struct maker *maker, const struct block *block)
{
    switch (block->kind) {
    case BY_HEAP:
        return tide_heap_malloc(block->heap, block->size);
    case BY_HEAP_CALLOC:
        return call_calloc(maker, block);
    case BY_HEAP_ALIGNED:
        return tide_heap_aligned_alloc(block->heap, block->align, block->size);
    default: /* a block of the thread moves in */
        return tide_heap_realloc(block->heap, CALL(malloc)(17), block->size);
    }
}

static void *call_by_kind(struct maker *maker, const struct block *block)
{
    switch (block->kind) {
    case BY_MALLOC:
        return CALL(malloc)(block->size);
    case BY_CALLOC:
        return call_calloc(maker, block);
    case BY_REALLOC:
        return CALL(realloc)(NULL, block->size);
    case BY_ARRAY:
        return CALL(reallocarray)(NULL, block->size, 1);
    case BY_ALIGNED:
        return CALL(aligned_alloc)(block->align, block->size);
    case BY_POSIX:
        return call_posix_memalign(block);
    case BY_MEMALIGN:
        return CALL(memalign)(block->align, block->size);
    case BY_VALLOC:
        return CALL(valloc)(block->size);
    case BY_PVALLOC:
        return CALL(pvalloc)(block->size);
    default:
        return tide_malloc_on(block->tier, block->size);
    }
}

/* What every block that was just handed out must fulfil. */
static void block_inspect(struct block *block)
{
    if (!block->ptr)
        fail("NULL for %zu bytes, alignment %zu, kind %d, errno %d", block->size, block->align,
             (int)block->kind, errno);
    if ((uintptr_t)block->ptr % block->align || (uintptr_t)block->ptr % 16)
        fail("%p for %zu bytes is not aligned to %zu", block->ptr, block->size, block->align);
    block->usable = CALL(malloc_usable_size)(block->ptr);
    if (block->usable < block->size)
        fail("%p: usable size %zu for %zu bytes", block->ptr, block->usable, block->size);
    granules_enter(block->ptr, block->usable);
    if (block->tier && HAVE(tide_tier_of) && block->size % 8 == 0 &&
        tide_tier_of(block->ptr) != block->tier)
        fail("%p of %zu bytes is on tier %d, not %d", block->ptr, block->size,
             (int)tide_tier_of(block->ptr), (int)block->tier);
}

static void block_must_be_zero(const struct block *block)
{
    size_t at = zero_check(block->ptr, block->size);
    if (at != block->size)
        fail("calloc: %p of %zu bytes is not zero at %zu", block->ptr, block->size, at);
}

/* Enters a block in the model and fills it. */
static void block_enter(struct maker *maker, struct block *block)
{
    if (block->usable <= 1 << 20)
        maker->seen[rng_below(&maker->rng, SEEN)] = block->usable;
    block->nonce = rng_next(&maker->rng);
    block->serial = maker->serial;
    pattern_fill(block->ptr, block->usable, pattern_key(block->ptr, block->nonce));
    atomic_fetch_add_explicit(&live_bytes, block->usable, memory_order_relaxed);
    maker->blocks++;
    maker->bytes += block->usable;
}

static void block_verify(const struct block *block)
{
    size_t usable = CALL(malloc_usable_size)(block->ptr);
    if (usable != block->usable)
        fail("%p: usable size was %zu and is %zu", block->ptr, block->usable, usable);
    size_t at = pattern_check(block->ptr, usable, pattern_key(block->ptr, block->nonce));
    if (at != usable)
        fail("%p of %zu bytes (usable %zu, kind %d, made by thread %u) was overwritten at %zu",
             block->ptr, block->size, usable, (int)block->kind, block->serial, at);
}

static void block_leave(const struct block *block)
{
    granules_leave(block->ptr, block->usable);
    atomic_fetch_sub_explicit(&live_bytes, block->usable, memory_order_relaxed);
}

/* Frees through one of the entry points that the block's kind allows. */
static void block_free(struct maker *maker, const struct block *block)
{
    uint64_t pick = rng_below(&maker->rng, 8);
    block_verify(block);
    block_leave(block);
    if (block->serial != maker->serial)
        maker->remote_frees++;
    errno = E2BIG;
    if (pick == 0 && block->kind <= BY_ARRAY && HAVE(free_sized))
        CALL(free_sized)(block->ptr, block->size);
    else if (pick == 0 && block->kind == BY_ALIGNED && HAVE(free_aligned_sized))
        CALL(free_aligned_sized)(block->ptr, block->align, block->size);
    else if (pick == 1 && launder(CALL(realloc)(block->ptr, 0)))
        fail("realloc(%p, 0) returned a block", block->ptr);
    else if (pick != 1)
        CALL(free)(block->ptr);
    if (errno != E2BIG && pick != 1)
        fail("free(%p) changed errno to %d", block->ptr, errno);
}

static size_t realloc_size(struct maker *maker, size_t old)
{
    switch (rng_below(&maker->rng, 4)) {
    case 0:
        return old <= 4 << 20 ? old + old / 2 + 1 : old - 4096;
    case 1:
        return old / 2 + 1;
    case 2:
        return old ? old - 1 + rng_below(&maker->rng, 3) + (old == 1) : 1;
    default:
        return size_pick(maker) + 1;
    }
}

static void *call_resize(struct maker *maker, const struct block *block, size_t size)
{
    if (block->heap)
        return tide_heap_realloc(block->heap, block->ptr, size);
    if (rng_below(&maker->rng, 4) || size % 4)
        return CALL(realloc)(block->ptr, size);
    return CALL(reallocarray)(block->ptr, size / 4, 4);
}

/* One realloc; the kept part must be the old content. */
static void block_resize(struct maker *maker, struct block *block)
{
    size_t size = realloc_size(maker, block->size);
    size_t keep = size < block->usable ? size : block->usable;
    uint64_t key = pattern_key(block->ptr, block->nonce);
    block_leave(block);
    block->ptr = launder(call_resize(maker, block, size));
    block->size = size;
    block->align = 16;
    block->kind = block->heap ? BY_HEAP_REALLOC : BY_REALLOC;
    block->tier = TIDE_TIER_NONE;
    block_inspect(block);
    if (pattern_check(block->ptr, keep, key) != keep)
        fail("realloc to %zu bytes gave %p; of %zu kept bytes the one at %zu is wrong", size,
             block->ptr, keep, pattern_check(block->ptr, keep, key));
    block_enter(maker, block);
}

static void block_resize_chain(struct maker *maker, struct block *block)
{
    block_verify(block);
    for (uint64_t left = 1 + rng_below(&maker->rng, 4); left; left--)
        block_resize(maker, block);
}

static enum kind kind_pick(struct maker *maker)
{
    static const enum kind kinds[32] = {
        [14] = BY_CALLOC,   [15] = BY_CALLOC,   [16] = BY_CALLOC,   [17] = BY_CALLOC,
        [18] = BY_REALLOC,  [19] = BY_REALLOC,  [20] = BY_ARRAY,    [21] = BY_ALIGNED,
        [22] = BY_ALIGNED,  [23] = BY_ALIGNED,  [24] = BY_POSIX,    [25] = BY_POSIX,
        [26] = BY_MEMALIGN, [27] = BY_MEMALIGN, [28] = BY_MEMALIGN, [29] = BY_TIER,
        [30] = BY_TIER,     [31] = BY_VALLOC}; /* the first 14: BY_MALLOC */
    enum kind kind = kinds[rng_below(&maker->rng, 32)];
    if (kind == BY_TIER && !HAVE(tide_malloc_on))
        return BY_MALLOC;
    return kind == BY_VALLOC && rng_below(&maker->rng, 2) ? BY_PVALLOC : kind;
}

/* A size that the chosen tier can hold. */
static void tier_pick(struct maker *maker, struct block *block)
{
    block->tier = TIDE_TIER_TINY + (enum tide_tier)rng_below(&maker->rng, 3);
    if (block->tier == TIDE_TIER_TINY)
        block->size %= 2049;
    else if (block->tier == TIDE_TIER_MID)
        block->size %= 32769;
}

static void block_make(struct maker *maker, struct block *block, tide_heap_t *heap)
{
    *block = (struct block){.size = size_pick(maker), .align = 16, .heap = heap};
    block->kind = heap ? BY_HEAP + (enum kind)rng_below(&maker->rng, 4) : kind_pick(maker);
    if (block->kind == BY_HEAP_REALLOC)
        block->size++;
    else if (block->kind != BY_PVALLOC)
        block->tier = tier_expected(block->size);
    if (block->kind == BY_TIER)
        tier_pick(maker, block);
    if (block->kind == BY_VALLOC || block->kind == BY_PVALLOC)
        block->align = (size_t)sysconf(_SC_PAGESIZE);
    if ((block->kind >= BY_ALIGNED && block->kind <= BY_MEMALIGN) || block->kind == BY_HEAP_ALIGNED)
        block->align = (size_t)16 << rng_below(&maker->rng, 13);
    block->ptr = launder(heap ? call_in_heap(maker, block) : call_by_kind(maker, block));
    block_inspect(block);
    if (block->kind == BY_CALLOC || block->kind == BY_HEAP_CALLOC)
        block_must_be_zero(block);
    block_enter(maker, block);
}

#endif
