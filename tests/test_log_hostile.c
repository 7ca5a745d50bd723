/* test_log_hostile.c - a log in memory that others may write to: words that mean no good. What was
 * found by tests/fuzz/fuzz_hostile.c, and by looking, one case each. */
#include "region_case.h"

#include <pthread.h>

#include <tidepool/log.h>

#include "box/crc.h"
#include "box/logapi.h"
#include "box/medium.h"

/* A flipped word is looked at until it was seen to turn so often, or was not in so many looks. */
enum { SIZE = 3 << 20, FIRST = 100, FLIPS = 2000000, TURNS = 20000 };

static tide_region_t *region;
static struct tide_logroom *room;
static tide_log_t *log_;
static struct tide_layout_head *head;
static const struct tide_logmap *map;
static tide_log_client_t *client;

static void says(const char *want)
{
    char text[256];
    tide_log_explain(text, sizeof text);
    ck_assert_msg(strstr(text, want) != NULL, "'%s' for '%s'", text, want);
}

static int add(const char *text)
{
    return tide_log_append(client, 0, text, strlen(text), TIDE_LOG_TRY, NULL);
}

/* A log with a few batches in it, open. */
static void begin(unsigned level)
{
    struct tide_log_options options = {.level = level,
                                       .brokers = 2,
                                       .clients = 4,
                                       .window = 8,
                                       .slots = 32,
                                       .payload = 8192,
                                       .first = FIRST,
                                       .retain = TIDE_LOG_KEEP_ALL,
                                       .checksum = 1};
    region = region_made("memfd", SIZE, 0);
    room = tide_region_area(region, TIDE_REGION_AREA_LOG);
    ck_assert_int_eq(tide_log_create_on(&log_, region, &options), 0);
    map = &log_->map;
    head = map->head;
    ck_assert_int_eq(tide_log_client_open(&client, log_, NULL), 0);
    for (int i = 0; i < 6; i++)
        ck_assert_int_eq(add("a batch"), 0);
}

static void leave(void)
{
    ck_assert_int_eq(tide_log_client_close(client), 0);
    ck_assert_int_eq(tide_log_close(log_), 0);
}

static void sign(void)
{
    room->check = tide_crc(0, (unsigned char *)room + 8, offsetof(struct tide_logroom, check) - 8);
    head->check = tide_layout_check(head);
}

/* --- what an opener looks at ----------------------------------------------------------------- */

START_TEST(sizes_that_do_not_follow_from_the_others)
{
    begin(5);
    leave();
    head->entries = 0;
    sign();
    ck_assert_int_eq(tide_log_open(&log_, region), -EPROTO);
    says("entries of the order index: 0, allowed: 64 to 64");
    head->entries = UINT64_C(1) << 40;
    sign();
    ck_assert_int_eq(tide_log_open(&log_, region), -EPROTO);
}
END_TEST

static struct tide_plot_entry *entry_of(uint64_t segment)
{
    return (struct tide_plot_entry *)(region->extent.base + TIDE_PLOT_AT) + segment;
}

START_TEST(a_run_that_is_longer_than_the_region)
{
    begin(5);
    leave();
    uint64_t first = room->at / TIDE_REGION_SEGMENT, length = UINT64_C(1) << 20;
    entry_of(first)->word = TIDE_REGION_LENT | length << 16;
    room->length = length * TIDE_REGION_SEGMENT;
    room->size = room->length;
    sign();
    ck_assert_int_eq(tide_log_open(&log_, region), -EPROTO);
    says("segments from the log's first one on");
    ck_assert_int_eq(tide_region_reclaim(region), -EPROTO);
}
END_TEST

START_TEST(a_log_in_the_regions_own_head)
{
    begin(5);
    leave();
    *entry_of(0) = *entry_of(room->at / TIDE_REGION_SEGMENT);
    room->at = 0;
    sign();
    ck_assert_int_eq(tide_log_open(&log_, region), -EPROTO);
    says("first segment of the log: 0, allowed: 1 to");
}
END_TEST

