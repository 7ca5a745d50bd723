/* audit_tables.c - see audit.h; sessions, readers, producers */
#include "box/audit.h"
#include "box/door.h"

/* --- sessions ----------------------------------------------------------------------- */

/* A batch that waits: its slot is there, and of this client. */
static void audit_hold(struct tide_audit *self, uint32_t client, uint64_t expected,
                       const struct tide_layout_hold *hold)
{
    const struct tide_logmap *map = &self->peek->map;
    uint64_t number = hold->number - 1, broker = (hold->ref >> 32) - 1;
    uint64_t position = (uint32_t)hold->ref;
    struct tide_layout_slot slot;
    if (!tide_audit_within(self, "session-held", "number of a batch that waits", number,
                           expected + 1, expected + map->window - 1) ||
        !tide_audit_within(self, "session-slot", "broker of a batch that waits", broker, 0,
                           map->brokers - 1) ||
        !tide_audit_within(self, "session-slot", "slot of a batch that waits", position, 0,
                           map->slots.size - 1))
        return;
    tide_peek_words(&slot, &map->slot[broker * map->slots.size + position], sizeof slot);
    tide_audit_within(self, "session-slot", "client in the slot of a batch that waits", slot.client,
                      client, client);
    tide_audit_within(self, "session-slot", "number in the slot of a batch that waits", slot.number,
                      number, number);
    uint64_t word = tide_coh_get(map->coh, tide_logmap_retired(map, (uint32_t)broker, position));
    tide_audit_within(self, "slot-retired", "mark of being done with, of a batch that waits",
                      word >> position % 64 & 1, 0, 0);
}

static uint64_t audit_holds(struct tide_audit *self, uint32_t client, uint64_t expected)
{
    const struct tide_logmap *map = &self->peek->map;
    uint64_t held = 0;
    for (uint32_t i = 0; i < map->window; i++) {
        struct tide_layout_hold hold;
        tide_peek_words(&hold, &map->hold[(uint64_t)client * map->window + i], sizeof hold);
        if (hold.number == 0)
            continue;
        held++;
        if (tide_audit_within(self, "session-held", "position of a batch that waits",
                              (hold.number - 1) % map->window, i, i))
            audit_hold(self, client, expected, &hold);
    }
    return held;
}

/* Nobody is behind a door that stays with a handle of the client while that is outside. */
static bool audit_is_kept(const struct tide_logmap *map, uint32_t client, uint64_t door)
{
    struct tide_layout_producer keeper;
    uint64_t number = door ^ TIDE_DOOR_KEPT;
    if (number >= map->producers)
        return false;
    tide_peek_words(&keeper, &map->producer[number], sizeof keeper);
    return keeper.owner != 0 && keeper.client == client && keeper.inside == 0;
}

static void audit_session(struct tide_audit *self, uint32_t client)
{
    const struct tide_logmap *map = &self->peek->map;
    struct tide_layout_session session;
    const struct tide_audit_client *seen = &self->client[client];
    tide_peek_words(&session, &map->session[client], sizeof session);
    uint64_t expected = session.expected, epoch = session.epoch;
    bool shut = session.door != TIDE_DOOR_OPEN && !audit_is_kept(map, client, session.door);
    /* Somebody ended while he was at it: one batch may be half done. */
    uint64_t slack = shut || atomic_load(&map->head->mutex.word) != 0;
    tide_audit_within(self, "session-state", "state", session.state, 0, TIDE_LAYOUT_FENCED);
    tide_audit_within(self, "session-epoch", "epoch", epoch, 0, UINT32_MAX);
    if (seen->who != 0) {
        if (expected != seen->next - slack)
            tide_audit_number(self, "session-number", "number of the next batch", expected,
                              seen->next);
        tide_audit_within(self, "session-epoch", "epoch of its last batch", seen->epoch, 1, epoch);
    }
    uint64_t held = audit_holds(self, client, expected);
    tide_audit_within(self, "session-held", "batches that wait", session.held,
                      held - tide_min(held, slack), held + slack);
    if (shut) {
        self->at.found = session.door;
        self->at.low = self->at.high = 0;
        tide_audit_say(self, "head-lock", "door of the session", !self->closed);
    }
}

/* --- readers and producers ------------------------------------------------------------ */

static void audit_reader(struct tide_audit *self, uint32_t number)
{
    const struct tide_logmap *map = &self->peek->map;
    struct tide_layout_reader reader;
    tide_peek_words(&reader, &map->reader[number], sizeof reader);
    if (reader.owner == 0)
        return;
    uint64_t policy = reader.policy;
    uint32_t broker = (uint32_t)reader.broker;
    if (!tide_audit_within(self, "reader-policy", "policy", policy, 0, TIDE_LAYOUT_POLICIES - 1) ||
        !tide_audit_within(self, "reader-policy", "mark of being detached", reader.fate, 0, 1) ||
        !tide_audit_within(self, "reader-broker", "broker", reader.broker, 0,
                           map->level == 0 ? map->brokers - 1 : UINT32_MAX) ||
        self->live)
        return;
    bool gates = policy != TIDE_LAYOUT_SKIP && reader.fate == 0;
    uint64_t first = map->level == 0 ? map->first + 1 : map->first;
    tide_audit_within(self, "reader-cursor", "cursor", reader.cursor,
                      gates ? tide_peek_earliest(self->peek, broker) : first,
                      tide_peek_end(self->peek, broker));
}

static void audit_producer(struct tide_audit *self, uint32_t number)
{
    const struct tide_logmap *map = &self->peek->map;
    struct tide_layout_producer producer;
    tide_peek_words(&producer, &map->producer[number], sizeof producer);
    if (producer.owner == 0)
        return;
    tide_audit_within(self, "producer-claim", "broker of its last claim", producer.claim >> 32, 0,
                      map->brokers - 1);
    if (map->level != 4 || self->live)
        return;
    if (tide_audit_within(self, "producer-client", "client", producer.client, 0, map->sessions - 1))
        tide_audit_within(self, "producer-epoch", "epoch", producer.epoch, 0,
                          tide_coh_get(map->coh, &map->session[producer.client].epoch));
}

void tide_audit_tables(struct tide_audit *self)
{
    const struct tide_logmap *map = &self->peek->map;
    self->at.where = TIDE_AUDIT_SESSION;
    for (uint32_t i = 0; i < map->sessions && !self->live; i++) {
        self->at.table = i;
        audit_session(self, i);
    }
    self->at.where = TIDE_AUDIT_READER;
    for (uint32_t i = 0; i < map->readers; i++) {
        self->at.table = i;
        audit_reader(self, i);
    }
    self->at.where = TIDE_AUDIT_PRODUCER;
    for (uint32_t i = 0; i < map->producers; i++) {
        self->at.table = i;
        audit_producer(self, i);
    }
}
