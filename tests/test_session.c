/* test_session.c - each client's batches once, in the client's order. */
#include "log_case.h"

#include <pthread.h>

#include "box/park.h"

static struct tide_logmap map;

static void make(bool mutex)
{
    log_make(&map, (struct tide_layout_wish){.level = 4,
                                             .slots = 512,
                                             .brokers = 2,
                                             .sessions = 4,
                                             .window = 8,
                                             .features = mutex ? TIDE_LAYOUT_MUTEX : 0});
}

/* Batch `number` of the producer's client, to a broker: the verdict. */
static enum tide_session_verdict submit(struct tide_broker *self, uint32_t broker, uint64_t number)
{
    struct tide_broker_result result;
    self->next = number;
    ck_assert(log_append(self, broker, 1, 8, &result));
    return result.verdict;
}

static void check_order(const uint64_t *number, size_t count)
{
    ck_assert_uint_eq(tide_order_frontier(&map, UINT64_MAX), count);
    for (size_t i = 0; i < count; i++)
        ck_assert_uint_eq(tide_order_see(&map, i)->number, number[i]);
}

START_TEST(early_batches_wait_for_those_before_them)
{
    make(_i);
    struct tide_broker self = log_producer(&map, 1);
    ck_assert_int_eq(submit(&self, 0, 2), TIDE_SESSION_HELD);
    ck_assert_int_eq(submit(&self, 1, 1), TIDE_SESSION_HELD);
    ck_assert_int_eq(submit(&self, 1, 4), TIDE_SESSION_HELD);
    ck_assert_uint_eq(atomic_load(&map.session[1].held), 3);
    check_order(NULL, 0);
    ck_assert_int_eq(submit(&self, 1, 0), TIDE_SESSION_PLACED);
    check_order((uint64_t[]){0, 1, 2}, 3);
    ck_assert_int_eq(submit(&self, 0, 3), TIDE_SESSION_PLACED);
    check_order((uint64_t[]){0, 1, 2, 3, 4}, 5);
    ck_assert_uint_eq(atomic_load(&map.session[1].held), 0);
    ck_assert_uint_eq(tide_session_expected(&map, 1), 5);
    log_drop(&map);
}
END_TEST

START_TEST(repeated_and_late_batches_are_recognised_and_dropped)
{
    make(_i);
    struct tide_broker self = log_producer(&map, 0);
    ck_assert_int_eq(submit(&self, 0, 0), TIDE_SESSION_PLACED);
    ck_assert_int_eq(submit(&self, 1, 0), TIDE_SESSION_LATE);
    ck_assert_int_eq(submit(&self, 1, 2), TIDE_SESSION_HELD);
    ck_assert_int_eq(submit(&self, 0, 2), TIDE_SESSION_LATE);
    ck_assert_int_eq(submit(&self, 0, 1), TIDE_SESSION_PLACED);
    ck_assert_int_eq(submit(&self, 1, 2), TIDE_SESSION_LATE);
    check_order((uint64_t[]){0, 1, 2}, 3);
    ck_assert_uint_eq(atomic_load(&map.session[0].late), 3);
    /* what was dropped does not hold its ring up */
    tide_trim_below(&map, 0, UINT64_MAX, false);
    for (uint32_t i = 0; i < 2; i++)
        ck_assert_uint_eq(atomic_load(&map.broker[i].released_slot), tide_ring_head(&map, i).slot);
    log_drop(&map);
}
END_TEST

START_TEST(what_is_too_early_is_refused)
{
    make(_i);
    struct tide_broker self = log_producer(&map, 0);
    ck_assert_int_eq(submit(&self, 0, 8), TIDE_SESSION_REFUSED);
    ck_assert_int_eq(submit(&self, 0, 7), TIDE_SESSION_HELD);
    ck_assert_int_eq(submit(&self, 0, 0), TIDE_SESSION_PLACED);
    ck_assert_int_eq(submit(&self, 0, 8), TIDE_SESSION_HELD);
    ck_assert_int_eq(submit(&self, 0, UINT64_MAX), TIDE_SESSION_REFUSED);
    ck_assert_uint_eq(atomic_load(&map.session[0].refused), 2);
    log_drop(&map);
}
END_TEST

