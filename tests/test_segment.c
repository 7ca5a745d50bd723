/* test_segment.c - segments lent and taken back: what is in them, which one comes
 * next, what stays resident, and what happens when there is no memory. */
#include "box/segment.h"

#include <sys/syscall.h>

#include "box/meta.h"
#include "box/stat.h"
#include "unit_base.h"

enum { SMALL = 1 << TIDE_SHIFT_SMALL, LARGE = 1 << TIDE_SHIFT_LARGE, MANY = 40 };

static size_t size_of(enum tide_kind kind)
{
    return kind == TIDE_KIND_LARGE ? LARGE : SMALL;
}

static char *memory(const struct tide_page *page)
{
    return (char *)tide_page_base(page);
}

static bool all_are(const struct tide_page *page, char value)
{
    const char *at = memory(page);
    return at[0] == value && memcmp(at, at + 1, size_of(page->kind) - 1) == 0;
}

/* Takes one as page does: with an owner. */
static struct tide_page *take(enum tide_kind kind)
{
    struct tide_page *page = tide_segment_take(kind, 0);
    if (page != NULL)
        atomic_store_explicit(&page->owner, 1, memory_order_relaxed);
    return page;
}

/* Takes one and writes all over it. */
static struct tide_page *take_filled(enum tide_kind kind, char value)
{
    struct tide_page *page = take(kind);
    ck_assert_ptr_nonnull(page);
    memset(memory(page), value, size_of(kind));
    page->dirty = (uint32_t)size_of(kind);
    return page;
}

static bool is_resident(const struct tide_page *page)
{
    return unit_resident(memory(page), size_of(page->kind)) != 0;
}

/* --- taking ------------------------------------------------------------------- */

static void check_blank(struct tide_page *page, enum tide_kind kind)
{
    uintptr_t base = tide_page_base(page);
    const struct tide_window *window = tide_page_window(page);
    ck_assert_int_eq(page->kind, kind);
    ck_assert_int_eq(window->kind, kind);
    ck_assert_uint_eq(base % size_of(kind), 0);
    ck_assert_uint_eq(atomic_load(&page->owner), 0);
    ck_assert(page->next == NULL && page->prev == NULL);
    ck_assert(page->bump == 0 && page->used == 0 && page->hint == 0 && page->limit == 0);
    ck_assert(page->slack == 0 && page->purged == 0);
    ck_assert_ptr_eq(tide_pagemap_find(base + 16), window);
    ck_assert_ptr_eq(tide_pagemap_find(base + size_of(kind) - 1), window);
    ck_assert_ptr_eq(tide_window_page(window, base + size_of(kind) - 1), page);
}

START_TEST(a_fresh_segment_is_blank_aligned_and_zero)
{
    struct tide_page *seen[TIDE_KINDS][MANY];
    for (int i = 0; i < MANY; i++) {
        for (int kind = 0; kind < TIDE_KINDS; kind++) {
            if (kind == TIDE_KIND_LARGE && i >= 5)
                continue;
            struct tide_page *page = seen[kind][i] = tide_segment_take((enum tide_kind)kind, 0);
            ck_assert_ptr_nonnull(page);
            check_blank(page, (enum tide_kind)kind);
            atomic_store(&page->owner, 1);
            ck_assert_int_eq(page->zeroed, 1);
            ck_assert(all_are(page, 0));
            memset(memory(page), i + 1, size_of((enum tide_kind)kind));
        }
    }
    for (int i = 0; i < MANY; i++)
        for (int kind = 0; kind < TIDE_KINDS; kind++)
            ck_assert((kind == TIDE_KIND_LARGE && i >= 5) || all_are(seen[kind][i], (char)(i + 1)));
}
END_TEST

START_TEST(behind_the_frontier_nothing_can_be_touched)
{
    for (int kind = 0; kind < TIDE_KINDS; kind++) {
        take((enum tide_kind)kind);
        const struct tide_window *window = &tide_windows[kind];
        char *end = (char *)window->first + atomic_load(&window->span);
        ck_assert_ptr_eq(end, (char *)window->base + window->segments * size_of(window->kind));
        ck_assert_uint_lt(window->segments * size_of(window->kind), window->reserved);
        ck_assert_ptr_nonnull(tide_pagemap_find((uintptr_t)end - 1));
        ck_assert_ptr_null(tide_pagemap_find((uintptr_t)end));
        unit_store((long)(uintptr_t)(end - 1));
        ck_assert(unit_faults(unit_load, end));
    }
}
END_TEST

