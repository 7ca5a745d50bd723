/*
 * test_tiny.c - blocks without headers: the mark in a free block, what it finds and that
 * it never accuses an innocent one.
 */
#include "pool_case.h"

#include <pthread.h>

#include "box/route.h"
#include "box/tiny.h"

enum { MANY = 4096 };

static void *block[MANY];

static void *take(unsigned cls)
{
    void *p = tide_route_take(NULL, TIDE_KIND_TINY, cls, NULL);
    ck_assert_ptr_nonnull(p);
    return p;
}

static void *free_it(void *p)
{
    tide_free(p);
    return NULL;
}

/* A thread frees p and ends. */
static void free_elsewhere(void *p)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, free_it, p), 0);
    pthread_join(thread, NULL);
}

static uint64_t *word_of(void *p)
{
    return (uint64_t *)p + 1;
}

START_TEST(magazines_know_the_mark)
{
    tide_free(tide_malloc(1));
    for (unsigned cls = 0; cls < TIDE_TINY_ALIGNED; cls++) {
        const struct tide_magazine *magazine = &tide_self->slot[cls];
        void *p = take(cls);
        ck_assert_uint_eq(magazine->checked ^ (uintptr_t)p, tide_key_mark(p));
        ck_assert_uint_eq(magazine->freed, magazine->checked);
        ck_assert_int_eq(magazine->at, 8);
        ck_assert_int_eq(magazine->headed, 0);
        ck_assert_uint_ne(magazine->take_turn, 0);
        ck_assert_uint_eq(magazine->free_turn, 0);
        tide_free(p);
    }
}
END_TEST

START_TEST(a_mark_is_bound_to_its_address)
{
    uint64_t area[64];
    for (int i = 0; i < 62; i += 2) {
        tide_tiny_set_mark(&area[i]);
        ck_assert(tide_tiny_is_marked(&area[i]));
        area[i + 3] = area[i + 1];
        ck_assert(!tide_tiny_is_marked(&area[i + 2]));
        tide_tiny_clear_mark(&area[i]);
        ck_assert(!tide_tiny_is_marked(&area[i]));
    }
}
END_TEST

/* A block carries the mark from its free to its next malloc, on the fast path, on the
 * slow one and when another thread frees it. */
START_TEST(free_blocks_are_marked_and_others_are_not)
{
    for (size_t size = 0; size <= 2047; size += 1 + size / 9) {
        for (int way = 0; way < 3; way++) {
            void *p = way == 1 ? take(tide_sizeclass_tiny(size)) : tide_malloc(size);
            ck_assert(!tide_tiny_is_marked(p));
            memset(p, 0x11, tide_malloc_usable_size(p));
            if (way == 2)
                free_elsewhere(p);
            else
                tide_free(p);
            ck_assert(tide_tiny_is_marked(p));
        }
    }
    for (size_t align = 32; align <= 65536; align *= 2) {
        void *p = tide_aligned_alloc(align, 100);
        ck_assert(!tide_tiny_is_marked(p));
        tide_free(p);
        ck_assert(tide_tiny_is_marked(p));
    }
}
END_TEST

START_TEST(blocks_that_wait_in_a_magazine_are_marked)
{
    for (unsigned cls = 0; cls < TIDE_TINY_ALL; cls++) {
        take(cls);
        const struct tide_magazine *magazine = &tide_self->slot[cls];
        for (void **at = magazine->base; at < magazine->top; at++)
            ck_assert(tide_tiny_is_marked(*at));
    }
}
END_TEST

/* Purged memory has lost its marks: they are there again before a block waits for malloc. */
START_TEST(blocks_of_purged_pages_are_marked_again)
{
    unsigned unmarked = 0, purged = 0;
    for (int i = 0; i < MANY; i++)
        block[i] = memset(tide_malloc(200), 1, 200);
    for (int i = 0; i < MANY; i++)
        if (i % 64 != 0)
            tide_free(block[i]);
    tide_malloc_trim(0);
    for (int i = 0; i < MANY; i++)
        purged += i % 64 != 0 && !tide_tiny_is_marked(block[i]);
    ck_assert_uint_gt(purged, MANY / 2);
    const struct tide_magazine *magazine = &tide_self->slot[tide_sizeclass_tiny(200)];
    for (int i = 0; i < MANY / 2; i++) {
        take(tide_sizeclass_tiny(200));
        for (void **at = magazine->base; at < magazine->top; at++)
            unmarked += !tide_tiny_is_marked(*at);
    }
    ck_assert_uint_eq(unmarked, 0);
}
END_TEST

