/*
 * lane_fiber.h - a log of lanes under load in simulated memory: a sequencer, clients, readers and
 * an observer, each a fiber on a node of its own, noting what they do for the checker of
 * log_history.h. Nodes may crash at any point: a successor begins there with what the device
 * has. Clients may also be fenced while they go on, and open their sessions anew: what was visible
 * then has its place, if no fence came between.
 *
 * With rivals there are two fibers on two nodes for each client, that want the same node of the
 * log by turns: who has it sends, and then leaves, or stands still for longer than a lease, as a
 * process that was stopped, and goes on. Its lines are those of the one that has it: what the other
 * one writes there is found. And two fibers want to be the sequencer, in the same way; these
 * stand still in the middle of a step, too, wherever they look at their clock.
 */
#ifndef TESTS_LANE_FIBER_H
#define TESTS_LANE_FIBER_H

#include "coh_sim.h"
#include "log_history.h"

#include "box/lane.h"
#include "box/lanecrew.h"
#include "box/lanesub.h"

#define RUN_TICK 625 /* ns from point to point */
#define RUN_LEASE 10000000

enum {
    RUN_OBSERVER = 6, /* nodes of the simulator: behind the sequencer, clients and readers */
    RUN_RIVALS = 7,
    RUN_LEADER = 10,
    RUN_POINTS = RUN_LEASE / RUN_TICK
};
enum { RUN_CLIENTS = 3, RUN_READERS = 2, RUN_OPENS = 16, RUN_EVENTS = 1 << 21, RUN_OUT = 64 };

struct run_client {
    struct tide_lane lane;
    struct tide_lanecrew_node node;
    uint64_t beaten; /* when it last told that it lives */
    uint32_t id;
    int host;
    uint64_t random;
    uint64_t sent;     /* the last one */
    uint32_t epoch;    /* of its session */
    bool fenced;       /* it was fenced before it was seen to be granted */
    uint32_t opens;    /* how often it may still open it anew without need */
    uint64_t shown[4]; /* slots below are visible, of each broker */
    struct run_out {   /* sent and not acknowledged: a queue for each broker */
        uint64_t slot[RUN_OUT], ref[RUN_OUT];
        size_t from, to;
    } out[4];
};

struct run_reader {
    struct tide_lanesub sub;
    uint8_t who;
    uint32_t number; /* of the reader in the log */
    uint64_t random, next;
    bool began;
};

static struct {
    struct tide_lanes map[SIM_NODES];
    struct tide_laneseq seq;
    struct log_history *history;
    struct run_client client[2 * RUN_CLIENTS]; /* rivals behind the others */
    struct run_client *holder[RUN_CLIENTS];
    uint64_t number[RUN_CLIENTS]; /* of the client's next batch */
    uint64_t kept; /* batches that were visible when an epoch ended, and are held to have places */
    struct run_reader reader[RUN_READERS];
    struct run_leader {
        struct tide_laneseq seq;
        struct tide_lanecrew crew;
        int host;
        uint64_t random;
        bool opened;
    } leader[2], *leads_now; /* the last one that became the sequencer */
    uint32_t idle; /* steps of the sequencer that found nothing, when nobody sends any more */
    uint64_t names, turns, leads; /* processes; of these: that had a node, or were the sequencer */
    uint64_t steps;               /* then it comes to an end */
    uint32_t most;
    int clients, readers;
    int sending, reading; /* of them: not at their ends; reading: the observer, too */
    int fences;           /* that are still to come */
    bool opened, aborts, resends, rivals;
    uint64_t random, stops; /* stops: draws when the sequencer stands still */
    uint64_t stopped;
} run;

static inline bool run_is_over(void)
{
    return fibers.points >= run.steps;
}

/* What is sent later is not waited for. */
static inline bool run_is_all(uint64_t place)
{
    return run.sending == 0 && place == run.seq.place && (!run.rivals || run.idle > 20);
}

/* ---- clients ------------------------------------------------------------------------------ */

static inline unsigned char run_byte(uint64_t ref, uint32_t i)
{
    return (unsigned char)(ref * 5 + i);
}

static inline bool run_lives(struct run_client *self);

/* When all is visible that was committed. */
static inline void run_show(struct run_client *self)
{
    for (uint32_t i = 0; self->lane.held == 0 && i < self->lane.map->brokers; i++)
        self->shown[i] = self->lane.at[i].visible;
}