START_TEST(a_window_is_followed_by_a_page_nobody_may_touch)
{
    take(TIDE_KIND_LARGE);
    take(TIDE_KIND_TINY);
    const struct tide_window *large = &tide_windows[TIDE_KIND_LARGE];
    ck_assert(unit_faults(unit_load, (char *)large->base + large->reserved));
    ck_assert(unit_faults(unit_load, (char *)tide_arena.base + atomic_load(&tide_arena.size)));
}
END_TEST

START_TEST(the_arena_has_one_table_for_tiny_and_mid)
{
    struct tide_page *tiny = take(TIDE_KIND_TINY), *mid = take(TIDE_KIND_MID);
    size_t size = atomic_load(&tide_arena.size);
    uintptr_t base = tide_arena.base;
    ck_assert_uint_eq(tide_windows[TIDE_KIND_TINY].base, base);
    ck_assert_uint_eq(tide_windows[TIDE_KIND_MID].base, base + size / 2);
    ck_assert_uint_eq(tide_windows[TIDE_KIND_MID].first, base + size / 2 + 16);
    ck_assert_ptr_eq(&tide_arena.pages[(tide_page_base(tiny) - base) >> TIDE_SHIFT_SMALL], tiny);
    ck_assert_ptr_eq(&tide_arena.pages[(tide_page_base(mid) - base) >> TIDE_SHIFT_SMALL], mid);
    /* free() reads the descriptor of any address of the arena */
    size_t last = (size >> TIDE_SHIFT_SMALL) - 1;
    for (size_t at = 0; at <= last; at += last / 1000 + 1)
        ck_assert_uint_le(atomic_load(&tide_arena.pages[at].owner), 1);
    ck_assert_uint_eq(atomic_load(&tide_arena.pages[last].owner), 0);
}
END_TEST

START_TEST(long_bitmaps_do_not_overlap)
{
    struct tide_page *page[MANY];
    for (int i = 0; i < MANY; i++) {
        page[i] = take(TIDE_KIND_TINY);
        page[i]->blocks = SMALL / 16;
        _Atomic uint64_t *bits = tide_page_bits(page[i]);
        for (int word = 0; word < SMALL / 16 / 64; word++) {
            UNIT_HOLD(atomic_load(&bits[word]) == 0, "segment %d, word %d", i, word);
            atomic_store(&bits[word], (uint64_t)i + 1);
        }
    }
    for (int i = 0; i < MANY; i++)
        for (int word = 0; word < SMALL / 16 / 64; word++)
            UNIT_HOLD(atomic_load(&tide_page_bits(page[i])[word]) == (uint64_t)i + 1,
                      "segment %d, word %d", i, word);
}
END_TEST

/* --- the source ----------------------------------------------------------------- */

static unsigned places;
static size_t placed;
static uintptr_t placed_at[8];
static int place_result;

static int note_place(const struct tide_source *source, void *base, size_t size)
{
    (void)source;
    placed_at[places++] = (uintptr_t)base;
    placed += size;
    return place_result;
}

static const struct tide_source_ops noting = {.name = "noting", .place = note_place};

START_TEST(the_source_places_the_windows_of_mid)
{
    struct tide_source source = {.ops = &noting, .node = 7, .far = true, .why = "", .text = "x"};
    tide_segment_start(&source, false);
    ck_assert_int_eq(tide_segment_source()->node, 7);
    ck_assert_ptr_eq(tide_segment_source()->ops, &noting);
    take(TIDE_KIND_LARGE);
    ck_assert_uint_eq(places, 0);
    take(TIDE_KIND_MIDAL);
    take(TIDE_KIND_MID);
    take(TIDE_KIND_TINY);
    for (int i = 0; i < MANY; i++)
        take(TIDE_KIND_MID);
    ck_assert_uint_eq(places, 2); /* once per window, not per segment */
    ck_assert_uint_eq(placed_at[0], tide_windows[TIDE_KIND_MIDAL].base);
    ck_assert_uint_eq(placed_at[1], tide_windows[TIDE_KIND_MID].base);
    ck_assert_uint_eq(placed, tide_windows[TIDE_KIND_MIDAL].reserved +
                                  tide_windows[TIDE_KIND_MID].reserved);
    ck_assert_uint_eq(TIDE_STAT_GET(mid_spills), 0);
}
END_TEST

