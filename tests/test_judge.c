/*
 * test_judge.c - the verdict on every kind of pointer. Loop index 0: header words in band,
 * 1: in the shadow table.
 */
#include "pool_case.h"

#include <pthread.h>
#include <semaphore.h>

#include "box/judge.h"
#include "box/large.h"
#include "box/route.h"

static struct tide_block verdict;

/* Each verdict ends here. what NULL: live. */
static void must_be(const void *p, const char *what, const char *tier, size_t size,
                    const char *state)
{
    bool live = tide_judge(p, &verdict);
    ck_assert(live == (what == NULL));
    ck_assert_uint_eq(verdict.fault.addr, (uintptr_t)p);
    ck_assert_str_eq(verdict.fault.tier, tier);
    if (live) {
        ck_assert_ptr_null(verdict.fault.what);
        ck_assert_uint_eq(verdict.usable, size);
        ck_assert(!verdict.foreign);
        return;
    }
    ck_assert_str_eq(verdict.fault.what, what);
    ck_assert_str_eq(verdict.fault.state, state);
    ck_assert_uint_eq(verdict.fault.size, size);
    ck_assert(verdict.foreign == (strcmp(what, "foreign pointer") == 0));
}

static void must_be_live(const void *p, enum tide_kind kind, const char *tier)
{
    must_be(p, NULL, tier, tide_page_usable(page_of(p)), NULL);
    ck_assert_uint_eq(verdict.owner, tide_self->owner);
    ck_assert_uint_eq(verdict.fault.owner, tide_self->owner & (TIDE_OWNER_IDS - 1));
    ck_assert_int_eq(verdict.kind, kind);
    ck_assert_ptr_eq(verdict.page, page_of(p));
    ck_assert_ptr_eq(verdict.window, tide_pagemap_find((uintptr_t)p));
}

static void setup_variant(int shadow)
{
    use_header(shadow);
    tide_free(tide_malloc(1)); /* the thread has its heap */
}

START_TEST(live_blocks_of_every_kind)
{
    setup_variant(_i);
    for (size_t size = 0; size <= 2047; size += 89)
        must_be_live(tide_malloc(size), TIDE_KIND_TINY, "tiny");
    for (size_t size = 2048; size <= 32768; size += 1536)
        must_be_live(tide_malloc(size), TIDE_KIND_MID, "mid");
    for (size_t size = 32769; size <= 256 * KIB; size += 33333)
        must_be_live(tide_malloc(size), size <= 65536 ? TIDE_KIND_TINY : TIDE_KIND_LARGE, "large");
    for (size_t align = 32; align <= 4096; align *= 2) {
        must_be_live(tide_aligned_alloc(align, 100), TIDE_KIND_TINY, "tiny");
        must_be_live(tide_aligned_alloc(align, 5000), TIDE_KIND_MIDAL, "mid");
        must_be_live(tide_aligned_alloc(align, 50000), TIDE_KIND_LARGE, "large");
    }
}
END_TEST

START_TEST(a_live_mapping)
{
    char *p = tide_malloc(5 * MIB);
    must_be(p, NULL, "large", 5 * MIB, NULL);
    ck_assert_ptr_null(verdict.page);
    ck_assert_ptr_null(verdict.window);
    ck_assert_int_eq(verdict.kind, TIDE_KIND_LARGE);
    ck_assert_uint_eq(verdict.owner, tide_self->owner);
    must_be(p + 1, "interior pointer", "large", 5 * MIB, "live");
    ck_assert_uint_eq(verdict.fault.owner, tide_self->owner & (TIDE_OWNER_IDS - 1));
    must_be(p + 5 * MIB - 1, "interior pointer", "large", 5 * MIB, "live");
    tide_free(p);
    must_be(p, "double free", "large", 5 * MIB, "free");
}
END_TEST

/* Every place inside of a block but its start. */
START_TEST(interior_pointers)
{
    static const struct {
        size_t size, align;
        const char *tier;
    } row[] = {{16, 16, "tiny"},    {200, 16, "tiny"},    {2000, 16, "tiny"},
               {2048, 16, "mid"},   {30000, 16, "mid"},   {100, 4096, "tiny"},
               {9000, 1024, "mid"}, {40000, 16, "large"}, {900000, 16, "large"}};
    setup_variant(_i);
    for (int i = 0; i < 9; i++) {
        char *p = tide_aligned_alloc(row[i].align, row[i].size);
        size_t usable = tide_malloc_usable_size(p);
        for (size_t at = 1; at < usable; at += at < 40 ? 1 : at == 40 ? 24 : usable / 16 | 1)
            must_be(p + at, "interior pointer", row[i].tier, usable, "live");
        must_be(p + usable - 1, "interior pointer", row[i].tier, usable, "live");
        tide_free(p);
        if (row[i].size < 32768) /* blocks of this page that are in use keep it */
            ck_assert(!tide_judge(p + 8, &verdict));
    }
}
END_TEST

