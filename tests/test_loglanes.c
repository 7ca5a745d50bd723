/* test_loglanes.c - the public calls on a log in memory that is not coherent. */
#include "region_case.h"

#include <pthread.h>

#include <tidepool/log.h>

static tide_log_t *log_;
static tide_log_client_t *client;
static tide_log_reader_t *reader;

static struct tide_log_options options(unsigned level)
{
    return (struct tide_log_options){.level = level,
                                     .brokers = 2,
                                     .clients = 3,
                                     .readers = 2,
                                     .slots = 8,
                                     .payload = 4096,
                                     .sequencing = TIDE_LOG_STEPPED,
                                     .coherence = TIDE_LOG_NONCOHERENT};
}

static void begin(unsigned level)
{
    struct tide_log_options o = options(level);
    ck_assert_int_eq(tide_log_create(&log_, &o), 0);
    ck_assert_int_eq(tide_log_reader_open(&reader, log_, NULL), 0);
    ck_assert_int_eq(tide_log_client_open(&client, log_, NULL), 0);
}

static void end(void)
{
    ck_assert_int_eq(tide_log_close(log_), -EBUSY);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    ck_assert_int_eq(tide_log_close(log_), 0);
    ck_assert_int_eq(tide_log_poll(log_ = NULL), -ESTALE);
}

static int send(unsigned broker, const char *text)
{
    return tide_log_append(client, broker, text, strlen(text) + 1, TIDE_LOG_TRY, NULL);
}

/* The text of the next batch's first message, or "" when there is none. */
static const char *next(void)
{
    struct tide_log_batch batch;
    size_t at = 0;
    if (tide_log_read(reader, &batch, 1, TIDE_LOG_TRY) != 1)
        return "";
    return (const char *)(tide_log_next(&batch, &at) + 1);
}

static void poll_dry(void)
{
    while (tide_log_poll(log_) != 0)
        ;
}

START_TEST(what_is_appended_is_read)
{
    const struct tide_log_message two[] = {{"three", 6, 33}, {"four", 5, 44}};
    struct tide_log_batch batch;
    struct tide_log_claim claim;
    struct tide_log_at at;
    begin(5);
    ck_assert_int_eq(send(0, "one"), 0);
    ck_assert_int_eq(send(1, "two"), 0);
    ck_assert_str_eq(next(), "");
    ck_assert_int_eq(tide_log_poll(log_), 2);
    ck_assert_str_eq(next(), "one");
    ck_assert_str_eq(next(), "two");
    ck_assert_int_eq(tide_log_append_batch(client, 0, two, 2, TIDE_LOG_TRY, &at), 0);
    ck_assert_uint_eq(at.position, TIDE_LOG_NONE);
    ck_assert_uint_eq(at.number, 2);
    ck_assert_int_eq(tide_log_claim(client, 1, TIDE_LOG_ROOM(5), TIDE_LOG_TRY, &claim), 0);
    ck_assert_int_eq(tide_log_client_close(client), -EBUSY);
    memcpy(tide_log_put(&claim, 5, 5), "five", 5);
    ck_assert_ptr_null(tide_log_put(&claim, 1, 5));
    ck_assert_int_eq(tide_log_commit(&claim, NULL), 0);
    ck_assert_int_eq(tide_log_commit(&claim, NULL), -ESTALE);
    ck_assert_int_eq(tide_log_claim(client, 1, 64, TIDE_LOG_TRY, &claim), 0);
    ck_assert_int_eq(tide_log_abort(&claim), 0);
    poll_dry();
    ck_assert_int_eq(tide_log_read(reader, &batch, 1, TIDE_LOG_TRY), 1);
    ck_assert_uint_eq(batch.position, 2);
    ck_assert_uint_eq(batch.base, 2);
    ck_assert_uint_eq(batch.count, 2);
    ck_assert_str_eq(next(), "five");
    ck_assert_uint_eq(tide_log_committed(log_), 4);
    ck_assert_int_eq(tide_log_wait_committed(log_, 3, TIDE_LOG_TRY), 0);
    ck_assert_int_eq(tide_log_wait_committed(log_, 4, TIDE_LOG_TRY), -EAGAIN);
    end();
}
END_TEST

