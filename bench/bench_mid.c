/*
 * bench_mid - replace random blocks of Mid and of nothing else. The load is the one of
 * bench_slots.h; under tidepool a block of another tier is a failure.
 */
#define _GNU_SOURCE
#include "bench_slots.h"

static const struct bench_case cases[] = {
    {"upper", "8K-32K", 1000000, "mid=100,tolerance=0", "the upper half of Mid"},
    {"all", "2K-32K", 1000000, "mid=100,tolerance=0", "every size of Mid, uniformly"},
    {0},
};

SLOTS_BENCH("bench_mid", "256",
            "Replaces random blocks of Mid sizes in a table of slots and tells operations per\n"
            "second.",
            slots_measure)
