/* test_logapi.c - the public calls: errors and their words, waiting, policies, forks. */
#include "unit_base.h"

#include <pthread.h>
#include <time.h>

#include <tidepool/log.h>

#include "box/coh.h"

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

/* The error's words. */
static void says(const char *want)
{
    char text[256];
    int length = tide_log_explain(text, sizeof text);
    ck_assert_str_eq(text, want);
    ck_assert_int_eq(length, (int)strlen(want));
}

static int append(const char *text, int64_t timeout)
{
    return tide_log_append(client, 0, text, strlen(text), timeout, NULL);
}

static uint64_t cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

START_TEST(the_program_of_the_header)
{
    struct tide_log_batch batch;
    size_t at = 0;
    ck_assert_int_eq(tide_log_create(&log_, NULL), 0);
    ck_assert_int_eq(tide_log_reader_open(&reader, log_, NULL), 0);
    ck_assert_int_eq(tide_log_client_open(&client, log_, NULL), 0);
    ck_assert_int_eq(tide_log_append(client, 0, "hello", 5, TIDE_LOG_BLOCK, NULL), 0);
    ck_assert_int_eq(tide_log_read(reader, &batch, 1, TIDE_LOG_BLOCK), 1);
    const struct tide_log_frame *frame = tide_log_next(&batch, &at);
    ck_assert_uint_eq(frame->length, 5);
    ck_assert_int_eq(memcmp(frame + 1, "hello", 5), 0);
    ck_assert_ptr_null(tide_log_next(&batch, &at));
    drop();
}
END_TEST

START_TEST(levels_that_do_not_exist_and_other_bad_options)
{
    struct tide_log_options options = TIDE_LOG_OPTIONS;
    for (options.level = 1; options.level <= 3; options.level++)
        ck_assert_int_eq(tide_log_create(&log_, &options), -EINVAL);
    says("order level (there are 0, 4 and 5): 3");
    options.level = 5;
    options.slots = 1;
    ck_assert_int_eq(tide_log_create(&log_, &options), -EINVAL);
    says("slots of a broker: 1, allowed: 2 to 16777216");
    ck_assert_int_lt(tide_log_size(&options), 0);
    options.slots = 4;
    options.sequencing = 7;
    ck_assert_int_eq(tide_log_create(&log_, &options), -EINVAL);
    says("sequencing: 7, allowed: 0 to 1");
    options.sequencing = 0;
    options.payload = UINT64_C(60) << 30;
    options.slots = 1 << 24;
    ck_assert_int_gt(tide_log_size(&options), (int64_t)60 << 30);
    unit_limit(RLIMIT_AS, (size_t)1 << 30);
    if (!UNIT_SANITIZED)
        ck_assert_int_eq(tide_log_create(&log_, &options), -ENOMEM);
}
END_TEST

START_TEST(too_large_a_message_is_refused_with_both_numbers)
{
    static char bytes[2048];
    make((struct tide_log_options){.level = 5, .payload = 4096});
    ck_assert_int_eq(tide_log_append(client, 0, bytes, 1008, TIDE_LOG_BLOCK, NULL), 0);
    ck_assert_int_eq(tide_log_append(client, 0, bytes, 1009, TIDE_LOG_BLOCK, NULL), -EMSGSIZE);
    says("bytes of a batch with its frames: 1032, allowed: 1 to 1024");
    struct tide_log_message message[2] = {{bytes, 500, 0}, {bytes, 500, 0}};
    ck_assert_int_eq(tide_log_append_batch(client, 0, message, 2, TIDE_LOG_BLOCK, NULL), -EMSGSIZE);
    message[1].size = SIZE_MAX;
    ck_assert_int_eq(tide_log_append_batch(client, 0, message, 2, TIDE_LOG_BLOCK, NULL), -EMSGSIZE);
    ck_assert_int_eq(tide_log_append_batch(client, 0, message, 0, TIDE_LOG_BLOCK, NULL), -EINVAL);
    ck_assert_int_eq(tide_log_append(client, 1, bytes, 1, TIDE_LOG_BLOCK, NULL), -EINVAL);
    says("broker: 1, allowed: 0 to 0");
    drop();
}
END_TEST

