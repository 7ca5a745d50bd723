/* segment.c - see segment.h */
#include "box/segment.h"

#include "box/cpu.h"
#include "box/diag.h"
#include "box/meta.h"
#include "box/numa.h"
#include "box/share.h"
#include "box/stat.h"
#include "box/vmem.h"

static const struct segment_shape {
    uint8_t shift;
    uint8_t lead;   /* bytes at the front of a window that are before any block */
    uint16_t words; /* of a bitmap outside the descriptor: Tiny's if large; who is on a shelf */
    uint16_t step;  /* segments committed at once, at first */
} segment_shape[TIDE_KINDS] = {
    [TIDE_KIND_TINY] = {TIDE_SHIFT_SMALL, 0, 512, 4},
    [TIDE_KIND_MID] = {TIDE_SHIFT_SMALL, 16, 0, 2},
    [TIDE_KIND_MIDAL] = {TIDE_SHIFT_SMALL, 0, TIDE_MIDAL_WORDS, 2},
    [TIDE_KIND_LARGE] = {TIDE_SHIFT_LARGE, 0, TIDE_LARGE_WORDS, 1},
};

/* The free segments of one kind. Dirty ones are kept in the order in which they
 * became free: taken from the head (warm), decommitted from the tail. Of the clean ones
 * those that a far source placed are taken first. */
struct segment_pool {
    struct tide_lock lock;
    struct tide_page *dirty, *oldest, *clean, *clean_near;
    unsigned window; /* the one that is being filled, once there is one */
    bool opened;
} __attribute__((aligned(2 * TIDE_LINE)));

static struct segment_pool segment_pool[TIDE_KINDS];
static struct tide_source segment_mid TIDE_START_DATA = {.ops = &tide_source_near, .node = -1};
static bool segment_shadow_on TIDE_START_DATA, segment_fail TIDE_START_DATA;
static size_t segment_cap TIDE_START_DATA = SIZE_MAX;
static size_t segment_far_used;              /* under segment_window_lock, as segment_cap */
static size_t segment_granule;               /* what the memory of Mid asks of addresses */
static struct tide_lock segment_window_lock; /* the arena, and the slots of further windows */

TIDE_START_CODE void tide_segment_start(const struct tide_source *mid, bool shadow)
{
    tide_source_copy(&segment_mid, mid);
    segment_shadow_on = shadow;
    /* Known from here on, without system calls that a sandbox might not allow. */
    tide_vmem_limit();
    tide_vmem_physical();
}

void tide_segment_bound(size_t cap, bool fail)
{
    segment_cap = cap;
    segment_fail = fail;
}

const struct tide_source *tide_segment_source(void)
{
    return &segment_mid;
}

uint8_t tide_segment_mid_mode(void)
{
    return (segment_shadow_on ? TIDE_MODE_SHADOW : 0) |
           (segment_mid.delay != 0 ? TIDE_MODE_MODEL : 0);
}

void tide_segment_fork(enum tide_fork phase)
{
    for (int kind = 0; kind < TIDE_KINDS; kind++)
        tide_lock_fork(&segment_pool[kind].lock, phase);
    tide_lock_fork(&segment_window_lock, phase);
}

static bool segment_is_mid(enum tide_kind kind)
{
    return kind == TIDE_KIND_MID || kind == TIDE_KIND_MIDAL;
}

/* In the arena: half of it is Tiny's, half Mid's. */
static bool segment_in_arena(enum tide_kind kind)
{
    return kind == TIDE_KIND_TINY || kind == TIDE_KIND_MID;
}

/* What a window of the kind starts at a multiple of. */
static size_t segment_align(enum tide_kind kind)
{
    size_t segment = (size_t)1 << segment_shape[kind].shift;
    return kind == TIDE_KIND_LARGE ? segment : tide_max(segment, segment_granule);
}

/* How much address space a window asks for: four times the memory of the machine,
 * and under a limit a small part of it: further windows follow as they are needed. */
