/*
 * test_remote.c - blocks freed by threads that do not own them: batches, their way to
 * the owner, and what becomes of them when the owner is gone.
 */
#include "pool_case.h"

#include <pthread.h>

#include "box/meta.h"
#include "box/stat.h"

enum { MANY = 8192, THREADS = 4 };

static struct tide_pages *pages;
static struct tide_outbox outbox;
static void *block[MANY];

static void setup(void)
{
    tide_key_start(); /* else the words of live and free blocks are the same */
    pages = new_owner();
}

static void put(struct tide_outbox *box, void *p)
{
    put_remote(box, p);
}

static void count_visit(void *context, const void *p)
{
    (void)p;
    ++*(unsigned *)context;
}

static unsigned waiting_out(const struct tide_outbox *box)
{
    unsigned count = 0;
    tide_remote_each_out(box, count_visit, &count);
    return count;
}

static unsigned waiting_in(struct tide_pages *owner)
{
    unsigned count = 0;
    tide_lock_take(&owner->lock);
    tide_remote_each_in(owner, count_visit, &count);
    tide_lock_drop(&owner->lock);
    return count;
}

static bool drain(struct tide_pages *owner)
{
    tide_lock_take(&owner->lock);
    bool any = tide_remote_drain(owner);
    tide_lock_drop(&owner->lock);
    return any;
}

static uint64_t used(const struct tide_pages *owner, enum tide_kind kind, unsigned cls)
{
    return owner->bin[kind][cls].used;
}

START_TEST(blocks_wait_until_the_batch_is_full)
{
    uint64_t batches = TIDE_STAT_GET(remote_batches);
    take_many(pages, TIDE_KIND_TINY, 3, block, TIDE_BATCH_BLOCKS + 1);
    for (unsigned i = 0; i + 1 < TIDE_BATCH_BLOCKS; i++)
        put(&outbox, block[i]);
    ck_assert_uint_eq(waiting_out(&outbox), TIDE_BATCH_BLOCKS - 1);
    ck_assert_uint_eq(waiting_in(pages), 0);
    ck_assert(!drain(pages));
    put(&outbox, block[TIDE_BATCH_BLOCKS - 1]);
    ck_assert_uint_eq(waiting_out(&outbox), 0);
    ck_assert_uint_eq(waiting_in(pages), TIDE_BATCH_BLOCKS);
    ck_assert_uint_eq(TIDE_STAT_GET(remote_batches), batches + 1);
    ck_assert_uint_eq(used(pages, TIDE_KIND_TINY, 3), TIDE_BATCH_BLOCKS + 1);
    ck_assert(drain(pages));
    ck_assert_uint_eq(used(pages, TIDE_KIND_TINY, 3), 1);
    ck_assert_int_eq(atomic_load(&pages->inbox_bytes), 0);
    ck_assert(!drain(pages));
    MUST_BE_VALID(pages);
}
END_TEST

/* With blocks for others in the outbox a batch is full with a quarter of the bytes. */
START_TEST(a_batch_of_great_blocks_is_full_by_bytes)
{
    unsigned cls = TIDE_MID_CLASSES - 1, most = TIDE_BATCH_BYTES / (_i == 0 ? 1 : 4);
    unsigned full = (unsigned)(most / tide_sizeclass_stride(TIDE_KIND_MID, cls)) + 1;
    struct tide_pages *other = new_owner();
    take_many(pages, TIDE_KIND_MID, cls, block, full);
    if (_i != 0) {
        take_many(other, TIDE_KIND_TINY, 1, block + full, 1);
        put(&outbox, block[full]);
    }
    for (unsigned i = 0; i < full; i++) {
        ck_assert_uint_eq(waiting_in(pages), 0);
        put(&outbox, block[i]);
    }
    ck_assert_uint_lt(full, TIDE_BATCH_BLOCKS);
    ck_assert_uint_eq(waiting_in(pages), full);
    ck_assert_int_ge(atomic_load(&pages->inbox_bytes), most);
}
END_TEST

struct seen {
    const void *block[16];
    unsigned count;
};

static void list_visit(void *context, const void *p)
{
    struct seen *seen = context;
    ck_assert_uint_lt(seen->count, 16);
    seen->block[seen->count++] = p;
}

