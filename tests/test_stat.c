/* test_stat.c - counters: sums are exact whoever adds, the peak is never missed. */
#include "box/stat.h"

#include <pthread.h>

#include "unit_base.h"

enum { THREADS = 4, ROUNDS = 20000, BYTES = 24 };

START_TEST(all_counters_begin_at_zero)
{
    static const struct tide_stat zero;
    ck_assert_mem_eq(&tide_stat, &zero, sizeof zero);
}
END_TEST

START_TEST(each_counter_counts_for_itself)
{
    uint64_t expect = 0;
#define X(name)                                                                                    \
    TIDE_STAT_ADD(name, ++expect);                                                                 \
    TIDE_STAT_ADD(name, 10);
    TIDE_STATS(X)
#undef X
    expect = 0;
#define X(name) ck_assert_uint_eq(TIDE_STAT_GET(name), ++expect + 10);
    TIDE_STATS(X)
#undef X
    ck_assert_uint_eq(tide_align_up(expect * sizeof(uint64_t), 2 * TIDE_LINE), sizeof tide_stat);
    TIDE_STAT_SUB(retained, 5);
    ck_assert_uint_eq(TIDE_STAT_GET(retained), 8);
}
END_TEST

START_TEST(peak_follows_use_up_and_stays)
{
    tide_stat_use(1000);
    ck_assert_uint_eq(TIDE_STAT_GET(used), 1000);
    ck_assert_uint_eq(TIDE_STAT_GET(peak), 1000);
    TIDE_STAT_SUB(used, 600);
    ck_assert_uint_eq(TIDE_STAT_GET(peak), 1000);
    tide_stat_use(500);
    ck_assert_uint_eq(TIDE_STAT_GET(used), 900);
    ck_assert_uint_eq(TIDE_STAT_GET(peak), 1000);
    tide_stat_use(101);
    ck_assert_uint_eq(TIDE_STAT_GET(peak), 1001);
    tide_stat_use(0);
    ck_assert_uint_eq(TIDE_STAT_GET(peak), 1001);
}
END_TEST

static void *use_and_drop(void *unused)
{
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        tide_stat_use(BYTES);
        TIDE_STAT_SUB(used, BYTES);
        TIDE_STAT_ADD(decommits, 1);
    }
    tide_stat_use(BYTES);
    return NULL;
}

START_TEST(threads_lose_nothing)
{
    pthread_t thread[THREADS];
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, use_and_drop, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    ck_assert_uint_eq(TIDE_STAT_GET(used), THREADS * BYTES);
    ck_assert_uint_eq(TIDE_STAT_GET(decommits), THREADS * ROUNDS);
    ck_assert_uint_eq(TIDE_STAT_GET(peak), THREADS * BYTES);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {all_counters_begin_at_zero, each_counter_counts_for_itself,
                                  peak_follows_use_up_and_stays, threads_lose_nothing, NULL};
    return unit_main("stat", tests);
}