static size_t segment_window_size(enum tide_kind kind, bool primary)
{
    size_t segment = segment_align(kind);
    size_t limit = tide_vmem_limit();
    size_t size = (size_t)64 << 30;
    while (size < 4 * tide_vmem_physical() && size < (size_t)16 << 40)
        size *= 2;
    if (tide_cpu_on_valgrind())
        size = tide_min(size, (size_t)8 << 30);
    if (limit != SIZE_MAX)
        size = tide_min(size, limit / (primary && segment_in_arena(kind) ? 64 : 16));
    return tide_max(tide_align_down(size, segment), segment);
}

/* A reservation of `whole` bytes, for a window of *size, failed (raw is NULL) or not. True:
 * *size is the next smaller one to try. When something does not fit for a reason that was
 * not known at start (a limit set since, all memory to be locked), what fits then may be
 * half of all there is: a window must leave room for others. */
static bool segment_smaller(enum tide_kind kind, size_t *size, char *raw, size_t whole, bool *tight)
{
    size_t segment = segment_align(kind);
    bool greedy = raw != NULL && *tight && *size > 2 * segment;
    if (raw != NULL && !greedy)
        return false;
    *tight = raw == NULL && tide_vmem_limit() == SIZE_MAX;
    if (greedy) {
        tide_vmem_unmap(raw, whole);
        *size = tide_max(tide_align_down(*size / 8, segment), 2 * segment);
    } else {
        *size = tide_align_down(*size / 2, segment);
    }
    return true;
}

/* Bytes of the tables of a window, each page-aligned. */
struct segment_plan {
    size_t area, pages, bits, shadow;
};

static struct segment_plan segment_plan(enum tide_kind kind, size_t area)
{
    size_t count = area >> segment_shape[kind].shift, page = tide_vmem_page_size();
    bool shadow = kind == TIDE_KIND_MID && segment_shadow_on;
    return (struct segment_plan){
        .area = area,
        .pages = tide_align_up(count * sizeof(struct tide_page), page),
        .bits = tide_align_up(count * segment_shape[kind].words * sizeof(uint64_t), page),
        .shadow = shadow ? tide_align_up((area >> TIDE_SHADOW_SHIFT) * sizeof(uint64_t), page) : 0,
    };
}

static uint8_t segment_mode(enum tide_kind kind)
{
    if (kind == TIDE_KIND_MID)
        return tide_segment_mid_mode();
    return kind == TIDE_KIND_MIDAL ? tide_segment_mid_mode() & TIDE_MODE_MODEL : 0;
}

/* Is there a far memory, or a model of one, to fill and to overflow? */
static bool segment_wants_far(void)
{
    return segment_mid.node >= 0 || segment_mid.far;
}

/* Hands a window of Mid to the source, unless the cap is used up already. */
static void segment_place(struct tide_window *window)
{
    void *area = (void *)window->base;
    if (segment_mid.shared) {
        TIDE_RELAXED_SET(&window->far, tide_share_lay(&segment_mid, window->kind, window->base,
                                                      window->reserved));
        window->shared = window->far;
        return;
    }
    /* With full=fail none: a huge page that the kernel splits gives up its parts that hold
     * only zeroes, after they were found to be in their place. */
    if (segment_mid.thp != TIDE_THP_DEFAULT || segment_fail)
        tide_numa_huge(area, window->reserved, segment_mid.thp == TIDE_THP_ALWAYS && !segment_fail);
    bool room = segment_fail || segment_far_used < segment_cap;
    if (segment_wants_far() && room && tide_source_place(&segment_mid, area, window->reserved) == 0)
        TIDE_RELAXED_SET(&window->far, window->reserved);
    window->fail = segment_fail && segment_mid.node >= 0 && window->far != 0;
}

/* How many of `step` further segments the cap allows; *charged is what they take of it, in
 * bytes. Where it allows none the rest of the window becomes near memory, or stays closed with
 * full=fail. */
