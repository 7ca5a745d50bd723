/*
 * test_log_wakes.c - who waits is told when it can go on, and who trims says what it did,
 * whatever others do at that moment.
 */
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <tidepool/log.h>

#include "unit_base.h"

enum { MANY = 40, ROUNDS = 300, PATIENCE = 2000 /* times 10 ms */ };

static tide_log_t *log_;
static tide_log_client_t *mine;
static _Atomic int done, stop;

static void make(unsigned level, unsigned retain)
{
    struct tide_log_options options = {.level = level, .slots = 16, .retain = retain};
    done = stop = 0;
    ck_assert_int_eq(tide_log_create(&log_, &options), 0);
    ck_assert_int_eq(tide_log_client_open(&mine, log_, NULL), 0);
}

static void drop(pthread_t thread)
{
    pthread_join(thread, NULL);
    ck_assert_int_eq(tide_log_client_close(mine), 0);
    ck_assert_int_eq(tide_log_close(log_), 0);
}

static bool comes(int wanted)
{
    for (int i = 0; i < PATIENCE && done != wanted; i++)
        usleep(10000);
    return done == wanted;
}

static void *append_many(void *unused)
{
    struct tide_log_client_options who = {.id = 1};
    tide_log_client_t *client;
    (void)unused;
    ck_assert_int_eq(tide_log_client_open(&client, log_, &who), 0);
    for (int i = 0; i < MANY; i++, done++)
        ck_assert_int_eq(tide_log_append(client, 0, "x", 1, TIDE_LOG_BLOCK, NULL), 0);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    return NULL;
}

/* The oldest batch is a claim that is out: nothing behind it can be trimmed until then. */
START_TEST(a_commit_lets_go_on_who_waits_for_room)
{
    struct tide_log_claim claim;
    pthread_t thread;
    make(_i ? 5 : 0, TIDE_LOG_KEEP_RECENT);
    ck_assert_int_eq(tide_log_claim(mine, 0, 64, TIDE_LOG_TRY, &claim), 0);
    ck_assert_ptr_nonnull(tide_log_put(&claim, 8, 0));
    ck_assert_int_eq(pthread_create(&thread, NULL, append_many, NULL), 0);
    ck_assert(comes(15));
    usleep(100000); /* by now it sleeps */
    ck_assert_int_eq(done, 15);
    ck_assert_int_eq(tide_log_commit(&claim, NULL), 0);
    ck_assert(comes(MANY));
    drop(thread);
}
END_TEST

static void *append_early(void *unused)
{
    struct tide_log_client_options who = {.id = 1, .ack = TIDE_LOG_ACK_ORDERED};
    tide_log_client_t *client;
    (void)unused;
    ck_assert_int_eq(tide_log_client_open(&client, log_, &who), 0);
    ck_assert_int_eq(tide_log_set_number(client, 1), 0); /* and 0 never comes */
    done = 1;
    ck_assert_int_eq(tide_log_append(client, 0, "x", 1, TIDE_LOG_BLOCK, NULL), -ESTALE);
    done = 2;
    ck_assert_int_eq(tide_log_client_close(client), 0);
    return NULL;
}

START_TEST(an_opening_ends_the_wait_for_an_acknowledgement)
{
    struct tide_log_client_options who = {.id = 1};
    tide_log_client_t *client;
    pthread_t thread;
    make(4, TIDE_LOG_KEEP_RECENT);
    ck_assert_int_eq(pthread_create(&thread, NULL, append_early, NULL), 0);
    ck_assert(comes(1));
    usleep(100000);
    ck_assert_int_eq(tide_log_client_open(&client, log_, &who), 0);
    ck_assert(comes(2));
    ck_assert_int_eq(tide_log_client_close(client), 0);
    drop(thread);
}
END_TEST

/* Room is looked for all the time. */
static void *append_always(void *unused)
{
    struct tide_log_client_options who = {.id = 1};
    tide_log_client_t *client;
    (void)unused;
    ck_assert_int_eq(tide_log_client_open(&client, log_, &who), 0);
    while (!stop) {
        if (tide_log_append(client, 0, "x", 1, TIDE_LOG_TRY, NULL) == 0)
            done++;
        else
            sched_yield();
    }
    ck_assert_int_eq(tide_log_client_close(client), 0);
    return NULL;
}

START_TEST(unread_batches_stay_when_readers_come_and_go)
{
    struct tide_log_stat stat;
    pthread_t thread;
    make(5, TIDE_LOG_KEEP_UNREAD);
    ck_assert_int_eq(pthread_create(&thread, NULL, append_always, NULL), 0);
    ck_assert(comes(16));
    for (int i = 0; i < 100 * ROUNDS; i++) {
        tide_log_reader_t *reader;
        ck_assert_int_eq(tide_log_reader_open(&reader, log_, NULL), 0);
        ck_assert_int_eq(tide_log_reader_close(reader), 0);
    }
    ck_assert_int_eq(tide_log_stat(log_, &stat), 0);
    ck_assert_uint_eq(stat.earliest, 0);
    ck_assert_int_eq(done, 16);
    stop = 1;
    drop(thread);
}
END_TEST

START_TEST(a_trim_is_done_whoever_else_is_at_it)
{
    pthread_t thread;
    make(5, TIDE_LOG_KEEP_ALL);
    ck_assert_int_eq(pthread_create(&thread, NULL, append_always, NULL), 0);
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t earliest, committed = tide_log_committed(log_);
        ck_assert_int_eq(tide_log_trim(log_, 0, committed, &earliest), 0);
        ck_assert_uint_eq(earliest, committed);
        usleep(100);
    }
    stop = 1;
    drop(thread);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log_wakes");
    TCase *group = tcase_create("log_wakes");
    tcase_set_timeout(group, 120);
    tcase_add_loop_test(group, a_commit_lets_go_on_who_waits_for_room, 0, 2);
    tcase_add_test(group, an_opening_ends_the_wait_for_an_acknowledgement);
    tcase_add_test(group, unread_batches_stay_when_readers_come_and_go);
    tcase_add_test(group, a_trim_is_done_whoever_else_is_at_it);
    suite_add_tcase(suite, group);
    return unit_run(suite);
}
