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

static const struct bench_about about = {
    .name = "bench_mid",
    .text = "Replaces random blocks of Mid sizes in a table of slots and tells operations per\n"
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