START_TEST(locks_of_nobody_in_a_log_that_is_closed)
{
    tide_log_reader_t *reader;
    begin(4);
    _Atomic uint64_t *words[] = {&head->trimmer, &map->broker[1].scanner, &map->session[2].door};
    leave();
    struct tide_log_client_options who = {.id = 2};
    for (int i = 0; i < 3; i++)
        *words[i] = 1;
    ck_assert_int_eq(tide_log_open(&log_, region), 0);
    ck_assert_uint_eq(room->repairs, 1);
    for (int i = 0; i < 3; i++)
        ck_assert_uint_eq(*words[i], 0);
    ck_assert_int_eq(tide_log_reader_open(&reader, log_, NULL), 0);
    ck_assert_int_eq(tide_log_client_open(&client, log_, &who), 0);
    ck_assert_int_eq(add("goes on"), 0);
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    leave();
}
END_TEST

/* --- counters -------------------------------------------------------------------------------- */

START_TEST(a_prefix_that_was_never_committed)
{
    uint64_t earliest;
    begin(5);
    head->committed = FIRST + (UINT64_C(1) << 50);
    ck_assert_int_eq(tide_log_trim(log_, 0, UINT64_MAX, &earliest), 0);
    ck_assert_uint_eq(earliest, FIRST + 6);
    ck_assert_int_ge(tide_log_trim_to(log_, 0), 0);
    leave();
}
END_TEST

START_TEST(blocks_that_were_never_retired)
{
    begin(5);
    head->referred = 1;
    head->retired = UINT64_C(1) << 50;
    ck_assert_int_eq(tide_log_reclaim(log_), 0);
    ck_assert_uint_eq(head->reclaimed, 0);
    ck_assert_int_eq(tide_log_poll(log_), 0);
    head->retired = 0;
    leave();
}
END_TEST

START_TEST(more_trimmed_than_committed_is_not_durable)
{
    begin(5);
    log_->durable.medium = (struct tide_medium){TIDE_MEDIUM_CACHE, NULL};
    head->trimmed_place = FIRST + 1000;
    ck_assert_int_eq(tide_log_sync(log_), -EUCLEAN);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    ck_assert_int_eq(tide_log_close(log_), -EUCLEAN);
}
END_TEST

START_TEST(a_mark_that_is_long_past)
{
    begin(5);
    log_->durable.medium = (struct tide_medium){TIDE_MEDIUM_CACHE, NULL};
    head->referred = 1;
    head->committed = FIRST + (UINT64_C(1) << 50);
    ck_assert_int_eq(tide_log_sync(log_), 0); /* of what it looks at nothing is there */
    ck_assert_uint_eq(tide_log_durable(log_), FIRST + (UINT64_C(1) << 50));
    leave();
}
END_TEST

/* --- blocks ---------------------------------------------------------------------------------- */

static int only_inside(const void *at, size_t bytes)
{
    size_t from = (size_t)((const char *)at - region->extent.base);
    UNIT_NEED(at == NULL || (from <= SIZE && bytes <= SIZE - from));
    return 0;
}

START_TEST(a_block_in_a_run_without_an_end)
{
    begin(5);
    tide_heap_t *heap = tide_heap_create_on(region);
    void *block = tide_log_block(heap, 100, 0);
    memset(TIDE_LOG_BODY(block), 'b', 100);
    ck_assert_int_eq(
        tide_log_append_block(client, 0, block, TIDE_LOG_ROOM(100), TIDE_LOG_TRY, NULL), 0);
    uint64_t segment = (uint64_t)((char *)block - region->extent.base) / TIDE_REGION_SEGMENT;
    uint64_t word = entry_of(segment)->word;
    log_->durable.medium = (struct tide_medium){TIDE_MEDIUM_CACHE, NULL};
    entry_of(segment)->word = TIDE_REGION_RUN | UINT64_C(1) << 40;
    tide_medium_hook = only_inside;
    ck_assert_int_eq(tide_log_sync(log_), 0);
    entry_of(segment)->word = word;
    leave();
}
END_TEST

