/* test_logref_threads.c - append by reference with real threads: every batch once and whole,
 * every block home in the end. */
#include "logref_case.h"

#include <pthread.h>

enum { WRITERS = 2, READERS = 2, ROUNDS = 2000, SIZE = 2000, THIEVES = 3 };

static const unsigned levels[] = {0, 4, 5};

static struct writer {
    pthread_t thread;
    tide_log_client_t *client;
    tide_heap_t *own;
    unsigned id;
    int error;
} writer[WRITERS];

static struct watcher {
    pthread_t thread;
    tide_log_reader_t *reader;
    unsigned got[WRITERS], wrong;
} watcher[READERS];

static _Atomic unsigned at_work;
static uint64_t sum; /* bytes by reference, of all writers */

/* Every third batch is a plain one; blocks are from the heap of all, or of its own. */
static int write_one(struct writer *self, unsigned i)
{
    uint64_t tag = (uint64_t)self->id * ROUNDS + i;
    unsigned broker = i % 2;
    if (i % 3 == 2) {
        unsigned char bytes[SIZE];
        memset(bytes, (int)(tag % 251), SIZE);
        struct tide_log_message message = {bytes, SIZE, tag};
        return tide_log_append_batch(self->client, broker, &message, 1, TIDE_LOG_BLOCK, NULL);
    }
    void *block;
    while ((block = logref_block(i % 2 ? self->own : heap, SIZE, (unsigned)tag)) == NULL)
        if (tide_log_reclaim(log_) < 0)
            return -ESTALE;
    return tide_log_append_block(self->client, broker, block, TIDE_LOG_ROOM(SIZE), TIDE_LOG_BLOCK,
                                 NULL);
}

static void *write_all(void *argument)
{
    struct writer *self = argument;
    for (unsigned i = 0; i < ROUNDS && self->error == 0; i++)
        self->error = write_one(self, i);
    atomic_fetch_sub(&at_work, 1);
    return NULL;
}

/* Handles are opened and closed by one thread: their memory comes straight from the kernel,
 * and TSan does not see when it goes from one to another. */
static void write_start(void)
{
    for (unsigned i = 0; i < WRITERS; i++) {
        struct tide_log_client_options options = {.id = i};
        writer[i] = (struct writer){.id = i, .own = tide_heap_create_on(region)};
        UNIT_NEED(writer[i].own != NULL);
        UNIT_NEED(tide_log_client_open(&writer[i].client, log_, &options) == 0);
        UNIT_NEED(pthread_create(&writer[i].thread, NULL, write_all, &writer[i]) == 0);
    }
}

static void write_end(void)
{
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_join(writer[i].thread, NULL);
        ck_assert_int_eq(writer[i].error, 0);
        ck_assert_int_eq(tide_log_client_close(writer[i].client), 0);
    }
}

static void look_at(struct watcher *self, const struct tide_log_batch *batch)
{
    size_t at = 0;
    uint64_t tag = tide_log_next(batch, &at)->tag, id = tag / ROUNDS;
    self->wrong += !logref_is_right(batch, SIZE) || id != batch->client;
    if (id < WRITERS)
        self->got[id]++;
}

/* All batches; of what is skipped it counts how many there were. */
static void *watch(void *argument)
{
    struct watcher *self = argument;
    struct tide_log_batch batch[4];
    unsigned left = (WRITERS * ROUNDS) / (log_->map.level == 0 ? 2 : 1);
    while (left > 0 && self->wrong == 0) {
        uint64_t from, to;
        int got = tide_log_read(self->reader, batch, 4, TIDE_LOG_BLOCK);
        for (int i = 0; i < got; i++)
            look_at(self, &batch[i]);
        if (got == -EOVERFLOW && tide_log_gap(self->reader, &from, &to) == 0)
            got = (int)(to - from);
        self->wrong += got <= 0;
        left -= (unsigned)got;
    }
    tide_log_done(self->reader);
    return NULL;
}

static void watch_start(unsigned policy)
{
    for (unsigned i = 0; i < READERS; i++) {
        struct tide_log_reader_options options = {.policy = i == 0 ? TIDE_LOG_GATE : policy,
                                                  .broker = i % 2};
        watcher[i] = (struct watcher){.wrong = 0};
        UNIT_NEED(tide_log_reader_open(&watcher[i].reader, log_, &options) == 0);
        UNIT_NEED(pthread_create(&watcher[i].thread, NULL, watch, &watcher[i]) == 0);
    }
}