static size_t segment_within_cap(struct tide_window *window, size_t step, size_t *charged)
{
    size_t at = window->segments << window->shift, far = TIDE_RELAXED_GET(&window->far);
    if (!segment_is_mid(window->kind))
        return step;
    if (segment_mid.shared && at < far)
        return tide_min(step, (far - at) >> window->shift);
    if (segment_mid.shared)
        return segment_fail ? 0 : step;
    if (segment_cap == SIZE_MAX || at >= far)
        return step;
    tide_lock_take(&segment_window_lock);
    size_t left = (segment_cap - tide_min(segment_far_used, segment_cap)) >> window->shift;
    if (left > 0) {
        step = 1;
        *charged = (size_t)1 << window->shift;
        segment_far_used += *charged;
    } else if (segment_fail) {
        TIDE_STAT_ADD(mid_refused, 1);
        step = 0;
    } else {
        TIDE_RELAXED_SET(&window->far, at);
        tide_numa_place((char *)window->base + at, window->reserved - at, TIDE_NUMA_DEFAULT, 0, 0);
    }
    tide_lock_drop(&segment_window_lock);
    return step;
}

/* Writes down a window whose parts are reserved. */
static void segment_describe(unsigned index, enum tide_kind kind, char *area,
                             const struct segment_plan *plan, char *pages, char *rest)
{
    struct tide_window *window = &tide_windows[index];
    window->base = (uintptr_t)area;
    window->first = window->base + segment_shape[kind].lead;
    window->reserved = plan->area;
    window->pages = (struct tide_page *)pages;
    window->bits = (_Atomic uint64_t *)rest;
    window->shadow = plan->shadow != 0 ? (uint64_t *)(rest + plan->bits) : NULL;
    window->kind = (uint8_t)kind;
    window->shift = segment_shape[kind].shift;
    window->words = segment_shape[kind].words;
    window->mode = segment_mode(kind);
    window->delay = segment_mid.delay;
    if (segment_is_mid(kind))
        segment_place(window);
}

/* Under a limit of the address space what lies before and behind an aligned range counts:
 * it goes back. */
static void segment_trim(char *raw, size_t whole, char *from, char *to)
{
    if (tide_vmem_limit() == SIZE_MAX)
        return;
    if (from > raw)
        tide_vmem_unmap(raw, (size_t)(from - raw));
    if (to < raw + whole)
        tide_vmem_unmap(to, (size_t)(raw + whole - to));
}

/* Reserves a window of `kind` into slot `index`; false when there is no room. */
static bool segment_reserve(enum tide_kind kind, unsigned index)
{
    size_t align = segment_align(kind), gap = tide_vmem_page_size();
    size_t size = segment_window_size(kind, index < TIDE_KINDS);
    bool tight = false;
    while (size >= align) {
        struct segment_plan plan = segment_plan(kind, size);
        size_t whole = align + plan.area + gap + plan.pages + plan.bits + plan.shadow;
        char *raw = tide_vmem_reserve(whole);
        if (segment_smaller(kind, &size, raw, whole, &tight))
            continue;
        char *area = (char *)tide_align_up((uintptr_t)raw, align);
        char *pages = area + plan.area + gap; /* a page that nobody may touch lies between */
        segment_describe(index, kind, area, &plan, pages, pages + plan.pages);
        segment_trim(raw, whole, area, pages + plan.pages + plan.bits + plan.shadow);
        return true;
    }
    return false;
}

/* Reserves the arena: the primary windows of Tiny and of Mid. */
static bool segment_reserve_arena(void)
{
    size_t align = segment_align(TIDE_KIND_MID), gap = tide_vmem_page_size();
    size_t size = segment_window_size(TIDE_KIND_TINY, true);
    bool tight = false;
    while (size >= align) {
        struct segment_plan tiny = segment_plan(TIDE_KIND_TINY, size);
        struct segment_plan mid = segment_plan(TIDE_KIND_MID, size);
        size_t pages = 2 * (size >> TIDE_SHIFT_SMALL) * sizeof(struct tide_page);
        pages = tide_align_up(pages, gap);
        size_t whole = align + 2 * size + gap + pages + tiny.bits + mid.bits + mid.shadow;
        char *raw = tide_vmem_reserve(whole);
        if (segment_smaller(TIDE_KIND_TINY, &size, raw, whole, &tight))
            continue;
        char *area = (char *)tide_align_up((uintptr_t)raw, align);
        char *table = area + 2 * size + gap, *rest = table + pages;
        char *mid_table = table + (size >> TIDE_SHIFT_SMALL) * sizeof(struct tide_page);
        if (tide_vmem_open(table, pages) != 0) {
            tide_vmem_unmap(raw, whole);
            return false;
        }
        segment_describe(TIDE_KIND_TINY, TIDE_KIND_TINY, area, &tiny, table, rest);
        segment_describe(TIDE_KIND_MID, TIDE_KIND_MID, area + size, &mid, mid_table,
                         rest + tiny.bits);
        TIDE_RELAXED_SET(&tide_arena.base, (uintptr_t)area);
        TIDE_RELAXED_SET(&tide_arena.pages, (struct tide_page *)table);
        atomic_store_explicit(&tide_arena.size, 2 * size, memory_order_release);
        return true;
    }
    return false;
}

