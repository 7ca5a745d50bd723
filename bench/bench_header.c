/*
 * bench_header - what the check of a block costs: four ways (header_model.h), in one run, over
 * the same blocks.
 *
 * A cycle frees a batch of random blocks and allocates as many, each half on the clock by
 * itself. Before each half of a `cold` scene the blocks' lines are flushed from all caches, in
 * a `frozen` one those of the tables (shadow words, registry) too. `used`: the application
 * reads the first word of a block before it frees it and changes it after malloc; `idle`: it
 * touches other parts of the block only, which is not modelled. In `remote` scenes another
 * thread, on another processor if there is one, frees what the owner has allocated; the
 * owner's malloc then takes the same blocks again. `far` and `spin` model far memory.
 *
 * Every round runs all ways, beginning with another one each time. What is told is the median
 * of the rounds, of each of which the median of its cycles counts.
 */
#define _GNU_SOURCE
#include <sched.h>

#include "bench_run.h"
#include "header_model.h"

enum heat { HOT, COLD, FROZEN };
enum memory { NEAR, FAR, SPIN };
enum { BATCH = 1024, HOT_BATCH = 256, ROUNDS_MOST = 99 };

struct scene {
    int remote;
    enum heat heat;
    enum memory memory;
    int used;
};

/* What a thread measured, ns per operation: the median of the cycles of a round. */
struct times {
    double free_ns[ROUNDS_MOST][ARMS], malloc_ns[ROUNDS_MOST][ARMS];
};

/* One thread that frees and, in a remote scene, its partner that owns the blocks. */
struct pair {
    struct side side;          /* used by both, never at once */
    pthread_barrier_t barrier; /* remote: of the two */
    struct bench_random random;
    uint32_t first, blocks; /* its part of the model's blocks */
    uint32_t *order;        /* of these */
    double *sample;         /* of one round: free in the first half, malloc in the second */
    struct times times;
    uint64_t sum[ARMS];
    int caught[ARMS];
};

static uint32_t rounds = 9, far_ns = 250;
static struct scene scene;
static double near_ns;

/* ---- one cycle -------------------------------------------------------------------------- */

/* Random blocks, each at most once: the front of an order that is shuffled on. */
static void choose_batch(struct pair *pair)
{
    for (uint32_t i = 0; i < pair->side.count; i++) {
        uint32_t bits = (uint32_t)bench_draw(&pair->random);
        uint32_t j = i + bench_pick(bits, pair->blocks - i), other = pair->order[i];
        pair->order[i] = pair->order[j];
        pair->order[j] = other;
        pair->side.batch[i] = model.block[pair->first + pair->order[i]];
    }
}

