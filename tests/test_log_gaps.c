/*
 * test_log_gaps.c - level 4, a batch that does not come: who is behind it waits, time-outs end
 * that, the batch ends that, and a session that is opened anew ends that; nobody waits for ever.
 */
#include "unit_base.h"

#include <pthread.h>

#include "box/clock.h"
#include "box/coh.h"
#include "box/logapi.h"
#include "box/park.h"

#define SOON INT64_C(2000000)          /* for waits that must end without anything */
#define PATIENCE INT64_C(100000000000) /* for what comes */

#define FOREVER .level = 4, .window = 4, .lease = TIDE_LOG_NO_LEASE /* no time ends it */

static const struct tide_log_options forms[] = {
    {FOREVER},
    {FOREVER, .sessions = TIDE_LOG_MUTEX},
    {FOREVER, .sequencing = TIDE_LOG_STEPPED},
    {FOREVER, .sequencing = TIDE_LOG_STEPPED, .sessions = TIDE_LOG_MUTEX},
};

enum { FORMS = sizeof forms / sizeof *forms };

static tide_log_t *log_;
static tide_log_client_t *hand[2], *again; /* of client 0 */
static tide_log_client_t *other;           /* client 1 */
static tide_log_reader_t *reader;

static void make(struct tide_log_options options)
{
    struct tide_log_client_options who = {.join = 1};
    ck_assert_int_eq(tide_log_create(&log_, &options), 0);
    ck_assert_int_eq(tide_log_client_open(&hand[0], log_, &who), 0);
    ck_assert_int_eq(tide_log_client_open(&hand[1], log_, &who), 0);
    who.id = 1;
    ck_assert_int_eq(tide_log_client_open(&other, log_, &who), 0);
    ck_assert_int_eq(tide_log_reader_open(&reader, log_, NULL), 0);
    if (options.sequencing == TIDE_LOG_STEPPED)
        ck_assert_int_eq(tide_log_start(log_, -1), 0);
}

static void drop(void)
{
    tide_log_client_t *const all[] = {hand[0], hand[1], again, other};
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(tide_log_client_close(all[i]), 0);
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    ck_assert_int_eq(tide_log_close(log_), 0);
}

static int append(tide_log_client_t *client, uint64_t number, int64_t timeout)
{
    ck_assert_int_eq(tide_log_set_number(client, number), 0);
    return tide_log_append(client, 0, &number, sizeof number, timeout, NULL);
}

static struct tide_log_session_stat session(void)
{
    struct tide_log_session_stat stat;
    ck_assert_int_eq(tide_log_stat_session(log_, 0, &stat), 0);
    return stat;
}

/* By a lease. */
static bool is_ended(void)
{
    return tide_coh_get(log_->map.coh, &log_->map.session[0].state) == TIDE_LAYOUT_FENCED;
}

/* Three batches of client 0 behind `missing`, and whoever has to has looked at them. False: so
 * slowly that the session was ended meanwhile. */
static bool leave_a_gap_in_time(uint64_t missing)
{
    for (uint64_t number = missing + 1; number <= missing + 3; number++) {
        int error = append(hand[1], number, PATIENCE);
        if (error == -ESTALE && is_ended())
            return false;
        ck_assert_int_eq(error, 0);
    }
    while (session().held < 3 && !is_ended())
        tide_park_yield();
    return !is_ended();
}

static void leave_a_gap(uint64_t missing)
{
    ck_assert(leave_a_gap_in_time(missing)); /* no lease ends it */
}

/* The batches of client 0 from `first` to below `end`, and no other one. */
static void expect(uint64_t first, uint64_t end)
{
    struct tide_log_batch batch;
    uint64_t number;
    for (; first < end; first++) {
        ck_assert_int_eq(tide_log_read(reader, &batch, 1, PATIENCE), 1);
        memcpy(&number, batch.data + sizeof(struct tide_log_frame), sizeof number);
        ck_assert_uint_eq(batch.number, first);
        ck_assert_uint_eq(number, first);
    }
    ck_assert_int_eq(tide_log_read(reader, &batch, 1, SOON), -ETIMEDOUT);
}

static void open_anew(void)
{
    ck_assert_int_eq(tide_log_client_open(&again, log_, NULL), 0);
}

/* --- those of the same client ------------------------------------------------------------ */