START_TEST(the_lists_name_the_very_blocks)
{
    struct seen out = {.count = 0}, in = {.count = 0};
    take_many(pages, TIDE_KIND_MID, 9, block, 5);
    for (unsigned i = 0; i < 5; i++)
        put(&outbox, block[i]);
    tide_remote_each_out(&outbox, list_visit, &out);
    tide_remote_flush(&outbox);
    tide_lock_take(&pages->lock);
    tide_remote_each_in(pages, list_visit, &in);
    tide_lock_drop(&pages->lock);
    ck_assert_uint_eq(out.count, 5);
    ck_assert_uint_eq(in.count, 5);
    for (unsigned i = 0; i < 5; i++) {
        ck_assert_ptr_eq(out.block[i], block[i]);
        ck_assert_ptr_eq(in.block[i], block[i]);
    }
}
END_TEST

START_TEST(flush_hands_every_owners_blocks_over)
{
    struct tide_pages *owner[20];
    for (int i = 0; i < 20; i++) {
        owner[i] = new_owner();
        take_many(owner[i], TIDE_KIND_TINY, 1, block + 10 * i, 10);
    }
    for (int at = 0; at < 10; at++)
        for (int i = 0; i < 20; i++)
            put(&outbox, block[10 * i + at]);
    tide_remote_flush(&outbox);
    ck_assert_uint_eq(waiting_out(&outbox), 0);
    for (int i = 0; i < 20; i++) {
        ck_assert_uint_eq(waiting_in(owner[i]), 10);
        drain(owner[i]);
        ck_assert_uint_eq(pages_sum(owner[i], false), 0);
        MUST_BE_VALID(owner[i]);
    }
    tide_remote_flush(&outbox);
}
END_TEST

START_TEST(give_puts_one_block_back_at_once)
{
    take_many(pages, TIDE_KIND_LARGE, 0, block, 2);
    tide_remote_give(pages->owner, block[0]);
    ck_assert_uint_eq(used(pages, TIDE_KIND_LARGE, 0), 1);
    /* an owner that is gone has no blocks */
    tide_remote_give(pages->owner + ((uint32_t)1 << TIDE_OWNER_BITS), block[1]);
    ck_assert_uint_eq(used(pages, TIDE_KIND_LARGE, 0), 1);
    MUST_BE_VALID(pages);
}
END_TEST

/* --- owners that are gone ----------------------------------------------------------- */

START_TEST(batches_of_a_destroyed_heap_are_dropped)
{
    struct tide_heap *heap = tide_heap_found();
    void *fresh[40];
    take_many(&heap->pages, TIDE_KIND_TINY, 5, block, 2 * TIDE_BATCH_BLOCKS - 1);
    for (unsigned i = 0; i < 2 * TIDE_BATCH_BLOCKS - 1; i++)
        put(&outbox, block[i]); /* one batch is in the inbox, one still in the outbox */
    ck_assert_uint_eq(waiting_in(&heap->pages), TIDE_BATCH_BLOCKS);
    tide_heap_raze(heap);
    ck_assert_uint_eq(waiting_out(&outbox), 0);
    ck_assert_ptr_eq(tide_heap_found(), heap);
    take_many(&heap->pages, TIDE_KIND_TINY, 5, fresh, 40);
    ck_assert_ptr_eq(page_of(fresh[0]), page_of(block[0]));
    tide_remote_flush(&outbox);
    drain(&heap->pages);
    ck_assert_uint_eq(used(&heap->pages, TIDE_KIND_TINY, 5), 40);
    ck_assert_int_eq(atomic_load(&heap->pages.inbox_bytes), 0);
    MUST_BE_VALID(&heap->pages);
}
END_TEST

/* The generation is small and comes round: an old batch must not fit again. */
START_TEST(a_batch_that_outlives_all_generations_is_dropped)
{
    struct tide_heap *heap = tide_heap_found();
    uint32_t owner = heap->pages.owner;
    take_many(&heap->pages, TIDE_KIND_TINY, 5, block, 1);
    put(&outbox, block[0]);
    do
        tide_heap_raze(heap);
    while (tide_heap_found() == heap && heap->pages.owner != owner);
    ck_assert_uint_eq(heap->pages.owner, owner);
    take_many(&heap->pages, TIDE_KIND_TINY, 5, block + 1, 1);
    ck_assert_ptr_eq(block[0], block[1]);
    if (_i == 0) {
        tide_remote_flush(&outbox);
    } else { /* the new block must not share the batch of the old one */
        take_many(&heap->pages, TIDE_KIND_TINY, 5, block + 2, 1);
        put(&outbox, block[2]);
        tide_remote_flush(&outbox);
    }
    drain(&heap->pages);
    ck_assert_uint_eq(used(&heap->pages, TIDE_KIND_TINY, 5), 1);
    ck_assert_int_ge(tide_page_index(page_of(block[1]), (uintptr_t)block[1]), 0);
    ck_assert(tide_page_is_out(page_of(block[1]), 0));
    MUST_BE_VALID(&heap->pages);
}
END_TEST

