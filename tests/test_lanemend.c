/* test_lanemend.c - damage to a log in lanes, and what is left of it when it was put in order. */
#include "lanemend_case.h"

/* It is put in order: such batches are left, that many changes of this kind were told. */
static void mended(const char *left, enum tide_lanemend_kind kind, uint64_t count)
{
    ck_assert_msg(look()[0] != '\0', "no damage is found");
    run();
    ck_assert_str_eq(values(), left);
    ck_assert_msg(mend.count[kind] == count, "%" PRIu64 " of kind %d, not %" PRIu64,
                  mend.count[kind], (int)kind, count);
    ck_assert_str_eq(look(), "");
    run();
    ck_assert_uint_eq(changes(), 0);
    goes_on(false);
    again();
}

#define ALL "2 3 4 5 6 7 8 9 10 11"

/* A word is damaged: all batches are kept, and what stood there stands there again. */
static void restored(const void *at, uint64_t value, size_t bytes, enum tide_lanemend_kind kind)
{
    memcpy((void *)(uintptr_t)at, &value, bytes);
    ck_assert_msg(look()[0] != '\0', "no damage is found");
    run();
    ck_assert_msg(mend.count[kind] == 1 && changes() == 1, "%" PRIu64 " of kind %d of %" PRIu64,
                  mend.count[kind], (int)kind, changes());
    ck_assert_uint_eq(mend.kept, BATCHES - TRIMMED);
    ck_assert_msg(memcmp((const void *)at, good + ((const unsigned char *)at - map.base), bytes) ==
                      0,
                  "something else");
    memcpy((void *)(uintptr_t)at, &value, bytes);
    mended(ALL, kind, 1);
}

/* Wild, too high, too low, and zero. */
static void restored_all(const void *at, size_t bytes, enum tide_lanemend_kind kind)
{
    static const uint64_t by[] = {0x7fffffff, 1, UINT64_MAX};
    uint64_t was = 0;
    memcpy(&was, at, bytes);
    for (unsigned i = 0; i < 3; i++)
        restored(at, was + by[i], bytes, kind);
    if (was != 0)
        restored(at, 0, bytes, kind);
    restored(at, UINT64_MAX / 3, bytes, kind);
}

START_TEST(a_log_that_is_right_stays_as_it_is)
{
    begin((uint32_t)_i);
    run();
    ck_assert_uint_eq(changes(), 0);
    ck_assert_uint_eq(mend.kept, BATCHES - TRIMMED);
    ck_assert_int_eq(memcmp(map.base, good, map.size), 0);
    end();
}
END_TEST

START_TEST(each_word_of_an_entry_is_restored)
{
    begin((uint32_t)_i);
    for (uint64_t place = TRIMMED; place < BATCHES; place++) {
        struct tide_lanes_entry *entry = entry_of(place);
        restored_all(&entry->slot, 8, TIDE_LANEMEND_RESTORED);
        restored_all(&entry->end, 8, TIDE_LANEMEND_RESTORED);
        restored_all(&entry->base, 8, TIDE_LANEMEND_RESTORED);
        restored_all(&entry->number, 8, TIDE_LANEMEND_RESTORED);
        restored_all(&entry->size, 4, TIDE_LANEMEND_RESTORED);
        restored_all(&entry->count, 4, TIDE_LANEMEND_RESTORED);
        restored_all(&entry->client, 4, TIDE_LANEMEND_RESTORED);
        restored_all(&entry->epoch, 4, TIDE_LANEMEND_RESTORED);
        restored_all(&entry->checksum, 4, TIDE_LANEMEND_RESTORED);
        restored_all(&entry->broker, 1, TIDE_LANEMEND_RESTORED);
    }
    end();
}
END_TEST

START_TEST(the_place_of_an_entry_is_restored)
{
    begin((uint32_t)_i);
    for (uint64_t place = TRIMMED; place < BATCHES; place++)
        restored_all(&entry_of(place)->seq, 8, TIDE_LANEMEND_RESTORED);
    end();
}
END_TEST

