/*
 * micro_box.c - what the slow halves of the library cost: handing freed blocks to their owner,
 * filling a magazine, emptying one, getting a segment.
 *
 * Linked with libtidepool_api.a and calls the boxes themselves, so it measures this library
 * whatever is preloaded. Each bench looks whether the library did what is measured.
 * TIDEPOOL_OPTIONS counts (mid=, header=, ...).
 *
 * One operation is one block of remote_push and remote_drain, one call of the others (with the
 * blocks of a call as a further figure).
 */
#include "box/heap.h"
#include "box/life.h"
#include "box/route.h"
#include "box/segment.h"
#include "box/stat.h"

#include "micro.h"

enum { MOST = 256 };

/* A class of an owner of its own. One block of the first page stays out, so that the page is
 * not closed and opened at each turn. */
struct place {
    struct tide_pages *pages;
    struct tide_bin *bin;
    enum tide_kind kind;
    unsigned cls;
    void *anchor;
};

static struct tide_heap *owner; /* of all places; lives as long as the program */

static unsigned take_blocks(struct place *place, void **blocks, unsigned want)
{
    tide_lock_take(&place->pages->lock);
    unsigned got = tide_page_refill(place->pages, place->kind, place->cls, blocks, want, NULL);
    tide_lock_drop(&place->pages->lock);
    return got;
}

static void give_blocks(struct place *place, void **blocks, unsigned count)
{
    tide_lock_take(&place->pages->lock);
    tide_page_flush(place->pages, blocks, count, "free");
    tide_lock_drop(&place->pages->lock);
}

/* Takes `want` blocks, in several turns where one gives less. */
static int take_exactly(struct micro *run, struct place *place, void **blocks, unsigned want)
{
    unsigned have = 0, got = 1;
    while (have < want && got > 0)
        have += got = take_blocks(place, blocks + have, want - have);
    if (have < want)
        micro_fail(run, "out of memory");
    return have == want;
}

static struct place place_open(struct micro *run, const struct micro_bench *bench)
{
    size_t size = (size_t)bench->args[0];
    struct place place = {.pages = &owner->pages, .kind = (enum tide_kind)bench->tag};
    place.cls = place.kind == TIDE_KIND_TINY ? tide_sizeclass_tiny(size) : tide_sizeclass_mid(size);
    place.bin = &place.pages->bin[place.kind][place.cls];
    take_exactly(run, &place, &place.anchor, 1);
    return place;
}

/* The anchor of each thread goes back too: then all blocks are home. */
static void place_close(struct micro *run, const struct micro_bench *bench, struct place *place)
{
    if (place->anchor != NULL)
        give_blocks(place, &place->anchor, 1);
    if (bench->threads == 0 && place->bin->used != 0)
        micro_fail(run, "%llu blocks did not come home", (unsigned long long)place->bin->used);
}

/* ---- pages -------------------------------------------------------------------------------- */

/* args: size, blocks wanted by a call */
static void run_refill(struct micro *run, const struct micro_bench *bench)
{
    struct place place = place_open(run, bench);
    unsigned want = (unsigned)bench->args[1], got = 0;
    void *blocks[MOST];
    int64_t total = 0;
    if (take_exactly(run, &place, blocks, want)) /* so many were out before: none is fresh */
        give_blocks(&place, blocks, want);
    while (micro_next(run, 1) != 0) {
        micro_start(run);
        got = take_blocks(&place, blocks, want);
        micro_stop(run);
        if (got == 0)
            micro_fail(run, "out of memory");
        give_blocks(&place, blocks, got);
        total += got;
    }
    micro_mean(run, "blocks", (double)total);
    place_close(run, bench, &place);
}

static void run_flush(struct micro *run, const struct micro_bench *bench)
{
    struct place place = place_open(run, bench);
    unsigned want = (unsigned)bench->args[1];
    void *blocks[MOST];
    int64_t total = 0;
    while (micro_next(run, 1) != 0) {
        if (!take_exactly(run, &place, blocks, want))
            continue;
        micro_start(run);
        give_blocks(&place, blocks, want);
        micro_stop(run);
        total += want;
    }
    micro_mean(run, "blocks", (double)total);
    place_close(run, bench, &place);
}

/* ---- frees by other threads --------------------------------------------------------------- */

