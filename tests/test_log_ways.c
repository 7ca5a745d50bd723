/*
 * test_log_ways.c - the small protocols of the log in all orders of their accesses that take
 * two preemptions (LOG_BUDGET=3: three): claim and publish, places, handing over at level 4,
 * opening anew, trimming beside a reader that is overtaken, two sequencers.
 */
#include "log_run.h"

#include "log_fiber.h"

#include "box/park.h"

enum { EVENTS = 400 };

static struct log_run run;
static struct log_producer producer[3];
static struct log_reader reader;
static struct tide_layout_wish wish;
static uint64_t ways;
static bool keeps; /* level 4: the door may stay with producer 0 */

static void no_wait(void)
{
}

/* Each fiber does a fixed number of things: whether they succeed or not. */
static void send_one(void *argument)
{
    struct tide_broker_result result;
    log_run_send(argument, &result);
}

static void send_two(void *argument)
{
    send_one(argument);
    send_one(argument);
}

static void open_again(void *argument)
{
    struct log_producer *self = argument;
    uint32_t epoch = tide_session_open(&run.map, self->broker.client, &self->broker.next);
    if (epoch == 0)
        return;
    self->broker.epoch = epoch;
    log_note(run.history, (struct log_event){.kind = LOG_OPEN,
                                             .client = (uint8_t)self->broker.client,
                                             .epoch = epoch,
                                             .number = self->broker.next});
    send_one(self);
}

static void poll_some(void *unused)
{
    struct tide_sub_batch batch;
    (void)unused;
    for (int i = 0; i < 3; i++) {
        int got = tide_sub_poll(&reader.sub, &batch, 1);
        if (got == 1)
            log_run_note_read(&reader, &batch);
        if (got == -EOVERFLOW)
            log_note(run.history, (struct log_event){.kind = LOG_GAP,
                                                     .base = reader.sub.gap_from,
                                                     .position = reader.sub.gap_to});
    }
}

static void step_some(void *unused)
{
    (void)unused;
    for (int i = 0; i < 2; i++)
        tide_seq_step(&run.map, 0, 2);
}

static void trim_some(void *unused)
{
    (void)unused;
    for (int i = 0; i < 2; i++)
        tide_trim_below(&run.map, 0, UINT64_MAX, false);
}

/* A reader that was overtaken leaves holes: what was acknowledged stands there. */
static void fill_holes(void)
{
    size_t count = run.history->count;
    for (uint64_t at = 0; at < count; at++)
        for (size_t i = 0; i < count; i++) {
            const struct log_event *ack = &run.history->event[i];
            if (ack->kind != LOG_ACK || ack->position != at + (wish.level == 0))
                continue;
            struct log_event read = run.history->event[ack->ref];
            read.kind = LOG_READ;
            read.who = 1;
            read.whole = 1;
            read.position = ack->position;
            read.base = ack->base;
            read.ref = ack->ref;
            log_note(run.history, read);
        }
}

/* What is left is done by one alone, and the history must be right. */
static void finish(void)
{
    while (run.map.stepped && tide_seq_step(&run.map, 0, 8) > 0)
        ;
    tide_broker_close(&producer[0].broker);
    log_run_read(&reader);
    if (reader.sub.policy == TIDE_LAYOUT_SKIP)
        fill_holes();
    log_run_check(&run, ways);
    log_run_check_empty(&run);
    for (uint32_t i = 0; i < run.map.sessions; i++)
        ck_assert_uint_eq(atomic_load(&run.map.session[i].door), 0);
    tide_sub_close(&reader.sub);
    log_history_free(run.history);
}

/* In the same memory every time: there are many ways. */
static void make(void)
{
    static unsigned char memory[1 << 17] __attribute__((aligned(4096)));
    static const uint8_t id[16] = {1};
    struct tide_layout_head plan;
    struct tide_layout_fault fault;
    wish.producers = 4;
    wish.readers = 1;
    ck_assert(tide_layout_plan(&plan, &wish, &fault));
    ck_assert_uint_le(plan.size, sizeof memory);
    tide_logmap_format(memory, &plan, id, false);
    ck_assert(tide_logmap_open(&run.map, memory, sizeof memory, &fault));
}

static void begin(enum tide_layout_policy policy)
{
    make();
    run.history = log_history_new(wish.level, 0, EVENTS);
    run.wait = no_wait;
    run.most = 64;
    for (uint32_t i = 0; i < 3; i++)
        producer[i] = (struct log_producer){.run = &run, .random = i + 1, .step = 1};
    run.map.keeps = keeps && tide_park_ready() && tide_park_barrier();
    producer[0].broker = log_producer(&run.map, 0);
    if (run.map.keeps)
        tide_broker_keep(&producer[0].broker);
    reader = (struct log_reader){.run = &run, .random = 9};
    reader.sub = log_reader(&run.map, 0, policy);
}

