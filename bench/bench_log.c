/*
 * bench_log - the shared log against what two cores can hand each other at all.
 *
 * The yardstick, way `pipe`: one thread copies chunks as large as a batch into a ring of
 * 64 MiB and says so by a store, another one reads every byte. The ways `level=N`: clients
 * append batches, one reader reads every byte of every message in place and checks the order.
 * All ways run once in every round and each round begins with another one; the first round
 * warms up and does not count. A ratio is that to the pipe of the same round; what is told are
 * medians of the rounds.
 *
 * Case ancestor is the set-up of the broker that the log descends from: 4 brokers, order level
 * 5, ack ordered (a client goes on when its batch is in the committed prefix), messages of
 * 1 KiB in batches of 1 MiB.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdatomic.h>

#include <tidepool/log.h>

#include "bench_run.h"

enum { RING = 64 << 20, ROUNDS_MOST = 99, WAYS_MOST = 4, BROKERS_MOST = 32, READ = 16 };

#define PATIENCE INT64_C(120000000000) /* a way that makes no progress for so long has failed */

/* What a case sets unless a flag does. */
static const struct setup {
    uint32_t batch; /* bytes of the messages of a batch; 0: one message */
    uint32_t brokers, ordered;
    const char *levels;
} setups[] = {{64 << 10, 1, 0, "0,4,5"}, {0, 1, 0, "0,4,5"}, {1 << 20, 4, 1, "5"}};

/* What the flags say; 0, NULL or negative: not given. */
static uint32_t rounds = 5, given_batch, given_brokers;
static const char *given_levels;
static int given_ordered = -1, stepped, mutexes;

/* One log or the pipe, made once for all rounds. */
struct way {
    int level; /* -1: the pipe */
    tide_log_t *log;
    tide_log_client_t **client;
    tide_log_reader_t *reader[BROKERS_MOST]; /* one, or at level 0 one for each broker */
    struct bench_team *team;
    uint64_t position, number[BROKERS_MOST]; /* of the reader: what comes next */
    double wall[ROUNDS_MOST + 1];
    struct bench_result result;
};

/* What all ways of one message size share. */
static struct load {
    uint32_t size, count, brokers, ordered, threads;
    uint64_t batches; /* of one client, in one round */
    uint64_t bytes;   /* of a batch, without frames */
    uint64_t sum;     /* of a batch, message by message */
    uint64_t in_one;  /* of its bytes in one piece, as the pipe reads them */
    unsigned char *data;
    struct tide_log_message *message;
    size_t ways;
    struct way way[WAYS_MOST], *now;
} load;

/* The sum of all words, and of the bytes behind the last one. */
static uint64_t sum_of(const unsigned char *at, size_t size)
{
    uint64_t sum[4] = {0}, word[4], all = 0;
    for (; size >= sizeof word; size -= sizeof word, at += sizeof word) {
        memcpy(word, at, sizeof word);
        for (int i = 0; i < 4; i++)
            sum[i] += word[i];
    }
    for (; size >= 8; size -= 8, at += 8) {
        memcpy(word, at, 8);
        all += word[0];
    }
    while (size-- > 0)
        all += *at++;
    return all + sum[0] + sum[1] + sum[2] + sum[3];
}

/* ---- the pipe --------------------------------------------------------------------------- */

/* Counts of chunks. */
static struct pipe {
    _Atomic uint64_t head __attribute__((aligned(128))); /* written by the writer */
    _Atomic uint64_t tail __attribute__((aligned(128))); /* written by the reader */
    unsigned char *ring __attribute__((aligned(128)));
    uint64_t chunks, stride;
} pipe_;

static void pause_or_yield(uint32_t *turns)
{
    if (++*turns % 256 != 0)
        __asm__ volatile("pause" ::: "memory");
    else
        sched_yield();
}

static void write_pipe(uint64_t chunks)
{
    uint64_t first = atomic_load(&pipe_.head), seen = first;
    uint32_t turns = 0;
    for (uint64_t i = first; i < first + chunks; i++) {
        while (i - seen >= pipe_.chunks) {
            seen = atomic_load_explicit(&pipe_.tail, memory_order_acquire);
            if (i - seen >= pipe_.chunks)
                pause_or_yield(&turns);
        }
        memcpy(pipe_.ring + i % pipe_.chunks * pipe_.stride, load.data, load.bytes);
        atomic_store_explicit(&pipe_.head, i + 1, memory_order_release);
    }
}

