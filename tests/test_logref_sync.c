/* test_logref_sync.c - append by reference with acknowledgements, and what of a block is on the
 * medium when the log says so. */
#include "log_disk.h"
#include "logref_case.h"

#include <sys/wait.h>

#include "box/medium.h"

enum { SIZE = 5000, LARGE = 700000 };

static char text[4300];

static void start(unsigned sequencing, unsigned ack)
{
    struct tide_log_options options = logref_options(5);
    struct tide_log_client_options who = {.ack = ack};
    options.sequencing = sequencing;
    options.checksum = 1;
    snprintf(text, sizeof text, "%s", log_disk_region());
    logref_start(text, REGION_SIZE, options);
    UNIT_NEED(tide_log_client_close(client) == 0);
    UNIT_NEED(tide_log_client_open(&client, log_, &who) == 0);
}

static int append(void *block, size_t size, int64_t timeout)
{
    return tide_log_append_block(client, 0, block, TIDE_LOG_ROOM(size), timeout, NULL);
}

static uint32_t flags_of(const void *block)
{
    return ((const struct tide_log_frame *)block)->flags;
}

static void end(void)
{
    logref_finish();
    unlink(text + 5);
}

/* The log has it, and gives it back, whatever became of the acknowledgement. */
START_TEST(a_block_that_is_not_acknowledged_is_the_logs)
{
    start(TIDE_LOG_STEPPED, TIDE_LOG_ACK_ORDERED);
    void *block = logref_block(heap, SIZE, 1), *other = logref_block(heap, SIZE, 2);
    ck_assert_int_eq(append(block, SIZE, TIDE_LOG_TRY), -EINPROGRESS);
    logref_says("in the log, not acknowledged yet: number of a batch: 0");
    ck_assert_uint_eq(flags_of(block), TIDE_LOG_LENT);
    ck_assert_int_eq(append(block, SIZE, TIDE_LOG_TRY), -EALREADY);
    ck_assert_int_eq(append(other, SIZE, 1000000), -EINPROGRESS);
    tide_log_poll(log_);
    ck_assert_uint_eq(tide_log_committed(log_), 2);
    ck_assert_int_eq(tide_log_trim(log_, 0, UINT64_MAX, NULL), 0);
    ck_assert(logref_is_free(block));
    ck_assert(logref_is_free(other));
    end();
}
END_TEST

static const char *wanted, *table;
static size_t seen, entries;
static int failure;

/* Counts the bytes of the block and of the region's table that are written. */
static int see(const void *at, size_t bytes)
{
    const char *from = at, *to = from + bytes;
    if (from <= wanted && to > wanted)
        seen = (size_t)(to - wanted);
    if (from == table)
        entries = bytes / sizeof(struct tide_plot_entry);
    return at != NULL ? failure : 0;
}

static void watch(const char *block)
{
    size_t segment = (size_t)(block - (char *)tide_region_base(region)) / TIDE_REGION_SEGMENT;
    wanted = block;
    table = (const char *)tide_region_base(region) + TIDE_PLOT_AT +
            segment * sizeof(struct tide_plot_entry);
    seen = entries = 0;
    tide_medium_hook = see;
}

START_TEST(a_durable_block_is_on_the_medium)
{
    start(TIDE_LOG_INLINE, TIDE_LOG_ACK_DURABLE);
    size_t size = _i ? LARGE : SIZE;
    void *block = logref_block(heap, size, 1);
    watch(block);
    ck_assert_int_eq(append(block, size, TIDE_LOG_BLOCK), 0);
    ck_assert_uint_eq(tide_log_durable(log_), 1);
    ck_assert_uint_eq(seen, TIDE_LOG_ROOM(size));
    ck_assert_uint_eq(entries, _i ? 2 : 1);
    watch(block);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    ck_assert_int_eq(tide_log_close(log_), 0);
    ck_assert_uint_eq(seen, TIDE_LOG_ROOM(size));
    tide_medium_hook = NULL;
    ck_assert_int_eq(tide_log_open(&log_, region), 0);
    ck_assert_int_eq(tide_log_client_open(&client, log_, NULL), 0);
    end();
}
END_TEST

