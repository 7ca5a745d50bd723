/* test_laneseq.c - the sequencer of lanes: order, late and early batches, trimming, successors. */
#include "lane_case.h"

static struct tide_lanes map;
static struct tide_laneseq seq;
static struct tide_lane lane[2];

static void begin(struct tide_layout_wish wish)
{
    wish.brokers = 2;
    lane_make(&map, wish);
    ck_assert_int_eq(tide_laneseq_open(&seq, &map), 0);
    for (uint32_t i = 0; i < 2; i++)
        lane_join(&lane[i], &seq, &map, i);
}

static void end(void)
{
    tide_laneseq_close(&seq);
    lane_drop(&map);
}

static void run_dry(void)
{
    while (tide_laneseq_step(&seq, 99) != 0)
        ;
}

/* Client 0 asks, and is heard before the lanes are looked at. */
static void join_anew(void)
{
    tide_lane_ask(&lane[0], &map, 0);
    seq.request_turn = 0;
    tide_laneseq_step(&seq, 1);
    ck_assert_int_eq(tide_lane_granted(&lane[0]), 0);
}

/* The value of the batch at a place. */
static uint64_t value_at(uint64_t place)
{
    const struct tide_lanes_entry *entry = tide_lanes_entry(&map, place);
    uint64_t value;
    ck_assert_uint_eq(entry->seq, place + 1);
    memcpy(&value,
           tide_lanes_payload(&map, tide_lanes_number(&map, entry->client, entry->broker),
                              entry->end, entry->size),
           sizeof value);
    return value;
}

START_TEST(early_batches_wait_and_late_ones_are_dropped)
{
    begin((struct tide_layout_wish){.level = 4});
    lane[0].next = 1;
    ck_assert(lane_send(&lane[0], 0, 101));
    run_dry();
    ck_assert_uint_eq(seq.place, 0);
    lane[0].next = 0;
    ck_assert(lane_send(&lane[0], 1, 100));
    ck_assert(lane_send(&lane[0], 1, 666)); /* 1 once more */
    run_dry();
    ck_assert_uint_eq(seq.place, 2);
    ck_assert_uint_eq(value_at(0), 100);
    ck_assert_uint_eq(tide_lane_expected(&lane[0]), 2);
    ck_assert_uint_eq(map.session[0].late, 1);
    end();
}
END_TEST

START_TEST(what_a_client_says_is_not_believed)
{
    begin((struct tide_layout_wish){.level = 5});
    ck_assert(lane_send(&lane[0], 0, 1));
    struct tide_lanes_slot *slot = tide_lanes_slot(&map, 0, lane[0].at[0].slot - 1);
    const struct tide_lanes_slot good = *slot;
    for (int i = 0; i < 5; i++) {
        *slot = good;
        slot->epoch = lane[0].epoch;
        if (i == 0)
            slot->size = 1 << 30;
        else if (i == 1)
            slot->end = 0;
        else if (i == 2)
            slot->end = UINT64_MAX;
        else if (i == 3)
            slot->end += map.granules.size + 1;
        else
            slot->size = tide_lanes_most(&map) + 1;
        tide_laneseq_step(&seq, 99);
        ck_assert_uint_eq(seq.place, 0);
        ck_assert_int_eq(tide_lane_check(&lane[0], 0), -ESTALE);
        lane_join(&lane[0], &seq, &map, 0);
        ck_assert_uint_eq(lane[0].at[0].slot, 1);
    }
    end();
}
END_TEST

START_TEST(a_slot_that_is_not_free_is_no_batch)
{
    struct tide_lane_result result;
    begin((struct tide_layout_wish){.level = 5, .retain = TIDE_LAYOUT_ASKED});
    for (uint64_t i = 0; i < map.slots.size + 3; i++) {
        lane[0].at[0].free = UINT64_MAX; /* as if everything were */
        ck_assert(tide_lane_claim(&lane[0], 0, 8));
        tide_lane_commit(&lane[0], 1, 0, &result);
        tide_lane_flush(&lane[0]);
        tide_laneseq_step(&seq, 99);
    }
    ck_assert_uint_eq(seq.place, map.slots.size);
    ck_assert_uint_eq(map.index[0].seq, 1);
    ck_assert_int_eq(tide_lane_check(&lane[0], 0), -ESTALE);
    end();
}
END_TEST

