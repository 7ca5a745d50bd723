/* peek.c - see peek.h */
#include "box/peek.h"

#include "box/crc.h"

bool tide_peek_open(struct tide_peek *self, const void *base, uint64_t size,
                    struct tide_layout_fault *fault)
{
    /* The view is made for those who write, too; of what is called here nobody does. */
    return tide_logmap_open(&self->map, (void *)(uintptr_t)base, size, fault);
}

void tide_peek_region(struct tide_peek *self, const void *base, uint64_t size)
{
    self->map.area = (void *)(uintptr_t)base;
    self->map.area_size = size;
}

__attribute__((no_sanitize("thread"))) void tide_peek_words(void *to, const void *from, size_t size)
{
    volatile unsigned char *out = to;
    const volatile unsigned char *in = from;
    bool even = ((uintptr_t)to | (uintptr_t)from) % 8 == 0;
    for (; even && size >= 8; size -= 8, out += 8, in += 8)
        *(volatile uint64_t *)(volatile void *)out =
            *(const volatile uint64_t *)(const volatile void *)in;
    for (; size > 0; size--)
        *out++ = *in++;
}

void tide_peek_head(const struct tide_peek *self, struct tide_peek_head *out)
{
    const struct tide_logmap *map = &self->map;
    struct tide_layout_head *head = map->head;
    struct tide_order_place next = tide_order_head(map);
    *out = (struct tide_peek_head){
        .trimmed = tide_coh_get(map->coh, &head->trimmed_place),
        .trimmed_base = tide_coh_get(map->coh, &head->trimmed_base),
        .committed = tide_coh_get(map->coh, &head->committed),
        .taken = next.place,
        .messages = next.base,
        .epoch = tide_coh_get(map->coh, &head->epoch),
        .trimmer = tide_coh_get(map->coh, &head->trimmer),
        .contention = tide_coh_get(map->coh, &head->contention),
        .reclaimed = tide_coh_get(map->coh, &head->reclaimed),
        .retired = tide_coh_get(map->coh, &head->retired),
    };
}

void tide_peek_broker(const struct tide_peek *self, uint32_t number, struct tide_peek_broker *out)
{
    const struct tide_logmap *map = &self->map;
    struct tide_layout_broker *broker = &map->broker[number];
    struct tide_ring_head head = tide_ring_head(map, number);
    *out = (struct tide_peek_broker){
        .released = tide_coh_get(map->coh, &broker->released_slot),
        .claimed = head.slot,
        .scanned = tide_coh_get(map->coh, &broker->scanned),
        .released_granule = tide_coh_get(map->coh, &broker->released_granule),
        .claimed_granule = head.granule,
        .scanner = tide_coh_get(map->coh, &broker->scanner),
    };
}

/* --- positions ---------------------------------------------------------------------- */

uint64_t tide_peek_earliest(const struct tide_peek *self, uint32_t broker)
{
    return tide_trim_earliest(&self->map, broker);
}

static bool peek_is_there(const struct tide_logmap *map, uint32_t broker, uint64_t position)
{
    return map->level != 0 ? tide_order_see(map, position) != NULL
                           : tide_ring_see(map, broker, position) != NULL;
}

uint64_t tide_peek_end(const struct tide_peek *self, uint32_t broker)
{
    const struct tide_logmap *map = &self->map;
    uint64_t most = map->level != 0 ? map->entries.size : map->slots.size, count = 0;
    uint64_t from = tide_peek_earliest(self, broker);
    if (map->level != 0)
        count = tide_coh_get(map->coh, &map->head->committed) - from;
    if (count > most)
        count = (int64_t)count < 0 ? 0 : most;
    while (count < most && peek_is_there(map, broker, from + count))
        count++;
    return from + count;
}

static bool peek_is_gone(const struct tide_peek *self, uint32_t broker, uint64_t position)
{
    return (int64_t)(position - tide_peek_earliest(self, broker)) < 0;
}

