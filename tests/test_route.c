/*
 * test_route.c - which size and alignment goes where, and what every way through malloc and
 * free leaves behind. Loop index 0: header words in band, 1: in the shadow table.
 */
#include "pool_case.h"

#include <pthread.h>

#include "box/life.h"
#include "box/meta.h"
#include "box/route.h"

enum { MANY = 3000, THREADS = 4 };

struct item {
    unsigned char *p;
    size_t size;
    unsigned char byte;
};

static bool is_sound(const struct item *item)
{
    return item->p == NULL || is_filled(item->p, item->byte, item->size);
}

/* --- which tier --- */

static void must_be_on(size_t size, enum tide_tier tier)
{
    char *p = tide_route_malloc(size);
    ck_assert_ptr_nonnull(p);
    ck_assert_int_eq(tide_tier_of(p), tier);
    ck_assert_uint_ge(tide_malloc_usable_size(p), size);
    memset(p, 1, size);
    tide_route_free(p);
}

START_TEST(sizes_go_to_their_tiers)
{
    use_header(_i);
    for (int round = 0; round < 3; round++) {
        must_be_on(0, TIDE_TIER_TINY);
        must_be_on(1, TIDE_TIER_TINY);
        must_be_on(2047, TIDE_TIER_TINY);
        must_be_on(2048, TIDE_TIER_MID);
        must_be_on(32768, TIDE_TIER_MID);
        must_be_on(32769, TIDE_TIER_LARGE);
        must_be_on(1 << 20, TIDE_TIER_LARGE);
        must_be_on((1 << 20) + 1, TIDE_TIER_LARGE);
        must_be_on((size_t)100 << 20, TIDE_TIER_LARGE);
    }
}
END_TEST

START_TEST(the_ceiling_of_tiny_can_be_lower)
{
    use_header(_i);
    tide_sizeclass_start(1023);
    for (int round = 0; round < 3; round++) {
        must_be_on(1023, TIDE_TIER_TINY);
        for (size_t size = 1024; size <= 2048; size += 64)
            must_be_on(size, TIDE_TIER_MID);
        must_be_on(32769, TIDE_TIER_LARGE);
    }
    void *p = tide_route_take_aligned(NULL, 1500, 64);
    ck_assert_int_eq(tide_tier_of(p), TIDE_TIER_MID);
    tide_route_free(p);
}
END_TEST

/* Neither is far from its size's tier, and each is aligned. */
START_TEST(aligned_blocks_stay_in_the_tier_of_their_size)
{
    static const struct {
        size_t size, most; /* alignments up to `most` keep the tier */
        enum tide_tier tier;
    } row[] = {{1, 65536, TIDE_TIER_TINY},         {2047, 65536, TIDE_TIER_TINY},
               {2048, 262144, TIDE_TIER_MID},      {32768, 262144, TIDE_TIER_MID},
               {32769, 1 << 23, TIDE_TIER_LARGE},  {1 << 20, 1 << 23, TIDE_TIER_LARGE},
               {3 << 20, 1 << 23, TIDE_TIER_LARGE}};
    use_header(_i);
    for (int i = 0; i < 7; i++) {
        for (size_t align = 32; align <= 1 << 23; align *= 2) {
            struct item item[3];
            for (int k = 0; k < 3; k++) {
                item[k] = (struct item){NULL, row[i].size, (unsigned char)(k + 1)};
                item[k].p = tide_route_take_aligned(NULL, row[i].size, align);
                ck_assert_ptr_nonnull(item[k].p);
                ck_assert_uint_eq((uintptr_t)item[k].p % align, 0);
                ck_assert_uint_ge(tide_malloc_usable_size(item[k].p), row[i].size);
                ck_assert(align > row[i].most || tide_tier_of(item[k].p) == row[i].tier);
                memset(item[k].p, item[k].byte, item[k].size);
            }
            for (int k = 0; k < 3; k++) {
                ck_assert(is_sound(&item[k]));
                tide_route_free(item[k].p);
            }
        }
    }
    must_be_all_free();
}
END_TEST