START_TEST(who_is_too_far_ahead_is_told_so)
{
    make(forms[_i]);
    leave_a_gap(0);
    ck_assert_int_eq(append(hand[1], 4, TIDE_LOG_TRY), -EAGAIN);
    ck_assert_int_eq(append(hand[1], 4, SOON), -ETIMEDOUT);
    expect(0, 0);
    ck_assert_uint_eq(session().expected, 0);
    ck_assert_int_eq(append(hand[0], 0, PATIENCE), 0);
    expect(0, 4);
    drop();
}
END_TEST

static tide_log_client_t *who_waits;
static uint64_t number_that_waits;
static int answer;
static _Atomic bool answered;

static void *append_and_wait(void *unused)
{
    answer = append(who_waits, number_that_waits, TIDE_LOG_BLOCK);
    atomic_store(&answered, true);
    return unused;
}

/* Somebody waits in an append, in sleep; or, where there is a lease, that is over already. */
static pthread_t start_to_wait(tide_log_client_t *client, uint64_t number)
{
    pthread_t thread;
    who_waits = client;
    number_that_waits = number;
    atomic_store(&answered, false);
    ck_assert_int_eq(pthread_create(&thread, NULL, append_and_wait, NULL), 0);
    while (atomic_load(&log_->map.head->space.sleepers) == 0 && !atomic_load(&answered))
        tide_park_yield();
    ck_assert(!atomic_load(&answered) || log_->map.head->lease != 0);
    return thread;
}

START_TEST(the_missing_batch_lets_all_go_on)
{
    make(forms[_i]);
    leave_a_gap(0);
    pthread_t thread = start_to_wait(hand[1], 4);
    ck_assert_int_eq(append(hand[0], 0, PATIENCE), 0);
    pthread_join(thread, NULL);
    ck_assert_int_eq(answer, 0);
    expect(0, 5);
    drop();
}
END_TEST

/* What waited is gone, who waited is told, old handles are refused for good; what had no place
 * is sent once more, and is there once. */
START_TEST(a_session_opened_anew_is_the_way_out)
{
    uint64_t expected;
    make(forms[_i]);
    ck_assert_int_eq(append(hand[0], 0, PATIENCE), 0);
    expect(0, 1);
    leave_a_gap(1);
    pthread_t thread = start_to_wait(hand[1], 5);
    open_anew();
    pthread_join(thread, NULL);
    ck_assert_int_eq(answer, -ESTALE);
    ck_assert_int_eq(append(hand[0], 1, PATIENCE), -ESTALE);
    ck_assert_int_eq(append(hand[1], 5, TIDE_LOG_TRY), -ESTALE);
    ck_assert_uint_eq(session().held, 0);
    ck_assert_int_eq(tide_log_acked(again, &expected), 0);
    ck_assert_uint_eq(expected, 1);
    expect(1, 1);
    for (; expected < 6; expected++)
        ck_assert_int_eq(append(again, expected, PATIENCE), 0);
    expect(1, 6);
    drop();
}
END_TEST

/* --- those of other clients --------------------------------------------------------------- */

/* Fills broker 0 with batches of client 1, read by nobody but the one reader. */
static uint64_t fill_up(void)
{
    struct tide_log_batch batch;
    uint64_t number = 0;
    while (append(other, number, SOON) == 0) {
        number++;
        ck_assert_int_eq(tide_log_read(reader, &batch, 1, PATIENCE), 1);
        ck_assert_int_eq(tide_log_done(reader), 0);
    }
    return number;
}

/* Behind a batch that waits nothing of its ring is free again: the ring fills up. Once the
 * session is opened anew it is. */
START_TEST(others_go_on_when_the_gap_is_given_up)
{
    struct tide_log_options options = forms[_i];
    struct tide_log_broker_stat stat;
    options.slots = 16;
    options.window = 64;
    make(options);
    ck_assert_int_eq(append(hand[1], 1, PATIENCE), 0);
    while (session().held < 1)
        tide_park_yield();
    uint64_t number = fill_up();
    ck_assert_uint_ge(number, 8);
    ck_assert_uint_lt(number, 16);
    pthread_t thread = start_to_wait(other, number);
    open_anew();
    pthread_join(thread, NULL);
    ck_assert_int_eq(answer, 0);
    for (uint64_t i = 0; i < 100; i++) {
        struct tide_log_batch batch;
        ck_assert_int_eq(tide_log_read(reader, &batch, 1, PATIENCE), 1);
        ck_assert_uint_eq(batch.client, 1);
        ck_assert_uint_eq(batch.number, number + i);
        ck_assert_int_eq(append(other, number + i + 1, PATIENCE), 0);
    }
    ck_assert_int_eq(tide_log_stat_broker(log_, 0, &stat), 0);
    ck_assert_uint_ge(stat.released, stat.claimed - 16);
    drop();
}
END_TEST

