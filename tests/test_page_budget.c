/*
 * test_page_budget.c - how much of what is free in pages may stay resident, when several owners
 * have some, and the sums over all owners.
 */
#include "pool_case.h"

#include "box/page_budget.h"
#include "box/stat.h"

enum { MANY = 4096 };

static struct tide_pages *pages;
static void *block[MANY];

static void setup(void)
{
    tide_segment_set_retain((size_t)1 << 30);
    pages = new_owner();
}

static size_t segment_bytes(const struct tide_page *page)
{
    return (size_t)1 << tide_page_window(page)->shift;
}

/* Takes all blocks of one page and fills them. */
static unsigned fill_page(enum tide_kind kind, unsigned cls, void **out)
{
    unsigned got = 0, blocks = 1;
    for (; got < blocks; blocks = page_of(out[0])->blocks) {
        unsigned more = take_blocks(pages, kind, cls, out + got, blocks - got, NULL);
        ck_assert_uint_gt(more, 0);
        for (; more > 0; more--, got++)
            memset(out[got], (int)(got % 251), tide_page_usable(page_of(out[got])));
    }
    return got;
}

static void statistics_must_be_near(uint64_t far)
{
    ck_assert_uint_le(TIDE_STAT_GET(slack) + far - pages->slack, 2 * far);
    ck_assert_uint_le(TIDE_STAT_GET(touched) + 2 * far - pages->live - pages->slack, 4 * far);
    ck_assert_uint_ge(TIDE_STAT_GET(most), TIDE_STAT_GET(touched));
}

START_TEST(the_statistics_know_what_owners_have)
{
    unsigned got = fill_page(TIDE_KIND_MID, 30, block);
    statistics_must_be_near(256 << 10);
    give_blocks(pages, block, got / 2);
    ck_assert_uint_gt(pages->slack + pages->live, 256 << 10);
    statistics_must_be_near(256 << 10);
    tide_page_tell(pages, true);
    statistics_must_be_near(0);
    give_blocks(pages, block + got / 2, got - got / 2);
    statistics_must_be_near(256 << 10);
    take_blocks(pages, TIDE_KIND_TINY, 3, block, 1, NULL);
    tide_lock_take(&pages->lock);
    tide_page_destroy(pages);
    tide_lock_drop(&pages->lock);
    statistics_must_be_near(0);
    ck_assert_uint_eq(TIDE_STAT_GET(touched), 0);
}
END_TEST

/* So does a third of what is in use, all else staying: every block of every third page but one. */
START_TEST(a_part_above_the_budget_goes_back_too)
{
    enum { PAGES = 30 };
    static void *all[PAGES * 2048];
    static const enum tide_kind kinds[] = {TIDE_KIND_TINY, TIDE_KIND_MID, TIDE_KIND_LARGE};
    enum tide_kind kind = kinds[_i];
    unsigned cls = kind == TIDE_KIND_LARGE ? 2 : 30, got = 0;
    tide_segment_set_retain(0);
    for (int i = 0; i < PAGES; i++)
        got += fill_page(kind, cls, all + got);
    for (unsigned i = 0; i < got; i++)
        memset(all[i], 1, tide_page_usable(page_of(all[i])));
    unsigned each = got / PAGES;
    for (unsigned i = 0; i < got; i++)
        if (i / each % 3 == 0 && i % each != 0)
            give_blocks(pages, all + i, 1);
    MUST_BE_VALID(pages);
    ck_assert_uint_gt(pages->live, pages->crest / 2);
    ck_assert_uint_le(pages->slack, tide_segment_retain_limit() + segment_bytes(page_of(all[0])));
}
END_TEST

/* Where other owners use the budget up, what is free here goes back but for a share of it;
 * else the budget may stay. One block of each page is in use. */
START_TEST(the_budget_is_shared_with_other_owners)
{
    enum { PAGES = 64, LIMIT = 8 << 20 };
    static void *all[PAGES * 256];
    unsigned got = 0, less = 0;
    uint64_t seed = 11;
    tide_segment_set_retain(LIMIT);
    tide_stat_touch(8 * LIMIT);
    for (int i = 0; i < PAGES; i++)
        got += fill_page(TIDE_KIND_MID, tide_sizeclass_mid(4000), all + got);
    for (unsigned i = 0; i < got; i++)
        if (tide_page_index(page_of(all[i]), (uintptr_t)all[i]) != 11)
            all[less++] = all[i];
    shuffle(all, less, &seed);
    if (_i)
        TIDE_STAT_ADD(slack, 20 * LIMIT);
    for (unsigned i = 0; i < less; i += 8)
        give_blocks(pages, all + i, tide_min(8, less - i));
    MUST_BE_VALID(pages);
    ck_assert_uint_eq(tide_segment_retain_limit(), LIMIT);
    if (_i)
        ck_assert_uint_lt(pages->slack, LIMIT / 8);
    else
        ck_assert_uint_gt(pages->slack, LIMIT / 2);
    ck_assert_uint_le(pages->slack, LIMIT);
}
END_TEST

/* Pages that cannot be given back, for their free blocks share system pages with live ones, are
 * not tried again for every block that is freed. */
START_TEST(what_cannot_be_given_back_is_not_tried_each_time)
{
    enum { PAGES = 20, LARGE = 600 };
    static void *all[PAGES * 512], *large[LARGE];
    unsigned got = 0, count = 0;
    tide_segment_set_retain(0);
    while (count < LARGE)
        count += take_blocks(pages, TIDE_KIND_LARGE, 2, large + count, LARGE - count, NULL);
    for (int i = 0; i < PAGES; i++)
        got += fill_page(TIDE_KIND_MID, 0, all + got);
    for (unsigned i = 0; i < count; i++)
        memset(large[i], 1, 4096);
    for (unsigned i = 0; i < got; i++)
        if (i % 8)
            give_blocks(pages, all + i, 1);
    uint64_t before = TIDE_STAT_GET(decommits);
    for (unsigned i = 0; i < count; i++)
        give_blocks(pages, large + i, 1);
    ck_assert_uint_le(TIDE_STAT_GET(decommits) - before, 4 * count);
    MUST_BE_VALID(pages);
}
END_TEST

int main(void)
{
    TCase *group = tcase_create("page_budget");
    tcase_add_checked_fixture(group, setup, NULL);
    tcase_add_test(group, the_statistics_know_what_owners_have);
    tcase_add_loop_test(group, a_part_above_the_budget_goes_back_too, 0, 3);
    tcase_add_loop_test(group, the_budget_is_shared_with_other_owners, 0, 2);
    tcase_add_test(group, what_cannot_be_given_back_is_not_tried_each_time);
    return run_group("page_budget", group);
}
