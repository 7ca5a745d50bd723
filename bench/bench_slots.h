/*
 * bench_slots.h - the load of bench_mid_mt_gap, bench_mid, bench_tiny, bench_sets and
 * bench_calls: blocks replaced at random in a table of slots.
 *
 * Each thread has a table of its own. One operation draws a slot and a size, frees the slot's
 * block if there is one, allocates a new block and touches it as --touch says. An untimed
 * warm-up (a stream of draws of its own) fills the table; the timed part of all threads
 * starts at one barrier. Afterwards the same draws are replayed untimed: each returned
 * pointer is asked for its tier, and each block must still hold what was written.
 */
#ifndef TIDE_BENCH_SLOTS_H
#define TIDE_BENCH_SLOTS_H

#include "bench_run.h"

/* bench_calls.c has other ways to get a block. */
#ifndef SLOTS_MALLOC
#define SLOTS_MALLOC(size) malloc(size)
static const char slots_operation[] = "one malloc and, if the slot was full, one free";
#endif

/* What a thread adds to its struct bench_worker. */
struct slots {
    void **block;
    uint64_t *held; /* replay only: what the first 8 bytes of each slot's block must be */
    uint64_t warmup;
};

/* ---- the load --------------------------------------------------------------------------- */

/* `count` operations from one stream of draws. Returns the sum over what was drawn, the same
 * for every allocator. `touch` and `ranged` are constants in each copy of this loop. */
static inline __attribute__((always_inline)) uint64_t slots_replace(struct bench_worker *self,
                                                                    struct bench_random random,
                                                                    uint64_t count,
                                                                    enum bench_touch touch,
                                                                    int ranged)
{
    const struct bench_range *sizes = self->plan->sizes.at;
    const uint32_t size_count = (uint32_t)self->plan->sizes.count, slots = self->plan->slots;
    void **table = ((struct slots *)self->own)->block;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t draw = bench_draw(&random);
        uint32_t slot = bench_pick((uint32_t)(draw >> 32), slots);
        uint32_t size = ranged ? bench_size(&self->plan->sizes, (uint32_t)draw)
                               : sizes[bench_pick((uint32_t)draw, size_count)].low;
        if (table[slot] != NULL)
            free(table[slot]);
        void *block = SLOTS_MALLOC(size);
        table[slot] = block;
        if (__builtin_expect(block == NULL, 0)) {
            self->failed = errno;
            break;
        }
        bench_write(block, size, draw, touch);
        sum += size ^ slot;
    }
    return sum;
}

static inline uint64_t slots_load(struct bench_worker *self, uint64_t phase, uint64_t count)
{
    struct bench_random random = bench_stream(self->plan->seed, self->index, phase);
    int ranged = self->plan->sizes.ranged;
    switch (self->plan->touch) {
    case BENCH_TOUCH_ALL:
        return slots_replace(self, random, count, BENCH_TOUCH_ALL, ranged);
    case BENCH_TOUCH_NONE:
        return slots_replace(self, random, count, BENCH_TOUCH_NONE, ranged);
    default:
        return ranged ? slots_replace(self, random, count, BENCH_TOUCH_FIRST, 1)
                      : slots_replace(self, random, count, BENCH_TOUCH_FIRST, 0);
    }
}

/* Frees the table. Returns the sum of the first words of its blocks. */
static inline uint64_t slots_empty(struct bench_worker *self)
{
    void **table = ((struct slots *)self->own)->block;
    uint64_t sum = 0;
    for (uint32_t slot = 0; slot < self->plan->slots; slot++) {
        if (table[slot] != NULL)
            sum += bench_word(table[slot], self->plan->touch);
        free(table[slot]);
        table[slot] = NULL;
    }
    return sum;
}

