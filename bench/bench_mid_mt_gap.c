/*
 * bench_mid_mt_gap - replace random blocks of 1, 2, 4 and 8 KiB, the sizes on both sides of
 * the line between Tiny and Mid.
 *
 * Each thread has a table of slots of its own. One operation draws a slot and a size, frees
 * the slot's block if there is one, allocates a new block and touches it as --touch says. An
 * untimed warm-up (a stream of draws of its own) fills the table; the timed part of all
 * threads starts at one barrier. Afterwards the same draws are replayed untimed: each
 * returned pointer is asked for its tier, and each block must still hold what was written.
 *
 * Plain malloc and free, so the allocator is whatever libc or LD_PRELOAD gives.
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <pthread.h>

#include "bench.h"

enum touch { TOUCH_FIRST, TOUCH_ALL, TOUCH_NONE };

static const char *const touch_name[] = {"first", "all", "none"};

struct plan {
    uint32_t threads, slots;
    uint64_t ops, warmup, seed; /* operations per thread */
    struct bench_list sizes;
    enum touch touch;
    struct bench_claim claim;
    int json, csv, quiet;
};

/* One thread: its table, which only the thread itself touches, and its results, which main
 * reads after the join. */
struct worker {
    const struct plan *plan;
    pthread_barrier_t *barrier;
    pthread_t thread;
    uint32_t index;
    int failed; /* errno of a malloc that returned NULL */
    void **slot;
    uint64_t *held; /* replay only: what the first 8 bytes of each slot's block must be */
    uint64_t checksum, switches, damaged;
    double start, end, cpu;
    struct bench_mix mix;
} __attribute__((aligned(128)));

struct result {
    double wall_s, cpu_s;
    uint64_t ops, peak_kib, final_kib, switches, checksum;
    struct bench_mix mix;
};

/* ---- the load --------------------------------------------------------------------------- */

/* `count` operations from one stream of draws. Returns the sum over what was drawn, the same
 * for every allocator. `touch` is a constant in each copy of this loop. */
static inline __attribute__((always_inline)) uint64_t replace_blocks(struct worker *self,
                                                                     struct bench_random random,
                                                                     uint64_t count,
                                                                     enum touch touch)
{
    const uint32_t *sizes = self->plan->sizes.at;
    const uint32_t size_count = (uint32_t)self->plan->sizes.count, slots = self->plan->slots;
    void **table = self->slot;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t draw = bench_draw(&random);
        uint32_t slot = bench_pick((uint32_t)(draw >> 32), slots);
        uint32_t size = sizes[bench_pick((uint32_t)draw, size_count)];
        if (table[slot] != NULL)
            free(table[slot]);
        void *block = malloc(size);
        table[slot] = block;
        if (__builtin_expect(block == NULL, 0)) {
            self->failed = errno;
            break;
        }
        if (touch == TOUCH_ALL)
            memset(block, (int)(draw & 0xff), size);
        if (touch != TOUCH_NONE)
            memcpy(block, &draw, sizeof draw);
        sum += size ^ slot;
    }
    return sum;
}

static uint64_t run_load(struct worker *self, uint64_t phase, uint64_t count)
{
    struct bench_random random = bench_stream(self->plan->seed, self->index, phase);
    switch (self->plan->touch) {
    case TOUCH_ALL:
        return replace_blocks(self, random, count, TOUCH_ALL);
    case TOUCH_NONE:
        return replace_blocks(self, random, count, TOUCH_NONE);
    default:
        return replace_blocks(self, random, count, TOUCH_FIRST);
    }
}

/* Frees the table. Returns the sum of the first words of its blocks. */
static uint64_t empty_table(struct worker *self)
{
    uint64_t sum = 0, word;
    for (uint32_t slot = 0; slot < self->plan->slots; slot++) {
        if (self->slot[slot] != NULL && self->plan->touch != TOUCH_NONE) {
            memcpy(&word, self->slot[slot], sizeof word);
            sum += word;
        }
        free(self->slot[slot]);
        self->slot[slot] = NULL;
    }
    return sum;
}

static void *timed_thread(void *argument)
{
    struct worker *self = argument;
    run_load(self, 0, self->plan->warmup);
    pthread_barrier_wait(self->barrier);
    uint64_t switches = bench_switches();
    double cpu = bench_seconds(CLOCK_THREAD_CPUTIME_ID);
    self->start = bench_seconds(CLOCK_MONOTONIC);
    if (!self->failed)
        self->checksum = run_load(self, 1, self->plan->ops);
    self->end = bench_seconds(CLOCK_MONOTONIC);
    self->cpu = bench_seconds(CLOCK_THREAD_CPUTIME_ID) - cpu;
    self->switches = bench_switches() - switches;
    self->checksum += empty_table(self);
    return NULL;
}

