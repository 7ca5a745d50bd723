/* test_ring.c - claims and publication in a broker's ring. */
#include "log_case.h"

#include <pthread.h>

static struct tide_logmap map;
static _Atomic uint64_t note;

static void make(uint64_t slots, uint64_t granules, uint64_t first)
{
    log_make(
        &map,
        (struct tide_layout_wish){
            .level = 0, .slots = slots, .payload = 64 * granules, .brokers = 2, .first = first});
}

static void publish(const struct tide_ring_claim *claim, uint32_t size)
{
    struct tide_ring_batch batch = {7, 8, 9, 1, size, 0, 0};
    tide_ring_publish(&map, claim, &batch, 0);
}

static void release(uint32_t broker, uint64_t slot, uint64_t granule)
{
    atomic_store(&map.broker[broker].released_granule, granule);
    atomic_store(&map.broker[broker].released_slot, slot);
}

START_TEST(slots_are_given_in_order_until_the_ring_is_full)
{
    static const uint64_t first[] = {0, 0x7ffffffe, 0xfffffffe, (UINT64_C(1) << 63) - 2};
    struct tide_ring_claim claim;
    make(3, 16, first[_i]);
    for (uint64_t i = 1; i <= 3; i++) {
        ck_assert(tide_ring_fits(&map, 0, 64, TIDE_RING_ALL));
        ck_assert(tide_ring_claim(&map, 0, 1, TIDE_RING_ALL, &note, &claim));
        ck_assert_uint_eq(claim.slot, first[_i] + i);
        ck_assert_uint_eq(claim.end - claim.granule, 1);
        ck_assert_uint_eq((uint32_t)atomic_load(&note), (uint32_t)claim.slot);
        publish(&claim, 1);
    }
    ck_assert(!tide_ring_fits(&map, 0, 1, TIDE_RING_ALL));
    ck_assert(!tide_ring_claim(&map, 0, 1, TIDE_RING_ALL, &note, &claim));
    ck_assert_uint_eq(tide_ring_head(&map, 0).slot, first[_i] + 4);
    ck_assert(tide_ring_claim(&map, 1, 1, TIDE_RING_ALL, &note, &claim));
    release(0, first[_i] + 2, first[_i] + 1);
    ck_assert(tide_ring_claim(&map, 0, 1, TIDE_RING_ALL, &note, &claim));
    ck_assert_uint_eq(claim.slot, first[_i] + 4);
    ck_assert(!tide_ring_claim(&map, 0, 1, TIDE_RING_ALL, &note, &claim));
    log_drop(&map);
}
END_TEST

START_TEST(payload_is_contiguous_and_never_given_twice)
{
    struct tide_ring_claim claim;
    make(1000, 11, 0); /* odd: some claims of two come to the last one */
    ck_assert_uint_eq(tide_ring_most(&map), 2 * 64);
    uint64_t end = 0, skipped = 0;
    for (int i = 0; i < 100; i++) {
        uint32_t bytes = i % 3 == 0 ? 100 : 64;
        ck_assert(tide_ring_claim(&map, 0, bytes, TIDE_RING_ALL, &note, &claim));
        ck_assert_uint_ge(claim.granule, end);
        ck_assert_uint_le(claim.granule - end, 1);
        skipped += claim.granule - end;
        ck_assert_uint_eq((uintptr_t)claim.payload % 64, 0);
        ck_assert(claim.payload >= map.payload);
        ck_assert(claim.payload + claim.room <= map.payload + 704);
        ck_assert_uint_ge(claim.room, bytes);
        end = claim.end;
        release(0, claim.slot, claim.granule);
    }
    ck_assert_uint_gt(skipped, 1);
    release(0, claim.slot + 1, claim.end);
    uint64_t all = 0;
    while (tide_ring_claim(&map, 0, 64, TIDE_RING_ALL, &note, &claim))
        all++;
    ck_assert_uint_eq(all, 11);
    log_drop(&map);
}
END_TEST

