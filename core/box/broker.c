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
        entry->epoch = 0;
        entry->started = started;
        tide_coh_set(map->coh, &entry->out, 0);
        tide_coh_set(map->coh, &entry->busy, 0);
        tide_coh_set(map->coh, &entry->inside, 0);
        *self = (struct tide_broker){.map = map, .entry = entry, .client = client};
        return true;
    }
    return false;
}

void tide_broker_keep(struct tide_broker *self)
{
    uint32_t number = (uint32_t)(self->entry - self->map->producer);
    self->kept = tide_session_keep(self->map, self->client, number);
}

void tide_broker_close(struct tide_broker *self)
{
    if (self->kept != 0)
        tide_session_part(self->map, self->client, &self->kept);
    tide_coh_set(self->map->coh, &self->entry->owner, 0);
}

TIDE_INLINE enum tide_ring_share broker_share(const struct tide_broker *self)
{
    const struct tide_logmap *map = self->map;
    if (TIDE_LIKELY(map->level != 4))
        return TIDE_RING_ALL;
    return tide_session_share(map, self->client, self->next, self->next == self->sent);
}

enum tide_ring_share tide_broker_share(const struct tide_broker *self)
{
    return broker_share(self);
}

/* The line is the producer's own. */
TIDE_NOINLINE static void broker_count_lost(struct tide_broker *self, uint64_t lost)
{
    _Atomic uint64_t *word = &self->entry->lost;
    tide_coh_set(self->map->coh, word, atomic_load_explicit(word, memory_order_relaxed) + lost);
}

/* For whoever puts the log in order: this claim is somebody's. */
TIDE_NOINLINE static void broker_note(struct tide_broker *self, uint64_t mark, uint64_t end)
{
    struct tide_layout_producer *entry = self->entry;
    tide_coh_set(self->map->coh, &entry->out_end, end);
    tide_coh_set(self->map->coh, &entry->out, mark | TIDE_LAYOUT_OUT);
}

/* It is published, and has its place if it is its producer that sees to that: nothing is left to
 * do about it. */
TIDE_INLINE void broker_forget(struct tide_broker *self)
{
    if (TIDE_UNLIKELY(self->map->shared))
        tide_coh_set(self->map->coh, &self->entry->out, 0);
}

/* What is there, without freeing any. */
TIDE_INLINE bool broker_try(struct tide_broker *self, uint32_t broker, uint32_t bytes,
                            enum tide_ring_share share, struct tide_ring_claim *claim)
{
    const struct tide_logmap *map = self->map;
    if (TIDE_UNLIKELY(!tide_ring_claim(map, broker, bytes, share, &self->entry->claim, claim)))
        return false;
    if (TIDE_UNLIKELY(map->shared))
        broker_note(self, tide_layout_mark(broker, claim->slot), claim->end);
    if (TIDE_UNLIKELY(claim->lost != 0))
        broker_count_lost(self, claim->lost);
    return true;
}

TIDE_NOINLINE static bool broker_take_trimming(struct tide_broker *self, uint32_t broker,
                                               uint32_t bytes, struct tide_ring_claim *claim)
{
    const struct tide_logmap *map = self->map;
    uint64_t most = map->entries.size + map->slots.size + 1; /* there is no more to trim */
    while (most-- > 0 && tide_trim_for(map, broker) != 0)
        if (broker_try(self, broker, bytes, broker_share(self), claim))
            return true;
    return false;
}

TIDE_INTO bool tide_broker_take(struct tide_broker *self, uint32_t broker, uint32_t bytes,
                                enum tide_ring_share share, struct tide_ring_claim *claim)
{
    struct tide_ring_claim other; /* so that *claim may stay in registers */
    if (TIDE_LIKELY(broker_try(self, broker, bytes, share, claim)))
        return true;
    if (!broker_take_trimming(self, broker, bytes, &other))
        return false;
    *claim = other;
    return true;
}

bool tide_broker_claim(struct tide_broker *self, uint32_t broker, uint32_t bytes)
{
    self->claimed = tide_broker_take(self, broker, bytes, broker_share(self), &self->claim);
    return self->claimed;
}

/* A batch that nobody will see: its block, if it has one, stays its producer's. */
TIDE_NOINLINE static void broker_drop(const struct tide_logmap *map, uint32_t broker,
                                      uint64_t index)
{
    tide_logmap_slot(map, broker, index)->flags &= ~(uint32_t)TIDE_LAYOUT_REF;
    tide_trim_drop(map, broker, tide_logmap_at(&map->slots, index));
}

/* Inline: the committing thread gives the place itself. `door`: that of its session is taken. */
TIDE_INLINE void broker_order(const struct tide_broker *self, const struct tide_ring_claim *claim,
                              bool door, struct tide_broker_result *result)
{
    const struct tide_logmap *map = self->map;
    const struct tide_layout_slot *slot = tide_logmap_slot(map, claim->broker, claim->slot);
    if (door)
        result->verdict =
            tide_session_submit_in(map, self->client, self->kept, claim->broker, slot, &result->at);
    else if (map->level == 4)
        result->verdict = tide_session_submit(map, claim->broker, slot, &result->at);
    else
        result->at = tide_order_commit(map, claim->broker, slot);
    result->ordered = result->verdict == TIDE_SESSION_PLACED;
    if (TIDE_UNLIKELY(result->verdict == TIDE_SESSION_LATE ||
                      result->verdict == TIDE_SESSION_REFUSED))
        broker_drop(map, claim->broker, claim->slot);
}

/* The payload of the claim, be it in the ring or in a block. */
TIDE_INLINE void broker_publish(struct tide_broker *self, const struct tide_ring_claim *claim,
                                const struct tide_ring_batch *batch,
                                struct tide_broker_result *result)
{
    const struct tide_logmap *map = self->map;
    uint32_t checksum = map->checksum ? tide_crc(0, claim->payload, batch->size) : 0;
    result->number = self->next;
    result->slot = claim->slot;
    result->verdict = TIDE_SESSION_PLACED;
    result->ordered = false;
    self->sent = ++self->next;
    /* The door first: it need not wait for what is written then. */
    bool door =
        map->level == 4 && !map->stepped && tide_session_try(map, self->client, &self->kept);
    tide_ring_publish(map, claim, batch, checksum);
    if (map->level != 0 && !map->stepped)
        broker_order(self, claim, door, result);
    broker_forget(self);
}

TIDE_INTO void tide_broker_put(struct tide_broker *self, const struct tide_ring_claim *claim,
                               uint32_t count, uint32_t size, struct tide_broker_result *result)
{
    struct tide_ring_batch batch = {self->next, self->client, self->epoch, count, size, 0, 0};
    broker_publish(self, claim, &batch, result);
}

void tide_broker_commit(struct tide_broker *self, uint32_t count, uint32_t size,
                        struct tide_broker_result *result)
{
    tide_broker_put(self, &self->claim, count, size, result);
    self->claimed = false;
}

void tide_broker_commit_block(struct tide_broker *self, const struct tide_broker_block *block,
                              struct tide_broker_result *result)
{
    struct tide_ring_batch batch = {self->next,  self->client,    self->epoch,  block->count,
                                    block->size, TIDE_LAYOUT_REF, block->keeper};
    tide_retire_expect(self->map);
    self->claim.payload = block->data;
    broker_publish(self, &self->claim, &batch, result);
    self->claimed = false;
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
    if (map->level != 0 && !map->stepped)
        tide_trim_drop(map, self->claim.broker, tide_logmap_at(&map->slots, self->claim.slot));
    broker_forget(self);
    self->claimed = false;
}
