/* test_claims.c - the short way to put a log in order: what it does about claims of processes
 * that are gone, what it does not look at, and what it leaves to the whole repair. */
#include "claims_case.h"

/* --- what is done about claims ------------------------------------------------------------ */

/* As if they had not been made; also the first ones of a ring. */
START_TEST(the_last_claims_are_taken_back)
{
    make(kinds[_i / 2]);
    if (_i % 2 != 0)
        all_is_free_again();
    struct tide_log_broker_stat before = stat_broker();
    struct tide_ring_head head = tide_ring_head(&log_->map, 0);
    claim(theirs, 512);
    claim(other, 1024);
    give(theirs);
    give(other);
    ck_assert(mend());
    ck_assert_uint_eq(report.padded, 2);
    struct tide_log_broker_stat after = stat_broker();
    ck_assert_uint_eq(after.claimed, before.claimed);
    ck_assert_uint_eq(after.used_bytes, before.used_bytes);
    ck_assert_uint_eq(tide_ring_head(&log_->map, 0).granule, head.granule);
    append(mine);
    ck_assert_int_eq(read_all(), _i % 2 != 0 ? 1 : OLD + 1);
    all_is_free_again();
    drop();
}
END_TEST

/* A claim of somebody who goes on is behind them, or a batch: then they are pads. */
START_TEST(claims_before_others_are_pads)
{
    make(kinds[_i / 2]);
    claim(theirs, 512);
    claim(other, 1024);
    if (_i % 2 != 0)
        claim(mine, 64);
    else
        append(mine);
    give(theirs);
    give(other);
    ck_assert(mend());
    ck_assert_uint_eq(report.padded, 2);
    if (_i % 2 != 0) {
        mine->broker.claimed = false;
        tide_broker_put(&mine->broker, &mine->broker.claim, 0, 0, &(struct tide_broker_result){0});
        poll_all();
    }
    ck_assert_int_eq(stat_broker().claimed, OLD + 3);
    all_is_free_again();
    drop();
}
END_TEST

/* The last one of somebody who is gone, behind a claim that stays. */
START_TEST(a_claim_behind_one_that_stays)
{
    make(kinds[_i]);
    claim(mine, 700);
    struct tide_ring_head head = tide_ring_head(&log_->map, 0);
    claim(theirs, 512);
    give(theirs);
    ck_assert(mend());
    ck_assert_uint_eq(tide_ring_head(&log_->map, 0).slot, head.slot);
    ck_assert_uint_eq(tide_ring_head(&log_->map, 0).granule, head.granule);
    mine->broker.claimed = false;
    tide_broker_put(&mine->broker, &mine->broker.claim, 0, 0, &(struct tide_broker_result){0});
    all_is_free_again();
    give(other);
    ck_assert(mend());
    drop();
}
END_TEST

/* Its producer died before it was given a place, or was let go. */
static void publish(uint32_t flags)
{
    struct tide_broker *broker = &theirs->broker;
    struct tide_ring_batch batch = {
        broker->next, broker->client, broker->epoch, flags == 0, 0, flags, 0};
    claim(theirs, 64);
    tide_ring_publish(&log_->map, &broker->claim, &batch, 0);
    atomic_store(&broker->entry->busy, 1);
    give(theirs);
}

/* All but those of the sequencer are given their place by their producer, which ends before that,
 * or behind it and before it forgets the claim: one place each. */
START_TEST(a_batch_that_was_published_has_its_place)
{
    bool placed = _i % 2 != 0;
    make(kinds[_i / 2]);
    bool inline_ = log_->map.level != 0 && !log_->map.stepped;
    publish(0);
    struct tide_layout_slot *slot = tide_logmap_slot(&log_->map, 0, theirs->broker.claim.slot);
    struct tide_order_place at;
    if (placed && inline_ && log_->map.level == 4)
        ck_assert_int_eq(tide_session_submit(&log_->map, 0, slot, &at), TIDE_SESSION_PLACED);
    else if (placed && inline_)
        tide_order_commit(&log_->map, 0, slot);
    if (!log_->map.stepped) /* else the sequencer comes to it before its session is fenced */
        append(mine);
    ck_assert(mend());
    ck_assert_uint_eq(report.placed, inline_ && !placed);
    if (log_->map.stepped) /* perhaps nobody polls for long */
        ck_assert(!tide_seq_waits(&log_->map));
    append(mine);
    ck_assert_int_eq(read_all(), OLD + 2 + !log_->map.stepped);
    all_is_free_again();
    give(other);
    ck_assert(mend());
    drop();
}
END_TEST

