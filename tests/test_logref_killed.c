/* test_logref_killed.c - append by reference by a process that is killed, between any two
 * steps: who opens region and log again finds every block that is in the log whole, however
 * the rest of the region is used, and has all of the region when it is trimmed. */
#include "logref_case.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SMALL = 8 * TIDE_REGION_SEGMENT, SIZE = 5000, LARGE = 300000 };

static const unsigned levels[] = {0, 4, 5};
static unsigned left; /* steps to go */

static void die(void)
{
    if (left-- == 0)
        kill(getpid(), SIGKILL);
}

static size_t size_of(unsigned number)
{
    return number % 5 == 4 ? LARGE : SIZE;
}

/* Batch `number`, at level 4 each second one before its turn; every third is a plain one. */
static void append_one(unsigned number)
{
    unsigned turn = log_->map.level == 4 ? number ^ 1 : number;
    UNIT_NEED(tide_log_set_number(client, turn) == 0);
    if (number % 3 == 2) {
        unsigned char bytes[SIZE];
        memset(bytes, (int)(number % 251), SIZE);
        struct tide_log_message message = {bytes, SIZE, number};
        UNIT_NEED(tide_log_append_batch(client, 0, &message, 1, TIDE_LOG_TRY, NULL) == 0);
        return;
    }
    void *block = logref_block(heap, size_of(number), number);
    UNIT_NEED(block != NULL);
    UNIT_NEED(logref_append(block, size_of(number), 0) == 0);
}

static void child_main(const char *text, struct tide_log_options options, unsigned steps)
{
    logref_start(text, SMALL, options);
    logref_read_as(TIDE_LOG_GATE);
    left = steps;
    tide_coh_hook = die;
    for (unsigned i = 0; i < 24; i++) {
        struct tide_log_batch batch;
        append_one(i);
        tide_log_poll(log_);
        if (i % 4 != 3)
            continue;
        for (int k = 0; k < 3; k++)
            UNIT_NEED(tide_log_read(reader, &batch, 1, TIDE_LOG_TRY) == 1);
        tide_log_done(reader);
        UNIT_NEED(tide_log_trim(log_, 0, UINT64_MAX, NULL) == 0);
    }
    kill(getpid(), SIGUSR2); /* all steps were made */
}

/* Everything in the log is whole; how many batches by reference that was. */
static unsigned look(void)
{
    struct tide_log_batch batch;
    unsigned blocks = 0;
    logref_read_as(TIDE_LOG_GATE);
    while (tide_log_read(reader, &batch, 1, TIDE_LOG_TRY) == 1) {
        size_t at = 0;
        const struct tide_log_frame *frame = tide_log_next(&batch, &at);
        bool lent = frame->flags == TIDE_LOG_LENT;
        ck_assert(logref_is_right(&batch, lent ? size_of((unsigned)frame->tag) : SIZE));
        ck_assert_int_eq(lent, frame->tag % 3 != 2);
        blocks += lent;
    }
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    return blocks;
}

/* Whatever looks free is used. */
static void fill_the_rest(void)
{
    void *block;
    heap = tide_heap_create_on(region);
    ck_assert_ptr_nonnull(heap);
    while ((block = tide_heap_malloc(heap, 200000)) != NULL)
        memset(block, 0xee, 200000);
    tide_heap_destroy(heap);
}

static unsigned open_again(const char *text)
{
    region = region_opened(text);
    ck_assert_int_eq(tide_log_open(&log_, region), 0);
    unsigned blocks = look();
    ck_assert_int_ge(tide_region_reclaim(region), 0);
    fill_the_rest();
    ck_assert_uint_eq(look(), blocks);
    ck_assert_int_eq(region_told(region).left_bytes != 0 || blocks == 0, 1);
    ck_assert_int_eq(tide_log_client_open(&client, log_, NULL), 0);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    ck_assert_int_eq(tide_log_trim(log_, 0, UINT64_MAX, NULL), 0);
    ck_assert_int_ge(tide_region_reclaim(region), 0);
    struct tide_region_info info = region_told(region);
    ck_assert_uint_eq(info.left_bytes, 0);
    ck_assert_uint_eq(info.free_bytes + info.lent_bytes, info.capacity);
    ck_assert_int_eq(tide_log_close(log_), 0);
    ck_assert_int_eq(tide_log_remove(region), 0);
    info = region_told(region);
    ck_assert_uint_eq(info.free_bytes, info.capacity);
    ck_assert_int_eq(tide_region_close(region), 0);
    return blocks;
}

/* Loop index: level, and inline or stepped. */
START_TEST(a_killed_process_leaves_its_blocks_in_the_log)
{
    char text[300];
    int status = SIGKILL;
    unsigned blocks = 0;
    struct tide_log_options options = logref_options(levels[_i % 3]);
    options.brokers = 1;
    options.slots = 32;
    options.sequencing = _i / 3 ? TIDE_LOG_STEPPED : TIDE_LOG_INLINE;
    if (unit_tmpfs[0] == '\0')
        return;
    snprintf(text, sizeof text, "file:%s/region", unit_tmpfs);
    for (unsigned steps = 0; WTERMSIG(status) == SIGKILL; steps += 1 + steps / 100) {
        pid_t child = fork();
        if (child == 0)
            child_main(text, options, steps);
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert(WIFSIGNALED(status));
        blocks += open_again(text);
        ck_assert_int_eq(unlink(strchr(text, '/')), 0);
    }
    ck_assert_int_eq(WTERMSIG(status), SIGUSR2);
    ck_assert_uint_gt(blocks, 100);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("logref_killed");
    TCase *tcase = tcase_create("logref_killed");
    tcase_add_checked_fixture(tcase, unit_files_setup, unit_files_teardown);
    tcase_add_loop_test(tcase, a_killed_process_leaves_its_blocks_in_the_log, 0, 6);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
