/* lane.c - see lane.h */
#include "box/lane.h"

#include "box/crc.h"

/* --- the session ---------------------------------------------------------------------- */

static struct tide_lanes_session *lane_session(const struct tide_lane *self)
{
    return &self->map->session[self->client];
}

/* The sequencer's line of it, as it is now. */
static struct tide_lanes_session *lane_answer(const struct tide_lane *self)
{
    struct tide_lanes_session *session = lane_session(self);
    tide_coh_fresh(self->map->coh, &session->epoch, TIDE_LINE);
    return session;
}

void tide_lane_ask(struct tide_lane *self, const struct tide_lanes *map, uint32_t client)
{
    *self = (struct tide_lane){.map = map, .client = client, .group = TIDE_LANES_GROUP};
    struct tide_lanes_session *session = lane_session(self);
    tide_coh_fresh(map->coh, &session->request, TIDE_LINE);
    self->request = tide_coh_get(map->coh, &session->request) + 1;
    tide_coh_set(map->coh, &session->request, self->request);
    tide_coh_wrote(map->coh, &session->request, sizeof session->request);
    tide_coh_drain(map->coh);
}

/* The sequencer's line of a lane, as it is now. */
static const struct tide_lanes_lane *lane_line(const struct tide_lane *self, uint32_t broker)
{
    const struct tide_lanes *map = self->map;
    const struct tide_lanes_lane *line = &map->lane[tide_lanes_number(map, self->client, broker)];
    tide_coh_fresh(map->coh, line, TIDE_LINE);
    return line;
}

/* What is free of a lane. */
static void lane_look(struct tide_lane *self, uint32_t broker)
{
    const struct tide_lanes_lane *line = lane_line(self, broker);
    struct tide_lane_at *at = &self->at[broker];
    at->free_granule = tide_coh_get(self->map->coh, &line->granule) + self->map->granules.size;
    at->free = tide_coh_get(self->map->coh, &line->released) + self->map->slots.size;
}

/* This host may have old copies of what it is about to write. */
static void lane_take(const struct tide_lane *self, uint32_t broker)
{
    const struct tide_lanes *map = self->map;
    uint32_t lane = tide_lanes_number(map, self->client, broker);
    uint64_t bytes = map->granules.size * TIDE_LAYOUT_GRANULE;
    tide_coh_fresh(map->coh, &map->slot[lane * map->slots.size],
                   map->slots.size * sizeof *map->slot);
    tide_coh_fresh(map->coh, map->payload + lane * bytes, bytes);
}

/* Slots that epochs before published and that got no place (fenced, too late, ahead of their
 * turn): their words must not be found on what is written there now, before it is there as a
 * whole. */
static void lane_wipe(const struct tide_lane *self, uint32_t broker)
{
    const struct tide_lanes *map = self->map;
    uint32_t lane = tide_lanes_number(map, self->client, broker);
    bool wiped = false;
    for (uint64_t i = 0; i < map->slots.size; i++) {
        struct tide_lanes_slot *old = tide_lanes_slot(map, lane, self->at[broker].slot + i);
        if (atomic_load_explicit(&old->publish, memory_order_relaxed) >= self->at[broker].slot) {
            tide_coh_set(map->coh, &old->publish, 0);
            tide_coh_wrote(map->coh, old, sizeof *old);
            wiped = true;
        }
    }
    if (wiped)
        tide_coh_drain(map->coh);
}

int tide_lane_granted(struct tide_lane *self)
{
    const struct tide_lanes *map = self->map;
    struct tide_lanes_session *session = lane_answer(self);
    if (tide_coh_get(map->coh, &session->granted) != self->request)
        return -EAGAIN;
    for (uint32_t i = 0; i < map->brokers; i++) {
        const struct tide_lanes_lane *line = lane_line(self, i);
        struct tide_lane_at *at = &self->at[i];
        at->slot = at->visible = tide_coh_get(map->coh, &line->from_slot);
        at->granule = tide_coh_get(map->coh, &line->from_granule);
        lane_look(self, i);
        lane_take(self, i);
        lane_wipe(self, i);
    }
    self->next = map->level == 4 ? tide_coh_get(map->coh, &session->expected) : 0;
    self->sent = self->next;
    self->epoch = (uint32_t)tide_coh_get(map->coh, &session->epoch);
    return 0;
}

uint64_t tide_lane_expected(const struct tide_lane *self)
{
    return tide_coh_get(self->map->coh, &lane_answer(self)->expected);
}

uint64_t tide_lane_done(const struct tide_lane *self, uint32_t broker)
{
    return tide_coh_get(self->map->coh, &lane_line(self, broker)->done);
}

