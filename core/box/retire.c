/* retire.c - see retire.h */
#include "box/retire.h"

/* Before the publish word of the first such batch: whoever frees its slot sees it set. */
void tide_retire_expect(const struct tide_logmap *map)
{
    if (!tide_retire_is_used(map))
        tide_coh_set(map->coh, &map->head->referred, 1);
    TIDE_CRASH_POINT(block_expected);
}

struct tide_retire tide_retire_begin(const struct tide_logmap *map)
{
    uint64_t head = tide_coh_get(map->coh, &map->head->retired);
    uint64_t held = head - tide_coh_get(map->coh, &map->head->reclaimed);
    return (struct tide_retire){head, map->slots.size - tide_min(held, map->slots.size)};
}

static struct tide_layout_retire *retire_at(const struct tide_logmap *map, uint64_t counter)
{
    return &map->retire[tide_logmap_at(&map->slots, counter)];
}

bool tide_retire_put(const struct tide_logmap *map, struct tide_retire *to,
                     const struct tide_layout_slot *slot)
{
    if ((slot->flags & TIDE_LAYOUT_REF) == 0)
        return true;
    if (to->room == 0)
        return false;
    struct tide_layout_retire *entry = retire_at(map, to->head);
    *entry = (struct tide_layout_retire){slot->offset, slot->keeper};
    tide_coh_wrote(TIDE_COH_COHERENT, entry, sizeof *entry);
    TIDE_CRASH_POINT(retire_put);
    to->head++;
    to->room--;
    return true;
}

uint64_t tide_retire_put_all(const struct tide_logmap *map, uint32_t broker, uint64_t from,
                             uint64_t to, struct tide_retire *ring)
{
    if (!tide_retire_is_used(map))
        return to;
    *ring = tide_retire_begin(map);
    while (from != to && tide_retire_put(map, ring, tide_logmap_slot(map, broker, from)))
        from++;
    return from;
}

void tide_retire_note(const struct tide_logmap *map, uint32_t broker,
                      const struct tide_retire *ring)
{
    if (tide_coh_get(map->coh, &map->head->retired) == ring->head)
        return;
    tide_coh_drain(TIDE_COH_COHERENT);
    tide_coh_set(map->coh, &map->broker[broker].retiring, ring->head + 1);
    TIDE_CRASH_POINT(retire_noted);
}

void tide_retire_publish(const struct tide_logmap *map, uint32_t broker,
                         const struct tide_retire *ring)
{
    if (tide_coh_get(map->coh, &map->head->retired) == ring->head)
        return;
    tide_coh_set(map->coh, &map->head->retired, ring->head);
    TIDE_CRASH_POINT(retire_published);
    tide_coh_set(map->coh, &map->broker[broker].retiring, 0);
}

/* What was lent by a process that is gone went with it. */
void tide_retire_finish(const struct tide_logmap *map, uint32_t broker)
{
    uint64_t noted = tide_coh_get(map->coh, &map->broker[broker].retiring) - 1;
    struct tide_retire ring = tide_retire_begin(map);
    if (noted != UINT64_MAX && noted - ring.head <= ring.room &&
        tide_coh_get(map->coh, &map->head->lender) != 0)
        tide_coh_set(map->coh, &map->head->retired, noted);
    TIDE_CRASH_POINT(retire_published);
    tide_coh_set(map->coh, &map->broker[broker].retiring, 0);
}

uint32_t tide_retire_take(const struct tide_logmap *map, struct tide_layout_retire *out,
                          uint32_t most)
{
    uint64_t from = tide_coh_get(map->coh, &map->head->reclaimed);
    uint64_t held = tide_coh_get(map->coh, &map->head->retired) - from;
    uint32_t count = held <= map->slots.size ? (uint32_t)tide_min(held, most) : 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct tide_layout_retire *entry = retire_at(map, from + i);
        tide_coh_fresh(TIDE_COH_COHERENT, entry, sizeof *entry);
        out[i] = *entry;
    }
    TIDE_CRASH_POINT(retire_taking);
    if (count > 0)
        tide_coh_set(map->coh, &map->head->reclaimed, from + count);
    TIDE_CRASH_POINT(retire_taken);
    return count;
}