/* The tail moves as seldom as a cursor of the log. */
static uint64_t read_pipe(uint64_t chunks)
{
    uint64_t at = atomic_load(&pipe_.tail), end = at + chunks, told = at, seen = at, sum = 0;
    uint32_t turns = 0;
    for (; at < end; at++) {
        if (at == seen || at - told >= pipe_.chunks / 16 + 1) {
            atomic_store_explicit(&pipe_.tail, at, memory_order_release);
            told = at;
        }
        while (at == seen) {
            seen = atomic_load_explicit(&pipe_.head, memory_order_acquire);
            if (at == seen)
                pause_or_yield(&turns);
        }
        sum += sum_of(pipe_.ring + at % pipe_.chunks * pipe_.stride, load.bytes);
    }
    atomic_store_explicit(&pipe_.tail, at, memory_order_release);
    return sum;
}

static void *run_pipe(struct bench_worker *self)
{
    uint64_t chunks = load.batches * load.threads;
    bench_begin(self);
    if (self->index == 0)
        write_pipe(chunks);
    else
        self->checksum = read_pipe(chunks);
    bench_end(self);
    return NULL;
}

/* ---- the log ---------------------------------------------------------------------------- */

static void need(int error, const char *what)
{
    char text[256];
    if (error >= 0)
        return;
    tide_log_explain(text, sizeof text);
    bench_die(BENCH_FAILED, "%s: %s: %s", what, strerror(-error), text);
}

static void append_all(struct bench_worker *self)
{
    tide_log_client_t *client = load.now->client[self->index];
    struct tide_log_at at;
    for (uint64_t i = 0; i < load.batches; i++) {
        unsigned broker = (unsigned)((i + self->index) % load.brokers);
        int error =
            load.count == 1
                ? tide_log_append(client, broker, load.data, load.size, PATIENCE, &at)
                : tide_log_append_batch(client, broker, load.message, load.count, PATIENCE, &at);
        need(error, "append");
        if (load.ordered && load.now->level != 0)
            need(tide_log_wait_committed(load.now->log, at.position, PATIENCE), "ack");
    }
}

/* One batch in its turn: the order of the log, and of the client as far as the level has it. */
static uint64_t take_batch(struct way *way, const struct tide_log_batch *batch)
{
    const struct tide_log_frame *frame;
    uint64_t sum = 0;
    size_t at = 0;
    if (way->level != 0 && batch->position != way->position++)
        bench_die(BENCH_FAILED, "position %llu came out of its turn", (bench_count)batch->position);
    if (way->level == 0 && batch->position != way->number[batch->broker]++)
        bench_die(BENCH_FAILED, "position %llu of a broker came out of its turn",
                  (bench_count)batch->position);
    while ((frame = tide_log_next(batch, &at)) != NULL)
        sum += sum_of((const unsigned char *)(frame + 1), frame->length);
    return sum;
}

/* All that is to be read of the round: with several readers each in turn, without waiting. */
static uint64_t read_all(struct way *way)
{
    struct tide_log_batch batch[READ];
    uint64_t left = load.batches * load.threads, sum = 0;
    uint32_t readers = way->level == 0 ? load.brokers : 1, turns = 0;
    for (uint32_t which = 0; left > 0; which = (which + 1) % readers) {
        int got =
            tide_log_read(way->reader[which], batch, READ, readers == 1 ? PATIENCE : TIDE_LOG_TRY);
        if (got == -EAGAIN && which + 1 == readers)
            pause_or_yield(&turns);
        if (got == -EAGAIN)
            continue;
        need(got, "read");
        for (int i = 0; i < got; i++)
            sum += take_batch(way, &batch[i]);
        left -= (uint64_t)got;
    }
    for (uint32_t i = 0; i < readers; i++)
        need(tide_log_done(way->reader[i]), "done");
    return sum;
}

static void *run_log(struct bench_worker *self)
{
    bench_begin(self);
    if (self->index < load.threads)
        append_all(self);
    else
        self->checksum = read_all(load.now);
    bench_end(self);
    return NULL;
}

/* ---- ways ------------------------------------------------------------------------------- */

