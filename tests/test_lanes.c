/* test_lanes.c - the layout of lanes: what is planned, written, and accepted again. */
#include "lane_case.h"

#include "box/crc.h"

static const struct tide_layout_wish small = {
    .level = 5, .brokers = 2, .producers = 3, .readers = 2, .slots = 5, .payload = 640};

START_TEST(parts_follow_each_other)
{
    struct tide_lanes map;
    lane_make(&map, small);
    ck_assert_uint_eq(map.lanes, 6);
    ck_assert_uint_eq(map.entries.size, 30);
    ck_assert_uint_eq(map.granules.size, 10);
    const void *parts[] = {map.head + 1,          map.session,        map.session + 3, map.reader,
                           map.reader + 2,        map.lane,           map.lane + 6,    map.index,
                           map.index + 30,        map.slot,           map.slot + 30,   map.payload,
                           map.payload + 6 * 640, map.base + map.size};
    for (size_t i = 0; i + 1 < sizeof parts / sizeof parts[0]; i++)
        ck_assert_uint_le((uintptr_t)parts[i], (uintptr_t)parts[i + 1]);
    ck_assert_ptr_eq(tide_lanes_slot(&map, 1, 7), map.slot + 5 + 2);
    ck_assert_ptr_eq(tide_lanes_entry(&map, 31), map.index + 1);
    lane_drop(&map);
}
END_TEST

START_TEST(payload_lies_in_a_row_or_nowhere)
{
    struct tide_lanes map;
    lane_make(&map, small);
    ck_assert_ptr_eq(tide_lanes_payload(&map, 1, 12, 100), map.payload + 640);
    ck_assert_ptr_null(tide_lanes_payload(&map, 1, 11, 100)); /* granules 9 and 10 */
    ck_assert_ptr_null(tide_lanes_payload(&map, 1, 20, 641));
    ck_assert_uint_eq(tide_lanes_most(&map), 128);
    ck_assert_uint_eq(tide_lanes_row(&map.slots, 8, 4), 2);
    lane_drop(&map);
}
END_TEST

START_TEST(bad_wishes_are_refused)
{
    struct tide_lanes_head plan;
    struct tide_layout_fault fault;
    const struct tide_layout_wish bad[] = {
        {.level = 0},
        {.level = 3},
        {.level = 5, .brokers = 33},
        {.level = 5, .producers = 65537},
        {.level = 5, .readers = 4097},
        {.level = 5, .slots = 1},
        {.level = 5, .payload = 192},
        {.level = 5, .payload = 321},
        {.level = 5, .producers = 64, .payload = UINT64_C(1) << 31},
        {.level = 5, .producers = 65536, .brokers = 32, .slots = 4096, .payload = 256},
        {.level = 5, .retain = TIDE_LAYOUT_RETAINS},
        {.level = 5, .features = TIDE_LAYOUT_STEPPED},
        {.level = 5, .first = UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_msg(!tide_lanes_plan(&plan, &bad[i], &fault), "wish %zu", i);
        ck_assert_ptr_nonnull(fault.what);
    }
}
END_TEST

START_TEST(damaged_heads_are_refused)
{
    struct tide_lanes map, again;
    struct tide_layout_fault fault;
    lane_make(&map, small);
    ck_assert(!tide_lanes_open(&again, map.coh, map.base, map.size - 4096, &fault));
    ck_assert(!tide_lanes_open(&again, map.coh, map.base, 100, &fault));
    for (size_t at = 0; at < 176; at += 4) {
        map.base[at] ^= 1;
        ck_assert_msg(!tide_lanes_open(&again, map.coh, map.base, map.size, &fault), "byte %zu",
                      at);
        map.base[at] ^= 1;
    }
    ck_assert(tide_lanes_open(&again, map.coh, map.base, map.size, &fault));
    ck_assert_mem_eq(map.head->id, ((const uint8_t[16]){7}), 16);
    lane_drop(&map);
}
END_TEST

/* As somebody makes it right who knows the format. */
static void sign(struct tide_lanes_head *head)
{
    unsigned char copy[256];
    memcpy(copy, (const void *)head, sizeof copy);
    memset(copy + offsetof(struct tide_lanes_head, magic), 0, sizeof head->magic);
    memset(copy + offsetof(struct tide_lanes_head, check), 0, sizeof head->check);
    head->check = tide_crc(0, copy, sizeof copy);
}

START_TEST(an_index_that_does_not_follow_from_the_lanes_is_refused)
{
    static const uint64_t entries[] = {0, 1, 63, 65, UINT64_C(1) << 20, UINT64_MAX};
    struct tide_lanes map, again;
    struct tide_layout_fault fault;
    lane_make(&map, (struct tide_layout_wish){.level = 5, .producers = 8});
    ck_assert_uint_eq(map.entries.size, 64);
    map.head->entries = entries[_i];
    sign(map.head);
    ck_assert(!tide_lanes_open(&again, map.coh, map.base, map.size, &fault));
    ck_assert_str_eq(fault.what, "entries of the order index");
    ck_assert_uint_eq(fault.value, entries[_i]);
    map.head->entries = 64;
    sign(map.head);
    ck_assert(tide_lanes_open(&again, map.coh, map.base, map.size, &fault));
    lane_drop(&map);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lanes");
    TCase *tcase = tcase_create("lanes");
    tcase_add_test(tcase, parts_follow_each_other);
    tcase_add_test(tcase, payload_lies_in_a_row_or_nowhere);
    tcase_add_test(tcase, bad_wishes_are_refused);
    tcase_add_test(tcase, damaged_heads_are_refused);
    tcase_add_loop_test(tcase, an_index_that_does_not_follow_from_the_lanes_is_refused, 0, 6);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