static bool segment_open_primary(enum tide_kind kind)
{
    if (!segment_in_arena(kind))
        return segment_reserve(kind, kind);
    tide_lock_take(&segment_window_lock);
    bool done = tide_windows[kind].base != 0 || segment_reserve_arena();
    tide_lock_drop(&segment_window_lock);
    return done;
}

/* Opens another window for the kind: its primary one first. */
static bool segment_open(struct segment_pool *pool, enum tide_kind kind)
{
    if (!pool->opened) {
        pool->opened = segment_open_primary(kind);
        pool->window = kind;
        return pool->opened;
    }
    bool done = false;
    tide_lock_take(&segment_window_lock);
    int slot = tide_pagemap_take();
    if (slot >= 0 && segment_reserve(kind, (unsigned)slot)) {
        pool->window = (unsigned)slot;
        done = true;
    } else if (slot >= 0) {
        tide_pagemap_give((unsigned)slot);
    }
    tide_lock_drop(&segment_window_lock);
    return done;
}

int tide_segment_share(void)
{
    int ret = tide_share_get(&segment_mid, segment_cap, &segment_granule);
    bool done = ret == 0 && segment_open(&segment_pool[TIDE_KIND_MID], TIDE_KIND_MID) &&
                segment_open(&segment_pool[TIDE_KIND_MIDAL], TIDE_KIND_MIDAL);
    tide_share_done();
    if (ret == 0 && (!done || tide_windows[TIDE_KIND_MID].far == 0))
        return tide_source_say(&segment_mid, -ENOMEM, "cannot be mapped");
    return ret;
}

/* Commits the part of a table that covers bytes [from, to); what is before `from` is
 * committed already. A table need not start at a page's edge. */
static bool segment_commit_table(void *table, size_t from, size_t to)
{
    uintptr_t page = tide_vmem_page_size();
    uintptr_t end = tide_align_up((uintptr_t)table + to, page);
    uintptr_t start = from == 0 ? tide_align_down((uintptr_t)table, page)
                                : tide_align_up((uintptr_t)table + from, page);
    if (end <= start)
        return true;
    if (tide_vmem_commit((void *)start, end - start) != 0)
        return false;
    tide_meta_account(end - start);
    return true;
}

/* Commits up to `step` further segments, fewer when that much is not to be had. */
static bool segment_advance(struct tide_window *window, size_t step)
{
    size_t have = window->segments;
    size_t bits = window->words * sizeof(uint64_t);
    size_t shadow = ((size_t)1 << window->shift >> TIDE_SHADOW_SHIFT) * sizeof(uint64_t);
    for (; step > 0; step /= 2) {
        size_t now = have + step;
        bool there = segment_is_mid(window->kind) && segment_mid.shared &&
                     have << window->shift < window->far; /* mapped as a whole */
        if (!there && tide_vmem_commit((char *)window->base + (have << window->shift),
                                       step << window->shift) != 0)
            continue;
        if (!segment_commit_table(window->pages, have * TIDE_PAGE_BYTES, now * TIDE_PAGE_BYTES) ||
            !segment_commit_table(window->bits, have * bits, now * bits))
            return false;
        if (window->shadow != NULL &&
            !segment_commit_table(window->shadow, have * shadow, now * shadow))
            return false;
        if (segment_is_mid(window->kind))
            tide_source_extend(&segment_mid, (void *)window->base, have << window->shift,
                               tide_min(now << window->shift, window->far));
        window->segments = now;
        atomic_store_explicit(&window->span,
                              (now << window->shift) - segment_shape[window->kind].lead,
                              memory_order_release);
        return true;
    }
    return false;
}

