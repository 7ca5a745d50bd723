/*
 * test_log_limits.c - the log at its limits: batches up to the end of a ring and of a quarter of
 * it, a ring that is full while nobody gives places, the first and the last batch.
 */
#include "log_case.h"

#include <pthread.h>

#include "box/logapi.h"
#include "box/park.h"

#define PATIENCE INT64_C(100000000000)

/* --- guard bytes -------------------------------------------------------------------------- */

enum { GUARDED = 3, GRANULES = 12, MARK = 0xa7 };

static struct tide_logmap map;

static void fill_with(unsigned char *at, size_t size)
{
    for (size_t i = 0; i < size; i++)
        at[i] = MARK;
}

static bool is_filled_with(const unsigned char *at, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (at[i] != MARK)
            return false;
    return true;
}

/* What belongs to the other brokers: their payload, and their slots. */
static void guard(bool (*check)(const unsigned char *, size_t))
{
    for (uint32_t broker = 0; broker < GUARDED; broker++) {
        unsigned char *payload = map.payload + broker * GRANULES * 64;
        unsigned char *slots = (unsigned char *)&map.slot[broker * map.slots.size];
        if (broker == 1)
            continue;
        if (check == NULL) {
            fill_with(payload, GRANULES * 64);
            fill_with(slots, map.slots.size * sizeof map.slot[0]);
        } else {
            ck_assert_msg(check(payload, GRANULES * 64), "payload of broker %u", broker);
            ck_assert_msg(check(slots, map.slots.size * sizeof map.slot[0]), "slots of %u", broker);
        }
    }
}

/* Batches of one granule, bytes less and more, up to the largest, over many laps: all of a claim
 * is written, and ends at the end of the ring, before it and would end behind it. */
START_TEST(a_batch_stays_in_its_ring)
{
    log_make(&map, (struct tide_layout_wish){.level = (uint32_t)_i,
                                             .brokers = GUARDED,
                                             .slots = 5,
                                             .payload = 64 * GRANULES,
                                             .retain = TIDE_LAYOUT_OLD});
    struct tide_broker self = log_producer(&map, 0);
    struct tide_sub sub = log_reader(&map, 1, TIDE_LAYOUT_GATE);
    struct tide_sub_batch batch;
    uint64_t random = 7, at_end = 0;
    ck_assert_uint_eq(tide_ring_most(&map), 3 * 64);
    guard(NULL);
    for (int i = 0; i < 600; i++) {
        uint32_t granules = 1 + (uint32_t)(unit_random(&random) % 3);
        uint32_t size = granules * 64 - (granules < 3 ? 1 : 2) + (uint32_t)(random % 3);
        size = size > 192 ? 192 : size;
        ck_assert(tide_broker_claim(&self, 1, size));
        at_end += self.claim.payload + self.claim.room == map.payload + 2 * GRANULES * 64;
        memset(self.claim.payload, 0x55, self.claim.room);
        log_write(&self, self.next, size);
        struct tide_broker_result result;
        tide_broker_commit(&self, 1, size, &result);
        ck_assert_int_eq(tide_sub_poll(&sub, &batch, 1), 1);
        ck_assert_uint_eq(batch.size, size);
        ck_assert(log_is_right(&batch));
        tide_sub_done(&sub);
    }
    ck_assert_uint_gt(at_end, 20);
    guard(is_filled_with);
    log_drop(&map);
}
END_TEST

/* --- through the calls ---------------------------------------------------------------------- */

static const struct tide_log_options forms[] = {
    {.level = 0},
    {.level = 5},
    {.level = 4},
    {.level = 5, .sequencing = TIDE_LOG_STEPPED},
    {.level = 4, .sequencing = TIDE_LOG_STEPPED},
};

enum { FORMS = sizeof forms / sizeof *forms, FIRST_STEPPED = 3 };

static const uint64_t firsts[] = {0, 0x7ffffffe, 0xfffffffe, (UINT64_C(1) << 63) - 2};

static tide_log_t *log_;
static tide_log_client_t *client;
static tide_log_reader_t *reader;

static void make(struct tide_log_options options)
{
    ck_assert_int_eq(tide_log_create(&log_, &options), 0);
    ck_assert_int_eq(tide_log_client_open(&client, log_, NULL), 0);
    ck_assert_int_eq(tide_log_reader_open(&reader, log_, NULL), 0);
}

static void drop(void)
{
    ck_assert_int_eq(tide_log_client_close(client), 0);
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    ck_assert_int_eq(tide_log_close(log_), 0);
}

/* Whoever has to gives the places. */
static void step(void)
{
    while (tide_log_poll(log_) > 0)
        ;
}

static int append(int64_t timeout)
{
    return tide_log_append(client, 0, "", 0, timeout, NULL);
}

static struct tide_log_batch read_one(void)
{
    struct tide_log_batch batch;
    ck_assert_int_eq(tide_log_read(reader, &batch, 1, PATIENCE), 1);
    return batch;
}