/* Out of the caches: what the scene says, and the lines of the model. */
static void cool_down(struct side *side, unsigned char **blocks)
{
    if (scene.heat == HOT)
        return;
    for (uint32_t i = 0; i < side->count; i++) {
        flush_line(blocks[i]);
        if (scene.heat == FROZEN)
            flush_line(word_at(ARM_SHADOW, blocks[i]));
        for (uint32_t hop = 0; hop < model.hops; hop++)
            flush_line(side->hop + (size_t)side->hop_order[i * HOPS_MOST + hop] * HOP_SPACE);
    }
    for (uint32_t i = 0; scene.heat == FROZEN && i < model.chunks; i++)
        flush_line(&model.chunk[i]);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static double time_free(struct side *side, enum arm arm)
{
    cool_down(side, side->batch);
    double start = bench_seconds(CLOCK_MONOTONIC);
    free_batch(side, arm);
    return (bench_seconds(CLOCK_MONOTONIC) - start) * 1e9 / side->count;
}

static double time_malloc(struct side *side, enum arm arm)
{
    cool_down(side, side->stack);
    double start = bench_seconds(CLOCK_MONOTONIC);
    malloc_batch(side, arm);
    return (bench_seconds(CLOCK_MONOTONIC) - start) * 1e9 / side->count;
}

/* ---- one thread ------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double middle(double *values, uint64_t count)
{
    qsort(values, count, sizeof *values, by_value);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static uint64_t cycles_of(const struct bench_plan *plan, const struct pair *pair)
{
    uint64_t cycles = plan->ops / pair->side.count;
    return cycles ? cycles : 1;
}

/* The same draws for every arm; the first cycle warms up and does not count. */
static void begin_arm(struct bench_worker *self, struct pair *pair, uint32_t round)
{
    pair->random = bench_stream(self->plan->seed, self->index, 10 + round);
    pair->side.sum = 0;
    for (uint32_t i = 0; i < pair->blocks; i++)
        pair->order[i] = i;
}

static void end_arm(struct pair *pair, uint32_t round, enum arm arm, uint64_t cycles)
{
    pair->times.free_ns[round][arm] = middle(pair->sample, cycles);
    pair->times.malloc_ns[round][arm] = middle(pair->sample + cycles, cycles);
    pair->sum[arm] += pair->side.sum;
}

/* The cycles of one arm in one thread. */
static void run_local(struct pair *pair, enum arm arm, uint64_t cycles)
{
    struct side *side = &pair->side;
    choose_batch(pair);
    for (uint64_t cycle = 0; cycle <= cycles; cycle++) {
        double freed = time_free(side, arm), taken = time_malloc(side, arm);
        if (cycle > 0) {
            pair->sample[cycle - 1] = freed;
            pair->sample[cycles + cycle - 1] = taken;
        }
        if (scene.heat != HOT)
            choose_batch(pair);
    }
}

/* The same by two threads that take turns: one frees, the other owns. */
static void run_remote(struct pair *pair, enum arm arm, uint64_t cycles, int owner)
{
    if (owner)
        choose_batch(pair);
    for (uint64_t cycle = 0; cycle <= cycles; cycle++) {
        pthread_barrier_wait(&pair->barrier);
        double taken = owner ? 0 : time_free(&pair->side, arm);
        if (!owner && cycle > 0)
            pair->sample[cycle - 1] = taken;
        pthread_barrier_wait(&pair->barrier);
        if (!owner)
            continue;
        taken = time_malloc(&pair->side, arm);
        if (cycle > 0)
            pair->sample[cycles + cycle - 1] = taken;
        if (scene.heat != HOT)
            choose_batch(pair);
    }
    pthread_barrier_wait(&pair->barrier);
}

/* Does the way notice that a block is freed twice? */
static int notices(struct side *side, enum arm arm)
{
    uint64_t before = side->misuse;
    uint32_t count = side->count;
    side->count = 1;
    free_batch(side, arm);
    free_batch(side, arm);
    int noticed = side->misuse != before;
    side->misuse = before;
    side->top = 1;
    malloc_batch(side, arm);
    side->count = count;
    return noticed;
}

/* On a processor of its own, as far as there are any. */
static void stay(uint32_t index)
{
    cpu_set_t all, one;
    uint32_t seen = 0;
    if (sched_getaffinity(0, sizeof all, &all) != 0 || CPU_COUNT(&all) == 0)
        return;
    index %= (uint32_t)CPU_COUNT(&all);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &all) && seen++ == index) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            sched_setaffinity(0, sizeof one, &one);
        }
}

static void *run(struct bench_worker *self)
{
    struct pair *pair = self->own;
    int owner = scene.remote && self->index % 2 == 1;
    uint64_t cycles = cycles_of(self->plan, pair);
    stay(self->index);
    bench_begin(self);
    for (uint32_t round = 0; round < rounds; round++)
        for (uint32_t k = 0; k < ARMS; k++) {
            enum arm arm = (enum arm)((round + k) % ARMS);
            pthread_barrier_wait(&self->team->barrier);
            if (owner || !scene.remote)
                begin_arm(self, pair, round);
            if (scene.remote)
                run_remote(pair, arm, cycles, owner);
            else
                run_local(pair, arm, cycles);
            if (!owner)
                end_arm(pair, round, arm, cycles);
        }
    bench_end(self);
    for (int arm = 0; !owner && arm < ARMS; arm++)
        pair->caught[arm] = notices(&pair->side, (enum arm)arm);
    return NULL;
}

/* ---- results ---------------------------------------------------------------------------- */

