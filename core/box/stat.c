/* stat.c - see stat.h */
#include "box/stat.h"

struct tide_stat tide_stat;

static void stat_raise(_Atomic uint64_t *most, uint64_t value)
{
    uint64_t seen = atomic_load_explicit(most, memory_order_relaxed);
    while ((int64_t)(value - seen) > 0 &&
           !atomic_compare_exchange_weak_explicit(most, &seen, value, memory_order_relaxed,
                                                  memory_order_relaxed)) {
    }
}

void tide_stat_use(size_t bytes)
{
    stat_raise(&tide_stat.peak, TIDE_STAT_ADD(used, bytes) + bytes);
}

void tide_stat_touch(uint64_t bytes)
{
    stat_raise(&tide_stat.most, TIDE_STAT_ADD(touched, bytes) + bytes);
}
