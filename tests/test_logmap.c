/* test_logmap.c - a log's memory as pointers. */
#include "log_case.h"

START_TEST(a_new_log_can_be_opened_and_is_empty)
{
    struct tide_logmap map;
    log_make(&map, (struct tide_layout_wish){.level = 4, .slots = 5, .brokers = 3, .first = 1000});
    ck_assert_uint_eq(atomic_load(&map.head->committed), 1000);
    ck_assert_uint_eq(atomic_load(&map.head->trimmed_place), 1000);
    ck_assert_uint_eq(atomic_load(&map.head->epoch), 1);
    for (uint32_t i = 0; i < 3; i++) {
        ck_assert_uint_eq(atomic_load(&map.broker[i].released_slot), 1001);
        for (uint64_t slot = 990; slot < 1020; slot++)
            ck_assert_ptr_null(tide_ring_see(&map, i, slot));
    }
    for (uint64_t place = 990; place < 1020; place++)
        ck_assert_ptr_null(tide_order_see(&map, place));
    log_drop(&map);
}
END_TEST

START_TEST(memory_that_is_not_zero_gives_the_same_log)
{
    struct tide_logmap map, again;
    struct tide_layout_fault fault;
    struct tide_layout_head plan;
    struct tide_layout_wish wish = {.level = 5, .slots = 4, .payload = 256};
    static const uint8_t id[16] = {1, 2, 3};
    log_make(&map, wish);
    ck_assert(tide_layout_plan(&plan, &wish, &fault));
    unsigned char *dirty = malloc(plan.size);
    memset(dirty, 0xa5, plan.size);
    tide_logmap_format(dirty, &plan, id, false);
    ck_assert_int_eq(memcmp(dirty, map.base, plan.payload_at), 0);
    ck_assert(tide_logmap_open(&again, dirty, plan.size, &fault));
    free(dirty);
    log_drop(&map);
}
END_TEST

START_TEST(less_memory_than_a_head_is_no_log)
{
    struct tide_logmap map, other;
    struct tide_layout_fault fault;
    log_make(&map, (struct tide_layout_wish){.level = 5});
    ck_assert(!tide_logmap_open(&other, map.base, 4095, &fault));
    ck_assert_uint_eq(fault.value, 4095);
    ck_assert_uint_eq(fault.low, 4096);
    ck_assert(!tide_logmap_open(&other, map.base, 4096, &fault));
    ck_assert_uint_eq(fault.value, 4096);
    ck_assert_uint_eq(fault.low, map.size);
    atomic_store(&map.head->magic, 0);
    ck_assert(!tide_logmap_open(&other, map.base, map.size, &fault));
    log_drop(&map);
}
END_TEST

/* Positions run through the ring whatever its size, and neighbours never share a slot. */
START_TEST(positions_of_any_size_of_ring)
{
    static const uint64_t size[] = {2, 3, 7, 8, 12, 64, 1000};
    static const uint64_t from[] = {1, 0x7ffffff0, 0xfffffff0, (UINT64_C(1) << 63) - 20};
    for (int s = 0; s < 7; s++)
        for (int f = 0; f < 4; f++) {
            struct tide_logmap_ring ring = {size[s], tide_is_pow2(size[s]) ? size[s] - 1 : 0};
            for (uint64_t i = from[f]; i < from[f] + 40; i++)
                ck_assert_uint_eq(tide_logmap_at(&ring, i), i % size[s]);
        }
}
END_TEST

START_TEST(the_geometry_is_a_copy)
{
    struct tide_logmap map;
    log_make(&map, (struct tide_layout_wish){.level = 5, .slots = 8});
    struct tide_layout_slot *slot = tide_logmap_slot(&map, 0, 9);
    map.head->slots = 1 << 20;
    map.head->slots_at = 0;
    ck_assert_ptr_eq(tide_logmap_slot(&map, 0, 9), slot);
    ck_assert_ptr_eq(tide_logmap_slot(&map, 0, 9 + 8), slot);
    log_drop(&map);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {a_new_log_can_be_opened_and_is_empty,
                                  memory_that_is_not_zero_gives_the_same_log,
                                  less_memory_than_a_head_is_no_log,
                                  positions_of_any_size_of_ring,
                                  the_geometry_is_a_copy,
                                  NULL};
    return unit_main("logmap", tests);
}