/* Full: what was there stays, each form says so in its way, and it goes on. */
START_TEST(full_is_an_answer_and_never_a_loss)
{
    struct tide_log_batch batch[4];
    make((struct tide_log_options){.level = (unsigned)_i, .slots = 4});
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(append("abcd" + i, TIDE_LOG_TRY), 0);
    ck_assert_int_eq(append("x", TIDE_LOG_TRY), -EAGAIN);
    says("full: broker: 0");
    ck_assert_int_eq(append("x", 2000000), -ETIMEDOUT);
    ck_assert_int_eq(tide_log_read(reader, batch, 4, TIDE_LOG_TRY), 4);
    for (uint64_t i = 0; i < 4; i++) {
        size_t at = 0;
        const struct tide_log_frame *frame = tide_log_next(&batch[i], &at);
        ck_assert_uint_eq(frame->length, 4 - i);
        ck_assert_int_eq(memcmp(frame + 1, "abcd" + i, 4 - i), 0);
        ck_assert_uint_eq(batch[i].position, i);
    }
    ck_assert_int_eq(append("x", TIDE_LOG_TRY), -EAGAIN);
    ck_assert_int_eq(tide_log_done(reader), 0);
    ck_assert_int_eq(append("x", TIDE_LOG_TRY), 0);
    drop();
}
END_TEST

static void *block(void *unused)
{
    return append("late", TIDE_LOG_BLOCK) == 0 ? NULL : unused;
}

START_TEST(a_blocked_append_goes_on_when_there_is_room)
{
    pthread_t thread;
    struct tide_log_batch batch;
    void *failed;
    make((struct tide_log_options){.level = 5, .slots = 2});
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(append("x", TIDE_LOG_TRY), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, block, &failed), 0);
    nanosleep(&(struct timespec){0, 20000000}, NULL);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(tide_log_read(reader, &batch, 1, TIDE_LOG_BLOCK), 1);
    pthread_join(thread, &failed);
    ck_assert_ptr_null(failed);
    ck_assert_uint_eq(batch.number, 2);
    drop();
}
END_TEST

START_TEST(claims_are_written_in_place)
{
    struct tide_log_claim claim;
    struct tide_log_at at;
    struct tide_log_batch batch;
    make((struct tide_log_options){.level = 5});
    ck_assert_int_eq(
        tide_log_claim(client, 0, TIDE_LOG_ROOM(10) + TIDE_LOG_ROOM(3), TIDE_LOG_TRY, &claim), 0);
    ck_assert_int_eq(tide_log_commit(&claim, &at), -EINVAL);
    void *data = tide_log_put(&claim, 10, 77);
    memcpy(data, "0123456789", 10);
    ck_assert_ptr_null(tide_log_put(&claim, 9, 78));
    memcpy(tide_log_put(&claim, 3, 79), "end", 3);
    ck_assert_ptr_null(tide_log_put(&claim, 0, 80));
    ck_assert_int_eq(append("no", TIDE_LOG_TRY), -EBUSY);
    ck_assert_int_eq(tide_log_client_close(client), -EBUSY);
    ck_assert_int_eq(tide_log_commit(&claim, &at), 0);
    ck_assert_uint_eq(at.position, 0);
    ck_assert_uint_eq(at.base, 0);
    ck_assert_int_eq(tide_log_commit(&claim, &at), -ESTALE);
    ck_assert_int_eq(tide_log_abort(&claim), -ESTALE);
    ck_assert_int_eq(tide_log_read(reader, &batch, 1, TIDE_LOG_TRY), 1);
    ck_assert_uint_eq(batch.count, 2);
    size_t walk = 0;
    const struct tide_log_frame *frame = tide_log_next(&batch, &walk);
    ck_assert_ptr_eq(frame + 1, data);
    ck_assert_uint_eq(frame->tag, 77);
    frame = tide_log_next(&batch, &walk);
    ck_assert_uint_eq(frame->tag, 79);
    ck_assert_int_eq(memcmp(frame + 1, "end", 3), 0);
    ck_assert_int_eq(tide_log_claim(client, 0, 100, TIDE_LOG_TRY, &claim), 0);
    ck_assert_int_eq(tide_log_abort(&claim), 0);
    ck_assert_int_eq(tide_log_read(reader, &batch, 1, TIDE_LOG_TRY), -EAGAIN);
    ck_assert_int_eq(append("next", TIDE_LOG_TRY), 0);
    ck_assert_int_eq(tide_log_read(reader, &batch, 1, TIDE_LOG_TRY), 1);
    ck_assert_uint_eq(batch.base, 2);
    drop();
}
END_TEST