START_TEST(the_pusher_drains_a_parked_heap)
{
    struct tide_heap *heap = tide_heap_birth();
    take_many(&heap->pages, TIDE_KIND_MID, 3, block, 200);
    put(&outbox, block[0]);
    tide_remote_flush(&outbox);
    ck_assert_uint_eq(waiting_in(&heap->pages), 1);
    tide_heap_death(heap);
    ck_assert_uint_eq(waiting_in(&heap->pages), 0);
    ck_assert_uint_eq(used(&heap->pages, TIDE_KIND_MID, 3), 199);
    for (unsigned i = 1; i < 200; i++)
        put(&outbox, block[i]);
    tide_remote_flush(&outbox);
    ck_assert_uint_eq(waiting_in(&heap->pages), 0);
    ck_assert_uint_eq(pages_sum(&heap->pages, true), 0);
}
END_TEST

/* Nobody looks into the inbox: whoever frees keeps it within its bound. */
START_TEST(an_inbox_is_bounded)
{
    tide_segment_set_retain(0);
    int64_t budget = 0;
    unsigned cls = tide_sizeclass_mid(4096);
    size_t stride = tide_sizeclass_stride(TIDE_KIND_MID, cls);
    take_many(pages, TIDE_KIND_MID, cls, block, MANY);
    for (unsigned i = 0; i < MANY; i++) {
        put(&outbox, block[i]);
        budget = tide_max((int64_t)tide_segment_retain_limit(), TIDE_INBOX_BYTES);
        ck_assert_int_le(atomic_load(&pages->inbox_bytes),
                         budget + TIDE_BATCH_BYTES + (int64_t)stride);
    }
    ck_assert_uint_lt(used(pages, TIDE_KIND_MID, cls),
                      ((size_t)budget + 2 * TIDE_BATCH_BYTES) / stride + 1);
    /* ... but does not wait for an owner that is at work on its pages */
    tide_remote_flush(&outbox);
    drain(pages);
    ck_assert_uint_eq(pages_sum(pages, false), 0);
    unsigned some = (unsigned)(3 * TIDE_INBOX_BYTES / stride);
    take_many(pages, TIDE_KIND_MID, cls, block, some);
    tide_lock_take(&pages->lock);
    for (unsigned i = 0; i < some; i++)
        put(&outbox, block[i]);
    tide_remote_flush(&outbox);
    ck_assert_int_eq(atomic_load(&pages->inbox_bytes), (int64_t)(some * stride));
    tide_remote_drain(pages);
    tide_lock_drop(&pages->lock);
    ck_assert_uint_eq(pages_sum(pages, false), 0);
}
END_TEST

/* All inboxes together, and what is free elsewhere, stay within the budget as soon as one has
 * more than little. */
START_TEST(inboxes_share_the_budget)
{
    struct tide_pages *owner[4];
    unsigned cls = tide_sizeclass_mid(4096), part = MANY / 4;
    int64_t most = 0, sum, free = 0, limit = 0;
    tide_segment_set_retain(4 << 20);
    for (unsigned k = 0; k < 4; k++) {
        owner[k] = new_owner();
        take_many(owner[k], TIDE_KIND_MID, cls, block + k * part, part);
    }
    for (unsigned i = 0; i < MANY; i++) {
        put(&outbox, block[i]);
        sum = 0;
        for (unsigned k = 0; k < 4; k++) {
            int64_t bytes = atomic_load(&owner[k]->inbox_bytes);
            most = tide_max(most, bytes);
            sum += bytes;
        }
        ck_assert_int_eq((int64_t)TIDE_STAT_GET(waiting), sum);
        free = sum + (int64_t)(TIDE_STAT_GET(slack) + TIDE_STAT_GET(retained));
        limit = (int64_t)tide_segment_retain_limit();
        ck_assert_int_le(sum, limit + 4 * (TIDE_INBOX_BYTES + TIDE_BATCH_BYTES));
    }
    ck_assert_int_gt(most, 2 * TIDE_INBOX_BYTES);
    ck_assert_int_le(free, limit + 4 * (TIDE_INBOX_BYTES + TIDE_BATCH_BYTES));
    tide_remote_flush(&outbox);
    for (unsigned k = 0; k < 4; k++)
        drain(owner[k]);
    ck_assert_uint_eq(TIDE_STAT_GET(waiting), 0);
}
END_TEST