START_TEST(what_the_source_cannot_place_is_counted_and_used)
{
    struct tide_source source = {.ops = &noting, .node = 7, .far = true, .why = "", .text = "x"};
    place_result = -EINVAL;
    tide_segment_start(&source, false);
    take_filled(TIDE_KIND_MID, 1);
    ck_assert_uint_eq(TIDE_STAT_GET(mid_spills), 1);
    take_filled(TIDE_KIND_MIDAL, 1);
    ck_assert_uint_eq(TIDE_STAT_GET(mid_spills), 2);
    ck_assert_uint_eq(TIDE_STAT_GET(mid_far), 0);
    ck_assert_uint_eq(TIDE_STAT_GET(mid_near), 2 << TIDE_SHIFT_SMALL);
}
END_TEST

static void start_noting(void)
{
    struct tide_source source = {.ops = &noting, .node = 7, .far = true, .why = "", .text = "x"};
    tide_segment_start(&source, false);
}

/* Both kinds of Mid draw on one cap; what comes after it is near, and freed far memory is
 * taken before freed near memory. */
START_TEST(behind_the_cap_mid_is_near)
{
    struct tide_page *page[12];
    start_noting();
    tide_segment_bound(5 * SMALL + 1, false);
    tide_segment_set_retain(0);
    for (int i = 0; i < 12; i++)
        page[i] = take_filled(i % 2 != 0 ? TIDE_KIND_MIDAL : TIDE_KIND_MID, 1);
    ck_assert_uint_eq(TIDE_STAT_GET(mid_far), 5 * SMALL);
    ck_assert_uint_eq(TIDE_STAT_GET(mid_near), 7 * SMALL);
    ck_assert_uint_eq(TIDE_STAT_GET(mid_spills), 7);
    ck_assert_uint_eq(tide_windows[TIDE_KIND_MID].far + tide_windows[TIDE_KIND_MIDAL].far,
                      5 * SMALL);
    for (int i = 0; i < 12; i++)
        tide_segment_give(page[i]);
    ck_assert_uint_eq(TIDE_STAT_GET(mid_far) + TIDE_STAT_GET(mid_near), 0);
    take(TIDE_KIND_MID);
    ck_assert_uint_eq(TIDE_STAT_GET(mid_far), SMALL);
    take(TIDE_KIND_TINY);
    ck_assert_uint_eq(TIDE_STAT_GET(mid_far) + TIDE_STAT_GET(mid_near), SMALL);
}
END_TEST

/* The source here cannot tell where pages are (node 7 is not there), so that only the cap
 * refuses: no window asks for pages to be secured. */
START_TEST(behind_the_cap_nothing_with_full_fail)
{
    struct tide_source source = {.ops = &noting, .node = -1, .far = true, .why = "", .text = "x"};
    struct tide_page *page[4];
    tide_segment_start(&source, false);
    tide_segment_bound(4 * SMALL, true);
    for (int i = 0; i < 4; i++)
        page[i] = take_filled(TIDE_KIND_MID, 1);
    ck_assert_ptr_null(take(TIDE_KIND_MID));
    ck_assert_ptr_null(take(TIDE_KIND_MIDAL));
    ck_assert_ptr_nonnull(take(TIDE_KIND_TINY));
    tide_segment_give(page[2]);
    ck_assert_ptr_eq(take(TIDE_KIND_MID), page[2]);
    ck_assert_uint_eq(TIDE_STAT_GET(mid_spills), 0);
}
END_TEST

START_TEST(a_near_source_has_no_cap)
{
    tide_segment_bound(SMALL, true);
    for (int i = 0; i < 4; i++)
        take_filled(TIDE_KIND_MID, 1);
    ck_assert_uint_eq(TIDE_STAT_GET(mid_far) + TIDE_STAT_GET(mid_spills), 0);
    ck_assert_uint_eq(TIDE_STAT_GET(mid_near), 4 * SMALL);
}
END_TEST

