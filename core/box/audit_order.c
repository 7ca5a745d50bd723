/* audit_order.c - see audit.h; the order index, and the slots that its entries name */
#include "box/audit.h"

/* The chain that goes over the entries. */
struct audit_chain {
    uint64_t base;  /* of the next message */
    bool known;     /* base is; not behind a gap */
    uint16_t epoch; /* distance of the last entry's control epoch */
};

/* --- one entry ---------------------------------------------------------------------- */

/* What is known of the client; NULL: of another one with the same place in the table. */
static struct tide_audit_client *audit_client(struct tide_audit *self, uint64_t who)
{
    size_t at = self->peek->map.level == 4 ? who : tide_mix(who);
    struct tide_audit_client *client = &self->client[at % self->clients];
    if (client->who == 0)
        *client = (struct tide_audit_client){.who = who + 1};
    else if (client->who == who + 1)
        return client;
    return NULL;
}

/* Level 4: one after the other; level 5: upwards, unless clients share an id. */
static void audit_number(struct tide_audit *self, const struct tide_layout_entry *entry)
{
    const struct tide_logmap *map = &self->peek->map;
    bool held = map->level == 4;
    if (held && !tide_audit_within(self, "entry-number", "client of its batch", entry->client, 0,
                                   map->sessions - 1))
        return;
    uint64_t who = held ? entry->client : (uint64_t)entry->broker << 32 | entry->client;
    struct tide_audit_client *client = audit_client(self, who);
    if (client != NULL && held) {
        tide_audit_number(self, "entry-number", "number of the client's batch", entry->number,
                          client->next);
        tide_audit_within(self, "entry-number", "epoch of the client's session", entry->epoch,
                          client->epoch, UINT32_MAX);
    } else if (client != NULL && entry->number < client->next && !client->told) {
        client->told = 1;
        self->at.found = entry->number;
        self->at.low = client->next;
        self->at.high = UINT64_MAX;
        tide_audit_say(self, "entry-number", "number of the client's batch", true);
    }
    client = &self->client[(held ? who : tide_mix(who)) % self->clients];
    if (client->who == who + 1) {
        client->next = entry->number + 1;
        client->epoch = entry->epoch;
    }
}

/* The fields that stand for themselves. */
static bool audit_fields(struct tide_audit *self, const struct tide_layout_entry *entry,
                         struct audit_chain *chain)
{
    const struct tide_logmap *map = &self->peek->map;
    uint16_t distance =
        (uint16_t)(tide_coh_get(map->coh, &map->head->epoch) - (uint64_t)entry->control);
    tide_audit_within(self, "entry-flags", "flags", entry->flags & ~TIDE_LAYOUT_REF, 0, 0);
    tide_audit_within(self, "entry-epoch", "steps its epoch is behind that of the control",
                      distance, 0, chain->epoch);
    chain->epoch = distance < chain->epoch ? distance : chain->epoch;
    tide_audit_within(self, "entry-count", "messages", entry->count, 1,
                      tide_max(entry->size / TIDE_LAYOUT_FRAME, 1));
    if (chain->known)
        tide_audit_within(self, "entry-base", "number of its first message", entry->base,
                          chain->base, chain->base);
    chain->base = entry->base + entry->count;
    chain->known = true;
    return tide_audit_within(self, "entry-broker", "broker", entry->broker, 0, map->brokers - 1);
}

static void audit_same(struct tide_audit *self, const char *what, uint64_t slot, uint64_t entry)
{
    tide_audit_within(self, "slot-entry", what, slot, entry, entry);
}

/* Slot and entry were written by one hand. */
static void audit_agree(struct tide_audit *self, const struct tide_layout_slot *slot,
                        const struct tide_layout_entry *entry)
{
    audit_same(self, "number in its slot", slot->number, entry->number);
    audit_same(self, "client in its slot", slot->client, entry->client);
    audit_same(self, "epoch in its slot", slot->epoch, entry->epoch);
    audit_same(self, "messages in its slot", slot->count, entry->count);
    audit_same(self, "bytes in its slot", slot->size, entry->size);
    audit_same(self, "offset in its slot", slot->offset, entry->offset);
    audit_same(self, "flags in its slot", slot->flags, entry->flags);
    audit_same(self, "check sum in its slot", slot->checksum, entry->checksum);
}

