/* test_logattach.c - one log in several processes: at work together; ended at any point, stopped,
 * expelled; what is refused. */
#include "log_crowd.h"

#include <sched.h>

#include "box/logapi.h"

enum { PRODUCERS = 3 };

static const struct attach_kind {
    unsigned level, sequencing;
    int source;
} kinds[] = {
    {5, TIDE_LOG_INLINE, 0},  {5, TIDE_LOG_STEPPED, 0}, {4, TIDE_LOG_INLINE, 0},
    {4, TIDE_LOG_STEPPED, 1}, {0, TIDE_LOG_INLINE, 0},  {5, TIDE_LOG_INLINE, 1},
};

enum { KINDS = sizeof kinds / sizeof kinds[0] };

/* --- together ----------------------------------------------------------------------------- */

static void start_sequencer(void)
{
    if (crowd_options.sequencing == TIDE_LOG_STEPPED && crowd_options.level != 0)
        UNIT_NEED(tide_log_start(crowd_log, -1) == 0);
}

/* What the last ones appended before they said that they are done gets its places. */
static void poll_dry(void)
{
    while (tide_log_poll(crowd_log) > 0)
        ;
}

/* Producers and two readers in processes of their own; `end_at` is where the first of them, or,
 * if it is no producer's business, the sequencer's process ends. */
struct attach_cast {
    pid_t producer[PRODUCERS], reader[2], sequencer;
};

static void cast(struct attach_cast *cast, const char *end_at, int times, bool sequencer_ends)
{
    bool stepped = crowd_options.sequencing == TIDE_LOG_STEPPED && crowd_options.level != 0;
    atomic_store(&crowd->producing, PRODUCERS);
    for (uint32_t i = 0; i < PRODUCERS; i++)
        CROWD_CHILD(cast->producer[i])
        {
            if (i == 0 && end_at != NULL && !sequencer_ends)
                crowd_end_at(end_at, times, SIGKILL);
            crowd_produce(i);
        }
    for (uint8_t i = 0; i < 2; i++)
        CROWD_CHILD(cast->reader[i])
        {
            crowd_read((uint8_t)(i + 1));
        }
    cast->sequencer = 0;
    if (stepped)
        CROWD_CHILD(cast->sequencer)
        {
            if (sequencer_ends)
                crowd_end_at(end_at, times, SIGKILL);
            while (atomic_load(&crowd->producing) > 0)
                if (tide_log_poll(crowd_log) == 0)
                    sched_yield();
            poll_dry();
        }
    crowd_wait_for(&crowd->ready, PRODUCERS + 2 + stepped);
    atomic_store(&crowd->go, 1);
}

START_TEST(processes_at_work_together)
{
    const struct attach_kind *kind = &kinds[_i];
    struct attach_cast who;
    crowd_make(crowd_small(kind->level, kind->sequencing), kind->source);
    cast(&who, NULL, 0, false);
    for (int i = 0; i < PRODUCERS; i++)
        ck_assert_int_eq(crowd_ended(who.producer[i]), 0);
    poll_dry();
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(crowd_ended(who.reader[i]), 0);
    if (who.sequencer != 0)
        ck_assert_int_eq(crowd_ended(who.sequencer), 0);
    ck_assert_uint_eq(crowd_repairs(), 0);
    crowd_check();
    crowd_leave();
}
END_TEST

/* --- one ends ----------------------------------------------------------------------------- */

