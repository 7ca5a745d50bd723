/* test_mend_rows.c - mend: slots that have places, in rows of 64 and longer, which it passes by a
 * word; and what lies between, before and behind them. */
#include "log_case.h"

#include "box/mend.h"

/* The ring went round twice, and is full but for what was trimmed. */
enum { SLOTS = 256, BATCHES = 600, TRIMMED = 400, FIRST = 7 };

static struct tide_logmap map;
static struct tide_mend_report report;
static struct tide_layout_fault fault;

static void trim(uint64_t limit)
{
    while (tide_trim_below(&map, 0, limit, false) > 0)
        ;
}

static uint64_t bit_of(uint64_t slot)
{
    return UINT64_C(1) << tide_logmap_at(&map.slots, slot) % 64;
}

static _Atomic uint64_t *retired(uint64_t slot)
{
    return tide_logmap_retired(&map, 0, tide_logmap_at(&map.slots, slot));
}

/* The batch at place p is in slot p + 1. */
static void fill(void)
{
    log_make(&map, (struct tide_layout_wish){.level = 5,
                                             .brokers = 1,
                                             .slots = SLOTS,
                                             .payload = (uint64_t)SLOTS * 64,
                                             .first = FIRST});
    struct tide_broker client = log_producer(&map, 0);
    for (uint64_t i = 0; i < BATCHES; i++) {
        if (i % 100 == 0 && i >= 200)
            trim(FIRST + i - 100);
        ck_assert(log_append(&client, 0, 1, 8, NULL));
    }
    trim(FIRST + TRIMMED);
    ck_assert_uint_eq(map.broker[0].released_slot, FIRST + TRIMMED + 1);
    memset(&report, 0, sizeof report);
}

/* Puts it in order: so many were in theirs, and there are so many. */
static void mend(uint64_t kept, uint64_t all)
{
    uint64_t head = map.broker[0].claim, granule = map.broker[0].released_granule;
    int error = tide_mend(&map, &report, &fault);
    ck_assert_msg(error == 0, "%s: %llu", fault.what, (unsigned long long)fault.value);
    ck_assert_uint_eq(report.kept, kept);
    ck_assert_uint_eq(map.broker[0].claim, head);
    ck_assert_uint_eq(map.broker[0].released_granule, granule);
    ck_assert_uint_eq(tide_order_frontier(&map, UINT64_MAX), FIRST + all);
    for (uint64_t place = FIRST + TRIMMED; place < FIRST + all; place++) {
        uint64_t slot = tide_logmap_entry(&map, place)->slot;
        ck_assert_uint_eq(*retired(slot) & bit_of(slot), 0);
    }
    struct tide_sub reader = log_reader(&map, 0, TIDE_LAYOUT_GATE);
    struct tide_sub_batch batch;
    for (uint64_t i = TRIMMED; i < all; i++) {
        ck_assert_int_eq(tide_sub_poll(&reader, &batch, 1), 1);
        ck_assert(log_is_right(&batch));
    }
    ck_assert_int_eq(tide_sub_poll(&reader, &batch, 1), 0);
    tide_sub_close(&reader);
    trim(FIRST + all); /* to the last slot and granule */
    ck_assert_uint_eq(map.broker[0].released_slot << 32 | (uint32_t)map.broker[0].released_granule,
                      head);
    log_drop(&map);
}

START_TEST(what_is_right_stays)
{
    fill();
    mend(BATCHES - TRIMMED, BATCHES);
}
END_TEST

/* Somebody was about to let a slot go that has its place again since. Loop index: where. */
START_TEST(a_bit_in_a_row_goes)
{
    fill();
    uint64_t slot = FIRST + TRIMMED + (uint64_t)_i + 1;
    *retired(slot) |= bit_of(slot);
    mend(BATCHES - TRIMMED, BATCHES);
}
END_TEST

/* A place that was taken and not filled: its slot gets the last one. */
START_TEST(a_hole_behind_rows)
{
    fill();
    tide_logmap_entry(&map, FIRST + TRIMMED + (uint64_t)_i)->seq = 0;
    mend((uint64_t)_i, BATCHES);
    ck_assert_uint_eq(report.placed, 1);
    ck_assert_uint_eq(report.moved, (uint64_t)(BATCHES - TRIMMED - 1 - _i));
}
END_TEST