static inline void run_flush(struct run_client *self)
{
    tide_lane_flush(&self->lane);
    run_show(self);
}

/* The epoch behind the one that it had was granted: no fence came between, and what was visible has
 * its place. (A fence before the grant was seen: the epoch that it had was nobody's.) */
static inline void run_keep(struct run_client *self)
{
    for (size_t i = 0; i < 4; i++)
        for (struct run_out *out = &self->out[i]; out->from < out->to; out->from++) {
            uint64_t ref = out->ref[out->from % RUN_OUT];
            if (out->slot[out->from % RUN_OUT] >= self->shown[i] || ref == UINT64_MAX)
                continue;
            log_note(run.history, (struct log_event){.kind = LOG_TAKEN, .ref = ref});
            run.kept++;
        }
}

/* False: it is another one's session by now. */
static inline bool run_join(struct run_client *self)
{
    const struct tide_lanes *map = self->lane.map;
    tide_lane_ask(&self->lane, map, self->id);
    while (tide_lane_granted(&self->lane) != 0) {
        if (!run_lives(self))
            return false;
        sim_wait();
    }
    if (self->lane.epoch == self->epoch + 1 && !self->fenced)
        run_keep(self);
    self->epoch = self->lane.epoch;
    self->fenced = atomic_load_explicit(&map->session[self->id].state, memory_order_relaxed) !=
                   TIDE_LAYOUT_ACTIVE;
    memset(self->out, 0, sizeof self->out);
    run_show(self);
    if (map->level != 4)
        self->lane.next = run.number[self->id];
    log_note(run.history, (struct log_event){.kind = map->level == 4 ? LOG_OPEN : LOG_NOTHING,
                                             .client = (uint8_t)self->id,
                                             .epoch = self->lane.epoch,
                                             .number = self->lane.next});
    sim_progress();
    return true;
}

/* What is acknowledged of a broker's lane. False: the session is another one. */
static inline bool run_look(struct run_client *self, uint32_t broker)
{
    struct run_out *out = &self->out[broker];
    uint64_t done = tide_lane_done(&self->lane, broker);
    for (; out->from < out->to && out->slot[out->from % RUN_OUT] < done; out->from++) {
        uint64_t ref = out->ref[out->from % RUN_OUT];
        if (ref != UINT64_MAX)
            log_note(run.history, (struct log_event){.kind = LOG_TAKEN, .ref = ref});
        sim_progress();
    }
    return tide_lane_check(&self->lane, broker) != -ESTALE;
}

static inline void run_sent(struct run_client *self, uint32_t broker, uint64_t slot, uint64_t ref)
{
    struct run_out *out = &self->out[broker];
    UNIT_HOLD(out->to - out->from < RUN_OUT, "more sent than a lane holds");
    out->slot[out->to % RUN_OUT] = slot;
    out->ref[out->to++ % RUN_OUT] = ref;
}

/* Of a batch that is sent once more, one is placed, nobody knows which. */
static inline void run_forget(struct run_client *self, uint64_t ref)
{
    for (size_t i = 0; i < 4; i++)
        for (size_t at = self->out[i].from; at < self->out[i].to; at++)
            if (self->out[i].ref[at % RUN_OUT] == ref)
                self->out[i].ref[at % RUN_OUT] = UINT64_MAX;
}

/* One batch; false: full. With `again`, the one before once more. */
static inline bool run_send(struct run_client *self, bool again)
{
    struct tide_lane *lane = &self->lane;
    struct tide_lane_result result;
    uint64_t draw = unit_random(&self->random);
    uint32_t size = 8 + (uint32_t)(draw % (run.most - 7));
    uint32_t to = (uint32_t)(draw / 4096 % lane->map->brokers);
    if (!tide_lane_claim(lane, to, size))
        return run_look(self, to) && false;
    if (run.aborts && draw >> 60 == 0) {
        run_sent(self, to, lane->at[to].slot, UINT64_MAX);
        tide_lane_abort(lane);
        return true;
    }
    lane->next -= again;
    uint64_t ref = log_note(run.history, (struct log_event){.kind = LOG_INVOKE,
                                                            .client = (uint8_t)self->id,
                                                            .broker = (uint8_t)to,
                                                            .epoch = lane->epoch,
                                                            .count = 1 + (uint32_t)(draw >> 56) % 3,
                                                            .number = lane->next});
    memcpy(lane->claim.payload, &ref, sizeof ref);
    for (uint32_t i = 8; i < size; i++)
        lane->claim.payload[i] = run_byte(ref, i);
    if (again)
        run_forget(self, self->sent);
    run_sent(self, to, lane->at[to].slot, again ? UINT64_MAX : ref);
    self->sent = ref;
    run.number[self->id] =
        lane->next + 1; /* it may be visible, and its client gone, before it is back */
    tide_lane_commit(lane, run.history->event[ref].count, size, &result);
    run_show(self);
    return true;
}