static const struct attach_death {
    const char *point;
    int times;
    unsigned level, sequencing;
    bool sequencer; /* it is the one that ends */
} deaths[] = {
    {"ring_claimed", 30, 5, TIDE_LOG_INLINE, false},
    {"ring_claimed", 31, 4, TIDE_LOG_INLINE, false},
    {"ring_claimed", 32, 0, TIDE_LOG_INLINE, false},
    {"ring_claimed", 33, 5, TIDE_LOG_STEPPED, false},
    {"ring_claimed", 150, 4, TIDE_LOG_STEPPED, false},
    {"ring_published", 40, 5, TIDE_LOG_INLINE, false},
    {"ring_published", 41, 4, TIDE_LOG_INLINE, false},
    {"order_taken", 50, 5, TIDE_LOG_INLINE, false},
    {"order_taken", 51, 4, TIDE_LOG_INLINE, false},
    {"trim_said", 1, 5, TIDE_LOG_INLINE, false},
    {"trim_said", 2, 4, TIDE_LOG_STEPPED, false},
    {"release_said", 1, 0, TIDE_LOG_INLINE, false},
    {"release_said", 2, 5, TIDE_LOG_INLINE, false},
    {"session_placing", 60, 4, TIDE_LOG_INLINE, false},
    {"session_placing", 61, 4, TIDE_LOG_STEPPED, true},
    {"seq_taken", 5, 5, TIDE_LOG_STEPPED, true},
    {"order_placed", 90, 5, TIDE_LOG_STEPPED, true},
    {"order_taken", 70, 4, TIDE_LOG_STEPPED, true},
};

enum { DEATHS = sizeof deaths / sizeof deaths[0] };

static void end_of(const struct attach_cast *who, pid_t victim)
{
    ck_assert_int_eq(crowd_ended(victim), 128 + SIGKILL);
    if (victim == who->sequencer)
        start_sequencer(); /* takes over */
    if (victim == who->producer[0])
        crowd_done(0);
    for (int i = 0; i < PRODUCERS; i++)
        if (who->producer[i] != victim)
            ck_assert_int_eq(crowd_ended(who->producer[i]), 0);
    if (victim != who->sequencer)
        poll_dry();
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(crowd_ended(who->reader[i]), 0);
    if (who->sequencer != 0 && who->sequencer != victim)
        ck_assert_int_eq(crowd_ended(who->sequencer), 0);
}

/* The others go on to the end; what all of them read is one history. */
START_TEST(one_ends_at_a_point)
{
    const struct attach_death *death = &deaths[_i];
    struct attach_cast who;
    crowd_make(crowd_small(death->level, death->sequencing), _i % 2);
    cast(&who, death->point, death->times, death->sequencer);
    end_of(&who, death->sequencer ? who.sequencer : who.producer[0]);
    ck_assert_int_eq(atomic_load(&crowd->hits), 1);
    ck_assert_uint_ge(crowd_repairs(), 1);
    crowd_check();
    crowd_leave();
}
END_TEST

/* One ends in the middle of an append; who repairs that ends as well; the next one does it. */
static const char *const repairs[] = {"mend_begun", "mend_moved", "mend_released"};

static void cast_repairers(struct attach_cast *who, const char *point)
{
    atomic_store(&crowd->producing, PRODUCERS);
    for (uint32_t i = 0; i < PRODUCERS; i++)
        CROWD_CHILD(who->producer[i])
        {
            if (i == 0)
                crowd_end_at("order_taken", 40, SIGKILL);
            else
                crowd_end_first(point);
            crowd_produce(i);
        }
    for (uint8_t i = 0; i < 2; i++)
        CROWD_CHILD(who->reader[i])
        {
            crowd_end_first(point);
            crowd_read((uint8_t)(i + 1));
        }
    crowd_wait_for(&crowd->ready, PRODUCERS + 2);
    atomic_store(&crowd->go, 1);
}

START_TEST(who_repairs_ends_as_well)
{
    struct attach_cast who;
    int status, killed = 0;
    crowd_make(crowd_small(_i % 2 == 0 ? 5 : 4, TIDE_LOG_INLINE), 0);
    cast_repairers(&who, repairs[_i / 2]);
    for (int i = 0; i < PRODUCERS + 2; i++) {
        pid_t pid = waitpid(-1, &status, 0);
        bool was = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
        ck_assert(was || status == 0);
        killed += was;
        for (uint32_t k = 0; k < PRODUCERS; k++)
            if (was && pid == who.producer[k])
                crowd_done(k);
    }
    ck_assert_int_eq(killed, 2);
    ck_assert_int_eq(atomic_load(&crowd->hits), 1);
    ck_assert_int_ge(atomic_load(&crowd->firsts), 2);
    ck_assert_uint_ge(crowd_repairs(), 1);
    crowd_check();
    crowd_leave();
}
END_TEST