/* Between the blocks: the header in front of one, the rest behind the last one. */
START_TEST(places_that_are_in_no_block)
{
    setup_variant(_i);
    char *first = tide_malloc(3000), *p = tide_malloc(3000);
    size_t usable = tide_malloc_usable_size(p);
    must_be(p - 8, "interior pointer", "mid", usable, "live");
    must_be(first - 8, "invalid pointer", "none", 0, "none"); /* the first bytes of the window */
    p = tide_malloc(1700);
    struct tide_page *page = page_of(p);
    char *end = (char *)tide_page_base(page) + (size_t)page->blocks * page->stride;
    usable = tide_malloc_usable_size(p);
    must_be(end, "interior pointer", "tiny", usable, "free");
    /* a block that was never out */
    must_be(end - page->stride, "invalid pointer", "tiny", usable, "none");
    must_be(end - page->stride + 1, "interior pointer", "tiny", usable, "free");
}
END_TEST

START_TEST(freed_blocks)
{
    static const struct {
        size_t size, align;
        const char *tier, *state;
    } row[] = {{100, 16, "tiny", "cached"},
               {5000, 16, "mid", "cached"},
               {100, 64, "tiny", "cached"},
               {5000, 64, "mid", "cached"},
               {50000, 16, "large", "cached"}};
    setup_variant(_i);
    for (int i = 0; i < 5; i++) {
        /* an aligned small block may come from a class that plain sizes use as well */
        void *keep = tide_aligned_alloc(row[i].align, row[i].size);
        void *p = tide_aligned_alloc(row[i].align, row[i].size);
        size_t usable = tide_malloc_usable_size(p);
        tide_free(p);
        must_be(p, "double free", row[i].tier, usable, row[i].state);
        tide_route_flush_thread();
        must_be(p, "double free", row[i].tier, usable, "free");
        tide_free(keep);
        tide_route_flush_thread(); /* the page is closed: nobody owns it */
        must_be(p, "double free", row[i].tier, usable, "free");
        ck_assert_uint_eq(verdict.fault.owner, 0);
        must_be((char *)p + 8, "invalid pointer", row[i].tier, usable, "none");
    }
}
END_TEST

static sem_t freed, leave;

static void *free_and_sleep(void *p)
{
    tide_free(p);
    sem_post(&freed);
    sem_wait(&leave);
    return NULL;
}

START_TEST(blocks_freed_by_others)
{
    setup_variant(_i / 2);
    pthread_t thread;
    char *p = tide_malloc(_i % 2 ? 5000 : 500);
    size_t usable = tide_malloc_usable_size(p);
    const char *tier = _i % 2 ? "mid" : "tiny", *state = _i % 2 ? "remote" : "cached";
    sem_init(&freed, 0, 0);
    sem_init(&leave, 0, 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, free_and_sleep, p), 0);
    sem_wait(&freed);
    must_be(p, "double free", tier, usable, state); /* in the outbox */
    sem_post(&leave);
    pthread_join(thread, NULL);
    must_be(p, "double free", tier, usable, state); /* in the inbox */
    tide_malloc_trim(0);
    must_be(p, "double free", tier, usable, "free");
}
END_TEST

START_TEST(strangers)
{
    static int data;
    int local;
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *none = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const void *foreign[] = {NULL,
                             &data,
                             &local,
                             page,
                             none,
                             page + 16,
                             (void *)(uintptr_t)strangers,
                             (void *)1,
                             (void *)0x1000,
                             (void *)((uintptr_t)1 << 47),
                             (void *)((uintptr_t)0x8000 << 48),
                             (void *)(UINTPTR_MAX - 4095),
                             (void *)UINTPTR_MAX,
                             &tide_windows[0],
                             tide_self};
    setup_variant(_i);
    tide_free(tide_malloc(5000));
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++)
        must_be(foreign[i], "foreign pointer", "none", 0, "unknown");
}
END_TEST

