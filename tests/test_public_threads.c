/* test_public_threads.c - the public functions called by several threads. */
#include <tidepool/tidepool.h>

#include <pthread.h>

#include "unit_base.h"

static const size_t border[] = {0, 100, 2047, 2048, 32768, 32769, 1 << 20, 1048577, 5 << 20};

enum { BORDERS = sizeof border / sizeof border[0] };

static uint64_t live_blocks(void)
{
    struct tide_stats stats;
    ck_assert_int_eq(tide_stats(&stats), 0);
    return stats.tiny.live_blocks + stats.mid.live_blocks + stats.large.live_blocks;
}

enum { THREADS = 4, ROUNDS = 3000 };

static tide_heap_t *shared_heap;

static void *use_heap(void *seed)
{
    uint64_t state = (uintptr_t)seed;
    for (int i = 0; i < ROUNDS; i++) {
        size_t size = unit_random(&state) % 5000;
        char *block = tide_heap_malloc(shared_heap, size + 1);
        block[0] = block[size] = (char)i;
        if (i % 4 != 0)
            tide_free(block);
    }
    return NULL;
}

START_TEST(threads_share_a_heap)
{
    pthread_t thread[THREADS];
    shared_heap = tide_heap_create();
    for (uintptr_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, use_heap, (void *)(i + 1)), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    ck_assert_uint_eq(live_blocks(), THREADS * ROUNDS / 4);
    tide_heap_destroy(shared_heap);
    ck_assert_uint_eq(live_blocks(), 0);
}
END_TEST

static void *free_blocks(void *blocks)
{
    for (int i = 0; i < BORDERS; i++)
        tide_free(((void **)blocks)[i]);
    return NULL;
}

START_TEST(any_thread_may_free)
{
    pthread_t thread;
    void *block[BORDERS];
    for (int i = 0; i < BORDERS; i++)
        memset(block[i] = tide_malloc(border[i]), 1, border[i]);
    ck_assert_int_eq(pthread_create(&thread, NULL, free_blocks, block), 0);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(live_blocks(), 0);
}
END_TEST

static _Atomic bool stop;

static void *free_null(void *unused)
{
    (void)unused;
    while (!atomic_load(&stop)) {
        tide_free(NULL);
        if (tide_tier_of(&stop) != TIDE_TIER_NONE)
            return &stop;
    }
    return NULL;
}

/* The very first block opens the windows while another thread asks and frees nothing. */
START_TEST(others_may_call_while_the_first_block_is_made)
{
    pthread_t thread;
    void *wrong = NULL;
    ck_assert_int_eq(pthread_create(&thread, NULL, free_null, NULL), 0);
    usleep(2000);
    for (int i = 0; i < BORDERS; i++)
        ck_assert_uint_ge(tide_malloc_usable_size(tide_malloc(border[i])), border[i]);
    atomic_store(&stop, true);
    pthread_join(thread, &wrong);
    ck_assert_ptr_null(wrong);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {threads_share_a_heap, any_thread_may_free,
                                  others_may_call_while_the_first_block_is_made, NULL};
    return unit_main("public_threads", tests);
}