/* A user may write the very 64 bits of the mark. */
START_TEST(a_block_that_looks_free_can_be_freed)
{
    for (unsigned cls = 0; cls < TIDE_TINY_ALL; cls++) {
        void *p = take(cls), *q = take(cls);
        tide_tiny_set_mark(p);
        tide_tiny_set_mark(q);
        ck_assert_int_eq(tide_tier_of(p),
                         cls < TIDE_TINY_ALIGNED ? TIDE_TIER_TINY : TIDE_TIER_LARGE);
        tide_free(p);
        free_elsewhere(q);
        ck_assert_int_eq(tide_tier_of(p), TIDE_TIER_NONE);
        ck_assert_int_eq(tide_tier_of(q), TIDE_TIER_NONE);
        for (int i = 0; i < 50; i++) {
            block[i] = take(cls);
            *word_of(block[i]) = 0;
            for (int k = 0; k < i; k++)
                ck_assert_ptr_ne(block[i], block[k]);
        }
        for (int i = 0; i < 50; i++)
            tide_free(block[i]);
    }
    ck_assert_uint_eq(tide_diag_misuses(), 0);
}
END_TEST

/* --- misuse --------------------------------------------------------------------------- */

static void double_now(void *p)
{
    tide_free(p);
    tide_free(p);
}

static void double_later(void *p)
{
    tide_free(p);
    for (int i = 0; i < 300; i++)
        block[i] = tide_malloc(300 + (size_t)i);
    for (int i = 0; i < 300; i++)
        tide_free(block[i]);
    tide_free(p);
}

static void double_flushed(void *p)
{
    tide_free(p);
    tide_route_flush_thread();
    tide_free(p);
}

static void double_elsewhere(void *p)
{
    tide_free(p);
    free_elsewhere(p);
}

static void double_from_elsewhere(void *p)
{
    free_elsewhere(p);
    tide_free(p);
}

static void *free_and_wait(void *p)
{
    tide_free(p);
    pause();
    return NULL;
}

/* The first free waits in the outbox of a thread that sleeps. */
static void double_of_waiting(void *p)
{
    pthread_t thread;
    pthread_create(&thread, NULL, free_and_wait, p);
    while (!tide_heap_holds(page_of(p), p))
        usleep(1000);
    tide_free(p);
}

static void realloc_freed(void *p)
{
    tide_free(p);
    if (tide_realloc(p, 4000) != NULL)
        _exit(0);
}

static void usable_of_freed(void *p)
{
    tide_free(p);
    if (tide_malloc_usable_size(p) != 0)
        _exit(0);
}

START_TEST(double_free_is_found)
{
    static const struct {
        void (*act)(void *);
        const char *call, *state;
    } row[] = {{double_now, "free", "cached"},
               {double_later, "free", "cached"},
               {double_flushed, "free", "free"},
               {double_elsewhere, "free", "cached"},
               {double_from_elsewhere, "free", "cached"},
               {double_of_waiting, "free", "cached"},
               {realloc_freed, "realloc", "cached"},
               {usable_of_freed, "malloc_usable_size", "cached"}};
    static const size_t sizes[] = {0, 16, 200, 2047};
    for (int i = 0; i < 4; i++) {
        void *keep = tide_malloc(sizes[i]), *p = tide_malloc(sizes[i]);
        size_t usable = tide_malloc_usable_size(p);
        must_die(row[_i].act, p,
                 fault_line("double free", p, row[_i].call, "tiny", usable, tide_self->owner,
                            row[_i].state));
        tide_free(p);
        tide_free(keep);
    }
}
END_TEST

static void free_plain(void *p)
{
    tide_free(p);
}

START_TEST(interior_pointers_are_found)
{
    static const size_t sizes[] = {16, 48, 100, 1000, 2047};
    for (int i = 0; i < 5; i++) {
        char *p = tide_malloc(sizes[i]);
        size_t usable = tide_malloc_usable_size(p);
        for (size_t at = 1; at < usable; at += at < 20 ? 1 : usable / 7)
            must_die(free_plain, p + at,
                     fault_line("interior pointer", p + at, "free", "tiny", usable,
                                tide_self->owner, "live"));
        tide_free(p);
    }
}
END_TEST

