/* test_broker.c - the producing side. */
#include "log_case.h"

#include "box/crc.h"

static struct tide_logmap map;

static void make(struct tide_layout_wish wish)
{
    log_make(&map, wish);
}

START_TEST(inline_batches_have_their_places_at_once)
{
    struct tide_broker_result result;
    make((struct tide_layout_wish){.level = 5, .brokers = 2});
    struct tide_broker self = log_producer(&map, 3);
    for (uint64_t i = 0; i < 10; i++) {
        ck_assert(log_append(&self, i % 2, 3, 100, &result));
        ck_assert(result.ordered);
        ck_assert_uint_eq(result.at.place, i);
        ck_assert_uint_eq(result.at.base, 3 * i);
        ck_assert_uint_eq(result.number, i);
        ck_assert_uint_eq(result.slot, i / 2 + 1);
    }
    log_drop(&map);
}
END_TEST

START_TEST(stepped_batches_and_level_0_have_none)
{
    struct tide_broker_result result;
    make((struct tide_layout_wish){.level = _i ? 5 : 0, .features = _i ? TIDE_LAYOUT_STEPPED : 0});
    struct tide_broker self = log_producer(&map, 3);
    ck_assert(log_append(&self, 0, 1, 100, &result));
    ck_assert(!result.ordered);
    ck_assert_ptr_nonnull(tide_ring_see(&map, 0, result.slot));
    log_drop(&map);
}
END_TEST

START_TEST(a_slot_says_who_sent_what)
{
    make((struct tide_layout_wish){.level = 0, .features = TIDE_LAYOUT_CHECKSUM});
    struct tide_broker self = log_producer(&map, 7);
    self.epoch = 9;
    self.next = 55;
    ck_assert(log_append(&self, 0, 4, 200, NULL));
    const struct tide_layout_slot *slot = tide_ring_see(&map, 0, 1);
    ck_assert_uint_eq(slot->index, 1);
    ck_assert_uint_eq(slot->client, 7);
    ck_assert_uint_eq(slot->epoch, 9);
    ck_assert_uint_eq(slot->number, 55);
    ck_assert_uint_eq(slot->count, 4);
    ck_assert_uint_eq(slot->size, 200);
    ck_assert_uint_eq(slot->flags, 0);
    ck_assert_uint_eq(slot->checksum, tide_crc(0, map.base + slot->offset, 200));
    log_drop(&map);
}
END_TEST

START_TEST(aborted_claims_are_pads_and_keep_their_number)
{
    struct tide_broker_result result;
    make((struct tide_layout_wish){.level = 4});
    struct tide_broker self = log_producer(&map, 0);
    ck_assert(tide_broker_claim(&self, 0, 50));
    ck_assert(self.claimed);
    tide_broker_abort(&self);
    ck_assert(!self.claimed);
    ck_assert_uint_eq(tide_ring_see(&map, 0, 1)->flags, TIDE_LAYOUT_PAD);
    ck_assert(log_append(&self, 0, 1, 50, &result));
    ck_assert_uint_eq(result.number, 0);
    ck_assert_uint_eq(result.at.place, 0);
    log_drop(&map);
}
END_TEST

/* Exactly full, exactly empty, on rings of odd sizes and more than three laps of them. */
START_TEST(a_full_ring_says_so_and_goes_on)
{
    static const uint64_t slots[] = {2, 3, 5, 7, 8};
    static const uint64_t first[] = {0, 0x7ffffffd, 0xfffffffd, (UINT64_C(1) << 63) - 3};
    struct tide_sub_batch batch;
    for (int f = 0; f < 4; f++) {
        make((struct tide_layout_wish){
            .level = _i % 2 ? 5 : 0, .slots = slots[_i / 2], .payload = 64 * 8, .first = first[f]});
        struct tide_broker self = log_producer(&map, 0);
        struct tide_sub sub = log_reader(&map, 0, TIDE_LAYOUT_GATE);
        for (uint64_t lap = 0; lap < 5; lap++) {
            for (uint64_t i = 0; i < slots[_i / 2]; i++)
                ck_assert(log_append(&self, 0, 1, 64, NULL));
            ck_assert(!log_append(&self, 0, 1, 64, NULL));
            ck_assert_int_eq(tide_sub_poll(&sub, &batch, 1), 1);
            tide_sub_done(&sub);
            ck_assert(log_append(&self, 0, 1, 64, NULL));
            ck_assert(!log_append(&self, 0, 1, 64, NULL));
            while (tide_sub_poll(&sub, &batch, 1) == 1)
                ck_assert(log_is_right(&batch));
            ck_assert_uint_eq(sub.next, first[f] + (lap + 1) * (slots[_i / 2] + 1) + !(_i % 2));
        }
        log_drop(&map);
    }
}
END_TEST

START_TEST(entries_of_the_table_are_used_again)
{
    struct tide_broker self[3];
    make((struct tide_layout_wish){.level = 5, .producers = 2});
    ck_assert(tide_broker_open(&self[0], &map, 0, 1, 0));
    ck_assert(tide_broker_open(&self[1], &map, 1, 1, 0));
    ck_assert(!tide_broker_open(&self[2], &map, 2, 1, 0));
    tide_broker_close(&self[0]);
    ck_assert(tide_broker_open(&self[2], &map, 2, 1, 0));
    ck_assert_ptr_eq(self[2].entry, &map.producer[0]);
    ck_assert_uint_eq(map.producer[0].client, 2);
    log_drop(&map);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("broker");
    TCase *tcase = tcase_create("broker");
    tcase_add_test(tcase, inline_batches_have_their_places_at_once);
    tcase_add_loop_test(tcase, stepped_batches_and_level_0_have_none, 0, 2);
    tcase_add_test(tcase, a_slot_says_who_sent_what);
    tcase_add_test(tcase, aborted_claims_are_pads_and_keep_their_number);
    tcase_add_loop_test(tcase, a_full_ring_says_so_and_goes_on, 0, 10);
    tcase_add_test(tcase, entries_of_the_table_are_used_again);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