static void watch_end(void)
{
    for (unsigned i = 0; i < READERS; i++) {
        pthread_join(watcher[i].thread, NULL);
        ck_assert_uint_eq(watcher[i].wrong, 0);
        ck_assert_int_eq(tide_log_reader_close(watcher[i].reader), 0);
    }
}

/* Loop index: level, and inline or with a thread that sequences. */
START_TEST(every_batch_once_and_every_block_home)
{
    struct tide_log_options options = logref_options(levels[_i % 3]);
    options.sequencing = _i / 3 ? TIDE_LOG_STEPPED : TIDE_LOG_INLINE;
    options.checksum = 1;
    options.retain = TIDE_LOG_KEEP_RECENT;
    logref_start("anon", REGION_SIZE, options);
    if (_i / 3 && levels[_i % 3] != 0)
        ck_assert_int_eq(tide_log_start(log_, -1), 0);
    atomic_store(&at_work, WRITERS);
    watch_start(levels[_i % 3] == 0 ? TIDE_LOG_GATE : TIDE_LOG_SKIP);
    write_start();
    while (atomic_load(&at_work) > 0) {
        tide_log_trim_to(log_, 32 << 10);
        tide_log_reclaim(log_);
        sched_yield();
    }
    write_end();
    watch_end();
    if (levels[_i % 3] != 0)
        ck_assert_uint_eq(watcher[0].got[0] + watcher[0].got[1], WRITERS * ROUNDS);
    sum = WRITERS * (uint64_t)TIDE_LOG_ROOM(SIZE) * ((ROUNDS * 2 + 2) / 3);
    ck_assert_uint_eq(logref_stat().lent, sum);
    ck_assert_uint_eq(logref_stat().lent + logref_stat().copied,
                      (uint64_t)WRITERS * ROUNDS * TIDE_LOG_ROOM(SIZE));
    for (unsigned i = 0; i < log_->map.brokers; i++)
        ck_assert_int_eq(tide_log_trim(log_, i, UINT64_MAX, NULL), 0);
    for (unsigned i = 0; i < WRITERS; i++)
        tide_heap_destroy(writer[i].own);
    logref_finish();
}
END_TEST

/* --- the same block by several threads ------------------------------------------------------ */

static void *prey[ROUNDS];
static _Atomic unsigned taken[ROUNDS];

static void *steal(void *argument)
{
    struct writer *self = argument;
    for (unsigned i = 0; i < ROUNDS / 4; i++) {
        int error = tide_log_append_block(self->client, self->id % 2, prey[i], TIDE_LOG_ROOM(SIZE),
                                          TIDE_LOG_BLOCK, NULL);
        if (error == 0)
            atomic_fetch_add(&taken[i], 1);
        else
            UNIT_NEED(error == -EALREADY);
    }
    return NULL;
}

START_TEST(one_of_several_threads_appends_a_block)
{
    struct writer thief[THIEVES];
    struct tide_log_options options = logref_options(5);
    options.slots = ROUNDS;
    logref_start("anon", REGION_SIZE, options);
    for (unsigned i = 0; i < ROUNDS / 4; i++)
        prey[i] = logref_block(heap, SIZE, i);
    for (unsigned i = 0; i < THIEVES; i++) {
        thief[i] = (struct writer){.id = i};
        UNIT_NEED(tide_log_client_open(&thief[i].client, log_, NULL) == 0);
        UNIT_NEED(pthread_create(&thief[i].thread, NULL, steal, &thief[i]) == 0);
    }
    for (unsigned i = 0; i < THIEVES; i++) {
        pthread_join(thief[i].thread, NULL);
        ck_assert_int_eq(tide_log_client_close(thief[i].client), 0);
    }
    for (unsigned i = 0; i < ROUNDS / 4; i++)
        ck_assert_uint_eq(taken[i], 1);
    ck_assert_uint_eq(logref_stat().committed, ROUNDS / 4);
    logref_finish();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("logref_threads");
    TCase *tcase = tcase_create("logref_threads");
    tcase_add_checked_fixture(tcase, unit_files_setup, unit_files_teardown);
    tcase_add_loop_test(tcase, every_batch_once_and_every_block_home, 0, 6);
    tcase_add_test(tcase, one_of_several_threads_appends_a_block);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
