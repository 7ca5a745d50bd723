/* clock.c - see clock.h */
#include "box/clock.h"

#include <time.h>

uint64_t tide_clock_now(void)
{
    struct timespec now = {0, 0};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void tide_clock_spin(uint64_t ns)
{
    uint64_t end = tide_clock_now() + ns;
    while (tide_clock_now() < end) {
    }
}