START_TEST(take_serves_the_kind_and_owner_that_are_asked_for)
{
    struct tide_pages *owner = new_owner();
    use_header(_i);
    for (enum tide_kind kind = 0; kind < TIDE_KINDS; kind++) {
        for (unsigned cls = 0; cls < tide_sizeclass_count(kind); cls += 3) {
            bool zeroed = false;
            void *p = tide_route_take(owner, kind, cls, &zeroed), *q;
            q = tide_route_take(NULL, kind, cls, NULL);
            ck_assert_int_eq(page_of(p)->kind, kind);
            ck_assert_uint_eq(page_of(p)->cls, cls);
            ck_assert_uint_eq(atomic_load(&page_of(p)->owner), owner->owner);
            ck_assert_uint_eq(atomic_load(&page_of(q)->owner), tide_self->owner);
            ck_assert(!zeroed || kind == TIDE_KIND_LARGE);
            ck_assert(!zeroed || is_filled(p, 0, tide_page_usable(page_of(p))));
            memset(p, 0xff, tide_page_usable(page_of(p)));
            tide_route_free(p);
            tide_route_free(q);
        }
    }
    bool zeroed = false;
    char *p = tide_route_take_large(owner, 5 * MIB, 1, &zeroed);
    ck_assert(zeroed && p[5 * MIB - 1] == 0);
    tide_route_free(p);
    must_be_all_free();
}
END_TEST

/* --- no memory --- */

START_TEST(impossible_sizes_give_enomem)
{
    static const size_t sizes[] = {(size_t)PTRDIFF_MAX + 1, SIZE_MAX, SIZE_MAX - 4096, PTRDIFF_MAX};
    for (int i = 0; i < 4; i++) {
        errno = 0;
        ck_assert_ptr_null(tide_route_malloc(sizes[i]));
        ck_assert_int_eq(errno, ENOMEM);
        errno = 0;
        ck_assert_ptr_null(tide_route_take_large(NULL, sizes[i], 1, NULL));
        ck_assert_int_eq(errno, ENOMEM);
    }
    errno = 0;
    ck_assert_ptr_null(tide_route_take_aligned(NULL, 100, (size_t)1 << 62));
    ck_assert_int_eq(errno, ENOMEM);
    ck_assert_ptr_nonnull(tide_route_malloc(100));
}
END_TEST

START_TEST(every_tier_gives_enomem_when_memory_is_out)
{
    static const size_t sizes[] = {100, 5000, 50000, 5000000};
    static void *p[1 << 20];
    use_header(_i);
    tide_free(tide_malloc(1));
    for (int i = 0; i < 4; i++) {
        unsigned got = 0;
        struct rlimit before = memory_ends();
        errno = 0;
        while (got < 1 << 20 && (p[got] = tide_route_malloc(sizes[i])) != NULL)
            got++;
        int why = errno;
        memory_returns(before);
        ck_assert_uint_lt(got, 1 << 20);
        ck_assert_int_eq(why, ENOMEM);
        ck_assert_ptr_nonnull(p[got] = tide_route_malloc(sizes[i]));
        for (unsigned k = 0; k <= got; k++)
            tide_route_free(p[k]);
    }
    must_be_all_free();
}
END_TEST

static void *malloc_without_heap(void *unused)
{
    (void)unused;
    errno = 0;
    void *p = tide_route_malloc(100);
    return p == NULL && errno == ENOMEM ? NULL : p;
}

/* A thread that can have no heap is served by the shared one, and fails without it. */
START_TEST(a_thread_without_a_heap)
{
    pthread_t thread;
    void *p;
    tide_free(tide_malloc(100));
    if (_i) {
        ck_assert_ptr_nonnull(tide_heap_shared());
        ck_assert_ptr_nonnull(tide_route_take(&tide_heap_shared()->pages, 0, 6, NULL));
    }
    struct rlimit before;
    getrlimit(RLIMIT_DATA, &before);
    const struct tide_cache *self = tide_self;
    tide_self_set(&tide_cache_empty); /* as a new thread; libc could start none here */
    before = memory_ends();
    while (tide_meta_take(64) != NULL)
        ;
    p = malloc_without_heap(NULL);
    const struct tide_cache *after = tide_self;
    memory_returns(before);
    tide_self_set(self);
    ck_assert_ptr_eq(after, &tide_cache_empty);
    ck_assert((p != NULL) == (_i == 1));
    if (_i)
        ck_assert_uint_eq(atomic_load(&page_of(p)->owner), tide_heap_shared()->pages.owner);
    tide_free(p);
    ck_assert_int_eq(pthread_create(&thread, NULL, malloc_without_heap, NULL), 0);
    pthread_join(thread, &p);
    ck_assert_ptr_nonnull(p);
}
END_TEST

/* --- where the thread stands --- */

/* A handler that interrupts the fast path finds the thread busy, a late destructor finds it
 * dead: both are served from the shared heap. */