/* full=fail: the segment comes wholly resident on the node, or not at all. */
START_TEST(with_full_fail_pages_are_where_they_should_be)
{
    struct tide_source source = {.ops = &noting, .node = 0, .nodes = 1, .why = "", .text = "x"};
    tide_segment_start(&source, false);
    tide_segment_bound(SIZE_MAX, true);
    struct tide_page *page = take(TIDE_KIND_MID);
    if (page == NULL)
        return; /* the kernel does not tell where pages are, or there is no node 0 */
    ck_assert_uint_eq(unit_resident(memory(page), SMALL), SMALL / (size_t)sysconf(_SC_PAGESIZE));
    ck_assert_uint_eq(page->dirty, SMALL);
    ck_assert(page->zeroed && all_are(page, 0));
}
END_TEST

START_TEST(with_full_fail_pages_elsewhere_are_refused)
{
    struct tide_source source = {
        .ops = &noting, .node = 63, .nodes = (uint64_t)1 << 63, .why = "", .text = "x"};
    tide_segment_start(&source, false);
    tide_segment_bound(SIZE_MAX, true);
    for (int i = 0; i < 3; i++)
        ck_assert_ptr_null(take(TIDE_KIND_MID));
    ck_assert_uint_eq(TIDE_STAT_GET(mid_refused), 3);
    ck_assert_uint_eq(TIDE_STAT_GET(mid_far) + TIDE_STAT_GET(used), 0);
    uintptr_t base = tide_windows[TIDE_KIND_MID].base;
    ck_assert_uint_eq(tide_windows[TIDE_KIND_MID].next, 1); /* the same one, again and again */
    ck_assert_uint_eq(unit_resident((void *)base, SMALL), 0);
    ck_assert_ptr_nonnull(take(TIDE_KIND_TINY));
}
END_TEST

START_TEST(mode_follows_shadow_and_delay)
{
    struct tide_source source = {.ops = &tide_source_near, .node = -1, .delay = 250, .far = true};
    ck_assert_uint_eq(tide_segment_mid_mode(), 0);
    ck_assert(!tide_segment_shadow());
    tide_segment_start(&source, false);
    ck_assert_uint_eq(tide_segment_mid_mode(), TIDE_MODE_MODEL);
    tide_segment_start(&source, true);
    ck_assert(tide_segment_shadow());
    ck_assert_uint_eq(tide_segment_mid_mode(), TIDE_MODE_MODEL | TIDE_MODE_SHADOW);
    for (int kind = 0; kind < TIDE_KINDS; kind++)
        take((enum tide_kind)kind);
    ck_assert_uint_eq(tide_windows[TIDE_KIND_TINY].mode, 0);
    ck_assert_uint_eq(tide_windows[TIDE_KIND_MID].mode, TIDE_MODE_MODEL | TIDE_MODE_SHADOW);
    ck_assert_uint_eq(tide_windows[TIDE_KIND_MIDAL].mode, TIDE_MODE_MODEL);
    ck_assert_uint_eq(tide_windows[TIDE_KIND_LARGE].mode, 0);
    ck_assert_uint_eq(tide_windows[TIDE_KIND_MID].delay, 250);
    source.delay = 0;
    tide_segment_start(&source, true);
    ck_assert_uint_eq(tide_segment_mid_mode(), TIDE_MODE_SHADOW);
}
END_TEST

START_TEST(the_shadow_has_a_word_for_each_kib)
{
    struct tide_source source = {.ops = &tide_source_near, .node = -1};
    const size_t words = SMALL >> TIDE_SHADOW_SHIFT;
    tide_segment_start(&source, true);
    for (size_t i = 0; i < MANY; i++) {
        struct tide_page *page = take(TIDE_KIND_MID);
        const struct tide_window *window = tide_page_window(page);
        uint64_t *shadow = window->shadow + (tide_page_base(page) - window->base) / 1024;
        for (size_t word = 0; word < words; word++) {
            UNIT_HOLD(shadow[word] == 0, "segment %zu, word %zu", i, word);
            shadow[word] = i + 1;
        }
    }
    for (size_t word = 0; word < MANY * words; word++)
        UNIT_HOLD(tide_windows[TIDE_KIND_MID].shadow[word] == word / words + 1, "word %zu", word);
    take(TIDE_KIND_MIDAL);
    ck_assert_ptr_null(tide_windows[TIDE_KIND_MIDAL].shadow);
}
END_TEST

/* --- giving back ------------------------------------------------------------------ */