START_TEST(large_batches_come_whole)
{
    static unsigned char bytes[70000];
    const size_t size[] = {4000, 4080, 4081, 4096, 65536, 70000};
    struct tide_log_options o = options(5);
    struct tide_log_batch batch;
    o.payload = 1 << 20;
    o.checksum = 1;
    ck_assert_int_eq(tide_log_create(&log_, &o), 0);
    ck_assert_int_eq(tide_log_reader_open(&reader, log_, NULL), 0);
    ck_assert_int_eq(tide_log_client_open(&client, log_, NULL), 0);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 31 + i / 256);
    for (size_t i = 0; i < sizeof size / sizeof size[0]; i++) {
        size_t at = 0;
        ck_assert_int_eq(tide_log_append(client, 1, bytes, size[i], TIDE_LOG_TRY, NULL), 0);
        poll_dry();
        ck_assert_int_eq(tide_log_read(reader, &batch, 1, TIDE_LOG_TRY), 1);
        const struct tide_log_frame *frame = tide_log_next(&batch, &at);
        ck_assert_uint_eq(frame->length, size[i]);
        ck_assert_int_eq(memcmp(frame + 1, bytes, size[i]), 0);
        ck_assert_ptr_null(tide_log_next(&batch, &at));
    }
    end();
}
END_TEST

/* The sequencer hears of it with its next look at a request, which is `turn` looks away. */
static void open_anew(unsigned level, unsigned turn)
{
    begin(level);
    while (turn-- > 0)
        ck_assert_int_eq(tide_log_poll(log_), 0);
    ck_assert_int_eq(send(1, "one"), 0);
    ck_assert_int_eq(send(0, "two"), 0);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    ck_assert_int_eq(tide_log_client_open(&client, log_, NULL), 0);
    ck_assert_uint_eq(tide_log_committed(log_), 2);
    ck_assert_int_eq(send(0, "three"), 0);
    poll_dry();
    const char *first = next(), *second = next();
    ck_assert_str_eq(level == 4 || *first == 'o' ? first : second, "one");
    ck_assert_str_eq(level == 4 || *first == 'o' ? second : first, "two");
    ck_assert_str_eq(next(), "three");
    ck_assert_str_eq(next(), "");
    end();
}

START_TEST(what_was_appended_is_there_when_its_client_is_opened_anew)
{
    for (unsigned turn = 0; turn < 5; turn++) {
        open_anew(4, turn);
        open_anew(5, turn);
    }
}
END_TEST

START_TEST(groups_wait_for_a_flush)
{
    struct tide_log_client_options who = {.id = 1, .hold = 1};
    begin(5);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    ck_assert_int_eq(tide_log_client_open(&client, log_, &who), 0);
    ck_assert_int_eq(send(0, "one"), 0);
    ck_assert_int_eq(tide_log_poll(log_), 0);
    ck_assert_int_eq(tide_log_flush(client), 0);
    ck_assert_int_eq(tide_log_poll(log_), 1);
    ck_assert_int_eq(send(0, "two"), 0);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    ck_assert_int_eq(tide_log_poll(log_), 1);
    ck_assert_str_eq(next(), "one");
    ck_assert_str_eq(next(), "two");
    ck_assert_int_eq(tide_log_client_open(&client, log_, &who), 0);
    end();
}
END_TEST

