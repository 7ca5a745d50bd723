/* test_laneaudit.c - damage to a log in lanes, one word at a time: each is found by its name. */
#include "lane_case.h"

#include "box/frame.h"
#include "box/laneaudit.h"

static struct tide_lanes map;
static struct tide_laneseq seq;
static struct tide_lane lane;
static char words[4096];
static struct tide_audit audit;

static void tell(void *unused, const struct tide_audit_finding *finding)
{
    (void)unused;
    if (strlen(words) + 64 < sizeof words)
        sprintf(words + strlen(words), " %s%s", finding->note ? "~" : "", finding->word);
}

/* A batch of one message of 8 bytes. */
static void send(uint32_t broker)
{
    struct tide_lane_result result;
    struct tide_layout_frame frame = {.length = 8};
    ck_assert(tide_lane_claim(&lane, broker, sizeof frame + 8));
    memset(lane.claim.payload, 7, sizeof frame + 8);
    memcpy(lane.claim.payload, &frame, sizeof frame);
    tide_lane_commit(&lane, 1, sizeof frame + 8, &result);
    tide_lane_flush(&lane);
}

/* Six batches in two lanes; one of them is trimmed. */
static void begin(uint32_t level)
{
    lane_make(&map, (struct tide_layout_wish){
                        .level = level, .brokers = 2, .features = TIDE_LAYOUT_CHECKSUM});
    ck_assert_int_eq(tide_laneseq_open(&seq, &map), 0);
    lane_join(&lane, &seq, &map, 0);
    for (uint32_t i = 0; i < 6; i++)
        send(i % 2);
    while (tide_laneseq_step(&seq, 99) != 0)
        ;
    tide_laneseq_trim(&seq, 1);
}

static void end(void)
{
    tide_laneseq_close(&seq);
    lane_drop(&map);
}

static const char *look(bool closed)
{
    words[0] = '\0';
    audit = (struct tide_audit){.tell = tell, .closed = closed};
    ck_assert(tide_laneaudit_run(&audit, &map));
    return words;
}

/* With the number at `at` raised by that much the finding `word` is there, and without nothing. */
static void damaged(const void *at, uint64_t by, size_t bytes, const char *word)
{
    uint64_t was = 0, now;
    memcpy(&was, at, bytes);
    now = was + by;
    memcpy((void *)(uintptr_t)at, &now, bytes);
    ck_assert_msg(strstr(look(true), word) != NULL, "'%s' for '%s'", words, word);
    ck_assert_uint_gt(audit.errors, 0);
    memcpy((void *)(uintptr_t)at, &was, bytes);
    ck_assert_str_eq(look(true), "");
}

START_TEST(a_sound_log_is_sound)
{
    begin((uint32_t)_i);
    ck_assert_str_eq(look(true), "");
    ck_assert_uint_eq(audit.batches, 5);
    ck_assert_uint_eq(audit.messages, 5);
    end();
}
END_TEST

START_TEST(each_damage_has_its_name)
{
    begin(4);
    struct tide_lanes_entry *entry = tide_lanes_entry(&map, 3);
    uint32_t number = tide_lanes_number(&map, entry->client, entry->broker);
    struct tide_lanes_slot *slot = tide_lanes_slot(&map, number, entry->slot);
    damaged(&map.head->committed, 1000, 8, " head-order");
    damaged(&map.head->trimmed_place, 1000, 8, " head-order");
    damaged(&map.head->epoch, UINT64_MAX / 2, 8, " head-epoch");
    damaged(&entry->seq, 1, 8, " entry-seq");
    damaged(&entry->seq, 1, 8, " entry-stray");
    damaged(&map.head->committed, UINT64_MAX, 8, " entry-ahead");
    damaged(&entry->client, 1000, 4, " entry-client");
    damaged(&entry->broker, 100, 1, " entry-broker");
    damaged(&entry->size, 1 << 20, 4, " entry-size");
    damaged(&entry->count, 100, 4, " entry-count");
    damaged(&entry->epoch, 100, 4, " entry-epoch");
    damaged(&entry->base, 1, 8, " entry-base");
    damaged(&entry->slot, 1000, 8, " entry-slot");
    damaged(&entry->number, 1, 8, " entry-number");
    damaged(&entry->end, 1000, 8, " granules");
    damaged(tide_lanes_payload(&map, number, entry->end, entry->size) + entry->size - 1, 1, 1,
            " payload-sum");
    damaged(&slot->publish, 1, 8, " slot-publish");
    damaged(&slot->number, 1, 8, " slot-entry");
    damaged(&slot->checksum, 1, 4, " slot-entry");
    damaged(&map.lane[number].released, 1000, 8, " lane-order");
    damaged(&map.lane[number].from_slot, 1000, 8, " lane-order");
    damaged(&map.lane[number].done, 1000, 8, " lane-order");
    damaged(&map.lane[number].done_granule, 1000, 8, " lane-order");
    damaged(&map.session[0].state, 7, 8, " session-state");
    damaged(&map.session[0].expected, 1, 8, " session-number");
    damaged(&map.reader[0].start, 77, 8, " reader-start");
    damaged(&map.node[0].standing, 77, 8, " node-standing");
    end();
}
END_TEST

START_TEST(frames_and_readers_are_looked_at)
{
    struct tide_lanesub sub;
    begin(5);
    struct tide_lanes_entry *entry = tide_lanes_entry(&map, 3);
    uint32_t number = tide_lanes_number(&map, entry->client, entry->broker);
    map.checksum = false;
    damaged(tide_lanes_payload(&map, number, entry->end, entry->size), 100, 4, " payload-frame");
    ck_assert_int_eq(lane_attach(&sub, &seq, &map, 0, TIDE_LANES_EARLIEST, 0), 0);
    damaged(&map.reader[0].cursor, 1000, 8, " reader-cursor");
    end();
}
END_TEST

START_TEST(what_waits_is_a_note)
{
    begin(5);
    send(0);
    send(1);
    ck_assert_str_eq(look(false), " ~slot-waits ~slot-waits");
    ck_assert_uint_eq(audit.errors, 0);
    while (tide_laneseq_step(&seq, 99) != 0)
        ;
    map.head->committed -= 2; /* as if who told of them had ended before */
    ck_assert_str_eq(look(false), " ~entry-ahead ~entry-ahead");
    ck_assert_str_eq(look(true), " entry-ahead entry-ahead");
    end();
}
END_TEST

/* Places are told of before numbers are: who is killed between them left it so. */
START_TEST(numbers_are_told_late)
{
    begin(4);
    map.session[0].expected--;
    ck_assert_str_eq(look(true), " session-number");
    ck_assert_str_eq(look(false), "");
    map.session[0].expected += 2;
    ck_assert_str_eq(look(false), " session-number");
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("laneaudit");
    TCase *tcase = tcase_create("laneaudit");
    tcase_add_loop_test(tcase, a_sound_log_is_sound, 4, 6);
    tcase_add_test(tcase, each_damage_has_its_name);
    tcase_add_test(tcase, frames_and_readers_are_looked_at);
    tcase_add_test(tcase, what_waits_is_a_note);
    tcase_add_test(tcase, numbers_are_told_late);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
