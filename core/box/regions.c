/* regions.c - see regions.h */
#include "box/regions.h"

#include "box/held.h"
#include "box/life.h"
#include "box/region.h"

TIDE_EXPORT int tide_region_create(tide_region_t **out, const char *source, size_t size,
                                   unsigned flags, struct tide_region_error *error)
{
    tide_life_start();
    const struct tide_cache *before = tide_life_enter();
    int ret = tide_region_make(out, source, size, flags, error);
    tide_life_leave(before);
    return ret;
}

TIDE_EXPORT int tide_region_open(tide_region_t **out, const char *source, size_t size,
                                 struct tide_region_error *error)
{
    tide_life_start();
    const struct tide_cache *before = tide_life_enter();
    int ret = tide_region_attach(out, source, size, error);
    tide_life_leave(before);
    return ret;
}

TIDE_EXPORT int tide_region_close(tide_region_t *region)
{
    if (region == NULL)
        return 0;
    const struct tide_cache *before = tide_life_enter();
    int ret = tide_region_detach(region);
    tide_life_leave(before);
    return ret;
}

TIDE_EXPORT void *tide_region_base(const tide_region_t *region)
{
    return region->extent.base;
}

/* Adds segment `at` to the figures; *run: free ones in a row up to here. */
static void regions_count(const tide_region_t *region, uint64_t at, struct tide_region_info *out,
                          uint64_t *run)
{
    struct tide_region_segment segment;
    tide_plot_read(&region->table, at, &segment);
    bool mine = segment.session == TIDE_RELAXED_GET(&region->table.session);
    uint64_t bytes = TIDE_REGION_SEGMENT;
    *run = segment.state == TIDE_REGION_FREE ? *run + 1 : 0;
    out->largest = tide_max(out->largest, *run);
    out->capacity += segment.state != TIDE_REGION_HEAD ? bytes : 0;
    if (segment.state == TIDE_REGION_RUN || segment.state == TIDE_REGION_LENT)
        bytes *= segment.length; /* its parts, too */
    if (segment.state == TIDE_REGION_FREE)
        out->free_bytes += bytes;
    else if (segment.state == TIDE_REGION_LENT)
        out->lent_bytes += bytes;
    else if (segment.state == TIDE_REGION_HEAP || segment.state == TIDE_REGION_RUN)
        *(mine ? &out->heap_bytes : &out->left_bytes) += bytes;
}

TIDE_EXPORT int tide_region_info(tide_region_t *region, struct tide_region_info *out)
{
    uint64_t run = 0;
    if (tide_region_is_stale(region))
        return -ESTALE;
    *out = (struct tide_region_info){
        .base = region->extent.base,
        .size = region->size,
        .segments = region->table.segments,
        .heaps = atomic_load_explicit(&region->heaps, memory_order_relaxed),
        .align = region->extent.align,
        .fd = region->extent.fd,
        .shared = region->extent.fd >= 0,
        .sync = region->extent.sync,
        .fresh = region->fresh,
        .source = region->source.text,
    };
    memcpy(out->id, region->table.head->id, sizeof out->id);
    for (uint64_t i = 0; i < region->table.segments; i++)
        regions_count(region, i, out, &run);
    return 0;
}

TIDE_EXPORT int tide_region_take(tide_region_t *region, size_t segments, uint64_t tag,
                                 uint64_t *offset)
{
    const struct tide_cache *before = tide_life_enter();
    int ret = tide_region_lend(region, segments, tag, offset);
    tide_life_leave(before);
    return ret;
}

TIDE_EXPORT int tide_region_give(tide_region_t *region, uint64_t offset)
{
    const struct tide_cache *before = tide_life_enter();
    int ret = tide_region_return(region, offset);
    tide_life_leave(before);
    return ret;
}

TIDE_EXPORT int tide_region_moved(tide_region_t *region)
{
    if (tide_region_is_stale(region))
        return -ESTALE;
    atomic_store(&region->moved, true);
    return 0;
}

TIDE_EXPORT int tide_region_segment(tide_region_t *region, uint64_t index,
                                    struct tide_region_segment *out)
{
    return tide_region_is_stale(region) ? -ESTALE : tide_plot_read(&region->table, index, out);
}

TIDE_EXPORT void *tide_region_area(const tide_region_t *region, unsigned which)
{
    if (which > TIDE_REGION_AREA_USER)
        return NULL;
    return region->extent.base + TIDE_PLOT_AREA_AT + (size_t)which * TIDE_REGION_AREA;
}

static void regions_mark(void *bits, uint64_t segment)
{
    ((uint64_t *)bits)[segment / 64] |= UINT64_C(1) << segment % 64;
}

static int regions_keep_held(const struct tide_region *region, uint64_t *bits)
{
    return tide_held_each(region, regions_mark, bits);
}

TIDE_EXPORT long tide_region_reclaim(tide_region_t *region)
{
    const struct tide_cache *before = tide_life_enter();
    long ret = tide_region_sweep(region, regions_keep_held);
    tide_life_leave(before);
    return ret;
}

TIDE_EXPORT int tide_region_where(const volatile void *address, char *buf, size_t len)
{
    struct tide_text text = {buf, len, 0};
    if (len == 0)
        return -EINVAL;
    buf[0] = '\0';
    int ret = tide_region_find(address, &text);
    return ret == 0 ? (int)text.len : ret;
}