START_TEST(a_slot_is_seen_when_it_is_published_and_not_a_lap_later)
{
    struct tide_ring_claim claim[3];
    make(2, 16, 0);
    for (int i = 0; i < 2; i++)
        ck_assert(tide_ring_claim(&map, 0, 64, TIDE_RING_ALL, &note, &claim[i]));
    publish(&claim[1], 33);
    ck_assert_ptr_null(tide_ring_see(&map, 0, 1));
    const struct tide_layout_slot *slot = tide_ring_see(&map, 0, 2);
    ck_assert_ptr_nonnull(slot);
    ck_assert_uint_eq(slot->number, 7);
    ck_assert_uint_eq(slot->client, 8);
    ck_assert_uint_eq(slot->epoch, 9);
    ck_assert_uint_eq(slot->size, 33);
    ck_assert_uint_eq(slot->end, claim[1].end);
    ck_assert_ptr_eq(map.base + slot->offset, claim[1].payload);
    ck_assert_ptr_null(tide_ring_see(&map, 0, 4));
    publish(&claim[0], 1);
    ck_assert_ptr_nonnull(tide_ring_see(&map, 0, 1));
    release(0, 2, claim[0].end);
    ck_assert(tide_ring_claim(&map, 0, 64, TIDE_RING_ALL, &note, &claim[2]));
    ck_assert_ptr_null(tide_ring_see(&map, 0, 3));
    publish(&claim[2], 1);
    ck_assert_ptr_nonnull(tide_ring_see(&map, 0, 3));
    ck_assert_ptr_null(tide_ring_see(&map, 0, 1));
    log_drop(&map);
}
END_TEST

START_TEST(some_claims_leave_room)
{
    static const uint64_t slots[] = {2, 3, 8, 64}, most[] = {1, 2, 7, 56}, half[] = {1, 1, 4, 32};
    struct tide_ring_claim claim;
    uint64_t count = 0;
    make(slots[_i], 1000, 0);
    while (tide_ring_claim(&map, 0, 64, TIDE_RING_HALF, &note, &claim))
        count++;
    ck_assert_uint_eq(count, half[_i]);
    while (tide_ring_claim(&map, 0, 64, TIDE_RING_MOST, &note, &claim))
        count++;
    ck_assert_uint_eq(count, most[_i]);
    ck_assert(tide_ring_fits(&map, 0, 64, TIDE_RING_ALL));
    log_drop(&map);
    make(1000, 16, 0);
    for (count = 0; tide_ring_claim(&map, 0, 256, TIDE_RING_HALF, &note, &claim);)
        count++;
    ck_assert_uint_eq(count, 2);
    for (; tide_ring_claim(&map, 0, 256, TIDE_RING_MOST, &note, &claim);)
        count++;
    ck_assert_uint_eq(count, 3);
    ck_assert(tide_ring_claim(&map, 0, 256, TIDE_RING_ALL, &note, &claim));
    ck_assert(!tide_ring_claim(&map, 0, 1, TIDE_RING_ALL, &note, &claim));
    log_drop(&map);
}
END_TEST

/* --- threads ----------------------------------------------------------------------- */

enum { THREADS = 4, EACH = 5000 };

static _Atomic uint32_t taken[THREADS * EACH + 2];

static void *claim_many(void *unused)
{
    _Atomic uint64_t mine;
    struct tide_ring_claim claim;
    for (int i = 0; i < EACH; i++) {
        if (!tide_ring_claim(&map, 0, 64, TIDE_RING_ALL, &mine, &claim))
            return &map;
        atomic_fetch_add(&taken[claim.slot], 1);
        claim.payload[0]++;
        publish(&claim, 1);
    }
    return unused;
}

START_TEST(threads_get_slots_and_payload_of_their_own)
{
    pthread_t thread[THREADS];
    void *failed;
    make(THREADS * EACH, THREADS * EACH, 0);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, claim_many, NULL), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], &failed);
        ck_assert_ptr_null(failed);
    }
    for (uint64_t i = 1; i <= THREADS * EACH; i++) {
        UNIT_HOLD(atomic_load(&taken[i]) == 1, "slot %llu", (unsigned long long)i);
        UNIT_HOLD(tide_ring_see(&map, 0, i) != NULL, "slot %llu", (unsigned long long)i);
    }
    for (size_t i = 0; i < THREADS * EACH; i++)
        UNIT_HOLD(map.payload[64 * i] == 1, "granule %zu", i);
    log_drop(&map);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ring");
    TCase *tcase = tcase_create("ring");
    tcase_add_loop_test(tcase, slots_are_given_in_order_until_the_ring_is_full, 0, 4);
    tcase_add_test(tcase, payload_is_contiguous_and_never_given_twice);
    tcase_add_test(tcase, a_slot_is_seen_when_it_is_published_and_not_a_lap_later);
    tcase_add_loop_test(tcase, some_claims_leave_room, 0, 4);
    tcase_add_test(tcase, threads_get_slots_and_payload_of_their_own);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
