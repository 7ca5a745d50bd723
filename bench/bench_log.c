/*
 * bench_log - the shared log against what two cores can hand each other at all.
 *
 * The yardstick, way `pipe`: one thread copies chunks as large as a batch into a ring of
 * 64 MiB and says so by a store, another one reads every byte. (--ahead: the writer may not be
 * further ahead than that; otherwise with small chunks the two hardly meet.) The ways `level=N`:
 * clients append batches, one reader reads every byte of every message in place and checks the
 * order.
 * All ways run once in every round and each round begins with another one; the first round
 * warms up and does not count. A ratio is that of two ways of the same round; what is told are
 * medians of the rounds.
 *
 * Case ancestor is the set-up of the broker that the log descends from: 4 brokers, order level
 * 5, ack ordered (a client goes on when its batch is in the committed prefix), messages of
 * 1 KiB in batches of 1 MiB. In case trip the yardstick is one cache line that goes there and
 * back between two threads, in case wake one that wakes another by the kernel's call.
 *
 * The parts: log_load.h (messages and pipe), log_ways.h (clients and reader), log_trip.h (there
 * and back), log_wake.h (sleepers), log_tell.h (figures).
 */
#define _GNU_SOURCE
#include "log_tell.h"

enum kind { STREAM, SESSIONS, CROWDED, ROUND_TRIP, SOLO, WAKE, APART, FLUSH };
enum forms { LOCKFREE = 1, MUTEX = 2 };

/* What a case sets unless a flag does. */
static const struct setup {
    enum kind kind;
    uint32_t batch; /* bytes of the messages of a batch; 0: one message */
    uint32_t brokers, ordered, forms;
    const char *levels;
} setups[] = {{STREAM, 64 << 10, 1, 0, LOCKFREE, "0,4,5"}, {STREAM, 0, 1, 0, LOCKFREE, "0,4,5"},
              {STREAM, 1 << 20, 4, 1, LOCKFREE, "5"},      {SESSIONS, 4 << 10, 4, 0, 3, "5,4"},
              {CROWDED, 64 << 10, 4, 0, LOCKFREE, "5"},    {ROUND_TRIP, 0, 1, 0, LOCKFREE, "0,5"},
              {SOLO, 0, 1, 0, LOCKFREE, "0,4,5"},          {WAKE, 0, 1, 0, LOCKFREE, "0,5"},
              {APART, 64 << 10, 1, 0, LOCKFREE, "5"},      {FLUSH, 0, 1, 0, LOCKFREE, "5"}};

/* What the flags say; 0, NULL or negative: not given. */
static struct asked {
    uint32_t rounds, batch, brokers, forms;
    uint64_t total, ahead;
    const char *levels;
    int ordered, stepped;
} asked = {.rounds = 5, .ordered = -1};

static const struct setup *setup_of(const struct bench_plan *plan)
{
    return &setups[plan->which - plan->about->cases];
}

/* Messages of a batch. */
static uint32_t count_of(const struct bench_plan *plan, uint32_t size)
{
    uint32_t batch = asked.batch != 0 ? asked.batch : setup_of(plan)->batch;
    if (setup_of(plan)->kind == ROUND_TRIP)
        return 1;
    return batch > size ? batch / size : 1;
}

static uint32_t brokers_of(const struct bench_plan *plan)
{
    if (setup_of(plan)->kind == ROUND_TRIP)
        return 1;
    return asked.brokers != 0 ? asked.brokers : setup_of(plan)->brokers;
}

static int ordered_of(const struct bench_plan *plan)
{
    return asked.ordered >= 0 ? asked.ordered : (int)setup_of(plan)->ordered;
}

static struct bench_list levels_of(const struct bench_plan *plan)
{
    const char *text = asked.levels != NULL ? asked.levels : setup_of(plan)->levels;
    return bench_parse_list("--levels", text, 1000, 0, 5);
}

/* ---- the load --------------------------------------------------------------------------- */

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
    load.in_one = log_sum(load.data, load.bytes);
    for (uint32_t i = 0; i < load.count; i++)
        load.sum += log_sum(load.message[i].data, load.size);
}