START_TEST(what_was_visible_is_kept_when_a_session_is_opened_anew)
{
    begin((struct tide_layout_wish){.level = _i});
    struct tide_lane before = lane[0];
    /* In the other order of the lanes, for level 4. */
    for (int i = 0; i < 8; i++)
        ck_assert(lane_send(&before, (uint32_t)(7 - i) / 4, i));
    join_anew();
    ck_assert_uint_eq(map.head->committed, 8);
    ck_assert_uint_eq(lane[0].at[0].slot, map.lane[0].done);
    /* The one before goes on, by the old epoch and the new one's slots. */
    ck_assert(lane_send(&before, 0, 666));
    run_dry();
    ck_assert_uint_eq(seq.place, 8);
    ck_assert(lane_send(&lane[0], 0, 8));
    ck_assert(lane_send(&before, 1, 666));
    run_dry();
    ck_assert_uint_eq(seq.place, 9);
    uint64_t sum = 0;
    for (uint64_t i = 0; i < 9; i++)
        sum += UINT64_C(1) << value_at(i);
    ck_assert_uint_eq(sum, 0x1ff); /* each of them once */
    end();
}
END_TEST

START_TEST(what_has_no_place_in_its_turn_is_dropped_with_its_epoch)
{
    begin((struct tide_layout_wish){.level = 4});
    ck_assert(lane_send(&lane[0], 0, 100));
    lane[0].next = 2;
    ck_assert(lane_send(&lane[0], 1, 102));
    join_anew();
    ck_assert_uint_eq(lane[0].next, 1);
    ck_assert_uint_eq(seq.place, 1);
    ck_assert(lane_send(&lane[0], 0, 101));
    run_dry();
    ck_assert_uint_eq(seq.place, 2);
    ck_assert_uint_eq(value_at(1), 101);
    end();
}
END_TEST

START_TEST(a_fence_drops_what_has_no_place)
{
    begin((struct tide_layout_wish){.level = 5});
    ck_assert(lane_send(&lane[0], 0, 666));
    tide_laneseq_fence(&seq, 0);
    lane_join(&lane[0], &seq, &map, 0);
    ck_assert_uint_eq(seq.place, 0);
    ck_assert(lane_send(&lane[0], 0, 1));
    run_dry();
    ck_assert_uint_eq(seq.place, 1);
    ck_assert_uint_eq(value_at(0), 1);
    end();
}
END_TEST

START_TEST(what_is_not_sound_does_not_hold_the_next_epoch_up)
{
    begin((struct tide_layout_wish){.level = 5});
    ck_assert(lane_send(&lane[0], 0, 1));
    ck_assert(lane_send(&lane[0], 0, 666));
    tide_lanes_slot(&map, 0, lane[0].at[0].slot - 1)->end = UINT64_MAX;
    join_anew();
    ck_assert_uint_eq(seq.place, 1);
    ck_assert(lane_send(&lane[0], 0, 2));
    run_dry();
    ck_assert_uint_eq(seq.place, 2);
    ck_assert_uint_eq(value_at(1), 2);
    end();
}
END_TEST

START_TEST(nothing_that_is_needed_is_trimmed)
{
    struct tide_lanesub sub;
    begin((struct tide_layout_wish){.level = 5});
    ck_assert_int_eq(lane_attach(&sub, &seq, &map, 0, TIDE_LANES_EARLIEST, 0), 0);
    for (int i = 0; i < 4; i++)
        ck_assert(lane_send(&lane[0], 0, i));
    run_dry();
    tide_laneseq_trim(&seq, 4);
    run_dry();
    ck_assert_uint_eq(map.head->trimmed_place, 0);
    ck_assert_uint_eq(lane_next(&sub), 0);
    ck_assert_uint_eq(lane_next(&sub), 1);
    tide_lanesub_done(&sub);
    run_dry();
    ck_assert_uint_eq(map.head->trimmed_place, 2);
    ck_assert_uint_eq(map.lane[0].released, 3);
    tide_laneseq_forget(&seq, 0);
    run_dry();
    ck_assert_uint_eq(map.head->trimmed_place, 4);
    end();
}
END_TEST

START_TEST(the_oldest_goes_when_nobody_reads)
{
    begin((struct tide_layout_wish){.level = 5, .retain = TIDE_LAYOUT_OLD});
    for (int i = 0; i < 100; i++) {
        ck_assert(lane_send(&lane[0], 0, i));
        run_dry();
    }
    ck_assert_uint_eq(seq.place, 100);
    ck_assert_uint_gt(map.head->trimmed_place, 90);
    ck_assert_uint_lt(map.head->trimmed_place, 100);
    end();
}
END_TEST