/* --- batches ------------------------------------------------------------------------ */

bool tide_peek_slot(const struct tide_peek *self, uint32_t broker, uint64_t index,
                    struct tide_layout_slot *out)
{
    const struct tide_logmap *map = &self->map;
    const struct tide_layout_slot *slot = tide_logmap_slot(map, broker, index);
    uint64_t before = tide_coh_get(map->coh, &slot->publish);
    tide_peek_words(out, slot, sizeof *out);
    tide_coh_copied();
    return before == index && tide_coh_get(map->coh, &slot->publish) == index;
}

static bool peek_entry(const struct tide_logmap *map, uint64_t place, struct tide_layout_entry *out)
{
    const struct tide_layout_entry *entry = tide_logmap_entry(map, place);
    uint64_t before = tide_coh_get(map->coh, &entry->seq);
    tide_peek_words(out, entry, sizeof *out);
    tide_coh_copied();
    return before == place + 1 && tide_coh_get(map->coh, &entry->seq) == place + 1;
}

static bool peek_slot_as_entry(const struct tide_peek *self, uint32_t broker, uint64_t index,
                               struct tide_layout_entry *out)
{
    struct tide_layout_slot slot;
    bool there = tide_peek_slot(self, broker, index, &slot);
    *out = (struct tide_layout_entry){
        .slot = slot.index,
        .offset = slot.offset,
        .base = UINT64_MAX,
        .number = slot.number,
        .size = slot.size,
        .count = slot.count,
        .client = slot.client,
        .epoch = slot.epoch,
        .checksum = slot.checksum,
        .broker = (uint8_t)broker,
        .flags = (uint8_t)slot.flags,
    };
    return there;
}

enum tide_peek_found tide_peek_batch(const struct tide_peek *self, uint32_t broker,
                                     uint64_t position, struct tide_layout_entry *out)
{
    const struct tide_logmap *map = &self->map;
    bool there = map->level != 0 ? peek_entry(map, position, out)
                                 : peek_slot_as_entry(self, broker, position, out);
    if (peek_is_gone(self, broker, position))
        return TIDE_PEEK_GONE;
    return there ? TIDE_PEEK_THERE : TIDE_PEEK_NONE;
}

struct tide_peek_room tide_peek_room(const struct tide_peek *self,
                                     const struct tide_layout_entry *entry)
{
    const struct tide_logmap *map = &self->map;
    uint64_t first = (uint64_t)(map->payload - map->base);
    if ((entry->flags & TIDE_LAYOUT_REF) != 0)
        return (struct tide_peek_room){(uintptr_t)map->area - (uintptr_t)map->base, map->area_size,
                                       map->area_size};
    return (struct tide_peek_room){first, map->size - first, tide_ring_most(map)};
}

bool tide_peek_inside(const struct tide_peek *self, const struct tide_layout_entry *entry)
{
    struct tide_peek_room room = tide_peek_room(self, entry);
    uint64_t at = entry->offset - room.first;
    return at <= room.bytes && entry->size <= room.bytes - at && entry->size <= room.most;
}

enum tide_peek_found tide_peek_payload(const struct tide_peek *self, uint32_t broker,
                                       uint64_t position, const struct tide_layout_entry *entry,
                                       void *to)
{
    const struct tide_logmap *map = &self->map;
    bool inside = tide_peek_inside(self, entry);
    if (inside)
        tide_peek_words(to, map->base + (ptrdiff_t)entry->offset, entry->size);
    tide_coh_copied();
    if (peek_is_gone(self, broker, position))
        return TIDE_PEEK_GONE;
    if (!inside)
        return TIDE_PEEK_OUTSIDE;
    if (map->checksum && tide_crc(0, to, entry->size) != entry->checksum)
        return TIDE_PEEK_SUM;
    return TIDE_PEEK_THERE;
}