/* Of one message, of as many as fit into a quarter of the ring, one less, and one more. */
START_TEST(batches_of_one_and_of_the_most_messages)
{
    struct tide_log_options options = forms[_i % FORMS];
    static struct tide_log_message message[65];
    static const uint32_t counts[] = {1, 64, 63, 1, 64};
    options.first = firsts[_i / FORMS];
    options.payload = 4 * 64 * sizeof(struct tide_log_frame);
    uint64_t base = options.first;
    make(options);
    for (uint32_t i = 0; i < 65; i++)
        message[i] = (struct tide_log_message){"", 0, i};
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(tide_log_append_batch(client, 0, message, 65, PATIENCE, NULL), -EMSGSIZE);
        ck_assert_int_eq(tide_log_append_batch(client, 0, message, counts[i], PATIENCE, NULL), 0);
        step();
        struct tide_log_batch batch = read_one();
        size_t at = 0;
        ck_assert_uint_eq(batch.count, counts[i]);
        ck_assert_uint_eq(batch.base, options.level == 0 ? TIDE_LOG_NONE : base);
        for (uint32_t n = 0; n < counts[i]; n++)
            ck_assert_uint_eq(tide_log_next(&batch, &at)->tag, n);
        ck_assert_ptr_null(tide_log_next(&batch, &at));
        base += counts[i];
    }
    drop();
}
END_TEST

/* Nothing is acknowledged before there is anything; then one by one, over all borders. */
START_TEST(acknowledgements_begin_where_the_counters_do)
{
    struct tide_log_options options = forms[1 + _i % (FORMS - 1)];
    struct tide_log_at at;
    uint64_t expected;
    options.first = firsts[_i / (FORMS - 1)];
    make(options);
    ck_assert_uint_eq(tide_log_committed(log_), options.first);
    ck_assert_int_eq(tide_log_wait_committed(log_, options.first, TIDE_LOG_TRY), -EAGAIN);
    for (uint64_t i = 0; i < 6; i++) {
        ck_assert_int_eq(tide_log_append(client, 0, "", 0, PATIENCE, &at), 0);
        ck_assert_uint_eq(at.number, i);
        if (options.sequencing == TIDE_LOG_STEPPED)
            ck_assert_uint_eq(tide_log_committed(log_), options.first + i);
        else
            ck_assert_uint_eq(at.position, options.first + i);
        step();
        ck_assert_int_eq(tide_log_wait_committed(log_, options.first + i, TIDE_LOG_TRY), 0);
        ck_assert_uint_eq(tide_log_committed(log_), options.first + i + 1);
        ck_assert_int_eq(tide_log_wait_committed(log_, options.first + i + 1, TIDE_LOG_TRY),
                         -EAGAIN);
        if (options.level != 4)
            continue;
        ck_assert_int_eq(tide_log_acked(client, &expected), 0);
        ck_assert_uint_eq(expected, i + 1);
    }
    drop();
}
END_TEST

static void *append_one(void *result)
{
    *(int *)result = append(TIDE_LOG_BLOCK);
    return NULL;
}

/* The sequencer stands still: the ring fills up, who does not wait gets an error, who waits
 * goes on when it works again. */
START_TEST(a_sequencer_that_stops_and_starts)
{
    struct tide_log_options options = forms[FIRST_STEPPED + _i];
    pthread_t thread;
    int sent = 0, result = 1;
    options.slots = 8;
    options.retain = TIDE_LOG_KEEP_RECENT;
    make(options);
    for (int round = 0; round < 3; round++) {
        while (append(TIDE_LOG_TRY) == 0)
            sent++;
        ck_assert_int_eq(append(TIDE_LOG_TRY), -EAGAIN);
        ck_assert_int_eq(append(1000000), -ETIMEDOUT);
        ck_assert_int_eq(pthread_create(&thread, NULL, append_one, &result), 0);
        while (atomic_load(&log_->map.head->space.sleepers) == 0)
            tide_park_yield();
        if (round == 2) /* from here on by a thread */
            ck_assert_int_eq(tide_log_start(log_, -1), 0);
        for (struct tide_log_batch batch; sent >= 0;) {
            step(); /* who waits finds room at some time */
            int got = tide_log_read(reader, &batch, 1, TIDE_LOG_TRY);
            ck_assert(got == 1 || got == -EAGAIN);
            sent -= got == 1;
            if (got != 1)
                tide_park_yield();
        }
        pthread_join(thread, NULL);
        ck_assert_int_eq(result, 0);
        sent = 0;
    }
    drop();
}
END_TEST

/* Who appended closes at once: what it appended is there all the same. */
START_TEST(what_was_appended_stays_when_its_client_closes)
{
    struct tide_log_options options = forms[_i];
    make(options);
    if (options.sequencing == TIDE_LOG_STEPPED)
        ck_assert_int_eq(tide_log_start(log_, -1), 0);
    for (int i = 0; i < 7; i++)
        ck_assert_int_eq(append(PATIENCE), 0);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    client = NULL;
    for (uint64_t i = 0; i < 7; i++)
        ck_assert_uint_eq(read_one().number, i);
    drop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log_limits");
    TCase *tcase = tcase_create("log_limits");
    tcase_add_loop_test(tcase, a_batch_stays_in_its_ring, 0, 1);
    tcase_add_loop_test(tcase, a_batch_stays_in_its_ring, 4, 6);
    tcase_add_loop_test(tcase, batches_of_one_and_of_the_most_messages, 0, 4 * FORMS);
    tcase_add_loop_test(tcase, acknowledgements_begin_where_the_counters_do, 0, 4 * (FORMS - 1));
    tcase_add_loop_test(tcase, a_sequencer_that_stops_and_starts, 0, FORMS - FIRST_STEPPED);
    tcase_add_loop_test(tcase, what_was_appended_stays_when_its_client_closes, 0, FORMS);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