/* Sent again, after it had its place: it is dropped, whose ever that is. */
START_TEST(a_batch_that_is_late_has_no_place)
{
    make(kinds[2]);
    append(theirs);
    publish(0);
    tide_logmap_slot(&log_->map, 0, theirs->broker.claim.slot)->number--;
    ck_assert(mend());
    ck_assert(report.placed == 0 && report.fenced == 1);
    ck_assert_int_eq(read_all(), OLD + 1);
    all_is_free_again();
    give(other);
    ck_assert(mend());
    drop();
}
END_TEST

/* Loop index: it is dropped already. */
START_TEST(a_pad_that_was_published_is_dropped)
{
    make(kinds[_i / 2]);
    publish(TIDE_LAYOUT_PAD);
    if (_i % 2 != 0 && log_->map.level != 0 && !log_->map.stepped)
        tide_trim_drop(&log_->map, 0, tide_logmap_at(&log_->map.slots, theirs->broker.claim.slot));
    ck_assert(mend());
    append(mine);
    ck_assert_int_eq(read_all(), OLD + 1);
    all_is_free_again();
    give(other);
    ck_assert(mend());
    drop();
}
END_TEST

/* In a call, with no claim: the one that it wanted is another one's, or was never made. */
START_TEST(a_call_before_its_claim_leaves_nothing)
{
    make(kinds[_i / 3]);
    struct tide_layout_producer *entry = theirs->broker.entry;
    struct tide_ring_head head = tide_ring_head(&log_->map, 0);
    entry->busy = 1;
    entry->claim = (uint32_t)head.slot - (_i % 3 == 1); /* behind the last one, or that */
    if (_i % 3 == 2)
        claim(mine, 64);
    give(theirs);
    give(other);
    ck_assert(mend());
    ck_assert_uint_eq(report.padded + report.placed, 0);
    ck_assert_uint_eq(tide_ring_head(&log_->map, 0).slot, head.slot + (_i % 3 == 2));
    if (_i % 3 == 2)
        mine->broker.claimed = false;
    drop();
}
END_TEST

/* In front of the door of its session, with which it has done nothing yet. */
START_TEST(a_door_that_was_only_taken)
{
    make(kinds[2]);
    claim(theirs, 64);
    claim(other, 64);
    theirs->broker.entry->busy = other->broker.entry->busy = 1;
    give(theirs);
    give(other);
    _Atomic uint64_t *door = &log_->map.session[1].door;
    other->broker.entry->client = 1; /* two of them: nobody knows which one it was */
    *door = TIDE_DOOR_TAKEN;
    ck_assert(!mend());
    other->broker.entry->client = 2;
    *door = TIDE_DOOR_CALLED | TIDE_DOOR_TAKEN;
    ck_assert(!mend());
    *door = tide_layout_ref(0, 1); /* handed over */
    ck_assert(!mend());
    log_->map.session[3].door = TIDE_DOOR_TAKEN; /* nobody's */
    *door = TIDE_DOOR_TAKEN;
    ck_assert(!mend());
    log_->map.session[3].door = TIDE_DOOR_OPEN;
    ck_assert(mend());
    ck_assert_uint_eq(*door, TIDE_DOOR_OPEN);
    append(mine);
    ck_assert_int_eq(read_all(), OLD + 1);
    drop();
}
END_TEST

/* Behind the door, with a batch that is published: that is not simple. */
START_TEST(a_door_behind_which_something_was_done)
{
    make(kinds[2]);
    publish(0);
    log_->map.session[1].door = TIDE_DOOR_TAKEN;
    ck_assert(!mend());
    log_->map.session[1].door = TIDE_DOOR_OPEN;
    give(other);
    ck_assert(mend());
    drop();
}
END_TEST

/* Level 0: what was said to be released is, and nothing that cannot have been. */
START_TEST(slots_that_were_about_to_be_released)
{
    make(kinds[0]);
    struct tide_layout_broker *broker = &log_->map.broker[0];
    uint64_t first = broker->released_slot, end = broker->released_granule;
    log_->map.head->trimmer = 1;
    claim(theirs, 64);
    give(theirs);
    broker->releasing = first + OLD + 2; /* not claimed */
    ck_assert(!mend());
    broker->releasing = first + OLD + 1; /* not published */
    ck_assert(!mend());
    broker->releasing = first - 1;
    ck_assert(!mend());
    broker->releasing = first + 3;
    tide_logmap_slot(&log_->map, 0, first + 2)->end += 4096;
    ck_assert(!mend());
    tide_logmap_slot(&log_->map, 0, first + 2)->end -= 4096;
    ck_assert(broker->released_slot == first && broker->released_granule == end);
    ck_assert(mend());
    ck_assert_uint_eq(broker->released_slot, first + 3);
    ck_assert_uint_eq(broker->released_granule, end + 3);
    ck_assert_uint_eq(log_->map.head->trimmer, 0);
    append(mine);
    ck_assert_int_eq(read_all(), OLD - 3 + 1);
    all_is_free_again();
    give(other);
    ck_assert(mend());
    drop();
}
END_TEST

