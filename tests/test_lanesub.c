/* test_lanesub.c - readers in memory that is not coherent: where they begin, what they get. */
#include "lane_case.h"

static struct tide_lanes map;
static struct tide_laneseq seq;
static struct tide_lane lane;
static struct tide_lanesub sub;

static void begin(uint64_t features)
{
    lane_make(&map, (struct tide_layout_wish){.level = 5, .features = features, .first = 70});
    ck_assert_int_eq(tide_laneseq_open(&seq, &map), 0);
    lane_join(&lane, &seq, &map, 0);
    for (uint64_t i = 0; i < 4; i++)
        ck_assert(lane_send(&lane, 0, i));
    tide_laneseq_step(&seq, 99);
    tide_laneseq_trim(&seq, 71);
    while (tide_laneseq_step(&seq, 99) != 0)
        ;
}

static void end(void)
{
    tide_laneseq_close(&seq);
    lane_drop(&map);
}

START_TEST(readers_start_where_they_want)
{
    begin(0);
    ck_assert_int_eq(lane_attach(&sub, &seq, &map, 0, TIDE_LANES_EARLIEST, 0), 0);
    ck_assert_uint_eq(lane_next(&sub), 1);
    ck_assert_int_eq(lane_attach(&sub, &seq, &map, 0, TIDE_LANES_POSITION, 73), 0);
    ck_assert_uint_eq(lane_next(&sub), 3);
    ck_assert_uint_eq(lane_next(&sub), UINT64_MAX);
    ck_assert_int_eq(lane_attach(&sub, &seq, &map, 1, TIDE_LANES_LATEST, 0), 0);
    ck_assert_uint_eq(lane_next(&sub), UINT64_MAX);
    ck_assert(lane_send(&lane, 0, 4));
    tide_laneseq_step(&seq, 99);
    ck_assert_uint_eq(lane_next(&sub), 4);
    ck_assert_int_eq(lane_attach(&sub, &seq, &map, 1, TIDE_LANES_POSITION, 70), -ERANGE);
    ck_assert_int_eq(lane_attach(&sub, &seq, &map, 1, TIDE_LANES_POSITION, 76), -ENXIO);
    end();
}
END_TEST

START_TEST(batches_are_told_whole)
{
    struct tide_lanesub_batch batch[8];
    begin(TIDE_LAYOUT_CHECKSUM);
    ck_assert_int_eq(lane_attach(&sub, &seq, &map, 0, TIDE_LANES_EARLIEST, 0), 0);
    ck_assert_int_eq(tide_lanesub_poll(&sub, batch, 8), 3);
    for (uint64_t i = 0; i < 3; i++) {
        ck_assert_uint_eq(batch[i].position, 71 + i);
        ck_assert_uint_eq(batch[i].base, 71 + i);
        ck_assert_uint_eq(batch[i].number, 1 + i);
        ck_assert_uint_eq(batch[i].size, 8);
        ck_assert_uint_eq(batch[i].count, 1);
    }
    end();
}
END_TEST

START_TEST(damage_is_noticed_and_not_delivered)
{
    struct tide_lanesub_batch batch[8];
    begin(TIDE_LAYOUT_CHECKSUM);
    ck_assert_int_eq(lane_attach(&sub, &seq, &map, 0, TIDE_LANES_EARLIEST, 0), 0);
    struct tide_lanes_entry *entry = tide_lanes_entry(&map, 72);
    const struct tide_lanes_entry good = *entry;
    unsigned char *payload = tide_lanes_payload(&map, 0, good.end, good.size);
    *payload ^= 1;
    ck_assert_int_eq(tide_lanesub_poll(&sub, batch, 8), 1);
    ck_assert_int_eq(tide_lanesub_poll(&sub, batch, 8), -EBADMSG);
    *payload ^= 1;
    for (int i = 0; i < 4; i++) {
        *entry = good;
        if (i == 0)
            entry->size = 1 << 30;
        else if (i == 1)
            entry->end = 2 * map.granules.size + 1, entry->size = 128;
        else if (i == 2)
            entry->client = map.clients;
        else
            entry->broker = (uint8_t)map.brokers;
        ck_assert_int_eq(tide_lanesub_poll(&sub, batch, 8), -EBADMSG);
    }
    *entry = good;
    ck_assert_int_eq(tide_lanesub_poll(&sub, batch, 8), 2);
    end();
}
END_TEST

START_TEST(who_closes_holds_nothing_back)
{
    begin(0);
    ck_assert_int_eq(lane_attach(&sub, &seq, &map, 0, TIDE_LANES_EARLIEST, 0), 0);
    tide_laneseq_trim(&seq, 74);
    while (tide_laneseq_step(&seq, 99) != 0)
        ;
    ck_assert_uint_eq(map.head->trimmed_place, 71);
    tide_lanesub_close(&sub);
    while (tide_laneseq_step(&seq, 99) != 0)
        ;
    tide_laneseq_step(&seq, 99);
    ck_assert_uint_eq(map.head->trimmed_place, 74);
    end();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {readers_start_where_they_want, batches_are_told_whole,
                                  damage_is_noticed_and_not_delivered,
                                  who_closes_holds_nothing_back, NULL};
    return unit_main("lanesub", tests);
}