/* Batches of a round that every number of clients of the case can share evenly. */
static uint64_t batches_of(const struct bench_plan *plan)
{
    uint64_t clients = plan->threads * (setup_of(plan)->kind == CROWDED ? CROWD : 1u);
    uint64_t messages = plan->ops * plan->threads;
    if (asked.total != 0)
        messages = (asked.total + load.size - 1) / load.size;
    uint64_t batches = (messages + load.count - 1) / load.count;
    if (setup_of(plan)->kind == ROUND_TRIP)
        clients = TRIP_PIECE;
    return (batches + clients - 1) / clients * clients;
}

/* Batches that always fit into the ring of a broker, half of its slots and a quarter of its
 * payload, and no more than a reader takes at once. */
static uint64_t steps_of(const struct bench_plan *plan)
{
    uint64_t room =
        RING / load.brokers / 4 / (load.count * (uint64_t)TIDE_LOG_ROOM(load.size) + 63);
    room = room < plan->slots / 2 ? room : plan->slots / 2;
    room = load.ahead == 0 || room < load.ahead ? room : load.ahead;
    return room < 1 ? 1 : room < READ ? room : READ;
}

static void make_load(const struct bench_plan *plan, uint32_t size)
{
    load = (struct load){.size = size, .count = count_of(plan, size), .rounds = asked.rounds};
    load.brokers = brokers_of(plan);
    load.ordered = (uint32_t)ordered_of(plan);
    load.slots = plan->slots;
    load.ahead = asked.ahead;
    load.seed = plan->seed;
    load.bytes = (uint64_t)load.count * size;
    load.all = batches_of(plan);
    load.step = steps_of(plan);
    make_data(plan);
}

/* ---- ways ------------------------------------------------------------------------------- */

static struct way *add_way(const char *name, int level, uint32_t clients)
{
    struct way *way = &load.way[load.ways++];
    *way = (struct way){.level = level, .clients = clients, .plain = 1};
    way->batches = load.all / clients;
    way->stepped = asked.stepped;
    snprintf(way->name, sizeof way->name, "%s", name);
    return way;
}

/* A way of this level; with a word behind it, it is another one than the plain. */
static struct way *add_level(unsigned level, const char *form, uint32_t clients)
{
    char name[32];
    snprintf(name, sizeof name, "level=%u%s%s", level, *form ? " " : "", form);
    struct way *way = add_way(name, (int)level, clients);
    way->plain = *form == '\0';
    return way;
}

/* One thread does everything. */
static int is_solo(const struct bench_plan *plan)
{
    return setup_of(plan)->kind == SOLO || setup_of(plan)->kind == FLUSH;
}

/* All ways of one level in the case. */
static void add_forms(const struct bench_plan *plan, unsigned level)
{
    const struct setup *setup = setup_of(plan);
    uint32_t forms = asked.forms != 0 ? asked.forms : setup->forms;
    uint32_t clients = is_solo(plan) ? 1 : plan->threads;
    if (level != 4 || forms & LOCKFREE)
        add_level(level, "", clients);
    if (level == 4 && forms & MUTEX)
        add_level(level, "mutex", clients)->mutex = 1;
    if (level == 4 && setup->kind == SESSIONS) {
        struct way *way = add_level(level, "reordered", clients);
        way->reordered = 1;
        way->mutex = !(forms & LOCKFREE);
    }
    if (setup->kind == CROWDED)
        add_level(level, "crowd", clients * CROWD);
    if (setup->kind == APART && level != 0)
        add_level(level, "sequencer", clients)->stepped = 1;
    if (setup->kind == APART || setup->kind == FLUSH)
        for (int hold = 0; hold < 2 && level != 0; hold++) {
            struct way *way = add_level(level, hold ? "lanes held" : "lanes", clients);
            way->apart = way->stepped = 1;
            way->hold = hold;
        }
}

