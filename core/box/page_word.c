/* page_word.c - see page.h: what stands in or before a free block. */
#include "box/key.h"
#include "box/page.h"
#include "box/source.h"
#include "box/stat.h"

void tide_page_dress(const struct tide_page *page, void *const *blocks, unsigned n, unsigned bare)
{
    const struct tide_window *window = tide_page_window(page);
    if (page->kind == TIDE_KIND_TINY && !tide_page_headed(page)) {
        for (unsigned i = bare; i < n; i++)
            ((uint64_t *)blocks[i])[1] = tide_key_mark(blocks[i]);
    } else if (tide_page_headed(page) && (window->mode & TIDE_MODE_SHADOW) != 0) {
        if ((window->mode & TIDE_MODE_MODEL) != 0)
            for (unsigned i = 0; i < n; i++)
                tide_source_touch_slow((char *)blocks[i] - 8, 8, window->delay);
        for (unsigned i = 0; i < n; i++)
            ((uint64_t *)blocks[i])[-1] = tide_key_canary(blocks[i]);
    } else if (tide_page_headed(page) && window->mode == 0 && bare < n) {
        uint32_t owner = atomic_load_explicit(&page->owner, memory_order_relaxed);
        uint64_t word = tide_key_word(owner, page->cls) ^ tide_key.freed;
        for (unsigned i = bare; i < n; i++)
            ((uint64_t *)blocks[i])[-1] = word ^ (uintptr_t)blocks[i];
    }
}

/* In front of a Mid block whose checked word is in the shadow stands a canary. */
static bool page_canary_ok(const struct tide_page *page, const void *p)
{
    if (!tide_page_headed(page) || (tide_page_window(page)->mode & TIDE_MODE_SHADOW) == 0)
        return true;
    return ((const uint64_t *)p)[-1] == tide_key_canary(p);
}

/* Does some user have the block, by the word that malloc wrote? Then it came home twice:
 * an old header was written back and freed, or two threads freed it at the same moment,
 * and it was handed out again in between. */
static bool page_is_held(const struct tide_page *page, const void *p)
{
    const struct tide_window *window = tide_page_window(page);
    uint32_t owner = atomic_load_explicit(&page->owner, memory_order_relaxed);
    if (!tide_page_headed(page))
        return page->kind == TIDE_KIND_TINY &&
               ((const uint64_t *)p)[1] == (tide_key_mark(p) ^ tide_key.freed);
    const uint64_t *at = (const uint64_t *)p - 1;
    if ((window->mode & TIDE_MODE_SHADOW) != 0)
        at = &window->shadow[((uintptr_t)p - window->base) >> TIDE_SHADOW_SHIFT];
    return *at == (tide_key_word(owner, page->cls) ^ (uintptr_t)p);
}

/* A free block of Tiny whose mark is gone: written to after the free, or a user of it has
 * written there since it came home before. Nobody can tell, and nobody gets it again. */
static bool page_is_lost(const struct tide_page *page, const void *p)
{
    return page->kind == TIDE_KIND_TINY && !tide_page_headed(page) &&
           ((const uint64_t *)p)[1] != tide_key_mark(p);
}

bool tide_page_sound(const struct tide_page *page, void *block, const char *call)
{
    if (TIDE_UNLIKELY(page_is_held(page, block))) {
        tide_page_report(page, block, "double free", call, "live");
        return false;
    }
    if (TIDE_UNLIKELY(page_is_lost(page, block))) {
        TIDE_STAT_ADD(lost, 1);
        return false;
    }
    if (TIDE_UNLIKELY(!page_canary_ok(page, block))) {
        tide_page_report(page, block, "corrupt header", call, "free");
        return false;
    }
    return true;
}

/* The first word of a block of Tiny says that it is on its way, and that only once. One that says
 * nothing may have been written to since; or it is at home already, where the next malloc takes
 * it from, and the bit does not tell. */
static bool page_mark_arrive(const struct tide_pages *pages, const struct tide_page *page,
                             uint64_t *block)
{
    uint64_t mark = tide_key_mark(block);
    if (TIDE_LIKELY(block[0] == (mark ^ tide_key.remote))) {
        block[0] = mark;
        return true;
    }
    if (block[1] != mark || pages->caches == NULL || !pages->caches(pages, page, block))
        return true;
    tide_page_report(page, block, "double free", "free", "free");
    return false;
}

static bool page_word_arrive(const struct tide_pages *pages, struct tide_page_look *look,
                             void *block)
{
    size_t offset;
    struct tide_page *page = tide_arena_page((uintptr_t)block, &offset);
    if (page != NULL && page->kind == TIDE_KIND_TINY && !tide_page_headed(page))
        return page_mark_arrive(pages, page, block);
    if (page == NULL || !tide_page_headed(page) || page->limit == 0)
        return true; /* nothing tells; the allocation bit will */
    uint64_t *at = (uint64_t *)block - 1;
    uint64_t freed = tide_page_freed(look, page) ^ (uintptr_t)block, live = freed ^ tide_key.freed;
    if (TIDE_LIKELY(*at == (live ^ tide_key.remote))) {
        *at = freed;
        return true;
    }
    if (*at != live && *at != freed)
        return true;
    tide_page_report(page, block, "double free", "free", *at == live ? "live" : "free");
    return false;
}

unsigned tide_page_arrive(const struct tide_pages *pages, void **blocks, unsigned n)
{
    struct tide_page_look look = {.owner = TIDE_RELAXED_GET(&pages->owner), .cls = UINT32_MAX};
    unsigned kept = 0;
    for (unsigned i = 0; i < n; i++) {
        void *block = blocks[i];
        if (page_word_arrive(pages, &look, block))
            TIDE_RELAXED_SET(&blocks[kept++], block); /* statistics may be looking */
    }
    return kept;
}
