/*
 * fuzz_model.h - the shadow model of fuzz_api.c: which blocks are live, where they lie,
 *   what is in them, and what the statistics must say.
 *
 * Owns: struct block, the index by address, the list of freed places.
 * Threads: one at a time; threads of the harness hand over the turn.
 * Invariant: the index is sorted and without overlap; its entries are the live blocks.
 * Uses: fuzz.h.
 * Used by: fuzz_api.c.
 * Not here: which calls are made.
 */
#ifndef TIDE_FUZZ_MODEL_H
#define TIDE_FUZZ_MODEL_H

#include <tidepool/tidepool.h>

#include "fuzz.h"

enum {
    SLOTS = 512,
    TIERS = 4,
    FREED = 32,
    WRITTEN = 8,
    HEADER = 16,  /* in front of a block of Mid or of Large beside Tiny */
    WHOLE = 2048, /* words: larger blocks are filled in part */
    EDGE = 64,    /* words at both ends of those */
    STRIDE = 2048 /* and one word in so many between */
};

struct block {
    char *ptr; /* NULL: the slot is empty */
    size_t size, usable, align;
    uint64_t key; /* of the pattern in it */
    tide_heap_t *heap;
    enum tide_tier tier;
    bool headed; /* with a header in front */
    bool unsure; /* in a heap, but perhaps not any more */
};

/* The bytes that belong to a block, its header too. */
struct extent {
    uintptr_t from, to;
    struct block *block;
};

/* A place that was freed, or one that was written to afterwards. */
struct grave {
    char *ptr;
    size_t usable;
    enum tide_tier tier;
};

static struct {
    struct block slot[SLOTS];
    struct extent extent[SLOTS];
    unsigned live;
    uint64_t blocks[TIERS], bytes[TIERS];
    uint64_t work;             /* bytes filled for this input */
    struct grave grave[FREED]; /* the last ones */
    struct grave written[WRITTEN];
    unsigned graves, writes;
    uint64_t keys;
} model;

/* ---- patterns ---- */

static inline size_t pattern_next(size_t word, size_t words)
{
    if (words <= WHOLE || word + 1 < EDGE || word + 1 >= words - EDGE)
        return word + 1;
    size_t next = (word / STRIDE + 1) * STRIDE;
    return next < words - EDGE ? next : words - EDGE;
}

static inline uint64_t pattern_word(uint64_t key, size_t word)
{
    return key + word * 0x9e3779b97f4a7c15u;
}

/* Up to eight bytes of a word. */
FUZZ_PLAIN static inline void word_put(char *to, uint64_t word, size_t left)
{
    if (left >= sizeof word)
        __builtin_memcpy(to, &word, sizeof word);
    else
        for (size_t i = 0; i < left; i++)
            to[i] = (char)(word >> 8 * i);
}

FUZZ_PLAIN static inline bool word_is(const char *at, uint64_t want, size_t left)
{
    uint64_t word;
    if (left >= sizeof word) {
        __builtin_memcpy(&word, at, sizeof word);
        return word == want;
    }
    for (size_t i = 0; i < left; i++)
        if (at[i] != (char)(want >> 8 * i))
            return false;
    return true;
}

FUZZ_PLAIN static void pattern_fill(const struct block *block)
{
    size_t words = (block->usable + 7) / 8;
    for (size_t i = 0; i < words; i = pattern_next(i, words)) {
        word_put(block->ptr + i * 8, pattern_word(block->key, i), block->usable - i * 8);
    }
    model.work += words <= WHOLE ? block->usable : WHOLE + block->usable / 64;
}

/* Bytes [0, limit) of what was filled as `was` and is now at ptr: the offset of the
 * first word that is not the pattern's, or limit. */
FUZZ_PLAIN static size_t pattern_check(const struct block *was, const char *ptr, size_t limit)
{
    size_t words = (was->usable + 7) / 8;
    for (size_t i = 0; i < words && i * 8 < limit; i = pattern_next(i, words)) {
        if (!word_is(ptr + i * 8, pattern_word(was->key, i), limit - i * 8))
            return i * 8;
    }
    return limit;
}

