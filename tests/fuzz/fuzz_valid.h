/*
 * fuzz_valid.h - the invariants of the library's own books, as its headers state them,
 *   checked over every page of every heap.
 *
 * Owns: nothing.
 * Threads: nobody else may be in the allocator meanwhile.
 * Invariant: changes nothing, but for forget_peaks().
 * Uses: fuzz.h, core/box.
 * Used by: fuzz_api.c.
 * Not here: what the program holds (fuzz_model.h).
 */
#ifndef TIDE_FUZZ_VALID_H
#define TIDE_FUZZ_VALID_H

#include "box/heap.h"
#include "box/stat.h"

#include "fuzz.h"

#define VALID(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            fuzz_fail("line %d: the books are wrong: %s", __LINE__, #cond);                        \
    } while (0)

/* What the pages of one owner add up to. */
struct valid_sum {
    uint64_t slack, live;
};

/* Set bits below bump; there must be none above. */
FUZZ_PLAIN static unsigned valid_bits(struct tide_page *page)
{
    const _Atomic uint64_t *bits = tide_page_bits(page);
    unsigned count = 0, words = (page->blocks + 63u) / 64;
    for (unsigned i = 0; i < words; i++) {
        uint64_t word = bits[i];
        unsigned first = i * 64;
        count += (unsigned)__builtin_popcountll(word);
        if (first + 64 > page->bump)
            VALID(page->bump <= first ? word == 0 : word >> (page->bump - first) == 0);
        if (i < page->hint)
            VALID(word == UINT64_MAX || first + 64 > page->bump);
    }
    return count;
}

FUZZ_PLAIN static void valid_page(const struct tide_pages *pages, enum tide_kind kind, unsigned cls,
                                  struct tide_page *page, struct valid_sum *sum)
{
    VALID(page->owner == pages->owner && page->kind == kind && page->cls == cls);
    VALID(page->stride == tide_sizeclass_stride(kind, cls));
    VALID(page->lead == (tide_sizeclass_is_headed(kind, cls) ? 16 : 0));
    VALID(page->used > 0 && page->used <= page->bump && page->bump <= page->blocks);
    VALID(valid_bits(page) == page->used);
    VALID(page->limit == 0 || page->limit == page->bump * page->stride);
    VALID(page->slack <= (uint64_t)(page->bump - page->used) * page->stride);
    VALID(tide_page_window(page)->kind == kind);
    sum->slack += page->slack;
    sum->live += (uint64_t)page->used * page->stride;
}

FUZZ_PLAIN static void valid_bin(const struct tide_pages *pages, enum tide_kind kind, unsigned cls,
                                 struct valid_sum *sum)
{
    const struct tide_bin *bin = &pages->bin[kind][cls];
    uint64_t count = 0, used = 0;
    const struct tide_page *before = NULL;
    for (struct tide_page *page = bin->head; page != NULL; before = page, page = page->next) {
        valid_page(pages, kind, cls, page, sum);
        VALID(page->used < page->blocks && page->prev == before);
        used += page->used;
        count++;
    }
    VALID(bin->head == NULL || bin->tail == before);
    before = NULL;
    for (struct tide_page *page = bin->full; page != NULL; before = page, page = page->next) {
        valid_page(pages, kind, cls, page, sum);
        VALID(page->used == page->blocks && page->prev == before);
        used += page->used;
        count++;
    }
    VALID(bin->used == used && bin->pages == count && bin->taken >= used);
}

/* What waits in the magazines is out of its page, and in no place twice in a row. */
FUZZ_PLAIN static void valid_magazines(struct tide_heap *heap)
{
    struct tide_cache *cache = &heap->cache;
    for (unsigned slot = 0; slot < TIDE_SLOTS; slot++) {
        const struct tide_magazine *magazine = tide_cache_magazine(cache, slot);
        VALID(magazine->base <= magazine->top && magazine->top <= magazine->lim);
        for (void **at = magazine->base; at < magazine->top; at++) {
            const struct tide_window *window = tide_pagemap_find((uintptr_t)*at);
            VALID(window != NULL && window->kind == tide_slot_kind(slot));
            struct tide_page *page = tide_window_page(window, (uintptr_t)*at);
            int index = tide_page_index(page, (uintptr_t)*at);
            VALID(page->owner == cache->owner && page->cls == tide_slot_class(slot));
            VALID(index >= 0 && tide_page_is_out(page, (unsigned)index));
            VALID(at == magazine->base || at[0] != at[-1]);
        }
    }
}

FUZZ_PLAIN static void valid_heap(struct tide_heap *heap)
{
    struct valid_sum sum = {0, 0};
    const struct tide_pages *pages = &heap->pages;
    for (enum tide_kind kind = TIDE_KIND_TINY; kind < TIDE_KINDS; kind++)
        for (unsigned cls = 0; cls < tide_sizeclass_count(kind); cls++)
            valid_bin(pages, kind, cls, &sum);
    VALID(pages->slack == sum.slack);
    VALID(pages->live == sum.live && pages->high >= pages->live);
    VALID(pages->inbox != NULL ? pages->inbox_bytes > 0 : pages->inbox_bytes == 0);
    VALID(tide_page_owner[pages->owner & (TIDE_OWNER_IDS - 1)] == pages);
    if (heap->state == TIDE_HEAP_LIVE)
        valid_magazines(heap);
    if (heap->state == TIDE_HEAP_PARKED)
        VALID(heap->pages.parked && pages->inbox == NULL);
    if (heap->state == TIDE_HEAP_SPARE)
        VALID(sum.live == 0 && sum.slack == 0);
}

FUZZ_PLAIN static void valid_all(void)
{
    for (struct tide_heap *heap = tide_heap_first(); heap != NULL; heap = heap->next)
        valid_heap(heap);
    VALID(TIDE_STAT_GET(used) <= TIDE_STAT_GET(peak));
    VALID(TIDE_STAT_GET(used) >> 40 == 0 && TIDE_STAT_GET(retained) >> 40 == 0);
}

/* Is ptr a free block of that size still, and its page not used for something else by now?
 * *first_class: a heap of the program owns it. */
static bool valid_is_free(const char *ptr, size_t usable, bool *first_class)
{
    const struct tide_window *window = tide_pagemap_find((uintptr_t)ptr);
    struct tide_page *page = window != NULL ? tide_window_page(window, (uintptr_t)ptr) : NULL;
    *first_class = false;
    if (page == NULL || page->owner == 0 || tide_page_usable(page) != usable ||
        tide_page_index(page, (uintptr_t)ptr) < 0)
        return false;
    for (struct tide_heap *heap = tide_heap_first(); heap != NULL; heap = heap->next)
        if (heap->pages.owner == page->owner)
            *first_class = heap->state == TIDE_HEAP_FIRST;
    return true;
}

/* Makes the library forget how much was in use once, on which it depends when memory is
 * given back: an input does the same whatever came before it. */
static void forget_peaks(void)
{
    atomic_store(&tide_stat.peak, TIDE_STAT_GET(used));
    for (struct tide_heap *heap = tide_heap_first(); heap != NULL; heap = heap->next) {
        heap->pages.high = heap->pages.live;
        heap->cache.next_shrink = 0;
    }
}

#endif
