/* test_lane.c - clients in memory that is not coherent: claims, groups, sessions. */
#include "lane_case.h"

static struct tide_lanes map;
static struct tide_laneseq seq;
static struct tide_lane lane;

static void begin(uint32_t level, uint64_t slots)
{
    lane_make(&map, (struct tide_layout_wish){.level = level, .brokers = 2, .slots = slots});
    ck_assert_int_eq(tide_laneseq_open(&seq, &map), 0);
    lane_join(&lane, &seq, &map, 1);
}

static void end(void)
{
    tide_laneseq_close(&seq);
    lane_drop(&map);
}

static void commit(uint32_t broker)
{
    struct tide_lane_result result;
    ck_assert(tide_lane_claim(&lane, broker, 8));
    tide_lane_commit(&lane, 1, 8, &result);
}

START_TEST(a_group_becomes_visible_together)
{
    begin(5, 32);
    for (int i = 0; i < TIDE_LANES_GROUP - 1; i++)
        commit((uint32_t)i % 2);
    ck_assert_uint_eq(tide_laneseq_step(&seq, 99), 0);
    commit(1);
    ck_assert_uint_eq(tide_laneseq_step(&seq, 99), TIDE_LANES_GROUP);
    commit(0);
    ck_assert_uint_eq(tide_laneseq_step(&seq, 99), 0);
    tide_lane_flush(&lane);
    ck_assert_uint_eq(tide_laneseq_step(&seq, 99), 1);
    end();
}
END_TEST

START_TEST(so_do_many_bytes)
{
    struct tide_lane_result result;
    lane_make(&map, (struct tide_layout_wish){.level = 5, .payload = 1 << 20});
    ck_assert_int_eq(tide_laneseq_open(&seq, &map), 0);
    lane_join(&lane, &seq, &map, 0);
    ck_assert(tide_lane_claim(&lane, 0, TIDE_LANES_GROUP_BYTES));
    tide_lane_commit(&lane, 1, TIDE_LANES_GROUP_BYTES, &result);
    ck_assert_uint_eq(tide_laneseq_step(&seq, 99), 1);
    end();
}
END_TEST

START_TEST(a_full_lane_says_so_and_goes_on)
{
    begin(5, 3);
    for (int lap = 0; lap < 5; lap++) {
        for (int i = 0; i < 3; i++)
            ck_assert(lane_send(&lane, 0, 1));
        ck_assert(!lane_send(&lane, 0, 1));
        ck_assert(lane_send(&lane, 1, 1)); /* the other one is not */
        tide_laneseq_step(&seq, 99);
        tide_laneseq_trim(&seq, seq.place);
        while (tide_laneseq_step(&seq, 99) != 0)
            ;
    }
    end();
}
END_TEST

START_TEST(claims_do_not_cross_the_end)
{
    lane_make(&map, (struct tide_layout_wish){.level = 5, .payload = 640});
    ck_assert_int_eq(tide_laneseq_open(&seq, &map), 0);
    lane_join(&lane, &seq, &map, 0);
    for (int i = 0; i < 30; i++) {
        struct tide_lane_result result;
        ck_assert(tide_lane_claim(&lane, 0, 128));
        ck_assert_uint_le((uintptr_t)lane.claim.payload + 128, (uintptr_t)map.payload + 640);
        tide_lane_commit(&lane, 1, i % 2 ? 128 : 64, &result);
        tide_lane_flush(&lane);
        tide_laneseq_trim(&seq, seq.place + 1);
        while (tide_laneseq_step(&seq, 99) != 0)
            ;
    }
    ck_assert_uint_eq(seq.place, 30);
    end();
}
END_TEST

START_TEST(aborted_claims_get_no_place)
{
    begin(5, 8);
    ck_assert(tide_lane_claim(&lane, 0, 100));
    tide_lane_abort(&lane);
    ck_assert(lane_send(&lane, 0, 1));
    ck_assert_uint_eq(tide_laneseq_step(&seq, 99), 2);
    ck_assert_uint_eq(seq.place, 1);
    ck_assert_uint_eq(tide_lane_done(&lane, 0), lane.at[0].slot);
    end();
}
END_TEST