/* --- what is left to the whole repair ------------------------------------------------------ */

#define ROWS(X)                                                                                    \
    X(head->member[DEAD].busy = 1, head->member[DEAD].busy = 0)                                    \
    X(head->member[DEAD].standing = TIDE_LAYOUT_EXPELLED,                                          \
      head->member[DEAD].standing = TIDE_LAYOUT_MEMBER)                                            \
    X(crew.kept = 1 << DEAD, crew.kept = 0)                                                        \
    X(head->trimmer = 1, head->trimmer = 0)                                                        \
    X(log_->map.broker[0].scanner = 1, log_->map.broker[0].scanner = 0)                            \
    X(entry->out = 0 * ++entry->busy, entry->out = out + 0 * --entry->busy)                        \
    X(entry->claim = (UINT64_C(99) << 32) + 0 * (entry->busy = 1) + (entry->out = 0),              \
      entry->out = out + 0 * --entry->busy)                                                        \
    X(entry->out = out + 1, entry->out = out)                                                      \
    X(entry->out = out - OLD, entry->out = out)                                                    \
    X(entry->out = tide_layout_mark(99, OLD) | TIDE_LAYOUT_OUT, entry->out = out)                  \
    X(entry->out_end += 1024, entry->out_end -= 1024)                                              \
    X(entry->out_end += 1, entry->out_end -= 1)                                                    \
    X(entry->out_end = -UINT64_C(1), entry->out_end = end)                                         \
    X(index->seq = crew.alive = 0, index->seq = 1)

