/* logref.c - see logref.h */
#include "box/logref.h"

#include "box/heaps.h"
#include "box/life.h"
#include "box/logapi_lanes.h"
#include "box/mid.h"
#include "box/region.h"
#include "box/route.h"

enum { LOGREF_TAKE = 64, LOGREF_SESSION_SHIFT = 48, LOGREF_OWNER_SHIFT = 32 };

/* --- whose it is -------------------------------------------------------------------- */

/* The handle of the region, the heap's place among the heaps, and how many were there. */
static uint64_t logref_keeper(const struct tide_region *region, uint32_t owner)
{
    const struct tide_pages *pages = tide_page_find_owner(owner);
    uint64_t births = pages != NULL ? TIDE_RELAXED_GET(&pages->births) : UINT32_MAX;
    return TIDE_RELAXED_GET(&region->table.session) << LOGREF_SESSION_SHIFT |
           (uint64_t)(owner & (TIDE_OWNER_IDS - 1)) << LOGREF_OWNER_SHIFT | (uint32_t)births;
}

static uint64_t logref_offset(const struct tide_region *region, const void *block)
{
    return (uintptr_t)block - (uintptr_t)region->extent.base;
}

/* The segment is one of another handle's heaps. */
static bool logref_is_of_others(const struct tide_region *region, uint64_t index)
{
    struct tide_region_segment segment = {.state = TIDE_REGION_FREE};
    tide_plot_read(&region->table, index, &segment);
    if (segment.state == TIDE_REGION_PART)
        tide_plot_read(&region->table, index - segment.length, &segment);
    return (segment.state == TIDE_REGION_HEAP || segment.state == TIDE_REGION_RUN) &&
           segment.session != TIDE_RELAXED_GET(&region->table.session);
}

/* Why no block of this process starts there. */
static int logref_fault(const struct tide_region *region, const struct tide_block *found,
                        const void *block)
{
    uint64_t offset = logref_offset(region, block);
    if (logref_is_of_others(region, offset / TIDE_REGION_SEGMENT))
        return tide_logapi_error(-EPERM, "a block of another process's heap: offset in the region",
                                 offset, 1, 0);
    if (found->page != NULL && tide_page_index(found->page, (uintptr_t)block) >= 0)
        return tide_logapi_error(-EFAULT, "a block that is free: offset in the region", offset, 1,
                                 0);
    return tide_logapi_error(-EINVAL, "not the start of a block: offset in the region", offset, 1,
                             0);
}

/* 0 and what it is, when a live block of this region starts there. */
static int logref_find(const tide_log_t *log, const void *block, struct tide_block *out)
{
    const struct tide_region *region = log->region;
    if (region == NULL)
        return tide_logapi_error(-EXDEV, "the log is in no region: address of a block",
                                 (uintptr_t)block, 1, 0);
    bool live = tide_route_inspect(block, out, NULL);
    if (logref_offset(region, block) >= region->size)
        return tide_logapi_error(-EXDEV, "not in the log's region: address of a block",
                                 (uintptr_t)block, (uintptr_t)region->extent.base,
                                 (uintptr_t)region->extent.base + region->size - 1);
    return live ? 0 : logref_fault(region, out, block);
}

/* --- its frames ------------------------------------------------------------------------- */

