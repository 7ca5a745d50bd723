/* test_lanecrew.c - who has a node of a log in lanes, and who its sequencer is. */
#include "lane_case.h"

#include "box/lanecrew.h"

enum { LEASE = 10000000, TICK = LEASE / 8 };

static struct tide_lanes map;
static struct tide_laneseq seq;
static struct tide_lanecrew crew;
static uint64_t now;

static void begin(void)
{
    lane_make(&map, (struct tide_layout_wish){
                        .level = 5, .producers = 4, .readers = 4, .nodes = 2, .lease = LEASE});
    ck_assert_int_eq(tide_laneseq_open(&seq, &map), 0);
    now = 12345;
    tide_lanecrew_begin(&crew, &seq, 99, TIDE_LANECREW_ROOM, now);
}

static void end(void)
{
    tide_laneseq_close(&seq);
    lane_drop(&map);
}

static void join(struct tide_lanecrew_node *node, uint32_t number, uint64_t own)
{
    ck_assert_int_eq(tide_lanecrew_knock(node, &map, number, own), 0);
    ck_assert_int_eq(tide_lanecrew_granted(node, now), -EAGAIN);
    ck_assert_uint_eq(tide_lanecrew_serve(&crew, now), 1);
    ck_assert_int_eq(tide_lanecrew_granted(node, now), 0);
}

/* Time that goes by, with looks of the sequencer, and of `node` if it lives. */
static void pass(uint64_t time, struct tide_lanecrew_node *node)
{
    for (uint64_t until = now + time; now < until; now += TICK) {
        if (node != NULL && tide_lanecrew_is_due(node, now))
            ck_assert_int_eq(tide_lanecrew_beat(node, now), 0);
        tide_lanecrew_serve(&crew, now);
    }
}

START_TEST(one_of_those_that_knock_gets_the_node)
{
    struct tide_lanecrew_node first, second, third;
    begin();
    ck_assert_int_eq(tide_lanecrew_knock(&first, &map, 1, 11), 0);
    ck_assert_int_eq(tide_lanecrew_knock(&second, &map, 1, 22), 0);
    ck_assert_uint_eq(tide_lanecrew_serve(&crew, now), 1);
    ck_assert_int_eq(tide_lanecrew_granted(&first, now), -EBUSY);
    ck_assert_int_eq(tide_lanecrew_granted(&second, now), 0);
    ck_assert_int_eq(tide_lanecrew_knock(&third, &map, 1, 33), -EBUSY);
    ck_assert_int_eq(tide_lanecrew_knock(&third, &map, 0, 33), 0);
    end();
}
END_TEST

/* Whoever gave up, or lost, may still be writing its knock. */
START_TEST(a_late_knock_is_not_heard_and_holds_nobody_up)
{
    struct tide_lanecrew_node late, first, second;
    begin();
    ck_assert_int_eq(tide_lanecrew_knock(&late, &map, 1, 11), 0);
    uint64_t door = map.node[1].door, seal = map.node[1].seal;
    join(&first, 1, 22);
    map.node[1].door = door; /* of turn 0 */
    map.node[1].seal = seal;
    tide_lanecrew_leave(&first);
    ck_assert_uint_eq(tide_lanecrew_serve(&crew, now), 1); /* it is free, and nobody gets it */
    ck_assert_uint_eq(map.node[1].standing, TIDE_LANES_FREE);
    ck_assert_uint_eq(tide_lanecrew_serve(&crew, now), 0);
    ck_assert_int_eq(tide_lanecrew_knock(&second, &map, 1, 33), 0);
    map.node[1].door = door;
    map.node[1].seal = seal;
    ck_assert_uint_eq(tide_lanecrew_serve(&crew, now), 0);
    map.node[1].door = 33; /* half of it is there */
    ck_assert_uint_eq(tide_lanecrew_serve(&crew, now), 0);
    ck_assert_int_eq(tide_lanecrew_granted(&second, now), -EAGAIN);
    ck_assert_uint_eq(tide_lanecrew_serve(&crew, now), 1);
    ck_assert_int_eq(tide_lanecrew_granted(&second, now), 0);
    end();
}
END_TEST

