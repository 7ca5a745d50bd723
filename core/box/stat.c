/* stat.c - see stat.h */
#include "box/stat.h"

struct tide_stat tide_stat;

void tide_stat_use(size_t bytes)
{
    uint64_t used = TIDE_STAT_ADD(used, bytes) + bytes;
    uint64_t peak = TIDE_STAT_GET(peak);
    while (used > peak &&
           !atomic_compare_exchange_weak_explicit(&tide_stat.peak, &peak, used,
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
}