/* Marks the block as the log's. False: it was, or its first frame is none. */
static bool logref_mark(void *block, uint32_t *seen)
{
    struct tide_layout_frame *frame = block;
    *seen = 0;
    return __atomic_compare_exchange_n(&frame->flags, seen, TIDE_LAYOUT_LENT, false,
                                       __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static void logref_unmark(void *block)
{
    struct tide_layout_frame *frame = block;
    __atomic_store_n(&frame->flags, 0, __ATOMIC_RELEASE);
}

/* Counts the messages: frames up to the last byte, and not too many. */
static int logref_count(struct tide_broker_block *batch, uint32_t most)
{
    size_t at = 0, before = 0;
    const struct tide_layout_frame *frame;
    while (at < batch->size && (frame = tide_frame_next(batch->data, batch->size, &at)) != NULL) {
        if (batch->count > 0 && frame->flags != 0)
            return tide_logapi_error(-EINVAL, "flags of a frame in a block", frame->flags, 0, 0);
        batch->count++;
        before = at;
    }
    if (at != batch->size)
        return tide_logapi_error(-EINVAL, "bytes of whole frames in a block", before, batch->size,
                                 batch->size);
    if (batch->count > most)
        return tide_logapi_error(-EMSGSIZE, "messages of a block", batch->count, 1, most);
    return 0;
}

static int logref_check_size(size_t bytes, size_t usable)
{
    size_t most = tide_min(usable, TIDE_FRAME_MOST);
    if (bytes < TIDE_LAYOUT_FRAME || bytes > most)
        return tide_logapi_error(-EMSGSIZE, "bytes of frames in a block", bytes, TIDE_LAYOUT_FRAME,
                                 most);
    if (bytes % 8 != 0)
        return tide_logapi_error(-EINVAL, "bytes of frames beyond a multiple of 8", bytes % 8, 0,
                                 0);
    return 0;
}

/* --- append ------------------------------------------------------------------------------- */

/* The block is marked from here on; whoever gets an error has it as before. */
static int logref_append(tide_log_client_t *client, unsigned broker,
                         struct tide_broker_block *batch, int64_t timeout, struct tide_log_at *at)
{
    uint32_t seen;
    if (!logref_mark(batch->data, &seen) && seen == TIDE_LAYOUT_LENT)
        return tide_logapi_error(-EALREADY, "in the log already: offset of a block in the region",
                                 logref_offset(client->log->region, batch->data), 1, 0);
    if (seen != 0)
        return tide_logapi_error(-EINVAL, "flags of a frame in a block", seen, 0, 0);
    TIDE_CRASH_POINT(block_marked);
    int error = logref_count(batch, tide_broker_block_most(&client->log->map));
    if (error == 0)
        error = tide_logapi_append_block(client, broker, batch, timeout, at);
    if (error != 0 && error != -EINPROGRESS)
        logref_unmark(batch->data);
    return error;
}

TIDE_EXPORT int tide_log_append_block(tide_log_client_t *client, unsigned broker, void *block,
                                      size_t bytes, int64_t timeout, struct tide_log_at *at)
{
    struct tide_block found;
    if (tide_logapi_is(client, TIDE_LOGAPI_LANE_CLIENT))
        return tide_logapi_lanes_not();
    if (client == NULL || client->magic != TIDE_LOGAPI_CLIENT)
        return tide_logapi_error(-ESTALE, "not an open client of this process", 0, 1, 0);
    int error = logref_find(client->log, block, &found);
    if (error == 0)
        error = logref_check_size(bytes, found.usable);
    if (error != 0)
        return error;
    struct tide_broker_block batch = {.data = block,
                                      .keeper = logref_keeper(client->log->region, found.owner),
                                      .size = (uint32_t)bytes};
    return logref_append(client, broker, &batch, timeout, at);
}

TIDE_EXPORT void *tide_log_block(tide_heap_t *heap, size_t size, uint64_t tag)
{
    size_t bytes = tide_frame_bytes(size);
    if (bytes == 0) {
        errno = ENOMEM;
        return NULL;
    }
    struct tide_layout_frame *frame = tide_heap_malloc(heap, bytes);
    if (frame != NULL)
        *frame = (struct tide_layout_frame){(uint32_t)size, 0, tag};
    return frame;
}

/* --- home ---------------------------------------------------------------------------------- */

/* The block of a heap, whose lock is held, is in a user's hands: the log's. */
static bool logref_is_out(const struct tide_pages *pages, const struct tide_window *window,
                          const void *block)
{
    uint32_t owner;
    unsigned cls;
    struct tide_page *page = tide_window_page(window, (uintptr_t)block);
    page = page->part ? page->next : page;
    int index = page->stride != 0 ? tide_page_index(page, (uintptr_t)block) : -1;
    return index >= 0 && page->owner == pages->owner && tide_page_is_out(page, (unsigned)index) &&
           (page->kind != TIDE_KIND_MID ||
            tide_mid_read(window, block, &owner, &cls) == TIDE_MID_LIVE);
}

/* A heap that was destroyed took its blocks with it, or left them to the region; those of an
 * earlier process are not ours to free. Under the heap's lock: it may be destroyed now. */
static void logref_give(const tide_log_t *log, const struct tide_layout_retire *retired)
{
    const struct tide_region *region = log->region;
    const struct tide_window *window = &tide_windows[region->window];
    void *block = (void *)((uintptr_t)log->map.base + retired->offset); /* anywhere, perhaps */
    uint64_t owner = retired->keeper >> LOGREF_OWNER_SHIFT & (TIDE_OWNER_IDS - 1);
    struct tide_pages *pages = atomic_load_explicit(&tide_page_owner[owner], memory_order_acquire);
    if (pages == NULL || logref_offset(region, block) >= region->size)
        return;
    tide_lock_take(&pages->lock);
    if (pages->region == region && logref_keeper(region, pages->owner) == retired->keeper &&
        logref_is_out(pages, window, block)) {
        if (tide_window_page(window, (uintptr_t)block)->kind == TIDE_KIND_MID)
            tide_mid_set_freed(window, block, TIDE_MID_REMOTE);
        tide_page_flush(pages, &block, 1, "tide_log_reclaim");
        TIDE_CRASH_POINT(block_given);
    }
    tide_lock_drop(&pages->lock);
}

static void logref_lock(struct tide_lock *lock)
{
    while (tide_coh_hooked())
        if (tide_lock_try(lock))
            return;
    tide_lock_take_own(lock);
}

/* Of one process at a time; what another one's was, and is no more, is nobody's. */
static uint32_t logref_take(tide_log_t *log, struct tide_layout_retire *taken)
{
    uint32_t got = 0;
    bool mine;
    logref_lock(&log->drain);
    if (tide_crew_try_begin(&log->crew)) {
        if (tide_crew_go_home(&log->crew, &mine)) {
            got = tide_retire_take(&log->map, taken, LOGREF_TAKE);
            if (!mine)
                tide_crew_went_home(&log->crew);
        }
        tide_crew_end(&log->crew);
    }
    tide_lock_drop_own(&log->drain);
    return got;
}

int64_t tide_logref_drain(tide_log_t *log)
{
    struct tide_layout_retire taken[LOGREF_TAKE];
    int64_t sum = 0;
    uint32_t got;
    do {
        got = logref_take(log, taken);
        const struct tide_cache *before = tide_life_enter();
        for (uint32_t i = 0; i < got; i++)
            logref_give(log, &taken[i]);
        tide_life_leave(before);
        sum += got;
    } while (got == LOGREF_TAKE);
    if (sum > 0)
        tide_logapi_ring(&log->map.head->space);
    return sum;
}

TIDE_EXPORT int64_t tide_log_reclaim(tide_log_t *log)
{
    if (tide_logapi_is(log, TIDE_LOGAPI_LANES))
        return tide_logapi_lanes_not();
    if (log == NULL || log->magic != TIDE_LOGAPI_LOG)
        return tide_logapi_error(-ESTALE, "not an open log of this process", 0, 1, 0);
    return log->region != NULL ? tide_logref_drain(log) : 0;
}

__attribute__((constructor)) static void logref_register(void)
{
    tide_logapi_drainer = tide_logref_drain;
}