START_TEST(positions_that_are_gone_or_not_there_yet)
{
    tide_log_reader_t *other;
    uint64_t earliest;
    unsigned level = (unsigned)_i;
    make((struct tide_log_options){.level = level});
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    reader = NULL;
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(append("x", TIDE_LOG_TRY), 0);
    ck_assert_int_eq(tide_log_trim(log_, 0, 4, &earliest), 0);
    ck_assert_uint_eq(earliest, 4);
    struct tide_log_reader_options at = {.start = TIDE_LOG_POSITION, .position = 3};
    ck_assert_int_eq(tide_log_reader_open(&other, log_, &at), -ERANGE);
    says("position, trimmed: 3, allowed: 4 to 18446744073709551615");
    at.position = 11;
    ck_assert_int_eq(tide_log_reader_open(&other, log_, &at), -ENXIO);
    says("position, in the future: 11");
    at.position = 10;
    ck_assert_int_eq(tide_log_reader_open(&other, log_, &at), 0);
    ck_assert_int_eq(tide_log_reader_close(other), 0);
    drop();
}
END_TEST

START_TEST(slow_readers_by_policy)
{
    struct tide_log_batch batch;
    struct tide_log_reader_options slow = {.policy = (unsigned)_i};
    uint64_t from, to;
    tide_log_reader_t *other;
    make((struct tide_log_options){.level = 5, .slots = 4});
    ck_assert_int_eq(tide_log_reader_open(&other, log_, &slow), 0);
    ck_assert_int_eq(append("0", TIDE_LOG_TRY), 0);
    ck_assert_int_eq(tide_log_read(other, &batch, 1, TIDE_LOG_TRY), 1);
    for (int i = 1; i < 12; i++) {
        int error = append("x", TIDE_LOG_TRY);
        ck_assert_int_eq(error, _i == TIDE_LOG_GATE && i >= 4 ? -EAGAIN : 0);
        while (tide_log_read(reader, &batch, 1, TIDE_LOG_TRY) == 1)
            ;
    }
    struct tide_log_reader_stat stat;
    ck_assert_int_eq(tide_log_stat_reader(log_, 1, &stat), 0);
    ck_assert_int_eq(stat.slowest, _i == TIDE_LOG_GATE);
    ck_assert_int_eq(stat.detached, _i == TIDE_LOG_DETACH);
    if (_i == TIDE_LOG_SKIP) {
        ck_assert_int_eq(tide_log_read(other, &batch, 1, TIDE_LOG_TRY), -EOVERFLOW);
        ck_assert_int_eq(tide_log_gap(other, &from, &to), 0);
        ck_assert_uint_eq(from, 1);
        ck_assert_uint_gt(to, from);
        ck_assert_int_eq(tide_log_read(other, &batch, 1, TIDE_LOG_TRY), 1);
        ck_assert_uint_eq(batch.position, to);
    } else if (_i == TIDE_LOG_DETACH) {
        ck_assert_int_eq(tide_log_done(other), -EPIPE);
        ck_assert_int_eq(tide_log_read(other, &batch, 1, TIDE_LOG_TRY), -EPIPE);
    } else {
        ck_assert_uint_eq(stat.holds, 4);
        ck_assert_int_eq(tide_log_done(other), 0);
        ck_assert_int_eq(append("x", TIDE_LOG_TRY), 0);
    }
    ck_assert_int_eq(tide_log_reader_close(other), 0);
    drop();
}
END_TEST