START_TEST(what_was_asked_to_be_kept_is)
{
    begin((struct tide_layout_wish){.level = 5, .retain = TIDE_LAYOUT_ASKED});
    for (int i = 0; i < 8; i++)
        ck_assert(lane_send(&lane[0], 0, i));
    run_dry();
    ck_assert(!lane_send(&lane[0], 0, 9));
    tide_laneseq_trim(&seq, 1);
    run_dry();
    ck_assert(lane_send(&lane[0], 0, 9));
    ck_assert(!lane_send(&lane[0], 0, 9));
    end();
}
END_TEST

START_TEST(a_successor_goes_on)
{
    begin((struct tide_layout_wish){.level = 4});
    for (int i = 0; i < 6; i++)
        ck_assert(lane_send(&lane[0], (uint32_t)i % 2, i));
    run_dry();
    tide_laneseq_trim(&seq, 2);
    run_dry();
    uint64_t epoch = seq.epoch;
    tide_laneseq_close(&seq);
    ck_assert_int_eq(tide_laneseq_open(&seq, &map), 0);
    ck_assert_uint_eq(seq.epoch, epoch + 1);
    ck_assert_uint_eq(seq.place, 6);
    ck_assert_uint_eq(seq.base, 6);
    ck_assert_uint_eq(seq.trimmed_place, 2);
    ck_assert(lane_send(&lane[0], 0, 6));
    run_dry();
    ck_assert_uint_eq(value_at(6), 6);
    ck_assert_int_eq(tide_lane_check(&lane[0], 0), 0);
    end();
}
END_TEST

START_TEST(a_successor_stops_at_a_gap)
{
    begin((struct tide_layout_wish){.level = 5});
    for (int i = 0; i < 6; i++)
        ck_assert(lane_send(&lane[0], 0, i));
    run_dry();
    tide_laneseq_close(&seq);
    /* As if the host had stopped before place 3, and what is told, had left its caches. */
    map.index[3].seq = 0;
    map.head->committed = 3;
    map.lane[0].done = map.lane[0].released + 3;
    map.lane[0].done_granule = map.lane[0].granule + 3;
    ck_assert_int_eq(tide_laneseq_open(&seq, &map), 0);
    ck_assert_uint_eq(seq.place, 3);
    for (uint64_t i = 3; i < 6; i++)
        ck_assert_uint_eq(map.index[i].seq, 0);
    run_dry();
    ck_assert_uint_eq(seq.place, 6);
    for (uint64_t i = 0; i < 6; i++)
        ck_assert_uint_eq(value_at(i), i);
    end();
}
END_TEST

/* The index goes on at its beginning behind its end: it is full, as far as the entry before place
 * `gap`. Loop index: slots of a lane. */
START_TEST(a_successor_goes_on_behind_the_end_of_the_index)
{
    begin(
        (struct tide_layout_wish){.level = 5, .slots = (uint32_t)_i, .retain = TIDE_LAYOUT_ASKED});
    uint64_t size = map.entries.size;
    for (uint64_t i = 0; i < size + 2; i++) {
        ck_assert(lane_send(&lane[i % 2], i / 2 % 2, i));
        run_dry();
        tide_laneseq_trim(&seq, i < 3 ? i : 2);
        run_dry();
    }
    ck_assert_uint_eq(seq.place, size + 2);
    ck_assert_uint_eq(seq.trimmed_place, 2);
    for (uint64_t gap = size + 2; gap >= size - 1; gap--) {
        for (uint64_t i = gap; i < size + 2; i++)
            tide_lanes_entry(&map, i)->seq = i + 1 + size; /* nobody's */
        tide_laneseq_close(&seq);
        map.head->committed = gap;
        ck_assert_int_eq(tide_laneseq_open(&seq, &map), 0);
        ck_assert_uint_eq(seq.place, gap);
        ck_assert_uint_eq(seq.base, gap);
        for (uint64_t i = 2; i < size + 2; i++)
            ck_assert_uint_eq(tide_lanes_entry(&map, i)->seq, i < gap ? i + 1 : 0);
    }
    end();
}
END_TEST

static uint64_t looks; /* at the clock, which shows their number */

static uint64_t look(void)
{
    return looks++;
}

