/*
 * lane_run.h - a run of the fibers of lane_fiber.h: who writes which line, and what the checker
 * says in the end.
 */
#ifndef TESTS_LANE_RUN_H
#define TESTS_LANE_RUN_H

#include "lane_fiber.h"

/* ---- a run -------------------------------------------------------------------------------- */

/* Who may write which line: the table of lanes.h. */
static inline void run_own(const struct tide_lanes *map)
{
    run_own_lead(map, 0);
    for (uint32_t i = 0; i < RUN_CLIENTS; i++)
        run_own_client(map, i, 1 + (int)i);
    for (int i = 0; i < RUN_READERS; i++)
        sim_own((size_t)((unsigned char *)&map->reader[run.reader[i].number] - map->base),
                TIDE_LINE, 1 + RUN_CLIENTS + i);
    sim_own(offsetof(struct tide_lanes_head, lead), TIDE_LINE, SIM_ANYBODY);
    for (uint32_t i = 0; i < map->nodes; i++) {
        sim_own((size_t)((unsigned char *)&map->node[i].door - map->base), TIDE_LINE, SIM_ANYBODY);
        sim_own((size_t)((unsigned char *)&map->node[i].holder - map->base), TIDE_LINE,
                SIM_ANYBODY);
    }
}

static inline void run_add_client(int number, int node, uint64_t seed)
{
    struct run_client *client = &run.client[number];
    *client = (struct run_client){
        .id = (uint32_t)(number % RUN_CLIENTS),
        .host = node,
        .random = (seed + 5) * 77 + number,
        .opens = run.rivals ? 0 : RUN_OPENS,
    };
    client->lane.map = &run.map[node];
    sim_add(run.rivals ? run_compete : run_produce, client, node);
}

static inline void run_add_leader(int number, int node, uint64_t seed)
{
    run.leader[number] = (struct run_leader){.host = node, .random = (seed + 3) * 55 + number};
    sim_add(run_bid, &run.leader[number], node);
}

static inline void run_add_all(uint64_t seed)
{
    if (run.rivals)
        run_add_leader(0, 0, seed);
    else
        sim_add(run_sequence, NULL, 0);
    for (int i = 0; i < RUN_CLIENTS; i++)
        run_add_client(i, 1 + i, seed);
    for (int i = 0; i < run.readers; i++) {
        run.reader[i].random = (seed + 9) * 99 + i;
        run.reader[i].sub.map = &run.map[1 + RUN_CLIENTS + i];
        run.reader[i].next = run.map[0].first;
        sim_add(run_read, &run.reader[i], 1 + RUN_CLIENTS + i);
    }
    sim_add(run_observe, &run.map[RUN_OBSERVER], RUN_OBSERVER);
    for (int i = 0; i < RUN_CLIENTS && run.rivals; i++)
        run_add_client(RUN_CLIENTS + i, RUN_RIVALS + i, seed);
    if (run.rivals)
        run_add_leader(1, RUN_LEADER, seed);
}

static inline void run_plan(struct tide_lanes_head *plan, uint32_t level, uint64_t seed)
{
    static const uint64_t slots[] = {2, 3, 5, 8, 13};
    static const uint64_t first[] = {0, 0x7fffffe0, 0xffffffe0, (UINT64_C(1) << 63) - 32};
    struct tide_layout_fault fault;
    uint64_t granules = 8 + seed / 5 % 13;
    uint32_t nodes = run.rivals ? RUN_CLIENTS + 1 : 1; /* the last one: of the readers */
    run.most = (uint32_t)(granules / 4 * 64);
    for (int i = 0; i < RUN_READERS; i++)
        run.reader[i] = (struct run_reader){.who = (uint8_t)i,
                                            .number = (nodes - 1) * RUN_READERS + (uint32_t)i};
    bool planned =
        tide_lanes_plan(plan,
                        &(struct tide_layout_wish){.level = level,
                                                   .brokers = 1 + seed / 3 % 3,
                                                   .producers = run.rivals ? nodes : RUN_CLIENTS,
                                                   .readers = nodes * RUN_READERS,
                                                   .nodes = nodes,
                                                   .lease = RUN_LEASE,
                                                   .slots = slots[seed % 5],
                                                   .payload = 64 * granules,
                                                   .first = first[seed / 2 % 4]},
                        &fault);
    UNIT_HOLD(planned, "no plan");
}

