/*
 * test_purge.c - free memory goes back to the system: by itself when blocks are freed,
 * and all that can be reached when it is asked for.
 */
#include "pool_case.h"

#include <pthread.h>
#include <semaphore.h>

#include "box/large.h"
#include "box/purge.h"
#include "box/route.h"
#include "box/stat.h"

enum { LOAD = 64 * MIB, MOST = 600000 };

static void *block[MOST];
static unsigned count;
static sem_t taken, leave;

static size_t tiny_size(uint64_t *seed)
{
    return next_random(seed) % 2048;
}

static size_t mid_size(uint64_t *seed)
{
    return 2048 + next_random(seed) % 30721;
}

static size_t mixed_size(uint64_t *seed)
{
    return next_random(seed) % 8 ? tiny_size(seed) : mid_size(seed);
}

static size_t run_size(uint64_t *seed)
{
    return 32769 + next_random(seed) % (220 * KIB);
}

static size_t (*const sizes[])(uint64_t *) = {tiny_size, mid_size, mixed_size, run_size};

/* Takes LOAD bytes of blocks and touches them all; then shuffles them. */
static void take_load(size_t (*size_of)(uint64_t *))
{
    uint64_t seed = 17;
    size_t bytes = 0;
    for (count = 0; bytes < LOAD && count < MOST; count++) {
        size_t size = size_of(&seed);
        block[count] = memset(tide_malloc(size), 1, size);
        bytes += size;
    }
    shuffle(block, count, &seed);
}

/* Resident bytes of the process; its sanitizer's, too, if it has one. */
static size_t resident_process(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fscanf(file, "%*u %lu", &pages), 1);
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void must_be_small(size_t before, size_t peak)
{
    ck_assert_uint_gt(peak, LOAD);
    ck_assert_uint_lt(resident_blocks(), peak / 10 + 4 * MIB);
    if (!SANITIZED)
        ck_assert_uint_lt(resident_process(), before + peak / 10 + 8 * MIB);
}

/* No call but free, no time: what is free is back. */
START_TEST(freed_memory_goes_back_by_itself)
{
    memset(block, 0, sizeof block); /* resident before */
    size_t before = resident_process();
    take_load(sizes[_i]);
    size_t peak = resident_blocks();
    for (unsigned i = 0; i < count; i++)
        tide_free(block[i]);
    must_be_small(before, peak);
}
END_TEST

static void *take_and_sleep(void *arg)
{
    take_load(*(size_t(*const *)(uint64_t *))arg);
    sem_post(&taken);
    sem_wait(&leave);
    return NULL;
}

/* The thread that owns the blocks sleeps; another one frees them. */
START_TEST(memory_of_a_sleeping_thread_goes_back)
{
    pthread_t thread;
    memset(block, 0, sizeof block);
    size_t before = resident_process();
    sem_init(&taken, 0, 0);
    sem_init(&leave, 0, 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, take_and_sleep, (void *)&sizes[_i]), 0);
    sem_wait(&taken);
    size_t peak = resident_blocks();
    for (unsigned i = 0; i < count; i++)
        tide_free(block[i]);
    must_be_small(before, peak);
    sem_post(&leave);
    pthread_join(thread, NULL);
}
END_TEST

START_TEST(memory_of_an_ended_thread_goes_back)
{
    pthread_t thread;
    memset(block, 0, sizeof block);
    size_t before = resident_process();
    sem_init(&taken, 0, 0);
    sem_init(&leave, 0, 1);
    ck_assert_int_eq(pthread_create(&thread, NULL, take_and_sleep, (void *)&sizes[_i]), 0);
    pthread_join(thread, NULL);
    size_t peak = resident_blocks();
    for (unsigned i = 0; i < count; i++)
        tide_free(block[i]);
    must_be_small(before, peak);
}
END_TEST

static void *take_and_free(void *arg)
{
    take_load(*(size_t(*const *)(uint64_t *))arg);
    for (unsigned i = 0; i < count; i++)
        tide_free(block[i]);
    sem_post(&taken);
    sem_wait(&leave);
    return NULL;
}

/* A thread frees its own blocks and sleeps: it keeps no more than its magazines. */
START_TEST(an_idle_thread_keeps_little)
{
    pthread_t thread;
    memset(block, 0, sizeof block);
    size_t before = resident_process();
    sem_init(&taken, 0, 0);
    sem_init(&leave, 0, 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, take_and_free, (void *)&sizes[_i]), 0);
    sem_wait(&taken);
    must_be_small(before, LOAD + 1);
    sem_post(&leave);
    pthread_join(thread, NULL);
}
END_TEST