static void open_log(struct way *way, const struct bench_plan *plan)
{
    struct tide_log_options options = {.level = (unsigned)way->level,
                                       .brokers = load.brokers,
                                       .clients = load.threads + 1,
                                       .readers = load.brokers,
                                       .slots = plan->slots,
                                       .payload = RING / load.brokers / 64 * 64,
                                       .sequencing = stepped ? TIDE_LOG_STEPPED : TIDE_LOG_INLINE,
                                       .sessions = mutexes ? TIDE_LOG_MUTEX : TIDE_LOG_LOCKFREE};
    need(tide_log_create(&way->log, &options), "log");
    for (unsigned i = 0; i < (way->level == 0 ? load.brokers : 1); i++) {
        struct tide_log_reader_options at = {.broker = i};
        need(tide_log_reader_open(&way->reader[i], way->log, &at), "reader");
    }
    way->client = bench_pages(load.threads * sizeof(tide_log_client_t *));
    for (unsigned i = 0; i < load.threads; i++) {
        struct tide_log_client_options who = {.id = i};
        need(tide_log_client_open(&way->client[i], way->log, &who), "client");
    }
    if (stepped && way->level != 0)
        need(tide_log_start(way->log, -1), "sequencer");
}

static void close_log(struct way *way)
{
    for (unsigned i = 0; i < load.threads; i++)
        need(tide_log_client_close(way->client[i]), "client");
    for (unsigned i = 0; i < BROKERS_MOST; i++)
        need(tide_log_reader_close(way->reader[i]), "reader");
    need(tide_log_close(way->log), "log");
}

static const struct setup *setup_of(const struct bench_plan *plan)
{
    return &setups[plan->which - plan->about->cases];
}

/* Messages of a batch. */
static uint32_t count_of(const struct bench_plan *plan, uint32_t size)
{
    uint32_t batch = given_batch != 0 ? given_batch : setup_of(plan)->batch;
    return batch > size ? batch / size : 1;
}

static uint32_t brokers_of(const struct bench_plan *plan)
{
    return given_brokers != 0 ? given_brokers : setup_of(plan)->brokers;
}

static int ordered_of(const struct bench_plan *plan)
{
    return given_ordered >= 0 ? given_ordered : (int)setup_of(plan)->ordered;
}

static void make_data(const struct bench_plan *plan)
{
    struct bench_random random = bench_stream(plan->seed, 0, 0);
    load.data = bench_pages(load.bytes + 8);
    for (uint64_t at = 0; at < load.bytes; at += 8)
        memcpy(load.data + at, &(uint64_t){bench_draw(&random)}, 8);
    load.message = bench_pages(load.count * sizeof *load.message);
    for (uint32_t i = 0; i < load.count; i++)
        load.message[i] =
            (struct tide_log_message){load.data + (size_t)i * load.size, load.size, i};
    load.in_one = sum_of(load.data, load.bytes);
    for (uint32_t i = 0; i < load.count; i++)
        load.sum += sum_of(load.message[i].data, load.size);
}

static void make_load(const struct bench_plan *plan, uint32_t size)
{
    load = (struct load){.size = size, .count = count_of(plan, size), .threads = plan->threads};
    load.brokers = brokers_of(plan);
    load.ordered = (uint32_t)ordered_of(plan);
    load.bytes = (uint64_t)load.count * size;
    load.batches = (plan->ops + load.count - 1) / load.count;
    make_data(plan);
    pipe_.stride = (load.bytes + 63) / 64 * 64;
    pipe_.chunks = RING / pipe_.stride;
    pipe_.ring = bench_pages(RING);
}

static void make_ways(const struct bench_plan *plan)
{
    const char *text = given_levels != NULL ? given_levels : setup_of(plan)->levels;
    struct bench_list levels = bench_parse_list("--levels", text, 1000, 0, 5);
    load.way[load.ways++] = (struct way){.level = -1, .team = bench_make_team(plan, 2)};
    for (size_t i = 0; i < levels.count; i++) {
        struct way *way = &load.way[load.ways++];
        *way = (struct way){.level = (int)levels.at[i].low,
                            .team = bench_make_team(plan, load.threads + 1)};
        open_log(way, plan);
    }
}

/* One round of one way. */
static void run_way(struct way *way, uint32_t round)
{
    struct bench_result result = {0};
    uint64_t want = (way->level < 0 ? load.in_one : load.sum) * load.batches * load.threads;
    load.now = way;
    bench_time_team(way->team, way->level < 0 ? run_pipe : run_log, &result, 0);
    if (result.checksum != want)
        bench_die(BENCH_FAILED, "what was read is not what was written");
    way->wall[round] = result.wall_s;
    way->result.cpu_s += round > 0 ? result.cpu_s / rounds : 0;
    way->result.switches += result.switches;
    way->result.other_s = result.other_s < 0 ? -1 : way->result.other_s + result.other_s;
    way->result.peak_kib = result.peak_kib;
    way->result.final_kib = result.final_kib;
    way->result.checksum = result.checksum;
}

/* ---- results ---------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Least, median and most of figures of the rounds that count. */
struct spread {
    double low, middle, high;
};