START_TEST(the_last_one_given_is_taken_first)
{
    struct tide_page *page[3];
    for (int i = 0; i < 3; i++)
        page[i] = take_filled(TIDE_KIND_MID, 1);
    for (int i = 0; i < 3; i++)
        tide_segment_give(page[i]);
    for (int i = 2; i >= 0; i--) {
        struct tide_page *again = tide_segment_take(TIDE_KIND_MID, 0);
        ck_assert_ptr_eq(again, page[i]);
        check_blank(again, TIDE_KIND_MID);
        ck_assert_int_eq(again->zeroed, 0);
        ck_assert(all_are(again, 1));
    }
    struct tide_page *fresh = tide_segment_take(TIDE_KIND_MID, 0);
    ck_assert(fresh != page[0] && fresh != page[1] && fresh != page[2]);
    ck_assert_int_eq(fresh->zeroed, 1);
}
END_TEST

START_TEST(one_that_had_blocks_of_the_size_is_taken_first)
{
    struct tide_page *page[3];
    for (uint32_t i = 0; i < 3; i++)
        (page[i] = take_filled(TIDE_KIND_MID, 1))->stride = 4096 * (i + 1);
    for (int i = 0; i < 3; i++)
        tide_segment_give(page[i]);
    ck_assert_ptr_eq(tide_segment_take(TIDE_KIND_MID, 4096), page[0]);
    ck_assert_ptr_eq(tide_segment_take(TIDE_KIND_MID, 4096), page[2]);
    ck_assert_ptr_eq(tide_segment_take(TIDE_KIND_MID, 8192), page[1]);
}
END_TEST

START_TEST(kinds_do_not_share_segments)
{
    struct tide_page *mid = take_filled(TIDE_KIND_MID, 1);
    tide_segment_give(mid);
    for (int kind = 0; kind < TIDE_KINDS; kind++) {
        struct tide_page *page = tide_segment_take((enum tide_kind)kind, 0);
        ck_assert_int_eq(page->kind, kind);
        ck_assert_int_eq(page == mid, kind == TIDE_KIND_MID);
    }
}
END_TEST

START_TEST(use_and_retention_are_counted)
{
    struct tide_page *small = take_filled(TIDE_KIND_TINY, 1);
    ck_assert_uint_eq(TIDE_STAT_GET(used), SMALL);
    struct tide_page *large = take(TIDE_KIND_LARGE);
    ck_assert_uint_eq(TIDE_STAT_GET(used), SMALL + LARGE);
    ck_assert_uint_eq(TIDE_STAT_GET(peak), SMALL + LARGE);
    ck_assert_uint_eq(TIDE_STAT_GET(retained), 0);
    small->dirty = 5000;
    tide_segment_give(small);
    ck_assert_uint_eq(atomic_load(&small->owner), 0);
    ck_assert_uint_eq(TIDE_STAT_GET(retained), 5000);
    large->dirty = 70000;
    tide_segment_give(large);
    ck_assert_uint_eq(TIDE_STAT_GET(retained), 75000);
    ck_assert_uint_eq(TIDE_STAT_GET(used), 0);
    ck_assert_uint_eq(TIDE_STAT_GET(peak), SMALL + LARGE);
    take(TIDE_KIND_TINY);
    ck_assert_uint_eq(TIDE_STAT_GET(retained), 70000);
    take(TIDE_KIND_LARGE);
    ck_assert_uint_eq(TIDE_STAT_GET(retained), 0);
}
END_TEST

/* ... and grows with what went back too early: a small process may keep more of what it had. */
START_TEST(the_limit_grows_with_regret)
{
    tide_segment_set_retain(1 << 20);
    tide_stat_touch(8 << 20);
    TIDE_STAT_ADD(regret, 8 << 20);
    ck_assert_uint_eq(tide_segment_retain_limit(), 2 << 20);
    TIDE_STAT_ADD(regret, 100 << 20);
    ck_assert_uint_eq(tide_segment_retain_limit(), 3 << 20);
    tide_stat_touch(1 << 20);
    ck_assert_uint_eq(tide_segment_retain_limit(), 2 << 20);
}
END_TEST