/* A claim that was not published: a pad, that ends where the batch before it does. */
START_TEST(a_pad_between_rows)
{
    fill();
    uint64_t place = FIRST + TRIMMED + (uint64_t)_i;
    struct tide_layout_slot *slot = tide_logmap_slot(&map, 0, place + 1);
    tide_logmap_entry(&map, place)->seq = 0;
    slot->publish = 0;
    slot->end = 0;
    uint64_t before = tide_logmap_slot(&map, 0, place)->end;
    uint64_t claim = map.broker[0].claim;
    ck_assert_int_eq(tide_mend(&map, &report, &fault), 0);
    ck_assert_uint_eq(report.padded, 1);
    ck_assert_uint_eq(slot->end, before);
    ck_assert_uint_eq(map.broker[0].claim, claim);
    mend(BATCHES - TRIMMED - 1, BATCHES - 1);
}
END_TEST

/* An entry that names a slot of another lap, which was released or never claimed. */
START_TEST(a_slot_of_another_lap)
{
    fill();
    tide_logmap_entry(&map, FIRST + BATCHES - 1)->slot += (uint64_t)(_i * SLOTS);
    mend(BATCHES - TRIMMED - 1, BATCHES);
    ck_assert_uint_eq(report.placed, 1);
}
END_TEST

/* Nobody fills an entry whose slot is not published. */
START_TEST(a_place_without_a_slot)
{
    fill();
    tide_logmap_slot(&map, 0, FIRST + BATCHES)->publish = 0;
    ck_assert_int_eq(tide_mend(&map, &report, &fault), -EUCLEAN);
    ck_assert_str_eq(fault.what, "slots of batches that have places");
    ck_assert_uint_eq(fault.value, BATCHES - TRIMMED);
    ck_assert_uint_eq(fault.high, BATCHES - TRIMMED - 1);
    log_drop(&map);
}
END_TEST

/* A batch behind a hole is moved only if its slot has it. */
START_TEST(a_place_behind_a_hole_without_a_slot)
{
    fill();
    uint64_t place = FIRST + BATCHES - 50;
    tide_logmap_entry(&map, place - 1)->seq = 0;
    tide_logmap_slot(&map, 0, place + 1)->publish = 0;
    ck_assert_int_eq(tide_mend(&map, &report, &fault), 0);
    ck_assert_uint_eq(report.kept, BATCHES - TRIMMED - 51);
    ck_assert_uint_eq(report.moved, 49);
    ck_assert_uint_eq(report.padded, 1);
    ck_assert_uint_eq(report.placed, 1);
    log_drop(&map);
}
END_TEST

/* Of slots that nobody has no bit is left, wherever the ring's last word of 64 bits ends. */
START_TEST(no_free_slot_is_done_with)
{
    log_make(&map, (struct tide_layout_wish){.level = 5,
                                             .brokers = 1,
                                             .slots = 64 + 4 * (uint64_t)_i,
                                             .payload = UINT64_C(128) * 64,
                                             .first = FIRST});
    struct tide_broker client = log_producer(&map, 0);
    for (uint64_t i = 0; i < 45; i++)
        ck_assert(log_append(&client, 0, 1, 8, NULL));
    trim(FIRST + 38);
    uint64_t from = map.broker[0].released_slot;
    for (uint64_t slot = from + 7; slot < from + map.slots.size; slot++) {
        *retired(slot) |= bit_of(slot);
        ck_assert_int_eq(tide_mend(&map, &report, &fault), 0);
        ck_assert_uint_eq(report.kept, 7);
        ck_assert_msg((*retired(slot) & bit_of(slot)) == 0, "slot %llu behind the first",
                      (unsigned long long)(slot - from));
    }
    log_drop(&map);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mend_rows");
    TCase *tcase = tcase_create("mend_rows");
    tcase_add_test(tcase, what_is_right_stays);
    tcase_add_loop_test(tcase, a_bit_in_a_row_goes, 0, BATCHES - TRIMMED);
    tcase_add_loop_test(tcase, a_hole_behind_rows, 0, BATCHES - TRIMMED);
    tcase_add_loop_test(tcase, a_pad_between_rows, 1, BATCHES - TRIMMED - 1);
    tcase_add_loop_test(tcase, a_slot_of_another_lap, -1, 0);
    tcase_add_loop_test(tcase, a_slot_of_another_lap, 1, 2);
    tcase_add_test(tcase, a_place_without_a_slot);
    tcase_add_test(tcase, a_place_behind_a_hole_without_a_slot);
    tcase_add_loop_test(tcase, no_free_slot_is_done_with, 0, 17);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