static struct spread spread_of(double *value)
{
    qsort(value, rounds, sizeof *value, by_value);
    double middle = (value[(rounds - 1) / 2] + value[rounds / 2]) / 2;
    return (struct spread){value[0], middle, value[rounds - 1]};
}

static uint64_t contention_of(const struct way *way)
{
    struct tide_log_stat stat = {0};
    if (way->level >= 0)
        need(tide_log_stat(way->log, &stat), "stat");
    return stat.contention;
}

static int emit_way(const struct bench_plan *all, struct way *way)
{
    struct bench_plan plan = *all;
    struct bench_result *result = &way->result;
    double wall[ROUNDS_MOST], rate[ROUNDS_MOST], ratio[ROUNDS_MOST];
    for (uint32_t i = 0; i < rounds; i++) {
        wall[i] = way->wall[i + 1];
        rate[i] = (double)(load.bytes * load.batches * load.threads) * 1e-9 / wall[i];
        ratio[i] = load.way[0].wall[i + 1] / wall[i];
    }
    struct spread gb = spread_of(rate), to_pipe = spread_of(ratio);
    result->ops_per_thread = load.batches * load.count;
    result->warmup = result->ops_per_thread;
    result->ops = result->ops_per_thread * load.threads;
    result->wall_s = spread_of(wall).middle;
    bench_add_figure(result, "level", "order level", way->level, 0);
    bench_add_figure(result, "brokers", "brokers", load.brokers, 0);
    bench_add_figure(result, "message_bytes", "message (bytes)", load.size, 0);
    bench_add_figure(result, "batch_bytes", "batch (bytes)", (double)load.bytes, 0);
    bench_add_figure(result, "gb_per_s", "payload (GB/s)", gb.middle, 4);
    bench_add_figure(result, "gb_per_s_min", "    least", gb.low, 4);
    bench_add_figure(result, "gb_per_s_max", "    most", gb.high, 4);
    bench_add_figure(result, "ratio_to_pipe", "ratio to the pipe", to_pipe.middle, 3);
    bench_add_figure(result, "contention", "contention", (double)contention_of(way), 0);
    int length = snprintf(plan.label, sizeof plan.label, "%.20s %u in %llu ", all->label, load.size,
                          (bench_count)load.bytes);
    snprintf(plan.label + length, sizeof plan.label - (size_t)length,
             way->level < 0 ? "pipe" : "level=%d", way->level);
    if (!plan.quiet)
        printf("  %-40s %8.3f GB/s  (%.3f..%.3f)  %6.3f x pipe\n", plan.label, gb.middle, gb.low,
               gb.high, to_pipe.middle);
    plan.quiet = 1;
    return bench_emit(&plan, result);
}

static void measure_size(const struct bench_plan *plan, uint32_t size)
{
    make_load(plan, size);
    make_ways(plan);
    for (uint32_t round = 0; round <= rounds; round++)
        for (size_t k = 0; k < load.ways; k++)
            run_way(&load.way[(round + k) % load.ways], round);
    for (size_t i = 0; i < load.ways; i++)
        emit_way(plan, &load.way[i]);
    for (size_t i = 1; i < load.ways; i++)
        close_log(&load.way[i]);
    munmap(pipe_.ring, RING);
    pipe_ = (struct pipe){0};
}

static int measure(const struct bench_plan *plan)
{
    if (!plan->quiet)
        printf("bench_log: medians of %u rounds (min..max); %u clients, %u brokers, %s, ack %s\n",
               rounds, plan->threads, brokers_of(plan), stepped ? "a sequencer" : "inline",
               ordered_of(plan) ? "ordered" : "none");
    for (size_t i = 0; i < plan->sizes.count; i++)
        measure_size(plan, plan->sizes.at[i].low);
    return BENCH_OK;
}

/* ---- the command line ------------------------------------------------------------------- */

static void check_levels(const struct bench_plan *plan)
{
    const char *text = given_levels != NULL ? given_levels : setup_of(plan)->levels;
    struct bench_list levels = bench_parse_list("--levels", text, 1000, 0, 5);
    if (levels.count >= WAYS_MOST)
        bench_die(BENCH_BAD_INPUT, "--levels: more than %d of them", WAYS_MOST - 1);
    for (size_t i = 0; i < levels.count; i++) {
        if (levels.at[i].low >= 1 && levels.at[i].low <= 3)
            bench_die(BENCH_BAD_INPUT, "--levels: %u is not 0, 4 or 5", levels.at[i].low);
        for (size_t j = 0; j < i; j++)
            if (levels.at[i].low == levels.at[j].low)
                bench_die(BENCH_BAD_INPUT, "--levels: %u stands there twice", levels.at[i].low);
    }
}

