/*
 * growth.h - the blocks of a thread that grow by realloc, and the room that they are given.
 *
 * owns:      a table of a few blocks that are larger than they have to be, with the sizes
 *            that they were last asked to have
 * threads:   a table is used by its thread alone
 * invariant: a hint and no more: a block of the table may be freed, or in other hands, and an
 *            entry may be lost. Room that nobody asked for have the blocks of the table, and
 *            one more for each 64 that found no place in it
 * uses:      def
 * used by:   heap, api
 * not here:  whether a block is live, taking and moving blocks (api)
 * test:      tests/test_growth.c
 *
 * A block with room stays where it is while it grows; the memory behind what it was asked to
 * have is touched as the program goes there. It is recognised by its address, and what it was
 * asked to have tells growing from shrinking.
 */
#ifndef TIDE_BOX_GROWTH_H
#define TIDE_BOX_GROWTH_H

#include "box/def.h"

enum {
    TIDE_GROWTH_BLOCKS = 16,
    TIDE_GROWTH_TOP = 64 << 10, /* the largest block that is given for its room */
    TIDE_GROWTH_NONE = -1
};

struct tide_growth {
    uintptr_t block[TIDE_GROWTH_BLOCKS]; /* 0: nothing */
    uint32_t size[TIDE_GROWTH_BLOCKS];
    uint32_t turn; /* which entry is looked at next */
    uint32_t late; /* how many blocks found no place */
};

/* The size to take for a block that grows to `size` bytes: of the same tier, of which the tiers
 * below Large have tiny_max and TIDE_MID_TOP. `size` itself when that leaves no room. */
TIDE_INLINE size_t tide_growth_room(size_t size, size_t tiny_max)
{
    size_t top = size <= tiny_max       ? tiny_max
                 : size <= TIDE_MID_TOP ? (size_t)TIDE_MID_TOP
                                        : (size_t)TIDE_GROWTH_TOP;
    return size < top - top / 8 ? top : size;
}

/* The entry of a block, or TIDE_GROWTH_NONE. */
TIDE_INLINE int tide_growth_find(const struct tide_growth *growth, const void *block)
{
    for (int i = 0; i < TIDE_GROWTH_BLOCKS; i++)
        if (growth->block[i] == (uintptr_t)block)
            return i;
    return TIDE_GROWTH_NONE;
}

/* A block is to have `size` bytes, for which it is large enough: does it grow, and has room for
 * that? Forgets one that shrinks, or has hardly any room left. */
bool tide_growth_goes_on(struct tide_growth *growth, const void *block, size_t size, size_t usable);

/* Tells whether a block that was given room still is one, and live. */
typedef bool tide_growth_lives(const void *block);

/* An entry for one block more, or TIDE_GROWTH_NONE: an empty one, one whose block is gone, and at
 * times one that is taken from a block which has stopped growing, for all that is known. */
int tide_growth_place(struct tide_growth *growth, tide_growth_lives *lives);

/* The entry is about this block from now on, and any other that was is empty. */
void tide_growth_set(struct tide_growth *growth, int place, const void *block, size_t size);

#endif
