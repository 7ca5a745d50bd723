/* broker.c - see broker.h */
#include "box/broker.h"

#include "box/crc.h"
#include "box/retire.h"

bool tide_broker_open(struct tide_broker *self, const struct tide_logmap *map, uint32_t client,
                      uint64_t process, uint64_t started)
{
    for (uint32_t i = 0; i < map->producers; i++) {
        struct tide_layout_producer *entry = &map->producer[i];
        uint64_t nobody = 0;
        if (tide_coh_get(map->coh, &entry->owner) != 0 ||
            !tide_coh_win(map->coh, &entry->owner, &nobody, process))
            continue;
        entry->client = client;
        entry->started = started;
        *self = (struct tide_broker){.map = map, .entry = entry, .client = client};
        return true;
    }
    return false;
}

void tide_broker_close(struct tide_broker *self)
{
    tide_coh_set(self->map->coh, &self->entry->owner, 0);
}

TIDE_INLINE enum tide_ring_share broker_share(const struct tide_broker *self)
{
    return TIDE_LIKELY(self->map->level != 4)
               ? TIDE_RING_ALL
               : tide_session_share(self->map, self->client, self->next, self->next == self->sent);
}

enum tide_ring_share tide_broker_share(const struct tide_broker *self)
{
    return broker_share(self);
}

/* The line is the producer's own. */
static void broker_count_lost(struct tide_broker *self)
{
    _Atomic uint64_t *word = &self->entry->lost;
    uint64_t lost = atomic_load_explicit(word, memory_order_relaxed) + self->claim.lost;
    tide_coh_set(self->map->coh, word, lost);
}

bool tide_broker_claim(struct tide_broker *self, uint32_t broker, uint32_t bytes)
{
    const struct tide_logmap *map = self->map;
    do {
        enum tide_ring_share share = broker_share(self);
        if (TIDE_LIKELY(
                tide_ring_claim(map, broker, bytes, share, &self->entry->claim, &self->claim))) {
            self->claimed = true;
            if (TIDE_UNLIKELY(self->claim.lost != 0))
                broker_count_lost(self);
            return true;
        }
    } while (tide_trim_for(map, broker) != 0);
    return false;
}

/* A batch that nobody will see: its block, if it has one, stays its producer's. */
static void broker_drop(struct tide_broker *self, struct tide_layout_slot *slot)
{
    const struct tide_logmap *map = self->map;
    slot->flags &= ~(uint32_t)TIDE_LAYOUT_REF;
    tide_trim_drop(map, self->claim.broker, tide_logmap_at(&map->slots, self->claim.slot));
}

/* Inline: the committing thread gives the place itself. */
TIDE_INLINE void broker_order(struct tide_broker *self, struct tide_layout_slot *slot,
                              struct tide_broker_result *result)
{
    const struct tide_logmap *map = self->map;
    if (map->level == 4)
        result->verdict = tide_session_submit(map, self->claim.broker, slot, &result->at);
    else
        result->at = tide_order_commit(map, self->claim.broker, slot);
    result->ordered = result->verdict == TIDE_SESSION_PLACED;
    if (result->verdict == TIDE_SESSION_LATE || result->verdict == TIDE_SESSION_REFUSED)
        broker_drop(self, slot);
}

/* The payload of the claim, be it in the ring or in a block. */
TIDE_INLINE void broker_publish(struct tide_broker *self, const struct tide_ring_batch *batch,
                                struct tide_broker_result *result)
{
    const struct tide_logmap *map = self->map;
    uint32_t checksum = map->checksum ? tide_crc(0, self->claim.payload, batch->size) : 0;
    *result = (struct tide_broker_result){.number = self->next++, .slot = self->claim.slot};
    self->sent = self->next;
    tide_ring_publish(map, &self->claim, batch, checksum);
    self->claimed = false;
    if (map->level != 0 && !map->stepped)
        broker_order(self, tide_logmap_slot(map, self->claim.broker, self->claim.slot), result);
}

void tide_broker_commit(struct tide_broker *self, uint32_t count, uint32_t size,
                        struct tide_broker_result *result)
{
    struct tide_ring_batch batch = {self->next, self->client, self->epoch, count, size, 0, 0};
    broker_publish(self, &batch, result);
}

void tide_broker_commit_block(struct tide_broker *self, const struct tide_broker_block *block,
                              struct tide_broker_result *result)
{
    struct tide_ring_batch batch = {self->next,  self->client,    self->epoch,  block->count,
                                    block->size, TIDE_LAYOUT_REF, block->keeper};
    tide_retire_expect(self->map);
    self->claim.payload = block->data;
    broker_publish(self, &batch, result);
}

uint32_t tide_broker_block_most(const struct tide_logmap *map)
{
    uint64_t frames = map->brokers * map->granules.size * TIDE_LAYOUT_GRANULE / TIDE_LAYOUT_FRAME;
    return (uint32_t)((UINT32_MAX - frames) / (map->brokers * map->slots.size));
}

/* The number is used for the next batch. Whoever goes through the slots in order retires the
 * pad; inline nobody does but its producer. */
void tide_broker_abort(struct tide_broker *self)
{
    const struct tide_logmap *map = self->map;
    struct tide_ring_batch batch = {self->next, self->client, self->epoch, 0, 0, TIDE_LAYOUT_PAD,
                                    0};
    tide_ring_publish(map, &self->claim, &batch, 0);
    self->claimed = false;
    if (map->level != 0 && !map->stepped)
        tide_trim_drop(map, self->claim.broker, tide_logmap_at(&map->slots, self->claim.slot));
}