/* The first byte that is not zero, or size; looks where patterns are. */
FUZZ_PLAIN static size_t zero_check(const char *ptr, size_t size)
{
    size_t words = (size + 7) / 8;
    for (size_t i = 0; i < words; i = pattern_next(i, words)) {
        if (!word_is(ptr + i * 8, 0, size - i * 8))
            return i * 8;
    }
    return size;
}

/* ---- the index by address ---- */

/* Number of the first extent that ends behind addr. */
FUZZ_PLAIN static unsigned extent_at(uintptr_t addr)
{
    unsigned low = 0, high = model.live;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (model.extent[middle].to > addr)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* The live block that [addr, addr + size) touches, or NULL. */
static struct block *model_touched(uintptr_t addr, size_t size)
{
    unsigned at = extent_at(addr);
    if (at == model.live || model.extent[at].from >= addr + size)
        return NULL;
    return model.extent[at].block;
}

/* The live block that starts at addr, or NULL. */
static struct block *model_start(uintptr_t addr)
{
    struct block *block = model_touched(addr, 1);
    return block != NULL && (uintptr_t)block->ptr == addr ? block : NULL;
}

static void extent_insert(struct block *block)
{
    uintptr_t ptr = (uintptr_t)block->ptr;
    struct extent extent = {ptr - (block->headed ? HEADER : 0), ptr + block->usable, block};
    const struct block *other = model_touched(extent.from, extent.to - extent.from);
    if (other != NULL)
        fuzz_fail("overlap: new block %p of %zu bytes (usable %zu), but %p of %zu (usable %zu) is "
                  "live",
                  (void *)block->ptr, block->size, block->usable, (void *)other->ptr, other->size,
                  other->usable);
    unsigned at = extent_at(extent.from);
    memmove(&model.extent[at + 1], &model.extent[at], (model.live - at) * sizeof model.extent[0]);
    model.extent[at] = extent;
    model.live++;
}

static void extent_remove(const struct block *block)
{
    unsigned at = extent_at((uintptr_t)block->ptr);
    model.live--;
    memmove(&model.extent[at], &model.extent[at + 1], (model.live - at) * sizeof model.extent[0]);
}

/* ---- blocks ---- */

/* What the statistics call the size of the block. */
static size_t block_bytes(const struct block *block)
{
    return block->usable + (block->headed ? HEADER : 0);
}

/* Enters a block that was handed out, and fills it. */
static void model_enter(struct block *block)
{
    extent_insert(block);
    model.blocks[block->tier]++;
    model.bytes[block->tier] += block_bytes(block);
    block->key = ++model.keys * 0xbf58476d1ce4e5b9u;
    pattern_fill(block);
}

static void model_verify(const struct block *block)
{
    size_t at = pattern_check(block, block->ptr, block->usable);
    if (at != block->usable)
        fuzz_fail("%p of %zu bytes (usable %zu, tier %d) was overwritten at %zu",
                  (void *)block->ptr, block->size, block->usable, (int)block->tier, at);
}

/* Takes a block out, before it is given back. */
static void model_leave(struct block *block)
{
    extent_remove(block);
    model.blocks[block->tier]--;
    model.bytes[block->tier] -= block_bytes(block);
    model.grave[model.graves++ % FREED] = (struct grave){block->ptr, block->usable, block->tier};
}

/* Was a place in [addr, addr + size) written to after it was freed? A block there is
 * not known again as a free one. */
static bool model_written(uintptr_t addr, size_t size)
{
    for (unsigned i = 0; i < model.writes; i++) {
        uintptr_t from = (uintptr_t)model.written[i].ptr;
        if (addr < from + model.written[i].usable && from < addr + size)
            return true;
    }
    return false;
}

static uint64_t model_live_bytes(void)
{
    return model.bytes[TIDE_TIER_TINY] + model.bytes[TIDE_TIER_MID] + model.bytes[TIDE_TIER_LARGE];
}

#endif
