/* test_park.c - sleeping until a word changes. */
#define _GNU_SOURCE
#include "unit_base.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "box/clock.h"
#include "box/park.h"

static _Atomic uint32_t word;
static _Atomic int woken;

START_TEST(a_changed_word_does_not_put_to_sleep)
{
    atomic_store(&word, 3);
    for (int shared = 0; shared < 2; shared++)
        tide_park_sleep(&word, 2, UINT64_C(3600000000000), shared);
}
END_TEST

START_TEST(sleep_ends_with_its_time)
{
    atomic_store(&word, 1);
    uint64_t start = tide_clock_now();
    for (int shared = 0; shared < 2; shared++)
        tide_park_sleep(&word, 1, 5000000, shared);
    ck_assert_uint_ge(tide_clock_now() - start, 9000000);
}
END_TEST

static void *sleeper(void *shared)
{
    while (atomic_load(&word) == 0)
        tide_park_sleep(&word, 0, UINT64_C(3600000000000), shared != NULL);
    atomic_fetch_add(&woken, 1);
    return NULL;
}

START_TEST(all_sleepers_are_woken)
{
    pthread_t thread[4];
    atomic_store(&word, 0);
    atomic_store(&woken, 0);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, sleeper, _i ? &word : NULL), 0);
    nanosleep(&(struct timespec){0, 20000000}, NULL);
    ck_assert_int_eq(atomic_load(&woken), 0);
    atomic_store(&word, 1);
    tide_park_wake(&word, _i);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    ck_assert_int_eq(atomic_load(&woken), 4);
}
END_TEST

START_TEST(the_barrier_is_there_once_the_process_is_ready)
{
    tide_park_ready();
    bool first = tide_park_barrier();
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(tide_park_barrier(), first);
    tide_park_yield();
}
END_TEST

START_TEST(pinned_threads_stay_where_they_are)
{
    cpu_set_t set;
    ck_assert_int_eq(sched_getaffinity(0, sizeof set, &set), 0);
    int cpu = 0;
    while (!CPU_ISSET(cpu, &set))
        cpu++;
    ck_assert_int_eq(tide_park_pin(cpu), 0);
    ck_assert_int_eq(sched_getaffinity(0, sizeof set, &set), 0);
    ck_assert_int_eq(CPU_COUNT(&set), 1);
    ck_assert(CPU_ISSET(cpu, &set));
    ck_assert_int_eq(tide_park_pin(-1), -EINVAL);
    ck_assert_int_eq(tide_park_pin(1 << 20), -EINVAL);
    ck_assert_int_eq(tide_park_pin(1023), -EINVAL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("park");
    TCase *tcase = tcase_create("park");
    tcase_add_test(tcase, a_changed_word_does_not_put_to_sleep);
    tcase_add_test(tcase, sleep_ends_with_its_time);
    tcase_add_loop_test(tcase, all_sleepers_are_woken, 0, 2);
    tcase_add_test(tcase, the_barrier_is_there_once_the_process_is_ready);
    tcase_add_test(tcase, pinned_threads_stay_where_they_are);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