/* --- a lease ------------------------------------------------------------------------------- */

#define LEASE UINT64_C(500000000)

static struct tide_log_options leased(int form)
{
    struct tide_log_options options = forms[form];
    options.lease = LEASE;
    return options;
}

/* A log with so many batches of client 1, those of client 0 up to `missing`, and three behind that
 * one. Where a lease ends before they are there, it was too short for this machine: the log is
 * made again, with a longer one. Returns the lease. */
static uint64_t make_with_a_gap(struct tide_log_options options, uint64_t others, uint64_t missing)
{
    for (;; options.lease *= 2) {
        make(options);
        for (uint64_t number = 0; number < others; number++)
            ck_assert_int_eq(append(other, number, PATIENCE), 0);
        for (uint64_t number = 0; number < missing; number++)
            ck_assert_int_eq(append(hand[0], number, PATIENCE), 0);
        if (missing != 0)
            expect(0, missing);
        if (leave_a_gap_in_time(missing))
            return options.lease;
        drop();
    }
}

/* Nobody opens it anew, or does anything but wait: who waits is told, and goes on from where the
 * log says. */
START_TEST(a_lease_ends_the_session)
{
    uint64_t expected;
    make_with_a_gap(leased(_i), 0, 1);
    pthread_t thread = start_to_wait(hand[1], 5);
    pthread_join(thread, NULL);
    ck_assert_int_eq(answer, -ESTALE);
    ck_assert_uint_eq(session().held, 0);
    ck_assert_int_eq(append(hand[0], 1, TIDE_LOG_TRY), -ESTALE);
    open_anew();
    ck_assert_int_eq(tide_log_acked(again, &expected), 0);
    ck_assert_uint_eq(expected, 1);
    for (; expected < 6; expected++)
        ck_assert_int_eq(append(again, expected, PATIENCE), 0);
    expect(1, 6);
    drop();
}
END_TEST

/* Nobody waits: appends of another client go on, each at once. Or it only tries, in vain. */
START_TEST(a_lease_ends_when_all_are_busy)
{
    struct tide_log_options options = leased(_i % FORMS);
    bool full = _i >= FORMS, stepped = options.sequencing == TIDE_LOG_STEPPED;
    options.slots = full ? 32 : 1 << 16;
    options.payload = 64 << 16;
    make_with_a_gap(options, 0, 0);
    for (uint64_t number = 0, error = 0; session().held != 0; number += error == 0) {
        error = (uint64_t)append(other, number, TIDE_LOG_TRY);
        UNIT_HOLD(error == 0 || full || stepped, "append %d gave %d", (int)number, (int)error);
        usleep(1000);
    }
    ck_assert_int_eq(append(hand[0], 0, TIDE_LOG_TRY), -ESTALE);
    drop();
}
END_TEST

enum { BEHIND = 100 };

static void *append_behind(void *unused)
{
    for (uint64_t number = 0; number < BEHIND && answer == 0; number++)
        answer = append(other, number, TIDE_LOG_BLOCK);
    return unused;
}

/* What waits fills the ring with those behind it; another client, which waits for as long as it
 * takes, gets through all the same, and nobody has to open anything. */
START_TEST(a_lease_lets_others_through)
{
    struct tide_log_options options = leased(_i);
    struct tide_log_batch batch;
    pthread_t thread;
    options.slots = 32;
    make_with_a_gap(options, 0, 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, append_behind, NULL), 0);
    for (uint64_t number = 0; number < BEHIND; number++) {
        ck_assert_int_eq(tide_log_read(reader, &batch, 1, PATIENCE), 1);
        ck_assert_uint_eq(batch.client, 1);
        ck_assert_uint_eq(batch.number, number);
    }
    pthread_join(thread, NULL);
    ck_assert_int_eq(answer, 0);
    ck_assert_int_eq(append(hand[1], 0, TIDE_LOG_TRY), -ESTALE);
    drop();
}
END_TEST