START_TEST(clients_do_not_wait_for_each_other)
{
    make(_i);
    struct tide_broker one = log_producer(&map, 0), two = log_producer(&map, 1);
    ck_assert_int_eq(submit(&one, 0, 1), TIDE_SESSION_HELD);
    ck_assert_int_eq(submit(&two, 0, 0), TIDE_SESSION_PLACED);
    ck_assert_int_eq(submit(&two, 0, 1), TIDE_SESSION_PLACED);
    ck_assert_uint_eq(tide_order_frontier(&map, UINT64_MAX), 2);
    log_drop(&map);
}
END_TEST

/* The door, then the slot: who comes in between leaves its batch with whoever has the door. */
START_TEST(who_has_the_door_while_it_publishes_takes_others_along)
{
    struct tide_ring_claim claim;
    struct tide_order_place at = {0, 0};
    make(_i);
    struct tide_broker one = log_producer(&map, 1), two = one;
    if (_i) { /* all share one door */
        ck_assert(!tide_session_try(&map, 1, &(uint64_t){0}));
        log_drop(&map);
        return;
    }
    uint64_t kept = 0;
    ck_assert(tide_session_try(&map, 1, &kept));
    ck_assert(!tide_session_try(&map, 1, &kept));
    ck_assert_int_eq(submit(&two, 0, 1), TIDE_SESSION_HELD);
    ck_assert(tide_ring_claim(&map, 1, 24, TIDE_RING_ALL, &one.entry->claim, &claim));
    struct tide_ring_batch batch = {
        .number = 0, .client = 1, .epoch = one.epoch, .count = 1, .size = 24};
    tide_ring_publish(&map, &claim, &batch, 0);
    ck_assert_int_eq(
        tide_session_submit_in(&map, 1, 0, 1, tide_logmap_slot(&map, 1, claim.slot), &at),
        TIDE_SESSION_PLACED);
    ck_assert_uint_eq(at.place, 0);
    check_order((uint64_t[]){0, 1}, 2);
    ck_assert_uint_eq(atomic_load(&map.session[1].door), 0);
    log_drop(&map);
}
END_TEST

static uint64_t contention(void)
{
    return atomic_load(&map.head->contention);
}

static void *submit_zero(void *producer)
{
    struct tide_broker_result result = {.verdict = TIDE_SESSION_REFUSED};
    log_append(producer, 0, 1, 8, &result);
    return result.verdict == TIDE_SESSION_PLACED ? producer : NULL;
}

/* A door that is taken, and a mutex that is: each time that one comes upon it counts one. */
START_TEST(what_is_found_taken_is_counted)
{
    make(_i);
    struct tide_broker one = log_producer(&map, 1), two = log_producer(&map, 2);
    ck_assert_int_eq(submit(&two, 0, 0), TIDE_SESSION_PLACED);
    ck_assert_int_eq(submit(&two, 0, 2), TIDE_SESSION_HELD); /* waits, but for no door */
    ck_assert_uint_eq(contention(), 0);
    if (_i) {
        pthread_t thread;
        void *placed;
        ck_assert(tide_lock_try(&map.head->mutex));
        ck_assert_int_eq(pthread_create(&thread, NULL, submit_zero, &one), 0);
        while (contention() == 0) /* nothing else ends its wait, so it gets there */
            tide_park_yield();
        tide_lock_drop_own(&map.head->mutex);
        ck_assert_int_eq(pthread_join(thread, &placed), 0);
        ck_assert_ptr_nonnull(placed);
        ck_assert_uint_eq(contention(), 1);
    } else {
        for (uint64_t i = 0; i < 3; i++) {
            ck_assert_uint_eq(contention(), i);
            ck_assert(tide_session_try(&map, 1, &(uint64_t){0}));
            ck_assert_int_eq(submit(&one, 0, i), TIDE_SESSION_HELD);
            ck_assert_uint_eq(contention(), i + 1);
            ck_assert_uint_ne(tide_door_leave(&map, 1), 0); /* what was handed over */
            ck_assert_uint_eq(tide_door_leave(&map, 1), 0);
        }
    }
    log_drop(&map);
}
END_TEST

