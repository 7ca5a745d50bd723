/* residency.c - see residency.h
 *
 * A stratified sample: the pages in use are cut into as many equal runs as there are
 * questions, and one page of each run is drawn. */
#include "box/residency.h"

#include "box/clock.h"
#include "box/numa.h"
#include "box/pagemap.h"
#include "box/sizeclass.h"
#include "box/vmem.h"

enum { RESIDENCY_BATCH = 512 };

struct residency_walk {
    struct tide_residency *out;
    enum tide_tier tier;
    uint64_t count, strata; /* pages in all, questions in all */
    uint64_t at, pick;      /* number of the page at hand; of the next one to ask about */
    uint64_t stratum, random;
    void *page[RESIDENCY_BATCH];
    size_t held;
    int error;
};

/* The kernel tells nothing about the pages of a device, and nothing about those of a file
 * before the first access. That they have memory is known by the mapping. */
static bool residency_is_mapped(uintptr_t page)
{
    const struct tide_window *window = tide_pagemap_find(page + TIDE_LINE);
    return window != NULL && page - window->base < window->shared;
}

static void residency_ask(struct residency_walk *walk)
{
    int node[RESIDENCY_BATCH];
    if (walk->held == 0 || walk->error != 0)
        return;
    walk->error = tide_numa_where(walk->page, walk->held, node);
    for (size_t i = 0; i < walk->held && walk->error == 0; i++) {
        walk->out->asked++;
        if (node[i] < 0) {
            walk->out->mapped += residency_is_mapped((uintptr_t)walk->page[i]);
            continue;
        }
        walk->out->resident++;
        if (node[i] < TIDE_RESIDENCY_NODES)
            walk->out->node[node[i]]++;
    }
    walk->held = 0;
}

/* Draws the page to ask about in the next run. */
static void residency_draw(struct residency_walk *walk)
{
    uint64_t from = walk->stratum * walk->count / walk->strata;
    uint64_t to = (walk->stratum + 1) * walk->count / walk->strata;
    walk->random = tide_mix(walk->random + 0x9e3779b97f4a7c15ULL);
    walk->pick = from + walk->random % (to - from);
    walk->stratum++;
}

/* One segment in use: `pages` pages from base. */
static void residency_segment(struct residency_walk *walk, uintptr_t base, uint64_t pages)
{
    uint64_t size = tide_vmem_page_size();
    while (walk->pick < walk->at + pages && walk->stratum <= walk->strata) {
        walk->page[walk->held++] = (void *)(base + (walk->pick - walk->at) * size);
        if (walk->held == RESIDENCY_BATCH)
            residency_ask(walk);
        if (walk->stratum == walk->strata) {
            walk->stratum++; /* that was the last one */
            break;
        }
        residency_draw(walk);
    }
    walk->at += pages;
}

/* Is the page in use, and by blocks of the tier? */
static bool residency_is_of(enum tide_tier tier, const struct tide_window *window,
                            const struct tide_page *page)
{
    if (atomic_load_explicit(&page->owner, memory_order_relaxed) == 0)
        return false;
    if (tide_sizeclass_is_large((enum tide_kind)window->kind, TIDE_RELAXED_GET(&page->cls)))
        return tier == TIDE_TIER_LARGE;
    return tier == (window->kind == TIDE_KIND_TINY ? TIDE_TIER_TINY : TIDE_TIER_MID);
}

/* Goes over the segments in use: counts them, or (walk->strata != 0) asks. */
static void residency_go(struct residency_walk *walk)
{
    unsigned windows = atomic_load_explicit(&tide_window_count, memory_order_acquire);
    for (unsigned i = 0; i < windows; i++) {
        const struct tide_window *window = &tide_windows[i];
        size_t span = atomic_load_explicit(&window->span, memory_order_acquire);
        if (span == 0)
            continue;
        uint64_t pages = ((uint64_t)1 << window->shift) / tide_vmem_page_size();
        size_t segments = (span + (window->first - window->base)) >> window->shift;
        for (size_t k = 0; k < segments; k++) {
            if (!residency_is_of(walk->tier, window, &window->pages[k]))
                continue;
            if (walk->strata == 0)
                walk->count += pages;
            else
                residency_segment(walk, window->base + (k << window->shift), pages);
        }
    }
}

/* Thousandths of 1 / sqrt(n), rounded up. */
static uint32_t residency_error(uint64_t n)
{
    uint64_t permille = 1;
    while (permille < 1000 && permille * permille * n < 1000000)
        permille++;
    return (uint32_t)permille;
}

int tide_residency_read(enum tide_tier tier, uint64_t most, struct tide_residency *out)
{
    struct residency_walk walk = {.out = out, .tier = tier};
    memset(out, 0, sizeof *out);
    if (tier != TIDE_TIER_TINY && tier != TIDE_TIER_MID && tier != TIDE_TIER_LARGE)
        return -EINVAL;
    residency_go(&walk);
    out->pages = walk.count;
    if (walk.count == 0)
        return 0;
    walk.strata = most == 0 ? walk.count : tide_min(most, walk.count);
    walk.random = tide_clock_now();
    residency_draw(&walk);
    residency_go(&walk);
    residency_ask(&walk);
    if (walk.error != 0)
        return walk.error;
    out->error_permille =
        walk.strata == walk.count || out->asked == 0 ? 0 : residency_error(out->asked);
    return 0;
}