START_TEST(batches_are_used_again)
{
    size_t meta = 0;
    for (int round = 0; round < 200; round++) {
        take_many(pages, TIDE_KIND_TINY, 2, block, 500);
        for (unsigned i = 0; i < 500; i++)
            put(&outbox, block[i]);
        tide_remote_flush(&outbox);
        drain(pages);
        if (round == 0)
            meta = tide_meta_bytes();
    }
    ck_assert_uint_eq(tide_meta_bytes(), meta);
    ck_assert_uint_eq(pages_sum(pages, false), 0);
}
END_TEST

START_TEST(without_memory_for_a_batch_blocks_go_back_at_once)
{
    take_many(pages, TIDE_KIND_TINY, 2, block, 10);
    struct rlimit before = memory_ends();
    while (tide_meta_take(sizeof(struct tide_batch)) != NULL)
        ;
    for (unsigned i = 0; i < 10; i++)
        put(&outbox, block[i]);
    memory_returns(before);
    ck_assert_uint_eq(waiting_out(&outbox), 0);
    ck_assert_uint_eq(pages_sum(pages, false), 0);
    MUST_BE_VALID(pages);
}
END_TEST

START_TEST(locks_are_free_after_a_fork)
{
    tide_remote_fork(TIDE_FORK_PREPARE);
    tide_remote_fork(TIDE_FORK_RELEASE);
    take_many(pages, TIDE_KIND_TINY, 2, block, 1);
    put(&outbox, block[0]);
    ck_assert_uint_eq(waiting_out(&outbox), 1);
}
END_TEST

/* --- threads ------------------------------------------------------------------------ */

struct freer {
    pthread_t thread;
    struct tide_outbox outbox;
    void **block;
    unsigned count;
};

static void *free_all(void *arg)
{
    struct freer *self = arg;
    for (unsigned i = 0; i < self->count; i++)
        put(&self->outbox, self->block[i]);
    tide_remote_flush(&self->outbox);
    return NULL;
}

/* The owner takes and drains while others push: no block is lost, none comes twice. */
START_TEST(many_threads_push_to_one_owner)
{
    static struct freer freer[THREADS];
    void *mine[64];
    uint64_t seed = 5;
    unsigned part = MANY / THREADS;
    for (unsigned i = 0; i < MANY; i += 64)
        take_many(pages, i % 128 ? TIDE_KIND_MID : TIDE_KIND_TINY, 7, block + i, 64);
    shuffle(block, MANY, &seed);
    for (int i = 0; i < THREADS; i++) {
        freer[i].block = block + (unsigned)i * part;
        freer[i].count = part;
        ck_assert_int_eq(pthread_create(&freer[i].thread, NULL, free_all, &freer[i]), 0);
    }
    for (int round = 0; round < 200; round++) {
        take_many(pages, TIDE_KIND_TINY, 7, mine, 64);
        MUST_BE_VALID(pages);
        give_blocks(pages, mine, 64);
        if (round % 8 == 0)
            drain(pages);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(freer[i].thread, NULL);
    drain(pages);
    ck_assert_int_eq(atomic_load(&pages->inbox_bytes), 0);
    ck_assert_uint_eq(pages_sum(pages, false), 0);
    MUST_BE_VALID(pages);
}
END_TEST

int main(void)
{
    TCase *group = tcase_create("remote");
    tcase_add_checked_fixture(group, setup, NULL);
    tcase_add_test(group, blocks_wait_until_the_batch_is_full);
    tcase_add_loop_test(group, a_batch_of_great_blocks_is_full_by_bytes, 0, 2);
    tcase_add_test(group, the_lists_name_the_very_blocks);
    tcase_add_test(group, flush_hands_every_owners_blocks_over);
    tcase_add_test(group, give_puts_one_block_back_at_once);
    tcase_add_test(group, batches_of_a_destroyed_heap_are_dropped);
    tcase_add_loop_test(group, a_batch_that_outlives_all_generations_is_dropped, 0, 2);
    tcase_add_test(group, the_pusher_drains_a_parked_heap);
    tcase_add_test(group, an_inbox_is_bounded);
    tcase_add_test(group, inboxes_share_the_budget);
    tcase_add_test(group, batches_are_used_again);
    tcase_add_test(group, without_memory_for_a_batch_blocks_go_back_at_once);
    tcase_add_test(group, locks_are_free_after_a_fork);
    tcase_add_test(group, many_threads_push_to_one_owner);
    return run_group("remote", group);
}
