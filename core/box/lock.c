/* lock.c - see lock.h */
#include "box/lock.h"

#include <linux/futex.h>

#include "box/cpu.h"
#include "box/sys.h"

struct tide_lock_forker tide_lock_forker TIDE_START_DATA;

TIDE_COLD void tide_lock_wait_slow(struct tide_lock *lock)
{
    if (!tide_lock_is_forker())
        tide_lock_sleep_slow(lock);
}

TIDE_COLD void tide_lock_sleep_slow(struct tide_lock *lock)
{
    enum { SPINS = 100 };
    for (int i = 0; i < SPINS; i++) {
        tide_cpu_pause();
        if (tide_lock_try(lock))
            return;
    }
    while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire) != 0)
        tide_sys4(SYS_futex, (long)&lock->word, FUTEX_WAIT_PRIVATE, 2, 0);
}

TIDE_COLD void tide_lock_wake_slow(struct tide_lock *lock)
{
    tide_sys4(SYS_futex, (long)&lock->word, FUTEX_WAKE_PRIVATE, 1, 0);
}
