/*
 * micro_malloc.c - what single calls of the malloc family cost, by tier and class.
 *
 * Linked with libc only; another allocator comes by LD_PRELOAD, and all of them do the same
 * work. On tidepool the library confirms that each bench works on the tier in its name.
 *
 * `loop` is what the loop around the others costs; `clock` what one reading of the clock adds to
 * those with /manual_time, which read it once in 64 operations.
 */
#include <malloc.h>

#include "../bench_mix.h"
#include "micro.h"

enum { BATCH = 64, MIB = 1 << 20 };

/* The compiler must believe that somebody uses the block. */
static inline void use(void *block)
{
    __asm__ volatile("" : : "r"(block) : "memory");
}

/* On tidepool: the block is where the name of the bench says. */
static void confirm(struct micro *run, const struct micro_bench *bench, const void *block)
{
    if (block == NULL)
        micro_fail(run, "out of memory");
    else if (bench_on_tidepool() && (int)tide_tier_of(block) != bench->tag)
        micro_fail(run, "a block is in tier %s", bench_tier_name[tide_tier_of(block)]);
}

/* One block, outside of the measurement. */
static void confirm_size(struct micro *run, const struct micro_bench *bench, size_t size)
{
    void *block = malloc(size);
    confirm(run, bench, block);
    free(block);
}

/* ---- pairs -------------------------------------------------------------------------------- */

static void run_loop(struct micro *run, const struct micro_bench *bench)
{
    (void)bench;
    for (size_t n; (n = micro_next(run, BATCH)) != 0;)
        for (; n > 0; n--)
            use(run);
}

static void run_clock(struct micro *run, const struct micro_bench *bench)
{
    (void)bench;
    while (micro_next(run, 1) != 0) {
        micro_start(run);
        micro_stop(run);
    }
}

static void run_pair(struct micro *run, const struct micro_bench *bench)
{
    size_t size = (size_t)bench->args[0];
    int missing = 0;
    confirm_size(run, bench, size);
    for (size_t n; (n = micro_next(run, BATCH)) != 0;) {
        for (; n > 0; n--) {
            void *block = malloc(size);
            use(block);
            missing |= block == NULL;
            free(block);
        }
    }
    if (missing)
        micro_fail(run, "out of memory");
}

static void run_calloc(struct micro *run, const struct micro_bench *bench)
{
    size_t size = (size_t)bench->args[0];
    int missing = 0;
    confirm_size(run, bench, size);
    for (size_t n; (n = micro_next(run, BATCH)) != 0;) {
        for (; n > 0; n--) {
            void *block = calloc(1, size);
            use(block);
            missing |= block == NULL;
            free(block);
        }
    }
    if (missing)
        micro_fail(run, "out of memory");
}

/* args: size, alignment */
static void run_aligned(struct micro *run, const struct micro_bench *bench)
{
    size_t size = (size_t)bench->args[0], align = (size_t)bench->args[1];
    uintptr_t wrong = 0;
    int missing = 0;
    void *probe = aligned_alloc(align, size);
    confirm(run, bench, probe);
    free(probe);
    for (size_t n; (n = micro_next(run, BATCH)) != 0;) {
        for (; n > 0; n--) {
            void *block = aligned_alloc(align, size);
            use(block);
            missing |= block == NULL;
            wrong |= (uintptr_t)block & (align - 1);
            free(block);
        }
    }
    if (missing || wrong)
        micro_fail(run, missing ? "out of memory" : "a block is not aligned");
}

static void run_memalign(struct micro *run, const struct micro_bench *bench)
{
    size_t size = (size_t)bench->args[0], align = (size_t)bench->args[1];
    uintptr_t wrong = 0;
    int missing = 0;
    for (size_t n; (n = micro_next(run, BATCH)) != 0;) {
        for (; n > 0; n--) {
            void *block = NULL;
            missing |= posix_memalign(&block, align, size);
            use(block);
            wrong |= (uintptr_t)block & (align - 1);
            free(block);
        }
    }
    if (missing || wrong)
        micro_fail(run, missing ? "out of memory" : "a block is not aligned");
}

/* ---- on blocks that are there ------------------------------------------------------------- */

/* Mappings of megabytes in smaller numbers. */
static size_t batch_of(size_t size)
{
    return size >= MIB ? 4 : BATCH;
}

