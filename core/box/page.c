/* page.c - see page.h */
#include "box/page.h"

#include "box/diag.h"
#include "box/page_budget.h"
#include "box/region.h"
#include "box/segment.h"
#include "box/stat.h"
#include "box/vmem.h"

enum { PAGE_DIRTY_WORD = 4 }; /* Large: where the second bitmap starts */

/* Runs of a region's segments are pages with one block, in a bin that no class has. */
enum { PAGE_RUN_CLASS = TIDE_MIDAL_ALL };
_Static_assert((int)PAGE_RUN_CLASS < (int)TIDE_CLASSES_MAX, "there is a bin for runs");

_Atomic(struct tide_pages *) tide_page_owner[TIDE_OWNER_IDS];

struct tide_pages *tide_page_find_owner(uint32_t owner)
{
    struct tide_pages *pages =
        atomic_load_explicit(&tide_page_owner[owner & (TIDE_OWNER_IDS - 1)], memory_order_acquire);
    return pages != NULL && TIDE_RELAXED_GET(&pages->owner) == owner ? pages : NULL;
}

void tide_page_report(const struct tide_page *page, const void *p, const char *what,
                      const char *call, const char *state)
{
    struct tide_fault fault = {what, call, "none", state, (uintptr_t)p, 0, 0};
    if (page != NULL && page->stride != 0) {
        uint32_t owner = atomic_load_explicit(&page->owner, memory_order_relaxed);
        fault.tier = tide_sizeclass_tier((enum tide_kind)page->kind, page->cls);
        fault.size = tide_page_usable(page);
        fault.owner = owner & (TIDE_OWNER_IDS - 1);
    }
    tide_diag_misuse(&fault);
}

/* --- bits ---------------------------------------------------------------- */