/* False: the place was given up meanwhile. */
static bool audit_slot_of(struct tide_audit *self, uint64_t place,
                          const struct tide_layout_entry *entry)
{
    const struct tide_logmap *map = &self->peek->map;
    struct tide_layout_slot slot;
    struct tide_peek_broker broker;
    tide_peek_broker(self->peek, entry->broker, &broker);
    bool there = tide_peek_slot(self->peek, entry->broker, entry->slot, &slot);
    if (self->live && (int64_t)(place - tide_peek_earliest(self->peek, 0)) < 0)
        return false;
    /* While the log is in use, what is released goes on between two looks. */
    uint64_t low = self->live ? map->first + 1 : broker.released;
    if (!tide_audit_within(self, "entry-slot", "slot", entry->slot, low, broker.claimed - 1))
        return true;
    uint64_t position = tide_logmap_at(&map->slots, entry->slot);
    uint64_t *mine = &self->place[entry->broker * map->slots.size + position];
    if (*mine != 0 && !self->live) {
        tide_audit_within(self, "entry-slot", "place whose slot it has, too", *mine - 1, place,
                          place);
    }
    *mine = place + 1;
    uint64_t bit = tide_coh_get(map->coh, tide_logmap_retired(map, entry->broker, position));
    if (!self->live)
        tide_audit_within(self, "slot-retired", "its slot's mark of being done with",
                          bit >> position % 64 & 1, 0, 0);
    if (tide_audit_within(self, "slot-publish", "index that its slot is published with",
                          there ? entry->slot : atomic_load(&slot.publish), entry->slot,
                          entry->slot))
        audit_agree(self, &slot, entry);
    return true;
}

/* --- all entries -------------------------------------------------------------------- */

/* True: the place was looked at, false: it was given up. */
static bool audit_place(struct tide_audit *self, uint64_t place, struct audit_chain *chain)
{
    struct tide_layout_entry entry;
    enum tide_peek_found found = tide_peek_batch(self->peek, 0, place, &entry);
    self->at.where = TIDE_AUDIT_PLACE;
    self->at.position = place;
    if (found == TIDE_PEEK_GONE)
        return false;
    if (found == TIDE_PEEK_NONE) {
        chain->known = false;
        tide_audit_within(self, "entry-seq", "place that its entry is of",
                          atomic_load(&entry.seq) - 1, place, place);
        return true;
    }
    if (audit_fields(self, &entry, chain)) {
        audit_number(self, &entry);
        if (!audit_slot_of(self, place, &entry))
            return false;
    }
    return tide_audit_payload(self, place, &entry);
}

/* Places that were taken and not filled in; entries that are of no place that was taken. */
static void audit_rest(struct tide_audit *self, const struct tide_peek_head *head, uint64_t end,
                       struct audit_chain *chain)
{
    const struct tide_logmap *map = &self->peek->map;
    uint64_t holes = 0;
    for (uint64_t place = end; place - end < map->entries.size &&
                               place - head->trimmed < map->entries.size && place != head->taken;
         place++) {
        struct tide_layout_entry entry;
        self->at.position = place;
        if (tide_peek_batch(self->peek, 0, place, &entry) == TIDE_PEEK_THERE) {
            chain->known = chain->known && holes == 0;
            audit_place(self, place, chain);
        } else if (++holes == 1) {
            self->at.found = self->at.low = 1;
            self->at.high = 0;
            tide_audit_say(self, "entry-hole", "was taken, and has no entry", !self->closed);
        }
    }
    self->at.where = TIDE_AUDIT_HEAD;
    if (holes == 0 && chain->known)
        tide_audit_within(self, "entry-base", "number of the next message", head->messages,
                          chain->base, chain->base);
    self->at.where = TIDE_AUDIT_PLACE;
    for (uint64_t i = 0; i < map->entries.size; i++) {
        uint64_t place = tide_coh_get(map->coh, &map->index[i].seq) - 1;
        self->at.position = i;
        if (place == UINT64_MAX) /* never used */
            continue;
        if (tide_audit_within(self, "entry-stray", "position for the place it is of",
                              tide_logmap_at(&map->entries, place), i, i))
            tide_audit_within(self, "entry-stray", "place that it is of", place, map->first,
                              head->taken - 1);
    }
}

void tide_audit_order(struct tide_audit *self)
{
    struct tide_peek_head head;
    tide_peek_head(self->peek, &head);
    uint64_t place = head.trimmed, most = self->peek->map.entries.size, seen = 0;
    struct audit_chain chain = {head.trimmed_base, !self->live, UINT16_MAX};
    uint64_t end = tide_peek_end(self->peek, 0);
    while ((int64_t)(end - place) > 0 && seen++ < 2 * most) {
        if (audit_place(self, place, &chain)) {
            place++;
            continue;
        }
        place = tide_peek_earliest(self->peek, 0); /* of a log in use */
        chain.known = false;
        memset(self->client, 0, self->clients * sizeof *self->client);
    }
    self->at.where = TIDE_AUDIT_PLACE;
    if (!self->live)
        audit_rest(self, &head, end, &chain);
}