/* --- who sleeps, or stands still ---------------------------------------------------------- */

static void append_some(tide_log_client_t *client, int count)
{
    for (int i = 0; i < count; i++)
        UNIT_NEED(tide_log_append(client, (unsigned)i % 2, "some", 5, TIDE_LOG_TRY, NULL) == 0);
}

/* A bell whose sleeper is gone is rung for nobody, and a new one wakes up. */
START_TEST(who_sleeps_ends)
{
    struct tide_log_batch batch;
    pid_t sleeper;
    uint32_t asleep = 0;
    crowd_make(crowd_small(5, TIDE_LOG_INLINE), 0);
    atomic_store(&crowd->go, 1);
    CROWD_CHILD(sleeper)
    {
        tide_log_reader_t *reader;
        UNIT_NEED(tide_log_reader_open(&reader, crowd_log, NULL) == 0);
        tide_log_read(reader, &batch, 1, TIDE_LOG_BLOCK);
    }
    crowd_wait_for(&crowd->ready, 1);
    for (int i = 0; i < 12000 && asleep == 0; i++) {
        usleep(5000);
        asleep = atomic_load(&crowd_log->map.head->data.sleepers);
    }
    ck_assert_uint_eq(asleep, 1);
    kill(sleeper, SIGKILL);
    ck_assert_int_eq(crowd_ended(sleeper), 128 + SIGKILL);
    tide_log_client_t *client = crowd_client(1, TIDE_LOG_ACK_NONE);
    for (int i = 0; i < 60000 && crowd_repairs() == 0; i++) {
        tide_log_poll(crowd_log);
        usleep(1000);
    }
    ck_assert_uint_eq(crowd_repairs(), 1);
    ck_assert_uint_eq(atomic_load(&crowd_log->map.head->data.sleepers), 0);
    append_some(client, 3);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    crowd_leave();
}
END_TEST

/* The child holds a claim and stands still. Expelled, it cannot commit; until it has closed the log
 * nobody gets the bytes that it may be writing. */
START_TEST(an_expelled_process_comes_too_late)
{
    int status;
    pid_t zombie;
    uint64_t words[CROWD_WORDS];
    crowd_make(crowd_small(_i == 0 ? 5 : _i == 1 ? 4 : 0, TIDE_LOG_INLINE), 0);
    struct tide_log_broker_stat stat;
    tide_log_client_t *client = crowd_client(1, TIDE_LOG_ACK_NONE);
    atomic_store(&crowd->go, 1);
    CROWD_CHILD(zombie)
    {
        struct tide_log_claim claim;
        tide_log_reader_t *reader;
        tide_log_client_t *mine = crowd_client(2, TIDE_LOG_ACK_NONE);
        UNIT_NEED(tide_log_reader_open(&reader, crowd_log, NULL) == 0);
        UNIT_NEED(tide_log_claim(mine, 0, 4096, TIDE_LOG_TRY, &claim) == 0);
        raise(SIGSTOP);
        memset(claim.data, 0xee, claim.size);
        UNIT_NEED(tide_log_put(&claim, 3000, 0) != NULL);
        UNIT_NEED(tide_log_commit(&claim, NULL) == -ESTALE);
        UNIT_NEED(tide_log_append(mine, 0, "x", 1, TIDE_LOG_TRY, NULL) == -ESTALE);
        struct tide_log_batch batch;
        UNIT_NEED(tide_log_read(reader, &batch, 1, TIDE_LOG_BLOCK) == -ESTALE);
        UNIT_NEED(tide_log_poll(crowd_log) == -ESTALE);
        UNIT_NEED(tide_log_reader_close(reader) == 0);
        UNIT_NEED(tide_log_client_close(mine) == 0);
    }
    UNIT_NEED(waitpid(zombie, &status, WUNTRACED) == zombie && WIFSTOPPED(status));
    ck_assert_int_eq(tide_log_expel(crowd_log, (uint64_t)getpid()), -ESRCH);
    ck_assert_int_eq(tide_log_expel(crowd_log, (uint64_t)zombie), 0);
    ck_assert_int_eq(tide_log_expel(crowd_log, (uint64_t)zombie), -ESRCH);
    memset(words, 0x11, sizeof words);
    int error, count = 0;
    while ((error = tide_log_append(client, 0, words, sizeof words, TIDE_LOG_TRY, NULL)) == 0) {
        UNIT_NEED(tide_log_trim(crowd_log, 0, UINT64_MAX, NULL) == 0);
        ck_assert_int_lt(++count, 1000);
    }
    ck_assert_int_eq(error, -EAGAIN); /* the ring is full up to what the zombie may write */
    UNIT_NEED(tide_log_stat_broker(crowd_log, 0, &stat) == 0);
    ck_assert_uint_ge(stat.claimed - stat.released, 56); /* level 4 keeps an eighth */
    kill(zombie, SIGCONT);
    ck_assert_int_eq(crowd_ended(zombie), 0);
    ck_assert_int_eq(tide_log_trim(crowd_log, 0, UINT64_MAX, NULL), 0);
    append_some(client, 1);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    ck_assert_int_eq(tide_log_trim(crowd_log, 0, UINT64_MAX, NULL), 0);
    UNIT_NEED(tide_log_stat_broker(crowd_log, 0, &stat) == 0);
    ck_assert(stat.claimed == stat.released && stat.used_bytes == 0);
    crowd_leave();
}
END_TEST

