/*
 * test_outage.c - the machine stops: what is left is the medium, each line of which was written
 * at a moment of its own; syncs, and whoever writes lines back unasked, run beside the rest.
 *
 * LOG_SEED=N repeats one run, LOG_SEEDS=N makes that many of each kind.
 */
#include "log_run.h"

#include "log_fiber.h"

#include "box/durable.h"
#include "box/mend.h"

enum { SEEDS = 150, PHASES = 4, BATCHES = 24, EVENTS = 200000 };

static struct log_run run;
static struct log_producer producer[LOG_RUN_PRODUCERS];
static struct log_reader reader[LOG_WHO];
static struct tide_durable durable;
static struct tide_logroom area, area_disk;
static unsigned char *disk; /* of the log */
static uint64_t random_, next[LOG_RUN_PRODUCERS];
static struct {
    uint64_t syncs, lost, beyond, kept;
} sum;

static const uint64_t slots[] = {2, 3, 5, 8, 16, 32};
static const uint64_t first[] = {0, 0x7fffffe0, 0xffffffe0, (UINT64_C(1) << 63) - 32};

/* --- the medium --------------------------------------------------------------------------- */

static void write_line(uint64_t offset)
{
    memcpy(disk + offset, run.map.base + offset, TIDE_LINE);
}

/* A sync: line by line, while others go on. */
static int write_back(const void *at, size_t bytes)
{
    if (at == &area)
        memcpy((void *)&area_disk, (void *)&area, sizeof area);
    else if (at != NULL)
        for (uint64_t i = 0; i < bytes; i += TIDE_LINE) {
            uint64_t offset = (uint64_t)((const unsigned char *)at - run.map.base) + i;
            write_line(offset / TIDE_LINE * TIDE_LINE);
            if (tide_coh_hook != NULL && unit_random(&random_) % 64 == 0)
                fiber_point();
        }
    return 0;
}

/* The kernel writes what it likes, the area too. */
static void write_some(void *unused)
{
    (void)unused;
    while (!log_run_is_over(&run)) {
        uint64_t lines = run.map.size / TIDE_LINE, draw = unit_random(&random_);
        uint64_t at = draw % lines, count = draw / lines % 16;
        for (uint64_t i = at; i < lines && i < at + count; i++)
            write_line(i * TIDE_LINE);
        if (draw % 8 == 0) /* half a line, even */
            memcpy((unsigned char *)&area_disk + draw / 8 % 1024 / 8 * 8,
                   (unsigned char *)&area + draw / 8 % 1024 / 8 * 8, 24);
        fiber_wait();
    }
}

static void sync_often(void *unused)
{
    (void)unused;
    while (!log_run_is_over(&run)) {
        ck_assert_int_eq(tide_durable_step(&durable), 0);
        for (uint64_t i = unit_random(&random_) % 30; i > 0; i--)
            fiber_wait();
    }
}

/* --- phases ------------------------------------------------------------------------------- */

static void add_all(int phase, uint64_t seed)
{
    struct log_reader *self = &reader[phase];
    *self = (struct log_reader){.run = &run, .who = (uint8_t)(phase + 1), .random = seed + 9};
    self->sub = log_reader(&run.map, 0, TIDE_LAYOUT_GATE);
    fiber_add(log_run_read, self);
    atomic_store(&run.producing, 0);
    for (uint32_t i = 0; i < 3; i++) {
        producer[i] = (struct log_producer){.run = &run,
                                            .random = (seed * 8 + i + 1) * 0x9e3779b9u,
                                            .step = 1,
                                            .first = next[i],
                                            .end = next[i] + BATCHES};
        producer[i].broker = log_producer(&run.map, i);
        producer[i].broker.next = next[i];
        atomic_fetch_add(&run.producing, 1);
        fiber_add(log_run_produce, &producer[i]);
    }
    atomic_store(&run.sequencing, run.map.stepped ? 2 : 0);
    for (int i = 0; i < atomic_load(&run.sequencing); i++)
        fiber_add(log_run_sequence, &run);
    fiber_add(log_run_observe, &run);
    fiber_add(log_run_trim, &run);
    fiber_add(sync_often, NULL);
    fiber_add(write_some, NULL);
}

/* What was said of places that are lost is void; the rest stays true. */
static void forget(uint64_t end)
{
    for (size_t i = 0; i < run.history->count; i++) {
        struct log_event *event = &run.history->event[i];
        bool placed = event->kind == LOG_ACK || event->kind == LOG_READ;
        if ((placed && event->position >= end) || event->kind == LOG_TAKEN ||
            event->kind == LOG_END || (event->kind == LOG_COMMIT && event->position > end))
            event->kind = LOG_NOTHING;
    }
}

