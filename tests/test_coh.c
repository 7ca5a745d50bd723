/* test_coh.c - the seam: what each access does, and that a test can stand between them. */
#define _GNU_SOURCE 1
#include "told.h"

#include <pthread.h>

#include "box/coh.h"

static _Atomic uint64_t word;
static unsigned hooked;

static void count_hook(void)
{
    hooked++;
}

START_TEST(each_access_does_what_it_says)
{
    uint64_t seen = 5;
    tide_coh_set(TIDE_COH_COHERENT, &word, 4);
    ck_assert(!tide_coh_win(TIDE_COH_COHERENT, &word, &seen, 9));
    ck_assert_uint_eq(seen, 4);
    ck_assert(tide_coh_win(TIDE_COH_COHERENT, &word, &seen, 9));
    ck_assert_uint_eq(tide_coh_add(TIDE_COH_COHERENT, &word, 3), 9);
    ck_assert_uint_eq(tide_coh_swap(TIDE_COH_COHERENT, &word, 1), 12);
    ck_assert_uint_eq(tide_coh_mark(TIDE_COH_COHERENT, &word, 6), 1);
    ck_assert_uint_eq(tide_coh_clear(TIDE_COH_COHERENT, &word, 3), 7);
    ck_assert_uint_eq(tide_coh_get(TIDE_COH_COHERENT, &word), 4);
}
END_TEST

START_TEST(each_access_of_a_shared_word_can_be_interrupted)
{
    uint64_t seen = 0;
    ck_assert(!tide_coh_hooked());
    tide_coh_hook = count_hook;
    ck_assert(tide_coh_hooked());
    hooked = 0;
    tide_coh_set(TIDE_COH_COHERENT, &word, 0);
    tide_coh_get(TIDE_COH_COHERENT, &word);
    tide_coh_win(TIDE_COH_COHERENT, &word, &seen, 1);
    tide_coh_add(TIDE_COH_COHERENT, &word, 1);
    tide_coh_swap(TIDE_COH_COHERENT, &word, 1);
    tide_coh_mark(TIDE_COH_COHERENT, &word, 2);
    tide_coh_clear(TIDE_COH_COHERENT, &word, 2);
    ck_assert_uint_eq(hooked, 7);
    tide_coh_hook = NULL;
}
END_TEST

/* What win, add, swap, mark and clear do elsewhere. */
static void change(long which)
{
    uint64_t seen = 0;
    signal(SIGILL, SIG_DFL);
    if (which == 0)
        tide_coh_win(TIDE_COH_NONCOHERENT, &word, &seen, 1);
    else if (which == 1)
        tide_coh_add(TIDE_COH_NONCOHERENT, &word, 1);
    else if (which == 2)
        tide_coh_swap(TIDE_COH_NONCOHERENT, &word, 1);
    else if (which == 3)
        tide_coh_mark(TIDE_COH_SIMULATED, &word, 1);
    else
        tide_coh_clear(TIDE_COH_SIMULATED, &word, 1);
}

START_TEST(nothing_is_read_and_changed_where_memory_is_not_coherent)
{
    for (long i = 0; i < 5; i++)
        ck_assert_int_eq(unit_child(change, i).code, 128 + UNIT_TRAP);
}
END_TEST

static char called[16];

static void model_wrote(const void *at, size_t bytes)
{
    ck_assert_ptr_eq(at, &word);
    ck_assert_uint_eq(bytes, sizeof word);
    strcat(called, "w");
}

static void model_drain(void)
{
    strcat(called, "d");
}

static void model_fresh(const void *at, size_t bytes)
{
    ck_assert_ptr_eq(at, &word);
    ck_assert_uint_eq(bytes, sizeof word);
    strcat(called, "f");
}

