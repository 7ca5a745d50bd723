/* test_logref.c - append by reference: the block is the payload, and returns to its heap. */
#include "logref_case.h"

static const unsigned levels[] = {0, 4, 5};

static struct tide_log_options ways(int i)
{
    struct tide_log_options options = logref_options(levels[i % 3]);
    options.sequencing = i / 3 % 2 ? TIDE_LOG_STEPPED : TIDE_LOG_INLINE;
    options.checksum = i / 6 % 2 != 0;
    options.sessions = i / 6 % 2 ? TIDE_LOG_MUTEX : TIDE_LOG_LOCKFREE;
    return options;
}

enum { WAYS = 12 };

/* --- in every kind of region ------------------------------------------------------------- */

START_TEST(readers_get_the_blocks_themselves_and_nothing_is_copied)
{
    static const size_t sizes[] = {0, 1, 100, 2000, 32752, 32753, 200000, 300000, 1500000};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    void *block[SIZES];
    uint64_t lent = 0;
    const char *text = region_text(_i);
    if (text == NULL)
        return;
    struct tide_log_options options = logref_options(5);
    options.checksum = 1;
    logref_start(text, REGION_SIZE, options);
    logref_read_as(TIDE_LOG_GATE);
    for (unsigned i = 0; i < SIZES; i++) {
        block[i] = logref_block(heap, sizes[i], i);
        ck_assert_int_eq(logref_append(block[i], sizes[i], i % 2), 0);
        lent += TIDE_LOG_ROOM(sizes[i]);
    }
    for (unsigned i = 0; i < SIZES; i++) {
        struct tide_log_batch batch = logref_read_one();
        ck_assert_ptr_eq(batch.data, block[i]);
        ck_assert(logref_is_right(&batch, sizes[i]));
        ck_assert_uint_eq(((const struct tide_log_frame *)block[i])->flags, TIDE_LOG_LENT);
    }
    ck_assert_uint_eq(logref_stat().copied, 0);
    ck_assert_uint_eq(logref_stat().lent, lent);
    ck_assert_int_eq(tide_log_append(client, 0, "abc", 3, TIDE_LOG_TRY, NULL), 0);
    ck_assert_uint_eq(logref_stat().copied, TIDE_LOG_ROOM(3));
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    logref_finish();
}
END_TEST

START_TEST(blocks_return_and_are_used_again)
{
    const char *text = region_text(_i);
    if (text == NULL)
        return;
    logref_start(text, REGION_SIZE, logref_options(5));
    logref_read_as(TIDE_LOG_GATE);
    for (unsigned i = 0; i < 600; i++) { /* ten times what the region holds */
        size_t size = i % 3 == 0 ? 200000 : 30000 + i;
        void *block = logref_block(heap, size, i);
        ck_assert_msg(block != NULL, "no block %u", i);
        ck_assert_int_eq(logref_append(block, size, i % 2), 0);
        struct tide_log_batch batch = logref_read_one();
        ck_assert_ptr_eq(batch.data, block);
        ck_assert(logref_is_right(&batch, size));
        tide_log_done(reader);
        tide_log_trim(log_, 0, UINT64_MAX, NULL);
    }
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    logref_finish();
}
END_TEST

/* --- from append to return ------------------------------------------------------------------ */

START_TEST(a_block_is_the_logs_until_it_is_trimmed)
{
    logref_start("anon", REGION_SIZE, ways(_i));
    logref_read_as(TIDE_LOG_GATE);
    void *block[3];
    for (unsigned i = 0; i < 3; i++) {
        block[i] = logref_block(heap, 5000, i);
        ck_assert_int_eq(logref_append(block[i], 5000, 0), 0);
    }
    for (unsigned i = 0; i < 3; i++) {
        struct tide_log_batch batch = logref_read_one();
        ck_assert_ptr_eq(batch.data, block[i]);
        ck_assert(logref_is_right(&batch, 5000));
        tide_log_trim(log_, 0, UINT64_MAX, NULL);
        ck_assert_int_eq(logref_append(block[i], 5000, 0), -EALREADY);
    }
    tide_log_done(reader);
    ck_assert_int_eq(tide_log_reclaim(log_), 0);
    ck_assert_int_eq(tide_log_trim(log_, 0, UINT64_MAX, NULL), 0);
    for (unsigned i = 0; i < 3; i++)
        ck_assert(logref_is_free(block[i]));
    ck_assert_uint_eq(logref_stat().retired, 0);
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    logref_finish();
}
END_TEST

