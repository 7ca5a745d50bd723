/* mend_slot.c - what a slot of a log whose memory was damaged must be; see mend_slot.h */
#include "box/mend_slot.h"

#include "box/crc.h"
#include "box/frame.h"
#include "box/ring.h"

static bool slot_is_inside(const struct tide_logmap *map, uint32_t broker,
                           const struct tide_layout_slot *slot)
{
    uint64_t ring = map->granules.size * TIDE_LAYOUT_GRANULE;
    uint64_t at = slot->offset - (uint64_t)(map->payload - map->base) - broker * ring, end = ring;
    if ((slot->flags & TIDE_LAYOUT_REF) != 0) {
        at = slot->offset + (uintptr_t)map->base - (uintptr_t)map->area;
        end = map->area_size;
    }
    return slot->offset % 8 == 0 && at <= end && slot->size <= end - at;
}

/* As many messages as it says, up to its last byte. */
static bool slot_has_frames(const struct tide_logmap *map, const struct tide_layout_slot *slot)
{
    const unsigned char *data = map->base + (ptrdiff_t)slot->offset;
    size_t at = 0;
    uint64_t count = 0;
    while (tide_frame_next(data, slot->size, &at) != NULL)
        count++;
    return count == slot->count && at == slot->size && count > 0;
}

bool tide_mend_same_bytes(const struct tide_layout_entry *entry,
                          const struct tide_layout_slot *slot)
{
    return slot->offset == entry->offset && slot->size == entry->size &&
           slot->count == entry->count && slot->checksum == entry->checksum &&
           slot->flags == entry->flags;
}

bool tide_mend_same_names(const struct tide_layout_entry *entry,
                          const struct tide_layout_slot *slot)
{
    return slot->number == entry->number && slot->client == entry->client &&
           slot->epoch == entry->epoch;
}

void tide_mend_unpublish(const struct tide_logmap *map, uint32_t broker, uint64_t index)
{
    _Atomic uint64_t *publish = &tide_logmap_slot(map, broker, index)->publish;
    uint64_t was = tide_coh_get(map->coh, publish);
    if (was != 0 &&
        (was - map->first - 1 >= index - map->first - 1 || (index - was) % map->slots.size != 0))
        tide_coh_set(map->coh, publish, 0);
}

bool tide_mend_is_whole(const struct tide_logmap *map, uint32_t broker,
                        const struct tide_layout_slot *slot)
{
    return (slot->flags & ~(uint32_t)TIDE_LAYOUT_REF) == 0 && slot_is_inside(map, broker, slot) &&
           slot_has_frames(map, slot) &&
           (!map->checksum ||
            tide_crc(0, map->base + (ptrdiff_t)slot->offset, slot->size) == slot->checksum);
}

bool tide_mend_is_end(const struct tide_logmap *map, const struct tide_layout_slot *slot,
                      uint64_t before)
{
    return slot->end - before <= map->granules.size;
}

uint64_t tide_mend_start(const struct tide_logmap *map, uint32_t broker,
                         const struct tide_layout_slot *slot, uint64_t before)
{
    uint64_t ring = map->granules.size * TIDE_LAYOUT_GRANULE;
    uint64_t at = slot->offset - (uint64_t)(map->payload - map->base) - broker * ring;
    uint64_t start = at / TIDE_LAYOUT_GRANULE, here = tide_logmap_at(&map->granules, before);
    return before + (start >= here ? start - here : start + map->granules.size - here);
}

uint64_t tide_mend_end(const struct tide_logmap *map, uint32_t broker,
                       const struct tide_layout_slot *slot, uint64_t before)
{
    if ((slot->flags & TIDE_LAYOUT_REF) != 0)
        return before;
    return tide_mend_start(map, broker, slot, before) +
           tide_align_up(slot->size, TIDE_LAYOUT_GRANULE) / TIDE_LAYOUT_GRANULE;
}

bool tide_mend_is_pad(const struct tide_logmap *map, const struct tide_layout_slot *slot,
                      uint64_t index, uint64_t before)
{
    return (slot->flags & ~(uint32_t)TIDE_LAYOUT_KEPT) == TIDE_LAYOUT_PAD && slot->index == index &&
           tide_mend_is_end(map, slot, before);
}

uint64_t tide_mend_free_to(const struct tide_logmap *map, uint32_t broker, uint64_t slot,
                           uint64_t granule, uint64_t end)
{
    const struct tide_layout_slot *last = tide_logmap_slot(map, broker, slot - 1);
    struct tide_layout_slot next;
    granule = tide_max(granule, last->end);
    if (last->size != 0 || !tide_ring_copy(map, broker, slot, &next) || next.flags != 0)
        return granule;
    uint64_t start = tide_mend_start(map, broker, &next, granule);
    return start <= end ? start : granule;
}
