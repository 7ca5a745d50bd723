/* segment_retain.c - see segment.h: how much memory that is free may stay resident. */
#include "box/segment.h"

#include "box/stat.h"

static _Atomic size_t segment_retain = 4 << 20;

void tide_segment_set_retain(size_t bytes)
{
    atomic_store_explicit(&segment_retain, bytes, memory_order_relaxed);
}

/* Where memory that went back is needed again, time after time, the least budget was too small
 * for how much of it comes and goes: it grows, up to twice as large. */
size_t tide_segment_retain_limit(void)
{
    size_t least = atomic_load_explicit(&segment_retain, memory_order_relaxed);
    size_t more = tide_min(TIDE_STAT_GET(regret) / 8, least);
    return tide_max(least + more, TIDE_STAT_GET(most) / 20);
}
