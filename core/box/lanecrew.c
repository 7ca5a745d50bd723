/* lanecrew.c - see lanecrew.h */
#include "box/lanecrew.h"

/* --- a node's process -------------------------------------------------------------------- */

static struct tide_lanes_node *lanecrew_line(const struct tide_lanecrew_node *self)
{
    return &self->map->node[self->number];
}

/* Of a line of several words some may be read before it changes, and others behind: the word that
 * is written last is read first here, and what stands at a door is one knock by its seal. */
static uint64_t lanecrew_seal(uint64_t own, uint64_t turn)
{
    return own ^ tide_mix(turn + 1);
}

/* What the sequencer says of the node, as it is now. */
static struct tide_lanes_node *lanecrew_answer(const struct tide_lanecrew_node *self)
{
    struct tide_lanes_node *line = lanecrew_line(self);
    tide_coh_fresh(self->map->coh, &line->granted, TIDE_LINE);
    return line;
}

static void lanecrew_write_door(const struct tide_lanecrew_node *self)
{
    struct tide_lanes_node *line = lanecrew_line(self);
    tide_coh_set(self->map->coh, &line->seal, lanecrew_seal(self->self, self->turn));
    tide_coh_set(self->map->coh, &line->door, self->self);
    tide_coh_wrote(self->map->coh, &line->door, TIDE_LINE);
    tide_coh_drain(self->map->coh);
}

/* Somebody knocks who wants the turn behind this one: a number, else 0. */
static uint64_t lanecrew_knocker(const struct tide_lanes *map, uint32_t number, uint64_t turn)
{
    struct tide_lanes_node *line = &map->node[number];
    tide_coh_fresh(map->coh, &line->door, TIDE_LINE);
    uint64_t door = tide_coh_get(map->coh, &line->door);
    return tide_coh_get(map->coh, &line->seal) == lanecrew_seal(door, turn) ? door : 0;
}

/* Somebody has the node, and did not say that it leaves. */
static bool lanecrew_is_held(const struct tide_lanecrew_node *self)
{
    const struct tide_lanes *map = self->map;
    const struct tide_lanes_node *line = lanecrew_line(self);
    if (tide_coh_get(map->coh, &line->standing) != TIDE_LANES_HELD)
        return false;
    tide_coh_fresh(map->coh, &line->holder, TIDE_LINE);
    return tide_coh_get(map->coh, &line->holder) != tide_coh_get(map->coh, &line->granted) ||
           tide_coh_get(map->coh, &line->beat) != TIDE_LANES_GONE_BEAT;
}

int tide_lanecrew_knock(struct tide_lanecrew_node *self, const struct tide_lanes *map,
                        uint32_t number, uint64_t own)
{
    *self = (struct tide_lanecrew_node){.map = map, .self = own, .number = number};
    struct tide_lanes_node *line = lanecrew_answer(self);
    self->turn = tide_coh_get(map->coh, &line->turn);
    if (lanecrew_is_held(self))
        return -EBUSY;
    tide_coh_fresh(map->coh, &line->door, TIDE_LINE);
    lanecrew_write_door(self);
    return 0;
}

/* The holder's line as a whole. */
static void lanecrew_tell(const struct tide_lanecrew_node *self, uint64_t beat)
{
    struct tide_lanes_node *line = lanecrew_line(self);
    tide_coh_set(self->map->coh, &line->beat, beat);
    tide_coh_set(self->map->coh, &line->holder, self->self);
    tide_coh_wrote(self->map->coh, &line->holder, TIDE_LINE);
    tide_coh_drain(self->map->coh);
}

/* The one before may have left an old copy of its line in the caches of this host. */
static void lanecrew_take(struct tide_lanecrew_node *self, uint64_t now)
{
    self->turn++;
    atomic_store_explicit(&self->seen, now, memory_order_relaxed);
    tide_coh_fresh(self->map->coh, &lanecrew_line(self)->holder, TIDE_LINE);
    lanecrew_tell(self, ++self->beat);
}

int tide_lanecrew_granted(struct tide_lanecrew_node *self, uint64_t now)
{
    const struct tide_lanes *map = self->map;
    struct tide_lanes_node *line = lanecrew_answer(self);
    uint64_t turn = tide_coh_get(map->coh, &line->turn); /* written last */
    if (turn == self->turn + 1 && tide_coh_get(map->coh, &line->granted) == self->self) {
        if (tide_coh_get(map->coh, &line->standing) != TIDE_LANES_HELD)
            return -EBUSY; /* too late */
        lanecrew_take(self, now);
        return 0;
    }
    if (turn != self->turn)
        return -EBUSY;
    /* Somebody's late knock of a turn before may stand there: it is not heard. */
    if (lanecrew_knocker(map, self->number, self->turn) == 0)
        lanecrew_write_door(self);
    return -EAGAIN;
}