START_TEST(a_busy_thread_is_served_by_the_shared_heap)
{
    const struct tide_cache *state = _i % 2 ? &tide_cache_dead : &tide_cache_busy;
    static const size_t sizes[] = {100, 5000, 50000, 5000000};
    use_header(_i / 2);
    void *mine[4];
    for (int i = 0; i < 4; i++)
        mine[i] = tide_route_malloc(sizes[i]);
    const struct tide_cache *self = tide_self;
    tide_self_set(state);
    for (int i = 0; i < 4; i++) {
        void *p = tide_route_malloc(sizes[i]);
        ck_assert_ptr_eq(tide_self, state);
        memset(p, 1, sizes[i]);
        if (i < 3)
            ck_assert_uint_eq(atomic_load(&page_of(p)->owner), tide_heap_shared()->pages.owner);
        tide_route_free(p);
        tide_route_free(mine[i]);
        ck_assert_ptr_eq(tide_self, state);
    }
    tide_self_set(self);
    must_be_all_free();
}
END_TEST

static void call_in_slow(void *what)
{
    void *p = tide_malloc(100);
    tide_self_set(&tide_cache_slow);
    if (what == NULL)
        tide_free(tide_malloc(100));
    else
        tide_free(p);
}

START_TEST(the_slow_path_may_not_be_entered_twice)
{
    must_die(call_in_slow, _i ? &_i : NULL,
             "tidepool: malloc or free called by a signal handler that interrupted "
             "the slow path of malloc or free\n");
}
END_TEST

START_TEST(the_first_call_gives_the_thread_a_heap)
{
    struct tide_block block;
    for (int way = 0; way < 4; way++) {
        tide_self_set(&tide_cache_empty);
        if (way == 0)
            tide_route_free(tide_route_malloc(10));
        else if (way == 1)
            tide_route_free(tide_route_malloc(1 << 20));
        else if (way == 2)
            tide_route_flush_thread();
        else
            ck_assert(!tide_route_inspect(&block, &block, NULL));
        ck_assert_ptr_eq(tide_page_find_owner(tide_self->owner), tide_self->pages);
    }
}
END_TEST

/* --- the slow halves --- */

START_TEST(slow_halves_do_the_same)
{
    use_header(_i);
    static const size_t sizes[] = {0, 100, 2047, 2048, 32768, 32769, 3000000};
    for (int i = 0; i < 7; i++) {
        void *p = malloc_slow(sizes[i], NULL);
        ck_assert_uint_ge(tide_malloc_usable_size(p), sizes[i]);
        errno = 77;
        tide_route_free_slow(p, tide_self, "free_sized");
        tide_route_free_slow(NULL, tide_self, "free_sized");
        ck_assert_int_eq(errno, 77);
    }
    must_be_all_free();
}
END_TEST

static void free_with_name(void *p)
{
    tide_route_free_slow(p, tide_self, "free_sized");
    tide_route_free_slow(p, tide_self, "free_sized");
}

static void malloc_with_twice(void *p)
{
    malloc_slow(10, p);
}

static void inspect_with_name(void *p)
{
    struct tide_block block;
    tide_free(p);
    APART(!tide_route_inspect(p, &block, NULL)); /* only asks */
    tide_route_inspect(p, &block, "realloc");
}

START_TEST(reports_name_the_call)
{
    tide_free(tide_malloc(200));
    void *p = tide_malloc(200); /* on the fast path, which leaves its word in it */
    uint32_t owner = tide_self->owner;
    size_t usable = tide_malloc_usable_size(p);
    must_die(free_with_name, p,
             fault_line("double free", p, "free_sized", "tiny", usable, owner, "cached"));
    must_die(malloc_with_twice, p,
             fault_line("double free", p, "malloc", "tiny", usable, owner, "live"));
    must_die(inspect_with_name, p,
             fault_line("double free", p, "realloc", "tiny", usable, owner, "cached"));
}
END_TEST

START_TEST(frees_into_full_magazines_lose_nothing)
{
    static void *p[MANY];
    use_header(_i);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MANY; i++)
            p[i] = tide_route_malloc(i % 2 ? 3000 : 100);
        for (int i = 0; i < MANY; i++)
            tide_route_free(p[i]);
        const struct tide_magazine *magazine =
            tide_cache_magazine(tide_self, tide_slot_of(TIDE_KIND_TINY, tide_sizeclass_tiny(100)));
        ck_assert(magazine->top > magazine->base && magazine->top <= magazine->lim);
    }
    must_be_all_free();
}
END_TEST

