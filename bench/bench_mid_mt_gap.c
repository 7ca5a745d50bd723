/*
 * bench_mid_mt_gap - replace random blocks of 1, 2, 4 and 8 KiB, the sizes on both sides of
 * the line between Tiny and Mid. The load is the one of bench_slots.h.
 *
 * Plain malloc and free, so the allocator is whatever libc or LD_PRELOAD gives.
 */
#define _GNU_SOURCE
#include "bench_slots.h"

static const struct bench_case cases[] = {
    {"gap", "1024,2048,4096,8192", 1000000, NULL,
     "a quarter each; with the usual tiny_max tiny=25,mid=75"},
    {0},
};

SLOTS_BENCH("bench_mid_mt_gap", "256",
            "Replaces random blocks in a table of slots and tells operations per second, for\n"
            "sizes on both sides of the line between Tiny and Mid.",
            slots_measure)
