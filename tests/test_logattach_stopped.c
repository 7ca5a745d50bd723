/* test_logattach_stopped.c - one log in several processes, one of which stands still: while it
 * repairs the log, or with a lock of it. Calls come back when they were told to, and whoever has to
 * wait sleeps. */
#define _GNU_SOURCE 1
#include "log_crowd.h"

#include <pthread.h>

#include "box/logapi.h"

enum { MOMENT = 20000000 /* ns */ };

#define PATIENT (UINT64_MAX / 4)

static struct tide_log_claim crowd_claim;

static void says(const char *want)
{
    char text[256];
    tide_log_explain(text, sizeof text);
    ck_assert_msg(strstr(text, want) != NULL, "said: %s", text);
}

static void wait_stopped(pid_t pid)
{
    int status;
    UNIT_NEED(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
}

/* --- who repairs stands still ------------------------------------------------------------- */

/* Kills it, and repairs the log before anybody else can. */
static void repair_after(pid_t victim)
{
    struct tide_layout_fault fault = {NULL, 0, 0, 0};
    struct tide_crew *crew = &crowd_log->crew;
    uint32_t pid;
    UNIT_NEED(tide_logroom_hold(crowd_region, &pid) == 0);
    kill(victim, SIGKILL);
    while (tide_logroom_crew(crowd_region, &crew->self).dead == 0)
        usleep(1000);
    UNIT_NEED(tide_rescue_held(crew, 0, &fault) == 0);
    tide_logroom_leave(crowd_region);
}

/* A child that begins to repair all of the log for another one that is killed in a call of it, and
 * stops itself. */
static pid_t stopped_repairer(const char *point)
{
    pid_t dead, repairer;
    int ready = atomic_load(&crowd->ready);
    atomic_store(&crowd->go, 1);
    CROWD_CHILD(dead)
    {
        UNIT_NEED(tide_crew_begin(&crowd_log->crew));
        atomic_fetch_add(&crowd->ready, 1);
        pause();
    }
    crowd_wait_for(&crowd->ready, ready + 2);
    CROWD_CHILD(repairer)
    {
        crowd_end_at(point, 1, SIGSTOP);
        repair_after(dead);
    }
    wait_stopped(repairer);
    ck_assert_int_eq(crowd_ended(dead), 128 + SIGKILL);
    return repairer;
}

static int append(tide_log_client_t *client, int64_t timeout)
{
    return tide_log_append(client, 0, "x", 1, timeout, NULL);
}

/* None of these waits longer than it may, or gets what it asked for. */
static void calls_come_back(tide_log_client_t *client, tide_log_client_t *acked,
                            tide_log_reader_t *reader)
{
    struct tide_log_message message = {"xy", 2, 7};
    struct tide_log_batch batch;
    struct tide_log_claim claim;
    struct tide_log_stat stat;
    ck_assert_int_eq(append(client, TIDE_LOG_TRY), -EAGAIN);
    says("others are repairing the log");
    ck_assert_int_eq(append(client, MOMENT), -ETIMEDOUT);
    says("others are repairing the log");
    ck_assert_int_eq(append(acked, TIDE_LOG_TRY), -EAGAIN);
    ck_assert_int_eq(append(acked, MOMENT), -ETIMEDOUT);
    ck_assert_int_eq(tide_log_append_batch(client, 0, &message, 1, TIDE_LOG_TRY, NULL), -EAGAIN);
    ck_assert_int_eq(tide_log_claim(client, 0, 64, TIDE_LOG_TRY, &claim), -EAGAIN);
    ck_assert_int_eq(tide_log_claim(client, 0, 64, MOMENT, &claim), -ETIMEDOUT);
    ck_assert_int_eq(tide_log_read(reader, &batch, 1, TIDE_LOG_TRY), -EAGAIN);
    ck_assert_int_eq(tide_log_read(reader, &batch, 1, MOMENT), -ETIMEDOUT);
    ck_assert_int_eq(tide_log_poll(crowd_log), 0);
    ck_assert_int_eq(tide_log_reclaim(crowd_log), 0);
    ck_assert_int_eq(tide_log_stat(crowd_log, &stat), 0);
    if (crowd_options.level == 0)
        return;
    ck_assert_uint_eq(tide_log_committed(crowd_log), stat.committed);
    ck_assert_int_eq(tide_log_wait_committed(crowd_log, 99, TIDE_LOG_TRY), -EAGAIN);
    ck_assert_int_eq(tide_log_wait_committed(crowd_log, 99, MOMENT), -ETIMEDOUT);
}

static void block_comes_back(tide_log_client_t *client)
{
    tide_heap_t *heap = tide_heap_create_on(crowd_region);
    void *block = tide_log_block(heap, 40, 0);
    ck_assert_int_eq(tide_log_append_block(client, 0, block, 56, TIDE_LOG_TRY, NULL), -EAGAIN);
    says("others are repairing the log");
    ck_assert_int_eq(tide_log_append_block(client, 0, block, 56, MOMENT, NULL), -ETIMEDOUT);
    tide_free(block);
    tide_heap_destroy(heap);
}

/* Nobody is taken for dead because it stands still; once it is dead, the next one repairs. */
START_TEST(calls_while_a_repairer_stands_still)
{
    static const unsigned levels[] = {5, 4, 0};
    tide_log_reader_t *reader;
    unsigned level = levels[_i / 2];
    crowd_make(crowd_small(level, TIDE_LOG_INLINE), 0);
    tide_log_client_t *client = crowd_client(1, TIDE_LOG_ACK_NONE);
    tide_log_client_t *acked =
        crowd_client(2, level == 0 ? TIDE_LOG_ACK_NONE : TIDE_LOG_ACK_ORDERED);
    ck_assert_int_eq(tide_log_reader_open(&reader, crowd_log, NULL), 0);
    ck_assert_int_eq(append(client, TIDE_LOG_TRY), 0);
    pid_t repairer = stopped_repairer("mend_ring");
    for (int i = 0; i < 2; i++)
        calls_come_back(client, acked, reader);
    block_comes_back(client);
    ck_assert_int_eq(tide_log_expel(crowd_log, (uint64_t)repairer), -EBUSY);
    ck_assert_uint_eq(crowd_repairs(), 0);
    kill(repairer, _i % 2 == 0 ? SIGKILL : SIGCONT);
    ck_assert_int_eq(append(client, TIDE_LOG_BLOCK), 0);
    ck_assert_int_eq(append(acked, TIDE_LOG_BLOCK), 0);
    ck_assert_int_eq(crowd_ended(repairer), _i % 2 == 0 ? 128 + SIGKILL : 0);
    ck_assert_uint_ge(crowd_repairs(), 1);
    struct tide_log_batch batch;
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(tide_log_read(reader, &batch, 1, TIDE_LOG_BLOCK), 1);
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    ck_assert_int_eq(tide_log_client_close(acked), 0);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    crowd_leave();
}
END_TEST

/* A batch that waits for its place when the repair begins: it is in the log, and that is said in
 * time. */
START_TEST(an_acknowledgement_while_a_repairer_stands_still)
{
    pid_t child;
    crowd_make(crowd_small(5, TIDE_LOG_STEPPED), 0);
    atomic_store(&crowd->go, 1);
    CROWD_CHILD(child)
    {
        tide_log_client_t *client = crowd_client(1, TIDE_LOG_ACK_ORDERED);
        atomic_fetch_add(&crowd->ready, 1);
        int error = append(client, INT64_C(1500000000));
        UNIT_HOLD(error == -EINPROGRESS, "an append that waits gave %d", error);
        _exit(0); /* without a word: to close the log it would wait */
    }
    crowd_wait_for(&crowd->ready, 2);
    while (!tide_seq_waits(&crowd_log->map))
        usleep(1000);
    pid_t repairer = stopped_repairer("mend_begun");
    ck_assert_int_eq(crowd_ended(child), 0);
    kill(repairer, SIGKILL);
    ck_assert_int_eq(crowd_ended(repairer), 128 + SIGKILL);
    while (tide_log_committed(crowd_log) == 0)
        tide_log_poll(crowd_log);
    crowd_leave();
}
END_TEST

/* A sequencer that looks for work all the time can be stopped at any moment, and expelled. */
START_TEST(a_sequencer_without_work_is_expelled_wherever_it_stands)
{
    pid_t child;
    crowd_make(crowd_small(_i == 0 ? 5 : 4, TIDE_LOG_STEPPED), 0);
    tide_log_client_t *client = crowd_client(1, TIDE_LOG_ACK_NONE);
    atomic_store(&crowd->go, 1);
    for (int i = 1; i <= 40; i++) {
        CROWD_CHILD(child)
        {
            while (tide_log_poll(crowd_log) >= 0) {
            }
            _exit(0); /* it was expelled */
        }
        crowd_wait_for(&crowd->ready, i);
        usleep((useconds_t)(i * 97 % 1000));
        kill(child, SIGSTOP);
        wait_stopped(child);
        ck_assert_int_eq(tide_log_expel(crowd_log, (uint64_t)child), 0);
        ck_assert_int_eq(append(client, TIDE_LOG_TRY), 0);
        ck_assert_int_gt(tide_log_poll(crowd_log), 0);
        kill(child, SIGCONT);
        ck_assert_int_eq(crowd_ended(child), 0);
    }
    ck_assert_uint_eq(tide_log_committed(crowd_log), 40);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    crowd_leave();
}
END_TEST

/* --- calls without a time-out --------------------------------------------------------------- */

/* None of these waits for ever for somebody who stands still, and none has done anything. */
static void calls_give_up(tide_log_client_t *client, tide_log_client_t *other,
                          tide_log_reader_t *reader, pid_t repairer)
{
    tide_log_client_t *more_clients = NULL;
    tide_log_reader_t *more_readers = NULL;
    struct tide_log_claim *claim = &crowd_claim;
    char who[64];
    snprintf(who, sizeof who, "whoever repairs the log does not end: process: %d", (int)repairer);
    ck_assert_int_eq(tide_log_commit(claim, NULL), -EBUSY);
    says(who);
    ck_assert_int_eq(tide_log_abort(claim), -EBUSY);
    ck_assert_int_eq(tide_log_client_close(client), -EBUSY);
    says("claims of this client that are out");
    ck_assert_int_eq(tide_log_client_close(other), -EBUSY);
    says(who);
    ck_assert_int_eq(tide_log_done(reader), -EBUSY);
    says(who);
    ck_assert_int_eq(tide_log_reader_close(reader), -EBUSY);
    says(who);
    ck_assert_int_eq(tide_log_trim(crowd_log, 0, 1, NULL), -EBUSY);
    says(who);
    ck_assert_int_eq(tide_log_trim_to(crowd_log, 0), -EBUSY);
    ck_assert_int_eq(tide_log_client_open(&more_clients, crowd_log, NULL), -EBUSY);
    says(who);
    ck_assert_int_eq(tide_log_reader_open(&more_readers, crowd_log, NULL), -EBUSY);
    says(who);
    if (crowd_options.level != 0) {
        ck_assert_int_eq(tide_log_sync(crowd_log), -EBUSY);
        says(who);
    }
}

/* Once whoever stood still goes on, or is dead, all of them do what they could not. */
START_TEST(calls_without_a_time_out_give_up)
{
    static const unsigned levels[] = {5, 4, 0};
    unsigned level = levels[_i / 2];
    struct tide_log_batch batch;
    tide_log_reader_t *reader;
    crowd_make(crowd_small(level, TIDE_LOG_INLINE), 1);
    tide_log_client_t *client = crowd_client(1, TIDE_LOG_ACK_NONE);
    tide_log_client_t *other = crowd_client(2, TIDE_LOG_ACK_NONE);
    ck_assert_int_eq(tide_log_reader_open(&reader, crowd_log, NULL), 0);
    ck_assert_int_eq(append(other, TIDE_LOG_TRY), 0);
    ck_assert_int_eq(tide_log_read(reader, &batch, 1, TIDE_LOG_TRY), 1);
    ck_assert_int_eq(tide_log_claim(client, 0, 64, TIDE_LOG_TRY, &crowd_claim), 0);
    memcpy(tide_log_put(&crowd_claim, 2, 9), "xy", 2);
    pid_t repairer = stopped_repairer("mend_begun");
    tide_crew_patience = MOMENT;
    calls_give_up(client, other, reader, repairer);
    tide_crew_patience = PATIENT;
    kill(repairer, _i % 2 == 0 ? SIGKILL : SIGCONT);
    ck_assert_int_eq(tide_log_commit(&crowd_claim, NULL), 0);
    ck_assert_int_eq(crowd_ended(repairer), _i % 2 == 0 ? 128 + SIGKILL : 0);
    ck_assert_int_eq(tide_log_read(reader, &batch, 1, TIDE_LOG_BLOCK), 1);
    ck_assert_uint_eq(batch.client, 1);
    ck_assert_int_eq(tide_log_done(reader), 0);
    ck_assert_int_eq(tide_log_trim_to(crowd_log, 0), 0);
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    ck_assert_int_eq(tide_log_client_close(other), 0);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    crowd_leave();
}
END_TEST

/* A session that could not be opened leaves no entry of the table of clients taken. */
START_TEST(what_could_not_be_opened_takes_no_room)
{
    tide_log_client_t *client[12];
    struct tide_log_client_options options = {.id = 0};
    crowd_make(crowd_small(4, TIDE_LOG_INLINE), 0);
    tide_trim_patience = MOMENT;
    atomic_store(&crowd_log->map.session[0].door, 1); /* somebody who stands still has it */
    for (int i = 0; i < 13; i++)
        ck_assert_int_eq(tide_log_client_open(&client[0], crowd_log, &options), -EBUSY);
    says("somebody keeps the door of the session of client");
    atomic_store(&crowd_log->map.session[0].door, 0);
    for (unsigned i = 0; i < 12; i++)
        client[i] = crowd_client(i, TIDE_LOG_ACK_NONE);
    for (unsigned i = 0; i < 12; i++)
        ck_assert_int_eq(tide_log_client_close(client[i]), 0);
    crowd_leave();
}
END_TEST

/* Somebody who writes the medium stands still. */
START_TEST(a_sync_while_a_syncer_stands_still)
{
    char who[64];
    pid_t syncer;
    crowd_make(crowd_small(5, TIDE_LOG_INLINE), 1);
    tide_log_client_t *client = crowd_client(1, TIDE_LOG_ACK_NONE);
    ck_assert_int_eq(append(client, TIDE_LOG_TRY), 0);
    atomic_store(&crowd->go, 1);
    CROWD_CHILD(syncer)
    {
        crowd_end_at("durable_front", 1, SIGSTOP);
        UNIT_NEED(tide_log_sync(crowd_log) == 0);
    }
    wait_stopped(syncer);
    snprintf(who, sizeof who, "whoever syncs the log does not end: process: %d", (int)syncer);
    tide_crew_patience = MOMENT;
    ck_assert_int_eq(tide_log_sync(crowd_log), -EBUSY);
    says(who);
    ck_assert_int_eq(tide_log_wait_durable(crowd_log, 0, MOMENT), -ETIMEDOUT);
    tide_crew_patience = PATIENT;
    kill(syncer, _i == 0 ? SIGKILL : SIGCONT);
    ck_assert_int_eq(tide_log_sync(crowd_log), 0);
    ck_assert_uint_eq(tide_log_durable(crowd_log), 1);
    ck_assert_int_eq(crowd_ended(syncer), _i == 0 ? 128 + SIGKILL : 0);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    crowd_leave();
}
END_TEST

/* --- whoever waits sleeps ----------------------------------------------------------------- */

static int64_t micros(const struct rusage *use)
{
    return (use->ru_utime.tv_sec + use->ru_stime.tv_sec) * INT64_C(1000000) +
           use->ru_utime.tv_usec + use->ru_stime.tv_usec;
}

/* The other threads of the process go to sleep many times, and do not use up a second of
 * processor time before. */
static bool others_sleep(void)
{
    struct rusage all, mine;
    long slept = 0;
    int64_t used = 0;
    while (slept < 60 && used < 1000000) {
        getrusage(RUSAGE_SELF, &all);
        getrusage(RUSAGE_THREAD, &mine);
        used = micros(&all) - micros(&mine);
        slept = all.ru_nvcsw - mine.ru_nvcsw;
        usleep(5000);
    }
    return used < 1000000;
}

/* There is something to do for the sequencer; but its process was expelled, or somebody who stands
 * still has the broker. */
START_TEST(a_sequencer_that_can_do_nothing_sleeps)
{
    pid_t child;
    crowd_make(crowd_small(_i == 2 ? 4 : 5, TIDE_LOG_STEPPED), 0);
    tide_log_client_t *client = crowd_client(1, TIDE_LOG_ACK_NONE);
    CROWD_CHILD(child)
    {
        UNIT_NEED(tide_log_start(crowd_log, -1) == 0);
        atomic_fetch_add(&crowd->ready, 1);
        crowd_wait_for(&crowd->go, 2);
        UNIT_NEED(others_sleep());
    }
    atomic_store(&crowd->go, 1);
    crowd_wait_for(&crowd->ready, 2);
    if (_i == 0) {
        while (tide_log_expel(crowd_log, (uint64_t)child) == -EBUSY)
            usleep(1000);
    } else {
        atomic_store(&crowd_log->map.broker[0].scanner, 1);
    }
    ck_assert_int_eq(append(client, TIDE_LOG_TRY), 0);
    atomic_store(&crowd->go, 2);
    ck_assert_int_eq(crowd_ended(child), 0);
    atomic_store(&crowd_log->map.broker[0].scanner, 0);
    while (tide_log_committed(crowd_log) == 0)
        tide_log_poll(crowd_log);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    crowd_leave();
}
END_TEST

/* Others wait in an append, a read and a trim meanwhile: asleep. */
static void *wait_in_append(void *client)
{
    ck_assert_int_eq(append(client, TIDE_LOG_BLOCK), 0);
    return NULL;
}

static void *wait_in_trim(void *log)
{
    ck_assert_int_eq(tide_log_trim(log, 0, 0, NULL), 0);
    return NULL;
}

START_TEST(who_waits_for_a_repair_sleeps)
{
    pthread_t thread[2];
    pid_t child;
    crowd_make(crowd_small(5, TIDE_LOG_INLINE), 0);
    atomic_store(&crowd->go, 1);
    CROWD_CHILD(child)
    {
        tide_log_client_t *client = crowd_client(1, TIDE_LOG_ACK_NONE);
        atomic_fetch_add(&crowd->ready, 1);
        crowd_wait_for(&crowd->go, 2);
        UNIT_NEED(pthread_create(&thread[0], NULL, wait_in_append, client) == 0);
        UNIT_NEED(pthread_create(&thread[1], NULL, wait_in_trim, crowd_log) == 0);
        UNIT_NEED(others_sleep());
        atomic_fetch_add(&crowd->ready, 1);
        for (int i = 0; i < 2; i++)
            pthread_join(thread[i], NULL);
        UNIT_NEED(tide_log_client_close(client) == 0);
    }
    crowd_wait_for(&crowd->ready, 2);
    pid_t repairer = stopped_repairer("mend_begun");
    int ready = atomic_load(&crowd->ready);
    atomic_store(&crowd->go, 2);
    crowd_wait_for(&crowd->ready, ready + 1);
    kill(repairer, SIGCONT);
    ck_assert_int_eq(crowd_ended(repairer), 0);
    ck_assert_int_eq(crowd_ended(child), 0);
    crowd_leave();
}
END_TEST

/* The lock of trimming: somebody has it who stands still. */
START_TEST(who_waits_for_a_lock_sleeps)
{
    pthread_t thread;
    pid_t child;
    crowd_make(crowd_small(5, TIDE_LOG_INLINE), 0);
    atomic_store(&crowd_log->map.head->trimmer, 1);
    CROWD_CHILD(child)
    {
        UNIT_NEED(pthread_create(&thread, NULL, wait_in_trim, crowd_log) == 0);
        UNIT_NEED(others_sleep());
        atomic_store(&crowd_log->map.head->trimmer, 0);
        pthread_join(thread, NULL);
    }
    atomic_store(&crowd->go, 1);
    ck_assert_int_eq(crowd_ended(child), 0);
    crowd_leave();
}
END_TEST

/* --- the room changes hands --------------------------------------------------------------- */

/* A log in lanes that this process made is its own: whoever opens it, and does not attach to it,
 * has to wait until it is closed, and has a log in lanes then, at whatever moment that was. */
START_TEST(a_log_in_lanes_is_closed_while_another_opens_it)
{
    pid_t child;
    struct tide_log_options options = crowd_small(5, TIDE_LOG_STEPPED);
    options.coherence = TIDE_LOG_NONCOHERENT;
    options.lease = 0; /* lanes have one at any rate */
    options.brokers = 1;
    options.clients = 2;
    options.checksum = 0;
    crowd_make(options, 0);
    fflush(NULL);
    if ((child = fork()) == 0) {
        tide_log_t *log;
        crowd_region = region_opened(crowd_text);
        atomic_fetch_add(&crowd->ready, 1);
        int error;
        while ((error = tide_log_open(&log, crowd_region)) == -EBUSY)
            usleep(1000);
        UNIT_HOLD(error == 0, "to open the log gave %d", error);
        UNIT_NEED(log->magic != TIDE_LOGAPI_LOG);
        UNIT_NEED(tide_log_close(log) == 0);
        _exit(0);
    }
    crowd_wait_for(&crowd->ready, 1);
    usleep(100000); /* so it finds the room taken; if it does not, nothing is shown */
    ck_assert_int_eq(tide_log_close(crowd_log), 0);
    ck_assert_int_eq(crowd_ended(child), 0);
    ck_assert_int_eq(tide_region_close(crowd_region), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("logattach_stopped");
    TCase *tcase = tcase_create("logattach_stopped");
    tcase_add_checked_fixture(tcase, unit_files_setup, unit_files_teardown);
    tcase_add_loop_test(tcase, calls_while_a_repairer_stands_still, 0, 6);
    tcase_add_test(tcase, an_acknowledgement_while_a_repairer_stands_still);
    tcase_add_loop_test(tcase, a_sequencer_that_can_do_nothing_sleeps, 0, 3);
    tcase_add_test(tcase, who_waits_for_a_repair_sleeps);
    tcase_add_test(tcase, who_waits_for_a_lock_sleeps);
    tcase_add_loop_test(tcase, a_sequencer_without_work_is_expelled_wherever_it_stands, 0, 2);
    tcase_add_test(tcase, a_log_in_lanes_is_closed_while_another_opens_it);
    tcase_add_loop_test(tcase, calls_without_a_time_out_give_up, 0, 6);
    tcase_add_test(tcase, what_could_not_be_opened_takes_no_room);
    tcase_add_loop_test(tcase, a_sync_while_a_syncer_stands_still, 0, 2);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
