/* audit_slots.c - see audit.h; the rings of the brokers */
#include "box/audit.h"

/* A ring while it is gone through, slot by slot. */
struct audit_ring {
    struct tide_peek_broker broker;
    uint64_t granule; /* behind the last slot's */
    bool known;       /* that is; not behind a claim that is open */
    uint32_t number;
};

/* --- one slot ----------------------------------------------------------------------- */

/* Where its payload begins, as an absolute granule. */
static uint64_t audit_granule(const struct tide_logmap *map, uint32_t broker,
                              const struct tide_layout_slot *slot)
{
    uint64_t ring =
        (uint64_t)(map->payload - map->base) + broker * map->granules.size * TIDE_LAYOUT_GRANULE;
    uint64_t position = (slot->offset - ring) / TIDE_LAYOUT_GRANULE;
    uint64_t end = tide_logmap_at(&map->granules, slot->end);
    uint64_t length = (end + map->granules.size - position % map->granules.size);
    length = tide_logmap_at(&map->granules, length);
    return slot->end - (length != 0 ? length : map->granules.size);
}

/* Its payload comes behind that of the slot before it, and does not cross the ring's end. */
static void audit_granules(struct tide_audit *self, struct audit_ring *ring,
                           const struct tide_layout_slot *slot)
{
    const struct tide_logmap *map = &self->peek->map;
    uint64_t bytes = map->granules.size * TIDE_LAYOUT_GRANULE;
    uint64_t first = (uint64_t)(map->payload - map->base) + ring->number * bytes;
    if ((slot->flags & TIDE_LAYOUT_REF) != 0) { /* has none of the ring's */
        if (ring->known)
            tide_audit_within(self, "granules", "end of its payload in granules", slot->end,
                              ring->granule, ring->granule);
        tide_audit_within(self, "retire-use", "mark of the head",
                          tide_coh_get(map->coh, &map->head->referred), 1, 1);
        return;
    }
    if ((slot->flags & TIDE_LAYOUT_KEPT) != 0 ||
        ((slot->flags & TIDE_LAYOUT_PAD) != 0 && slot->end == ring->granule)) {
        ring->known = false; /* repair made it of a claim of nobody knows what size */
        return;
    }
    if (!tide_audit_within(self, "granules", "offset of its payload", slot->offset, first,
                           first + bytes - 1) ||
        !tide_audit_within(self, "granules", "bytes of its payload off a granule's start",
                           slot->offset % TIDE_LAYOUT_GRANULE, 0, 0) ||
        !tide_audit_within(self, "granules", "end of its payload in granules", slot->end,
                           ring->broker.released_granule + 1, ring->broker.claimed_granule))
        return;
    uint64_t start = audit_granule(map, ring->number, slot), length = slot->end - start;
    uint64_t least =
        tide_max((slot->size + (uint64_t)TIDE_LAYOUT_GRANULE - 1) / TIDE_LAYOUT_GRANULE, 1);
    uint64_t left = map->granules.size - tide_logmap_at(&map->granules, ring->granule);
    uint64_t next = left < length ? ring->granule + left : ring->granule;
    if (tide_audit_within(self, "granules", "granules of its payload", length, least,
                          map->granules.size / 4) &&
        ring->known)
        tide_audit_within(self, "granules", "first granule of its payload", start, next, next);
    ring->granule = slot->end;
    ring->known = true;
}

/* Level 4: it waits for batches of its client before it. */
static bool audit_is_held(const struct tide_logmap *map, uint32_t broker,
                          const struct tide_layout_slot *slot)
{
    if (map->level != 4 || slot->client >= map->sessions)
        return false;
    struct tide_layout_hold hold;
    tide_peek_words(&hold,
                    &map->hold[(uint64_t)slot->client * map->window + slot->number % map->window],
                    sizeof hold);
    return hold.number == slot->number + 1 &&
           hold.ref == tide_layout_ref(broker, tide_logmap_at(&map->slots, slot->index));
}

/* A published slot without an entry was dropped, or waits for something. */
static void audit_unplaced(struct tide_audit *self, const struct audit_ring *ring, uint64_t index,
                           const struct tide_layout_slot *slot, bool retired)
{
    const struct tide_logmap *map = &self->peek->map;
    bool waits = map->stepped && index - ring->broker.scanned < map->slots.size;
    if (retired || waits || audit_is_held(map, ring->number, slot))
        return;
    self->at.low = 1;
    self->at.high = 0;
    tide_audit_say(self, "slot-unplaced", "is published, and has no place", !self->closed);
}

static void audit_open(struct tide_audit *self, struct audit_ring *ring, uint64_t index,
                       uint64_t publish)
{
    const struct tide_logmap *map = &self->peek->map;
    ring->known = false;
    if (publish != 0 &&
        !tide_audit_within(self, "slot-publish", "slots since it was published last",
                           (index - publish) % map->slots.size, 0, 0))
        return;
    if (publish != 0 && !tide_audit_within(self, "slot-publish", "index that it is published with",
                                           publish, map->first + 1, index))
        return;
    self->at.low = 1;
    self->at.high = 0;
    tide_audit_say(self, "slot-open", "was claimed, and neither committed nor aborted",
                   !self->closed);
}