/* --- sessions -------------------------------------------------------------------------------- */

/* What somebody calls a slot that is none: broker, position. */
static const uint64_t no_slots[] = {
    0, 1, UINT64_C(0xffffffff) << 32, UINT64_C(3) << 32, UINT64_C(1) << 32 | 32, UINT64_MAX};

START_TEST(early_batches_that_are_nowhere)
{
    begin(4);
    for (uint32_t i = 0; i < map->window; i++)
        map->hold[i] = (struct tide_layout_hold){i + 1, no_slots[_i]};
    ck_assert_int_eq(add("its turn"), 0); /* and number 7 waits, it says */
    ck_assert_uint_eq(map->session[0].expected, 7);
    for (uint32_t i = 0; i < map->window; i++)
        map->hold[i] = (struct tide_layout_hold){i + 1, no_slots[_i]};
    ck_assert_int_eq(tide_log_client_close(client), 0);
    ck_assert_int_eq(tide_log_client_open(&client, log_, NULL), 0);
    for (uint32_t i = 0; i < map->window; i++)
        ck_assert_uint_eq(map->hold[i].number, 0);
    leave();
}
END_TEST

START_TEST(an_early_batch_of_a_client_that_there_is_not)
{
    begin(4);
    ck_assert_int_eq(tide_log_set_number(client, 7), 0);
    ck_assert_int_eq(add("early"), 0);
    struct tide_layout_slot *slot = tide_logmap_slot(map, 0, FIRST + 7);
    ck_assert_uint_eq(slot->number, 7);
    slot->client = 0x7fffffff;
    ck_assert_int_eq(tide_log_set_number(client, 6), 0);
    ck_assert_int_eq(add("its turn"), 0);
    ck_assert_uint_eq(map->session[0].expected, 7);
    leave();
}
END_TEST

/* What is said, once, about the list that was handed over while the door is held. */
static _Atomic uint64_t *door;
static uint64_t listed;

static void hand_over(void)
{
    uint64_t taken = 1;
    if (door != NULL && atomic_compare_exchange_strong(door, &taken, listed))
        door = NULL;
}

static enum tide_session_verdict submit_with(uint64_t list)
{
    struct tide_order_place at;
    door = &map->session[0].door;
    listed = list;
    tide_coh_hook = hand_over;
    enum tide_session_verdict verdict =
        tide_session_submit(map, 0, tide_logmap_slot(map, 0, FIRST + 6), &at);
    tide_coh_hook = NULL;
    ck_assert_ptr_null(door);
    return verdict;
}

START_TEST(a_list_that_goes_round)
{
    begin(4);
    map->link[3] = tide_layout_ref(0, 5);
    map->link[5] = tide_layout_ref(0, 3);
    ck_assert_int_eq(submit_with(tide_layout_ref(0, 3)), TIDE_SESSION_LATE);
    ck_assert_uint_eq(map->session[0].door, 0);
    leave();
}
END_TEST

START_TEST(a_list_that_leads_nowhere)
{
    begin(4);
    ck_assert_int_eq(submit_with(no_slots[_i]), TIDE_SESSION_LATE);
    map->session[0].door = 0;
    ck_assert_int_eq(add("goes on"), 0);
    leave();
}
END_TEST

/* --- locks that nobody lets go --------------------------------------------------------------- */

START_TEST(whoever_waits_for_a_lock_is_told)
{
    tide_log_reader_t *reader;
    tide_log_client_t *other;
    uint64_t earliest;
    begin(4);
    tide_trim_patience = 1000000;
    head->trimmer = 1;
    ck_assert_int_eq(tide_log_trim(log_, 0, UINT64_MAX, &earliest), -EBUSY);
    says("somebody is trimming, and does not end");
    ck_assert_int_eq(tide_log_trim_to(log_, 0), -EBUSY);
    ck_assert_int_eq(tide_log_reader_open(&reader, log_, NULL), -EBUSY);
    head->trimmer = 0;
    map->session[1].door = 1;
    ck_assert_int_eq(tide_log_client_open(&other, log_, &(struct tide_log_client_options){.id = 1}),
                     -EBUSY);
    says("somebody keeps the door of the session of client: 1");
    map->session[1].door = 0;
    ck_assert_int_eq(tide_log_client_open(&other, log_, &(struct tide_log_client_options){.id = 1}),
                     0);
    ck_assert_int_eq(tide_log_client_close(other), 0);
    leave();
}
END_TEST

