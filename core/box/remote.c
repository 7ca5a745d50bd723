/* remote.c - see remote.h */
#include "box/remote.h"

#include "box/meta.h"
#include "box/segment.h"
#include "box/stat.h"

_Static_assert(sizeof(struct tide_batch) == 512, "a batch is eight lines");

/* Empty batches, under the lock. Every thread that frees for others writes here. */
static struct remote_pool {
    struct tide_lock lock;
    struct tide_batch *head;
} __attribute__((aligned(2 * TIDE_LINE))) remote_pool;

void tide_remote_fork(enum tide_fork phase)
{
    tide_lock_fork(&remote_pool.lock, phase);
}

/* The owner that a batch is for, or NULL when it is gone. */
static struct tide_pages *remote_owner(const struct tide_batch *batch)
{
    struct tide_pages *pages = tide_page_find_owner(TIDE_RELAXED_GET(&batch->owner));
    return pages != NULL && TIDE_RELAXED_GET(&pages->births) == TIDE_RELAXED_GET(&batch->births)
               ? pages
               : NULL;
}

static struct tide_batch *remote_batch_take(const struct tide_pages *pages, uint32_t owner)
{
    tide_lock_take(&remote_pool.lock);
    struct tide_batch *batch = remote_pool.head;
    if (batch != NULL)
        remote_pool.head = batch->next;
    tide_lock_drop(&remote_pool.lock);
    if (batch == NULL)
        batch = tide_meta_take(sizeof *batch);
    if (batch == NULL)
        return NULL;
    TIDE_RELAXED_SET(&batch->count, 0);
    TIDE_RELAXED_SET(&batch->owner, owner);
    TIDE_RELAXED_SET(&batch->births, TIDE_RELAXED_GET(&pages->births));
    batch->pages = pages;
    batch->bytes = 0;
    batch->next = NULL;
    return batch;
}

/* The batches from first to last, linked by next, go to the empty ones. */
static void remote_batch_return(struct tide_batch *first, struct tide_batch *last)
{
    tide_lock_take(&remote_pool.lock);
    last->next = remote_pool.head;
    remote_pool.head = first;
    tide_lock_drop(&remote_pool.lock);
}

/* The blocks of a batch come home; those that were freed twice do not. */
static void remote_bring_home(struct tide_pages *pages, struct tide_batch *batch,
                              tide_remote_accept *accept, void *context)
{
    unsigned count = batch->count;
    for (unsigned i = 0; i < count; i++) /* the words were written by another core */
        tide_cpu_prefetch(batch->block[i]);
    if (accept != NULL)
        count = accept(context, batch->block, count);
    if (count == 0)
        return;
    count = tide_page_arrive(pages, batch->block, count);
    tide_page_flush(pages, batch->block, count, "free");
}

bool tide_remote_drain(struct tide_pages *pages)
{
    return tide_remote_drain_to(pages, NULL, NULL);
}

bool tide_remote_drain_to(struct tide_pages *pages, tide_remote_accept *accept, void *context)
{
    if (atomic_load_explicit(&pages->inbox, memory_order_seq_cst) == NULL)
        return false;
    struct tide_batch *batch = atomic_exchange_explicit(&pages->inbox, NULL, memory_order_acquire);
    if (batch == NULL)
        return false;
    struct tide_batch *first = batch, *last = batch;
    int64_t bytes = 0;
    for (; batch != NULL; batch = batch->next) {
        bytes += batch->bytes;
        if (remote_owner(batch) == pages)
            remote_bring_home(pages, batch, accept, context);
        TIDE_RELAXED_SET(&batch->count, 0);
        last = batch;
    }
    atomic_fetch_sub_explicit(&pages->inbox_bytes, bytes, memory_order_relaxed);
    TIDE_STAT_SUB(waiting, bytes);
    remote_batch_return(first, last);
    return true;
}

/* How much may wait in an inbox with so many bytes: more than little as long as that, and all
 * else that is free, is within the budget. An owner that takes and hands on as much as others
 * free then finds it all there, without a way through its pages. */
static int64_t remote_bound(int64_t bytes)
{
    if (bytes <= TIDE_INBOX_BYTES || bytes > TIDE_INBOX_MOST)
        return TIDE_INBOX_BYTES;
    uint64_t free = TIDE_STAT_GET(waiting) + TIDE_STAT_GET(slack) + TIDE_STAT_GET(retained);
    return free <= tide_segment_retain_limit() ? TIDE_INBOX_MOST : TIDE_INBOX_BYTES;
}

/* The owner sleeps, or is gone: whoever frees empties the inbox when it is over
 * its bound. While somebody else is at work on the pages that can wait, for a time. */
static void remote_relieve(struct tide_pages *pages, int64_t bytes)
{
    bool parked = atomic_load_explicit(&pages->parked, memory_order_seq_cst);
    int64_t bound = remote_bound(bytes);
    if (!parked && bytes <= bound)
        return;
    if (parked || bytes > 4 * TIDE_INBOX_BYTES)
        tide_lock_take(&pages->lock);
    else if (!tide_lock_try(&pages->lock))
        return;
    tide_remote_drain(pages);
    tide_lock_drop(&pages->lock);
}