static void take_all(struct micro *run, void **blocks, size_t count, size_t size)
{
    for (size_t i = 0; i < count; i++) {
        blocks[i] = malloc(size);
        if (blocks[i] == NULL)
            micro_fail(run, "out of memory");
    }
}

static void free_all(void **blocks, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(blocks[i]);
}

/* args: size before, size after. Each block is resized once: a larger one is what it grew to. */
static void run_resize(struct micro *run, const struct micro_bench *bench)
{
    size_t from = (size_t)bench->args[0], to = (size_t)bench->args[1];
    size_t batch = batch_of(from > to ? from : to);
    void *blocks[BATCH];
    uintptr_t before[BATCH];
    int64_t moved = 0;
    confirm_size(run, bench, from);
    while (micro_next(run, batch) != 0) {
        int missing = 0;
        take_all(run, blocks, batch, from);
        for (size_t i = 0; i < batch; i++)
            before[i] = (uintptr_t)blocks[i];
        micro_start(run);
        for (size_t i = 0; i < batch; i++) {
            void *block = realloc(blocks[i], to);
            missing |= block == NULL;
            blocks[i] = block != NULL ? block : blocks[i];
        }
        micro_stop(run);
        for (size_t i = 0; i < batch; i++)
            moved += (uintptr_t)blocks[i] != before[i];
        free_all(blocks, batch);
        if (missing)
            micro_fail(run, "out of memory");
    }
    micro_mean(run, "moved", (double)moved);
}

/* args: two sizes of one class, in turn. */
static void run_in_place(struct micro *run, const struct micro_bench *bench)
{
    size_t size[2] = {(size_t)bench->args[0], (size_t)bench->args[1]};
    void *block = malloc(size[1]);
    int64_t moved = 0;
    confirm(run, bench, block);
    for (size_t n; (n = micro_next(run, BATCH)) != 0;) {
        for (; n > 0; n--) {
            uintptr_t before = (uintptr_t)block;
            void *now = realloc(block, size[n % 2]);
            moved += (uintptr_t)now != before;
            block = now != NULL ? now : block;
        }
    }
    free(block);
    micro_mean(run, "moved", (double)moved);
    if (bench_on_tidepool() && moved != 0)
        micro_fail(run, "the block moved");
}

static void run_usable(struct micro *run, const struct micro_bench *bench)
{
    size_t size = (size_t)bench->args[0];
    void *blocks[BATCH];
    int small = 0;
    take_all(run, blocks, BATCH, size);
    confirm(run, bench, blocks[0]);
    for (size_t n; (n = micro_next(run, BATCH)) != 0;)
        for (; n > 0; n--)
            small |= malloc_usable_size(blocks[n % BATCH]) < size;
    free_all(blocks, BATCH);
    if (small)
        micro_fail(run, "less than was asked for");
}

/* ---- which ones --------------------------------------------------------------------------- */

static const char *const tier_pair[BENCH_TIERS] = {"", "malloc_free/tiny", "malloc_free/mid",
                                                   "malloc_free/large"};

static void add_pair(enum tide_tier tier, size_t size, int threads)
{
    struct micro_bench bench = {.name = tier_pair[tier], .body = run_pair};
    bench.args[0] = (int64_t)size;
    bench.tag = (int)tier;
    bench.threads = threads;
    micro_add(&bench);
}

/* A size for each of eight classes to a doubling, above `from` up to `to`. */
static void add_classes(enum tide_tier tier, size_t from, size_t to)
{
    for (; from < to; from *= 2)
        for (size_t step = 1; step <= 8; step++)
            add_pair(tier, from + from * step / 8 == 2048 ? 2047 : from + from * step / 8, 0);
}

/* A pair for each class of the library, and what has a mapping of its own. */
static void add_pairs(void)
{
    for (size_t size = 16; size <= 256; size += 16)
        add_pair(TIDE_TIER_TINY, size, 0);
    add_classes(TIDE_TIER_TINY, 256, 2048);
    add_pair(TIDE_TIER_MID, 2048, 0);
    add_classes(TIDE_TIER_MID, 2048, 32768);
    add_classes(TIDE_TIER_LARGE, 32768, MIB);
    add_pair(TIDE_TIER_LARGE, 2 * MIB, 0);
    for (int threads = 2; threads <= 8; threads *= 2) {
        add_pair(TIDE_TIER_TINY, 64, threads);
        add_pair(TIDE_TIER_MID, 4096, threads);
        add_pair(TIDE_TIER_LARGE, 65536, threads);
    }
}