/* Inside a call it can only be ended; then the others go on. Nobody was declared dead before. */
START_TEST(who_stands_still_inside_a_call)
{
    int status;
    pid_t zombie;
    struct tide_log_batch batch;
    tide_log_reader_t *reader;
    crowd_make(crowd_small(5, TIDE_LOG_INLINE), 0);
    tide_log_client_t *client = crowd_client(1, TIDE_LOG_ACK_NONE);
    ck_assert_int_eq(tide_log_reader_open(&reader, crowd_log, NULL), 0);
    atomic_store(&crowd->go, 1);
    CROWD_CHILD(zombie)
    {
        crowd_end_at("order_taken", 2, SIGSTOP);
        append_some(crowd_client(2, TIDE_LOG_ACK_NONE), 5);
        _exit(0); /* without a word */
    }
    UNIT_NEED(waitpid(zombie, &status, WUNTRACED) == zombie && WIFSTOPPED(status));
    append_some(client, 4);
    ck_assert_int_eq(tide_log_read(reader, &batch, 1, TIDE_LOG_TRY), 1);
    ck_assert_int_eq(tide_log_read(reader, &batch, 1, 50000000), -ETIMEDOUT);
    ck_assert_int_eq(tide_log_expel(crowd_log, (uint64_t)zombie), -EBUSY);
    append_some(client, 2);
    ck_assert_uint_eq(crowd_repairs(), 0);
    kill(zombie, _i == 0 ? SIGKILL : SIGCONT);
    ck_assert_int_eq(crowd_ended(zombie), _i == 0 ? 128 + SIGKILL : 0);
    for (int got = 0; got < (_i == 0 ? 7 : 10); got++)
        ck_assert_int_eq(tide_log_read(reader, &batch, 1, TIDE_LOG_BLOCK), 1);
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    crowd_leave();
}
END_TEST

/* --- what one process at a time has ------------------------------------------------------- */

