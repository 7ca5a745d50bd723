/* test_rescue.c - repair among processes that go on: what stays, what is fenced, what is left. */
#include "region_case.h"

#include <tidepool/log.h>

#include "box/logapi.h"

static tide_region_t *region;
static tide_log_t *log_;

static void make(unsigned level)
{
    struct tide_log_options options = TIDE_LOG_OPTIONS;
    options.level = level;
    options.slots = 64;
    options.payload = 64 << 10;
    region = region_made("memfd", REGION_SIZE, 0);
    ck_assert_int_eq(tide_log_create_on(&log_, region, &options), 0);
}

static void drop(void)
{
    ck_assert_int_eq(tide_log_close(log_), 0);
    ck_assert_int_eq(tide_region_close(region), 0);
}

static tide_log_client_t *open_client(unsigned id)
{
    struct tide_log_client_options options = {.id = id};
    tide_log_client_t *client;
    ck_assert_int_eq(tide_log_client_open(&client, log_, &options), 0);
    return client;
}

/* A member that is a process which ended; its number. */
static uint32_t dead_member(void)
{
    pid_t child = fork();
    if (child == 0) {
        struct tide_owner_self self;
        tide_owner_self(&self);
        tide_owner_put(&tide_logroom_of(region)->crew[5], &self);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    return 5;
}

/* From now on the client is one of that member's. */
static void give(tide_log_client_t *client, uint32_t member)
{
    atomic_store(&client->broker.entry->owner, tide_layout_whose(member, 1));
}

/* Its entry is gone already. */
static void close_given(tide_log_client_t *client)
{
    ck_assert_uint_eq(client->broker.entry->owner, 0);
    ck_assert_uint_eq(client->broker.entry->out, 0);
    client->broker.claimed = false;
    ck_assert_int_eq(tide_log_client_close(client), 0);
}

static int append(tide_log_client_t *client, uint64_t number)
{
    tide_log_set_number(client, number);
    return tide_log_append(client, 0, &number, sizeof number, TIDE_LOG_TRY, NULL);
}

static int read_all(void)
{
    struct tide_log_batch batch;
    tide_log_reader_t *reader;
    int got = 0;
    ck_assert_int_eq(tide_log_reader_open(&reader, log_, NULL), 0);
    while (tide_log_read(reader, &batch, 1, TIDE_LOG_TRY) == 1)
        got++;
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    return got;
}

static uint64_t repairs(void)
{
    return atomic_load(&log_->crew.room->repairs);
}

START_TEST(nothing_is_done_without_need)
{
    make(5);
    uint32_t generation = log_->crew.room->generation;
    ck_assert_int_eq(tide_rescue_now(&log_->crew), 0);
    ck_assert_uint_eq(repairs(), 0);
    ck_assert_uint_eq(log_->crew.room->generation, generation);
    dead_member();
    ck_assert_int_eq(tide_rescue_now(&log_->crew), 0);
    ck_assert_uint_eq(repairs(), 1);
    ck_assert_int_eq(tide_rescue_now(&log_->crew), 0);
    ck_assert_uint_eq(repairs(), 1);
    drop();
}
END_TEST

/* Claims of the living stay, between others and at the end; those of the dead go. */
START_TEST(claims_of_the_living_stay)
{
    struct tide_log_claim mine, theirs, last;
    struct tide_log_broker_stat stat;
    make(_i == 0 ? 5 : 0);
    tide_log_client_t *a = open_client(1), *b = open_client(2), *c = open_client(3),
                      *d = open_client(4);
    ck_assert_int_eq(tide_log_claim(a, 0, 512, TIDE_LOG_TRY, &mine), 0);
    ck_assert_int_eq(tide_log_claim(b, 0, 1024, TIDE_LOG_TRY, &theirs), 0);
    ck_assert_int_eq(append(c, 0), 0);
    ck_assert_int_eq(tide_log_claim(d, 0, 256, TIDE_LOG_TRY, &last), 0);
    give(b, dead_member());
    ck_assert_int_eq(tide_rescue_now(&log_->crew), 0);
    close_given(b);
    ck_assert_int_eq(append(c, 1), 0);
    memset(tide_log_put(&mine, 400, 0), 1, 400);
    ck_assert_int_eq(tide_log_commit(&mine, NULL), 0);
    memset(tide_log_put(&last, 200, 0), 2, 200);
    ck_assert_int_eq(tide_log_commit(&last, NULL), 0);
    ck_assert_int_eq(read_all(), 4);
    ck_assert_int_eq(tide_log_trim(log_, 0, UINT64_MAX, NULL), 0);
    ck_assert_int_eq(tide_log_stat_broker(log_, 0, &stat), 0);
    ck_assert(stat.claimed == stat.released && stat.used_bytes == 0);
    ck_assert_int_eq(tide_log_client_close(a), 0);
    ck_assert_int_eq(tide_log_client_close(c), 0);
    ck_assert_int_eq(tide_log_client_close(d), 0);
    drop();
}
END_TEST

/* What waits for a batch of the dead is dropped, and its session is no more; others' sessions
 * keep what waits. */
START_TEST(sessions_of_the_dead_are_fenced)
{
    uint64_t expected;
    struct tide_log_session_stat stat;
    make(4);
    tide_log_client_t *mine = open_client(1), *theirs = open_client(2);
    ck_assert_int_eq(append(mine, 1), 0);
    ck_assert_int_eq(append(theirs, 0), 0);
    ck_assert_int_eq(append(theirs, 2), 0);
    struct tide_log_client_options join = {.id = 2, .join = 1};
    tide_log_client_t *joined;
    ck_assert_int_eq(tide_log_client_open(&joined, log_, &join), 0);
    give(theirs, dead_member());
    ck_assert_int_eq(tide_rescue_now(&log_->crew), 0);
    close_given(theirs);
    ck_assert_int_eq(tide_log_stat_session(log_, 2, &stat), 0);
    ck_assert(stat.expected == 1 && stat.held == 0);
    ck_assert_int_eq(append(joined, 1), -ESTALE);
    ck_assert_int_eq(tide_log_client_close(joined), 0);
    ck_assert_int_eq(tide_log_client_open(&joined, log_, &join), 0); /* anew: nothing to join */
    ck_assert_int_eq(tide_log_acked(joined, &expected), 0);
    ck_assert_uint_eq(expected, 1);
    ck_assert_int_eq(append(joined, 0), -EALREADY);
    ck_assert_int_eq(append(joined, 1), 0);
    ck_assert_int_eq(append(joined, 2), 0);
    ck_assert_int_eq(tide_log_stat_session(log_, 1, &stat), 0);
    ck_assert(stat.expected == 0 && stat.held == 1);
    ck_assert_int_eq(append(mine, 0), 0);
    ck_assert_int_eq(read_all(), 5);
    ck_assert_int_eq(tide_log_client_close(joined), 0);
    ck_assert_int_eq(tide_log_client_close(mine), 0);
    drop();
}
END_TEST

/* The session is not the dead one's any more: it goes on, with what waits in it. */
START_TEST(a_session_that_was_taken_over_goes_on)
{
    struct tide_log_session_stat stat;
    make(4);
    tide_log_client_t *theirs = open_client(2);
    ck_assert_int_eq(append(theirs, 0), 0);
    tide_log_client_t *mine = open_client(2);
    ck_assert_int_eq(append(theirs, 1), -ESTALE);
    ck_assert_int_eq(append(mine, 2), 0);
    give(theirs, dead_member());
    ck_assert_int_eq(tide_rescue_now(&log_->crew), 0);
    ck_assert_uint_eq(repairs(), 1);
    close_given(theirs);
    ck_assert_int_eq(tide_log_stat_session(log_, 2, &stat), 0);
    ck_assert(stat.expected == 1 && stat.held == 1);
    ck_assert_int_eq(append(mine, 1), 0);
    ck_assert_int_eq(read_all(), 3);
    ck_assert_int_eq(tide_log_client_close(mine), 0);
    drop();
}
END_TEST

/* Locks that the dead one held are free; readers of it hold nobody back, others do. */
START_TEST(locks_and_readers)
{
    tide_log_reader_t *mine, *theirs;
    make(4);
    tide_log_client_t *client = open_client(1);
    ck_assert_int_eq(tide_log_reader_open(&mine, log_, NULL), 0);
    ck_assert_int_eq(tide_log_reader_open(&theirs, log_, NULL), 0);
    uint32_t member = dead_member();
    atomic_store(&theirs->sub.entry->owner, tide_layout_whose(member, 1));
    atomic_store(&theirs->sub.entry->busy, 1);
    struct tide_layout_head *head = log_->map.head;
    atomic_store(&head->trimmer, 1);
    atomic_store(&head->lender, member + 1);
    atomic_store(&log_->map.broker[0].scanner, 1);
    atomic_store(&log_->map.session[1].door, 1);
    atomic_store(&log_->crew.room->syncer, member + 1);
    ck_assert_int_eq(tide_rescue_now(&log_->crew), 0);
    ck_assert_uint_eq(head->trimmer, 0);
    ck_assert_uint_eq(head->lender, 0);
    ck_assert_uint_eq(log_->map.broker[0].scanner, 0);
    ck_assert_uint_eq(log_->map.session[1].door, 0);
    ck_assert_uint_eq(log_->crew.room->syncer, 0);
    ck_assert_uint_eq(theirs->sub.entry->owner, 0);
    ck_assert_uint_eq(theirs->sub.entry->busy, 0);
    ck_assert_uint_eq(mine->sub.entry->owner, log_->process);
    ck_assert_int_eq(append(client, 0), 0);
    ck_assert_int_eq(tide_log_reader_close(theirs), 0);
    ck_assert_int_eq(tide_log_reader_close(mine), 0);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    drop();
}
END_TEST

#ifdef TIDE_DEBUG
/* It begins a sync just when others are about to expel it: that is too late for them. */
static void begin_sync(enum tide_crash_point point)
{
    if (point == TIDE_CRASH_room_taken)
        atomic_store(&log_->crew.room->syncer, 6);
}

START_TEST(who_writes_the_medium_is_not_expelled)
{
    struct tide_layout_fault fault = {NULL, 0, 0, 0};
    make(5);
    struct tide_owner *owner = &tide_logroom_of(region)->crew[5];
    tide_owner_put(owner, &log_->crew.self);
    tide_crash_hook = begin_sync;
    ck_assert_int_eq(tide_rescue_expel(&log_->crew, 1 << 5, &fault), -EBUSY);
    tide_crash_hook = NULL;
    ck_assert_uint_eq(log_->map.head->member[5].standing, TIDE_LAYOUT_MEMBER);
    ck_assert_uint_eq(repairs(), 0);
    atomic_store(&log_->crew.room->syncer, 0);
    ck_assert_int_eq(tide_rescue_expel(&log_->crew, 1 << 5, &fault), 0);
    ck_assert_uint_eq(log_->map.head->member[5].standing, TIDE_LAYOUT_EXPELLED);
    tide_owner_drop(owner);
    drop();
}
END_TEST
#endif

/* What no process can have left behind is told, and nobody goes on with it. */
START_TEST(a_damaged_log)
{
    struct tide_layout_fault fault = {NULL, 0, 0, 0};
    make(5);
    tide_log_client_t *client = open_client(1);
    ck_assert_int_eq(append(client, 0), 0);
    atomic_store(&log_->map.head->member[dead_member()].busy, 1); /* in a call: all is looked at */
    atomic_store(&log_->map.head->committed, 77);
    uint32_t pid;
    ck_assert_int_eq(tide_logroom_hold(region, &pid), 0);
    ck_assert_int_eq(tide_rescue_held(&log_->crew, 0, &fault), -EUCLEAN);
    tide_logroom_leave(region);
    ck_assert_uint_eq(fault.value, 77);
    ck_assert_int_eq(append(client, 1), -EUCLEAN);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    drop();
}
END_TEST

/* Whoever died between calls left a claim: nobody looks at what is old, whatever became of it. In a
 * repair that was begun before, and not ended, that is found. Loop index: there was one. */
START_TEST(old_batches_are_not_looked_at)
{
    struct tide_layout_fault fault = {NULL, 0, 0, 0};
    struct tide_log_claim claim;
    make(5);
    tide_log_client_t *mine = open_client(1), *theirs = open_client(2);
    ck_assert_int_eq(append(mine, 0), 0);
    ck_assert_int_eq(append(mine, 1), 0);
    ck_assert_int_eq(tide_log_claim(theirs, 0, 512, TIDE_LOG_TRY, &claim), 0);
    give(theirs, dead_member());
    tide_logmap_entry(&log_->map, 1)->base += 7;
    uint32_t pid;
    ck_assert_int_eq(tide_logroom_hold(region, &pid), 0);
    atomic_store(&log_->crew.room->mending, (unsigned)_i);
    ck_assert_int_eq(tide_rescue_held(&log_->crew, 0, &fault), _i == 0 ? 0 : -EUCLEAN);
    tide_logroom_leave(region);
    ck_assert_uint_eq(fault.value, _i == 0 ? 0 : 8);
    if (_i != 0) {
        atomic_store(&theirs->broker.entry->owner, 0);
        atomic_store(&theirs->broker.entry->out, 0);
    }
    close_given(theirs);
    ck_assert_int_eq(append(mine, 2), _i == 0 ? 0 : -EUCLEAN);
    ck_assert_int_eq(tide_log_client_close(mine), 0);
    drop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rescue");
    TCase *tcase = tcase_create("rescue");
    tcase_add_checked_fixture(tcase, unit_files_setup, unit_files_teardown);
    tcase_add_test(tcase, nothing_is_done_without_need);
    tcase_add_loop_test(tcase, claims_of_the_living_stay, 0, 2);
    tcase_add_test(tcase, sessions_of_the_dead_are_fenced);
    tcase_add_test(tcase, a_session_that_was_taken_over_goes_on);
    tcase_add_test(tcase, locks_and_readers);
#ifdef TIDE_DEBUG
    tcase_add_test(tcase, who_writes_the_medium_is_not_expelled);
#endif
    tcase_add_test(tcase, a_damaged_log);
    tcase_add_loop_test(tcase, old_batches_are_not_looked_at, 0, 2);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