/* ---- the replay ------------------------------------------------------------------------- */

/* The old block of a slot must hold what was written; then it is freed. */
static void retire_block(struct worker *self, uint32_t slot)
{
    if (self->slot[slot] == NULL)
        return;
    if (self->plan->touch != TOUCH_NONE &&
        memcmp(self->slot[slot], &self->held[slot], sizeof self->held[slot]) != 0)
        self->damaged++;
    free(self->slot[slot]);
    self->slot[slot] = NULL;
}

/* The draws of the timed part once more, asking the library about each pointer. */
static void *replay_thread(void *argument)
{
    struct worker *self = argument;
    const struct bench_list *sizes = &self->plan->sizes;
    struct bench_random random = bench_stream(self->plan->seed, self->index, 1);
    for (uint64_t i = 0; i < self->plan->ops && !self->failed; i++) {
        uint64_t draw = bench_draw(&random);
        uint32_t slot = bench_pick((uint32_t)(draw >> 32), self->plan->slots);
        retire_block(self, slot);
        void *block = malloc(sizes->at[bench_pick((uint32_t)draw, (uint32_t)sizes->count)]);
        self->slot[slot] = block;
        if (block == NULL) {
            self->failed = errno;
            break;
        }
        if (bench_on_tidepool())
            self->mix.ops[(unsigned)tide_tier_of(block) % BENCH_TIERS]++;
        memcpy(block, &draw, sizeof draw);
        self->held[slot] = draw;
    }
    for (uint32_t slot = 0; slot < self->plan->slots; slot++)
        retire_block(self, slot);
    return NULL;
}

/* ---- all threads ------------------------------------------------------------------------ */

static void run_threads(const struct plan *plan, struct worker *workers, void *(*body)(void *))
{
    for (uint32_t i = 0; i < plan->threads; i++) {
        int error = pthread_create(&workers[i].thread, NULL, body, &workers[i]);
        if (error)
            bench_die(BENCH_FAILED, "thread %u: %s", i, strerror(error));
    }
    for (uint32_t i = 0; i < plan->threads; i++)
        pthread_join(workers[i].thread, NULL);
    for (uint32_t i = 0; i < plan->threads; i++)
        if (workers[i].failed)
            bench_die(BENCH_FAILED, "malloc failed: %s", strerror(workers[i].failed));
}

static struct worker *make_workers(const struct plan *plan, pthread_barrier_t *barrier)
{
    struct worker *workers = bench_pages(plan->threads * sizeof *workers);
    pthread_barrier_init(barrier, NULL, plan->threads);
    for (uint32_t i = 0; i < plan->threads; i++) {
        workers[i].plan = plan;
        workers[i].barrier = barrier;
        workers[i].index = i;
        workers[i].slot = bench_pages(plan->slots * sizeof *workers[i].slot);
    }
    return workers;
}

static struct result measure(const struct plan *plan)
{
    pthread_barrier_t barrier;
    struct worker *workers = make_workers(plan, &barrier);
    struct result result = {.ops = plan->ops * plan->threads};
    run_threads(plan, workers, timed_thread);
    result.peak_kib = bench_status_kib("VmHWM:");
    result.final_kib = bench_status_kib("VmRSS:");
    double start = workers[0].start, end = workers[0].end;
    uint64_t damaged = 0;
    for (uint32_t i = 0; i < plan->threads; i++) {
        start = workers[i].start < start ? workers[i].start : start;
        end = workers[i].end > end ? workers[i].end : end;
        result.cpu_s += workers[i].cpu;
        result.switches += workers[i].switches;
        result.checksum += workers[i].checksum;
        workers[i].held = bench_pages(plan->slots * sizeof *workers[i].held);
    }
    result.wall_s = end - start + 1e-9;
    result.cpu_s += 1e-9;
    run_threads(plan, workers, replay_thread);
    for (uint32_t i = 0; i < plan->threads; i++) {
        damaged += workers[i].damaged;
        for (size_t tier = 0; tier < BENCH_TIERS; tier++)
            result.mix.ops[tier] += workers[i].mix.ops[tier];
    }
    if (damaged)
        bench_die(BENCH_FAILED, "%llu blocks did not hold what was written to them",
                  (unsigned long long)damaged);
    return result;
}

/* ---- output ----------------------------------------------------------------------------- */

/* Sizes with `separator` between them; at most `most`, then three dots. */
static void print_sizes(const struct bench_list *sizes, const char *separator, size_t most)
{
    for (size_t i = 0; i < sizes->count && i < most; i++)
        printf("%s%u", i ? separator : "", sizes->at[i]);
    if (sizes->count > most)
        printf(" ... (%zu sizes)", sizes->count);
}

