/*
 * bench_frag - fragmentation and blow-up: resident memory beside what the program holds.
 *
 *   fill    allocate --bytes of the sizes of the case
 *   thin    free --free percent of the blocks, at random
 *   refill  allocate other sizes (--other-sizes) until as many bytes are live as before
 *   clear   free everything
 *   idle    the threads sleep for --pause milliseconds without a further call
 *
 * Every thread lives through all phases with blocks of its own, and sleeps at a barrier while
 * main reads the figures. Ratios are resident memory less that of the start, over live bytes.
 * An untimed replay with the same draws asks the library about every block.
 */
#define _GNU_SOURCE
#include "bench_run.h"

enum phase { PHASE_START, PHASE_FILL, PHASE_THIN, PHASE_REFILL, PHASE_CLEAR, PHASES };

static struct bench_list other_sizes;
static uint64_t bytes, asked_bytes;
static uint32_t free_percent = 90, pause_ms = 2000;

/* One thread: its blocks, in `count` places; a size of 0 is a hole. */
struct share {
    void **block;
    uint32_t *size;
    uint32_t most, count;
    uint64_t live; /* bytes; written by the thread, read by main while it sleeps */
    uint64_t ops, refills;
    double spent;
    struct bench_random random;
    int asking;
};

/* What main saw when all threads had ended a phase. */
struct view {
    uint64_t rss_kib, live;
};

static pthread_barrier_t together; /* of the workers and main */
static struct view view[PHASES];

/* ---- one thread ------------------------------------------------------------------------- */

static int add_block(struct bench_worker *self, const struct bench_list *sizes)
{
    struct share *own = self->own;
    uint64_t draw = bench_draw(&own->random);
    uint32_t size = bench_size(sizes, (uint32_t)draw);
    void *block = malloc(size);
    if (block == NULL) {
        self->failed = errno;
        return 0;
    }
    if (own->asking)
        bench_ask(&self->mix, block);
    bench_write(block, size, draw, own->asking ? BENCH_TOUCH_FIRST : self->plan->touch);
    own->block[own->count] = block;
    own->size[own->count++] = size;
    own->live += size;
    own->ops++;
    self->checksum += size + (draw >> 32);
    self->damaged += own->asking ? draw : 0;
    return 1;
}

static void fill(struct bench_worker *self, uint64_t goal)
{
    struct share *own = self->own;
    while (own->live < goal && own->count < self->plan->slots && own->count < own->most)
        if (!add_block(self, &self->plan->sizes))
            return;
}

/* In the replay the sums of what was written and of what is found must be equal. */
static void drop_block(struct bench_worker *self, uint32_t i)
{
    struct share *own = self->own;
    if (own->size[i] == 0)
        return;
    if (own->asking)
        self->damaged -= bench_word(own->block[i], BENCH_TOUCH_FIRST);
    free(own->block[i]);
    own->live -= own->size[i];
    own->size[i] = 0;
    own->ops++;
}

/* Each block goes with the same probability. */
static void thin(struct bench_worker *self)
{
    struct share *own = self->own;
    for (uint32_t i = 0; i < own->count; i++)
        if (bench_pick((uint32_t)bench_draw(&own->random), 100) < free_percent)
            drop_block(self, i);
}

static void refill(struct bench_worker *self, uint64_t goal)
{
    struct share *own = self->own;
    while (own->live < goal && own->refills < self->plan->ops && own->count < own->most) {
        if (!add_block(self, &other_sizes))
            return;
        own->refills++;
    }
}

static void clear(struct bench_worker *self)
{
    struct share *own = self->own;
    for (uint32_t i = 0; i < own->count; i++)
        drop_block(self, i);
    own->count = 0;
}

/* Waits until main has looked. */
static void show(struct share *own, double start)
{
    own->spent += bench_seconds(CLOCK_MONOTONIC) - start;
    pthread_barrier_wait(&together);
    pthread_barrier_wait(&together);
}

static void *live_through(struct bench_worker *self)
{
    struct share *own = self->own;
    uint64_t goal = bytes / self->plan->threads;
    own->random = bench_stream(self->plan->seed, self->index, 1);
    own->refills = 0;
    show(own, bench_seconds(CLOCK_MONOTONIC));
    bench_begin(self);
    for (int phase = PHASE_FILL; phase < PHASES; phase++) {
        double start = bench_seconds(CLOCK_MONOTONIC);
        if (phase == PHASE_FILL) {
            fill(self, goal);
            goal = own->live;
        }
        if (phase == PHASE_THIN)
            thin(self);
        if (phase == PHASE_REFILL)
            refill(self, goal);
        if (phase == PHASE_CLEAR)
            clear(self);
        show(own, start);
    }
    bench_end(self);
    return NULL;
}

