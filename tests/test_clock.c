/* test_clock.c - time goes forward, and spinning lasts as long as asked. */
#include "box/clock.h"

#include <time.h>

#include "unit_base.h"

static uint64_t libc_now(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

START_TEST(time_never_goes_back)
{
    uint64_t last = tide_clock_now(), first = last;
    for (int i = 0; i < 200000; i++) {
        uint64_t now = tide_clock_now();
        ck_assert(now >= last);
        last = now;
    }
    ck_assert(last > first);
}
END_TEST

START_TEST(now_is_the_monotonic_clock_in_nanoseconds)
{
    uint64_t before = libc_now(CLOCK_MONOTONIC), now = tide_clock_now();
    uint64_t after = libc_now(CLOCK_MONOTONIC);
    ck_assert(before <= now && now <= after);
}
END_TEST

START_TEST(spinning_takes_the_time_and_the_processor)
{
    uint64_t begin = libc_now(CLOCK_MONOTONIC), busy = libc_now(CLOCK_THREAD_CPUTIME_ID);
    tide_clock_spin(20000000);
    ck_assert_uint_ge(libc_now(CLOCK_MONOTONIC) - begin, 20000000);
    ck_assert_uint_gt(libc_now(CLOCK_THREAD_CPUTIME_ID) - busy, 100000);
}
END_TEST

START_TEST(spinning_for_nothing_returns_at_once)
{
    uint64_t busy = libc_now(CLOCK_THREAD_CPUTIME_ID);
    errno = 1234;
    tide_clock_spin(0);
    ck_assert_int_eq(errno, 1234);
    ck_assert_uint_lt(libc_now(CLOCK_THREAD_CPUTIME_ID) - busy, 100000000);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {time_never_goes_back, now_is_the_monotonic_clock_in_nanoseconds,
                                  spinning_takes_the_time_and_the_processor,
                                  spinning_for_nothing_returns_at_once, NULL};
    return unit_main("clock", tests);
}
