/*
 * test_heap.c - what a thread owns: birth, death and adoption, first-class heaps, and
 * that nothing grows however many threads come and go.
 */
#include "pool_case.h"

#include <pthread.h>

#include "box/life.h"
#include "box/meta.h"
#include "box/route.h"

enum { THREADS = 6, BLOCKS = 50 };

static unsigned count_heaps(int state)
{
    unsigned count = 0;
    for (struct tide_heap *heap = tide_heap_first(); heap != NULL; heap = heap->next)
        count += state < 0 || atomic_load(&heap->state) == state;
    return count;
}

static void run_thread(void *(*function)(void *), void *arg)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, function, arg), 0);
    pthread_join(thread, NULL);
}

static void *take_cached(struct tide_heap *heap, unsigned slot)
{
    struct tide_magazine *magazine = tide_cache_magazine(&heap->cache, slot);
    if (magazine->top == magazine->base)
        ck_assert(tide_magazine_fill(&heap->cache, slot));
    return *--magazine->top;
}

START_TEST(each_heap_has_an_id_of_its_own)
{
    struct tide_heap *heap[20];
    for (int i = 0; i < 20; i++) {
        heap[i] = i % 2 ? tide_heap_birth() : tide_heap_found();
        ck_assert_int_eq(atomic_load(&heap[i]->state), i % 2 ? TIDE_HEAP_LIVE : TIDE_HEAP_FIRST);
        ck_assert(!atomic_load(&heap[i]->pages.parked));
        ck_assert_ptr_eq(tide_heap_first(), heap[i]);
        ck_assert_ptr_eq(tide_page_find_owner(heap[i]->pages.owner), &heap[i]->pages);
        ck_assert_uint_eq(heap[i]->cache.owner, heap[i]->pages.owner);
        ck_assert_ptr_eq(heap[i]->cache.pages, &heap[i]->pages);
        ck_assert_uint_ne(heap[i]->pages.owner & (TIDE_OWNER_IDS - 1), 0);
        ck_assert_uint_le(heap[i]->pages.owner, TIDE_OWNER_MASK);
        for (int k = 0; k < i; k++)
            ck_assert_uint_ne(heap[k]->pages.owner, heap[i]->pages.owner);
    }
}
END_TEST

START_TEST(a_dead_threads_heap_is_adopted_with_its_blocks)
{
    struct tide_heap *heap = tide_heap_birth();
    uint32_t owner = heap->pages.owner;
    void *live[BLOCKS];
    for (int i = 0; i < BLOCKS; i++)
        memset(live[i] = take_cached(heap, 10), i, 16);
    unsigned before = count_heaps(-1);
    heap->rounds = 3;
    tide_heap_death(heap);
    ck_assert_int_eq(atomic_load(&heap->state), TIDE_HEAP_PARKED);
    ck_assert(atomic_load(&heap->pages.parked));
    ck_assert_uint_eq(pages_sum(&heap->pages, false), BLOCKS); /* no block waits anywhere */
    MUST_BE_VALID(&heap->pages);
    ck_assert_ptr_eq(tide_heap_birth(), heap);
    ck_assert_int_eq(atomic_load(&heap->state), TIDE_HEAP_LIVE);
    ck_assert(!atomic_load(&heap->pages.parked));
    ck_assert_uint_eq(heap->pages.owner, owner);
    ck_assert_uint_eq(heap->rounds, 0);
    ck_assert_uint_eq(count_heaps(-1), before);
    for (int i = 0; i < BLOCKS; i++)
        ck_assert(is_filled(live[i], i, 16));
    give_blocks(&heap->pages, live, BLOCKS);
    ck_assert_uint_eq(pages_sum(&heap->pages, true), 0);
}
END_TEST

START_TEST(death_hands_over_what_waits_for_others)
{
    struct tide_heap *heap = tide_heap_birth(), *other = tide_heap_birth();
    void *p = take_cached(other, 10);
    tide_remote_put(&heap->outbox, page_of(p), p);
    tide_heap_death(heap);
    tide_heap_death(other);
    ck_assert_uint_eq(pages_sum(&other->pages, true), 0);
    /* both wait for a thread now */
    ck_assert_uint_eq(count_heaps(TIDE_HEAP_PARKED), 2);
    struct tide_heap *first = tide_heap_birth(), *second = tide_heap_birth();
    ck_assert((first == heap && second == other) || (first == other && second == heap));
}
END_TEST

