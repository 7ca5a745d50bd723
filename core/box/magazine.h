/*
 * magazine.h - the stacks of free blocks that one thread keeps for itself.
 *
 * owns:      the thread's free blocks, as arrays of pointers in near memory; the
 *            thread-local pointer that leads to them
 * threads:   a cache is used by its thread alone; statistics read the tops
 * invariant: base <= top <= lim per magazine; what the capacities (lim - base) have
 *            grown above their first size, in bytes, adds up to `held` <= the cache=
 *            budget. The first capacities (8 blocks or 16 KiB, at least two blocks)
 *            come to about 1.5 MiB over all classes
 * uses:      page, remote, shelf, sizeclass
 * used by:   tiny, mid, heap, route
 * not here:  which blocks may go in, what their words are (tiny, mid)
 * test:      tests/test_magazine.c
 *
 * A thread without a cache points at a constant, empty one: every magazine is
 * empty and full at once, and no owner matches, so that the fast paths need no
 * test of their own for it.
 *
 * Signals: between reading a magazine's top and writing it back the thread points
 * at tide_cache_busy instead of its cache. A handler that allocates or frees at
 * that moment finds empty magazines and takes the slow path, which serves it from
 * the shared pages: no block can be handed out twice.
 */
#ifndef TIDE_BOX_MAGAZINE_H
#define TIDE_BOX_MAGAZINE_H

#include "box/page.h"
#include "box/remote.h"
#include "box/shelf.h"

/*
 * One slot's stack, and what the fast paths have to know of its blocks. Each block has a
 * word of 64 bits at block + at: for Mid (headed = 1) the header word, for Tiny (headed = 0)
 * the second word of the block. It says whose, what and where the block is:
 *     freed ^ address     while the block waits here; ^ take_turn when it is handed out
 *     checked ^ address   what a free finds, exactly if headed; ^ free_turn when it is freed
 */
struct tide_magazine {
    void **top;  /* next free place */
    void **base; /* lowest place */
    void **lim;  /* one behind the highest place in use by the policy */
    uint64_t freed, checked;
    uint64_t take_turn, free_turn;
    int8_t at;
    uint8_t headed;
};

_Static_assert(sizeof(struct tide_magazine) == TIDE_LINE, "a magazine is one line");

/*
 * When Mid is far its magazines are in `deep`, and those in `slot` stay empty and without room: the
 * fast paths, which read words in front of blocks, then leave Mid to the slow ones. When its words
 * are in the shadow table all magazines are there, and the arena looks empty to the fast path of
 * free: malloc and free have a straight way of their own then, again one for Tiny and Mid, so that
 * no branch depends on which it is.
 */
struct tide_deep {
    struct tide_magazine magazine;
    uintptr_t words;    /* the word of a block at p is at words + (p >> shift), a multiple of 8 */
    uint64_t probe;     /* what malloc compares it with: probe ^ p */
    uint64_t turn;      /* and writes: probe ^ turn ^ p */
    uint8_t shift, bad; /* bad: what this comparison must not come to */
    uint8_t stepped;    /* 1: the page tells whether a block begins at p, 0: the word does */
} __attribute__((aligned(TIDE_LINE)));

struct tide_cache {
    struct tide_magazine slot[TIDE_SLOTS];
    uintptr_t arena_base; /* a copy of tide_arena, for the fast path of free; size 0 until */
    size_t arena_size;    /* the thread takes a first block, and in constant caches */
    struct tide_page *arena_pages;
    size_t arena_deep; /* arena_size, where all magazines are deep: that is 0 then */
    uint32_t owner;    /* of blocks that may go into the magazines; ~0 in constant caches */
    uint32_t next_shrink;
    struct tide_pages *pages;
    struct tide_outbox *outbox;
    struct tide_deep *deep;   /* TIDE_SLOTS of them, or NULL */
    bool all_deep;            /* not only Mid's */
    uint64_t held;            /* bytes of capacity above the first ones */
    uint8_t last[TIDE_SLOTS]; /* what happened last: nothing, a fill, spills */
    uint8_t warm[TIDE_SLOTS]; /* turns of next_shrink that the magazine is spared */
    uint32_t next_sweep;      /* what is emptied next while too much is free */
    struct tide_shelf *shelf; /* of classes without magazines; NULL in constant caches */
} __attribute__((aligned(TIDE_LINE)));

/* Where the thread stands. Constant caches: no thread ever writes to them. */
extern const struct tide_cache tide_cache_empty; /* no heap yet */
extern const struct tide_cache tide_cache_busy;  /* inside a fast path */
extern const struct tide_cache tide_cache_slow;  /* inside a slow path */
extern const struct tide_cache tide_cache_dead;  /* the thread's heap was given away */

extern __thread struct tide_cache *tide_self __attribute__((tls_model("initial-exec")));

/* Places for blocks that all magazines of a cache need together. */
size_t tide_magazine_places(void);

/* Gives a cache its places, and each magazine its first small capacity. */
void tide_magazine_birth(struct tide_cache *cache, void **places);

/* Fills an empty magazine from the pages; false when memory is out. */
bool tide_magazine_fill(struct tide_cache *cache, unsigned slot);

/* Makes room in a full magazine: a larger capacity, or its older blocks go back. */
void tide_magazine_spill(struct tide_cache *cache, unsigned slot);

/* While more memory is free than may stay, and this thread frees: gives back what one of its
 * magazines has, or the shelf, in turn. They would keep it while the thread sleeps. */
void tide_magazine_sweep(struct tide_cache *cache);

/* Gives all blocks back and returns to the first capacities. */
void tide_magazine_empty(struct tide_cache *cache);

/* The bytes that the magazines of one thread may hold. More than four threads share four
 * times that. */
void tide_magazine_set_budget(size_t bytes);

/* A thread more, or one less, uses magazines. */
void tide_magazine_users(int change);

TIDE_INLINE void tide_self_set(const struct tide_cache *cache)
{
    TIDE_FENCE_SIGNAL();
    *(struct tide_cache *volatile *)&tide_self = (struct tide_cache *)cache;
    TIDE_FENCE_SIGNAL();
}

/* Where the word of a block at p is: in the shadow table (Mid), or in or before the block. */
TIDE_INLINE void *tide_deep_word(const struct tide_deep *deep, const void *p)
{
    return (void *)(deep->words + ((uintptr_t)p >> deep->shift & ~(uintptr_t)7));
}

/* The magazine of a slot, wherever it is. */
TIDE_INLINE struct tide_magazine *tide_cache_magazine(struct tide_cache *cache, unsigned slot)
{
    bool deep = cache->deep != NULL && (cache->all_deep || slot >= TIDE_TINY_ALL);
    return deep ? &cache->deep[slot].magazine : &cache->slot[slot];
}

#endif