/* --- words that change while they are looked at ---------------------------------------------- */

struct flip {
    _Atomic uint64_t *word;
    uint64_t other;
    _Atomic bool stop;
};

static void *flip(void *what)
{
    struct flip *self = what;
    uint64_t good = *self->word;
    while (!self->stop) {
        *self->word = self->other;
        *self->word = good;
    }
    return NULL;
}

static struct flip flipped;
static pthread_t flipper;

static void flip_start(void *word, uint64_t other)
{
    flipped = (struct flip){.word = word, .other = other};
    ck_assert_int_eq(pthread_create(&flipper, NULL, flip, &flipped), 0);
}

static void flip_stop(void)
{
    flipped.stop = true;
    ck_assert_int_eq(pthread_join(flipper, NULL), 0);
}

START_TEST(a_batch_that_moves_while_it_is_read)
{
    struct tide_log_reader_options how = {.policy = TIDE_LOG_GATE};
    tide_log_reader_t *reader;
    begin(5);
    ck_assert_int_eq(tide_log_reader_open(&reader, log_, &how), 0);
    flip_start(&tide_logmap_entry(map, FIRST)->offset, UINT64_C(1) << 40);
    for (int i = 0, turns = 0, last = 0; i < FLIPS && turns < TURNS; i++) {
        struct tide_log_batch batch;
        reader->sub.next = reader->sub.cursor = FIRST;
        int got = tide_log_read(reader, &batch, 1, TIDE_LOG_TRY);
        turns += got != last;
        last = got;
        if (got == 1)
            UNIT_NEED((size_t)(batch.data - map->base) < map->size);
    }
    flip_stop();
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    leave();
}
END_TEST

START_TEST(a_log_that_moves_while_it_is_looked_for)
{
    begin(5);
    leave();
    flip_start(&room->at, UINT64_C(1) << 40);
    for (int i = 0, turns = 0, last = 0; i < FLIPS && turns < TURNS; i++) {
        struct tide_logroom_place place;
        struct tide_layout_fault fault;
        int error = tide_logroom_find(region, &place, &fault);
        turns += error != last;
        last = error;
        if (error == 0)
            UNIT_NEED(place.at < SIZE && place.size <= SIZE - place.at);
    }
    flip_stop();
}
END_TEST

START_TEST(a_reader_of_a_broker_that_there_is_not)
{
    static const unsigned levels[] = {0, 4, 5};
    struct tide_log_reader_options options = {.start = TIDE_LOG_EARLIEST};
    struct tide_log_reader_stat stat;
    tide_log_reader_t *reader;
    begin(levels[_i]);
    ck_assert_int_eq(tide_log_reader_open(&reader, log_, &options), 0);
    map->reader[0].broker = 1;
    ck_assert_int_eq(tide_log_stat_reader(log_, 0, &stat), 0);
    ck_assert_uint_eq(stat.broker, 1);
    map->reader[0].broker = UINT64_C(1) << 31;
    ck_assert_int_eq(tide_log_stat_reader(log_, 0, &stat), -EUCLEAN);
    says("broker of a reader: 2147483648, allowed: 0 to 1");
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    leave();
}
END_TEST

/* Two batches are committed no more, from the `late`-th access on. */
static uint64_t late, seen, goal;

static void uncommit(void)
{
    if (++seen != late)
        return;
    for (uint64_t place = goal - 2; place < goal; place++)
        atomic_store(&tide_logmap_entry(map, place)->seq, 0);
    atomic_store(&head->committed, goal - 2);
}

