/* laneaudit.c - see laneaudit.h */
#include "box/laneaudit.h"

#include "box/crc.h"
#include "box/frame.h"
#include "box/vmem.h"

/* What is known of a lane, and of a client. */
struct laneaudit_lane {
    uint64_t slot, granule; /* the next entry's are not below */
};

struct laneaudit_client {
    uint64_t next;
    bool known;
};

struct laneaudit {
    struct tide_audit *audit;
    const struct tide_lanes *map;
    struct laneaudit_lane *lane;
    struct laneaudit_client *client;
    uint64_t trimmed, committed, base;
    bool based; /* base is known */
};

static bool laneaudit_is(struct laneaudit *self, const char *word, const char *what, uint64_t found,
                         uint64_t low, uint64_t high)
{
    return tide_audit_within(self->audit, word, what, found, low, high);
}

static void laneaudit_say(struct laneaudit *self, const char *word, const char *what, bool note)
{
    self->audit->at.found = 0;
    self->audit->at.low = 1;
    self->audit->at.high = 0;
    tide_audit_say(self->audit, word, what, note);
}

static void laneaudit_at(struct laneaudit *self, enum tide_audit_where where, uint32_t table,
                         uint64_t position)
{
    self->audit->at.where = where;
    self->audit->at.table = table;
    self->audit->at.position = position;
}