static void make_ways(const struct bench_plan *plan)
{
    struct bench_list levels = levels_of(plan);
    int solo = is_solo(plan);
    add_way("pipe", -1, plan->threads)->team = bench_make_team(plan, solo ? 1 : 2);
    pipe_make();
    for (size_t i = 0; i < levels.count; i++)
        add_forms(plan, levels.at[i].low);
    for (size_t i = 1; i < load.ways; i++) {
        load.way[i].team = bench_make_team(plan, solo ? 1 : load.way[i].clients + 1);
        log_open(&load.way[i]);
    }
}

/* Level 5 a second time, through a sequencer. */
static void make_trips(const struct bench_plan *plan)
{
    struct bench_list levels = levels_of(plan);
    cpu_set_t all;
    trip.pieces = load.all / TRIP_PIECE;
    trip.piece = bench_pages(trip.pieces * sizeof *trip.piece);
    add_way("raw", -1, 1)->stepped = 0;
    for (size_t i = 0; i < levels.count; i++) {
        if (!asked.stepped || levels.at[i].low == 0)
            add_level(levels.at[i].low, "", 1)->stepped = 0;
        if (levels.at[i].low != 0)
            add_level(levels.at[i].low, "sequencer", 1)->stepped = 1;
    }
    for (size_t i = 0; i < load.ways; i++) {
        load.way[i].team =
            bench_make_team(plan, load.way[i].stepped && log_cores(&all) > 2 ? 3 : 2);
        if (load.way[i].level >= 0)
            trip_open(&load.way[i]);
    }
}

/* ---- rounds ----------------------------------------------------------------------------- */

static void keep_costs(struct way *way, const struct bench_result *result, uint32_t round)
{
    way->wall[round] = result->wall_s;
    way->result.cpu_s += round > 0 ? result->cpu_s / load.rounds : 0;
    way->result.switches += result->switches;
    way->result.other_s = result->other_s < 0 ? -1 : way->result.other_s + result->other_s;
    way->result.peak_kib = result->peak_kib;
    way->result.final_kib = result->final_kib;
    way->result.checksum = result->checksum;
}

/* One round of one way. */
static void run_way(struct way *way, uint32_t round)
{
    struct bench_result result = {0};
    uint64_t want = (way->level < 0 ? load.in_one : load.sum) * load.all;
    load.now = way;
    bench_time_team(way->team, way->level < 0 ? pipe_run : log_run, &result, 0);
    if (result.checksum != want)
        bench_die(BENCH_FAILED, "what was read is not what was written");
    keep_costs(way, &result, round);
    for (uint32_t i = 0; round > 0 && way->reordered && i < way->clients; i++)
        way->displaced += way->team->worker[i].damaged;
    if (round == 0)
        way->contended = log_contention(way);
}

static void run_trips(struct way *way, uint32_t round)
{
    struct bench_result result = {0};
    cpu_set_t all;
    load.now = way;
    log_turns = way->team->count > log_cores(&all) ? 1 : 256;
    atomic_store(&trip.over, 0);
    bench_time_team(way->team, trip_run, &result, 0);
    result.wall_s = median_of(trip.piece, trip.pieces) * (double)trip.pieces;
    keep_costs(way, &result, round);
}

/* Level 5 a second time, through a sequencer that sleeps too. */
static void make_wakes(const struct bench_plan *plan)
{
    struct bench_list levels = levels_of(plan);
    wake.took = bench_pages(load.all * sizeof *wake.took);
    add_way("futex", -1, 1)->stepped = 0;
    for (size_t i = 0; i < levels.count; i++) {
        add_level(levels.at[i].low, "", 1)->stepped = 0;
        if (levels.at[i].low != 0)
            add_level(levels.at[i].low, "sequencer", 1)->stepped = 1;
    }
    for (size_t i = 0; i < load.ways; i++) {
        load.way[i].team = bench_make_team(plan, 2);
        if (load.way[i].level >= 0)
            log_open(&load.way[i]);
    }
}

static void run_wakes(struct way *way, uint32_t round)
{
    struct bench_result result = {0};
    load.now = way;
    if (round == 1)
        way->idle_cpu = way->idle_wall = 0; /* the first round warms up */
    bench_time_team(way->team, wake_run, &result, 0);
    result.wall_s = median_of(wake.took, load.all) * (double)load.all;
    way->late[round] = wake.took[load.all - 1 - load.all / 100];
    keep_costs(way, &result, round);
}