START_TEST(razed_heaps_come_back_in_a_new_generation)
{
    struct tide_heap *heap = tide_heap_found();
    uint32_t id = heap->pages.owner & (TIDE_OWNER_IDS - 1), seen[256] = {0};
    for (int i = 0; i < 600; i++) {
        void *block[BLOCKS];
        uint32_t owner = heap->pages.owner;
        unsigned got =
            take_blocks(&heap->pages, (enum tide_kind)(i % TIDE_KINDS), 3, block, BLOCKS, NULL);
        ck_assert_uint_ge(got, 1);
        give_blocks(&heap->pages, block, got / 2);
        tide_heap_raze(heap);
        ck_assert_int_eq(atomic_load(&heap->state), TIDE_HEAP_SPARE);
        ck_assert_uint_eq(pages_sum(&heap->pages, true) + heap->pages.slack, 0);
        ck_assert_ptr_null(tide_page_find_owner(owner));
        ck_assert_ptr_eq(tide_heap_found(), heap);
        ck_assert_uint_ne(heap->pages.owner, owner);
        ck_assert_uint_eq(heap->pages.owner & (TIDE_OWNER_IDS - 1), id);
        ck_assert_uint_eq(heap->cache.owner, heap->pages.owner);
        ck_assert_uint_ne(heap->pages.owner >> TIDE_OWNER_BITS, 0);
        seen[heap->pages.owner >> TIDE_OWNER_BITS & 255]++;
    }
    ck_assert_uint_eq(seen[0], 0);
    ck_assert_uint_ge(seen[1], 2); /* they came round */
    ck_assert_uint_ge(seen[255], 2);
}
END_TEST

START_TEST(threads_and_programs_do_not_share_spare_heaps)
{
    struct tide_heap *thread = tide_heap_birth(), *first = tide_heap_found();
    tide_heap_death(thread);
    tide_heap_raze(first);
    ck_assert_ptr_eq(tide_heap_birth(), thread);
    ck_assert_ptr_eq(tide_heap_found(), first);
}
END_TEST

START_TEST(there_is_one_shared_heap)
{
    struct tide_heap *heap = tide_heap_shared();
    ck_assert_ptr_nonnull(heap);
    ck_assert_int_eq(atomic_load(&heap->state), TIDE_HEAP_SHARED);
    ck_assert_ptr_eq(tide_heap_shared(), heap);
    ck_assert_uint_eq(count_heaps(TIDE_HEAP_SHARED), 1);
}
END_TEST

START_TEST(holds_looks_everywhere)
{
    struct tide_heap *heap = tide_heap_birth(), *other = tide_heap_birth();
    void *p = take_cached(heap, 10), *q = take_cached(heap, 10);
    struct tide_page *page = page_of(p);
    ck_assert(!tide_heap_holds(page, p));
    *heap->cache.slot[10].top++ = p;
    ck_assert(tide_heap_holds(page, p)); /* in its magazine */
    ck_assert(!tide_heap_holds(page, q));
    heap->cache.slot[10].top--;
    tide_remote_put(&other->outbox, page, p);
    ck_assert(tide_heap_holds(page, p)); /* in another thread's outbox */
    tide_remote_flush(&other->outbox);
    ck_assert(tide_heap_holds(page, p)); /* in the inbox */
    ck_assert(!tide_heap_holds(page, q));
    tide_lock_take(&heap->pages.lock);
    tide_remote_drain(&heap->pages);
    tide_lock_drop(&heap->pages.lock);
    ck_assert(!tide_heap_holds(page, p));
}
END_TEST

START_TEST(nothing_is_born_without_memory)
{
    struct rlimit before = memory_ends();
    while (tide_meta_take(64) != NULL)
        ;
    void *born = tide_heap_birth(), *founded = tide_heap_found(), *shared = tide_heap_shared();
    memory_returns(before);
    ck_assert_ptr_null(born);
    ck_assert_ptr_null(founded);
    ck_assert_ptr_null(shared);
    ck_assert_ptr_nonnull(tide_heap_birth());
    ck_assert_ptr_nonnull(tide_heap_found());
    ck_assert_ptr_nonnull(tide_heap_shared());
}
END_TEST

