/* park.c - see park.h */
#include "box/park.h"

#include <linux/futex.h>
#include <linux/membarrier.h>
#include <time.h>

#include "box/sys.h"

#ifdef TIDE_DEBUG
bool (*tide_park_hook)(uint64_t ns);
#endif

void tide_park_sleep(_Atomic uint32_t *word, uint32_t seen, uint64_t ns, bool shared)
{
#ifdef TIDE_DEBUG
    if (tide_park_hook != NULL && tide_park_hook(ns))
        return;
#endif
    struct timespec time = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    tide_sys4(SYS_futex, (long)word, shared ? FUTEX_WAIT : FUTEX_WAIT_PRIVATE, (long)seen,
              (long)&time);
}

void tide_park_wake(_Atomic uint32_t *word, bool shared)
{
    tide_sys4(SYS_futex, (long)word, shared ? FUTEX_WAKE : FUTEX_WAKE_PRIVATE, INT_MAX, 0);
}

bool tide_park_barrier(void)
{
    return tide_sys3(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) == 0;
}

bool tide_park_ready(void)
{
    return tide_sys3(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0;
}

int tide_park_pin(int cpu)
{
    unsigned long set[16] = {0};
    enum { BITS = 8 * sizeof set[0] };
    if (cpu < 0 || (size_t)cpu >= sizeof set * 8)
        return -EINVAL;
    set[cpu / BITS] = 1UL << cpu % BITS;
    long ret = tide_sys3(SYS_sched_setaffinity, 0, sizeof set, (long)set);
    return ret < 0 ? (int)ret : 0;
}

void tide_park_yield(void)
{
    tide_sys3(SYS_sched_yield, 0, 0, 0);
}
