/*
 * shelf.h - the few free blocks of classes without magazines that one thread keeps at hand.
 *
 * owns:      free blocks of aligned Mid and of Large, TIDE_SHELF of each class at most
 * threads:   a shelf is written by its thread alone; others look for blocks on it
 * invariant: places are filled from the first on; the blocks count as out of their pages,
 *            and come to at most TIDE_SHELF_BYTES; no block is in two places, not even for a
 *            moment: another thread's fork may come at any time
 * uses:      page, sizeclass
 * used by:   magazine, heap, report, route
 * not here:  Tiny and Mid (magazine), when a shelf is emptied (magazine)
 * test:      tests/test_shelf.c
 */
#ifndef TIDE_BOX_SHELF_H
#define TIDE_BOX_SHELF_H

#include "box/page.h"

enum {
    TIDE_SHELF = 4,
    TIDE_SHELF_BYTES = 1 << 20,
    TIDE_SHELF_LARGEST = 256 << 10, /* a larger block is not kept */
    TIDE_SHELF_CLASSES = TIDE_MIDAL_ALL + TIDE_LARGE_CLASSES
};

struct tide_shelf {
    void *block[TIDE_SHELF_CLASSES][TIDE_SHELF];
    uint64_t bytes;
    uint64_t turn; /* whose place the next block gets in a full row */
};

/* The block of the class that came last, or NULL. */
void *tide_shelf_take(struct tide_shelf *shelf, enum tide_kind kind, unsigned cls);

/* Keeps a free block of the page. Returns the one that has to go home for it: another of the
 * class, in turn, the block itself, or NULL. */
void *tide_shelf_put(struct tide_shelf *shelf, const struct tide_page *page, void *block);

/* Is the block here? Sure only for what holds still. */
bool tide_shelf_holds(const struct tide_shelf *shelf, const struct tide_page *page,
                      const void *block);

/* How many blocks of the class are here. */
unsigned tide_shelf_count(const struct tide_shelf *shelf, enum tide_kind kind, unsigned cls);

/* Gives all blocks back to their pages. Lock held. */
void tide_shelf_empty(struct tide_shelf *shelf, struct tide_pages *pages);

#endif