/* Moves the window's frontier by at least one segment. */
static bool segment_grow(struct tide_window *window)
{
    size_t have = window->segments, all = window->reserved >> window->shift;
    size_t step = tide_max(segment_shape[window->kind].step, have / 8);
    step = tide_min(step, ((size_t)64 << 20 >> window->shift) + 1);
    size_t charged = 0;
    step = segment_within_cap(window, tide_min(step, all - have), &charged);
    bool done = segment_advance(window, step);
    if (!done && charged != 0) { /* what did not come does not count */
        tide_lock_take(&segment_window_lock);
        segment_far_used -= charged;
        tide_lock_drop(&segment_window_lock);
    }
    return done;
}

/* A segment that nobody had yet. */
static struct tide_page *segment_fresh(struct segment_pool *pool, enum tide_kind kind)
{
    if (!pool->opened && !segment_open(pool, kind))
        return NULL;
    struct tide_window *window = &tide_windows[pool->window];
    if (window->next == window->reserved >> window->shift) {
        if (!segment_open(pool, kind))
            return NULL;
        window = &tide_windows[pool->window];
    }
    /* Where committing fails, another window would not help. */
    if (window->next == window->segments && !segment_grow(window))
        return NULL;
    struct tide_page *page = &window->pages[window->next++];
    page->window = (uint8_t)(window - tide_windows);
    page->kind = (uint8_t)kind;
    page->zeroed = 1;
    return page;
}

static void segment_unlink_dirty(struct segment_pool *pool, struct tide_page *page)
{
    *(page->prev != NULL ? &page->prev->next : &pool->dirty) = page->next;
    *(page->next != NULL ? &page->next->prev : &pool->oldest) = page->prev;
    TIDE_STAT_SUB(retained, page->dirty);
}

/* Did the source place this segment? */
static bool segment_is_far(const struct tide_page *page)
{
    const struct tide_window *window = tide_page_window(page);
    return tide_page_base(page) - window->base < TIDE_RELAXED_GET(&window->far);
}

/* Takes one off the free lists; NULL when they are empty. Of those that came back lately it is
 * one that had blocks of this stride: they lie in the same places, and touch no page of memory
 * that was not touched before. */
static struct tide_page *segment_again(struct segment_pool *pool, uint32_t stride)
{
    enum { LOOKS = 16 };
    struct tide_page *page = pool->dirty, *alike = page;
    for (int i = 0; i < LOOKS && alike != NULL && alike->stride != stride; i++)
        alike = alike->next;
    if (alike != NULL && alike->stride == stride)
        page = alike;
    if (page != NULL) {
        segment_unlink_dirty(pool, page);
        return page;
    }
    struct tide_page **list = pool->clean != NULL ? &pool->clean : &pool->clean_near;
    page = *list;
    if (page != NULL) {
        *list = page->next;
        TIDE_STAT_ADD(regret, (size_t)1 << segment_shape[page->kind].shift);
    }
    return page;
}

static void segment_put_clean(struct segment_pool *pool, struct tide_page *page)
{
    struct tide_page **list = segment_is_far(page) ? &pool->clean : &pool->clean_near;
    page->next = *list;
    *list = page;
}

/* full=fail: brings the whole segment in and looks where it is. What lies elsewhere goes
 * back, and nobody gets the segment. */
static bool segment_secure(struct segment_pool *pool, struct tide_page *page)
{
    size_t size = (size_t)1 << segment_shape[page->kind].shift;
    void *base = (void *)tide_page_base(page);
    if (tide_source_secure(&segment_mid, base, size) == 0) {
        page->dirty = (uint32_t)size;
        return true;
    }
    TIDE_STAT_ADD(mid_refused, 1);
    page->zeroed = tide_segment_decommit((uintptr_t)base, size) == 0;
    tide_lock_take(&pool->lock);
    segment_put_clean(pool, page);
    tide_lock_drop(&pool->lock);
    return false;
}