START_TEST(each_word_of_a_slot_is_restored)
{
    begin((uint32_t)_i);
    for (uint64_t place = TRIMMED; place < BATCHES; place++) {
        struct tide_lanes_slot *slot = slot_of(place);
        if (map.level == 4)
            restored_all(&slot->number, 8, TIDE_LANEMEND_SLOT);
        restored_all(&slot->end, 8, TIDE_LANEMEND_SLOT);
        restored_all(&slot->size, 4, TIDE_LANEMEND_SLOT);
        restored_all(&slot->count, 4, TIDE_LANEMEND_SLOT);
        restored_all(&slot->epoch, 4, TIDE_LANEMEND_SLOT);
        restored_all(&slot->checksum, 4, TIDE_LANEMEND_SLOT);
        restored_all(&slot->publish, 8, TIDE_LANEMEND_SLOT);
    }
    end();
}
END_TEST

START_TEST(each_word_of_the_head_is_restored)
{
    begin((uint32_t)_i);
    restored_all(&map.head->committed, 8, TIDE_LANEMEND_HEAD);
    restored_all(&map.head->trimmed_place, 8, TIDE_LANEMEND_HEAD);
    restored_all(&map.head->trimmed_base, 8, TIDE_LANEMEND_HEAD);
    restored(&map.head->epoch, 0, 8, TIDE_LANEMEND_HEAD);
    restored(&map.head->epoch, UINT64_MAX, 8, TIDE_LANEMEND_HEAD);
    end();
}
END_TEST

/* A word of a line gets a value that the log holds with. */
static void lined(const void *at, uint64_t value)
{
    memcpy((void *)(uintptr_t)at, &value, sizeof value);
    mended(ALL, TIDE_LANEMEND_LINE, 1);
}

static void lined_all(const void *at)
{
    lined(at, 0x7fffffff);
    lined(at, UINT64_MAX);
    lined(at, UINT64_MAX / 3);
}

START_TEST(each_word_of_a_line_is_bounded)
{
    begin((uint32_t)_i);
    for (uint32_t i = 0; i < map.lanes; i++) {
        lined_all(&map.lane[i].released);
        lined_all(&map.lane[i].granule);
        lined_all(&map.lane[i].done);
        lined_all(&map.lane[i].done_granule);
        lined_all(&map.lane[i].from_slot);
        lined_all(&map.lane[i].from_granule);
        lined(&map.lane[i].released, 0);
        lined(&map.lane[i].done, 0);
    }
    for (uint32_t i = 0; i < map.clients; i++) {
        lined_all(&map.session[i].state);
        lined(&map.session[i].epoch, 0);
        lined(&map.session[i].epoch, UINT64_MAX);
        if (map.level == 4)
            lined_all(&map.session[i].expected);
    }
    lined_all(&map.reader[1].start);
    lined_all(&map.node[0].standing);
    end();
}
END_TEST

START_TEST(a_reader_stays_where_it_is_or_is_led_back)
{
    struct tide_lanesub sub;
    make(5, TIDE_LAYOUT_CHECKSUM, 0);
    ck_assert_int_eq(lane_attach(&sub, &seq, &map, 0, TIDE_LANES_EARLIEST, 0), 0);
    memcpy(good, map.base, map.size);
    map.reader[0].cursor = 1000;
    run();
    ck_assert_uint_eq(map.reader[0].cursor, TRIMMED);
    map.reader[0].cursor = 1;
    run();
    ck_assert_uint_eq(map.reader[0].cursor, TRIMMED);
    map.reader[0].cursor = 7;
    run();
    ck_assert_uint_eq(map.reader[0].cursor, 7);
    map.reader[0].cursor = BATCHES;
    payload_of(9)[20] ^= 1;
    run();
    ck_assert_uint_eq(map.reader[0].cursor, BATCHES - 1);
    map.reader[0].from = 1000;
    run();
    ck_assert_uint_eq(map.reader[0].from, BATCHES - 1);
    end();
}
END_TEST

START_TEST(a_batch_that_is_not_whole_is_given_up)
{
    uint64_t fenced;
    begin((uint32_t)_i);
    for (uint64_t place = TRIMMED; place < BATCHES; place++) {
        const char *left = without(place, &fenced);
        unsigned char *byte = payload_of(place) + 20;
        *byte ^= 1;
        run();
        ck_assert_str_eq(values(), left);
        ck_assert_uint_eq(mend.count[TIDE_LANEMEND_FENCED], fenced);
        ck_assert_uint_eq(mend.kept, place == TRIMMED ? BATCHES - TRIMMED - 1 : place - TRIMMED);
        ck_assert_uint_eq(mend.kept + mend.count[TIDE_LANEMEND_MOVED] + fenced,
                          BATCHES - TRIMMED - 1);
        again();
        *byte ^= 1;
        mended(left, TIDE_LANEMEND_CUT, 1);
    }
    end();
}
END_TEST

