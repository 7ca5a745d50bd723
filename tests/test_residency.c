/* test_residency.c - where the pages of a tier are: all of them, or a sample. */
#include "box/residency.h"

#include "box/pagemap.h"
#include "box/segment.h"
#include "box/sizeclass.h"
#include "unit_base.h"

enum { SEGMENTS = 40, SMALL = 1 << TIDE_SHIFT_SMALL, PER = SMALL / 4096 };

static uintptr_t base_of[SEGMENTS];

/* Takes segments of Mid and touches the first `touched` pages of each. */
static void take_some(int touched)
{
    for (int i = 0; i < SEGMENTS; i++) {
        struct tide_page *page = tide_segment_take(TIDE_KIND_MID, 0);
        ck_assert_ptr_nonnull(page);
        atomic_store_explicit(&page->owner, 1, memory_order_relaxed);
        base_of[i] = tide_page_base(page);
        for (int k = 0; k < touched; k++)
            *(char *)(base_of[i] + (uintptr_t)k * 4096) = 1;
    }
}

/* False where the kernel does not answer at all. */
static bool read_mid(uint64_t most, struct tide_residency *out)
{
    int ret = tide_residency_read(TIDE_TIER_MID, most, out);
    ck_assert(ret == 0 || ret == -EPERM || ret == -ENOSYS);
    return ret == 0;
}

static uint64_t on_nodes(const struct tide_residency *found)
{
    uint64_t sum = 0;
    for (int i = 0; i < TIDE_RESIDENCY_NODES; i++)
        sum += found->node[i];
    return sum;
}

START_TEST(nothing_in_use_is_nothing)
{
    struct tide_residency found;
    memset(&found, 0x55, sizeof found);
    if (!read_mid(0, &found))
        return;
    ck_assert_uint_eq(found.pages, 0);
    ck_assert_uint_eq(found.asked, 0);
    ck_assert_uint_eq(on_nodes(&found), 0);
}
END_TEST

START_TEST(asked_about_all_it_is_exact)
{
    struct tide_residency found;
    take_some(PER / 4);
    if (!read_mid(0, &found))
        return;
    ck_assert_uint_eq(found.pages, SEGMENTS * PER);
    ck_assert_uint_eq(found.asked, SEGMENTS * PER);
    ck_assert_uint_eq(found.resident, SEGMENTS * PER / 4);
    ck_assert_uint_eq(on_nodes(&found), found.resident);
    ck_assert_uint_eq(found.mapped, 0);
    ck_assert_uint_eq(found.error_permille, 0);
    if (!read_mid(UINT64_MAX, &found))
        return;
    ck_assert_uint_eq(found.asked, SEGMENTS * PER);
}
END_TEST

/* Five times the stated error: once in 10^6 runs by chance. */
START_TEST(a_sample_is_as_good_as_it_says)
{
    struct tide_residency found;
    take_some(PER / 4);
    if (!read_mid(1024, &found))
        return;
    ck_assert_uint_eq(found.pages, SEGMENTS * PER);
    ck_assert_uint_eq(found.asked, 1024);
    ck_assert_uint_eq(found.error_permille, 32);
    int64_t permille = (int64_t)(found.resident * 1000 / found.asked);
    ck_assert_int_ge(permille, 250 - 80);
    ck_assert_int_le(permille, 250 + 80);
    for (uint64_t most = 1; most < 600; most += 13) {
        ck_assert(read_mid(most, &found));
        ck_assert_uint_eq(found.asked, most);
    }
}
END_TEST

START_TEST(segments_given_back_do_not_count)
{
    struct tide_residency found;
    take_some(PER);
    tide_segment_give(&tide_windows[TIDE_KIND_MID].pages[0]);
    if (!read_mid(0, &found))
        return;
    ck_assert_uint_eq(found.pages, (SEGMENTS - 1) * PER);
}
END_TEST

START_TEST(other_tiers_are_other_pages)
{
    struct tide_residency found;
    take_some(PER);
    int ret = tide_residency_read(TIDE_TIER_TINY, 0, &found);
    ck_assert(ret == 0 || ret == -EPERM || ret == -ENOSYS);
    ck_assert_uint_eq(found.pages, 0);
    ck_assert_int_eq(tide_residency_read(TIDE_TIER_NONE, 0, &found), -EINVAL);
    ck_assert_int_eq(tide_residency_read((enum tide_tier)9, 0, &found), -EINVAL);
}
END_TEST

/* Segments of Tiny's window with blocks of Large are of Large. */
START_TEST(large_beside_tiny_is_large)
{
    static const uint8_t classes[] = {0, TIDE_TINY_ALIGNED - 1, TIDE_TINY_ALIGNED,
                                      TIDE_TINY_ALL - 1};
    struct tide_residency found;
    for (int i = 0; i < 4; i++) {
        struct tide_page *page = tide_segment_take(TIDE_KIND_TINY, 0);
        page->cls = classes[i];
        atomic_store_explicit(&page->owner, 1, memory_order_relaxed);
    }
    for (int tier = TIDE_TIER_TINY; tier <= TIDE_TIER_LARGE; tier++) {
        int ret = tide_residency_read((enum tide_tier)tier, 0, &found);
        ck_assert(ret == 0 || ret == -EPERM || ret == -ENOSYS);
        ck_assert_uint_eq(found.pages, tier == TIDE_TIER_MID ? 0 : 2 * PER);
    }
}
END_TEST

/* All of a memfd has memory; the kernel tells about pages that were touched. */
START_TEST(shared_memory_is_counted_by_its_mapping)
{
    struct tide_source source;
    struct tide_residency found;
    ck_assert_int_eq(tide_source_open(&source, "memfd"), 0);
    tide_segment_start(&source, true);
    tide_segment_bound((SEGMENTS / 2 + 4) * SMALL, false);
    ck_assert_int_eq(tide_segment_share(), 0);
    take_some(PER / 4); /* more than half of it; the rest is near */
    if (!read_mid(0, &found))
        return;
    uint64_t shared = tide_windows[TIDE_KIND_MID].shared / SMALL;
    ck_assert_uint_ge(shared, SEGMENTS / 2);
    ck_assert_uint_lt(shared, SEGMENTS);
    ck_assert_uint_eq(found.asked, SEGMENTS * PER);
    ck_assert_uint_eq(found.resident, SEGMENTS * PER / 4);
    ck_assert_uint_eq(found.mapped, shared * (PER - PER / 4));
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {nothing_in_use_is_nothing,
                                  asked_about_all_it_is_exact,
                                  a_sample_is_as_good_as_it_says,
                                  segments_given_back_do_not_count,
                                  large_beside_tiny_is_large,
                                  other_tiers_are_other_pages,
                                  shared_memory_is_counted_by_its_mapping,
                                  NULL};
    return unit_main("residency", tests);
}