/* Pages whose free blocks were purged: frees of the others take the slow way. */
START_TEST(blocks_of_purged_pages_are_freed_as_well)
{
    static void *p[MANY];
    use_header(_i);
    for (int i = 0; i < MANY; i++)
        p[i] = tide_route_malloc(i % 2 ? 3000 : 1000);
    for (int i = 0; i < MANY; i++)
        if (i % 7)
            tide_route_free(p[i]);
    tide_malloc_trim(0);
    for (int i = 0; i < MANY; i += 7)
        ck_assert_int_eq(tide_tier_of(p[i]), i % 2 ? TIDE_TIER_MID : TIDE_TIER_TINY);
    for (int i = 1; i < MANY; i += 7) /* purged blocks go out again, between the old ones */
        memset(p[i] = tide_route_malloc(i % 2 ? 3000 : 1000), 1, 1000);
    for (int i = 0; i < MANY; i++)
        if (i % 7 < 2)
            tide_route_free(p[i]);
    must_be_all_free();
}
END_TEST

/* A vector that reserves its max_size() to see it fail is no reason to give memory back. */
START_TEST(an_impossible_size_purges_nothing)
{
    static void *p[MANY];
    struct tide_stats before, after;
    use_header(_i);
    for (int i = 0; i < MANY; i++)
        p[i] = tide_route_malloc(i % 2 ? 3000 : 1000);
    for (int i = 0; i < MANY; i++)
        if (i % 7)
            tide_route_free(p[i]);
    tide_stats(&before);
    for (int i = 0; i < 10; i++)
        ck_assert_ptr_null(tide_malloc(SIZE_MAX / 4));
    tide_stats(&after);
    ck_assert_uint_eq(after.decommits, before.decommits);
}
END_TEST

/* --- everything at once --- */

static size_t any_size(uint64_t *seed)
{
    static const size_t most[] = {64, 600, 2100, 2100, 9000, 40000, 40000, 1100000};
    return next_random(seed) % most[next_random(seed) % 8];
}

static void replace(struct item *item, uint64_t *seed)
{
    tide_route_free(item->p);
    item->size = any_size(seed);
    item->byte = (unsigned char)next_random(seed);
    switch (next_random(seed) % 6) {
    case 0:
        item->p = tide_route_take_aligned(NULL, item->size, (size_t)32 << next_random(seed) % 9);
        break;
    case 1:
        item->p = tide_calloc(1, item->size);
        ck_assert(is_filled(item->p, 0, item->size));
        break;
    default:
        item->p = tide_route_malloc(item->size);
    }
    ck_assert_ptr_nonnull(item->p);
    memset(item->p, item->byte, item->size);
}

START_TEST(random_operations_keep_every_byte)
{
    enum { LIVE = 400 };
    static struct item item[LIVE];
    uint64_t seed = 1234 + (uint64_t)_i;
    unsigned broken = 0;
    use_header(_i);
    for (int step = 0; step < (SANITIZED ? 8000 : 40000); step++) {
        struct item *at = &item[next_random(&seed) % LIVE];
        broken += !is_sound(at);
        replace(at, &seed);
        if (step % 4000 == 0)
            tide_malloc_trim(0);
    }
    for (int i = 0; i < LIVE; i++) {
        broken += !is_sound(&item[i]);
        tide_route_free(item[i].p);
    }
    ck_assert_uint_eq(broken, 0);
    must_be_all_free();
}
END_TEST

static struct item common[64];
static pthread_mutex_t common_lock = PTHREAD_MUTEX_INITIALIZER;

/* Swaps blocks with the other threads and replaces what it got. */
static void *swap_and_replace(void *arg)
{
    uint64_t seed = (uintptr_t)arg, broken = 0;
    struct item mine = {NULL, 0, 0};
    for (int step = 0; step < (SANITIZED ? 2000 : 15000); step++) {
        struct item *at = &common[next_random(&seed) % 64];
        pthread_mutex_lock(&common_lock);
        struct item other = *at;
        *at = mine;
        pthread_mutex_unlock(&common_lock);
        mine = other;
        broken += !is_sound(&mine);
        replace(&mine, &seed);
    }
    tide_route_free(mine.p);
    return (void *)(uintptr_t)broken;
}

START_TEST(threads_free_each_others_blocks)
{
    pthread_t thread[THREADS];
    use_header(_i);
    for (uintptr_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, swap_and_replace, (void *)(i + 1)), 0);
    for (int i = 0; i < THREADS; i++) {
        void *broken;
        pthread_join(thread[i], &broken);
        ck_assert_ptr_null(broken);
    }
    for (int i = 0; i < 64; i++) {
        ck_assert(is_sound(&common[i]));
        tide_route_free(common[i].p);
    }
    must_be_all_free();
}
END_TEST

/* --- Large up to 64 KiB --- */