START_TEST(full_is_said_and_ends)
{
    begin(5);
    for (int lap = 0; lap < 4; lap++) {
        for (int i = 0; i < 8; i++)
            ck_assert_int_eq(send(0, "x"), 0);
        ck_assert_int_eq(send(0, "x"), -EAGAIN);
        ck_assert_int_eq(tide_log_append(client, 0, "x", 1, 1000000, NULL), -ETIMEDOUT);
        poll_dry();
        ck_assert_int_eq(send(0, "x"), -EAGAIN);
        for (int i = 0; i < 8; i++)
            ck_assert_str_eq(next(), "x");
        ck_assert_int_eq(tide_log_done(reader), 0);
        poll_dry();
        tide_log_poll(log_);
    }
    char large[1025];
    ck_assert_int_eq(tide_log_append(client, 0, large, sizeof large, TIDE_LOG_TRY, NULL),
                     -EMSGSIZE);
    end();
}
END_TEST

START_TEST(level_4_knows_late_and_early_batches)
{
    uint64_t expected;
    begin(4);
    ck_assert_int_eq(tide_log_set_number(client, 1), 0);
    ck_assert_int_eq(send(0, "second"), 0);
    poll_dry();
    ck_assert_str_eq(next(), "");
    ck_assert_int_eq(tide_log_set_number(client, 0), 0);
    ck_assert_int_eq(send(0, "first"), -EINVAL);
    ck_assert_int_eq(send(1, "first"), 0);
    poll_dry();
    ck_assert_str_eq(next(), "first");
    ck_assert_str_eq(next(), "second");
    ck_assert_int_eq(tide_log_acked(client, &expected), 0);
    ck_assert_uint_eq(expected, 2);
    ck_assert_int_eq(tide_log_set_number(client, 1), 0);
    ck_assert_int_eq(send(1, "again"), -EALREADY);
    end();
}
END_TEST

struct flow {
    uint64_t sent, bad;
};

static void *read_all(void *argument)
{
    struct flow *flow = argument;
    struct tide_log_batch batch[4];
    for (uint64_t seen = 0; seen < flow->sent;) {
        int got = tide_log_read(reader, batch, 4, TIDE_LOG_BLOCK);
        for (int i = 0; i < got; i++, seen++) {
            size_t at = 0;
            uint64_t value;
            memcpy(&value, tide_log_next(&batch[i], &at) + 1, sizeof value);
            flow->bad += value != seen || batch[i].position != seen;
        }
    }
    return NULL;
}

START_TEST(threads_flow_and_acknowledge)
{
    struct tide_log_client_options who = {.id = 2, .ack = TIDE_LOG_ACK_ORDERED};
    struct flow flow = {300, 0};
    pthread_t thread;
    begin(4);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    ck_assert_int_eq(tide_log_client_open(&client, log_, &who), 0);
    ck_assert_int_eq(tide_log_start(log_, -1), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, read_all, &flow), 0);
    for (uint64_t i = 0; i < flow.sent; i++) {
        ck_assert_int_eq(tide_log_append(client, i % 2, &i, sizeof i, INT64_C(60000000000), NULL),
                         0);
        ck_assert_uint_eq(tide_log_committed(log_), i + 1);
    }
    pthread_join(thread, NULL);
    ck_assert_uint_eq(flow.bad, 0);
    end();
}
END_TEST

START_TEST(nobody_orders_no_acknowledgement)
{
    struct tide_log_client_options who = {.id = 2, .ack = TIDE_LOG_ACK_ORDERED};
    begin(5);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    ck_assert_int_eq(tide_log_client_open(&client, log_, &who), 0);
    ck_assert_int_eq(send(0, "x"), -EINPROGRESS);
    poll_dry();
    ck_assert_str_eq(next(), "x");
    end();
}
END_TEST