static void audit_slot(struct tide_audit *self, struct audit_ring *ring, uint64_t index)
{
    const struct tide_logmap *map = &self->peek->map;
    struct tide_layout_slot slot;
    uint64_t position = tide_logmap_at(&map->slots, index);
    self->at.where = TIDE_AUDIT_SLOT;
    self->at.table = ring->number;
    self->at.position = index;
    if (!tide_peek_slot(self->peek, ring->number, index, &slot)) {
        audit_open(self, ring, index, atomic_load(&slot.publish));
        return;
    }
    audit_granules(self, ring, &slot);
    tide_audit_within(self, "slot-index", "index", slot.index, index, index);
    tide_audit_within(self, "slot-flags", "flags", slot.flags & ~TIDE_LAYOUT_KEPT, 0,
                      TIDE_LAYOUT_REF);
    bool pad = (slot.flags & TIDE_LAYOUT_PAD) != 0;
    tide_audit_within(self, "slot-count", "messages", slot.count, pad ? 0 : 1,
                      pad ? 0 : UINT32_MAX);
    if (map->level == 0)
        return;
    uint64_t word = tide_coh_get(map->coh, tide_logmap_retired(map, ring->number, position));
    if (self->place[ring->number * map->slots.size + position] == 0)
        audit_unplaced(self, ring, index, &slot, (word >> position % 64 & 1) != 0);
}

/* --- a ring --------------------------------------------------------------------------- */

/* What is free is not marked, and says nothing about the future. */
static void audit_free(struct tide_audit *self, const struct audit_ring *ring)
{
    const struct tide_logmap *map = &self->peek->map;
    uint64_t used = ring->broker.claimed - ring->broker.released;
    self->at.where = TIDE_AUDIT_SLOT;
    for (uint64_t i = used; i < map->slots.size; i++) {
        uint64_t index = ring->broker.released + i;
        uint64_t position = tide_logmap_at(&map->slots, index);
        const struct tide_layout_slot *slot = tide_logmap_slot(map, ring->number, index);
        uint64_t publish = tide_coh_get(map->coh, &slot->publish);
        self->at.position = index;
        if (publish != 0)
            tide_audit_within(self, "slot-publish", "index that a free slot is published with",
                              publish, map->first + 1, ring->broker.released - 1);
        if (map->level != 0)
            tide_audit_within(
                self, "slot-retired", "a free slot's mark of being done with",
                tide_coh_get(map->coh, tide_logmap_retired(map, ring->number, position)) >>
                        position % 64 &
                    1,
                0, 0);
    }
}

static bool audit_broker(struct tide_audit *self, struct audit_ring *ring)
{
    const struct tide_logmap *map = &self->peek->map;
    const struct tide_peek_broker *broker = &ring->broker;
    const char *word = "broker-order";
    bool stepped = map->stepped && map->level != 0;
    uint64_t releasing = tide_coh_get(map->coh, &map->broker[ring->number].releasing);
    self->at.where = TIDE_AUDIT_BROKER;
    if (tide_coh_get(map->coh, &map->broker[ring->number].retiring) != 0) {
        self->at.low = 1;
        self->at.high = 0;
        tide_audit_say(self, "retire-order", "blocks were about to go home", !self->closed);
    }
    return tide_audit_within(self, word, "first slot that is not released", broker->released,
                             map->first + 1, map->first + INT64_MAX) &&
           tide_audit_within(self, word, "slots claimed and not released",
                             broker->claimed - broker->released, 0, map->slots.size) &&
           tide_audit_within(self, word, "first granule that is not released",
                             broker->released_granule, map->first, map->first + INT64_MAX) &&
           tide_audit_within(self, word, "granules claimed and not released",
                             broker->claimed_granule - broker->released_granule, 0,
                             map->granules.size) &&
           tide_audit_within(self, word, "first slot that the sequencer did not see",
                             broker->scanned, stepped ? broker->released : map->first + 1,
                             broker->claimed) &&
           tide_audit_within(self, word, "first slot that is not about to be released", releasing,
                             broker->released, broker->claimed);
}

/* Level 0: the batches themselves. */
static void audit_batches(struct tide_audit *self, uint32_t number)
{
    struct tide_layout_entry entry;
    uint64_t end = tide_peek_end(self->peek, number), seen = 0;
    uint64_t position = tide_peek_earliest(self->peek, number);
    self->at.table = number;
    while ((int64_t)(end - position) > 0 && seen++ < 2 * self->peek->map.slots.size) {
        enum tide_peek_found found = tide_peek_batch(self->peek, number, position, &entry);
        self->at.where = TIDE_AUDIT_SLOT;
        self->at.position = position;
        bool gone = found == TIDE_PEEK_GONE;
        if (found == TIDE_PEEK_THERE && (entry.flags & TIDE_LAYOUT_PAD) == 0) {
            self->at.where = TIDE_AUDIT_SLOT;
            gone = !tide_audit_payload(self, position, &entry);
        }
        position = gone ? tide_peek_earliest(self->peek, number) : position + 1;
    }
}

void tide_audit_slots(struct tide_audit *self)
{
    const struct tide_logmap *map = &self->peek->map;
    for (uint32_t i = 0; i < map->brokers; i++) {
        struct audit_ring ring = {.known = true, .number = i};
        if (map->level == 0)
            audit_batches(self, i);
        if (self->live)
            continue;
        tide_peek_broker(self->peek, i, &ring.broker);
        ring.granule = ring.broker.released_granule;
        self->at.table = i;
        if (!audit_broker(self, &ring))
            continue;
        for (uint64_t at = ring.broker.released; at != ring.broker.claimed; at++)
            audit_slot(self, &ring, at);
        self->at.where = TIDE_AUDIT_BROKER;
        if (ring.known)
            tide_audit_within(self, "granules", "next granule", ring.broker.claimed_granule,
                              ring.granule, ring.granule);
        audit_free(self, &ring);
    }
}