/* All that was sent is acknowledged; false: the session is another one. */
static inline bool run_settle(struct run_client *self)
{
    run_flush(self);
    for (uint32_t i = 0; i < self->lane.map->brokers; i++)
        while (self->out[i].from < self->out[i].to) {
            if (!run_look(self, i))
                return false;
            sim_wait();
        }
    return true;
}

/* ---- rivals ------------------------------------------------------------------------------- */

static inline uint64_t run_now(void)
{
    return fibers.points * RUN_TICK;
}

/* Lets so many points go by. */
static inline void run_pause(uint64_t points)
{
    for (uint64_t end = fibers.points + points; fibers.points < end;)
        sim_wait();
}

/* The client's lines are of this node of the simulator from now on. */
static inline void run_own_client(const struct tide_lanes *map, uint32_t client, int node)
{
    uint64_t slots = map->slots.size * sizeof *map->slot, bytes = map->granules.size * 64;
    sim_own((size_t)((unsigned char *)&map->session[client] - map->base), TIDE_LINE, node);
    for (uint32_t lane = client * map->brokers; lane < (client + 1) * map->brokers; lane++) {
        sim_own((size_t)((unsigned char *)map->slot - map->base) + lane * slots, slots, node);
        sim_own((size_t)(map->payload - map->base) + lane * bytes, bytes, node);
    }
}

/* Gets the node of the log that the client belongs to; false: it is over. */
static inline bool run_enter(struct run_client *self)
{
    const struct tide_lanes *map = self->lane.map;
    int error = -EBUSY;
    while (error != 0) {
        error = tide_lanecrew_knock(&self->node, map, self->id, ++run.names);
        while (error == 0 && (error = tide_lanecrew_granted(&self->node, run_now())) == -EAGAIN) {
            if (run_is_over())
                return false;
            error = 0;
            sim_wait();
        }
        if (error == 0)
            break;
        if (run_is_over())
            return false;
        run_pause(50);
    }
    run_own_client(map, self->id, self->host);
    run.holder[self->id] = self;
    run.turns++;
    self->beaten = run_now();
    sim_progress();
    return true;
}

/* Tells that it lives when that is due; false: the node is somebody else's. */
static inline bool run_lives(struct run_client *self)
{
    uint64_t now = run_now();
    if (!run.rivals || !tide_lanecrew_is_due(&self->node, now))
        return true;
    if (tide_lanecrew_beat(&self->node, now) == 0) {
        if (run.holder[self->id] != self)
            sim_fail("E1: two have one node");
        self->beaten = now;
        return true;
    }
    if (now - self->beaten < RUN_LEASE / 2)
        sim_fail("E1: who beats was fenced");
    return false;
}

/* All of its own that was sent has its place, if it has the node so long. */
static inline bool run_settle_living(struct run_client *self)
{
    run_flush(self);
    for (uint32_t i = 0; i < self->lane.map->brokers; i++)
        while (self->out[i].from < self->out[i].to) {
            if (!run_lives(self) || !run_look(self, i))
                return false;
            sim_wait();
        }
    return true;
}

/* Leaves, or stands still for so long that others take it for dead. */
static inline void run_exit(struct run_client *self, uint64_t draw)
{
    if (draw % 2 == 0 || run_is_over()) {
        if (run_settle_living(self) && run_lives(self))
            tide_lanecrew_leave(&self->node);
        return;
    }
    run_flush(self);
    run_pause(RUN_POINTS + draw / 2 % RUN_POINTS);
    if (run_lives(self) && run_settle_living(self) && run_lives(self))
        tide_lanecrew_leave(&self->node);
}

/* As long as it has the node. */
static inline void run_reign(struct run_client *self)
{
    uint64_t left = 20 + unit_random(&self->random) % 200;
    if (!run_join(self))
        return;
    while (!run_is_over() && left-- > 0 && run_lives(self)) {
        uint64_t draw = unit_random(&self->random);
        if (!run_send(self, false) || draw % 8 == 0) {
            run_flush(self);
            sim_wait();
        }
        if (draw / 256 % 8 == 0 &&
            !run_look(self, (uint32_t)(draw / 4096 % self->lane.map->brokers)))
            break;
    }
    if (run_lives(self))
        run_exit(self, unit_random(&self->random));
}

