/* test_lock.c - one thread at a time, sleepers that wake, and the rule for fork. */
#define _GNU_SOURCE
#include "box/lock.h"

#include <pthread.h>
#include <time.h>

#include "unit_base.h"

enum { THREADS = 4, ROUNDS = 50000 };

static struct tide_lock lock;
static uint64_t count[2]; /* under the lock */
static _Atomic bool flag;

static uint32_t word(void)
{
    return atomic_load(&lock.word);
}

START_TEST(word_tells_free_from_held)
{
    ck_assert_uint_eq(word(), 0);
    tide_lock_take(&lock);
    ck_assert_uint_eq(word(), 1);
    tide_lock_drop(&lock);
    ck_assert_uint_eq(word(), 0);
}
END_TEST

START_TEST(try_takes_only_a_free_lock)
{
    ck_assert(tide_lock_try(&lock));
    ck_assert(!tide_lock_try(&lock));
    ck_assert_uint_eq(word(), 1);
    tide_lock_drop(&lock);
    ck_assert(tide_lock_try(&lock));
    tide_lock_drop(&lock);
}
END_TEST

static void *count_up(void *by_try)
{
    for (int i = 0; i < ROUNDS; i++) {
        if (by_try == NULL || !tide_lock_try(&lock))
            tide_lock_take(&lock);
        count[0]++;
        count[1] += count[0];
        tide_lock_drop(&lock);
    }
    return NULL;
}

START_TEST(four_threads_exclude_each_other)
{
    pthread_t thread[THREADS];
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, count_up, i % 2 ? &lock : NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    uint64_t all = THREADS * ROUNDS;
    ck_assert_uint_eq(count[0], all);
    ck_assert_uint_eq(count[1], all * (all + 1) / 2);
    ck_assert_uint_eq(word(), 0);
}
END_TEST

static void *take_and_tell(void *unused)
{
    (void)unused;
    tide_lock_take(&lock);
    atomic_store(&flag, true);
    tide_lock_drop(&lock);
    return NULL;
}

static void wait_for_sleeper(void)
{
    for (int i = 0; word() != 2 && i < 10000; i++)
        usleep(1000);
    ck_assert_uint_eq(word(), 2);
}

START_TEST(who_waits_long_sleeps_and_is_woken)
{
    pthread_t thread;
    clockid_t id;
    struct timespec before, after;
    tide_lock_take(&lock);
    ck_assert_int_eq(pthread_create(&thread, NULL, take_and_tell, NULL), 0);
    wait_for_sleeper();
    ck_assert_int_eq(pthread_getcpuclockid(thread, &id), 0);
    clock_gettime(id, &before); /* of the sleep alone: how it got there is slow on some machines */
    usleep(200000);
    clock_gettime(id, &after);
    ck_assert_msg((after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec <
                      50000000,
                  "it spins");
    ck_assert(!atomic_load(&flag));
    tide_lock_drop(&lock);
    pthread_join(thread, NULL);
    ck_assert(atomic_load(&flag));
    ck_assert_uint_eq(word(), 0);
}
END_TEST

START_TEST(several_sleepers_all_get_their_turn)
{
    pthread_t thread[THREADS];
    tide_lock_take(&lock);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, take_and_tell, NULL), 0);
    wait_for_sleeper();
    usleep(20000);
    tide_lock_drop(&lock);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    ck_assert_uint_eq(word(), 0);
}
END_TEST

static void *may_not_enter(void *unused)
{
    (void)unused;
    atomic_store(&flag, tide_lock_is_forker() || tide_lock_try(&lock));
    return NULL;
}

START_TEST(forker_passes_where_others_wait)
{
    pthread_t thread;
    ck_assert(!tide_lock_is_forker());
    tide_lock_fork(&lock, TIDE_FORK_PREPARE);
    atomic_store(&tide_lock_forker.thread, (const void *)&errno);
    ck_assert(tide_lock_is_forker());
    for (int i = 0; i < 3; i++) { /* what it holds, it may take and drop again */
        tide_lock_take(&lock);
        tide_lock_drop(&lock);
        ck_assert_uint_ne(word(), 0);
    }
    ck_assert(!tide_lock_try(&lock));
    ck_assert_int_eq(pthread_create(&thread, NULL, may_not_enter, NULL), 0);
    pthread_join(thread, NULL);
    ck_assert(!atomic_load(&flag));
    atomic_store(&tide_lock_forker.thread, NULL);
    tide_lock_fork(&lock, TIDE_FORK_RELEASE);
    ck_assert_uint_eq(word(), 0);
}
END_TEST

static void *enter_own(void *unused)
{
    (void)unused;
    tide_lock_take_own(&lock);
    atomic_store(&flag, true);
    tide_lock_drop_own(&lock);
    return NULL;
}

/* A lock that fork does not take: the forker is let in like anybody, and leaves it free. */
START_TEST(forker_waits_for_locks_that_fork_leaves)
{
    pthread_t thread;
    atomic_store(&flag, false);
    atomic_store(&tide_lock_forker.thread, (const void *)&errno);
    tide_lock_take_own(&lock);
    ck_assert_uint_ne(word(), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, enter_own, NULL), 0);
    usleep(20000);
    ck_assert(!atomic_load(&flag));
    tide_lock_drop_own(&lock);
    tide_lock_take_own(&lock); /* behind the other one, or before it */
    tide_lock_drop_own(&lock);
    pthread_join(thread, NULL);
    ck_assert(atomic_load(&flag));
    ck_assert_uint_eq(word(), 0);
    atomic_store(&tide_lock_forker.thread, NULL);
}
END_TEST

static _Atomic bool stop;

static void *churn(void *unused)
{
    (void)unused;
    while (!atomic_load(&stop)) {
        tide_lock_take(&lock);
        count[0]++;
        count[1]++;
        tide_lock_drop(&lock);
    }
    return NULL;
}

static void child_of_fork(void)
{
    tide_lock_fork(&lock, TIDE_FORK_RELEASE);
    UNIT_NEED(count[0] == count[1]); /* nobody was half way through */
    tide_lock_take(&lock);
    tide_lock_drop(&lock);
    _exit(word() == 0 ? 0 : 1);
}

START_TEST(child_finds_a_lock_that_works)
{
    pthread_t thread[2];
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, churn, NULL), 0);
    for (int i = 0; i < 20; i++) {
        int status = -1;
        tide_lock_fork(&lock, TIDE_FORK_PREPARE);
        pid_t pid = fork();
        if (pid == 0)
            child_of_fork();
        tide_lock_fork(&lock, TIDE_FORK_RELEASE);
        waitpid(pid, &status, 0);
        ck_assert_int_eq(status, 0);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    ck_assert_uint_eq(count[0], count[1]);
}
END_TEST

START_TEST(errno_is_kept)
{
    errno = 4321;
    tide_lock_take(&lock);
    tide_lock_wake_slow(&lock);
    tide_lock_drop(&lock);
    ck_assert_int_eq(errno, 4321);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {word_tells_free_from_held,
                                  try_takes_only_a_free_lock,
                                  four_threads_exclude_each_other,
                                  who_waits_long_sleeps_and_is_woken,
                                  several_sleepers_all_get_their_turn,
                                  forker_passes_where_others_wait,
                                  forker_waits_for_locks_that_fork_leaves,
                                  child_finds_a_lock_that_works,
                                  errno_is_kept,
                                  NULL};
    return unit_main("lock", tests);
}