int tide_lanecrew_beat(struct tide_lanecrew_node *self, uint64_t now)
{
    const struct tide_lanes *map = self->map;
    struct tide_lanes_node *line = lanecrew_answer(self);
    if (tide_coh_get(map->coh, &line->granted) != self->self ||
        tide_coh_get(map->coh, &line->turn) != self->turn ||
        tide_coh_get(map->coh, &line->standing) != TIDE_LANES_HELD)
        return -ESTALE;
    lanecrew_tell(self, ++self->beat);
    atomic_store_explicit(&self->seen, now, memory_order_relaxed);
    return 0;
}

void tide_lanecrew_leave(struct tide_lanecrew_node *self)
{
    lanecrew_tell(self, TIDE_LANES_GONE_BEAT);
}

/* --- bids ---------------------------------------------------------------------------------- */

/* The sequencer's name and beat, as they are now. */
static struct tide_lanes_head *lanecrew_head(const struct tide_lanes *map)
{
    tide_coh_fresh(map->coh, &map->head->lead, TIDE_LINE);
    return map->head;
}

static void lanecrew_write_lead(const struct tide_lanes *map, uint64_t lead, uint64_t beat,
                                enum tide_lanecrew_way way)
{
    struct tide_lanes_head *head = map->head;
    tide_coh_set(map->coh, &head->lead_way, way);
    tide_coh_set(map->coh, &head->lead_beat, beat);
    tide_coh_set(map->coh, &head->lead, lead);
    tide_coh_wrote(map->coh, &head->lead, TIDE_LINE);
    tide_coh_drain(map->coh);
}

void tide_lanecrew_bid(struct tide_lanecrew_bid *self, const struct tide_lanes *map, uint64_t own,
                       uint64_t now)
{
    const struct tide_lanes_head *head = lanecrew_head(map);
    *self = (struct tide_lanecrew_bid){.map = map, .self = own, .since = now};
    self->lead = tide_coh_get(map->coh, &head->lead);
    self->beat = tide_coh_get(map->coh, &head->lead_beat);
}

int tide_lanecrew_won(struct tide_lanecrew_bid *self, uint64_t now)
{
    const struct tide_lanes *map = self->map;
    const struct tide_lanes_head *head = lanecrew_head(map);
    uint64_t lead = tide_coh_get(map->coh, &head->lead), passed = now - self->since;
    if (self->written) {
        if (lead != self->self)
            return -EBUSY;
        return passed >= map->lease / 2 ? 0 : -EAGAIN;
    }
    if (lead != self->lead || tide_coh_get(map->coh, &head->lead_beat) != self->beat)
        return -EBUSY;
    if (lead != 0 && passed < map->lease)
        return -EAGAIN;
    lanecrew_write_lead(map, self->self, 0, TIDE_LANECREW_BID);
    self->written = true;
    self->since = now;
    return -EAGAIN;
}

/* --- the sequencer ------------------------------------------------------------------------- */

/* The sequencer's line of a node as a whole. */
static void lanecrew_tell_seat(const struct tide_lanecrew *self, uint32_t number)
{
    const struct tide_lanes *map = self->seq->map;
    const struct tide_lanecrew_seat *seat = &self->seat[number];
    struct tide_lanes_node *line = &map->node[number];
    tide_coh_set(map->coh, &line->granted, seat->granted);
    tide_coh_set(map->coh, &line->standing, seat->standing);
    tide_coh_set(map->coh, &line->turn, seat->turn);
    tide_coh_wrote(map->coh, &line->granted, TIDE_LINE);
    tide_coh_drain(map->coh);
}

void tide_lanecrew_begin(struct tide_lanecrew *self, struct tide_laneseq *seq, uint64_t own,
                         enum tide_lanecrew_way way, uint64_t now)
{
    const struct tide_lanes *map = seq->map;
    *self = (struct tide_lanecrew){.seq = seq, .self = own, .seen = now};
    lanecrew_write_lead(map, own, ++self->beat, way);
    seq->until = now + map->lease;
    /* tide_laneseq_open has just fetched these lines. */
    for (uint32_t i = 0; i < map->nodes; i++) {
        const struct tide_lanes_node *line = &map->node[i];
        uint64_t standing = tide_coh_get(map->coh, &line->standing);
        self->seat[i] = (struct tide_lanecrew_seat){
            .granted = tide_coh_get(map->coh, &line->granted),
            .turn = tide_coh_get(map->coh, &line->turn),
            .since = now,
            .standing = standing < TIDE_LANES_STANDINGS ? (enum tide_lanes_standing)standing
                                                        : TIDE_LANES_FENCED,
        };
    }
}

int tide_lanecrew_lead(struct tide_lanecrew *self, uint64_t now)
{
    const struct tide_lanes *map = self->seq->map;
    const struct tide_lanes_head *head = lanecrew_head(map);
    if (tide_coh_get(map->coh, &head->lead) != self->self)
        return -ESTALE; /* also where its clock stood still, and no time has gone by */
    self->seq->until = self->seen + map->lease;
    if (now - self->seen < map->lease / 8)
        return 0;
    uint64_t way = tide_coh_get(map->coh, &head->lead_way);
    lanecrew_write_lead(map, self->self, ++self->beat, (enum tide_lanecrew_way)way);
    self->seen = now;
    self->seq->until = now + map->lease;
    return 0;
}