START_TEST(trim_to_a_size)
{
    static char bytes[1000];
    make((struct tide_log_options){.level = (unsigned)_i, .brokers = 2, .payload = 65536});
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    reader = NULL;
    for (int i = 0; i < 40; i++)
        ck_assert_int_eq(tide_log_append(client, i % 2, bytes, 1000, TIDE_LOG_TRY, NULL), 0);
    ck_assert_int_eq(tide_log_trim_to(log_, 1 << 20), 40 * 1024);
    ck_assert_int_eq(tide_log_trim_to(log_, 10 * 1024), 10 * 1024);
    struct tide_log_broker_stat stat;
    ck_assert_int_eq(tide_log_stat_broker(log_, 0, &stat), 0);
    ck_assert_uint_eq(stat.claimed, 20);
    ck_assert_uint_eq(stat.released, 15);
    ck_assert_uint_eq(stat.used_bytes, 5 * 1024);
    ck_assert_int_eq(tide_log_trim_to(log_, 0), 0);
    drop();
}
END_TEST

START_TEST(sessions_of_level_4)
{
    struct tide_log_at at;
    struct tide_log_session_stat stat;
    tide_log_client_t *again;
    uint64_t expected;
    make((struct tide_log_options){.level = 4, .brokers = 2, .window = 4});
    ck_assert_int_eq(append("a", TIDE_LOG_TRY), 0);
    ck_assert_int_eq(tide_log_set_number(client, 3), 0);
    ck_assert_int_eq(tide_log_append(client, 1, "d", 1, TIDE_LOG_TRY, &at), 0);
    ck_assert_uint_eq(at.position, TIDE_LOG_NONE);
    ck_assert_int_eq(tide_log_set_number(client, 5), 0);
    ck_assert_int_eq(append("f", TIDE_LOG_TRY), -EAGAIN);
    ck_assert_int_eq(tide_log_set_number(client, 0), 0);
    ck_assert_int_eq(append("a", TIDE_LOG_TRY), -EALREADY);
    says("number of a batch that has its place already: 0, allowed: 1 to 18446744073709551615");
    ck_assert_int_eq(tide_log_acked(client, &expected), 0);
    ck_assert_uint_eq(expected, 1);
    ck_assert_int_eq(tide_log_stat_session(log_, 0, &stat), 0);
    ck_assert_uint_eq(stat.held, 1);
    ck_assert_int_eq(tide_log_client_open(&again, log_, NULL), 0);
    ck_assert_int_eq(tide_log_set_number(client, 1), 0);
    ck_assert_int_eq(append("b", TIDE_LOG_TRY), -ESTALE);
    says("the session was ended or opened anew: client: 0");
    ck_assert_int_eq(tide_log_append(again, 0, "b", 1, TIDE_LOG_TRY, &at), 0);
    ck_assert_uint_eq(at.number, 1);
    ck_assert_uint_eq(at.position, 1);
    ck_assert_int_eq(tide_log_client_close(again), 0);
    struct tide_log_client_options none = {.id = 64};
    ck_assert_int_eq(tide_log_client_open(&again, log_, &none), -EINVAL);
    says("client id: 64, allowed: 0 to 63");
    drop();
}
END_TEST

/* --- waiting ------------------------------------------------------------------------- */

static void *read_seven(void *unused)
{
    struct tide_log_batch batch;
    for (int i = 0; i < 7; i++)
        if (tide_log_read(reader, &batch, 1, TIDE_LOG_BLOCK) != 1)
            return unused;
    return NULL;
}