/* Over the rounds: the median, and both ends. */
struct spread {
    double median, low, high;
};

enum half { HALF_FREE, HALF_MALLOC, HALF_BOTH, HALVES };

/* The mean of the threads in each round, then over the rounds. */
static struct spread spread_of(const struct bench_team *team, enum arm arm, enum half half)
{
    double values[ROUNDS_MOST];
    uint32_t step = scene.remote ? 2 : 1;
    for (uint32_t round = 0; round < rounds; round++) {
        values[round] = 0;
        for (uint32_t i = 0; i < team->count; i += step) {
            const struct times *times = &((const struct pair *)team->worker[i].own)->times;
            double freed = times->free_ns[round][arm], taken = times->malloc_ns[round][arm];
            values[round] += half == HALF_FREE     ? freed
                             : half == HALF_MALLOC ? taken
                                                   : freed + taken;
        }
        values[round] /= (double)(team->count / step);
    }
    struct spread spread = {.median = middle(values, rounds)};
    spread.low = values[0];
    spread.high = values[rounds - 1];
    return spread;
}

static void print_arms(const struct bench_plan *plan, const struct bench_team *team,
                       const struct bench_result *result)
{
    static const char *const half_name[HALVES] = {"free", "malloc", "both"};
    const struct pair *pair = team->worker[0].own;
    printf("bench_header, case %s: %s\n", plan->label, plan->which->text);
    printf("  %u blocks, batches of %u, %u threads, %u rounds", model.blocks, pair->side.count,
           team->count, rounds);
    if (scene.heat != HOT)
        printf("; a cold near line costs %.0f ns", near_ns);
    if (scene.memory != NEAR)
        printf(", a far one is modelled with %.0f ns (%s)",
               scene.memory == FAR ? near_ns * (model.hops + 1) : near_ns + model.spin_ns,
               scene.memory == FAR ? "chain" : "spin");
    printf("\n  %llu involuntary context switches", (bench_count)result->switches);
    if (result->other_s >= 0)
        printf("; other programs took %.2f CPU s in %.2f s", result->other_s, result->wall_s);
    printf("\n  %-9s", "ns");
    for (int half = 0; half < HALVES; half++)
        printf(" %9s %16s", half_name[half], "min..max");
    printf(" %8s  double free\n", "- none");
    double none = spread_of(team, ARM_NONE, HALF_BOTH).median;
    for (int arm = 0; arm < ARMS; arm++) {
        printf("  %-9s", arm_name[arm]);
        for (int half = 0; half < HALVES; half++) {
            struct spread one = spread_of(team, (enum arm)arm, (enum half)half);
            char range[32];
            snprintf(range, sizeof range, "%.1f..%.1f", one.low, one.high);
            printf(" %9.2f %16s", one.median, range);
        }
        printf(" %8.2f  %s\n", spread_of(team, (enum arm)arm, HALF_BOTH).median - none,
               pair->caught[arm] ? "noticed" : "not noticed");
    }
}

static void add_spread(struct bench_result *result, const char *const keys[3],
                       const struct spread *spread)
{
    bench_add_figure(result, keys[0], keys[0], spread->median, 3);
    bench_add_figure(result, keys[1], keys[1], spread->low, 3);
    bench_add_figure(result, keys[2], keys[2], spread->high, 3);
}

/* One arm, for programs. */
static int emit_arm(const struct bench_plan *all, const struct bench_team *team, enum arm arm,
                    const struct bench_result *common)
{
    static const char *const keys[HALVES][3] = {
        {"free_ns", "free_min_ns", "free_max_ns"},
        {"malloc_ns", "malloc_min_ns", "malloc_max_ns"},
        {"pair_ns", "pair_min_ns", "pair_max_ns"},
    };
    struct bench_plan plan = *all;
    struct bench_result result = *common;
    double none = spread_of(team, ARM_NONE, HALF_BOTH).median;
    struct spread both = spread_of(team, arm, HALF_BOTH);
    for (int half = 0; half < HALVES; half++) {
        struct spread one = spread_of(team, arm, (enum half)half);
        add_spread(&result, keys[half], &one);
    }
    bench_add_figure(&result, "over_none_ns", "over none", both.median - none, 3);
    bench_add_figure(&result, "near_line_ns", "cold near line", near_ns, 1);
    bench_add_figure(&result, "far_hops", "hops", model.hops, 0);
    bench_add_figure(&result, "far_spin_ns", "spin", model.spin_ns, 0);
    bench_add_figure(&result, "catches_double_free", "double free",
                     ((const struct pair *)team->worker[0].own)->caught[arm], 0);
    result.wall_s = result.cpu_s = both.median * 1e-9 * (double)result.ops;
    snprintf(plan.label, sizeof plan.label, "%.48s arm=%s", all->label, arm_name[arm]);
    plan.quiet = 1;
    return bench_emit(&plan, &result);
}

