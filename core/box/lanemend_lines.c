/* lanemend_lines.c - lanes, sessions, readers, nodes and slots of a damaged log in lanes; see
 * lanemend.h */
#include "box/lanemend.h"

static void lines_set(struct tide_lanemend *self, enum tide_audit_where where, uint32_t table,
                      const char *what, _Atomic uint64_t *word, uint64_t value)
{
    const struct tide_lanemend_change at = {
        .kind = TIDE_LANEMEND_LINE, .where = where, .what = what, .table = table};
    tide_lanemend_set(self, at, word, value);
}

/* --- lanes ---------------------------------------------------------------------------------- */

/* A slot of the lane is published with this index: a copy of it. */
static bool lines_has(const struct tide_lanes *map, uint32_t lane, uint64_t index,
                      struct tide_lanes_slot *slot)
{
    tide_layout_words(slot, tide_lanes_slot(map, lane, index), sizeof *slot);
    return tide_lanemend_get(&slot->publish) == index;
}

/* Behind the last slot of a lane that is published. */
static uint64_t lines_last(const struct tide_lanes *map, uint32_t lane)
{
    uint64_t most = 0;
    for (uint64_t i = 0; i < map->slots.size; i++) {
        uint64_t word = tide_lanemend_get(&map->slot[lane * map->slots.size + i].publish);
        if (tide_lanemend_is_sane(map, word) && tide_logmap_at(&map->slots, word) == i)
            most = tide_max(most, word - map->first);
    }
    return map->first + most + 1;
}

/* All slots below may be looked at as done with: the one before is there. */
static bool lines_is_behind(const struct tide_lanes *map, uint32_t lane, uint64_t index)
{
    struct tide_lanes_slot slot;
    return tide_lanemend_is_sane(map, index) && index != map->first &&
           (index == map->first + 1 || lines_has(map, lane, index - 1, &slot));
}

struct lines_pair {
    uint64_t from, to;
};

/* Slots that are not free, and those of them that were looked at. */
static struct lines_pair lines_slots(const struct tide_lanemend *self, uint32_t number)
{
    const struct tide_lanes *map = self->map;
    const struct tide_lanes_lane *line = &map->lane[number];
    const struct tide_lanemend_lane *lane = &self->lane[number];
    struct lines_pair is = {tide_lanemend_get(&line->released), tide_lanemend_get(&line->done)};
    uint64_t size = map->slots.size, begin = tide_lanemend_get(&line->from_slot);
    bool sane = tide_lanemend_is_sane(map, is.from) && is.from != map->first;
    if (lane->any && (!sane || (int64_t)(lane->low - is.from) < 0 || lane->top - is.from > size))
        is.from = lane->low;
    else if (!lane->any && (!sane || is.to - is.from > size)) {
        if (!lines_is_behind(map, number, is.to))
            is.to =
                sane && lines_is_behind(map, number, is.from) ? is.from : lines_last(map, number);
        is.from = is.to;
    }
    if (is.to - is.from <= size)
        return is;
    is.to = lane->any ? lane->top : is.from;
    if (begin - is.from <= size && begin - is.from > is.to - is.from)
        is.to = begin;
    return is;
}

/* The same of payload. */
static struct lines_pair lines_granules(const struct tide_lanemend *self, uint32_t number,
                                        uint64_t done)
{
    const struct tide_lanes *map = self->map;
    const struct tide_lanes_lane *line = &map->lane[number];
    const struct tide_lanemend_lane *lane = &self->lane[number];
    struct lines_pair is = {tide_lanemend_get(&line->granule),
                            tide_lanemend_get(&line->done_granule)};
    uint64_t size = map->granules.size, begin = tide_lanemend_get(&line->from_granule);
    bool sane = tide_lanemend_is_sane(map, is.from);
    struct tide_lanes_slot slot;
    if (lane->any) {
        if (!sane || (int64_t)(lane->low_granule - is.from) < 0 ||
            lane->top_granule - is.from > size)
            is.from = lane->low_granule;
        if (is.to - is.from > size)
            is.to = begin - is.from <= size && begin - is.from > lane->top_granule - is.from
                        ? begin
                        : lane->top_granule;
        /* What is told of slots is told of their payload, too. */
        if ((int64_t)(done - lane->top) >= 0 && (int64_t)(is.to - lane->top_granule) < 0)
            is.to = lane->top_granule;
    } else if (!sane || is.to - is.from > size) {
        if (lines_has(map, number, done - 1, &slot) && tide_lanemend_is_sane(map, slot.end))
            is.to = slot.end;
        else if (!tide_lanemend_is_sane(map, is.to))
            is.to = sane ? is.from : map->first;
        is.from = is.to;
    }
    return is;
}