/* ---- main's side ------------------------------------------------------------------------ */

static uint64_t rss_idle_kib;

/* A thread of the bench's own beside the workers: looks after every phase. */
static void *look(void *argument)
{
    const struct bench_team *team = argument;
    struct timespec pause = {pause_ms / 1000, pause_ms % 1000 * 1000000L};
    for (int phase = PHASE_START; phase < PHASES; phase++) {
        pthread_barrier_wait(&together);
        view[phase].rss_kib = bench_status_kib("VmRSS:");
        view[phase].live = 0;
        for (uint32_t i = 0; i < team->count; i++)
            view[phase].live += ((const struct share *)team->worker[i].own)->live;
        if (phase == PHASE_CLEAR) {
            nanosleep(&pause, NULL);
            rss_idle_kib = bench_status_kib("VmRSS:");
        }
        pthread_barrier_wait(&together);
    }
    return NULL;
}

static void run_phases(struct bench_team *team, struct bench_result *result)
{
    pthread_t looker;
    pthread_barrier_init(&together, NULL, team->count + 1);
    int error = pthread_create(&looker, NULL, look, team);
    if (error)
        bench_die(BENCH_FAILED, "thread: %s", strerror(error));
    if (result != NULL)
        bench_time_team(team, live_through, result, 0);
    else
        bench_run_team(team, live_through, NULL);
    pthread_join(looker, NULL);
    pthread_barrier_destroy(&together);
}

static void add_phase(struct bench_result *result, enum phase phase, const char *key,
                      const char *text, const char *ratio_key, const char *ratio_text)
{
    double live = (double)view[phase].live / 1024;
    double own = (double)view[phase].rss_kib - (double)view[PHASE_START].rss_kib;
    bench_add_figure(result, key, text, (double)view[phase].rss_kib, 0);
    bench_add_figure(result, ratio_key, ratio_text, live > 0 ? own / live : 0, 3);
}

static void add_figures(struct bench_result *result)
{
    uint64_t peak = view[PHASE_FILL].rss_kib;
    if (view[PHASE_REFILL].rss_kib > peak)
        peak = view[PHASE_REFILL].rss_kib;
    bench_add_figure(result, "live_kib", "bytes live (KiB)", (double)view[PHASE_FILL].live / 1024,
                     0);
    bench_add_figure(result, "start_rss_kib", "RSS start (KiB)", (double)view[PHASE_START].rss_kib,
                     0);
    add_phase(result, PHASE_FILL, "fill_rss_kib", "RSS fill (KiB)", "fill_rss_per_live",
              "    RSS/live");
    add_phase(result, PHASE_THIN, "thin_rss_kib", "RSS thin (KiB)", "thin_rss_per_live",
              "    RSS/live");
    add_phase(result, PHASE_REFILL, "refill_rss_kib", "RSS refill (KiB)", "refill_rss_per_live",
              "    RSS/live");
    bench_add_figure(result, "clear_rss_kib", "RSS clear (KiB)", (double)view[PHASE_CLEAR].rss_kib,
                     0);
    bench_add_figure(result, "idle_rss_kib", "RSS idle (KiB)", (double)rss_idle_kib, 0);
    bench_add_figure(result, "idle_of_peak", "    RSS/peak", (double)rss_idle_kib / (double)peak,
                     3);
    result->final_kib = rss_idle_kib;
}

/* ---- one result ------------------------------------------------------------------------- */

/* Bytes that this process may still take, as far as the system tells. */
static uint64_t available(void)
{
    uint64_t machine = bench_read_key("/proc/meminfo", "MemAvailable:", UINT64_MAX >> 10) << 10;
    uint64_t most = bench_read_key("/sys/fs/cgroup/memory.max", "", UINT64_MAX);
    uint64_t used = bench_read_key("/sys/fs/cgroup/memory.current", "", 0);
    uint64_t group = most > used ? most - used : 0;
    return group < machine ? group : machine;
}

/* The default is 2 GiB, or a third of what is free when that is less. */
static void choose_bytes(const struct bench_plan *plan)
{
    uint64_t usual = (uint64_t)2 << 30, there = available();
    bytes = asked_bytes ? asked_bytes : usual;
    if (bytes > there / 3 && asked_bytes == 0) {
        bytes = there / 3;
        if (!plan->quiet)
            printf("bench_frag: memory is short, so it takes %llu MiB and not %llu\n",
                   (bench_count)(bytes >> 20), (bench_count)(usual >> 20));
    }
    if (bytes > there)
        bench_die(BENCH_FAILED, "--bytes: only %llu MiB of memory are free",
                  (bench_count)(there >> 20));
}

