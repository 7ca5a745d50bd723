/* test_pagemap.c - whose is this address: at the edges of windows and for wild
 * values. Nothing is read there, so windows are made up. */
#include "box/pagemap.h"

#include "unit_base.h"

enum {
    SMALL = 1 << TIDE_SHIFT_SMALL,
    LARGE = 1 << TIDE_SHIFT_LARGE,
    WORDS = SMALL / TIDE_ALIGN_MIN / 64 /* of the longest bitmap */
};

static struct tide_page page_table[64];
static _Atomic uint64_t bits_table[64 * WORDS];

static const uintptr_t area = (uintptr_t)1 << 40; /* where the made-up windows lie */

/* Window `index` of `segments` committed segments at `base`. */
static struct tide_window *make_window(unsigned index, enum tide_kind kind, uintptr_t base,
                                       size_t segments)
{
    struct tide_window *window = &tide_windows[index];
    size_t lead = kind == TIDE_KIND_MID ? 16 : 0;
    window->kind = (uint8_t)kind;
    window->shift = kind == TIDE_KIND_LARGE ? TIDE_SHIFT_LARGE : TIDE_SHIFT_SMALL;
    window->base = base;
    window->first = base + lead;
    window->reserved = (size_t)32 << window->shift;
    window->pages = page_table;
    window->bits = bits_table;
    window->words = WORDS;
    window->segments = segments;
    atomic_store(&window->span, (segments << window->shift) - lead);
    for (int i = 0; i < 64; i++)
        page_table[i].window = (uint8_t)index;
    return window;
}

static void only_in(const struct tide_window *window, uintptr_t from, uintptr_t to)
{
    ck_assert_ptr_null(tide_pagemap_find(from - 1));
    ck_assert_ptr_eq(tide_pagemap_find(from), window);
    ck_assert_ptr_eq(tide_pagemap_find(from + 1), window);
    ck_assert_ptr_eq(tide_pagemap_find(from + (to - from) / 2), window);
    ck_assert_ptr_eq(tide_pagemap_find(to - 1), window);
    ck_assert_ptr_null(tide_pagemap_find(to));
    ck_assert_ptr_null(tide_pagemap_find(to + 1));
}

static void wild_values_are_nobodys(void)
{
    int on_stack = 0;
    static int data;
    const uintptr_t wild[] = {
        0,
        1,
        8,
        15,
        16,
        0x1000,
        area - 16,
        UINTPTR_MAX,
        UINTPTR_MAX - 15,
        (uintptr_t)1 << 63,               /* not canonical */
        ((uintptr_t)1 << 63) + area,      /* a good one with a bit flipped */
        (uintptr_t)0xffff800000000000ULL, /* the kernel's */
        (uintptr_t)0x800000000000ULL,     /* right behind user space */
        (uintptr_t)&on_stack,
        (uintptr_t)&data,
        (uintptr_t)wild_values_are_nobodys,
    };
    for (size_t i = 0; i < sizeof wild / sizeof wild[0]; i++)
        ck_assert_msg(tide_pagemap_find(wild[i]) == NULL, "%#lx", (unsigned long)wild[i]);
}

START_TEST(without_windows_nothing_is_ours)
{
    ck_assert_uint_eq(atomic_load(&tide_window_count), TIDE_KINDS);
    wild_values_are_nobodys();
    ck_assert_ptr_null(tide_pagemap_find(area));
}
END_TEST

START_TEST(a_window_ends_at_its_edges)
{
    make_window(TIDE_KIND_TINY, TIDE_KIND_TINY, area, 3);
    only_in(&tide_windows[TIDE_KIND_TINY], area, area + 3 * SMALL);
    wild_values_are_nobodys();
}
END_TEST

START_TEST(mid_begins_behind_its_lead)
{
    make_window(TIDE_KIND_MID, TIDE_KIND_MID, area, 2);
    only_in(&tide_windows[TIDE_KIND_MID], area + 16, area + 2 * SMALL);
    for (uintptr_t p = area; p < area + 16; p++)
        ck_assert_ptr_null(tide_pagemap_find(p)); /* p - 8 would be in front of the window */
    wild_values_are_nobodys();
}
END_TEST

START_TEST(a_window_without_segments_holds_nothing)
{
    struct tide_window *window = make_window(TIDE_KIND_LARGE, TIDE_KIND_LARGE, area, 0);
    ck_assert_ptr_null(tide_pagemap_find(area));
    atomic_store(&window->span, LARGE);
    only_in(window, area, area + LARGE);
    atomic_store(&window->span, 5 * (size_t)LARGE);
    only_in(window, area, area + 5 * (size_t)LARGE);
}
END_TEST