static void print_table(const struct plan *plan, const struct result *result)
{
    double mops = (double)result->ops * 1e-6;
    printf("bench_mid_mt_gap: one operation = one malloc and, if the slot was full, one free\n");
    printf("  allocator         %s%s\n", bench_on_tidepool() ? "tidepool " : "not tidepool",
           tide_version != NULL ? tide_version() : "");
    printf("  sizes (bytes)     ");
    print_sizes(&plan->sizes, " ", 12);
    printf("\n  touched           %s\n", plan->touch == TOUCH_ALL ? "every byte is written"
                                         : plan->touch == TOUCH_NONE
                                             ? "nothing"
                                             : "the first 8 bytes are written");
    printf("  threads           %u, with %u slots each; seed %llu\n", plan->threads, plan->slots,
           (unsigned long long)plan->seed);
    printf("  operations        %llu timed per thread, after %llu of untimed warm-up\n",
           (unsigned long long)plan->ops, (unsigned long long)plan->warmup);
    printf("  wall time         %.4f s    %.2f Mops/s\n", result->wall_s, mops / result->wall_s);
    printf("  CPU time          %.4f s    %.2f Mops per CPU second\n", result->cpu_s,
           mops / result->cpu_s);
    printf("  peak RSS          %llu KiB; %llu KiB after every block was freed\n",
           (unsigned long long)result->peak_kib, (unsigned long long)result->final_kib);
    printf("  context switches  %llu involuntary\n", (unsigned long long)result->switches);
    printf("  checksum          %016llx\n", (unsigned long long)result->checksum);
    bench_print_mix(&result->mix);
}

static void print_json(const struct plan *plan, const struct result *result)
{
    double mops = (double)result->ops * 1e-6;
    printf("{\"bench\":\"bench_mid_mt_gap\",\"threads\":%u,\"slots\":%u,\"seed\":%llu,"
           "\"touch\":\"%s\",\"ops\":%llu,\"ops_per_thread\":%llu,\"warmup_ops_per_thread\":%llu,",
           plan->threads, plan->slots, (unsigned long long)plan->seed, touch_name[plan->touch],
           (unsigned long long)result->ops, (unsigned long long)plan->ops,
           (unsigned long long)plan->warmup);
    printf("\"sizes\":[");
    print_sizes(&plan->sizes, ",", SIZE_MAX);
    printf("],\"mops_per_s\":%.4f,\"mops_per_cpu_s\":%.4f,\"wall_s\":%.6f,\"cpu_s\":%.6f,"
           "\"peak_rss_kib\":%llu,\"final_rss_kib\":%llu,\"invol_switches\":%llu,"
           "\"checksum\":\"%016llx\",\"tier_ops\":",
           mops / result->wall_s, mops / result->cpu_s, result->wall_s, result->cpu_s,
           (unsigned long long)result->peak_kib, (unsigned long long)result->final_kib,
           (unsigned long long)result->switches, (unsigned long long)result->checksum);
    bench_json_mix(&result->mix);
    printf("}\n");
}

static void print_csv(const struct plan *plan, const struct result *result)
{
    double mops = (double)result->ops * 1e-6;
    printf("threads,slots,seed,touch,ops,mops_per_s,mops_per_cpu_s,wall_s,cpu_s,peak_rss_kib,"
           "final_rss_kib,invol_switches,checksum,tiny_ops,mid_ops,large_ops\n");
    printf("%u,%u,%llu,%s,%llu,%.4f,%.4f,%.6f,%.6f,%llu,%llu,%llu,%016llx", plan->threads,
           plan->slots, (unsigned long long)plan->seed, touch_name[plan->touch],
           (unsigned long long)result->ops, mops / result->wall_s, mops / result->cpu_s,
           result->wall_s, result->cpu_s, (unsigned long long)result->peak_kib,
           (unsigned long long)result->final_kib, (unsigned long long)result->switches,
           (unsigned long long)result->checksum);
    for (size_t tier = 1; tier < BENCH_TIERS; tier++)
        if (bench_on_tidepool())
            printf(",%llu", (unsigned long long)result->mix.ops[tier]);
        else
            printf(",");
    printf("\n");
}

/* ---- command line ----------------------------------------------------------------------- */

