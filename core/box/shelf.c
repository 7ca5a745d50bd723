/* shelf.c - see shelf.h */
#include "box/shelf.h"

enum { SHELF_FULL_SHARES = 4 }; /* threads that have a whole budget each */

#define ROW_MIDAL(cls)                                                                             \
    (uint16_t)(offsetof(struct tide_shelf, midal) + (cls) * sizeof(struct tide_shelf_midal))
#define ROW_LARGE(cls)                                                                             \
    (uint16_t)(offsetof(struct tide_shelf, large) + (cls) * sizeof(struct tide_shelf_large))

/* Four rows, or eight, from `cls` on, each for so many places of a table. */
#define ROWS4(row, first, step, cls)                                                               \
    [first...(first) + (step)-1] = row(cls),                                                       \
                       [(first) + (step)...(first) + 2 * (step)-1] = row((cls) + 1),               \
                       [(first) + 2 * (step)...(first) + 3 * (step)-1] = row((cls) + 2),           \
                       [(first) + 3 * (step)...(first) + 4 * (step)-1] = row((cls) + 3)
#define ROWS8(row, first, step, cls)                                                               \
    ROWS4(row, first, step, cls), ROWS4(row, (first) + 4 * (step), step, (cls) + 4)

const uint16_t tide_shelf_row_of[TIDE_SHELF_LARGEST >> 12] = {
    [0 ... 15] = ROW_LARGE(0), /* malloc does not ask for so little */
    ROWS8(ROW_LARGE, 16, 2, 8),
    ROWS8(ROW_LARGE, 32, 4, 16)};

const uint16_t tide_shelf_row_of_midal[TIDE_MID_TOP >> 7] = {
    [0 ... 7] = ROW_MIDAL(0),    ROWS8(ROW_MIDAL, 8, 1, 1),   ROWS8(ROW_MIDAL, 16, 2, 9),
    ROWS8(ROW_MIDAL, 32, 4, 17), ROWS8(ROW_MIDAL, 64, 8, 25), ROWS8(ROW_MIDAL, 128, 16, 33)};

static _Atomic int shelf_users;

void tide_shelf_users(int change)
{
    atomic_fetch_add_explicit(&shelf_users, change, memory_order_relaxed);
}

static size_t shelf_share(void)
{
    int users = atomic_load_explicit(&shelf_users, memory_order_relaxed);
    size_t bytes = TIDE_SHELF_BYTES;
    return users > SHELF_FULL_SHARES ? bytes / (unsigned)users * SHELF_FULL_SHARES : bytes;
}

/* Row number `index` of all: those of aligned Mid first. */
static size_t shelf_offset(unsigned index)
{
    return index < TIDE_MIDAL_ALL
               ? tide_sizeclass_kept(TIDE_KIND_MIDAL, index)
               : tide_sizeclass_kept(TIDE_KIND_LARGE, index - (unsigned)TIDE_MIDAL_ALL);
}

void tide_shelf_birth(struct tide_shelf *shelf)
{
    shelf->room = TIDE_SHELF_FIRST;
    for (unsigned i = 0; i < TIDE_SHELF_CLASSES; i++) {
        bool large = i >= TIDE_MIDAL_ALL;
        struct tide_shelf_row *row = tide_shelf_row_at(shelf, shelf_offset(i));
        row->stride = large ? tide_sizeclass_stride(TIDE_KIND_LARGE, i - TIDE_MIDAL_ALL)
                            : tide_sizeclass_stride(TIDE_KIND_MIDAL, i);
        row->most = large ? TIDE_SHELF_LARGE : TIDE_SHELF_MIDAL;
        if (row->stride > TIDE_SHELF_LARGEST)
            row->most = 0;
    }
}

unsigned tide_shelf_count(const struct tide_shelf *shelf, enum tide_kind kind, unsigned cls)
{
    return shelf != NULL
               ? TIDE_RELAXED_GET(&tide_shelf_row_at(shelf, tide_sizeclass_kept(kind, cls))->count)
               : 0;
}

/* The `count` oldest blocks of a row go home. Lock held. */
static void shelf_give(struct tide_shelf *shelf, struct tide_pages *pages,
                       struct tide_shelf_row *row, unsigned count)
{
    struct tide_shelf_place *place = tide_shelf_places(row);
    unsigned left = row->count - count;
    void *home[TIDE_SHELF_MIDAL];
    for (unsigned i = 0; i < count; i++) {
        home[i] = place[i].block;
        tide_shelf_turn(place[i].bit);
    }
    memmove(place, place + count, left * sizeof *place);
    TIDE_RELAXED_SET(&row->count, (uint8_t)left);
    shelf->bytes -= (uint64_t)count * row->stride;
    tide_page_flush(pages, home, count, "free");
}

void tide_shelf_relieve(struct tide_shelf *shelf, struct tide_pages *pages,
                        const struct tide_page *page)
{
    struct tide_shelf_row *row = tide_shelf_row_at(shelf, page->magazine);
    size_t room = shelf->missed ? 2 * shelf->room : shelf->room / 2;
    shelf->room = tide_min(tide_max(room, TIDE_SHELF_FIRST), tide_max(shelf_share(), row->stride));
    shelf->missed = false;
    if (row->count == row->most)
        shelf_give(shelf, pages, row, row->most / 2);
    while (shelf->bytes + row->stride > shelf->room) {
        unsigned index = shelf->turn++ % TIDE_SHELF_CLASSES;
        struct tide_shelf_row *next = tide_shelf_row_at(shelf, shelf_offset(index));
        if (next->count > 0)
            shelf_give(shelf, pages, next, (next->count + 1) / 2);
    }
}

void tide_shelf_fill(struct tide_shelf *shelf, struct tide_pages *pages, enum tide_kind kind,
                     unsigned cls)
{
    void *fresh[TIDE_SHELF_MIDAL / 2];
    size_t want = TIDE_SHELF_BATCH / tide_sizeclass_stride(kind, cls);
    want = tide_min(tide_max(want, 1), sizeof fresh / sizeof *fresh);
    unsigned got = tide_page_refill(pages, kind, cls, fresh, (unsigned)want, NULL);
    while (got-- > 0) { /* the lowest one is used first */
        uintptr_t p = (uintptr_t)fresh[got];
        const struct tide_page *page = tide_window_page(tide_pagemap_find(p), p);
        if (tide_shelf_bits(page) == NULL ||
            !tide_shelf_put(shelf, page, (unsigned)tide_page_index(page, p), fresh[got]))
            tide_page_flush(pages, &fresh[got], 1, "malloc");
    }
}

void tide_shelf_empty(struct tide_shelf *shelf, struct tide_pages *pages)
{
    for (unsigned i = 0; i < TIDE_SHELF_CLASSES; i++) {
        struct tide_shelf_row *row = tide_shelf_row_at(shelf, shelf_offset(i));
        if (row->count > 0)
            shelf_give(shelf, pages, row, row->count);
    }
    /* In a child a fork may have come between the count of a row and the bytes. */
    shelf->bytes = 0;
}
