/*
 * bench_remote - blocks that one thread allocates and another one frees, and the memory that
 * the process holds meanwhile.
 *
 * Case pair: half of the threads allocate, each hands its blocks to one partner that only
 * frees. Case apart: the same, with each thread bound to a processor of its own as far as there
 * are any; in the other cases the system may well run partners in turns on one processor, where
 * no line goes from one to the other. Case all: every thread allocates, hands each block to a
 * random other thread and frees what it gets. The way from one thread to another is a ring of
 * a fixed number of blocks. Who finds it full tries the next thread's, frees blocks out of its
 * own rings, and in the end yields the processor or sleeps, as does who finds it empty. The
 * kernel counts a yield that switches as an involuntary context switch; yields are told apart.
 * The first word of each block must arrive as it was written.
 *
 * An untimed replay with the same draws asks the library about every block.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdatomic.h>

#include "bench_run.h"

enum { MOST_THREADS = 256 };

/* One writer and one reader. Invariant: head - tail <= mask + 1; places from tail to head
 * hold blocks. Each side keeps a copy of the other's count and reads the real one only when
 * the copy says full or empty. */
struct ring {
    _Atomic uint32_t head __attribute__((aligned(128))); /* written by the writer */
    uint32_t tail_seen;
    _Atomic uint32_t tail __attribute__((aligned(128))); /* written by the reader */
    uint32_t head_seen;
    uint32_t mask __attribute__((aligned(128)));
    void **place;
};

/* What all threads share: ring[from * threads + to]. */
static struct ring *ring;
static _Atomic uint32_t writers; /* threads that still allocate */
static int asking;               /* replay: ask about every pointer */

static void make_ring(struct ring *one, uint32_t blocks)
{
    uint32_t size = 2;
    while (size < blocks)
        size *= 2;
    one->mask = size - 1;
    one->place = bench_pages(size * sizeof *one->place);
}

static int ring_put(struct ring *one, void *block)
{
    uint32_t head = atomic_load_explicit(&one->head, memory_order_relaxed);
    if (head - one->tail_seen > one->mask) {
        one->tail_seen = atomic_load_explicit(&one->tail, memory_order_acquire);
        if (head - one->tail_seen > one->mask)
            return 0;
    }
    one->place[head & one->mask] = block;
    atomic_store_explicit(&one->head, head + 1, memory_order_release);
    return 1;
}

static void *ring_get(struct ring *one)
{
    uint32_t tail = atomic_load_explicit(&one->tail, memory_order_relaxed);
    if (tail == one->head_seen) {
        one->head_seen = atomic_load_explicit(&one->head, memory_order_acquire);
        if (tail == one->head_seen)
            return NULL;
    }
    void *block = one->place[tail & one->mask];
    atomic_store_explicit(&one->tail, tail + 1, memory_order_release);
    return block;
}

/* ---- both cases ------------------------------------------------------------------------- */

/* What a thread adds to its struct bench_worker. */
struct patience {
    uint64_t yields;
    uint32_t streak; /* waits since there was something to do */
};

/* Nothing to do at the moment: yields, and sleeps when that did not help. */
static void wait_a_little(struct bench_worker *self)
{
    struct patience *own = self->own;
    struct timespec moment = {0, 20000};
    if (++own->streak > 8) {
        nanosleep(&moment, NULL);
    } else {
        own->yields++;
        sched_yield();
    }
}

static void is_busy(struct bench_worker *self)
{
    ((struct patience *)self->own)->streak = 0;
}

/* A block of a drawn size that holds the draw. */
static void *make_block(struct bench_worker *self, uint64_t draw)
{
    uint32_t size = bench_size(&self->plan->sizes, (uint32_t)draw);
    void *block = malloc(size);
    if (block == NULL) {
        self->failed = errno;
        return NULL;
    }
    bench_write(block, size, draw, self->plan->touch);
    self->checksum += size + bench_word(block, self->plan->touch);
    if (asking)
        bench_ask(&self->mix, block);
    return block;
}

/* The sums of what was written and of what arrived must be equal in the end. */
static void take_block(struct bench_worker *self, void *block)
{
    self->damaged -= bench_word(block, self->plan->touch);
    free(block);
    is_busy(self);
}

