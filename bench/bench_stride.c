/*
 * bench_stride - why blocks of a power of two in size should not start at multiples of it, and
 * where a header belongs: the price of one dependent visit to the first line of each block.
 *
 *   plain    blocks 4096 bytes apart: all first lines fall into the same sets of the caches
 *   skewed   blocks 4128 bytes apart, as a 16-byte header and a multiple of 32 make them
 *   before   payload at the start of a page, header on the page before: two lines a visit
 *   same     header and payload on one line, blocks a page and a line apart
 *
 * A visit reads a word that leads to the next block; in `before` and `same`, the header and
 * the payload. The order of the visits is random. Every round takes new pages for every way
 * and begins with another one; what is told are medians of the rounds. Which sets of the outer
 * caches a line falls into depends on where its page is, so both sizes of pages are cases.
 */
#define _GNU_SOURCE
#include "bench_run.h"

enum { HUGE = 2 << 20, WAYS = 4, WALKS = 5, ROUNDS_MOST = 99 };

static const struct way {
    const char *name;
    uint32_t stride, header, payload; /* offsets in a block; the same: one word a visit */
} ways[WAYS] = {
    {"plain", 4096, 64, 64},
    {"skewed", 4096 + 32, 64, 64},
    {"before", 8192, 4096 - 16, 4096},
    {"same", 4096 + 64, 48, 64},
};

static uint32_t rounds = 9;

/* One thread: ns of a visit, and how much of the blocks was in huge pages. */
struct visits {
    double ns[WAYS][ROUNDS_MOST];
    uint64_t huge_kib[WAYS];
};

static int wants_huge(const struct bench_plan *plan)
{
    return strcmp(plan->which->name, "huge") == 0;
}

/* Leads every block's header to the next one of a random round trip. Returns the first. */
static const unsigned char *link_blocks(unsigned char *base, const struct way *way, uint32_t count,
                                        uint32_t *order, struct bench_random *random)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t j = bench_pick((uint32_t)bench_draw(random), i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    for (uint32_t i = 0; i < count; i++) {
        unsigned char *block = base + (size_t)order[i] * way->stride;
        const unsigned char *next = base + (size_t)order[(i + 1) % count] * way->stride;
        memcpy(block + way->header, &next, sizeof next);
    }
    return base + (size_t)order[0] * way->stride;
}

