/*
 * bench_calls - the load of bench_slots.h through other calls than malloc: zeroed blocks, and
 * aligned ones.
 *
 * A switch stands in front of each call, the same for every allocator. A block that is not
 * aligned, or not zero where the call says so, is a failure; only the first 8 bytes are looked at.
 */
#define _GNU_SOURCE
#include <stddef.h>

static void *calls_take(size_t size);
#define SLOTS_MALLOC(size) calls_take(size)
static const char slots_operation[] = "one call and, if the slot was full, one free";
#include "bench_slots.h"

/* 0: calloc; else aligned_alloc with this alignment. Set before any thread starts. */
static size_t alignment;

static void *calls_take(size_t size)
{
    uint64_t first = 0;
    if (alignment == 0) {
        void *block = calloc(1, size);
        if (block != NULL)
            memcpy(&first, block, sizeof first);
        if (__builtin_expect(first != 0, 0))
            bench_die(BENCH_FAILED, "calloc returned a block that is not zero");
        return block;
    }
    void *block = aligned_alloc(alignment, size);
    if (__builtin_expect((uintptr_t)block % alignment != 0, 0))
        bench_die(BENCH_FAILED, "aligned_alloc returned a block that is not aligned to %zu",
                  alignment);
    return block;
}

static const struct bench_case cases[] = {
    {"calloc", "16-32K", 300000, NULL, "calloc: zeroed blocks, any size of Tiny and Mid"},
    {"align64", "64-32K", 300000, NULL, "aligned_alloc, to cache lines"},
    {"align4096", "4K-32K", 300000, NULL, "aligned_alloc, to pages"},
    {0},
};

static int calls_measure(const struct bench_plan *plan)
{
    static const size_t alignments[] = {0, 64, 4096};
    alignment = alignments[plan->which - cases];
    return slots_measure(plan);
}

SLOTS_BENCH("bench_calls", "256",
            "Replaces random blocks in a table of slots, through calloc or aligned_alloc, and\n"
            "tells operations per second.",
            calls_measure)
