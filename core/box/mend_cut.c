/* mend_cut.c - what is left of a log whose memory was damaged; see mend.h */
#include "box/crc.h"
#include "box/frame.h"
#include "box/mend.h"
#include "box/vmem.h"

struct cut {
    const struct tide_logmap *map;
    struct tide_mend_damage *damage;
    uint64_t *live; /* a bit per slot: a whole batch has it */
    uint64_t bad;   /* places without one */
    struct tide_order_place next;
};

/* An entry and its slot. */
struct cut_batch {
    struct tide_layout_entry entry;
    struct tide_layout_slot slot;
};

static uint64_t *cut_word(const struct cut *self, uint32_t broker, uint64_t slot)
{
    uint64_t position = tide_logmap_at(&self->map->slots, slot);
    return &self->live[broker * self->map->retired_words + position / 64];
}

static uint64_t cut_bit(const struct cut *self, uint64_t slot)
{
    return UINT64_C(1) << tide_logmap_at(&self->map->slots, slot) % 64;
}

/* --- is a batch whole? ------------------------------------------------------------------- */

static bool cut_is_inside(const struct tide_logmap *map, uint32_t broker,
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
static bool cut_has_frames(const struct tide_logmap *map, const struct tide_layout_slot *slot)
{
    const unsigned char *data = map->base + (ptrdiff_t)slot->offset;
    size_t at = 0;
    uint64_t count = 0;
    while (tide_frame_next(data, slot->size, &at) != NULL)
        count++;
    return count == slot->count && at == slot->size && count > 0;
}

static bool cut_is_whole(const struct tide_logmap *map, uint32_t broker,
                         const struct tide_layout_slot *slot)
{
    return (slot->flags & ~(uint32_t)TIDE_LAYOUT_REF) == 0 && cut_is_inside(map, broker, slot) &&
           cut_has_frames(map, slot) &&
           (!map->checksum ||
            tide_crc(0, map->base + (ptrdiff_t)slot->offset, slot->size) == slot->checksum);
}

/* The slot of this index, if there is a whole batch in it that no place has yet. */
static bool cut_has_slot(const struct cut *self, uint32_t broker, uint64_t index,
                         struct tide_layout_slot *slot)
{
    const struct tide_logmap *map = self->map;
    return broker < map->brokers && (*cut_word(self, broker, index) & cut_bit(self, index)) == 0 &&
           tide_ring_copy(map, broker, index, slot) && slot->index == index &&
           cut_is_whole(map, broker, slot);
}

/* The entry tells the same as the slot. */
static bool cut_agree(const struct cut_batch *batch)
{
    const struct tide_layout_entry *entry = &batch->entry;
    const struct tide_layout_slot *slot = &batch->slot;
    return slot->offset == entry->offset && slot->size == entry->size &&
           slot->count == entry->count && slot->number == entry->number &&
           slot->client == entry->client && slot->epoch == entry->epoch &&
           slot->checksum == entry->checksum && slot->flags == entry->flags;
}

/* --- places ------------------------------------------------------------------------------ */

static bool cut_is_good(const struct cut *self, uint64_t place, struct cut_batch *batch)
{
    return tide_order_copy(self->map, place, &batch->entry) &&
           cut_has_slot(self, batch->entry.broker, batch->entry.slot, &batch->slot) &&
           cut_agree(batch);
}

/* The one slot, if it is only one, with a batch that has no place, and was not given up. */
static bool cut_find_orphan(const struct cut *self, uint32_t *broker, struct tide_layout_slot *out)
{
    const struct tide_logmap *map = self->map;
    struct tide_layout_slot slot;
    uint64_t found = 0;
    for (uint32_t b = 0; b < map->brokers; b++) {
        uint64_t from = tide_coh_get(map->coh, &map->broker[b].released_slot);
        for (uint64_t i = 0; i < map->slots.size; i++) {
            uint64_t position = tide_logmap_at(&map->slots, from + i);
            uint64_t done = tide_coh_get(map->coh, tide_logmap_retired(map, b, position));
            if ((done >> position % 64 & 1) != 0 || !cut_has_slot(self, b, from + i, &slot))
                continue;
            *broker = b;
            *out = slot;
            found++;
        }
    }
    return found == 1;
}

/* Its own slot's, or else, when it is the only place that is damaged, that of the only slot that
 * lost its place. */
static bool cut_find_slot(const struct cut *self, uint64_t place, uint32_t *broker,
                          struct tide_layout_slot *slot)
{
    struct tide_layout_entry entry;
    tide_layout_words(&entry, tide_logmap_entry(self->map, place), sizeof entry);
    *broker = entry.broker;
    return cut_has_slot(self, entry.broker, entry.slot, slot) ||
           (self->bad == 1 && cut_find_orphan(self, broker, slot));
}

/* What is left of the batch gets no place any more. */
static void cut_give_up(struct cut *self, uint64_t place)
{
    const struct tide_logmap *map = self->map;
    struct tide_layout_entry *at = tide_logmap_entry(map, place), entry;
    tide_layout_words(&entry, at, sizeof entry);
    if (entry.broker < map->brokers &&
        (*cut_word(self, entry.broker, entry.slot) & cut_bit(self, entry.slot)) == 0)
        tide_trim_drop(map, entry.broker, tide_logmap_at(&map->slots, entry.slot));
    tide_coh_set(map->coh, &at->seq, 0);
    if (self->damage->cut++ == 0)
        tide_coh_set(map->coh, &map->head->committed, place);
}

/* The entry is valid, and a whole batch has its slot. */
static bool cut_is_live(const struct cut *self, uint64_t place, struct tide_layout_entry *entry)
{
    return tide_order_copy(self->map, place, entry) && entry->broker < self->map->brokers &&
           (*cut_word(self, entry->broker, entry->slot) & cut_bit(self, entry->slot)) != 0;
}

/* Behind a place that was given up the others get new ones, and new numbers. */
static void cut_place(struct cut *self, uint64_t place)
{
    const struct tide_logmap *map = self->map;
    struct tide_layout_slot slot;
    struct tide_layout_entry entry = {.broker = 0};
    bool live = cut_is_live(self, place, &entry);
    uint32_t broker = entry.broker;
    self->next.place = place;
    if (live && (entry.base == self->next.base || self->damage->cut != 0)) {
        self->next.base += entry.count;
        return;
    }
    /* Of one that is live only the number of its first message is wrong. */
    if (live ? !tide_ring_copy(map, broker, entry.slot, &slot)
             : !cut_find_slot(self, place, &broker, &slot)) {
        cut_give_up(self, place);
        return;
    }
    tide_order_fill(map, self->next, broker, &slot);
    *cut_word(self, broker, slot.index) |= cut_bit(self, slot.index);
    self->next.base += slot.count;
    self->damage->restored++;
}

/* The prefix goes on as far as entries are valid: readers may have been told so. */
static void cut_places(struct cut *self)
{
    const struct tide_logmap *map = self->map;
    uint64_t first = tide_coh_get(map->coh, &map->head->trimmed_place), place;
    uint64_t count = tide_coh_get(map->coh, &map->head->committed) - first;
    struct cut_batch batch;
    self->damage->head = count > map->entries.size;
    if (self->damage->head != 0)
        for (count = 0; count < map->entries.size && cut_is_good(self, first + count, &batch);)
            count++;
    else
        while (count < map->entries.size && tide_order_see(map, first + count) != NULL)
            count++;
    for (uint64_t i = 0; i < count; i++) {
        if (cut_is_good(self, first + i, &batch))
            *cut_word(self, batch.entry.broker, batch.entry.slot) |=
                cut_bit(self, batch.entry.slot);
        else
            self->bad++;
    }
    self->next.base = tide_coh_get(map->coh, &map->head->trimmed_base);
    tide_coh_set(map->coh, &map->head->committed, first + count);
    for (place = first; place < first + count; place++)
        cut_place(self, place);
}

/* --- level 0 ----------------------------------------------------------------------------- */

/* A batch that is not whole becomes a pad. */
static void cut_slots(struct cut *self, uint32_t broker)
{
    const struct tide_logmap *map = self->map;
    uint64_t from = tide_coh_get(map->coh, &map->broker[broker].released_slot);
    struct tide_layout_slot slot;
    for (uint64_t i = from; tide_ring_copy(map, broker, i, &slot) && i - from < map->slots.size;
         i++) {
        if ((slot.flags & TIDE_LAYOUT_PAD) != 0 || cut_is_whole(map, broker, &slot))
            continue;
        struct tide_layout_slot *at = tide_logmap_slot(map, broker, i);
        at->flags = TIDE_LAYOUT_PAD;
        at->count = at->size = at->checksum = 0;
        self->damage->cut++;
    }
}

/* --- both -------------------------------------------------------------------------------- */

int tide_mend_cut(const struct tide_logmap *map, struct tide_mend_damage *damage)
{
    struct cut self = {.map = map, .damage = damage};
    *damage = (struct tide_mend_damage){0, 0, 0};
    for (uint32_t i = 0; map->level == 0 && i < map->brokers; i++)
        cut_slots(&self, i);
    if (map->level == 0)
        return 0;
    size_t bytes =
        tide_align_up(map->brokers * map->retired_words * sizeof *self.live, tide_vmem_page_size());
    if ((self.live = tide_vmem_map(bytes)) == NULL)
        return -ENOMEM;
    cut_places(&self);
    tide_vmem_unmap(self.live, bytes);
    return 0;
}