static void measure_size(const struct bench_plan *plan, uint32_t size)
{
    enum kind kind = setup_of(plan)->kind;
    int trips = kind == ROUND_TRIP, wakes = kind == WAKE;
    make_load(plan, size);
    (trips ? make_trips : wakes ? make_wakes : make_ways)(plan);
    for (uint32_t round = 0; round <= load.rounds; round++)
        for (size_t k = 0; k < load.ways; k++)
            (trips   ? run_trips
             : wakes ? run_wakes
                     : run_way)(&load.way[(round + k) % load.ways], round);
    for (size_t i = 0; i < load.ways; i++)
        emit_way(plan, &load.way[i], trips || wakes);
    for (size_t i = 1; i < load.ways; i++)
        (trips ? trip_shut : log_shut)(&load.way[i]);
    if (pipe_.ring != NULL)
        munmap(pipe_.ring, RING);
    pipe_ = (struct pipe){0};
}

/* All threads on the first two processors. */
static void take_two_cores(void)
{
    cpu_set_t all, two;
    CPU_ZERO(&two);
    log_cores(&all);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&two) < 2; cpu++)
        if (CPU_ISSET(cpu, &all))
            CPU_SET(cpu, &two);
    if (sched_setaffinity(0, sizeof two, &two) != 0)
        bench_die(BENCH_FAILED, "processors: %s", strerror(errno));
}

static int measure(const struct bench_plan *plan)
{
    if (!plan->quiet)
        printf("bench_log: medians of %u rounds (min..max); %u clients, %u brokers, %s, ack %s\n",
               asked.rounds, plan->threads, brokers_of(plan),
               asked.stepped ? "a sequencer" : "inline", ordered_of(plan) ? "ordered" : "none");
    if (setup_of(plan)->kind == CROWDED)
        take_two_cores();
    for (size_t i = 0; i < plan->sizes.count; i++)
        measure_size(plan, plan->sizes.at[i].low);
    return BENCH_OK;
}

/* ---- the command line ------------------------------------------------------------------- */

static void check_levels(const struct bench_plan *plan)
{
    struct bench_list levels = levels_of(plan);
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
    uint32_t lanes = brokers_of(plan) * (setup_of(plan)->kind == APART ? plan->threads : 1);
    check_levels(plan);
    if (plan->sizes.ranged)
        bench_die(BENCH_BAD_INPUT, "--sizes: no ranges; every size is measured by itself");
    if (asked.stepped && ordered_of(plan))
        bench_die(BENCH_BAD_INPUT, "--ack: ordered goes with --sequencing inline only");
    if (plan->slots < 2 || plan->slots > 1 << 24)
        bench_die(BENCH_BAD_INPUT, "--slots: %u is not within 2..%d", plan->slots, 1 << 24);
    for (size_t i = 0; i < plan->sizes.count; i++) {
        uint32_t size = plan->sizes.at[i].low;
        uint64_t bytes = count_of(plan, size) * (uint64_t)TIDE_LOG_ROOM(size);
        if (bytes > RING / lanes / 64 / 4 * 64)
            bench_die(BENCH_BAD_INPUT, "a batch of %llu bytes with its frames is above %u",
                      (bench_count)bytes, RING / lanes / 64 / 4 * 64);
        if (setup_of(plan)->kind == ROUND_TRIP && size != TRIP)
            bench_die(BENCH_BAD_INPUT, "--sizes: in case trip it is %d bytes, not %u", TRIP, size);
        if (setup_of(plan)->kind == WAKE && size != sizeof(double))
            bench_die(BENCH_BAD_INPUT, "--sizes: in case wake it is 8 bytes, not %u", size);
    }
}

static void take_rounds(const char *value)
{
    asked.rounds = (uint32_t)bench_number("--rounds", value, 1000, 1, ROUNDS_MOST);
}

static void take_batch_size(const char *value)
{
    asked.batch = (uint32_t)bench_number("--batch", value, 1024, 8, BENCH_LIMIT);
}

