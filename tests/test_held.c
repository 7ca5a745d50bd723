/* test_held.c - which segments the blocks of a region's log are in. */
#include "logref_case.h"

#include "box/held.h"

static unsigned seen[REGION_SEGMENTS], all;

static void see(void *context, uint64_t segment)
{
    ck_assert_ptr_eq(context, seen);
    seen[segment]++;
    all++;
}

static int look(void)
{
    memset(seen, 0, sizeof seen);
    all = 0;
    return tide_held_each(region, see, seen);
}

static size_t segment_of(const void *block)
{
    return (size_t)((const char *)block - (char *)tide_region_base(region)) / TIDE_REGION_SEGMENT;
}

START_TEST(blocks_from_append_to_trim)
{
    static const unsigned levels[] = {0, 4, 5};
    logref_start("anon", REGION_SIZE, logref_options(levels[_i]));
    void *small = logref_block(heap, 3000, 1), *more = logref_block(heap, 3000, 1);
    void *large = logref_block(heap, 700000, 2);
    ck_assert_int_eq(look(), 0);
    ck_assert_uint_eq(all, 0);
    ck_assert_int_eq(logref_append(small, 3000, 0), 0);
    ck_assert_int_eq(logref_append(large, 700000, 1), 0);
    ck_assert_int_eq(tide_log_append(client, 0, "x", 1, TIDE_LOG_TRY, NULL), 0);
    ck_assert_int_eq(logref_append(more, 3000, 1), 0);
    ck_assert_int_eq(look(), 0);
    ck_assert_uint_eq(all, 3);
    ck_assert_uint_eq(seen[segment_of(small)], 2);
    ck_assert_uint_eq(seen[segment_of(large)], 1);
    ck_assert_int_eq(tide_log_trim(log_, 0, 2, NULL), 0);
    ck_assert_int_eq(look(), 0);
    ck_assert_uint_eq(all, levels[_i] == 0 ? 2 : 1);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    ck_assert_int_eq(tide_log_close(log_), 0);
    ck_assert_int_eq(look(), 0);
    ck_assert_uint_eq(all, levels[_i] == 0 ? 2 : 1);
    ck_assert_int_eq(tide_log_open(&log_, region), 0);
    ck_assert_int_eq(tide_log_client_open(&client, log_, NULL), 0);
    logref_finish();
}
END_TEST

START_TEST(a_region_without_a_log_and_one_with_a_damaged_one)
{
    logref_start("anon", REGION_SIZE, logref_options(5));
    ck_assert_int_eq(logref_append(logref_block(heap, 3000, 1), 3000, 0), 0);
    log_->map.head->level = 3;
    ck_assert_int_eq(look(), -EPROTO);
    ck_assert_int_eq(tide_region_reclaim(region), -EPROTO);
    log_->map.head->level = 5;
    ck_assert_int_eq(look(), 0);
    ck_assert_uint_eq(all, 1);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    ck_assert_int_eq(tide_log_close(log_), 0);
    ck_assert_int_eq(tide_log_remove(region), 0);
    ck_assert_int_eq(look(), 0);
    ck_assert_uint_eq(all, 0);
    memset(tide_region_area(region, TIDE_REGION_AREA_LOG), 0x55, TIDE_REGION_AREA);
    ck_assert_int_eq(look(), 0); /* no log of this library */
    ck_assert_uint_eq(all, 0);
    tide_heap_destroy(heap);
    ck_assert_int_eq(tide_region_close(region), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("held");
    TCase *tcase = tcase_create("held");
    tcase_add_loop_test(tcase, blocks_from_append_to_trim, 0, 3);
    tcase_add_test(tcase, a_region_without_a_log_and_one_with_a_damaged_one);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