static void remote_hand_over(struct tide_batch *batch)
{
    struct tide_pages *pages = remote_owner(batch);
    if (pages == NULL) {
        TIDE_RELAXED_SET(&batch->count, 0);
        remote_batch_return(batch, batch);
        return;
    }
    int64_t bytes = batch->bytes;
    TIDE_STAT_ADD(waiting, bytes);
    bytes += atomic_fetch_add_explicit(&pages->inbox_bytes, bytes, memory_order_relaxed);
    struct tide_batch *head = atomic_load_explicit(&pages->inbox, memory_order_relaxed);
    do
        batch->next = head;
    while (!atomic_compare_exchange_weak_explicit(&pages->inbox, &head, batch, memory_order_seq_cst,
                                                  memory_order_relaxed));
    TIDE_STAT_ADD(remote_batches, 1);
    remote_relieve(pages, bytes);
}

void tide_remote_give(uint32_t owner, void *block)
{
    struct tide_pages *pages = tide_page_find_owner(owner);
    if (pages == NULL)
        return;
    tide_lock_take(&pages->lock);
    if (pages->owner == owner)
        tide_page_flush(pages, &block, 1, "free");
    tide_lock_drop(&pages->lock);
}

/* A new batch for the owner. It may take much if it is the only one. */
static struct tide_batch *remote_begin(const struct tide_outbox *outbox,
                                       const struct tide_pages *pages, uint32_t owner)
{
    struct tide_batch *batch = pages != NULL ? remote_batch_take(pages, owner) : NULL;
    bool alone = true;
    for (int i = 0; i < TIDE_OUTBOX_SLOTS; i++)
        alone = alone && outbox->slot[i] == NULL;
    if (batch != NULL)
        batch->most = alone ? TIDE_BATCH_BYTES : TIDE_BATCH_BYTES / 4;
    return batch;
}

void tide_remote_put(struct tide_outbox *outbox, const struct tide_page *page, void *block)
{
    uint32_t owner = atomic_load_explicit(&page->owner, memory_order_relaxed);
    struct tide_batch **slot = &outbox->slot[owner % TIDE_OUTBOX_SLOTS];
    const struct tide_pages *pages = tide_page_find_owner(owner);
    struct tide_batch *batch = *slot;
    uint64_t births = pages != NULL ? TIDE_RELAXED_GET(&pages->births) : 0;
    if (batch != NULL && (batch->owner != owner || batch->births != births)) {
        TIDE_RELAXED_SET(slot, NULL);
        remote_hand_over(batch);
        batch = NULL;
    }
    if (batch == NULL) {
        batch = remote_begin(outbox, pages, owner);
        if (batch == NULL) {
            tide_remote_give(owner, block);
            return;
        }
        __atomic_store_n(slot, batch, __ATOMIC_RELEASE);
    }
    uint32_t count = batch->count;
    batch->bytes += page->stride;
    TIDE_RELAXED_SET(&batch->block[count], block);
    __atomic_store_n(&batch->count, count + 1, __ATOMIC_RELEASE);
    if (count + 1 == TIDE_BATCH_BLOCKS || batch->bytes >= batch->most) {
        TIDE_RELAXED_SET(slot, NULL);
        remote_hand_over(batch);
    }
}

void tide_remote_flush(struct tide_outbox *outbox)
{
    for (int i = 0; i < TIDE_OUTBOX_SLOTS; i++) {
        struct tide_batch *batch = outbox->slot[i];
        TIDE_RELAXED_SET(&outbox->slot[i], NULL);
        if (batch != NULL)
            remote_hand_over(batch);
    }
}

static void remote_each(const struct tide_batch *batch, tide_remote_visit *visit, void *context)
{
    uint32_t count = __atomic_load_n(&batch->count, __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < count && i < TIDE_BATCH_BLOCKS; i++)
        visit(context, TIDE_RELAXED_GET(&batch->block[i]));
}

void tide_remote_each_out(const struct tide_outbox *outbox, tide_remote_visit *visit, void *context)
{
    for (int i = 0; i < TIDE_OUTBOX_SLOTS; i++) {
        const struct tide_batch *batch = __atomic_load_n(&outbox->slot[i], __ATOMIC_ACQUIRE);
        if (batch != NULL && remote_owner(batch) != NULL)
            remote_each(batch, visit, context);
    }
}

void tide_remote_each_in(const struct tide_pages *pages, tide_remote_visit *visit, void *context)
{
    const struct tide_batch *batch = atomic_load_explicit(&pages->inbox, memory_order_acquire);
    for (; batch != NULL; batch = batch->next)
        if (remote_owner(batch) == pages)
            remote_each(batch, visit, context);
}
