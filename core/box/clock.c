/* clock.c - see clock.h */
#include "box/clock.h"

#include <time.h>

static uint64_t clock_read(clockid_t clock)
{
    struct timespec now = {0, 0};
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#ifdef TIDE_DEBUG
_Atomic uint64_t tide_clock_ahead;
#endif

uint64_t tide_clock_now(void)
{
    uint64_t now = clock_read(CLOCK_MONOTONIC);
#ifdef TIDE_DEBUG
    now += tide_clock_ahead;
#endif
    return now;
}

uint64_t tide_clock_date(void)
{
    return clock_read(CLOCK_REALTIME);
}

void tide_clock_spin(uint64_t ns)
{
    uint64_t end = tide_clock_now() + ns;
    while (tide_clock_now() < end) {
    }
}