int tide_lane_check(const struct tide_lane *self, uint32_t broker)
{
    const struct tide_lanes *map = self->map;
    struct tide_lanes_session *session = lane_answer(self);
    if (tide_coh_get(map->coh, &session->epoch) != self->epoch ||
        tide_coh_get(map->coh, &session->state) != TIDE_LAYOUT_ACTIVE)
        return -ESTALE;
    if (map->level != 4)
        return 0;
    if (self->next < tide_coh_get(map->coh, &session->expected))
        return -EALREADY;
    return self->next < self->at[broker].above ? -EINVAL : 0;
}

/* --- claims ----------------------------------------------------------------------------- */

/* Where the next claim would begin: not across the end of the lane. */
static uint64_t lane_begin(const struct tide_lane *self, uint32_t broker, uint64_t granules)
{
    const struct tide_logmap_ring *ring = &self->map->granules;
    uint64_t granule = self->at[broker].granule;
    uint64_t left = ring->size - tide_logmap_at(ring, granule);
    return left < granules ? granule + left : granule;
}

static bool lane_fits(const struct tide_lane *self, uint32_t broker, uint64_t granules)
{
    const struct tide_lane_at *at = &self->at[broker];
    return at->slot < at->free && lane_begin(self, broker, granules) + granules <= at->free_granule;
}

bool tide_lane_claim(struct tide_lane *self, uint32_t broker, uint32_t bytes)
{
    const struct tide_lanes *map = self->map;
    uint64_t granules = tide_lanes_granules(bytes);
    if (!lane_fits(self, broker, granules)) {
        tide_lane_flush(self); /* what is not visible is never released */
        lane_look(self, broker);
        if (!lane_fits(self, broker, granules))
            return false;
    }
    uint64_t granule = lane_begin(self, broker, granules);
    self->claim = (struct tide_lane_claim){
        .payload = tide_lanes_payload(map, tide_lanes_number(map, self->client, broker),
                                      granule + granules, bytes),
        .granule = granule,
        .broker = broker,
        .room = (uint32_t)(granules * TIDE_LAYOUT_GRANULE),
    };
    self->claimed = true;
    return true;
}

/* Fills the next slot of the claim's lane; its publish word comes with the group's. */
static void lane_fill(struct tide_lane *self, const struct tide_lanes_slot *batch)
{
    const struct tide_lanes *map = self->map;
    uint32_t broker = self->claim.broker;
    struct tide_lane_at *at = &self->at[broker];
    struct tide_lanes_slot *slot =
        tide_lanes_slot(map, tide_lanes_number(map, self->client, broker), at->slot);
    slot->number = batch->number;
    slot->end = batch->end;
    slot->size = batch->size;
    slot->count = batch->count;
    slot->epoch = self->epoch;
    slot->flags = batch->flags;
    slot->checksum = batch->checksum;
    at->granule = batch->end;
    at->slot++;
    self->claimed = false;
    self->brokers |= 1u << broker;
    self->held_bytes += batch->size;
    if (++self->held >= self->group || self->held_bytes >= TIDE_LANES_GROUP_BYTES)
        tide_lane_flush(self);
}

void tide_lane_commit(struct tide_lane *self, uint32_t count, uint32_t size,
                      struct tide_lane_result *result)
{
    const struct tide_lane_claim *claim = &self->claim;
    struct tide_lane_at *at = &self->at[claim->broker];
    *result = (struct tide_lane_result){self->next++, at->slot};
    self->sent = tide_max(self->sent, self->next);
    at->above = tide_max(at->above, self->next);
    tide_coh_wrote(self->map->coh, claim->payload + claim->past, size - claim->past);
    lane_fill(self, &(struct tide_lanes_slot){
                        .number = result->number,
                        .end = claim->granule + tide_lanes_granules(size),
                        .size = size,
                        .count = count,
                        .checksum = self->map->checksum ? tide_crc(0, claim->payload, size) : 0,
                    });
}

void tide_lane_abort(struct tide_lane *self)
{
    lane_fill(self,
              &(struct tide_lanes_slot){.end = self->claim.granule, .flags = TIDE_LAYOUT_PAD});
}

/* --- making it visible -------------------------------------------------------------------- */

/* The slots of one lane: each one's line goes as a whole, its publish word last. */
static void lane_publish(struct tide_lane *self, uint32_t broker)
{
    const struct tide_lanes *map = self->map;
    struct tide_lane_at *at = &self->at[broker];
    uint32_t lane = tide_lanes_number(map, self->client, broker);
    for (; at->visible < at->slot; at->visible++) {
        struct tide_lanes_slot *slot = tide_lanes_slot(map, lane, at->visible);
        tide_coh_set(map->coh, &slot->publish, at->visible);
        tide_coh_wrote(map->coh, slot, sizeof *slot);
    }
}

void tide_lane_flush(struct tide_lane *self)
{
    if (self->held == 0)
        return;
    tide_coh_drain(self->map->coh);
    for (; self->brokers != 0; self->brokers &= self->brokers - 1)
        lane_publish(self, (uint32_t)__builtin_ctz(self->brokers));
    tide_coh_drain(self->map->coh);
    self->held = self->held_bytes = 0;
}