static struct tide_page *page_of(const void *block)
{
    return tide_window_page(tide_pagemap_find((uintptr_t)block), (uintptr_t)block);
}

static void push_blocks(struct tide_outbox *outbox, void **blocks, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct tide_page *page = page_of(blocks[i]);
        const struct tide_window *window = tide_pagemap_find((uintptr_t)blocks[i]);
        if (page->kind == TIDE_KIND_MID) { /* as malloc, and free in another thread, leave it */
            tide_mid_set_live(window, blocks[i], page->owner, page->cls);
            tide_mid_set_freed(window, blocks[i], TIDE_MID_REMOTE);
        }
        tide_remote_put(outbox, page, blocks[i]);
    }
    tide_remote_flush(outbox);
}

static void drain(struct place *place)
{
    tide_lock_take(&place->pages->lock);
    tide_remote_drain(place->pages);
    tide_lock_drop(&place->pages->lock);
}

/* args: size, blocks of a round: few enough that the pusher has not to empty the inbox. */
static void run_remote(struct micro *run, const struct micro_bench *bench, int draining)
{
    struct place place = place_open(run, bench);
    struct tide_outbox outbox = {{NULL}};
    unsigned count = (unsigned)bench->args[1];
    void *blocks[MOST];
    while (micro_next(run, count) != 0) {
        if (!take_exactly(run, &place, blocks, count))
            continue;
        if (draining) {
            push_blocks(&outbox, blocks, count);
            micro_start(run);
            drain(&place);
            micro_stop(run);
        } else {
            uint64_t before = TIDE_STAT_GET(remote_batches);
            micro_start(run);
            push_blocks(&outbox, blocks, count);
            micro_stop(run);
            if (TIDE_STAT_GET(remote_batches) == before)
                micro_fail(run, "nothing was handed over");
            drain(&place);
        }
    }
    place_close(run, bench, &place);
}

static void run_push(struct micro *run, const struct micro_bench *bench)
{
    run_remote(run, bench, 0);
}

static void run_drain(struct micro *run, const struct micro_bench *bench)
{
    run_remote(run, bench, 1);
}

/* ---- segments ----------------------------------------------------------------------------- */

enum { SEGMENTS = 16, TOUCHED = 4096 };

static int take_segments(struct micro *run, enum tide_kind kind, struct tide_page **pages)
{
    int have = 0;
    micro_start(run);
    while (have < SEGMENTS && (pages[have] = tide_segment_take(kind, 0)) != NULL)
        have++;
    micro_stop(run);
    if (have < SEGMENTS)
        micro_fail(run, "out of memory");
    return have;
}

/* As pages do that were in use: some of their memory is resident. */
static void give_segments(struct tide_page **pages, int count)
{
    for (int i = 0; i < count; i++) {
        *(volatile char *)tide_page_base(pages[i]) = 1;
        pages[i]->dirty = TOUCHED;
        tide_segment_give(pages[i]);
    }
}

/* `clean`: between two turns their memory goes back to the system. */
static void run_segment(struct micro *run, const struct micro_bench *bench, int clean)
{
    enum tide_kind kind = (enum tide_kind)bench->tag;
    struct tide_page *pages[SEGMENTS] = {NULL};
    for (int i = 0; i < SEGMENTS; i++)
        pages[i] = tide_segment_take(kind, 0);
    for (int i = 0; i < SEGMENTS; i++)
        if (pages[i] == NULL)
            micro_fail(run, "out of memory");
        else
            give_segments(&pages[i], 1);
    while (micro_next(run, SEGMENTS) != 0) {
        if (clean)
            tide_segment_release(0);
        int have = take_segments(run, kind, pages);
        for (int i = 0; i < have; i++)
            if (pages[i]->zeroed != clean)
                micro_fail(run, clean ? "a segment was not clean" : "a segment was not reused");
        give_segments(pages, have);
    }
    tide_segment_release(0);
}

static void run_reused(struct micro *run, const struct micro_bench *bench)
{
    tide_segment_release(0);
    run_segment(run, bench, 0);
}

static void run_decommitted(struct micro *run, const struct micro_bench *bench)
{
    run_segment(run, bench, 1);
}

