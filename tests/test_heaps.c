/*
 * test_heaps.c - first-class heaps: their blocks, the end of all of them at once, and
 * what is left over in other threads' hands by then. Loop index 0: header words in band,
 * 1: in the shadow table.
 */
#include "pool_case.h"

#include <pthread.h>

#include "box/large.h"
#include "box/route.h"
#include "box/stat.h"

enum { MANY = 600, THREADS = 4 };

static tide_heap_t *heap;

static void setup(void)
{
    heap = tide_heap_create();
    ck_assert_ptr_nonnull(heap);
}

static uint32_t owner_of(const void *p)
{
    struct tide_mapping mapping;
    if (tide_large_find(p, &mapping))
        return mapping.owner;
    return atomic_load(&page_of(p)->owner);
}

static size_t any_size(uint64_t *seed)
{
    static const size_t most[] = {64, 2100, 2100, 9000, 40000, 200000, 3000000};
    return next_random(seed) % most[next_random(seed) % 7];
}

START_TEST(blocks_belong_to_the_heap)
{
    static const size_t sizes[] = {0, 100, 2047, 2048, 32768, 32769, 1 << 20, 9000000};
    use_header(_i);
    for (int i = 0; i < 8; i++) {
        void *p[3] = {tide_heap_malloc(heap, sizes[i]), tide_heap_calloc(heap, 1, sizes[i]),
                      tide_heap_aligned_alloc(heap, 256, sizes[i])};
        void *plain = tide_malloc(sizes[i]);
        ck_assert_uint_eq((uintptr_t)p[2] % 256, 0);
        ck_assert(is_filled(p[1], 0, sizes[i]));
        for (int k = 0; k < 3; k++) {
            ck_assert_uint_eq(owner_of(p[k]), heap->pages.owner);
            ck_assert_int_eq(tide_tier_of(p[k]), tide_tier_of(plain));
            ck_assert_uint_ge(tide_malloc_usable_size(p[k]), sizes[i]);
            memset(p[k], k + 1, sizes[i]);
        }
        ck_assert_uint_ne(owner_of(plain), heap->pages.owner);
        for (int k = 0; k < 3; k++) {
            ck_assert(is_filled(p[k], k + 1, sizes[i]));
            tide_free(p[k]);
        }
        tide_free(plain);
    }
    tide_malloc_trim(0);
    ck_assert_uint_eq(pages_sum(&heap->pages, true), 0);
}
END_TEST

START_TEST(bad_requests_fail_with_errno)
{
    static const size_t bad[] = {0, 3, 24, (size_t)3 << 40};
    volatile size_t most = SIZE_MAX;
    errno = 0;
    ck_assert_ptr_null(tide_heap_malloc(heap, most));
    ck_assert_int_eq(errno, ENOMEM);
    errno = 0;
    ck_assert_ptr_null(tide_heap_calloc(heap, most / 2, 3));
    ck_assert_int_eq(errno, ENOMEM);
    for (int i = 0; i < 4; i++) {
        errno = 0;
        ck_assert_ptr_null(tide_heap_aligned_alloc(heap, bad[i], 100));
        ck_assert_int_eq(errno, EINVAL);
    }
    void *p = memset(tide_heap_malloc(heap, 100), 9, 100);
    errno = 0;
    ck_assert_ptr_null(tide_heap_realloc(heap, p, most));
    ck_assert_int_eq(errno, ENOMEM);
    ck_assert(is_filled(p, 9, 100)); /* the old block stays */
    ck_assert_int_eq(tide_tier_of(p), TIDE_TIER_TINY);
    tide_heap_destroy(NULL);
}
END_TEST

START_TEST(realloc_moves_blocks_into_the_heap)
{
    uint64_t seed = 3;
    use_header(_i);
    unsigned char *p = tide_heap_realloc(heap, NULL, 10);
    size_t size = 10;
    memset(p, 0x77, size);
    for (int i = 0; i < 300; i++) {
        size_t next = any_size(&seed) + 1;
        if (i % 5 == 0) { /* a block of the thread comes in between */
            unsigned char *other = memset(tide_malloc(next), 0x77, next);
            tide_free(p);
            p = other;
            size = next;
            next = any_size(&seed) + 1;
        }
        p = tide_heap_realloc(heap, p, next);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq(owner_of(p), heap->pages.owner);
        ck_assert(is_filled(p, 0x77, tide_min(size, next)));
        memset(p, 0x77, next);
        size = next;
    }
    void *same = tide_heap_realloc(heap, p, size);
    ck_assert_ptr_eq(same, p);
    ck_assert_ptr_null(tide_heap_realloc(heap, p, 0));
    ck_assert_int_eq(tide_tier_of(p), TIDE_TIER_NONE);
}
END_TEST

static void realloc_freed(void *p)
{
    tide_free(p);
    tide_malloc_trim(0);
    APART(tide_heap_realloc(heap, p, 10000) == NULL);
}

