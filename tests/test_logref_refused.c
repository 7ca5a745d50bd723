/* test_logref_refused.c - append by reference: what is refused, and blocks whose heap, handle or
 * process ends. */
#include "logref_case.h"

#include <sys/wait.h>
#include <unistd.h>

/* --- bad input -------------------------------------------------------------------------------- */

static void refused(void *block, size_t bytes, int error, const char *words)
{
    int got = tide_log_append_block(client, 0, block, bytes, TIDE_LOG_TRY, NULL);
    if (got != error)
        ck_abort_msg("%d instead of %d, %s", got, error, words);
    logref_says(words);
}

START_TEST(blocks_that_are_none_are_refused_with_the_reason)
{
    char here[256] = {0};
    logref_start("memfd", REGION_SIZE, logref_options(5));
    char *base = tide_region_base(region);
    char *block = logref_block(heap, 3000, 1), *large = logref_block(heap, 700000, 1);
    char *plain = tide_malloc(3000);
    tide_heap_t *near = tide_heap_create();
    char *of_near = logref_block(near, 3000, 1);
    refused(here, 64, -EXDEV, "not in the log's region: address of a block: ");
    refused(NULL, 64, -EXDEV, "not in the log's region: address of a block: 0, allowed: ");
    refused(plain, 64, -EXDEV, "not in the log's region");
    refused(of_near, 64, -EXDEV, "not in the log's region");
    refused(base, 64, -EINVAL, "not the start of a block: offset in the region: 0");
    refused((char *)log_->map.base + 4096, 64, -EINVAL, "not the start of a block");
    refused(block + 16, 64, -EINVAL, "not the start of a block");
    refused(block + 8, 64, -EINVAL, "not the start of a block");
    refused(large + TIDE_REGION_SEGMENT, 64, -EINVAL, "not the start of a block");
    refused(base + REGION_SIZE - 4096, 64, -EINVAL, "not the start of a block");
    char *freed = logref_block(heap, 3000, 1), *gone = logref_block(heap, 50000, 1);
    tide_free(freed);
    tide_free(gone);
    refused(freed, 64, -EFAULT, "a block that is free: offset in the region");
    refused(gone, 64, -EFAULT, "a block that is free: offset in the region");
    ck_assert_uint_eq(((struct tide_log_frame *)(void *)block)->flags, 0);
    ck_assert_int_eq(logref_append(block, 3000, 0), 0);
    ck_assert_int_eq(logref_append(large, 700000, 0), 0);
    tide_free(plain);
    tide_heap_destroy(near);
    logref_finish();
}
END_TEST

START_TEST(frames_that_are_none_are_refused_with_the_reason)
{
    logref_start("anon", REGION_SIZE, logref_options(5));
    unsigned char *block = logref_block(heap, 3000, 1);
    size_t usable = tide_malloc_usable_size(block);
    struct tide_log_frame *frame = (void *)block;
    char words[128];
    snprintf(words, sizeof words, "bytes of frames in a block: %zu, allowed: 16 to %zu", usable + 8,
             usable);
    refused(block, usable + 8, -EMSGSIZE, words);
    refused(block, 8, -EMSGSIZE, "bytes of frames in a block: 8, allowed: 16 to ");
    refused(block, 0, -EMSGSIZE, "bytes of frames in a block: 0, allowed: 16 to ");
    refused(block, SIZE_MAX, -EMSGSIZE, "bytes of frames in a block");
    refused(block, 3017, -EINVAL, "bytes of frames beyond a multiple of 8: 1");
    refused(block, 3008, -EINVAL, "bytes of whole frames in a block: 0, allowed: 3008 to 3008");
    refused(block, 3024, -EINVAL, "bytes of whole frames in a block: 3016, allowed: 3024 to 3024");
    frame->flags = 4;
    refused(block, 3016, -EINVAL, "flags of a frame in a block: 4, allowed: 0 to 0");
    ck_assert_uint_eq(frame->flags, 4);
    frame->flags = 0;
    frame->length = 8;
    frame = (void *)(block + 24);
    *frame = (struct tide_log_frame){8, 2, 0};
    refused(block, 48, -EINVAL, "flags of a frame in a block: 2, allowed: 0 to 0");
    frame->flags = 0;
    uint64_t granules = log_->map.granules.size;
    log_->map.granules.size = UINT32_MAX / 4 / 2 - 4; /* 39 messages are left */
    refused(block, 48, -EMSGSIZE, "messages of a block: 2, allowed: 1 to 1");
    log_->map.granules.size = granules;
    ck_assert_int_eq(tide_log_append_block(client, 0, block, 48, TIDE_LOG_TRY, NULL), 0);
    refused(block, 48, -EALREADY, "in the log already: offset of a block in the region: ");
    logref_finish();
}
END_TEST

