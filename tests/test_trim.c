/* test_trim.c - what becomes free, and who holds it back. */
#include "log_case.h"

static struct tide_logmap map;
static struct tide_broker producer;

static void make(struct tide_layout_wish wish)
{
    log_make(&map, wish);
    producer = log_producer(&map, 0);
}

static void append(uint32_t broker, int count)
{
    for (int i = 0; i < count; i++)
        ck_assert(log_append(&producer, broker, 1, 64, NULL));
}

static uint64_t released(uint32_t broker)
{
    return atomic_load(&map.broker[broker].released_slot) - 1;
}

static void read_to(struct tide_sub *sub, uint64_t position)
{
    struct tide_sub_batch batch;
    while (sub->next < position)
        ck_assert_int_eq(tide_sub_poll(sub, &batch, 1), 1);
    tide_sub_done(sub);
}

START_TEST(slots_are_free_when_the_slowest_reader_has_passed_them)
{
    make((struct tide_layout_wish){.level = 5, .slots = 8, .brokers = 2, .payload = 4096});
    struct tide_sub fast = log_reader(&map, 0, TIDE_LAYOUT_GATE);
    struct tide_sub slow = log_reader(&map, 0, TIDE_LAYOUT_GATE);
    append(0, 3);
    append(1, 3);
    read_to(&fast, 6);
    ck_assert_uint_eq(tide_trim_below(&map, 0, UINT64_MAX, false), 0);
    read_to(&slow, 4);
    ck_assert_uint_gt(tide_trim_below(&map, 0, UINT64_MAX, false), 0);
    ck_assert_uint_eq(tide_trim_earliest(&map, 0), 4);
    ck_assert_uint_eq(released(0), 3);
    ck_assert_uint_eq(released(1), 1);
    read_to(&slow, 5);
    ck_assert_uint_gt(tide_trim_below(&map, 0, UINT64_MAX, false), 0);
    ck_assert_uint_eq(released(1), 2);
    tide_sub_close(&slow);
    ck_assert_uint_gt(tide_trim_below(&map, 0, UINT64_MAX, false), 0);
    ck_assert_uint_eq(released(1), 3);
    log_drop(&map);
}
END_TEST

/* Places of one ring's slots in the order 3, 2, 1: nothing is free before the last. */
START_TEST(slots_are_released_in_the_order_of_the_ring)
{
    struct tide_ring_claim claim[3];
    struct tide_ring_batch batch = {0, 0, 0, 1, 64, 0, 0};
    make((struct tide_layout_wish){.level = 5, .slots = 8, .payload = 4096});
    for (int i = 0; i < 3; i++) {
        ck_assert(tide_ring_claim(&map, 0, 100, TIDE_RING_ALL, &producer.entry->claim, &claim[i]));
        tide_ring_publish(&map, &claim[i], &batch, 0);
    }
    for (int i = 2; i >= 0; i--)
        tide_order_commit(&map, 0, tide_logmap_slot(&map, 0, claim[i].slot));
    tide_trim_below(&map, 0, 1, false);
    ck_assert_uint_eq(tide_trim_earliest(&map, 0), 1);
    ck_assert_uint_eq(released(0), 0);
    tide_trim_below(&map, 0, 2, false);
    ck_assert_uint_eq(released(0), 0);
    ck_assert_uint_eq(atomic_load(&map.broker[0].released_granule), 0);
    tide_trim_below(&map, 0, 3, false);
    ck_assert_uint_eq(released(0), 3);
    ck_assert_uint_eq(atomic_load(&map.broker[0].released_granule), 6);
    for (uint64_t i = 0; i < map.retired_words; i++)
        ck_assert_uint_eq(atomic_load(&map.retired[i]), 0);
    log_drop(&map);
}
END_TEST

START_TEST(what_is_not_committed_stays)
{
    struct tide_layout_slot slot = {.index = 1, .count = 1};
    make((struct tide_layout_wish){.level = 5, .slots = 8});
    append(0, 2);
    struct tide_order_place hole = tide_order_take(&map, 1, 1);
    append(0, 2);
    tide_trim_below(&map, 0, UINT64_MAX, false);
    ck_assert_uint_eq(tide_trim_earliest(&map, 0), 2);
    tide_order_fill(&map, hole, 0, &slot);
    tide_trim_below(&map, 0, UINT64_MAX, false);
    ck_assert_uint_eq(tide_trim_earliest(&map, 0), 5);
    log_drop(&map);
}
END_TEST

