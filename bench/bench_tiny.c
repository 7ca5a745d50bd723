/*
 * bench_tiny - replace random blocks of Tiny and of nothing else. The load is the one of
 * bench_slots.h; under tidepool a block of another tier is a failure.
 */
#define _GNU_SOURCE
#include "bench_slots.h"

static const struct bench_case cases[] = {
    {"tiny", "8-2047", 1000000, "tiny=100,tolerance=0", "every size of Tiny, uniformly"},
    {0},
};

SLOTS_BENCH("bench_tiny", "256",
            "Replaces random blocks of Tiny sizes in a table of slots and tells operations per\n"
            "second.",
            slots_measure)
