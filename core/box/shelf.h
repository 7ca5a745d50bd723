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
    TIDE_SHELF_MIDAL = TIDE_MIDAL_KEPT, /* the most blocks of a class */
    TIDE_SHELF_LARGE = TIDE_LARGE_KEPT,
    TIDE_SHELF_FIRST = 512 << 10,   /* bytes that a shelf has room for at first, */
    TIDE_SHELF_BYTES = 4 << 20,     /* and at most; more than four threads share four times that */
    TIDE_SHELF_LARGEST = 256 << 10, /* a larger block is not kept */
    TIDE_SHELF_BATCH = 64 << 10,    /* taken from the pages at once */
    TIDE_SHELF_CLASSES = TIDE_MIDAL_ALL + TIDE_LARGE_CLASSES
};

/* A free block, and its bit: 64 times the address of the word, and the number of the bit. */
struct tide_shelf_place {
    void *block;
    uint64_t bit;
};

/* What is kept of a class. Its places follow. */
struct tide_shelf_row {
    uint32_t stride;
    uint8_t count, most;
};

struct tide_shelf_midal {
    struct tide_shelf_row row;
    struct tide_shelf_place place[TIDE_SHELF_MIDAL];
};

struct tide_shelf_large {
    struct tide_shelf_row row;
    struct tide_shelf_place place[TIDE_SHELF_LARGE];
};

struct tide_shelf {
    uint64_t bytes, room;
    unsigned turn; /* whose row gives way next when there is no room */
    bool missed;   /* something was not here since there was no room */
    struct tide_shelf_midal midal[TIDE_MIDAL_ALL];
    struct tide_shelf_large large[TIDE_LARGE_CLASSES];
};

_Static_assert(sizeof(struct tide_shelf) <= UINT16_MAX, "a page says in 16 bits where its row is");

/* The row for n bytes of Large, above TIDE_LARGE_BESIDE and up to TIDE_SHELF_LARGEST: its offset in
 * a shelf, by (n - 1) >> 12. */
extern const uint16_t tide_shelf_row_of[TIDE_SHELF_LARGEST >> 12];

/* The row of the smallest class of aligned Mid for n <= 32768, by (n - 1) >> 7. For n a multiple of
 * an alignment, so is the class. */
extern const uint16_t tide_shelf_row_of_midal[TIDE_MID_TOP >> 7];

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

_Static_assert(sizeof(struct tide_shelf_place) == TIDE_KEPT_PLACE &&
                   sizeof(struct tide_shelf_row) == TIDE_KEPT_ROW &&
                   offsetof(struct tide_shelf, midal) == TIDE_KEPT_HEAD,
               "rows are where tide_sizeclass_kept says");

/* The row at an offset that tide_sizeclass_kept gives, and its places. */
TIDE_INLINE struct tide_shelf_row *tide_shelf_row_at(const struct tide_shelf *shelf, size_t offset)
{
    return (struct tide_shelf_row *)((char *)shelf + offset);
}

TIDE_INLINE struct tide_shelf_place *tide_shelf_places(struct tide_shelf_row *row)
{
    return (struct tide_shelf_place *)(row + 1);
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
    _Atomic uint64_t *word = (_Atomic uint64_t *)(uintptr_t)(bit >> 6);
    uint64_t value = atomic_load_explicit(word, memory_order_relaxed);
    atomic_store_explicit(word, value ^ (uint64_t)1 << (bit & 63), memory_order_relaxed);
}

/* The block that came last to the row at this offset, or NULL. */
TIDE_INLINE void *tide_shelf_take(struct tide_shelf *shelf, size_t offset)
{
    struct tide_shelf_row *row = tide_shelf_row_at(shelf, offset);
    unsigned count = row->count;
    if (TIDE_UNLIKELY(count == 0))
        return NULL;
    const struct tide_shelf_place place = tide_shelf_places(row)[count - 1];
    TIDE_RELAXED_SET(&row->count, (uint8_t)(count - 1));
    shelf->bytes -= row->stride;
    tide_shelf_turn(place.bit);
    if (place.block == NULL)
        __builtin_unreachable();
    return place.block;
}

/* Keeps a free block, the one with this index in its page, whose bit is in `word`. False: there is
 * no room. */
TIDE_INLINE bool tide_shelf_put_at(struct tide_shelf *shelf, const struct tide_page *page,
                                   _Atomic uint64_t *word, unsigned index, void *block)
{
    struct tide_shelf_row *row = tide_shelf_row_at(shelf, page->magazine);
    unsigned count = row->count;
    uint64_t bytes = shelf->bytes + row->stride;
    if (TIDE_UNLIKELY(count == row->most || bytes > shelf->room))
        return false;
    uint64_t here = atomic_load_explicit(word, memory_order_relaxed);
    shelf->bytes = bytes;
    atomic_store_explicit(word, here | (uint64_t)1 << index % 64, memory_order_relaxed);
    tide_shelf_places(row)[count] =
        (struct tide_shelf_place){block, (uint64_t)(uintptr_t)word << 6 | index % 64};
    TIDE_FENCE_SIGNAL(); /* a fork may come: a place that counts is filled */
    TIDE_RELAXED_SET(&row->count, (uint8_t)(count + 1));
    return true;
}

TIDE_INLINE bool tide_shelf_put(struct tide_shelf *shelf, const struct tide_page *page,
                                unsigned index, void *block)
{
    return tide_shelf_put_at(shelf, page, tide_shelf_bits(page) + index / 64, index, block);
}

#endif
