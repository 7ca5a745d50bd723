/*
 * shelf.h - the free blocks of classes without magazines that one thread keeps at hand.
 *
 * owns:      free blocks of aligned Mid and of Large, and a bit for each that says so
 * threads:   a shelf and the bits of its blocks are written by its thread alone; others read
 * invariant: all blocks are of the primary windows; a row's places are filled from the first
 *            on; the blocks count as out of their pages, and come to at most `room` bytes; no
 *            block is in two places, not even for a moment: another thread's fork may come
 * uses:      page, sizeclass
 * used by:   magazine, heap, judge, report, route
 * not here:  Tiny and Mid (magazine), when a shelf is emptied (magazine)
 * test:      tests/test_shelf.c
 */
#ifndef TIDE_BOX_SHELF_H
#define TIDE_BOX_SHELF_H

#include "box/page.h"

enum {
    TIDE_SHELF_MIDAL = 32, /* the most blocks of a class */
    TIDE_SHELF_LARGE = 16,
    TIDE_SHELF_FIRST = 512 << 10,   /* bytes that a shelf has room for at first, */
    TIDE_SHELF_BYTES = 4 << 20,     /* and at most; more than four threads share four times that */
    TIDE_SHELF_LARGEST = 256 << 10, /* a larger block is not kept */
    TIDE_SHELF_BATCH = 64 << 10,    /* taken from the pages at once */
    TIDE_SHELF_CLASSES = TIDE_MIDAL_ALL + TIDE_LARGE_CLASSES
};

/* A free block, and its bit: the address of the word, the number of the bit in bits 56..61. */
struct tide_shelf_place {
    void *block;
    uint64_t bit;
};

/* What is kept of a class. */
struct tide_shelf_row {
    uint32_t stride;
    uint8_t count, most;
};

struct tide_shelf {
    uint64_t bytes, room;
    unsigned turn; /* whose row gives way next when there is no room */
    bool missed;   /* something was not here since there was no room */
    struct tide_shelf_row row[TIDE_SHELF_CLASSES];
    struct tide_shelf_place midal[TIDE_MIDAL_ALL][TIDE_SHELF_MIDAL];
    struct tide_shelf_place large[TIDE_LARGE_CLASSES][TIDE_SHELF_LARGE];
};

/* An empty shelf in zeroed memory. */
void tide_shelf_birth(struct tide_shelf *shelf);

/* A thread more, or one less, has a shelf. */
void tide_shelf_users(int change);

/* Some free blocks of the class straight from the pages. Lock held. */
void tide_shelf_fill(struct tide_shelf *shelf, struct tide_pages *pages, enum tide_kind kind,
                     unsigned cls);

/* Makes room for a block of the page: older ones go home. There is twice as much room from then
 * on if blocks were missing since the last time, half as much if they only came. Lock held. */
void tide_shelf_relieve(struct tide_shelf *shelf, struct tide_pages *pages,
                        const struct tide_page *page);

/* Gives all blocks back to their pages. Lock held. */
void tide_shelf_empty(struct tide_shelf *shelf, struct tide_pages *pages);

/* How many blocks of the class are here. A heap without a thread has no shelf. */
unsigned tide_shelf_count(const struct tide_shelf *shelf, enum tide_kind kind, unsigned cls);

/* The row of a class of aligned Mid or of Large, and its places. */
TIDE_INLINE unsigned tide_shelf_index(enum tide_kind kind, unsigned cls)
{
    return kind == TIDE_KIND_LARGE ? TIDE_MIDAL_ALL + cls : cls;
}

TIDE_INLINE struct tide_shelf_place *tide_shelf_places(struct tide_shelf *shelf,
                                                       enum tide_kind kind, unsigned cls)
{
    return kind == TIDE_KIND_LARGE ? shelf->large[cls] : shelf->midal[cls];
}

/* Where the bits are that tell which blocks of a page are on a shelf; NULL: none is. */
TIDE_INLINE _Atomic uint64_t *tide_shelf_bits(const struct tide_page *page)
{
    const struct tide_window *window = tide_page_window(page);
    if (page->window != TIDE_KIND_MIDAL && page->window != TIDE_KIND_LARGE)
        return NULL; /* only the primary windows have them */
    return window->bits + (size_t)(page - window->pages) * window->words;
}

/* Is block `index` of the page on its owner's shelf? */
TIDE_INLINE bool tide_shelf_holds(const struct tide_page *page, unsigned index)
{
    const _Atomic uint64_t *bits = tide_shelf_bits(page);
    uint64_t word =
        bits != NULL ? atomic_load_explicit(&bits[index / 64], memory_order_relaxed) : 0;
    return (word >> index % 64 & 1) != 0;
}

/* Turns the bit of a place round. */
TIDE_INLINE void tide_shelf_turn(uint64_t bit)
{
    _Atomic uint64_t *word = (_Atomic uint64_t *)(uintptr_t)(bit & (((uint64_t)1 << 56) - 1));
    uint64_t value = atomic_load_explicit(word, memory_order_relaxed);
    atomic_store_explicit(word, value ^ (uint64_t)1 << (bit >> 56), memory_order_relaxed);
}

/* The block of the class that came last, or NULL. */
TIDE_INLINE void *tide_shelf_take(struct tide_shelf *shelf, enum tide_kind kind, unsigned cls)
{
    struct tide_shelf_row *row = &shelf->row[tide_shelf_index(kind, cls)];
    unsigned count = row->count;
    if (TIDE_UNLIKELY(count == 0))
        return NULL;
    const struct tide_shelf_place place = tide_shelf_places(shelf, kind, cls)[count - 1];
    TIDE_RELAXED_SET(&row->count, (uint8_t)(count - 1));
    shelf->bytes -= row->stride;
    tide_shelf_turn(place.bit);
    return place.block;
}

/* Keeps a free block, the one with this index in a page whose bits are there. False: there is no
 * room. */
TIDE_INLINE bool tide_shelf_put_at(struct tide_shelf *shelf, const struct tide_page *page,
                                   const _Atomic uint64_t *bits, unsigned index, void *block)
{
    enum tide_kind kind = (enum tide_kind)page->kind;
    struct tide_shelf_row *row = &shelf->row[tide_shelf_index(kind, page->cls)];
    unsigned count = row->count;
    if (TIDE_UNLIKELY(count == row->most || shelf->bytes + row->stride > shelf->room))
        return false;
    uint64_t bit = (uintptr_t)&bits[index / 64] | (uint64_t)(index % 64) << 56;
    shelf->bytes += row->stride;
    tide_shelf_turn(bit);
    tide_shelf_places(shelf, kind, page->cls)[count] = (struct tide_shelf_place){block, bit};
    TIDE_FENCE_SIGNAL(); /* a fork may come: a place that counts is filled */
    TIDE_RELAXED_SET(&row->count, (uint8_t)(count + 1));
    return true;
}

TIDE_INLINE bool tide_shelf_put(struct tide_shelf *shelf, const struct tide_page *page,
                                unsigned index, void *block)
{
    return tide_shelf_put_at(shelf, page, tide_shelf_bits(page), index, block);
}

#endif