START_TEST(without_check_sums_frames_tell)
{
    make(5, 0, 0);
    payload_of(TRIMMED)[0] = 200;
    mended("3 4 5 6 7 8 9 10 11", TIDE_LANEMEND_CUT, 1);
    entry_of(4)->size = 16;
    mended(ALL, TIDE_LANEMEND_RESTORED, 1);
    slot_of(4)->size = 16;
    mended(ALL, TIDE_LANEMEND_SLOT, 1);
    end();
}
END_TEST

START_TEST(an_entry_that_is_gone_gets_the_slot_that_is_left)
{
    begin((uint32_t)_i);
    for (uint64_t place = TRIMMED; place < BATCHES; place++) {
        memset((void *)entry_of(place), 0, sizeof(struct tide_lanes_entry));
        mended(ALL, TIDE_LANEMEND_RESTORED, 1);
    }
    /* Two of one lane are in its order. */
    memset((void *)entry_of(3), 0xee, sizeof(struct tide_lanes_entry));
    memset((void *)entry_of(7), 0xee, sizeof(struct tide_lanes_entry));
    mended(ALL, TIDE_LANEMEND_RESTORED, 2);
    end();
}
END_TEST

START_TEST(which_of_two_lanes_was_first_is_not_guessed)
{
    make(5, TIDE_LAYOUT_CHECKSUM, 0);
    memset((void *)entry_of(5), 0, sizeof(struct tide_lanes_entry));
    memset((void *)entry_of(6), 0, sizeof(struct tide_lanes_entry));
    mended("2 3 4 7 8 9 10 11", TIDE_LANEMEND_CUT, 2);
    end();
}
END_TEST

START_TEST(an_index_that_is_gone_is_made_anew_from_one_lane)
{
    lane_make(&map, (struct tide_layout_wish){.level = (uint32_t)_i, .producers = 1});
    ck_assert_int_eq(tide_laneseq_open(&seq, &map), 0);
    lane_join(&lane[0], &seq, &map, 0);
    for (uint64_t i = 0; i < 7; i++)
        send(0, 0, i);
    settle();
    memset((void *)map.index, 0xa5, map.entries.size * sizeof *map.index);
    run();
    ck_assert_str_eq(values(), "0 1 2 3 4 5 6");
    ck_assert_str_eq(look(), "");
    tide_laneseq_close(&seq);
    lane_drop(&map);
}
END_TEST

START_TEST(entries_of_no_place_are_wiped)
{
    begin((uint32_t)_i);
    tide_lanes_entry(&map, 20)->seq = 20;
    mended(ALL, TIDE_LANEMEND_WIPED, 1);
    tide_lanes_entry(&map, 20)->seq = 3;
    mended(ALL, TIDE_LANEMEND_WIPED, 1);
    memcpy((void *)tide_lanes_entry(&map, 20), (void *)entry_of(5),
           sizeof(struct tide_lanes_entry));
    tide_lanes_entry(&map, 20)->seq = 21;
    mended(ALL, TIDE_LANEMEND_WIPED, 1);
    end();
}
END_TEST

START_TEST(slots_of_no_batch_are_wiped)
{
    begin((uint32_t)_i);
    struct tide_lanes_slot *free_slot = tide_lanes_slot(&map, 2, map.lane[2].done + 1);
    free_slot->publish = 77;
    mended(ALL, TIDE_LANEMEND_SLOT, 1);
    free_slot->publish = map.lane[2].done + 1 + 8 * map.slots.size;
    mended(ALL, TIDE_LANEMEND_SLOT, 1);
    end();
}
END_TEST

/* What is visible and has no place stays for whoever opens the log, unless it is damaged. */
START_TEST(what_waits_stays)
{
    begin((uint32_t)_i);
    send(0, 1, 77);
    send(1, 1, 78);
    run();
    ck_assert_uint_eq(changes(), 0);
    entry_of(4)->base = 55;
    tide_lanes_payload(&map, 3, map.lane[3].done_granule + 3, 144)[20] ^= 1;
    run();
    ck_assert_uint_eq(mend.count[TIDE_LANEMEND_RESTORED], 1);
    ck_assert_uint_eq(mend.count[TIDE_LANEMEND_CUT], 1);
    settle();
    ck_assert_str_eq(values(), ALL " 77");
    ck_assert_str_eq(look(), "");
    end();
}
END_TEST