/* Every arm saw the same blocks in the same order, and no check failed. */
static uint64_t check_work(const struct bench_team *team)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < team->count; i += scene.remote ? 2 : 1) {
        const struct pair *pair = team->worker[i].own;
        if (pair->side.misuse != 0)
            bench_die(BENCH_FAILED, "%llu checks failed", (bench_count)pair->side.misuse);
        for (int arm = 1; arm < ARMS; arm++)
            if (pair->sum[arm] != pair->sum[0])
                bench_die(BENCH_FAILED, "%s had other blocks than none", arm_name[arm]);
        sum += pair->sum[0];
    }
    return sum;
}

/* ---- one case --------------------------------------------------------------------------- */

/* "remote-cold-far-idle" as a scene. */
static void read_scene(const char *name)
{
    scene = (struct scene){.remote = strstr(name, "remote") != NULL,
                           .heat = strstr(name, "hot")      ? HOT
                                   : strstr(name, "frozen") ? FROZEN
                                                            : COLD,
                           .memory = strstr(name, "-far")    ? FAR
                                     : strstr(name, "-spin") ? SPIN
                                                             : NEAR,
                           .used = strstr(name, "-idle") == NULL};
}

static void choose_delay(void)
{
    if (scene.heat == HOT)
        return;
    near_ns = line_ns();
    double more = far_ns - near_ns;
    if (scene.memory == FAR)
        model.hops = more > near_ns ? (uint32_t)(more / near_ns + 0.5) : 1;
    if (scene.memory == SPIN)
        model.spin_ns = more > 1 ? (uint32_t)more : 1;
    if (model.hops > HOPS_MOST)
        bench_die(BENCH_BAD_INPUT, "--far-ns: %u ns are more than %d cold lines of %.0f ns", far_ns,
                  HOPS_MOST + 1, near_ns);
}

static struct bench_team *make_pairs(const struct bench_plan *plan)
{
    uint32_t sides = scene.remote ? 2 : 1;
    uint32_t batch = scene.heat == HOT ? HOT_BATCH : BATCH;
    struct bench_team *team = bench_make_team(plan, plan->threads * sides);
    uint32_t blocks = scene.heat == HOT ? batch : plan->slots;
    if (batch > blocks)
        batch = blocks;
    make_model(&plan->sizes, blocks * plan->threads, plan->seed);
    for (uint32_t i = 0; i < team->count; i += sides) {
        struct pair *pair = bench_pages(sizeof *pair);
        make_side(&pair->side, batch, scene.used, plan->seed);
        pair->first = i / sides * blocks;
        pair->blocks = blocks;
        pair->order = bench_pages(blocks * sizeof *pair->order);
        pair->sample = bench_pages(2 * cycles_of(plan, pair) * sizeof *pair->sample);
        pthread_barrier_init(&pair->barrier, NULL, 2);
        for (uint32_t k = 0; k < sides; k++)
            team->worker[i + k].own = pair;
    }
    return team;
}

static int measure(const struct bench_plan *plan)
{
    struct bench_result result = {0};
    read_scene(plan->which->name);
    if (scene.heat != HOT && !can_flush())
        bench_die(BENCH_FAILED, "this processor cannot flush a line; only cases with hot");
    choose_delay();
    struct bench_team *team = make_pairs(plan);
    bench_time_team(team, run, &result, 0);
    result.checksum = check_work(team);
    result.ops_per_thread = cycles_of(plan, team->worker[0].own) *
                            ((const struct pair *)team->worker[0].own)->side.count * rounds;
    result.ops = result.ops_per_thread * plan->threads;
    if (!plan->quiet)
        print_arms(plan, team, &result);
    for (int arm = 0; arm < ARMS; arm++)
        emit_arm(plan, team, (enum arm)arm, &result);
    return BENCH_OK;
}

