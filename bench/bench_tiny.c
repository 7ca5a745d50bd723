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

static const struct bench_about about = {
    .name = "bench_tiny",
    .text = "Replaces random blocks of Tiny sizes in a table of slots and tells operations per\n"
            "second.",
    .cases = cases,
    .threads = "1",
    .slots = "256",
    SLOTS_FLAGS,
};

int main(int argc, char **argv)
{
    return bench_main(argc, argv, &about);
}
