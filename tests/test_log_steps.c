/*
 * test_log_steps.c - all workers of a log as fibers, switched at every access of a shared word
 * by a seed: rings of 2, 3, 5, 7 and 8 slots, counters that begin near 2^31, 2^32 and 2^63.
 *
 * LOG_SEED=N repeats one run, LOG_SEEDS=N makes that many of each kind.
 */
#include "log_run.h"

#include "log_fiber.h"

#include "box/park.h"

enum { SEEDS = 60, BATCHES = 30, EVENTS = 40000 };

static struct log_run run;
static struct log_producer producer[LOG_RUN_PRODUCERS];
static struct log_reader reader[LOG_RUN_READERS];

static const uint64_t slots[] = {2, 3, 5, 7, 8};
static const uint64_t first[] = {0, 0x7fffffe0, 0xffffffe0, (UINT64_C(1) << 63) - 32};

static uint64_t from_environment(const char *name, uint64_t initial)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : initial;
}

/* Clients 0 and 1 have a producer each; client 2 has two, which share its numbers. */
static void add_producers(uint64_t seed)
{
    uint32_t epoch = 0;
    for (uint32_t i = 0; i < 4; i++) {
        bool shared = i >= 2 && run.map.level == 4;
        producer[i] = (struct log_producer){.run = &run,
                                            .random = (seed * 4 + i + 1) * 0x9e3779b97f4a7c15u,
                                            .step = shared ? 2 : 1,
                                            .end = BATCHES};
        if (shared && i == 3) {
            ck_assert(tide_broker_open(&producer[i].broker, &run.map, 2, 1, 0));
            producer[i].broker.epoch = epoch;
            producer[i].first = 1;
        } else {
            producer[i].broker = log_producer(&run.map, i);
            if (run.map.keeps)
                tide_broker_keep(&producer[i].broker);
            epoch = producer[i].broker.epoch;
        }
        atomic_fetch_add(&run.producing, 1);
        fiber_add(log_run_produce, &producer[i]);
    }
}

static void add_reader(uint8_t who, uint32_t broker, uint64_t seed, enum tide_layout_policy policy)
{
    reader[who] = (struct log_reader){.run = &run, .who = who, .random = (seed + who + 1) * 77};
    reader[who].sub = log_reader(&run.map, broker, policy);
    fiber_add(log_run_read, &reader[who]);
}

/* At level 0 a reader has one broker. */
static void add_all(uint64_t seed, bool skips, bool detaches)
{
    uint32_t brokers = run.map.level == 0 ? run.map.brokers : 1;
    add_reader(0, 0, seed, TIDE_LAYOUT_GATE);
    add_reader(1, 0, seed, TIDE_LAYOUT_GATE);
    if (skips)
        add_reader(2, 0, seed, TIDE_LAYOUT_SKIP);
    if (detaches)
        add_reader(3, (uint32_t)(seed / 4 % brokers), seed, TIDE_LAYOUT_DETACH);
    for (uint8_t i = 1; i < brokers; i++)
        add_reader(3 + i, i, seed, TIDE_LAYOUT_GATE);
    add_producers(seed);
    for (int i = 0; i < atomic_load(&run.sequencing); i++)
        fiber_add(log_run_sequence, &run);
    if (run.map.level != 0)
        fiber_add(log_run_observe, &run);
    fiber_add(log_run_trim, &run);
    if (run.expires != 0)
        fiber_add(log_run_expire, &run);
}

/* At level 4 rings are tiny, or batches are far ahead of their turn: both together fill the
 * rings with batches that wait for one that finds no room. So would what is aborted or sent once
 * more: it has a slot until those before it are released. */
static void run_once(uint32_t level, uint64_t features, uint64_t seed)
{
    bool skips = seed % 3 == 0, detaches = seed % 4 == 1, roomy = level == 4 && seed / 2 % 2;
    uint64_t granules = (8 + seed / 5 % 13) * (roomy ? 32 : 1);
    log_make(&run.map, (struct tide_layout_wish){.level = level,
                                                 .features = features,
                                                 .brokers = 1 + seed / 3 % LOG_RUN_BROKERS,
                                                 .slots = slots[seed % 5] * (roomy ? 32 : 1),
                                                 .payload = 64 * granules,
                                                 .window = roomy ? 3 + seed % 7 : 2,
                                                 .sessions = 4,
                                                 .retain = skips ? TIDE_LAYOUT_OLD : 0,
                                                 .first = first[seed / 2 % 4]});
    run.map.keeps = level == 4 && !run.map.stepped && seed / 8 % 2 && tide_park_ready();
    run.history = log_history_new(level, 0, EVENTS);
    for (uint32_t i = 1; level == 0 && i < run.map.brokers; i++)
        run.apart[i] = log_history_new(level, 0, EVENTS);
    run.wait = fiber_wait;
    run.most = (uint32_t)tide_min(granules / 4 * 64, 300);
    run.aborts = level != 0 && seed % 2 && (level != 4 || roomy);
    run.resends = level == 4 && seed / 2 % 2;
    run.reopens = level == 4 && seed / 4 % 2;
    run.expires = run.reopens && roomy ? BATCHES - run.map.window - 2 : 0;
    atomic_store(&run.producing, 0);
    atomic_store(&run.sequencing, run.map.stepped && level != 0 ? 2 : 0);
    fibers.random = (seed + 1) * 0xd6e8feb86659fd93u;
    fibers.most = 4000000;
    fibers.exhaustive = false;
    add_all(seed, skips, detaches);
    fiber_run();
    log_run_check(&run, seed);
    log_run_check_empty(&run);
    for (uint32_t i = 0; level == 4 && i < 3; i++) {
        ck_assert_uint_eq(tide_session_expected(&run.map, i), BATCHES);
        ck_assert_uint_eq(atomic_load(&run.map.session[i].held), 0);
    }
    if (skips)
        tide_sub_close(&reader[2].sub);
    if (detaches)
        tide_sub_close(&reader[3].sub);
    log_history_free(run.history);
    for (uint32_t i = 1; level == 0 && i < run.map.brokers; i++)
        log_history_free(run.apart[i]);
    log_drop(&run.map);
}

static void run_seeds(uint32_t level, uint64_t features)
{
    uint64_t seed = from_environment("LOG_SEED", UINT64_MAX);
    uint64_t count = from_environment("LOG_SEEDS", SEEDS);
    if (seed != UINT64_MAX) {
        run_once(level, features, seed);
        return;
    }
    for (run.expired = run.detached = 0, seed = 0; seed < count; seed++)
        run_once(level, features, seed);
    ck_assert_uint_ge(run.expired, level == 4 && count >= SEEDS ? 10 : 0);
    ck_assert_uint_ge(run.detached, count >= SEEDS ? 3 : 0);
}

#include "log_kinds.h"

LOG_KINDS_MAIN("log_steps")