START_TEST(trimming_and_starting)
{
    struct tide_log_reader_options at = {.start = TIDE_LOG_POSITION, .position = 1};
    tide_log_reader_t *other;
    uint64_t earliest;
    begin(5);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(send(0, "x"), 0);
    poll_dry();
    ck_assert_int_eq(tide_log_trim(log_, 0, 2, &earliest), 0);
    ck_assert_uint_eq(earliest, 0);
    ck_assert_str_eq(next(), "x");
    ck_assert_str_eq(next(), "x");
    ck_assert_int_eq(tide_log_done(reader), 0);
    ck_assert_int_eq(tide_log_trim(log_, 0, 2, &earliest), 0);
    ck_assert_uint_eq(earliest, 2);
    ck_assert_int_eq(tide_log_reader_open(&other, log_, &at), -ERANGE);
    at.position = 5;
    ck_assert_int_eq(tide_log_reader_open(&other, log_, &at), -ENXIO);
    at.position = 3;
    ck_assert_int_eq(tide_log_reader_open(&other, log_, &at), 0);
    ck_assert_int_eq(tide_log_reader_open(&other, log_, &at), -ENFILE);
    ck_assert_int_eq(tide_log_reader_close(other), 0);
    struct tide_log_stat stat;
    ck_assert_int_eq(tide_log_stat(log_, &stat), 0);
    ck_assert_uint_eq(stat.coherence, TIDE_LOG_NONCOHERENT);
    ck_assert_uint_eq(stat.committed, 4);
    ck_assert_uint_eq(stat.earliest, 2);
    end();
}
END_TEST

static int create_with(struct tide_log_options o)
{
    char words[256];
    int error = tide_log_create(&log_, &o);
    ck_assert_int_gt(tide_log_explain(words, sizeof words), 10);
    ck_assert_int_eq(tide_log_size(&o), error);
    return error;
}

START_TEST(bad_wishes_are_refused)
{
    struct tide_log_options o = options(5);
    struct tide_log_client_options who = {.id = 3};
    struct tide_log_reader_options skip = {.policy = TIDE_LOG_SKIP};
    tide_log_client_t *other;
    tide_log_reader_t *lapped;
    o.sequencing = TIDE_LOG_INLINE;
    ck_assert_int_eq(create_with(o), -EINVAL);
    ck_assert_int_eq(create_with(options(0)), -EINVAL);
    o = options(5);
    o.sessions = TIDE_LOG_MUTEX;
    ck_assert_int_eq(create_with(o), -EINVAL);
    o = options(5);
    o.window = 3;
    ck_assert_int_eq(create_with(o), -EINVAL);
    o = options(5);
    o.coherence = 2;
    ck_assert_int_eq(create_with(o), -EINVAL);
    begin(5);
    ck_assert_int_eq(tide_log_client_open(&other, log_, &who), -EINVAL);
    who.id = 0;
    ck_assert_int_eq(tide_log_client_open(&other, log_, &who), -EBUSY);
    who = (struct tide_log_client_options){.id = 1, .join = 1};
    ck_assert_int_eq(tide_log_client_open(&other, log_, &who), -EINVAL);
    who = (struct tide_log_client_options){.id = 1, .ack = TIDE_LOG_ACK_DURABLE};
    ck_assert_int_eq(tide_log_client_open(&other, log_, &who), -ENOTSUP);
    ck_assert_int_eq(tide_log_reader_open(&lapped, log_, &skip), -EINVAL);
    ck_assert_int_eq(send(2, "x"), -EINVAL);
    end();
}
END_TEST

START_TEST(what_is_not_there_says_so)
{
    struct tide_log_broker_stat broker;
    struct tide_log_reader_stat of_reader;
    struct tide_log_session_stat session;
    uint64_t from, to;
    char words[256];
    begin(5);
    ck_assert_int_eq(tide_log_sync(log_), -ENOTSUP);
    ck_assert_int_eq(tide_log_wait_durable(log_, 0, TIDE_LOG_TRY), -ENOTSUP);
    ck_assert_uint_eq(tide_log_durable(log_), 0);
    ck_assert_int_eq(tide_log_trim_to(log_, 0), -ENOTSUP);
    ck_assert_int_eq(tide_log_stat_broker(log_, 0, &broker), -ENOTSUP);
    ck_assert_int_eq(tide_log_stat_reader(log_, 0, &of_reader), -ENOTSUP);
    ck_assert_int_eq(tide_log_stat_session(log_, 0, &session), -ENOTSUP);
    ck_assert_int_eq(tide_log_gap(reader, &from, &to), -ENOTSUP);
    ck_assert_int_eq(tide_log_reclaim(log_), -ENOTSUP);
    ck_assert_int_eq(tide_log_append_block(client, 0, words, 8, TIDE_LOG_TRY, NULL), -ENOTSUP);
    tide_log_explain(words, sizeof words);
    ck_assert_str_eq(words, "not for a log in memory that is not coherent");
    end();
}
END_TEST

