/* test_retire.c - the ring in which blocks wait to be given back, and what a full one holds. */
#include "log_case.h"

#include "box/retire.h"

static struct tide_logmap map;
static struct tide_broker producer;
static unsigned char area[64][64];

static void make(struct tide_layout_wish wish)
{
    log_make(&map, wish);
    map.area = &area[0][0];
    map.area_size = sizeof area;
    producer = log_producer(&map, 0);
}

/* A batch in area[i], with i as the word that names its heap. False: full. */
static bool refer(uint32_t broker, unsigned i)
{
    struct tide_broker_result result;
    struct tide_broker_block block = {area[i], i, 64, 1};
    if (!tide_broker_claim(&producer, broker, 0))
        return false;
    area[i][0] = (unsigned char)i;
    tide_broker_commit_block(&producer, &block, &result);
    return true;
}

static unsigned char *at(const struct tide_layout_retire *retired)
{
    return map.base + (ptrdiff_t)retired->offset;
}

/* Exactly these blocks, in this order, can be taken now. */
static void check_taken(unsigned first, unsigned count)
{
    struct tide_layout_retire out[64];
    ck_assert_uint_eq(tide_retire_waiting(&map), count);
    ck_assert_uint_eq(tide_retire_take(&map, out, 64), count);
    for (unsigned i = 0; i < count; i++) {
        ck_assert_ptr_eq(at(&out[i]), area[first + i]);
        ck_assert_uint_eq(out[i].keeper, first + i);
    }
    ck_assert_uint_eq(tide_retire_waiting(&map), 0);
}

static void trim(uint32_t broker)
{
    while (tide_trim_below(&map, broker, UINT64_MAX, false) != 0)
        ;
}

static const uint32_t levels[] = {0, 4, 5};

START_TEST(a_block_waits_from_the_release_of_its_slot_until_it_is_taken)
{
    make((struct tide_layout_wish){.level = levels[_i], .slots = 8, .payload = 1024});
    struct tide_sub sub = log_reader(&map, 0, TIDE_LAYOUT_GATE);
    struct tide_sub_batch batch;
    for (unsigned i = 0; i < 3; i++)
        ck_assert(refer(0, i));
    trim(0);
    check_taken(0, 0);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(tide_sub_poll(&sub, &batch, 1), 1);
        ck_assert_ptr_eq(batch.data, area[i]);
        ck_assert_uint_eq(batch.size, 64);
    }
    tide_sub_done(&sub);
    trim(0);
    check_taken(0, 2);
    tide_sub_close(&sub);
    trim(0);
    check_taken(2, 1);
    log_drop(&map);
}
END_TEST

START_TEST(batches_by_reference_take_nothing_of_the_payload_ring)
{
    make((struct tide_layout_wish){.level = levels[_i], .slots = 63, .payload = 256});
    for (unsigned i = 0; i < 40; i++)
        ck_assert(refer(0, i));
    ck_assert_uint_eq(tide_ring_head(&map, 0).granule, 0);
    ck_assert(log_append(&producer, 0, 1, 64, NULL));
    ck_assert_uint_eq(tide_ring_head(&map, 0).granule, 1);
    trim(0);
    check_taken(0, 40);
    log_drop(&map);
}
END_TEST

/* Counters around 2^32 and 2^63 too; three laps of a ring of 3. */
START_TEST(laps_of_a_small_ring)
{
    static const uint64_t first[] = {0, (UINT64_C(1) << 32) - 4, (UINT64_C(1) << 63) - 4};
    make((struct tide_layout_wish){
        .level = levels[_i % 3], .slots = 3, .payload = 256, .first = first[_i / 3]});
    for (unsigned i = 0; i < 12; i += 2) {
        ck_assert(refer(0, i));
        ck_assert(refer(0, i + 1));
        trim(0);
        check_taken(i, 2);
    }
    log_drop(&map);
}
END_TEST