static inline void *slots_timed(struct bench_worker *self)
{
    slots_load(self, 0, ((struct slots *)self->own)->warmup);
    bench_begin(self);
    if (!self->failed)
        self->checksum = slots_load(self, 1, self->plan->ops);
    bench_end(self);
    self->checksum += slots_empty(self);
    return NULL;
}

/* ---- the replay ------------------------------------------------------------------------- */

/* The old block of a slot must hold what was written; then it is freed. */
static inline void slots_retire(struct bench_worker *self, uint32_t slot)
{
    struct slots *own = self->own;
    if (own->block[slot] == NULL)
        return;
    if (memcmp(own->block[slot], &own->held[slot], sizeof own->held[slot]) != 0)
        self->damaged++;
    free(own->block[slot]);
    own->block[slot] = NULL;
}

/* The draws of the timed part once more, asking the library about each pointer. */
static inline void *slots_replay(struct bench_worker *self)
{
    struct slots *own = self->own;
    struct bench_random random = bench_stream(self->plan->seed, self->index, 1);
    for (uint64_t i = 0; i < self->plan->ops && !self->failed; i++) {
        uint64_t draw = bench_draw(&random);
        uint32_t slot = bench_pick((uint32_t)(draw >> 32), self->plan->slots);
        slots_retire(self, slot);
        void *block = SLOTS_MALLOC(bench_size(&self->plan->sizes, (uint32_t)draw));
        own->block[slot] = block;
        if (block == NULL) {
            self->failed = errno;
            break;
        }
        bench_ask(&self->mix, block);
        memcpy(block, &draw, sizeof draw);
        own->held[slot] = draw;
    }
    for (uint32_t slot = 0; slot < self->plan->slots; slot++)
        slots_retire(self, slot);
    return NULL;
}

/* ---- one result ------------------------------------------------------------------------- */

/* The warm-up is a tenth of the timed operations, at least 16 per slot. */
static inline int slots_measure(const struct bench_plan *plan)
{
    struct bench_team *team = bench_make_team(plan, plan->threads);
    struct bench_result result = {.ops = plan->ops * plan->threads, .ops_per_thread = plan->ops};
    result.warmup = plan->ops / 10;
    if (result.warmup < 16 * (uint64_t)plan->slots)
        result.warmup = 16 * (uint64_t)plan->slots;
    for (uint32_t i = 0; i < plan->threads; i++) {
        struct slots *own = team->worker[i].own = bench_pages(sizeof *own);
        own->block = bench_pages(plan->slots * sizeof *own->block);
        own->warmup = result.warmup;
    }
    bench_time_team(team, slots_timed, &result, 0);
    for (uint32_t i = 0; i < plan->threads; i++) {
        struct slots *own = team->worker[i].own;
        own->held = bench_pages(plan->slots * sizeof *own->held);
    }
    bench_run_team(team, slots_replay, NULL);
    bench_gather_proof(team, &result);
    return bench_emit(plan, &result);
}

/* The whole of a bench with this load, behind its `cases`: the number of slots (or several, as a
 * list) is the default of --slots. */
#define SLOTS_BENCH(name_, slots_, text_, measure_)                                                \
    static const struct bench_about about = {                                                      \
        .name = name_,                                                                             \
        .text = text_,                                                                             \
        .operation = slots_operation,                                                              \
        .cases = cases,                                                                            \
        .threads = "1",                                                                            \
        .threads_text = "threads, each with a table of slots of its own",                          \
        .threads_most = 4096,                                                                      \
        .ops_text = "timed operations per thread",                                                 \
        .ops_most = UINT64_C(1) << 48,                                                             \
        .sizes_text = "block sizes in bytes, equally likely: 4K, or 8K-32K for any size from\n"    \
                      "one to the other; 8 and above; an entry may stand several times",           \
        .slots = slots_,                                                                           \
        .slots_text = "blocks that a thread holds",                                                \
        .measure = measure_,                                                                       \
    };                                                                                             \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        return bench_main(argc, argv, &about);                                                     \
    }

#endif
