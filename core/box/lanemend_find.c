/* lanemend_find.c - which batch is meant by a damaged entry; see lanemend.h */
#include "box/lanemend.h"

/* Of the words that tell an entry's slot (index, end, number, lane, check sum) so many must fit. */
enum { LANEMEND_LIKE = 3 };

/* --- between the others of its lane --------------------------------------------------------- */

/* The next slot that a sound entry is of, or the end of the lane. */
static uint64_t lanemend_next(struct tide_lanemend *self, uint32_t lane)
{
    struct tide_lanemend_lane *at = &self->lane[lane];
    if ((int64_t)(at->next - at->slot) < 0)
        at->next = at->slot;
    while ((int64_t)(at->to - at->next) > 0 && !tide_lanemend_is_taken(self, lane, at->next))
        at->next++;
    return at->next;
}

/* It fits between what was decided on and the next sound batch of its lane. */
static bool lanemend_has_room(struct tide_lanemend *self, uint32_t lane,
                              const struct tide_lanes_slot *slot)
{
    uint64_t index = tide_lanemend_get(&slot->publish), next = lanemend_next(self, lane);
    struct tide_lanes_slot behind;
    if (!tide_lanemend_is_behind(self, lane, slot) ||
        index - self->lane[lane].from >= next - self->lane[lane].from)
        return false;
    if (next == self->lane[lane].to)
        return true;
    tide_layout_words(&behind, tide_lanes_slot(self->map, lane, next), sizeof behind);
    return (int64_t)(tide_lanemend_start(&behind) - slot->end) >= 0;
}

static bool lanemend_is_spare(struct tide_lanemend *self, uint32_t lane,
                              struct tide_lanes_slot *slot)
{
    struct tide_lanemend_lane *at = &self->lane[lane];
    const struct tide_lanes_session *session = &self->map->session[lane / self->map->brokers];
    tide_layout_words(slot, tide_lanes_slot(self->map, lane, at->spare), sizeof *slot);
    if (tide_lanemend_get(&slot->publish) != at->spare || slot->flags != 0 || slot->epoch == 0 ||
        slot->epoch > tide_lanemend_get(&session->epoch) ||
        tide_lanemend_turn(self, lane, slot->number) < 0 || !lanemend_has_room(self, lane, slot))
        return false;
    if (at->proven == at->spare)
        return true;
    if (!tide_lanemend_is_whole(self->map, lane, slot))
        return false;
    at->proven = at->spare;
    return true;
}

/* The first batch of this lane that is whole and that no entry is of; false: there is none. */
static bool lanemend_spare(struct tide_lanemend *self, uint32_t lane, struct tide_lanes_slot *slot)
{
    struct tide_lanemend_lane *at = &self->lane[lane];
    uint64_t next = lanemend_next(self, lane);
    if ((int64_t)(at->spare - at->slot) < 0)
        at->spare = at->slot;
    for (; (int64_t)(next - at->spare) > 0; at->spare++)
        if (lanemend_is_spare(self, lane, slot))
            return tide_lanemend_turn(self, lane, slot->number) == 0;
    return false;
}

struct lanemend_search {
    struct tide_lanes_entry entry;
    struct tide_lanes_slot says, slot; /* what the entry says; the best one of those found */
    uint64_t place;
    uint32_t own, lane;   /* what it says; of the best one */
    unsigned likeness;    /* of the best one */
    uint64_t found, best; /* how many there are, and how many are as much like it */
};

static unsigned lanemend_likeness(const struct tide_lanemend *self,
                                  const struct lanemend_search *search, uint32_t lane,
                                  const struct tide_lanes_slot *slot)
{
    const struct tide_lanes_slot *says = &search->says;
    return (tide_lanemend_get(&says->publish) == tide_lanemend_get(&slot->publish)) +
           (says->end == slot->end) + (says->number == slot->number) + (lane == search->own) +
           (self->map->checksum && says->checksum == slot->checksum);
}

static void lanemend_try(struct tide_lanemend *self, struct lanemend_search *search, uint32_t lane)
{
    struct tide_lanes_slot slot;
    if (!lanemend_spare(self, lane, &slot))
        return;
    unsigned likeness = lanemend_likeness(self, search, lane, &slot);
    search->found++;
    if (search->best != 0 && likeness < search->likeness)
        return;
    search->best = search->best != 0 && likeness == search->likeness ? search->best + 1 : 1;
    search->likeness = likeness;
    search->slot = slot;
    search->lane = lane;
}