/* --- threads --------------------------------------------------------------------------- */

static void *left[BLOCKS];

static void *leave_blocks(void *arg)
{
    (void)arg;
    for (int i = 0; i < BLOCKS; i++) {
        tide_free(tide_malloc((size_t)i * 300));
        left[i] = tide_malloc(100 + (size_t)i * 100);
    }
    return NULL;
}

static uint64_t used_by_all(void)
{
    uint64_t sum = 0;
    for (struct tide_heap *heap = tide_heap_first(); heap != NULL; heap = heap->next)
        sum += pages_sum(&heap->pages, false);
    return sum;
}

/* A thousand threads, one after the other, leave blocks that another one frees. */
START_TEST(threads_that_come_and_go_leave_nothing)
{
    unsigned heaps = 0;
    size_t meta = 0, resident = 0;
    for (int i = 0; i < 1000; i++) {
        run_thread(leave_blocks, NULL);
        for (int k = 0; k < BLOCKS; k++)
            tide_free(left[k]);
        if (i == 20) {
            heaps = count_heaps(-1);
            meta = tide_meta_bytes();
            resident = resident_blocks();
        }
    }
    ck_assert_uint_le(heaps, 2);
    ck_assert_uint_eq(count_heaps(-1), heaps);
    ck_assert_uint_eq(tide_meta_bytes(), meta);
    ck_assert_uint_le(resident_blocks(), resident + MIB);
    tide_route_flush_thread();
    ck_assert_uint_eq(used_by_all(), 0);
    for (struct tide_heap *heap = tide_heap_first(); heap != NULL; heap = heap->next)
        MUST_BE_VALID(&heap->pages);
}
END_TEST

static void *work(void *arg)
{
    uint64_t seed = (uintptr_t)arg;
    void *p[BLOCKS] = {NULL};
    for (int i = 0; i < 2000; i++) {
        size_t at = next_random(&seed) % BLOCKS;
        tide_free(p[at]);
        p[at] = tide_malloc(next_random(&seed) % 6000);
    }
    for (int i = 0; i < BLOCKS; i++)
        tide_free(p[i]);
    return NULL;
}

START_TEST(as_many_heaps_as_threads_at_once)
{
    pthread_t thread[THREADS];
    for (int round = 0; round < 10; round++) {
        for (uintptr_t i = 0; i < THREADS; i++)
            ck_assert_int_eq(pthread_create(&thread[i], NULL, work, (void *)(i + 1)), 0);
        for (int i = 0; i < THREADS; i++)
            pthread_join(thread[i], NULL);
        ck_assert_uint_le(count_heaps(-1), THREADS + 1);
        ck_assert_uint_le(count_heaps(TIDE_HEAP_LIVE), 1);
    }
    ck_assert_uint_eq(used_by_all(), 0);
}
END_TEST

/* --- the end of a thread --------------------------------------------------------------- */

static pthread_key_t key;
static _Atomic int passes; /* atomic: ThreadSanitizer takes the thread for ended by then */
static _Atomic(void *) last;
static _Atomic(const void *) last_self;

/* A destructor of the program that runs as long as there are passes. */
static void late_destructor(void *arg)
{
    passes++;
    tide_free(last);
    last = tide_malloc(500);
    last_self = tide_self;
    pthread_setspecific(key, arg);
}

static void *use_key(void *arg)
{
    tide_free(tide_malloc(500));
    pthread_setspecific(key, arg);
    return NULL;
}

START_TEST(late_destructors_are_served_by_the_shared_heap)
{
    ck_assert_int_eq(pthread_key_create(&key, late_destructor), 0);
    tide_free(tide_malloc(1));
    run_thread(use_key, &key);
    ck_assert_int_ge(passes, 4);
    ck_assert_ptr_eq(last_self, &tide_cache_dead);
    ck_assert_uint_eq(atomic_load(&page_of(last)->owner), tide_heap_shared()->pages.owner);
    ck_assert_uint_ge(tide_malloc_usable_size(last), 500);
    tide_free(last);
    tide_route_flush_thread();
    ck_assert_uint_eq(count_heaps(TIDE_HEAP_PARKED), 1);
}
END_TEST