/* Ways home that need no call for it: polls, appends of all kinds, the end of the log. */
START_TEST(other_calls_take_blocks_home)
{
    struct tide_log_claim claim;
    logref_start("anon", REGION_SIZE, logref_options(5));
    void *block = logref_block(heap, 5000, 1), *other = NULL;
    ck_assert_int_eq(logref_append(block, 5000, 0), 0);
    ck_assert_uint_gt(tide_trim_below(&log_->map, 0, UINT64_MAX, false), 0);
    ck_assert_uint_eq(logref_stat().retired, 1);
    switch (_i) {
    case 0:
        ck_assert_int_eq(tide_log_reclaim(log_), 1);
        break;
    case 1:
        tide_log_poll(log_);
        break;
    case 2:
        ck_assert_int_eq(tide_log_append(client, 0, "abc", 3, TIDE_LOG_TRY, NULL), 0);
        break;
    case 3:
        ck_assert_int_eq(tide_log_claim(client, 0, 64, TIDE_LOG_TRY, &claim), 0);
        ck_assert_int_eq(tide_log_abort(&claim), 0);
        break;
    case 4:
        other = logref_block(heap, 5000, 1);
        ck_assert_int_eq(logref_append(other, 5000, 0), 0);
        break;
    case 5:
        ck_assert_int_ge(tide_log_trim_to(log_, 1 << 20), 0);
        break;
    default:
        ck_assert_int_eq(tide_log_client_close(client), 0);
        ck_assert_int_eq(tide_log_close(log_), 0);
        ck_assert_int_eq(tide_log_open(&log_, region), 0);
        ck_assert_int_eq(tide_log_client_open(&client, log_, NULL), 0);
    }
    ck_assert_uint_eq(logref_stat().retired, 0);
    ck_assert(logref_is_free(block));
    logref_finish();
}
END_TEST

START_TEST(plain_and_referred_batches_stand_in_one_order)
{
    logref_start("anon", REGION_SIZE, ways(_i));
    logref_read_as(TIDE_LOG_GATE);
    for (unsigned i = 0; i < 60; i++) {
        if (i % 3 == 1) {
            struct tide_log_message message = {"x", 1, 1000 + i};
            ck_assert_int_eq(tide_log_append_batch(client, 0, &message, 1, TIDE_LOG_TRY, NULL), 0);
        } else {
            void *block = logref_block(heap, 3000, 1000 + i);
            ck_assert_int_eq(logref_append(block, 3000, 0), 0);
        }
        if (i % 4 != 3)
            continue;
        for (unsigned k = i - 3; k <= i; k++) {
            struct tide_log_batch batch = logref_read_one();
            size_t at = 0;
            ck_assert_uint_eq(tide_log_next(&batch, &at)->tag, 1000 + k);
            ck_assert_uint_eq(batch.position, k);
        }
        tide_log_done(reader);
    }
    logref_read_nothing();
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    logref_finish();
}
END_TEST

START_TEST(a_block_of_several_messages)
{
    struct tide_log_claim frames;
    struct tide_log_at where;
    size_t at = 0;
    logref_start("anon", REGION_SIZE, logref_options(5));
    logref_read_as(TIDE_LOG_GATE);
    frames = (struct tide_log_claim){.data = tide_heap_malloc(heap, 4096), .size = 4096};
    for (unsigned i = 0; i < 5; i++)
        memset(tide_log_put(&frames, 100 + i, i), (int)i, 100 + i);
    ck_assert_int_eq(tide_log_append(client, 1, "x", 1, TIDE_LOG_TRY, NULL), 0);
    ck_assert_int_eq(
        tide_log_append_block(client, 0, frames.data, frames.used, TIDE_LOG_TRY, &where), 0);
    ck_assert_uint_eq(where.position, 1);
    ck_assert_uint_eq(where.base, 1);
    ck_assert_int_eq(tide_log_append(client, 1, "y", 1, TIDE_LOG_TRY, &where), 0);
    ck_assert_uint_eq(where.base, 6);
    logref_read_one();
    struct tide_log_batch batch = logref_read_one();
    ck_assert_uint_eq(batch.count, 5);
    ck_assert_ptr_eq(batch.data, frames.data);
    for (unsigned i = 0; i < 5; i++) {
        const struct tide_log_frame *frame = tide_log_next(&batch, &at);
        ck_assert_uint_eq(frame->length, 100 + i);
        ck_assert_uint_eq(frame->tag, i);
        ck_assert_uint_eq(((const unsigned char *)(frame + 1))[99], i);
    }
    ck_assert_ptr_null(tide_log_next(&batch, &at));
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    logref_finish();
}
END_TEST

