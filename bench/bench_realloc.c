/*
 * bench_realloc - blocks that grow: from the first size of a case to its last one.
 *
 * Each thread has --slots growing blocks. One operation draws one of them and makes it longer
 * by the factor of the case; one that has reached the last size is freed, and a new one begins
 * at a drawn size between the first one and its double. As a program does that appends to a
 * vector, it writes the new part as --touch says: `first` writes its last 8 bytes.
 *
 * An untimed replay with the same draws fills every block, looks that the old contents moved
 * along, and asks the library about every pointer.
 */
#define _GNU_SOURCE
#include "bench_run.h"

/* One growing block; size 0: none yet. */
struct vector {
    unsigned char *block;
    uint32_t size;
};

/* What a case has beside its sizes. */
struct growth {
    const char *name;
    uint32_t times, over; /* the factor is times / over */
};

static const struct growth growth[] = {{"small", 3, 2}, {"large", 2, 1}};

static const struct growth *growth_of(const struct bench_plan *plan)
{
    size_t i = 0;
    while (strcmp(growth[i].name, plan->which->name) != 0)
        i++;
    return &growth[i];
}

/* The size that follows; 0 when the block has come to its end. */
static uint32_t next_size(const struct bench_plan *plan, const struct growth *by, uint32_t size,
                          uint32_t bits)
{
    const struct bench_range *range = &plan->sizes.at[0];
    uint64_t next = (uint64_t)size * by->times / by->over;
    if (size >= range->high)
        return 0;
    if (size == 0)
        next = (uint64_t)range->low + bench_pick(bits, range->low);
    return next < range->high ? (uint32_t)next : range->high;
}

/* ---- the load --------------------------------------------------------------------------- */

/* Grows one block, and does not write to it. Returns the new size, or 0 if there is no block
 * any more. */
static uint32_t grow(struct bench_worker *self, struct vector *vector, const struct growth *by,
                     uint64_t draw)
{
    uint32_t old = vector->size;
    uint32_t size = next_size(self->plan, by, old, (uint32_t)draw);
    vector->size = size;
    if (size == 0) {
        free(vector->block);
        vector->block = NULL;
        return 0;
    }
    unsigned char *block = realloc(vector->block, size);
    if (block == NULL) {
        self->failed = errno;
        vector->size = old;
        return 0;
    }
    vector->block = block;
    return size;
}

/* Writes to the part that is new. */
static void touch_new(const struct vector *vector, uint32_t old, uint64_t word,
                      enum bench_touch touch)
{
    if (touch == BENCH_TOUCH_ALL)
        memset(vector->block + old, (int)(word & 0xff), vector->size - old);
    if (touch == BENCH_TOUCH_FIRST)
        memcpy(vector->block + vector->size - sizeof word, &word, sizeof word);
}

static void *timed(struct bench_worker *self)
{
    struct bench_random random = bench_stream(self->plan->seed, self->index, 1);
    const struct growth *by = growth_of(self->plan);
    struct vector *vectors = self->own;
    bench_begin(self);
    for (uint64_t i = 0; i < self->plan->ops && !self->failed; i++) {
        uint64_t draw = bench_draw(&random);
        uint32_t which = bench_pick((uint32_t)(draw >> 32), self->plan->slots);
        uint32_t old = vectors[which].size;
        uint32_t size = grow(self, &vectors[which], by, draw);
        if (size != 0)
            touch_new(&vectors[which], old, draw, self->plan->touch);
        self->checksum += size ^ which;
    }
    bench_end(self);
    for (uint32_t i = 0; i < self->plan->slots; i++) {
        free(vectors[i].block);
        vectors[i] = (struct vector){0};
    }
    return NULL;
}

/* ---- the replay ------------------------------------------------------------------------- */

/* Byte i of a block with this number: no two neighbours agree for long. */
static unsigned char pattern(uint32_t which, uint32_t i)
{
    return (unsigned char)((which * 131 + i) * 2654435761u >> 24);
}

/* 64 bytes of the block, and the last one. */
static void write_pattern(struct vector *vector, uint32_t which)
{
    for (uint32_t i = 0; i < vector->size; i += vector->size / 64 + 1)
        vector->block[i] = pattern(which, i);
    vector->block[vector->size - 1] = pattern(which, vector->size - 1);
}

static int holds_pattern(const struct vector *vector, uint32_t which, uint32_t size)
{
    for (uint32_t i = 0; i < size; i += size / 64 + 1)
        if (vector->block[i] != pattern(which, i))
            return 0;
    return size == 0 || vector->block[size - 1] == pattern(which, size - 1);
}

static void *replay(struct bench_worker *self)
{
    struct bench_random random = bench_stream(self->plan->seed, self->index, 1);
    const struct growth *by = growth_of(self->plan);
    const struct bench_plan plan = *self->plan;
    struct vector *vectors = self->own;
    for (uint64_t i = 0; i < plan.ops && !self->failed; i++) {
        uint64_t draw = bench_draw(&random);
        uint32_t which = bench_pick((uint32_t)(draw >> 32), plan.slots);
        uint32_t old = vectors[which].size;
        if (grow(self, &vectors[which], by, draw) == 0)
            continue;
        bench_ask(&self->mix, vectors[which].block);
        self->damaged += !holds_pattern(&vectors[which], which, old);
        write_pattern(&vectors[which], which);
    }
    for (uint32_t i = 0; i < plan.slots; i++)
        free(vectors[i].block);
    return NULL;
}

/* ---- one result ------------------------------------------------------------------------- */

static int measure(const struct bench_plan *plan)
{
    struct bench_team *team = bench_make_team(plan, plan->threads);
    struct bench_result result = {.ops = plan->ops * plan->threads, .ops_per_thread = plan->ops};
    const struct growth *by = growth_of(plan);
    for (uint32_t i = 0; i < plan->threads; i++)
        team->worker[i].own = bench_pages(plan->slots * sizeof(struct vector));
    bench_time_team(team, timed, &result, 0);
    bench_add_figure(&result, "growth", "growth factor", (double)by->times / by->over, 2);
    bench_run_team(team, replay, NULL);
    bench_gather_proof(team, &result);
    return bench_emit(plan, &result);
}

static void check(const struct bench_plan *plan)
{
    if (plan->sizes.count != 1 || !plan->sizes.ranged)
        bench_die(BENCH_BAD_INPUT, "--sizes: one range is wanted, the first and the last size");
}

static const struct bench_case cases[] = {
    {"small", "16-64K", 1000000, NULL, "growth by 1.5"},
    {"large", "64K-16M", 2000, NULL, "growth by doubling"},
    {0},
};

static const struct bench_about about = {
    .name = "bench_realloc",
    .text = "Blocks that grow by realloc, as vectors do; tells operations per second.",
    .operation = "one realloc, or the free at the end of a block's growth",
    .cases = cases,
    .threads = "1",
    .threads_text = "threads, each with blocks of its own",
    .threads_most = 4096,
    .ops_text = "timed operations per thread",
    .ops_most = UINT64_C(1) << 48,
    .sizes_text = "FROM-TO: the first and the last size in bytes; 8 and above",
    .slots = "1,16",
    .slots_text = "growing blocks of a thread",
    .check = check,
    .measure = measure,
};

int main(int argc, char **argv)
{
    return bench_main(argc, argv, &about);
}
