/* test_claims_several.c - the short way to put a log in order when there is more than one claim, or
 * one batch: what is done about one changes nothing about the others. */
#include "claims_case.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void publish_as(tide_log_client_t *client, uint64_t number)
{
    struct tide_broker *broker = &client->broker;
    struct tide_ring_batch batch = {number, broker->client, broker->epoch, 1, 0, 0, 0};
    claim(client, 64);
    tide_ring_publish(&log_->map, &broker->claim, &batch, 0);
    atomic_store(&broker->entry->busy, 1);
    give(client);
}

/* Two handles of one session, and neither had its door, which somebody else had, and left. The
 * entry of the later number is the first one: it waits, and then the other one comes. Loop index:
 * the number of the second one is late (0), the one before (1). */
START_TEST(two_batches_of_one_session)
{
    struct tide_log_client_options joined = {.id = 1, .join = 1};
    make(kinds[2]);
    ck_assert_int_eq(tide_log_client_close(other), 0);
    ck_assert_int_eq(tide_log_client_open(&other, log_, &joined), 0);
    ck_assert_int_lt(theirs->broker.entry - other->broker.entry, 0);
    publish_as(theirs, (uint64_t)_i);
    publish_as(other, 0);
    ck_assert(mend());
    ck_assert_uint_eq(report.placed, 1);
    ck_assert_uint_eq(report.fenced, !_i);
    append(mine);
    ck_assert_int_eq(read_all(), OLD + 2 + _i);
    all_is_free_again();
    drop();
}
END_TEST

/* As many places as are looked at: the first batch makes it one more. */
START_TEST(two_batches_at_the_end_of_what_is_looked_at)
{
    enum { LOOKS = 1 << 17 };
    struct tide_log_options options = options_of(kinds[1]);
    options.slots = LOOKS + 64;
    options.payload = options.slots * 64;
    region = region_made("memfd", 64 << 20, 0);
    ck_assert_int_eq(tide_log_create_on(&log_, region, &options), 0);
    theirs = open_client(1);
    other = open_client(2);
    mine = open_client(3);
    for (int i = 0; i < LOOKS; i++)
        ck_assert_int_eq(tide_log_append(mine, 0, "batch", 5, TIDE_LOG_TRY, NULL), 0);
    publish_as(theirs, 0);
    publish_as(other, 0);
    ck_assert(mend());
    ck_assert_uint_eq(report.placed, 2);
    ck_assert_int_eq(read_all(), LOOKS + 2);
    all_is_free_again();
    drop();
}
END_TEST

/* A sequencer looks at 64 of them at a time, at level 5. Loop index: of kinds. */
START_TEST(all_that_waits_for_the_sequencer_has_its_place)
{
    int many = _i == 3 ? 100 : 20; /* level 4: no more than a session may be ahead */
    slots = 256;
    make(kinds[_i]);
    for (int i = 0; i < many; i++)
        ck_assert_int_eq(tide_log_append(theirs, 0, "batch", 5, TIDE_LOG_TRY, NULL), 0);
    give(theirs);
    ck_assert(mend());
    ck_assert(!tide_seq_waits(&log_->map));
    ck_assert_uint_eq(tide_log_committed(log_), OLD + many);
    all_is_free_again();
    give(other);
    ck_assert(mend());
    drop();
}
END_TEST

/* --- a real one --------------------------------------------------------------------------- */

static _Atomic int at_door, published;
static __thread int turn; /* 1: has the door, 2: wants it */

/* Behind the publication: who has the door waits for the two others, who end there. */
static void meet(enum tide_crash_point point)
{
    if (point != TIDE_CRASH_ring_published || turn == 0)
        return;
    if (turn == 1)
        for (at_door = 1; published < 2;)
            usleep(100);
    else
        for (published++;;)
            pause();
}

static void *wait_and_append(void *arg)
{
    while (!at_door)
        usleep(100);
    turn = 2;
    tide_log_append(arg, 0, "batch", 5, TIDE_LOG_TRY, NULL);
    return NULL;
}

/* Three handles of one session. The two that append while another one has the door have published
 * their batches when the process ends, the later number first. */
static void child_main(const char *text)
{
    tide_log_client_t *client[3];
    pthread_t thread;
    region = region_opened(text);
    UNIT_NEED(tide_log_open(&log_, region) == 0);
    for (unsigned i = 0; i < 3; i++) {
        struct tide_log_client_options options = {.id = 1, .join = i > 0};
        UNIT_NEED(tide_log_client_open(&client[i], log_, &options) == 0);
        UNIT_NEED(tide_log_set_number(client[i], 2 - i) == 0);
    }
    tide_crash_hook = meet;
    for (unsigned i = 0; i < 2; i++)
        pthread_create(&thread, NULL, wait_and_append, client[i]);
    turn = 1;
    UNIT_NEED(tide_log_append(client[2], 0, "batch", 5, TIDE_LOG_TRY, NULL) == 0);
    kill(getpid(), SIGKILL);
}

/* Loop index: the whole repair. */
START_TEST(threads_of_one_session_that_are_killed)
{
    char text[300];
    int status;
    struct tide_log_options options = options_of(kinds[2]);
    snprintf(text, sizeof text, "file:%s/region", unit_disk);
    region = region_made(text, REGION_SIZE, TIDE_REGION_REPLACE);
    ck_assert_int_eq(tide_log_create_on(&log_, region, &options), 0);
    ck_assert_int_eq(tide_log_close(log_), 0);
    ck_assert_int_eq(tide_region_close(region), 0);
    pid_t child = fork();
    if (child == 0)
        child_main(text);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    region = region_opened(text);
    tide_logroom_of(region)->mending = (unsigned)_i;
    ck_assert_int_eq(tide_log_open(&log_, region), 0);
    ck_assert_uint_eq(tide_log_committed(log_), 3);
    mine = open_client(1);
    append(mine);
    ck_assert_int_eq(read_all(), 4);
    all_is_free_again();
    ck_assert_int_eq(tide_log_client_close(mine), 0);
    ck_assert_int_eq(tide_log_close(log_), 0);
    ck_assert_int_eq(tide_region_close(region), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("claims_several");
    TCase *tcase = tcase_create("claims_several");
    tcase_add_checked_fixture(tcase, unit_files_setup, unit_files_teardown);
    tcase_add_loop_test(tcase, two_batches_of_one_session, 0, 2);
    tcase_add_test(tcase, two_batches_at_the_end_of_what_is_looked_at);
    tcase_add_loop_test(tcase, all_that_waits_for_the_sequencer_has_its_place, 3, 5);
    tcase_add_loop_test(tcase, threads_of_one_session_that_are_killed, 0, 2);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