/* Nothing is lost, nothing is overwritten, and it goes on where it stopped. */
START_TEST(a_full_ring_holds_trimming_back)
{
    make((struct tide_layout_wish){.level = levels[_i], .slots = 4, .payload = 1024});
    for (unsigned i = 0; i < 3; i++)
        ck_assert(refer(0, i));
    trim(0);
    for (unsigned i = 3; i < 6; i++)
        ck_assert(refer(0, i));
    trim(0);
    ck_assert(tide_retire_is_full(&map));
    ck_assert_uint_eq(tide_trim_earliest(&map, 0), 4 + (levels[_i] == 0));
    ck_assert_uint_eq(atomic_load(&map.broker[0].released_slot), 5);
    while (log_append(&producer, 0, 1, 64, NULL))
        ;
    ck_assert_uint_eq(tide_ring_head(&map, 0).slot,
                      levels[_i] == 4 ? 8 : 9); /* level 4 keeps one */
    check_taken(0, 4);
    trim(0);
    check_taken(4, 2);
    ck_assert(log_append(&producer, 0, 1, 64, NULL));
    log_drop(&map);
}
END_TEST

/* Two rings give their slots back in another order than their places were given. */
START_TEST(slots_that_wait_for_others_keep_their_blocks)
{
    struct tide_ring_claim first;
    struct tide_ring_batch pad = {0, 0, 0, 0, 0, TIDE_LAYOUT_PAD, 0};
    make((struct tide_layout_wish){.level = 5, .brokers = 2, .slots = 4, .payload = 1024});
    ck_assert(tide_ring_claim(&map, 0, 64, TIDE_RING_ALL, &producer.entry->claim, &first));
    for (unsigned i = 0; i < 3; i++)
        ck_assert(refer(0, i));
    trim(0);
    ck_assert_uint_eq(tide_trim_earliest(&map, 0), 3);
    check_taken(0, 0);
    for (unsigned i = 3; i < 6; i++)
        ck_assert(refer(1, i));
    trim(0);
    check_taken(3, 3);
    tide_ring_publish(&map, &first, &pad, 0);
    tide_trim_drop(&map, 0, tide_logmap_at(&map.slots, first.slot));
    trim(0);
    check_taken(0, 3);
    log_drop(&map);
}
END_TEST

/* Held slots of a ring that is full of blocks: released as far as there is room, later on. */
START_TEST(what_found_no_room_is_still_retired_later)
{
    struct tide_ring_claim first;
    struct tide_ring_batch pad = {0, 0, 0, 0, 0, TIDE_LAYOUT_PAD, 0};
    make((struct tide_layout_wish){.level = 5, .brokers = 2, .slots = 4, .payload = 1024});
    ck_assert(tide_ring_claim(&map, 0, 64, TIDE_RING_ALL, &producer.entry->claim, &first));
    for (unsigned i = 0; i < 3; i++)
        ck_assert(refer(0, i));
    trim(0);
    for (unsigned i = 3; i < 5; i++)
        ck_assert(refer(1, i));
    trim(0);
    ck_assert_uint_eq(tide_retire_waiting(&map), 2);
    tide_ring_publish(&map, &first, &pad, 0);
    tide_trim_drop(&map, 0, tide_logmap_at(&map.slots, first.slot));
    trim(0);
    ck_assert(tide_retire_is_full(&map));
    ck_assert_uint_eq(atomic_load(&map.broker[0].released_slot), 4);
    struct tide_layout_retire out[8];
    ck_assert_uint_eq(tide_retire_take(&map, out, 8), 4);
    trim(0);
    check_taken(2, 1);
    ck_assert_uint_eq(atomic_load(&map.broker[0].released_slot), 5);
    log_drop(&map);
}
END_TEST

/* Places that were trimmed while another ring's slots, free at last, took the room. */
START_TEST(what_is_trimmed_and_found_no_room_is_retired_later)
{
    struct tide_ring_claim first;
    struct tide_ring_batch pad = {0, 0, 0, 0, 0, TIDE_LAYOUT_PAD, 0};
    make((struct tide_layout_wish){.level = 5, .brokers = 2, .slots = 4, .payload = 1024});
    ck_assert(tide_ring_claim(&map, 0, 64, TIDE_RING_ALL, &producer.entry->claim, &first));
    for (unsigned i = 0; i < 3; i++)
        ck_assert(refer(0, i));
    trim(0);
    for (unsigned i = 3; i < 5; i++)
        ck_assert(refer(1, i));
    tide_ring_publish(&map, &first, &pad, 0);
    tide_trim_drop(&map, 0, tide_logmap_at(&map.slots, first.slot));
    trim(0);
    ck_assert_uint_eq(tide_trim_earliest(&map, 0), 5);
    ck_assert_uint_eq(atomic_load(&map.broker[1].released_slot), 2);
    check_taken(0, 4);
    trim(0);
    check_taken(4, 1);
    ck_assert_uint_eq(atomic_load(&map.broker[1].released_slot), 3);
    log_drop(&map);
}
END_TEST