START_TEST(who_left_makes_room_at_once)
{
    struct tide_lanecrew_node first, second;
    begin();
    join(&first, 1, 11);
    tide_lanecrew_leave(&first);
    ck_assert_int_eq(tide_lanecrew_knock(&second, &map, 1, 22), 0); /* nobody looked yet */
    tide_lanecrew_serve(&crew, now);
    ck_assert_int_eq(tide_lanecrew_granted(&second, now), 0);
    ck_assert_int_eq(tide_lanecrew_beat(&first, now), -ESTALE);
    ck_assert_int_eq(tide_lanecrew_beat(&second, now), 0);
    end();
}
END_TEST

START_TEST(who_beats_stays_and_who_does_not_is_fenced)
{
    struct tide_lanecrew_node node, other;
    struct tide_lane lane;
    struct tide_lanesub sub;
    begin();
    join(&node, 1, 11);
    lane_join(&lane, &seq, &map, 2); /* of node 1 */
    ck_assert_int_eq(lane_attach(&sub, &seq, &map, 3, TIDE_LANES_EARLIEST, 0), 0);
    pass(5 * LEASE, &node);
    ck_assert_int_eq(tide_lane_check(&lane, 0), 0);
    pass(LEASE + 2 * TICK, NULL);
    ck_assert(!seq.reader[3].open);
    ck_assert_uint_eq(map.reader[3].error, ESTALE);
    ck_assert_int_eq(tide_lane_check(&lane, 0), -ESTALE);
    ck_assert(lane_send(&lane, 0, 77)); /* it does not know yet */
    ck_assert_uint_eq(tide_laneseq_step(&seq, 9), 0);
    ck_assert(tide_lanecrew_is_due(&node, now));
    ck_assert_int_eq(tide_lanecrew_beat(&node, now), -ESTALE);
    /* It may be in the middle of something: another lease. */
    ck_assert_int_eq(tide_lanecrew_knock(&other, &map, 1, 22), 0);
    pass(LEASE - 2 * TICK, NULL);
    ck_assert_int_eq(tide_lanecrew_granted(&other, now), -EAGAIN);
    pass(3 * TICK, NULL);
    ck_assert_int_eq(tide_lanecrew_granted(&other, now), 0);
    end();
}
END_TEST

START_TEST(a_session_that_a_fenced_node_asks_for_does_not_last)
{
    struct tide_lanecrew_node node;
    struct tide_lane lane;
    begin();
    join(&node, 1, 11);
    ck_assert_int_eq(tide_lanecrew_expel(&crew, 1, now), 0);
    ck_assert_int_eq(tide_lanecrew_expel(&crew, 1, now), -ESRCH);
    lane_join(&lane, &seq, &map, 3);
    tide_lanecrew_serve(&crew, now);
    ck_assert_int_eq(tide_lane_check(&lane, 0), -ESTALE);
    end();
}
END_TEST

/* --- the sequencer ------------------------------------------------------------------------- */

/* What becomes of a bid in which so much time passes; the sequencer beats if `alive`. */
static int bid(uint64_t time, uint64_t own, bool alive)
{
    struct tide_lanecrew_bid bid;
    int error = -EAGAIN;
    tide_lanecrew_bid(&bid, &map, own, now);
    for (uint64_t until = now + time; now < until && error == -EAGAIN; now += TICK) {
        if (alive)
            ck_assert_int_eq(tide_lanecrew_lead(&crew, now), 0);
        error = tide_lanecrew_won(&bid, now);
    }
    return error;
}

START_TEST(a_sequencer_that_lives_stays)
{
    begin();
    ck_assert_int_eq(bid(9 * LEASE, 11, true), -EBUSY);
    ck_assert_int_eq(tide_lanecrew_lead(&crew, now), 0);
    end();
}
END_TEST