static int is_over(void)
{
    return atomic_load_explicit(&writers, memory_order_acquire) == 0;
}

/* ---- pair ------------------------------------------------------------------------------- */

static void write_pair(struct bench_worker *self, struct ring *to)
{
    struct bench_random random = bench_stream(self->plan->seed, self->index, 1);
    for (uint64_t i = 0; i < self->plan->ops; i++) {
        uint64_t draw = bench_draw(&random);
        void *block = make_block(self, draw);
        if (block == NULL)
            break;
        self->damaged += bench_word(block, self->plan->touch);
        while (!ring_put(to, block))
            wait_a_little(self);
        is_busy(self);
    }
    atomic_fetch_sub_explicit(&writers, 1, memory_order_release);
}

static void read_pair(struct bench_worker *self, struct ring *from)
{
    for (;;) {
        int over = is_over(); /* asked first: then an empty ring stays empty */
        void *block = ring_get(from);
        if (block != NULL)
            take_block(self, block);
        else if (over)
            break;
        else
            wait_a_little(self);
    }
}

/* Binds the thread to the processor that is its turn, of those that it may use. Where the system
 * refuses, it runs as in the other cases. */
static void bind_to_own(const struct bench_worker *self)
{
    cpu_set_t all, one;
    CPU_ZERO(&all);
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof all, &all) != 0)
        return;
    uint32_t turn = self->index % (uint32_t)CPU_COUNT(&all);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &all) && turn-- == 0)
            CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof one, &one);
}

static void *run_pair(struct bench_worker *self)
{
    struct ring *mine = &ring[self->index / 2];
    if (strcmp(self->plan->which->name, "apart") == 0)
        bind_to_own(self);
    bench_begin(self);
    if (self->index % 2 == 0)
        write_pair(self, mine);
    else
        read_pair(self, mine);
    bench_end(self);
    return NULL;
}

/* ---- all to all ------------------------------------------------------------------------- */

/* Frees at most `most` blocks out of each ring that leads here. Returns how many it found. */
static uint32_t take_from_all(struct bench_worker *self, uint32_t most)
{
    uint32_t threads = self->plan->threads, found = 0;
    for (uint32_t from = 0; from < threads; from++) {
        struct ring *one = &ring[from * threads + self->index];
        void *block;
        for (uint32_t n = 0; n < most && (block = ring_get(one)) != NULL; n++, found++)
            take_block(self, block);
    }
    return found;
}

/* Hands the block to thread `to`, or to the next one that has room. */
static void give_block(struct bench_worker *self, uint32_t to, void *block)
{
    uint32_t threads = self->plan->threads;
    struct ring *row = &ring[self->index * threads];
    self->damaged += bench_word(block, self->plan->touch);
    for (uint32_t tried = 0;;) {
        if (to != self->index && ring_put(&row[to], block))
            break;
        to = to + 1 < threads ? to + 1 : 0;
        if (++tried % threads == 0 && take_from_all(self, 16) == 0)
            wait_a_little(self);
    }
    is_busy(self);
}

static void give_to_others(struct bench_worker *self)
{
    uint32_t threads = self->plan->threads;
    struct bench_random random = bench_stream(self->plan->seed, self->index, 1);
    for (uint64_t i = 0; i < self->plan->ops; i++) {
        uint64_t draw = bench_draw(&random);
        uint32_t to = bench_pick((uint32_t)(draw >> 32), threads - 1);
        void *block = make_block(self, draw);
        if (block == NULL)
            break;
        give_block(self, to + (to >= self->index), block);
        if (i % 16 == 0)
            take_from_all(self, 16);
    }
    atomic_fetch_sub_explicit(&writers, 1, memory_order_release);
}

static void *run_all(struct bench_worker *self)
{
    bench_begin(self);
    give_to_others(self);
    for (;;) {
        int over = is_over();
        if (take_from_all(self, UINT32_MAX) != 0)
            continue;
        if (over)
            break;
        wait_a_little(self);
    }
    bench_end(self);
    return NULL;
}

/* ---- one result ------------------------------------------------------------------------- */