START_TEST(a_session_that_was_opened_anew_is_known)
{
    struct tide_lane other;
    begin(4, 8);
    ck_assert(lane_send(&lane, 0, 1));
    tide_laneseq_step(&seq, 99);
    ck_assert_int_eq(tide_lane_check(&lane, 0), 0);
    ck_assert(lane_send(&lane, 0, 2)); /* nobody looks at it in time */
    tide_lane_ask(&other, &map, 1);
    tide_laneseq_fence(&seq, 1);
    ck_assert_int_eq(tide_lane_check(&lane, 0), -ESTALE);
    while (tide_lane_granted(&other) != 0)
        tide_laneseq_step(&seq, 99);
    ck_assert_int_eq(tide_lane_check(&lane, 0), -ESTALE);
    ck_assert_uint_eq(other.next, 1);
    ck_assert_uint_eq(tide_laneseq_step(&seq, 99), 0); /* what stands there is of before */
    ck_assert_uint_eq(tide_lane_expected(&other), 1);
    ck_assert(lane_send(&other, 0, 3));
    while (tide_laneseq_step(&seq, 99) != 0)
        ;
    ck_assert_uint_eq(seq.place, 2);
    end();
}
END_TEST

START_TEST(late_numbers_and_hidden_ones_are_known)
{
    begin(4, 8);
    ck_assert(lane_send(&lane, 0, 1));
    tide_laneseq_step(&seq, 99);
    lane.next = 0;
    ck_assert_int_eq(tide_lane_check(&lane, 0), -EALREADY);
    lane.next = 3;
    ck_assert(lane_send(&lane, 0, 1));
    lane.next = 2;
    ck_assert_int_eq(tide_lane_check(&lane, 0), -EINVAL);
    ck_assert_int_eq(tide_lane_check(&lane, 1), 0);
    end();
}
END_TEST

/* A line goes as it is at any time: what an epoch before published there, and nobody looked at,
 * must not make a slot of what is filled in later. */
START_TEST(words_of_an_epoch_before_are_wiped)
{
    begin(4, 8);
    lane.next = 1; /* waits for 0 */
    ck_assert(lane_send(&lane, 1, 1));
    tide_laneseq_step(&seq, 99);
    uint64_t slot = lane.at[1].slot - 1;
    struct tide_lanes_slot *line =
        tide_lanes_slot(&map, tide_lanes_number(&map, lane.client, 1), slot);
    ck_assert_uint_eq(line->publish, slot);
    lane_join(&lane, &seq, &map, lane.client);
    ck_assert_uint_eq(lane.at[1].slot, slot);
    ck_assert_uint_eq(line->publish, 0);
    end();
}
END_TEST

static const unsigned char *wrote_at[32];
static size_t wrote_bytes[32], wrotes;

static void note_wrote(const void *at, size_t bytes)
{
    if (wrotes < 32) {
        wrote_at[wrotes] = at;
        wrote_bytes[wrotes++] = bytes;
    }
}

static void note_nothing(const void *at, size_t bytes)
{
    (void)at;
    (void)bytes;
}

static void drain_nothing(void)
{
}

/* The lines that are past the caches already are not written back, the others are, and then the
 * slot. */
START_TEST(only_what_is_in_the_caches_is_written_back)
{
    const struct tide_coh_model model = {note_wrote, drain_nothing, note_nothing};
    struct tide_lane_result result;
    begin(5, 8);
    tide_coh_model = &model;
    map.coh = TIDE_COH_SIMULATED;
    for (uint32_t past = 0; past <= 128; past += 64) {
        wrotes = 0;
        ck_assert(tide_lane_claim(&lane, 0, 200));
        unsigned char *payload = lane.claim.payload;
        lane.claim.past = past;
        tide_lane_commit(&lane, 1, 200, &result);
        ck_assert_uint_eq(wrotes, 1);
        ck_assert_ptr_eq(wrote_at[0], payload + past);
        ck_assert_uint_eq(wrote_bytes[0], 200 - past);
        tide_lane_flush(&lane);
        ck_assert_uint_eq(wrotes, 2);
        ck_assert_ptr_eq(wrote_at[1], tide_lanes_slot(&map, 2, result.slot));
    }
    map.coh = TIDE_COH_NONCOHERENT;
    tide_coh_model = NULL;
    end();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {a_group_becomes_visible_together,
                                  so_do_many_bytes,
                                  a_full_lane_says_so_and_goes_on,
                                  claims_do_not_cross_the_end,
                                  aborted_claims_get_no_place,
                                  a_session_that_was_opened_anew_is_known,
                                  late_numbers_and_hidden_ones_are_known,
                                  words_of_an_epoch_before_are_wiped,
                                  only_what_is_in_the_caches_is_written_back,
                                  NULL};
    return unit_main("lane", tests);
}
