/* test_durable.c - what is written to the medium in which order, and what is said when. */
#include "log_case.h"
#include "log_disk.h"
#include "region_case.h"

#include "box/logapi.h"

enum { WRITES = 64 };

static tide_region_t *region;
static struct tide_logmap map;
static struct tide_broker producer;
static struct tide_durable durable;

/* Each write: where, and what was said by then. */
static struct {
    const unsigned char *at;
    size_t bytes;
    uint64_t said, places;
} seen[WRITES];
static int writes, fails_at;
static bool append_meanwhile;

static void append(uint64_t number)
{
    struct tide_broker_result result;
    ck_assert(tide_broker_claim(&producer, (uint32_t)number % 2, 100));
    log_write(&producer, number, 100);
    tide_broker_commit(&producer, 1, 100, &result);
}

static int watch(const void *at, size_t bytes)
{
    if (writes >= WRITES)
        return 0;
    seen[writes].at = at;
    seen[writes].bytes = bytes;
    seen[writes].said = tide_logroom_said(durable.room).places;
    seen[writes].places = tide_durable_places(&durable);
    if (append_meanwhile && writes == 0)
        append(100);
    return ++writes == fails_at ? -EIO : 0;
}

/* A log with two brokers in a region on a disk, and three batches in it. */
static void make(enum tide_medium_way way)
{
    struct tide_layout_wish wish = {
        .level = 5, .brokers = 2, .slots = 16, .payload = 16384, .first = 7};
    static const uint8_t id[16] = {1};
    struct tide_layout_head plan;
    struct tide_layout_fault fault;
    uint64_t at, most;
    region = region_made(log_disk_region(), REGION_SIZE, TIDE_REGION_REPLACE);
    ck_assert(tide_layout_plan(&plan, &wish, &fault));
    ck_assert_int_eq(tide_logroom_lend(region, plan.size, &at, &most), 0);
    tide_logmap_format(region->extent.base + at, &plan, id, false);
    ck_assert(tide_logmap_open(&map, region->extent.base + at, plan.size, &fault));
    tide_logroom_seal(region, at, map.head);
    tide_durable_start(&durable, &map, region);
    ck_assert_int_eq(durable.medium.way, TIDE_MEDIUM_FILE);
    durable.medium.way = way;
    producer = log_producer(&map, 0);
    for (uint64_t i = 0; i < 3; i++)
        append(i);
    writes = fails_at = 0;
    tide_medium_hook = watch;
}

static void drop(void)
{
    tide_medium_hook = NULL;
    unlink(region->source.path);
    ck_assert_int_eq(tide_region_close(region), 0);
}

static bool covers(int write, const void *at, size_t bytes)
{
    const unsigned char *from = at;
    return seen[write].at <= from && from + bytes <= seen[write].at + seen[write].bytes;
}

/* Payload and slots, the order, the word; and only then it is said here. */
static void check_pages(void)
{
    ck_assert_int_eq(writes, 4); /* the last one is a drain */
    for (uint64_t place = 7; place < 10; place++) {
        const struct tide_layout_entry *entry = tide_order_see(&map, place);
        ck_assert(covers(0, map.base + entry->offset, entry->size));
        ck_assert(covers(0, tide_logmap_slot(&map, entry->broker, entry->slot), 128));
        ck_assert(covers(1, entry, sizeof *entry));
    }
    ck_assert(covers(1, map.head, sizeof *map.head));
    ck_assert(covers(2, durable.room, sizeof *durable.room));
    ck_assert(seen[0].said == 7 && seen[1].said == 7 && seen[2].said == 10);
    ck_assert(seen[0].places == 7 && seen[1].places == 7 && seen[2].places == 7);
    ck_assert_uint_eq(tide_durable_places(&durable), 10);
    ck_assert_uint_eq(tide_logroom_said(durable.room).epoch, map.head->epoch);
    ck_assert_uint_eq(tide_logroom_said(durable.room).base, 10);
}