static inline void run_compete(void *argument)
{
    struct run_client *self = argument;
    while (!run_is_over() && run_enter(self))
        run_reign(self);
    run.sending--;
}

/* As who closes it, and opens it at once. */
static inline bool run_is_to_open(struct run_client *self, uint64_t draw)
{
    if (self->opens == 0 || (draw >> 32) % 32 != 0)
        return false;
    self->opens--;
    run_flush(self);
    return true;
}

static inline void run_produce(void *argument)
{
    struct run_client *self = argument;
    run_join(self);
    while (!run_is_over()) {
        uint64_t draw = unit_random(&self->random);
        bool again = run.resends && draw % 16 == 0 && self->lane.next > 0;
        if (!run_send(self, again) || draw / 16 % 8 == 0) {
            run_flush(self);
            sim_wait();
        }
        if ((draw / 256 % 8 == 0 &&
             !run_look(self, (uint32_t)(draw / 4096 % self->lane.map->brokers))) ||
            run_is_to_open(self, draw))
            run_join(self);
    }
    while (!run_settle(self))
        run_join(self);
    run.sending--;
}

/* ---- the sequencer ------------------------------------------------------------------------ */

static inline void run_sequence(void *argument)
{
    struct tide_laneseq *seq = &run.seq;
    uint64_t turn = 0;
    (void)argument;
    if (run.opened)
        tide_laneseq_close(seq);
    run.opened = false;
    UNIT_HOLD(tide_laneseq_open(seq, &run.map[0]) == 0, "no memory");
    run.opened = true;
    while (run.sending > 0 || run.reading > 0) {
        if (tide_laneseq_step(seq, 1 + turn++ % 12) == 0)
            sim_wait();
        if (run.fences > 0 && unit_random(&run.random) % 512 == 0) {
            run.fences--;
            tide_laneseq_fence(seq, (uint32_t)(turn % (uint64_t)run.clients));
        }
    }
}

/* The sequencer's lines are of this node of the simulator from now on. */
static inline void run_own_lead(const struct tide_lanes *map, int node)
{
    sim_own(offsetof(struct tide_lanes_head, epoch), 384, node);
    sim_own((size_t)((unsigned char *)map->lane - map->base), map->lanes * sizeof *map->lane, node);
    sim_own((size_t)((unsigned char *)map->index - map->base),
            map->entries.size * sizeof *map->index, node);
    for (uint32_t i = 0; i < map->clients; i++)
        sim_own((size_t)((unsigned char *)&map->session[i].epoch - map->base), TIDE_LINE, node);
    for (uint32_t i = 0; i < map->readers; i++)
        sim_own((size_t)((unsigned char *)&map->reader[i].from - map->base), TIDE_LINE, node);
    for (uint32_t i = 0; i < map->nodes; i++)
        sim_own((size_t)((unsigned char *)&map->node[i].granted - map->base), TIDE_LINE, node);
}

static inline bool run_is_done(void)
{
    return run.sending == 0 && run.reading == 0;
}

/* The sequencer's clock. What it wrote before it stood still for so long is on the device. */
static inline uint64_t run_clock(void)
{
    if (unit_random(&run.stops) % 512 == 0 && !run_is_over()) {
        sim_drain();
        run.stopped++;
        run_pause(RUN_POINTS * 2);
    }
    return run_now();
}

static inline void run_lead(struct run_leader *self)
{
    const struct tide_lanes *map = &run.map[self->host];
    uint64_t left = 20 + unit_random(&self->random) % 200;
    run_own_lead(map, self->host);
    if (self->opened)
        tide_laneseq_close(&self->seq);
    UNIT_HOLD(tide_laneseq_open(&self->seq, map) == 0, "no memory");
    self->opened = true;
    self->seq.clock = run_clock;
    tide_lanecrew_begin(&self->crew, &self->seq, self->crew.self, TIDE_LANECREW_BID, run_now());
    run.leads++;
    run.leads_now = self;
    sim_progress();
    run.seq.place = self->seq.place;
    while (!run_is_done() && tide_lanecrew_lead(&self->crew, run_now()) == 0) {
        if (left-- == 0 && !run_is_over()) {
            run_pause(RUN_POINTS * 2);
            continue;
        }
        uint64_t done = tide_laneseq_step(&self->seq, 1);
        done += tide_lanecrew_serve(&self->crew, run_now());
        if (run.leads_now != self)
            break;
        run.idle = run.sending == 0 && done == 0 ? run.idle + 1 : 0;
        if (done == 0)
            sim_wait();
        run.seq.place = self->seq.place;
        run.seq.base = self->seq.base;
    }
}

