/* api.c - see api.h */
#include "box/api.h"

#include "box/heaps.h"
#include "box/large.h"
#include "box/life.h"
#include "box/option.h"
#include "box/purge.h"
#include "box/report.h"
#include "box/residency.h"
#include "box/route.h"
#include "box/source.h"
#include "box/vmem.h"

TIDE_EXPORT const char *tide_version(void)
{
    return TIDE_VERSION_STRING;
}

/* --- malloc family --------------------------------------------------------------- */

TIDE_EXPORT void *tide_malloc(size_t size)
{
    return tide_route_malloc(size);
}

TIDE_EXPORT void tide_free(void *ptr)
{
    tide_route_free(ptr);
}

TIDE_EXPORT void tide_free_sized(void *ptr, size_t size)
{
    (void)size;
    tide_route_free(ptr);
}

TIDE_EXPORT void tide_free_aligned_sized(void *ptr, size_t alignment, size_t size)
{
    (void)alignment;
    (void)size;
    tide_route_free(ptr);
}

TIDE_EXPORT void *tide_calloc(size_t count, size_t size)
{
    size_t bytes;
    bool zeroed = false;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    void *block = bytes <= TIDE_MID_TOP ? tide_route_malloc(bytes)
                                        : tide_route_take_large(NULL, bytes, 1, &zeroed);
    if (TIDE_LIKELY(block != NULL) && !zeroed)
        memset(block, 0, bytes);
    return block;
}

static bool api_is_large(const struct tide_block *block)
{
    return tide_sizeclass_is_large(block->kind, block->page != NULL ? block->page->cls : 0);
}

/* The block can stay where it is: the size fits and does not waste half of it. */
static bool api_fits(const struct tide_block *block, size_t size)
{
    return size <= block->usable && (size >= block->usable / 2 || block->usable <= 64);
}

/* A mapping that grows may have room for that; one that shrinks becomes a run if it is small. */
static bool api_stays_mapping(const struct tide_block *old, size_t size)
{
    return !tide_large_is_run(size) || (size > old->usable && size > TIDE_MID_TOP);
}

/* What the thread knows of blocks that grow; NULL in a thread without a heap. */
static struct tide_growth *api_growth(void)
{
    struct tide_cache *cache = tide_self;
    return cache->shelf != NULL ? &((struct tide_heap *)cache)->growth : NULL;
}

/* A block that has room stays while it grows, any other while it fits. */
static bool api_stays(const void *ptr, const struct tide_block *old, size_t size)
{
    struct tide_growth *growth = api_growth();
    bool on = growth != NULL && size <= old->usable &&
              tide_growth_goes_on(growth, ptr, size, old->usable);
    return on || api_fits(old, size);
}

/* A block that had room and may have been freed since: is it live, and large? It may be in other
 * hands: nothing is looked at but pages of this thread, whose descriptors nobody else changes, and
 * of them the word that tells about a block, which the program or a thread that frees may change
 * meanwhile. Whatever is read there, it is a hint. */
__attribute__((no_sanitize("thread"))) static bool api_has_room(const void *block)
{
    const struct tide_cache *cache = tide_self;
    const struct tide_window *window = tide_pagemap_find((uintptr_t)block);
    struct tide_page *page = window != NULL ? tide_window_page(window, (uintptr_t)block) : NULL;
    if (page == NULL || atomic_load_explicit(&page->owner, memory_order_relaxed) != cache->owner)
        return false;
    int index = tide_page_index(page, (uintptr_t)block);
    if (index < 0 || !tide_page_is_out(page, (unsigned)index) ||
        tide_page_usable(page) < tide_sizeclass.tiny_max)
        return false;
    if (tide_page_headed(page))
        return *(const volatile uint64_t *)tide_mid_word_at(window, block) ==
               (tide_key_word(cache->owner, page->cls) ^ (uintptr_t)block);
    if (page->kind == TIDE_KIND_TINY)
        return ((const volatile uint64_t *)block)[1] != tide_key_mark(block);
    return !tide_shelf_holds(page, (unsigned)index);
}