/* The next block was never handed out: it waits in the magazine. */
START_TEST(a_block_that_was_never_out_cannot_be_freed)
{
    tide_free(tide_malloc(1));
    struct tide_magazine *magazine = &tide_self->slot[0];
    void *p = tide_malloc(16);
    ck_assert(magazine->top > magazine->base);
    void *next = magazine->base[0];
    ck_assert_int_eq(tide_tier_of(next), TIDE_TIER_NONE);
    must_die(free_plain, next,
             fault_line("double free", next, "free", "tiny", 16, tide_self->owner, "cached"));
    tide_free(p);
}
END_TEST

static void malloc_again(void *p)
{
    for (int i = 0; i < 2; i++)
        if (tide_malloc(tide_sizeclass_stride(TIDE_KIND_TINY, 7)) == p)
            _exit(0);
}

/* An old word is written into a free block: it may not be handed out as if it were new. */
START_TEST(a_block_that_claims_to_be_live_is_not_handed_out)
{
    tide_free(tide_malloc(128));
    void *p = tide_malloc(128); /* on the fast path */
    uint64_t word = *word_of(p);
    tide_free(p);
    *word_of(p) = word;
    must_die(malloc_again, p,
             fault_line("double free", p, "malloc", "tiny", 128, tide_self->owner, "live"));
}
END_TEST

/* Garbage in a free block is never followed: what comes out are blocks. */
START_TEST(writes_after_free_steer_nothing)
{
    uint64_t seed = 9;
    for (int i = 0; i < 100; i++)
        block[i] = tide_malloc(64);
    for (int i = 0; i < 100; i++) {
        tide_free(block[i]);
        for (int k = 0; k < 8; k++)
            ((uint64_t *)block[i])[k] = i % 2 ? next_random(&seed) : (uintptr_t)&seed;
    }
    for (int i = 0; i < 400; i++) {
        char *p = tide_malloc(64);
        ck_assert_int_eq(tide_tier_of(p), TIDE_TIER_TINY);
        ck_assert_int_ge(tide_page_index(page_of(p), (uintptr_t)p), 0);
        memset(p, 1, 64);
    }
}
END_TEST

/* --- blocks ------------------------------------------------------------------------------- */

START_TEST(blocks_are_aligned_apart_and_large_enough)
{
    uint64_t seed = 4;
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < MANY; i++) {
            size_t size = next_random(&seed) % 2048;
            unsigned char *p = tide_malloc(size);
            ck_assert_uint_eq((uintptr_t)p % 16, 0);
            ck_assert_uint_ge(tide_malloc_usable_size(p), size);
            memset(p, i % 255, tide_malloc_usable_size(p));
            block[i] = p;
        }
        shuffle(block, MANY / 2, &seed);
        for (int i = 0; i < MANY; i++) {
            unsigned char *p = block[i];
            ck_assert(is_filled(p, p[0], tide_malloc_usable_size(p)));
        }
        for (int i = 0; i < MANY; i++)
            tide_free(block[i]);
    }
}
END_TEST

int main(void)
{
    TCase *group = tcase_create("tiny");
    tcase_add_test(group, magazines_know_the_mark);
    tcase_add_test(group, a_mark_is_bound_to_its_address);
    tcase_add_test(group, free_blocks_are_marked_and_others_are_not);
    tcase_add_test(group, blocks_that_wait_in_a_magazine_are_marked);
    tcase_add_test(group, blocks_of_purged_pages_are_marked_again);
    tcase_add_test(group, a_block_that_looks_free_can_be_freed);
    tcase_add_loop_test(group, double_free_is_found, 0, 8);
    tcase_add_test(group, interior_pointers_are_found);
    tcase_add_test(group, a_block_that_was_never_out_cannot_be_freed);
    tcase_add_test(group, a_block_that_claims_to_be_live_is_not_handed_out);
    tcase_add_test(group, writes_after_free_steer_nothing);
    tcase_add_test(group, blocks_are_aligned_apart_and_large_enough);
    return run_group("tiny", group);
}