/* Blocks of one class are replaced by those of another: what the first ones leave between
 * them is of no use to the second ones. */
START_TEST(memory_that_moves_between_classes_goes_back)
{
    for (count = 0; count < LOAD / 500; count++)
        block[count] = memset(tide_malloc(500), 1, 500);
    size_t peak = resident_blocks();
    for (unsigned i = 0; i < count; i++) {
        if (i % 128 != 0)
            tide_free(block[i]);
        if (i % 8 == 0)
            memset(tide_malloc(4000), 1, 4000);
    }
    ck_assert_uint_gt(peak, LOAD);
    ck_assert_uint_lt(resident_blocks(), peak + peak / 3);
}
END_TEST

/* One swing of a queue that fills up and runs empty. */
static uint64_t swing(void)
{
    uint64_t before = TIDE_STAT_GET(decommit_bytes);
    for (count = 0; count < 700; count++)
        block[count] = memset(tide_malloc(10000), 1, 10000);
    for (unsigned i = 0; i < count; i++)
        tide_free(block[i]);
    return TIDE_STAT_GET(decommit_bytes) - before;
}

/* The budget follows what comes and goes, but not far. */
START_TEST(memory_that_is_needed_again_is_kept)
{
    uint64_t first = swing();
    ck_assert_uint_gt(first, 0);
    size_t budget = tide_segment_retain_limit();
    for (int i = 0; i < 40; i++)
        swing();
    ck_assert_uint_lt(swing(), first / 4);
    ck_assert_uint_gt(tide_segment_retain_limit(), budget);
    take_load(mid_size);
    for (int i = 0; i < 40; i++)
        swing();
    ck_assert_uint_le(tide_segment_retain_limit(), 2 * budget);
}
END_TEST

/* --- on request ------------------------------------------------------------------------ */

START_TEST(purge_spares_live_blocks)
{
    tide_segment_set_retain((size_t)1 << 30);
    take_load(mixed_size);
    for (unsigned i = 0; i < count; i++) {
        size_t usable = tide_malloc_usable_size(block[i]);
        if (i % 16 == 0)
            memset(block[i], (int)(i / 16 % 251), usable);
        else
            tide_free(block[i]);
    }
    tide_route_flush_thread();
    size_t before = resident_blocks(), bytes = tide_purge_all(0);
    ck_assert_uint_gt(bytes, before / 10);
    ck_assert_uint_le(resident_blocks(), before - bytes / 2);
    unsigned wrong = 0;
    for (unsigned i = 0; i < count; i += 16)
        wrong += !is_filled(block[i], (int)(i / 16 % 251), tide_malloc_usable_size(block[i]));
    ck_assert_uint_eq(wrong, 0);
    for (struct tide_heap *heap = tide_heap_first(); heap != NULL; heap = heap->next)
        MUST_BE_VALID(&heap->pages);
    ck_assert_uint_eq(tide_purge_all(0), 0);
    ck_assert_uint_eq(TIDE_STAT_GET(retained), 0);
}
END_TEST

START_TEST(purge_keeps_what_it_is_told_to)
{
    tide_segment_set_retain((size_t)1 << 30);
    take_load(mid_size);
    for (unsigned i = 0; i < count; i++)
        tide_free(block[i]);
    tide_route_flush_thread();
    uint64_t all = TIDE_STAT_GET(retained), decommitted = TIDE_STAT_GET(decommit_bytes);
    ck_assert_uint_gt(all, LOAD);
    size_t bytes = tide_purge_all(16 * MIB);
    ck_assert_uint_gt(bytes, all - 17 * MIB);
    ck_assert_uint_le(TIDE_STAT_GET(retained), 16 * MIB);
    ck_assert_uint_gt(TIDE_STAT_GET(retained), 14 * MIB);
    ck_assert_uint_ge(TIDE_STAT_GET(decommit_bytes) - decommitted, bytes);
    tide_purge_all(0);
    ck_assert_uint_eq(TIDE_STAT_GET(retained), 0);
    ck_assert_uint_lt(resident_blocks(), 64 * KIB);
}
END_TEST

static void *fill_and_sleep(void *arg)
{
    void **out = arg;
    for (int i = 0; i < 600; i++)
        out[i] = memset(tide_malloc(4000), 1, 4000);
    for (int i = 0; i < 600; i += 2)
        tide_free(out[i]);
    sem_post(&taken);
    sem_wait(&leave);
    return NULL;
}

