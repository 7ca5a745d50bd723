/*
 * test_mend.c - logs whose users stop in the middle of anything: fibers that are all gone at a
 * point that a seed says, repairs that are themselves stopped, and states made by hand.
 *
 * LOG_SEED=N repeats one run, LOG_SEEDS=N makes that many of each kind.
 */
#include "log_run.h"

#include "log_fiber.h"

#include "box/mend.h"

enum { SEEDS = 300, PHASES = 4, BATCHES = 24, EVENTS = 200000 };

static struct log_run run;
static struct log_producer producer[LOG_RUN_PRODUCERS];
static struct log_reader reader[LOG_WHO];
static struct tide_mend_report report, sum;
static struct tide_layout_fault fault;
static int mended;

static const uint64_t slots[] = {2, 3, 5, 7, 8, 16};
static const uint64_t first[] = {0, 0x7fffffe0, 0xffffffe0, (UINT64_C(1) << 63) - 32};

/* --- crashes at any point ---------------------------------------------------------------- */

/* Goes on where the log says, or behind the batch that it does not know the fate of. */
static void go_on(uint32_t i, int phase, uint64_t seed)
{
    struct log_producer *self = &producer[i];
    bool shares = run.map.level == 4 && i == 3;
    uint64_t next = phase == 0 ? 0 : self->broker.next + 1;
    *self = (struct log_producer){.run = &run,
                                  .random = (seed * 8 + (uint64_t)phase * 4 + i + 1) * 0x9e3779b9u,
                                  .step = run.map.level == 4 && i >= 2 ? 2 : 1};
    if (shares) { /* the numbers of client 2 */
        ck_assert(tide_broker_open(&self->broker, &run.map, 2, 1, 0));
        self->broker.epoch = producer[2].broker.epoch;
        next = producer[2].first + 1;
    } else {
        self->broker = log_producer(&run.map, i);
        next = run.map.level == 4 ? self->broker.next : next;
    }
    if (run.map.level == 4 && !shares)
        log_note(run.history, (struct log_event){.kind = LOG_OPEN,
                                                 .client = (uint8_t)i,
                                                 .epoch = self->broker.epoch,
                                                 .number = next});
    self->first = self->broker.next = next;
    self->end = (shares ? producer[2].end : next + BATCHES);
    atomic_fetch_add(&run.producing, 1);
    fiber_add(log_run_produce, self);
}

static void add_all(int phase, uint64_t seed)
{
    struct log_reader *self = &reader[phase];
    *self = (struct log_reader){.run = &run, .who = (uint8_t)(phase + 1), .random = seed + 9};
    self->sub = log_reader(&run.map, 0, TIDE_LAYOUT_GATE);
    fiber_add(log_run_read, self);
    atomic_store(&run.producing, 0);
    for (uint32_t i = 0; i < (run.map.level == 0 ? 1 : 4); i++)
        go_on(i, phase, seed);
    atomic_store(&run.sequencing, run.map.stepped && run.map.level != 0 ? 2 : 0);
    for (int i = 0; i < atomic_load(&run.sequencing); i++)
        fiber_add(log_run_sequence, &run);
    if (run.map.level != 0)
        fiber_add(log_run_observe, &run);
    fiber_add(log_run_trim, &run);
}

/* What was acknowledged in the committed prefix keeps its place; what was behind a hole gets
 * one. */
static void forget_places(void)
{
    uint64_t place = atomic_load(&run.map.head->trimmed_place);
    while (run.map.level != 0 && tide_order_see(&run.map, place) != NULL)
        place++;
    for (size_t i = 0; i < run.history->count; i++) {
        struct log_event *event = &run.history->event[i];
        if (event->kind == LOG_ACK && event->position >= place && run.map.level != 0)
            event->kind = LOG_TAKEN;
        if (event->kind == LOG_END) /* of readers that got to the end before */
            event->kind = LOG_NOTHING;
    }
}

static void mend_once(void *unused)
{
    (void)unused;
    mended = tide_mend(&run.map, &report, &fault);
}

/* Stopped as well, a few times, at any point. */
static void mend(uint64_t *random)
{
    forget_places();
    for (int i = (int)(unit_random(random) % 3); i > 0; i--) {
        fibers.stop = 1 + unit_random(random) % 400;
        fiber_add(mend_once, NULL);
        fiber_run();
        forget_places();
    }
    fibers.stop = 0;
    mend_once(NULL);
    UNIT_HOLD(mended == 0, "%s: %llu, not %llu to %llu", fault.what,
              (unsigned long long)fault.value, (unsigned long long)fault.low,
              (unsigned long long)fault.high);
    sum.moved += report.moved;
    sum.placed += report.placed;
    sum.padded += report.padded;
}

static void make(uint32_t level, uint64_t features, uint64_t seed)
{
    bool roomy = level == 4;
    uint64_t granules = (8 + seed / 5 % 13) * (roomy ? 32 : 1);
    log_make(&run.map, (struct tide_layout_wish){.level = level,
                                                 .features = features,
                                                 .brokers = level == 0 ? 1 : 1 + seed / 3 % 3,
                                                 .slots = slots[seed % 6] * (roomy ? 32 : 1),
                                                 .payload = 64 * granules,
                                                 .window = 3 + seed % 7,
                                                 .sessions = 4,
                                                 .first = first[seed / 2 % 4]});
    run.history = log_history_new(level, 0, EVENTS);
    run.wait = fiber_wait;
    run.most = (uint32_t)tide_min(granules / 4 * 64, 300);
    run.aborts = level != 0 && seed % 2;
    run.resends = run.reopens = level == 4 && seed / 2 % 2;
}

static void run_once(uint32_t level, uint64_t features, uint64_t seed)
{
    uint64_t random = (seed + 1) * 0x2545f4914f6cdd1du;
    make(level, features, seed);
    fibers.random = (seed + 1) * 0xd6e8feb86659fd93u;
    fibers.most = 4000000;
    for (int phase = 0; phase < PHASES; phase++) {
        fibers.stop = phase + 1 < PHASES ? 1 + unit_random(&random) % 4000 : 0;
        add_all(phase, seed);
        fiber_run();
        if (phase + 1 < PHASES)
            mend(&random);
    }
    log_run_check(&run, seed);
    log_run_check_empty(&run);
    log_history_free(run.history);
    log_drop(&run.map);
}

static uint64_t from_environment(const char *name, uint64_t initial)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : initial;
}

/* What can happen happened. */
static void run_seeds(uint32_t level, uint64_t features)
{
    uint64_t seed = from_environment("LOG_SEED", UINT64_MAX);
    uint64_t count = from_environment("LOG_SEEDS", SEEDS);
    memset(&sum, 0, sizeof sum);
    if (seed != UINT64_MAX) {
        run_once(level, features, seed);
        return;
    }
    for (seed = 0; seed < count; seed++)
        run_once(level, features, seed);
    if (getenv("LOG_TELL") != NULL)
        dprintf(2, "level %u: %llu moved, %llu placed, %llu padded\n", level,
                (unsigned long long)sum.moved, (unsigned long long)sum.placed,
                (unsigned long long)sum.padded);
    ck_assert(count < SEEDS || sum.padded > 0);
    ck_assert(count < SEEDS || level == 0 || sum.placed > 0);
    ck_assert(count < SEEDS || level == 0 || features & TIDE_LAYOUT_MUTEX || sum.moved > 0);
}

#include "log_kinds.h"

LOG_KINDS_MAIN("mend")