static void start_durable(void)
{
    durable = (struct tide_durable){.map = &run.map, .room = &area, .medium.way = TIDE_MEDIUM_FILE};
    atomic_store(&durable.places, tide_logroom_said(&area).places);
}

/* All is gone but the medium. What was said to be durable is there, or was trimmed. */
static void stop_the_machine(void)
{
    struct tide_layout_fault fault;
    struct tide_mend_report report;
    uint64_t acked = tide_durable_places(&durable), trimmed = run.map.head->trimmed_place;
    uint64_t all = tide_order_frontier(&run.map, UINT64_MAX);
    sum.syncs += durable.syncs;
    memcpy(run.map.base, disk, run.map.size);
    memcpy((void *)&area, (void *)&area_disk, sizeof area);
    struct tide_logroom_said said = tide_logroom_said(&area);
    struct tide_mend_mark mark = {said.places, said.base, said.kept};
    int error = tide_mend_outage(&run.map, &mark, &fault);
    UNIT_HOLD(error == 0, "outage: %d %s", error, fault.what);
    error = tide_mend(&run.map, &report, &fault);
    UNIT_HOLD(error == 0, "mend: %d %s: %llu, not %llu to %llu", error, fault.what,
              (unsigned long long)fault.value, (unsigned long long)fault.low,
              (unsigned long long)fault.high);
    uint64_t end = run.map.head->committed, begin = run.map.head->trimmed_place;
    ck_assert_uint_ge(end, acked);
    ck_assert_uint_le(begin, trimmed > acked ? trimmed : acked);
    ck_assert_uint_eq(report.moved + report.placed, 0);
    sum.lost += all - end;
    sum.beyond += end > mark.durable;
    sum.kept += end - begin;
    forget(end);
    start_durable();
    ck_assert_int_eq(tide_durable_all(&durable), 0);
    for (int i = 0; i < 3; i++)
        next[i] = producer[i].broker.next + 1;
}

static void make(uint64_t features, uint64_t seed)
{
    uint64_t granules = 8 + seed / 5 % 40;
    log_make(&run.map, (struct tide_layout_wish){.level = 5,
                                                 .features = features | TIDE_LAYOUT_CHECKSUM,
                                                 .brokers = 1 + seed / 3 % 3,
                                                 .slots = slots[seed % 6],
                                                 .payload = 64 * granules,
                                                 .producers = 4,
                                                 .readers = 4,
                                                 .first = first[seed / 2 % 4]});
    disk = malloc(run.map.size);
    memcpy(disk, run.map.base, run.map.size);
    memset((void *)&area, 0, sizeof area);
    tide_logroom_say(&area,
                     (struct tide_logroom_said){run.map.first, run.map.first, run.map.first, 0});
    memcpy((void *)&area_disk, (void *)&area, sizeof area);
    run.history = log_history_new(5, 0, EVENTS);
    run.wait = fiber_wait;
    run.most = (uint32_t)tide_min(granules / 4 * 64, 300);
    run.aborts = seed % 2;
    memset(next, 0, sizeof next);
    start_durable();
}

static void run_once(uint64_t features, uint64_t seed)
{
    random_ = (seed + 1) * 0x2545f4914f6cdd1du;
    make(features, seed);
    fibers.random = (seed + 1) * 0xd6e8feb86659fd93u;
    fibers.most = 4000000;
    tide_medium_hook = write_back;
    for (int phase = 0; phase < PHASES; phase++) {
        fibers.stop = phase + 1 < PHASES ? 1 + unit_random(&random_) % 6000 : 0;
        add_all(phase, seed);
        fiber_run();
        if (phase + 1 < PHASES)
            stop_the_machine();
    }
    tide_medium_hook = NULL;
    log_run_check(&run, seed);
    log_run_check_empty(&run);
    log_history_free(run.history);
    free(disk);
    log_drop(&run.map);
}

static uint64_t from_environment(const char *name, uint64_t initial)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : initial;
}

static void run_seeds(uint64_t features)
{
    uint64_t seed = from_environment("LOG_SEED", UINT64_MAX);
    uint64_t count = from_environment("LOG_SEEDS", SEEDS);
    memset(&sum, 0, sizeof sum);
    if (seed != UINT64_MAX) {
        run_once(features, seed);
        return;
    }
    for (seed = 0; seed < count; seed++)
        run_once(features, seed);
    if (getenv("LOG_TELL") != NULL)
        dprintf(2, "%llu syncs; lost %llu, kept %llu; %llu times beyond the mark\n",
                (unsigned long long)sum.syncs, (unsigned long long)sum.lost,
                (unsigned long long)sum.kept, (unsigned long long)sum.beyond);
    ck_assert(count < SEEDS || (sum.syncs > 0 && sum.lost > 0 && sum.beyond > 0 && sum.kept > 0));
}