/* Our own address space beyond the frontier, and segments that nobody took yet. */
START_TEST(holes)
{
    setup_variant(_i);
    tide_free(tide_malloc(100));
    tide_free(tide_malloc(5000));
    tide_free(tide_aligned_alloc(64, 5000));
    tide_free(tide_malloc(100000));
    for (int kind = 0; kind < TIDE_KINDS; kind++) {
        const struct tide_window *window = &tide_windows[kind];
        size_t committed = window->segments << window->shift;
        must_be((void *)(window->base + committed + 64), "invalid pointer", "none", 0, "none");
        must_be((void *)(window->base + window->reserved - 64), "invalid pointer", "none", 0,
                "none");
        if (window->next < window->segments)
            must_be((void *)(window->base + committed - 64), "invalid pointer", "none", 0, "none");
    }
}
END_TEST

/* The segment serves another class now: an old pointer is no block any more. */
START_TEST(a_retyped_segment)
{
    setup_variant(_i);
    void *p[3];
    for (int i = 0; i < 3; i++)
        p[i] = tide_malloc(3000);
    for (int i = 0; i < 3; i++)
        tide_free(p[i]);
    tide_malloc_trim(0);
    void *q = tide_malloc(20000);
    ck_assert_ptr_eq(page_of(q), page_of(p[0]));
    ck_assert_ptr_eq(q, p[0]);
    must_be_live(q, TIDE_KIND_MID, "mid");
    must_be(p[1], "interior pointer", "mid", tide_malloc_usable_size(q), "live");
    must_be(p[2], "interior pointer", "mid", tide_malloc_usable_size(q), "live");
}
END_TEST

START_TEST(destroyed_heaps)
{
    setup_variant(_i);
    tide_heap_t *heap = tide_heap_create();
    void *p = tide_heap_malloc(heap, 100), *q = tide_heap_malloc(heap, 5000);
    void *r = tide_heap_malloc(heap, 3 * MIB);
    must_be(p, NULL, "tiny", 112, NULL);
    ck_assert_uint_eq(verdict.owner, heap->pages.owner);
    ck_assert(tide_judge(q, &verdict));
    ck_assert(tide_judge(r, &verdict));
    tide_heap_destroy(heap);
    must_be(p, "double free", "tiny", 112, "free");
    ck_assert(!tide_judge(q, &verdict));
    ck_assert_str_eq(verdict.fault.what, "double free");
    must_be(r, "double free", "large", 3 * MIB, "free");
}
END_TEST

/* Any value may be asked: nothing faults, and only starts of live blocks are live. */
START_TEST(any_value_may_be_asked)
{
    enum { LIVE = 200, TRIES = 200000 };
    void *live[LIVE];
    uint64_t seed = 77;
    unsigned wrong = 0, hits = 0;
    setup_variant(_i);
    for (int i = 0; i < LIVE; i++)
        live[i] = tide_malloc(next_random(&seed) % (i % 10 ? 40000 : 2000000));
    for (int i = 0; i < TRIES; i++) {
        uint64_t r = next_random(&seed);
        uintptr_t near = (uintptr_t)live[r % LIVE];
        const struct tide_window *window = &tide_windows[r % TIDE_KINDS];
        uintptr_t p = i % 4 == 0   ? next_random(&seed) >> r % 64
                      : i % 4 == 1 ? near + next_random(&seed) % 64 - 32
                      : i % 4 == 2 ? window->base + next_random(&seed) % (window->reserved + 4096)
                                   : near ^ (uintptr_t)1 << next_random(&seed) % 64;
        bool expected = false;
        for (int k = 0; k < LIVE; k++)
            expected |= (uintptr_t)live[k] == p;
        wrong += tide_judge((void *)p, &verdict) != expected;
        hits += expected;
    }
    ck_assert_uint_eq(wrong, 0);
    ck_assert_uint_gt(hits, 100);
}
END_TEST

int main(void)
{
    TCase *group = tcase_create("judge");
    tcase_add_loop_test(group, live_blocks_of_every_kind, 0, 2);
    tcase_add_test(group, a_live_mapping);
    tcase_add_loop_test(group, interior_pointers, 0, 2);
    tcase_add_loop_test(group, places_that_are_in_no_block, 0, 2);
    tcase_add_loop_test(group, freed_blocks, 0, 2);
    tcase_add_loop_test(group, blocks_freed_by_others, 0, 4);
    tcase_add_loop_test(group, strangers, 0, 2);
    tcase_add_loop_test(group, holes, 0, 2);
    tcase_add_loop_test(group, a_retyped_segment, 0, 2);
    tcase_add_loop_test(group, destroyed_heaps, 0, 2);
    tcase_add_loop_test(group, any_value_may_be_asked, 0, 2);
    return run_group("judge", group);
}