/* What the entry says is right, and its slot is damaged. */
static bool lanemend_is_right(struct tide_lanemend *self, const struct lanemend_search *search)
{
    const struct tide_lanes_slot *says = &search->says;
    return tide_lanemend_get(&search->entry.seq) == search->place + 1 &&
           search->own < self->map->lanes && says->epoch != 0 &&
           lanemend_has_room(self, search->own, says) &&
           !tide_lanemend_is_taken(self, search->own, tide_lanemend_get(&says->publish)) &&
           tide_lanemend_turn(self, search->own, says->number) == 0 &&
           tide_lanemend_is_whole(self->map, search->own, says);
}

/* Both may be right, but the entry's number is the one before the client's next sound batch; or, of
 * two that frames fit, it is the longer one: the end of a batch may look like one. */
static bool lanemend_is_better(const struct tide_lanemend *self,
                               const struct lanemend_search *search)
{
    if (search->own >= self->map->lanes)
        return false;
    if (!self->map->checksum && search->says.size > search->slot.size)
        return true;
    const struct tide_lanemend_client *client = &self->client[search->own / self->map->brokers];
    return self->map->level == 4 && !client->known && search->says.number + 1 == client->hint &&
           search->slot.number + 1 != client->hint;
}

/* The slot is written anew, as the entry says. */
static void lanemend_write_slot(struct tide_lanemend *self, uint32_t lane,
                                const struct tide_lanes_slot *says)
{
    uint64_t index = tide_lanemend_get(&says->publish);
    struct tide_lanes_slot *slot = tide_lanes_slot(self->map, lane, index);
    const struct tide_lanemend_change change = {.kind = TIDE_LANEMEND_SLOT,
                                                .where = TIDE_AUDIT_LANE_SLOT,
                                                .table = lane,
                                                .position = index};
    tide_lanemend_say(self, &change);
    slot->number = says->number;
    slot->end = says->end;
    slot->size = says->size;
    slot->count = says->count;
    slot->epoch = says->epoch;
    slot->flags = 0;
    slot->checksum = says->checksum;
    tide_coh_set(self->map->coh, &slot->publish, index);
    tide_coh_wrote(self->map->coh, slot, sizeof *slot);
}

/* The slot was looked at, as its lane says: waiting ones are not meant by an entry that says
 * nothing. */
static bool lanemend_is_done(const struct tide_lanemend *self, uint32_t lane, uint64_t slot)
{
    uint64_t done = tide_lanemend_get(&self->map->lane[lane].done), from = self->lane[lane].from;
    return done - from > self->map->slots.size || (int64_t)(done - slot) > 0;
}

bool tide_lanemend_find(struct tide_lanemend *self, uint64_t place, uint32_t *lane,
                        struct tide_lanes_slot *slot)
{
    const struct tide_lanes *map = self->map;
    struct lanemend_search search = {.place = place};
    tide_layout_words(&search.entry, tide_lanes_entry(map, place), sizeof search.entry);
    search.own = tide_lanemend_read(map, &search.entry, &search.says);
    if (search.own < map->lanes)
        lanemend_try(self, &search, search.own);
    for (uint32_t i = 0; i < map->lanes && search.likeness < LANEMEND_LIKE; i++)
        if (i != search.own)
            lanemend_try(self, &search, i);
    bool like = search.best == 1 && search.likeness >= LANEMEND_LIKE;
    if ((!like || lanemend_is_better(self, &search)) && lanemend_is_right(self, &search)) {
        *lane = search.own;
        *slot = search.says;
        lanemend_write_slot(self, search.own, slot);
        return true;
    }
    *lane = search.lane;
    *slot = search.slot;
    return like || (search.found == 1 && tide_lanemend_get(&search.entry.seq) != place + 1 &&
                    lanemend_is_done(self, search.lane, tide_lanemend_get(&slot->publish)));
}

bool tide_lanemend_has_spare(struct tide_lanemend *self)
{
    struct tide_lanes_slot slot;
    for (uint32_t i = 0; i < self->map->lanes; i++)
        if (lanemend_spare(self, i, &slot) &&
            lanemend_is_done(self, i, tide_lanemend_get(&slot.publish)))
            return true;
    return false;
}