START_TEST(level_5_inline)
{
    run_seeds(0);
}
END_TEST

START_TEST(level_5_stepped)
{
    run_seeds(TIDE_LAYOUT_STEPPED);
}
END_TEST

START_TEST(what_cannot_be_told_is_refused)
{
    struct tide_layout_fault fault;
    struct tide_mend_mark mark = {0, 0, 0};
    for (uint32_t level = 0; level <= 5; level += level == 0 ? 4 : 1) {
        log_make(&run.map,
                 (struct tide_layout_wish){.level = level,
                                           .slots = 16,
                                           .payload = 4096,
                                           .features = level != 0 ? 0 : TIDE_LAYOUT_CHECKSUM});
        ck_assert_int_eq(tide_mend_outage(&run.map, &mark, &fault), -EUCLEAN);
        ck_assert_ptr_nonnull(strstr(fault.what, "with checksums at levels 4 and 5"));
        ck_assert_uint_eq(fault.value, level);
        log_drop(&run.map);
    }
}
END_TEST

/* The mark says more than there ever was: the medium lied. */
START_TEST(a_durable_batch_that_is_not_there)
{
    struct tide_layout_fault fault;
    struct tide_mend_mark mark = {3, 3, 0};
    log_make(&run.map,
             (struct tide_layout_wish){
                 .level = 5, .slots = 4, .payload = 4096, .features = TIDE_LAYOUT_CHECKSUM});
    ck_assert_int_eq(tide_mend_outage(&run.map, &mark, &fault), -EUCLEAN);
    ck_assert_uint_eq(fault.value, 3);
    log_drop(&run.map);
}
END_TEST

static void append(struct tide_broker *self, uint64_t number)
{
    struct tide_broker_result result;
    ck_assert(tide_broker_claim(self, 0, 8));
    log_write(self, number, 8);
    tide_broker_commit(self, 1, 8, &result);
    ck_assert_uint_eq(result.at.place, number);
}

/* The last durable entry has the words of one a lap later, but for its sequence number: its
 * message number gives it away. */
START_TEST(an_entry_of_two_laps)
{
    struct tide_layout_fault fault;
    struct tide_mend_mark mark = {4, 4, 0};
    log_make(&run.map,
             (struct tide_layout_wish){
                 .level = 5, .slots = 4, .payload = 4096, .features = TIDE_LAYOUT_CHECKSUM});
    struct tide_broker self = log_producer(&run.map, 0);
    for (uint64_t i = 0; i < 4; i++)
        append(&self, i);
    ck_assert_uint_ne(tide_trim_below(&run.map, 0, 4, false), 0);
    for (uint64_t i = 4; i < 8; i++)
        append(&self, i);
    tide_logmap_entry(&run.map, 3)->seq = 4;
    run.map.head->trimmed_place = 0; /* that was not written */
    ck_assert_int_eq(tide_mend_outage(&run.map, &mark, &fault), 0);
    ck_assert_uint_eq(run.map.head->trimmed_place, 4);
    ck_assert_uint_eq(run.map.head->committed, 7);
    log_drop(&run.map);
}
END_TEST

/* What was durable at position 3 was written over by a batch that is lost; then the machine stops
 * again, before anything of the repair but that is on the medium. */
START_TEST(a_repair_that_is_cut_off)
{
    struct tide_layout_fault fault;
    struct tide_mend_mark mark = {4, 4, 0};
    log_make(&run.map,
             (struct tide_layout_wish){
                 .level = 5, .slots = 4, .payload = 4096, .features = TIDE_LAYOUT_CHECKSUM});
    struct tide_broker self = log_producer(&run.map, 0);
    for (uint64_t i = 0; i < 8; i++) {
        append(&self, i);
        if (i == 3)
            ck_assert_uint_ne(tide_trim_below(&run.map, 0, 4, false), 0);
    }
    run.map.base[tide_logmap_entry(&run.map, 5)->offset] ^= 1;
    for (int turn = 0; turn < 2; turn++) {
        run.map.head->trimmed_place = 0;
        ck_assert_int_eq(tide_mend_outage(&run.map, &mark, &fault), 0);
        ck_assert_uint_eq(run.map.head->trimmed_place, 4);
        ck_assert_uint_eq(run.map.head->committed, 5);
        ck_assert_ptr_null(tide_order_see(&run.map, 7));
    }
    log_drop(&run.map);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {level_5_inline,
                                  level_5_stepped,
                                  what_cannot_be_told_is_refused,
                                  a_durable_batch_that_is_not_there,
                                  an_entry_of_two_laps,
                                  a_repair_that_is_cut_off,
                                  NULL};
    return unit_main("outage", tests);
}