START_TEST(a_block_that_was_not_appended_is_the_programs)
{
    struct tide_log_claim claim;
    struct tide_log_options options = logref_options(5);
    options.brokers = 1;
    logref_start("anon", REGION_SIZE, options);
    logref_read_as(TIDE_LOG_GATE);
    void *block = logref_block(heap, 3000, 1);
    size_t bytes = TIDE_LOG_ROOM(3000);
    ck_assert_int_eq(tide_log_append_block(NULL, 0, block, bytes, TIDE_LOG_TRY, NULL), -ESTALE);
    ck_assert_int_eq(tide_log_append_block(client, 1, block, bytes, TIDE_LOG_TRY, NULL), -EINVAL);
    logref_says("broker: 1, allowed: 0 to 0");
    ck_assert_int_eq(tide_log_claim(client, 0, 64, TIDE_LOG_TRY, &claim), 0);
    ck_assert_int_eq(logref_append(block, 3000, 0), -EBUSY);
    ck_assert_int_eq(tide_log_abort(&claim), 0);
    while (tide_log_append(client, 0, "x", 1, TIDE_LOG_TRY, NULL) == 0)
        ;
    ck_assert_int_eq(logref_append(block, 3000, 0), -EAGAIN);
    logref_says("full: broker: 0");
    ck_assert_int_eq(tide_log_append_block(client, 0, block, bytes, 1000000, NULL), -ETIMEDOUT);
    ck_assert_uint_eq(((struct tide_log_frame *)block)->flags, 0);
    ck_assert_uint_eq(logref_stat().lent, 0);
    tide_free(block);
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    logref_finish();
}
END_TEST

START_TEST(a_log_in_memory_of_its_own_takes_no_blocks)
{
    tide_log_t *own;
    tide_log_client_t *its;
    logref_start("anon", REGION_SIZE, logref_options(5));
    void *block = logref_block(heap, 3000, 1);
    ck_assert_int_eq(tide_log_create(&own, NULL), 0);
    ck_assert_int_eq(tide_log_client_open(&its, own, NULL), 0);
    ck_assert_int_eq(tide_log_append_block(its, 0, block, TIDE_LOG_ROOM(3000), TIDE_LOG_TRY, NULL),
                     -EXDEV);
    logref_says("the log is in no region: address of a block: ");
    ck_assert_int_eq(tide_log_reclaim(own), 0);
    ck_assert_int_eq(tide_log_reclaim(NULL), -ESTALE);
    ck_assert_int_eq(tide_log_client_close(its), 0);
    ck_assert_int_eq(tide_log_close(own), 0);
    ck_assert_ptr_null(tide_log_block(heap, (size_t)2 << 30, 0));
    ck_assert_int_eq(errno, ENOMEM);
    logref_finish();
}
END_TEST

/* --- heaps and processes that end --- */

/* What waits for a heap that is gone is not looked for in the one that came after it. */
START_TEST(a_destroyed_heap_took_its_blocks_along)
{
    logref_start("anon", REGION_SIZE, logref_options(5));
    tide_heap_t *first = tide_heap_create_on(region);
    void *block = logref_block(first, 3000, 1);
    ck_assert_int_eq(logref_append(block, 3000, 0), 0);
    tide_trim_below(&log_->map, 0, UINT64_MAX, false);
    tide_heap_destroy(first);
    tide_heap_t *second = tide_heap_create_on(region);
    void *again = logref_block(second, 3000, 2);
    ck_assert_ptr_eq(again, block);
    ck_assert_int_eq(tide_log_reclaim(log_), 1);
    ck_assert_uint_eq(tide_malloc_usable_size(again) >= 3016, 1);
    ck_assert_int_eq(logref_append(again, 3000, 0), 0);
    tide_log_trim(log_, 0, UINT64_MAX, NULL);
    tide_heap_destroy(second);
    logref_finish();
}
END_TEST