static void step(void)
{
    if (map.stepped)
        tide_seq_step(&map, 0, 8);
}

/* Early batches that are dropped with their session; one that is late stays its producer's. */
START_TEST(dropped_batches_of_level_4)
{
    uint64_t next;
    struct tide_broker_result result;
    struct tide_broker_block block = {area[9], 9, 64, 1};
    make((struct tide_layout_wish){
        .level = 4, .slots = 8, .features = _i ? TIDE_LAYOUT_STEPPED : 0, .payload = 1024});
    producer.next = 1;
    for (unsigned i = 0; i < 3; i++)
        ck_assert(refer(0, i));
    step();
    trim(0);
    check_taken(0, 0);
    producer.epoch = tide_session_open(&map, 0, &next);
    trim(0);
    check_taken(0, 3);
    producer.next = 0;
    ck_assert(refer(0, 3));
    producer.next = 0;
    ck_assert(tide_broker_claim(&producer, 0, 0));
    tide_broker_commit_block(&producer, &block, &result);
    ck_assert_int_eq(result.verdict, _i ? TIDE_SESSION_PLACED : TIDE_SESSION_LATE);
    step();
    trim(0);
    struct tide_layout_retire out[8];
    ck_assert_uint_eq(tide_retire_take(&map, out, 8), _i ? 2 : 1);
    ck_assert_uint_eq(atomic_load(&map.broker[0].released_slot), 6);
    log_drop(&map);
}
END_TEST

START_TEST(a_full_ring_detaches_nobody)
{
    make((struct tide_layout_wish){
        .level = _i ? 5 : 0, .slots = 4, .payload = 1024, .retain = TIDE_LAYOUT_OLD});
    for (unsigned i = 0; i < 4; i++)
        ck_assert(refer(0, i));
    trim(0);
    for (unsigned i = 4; i < 8; i++)
        ck_assert(refer(0, i));
    struct tide_sub sub = log_reader(&map, 0, TIDE_LAYOUT_DETACH);
    ck_assert(!refer(0, 8));
    ck_assert_uint_eq(atomic_load(&sub.entry->fate), 0);
    check_taken(0, 4);
    ck_assert(refer(0, 8));
    ck_assert_uint_eq(atomic_load(&sub.entry->fate), 1);
    log_drop(&map);
}
END_TEST

/* --- between any two steps ---------------------------------------------------------------- */

/* Looked at before every access of shared words: what can be taken is gone for readers. */
static void check_gone(void)
{
    uint64_t from = atomic_load(&map.head->reclaimed), to = atomic_load(&map.head->retired);
    uint64_t gone = map.level == 0 ? atomic_load(&map.broker[0].released_slot) - 1
                                   : atomic_load(&map.head->trimmed_place);
    for (; from < to; from++)
        ck_assert_uint_lt(map.retire[from % map.slots.size].keeper, gone);
}

START_TEST(readers_see_that_a_block_is_gone_before_it_can_be_taken)
{
    make((struct tide_layout_wish){.level = levels[_i], .slots = 8, .payload = 1024});
    for (unsigned i = 0; i < 6; i++)
        ck_assert(refer(0, i));
    tide_coh_hook = check_gone;
    for (unsigned i = 1; i <= 6; i += 2)
        tide_trim_below(&map, 0, i + (levels[_i] == 0), false);
    trim(0);
    tide_coh_hook = NULL;
    check_taken(0, 6);
    log_drop(&map);
}
END_TEST

static unsigned steps;

/* After so many steps of the reader the block is trimmed, taken and used again. */
static void overwrite(void)
{
    struct tide_layout_retire out;
    if (steps-- != 0)
        return;
    tide_coh_hook = NULL;
    trim(0);
    ck_assert_uint_eq(tide_retire_take(&map, &out, 1), 1);
    memset(at(&out), 0xee, 64);
}