static void check_lease(unsigned level, uint64_t asked, uint64_t has)
{
    struct tide_log_options options = {.level = level, .lease = asked};
    ck_assert_int_eq(tide_log_create(&log_, &options), 0);
    ck_assert_uint_eq(log_->map.head->lease, has);
    ck_assert_int_eq(tide_log_close(log_), 0);
}

START_TEST(a_lease_of_ten_seconds_is_the_default)
{
    struct tide_log_options lanes = {.level = 4,
                                     .sequencing = TIDE_LOG_STEPPED,
                                     .coherence = TIDE_LOG_NONCOHERENT,
                                     .lease = TIDE_LOG_NO_LEASE};
    check_lease(4, 0, UINT64_C(10000000000));
    check_lease(4, 10000000, 10000000);
    check_lease(4, TIDE_LOG_NO_LEASE, 0);
    for (unsigned level = 0; level <= 5; level += 5) {
        check_lease(level, 0, 0);
        check_lease(level, TIDE_LOG_NO_LEASE, 0);
    }
    ck_assert_int_eq(tide_log_create(&log_, &lanes), -EINVAL);
}
END_TEST

/* A client that was quick and becomes slow looks at the time again with each append. */
START_TEST(a_lease_ends_by_appends_that_become_slow)
{
    uint64_t number = 1000;
    struct tide_log_options options = leased(_i);
    options.slots = 1 << 16;
    options.payload = 64 << 16;
    useconds_t pause = (useconds_t)(make_with_a_gap(options, number, 0) / 1000 / 8);
    for (int slow = 0; session().held != 0; slow++) {
        UNIT_HOLD(slow < 80, "%d slow appends did not end it", slow);
        usleep(pause);
        ck_assert_int_eq(append(other, number++, PATIENCE), 0);
    }
    drop();
}
END_TEST

/* The batch comes a quarter of a lease late; the one behind it waits, and so does the next but one
 * when it is there: somebody always waits. Returns when that one's began to, or 0: since `begun` it
 * took a whole lease, and the session may have been ended. */
static uint64_t come_late(uint64_t number, uint64_t begun, uint64_t lease)
{
    int early = append(hand[1], number + 3, PATIENCE);
    for (int i = 0; i < 4; i++) {
        usleep((useconds_t)(lease / 1000 / 16));
        tide_log_poll(log_);
    }
    uint64_t next = tide_clock_now();
    int late = append(hand[0], number, PATIENCE);
    while (late == 0 && session().expected < number + 2 && tide_clock_now() - begun < lease)
        tide_park_yield();
    if (tide_clock_now() - begun >= lease)
        return 0;
    ck_assert_int_eq(early, 0);
    ck_assert_int_eq(late, 0);
    return next;
}

/* Each batch that comes begins it again: together they take more than a lease. On a machine that is
 * too slow for it, once more, with a longer one. */
START_TEST(a_lease_is_that_of_one_batch)
{
    struct tide_log_options options = leased(_i);
    for (uint64_t begun = 0; begun == 0; options.lease *= 2) {
        make(options);
        begun = tide_clock_now();
        ck_assert_int_eq(append(hand[1], 1, PATIENCE), 0);
        for (uint64_t number = 0; number < 12 && begun != 0; number += 2)
            begun = come_late(number, begun, options.lease);
        if (begun != 0)
            expect(0, 12);
        drop();
    }
}
END_TEST

/* It begins with the batch that waits, not with the last time that somebody looked. */
START_TEST(a_lease_is_not_over_before_its_time)
{
    make(leased(_i));
    tide_log_poll(log_);
    usleep(LEASE / 1000 / 2); /* nobody has anything to look at */
    uint64_t begun = tide_clock_now();
    ck_assert_int_eq(append(hand[1], 1, PATIENCE), 0);
    while (!is_ended()) {
        tide_log_poll(log_);
        usleep(LEASE / 1000 / 16);
    }
    ck_assert_uint_ge(tide_clock_now() - begun, LEASE);
    drop();
}
END_TEST

/* Everything that can be read is, and is done with. */
static void read_what_is_there(void)
{
    struct tide_log_batch batch;
    while (tide_log_read(reader, &batch, 1, TIDE_LOG_TRY) == 1)
        ;
    tide_park_yield(); /* a sequencer may have work */
}