/* Seven small batches, then silence: the reader, asleep before, gets all of them. */
START_TEST(the_last_batch_is_seen_without_more_traffic)
{
    pthread_t thread;
    void *failed;
    make((struct tide_log_options){.level = 5, .sequencing = (unsigned)_i});
    if (_i)
        ck_assert_int_eq(tide_log_start(log_, -1), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, read_seven, log_), 0);
    for (int i = 0; i < 7; i++) {
        if (i % 3 == 0)
            nanosleep(&(struct timespec){0, 30000000}, NULL);
        ck_assert_int_eq(append("x", TIDE_LOG_BLOCK), 0);
    }
    pthread_join(thread, &failed);
    ck_assert_ptr_null(failed);
    drop();
}
END_TEST

static void *read_one(void *unused)
{
    struct tide_log_batch batch;
    return tide_log_read(reader, &batch, 1, TIDE_LOG_BLOCK) == 1 ? NULL : unused;
}

/* A reader, a sequencer and somebody who waits for a commit, all with nothing to do. */
START_TEST(who_waits_costs_nothing)
{
    pthread_t thread;
    make((struct tide_log_options){.level = 5, .sequencing = TIDE_LOG_STEPPED});
    ck_assert_int_eq(tide_log_start(log_, -1), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, read_one, log_), 0);
    nanosleep(&(struct timespec){0, 50000000}, NULL);
    uint64_t before = cpu_ns();
    ck_assert_int_eq(tide_log_wait_committed(log_, 0, 500000000), -ETIMEDOUT);
    if (!UNIT_SANITIZED)
        ck_assert_uint_lt(cpu_ns() - before, 50000000);
    ck_assert_int_eq(append("x", TIDE_LOG_BLOCK), 0);
    ck_assert_int_eq(tide_log_wait_committed(log_, 0, TIDE_LOG_BLOCK), 0);
    ck_assert_uint_eq(tide_log_committed(log_), 1);
    pthread_join(thread, NULL);
    drop();
}
END_TEST

START_TEST(stepped_by_the_program_itself)
{
    struct tide_log_batch batch;
    make((struct tide_log_options){.level = 5, .sequencing = TIDE_LOG_STEPPED});
    ck_assert_int_eq(append("x", TIDE_LOG_TRY), 0);
    ck_assert_int_eq(tide_log_read(reader, &batch, 1, TIDE_LOG_TRY), -EAGAIN);
    ck_assert_uint_eq(tide_log_committed(log_), 0);
    ck_assert_int_eq(tide_log_poll(log_), 1);
    ck_assert_int_eq(tide_log_poll(log_), 0);
    ck_assert_uint_eq(tide_log_committed(log_), 1);
    ck_assert_int_eq(tide_log_read(reader, &batch, 1, TIDE_LOG_TRY), 1);
    drop();
    make((struct tide_log_options){.level = 5});
    ck_assert_int_eq(tide_log_start(log_, -1), -EINVAL);
    ck_assert_int_eq(tide_log_poll(log_), 0);
    drop();
}
END_TEST

/* --- handles ---------------------------------------------------------------------------- */

static struct tide_log_claim open_claim;

static void use_in_child(long unused)
{
    struct tide_log_batch batch;
    struct tide_log_stat stat;
    uint64_t number;
    (void)unused;
    UNIT_NEED(append("x", TIDE_LOG_BLOCK) == -ESTALE);
    UNIT_NEED(tide_log_read(reader, &batch, 1, TIDE_LOG_BLOCK) == -ESTALE);
    UNIT_NEED(tide_log_done(reader) == -ESTALE);
    UNIT_NEED(tide_log_commit(&open_claim, NULL) == -ESTALE);
    UNIT_NEED(tide_log_claim(client, 0, 8, TIDE_LOG_TRY, &open_claim) == -ESTALE);
    UNIT_NEED(tide_log_stat(log_, &stat) == -ESTALE);
    UNIT_NEED(tide_log_poll(log_) == -ESTALE);
    UNIT_NEED(tide_log_trim(log_, 0, 1, NULL) == -ESTALE);
    UNIT_NEED(tide_log_wait_committed(log_, 0, 0) == -ESTALE);
    UNIT_NEED(tide_log_acked(client, &number) == -ESTALE);
    UNIT_NEED(tide_log_client_open(&client, log_, NULL) == -ESTALE);
    UNIT_NEED(tide_log_reader_open(&reader, log_, NULL) == -ESTALE);
    UNIT_NEED(tide_log_client_close(client) == -ESTALE);
    UNIT_NEED(tide_log_reader_close(reader) == -ESTALE);
    UNIT_NEED(tide_log_close(log_) == -ESTALE);
}