static void in_child(long unused)
{
    struct tide_log_batch batch;
    (void)unused;
    UNIT_NEED(send(0, "x") == -ESTALE);
    UNIT_NEED(tide_log_read(reader, &batch, 1, TIDE_LOG_TRY) == -ESTALE);
    UNIT_NEED(tide_log_poll(log_) == -ESTALE);
    UNIT_NEED(tide_log_flush(client) == -ESTALE);
}

START_TEST(a_child_has_no_log)
{
    begin(5);
    unit_child_ok(in_child, 0);
    end();
}
END_TEST

/* --- in regions --------------------------------------------------------------------------- */

static void open_both(void)
{
    ck_assert_int_eq(tide_log_reader_open(&reader, log_, NULL), 0);
    ck_assert_int_eq(tide_log_client_open(&client, log_, NULL), 0);
}

START_TEST(what_is_closed_is_opened_with_all_that_it_held)
{
    struct tide_log_options o = options(_i % 2 == 0 ? 4 : 5);
    const char *text = region_text(_i);
    uint64_t expected = 3;
    if (text == NULL)
        return;
    tide_region_t *region = region_made(text, REGION_SIZE, 0);
    uint64_t free_bytes = region_told(region).free_bytes;
    ck_assert_int_eq(tide_log_create_on(&log_, region, &o), 0);
    ck_assert_int_eq(tide_log_create_on(&log_, region, &o), -EBUSY);
    open_both();
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(send((unsigned)i % 2, "before"), 0);
    poll_dry();
    ck_assert_int_eq(send(1, "last"), 0); /* gets its place when the log is closed */
    ck_assert_str_eq(next(), "before");
    ck_assert_int_eq(tide_log_done(reader), 0);
    poll_dry();
    ck_assert_int_eq(tide_region_close(region), -EBUSY);
    end();
    ck_assert_int_eq(tide_log_open(&log_, region), 0);
    open_both();
    ck_assert_uint_eq(tide_log_committed(log_), 4);
    ck_assert_int_eq(send(0, "after"), 0);
    if (o.level == 4)
        ck_assert_int_eq(tide_log_acked(client, &expected), 0);
    poll_dry();
    const char *found = next();
    while (strcmp(found, "before") == 0)
        found = next();
    ck_assert_str_eq(found, "last");
    ck_assert_str_eq(next(), "after");
    ck_assert_str_eq(next(), "");
    ck_assert_uint_ge(expected, 3);
    end();
    ck_assert_int_eq(tide_log_create_on(&log_, region, &o), -EEXIST);
    ck_assert_int_eq(tide_log_remove(region), 0);
    ck_assert_uint_eq(region_told(region).free_bytes, free_bytes);
    ck_assert_int_eq(tide_log_open(&log_, region), -ENOENT);
    ck_assert_int_eq(tide_region_close(region), 0);
}
END_TEST

/* Appends numbers and orders them, until it is killed. */
static _Noreturn void be_killed(const char *text, int acked)
{
    struct tide_log_options o = options(4);
    struct tide_log_client_options who = {.ack = TIDE_LOG_ACK_ORDERED};
    tide_region_t *region = region_made(text, REGION_SIZE, 0);
    o.slots = 1024;
    o.payload = 256 << 10;
    o.retain = TIDE_LOG_KEEP_ALL;
    UNIT_NEED(tide_log_create_on(&log_, region, &o) == 0);
    UNIT_NEED(tide_log_client_open(&client, log_, &who) == 0);
    UNIT_NEED(tide_log_start(log_, -1) == 0);
    for (uint64_t i = 0; i < 2000; i++) {
        UNIT_NEED(tide_log_append(client, i % 2, &i, sizeof i, TIDE_LOG_BLOCK, NULL) == 0);
        UNIT_NEED(write(acked, "x", 1) == 1);
    }
    for (;;)
        pause();
}