static uint64_t lines_within(uint64_t value, uint64_t low, uint64_t high)
{
    return value - low <= high - low ? value : high;
}

static void lines_lane(struct tide_lanemend *self, uint32_t number)
{
    const struct tide_lanes *map = self->map;
    struct tide_lanes_lane *line = &map->lane[number];
    struct lines_pair slots = lines_slots(self, number);
    struct lines_pair granules = lines_granules(self, number, slots.to);
    lines_set(self, TIDE_AUDIT_LANE, number, "first slot that is not free", &line->released,
              slots.from);
    lines_set(self, TIDE_AUDIT_LANE, number, "first slot that has not been looked at", &line->done,
              slots.to);
    lines_set(self, TIDE_AUDIT_LANE, number, "first granule that is not free", &line->granule,
              granules.from);
    lines_set(self, TIDE_AUDIT_LANE, number, "granule behind what has been looked at",
              &line->done_granule, granules.to);
    lines_set(self, TIDE_AUDIT_LANE, number, "first slot of the client's epoch", &line->from_slot,
              lines_within(tide_lanemend_get(&line->from_slot), map->first + 1, slots.to));
    lines_set(self, TIDE_AUDIT_LANE, number, "first granule of the client's epoch",
              &line->from_granule,
              lines_within(tide_lanemend_get(&line->from_granule), map->first, granules.to));
}

/* --- slots ---------------------------------------------------------------------------------- */

static void lines_slot(struct tide_lanemend *self, uint32_t number, uint64_t position)
{
    const struct tide_lanes *map = self->map;
    struct tide_lanes_slot *slot = &map->slot[number * map->slots.size + position];
    uint64_t word = tide_lanemend_get(&slot->publish),
             done = tide_lanemend_get(&map->lane[number].done);
    const struct tide_lanemend_change at = {.kind = TIDE_LANEMEND_SLOT,
                                            .where = TIDE_AUDIT_LANE_SLOT,
                                            .what = "its publish word",
                                            .table = number,
                                            .position = position};
    if (tide_logmap_at(&map->slots, word) != position ||
        word - map->first - 1 > done + map->slots.size - 1 - map->first - 1)
        tide_lanemend_set(self, at, &slot->publish, 0);
}

/* What waits for a place, up to what is not visible: damaged batches become pads. */
static void lines_waiting(struct tide_lanemend *self, uint32_t number)
{
    const struct tide_lanes *map = self->map;
    const struct tide_lanes_lane *line = &map->lane[number];
    const struct tide_lanes_session *session = &map->session[number / map->brokers];
    uint64_t begin = tide_lanemend_get(&line->done);
    struct tide_lanes_slot slot;
    if (self->lane[number].any && (int64_t)(self->lane[number].top - begin) > 0)
        begin = self->lane[number].top;
    for (uint64_t i = begin; i - begin < map->slots.size && lines_has(map, number, i, &slot); i++) {
        if (slot.epoch != (uint32_t)tide_lanemend_get(&session->epoch) ||
            (slot.flags & TIDE_LAYOUT_PAD) != 0 || tide_lanemend_is_whole(map, number, &slot))
            continue;
        const struct tide_lanemend_change change = {.kind = TIDE_LANEMEND_CUT,
                                                    .where = TIDE_AUDIT_LANE_SLOT,
                                                    .table = number,
                                                    .position = i};
        tide_lanemend_say(self, &change);
        struct tide_lanes_slot *at = tide_lanes_slot(map, number, i);
        at->flags = TIDE_LAYOUT_PAD;
        tide_coh_wrote(map->coh, at, sizeof *at);
    }
}

/* --- sessions ------------------------------------------------------------------------------- */

/* The highest epoch of what stands in the lanes of a client. */
static uint64_t lines_epoch(const struct tide_lanemend *self, uint32_t client)
{
    const struct tide_lanes *map = self->map;
    uint64_t epoch = self->client[client].epoch;
    struct tide_lanes_slot slot;
    for (uint32_t b = 0; b < map->brokers; b++) {
        uint32_t lane = tide_lanes_number(map, client, b);
        uint64_t from = tide_lanemend_get(&map->lane[lane].released);
        for (uint64_t i = 0; i < map->slots.size; i++)
            if (lines_has(map, lane, from + i, &slot))
                epoch = tide_max(epoch, slot.epoch);
    }
    return epoch;
}