START_TEST(a_medium_that_fails_keeps_the_block)
{
    start(TIDE_LOG_INLINE, TIDE_LOG_ACK_DURABLE);
    void *block = logref_block(heap, SIZE, 1);
    watch(block);
    failure = -EIO;
    ck_assert_int_eq(append(block, SIZE, TIDE_LOG_BLOCK), -EINPROGRESS);
    logref_says("the medium failed; durable batches: 0");
    ck_assert_uint_eq(tide_log_durable(log_), 0);
    ck_assert_uint_eq(flags_of(block), TIDE_LOG_LENT);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    ck_assert_int_eq(tide_log_trim(log_, 0, UINT64_MAX, NULL), 0);
    ck_assert_int_eq(tide_log_close(log_), -EIO);
    tide_medium_hook = NULL;
    ck_assert_int_eq(tide_log_remove(region), 0);
    tide_heap_destroy(heap);
    ck_assert_uint_eq(region_told(region).free_bytes, region_told(region).capacity);
    ck_assert_int_eq(tide_region_close(region), 0);
    unlink(text + 5);
}
END_TEST

/* Two durable batches, two that came later; the process ends, in another boot. */
static void stop_the_machine(void)
{
    int status;
    snprintf(text, sizeof text, "%s", log_disk_region());
    pid_t child = fork();
    if (child == 0) {
        start(TIDE_LOG_INLINE, TIDE_LOG_ACK_NONE);
        for (unsigned i = 0; i < 4; i++) {
            size_t size = i % 2 ? LARGE : SIZE;
            UNIT_NEED(append(logref_block(heap, size, i), size, TIDE_LOG_TRY) == 0);
            UNIT_NEED(i != 1 || tide_log_sync(log_) == 0);
        }
        _exit(0);
    }
    waitpid(child, &status, 0);
    ck_assert_int_eq(status, 0);
    region = region_opened(text);
    struct tide_logroom *room = tide_region_area(region, TIDE_REGION_AREA_LOG);
    room->boot[0]++;
}

static void check_kept(unsigned count)
{
    struct tide_log_batch batch;
    ck_assert_int_eq(tide_log_open(&log_, region), 0);
    ck_assert_uint_eq(tide_log_committed(log_), count);
    logref_read_as(TIDE_LOG_GATE);
    for (unsigned i = 0; i < count; i++) {
        ck_assert_int_eq(tide_log_read(reader, &batch, 1, TIDE_LOG_TRY), 1);
        ck_assert(logref_is_right(&batch, i % 2 ? LARGE : SIZE));
    }
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    ck_assert_int_ge(tide_region_reclaim(region), 0);
    ck_assert_uint_ne(region_told(region).left_bytes, 0);
    ck_assert_int_eq(tide_log_trim(log_, 0, UINT64_MAX, NULL), 0);
    ck_assert_int_ge(tide_region_reclaim(region), 0);
    ck_assert_int_eq(tide_log_close(log_), 0);
    ck_assert_int_eq(tide_log_remove(region), 0);
    ck_assert_uint_eq(region_told(region).free_bytes, region_told(region).capacity);
    ck_assert_int_eq(tide_region_close(region), 0);
    unlink(text + 5);
}

/* The last block's bytes, or what the table says of its segments, did not get there. */
START_TEST(blocks_after_an_outage)
{
    stop_the_machine();
    struct tide_plot_entry *entry = (void *)((char *)tide_region_base(region) + TIDE_PLOT_AT);
    unsigned last = 0;
    for (unsigned i = 0; i < REGION_SEGMENTS; i++)
        if ((entry[i].word & 0xff) == TIDE_REGION_RUN)
            last = i;
    ck_assert_uint_ne(last, 0);
    if (_i == 1)
        ((char *)tide_region_base(region))[last * (size_t)TIDE_REGION_SEGMENT + 1000] ^= 1;
    if (_i == 2)
        entry[last].word = entry[last + 1].word = TIDE_REGION_FREE;
    check_kept(_i == 0 ? 4 : 3);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("logref_sync");
    TCase *tcase = tcase_create("logref_sync");
    tcase_add_checked_fixture(tcase, unit_files_setup, unit_files_teardown);
    tcase_add_test(tcase, a_block_that_is_not_acknowledged_is_the_logs);
    tcase_add_loop_test(tcase, a_durable_block_is_on_the_medium, 0, 2);
    tcase_add_test(tcase, a_medium_that_fails_keeps_the_block);
    tcase_add_loop_test(tcase, blocks_after_an_outage, 0, 3);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