START_TEST(a_full_retire_ring_holds_trimming_back)
{
    void *block[40];
    struct tide_log_options options = logref_options(levels[_i]);
    options.slots = 16;
    options.brokers = 1;
    logref_start("anon", REGION_SIZE, options);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 10; i++) {
            block[10 * round + i] = logref_block(heap, 2000, i);
            ck_assert_int_eq(logref_append(block[10 * round + i], 2000, 0), 0);
        }
        if (round == 0) /* the appends of the second round are not to take them home */
            log_->map.area = NULL;
        while (tide_trim_below(&log_->map, 0, UINT64_MAX, false) != 0)
            ;
    }
    ck_assert_uint_eq(logref_stat().retired, 16);
    log_->map.area = tide_region_base(region);
    ck_assert_int_eq(logref_append(block[15], 2000, 0), -EALREADY);
    ck_assert_int_eq(logref_append(block[16], 2000, 0), -EALREADY);
    ck_assert_int_eq(tide_log_reclaim(log_), 16);
    ck_assert(logref_is_free(block[15]));
    ck_assert_int_eq(logref_append(block[16], 2000, 0), -EALREADY);
    ck_assert_int_eq(tide_log_trim(log_, 0, UINT64_MAX, NULL), 0);
    ck_assert(logref_is_free(block[16]));
    ck_assert(logref_is_free(block[19]));
    logref_finish();
}
END_TEST

/* A waiting append takes blocks home when that is what it waits for. */
START_TEST(a_full_retire_ring_does_not_block_appends)
{
    struct tide_log_options options = logref_options(levels[_i]);
    options.brokers = 1;
    options.slots = 2 + (levels[_i] == 4);
    logref_start("anon", REGION_SIZE, options);
    logref_read_as(TIDE_LOG_GATE);
    for (unsigned i = 0; i < 50; i++) {
        void *block = logref_block(heap, 2000, i);
        ck_assert_int_eq(
            tide_log_append_block(client, 0, block, TIDE_LOG_ROOM(2000), 1000000000, NULL), 0);
        ck_assert_ptr_eq(logref_read_one().data, block);
        tide_log_done(reader);
    }
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    logref_finish();
}
END_TEST

/* --- level 4 -------------------------------------------------------------------------------- */

START_TEST(early_batches_that_are_dropped_return)
{
    void *block[3];
    logref_start("anon", REGION_SIZE, ways(3 * _i + 1));
    logref_read_as(TIDE_LOG_GATE);
    ck_assert_int_eq(tide_log_set_number(client, 1), 0);
    for (unsigned i = 0; i < 3; i++) {
        block[i] = logref_block(heap, 3000, i);
        ck_assert_int_eq(logref_append(block[i], 3000, i % 2), 0);
    }
    logref_read_nothing();
    tide_log_trim(log_, 0, UINT64_MAX, NULL);
    ck_assert_int_eq(logref_append(block[0], 3000, 0), -EALREADY);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    ck_assert_int_eq(tide_log_client_open(&client, log_, NULL), 0);
    tide_log_trim(log_, 0, UINT64_MAX, NULL);
    for (unsigned i = 0; i < 3; i++)
        ck_assert(logref_is_free(block[i]));
    logref_read_nothing();
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    logref_finish();
}
END_TEST

START_TEST(held_batches_are_delivered_in_their_turn)
{
    void *block[3];
    logref_start("anon", REGION_SIZE, ways(3 * _i + 1));
    logref_read_as(TIDE_LOG_GATE);
    for (unsigned i = 3; i-- > 0;) {
        block[i] = logref_block(heap, 3000, i);
        ck_assert_int_eq(tide_log_set_number(client, i), 0);
        ck_assert_int_eq(logref_append(block[i], 3000, i % 2), 0);
    }
    for (unsigned i = 0; i < 3; i++)
        ck_assert_ptr_eq(logref_read_one().data, block[i]);
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    logref_finish();
}
END_TEST

/* A batch that is refused is its program's: by the look before, and by the session itself. */
START_TEST(a_late_batch_stays_the_programs)
{
    tide_log_client_t *second;
    struct tide_log_client_options join = {.join = 1};
    logref_start("anon", REGION_SIZE, ways(6 * _i + 1));
    void *block = logref_block(heap, 3000, 0);
    ck_assert_int_eq(tide_log_append(client, 0, "x", 1, TIDE_LOG_TRY, NULL), 0);
    ck_assert_int_eq(tide_log_set_number(client, 0), 0);
    ck_assert_int_eq(logref_append(block, 3000, 0), -EALREADY);
    logref_says("number of a batch that has its place already: 0");
    ck_assert_int_eq(tide_log_client_open(&second, log_, &join), 0);
    ck_assert_int_eq(tide_log_set_number(client, 5), 0);
    ck_assert_int_eq(tide_log_append(client, 0, "y", 1, TIDE_LOG_TRY, NULL), 0);
    ck_assert_int_eq(tide_log_set_number(second, 5), 0);
    ck_assert_int_eq(
        tide_log_append_block(second, 1, block, TIDE_LOG_ROOM(3000), TIDE_LOG_TRY, NULL),
        -EALREADY);
    tide_log_trim(log_, 0, UINT64_MAX, NULL);
    ck_assert_uint_eq(((struct tide_log_frame *)block)->flags, 0);
    ck_assert_uint_eq(logref_stat().lent, 0);
    ck_assert_int_eq(tide_log_set_number(second, 1), 0);
    ck_assert_int_eq(
        tide_log_append_block(second, 1, block, TIDE_LOG_ROOM(3000), TIDE_LOG_TRY, NULL), 0);
    ck_assert_int_eq(tide_log_client_close(second), 0);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    ck_assert_int_eq(tide_log_client_open(&client, log_, NULL), 0);
    logref_finish();
}
END_TEST

