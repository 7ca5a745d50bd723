/* segment_retain.c - see segment.h: how much memory that is free may stay resident, and how
 * it goes. */
#include "box/segment.h"

#include "box/stat.h"
#include "box/vmem.h"

_Atomic size_t tide_segment_aside;
static _Atomic size_t segment_retain TIDE_START_DATA = 4 << 20;

void tide_segment_set_retain(size_t bytes)
{
    atomic_store_explicit(&segment_retain, bytes, memory_order_relaxed);
}

/* Where memory that went back is needed again, time after time, the least budget was too small
 * for how much of it comes and goes: it grows, up to twice as large, or three times as large in
 * a process that never had more than eight times as much. */
size_t tide_segment_retain_limit(void)
{
    size_t least = atomic_load_explicit(&segment_retain, memory_order_relaxed);
    size_t most = TIDE_STAT_GET(most), more = most / 8 <= least ? 2 * least : least;
    return tide_max(least + tide_min(TIDE_STAT_GET(regret) / 8, more), most / 20) +
           atomic_load_explicit(&tide_segment_aside, memory_order_relaxed);
}

/* In a file's or a device's part of a window of Mid? */
static bool segment_is_shared(uintptr_t base)
{
    const struct tide_window *window = tide_pagemap_find(base + TIDE_LINE);
    return tide_segment_source()->shared && window != NULL &&
           (window->kind == TIDE_KIND_MID || window->kind == TIDE_KIND_MIDAL) &&
           base - window->base < TIDE_RELAXED_GET(&window->far);
}

int tide_segment_decommit(uintptr_t base, size_t size)
{
    /* What others may have is not given back: it would keep what it holds. */
    int ret = segment_is_shared(base) ? -EOPNOTSUPP : tide_vmem_decommit((void *)base, size);
    if (ret == 0) {
        TIDE_STAT_ADD(decommits, 1);
        TIDE_STAT_ADD(decommit_bytes, size);
    }
    return ret;
}
