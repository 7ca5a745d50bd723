/*
 * test_log_bells.c - who sleeps is woken: what a sleeper does before it sleeps, and which
 * bell every call rings.
 *
 * No timing: a sleeper is counted in by hand, and the words of the bells are looked at. A
 * sleep that should not be would last an hour.
 */
#include "unit_base.h"

#include <pthread.h>

#include "box/logapi.h"
#include "box/park.h"

static tide_log_t *log_;
static tide_log_client_t *client;
static tide_log_reader_t *reader;

/* --- the sleeper --------------------------------------------------------------------- */

static struct tide_layout_bell bell;
static unsigned looks;

/* A wait that has spun and yielded enough, and sleeps from now on. */
static int wait_asleep(bool (*ready)(const void *))
{
    struct tide_logapi_wait wait = {
        .bell = &bell, .ready = ready, .timeout = TIDE_LOG_BLOCK, .turns = 1 << 20};
    looks = 0;
    return tide_logapi_wait(&wait);
}

/* What was waited for came just before the sleeper counted itself in: nobody rings again. */
static bool came_before(const void *unused)
{
    (void)unused;
    looks++;
    return atomic_load(&bell.sleepers) == 1;
}

/* It comes just after the last look, and whoever brings it rings. */
static bool comes_behind(const void *unused)
{
    (void)unused;
    looks++;
    tide_logapi_ring(&bell);
    return false;
}

START_TEST(the_second_look_is_taken)
{
    tide_park_ready();
    ck_assert_int_eq(wait_asleep(came_before), 0);
    ck_assert_uint_eq(looks, 1);
    ck_assert_uint_eq(atomic_load(&bell.sleepers), 0);
}
END_TEST

START_TEST(a_ring_behind_the_last_look_is_heard)
{
    tide_park_ready();
    for (unsigned i = 1; i <= 3; i++) {
        ck_assert_int_eq(wait_asleep(comes_behind), 0);
        ck_assert_uint_eq(looks, 1);
        ck_assert_uint_eq(atomic_load(&bell.word), i);
    }
    tide_logapi_ring(&bell); /* nobody sleeps: nothing is written */
    ck_assert_uint_eq(atomic_load(&bell.word), 3);
}
END_TEST

/* --- who rings what --------------------------------------------------------------------- */

enum { DATA = 1, SPACE = 2, WORK = 4 };

static struct tide_layout_bell *bell_of(int which)
{
    struct tide_layout_head *head = log_->map.head;
    return which == DATA ? &head->data : which == SPACE ? &head->space : &head->work;
}

/* Forgets what rang. */
static void hush(void)
{
    for (int which = DATA; which <= WORK; which *= 2)
        atomic_store(&bell_of(which)->word, 0);
}

/* These bells rang since the last time, and maybe more of `or_not`. */
static void rang(int want, int or_not)
{
    for (int which = DATA; which <= WORK; which *= 2)
        if ((which & or_not) == 0)
            ck_assert_msg((atomic_load(&bell_of(which)->word) != 0) == ((want & which) != 0),
                          "bell %d %s", which, want & which ? "is silent" : "rings");
    hush();
}

static void make(struct tide_log_options options)
{
    ck_assert_int_eq(tide_log_create(&log_, &options), 0);
    ck_assert_int_eq(tide_log_client_open(&client, log_, NULL), 0);
    ck_assert_int_eq(tide_log_reader_open(&reader, log_, NULL), 0);
    for (int which = DATA; which <= WORK; which *= 2)
        atomic_store(&bell_of(which)->sleepers, 1);
    hush();
}

static void drop(void)
{
    ck_assert_int_eq(tide_log_client_close(client), 0);
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    ck_assert_int_eq(tide_log_close(log_), 0);
}

static void append(int64_t timeout, int want)
{
    ck_assert_int_eq(tide_log_append(client, 0, "x", 1, timeout, NULL), want);
}

/* Inline, readers; with a sequencer, the sequencer first. Other clients too: this batch may be
 * what they wait for to be trimmed, and at level 4 their turn may have come nearer. */