/* The books of Mid, when a segment is taken or comes back. */
static void segment_count_mid(const struct tide_page *page, bool taken)
{
    uint64_t size = (uint64_t)1 << segment_shape[page->kind].shift;
    bool far = segment_is_far(page);
    if (!segment_is_mid(page->kind))
        return;
    atomic_fetch_add_explicit(far ? &tide_stat.mid_far : &tide_stat.mid_near, taken ? size : -size,
                              memory_order_relaxed);
    if (taken && !far && segment_wants_far())
        TIDE_STAT_ADD(mid_spills, 1);
}

struct tide_page *tide_segment_take(enum tide_kind kind, uint32_t stride)
{
    struct segment_pool *pool = &segment_pool[kind];
    tide_lock_take(&pool->lock);
    struct tide_page *page = segment_again(pool, stride);
    if (page == NULL)
        page = segment_fresh(pool, kind);
    tide_lock_drop(&pool->lock);
    if (page == NULL)
        return NULL;
    if (tide_page_window(page)->fail && segment_is_far(page) && !segment_secure(pool, page))
        return NULL;
    page->next = page->prev = NULL;
    page->bump = page->used = page->hint = page->purge_at = 0;
    page->limit = page->slack = 0;
    page->purged = 0;
    tide_stat_use((size_t)1 << segment_shape[kind].shift);
    segment_count_mid(page, true);
    return page;
}

/* Gives the memory of a free segment back. What cannot be given back (it is locked) stays,
 * and is not zero. Bytes. */
static size_t segment_clean(struct tide_page *page)
{
    size_t bytes = page->dirty;
    page->zeroed = tide_segment_decommit(tide_page_base(page),
                                         (size_t)1 << segment_shape[page->kind].shift) == 0;
    if (!page->zeroed)
        return 0;
    page->dirty = 0;
    return bytes;
}

/* Decommits the segment that was free for the longest time. */
static size_t segment_evict(struct segment_pool *pool)
{
    struct tide_page *page = pool->oldest;
    segment_unlink_dirty(pool, page);
    size_t bytes = segment_clean(page);
    segment_put_clean(pool, page);
    return bytes;
}

/* Once more, what could not be given back before. */
static size_t segment_clean_list(struct tide_page *page)
{
    size_t bytes = 0;
    for (; page != NULL; page = page->next)
        if (!page->zeroed)
            bytes += segment_clean(page);
    return bytes;
}

void tide_segment_give(struct tide_page *page)
{
    struct segment_pool *pool = &segment_pool[page->kind];
    size_t limit = tide_segment_retain_limit();
    size_t keep = tide_max(limit - tide_min(TIDE_STAT_GET(slack), limit), limit / 4);
    atomic_store_explicit(&page->owner, 0, memory_order_relaxed);
    TIDE_STAT_SUB(used, (size_t)1 << segment_shape[page->kind].shift);
    segment_count_mid(page, false);
    tide_lock_take(&pool->lock);
    page->zeroed = 0;
    page->prev = NULL;
    page->next = pool->dirty;
    *(pool->dirty != NULL ? &pool->dirty->prev : &pool->oldest) = page;
    pool->dirty = page;
    TIDE_STAT_ADD(retained, page->dirty);
    while (pool->oldest != NULL && TIDE_STAT_GET(retained) > keep)
        segment_evict(pool);
    tide_lock_drop(&pool->lock);
}

size_t tide_segment_release(size_t keep)
{
    size_t bytes = 0;
    for (int kind = 0; kind < TIDE_KINDS; kind++) {
        struct segment_pool *pool = &segment_pool[kind];
        tide_lock_take(&pool->lock);
        bytes += segment_clean_list(pool->clean) + segment_clean_list(pool->clean_near);
        while (pool->oldest != NULL && TIDE_STAT_GET(retained) > keep)
            bytes += segment_evict(pool);
        tide_lock_drop(&pool->lock);
    }
    return bytes;
}