/* Wants to be the sequencer, again and again. */
static inline void run_bid(void *argument)
{
    struct run_leader *self = argument;
    while (!run_is_done()) {
        struct tide_lanecrew_bid bid;
        int error;
        self->crew.self = ++run.names;
        tide_lanecrew_bid(&bid, &run.map[self->host], self->crew.self, run_now());
        while ((error = tide_lanecrew_won(&bid, run_now())) == -EAGAIN && !run_is_done())
            sim_wait();
        if (error == 0)
            run_lead(self);
        else
            run_pause(100);
    }
}

/* ---- readers ------------------------------------------------------------------------------ */

static inline bool run_is_whole(const struct tide_lanesub_batch *batch, uint64_t *ref)
{
    bool whole = batch->size >= 8;
    *ref = UINT64_MAX;
    if (whole)
        memcpy(ref, batch->data, sizeof *ref);
    for (uint32_t i = 8; i < batch->size && whole; i++)
        whole = batch->data[i] == run_byte(*ref, i);
    return whole;
}

static inline void run_note_read(struct run_reader *self, const struct tide_lanesub_batch *batch)
{
    uint64_t ref;
    bool whole = run_is_whole(batch, &ref);
    if (!whole || ref >= run.history->count)
        sim_fail("R2");
    log_note(run.history, (struct log_event){.kind = LOG_READ,
                                             .who = self->who,
                                             .client = (uint8_t)batch->client,
                                             .broker = (uint8_t)batch->broker,
                                             .whole = whole,
                                             .count = batch->count,
                                             .number = batch->number,
                                             .position = batch->position,
                                             .base = batch->base,
                                             .ref = ref});
    self->next = batch->position + 1;
    self->began = true;
    sim_progress();
}

static inline void run_read(void *argument)
{
    struct run_reader *self = argument;
    const struct tide_lanes *map = self->sub.map;
    struct tide_lanesub_batch batch[4];
    tide_lanesub_ask(&self->sub, map, self->number,
                     self->began ? TIDE_LANES_POSITION : TIDE_LANES_EARLIEST, self->next);
    int got;
    while ((got = tide_lanesub_granted(&self->sub)) == -EAGAIN)
        sim_wait();
    if (got != 0)
        sim_fail("T1: what a reader had not passed is gone");
    while (!run_is_all(self->next)) {
        got = tide_lanesub_poll(&self->sub, batch, 1 + (int)(unit_random(&self->random) % 4));
        if (got < 0)
            sim_fail("R2");
        for (int i = 0; i < got; i++)
            run_note_read(self, &batch[i]);
        /* They stay as they are until the next call. */
        if (got == 0 || unit_random(&self->random) % 4 == 0)
            sim_wait();
        for (int i = 0; i < got; i++)
            if (!run_is_whole(&batch[i], &(uint64_t){0}))
                sim_fail("R2");
    }
    tide_lanesub_done(&self->sub);
    tide_lanesub_close(&self->sub);
    log_note(run.history,
             (struct log_event){.kind = LOG_END, .who = self->who, .position = self->next});
    run.reading--;
}

/* What is said to be committed is there; in the end that is everything. */
static inline void run_observe(void *argument)
{
    const struct tide_lanes *map = argument;
    const _Atomic uint64_t *word = &map->head->committed;
    for (uint64_t committed = 0; !run_is_all(committed);) {
        tide_coh_fresh(map->coh, word, sizeof *word);
        committed = tide_coh_get(map->coh, word);
        log_note(run.history, (struct log_event){.kind = LOG_COMMIT, .position = committed});
        if (committed > map->first) {
            const struct tide_lanes_entry *entry = tide_lanes_entry(map, committed - 1);
            tide_coh_fresh(map->coh, entry, sizeof *entry);
            if (tide_coh_get(map->coh, &entry->seq) < committed)
                sim_fail("C1");
        }
        for (int i = 0; i < 20 && run.sending > 0; i++)
            sim_wait();
        sim_wait();
    }
    run.reading--;
}

#endif