/* Nothing of the node's clients that has no place gets one, and its readers hold nobody back. */
static void lanecrew_fence(const struct tide_lanecrew *self, uint32_t number)
{
    const struct tide_lanes *map = self->seq->map;
    uint32_t clients = map->clients / map->nodes, readers = map->readers / map->nodes;
    for (uint32_t i = number * clients; i < (number + 1) * clients; i++)
        if (self->seq->session[i].state == TIDE_LAYOUT_ACTIVE)
            tide_laneseq_fence(self->seq, i);
    for (uint32_t i = number * readers; i < (number + 1) * readers; i++)
        tide_laneseq_forget(self->seq, i);
}

static void lanecrew_stand(struct tide_lanecrew *self, uint32_t number,
                           enum tide_lanes_standing standing, uint64_t now)
{
    self->seat[number].standing = standing;
    self->seat[number].since = now;
    lanecrew_tell_seat(self, number);
}

static void lanecrew_grant(struct tide_lanecrew *self, uint32_t number, uint64_t to, uint64_t now)
{
    struct tide_lanecrew_seat *seat = &self->seat[number];
    seat->granted = to;
    seat->turn++;
    seat->beat = 0;
    lanecrew_stand(self, number, TIDE_LANES_HELD, now);
}

void tide_lanecrew_seat(struct tide_lanecrew *self, struct tide_lanecrew_node *node, uint64_t now)
{
    struct tide_lanecrew_seat *seat = &self->seat[node->number];
    lanecrew_fence(self, node->number);
    node->turn = seat->turn;
    lanecrew_grant(self, node->number, node->self, now);
    lanecrew_take(node, now);
}

/* Somebody wants it. */
static bool lanecrew_hear(struct tide_lanecrew *self, uint32_t number, uint64_t now)
{
    uint64_t door = lanecrew_knocker(self->seq->map, number, self->seat[number].turn);
    if (door == 0)
        return false;
    lanecrew_grant(self, number, door, now);
    return true;
}

/* Whoever has it lives, left, or was not heard of for too long. */
static bool lanecrew_listen(struct tide_lanecrew *self, uint32_t number, uint64_t now)
{
    const struct tide_lanes *map = self->seq->map;
    const struct tide_lanes_node *line = &map->node[number];
    struct tide_lanecrew_seat *seat = &self->seat[number];
    tide_coh_fresh(map->coh, &line->holder, TIDE_LINE);
    bool its = tide_coh_get(map->coh, &line->holder) == seat->granted;
    uint64_t beat = tide_coh_get(map->coh, &line->beat);
    if (its && beat != seat->beat) {
        seat->beat = beat;
        seat->since = now;
    }
    bool left = seat->beat == TIDE_LANES_GONE_BEAT;
    if (!left && now - seat->since <= map->lease)
        return false;
    if (!left)
        lanecrew_fence(self, number);
    lanecrew_stand(self, number, left ? TIDE_LANES_FREE : TIDE_LANES_FENCED, now);
    return true;
}

/* Whoever was fenced may have asked for more before it knew, and may be writing yet. */
static void lanecrew_hold_off(struct tide_lanecrew *self, uint32_t number, uint64_t now)
{
    lanecrew_fence(self, number);
    if (now - self->seat[number].since > self->seq->map->lease)
        lanecrew_stand(self, number, TIDE_LANES_FREE, now);
}

uint64_t tide_lanecrew_serve(struct tide_lanecrew *self, uint64_t now)
{
    const struct tide_lanes *map = self->seq->map;
    uint64_t done = 0;
    for (uint32_t i = 0; i < map->nodes; i++) {
        const struct tide_lanecrew_seat *seat = &self->seat[i];
        if (!tide_laneseq_may(self->seq))
            break;
        if (seat->standing == TIDE_LANES_FENCED)
            lanecrew_hold_off(self, i, now);
        if (seat->standing == TIDE_LANES_HELD)
            done += lanecrew_listen(self, i, now);
        if (seat->standing == TIDE_LANES_FREE)
            done += lanecrew_hear(self, i, now);
    }
    return done;
}

int tide_lanecrew_expel(struct tide_lanecrew *self, uint32_t number, uint64_t now)
{
    if (self->seat[number].standing != TIDE_LANES_HELD)
        return -ESRCH;
    lanecrew_fence(self, number);
    lanecrew_stand(self, number, TIDE_LANES_FENCED, now);
    return 0;
}

void tide_lanecrew_resign(struct tide_lanecrew *self)
{
    lanecrew_write_lead(self->seq->map, 0, self->beat, TIDE_LANECREW_BID);
}