static const char help[] =
    "Usage: bench_mid_mt_gap [OPTION]...\n"
    "Replaces random blocks in a table of slots and tells operations per second. One operation\n"
    "is one malloc and, if the slot was full, one free.\n\n"
    "  --threads N       threads, each with a table of its own (default 1)\n"
    "  --ops N           timed operations per thread (default 1000000; K, M, G = 10^3, 10^6, "
    "10^9)\n"
    "  --sizes LIST      block sizes in bytes, equally likely (default 1024,2048,4096,8192;\n"
    "                    K, M = 2^10, 2^20; 8 and above; an entry may stand several times)\n"
    "  --slots N         slots per thread (default 256)\n"
    "  --seed N          seed of the draws (default 1)\n"
    "  --touch WHAT      first: write the first 8 bytes of each block (default)\n"
    "                    all: write every byte; none: write nothing\n"
    "  --expect-mix MIX  fail unless the tiers served these shares of the operations, in percent:\n"
    "                    tiny=25,mid=75[,large=..][,tolerance=POINTS] (tolerance 1 by default; a\n"
    "                    tier that is not named must serve nothing)\n"
    "  --json, --csv     add one JSON line, or a CSV header and a row, to standard output\n"
    "  --quiet           no table\n"
    "  --help            this text\n\n"
    "The untimed warm-up is a tenth of the timed operations, at least 16 per slot. The tier mix\n"
    "comes from an untimed replay of the timed draws that asks the library about every pointer.\n"
    "Exit status: 0 done, 1 failed or not the mix that was expected, 2 bad input.\n";

static enum touch parse_touch(const char *text)
{
    for (size_t i = 0; i < sizeof touch_name / sizeof *touch_name; i++)
        if (strcmp(text, touch_name[i]) == 0)
            return (enum touch)i;
    bench_die(BENCH_BAD_INPUT, "--touch: '%s' is not first, all or none", text);
}

/* One option. Returns 0 when it was --help. */
static int take_option(struct plan *plan, int option, const char *value)
{
    enum { LIMIT = 1 << 30 };
    switch (option) {
    case 't':
        plan->threads = (uint32_t)bench_number("--threads", value, 1000, 1, 4096);
        return 1;
    case 'o':
        plan->ops = bench_number("--ops", value, 1000, 1, UINT64_C(1) << 48);
        return 1;
    case 's':
        plan->sizes = bench_size_list("--sizes", value, 8, LIMIT);
        return 1;
    case 'n':
        plan->slots = (uint32_t)bench_number("--slots", value, 1000, 1, LIMIT);
        return 1;
    case 'r':
        plan->seed = bench_number("--seed", value, 1000, 0, UINT64_MAX);
        return 1;
    case 'w':
        plan->touch = parse_touch(value);
        return 1;
    case 'm':
        plan->claim = bench_parse_claim(value);
        return 1;
    case 'h':
        fputs(help, stdout);
        return 0;
    default:
        fprintf(stderr, "Try 'bench_mid_mt_gap --help'.\n");
        exit(BENCH_BAD_INPUT);
    }
}

/* Returns 0 when there is nothing to run. */
static int parse_arguments(struct plan *plan, int argc, char **argv)
{
    const struct option options[] = {
        {"threads", 1, NULL, 't'},     {"ops", 1, NULL, 'o'},       {"sizes", 1, NULL, 's'},
        {"slots", 1, NULL, 'n'},       {"seed", 1, NULL, 'r'},      {"touch", 1, NULL, 'w'},
        {"expect-mix", 1, NULL, 'm'},  {"json", 0, &plan->json, 1}, {"csv", 0, &plan->csv, 1},
        {"quiet", 0, &plan->quiet, 1}, {"help", 0, NULL, 'h'},      {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        if (option != 0 && !take_option(plan, option, optarg))
            return 0;
    if (optind < argc)
        bench_die(BENCH_BAD_INPUT, "'%s' is no option; try --help", argv[optind]);
    return 1;
}

int main(int argc, char **argv)
{
    struct plan plan = {.threads = 1, .ops = 1000000, .slots = 256, .seed = 1};
    plan.sizes = bench_size_list("--sizes", "1024,2048,4096,8192", 8, UINT32_MAX);
    if (!parse_arguments(&plan, argc, argv))
        return BENCH_OK;
    plan.warmup = plan.ops / 10;
    if (plan.warmup < 16 * (uint64_t)plan.slots)
        plan.warmup = 16 * (uint64_t)plan.slots;
    struct result result = measure(&plan);
    if (!plan.quiet)
        print_table(&plan, &result);
    if (plan.json)
        print_json(&plan, &result);
    if (plan.csv)
        print_csv(&plan, &result);
    if (fflush(stdout) != 0 || ferror(stdout))
        bench_die(BENCH_FAILED, "cannot write the result: %s", strerror(errno));
    return bench_check_mix(&result.mix, &plan.claim);
}