/* Its time is up at any moment of a step: it stops there, and goes on if it gets more of it. */
START_TEST(it_writes_nothing_when_its_time_is_up)
{
    for (uint64_t until = 0; until < 12; until++) {
        begin((struct tide_layout_wish){.level = 5});
        for (int i = 0; i < 6; i++)
            ck_assert(lane_send(&lane[i % 2], 0, i / 2));
        seq.clock = look;
        seq.until = until;
        looks = 0;
        tide_laneseq_step(&seq, 99);
        ck_assert_uint_le(seq.place, until);
        uint64_t committed = map.head->committed;
        ck_assert_uint_eq(committed, until < 7 ? 0 : 6);
        void *before = malloc(map.size);
        memcpy(before, map.base, map.size);
        tide_lane_ask(&lane[1], &map, 1);
        memcpy((unsigned char *)before + ((unsigned char *)map.session - map.base), map.session,
               map.clients * sizeof *map.session);
        seq.until = 0;
        tide_laneseq_step(&seq, 99);
        tide_laneseq_trim(&seq, 3);
        ck_assert_mem_eq(before, map.base, map.size);
        seq.until = UINT64_MAX;
        run_dry();
        ck_assert_uint_eq(seq.place, 6);
        ck_assert_uint_eq(map.head->committed, 6);
        ck_assert_int_eq(tide_lane_granted(&lane[1]), 0);
        free(before);
        end();
    }
}
END_TEST

static uint64_t points, fenced; /* accesses of the sequencer; the epoch of a fence, if any */

/* Its host stops here: a line may have left its caches at any time, so that the memory is as the
 * accesses before left it. */
static void follow(void)
{
    struct tide_lanes copy;
    struct tide_laneseq next;
    struct tide_layout_fault fault;
    void (*hook)(void) = tide_coh_hook;
    void *base = aligned_alloc(4096, map.size);
    tide_coh_hook = NULL;
    memcpy(base, map.base, map.size);
    ck_assert(tide_lanes_open(&copy, TIDE_COH_NONCOHERENT, base, map.size, &fault));
    ck_assert_int_eq(tide_laneseq_open(&next, &copy), 0);
    ck_assert_uint_ge(next.place, map.head->committed);
    ck_assert_uint_eq(next.base, 3 * next.place); /* of three messages each */
    ck_assert_uint_le(next.trimmed_place, next.place);
    ck_assert(fenced == 0 || next.session[0].epoch != fenced ||
              next.session[0].state == TIDE_LAYOUT_FENCED);
    tide_laneseq_close(&next);
    free(base);
    points++;
    tide_coh_hook = hook;
}

START_TEST(a_successor_goes_on_wherever_it_stops)
{
    begin((struct tide_layout_wish){.level = 5});
    struct tide_lane_result result;
    for (int i = 0; i < 24; i++) {
        struct tide_lane *self = &lane[i % 2];
        while (!tide_lane_claim(self, 0, 8))
            run_dry();
        memset(self->claim.payload, 0, 8);
        tide_lane_commit(self, 3, 8, &result);
        tide_lane_flush(self);
        tide_coh_hook = follow;
        tide_laneseq_step(&seq, 2);
        if (i % 4 == 3)
            tide_laneseq_trim(&seq, seq.place);
        tide_coh_hook = NULL;
    }
    ck_assert_uint_eq(seq.trimmed_place, 24);
    tide_laneseq_fence(&seq, 0);
    fenced = seq.session[0].epoch;
    tide_lane_ask(&lane[0], &map, 0);
    tide_coh_hook = follow;
    seq.request_turn = 0;
    tide_laneseq_step(&seq, 1);
    tide_coh_hook = NULL;
    ck_assert_int_eq(tide_lane_granted(&lane[0]), 0);
    ck_assert_uint_eq(map.session[0].epoch, fenced + 1);
    ck_assert_uint_gt(points, 500);
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("laneseq");
    TCase *tcase = tcase_create("laneseq");
    tcase_add_test(tcase, early_batches_wait_and_late_ones_are_dropped);
    tcase_add_test(tcase, what_a_client_says_is_not_believed);
    tcase_add_test(tcase, a_slot_that_is_not_free_is_no_batch);
    tcase_add_loop_test(tcase, what_was_visible_is_kept_when_a_session_is_opened_anew, 4, 6);
    tcase_add_test(tcase, what_has_no_place_in_its_turn_is_dropped_with_its_epoch);
    tcase_add_test(tcase, a_fence_drops_what_has_no_place);
    tcase_add_test(tcase, what_is_not_sound_does_not_hold_the_next_epoch_up);
    tcase_add_test(tcase, nothing_that_is_needed_is_trimmed);
    tcase_add_test(tcase, the_oldest_goes_when_nobody_reads);
    tcase_add_test(tcase, what_was_asked_to_be_kept_is);
    tcase_add_test(tcase, a_successor_goes_on);
    tcase_add_test(tcase, a_successor_stops_at_a_gap);
    tcase_add_loop_test(tcase, a_successor_goes_on_behind_the_end_of_the_index, 7, 9);
    tcase_add_test(tcase, a_successor_goes_on_wherever_it_stops);
    tcase_add_test(tcase, it_writes_nothing_when_its_time_is_up);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