START_TEST(what_is_not_that_simple_is_left_as_it_is)
{
    make(kinds[1]);
    struct tide_mend_crew crew = living();
    struct tide_layout_head *head = log_->map.head;
    struct tide_layout_producer *entry = theirs->broker.entry;
    struct tide_layout_entry *index = tide_logmap_entry(&log_->map, 0);
    claim(theirs, 512);
    give(theirs);
    uint64_t out = entry->out, end = entry->out_end, epoch = head->epoch;
    uint64_t word = log_->map.broker[0].claim, known = head->committed;
#define ROW(how, back)                                                                             \
    how;                                                                                           \
    ck_assert_msg(!tide_claims_mend(&log_->map, &crew, &report), "%s", #how);                      \
    ck_assert(head->epoch == epoch && entry->owner == tide_layout_whose(DEAD, 1));                 \
    ck_assert(log_->map.broker[0].claim == word);                                                  \
    back;
    head->committed = 0; /* nobody knows more, after a restart */
    ROWS(ROW)
    head->committed = known;
    give(other);
    ck_assert(mend());
    drop();
}
END_TEST

/* What it gave a place to may be behind a hole of another one, or wait for others, or nobody knows
 * what became of it: it is left to the whole repair, which may tell. */
START_TEST(a_batch_of_which_too_little_is_known)
{
    make(kinds[_i == 0 ? 1 : 2]);
    struct tide_layout_session *session = &log_->map.session[_i == 0 ? 0 : theirs->broker.client];
    publish(0);
    if (_i == 0)
        tide_order_take(&log_->map, 1, 1);
    else
        session->held = 1;
    ck_assert(!mend());
    ck_assert_uint_eq(theirs->broker.entry->owner, tide_layout_whose(DEAD, 1));
    mend_whole();
    ck_assert_uint_eq(report.placed, 1);
    ck_assert_int_eq(read_all(), OLD + 1);
    give(other);
    ck_assert(mend());
    drop();
}
END_TEST

/* It had its place so long ago that nobody looks for it there. Loop index: by one too far. */
START_TEST(a_place_that_is_too_far_behind)
{
    enum { LOOKS = 1 << 17, SLOTS = LOOKS + 64 };
    struct tide_log_options options = options_of(kinds[1]);
    options.slots = SLOTS;
    options.payload = SLOTS * UINT64_C(64);
    region = region_made("memfd", 64 << 20, 0);
    ck_assert_int_eq(tide_log_create_on(&log_, region, &options), 0);
    theirs = open_client(1);
    other = open_client(2);
    mine = open_client(3);
    publish(0);
    tide_order_commit(&log_->map, 0, tide_logmap_slot(&log_->map, 0, theirs->broker.claim.slot));
    for (int i = 1; i < LOOKS + _i; i++)
        ck_assert_int_eq(tide_log_append(mine, 0, "batch", 5, TIDE_LOG_TRY, NULL), 0);
    ck_assert(mend() == (_i == 0));
    ck_assert_uint_eq(report.placed, 0);
    mend_whole();
    give(other);
    ck_assert(mend());
    drop();
}
END_TEST

/* --- how long it takes --------------------------------------------------------------------- */

/* Old batches are not looked at, whatever became of them; by the whole repair, they are. */
START_TEST(old_batches_are_not_looked_at)
{
    struct tide_layout_fault fault;
    make(kinds[1]);
    struct tide_mend_crew crew = living();
    struct tide_layout_entry *index = tide_logmap_entry(&log_->map, 1);
    claim(theirs, 512);
    give(theirs);
    give(other);
    index->base += 7;
    ck_assert(mend());
    ck_assert_int_eq(tide_mend_among(&log_->map, &crew, &report, &fault), -EUCLEAN);
    index->base -= 7;
    drop();
}
END_TEST

/* Likewise where nobody goes on, and the next one opens the log; unless a repair was begun before,
 * which ends as a whole. Loop index: it was. */
START_TEST(who_opens_it_does_not_look_at_old_batches)
{
    char text[300];
    snprintf(text, sizeof text, "file:%s/claims", unit_disk);
    struct tide_log_options options = options_of(kinds[1]);
    region = region_made(text, REGION_SIZE, TIDE_REGION_REPLACE);
    ck_assert_int_eq(tide_log_create_on(&log_, region, &options), 0);
    ck_assert_int_eq(tide_log_close(log_), 0);
    ck_assert_int_eq(tide_region_close(region), 0);
    pid_t child = fork();
    if (child == 0) {
        region = region_opened(text);
        UNIT_NEED(tide_log_open(&log_, region) == 0);
        mine = open_client(1);
        for (int i = 0; i < OLD; i++)
            append(mine);
        claim(mine, 512);
        tide_logmap_entry(&log_->map, 1)->base += 7;
        atomic_store(&tide_logroom_of(region)->mending, (unsigned)_i);
        _exit(0);
    }
    int status;
    ck_assert(waitpid(child, &status, 0) == child && status == 0);
    region = region_opened(text);
    int error = tide_log_open(&log_, region);
    ck_assert_int_eq(error, _i == 0 ? 0 : -EUCLEAN);
    if (_i == 0) {
        struct tide_log_broker_stat stat = stat_broker();
        ck_assert_uint_eq(stat.claimed, OLD);
        mine = open_client(1);
        append(mine);
        ck_assert_int_eq(tide_log_client_close(mine), 0);
        ck_assert_int_eq(tide_log_close(log_), 0);
    }
    ck_assert_int_eq(tide_region_close(region), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("claims");
    TCase *tcase = tcase_create("claims");
    tcase_add_checked_fixture(tcase, unit_files_setup, unit_files_teardown);
    tcase_add_loop_test(tcase, the_last_claims_are_taken_back, 0, 2 * KINDS);
    tcase_add_loop_test(tcase, claims_before_others_are_pads, 2, 2 * KINDS);
    tcase_add_loop_test(tcase, a_claim_behind_one_that_stays, 1, KINDS);
    tcase_add_loop_test(tcase, a_batch_that_was_published_has_its_place, 2, 2 * KINDS);
    tcase_add_test(tcase, a_batch_that_is_late_has_no_place);
    tcase_add_loop_test(tcase, a_pad_that_was_published_is_dropped, 2, 2 * KINDS);
    tcase_add_loop_test(tcase, a_call_before_its_claim_leaves_nothing, 0, 3 * KINDS);
    tcase_add_test(tcase, a_door_that_was_only_taken);
    tcase_add_test(tcase, a_door_behind_which_something_was_done);
    tcase_add_test(tcase, slots_that_were_about_to_be_released);
    tcase_add_loop_test(tcase, a_batch_of_which_too_little_is_known, 0, 2);
    tcase_add_test(tcase, what_is_not_that_simple_is_left_as_it_is);
    tcase_add_loop_test(tcase, a_place_that_is_too_far_behind, 0, 2);
    tcase_add_test(tcase, old_batches_are_not_looked_at);
    tcase_add_loop_test(tcase, who_opens_it_does_not_look_at_old_batches, 0, 2);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