/* A block for one that grows to `size` bytes: with room, if few enough have some. */
static void *api_take_roomy(const void *ptr, const struct tide_block *old, size_t size)
{
    struct tide_growth *growth = api_growth();
    size_t room = tide_growth_room(size, tide_sizeclass.tiny_max);
    if (growth == NULL || room == size)
        return api_is_large(old) ? tide_route_take_growing(size) : tide_route_malloc(size);
    int place = tide_growth_find(growth, ptr); /* it moves on */
    if (place < 0)
        place = tide_growth_place(growth, api_has_room);
    void *block = place >= 0 ? tide_route_malloc(room) : NULL;
    if (block == NULL)
        return tide_route_malloc(size);
    tide_growth_set(growth, place, block, size);
    return block;
}

static void *api_move(void *ptr, const struct tide_block *old, size_t size)
{
    bool region = old->window != NULL && old->window->region != NULL; /* stays there */
    void *block = region               ? tide_heaps_take_beside(old->owner, size)
                  : size > old->usable ? api_take_roomy(ptr, old, size)
                                       : tide_route_malloc(size);
    if (block == NULL)
        return NULL;
    memcpy(block, ptr, tide_min(size, old->usable));
    tide_route_free(ptr);
    return block;
}

static void *api_remap(void *ptr, size_t size)
{
    const struct tide_cache *before = tide_life_enter();
    void *moved = tide_large_remap(ptr, size);
    tide_life_leave(before);
    return moved;
}

TIDE_EXPORT void *tide_realloc(void *ptr, size_t size)
{
    struct tide_block old;
    if (ptr == NULL) /* who begins so may go on */
        return tide_route_take_growing(size);
    if (!tide_route_inspect(ptr, &old, "realloc")) {
        errno = EINVAL;
        return NULL;
    }
    if (size == 0) {
        tide_route_free(ptr);
        return NULL;
    }
    if (size > PTRDIFF_MAX) {
        errno = ENOMEM;
        return NULL;
    }
    if (api_stays(ptr, &old, size))
        return ptr;
    if (old.page == NULL && api_stays_mapping(&old, size)) {
        void *moved = api_remap(ptr, size);
        if (moved != NULL)
            return moved;
    }
    return api_move(ptr, &old, size);
}

TIDE_EXPORT void *tide_reallocarray(void *ptr, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return tide_realloc(ptr, bytes);
}

/* align: a power of two */
static void *api_aligned(size_t align, size_t size)
{
    if (align <= TIDE_ALIGN_MIN)
        return tide_route_malloc(size);
    if (size > PTRDIFF_MAX || align > PTRDIFF_MAX) {
        errno = ENOMEM;
        return NULL;
    }
    return tide_route_take_aligned(NULL, size, align);
}

TIDE_EXPORT void *tide_aligned_alloc(size_t alignment, size_t size)
{
    if (!tide_is_pow2(alignment)) {
        errno = EINVAL;
        return NULL;
    }
    return api_aligned(alignment, size);
}

TIDE_EXPORT int tide_posix_memalign(void **out, size_t alignment, size_t size)
{
    if (!tide_is_pow2(alignment) || alignment % sizeof(void *) != 0)
        return EINVAL;
    int before = errno;
    void *block = api_aligned(alignment, size);
    errno = before;
    if (block == NULL)
        return ENOMEM;
    *out = block;
    return 0;
}

TIDE_EXPORT void *tide_memalign(size_t alignment, size_t size)
{
    size_t align = TIDE_ALIGN_MIN;
    if (alignment > SIZE_MAX / 2 + 1) {
        errno = EINVAL;
        return NULL;
    }
    while (align < alignment)
        align *= 2;
    return api_aligned(align, size);
}

TIDE_EXPORT void *tide_valloc(size_t size)
{
    return api_aligned(tide_vmem_page_size(), size);
}

TIDE_EXPORT void *tide_pvalloc(size_t size)
{
    size_t page = tide_vmem_page_size();
    if (size > PTRDIFF_MAX - page) {
        errno = ENOMEM;
        return NULL;
    }
    return api_aligned(page, tide_align_up(tide_max(size, 1), page));
}