START_TEST(realloc_of_a_freed_block_is_misuse)
{
    void *p = tide_heap_malloc(heap, 100), *keep = tide_heap_malloc(heap, 100);
    must_die(
        realloc_freed, p,
        fault_line("double free", p, "tide_heap_realloc", "tiny", 112, heap->pages.owner, "free"));
    tide_free(keep);
}
END_TEST

/* --- the end ------------------------------------------------------------------------------ */

START_TEST(destroy_frees_everything)
{
    uint64_t seed = 8, blocks, bytes, taken;
    use_header(_i);
    void *mine = memset(tide_malloc(3000), 5, 3000), *mapping = tide_malloc(2 * MIB);
    tide_segment_set_retain(0);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < MANY; i++) {
            size_t size = any_size(&seed);
            void *p = memset(tide_heap_malloc(heap, size), 1, size);
            if (i % 3 == 0)
                tide_free(p);
        }
        uint64_t used = TIDE_STAT_GET(used);
        ck_assert_uint_gt(used, 100 * MIB);
        tide_heap_destroy(heap);
        ck_assert_uint_lt(TIDE_STAT_GET(used), 20 * MIB);
        ck_assert_uint_lt(resident_blocks(), used / 10);
        tide_large_count(&blocks, &bytes, &taken);
        ck_assert_uint_eq(blocks, 1); /* the one that is not the heap's */
        ck_assert_uint_eq(bytes, 2 * MIB);
        heap = tide_heap_create();
    }
    ck_assert(is_filled(mine, 5, 3000));
    tide_free(mine);
    tide_free(mapping);
}
END_TEST

START_TEST(heaps_do_not_disturb_each_other)
{
    enum { HEAPS = 10 };
    tide_heap_t *all[HEAPS];
    void *p[HEAPS];
    use_header(_i);
    for (int i = 0; i < HEAPS; i++) {
        all[i] = tide_heap_create();
        p[i] = memset(tide_heap_malloc(all[i], 4000), i, 4000);
    }
    for (int i = 0; i < HEAPS; i += 2)
        tide_heap_destroy(all[i]);
    for (int i = 1; i < HEAPS; i += 2) {
        ck_assert(is_filled(p[i], i, 4000));
        ck_assert_int_eq(tide_tier_of(p[i]), TIDE_TIER_MID);
        ck_assert_int_eq(tide_tier_of(p[i - 1]), TIDE_TIER_NONE);
        tide_heap_destroy(all[i]);
    }
}
END_TEST

/* The generation is a byte: it comes round, and nothing is left from one to the next. */
START_TEST(three_hundred_lives)
{
    uint64_t seed = 1;
    use_header(_i);
    uint64_t meta = 0;
    struct tide_stats stats;
    for (int life = 0; life < 300; life++) {
        void *p[20];
        for (int i = 0; i < 20; i++) {
            p[i] = tide_heap_malloc(heap, any_size(&seed) / 100);
            ck_assert_uint_eq(owner_of(p[i]), heap->pages.owner);
        }
        for (int i = 0; i < 20; i += 2)
            tide_free(p[i]); /* they wait in this thread's outbox */
        tide_heap_destroy(heap);
        for (int i = 0; i < 20; i++)
            ck_assert_int_eq(tide_tier_of(p[i]), TIDE_TIER_NONE);
        heap = tide_heap_create();
        tide_stats(&stats);
        ck_assert_uint_eq(stats.tiny.live_blocks + stats.mid.live_blocks, 0);
        if (life == 20)
            meta = stats.metadata_bytes;
    }
    ck_assert_uint_le(stats.metadata_bytes, meta + 256 * KIB); /* tables of larger windows */
    ck_assert_uint_le(stats.heaps, 3);
}
END_TEST

/* A free that waited all the time of a whole round of generations. */
START_TEST(a_free_of_a_former_life_frees_nothing)
{
    use_header(_i);
    uint32_t owner = heap->pages.owner;
    void *old = tide_heap_malloc(heap, 100), *young;
    tide_free(old);
    do {
        tide_heap_destroy(heap);
        heap = tide_heap_create();
    } while (heap->pages.owner != owner);
    young = tide_heap_malloc(heap, 100);
    ck_assert_ptr_eq(young, old);
    tide_malloc_trim(0); /* hands the old free over, if it is still there */
    ck_assert_int_eq(tide_tier_of(young), TIDE_TIER_TINY);
    for (int i = 0; i < 100; i++)
        ck_assert_ptr_ne(tide_heap_malloc(heap, 100), young);
    tide_free(young);
}
END_TEST

static void free_twice(void *p)
{
    tide_free(p);
}

