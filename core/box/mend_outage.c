/* mend_outage.c - what is left on a medium when the machine stopped; see mend.h */
#include "box/crc.h"
#include "box/mend.h"
#include "box/plot.h"
#include "box/vmem.h"

/* A broker's slots that are kept: [from, to), and their granules. */
struct outage_ring {
    uint64_t from, to, start, end;
};

struct outage {
    const struct tide_logmap *map;
    uint64_t *live; /* a bit per slot */
    size_t bytes;
    uint64_t durable;     /* places below: what the mark says */
    uint64_t first, next; /* places that are kept */
    uint64_t base;        /* of the first one */
    uint64_t next_base;
    struct outage_ring ring[TIDE_LAYOUT_BROKERS];
};

static uint64_t outage_get(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static void outage_set(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

static bool outage_is_live(const struct outage *self, uint32_t broker, uint64_t slot)
{
    uint64_t position = tide_logmap_at(&self->map->slots, slot);
    return (self->live[broker * self->map->retired_words + position / 64] >> position % 64 & 1) !=
           0;
}

static void outage_mark_live(const struct outage *self, uint32_t broker, uint64_t slot)
{
    uint64_t position = tide_logmap_at(&self->map->slots, slot);
    self->live[broker * self->map->retired_words + position / 64] |= UINT64_C(1) << position % 64;
}

/* --- is a batch whole? --------------------------------------------------------------------- */

/* The entry and the slot tell the same: neither was being written. */
static bool outage_agree(const struct tide_layout_entry *entry, const struct tide_layout_slot *slot)
{
    return outage_get(&slot->publish) == entry->slot && slot->index == entry->slot &&
           slot->offset == entry->offset && slot->size == entry->size &&
           slot->count == entry->count && slot->number == entry->number &&
           slot->client == entry->client && slot->epoch == entry->epoch &&
           slot->checksum == entry->checksum && slot->flags == entry->flags &&
           (slot->flags & TIDE_LAYOUT_PAD) == 0;
}

/* A batch by reference: its block is in a segment of a heap in the region, if that got to the
 * medium, and takes no granules. */
static bool outage_block(const struct tide_logmap *map, const struct tide_layout_slot *slot,
                         uint64_t *start)
{
    uint64_t at = slot->offset + (uintptr_t)map->base - (uintptr_t)map->area;
    *start = slot->end;
    if (at >= map->area_size || slot->size > map->area_size - at)
        return false;
    const struct tide_plot_entry *entry = (const void *)(map->area + TIDE_PLOT_AT);
    uint64_t state = outage_get(&entry[at / TIDE_REGION_SEGMENT].word) & 0xff;
    return state == TIDE_REGION_HEAP || state == TIDE_REGION_RUN;
}

/* The granules of a slot; false when its payload is not in its broker's ring. */
static bool outage_granules(const struct tide_logmap *map, uint32_t broker,
                            const struct tide_layout_slot *slot, uint64_t *start)
{
    if (slot->flags & TIDE_LAYOUT_REF)
        return outage_block(map, slot, start);
    uint64_t ring = map->granules.size * TIDE_LAYOUT_GRANULE;
    uint64_t base = (uint64_t)(map->payload - map->base) + broker * ring;
    if (slot->offset < base || slot->offset >= base + ring ||
        slot->offset % TIDE_LAYOUT_GRANULE != 0 || slot->size > base + ring - slot->offset)
        return false;
    uint64_t at = (slot->offset - base) / TIDE_LAYOUT_GRANULE;
    uint64_t past = tide_logmap_at(&map->granules, slot->end - at % map->granules.size);
    *start = slot->end - (past != 0 ? past : map->granules.size);
    return (slot->end - *start) * TIDE_LAYOUT_GRANULE >= slot->size &&
           slot->end - *start <= map->granules.size / 4;
}

/* With this slot the ring's slots and granules still fit into it, once each. */
static bool outage_fits(const struct outage *self, uint32_t broker, uint64_t slot, uint64_t start,
                        uint64_t end, struct outage_ring *ring)
{
    const struct tide_logmap *map = self->map;
    *ring = self->ring[broker];
    if (ring->from == ring->to)
        *ring = (struct outage_ring){slot, slot + 1, start, end};
    if ((slot < ring->from && end > ring->start) || (slot >= ring->to && start < ring->end))
        return false;
    ring->from = slot < ring->from ? slot : ring->from;
    ring->to = slot >= ring->to ? slot + 1 : ring->to;
    ring->start = start < ring->start ? start : ring->start;
    ring->end = end > ring->end ? end : ring->end;
    return ring->to - ring->from <= map->slots.size &&
           ring->end - ring->start <= map->granules.size;
}

/* The batch at this place is whole: an entry, its slot, and a payload that fit together. */
static bool outage_is_whole(const struct outage *self, const struct tide_layout_entry *entry,
                            struct outage_ring *ring)
{
    const struct tide_logmap *map = self->map;
    struct tide_layout_slot slot;
    uint64_t start;
    if (entry->broker >= map->brokers || entry->slot <= map->first)
        return false;
    tide_layout_words(&slot, tide_logmap_slot(map, entry->broker, entry->slot), sizeof slot);
    return !outage_is_live(self, entry->broker, entry->slot) && outage_agree(entry, &slot) &&
           outage_granules(map, entry->broker, &slot, &start) &&
           outage_fits(self, entry->broker, entry->slot, start, slot.end, ring) &&
           tide_crc(0, map->base + (ptrdiff_t)slot.offset, slot.size) == slot.checksum;
}

/* Level 4: it is the one that its client's session expects, and that goes on behind it. */
static bool outage_is_next(const struct tide_logmap *map, const struct tide_layout_entry *entry)
{
    return map->level != 4 || (entry->client < map->sessions &&
                               outage_get(&map->session[entry->client].expected) == entry->number);
}

static void outage_go_on(const struct tide_logmap *map, const struct tide_layout_entry *entry)
{
    if (map->level != 4)
        return;
    struct tide_layout_session *session = &map->session[entry->client];
    outage_set(&session->expected, entry->number + 1);
    outage_set(&session->epoch, tide_max(outage_get(&session->epoch), entry->epoch));
}

/* Sessions are where they were when so many places were durable. A pair that says more is of a
 * sync that came to no end. */
static void outage_set_sessions(const struct tide_logmap *map, uint64_t durable)
{
    for (uint32_t i = 0; i < map->sessions; i++) {
        struct tide_layout_session *session = &map->session[i];
        outage_set(&session->expected, outage_get(&tide_logmap_lasting(map, i, durable)->expected));
        for (int k = 0; k < 2; k++)
            if (outage_get(&session->lasting[k].places) > durable)
                outage_set(&session->lasting[k].places, 0);
        outage_set(&session->state, TIDE_LAYOUT_ACTIVE);
        outage_set(&session->placing, 0);
        outage_set(&session->trimmed, 0);
    }
}

/* Adds the place below those that are kept, or the one behind them. */
static bool outage_keep(struct outage *self, uint64_t place, bool below)
{
    struct tide_layout_entry entry;
    struct outage_ring ring;
    if (!tide_order_copy(self->map, place, &entry) || !outage_is_whole(self, &entry, &ring))
        return false;
    if (!below && !outage_is_next(self->map, &entry))
        return false;
    uint64_t behind = entry.base + entry.count;
    /* Numbers of messages only grow: an entry of another lap, half written, has another one. */
    if (below ? behind != self->base : entry.base != self->next_base)
        return false;
    *(below ? &self->base : &self->next_base) = below ? entry.base : behind;
    self->ring[entry.broker] = ring;
    outage_mark_live(self, entry.broker, entry.slot);
    if (!below)
        outage_go_on(self->map, &entry);
    *(below ? &self->first : &self->next) += below ? UINT64_MAX : 1;
    return true;
}

/* From the durable places down, as far as they were not written over; then up. What was trimmed
 * beyond what is durable is not trimmed any more, it is lost. */
static int outage_walk(struct outage *self, const struct tide_mend_mark *mark,
                       struct tide_layout_fault *fault)
{
    const struct tide_logmap *map = self->map;
    uint64_t trimmed = outage_get(&map->head->trimmed_place), end = mark->durable;
    uint64_t least = trimmed > mark->kept && trimmed <= end ? trimmed : mark->kept;
    self->first = self->next = end;
    self->base = self->next_base = mark->base;
    while (self->first > least && outage_keep(self, self->first - 1, true))
        ;
    /* An entry is written over by one of a higher place only. */
    if (self->first == end && least < end &&
        outage_get(&tide_logmap_entry(map, end - 1)->seq) < end) {
        *fault =
            (struct tide_layout_fault){"the last of so many durable batches is lost", end, 1, 0};
        return -EUCLEAN;
    }
    while (self->next - self->first < map->entries.size && outage_keep(self, self->next, false))
        ;
    return 0;
}

/* --- as if it had been killed ---------------------------------------------------------------- */

static void outage_set_ring(const struct outage *self, uint32_t number)
{
    const struct tide_logmap *map = self->map;
    struct tide_layout_broker *broker = &map->broker[number];
    struct outage_ring ring = self->ring[number];
    if (ring.from == ring.to) {
        uint64_t slot = outage_get(&broker->released_slot);
        ring.from = ring.to = slot > map->first ? slot : map->first + 1;
        ring.start = ring.end = outage_get(&broker->released_granule);
    }
    for (uint64_t i = 0; i < map->slots.size; i++)
        if (!outage_is_live(self, number, i))
            outage_set(&tide_logmap_slot(map, number, i)->publish, 0);
    outage_set(&broker->claim, ring.to << 32 | (uint32_t)ring.end);
    outage_set(&broker->releasing, ring.from);
    outage_set(&broker->retiring, 0);
    outage_set(&broker->released_granule, ring.start);
    outage_set(&broker->released_slot, ring.from);
    for (uint64_t i = 0; i < map->retired_words; i++)
        outage_set(&map->retired[number * map->retired_words + i], 0);
}

static void outage_set_all(const struct outage *self)
{
    const struct tide_logmap *map = self->map;
    /* After another outage it is still to be seen that what was durable there was written over:
     * no entry gets a word below that. Places below the first one are not looked at. */
    for (uint64_t i = 0; i < map->entries.size; i++)
        if (outage_get(&map->index[i].seq) > self->next)
            outage_set(&map->index[i].seq, self->durable);
    for (uint32_t i = 0; i < map->brokers; i++) {
        outage_set_ring(self, i);
        TIDE_CRASH_POINT(outage_ring);
    }
    outage_set(&map->head->trimmed_base, self->base);
    outage_set(&map->head->trimmed_place, self->first);
    outage_set(&map->head->committed, self->next);
    TIDE_CRASH_POINT(outage_set);
}

int tide_mend_outage(const struct tide_logmap *map, const struct tide_mend_mark *mark,
                     struct tide_layout_fault *fault)
{
    struct outage self = {.map = map, .durable = mark->durable};
    if (map->level == 0 || !map->checksum) {
        *fault = (struct tide_layout_fault){
            "the machine stopped; what is whole is known of a log with checksums at levels 4 and 5,"
            " and not of one at level",
            map->level, 1, 0};
        return -EUCLEAN;
    }
    self.bytes =
        tide_align_up(map->brokers * map->retired_words * sizeof *self.live, tide_vmem_page_size());
    if ((self.live = tide_vmem_map(self.bytes)) == NULL)
        return -ENOMEM;
    outage_set_sessions(map, mark->durable);
    int error = outage_walk(&self, mark, fault);
    TIDE_CRASH_POINT(outage_walked);
    if (error == 0)
        outage_set_all(&self);
    tide_vmem_unmap(self.live, self.bytes);
    return error;
}