/* If memory runs out all the same, this process is the one that has to go. */
static void go_first(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, "1000", 4) < 0)
        errno = 0; /* not allowed: then not */
    if (fd >= 0)
        close(fd);
}

static struct bench_team *make_shares(const struct bench_plan *plan)
{
    struct bench_team *team = bench_make_team(plan, plan->threads);
    uint32_t smallest = UINT32_MAX;
    for (size_t i = 0; i < other_sizes.count; i++)
        smallest = other_sizes.at[i].low < smallest ? other_sizes.at[i].low : smallest;
    for (size_t i = 0; i < plan->sizes.count; i++)
        smallest = plan->sizes.at[i].low < smallest ? plan->sizes.at[i].low : smallest;
    /* Places are not used again: what fill needs, and what refill needs. */
    uint64_t most = 2 * (bytes / plan->threads / smallest) + 2;
    for (uint32_t i = 0; i < plan->threads; i++) {
        struct share *own = team->worker[i].own = bench_pages(sizeof *own);
        own->most = (uint32_t)(most < BENCH_LIMIT ? most : BENCH_LIMIT);
        own->block = bench_pages(own->most * sizeof *own->block);
        own->size = bench_pages(own->most * sizeof *own->size);
    }
    return team;
}

static int measure(const struct bench_plan *plan)
{
    struct bench_result result = {0};
    choose_bytes(plan);
    go_first();
    struct bench_team *team = make_shares(plan);
    run_phases(team, &result);
    result.wall_s = 1e-9;
    for (uint32_t i = 0; i < team->count; i++) {
        struct share *own = team->worker[i].own;
        result.ops += own->ops;
        result.wall_s = own->spent > result.wall_s ? own->spent : result.wall_s;
        own->asking = 1;
    }
    result.ops_per_thread = result.ops / team->count;
    add_figures(&result);
    pause_ms = 0;
    run_phases(team, NULL);
    bench_gather_proof(team, &result);
    return bench_emit(plan, &result);
}

/* ---- the command line ------------------------------------------------------------------- */

static void take_bytes(const char *value)
{
    asked_bytes = bench_number("--bytes", value, 1024, 1, UINT64_C(1) << 44);
}

static void take_others(const char *value)
{
    other_sizes = bench_parse_list("--other-sizes", value, 1024, 8, BENCH_LIMIT);
}

static void take_free(const char *value)
{
    free_percent = (uint32_t)bench_number("--free", value, 1000, 0, 100);
}

static void take_pause(const char *value)
{
    pause_ms = (uint32_t)bench_number("--pause", value, 1000, 0, 3600000);
}

#define OTHER_SIZES "700,3000,6000,12000,24000"

static const struct bench_flag flags[] = {
    {"bytes", "N",
     "bytes to fill, by all threads together (default 2G, less when memory\nis short: said)",
     take_bytes},
    {"other-sizes", "LIST", "sizes of refill, as --sizes (default " OTHER_SIZES ")", take_others},
    {"free", "PERCENT", "what thin frees (default 90)", take_free},
    {"pause", "MS", "how long idle lasts (default 2000)", take_pause},
    {0},
};

static const struct bench_case cases[] = {
    {"frag", "4K,8K,16K,32K", 1000000000, NULL, "blocks of Mid, then others"},
    {0},
};

static const struct bench_about about = {
    .name = "bench_frag",
    .text = "Fragmentation: fills memory, frees most blocks at random, allocates other sizes,\n"
            "frees everything and waits; tells resident memory after each phase.",
    .operation = "one malloc or one free",
    .cases = cases,
    .flags = flags,
    .threads = "1",
    .threads_text = "threads, each with blocks of its own",
    .threads_most = 4096,
    .ops_text = "allocations of a thread in refill, at most",
    .ops_most = UINT64_C(1) << 48,
    .sizes_text = "sizes of fill in bytes, equally likely: 4K, or 8K-32K for any size from\n"
                  "one to the other; 8 and above; an entry may stand several times",
    .slots = "100M",
    .slots_text = "blocks of a thread in fill, at most",
    .touch = BENCH_TOUCH_ALL,
    .measure = measure,
};

int main(int argc, char **argv)
{
    take_others(OTHER_SIZES);
    return bench_main(argc, argv, &about);
}