static void *only_key(void *arg)
{
    pthread_setspecific(key, arg);
    return NULL;
}

/* A thread whose first call to us comes when it ends leaves no heap behind either. */
START_TEST(a_thread_that_only_frees_at_its_end_leaves_no_heap)
{
    ck_assert_int_eq(pthread_key_create(&key, tide_free), 0);
    for (int i = 0; i < 100; i++)
        run_thread(only_key, tide_malloc(100));
    ck_assert_uint_le(count_heaps(-1), 4);
    ck_assert_uint_eq(count_heaps(TIDE_HEAP_LIVE), 1);
}
END_TEST

/* --- fork -------------------------------------------------------------------------------- */

START_TEST(a_child_parks_the_heaps_of_absent_threads)
{
    struct tide_heap *self = tide_heap_birth(), *other = tide_heap_birth();
    struct tide_heap *first = tide_heap_found();
    void *p = take_cached(other, 10), *q = take_cached(self, 10);
    tide_remote_put(&other->outbox, page_of(q), q);
    uint64_t cached = pages_sum(&self->pages, false) - 1;
    tide_heap_fork_child(&self->cache);
    ck_assert_int_eq(atomic_load(&self->state), TIDE_HEAP_LIVE);
    ck_assert_int_eq(atomic_load(&other->state), TIDE_HEAP_PARKED);
    ck_assert_int_eq(atomic_load(&first->state), TIDE_HEAP_FIRST);
    ck_assert_uint_eq(pages_sum(&other->pages, false), 1);
    tide_lock_take(&self->pages.lock);
    tide_remote_drain(&self->pages);
    tide_lock_drop(&self->pages.lock);
    ck_assert_uint_eq(pages_sum(&self->pages, false), cached);
    ck_assert(!tide_heap_holds(page_of(p), p));
}
END_TEST

static _Atomic int broken;

/* Waits for the heap lock, and then holds the lock of its new heap all the time. */
static void *hold_new_lock(void *arg)
{
    struct tide_heap *heap = tide_heap_found();
    (void)arg;
    for (int i = 0; i < 2000; i++) {
        tide_lock_take(&heap->pages.lock);
        for (volatile int k = 0; k < 50; k++)
            ;
        broken += atomic_load(&heap->pages.lock.word) == 0;
        tide_lock_drop(&heap->pages.lock);
    }
    return NULL;
}

START_TEST(the_end_of_a_fork_opens_no_lock_of_others)
{
    for (int i = 0; i < 200; i++)
        tide_heap_found();
    for (int i = 0; i < 100; i++) {
        pthread_t thread;
        tide_heap_fork(TIDE_FORK_PREPARE);
        ck_assert_int_eq(pthread_create(&thread, NULL, hold_new_lock, NULL), 0);
        usleep(2000);
        tide_heap_fork(TIDE_FORK_RELEASE);
        pthread_join(thread, NULL);
    }
    ck_assert_int_eq(broken, 0);
    for (struct tide_heap *heap = tide_heap_first(); heap != NULL; heap = heap->next)
        ck_assert_uint_eq(atomic_load(&heap->pages.lock.word), 0);
}
END_TEST

int main(void)
{
    TCase *group = tcase_create("heap");
    tcase_add_test(group, each_heap_has_an_id_of_its_own);
    tcase_add_test(group, a_dead_threads_heap_is_adopted_with_its_blocks);
    tcase_add_test(group, death_hands_over_what_waits_for_others);
    tcase_add_test(group, razed_heaps_come_back_in_a_new_generation);
    tcase_add_test(group, threads_and_programs_do_not_share_spare_heaps);
    tcase_add_test(group, there_is_one_shared_heap);
    tcase_add_test(group, holds_looks_everywhere);
    tcase_add_test(group, nothing_is_born_without_memory);
    tcase_add_test(group, threads_that_come_and_go_leave_nothing);
    tcase_add_test(group, as_many_heaps_as_threads_at_once);
    tcase_add_test(group, late_destructors_are_served_by_the_shared_heap);
    tcase_add_test(group, a_thread_that_only_frees_at_its_end_leaves_no_heap);
    tcase_add_test(group, a_child_parks_the_heaps_of_absent_threads);
    tcase_add_test(group, the_end_of_a_fork_opens_no_lock_of_others);
    return run_group("heap", group);
}