/* The batch that is furthest ahead of `number` and is taken; `number` itself is not sent. */
static uint64_t go_ahead(uint64_t number)
{
    uint64_t ahead = number + 63;
    while (ahead > number && append(hand[1], ahead, TIDE_LOG_TRY) != 0)
        ahead--;
    return ahead;
}

/* One hand sends what is as far ahead as may be; another client takes what space it gets. All
 * that is missing in between finds room in the same ring, for the reader is quick. */
START_TEST(what_others_wait_for_finds_room_in_their_ring)
{
    struct tide_log_options options = forms[_i % FORMS];
    static const uint64_t slots[] = {2, 3, 8, 16, 67};
    uint64_t number = 0, filler = 0;
    options.slots = slots[_i / FORMS];
    options.window = 64;
    make(options);
    for (int round = 0; round < 50; round++) {
        uint64_t ahead = go_ahead(number), end = ahead > number ? ahead : number + 1;
        /* A sequencer that is a thread runs rarely on a busy machine. */
        int tries = options.sequencing == TIDE_LOG_STEPPED ? 2000000 : 20000;
        while (append(other, filler, TIDE_LOG_TRY) == 0)
            filler++;
        while (number < end)
            if (append(hand[0], number, TIDE_LOG_TRY) == 0) {
                number++;
            } else {
                UNIT_HOLD(tries-- > 0, "number %d finds no room, %d waits for it", (int)number,
                          (int)ahead);
                read_what_is_there();
                if (tries % 64 == 0)
                    usleep(1000);
            }
        number = ahead + 1;
    }
    drop();
}
END_TEST

/* --- a wake-up that is easily lost --------------------------------------------------------- */

static int points; /* until the session is opened anew; below 0: not yet, or no longer */

/* Called at each access of a shared word. The first time that the append is about to sleep it is
 * woken up, so that it tries once more; in the middle of that the session is opened anew. */
static void open_at_a_point(void)
{
    static bool woken;
    struct tide_layout_bell *bell = &log_->map.head->space;
    if (!woken && atomic_load(&bell->sleepers) != 0) {
        woken = true;
        tide_logapi_ring(bell);
        return;
    }
    if (!woken || atomic_load(&bell->sleepers) != 0 || points-- != 0)
        return;
    tide_coh_hook = NULL;
    open_anew();
}

/* The ring stays full, for the reader reads nothing: to look for space is not enough. */
START_TEST(an_opening_is_not_missed_by_who_goes_to_sleep)
{
    make((struct tide_log_options){.level = 4, .slots = 4, .lease = TIDE_LOG_NO_LEASE});
    uint64_t number = 0;
    while (append(hand[0], number, TIDE_LOG_TRY) == 0)
        number++;
    points = _i;
    tide_coh_hook = open_at_a_point;
    ck_assert_int_eq(append(hand[0], number, PATIENCE / 10), -ESTALE);
    tide_coh_hook = NULL;
    ck_assert_ptr_nonnull(again);
    drop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log_gaps");
    TCase *tcase = tcase_create("log_gaps");
    tcase_add_loop_test(tcase, who_is_too_far_ahead_is_told_so, 0, FORMS);
    tcase_add_loop_test(tcase, the_missing_batch_lets_all_go_on, 0, FORMS);
    tcase_add_loop_test(tcase, a_session_opened_anew_is_the_way_out, 0, FORMS);
    tcase_add_loop_test(tcase, others_go_on_when_the_gap_is_given_up, 0, FORMS);
    tcase_add_loop_test(tcase, a_lease_ends_the_session, 0, FORMS);
    tcase_add_loop_test(tcase, a_lease_ends_when_all_are_busy, 0, 2 * FORMS);
    tcase_add_loop_test(tcase, a_lease_lets_others_through, 0, FORMS);
    tcase_add_test(tcase, a_lease_of_ten_seconds_is_the_default);
    tcase_add_loop_test(tcase, a_lease_ends_by_appends_that_become_slow, 0, FORMS);
    tcase_add_loop_test(tcase, a_lease_is_that_of_one_batch, 0, FORMS);
    tcase_add_loop_test(tcase, a_lease_is_not_over_before_its_time, 0, FORMS);
    tcase_add_loop_test(tcase, what_others_wait_for_finds_room_in_their_ring, 0, 5 * FORMS);
    tcase_add_loop_test(tcase, an_opening_is_not_missed_by_who_goes_to_sleep, 0, 6);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
