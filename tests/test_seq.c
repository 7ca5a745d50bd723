/* test_seq.c - the sequencer's steps. */
#include "log_case.h"

static struct tide_logmap map;

static void make(uint32_t level, uint64_t slots)
{
    log_make(&map,
             (struct tide_layout_wish){
                 .level = level, .slots = slots, .brokers = 2, .features = TIDE_LAYOUT_STEPPED});
}

START_TEST(published_slots_get_places_in_the_order_of_their_ring)
{
    make(_i, 256);
    struct tide_broker self = log_producer(&map, 0), other = log_producer(&map, 1);
    for (int i = 0; i < 150; i++)
        ck_assert(log_append(&self, 0, 2, 8, NULL));
    for (int i = 0; i < 10; i++)
        ck_assert(log_append(&other, 1, 3, 8, NULL));
    ck_assert(tide_seq_waits(&map));
    ck_assert_uint_eq(tide_order_frontier(&map, UINT64_MAX), 0);
    ck_assert_uint_eq(tide_seq_step(&map, 0, 7), 7);
    ck_assert_uint_eq(tide_order_frontier(&map, UINT64_MAX), 7);
    ck_assert_uint_eq(tide_seq_step(&map, 1, 1000), 10);
    uint64_t done = 0, step;
    while ((step = tide_seq_step(&map, 0, 1000)) > 0)
        done += step;
    ck_assert_uint_eq(done, 143);
    ck_assert(!tide_seq_waits(&map));
    ck_assert_uint_eq(tide_order_frontier(&map, UINT64_MAX), 160);
    uint64_t next[2] = {0, 0}, base = 0;
    for (uint64_t i = 0; i < 160; i++) {
        const struct tide_layout_entry *entry = tide_order_see(&map, i);
        ck_assert_uint_eq(entry->number, next[entry->broker]++);
        ck_assert_uint_eq(entry->base, base);
        base += entry->count;
    }
    ck_assert_uint_eq(base, 150 * 2 + 10 * 3);
    log_drop(&map);
}
END_TEST

START_TEST(a_claim_that_is_out_stops_its_ring_and_no_other)
{
    make(_i, 16);
    struct tide_broker slow = log_producer(&map, 0), self = log_producer(&map, 1);
    ck_assert(tide_broker_claim(&slow, 0, 8));
    ck_assert(log_append(&self, 0, 1, 8, NULL));
    ck_assert_uint_eq(tide_seq_step(&map, 0, 100), 0);
    ck_assert(!tide_seq_waits(&map));
    self.next = 1;
    ck_assert(log_append(&self, 1, 1, 8, NULL));
    ck_assert_uint_eq(tide_seq_step(&map, 1, 100), 1);
    tide_broker_abort(&slow);
    ck_assert_uint_eq(tide_seq_step(&map, 0, 100), 2);
    ck_assert_uint_eq(tide_order_frontier(&map, UINT64_MAX), 2);
    tide_trim_below(&map, 0, UINT64_MAX, false);
    ck_assert_uint_eq(atomic_load(&map.broker[0].released_slot), 3);
    log_drop(&map);
}
END_TEST

START_TEST(one_at_a_time_scans_a_broker)
{
    make(5, 16);
    struct tide_broker self = log_producer(&map, 0);
    ck_assert(log_append(&self, 0, 1, 8, NULL));
    atomic_store(&map.broker[0].scanner, 1);
    ck_assert_uint_eq(tide_seq_step(&map, 0, 100), 0);
    atomic_store(&map.broker[0].scanner, 0);
    ck_assert_uint_eq(tide_seq_step(&map, 0, 100), 1);
    ck_assert_uint_eq(tide_seq_step(&map, 0, 100), 0);
    log_drop(&map);
}
END_TEST

/* As many batches as a ring holds (level 4 keeps one slot back) between two steps, many times. */
START_TEST(bursts_are_consumed_whole)
{
    struct tide_sub_batch batch[8];
    make(_i, 5);
    struct tide_broker self = log_producer(&map, 0);
    struct tide_sub sub = log_reader(&map, 0, TIDE_LAYOUT_GATE);
    uint64_t sent = 0, got = 0;
    while (got < 100) {
        while (log_append(&self, 0, 1, 8, NULL))
            sent++;
        ck_assert_uint_eq(sent - got, _i == 4 ? 4 : 5);
        ck_assert_uint_eq(tide_seq_step(&map, 0, 100), sent - got);
        int now = tide_sub_poll(&sub, batch, 8);
        for (int i = 0; i < now; i++)
            ck_assert_uint_eq(batch[i].number, got++);
        tide_sub_done(&sub);
    }
    log_drop(&map);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("seq");
    TCase *tcase = tcase_create("seq");
    tcase_add_loop_test(tcase, published_slots_get_places_in_the_order_of_their_ring, 4, 6);
    tcase_add_loop_test(tcase, a_claim_that_is_out_stops_its_ring_and_no_other, 5, 6);
    tcase_add_test(tcase, one_at_a_time_scans_a_broker);
    tcase_add_loop_test(tcase, bursts_are_consumed_whole, 4, 6);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