START_TEST(the_limit_is_the_option_or_a_twentieth_of_the_peak)
{
    ck_assert_uint_eq(tide_segment_retain_limit(), 4 << 20);
    tide_segment_set_retain(1 << 20);
    ck_assert_uint_eq(tide_segment_retain_limit(), 1 << 20);
    for (int i = 0; i < 10; i++)
        take(TIDE_KIND_LARGE);
    ck_assert_uint_eq(tide_segment_retain_limit(), 1 << 20); /* nobody touched that yet */
    tide_stat_touch(40 << 20);
    tide_stat_touch(-(UINT64_C(30) << 20));
    ck_assert_uint_eq(tide_segment_retain_limit(), 2 << 20);
    tide_segment_set_retain(0);
    ck_assert_uint_eq(tide_segment_retain_limit(), 2 << 20);
    tide_segment_set_retain(SIZE_MAX);
    ck_assert_uint_eq(tide_segment_retain_limit(), SIZE_MAX);
}
END_TEST

START_TEST(above_the_budget_the_oldest_go_first)
{
    struct tide_page *page[10];
    tide_segment_set_retain(4 * SMALL);
    for (int i = 0; i < 10; i++)
        page[i] = take_filled(TIDE_KIND_MID, 1);
    for (int i = 0; i < 10; i++) {
        tide_segment_give(page[i]);
        size_t kept = i < 4 ? (size_t)i + 1 : 4;
        ck_assert_uint_eq(TIDE_STAT_GET(retained), kept * SMALL);
        for (int j = 0; j <= i; j++)
            ck_assert_int_eq(is_resident(page[j]), j > i - 4);
    }
    ck_assert_uint_eq(TIDE_STAT_GET(decommits), 6);
    ck_assert_uint_eq(TIDE_STAT_GET(decommit_bytes), 6 * SMALL);
}
END_TEST

/* What is free in pages takes from the budget, but for a quarter. */
START_TEST(the_budget_is_shared_with_pages)
{
    struct tide_page *page[10];
    tide_segment_set_retain(8 * SMALL);
    for (int i = 0; i < 10; i++)
        page[i] = take_filled(TIDE_KIND_MID, 1);
    for (int i = 0; i < 6; i++)
        tide_segment_give(page[i]);
    ck_assert_uint_eq(TIDE_STAT_GET(retained), 6 * SMALL);
    TIDE_STAT_ADD(slack, 3 * SMALL);
    tide_segment_give(page[6]);
    ck_assert_uint_eq(TIDE_STAT_GET(retained), 5 * SMALL);
    TIDE_STAT_ADD(slack, 100 * SMALL);
    tide_segment_give(page[7]);
    ck_assert_uint_eq(TIDE_STAT_GET(retained), 2 * SMALL);
}
END_TEST

START_TEST(without_a_budget_nothing_stays)
{
    struct tide_page *page = take_filled(TIDE_KIND_TINY, 1);
    tide_segment_set_retain(0);
    tide_segment_give(page); /* a twentieth of the peak is less than what is dirty */
    ck_assert(!is_resident(page));
    ck_assert_uint_eq(TIDE_STAT_GET(retained), 0);
}
END_TEST

START_TEST(decommitted_ones_are_zero_and_come_after_dirty_ones)
{
    struct tide_page *old = take_filled(TIDE_KIND_MID, 1), *new = take_filled(TIDE_KIND_MID, 2);
    tide_segment_give(old);
    ck_assert_uint_eq(tide_segment_release(0), SMALL);
    tide_segment_give(new);
    ck_assert_ptr_eq(take(TIDE_KIND_MID), new);
    ck_assert_int_eq(new->zeroed, 0);
    ck_assert(all_are(new, 2));
    ck_assert_ptr_eq(take(TIDE_KIND_MID), old);
    ck_assert_int_eq(old->zeroed, 1);
    ck_assert(all_are(old, 0));
    ck_assert_uint_eq(old->dirty, 0);
}
END_TEST

