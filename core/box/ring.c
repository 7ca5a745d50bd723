/* ring.c - see ring.h */
#include "box/ring.h"

TIDE_INTO uint32_t tide_ring_most(const struct tide_logmap *map)
{
    return map->batch_most;
}

/* The first granule of a run of `count` that does not cross the ring's end. */
static uint64_t ring_contiguous(const struct tide_logmap_ring *ring, uint64_t granule,
                                uint64_t count)
{
    uint64_t left = ring->size - tide_logmap_at(ring, granule);
    return left < count ? granule + left : granule;
}

uint64_t tide_ring_kept(const struct tide_logmap *map)
{
    return tide_max(map->slots.size / 8, 1);
}

struct ring_room {
    uint64_t slots, granules;
};

static struct ring_room ring_room(const struct tide_logmap *map, enum tide_ring_share share)
{
    uint64_t slots = map->slots.size, granules = map->granules.size;
    if (TIDE_LIKELY(share == TIDE_RING_ALL))
        return (struct ring_room){slots, granules};
    if (share == TIDE_RING_MOST)
        return (struct ring_room){slots - tide_ring_kept(map), granules - granules / 4};
    return (struct ring_room){slots / 2, granules / 2};
}

/* What would be claimed if the claim word is `word`; false when there is no room. What is
 * released is read after the word, so the word is never behind it unless it is an old one:
 * then the differences are great, and the ring looks full. */
TIDE_INLINE bool ring_try(const struct tide_logmap *map, const struct tide_layout_broker *broker,
                          uint64_t word, struct ring_room room, struct tide_ring_claim *claim)
{
    uint64_t slot = tide_coh_get(map->coh, &broker->released_slot);
    uint64_t granule = tide_coh_get(map->coh, &broker->released_granule);
    claim->slot = tide_layout_widen((uint32_t)(word >> 32), slot);
    claim->granule = ring_contiguous(&map->granules, tide_layout_widen((uint32_t)word, granule),
                                     claim->granules);
    claim->end = claim->granule + claim->granules;
    return claim->slot - slot < room.slots && claim->end - granule <= room.granules;
}

static uint64_t ring_granules(uint32_t bytes)
{
    return (bytes + TIDE_LAYOUT_GRANULE - 1) / TIDE_LAYOUT_GRANULE;
}

bool tide_ring_fits(const struct tide_logmap *map, uint32_t number, uint32_t bytes,
                    enum tide_ring_share share)
{
    struct tide_ring_claim claim = {.granules = ring_granules(bytes)};
    const struct tide_layout_broker *broker = &map->broker[number];
    return ring_try(map, broker, tide_coh_get(map->coh, &broker->claim), ring_room(map, share),
                    &claim);
}

/* The claim that was tried, said beforehand; false: the word is another one by now. */
TIDE_INLINE bool ring_win(const struct tide_logmap *map, struct tide_layout_broker *broker,
                          uint64_t *word, _Atomic uint64_t *note,
                          const struct tide_ring_claim *claim)
{
    atomic_store_explicit(note, (uint64_t)claim->broker << 32 | (uint32_t)claim->slot,
                          memory_order_relaxed);
    return tide_coh_win(map->coh, &broker->claim, word,
                        (claim->slot + 1) << 32 | (uint32_t)claim->end);
}

/* When the first try failed, which is told by `lost`: to another producer, or for want of room. */
TIDE_NOINLINE static bool ring_claim_on(const struct tide_logmap *map, enum tide_ring_share share,
                                        _Atomic uint64_t *note, struct tide_ring_claim *claim)
{
    struct tide_layout_broker *broker = &map->broker[claim->broker];
    struct ring_room room = ring_room(map, share);
    uint64_t word = tide_coh_get(map->coh, &broker->claim);
    do {
        while (!ring_try(map, broker, word, room, claim)) {
            uint64_t now = tide_coh_get(map->coh, &broker->claim);
            if (now == word)
                return false;
            word = now;
        }
    } while (!ring_win(map, broker, &word, note, claim) && ++claim->lost != 0);
    return true;
}

TIDE_INTO bool tide_ring_claim(const struct tide_logmap *map, uint32_t number, uint32_t bytes,
                               enum tide_ring_share share, _Atomic uint64_t *note,
                               struct tide_ring_claim *claim)
{
    struct tide_layout_broker *broker = &map->broker[number];
    struct tide_ring_claim at = {.granules = ring_granules(bytes), .broker = number};
    uint64_t word = tide_coh_get(map->coh, &broker->claim);
    bool fits = ring_try(map, broker, word, ring_room(map, share), &at);
    if (TIDE_UNLIKELY(!fits || !ring_win(map, broker, &word, note, &at))) {
        struct tide_ring_claim other = at; /* so that `at` stays in registers */
        other.lost = fits;
        if (!ring_claim_on(map, share, note, &other))
            return false;
        at = other;
    }
    TIDE_CRASH_POINT(ring_claimed);
    at.room = (uint32_t)(at.granules * TIDE_LAYOUT_GRANULE);
    at.payload =
        map->payload + (number * map->granules.size + tide_logmap_at(&map->granules, at.granule)) *
                           TIDE_LAYOUT_GRANULE;
    *claim = at;
    return true;
}

TIDE_INTO void tide_ring_publish(const struct tide_logmap *map, const struct tide_ring_claim *claim,
                                 const struct tide_ring_batch *batch, uint32_t checksum)
{
    struct tide_layout_slot *slot = tide_logmap_slot(map, claim->broker, claim->slot);
    slot->index = claim->slot;
    slot->number = batch->number;
    slot->client = batch->client;
    slot->epoch = batch->epoch;
    slot->count = batch->count;
    slot->flags = batch->flags;
    slot->keeper = batch->keeper;
    slot->offset = (uint64_t)(claim->payload - map->base);
    slot->end = claim->end;
    slot->size = batch->size;
    slot->checksum = checksum;
    tide_coh_wrote(TIDE_COH_COHERENT, claim->payload, batch->size);
    tide_coh_wrote(TIDE_COH_COHERENT, slot, sizeof *slot);
    tide_coh_drain(TIDE_COH_COHERENT);
    TIDE_CRASH_POINT(ring_written);
    tide_coh_set(map->coh, &slot->publish, claim->slot);
    TIDE_CRASH_POINT(ring_published);
}

struct tide_ring_head tide_ring_head(const struct tide_logmap *map, uint32_t number)
{
    const struct tide_layout_broker *broker = &map->broker[number];
    uint64_t word = tide_coh_get(map->coh, &broker->claim);
    /* `released` may have gone on since: near it is enough, on either side. */
    uint64_t slot = tide_coh_get(map->coh, &broker->released_slot) - map->slots.size - 1;
    uint64_t granule = tide_coh_get(map->coh, &broker->released_granule) - 2 * map->granules.size;
    return (struct tide_ring_head){tide_layout_widen((uint32_t)(word >> 32), slot),
                                   tide_layout_widen((uint32_t)word, granule)};
}