START_TEST(a_model_takes_the_place_of_memory)
{
    const struct tide_coh_model model = {model_wrote, model_drain, model_fresh};
    tide_coh_model = &model;
    for (int coh = TIDE_COH_COHERENT; coh <= TIDE_COH_SIMULATED; coh++) {
        tide_coh_wrote((enum tide_coh)coh, &word, sizeof word);
        tide_coh_drain((enum tide_coh)coh);
        tide_coh_fresh((enum tide_coh)coh, &word, sizeof word);
    }
    ck_assert_str_eq(called, "wdf");
    tide_coh_model = NULL;
}
END_TEST

/* Of the processor's ways only this is to be seen: nothing is lost. */
START_TEST(what_is_written_back_and_fetched_is_what_it_was)
{
    static unsigned char bytes[4096 + 128];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 7);
    tide_coh_wrote(TIDE_COH_NONCOHERENT, bytes + 3, sizeof bytes - 3);
    tide_coh_drain(TIDE_COH_NONCOHERENT);
    tide_coh_fresh(TIDE_COH_NONCOHERENT, bytes + 3, sizeof bytes - 3);
    for (size_t i = 0; i < sizeof bytes; i++)
        ck_assert_uint_eq(bytes[i], (unsigned char)(i * 7));
}
END_TEST

static int message;

static void *publish(void *unused)
{
    message = 42;
    tide_coh_wrote(TIDE_COH_COHERENT, &message, sizeof message);
    tide_coh_drain(TIDE_COH_COHERENT);
    tide_coh_set(TIDE_COH_COHERENT, &word, 1);
    return unused;
}

START_TEST(what_was_written_before_a_set_is_seen_after_a_get)
{
    pthread_t thread;
    atomic_store(&word, 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, publish, NULL), 0);
    while (tide_coh_get(TIDE_COH_COHERENT, &word) == 0)
        ;
    tide_coh_fresh(TIDE_COH_COHERENT, &message, sizeof message);
    ck_assert_int_eq(message, 42);
    pthread_join(thread, NULL);
}
END_TEST

#ifdef TOLD
enum { LINES = 40 };

static unsigned char lines[LINES * TIDE_LINE] __attribute__((aligned(TIDE_LINE)));

static void write_all(void)
{
    tide_coh_wrote(TIDE_COH_NONCOHERENT, lines + 3, sizeof lines - 3);
}

static void write_across(void)
{
    tide_coh_wrote(TIDE_COH_NONCOHERENT, lines + TIDE_LINE - 1, 2);
}

static void drain(void)
{
    tide_coh_drain(TIDE_COH_NONCOHERENT);
}

static void fetch_all(void)
{
    tide_coh_fresh(TIDE_COH_NONCOHERENT, lines, sizeof lines - TIDE_LINE + 1);
}

static void all_coherent(void)
{
    tide_coh_wrote(TIDE_COH_COHERENT, lines, sizeof lines);
    tide_coh_drain(TIDE_COH_COHERENT);
    tide_coh_fresh(TIDE_COH_COHERENT, lines, sizeof lines);
}

/* Every line, by the best way there is; stores are fenced by the drain, and what is fetched is
 * read behind the flushes, which lfence would not see to. */
START_TEST(the_processor_is_told)
{
    told_is(told_by(write_all), told_best(true), LINES, 0);
    told_is(told_by(write_across), told_best(true), 2, 0);
    told_is(told_by(drain), 0, 0, 's');
    told_is(told_by(fetch_all), told_best(false), LINES, 'm');
    told_is(told_by(all_coherent), 0, 0, 0);
}
END_TEST
#endif

int main(void)
{
    const TTest *const tests[] = {each_access_does_what_it_says,
                                  each_access_of_a_shared_word_can_be_interrupted,
                                  nothing_is_read_and_changed_where_memory_is_not_coherent,
                                  a_model_takes_the_place_of_memory,
                                  what_is_written_back_and_fetched_is_what_it_was,
                                  what_was_written_before_a_set_is_seen_after_a_get,
#ifdef TOLD
                                  the_processor_is_told,
#endif
                                  NULL};
    return unit_main("coh", tests);
}