static const struct tide_magazine *beside(size_t size)
{
    return tide_cache_magazine(tide_self, tide_sizeclass_slot_large(size));
}

static void *free_it(void *p)
{
    tide_route_free(p);
    tide_route_flush_thread();
    return NULL;
}

/* From a magazine, with a header as a block of Mid has, in near memory wherever Mid is. */
START_TEST(large_up_to_64_kib_has_magazines_and_headers)
{
    use_header(_i);
    for (size_t size = TIDE_MID_TOP + 1; size <= TIDE_LARGE_BESIDE; size += 4095) {
        char *p = tide_route_malloc(size);
        struct tide_page *page = page_of(p);
        ck_assert_int_eq(page->kind, TIDE_KIND_TINY);
        ck_assert_int_eq(tide_tier_of(p), TIDE_TIER_LARGE);
        ck_assert_uint_ge(tide_malloc_usable_size(p), size);
        memset(p, 1, size);
        void **top = beside(size)->top;
        tide_route_free(p);
        ck_assert_ptr_eq(beside(size)->top, top + 1);
        ck_assert_ptr_eq(top[0], p);
        ck_assert_ptr_eq(tide_route_malloc(size), p);
        ck_assert_ptr_eq(beside(size)->top, top);
        pthread_t thread;
        ck_assert_int_eq(pthread_create(&thread, NULL, free_it, p), 0);
        pthread_join(thread, NULL);
    }
    tide_route_free(tide_route_malloc(TIDE_LARGE_BESIDE + 1));
    void *aligned = tide_route_take_aligned(NULL, 50000, 64);
    ck_assert_int_eq(page_of(aligned)->kind, TIDE_KIND_LARGE);
    tide_route_free(aligned);
    must_be_all_free();
}
END_TEST

static void free_scribbled(void *p)
{
    tide_free(p);
    memset(p, 7, 100);
    tide_free(p);
}

static void free_with_zeroed_header(void *p)
{
    memset((char *)p - 8, 0, 8);
    tide_free(p);
}

static void free_its_middle(void *p)
{
    tide_free((char *)p + 4096);
}

START_TEST(misuse_of_large_up_to_64_kib)
{
    use_header(_i);
    char *p = tide_malloc(50000);
    size_t usable = tide_malloc_usable_size(p);
    uint32_t owner = tide_self->owner;
    must_die(free_scribbled, p,
             fault_line("double free", p, "free", "large", usable, owner, "cached"));
    must_die(free_with_zeroed_header, p,
             fault_line("corrupt header", p, "free", "large", usable, owner, "unknown"));
    must_die(free_its_middle, p,
             fault_line("interior pointer", p + 4096, "free", "large", usable, owner, "live"));
    tide_free(p);
    must_be_all_free();
}
END_TEST

int main(void)
{
    TCase *group = tcase_create("route");
    tcase_add_loop_test(group, sizes_go_to_their_tiers, 0, 2);
    tcase_add_loop_test(group, the_ceiling_of_tiny_can_be_lower, 0, 2);
    tcase_add_loop_test(group, aligned_blocks_stay_in_the_tier_of_their_size, 0, 2);
    tcase_add_loop_test(group, take_serves_the_kind_and_owner_that_are_asked_for, 0, 2);
    tcase_add_test(group, impossible_sizes_give_enomem);
    tcase_add_loop_test(group, every_tier_gives_enomem_when_memory_is_out, 0, 2);
    tcase_add_loop_test(group, a_thread_without_a_heap, 0, 2);
    tcase_add_loop_test(group, a_busy_thread_is_served_by_the_shared_heap, 0, 4);
    tcase_add_loop_test(group, the_slow_path_may_not_be_entered_twice, 0, 2);
    tcase_add_test(group, the_first_call_gives_the_thread_a_heap);
    tcase_add_loop_test(group, slow_halves_do_the_same, 0, 2);
    tcase_add_test(group, reports_name_the_call);
    tcase_add_loop_test(group, frees_into_full_magazines_lose_nothing, 0, 2);
    tcase_add_loop_test(group, blocks_of_purged_pages_are_freed_as_well, 0, 2);
    tcase_add_loop_test(group, an_impossible_size_purges_nothing, 0, 2);
    tcase_add_loop_test(group, random_operations_keep_every_byte, 0, 2);
    tcase_add_loop_test(group, threads_free_each_others_blocks, 0, 2);
    tcase_add_loop_test(group, large_up_to_64_kib_has_magazines_and_headers, 0, 2);
    tcase_add_loop_test(group, misuse_of_large_up_to_64_kib, 0, 2);
    return run_group("route", group);
}
