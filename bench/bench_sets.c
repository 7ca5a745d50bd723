/*
 * bench_sets - working sets of growing size, about what the caches L1, L2 and L3 and then
 * only DRAM can hold of the blocks' first lines. The load is the one of bench_slots.h.
 */
#define _GNU_SOURCE
#include "bench_slots.h"

static const struct bench_case cases[] = {
    {"mid", "2K-32K", 1000000, "mid=100,tolerance=0", "every size of Mid, uniformly"},
    {0},
};

SLOTS_BENCH("bench_sets", "256,2k,10k,100k",
            "Replaces random blocks in tables of several sizes and tells operations per second\n"
            "and the peak RSS of each.",
            slots_measure)