START_TEST(pages_in_order)
{
    make(TIDE_MEDIUM_FILE);
    ck_assert_uint_eq(tide_durable_places(&durable), 7); /* nothing before the first sync */
    ck_assert_int_eq(tide_durable_step(&durable), 0);
    check_pages();
    ck_assert_int_eq(tide_durable_step(&durable), 0); /* nothing is new */
    ck_assert_int_eq(writes, 4);
    ck_assert_uint_eq(durable.syncs, 1);
    drop();
}
END_TEST

/* A batch that comes while the medium is written is not said to be there. */
START_TEST(what_comes_meanwhile_waits)
{
    make(TIDE_MEDIUM_FILE);
    append_meanwhile = true;
    ck_assert_int_eq(tide_durable_step(&durable), 0);
    ck_assert_uint_eq(tide_order_frontier(&map, 10), 11);
    ck_assert_uint_eq(tide_durable_places(&durable), 10);
    ck_assert_int_eq(tide_durable_step(&durable), 0);
    ck_assert_uint_eq(tide_durable_places(&durable), 11);
    drop();
}
END_TEST

START_TEST(lines_in_order)
{
    int at = 0;
    make(TIDE_MEDIUM_CACHE);
    ck_assert_int_eq(tide_durable_step(&durable), 0);
    for (uint64_t place = 7; place < 10; place++) {
        const struct tide_layout_entry *entry = tide_order_see(&map, place);
        ck_assert(covers(at++, map.base + entry->offset, entry->size));
        ck_assert(covers(at++, tide_logmap_slot(&map, entry->broker, entry->slot), 128));
    }
    ck_assert_ptr_null(seen[at++].at); /* there */
    for (uint64_t place = 7; place < 10; place++)
        ck_assert(covers(at++, tide_logmap_entry(&map, place), 64));
    ck_assert(covers(at++, map.head, sizeof *map.head)); /* what is trimmed, and the tables */
    ck_assert_ptr_null(seen[at++].at);
    ck_assert(covers(at, durable.room, sizeof *durable.room) && seen[at].said == 10);
    ck_assert_uint_eq(seen[at].places, 7);
    ck_assert_uint_eq(tide_durable_places(&durable), 10);
    drop();
}
END_TEST

/* What was trimmed and used again meanwhile may say anything. */
START_TEST(an_entry_that_makes_no_sense_is_left_alone)
{
    make(TIDE_MEDIUM_CACHE);
    tide_logmap_entry(&map, 8)->offset = UINT64_MAX - 5;
    tide_logmap_entry(&map, 9)->broker = 200;
    ck_assert_int_eq(tide_durable_step(&durable), 0);
    ck_assert(seen[2].at == NULL); /* after one payload and its slot */
    drop();
}
END_TEST

/* Whichever write fails: nothing is said, then or later. */
START_TEST(an_error_stays)
{
    make(TIDE_MEDIUM_FILE);
    fails_at = _i + 1;
    ck_assert_int_eq(tide_durable_step(&durable), -EIO);
    ck_assert_uint_eq(tide_durable_places(&durable), 7);
    fails_at = 0;
    ck_assert_int_eq(tide_durable_step(&durable), -EIO);
    ck_assert_int_eq(tide_durable_all(&durable), -EIO);
    ck_assert_uint_eq(tide_durable_places(&durable), 7);
    drop();
}
END_TEST

START_TEST(one_at_a_time_and_all_at_the_end)
{
    make(TIDE_MEDIUM_FILE);
    durable.busy = 1;
    ck_assert_int_eq(tide_durable_step(&durable), -EBUSY);
    durable.busy = 0;
    tide_durable_begin(&durable, region);
    ck_assert(covers(0, region->extent.base, TIDE_REGION_SEGMENT));
    writes = 0;
    ck_assert_int_eq(tide_durable_all(&durable), 0);
    ck_assert(covers(0, map.slot, 128) && covers(1, map.head, 4096));
    ck_assert_uint_eq(tide_durable_places(&durable), 10);
    durable.medium.way = TIDE_MEDIUM_NONE;
    ck_assert_int_eq(tide_durable_step(&durable), -ENOTSUP);
    ck_assert_int_eq(tide_durable_all(&durable), -ENOTSUP);
    drop();
}
END_TEST