/* Pages and inboxes of every heap; what waits in another thread's magazines stays. */
START_TEST(purge_reaches_every_heap)
{
    static void *theirs[600], *parked[600], *firsts[600];
    pthread_t thread, ended;
    sem_init(&taken, 0, 0);
    sem_init(&leave, 0, 1);
    tide_segment_set_retain((size_t)1 << 30);
    tide_magazine_set_budget(64 * KIB);
    pthread_create(&ended, NULL, fill_and_sleep, parked);
    pthread_join(ended, NULL);
    pthread_create(&thread, NULL, fill_and_sleep, theirs);
    tide_heap_t *heap = tide_heap_create();
    for (int i = 0; i < 600; i++)
        firsts[i] = memset(tide_heap_malloc(heap, 40000), 1, 40000);
    sem_wait(&taken);
    sem_wait(&taken);
    for (int i = 1; i < 600; i += 2) {
        tide_free(theirs[i]); /* half were freed by their thread */
        tide_free(parked[i]);
        tide_free(firsts[i]);
    }
    tide_route_flush_thread();
    void *mapping = memset(tide_malloc(8 * MIB), 1, 8 * MIB);
    tide_free(mapping);
    size_t before = resident_blocks();
    ck_assert_uint_ge(tide_purge_all(0), 300 * 40000 + 8 * MIB);
    ck_assert_uint_lt(resident_blocks(), before - 300 * 40000);
    for (struct tide_heap *at = tide_heap_first(); at != NULL; at = at->next) {
        ck_assert_ptr_null(atomic_load(&at->pages.inbox));
        ck_assert_uint_le(at->pages.slack, 64 * KIB);
        MUST_BE_VALID(&at->pages);
        if (atomic_load(&at->state) == TIDE_HEAP_PARKED)
            ck_assert_uint_eq(pages_sum(&at->pages, false), 0);
    }
    sem_post(&leave);
    pthread_join(thread, NULL);
    tide_heap_destroy(heap);
}
END_TEST

START_TEST(trim_empties_the_threads_own_magazines)
{
    tide_segment_set_retain((size_t)1 << 30);
    take_load(mixed_size);
    for (unsigned i = 0; i < count; i++)
        tide_free(block[i]);
    ck_assert_int_eq(tide_malloc_trim(0), 1);
    ck_assert_uint_eq(resident_blocks(), 0);
    ck_assert_int_eq(tide_malloc_trim(0), 0);
}
END_TEST

/* A request that finds no memory makes others give theirs back first. */
START_TEST(memory_that_is_kept_does_not_make_malloc_fail)
{
    tide_segment_set_retain((size_t)1 << 30);
    void *p = tide_malloc(200 * MIB), *live = tide_malloc(5000);
    tide_free(p);
    ck_assert_uint_eq(TIDE_STAT_GET(retained), 200 * MIB);
    struct rlimit before = memory_ends();
    void *none = tide_malloc(100 * MIB);
    memory_returns(before);
    ck_assert_ptr_null(none);
    ck_assert_uint_eq(TIDE_STAT_GET(retained), 0); /* it was given back */
    ck_assert_uint_eq(tide_malloc_usable_size(live) >= 5000, 1);
}
END_TEST

int main(void)
{
    TCase *group = tcase_create("purge");
    tcase_add_loop_test(group, freed_memory_goes_back_by_itself, 0, 4);
    tcase_add_loop_test(group, memory_of_a_sleeping_thread_goes_back, 0, 4);
    tcase_add_loop_test(group, memory_of_an_ended_thread_goes_back, 0, 4);
    tcase_add_loop_test(group, an_idle_thread_keeps_little, 0, 4);
    tcase_add_test(group, memory_that_moves_between_classes_goes_back);
    tcase_add_test(group, memory_that_is_needed_again_is_kept);
    tcase_add_test(group, purge_spares_live_blocks);
    tcase_add_test(group, purge_keeps_what_it_is_told_to);
    tcase_add_test(group, purge_reaches_every_heap);
    tcase_add_test(group, trim_empties_the_threads_own_magazines);
    if (!THREAD_SANITIZED) /* it ends a process that it finds no address space in */
        tcase_add_test(group, memory_that_is_kept_does_not_make_malloc_fail);
    return run_group("purge", group);
}