static uint64_t bits_get(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static void bits_set(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

/* Large: was the block's memory touched since it was last given back? Reads and
 * sets the answer. */
static bool page_swap_dirty(struct tide_page *page, unsigned index, bool dirty)
{
    _Atomic uint64_t *word = &tide_page_bits(page)[PAGE_DIRTY_WORD + index / 64];
    uint64_t bit = (uint64_t)1 << index % 64, old = bits_get(word);
    bits_set(word, dirty ? old | bit : old & ~bit);
    return (old & bit) != 0;
}

/* --- lists ---------------------------------------------------------------- */

static struct tide_bin *page_bin(struct tide_pages *pages, const struct tide_page *page)
{
    return &pages->bin[page->kind][page->cls];
}

static void page_link_head(struct tide_bin *bin, struct tide_page *page)
{
    page->prev = NULL;
    page->next = bin->head;
    *(bin->head != NULL ? &bin->head->prev : &bin->tail) = page;
    bin->head = page;
}

static void page_link_tail(struct tide_bin *bin, struct tide_page *page)
{
    page->next = NULL;
    page->prev = bin->tail;
    *(bin->tail != NULL ? &bin->tail->next : &bin->head) = page;
    bin->tail = page;
}

static void page_unlink(struct tide_bin *bin, struct tide_page *page)
{
    *(page->prev != NULL ? &page->prev->next : &bin->head) = page->next;
    *(page->next != NULL ? &page->next->prev : &bin->tail) = page->prev;
}

static void page_link_full(struct tide_bin *bin, struct tide_page *page)
{
    page->prev = NULL;
    page->next = bin->full;
    if (bin->full != NULL)
        bin->full->prev = page;
    bin->full = page;
}

static void page_unlink_full(struct tide_bin *bin, struct tide_page *page)
{
    *(page->prev != NULL ? &page->prev->next : &bin->full) = page->next;
    if (page->next != NULL)
        page->next->prev = page->prev;
}

/* --- birth and death -------------------------------------------------------- */

/* How far free() may go on its fast path. A freed block of Tiny whose memory was given back
 * has lost its mark; one of Mid has no live word either way. */
static void page_set_limit(struct tide_page *page)
{
    bool fast = (page->kind == TIDE_KIND_TINY && !page->purged) || tide_page_headed(page);
    fast = fast && tide_page_window(page)->mode == 0;
    TIDE_RELAXED_SET(&page->limit, fast ? page->bump * page->stride : 0);
}

/* From the region that the owner is on, or from where all segments come from. */
static struct tide_page *page_segment(struct tide_pages *pages, enum tide_kind kind, unsigned cls)
{
    if (TIDE_LIKELY(pages->region == NULL))
        return tide_segment_take(kind, tide_sizeclass_stride(kind, cls));
    const struct tide_plot_wish wish = {.state = TIDE_REGION_HEAP,
                                        .kind = kind,
                                        .block = tide_sizeclass_stride(kind, cls),
                                        .tag = pages->number,
                                        .segments = 1};
    return tide_region_page_take(pages->region, &wish);
}

/* A segment becomes a page of the class, at the head of its bin. */
static struct tide_page *page_open(struct tide_pages *pages, enum tide_kind kind, unsigned cls)
{
    struct tide_page *page = page_segment(pages, kind, cls);
    if (page == NULL)
        return NULL;
    const struct tide_window *window = tide_page_window(page);
    TIDE_RELAXED_SET(&page->cls, (uint8_t)cls);
    page->stride = tide_sizeclass_stride(kind, cls);
    page->recip = UINT64_MAX / page->stride + 1;
    page->blocks = (uint16_t)(((size_t)1 << window->shift) / page->stride);
    page->purge_at = page->blocks / 2;
    page->lead = tide_sizeclass_is_headed(kind, cls) ? TIDE_MID_HEADER : 0;
    page->magazine = tide_sizeclass_kept(kind, cls);
    _Atomic uint64_t *bits = tide_page_bits(page);
    unsigned words =
        page->blocks > TIDE_PAGE_BITS ? (page->blocks + 63u) / 64 : TIDE_PAGE_BITS / 64;
    for (unsigned i = 0; i < words; i++)
        bits_set(&bits[i], 0);
    atomic_store_explicit(&page->owner, pages->owner, memory_order_release);
    struct tide_bin *bin = &pages->bin[kind][cls];
    page_link_head(bin, page);
    bin->pages++;
    /* With that much free and none of it fit for this class, it is not about to be used
     * again: let the next frees purge. */
    if (pages->slack > tide_segment_retain_limit() && pages->slack > pages->live / 4)
        pages->high = tide_max(pages->high, pages->live + pages->slack);
    return page;
}

/* Bytes at the front of the page that may be resident. */
static size_t page_resident(struct tide_page *page)
{
    if (page->kind != TIDE_KIND_LARGE)
        return page->purged ? page->slack + (size_t)page->used * page->stride
                            : (size_t)page->bump * page->stride;
    const _Atomic uint64_t *dirty = &page->bits[PAGE_DIRTY_WORD];
    int count =
        __builtin_popcountll(bits_get(&dirty[0])) + __builtin_popcountll(bits_get(&dirty[1]));
    return (size_t)count * page->stride;
}

/* The page has no block out any more: it goes back to where segments come from. */
static void page_close(struct tide_pages *pages, struct tide_page *page)
{
    page_bin(pages, page)->pages--;
    pages->slack -= page->slack;
    page->dirty = (uint32_t)tide_max(page->dirty, page_resident(page));
    page->slack = 0;
    tide_page_tell(pages, false);
    if (TIDE_LIKELY(tide_page_window(page)->region == NULL))
        tide_segment_give(page);
    else
        tide_region_page_give(page);
}

void tide_page_destroy(struct tide_pages *pages)
{
    for (int kind = 0; kind < TIDE_KINDS; kind++) {
        for (int cls = 0; cls < TIDE_CLASSES_MAX; cls++) {
            struct tide_bin *bin = &pages->bin[kind][cls];
            for (struct tide_page *page; (page = bin->head) != NULL;) {
                page_unlink(bin, page);
                page_close(pages, page);
            }
            for (struct tide_page *page; (page = bin->full) != NULL;) {
                page_unlink_full(bin, page);
                page_close(pages, page);
            }
            bin->used = 0;
        }
    }
    pages->live = pages->high = pages->crest = 0;
    tide_page_tell(pages, true);
}

/* --- taking blocks ---------------------------------------------------------- */

static void page_use_slack(struct tide_pages *pages, struct tide_page *page, size_t bytes)
{
    bytes = tide_min(bytes, page->slack);
    page->slack -= (uint32_t)bytes;
    pages->slack -= bytes;
}

/* Blocks that were out before: clear bits below bump. */
static unsigned page_take_old(struct tide_page *page, void **out, unsigned want)
{
    _Atomic uint64_t *bits = tide_page_bits(page);
    char *base = (char *)tide_page_base(page) + page->lead;
    unsigned got = 0, words = (page->bump + 63u) / 64;
    while (page->hint < words) {
        unsigned first = page->hint * 64u, in_use = page->bump - first;
        uint64_t word = bits_get(&bits[page->hint]);
        uint64_t open = ~word & (in_use < 64 ? ((uint64_t)1 << in_use) - 1 : UINT64_MAX);
        for (; open != 0 && got < want; open &= open - 1) {
            unsigned index = (unsigned)__builtin_ctzll(open);
            word |= (uint64_t)1 << index;
            out[got++] = base + (size_t)(first + index) * page->stride;
        }
        bits_set(&bits[page->hint], word);
        if (open != 0)
            break;
        page->hint++;
    }
    return got;
}

/* Blocks that were never out: above bump. No page of memory is touched. */
static unsigned page_take_fresh(struct tide_page *page, void **out, unsigned want)
{
    _Atomic uint64_t *bits = tide_page_bits(page);
    char *base = (char *)tide_page_base(page) + page->lead;
    unsigned got = 0;
    for (; got < want && page->bump < page->blocks; page->bump++) {
        unsigned index = page->bump;
        bits_set(&bits[index / 64], bits_get(&bits[index / 64]) | (uint64_t)1 << index % 64);
        out[got++] = base + (size_t)index * page->stride;
    }
    return got;
}

static bool page_take_large(struct tide_pages *pages, struct tide_page *page, void *block, bool old)
{
    unsigned index = (unsigned)tide_page_index(page, (uintptr_t)block);
    bool dirty = page_swap_dirty(page, index, true);
    if (dirty)
        page_use_slack(pages, page, page->stride);
    return old ? !dirty : page->zeroed;
}

/* full=fail: blocks whose memory was given back have to be where the source wants them
 * before anybody gets them. Returns how many of the first ones are; the others go back. */
static unsigned page_secure(struct tide_page *page, void **blocks, unsigned n)
{
    size_t size = tide_vmem_page_size();
    for (unsigned i = 0; i < n; i++) {
        uintptr_t from = (uintptr_t)blocks[i] - page->lead;
        uintptr_t to = tide_align_up(from + page->stride, size);
        from = tide_align_down(from, size);
        if (tide_source_secure(tide_segment_source(), (void *)from, to - from) == 0)
            continue;
        TIDE_STAT_ADD(mid_refused, 1);
        for (unsigned k = i; k < n; k++) {
            unsigned index = (unsigned)tide_page_index(page, (uintptr_t)blocks[k]);
            _Atomic uint64_t *word = &tide_page_bits(page)[index / 64];
            bits_set(word, bits_get(word) & ~((uint64_t)1 << index % 64));
            page->hint = (uint16_t)tide_min(page->hint, index / 64);
        }
        return i;
    }
    return n;
}

/* Blocks that are dressed become resident: of such no more are taken at once than may well be
 * used, unless they are resident anyway. A block of Mid that malloc would see first would fault
 * twice, for reading and for writing. */
static unsigned page_want_bare(const struct tide_page *page, unsigned want)
{
    if (page->kind != TIDE_KIND_TINY && page->kind != TIDE_KIND_MID)
        return want;
    uint32_t bytes = page->kind == TIDE_KIND_TINY ? 4096 : 16384, front = page->bump * page->stride;
    if (!page->purged && page->dirty > front)
        bytes = tide_max(bytes, page->dirty - front);
    return (unsigned)tide_min(want, tide_max(bytes / page->stride, 1));
}

/* Are the blocks that are next such that will be dressed? */
static bool page_is_bare(const struct tide_page *page)
{
    return page->kind <= TIDE_KIND_MID && (page->purged || page->used == page->bump);
}

/* Is the page at the head of the bin a bare one, and stays so if the next one is not? */
static bool page_head_is_bare(struct tide_bin *bin)
{
    struct tide_page *head = bin->head;
    if (!page_is_bare(head))
        return false;
    if (head->next == NULL || page_is_bare(head->next))
        return true;
    page_unlink(bin, head);
    page_link_tail(bin, head);
    return false;
}

/* Takes from the page at the head of the bin, which has a free block. */
static unsigned page_take(struct tide_pages *pages, struct tide_bin *bin, void **out, unsigned want,
                          bool *zeroed)
{
    struct tide_page *page = bin->head;
    unsigned old = page->used < page->bump
                       ? page_take_old(page, out, page->purged ? page_want_bare(page, want) : want)
                       : 0;
    if (TIDE_UNLIKELY(page->purged)) {
        TIDE_STAT_ADD(regret, old * page->stride);
        if (tide_page_window(page)->fail)
            old = page_secure(page, out, old);
    }
    unsigned got = old;
    if (old == 0 || (old < want && page->kind > TIDE_KIND_MID))
        got += page_take_fresh(page, out + old, page_want_bare(page, want - old));
    tide_page_dress(page, out, got, page->purged ? 0 : old);
    bool clean = false;
    if (page->kind == TIDE_KIND_LARGE) {
        for (unsigned i = 0; i < got; i++)
            clean = page_take_large(pages, page, out[i], i < old);
    } else {
        page_use_slack(pages, page, (size_t)old * page->stride);
    }
    if (zeroed != NULL)
        *zeroed = clean;
    page->used = (uint16_t)(page->used + got);
    bool full = page->used == page->blocks;
    if (full) {
        page_unlink(bin, page);
        page_link_full(bin, page);
        page->purged = 0;
        page->purge_at = page->blocks / 2;
    }
    page_set_limit(page);
    return got;
}

unsigned tide_page_refill(struct tide_pages *pages, enum tide_kind kind, unsigned cls, void **out,
                          unsigned want, bool *zeroed)
{
    struct tide_bin *bin = &pages->bin[kind][cls];
    unsigned got = 0;
    while (got < want) {
        bool bare = bin->head == NULL || page_head_is_bare(bin);
        if (got > 0 && bare)
            break;
        if (bin->head == NULL && page_open(pages, kind, cls) == NULL)
            break;
        unsigned more = page_take(pages, bin, out + got, want - got, zeroed);
        if (TIDE_UNLIKELY(more == 0)) /* full=fail, and memory that has gone elsewhere */
            break;
        got += more;
    }
    bin->used += got;
    bin->taken += got;
    pages->live += (uint64_t)got * tide_sizeclass_stride(kind, cls);
    pages->high = tide_max(pages->high, pages->live);
    pages->crest = tide_max(pages->crest, pages->live);
    tide_page_tell(pages, false);
    return got;
}

void *tide_page_take_run(struct tide_pages *pages, size_t size)
{
    const struct tide_plot_wish wish = {.state = TIDE_REGION_RUN,
                                        .kind = TIDE_KIND_MIDAL,
                                        .tag = pages->number,
                                        .segments =
                                            (size + TIDE_REGION_SEGMENT - 1) / TIDE_REGION_SEGMENT};
    if (wish.segments > UINT32_MAX / TIDE_REGION_SEGMENT)
        return NULL;
    struct tide_page *page = tide_region_page_take(pages->region, &wish);
    if (page == NULL)
        return NULL;
    TIDE_RELAXED_SET(&page->cls, (uint8_t)PAGE_RUN_CLASS);
    page->stride = (uint32_t)(wish.segments * TIDE_REGION_SEGMENT);
    page->recip = UINT64_MAX / page->stride + 1;
    page->blocks = page->bump = page->used = 1;
    page->lead = 0;
    page->magazine = 0;
    bits_set(&page->bits[0], 1);
    for (uint64_t i = wish.segments; i-- > 0;)
        atomic_store_explicit(&page[i].owner, pages->owner, memory_order_release);
    struct tide_bin *bin = &pages->bin[TIDE_KIND_MIDAL][PAGE_RUN_CLASS];
    page_link_full(bin, page);
    bin->pages++;
    bin->used++;
    bin->taken++;
    pages->live += page->stride;
    pages->high = tide_max(pages->high, pages->live);
    pages->crest = tide_max(pages->crest, pages->live);
    return (void *)tide_page_base(page);
}

/* --- giving blocks back ------------------------------------------------------ */

/* Gives the whole system pages inside [from, to) back. */
static size_t page_purge_run(uintptr_t from, uintptr_t to)
{
    size_t size = tide_vmem_page_size();
    from = tide_align_up(from, size);
    to = tide_align_down(to, size);
    if (from >= to || tide_segment_decommit(from, to - from) != 0)
        return 0;
    return to - from;
}

/* Gives the run [start, end) of free blocks back; a Large block whose memory went as a
 * whole is known to be zero. */
static size_t page_purge_blocks(struct tide_page *page, unsigned start, unsigned end)
{
    uintptr_t base = tide_page_base(page);
    size_t bytes = page_purge_run(base + (uintptr_t)start * page->stride,
                                  base + (uintptr_t)end * page->stride);
    if (page->kind == TIDE_KIND_LARGE && bytes == (size_t)(end - start) * page->stride)
        for (unsigned i = start; i < end; i++)
            page_swap_dirty(page, i, false);
    return bytes;
}

size_t tide_page_purge(struct tide_pages *pages, struct tide_page *page)
{
    size_t bytes = 0;
    unsigned start = 0; /* of the run of free blocks that ends at i */
    if (page->slack == 0 || tide_page_window(page)->region != NULL)
        return 0;
    for (unsigned i = 0; i <= page->bump; i++) {
        if (i < page->bump && !tide_page_is_out(page, i))
            continue;
        if (i > start)
            bytes += page_purge_blocks(page, start, i);
        start = i + 1;
    }
    if (bytes == 0)
        return 0;
    page->purged = 1;
    page_set_limit(page);
    /* Free blocks that share a system page with live ones stay resident. */
    size_t before = page->slack, free = (size_t)(page->bump - page->used) * page->stride;
    size_t left = tide_min(before, free > bytes ? free - bytes : 0);
    page_use_slack(pages, page, before - left);
    return before - left;
}

/* A Large block came back and too much is free already: its memory goes at once. */
static void page_purge_large(struct tide_pages *pages, struct tide_page *page, unsigned index)
{
    if (page_purge_blocks(page, index, index + 1) > 0)
        page_use_slack(pages, page, page->stride);
}

static void page_lower_high(struct tide_pages *pages, uint64_t bytes)
{
    pages->high -= tide_min(bytes, pages->high - pages->live);
}

static void page_put(struct tide_pages *pages, struct tide_page *page, unsigned index)
{
    struct tide_bin *bin = page_bin(pages, page);
    _Atomic uint64_t *word = &tide_page_bits(page)[index / 64];
    bits_set(word, bits_get(word) & ~((uint64_t)1 << index % 64));
    if (index / 64 < page->hint)
        page->hint = (uint16_t)(index / 64);
    if (page->used == page->blocks) {
        page_unlink_full(bin, page);
        page_link_tail(bin, page);
    }
    page->used--;
    bin->used--;
    page->slack += page->stride;
    pages->slack += page->stride;
    pages->live -= page->stride;
    if (page->used == 0) {
        page_unlink(bin, page);
        page_lower_high(pages, page->slack);
        page_close(pages, page);
        return;
    }
    if (TIDE_LIKELY(page->kind != TIDE_KIND_LARGE && page->used > page->purge_at))
        return;
    page->purge_at = page->used / 2;
    if (!tide_page_is_over(pages))
        return;
    uint64_t before = pages->slack;
    if (page->kind == TIDE_KIND_LARGE)
        page_purge_large(pages, page, index);
    else
        tide_page_purge(pages, page);
    tide_page_purge_next(pages);
    page_lower_high(pages, before - pages->slack);
}

/* The descriptor of an address in a window, and the index of the block that starts there, or -1. */
static struct tide_page *page_around(uintptr_t p, int *index)
{
    size_t offset;
    struct tide_page *page = tide_arena_page(p, &offset);
    if (TIDE_LIKELY(page != NULL)) {
        offset -= page->lead;
        uint64_t at = tide_cpu_mulhi(offset, page->recip);
        *index = at < page->blocks && at * page->stride == offset ? (int)at : -1;
        return page;
    }
    const struct tide_window *window = tide_pagemap_find(p);
    TIDE_CHECK(window != NULL);
    page = tide_window_page(window, p);
    *index = tide_page_index(page, p);
    return page;
}

void tide_page_flush(struct tide_pages *pages, void *const *blocks, unsigned n, const char *call)
{
    struct tide_page_look look = {.owner = pages->owner, .cls = UINT32_MAX};
    for (unsigned i = 0; i < n; i++)
        tide_cpu_prefetch(blocks[i]);
    for (unsigned i = 0; i < n; i++) {
        int index;
        struct tide_page *page = page_around((uintptr_t)blocks[i], &index);
        bool own = atomic_load_explicit(&page->owner, memory_order_relaxed) == look.owner;
        if (TIDE_UNLIKELY(!own || index < 0 || !tide_page_is_out(page, (unsigned)index))) {
            tide_page_report(page, blocks[i], "double free", call, "free");
            continue;
        }
        if (TIDE_UNLIKELY(!tide_page_is_plain(&look, page, blocks[i])) &&
            !tide_page_sound(page, blocks[i], call))
            continue; /* misuse=warn: the block is lost, its neighbours are not */
        page_put(pages, page, (unsigned)index);
    }
    tide_page_tell(pages, false);
}