/* As a sequencer leaves it that is killed: what has an entry has its place. */
START_TEST(what_was_not_told_of_is_kept)
{
    begin((uint32_t)_i);
    map.head->committed -= 3;
    memset((void *)entry_of(4), 0, sizeof(struct tide_lanes_entry));
    run();
    ck_assert_uint_eq(mend.count[TIDE_LANEMEND_RESTORED], 1);
    ck_assert_str_eq(values(), ALL);
    ck_assert_str_eq(look(), "");
    end();
}
END_TEST

/* --- what others have ----------------------------------------------------------------------- */

START_TEST(who_may_have_it_is_found)
{
    bool leads;
    lane_make(&map, (struct tide_layout_wish){.level = 5, .nodes = 2});
    ck_assert_uint_eq(tide_lanemend_held(&map, &leads), UINT32_MAX);
    map.node[0].standing = TIDE_LANES_HELD; /* the room's: the command knows of it */
    map.node[0].granted = 9;
    ck_assert_uint_eq(tide_lanemend_held(&map, &leads), UINT32_MAX);
    map.node[1].granted = map.node[1].holder = 7;
    ck_assert_uint_eq(tide_lanemend_held(&map, &leads), UINT32_MAX);
    map.node[1].standing = TIDE_LANES_HELD;
    ck_assert_uint_eq(tide_lanemend_held(&map, &leads), 1);
    map.node[1].standing = 99;
    ck_assert_uint_eq(tide_lanemend_held(&map, &leads), 1);
    map.node[1].beat = TIDE_LANES_GONE_BEAT;
    ck_assert_uint_eq(tide_lanemend_held(&map, &leads), UINT32_MAX);
    map.node[1].standing = TIDE_LANES_FENCED;
    ck_assert_uint_eq(tide_lanemend_held(&map, &leads), 1);
    map.node[1].standing = TIDE_LANES_FREE;
    map.head->lead = 7;
    ck_assert_uint_eq(tide_lanemend_held(&map, &leads), UINT32_MAX);
    map.head->lead_way = TIDE_LANECREW_BID;
    ck_assert_uint_eq(tide_lanemend_held(&map, &leads), 0);
    ck_assert(leads);
    run();
    ck_assert_uint_eq(map.head->lead, 7);
    mend.alone = true;
    ck_assert_int_eq(tide_lanemend_run(&mend), 0);
    ck_assert_uint_eq(tide_lanemend_held(&map, &leads), UINT32_MAX);
    ck_assert_uint_eq(map.head->lead, 0);
    ck_assert_uint_eq(map.node[0].standing, TIDE_LANES_FREE);
    lane_drop(&map);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lanemend");
    TCase *tcase = tcase_create("lanemend");
    tcase_add_loop_test(tcase, a_log_that_is_right_stays_as_it_is, 4, 6);
    tcase_add_loop_test(tcase, each_word_of_an_entry_is_restored, 4, 6);
    tcase_add_loop_test(tcase, the_place_of_an_entry_is_restored, 4, 6);
    tcase_add_loop_test(tcase, each_word_of_a_slot_is_restored, 4, 6);
    tcase_add_loop_test(tcase, each_word_of_the_head_is_restored, 4, 6);
    tcase_add_loop_test(tcase, each_word_of_a_line_is_bounded, 4, 6);
    tcase_add_test(tcase, a_reader_stays_where_it_is_or_is_led_back);
    tcase_add_loop_test(tcase, a_batch_that_is_not_whole_is_given_up, 4, 6);
    tcase_add_test(tcase, without_check_sums_frames_tell);
    tcase_add_loop_test(tcase, an_entry_that_is_gone_gets_the_slot_that_is_left, 4, 6);
    tcase_add_test(tcase, which_of_two_lanes_was_first_is_not_guessed);
    tcase_add_loop_test(tcase, an_index_that_is_gone_is_made_anew_from_one_lane, 4, 6);
    tcase_add_loop_test(tcase, entries_of_no_place_are_wiped, 4, 6);
    tcase_add_loop_test(tcase, slots_of_no_batch_are_wiped, 4, 6);
    tcase_add_loop_test(tcase, what_waits_stays, 4, 6);
    tcase_add_loop_test(tcase, what_was_not_told_of_is_kept, 4, 6);
    tcase_add_test(tcase, who_may_have_it_is_found);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