static int is_pair(const struct bench_plan *plan)
{
    return strcmp(plan->which->name, "all") != 0;
}

static void make_rings(const struct bench_plan *plan)
{
    uint32_t threads = plan->threads;
    uint32_t count = is_pair(plan) ? threads / 2 : threads * threads;
    uint32_t blocks = is_pair(plan) ? plan->slots : plan->slots / (threads - 1);
    ring = bench_pages(count * sizeof *ring);
    for (uint32_t i = 0; i < count; i++)
        make_ring(&ring[i], blocks);
}

/* What was written less what arrived, over all threads, must be nothing. */
static void check_arrivals(const struct bench_team *team)
{
    uint64_t lost = 0;
    for (uint32_t i = 0; i < team->count; i++) {
        lost += team->worker[i].damaged;
        team->worker[i].damaged = 0;
    }
    if (lost != 0)
        bench_die(BENCH_FAILED, "blocks did not arrive as they were written");
}

static uint64_t count_yields(const struct bench_team *team)
{
    uint64_t yields = 0;
    for (uint32_t i = 0; i < team->count; i++)
        yields += ((const struct patience *)team->worker[i].own)->yields;
    return yields;
}

static int measure(const struct bench_plan *plan)
{
    struct bench_team *team = bench_make_team(plan, plan->threads);
    struct bench_result result = {.ops_per_thread = plan->ops};
    uint32_t sources = is_pair(plan) ? plan->threads / 2 : plan->threads;
    result.ops = plan->ops * sources;
    make_rings(plan);
    for (uint32_t i = 0; i < plan->threads; i++)
        team->worker[i].own = bench_pages(sizeof(struct patience));
    atomic_store(&writers, sources);
    bench_time_team(team, is_pair(plan) ? run_pair : run_all, &result, 1);
    bench_add_growth(&result);
    bench_add_figure(&result, "yields", "yields", (double)count_yields(team), 0);
    check_arrivals(team);
    atomic_store(&writers, sources);
    asking = 1;
    bench_run_team(team, is_pair(plan) ? run_pair : run_all, NULL);
    check_arrivals(team);
    bench_gather_proof(team, &result);
    return bench_emit(plan, &result);
}

static void check(const struct bench_plan *plan)
{
    if (is_pair(plan) && plan->threads % 2 != 0)
        bench_die(BENCH_BAD_INPUT, "--threads: %u threads are not pairs", plan->threads);
    if (plan->threads < 2)
        bench_die(BENCH_BAD_INPUT, "--threads: 1 thread has no other one to free its blocks");
    if (plan->slots > 1 << 24)
        bench_die(BENCH_BAD_INPUT, "--slots: %u is not within 1..%u", plan->slots, 1 << 24);
}

#define SIZES "16,64,256,1K,2K,4K,8K,16K,32K"

static const struct bench_case cases[] = {
    {"pair", SIZES, 1000000, "tiny=44.44,mid=55.56,tolerance=2",
     "half of the threads allocate, the other half free"},
    {"apart", SIZES, 1000000, "tiny=44.44,mid=55.56,tolerance=2",
     "as pair, with each thread on a processor of its own"},
    {"all", SIZES, 1000000, "tiny=44.44,mid=55.56,tolerance=2",
     "every thread allocates, and frees what others allocated"},
    {0},
};

static const struct bench_about about = {
    .name = "bench_remote",
    .text = "Blocks that one thread allocates and another one frees; tells blocks per second\n"
            "and the RSS over time.",
    .operation = "one block: malloc in one thread, free in another",
    .cases = cases,
    .threads = "2",
    .threads_text = "threads; for pair and apart an even number",
    .threads_most = MOST_THREADS,
    .ops_text = "blocks of each thread that allocates",
    .ops_most = UINT64_C(1) << 48,
    .sizes_text = "block sizes in bytes, equally likely: 4K, or 8K-32K for any size from\n"
                  "one to the other; 8 and above; an entry may stand several times",
    .slots = "1024",
    .slots_text = "blocks that may be on their way to a thread, about",
    .check = check,
    .measure = measure,
};

int main(int argc, char **argv)
{
    return bench_main(argc, argv, &about);
}