START_TEST(a_child_has_no_log)
{
    make((struct tide_log_options){.level = 5});
    ck_assert_int_eq(tide_log_claim(client, 0, 32, TIDE_LOG_TRY, &open_claim), 0);
    memset(tide_log_put(&open_claim, 8, 0), 1, 8);
    unit_child_ok(use_in_child, 0);
    ck_assert_int_eq(tide_log_commit(&open_claim, NULL), 0);
    drop();
}
END_TEST

START_TEST(what_is_open_keeps_the_log_open)
{
    make((struct tide_log_options){.level = 5, .clients = 1, .readers = 1});
    tide_log_client_t *second;
    tide_log_reader_t *other;
    ck_assert_int_eq(tide_log_client_open(&second, log_, NULL), -ENFILE);
    ck_assert_int_eq(tide_log_reader_open(&other, log_, NULL), -ENFILE);
    ck_assert_int_eq(tide_log_close(log_), -EBUSY);
    says("clients and readers that are open: 2, allowed: 0 to 0");
    ck_assert_int_eq(tide_log_client_close(NULL), 0);
    ck_assert_int_eq(tide_log_reader_close(NULL), 0);
    ck_assert_int_eq(tide_log_close(NULL), 0);
    ck_assert_int_eq(append("still there", TIDE_LOG_TRY), 0);
    drop();
    char little[5];
    ck_assert_int_gt(tide_log_explain(little, sizeof little), 5);
    ck_assert_str_eq(little, "clie");
    ck_assert_int_gt(tide_log_explain(NULL, 0), 5);
}
END_TEST

START_TEST(what_a_log_tells_about_itself)
{
    struct tide_log_stat stat;
    struct tide_log_broker_stat broker;
    struct tide_log_reader_stat one;
    struct tide_log_session_stat session;
    make((struct tide_log_options){
        .level = 5, .brokers = 3, .slots = 10, .payload = 6400, .first = 100});
    for (unsigned i = 0; i < 5; i++)
        ck_assert_int_eq(tide_log_append(client, i % 2, "ab", 2, TIDE_LOG_TRY, NULL), 0);
    ck_assert_int_eq(tide_log_stat(log_, &stat), 0);
    ck_assert_uint_eq(stat.level, 5);
    ck_assert_uint_eq(stat.brokers, 3);
    ck_assert_uint_eq(stat.slots, 10);
    ck_assert_uint_eq(stat.payload, 6400);
    ck_assert_uint_eq(stat.earliest, 100);
    ck_assert_uint_eq(stat.committed, 105);
    ck_assert_uint_eq(stat.taken, 105);
    ck_assert_uint_eq(stat.messages, 105);
    ck_assert_int_eq(tide_log_stat_broker(log_, 0, &broker), 0);
    ck_assert_uint_eq(broker.claimed, 3);
    ck_assert_uint_eq(broker.used_bytes, 3 * 64);
    ck_assert_int_eq(tide_log_stat_broker(log_, 3, &broker), -ENOENT);
    ck_assert_int_eq(tide_log_stat_reader(log_, 0, &one), 0);
    ck_assert_int_eq(one.open, 1);
    ck_assert_uint_eq(one.cursor, 100);
    ck_assert_uint_eq(one.lag, 5);
    ck_assert_uint_eq(one.holds, 5);
    ck_assert_int_eq(one.slowest, 1);
    ck_assert_int_eq(tide_log_stat_reader(log_, 1, &one), 0);
    ck_assert_int_eq(one.open, 0);
    ck_assert_int_eq(tide_log_stat_reader(log_, 16, &one), -ENOENT);
    ck_assert_int_eq(tide_log_stat_session(log_, 0, &session), -ENOENT);
    drop();
}
END_TEST