START_TEST(a_block_of_a_destroyed_heap_is_free)
{
    use_header(_i % 2);
    size_t size = _i / 2 ? 5000 : 500;
    void *p = tide_heap_malloc(heap, size);
    size_t usable = tide_malloc_usable_size(p);
    tide_heap_destroy(heap);
    must_die(free_twice, p,
             fault_line("double free", p, "free", _i / 2 ? "mid" : "tiny", usable, 0, "free"));
}
END_TEST

/* --- threads --------------------------------------------------------------------------------- */

static void *shared[MANY];

static void *free_part(void *arg)
{
    uintptr_t part = (uintptr_t)arg;
    for (unsigned i = 0; i < MANY; i++)
        if (i % (THREADS + 1) == part)
            tide_free(shared[i]);
    return NULL;
}

/* Some blocks are freed by threads, some stay live; then the heap ends. */
START_TEST(threads_free_blocks_before_the_end)
{
    pthread_t thread[THREADS];
    uint64_t seed = 2;
    use_header(_i);
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < MANY; i++)
            shared[i] = tide_heap_malloc(heap, any_size(&seed) / 20);
        for (uintptr_t i = 0; i < THREADS; i++)
            ck_assert_int_eq(pthread_create(&thread[i], NULL, free_part, (void *)i), 0);
        for (int i = 0; i < THREADS; i++)
            pthread_join(thread[i], NULL);
        MUST_BE_VALID(&heap->pages);
        tide_heap_destroy(heap);
        ck_assert_uint_eq(pages_sum(&heap->pages, true), 0);
        heap = tide_heap_create();
    }
}
END_TEST

static void *allocate_in_shared_heap(void *arg)
{
    uint64_t seed = (uintptr_t)arg, broken = 0;
    for (int i = 0; i < 1500; i++) {
        size_t size = any_size(&seed) / 50 + 1;
        unsigned char *p = tide_heap_malloc(heap, size);
        memset(p, (int)(uintptr_t)arg, size);
        if (i % 4 == 0)
            p = tide_heap_realloc(heap, p, size * 2);
        broken += !is_filled(p, (int)(uintptr_t)arg, size);
        if (i % 3)
            tide_free(p);
    }
    return (void *)(uintptr_t)broken;
}

START_TEST(threads_share_a_heap)
{
    pthread_t thread[THREADS];
    use_header(_i);
    for (uintptr_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, allocate_in_shared_heap, (void *)(i + 1)),
                         0);
    for (int i = 0; i < THREADS; i++) {
        void *broken;
        pthread_join(thread[i], &broken);
        ck_assert_ptr_null(broken);
    }
    MUST_BE_VALID(&heap->pages);
    ck_assert_uint_ge(pages_sum(&heap->pages, false), THREADS * 500);
    tide_heap_destroy(heap);
    ck_assert_uint_eq(pages_sum(&heap->pages, true), 0);
}
END_TEST

static void *create_and_destroy(void *arg)
{
    uint64_t seed = (uintptr_t)arg;
    for (int life = 0; life < 100; life++) {
        tide_heap_t *own = tide_heap_create();
        for (int i = 0; i < 30; i++) {
            size_t size = any_size(&seed) / 20;
            void *p = memset(tide_heap_malloc(own, size), 1, size);
            if (i % 2)
                tide_free(p);
        }
        tide_heap_destroy(own);
    }
    return NULL;
}

START_TEST(threads_create_and_destroy_heaps)
{
    pthread_t thread[THREADS];
    struct tide_stats stats;
    for (uintptr_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, create_and_destroy, (void *)(i + 1)), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    tide_heap_destroy(heap);
    tide_stats(&stats);
    ck_assert_uint_eq(stats.tiny.live_blocks + stats.mid.live_blocks + stats.large.live_blocks, 0);
    ck_assert_uint_le(stats.heaps, 1);
}
END_TEST

int main(void)
{
    TCase *group = tcase_create("heaps");
    tcase_add_checked_fixture(group, setup, NULL);
    tcase_add_loop_test(group, blocks_belong_to_the_heap, 0, 2);
    tcase_add_test(group, bad_requests_fail_with_errno);
    tcase_add_loop_test(group, realloc_moves_blocks_into_the_heap, 0, 2);
    tcase_add_test(group, realloc_of_a_freed_block_is_misuse);
    tcase_add_loop_test(group, destroy_frees_everything, 0, 2);
    tcase_add_loop_test(group, heaps_do_not_disturb_each_other, 0, 2);
    tcase_add_loop_test(group, three_hundred_lives, 0, 2);
    tcase_add_loop_test(group, a_free_of_a_former_life_frees_nothing, 0, 2);
    tcase_add_loop_test(group, a_block_of_a_destroyed_heap_is_free, 0, 4);
    tcase_add_loop_test(group, threads_free_blocks_before_the_end, 0, 2);
    tcase_add_loop_test(group, threads_share_a_heap, 0, 2);
    tcase_add_test(group, threads_create_and_destroy_heaps);
    return run_group("heaps", group);
}