START_TEST(an_opened_session_refuses_the_epoch_before)
{
    make(_i);
    struct tide_broker old = log_producer(&map, 2);
    submit(&old, 0, 0);
    submit(&old, 0, 3);
    struct tide_broker new = log_producer(&map, 2);
    ck_assert_uint_eq(new.epoch, old.epoch + 1);
    ck_assert_uint_eq(new.next, 1);
    ck_assert_int_eq(submit(&old, 0, 1), TIDE_SESSION_REFUSED);
    ck_assert_int_eq(submit(&new, 1, 1), TIDE_SESSION_PLACED);
    ck_assert_int_eq(submit(&new, 1, 2), TIDE_SESSION_PLACED);
    /* the held batch of before is gone, its slot is free, and its number can be used */
    check_order((uint64_t[]){0, 1, 2}, 3);
    tide_trim_below(&map, 0, UINT64_MAX, false);
    ck_assert_uint_eq(atomic_load(&map.broker[0].released_slot), tide_ring_head(&map, 0).slot);
    ck_assert_int_eq(submit(&new, 1, 3), TIDE_SESSION_PLACED);
    ck_assert_uint_eq(tide_session_epoch(&map, 2), new.epoch);
    ck_assert_uint_eq(tide_session_epoch(&map, 3), 0);
    log_drop(&map);
}
END_TEST

/* Only if it still waits for the same batch, of the same epoch, and nobody gives places. */
START_TEST(a_session_that_waits_for_too_long_is_ended)
{
    make(_i);
    struct tide_broker one = log_producer(&map, 2);
    ck_assert(!tide_session_expire(&map, 2, one.epoch, 0)); /* nothing waits */
    submit(&one, 0, 0);
    submit(&one, 0, 2);
    ck_assert(tide_session_waits(&map, 2));
    ck_assert(!tide_session_expire(&map, 2, one.epoch, 0));
    ck_assert(!tide_session_expire(&map, 2, one.epoch + 1, 1));
    ck_assert(tide_session_is_current(&map, 2, one.epoch));
    if (!_i) {
        ck_assert(tide_session_try(&map, 2, &(uint64_t){0}));
        ck_assert(!tide_session_expire(&map, 2, one.epoch, 1));
        atomic_store(&map.session[2].door, 0);
    }
    ck_assert(tide_session_expire(&map, 2, one.epoch, 1));
    ck_assert(!tide_session_is_current(&map, 2, one.epoch));
    ck_assert(!tide_session_waits(&map, 2));
    ck_assert(!tide_session_expire(&map, 2, one.epoch, 1));
    ck_assert_int_eq(submit(&one, 0, 1), TIDE_SESSION_REFUSED);
    struct tide_broker new = log_producer(&map, 2);
    ck_assert_uint_eq(new.next, 1);
    ck_assert_int_eq(submit(&new, 1, 1), TIDE_SESSION_PLACED);
    check_order((uint64_t[]){0, 1}, 2);
    tide_trim_below(&map, 0, UINT64_MAX, false);
    ck_assert_uint_eq(atomic_load(&map.broker[0].released_slot), tide_ring_head(&map, 0).slot);
    log_drop(&map);
}
END_TEST