static void take_total(const char *value)
{
    asked.total = bench_number("--total", value, 1024, 1, UINT64_C(1) << 50);
}

static void take_ahead(const char *value)
{
    asked.ahead = bench_number("--ahead", value, 1000, 1, RING);
}

static void take_brokers(const char *value)
{
    asked.brokers = (uint32_t)bench_number("--brokers", value, 1000, 1, BROKERS_MOST);
}

static void take_levels(const char *value)
{
    asked.levels = value;
}

/* One of some words: its number. */
static uint32_t take_word(const char *flag, const char *value, const char *const *words,
                          uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(value, words[i]) == 0)
            return i;
    bench_die(BENCH_BAD_INPUT, "%s: '%s' is not %s%s%s or %s", flag, value, words[0],
              count > 2 ? ", " : "", count > 2 ? words[1] : "", words[count - 1]);
}

static void take_ack(const char *value)
{
    const char *const words[] = {"none", "ordered"};
    asked.ordered = (int)take_word("--ack", value, words, 2);
}

static void take_sequencing(const char *value)
{
    const char *const words[] = {"inline", "thread"};
    asked.stepped = (int)take_word("--sequencing", value, words, 2);
}

static void take_sessions(const char *value)
{
    const char *const words[] = {"lockfree", "mutex", "both"};
    asked.forms = take_word("--sessions", value, words, 3) + 1;
}

static void take_cores(const char *value)
{
    const char *const words[] = {"own", "any"};
    log_wander = (int)take_word("--cores", value, words, 2);
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
    {"sessions", "FORM", "level 4: lockfree, mutex or both (default: the case's)", take_sessions},
    {"cores", "WHICH",
     "own (default): each thread has a processor of its own, where there are\n"
     "enough; any: wherever the kernel puts it",
     take_cores},
    {"rounds", "N", "rounds that count, in each of which every way runs once (default 5)",
     take_rounds},
    {"ahead", "N",
     "the pipe: chunks that the writer may be ahead of the reader (default: as many\n"
     "as its 64 MiB hold)",
     take_ahead},
    {"total", "BYTES", "payload of a round, of all clients together, instead of --ops", take_total},
    {0},
};

static const struct bench_case cases[] = {
    {"batch", "1K", 200000, NULL, "messages in batches of 64 KiB; levels 0, 4, 5"},
    {"single", "64,1K,4K,16K", 100000, NULL, "batches of one message; levels 0, 4, 5"},
    {"ancestor", "1K", 200000, NULL,
     "4 brokers, level 5, ack ordered, messages in batches of 1 MiB"},
    {"sessions", "1K", 100000, NULL,
     "4 brokers, batches of 4 KiB; level 5, level 4 in both forms, and level 4\n"
     "                    with every other pair of batches the wrong way round"},
    {"busy", "1K", 200000, NULL,
     "4 brokers, batches of 64 KiB, level 5, on two processors: --threads\n"
     "                    clients, then five times as many, with one reader each"},
    {"trip", "32", 20000, NULL,
     "32 bytes there and back between two threads: a cache line, levels 0 and 5,\n"
     "                    level 5 through a sequencer, a third thread (with two\n"
     "                    processors the one that sends back)"},
    {"solo", "64,1K", 500000, NULL,
     "one thread, which appends 16 batches of one message and reads them, in turn;\n"
     "                    to be counted by callgrind, too"},
    {"wake", "8", 300, NULL,
     "a message for a thread that sleeps: futex, levels 0 and 5, level 5 through a\n"
     "                    sequencer that sleeps too; and what sleeping costs"},
    {"noncoherent", "1K", 200000, NULL,
     "messages in batches of 64 KiB; level 5, level 5 through a sequencer, and\n"
     "                    level 5 in lanes, as for memory that is not coherent"},
    {"flush", "64,256,1K,4K,16K,64K", 50000, NULL,
     "one thread, batches of one message; level 5, and in lanes, with each batch\n"
     "                    written back at once, and in groups of 8 or 64 KiB"},
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
    .threads_most = CLIENTS_MOST,
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
