/*
 * tiny.h - blocks of up to 2 KiB: no header, near memory.
 *
 * owns:      the mark in a freed block
 * threads:   the marks of a block belong to whoever frees it
 * invariant: a block in a magazine or a batch carries the mark, one that was
 *            handed out does not, unless its user wrote those very 64 bits; one in
 *            a batch also says in its first word that it is on its way
 * uses:      magazine, key
 * used by:   heap, judge, route
 * not here:  the fast paths, which treat Tiny and Mid alike (route)
 * test:      tests/test_tiny.c
 *
 * The mark is a hint that costs one compare: it stands in the second word of a
 * freed block and is bound to its address and the process secret. A hit sends the
 * free to the judge, who asks the page's allocation bit and the magazines.
 */
#ifndef TIDE_BOX_TINY_H
#define TIDE_BOX_TINY_H

#include "box/key.h"
#include "box/magazine.h"

/* Tells the cache's magazines about the words of Tiny. */
void tide_tiny_birth(struct tide_cache *cache);

TIDE_INLINE bool tide_tiny_is_marked(const void *block)
{
    return ((const uint64_t *)block)[1] == tide_key_mark(block);
}

TIDE_INLINE void tide_tiny_set_mark(void *block)
{
    ((uint64_t *)block)[1] = tide_key_mark(block);
}

/* Freed by another thread, and on its way home: the first word says so, too. */
TIDE_INLINE void tide_tiny_set_coming(void *block)
{
    ((uint64_t *)block)[0] = tide_key_mark(block) ^ tide_key.remote;
}

/* Handed out: anything but the mark. */
TIDE_INLINE void tide_tiny_clear_mark(void *block)
{
    ((uint64_t *)block)[1] = 0;
}

#endif