START_TEST(windows_side_by_side_are_told_apart)
{
    make_window(TIDE_KIND_TINY, TIDE_KIND_TINY, area, 4);
    make_window(TIDE_KIND_MID, TIDE_KIND_MID, area + 4 * SMALL, 4);
    make_window(TIDE_KIND_MIDAL, TIDE_KIND_MIDAL, area + 8 * SMALL, 4);
    ck_assert_ptr_eq(tide_pagemap_find(area + 4 * SMALL - 1), &tide_windows[TIDE_KIND_TINY]);
    ck_assert_ptr_null(tide_pagemap_find(area + 4 * SMALL));
    ck_assert_ptr_eq(tide_pagemap_find(area + 4 * SMALL + 16), &tide_windows[TIDE_KIND_MID]);
    ck_assert_ptr_eq(tide_pagemap_find(area + 8 * SMALL - 1), &tide_windows[TIDE_KIND_MID]);
    ck_assert_ptr_eq(tide_pagemap_find(area + 8 * SMALL), &tide_windows[TIDE_KIND_MIDAL]);
    ck_assert_ptr_null(tide_pagemap_find(area + 12 * SMALL));
}
END_TEST

START_TEST(further_windows_count_once_they_are_published)
{
    const uintptr_t far = area << 2;
    make_window(TIDE_WINDOWS - 1, TIDE_KIND_MID, far, 1);
    make_window(TIDE_KINDS, TIDE_KIND_LARGE, area, 1);
    ck_assert_ptr_null(tide_pagemap_find(area));
    atomic_store(&tide_window_count, TIDE_KINDS + 1);
    only_in(&tide_windows[TIDE_KINDS], area, area + LARGE);
    ck_assert_ptr_null(tide_pagemap_find(far + 16));
    atomic_store(&tide_window_count, TIDE_WINDOWS);
    only_in(&tide_windows[TIDE_WINDOWS - 1], far + 16, far + SMALL);
    wild_values_are_nobodys();
}
END_TEST

START_TEST(holds_agrees_with_find)
{
    const struct tide_window *window = make_window(TIDE_KIND_MID, TIDE_KIND_MID, area, 2);
    for (uintptr_t p = area - 64; p < area + 2 * SMALL + 64; p += 4)
        UNIT_HOLD(tide_window_holds(window, p) == (tide_pagemap_find(p) == window), "%#lx",
                  (unsigned long)p);
    ck_assert(!tide_window_holds(window, 0));
    ck_assert(!tide_window_holds(window, UINTPTR_MAX));
}
END_TEST

static void check_descriptors(const struct tide_window *window, size_t segment)
{
    for (size_t i = 0; i < 8; i++) {
        uintptr_t from = window->base + i * segment;
        ck_assert_ptr_eq(tide_window_page(window, from), &page_table[i]);
        ck_assert_ptr_eq(tide_window_page(window, from + segment - 1), &page_table[i]);
        ck_assert_uint_eq(tide_page_base(&page_table[i]), from);
        ck_assert_ptr_eq(tide_page_window(&page_table[i]), window);
    }
}

START_TEST(a_descriptor_describes_its_segment)
{
    check_descriptors(make_window(TIDE_KIND_MID, TIDE_KIND_MID, area, 8), SMALL);
    check_descriptors(make_window(TIDE_KIND_LARGE, TIDE_KIND_LARGE, area, 8), LARGE);
    check_descriptors(make_window(TIDE_WINDOWS - 1, TIDE_KIND_TINY, 3 * area, 8), SMALL);
}
END_TEST

/* Long bitmaps lie apart, one after the other, each long enough for its page. */
START_TEST(bitmaps_have_room_for_their_blocks)
{
    const struct tide_window *window = make_window(TIDE_KIND_TINY, TIDE_KIND_TINY, area, 8);
    for (int i = 0; i < 8; i++) {
        struct tide_page *page = &page_table[i];
        page->blocks = TIDE_PAGE_BITS;
        ck_assert_ptr_eq(tide_page_bits(page), page->bits);
        ck_assert_uint_eq(sizeof page->bits * 8, TIDE_PAGE_BITS);
        page->blocks = TIDE_PAGE_BITS + 1;
        ck_assert_ptr_eq(tide_page_bits(page), &window->bits[i * WORDS]);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {without_windows_nothing_is_ours,
                                  a_window_ends_at_its_edges,
                                  mid_begins_behind_its_lead,
                                  a_window_without_segments_holds_nothing,
                                  windows_side_by_side_are_told_apart,
                                  further_windows_count_once_they_are_published,
                                  holds_agrees_with_find,
                                  a_descriptor_describes_its_segment,
                                  bitmaps_have_room_for_their_blocks,
                                  NULL};
    return unit_main("pagemap", tests);
}