START_TEST(a_copy_of_a_block_that_goes_meanwhile_is_not_delivered)
{
    bool gone = true;
    unsigned step = 0;
    for (; gone; step++) {
        struct tide_sub_batch batch;
        make((struct tide_layout_wish){.level = levels[_i], .slots = 8, .payload = 1024});
        struct tide_sub sub = log_reader(&map, 0, TIDE_LAYOUT_SKIP);
        memset(area[1], 1, 64);
        ck_assert(refer(0, 1));
        steps = step;
        tide_coh_hook = overwrite;
        int got = tide_sub_poll(&sub, &batch, 1);
        gone = tide_coh_hook == NULL;
        tide_coh_hook = NULL;
        ck_assert(gone || got == 1);
        UNIT_HOLD(got == -EOVERFLOW || (got == 1 && batch.data[0] == 1 && batch.data[63] == 1),
                  "step %u gave %d", step, got);
        tide_sub_close(&sub);
        log_drop(&map);
    }
    ck_assert_uint_gt(step, 4);
}
END_TEST

/* --- limits ----------------------------------------------------------------------------- */

START_TEST(a_block_outside_of_the_region_is_not_delivered)
{
    struct tide_sub_batch batch;
    enum tide_layout_policy policy = _i ? TIDE_LAYOUT_SKIP : TIDE_LAYOUT_GATE;
    make((struct tide_layout_wish){.level = 5, .slots = 4, .payload = 1024});
    struct tide_sub sub = log_reader(&map, 0, policy);
    ck_assert(refer(0, 63));
    map.area_size--;
    ck_assert_int_eq(tide_sub_poll(&sub, &batch, 1), -EBADMSG);
    map.area_size++;
    map.area++;
    ck_assert_int_eq(tide_sub_poll(&sub, &batch, 1), 1);
    map.area += 63 * 64;
    sub.next = 0;
    ck_assert_int_eq(tide_sub_poll(&sub, &batch, 1), -EBADMSG);
    map.area = NULL;
    map.area_size = 0;
    ck_assert_int_eq(tide_sub_poll(&sub, &batch, 1), -EBADMSG);
    log_drop(&map);
}
END_TEST

START_TEST(messages_of_blocks_and_rings_are_fewer_than_2_to_the_32)
{
    struct tide_logmap big = {.brokers = 3, .slots = {1000, 0}, .granules = {4, 3}};
    ck_assert_uint_eq(tide_broker_block_most(&big), (UINT32_MAX - 3 * 16) / 3000);
    big.granules.size = ((UINT64_C(1) << 36) - 64) / 64;
    big.brokers = 1;
    ck_assert_uint_eq(tide_broker_block_most(&big), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("retire");
    TCase *tcase = tcase_create("retire");
    tcase_add_loop_test(tcase, a_block_waits_from_the_release_of_its_slot_until_it_is_taken, 0, 3);
    tcase_add_loop_test(tcase, batches_by_reference_take_nothing_of_the_payload_ring, 0, 3);
    tcase_add_loop_test(tcase, laps_of_a_small_ring, 0, 9);
    tcase_add_loop_test(tcase, a_full_ring_holds_trimming_back, 0, 3);
    tcase_add_test(tcase, slots_that_wait_for_others_keep_their_blocks);
    tcase_add_test(tcase, what_found_no_room_is_still_retired_later);
    tcase_add_test(tcase, what_is_trimmed_and_found_no_room_is_retired_later);
    tcase_add_loop_test(tcase, dropped_batches_of_level_4, 0, 2);
    tcase_add_loop_test(tcase, a_full_ring_detaches_nobody, 0, 2);
    tcase_add_loop_test(tcase, readers_see_that_a_block_is_gone_before_it_can_be_taken, 0, 3);
    tcase_add_loop_test(tcase, a_copy_of_a_block_that_goes_meanwhile_is_not_delivered, 0, 3);
    tcase_add_loop_test(tcase, a_block_outside_of_the_region_is_not_delivered, 0, 2);
    tcase_add_test(tcase, messages_of_blocks_and_rings_are_fewer_than_2_to_the_32);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