static uint64_t magic[WRITES]; /* of the area, at each write */

static int watch_magic(const void *at, size_t bytes)
{
    if (writes < WRITES)
        magic[writes] = tide_logroom_of(region)->magic;
    return watch(at, bytes);
}

/* A log that is named can be opened, and has no batches of one that was there before. */
START_TEST(a_new_log_is_written_before_it_is_named)
{
    struct tide_log_options options = TIDE_LOG_OPTIONS;
    tide_log_t *log;
    region = region_made(log_disk_region(), REGION_SIZE, TIDE_REGION_REPLACE);
    options.slots = 16;
    options.payload = 16384;
    writes = fails_at = 0;
    durable.room = tide_logroom_of(region);
    tide_medium_hook = watch_magic;
    ck_assert_int_eq(tide_log_create_on(&log, region, &options), 0);
    const struct tide_logmap *made = &log->map;
    ck_assert(covers(0, made->base, (size_t)(made->payload - made->base)));
    ck_assert_uint_eq(magic[0], 0);
    ck_assert(seen[1].at == NULL && magic[1] == 0);
    ck_assert(covers(2, tide_logroom_of(region), sizeof(struct tide_logroom)));
    ck_assert_uint_eq(magic[2], TIDE_LOGROOM_MAGIC);
    ck_assert_int_eq(tide_log_close(log), 0);
    drop();
}
END_TEST

static uint64_t log_at;
static enum tide_region_state log_is[WRITES]; /* its first segment, at each write */

static int watch_segments(const void *at, size_t bytes)
{
    struct tide_region_segment segment;
    UNIT_NEED(tide_region_segment(region, log_at / TIDE_REGION_SEGMENT, &segment) == 0);
    if (writes < WRITES)
        log_is[writes] = segment.state;
    return watch_magic(at, bytes);
}

/* After an outage nobody takes for a log what others have written into its memory. */
START_TEST(a_log_is_unnamed_before_its_memory_goes)
{
    struct tide_region_segment segment;
    make(TIDE_MEDIUM_FILE);
    log_at = durable.room->at;
    writes = 0;
    fails_at = 1;
    tide_medium_hook = watch_segments;
    tide_logroom_leave(region);
    ck_assert_int_eq(tide_log_remove(region), -EIO);
    ck_assert_int_eq(tide_log_remove(region), 0);
    ck_assert(covers(1, durable.room, sizeof *durable.room) || covers(2, durable.room, 64));
    for (int i = 0; i < writes; i++)
        ck_assert(magic[i] == 0 && log_is[i] == TIDE_REGION_LENT);
    ck_assert_int_eq(tide_region_segment(region, log_at / TIDE_REGION_SEGMENT, &segment), 0);
    ck_assert_int_eq((int)segment.state, TIDE_REGION_FREE);
    drop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("durable");
    TCase *tcase = tcase_create("durable");
    tcase_add_checked_fixture(tcase, unit_files_setup, unit_files_teardown);
    tcase_add_test(tcase, pages_in_order);
    tcase_add_test(tcase, what_comes_meanwhile_waits);
    tcase_add_test(tcase, lines_in_order);
    tcase_add_test(tcase, an_entry_that_makes_no_sense_is_left_alone);
    tcase_add_loop_test(tcase, an_error_stays, 0, 3);
    tcase_add_test(tcase, one_at_a_time_and_all_at_the_end);
    tcase_add_test(tcase, a_new_log_is_written_before_it_is_named);
    tcase_add_test(tcase, a_log_is_unnamed_before_its_memory_goes);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
