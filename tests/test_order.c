/* test_order.c - places, message numbers and the order index. */
#include "log_case.h"

#include <pthread.h>

static struct tide_logmap map;

static void make(uint64_t slots, uint64_t first)
{
    log_make(&map, (struct tide_layout_wish){.level = 5, .slots = slots, .first = first});
}

static struct tide_layout_slot slot_of(uint32_t count)
{
    return (struct tide_layout_slot){.index = 3,
                                     .number = 4,
                                     .client = 5,
                                     .count = count,
                                     .size = 6,
                                     .offset = 7,
                                     .epoch = 8,
                                     .checksum = 9};
}

/* What trimming does, as far as it matters here. */
static void forget(uint64_t place, uint64_t base)
{
    atomic_store(&map.head->trimmed_base, base);
    atomic_store(&map.head->trimmed_place, place);
}

START_TEST(places_and_numbers_go_on_over_the_borders_of_their_halves)
{
    static const uint64_t first[] = {0, 0x7ffffff0, 0xfffffff0, (UINT64_C(1) << 63) - 10};
    static const uint32_t count[] = {1, 1000, 1 << 24};
    make(64, first[_i]);
    uint64_t place = first[_i], base = first[_i];
    for (int i = 0; i < 300; i++) {
        uint32_t messages = count[i % 3];
        struct tide_order_place at = tide_order_head(&map);
        ck_assert_uint_eq(at.place, place);
        ck_assert_uint_eq(at.base, base);
        at = tide_order_take(&map, 1, messages);
        ck_assert_uint_eq(at.place, place);
        ck_assert_uint_eq(at.base, base);
        place++;
        base += messages;
        if (i % 60 == 59)
            forget(place - 3, base - 3 * (UINT64_C(1) << 24));
    }
    log_drop(&map);
}
END_TEST

START_TEST(an_entry_says_what_the_slot_said)
{
    struct tide_layout_slot slot = slot_of(2);
    make(4, 0);
    struct tide_order_place at = tide_order_commit(&map, 0, &slot);
    ck_assert_uint_eq(at.place, 0);
    const struct tide_layout_entry *entry = tide_order_see(&map, 0);
    ck_assert_ptr_nonnull(entry);
    ck_assert_uint_eq(entry->slot, 3);
    ck_assert_uint_eq(entry->number, 4);
    ck_assert_uint_eq(entry->client, 5);
    ck_assert_uint_eq(entry->count, 2);
    ck_assert_uint_eq(entry->size, 6);
    ck_assert_uint_eq(entry->offset, 7);
    ck_assert_uint_eq(entry->epoch, 8);
    ck_assert_uint_eq(entry->checksum, 9);
    ck_assert_uint_eq(entry->base, 0);
    ck_assert_uint_eq(entry->broker, 0);
    ck_assert_uint_eq(entry->control, 1);
    ck_assert_ptr_null(tide_order_see(&map, 1));
    ck_assert_ptr_null(tide_order_see(&map, 4));
    at = tide_order_commit(&map, 0, &slot);
    ck_assert_uint_eq(at.base, 2);
    log_drop(&map);
}
END_TEST

START_TEST(the_frontier_stops_at_the_first_place_that_is_not_filled)
{
    struct tide_layout_slot slot = slot_of(1);
    struct tide_order_place at[3];
    make(8, 0);
    ck_assert_uint_eq(tide_order_frontier(&map, UINT64_MAX), 0);
    for (int i = 0; i < 3; i++)
        at[i] = tide_order_take(&map, 1, 1);
    tide_order_fill(&map, at[2], 0, &slot);
    tide_order_fill(&map, at[1], 0, &slot);
    ck_assert_uint_eq(tide_order_frontier(&map, UINT64_MAX), 0);
    tide_order_fill(&map, at[0], 0, &slot);
    ck_assert_uint_eq(tide_order_frontier(&map, 1), 1);
    ck_assert_uint_eq(tide_order_frontier(&map, 1), 2);
    ck_assert_uint_eq(tide_order_frontier(&map, UINT64_MAX), 3);
    /* places of a lap before are no places of this one */
    forget(3, 3);
    for (int i = 0; i < 7; i++)
        tide_order_commit(&map, 0, &slot);
    ck_assert_uint_eq(tide_order_frontier(&map, UINT64_MAX), 10);
    ck_assert_ptr_null(tide_order_see(&map, 1));
    ck_assert_ptr_nonnull(tide_order_see(&map, 9));
    log_drop(&map);
}
END_TEST

static unsigned looks;

/* Somebody trims whenever it is looked. */
static void move_on(void)
{
    UNIT_NEED(++looks < 100000);
    atomic_fetch_add_explicit(&map.head->trimmed_place, 1, memory_order_relaxed);
}

START_TEST(a_head_that_never_stands_still_is_told_all_the_same)
{
    make(64, 5);
    looks = 0;
    tide_coh_hook = move_on;
    struct tide_order_place at = tide_order_head(&map);
    tide_coh_hook = NULL;
    ck_assert_uint_gt(looks, 3);
    /* what stands there now is 2^32 above it at most */
    ck_assert_uint_le(at.place - 5, (UINT64_C(1) << 32) + looks);
    log_drop(&map);
}
END_TEST

START_TEST(one_step_takes_many)
{
    make(64, 5);
    struct tide_order_place at = tide_order_take(&map, 10, 1000);
    ck_assert_uint_eq(at.place, 5);
    ck_assert_uint_eq(at.base, 5);
    at = tide_order_take(&map, 1, 1);
    ck_assert_uint_eq(at.place, 15);
    ck_assert_uint_eq(at.base, 1005);
    log_drop(&map);
}
END_TEST

enum { THREADS = 4, EACH = 4000 };

static uint64_t base_of[THREADS * EACH + 1];

static void *take_many(void *count)
{
    struct tide_layout_slot slot = slot_of(*(uint32_t *)count);
    for (int i = 0; i < EACH; i++) {
        struct tide_order_place at = tide_order_commit(&map, 0, &slot);
        base_of[at.place] = at.base;
        tide_order_frontier(&map, 50);
    }
    return NULL;
}

START_TEST(threads_get_places_of_their_own_and_numbers_in_their_order)
{
    pthread_t thread[THREADS];
    uint32_t count[THREADS] = {1, 2, 3, 1000000};
    make(THREADS * EACH, 0);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, take_many, &count[i]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    ck_assert_uint_eq(tide_order_frontier(&map, UINT64_MAX), THREADS * EACH);
    uint64_t base = 0;
    for (uint64_t i = 0; i < THREADS * EACH; i++) {
        UNIT_HOLD(base_of[i] == base, "place %llu", (unsigned long long)i);
        base += tide_order_see(&map, i)->count;
    }
    ck_assert_uint_eq(base, EACH * UINT64_C(1000006));
    log_drop(&map);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("order");
    TCase *tcase = tcase_create("order");
    tcase_add_loop_test(tcase, places_and_numbers_go_on_over_the_borders_of_their_halves, 0, 4);
    tcase_add_test(tcase, an_entry_says_what_the_slot_said);
    tcase_add_test(tcase, the_frontier_stops_at_the_first_place_that_is_not_filled);
    tcase_add_test(tcase, a_head_that_never_stands_still_is_told_all_the_same);
    tcase_add_test(tcase, one_step_takes_many);
    tcase_add_test(tcase, threads_get_places_of_their_own_and_numbers_in_their_order);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