/* --- readers --------------------------------------------------------------------------------- */

START_TEST(readers_that_may_be_overtaken_get_copies)
{
    struct tide_log_batch batch;
    struct tide_log_options options = ways(_i);
    options.retain = TIDE_LOG_KEEP_RECENT;
    logref_start("anon", REGION_SIZE, options);
    logref_read_as(TIDE_LOG_SKIP);
    void *block = logref_block(heap, 3000, 7);
    ck_assert_int_eq(logref_append(block, 3000, 0), 0);
    batch = logref_read_one();
    ck_assert_ptr_ne(batch.data, block);
    ck_assert(logref_is_right(&batch, 3000));
    for (unsigned i = 0; i < 60; i++) {
        ck_assert_int_eq(logref_append(logref_block(heap, 3000, 8 + i), 3000, 0), 0);
        tide_log_poll(log_);
    }
    ck_assert_int_eq(tide_log_read(reader, &batch, 1, TIDE_LOG_TRY), -EOVERFLOW);
    batch = logref_read_one();
    ck_assert(logref_is_right(&batch, 3000));
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    logref_finish();
}
END_TEST

START_TEST(a_detached_reader_holds_no_block)
{
    struct tide_log_batch batch;
    struct tide_log_options options = ways(_i);
    options.retain = TIDE_LOG_KEEP_RECENT;
    logref_start("anon", REGION_SIZE, options);
    logref_read_as(TIDE_LOG_DETACH);
    for (unsigned i = 0; i < 60; i++) {
        ck_assert_int_eq(logref_append(logref_block(heap, 3000, i), 3000, 0), 0);
        tide_log_poll(log_);
    }
    ck_assert_int_eq(tide_log_read(reader, &batch, 1, TIDE_LOG_TRY), -EPIPE);
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    logref_finish();
}
END_TEST

START_TEST(a_check_sum_covers_the_block)
{
    struct tide_log_batch batch;
    struct tide_log_options options = logref_options(5);
    options.checksum = 1;
    logref_start("anon", REGION_SIZE, options);
    logref_read_as(_i ? TIDE_LOG_SKIP : TIDE_LOG_GATE);
    unsigned char *block = logref_block(heap, 40000, 1);
    ck_assert_int_eq(logref_append(block, 40000, 0), 0);
    block[40015] ^= 1;
    ck_assert_int_eq(tide_log_read(reader, &batch, 1, TIDE_LOG_TRY), -EBADMSG);
    logref_says("damaged batch at position: 0");
    block[40015] ^= 1;
    batch = logref_read_one();
    ck_assert(logref_is_right(&batch, 40000));
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    logref_finish();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("logref");
    TCase *tcase = tcase_create("logref");
    tcase_add_checked_fixture(tcase, unit_files_setup, unit_files_teardown);
    tcase_add_loop_test(tcase, readers_get_the_blocks_themselves_and_nothing_is_copied, 0,
                        REGION_SOURCES);
    tcase_add_loop_test(tcase, blocks_return_and_are_used_again, 0, REGION_SOURCES);
    tcase_add_loop_test(tcase, a_block_is_the_logs_until_it_is_trimmed, 0, WAYS);
    tcase_add_loop_test(tcase, other_calls_take_blocks_home, 0, 7);
    tcase_add_loop_test(tcase, plain_and_referred_batches_stand_in_one_order, 0, WAYS);
    tcase_add_test(tcase, a_block_of_several_messages);
    tcase_add_loop_test(tcase, a_full_retire_ring_holds_trimming_back, 0, 3);
    tcase_add_loop_test(tcase, a_full_retire_ring_does_not_block_appends, 0, 3);
    tcase_add_loop_test(tcase, early_batches_that_are_dropped_return, 0, 4);
    tcase_add_loop_test(tcase, held_batches_are_delivered_in_their_turn, 0, 4);
    tcase_add_loop_test(tcase, a_late_batch_stays_the_programs, 0, 2);
    tcase_add_loop_test(tcase, readers_that_may_be_overtaken_get_copies, 0, WAYS);
    tcase_add_loop_test(tcase, a_detached_reader_holds_no_block, 0, WAYS);
    tcase_add_loop_test(tcase, a_check_sum_covers_the_block, 0, 2);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
