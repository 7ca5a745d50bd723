/*
 * bench_churn - short-lived threads, some of whose blocks are freed by others.
 *
 * Each of --threads makers starts one short-lived thread after the other. Such a thread frees
 * what the one before left for it, allocates --slots blocks and frees half of them itself; a
 * quarter it leaves for the next thread, and a quarter for its maker, who frees it after the
 * join. Every block must hold what was written to it when it is freed.
 *
 * An untimed replay with the same draws asks the library about every block.
 */
#define _GNU_SOURCE
#include "bench_run.h"

/* One maker and the thread that it has running: never both at work at once. */
struct maker {
    struct bench_worker *worker;
    struct bench_random random;
    void **block;   /* of the running thread */
    uint64_t *held; /* the first word of each */
    int asking;
};

/* Who frees block number i: the thread itself, the one after it, or the maker. */
enum heir { HEIR_SELF, HEIR_NEXT, HEIR_MAKER };

static enum heir heir_of(uint32_t i)
{
    return i % 2 == 0 ? HEIR_SELF : i % 4 == 1 ? HEIR_NEXT : HEIR_MAKER;
}

static void free_for(struct maker *maker, enum heir heir)
{
    const struct bench_plan *plan = maker->worker->plan;
    for (uint32_t i = 0; i < plan->slots; i++) {
        if (heir_of(i) != heir || maker->block[i] == NULL)
            continue;
        if (bench_word(maker->block[i], plan->touch) != maker->held[i])
            maker->worker->damaged++;
        free(maker->block[i]);
        maker->block[i] = NULL;
    }
}

static void allocate(struct maker *maker)
{
    struct bench_worker *worker = maker->worker;
    const struct bench_plan *plan = worker->plan;
    for (uint32_t i = 0; i < plan->slots; i++) {
        uint64_t draw = bench_draw(&maker->random);
        uint32_t size = bench_size(&plan->sizes, (uint32_t)draw);
        void *block = maker->block[i] = malloc(size);
        if (block == NULL) {
            worker->failed = errno;
            return;
        }
        bench_write(block, size, draw, plan->touch);
        maker->held[i] = bench_word(block, plan->touch);
        worker->checksum += size + maker->held[i];
        if (maker->asking)
            bench_ask(&worker->mix, block);
    }
}

/* The whole life of a short-lived thread. */
static void *live(void *argument)
{
    struct maker *maker = argument;
    free_for(maker, HEIR_NEXT);
    allocate(maker);
    free_for(maker, HEIR_SELF);
    return NULL;
}

static void make_threads(struct maker *maker)
{
    struct bench_worker *worker = maker->worker;
    maker->random = bench_stream(worker->plan->seed, worker->index, 1);
    for (uint64_t i = 0; i < worker->plan->ops && !worker->failed; i++) {
        pthread_t thread;
        int error = pthread_create(&thread, NULL, live, maker);
        if (error)
            bench_die(BENCH_FAILED, "thread %llu: %s", (bench_count)i, strerror(error));
        pthread_join(thread, NULL);
        free_for(maker, HEIR_MAKER);
    }
    free_for(maker, HEIR_NEXT);
}

static void *timed(struct bench_worker *self)
{
    bench_begin(self);
    make_threads(self->own);
    bench_end(self);
    return NULL;
}

static void *replay(struct bench_worker *self)
{
    struct maker *maker = self->own;
    maker->asking = 1;
    make_threads(maker);
    return NULL;
}

/* The short-lived threads' CPU time is that of no maker: the process knows it. */
static int measure(const struct bench_plan *plan)
{
    struct bench_team *team = bench_make_team(plan, plan->threads);
    struct bench_result result = {.ops_per_thread = plan->ops * plan->slots};
    result.ops = result.ops_per_thread * plan->threads;
    for (uint32_t i = 0; i < plan->threads; i++) {
        struct maker *maker = team->worker[i].own = bench_pages(sizeof *maker);
        maker->worker = &team->worker[i];
        maker->block = bench_pages(plan->slots * sizeof *maker->block);
        maker->held = bench_pages(plan->slots * sizeof *maker->held);
    }
    double cpu = bench_seconds(CLOCK_PROCESS_CPUTIME_ID);
    uint64_t switches = bench_switches(RUSAGE_SELF);
    bench_time_team(team, timed, &result, 1);
    result.cpu_s = bench_seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu + 1e-9;
    result.switches = bench_switches(RUSAGE_SELF) - switches;
    bench_add_figure(&result, "threads_per_s", "threads per s",
                     (double)(plan->ops * plan->threads) / result.wall_s, 1);
    bench_add_figure(&result, "threads_per_cpu_s", "... per CPU s",
                     (double)(plan->ops * plan->threads) / result.cpu_s, 1);
    bench_add_growth(&result);
    bench_run_team(team, replay, NULL);
    bench_gather_proof(team, &result);
    return bench_emit(plan, &result);
}

static const struct bench_case cases[] = {
    {"churn", "16,64,256,1K,2K,4K,8K,16K,32K", 10000, "tiny=44.44,mid=55.56,tolerance=3",
     "a quarter of the blocks freed by the next thread, a quarter by the maker"},
    {0},
};

static const struct bench_about about = {
    .name = "bench_churn",
    .text = "Short-lived threads, half of whose blocks are freed by others; tells threads per\n"
            "second and the RSS over time.",
    .operation = "one malloc and one free; a short-lived thread makes --slots of them",
    .cases = cases,
    .threads = "2",
    .threads_text = "makers: short-lived threads that exist at one time",
    .threads_most = 4096,
    .ops_text = "short-lived threads that each maker starts",
    .ops_most = UINT64_C(1) << 40,
    .sizes_text = "block sizes in bytes, equally likely: 4K, or 8K-32K for any size from\n"
                  "one to the other; 8 and above; an entry may stand several times",
    .slots = "64",
    .slots_text = "blocks that a short-lived thread allocates",
    .measure = measure,
};

int main(int argc, char **argv)
{
    return bench_main(argc, argv, &about);
}