static const struct micro_bench others[] = {
    {.name = "loop", .body = run_loop},
    {.name = "clock", .body = run_clock, .clocked = 1},
    {"calloc_free/tiny", run_calloc, {64}, TIDE_TIER_TINY, 0, 0, 0},
    {"calloc_free/tiny", run_calloc, {1024}, TIDE_TIER_TINY, 0, 0, 0},
    {"calloc_free/mid", run_calloc, {4096}, TIDE_TIER_MID, 0, 0, 0},
    {"calloc_free/mid", run_calloc, {32768}, TIDE_TIER_MID, 0, 0, 0},
    {"calloc_free/large", run_calloc, {65536}, TIDE_TIER_LARGE, 0, 0, 0},
    {"calloc_free/large", run_calloc, {2 * MIB}, TIDE_TIER_LARGE, 0, 0, 0},
    {"realloc_grow/tiny", run_resize, {64, 128}, TIDE_TIER_TINY, 0, 1, 0},
    {"realloc_grow/tiny", run_resize, {1024, 4096}, TIDE_TIER_TINY, 0, 1, 0},
    {"realloc_grow/mid", run_resize, {4096, 8192}, TIDE_TIER_MID, 0, 1, 0},
    {"realloc_grow/mid", run_resize, {32768, 65536}, TIDE_TIER_MID, 0, 1, 0},
    {"realloc_grow/large", run_resize, {65536, 131072}, TIDE_TIER_LARGE, 0, 1, 0},
    {"realloc_grow/large", run_resize, {2 * MIB, 4 * MIB}, TIDE_TIER_LARGE, 0, 1, 0},
    {"realloc_shrink/tiny", run_resize, {1024, 64}, TIDE_TIER_TINY, 0, 1, 0},
    {"realloc_shrink/mid", run_resize, {8192, 2048}, TIDE_TIER_MID, 0, 1, 0},
    {"realloc_shrink/mid", run_resize, {4096, 64}, TIDE_TIER_MID, 0, 1, 0},
    {"realloc_shrink/large", run_resize, {65536, 8192}, TIDE_TIER_LARGE, 0, 1, 0},
    {"realloc_shrink/large", run_resize, {4 * MIB, 2 * MIB}, TIDE_TIER_LARGE, 0, 1, 0},
    {"realloc_in_place/tiny", run_in_place, {512, 500}, TIDE_TIER_TINY, 0, 0, 0},
    {"realloc_in_place/mid", run_in_place, {4096, 4000}, TIDE_TIER_MID, 0, 0, 0},
    {"realloc_in_place/large", run_in_place, {65536, 65000}, TIDE_TIER_LARGE, 0, 0, 0},
    {"aligned_alloc_free/tiny", run_aligned, {512, 64}, TIDE_TIER_TINY, 0, 0, 0},
    {"aligned_alloc_free/mid", run_aligned, {4096, 64}, TIDE_TIER_MID, 0, 0, 0},
    {"aligned_alloc_free/mid", run_aligned, {4096, 4096}, TIDE_TIER_MID, 0, 0, 0},
    {"aligned_alloc_free/large", run_aligned, {65536, 4096}, TIDE_TIER_LARGE, 0, 0, 0},
    {"posix_memalign_free/tiny", run_memalign, {512, 64}, TIDE_TIER_TINY, 0, 0, 0},
    {"posix_memalign_free/mid", run_memalign, {4096, 64}, TIDE_TIER_MID, 0, 0, 0},
    {"usable_size/tiny", run_usable, {64}, TIDE_TIER_TINY, 0, 0, 0},
    {"usable_size/mid", run_usable, {4096}, TIDE_TIER_MID, 0, 0, 0},
    {"usable_size/large", run_usable, {65536}, TIDE_TIER_LARGE, 0, 0, 0},
};

int main(int argc, char **argv)
{
    char text[64] = "not tidepool";
    bench_check_preload();
    if (bench_on_tidepool() && tide_version != NULL)
        snprintf(text, sizeof text, "tidepool %s", tide_version());
    micro_context("malloc", text);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        micro_add(&others[i]);
    add_pairs();
    return micro_main(argc, argv);
}