TIDE_EXPORT size_t tide_malloc_usable_size(const volatile void *ptr)
{
    struct tide_block block;
    if (ptr == NULL || !tide_route_inspect((const void *)ptr, &block, "malloc_usable_size"))
        return 0;
    return block.usable;
}

TIDE_EXPORT int tide_malloc_trim(size_t pad)
{
    tide_route_flush_thread();
    const struct tide_cache *before = tide_life_enter();
    size_t bytes = tide_purge_all(pad);
    tide_life_leave(before);
    return bytes > 0;
}

TIDE_EXPORT void *tide_malloc_on(enum tide_tier tier, size_t size)
{
    tide_life_start();
    if (tier == TIDE_TIER_TINY && size <= TIDE_TINY_TOP)
        return tide_route_take(NULL, TIDE_KIND_TINY, tide_sizeclass_tiny(size), NULL);
    if (tier == TIDE_TIER_MID && size <= TIDE_MID_TOP)
        return tide_route_take(NULL, TIDE_KIND_MID, tide_sizeclass_mid(size), NULL);
    if (tier == TIDE_TIER_LARGE)
        return tide_route_take_large(NULL, size, 1, NULL);
    errno = EINVAL;
    return NULL;
}

TIDE_EXPORT enum tide_tier tide_tier_of(const volatile void *ptr)
{
    struct tide_block block;
    if (!tide_route_inspect((const void *)ptr, &block, NULL))
        return TIDE_TIER_NONE;
    if (api_is_large(&block))
        return TIDE_TIER_LARGE;
    return block.kind == TIDE_KIND_TINY ? TIDE_TIER_TINY : TIDE_TIER_MID;
}

/* --- options --------------------------------------------------------------------- */

TIDE_EXPORT int tide_option_set(const char *key, const char *value)
{
    bool started = tide_life_started();
    struct tide_source source;
    if (strcmp(key, "mid") == 0 && tide_source_open(&source, value) == -EINVAL)
        return started ? -EBUSY : -EINVAL;
    if (!started)
        tide_option_load(tide_life_is_secure());
    int ret = tide_option_assign(key, value, started);
    if (ret == 0 && started)
        tide_life_push_options();
    return ret;
}

TIDE_EXPORT int tide_option_get(const char *key, char *buf, size_t len)
{
    tide_option_load(tide_life_is_secure());
    return tide_option_show(key, buf, len);
}

TIDE_EXPORT int tide_option_info(size_t index, struct tide_option_info *out)
{
    return tide_option_row(index, out);
}

/* --- figures --------------------------------------------------------------------- */

/* A tally is too large for a small stack: it gets pages of its own. */
static struct tide_tally *api_tally(void)
{
    struct tide_tally *tally = tide_vmem_map(sizeof *tally);
    if (tally != NULL)
        tide_report_count(tally);
    return tally;
}

static void api_tally_done(struct tide_tally *tally)
{
    tide_vmem_unmap(tally, sizeof *tally);
}

TIDE_EXPORT int tide_stats(struct tide_stats *out)
{
    struct tide_tally *tally = api_tally();
    if (tally == NULL)
        return -ENOMEM;
    tide_report_stats(tally, out);
    api_tally_done(tally);
    return 0;
}

TIDE_EXPORT int tide_stats_class(enum tide_tier tier, size_t index, struct tide_tier_stats *out,
                                 size_t *block_size)
{
    struct tide_tally *tally = api_tally();
    if (tally == NULL)
        return -ENOMEM;
    int ret = tide_report_class(tally, tier, index, out, block_size);
    api_tally_done(tally);
    return ret;
}

TIDE_EXPORT int tide_residency(enum tide_tier tier, uint64_t most, struct tide_residency *out)
{
    return tide_residency_read(tier, most, out);
}

TIDE_EXPORT int tide_stats_json(int fd)
{
    return tide_report_write(fd);
}

int tide_api_mallopt(int param, int value)
{
    /* glibc's parameters tune mechanisms that this allocator has not: the ones it
     * knows are accepted, as glibc does, and change nothing. */
    (void)value;
    return (param >= M_ARENA_MAX && param <= M_TRIM_THRESHOLD) || param == M_MXFAST;
}