START_TEST(release_keeps_what_it_is_told)
{
    struct tide_page *page[8];
    for (int i = 0; i < 8; i++)
        page[i] = take_filled(i < 4 ? TIDE_KIND_TINY : TIDE_KIND_MIDAL, 1);
    for (int i = 0; i < 8; i++)
        tide_segment_give(page[i]);
    ck_assert_uint_eq(tide_segment_release(8 * SMALL), 0);
    ck_assert_uint_eq(tide_segment_release(SIZE_MAX), 0);
    ck_assert_uint_eq(tide_segment_release(5 * SMALL + 1), 3 * SMALL);
    ck_assert_uint_eq(TIDE_STAT_GET(retained), 5 * SMALL);
    for (int i = 0; i < 8; i++)
        ck_assert_int_eq(is_resident(page[i]), i >= 3);
    ck_assert_uint_eq(tide_segment_release(0), 5 * SMALL);
    ck_assert_uint_eq(TIDE_STAT_GET(retained), 0);
    ck_assert_uint_eq(tide_segment_release(0), 0);
    ck_assert_uint_eq(TIDE_STAT_GET(decommits), 8);
    ck_assert_uint_eq(TIDE_STAT_GET(decommit_bytes), 8 * SMALL);
}
END_TEST

/* Locked memory cannot be given back: it is not zero, and must not be called so. */
START_TEST(locked_segments_are_kept_but_not_called_zero)
{
    struct tide_page *page = take_filled(TIDE_KIND_MID, 1);
    if (syscall(SYS_mlock, memory(page), (size_t)SMALL) != 0)
        return; /* not allowed to this user */
    tide_segment_give(page);
    ck_assert_uint_eq(tide_segment_release(0), 0);
    ck_assert_uint_eq(TIDE_STAT_GET(retained), 0);
    ck_assert_uint_eq(TIDE_STAT_GET(decommits), 0);
    ck_assert_ptr_eq(take(TIDE_KIND_MID), page);
    ck_assert_int_eq(page->zeroed, 0);
    ck_assert(all_are(page, 1));
    ck_assert_uint_eq(page->dirty, SMALL); /* it is resident, whatever its next user does */
    tide_segment_give(page);
    ck_assert_uint_eq(TIDE_STAT_GET(retained), SMALL);
}
END_TEST

START_TEST(decommit_of_a_range_is_counted)
{
    const size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
    struct tide_page *page = take_filled(TIDE_KIND_LARGE, 1);
    uintptr_t base = tide_page_base(page);
    errno = 4321;
    ck_assert_int_eq(tide_segment_decommit(base + page_size, 2 * page_size), 0);
    ck_assert_uint_eq(unit_resident(memory(page), 4 * page_size), 2);
    ck_assert_uint_eq(TIDE_STAT_GET(decommits), 1);
    ck_assert_uint_eq(TIDE_STAT_GET(decommit_bytes), 2 * page_size);
    ck_assert_int_eq(tide_segment_decommit(base + 1, page_size), -EINVAL);
    ck_assert_uint_eq(TIDE_STAT_GET(decommits), 1);
    ck_assert_uint_eq(TIDE_STAT_GET(decommit_bytes), 2 * page_size);
    ck_assert_int_eq(errno, 4321);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {a_fresh_segment_is_blank_aligned_and_zero,
                                  behind_the_frontier_nothing_can_be_touched,
                                  a_window_is_followed_by_a_page_nobody_may_touch,
                                  the_arena_has_one_table_for_tiny_and_mid,
                                  long_bitmaps_do_not_overlap,
                                  the_source_places_the_windows_of_mid,
                                  what_the_source_cannot_place_is_counted_and_used,
                                  behind_the_cap_mid_is_near,
                                  behind_the_cap_nothing_with_full_fail,
                                  a_near_source_has_no_cap,
                                  with_full_fail_pages_are_where_they_should_be,
                                  with_full_fail_pages_elsewhere_are_refused,
                                  mode_follows_shadow_and_delay,
                                  the_shadow_has_a_word_for_each_kib,
                                  the_last_one_given_is_taken_first,
                                  one_that_had_blocks_of_the_size_is_taken_first,
                                  kinds_do_not_share_segments,
                                  use_and_retention_are_counted,
                                  the_limit_is_the_option_or_a_twentieth_of_the_peak,
                                  the_limit_grows_with_regret,
                                  above_the_budget_the_oldest_go_first,
                                  the_budget_is_shared_with_pages,
                                  without_a_budget_nothing_stays,
                                  decommitted_ones_are_zero_and_come_after_dirty_ones,
                                  release_keeps_what_it_is_told,
                                  locked_segments_are_kept_but_not_called_zero,
                                  decommit_of_a_range_is_counted,
                                  NULL};
    return unit_main("segment", tests);
}