static double walk(const unsigned char *block, const struct way *way, uint64_t steps)
{
    double start = bench_seconds(CLOCK_MONOTONIC);
    if (way->header == way->payload) {
        for (uint64_t i = 0; i < steps; i++)
            block = *(const unsigned char *const volatile *)(block + way->header);
    } else {
        for (uint64_t i = 0; i < steps; i++) {
            /* The payload's word is 0, and the next step waits for it too. */
            uintptr_t more = *(const volatile uintptr_t *)(block + way->payload);
            block = *(const unsigned char *const volatile *)(block + way->header) + more;
        }
    }
    double end = bench_seconds(CLOCK_MONOTONIC);
    __asm__ volatile("" ::"r"(block));
    return (end - start) * 1e9 / (double)steps;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* New pages, one walk that does not count, and the median of some that do. */
static void visit(struct bench_worker *self, uint32_t number, uint32_t round)
{
    const struct bench_plan *plan = self->plan;
    const struct way *way = &ways[number];
    struct visits *own = self->own;
    struct bench_random random = bench_stream(plan->seed, self->index, round);
    size_t bytes = ((size_t)plan->slots * way->stride + 8192 + 2 * HUGE - 1) / HUGE * HUGE;
    unsigned char *pages = bench_pages(bytes);
    unsigned char *base = pages + (HUGE - (uintptr_t)pages % HUGE) % HUGE;
    uint32_t *order = bench_pages(plan->slots * sizeof *order);
    madvise(pages, bytes, wants_huge(plan) ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    const unsigned char *first = link_blocks(base, way, plan->slots, order, &random);
    for (uint32_t i = 0; i < plan->slots; i++)
        self->checksum = self->checksum * 31 + order[i];
    walk(first, way, plan->slots);
    double times[WALKS];
    for (int i = 0; i < WALKS; i++)
        times[i] = walk(first, way, (plan->ops + WALKS - 1) / WALKS);
    qsort(times, WALKS, sizeof *times, by_value);
    own->ns[number][round] = times[WALKS / 2];
    own->huge_kib[number] = bench_read_key("/proc/self/smaps_rollup", "AnonHugePages:", 0);
    munmap(pages, bytes);
    munmap(order, plan->slots * sizeof *order);
}

static void *run(struct bench_worker *self)
{
    bench_begin(self);
    for (uint32_t round = 0; round < rounds; round++)
        for (uint32_t k = 0; k < WAYS; k++)
            visit(self, (round + k) % WAYS, round);
    bench_end(self);
    return NULL;
}

/* ---- results ---------------------------------------------------------------------------- */

static int emit_way(const struct bench_team *team, uint32_t way, const struct bench_result *all)
{
    struct bench_plan plan = *team->plan;
    struct bench_result result = *all;
    double ns[ROUNDS_MOST] = {0};
    for (uint32_t round = 0; round < rounds; round++)
        for (uint32_t i = 0; i < team->count; i++)
            ns[round] += ((const struct visits *)team->worker[i].own)->ns[way][round] / team->count;
    qsort(ns, rounds, sizeof *ns, by_value);
    result.wall_s = result.cpu_s = ns[rounds / 2] * 1e-9 * (double)result.ops;
    bench_add_figure(&result, "stride_bytes", "stride (bytes)", ways[way].stride, 0);
    bench_add_figure(&result, "visit_ns", "a visit (ns)", ns[rounds / 2], 2);
    bench_add_figure(&result, "visit_min_ns", "    least", ns[0], 2);
    bench_add_figure(&result, "visit_max_ns", "    most", ns[rounds - 1], 2);
    bench_add_figure(&result, "huge_kib", "in huge pages (KiB)",
                     (double)((const struct visits *)team->worker[0].own)->huge_kib[way], 0);
    snprintf(plan.label, sizeof plan.label, "%.48s way=%s", team->plan->label, ways[way].name);
    if (!plan.quiet)
        printf("  %-36s %8.2f ns  (%.2f..%.2f)  %.0f KiB in huge pages\n", plan.label,
               ns[rounds / 2], ns[0], ns[rounds - 1], result.figure[result.figures - 1].value);
    plan.quiet = 1;
    return bench_emit(&plan, &result);
}

static int measure(const struct bench_plan *plan)
{
    struct bench_team *team = bench_make_team(plan, plan->threads);
    struct bench_result result = {.ops_per_thread = plan->ops * rounds};
    result.ops = result.ops_per_thread * plan->threads;
    for (uint32_t i = 0; i < plan->threads; i++)
        team->worker[i].own = bench_pages(sizeof(struct visits));
    bench_time_team(team, run, &result, 0);
    if (!plan->quiet)
        printf("bench_stride: a dependent visit, medians of %u rounds (min..max); %u blocks\n",
               rounds, plan->slots);
    for (uint32_t way = 0; way < WAYS; way++)
        emit_way(team, way, &result);
    return BENCH_OK;
}

static void check(const struct bench_plan *plan)
{
    if (plan->sizes.count != 1 || plan->sizes.at[0].low != 4096 || plan->sizes.ranged)
        bench_die(BENCH_BAD_INPUT, "--sizes: the ways of this bench are for blocks of 4096");
    if ((uint64_t)plan->slots * plan->threads > 1 << 20)
        bench_die(BENCH_BAD_INPUT, "--slots: more than %d blocks in all", 1 << 20);
}

/* ---- the command line ------------------------------------------------------------------- */

static void take_rounds(const char *value)
{
    rounds = (uint32_t)bench_number("--rounds", value, 1000, 1, ROUNDS_MOST);
}

static const struct bench_flag flags[] = {
    {"rounds", "N", "rounds, in each of which every way runs once (default 9)", take_rounds},
    {0},
};

static const struct bench_case cases[] = {
    {"small", "4096", 200000, NULL, "pages of 4 KiB"},
    {"huge", "4096", 200000, NULL, "pages of 2 MiB, if the system gives them: see huge_kib"},
    {0},
};

static const struct bench_about about = {
    .name = "bench_stride",
    .text = "Visits the first lines of blocks 4096 bytes apart, a little more apart, and with the\n"
            "header on another page or on the same line. It uses no malloc.",
    .operation = "one visit",
    .cases = cases,
    .flags = flags,
    .asks_nobody = 1,
    .threads = "1",
    .threads_text = "threads, each with blocks of its own",
    .threads_most = 64,
    .ops_text = "visits of a thread for each way and round",
    .ops_most = UINT64_C(1) << 40,
    .sizes_text = "4096: the strides are made for it",
    .slots = "256,1024,4096",
    .slots_text = "blocks of a thread",
    .check = check,
    .measure = measure,
};

int main(int argc, char **argv)
{
    return bench_main(argc, argv, &about);
}