static int no_medium(const void *at, size_t bytes)
{
    (void)at;
    (void)bytes;
    return 0;
}

/* Whoever waits until they are durable is told, whenever that happens. */
START_TEST(batches_that_were_committed)
{
    static const unsigned levels[] = {4, 5};
    tide_medium_hook = no_medium;
    int told = 0;
    for (late = 1; late < 60; late++) {
        begin(levels[_i]);
        goal = tide_log_committed(log_);
        seen = 0;
        tide_coh_hook = uncommit;
        int error = tide_log_sync(log_);
        tide_coh_hook = NULL;
        UNIT_HOLD(error == 0 || error == -EUCLEAN, "access %d: %d", (int)late, error);
        told += error == -EUCLEAN;
        leave();
        ck_assert_int_eq(tide_region_close(region), 0);
    }
    ck_assert_int_gt(told, 0);
    tide_medium_hook = NULL;
}
END_TEST

/* A repair came between, it seems, and what is trimmed is here and there by turns. */
static uint64_t period;

static void mend_and_move(void)
{
    UNIT_NEED(++seen < 1000000);
    if (seen == late)
        atomic_fetch_add(&room->generation, 2);
    if (seen >= late)
        atomic_store(&head->trimmed_place, FIRST + (seen / period % 2 << 60));
}

/* Whoever looks for its batch behind a repair looks at each entry of the index, and no longer. */
START_TEST(a_batch_that_is_looked_for_in_all_places)
{
    struct tide_log_client_options who = {.id = 1, .ack = TIDE_LOG_ACK_ORDERED};
    tide_log_client_t *other;
    period = (uint64_t)_i;
    for (late = 1; late < 60; late++) {
        begin(5);
        ck_assert_int_eq(tide_log_client_open(&other, log_, &who), 0);
        seen = 0;
        tide_coh_hook = mend_and_move;
        int error = tide_log_append(other, 0, "text", 4, TIDE_LOG_TRY, NULL);
        tide_coh_hook = NULL;
        UNIT_HOLD(error == 0 || error == -EINPROGRESS || error == -EAGAIN, "access %d: %d",
                  (int)late, error);
        atomic_store(&head->trimmed_place, FIRST);
        ck_assert_int_eq(tide_log_client_close(other), 0);
        leave();
        ck_assert_int_eq(tide_region_close(region), 0);
    }
}
END_TEST

int main(void)
{
    const TTest *const plain[] = {
        sizes_that_do_not_follow_from_the_others,
        a_run_that_is_longer_than_the_region,
        a_log_in_the_regions_own_head,
        locks_of_nobody_in_a_log_that_is_closed,
        a_prefix_that_was_never_committed,
        blocks_that_were_never_retired,
        more_trimmed_than_committed_is_not_durable,
        a_mark_that_is_long_past,
        a_block_in_a_run_without_an_end,
        an_early_batch_of_a_client_that_there_is_not,
        a_list_that_goes_round,
        whoever_waits_for_a_lock_is_told,
        a_batch_that_moves_while_it_is_read,
        a_log_that_moves_while_it_is_looked_for,
    };
    const TTest *const each[] = {early_batches_that_are_nowhere, a_list_that_leads_nowhere};
    Suite *suite = suite_create("log_hostile");
    TCase *tcase = tcase_create("log_hostile");
    tcase_add_checked_fixture(tcase, unit_files_setup, unit_files_teardown);
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        tcase_add_test(tcase, plain[i]);
    for (size_t i = 0; i < sizeof each / sizeof each[0]; i++)
        tcase_add_loop_test(tcase, each[i], 0, sizeof no_slots / sizeof no_slots[0]);
    tcase_add_loop_test(tcase, batches_that_were_committed, 0, 2);
    tcase_add_loop_test(tcase, a_batch_that_is_looked_for_in_all_places, 1, 6);
    tcase_add_loop_test(tcase, a_reader_of_a_broker_that_there_is_not, 0, 3);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