static void check(const struct bench_plan *plan)
{
    for (size_t i = 0; i < plan->sizes.count; i++)
        if (plan->sizes.at[i].low < 1024)
            bench_die(BENCH_BAD_INPUT, "--sizes: %u is below 1024", plan->sizes.at[i].low);
    if ((uint64_t)plan->slots * plan->threads > 1 << 24)
        bench_die(BENCH_BAD_INPUT, "--slots: more than %d blocks in all", 1 << 24);
}

/* ---- the command line ------------------------------------------------------------------- */

static void take_rounds(const char *value)
{
    rounds = (uint32_t)bench_number("--rounds", value, 1000, 1, ROUNDS_MOST);
}

static void take_far(const char *value)
{
    far_ns = (uint32_t)bench_number("--far-ns", value, 1000, 1, 100000);
}

static const struct bench_flag flags[] = {
    {"rounds", "N", "rounds, in each of which every way runs once (default 9)", take_rounds},
    {"far-ns", "N", "what an access to far memory costs, ns (default 250)", take_far},
    {0},
};

#define CASE(name, text)                                                                           \
    {                                                                                              \
        name, "4096", 20480, NULL, text                                                            \
    }

static const struct bench_case cases[] = {
    CASE("local-hot", "freed by the owner, everything in the caches"),
    CASE("local-cold-near-used", "blocks out of the caches, touched by the application"),
    CASE("local-cold-near-idle", "blocks out of the caches, not touched"),
    CASE("local-frozen-near-used", "tables out of the caches too, blocks touched"),
    CASE("local-frozen-near-idle", "tables out of the caches too, blocks not touched"),
    CASE("local-cold-far-used", "far blocks out of the caches, touched"),
    CASE("local-cold-far-idle", "far blocks out of the caches, not touched"),
    CASE("local-frozen-far-used", "tables out of the caches too, far blocks touched"),
    CASE("local-frozen-far-idle", "tables out of the caches too, far blocks not touched"),
    CASE("local-cold-spin-used", "as far, but no two accesses overlap; touched"),
    CASE("local-cold-spin-idle", "as far, but no two accesses overlap; not touched"),
    CASE("remote-hot", "freed by another thread; in the owner's caches"),
    CASE("remote-cold-near-used", "freed by another thread, out of the caches, touched"),
    CASE("remote-cold-near-idle", "freed by another thread, out of the caches, not touched"),
    CASE("remote-cold-far-used", "far, freed by another thread, touched"),
    CASE("remote-cold-far-idle", "far, freed by another thread, not touched"),
    CASE("remote-frozen-far-idle", "far, tables out of the caches too, not touched"),
    {0},
};

static const struct bench_about about = {
    .name = "bench_header",
    .text = "What the check of a block costs in free and malloc: none at all, a word in front of\n"
            "the block, the same word in a near table, a registry under a mutex. A model with\n"
            "blocks of its own: it uses no malloc. Far memory is modelled (chain: cold lines in\n"
            "a row; spin: waiting, an upper bound).",
    .operation = "one free and one malloc",
    .cases = cases,
    .flags = flags,
    .asks_nobody = 1,
    .threads = "1",
    .threads_text = "threads that free; in remote cases each has a partner that owns",
    .threads_most = 64,
    .ops_text = "operations of a thread for each way and round",
    .ops_most = 1000000000,
    .sizes_text = "block sizes in bytes, equally likely: 4K, or 8K-32K for any size from\n"
                  "one to the other; 1024 and above; an entry may stand several times",
    .slots = "65536",
    .slots_text = "blocks of a thread that exist in the cases that are not hot",
    .check = check,
    .measure = measure,
};

int main(int argc, char **argv)
{
    return bench_main(argc, argv, &about);
}