START_TEST(one_that_does_not_is_followed_and_finds_out)
{
    struct tide_lanecrew old;
    struct tide_laneseq next;
    struct tide_lanecrew_node node;
    begin();
    join(&node, 1, 11);
    old = crew;
    ck_assert_int_eq(bid(LEASE - TICK, 22, false), -EAGAIN);
    ck_assert_int_eq(bid(LEASE + LEASE / 2 - TICK, 33, false), -EAGAIN);
    ck_assert_int_eq(tide_lanecrew_lead(&old, now), -ESTALE); /* long before anybody has won */
    ck_assert_int_eq(bid(2 * LEASE, 44, false), 0);
    ck_assert_int_eq(tide_laneseq_open(&next, &map), 0);
    tide_lanecrew_begin(&crew, &next, 44, TIDE_LANECREW_BID, now);
    ck_assert_int_eq(tide_lanecrew_lead(&crew, now + LEASE), 0);
    ck_assert_int_eq(tide_lanecrew_beat(&node, now), 0);
    pass(2 * LEASE, &node);
    tide_lanecrew_resign(&crew);
    ck_assert_int_eq(bid(LEASE, 55, false), 0); /* half a lease is enough */
    tide_laneseq_close(&next);
    end();
}
END_TEST

/* A machine that was stopped together with its clock: it cannot know by its lease. */
START_TEST(one_whose_clock_stood_still_finds_out)
{
    struct tide_lanecrew old;
    uint64_t before;
    begin();
    ck_assert_int_eq(tide_lanecrew_lead(&crew, now), 0);
    old = crew;
    before = now;
    ck_assert_int_eq(bid(2 * LEASE, 22, false), 0);
    ck_assert_int_eq(tide_lanecrew_lead(&old, before), -ESTALE);
    tide_lanecrew_resign(&crew);
    ck_assert_int_eq(tide_lanecrew_lead(&old, before), -ESTALE);
    end();
}
END_TEST

START_TEST(of_two_bids_one_wins)
{
    struct tide_lanecrew_bid first, second;
    begin();
    tide_lanecrew_bid(&first, &map, 11, now);
    tide_lanecrew_bid(&second, &map, 22, now);
    now += LEASE;
    /* Both find that nobody beats before the other one's number is there. */
    ck_assert_int_eq(tide_lanecrew_won(&first, now), -EAGAIN);
    map.head->lead = 99;
    map.head->lead_beat = second.beat;
    ck_assert_int_eq(tide_lanecrew_won(&second, now), -EAGAIN);
    now += LEASE / 2;
    ck_assert_int_eq(tide_lanecrew_won(&first, now), -EBUSY);
    ck_assert_int_eq(tide_lanecrew_won(&second, now), 0);
    end();
}
END_TEST

START_TEST(the_owner_of_the_room_has_its_node_at_once)
{
    struct tide_lanecrew_node node = {.map = &map, .self = 99}, other;
    begin();
    join(&other, 0, 11); /* another one had it */
    tide_lanecrew_seat(&crew, &node, now);
    ck_assert_int_eq(tide_lanecrew_beat(&node, now), 0);
    ck_assert_int_eq(tide_lanecrew_beat(&other, now), -ESTALE);
    ck_assert_uint_eq(map.head->lead, 99);
    ck_assert_uint_eq(map.head->lead_way, TIDE_LANECREW_ROOM);
    end();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {one_of_those_that_knock_gets_the_node,
                                  a_late_knock_is_not_heard_and_holds_nobody_up,
                                  who_left_makes_room_at_once,
                                  who_beats_stays_and_who_does_not_is_fenced,
                                  a_session_that_a_fenced_node_asks_for_does_not_last,
                                  a_sequencer_that_lives_stays,
                                  one_that_does_not_is_followed_and_finds_out,
                                  one_whose_clock_stood_still_finds_out,
                                  of_two_bids_one_wins,
                                  the_owner_of_the_room_has_its_node_at_once,
                                  NULL};
    return unit_main("lanecrew", tests);
}