/* The payload of a new log lies in memory for which huge pages were asked, where there are some:
 * otherwise its first lap costs a fault for each small page. */
START_TEST(a_log_asks_for_huge_pages)
{
    struct tide_log_batch batch;
    char line[512];
    unsigned long from, to;
    bool here = false, huge = false;
    make((struct tide_log_options){.level = 5});
    ck_assert_int_eq(append("somewhere", TIDE_LOG_TRY), 0);
    ck_assert_int_eq(tide_log_read(reader, &batch, 1, TIDE_LOG_TRY), 1);
    FILE *maps = fopen("/proc/self/smaps", "r");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            here = (uintptr_t)batch.data >= from && (uintptr_t)batch.data < to;
        else if (here && strncmp(line, "VmFlags:", 8) == 0)
            huge = strstr(line, " hg") != NULL;
    }
    fclose(maps);
    ck_assert_int_eq(huge, access("/sys/kernel/mm/transparent_hugepage/enabled", F_OK) == 0);
    drop();
}
END_TEST

static tide_log_client_t *rival;
static int rival_in;

/* At the access of shared memory whose turn it is, another client appends. */
static void append_as_rival(void)
{
    if (--rival_in != 0)
        return;
    tide_coh_hook = NULL;
    ck_assert_int_eq(tide_log_append(rival, 0, "rival", 5, TIDE_LOG_TRY, NULL), 0);
}

/* Once at each access of an append: only between looking for room and taking it does another
 * append cost a retry. */
START_TEST(lost_claims_are_counted)
{
    struct tide_log_stat stat;
    uint64_t before = 0, lost = 0;
    int turn = 1;
    make((struct tide_log_options){.level = 5});
    ck_assert_int_eq(tide_log_client_open(&rival, log_, NULL), 0);
    for (; rival_in <= 0; turn++) {
        rival_in = turn;
        tide_coh_hook = append_as_rival;
        ck_assert_int_eq(append("mine", TIDE_LOG_TRY), 0);
        tide_coh_hook = NULL;
        ck_assert_int_eq(tide_log_stat(log_, &stat), 0);
        ck_assert_uint_le(stat.collisions - before, 1);
        lost += stat.collisions - before;
        before = stat.collisions;
    }
    ck_assert_uint_ge(lost, 1);
    ck_assert_uint_lt(lost, (uint64_t)turn / 2);
    ck_assert_int_eq(tide_log_client_close(rival), 0);
    drop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("logapi");
    TCase *tcase = tcase_create("logapi");
    tcase_add_test(tcase, the_program_of_the_header);
    tcase_add_test(tcase, levels_that_do_not_exist_and_other_bad_options);
    tcase_add_test(tcase, too_large_a_message_is_refused_with_both_numbers);
    for (int level = 0; level <= 5; level += 5) {
        tcase_add_loop_test(tcase, full_is_an_answer_and_never_a_loss, level, level + 1);
        tcase_add_loop_test(tcase, positions_that_are_gone_or_not_there_yet, level, level + 1);
        tcase_add_loop_test(tcase, trim_to_a_size, level, level + 1);
    }
    tcase_add_test(tcase, a_blocked_append_goes_on_when_there_is_room);
    tcase_add_test(tcase, claims_are_written_in_place);
    tcase_add_loop_test(tcase, slow_readers_by_policy, 0, 3);
    tcase_add_test(tcase, sessions_of_level_4);
    tcase_add_loop_test(tcase, the_last_batch_is_seen_without_more_traffic, 0, 2);
    tcase_add_test(tcase, who_waits_costs_nothing);
    tcase_add_test(tcase, stepped_by_the_program_itself);
    tcase_add_test(tcase, a_child_has_no_log);
    tcase_add_test(tcase, what_is_open_keeps_the_log_open);
    tcase_add_test(tcase, what_a_log_tells_about_itself);
    tcase_add_test(tcase, lost_claims_are_counted);
    tcase_add_test(tcase, a_log_asks_for_huge_pages);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