struct mallinfo2 tide_api_mallinfo2(void)
{
    struct mallinfo2 info = {0};
    struct tide_stats stats;
    if (tide_stats(&stats) != 0)
        return info;
    size_t runs = stats.tiny.mapped_bytes + stats.mid.mapped_bytes + stats.large.mapped_bytes;
    struct tide_tier_stats mappings;
    size_t size;
    tide_stats_class(TIDE_TIER_LARGE, TIDE_REPORT_MAPPINGS, &mappings, &size);
    info.hblks = mappings.live_blocks;
    info.hblkhd = mappings.live_bytes;
    info.arena = runs - info.hblkhd;
    info.uordblks =
        stats.tiny.live_bytes + stats.mid.live_bytes + stats.large.live_bytes - info.hblkhd;
    info.fordblks = info.arena - info.uordblks;
    info.fsmblks = stats.tiny.cached_bytes + stats.mid.cached_bytes + stats.large.cached_bytes;
    info.keepcost = stats.retained_bytes;
    return info;
}

static void api_info_tier(FILE *stream, const char *name, enum tide_tier tier,
                          const struct tide_tier_stats *stats)
{
    struct tide_tier_stats row;
    size_t size;
    fprintf(stream, "<heap nr=\"%d\" tier=\"%s\">\n<sizes>\n", (int)tier - 1, name);
    for (size_t i = 0; tide_stats_class(tier, i, &row, &size) == 0; i++)
        if (row.taken_blocks != 0)
            fprintf(stream, "<size to=\"%zu\" total=\"%llu\" count=\"%llu\" free=\"%llu\"/>\n",
                    size, (unsigned long long)row.live_bytes, (unsigned long long)row.live_blocks,
                    (unsigned long long)row.cached_blocks);
    fprintf(stream,
            "</sizes>\n<total type=\"live\" count=\"%llu\" size=\"%llu\"/>\n"
            "<total type=\"fast\" count=\"%llu\" size=\"%llu\"/>\n"
            "<system type=\"current\" size=\"%llu\"/>\n</heap>\n",
            (unsigned long long)stats->live_blocks, (unsigned long long)stats->live_bytes,
            (unsigned long long)stats->cached_blocks, (unsigned long long)stats->cached_bytes,
            (unsigned long long)stats->mapped_bytes);
}

int tide_api_malloc_info(int options, FILE *stream)
{
    struct tide_stats stats;
    if (options != 0)
        return EINVAL;
    if (tide_stats(&stats) != 0)
        return ENOMEM;
    fprintf(stream, "<malloc version=\"1\">\n");
    api_info_tier(stream, "tiny", TIDE_TIER_TINY, &stats.tiny);
    api_info_tier(stream, "mid", TIDE_TIER_MID, &stats.mid);
    api_info_tier(stream, "large", TIDE_TIER_LARGE, &stats.large);
    fprintf(stream, "<total type=\"rest\" count=\"0\" size=\"%llu\"/>\n</malloc>\n",
            (unsigned long long)stats.retained_bytes);
    return 0;
}

static void api_stats_line(const char *name, const struct tide_tier_stats *stats)
{
    fprintf(stderr, "%-6s live %llu blocks, %llu bytes; cached %llu bytes; mapped %llu bytes\n",
            name, (unsigned long long)stats->live_blocks, (unsigned long long)stats->live_bytes,
            (unsigned long long)stats->cached_bytes, (unsigned long long)stats->mapped_bytes);
}

void tide_api_malloc_stats(void)
{
    struct tide_stats stats;
    if (tide_stats(&stats) != 0)
        return;
    fprintf(stderr, "tidepool " TIDE_VERSION_STRING ", %llu heaps, %llu bytes retained\n",
            (unsigned long long)stats.heaps, (unsigned long long)stats.retained_bytes);
    api_stats_line("tiny", &stats.tiny);
    api_stats_line("mid", &stats.mid);
    api_stats_line("large", &stats.large);
}
