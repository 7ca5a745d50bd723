/* held.c - see held.h */
#include "box/held.h"

#include "box/logmap.h"

struct held_walk {
    const struct tide_region *region;
    tide_held_visit *visit;
    void *context;
};

static void held_block(void *context, const unsigned char *block, size_t bytes)
{
    const struct held_walk *walk = context;
    uint64_t at = (uintptr_t)block - (uintptr_t)walk->region->extent.base;
    (void)bytes;
    if (at < walk->region->size)
        walk->visit(walk->context, at / TIDE_REGION_SEGMENT);
}

int tide_held_each(const struct tide_region *region, tide_held_visit *visit, void *context)
{
    struct held_walk walk = {region, visit, context};
    struct tide_logroom_place place;
    struct tide_layout_fault fault;
    struct tide_logmap map;
    int error = tide_logroom_find(region, &place, &fault);
    if (error == -ENOENT || tide_logroom_of(region)->magic != TIDE_LOGROOM_MAGIC)
        return 0;
    if (error == 0 && !tide_logmap_open(&map, region->extent.base + place.at, place.size, &fault))
        error = -EPROTO;
    if (error == 0)
        tide_trim_each_block(&map, held_block, &walk);
    return error;
}