/* The log, its readers, and who opens it next have them, until they are trimmed. */
START_TEST(a_heap_that_goes_leaves_what_is_in_the_log)
{
    static const size_t sizes[] = {3000, 100000, 700000};
    const char *text = region_text(_i);
    struct tide_log_batch batch;
    if (text == NULL)
        return;
    logref_start(text, REGION_SIZE, logref_options(5));
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(logref_append(logref_block(heap, sizes[i], i), sizes[i], 0), 0);
    ck_assert_ptr_nonnull(tide_heap_malloc(heap, 2000000)); /* goes */
    ck_assert_int_eq(tide_log_client_close(client), 0);
    if (_i % 2 != 0)
        ck_assert_int_eq(tide_log_close(log_), 0);
    tide_heap_destroy(heap);
    ck_assert_uint_eq(region_told(region).heap_bytes, 0);
    ck_assert_uint_eq(region_told(region).left_bytes, 4 * TIDE_REGION_SEGMENT);
    ck_assert_int_eq(tide_region_reclaim(region), 0);
    heap = tide_heap_create_on(region);
    for (void *block; (block = tide_heap_malloc(heap, 100000)) != NULL;)
        memset(block, 0xee, 100000);
    tide_heap_destroy(heap);
    if (_i % 2 != 0 && region_sources[_i].again) {
        ck_assert_int_eq(tide_region_close(region), 0);
        region = region_opened(text);
    }
    if (_i % 2 != 0)
        ck_assert_int_eq(tide_log_open(&log_, region), 0);
    logref_read_as(TIDE_LOG_GATE);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(tide_log_read(reader, &batch, 1, TIDE_LOG_TRY), 1);
        ck_assert(logref_is_right(&batch, sizes[i]));
    }
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    ck_assert_int_eq(tide_log_trim(log_, 0, UINT64_MAX, NULL), 0);
    ck_assert_int_eq(tide_region_reclaim(region), 4);
    heap = tide_heap_create_on(region);
    ck_assert_int_eq(tide_log_client_open(&client, log_, NULL), 0);
    logref_finish();
}
END_TEST

START_TEST(a_log_that_is_opened_again_has_its_blocks)
{
    logref_start("anon", REGION_SIZE, logref_options(5));
    void *block = logref_block(heap, 3000, 1);
    ck_assert_int_eq(logref_append(block, 3000, 0), 0);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    ck_assert_int_eq(tide_log_close(log_), 0);
    ck_assert_int_eq(tide_log_open(&log_, region), 0);
    ck_assert_int_eq(tide_log_client_open(&client, log_, NULL), 0);
    logref_read_as(TIDE_LOG_GATE);
    struct tide_log_batch batch = logref_read_one();
    ck_assert_ptr_eq(batch.data, block);
    ck_assert(logref_is_right(&batch, 3000));
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    ck_assert_int_eq(tide_log_trim(log_, 0, UINT64_MAX, NULL), 0);
    ck_assert(logref_is_free(block));
    logref_finish();
}
END_TEST

/* The child leaves all as it is; its parent goes on. */
START_TEST(a_child_has_no_log)
{
    logref_start(_i ? "memfd" : "anon", REGION_SIZE, logref_options(5));
    void *block = logref_block(heap, 3000, 1), *other = logref_block(heap, 3000, 1);
    ck_assert_int_eq(logref_append(block, 3000, 0), 0);
    tide_trim_below(&log_->map, 0, UINT64_MAX, false);
    pid_t child = fork();
    if (child == 0) {
        int failed = logref_append(other, 3000, 0) != -ESTALE || tide_log_reclaim(log_) != -ESTALE;
        tide_heap_destroy(heap);
        _exit(failed);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(logref_append(other, 3000, 0), 0);
    ck_assert_int_eq(tide_log_reclaim(log_), 0);
    ck_assert(logref_is_free(block));
    logref_finish();
}
END_TEST

/* Two handles of one file are as two processes: each has heaps of its own. */
START_TEST(a_block_of_another_handles_heap_is_refused)
{
    if (unit_tmpfs[0] == '\0')
        return;
    char text[300];
    snprintf(text, sizeof text, "file:%s/region", unit_tmpfs);
    logref_start(text, REGION_SIZE, logref_options(5));
    tide_region_t *again = region_opened(text);
    tide_heap_t *its = tide_heap_create_on(again);
    char *block = logref_block(its, 3000, 1);
    size_t offset = (size_t)(block - (char *)tide_region_base(again));
    refused(block, 64, -EXDEV, "not in the log's region");
    refused((char *)tide_region_base(region) + offset, 64, -EPERM,
            "a block of another process's heap: offset in the region: ");
    tide_heap_destroy(its);
    ck_assert_int_eq(tide_region_close(again), 0);
    logref_finish();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("logref_refused");
    TCase *tcase = tcase_create("logref_refused");
    tcase_add_checked_fixture(tcase, unit_files_setup, unit_files_teardown);
    tcase_add_test(tcase, blocks_that_are_none_are_refused_with_the_reason);
    tcase_add_test(tcase, frames_that_are_none_are_refused_with_the_reason);
    tcase_add_test(tcase, a_block_that_was_not_appended_is_the_programs);
    tcase_add_test(tcase, a_log_in_memory_of_its_own_takes_no_blocks);
    tcase_add_test(tcase, a_destroyed_heap_took_its_blocks_along);
    tcase_add_loop_test(tcase, a_heap_that_goes_leaves_what_is_in_the_log, 0, REGION_SOURCES);
    tcase_add_test(tcase, a_log_that_is_opened_again_has_its_blocks);
    tcase_add_test(tcase, a_block_of_another_handles_heap_is_refused);
    tcase_add_loop_test(tcase, a_child_has_no_log, 0, 2);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