START_TEST(what_was_acknowledged_outlives_a_kill)
{
    const char *text = region_text(_i);
    struct tide_log_batch batch;
    int ends[2], status;
    char byte;
    if (text == NULL || !region_sources[_i].again)
        return;
    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0)
        be_killed(text, ends[1]);
    close(ends[1]);
    for (int i = 0; i < 500; i++)
        ck_assert_int_eq(read(ends[0], &byte, 1), 1);
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    uint64_t acked = 500, seen = 0;
    while (read(ends[0], &byte, 1) == 1)
        acked++;
    close(ends[0]);
    tide_region_t *region = region_opened(text);
    ck_assert_int_eq(tide_log_open(&log_, region), 0);
    open_both();
    while (tide_log_read(reader, &batch, 1, TIDE_LOG_TRY) == 1) {
        size_t at = 0;
        uint64_t value;
        memcpy(&value, tide_log_next(&batch, &at) + 1, sizeof value);
        ck_assert_uint_eq(value, seen++);
    }
    ck_assert_uint_ge(seen, acked);
    ck_assert_uint_le(seen, acked + 1);
    end();
    ck_assert_int_eq(tide_region_close(region), 0);
}
END_TEST

/* Appends what nobody orders, and is killed. */
static _Noreturn void be_killed_unordered(const char *text, struct tide_log_options o)
{
    tide_region_t *region = region_made(text, REGION_SIZE, 0);
    UNIT_NEED(tide_log_create_on(&log_, region, &o) == 0);
    UNIT_NEED(tide_log_client_open(&client, log_, NULL) == 0);
    for (unsigned i = 0; i < 5; i++)
        UNIT_NEED(send(o.level == 4 ? i % 2 : 1, i == 4 ? "last" : "before") == 0);
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

START_TEST(what_was_appended_outlives_a_kill)
{
    struct tide_log_options o = options(4 + (unsigned)_i / 2 % 2);
    const char *text = region_text(_i);
    int status;
    if (text == NULL || !region_sources[_i].again)
        return;
    o.nodes = _i % 2 == 0 ? 1 : 3;
    o.readers = 3;
    pid_t child = fork();
    if (child == 0)
        be_killed_unordered(text, o);
    waitpid(child, &status, 0);
    ck_assert_int_eq(WTERMSIG(status), SIGKILL);
    tide_region_t *region = region_opened(text);
    ck_assert_int_eq(tide_log_open(&log_, region), 0);
    ck_assert_uint_eq(tide_log_committed(log_), 5);
    open_both();
    for (int i = 0; i < 4; i++)
        ck_assert_str_eq(next(), "before");
    ck_assert_str_eq(next(), "last");
    end();
    ck_assert_int_eq(tide_region_close(region), 0);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {what_is_appended_is_read,
                                  large_batches_come_whole,
                                  what_was_appended_is_there_when_its_client_is_opened_anew,
                                  groups_wait_for_a_flush,
                                  full_is_said_and_ends,
                                  level_4_knows_late_and_early_batches,
                                  threads_flow_and_acknowledge,
                                  nobody_orders_no_acknowledgement,
                                  trimming_and_starting,
                                  bad_wishes_are_refused,
                                  what_is_not_there_says_so,
                                  a_child_has_no_log,
                                  NULL};
    const TTest *const each[] = {what_is_closed_is_opened_with_all_that_it_held,
                                 what_was_acknowledged_outlives_a_kill,
                                 what_was_appended_outlives_a_kill, NULL};
    return region_main("loglanes", tests, each);
}