static uint64_t laneaudit_get(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

/* --- head ----------------------------------------------------------------------------------- */

/* False: which places there are is not known. */
static bool laneaudit_head(struct laneaudit *self)
{
    const struct tide_lanes *map = self->map;
    const struct tide_lanes_head *head = map->head;
    laneaudit_at(self, TIDE_AUDIT_HEAD, 0, 0);
    self->trimmed = laneaudit_get(&head->trimmed_place);
    self->committed = laneaudit_get(&head->committed);
    self->base = laneaudit_get(&head->trimmed_base);
    self->based = true;
    laneaudit_is(self, "head-epoch", "epoch of the control", laneaudit_get(&head->epoch), 1,
                 INT64_MAX);
    laneaudit_is(self, "head-order", "number of the first message that is kept", self->base,
                 map->first, map->first + INT64_MAX);
    return laneaudit_is(self, "head-order", "first place that is kept", self->trimmed, map->first,
                        map->first + INT64_MAX) &&
           laneaudit_is(self, "head-order", "places that are committed", self->committed,
                        self->trimmed, self->trimmed + map->entries.size);
}

/* --- lanes ---------------------------------------------------------------------------------- */

static void laneaudit_lane(struct laneaudit *self, uint32_t number)
{
    const struct tide_lanes *map = self->map;
    const struct tide_lanes_lane *line = &map->lane[number];
    uint64_t released = laneaudit_get(&line->released), granule = laneaudit_get(&line->granule);
    uint64_t done = laneaudit_get(&line->done), end = laneaudit_get(&line->done_granule);
    laneaudit_at(self, TIDE_AUDIT_LANE, number, 0);
    self->lane[number] = (struct laneaudit_lane){released, granule};
    laneaudit_is(self, "lane-order", "first slot that is not free", released, map->first + 1,
                 map->first + INT64_MAX);
    laneaudit_is(self, "lane-order", "first slot that has not been looked at", done, released,
                 released + map->slots.size);
    laneaudit_is(self, "lane-order", "first granule that is not free", granule, map->first,
                 map->first + INT64_MAX);
    laneaudit_is(self, "lane-order", "granule behind what has been looked at", end, granule,
                 granule + map->granules.size);
    laneaudit_is(self, "lane-order", "first slot of the client's epoch",
                 laneaudit_get(&line->from_slot), map->first + 1, done);
    laneaudit_is(self, "lane-order", "first granule of the client's epoch",
                 laneaudit_get(&line->from_granule), map->first, end);
}

/* The words that slots are published with, and those that wait for places. */
static void laneaudit_slots(struct laneaudit *self, uint32_t number)
{
    const struct tide_lanes *map = self->map;
    const struct tide_lanes_session *session = &map->session[number / map->brokers];
    uint64_t done = laneaudit_get(&map->lane[number].done);
    bool active = laneaudit_get(&session->state) == TIDE_LAYOUT_ACTIVE;
    for (uint64_t i = 0; i < map->slots.size; i++) {
        const struct tide_lanes_slot *slot = tide_lanes_slot(map, number, done + i);
        uint64_t word = laneaudit_get(&slot->publish), at = tide_logmap_at(&map->slots, done + i);
        laneaudit_at(self, TIDE_AUDIT_LANE_SLOT, number, done + i);
        if (word != 0 && laneaudit_is(self, "slot-publish", "position for its publish word",
                                      tide_logmap_at(&map->slots, word), at, at))
            laneaudit_is(self, "slot-publish", "its publish word", word, map->first + 1,
                         done + map->slots.size - 1);
        if (word == done + i && active &&
            TIDE_RELAXED_GET(&slot->epoch) == (uint32_t)laneaudit_get(&session->epoch))
            laneaudit_say(self, "slot-waits", "is visible, and has no place", true);
    }
}

/* --- the order index ------------------------------------------------------------------------ */

static void laneaudit_payload(struct laneaudit *self, uint32_t lane,
                              const struct tide_lanes_entry *entry)
{
    const struct tide_lanes *map = self->map;
    const unsigned char *data = tide_lanes_payload(map, lane, entry->end, entry->size);
    uint64_t count = 0;
    size_t at = 0;
    if (data == NULL) {
        laneaudit_say(self, "payload-place", "its payload is not in a row", false);
        return;
    }
    if (map->checksum && tide_crc(0, data, entry->size) != entry->checksum) {
        laneaudit_say(self, "payload-sum", "check sum is not that of its payload", false);
        return;
    }
    while (tide_frame_next(data, entry->size, &at) != NULL)
        count++;
    if (laneaudit_is(self, "payload-frame", "messages in its payload", count, entry->count,
                     entry->count))
        laneaudit_is(self, "payload-frame", "end of its last message", at, entry->size,
                     entry->size);
    self->audit->batches++;
    self->audit->messages += entry->count;
    self->audit->bytes += entry->size;
}

static void laneaudit_same(struct laneaudit *self, const char *what, uint64_t slot, uint64_t entry)
{
    laneaudit_is(self, "slot-entry", what, slot, entry, entry);
}

static void laneaudit_agree(struct laneaudit *self, uint32_t lane,
                            const struct tide_lanes_entry *entry)
{
    struct tide_lanes_slot slot;
    tide_layout_words(&slot, tide_lanes_slot(self->map, lane, entry->slot), sizeof slot);
    if (!laneaudit_is(self, "slot-publish", "index that its slot is published with",
                      laneaudit_get(&slot.publish), entry->slot, entry->slot))
        return;
    laneaudit_same(self, "number in its slot", slot.number, entry->number);
    laneaudit_same(self, "end of its payload in its slot", slot.end, entry->end);
    laneaudit_same(self, "bytes in its slot", slot.size, entry->size);
    laneaudit_same(self, "messages in its slot", slot.count, entry->count);
    laneaudit_same(self, "epoch in its slot", slot.epoch, entry->epoch);
    laneaudit_same(self, "check sum in its slot", slot.checksum, entry->checksum);
}

/* Level 4: one number after the other. */
static void laneaudit_number(struct laneaudit *self, const struct tide_lanes_entry *entry)
{
    struct laneaudit_client *client = &self->client[entry->client];
    if (self->map->level != 4)
        return;
    if (client->known)
        laneaudit_is(self, "entry-number", "number of the client's batch", entry->number,
                     client->next, client->next);
    *client = (struct laneaudit_client){entry->number + 1, true};
}

static void laneaudit_entry(struct laneaudit *self, const struct tide_lanes_entry *entry)
{
    const struct tide_lanes *map = self->map;
    if (self->based)
        laneaudit_is(self, "entry-base", "number of its first message", entry->base, self->base,
                     self->base);
    self->base = entry->base + entry->count;
    self->based = true;
    if (!laneaudit_is(self, "entry-client", "client", entry->client, 0, map->clients - 1) ||
        !laneaudit_is(self, "entry-broker", "broker", entry->broker, 0, map->brokers - 1))
        return;
    uint32_t number = tide_lanes_number(map, entry->client, entry->broker);
    struct laneaudit_lane *lane = &self->lane[number];
    const struct tide_lanes_lane *line = &map->lane[number];
    laneaudit_is(self, "entry-epoch", "epoch of its session", entry->epoch, 1,
                 laneaudit_get(&map->session[entry->client].epoch));
    laneaudit_number(self, entry);
    if (laneaudit_is(self, "entry-slot", "slot", entry->slot, lane->slot,
                     laneaudit_get(&line->released) + map->slots.size - 1)) {
        lane->slot = entry->slot + 1;
        laneaudit_agree(self, number, entry);
    }
    if (!laneaudit_is(self, "entry-size", "bytes of its payload", entry->size, TIDE_LAYOUT_FRAME,
                      tide_lanes_most(map)) ||
        !laneaudit_is(self, "entry-count", "messages", entry->count, 1,
                      entry->size / TIDE_LAYOUT_FRAME) ||
        !laneaudit_is(self, "granules", "granule behind its payload", entry->end,
                      lane->granule + tide_lanes_granules(entry->size),
                      laneaudit_get(&line->granule) + map->granules.size))
        return;
    lane->granule = entry->end;
    laneaudit_payload(self, number, entry);
}

static void laneaudit_order(struct laneaudit *self)
{
    const struct tide_lanes *map = self->map;
    struct tide_lanes_entry entry;
    for (uint64_t place = self->trimmed; place != self->committed; place++) {
        tide_layout_words(&entry, tide_lanes_entry(map, place), sizeof entry);
        laneaudit_at(self, TIDE_AUDIT_PLACE, 0, place);
        if (laneaudit_is(self, "entry-seq", "place that its entry is of",
                         laneaudit_get(&entry.seq) - 1, place, place))
            laneaudit_entry(self, &entry);
        else
            self->based = false;
    }
    for (uint64_t i = 0; i < map->entries.size; i++) {
        uint64_t seq = laneaudit_get(&map->index[i].seq);
        laneaudit_at(self, TIDE_AUDIT_PLACE, 0, seq - 1);
        if (seq != 0 &&
            laneaudit_is(self, "entry-stray", "position for the place it is of",
                         tide_logmap_at(&map->entries, seq - 1), i, i) &&
            seq > self->committed)
            laneaudit_say(self, "entry-ahead", "has an entry, and is not committed",
                          !self->audit->closed);
    }
}

/* --- tables --------------------------------------------------------------------------------- */

static void laneaudit_session(struct laneaudit *self, uint32_t number)
{
    const struct tide_lanes_session *line = &self->map->session[number];
    const struct laneaudit_client *client = &self->client[number];
    laneaudit_at(self, TIDE_AUDIT_SESSION, number, 0);
    laneaudit_is(self, "session-state", "state", laneaudit_get(&line->state), TIDE_LAYOUT_ACTIVE,
                 TIDE_LAYOUT_FENCED);
    laneaudit_is(self, "session-state", "epoch", laneaudit_get(&line->epoch), 0, UINT32_MAX);
    /* It is told of places behind them. */
    if (client->known)
        laneaudit_is(self, "session-number", "number that is expected next",
                     laneaudit_get(&line->expected), self->audit->closed ? client->next : 0,
                     client->next);
}

static void laneaudit_reader(struct laneaudit *self, uint32_t number)
{
    const struct tide_lanes_reader *line = &self->map->reader[number];
    uint64_t granted = laneaudit_get(&line->granted), start = laneaudit_get(&line->start);
    laneaudit_at(self, TIDE_AUDIT_READER, number, 0);
    if (laneaudit_is(self, "reader-start", "where it wants to begin", start, TIDE_LANES_GONE,
                     TIDE_LANES_STARTS - 1) &&
        granted != 0 && start != TIDE_LANES_GONE && laneaudit_get(&line->error) == 0 &&
        laneaudit_get(&line->joined) == granted)
        laneaudit_is(self, "reader-cursor", "place that it reads next",
                     laneaudit_get(&line->cursor), self->trimmed, self->committed);
}

static void laneaudit_node(struct laneaudit *self, uint32_t number)
{
    const struct tide_lanes_node *line = &self->map->node[number];
    uint64_t standing = laneaudit_get(&line->standing);
    laneaudit_at(self, TIDE_AUDIT_NODE, number, 0);
    bool known = laneaudit_is(self, "node-standing", "standing", standing, TIDE_LANES_FREE,
                              TIDE_LANES_STANDINGS - 1);
    if (known && standing == TIDE_LANES_HELD && self->map->nodes > 1 &&
        laneaudit_get(&line->beat) != TIDE_LANES_GONE_BEAT)
        laneaudit_say(self, "node-held", "is held, or was not left", true);
}

/* --- all ------------------------------------------------------------------------------------ */

static void laneaudit_all(struct laneaudit *self)
{
    const struct tide_lanes *map = self->map;
    bool known = laneaudit_head(self);
    for (uint32_t i = 0; i < map->lanes; i++) {
        laneaudit_lane(self, i);
        laneaudit_slots(self, i);
    }
    if (!known)
        return;
    laneaudit_order(self);
    for (uint32_t i = 0; i < map->clients; i++)
        laneaudit_session(self, i);
    for (uint32_t i = 0; i < map->readers; i++)
        laneaudit_reader(self, i);
    for (uint32_t i = 0; i < map->nodes; i++)
        laneaudit_node(self, i);
}

bool tide_laneaudit_run(struct tide_audit *audit, const struct tide_lanes *map)
{
    struct laneaudit self = {.audit = audit, .map = map};
    size_t lanes = map->lanes * sizeof *self.lane, clients = map->clients * sizeof *self.client;
    size_t bytes = tide_align_up(lanes + clients, tide_vmem_page_size());
    unsigned char *scratch = tide_vmem_map(bytes);
    if (scratch == NULL)
        return false;
    audit->errors = audit->notes = audit->batches = audit->messages = audit->bytes = 0;
    self.lane = (void *)scratch;
    self.client = (void *)(scratch + lanes);
    laneaudit_all(&self);
    tide_vmem_unmap(scratch, bytes);
    return true;
}