/* A further handle of client 0 whose next number is `number`, or of a client of its own. */
static void add_handle(int i, uint32_t client, uint64_t number)
{
    ck_assert(tide_broker_open(&producer[i].broker, &run.map, client, 1, 0));
    producer[i].broker.epoch = client == 0 ? producer[0].broker.epoch : 0;
    producer[i].broker.next = number;
}

/* Runs `set_up` and the fibers that it adds in every way. */
static void all_ways(void (*set_up)(void), uint64_t least)
{
    const char *text = getenv("LOG_BUDGET");
    int budget = text != NULL ? atoi(text) : 2;
    fibers.exhaustive = true;
    fibers.most = 100000;
    fibers.replay = 0;
    ways = 0;
    do {
        set_up();
        fiber_run();
        finish();
        ways++;
    } while (fiber_next_way(budget));
    ck_assert_uint_ge(ways, least);
    if (getenv("LOG_WAYS") != NULL)
        printf("%llu ways\n", (unsigned long long)ways);
}

static void two_producers(void)
{
    begin(TIDE_LAYOUT_GATE);
    add_handle(1, 1, 0);
    fiber_add(send_one, &producer[0]);
    fiber_add(send_one, &producer[1]);
    fiber_add(poll_some, NULL);
}

START_TEST(two_producers_and_a_reader)
{
    wish = (struct tide_layout_wish){.level = (uint32_t)_i, .slots = 2, .payload = 256};
    all_ways(two_producers, 500);
}
END_TEST

static void a_full_ring(void)
{
    begin(TIDE_LAYOUT_GATE);
    add_handle(1, 1, 0);
    fiber_add(send_two, &producer[0]);
    fiber_add(send_two, &producer[1]);
    fiber_add(poll_some, NULL);
}

START_TEST(producers_that_fill_the_ring)
{
    wish = (struct tide_layout_wish){
        .level = 5, .slots = 2, .payload = 256, .first = (UINT64_C(1) << 32) - 2};
    all_ways(a_full_ring, 1000);
}
END_TEST

static void early_and_late(void)
{
    begin(TIDE_LAYOUT_GATE);
    add_handle(1, 0, 1);
    add_handle(2, 0, 0); /* the first one once more */
    fiber_add(send_one, &producer[1]);
    fiber_add(send_one, &producer[0]);
    fiber_add(send_one, &producer[2]);
}

START_TEST(batches_of_one_client_by_three_hands)
{
    keeps = _i;
    wish = (struct tide_layout_wish){
        .level = 4, .slots = 16, .payload = 2048, .sessions = 1, .window = 2};
    all_ways(early_and_late, 500);
}
END_TEST

static void opened_while_sending(void)
{
    begin(TIDE_LAYOUT_GATE);
    add_handle(1, 0, 1);
    add_handle(2, 0, 0);
    fiber_add(send_one, &producer[1]);
    fiber_add(open_again, &producer[2]);
    fiber_add(send_one, &producer[0]);
}

START_TEST(a_session_that_is_opened_while_batches_come)
{
    keeps = _i;
    wish = (struct tide_layout_wish){
        .level = 4, .slots = 16, .payload = 2048, .sessions = 1, .window = 2};
    all_ways(opened_while_sending, 500);
}
END_TEST

static void overtaken(void)
{
    begin(TIDE_LAYOUT_SKIP);
    fiber_add(send_two, &producer[0]);
    fiber_add(trim_some, NULL);
    fiber_add(poll_some, NULL);
}

START_TEST(a_reader_that_is_overtaken)
{
    wish = (struct tide_layout_wish){
        .level = (uint32_t)_i, .slots = 2, .payload = 256, .retain = TIDE_LAYOUT_OLD};
    all_ways(overtaken, 1000);
}
END_TEST

static void two_sequencers(void)
{
    begin(TIDE_LAYOUT_GATE);
    fiber_add(send_two, &producer[0]);
    fiber_add(step_some, NULL);
    fiber_add(step_some, NULL);
}

START_TEST(two_sequencers_of_one_ring)
{
    wish = (struct tide_layout_wish){
        .level = (uint32_t)_i, .slots = 8, .payload = 1024, .features = TIDE_LAYOUT_STEPPED};
    all_ways(two_sequencers, 500);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log_ways");
    TCase *tcase = tcase_create("log_ways");
    tcase_add_loop_test(tcase, two_producers_and_a_reader, 0, 1);
    tcase_add_loop_test(tcase, two_producers_and_a_reader, 5, 6);
    tcase_add_test(tcase, producers_that_fill_the_ring);
    tcase_add_loop_test(tcase, batches_of_one_client_by_three_hands, 0, 2);
    tcase_add_loop_test(tcase, a_session_that_is_opened_while_batches_come, 0, 2);
    tcase_add_loop_test(tcase, a_reader_that_is_overtaken, 0, 1);
    tcase_add_loop_test(tcase, a_reader_that_is_overtaken, 5, 6);
    tcase_add_loop_test(tcase, two_sequencers_of_one_ring, 4, 6);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