START_TEST(a_publish_rings_for_those_who_wait_for_it)
{
    static const unsigned levels[] = {0, 4, 5};
    for (int i = 0; i < 3; i++)
        for (unsigned stepped = 0; stepped < 2; stepped++) {
            make((struct tide_log_options){.level = levels[i], .sequencing = stepped});
            append(TIDE_LOG_TRY, 0);
            rang((stepped && levels[i] != 0 ? WORK : DATA) | SPACE, 0);
            int64_t done = tide_log_poll(log_);
            ck_assert_int_eq(done, stepped && levels[i] != 0);
            rang(done ? DATA | SPACE : 0, 0);
            drop();
        }
}
END_TEST

START_TEST(a_cursor_that_moves_rings_for_those_who_want_space)
{
    struct tide_log_batch batch;
    for (unsigned level = 0; level <= 5; level += 5) {
        make((struct tide_log_options){.level = level, .slots = 4});
        for (int i = 0; i < 4; i++)
            append(TIDE_LOG_TRY, 0);
        hush();
        ck_assert_int_eq(tide_log_read(reader, &batch, 1, TIDE_LOG_TRY), 1);
        rang(0, 0);
        ck_assert_int_eq(tide_log_done(reader), 0); /* by done */
        rang(SPACE, 0);
        ck_assert_int_eq(tide_log_done(reader), 0); /* nothing was read since */
        rang(0, 0);
        ck_assert_int_eq(tide_log_read(reader, &batch, 1, TIDE_LOG_TRY), 1);
        rang(0, 0);
        ck_assert_int_eq(tide_log_read(reader, &batch, 1, TIDE_LOG_TRY), 1); /* by the next read */
        rang(SPACE, 0);
        drop();
    }
}
END_TEST

START_TEST(whatever_frees_space_rings_for_those_who_want_it)
{
    struct tide_log_claim claim;
    tide_log_client_t *again;
    make((struct tide_log_options){.level = 4});
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    rang(SPACE, 0);
    reader = NULL;
    append(TIDE_LOG_TRY, 0);
    append(TIDE_LOG_TRY, 0);
    hush();
    ck_assert_int_eq(tide_log_trim(log_, 0, 1, NULL), 0);
    rang(SPACE, 0);
    ck_assert_int_eq(tide_log_trim_to(log_, 0), 0);
    rang(SPACE, 0);
    ck_assert_int_eq(tide_log_claim(client, 0, 64, TIDE_LOG_TRY, &claim), 0);
    rang(0, 0);
    ck_assert_int_eq(tide_log_abort(&claim), 0);
    rang(SPACE, WORK);
    ck_assert_int_eq(tide_log_client_open(&again, log_, NULL), 0); /* early ones are dropped */
    rang(SPACE | DATA, 0);
    ck_assert_int_eq(tide_log_client_close(again), 0);
    drop();
}
END_TEST

/* --- all of it ------------------------------------------------------------------------- */

static void *close_reader(void *unused)
{
    while (atomic_load(&bell_of(SPACE)->sleepers) == 0)
        tide_park_yield();
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    return unused;
}

/* An append that sleeps goes on when the reader that gated it is gone. */
START_TEST(a_reader_that_goes_wakes_who_waits_for_it)
{
    pthread_t thread;
    make((struct tide_log_options){.level = 5, .slots = 2, .retain = TIDE_LOG_KEEP_RECENT});
    atomic_store(&bell_of(SPACE)->sleepers, 0);
    append(TIDE_LOG_TRY, 0);
    append(TIDE_LOG_TRY, 0);
    append(TIDE_LOG_TRY, -EAGAIN);
    ck_assert_int_eq(pthread_create(&thread, NULL, close_reader, NULL), 0);
    append(TIDE_LOG_BLOCK, 0);
    pthread_join(thread, NULL);
    reader = NULL;
    drop();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {the_second_look_is_taken,
                                  a_ring_behind_the_last_look_is_heard,
                                  a_publish_rings_for_those_who_wait_for_it,
                                  a_cursor_that_moves_rings_for_those_who_want_space,
                                  whatever_frees_space_rings_for_those_who_want_it,
                                  a_reader_that_goes_wakes_who_waits_for_it,
                                  NULL};
    return unit_main("log_bells", tests);
}