static void lines_session(struct tide_lanemend *self, uint32_t number)
{
    const struct tide_lanes *map = self->map;
    struct tide_lanes_session *line = &map->session[number];
    const struct tide_lanemend_client *client = &self->client[number];
    uint64_t epoch = tide_lanemend_get(&line->epoch);
    if (epoch > UINT32_MAX || epoch < client->epoch)
        lines_set(self, TIDE_AUDIT_SESSION, number, "epoch", &line->epoch,
                  lines_epoch(self, number));
    if (tide_lanemend_get(&line->state) > TIDE_LAYOUT_FENCED)
        lines_set(self, TIDE_AUDIT_SESSION, number, "state", &line->state, TIDE_LAYOUT_ACTIVE);
    if (map->level == 4 && client->known)
        lines_set(self, TIDE_AUDIT_SESSION, number, "number that is expected next", &line->expected,
                  client->next);
}

/* --- readers -------------------------------------------------------------------------------- */

/* A place from the first to the end; where there are fewer than before, the end. */
static uint64_t lines_place(const struct tide_lanemend *self, uint64_t place)
{
    const struct tide_lanes_head *head = self->map->head;
    uint64_t first = tide_lanemend_get(&head->trimmed_place),
             end = tide_lanemend_get(&head->committed);
    if (place - first <= end - first)
        return place;
    return place - end <= self->end - end ? end : first;
}

static void lines_reader(struct tide_lanemend *self, uint32_t number)
{
    struct tide_lanes_reader *line = &self->map->reader[number];
    uint64_t granted = tide_lanemend_get(&line->granted);
    if (tide_lanemend_get(&line->start) >= TIDE_LANES_STARTS)
        lines_set(self, TIDE_AUDIT_READER, number, "where it wants to begin", &line->start,
                  TIDE_LANES_GONE);
    if (granted == 0 || tide_lanemend_get(&line->start) == TIDE_LANES_GONE ||
        tide_lanemend_get(&line->error) != 0 || tide_lanemend_get(&line->joined) != granted)
        return;
    lines_set(self, TIDE_AUDIT_READER, number, "place that it reads next", &line->cursor,
              lines_place(self, tide_lanemend_get(&line->cursor)));
    if (tide_lanemend_get(&line->from) - self->map->first >
        tide_lanemend_get(&self->map->head->committed) - self->map->first)
        lines_set(self, TIDE_AUDIT_READER, number, "its first place", &line->from,
                  tide_lanemend_get(&line->cursor));
}

/* --- nodes ---------------------------------------------------------------------------------- */

static void lines_node(struct tide_lanemend *self, uint32_t number)
{
    struct tide_lanes_node *line = &self->map->node[number];
    uint64_t standing = tide_lanemend_get(&line->standing);
    if (standing >= TIDE_LANES_STANDINGS || (self->alone && standing != TIDE_LANES_FREE))
        lines_set(self, TIDE_AUDIT_NODE, number, "standing", &line->standing, TIDE_LANES_FREE);
}

/* Who led by a bid keeps others from opening the log. */
static void lines_lead(struct tide_lanemend *self)
{
    struct tide_lanes_head *head = self->map->head;
    const struct tide_lanemend_change at = {
        .kind = TIDE_LANEMEND_HEAD, .where = TIDE_AUDIT_HEAD, .what = "the sequencer's name"};
    if (tide_lanemend_get(&head->lead) != 0 &&
        tide_lanemend_get(&head->lead_way) != TIDE_LANECREW_ROOM &&
        (self->alone || self->map->nodes == 1))
        tide_lanemend_set(self, at, &head->lead, 0);
}

/* --- all ------------------------------------------------------------------------------------ */

void tide_lanemend_lines(struct tide_lanemend *self)
{
    const struct tide_lanes *map = self->map;
    for (uint32_t i = 0; i < map->lanes; i++)
        lines_lane(self, i);
    for (uint32_t i = 0; i < map->clients; i++)
        lines_session(self, i);
    for (uint32_t i = 0; i < map->lanes; i++) {
        for (uint64_t k = 0; k < map->slots.size; k++)
            lines_slot(self, i, k);
        lines_waiting(self, i);
    }
    for (uint32_t i = 0; i < map->readers; i++)
        lines_reader(self, i);
    for (uint32_t i = 0; i < map->nodes; i++)
        lines_node(self, i);
    lines_lead(self);
}