START_TEST(blocks_of_one_process_at_a_time)
{
    pid_t lender;
    crowd_make(crowd_small(5, TIDE_LOG_INLINE), 0);
    uint64_t free_bytes = region_told(crowd_region).free_bytes;
    tide_heap_t *heap = tide_heap_create_on(crowd_region);
    tide_log_client_t *client = crowd_client(1, TIDE_LOG_ACK_NONE);
    void *block = tide_log_block(heap, 40, 0);
    ck_assert_ptr_nonnull(block);
    atomic_store(&crowd->go, 1);
    CROWD_CHILD(lender)
    {
        tide_heap_t *own = tide_heap_create_on(crowd_region);
        tide_log_client_t *mine = crowd_client(2, TIDE_LOG_ACK_NONE);
        for (int i = 0; i < 20; i++)
            UNIT_NEED(tide_log_append_block(mine, 0, tide_log_block(own, 40, 0), 56, TIDE_LOG_TRY,
                                            NULL) == 0);
        atomic_fetch_add(&crowd->ready, 1);
        pause();
    }
    crowd_wait_for(&crowd->ready, 2);
    ck_assert_int_eq(tide_log_append_block(client, 0, block, 56, TIDE_LOG_TRY, NULL), -EPERM);
    ck_assert_int_eq(tide_log_trim(crowd_log, 0, 7, NULL), 0);
    kill(lender, SIGKILL);
    ck_assert_int_eq(crowd_ended(lender), 128 + SIGKILL);
    for (int i = 0; i < 60000 && crowd_repairs() == 0; i++) {
        tide_log_poll(crowd_log);
        usleep(1000);
    }
    ck_assert_int_eq(tide_log_append_block(client, 0, block, 56, TIDE_LOG_TRY, NULL), 0);
    ck_assert_int_eq(tide_log_trim(crowd_log, 0, UINT64_MAX, NULL), 0);
    ck_assert_int_ge(tide_log_reclaim(crowd_log), 0);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    ck_assert_int_eq(tide_log_close(crowd_log), 0);
    tide_heap_destroy(heap);
    ck_assert_int_ge(tide_region_reclaim(crowd_region), 1);
    ck_assert_uint_eq(region_told(crowd_region).free_bytes, free_bytes);
    ck_assert_int_eq(tide_region_close(crowd_region), 0);
}
END_TEST

START_TEST(as_many_as_there_are_places)
{
    pid_t child[TIDE_LAYOUT_MEMBERS];
    struct tide_log_options options = crowd_small(4, TIDE_LOG_INLINE);
    crowd_make(options, 0);
    for (int i = 1; i < TIDE_LAYOUT_MEMBERS; i++)
        CROWD_CHILD(child[i])
        {
        }
    crowd_wait_for(&crowd->ready, TIDE_LAYOUT_MEMBERS - 1);
    if (fork() == 0) {
        tide_log_t *log;
        UNIT_NEED(tide_log_open(&log, region_opened(crowd_text)) == -ENFILE);
        _exit(0);
    }
    int status;
    UNIT_NEED(wait(&status) > 0 && status == 0);
    atomic_store(&crowd->go, 1);
    for (int i = 1; i < TIDE_LAYOUT_MEMBERS; i++)
        ck_assert_int_eq(crowd_ended(child[i]), 0);
    ck_assert_int_eq(tide_log_close(crowd_log), 0);
    ck_assert_int_eq(tide_log_remove(crowd_region), 0);
    options.sessions = TIDE_LOG_MUTEX; /* of one process */
    ck_assert_int_eq(tide_log_create_on(&crowd_log, crowd_region, &options), 0);
    if (fork() == 0) {
        tide_log_t *log;
        UNIT_NEED(tide_log_open(&log, region_opened(crowd_text)) == -EBUSY);
        _exit(0);
    }
    UNIT_NEED(wait(&status) > 0 && status == 0);
    crowd_leave();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("logattach");
    TCase *tcase = tcase_create("logattach");
    tcase_add_checked_fixture(tcase, unit_files_setup, unit_files_teardown);
    tcase_add_loop_test(tcase, processes_at_work_together, 0, KINDS);
    tcase_add_loop_test(tcase, one_ends_at_a_point, 0, DEATHS);
    tcase_add_loop_test(tcase, who_repairs_ends_as_well, 0, 6);
    tcase_add_test(tcase, who_sleeps_ends);
    tcase_add_loop_test(tcase, an_expelled_process_comes_too_late, 0, 3);
    tcase_add_loop_test(tcase, who_stands_still_inside_a_call, 0, 2);
    tcase_add_test(tcase, blocks_of_one_process_at_a_time);
    tcase_add_test(tcase, as_many_as_there_are_places);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