START_TEST(what_others_wait_for_finds_room)
{
    make(_i);
    struct tide_broker self = log_producer(&map, 0);
    ck_assert_int_eq(tide_broker_share(&self), TIDE_RING_MOST);
    submit(&self, 0, 1);
    ck_assert_int_eq(tide_broker_share(&self), TIDE_RING_MOST); /* 2 follows 1 */
    self.next = 4;
    ck_assert_int_eq(tide_broker_share(&self), TIDE_RING_HALF);
    self.next = 0;
    ck_assert_int_eq(tide_broker_share(&self), TIDE_RING_ALL);
    log_drop(&map);
}
END_TEST

START_TEST(a_client_that_does_not_exist_is_refused)
{
    make(_i);
    struct tide_broker self = log_producer(&map, 0);
    self.client = 4;
    ck_assert_int_eq(submit(&self, 0, 0), TIDE_SESSION_REFUSED);
    self.client = UINT32_MAX;
    ck_assert_int_eq(submit(&self, 0, 0), TIDE_SESSION_REFUSED);
    log_drop(&map);
}
END_TEST

/* --- threads ------------------------------------------------------------------------ */

enum { THREADS = 4, EACH = 2500, ALL = THREADS * EACH };

static struct sender {
    pthread_t thread;
    uint64_t first;
    struct tide_broker broker;
} sender[THREADS];

/* Thread t has the numbers t, t + THREADS, ...: all are early most of the time. */
static void *send(void *argument)
{
    struct sender *self = argument;
    for (uint64_t number = self->first; number < ALL; number += THREADS) {
        while (number >= tide_session_expected(&map, 0) + map.window)
            sched_yield();
        self->broker.next = number;
        while (!log_append(&self->broker, self->first % 2, 1, 8, NULL))
            sched_yield();
    }
    return NULL;
}

START_TEST(threads_that_share_a_client_keep_its_order)
{
    log_make(&map, (struct tide_layout_wish){.level = 4,
                                             .slots = ALL,
                                             .brokers = 2,
                                             .window = 16,
                                             .features = _i ? TIDE_LAYOUT_MUTEX : 0});
    struct tide_broker first = log_producer(&map, 0);
    for (uint64_t i = 0; i < THREADS; i++) {
        ck_assert(tide_broker_open(&sender[i].broker, &map, 0, 1, 0));
        sender[i].broker.epoch = first.epoch;
        sender[i].first = i;
        ck_assert_int_eq(pthread_create(&sender[i].thread, NULL, send, &sender[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(sender[i].thread, NULL);
    ck_assert_uint_eq(tide_order_frontier(&map, UINT64_MAX), ALL);
    for (uint64_t i = 0; i < ALL; i++)
        UNIT_HOLD(tide_order_see(&map, i)->number == i, "place %llu", (unsigned long long)i);
    ck_assert_uint_eq(tide_session_expected(&map, 0), ALL);
    ck_assert_uint_eq(atomic_load(&map.session[0].held), 0);
    ck_assert_uint_eq(atomic_load(&map.session[0].door), 0);
    log_drop(&map);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("session");
    TCase *tcase = tcase_create("session");
    tcase_add_loop_test(tcase, early_batches_wait_for_those_before_them, 0, 2);
    tcase_add_loop_test(tcase, repeated_and_late_batches_are_recognised_and_dropped, 0, 2);
    tcase_add_loop_test(tcase, what_is_too_early_is_refused, 0, 2);
    tcase_add_loop_test(tcase, clients_do_not_wait_for_each_other, 0, 2);
    tcase_add_loop_test(tcase, who_has_the_door_while_it_publishes_takes_others_along, 0, 2);
    tcase_add_loop_test(tcase, what_is_found_taken_is_counted, 0, 2);
    tcase_add_loop_test(tcase, an_opened_session_refuses_the_epoch_before, 0, 2);
    tcase_add_loop_test(tcase, a_session_that_waits_for_too_long_is_ended, 0, 2);
    tcase_add_loop_test(tcase, what_others_wait_for_finds_room, 0, 2);
    tcase_add_loop_test(tcase, a_client_that_does_not_exist_is_refused, 0, 2);
    tcase_add_loop_test(tcase, threads_that_share_a_client_keep_its_order, 0, 2);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