/* Is it the one at the frontier, that nobody had before? */
static int is_fresh(const struct tide_page *page)
{
    const struct tide_window *window = tide_page_window(page);
    return (size_t)(page - window->pages) + 1 == window->next;
}

/* They are not given back: only then are the next ones fresh. Only address space is used. */
static void run_fresh(struct micro *run, const struct micro_bench *bench)
{
    enum tide_kind kind = (enum tide_kind)bench->tag;
    struct tide_page *pages[SEGMENTS], *page;
    do
        page = tide_segment_take(kind, 0);
    while (page != NULL && !is_fresh(page));
    while (micro_next(run, SEGMENTS) != 0)
        if (take_segments(run, kind, pages) == SEGMENTS && !is_fresh(pages[SEGMENTS - 1]))
            micro_fail(run, "a segment was not fresh");
}

/* ---- which ones --------------------------------------------------------------------------- */

#define TINY TIDE_KIND_TINY
#define MID TIDE_KIND_MID

static const struct micro_bench benches[] = {
    {"refill/tiny", run_refill, {64, 8}, TINY, 0, 1, 0},
    {"refill/tiny", run_refill, {64, 128}, TINY, 0, 1, 0},
    {"refill/tiny", run_refill, {1024, 16}, TINY, 0, 1, 0},
    {"refill/mid", run_refill, {2048, 8}, MID, 0, 1, 0},
    {"refill/mid", run_refill, {4096, 8}, MID, 0, 1, 0},
    {"refill/mid", run_refill, {4096, 64}, MID, 0, 1, 0},
    {"refill/mid", run_refill, {32768, 8}, MID, 0, 1, 0},
    {"flush/tiny", run_flush, {64, 8}, TINY, 0, 1, 0},
    {"flush/tiny", run_flush, {64, 128}, TINY, 0, 1, 0},
    {"flush/tiny", run_flush, {1024, 16}, TINY, 0, 1, 0},
    {"flush/mid", run_flush, {2048, 8}, MID, 0, 1, 0},
    {"flush/mid", run_flush, {4096, 8}, MID, 0, 1, 0},
    {"flush/mid", run_flush, {4096, 64}, MID, 0, 1, 0},
    {"flush/mid", run_flush, {32768, 8}, MID, 0, 1, 0},
    {"remote_push/tiny", run_push, {64, 240}, TINY, 0, 1, 0},
    {"remote_push/mid", run_push, {4096, 60}, MID, 0, 1, 0},
    {"remote_push/tiny", run_push, {64, 240}, TINY, 2, 1, 0},
    {"remote_push/mid", run_push, {4096, 60}, MID, 2, 1, 0},
    {"remote_drain/tiny", run_drain, {64, 240}, TINY, 0, 1, 0},
    {"remote_drain/mid", run_drain, {4096, 60}, MID, 0, 1, 0},
    {"segment_acquire/tiny/reused", run_reused, {0}, TINY, 0, 1, 0},
    {"segment_acquire/mid/reused", run_reused, {0}, MID, 0, 1, 0},
    {"segment_acquire/large/reused", run_reused, {0}, TIDE_KIND_LARGE, 0, 1, 0},
    {"segment_acquire/tiny/decommitted", run_decommitted, {0}, TINY, 0, 1, 16384},
    {"segment_acquire/mid/decommitted", run_decommitted, {0}, MID, 0, 1, 16384},
    {"segment_acquire/large/decommitted", run_decommitted, {0}, TIDE_KIND_LARGE, 0, 1, 16384},
    {"segment_acquire/tiny/fresh", run_fresh, {0}, TINY, 0, 1, 512},
    {"segment_acquire/mid/fresh", run_fresh, {0}, MID, 0, 1, 512},
    {"segment_acquire/large/fresh", run_fresh, {0}, TIDE_KIND_LARGE, 0, 1, 128},
};

int main(int argc, char **argv)
{
    tide_life_start();
    owner = tide_heap_birth();
    if (owner == NULL)
        return 1;
    micro_context("mid_source", tide_segment_source()->text);
    micro_context("header", tide_segment_shadow() ? "shadow" : "inband");
    for (size_t i = 0; i < sizeof benches / sizeof *benches; i++)
        micro_add(&benches[i]);
    return micro_main(argc, argv);
}