START_TEST(dropped_slots_are_free_without_a_place)
{
    make((struct tide_layout_wish){.level = 5, .slots = 3, .payload = 1024});
    for (int i = 0; i < 20; i++) {
        ck_assert(tide_broker_claim(&producer, 0, 100));
        tide_broker_abort(&producer);
    }
    append(0, 1);
    ck_assert_uint_eq(tide_order_frontier(&map, UINT64_MAX), 1);
    log_drop(&map);
}
END_TEST

/* Retention: who keeps what when there is no room. */
START_TEST(retention_without_a_reader)
{
    static const bool full[TIDE_LAYOUT_RETAINS] = {true, false, true};
    make(
        (struct tide_layout_wish){.level = _i % 2 ? 5 : 0, .slots = 4, .retain = (uint64_t)_i / 2});
    append(0, 4);
    ck_assert_int_eq(!log_append(&producer, 0, 1, 64, NULL), full[_i / 2]);
    uint64_t shift = map.level == 0, earliest = tide_trim_earliest(&map, 0) - shift;
    ck_assert_int_eq(earliest == 0, full[_i / 2]);
    tide_trim_below(&map, 0, earliest + shift + 2, false);
    ck_assert_uint_eq(tide_trim_earliest(&map, 0), earliest + shift + 2);
    append(0, 2);
    log_drop(&map);
}
END_TEST

START_TEST(policies_of_a_reader_that_stands_in_the_way)
{
    static const bool full[TIDE_LAYOUT_POLICIES] = {true, false, false};
    struct tide_sub_batch batch;
    enum tide_layout_policy policy = (enum tide_layout_policy)(_i / 2);
    make((struct tide_layout_wish){.level = _i % 2 ? 5 : 0, .slots = 4, .retain = TIDE_LAYOUT_OLD});
    struct tide_sub sub = log_reader(&map, 0, policy);
    append(0, 4);
    ck_assert_int_eq(!log_append(&producer, 0, 1, 64, NULL), full[policy]);
    int got = tide_sub_poll(&sub, &batch, 1);
    ck_assert_int_eq(got, policy == TIDE_LAYOUT_GATE   ? 1
                          : policy == TIDE_LAYOUT_SKIP ? -EOVERFLOW
                                                       : -EPIPE);
    tide_sub_close(&sub);
    log_drop(&map);
}
END_TEST

START_TEST(nobody_trims_while_it_is_stopped)
{
    make((struct tide_layout_wish){.level = 5, .slots = 4});
    append(0, 3);
    ck_assert(tide_trim_stop(&map));
    ck_assert(!tide_trim_stop(&map));
    ck_assert_uint_eq(tide_trim_below(&map, 0, UINT64_MAX, false), 0);
    ck_assert_uint_eq(tide_trim_earliest(&map, 0), 0);
    tide_trim_go_on(&map);
    tide_trim_below(&map, 0, UINT64_MAX, false);
    ck_assert_uint_eq(tide_trim_earliest(&map, 0), 3);
    log_drop(&map);
}
END_TEST

/* Somebody wrote that all slots but the last that there can be are released, and that those
 * behind it were trimmed before they had a place. */
START_TEST(a_release_before_zero_comes_to_an_end)
{
    make((struct tide_layout_wish){.level = 5, .slots = 4});
    append(0, 2);
    atomic_store(&map.broker[0].released_slot, UINT64_MAX);
    for (uint64_t slot = 0; slot < 2; slot++)
        tide_trim_drop(&map, 0, tide_logmap_at(&map.slots, UINT64_MAX + slot));
    tide_trim_below(&map, 0, UINT64_MAX, false);
    ck_assert_uint_eq(tide_trim_earliest(&map, 0), 2);
    log_drop(&map);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("trim");
    TCase *tcase = tcase_create("trim");
    tcase_add_test(tcase, slots_are_free_when_the_slowest_reader_has_passed_them);
    tcase_add_test(tcase, slots_are_released_in_the_order_of_the_ring);
    tcase_add_test(tcase, what_is_not_committed_stays);
    tcase_add_test(tcase, dropped_slots_are_free_without_a_place);
    tcase_add_loop_test(tcase, retention_without_a_reader, 0, 2 * TIDE_LAYOUT_RETAINS);
    tcase_add_loop_test(tcase, policies_of_a_reader_that_stands_in_the_way, 0,
                        2 * TIDE_LAYOUT_POLICIES);
    tcase_add_test(tcase, nobody_trims_while_it_is_stopped);
    tcase_add_test(tcase, a_release_before_zero_comes_to_an_end);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