static void check(const struct bench_plan *plan)
{
    uint32_t brokers = brokers_of(plan);
    check_levels(plan);
    if (plan->sizes.ranged)
        bench_die(BENCH_BAD_INPUT, "--sizes: no ranges; every size is measured by itself");
    if (stepped && ordered_of(plan))
        bench_die(BENCH_BAD_INPUT, "--ack: ordered goes with --sequencing inline only");
    if (plan->slots < 2 || plan->slots > 1 << 24)
        bench_die(BENCH_BAD_INPUT, "--slots: %u is not within 2..%d", plan->slots, 1 << 24);
    for (size_t i = 0; i < plan->sizes.count; i++) {
        uint32_t size = plan->sizes.at[i].low;
        uint64_t bytes = count_of(plan, size) * (uint64_t)TIDE_LOG_ROOM(size);
        if (bytes > RING / brokers / 64 / 4 * 64)
            bench_die(BENCH_BAD_INPUT, "a batch of %llu bytes with its frames is above %u",
                      (bench_count)bytes, RING / brokers / 64 / 4 * 64);
    }
}

static void take_rounds(const char *value)
{
    rounds = (uint32_t)bench_number("--rounds", value, 1000, 1, ROUNDS_MOST);
}

static void take_batch_size(const char *value)
{
    given_batch = (uint32_t)bench_number("--batch", value, 1024, 8, BENCH_LIMIT);
}

static void take_brokers(const char *value)
{
    given_brokers = (uint32_t)bench_number("--brokers", value, 1000, 1, BROKERS_MOST);
}

static void take_levels(const char *value)
{
    given_levels = value;
}

/* One of two words: 0 or 1. */
static int take_word(const char *flag, const char *value, const char *no, const char *yes)
{
    if (strcmp(value, no) != 0 && strcmp(value, yes) != 0)
        bench_die(BENCH_BAD_INPUT, "%s: '%s' is not %s or %s", flag, value, no, yes);
    return strcmp(value, yes) == 0;
}

static void take_ack(const char *value)
{
    given_ordered = take_word("--ack", value, "none", "ordered");
}

static void take_sequencing(const char *value)
{
    stepped = take_word("--sequencing", value, "inline", "thread");
}

static void take_sessions(const char *value)
{
    mutexes = take_word("--sessions", value, "lockfree", "mutex");
}

static const struct bench_flag flags[] = {
    {"levels", "LIST", "order levels, out of 0, 4 and 5 (default: the case's)", take_levels},
    {"batch", "BYTES", "payload of a batch; below two messages: one (default: the case's)",
     take_batch_size},
    {"brokers", "N", "brokers, which share 64 MiB of payload (default: the case's)", take_brokers},
    {"ack", "WHAT",
     "none, or ordered: a client goes on when its batch is committed\n"
     "(default: the case's)",
     take_ack},
    {"sequencing", "WHO", "who gives the places: inline (default) or a thread", take_sequencing},
    {"sessions", "FORM", "level 4: lockfree (default) or mutex", take_sessions},
    {"rounds", "N", "rounds that count, in each of which every way runs once (default 5)",
     take_rounds},
    {0},
};

static const struct bench_case cases[] = {
    {"batch", "1K", 200000, NULL, "messages in batches of 64 KiB; levels 0, 4, 5"},
    {"single", "64,1K,16K", 100000, NULL, "batches of one message; levels 0, 4, 5"},
    {"ancestor", "1K", 200000, NULL,
     "4 brokers, level 5, ack ordered, messages in batches of 1 MiB"},
    {0},
};

static const struct bench_about about = {
    .name = "bench_log",
    .text = "Appends to the shared log, reads every byte of it in order, and compares that with a\n"
            "pipe between two threads in the same run. It uses no malloc.",
    .operation = "one message, appended, ordered and read",
    .cases = cases,
    .flags = flags,
    .asks_nobody = 1,
    .threads = "1",
    .threads_text = "clients; one more thread reads",
    .threads_most = 64,
    .ops_text = "messages of a client in a round",
    .ops_most = UINT64_C(1) << 40,
    .sizes_text = "sizes of messages in bytes, each measured by itself",
    .slots = "4096",
    .slots_text = "batches that the ring of a broker holds",
    .check = check,
    .measure = measure,
};

int main(int argc, char **argv)
{
    return bench_main(argc, argv, &about);
}
