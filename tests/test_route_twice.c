/* test_route_twice.c - blocks that come home twice, unseen by free: none of them is handed
 * out twice. */
#include "pool_case.h"

#include <pthread.h>

#include "box/route.h"

enum { MANY = 600 };

/* A block that is in a magazine twice must not be handed out twice: from Mid an old header
 * written back before the second free, from Tiny the mark of the first free overwritten. */
static void free_twice_unseen(void *p, bool mid)
{
    char word[16], *at = (char *)p - (mid ? 16 : 0);
    memcpy(word, at, sizeof word);
    tide_free(p);
    if (mid)
        memcpy(at, word, sizeof word);
    else
        memset(at, 5, sizeof word);
    tide_free(p);
}

/* The size that the tests below ask for in each tier. */
static size_t asked_for(const void *p)
{
    return tide_tier_of(p) == TIDE_TIER_MID ? 4000 : 200;
}

static void hold_and_trim(void *p)
{
    size_t size = asked_for(p);
    free_twice_unseen(p, tide_tier_of(p) == TIDE_TIER_MID);
    char *held = tide_malloc(size);
    APART(held == p);
    memset(held, 1, 100);
    __asm__ volatile("" : : "r"(held) : "memory"); /* the compiler may not put it off */
    tide_malloc_trim(0);                           /* the other one goes home */
    APART(held[0] == 1 && held[99] == 1);
    for (int i = 0; i < MANY; i++)
        APART(tide_malloc(size) != p);
}

static void take_twice(void *p)
{
    size_t size = asked_for(p);
    free_twice_unseen(p, tide_tier_of(p) == TIDE_TIER_MID);
    char *held = tide_malloc(size);
    APART(held == p);
    memset(held, 1, size);
    __asm__ volatile("" : : "r"(held) : "memory");
    for (int i = 0; i < MANY; i++)
        APART(tide_malloc(size) != p);
}

static void *warm(size_t size)
{
    tide_free(tide_malloc(size));
    return tide_malloc(size);
}

START_TEST(what_came_home_twice_is_handed_out_once)
{
    struct tide_stats before, after;
    void *mid = warm(4000), *tiny = warm(200);
    uint32_t owner = tide_self->owner;
    must_die(
        hold_and_trim, mid,
        fault_line("double free", mid, "free", "mid", tide_malloc_usable_size(mid), owner, "live"));
    must_die(take_twice, mid,
             fault_line("double free", mid, "malloc", "mid", tide_malloc_usable_size(mid), owner,
                        "live"));
    must_live(hold_and_trim, tiny, "");
    must_live(take_twice, tiny, "");
    tide_stats(&before);
    take_twice(tiny);
    tide_stats(&after);
    ck_assert_uint_eq(after.lost_blocks, before.lost_blocks + 1);
}
END_TEST

/* Two threads free a block at the same moment: both batches reach its owner, who has
 * handed it out again in between. */
static void home_in_two_batches(void *p)
{
    struct tide_pages *pages = tide_self->pages;
    size_t size = asked_for(p);
    bool mid = tide_tier_of(p) == TIDE_TIER_MID;
    tide_free(p);
    tide_route_flush_thread();
    void *held[MANY];
    int count = 0;
    do
        held[count] = tide_malloc(size);
    while (held[count] != p && ++count < MANY);
    APART(count < MANY);
    if (!mid)
        memset(p, 7, size);
    tide_lock_take(&pages->lock);
    tide_page_flush(pages, &p, 1, "free");
    tide_lock_drop(&pages->lock);
    for (int i = 0; i < MANY; i++)
        APART(tide_malloc(size) != p);
}

START_TEST(a_second_batch_takes_nothing_from_a_holder)
{
    void *mid = warm(4000), *tiny = warm(200);
    uint32_t owner = tide_self->owner;
    must_die(
        home_in_two_batches, mid,
        fault_line("double free", mid, "free", "mid", tide_malloc_usable_size(mid), owner, "live"));
    must_live(home_in_two_batches, tiny, "");
}
END_TEST

static void *free_all(void *arg)
{
    for (void **p = arg; *p != NULL; p++)
        tide_free(*p);
    tide_route_flush_thread();
    return NULL;
}