/* The clients' acknowledgements get their positions from what was read. */
static inline void run_place_acks(struct log_history *history)
{
    uint64_t *read = calloc(history->count + 1, sizeof *read);
    for (size_t i = 0; i < history->count; i++)
        if (history->event[i].kind == LOG_READ && history->event[i].who == 0)
            read[history->event[i].ref] = i + 1;
    for (size_t i = 0; i < history->count; i++) {
        struct log_event *event = &history->event[i];
        if (event->kind != LOG_TAKEN || read[event->ref] == 0)
            continue;
        const struct log_event *at = &history->event[read[event->ref] - 1];
        event->kind = LOG_ACK;
        event->position = at->position;
        event->base = at->base;
    }
    free(read);
}

static inline const char *run_verdict(void)
{
    if (sim.broken != NULL)
        return sim.broken;
    run.history->first = run.map[0].first;
    run.history->taken = run.seq.place;
    run.history->messages = run.seq.base;
    run_place_acks(run.history);
    return log_check(run.history);
}

static inline void run_close(void)
{
    if (run.opened)
        tide_laneseq_close(&run.seq);
    for (int i = 0; i < 2; i++)
        if (run.leader[i].opened)
            tide_laneseq_close(&run.leader[i].seq);
}

/* What is different with rivals. */
static inline void run_rival(bool crashes)
{
    run.sending = 2 * RUN_CLIENTS;
    run.fences = 0;
    run.resends = false;
    sim.period = 7 * RUN_POINTS;
    sim.stall = 5 * RUN_POINTS;
    sim.mortal = crashes ? 1 + RUN_CLIENTS : 0;
}

/* Fibers of `level` that run for so many points. Returns what was broken, or NULL. */
static inline const char *run_with(uint32_t level, uint64_t seed, uint64_t steps, bool crashes,
                                   bool rivals)
{
    struct tide_lanes_head plan;
    struct tide_layout_fault fault;
    memset(&run, 0, sizeof run);
    run.rivals = rivals;
    run_plan(&plan, level, seed);
    sim_begin(plan.size, rivals ? SIM_NODES : RUN_RIVALS, seed);
    tide_lanes_format(TIDE_COH_COHERENT, sim.device, &plan, (const uint8_t[16]){1}, true);
    sim_share();
    for (int i = 0; i < sim.nodes; i++) {
        sim.at[fibers.current] = i;
        UNIT_HOLD(
            tide_lanes_open(&run.map[i], TIDE_COH_SIMULATED, sim.node[i].image, sim.bytes, &fault),
            "not a log: %s", fault.what);
    }
    run_own(&run.map[0]);
    run.history = log_history_new(level, 0, RUN_EVENTS);
    run.random = seed * 31 + 7;
    run.stops = seed * 37 + 11;
    run.steps = steps;
    run.clients = run.sending = RUN_CLIENTS;
    run.readers = RUN_READERS;
    run.reading = RUN_READERS + 1;
    run.aborts = seed % 2;
    run.resends = level == 4 && seed / 2 % 2;
    run.fences = crashes ? 8 : 0;
    fibers.random = (seed + 1) * 0xd6e8feb86659fd93u;
    run_add_all(seed);
    sim.ends = steps;
    sim.every = crashes ? steps / 48 + 1 : 0;
    sim.mortal = 1 + RUN_CLIENTS + RUN_READERS;
    if (rivals)
        run_rival(crashes);
    sim_run();
    const char *broken = run_verdict();
    run_close();
    log_history_free(run.history);
    sim_end();
    return broken;
}

#endif
