/* region_page.c - see region.h: segments for heaps */
#include "box/region.h"

#include "box/vmem.h"

struct tide_page *tide_region_page_take(struct tide_region *region,
                                        const struct tide_plot_wish *wish)
{
    if (tide_region_is_stale(region))
        return NULL;
    tide_region_ready(region);
    int64_t index = tide_plot_take(&region->table, wish);
    if (index < 0)
        return NULL;
    struct tide_page *page = &tide_windows[region->window].pages[index];
    for (uint64_t i = 0; i < wish->segments; i++) {
        struct tide_page *part = page + i;
        part->part = i > 0;
        part->prev = NULL;
        part->next = i > 0 ? page : NULL;
        part->zeroed = part->purged = 0;
        part->bump = part->used = part->hint = part->purge_at = 0;
        part->limit = part->slack = part->dirty = 0;
        part->kind = (uint8_t)wish->kind;
    }
    return page;
}

void tide_region_page_give(struct tide_page *page)
{
    const struct tide_window *window = tide_page_window(page);
    struct tide_region *region = window->region;
    /* Blocks as large as segments are runs. */
    uint64_t index = (uint64_t)(page - window->pages);
    uint64_t length = tide_max(page->stride / TIDE_REGION_SEGMENT, 1);
    for (uint64_t i = length; i-- > 0;) {
        page[i].part = 0;
        page[i].stride = i > 0 ? 0 : page[i].stride;
        atomic_store_explicit(&page[i].owner, 0, memory_order_relaxed);
    }
    /* The parent's table is none of ours; nor is what was left for the log. */
    if (tide_region_is_stale(region) || TIDE_RELAXED_GET(&region->table.entry[index].session) !=
                                            TIDE_RELAXED_GET(&region->table.session))
        return;
    if (region->extent.fd < 0 && !region->strict)
        tide_vmem_decommit((void *)tide_page_base(page), length * TIDE_REGION_SEGMENT);
    if (tide_plot_give(&region->table, index, TIDE_REGION_HEAP) < 0)
        tide_plot_give(&region->table, index, TIDE_REGION_RUN);
}