static void free_by_another(void **blocks)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, free_all, blocks), 0);
    pthread_join(thread, NULL);
}

/* What another thread freed is taken again without a way through its page: the page counts
 * the blocks as out all the time. */
START_TEST(a_block_that_another_thread_freed_comes_back_at_once)
{
    size_t size = _i == 0 ? 4000 : 200;
    void *mine[65] = {NULL};
    for (int i = 0; i < 64; i++)
        mine[i] = tide_malloc(size);
    const struct tide_page *page = page_of(mine[0]);
    struct tide_bin *bin = &tide_self->pages->bin[page->kind][page->cls];
    void *keep = tide_malloc(size); /* the magazine is empty after a while */
    free_by_another(mine);
    uint64_t taken = bin->taken;
    unsigned found = 0;
    for (int i = 0; i < 64; i++) {
        void *p = tide_malloc(size);
        for (int k = 0; k < 64; k++)
            found += p == mine[k];
    }
    ck_assert_uint_gt(found, 8);
    ck_assert_uint_lt(bin->taken - taken, 64 - 8);
    ck_assert_int_eq(tide_tier_of(keep), _i == 0 ? TIDE_TIER_MID : TIDE_TIER_TINY);
}
END_TEST

/* Two threads free a block at the same moment: it is in two batches. */
static void in_two_batches(void *p)
{
    struct tide_outbox other = {{NULL}};
    void *mine[2] = {p, NULL};
    size_t size = asked_for(p);
    tide_remote_put(&other, page_of(p), p);
    free_by_another(mine);
    tide_remote_flush(&other);
    int got = 0;
    for (int i = 0; i < MANY; i++)
        got += tide_malloc(size) == p;
    APART(got <= 1);
}

START_TEST(a_block_in_two_batches_is_reported)
{
    void *p = warm(_i == 0 ? 4000 : 200);
    must_die(in_two_batches, p,
             fault_line("double free", p, "free", _i == 0 ? "mid" : "tiny",
                        tide_malloc_usable_size(p), tide_self->owner, "free"));
}
END_TEST

/* One came home already, and waits where the next malloc takes it from; the other one is found
 * by a thread that empties the inbox. */
static void at_home_twice(void *p)
{
    void *mine[2] = {p, NULL};
    struct tide_outbox other = {{NULL}};
    free_by_another(mine);
    for (int i = 0; i < MANY && !tide_self->pages->caches(tide_self->pages, page_of(p), p); i++)
        APART(tide_malloc(400) != NULL);
    tide_remote_put(&other, page_of(p), p);
    tide_remote_flush(&other);
    tide_lock_take(&tide_self->pages->lock);
    tide_remote_drain(tide_self->pages);
    tide_lock_drop(&tide_self->pages->lock);
}

START_TEST(a_block_that_is_at_home_does_not_come_again)
{
    void *p = warm(200);
    must_die(at_home_twice, p,
             fault_line("double free", p, "free", "tiny", tide_malloc_usable_size(p),
                        tide_self->owner, "free"));
}
END_TEST

/* What was written to after it was freed says no more that it is on its way. Its mark may still
 * be there: it comes home through its page, and again. */
static void written_on_the_way(void *p)
{
    void *mine[2] = {p, NULL};
    for (int round = 0, found = 0; round < 3; round++, found = 0) {
        free_by_another(mine);
        memset(p, 7, 8);
        for (int i = 0; i < MANY; i++)
            found += tide_malloc(200) == p;
        APART(found == 1);
    }
}

START_TEST(a_block_that_was_written_to_on_its_way_comes_home)
{
    must_live(written_on_the_way, warm(200), "");
}
END_TEST

int main(void)
{
    TCase *group = tcase_create("route_twice");
    tcase_add_test(group, what_came_home_twice_is_handed_out_once);
    tcase_add_test(group, a_second_batch_takes_nothing_from_a_holder);
    tcase_add_loop_test(group, a_block_that_another_thread_freed_comes_back_at_once, 0, 2);
    tcase_add_loop_test(group, a_block_in_two_batches_is_reported, 0, 2);
    tcase_add_test(group, a_block_that_is_at_home_does_not_come_again);
    tcase_add_test(group, a_block_that_was_written_to_on_its_way_comes_home);
    return run_group("route_twice", group);
}
